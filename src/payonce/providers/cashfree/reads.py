"""What the answers to the two or three requests of a read mean: the order, its payments, its refunds."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar, cast

import msgspec
from msgspec.structs import replace

from payonce.adapter import (
    Absent,
    Authorized,
    Found,
    HttpRequest,
    Intent,
    ReadOutcome,
    Refunded,
    RefundFailed,
    Refunding,
    Response,
    Succeeded,
    Unknown,
    Unreadable,
)

from .building import get, place
from .objects import Order, Payment, Refund, _Strange, as_asked, decoded, ends_us, error_of, id_of, said, wait_s
from .payments import meaning, refund_of, released
from .words import ORDER_STATUSES, REFUNDS, UNPAID

_T = TypeVar("_T")


def read(intent: Intent, response: Response) -> ReadOutcome | HttpRequest:
    """What a whole answer to a read means, or what to ask next."""
    if response.status == 404 and not intent.seen and error_of(response).code == "order_not_found":
        return Absent()
    if response.status != 200:
        return Unreadable(reason=said(response), retry_after_s=wait_s(response))
    try:
        return _whole(intent, (*intent.seen, response))
    except _Strange as strange:
        return Unreadable(reason=str(strange))
    except ArithmeticError:
        return Unreadable(reason="not an amount")


def _whole(intent: Intent, answers: Sequence[Response]) -> ReadOutcome | HttpRequest:
    order = decoded(answers[0], Order)
    if order.order_status not in ORDER_STATUSES:
        raise _Strange(f"unmapped order status {order.order_status[:40]}")
    path = place(intent)
    if len(answers) == 1:
        return get(f"{path}/payments")
    payments = [_unless_odd(partial(_payment, order, raw)) for raw in decoded(answers[1], tuple[msgspec.Raw, ...])]
    taken = any(isinstance(each, Payment) and each.payment_status == "SUCCESS" for each in payments)
    gone = any(isinstance(each, Payment) and released(each) for each in payments)
    if order.order_status == "PAID" and not taken and not gone:
        odd = [each.reason for each in payments if isinstance(each, Unknown)]
        raise _Strange(odd[0] if odd else "the order is PAID, its payment is not listed yet")
    if taken and len(answers) == 2:
        return get(f"{path}/refunds")
    refunds = _refunds(order, decoded(answers[2], tuple[msgspec.Raw, ...])) if taken else []
    tries = tuple(
        each if isinstance(each, Unknown) else _unless_odd(partial(meaning, intent, order, each, refunds)) for each in payments
    )
    unclear = [each.reason for each in tries if isinstance(each, Unknown)]
    if unclear and not any(isinstance(each, Succeeded | Authorized) for each in tries):
        raise _Strange(unclear[0])  # money that is shown counts, whatever lies beside it
    if order.order_status == "EXPIRED" and not tries:
        tries = (replace(UNPAID, reference=order.order_id, vendor_code="EXPIRED", flips_until_us=ends_us(order)),)
    over = order.order_status in ("TERMINATED", "EXPIRED") or (order.order_status == "PAID" and gone)
    return Found(
        tries=tries,
        refunds=tuple(refund for each in refunds if (refund := _ours(each))),
        container="closed" if over else "open",
        container_id=order.order_id if order.payment_session_id and as_asked(intent, order) else "",
        reference=order.order_id,
    )


def session_of(intent: Intent, response: Response) -> str:
    """What opens the order for whoever has it: of the answer that made it, or of the first one of a read."""
    try:
        return decoded((*intent.seen, response)[0], Order).payment_session_id or ""
    except _Strange:
        return ""


def _unless_odd(make: Callable[[], _T]) -> _T | Unknown:
    """An entry of the list; one that is odd hides none of the others."""
    try:
        return make()
    except _Strange as strange:
        return Unknown(reason=str(strange))
    except ArithmeticError:
        return Unknown(reason="not an amount")


def _payment(order: Order, raw: msgspec.Raw) -> Payment:
    """An entry of the list of payments, about this order."""
    payment = cast("Payment", decoded(raw, Payment))
    theirs = (payment.order_id, payment.order_amount, payment.order_currency)
    ours = (order.order_id, order.order_amount, order.order_currency)
    if any(told is not None and told != known for told, known in zip(theirs, ours, strict=True)):
        raise _Strange("the list of payments is about another order")
    return payment


def _refunds(order: Order, entries: Sequence[msgspec.Raw]) -> list[Refund]:
    """The refunds that can be read. An entry that is odd counts for nothing, and hides no charge."""
    known = []
    for raw in entries:
        try:
            refund = cast("Refund", decoded(raw, Refund))
            readable = refund.refund_status in REFUNDS and refund.refund_amount.is_finite() and id_of(refund.cf_refund_id)
        except _Strange:
            continue
        if refund.order_id != order.order_id:
            raise _Strange("the list of refunds is about another order")
        if readable and refund.refund_amount > 0:
            known.append(refund)
    return known


def _ours(refund: Refund) -> Refunded | Refunding | RefundFailed | None:
    """A refund that was asked for here. The vendor's own are not, nor one whose amount has no name in minor units (a
    surcharge has parts of them)."""
    try:
        return refund_of(refund)
    except (_Strange, ArithmeticError):
        return None
