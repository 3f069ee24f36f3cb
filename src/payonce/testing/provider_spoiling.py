"""The ways in which a real network and a real vendor spoil an answer: what the provider contract makes of recorded cases."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from payonce.adapter import EXPONENTS, Adapter, Response, to_decimal

from .provider_cases import ENCODER, Case, decoded, texts_in

STRANGE: Final = "never_heard_of"  # a word that no vendor uses
OTHER_REFERENCE: Final = "0" * 22 + "99"
OTHER_MINOR: Final = 987_654_321
HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
NOT_UTF8: Final = b"\xff\xfe"
SHAPES: Final = {"empty": b"", "HTML": HTML, "{}": b"{}", "[]": b"[]", "null": b"null", "text": b'"ok"', "not UTF-8": NOT_UTF8}
ODD_BODIES: Final = (b"[" * 5000, b'{"a":' * 5000, b'{"data":[1,null,{}]}', b"\0", b"a=1&a=2&=&&%", b"%ff=%00", b"\xc3=\xc3")
ODD_LEAVES: Final[tuple[Any, ...]] = (None, [], {}, True, "", "x" * 600, -1, 10**30, Decimal("1e400"), "\x00", ["x"], {"id": 1})


class Spoilt(Struct, frozen=True, kw_only=True):
    """An answer with something wrong. ``says`` names it; ``field`` is set when the answer is good but about something
    else: the outcome must then carry ``value``, or claim nothing. ``at``: which of the answers it is."""

    says: str
    response: Response
    at: int = 0
    field: str = ""
    value: str | int = ""


def unreadable(case: Case) -> Iterator[Spoilt]:
    """Answers that prove nothing: server errors, rate limits, empty, HTML, cut, JSON of another shape."""
    for at, whole in enumerate(case.answers()):
        for status in (429, 500, 502, 503, 504):
            for body in (whole.body, b"", HTML):
                response = replace(whole, status=status, body=body)
                yield Spoilt(says=f"status {status}, {len(body)} bytes", response=response, at=at)
        for says, body in SHAPES.items():
            if not (says == "[]" and whole.body.startswith(b"[")):  # where a list is the answer, an empty one is an answer too
                yield Spoilt(says=says, response=replace(whole, body=body), at=at)
        size = len(whole.body)
        for cut in sorted({1, size // 4, size // 2, size * 3 // 4, size - 1}):
            if 0 < cut < size:
                yield Spoilt(says=f"cut after {cut} bytes", response=replace(whole, body=whole.body[:cut]), at=at)


def unmapped(case: Case, adapter: Adapter) -> Iterator[Spoilt]:
    """The same answers with a status word or a decline code that nobody has mapped."""
    for at, answer in enumerate(case.answers()):
        for word in sorted({*adapter.STATUSES, *adapter.DECLINES} & set(texts_in(decoded(answer.body)))):
            if (body := _swapped(answer.body, word, STRANGE)) is not None:
                yield Spoilt(says=f"{word} -> {STRANGE}", response=replace(answer, body=body), at=at)


def foreign(case: Case, adapter: Adapter) -> Iterator[Spoilt]:
    """The same answers about another amount, currency, mode or object."""
    intent = case.intent
    refund = intent.kind == "refund"
    amount = {"refund": intent.refund_minor, "capture": intent.capture_minor}.get(intent.kind, 0) or intent.amount_minor
    others: tuple[tuple[str, str | int, str | int], ...] = (
        ("currency", intent.currency, "XAF"),
        ("mode", intent.mode, "live" if intent.mode == "test" else "test"),
        ("reference", intent.refund_reference if refund else intent.reference, OTHER_REFERENCE),
    )
    for at, answer in enumerate(case.answers()):
        doc = decoded(answer.body)
        bodies = [(field, ours, theirs, swap(doc, ours, theirs)) for field, ours, theirs in others if ours]
        theirs_minor = OTHER_MINOR * least_step(adapter, intent.currency)
        bodies.append(
            ("amount_minor", amount, theirs_minor, other_money(doc, adapter, intent.currency, {amount: theirs_minor}))
        )
        bodies.append(("currency", intent.currency, "XAF", swap(doc, intent.currency.lower(), "xaf")))  # in lower case
        for field, was, now, other in bodies:
            if other != doc:
                response = replace(answer, body=ENCODER.encode(other))
                yield Spoilt(says=f"{field} {was} -> {now}", response=response, field=field, value=now, at=at)


def swapped_leaves(body: bytes) -> Iterator[bytes]:
    """A JSON body with each of its values replaced by one of another shape, each in turn. Of the items of a list that look
    alike the first one stands for all."""
    doc, seen = decoded(body), set[tuple[str, ...]]()
    for path in places(doc):
        alike = tuple("#" if isinstance(step, int) else step for step in path)
        if alike not in seen:
            seen.add(alike)
            for leaf in ODD_LEAVES:
                yield ENCODER.encode(put_at(doc, path, leaf))


def vendor_units(amount_minor: int, currency: str, adapter: Adapter) -> int:
    """The amount in the vendor's smallest unit, as the adapter declares it. Raises ValueError for a part of one."""
    shift = adapter.CAPABILITIES.exponents.get(currency, EXPONENTS[currency]) - EXPONENTS[currency]
    if shift >= 0:
        return amount_minor * int(10**shift)
    units, rest = divmod(amount_minor, int(10**-shift))
    if rest:
        raise ValueError(f"{amount_minor} minor units of {currency} are no whole number of the vendor's")
    return units


def least_step(adapter: Adapter, currency: str) -> int:
    """What every amount, in ISO minor units, is a multiple of at this vendor."""
    shift = EXPONENTS[currency] - adapter.CAPABILITIES.exponents.get(currency, EXPONENTS[currency])
    return max(adapter.CAPABILITIES.multiples.get(currency, 1), int(10 ** max(0, shift)))


def other_money(doc: Any, adapter: Adapter, currency: str, amounts: Mapping[int, int], other: str = "") -> Any:
    """A JSON value in which each amount stands that is the value of a key in ``amounts``, in the way in which that one was
    written: in the vendor's smallest unit, as a decimal number or text. ``other``: in this currency, if in another."""
    for old, new in amounts.items():
        new_units, new_major = vendor_units(new, other or currency, adapter), to_decimal(new, other or currency)
        old_units, old_major = vendor_units(old, currency, adapter), to_decimal(old, currency)
        pairs = ((old_units, new_units), (str(old_units), str(new_units)))
        swapped = doc
        for a, b in pairs:
            swapped = swap(swapped, a, b)
        if swapped == doc or old_units == int(Decimal(old_major)):
            swapped = swap(doc, Decimal(old_major), Decimal(new_major))
            for text in {old_major, old_major.rstrip("0").rstrip(".") if "." in old_major else old_major}:
                swapped = swap(swapped, text, new_major)
        doc = swapped
    return doc


def places(doc: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value in a JSON value, containers too."""
    yield path
    inside = doc.items() if isinstance(doc, dict) else enumerate(doc) if isinstance(doc, list) else ()
    for key, each in inside:
        yield from places(each, (*path, key))


def put_at(doc: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A JSON value with the one at ``path`` replaced."""
    if not path:
        return value
    copy: Any = dict(doc) if isinstance(doc, dict) else list(doc)
    copy[path[0]] = put_at(doc[path[0]], path[1:], value)
    return copy


def _swapped(body: bytes, old: str, new: str) -> bytes | None:
    """A body with every value ``old`` replaced; None when there is none."""
    doc = decoded(body)
    swapped = swap(doc, old, new)
    return None if swapped == doc else ENCODER.encode(swapped)


def swap(value: Any, old: str | int | Decimal, new: str | int | Decimal) -> Any:
    """A JSON value with every value ``old`` replaced. A decimal number is the same as the whole number it equals."""
    if isinstance(value, dict):
        return {k: swap(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [swap(v, old, new) for v in value]
    alike = type(value) is type(old) or (isinstance(old, Decimal) and type(value) in (int, Decimal))
    return new if alike and value == old else value
