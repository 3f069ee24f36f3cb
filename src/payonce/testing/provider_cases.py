"""Recorded cases of a provider, and the ways in which a real network and a real vendor spoil an answer.

``<folder>/*.json`` is a case each:

    {"says": "a sentence", "intent": {...}, "request": {"method", "path", "headers", "body" | "text"},
     "response": {"status", "headers", "body" | "text"}, "more": [{"request", "response"}], "outcome": {"type": ...}}

``more`` has the further exchanges of a read that takes several.

``body`` is a JSON value (sent without blanks), ``text`` anything else. ``<folder>/credentials.json`` holds made-up
credentials: {"secret": "..."}; none of its values may ever show up.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from payonce.adapter import Adapter, AnyOutcome, Declined, Found, HttpRequest, Intent, Response, Unreadable, to_decimal
from payonce.core.outcome import Outcome

CREDENTIALS: Final = "credentials.json"
STRANGE: Final = "never_heard_of"  # a word that no vendor uses
OTHER_REFERENCE: Final = "0" * 22 + "99"
OTHER_MINOR: Final = 987_654_321
HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
NOT_UTF8: Final = b"\xff\xfe"
SHAPES: Final = {"empty": b"", "HTML": HTML, "{}": b"{}", "[]": b"[]", "null": b"null", "text": b'"ok"', "not UTF-8": NOT_UTF8}


class RecordedRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    method: str
    path: str
    headers: dict[str, str] = {}
    body: msgspec.Raw = msgspec.Raw(b"")
    text: str = ""

    def wanted(self) -> HttpRequest:
        """What must be built, byte for byte."""
        body = _compact(self.body, self.text)
        return HttpRequest(method=self.method, path=self.path, headers=tuple(self.headers.items()), body=body)


class RecordedResponse(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    status: int
    headers: dict[str, str] = {}
    body: msgspec.Raw = msgspec.Raw(b"")
    text: str = ""

    def answer(self) -> Response:
        return Response(status=self.status, headers=self.headers, body=_compact(self.body, self.text))


class Exchange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    request: RecordedRequest
    response: RecordedResponse


class Case(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step: the request we must build, an answer as recorded, and what it must mean; of a read perhaps several."""

    says: str
    intent: Intent
    request: RecordedRequest
    response: RecordedResponse
    outcome: AnyOutcome
    more: tuple[Exchange, ...] = ()
    name: str = ""

    @property
    def read(self) -> bool:
        return self.intent.kind == "read"

    def answers(self) -> tuple[Response, ...]:
        """Every answer as recorded, oldest first."""
        return (self.response.answer(), *(each.response.answer() for each in self.more))


class Spoilt(Struct, frozen=True, kw_only=True):
    """An answer with something wrong. ``says`` names it; ``field`` is set when the answer is good but about something
    else: the outcome must then carry ``value``, or claim nothing. ``at``: which of the answers it is."""

    says: str
    response: Response
    at: int = 0
    field: str = ""
    value: str | int = ""


class Subject(Struct, frozen=True, kw_only=True):
    """An adapter under contract, with its recorded cases and made-up credentials."""

    adapter: Adapter
    cases: tuple[Case, ...]
    credentials: Mapping[str, str]

    @classmethod
    def load(cls, adapter: Adapter, folder: Path) -> "Subject":
        """From a fixture folder. Raises msgspec.ValidationError or OSError naming what is wrong with it."""
        files = sorted(f for f in folder.glob("*.json") if f.name != CREDENTIALS)
        cases = tuple(replace(_read(f, Case), name=f.stem) for f in files)
        return cls(adapter=adapter, cases=cases, credentials=_read(folder / CREDENTIALS, dict[str, str]))

    def learn(self, case: Case, response: Response | None = None, at: int = 0) -> AnyOutcome:
        """What the adapter makes of the answers of a case, one of them replaced by ``response``."""
        return self.converse(case, response, at)[1]

    def converse(self, case: Case, response: Response | None = None, at: int = 0) -> tuple[list[HttpRequest], AnyOutcome]:
        """What it asks besides, and what it concludes. Asking for more than is recorded gets no answer."""
        parse: Callable[[Intent, Response], AnyOutcome | HttpRequest]
        parse = self.adapter.parse_read if case.read else self.adapter.parse
        asked: list[HttpRequest] = []
        answers, intent = list(case.answers()), case.intent
        answers[at] = response or answers[at]
        for answer in answers:
            said = parse(intent, answer)
            if not isinstance(said, HttpRequest):
                return asked, said
            asked.append(said)
            intent = replace(intent, seen=(*intent.seen, answer))
        return asked, Unreadable(reason="the case has no answer to what is asked last")


def not_covered(subject: Subject) -> list[str]:
    """What the adapter declares without a case that shows it."""
    adapter, cases = subject.adapter, subject.cases
    missing = [f"step {step}" for step in sorted(adapter.CAPABILITIES.steps) if all(c.intent.kind != step for c in cases)]
    for word, outcome in adapter.STATUSES.items():
        shown = (c for c in cases if word in _words(c))
        if not any(type(part).__name__ == outcome for c in shown for part in parts(c.outcome)):
            missing.append(f"status {word} -> {outcome}")
    seen = {part.vendor_code for c in cases for part in parts(c.outcome) if isinstance(part, Declined)}
    return missing + [f"decline {code}" for code in adapter.DECLINES if code not in seen]


def parts(outcome: AnyOutcome) -> tuple[Outcome, ...]:
    """The outcome, and what a read found in it."""
    return (outcome, *outcome.tries, *outcome.refunds) if isinstance(outcome, Found) else (outcome,)


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
        for word in sorted({*adapter.STATUSES, *adapter.DECLINES} & set(_texts(_decoded(answer.body)))):
            if (body := _swapped(answer.body, word, STRANGE)) is not None:
                yield Spoilt(says=f"{word} -> {STRANGE}", response=replace(answer, body=body), at=at)


def foreign(case: Case) -> Iterator[Spoilt]:
    """The same answers about another amount, currency, mode or object."""
    intent = case.intent
    refund = intent.kind == "refund"
    amount = intent.refund_minor if refund else intent.amount_minor
    others: tuple[tuple[str, str | int, str | int], ...] = (
        ("amount_minor", amount, OTHER_MINOR),
        ("currency", intent.currency, "XAF"),
        ("mode", intent.mode, "live" if intent.mode == "test" else "test"),
        ("reference", intent.refund_reference if refund else intent.reference, OTHER_REFERENCE),
    )
    for at, answer in enumerate(case.answers()):
        for field, ours, theirs in others:
            body = _swapped(answer.body, ours, theirs) if ours else None
            if body is None and field == "amount_minor" and ours:  # the vendor writes decimals
                major = Decimal(to_decimal(amount, intent.currency))
                body = _swapped(answer.body, major, Decimal(to_decimal(OTHER_MINOR, intent.currency)))
                body = body or _swapped(answer.body, str(major), to_decimal(OTHER_MINOR, intent.currency))  # as texts
            if body is not None:
                says = f"{field} {ours} -> {theirs}"
                yield Spoilt(says=says, response=replace(answer, body=body), field=field, value=theirs, at=at)


def _swapped(body: bytes, old: str | int | Decimal, new: str | int | Decimal) -> bytes | None:
    """A body with every value ``old`` replaced; None when there is none."""
    doc = _decoded(body)
    swapped = _swap(doc, old, new)
    return None if swapped == doc else _ENCODER.encode(swapped)


def _swap(value: Any, old: str | int | Decimal, new: str | int | Decimal) -> Any:
    if isinstance(value, dict):
        return {k: _swap(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [_swap(v, old, new) for v in value]
    alike = type(value) is type(old) or (isinstance(old, Decimal) and type(value) in (int, Decimal))
    return new if alike and value == old else value


_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def _decoded(body: bytes) -> Any:
    """The JSON value of a body with exact numbers; None when it is none."""
    try:
        return _DECODER.decode(body)
    except msgspec.DecodeError:
        return None


def _words(case: Case) -> set[str]:
    """Every text value in the answers."""
    return {text for answer in case.answers() for text in _texts(_decoded(answer.body))}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(each)


def _compact(body: msgspec.Raw, text: str) -> bytes:
    raw = bytes(body)
    return _ENCODER.encode(_DECODER.decode(raw)) if raw else text.encode()


def _read(file: Path, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except msgspec.MsgspecError as error:
        raise msgspec.ValidationError(f"{file.parent.name}/{file.name}: {error}") from error
