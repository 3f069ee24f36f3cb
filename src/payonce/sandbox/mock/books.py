"""What happens to the mock vendor's charges and refunds: each transition is booked, told by webhook and shown."""

from typing import Any, Final
from urllib.parse import quote

import msgspec

from payonce.core.money import EXPONENTS, to_decimal
from payonce.sandbox.faults import REFUND_LATE_S, REFUND_S, Refunds
from payonce.sandbox.ledger import Ledger, MovementKind, Thing
from payonce.sandbox.outbox import announce
from payonce.sandbox.pages import page_url

NAME: Final = "mock"


def later(ledger: Ledger, thing: Thing, then: str, at_us: int) -> Thing:
    """At ``at_us`` this happens to it, unless something else does before: ``take``, ``lapse``, ``done``, ``fail``, or a
    decline code."""
    ledger.later(thing, at_us)
    return ledger.change(thing, thing.doc | {"then": then})


def happen(ledger: Ledger, thing: Thing, at_us: int) -> None:
    """What was to happen to it now. Objects of older ledgers have no ``then``: those were charges that are late."""
    match thing.doc.get("then", "take"):
        case "":
            return
        case "take":
            take(ledger, thing, at_us)
        case "lapse":
            release(ledger, thing, "expired", at_us)
        case "done":
            _refunded(ledger, thing, at_us)
        case "fail":
            _unrefunded(ledger, thing, at_us)
        case code:
            fail(ledger, thing, code, at_us)


# --- charges --------------------------------------------------------------------------------------------------------------


def ask(ledger: Ledger, charge: Thing, doc: dict[str, Any], at_us: int) -> Thing:
    """The customer has to act."""
    return _tell(ledger, ledger.change(charge, doc | {"status": "requires_action"}), "requires_action", at_us)


def take(ledger: Ledger, charge: Thing, at_us: int) -> Thing:
    """The money is taken, or only held."""
    doc = charge.doc | {"decline_code": None, "then": ""}
    if not doc.get("hold_s"):
        charge = ledger.change(charge, doc | {"status": "succeeded", "captured": doc["amount"]})
        _book(ledger, "charge", charge, charge.doc["amount"], at_us)
        return _tell(ledger, charge, "succeeded", at_us)
    expires_s = at_us // 1_000_000 + doc["hold_s"]
    charge = ledger.change(charge, doc | {"status": "authorized", "expires_at": expires_s})
    _book(ledger, "authorize", charge, charge.doc["amount"], at_us)
    return later(ledger, _tell(ledger, charge, "authorized", at_us), "lapse", expires_s * 1_000_000)


def fail(ledger: Ledger, charge: Thing, code: str, at_us: int) -> Thing:
    failed = ledger.change(charge, charge.doc | {"status": "failed", "decline_code": code, "then": ""})
    return _tell(ledger, failed, "failed", at_us)


def capture(ledger: Ledger, charge: Thing, amount: int, at_us: int) -> Thing:
    """The held money is taken, or a part of it; the rest is given back with it."""
    charge = ledger.change(charge, charge.doc | {"status": "succeeded", "captured": amount, "then": ""})
    _book(ledger, "capture", charge, amount, at_us)
    return _tell(ledger, charge, "captured", at_us)


def release(ledger: Ledger, charge: Thing, status: str, at_us: int) -> Thing:
    """The hold is given back: ``voided`` by us, or ``expired``."""
    charge = ledger.change(charge, charge.doc | {"status": status, "then": ""})
    _book(ledger, "void", charge, charge.doc["amount"], at_us)
    return _tell(ledger, charge, status, at_us)


def captured(charge: Thing) -> int:
    """What was taken. Objects of older ledgers do not say it: they took all or nothing."""
    return int(charge.doc.get("captured", charge.doc["amount"] if charge.doc["status"] == "succeeded" else 0))


# --- refunds --------------------------------------------------------------------------------------------------------------


def refund(ledger: Ledger, charge: Thing, reference: str, amount: int, *, fate: Refunds, at_us: int) -> Thing:
    """Money is given back, as the fault profile says."""
    doc = {"amount": amount, "currency": charge.doc["currency"], "status": "pending", "then": ""}
    made = ledger.add(NAME, "refund", reference, doc, at_us=at_us, parent=charge.id)
    match fate:
        case "fail":
            return _unrefunded(ledger, made, at_us)
        case "pending" | "pending_fail":
            then = "done" if fate == "pending" else "fail"
            return later(ledger, _tell(ledger, made, "pending", at_us), then, at_us + int(REFUND_S * 1_000_000))
    made = _refunded(ledger, made, at_us)
    return later(ledger, made, "fail", at_us + int(REFUND_LATE_S * 1_000_000)) if fate == "fail_later" else made


def given(ledger: Ledger, charge: Thing, *, pending: bool = False) -> int:
    """What was given back; with ``pending`` what is on its way too."""
    counted = ("succeeded", "pending") if pending else ("succeeded",)
    return sum(r.doc["amount"] for r in ledger.children(charge.id) if _status(r) in counted)


def _refunded(ledger: Ledger, made: Thing, at_us: int) -> Thing:
    made = ledger.change(made, made.doc | {"status": "succeeded", "then": ""})
    _book_refund(ledger, "refund", made, at_us)
    return _tell(ledger, made, "succeeded", at_us)


def _unrefunded(ledger: Ledger, made: Thing, at_us: int) -> Thing:
    """It failed; if it was done, its money comes back."""
    if made.doc["status"] == "succeeded":
        _book_refund(ledger, "refund_failed", made, at_us)
    return _tell(ledger, ledger.change(made, made.doc | {"status": "failed", "then": ""}), "failed", at_us)


def _status(made: Thing) -> str:
    return str(made.doc.get("status", "succeeded"))  # refunds of older ledgers were done at once


# --- the witness, the webhooks, the views ---------------------------------------------------------------------------------


def _book(ledger: Ledger, kind: MovementKind, charge: Thing, amount: int, at_us: int) -> None:
    ledger.book(
        NAME,
        kind,
        reference=charge.reference,
        provider_ref=charge_id(charge),
        amount_minor=amount,
        currency=charge.doc["currency"],
        at_us=at_us,
    )


def _book_refund(ledger: Ledger, kind: MovementKind, made: Thing, at_us: int) -> None:
    ledger.book(
        NAME,
        kind,
        reference=_charge_of(ledger, made).reference,
        refund_reference=made.reference,
        provider_ref=_refund_id(made),
        amount_minor=made.doc["amount"],
        currency=made.doc["currency"],
        at_us=at_us,
    )


def _charge_of(ledger: Ledger, made: Thing) -> Thing:
    charge = ledger.thing(NAME, "charge", made.parent)
    if charge is None:
        raise ValueError(f"the ledger has refund {made.id} without its charge {made.parent}")
    return charge


def _tell(ledger: Ledger, thing: Thing, word: str, at_us: int) -> Thing:
    """Announce that this became of it. Nothing happens twice to an object, so id and word name the event."""
    charge = thing.kind == "charge"
    data = charge_view(ledger, thing) if charge else refund_view(thing)
    if not charge:
        data["charge_reference"] = _charge_of(ledger, thing).reference
    event_id = f"evt_{thing.id:012d}_{word}"
    event = {"id": event_id, "type": f"{thing.kind}.{word}", "created": at_us // 1_000_000, "data": data}
    announce(ledger, NAME, event_id, msgspec.json.encode(event), at_us)
    return thing


def charge_view(ledger: Ledger, charge: Thing) -> dict[str, Any]:
    """A charge as the API and the webhooks show it."""
    doc = charge.doc
    view = {
        "id": charge_id(charge),
        "status": doc["status"],
        "amount": doc["amount"],
        "captured": captured(charge),
        "currency": doc["currency"],
        "reference": charge.reference,
        "mode": "test",
        "decline_code": doc["decline_code"],
        "refunded": given(ledger, charge),
        "refunds": [refund_view(r) for r in ledger.children(charge.id)],
    }
    if doc["status"] in ("authorized", "requires_action"):
        view["expires_at"] = doc["expires_at"]
    if doc["status"] == "requires_action":
        view["action"] = {"type": doc["action"], "url": _action_url(ledger, charge)}
    return view


def refund_view(made: Thing) -> dict[str, Any]:
    """A refund as the API and the webhooks show it."""
    return {
        "id": _refund_id(made),
        "status": _status(made),
        "charge": f"ch_{made.parent:012d}",
        "amount": made.doc["amount"],
        "currency": made.doc["currency"],
        "reference": made.reference,
    }


def _action_url(ledger: Ledger, charge: Thing) -> str:
    """The page; for UPI a link for the customer's app, which names the page for whoever has no such app."""
    page, currency = page_url(ledger, NAME, charge.id), charge.doc["currency"]
    if charge.doc["action"] != "upi_intent":
        return page
    amount = f"&am={to_decimal(charge.doc['amount'], currency)}" if currency in EXPONENTS else ""
    reference = quote(charge.reference, safe="")
    return f"upi://pay?pa=shop@payonce&pn=payonce%20sandbox&tr={reference}{amount}&cu={currency}&url={quote(page, safe='')}"


def charge_id(charge: Thing) -> str:
    return f"ch_{charge.id:012d}"


def _refund_id(made: Thing) -> str:
    return f"re_{made.id:012d}"


def number(name: str) -> int:
    """The number in a charge's id; 0 when it is none."""
    digits = name.removeprefix("ch_")
    return int(digits) if name.startswith("ch_") and digits.isascii() and digits.isdigit() and len(digits) <= 18 else 0
