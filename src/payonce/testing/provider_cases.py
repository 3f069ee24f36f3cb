"""Recorded cases of a provider, and the ways in which a real network and a real vendor spoil an answer.

``<folder>/*.json`` is a case each:

    {"says": "a sentence", "intent": {...}, "request": {"method", "path", "headers", "body" | "text"},
     "response": {"status", "headers", "body" | "text"}, "outcome": {"type": "Succeeded", ...}}

``body`` is a JSON value (sent without blanks), ``text`` anything else. ``<folder>/credentials.json`` holds made-up
credentials: {"secret": "..."}; none of its values may ever show up.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from payonce.adapter import Adapter, AnyOutcome, Declined, Found, HttpRequest, Intent, Response
from payonce.core.outcome import Outcome

CREDENTIALS: Final = "credentials.json"
STRANGE: Final = "never_heard_of"  # a word that no vendor uses
OTHER_REFERENCE: Final = "0" * 22 + "99"
HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


class RecordedRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    method: str
    path: str
    headers: dict[str, str] = {}
    body: msgspec.Raw = msgspec.Raw(b"")
    text: str = ""


class RecordedResponse(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    status: int
    headers: dict[str, str] = {}
    body: msgspec.Raw = msgspec.Raw(b"")
    text: str = ""


class Case(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One exchange: the request we must build, an answer as recorded, and what it must mean."""

    says: str
    intent: Intent
    request: RecordedRequest
    response: RecordedResponse
    outcome: AnyOutcome
    name: str = ""

    @property
    def read(self) -> bool:
        return self.intent.kind == "read"

    def wanted(self) -> HttpRequest:
        """The request that ``build`` must make, byte for byte."""
        body = _compact(self.request.body, self.request.text)
        headers = tuple(self.request.headers.items())
        return HttpRequest(method=self.request.method, path=self.request.path, headers=headers, body=body)

    def answer(self) -> Response:
        body = _compact(self.response.body, self.response.text)
        return Response(status=self.response.status, headers=self.response.headers, body=body)


class Spoilt(Struct, frozen=True, kw_only=True):
    """An answer with something wrong. ``says`` names it; ``field`` is set when the answer is good but about something
    else: the outcome must then carry ``value``, or claim nothing."""

    says: str
    response: Response
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

    def learn(self, case: Case, response: Response) -> AnyOutcome:
        """What the adapter makes of an answer."""
        parse: Callable[[Intent, Response], AnyOutcome] = self.adapter.parse_read if case.read else self.adapter.parse
        return parse(case.intent, response)


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
    whole = case.answer()
    for status in (429, 500, 502, 503, 504):
        for body in (whole.body, b"", HTML):
            yield Spoilt(says=f"status {status}, {len(body)} bytes", response=replace(whole, status=status, body=body))
    shapes = {"empty": b"", "HTML": HTML, "{}": b"{}", "[]": b"[]", "null": b"null", "text": b'"ok"', "not UTF-8": b"\xff\xfe"}
    for says, body in shapes.items():
        yield Spoilt(says=says, response=replace(whole, body=body))
    for cut in sorted({1, len(whole.body) // 4, len(whole.body) // 2, len(whole.body) * 3 // 4, len(whole.body) - 1}):
        if 0 < cut < len(whole.body):
            yield Spoilt(says=f"cut after {cut} bytes", response=replace(whole, body=whole.body[:cut]))


def unmapped(case: Case, adapter: Adapter) -> Iterator[Spoilt]:
    """The same answer with a status word or a decline code that nobody has mapped."""
    known = {*adapter.STATUSES, *adapter.DECLINES} & _words(case)
    for word in sorted(known):
        if (body := _swapped(case, word, STRANGE)) is not None:
            yield Spoilt(says=f"{word} -> {STRANGE}", response=replace(case.answer(), body=body))


def foreign(case: Case) -> Iterator[Spoilt]:
    """The same answer about another amount, currency, mode or object."""
    intent = case.intent
    refund = intent.kind == "refund"
    others: tuple[tuple[str, str | int, str | int], ...] = (
        ("amount_minor", intent.refund_minor if refund else intent.amount_minor, 987_654_321),
        ("currency", intent.currency, "XAF"),
        ("mode", intent.mode, "live" if intent.mode == "test" else "test"),
        ("reference", intent.refund_reference if refund else intent.reference, OTHER_REFERENCE),
    )
    for field, ours, theirs in others:
        if ours and (body := _swapped(case, ours, theirs)) is not None:
            says = f"{field} {ours} -> {theirs}"
            yield Spoilt(says=says, response=replace(case.answer(), body=body), field=field, value=theirs)


def _swapped(case: Case, old: str | int, new: str | int) -> bytes | None:
    """The answer's body with every value ``old`` replaced; None when there is none."""
    try:
        doc = msgspec.json.decode(case.answer().body)
    except msgspec.DecodeError:
        return None
    swapped = _swap(doc, old, new)
    return None if swapped == doc else msgspec.json.encode(swapped)


def _swap(value: Any, old: str | int, new: str | int) -> Any:
    if isinstance(value, dict):
        return {k: _swap(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [_swap(v, old, new) for v in value]
    return new if type(value) is type(old) and value == old else value


def _words(case: Case) -> set[str]:
    """Every text value in the answer's body."""
    try:
        return set(_texts(msgspec.json.decode(case.answer().body)))
    except msgspec.DecodeError:
        return set()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(each)


def _compact(body: msgspec.Raw, text: str) -> bytes:
    raw = bytes(body)
    return msgspec.json.encode(msgspec.json.decode(raw)) if raw else text.encode()


def _read(file: Path, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except msgspec.MsgspecError as error:
        raise msgspec.ValidationError(f"{file.parent.name}/{file.name}: {error}") from error
