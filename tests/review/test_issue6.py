"""What a review of issue 6 found: freezes, lost answers, long invocations and damaged rows."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from payonce.api.app import create_app
from payonce.api.door import Door
from payonce.aws import sweeper
from payonce.aws.api import event_of, respond
from payonce.aws.sweeper import Sent, sweep
from payonce.aws.worker import work
from payonce.awsapi import Answer, Done, Lost, Service
from payonce.awsclient.answers import read
from payonce.awsclient.secrets import fetch
from payonce.bootstrap import App
from payonce.cli.verify_tables import TableAudit
from payonce.core.idempotency import normalise
from payonce.hold import RecordHold
from payonce.serving import ready
from payonce.storage import Shown
from payonce.stores.dynamodb import Tables, create_tables, open_store
from payonce.testing.amazon import ModelAws
from payonce.testing.store_changes import START_US, accept, payment_id, put
from tests.aws.room import LONG_MS, SetClock, WatchedAws, heard, in_room, pay, record, room
from tests.aws.test_api_handler import event

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US


class Freezing(SetClock):
    """As in an environment that is frozen between events, should the monotonic clock stand still meanwhile: the runtime does
    not assume that it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen_us = 0

    def monotonic_us(self) -> int:
        return self.at_us - self.frozen_us

    def freeze(self, for_us: int) -> None:
        self.at_us += for_us
        self.frozen_us += for_us


def in_freezing_room(folder: Path, story: Callable[[App, WatchedAws, Freezing], Awaitable[None]]) -> None:
    """Run a story in an app whose environment freezes."""

    async def told() -> None:
        clock = Freezing()
        async with room(folder, clock) as (app, aws):
            await story(app, aws, clock)

    asyncio.run(told())


class Between:
    """A way to AWS where something else happens just after the answer to a call."""

    def __init__(self, aws: ModelAws) -> None:
        self.aws = aws
        self.after: Callable[[str, Mapping[str, Any]], Awaitable[None]] | None = None

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
        answer = await self.aws.call(service, operation, params)
        if self.after:
            await self.after(operation, params)
        return answer

    async def close(self) -> None: ...


def with_tables(test: Callable[[ModelAws, SetClock, Tables], Awaitable[None]], shards: int = 2) -> None:
    """A test on fresh tables of the model."""

    async def run() -> None:
        clock = SetClock()
        aws = ModelAws(clock)
        tables = Tables(transactions="T", idempotency="I", registry="R", shards=shards)
        await create_tables(aws, clock, tables)
        await test(aws, clock, tables)

    asyncio.run(run())


# --- freezes ------------------------------------------------------------------------------------------------------------


def test_a_hold_is_seen_after_a_freeze(tmp_path: Path) -> None:
    """An environment that slept for an hour of wall time fires nothing under a hold that began meanwhile: after a restore that
    would be a second charge."""

    async def story(app: App, aws: WatchedAws, clock: Freezing) -> None:
        assert await work(app, [], LONG_MS) == []
        clock.freeze(HOUR_US)
        await RecordHold(app.store.registry, clock).begin()
        id = await pay(app, "tok_ok", "a")
        await work(app, [record(id)], LONG_MS)
        p = await app.store.get(id)
        assert p is not None
        assert p.attempts == ()

    in_freezing_room(tmp_path, story)


def test_a_drain_is_seen_after_a_freeze(tmp_path: Path) -> None:
    """An account that was drained an hour ago takes no new payment from an environment that slept since."""

    async def story(app: App, aws: WatchedAws, clock: Freezing) -> None:
        first = await pay(app, "tok_ok", "a")
        await work(app, [record(first)], LONG_MS)
        clock.freeze(HOUR_US)
        other = type(app.health)(app.store.registry, clock)
        await other.drain("mock", actor="operator", reason="works")
        second = await pay(app, "tok_ok", "b")
        await work(app, [record(second)], LONG_MS)
        p = await app.store.get(second)
        assert p is not None
        assert p.attempts == ()

    in_freezing_room(tmp_path, story)


def test_a_lost_message_is_sent_again_after_a_freeze(tmp_path: Path) -> None:
    """The sweeper's environment is frozen for nearly all of each minute; an id whose message was lost is sent again after two
    minutes all the same."""

    async def story(app: App, aws: WatchedAws, clock: Freezing) -> None:
        id, sent = await pay(app, "tok_ok", "a"), Sent()
        await app.wake.flush()
        aws.sent.clear()
        for _ in range(4):
            await sweep(app, sent, LONG_MS)
            clock.at_us += 200_000
            clock.freeze(MINUTE_US - 200_000)
        assert [id for id, _ in aws.sent].count(id) >= 2

    in_freezing_room(tmp_path, story)


# --- the worker ---------------------------------------------------------------------------------------------------------


def test_a_hold_that_begins_in_an_invocation_is_heeded(tmp_path: Path) -> None:
    """A server heeds a hold within about a second; so does a worker that has a payment to try at a second account."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        asked = {"amount": 1050, "currency": "INR", "paymentMethod": "tok_decline_then_ok"}
        id = (await app.engine.submit(app.scope, normalise(asked), "k", actor="api")).payment.id
        send, fired = app.engine.transport.send, list[str]()

        async def slow(request: Any, *args: Any, **more: Any) -> Any:
            answer = await send(request, *args, **more)
            fired.append(request.account)
            if len(fired) == 2:  # the first attempt is declined; somebody restored the tables meanwhile
                await RecordHold(app.store.registry, clock).begin()
                clock.at_us += 3_000_000
                await asyncio.sleep(1.5)  # for whoever looks again by the loop's own time
            return answer

        app.engine.transport.send = slow  # type: ignore[method-assign]
        await work(app, [record(id)], LONG_MS)
        assert len(set(fired)) == 1

    in_room(tmp_path, story)


def test_an_invocation_ends_in_time_when_the_queue_is_silent(tmp_path: Path) -> None:
    """What is left of an invocation is never exceeded: Lambda would kill it, and every message of the batch would come back,
    those that were done too, one delivery nearer to the dead letters."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        id, left_ms = await pay(app, "tok_ok", "k"), 4_000
        await app.wake.flush()
        call = aws.call

        async def silent(service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
            if service != "sqs":
                return await call(service, operation, params)
            await asyncio.sleep(10)
            return Lost("timeout after 10 s")

        aws.call = silent  # type: ignore[method-assign]
        async with asyncio.timeout(left_ms / 1000):
            await work(app, [record(id), record("no id", 2)], left_ms)

    in_room(tmp_path, story)


def test_a_slow_look_at_the_hold_counts(tmp_path: Path) -> None:
    """What the registry takes to say whether there is a hold is time of the invocation too: a payment whose store is silent is
    cut at the end of it, before Lambda kills the whole batch."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        id, call = await pay(app, "tok_ok", "k"), aws.call
        await app.wake.flush()

        async def slow(service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
            if params.get("TableName") == "Registry":
                clock.at_us += 2_500_000
                await asyncio.sleep(2.5)
            elif service == "dynamodb":
                await asyncio.Event().wait()
            return await call(service, operation, params)

        aws.call = slow  # type: ignore[method-assign]
        async with asyncio.timeout(3.5):
            assert [r.message_id for r in await work(app, [record(id)], 3_500)] == ["m1"]

    in_room(tmp_path, story)


def test_messages_do_not_multiply_while_an_account_is_drained(tmp_path: Path) -> None:
    """A second delivery of a message finds its payment waiting and ends there, also when what it waits for is an account that
    takes nothing now: else each message that SQS or the sweeper doubles goes round until the drain ends, hours later."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        await app.health.drain("mock", actor="operator", reason="works")
        id = await pay(app, "tok_ok", "a")
        await app.wake.flush()
        aws.sent.clear()
        await work(app, [record(id)], LONG_MS)
        assert [sent for sent, _ in aws.sent] == [id]
        due_us = await app.store.due_of(id)
        clock.at_us += 3_000_000
        await work(app, [record(id, 2)], LONG_MS)
        assert len(aws.sent) == 1
        assert await app.store.due_of(id) == due_us

    in_room(tmp_path, story)


# --- the sweeper ---------------------------------------------------------------------------------------------------------


def test_what_moves_while_it_is_read_is_due_once() -> None:
    """A worker moves a payment to a later place of the index while a sweep reads: it is named once. Named twice, it takes the
    place of another one, and the sweeper believes that the queue did not take all it sent."""

    async def check(aws: ModelAws, clock: SetClock, tables: Tables) -> None:
        wire = Between(aws)
        store, worker = open_store(wire, clock, tables), open_store(aws, clock, tables)
        for n in range(300):
            await put(store, accept(n, due_us=START_US + n))

        async def move(operation: str, params: Mapping[str, Any]) -> None:
            if operation == "BatchGetItem":
                wire.after = None
                assert await worker.defer(payment_id(0), 1, START_US + 2 * MINUTE_US)

        wire.after = move
        found = [due.payment_id for due in await store.due(START_US + HOUR_US, 400)]
        assert sorted(found) == sorted(set(found))

    with_tables(check, shards=1)


def test_any_number_of_stuck_rows_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than one look takes are stuck (a newer version wrote them and was rolled back); a payment that is due after
    them, whose message was lost, is sent within a few sweeps."""
    monkeypatch.setattr(sweeper, "READ_MAX", 12, raising=False)
    monkeypatch.setattr(sweeper, "SENT_MAX", 6)

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        for n in range(13):
            await pay(app, "tok_ok", f"stuck {n}")
            clock.at_us += 1
        fresh, sent = await pay(app, "tok_ok", "fresh"), Sent()
        await app.wake.flush()
        aws.sent.clear()
        for _ in range(60):
            await sweep(app, sent, LONG_MS)
            clock.at_us += MINUTE_US
        assert fresh in [id for id, _ in aws.sent]

    in_room(tmp_path, story)


def test_a_slow_queue_starves_nothing(tmp_path: Path) -> None:
    """The queue takes only a part of what is due in the time of one flush. The next sweeps go on where the last one stopped,
    so that everything is sent at least once."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        ids = {await pay(app, "tok_ok", str(n)) for n in range(200)}
        await app.wake.flush()
        aws.sent.clear()
        call, sent = aws.call, Sent()

        async def slow(service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
            if operation == "SendMessageBatch":
                await asyncio.sleep(0.02)
            return await call(service, operation, params)

        aws.call = slow  # type: ignore[method-assign]
        app.wake.flush = partial(app.wake.flush, 0.05)  # type: ignore[method-assign, call-arg]
        for _ in range(20):
            await sweep(app, sent, LONG_MS)
            clock.at_us += MINUTE_US
        assert {id for id, _ in aws.sent} == ids

    in_room(tmp_path, story)


def test_what_moves_does_not_rest_longer_each_time(tmp_path: Path) -> None:
    """Under a hold, and while delayed messages are lost, payments go on at the sweeper's pace: each is looked at and put off a
    little. They are not stuck, so they are sent with each sweep that finds them due, and go on within a minute after a hold."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        id, sent = await pay(app, "tok_ok", "k"), Sent()
        await app.hold.begin()
        await app.wake.flush()
        aws.sent.clear()
        for minute in range(8):
            await sweep(app, sent, LONG_MS)
            clock.at_us += 30_000_000
            assert await app.store.defer(id, 1, clock.now_us())  # as a worker does under a hold
            clock.at_us += 30_000_000
            assert len(aws.sent) == minute + 1

    in_room(tmp_path, story)


def test_many_webhooks_hold_no_payment_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More webhooks are due than one sweep sends, all for longer than a payment: it is sent with this sweep all the same, as a
    server gives webhooks a part of its places only."""
    monkeypatch.setattr(sweeper, "SENT_MAX", 8)

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        assert app.webhooks is not None
        for n in range(20):
            await app.webhooks.inbox.put(heard(app, n))
        clock.at_us += 1_000_000
        id = await pay(app, "tok_ok", "k")
        await app.wake.flush()
        aws.sent.clear()
        await sweep(app, Sent(), LONG_MS)
        assert id in [sent for sent, _ in aws.sent]

    in_room(tmp_path, story)


@pytest.mark.parametrize("harm", ["damage", "newer"])
def test_a_row_that_cannot_be_read_hides_no_other_from_people(tmp_path: Path, harm: str) -> None:
    """Payments in doubt are counted, also beside one whose row is damaged or of a newer version; that one needs eyes too."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        ids = [await pay(app, "tok_wrong_amount", key) for key in "ab"]
        for _ in range(8):
            await work(app, [record(id) for id in ids], LONG_MS)
            clock.at_us += 30_000_000
        assert (await sweep(app, Sent(), LONG_MS)).eyes == 2
        column = ("log", {"B": b"\x01damaged"}) if harm == "damage" else ("schema", {"N": "99"})
        await spoil(aws, ids[0], *column)
        fresh = open_store(aws, clock, Tables(transactions="Transactions", idempotency="Idempotency", registry="Registry"))
        swept = await sweep(replace(app, store=fresh), Sent(), LONG_MS)
        assert swept.eyes

    in_room(tmp_path, story)


async def spoil(aws: Any, id: str, name: str, value: Mapping[str, Any]) -> None:
    """Write into a payment's row what payonce did not."""
    params = {
        "TableName": "Transactions",
        "Key": {"transactionId": {"S": id}, "item": {"S": "payment"}},
        "UpdateExpression": "SET #name = :value",
        "ExpressionAttributeNames": {"#name": name},
        "ExpressionAttributeValues": {":value": value},
    }
    assert isinstance(await aws.call("dynamodb", "UpdateItem", params), Done)


# --- the tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["dueShard", "listKey"])
def test_verify_sees_what_no_reader_finds(column: str) -> None:
    """Fewer shards are configured than rows were written with (a process without the setting has 16): what is due in the others
    is never swept, for ever, and nothing tells. Verify names such rows."""

    async def check(aws: ModelAws, clock: SetClock, tables: Tables) -> None:
        few = replace(tables, shards=2)
        store = open_store(aws, clock, few)
        for n in range(8):
            await put(open_store(aws, clock, tables), accept(n))
        kept = Shown(store, RecordHold(store.registry, clock), aws)
        audit = TableAudit(cast("Any", SimpleNamespace(kept=kept, store=store, clock=clock)))
        found = await audit.held([payment_id(n) for n in range(8)])
        seen = {due.payment_id for due in await store.due(START_US + HOUR_US, 100)}
        unseen = {payment_id(n) for n in range(8)} - seen
        assert unseen
        assert {row.id for row in found if column in row.differing} == unseen

    with_tables(check, shards=8)


def test_what_was_cut_is_not_written_hours_later(tmp_path: Path) -> None:
    """A request is cut while DynamoDB is silent, and answered with retry_same_key; then the environment is frozen. When it
    thaws an hour later the payment is not accepted after all: its customer has long gone elsewhere."""

    async def story(app: App, aws: WatchedAws, clock: Freezing) -> None:
        call, silence = aws.call, asyncio.Event()

        async def silent(service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
            if operation == "TransactWriteItems" and not silence.is_set():
                await silence.wait()
                return Lost("the connection was dead after the freeze")
            return await call(service, operation, params)

        aws.call = silent  # type: ignore[method-assign]
        door = Door(app.keys, "test", app.clock, open_to=app.scope)
        asgi = create_app(app.engine, door=door, ready=ready(app), webhooks=app.webhooks)
        ask = {"amount": 1050, "currency": "INR", "paymentMethod": "tok_ok", "provider": "mock"}
        answer = await respond(event_of(event("POST", "/payments", json.dumps(ask))), asgi, app.wake, left_s=3.6)
        assert json.loads(answer["body"])["code"] == "retry_same_key"
        clock.freeze(HOUR_US)
        silence.set()
        await respond(event_of(event()), asgi, app.wake, left_s=20)
        for _ in range(50):
            await asyncio.sleep(0)
        assert await app.store.find_key(app.scope, "k-1") is None

    in_freezing_room(tmp_path, story)


# --- what AWS says -------------------------------------------------------------------------------------------------------


def test_a_binary_secret_is_read_as_aws_sends_it() -> None:
    """A secret that was stored as bytes is usable text; on the wire it stands in base64."""

    class Wire:
        async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
            return read(
                200, {"x-amzn-requestid": "r"}, json.dumps({"Name": "pay/key", "SecretBinary": "c2tfdGVzdA=="}).encode()
            )

        async def close(self) -> None: ...

    assert asyncio.run(fetch(Wire(), SetClock(), {"aws-secret:pay/key": "secret"})) == {"aws-secret:pay/key": "sk_test"}


def test_an_answer_with_broken_binary_is_lost() -> None:
    """What cannot be read says nothing: the write behind it may be done."""
    assert isinstance(read(200, {"x-amzn-requestid": "r"}, b'{"Item": {"log": {"B": "not base64!"}}}'), Lost)


@pytest.mark.parametrize("body", [b"", b'{"error": "sign in first"}'])
def test_a_200_that_is_not_of_aws_is_no_success(body: bytes) -> None:
    """A proxy or a login page on the way answers 200: then nothing is known, and above all not that a payment is durable. Each
    answer of AWS carries x-amzn-requestid (or x-amzn-request-id, x-amz-request-id)."""
    assert isinstance(read(200, {"content-type": "application/json", "server": "proxy"}, body), Lost)
