"""What the vendor shows: orders, payments and refunds."""

from typing import Any

from payonce.core.money import to_decimal
from payonce.sandbox.ledger import Ledger, Thing
from payonce.sandbox.pages import page_url

from .values import NAME, ORDER_BASE, PAYMENT_BASE, REFUND_BASE, ist, major, session_of

GROUPS = {"card": "credit_card", "upi": "upi", "netbanking": "net_banking"}


def order_view(order: Thing, doc: dict[str, Any]) -> dict[str, Any]:
    return {
        "cf_order_id": str(ORDER_BASE + order.id),
        "order_id": order.reference,
        "entity": "order",
        "order_amount": major(doc["amount"], doc["currency"]),
        "order_currency": doc["currency"],
        "order_status": doc["status"],
        "payment_session_id": session_of(order),
        "order_expiry_time": ist(doc["expiry"]),
        "order_note": doc["note"],
        "order_tags": doc["tags"],
        "order_meta": doc["meta"] or {},
        "order_splits": [],
        "customer_details": {name: value for name, value in doc["customer"].items() if value is not None},
        "created_at": ist(order.at_us),
    }


def pay_view(ledger: Ledger, payment: Thing) -> dict[str, Any]:
    """The answer to a payment that was begun. ``custom`` with nothing to open: the customer was asked in his UPI app, or,
    as in no real account, nobody has to be asked."""
    doc, url, payload, kind = payment.doc, None, None, "custom"
    if doc["acts"] and doc["channel"] != "collect":
        page = page_url(ledger, NAME, payment.id)
        if doc["method"] == "upi":
            payload = {"default": _intent(payment), "web": page}
        else:
            url, kind = page, "link"
    return {
        "cf_payment_id": str(PAYMENT_BASE + payment.id),
        "payment_amount": major(doc["amount"], doc["currency"]),
        "payment_method": doc["method"],
        "channel": doc["channel"],
        "action": kind,
        "data": {"url": url, "payload": payload, "content_type": None, "method": None},
    }


def _intent(payment: Thing) -> str:
    """What a UPI app on the phone opens."""
    amount = to_decimal(payment.doc["amount"], payment.doc["currency"])
    return f"upi://pay?pa=payonce@sandbox&am={amount}&cu={payment.doc['currency']}&tr={PAYMENT_BASE + payment.id}"


def payment_view(order: Thing, payment: Thing, doc: dict[str, Any]) -> dict[str, Any]:
    error, waits = doc["error"], doc["status"] in ("PENDING", "NOT_ATTEMPTED")
    method = {
        "card": {"channel": "link", "card_number": "xxxxxx1111"},
        "upi": {"channel": doc.get("channel", "collect"), "upi_id": "a@upi"},
        "netbanking": {"channel": "link", "netbanking_bank_code": 3333},
    }
    return {
        "cf_payment_id": str(PAYMENT_BASE + payment.id),
        "order_id": order.reference,
        "entity": "payment",
        "is_captured": doc["status"] == "SUCCESS" and not (doc.get("held") and doc["captured"] is None),
        "order_amount": major(order.doc["amount"], order.doc["currency"]),
        "order_currency": order.doc["currency"],
        "payment_group": GROUPS[doc["method"]],
        "payment_amount": major(doc["amount"], doc["currency"]),
        "payment_currency": doc["currency"],
        "payment_time": ist(payment.at_us),
        "payment_completion_time": None if waits else ist(doc["since"]),
        "payment_status": doc["status"],
        "payment_message": f"{'PRE_AUTH|' if doc.get('held') else ''}Transaction is {doc['status']}",
        "bank_reference": "",
        "payment_method": {doc["method"]: method[doc["method"]]},
        "authorization": _authorization(payment, doc),
        "error_details": dict(zip(("error_code", "error_reason", "error_source"), error, strict=True)) if error else None,
    }


def _authorization(payment: Thing, doc: dict[str, Any]) -> dict[str, Any] | None:
    if not doc.get("held") or doc["status"] not in ("SUCCESS", "VOID"):
        return None
    taken = doc["captured"]
    return {
        "action": doc["action"] or None,
        "status": ("PENDING" if doc["action_due"] else "SUCCESS") if doc["action"] else None,
        "captured_amount": None if taken is None else major(taken, doc["currency"]),
        "start_time": ist(payment.at_us),
        "end_time": ist(doc["held_until"]),
        "approve_by": None,
        "action_reference": str(PAYMENT_BASE + payment.id) if doc["action"] else None,
        "action_time": ist(doc["since"]) if doc["action"] else None,
    }


def refund_view(refund: Thing, doc: dict[str, Any]) -> dict[str, Any]:
    return {
        "cf_payment_id": str(PAYMENT_BASE + doc["payment"]),
        "cf_refund_id": str(REFUND_BASE + refund.id),
        "refund_id": doc["refund_id"],
        "order_id": refund.reference,
        "entity": "refund",
        "refund_amount": major(doc["amount"], doc["currency"]),
        "refund_currency": doc["currency"],
        "refund_note": doc["note"] or "",
        "refund_status": doc["status"],
        "refund_type": "MERCHANT_INITIATED",
        "refund_splits": [],
        "refund_mode": doc["speed"],
        "refund_speed": {"requested": doc["speed"], "accepted": doc["speed"], "processed": doc["speed"]},
        "status_description": f"Refund is {doc['status']}",
        "created_at": ist(refund.at_us),
        "processed_at": ist(doc["since"]) if doc["status"] == "SUCCESS" else None,
    }
