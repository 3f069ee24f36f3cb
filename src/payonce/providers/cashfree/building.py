"""What we ask: paths, headers and bodies, the same for the same intent, byte for byte."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import msgspec

from payonce.adapter import HttpRequest, Intent, to_decimal

API_VERSION: Final = "2025-01-01"
PHONE_NOBODY: Final = "9999999999"  # the vendor allows made-up details where a merchant has none
RETURN_URL_MAX: Final = 250
EXPIRY_MARGIN_S: Final = 10_800  # how long an order outlives the time to act
HOLD_S: Final = 7 * 86_400  # what the vendor keeps a hold at most
COLLECT_MINUTES: Final = 15  # the longest life of a UPI collect request
PREAUTH_NOTE: Final = "preauth_transaction"  # what makes an order of the vendor's test environment one of holds


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


def utc(at_us: int) -> str:
    """A time to the second, as the vendor takes it: ``2026-12-24T12:32:46Z``."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at_us // 1_000_000)).strftime("%Y-%m-%dT%H:%M:%SZ")


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
    note = intent.description[:200].strip()
    if intent.manual and intent.mode == "test":
        body["order_note"] = PREAUTH_NOTE
        body["order_tags"] |= {"note": note} if note else {}
    elif len(note) >= 3:
        body["order_note"] = note
    if 0 < len(intent.return_url) <= RETURN_URL_MAX:
        body["order_meta"] = {"return_url": intent.return_url}
    if intent.action_expires_us:
        body["order_expiry_time"] = utc(intent.action_expires_us + EXPIRY_MARGIN_S * 1_000_000)
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
    token = intent.payment_method
    if intent.payment_method_type == "upi":
        return {"upi": _upi(intent)}
    if intent.payment_method_type == "netbanking":
        coded = re.fullmatch(r"[1-9]\d{3}", token, re.ASCII)
        bank = {"netbanking_bank_code": int(token)} if coded else {"netbanking_bank_name": token} if token else {}
        return {"netbanking": {"channel": "link", **bank}}
    return {"card": {"channel": "link", **({"instrument_id": token} if token else {})}}


def _upi(intent: Intent) -> dict[str, Any]:
    """A request sent to the customer's UPI id, or without one an intent to open on the phone. A hold is a mandate of its
    own, with its times where they are known."""
    upi: dict[str, Any] = {"channel": "link"}
    if intent.payment_method:
        upi = {"channel": "collect", "upi_id": intent.payment_method, "upi_expiry_minutes": COLLECT_MINUTES}
    if intent.manual:
        upi["authorize_only"] = True
        if approve_us := intent.action_expires_us:
            end = utc(approve_us + HOLD_S * 1_000_000)
            upi["authorization"] = {"approve_by": utc(approve_us), "start_time": utc(approve_us), "end_time": end}
    return upi


def capture_body(intent: Intent) -> dict[str, Any]:
    return {"action": "CAPTURE", "amount": _number(intent.capture_minor or intent.amount_minor, intent.currency)}


def refund_body(intent: Intent) -> dict[str, Any]:
    note = intent.description[:100].strip()
    return {
        "refund_amount": _number(intent.refund_minor, intent.currency),
        "refund_id": intent.refund_reference,
        "refund_note": note if len(note) >= 3 else "refund",
        "refund_speed": "STANDARD",
    }
