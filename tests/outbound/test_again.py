"""What a merchant may ask for: one delivery again, all since a time, and a test."""

import json
from typing import Any

import pytest

from payonce.core.errors import NewerSchema, Refused
from payonce.outbound import courier as couriers
from payonce.outbound import signing
from payonce.outbound.courier import FEED_LAG_US, PAGE
from payonce.outbound.endpoints import Endpoint
from payonce.outbound.schedule import TRIES_MAX
from payonce.ports import Scope
from payonce.shown.news import TEST_TYPE

from .room import SCOPE, SECOND_US, START_US, URL, Room, always, run, unknown

STRANGER = Scope("mer_other", "test")


async def known(room: Room, endpoint: Endpoint) -> Endpoint:
    found = await room.endpoints.get(SCOPE, endpoint.id)
    assert found is not None
    return found


# --- replay -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 410, 500])
def test_a_delivery_is_made_again_whatever_became_of_it(status: int) -> None:
    """With all its tries before it, under the same id; it is on the journal."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoint()
        room.receivers.answers[URL] = always(status)
        await room.pay()
        await room.drain()
        (before,) = await room.deliveries()
        if status == 410:
            with pytest.raises(Refused, match="endpoint_refused"):
                await room.courier.replay(SCOPE, before.id, actor="a")
            await room.endpoints.enable(SCOPE, endpoint.id, actor="a")
        again = await room.courier.replay(SCOPE, before.id, actor="a", request_id="r")
        assert (again.state, again.tries, again.due_us) == ("pending", 0, room.clock.now_us())
        assert (await room.acts())[-1] == ("delivery.replayed", "a")
        assert room.hints.ids[-1] == before.id
        room.receivers.answers[URL] = always(200)
        await room.drain()
        (after,) = await room.deliveries()
        assert (after.id, after.state, after.tries) == (before.id, "delivered", 1)
        assert [m.id for m in room.receivers.got] == [before.event_id] * 2

    run(check)


def test_a_strangers_delivery_is_as_unknown_as_one_that_is_not() -> None:
    """The same refusal; nothing is sent and nothing is on the journal. That of an endpoint that was removed is gone, too."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoint()
        await room.pay()
        await room.drain()
        (d,) = await room.deliveries()
        acts = await room.acts()
        for scope, id in [(STRANGER, d.id), (Scope("mer_default", "live"), d.id), (SCOPE, unknown("dlv_")), (SCOPE, "x")]:
            with pytest.raises(Refused) as refused:
                await room.courier.replay(scope, id, actor="a")
            assert refused.value.code == "not_found"
        assert (await room.acts(), await room.deliveries()) == (acts, (d,))
        await room.endpoints.remove(SCOPE, endpoint.id, actor="a")
        with pytest.raises(Refused, match="not_found"):
            await room.courier.replay(SCOPE, d.id, actor="a")

    run(check)


def test_what_waits_for_an_endpoint_that_was_removed_is_canceled() -> None:
    """When its turn comes; nothing is sent."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoint()
        room.receivers.answers[URL] = always(500)
        await room.pay()
        await room.drain()
        await room.endpoints.remove(SCOPE, endpoint.id, actor="a")
        await room.pass_time(3600)
        (d,) = await room.deliveries()
        assert (d.state, d.said, len(room.receivers.got)) == ("canceled", "its endpoint was removed", 1)

    run(check)


# --- test -------------------------------------------------------------------------------------------------------------


def test_a_test_event_says_that_it_is_one() -> None:
    """Signed like the others, about no payment, whatever types the endpoint wants."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoint(types=("refund.failed",))
        d = await room.courier.test(SCOPE, endpoint.id, actor="a")
        assert room.hints.ids == [d.id]
        await room.drain()
        (message,) = room.receivers.took
        signing.verify(message.headers, message.body, room.endpoints.secrets(endpoint), room.clock.now_us())
        event = json.loads(message.body)
        assert (event["type"], event["id"], event["data"]["test"]) == (TEST_TYPE, message.id, True)
        assert set(event) == {"id", "type", "timestamp", "data"}
        assert (await room.acts())[-1] == ("endpoint.tested", "a")

    run(check)


def test_a_test_is_tried_once_and_means_nothing() -> None:
    """It fails and is over; the endpoint is not failing because of it. One that is disabled can be tested before it is
    enabled."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoint()
        room.receivers.answers[URL] = always(500)
        await room.courier.test(SCOPE, endpoint.id, actor="a")
        await room.pass_time(86_400 * 4)
        (d,) = await room.deliveries()
        assert (d.state, d.tries, len(room.receivers.got)) == ("failed", 1, 1)
        assert (await known(room, endpoint)).failing_since_us == 0
        await room.endpoints.disable(SCOPE, endpoint.id, actor="a")
        room.receivers.answers[URL] = always(200)
        await room.courier.test(SCOPE, endpoint.id, actor="a")
        await room.drain()
        assert len(room.receivers.took) == 1
        assert (await known(room, endpoint)).state == "disabled"

    run(check)


# --- recover ----------------------------------------------------------------------------------------------------------


def test_a_new_endpoint_gets_what_happened_before_it() -> None:
    """Since the time that is asked for and no earlier; asking again makes nothing twice."""

    async def check(room: Room) -> None:
        for _ in range(3):
            await room.pay(notify=False)
            room.clock.at_us += 60 * SECOND_US
        endpoint = await room.endpoint()
        assert await room.courier.recover(SCOPE, endpoint.id, START_US + SECOND_US, actor="a", request_id="r") == 2
        await room.pass_time(600)
        assert await room.courier.recover(SCOPE, endpoint.id, START_US, actor="a") == 1
        assert await room.courier.recover(SCOPE, endpoint.id, START_US, actor="a") == 0
        await room.pass_time(600)
        assert sorted(m.id for m in room.receivers.took) == sorted(await room.news())
        assert [a for a in await room.acts() if a[0] == "endpoint.recovered"] == [("endpoint.recovered", "a")] * 3
        assert (await known(room, endpoint)).recovery is None

    run(check)


def test_nothing_is_lost_between_a_recovery_and_the_first_event() -> None:
    """Asked for at once after registering: what happens until the endpoint counts is found by the recovery, which goes on."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoints.create(SCOPE, URL, actor="a")
        await room.courier.recover(SCOPE, endpoint.id, START_US, actor="a")
        for _ in range(12):
            await room.pay()
            await room.pass_time(1)
        await room.pass_time(FEED_LAG_US / SECOND_US + 60)
        assert sorted(m.id for m in room.receivers.took) == sorted(await room.news())
        assert (await known(room, endpoint)).recovery is None

    run(check)


def test_a_recovery_wants_an_endpoint_that_is_there_and_enabled() -> None:
    """Of this merchant; what waits in a recovery ends with a disable."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoint()
        await room.courier.recover(SCOPE, endpoint.id, START_US, actor="a")
        off = await room.endpoints.disable(SCOPE, endpoint.id, actor="a")
        assert off.recovery is None
        with pytest.raises(Refused, match="endpoint_refused"):
            await room.courier.recover(SCOPE, endpoint.id, START_US, actor="a")

    run(check)


def test_a_long_range_is_gone_through_in_pages_by_whoever_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The asker has done a part when its time is over; workers do the rest from there, and each event is made once."""

    async def check(room: Room) -> None:
        for _ in range(3 * PAGE + 7):
            await room.pay(notify=False)
        endpoint = await room.endpoint(types=("payment.*",))
        whole = room.store.feed

        async def slow(*args: Any) -> Any:
            room.clock.at_us += 6 * SECOND_US
            return await whole(*args)

        monkeypatch.setattr(room.store, "feed", slow)
        made = await room.courier.recover(SCOPE, endpoint.id, START_US, actor="a")
        assert made == 2 * PAGE
        assert (await known(room, endpoint)).recovery is not None
        other = room.process().courier
        assert [row.id for row in await other.due(room.clock.now_us(), 500) if row.id == endpoint.id] == [endpoint.id]
        await other.resolve(endpoint.id)
        assert len(await room.deliveries()) == 3 * PAGE + 7
        await room.pass_time(60, other)
        assert sorted(m.id for m in room.receivers.took) == sorted(await room.news())

    run(check)


def test_a_recovery_opens_again_what_failed_and_leaves_what_arrived() -> None:
    """The receiver took some and not others: it gets those."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoint()
        for n in range(4):
            room.receivers.answers[URL] = always(200 if n % 2 else 410)
            await room.endpoints.enable(SCOPE, endpoint.id, actor="a")
            room.clock.at_us += 10 * SECOND_US
            await room.pay()
            await room.drain()
        room.receivers.answers[URL] = always(200)
        await room.endpoints.enable(SCOPE, endpoint.id, actor="a")
        assert len(room.receivers.took) == 2
        assert await room.courier.recover(SCOPE, endpoint.id, START_US, actor="a") == 2
        await room.pass_time(60)
        assert sorted(m.id for m in room.receivers.took) == sorted(await room.news())

    run(check)


def test_a_recovery_that_meets_a_newer_row_goes_on_later() -> None:
    """Rather than leaving it out."""

    async def check(room: Room) -> None:
        await room.pay(notify=False)
        endpoint = await room.endpoint()
        whole = room.store.history

        async def newer(*_: Any, **__: Any) -> Any:
            raise NewerSchema("a newer version wrote this")

        room.store.history = newer  # type: ignore[method-assign]
        assert await room.courier.recover(SCOPE, endpoint.id, START_US, actor="a") == 0
        await room.pass_time(3600)
        room.store.history = whole  # type: ignore[method-assign]
        await room.pass_time(3600)
        assert len(room.receivers.took) == 1

    run(check)


def test_a_replayed_delivery_may_use_up_its_tries_again() -> None:
    """The count begins anew."""

    async def check(room: Room) -> None:
        await room.endpoint()
        await room.pay()
        await room.drain()
        room.receivers.answers[URL] = always(500)
        (d,) = await room.deliveries()
        await room.courier.replay(SCOPE, d.id, actor="a")
        await room.pass_time(86_400 * 5)
        (d,) = await room.deliveries()
        assert (d.state, d.tries, len(room.receivers.got)) == ("failed", TRIES_MAX, 1 + TRIES_MAX)

    run(check)


def test_all_kinds_of_work_are_named() -> None:
    """The worker and the queues tell by the first letters what is the courier's."""
    assert couriers.WORK == ("not_", "dlv_", "whe_")
