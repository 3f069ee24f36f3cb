"""The figures of a store on DynamoDB. Nothing is counted when a payment is written: that would be a write more for each
change, to rows that all payments of a minute share. They are made of the newest payments, as their rows show them. See
``payonce.figures.Figures``."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

from payonce.core.payment import Payment
from payonce.figures import COUNT_MAX, SPAN_US, WAITING, Span, Tallied, What, of_payment, summed, within
from payonce.ports import Due, Filters, Scope
from payonce.stores.rows import LIMIT_MAX, check_limit

if TYPE_CHECKING:
    from .store import DynamoStore

NEWEST_MAX: Final = 500  # payments of a window that are looked at
EYES_MAX: Final = 500  # payments that need eyes that are counted one by one
DUE_LOOKED: Final = 100  # due rows of all merchants that are looked through for one of them


class DynamoFigures:
    """Made by its store; closed with it. Each question reads up to NEWEST_MAX rows: a read unit each, at least."""

    def __init__(self, store: "DynamoStore") -> None:
        self._store = store

    async def tallies(
        self, scope: Scope, from_us: int, before_us: int, *, span: Span, fold: bool = False, what: Collection[What] = ()
    ) -> Tallied:
        """Of the payments that were accepted within the window: what happened there to older ones is not seen."""
        newest = await self._newest(scope, Filters(created_from_us=from_us, created_before_us=before_us), NEWEST_MAX)
        found = within((t for p in newest for t in of_payment(p)), from_us, before_us, span, what)
        since_us = newest[-1].created_us if len(newest) == NEWEST_MAX else 0
        return Tallied(summed(found, 0 if fold else SPAN_US[span]), complete=False, of=len(newest), since_us=since_us)

    async def standing(self, scope: Scope) -> Mapping[str, int]:
        newest = Counter(p.status for p in await self._newest(scope, Filters(), NEWEST_MAX))
        eyes = await self._newest(scope, Filters(attention=True), EYES_MAX + 1)
        return {status: newest[status] for status in WAITING} | {
            "IN_DOUBT": sum(p.status == "IN_DOUBT" for p in eyes),
            "attention": len(eyes) if len(eyes) <= EYES_MAX else COUNT_MAX + 1,
        }

    async def overdue(self, scope: Scope, before_us: int, limit: int) -> tuple[Due, ...]:
        """Of the first DUE_LOOKED due rows."""
        check_limit(limit)
        found = list[Due]()
        for due in await self._store.due(before_us, DUE_LOOKED):
            p = await self._store.get(due.payment_id)
            if p is not None and Scope(p.merchant_id, p.mode) == scope:
                found.append(due)
            if len(found) == limit:
                break
        return tuple(found)

    async def _newest(self, scope: Scope, filters: Filters, most: int) -> list[Payment]:
        found, cursor = list[Payment](), None
        while len(found) < most:
            page = await self._store.list(scope, filters, min(LIMIT_MAX, most - len(found)), cursor)
            found += page.payments
            cursor = page.next
            if cursor is None:
                break
        return found
