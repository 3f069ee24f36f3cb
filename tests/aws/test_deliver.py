"""Webhooks to merchants as the functions send them: news are noted where somebody listens, told by the function of their own
queue, and found by the sweeper; on the model of DynamoDB and SQS, with receivers on loopback."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from standardwebhooks import Webhook as Verifier

from payonce.aws import runtime, sweeper
from payonce.aws.deliver import handler, tell
from payonce.aws.sweeper import Sent, sweep
from payonce.aws.worker import work
from payonce.bootstrap import App
from payonce.core import ids
from payonce.core.errors import ConfigError
from payonce.outbound.courier import KEEP_US
from payonce.outbound.endpoints import ACTIVE_AFTER_US, Endpoint
from payonce.ports import Filters, Scope
from payonce.testing.store_changes import accept, grow, note_event, put

from .receiver import Receiver
from .room import LONG_MS, SetClock, WatchedAws, pay, record, room

TIGHT_MS = 60_000  # of an invocation, as the template has it
S = 1_000_000
Story = Callable[[App, WatchedAws, SetClock, Receiver], Awaitable[None]]


def told(folder: Path, story: Story) -> None:
    async def run() -> None:
        clock = SetClock()
        with Receiver().up() as receiver:
            async with room(folder, clock) as (app, aws):
                await story(app, aws, clock, receiver)

    asyncio.run(run())


async def subscribe(app: App, clock: SetClock, url: str) -> Endpoint:
    """An endpoint that counts already."""
    assert app.endpoints is not None
    made = await app.endpoints.create(app.scope, url, actor="test")
    clock.at_us += ACTIVE_AFTER_US
    return made


async def drained(app: App, aws: WatchedAws, clock: SetClock) -> None:
    """Hand what lies in the queue of deliveries to the function, at its time, until nothing does."""
    for _ in range(50):
        batch, aws.told = aws.told[:10], aws.told[10:]
        if not batch:
            return
        clock.at_us += max(delay_s for _, delay_s in batch) * S
        assert await tell(app, [record(id, n) for n, (id, _) in enumerate(batch)], TIGHT_MS) == []
    raise AssertionError("the queue does not get empty")


async def paid(app: App, aws: WatchedAws, key: str = "k") -> str:
    """A payment that is settled; its news are in the queue."""
    id = await pay(app, "tok_ok", key)
    await app.wake.flush()
    assert await work(app, [record(id)], LONG_MS) == []
    return id


def test_a_success_is_told_signed(tmp_path: Path) -> None:
    """The worker notes the news and sends its hint to the other queue; the function turns it into a delivery, which the
    merchant gets once, under the event's id, with a signature that the official library takes."""

    async def story(app: App, aws: WatchedAws, clock: SetClock, receiver: Receiver) -> None:
        endpoint = await subscribe(app, clock, receiver.url)
        id = await paid(app, aws)
        assert aws.told == [(ids.notice_id(id), 0)]
        assert ids.notice_id(id) not in [sent for sent, _ in aws.sent]
        await drained(app, aws, clock)
        ((headers, body),) = receiver.got
        assert app.endpoints is not None
        (secret,) = app.endpoints.secrets(endpoint)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("standardwebhooks.webhooks.datetime", _At(clock))
            event = Verifier(secret).verify(body, headers)
        assert (event["type"], event["data"]["payment"]["transactionId"]) == ("payment.succeeded", id)
        assert headers["webhook-id"] == event["id"]
        page = await app.store.outbox.list(app.scope, 10, payment_id=id)
        assert [(d.state, d.tries, d.status) for d in page.deliveries] == [("delivered", 1, 200)]
        assert await app.store.outbox.noticed(id) is None

    told(tmp_path, story)


class _At:
    """The oracle's clock is the test's."""

    def __init__(self, clock: SetClock) -> None:
        self._clock = clock

    def __getattr__(self, name: str) -> object:
        return getattr(dt.datetime, name)

    def now(self, tz: object = None) -> object:
        assert tz is dt.UTC
        return dt.datetime.fromtimestamp(self._clock.at_us / S, tz=dt.UTC)


def test_who_fails_is_tried_again_and_gets_everything(tmp_path: Path) -> None:
    """Next tries within 15 minutes go by delayed messages, later ones by the sweeper; nothing is lost or told twice."""

    async def story(app: App, aws: WatchedAws, clock: SetClock, receiver: Receiver) -> None:
        await subscribe(app, clock, receiver.url)
        receiver.answers = [503, 500, 429, 503]
        await paid(app, aws)
        await drained(app, aws, clock)
        assert len(receiver.got) >= 3
        sent = Sent()
        for _ in range(50):
            await sweep(app, sent, LONG_MS)
            await drained(app, aws, clock)
            clock.at_us += 300 * S
        assert len(receiver.got) == 5
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
        assert await app.store.outbox.counts() == {"delivered": 1}

    told(tmp_path, story)


def test_lost_messages_are_found_by_the_sweeper(tmp_path: Path) -> None:
    """News and deliveries whose hints were lost are sent to their queue, not to the worker's; the figures say how late."""

    async def story(app: App, aws: WatchedAws, clock: SetClock, receiver: Receiver) -> None:
        await subscribe(app, clock, receiver.url)
        id = await paid(app, aws)
        aws.told.clear()
        clock.at_us += 30 * S
        aws.sent.clear()
        swept = await sweep(app, Sent(), LONG_MS)
        assert aws.told == [(ids.notice_id(id), 0)]
        assert aws.sent == []
        assert (swept.untold, swept.sent) == (1, 1)
        assert swept.untold_s is not None
        assert swept.untold_s >= 30
        await tell(app, [record(ids.notice_id(id))], TIGHT_MS)
        aws.told.clear()
        assert (await sweep(app, Sent(), LONG_MS)).untold == 1
        await drained(app, aws, clock)
        assert len(receiver.got) == 1

    told(tmp_path, story)


def test_without_listeners_nothing_is_noted(tmp_path: Path) -> None:
    """A function that has just started knows within the first event that nobody listens: no notice, no message."""

    async def run() -> None:
        for signs in (True, False):
            clock = SetClock()
            async with room(tmp_path, clock, signs=signs) as (app, aws):
                id = await paid(app, aws)
                assert await app.store.outbox.noticed(id) is None
                assert aws.told == []

    asyncio.run(run())


def test_a_worker_without_the_key_notes_news_all_the_same(tmp_path: Path) -> None:
    """The signing key is for who shows secrets and who signs. The worker holds none, and knows who listens."""

    async def run() -> None:
        clock = SetClock()
        async with room(tmp_path, clock, signs=False) as (app, aws):
            assert app.endpoints is None
            listening = Endpoint(
                id="whe_" + "0" * 20, merchant_id="mer_default", mode="test", url="https://x.invalid", created_us=1, active_us=1
            )
            assert await app.store.registry.put("endpoint", listening.id, msgspec.json.encode(listening), 0)
            id = await paid(app, aws)
            assert await app.store.outbox.noticed(id) is not None
            assert aws.told == [(ids.notice_id(id), 0)]

    asyncio.run(run())


def test_messages_for_the_other_function_are_poison(tmp_path: Path) -> None:
    """Neither function does what is the other one's: such a message ends where people look."""

    async def story(app: App, aws: WatchedAws, clock: SetClock, receiver: Receiver) -> None:
        id = await pay(app, "tok_ok", "k")
        strangers = [record(id, 1), record("wh_" + "0" * 20, 2), record("no id", 3)]
        assert await tell(app, strangers, TIGHT_MS) == strangers
        assert [p.status for p in (await app.store.list(app.scope, Filters(), 10)).payments] == ["PENDING"]
        others = [record("dlv_" + "0" * 20, 1), record("whe_" + "0" * 20, 2), record("not_" + "0" * 20, 3)]
        assert await work(app, others, LONG_MS) == others
        assert await tell(app, others, TIGHT_MS) == []

    told(tmp_path, story)


def test_a_function_that_is_too_short_tells_nothing(tmp_path: Path) -> None:
    """With less time than a call may take none is begun, and the messages come back."""

    async def story(app: App, aws: WatchedAws, clock: SetClock, receiver: Receiver) -> None:
        await subscribe(app, clock, receiver.url)
        id = await paid(app, aws)
        message = record(ids.notice_id(id))
        assert await tell(app, [message], 15_000) == [message]
        assert receiver.got == []
        assert aws.hidden

    told(tmp_path, story)


def test_a_message_that_comes_a_little_early_waits(tmp_path: Path) -> None:
    """Of a delivery that is due in a second nobody else would send the id: so it is waited for, and told."""

    async def story(app: App, aws: WatchedAws, clock: SetClock, receiver: Receiver) -> None:
        await subscribe(app, clock, receiver.url)
        await paid(app, aws)
        ((notice, _),) = aws.told
        aws.told.clear()
        await tell(app, [record(notice)], TIGHT_MS)
        (d,) = (await app.store.outbox.list(app.scope, 10)).deliveries
        assert await app.store.outbox.settle(replace(d, due_us=clock.at_us + S))
        aws.told.clear()
        assert await tell(app, [record(d.id)], TIGHT_MS) == []
        assert len(receiver.got) == 1

    told(tmp_path, story)


def test_the_past_is_told_again_part_by_part(tmp_path: Path) -> None:
    """A recovery goes on by messages of the endpoint's own id, and makes each delivery once."""

    async def story(app: App, aws: WatchedAws, clock: SetClock, receiver: Receiver) -> None:
        for n in range(3):
            await paid(app, aws, str(n))
        aws.told.clear()
        clock.at_us += 60 * S
        endpoint = await subscribe(app, clock, receiver.url)
        assert app.courier is not None
        assert await app.courier.recover(app.scope, endpoint.id, 0, actor="test") == 3
        await app.wake.flush()
        for _ in range(4):
            await drained(app, aws, clock)
            clock.at_us += 30 * S
            await sweep(app, Sent(), LONG_MS)
        assert len(receiver.got) == len({headers["webhook-id"] for headers, _ in receiver.got}) == 3
        (now,) = await app.endpoints.all(app.scope) if app.endpoints else ()
        assert now.recovery is None

    told(tmp_path, story)


def test_old_deliveries_go(tmp_path: Path) -> None:
    """The sweeper removes what is done with and older than the time that deliveries are kept."""

    async def story(app: App, aws: WatchedAws, clock: SetClock, receiver: Receiver) -> None:
        await subscribe(app, clock, receiver.url)
        await paid(app, aws)
        await drained(app, aws, clock)
        clock.at_us += KEEP_US + S
        sweeper._HERE.tidy_at_us = None
        await sweep(app, Sent(), LONG_MS)
        assert await app.store.outbox.counts() == {}

    told(tmp_path, story)


def test_every_merchants_payments_that_need_eyes_are_counted(tmp_path: Path) -> None:
    """The alarm is for all merchants, not for the default one alone."""

    async def story(app: App, aws: WatchedAws, clock: SetClock, receiver: Receiver) -> None:
        for n, merchant in enumerate(("mer_a", "mer_b")):
            p = await put(app.store, accept(n, merchant_id=merchant, due_us=None))
            await put(app.store, grow(p, note_event()))
        p = await put(app.store, accept(7, merchant_id="mer_a", mode="live", due_us=None))
        await put(app.store, grow(p, note_event()))
        assert (await sweep(app, Sent(), LONG_MS)).eyes == 2
        assert (await app.store.list(Scope("mer_a", "test"), Filters(attention=True), 10)).payments

    told(tmp_path, story)


def test_without_a_key_the_function_fails_loudly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its errors are alarmed on; nothing is lost meanwhile."""

    async def run() -> None:
        async with room(tmp_path, SetClock(), signs=False) as (app, _):
            monkeypatch.setattr(runtime, "app", lambda: app)
            with pytest.raises(ConfigError, match="signing_key"):
                handler({"Records": []}, _Context())

    asyncio.run(run())


class _Context:
    def get_remaining_time_in_millis(self) -> int:
        return TIGHT_MS
