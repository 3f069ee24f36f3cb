"""Everything a provider author imports. A provider file is sans-I/O: pure functions on a frozen object; no sleep,
retry, log, clock or environment. docs/adding-a-provider.md shows one being written."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from .core.errors import ConfigError
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
    "Mismatch",
    "Mode",
    "NotSent",
    "Outcome",
    "Processing",
    "ReadOutcome",
    "Refunded",
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
    "display",
    "from_decimal",
    "retry_after_s",
    "to_decimal",
]


class Intent(Struct, frozen=True, kw_only=True):
    """What a step is about: all that ``build`` and ``parse`` may know. Amounts in minor units."""

    kind: StepKind
    mode: Mode
    amount_minor: int
    currency: str
    reference: str  # the attempt's, ours at theirs
    key: str = ""  # the idempotency key of the step; empty for reads
    container: str = ""
    provider_ref: str = ""  # the charge or hold that a capture, void or refund works on
    refund_reference: str = ""  # ours for this refund
    refund_minor: int = 0
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
    api_version: str = ""


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


def retry_after_s(response: Response) -> int | None:
    """Retry-After in seconds, if the vendor gave a plain number; core clamps it."""
    value = response.headers.get("retry-after", "")
    return int(value[:6]) if value.isascii() and value.isdigit() else None
