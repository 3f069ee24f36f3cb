"""What happens to Razorpay's payments and refunds: each change is booked, shown from then on, and told by webhook."""

from typing import Any, Final

from payonce.sandbox.faults import REFUND_LATE_S, REFUND_S, Refunds
from payonce.sandbox.ledger import Ledger, MovementKind, Thing

from .books import NAME, change, name_of, order_view, payment_view, refund_view, state_of
from .telling import tell

# error_reason -> error_source
SOURCES: Final = {
    "insufficient_funds": "issuer_bank",
    "debit_instrument_blocked": "issuer_bank",
    "card_declined": "issuer_bank",
    "card_expired": "customer",
    "card_number_invalid": "customer",
    "gateway_technical_error": "gateway",
    "payment_method_not_enabled": "business",
    "payment_risk_check_failed": "internal",
    "payment_timed_out": "gateway",
    "authentication_failed": "customer",
    "payment_declined": "issuer_bank",
    "payment_collect_request_expired": "customer",
}


def later(ledger: Ledger, thing: Thing, then: str, at_us: int) -> Thing:
    """At ``at_us`` this happens to it, unless something else does before: ``authorize``, ``late`` (a failed payment turns
    out to be authorized), ``lapse``, ``done`` or ``fail`` (refunds), or a payment fails for a reason."""
    ledger.later(thing, at_us)
    return ledger.change(thing, thing.doc | {"then": then})


def happen(ledger: Ledger, thing: Thing, at_us: int) -> None:
    """What was to happen to it now. Payments of older ledgers do not say it: their status does."""
    of_older = {"created": "authorize", "failed": "late", "authorized": "lapse"}.get(state_of(thing)["status"], "")
    match thing.doc.get("then", of_older):
        case "":
            return
        case "authorize":
            authorize(ledger, thing, at_us)
        case "late":
            _hold(ledger, change(ledger, thing, at_us, status="authorized", **failure("")), at_us)
        case "lapse":
            given = {"status": "refunded", "amount_refunded": state_of(thing)["amount"], "refund_status": "full"}
            _book(ledger, "void", change(ledger, thing, at_us, **given), at_us)  # no webhook is documented for it
        case "done":
            _refunded(ledger, thing, at_us)
        case "fail":
            _unrefunded(ledger, thing, at_us)
        case reason:
            fail(ledger, thing, reason, at_us)


# --- payments -------------------------------------------------------------------------------------------------------------


def failure(reason: str) -> dict[str, Any]:
    """The fields of a payment that failed for the reason, or of one that did not."""
    if not reason:
        return dict.fromkeys(("error_code", "error_description", "error_source", "error_step", "error_reason"))
    return {
        "status": "failed",
        "error_code": "BAD_REQUEST_ERROR",
        "error_description": "Your payment could not be completed.",
        "error_source": SOURCES[reason],
        "error_step": "payment_authorization",
        "error_reason": reason,
    }


def fail(ledger: Ledger, payment: Thing, reason: str, at_us: int) -> Thing:
    payment = change(ledger, payment, at_us, **failure(reason))
    tell(ledger, "payment.failed", at_us, payment=payment_view(payment, at_us))
    return payment


def authorize(ledger: Ledger, payment: Thing, at_us: int) -> None:
    """The bank said yes: held, or taken at once where the order captures by itself."""
    order = ledger.thing(NAME, "order", payment.parent)
    payment = change(ledger, payment, at_us, status="authorized")
    if order is None or order.doc["manual"]:
        _hold(ledger, payment, at_us)
    else:
        tell(ledger, "payment.authorized", at_us, payment=payment_view(payment, at_us))
        _take(ledger, payment, "charge", at_us)


def capture(ledger: Ledger, payment: Thing, at_us: int) -> Thing:
    """The merchant takes what is held."""
    return _take(ledger, payment, "capture", at_us)


def _take(ledger: Ledger, payment: Thing, kind: MovementKind, at_us: int) -> Thing:
    payment = change(ledger, payment, at_us, status="captured", captured=True)
    _book(ledger, kind, payment, at_us)
    view = payment_view(payment, at_us)
    tell(ledger, "payment.captured", at_us, payment=view)
    if (order := ledger.thing(NAME, "order", payment.parent)) is not None:
        tell(ledger, "order.paid", at_us, payment=view, order=order_view(ledger, order, at_us))
    return payment


def _hold(ledger: Ledger, payment: Thing, at_us: int) -> None:
    """Money is held until it is captured, or the period that its order named is over."""
    _book(ledger, "authorize", payment, at_us)
    tell(ledger, "payment.authorized", at_us, payment=payment_view(payment, at_us))
    hold_s = payment.doc.get("hold_s", payment.doc.get("hold_min", 0) * 60)  # minutes in older ledgers
    later(ledger, payment, "lapse", at_us + hold_s * 1_000_000)


# --- refunds --------------------------------------------------------------------------------------------------------------


def refund(ledger: Ledger, payment: Thing, reference: str, asked: dict[str, Any], *, fate: Refunds, at_us: int) -> Thing:
    """A part of what was taken is given back, and ends as ``fate`` says. From now on it counts as given back, until it
    fails (what the vendor does with its sum then is unverified)."""
    first = {"pending": "pending", "pending_fail": "pending", "fail": "failed"}.get(fate, "processed")
    doc = asked | {"changes": [[at_us, {"status": first}]], "then": ""}
    made = ledger.add(NAME, "refund", reference, doc, at_us=at_us, parent=payment.id)
    if first != "failed":
        payment = _given(ledger, payment, at_us, doc["amount"])
    _tell_refund(ledger, "refund.created", made, at_us)
    match first:
        case "processed":
            _book(ledger, "refund", payment, at_us, made)
            _tell_refund(ledger, "refund.processed", made, at_us)
        case "failed":
            _tell_refund(ledger, "refund.failed", made, at_us)
    after = {"pending": ("done", REFUND_S), "pending_fail": ("fail", REFUND_S), "fail_later": ("fail", REFUND_LATE_S)}
    if fate in after:
        then, wait_s = after[fate]
        made = later(ledger, made, then, at_us + int(wait_s * 1_000_000))
    return made


def _refunded(ledger: Ledger, made: Thing, at_us: int) -> None:
    made = change(ledger, made, at_us, status="processed")
    _book(ledger, "refund", _payment_of(ledger, made), at_us, made)
    _tell_refund(ledger, "refund.processed", made, at_us)


def _unrefunded(ledger: Ledger, made: Thing, at_us: int) -> None:
    """It failed; if it was done, its money comes back."""
    payment = _payment_of(ledger, made)
    if state_of(made)["status"] == "processed":
        _book(ledger, "refund_failed", payment, at_us, made)
    made = change(ledger, made, at_us, status="failed")
    _given(ledger, payment, at_us, -made.doc["amount"])
    _tell_refund(ledger, "refund.failed", made, at_us)


def _given(ledger: Ledger, payment: Thing, at_us: int, more: int) -> Thing:
    """The payment with another sum given back."""
    state = state_of(payment)
    back = state["amount_refunded"] + more
    full = back == state["amount"]
    given = {
        "status": "refunded" if full else "captured",
        "amount_refunded": back,
        "refund_status": "full" if full else "partial" if back else None,
    }
    return change(ledger, payment, at_us, **given)


def _tell_refund(ledger: Ledger, event: str, made: Thing, at_us: int) -> None:
    payment = payment_view(_payment_of(ledger, made), at_us)
    tell(ledger, event, at_us, refund=refund_view(made, at_us), payment=payment)


def _payment_of(ledger: Ledger, made: Thing) -> Thing:
    payment = ledger.thing(NAME, "payment", made.parent)
    if payment is None:
        raise ValueError(f"the ledger has refund {made.id} without its payment {made.parent}")
    return payment


def _book(ledger: Ledger, kind: MovementKind, payment: Thing, at_us: int, made: Thing | None = None) -> None:
    state = state_of(payment)
    ledger.book(
        NAME,
        kind,
        reference=payment.reference or f"order_{payment.parent:014d}",
        refund_reference=(made.reference or name_of(made)) if made else "",
        provider_ref=name_of(made or payment),
        amount_minor=made.doc["amount"] if made else state["amount"],
        currency=state["currency"],
        at_us=at_us,
    )
