"""The webhooks that the vendor sends: announced when something happens, signed anew at every delivery."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from payonce.sandbox.ledger import Ledger, Thing
from payonce.sandbox.outbox import announce

from .values import NAME, PAYMENT_BASE, REFUND_BASE, ist, major
from .views import payment_view, refund_view

VERSION: Final = "2025-01-01"
PAYMENT_KINDS: Final = {
    "SUCCESS": "PAYMENT_SUCCESS_WEBHOOK",
    "FAILED": "PAYMENT_FAILED_WEBHOOK",
    "USER_DROPPED": "PAYMENT_USER_DROPPED_WEBHOOK",
}
REFUND_KIND: Final = "REFUND_STATUS_WEBHOOK"
UNTOLD: Final = frozenset({"order_id", "order_amount", "order_currency", "entity", "is_captured", "error_details"})


def tell_payment(ledger: Ledger, order: Thing, payment: Thing, now_us: int) -> None:
    """A payment ended, or its hold was captured. Other states are not told."""
    kind = PAYMENT_KINDS.get(payment.doc["status"])
    if kind is None:
        return
    view = payment_view(order, payment, payment.doc)
    data: dict[str, Any] = {
        "order": {
            "order_id": order.reference,
            "order_amount": major(order.doc["amount"], order.doc["currency"]),
            "order_currency": order.doc["currency"],
            "order_tags": order.doc["tags"],
        },
        "payment": {name: value for name, value in view.items() if name not in UNTOLD},
        "customer_details": order.doc["customer"],
    }
    if view["error_details"]:
        data["error_details"] = view["error_details"]
    state = f"{payment.doc['status']} {payment.doc.get('action') or ''}".strip()
    _announce(ledger, kind, f"{PAYMENT_BASE + payment.id} {state}", data, now_us)


def tell_refund(ledger: Ledger, refund: Thing, now_us: int) -> None:
    """A refund ended, well or not."""
    view = refund_view(refund, refund.doc)
    flat = {
        "requested_speed": refund.doc["speed"],
        "processed_speed": refund.doc["speed"],
        "service_charge": 0,
        "service_tax": 0,
    }
    told = {name: value for name, value in view.items() if name not in ("refund_speed", "refund_mode")} | flat
    told |= {name: int(told[name]) for name in ("cf_refund_id", "cf_payment_id")} | {"entity": "Refund"}
    _announce(ledger, REFUND_KIND, f"{REFUND_BASE + refund.id} {refund.doc['status']}", {"refund": told}, now_us)


def _announce(ledger: Ledger, kind: str, about: str, data: dict[str, Any], now_us: int) -> None:
    body = msgspec.json.encode({"data": data, "event_time": ist(now_us), "type": kind})
    announce(ledger, NAME, f"{kind} {about}", body, now_us)


def signed(body: bytes, secret: str, now_us: int) -> Mapping[str, str]:
    """All headers of one delivery but its length."""
    stamp = str(now_us // 1000)
    digest = hmac.digest(secret.encode(), stamp.encode() + body, hashlib.sha256)
    return {
        "content-type": "application/json",
        "x-webhook-timestamp": stamp,
        "x-webhook-signature": base64.b64encode(digest).decode(),
        "x-webhook-version": VERSION,
        "x-webhook-attempt": "1",
        "x-idempotency-key": base64.b64encode(hashlib.sha256(body).digest()).decode(),
    }
