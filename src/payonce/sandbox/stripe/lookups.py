"""Reads, which do not see what is younger than a time when lookups lag."""

from collections.abc import Callable
from functools import partial
from typing import Final

from payonce.sandbox.ledger import Ledger, Thing
from payonce.sandbox.simulator import Reply, Request, reply_json

from .calls import charge_named, expansions, intent_named, unknown_url
from .errors import missing
from .forms import Nested, checked, nested
from .intents import event_view
from .views import (
    NAME,
    SECOND_US,
    Doc,
    charge_id,
    charge_view,
    id_of,
    intent_view,
    number_of,
    page_of,
    refund_view,
    refunds_of,
    seen,
    within,
)

EVERY: Final = 1_000_000


class Lookup:
    """See the module docstring."""

    def __init__(self, ledger: Ledger, until_us: int) -> None:
        self.ledger, self.until_us = ledger, until_us

    def answer(self, request: Request) -> Reply:
        doc, path = nested(request.query), request.path.strip("/").split("/")
        match path:
            case ["v1", "payment_intents", id]:
                return reply_json(200, self._intent(id, checked("fetch", doc)))
            case ["v1", "charges", id]:
                intent, n = charge_named(self.ledger, id)
                expansions(checked("fetch", doc))
                return reply_json(200, charge_view(intent, intent.doc, n, self.ledger))
            case ["v1", "refunds", id]:
                return reply_json(200, self._refund(id, checked("fetch", doc)))
            case ["v1", "events", id]:
                return reply_json(200, self._event(id))
            case ["v1", "payment_intents" | "charges" | "refunds" | "events" as kind]:
                return self._list(kind, checked("list", doc))
        raise unknown_url(request)

    def _intent(self, id: str, asked: Nested) -> Doc:
        intent = intent_named(self.ledger, id)
        doc = seen(intent, self.until_us)
        if doc is None:
            raise missing("payment_intent", id, "intent")
        return intent_view(intent, doc, self.ledger, expansions(asked))

    def _refund(self, id: str, asked: Nested) -> Doc:
        refund = self.ledger.thing(NAME, "refund", number_of("refund", id))
        doc = seen(refund, self.until_us) if refund else None
        if refund is None or doc is None:
            raise missing("refund", id, "id")
        expansions(asked)
        return refund_view(refund, doc)

    def _event(self, id: str) -> Doc:
        event = self.ledger.thing(NAME, "event", number_of("event", id))
        if event is None:
            raise missing("event", id, "id")
        return event_view(event)

    def _list(self, kind: str, asked: Nested) -> Reply:
        expand = expansions(asked, "data.")
        entries: dict[str, Callable[[], Doc]] = {}  # by id, newest first; only a page of them is shown
        match kind:
            case "payment_intents":
                for t, doc in self._every("intent", asked):
                    entries[id_of(t)] = partial(intent_view, t, doc, self.ledger, expand)
            case "charges":
                for t, doc in self._every("intent", asked):
                    for n in range(len(doc["charges"]), 0, -1):
                        entries[charge_id(t, n)] = partial(charge_view, t, doc, n, self.ledger)
            case "refunds":
                entries = {id_of(t): partial(refund_view, t, doc) for t, doc in self._every("refund", asked)}
            case "events":
                events = [t for t, doc in self._every("event", asked) if asked.get("type") in (None, doc["type"])]
                entries = {id_of(t): partial(event_view, t) for t in events}
        shown, more = page_of(list(entries), asked)
        data = [entries[id]() for id in shown]
        return reply_json(200, {"object": "list", "url": f"/v1/{kind}", "has_more": more, "data": data})

    def _every(self, kind: str, asked: Nested) -> list[tuple[Thing, Doc]]:
        """Newest first, of the payment and the time that are asked for."""
        of = asked.get("payment_intent") or ""
        if asked.get("charge"):
            of = id_of(charge_named(self.ledger, asked["charge"])[0])
        if of and kind == "refund":
            things = refunds_of(self.ledger, intent_named(self.ledger, of, "payment_intent"))
        else:
            things = self.ledger.made(NAME, kind, 0, self.until_us + 1, limit=EVERY)
            things = [t for t in things if not of or id_of(t) == of]
        found = [(t, doc) for t in reversed(things) if (doc := seen(t, self.until_us)) is not None]
        return [(t, doc) for t, doc in found if within(t.at_us // SECOND_US, asked)]
