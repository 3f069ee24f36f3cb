"""What the vendor's answers to sends mean, and where an answer sends the customer."""

from typing import Any

from payonce.adapter import (
    Captured,
    Closed,
    Created,
    Intent,
    NextAction,
    Processing,
    Rejected,
    RequiresAction,
    Response,
    SendOutcome,
    Unknown,
    Voided,
)

from .objects import (
    Order,
    Paying,
    Payment,
    Refund,
    _Strange,
    as_asked,
    decoded,
    error_of,
    id_of,
    minor,
    said,
    wait_s,
)
from .payments import captured, hold_of, refund_of, released, without_surcharge
from .words import NOT_EXECUTED, NOT_FIRED, REJECTIONS


def sent(intent: Intent, response: Response) -> SendOutcome:
    """What a whole answer to a send means."""
    if response.status != 200:
        return _refused(intent, response)
    try:
        match intent.kind:
            case "create":
                return _created(intent, response)
            case "fire":
                return _fired(intent, decoded(response, Paying))
            case "close":
                return _closed(intent, response)
            case "capture":
                return _captured(intent, decoded(response, Payment))
            case "void":
                return _voided(intent, decoded(response, Payment))
            case "refund":
                return refund_of(decoded(response, Refund))
    except _Strange as strange:
        return Unknown(reason=str(strange))
    except ArithmeticError:  # a number that is none
        return Unknown(reason="not an amount")
    return Unknown(reason=f"cashfree has no step {intent.kind}")


def _created(intent: Intent, response: Response) -> SendOutcome:
    order = decoded(response, Order)
    if order.order_status != "ACTIVE" or not order.payment_session_id:
        raise _Strange(f"a new order that is {order.order_status[:40]} or has no session")
    if not as_asked(intent, order):
        raise _Strange("the order is about another amount")
    return Created(container=order.order_id, reference=order.order_id)


def _fired(intent: Intent, paying: Paying) -> SendOutcome:
    """They have it. Whether the customer has to act is what ``next_action`` finds in the same answer."""
    ref = id_of(paying.cf_payment_id)
    if action_of(paying) is not None:
        return RequiresAction(ref=ref, reference=intent.reference)
    return Processing(ref=ref, reference=intent.reference)


def _closed(intent: Intent, response: Response) -> SendOutcome:
    order = decoded(response, Order)
    if order.order_status not in ("TERMINATED", "TERMINATION_REQUESTED"):
        raise _Strange(f"the order is {order.order_status[:40]}")
    return Closed(container=intent.container, reference=order.order_id)


def _captured(intent: Intent, payment: Payment) -> SendOutcome:
    """Only an answer that names the capture, done and with its amount, says that money was taken."""
    ref, hold = _held(intent, payment), hold_of(payment)
    if hold.action != "CAPTURE" or payment.payment_status != "SUCCESS":
        raise _Strange("an answer to a capture that names none")
    if hold.status == "PENDING":
        return Processing(ref=ref, reference=payment.order_id)
    if hold.status != "SUCCESS" or hold.captured_amount is None or payment.is_captured is not True:
        raise _Strange(f"the capture is {(hold.status or 'nothing')[:40]}")
    if payment.payment_amount is None or hold.captured_amount > payment.payment_amount:
        raise _Strange("more was captured than was held")
    currency = payment.payment_currency or ""
    amount = minor(captured(payment, without_surcharge(payment)), currency)
    return Captured(ref=ref, reference=payment.order_id, amount_minor=amount, currency=currency, mode=intent.mode)


def _voided(intent: Intent, payment: Payment) -> SendOutcome:
    ref, hold = _held(intent, payment), hold_of(payment)
    if payment.payment_status not in ("SUCCESS", "VOID"):
        raise _Strange(f"the payment is {payment.payment_status[:40]}")
    if released(payment):
        return Voided(ref=ref, reference=payment.order_id)
    if (hold.action, hold.status) == ("VOID", "PENDING"):
        return Processing(ref=ref, reference=payment.order_id)
    raise _Strange("the hold was not released")


def _held(intent: Intent, payment: Payment) -> str:
    """The id of the hold that the step is about."""
    ref = id_of(payment.cf_payment_id)
    if ref != intent.provider_ref:
        raise _Strange("an answer about another payment of the order")
    return ref


def _refused(intent: Intent, response: Response) -> SendOutcome:
    """A fire, a capture or a void that came twice may be refused because it had worked before: only what is wrong with the
    request itself, or with who asks, says that nothing was done. The other steps move no money, or are told apart by the
    refund's id."""
    error, words = error_of(response), said(response)
    if error.type not in REJECTIONS.get(response.status, ()):
        return Unknown(reason=words, retry_after_s=wait_s(response))
    who = response.status in (401, 403) or error.type == "feature_not_enabled"
    known = NOT_FIRED if intent.kind == "fire" else NOT_EXECUTED
    if intent.kind in ("fire", "capture", "void") and not who and not (response.status == 400 and error.code in known):
        return Unknown(reason=f"{words}: look it up")
    if intent.kind == "refund" and "already_exists" in error.code:
        return Unknown(reason=f"{words}: look it up")
    return Rejected(reason=words)


# --- the customer -------------------------------------------------------------------------------------------------


def next_action(response: Response) -> NextAction | None:
    """Where the customer goes, from the answer to a fire; None where it does not say."""
    if response.status != 200:
        return None
    try:
        return action_of(decoded(response, Paying))
    except _Strange:
        return None


def action_of(paying: Paying) -> NextAction | None:
    """``link``: open it. ``form``: send the payload there. ``post``: the bank's own page, since nobody here asks for a code.
    ``custom``: UPI, an intent to open or a request that the customer was sent already."""
    data = paying.data
    url, payload = (data.url or "", data.payload or {}) if data else ("", {})
    if paying.payment_method == "upi" and paying.action in ("custom", "link"):
        intent = next((each for each in (payload.get("default"), url) if str(each).startswith("upi:")), None)
        if intent is not None:
            return NextAction(type="upi_intent", url=str(intent))
        if paying.channel == "collect":
            return NextAction(type="upi_collect")
    match paying.action:
        case "link" if _web(url):
            return NextAction(type="redirect", url=url)
        case "form" | "custom" if _web(url):
            posts = data is not None and bool(payload) and (data.method or "post").lower() != "get"
            return NextAction(type="redirect", url=url, method="POST" if posts else "GET", fields=_texts(payload))
        case "post" if data and _web(bank := data.redirect_to_bank or ""):
            return NextAction(type="redirect", url=bank)
    return None


def _web(url: str) -> bool:
    return url.startswith(("https://", "http://"))


def _texts(payload: dict[str, Any]) -> dict[str, str]:
    """The fields of a form; what is neither text nor a whole number has no place in one."""
    return {name: str(value) for name, value in payload.items() if isinstance(value, str | int) and not isinstance(value, bool)}
