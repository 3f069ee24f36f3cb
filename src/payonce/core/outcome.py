"""What one send or one read can teach us (protocol.md, section 1).

Every outcome has a *scope*: what it is allowed to speak about. ``Succeeded`` speaks about the whole attempt,
``Declined`` only about the send that got it, ``Unknown`` and ``Absent`` about nothing at all. The verdict
(``core/verdict.py``) is the only place that turns outcomes into conclusions.

``ref`` is the provider's id of the object, ``reference`` is ours as the provider reports it. An outcome that names
an object carries both, so that core can refuse an object that is not ours.
"""

from typing import Literal

from msgspec import Struct

Scope = Literal["issuer", "provider_technical", "customer_input", "configuration"]


class Outcome(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="type", tag=True):
    """Base of all outcomes: an immutable record, stored in the history with its ``type``."""


class Succeeded(Outcome, frozen=True):
    """Money was taken. YES for the attempt once amount, currency and mode equal ours."""

    ref: str
    reference: str
    amount_minor: int
    currency: str
    mode: str
    refunded_minor: int = 0  # what the provider says was given back of it already


class Authorized(Outcome, frozen=True):
    """Money is held, not taken. YES where the merchant captures; where capture is our own step it is *held*."""

    ref: str
    reference: str
    amount_minor: int
    currency: str
    mode: str
    expires_at_us: int | None = None  # when the hold lapses, if the provider says so


class Captured(Outcome, frozen=True):
    """The answer to a capture step: the held money was taken."""

    ref: str
    reference: str
    amount_minor: int
    currency: str
    mode: str


class Mismatch(Outcome, frozen=True):
    """A good answer about our object with another amount, currency or mode: the payment is IN_DOUBT (R10)."""

    ref: str
    reference: str
    amount_minor: int
    currency: str
    mode: str
    differs: tuple[str, ...]
    refunded_minor: int = 0
    held: bool = False  # held, not taken


class Declined(Outcome, frozen=True):
    """A documented refusal of the send it answers, naming our reference (an answer that does not is Unknown). With
    ``flips_until_us`` it is provisional until then."""

    code: str  # normalised, see core/errors.py DECLINES
    hard: bool
    scope: Scope
    ref: str = ""
    reference: str = ""
    vendor_code: str = ""
    flips_until_us: int | None = None


class Rejected(Outcome, frozen=True):
    """Documented "not executed" (validation, 401, 403). Says nothing about any other send."""

    reason: str
    retry_after_s: int | None = None


class NotSent(Outcome, frozen=True):
    """Provably zero request bytes on a fresh connection, or stopped by the send deadline."""

    reason: str


class Processing(Outcome, frozen=True):
    """OPEN: they have it, not final. Read only, never replayed."""

    ref: str
    reference: str


class RequiresAction(Outcome, frozen=True):
    """OPEN: the customer has to act at the provider until ``expires_at_us``. Where to (a URL, a UPI intent) is a secret of
    the customer: it lies beside the chain, under ``action_sha256``."""

    ref: str
    reference: str
    expires_at_us: int | None = None
    action_sha256: str = ""


class Created(Outcome, frozen=True):
    """A container exists at the provider. Moves no money; written once per attempt. What opens it for whoever has it (a
    client secret, a session) lies beside the chain, under ``handle_sha256``."""

    container: str
    reference: str
    handle_sha256: str = ""


class Closed(Outcome, frozen=True):
    """The provider accepted our close. Proof of NO only after a later read shows it closed with nothing open."""

    container: str
    reference: str


class Refunded(Outcome, frozen=True):
    """Money was given back under our refund reference."""

    ref: str
    reference: str
    amount_minor: int
    currency: str


class Refunding(Outcome, frozen=True):
    """The provider has our refund and works on it: it may still fail."""

    ref: str
    reference: str
    amount_minor: int
    currency: str


class RefundFailed(Outcome, frozen=True):
    """Our refund failed for good: nothing was given back under this reference. Also after it was shown as done."""

    ref: str
    reference: str
    amount_minor: int
    currency: str
    code: str = "refund_refused"


class Voided(Outcome, frozen=True):
    """A hold was released."""

    ref: str
    reference: str


class Unknown(Outcome, frozen=True):
    """Everything else: timeout, reset, 5xx, 429, unmapped or unreadable answers. Proof of nothing."""

    reason: str
    retry_after_s: int | None = None


Try = Succeeded | Authorized | Mismatch | Declined | Processing | RequiresAction | Unknown


class Found(Outcome, frozen=True):
    """A read that showed our object: the provider's list of tries in it, and whether the container can still be paid."""

    tries: tuple[Try, ...] = ()
    refunds: tuple[Refunded | Refunding | RefundFailed, ...] = ()
    container: Literal["none", "open", "closed"] = "none"
    container_id: str = ""  # the provider's id of it, when it was found by our reference
    reference: str = ""  # ours, as the container itself names it; a container that does not name us shows nothing
    handle_sha256: str = ""  # as in Created, when the container was found by our reference


class Absent(Outcome, frozen=True):
    """A read that showed nothing of ours. Never NO: the original may be in flight, or the index lags."""


class Unreadable(Outcome, frozen=True):
    """A read that failed (timeout, 401, 5xx, unmapped words). Proof of nothing."""

    reason: str
    retry_after_s: int | None = None


SendOutcome = (
    Succeeded
    | Authorized
    | Captured
    | Mismatch
    | Declined
    | Rejected
    | NotSent
    | Processing
    | RequiresAction
    | Created
    | Closed
    | Refunded
    | Refunding
    | RefundFailed
    | Voided
    | Unknown
)
ReadOutcome = Found | Absent | Unreadable
AnyOutcome = SendOutcome | ReadOutcome

OPEN_TRIES = (Processing, RequiresAction)
NO_EFFECT = (NotSent, Rejected)
OF_REFUNDS = (Refunded, Refunding, RefundFailed)
