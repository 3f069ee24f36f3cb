"""Card numbers in texts, however they are written (R11).

A card number is 13 to 19 digits that begin like one of an issuer's ranges, have a length of that range, and pass the Luhn
check. Looked for are whole groups of digits, with up to three of space, tab, line break, dash, dot, slash, underscore or plus
between them; with any other one mark between them where they are grouped as on a card (4-4-4-4, 4-6-5, 4-6-4) or digit by
digit. Digits of any script count, invisible characters do not; percent-encoding (also twice), backslash escapes of JSON and
numeric references of HTML are looked through, and beside them the text as it stands.

What passes although nobody wants it (stated limits): words, other encodings (base64, hexadecimal), pictures; a number that is
spread over several fields, has letters between its digits, or stands inside a longer run of digits or in a name of 20 or more
letters and digits that has the form of our own ids or of a digest; cards of no listed range (airlines' own begin with 1, fuel
cards with 7), and 12-digit Maestro. Published ranges as of 2026-11: Visa 4, Mastercard 51-55 and 2221-2720, Maestro 50, 56-58
and 6, American Express 34 and 37, Diners 300-305, 36, 38 and 39, JCB 35, Discover, UnionPay and RuPay 6, 81 and 82, Mir
2200-2204, Uzcard 8600, and 9 (Troy, Humo and other national schemes).

What is taken for one by chance (tests/core/test_redact_figures.py measures it): about 1 in 20 random numbers of 16 digits,
1 in 100 of 13, none of 12 and fewer, no time in seconds to microseconds since 1970 before 2039, no date and time, no UUID or
digest with a letter in it, none of our ids. An order number that is refused needs a letter in front of or between its digits.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from msgspec import Struct

DIGITS_MIN, DIGITS_MAX = 13, 19
_DIGIT: Final = re.compile(r"\d|[^\x00-\x7f]")  # each may be a digit; those that are, are few
# Every text with a card number has one of these: a character that may mean another one, or the digits of the shortest number,
# with at most what is looked through between them. It settles most texts with many digits (keys, ids) in 1 us instead of 10.
_SUSPECT: Final = re.compile(r"[^\x00-\x7f]|[%\\]|&#|(?<![0-9])[2-689](?:[^0-9A-Za-z]{0,3}[0-9]){12}")
# Groups of digits: a card number, a date, a CVC beside it.
_RUN: Final = re.compile(r"[0-9]+(?:[\x00-\x20\-._/+]{1,3}[0-9]+)*")
_GROUP: Final = re.compile(r"[0-9]+")
_SHAPED: Final = re.compile(
    r"(?<![0-9])(?:[0-9]{4}([^0-9A-Za-z])(?:[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}(?:\1[0-9]{1,3})?|[0-9]{6}\1[0-9]{4,5})"
    r"|[0-9]([^0-9A-Za-z]{1,3})[0-9](?:\2[0-9]){11,17})(?![0-9])"
)
# Random names in hexadecimal (UUIDs, digests) and our own ids are no card numbers, although one in some thousand holds a
# Luhn-valid run of digits.
_NAME: Final = re.compile(
    r"(?i)(?<![0-9a-z])(?=[0-9-]{0,127}[a-f])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32,128})(?![0-9a-z])"
    r"|(?-i:(?<![0-9A-Za-z])(?=(?:[a-z]{2,4}_)?[0-9]{0,19}[a-z])(?:(?:[a-z]{2,4}_)?[0-9a-hjkmnp-tv-z]{20}(?:[0-9]{4}|[0-9]{6})?)(?![0-9A-Za-z]))",
    re.ASCII,
)
_ISSUERS: Final = re.compile(
    r"4[0-9]{12}(?:[0-9]{3}){0,2}|5[1-5][0-9]{14}|2(?:2[2-9]|[3-6][0-9]|7[01])[0-9]{13}|2720[0-9]{12}|220[0-4][0-9]{12}"
    r"|3[47][0-9]{13}|3(?:0[0-5]|[689][0-9])[0-9]{11,16}|35[0-9]{14,17}|6[0-9]{15,18}|50[0-9]{14,17}|5[6-8][0-9]{14,17}"
    r"|8[12][0-9]{14,17}|8600[0-9]{12}|9[0-9]{15}"
)
_ESCAPE: Final = re.compile(
    r"(?:%(?:25)*[0-9A-Fa-f]{2})+|(?<!\\)\\{1,8}(?:u[0-9A-Fa-f]{4}|[nrtfbv])|&#(?:[0-9]{1,6}|[xX][0-9A-Fa-f]{1,5});"
)
_PERCENT: Final = re.compile(r"%(?:25)*([0-9A-Fa-f]{2})")
_SMALL: Final = (
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089"
)
# Dashes and dots beside those of ASCII, and what looks like a space and is none.
_BETWEEN: Final = frozenset(
    "\u058a\u05be\u1400\u1806\u2010\u2011\u2012\u2013\u2014\u2015\u2e3a\u2e3b\u301c\u3030\u30a0\ufe58\ufe63\uff0d\u2212\u00b7\u2022"
    "\u2219\u22c5\u2044\u2215\u203f\u2040\u2054\ufe4d\ufe4e\ufe4f\uff3f\u2800\u3164\u115f\u1160\uffa0"
)
_UNSEEN: Final = re.compile("[\u0300-\u036f\u034f\u180b-\u180f\u20d0-\u20ff\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# What a digit counts in the Luhn check where it is doubled, and where it is not.
_LUHN: Final = tuple(dict(zip("0123456789", counts, strict=True)) for counts in ((0, 2, 4, 6, 8, 1, 3, 5, 7, 9), range(10)))


class _View(Struct, frozen=True):
    """A text as it is read: ``text`` with plain digits and marks, and where in the original each of its characters stands
    (None: at the same place)."""

    text: str
    places: Sequence[tuple[int, int]] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        return (start, end) if self.places is None else (self.places[start][0], self.places[end - 1][1])


def spans(text: str) -> list[tuple[int, int]]:
    """(start, end) of each card number in ``text``, in order, none touching another."""
    if len(text) < DIGITS_MIN or len(_DIGIT.findall(text)) < DIGITS_MIN or not _SUSPECT.search(text):
        return []
    found = sorted(view.span(*span) for view in _views(text) for span in _cards(view.text))
    merged: list[tuple[int, int]] = []
    for start, end in found:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _views(text: str) -> Iterator[_View]:
    """The text as it stands, and as it is without its escapes."""
    plain = _View(text) if text.isascii() else _plain((c, i, i + 1) for i, c in enumerate(text))
    yield plain
    if "%" in text or "\\" in text or "&#" in text:
        yield _plain(_unescaped(text))


def _plain(characters: Iterator[tuple[str, int, int]]) -> _View:
    kept = [(plain, start, end) for c, start, end in characters if (plain := c if c.isascii() else _simple(c))]
    return _View("".join(c for c, _, _ in kept), [(start, end) for _, start, end in kept])


def _simple(c: str) -> str:
    """A character as one of ASCII that means the same; "" when nobody sees it, itself when it is something else."""
    if c.isdecimal():
        return str(int(c))
    if c in _SMALL:
        return str(_SMALL.index(c) % 10)
    if c.isspace() or c in _BETWEEN:
        return "-"
    if not c.isprintable() or _UNSEEN.match(c):
        return ""
    return chr(ord(c) - 0xFEE0) if "\uff01" <= c <= "\uff5e" else c  # the wide forms of ASCII


def _unescaped(text: str) -> Iterator[tuple[str, int, int]]:
    at = 0
    for escape in _ESCAPE.finditer(text):
        yield from ((text[i], i, i + 1) for i in range(at, escape.start()))
        for c in _meant(escape.group()):
            yield c, escape.start(), escape.end()
        at = escape.end()
    yield from ((text[i], i, i + 1) for i in range(at, len(text)))


def _meant(escape: str) -> str:
    if escape[0] == "%":
        return bytes.fromhex("".join(_PERCENT.findall(escape))).decode("utf-8", "replace")
    if escape[0] == "&":
        code = int(escape[3:-1], 16) if escape[2] in "xX" else int(escape[2:-1])
        return chr(code) if code <= 0x10FFFF else "\ufffd"
    bare = escape.lstrip("\\")
    return chr(int(bare[1:], 16)) if bare[0] == "u" else " "


def _cards(text: str) -> Iterator[tuple[int, int]]:
    """Of a plain text: whole groups of digits, whatever other groups stand beside them."""
    text = _NAME.sub(lambda m: "x" * len(m.group()), text)
    for run in _RUN.finditer(text):
        if run.end() - run.start() >= DIGITS_MIN:
            yield from _in_groups(text, [m.span() for m in _GROUP.finditer(text, *run.span())])
    for shaped in _SHAPED.finditer(text):
        if is_card("".join(_GROUP.findall(shaped.group()))):
            yield shaped.span()


def _in_groups(text: str, groups: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    digits = "".join(text[start:end] for start, end in groups)
    ends = list(accumulate(end - start for start, end in groups))
    # The Luhn sums up to each digit: with every even place doubled, and with every odd one. So each check is a difference.
    sums = [[0, *accumulate(_LUHN[(i + odd) % 2][d] for i, d in enumerate(digits))] for odd in (0, 1)]
    first, at = 0, 0
    while first < len(groups):
        card_end = 0
        for number in range(first, len(groups)):
            length = ends[number] - at
            if length > DIGITS_MAX:
                break
            if length >= DIGITS_MIN and digits[at] not in "017":
                luhn = sums[ends[number] % 2]
                if (luhn[ends[number]] - luhn[at]) % 10 == 0 and _ISSUERS.fullmatch(digits, at, ends[number]):
                    card_end = number + 1  # go on: the longest counts
        if card_end:
            yield groups[first][0], groups[card_end - 1][1]
        first = card_end or first + 1
        at = ends[first - 1]


def is_card(digits: str) -> bool:
    """These digits are a card number: length, issuer's range, check digit."""
    return any(True for _ in _in_groups(digits, [(0, len(digits))]))
