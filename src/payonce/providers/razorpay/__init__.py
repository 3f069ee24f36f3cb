"""Razorpay: an order is the container, a payment on it only holds, our capture takes the money.

API: v1, razorpay.com/docs/api and the vendor's repository razorpay/markdown-docs of 2026-04-09, checked 2026-11-26.
Unusual:
- No idempotency key but for refunds. An order takes one captured payment (``order_already_paid`` afterwards) and cannot
  be closed. So every order is made with manual capture: what is held and never captured lapses by itself, and an order
  that we made twice is never fired. A lost create is looked up by receipt; ``unique_receipt`` is not sent (in some pages
  only, unverified).
- ``manual_expiry_period`` is 2880 minutes of at most 7200: longer than an attempt lives (24 h from its last shot), short
  enough that a customer sees an abandoned hold again in two days. It is also how long a merchant has who captures by
  himself. There is no void: a hold is left to lapse. Less than the hold cannot be captured.
- Fire: POST /payments/create/json, or /payments/create/upi for UPI; the one-time payment server to server, which the
  vendor has to enable. ``token`` with ``customer_id`` in place of ``card`` is documented for UPI and unverified for cards.
  /payments/create/recurring is another thing: a mandate, debited up to 36 h later.
- UPI (INR only): the token of a saved UPI address; a payment method with an ``@`` is an address that gets a collect
  request, which can be approved for 30 minutes (``expiry_time``, at most 5760); without either, the answer has an intent
  for the customer's app. Since 2026-02-28 NPCI allows collect requests in a few cases only. In each flow the customer acts.
- netbanking and wallet: the payment method is the vendor's code of the bank or wallet, and the customer is redirected.
- With ``next`` the customer has to act: ``redirect`` is the bank's page, ``intent`` an app. One-time passwords on a page
  of the merchant's own (otp_generate) are not offered. ``callback_url`` is our return URL; what is posted there is signed
  but not needed: the payment is read. How long a redirect stays open cannot be said to them (10 minutes, typically).
- Customer: metadata customerEmail and customerPhone (mandatory by default), customerId, customerIp, customerUserAgent,
  customerReferer. 3-D Secure 2 wants facts of the browser besides (``browser``), which payonce does not have: not sent.
- The answer to a fire names a payment id only; that it is on our order is known because we asked for it there. What
  became of it is read. ``created`` is a payment that the bank or the customer has not decided: a read cannot tell which.
- ``failed`` may become ``authorized`` for 3 days (late authorisation): technical reasons, timeouts and cancellations are
  provisional until then (one page says 5 days: watched as long; we never take a late hold that was left). The answer to
  a POST names no time, so they are unknown there, and read.
- A refused fire was not executed only by a word of REFUSALS, or by a field without a reason. A refused capture always is
  looked up: what is captured already is said in several ways.
- Refunds, partial and several, are ours by their receipt, or by notes.reference where an answer shows no receipt.
  ``amount_refunded`` counts refunds under way, and may keep one that failed (unverified): the list of refunds decides, of
  every charge, newest 100. ``pending`` may still fail; ``processed`` is final (doc), ``failed`` is taken as final.
- A hold that lapsed is given back by Razorpay. It shows as ``refunded`` with ``captured`` false (unverified): no money.
- No entity names the mode: it is that of the key (rzp_test_, rzp_live_), so outcomes carry the intent's. The prefix is
  kept in ``Credentials.mode``.
- Exponents are ISO's (the vendor's list of currencies). The last digit of a three-decimal amount must be 0 (doc); what
  happens to others is unverified, and a changed amount would show as a mismatch.
- Webhooks: X-Razorpay-Signature is the hex HMAC-SHA256 of the raw body under the webhook's secret; no time is signed, so
  nothing is too old. Events sent again after a change of the secret are signed with the old one: webhook_secret_old.
  x-razorpay-event-id names the event, outside of the signature: a forged one costs a read, no more.
- The list of payments names us in notes.reference only, which the account's owner can edit.
Unverified besides: rate limits (429, no number published), how long an answer stands under X-Refund-Idempotency (so a
refund is never replayed), the HTTP status of declines other than 400, whether collect and intent answers always have ``next``
or ``link``, that an order's payments may be paid by netbanking and wallet with manual capture.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from payonce.adapter import (
    Capabilities,
    ConfigError,
    HttpRequest,
    Intent,
    Listing,
    Mode,
    NextAction,
    ReadOutcome,
    Response,
    SendOutcome,
    Terms,
    Unknown,
    Unreadable,
    WebhookEvent,
    Window,
)

from . import building, webhooks
from .answers import by_container, by_receipt, captured, created, fired, listed, next_action, refund, refused, unread
from .building import HOLD_MINUTES
from .vendor import CURRENCIES, DECLINES, STATUSES, TENS, decoded


class Credentials(Struct, frozen=True):
    """The account's API key and its webhook's secrets, hidden in repr."""

    key_id: str
    key_secret: str
    webhook_secret: str = ""
    webhook_secret_old: str = ""

    @property
    def mode(self) -> Mode:
        return "live" if self.key_id.startswith("rzp_live_") else "test"

    def __repr__(self) -> str:
        return f"Credentials({self.mode}, {', '.join(f'{name}=...' for name in self.__struct_fields__)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("mode", self.mode), *((name, "...") for name in self.__struct_fields__)]


CAPABILITIES: Final = Capabilities(
    terms=Terms(
        container=True,
        closable=False,
        own_capture=True,
        readable=True,
        keyed=False,
        replay_span_s=0,
        refund_replay_span_s=0,
        hold_s=HOLD_MINUTES * 60,
        processing_s=60,  # a payment shows as created at once; twice the usual, as there is no key to fall back on
        watch_s=432_000,  # 3 days until a failed payment is final, 5 until a late hold is given back
    ),
    steps=frozenset({"create", "fire", "read", "capture", "refund"}),
    currencies=CURRENCIES,
    multiples=dict.fromkeys(sorted(TENS), 10),
    methods=frozenset({"card", "netbanking", "upi", "wallet"}),
    api_version="v1",
)
_NAMES: Final = (
    "id entity status amount amount_paid amount_due amount_refunded currency receipt attempts order_id payment_id method"
    " captured refund_status error_code error_source error_step error_reason created_at count items payments payment capture"
    " capture_options manual_expiry_period refund_speed speed speed_processed speed_requested razorpay_payment_id"
    " razorpay_order_id error code field source step reason metadata next action upi flow expiry_time event contains payload"
    " order refund"
)
SHOWN: Final = frozenset(_NAMES.split())


class Razorpay:
    """``payonce.adapter.Adapter``. Pure."""

    name = "razorpay"
    CAPABILITIES = CAPABILITIES
    STATUSES = STATUSES
    DECLINES = DECLINES
    SANDBOX_CREDENTIALS: Mapping[str, str] = {
        "key_id": "rzp_test_sandbox",
        "key_secret": "sandbox",
        "webhook_secret": "sandbox_webhook",
    }

    def credentials_of(self, values: Mapping[str, str]) -> Credentials:
        for name in ("key_id", "key_secret"):
            if not values.get(name):
                raise ConfigError(f'a razorpay account needs its {name}: {name} = "env:NAME". Nothing was started.')
        if not values["key_id"].startswith(("rzp_test_", "rzp_live_")):
            raise ConfigError("a razorpay key_id begins with rzp_test_ or rzp_live_, see its dashboard. Nothing was started.")
        return Credentials(**{name: values.get(name, "") for name in Credentials.__struct_fields__})

    def build(self, intent: Intent) -> HttpRequest:
        match intent.kind:
            case "create":
                return building.order(intent)
            case "fire":
                return building.payment(intent)
            case "capture":
                return building.capture(intent)
            case "refund":
                return building.refund(intent)
            case "read":
                return building.read(intent)
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
        for at, each in enumerate(answers):
            if each.status != 200:
                return unread(each, first=not at)
        return by_container(intent, answers) if intent.container else by_receipt(intent, answers)

    def next_action(self, intent: Intent, response: Response) -> NextAction | None:
        return next_action(intent, response.body) if response.status == 200 else None

    def webhook_secrets(self, credentials: object) -> tuple[str, ...]:
        if not isinstance(credentials, Credentials):
            raise TypeError("not credentials of razorpay")
        return tuple(filter(None, (credentials.webhook_secret, credentials.webhook_secret_old)))

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> None:
        del now_us  # no time is signed
        webhooks.verify(headers, body, secrets)

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        return webhooks.event(headers, body)

    def build_listing(self, window: Window) -> HttpRequest:
        return building.listing(window)

    def parse_listing(self, window: Window, response: Response, mode: Mode) -> Listing | Unreadable:
        return listed(window, response, mode)

    def expose(self, body: bytes) -> bytes:
        doc = decoded(body, dict[str, Any])
        return msgspec.json.encode(_shown(doc)) if doc is not None else b""


def _shown(value: Any, depth: int = 6) -> Any:
    """Known names only, as deep as the vendor's answers go."""
    if isinstance(value, dict | list) and not depth:
        return None
    if isinstance(value, dict):
        return {k: _shown(v, depth - 1) for k, v in value.items() if k in SHOWN}
    return [_shown(v, depth - 1) for v in value] if isinstance(value, list) else value


ADAPTER: Final = Razorpay()
