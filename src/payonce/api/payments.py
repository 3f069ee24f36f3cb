"""POST /payments and the reads: HTTP in front of ``Engine.submit`` and the store, with no rule of its own about money."""

from typing import Any, Final, cast, get_args

import msgspec

from payonce.core.errors import FieldError, Refused
from payonce.core.idempotency import Details, normalise, parse_key
from payonce.core.money import EXPONENTS
from payonce.core.payment import PaymentStatus
from payonce.engine import Engine
from payonce.figures import metadata_of
from payonce.ports import Filters, Page, Scope
from payonce.shown.bodies import History, PaymentList
from payonce.shown.views import history_entry, payment_body
from payonce.stores.rows import matches

from .door import Door
from .incoming import BODY_S, Query, Request, check_media_type, key_of, parse_object, read_body
from .problems import Answer, Headers, Later

LIST_LIMIT, LIST_LIMIT_MAX = 20, 100
HISTORY_LIMIT, HISTORY_LIMIT_MAX = 100, 1000
AFTER_MAX: Final = 999_999_999
STATUSES: Final = get_args(PaymentStatus)
LIST_QUERY: Final = (
    "status",
    "provider",
    "currency",
    "clientId",
    "metadata",
    "declineCode",
    "idempotencyKey",
    "createdFrom",
    "createdBefore",
    "attention",
    "limit",
    "cursor",
)

NO_STORE: Final = ((b"cache-control", b"no-store"),)
_encode: Any = msgspec.json.Encoder().encode


class Payments:
    """The handlers. Whose payments they see is the caller's scope, which the door made of the API key. ``door`` says whether
    there is room for new ones."""

    def __init__(self, engine: Engine, door: Door, *, body_s: float = BODY_S) -> None:
        self.engine, self.door, self.body_s = engine, door, body_s

    async def create(self, request: Request) -> Answer:
        """Answered only after the durable commit. A known key answers with its payment as it is now, also while there is no
        room for new ones: a repeat is not new work."""
        check_media_type(request)
        body = parse_object(await read_body(request, self.body_s))
        key = key_of(request, body)
        Query(request).check()
        new, scope = normalise(body), request.caller.scope
        try:
            await self.door.take_new()
        except Later:
            if await self.engine.store.find_key(scope, key) is None:
                raise
        receipt = await self.engine.submit(scope, new, key, actor=request.actor, request_id=request.request_id)
        p = receipt.payment
        shown = payment_body(p, receipt.details, await self.engine.action(p))
        return Answer(202, _encode(shown), headers=accepted(f"{request.root}/payments/{p.id}", replayed=receipt.replayed))

    async def get(self, request: Request) -> Answer:
        Query(request).check()
        p = await self.engine.find(request.caller.scope, request.path_value("id"))
        shown = payment_body(p, await self.engine.details(p), await self.engine.action(p))
        return Answer(200, _encode(shown), headers=NO_STORE)

    async def list(self, request: Request) -> Answer:
        query, scope = Query(request, LIST_QUERY), request.caller.scope
        filters, limit, cursor = _filters(query), query.number("limit", 1, LIST_LIMIT_MAX, LIST_LIMIT), query.text("cursor")
        key = _key(query, cursor)
        query.check()
        try:
            page = await (self._of_key(scope, key, filters) if key else self.engine.store.list(scope, filters, limit, cursor))
        except ValueError:
            rule = "is not a cursor of this listing"
            raise Refused("validation_failed", f"cursor {rule}.", (FieldError("cursor", rule),)) from None
        beside = await self.engine.store.bodies([(p.id, p.details_sha256) for p in page.payments])
        data = [payment_body(p, _details(beside.get((p.id, p.details_sha256)))) for p in page.payments]
        return Answer(200, _encode(PaymentList(data, page.next)), headers=NO_STORE)

    async def _of_key(self, scope: Scope, key: str, filters: Filters) -> Page:
        """The payment of a key, if the other filters let it through."""
        row = await self.engine.store.find_key(scope, key)
        p = await self.engine.store.get(row.payment_id) if row is not None else None
        if p is None:
            return Page((), None)
        values = metadata_of(await self.engine.details(p)) if filters.metadata is not None else frozenset[str]()
        return Page((p,) if matches(p, filters, values) else (), None)

    async def history(self, request: Request) -> Answer:
        query = Query(request, ("after", "limit"))
        after, limit = query.number("after", 0, AFTER_MAX, 0), query.number("limit", 1, HISTORY_LIMIT_MAX, HISTORY_LIMIT)
        query.check()
        p = await self.engine.find(request.caller.scope, request.path_value("id"))
        entries = await self.engine.store.history(p.id, after, limit + 1)
        more = entries[limit - 1].envelope.seq if len(entries) > limit else None
        return Answer(200, _encode(History([history_entry(p.id, e) for e in entries[:limit]], more)), headers=NO_STORE)


def accepted(location: str, *, replayed: bool) -> Headers:
    """The headers of an answer to what was accepted, now or before."""
    known = ((b"idempotent-replayed", b"true"),) if replayed else ()
    return (*NO_STORE, (b"location", location.encode()), *known)


def _key(query: Query, cursor: str | None) -> str | None:
    """The key to look for, bare or as a quoted string: the same values as a header takes."""
    given = query.text("idempotencyKey")
    if given is None:
        return None
    if cursor is not None:
        query.bad("cursor", "has no place beside idempotencyKey: there is one page")
    try:
        return parse_key(given, None)
    except Refused as error:
        if error.code != "idempotency_key_invalid":
            raise
        query.bad("idempotencyKey", "must be 1 to 255 visible ASCII characters")
        return None


def _filters(query: Query) -> Filters:
    currency = query.text("currency")
    if currency is not None and (not currency.isascii() or currency.upper() not in EXPONENTS):
        query.bad("currency", "must be an ISO 4217 code with a minor unit, such as INR")
    return Filters(
        status=cast("PaymentStatus | None", query.choice("status", STATUSES, f"must be one of {', '.join(STATUSES)}")),
        provider=query.text("provider"),
        currency=currency.upper() if currency else None,
        client_id=query.text("clientId"),
        metadata=query.text("metadata"),
        decline_code=query.text("declineCode"),
        created_from_us=query.time_us("createdFrom"),
        created_before_us=query.time_us("createdBefore"),
        attention=query.choice("attention", ("true", "false"), "must be true or false") == "true",
    )


def _details(raw: bytes | None) -> Details:
    """Customer data beside the chain; empty when it was erased."""
    return msgspec.json.decode(raw, type=Details) if raw else Details()
