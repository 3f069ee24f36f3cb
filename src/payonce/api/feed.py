"""Pages of public events: places of the feed, projected from the histories of their payments. No HTTP here: the command line
reads the same pages."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from payonce.core import news
from payonce.core.errors import InvariantViolated, NewerSchema, PayonceError
from payonce.core.events import Entry
from payonce.core.idempotency import Details
from payonce.core.news import News
from payonce.core.payment import Payment
from payonce.ports import Fed, FeedPage, Scope
from payonce.shown.news import EventBody, EventPage, event_body

EVENTS_LIMIT, EVENTS_LIMIT_MAX = 20, 100
ROUNDS_MAX: Final = 5  # pages of the feed that one request looks through for a type
HISTORY_PAGE: Final = 1000
READS_AT_ONCE: Final = 8  # histories
UNREADABLE: Final = (NewerSchema, InvariantViolated)  # of one payment; what else a store raises is about all of them


class Source(Protocol):
    """What of a store is read here; see ``ports.Store``."""

    async def get(self, payment_id: str) -> Payment | None: ...
    async def feed(self, scope: Scope, limit: int, cursor: str | None = None, since_us: int = 0) -> FeedPage: ...
    async def history(self, payment_id: str, after_seq: int = 0, limit: int = 1000) -> tuple[Entry, ...]: ...
    async def bodies(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]: ...


class _Read(Struct, frozen=True):
    """The events of one page of the feed, and where it ends."""

    events: list[News]
    next: str
    more: bool


async def events_page(
    store: Source,
    scope: Scope,
    *,
    cursor: str | None = None,
    since_us: int = 0,
    limit: int = EVENTS_LIMIT,
    type: str | None = None,
) -> EventPage:
    """About ``limit`` events from ``cursor`` on, else from the first at or after ``since_us``. What one write told is never
    torn apart, so there may be one or two more. At most ROUNDS_MAX pages of the feed are looked through: with ``type`` this
    page may be short or empty although there is more.

    A payment that cannot be read ends the page before its event; a page that would begin with it raises NewerSchema or
    InvariantViolated, so that nothing is passed over. Raises ValueError for a cursor that is not ours, and StoreUnavailable.
    """
    read = await _read(store, scope, cursor, since_us, limit)
    found = [told for told in read.events if type in (None, told.type)]
    for _ in range(ROUNDS_MAX - 1):
        if not read.more or len(found) >= limit:
            break
        try:
            read = await _read(store, scope, read.next, 0, limit - len(found))
        except UNREADABLE:
            break  # what was found goes out; the next request says it
        found += [told for told in read.events if type in (None, told.type)]
    return EventPage(data=await _shown(store, found), next_cursor=read.next, more=read.more)


async def event_of(store: Source, scope: Scope, event_id: str) -> EventBody | None:
    """One event, or None: there is none with this id, or it is not this caller's."""
    place = news.place_of(event_id)
    if place is None:
        return None
    payment_id, seq = place
    p = await store.get(payment_id)
    if p is None or (p.merchant_id, p.mode) != (scope.merchant_id, scope.mode) or seq > p.version:
        return None
    told = next((told for told in await _news_of(store, payment_id, {seq}) if told.id == event_id), None)
    return (await _shown(store, [told]))[0] if told else None


async def _read(store: Source, scope: Scope, cursor: str | None, since_us: int, limit: int) -> _Read:
    """A page of the feed, up to the first place that cannot be projected."""
    while True:
        page = await store.feed(scope, limit, cursor, since_us)
        read = await _histories(store, scope, page.entries)
        events: list[News] = []
        for place, fed in enumerate(page.entries):
            told = read[fed.payment_id]
            if isinstance(told, PayonceError) and place == 0:
                raise told
            if isinstance(told, PayonceError):
                limit = place  # again, only as far: the cursor of a page stands at its end
                break
            events += [each for each in told if each.seq == fed.seq]
        else:
            return _Read(events, page.next, page.more)


async def _histories(store: Source, scope: Scope, entries: Sequence[Fed]) -> dict[str, list[News] | PayonceError]:
    """Each payment's news of these places, its history read once; or why it cannot be read."""
    seqs: dict[str, set[int]] = {}
    for fed in entries:
        seqs.setdefault(fed.payment_id, set()).add(fed.seq)
    room = asyncio.Semaphore(READS_AT_ONCE)

    async def one(payment_id: str) -> list[News] | PayonceError:
        async with room:
            try:
                told = await _news_of(store, payment_id, seqs[payment_id])
            except UNREADABLE as error:
                return error
        for each in told:
            if (each.payment.merchant_id, each.payment.mode) != (scope.merchant_id, scope.mode):
                raise InvariantViolated(f"the feed of {scope.merchant_id} names a payment of somebody else")
        return told

    return dict(zip(seqs, await asyncio.gather(*map(one, seqs)), strict=True))


async def _news_of(store: Source, payment_id: str, seqs: set[int]) -> list[News]:
    """The news of a payment at these seqs. Raises InvariantViolated where the history does not reach that far."""
    top, entries = max(seqs), list[Entry]()
    while len(entries) < top:
        page = await store.history(payment_id, len(entries), min(HISTORY_PAGE, top - len(entries)))
        if not page:
            raise InvariantViolated(f"the history of {payment_id} ends before {top}")
        entries += page
    return [told for told in news.of_history(entries) if told.seq in seqs]


async def _shown(store: Source, found: Sequence[News]) -> list[EventBody]:
    """With the customer data that lies beside the histories, in one read."""
    keys = list(dict.fromkeys((told.payment.id, told.payment.details_sha256) for told in found))
    beside = await store.bodies(keys) if keys else {}
    return [event_body(told, _details(beside.get((told.payment.id, told.payment.details_sha256)))) for told in found]


def _details(raw: bytes | None) -> Details:
    """Empty when they were erased."""
    return msgspec.json.decode(raw, type=Details) if raw else Details()
