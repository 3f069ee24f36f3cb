"""What the vendor has in a time window: its list of events for reconciliation (POST /recon), page by page."""

from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Struct

from payonce.adapter import HttpRequest, Listing, Mode, Response, Succeeded, Try, Unknown, Unreadable, Window

from .building import send, utc
from .objects import _Strange, id_of, minor, said, wait_s

PAGE: Final = 500  # the vendor allows 1000
# event_status of a PAYMENT that took no money, or none yet
NO_CHARGE: Final = frozenset(
    {"FAILED", "PENDING", "CANCELLED", "USER_DROPPED", "NOT_ATTEMPTED", "VOID", "FLAGGED", "INCOMPLETE"}
)


class _Page(Struct, frozen=True):
    data: tuple[dict[str, Any], ...] | None
    cursor: str | None = None


def build_listing(window: Window) -> HttpRequest:
    """The window in whole seconds, widened to them: an event on its edge may be listed twice, never missed."""
    before = utc(window.before_us + 999_999)
    pagination: dict[str, Any] = {"limit": PAGE} | ({"cursor": window.cursor} if window.cursor else {})
    return send(
        "POST", "/recon", {"pagination": pagination, "filters": {"start_date": utc(window.from_us), "end_date": before}}
    )


def parse_listing(window: Window, response: Response, mode: Mode) -> Listing | Unreadable:
    """The charges on a page. An entry that cannot be read is shown as Unknown and hides none of the others."""
    if response.status != 200:
        return Unreadable(reason=said(response), retry_after_s=wait_s(response))
    try:
        page = msgspec.json.Decoder(_Page, float_hook=Decimal).decode(response.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ArithmeticError):
        return Unreadable(reason="not the JSON we know")
    entries = page.data or ()
    if entries and page.cursor and page.cursor == window.cursor:
        return Unreadable(reason="the listing does not go on")
    tries = tuple(shown for entry in entries if (shown := _charge(entry, mode)) is not None)
    return Listing(tries=tries, next=page.cursor or "" if entries else "")


def _charge(entry: dict[str, Any], mode: Mode) -> Try | None:
    """A charge among the events; None for everything else. The spec writes the fields flat, the vendor's page in groups."""
    fields = dict(entry)
    for group in ("event_details", "order_details", "payment_details"):
        if isinstance(inner := entry.get(group), dict):
            fields |= {name: value for name, value in inner.items() if value is not None}
    status = fields.get("event_status")
    if fields.get("event_type") != "PAYMENT" or (isinstance(status, str) and status in NO_CHARGE):
        return None
    try:
        if status != "SUCCESS":
            raise _Strange(f"unmapped event status {str(status)[:40]}")
        ref, reference = fields.get("cf_payment_id") or fields.get("event_id"), fields.get("order_id")
        amount, currency = fields.get("payment_amount") or fields.get("event_amount"), fields.get("event_currency")
        if not isinstance(ref, str | int) or not isinstance(reference, str) or not reference:
            raise _Strange("a charge without its ids")
        if isinstance(amount, bool) or not isinstance(amount, int | Decimal) or not isinstance(currency, str):
            raise _Strange("a charge without its amount")
        taken = minor(Decimal(amount), currency)
        return Succeeded(ref=id_of(ref), reference=reference, amount_minor=taken, currency=currency, mode=mode)
    except (_Strange, ArithmeticError) as odd:
        return Unknown(reason=str(odd) or "not an amount")
