"""Public events as merchants get them, by webhook and from ``GET /events``: one projection for both."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from payonce.core import news
from payonce.core.idempotency import Details
from payonce.core.news import News

from .bodies import OperationEntry, PaymentBody
from .views import operation_entry, payment_body, stamp

TEST_TYPE: Final = "webhook.test"  # of an event that is sent on request only, about no payment
ID: Final = r"^evt_[0-9a-hjkmnp-tv-z]{20}[0-9]{6}(?:_[0-9]{1,2})?$"
EXAMPLE_ID: Final = "evt_01kav0q8t03x9m2c7h5n000007"

_Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-11-24T09:30:00.654321Z"])]


class EventData(Struct, frozen=True, kw_only=True):
    """What the event is about, as it was right after it; it may have changed since: `GET /payments/{id}` tells."""

    payment: Annotated[PaymentBody, Meta(description="The payment.")]
    operation: Annotated[
        OperationEntry | None,
        Meta(description="The refund, capture, void or reversal that it is about; null when it is about the payment itself."),
    ]


class EventBody(Struct, frozen=True, kw_only=True):
    """One public event. The same event always has the same id and bytes, however often it is told, until customer data is
    erased."""

    id: Annotated[
        str, Meta(pattern=ID, description="Its id; the header `webhook-id` has it too. May come twice.", examples=[EXAMPLE_ID])
    ]
    type: Annotated[
        str, Meta(description="What happened.", extra_json_schema={"enum": list(news.TYPES)}, examples=["payment.succeeded"])
    ]
    timestamp: Annotated[_Time, Meta(description="When it happened.")]
    data: Annotated[EventData, Meta(description="What it happened to.")]


class EventPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """Some public events, in the order in which they were written."""

    data: Annotated[list[EventBody], Meta(description="The events; may be empty, also before the end.")]
    next_cursor: Annotated[
        str,
        Meta(description="Pass it as `cursor` to go on, now or when more has happened. Always there, and opaque."),
    ]
    more: Annotated[bool, Meta(description="There is more already. False: ask again after a while.", examples=[False])]


def event_body(told: News, details: Details) -> EventBody:
    """``details`` lie beside the history and may be erased: then they are empty."""
    p = told.payment
    operation = operation_entry(p, told.operation) if told.operation else None
    data = EventData(payment=payment_body(p, details), operation=operation)
    return EventBody(id=told.id, type=told.type, timestamp=stamp(told.at_us), data=data)


def payload(told: News, details: Details) -> bytes:
    """The body of a webhook."""
    return msgspec.json.encode(event_body(told, details))
