"""Sessions of the dashboard: who is let in, until when, and what a registry that holds nonsense does to that."""

import asyncio
from collections.abc import Collection

import msgspec
import pytest
from msgspec.structs import replace

from payonce.bootstrap import SystemEntropy
from payonce.core.errors import Refused, StoreUnavailable
from payonce.merchants import sessions as module
from payonce.merchants.journal import Journal
from payonce.merchants.keys import Keyring, KeyScope
from payonce.merchants.sessions import (
    CACHE_US,
    KEY_SESSIONS_MAX,
    KIND,
    LIFE_US,
    OPERATOR,
    TICKET_KIND,
    TICKET_LIFE_US,
    Session,
    Sessions,
    csrf_of,
    hashed,
)
from payonce.stores.memory import MemoryRegistry
from tests.two_processes import Clock, Flaky

READ: tuple[KeyScope, ...] = ("payments:read",)


class Ground:
    """One registry, and two processes that look after sessions on it."""

    def __init__(self) -> None:
        self.clock, self.registry = Clock(), Flaky(MemoryRegistry())
        self.keys = Keyring(self.registry, self.clock, SystemEntropy())
        self.journal = Journal(self.registry, self.clock)
        self.here, self.there = self.process("test"), self.process("test")

    def process(self, mode: str) -> Sessions:
        parts = {"keys": self.keys, "journal": self.journal, "mode": mode}
        return Sessions(self.registry, self.clock, SystemEntropy(), **parts)  # type: ignore[arg-type]

    async def operator(self, scopes: Collection[str] = READ) -> str:
        ticket = await self.here.print_ticket("mer_default", scopes, by="operator:ann@desk")
        token = await self.here.by_ticket(ticket, actor="operator:dashboard")
        assert token is not None
        return token


def test_a_ticket_is_a_session_of_the_operator_once() -> None:
    """It acts as the operator with the scopes that were asked for; neither ticket nor token is on record as it is."""

    async def check() -> None:
        g = Ground()
        ticket = await g.here.print_ticket("mer_a", ("payments:read", "refunds:write"), by="operator:ann@desk")
        racing = await asyncio.gather(*(each.by_ticket(ticket, actor="x") for each in (g.here, g.there, g.here)))
        (token,) = [each for each in racing if each]
        found = await g.there.of(token)
        assert found is not None
        caller = found.caller
        assert (caller.who, caller.scope.merchant_id, caller.inside) == (OPERATOR, "mer_a", True)
        assert (caller.may("refunds:write"), caller.may("payments:write"), caller.may("admin")) == (True, False, False)
        kept = b"".join(
            [r.value + r.name.encode() for kind in (KIND, TICKET_KIND, "journal") for r in await g.registry.all(kind)]
        )
        assert ticket.encode() not in kept
        assert token.encode() not in kept

    asyncio.run(check())


def test_a_ticket_ends_after_ten_minutes_and_is_of_one_mode() -> None:
    """Late, of the other mode, or never made: nobody is let in, and the ticket is gone."""

    async def check() -> None:
        g = Ground()
        late = await g.here.print_ticket("mer_default", READ, by="x")
        g.clock.pass_us(TICKET_LIFE_US)
        assert await g.here.by_ticket(late, actor="x") is None
        live = await g.process("live").print_ticket("mer_default", READ, by="x")
        assert await g.here.by_ticket(live, actor="x") is None
        assert await g.here.by_ticket("0" * 52, actor="x") is None
        assert await g.registry.all(TICKET_KIND) == ()
        assert await g.registry.all(KIND) == ()

    asyncio.run(check())


def test_a_session_ends_after_twelve_hours() -> None:
    """One microsecond before it is live."""

    async def check() -> None:
        g = Ground()
        token = await g.operator()
        g.clock.pass_us(LIFE_US - 1)
        assert await g.here.of(token) is not None
        g.clock.pass_us(1)
        assert await g.here.of(token) is None

    asyncio.run(check())


def test_a_session_of_a_key_is_what_the_key_is() -> None:
    """Its scopes and merchant; revoked, it opens nothing in any process."""

    async def check() -> None:
        g = Ground()
        key, _ = g.keys.new("mer_b", "test", ("payments:write",))
        await g.keys.add(key)
        token = await g.here.by_key(key, actor=key.id)
        found = await g.there.of(token)
        assert found is not None
        assert (found.caller.who, found.caller.scope.merchant_id) == (key.id, "mer_b")
        assert found.caller.may("payments:read")
        assert not found.caller.may("refunds:write")
        await g.keys.end(key.id, g.clock.now_us())
        assert await g.here.of(token) is None
        assert await g.there.of(token) is None

    asyncio.run(check())


def test_signing_out_ends_it_everywhere() -> None:
    """Here at once; elsewhere when what is known there is a second old."""

    async def check() -> None:
        g = Ground()
        token = await g.operator()
        assert await g.there.of(token) is not None
        await g.here.end(token, actor="operator:dashboard")
        assert await g.here.of(token) is None
        g.clock.pass_us(CACHE_US)
        assert await g.there.of(token) is None
        acts = [(w.act.what, w.act.actor) for w in await g.journal.read()]
        assert acts == [
            ("session.ticket", "operator:ann@desk"),
            ("session.begun", "operator:dashboard"),
            ("session.ended", "operator:dashboard"),
        ]

    asyncio.run(check())


def test_what_is_no_record_of_ours_lets_nobody_in() -> None:
    """Damaged, of a newer payonce, of the other mode, without scopes: as if it were not there."""

    async def check() -> None:
        g = Ground()
        token = await g.operator()
        (record,) = await g.registry.all(KIND)
        good = msgspec.json.decode(record.value, type=Session)
        version = record.version
        for value in (
            b"\xff{",
            b"{}",
            msgspec.json.encode(replace(good, v=2)),
            msgspec.json.encode(replace(good, mode="live")),
            msgspec.json.encode(replace(good, scopes=())),
        ):
            assert await g.registry.put(KIND, record.name, value, version)
            version += 1
            g.clock.pass_us(CACHE_US)
            assert await g.here.of(token) is None
        assert await g.registry.put(KIND, record.name, record.value, version)
        g.clock.pass_us(CACHE_US)
        assert await g.here.of(token) is not None

    asyncio.run(check())


def test_a_registry_that_does_not_answer_lets_nobody_in() -> None:
    """StoreUnavailable, not a session from memory."""

    async def check() -> None:
        g = Ground()
        token = await g.operator()
        assert await g.here.of(token) is not None
        g.clock.pass_us(CACHE_US)
        g.registry.readable = False
        with pytest.raises(StoreUnavailable):
            await g.here.of(token)

    asyncio.run(check())


def test_there_is_room_for_so_many_and_old_ones_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full of live ones nobody more is let in; those whose time is over go at the next sign-in."""
    monkeypatch.setattr(module, "SESSIONS_MAX", 2)

    async def check() -> None:
        g = Ground()
        first, second = await g.operator(), await g.operator()
        with pytest.raises(Refused, match="sessions"):
            await g.operator()
        assert await g.here.of(first) is not None
        g.clock.pass_us(LIFE_US)
        third = await g.operator()
        assert [record.name for record in await g.registry.all(KIND)] == [hashed(third)]
        assert second != third

    asyncio.run(check())


def test_a_key_has_so_many_and_the_oldest_makes_room() -> None:
    """Of this key only, and on the record; sessions of others stay."""

    async def check() -> None:
        g = Ground()
        (mine, _), (other, _) = g.keys.new("mer_a", "test", READ), g.keys.new("mer_a", "test", READ)
        for key in (mine, other):
            await g.keys.add(key)
        operators, others = await g.operator(), await g.here.by_key(other, actor=other.id)
        tokens = []
        for _ in range(KEY_SESSIONS_MAX + 2):
            g.clock.pass_us(CACHE_US)
            tokens.append(await g.here.by_key(mine, actor=mine.id))
        g.clock.pass_us(CACHE_US)
        live = [await g.there.of(token) is not None for token in (operators, others, *tokens)]
        assert live == [True, True, False, False] + [True] * KEY_SESSIONS_MAX
        ended = [dict(w.act.data) for w in await g.journal.read() if w.act.what == "session.ended"]
        assert ended == [{"why": "a newer one of the same key"}] * 2

    asyncio.run(check())


def test_keys_leave_room_for_tickets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full of sessions of keys, a key that has none is refused, one that has some gives up its oldest, a ticket gets in."""
    monkeypatch.setattr(module, "SESSIONS_MAX", 20)

    async def check() -> None:
        g = Ground()
        made = [g.keys.new("mer_a", "test", READ)[0] for _ in range(19)]
        for key in made:
            await g.keys.add(key)
        *first, last = made
        tokens = [await g.here.by_key(key, actor=key.id) for key in first]
        with pytest.raises(Refused, match="18 sessions"):
            await g.here.by_key(last, actor=last.id)
        again = await g.here.by_key(first[0], actor=first[0].id)
        assert [await g.here.of(token) is None for token in (tokens[0], tokens[1], again)] == [True, False, False]
        assert await g.operator()
        assert await g.operator()
        with pytest.raises(Refused, match="20 sessions"):
            await g.operator()

    asyncio.run(check())


def test_a_refused_sign_in_does_not_use_the_ticket_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens when there is room again."""
    monkeypatch.setattr(module, "SESSIONS_MAX", 1)

    async def check() -> None:
        g = Ground()
        first = await g.operator()
        ticket = await g.here.print_ticket("mer_default", READ, by="x")
        with pytest.raises(Refused, match="sessions"):
            await g.here.by_ticket(ticket, actor="x")
        await g.here.end(first, actor="x")
        assert await g.here.by_ticket(ticket, actor="x")
        assert await g.here.by_ticket(ticket, actor="x") is None

    asyncio.run(check())


def test_everybody_of_a_merchant_is_signed_out() -> None:
    """Of this merchant and mode: sessions of tickets and of keys, and tickets that nobody has used. It is on the record."""

    async def check() -> None:
        g = Ground()
        key, _ = g.keys.new("mer_default", "test", READ)
        other, _ = g.keys.new("mer_a", "test", READ)
        for each in (key, other):
            await g.keys.add(each)
        gone = [await g.operator(), await g.here.by_key(key, actor=key.id)]
        stays = await g.here.by_key(other, actor=other.id)
        unused, theirs = [await g.here.print_ticket(m, READ, by="x") for m in ("mer_default", "mer_a")]
        live = await g.process("live").print_ticket("mer_default", READ, by="x")
        assert await g.here.of(gone[0])
        assert await g.there.end_all("mer_default", actor="operator:ann@desk") == (2, 1)
        g.clock.pass_us(CACHE_US)
        assert [await each.of(token) for token in gone for each in (g.here, g.there)] == [None] * 4
        assert await g.here.of(stays)
        assert await g.here.by_ticket(unused, actor="x") is None
        assert await g.here.by_ticket(theirs, actor="x")
        assert await g.process("live").by_ticket(live, actor="x")
        (act,) = [w.act for w in await g.journal.read() if w.act.what == "session.all_ended"]
        assert (act.subject, act.actor, dict(act.data)) == ("mer_default", "operator:ann@desk", {"sessions": 2, "tickets": 1})
        assert await g.here.by_key(key, actor=key.id)

    asyncio.run(check())


def test_a_form_token_is_of_one_session_and_tells_nothing_of_it() -> None:
    """The same each time, another one for another session."""
    one, other = "a" * 52, "b" * 52
    assert csrf_of(one) == csrf_of(one) != csrf_of(other)
    assert one not in csrf_of(one)
