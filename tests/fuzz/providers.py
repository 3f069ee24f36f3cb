"""What providers send: answers to each step, pages of listings, and webhooks. What an answer does not show is not concluded.

An input is a first line ``case AT STATUS`` and the body of that answer; the other answers of the case stay as recorded.
"""

import functools
import json
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec.structs import replace

from payonce.adapter import Response, WebhookEvent, WebhookRefused
from payonce.core.money import EXPONENTS
from payonce.core.outcome import (
    NO_EFFECT,
    Absent,
    AnyOutcome,
    Authorized,
    Captured,
    Closed,
    Created,
    Declined,
    Found,
    Mismatch,
    Outcome,
    Refunded,
    Succeeded,
    Unknown,
    Unreadable,
    Voided,
)
from payonce.core.redact import has_card_number, heard
from payonce.inbox import storable
from payonce.providers import load_adapters
from payonce.shown.views import provider_body
from payonce.testing.provider_cases import Case, Subject, parts

from .target import Target, require

FIXTURES = Path(__file__).parents[1] / "fixtures" / "providers"
MONEY = (Succeeded, Authorized, Captured, Mismatch, Refunded)
SHOWS = (*MONEY, Voided, Closed, Created, Declined)
OURS = ("cashfree", "mock", "payu", "razorpay", "stripe")


@functools.cache
def subject(name: str) -> Subject:
    return Subject.load(load_adapters()[name], FIXTURES / name)


@functools.cache
def cases(name: str) -> dict[str, Case]:
    return {case.name: case for case in subject(name).cases}


def answers(name: str) -> Callable[[], list[bytes]]:
    def corpus() -> list[bytes]:
        return [
            f"{case.name} {at} {answer.status}\n".encode() + answer.body
            for case in subject(name).cases
            for at, answer in enumerate(case.answers())
        ]

    return corpus


def said(data: bytes, names: list[str]) -> tuple[str, int, int, bytes]:
    """(case, which answer, status, body) of an input; for a broken first line, something of its own."""
    head, _, body = data.partition(b"\n")
    words = head.decode("utf-8", "replace").split(" ")
    name = words[0] if words[0] in names else names[len(data) % len(names)]
    numbers = [int(w) if w.isascii() and w.isdigit() and len(w) < 4 else 200 for w in words[1:3]] + [0, 200]
    return name, numbers[0], numbers[1], body


def answered(name: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        known = cases(name)
        chosen, at, status, body = said(data, list(known))
        case = known[chosen]
        at %= len(case.answers())
        answer = replace(case.answers()[at], status=status, body=body)
        outcome = subject(name).learn(case, answer, at)
        require(isinstance(outcome, Outcome), f"{outcome!r} is no outcome")
        proven(case, status, [a.body for i, a in enumerate(case.answers()) if i != at] + [body], outcome)
        kept = heard(outcome, subject(name).credentials, case.intent.payment_method)
        msgspec.json.decode(msgspec.json.encode(kept), type=AnyOutcome)
        told = [getattr(part, "reason", "") for part in parts(kept)]
        require(not has_card_number(told), f"a card number in {told}")
        for ability in ("next_action", "handle_of"):
            if method := subject(name).able(ability):
                method(case.intent, answer)
        msgspec.json.encode(provider_body(subject(name).adapter, body))

    return run


def proven(case: Case, status: int, bodies: list[bytes], outcome: AnyOutcome) -> None:
    """What is claimed stands in the answers: the object, the refusal, the amount. A server that fails proves nothing."""
    failed = status >= 500 or status == 429
    if failed and len(bodies) == 1:
        require(isinstance(outcome, Unknown | Unreadable), f"{status} is taken for {outcome!r}")
    if isinstance(outcome, Absent | Unknown | Unreadable):
        return
    if isinstance(outcome, NO_EFFECT):
        require(status < 500, f"{status} is taken for {outcome!r}")
        return
    texts, numbers = shown(bodies, case)
    for part in parts(outcome):
        if isinstance(part, Found) or not isinstance(part, SHOWS):
            continue
        for field in ("ref", "container"):
            ref = getattr(part, field, "")
            require(not ref or ref in texts, f"{field} {ref!r} of {part!r} stands in no answer")
        asked = (case.intent.amount_minor, case.intent.capture_minor, case.intent.refund_minor)
        if isinstance(part, MONEY) and part.amount_minor in asked:  # another one is a mismatch, whatever it is
            require(_stands(part.amount_minor, numbers), f"the amount of {part!r} stands in no answer")
        if isinstance(part, Declined) and part.vendor_code:
            require(any(part.vendor_code in text for text in texts), f"{part.vendor_code!r} stands in no answer")


def shown(bodies: list[bytes], case: Case) -> tuple[set[str], set[Decimal]]:
    """Every text and number in the answers, and what the step was about."""
    texts = {case.intent.provider_ref, case.intent.container, case.intent.refund_ref}
    for body in bodies:
        for leaf in _leaves(body):
            texts.add(leaf)
    numbers = set[Decimal]()
    for text in texts:
        try:
            numbers.add(Decimal(text))
        except InvalidOperation:
            continue
    return texts, {n for n in numbers if n.is_finite() and abs(n.adjusted()) < 40}


def _leaves(body: bytes) -> Iterator[str]:
    text = body.decode("utf-8", "replace")  # names that nobody reads may be broken
    try:
        document = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        yield from (part for pair in parse_qsl(text, keep_blank_values=True, errors="replace") for part in pair)
        return
    level: list[Any] = [document]
    while level:
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += [*each.values(), *each]
            elif isinstance(each, list):
                inner += each
            else:
                yield str(each)
                if isinstance(each, str):
                    yield each.strip()
        level = inner


def _stands(minor: int, numbers: set[Decimal]) -> bool:
    """As a number, or as what is left of one without one or two others: a surcharge and its tax."""
    wanted = _amounts(minor)
    if wanted & numbers:
        return True
    return any(a - b in wanted or any(a - b - c in wanted for c in numbers) for a in numbers for b in numbers if a > b > 0)


def _amounts(minor: int) -> set[Decimal]:
    """As vendors may write it; some have other minor units than ISO 4217."""
    most = max(EXPONENTS.values())
    return {Decimal(minor).scaleb(-places) for places in range(-most, most + 1)}


# --- listings -----------------------------------------------------------------------------------------------------------


def pages(name: str) -> Callable[[], list[bytes]]:
    return lambda: [f"{c.name} 0 {c.response.status}\n".encode() + c.response.content() for c in subject(name).listings]


def listed(name: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        known = {c.name: c for c in subject(name).listings}
        chosen, _, status, body = said(data, list(known))
        case = known[chosen]
        page = subject(name).able("parse_listing")(case.listing, Response(status=status, headers={}, body=body), case.mode)
        if status != 200:
            require(isinstance(page, Unreadable), f"{status} is taken for a page")
        msgspec.json.encode(page)

    return run


# --- webhooks -----------------------------------------------------------------------------------------------------------


def deliveries(name: str) -> Callable[[], list[bytes]]:
    def corpus() -> list[bytes]:
        found = []
        for case in subject(name).webhooks:
            head = {**case.webhook.headers, "x-case": case.name}
            found.append("".join(f"{n}: {v}\n" for n, v in head.items()).encode() + b"\n" + case.webhook.content())
        return found

    return corpus


def delivered(name: str) -> Callable[[bytes], None]:
    """Headers, an empty line, the body. What is not, byte for byte, a delivery on record is refused, except where the vendor
    signs less than everything; and whatever is parsed, signed or not, becomes an event or is refused."""

    def run(data: bytes) -> None:
        head, _, body = data.partition(b"\n\n")
        headers = dict(line.partition(": ")[::2] for line in head.decode("latin-1").split("\n"))
        known = {case.name: case for case in subject(name).webhooks}
        case = known.get(headers.pop("x-case", ""), next(iter(known.values())))
        headers = {n.lower(): v for n, v in headers.items()}
        adapter: Any = subject(name).adapter
        try:
            adapter.verify_webhook(headers, body, case.webhook.secrets, case.webhook.now_us)
        except WebhookRefused:
            pass
        else:
            genuine = {c.webhook.content() for c in known.values()}
            require(body in genuine or name == "payu", f"a changed body passed: {body[:200]!r}")
        try:
            event = adapter.parse_webhook(headers, body)
        except WebhookRefused:
            event = None
        require(event is None or isinstance(event, WebhookEvent), f"{event!r} is no event")
        kept = storable(body[:262_144])
        require(not has_card_number(kept), f"a card number is kept: {kept[:200]!r}")
        msgspec.json.encode(provider_body(adapter, body))

    return run


TARGETS = (
    *(Target(f"answers-{name}", answers(name), answered(name), 250) for name in OURS),
    *(Target(f"listings-{name}", pages(name), listed(name), 30) for name in OURS),
    *(Target(f"webhooks-{name}", deliveries(name), delivered(name), 60) for name in OURS),
)
