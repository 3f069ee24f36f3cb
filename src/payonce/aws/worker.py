"""The Lambda function on the queue: each message is the id of a payment or webhook that is due.

What is promised for each message, whatever else is in its batch:

- A payment is advanced as far as it goes now. If that leaves it due again within 15 minutes (the longest delay of SQS), its id
  is sent again with that delay; what is later is found by the sweeper. Only who moved the payment sends it again: of two
  deliveries of one message the second finds the payment claimed, does nothing, and its message ends there.
- No call is started that could outlast this invocation (``Engine.gone_by_us``). What is left because of that goes back into
  the queue, for an invocation that has its time before it.
- Reported as failed, and so given back to the queue, is only what a bug stopped, what was left for lack of time, and what is no
  id of ours. It need not wait for the whole visibility timeout. After ``maxReceiveCount`` deliveries it lies in the dead-letter
  queue, where people look; the payment stays due and the sweeper sends it again, so no message matters for it.
- A store that does not answer is no failure of the message: the payment is still due, the sweeper finds it.

Delays of SQS are whole seconds up to 900, and its deliveries are at least once and in any order (docs.aws.amazon.com,
SQS developer guide, "Amazon SQS delay queues" and "Standard queues", read 2026-11).
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from payonce.adapter import READS_MAX
from payonce.bootstrap import App
from payonce.engine import LEASE_MARGIN_MS, SEND_WINDOW_MS
from payonce.inbox import PREFIX
from payonce.telemetry import get_logger
from payonce.wake.sqs import hint_of

from . import runtime
from .batch import (
    ANSWER_MS,
    BODY_SHOWN,
    EARLY_US,
    LATER_MAX_US,
    TELL_S,
    Attributes,
    Batch,
    Context,
    Delays,
    Record,
    back_off,
    failures,
)
from .listening import heed
from .written import Written, written

MARGIN_MS: Final = 3_000  # of an invocation: to record what a call said, to send ids again, and to answer
HEED_S: Final = 1.0  # between two looks at the hold

HINTS: Final = ("payment", "webhook")  # what is for this function

__all__ = ["Attributes", "Context", "Record", "handler", "work"]

log = get_logger("aws.worker")


def handler(event: Mapping[str, Any], context: Context) -> dict[str, list[dict[str, str]]]:
    """Lambda calls this. The messages that are named in the answer stay in the queue, all others are deleted."""
    records = msgspec.convert(event, Batch).records
    app = runtime.app()
    try:
        return failures(runtime.run(work(app, records, context.get_remaining_time_in_millis())))
    finally:
        runtime.tell(app)


async def work(app: App, records: Sequence[Record], left_ms: int) -> list[Record]:
    """Advance what the messages name, all at once; those that must come back. ``left_ms``: how long this invocation may
    still take. Never raises for what stores, networks and messages can do."""
    clock, engine = app.clock, app.engine
    end_us = clock.monotonic_us() + left_ms * 1000
    engine.gone_by_us = end_us - MARGIN_MS * 1000
    await asyncio.gather(runtime.respect_hold(app), _listening(app))
    _warn_of_short_life(app, left_ms)
    book = written(app)
    book.clear()
    by_id: dict[str, list[Record]] = {}
    failed: list[Record] = []
    for record in records:
        if hint_of(record.body) in HINTS:
            by_id.setdefault(record.body, []).append(record)
        else:  # nothing will make an id of it, so it is to end where people look
            log.error("a message without an id of ours; it goes to the dead letters", message=record.body[:BODY_SHOWN])
            failed.append(record)
    tasks = {id: asyncio.create_task(_advanced(app, book, id), name=f"advance {id}") for id in by_id}
    heeding = asyncio.create_task(_heed(app), name="heed the hold")
    if tasks:
        await asyncio.wait(tasks.values(), timeout=max(0, (end_us - clock.monotonic_us()) / 1_000_000 - ANSWER_MS / 1000))
    for id, task in tasks.items():
        if not task.done():
            task.cancel()
            log.error("cut at the end of the invocation; what it sent is on record and will be read", id=id)
    heeding.cancel()
    await asyncio.gather(*tasks.values(), heeding, return_exceptions=True)
    for id, task in tasks.items():
        if task.cancelled() or not task.result():
            failed += by_id[id]
    left_s = (end_us - clock.monotonic_us()) / 1_000_000
    for told in (app.wake.flush(), back_off(app, app.settings.text("wake.queue_url"), failed)):
        with suppress(TimeoutError):  # the sweeper finds what was not sent; what is not shown again waits for its visibility
            await asyncio.wait_for(told, min(max(left_s / 2 - 0.2, TELL_S[0]), TELL_S[1]))
    return failed


async def _listening(app: App) -> None:
    """Who wants to hear of payments, if that is known soon: else all news are noted down, which loses nothing."""
    with suppress(TimeoutError):
        async with asyncio.timeout(HEED_S):
            await heed(app)


async def _heed(app: App) -> None:
    """A hold that begins in the middle of an invocation binds it within about a second, as it does a server."""
    while True:
        await asyncio.sleep(HEED_S)
        await runtime.respect_hold(app)


async def _advanced(app: App, book: Written, id: str) -> bool:
    """One payment or webhook, and its id sent again if it is due again soon. False: its message must come back."""
    try:
        await _step(app, id)
        wait_us = book.stands(id, app.clock.now_us())
        if not book.moved(id) and wait_us is not None and 0 < wait_us <= EARLY_US:
            await app.clock.sleep(wait_us / 1_000_000)
            await _step(app, id)
            wait_us = book.stands(id, app.clock.now_us())
    except Exception:
        log.exception("bug: a payment or webhook could not be advanced; it stays due", id=id)
        return False
    if wait_us is None or wait_us > LATER_MAX_US:
        return True  # quiet, or the sweeper's
    if wait_us <= 0 and _short_of_time(app):
        log.info("left for an invocation with more time", id=id)
        return False
    if book.moved(id) and not app.engine.hold and isinstance(app.wake, Delays):  # while held the sweeper's pace is enough
        app.wake.later(id, wait_us / 1_000_000)
    return True


async def _step(app: App, id: str) -> None:
    with app.watcher.working(id):
        if not id.startswith(PREFIX):
            await app.engine.advance(id)
        elif app.webhooks:
            await app.webhooks.resolve(id)


def _short_of_time(app: App) -> bool:
    """Some call of some account could not be started any more."""
    gone = app.engine.gone_by_us
    return gone is not None and app.clock.monotonic_us() + longest_lease_ms(app) * 1000 > gone


def longest_lease_ms(app: App) -> int:
    """What the longest call of all accounts may take, from its claim to the end of its lease."""
    calls = [
        (a.adapter.CAPABILITIES.read_requests or (READS_MAX if a.terms.container else 1)) * a.terms.call_timeout_ms
        for a in app.engine.accounts.values()
    ]
    return SEND_WINDOW_MS + LEASE_MARGIN_MS + max(calls, default=0)


def _warn_of_short_life(app: App, left_ms: int) -> None:
    if longest_lease_ms(app) > left_ms - MARGIN_MS:
        log.error(
            "some calls may take longer than this function lives, and will never be made: raise WorkerTimeout of the template, "
            "or lower timeout_ms of the account",
            longest_s=longest_lease_ms(app) / 1000,
            left_s=left_ms / 1000,
        )


runtime.warm()
