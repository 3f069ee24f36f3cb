"""Good bytes, spoilt: by byte, by line, and as the JSON or the form that they are."""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlencode

SPREE = 6  # changes at most, one after the other
WORDS = (
    b"\x00",
    b"\xff\xfe",
    b"\xc3",
    b"\xed\xa0\x80",
    b"'",
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"%00",
    b"%ff",
    b"%",
    b"\r\n",
    b"\n\n",
    b"-1",
    b"0",
    b"1e400",
    b"1" * 5000,
    b"99999999999999999999",
    b"NaN",
    b"Infinity",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"[" * 2000,
    b'{"a":' * 2000,
    b"4111111111111111",
    b"4111 1111 1111 1111",
    b"x" * 70000,
    "\u0661\u200b\U0001f4a9".encode(),
    b"..",
    b"/",
)
LEAVES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    2**64,
    10**30,
    -(2**63) - 1,
    0.1,
    1e300,
    "",
    " ",
    "x" * 600,
    "\x00",
    "\ud800",
    "live",
    "test",
    "succeeded",
    "captured",
    "success",
    "SUCCESS",
    "paid",
    "failed",
    "refunded",
    "processed",
    "INR",
    "inr",
    "USD",
    "JPY",
    "1050",
    "10.50",
    "10.5",
    1050,
    10.5,
    "2026-11-26",
    "9999-99-99",
    [],
    {},
    [None],
    {"": None},
    ["x"],
    [[[[]]]],
    "4111111111111111",
)


def spoilt(data: bytes, dice: Random, corpus: list[bytes]) -> bytes:
    """Some changes of good bytes; now and then none, or nothing but chance."""
    if dice.random() < 0.05:
        return dice.randbytes(dice.randrange(200))
    for _ in range(dice.randrange(SPREE)):
        change = dice.choice((_byte, _cut, _insert, _twice, _splice, _line, _json, _json, _json, _form))
        data = change(data, dice, corpus)
    return data[:200_000]


def _byte(data: bytes, dice: Random, _corpus: list[bytes]) -> bytes:
    if not data:
        return data
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]


def _cut(data: bytes, dice: Random, _corpus: list[bytes]) -> bytes:
    start = dice.randrange(len(data) + 1)
    return data[:start] + data[start + dice.choice((0, 1, 2, 8, len(data))) :]


def _insert(data: bytes, dice: Random, _corpus: list[bytes]) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.choice(WORDS) + data[at:]


def _twice(data: bytes, dice: Random, _corpus: list[bytes]) -> bytes:
    start, end = sorted((dice.randrange(len(data) + 1), dice.randrange(len(data) + 1)))
    return data[:end] + data[start:end] + data[end:]


def _splice(data: bytes, dice: Random, corpus: list[bytes]) -> bytes:
    other = dice.choice(corpus)
    return data[: dice.randrange(len(data) + 1)] + other[dice.randrange(len(other) + 1) :]


def _line(data: bytes, dice: Random, corpus: list[bytes]) -> bytes:
    lines, others = data.split(b"\n"), dice.choice(corpus).split(b"\n")
    at = dice.randrange(len(lines))
    lines[at : at + dice.randrange(2)] = [dice.choice((dice.choice(others), dice.choice(lines), dice.choice(WORDS)))]
    return b"\n".join(lines)


def _json(data: bytes, dice: Random, corpus: list[bytes]) -> bytes:
    """The JSON document in it (after the last line break before a brace), with a value, a name or a branch changed."""
    head, document = _document(data)
    if document is None:
        return data
    places = list(_places(document))
    inside, key = dice.choice(places) if places else ([document], 0)
    _, other = _document(dice.choice(corpus))
    others = list(_places(other))
    match dice.randrange(7):
        case 0:
            del inside[key]
        case 1 if others:
            there, name = dice.choice(others)
            inside[key] = there[name]
        case 2 if isinstance(inside, dict):
            inside[dice.choice(("", "id", "status", "amount", "object", "data", "error", str(key) * 2))] = inside[key]
        case 3 if isinstance(inside, list):
            inside += [inside[key]] * dice.choice((1, 3, 150))
        case 4 if isinstance(inside[key], int):
            inside[key] += dice.choice((-1, 1, 100, -(10**6), 10**12))
        case 5 if isinstance(inside[key], str):
            text = inside[key]
            inside[key] = dice.choice((text.upper(), text[:-1], text + "x", f" {text}", text[::-1], text * 40))
        case _:
            inside[key] = dice.choice(LEAVES)
    whole = document if places else inside[0] if inside else None
    try:
        return head + json.dumps(whole, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return data


def _document(data: bytes) -> tuple[bytes, Any]:
    for at in (0, *(i + 1 for i, c in enumerate(data[:4000]) if c == 10)):
        if data[at : at + 1] in (b"{", b"["):
            try:
                return data[:at], json.loads(data[at:])
            except (ValueError, RecursionError):
                continue
    return data, None


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a document, to some depth."""
    level, depth = [value], 0
    while level and depth < 30:
        inner = []
        for each in level:
            keys = list(each) if isinstance(each, dict) else range(len(each)) if isinstance(each, list) else ()
            for key in keys:
                yield each, key
                inner.append(each[key])
        level, depth = inner, depth + 1


def _form(data: bytes, dice: Random, _corpus: list[bytes]) -> bytes:
    head, _, last = data.rpartition(b"\n")
    try:
        pairs = parse_qsl(last.decode(), keep_blank_values=True, max_num_fields=200)
    except ValueError:
        return data
    if not pairs:
        return data
    at = dice.randrange(len(pairs))
    name, value = pairs[at]
    changed: list[Callable[[], list[tuple[str, str]]]] = [
        list,
        lambda: [(name, value), (name, value + "0")],
        lambda: [(name, str(dice.choice(LEAVES)).encode("utf-8", "replace").decode())],
        lambda: [(name.upper(), value)],
    ]
    pairs[at : at + 1] = dice.choice(changed)()
    return (head + b"\n" if head else b"") + urlencode(pairs).encode()
