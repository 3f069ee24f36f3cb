"""Identifiers: made once from a clock and random bits handed in, everything else derived.

``pay_`` + 20 characters of lower-case Crockford base32 (48-bit milliseconds, 52 random bits). What a vendor sees is
derived from them, so that a replay after a crash or a restored backup collides at the provider instead of charging
again: ``reference`` = those 20 + two digits operation + two digits attempt; step keys are UUIDs over
(payment, operation, attempt, step kind).
"""

import hashlib
import re
import uuid

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(one + other for one in ALPHABET for other in ALPHABET)
ID_CHARS = 20
RANDOM_BITS = 52
REFERENCE_CHARS = 24
NOTICE = "not_"
_PAYMENT_ID = re.compile(rf"pay_[{ALPHABET}]{{{ID_CHARS}}}")
_KEYS = uuid.UUID("6f0c9c39-5b0f-5d0e-9f43-7a1d1f6f7b11")  # namespace of payonce step keys, never changes


def encode(number: int, chars: int = ID_CHARS) -> str:
    """``number`` in lower-case Crockford base32, left-padded to ``chars``, which are even: made in pairs."""
    if number >> 5 * chars:
        raise ValueError("number does not fit")
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(5 * chars - 10, -1, -10)])


def new_id(prefix: str, at_us: int, random_bits: int) -> str:
    """A sortable id, e.g. ``pay_06ex…``; ``random_bits`` carries 52 bits."""
    return prefix + encode(((at_us // 1000) & (1 << 48) - 1) << RANDOM_BITS | random_bits & (1 << RANDOM_BITS) - 1)


def is_payment_id(text: str) -> bool:
    return _PAYMENT_ID.fullmatch(text) is not None


def operation_id(payment_id: str, number: int, at_us: int) -> str:
    """Derived, so that an operation the machine appends by itself needs no random call."""
    digest = hashlib.sha256(f"{payment_id}/{number}".encode()).digest()
    return new_id("op_", at_us, int.from_bytes(digest[:8], "big"))


def notice_id(payment_id: str) -> str:
    """What a hint calls the news of a payment: they are nobody's work but of who delivers them."""
    return NOTICE + payment_id[4:]


def event_id(payment_id: str, seq: int) -> str:
    return f"evt_{payment_id[4:]}{seq:06d}"


def reference(payment_id: str, operation: int, attempt: int) -> str:
    """Our name for one attempt at a provider: 24 of ``[0-9a-z]``. Operations and attempts run 0..99."""
    if not (0 <= operation <= 99 and 0 <= attempt <= 99):
        raise ValueError("operation and attempt are two digits")
    return f"{payment_id[4:]}{operation:02d}{attempt:02d}"


def payment_of(ref: str) -> str | None:
    """The payment a reference belongs to, or None when it is not one of ours."""
    candidate = "pay_" + ref[:ID_CHARS]
    return candidate if len(ref) == REFERENCE_CHARS and ref[ID_CHARS:].isdigit() and is_payment_id(candidate) else None


def step_key(payment_id: str, operation: int, attempt: int, kind: str) -> str:
    """The idempotency key a provider sees. A replay or re-fire uses the fire's key."""
    return str(uuid.uuid5(_KEYS, f"{payment_id}/{operation}/{attempt}/{kind}"))
