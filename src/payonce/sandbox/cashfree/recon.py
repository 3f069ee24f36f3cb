"""POST /recon: the events of the account in a time window, page by page. Charges and refunds, settled or not."""

import base64
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from payonce.sandbox.ledger import PAGE_MAX, Ledger, Movement
from payonce.sandbox.simulator import Reply, reply_json

from .values import NAME, PAYMENT_BASE, Refused, ist, major, number_of, time_us

GROUPED_SINCE: Final = "2026-01-01"
GROUPS: Final = ("order_details", "payment_details", "refund_details")
KINDS: Final = {"charge": "PAYMENT", "capture": "PAYMENT", "refund": "REFUND"}


class _Pagination(Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 10
    cursor: str | None = None


class _Filters(Struct, frozen=True):
    start_date: str
    end_date: str


class WantedEvents(Struct, frozen=True):
    """The body of a request for events."""

    pagination: _Pagination
    filters: _Filters


def events(ledger: Ledger, wanted: WantedEvents, seen_until_us: int, version: str) -> Reply:
    """What moved money from ``start_date`` to ``end_date``, both included, as far as lookups show it; written as the version
    of the API has it."""
    first, last = (time_us(each, "filters") for each in (wanted.filters.start_date, wanted.filters.end_date))
    after = _seq_of(wanted.pagination.cursor)
    page: list[Movement] = []
    while len(page) < wanted.pagination.limit:
        moves = ledger.movements(after)
        for each in moves[:PAGE_MAX]:
            after = each.seq
            at = time_us(each.at)
            if each.provider == NAME and each.kind in KINDS and first <= at <= min(last, seen_until_us):
                page.append(each)
            if len(page) == wanted.pagination.limit:
                break
        if len(moves) < PAGE_MAX:
            break
    cursor = base64.b64encode(f"after {after}".encode()).decode() if page else None
    return reply_json(
        200, {"cursor": cursor, "limit": len(page), "data": [_written(_view(ledger, each), version) for each in page]}
    )


def _seq_of(cursor: str | None) -> int:
    try:
        return int(base64.b64decode(cursor or "", validate=True).decode().removeprefix("after ") or 0)
    except ValueError as error:
        raise Refused(400, "cursor_invalid", "cursor : is not valid") from error


def _written(view: dict[str, Any], version: str) -> dict[str, Any]:
    """Flat as in the specs up to 2025-01-01, in groups afterwards."""
    if version < GROUPED_SINCE:
        return view
    groups: dict[str, dict[str, Any]] = {"event_details": {}}
    for name, value in view.items():
        group = f"{name.split('_')[0]}_details".replace("cf_details", "payment_details")
        groups.setdefault(group if group in GROUPS else "event_details", {})[name] = value
    return dict(groups)


def _view(ledger: Ledger, move: Movement) -> dict[str, Any]:
    order = ledger.by_reference(NAME, "order", move.reference)[0]
    amount = major(move.amount, move.currency)
    at = ist(time_us(move.at))
    view = {
        "event_id": move.provider_ref,
        "event_type": KINDS[move.kind],
        "event_settlement_amount": amount,
        "event_amount": amount,
        "sale_type": "DEBIT" if move.kind == "refund" else "CREDIT",
        "event_status": "SUCCESS",
        "entity": "recon",
        "event_time": at,
        "event_currency": move.currency,
        "order_id": move.reference,
        "order_amount": major(order.doc["amount"], order.doc["currency"]),
    }
    if move.kind == "refund":
        return view | {"refund_id": move.refund_reference, "refund_processed_at": at}
    payment = ledger.thing(NAME, "payment", number_of(move.provider_ref, PAYMENT_BASE))
    paid_at = ist(payment.at_us) if payment else at
    return view | {"cf_payment_id": move.provider_ref, "payment_amount": amount, "payment_time": paid_at}
