"""The Lambda function on a schedule, once a minute: whatever was lost, delayed or never sent on the queue, this finds it in the
indexes and sends its id: payments and webhooks to the worker's queue, and what merchants are to be told to the deliveries'.
Nothing depends on messages because of it. It advances nothing itself.

A backlog is not made worse:

- No more is sent than brings the queue to QUEUED_MAX messages: while the worker cannot keep up, its queue is the backlog.
- An id that nothing has moved since it was sent is sent again 1, 2, 4 … 32 minutes later, not each minute: what is stuck (a
  row of a newer version, a provider that is drained) costs little, and does not keep what is due after it from being sent.
  What was sent is remembered by this execution environment; a new one only sends some ids once more, which is harmless.

What a sweep costs when nothing is due, with S shards (16): 4 S queries of indexes (payments, webhooks, deliveries, and notices
of news) and one of the index of what needs eyes, each half a read unit; up to four queries of the registry, half a unit to one
each (they are consistent); three requests to SQS for the lengths of the queues; and every tenth minute S queries for old
webhooks and 4 for each merchant and mode that ever had a delivery. Nothing is written but, once, the number of shards.

The figures leave as one line of CloudWatch's embedded metric format (docs.aws.amazon.com, CloudWatch user guide, "Embedded
metric format specification", read 2026-11): no call, no permission.
"""

import os
import sys
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from payonce.bootstrap import App
from payonce.core import ids
from payonce.core.errors import ConfigError, InvariantViolated, NewerSchema, PayonceError, StoreUnavailable
from payonce.outbound.courier import FORGET_MAX, KEEP_US
from payonce.ports import Clock
from payonce.storage import keep_shards
from payonce.stores.dynamodb import DynamoStore
from payonce.telemetry import get_logger
from payonce.wake.sqs import standing

from . import runtime
from .batch import Context
from .listening import endpoints

SENT_MAX: Final = 5_000  # ids of one sweep: 83 a second
QUEUED_MAX: Final = 5_000  # messages in the queue beyond which a sweep sends nothing
PART: Final = 40  # ids of one flush: what the queue took is noted part by part
HINTS_PART: Final = 4  # webhooks get at least this part of a sweep, and at most what payments leave
REST_US: Final = 55_000_000  # from the first send of an id to the next, doubled up to
REST_MAX_US: Final = 32 * 60_000_000
EYES_MAX: Final = 500  # payments that need eyes, up to which they are counted
DECIDED: Final = "amount_accepted"  # the attention that stays after a person has decided: nobody need look again
TIDY_US: Final = 600_000_000  # between two looks for old webhooks
END_MS: Final = 5_000  # of an invocation: no further part is begun
NAMESPACE: Final = "payonce"

log = get_logger("aws.sweeper")


class Rest(Struct, frozen=True):
    """An id that was sent when it was due at ``due_us``: it rests until a time of the wall clock, for ``for_us`` in all."""

    due_us: int
    until_us: int
    for_us: int


class Sent:
    """What this execution environment sent, and when each may be sent again."""

    def __init__(self) -> None:
        self._rests: dict[str, Rest] = {}

    def __len__(self) -> int:
        return len(self._rests)

    def rests(self, id: str, due_us: int, now_us: int) -> bool:
        """It was sent a short while ago, for what it is due for now."""
        rest = self._rests.get(id)
        return rest is not None and rest.due_us == due_us and rest.until_us - rest.for_us <= now_us < rest.until_us

    def note(self, id: str, due_us: int, now_us: int) -> None:
        """It is sent now; the next time only after twice as long as the last time, if nothing has moved it by then."""
        before = self._rests.get(id)
        again = before is not None and before.due_us == due_us
        for_us = min(REST_MAX_US, 2 * before.for_us) if before and again else REST_US
        self._rests[id] = Rest(due_us, now_us + for_us, for_us)

    def forget(self, now_us: int) -> None:
        """What was not due any more when its rest was over is done with, until it is due the next time."""
        self._rests = {id: rest for id, rest in self._rests.items() if now_us < rest.until_us + 2 * REST_US}


class Swept(Struct, frozen=True, kw_only=True):
    """What a sweep saw. None: it could not be read, or is not configured."""

    due: int = 0  # payments and webhooks that were looked at
    oldest_s: float = 0.0  # how long the one that has waited longest is due
    untold: int | None = None  # what merchants are to be told, and is due
    untold_s: float | None = None  # how long that has waited which waits longest
    sent: int = 0
    queued: int | None = None
    deliveries: int | None = None  # messages in their queue
    dead: int | None = None
    eyes: int | None = None  # IN_DOUBT or in need of attention
    breakers: int | None = None


class _Sweeper:
    """One execution environment's."""

    def __init__(self) -> None:
        self.sent = Sent()
        self.tidy_at_us: int | None = None  # monotonic


_HERE: Final = _Sweeper()


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Lambda calls this; nobody reads the answer."""
    del event
    app = runtime.app()
    swept = runtime.run(sweep(app, _HERE.sent, context.get_remaining_time_in_millis()))
    sys.stdout.write(metrics(swept, app.clock, os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")) + "\n")
    sys.stdout.flush()
    result: dict[str, Any] = msgspec.to_builtins(swept)
    return result


async def sweep(app: App, sent: Sent, left_ms: int) -> Swept:
    """Send what is due, then count. Raises StoreUnavailable when what is due cannot be read: the next sweep tries again, and
    the function's errors are alarmed on."""
    end_us = app.clock.monotonic_us() + (left_ms - END_MS) * 1000
    queued, deliveries = await _length(app, "wake.queue_url"), await _length(app, "wake.deliveries_url")
    dead = await _length(app, "wake.dead_letter_url")
    swept = await _send(app, sent, min(SENT_MAX, QUEUED_MAX - (queued or 0)), end_us)
    if app.settings.text("wake.deliveries_url") and app.clock.monotonic_us() < end_us:
        swept = await _tell(app, sent, min(SENT_MAX, QUEUED_MAX - (deliveries or 0)), end_us, swept)
    eyes = breakers = None
    if app.clock.monotonic_us() < end_us:
        eyes, breakers = await _eyes(app), await _breakers(app)
    if app.clock.monotonic_us() < end_us:
        await _tidy(app, end_us)
    lengths = {"queued": queued, "deliveries": deliveries, "dead": dead}
    swept = msgspec.structs.replace(swept, **lengths, eyes=eyes, breakers=breakers)
    log.info("swept", **msgspec.to_builtins(swept))
    await _shards(app)
    return swept


async def _send(app: App, sent: Sent, room: int, end_us: int) -> Swept:
    """The ids of what is due, the longest due first."""
    now_us = app.clock.now_us()  # rests too: between two sweeps the monotonic clock may stand still
    sent.forget(now_us)
    limit = max(1, room) + len(sent)  # what rests never hides what is due after it
    rows = [(row.due_us, row.payment_id) for row in await app.store.due(now_us, limit)]
    hints = [(row.due_us, row.id) for row in await app.webhooks.due(now_us, limit)] if app.webhooks else []
    awake = [[(due_us, id) for due_us, id in each if not sent.rests(id, due_us, now_us)] for each in (rows, hints)]
    known = await _sent(app, sent, _chosen(awake[0], awake[1], max(0, room)), end_us)
    oldest_us = now_us - min(rows + hints)[0] if rows or hints else 0
    return Swept(due=len(rows) + len(hints), oldest_s=max(0, oldest_us) / 1_000_000, sent=known)


async def _tell(app: App, sent: Sent, room: int, end_us: int, swept: Swept) -> Swept:
    """The ids of what merchants are to be told, the longest due first. That it cannot be read costs payments nothing."""
    now_us = app.clock.now_us()
    try:
        rows = await _untold(app, now_us, max(1, room) + len(sent))
    except PayonceError as error:
        log.error("what merchants are to be told cannot be read; it stays due", error=str(error))  # noqa: TRY400
        return swept
    awake = sorted((due_us, id) for due_us, id in rows if not sent.rests(id, due_us, now_us))
    known = await _sent(app, sent, awake[: max(0, room)], end_us)
    oldest_us = now_us - min(rows)[0] if rows else 0
    return msgspec.structs.replace(swept, untold=len(rows), untold_s=max(0, oldest_us) / 1_000_000, sent=swept.sent + known)


async def _untold(app: App, now_us: int, limit: int) -> list["_Row"]:
    """Deliveries, news, and endpoints whose past is being told again."""
    outbox, known = app.store.outbox, await endpoints(app).known()
    rows = [(row.due_us, row.id) for row in await outbox.due(now_us, limit)]
    rows += [(row.due_us, ids.notice_id(row.id)) for row in await outbox.notices(now_us, limit)]
    return rows + [(e.recovery.due_us, e.id) for e in known.values() if e.recovery and e.recovery.due_us <= now_us]


async def _sent(app: App, sent: Sent, chosen: "list[_Row]", end_us: int) -> int:
    """Send ids, part by part; of how many it is known that they are on their way."""
    now_us, known = app.clock.now_us(), 0
    for start in range(0, len(chosen), PART):
        part = chosen[start : start + PART]
        for _, id in part:
            app.wake.send(id)
        told = await app.wake.flush()
        known += told if isinstance(told, int) else len(part)
        if isinstance(told, int) and told < len(part):  # which of these are on their way is not known: once more, next time
            break
        for due_us, id in part:
            sent.note(id, due_us, now_us)
        if app.clock.monotonic_us() >= end_us:
            break
    return known


_Row = tuple[int, str]  # when it is due, and its id


def _chosen(payments: list[_Row], hints: list[_Row], room: int) -> list[_Row]:
    """The longest due first. Webhooks get what payments leave, and a part in any case."""
    few = min(len(hints), max(room // HINTS_PART, room - len(payments)))
    return sorted(payments[: room - few] + hints[:few])


async def _shards(app: App) -> None:
    """Keep on record over how many shards the rows of these functions are spread. Raises ConfigError when there were more: what
    is due in the others is not seen, and only the function's errors can say so."""
    try:
        await keep_shards(app.store.registry, app.settings)
    except StoreUnavailable as error:
        log.warning("the number of shards cannot be kept", error=str(error))


async def _length(app: App, setting: str) -> int | None:
    """About how many messages a queue holds, those on their way to the worker included."""
    url = app.settings.text(setting)
    if not url:
        return None
    try:
        lies = await standing(runtime.aws(app), app.clock, url)
    except PayonceError as error:
        log.warning("the length of a queue cannot be read", queue=url, error=str(error))
        return None
    return lies.visible + lies.hidden


async def _eyes(app: App) -> int | None:
    try:
        return await _counted(app)
    except (InvariantViolated, NewerSchema) as error:  # then that one needs eyes, and the others cannot be counted
        log.error("a payment that needs eyes cannot be read", error=str(error))  # noqa: TRY400
        return 1
    except PayonceError as error:
        log.warning("what needs eyes cannot be counted", error=str(error))
        return None


async def _counted(app: App) -> int:
    """Every merchant's."""
    store = app.store
    if not isinstance(store, DynamoStore):
        raise ConfigError(
            "The functions need the three tables (PAYONCE_TRANSACTIONS_TABLE and the others). Deploy the template."
        )
    found = await store.need_eyes(app.settings.mode, EYES_MAX)
    return sum(p.status == "IN_DOUBT" or p.attention != DECIDED for p in found)


async def _breakers(app: App) -> int | None:
    try:
        return sum(state.breaker is not None for state in (await app.health.states()).values())
    except PayonceError as error:
        log.warning("breakers cannot be read", error=str(error))
        return None


async def _tidy(app: App, end_us: int) -> None:
    """Remove old webhooks and deliveries, a page at a time. That it cannot be done now costs nothing."""
    now_us = app.clock.monotonic_us()
    if app.webhooks is None or (_HERE.tidy_at_us is not None and now_us < _HERE.tidy_at_us):
        return
    _HERE.tidy_at_us = now_us + TIDY_US
    try:
        while await app.webhooks.tidy() and app.clock.monotonic_us() < end_us:
            continue
        old_us = app.clock.now_us() - KEEP_US
        while app.clock.monotonic_us() < end_us and await app.store.outbox.forget(old_us, FORGET_MAX):
            continue
    except PayonceError as error:
        log.warning("old webhooks and deliveries stay for now", error=str(error))


METRICS: Final = {
    "OldestDueSeconds": ("oldest_s", "Seconds"),
    "OldestUntoldSeconds": ("untold_s", "Seconds"),
    "Due": ("due", "Count"),
    "Sent": ("sent", "Count"),
    "Queued": ("queued", "Count"),
    "DeadLetters": ("dead", "Count"),
    "NeedEyes": ("eyes", "Count"),
    "BreakersOpen": ("breakers", "Count"),
}


def metrics(swept: Swept, clock: Clock, function: str) -> str:
    """The line that CloudWatch makes metrics of, in the namespace ``payonce`` with the dimension FunctionName."""
    known = {name: value for name, (field, _) in METRICS.items() if (value := getattr(swept, field)) is not None}
    named = [{"Name": name, "Unit": METRICS[name][1]} for name in known]
    sheet = {"Namespace": NAMESPACE, "Dimensions": [["FunctionName"]], "Metrics": named}
    line = {
        "_aws": {"Timestamp": clock.now_us() // 1000, "CloudWatchMetrics": [sheet]},
        "FunctionName": function,
        **known,
    }
    return msgspec.json.encode(line).decode()


runtime.warm()
