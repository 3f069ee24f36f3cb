"""The story of a payment in plain words: a projection of its history, no new truth. Pure."""

from collections.abc import Sequence

from msgspec import Struct

from payonce.core.actors import read
from payonce.core.apply import apply
from payonce.core.attempts import ends_it
from payonce.core.events import Accepted, Asked, Entry, Envelope, Event, Hinted, Judged, Observed, Planned, Resolved
from payonce.core.money import display
from payonce.core.operations import operation, part_of
from payonce.core.outcome import Unknown
from payonce.core.payment import Attempt, Operation, Payment, Step
from payonce.core.redact import mask, without_cards
from payonce.core.verdict import declines, effective

from .outcomes import reason, told_outcome
from .upcoming import why_it_waits
from .wording import span

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

WAIT_SHOWN_US = 900_000


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
    waited_us: int
    note: str  # the reason that a person gave
    entry: Entry
    before: Payment | None
    after: Payment


def tell(entries: Sequence[Entry]) -> tuple[Payment | None, list[Line]]:
    """Fold the history and tell it line by line. Raises InvariantViolated for a history that is none."""
    p: Payment | None = None
    lines = []
    for entry in entries:
        before, p, env = p, apply(p, entry), entry.envelope
        waited = waited_us(before, env.at_us)
        lines.append(
            Line(
                seq=env.seq,
                at_us=env.at_us,
                actor=env.actor,
                kind=env.kind,
                where=_where(p, env.data),
                text=_told(p, env) + _because(env.data),
                status=p.status,
                changed=before is None or before.status != p.status,
                waited=f"{span(waited)} of waiting{why_it_waited(before)}" if before and waited else "",
                waited_us=waited,
                note=note_of(env.data),
                entry=entry,
                before=before,
                after=p,
            )
        )
    return p, lines


def note_of(event: Event) -> str:
    """The reason that a person gave for it, masked; or nothing."""
    match event:
        case Asked(note=said) | Hinted(note=said) | Resolved(reason=said):
            return mask(said)
        case _:
            return ""


def _because(event: Event) -> str:
    said = note_of(event) if isinstance(event, Asked | Hinted) else ""
    return f", because: {said}" if said else ""


def waited_us(before: Payment | None, at_us: int) -> int:
    """How long nothing happened, if that is worth a word."""
    gap = at_us - before.updated_us if before else 0
    return gap if gap > WAIT_SHOWN_US else 0


def why_it_waited(before: Payment) -> str:
    """Why nothing happened after this, with a colon before it; or nothing."""
    if any(s.outcome is None and s.lease_until_us > before.updated_us for s in before.steps()):
        return ": an answer was awaited"
    return why_it_waits(before, None).replace("; it waits", "").replace("; ", ": ")


def _where(p: Payment, event: Event) -> str:
    match event:
        case Planned(step=step):
            part = p.attempts[event.attempt]
            return f"{named(p, part, event.operation)} {step.kind}"
        case Observed(about=about):
            owner = part_of(p, about)
            if owner is None:
                return ""
            part_, step = owner
            if isinstance(part_, Operation):
                return f"{named(p, p.attempts[part_.attempt], part_.n)} {step.kind}"
            return f"{named(p, part_)} {step.kind}"
        case Hinted(attempt=n):
            return named(p, p.attempts[n])
        case Asked(kind="reversal", attempt=n, number=number):
            return named(p, p.attempts[n], number)
        case _:
            return ""


def named(p: Payment, a: Attempt, operation: int = 0) -> str:
    """An attempt, or an operation on one, as people call it."""
    if operation:
        kind = next((o.kind for o in p.operations if o.n == operation), "operation")
        return f"{kind} of attempt {a.n + 1} {a.account}"
    return f"attempt {a.n + 1} {a.account}"


def _told(p: Payment, env: Envelope) -> str:
    event, at_us = env.data, env.at_us
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
            return _hinted(event, env.actor)
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


def _hinted(event: Hinted, actor: str) -> str:
    """Who says that something may have happened. A person's word stands in ``note``."""
    about = f" ({event.ref})" if event.ref else ""
    match read(actor).who:
        case "webhook":
            return f"a webhook says something happened{about}: it will be read"
        case "return":
            return "the customer came back from the provider: it will be read"
        case "worker":
            return f"somebody says something happened{about}: it will be read"
        case _:
            return "a look at the provider is asked: it will be read at once"


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
