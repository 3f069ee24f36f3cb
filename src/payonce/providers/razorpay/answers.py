"""What Razorpay's answers mean. See the docstring of the package."""

from collections.abc import Mapping

import msgspec

from payonce.adapter import (
    READS_MAX,
    Absent,
    Authorized,
    Captured,
    Created,
    Declined,
    Found,
    HttpRequest,
    Intent,
    Listing,
    Mode,
    NextAction,
    Processing,
    ReadOutcome,
    Refunded,
    RefundFailed,
    Refunding,
    Rejected,
    RequiresAction,
    Response,
    SendOutcome,
    Succeeded,
    Try,
    Unknown,
    Unreadable,
    Window,
    retry_after_s,
)

from .vendor import (
    CHARGED,
    DECLINES,
    FLIPS_S,
    GUARDS,
    NO_SUCH_ID,
    ORDER_STATUSES,
    ORDERS_MAX,
    PAGE_MAX,
    PROVISIONAL,
    REFUNDS_MAX,
    REFUSALS,
    Error,
    Failure,
    Fired,
    Order,
    Orders,
    Payment,
    Payments,
    Refund,
    Refunds,
    converted,
    decoded,
    noted,
    quoted,
)

# --- answers to sends -------------------------------------------------------------------------------------------------


def created(intent: Intent, body: bytes) -> SendOutcome:
    order: Order | None = decoded(body, Order)
    if order is None or order.entity != "order":
        return Unknown(reason="not the order we know")
    if order.status != "created":
        return Unknown(reason=f"a new order is {order.status[:40]}")
    if (order.amount, order.currency) != (intent.amount_minor, intent.currency):
        return Unknown(reason="the order names other money than we asked for: it is not fired")
    return Created(container=order.id, reference=order.receipt or "")


def fired(intent: Intent, body: bytes) -> SendOutcome:
    fired: Fired | None = decoded(body, Fired)
    if fired is None or not fired.razorpay_payment_id:
        return Unknown(reason="not the JSON we know")
    if fired.razorpay_order_id not in (None, intent.container):
        return Unknown(reason="the answer is about a payment of another order")
    asked = {step.action for step in fired.next or ()} - {"poll"}
    if asked or fired.link or intent.payment_method_type == "upi":  # who pays by UPI approves it in an app, in every flow
        return RequiresAction(ref=fired.razorpay_payment_id, reference=intent.reference)
    return Processing(ref=fired.razorpay_payment_id, reference=intent.reference)


def next_action(intent: Intent, body: bytes) -> NextAction | None:
    """Where the customer is sent. Passwords of one use (otp_*) are for pages of the merchant's own: not offered."""
    fired: Fired | None = decoded(body, Fired)
    if fired is None:
        return None
    urls = {step.action: step.url for step in reversed(fired.next or ())}
    if intent_url := fired.link or urls.get("intent"):
        return NextAction(type="upi_intent", url=intent_url) if intent_url.startswith("upi:") else None
    if url := urls.get("redirect"):
        return NextAction(type="redirect", url=url) if url.startswith(("https://", "http://")) else None
    return NextAction(type="upi_collect") if intent.payment_method_type == "upi" and not urls.keys() - {"poll"} else None


def captured(intent: Intent, body: bytes) -> SendOutcome:
    payment: Payment | None = decoded(body, Payment)
    if payment is None or payment.status != "captured":
        return Unknown(reason="not the JSON we know" if payment is None else f"captured, but {payment.status[:40]}")
    if (payment.id, payment.order_id) != (intent.provider_ref, intent.container):
        return Unknown(reason="the answer is about another payment")
    return Captured(
        ref=payment.id,
        reference=intent.reference,
        amount_minor=payment.amount,
        currency=payment.currency,
        mode=intent.mode,
    )


def refund(intent: Intent, body: bytes) -> SendOutcome:
    refund: Refund | None = decoded(body, Refund)
    if refund is None:
        return Unknown(reason="not the JSON we know")
    if (refund.payment_id, refund.reference) != (intent.provider_ref, intent.refund_reference):
        return Unknown(reason="the answer is about another refund")
    return _refund(refund) or Unknown(reason=f"unmapped refund status {refund.status[:40]}")


def refused(intent: Intent, response: Response) -> SendOutcome:
    """An answer that is no 200. Only the vendor's own words say no: a proxy's page does not."""
    wait_s = retry_after_s(response)
    doc: Failure | None = decoded(response.body, Failure)
    if doc is None or response.status not in (400, 401, 403):
        return Unknown(reason=f"HTTP {response.status}", retry_after_s=wait_s)
    error, reason = doc.error, doc.error.reason or ""
    said = f"{error.code[:40]} {reason[:60]}".strip()
    if response.status in (401, 403):
        return Rejected(reason=said) if error.code == "BAD_REQUEST_ERROR" else Unknown(reason=said)
    if intent.kind == "capture":
        return Unknown(reason=f"{said}: look it up")  # it may be captured already, whatever words say so
    if reason in GUARDS or (intent.kind == "create" and error.field == "receipt"):
        return Unknown(reason=f"{said}: look it up")
    if payment_id := error.about("payment_id"):
        return _declined(intent, error, payment_id) if intent.kind == "fire" else Unknown(reason=said)
    # without a reason, a field is enough, but for the order's: it may say that the order was paid
    named = reason in REFUSALS or (reason in ("", "NA") and error.field not in (None, "", "NA", "order_id"))
    if named and error.code == "BAD_REQUEST_ERROR":
        return Rejected(reason=said)
    return Unknown(reason=said)


def _declined(intent: Intent, error: Error, payment_id: str) -> SendOutcome:
    reason = error.reason or ""
    known = DECLINES.get(reason)
    if not intent.container or error.about("order_id") != intent.container:
        return Unknown(reason=f"{reason[:60]}: about a payment of another order")
    if known is None:
        return Unknown(reason=f"unmapped reason {reason[:60]}")
    if reason in PROVISIONAL:
        return Unknown(reason=f"{reason}: may still be authorized, and since when is not said")
    return msgspec.structs.replace(known, ref=payment_id, reference=intent.reference, vendor_code=reason)


# --- answers to reads -------------------------------------------------------------------------------------------------


def unread(response: Response, *, first: bool) -> ReadOutcome:
    """A read that failed. That there is no such id is an answer to the first request; a later one is about an id that they
    have just shown."""
    doc: Failure | None = decoded(response.body, Failure)
    if first and response.status in (400, 404) and doc is not None and doc.error.description == NO_SUCH_ID:
        return Absent()
    return Unreadable(reason=f"HTTP {response.status}", retry_after_s=retry_after_s(response))


def by_container(intent: Intent, answers: tuple[Response, ...]) -> ReadOutcome | HttpRequest:
    """The order, then its payments, then what was given back of them. That they are ours is proven by the order's receipt:
    the notes of a payment can be edited."""
    order: Order | None = decoded(answers[0].body, Order)
    if order is None or order.status not in ORDER_STATUSES:
        return Unreadable(reason="not the order we know")
    if order.id != intent.container:
        return Absent()
    if len(answers) == 1:
        return HttpRequest(method="GET", path=f"/orders/{quoted(order.id)}/payments")
    payments: Payments | None = decoded(answers[1].body, Payments)
    if payments is None:
        return Unreadable(reason="not the payments we know")
    return _found(intent, order, [p for p in payments.items if p.order_id == order.id], answers, used=2)


def by_receipt(intent: Intent, answers: tuple[Response, ...]) -> ReadOutcome | HttpRequest:
    """The orders of our receipt, newest first, with their payments. One that was tried is the container; else the oldest."""
    doc: Orders | None = decoded(answers[0].body, Orders)
    if doc is None or any(o.status not in ORDER_STATUSES for o in doc.items):
        return Unreadable(reason="not the orders we know")
    if len(doc.items) >= ORDERS_MAX:
        return Unreadable(reason="more orders of one receipt than fit on a page")
    ours = [order for order in reversed(doc.items) if order.receipt == intent.reference]
    if not ours:
        return Absent()
    container = min(ours, key=lambda order: order.created_at)
    payments: list[Payment] = []
    for order in ours:
        untried = order.payments is None and order.status == "created"
        inside: Payments | None = Payments(()) if untried else converted(order.payments, Payments)
        if inside is None:
            return Unreadable(reason="not the payments we know")
        tried = [p for p in inside.items if p.order_id == order.id]
        container = order if tried and not payments else container
        payments += tried
    return _found(intent, container, payments, answers, used=1)


def _found(
    intent: Intent, order: Order, payments: list[Payment], answers: tuple[Response, ...], *, used: int
) -> ReadOutcome | HttpRequest:
    """``used`` requests told of the order and its payments; the others are lists of refunds."""
    if (order.amount, order.currency) != (intent.amount_minor, intent.currency):
        return Unreadable(reason="the order names other money than we asked for")
    if not payments and order.status != "created":
        return Unreadable(reason="an order that was tried shows no payment")
    charges = [p for p in payments if p.status in CHARGED and p.captured is not False]
    # a refund that failed may be in no sum any more: every charge is asked, first the one that this is about
    asked = sorted(charges, key=lambda p: p.id != intent.provider_ref)[: READS_MAX - used]
    if len(answers) < used + len(asked):
        ref = asked[len(answers) - used].id
        return HttpRequest(method="GET", path=f"/payments/{quoted(ref)}/refunds?count={REFUNDS_MAX}")
    refunds: list[Refund] = []
    told: dict[str, int] = {}
    for payment, answer in zip(asked, answers[used:], strict=False):
        doc: Refunds | None = decoded(answer.body, Refunds)
        if doc is None:
            return Unreadable(reason="not the refunds we know")
        # an odd entry counts as little as one under way: it hides no charge
        known = [r for each in doc.items if (r := converted(each, Refund)) and r.payment_id == payment.id]
        refunds += known
        if len(doc.items) < REFUNDS_MAX:
            told[payment.id] = sum(r.amount for r in known if r.status == "processed")
        if any(r.currency != payment.currency for r in refunds):
            return Unreadable(reason="a refund in another currency than its payment")
    reference = order.receipt or ""
    tries = tuple(_acting(intent, _try(intent.mode, reference, p, told)) for p in payments)
    unclear = [t.reason for t in tries if isinstance(t, Unknown)]
    if order.status == "paid" and not any(isinstance(t, Succeeded) for t in tries):
        unclear = ["a paid order shows no captured payment"]
    if unclear and not any(isinstance(t, Succeeded | Authorized) for t in tries):
        return Unreadable(reason=unclear[0])  # money that is shown counts, whatever lies beside it
    return Found(
        tries=tries,
        refunds=tuple(told_of for r in refunds if (told_of := _refund(r)) is not None),
        container="open",  # a paid order takes no more payments, but what it has speaks for itself
        container_id="" if intent.container else order.id,
        reference=reference,
    )


def _acting(intent: Intent, seen: Try) -> Try:
    """``created`` is all that is shown of a payment whose customer still acts, and of one at the bank: who was asked to act is
    taken to be at it."""
    if intent.acting and isinstance(seen, Processing):
        return RequiresAction(ref=seen.ref, reference=seen.reference)
    return seen


def _try(mode: Mode, reference: str, p: Payment, told: Mapping[str, int]) -> Try:
    """``told``: what the list of refunds, where it was asked whole, says of money that was given back. ``amount_refunded``
    also counts refunds under way, and may keep one that failed."""
    match p.status:
        case "created":
            return Processing(ref=p.id, reference=reference)
        case "authorized":
            return Authorized(ref=p.id, reference=reference, amount_minor=p.amount, currency=p.currency, mode=mode)
        case "failed":
            return _failed(reference, p)
        case "refunded" if p.captured is False and p.amount_refunded == p.amount:
            lapsed = Declined(code="hold_lapsed", hard=False, scope="provider_technical", vendor_code="refunded")
            return msgspec.structs.replace(lapsed, ref=p.id, reference=reference)
        case "captured" | "refunded" if p.captured or (p.status == "captured" and p.captured is None):
            return Succeeded(
                ref=p.id,
                reference=reference,
                amount_minor=p.amount,
                currency=p.currency,
                mode=mode,
                refunded_minor=told.get(p.id, p.amount_refunded or 0),
            )
    return Unknown(reason=f"unmapped status {p.status[:40]}")


def _failed(reference: str, p: Payment) -> Declined | Unknown:
    reason = p.error_reason or ""
    known = DECLINES.get(reason)
    if known is None:
        return Unknown(reason=f"unmapped reason {reason[:60]}")
    flips_until_us = (p.created_at + FLIPS_S) * 1_000_000 if reason in PROVISIONAL else None
    return msgspec.structs.replace(known, ref=p.id, reference=reference, vendor_code=reason, flips_until_us=flips_until_us)


def _refund(r: Refund) -> Refunded | Refunding | RefundFailed | None:
    """None: a word that nobody mapped says nothing. ``failed`` is documented, e.g. for a payment older than six months:
    nothing was given back."""
    made: Mapping[str, type[Refunded | Refunding | RefundFailed]]
    made = {"processed": Refunded, "pending": Refunding, "failed": RefundFailed}
    if (kind := made.get(r.status)) is None:
        return None
    return kind(ref=r.id, reference=r.reference, amount_minor=r.amount, currency=r.currency)


# --- the list of payments ---------------------------------------------------------------------------------------------


def listed(window: Window, response: Response, mode: Mode) -> Listing | Unreadable:
    """A page of payments. One that cannot be read makes all of it unreadable: nothing is left out of a comparison. The next
    page begins after as many; what is paid meanwhile moves entries to later pages, so some are shown twice, none is missed."""
    if response.status != 200:
        return Unreadable(reason=f"HTTP {response.status}", retry_after_s=retry_after_s(response))
    doc: Payments | None = decoded(response.body, Payments)
    if doc is None:
        return Unreadable(reason="not the payments we know")
    inside = (
        p for p in doc.items if window.from_us < (p.created_at + 1) * 1_000_000 and p.created_at * 1_000_000 < window.before_us
    )
    tries = tuple(_try(mode, noted(p.notes), p, {}) for p in inside)
    whole = len(doc.items) < PAGE_MAX
    return Listing(tries=tries, next="" if whole else str(int(window.cursor or "0") + len(doc.items)))
