"""The requests that Razorpay gets. See the docstring of the package."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from payonce.adapter import HttpRequest, Intent, Window

from .vendor import ORDERS_MAX, PAGE_MAX, quoted

HOLD_MINUTES: Final = 2880
COLLECT_MINUTES: Final = 30  # how long a UPI collect request can be approved, where nothing is said
COLLECT_MINUTES_MAX: Final = 5760
# their field -> the merchant's word in metadata
CUSTOMER: Final = {
    "email": "customerEmail",
    "contact": "customerPhone",
    "customer_id": "customerId",
    "ip": "customerIp",
    "user_agent": "customerUserAgent",
    "referer": "customerReferer",
}
# method -> where its token goes; of netbanking and wallet it is the vendor's code of the bank or wallet
TOKENS: Final = {"netbanking": "bank", "wallet": "wallet"}


def order(intent: Intent) -> HttpRequest:
    """Always with manual capture: what is held and never captured lapses by itself."""
    body = {
        "amount": intent.amount_minor,
        "currency": intent.currency,
        "receipt": intent.reference,
        "notes": {"reference": intent.reference},
        "payment": {
            "capture": "manual",
            "capture_options": {"manual_expiry_period": HOLD_MINUTES, "refund_speed": "normal"},
        },
    }
    return _post("/orders", body)


def payment(intent: Intent) -> HttpRequest:
    """The one-time payment on our order."""
    body: dict[str, Any] = {"amount": intent.amount_minor, "currency": intent.currency, "order_id": intent.container}
    for field, name in CUSTOMER.items():
        if isinstance(value := intent.metadata.get(name), str) and value:
            body[field] = value
    body["method"] = method = intent.payment_method_type or "card"
    if method == "upi":
        body |= _upi(intent)
    elif intent.payment_method:
        body[TOKENS.get(method, "token")] = intent.payment_method
    if intent.description:
        body["description"] = intent.description
    if intent.return_url:
        body["callback_url"] = intent.return_url
    body["notes"] = {"reference": intent.reference}
    if intent.metadata.get("forceFail") is True:
        body["notes"]["forceFail"] = "true"  # for the sandbox; Razorpay ignores it
    return _post("/payments/create/upi" if method == "upi" else "/payments/create/json", body)


def _upi(intent: Intent) -> dict[str, Any]:
    """A UPI address is asked to pay, a saved one by its token; without either the customer opens the intent."""
    token = intent.payment_method
    if "@" in token:
        minutes = min(COLLECT_MINUTES_MAX, max(1, intent.action_s // 60)) if intent.action_s else COLLECT_MINUTES
        return {"upi": {"flow": "collect", "vpa": token, "expiry_time": minutes}}
    return {"token": token} if token else {"upi": {"flow": "intent"}}


def capture(intent: Intent) -> HttpRequest:
    """The whole hold: less is refused."""
    money = {"amount": intent.capture_minor or intent.amount_minor, "currency": intent.currency}
    return _post(f"/payments/{quoted(intent.provider_ref)}/capture", money)


def refund(intent: Intent) -> HttpRequest:
    """Part or all of a captured payment, under our reference twice: as receipt and as note."""
    body: dict[str, Any] = {"amount": intent.refund_minor, "speed": "normal", "receipt": intent.refund_reference}
    body["notes"] = {"reference": intent.refund_reference}
    return _post(f"/payments/{quoted(intent.provider_ref)}/refund", body, ("x-refund-idempotency", intent.key))


def read(intent: Intent) -> HttpRequest:
    """The first request of a read: our order, or the orders of our receipt."""
    if intent.container:
        return HttpRequest(method="GET", path=f"/orders/{quoted(intent.container)}")
    # receipt, count and expand are documented for this list; only their combination is unverified
    query = f"receipt={quoted(intent.reference)}&count={ORDERS_MAX}&expand%5B%5D=payments"
    return HttpRequest(method="GET", path=f"/orders?{query}")


def listing(window: Window) -> HttpRequest:
    """A page of the payments made in a window, in whole seconds, newest first."""
    first_s, last_s = window.from_us // 1_000_000, max(window.before_us - 1, 0) // 1_000_000
    query = f"from={first_s}&to={last_s}&count={PAGE_MAX}&skip={quoted(window.cursor or '0')}"
    return HttpRequest(method="GET", path=f"/payments?{query}")


def _post(path: str, body: Mapping[str, Any], *headers: tuple[str, str]) -> HttpRequest:
    typed = (("content-type", "application/json"), *headers)
    return HttpRequest(method="POST", path=path, headers=typed, body=msgspec.json.encode(body))
