"""Where merchants want to hear of their payments: kept, checked, scoped, and on the journal before anything changes."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from payonce.core.errors import NewerSchema, Refused, StoreUnavailable
from payonce.outbound import endpoints as places
from payonce.outbound import signing
from payonce.outbound.endpoints import ACTIVE_AFTER_US, CACHE_US, ENDPOINTS_MAX, KIND, Endpoint, Endpoints
from payonce.outbound.guard import read_allowed
from payonce.ports import Scope

from .room import KEY, SCOPE, SECOND_US, URL, Fate, Killed, Room, run, unknown

OTHERS = (Scope("mer_other", "test"), Scope("mer_default", "live"))


def test_it_is_registered_with_a_secret_that_is_not_stored() -> None:
    """The secret comes out of the signing key; the record does not have it, nor does the journal."""

    async def check(room: Room) -> None:
        made = await room.endpoints.create(SCOPE, URL + "?token=abc", ("refund.*",), "Shop", actor="key_1@203.0.113.7")
        assert (made.id[:4], len(made.id), made.state, made.url) == ("whe_", 24, "enabled", URL + "?token=abc")
        assert made.active_us == made.created_us + ACTIVE_AFTER_US
        assert await room.endpoints.all(SCOPE) == (made,)
        assert await room.endpoints.get(SCOPE, made.id) == made
        (secret,) = room.endpoints.secrets(made)
        assert secret == signing.derived(KEY, made.id, 1)
        stored = [r.value for kind in (KIND, "journal") for r in await room.registry.all(kind)]
        assert len(stored) == 2
        assert not any(secret.removeprefix("whsec_").encode() in value for value in stored)
        (entry,) = await room.journal.read()
        said = (entry.act.what, entry.act.subject, entry.act.actor, entry.act.merchant_id, entry.act.mode)
        assert said == ("endpoint.created", made.id, "key_1@203.0.113.7", "mer_default", "test")
        assert entry.act.data == {"url": URL, "types": "refund.*"}

    run(check)


@pytest.mark.parametrize(
    ("url", "types", "description", "code"),
    [
        ("http://hooks.example.com/", (), "", "endpoint_refused"),
        ("https://10.0.0.1/", (), "", "endpoint_refused"),
        (URL, ("payment.sold",), "", "validation_failed"),
        (URL, ("*",), "", "validation_failed"),
        (URL, ("refund.*", "refund.*"), "", "validation_failed"),
        (URL, ("webhook.test",), "", "validation_failed"),
        (URL, (), "x" * 201, "validation_failed"),
        (URL, (), "two\nlines", "validation_failed"),
        (URL, (), "card 4111 1111 1111 1111", "card_number_refused"),
        (URL + "/4111111111111111", (), "", "card_number_refused"),
    ],
)
def test_what_cannot_be_one_is_refused(url: str, types: tuple[str, ...], description: str, code: str) -> None:
    """Nothing is kept and nothing is on the journal, at registration and at a change."""

    async def check(room: Room) -> None:
        with pytest.raises(Refused) as refused:
            await room.endpoints.create(SCOPE, url, types, description, actor="test")
        assert refused.value.code == code
        assert (await room.endpoints.all(SCOPE), await room.journal.read()) == ((), ())
        made = await room.endpoint()
        with pytest.raises(Refused) as refused:
            await room.endpoints.change(SCOPE, made.id, url=url, types=types, description=description, actor="test")
        assert (refused.value.code, len(await room.journal.read())) == (code, 1)

    run(check)


@pytest.mark.parametrize(
    ("found", "taken"),
    [(("8.8.8.8",), True), ((), True), (("8.8.8.8", "127.0.0.1"), False), (("::ffff:10.0.0.1",), False), (("10.9.0.1",), True)],
)
def test_a_name_that_leads_to_us_is_refused_when_it_is_registered(found: tuple[str, ...], taken: bool) -> None:
    """Names are looked up; one that has no address yet may get one. The allow-list counts."""

    async def check(room: Room) -> None:
        async def look(host: str) -> tuple[str, ...]:
            assert host == "hooks.example.com"
            return found

        endpoints = Endpoints(
            room.registry, room.clock, room.dice, room.journal, lambda: KEY, allowed=read_allowed("10.9.0.0/16"), look=look
        )
        if taken:
            await endpoints.create(SCOPE, URL, actor="test")
        else:
            with pytest.raises(Refused, match="endpoint_refused"):
                await endpoints.create(SCOPE, URL, actor="test")

    run(check)


def test_a_merchant_has_so_many_and_no_more() -> None:
    """Those of others do not count."""

    async def check(room: Room) -> None:
        for n in range(ENDPOINTS_MAX):
            await room.endpoints.create(SCOPE, f"{URL}/{n}", actor="test")
        with pytest.raises(Refused, match="endpoints_too_many"):
            await room.endpoints.create(SCOPE, URL, actor="test")
        for scope in OTHERS:
            await room.endpoints.create(scope, URL, actor="test")

    run(check)


Act = Callable[[Room, Scope, str], Awaitable[object]]
ACTS: dict[str, Act] = {
    "changed": lambda room, scope, of: room.endpoints.change(scope, of, description="new", actor="a", request_id="r"),
    "disabled": lambda room, scope, of: room.endpoints.disable(scope, of, reason="why", actor="a", request_id="r"),
    "removed": lambda room, scope, of: room.endpoints.remove(scope, of, actor="a", request_id="r"),
    "secret_rotated": lambda room, scope, of: room.endpoints.rotate(scope, of, overlap_s=60, actor="a", request_id="r"),
    "recovered": lambda room, scope, of: room.courier.recover(scope, of, 0, actor="a", request_id="r"),
    "tested": lambda room, scope, of: room.courier.test(scope, of, actor="a", request_id="r"),
}


@pytest.mark.parametrize("what", ACTS)
def test_another_merchants_is_as_unknown_as_one_that_is_not(what: str) -> None:
    """The same refusal, and nothing happens, not even on the journal."""

    async def check(room: Room) -> None:
        made = await room.endpoint()
        said = set[str]()
        for scope, id in [(OTHERS[0], made.id), (OTHERS[1], made.id), (SCOPE, unknown("whe_")), (SCOPE, "x" * 500)]:
            with pytest.raises(Refused) as refused:
                await ACTS[what](room, scope, id)
            assert refused.value.code == "not_found"
            said.add(refused.value.detail.replace(id[:40], "ID").replace("live", "test"))
            assert await room.endpoints.get(scope, id) is None
        assert len(said) == 1
        assert await room.acts() == [("endpoint.created", "test")]
        assert (await room.endpoints.all(SCOPE)) == (made,)

    run(check)


@pytest.mark.parametrize("what", ACTS)
def test_an_act_is_on_the_journal_before_it_is_done(what: str) -> None:
    """However early the process dies: what is done is on record."""

    seen = list[bool]()

    async def dies(room: Room, at: int) -> None:
        made = await room.endpoint()
        before, entry = (await room.endpoints.all(SCOPE), await room.deliveries()), (f"endpoint.{what}", "a")
        process = room.process(Fate(at))
        room.courier, room.endpoints = process.courier, process.endpoints
        with contextlib.suppress(Killed):
            await ACTS[what](room, SCOPE, made.id)
        room.endpoints = room.process().endpoints
        changed = (await room.endpoints.all(SCOPE), await room.deliveries()) != before
        seen.append(changed)
        assert not changed or entry in await room.acts()

    for at in range(1, 40):
        run(lambda room: dies(room, at))  # noqa: B023
    assert True in seen
    assert False in seen


def test_what_changes_nothing_is_not_put_on_record() -> None:
    """A repeat of an answered request does nothing."""

    async def check(room: Room) -> None:
        made = await room.endpoint()
        assert await room.endpoints.enable(SCOPE, made.id, actor="a") == made
        off = await room.endpoints.disable(SCOPE, made.id, reason="r", actor="a")
        assert (off.state, off.reason) == ("disabled", "r")
        assert await room.endpoints.disable(SCOPE, made.id, reason="other", actor="a") == off
        on = await room.endpoints.enable(SCOPE, made.id, actor="a")
        assert (on.state, on.reason, on.active_us) == ("enabled", "", room.clock.now_us() + ACTIVE_AFTER_US)
        assert [what for what, _ in await room.acts()] == ["endpoint.created", "endpoint.disabled", "endpoint.enabled"]

    run(check)


def test_a_secret_is_replaced_with_an_overlap() -> None:
    """Both sign until it ends; a second replacement ends the oldest one at once."""

    async def check(room: Room) -> None:
        first = await room.endpoint()
        one, two, three = (signing.derived(KEY, first.id, n) for n in (1, 2, 3))
        now = await room.endpoints.rotate(SCOPE, first.id, overlap_s=60, actor="test")
        assert room.endpoints.secrets(now) == (two, one)
        room.clock.at_us += 59 * SECOND_US
        assert room.endpoints.secrets(now) == (two, one)
        again = await room.endpoints.rotate(SCOPE, first.id, overlap_s=60, actor="test")
        assert room.endpoints.secrets(again) == (three, two)
        room.clock.at_us += 60 * SECOND_US
        assert room.endpoints.secrets(again) == (three,)
        at_once = await room.endpoints.rotate(SCOPE, first.id, actor="test")
        assert len(room.endpoints.secrets(at_once)) == 1
        with pytest.raises(Refused, match="validation_failed"):
            await room.endpoints.rotate(SCOPE, first.id, overlap_s=places.OVERLAP_S_MAX + 1, actor="test")

    run(check)


def test_another_signing_key_is_noticed_and_a_rotation_heals_it() -> None:
    """Receivers would refuse everything, so nothing is signed with it until the merchant has a new secret."""

    async def check(room: Room) -> None:
        made = await room.endpoint()
        room.key = b"another" * 8
        with pytest.raises(Refused, match="webhooks_unavailable"):
            room.endpoints.secrets(made)
        now = await room.endpoints.rotate(SCOPE, made.id, overlap_s=60, actor="test")
        assert room.endpoints.secrets(now) == (signing.derived(room.key, made.id, 2),)

    run(check)


def test_who_listens_is_known_soon_and_never_too_late() -> None:
    """While a process does not know it says yes; what it knows is younger than an endpoint needs to begin."""

    async def check(room: Room) -> None:
        mine = ("mer_default", "test")
        assert room.endpoints.any(*mine)  # nothing was read yet
        await room.endpoints.refresh()
        assert not room.endpoints.any(*mine)
        elsewhere = room.process().endpoints
        made = await elsewhere.create(SCOPE, URL, actor="test")
        assert not room.endpoints.any(*mine)
        room.clock.at_us += CACHE_US
        assert room.clock.now_us() < made.active_us
        assert room.endpoints.any(*mine)
        await room.endpoints.refresh()
        assert room.endpoints.any(*mine)
        assert not room.endpoints.any("mer_default", "live")
        assert not room.endpoints.any("mer_other", "test")
        await room.endpoints.disable(SCOPE, made.id, actor="test")
        await room.endpoints.refresh()
        assert not room.endpoints.any(*mine)

    run(check)


def test_a_clock_that_goes_back_is_not_knowing() -> None:
    """Set back by an hour, what was read would seem fresh for an hour."""

    async def check(room: Room) -> None:
        await room.endpoints.refresh()
        room.clock.at_us -= 3600 * SECOND_US
        assert room.endpoints.any("mer_default", "test")

    run(check)


def test_changes_that_race_are_all_made() -> None:
    """Two processes change different things of one endpoint: neither loses."""

    async def check(room: Room) -> None:
        made = await room.endpoint()
        one, two = room.process().endpoints, room.process().endpoints
        await asyncio.gather(
            one.change(SCOPE, made.id, description="new", actor="a"),
            two.rotate(SCOPE, made.id, actor="b"),
            one.change(SCOPE, made.id, types=("refund.*",), actor="c"),
        )
        now = await room.endpoints.get(SCOPE, made.id)
        assert now is not None
        assert (now.description, now.secret_n, now.types) == ("new", 2, ("refund.*",))

    run(check)


def test_one_of_a_newer_version_is_left_alone() -> None:
    """An older process beside it delivers nothing rather than something else."""

    async def check(room: Room) -> None:
        made = await room.endpoint()
        newer = msgspec.json.encode(replace(made, v=2))
        (record,) = await room.registry.all(KIND)
        await room.registry.put(KIND, made.id, newer, record.version)
        room.clock.at_us += CACHE_US
        with pytest.raises(NewerSchema):
            await room.endpoints.refresh()
        assert room.endpoints.any("mer_default", "test")

    run(check)


def test_what_it_wants() -> None:
    """All, some, or a group."""
    e = Endpoint(id="whe_1", merchant_id="m", mode="test", url=URL, created_us=0, active_us=0)
    assert e.wants("payment.failed")
    some = replace(e, types=("payment.failed", "refund.*"))
    wanted = [some.wants(t) for t in ("payment.failed", "payment.succeeded", "refund.created", "refund.failed")]
    assert wanted == [True, False, True, True]


def test_a_registry_that_does_not_answer_is_said() -> None:
    """Nothing is made up from what is not known."""

    async def check(room: Room) -> None:
        async def away(*_: Any) -> Any:
            raise StoreUnavailable("away")

        room.registry.all = away  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            await room.endpoints.known()
        assert room.endpoints.any("mer_default", "test")

    run(check)
