"""The story of a payment, and what people do about it beside asking for money: look at its provider now, decide what nobody can
read. What is possible when is the core's to say."""

from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from payonce.core.errors import FieldError, Refused
from payonce.core.events import Asked, Entry
from payonce.core.money import AMOUNT_MINOR_MAX
from payonce.core.operations import NewOperation
from payonce.core.payment import Payment
from payonce.engine import Engine
from payonce.mail import Inbox, Outbox, Webhook
from payonce.merchants import DEFAULT_MERCHANT
from payonce.shown.actions import why_no_check
from payonce.shown.bodies import NOTE_CHARS_MAX
from payonce.shown.calls import Beside, requests_of
from payonce.shown.standing import money
from payonce.shown.story import Line, tell
from payonce.shown.upcoming import missing
from payonce.shown.views import payment_body
from payonce.shown.whole import DELIVERIES_MAX, Standing, named_webhooks, story

from .fields import Fields, small_body
from .incoming import BODY_S, TEXT_CHARS_MAX, Query, Request
from .payments import NO_STORE
from .problems import Answer

OF_CHARGE: Final = ("charged", "not-charged", "reversed")
OF_OPERATION: Final = ("done", "not-done")
HISTORY_PAGE: Final = 1000
WEBHOOKS_MAX: Final = 50  # looked up for one story
_FIELDS: Final = ("decision", "reason", "operationId", "providerRef", "amount", "acceptAmount")
_NAMES: Final = {"provider_ref": "providerRef"}
_encode: Any = msgspec.json.Encoder().encode


@runtime_checkable
class DueIndex(Protocol):
    """A store that says when a payment is due."""

    async def due_of(self, payment_id: str) -> int | None: ...


class Stories:
    """The handlers. Whose payments they see is the caller's scope. ``inbox`` and ``outbox``: where webhooks from providers and
    deliveries to merchants are; without them there are none."""

    def __init__(
        self, engine: Engine, *, inbox: Inbox | None = None, outbox: Outbox | None = None, body_s: float = BODY_S
    ) -> None:
        self.engine, self._inbox, self._outbox, self.body_s = engine, inbox, outbox, body_s

    # --- telling --------------------------------------------------------------------------------------------------------

    async def story(self, request: Request) -> Answer:
        """Everything that happened, from one reading of the payment and its history."""
        Query(request).check()
        found = await self.engine.find(request.caller.scope, request.path_value("id"))
        folded, lines = tell(await self._history(found.id))
        p, now_us = folded or found, self.engine.clock.now_us()

        def asking(wanted: NewOperation) -> Asked:
            return self.engine.intake.asking(p, wanted, "", now_us)

        told = story(p, lines, await self._standing(request, p, lines, now_us), asking)
        return Answer(200, _encode(told), headers=NO_STORE)

    async def _standing(self, request: Request, p: Payment, lines: list[Line], now_us: int) -> Standing:
        engine, caller = self.engine, request.caller
        details = await engine.details(p)
        next_ = await engine.next(p)
        if engine.health:
            await engine.health.refresh()
        deliveries = await self._outbox.list(caller.scope, DELIVERIES_MAX, payment_id=p.id) if self._outbox else None
        return Standing(
            now_us=now_us,
            details=details,
            next_=next_,
            due_us=await engine.store.due_of(p.id) if isinstance(engine.store, DueIndex) else next_.at_us,
            missing=missing(p, next_, engine.accounts, lambda a: engine.outside.lost(p, a)),
            blocked=engine.health.blocked(now_us) if engine.health else {},
            action=await engine.action(p),
            beside=await self._beside(p, details.payment_method),
            webhooks=await self._webhooks(lines),
            deliveries=deliveries.deliveries if deliveries else (),
            held=engine.hold,
            operators_named=caller.scope.merchant_id == DEFAULT_MERCHANT and caller.may("admin"),
        )

    async def _history(self, payment_id: str) -> list[Entry]:
        entries: list[Entry] = []
        while True:
            page = await self.engine.store.history(payment_id, len(entries), HISTORY_PAGE)
            entries += page
            if len(page) < HISTORY_PAGE:
                return entries

    async def _beside(self, p: Payment, token: str) -> Beside:
        """The stored requests, with who can read them and what must not be seen in them."""
        found = await self.engine.store.bodies([(p.id, sha256) for sha256 in requests_of(p)])
        accounts = [self.engine.accounts[a.account] for a in p.attempts if a.account in self.engine.accounts]
        return Beside(
            bodies={sha256: raw for (_, sha256), raw in found.items()},
            adapters={a.name: a.adapter for a in accounts},
            secrets=(token, *(a.credentials for a in accounts)),
        )

    async def _webhooks(self, lines: list[Line]) -> dict[str, Webhook]:
        if self._inbox is None:
            return {}
        wanted = named_webhooks(lines)[-WEBHOOKS_MAX:]
        found = [await self._inbox.get(id) for id in wanted]
        return {w.id: w for w in found if w is not None}

    # --- doing ----------------------------------------------------------------------------------------------------------

    async def check(self, request: Request) -> Answer:
        """Pull the look at the provider forward. Answered after the durable commit; what is read is in the story then."""
        fields = Fields(await small_body(request, self.body_s, optional=True), ("note",))
        note = note_of(fields, "note")
        Query(request).check()
        fields.check()
        scope, id = request.caller.scope, request.path_value("id")
        await self.engine.find(scope, id)
        taken = await self.engine.ingest(id, actor=request.actor, note=note, request_id=request.request_id)
        p = await self.engine.find(scope, id)
        if not taken:
            raise Refused("operation_not_possible", f"{why_no_check(p) or 'Others write to it all the time.'} {money(p)[0]}")
        return Answer(
            202, _encode(payment_body(p, await self.engine.details(p), await self.engine.action(p))), headers=NO_STORE
        )

    async def resolve(self, request: Request) -> Answer:
        """Record what a person found out. It sends nothing."""
        body = await small_body(request, self.body_s)
        fields = Fields(body, _FIELDS)
        decision, reason = body.get("decision"), note_of(fields, "reason")
        operation = fields.text("operationId", TEXT_CHARS_MAX) or ""
        ref, amount, accept = note_of(fields, "providerRef", TEXT_CHARS_MAX), body.get("amount"), body.get("acceptAmount")
        if decision not in (*OF_CHARGE, *OF_OPERATION):
            fields.bad("decision", f"must be one of {', '.join((*OF_CHARGE, *OF_OPERATION))}")
        elif (decision in OF_OPERATION) != bool(operation):
            fields.bad("operationId", "and the decisions done and not-done belong together")
        elif decision != "charged" and (ref or amount is not None or accept is not None):
            fields.bad("decision", "is not charged: providerRef, amount and acceptAmount belong to that alone")
        if amount is not None and (type(amount) is not int or not 1 <= amount <= AMOUNT_MINOR_MAX):
            fields.bad("amount", f"must be an integer in minor units, 1 to {AMOUNT_MINOR_MAX}")
        if accept is not None and not isinstance(accept, bool):
            fields.bad("acceptAmount", "must be true or false")
        Query(request).check()
        fields.check()
        charge: dict[str, Any] = {"ref": ref, "amount": amount, "accept_amount": accept is True}
        p = await self._decided(request, decision, reason, operation=operation, **charge)
        return Answer(
            200, _encode(payment_body(p, await self.engine.details(p), await self.engine.action(p))), headers=NO_STORE
        )

    async def _decided(
        self, request: Request, decision: Any, reason: str, *, operation: str, ref: str, amount: int | None, accept_amount: bool
    ) -> Payment:
        scope, id = request.caller.scope, request.path_value("id")
        who = {"actor": request.actor, "request_id": request.request_id}
        try:
            if operation:
                return await self.engine.decide(scope, id, operation, decision, reason=reason, **who)
            return await self.engine.resolve(
                scope, id, decision, reason=reason, provider_ref=ref, amount_minor=amount, accept_amount=accept_amount, **who
            )
        except Refused as refused:  # the core's names of fields are not those of the body
            named = tuple(FieldError(_NAMES.get(e.field, e.field), e.rule) for e in refused.errors)
            raise Refused(refused.code, refused.detail.replace("provider_ref", "providerRef"), named) from None


def note_of(fields: Fields, name: str, chars_max: int = NOTE_CHARS_MAX) -> str:
    """Why, in one line of at most so many characters; "" when it was left out. ``fields`` collects what is wrong."""
    said = fields.text(name, chars_max)
    if said is not None and not said.strip():
        fields.bad(name, f"must say something, in at most {chars_max} characters")
    return (said or "").strip()
