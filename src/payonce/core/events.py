"""The history of events *is* the payment (R12): stored as the exact bytes that were hashed, chained, never rewritten."""

import hashlib
from typing import Literal

import msgspec
from msgspec import Struct

from .outcome import AnyOutcome
from .payment import SCHEMA, Candidate, LateSuccess, Mode, Step, Terms

ENVELOPE = SCHEMA


class Accepted(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="Accepted"):
    """A payment with its first operation. Carries every setting that the fold or plan will need for it."""

    payment_id: str
    merchant_id: str
    mode: Mode
    operation_id: str
    amount_minor: int
    currency: str
    idempotency_key: str
    details_sha256: str
    late_success: LateSuccess
    attempts_max: int
    client_id: str = ""
    provider: str = ""
    capture_method: Literal["automatic", "manual"] = "automatic"
    action_s: int = 0


class Opened(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The head of a new attempt, part of the event that plans its first step."""

    n: int
    account: str
    adapter: str
    base_url: str
    credential_id: str
    reference: str
    terms: Terms
    why: str = ""
    manual: bool = False
    action_expires_us: int = 0


class Planned(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="Planned"):
    """A step is on record and leased to its owner; only now may it be sent."""

    step: Step
    attempt: int = 0
    operation: int = 0  # > 0: a step of that operation instead of the attempt's
    opens: Opened | None = None
    rule: str = ""
    route: tuple[Candidate, ...] = ()


class Observed(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="Observed"):
    """The answer to the step ``about``. The chain orders when we learned, ``about`` says what it speaks of."""

    about: int
    outcome: AnyOutcome


class Hinted(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="Hinted"):
    """Somebody claims something about an attempt: read it."""

    attempt: int
    ref: str = ""
    note: str = ""  # of a person who asks for it: why


class Asked(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="Asked"):
    """A further operation, asked by a merchant or by late truth (a reversal). A void before anything is held is a cancel,
    too: nothing new is sent from then on. ``cancel`` alone is what earlier versions wrote."""

    kind: Literal["cancel", "reversal", "capture", "void", "refund"]
    number: int = 0
    operation_id: str = ""
    amount_minor: int = 0
    attempt: int = 0
    reference: str = ""
    reason: str = ""
    idempotency_key: str = ""
    note: str = ""  # of whoever asks: why


class Judged(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="Judged"):
    """A conclusion that no single outcome carries. ``left`` is the decision never to capture an attempt."""

    what: Literal["FAILED", "CANCELED", "IN_DOUBT", "left", "attention", "operation_FAILED", "operation_IN_DOUBT"]
    reason: str
    attempt: int = 0
    operation: int = 0


class Resolved(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="Resolved"):
    """An operator's recorded decision on a payment whose truth could not be read."""

    verdict: Literal["charged", "not-charged", "reversed", "done", "not-done"]
    reason: str
    attempt: int = 0
    operation: int = 0  # done, not-done: which one
    provider_ref: str = ""
    amount_minor: int = 0


Event = Accepted | Planned | Observed | Hinted | Asked | Judged | Resolved


class Envelope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is hashed and stored: who, when, why and what, chained by ``prev`` (hash of the event before)."""

    v: int
    seq: int
    at_us: int
    actor: str
    request_id: str
    kind: str
    data: Event
    prev: str


class Entry(Struct, frozen=True):
    """One event as stored: exact bytes, their SHA-256 and the decoded envelope."""

    raw: bytes
    hash: str
    envelope: Envelope


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)


def seal(event: Event, *, seq: int, at_us: int, actor: str, request_id: str, prev: str) -> Entry:
    """Encode and hash an event as the next link of the chain."""
    kind = type(event).__name__
    envelope = Envelope(v=ENVELOPE, seq=seq, at_us=at_us, actor=actor, request_id=request_id, kind=kind, data=event, prev=prev)
    raw = _encoder.encode(envelope)
    return Entry(raw, digest(raw), envelope)


def unseal(raw: bytes, stored_hash: str) -> Entry:
    """Decode stored bytes. Raises msgspec.DecodeError for bytes that are no event of this version."""
    return Entry(raw, stored_hash, _decoder.decode(raw))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
