"""What the vendor's answers mean: to sends, and to the two or three requests of a read."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from functools import partial
from typing import Any, Final, TypeVar, cast

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
from .words import (
    DECLINES,
    NOT_FIRED,
    OPEN_PAYMENTS,
    ORDER_STATUSES,
    REASONS,
    REFUND_STATUSES,
    REJECTIONS,
    SOURCES,
    UNPAID,
)

PAYMENT_ENDS_S: Final = 86_400  # the longest time limit of a payment that an account can have
_T = TypeVar("_T")
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
        return _refused(intent, response)
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


def _refused(intent: Intent, response: Response) -> SendOutcome:
    """A fire that came twice may be refused because it had worked before: only what is wrong with the request itself, or
    with who asks, says that nothing was paid. The other steps move no money, or are told apart by the refund's id."""
    error, said = _error_of(response), _said(response)
    if error.type not in REJECTIONS.get(response.status, ()):
        return Unknown(reason=said, retry_after_s=_wait_s(response))
    who = response.status in (401, 403) or error.type == "feature_not_enabled"
    if intent.kind == "fire" and not who and not (response.status == 400 and error.code in NOT_FIRED):
        return Unknown(reason=f"{said}: look it up")
    return Rejected(reason=said)


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
    payments = [_unless_odd(partial(_payment, order, raw)) for raw in _decoded(answers[1], tuple[msgspec.Raw, ...])]
    taken = any(isinstance(each, _Payment) and each.payment_status == "SUCCESS" for each in payments)
    if order.order_status == "PAID" and not taken:
        odd = [each.reason for each in payments if isinstance(each, Unknown)]
        raise _Strange(odd[0] if odd else "the order is PAID, its payment is not listed yet")
    if taken and len(answers) == 2:
        return get(f"{path}/refunds")
    done = _done(order, _decoded(answers[2], tuple[msgspec.Raw, ...])) if taken else []
    tries = tuple(
        each if isinstance(each, Unknown) else _unless_odd(partial(_try, intent, order, each, done)) for each in payments
    )
    unclear = [each.reason for each in tries if isinstance(each, Unknown)]
    if unclear and not any(isinstance(each, Succeeded | Authorized) for each in tries):
        raise _Strange(unclear[0])  # money that is shown counts, whatever lies beside it
    if order.order_status == "EXPIRED" and not tries:
        tries = (replace(UNPAID, reference=order.order_id, vendor_code="EXPIRED", flips_until_us=_ends_us(order)),)
    return Found(
        tries=tries,
        refunds=tuple(refund for each in done if (refund := _whole_units(each))),
        container="closed" if order.order_status in ("TERMINATED", "EXPIRED") else "open",
        container_id=order.payment_session_id or "" if _as_asked(intent, order) else "",
        reference=order.order_id,
    )


def _unless_odd(make: Callable[[], _T]) -> _T | Unknown:
    """An entry of the list; one that is odd hides none of the others."""
    try:
        return make()
    except _Strange as strange:
        return Unknown(reason=str(strange))
    except ArithmeticError:
        return Unknown(reason="not an amount")


def _payment(order: _Order, raw: msgspec.Raw) -> _Payment:
    """An entry of the list of payments, about this order."""
    payment = cast("_Payment", _decoded(raw, _Payment))
    theirs = (payment.order_id, payment.order_amount, payment.order_currency)
    ours = (order.order_id, order.order_amount, order.order_currency)
    if any(told is not None and told != known for told, known in zip(theirs, ours, strict=True)):
        raise _Strange("the list of payments is about another order")
    return payment


def _done(order: _Order, entries: Sequence[msgspec.Raw]) -> list[_Refund]:
    """What was given back. An entry that is odd counts as little as one that is PENDING: it hides no charge."""
    done = []
    for raw in entries:
        try:
            refund = cast("_Refund", _decoded(raw, _Refund))
            known = refund.refund_status in REFUND_STATUSES and refund.refund_amount.is_finite() and _id_of(refund.cf_refund_id)
        except _Strange:
            continue
        if refund.order_id != order.order_id:
            raise _Strange("the list of refunds is about another order")
        if known and refund.refund_status == "SUCCESS" and refund.refund_amount > 0:
            done.append(refund)
    return done


def _try(intent: Intent, order: _Order, payment: _Payment, refunds: Sequence[_Refund]) -> Try:
    ref, reference = _id_of(payment.cf_payment_id), payment.order_id
    never_opened = payment.payment_status == "NOT_ATTEMPTED" and order.order_status == "TERMINATED"  # nor can it be now
    if payment.payment_status in OPEN_PAYMENTS and not never_opened:
        return Processing(ref=ref, reference=reference)
    if payment.payment_status in DECLINES:
        why, word = _why(payment)
        flips = None if order.order_status == "TERMINATED" else _ends_us(order)
        return replace(why, ref=ref, reference=reference, vendor_code=word, flips_until_us=flips)
    if payment.payment_status != "SUCCESS":
        raise _Strange(f"unmapped payment status {payment.payment_status[:40]}")
    currency = payment.payment_currency or ""
    taken = _without_surcharge(payment)
    amount = _minor(taken, currency)
    if payment.is_captured is False:
        return Authorized(ref=ref, reference=reference, amount_minor=amount, currency=currency, mode=intent.mode)
    return Succeeded(
        ref=ref,
        reference=reference,
        amount_minor=amount,
        currency=currency,
        mode=intent.mode,
        refunded_minor=_refunded_minor(payment, refunds, taken),
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


def _refunded_minor(payment: _Payment, refunds: Sequence[_Refund], taken: Decimal) -> int:
    """What was given back of what was taken for us: a refund may hold the surcharge too, or be made twice."""
    total = Decimal(0)
    for refund in refunds:
        if refund.refund_currency != payment.payment_currency:
            raise _Strange("a refund in another currency than its payment")
        if refund.cf_payment_id in (None, "") or str(refund.cf_payment_id) == _id_of(payment.cf_payment_id):
            if payment.payment_amount is None or refund.refund_amount > payment.payment_amount:
                raise _Strange("a refund of more than was paid")
            total += refund.refund_amount
    currency = payment.payment_currency or ""
    return _minor(min(total, taken).quantize(Decimal(1).scaleb(-EXPONENTS[currency]), ROUND_DOWN), currency)


def _whole_units(refund: _Refund) -> Refunded | None:
    """A refund whose amount has no name in minor units (a surcharge has parts of them) is none of ours."""
    try:
        return _refunded(refund)
    except (_Strange, ArithmeticError):
        return None


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


def _decoded(answer: Response | msgspec.Raw, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(answer.body if isinstance(answer, Response) else answer, type=kind)
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
