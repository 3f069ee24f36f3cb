"""Captures, voids and refunds of a payment: HTTP in front of ``Engine.submit``. What is possible when is the core's to say."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

from payonce.core.errors import Refused, StoreUnavailable
from payonce.core.idempotency import normalise_operation
from payonce.core.operations import NewOperation
from payonce.core.payment import Payment
from payonce.engine import Engine
from payonce.shown.bodies import OperationList
from payonce.shown.views import Action, operation_body, operation_entry

from .fields import Fields
from .incoming import BODY_S, Query, Request, check_media_type, key_of, parse_object, read_body
from .payments import NO_STORE, accepted
from .problems import Answer, NoSuchOperation
from .story import note_of

_encode: Any = msgspec.json.Encoder().encode

Kind = Literal["capture", "void", "refund"]


class Operations:
    """The handlers. Whose payments they see is the caller's scope, which the door made of the API key."""

    def __init__(self, engine: Engine, *, body_s: float = BODY_S) -> None:
        self.engine, self.body_s = engine, body_s

    def ask(self, kind: Kind) -> Callable[[Request], Awaitable[Answer]]:
        """The handler of a POST that asks for an operation of this kind."""

        async def handle(request: Request) -> Answer:
            return await self._ask(kind, request)

        return handle

    async def _ask(self, kind: Kind, request: Request) -> Answer:
        """Answered only after the durable commit. A known key answers with its operation as it is now."""
        raw = await read_body(request, self.body_s)
        if raw:  # without a body there is nothing whose type could matter
            check_media_type(request)
        body = parse_object(raw) if raw else {}
        key = key_of(request, body)
        Query(request).check()
        wanted, note = wanted_of(kind, request.path_value("id"), body)
        receipt = await self.engine.submit(
            request.caller.scope, wanted, key, actor=request.actor, request_id=request.request_id, note=note
        )
        p, o = receipt.payment, receipt.operation
        shown = operation_body(p, o, receipt.details, await action_of(self.engine, p))
        location = f"{request.root}/payments/{p.id}/operations/{o.id}"
        return Answer(202, _encode(shown), headers=accepted(location, replayed=receipt.replayed))

    async def get(self, request: Request) -> Answer:
        Query(request).check()
        p = await self.engine.find(request.caller.scope, request.path_value("id"))
        o = next((o for o in p.operations if o.id == request.path_value("operationId")), None)
        if o is None:
            raise NoSuchOperation
        shown = operation_body(p, o, await self.engine.details(p), await self.engine.action(p))
        return Answer(200, _encode(shown), headers=NO_STORE)

    async def list(self, request: Request) -> Answer:
        return await self._list(request, refunds_only=False)

    async def refunds(self, request: Request) -> Answer:
        return await self._list(request, refunds_only=True)

    async def _list(self, request: Request, *, refunds_only: bool) -> Answer:
        Query(request).check()
        p = await self.engine.find(request.caller.scope, request.path_value("id"))
        data = [operation_entry(p, o) for o in p.operations if o.kind == "refund" or not refunds_only]
        return Answer(200, _encode(OperationList(data)), headers=NO_STORE)


def wanted_of(kind: Kind, payment_id: str, body: dict[str, Any]) -> tuple[NewOperation, str]:
    """The operation that a body asks for, and why. Raises Refused naming every bad field with its rule."""
    fields = Fields(body, body.keys())
    note = note_of(fields, "note")
    try:
        wanted = normalise_operation(kind, payment_id, {name: value for name, value in body.items() if name != "note"})
    except Refused as refused:
        if refused.code != "validation_failed":
            raise
        fields.errors += refused.errors
        wanted = NewOperation(kind=kind, payment_id=payment_id)
    fields.check()
    return wanted, note


async def action_of(engine: Engine, p: Payment) -> Action | None:
    """What the customer has to do, for the answer to what was just accepted: that the store went away since must not make it
    look refused."""
    try:
        return await engine.action(p)
    except StoreUnavailable:
        return None
