"""What the vendor's answers mean: to sends, and to the two or three requests of a read."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from payonce.adapter import (
    EXPONENTS,
    Absent,
    Authorized,
    Closed,
    Created,
    Declined,
    Found,
    HttpRequest,
    Intent,
    Processing,
    ReadOutcome,
    Refunded,
    Rejected,
    Response,
    SendOutcome,
    Succeeded,
    Try,
    Unknown,
    Unreadable,
    from_decimal,
    retry_after_s,
    to_decimal,
)

from .building import get, place
from .words import DECLINES, OPEN_PAYMENTS, ORDER_STATUSES, REASONS, REFUND_STATUSES, REJECTIONS, SOURCES

PAYMENT_ENDS_S: Final = 86_400  # the longest time limit of a payment that an account can have
NEVER_US: Final = 253_402_300_799_000_000  # an expiry that cannot be read is never over


class _Order(Struct, frozen=True):
    order_id: str
    order_status: str
    order_amount: Decimal
    order_currency: str
    payment_session_id: str | None = None
    order_expiry_time: str | None = None


class _Details(Struct, frozen=True):
    error_code: str | None = None
    error_reason: str | None = None
    error_source: str | None = None


class _Surcharge(Struct, frozen=True):
    payment_surcharge_service_charge: Decimal | None = None
    payment_surcharge_service_tax: Decimal | None = None


class _Payment(Struct, frozen=True):
    cf_payment_id: str | int
    order_id: str
    payment_status: str
    order_amount: Decimal | None = None
    order_currency: str | None = None
    payment_amount: Decimal | None = None
    payment_currency: str | None = None
    is_captured: bool | None = None
    error_details: _Details | None = None
    payment_surcharge: _Surcharge | None = None


class _Paying(Struct, frozen=True):
    cf_payment_id: str | int


class _Refund(Struct, frozen=True):
    refund_id: str
    order_id: str
    refund_status: str
    refund_amount: Decimal
    refund_currency: str
    cf_refund_id: str | int
    cf_payment_id: str | int | None = None


class _Error(Struct, frozen=True):
    type: str
    code: str = ""


class _Strange(Exception):
    """An answer that is not what the spec says, or contradicts itself."""


# --- sends ---------------------------------------------------------------------------------------------


def sent(intent: Intent, response: Response) -> SendOutcome:
    """What a whole answer to a send means."""
    if response.status != 200:
        return _refused(response)
    try:
        match intent.kind:
            case "create":
                return _created(intent, response)
            case "fire":
                return Processing(ref=_id_of(_decoded(response, _Paying).cf_payment_id), reference=intent.reference)
            case "close":
                return _closed(intent, response)
            case "refund":
                return _refund_of(_decoded(response, _Refund))
    except _Strange as strange:
        return Unknown(reason=str(strange))
    except ArithmeticError:  # a number that is none
        return Unknown(reason="not an amount")
    return Unknown(reason=f"cashfree has no step {intent.kind}")


def _created(intent: Intent, response: Response) -> SendOutcome:
    order = _decoded(response, _Order)
    if order.order_status != "ACTIVE" or not order.payment_session_id:
        raise _Strange(f"a new order that is {order.order_status[:40]} or has no session")
    if not _as_asked(intent, order):
        raise _Strange("the order is about another amount")
    return Created(container=order.payment_session_id, reference=order.order_id)


def _closed(intent: Intent, response: Response) -> SendOutcome:
    order = _decoded(response, _Order)
    if order.order_status not in ("TERMINATED", "TERMINATION_REQUESTED"):
        raise _Strange(f"the order is {order.order_status[:40]}")
    return Closed(container=intent.container, reference=order.order_id)


def _refund_of(refund: _Refund) -> SendOutcome:
    if refund.refund_status != "SUCCESS":
        raise _Strange(f"the refund is {refund.refund_status[:40]}")
    return _refunded(refund)


def _refused(response: Response) -> SendOutcome:
    if _error_of(response).type in REJECTIONS.get(response.status, ()):
        return Rejected(reason=_said(response))
    return Unknown(reason=_said(response), retry_after_s=_wait_s(response))


# --- reads --------------------------------------------------------------------------------------------------------


def read(intent: Intent, response: Response) -> ReadOutcome | HttpRequest:
    """What a whole answer to a read means, or what to ask next."""
    if response.status == 404 and not intent.seen and _error_of(response).code == "order_not_found":
        return Absent()
    if response.status != 200:
        return Unreadable(reason=_said(response), retry_after_s=_wait_s(response))
    try:
        return _whole(intent, (*intent.seen, response))
    except _Strange as strange:
        return Unreadable(reason=str(strange))
    except ArithmeticError:
        return Unreadable(reason="not an amount")


def _whole(intent: Intent, answers: Sequence[Response]) -> ReadOutcome | HttpRequest:
    order = _decoded(answers[0], _Order)
    if order.order_status not in ORDER_STATUSES:
        raise _Strange(f"unmapped order status {order.order_status[:40]}")
    path = place(intent)
    if len(answers) == 1:
        return get(f"{path}/payments")
    payments = _decoded(answers[1], tuple[_Payment, ...])
    for payment in payments:
        _agree(order, payment)
    taken = [payment for payment in payments if payment.payment_status == "SUCCESS"]
    if order.order_status == "PAID" and not taken:
        raise _Strange("the order is PAID, its payment is not listed yet")
    if taken and len(answers) == 2:
        return get(f"{path}/refunds")
    refunds = _decoded(answers[2], tuple[_Refund, ...]) if taken else ()
    for refund in refunds:
        if refund.refund_status not in REFUND_STATUSES:
            raise _Strange(f"unmapped refund status {refund.refund_status[:40]}")
    done = [refund for refund in refunds if refund.refund_status == "SUCCESS"]
    return Found(
        tries=tuple(_try(intent, order, payment, done) for payment in payments),
        refunds=tuple(_refunded(refund) for refund in done),
        container="closed" if order.order_status in ("TERMINATED", "EXPIRED") else "open",
        container_id=order.payment_session_id or "" if _as_asked(intent, order) else "",
        reference=order.order_id,
    )


def _agree(order: _Order, payment: _Payment) -> None:
    """Both answers must be about one order."""
    theirs = (payment.order_id, payment.order_amount, payment.order_currency)
    ours = (order.order_id, order.order_amount, order.order_currency)
    if any(told is not None and told != known for told, known in zip(theirs, ours, strict=True)):
        raise _Strange("the list of payments is about another order")


def _try(intent: Intent, order: _Order, payment: _Payment, refunds: Sequence[_Refund]) -> Try:
    ref, reference = _id_of(payment.cf_payment_id), payment.order_id
    if payment.payment_status in OPEN_PAYMENTS:
        return Processing(ref=ref, reference=reference)
    if payment.payment_status in DECLINES:
        why, word = _why(payment)
        flips = None if order.order_status == "TERMINATED" else _ends_us(order)
        return replace(why, ref=ref, reference=reference, vendor_code=word, flips_until_us=flips)
    if payment.payment_status != "SUCCESS":
        raise _Strange(f"unmapped payment status {payment.payment_status[:40]}")
    currency = payment.payment_currency or ""
    amount = _minor(_without_surcharge(payment), currency)
    if payment.is_captured is False:
        return Authorized(ref=ref, reference=reference, amount_minor=amount, currency=currency, mode=intent.mode)
    return Succeeded(
        ref=ref,
        reference=reference,
        amount_minor=amount,
        currency=currency,
        mode=intent.mode,
        refunded_minor=_refunded_minor(order, payment, refunds, amount),
    )


def _why(payment: _Payment) -> tuple[Declined, str]:
    """What a payment that is a no means for what comes next, and the vendor's word for it."""
    details, status = payment.error_details, payment.payment_status
    if status != "FAILED" or details is None:
        return DECLINES[status], status
    words = [word for word in (details.error_reason, details.error_code) if word]
    known = next((word for word in words if word in REASONS), None)
    if known:
        return REASONS[known], known
    return SOURCES.get(details.error_source or "", DECLINES[status]), words[0][:64] if words else status


def _refunded_minor(order: _Order, payment: _Payment, refunds: Sequence[_Refund], taken_minor: int) -> int:
    total = 0
    for refund in refunds:
        if (refund.order_id, refund.refund_currency) != (order.order_id, payment.payment_currency):
            raise _Strange("the list of refunds is about another order")
        if refund.cf_payment_id is None or _id_of(refund.cf_payment_id) == _id_of(payment.cf_payment_id):
            total += _minor(refund.refund_amount, refund.refund_currency)
    if total > taken_minor:
        raise _Strange("more was given back than was taken")
    return total


def _refunded(refund: _Refund) -> Refunded:
    return Refunded(
        ref=_id_of(refund.cf_refund_id),
        reference=refund.refund_id,
        amount_minor=_minor(refund.refund_amount, refund.refund_currency),
        currency=refund.refund_currency,
    )


# --- values -------------------------------------------------------------------------------------------------------


def _as_asked(intent: Intent, order: _Order) -> bool:
    """The order is for our money. Digits are compared, so that 10.5 is 10.50."""
    asked = Decimal(to_decimal(intent.amount_minor, intent.currency))
    return (order.order_amount, order.order_currency) == (asked, intent.currency)


def _without_surcharge(payment: _Payment) -> Decimal:
    if payment.payment_amount is None:
        raise _Strange("a successful payment without an amount")
    extra = payment.payment_surcharge or _Surcharge()
    parts = [extra.payment_surcharge_service_charge, extra.payment_surcharge_service_tax]
    known = [part for part in parts if part]
    return payment.payment_amount - sum(known, Decimal(0)) if known else payment.payment_amount


def _minor(amount: Decimal, currency: str) -> int:
    if currency not in EXPONENTS:
        raise _Strange(f"unknown currency {currency[:8]}")
    try:
        return from_decimal(format(amount, "f"), currency)
    except ValueError as error:
        raise _Strange(f"an amount in {currency} that is none: {error}") from error


def _ends_us(order: _Order) -> int:
    """When no payment of this order can become a success any more, in microseconds of wall time."""
    try:
        expiry = datetime.fromisoformat(order.order_expiry_time or "")
    except ValueError:
        return NEVER_US
    if expiry.tzinfo is None:
        return NEVER_US
    return (expiry - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) + PAYMENT_ENDS_S * 1_000_000


def _id_of(value: str | int) -> str:
    if value in ("", 0):
        raise _Strange("an id is empty")
    return str(value)


def _decoded(response: Response, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(response.body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ArithmeticError) as error:
        raise _Strange("not the JSON we know") from error


def _error_of(response: Response) -> _Error:
    try:
        return cast("_Error", _decoded(response, _Error))
    except _Strange:
        return _Error(type="")


def _said(response: Response) -> str:
    error = _error_of(response)
    words = " ".join(word[:40] for word in (error.type, error.code) if word)
    return f"HTTP {response.status}" + (f": {words}" if words else "")


def _wait_s(response: Response) -> int | None:
    """How long the vendor asks to wait: x-ratelimit-retry is 0 while within the limit."""
    seconds = response.headers.get("x-ratelimit-retry", "")
    told = int(seconds[:6]) if seconds.isascii() and seconds.isdigit() else 0
    return told or retry_after_s(response)
