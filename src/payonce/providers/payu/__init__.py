"""PayU India: our txnid names a payment and protects nothing until it succeeded, so its one fire is never sent again.

API: classic (``_payment`` and ``postservice.php?form=2``); it has no version. Facts: docs.payu.in and the vendor's repository
of these pages (payu-india/CMS-Chatbot), pages ``_payment`` server to server, Decoupled Flow, UPI Intent S2S, Verify Payment,
Payment State Explanations, Refund Transaction, Check Action Status with PayU ID, Capture a Payment, the error code pages and
Webhook Events, read in stored copies on 2026-11-26. There is no machine-readable specification: every shape here is written
by hand after samples of these pages, and none was seen from a live account.
Unusual:
- A txnid may be used again until it succeeded (``duplicate Order ID`` afterwards). A lost fire is looked up by it
  (verify_payment), and "Not Found" proves nothing.
- ``status`` says success of a mere hold: ``unmappedstatus`` tells auth from captured. ``dropped`` (failure, says the status)
  means that PayU got no answer from the bank: unknown, and read on. So are codes that say in progress, too late, duplicate
  or in part. ``bounced`` (the customer left) and E308 are provisional for an hour (assumed). ``autoRefund`` is a failure whose
  money PayU gives back by itself.
- The first answer of a card is the bank's page (``acsTemplate``, an HTML form in base64), of a UPI intent the link's query.
- capture_transaction and cancel_refund_transaction are queued, and their answers name neither our token nor the amount:
  what became of them is read with check_action_status. One command cancels what is held and refunds what was taken: an
  answer that says the other one is unknown. Their tokens have at most 23 characters, so our 24 of a refund lose the last
  one, which is the txnid's; captures and voids take the key of their step. A second use is refused (106): look it up.
- A capture may be smaller than the hold where the account's tolerance allows it (codes 303 to 306 refuse it).
- Merchant key and hash are in the body: ``authenticate_body`` adds them, and ``user_credentials`` of a stored card: the key and
  the user, who is metadata customerId (udf1), else the e-mail. The hash is over the texts as sent, without pipes.
- ``amt`` of verify_payment is what the customer was debited, ``transaction_amount`` what we asked for: additional charges
  between them are the customer's (page on verify_payment of the vendor's SDK for Node, payu-intrepos/web-sdk-nodejs).
- Amounts are decimal rupees; INR is all that is offered here. No answer names currency or mode: the host tells the mode.
- Payments go to secure.payu.in, commands to info.payu.in; in test mode both to test.payu.in (``base_url_of``).
- Webhooks are forms signed with the salt (reverse hash), without time or identity; ``salt_old`` is the one before. The hash
  leaves mihpayid and unmappedstatus out: they are hints, as all of it. Refund and dispute callbacks are not signed and
  are refused: refunds are read.
- surl, furl, s2s_client_ip and s2s_device_info are documented as mandatory. They are sent where the merchant gives a return
  URL, and metadata customerIp and customerUserAgent; so give them. Without a customer's name, e-mail or phone a stand-in goes.
Unverified (memory, or said by third parties only): the words of an answer to a wrong hash, bankcode CC of a stored card,
whether a card's bank asks for a CVV besides, what verify_payment shows of a cancelled hold (its actions decide), whether a
capture action counts additional charges, the time zone of ``addedon`` (taken as India's), how a listing without payments
looks, whether more is needed for the same amount refunded twice within 5 minutes (214: waited for). How long the customer may
act is not sent. Codes that no page lists are unknown, on purpose.
A copy of a fire that a network delivers twice is a limit: PayU may execute it until the first one has succeeded.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

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

from . import answers, building, reading, webhooks
from .words import CURRENCY, DECLINES, STATUSES, decoded

TEST_HOST: Final = "test.payu.in"
PAYMENT_HOST: Final = "secure.payu.in"
COMMAND_HOST: Final = "info.payu.in"


class Credentials(Struct, frozen=True):
    """Key and salt of the account, and the salt before; hidden in repr."""

    key: str
    salt: str
    salt_old: str = ""

    def __repr__(self) -> str:
        return "Credentials(key=..., salt=...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("key", "..."), ("salt", "...")]


CAPABILITIES: Final = Capabilities(
    terms=Terms(
        container=False,
        keyed=False,
        voidable=True,
        replay_span_s=0,
        refund_replay_span_s=0,  # a token stands for ever, but an answer to its repeat only says to look it up
        readable=True,
        processing_s=60,
        read_lag_s=10,  # not published
        call_timeout_ms=30_000,  # a fire is never sent again: an answer is worth waiting for
    ),
    steps=frozenset({"fire", "read", "capture", "void", "refund"}),
    currencies=frozenset({CURRENCY}),
    methods=building.METHODS,
    read_requests=2,
    partial_capture=True,
)
_NAMES: Final = (
    "command var1 var2 var3 txnid txnId merchantTxnId amount amt transaction_amount net_amount_debit additional_charges pg"
    " bankcode mode txn_s2s_flow auth_only metaData result txnStatus unmappedStatus statusCode paymentId status unmappedstatus"
    " error error_code error_Message msg mihpayid request_id txn_update_id bank_ref_num addedon transaction_details action"
    " token Transaction_details id"
)
SHOWN: Final = frozenset(_NAMES.split())


class Payu:
    """``payonce.adapter.Adapter``, ``Acts``, ``Hears``, ``Lists``, ``Signs`` and ``Moves``. Pure."""

    name = "payu"
    CAPABILITIES = CAPABILITIES
    STATUSES = STATUSES
    DECLINES = DECLINES
    TEST_HOSTS = frozenset({TEST_HOST})
    LIVE_HOSTS = frozenset({PAYMENT_HOST, COMMAND_HOST})
    SANDBOX_CREDENTIALS: Mapping[str, str] = {"key": "sandboxkey", "salt": "sandbox-salt-of-payu"}

    def credentials_of(self, values: Mapping[str, str]) -> Credentials:
        for name in ("key", "salt"):
            if not values.get(name):
                raise ConfigError(f'a payu account needs its {name}: {name} = "env:NAME". Nothing was started.')
        return Credentials(values["key"], values["salt"], values.get("salt_old", ""))

    def build(self, intent: Intent) -> HttpRequest:
        match intent.kind:
            case "fire":
                return building.payment(intent)
            case "read":
                return building.command("verify_payment", intent.reference)
            case "capture":
                return building.capture(intent)
            case "void" | "refund":
                return building.give_back(intent)
        raise ValueError(f"payu has no step {intent.kind}")

    def authenticate(self, request: HttpRequest, credentials: object) -> Mapping[str, str]:
        """No headers: PayU wants its key in the body."""
        del request
        _ours(credentials)
        return {}

    def authenticate_body(self, request: HttpRequest, credentials: object) -> bytes:
        ours = _ours(credentials)
        return building.signed(request.body, ours.key, ours.salt)

    def base_url_of(self, configured: str, path: str) -> str:
        """In live mode the host depends on the path; every other base URL stays as it is."""
        if urlsplit(configured).hostname not in self.LIVE_HOSTS:
            return configured
        return f"https://{PAYMENT_HOST if path.startswith(building.PAYMENT) else COMMAND_HOST}"

    def parse(self, intent: Intent, response: Response) -> SendOutcome:
        return answers.sent(intent, response)

    def parse_read(self, intent: Intent, response: Response) -> ReadOutcome | HttpRequest:
        return reading.found(intent, response)

    def next_action(self, intent: Intent, response: Response) -> NextAction | None:
        return answers.next_action(intent, response)

    def webhook_secrets(self, credentials: object) -> tuple[str, ...]:
        ours = _ours(credentials)
        return tuple(salt for salt in (ours.salt, ours.salt_old) if salt)

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> None:
        """No time is signed, so none is checked: a webhook that comes again is the same event."""
        del headers, now_us
        webhooks.verify(body, secrets)

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        del headers
        return webhooks.event(body)

    def build_listing(self, window: Window) -> HttpRequest:
        return building.listing(window)

    def parse_listing(self, window: Window, response: Response, mode: Mode) -> Listing | Unreadable:
        return reading.listed(window, response, mode)

    def expose(self, body: bytes) -> bytes:
        doc: Any = decoded(body)
        if doc is None:
            try:
                doc = dict(parse_qsl(body.decode(), keep_blank_values=True))
            except ValueError:
                return b""
        return msgspec.json.encode(_shown(doc))


def _ours(credentials: object) -> Credentials:
    if not isinstance(credentials, Credentials):
        raise TypeError("not credentials of payu")
    return credentials


def _shown(value: Any, depth: int = 5) -> Any:
    """Known names, and PayU's numbers and our references as keys, as deep as the answers go."""
    if isinstance(value, dict | list) and not depth:
        return None
    if isinstance(value, dict):
        return {k: _shown(v, depth - 1) for k, v in value.items() if k in SHOWN or (k.isalnum() and k[:1].isdigit())}
    return [_shown(v, depth - 1) for v in value] if isinstance(value, list) else value


ADAPTER: Final = Payu()
