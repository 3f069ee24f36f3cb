"""The API's objects of a payment: pure projections, the same for HTTP, the Python API and ``--json``."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, cast

import msgspec

from payonce.adapter import Adapter, NextAction
from payonce.core.actors import for_merchants
from payonce.core.errors import DECLINES, REASONS
from payonce.core.events import Entry
from payonce.core.idempotency import Details
from payonce.core.ids import event_id
from payonce.core.operations import refund_ref
from payonce.core.outcome import AnyOutcome, Declined, Found, Mismatch, NotSent, Rejected, Unknown, Unreadable
from payonce.core.payment import Operation, Payment
from payonce.core.redact import mask, masked, without_cards
from payonce.core.verdict import acting_until_us

from .bodies import (
    HistoryEntry,
    LastError,
    NextActionBody,
    OperationBody,
    OperationEntry,
    PaymentBody,
    RouteEntry,
    ShownMethod,
)

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MESSAGE_CHARS_MAX: Final = 300
TAIL_SHOWN_FROM: Final = 12  # shorter tokens show no tail: it would be too much of them
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)

Action = tuple[NextAction, int]  # what the customer has to do, and until when in microseconds (0 = nobody knows)


def payment_body(p: Payment, details: Details, action: Action | None = None) -> PaymentBody:
    """The payment as callers see it. ``action`` is what ``Engine.action`` says; lists go without."""
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
        reason=mask(p.reason) or None,
        attention=mask(p.attention) or None,
        rule=p.rule or None,
        route=[RouteEntry(c.account, c.taken, c.why) for c in p.route],
        client_id=without_cards(p.client_id) or None,
        payment_method=_shown_method(details),
        description=without_cards(details.description) or None,
        metadata=_shown_metadata(details),
        capture_method=p.capture_method,
        idempotency_key=p.idempotency_key,
        next_action=None if p.cancel_asked else _next_action(action),
        action_expires_at=_acting_until(p, action),
        authorized=p.authorized_minor,
        authorization_expires_at=stamp(p.authorization_expires_us) if p.status == "AUTHORIZED" else None,
        captured=p.captured_minor,
        refunded=p.refunded_minor,
        reversed=p.reversed_minor(),
        operations=[operation_entry(p, o) for o in p.operations],
        mode=p.mode,
        created_at=stamp(p.created_us),
        updated_at=stamp(p.updated_us),
    )


def operation_entry(p: Payment, o: Operation) -> OperationEntry:
    """One operation as callers see it."""
    return OperationEntry(**_of_operation(p, o))


def operation_body(p: Payment, o: Operation, details: Details, action: Action | None = None) -> OperationBody:
    """The operation with its payment, as it answers whoever asked for it."""
    return OperationBody(**_of_operation(p, o), payment=payment_body(p, details, action))


def _of_operation(p: Payment, o: Operation) -> dict[str, Any]:
    giving = o.kind in ("refund", "reversal")
    key = p.idempotency_key if o.n == 1 else o.idempotency_key
    return {
        "operation_id": o.id,
        "transaction_id": p.id,
        "kind": o.kind,
        "status": o.state,
        "amount": o.amount_minor,
        "currency": p.currency,
        "reason": mask(o.reason) or None,
        "reference": o.reference if giving else None,
        "provider_ref": (refund_ref(p, o) if giving else "") or None,
        "idempotency_key": key or None,
        "created_at": stamp(o.at_us),
    }


def _next_action(action: Action | None) -> NextActionBody | None:
    if action is None:
        return None
    todo, until_us = action
    return NextActionBody(
        type=todo.type,
        url=todo.url or None,
        method=todo.method,
        fields=dict(todo.fields),
        expires_at=stamp(until_us) if until_us else None,
    )


def _acting_until(p: Payment, action: Action | None) -> str | None:
    until_us = action[1] if action else acting_until_us(p.attempts[-1]) if p.status == "REQUIRES_ACTION" else None
    return stamp(until_us) if until_us else None


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
        if code == "hold_lapsed" and p.reason == "voided":
            message = "The hold was released, as asked."
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


def _shown_metadata(details: Details) -> dict[str, str | float | bool | None]:
    """As it was given. Card numbers are refused at the door; what an earlier version let in is not shown."""
    given = cast("dict[str, str | float | bool | None]", details.metadata)
    return {without_cards(n): without_cards(v) if isinstance(v, str) else v for n, v in given.items()} if given else given


def _shown_method(details: Details) -> ShownMethod | None:
    token, kind = details.payment_method, details.payment_method_type
    if not token and not kind:
        return None
    tail = token[-4:] if len(token) >= TAIL_SHOWN_FROM else ""
    shown = token if token.startswith("tok_") or not token else "****" + tail
    return ShownMethod(without_cards(kind) or None, without_cards(shown) or None)


def provider_body(adapter: Adapter | None, body: bytes) -> Any:
    """What people may see of a provider's webhook or answer, or of a request to it: the fields that its adapter names, masked;
    a JSON value where it is one. Without its adapter, nothing ("")."""
    shown = adapter.expose(body) if adapter is not None else b""
    try:
        return masked(msgspec.json.decode(shown))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return mask(shown.decode("utf-8", "replace"))


def history_entry(payment_id: str, entry: Entry) -> HistoryEntry:
    env = entry.envelope
    return HistoryEntry(
        id=event_id(payment_id, env.seq),
        seq=env.seq,
        at=stamp(env.at_us),
        actor=for_merchants(env.actor),
        request_id=env.request_id,
        kind=cast("Any", env.kind),
        data=masked(msgspec.json.decode(entry.raw)["data"]),
        hash=entry.hash,
        prev=env.prev,
    )


def stamp(at_us: int) -> str:
    """RFC 3339 in UTC with microseconds."""
    seconds, us = divmod(at_us, 1_000_000)
    return f"{_second(seconds)}.{us:06}Z"


@lru_cache(maxsize=1024)
def _second(since_1970: int) -> str:
    """Of the times that are shown many are of the same few seconds."""
    return (EPOCH + timedelta(seconds=since_1970)).isoformat().removesuffix("+00:00")


def moment(text: str) -> int:
    """An RFC 3339 time as microseconds since 1970, negative before it; what is finer is cut off. Raises ValueError."""
    if not _MOMENT.fullmatch(text):
        raise ValueError("not a time in the form of RFC 3339")
    return (datetime.fromisoformat(text.upper()) - EPOCH) // timedelta(microseconds=1)
