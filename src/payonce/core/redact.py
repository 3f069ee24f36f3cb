"""No card data, no secrets (R11): find card numbers in what comes in, mask them and secrets in what goes out."""

import re
from collections.abc import Iterator
from typing import Any, Final

_RUN: Final = re.compile(r"\d+(?:[ \-._\u00a0]{1,2}\d+)*", re.ASCII)  # groups of digits: a card number, a date, a CVC
_GROUP: Final = re.compile(r"\d+", re.ASCII)
# Random names in hexadecimal (UUIDs, digests) are no card numbers, although one in some thousand holds a Luhn-valid run.
_HEX: Final = re.compile(
    r"(?i)(?<![0-9a-z])(?=[0-9-]{0,127}[a-f])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32,128})(?![0-9a-z])",
    re.ASCII,
)
# Issuer ranges with their lengths: a Luhn-valid run of digits outside them (an order number, a time) is let through.
_ISSUERS: Final = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:2[2-9]|[3-6]\d|7[01])\d{13}|220[0-4]\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[689]\d)\d{11,16}|35\d{14,17}|6\d{15,18}|50\d{14,17}|5[6-8]\d{14,17}|8[12]\d{14,17}|9\d{15}",
    re.ASCII,
)
_SECRET: Final = re.compile(r"(?i)\b((?:sk|rk|whsec|rzp)_(?:test_|live_)?|bearer\s+|basic\s+)[A-Za-z0-9_\-+/=.]{6,}")
_SECRET_NAMES: Final = frozenset({"authorization", "secret", "password", "api_key", "apikey", "x-client-secret", "cvv", "cvc"})
_DIGITS_MAX: Final = 19
MASK: Final = "[redacted]"


def has_card_number(value: Any) -> bool:
    """True when a card number stands anywhere in a decoded JSON value: in a text, a number or a name."""
    return any(True for text in _texts(value) for _ in _cards(text))


def mask(text: str) -> str:
    """``text`` with card numbers and secrets replaced."""
    for start, end in reversed(list(_cards(text))):
        text = text[:start] + MASK + text[end:]
    return _SECRET.sub(lambda m: m.group(1) + MASK, text)


def masked(value: Any) -> Any:
    """A decoded JSON value for people: secret fields gone, every text masked."""
    if isinstance(value, dict):
        return {k: MASK if str(k).lower() in _SECRET_NAMES else masked(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [masked(v) for v in value]
    if isinstance(value, str):
        return mask(value)
    return MASK if isinstance(value, int) and has_card_number(value) else value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield str(key)
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, float):
        if abs(value) <= 2**53:  # above it the digits are not exact, so they are no card number
            yield f"{value:.0f}"
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)


def _cards(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each card number: whole groups of digits, whatever other groups stand beside them."""
    for run in _RUN.finditer(_HEX.sub(lambda m: "x" * len(m.group()), text)):
        groups = [m.span() for m in _GROUP.finditer(text, *run.span())]
        first = 0
        while first < len(groups):
            digits, card_end = "", 0
            for number in range(first, len(groups)):
                digits += text[slice(*groups[number])]
                if len(digits) > _DIGITS_MAX:
                    break
                if _is_card(digits):
                    card_end = number + 1  # go on: the longest counts
            if card_end:
                yield groups[first][0], groups[card_end - 1][1]
            first = card_end or first + 1


def _is_card(digits: str) -> bool:
    if _ISSUERS.fullmatch(digits) is None:
        return False
    doubled = [int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(digits))]
    return sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0
