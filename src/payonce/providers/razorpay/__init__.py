"""Razorpay: an order is the container, a payment on it only holds, our capture takes the money.

API: v1, razorpay.com/docs/api and the vendor's repository razorpay/markdown-docs of 2026-04-09, checked 2026-11-24.
Unusual:
- No idempotency key but for refunds. An order takes one captured payment (``order_already_paid`` afterwards) and cannot
  be closed. So every order is made with manual capture: what is held and never captured lapses by itself, and an order
  that we made twice is never fired. A lost create is looked up by receipt; ``unique_receipt`` is not sent (in some pages
  only, unverified).
- ``manual_expiry_period`` is 2880 minutes of at most 7200: longer than an attempt lives (24 h from its last shot), short
  enough that a customer sees an abandoned hold again in two days.
- Fire: POST /payments/create/json, the one-time payment server to server. ``token`` with ``customer_id`` in place of
  ``card`` is unverified. /payments/create/recurring is another thing: a mandate, debited up to 36 h later.
- The answer to a fire names a payment id only; that it is on our order is known because we asked for it there. What
  became of it is read. With ``next`` the customer has to act; the URL in it is not released by us.
- ``failed`` may become ``authorized`` for 3 days (late authorisation): technical reasons, timeouts and cancellations are
  provisional until then (one page says 5 days: watched as long; we never take a late hold that was left). The answer to
  a POST names no time, so they are unknown there, and read.
- A refused fire was not executed only by a word of REFUSALS, or by a field without a reason. A refused capture always is
  looked up: what is captured already is said in several ways.
- ``amount_refunded`` counts refunds under way, and may keep one that failed (unverified): the list of refunds decides.
- A hold that lapsed is given back by Razorpay. It shows as ``refunded`` with ``captured`` false (unverified): no money.
- No entity names the mode: it is that of the key (rzp_test_, rzp_live_), so outcomes carry the intent's. The prefix is
  kept in ``Credentials.mode``.
- Exponents are ISO's. The last digit of a three-decimal amount must be 0 (doc); what happens to others is
  unverified, and a changed amount would show as a mismatch.
Unverified besides: rate limits (429, no number published), how long an answer stands under X-Refund-Idempotency (so a
refund is never replayed), the HTTP status of declines other than 400.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from payonce.adapter import (
    Capabilities,
    ConfigError,
    HttpRequest,
    Intent,
    Mode,
    ReadOutcome,
    Response,
    SendOutcome,
    Terms,
    Unknown,
)

from .answers import by_container, by_receipt, captured, created, fired, refund, refused, unread
from .vendor import DECLINES, ORDERS_MAX, STATUSES, decoded, quoted

HOLD_MINUTES: Final = 2880


class Credentials(Struct, frozen=True):
    """The account's API key, hidden in repr."""

    key_id: str
    key_secret: str

    @property
    def mode(self) -> Mode:
        return "live" if self.key_id.startswith("rzp_live_") else "test"

    def __repr__(self) -> str:
        return f"Credentials({self.mode}, key_id=..., key_secret=...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("mode", self.mode), ("key_id", "..."), ("key_secret", "...")]


CAPABILITIES: Final = Capabilities(
    terms=Terms(
        container=True,
        closable=False,
        own_capture=True,
        readable=True,
        keyed=False,
        replay_span_s=0,
        refund_replay_span_s=0,
        processing_s=60,  # a payment shows as created at once; twice the usual, as there is no key to fall back on
        watch_s=432_000,  # 3 days until a failed payment is final, 5 until a late hold is given back
    ),
    steps=frozenset({"create", "fire", "read", "capture", "refund"}),
    api_version="v1",
)
_NAMES: Final = (
    "id entity status amount amount_paid amount_due amount_refunded currency receipt attempts order_id payment_id method"
    " captured refund_status error_code error_source error_step error_reason created_at count items payments payment capture"
    " capture_options manual_expiry_period refund_speed speed speed_processed speed_requested razorpay_payment_id"
    " razorpay_order_id error code field source step reason metadata next action"
)
SHOWN: Final = frozenset(_NAMES.split())


class Razorpay:
    """``payonce.adapter.Adapter``. Pure."""

    name = "razorpay"
    CAPABILITIES = CAPABILITIES
    STATUSES = STATUSES
    DECLINES = DECLINES
    SANDBOX_CREDENTIALS: Mapping[str, str] = {"key_id": "rzp_test_sandbox", "key_secret": "sandbox"}

    def credentials_of(self, values: Mapping[str, str]) -> Credentials:
        for name in ("key_id", "key_secret"):
            if not values.get(name):
                raise ConfigError(f'a razorpay account needs its {name}: {name} = "env:NAME". Nothing was started.')
        if not values["key_id"].startswith(("rzp_test_", "rzp_live_")):
            raise ConfigError("a razorpay key_id begins with rzp_test_ or rzp_live_, see its dashboard. Nothing was started.")
        return Credentials(values["key_id"], values["key_secret"])

    def build(self, intent: Intent) -> HttpRequest:
        match intent.kind:
            case "create":
                return _post("/orders", _order_body(intent))
            case "fire":
                return _post("/payments/create/json", _payment_body(intent))
            case "capture":
                money = {"amount": intent.amount_minor, "currency": intent.currency}
                return _post(f"/payments/{quoted(intent.provider_ref)}/capture", money)
            case "refund":
                body = {"amount": intent.refund_minor, "speed": "normal", "receipt": intent.refund_reference}
                body["notes"] = {"reference": intent.refund_reference}
                path = f"/payments/{quoted(intent.provider_ref)}/refund"
                return _post(path, body, ("x-refund-idempotency", intent.key))
            case "read" if intent.container:
                return HttpRequest(method="GET", path=f"/orders/{quoted(intent.container)}")
            case "read":
                # receipt, count and expand are documented for this list; only their combination is unverified
                query = f"receipt={quoted(intent.reference)}&count={ORDERS_MAX}&expand%5B%5D=payments"
                return HttpRequest(method="GET", path=f"/orders?{query}")
        raise ValueError(f"razorpay has no step {intent.kind}")

    def authenticate(self, request: HttpRequest, credentials: object) -> Mapping[str, str]:
        del request
        if not isinstance(credentials, Credentials):
            raise TypeError("not credentials of razorpay")
        pair = base64.b64encode(f"{credentials.key_id}:{credentials.key_secret}".encode()).decode()
        return {"authorization": f"Basic {pair}"}

    def parse(self, intent: Intent, response: Response) -> SendOutcome:
        if response.status != 200:
            return refused(intent, response)
        match intent.kind:
            case "create":
                return created(intent, response.body)
            case "fire":
                return fired(intent, response.body)
            case "capture":
                return captured(intent, response.body)
            case "refund":
                return refund(intent, response.body)
        return Unknown(reason=f"razorpay has no step {intent.kind}")

    def parse_read(self, intent: Intent, response: Response) -> ReadOutcome | HttpRequest:
        answers = (*intent.seen, response)
        for each in answers:
            if each.status != 200:
                return unread(each)
        return by_container(intent, answers) if intent.container else by_receipt(intent, answers)

    def expose(self, body: bytes) -> bytes:
        doc = decoded(body, dict[str, Any])
        return msgspec.json.encode(_shown(doc)) if doc is not None else b""


# --- requests ---------------------------------------------------------------------------------------------------------


def _post(path: str, body: Mapping[str, Any], *headers: tuple[str, str]) -> HttpRequest:
    typed = (("content-type", "application/json"), *headers)
    return HttpRequest(method="POST", path=path, headers=typed, body=msgspec.json.encode(body))


def _order_body(intent: Intent) -> dict[str, Any]:
    return {
        "amount": intent.amount_minor,
        "currency": intent.currency,
        "receipt": intent.reference,
        "notes": {"reference": intent.reference},
        "payment": {
            "capture": "manual",
            "capture_options": {"manual_expiry_period": HOLD_MINUTES, "refund_speed": "normal"},
        },
    }


def _payment_body(intent: Intent) -> dict[str, Any]:
    body: dict[str, Any] = {"amount": intent.amount_minor, "currency": intent.currency, "order_id": intent.container}
    for field, name in (("email", "customerEmail"), ("contact", "customerPhone"), ("customer_id", "customerId")):
        if isinstance(value := intent.metadata.get(name), str) and value:
            body[field] = value
    body["method"] = intent.payment_method_type or "card"
    if intent.payment_method:
        body["token"] = intent.payment_method
    if intent.description:
        body["description"] = intent.description
    body["notes"] = {"reference": intent.reference}
    if intent.metadata.get("forceFail") is True:
        body["notes"]["forceFail"] = "true"  # for the sandbox; Razorpay ignores it
    return body


def _shown(value: Any, depth: int = 6) -> Any:
    """Known names only, as deep as the vendor's answers go."""
    if isinstance(value, dict | list) and not depth:
        return None
    if isinstance(value, dict):
        return {k: _shown(v, depth - 1) for k, v in value.items() if k in SHOWN}
    return [_shown(v, depth - 1) for v in value] if isinstance(value, list) else value


ADAPTER: Final = Razorpay()
