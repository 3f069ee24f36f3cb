"""The Lambda function on the queue of what merchants are to be told: each message is the id of a payment's news, of a delivery,
or of an endpoint whose past is being told again. Its queue and its concurrency are its own, so that endpoints that are slow or
dead keep no payment waiting.

As with the worker, no message matters: what is due stands in the tables, and the sweeper sends it again. A delivery that is due
again within 15 minutes is sent again with that delay by whoever moved it; later tries are the sweeper's. Reported as failed is
only what a bug stopped, what this invocation has no time for, and what is no id of ours.

Each try is a POST to an address that a merchant chose, over the internet: the function is in no VPC, so nothing inside one can
be reached from it, and ``outbound.guard`` refuses addresses that are not public.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from payonce.bootstrap import App
from payonce.core.errors import ConfigError, PayonceError
from payonce.outbound.courier import LEASE_MARGIN_MS, RECOVER_S
from payonce.outbound.endpoints import PREFIX as ENDPOINT
from payonce.outbound.telling import PREFIX as DELIVERY
from payonce.telemetry import get_logger
from payonce.wake.sqs import is_outbound

from . import runtime
from .batch import (
    ANSWER_MS,
    BODY_SHOWN,
    EARLY_US,
    LATER_MAX_US,
    TELL_S,
    Batch,
    Context,
    Delays,
    Record,
    back_off,
    failures,
)
from .listening import heed
from .written import Written, written

MARGIN_MS: Final = 3_000  # of an invocation: to record what an endpoint said, to send ids again, and to answer
GO_ON_US: Final = 2_000_000  # to the next part of a recovery

log = get_logger("aws.deliver")


def handler(event: Mapping[str, Any], context: Context) -> dict[str, list[dict[str, str]]]:
    """Lambda calls this. The messages that are named in the answer stay in the queue, all others are deleted. Raises
    ConfigError without a signing key: the function's errors are alarmed on."""
    records = msgspec.convert(event, Batch).records
    app = runtime.app()
    if app.courier is None:
        raise ConfigError("webhooks.signing_key is not set, so nothing can be signed. Nothing was told; it all stays due.")
    try:
        return failures(runtime.run(tell(app, records, context.get_remaining_time_in_millis())))
    finally:
        runtime.tell(app)


async def tell(app: App, records: Sequence[Record], left_ms: int) -> list[Record]:
    """Do what the messages name, all at once; those that must come back. ``left_ms``: how long this invocation may still take.
    Never raises for what stores, networks and messages can do."""
    clock = app.clock
    end_us = clock.monotonic_us() + left_ms * 1000
    await heed(app)
    book = written(app)
    book.clear()
    by_id: dict[str, list[Record]] = {}
    failed: list[Record] = []
    for record in records:
        if is_outbound(record.body):
            by_id.setdefault(record.body, []).append(record)
        else:  # nothing will make an id of it, so it is to end where people look
            log.error("a message without an id for this queue; it goes to the dead letters", message=record.body[:BODY_SHOWN])
            failed.append(record)
    if by_id and longest_ms(app) > left_ms - MARGIN_MS:
        log.error(
            "a call may take longer than this function lives, so none is made: lower webhooks.timeout_ms, or raise "
            "DeliverTimeout of the template",
            longest_s=longest_ms(app) / 1000,
            left_s=left_ms / 1000,
        )
        failed += [record for each in by_id.values() for record in each]
        by_id = {}
    tasks = {id: asyncio.create_task(_told(app, book, id), name=f"tell {id}") for id in by_id}
    if tasks:
        await asyncio.wait(tasks.values(), timeout=max(0, (end_us - clock.monotonic_us()) / 1_000_000 - ANSWER_MS / 1000))
    for id, task in tasks.items():
        if not task.done():
            task.cancel()
            log.error("cut at the end of the invocation; it stays due, and may be told twice", id=id)
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    failed += [record for id, task in tasks.items() if task.cancelled() or not task.result() for record in by_id[id]]
    left_s = (end_us - clock.monotonic_us()) / 1_000_000
    for said in (app.wake.flush(), back_off(app, app.settings.text("wake.deliveries_url"), failed)):
        with suppress(TimeoutError):  # the sweeper finds what was not sent
            await asyncio.wait_for(said, min(max(left_s / 2 - 0.2, TELL_S[0]), TELL_S[1]))
    return failed


def longest_ms(app: App) -> int:
    """What a try, or a part of a recovery, may take, from its claim to the end of its lease."""
    return max(app.settings.number("webhooks.timeout_ms") + LEASE_MARGIN_MS, RECOVER_S * 1000 + LEASE_MARGIN_MS)


async def _told(app: App, book: Written, id: str) -> bool:
    """One of them, and its id sent again if it is due again soon. False: its message must come back."""
    try:
        await _resolve(app, id)
        wait_us = await _wait_us(app, book, id)
        if not book.moved(id) and wait_us is not None and 0 < wait_us <= EARLY_US:
            await app.clock.sleep(wait_us / 1_000_000)
            await _resolve(app, id)
            wait_us = await _wait_us(app, book, id)
    except Exception:
        log.exception("bug: it could not be told; it stays due", id=id)
        return False
    mine, soonest_us = (True, GO_ON_US) if id.startswith(ENDPOINT) else (book.moved(id), 0)
    if mine and wait_us is not None and wait_us <= LATER_MAX_US and isinstance(app.wake, Delays):
        app.wake.later(id, max(soonest_us, wait_us) / 1_000_000)
    return True


async def _resolve(app: App, id: str) -> None:
    if app.courier is not None:
        await app.courier.resolve(id)


async def _wait_us(app: App, book: Written, id: str) -> int | None:
    """Until it is due again; None: never, or not known. A delivery that was not moved here may have come too early: then its
    row says so, and nobody else will send it."""
    now_us = app.clock.now_us()
    if book.moved(id):
        return book.stands(id, now_us)
    try:
        if id.startswith(ENDPOINT):
            endpoint = (await app.endpoints.known(fresh=True)).get(id) if app.endpoints else None
            return endpoint.recovery.due_us - now_us if endpoint and endpoint.recovery else None
        delivery = await app.store.outbox.get(id) if id.startswith(DELIVERY) else None
    except PayonceError:
        return None  # it stays due
    return None if delivery is None or delivery.due_us is None else delivery.due_us - now_us


runtime.warm()
