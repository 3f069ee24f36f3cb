"""PayU's objects: payments with their past, the actions on them, what answers show of them, and the webhooks about them."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final
from urllib.parse import urlencode

from payonce.core.money import from_decimal, to_decimal
from payonce.sandbox.ledger import Ledger, MovementKind, Thing
from payonce.sandbox.outbox import announce

NAME: Final = "payu"
KEY: Final = "sandboxkey"  # what the adapter's SANDBOX_CREDENTIALS say
SALT: Final = "sandbox-salt-of-payu"
CURRENCY: Final = "INR"
PAYMENT_IDS: Final = 403_993_715_000_000_000  # mihpayid = this + the number in the ledger
REQUEST_IDS: Final = 130_000_000
SECOND_US: Final = 1_000_000
IST: Final = timezone(timedelta(hours=5, minutes=30))
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ECHOED: Final = ("productinfo", "firstname", "email", "phone", *(f"udf{n}" for n in range(1, 6)))
NO_ERROR: Final = {"error": "E000", "error_Message": "No Error"}


# --- names ---


def name_of(payment: Thing) -> str:
    return str(PAYMENT_IDS + payment.id)


def request_of(action: Thing) -> str:
    return str(REQUEST_IDS + action.id)


def find(ledger: Ledger, kind: str, named: str) -> Thing | None:
    base = PAYMENT_IDS if kind == "payment" else REQUEST_IDS
    known = named.isascii() and named.isdigit() and len(named) <= 18
    return ledger.thing(NAME, kind, int(named) - base) if known else None


# --- payments and their past ---


def state_of(thing: Thing, at_us: int | None = None) -> dict[str, Any]:
    """The payment or action as it is now, or was then."""
    state: dict[str, Any] = {}
    for changed_us, fields in thing.doc["changes"]:
        if at_us is None or changed_us <= at_us:
            state |= fields
    return state


def change(ledger: Ledger, thing: Thing, at_us: int, *, then: str = "", **fields: Any) -> Thing:
    """The same thing in another state. ``then``: what it will do by itself, at a time that ``Ledger.later`` keeps."""
    return ledger.change(thing, thing.doc | {"changes": [*thing.doc["changes"], [at_us, fields]], "then": then})


def succeed(ledger: Ledger, payment: Thing, at_us: int) -> Thing:
    """The bank said yes: held where only that was asked, else taken."""
    if payment.doc["manual"]:
        payment = change(ledger, payment, at_us, then="lapse", status="success", unmappedstatus="auth", **NO_ERROR)
        ledger.later(payment, at_us + payment.doc["hold_s"] * SECOND_US)
        book(ledger, "authorize", payment, at_us, amount=payment.doc["amount"])
        tell(ledger, payment, at_us)
        return payment
    return take(ledger, payment, at_us, amount=payment.doc["amount"])


def take(ledger: Ledger, payment: Thing, at_us: int, *, amount: int, token: str = "", kind: MovementKind = "charge") -> Thing:
    """Money is taken; a capture stands among the actions, an automatic one too."""
    payment = change(ledger, payment, at_us, status="success", unmappedstatus="captured", taken=amount, **NO_ERROR)
    act_on(ledger, payment, at_us, action="capture", token=token, amount=amount, status="SUCCESS")
    book(ledger, kind, payment, at_us, amount=amount)
    tell(ledger, payment, at_us)
    return payment


def fail(ledger: Ledger, payment: Thing, at_us: int, unmapped: str, error: tuple[str, str], *, then: str = "") -> Thing:
    code, said = error
    failed = {"status": "failure", "unmappedstatus": unmapped, "error": code, "error_Message": said}
    payment = change(ledger, payment, at_us, then=then, **failed)
    tell(ledger, payment, at_us)
    return payment


def act_on(
    ledger: Ledger, payment: Thing, at_us: int, *, action: str, token: str, amount: int, status: str = "success"
) -> Thing:
    """An action on the payment, under a token that counts once."""
    doc = {"action": action, "amount": amount, "then": "", "changes": [[at_us, {"status": status}]]}
    return ledger.add(NAME, "action", token, doc, at_us=at_us, parent=payment.id)


def release(ledger: Ledger, payment: Thing, token: str, at_us: int) -> Thing:
    """The hold is given back. ``unmappedstatus`` stays auth: what a real account shows there is unverified."""
    payment = change(ledger, payment, at_us, released=True)
    book(ledger, "void", payment, at_us, amount=payment.doc["amount"])
    return act_on(ledger, payment, at_us, action="cancel", token=token, amount=payment.doc["amount"])


def refunded(ledger: Ledger, payment: Thing, action: Thing, at_us: int, *, good: bool) -> Thing:
    """A refund ends, or one that was done comes back."""
    was_done = state_of(action)["status"] == "success"
    if good or was_done:
        book(ledger, "refund" if good else "refund_failed", payment, at_us, amount=action.doc["amount"], action=action)
    action = change(ledger, action, at_us, status="success" if good else "failure")
    tell(ledger, payment, at_us, action)
    return action


def reserved(ledger: Ledger, payment: Thing) -> int:
    """What was given back, or may be on its way."""
    given = [a for a in ledger.children(payment.id) if a.doc["action"] == "refund" and state_of(a)["status"] != "failure"]
    return sum(a.doc["amount"] for a in given)


def book(ledger: Ledger, kind: MovementKind, payment: Thing, at_us: int, *, amount: int, action: Thing | None = None) -> None:
    ledger.book(
        NAME,
        kind,
        reference=payment.reference,
        refund_reference=action.reference if action else "",
        provider_ref=request_of(action) if action else name_of(payment),
        amount_minor=amount,
        currency=CURRENCY,
        at_us=at_us,
    )


# --- views ---


def payment_view(payment: Thing, at_us: int | None = None) -> dict[str, Any]:
    """As the answer to a payment and as a webhook show it, signed."""
    state, asked = state_of(payment, at_us), payment.doc["asked"]
    doc = {
        "mihpayid": name_of(payment),
        "mode": payment.doc["mode"],
        "status": state["status"],
        "unmappedstatus": state["unmappedstatus"],
        "key": KEY,
        "txnid": payment.reference,
        "amount": money(payment.doc["amount"]),
        "addedon": time_text(payment.at_us),
        **{name: asked.get(name, "") for name in ECHOED},
        "error": state.get("error", ""),
        "error_Message": state.get("error_Message", ""),
    }
    return doc | {"hash": reverse_hash(doc)}


def verify_view(payment: Thing, at_us: int) -> dict[str, Any]:
    """As verify_payment shows it."""
    state, amount = state_of(payment, at_us), money(payment.doc["amount"])
    return {
        "mihpayid": name_of(payment),
        "request_id": "",
        "bank_ref_num": "721522" if state["status"] == "success" else None,
        "amt": amount,
        "transaction_amount": amount,
        "txnid": payment.reference,
        "additional_charges": "0.00",
        "productinfo": payment.doc["asked"].get("productinfo", ""),
        "firstname": payment.doc["asked"].get("firstname", ""),
        "error_code": state.get("error", ""),
        "error_Message": state.get("error_Message", ""),
        "addedon": time_text(payment.at_us),
        "net_amount_debit": amount if state["status"] == "success" else "0.00",
        "disc": "0.00",
        "mode": payment.doc["mode"],
        "status": state["status"],
        "unmappedstatus": state["unmappedstatus"],
    }


def action_view(action: Thing, payment: str, at_us: int) -> dict[str, Any]:
    return {
        "mihpayid": payment,
        "bank_ref_num": None,
        "request_id": request_of(action),
        "amt": money(action.doc["amount"]),
        "action": action.doc["action"],
        "token": action.reference,
        "status": state_of(action, at_us)["status"],
        "bank_arn": None,
        "refund_mode": "Back to Source" if action.doc["action"] == "refund" else "-",
    }


def tell(ledger: Ledger, payment: Thing, at_us: int, refund: Thing | None = None) -> None:
    """A webhook: a signed form. Of a refund it is the same form with the refund's fields; the vendor leaves those unsigned."""
    doc = payment_view(payment)
    identity = f"{doc['txnid']}/{doc['status']}/{doc['unmappedstatus']}"
    if refund:
        status = state_of(refund)["status"]
        about = {"action": "refund", "request_id": request_of(refund), "token": refund.reference, "status": status}
        doc |= {**about, "amt": money(refund.doc["amount"]), "merchantTxnId": payment.reference}
        doc["hash"] = reverse_hash(doc)
        identity = f"{doc['txnid']}/refund/{request_of(refund)}/{status}"
    announce(ledger, NAME, identity, urlencode(doc).encode(), at_us)


# --- hashes, money and time ---


def sha512(said: str) -> str:
    return hashlib.sha512(said.encode()).hexdigest()


def reverse_hash(doc: Mapping[str, Any]) -> str:
    udfs = "|".join(str(doc.get(f"udf{n}", "")) for n in range(5, 0, -1))
    tail = "|".join(str(doc.get(name, "")) for name in ("email", "firstname", "productinfo", "amount", "txnid", "key"))
    return sha512(f"{SALT}|{doc['status']}||||||{udfs}|{tail}")


def money(amount: int) -> str:
    return to_decimal(amount, CURRENCY)


def minor(said: str) -> int | None:
    """A positive amount of rupees in paise; None when it is none."""
    try:
        amount = from_decimal(said, CURRENCY)
    except ValueError:
        return None
    return amount if amount > 0 else None


def time_text(at_us: int) -> str:
    return (EPOCH + timedelta(microseconds=at_us)).astimezone(IST).strftime("%Y-%m-%d %H:%M:%S")


def time_us(said: str) -> int | None:
    """A date or a time of India's clocks; None when it is none."""
    try:
        return (datetime.fromisoformat(said).replace(tzinfo=IST) - EPOCH) // timedelta(microseconds=1)
    except ValueError:
        return None
