"""What is told: the news in a payment's history, as deliveries and as payloads. Read again at each try, never stored."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Struct

from payonce.core import ids, news
from payonce.core.events import Entry
from payonce.core.news import News
from payonce.intake import details_of
from payonce.mail import Delivery
from payonce.ports import Scope, Store
from payonce.shown.news import TEST_TYPE, payload
from payonce.shown.views import stamp

from .endpoints import Endpoint

PREFIX: Final = "dlv_"
HISTORY_PAGE: Final = 1000
TEST_MESSAGE: Final = "This is a test of payonce. It is about no payment; nothing happened."


class TestData(Struct, frozen=True):
    test: bool
    message: str


class TestEvent(Struct, frozen=True):
    """An event that is sent on request only, in the form of the others."""

    id: str
    type: str
    timestamp: str
    data: TestData


def delivery_id(endpoint_id: str, event_id: str) -> str:
    """The same whenever it is made."""
    return PREFIX + ids.encode(
        int.from_bytes(sha256(f"{endpoint_id}/{event_id}".encode()).digest()) >> (256 - 5 * ids.ID_CHARS)
    )


async def history(store: Store, payment_id: str) -> tuple[Entry, ...]:
    """All of it."""
    found: list[Entry] = []
    while page := await store.history(payment_id, found[-1].envelope.seq if found else 0, HISTORY_PAGE):
        found += page
        if len(page) < HISTORY_PAGE:
            break
    return tuple(found)


def deliveries(told: Iterable[News], endpoints: Iterable[Endpoint], now_us: int, *, all: bool = False) -> tuple[Delivery, ...]:
    """One for each event and endpoint that wants it, due now. ``all``: also of events before the endpoint counts."""
    return tuple(
        Delivery(
            id=delivery_id(e.id, n.id),
            endpoint_id=e.id,
            merchant_id=e.merchant_id,
            mode=e.mode,
            event_id=n.id,
            type=n.type,
            payment_id=n.payment.id,
            seq=n.seq,
            created_us=now_us,
            due_us=now_us,
        )
        for n in told
        for e in endpoints
        if e.scope == Scope(n.payment.merchant_id, n.payment.mode) and e.wants(n.type) and (all or e.active_us <= n.at_us)
    )


def test_delivery(e: Endpoint, event_id: str, now_us: int) -> Delivery:
    return Delivery(
        id=delivery_id(e.id, event_id),
        endpoint_id=e.id,
        merchant_id=e.merchant_id,
        mode=e.mode,
        event_id=event_id,
        type=TEST_TYPE,
        created_us=now_us,
        due_us=now_us,
    )


async def body(store: Store, d: Delivery) -> bytes | None:
    """What is sent; None when the event is not in the history, which is not whole then. Raises NewerSchema,
    InvariantViolated and StoreUnavailable."""
    if d.type == TEST_TYPE:
        return msgspec.json.encode(TestEvent(d.event_id, d.type, stamp(d.created_us), TestData(True, TEST_MESSAGE)))
    told = next((n for n in news.of_history(await history(store, d.payment_id)) if n.id == d.event_id), None)
    if told is None or (told.payment.merchant_id, told.payment.mode) != (d.merchant_id, d.mode):
        return None
    return payload(told, await details_of(store, told.payment))
