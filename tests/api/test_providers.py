"""GET /providers and the switches of an account: who sees which, who may switch, what stands in the journal, and that a switch
works on the next payment."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx2
import pytest
from msgspec import Struct
from msgspec.structs import replace

from payonce.api.app import create_app
from payonce.api.house import House
from payonce.config import SANDBOX_URL
from payonce.core import breaker
from payonce.core.idempotency import normalise
from payonce.dispatch import Account
from payonce.engine import Engine
from payonce.merchants.journal import Act
from payonce.ports import Scope
from payonce.shown.views import stamp
from payonce.stores.memory import MemoryRegistry, MemoryStore

from .service import CARD, GOOD, OTHER, TEST, account, all_ok, engine_over, house_over, new_key, open_door, problem_of, ring

WHY = {"reason": "their maintenance"}


class Asking(Struct, frozen=True):
    """A client of the server, its engine and house, and headers of four keys: those of ``theirs`` run it, ``mine`` are another
    merchant's; two only read."""

    engine: Engine
    house: House
    registry: MemoryRegistry
    client: httpx2.AsyncClient
    keys: Mapping[str, Mapping[str, str]]

    async def get(self, path: str, key: str = "theirs") -> httpx2.Response:
        return await self.client.get(path, headers=dict(self.keys[key]))

    async def post(self, path: str, key: str = "theirs", body: object = WHY) -> httpx2.Response:
        return await self.client.post(path, headers=dict(self.keys[key]), json=body)

    async def acts(self) -> list[Act]:
        return [each.act for each in await self.house.journal.read()]


def only(name: str, *merchants: str, **more: Any) -> Account:
    """An account for these merchants; for everybody without any."""
    return replace(account(name), merchants=frozenset(merchants) if merchants else None, **more)


def run(check: Callable[[Asking], Awaitable[None]], *accounts: Account) -> None:
    async def go() -> None:
        registry = MemoryRegistry()
        engine = engine_over(MemoryStore(), *(accounts or (account(),)))
        ringed = ring(registry, engine.clock)
        house = house_over(engine, registry, keys=ringed)
        engine.health = house.health
        app = create_app(engine, door=open_door(engine, keys=ringed), ready=all_ok, house=house)
        keys = {
            "theirs": await new_key(ringed),
            "mine": await new_key(ringed, OTHER),
            "they_read": await new_key(ringed, TEST, "payments:write"),
            "i_read": await new_key(ringed, OTHER, "payments:read"),
        }
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://payonce.test") as client:
            await check(Asking(engine, house, registry, client, keys))

    asyncio.run(go())


def test_an_account_is_shown_with_what_stands_there() -> None:
    """Its adapter, its limit, whether it is the sandbox, whose payments it takes, and its figures; nothing is drained."""

    async def check(a: Asking) -> None:
        tiny, box = (await a.get("/providers")).json()["data"]
        assert {k: tiny[k] for k in ("account", "adapter", "mode", "sandbox", "merchants", "callsMax", "inFlight")} == {
            "account": "tiny",
            "adapter": "tiny",
            "mode": "test",
            "sandbox": False,
            "merchants": "*",
            "callsMax": 7,
            "inFlight": 0,
        }
        assert (tiny["drain"], tiny["breaker"], tiny["mayDrain"], len(tiny["series"])) == (None, None, True, 15)
        assert (box["account"], box["sandbox"], box["callsMax"], box["merchants"]) == ("box", True, None, ["mer_default"])
        assert (await a.get("/providers/tiny")).json() == tiny

    run(check, only("tiny", calls_max=7), only("box", "mer_default", base_url=f"{SANDBOX_URL}/tiny"))


def test_calls_under_way_are_counted() -> None:
    """While a call is under way the account says so."""

    async def check(a: Asking) -> None:
        with a.house.lanes.flight("tiny", a.house.clock), a.house.lanes.flight("tiny", a.house.clock):
            assert (await a.get("/providers/tiny")).json()["inFlight"] == 2
        assert (await a.get("/providers/tiny")).json()["inFlight"] == 0

    run(check)


def test_a_drain_keeps_new_payments_away_until_it_ends() -> None:
    """Drained: a new payment waits, with the reason. Resumed: it is charged. Both stand in the journal before they are done."""

    async def check(a: Asking) -> None:
        drained = await a.post("/providers/tiny/drain")
        assert drained.status_code == 200
        assert drained.json()["drain"]["reason"] == "their maintenance"
        receipt = await a.engine.submit(TEST, normalise(GOOD), "k", actor="test")
        id = receipt.payment.id
        await a.engine.advance(id)
        waiting = await a.engine.find(TEST, id)
        assert (waiting.status, waiting.attempts) == ("PENDING", ())
        shown = (await a.get("/providers/tiny", "they_read")).json()
        assert (shown["drain"], shown["mayDrain"]) == (drained.json()["drain"], False)
        resumed = await a.post("/providers/tiny/resume", body={"reason": "it is over"})
        assert (resumed.status_code, resumed.json()["drain"]) == (200, None)
        await a.engine.clock.sleep(60)
        await a.engine.advance(id)
        assert (await a.engine.find(TEST, id)).status == "SUCCESS"
        drain, end = await a.acts()
        assert (drain.what, drain.subject, dict(drain.data)) == ("account.drained", "tiny", {"reason": "their maintenance"})
        assert (end.what, dict(end.data)) == ("account.resumed", {"close_breaker": False, "reason": "it is over"})
        key = a.keys["theirs"]["Authorization"].removeprefix("Bearer sk_test_")[:20]
        assert (drain.actor, drain.merchant_id, drain.mode) == (f"key_{key}@127.0.0.1", "mer_default", "test")
        assert drain.request_id == drained.headers["request-id"]

    run(check)


def test_to_do_it_again_changes_the_reason_only() -> None:
    """A second drain has the new reason; a second resume does nothing and is not on record."""

    async def check(a: Asking) -> None:
        await a.post("/providers/tiny/drain")
        again = await a.post("/providers/tiny/drain", body={"reason": "it takes longer"})
        assert again.json()["drain"]["reason"] == "it takes longer"
        for _ in range(2):
            assert (await a.post("/providers/tiny/resume")).json()["drain"] is None
        assert [act.what for act in await a.acts()] == ["account.drained", "account.drained", "account.resumed"]

    run(check)


def test_an_open_breaker_is_shown_and_can_be_closed() -> None:
    """Open until its pause is over, then half-open; a resume leaves it, with closeBreaker it is closed and on record."""

    async def check(a: Asking) -> None:
        b = breaker.opened("5 of the last 5 calls failed: HTTP 503", a.house.clock.now_us())
        assert await a.registry.put("breaker", "tiny", breaker.encode(b), 0)
        shown = (await a.get("/providers/tiny")).json()["breaker"]
        assert shown == {"state": "open", "why": b.why, "until": stamp(b.until_us)}
        await a.house.clock.sleep(60)
        assert (await a.get("/providers/tiny")).json()["breaker"]["state"] == "half-open"
        assert (await a.post("/providers/tiny/resume")).json()["breaker"] is not None
        assert await a.acts() == []
        closed = await a.post("/providers/tiny/resume", body={"reason": "they are back", "closeBreaker": True})
        assert closed.json()["breaker"] is None
        assert [dict(act.data) for act in await a.acts()] == [{"close_breaker": True, "reason": "they are back"}]

    run(check)


SHARED = (
    only("shared"),
    only("own", OTHER.merchant_id),
    only("both", OTHER.merchant_id, "mer_default"),
    only("theirs", "mer_default"),
)


def test_who_sees_which_accounts() -> None:
    """Those that take one's payments, without whose else they are; the rest is not there, and looks like what never was."""

    async def check(a: Asking) -> None:
        mine = (await a.get("/providers", "mine")).json()["data"]
        assert [(p["account"], p["merchants"], p["mayDrain"]) for p in mine] == [
            ("shared", None, False),
            ("own", None, True),
            ("both", None, False),
        ]
        theirs = (await a.get("/providers")).json()["data"]
        assert [(p["account"], p["mayDrain"]) for p in theirs] == [("shared", True), ("both", True), ("theirs", True)]
        foreign, unknown = await a.get("/providers/theirs", "mine"), await a.get("/providers/nothing", "mine")
        assert foreign.status_code == unknown.status_code == 404
        assert problem_of(foreign)["detail"] == problem_of(unknown)["detail"]

    run(check, *SHARED)


@pytest.mark.parametrize("what", ["drain", "resume"])
@pytest.mark.parametrize(
    ("name", "key", "status", "code"),
    [
        ("own", "mine", 200, ""),
        ("shared", "mine", 403, "scope_missing"),
        ("both", "mine", 403, "scope_missing"),
        ("theirs", "mine", 404, "not_found"),
        ("own", "i_read", 403, "scope_missing"),
        ("shared", "they_read", 403, "scope_missing"),
        ("own", "theirs", 404, "not_found"),
        ("nothing", "theirs", 404, "not_found"),
    ],
)
def test_who_may_switch(what: str, name: str, key: str, status: int, code: str) -> None:
    """An admin of the only merchant that an account serves, or of who runs the house; nobody else, and nothing changes then."""

    async def check(a: Asking) -> None:
        answer = await a.post(f"/providers/{name}/{what}", key)
        assert (answer.status_code, answer.json().get("code", "")) == (status, code)
        done = status == 200 and what == "drain"
        assert (name in await a.house.health.states(), len(await a.acts())) == (done, int(done))

    run(check, *SHARED)


@pytest.mark.parametrize(
    ("name", "key", "told"),
    [
        ("shared", "theirs", ("works", "operator:ada@host-7")),
        ("shared", "they_read", ("works", "operator:ada@host-7")),
        ("shared", "mine", (None, None)),
        ("shared", "i_read", (None, None)),
        ("own", "mine", ("works", "operator")),
        ("own", "i_read", (None, None)),
    ],
)
def test_who_drained_it_and_why_is_for_who_may_switch(name: str, key: str, told: tuple[str | None, str | None]) -> None:
    """The house sees all of it; the admin of an account's only merchant the reason, and no name of an operator; others see that
    it is drained, and since when."""

    async def check(a: Asking) -> None:
        await a.house.health.drain(name, "works", "operator:ada@host-7")
        drain = (await a.get(f"/providers/{name}", key)).json()["drain"]
        assert (drain["reason"], drain["by"]) == told
        assert drain["since"]
        listed = {each["account"]: each["drain"] for each in (await a.get("/providers", key)).json()["data"]}
        assert listed[name] == drain

    run(check, *SHARED)


def test_a_switch_of_an_account_that_is_gone_can_be_ended() -> None:
    """Only the house sees what a switch remembers, may resume it, and cannot drain it again."""

    async def check(a: Asking) -> None:
        await a.house.health.drain("gone", "closed down", "operator:ada")
        gone = (await a.get("/providers/gone")).json()
        assert (gone["adapter"], gone["drain"]["reason"], gone["mayDrain"]) == (None, "closed down", True)
        for path, key in (("/providers/gone/drain", "theirs"), ("/providers/gone/resume", "mine")):
            assert (await a.post(path, key)).status_code == 404
        assert (await a.get("/providers/gone", "mine")).status_code == 404
        await a.post("/providers/gone/resume")
        assert "gone" not in await a.house.health.states()

    run(check, *SHARED)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "validation_failed"),
        ({"reason": ""}, "validation_failed"),
        ({"reason": " \u00a0\u2003"}, "validation_failed"),
        ({"reason": "x" * 201}, "validation_failed"),
        ({"reason": "a\nb"}, "validation_failed"),
        ({"reason": 7}, "validation_failed"),
        ({"reason": "x", "until": "noon"}, "validation_failed"),
        ({"reason": f"card {CARD}"}, "card_number_refused"),
        ({"reason": "x", "closeBreaker": "yes"}, "validation_failed"),
    ],
)
def test_a_reason_is_needed(body: Any, code: str) -> None:
    """1 to 200 characters on one line without a card number; nothing is done without one, nor with what is not known."""

    async def check(a: Asking) -> None:
        for what in ("drain", "resume"):
            answer = await a.post(f"/providers/tiny/{what}", body=body)
            assert (answer.status_code in (400, 422), problem_of(answer)["code"]) == (True, code)
        assert (await a.acts(), await a.house.health.states()) == ([], {})

    run(check)


def test_a_secret_in_a_reason_is_masked() -> None:
    """Neither the journal nor the account repeats it."""

    async def check(a: Asking) -> None:
        told = await a.post("/providers/tiny/drain", body={"reason": "was it sk_live_0123456789abcdefgh ?"})
        assert "0123456789abcdefgh" not in told.text
        assert "0123456789abcdefgh" not in str(await a.acts())

    run(check)


def test_figures_are_in_their_minute() -> None:
    """A payment that was charged now stands in the last point, for the merchant whose it is."""

    async def check(a: Asking) -> None:
        scope = Scope(OTHER.merchant_id, "test")
        receipt = await a.engine.submit(scope, normalise({**GOOD, "provider": "own"}), "k", actor="test")
        await a.engine.advance(receipt.payment.id)
        mine = (await a.get("/providers/own", "mine")).json()
        assert (mine["sums"]["approved"], mine["sums"]["share"], sum(p["approved"] for p in mine["series"])) == (1, 1.0, 1)
        assert (await a.get("/providers/shared")).json()["sums"]["attempts"] == 0

    run(check, *SHARED)
