"""No card data, no secrets in what is told (R11): the one place that masks what goes into logs, shown histories, errors, the
command line and what is kept of providers' words. What a card number is, and what passes as none, says ``core/cards.py``.

Secrets are known by their form (our own and providers' keys, webhook secrets, authorisation values, sessions, private keys),
by the name before them (``api_key = ...``), by the name of their field, and, for what a provider answered, by being among
what we sent (``heard``). A secret without form or name, in words of our own, would pass: that nobody writes one there is what
tests/test_secrets_everywhere.py looks for. This is a net; keys are kept out of texts by being hidden in ``repr``.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from .cards import DIGITS_MIN, spans
from .outcome import Found, Unknown, Unreadable

T = TypeVar("T")
MASK: Final = "[redacted]"
HIDDEN_CHARS_MIN: Final = 8  # shorter values of ours may be words that a provider uses too
_SECRET_CHARS_MIN: Final = 5
_VALUE: Final = r"[A-Za-z0-9_\-+/=.~%]"
# What stands before the secret stays, so that one sees what it was. A plain word after "bearer" or "basic" is prose.
_FORMS: Final = re.compile(
    r"((?<![A-Za-z0-9])(?:(?:sk|rk|rzp)_(?:test_|live_)?|whsec_|cfsk_(?:[a-z]{2}_(?:test|prod)_)?)"
    rf"|(?<![A-Za-z])(?:[Bb]earer|BEARER|[Bb]asic|BASIC)\s{{1,4}}(?![a-z]{{1,20}}[,;:.)]?(?:\s|$)))(?:{_VALUE}{{6,}}+)(?!\[)"
    r"|((?<![A-Za-z0-9])[a-z]{2,5}_[A-Za-z0-9]{3,64}_secret_|(?<![A-Za-z0-9])session_(?=[A-Za-z0-9_-]{20}))[A-Za-z0-9_-]{6,}"
    r"|((?<![A-Z0-9])A[KS]IA)[A-Z0-9]{16}(?![A-Z0-9])|(FwoGZXIvYXdz|IQoJb3JpZ2lu)[A-Za-z0-9+/=%]{20,}"
    r"|((?<![A-Za-z0-9_-])eyJ)[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]*"
    r"|(-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----)[^-]+(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
)
_NAMES: Final = (
    r"(?:proxy-?)?authorization|(?:[a-z0-9]+[_-]){0,3}(?:secret|password|passwd|salt)(?:[_-](?:old|key|access[_-]key))?"
    r"|(?:[a-z0-9]+[_-]){0,3}(?:api[_-]?key|private[_-]?key|signing[_-]?key|secret[_-]?key|access[_-]?key|security[_-]?token"
    r"|(?:access|refresh|auth|session|id)[_-]?token)|client[_-]?secret|payment[_-]?session[_-]?id|(?:set-)?cookie|cvv2?|cvc2?"
)
_NAME: Final = re.compile(_NAMES)
# ``name=value``, ``name: value``, ``"name":"value"``, ``name = "value"``. A reference to a secret is none, a plain word after
# a colon is prose.
_NAMED: Final = re.compile(
    rf"(?i)(?<![a-z0-9])(?<!aws-)(?!aws-secret:)((?:{_NAMES})\b(?:\\{{0,4}}[\"'])?\s{{0,3}}(?:=|:(?!\s*[a-z]+(?:[\s.,;]|$)))\s{{0,3}}(?:(?:bearer|basic)\s+)?)"
    r"(\\{0,4}[\"'])?+(?!env:|file:|aws-secret:|\.\.\.|[\w+/]*\[redacted\])"
    r"((?<=\")[^\"]{1,4096}|(?<=')[^']{1,4096}|(?<![\"'])[^\s\"'&,;{}\]]{1,4096})"
)
# Adapters cut long texts: what begins like a card number and ends with the text may be the rest of one.
_CUT: Final = re.compile(r"(?<![0-9])[2-69](?:[ \-]?[0-9]){6,}$")
OWN_ID: Final = re.compile(r"(?:pay|op|key|req)_[0-9a-hjkmnp-tv-z]{20}")  # ids of ours are in nearly every line: never masked
_ROUNDS: Final = 8
_NAME_CHARS: Final = 64  # longer names are looked at each time, and are no names of secrets
_NO_ID: Final = "an id in the answer is written like a card number: it is not kept"


def has_card_number(value: Any) -> bool:
    """True when a card number stands anywhere in a decoded JSON value: in a text, a number or a name."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            if len(each) >= DIGITS_MIN and spans(each):
                return True
        elif isinstance(each, dict):
            left += (*each, *each.values())
        elif isinstance(each, list | tuple | set | frozenset):
            left += each
        elif isinstance(each, bytes | bytearray):
            left.append(bytes(each).decode("utf-8", "replace"))
        elif isinstance(each, float):
            if abs(each) <= 2**53:  # above it the digits are not exact, so they are no card number
                left.append(str(int(each)))
        elif isinstance(each, int) and not isinstance(each, bool):
            left.append(str(each))
    return False


def without_cards(text: str) -> str:
    """``text`` with card numbers replaced; none is found in the result."""
    for _ in range(_ROUNDS):  # what is left may read differently without its neighbour
        found = spans(text)
        if not found:
            return text
        for start, end in reversed(found):
            text = text[:start] + MASK + text[end:]
    return MASK


def mask(text: str) -> str:
    """``text`` with card numbers and secrets replaced."""
    if len(text) < _SECRET_CHARS_MIN or OWN_ID.fullmatch(text):
        return text
    plain = without_cards(text)
    formless = _FORMS.sub(lambda m: "".join(part or "" for part in m.groups()) + MASK, plain)
    named = _NAMED.sub(lambda m: m.group(1) + (m.group(2) or "") + MASK, formless)
    return named if named == plain else without_cards(named)


def masked(value: Any) -> Any:
    """A decoded JSON value for people: secret fields gone, every text and name masked. What is no JSON becomes its ``repr``,
    masked; of an exception only its kind is left."""
    if isinstance(value, dict):
        return dict(_field(str(name), each) for name, each in value.items())
    if isinstance(value, list | tuple):
        return [masked(v) for v in value]
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, bytes | bytearray):
        return mask(bytes(value).decode("utf-8", "replace"))
    if value is None or isinstance(value, int | float):
        return MASK if has_card_number(value) else value
    return type(value).__name__ if isinstance(value, BaseException) else mask(repr(value))


def heard(outcome: T, *ours: object) -> T:
    """An outcome as it may be kept for ever: in its free texts (``reason``, ``vendor_code``) nothing that looks like card data
    or a secret, and in ``reason`` nothing of ``ours``: credentials and what the merchant gave us of the customer, which a
    provider may repeat in its words.

    The provider's ids (``ref``, ``container``) stay to the letter, since they are what it is asked by: one unbroken run of
    digits that passes for a card number is an id. One that is written like a card number, with something between its digits,
    is no id: then nothing is known."""
    return cast("T", _heard(outcome, _hide(ours)))


def without(raw: bytes, *ours: object) -> bytes:
    """Bytes without the texts in ``ours``, such as an account's credentials in what its provider sent."""
    for each in _hide(ours):
        raw = raw.replace(each.encode("utf-8", "replace"), MASK.encode())
    return raw


def _hide(ours: tuple[object, ...]) -> list[str]:
    """The longest first: a shorter one may be a part of it."""
    return sorted({each for value in ours for each in _given(value)}, key=len, reverse=True)


def _heard(outcome: Any, hide: list[str]) -> Any:
    if isinstance(outcome, Found):
        tries, refunds = ([_heard(each, hide) for each in part] for part in (outcome.tries, outcome.refunds))
        if _written(outcome.container_id) or any(isinstance(each, Unknown) for each in refunds):
            return Unreadable(reason=_NO_ID)
        return replace(outcome, tries=tuple(tries), refunds=tuple(refunds))
    if any(_written(getattr(outcome, name, "")) for name in ("ref", "container", "reference")):
        return Unknown(reason=_NO_ID)
    reason, code = getattr(outcome, "reason", ""), getattr(outcome, "vendor_code", "")
    plain = reason
    for each in hide:
        plain = plain.replace(each, MASK)
    if (said := _CUT.sub(MASK, mask(plain))) != reason:
        return replace(outcome, reason=said)
    return replace(outcome, vendor_code=told) if (told := mask(code)) != code else outcome


def _written(name: str) -> bool:
    return any(not name[start:end].isdecimal() for start, end in spans(name))


def _given(value: object) -> Iterator[str]:
    """The texts in a value that are long enough to be told from words; the sandbox's tokens are no secret."""
    if isinstance(value, Struct):
        yield from _given([getattr(value, name) for name in value.__struct_fields__ if name != "mode"])
    elif isinstance(value, dict):
        yield from _given(list(value.values()))
    elif isinstance(value, str):
        if len(value) >= HIDDEN_CHARS_MIN and not value.startswith("tok_"):
            yield value
    elif isinstance(value, Iterable) and not isinstance(value, bytes):
        for each in value:
            yield from _given(each)


def _field(name: str, value: Any) -> tuple[str, Any]:
    if len(name) > _NAME_CHARS:
        return mask(name), masked(value)
    return _name(name), MASK if _secret(name) and value not in (None, "") else masked(value)


@lru_cache(maxsize=4096)
def _name(name: str) -> str:
    return mask(name)


@lru_cache(maxsize=4096)
def _secret(name: str) -> bool:
    return _NAME.fullmatch(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()) is not None
