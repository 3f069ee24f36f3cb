"""The courier: every event reaches every endpoint that wants it, signed, at least once."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from payonce.core import ids
from payonce.core.errors import NewerSchema, StoreUnavailable
from payonce.mail import Delivery
from payonce.outbound.courier import FORGET_MAX, KEEP_US, LEASE_MARGIN_MS, NOTICE_LATER_US
from payonce.outbound.endpoints import ACTIVE_AFTER_US
from payonce.outbound.turns import AT_ONCE, AT_ONCE_FAILING
from payonce.ports import Scope
from payonce.shown.news import EventBody

from .room import DAY_US, SCOPE, SECOND_US, TIMEOUT_MS, URL, Room, always, run

OTHER = "https://other.example.com/in"
LEASE_US = (TIMEOUT_MS + LEASE_MARGIN_MS) * 1000


async def one(room: Room) -> Delivery:
    (found,) = await room.deliveries()
    return found


def test_an_event_is_told_with_a_signature_that_the_oracle_takes() -> None:
    """As GET /events shows it, under the same id; a receiver's library verifies it."""
    standardwebhooks = pytest.importorskip("standardwebhooks", reason="the oracle is a dependency of development")

    async def check(room: Room) -> None:
        room.clock.at_us = int(time.time() * 1_000_000) - ACTIVE_AFTER_US
        endpoint = await room.endpoint()
        payment_id = await room.pay()
        await room.drain()
        (message,) = room.receivers.took
        (secret,) = room.endpoints.secrets(endpoint)
        standardwebhooks.Webhook(secret).verify(message.body, message.headers)
        event = msgspec.json.decode(message.body, type=EventBody)
        assert (event.id, event.type, event.data.payment.transaction_id) == (
            message.id,
            "payment.succeeded",
            payment_id,
        )
        assert event.data.payment.status == "SUCCESS"
        assert {message.id} == await room.news()
        assert (message.url, message.headers["content-type"]) == (URL, "application/json")
        d = await one(room)
        assert (d.state, d.tries, d.status, d.due_us, d.event_id) == ("delivered", 1, 200, None, message.id)

    run(check)


def test_each_endpoint_gets_what_it_wants_and_nothing_of_others() -> None:
    """By type, by merchant, by mode, and from the moment on that was promised."""

    async def check(room: Room) -> None:
        early = await room.pay()
        await room.endpoint(URL)
        await room.endpoint(OTHER, ("refund.*", "payment.failed"))
        await room.endpoint("https://third.example.com/", ("payment.*",))
        await room.endpoint("https://foreign.example.com/", scope=Scope("mer_other", "test"))
        await room.endpoint("https://live.example.com/", scope=Scope("mer_default", "live"))
        fresh = await room.endpoints.create(SCOPE, "https://late.example.com/", actor="test")
        late = await room.pay()
        assert room.clock.now_us() < fresh.active_us
        await room.drain()
        told = {(m.url, msgspec.json.decode(m.body)["data"]["payment"]["transactionId"]) for m in room.receivers.took}
        assert told == {(URL, late), ("https://third.example.com/", late)}
        assert early != late
        assert len(await room.deliveries()) == 2
        for scope in (Scope("mer_other", "test"), Scope("mer_default", "live")):
            assert await room.deliveries(scope) == ()

    run(check)


def test_a_notice_nobody_waits_for_goes_away() -> None:
    """It was written because nobody knew who listens."""

    async def check(room: Room) -> None:
        await room.pay()
        assert len(await room.courier.notices_due(room.clock.now_us(), 10)) == 1
        await room.drain()
        assert (await room.courier.due(2**60, 10), await room.deliveries()) == ((), ())

    run(check)


def test_what_another_process_registered_a_moment_ago_is_not_taken_for_removed() -> None:
    """This one has read the endpoints before; it looks again before it cancels anything."""

    async def check(room: Room) -> None:
        gone = await room.endpoint(OTHER)
        await room.endpoints.disable(SCOPE, gone.id, actor="a")
        await room.endpoints.refresh()
        elsewhere = room.process()
        made = await elsewhere.endpoints.create(SCOPE, URL, actor="a")
        await elsewhere.courier.test(SCOPE, made.id, actor="a")
        await elsewhere.endpoints.enable(SCOPE, gone.id, actor="a")
        await elsewhere.courier.test(SCOPE, gone.id, actor="a")
        await room.drain()
        assert {m.url for m in room.receivers.took} == {URL, OTHER}

    run(check)


def test_a_slow_endpoint_holds_up_no_other() -> None:
    """At most so many at once; what finds it full is put off to a time of its own, and others are served meanwhile."""

    async def check(room: Room) -> None:
        await room.endpoint(URL)
        await room.endpoint(OTHER, ("payment.failed",))
        for _ in range(60):
            await room.pay()
        for row in await room.courier.notices_due(room.clock.now_us(), 100):
            await room.courier.resolve(row.id)
        room.receivers.gate = asyncio.Event()
        due = await room.courier.due(room.clock.now_us(), 100)
        assert len(due) == 60
        tasks = [asyncio.create_task(room.courier.resolve(row.id)) for row in due]
        while sum(task.done() for task in tasks) < 60 - AT_ONCE:
            await asyncio.sleep(0)
        assert (room.receivers.flying, room.receivers.most) == (AT_ONCE, AT_ONCE)
        left = await room.courier.due(2**60, 100)
        times = [row.due_us for row in left if row.due_us < room.clock.now_us() + LEASE_US]
        assert len(times) == len(set(times)) == 60 - AT_ONCE
        assert min(times) > room.clock.now_us()
        room.receivers.gate.set()
        await asyncio.gather(*tasks)
        room.receivers.gate = None
        await room.pass_time(120)
        assert {m.id for m in room.receivers.took} == await room.news()
        assert len(room.receivers.got) == 60

    run(check)


def test_a_failing_endpoint_gets_one_at_a_time() -> None:
    """Sixteen places of a process are not to be waited away by three endpoints that are down."""

    async def check(room: Room) -> None:
        await room.endpoint(URL)
        room.receivers.answers[URL] = always(500)
        await room.pay()
        await room.drain()
        for _ in range(10):
            await room.pay()
        room.receivers.gate, room.receivers.most = asyncio.Event(), 0
        rows = await room.courier.due(room.clock.now_us(), 100)
        for row in rows:
            await room.courier.resolve(row.id)
        tasks = [asyncio.create_task(room.courier.resolve(r.id)) for r in await room.courier.due(room.clock.now_us(), 100)]
        while sum(task.done() for task in tasks) < 10 - AT_ONCE_FAILING:
            await asyncio.sleep(0)
        assert room.receivers.most == AT_ONCE_FAILING
        room.receivers.gate.set()
        await asyncio.gather(*tasks)

    run(check)


def test_two_processes_do_not_send_the_same() -> None:
    """Both see it due, one claims it; when that one dies in the call, the other has it after the lease."""

    async def check(room: Room) -> None:
        await room.endpoint()
        await room.pay()
        couriers = [room.process().courier for _ in range(5)]
        for row in await room.courier.due(room.clock.now_us(), 10):
            await asyncio.gather(*(c.resolve(row.id) for c in couriers))
        (row,) = await room.courier.due(room.clock.now_us(), 10)
        room.receivers.gate, whole = asyncio.Event(), room.store.history

        async def slow(*args: Any) -> Any:  # all of them have seen it due before the first one claims it
            for _ in range(50):
                await asyncio.sleep(0)
            return await whole(*args)

        room.store.history = slow  # type: ignore[method-assign]
        tasks = [asyncio.create_task(c.resolve(row.id)) for c in couriers]
        while sum(task.done() for task in tasks) < 4:
            await asyncio.sleep(0)
        assert len(room.receivers.got) == 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        room.receivers.gate = None
        assert await room.courier.due(room.clock.now_us() + LEASE_US - 1, 10) == ()
        await room.pass_time(LEASE_US / SECOND_US)
        assert [m.id for m in room.receivers.took] == list(await room.news())
        assert (await one(room)).tries == 1

    run(check)


def test_what_cannot_be_read_stays_due_and_is_not_lost() -> None:
    """A row of a newer version beside an older courier: no try is spent, the times between looks grow, and it is told when it
    can be read."""

    async def check(room: Room) -> None:
        await room.endpoint()
        payment_id = await room.pay()
        whole = room.store.history

        async def newer(*_: Any, **__: Any) -> Any:
            raise NewerSchema("a newer version wrote this")

        room.store.history = newer  # type: ignore[method-assign]
        await room.drain()
        assert [w.id for w in await room.courier.notices_due(2**60, 10)] == [ids.notice_id(payment_id)]
        room.store.history = whole  # type: ignore[method-assign]
        await room.pass_time(NOTICE_LATER_US / SECOND_US - 1)
        assert not await room.deliveries()
        room.receivers.answers[URL] = always(500)
        await room.pass_time(1)
        room.receivers.answers[URL] = always(200)
        room.store.history = newer  # type: ignore[method-assign]
        await room.pass_time(86_400 * 5)
        d = await one(room)
        assert (d.state, d.tries, d.said) == ("pending", 1, "the payment cannot be read now")
        assert len(room.receivers.got) == 1
        room.store.history = whole  # type: ignore[method-assign]
        await room.pass_time(86_400)
        assert [m.id for m in room.receivers.took] == list(await room.news())

    run(check)


def test_a_history_without_the_event_is_not_made_up() -> None:
    """A backup that was restored lacks what was promised: the delivery stays due, and says why."""

    async def check(room: Room) -> None:
        await room.endpoint()
        payment_id = await room.pay()
        (row,) = await room.courier.due(room.clock.now_us(), 10)
        await room.courier.resolve(row.id)
        room.store._events[payment_id] = room.store._events[payment_id][:2]
        await room.pass_time(3600)
        d = await one(room)
        assert (d.state, d.tries, d.said) == ("pending", 0, "the event is not in the payment's history")
        assert not room.receivers.got

    run(check)


def test_erased_customer_data_is_told_as_nothing() -> None:
    """The event is the same without them."""

    async def check(room: Room) -> None:
        await room.endpoint()
        await room.pay()
        room.store._bodies.clear()
        await room.drain()
        (message,) = room.receivers.took
        assert "metadata" in msgspec.json.decode(message.body)["data"]["payment"]

    run(check)


def test_without_the_right_signing_key_nothing_is_sent() -> None:
    """It would be refused everywhere and spend the tries; it waits until the key is back."""

    async def check(room: Room) -> None:
        await room.endpoint()
        key, room.key = room.key, b"another" * 8
        await room.pay()
        await room.pass_time(3600)
        d = await one(room)
        assert (d.state, d.tries) == ("pending", 0)
        assert "signing key" in d.said
        assert not room.receivers.got
        room.key = key
        await room.pass_time(86_400)
        assert (await one(room)).state == "delivered"

    run(check)


def test_a_store_that_does_not_answer_ends_nothing() -> None:
    """Whatever fails, the courier says it and the work stays due; an answer is written down when the store is back soon."""

    async def check(room: Room) -> None:
        await room.endpoint()
        await room.pay()
        whole, calls = room.store.outbox.settle, list[int]()

        async def away(delivery: Delivery) -> bool:
            calls.append(1)
            if 2 <= len(calls) <= 4:
                raise StoreUnavailable("away")
            return await whole(delivery)

        room.store.outbox.settle = away  # type: ignore[method-assign]
        await room.drain()
        assert (await one(room)).state == "delivered"
        assert len(room.receivers.got) == 1

        async def gone(*_: Any, **__: Any) -> Any:
            raise StoreUnavailable("away")

        await room.pay()
        for name in ("get", "noticed", "settle", "hand_over"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(room.store.outbox, name, gone)
                for row in await room.courier.due(room.clock.now_us(), 10):
                    await room.courier.resolve(row.id)
        await room.drain()
        assert {m.id for m in room.receivers.took} == await room.news()

    run(check)


def test_news_that_comes_while_a_notice_is_worked_on_is_told_too() -> None:
    """The notice stands when the payment moved on."""

    async def check(room: Room) -> None:
        await room.endpoint()
        payment_id = await room.pay()
        whole = room.store.outbox.hand_over

        async def meanwhile(*args: Any) -> bool:
            room.store.outbox.hand_over = whole  # type: ignore[method-assign]
            await room.refund(payment_id, 10)
            return await whole(*args)

        room.store.outbox.hand_over = meanwhile  # type: ignore[method-assign]
        await room.drain()
        assert sorted(m.id for m in room.receivers.took) == sorted(await room.news())
        assert len(room.receivers.took) == 2

    run(check)


def test_old_deliveries_are_removed_some_at_a_time() -> None:
    """Thirty days after they were made, if they are done with."""

    async def check(room: Room) -> None:
        await room.endpoint()
        for _ in range(FORGET_MAX + 1):
            await room.pay()
        await room.drain()
        room.receivers.answers[URL] = always(500)
        await room.pay()
        await room.drain()
        assert not await room.courier.tidy()
        room.clock.at_us += KEEP_US + SECOND_US
        assert (await room.courier.tidy(), await room.courier.tidy()) == (True, False)
        assert [d.state for d in await room.deliveries()] == ["pending"]

    run(check)


def test_a_disabled_endpoint_that_is_enabled_again_gets_what_happens_from_then_on() -> None:
    """What happened meanwhile is not sent by itself."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoint()
        await room.endpoints.disable(SCOPE, endpoint.id, actor="test")
        await room.pay()
        await room.drain()
        await room.endpoints.enable(SCOPE, endpoint.id, actor="test")
        room.clock.at_us += ACTIVE_AFTER_US
        await room.pay()
        await room.pass_time(DAY_US / SECOND_US)
        assert len(room.receivers.took) == 1

    run(check)
