"""Recorded cases of a provider: what a fixture folder holds. ``provider_spoiling`` spoils them.

``<folder>/*.json`` is a case each. A step:

    {"says": "a sentence", "intent": {...}, "request": {"method", "path", "headers", "body" | "form" | "text"},
     "response": {"status", "headers", "body" | "form" | "text"}, "more": [{"request", "response"}],
     "outcome": {"type": ...}, "action": {"type", "url", ...} | null, "sent": {"body" | "form" | "text"}}

``more`` has the further exchanges of a read that takes several, ``action`` is where the customer is sent (what
``next_action`` says of the last answer), ``sent`` the body with what ``authenticate_body`` adds, under the credentials of
the folder. The last two may be left out: then they are not compared.

A webhook as it was delivered, and what it means (or ``"refused": true`` when it is none of this account or no event):

    {"says", "webhook": {"headers", "body" | "form" | "text", "secrets": [...], "now_us", "signed_us", "tolerance_s"},
     "event": {"id", "kind", "references", "refs"} | "refused": true, "repeats": "name", "unsigned": ["field", ...]}

``secrets`` are the ones that are good, ``now_us`` is when it came. ``signed_us`` is the time that is signed with it (left
out when none is) and ``tolerance_s`` how far from it is still fresh. ``repeats`` names the case of another delivery of the
same event, ``unsigned`` the fields of a form that the signature does not cover.

A page of a listing:

    {"says", "listing": {"from_us", "before_us", "cursor"}, "mode", "request", "response",
     "page": {"tries": [{"type": ...}], "next"} | "unreadable": true}

``body`` is a JSON value (sent without blanks), ``form`` an object of texts or lists of texts (form-encoded in its order),
``text`` anything else. ``<folder>/credentials.json`` holds made-up credentials: {"secret": "..."}; none of its values may
ever show up.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from payonce.adapter import (
    Adapter,
    AnyOutcome,
    Declined,
    Found,
    HttpRequest,
    Intent,
    Listing,
    Mode,
    NextAction,
    RequiresAction,
    Response,
    Unreadable,
    WebhookEvent,
    Window,
)
from payonce.core.outcome import Outcome

from .provider_specs import VendorSpec

CREDENTIALS: Final = "credentials.json"
DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)  # exact numbers
ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


class Recorded(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body in one of three ways of writing it down."""

    body: msgspec.Raw = msgspec.Raw(b"")
    form: dict[str, str | list[str]] = {}
    text: str = ""

    def content(self) -> bytes:
        """The body, byte for byte."""
        raw = bytes(self.body)
        if raw:
            return ENCODER.encode(DECODER.decode(raw))
        return (urlencode(self.form, doseq=True) if self.form else self.text).encode()


class RecordedRequest(Recorded, frozen=True, kw_only=True, forbid_unknown_fields=True):
    method: str
    path: str
    headers: dict[str, str] = {}

    def wanted(self) -> HttpRequest:
        """What must be built, byte for byte."""
        return HttpRequest(method=self.method, path=self.path, headers=tuple(self.headers.items()), body=self.content())


class RecordedResponse(Recorded, frozen=True, kw_only=True, forbid_unknown_fields=True):
    status: int
    headers: dict[str, str] = {}

    def answer(self) -> Response:
        return Response(status=self.status, headers=self.headers, body=self.content())


class Delivery(Recorded, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A webhook as it came in."""

    headers: dict[str, str] = {}  # names in lower case
    secrets: tuple[str, ...] = ()
    now_us: int
    signed_us: int = 0  # 0 = the vendor signs no time
    tolerance_s: int = 300


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
    action: NextAction | UnsetType | None = UNSET
    sent: Recorded | None = None
    name: str = ""

    @property
    def read(self) -> bool:
        return self.intent.kind == "read"

    def answers(self) -> tuple[Response, ...]:
        """Every answer as recorded, oldest first."""
        return (self.response.answer(), *(each.response.answer() for each in self.more))


class WebhookCase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A webhook: verified and what it is about, or refused."""

    says: str
    webhook: Delivery
    event: WebhookEvent | None = None
    refused: bool = False
    repeats: str = ""
    unsigned: tuple[str, ...] = ()
    name: str = ""


class ListingCase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of what the provider has in a window, or an answer that cannot be read as one."""

    says: str
    listing: Window
    request: RecordedRequest
    response: RecordedResponse
    mode: Mode = "test"
    page: Listing | None = None
    unreadable: bool = False
    name: str = ""


class Subject(Struct, frozen=True, kw_only=True):
    """An adapter under contract, with its recorded cases and made-up credentials. ``spec`` names the vendor's own
    description that its requests and answers are held against, see ``provider_specs``."""

    adapter: Adapter
    cases: tuple[Case, ...]
    credentials: Mapping[str, str]
    webhooks: tuple[WebhookCase, ...] = ()
    listings: tuple[ListingCase, ...] = ()
    spec: VendorSpec | None = None
    specs: Path | None = None  # the folder in which it lies

    @classmethod
    def load(cls, adapter: Adapter, folder: Path, *, spec: VendorSpec | None = None, specs: Path | None = None) -> "Subject":
        """From a fixture folder. Raises msgspec.ValidationError or OSError naming what is wrong with it."""
        every = [_case(f) for f in sorted(folder.glob("*.json")) if f.name != CREDENTIALS]
        return cls(
            adapter=adapter,
            cases=tuple(c for c in every if isinstance(c, Case)),
            webhooks=tuple(c for c in every if isinstance(c, WebhookCase)),
            listings=tuple(c for c in every if isinstance(c, ListingCase)),
            credentials=_read(folder / CREDENTIALS, dict[str, str]),
            spec=spec,
            specs=specs,
        )

    def able(self, method: str) -> Any:
        """A method that adapters may have besides, or None."""
        return getattr(self.adapter, method, None)

    def learn(
        self, case: Case, response: Response | None = None, at: int = 0, *, answers: Sequence[Response] = ()
    ) -> AnyOutcome:
        """What the adapter makes of the answers of a case: as recorded, with one of them replaced by ``response``, or with
        ``answers`` in place of all."""
        return self.converse(case, response, at, answers=answers)[1]

    def converse(
        self, case: Case, response: Response | None = None, at: int = 0, *, answers: Sequence[Response] = ()
    ) -> tuple[list[HttpRequest], AnyOutcome]:
        """What it asks besides, and what it concludes. Asking for more than is recorded gets no answer."""
        parse: Callable[[Intent, Response], AnyOutcome | HttpRequest]
        parse = self.adapter.parse_read if case.read else self.adapter.parse
        asked: list[HttpRequest] = []
        given, intent = list(answers or case.answers()), case.intent
        given[at] = response or given[at]
        for answer in given:
            said = parse(intent, answer)
            if not isinstance(said, HttpRequest):
                return asked, said
            asked.append(said)
            intent = replace(intent, seen=(*intent.seen, answer))
        return asked, Unreadable(reason="the case has no answer to what is asked last")


def not_covered(subject: Subject) -> list[str]:
    """What the adapter declares, or is able to do, without a case that shows it."""
    adapter, cases = subject.adapter, subject.cases
    missing = [f"step {step}" for step in sorted(adapter.CAPABILITIES.steps) if all(c.intent.kind != step for c in cases)]
    for word, outcome in adapter.STATUSES.items():
        shown = (c for c in cases if word in _words(c))
        if not any(type(part).__name__ == outcome for c in shown for part in parts(c.outcome)):
            missing.append(f"status {word} -> {outcome}")
    seen = {part.vendor_code for c in cases for part in parts(c.outcome) if isinstance(part, Declined)}
    missing += [f"decline {code}" for code in adapter.DECLINES if code not in seen]
    return missing + [each for each, shown in _abilities(subject) if not shown]


def _abilities(subject: Subject) -> Iterator[tuple[str, bool]]:
    """(what has to be shown, whether it is) for every method that the adapter has besides."""
    cases, heard, pages = subject.cases, subject.webhooks, [c.page for c in subject.listings if c.page is not None]
    if subject.able("next_action"):
        shown = any(isinstance(c.action, NextAction) and acts(c) for c in cases)
        yield 'next_action: a case of RequiresAction with its "action"', shown
    if subject.able("authenticate_body"):
        yield 'authenticate_body: a case with the body as "sent"', any(c.sent is not None for c in cases)
    if subject.able("parse_webhook"):
        events = [c.event for c in heard if c.event is not None]
        yield 'webhooks: a case with an "event" that names a reference of ours', any(e.references for e in events)
        yield 'webhooks: a case with an "event" that names an id of the provider', any(e.refs for e in events)
        yield "webhooks: cases of two different events", len({e.id for e in events}) > 1
        yield 'webhooks: a case that is "refused"', any(c.refused for c in heard)
    if subject.able("parse_listing"):
        yield 'listings: a "page" with a try in it', any(page.tries for page in pages)
        yield 'listings: a last "page"', any(not page.next for page in pages)
        if any(page.next for page in pages):
            yield 'listings: a request with the "cursor" of a page before', any(c.listing.cursor for c in subject.listings)


def acts(case: Case) -> bool:
    """The customer has to act, as the case has it."""
    return any(isinstance(part, RequiresAction) for part in parts(case.outcome))


def parts(outcome: AnyOutcome) -> tuple[Outcome, ...]:
    """The outcome, and what a read found in it."""
    return (outcome, *outcome.tries, *outcome.refunds) if isinstance(outcome, Found) else (outcome,)


def decoded(body: bytes) -> Any:
    """The JSON value of a body with exact numbers; None when it is none."""
    try:
        return DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def texts_in(value: Any) -> Iterator[str]:
    """Every text value in a JSON value."""
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts_in(each)


def _words(case: Case) -> set[str]:
    """Every text value in the answers."""
    return {text for answer in case.answers() for text in texts_in(decoded(answer.body))}


def _case(file: Path) -> Case | WebhookCase | ListingCase:
    doc = _read(file, dict[str, msgspec.Raw])
    kind = WebhookCase if "webhook" in doc else ListingCase if "listing" in doc else Case
    case: Case | WebhookCase | ListingCase = replace(_read(file, kind), name=file.stem)
    whole = not isinstance(case, WebhookCase) or (case.event is None) == case.refused
    if not whole or (isinstance(case, ListingCase) and (case.page is None) != case.unreadable):
        raise msgspec.ValidationError(f"{file.parent.name}/{file.name}: it has an event or is refused, a page or unreadable")
    return case


def _read(file: Path, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except msgspec.MsgspecError as error:
        raise msgspec.ValidationError(f"{file.parent.name}/{file.name}: {error}") from error
