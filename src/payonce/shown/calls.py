"""Each call of a payment to a provider, with what was asked and what was understood of the answer, as people may see it. Pure.

Requests lie beside the history and may be erased; answers are not kept as they came, their meaning is in the history."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from payonce.adapter import Adapter
from payonce.core.outcome import (
    AnyOutcome,
    Authorized,
    Captured,
    Closed,
    Created,
    Declined,
    Found,
    Mismatch,
    NotSent,
    Refunded,
    RefundFailed,
    Rejected,
    RequiresAction,
    Succeeded,
    Unknown,
    Unreadable,
    Voided,
)
from payonce.core.payment import Attempt, Operation, Payment, Step, StoredRequest
from payonce.core.redact import mask, masked, without

from .story_bodies import StoryCall, Tone
from .views import provider_body

ERASED: Final = "not kept any more"
UNREADABLE: Final = "not shown: its account or adapter is not in this configuration"

_GOOD: Final = (Succeeded, Authorized, Captured, Refunded, Voided, Created, Closed)
_BAD: Final = (Declined, Rejected, NotSent, RefundFailed)
_OPEN: Final = (Unknown, Unreadable, Mismatch)


class Beside(Struct, frozen=True, kw_only=True):
    """What lies beside the history: stored requests by their digest, the adapters that can read them by account, and what must
    not be shown in them: credentials and the customer's token."""

    bodies: Mapping[str, bytes] = {}
    adapters: Mapping[str, Adapter] = {}
    secrets: tuple[object, ...] = ()


def requests_of(p: Payment) -> list[str]:
    """The digests of all requests on record."""
    return list(dict.fromkeys(s.request.body_sha256 for s in p.steps() if s.request and s.request.body_sha256))


def calls_of(p: Payment, beside: Beside, now_us: int) -> dict[int, StoryCall]:
    """Every call, by the seq of the event that put it on record. A step of the newest status of the payment has its answer."""
    return {s.seq: _call(p, part, s, beside, now_us) for part in p.parts() for s in part.steps}


def _call(p: Payment, part: Attempt | Operation, step: Step, beside: Beside, now_us: int) -> StoryCall:
    a = part if isinstance(part, Attempt) else p.attempts[part.attempt]
    asked, answer = step.request, step.outcome
    return StoryCall(
        attempt=a.n + 1,
        operation=part.n if isinstance(part, Operation) else None,
        kind=step.kind,
        account=a.account,
        method=asked.method if asked else None,
        url=mask(asked.base_url + asked.path) if asked else None,
        request=_request(asked, a, beside) if asked and asked.body_sha256 else None,
        answer=None if answer is None else masked(msgspec.to_builtins(answer)),
        outcome=word(step, now_us),
        took_ms=None if answer is None else max(0, step.seen_at_us - step.at_us) // 1000,
    )


def word(step: Step, now_us: int) -> str:
    """How a call ended, in a word: the kind of its outcome."""
    if step.outcome is None:
        return "Waiting" if step.lease_until_us > now_us else "NoAnswer"
    return type(step.outcome).__name__


def tone_of(outcome: AnyOutcome | None) -> Tone:
    """How an answer is coloured; never the only thing that tells it."""
    if isinstance(outcome, Found):
        return _found(outcome)
    if outcome is None or isinstance(outcome, _OPEN):
        return "unknown"
    if isinstance(outcome, RequiresAction):
        return "wait"
    return "ok" if isinstance(outcome, _GOOD) else "bad" if isinstance(outcome, _BAD) else "neutral"


def _found(found: Found) -> Tone:
    seen = [*found.tries, *found.refunds]
    for kinds, tone in ((_OPEN, "unknown"), (_GOOD, "ok"), (_BAD, "bad")):
        if any(isinstance(each, kinds) for each in seen):
            return tone  # type: ignore[return-value]
    return "neutral"


def _request(asked: StoredRequest, a: Attempt, beside: Beside) -> Any:
    body, adapter = beside.bodies.get(asked.body_sha256), beside.adapters.get(a.account)
    if body is None:
        return ERASED
    if adapter is None or adapter.name != a.adapter:
        return UNREADABLE
    return provider_body(adapter, without(body, *beside.secrets))
