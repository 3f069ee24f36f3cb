"""Everything a provider author imports. A provider file is sans-I/O: pure functions on a frozen object; no sleep,
retry, log, clock or environment. docs/adding-a-provider.md shows one being written."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from .core.errors import ConfigError, WebhookRefused
from .core.money import EXPONENTS, display, from_decimal, to_decimal
from .core.outcome import (
    Absent,
    AnyOutcome,
    Authorized,
    Captured,
    Closed,
    Created,
    Declined,
    Found,
    Mismatch,
    NotSent,
    Outcome,
    Processing,
    ReadOutcome,
    Refunded,
    RefundFailed,
    Refunding,
    Rejected,
    RequiresAction,
    Scope,
    SendOutcome,
    Succeeded,
    Try,
    Unknown,
    Unreadable,
    Voided,
)
from .core.payment import Mode, StepKind, Terms
from .ports import Response

__all__ = [
    "EXPONENTS",
    "READS_MAX",
    "Absent",
    "Adapter",
    "AnyOutcome",
    "Authorized",
    "Capabilities",
    "Captured",
    "Closed",
    "ConfigError",
    "Created",
    "Declined",
    "Found",
    "HttpRequest",
    "Intent",
    "Listing",
    "Mismatch",
    "Mode",
    "NextAction",
    "NotSent",
    "Outcome",
    "Processing",
    "ReadOutcome",
    "RefundFailed",
    "Refunded",
    "Refunding",
    "Rejected",
    "RequiresAction",
    "Response",
    "Scope",
    "SendOutcome",
    "StepKind",
    "Succeeded",
    "Terms",
    "Try",
    "Unknown",
    "Unreadable",
    "Voided",
    "WebhookEvent",
    "WebhookRefused",
    "Window",
    "display",
    "from_decimal",
    "retry_after_s",
    "to_decimal",
]


class Intent(Struct, frozen=True, kw_only=True):
    """What a step is about: all that ``build`` and ``parse`` may know. Amounts in minor units."""

    kind: StepKind
    mode: Mode
    amount_minor: int  # of the payment
    currency: str
    reference: str  # the attempt's, ours at theirs
    manual: bool = False  # the merchant captures later: hold the money only
    key: str = ""  # the idempotency key of the step; empty for reads
    container: str = ""
    handle: str = ""  # what opens the container, where the adapter says that it has such a thing (``Opens``)
    provider_ref: str = ""  # the charge or hold that a capture, void or refund works on
    refund_reference: str = ""  # ours for this refund
    refund_minor: int = 0
    refund_ref: str = ""  # the provider's id of this refund, once it was named
    capture_minor: int = 0  # what a capture takes of the hold
    return_url: str = ""  # where the customer comes back to after acting; empty = nowhere
    action_expires_us: int = 0  # until then the customer may act; 0 = nobody said
    action_s: int = 0  # the same from now on; 0 = nobody said
    acting: bool = False  # the customer was asked to act in this attempt before
    payment_method: str = ""  # a provider token
    payment_method_type: str = ""  # card, upi, ...; empty when the merchant named none
    description: str = ""
    metadata: Mapping[str, str | int | float | bool | None] = {}
    seen: tuple[Response, ...] = ()  # of a read that takes several requests: the answers so far, oldest first


READS_MAX = 4  # requests of one read


class HttpRequest(Struct, frozen=True, kw_only=True):
    """What ``build`` makes: the same for the same intent, byte for byte, and without secrets."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Capabilities(Struct, frozen=True, kw_only=True):
    """What an adapter declares. ``terms`` is the part that is frozen into every attempt."""

    terms: Terms
    steps: frozenset[StepKind]  # what build knows
    currencies: frozenset[str] | None = None  # None = every ISO 4217 currency
    exponents: Mapping[str, int] = {}  # where the vendor's minor unit differs from ISO
    multiples: Mapping[str, int] = {}  # currency -> amounts, in ISO minor units, must be a multiple of this
    methods: frozenset[str] | None = None  # kinds of payment method (card, upi, ...); None = it does not matter
    read_requests: int = 0  # of one read at most; 0: one, or READS_MAX where there is a container
    partial_capture: bool = False  # less than the hold may be captured; the rest is given back
    api_version: str = ""


class NextAction(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the customer has to do, as the provider's answer says it. A secret of the customer: never in the chain."""

    type: Literal["redirect", "upi_intent", "upi_collect"]  # 3-D Secure is a redirect
    url: str = ""  # to open: http(s) for a redirect, upi: for an intent; empty where the customer was asked already
    method: Literal["GET", "POST"] = "GET"
    fields: Mapping[str, str] = {}  # of the form that a POST sends


class WebhookEvent(Struct, frozen=True, kw_only=True):
    """What a webhook claims to be about (R9: a hint, never evidence)."""

    id: str  # the vendor's identity of the event: the same for every delivery of it
    kind: str  # the vendor's word
    references: tuple[str, ...] = ()  # ours, as it names them: attempts' or refunds'
    refs: tuple[str, ...] = ()  # the provider's ids in it: charge, container, refund


class Window(Struct, frozen=True, kw_only=True):
    """A time window [from, before) of a listing, and where to go on."""

    from_us: int
    before_us: int
    cursor: str = ""


class Listing(Struct, frozen=True, kw_only=True):
    """A page of what the provider has in a window. ``next`` empty = the last page."""

    tries: tuple[Try, ...]
    next: str = ""


class Adapter(Protocol):
    """One provider. Every method is a pure function of its arguments. Where the host tells test from live, it may declare
    TEST_HOSTS and LIVE_HOSTS (frozensets of host names in lower case): an account of the other mode is refused there."""

    name: str
    CAPABILITIES: Capabilities
    STATUSES: Mapping[str, str]  # vendor word -> the outcome it means; an unmapped word is Unknown
    DECLINES: Mapping[str, Declined]  # vendor code -> normalised decline; the contract wants a case for each
    SANDBOX_CREDENTIALS: Mapping[str, str]  # what an account at the sandbox uses that names none of its own

    def credentials_of(self, values: Mapping[str, str]) -> object:
        """Credentials from resolved configuration values, hidden in repr. Where a vendor's keys tell test from live, they
        have an attribute ``mode``, which must be the account's. Raises ConfigError naming what is missing."""

    def build(self, intent: Intent) -> HttpRequest: ...
    def authenticate(self, request: HttpRequest, credentials: object) -> Mapping[str, str]:
        """The secret headers, added at send time and stored nowhere."""

    def parse(self, intent: Intent, response: Response) -> SendOutcome:
        """What a whole answer to a send means. Anything not documented is Unknown; never raises."""

    def parse_read(self, intent: Intent, response: Response) -> ReadOutcome | HttpRequest:
        """What a whole answer to a read means, or what has to be asked besides: then this is called again, with the
        answers so far in ``intent.seen``. At most READS_MAX requests. What is read first is the older truth: whether a
        container is closed before what is in it. Never raises."""

    def expose(self, body: bytes) -> bytes:
        """The fields of a request or response that people may be shown."""


# What an adapter may offer besides, each by having the methods. All pure, as everything above.


class Acts(Protocol):
    """Payments in which the customer has to act at the provider."""

    def next_action(self, intent: Intent, response: Response) -> NextAction | None:
        """Where the customer is sent, from the answer that ``parse`` called RequiresAction. None: it does not say."""


class Opens(Protocol):
    """Vendors whose container is opened by a secret of its own, such as a session: it is kept beside the chain, and handed
    back as ``Intent.handle``."""

    def handle_of(self, intent: Intent, response: Response) -> str:
        """The secret, from the answer that made the container or found it by our reference (the last one of a read; those
        before are in ``intent.seen``). Empty: it does not say."""


class Hears(Protocol):
    """Webhooks. Header names come in lower case."""

    def webhook_secrets(self, credentials: object) -> tuple[str, ...]:
        """Every secret that is good now, newest first: several while one is rotated. Empty: webhooks are refused."""

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> None:
        """Raises WebhookRefused for what none of the secrets signed, or, where the vendor signs the time, what is older or
        younger than the vendor's tolerance. Compares in constant time, on the raw bytes."""

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        """What it is about; called for verified bytes only. Raises WebhookRefused for what is no event."""


class Lists(Protocol):
    """What the provider has in a time window, for reconciliation."""

    def build_listing(self, window: Window) -> HttpRequest: ...
    def parse_listing(self, window: Window, response: Response, mode: Mode) -> Listing | Unreadable: ...


class Signs(Protocol):
    """Vendors that want credentials or a signature inside the body."""

    def authenticate_body(self, request: HttpRequest, credentials: object) -> bytes:
        """The body as it is sent, from the stored one. Added at send time, stored nowhere."""


class Moves(Protocol):
    """Vendors whose API lives on several hosts."""

    def base_url_of(self, configured: str, path: str) -> str:
        """Where a request with this path goes, for an account configured with ``configured``."""


def retry_after_s(response: Response) -> int | None:
    """Retry-After in seconds, if the vendor gave a plain number; core clamps it."""
    value = response.headers.get("retry-after", "")
    return int(value[:6]) if value.isascii() and value.isdigit() else None
