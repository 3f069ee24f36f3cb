"""Cashfree: our reference is the order's id, the order is paid, a payment on it takes the money, TERMINATE closes it.

API: 2025-01-01, from the vendor's openapi.yaml and its public pages, checked 2026-11-24.
Unusual:
- Amounts are JSON numbers in major units, at most two decimals, at least 1.00. They are written and read as digits,
  never as floats. The page on currencies gives dinars three decimals, the spec two: what has more than two is not taken.
- Every POST takes ``x-idempotency-key`` and answers a repeat with the saved status and body, a 500 included. How long is
  not published: no replay rests on it. PATCH is sent without a key: a saved answer would stand in for the second close.
- The answer to a fire only says that they have it. Success and decline show in the list of payments. ``action`` may ask
  for the customer (link, post, form): RequiresAction is not offered yet, so this is Processing, and ends by close.
- A read asks for the order, then its payments, then (when one succeeded) its refunds. The order first: what it says of
  closing is then the older truth, and a payment that slips in between is still in the list.
- While the order is open a failed payment is provisional: until the order's expiry and a day, the longest time that a
  payment may take to end (page on the payment lifecycle). So a decline leads to close, re-read, and only then further.
- TERMINATED stands only when no payment is in process. TERMINATION_REQUESTED proves nothing and may still become PAID.
  EXPIRED takes no new payment, but one begun before may end as PAID, and may not be listed yet: closed, with its
  failures, and its having no payment, provisional as above.
- NOT_ATTEMPTED is a payment that the customer has not opened: waiting while the order can be paid, a no once TERMINATED.
- A fire is Rejected only by 401, 403, a feature that is not enabled, and the vendor's listed words about the request itself
  (NOT_FIRED; error pages, and its repository cashfree/agent-skills). ``order_inactive`` may mean that it worked before.
- One odd entry of a list hides no money beside it; alone it makes the read unreadable.
- ``payment_status`` is a published, closed list: it decides that a payment is a no (DECLINES). ``error_details`` has
  no published list: it may only refine what to do next (REASONS, then SOURCES), never whether it is a no. So an error
  that nobody mapped is a soft decline of the issuer, and hangs nothing.
- CANCELLED is a success that came after the vendor's time limit and is given back by the vendor.
- A surcharge that the payment itself names is the customer's fee to the merchant's account, no part of our amount. Where
  it is given back too, no more than our amount counts as given back.
- A refund that is PENDING, ONHOLD, CANCELLED or FAILED is Unknown: nothing says that the last two are final, and giving
  back twice is worse than a refund in doubt.
- Nothing in an answer names the mode: it is that of the host, so outcomes carry the intent's (TEST_HOSTS, LIVE_HOSTS).
- Who has the ``payment_session_id`` may pay the order, without credentials: it is never shown by ``expose``.
- Customer: metadata customerId, customerPhone (10 digits), customerEmail, customerName. The vendor demands the first two:
  where they are missing or not as it wants them, the first 20 characters of the reference and PHONE_NOBODY stand in.
- Payment methods: card (the token is a saved ``instrument_id``) and upi (the token is the ``upi_id`` of a collect
  request). Other types are sent as a card, which the vendor refuses.
Unverified: 404 ``order_not_found``, that a saved card needs no CVV, most words in REASONS, the time until a read shows a
payment (``read_lag_s``, ``processing_s``), and that ``-`` and ``_`` are allowed in a customer_id.
Files: building (what we ask), answers (what it means), words (the vendor's words).
"""

from collections.abc import Mapping
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
    ReadOutcome,
    Response,
    SendOutcome,
    Terms,
)

from .answers import read, sent
from .building import API_VERSION, get, order_body, payment_method, place, refund_body, send
from .words import DECLINES, SHOWN, STATUSES

PLACES_MAX: Final = 2
DAY_AND_HOUR_S: Final = 90_000  # a payment of the vendor ends within a day


class Credentials(Struct, frozen=True):
    """The account's app id and secret, hidden in repr."""

    client_id: str
    client_secret: str

    def __repr__(self) -> str:
        return "Credentials(client_id=..., client_secret=...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("client_id", "..."), ("client_secret", "...")]


CAPABILITIES: Final = Capabilities(
    terms=Terms(
        container=True,
        closable=True,
        readable=True,
        replay_span_s=0,
        refund_replay_span_s=0,
        processing_s=30,
        read_lag_s=5,
        horizon_s=DAY_AND_HOUR_S,  # by then the vendor itself has ended every payment
        watch_s=345_600,
    ),
    steps=frozenset({"create", "fire", "read", "close", "refund"}),
    currencies=frozenset(code for code, places in EXPONENTS.items() if places <= PLACES_MAX),
    api_version=API_VERSION,
)


class Cashfree:
    """``payonce.adapter.Adapter``. Pure."""

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
        return Credentials(values["client_id"], values["client_secret"])

    def build(self, intent: Intent) -> HttpRequest:
        path = place(intent)
        match intent.kind:
            case "create":
                return send("POST", "/orders", order_body(intent), intent.key)
            case "fire":
                body = {"payment_session_id": intent.container, "payment_method": payment_method(intent)}
                return send("POST", "/orders/sessions", body, intent.key)
            case "close":
                return send("PATCH", path, {"order_status": "TERMINATED"})
            case "refund":
                return send("POST", f"{path}/refunds", refund_body(intent), intent.key)
            case "read":
                return get(path)
        raise ValueError(f"cashfree has no step {intent.kind}")

    def authenticate(self, request: HttpRequest, credentials: object) -> Mapping[str, str]:
        del request
        if not isinstance(credentials, Credentials):
            raise TypeError("not credentials of cashfree")
        return {"x-client-id": credentials.client_id, "x-client-secret": credentials.client_secret}

    def parse(self, intent: Intent, response: Response) -> SendOutcome:
        return sent(intent, response)

    def parse_read(self, intent: Intent, response: Response) -> ReadOutcome | HttpRequest:
        return read(intent, response)

    def expose(self, body: bytes) -> bytes:
        try:
            doc = msgspec.json.Decoder(float_hook=Decimal).decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ArithmeticError):
            return b""
        shown = [_shown(each) for each in doc] if isinstance(doc, list) else _shown(doc)
        return msgspec.json.Encoder(decimal_format="number").encode(shown) if shown else b""


def _shown(doc: Any) -> dict[str, Any]:
    if not isinstance(doc, dict):
        return {}
    shown = {name: value for name, value in doc.items() if name in SHOWN and not isinstance(value, dict | list)}
    details = _shown(doc.get("error_details"))
    return shown | ({"error_details": details} if details else {})


ADAPTER: Final = Cashfree()
