"""GET /workers: what waits and who is to do it, told by questions that stay cheap however much there is."""

import asyncio
from collections.abc import Sequence
from typing import Any, get_args

import msgspec

from payonce import __version__
from payonce.core.retry import SECOND_US
from payonce.mail import DeliveryState, Waiting, WebhookState
from payonce.ports import Due, Scope
from payonce.shown.house_bodies import (
    COUNTED_MAX,
    DUE_COUNTED_MAX,
    LATE_S,
    DeliveryCounts,
    DueBody,
    InboxCounts,
    LaneBody,
    Workers,
)
from payonce.shown.views import stamp

from .house import House, require_house, there
from .incoming import Query, Request
from .payments import NO_STORE
from .problems import Answer
from .service_state import StoreLook

FAR_US = 400 * 86_400 * SECOND_US  # beyond every time that anything is planned for

_encode: Any = msgspec.json.Encoder().encode


class WorkersDoor:
    """The handler; without ``house`` nothing is here."""

    def __init__(self, house: House | None) -> None:
        self._house = house
        self._store = StoreLook(house) if house else None

    async def look(self, request: Request) -> Answer:
        house = there(self._house)
        require_house(request)
        Query(request).check()
        now_us = house.clock.now_us()
        far_us = now_us + FAR_US
        due, next_us, heard, notices, told = await asyncio.gather(
            house.store.due(now_us, DUE_COUNTED_MAX),
            house.store.next_due(),
            house.inbox.due(far_us, DUE_COUNTED_MAX),
            house.outbox.notices(far_us, DUE_COUNTED_MAX),
            house.outbox.due(far_us, DUE_COUNTED_MAX),
        )
        deliveries, inbox = await asyncio.gather(_deliveries(house, request.caller.scope), _inbox(house))
        flying, most = house.lanes.flying(), house.settings.number("limits.backlog_max")
        body = Workers(
            version=__version__,
            started_at=stamp(house.started_us),
            as_of=stamp(now_us),
            store=house.settings.kept_at,
            held=await house.hold.on(),
            worker=house.worker,
            due=_due([row.due_us for row in due], next_us, now_us),
            webhooks_due=_due(*_times(heard), now_us),
            notices=_due(*_times(notices), now_us),
            deliveries_due=_due(*_times(told), now_us),
            deliveries=deliveries,
            inbox=inbox,
            accounts=[
                LaneBody(account=a.name, in_flight=flying.get(a.name, 0), calls_max=a.calls_max or None)
                for a in house.accounts.values()
            ],
            backlog_max=None if house.settings.on_dynamodb else most or None,
            trouble=(await self._store.trouble() if self._store else "") or None,
        )
        return Answer(200, _encode(body), headers=NO_STORE)


def _times(rows: Sequence[Waiting | Due]) -> tuple[list[int], int | None]:
    """Due times, earliest first, and the first of them."""
    times = [row.due_us for row in rows]
    return times, times[0] if times else None


def _due(times_us: Sequence[int], next_us: int | None, now_us: int) -> DueBody:
    """Of due times, earliest first, those that are over; ``next_us`` is the first of all."""
    over = [at for at in times_us if at <= now_us]
    return DueBody(
        now=len(over),
        overdue=sum(at <= now_us - LATE_S * SECOND_US for at in over),
        oldest_s=(now_us - over[0]) // SECOND_US if over else None,
        next_at=None if next_us is None else stamp(next_us),
    )


async def _deliveries(house: House, scope: Scope) -> DeliveryCounts:
    states: tuple[DeliveryState, ...] = get_args(DeliveryState)
    pages = await asyncio.gather(*(house.outbox.list(scope, COUNTED_MAX, state=state) for state in states))
    return DeliveryCounts(**{state: len(page.deliveries) for state, page in zip(states, pages, strict=True)})


async def _inbox(house: House) -> InboxCounts:
    states: tuple[WebhookState, ...] = get_args(WebhookState)
    pages = await asyncio.gather(*(house.inbox.list(COUNTED_MAX, state=state) for state in states))
    return InboxCounts(**{state: len(page.webhooks) for state, page in zip(states, pages, strict=True)})
