"""Stripe: a PaymentIntent is the container, its confirmation takes the money, at most once, and a canceled one never does.

API: version 2026-10-28.endive, pinned by a header; fields and words as in the types of the official SDK of that version
(stripe 16.1.0), and docs.stripe.com/api/idempotent_requests, /error-low-level, /currencies (in copies) and the change log:
2025-03-31.basil (canceling and partial capture make no refund), 2026-09-30.endive (payment_method_types is refused).
Checked 2026-11-26.
Unusual:
- Bodies are forms with nested names. Amounts are whole numbers in the vendor's unit: as in ISO 4217, but ISK and UGX have
  two places, always 00, and MGA none (docs.stripe.com/currencies, copies of 2026; in live answers of 2023 to 2026 to others,
  380000 UGX were 3800). The last digit of BHD, JOD, KWD, OMR and TND is 0 (copies of 2022 and 2023; the page of 2026 names no
  three-decimal currency any more). IQD, LYD, CLF, UYW and UYI, of which no page says anything, are not taken. The vendor's own
  limits (12 digits for most cards, 9 for American Express, 8 for other methods in most currencies) are left to it.
- Our reference is ``metadata.reference`` of the PaymentIntent. A refund has its own.
- ``ref`` is the PaymentIntent's id everywhere: it is what is captured, canceled and refunded, and it succeeds only once.
- An ``Idempotency-Key`` saves status and body of the first request that was executed, 402 and 500 included, for at least
  24 h. Refused parameters, 401, 409 and 429 are not saved. Other parameters under the same key get 400 idempotency_error.
- A create whose answer was lost is looked for among the newest 300 PaymentIntents. Not found proves nothing: it is sent
  again under its key, which gives the same one back. Should the key be gone, there is a second one, which nobody confirms.
  The search of the vendor is not used: it lags, and is not offered in India.
- Why ``keyed`` is off although a confirmation has a key: what protects is that a PaymentIntent succeeds once, which needs
  no clock. A key would license a replay within a span of hours only, and could answer nothing that a read does not: the
  PaymentIntent shows the charge, the refusal or nothing. Where it shows nothing after ``processing_s``, the same bytes go
  out again under the same key. If the first of them had been executed, the vendor repeats its answer (so a refusal stays
  one, and a copy that arrives late gets it too); if not, this one is executed. A saved 500 would be repeated for ever:
  then three are enough, the PaymentIntent is canceled and read, and only then is another account tried.
- ``/cancel`` and ``/capture`` go without a key. A PaymentIntent is canceled or captured once whatever comes twice, but a
  saved answer (still processing; a 500) would stand in for the second, which may well succeed.
- A 402 names the PaymentIntent, else it is Unknown. Its published ``type`` decides that it is a refusal, as
  ``last_payment_error`` does beside requires_payment_method; ``decline_code``, ``code`` and ``advice_code`` only refine what
  comes next, since new ones appear without a new version. An unknown one is a soft refusal.
- Refusals are final: the vendor turns none into a payment. canceled is final too; a canceled one with an uncaptured charge
  is a hold that was released or ran out.
- Refunds: pending and requires_action may still fail; failed and canceled gave nothing back, also after succeeded.
- A read of a payment that succeeded asks for its refunds too. Of more than 200 to 300 refunds the oldest are not seen.
- Customer action: a redirect with ``return_url``. Without one the vendor has no URL to give. Few methods end it by
  themselves (``expires_at``): it is canceled when our time is over.
- Payment methods: those that the account has in the vendor's dashboard, without those that redirect where there is no
  ``return_url``. The token is a PaymentMethod's id (pm_...). A type without a token begins its redirect flow, where the
  vendor asks for no more than name, email and phone (metadata customerName, customerEmail, customerPhone). Cards without
  a token are Rejected: that is Checkout, which is not built, and ``card`` is no type of ``payment_method_data``. Methods that
  need a mandate are Rejected by the vendor too.
- A bank debit may be processing for days: it is IN_DOUBT after ``horizon_s``, and read daily until it ends.
- Webhooks are signed with a time: 300 s, to either side. ``webhook_secret`` and ``webhook_secret_old`` are both good.
- The key tells the mode: sk_test_ and rk_test_, sk_live_ and rk_live_. Publishable keys and organizations' are refused.
Unverified: that three-decimal currencies are still as they were, that a hold lasts 7 days where the charge does not say
(``hold_s``), how long a request may still be worked on (``processing_s``) and how late a read may be (``read_lag_s``), that 409
and 429 are about nothing that was executed (they are Unknown here), that a charge has the metadata of its PaymentIntent
(webhooks name that by id as well), most words in REASONS (a third party's copy of the vendor's page), and everything about UPI.
Files: building (what we ask), objects (theirs), answers (what it means), words (the vendor's words), webhooks.
"""

import re
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
    Unreadable,
    WebhookEvent,
    Window,
)

from . import webhooks
from .answers import listed, read, sent
from .building import API_VERSION, build, listing
from .words import CURRENCIES, DECLINES, INSIDE, MULTIPLES, PLACES, SHOWN, STATUSES

# Where a customer acts, under the name of the action's type.
URLS: Final = ("url", "hosted_instructions_url", "hosted_voucher_url")
DEPTH: Final = 5


class Credentials(Struct, frozen=True, kw_only=True):
    """The account's secret or restricted key and its webhook secrets, hidden in repr."""

    api_key: str
    mode: Mode
    webhook_secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Credentials(api_key=..., mode={self.mode!r}, webhook_secrets=...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("api_key", "..."), ("mode", self.mode), ("webhook_secrets", "...")]


CAPABILITIES: Final = Capabilities(
    terms=Terms(
        container=True,
        closable=True,
        voidable=True,
        readable=True,
        keyed=False,
        replay_span_s=0,
        refund_replay_span_s=7200,  # of the 24 h for which keys are kept at least
        processing_s=30,
        read_lag_s=5,
        hold_s=604_800,
    ),
    steps=frozenset({"create", "fire", "read", "close", "capture", "void", "refund"}),
    currencies=CURRENCIES,
    exponents=PLACES,
    multiples=MULTIPLES,
    partial_capture=True,
    api_version=API_VERSION,
)


class Stripe:
    """``payonce.adapter.Adapter``, with Acts, Hears and Lists. Pure."""

    name = "stripe"
    CAPABILITIES = CAPABILITIES
    STATUSES = STATUSES
    DECLINES = DECLINES
    SANDBOX_CREDENTIALS: Mapping[str, str] = {"api_key": "sk_test_sandbox", "webhook_secret": "whsec_sandbox"}

    def credentials_of(self, values: Mapping[str, str]) -> Credentials:
        key = values.get("api_key", "")
        if not key:
            raise ConfigError('a stripe account needs its api_key: api_key = "env:NAME". Nothing was started.')
        kind = re.match(r"(?:sk|rk)_(test|live)_.", key)
        if kind is None:
            raise ConfigError(
                "the api_key of a stripe account is a secret or restricted key (sk_test_, rk_test_, sk_live_, rk_live_);"
                " this is none. Nothing was started."
            )
        secrets = tuple(s for name in ("webhook_secret", "webhook_secret_old") if (s := values.get(name, "")))
        return Credentials(api_key=key, mode="live" if kind[1] == "live" else "test", webhook_secrets=secrets)

    def build(self, intent: Intent) -> HttpRequest:
        return build(intent)

    def authenticate(self, request: HttpRequest, credentials: object) -> Mapping[str, str]:
        del request
        return {"authorization": f"Bearer {_ours(credentials).api_key}"}

    def parse(self, intent: Intent, response: Response) -> SendOutcome:
        return sent(intent, response)

    def parse_read(self, intent: Intent, response: Response) -> ReadOutcome | HttpRequest:
        return read(intent, response)

    def next_action(self, intent: Intent, response: Response) -> NextAction | None:
        return _next_action(intent, response)

    def webhook_secrets(self, credentials: object) -> tuple[str, ...]:
        return _ours(credentials).webhook_secrets

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> None:
        webhooks.verify(headers, body, secrets, now_us)

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        del headers
        return webhooks.parse(body)

    def build_listing(self, window: Window) -> HttpRequest:
        return listing(window)

    def parse_listing(self, window: Window, response: Response, mode: Mode) -> Listing | Unreadable:
        del window
        return listed(response, mode)

    def expose(self, body: bytes) -> bytes:
        shown = _shown(_json(body), DEPTH)
        return msgspec.json.encode(shown) if shown else b""


def _ours(credentials: object) -> Credentials:
    if not isinstance(credentials, Credentials):
        raise TypeError("not credentials of stripe")
    return credentials


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _next_action(intent: Intent, response: Response) -> NextAction | None:
    """The URL of the PaymentIntent that waits, wherever the answer has it: alone, or in a page of them."""
    doc = _json(response.body)
    entries = doc.get("data") if isinstance(doc, dict) and doc.get("object") == "list" else [doc]
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or entry.get("status") != "requires_action":
            continue
        metadata, action = entry.get("metadata"), entry.get("next_action")
        ours = isinstance(metadata, dict) and metadata.get("reference") == intent.reference
        inner = action.get(str(action.get("type"))) if ours and isinstance(action, dict) else None
        for url in [inner.get(name) for name in URLS] if isinstance(inner, dict) else []:
            if isinstance(url, str) and url.startswith(("https://", "http://")):
                return NextAction(type="redirect", url=url)
    return None


def _shown(value: Any, depth: int) -> Any:
    """The fields that people may see, of objects within objects; nothing of what is nested deeper."""
    if isinstance(value, list):
        return [each for item in value if isinstance(item, dict) and (each := _shown(item, depth))]
    if not isinstance(value, dict) or depth == 0:
        return {}
    plain = {n: v for n, v in value.items() if n in SHOWN and not isinstance(v, dict | list)}
    inside = {
        n: shown for n, v in value.items() if n in INSIDE and isinstance(v, dict | list) and (shown := _shown(v, depth - 1))
    }
    ours = value.get("metadata")
    reference = {"reference": ours["reference"]} if isinstance(ours, dict) and isinstance(ours.get("reference"), str) else {}
    return plain | inside | ({"metadata": reference} if reference else {})


ADAPTER: Final = Stripe()
