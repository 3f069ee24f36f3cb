"""POST /payments and the reads: HTTP in front of ``Engine.submit`` and the store, with no rule of its own about money."""

from datetime import timedelta
from typing import Any, Final, cast, get_args

import msgspec

from payonce.core.errors import DECLINES, REASONS, FieldError, Refused
from payonce.core.events import Entry
from payonce.core.idempotency import Details, normalise, parse_key
from payonce.core.ids import event_id
from payonce.core.money import EXPONENTS
from payonce.core.outcome import AnyOutcome, Declined, Found, Mismatch, NotSent, Rejected, Unknown, Unreadable
from payonce.core.payment import Payment, PaymentStatus
from payonce.core.redact import mask, masked
from payonce.engine import Engine
from payonce.ports import Filters, Page, Scope
from payonce.stores.rows import matches

from .bodies import History, HistoryEntry, LastError, PaymentBody, PaymentList, RouteEntry, ShownMethod
from .incoming import BODY_S, EPOCH, Query, Request, check_media_type, parse_object, read_body
from .problems import Answer

ACTOR: Final = "api"  # until callers authenticate
LIST_LIMIT, LIST_LIMIT_MAX = 20, 100
HISTORY_LIMIT, HISTORY_LIMIT_MAX = 100, 1000
AFTER_MAX: Final = 999_999_999
MESSAGE_CHARS_MAX: Final = 300
TAIL_SHOWN_FROM: Final = 12  # shorter tokens show no tail: it would be too much of them
STATUSES: Final = get_args(PaymentStatus)
LIST_QUERY: Final = (
    "status",
    "provider",
    "currency",
    "clientId",
    "idempotencyKey",
    "createdFrom",
    "createdBefore",
    "attention",
    "limit",
    "cursor",
)

_NO_STORE: Final = ((b"cache-control", b"no-store"),)
_encode: Any = msgspec.json.Encoder().encode


class Payments:
    """The handlers. ``scope`` is whose payments they see: handed in, never taken from a request."""

    def __init__(self, engine: Engine, scope: Scope, *, body_s: float = BODY_S) -> None:
        self.engine, self.scope, self.body_s = engine, scope, body_s

    async def create(self, request: Request) -> Answer:
        """Answered only after the durable commit. A known key answers with its payment as it is now."""
        check_media_type(request)
        body = parse_object(await read_body(request, self.body_s))
        keys = request.headers(b"idempotency-key")
        if len(keys) > 1:
            raise Refused("idempotency_key_invalid", "There is more than one Idempotency-Key header.")
        key = parse_key(keys[0] if keys else None, body.get("idempotencyKey"))
        Query(request).check()
        new = normalise(body)
        receipt = await self.engine.submit(self.scope, new, key, actor=ACTOR, request_id=request.request_id)
        p = receipt.payment
        headers = [*_NO_STORE, (b"location", f"{request.root}/payments/{p.id}".encode())]
        if receipt.replayed:
            headers.append((b"idempotent-replayed", b"true"))
        return Answer(202, _encode(payment_body(p, receipt.details)), headers=tuple(headers))

    async def get(self, request: Request) -> Answer:
        Query(request).check()
        p = await self.engine.find(self.scope, request.path_value("id"))
        return Answer(200, _encode(payment_body(p, await self.engine.details(p))), headers=_NO_STORE)

    async def list(self, request: Request) -> Answer:
        query = Query(request, LIST_QUERY)
        filters, limit, cursor = _filters(query), query.number("limit", 1, LIST_LIMIT_MAX, LIST_LIMIT), query.text("cursor")
        key = _key(query, cursor)
        query.check()
        try:
            page = await (self._of_key(key, filters) if key else self.engine.store.list(self.scope, filters, limit, cursor))
        except ValueError:
            rule = "is not a cursor of this listing"
            raise Refused("validation_failed", f"cursor {rule}.", (FieldError("cursor", rule),)) from None
        beside = await self.engine.store.bodies([(p.id, p.details_sha256) for p in page.payments])
        data = [payment_body(p, _details(beside.get((p.id, p.details_sha256)))) for p in page.payments]
        return Answer(200, _encode(PaymentList(data, page.next)), headers=_NO_STORE)

    async def _of_key(self, key: str, filters: Filters) -> Page:
        """The payment of a key, if the other filters let it through."""
        row = await self.engine.store.find_key(self.scope, key)
        p = await self.engine.store.get(row.payment_id) if row is not None else None
        return Page((p,) if p is not None and matches(p, filters) else (), None)

    async def history(self, request: Request) -> Answer:
        query = Query(request, ("after", "limit"))
        after, limit = query.number("after", 0, AFTER_MAX, 0), query.number("limit", 1, HISTORY_LIMIT_MAX, HISTORY_LIMIT)
        query.check()
        p = await self.engine.find(self.scope, request.path_value("id"))
        entries = await self.engine.store.history(p.id, after, limit + 1)
        more = entries[limit - 1].envelope.seq if len(entries) > limit else None
        return Answer(200, _encode(History([history_entry(p.id, e) for e in entries[:limit]], more)), headers=_NO_STORE)


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
        created_from_us=query.time_us("createdFrom"),
        created_before_us=query.time_us("createdBefore"),
        attention=query.choice("attention", ("true", "false"), "must be true or false") == "true",
    )


def payment_body(p: Payment, details: Details) -> PaymentBody:
    """The payment as callers see it. Pure."""
    account = p.attempts[-1 if p.winner is None else p.winner].account if p.attempts else None
    return PaymentBody(
        transaction_id=p.id,
        status=p.status,
        amount=p.amount_minor,
        currency=p.currency,
        attempts=len(p.attempts),
        provider=account,
        provider_ref=p.provider_ref or None,
        last_error=last_error(p),
        reason=p.reason or None,
        attention=p.attention or None,
        rule=p.rule or None,
        route=[RouteEntry(c.account, c.taken, c.why) for c in p.route],
        client_id=p.client_id or None,
        payment_method=_shown_method(details),
        description=details.description or None,
        metadata=cast("dict[str, str | float | bool | None]", details.metadata),
        capture_method=p.capture_method,
        idempotency_key=p.idempotency_key,
        captured=p.captured_minor,
        refunded=p.refunded_minor,
        reversed=p.reversed_minor(),
        mode=p.mode,
        created_at=stamp(p.created_us),
        updated_at=stamp(p.updated_us),
    )


def last_error(p: Payment) -> LastError | None:
    """The youngest decline, rejection or unknown outcome of the charge, else the reason of the status."""
    charging = sorted((s for a in p.attempts for s in a.steps), key=lambda s: s.seq)
    told = [(each, s.seen_at_us) for s in charging if (each := _told_by(s.outcome))]
    if told:
        (code, message, hard), at_us = told[-1]
        for each, earlier_us in reversed(told):  # seen again and again: since when
            if each[0] != code:
                break
            at_us = earlier_us
        return LastError(code=code, message=message, hard=hard, at=stamp(at_us))
    if not p.reason:
        return None
    message = REASONS.get(p.reason) or DECLINES.get(p.reason) or "Recorded by an operator."
    return LastError(code=mask(p.reason), message=message, hard=None, at=stamp(p.updated_us))


def _told_by(outcome: AnyOutcome | None) -> tuple[str, str, bool | None] | None:
    tries = outcome.tries[::-1] if isinstance(outcome, Found) else (outcome,)
    return next((told for each in tries if each is not None and (told := _told(each))), None)


def _told(outcome: AnyOutcome) -> tuple[str, str, bool | None] | None:
    match outcome:
        case Declined():
            return outcome.code, DECLINES.get(outcome.code, "The provider declined it."), outcome.hard
        case Mismatch():
            return "mismatch", REASONS["mismatch"], None
        case Rejected():
            return "rejected", _short(f"The provider did not execute it: {outcome.reason}"), None
        case NotSent():
            return "not_sent", _short(f"Nothing was sent: {outcome.reason}"), None
        case Unknown() | Unreadable():
            return "unknown_outcome", _short(f"The provider's answer is not known: {outcome.reason}"), None
        case _:
            return None


def _short(text: str) -> str:
    """A provider's words, without card numbers and secrets."""
    return mask(text)[:MESSAGE_CHARS_MAX]


def _shown_method(details: Details) -> ShownMethod | None:
    token, kind = details.payment_method, details.payment_method_type
    if not token and not kind:
        return None
    tail = token[-4:] if len(token) >= TAIL_SHOWN_FROM else ""
    shown = token if token.startswith("tok_") or not token else "****" + tail
    return ShownMethod(kind or None, shown or None)


def _details(raw: bytes | None) -> Details:
    """Customer data beside the chain; empty when it was erased."""
    return msgspec.json.decode(raw, type=Details) if raw else Details()


def history_entry(payment_id: str, entry: Entry) -> HistoryEntry:
    env = entry.envelope
    return HistoryEntry(
        id=event_id(payment_id, env.seq),
        seq=env.seq,
        at=stamp(env.at_us),
        actor=env.actor,
        request_id=env.request_id,
        kind=cast("Any", env.kind),
        data=masked(msgspec.json.decode(entry.raw)["data"]),
        hash=entry.hash,
        prev=env.prev,
    )


def stamp(at_us: int) -> str:
    """RFC 3339 in UTC with microseconds."""
    return (EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="microseconds").replace("+00:00", "Z")
