"""What we ask: paths, headers and bodies, the same for the same intent, byte for byte."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from payonce.adapter import HttpRequest, Intent, to_decimal

API_VERSION: Final = "2025-01-01"
PHONE_NOBODY: Final = "9999999999"  # the vendor allows made-up details where a merchant has none


def place(intent: Intent) -> str:
    return f"/orders/{quote(intent.reference, safe='')}"


def get(path: str) -> HttpRequest:
    return HttpRequest(method="GET", path=path, headers=(("x-api-version", API_VERSION),))


def send(method: str, path: str, body: Mapping[str, Any], key: str = "") -> HttpRequest:
    headers = [("content-type", "application/json"), ("x-api-version", API_VERSION)]
    if key:
        headers.append(("x-idempotency-key", key))
    return HttpRequest(method=method, path=path, headers=tuple(headers), body=msgspec.json.encode(body))


def _number(amount_minor: int, currency: str) -> msgspec.Raw:
    """The amount as the digits of a JSON number."""
    return msgspec.Raw(to_decimal(amount_minor, currency).encode())


def order_body(intent: Intent) -> dict[str, Any]:
    body: dict[str, Any] = {
        "order_id": intent.reference,
        "order_amount": _number(intent.amount_minor, intent.currency),
        "order_currency": intent.currency,
        "customer_details": _customer(intent),
        "order_tags": {"reference": intent.reference},
    }
    if intent.metadata.get("forceFail") is True:
        body["order_tags"]["forceFail"] = "true"
    if len(note := intent.description[:200].strip()) >= 3:
        body["order_note"] = note
    return body


def _customer(intent: Intent) -> dict[str, str]:
    """Who pays, as far as the vendor's limits let it through."""
    told = {name: str(value).strip() for name, value in intent.metadata.items() if isinstance(value, str | int)}
    phone = re.fullmatch(r"(?:\+?91)?(\d{10})", told.get("customerPhone", ""), re.ASCII)
    id = told.get("customerId", "")
    details = {
        "customer_id": id if re.fullmatch(r"[A-Za-z0-9_-]{3,50}", id) else intent.reference[:20],
        "customer_phone": phone.group(1) if phone else PHONE_NOBODY,
    }
    if 3 <= len(email := told.get("customerEmail", "")) <= 100:
        details["customer_email"] = email
    if 3 <= len(name := told.get("customerName", "")) <= 100:
        details["customer_name"] = name
    return details


def payment_method(intent: Intent) -> dict[str, Any]:
    if intent.payment_method_type == "upi":
        return {"upi": {"channel": "collect", "upi_id": intent.payment_method}}
    token = {"instrument_id": intent.payment_method} if intent.payment_method else {}
    return {"card": {"channel": "link", **token}}


def refund_body(intent: Intent) -> dict[str, Any]:
    return {
        "refund_amount": _number(intent.refund_minor, intent.currency),
        "refund_id": intent.refund_reference,
        "refund_note": "refund",
        "refund_speed": "STANDARD",
    }
