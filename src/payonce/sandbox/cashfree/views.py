"""What the vendor shows: orders, payments and refunds, as they were some time ago when lookups lag."""

from typing import Any

from payonce.sandbox.ledger import Ledger, Thing
from payonce.sandbox.simulator import Reply, reply_json

from .orders import NAME, ORDER_BASE, PAYMENT_BASE, REFUND_BASE, Orders, Refused, ist, major, number_of, session_of


class Lookup:
    """Reads, which do not see what is younger than ``until_us``."""

    def __init__(self, ledger: Ledger, until_us: int) -> None:
        self.ledger, self.until_us = ledger, until_us

    def answer(self, path: str) -> Reply:
        match path.strip("/").split("/"):
            case ["orders", id]:
                order, doc = self._order(id)
                return reply_json(200, order_view(order, doc))
            case ["orders", id, "payments"]:
                return reply_json(200, self._payments(id))
            case ["orders", id, "payments", number]:
                return self._one(self._payments(id), "cf_payment_id", number)
            case ["orders", id, "refunds"]:
                return reply_json(200, self._refunds(id))
            case ["orders", id, "refunds", name]:
                return self._one(self._refunds(id), "refund_id", name)
            case ["simulate", name] if made := self.ledger.thing(NAME, "simulation", number_of(name.removeprefix("sim_"), 0)):
                return reply_json(200, {"simulation_id": name, **made.doc})
        raise Refused(404, "request_failed", "bad URL, please check API documentation")

    def _order(self, id: str) -> tuple[Thing, dict[str, Any]]:
        order = Orders(self.ledger, self.until_us).named(id)
        doc = self._seen(order)
        if doc is None:
            raise Refused(404, "order_not_found", "order is not found")
        return order, doc

    def _payments(self, id: str) -> list[dict[str, Any]]:
        order, _ = self._order(id)
        found = Orders(self.ledger, self.until_us).children(order, "payment")
        return [payment_view(order, p, doc) for p in found if (doc := self._seen(p)) is not None]

    def _refunds(self, id: str) -> list[dict[str, Any]]:
        order, _ = self._order(id)
        found = Orders(self.ledger, self.until_us).children(order, "refund")
        return [refund_view(r, doc) for r in found if (doc := self._seen(r)) is not None]

    def _one(self, views: list[dict[str, Any]], name: str, value: str) -> Reply:
        for view in views:
            if view[name] == value:
                return reply_json(200, view)
        raise Refused(404, f"{name.removeprefix('cf_').removesuffix('_id')}_not_found", f"{name} is not found")

    def _seen(self, thing: Thing) -> dict[str, Any] | None:
        """The object as it was at that time."""
        if thing.at_us > self.until_us:
            return None
        was: dict[str, Any] = thing.doc.get("was") or thing.doc
        return thing.doc if thing.doc["since"] <= self.until_us else was


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


def pay_view(payment: Thing, channel: str) -> dict[str, Any]:
    url = f"https://sandbox.payonce.invalid/cashfree/pay/{PAYMENT_BASE + payment.id}"
    return {
        "cf_payment_id": str(PAYMENT_BASE + payment.id),
        "payment_amount": major(payment.doc["amount"], payment.doc["currency"]),
        "payment_method": payment.doc["method"],
        "channel": channel,
        "action": {"collect": "custom", "qrcode": "custom"}.get(channel, channel),
        "data": {"url": url, "payload": {}, "content_type": "application/x-www-form-urlencoded", "method": "post"},
    }


def payment_view(order: Thing, payment: Thing, doc: dict[str, Any]) -> dict[str, Any]:
    error = doc["error"]
    method = {"card": {"channel": "link", "card_number": "xxxxxx1111"}, "upi": {"channel": "collect", "upi_id": "a@upi"}}
    return {
        "cf_payment_id": str(PAYMENT_BASE + payment.id),
        "order_id": order.reference,
        "entity": "payment",
        "is_captured": doc["status"] == "SUCCESS",
        "order_amount": major(order.doc["amount"], order.doc["currency"]),
        "order_currency": order.doc["currency"],
        "payment_group": {"card": "credit_card", "upi": "upi"}[doc["method"]],
        "payment_amount": major(doc["amount"], doc["currency"]),
        "payment_currency": doc["currency"],
        "payment_time": ist(payment.at_us),
        "payment_completion_time": None if doc["status"] == "PENDING" else ist(doc["since"]),
        "payment_status": doc["status"],
        "payment_message": f"Transaction is {doc['status']}",
        "bank_reference": "",
        "payment_method": {doc["method"]: method[doc["method"]]},
        "error_details": dict(zip(("error_code", "error_reason", "error_source"), error, strict=True)) if error else None,
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
