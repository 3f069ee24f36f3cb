"""Cashfree: our reference is the order's id, the order is paid, a payment on it takes the money, TERMINATE closes it.

API: 2025-01-01, from the vendor's openapi.yaml, its public pages and its repository cashfree/agent-skills, checked
2026-11-24, for actions, holds, refunds, listing and webhooks 2026-11-26. Each request also fits version 2026-01-01, in the
models of the SDK of that version (cashfree_pg 6.0.1); nothing that it removed is sent.
Unusual:
- Amounts are JSON numbers in major units, at most two decimals, at least 1.00. They are written and read as digits,
  never as floats. The page on currencies gives dinars three decimals, the spec two: what has more than two is not taken.
- Every POST takes ``x-idempotency-key`` and answers a repeat with the saved status and body, a 500 included. Pages and spec
  publish no window (the repository says 24 h): no replay rests on it. PATCH is sent without a key: a saved answer would
  stand in for the second close.
- The container is the order, by our reference. What pays it is the ``payment_session_id``, with which nobody needs
  credentials: it is kept beside the history (``handle_of``), and ``expose`` never shows it. Attempts of earlier versions
  have it as their container.
- The answer to a fire only says that they have it. Success and decline show in the list of payments.
- A read asks for the order, then its payments, then (when one succeeded) its refunds. The order first: what it says of
  closing is then the older truth, and a payment that slips in between is still in the list.
- While the order is open a failed payment is provisional: until the order's expiry and a day, the longest time that a
  payment may take to end (page on the payment lifecycle). So a decline leads to close, re-read, and only then further.
- TERMINATED stands only when no payment is in process. TERMINATION_REQUESTED proves nothing and may still become PAID.
  EXPIRED takes no new payment, but one begun before may end as PAID, and may not be listed yet: closed, with its
  failures, and its having no payment, provisional as above.
- A fire is Rejected only by 401, 403, a feature that is not enabled, and the vendor's listed words about the request itself
  (NOT_FIRED; error pages, and the repository). ``order_inactive`` may mean that it worked before. A capture and a void the
  same, with fewer words (NOT_EXECUTED).
- One odd entry of a list hides no money beside it; alone it makes the read unreadable.
- ``payment_status`` is a published, closed list: it decides that a payment is a no (DECLINES). ``error_details`` has
  no published list: it may only refine what to do next (REASONS, then SOURCES), never whether it is a no. So an error
  that nobody mapped is a soft decline of the issuer, and hangs nothing.
- CANCELLED is a success that came after the vendor's time limit and is given back by the vendor.
- A surcharge that the payment itself names is the customer's fee to the merchant's account, no part of our amount. Where
  it is given back too, no more than our amount counts as given back.
- Nothing in an answer names the mode: it is that of the host, so outcomes carry the intent's (TEST_HOSTS, LIVE_HOSTS).
The customer acts:
- ``action`` of the fire's answer: link (open ``data.url``), form (send ``data.payload`` there), custom (UPI: an intent to
  open, ``payload.default``, or a collect request that was sent to the customer). post, a code that the merchant would
  ask for, is not asked for; were it answered, ``redirect_to_bank`` is where to go.
- Such a payment is NOT_ATTEMPTED until the customer opens it, and PENDING afterwards; UPI is PENDING from the beginning, so
  there PENDING asks for the customer too. NOT_ATTEMPTED is a no once the order is over, after an expiry a day later.
- USER_DROPPED is a customer who did not finish in time: ``action_expired``. One who refused is FAILED.
- Almost every payment here may ask for the customer, so every order gets ``order_expiry_time``: EXPIRY_MARGIN_S after the
  time in which the customer may act. The vendor wants more than 15 minutes and less than 30 days from its own now (the
  error that it answers; its page once said 5 minutes), and ``build`` has no clock. The hours keep that rule for any time to
  act, for clocks that differ, and for an order that can only be made later; after them it is refused for good. The close
  at the end of the time to act comes first; an order that nobody closes ends by itself.
- ``return_url`` goes to ``order_meta``, if it has at most 250 characters; the vendor adds ``order_id`` to it. A longer one
  is left out, and the customer ends on the vendor's page.
Holds (pre-authorisation, for accounts where the vendor has enabled it):
- A card is held because the account is set so, nothing in the request asks for it: such an account is for manual captures
  only, and without it a manual payment is taken at once. The vendor's test environment holds when ``order_note`` is
  PREAUTH_NOTE: there the description goes to a tag. UPI is asked for by ``authorize_only`` with the times of a mandate.
- SUCCESS with ``is_captured`` false is held. One capture or one void, within seven days, for the amount or less; the rest
  goes back. A captured hold cannot be voided nor the other way round, so VOID is final. Either may be PENDING first.
- Less than what was held shows as ``captured_amount``. A PAID order whose payment is VOID takes no other: closed.
Refunds: many per payment, each with our ``refund_id``.
- PENDING and ONHOLD (no balance, or a review) are under way. CANCELLED and FAILED are final: the page on refund webhooks
  says that cancelled comes after several attempts did not succeed, the repository lists SUCCESS, CANCELLED and FAILED as
  terminal. Not seen proven: that none of them is ever taken up again.
- ``refund_type`` other than MERCHANT_INITIATED is the vendor's own: it counts as given back, and is no refund of ours.
- The same ``refund_id`` again is answered with the refund, with another amount by a refusal that proves nothing.
Listing: POST /recon, events by date. Its PAYMENT events carry our order_id, whether settled or not (an example of the page
shows one without settlement). This version's spec writes them flat, the page and version 2026-01-01 in groups: both are
read. Neither a surcharge nor a hold is told apart there: what differs in its amount is to be read.
Webhooks: ``x-webhook-signature`` is base64 of HMAC-SHA256 under the client secret over ``x-webhook-timestamp`` and the raw
body. The timestamp has milliseconds in every example; one of ten digits is read as seconds. Older or younger than five
minutes is refused. The identity is type, id and state of the payment or refund: nothing in what is signed names the event
(``x-idempotency-key`` is not signed). After a rotation the old key goes to ``client_secret_old``.
Customer: metadata customerId, customerPhone (10 digits), customerEmail, customerName. The vendor demands the first two:
where they are missing or not as it wants them, the first 20 characters of the reference and PHONE_NOBODY stand in.
Payment methods: card (the token is a saved ``instrument_id``), upi (the token is the ``upi_id`` of a collect request, which
lives COLLECT_MINUTES; without one an intent) and netbanking (the token is the bank's code).
Unverified: 404 ``order_not_found``, that a saved card needs no CVV, most words in REASONS, the time until a read shows a
payment (``read_lag_s``, ``processing_s``), that ``-`` and ``_`` are allowed in a customer_id; that an order with a hold is
PAID; what a hold that lapsed reads as (VOID is expected; while it reads as held it is held); that a mandate may start when it
is approved (the examples have it later), and that it is taken with the intent channel (the spec says collect only); that a
retried webhook, 2, 10 and 30 minutes later, has a new timestamp (if not, those are refused and the next read finds it);
``end_time`` as the end of a card's hold; that a capture which is PENDING beside ``is_captured`` true and an amount, as in an
example of the spec, has taken the money.
Files: building (what we ask), sends, reads, payments (what the answers mean), listing, webhooks, objects (the vendor's
objects), words (its words).
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Struct

from payonce.adapter import (
    EXPONENTS,
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
    Unreadable,
    WebhookEvent,
    Window,
)

from . import listing, sends, webhooks
from .building import API_VERSION, HOLD_S, capture_body, get, order_body, payment_method, place, refund_body, send
from .reads import read, session_of
from .words import DECLINES, SHOWN, STATUSES

PLACES_MAX: Final = 2
DAY_AND_HOURS_S: Final = 100_800  # a payment ends within a day of its order's expiry, and that is hours after acting


class Credentials(Struct, frozen=True):
    """The account's app id and secret, and the secret before it, hidden in repr."""

    client_id: str
    client_secret: str
    client_secret_old: str = ""

    def __repr__(self) -> str:
        return "Credentials(client_id=..., client_secret=..., client_secret_old=...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, "...") for name in ("client_id", "client_secret", "client_secret_old")]


CAPABILITIES: Final = Capabilities(
    terms=Terms(
        container=True,
        closable=True,
        voidable=True,
        readable=True,
        replay_span_s=0,
        refund_replay_span_s=0,
        processing_s=30,
        read_lag_s=5,
        hold_s=HOLD_S,
        horizon_s=DAY_AND_HOURS_S,  # by then the vendor itself has ended every payment
        watch_s=345_600,
    ),
    steps=frozenset({"create", "fire", "read", "close", "capture", "void", "refund"}),
    currencies=frozenset(code for code, places in EXPONENTS.items() if places <= PLACES_MAX),
    methods=frozenset({"card", "upi", "netbanking"}),
    partial_capture=True,
    api_version=API_VERSION,
)


class Cashfree:
    """``payonce.adapter.Adapter``, with ``Acts``, ``Hears`` and ``Lists``. Pure."""

    name = "cashfree"
    CAPABILITIES = CAPABILITIES
    STATUSES = STATUSES
    DECLINES = DECLINES
    TEST_HOSTS = frozenset({"sandbox.cashfree.com"})
    LIVE_HOSTS = frozenset({"api.cashfree.com"})
    SANDBOX_CREDENTIALS: Mapping[str, str] = {"client_id": "sandbox", "client_secret": "sandbox"}

    def credentials_of(self, values: Mapping[str, str]) -> Credentials:
        for name in ("client_id", "client_secret"):
            if not values.get(name):
                raise ConfigError(f'a cashfree account needs its {name}: {name} = "env:NAME". Nothing was started.')
        return Credentials(values["client_id"], values["client_secret"], values.get("client_secret_old", ""))

    def build(self, intent: Intent) -> HttpRequest:
        path = place(intent)
        match intent.kind:
            case "create":
                return send("POST", "/orders", order_body(intent), intent.key)
            case "fire":
                body = {"payment_session_id": intent.handle or intent.container, "payment_method": payment_method(intent)}
                return send("POST", "/orders/sessions", body, intent.key)
            case "close":
                return send("PATCH", path, {"order_status": "TERMINATED"})
            case "capture":
                return send("POST", f"{path}/authorization", capture_body(intent), intent.key)
            case "void":
                return send("POST", f"{path}/authorization", {"action": "VOID"}, intent.key)
            case "refund":
                return send("POST", f"{path}/refunds", refund_body(intent), intent.key)
            case "read":
                return get(path)
        raise ValueError(f"cashfree has no step {intent.kind}")

    def authenticate(self, request: HttpRequest, credentials: object) -> Mapping[str, str]:
        del request
        known = _ours(credentials)
        return {"x-client-id": known.client_id, "x-client-secret": known.client_secret}

    def parse(self, intent: Intent, response: Response) -> SendOutcome:
        return sends.sent(intent, response)

    def parse_read(self, intent: Intent, response: Response) -> ReadOutcome | HttpRequest:
        return read(intent, response)

    def next_action(self, intent: Intent, response: Response) -> NextAction | None:
        return sends.next_action(response) if intent.kind == "fire" else None

    def webhook_secrets(self, credentials: object) -> tuple[str, ...]:
        known = _ours(credentials)
        return tuple(secret for secret in (known.client_secret, known.client_secret_old) if secret)

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> None:
        webhooks.verify(headers, body, secrets, now_us)

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        del headers
        return webhooks.parse(body)

    def build_listing(self, window: Window) -> HttpRequest:
        return listing.build_listing(window)

    def parse_listing(self, window: Window, response: Response, mode: Mode) -> Listing | Unreadable:
        return listing.parse_listing(window, response, mode)

    def handle_of(self, intent: Intent, response: Response) -> str:
        return session_of(intent, response)

    def expose(self, body: bytes) -> bytes:
        try:
            doc = msgspec.json.Decoder(float_hook=Decimal).decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ArithmeticError):
            return b""
        shown = [_shown(each) for each in doc] if isinstance(doc, list) else _shown(doc)
        return msgspec.json.Encoder(decimal_format="number").encode(shown) if shown else b""


def _ours(credentials: object) -> Credentials:
    if not isinstance(credentials, Credentials):
        raise TypeError("not credentials of cashfree")
    return credentials


def _shown(doc: Any) -> dict[str, Any]:
    if not isinstance(doc, dict):
        return {}
    shown = {name: value for name, value in doc.items() if name in SHOWN and not isinstance(value, dict | list)}
    parts = {name: part for name in ("error_details", "authorization") if (part := _shown(doc.get(name)))}
    return shown | parts


ADAPTER: Final = Cashfree()
