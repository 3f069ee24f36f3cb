"""What the vendor shows: PaymentIntents, charges, refunds and events, as they were some time ago when lookups lag."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

from payonce.sandbox.ledger import Ledger, Thing

from .errors import Refused

NAME: Final = "stripe"
PREFIXES: Final = {"intent": "pi_3", "refund": "re_3", "event": "evt_3"}
SECOND_US: Final = 1_000_000
Doc = dict[str, Any]


def id_of(thing: Thing) -> str:
    return f"{PREFIXES[thing.kind]}{thing.id:023d}"


def charge_id(intent: Thing, n: int) -> str:
    """The charges of a PaymentIntent lie in it."""
    return f"ch_3{intent.id:020d}{n:03d}"


def number_of(kind: str, id: str) -> int:
    """The ledger's number in one of our ids; 0 = none."""
    digits = id.removeprefix(PREFIXES[kind])
    good = id.startswith(PREFIXES[kind]) and digits.isascii() and digits.isdigit() and len(digits) == 23
    return int(digits) if good and int(digits) < 2**62 else 0


def digest(text: str, chars: int = 24) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:chars]


def seen(thing: Thing, until_us: int) -> Doc | None:
    """The object as it was at that time; None when it was not."""
    if thing.at_us > until_us:
        return None
    was: Doc = thing.doc.get("was") or thing.doc
    return thing.doc if thing.doc.get("since", thing.at_us) <= until_us else was


def amount_refunded(refunds: Iterable[Thing]) -> int:
    """Refunds under way count; those that failed do not."""
    return sum(r.doc["amount"] for r in refunds if r.doc["status"] in ("succeeded", "pending", "requires_action"))


def intent_view(intent: Thing, doc: Doc, ledger: Ledger, expand: Sequence[str] = ()) -> Doc:
    id, charges = id_of(intent), doc["charges"]
    latest: Any = charge_id(intent, len(charges)) if charges else None
    if charges and "latest_charge" in expand:
        latest = charge_view(intent, doc, len(charges), ledger)
    return {
        "id": id,
        "object": "payment_intent",
        "amount": doc["amount"],
        "amount_capturable": doc["capturable"],
        "amount_details": {"tip": {}},
        "amount_received": doc["received"],
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": doc["automatic"],
        "canceled_at": doc["canceled_at"],
        "cancellation_reason": doc["reason"],
        "capture_method": doc["capture_method"],
        "client_secret": f"{id}_secret_{digest(f'secret of {id} {intent.at_us}')}",
        "confirmation_method": "automatic",
        "created": intent.at_us // SECOND_US,
        "currency": doc["currency"].lower(),
        "customer": None,
        "description": doc["description"],
        "last_payment_error": doc["error"],
        "latest_charge": latest,
        "livemode": False,
        "metadata": doc["metadata"],
        "next_action": doc["action"] if doc["status"] == "requires_action" else None,
        "on_behalf_of": None,
        "payment_method": doc["method"],
        "payment_method_options": {},
        "payment_method_types": doc["types"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": doc["status"],
        "transfer_data": None,
        "transfer_group": None,
    }


def charge_view(intent: Thing, doc: Doc, n: int, ledger: Ledger) -> Doc:
    charge = doc["charges"][n - 1]
    back = amount_refunded(refunds_of(ledger, intent)) if charge["captured"] else 0
    failed = charge["status"] == "failed"
    outcome = (
        {"network_status": "declined_by_network", "reason": charge["failure"], "type": "issuer_declined"} if failed else None
    )
    card = {"brand": "visa", "last4": "4242", "capture_before": charge["capture_before"]}
    kind = doc["types"][0]
    return {
        "id": charge_id(intent, n),
        "object": "charge",
        "amount": charge["amount"],
        "amount_captured": charge["taken"],
        "amount_refunded": back,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": {"address": None, "email": None, "name": None, "phone": None},
        "calculated_statement_descriptor": None,
        "captured": charge["captured"],
        "created": charge["created"],
        "currency": doc["currency"].lower(),
        "customer": None,
        "description": doc["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": charge["failure"],
        "failure_message": "It was declined." if failed else None,
        "fraud_details": {},
        "livemode": False,
        "metadata": doc["metadata"],
        "on_behalf_of": None,
        "outcome": outcome,
        "paid": charge["status"] == "succeeded",
        "payment_intent": id_of(intent),
        "payment_method": doc["method"],
        "payment_method_details": {"type": kind, kind: {n: v for n, v in card.items() if v is not None}},
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": bool(back) and back >= charge["taken"],
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": charge["status"],
        "transfer_data": None,
        "transfer_group": None,
    }


def refunds_of(ledger: Ledger, intent: Thing) -> list[Thing]:
    return [child for child in ledger.children(intent.id) if child.kind == "refund"]


def refund_view(refund: Thing, doc: Doc) -> Doc:
    return {
        "id": id_of(refund),
        "object": "refund",
        "amount": doc["amount"],
        "balance_transaction": None,
        "charge": doc["charge"],
        "created": refund.at_us // SECOND_US,
        "currency": doc["currency"].lower(),
        "customer": None,
        "metadata": doc["metadata"],
        "payment_intent": doc["intent"],
        "payment_method": doc["method"],
        "reason": doc["reason"],
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": doc["status"],
        "transfer_reversal": None,
        **({"failure_reason": doc["failure"]} if doc["failure"] else {}),
    }


def page_of(ids: Sequence[str], asked: Doc) -> tuple[list[str], bool]:
    """A page of a list that is newest first: at most ``limit``, after or before one of them; and whether there are more."""
    limit = asked.get("limit", 10)
    if not 1 <= limit <= 100:
        raise Refused(400, "Invalid limit: must be between 1 and 100.", "parameter_invalid_integer", param="limit")
    for name in ("starting_after", "ending_before"):
        if name in asked and asked[name] not in ids:
            raise Refused(400, f"No such object: '{asked[name][:64]}'", "resource_missing", param=name)
    if "ending_before" in asked:
        before = ids[: ids.index(asked["ending_before"])]
        return list(before[-limit:]), len(before) > limit
    rest = ids[ids.index(asked["starting_after"]) + 1 :] if "starting_after" in asked else ids
    return list(rest[:limit]), len(rest) > limit


def within(created: int, asked: Doc) -> bool:
    """Whether a time, in seconds, is in the range that a list asks for."""
    bounds: dict[str, int] = asked.get("created") or {}
    return (
        created > bounds.get("gt", -1)
        and created >= bounds.get("gte", 0)
        and created < bounds.get("lt", 2**62)
        and created <= bounds.get("lte", 2**62)
    )
