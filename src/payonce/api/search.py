"""GET /search: one box for whatever name of a payment somebody has in front of them. Exact matches, of the caller's own
payments only: what is another merchant's is as little found as what never was."""

from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from payonce.core import ids, news
from payonce.core.errors import FieldError, Refused
from payonce.core.idempotency import Details
from payonce.core.payment import Payment
from payonce.core.redact import has_card_number, mask
from payonce.engine import Engine
from payonce.ports import Filters, Scope
from payonce.shown.story_bodies import SEARCH_CHARS_MAX, Matched, SearchMatch, SearchResult
from payonce.shown.views import payment_body

from .door import on_grid
from .feed import event_of
from .incoming import QUERY_FIELDS_MAX, Request, shown
from .payments import NO_STORE
from .problems import Answer

SEARCH_MAX: Final = 20  # payments of one answer
REFS_MAX: Final = 100  # payments of one provider's id that are looked at
TICK_US: Final = 1_000  # ids hold milliseconds
_encode: Any = msgspec.json.Encoder().encode


class Search:
    """The handler."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def find(self, request: Request) -> Answer:
        """At most SEARCH_MAX payments, newest first; none for a text that is nothing of the caller's, whatever stands in it."""
        text, scope, clock = _text(request), request.caller.scope, self.engine.clock
        began_us = clock.monotonic_us()
        found: dict[str, tuple[Matched, Payment]] = {}
        if text:
            async for matched, p in self._named(scope, text):
                if (p.merchant_id, p.mode) == (scope.merchant_id, scope.mode):
                    found.setdefault(p.id, (matched, p))
        newest = sorted(found.values(), key=lambda each: (each[1].created_us, each[1].id), reverse=True)[:SEARCH_MAX]
        beside = await self.engine.store.bodies([(p.id, p.details_sha256) for _, p in newest])
        data = [
            SearchMatch(matched=matched, payment=payment_body(p, _details(beside.get((p.id, p.details_sha256)))))
            for matched, p in newest
        ]
        if text:  # how long it took to find out whose something is, or that it never was, is nobody's to measure
            await on_grid(clock, began_us)
        return Answer(200, _encode(SearchResult(q=mask(text), data=data)), headers=NO_STORE)

    async def _named(self, scope: Scope, text: str) -> AsyncIterator[tuple[Matched, Payment]]:
        """Every payment of anybody that the text stands for: whose it is, the caller of this looks at."""
        store = self.engine.store
        if ids.is_payment_id(text) and (p := await store.get(text)):
            yield "payment_id", p
        if (of_us := ids.payment_of(text)) and (p := await store.get(of_us)) and _known_as(p, text):
            yield "reference", p
        place = news.place_of(text)
        there = place and (text == ids.event_id(*place) or await event_of(store, scope, text))
        if place and there and (p := await store.get(place[0])) and place[1] <= p.version:
            yield "event_id", p
        if (row := await store.find_key(scope, text)) and (p := await store.get(row.payment_id)):
            yield "idempotency_key", p
        async for p in self._charged_as(scope, text):
            yield "operation_id", p
        for id in (await store.find_ref(text))[:REFS_MAX]:
            if p := await store.get(id):
                yield ("operation_id" if any(o.id == text for o in p.operations) else "provider_ref"), p
        for p in (await store.list(scope, Filters(metadata=text), SEARCH_MAX)).payments:
            yield "metadata", p

    async def _charged_as(self, scope: Scope, text: str) -> AsyncIterator[Payment]:
        """The payment whose first operation has this id. Those are kept under no name of their own: an id holds the millisecond
        in which its payment was accepted, and few payments were."""
        at_us = _moment_of(text)
        if at_us is None:
            return
        cursor = None
        while True:
            within = Filters(created_from_us=at_us, created_before_us=at_us + TICK_US)
            page = await self.engine.store.list(scope, within, 100, cursor)
            for p in page.payments:
                if p.operations[0].id == text:
                    yield p
                    return
            cursor = page.next
            if cursor is None:
                return


def _text(request: Request) -> str:
    """What is looked for, without spaces around it; "" when there is nothing to look for, or too much. A card number is looked
    for like anything else: some provider's id may read like one, and nothing is stored. Raises Refused for other parameters."""
    raw: bytes = request.scope.get("query_string", b"")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:  # UnicodeDecodeError is one
        rule = f"must be percent-encoded UTF-8 with at most {QUERY_FIELDS_MAX} parameters"
        raise Refused("validation_failed", f"query {rule}.", (FieldError("query", rule),)) from None
    if any(has_card_number(name) for name, _ in pairs):
        raise Refused("card_number_refused", "A card number stands in the query.")
    errors = [FieldError(shown(name), "is not a known query parameter") for name, _ in pairs if name != "q"]
    errors += [FieldError("q", "stands twice")] * (len(pairs) - len(errors) > 1)
    if errors:
        raise Refused("validation_failed", "; ".join(f"{e.field} {e.rule}" for e in errors) + ".", tuple(errors))
    text = pairs[0][1].strip() if pairs else ""
    return text if len(text) <= SEARCH_CHARS_MAX and text.isprintable() else ""


def _known_as(p: Payment, reference: str) -> bool:
    """One of its attempts, or of its refunds, goes by this name."""
    return any(a.reference == reference for a in p.attempts) or any(o.reference == reference for o in p.operations)


def _moment_of(operation_id: str) -> int | None:
    """The millisecond in an operation's id, in microseconds; None when it is none."""
    code = operation_id.removeprefix("op_")
    if not operation_id.startswith("op_") or not ids.is_payment_id(f"pay_{code}"):
        return None
    number = 0
    for c in code:
        number = number << 5 | ids.ALPHABET.index(c)
    return (number >> ids.RANDOM_BITS) * TICK_US


def _details(raw: bytes | None) -> Details:
    """Empty when they were erased."""
    return msgspec.json.decode(raw, type=Details) if raw else Details()
