"""GET /events: what happened to a merchant's payments, page by page, and one event by its id."""

from typing import Any, Final

import msgspec

from payonce.core import news
from payonce.core.errors import FieldError, Refused
from payonce.engine import Engine

from .feed import EVENTS_LIMIT, EVENTS_LIMIT_MAX, Source, event_of, events_page
from .incoming import Query, Request
from .payments import NO_STORE
from .problems import Answer

_encode: Any = msgspec.json.Encoder().encode

EVENTS_QUERY: Final = ("type", "since", "cursor", "limit")


class Events:
    """The handlers. Whose events they see is the caller's."""

    def __init__(self, engine: Engine) -> None:
        self._store: Source = engine.store

    async def list(self, request: Request) -> Answer:
        """A page; ``nextCursor`` goes on from its end, also when that is the end of all there is."""
        query = Query(request, EVENTS_QUERY)
        type = query.choice("type", news.TYPES, f"must be one of {', '.join(news.TYPES)}")
        since, cursor = query.time_us("since"), query.text("cursor")
        limit = query.number("limit", 1, EVENTS_LIMIT_MAX, EVENTS_LIMIT)
        if since is not None and cursor is not None:
            query.bad("since", "has no place beside cursor: a cursor goes on from where it stands")
        query.check()
        try:
            page = await events_page(
                self._store, request.caller.scope, cursor=cursor, since_us=max(since or 0, 0), limit=limit, type=type
            )
        except ValueError:
            rule = "is not a cursor of this listing"
            raise Refused("validation_failed", f"cursor {rule}.", (FieldError("cursor", rule),)) from None
        return Answer(200, _encode(page), headers=NO_STORE)

    async def get(self, request: Request) -> Answer:
        Query(request).check()
        told = await event_of(self._store, request.caller.scope, request.path_value("id"))
        if told is None:
            raise Refused("not_found", "There is no such event for this caller.")
        return Answer(200, _encode(told), headers=NO_STORE)
