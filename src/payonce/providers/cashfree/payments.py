"""What one payment and one refund of the vendor mean, wherever they are shown."""

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal

from msgspec.structs import replace

from payonce.adapter import (
    EXPONENTS,
    Authorized,
    Declined,
    Intent,
    Processing,
    Refunded,
    RefundFailed,
    Refunding,
    RequiresAction,
    Succeeded,
    Try,
)

from .objects import Authorization, Order, Payment, Refund, Surcharge, _Strange, ends_us, id_of, minor, time_us
from .words import DECLINES, OURS, REASONS, REFUNDS, SOURCES


def meaning(intent: Intent, order: Order, payment: Payment, refunds: Sequence[Refund]) -> Try:
    """What a payment in an order is; ``refunds`` are those of the order. Raises _Strange."""
    ref, reference, status = id_of(payment.cf_payment_id), payment.order_id, payment.payment_status
    hold = hold_of(payment)
    over = order.order_status in ("TERMINATED", "EXPIRED")
    if status in ("PENDING", "FLAGGED"):
        asked = status == "PENDING" and "upi" in (payment.payment_method or {})
        return RequiresAction(ref=ref, reference=reference) if asked else Processing(ref=ref, reference=reference)
    if status == "NOT_ATTEMPTED" and not over:
        return RequiresAction(ref=ref, reference=reference, expires_at_us=time_us(order.order_expiry_time))
    if released(payment):
        return replace(DECLINES["VOID"], ref=ref, reference=reference, vendor_code="VOID")
    if status in DECLINES:
        why, word = _why(payment)
        flips = None if order.order_status == "TERMINATED" else ends_us(order)
        return replace(why, ref=ref, reference=reference, vendor_code=word, flips_until_us=flips)
    if status != "SUCCESS":
        raise _Strange(f"unmapped payment status {status[:40]}")
    done = payment.is_captured is True and hold.action == "CAPTURE" and hold.captured_amount is not None
    if hold.status == "PENDING" and not done:  # a capture or a void is on its way: neither held any more nor taken yet
        return Processing(ref=ref, reference=reference)
    currency, paid = payment.payment_currency or "", without_surcharge(payment)
    if payment.is_captured is False:
        if hold.action == "CAPTURE" and hold.status == "SUCCESS":
            raise _Strange("captured, and not captured")
        amount, until = minor(paid, currency), time_us(hold.end_time)
        return Authorized(
            ref=ref, reference=reference, amount_minor=amount, currency=currency, mode=intent.mode, expires_at_us=until
        )
    taken = captured(payment, paid)
    return Succeeded(
        ref=ref,
        reference=reference,
        amount_minor=minor(taken, currency),
        currency=currency,
        mode=intent.mode,
        refunded_minor=_refunded_minor(payment, refunds, taken),
    )


def hold_of(payment: Payment) -> Authorization:
    """What was asked of a hold and what became of it. Raises _Strange for words that nobody mapped."""
    hold = payment.authorization or Authorization()
    if (hold.action or "CAPTURE") not in ("CAPTURE", "VOID") or (hold.status or "PENDING") not in ("PENDING", "SUCCESS"):
        raise _Strange("unmapped words about a hold")
    return hold


def released(payment: Payment) -> bool:
    """A hold that is gone: no payment of this id can ever be captured."""
    hold = payment.authorization or Authorization()
    return payment.payment_status == "VOID" or ((hold.action, hold.status) == ("VOID", "SUCCESS") and not payment.is_captured)


def captured(payment: Payment, paid: Decimal) -> Decimal:
    """What was taken: all of it, or less where a capture says so. More than was held cannot be, and says nothing."""
    hold = payment.authorization or Authorization()
    if hold.action != "CAPTURE" or hold.captured_amount is None or payment.payment_amount is None:
        return paid
    return hold.captured_amount if hold.captured_amount < payment.payment_amount else paid


def without_surcharge(payment: Payment) -> Decimal:
    if payment.payment_amount is None:
        raise _Strange("a successful payment without an amount")
    extra = payment.payment_surcharge or Surcharge()
    parts = [extra.payment_surcharge_service_charge, extra.payment_surcharge_service_tax]
    known = [part for part in parts if part]
    return payment.payment_amount - sum(known, Decimal(0)) if known else payment.payment_amount


def _why(payment: Payment) -> tuple[Declined, str]:
    """What a payment that is a no means for what comes next, and the vendor's word for it."""
    details, status = payment.error_details, payment.payment_status
    if status != "FAILED" or details is None:
        return DECLINES[status], status
    words = [word for word in (details.error_reason, details.error_code) if word]
    known = next((word for word in words if word in REASONS), None)
    if known:
        return REASONS[known], known
    return SOURCES.get(details.error_source or "", DECLINES[status]), words[0][:64] if words else status


def _refunded_minor(payment: Payment, refunds: Sequence[Refund], taken: Decimal) -> int:
    """What was given back of what was taken for us: a refund may hold the surcharge too, or be made twice."""
    total = Decimal(0)
    for refund in refunds:
        if refund.refund_currency != payment.payment_currency:
            raise _Strange("a refund in another currency than its payment")
        if refund.refund_status != "SUCCESS":
            continue
        if refund.cf_payment_id in (None, "") or str(refund.cf_payment_id) == id_of(payment.cf_payment_id):
            if payment.payment_amount is None or refund.refund_amount > payment.payment_amount:
                raise _Strange("a refund of more than was paid")
            total += refund.refund_amount
    currency = payment.payment_currency or ""
    return minor(min(total, taken).quantize(Decimal(1).scaleb(-EXPONENTS[currency]), ROUND_DOWN), currency)


def refund_of(refund: Refund) -> Refunded | Refunding | RefundFailed:
    """What a refund is. Raises _Strange for a status that nobody mapped, and for one that is not at our request."""
    kind = REFUNDS.get(refund.refund_status)
    if kind is None:
        raise _Strange(f"the refund is {refund.refund_status[:40]}")
    if not refund.refund_id or (refund.refund_type or OURS) != OURS:
        raise _Strange("a refund that nobody here asked for")
    return kind(
        ref=id_of(refund.cf_refund_id),
        reference=refund.refund_id,
        amount_minor=minor(refund.refund_amount, refund.refund_currency),
        currency=refund.refund_currency,
    )
