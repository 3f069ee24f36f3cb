"""The story of a payment in plain words: a projection of its history, no new truth. Pure."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from payonce.core.apply import apply
from payonce.core.attempts import ends_it
from payonce.core.due import Block, Call, Judge, Next, Reverse
from payonce.core.errors import DECLINES, REASONS
from payonce.core.events import Accepted, Asked, Entry, Event, Hinted, Judged, Observed, Planned, Resolved
from payonce.core.money import display
from payonce.core.operations import UNSETTLED, excluding, operation, part_of
from payonce.core.outcome import (
    Absent,
    AnyOutcome,
    Authorized,
    Captured,
    Closed,
    Created,
    Declined,
    Found,
    Mismatch,
    NotSent,
    Processing,
    Refunded,
    RefundFailed,
    Refunding,
    Rejected,
    RequiresAction,
    Succeeded,
    Unknown,
    Unreadable,
    Voided,
)
from payonce.core.payment import FINAL, Attempt, Operation, Payment, Step
from payonce.core.redact import mask, without_cards
from payonce.core.verdict import declines, effective, unresolved, verdict

from .output import relative, span, stamp

_SENDS = {
    "create": "an order is created at {}",
    "fire": "the charge is sent to {}",
    "replay": "the same charge is sent to {} again, under the same key: it can only be charged once",
    "read": "{} is asked what happened",
    "close": "{} is told to close it, so that nothing can be charged any more",
    "capture": "{} is told to take the held money",
    "void": "{} is told to release the held money",
    "refund": "{} is told to give the money back",
}
_DUE = {
    "create": "create an order at {}",
    "fire": "send the charge to {}",
    "replay": "send the same charge to {} again, under the same key",
    "read": "ask {} what happened",
    "close": "close it at {}",
    "capture": "take the held money at {}",
    "void": "release the held money at {}",
    "refund": "give the money back at {}",
}


WAIT_SHOWN_US = 900_000
SHOWN_CHARS = 24


class Line(Struct, frozen=True, kw_only=True):
    """One event, told. ``status`` is the payment's status after it; ``changed`` when the event changed it."""

    seq: int
    at_us: int
    actor: str
    kind: str
    where: str  # attempt, account and step, or nothing
    text: str
    status: str
    changed: bool
    waited: str  # how long nothing happened before it, and why; empty when it went on at once


def tell(entries: Sequence[Entry]) -> tuple[Payment | None, list[Line]]:
    """Fold the history and tell it line by line. Raises InvariantViolated for a history that is none."""
    p: Payment | None = None
    lines = []
    for entry in entries:
        before, p, env = p, apply(p, entry), entry.envelope
        lines.append(
            Line(
                seq=env.seq,
                at_us=env.at_us,
                actor=env.actor,
                kind=env.kind,
                where=_where(p, env.data),
                text=_told(p, env.data, env.at_us),
                status=p.status,
                changed=before is None or before.status != p.status,
                waited=_waited(before, env.at_us),
            )
        )
    return p, lines


def _waited(before: Payment | None, at_us: int) -> str:
    if before is None or at_us - before.updated_us <= WAIT_SHOWN_US:
        return ""
    asked = any(s.outcome is None and s.lease_until_us > before.updated_us for s in before.steps())
    why = ": an answer was awaited" if asked else _why(before, None).replace("; it waits", "").replace("; ", ": ")
    return f"{span(at_us - before.updated_us)} of waiting{why}"


def _where(p: Payment, event: Event) -> str:
    match event:
        case Planned(step=step):
            part = p.attempts[event.attempt]
            return f"{_part(p, part, event.operation)} {step.kind}"
        case Observed(about=about):
            owner = part_of(p, about)
            if owner is None:
                return ""
            part_, step = owner
            if isinstance(part_, Operation):
                return f"{_part(p, p.attempts[part_.attempt], part_.n)} {step.kind}"
            return f"{_part(p, part_)} {step.kind}"
        case Hinted(attempt=n):
            return _part(p, p.attempts[n])
        case Asked(kind="reversal", attempt=n, number=number):
            return _part(p, p.attempts[n], number)
        case _:
            return ""


def _part(p: Payment, a: Attempt, operation: int = 0) -> str:
    if operation:
        kind = next((o.kind for o in p.operations if o.n == operation), "operation")
        return f"{kind} of attempt {a.n + 1} {a.account}"
    return f"attempt {a.n + 1} {a.account}"


def _told(p: Payment, event: Event, at_us: int) -> str:
    match event:
        case Accepted():
            wish = f", to go to {event.provider}" if event.provider else ""
            client = f" for {without_cards(event.client_id)}" if event.client_id else ""
            return f"accepted: {display(event.amount_minor, event.currency)}{client}{wish}, {event.mode} mode"
        case Planned():
            a = p.attempts[event.attempt]
            told = _SENDS[event.step.kind].format(a.account) + (f" ({a.why})" if event.opens and a.why else "")
            return told + _how_much(p, event.operation, event.step)
        case Observed():
            owner = part_of(p, event.about)
            step = owner[1] if owner else None
            after = f" after {span(at_us - step.at_us)}" if step else ""
            if step is not None and step.kind == "create" and isinstance(event.outcome, Unknown):
                why = mask(event.outcome.reason)
                return f"no usable answer: an order may exist there, but no charge was sent ({why}){after}"
            return told_outcome(event.outcome, reading=step is not None and step.kind == "read") + after
        case Hinted():
            return "somebody says something happened" + (f" ({event.ref})" if event.ref else "") + ": it will be read"
        case Asked(kind="cancel"):
            return "a cancel is asked"
        case Asked(kind="void"):
            return f"a void is asked ({event.operation_id}): the hold is to be given back, or nothing is to be taken"
        case Asked(kind="capture" | "refund"):
            return f"a {event.kind} of {display(event.amount_minor, p.currency)} is asked ({event.operation_id})"
        case Asked():
            return f"{display(event.amount_minor, p.currency)} has to be given back: {reason(event.reason)}"
        case Judged():
            return _judged(p, event)
        case Resolved() if event.operation:
            o = operation(p, event.operation)
            return f"an operator decided: the {o.kind} ({o.id}) was {event.verdict}, because: {mask(event.reason)}"
        case Resolved():
            amount = f", {display(event.amount_minor, p.currency)} as {event.provider_ref}" if event.provider_ref else ""
            return f"an operator decided: {event.verdict}{amount}, because: {mask(event.reason)}"


def _how_much(p: Payment, number: int, step: Step) -> str:
    """The amount of an operation that works on a part."""
    if not number or step.kind not in ("capture", "refund"):
        return ""
    return f": {display(operation(p, number).amount_minor, p.currency)}"


def _judged(p: Payment, event: Judged) -> str:
    match event.what:
        case "left":
            return f"decided never to take the held money of attempt {event.attempt + 1}"
        case "attention":
            return f"needs eyes: {reason(event.reason)}"
        case "operation_FAILED" | "operation_IN_DOUBT":
            o = operation(p, event.operation)
            return f"the {o.kind} ({o.id}) is {event.what.removeprefix('operation_')}: {reason(event.reason)}"
        case "FAILED":
            return f"FAILED: {reason(event.reason)}{_why_no_further(p)}"
        case _:
            return f"{event.what}: {reason(event.reason)}"


def _why_no_further(p: Payment) -> str:
    """Why no other account was tried, or not this one again."""
    said = declines(p.attempts[-1])[-1] if p.attempts and declines(p.attempts[-1]) else None
    if said is None:
        return ""
    if ends_it(said):
        return "; no other account would help"
    if sum(1 for a in p.attempts if effective(a)) >= p.attempts_max:
        return f"; all {p.attempts_max} attempts are used (payments.attempts_max)"
    return "; no account of the route is left"


def reason(code: str) -> str:
    """A reason or decline code with its meaning."""
    meaning = REASONS.get(code) or DECLINES.get(code)
    return f"{code} ({meaning.split('. ')[0].rstrip('.')})" if meaning else mask(code)


def told_outcome(o: AnyOutcome, *, reading: bool = False) -> str:
    """An answer in plain words."""
    match o:
        case Succeeded():
            back = f", {display(o.refunded_minor, o.currency)} of it given back" if o.refunded_minor else ""
            return f"charged {display(o.amount_minor, o.currency)} ({o.ref}){back}"
        case Authorized():
            until = f", until {stamp(o.expires_at_us)}" if o.expires_at_us else ""
            return f"{display(o.amount_minor, o.currency)} is held, not taken ({o.ref}{until})"
        case Refunding() | RefundFailed():
            done = "is giving back" if isinstance(o, Refunding) else "could not give back"
            return f"{done} {display(o.amount_minor, o.currency)} ({o.ref})"
        case Captured():
            return f"took the held {display(o.amount_minor, o.currency)} ({o.ref})"
        case Mismatch():
            return f"a good answer with another {' and '.join(o.differs)}: {display(o.amount_minor, o.currency)} ({o.ref})"
        case Declined():
            final = "final" if o.hard else "it ends the payment" if ends_it(o) else "another attempt may follow"
            later = ", may still turn into a success" if o.flips_until_us is not None else ""
            return f"declined: {o.code} ({final}{later})"
        case Rejected():
            return f"refused, not executed: {mask(o.reason)}"
        case NotSent():
            return f"nothing was sent: {mask(o.reason)}"
        case Processing():
            return "they have it, not final yet"
        case RequiresAction():
            return "the customer has to act at the provider" + (f" (until {stamp(o.expires_at_us)})" if o.expires_at_us else "")
        case Created():
            return f"created ({_shown(o.container)}); no money moved"
        case Closed():
            return f"closed ({_shown(o.container)})"
        case Refunded():
            return f"gave back {display(o.amount_minor, o.currency)} ({o.ref})"
        case Voided():
            return f"released the held money ({o.ref})"
        case Unknown():
            return f"no usable answer, it may or may not have happened: {mask(o.reason)}"
        case Found():
            shown = [told_outcome(each) for each in (*o.tries, *o.refunds)]
            return f"they show: {'; '.join(shown) or 'nothing was tried in it'}"
        case Absent():
            return "they show nothing of ours, which proves nothing" if reading else "the answer was about another payment"
        case Unreadable():
            return f"it could not be read: {mask(o.reason)}"


def routed(p: Payment) -> list[str]:
    """Why this account, and why not another: the route as it was frozen at the first plan."""
    named = "the name in the request" if p.provider else "no rule"
    by = p.rule if p.rule.startswith("rule ") else f"rule {p.rule}" if p.rule else named
    taken = [f"{n}. {c.account}: {c.why}" for n, c in enumerate((c for c in p.route if c.taken), 1)]
    return [f"by {by}", *taken, *(f"not {c.account}: {c.why}" for c in p.route if not c.taken)] if p.route else []


def _shown(container: str) -> str:
    """Some vendors let whoever has the id of a container pay it: a long one is not shown whole."""
    return container if len(container) <= SHOWN_CHARS else f"{container[:12]}..."


def upcoming(
    due_us: int | None, next_: Next, p: Payment, now_us: int, *, missing: Sequence[str], blocked: Mapping[str, Block]
) -> str:
    """What is due next, when and why; empty when nothing is owed any more. ``due_us`` is the due index's word, what is
    done then is planned with the accounts that are here; ``missing`` are those that are not: then nothing is guessed."""
    if due_us is None:
        return ""
    when = "now" if due_us <= now_us else relative(due_us, now_us)
    if missing:
        these = f"account {missing[0]} is" if len(missing) == 1 else f"accounts {', '.join(missing)} are"
        return f"a worker looks at it, {when}; the {these} not in this configuration, so what it will do is not known here"
    match next_.do:
        case Call() as call:
            what = _DUE[call.kind].format(call.account)
        case Judge() as judge:
            what = f"conclude {judge.what}: {reason(judge.reason)}"
            if judge.operation:
                state = judge.what.removeprefix("operation_")
                what = f"conclude that the {operation(p, judge.operation).kind} is {state}: {reason(judge.reason)}"
        case Reverse():
            what = "give a surplus charge back"
        case None:
            what = "look at it again"
    if isinstance(next_.do, Call) and next_.do.kind in ("create", "fire") and (block := blocked.get(next_.do.account)):
        return f"{what}, {when}; it waits because nothing new goes to {next_.do.account}: {block.why}{_gives_up(p, now_us)}"
    leased = next((s for s in p.steps() if s.outcome is None and s.lease_until_us > now_us), None)
    waiting = f", unless the answer to the {leased.kind} now under way comes first" if leased else ""
    ends = _gives_up(p, now_us) if isinstance(next_.do, Call) and next_.do.kind in ("create", "fire") else ""
    return f"{what}, {when}{waiting}{_why(p, leased)}{ends}"


def _gives_up(p: Payment, now_us: int) -> str:
    """When a payment of which nothing was taken stops looking for an account."""
    if not p.attempts or any(unresolved(a) for a in p.attempts):
        return ""
    settle_by = p.created_us + p.attempts[0].terms.settle_s * 1_000_000
    return f"; it gives up {relative(settle_by, now_us)} (no_provider_available)" if settle_by > now_us else ""


def _why(p: Payment, leased: Step | None) -> str:
    if leased is not None or not p.attempts:
        return ""
    asked = next((o for o in p.operations[1:] if o.state in UNSETTLED and o.steps), None)
    match verdict(p.attempts[-1]):
        case _ if asked is not None:
            return f"; it waits because the {asked.kind} is not settled yet"
        case "UNKNOWN":
            return "; it waits because nobody knows yet whether the last send was charged"
        case _ if p.status == "AUTHORIZED" and excluding(p) is None:
            return "; it waits for a capture or a void"
        case "OPEN" if p.status == "REQUIRES_ACTION":
            return "; it waits for the customer"
        case "OPEN":
            return "; it waits because the provider is still working on it"
        case "NO" | "IDLE" if p.status == "PENDING":
            return "; nothing was taken so far"
        case _ if p.status in FINAL:
            return "; a final payment is still watched for late surprises"
        case _:
            return ""
