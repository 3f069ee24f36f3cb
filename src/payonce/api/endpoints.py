"""Webhook endpoints of a merchant, and what was or will be delivered to them: HTTP in front of ``outbound``."""

from typing import Any, Final, cast, get_args

import msgspec

from payonce.core import news
from payonce.core.errors import FieldError, Refused
from payonce.mail import Delivery, DeliveryState, Outbox
from payonce.outbound.courier import Courier
from payonce.outbound.endpoints import Endpoint, Endpoints
from payonce.ports import Clock, Scope
from payonce.shown.endpoints import (
    DESCRIPTION_CHARS_MAX,
    OVERLAP_S,
    OVERLAP_S_MAX,
    SUBSCRIBED,
    TYPES_MAX,
    URL_CHARS_MAX,
    DeliveryPage,
    EndpointList,
    Recovery,
    delivery_body,
    endpoint_body,
)
from payonce.shown.news import TEST_TYPE

from .fields import Fields, small_body
from .inbox import ReasonFields, no_cursor
from .incoming import BODY_S, Query, Request
from .payments import NO_STORE
from .problems import Answer, Headers

DELIVERIES_LIMIT, DELIVERIES_LIMIT_MAX = 20, 100
ROUNDS_MAX: Final = 5  # pages of the outbox that one request looks through for a type
STATES: Final[tuple[DeliveryState, ...]] = get_args(DeliveryState)
TYPES: Final = (*news.TYPES, TEST_TYPE)  # of deliveries; nobody subscribes to a test
REASON: Final = "asked for"  # why an endpoint is disabled, when its merchant did it

_encode: Any = msgspec.json.Encoder().encode


class EndpointDoor:
    """The handlers. Whose endpoints they see is the caller's. Without ``endpoints`` and ``courier`` webhooks to merchants are
    not set up here, and every handler says so."""

    def __init__(
        self,
        endpoints: Endpoints | None,
        courier: Courier | None,
        clock: Clock,
        *,
        body_s: float = BODY_S,
    ) -> None:
        self._endpoints, self._courier, self._clock, self._body_s = endpoints, courier, clock, body_s

    # --- endpoints -------------------------------------------------------------------------------------------------

    async def list(self, request: Request) -> Answer:
        Query(request).check()
        now = self._clock.now_us()
        found = [endpoint_body(e, now) for e in await self._there.all(request.caller.scope)]
        return Answer(200, _encode(EndpointList(found)), headers=NO_STORE)

    async def create(self, request: Request) -> Answer:
        """201 with the secret. What is registered already in the same words is answered with 200, so that a lost answer costs
        nothing; the same address in other words is refused."""
        fields = Fields(await small_body(request, self._body_s), ("url", "types", "description"))
        Query(request).check()
        url = fields.url("url", URL_CHARS_MAX, required=True) or ""
        types = fields.choices("types", SUBSCRIBED, TYPES_MAX) or ()
        description = fields.text("description", DESCRIPTION_CHARS_MAX) or ""
        fields.check()
        scope = request.caller.scope
        known = await self._at(scope, url)
        if known is not None and (known.types, known.description) == (types, description):
            return self._shown(known, headers=((b"idempotent-replayed", b"true"),), secret=True)
        if known is not None:
            raise _taken(known)
        made = await self._there.create(scope, url, types, description, actor=request.actor, request_id=request.request_id)
        location = f"{request.root}/webhook-endpoints/{made.id}".encode()
        return self._shown(made, status=201, headers=((b"location", location),), secret=True)

    async def get(self, request: Request) -> Answer:
        query = Query(request, ("secret",))
        secret = query.choice("secret", ("true", "false"), "must be true or false") == "true"
        query.check()
        return self._shown(await self._one(request), secret=secret)

    async def change(self, request: Request) -> Answer:
        fields = Fields(await small_body(request, self._body_s), ("url", "types", "description"))
        Query(request).check()
        url = fields.url("url", URL_CHARS_MAX, required=False)
        types = fields.choices("types", SUBSCRIBED, TYPES_MAX)
        description = fields.text("description", DESCRIPTION_CHARS_MAX)
        fields.check()
        now = await self._one(request)
        known = await self._at(request.caller.scope, url) if url else None
        if known is not None and known.id != now.id:
            raise _taken(known)
        if (url, types, description) != (None, None, None):
            now = await self._there.change(
                request.caller.scope, now.id, url=url, types=types, description=description, **_by(request)
            )
        return self._shown(now)

    async def remove(self, request: Request) -> Answer:
        """What is pending for it is canceled when its turn comes."""
        Query(request).check()
        now = await self._one(request)
        await self._there.remove(request.caller.scope, now.id, **_by(request))
        return Answer(204, b"", b"", NO_STORE)

    async def rotate(self, request: Request) -> Answer:
        fields = Fields(await small_body(request, self._body_s, optional=True), ("overlapS",))
        Query(request).check()
        overlap_s = fields.number("overlapS", 0, OVERLAP_S_MAX, OVERLAP_S)
        fields.check()
        now = await self._one(request)
        return self._shown(
            await self._there.rotate(request.caller.scope, now.id, overlap_s=overlap_s, **_by(request)), secret=True
        )

    async def enable(self, request: Request) -> Answer:
        await self._nothing_said(request)
        now = await self._one(request)
        return self._shown(await self._there.enable(request.caller.scope, now.id, reason=REASON, **_by(request)))

    async def disable(self, request: Request) -> Answer:
        await self._nothing_said(request)
        now = await self._one(request)
        return self._shown(await self._there.disable(request.caller.scope, now.id, reason=REASON, **_by(request)))

    # --- deliveries ------------------------------------------------------------------------------------------------

    async def test(self, request: Request) -> Answer:
        await self._nothing_said(request)
        now = await self._one(request)
        return _accepted(request, await self._sending.test(request.caller.scope, now.id, **_by(request)))

    async def recover(self, request: Request) -> Answer:
        fields = Fields(await small_body(request, self._body_s), ("since",))
        Query(request).check()
        since_us = fields.time_us("since")
        fields.check()
        now = await self._one(request)
        many = await self._sending.recover(request.caller.scope, now.id, since_us, **_by(request))
        return Answer(202, _encode(Recovery(many)), headers=NO_STORE)

    async def deliveries(self, request: Request) -> Answer:
        """Newest first. For a type at most ROUNDS_MAX pages are looked through: a page may be short although there is more."""
        query = Query(request, ("state", "type", "cursor", "limit"))
        state = cast("DeliveryState | None", query.choice("state", STATES, f"must be one of {', '.join(STATES)}"))
        type = query.choice("type", TYPES, f"must be one of {', '.join(TYPES)}")
        cursor, limit = query.text("cursor"), query.number("limit", 1, DELIVERIES_LIMIT_MAX, DELIVERIES_LIMIT)
        query.check()
        now = await self._one(request)
        try:
            page = await deliveries_page(
                self._sending.outbox,
                request.caller.scope,
                endpoint_id=now.id,
                state=state,
                type=type,
                cursor=cursor,
                limit=limit,
            )
        except ValueError:
            raise no_cursor() from None
        return Answer(200, _encode(page), headers=NO_STORE)

    async def every_delivery(self, request: Request) -> Answer:
        """To all endpoints of the caller, newest first; those to endpoints that were removed too."""
        query = Query(request, ("state", "endpoint", "payment", "cursor", "limit"))
        state = cast("DeliveryState | None", query.choice("state", STATES, f"must be one of {', '.join(STATES)}"))
        endpoint, payment, cursor = query.text("endpoint"), query.text("payment"), query.text("cursor")
        limit = query.number("limit", 1, DELIVERIES_LIMIT_MAX, DELIVERIES_LIMIT)
        query.check()
        try:
            page = await deliveries_page(
                self._sending.outbox,
                request.caller.scope,
                endpoint_id=endpoint,
                state=state,
                payment_id=payment,
                cursor=cursor,
                limit=limit,
            )
        except ValueError:
            raise no_cursor() from None
        return Answer(200, _encode(page), headers=NO_STORE)

    async def delivery(self, request: Request) -> Answer:
        Query(request).check()
        return Answer(200, _encode(delivery_body(await self._delivery(request))), headers=NO_STORE)

    async def replay(self, request: Request) -> Answer:
        """The reason, if one is given, is on the journal with the replay."""
        fields = ReasonFields(await small_body(request, self._body_s, optional=True), ("reason",))
        Query(request).check()
        reason = fields.reason("reason", required=False)
        fields.check()
        now, scope = await self._delivery(request), request.caller.scope
        return _accepted(request, await self._sending.replay(scope, now.id, reason=reason, **_by(request)))

    # --- what they share -------------------------------------------------------------------------------------------

    @property
    def _there(self) -> Endpoints:
        if self._endpoints is None:
            raise _not_set_up()
        return self._endpoints

    @property
    def _sending(self) -> Courier:
        if self._courier is None:
            raise _not_set_up()
        return self._courier

    async def _one(self, request: Request) -> Endpoint:
        found = await self._there.get(request.caller.scope, request.path_value("id"))
        if found is None:
            raise Refused("not_found", "There is no such endpoint for this caller.")
        return found

    async def _at(self, scope: Scope, url: str) -> Endpoint | None:
        return next((e for e in await self._there.all(scope) if e.url == url), None)

    async def _delivery(self, request: Request) -> Delivery:
        found, scope = await self._sending.outbox.get(request.path_value("id")), request.caller.scope
        if found is None or (found.merchant_id, found.mode) != (scope.merchant_id, scope.mode):
            raise Refused("not_found", "There is no such delivery for this caller.")
        return found

    async def _nothing_said(self, request: Request) -> None:
        """There is nothing to say in a body or a query."""
        Fields(await small_body(request, self._body_s, optional=True), ()).check()
        Query(request).check()

    def _shown(self, e: Endpoint, *, status: int = 200, headers: Headers = (), secret: bool = False) -> Answer:
        body = endpoint_body(e, self._clock.now_us(), self._there.secrets(e)[0] if secret else None)
        return Answer(status, _encode(body), headers=(*NO_STORE, *headers))


async def deliveries_page(
    outbox: Outbox,
    scope: Scope,
    *,
    endpoint_id: str | None = None,
    state: DeliveryState | None = None,
    type: str | None = None,
    payment_id: str | None = None,
    cursor: str | None = None,
    limit: int = DELIVERIES_LIMIT,
) -> DeliveryPage:
    """About as ``EndpointDoor.deliveries``. Raises ValueError for a cursor that is not ours, and StoreUnavailable."""
    found: list[Delivery] = []
    for _ in range(ROUNDS_MAX if type else 1):
        page = await outbox.list(
            scope, limit - len(found), endpoint_id=endpoint_id, state=state, payment_id=payment_id, cursor=cursor
        )
        found += [d for d in page.deliveries if type in (None, d.type)]
        cursor = page.next
        if cursor is None or len(found) >= limit:
            break
    return DeliveryPage([delivery_body(d) for d in found], cursor)


def _not_set_up() -> Refused:
    return Refused("webhooks_unavailable", "There is no key here that secrets could be made from.")


def _by(request: Request) -> dict[str, str]:
    """Who does it, for the journal."""
    return {"actor": request.actor, "request_id": request.request_id}


def _accepted(request: Request, d: Delivery) -> Answer:
    location = f"{request.root}/webhook-deliveries/{d.id}".encode()
    return Answer(202, _encode(delivery_body(d)), headers=(*NO_STORE, (b"location", location)))


def _taken(known: Endpoint) -> Refused:
    rule = f"is that of {known.id} already, which has other types or another description: change that one"
    return Refused("validation_failed", f"url {rule}.", (FieldError("url", rule),))
