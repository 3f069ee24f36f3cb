"""What happens to a payment and why, line by line in plain words, short enough for a live view: a projection of its history.

``payonce show`` tells the whole story of one payment; here only what moves the payment on is told.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from payonce.core.apply import apply
from payonce.core.due import Block
from payonce.core.errors import REASONS
from payonce.core.events import Asked, Entry, Hinted, Judged, Observed, Planned, Resolved
from payonce.core.money import display
from payonce.core.operations import part_of
from payonce.core.outcome import Authorized, Declined, Found, Mismatch, Unknown
from payonce.core.payment import MONEY_STEPS, Attempt, Operation, Payment, Step
from payonce.core.verdict import declines, effective, evidence, held
from payonce.ports import Store
from payonce.storage import ReadStore

PAGE: Final = 1000
REASON_CHARS: Final = 40


class Told(Struct, frozen=True):
    """A line about a payment, as it was then."""

    payment: Payment
    text: str


class Stories:
    """Every payment that was looked at, and what was told of it last."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.payments: dict[str, Payment] = {}
        self.last: dict[str, str] = {}
        self.heard: set[str] = set()  # payments of which a webhook was told: the first one is enough

    async def look(self, payments: Iterable[Payment], shut: Mapping[str, Block]) -> list[Told]:
        """What is new of these payments, oldest first. ``shut`` are the accounts that take nothing new now."""
        news: list[tuple[int, Told]] = []
        for current in payments:
            p = self.payments.get(current.id)
            if not current.attempts and current.provider in shut and current.id not in self.last:
                text = f"the request names {current.provider}, so it waits: {shut[current.provider].why.partition(':')[0]}"
                news.append((current.updated_us, Told(current, text)))
                self.last[current.id] = text
            if p is not None and p.version >= current.version:
                continue
            for entry in await self.store.history(current.id, after_seq=p.version if p else 0, limit=PAGE):
                before, p = p, apply(p, entry)
                if (text := told(before, p, entry)) and not self._known(p.id, entry):
                    news.append((entry.envelope.at_us, Told(p, text)))
                    self.last[current.id] = text
            if p is not None:
                self.payments[current.id] = p
        return [line for _, line in sorted(news, key=lambda each: each[0])]

    def _known(self, payment_id: str, entry: Entry) -> bool:
        """One more webhook of a payment of which one was told."""
        if not isinstance(entry.envelope.data, Hinted):
            return False
        known = payment_id in self.heard
        self.heard.add(payment_id)
        return known


async def history(store: ReadStore, payment_id: str) -> list[Entry]:
    """The whole history, page by page."""
    entries: list[Entry] = []
    while page := await store.history(payment_id, after_seq=len(entries), limit=PAGE):
        entries += page
    return entries


def told(before: Payment | None, p: Payment, entry: Entry) -> str:
    """One event in plain words; empty for what only prepares the next one."""
    event = entry.envelope.data
    if before is None:
        return ""  # told with its route, a moment later
    match event:
        case Planned():
            return _planned(before, p, event)
        case Observed():
            return _observed(before, p, event)
        case Asked(kind="reversal"):
            a = p.attempts[event.attempt]
            what = "took it late, after it had ended unpaid" if before.winner is None else "took it too"
            return f"{a.account} {what}: it is being given back"
        case Asked():
            return _asked(before, event)
        case Hinted(attempt=n) if n == len(p.attempts) - 1 and _awaited(p):
            return f"a webhook of {p.attempts[n].account} arrives, so it is asked at once"
        case Judged():
            return _judged(p, event)
        case Resolved():
            return f"an operator decided: {event.verdict}"
    return ""


def _planned(before: Payment, p: Payment, event: Planned) -> str:
    if event.operation:
        return ""
    a = p.attempts[event.attempt]
    if event.opens is not None:
        return moved(before.attempts[-1], a) if before.attempts else routed(p, a)
    match event.step.kind:
        case "replay":
            return f"sent to {a.account} again under the same key, so it is charged once at most"
        case "fire" if _fired_before(before.attempts[event.attempt]):
            return f"{a.account} shows nothing: sent again into the same order, which takes one payment"
        case "close":
            return f"{a.account} is told to close the order, so that nothing gets into it"
    return ""


def _fired_before(a: Attempt) -> bool:
    return any(s.kind == "fire" for s in effective(a))


def routed(p: Payment, a: Attempt) -> str:
    """Which rule chose which account, and why not the one before it."""
    by = f"{'named by the request' if p.provider else f'rule {p.rule}' if p.rule else 'no rule'} -> {a.account}"
    first = next((c.account for c in p.route if c.taken), a.account)
    if first != a.account:
        return f"{by}, not {first}: {_shut(a.why, first)}"
    chosen, wanted = p.route[0], next((c for c in p.route if not c.taken), None)
    if wanted is None or not chosen.why.startswith("fallback"):
        return by
    return f"{by} ({wanted.account} {wanted.why})"


def _shut(why: str, account: str) -> str:
    """``circuit breaker open`` out of ``...; passed over: ACCOUNT (circuit breaker open: 8 of the last 10 calls ...)``."""
    return why.partition(f"{account} (")[2].partition(":")[0] or "it may not take it now"


def moved(left: Attempt, to: Attempt) -> str:
    """A failover; the engine begins it only when the attempt that is left is sealed."""
    where = f"again at {to.account}" if to.account == left.account else f"moved on to {to.account}"
    return f"{_no(left)}: {where}"


def _no(a: Attempt) -> str:
    said = declines(a)[-1] if declines(a) else None
    return f"{a.account} declined it ({_said(said)})" if said else f"{a.account} took nothing ({_trouble(a)})"


def _said(d: Declined) -> str:
    return f"{d.code}, {d.scope}{', final' if d.hard else ''}"


def _trouble(a: Attempt) -> str:
    """What its last call ended with."""
    reasons = [str(r) for s in a.steps if (r := getattr(s.outcome, "reason", ""))]
    return _short(reasons[-1]) if reasons else "nothing was sent"


def _observed(before: Payment, p: Payment, event: Observed) -> str:
    owner = part_of(p, event.about)
    if owner is None:
        return ""
    part, step = owner
    if text := next(
        (text for was, o in zip(before.operations[1:], p.operations[1:], strict=True) if (text := _done(p, was, o))), ""
    ):
        return text
    if isinstance(part, Operation):
        return ""
    if p.status != before.status or p.winner != before.winner:
        return _ended(p, part, step)
    return _answer(before, part, step)


def _asked(before: Payment, event: Asked) -> str:
    """What the merchant wants of it."""
    amount = display(event.amount_minor, before.currency)
    match event.kind:
        case "capture":
            return f"the merchant takes {amount} of the {display(before.authorized_minor, before.currency)} that are held"
        case "void":
            return "the merchant wants the hold given back"
        case _:
            return f"the merchant gives {amount} back"


def _awaited(p: Payment) -> bool:
    """Somebody waits for what the provider says."""
    waits = any(o.state == "PENDING" for o in p.operations[1:])
    return waits or p.status == "REQUIRES_ACTION" or (p.status == "PENDING" and lost(p.attempts[-1]))


def _done(p: Payment, was: Operation, o: Operation) -> str:
    """An operation that came to its end, or to another one."""
    if was.state == o.state:
        return ""
    account, amount = p.attempts[o.attempt].account, display(o.amount_minor, p.currency)
    match o.kind, o.state:
        case "capture", "SUCCEEDED":
            return f"{account} took {amount} of what it held" + (
                ", and the rest is free" if o.amount_minor < p.amount_minor else ""
            )
        case "void", "SUCCEEDED":
            return f"{account} gave the hold back: nothing was taken"
        case "refund", "SUCCEEDED":
            return f"{account} gave {amount} back, as asked"
        case "refund", "FAILED" if was.state == "SUCCEEDED":
            return f"{account}: the {amount} did not arrive and came back, so they can be given back again"
        case "reversal", "SUCCEEDED":
            return f"{account} gave {amount} back"
        case _:
            return f"{account}: the {o.kind} of {amount} is {o.state} ({REASONS.get(o.reason, o.reason)})"


def _ended(p: Payment, a: Attempt, step: Step) -> str:
    """An answer that changed the status."""
    if p.status == "AUTHORIZED":
        return f"{a.account} holds it: the merchant will take it, or not"
    if p.status == "REQUIRES_ACTION":
        return f"the customer has to act at {a.account}, and is told where"
    if p.status == "SUCCESS":
        if step.kind == "read":
            return (
                f"unknown resolved: {a.account} was asked, it was charged"
                if lost(a)
                else f"{a.account} was asked: it was charged"
            )
        if step.kind == "capture":
            return f"{a.account} held it, and we took it"
        return f"charged by {a.account}"
    if p.status == "IN_DOUBT":
        other = next((o for _, o in evidence(a) if isinstance(o, Mismatch)), None)
        if other is not None:
            return (
                f"{a.account} took {display(other.amount_minor, other.currency)} instead: not ours to guess, it waits for you"
            )
    return f"{a.account}: {REASONS.get(p.reason, p.reason) or p.status}"


def _answer(before: Payment, a: Attempt, step: Step) -> str:
    """An answer that left the status as it was."""
    match step.outcome:
        case Unknown() if step.kind in MONEY_STEPS:
            return f"unknown: {a.account} gave no clear answer ({_short(step.outcome.reason)}), so it is asked"
        case Unknown() if step.kind == "create":
            return f"{a.account} gave no clear answer to the order, so it is looked up"
        case Found() if a.left and _holds(a, step) and not _held_before(before, a):
            return f"{a.account} holds it late: never captured, so the hold lapses and no money moves"
        case Found() if lost(a) and held(a) and not _held_before(before, a):
            return f"unknown resolved: {a.account} was asked, it holds the money, we take it"
    return ""


def lost(a: Attempt) -> bool:
    """A charge or capture was sent there and no usable answer came; what was left is not counted, nobody had to know."""
    return not a.left and any(s.kind in MONEY_STEPS and (s.outcome is None or isinstance(s.outcome, Unknown)) for s in a.steps)


def _short(reason: str) -> str:
    """The beginning of a reason, for one line."""
    text = reason.partition(":")[0].partition(" while ")[0]
    return text if len(text) <= REASON_CHARS else text[: REASON_CHARS - 3] + "..."


def _holds(a: Attempt, step: Step) -> bool:
    return any(isinstance(o, Authorized) for s, o in evidence(a) if s.seq == step.seq)


def _held_before(before: Payment, a: Attempt) -> bool:
    return any(isinstance(o, Authorized) for _, o in evidence(before.attempts[a.n]))


def _judged(p: Payment, event: Judged) -> str:
    a = p.attempts[event.attempt] if p.attempts else None
    match event.what:
        case "left":
            return f"{a.account} may still hold it: never captured by us, so a hold lapses" if a else ""
        case "FAILED" | "CANCELED":
            return f"{_no(p.attempts[-1])}" if p.attempts else REASONS.get(event.reason, event.reason)
        case "IN_DOUBT" | "attention":
            return REASONS.get(event.reason, event.reason)
    return f"{event.what.removeprefix('operation_')}: {REASONS.get(event.reason, event.reason)}"
