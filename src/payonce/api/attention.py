"""GET /attention: what needs somebody, each part counted up to a limit and never by walking a table."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from payonce.core.errors import PayonceError
from payonce.core.idempotency import Details
from payonce.core.retry import SECOND_US
from payonce.mail import Delivery, Webhook
from payonce.ports import Filters, Scope
from payonce.shown.endpoints import delivery_body
from payonce.shown.house_bodies import (
    COUNTED_MAX,
    LATE_S,
    SHOWN_MAX,
    TRIES_MIN,
    Attention,
    DeadLetterList,
    DoubtList,
    OverdueBody,
    OverdueList,
    StrayList,
    StrayWebhook,
    TroubledList,
)
from payonce.shown.views import payment_body, stamp
from payonce.telemetry import get_logger

from .house import House, is_house, there
from .incoming import Query, Request
from .payments import NO_STORE
from .problems import Answer
from .service_state import STRANGERS, StoreLook

NO_DEAD_LETTERS: Final = DeadLetterList(known=False, count=0, data=[])

log = get_logger("api")
_encode: Any = msgspec.json.Encoder().encode


class AttentionDoor:
    """The handler. Payments and deliveries are the caller's own; without ``house`` nothing is here."""

    def __init__(self, house: House | None) -> None:
        self._house = house
        self._store = StoreLook(house) if house else None

    async def look(self, request: Request) -> Answer:
        house, caller = there(self._house), request.caller
        Query(request).check()
        scope, runs_it = caller.scope, is_house(request)
        (held, trouble), doubts, late, strays, troubled, dead = await asyncio.gather(
            self._service(house, runs_it=runs_it),
            _doubts(house, scope),
            _overdue(house, scope),
            _strays(house) if runs_it else _none(),
            _troubled(house, scope) if caller.may("admin") else _none(),
            _dead(house) if runs_it else _none(),
        )
        told = Attention(
            held=held,
            trouble=trouble,
            in_doubt=doubts,
            overdue=late,
            webhooks=strays,
            deliveries=troubled,
            dead_letters=dead,
        )
        return Answer(200, _encode(told), headers=NO_STORE)

    async def _service(self, house: House, *, runs_it: bool) -> tuple[bool, str | None]:
        """Whether it is held, and why the store takes no writes: who runs it is told the reason, which names files."""
        said = await self._store.trouble() if self._store else ""
        return await house.hold.on(), (said if runs_it else STRANGERS) if said else None


async def _none() -> None:
    """It is not this caller's."""


async def _doubts(house: House, scope: Scope) -> DoubtList:
    page = await house.store.list(scope, Filters(attention=True), COUNTED_MAX)
    shown = page.payments[:SHOWN_MAX]
    beside = await house.store.bodies([(p.id, p.details_sha256) for p in shown])
    data = [payment_body(p, _details(beside.get((p.id, p.details_sha256)))) for p in shown]
    return DoubtList(len(page.payments), page.next is not None, data)


def _details(raw: bytes | None) -> Details:
    """Empty when it was erased."""
    return msgspec.json.decode(raw, type=Details) if raw else Details()


async def _overdue(house: House, scope: Scope) -> OverdueList:
    now_us = house.clock.now_us()
    found = await house.figures.overdue(scope, now_us - LATE_S * SECOND_US, COUNTED_MAX + 1)
    data = list[OverdueBody]()
    for row in found[:SHOWN_MAX]:
        p = await house.store.get(row.payment_id)
        if p is not None:
            data.append(
                OverdueBody(
                    transaction_id=p.id,
                    status=p.status,
                    amount=p.amount_minor,
                    currency=p.currency,
                    due_at=stamp(row.due_us),
                    late_s=max(0, (now_us - row.due_us) // SECOND_US),
                )
            )
    return OverdueList(*_capped(len(found)), data)


async def _strays(house: House) -> StrayList:
    """Parked and unmatched, newest first; every account's."""
    parked, unmatched = await asyncio.gather(
        house.inbox.list(COUNTED_MAX, state="parked"), house.inbox.list(COUNTED_MAX, state="unmatched")
    )
    found: Sequence[Webhook] = sorted(
        (*parked.webhooks, *unmatched.webhooks), key=lambda w: (w.received_us, w.id), reverse=True
    )
    count, more = _capped(len(found))
    return StrayList(count, more or bool(parked.next or unmatched.next), [_stray(w) for w in found[:SHOWN_MAX]])


def _stray(w: Webhook) -> StrayWebhook:
    return StrayWebhook(
        id=w.id,
        account=w.account,
        kind=w.kind,
        state=w.state,
        received_at=stamp(w.received_us),
        tries=w.tries,
        deliveries=w.deliveries,
        due_at=None if w.due_us is None else stamp(w.due_us),
    )


async def _troubled(house: House, scope: Scope) -> TroubledList:
    """Failed ones, and of the newest COUNTED_MAX pending ones those that were tried again and again."""
    failed, pending = await asyncio.gather(
        house.outbox.list(scope, COUNTED_MAX, state="failed"), house.outbox.list(scope, COUNTED_MAX, state="pending")
    )
    tried = [d for d in pending.deliveries if d.tries >= TRIES_MIN]
    found: Sequence[Delivery] = sorted((*failed.deliveries, *tried), key=lambda d: (d.created_us, d.id), reverse=True)
    count, more = _capped(len(found))
    return TroubledList(count, more or failed.next is not None, [delivery_body(d) for d in found[:SHOWN_MAX]])


async def _dead(house: House) -> DeadLetterList:
    """A queue that cannot be read is no reason to show nothing else."""
    if house.dead_letters is None:
        return NO_DEAD_LETTERS
    try:
        return await house.dead_letters()
    except PayonceError as error:
        log.warning("the dead-letter queue cannot be read", said=str(error)[:800])
        return NO_DEAD_LETTERS


def _capped(found: int) -> tuple[int, bool]:
    """How many are told, and whether there are more."""
    return min(found, COUNTED_MAX), found > COUNTED_MAX
