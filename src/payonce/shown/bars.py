"""The waterfall of a payment: its history as bars and points in rows, over the time since it was accepted. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from payonce.core.actors import read
from payonce.core.due import Call, Next
from payonce.core.events import Accepted, Asked, Hinted, Judged, Planned, Resolved
from payonce.core.operations import operation
from payonce.core.payment import Payment, Step
from payonce.core.redact import mask
from payonce.mail import Delivery, Webhook

from .calls import tone_of
from .outcomes import told_outcome
from .story import Line, named, why_it_waited
from .story_bodies import StoryBar, Tone
from .wording import span

PAYMENT: Final = "Payment"
WEBHOOKS: Final = "Webhooks"
DELIVERIES: Final = "Deliveries"
WEBHOOK_ID: Final = "wh_"  # a hint may name the webhook behind it
_JUDGED: Final[dict[str, Tone]] = {"FAILED": "bad", "CANCELED": "neutral", "left": "neutral", "operation_FAILED": "bad"}
_DELIVERED: Final[dict[str, Tone]] = {"delivered": "ok", "failed": "bad", "canceled": "neutral", "pending": "wait"}


class Heard(Struct, frozen=True, kw_only=True):
    """A webhook that led to a look: the hint it left, and the webhook itself where it is still known."""

    seq: int
    at_us: int
    account: str
    ref: str
    webhook: Webhook | None = None


def hints(lines: Sequence[Line]) -> list[Heard]:
    """Every webhook that left a hint; one that is about several attempts once."""
    found: dict[tuple[int, str, str], Heard] = {}
    for line in lines:
        event = line.entry.envelope.data
        if isinstance(event, Hinted) and read(line.actor).who == "webhook":
            account = line.after.attempts[event.attempt].account
            found.setdefault(
                (line.at_us, event.ref, account), Heard(seq=line.seq, at_us=line.at_us, account=account, ref=event.ref)
            )
    return list(found.values())


def bars_of(
    p: Payment,
    lines: Sequence[Line],
    now_us: int,
    *,
    due: str,
    next_: Next | None = None,
    heard: Iterable[Heard] = (),
    deliveries: Iterable[Delivery] = (),
) -> list[StoryBar]:
    """In the order of their beginning. ``due``: what comes next, in words; empty: nothing, so nothing is waited for."""
    scale = _Scale(p, now_us)
    found = [bar for line in lines for bar in (*scale.before(line), *scale.of(line))]
    found += [scale.heard(each) for each in heard]
    found += [scale.delivery(each) for each in deliveries]
    if due and not any(_under_way(s, now_us) for s in p.steps()):
        found.append(scale.waiting(due, next_))
    return sorted(found, key=lambda bar: bar.from_ms)


def _under_way(step: Step, now_us: int) -> bool:
    return step.outcome is None and step.lease_until_us > now_us


class _Scale(Struct, frozen=True):
    """Makes bars of a payment as it is now."""

    p: Payment
    now_us: int

    def _ms(self, at_us: int) -> int:
        return max(0, at_us - self.p.created_us) // 1000

    def _point(self, line: Line, row: str, kind: str, label: str, tone: Tone = "neutral") -> StoryBar:
        at = self._ms(line.at_us)
        return StoryBar(
            seq=line.seq,
            row=row,
            kind=kind,  # type: ignore[arg-type]
            label=label,
            from_ms=at,
            until_ms=at,
            tone=tone,
            text=line.text,
        )

    def _row(self, attempt: int, number: int) -> str:
        return f"{operation(self.p, number).kind} {number}" if number else named(self.p, self.p.attempts[attempt])

    def of(self, line: Line) -> Iterator[StoryBar]:
        """What one event shows of itself. An answer is the end of its call's bar."""
        event = line.entry.envelope.data
        match event:
            case Accepted():
                yield self._point(line, PAYMENT, "accept", "accepted")
            case Planned():
                yield self._call(line, event)
            case Hinted() if read(line.actor).who == "webhook":
                return  # shown by the webhook, which came before
            case Hinted():
                label = "customer back" if read(line.actor).who == "return" else "check"
                yield self._point(line, self._row(event.attempt, 0), "action", label)
            case Asked(kind="reversal"):
                yield self._point(line, self._row(0, event.number), "decision", "reversal")
            case Asked():
                yield self._point(line, self._row(0, event.number) if event.number else PAYMENT, "action", event.kind)
            case Judged():
                row = self._row(0, event.operation) if event.operation else PAYMENT
                label = event.what.removeprefix("operation_")
                yield self._point(line, row, "decision", label, _JUDGED.get(event.what, "unknown"))
            case Resolved():
                row = self._row(0, event.operation) if event.operation else PAYMENT
                yield self._point(line, row, "decision", event.verdict)
            case _:
                return

    def _call(self, line: Line, event: Planned) -> StoryBar:
        step = next(s for s in self.p.steps() if s.seq == line.seq)
        until, tone, said = self._ms(step.ended_us), tone_of(step.outcome), "no answer came in time: it is unknown"
        if step.outcome is not None:
            said = told_outcome(step.outcome, reading=step.kind == "read")
        open_ = _under_way(step, self.now_us)
        return StoryBar(
            seq=line.seq,
            row=self._row(event.attempt, event.operation),
            kind="call",
            label=step.kind,
            from_ms=self._ms(line.at_us),
            until_ms=None if open_ else max(until, self._ms(line.at_us)),
            tone="wait" if open_ else tone,
            text=f"{line.text}: " + ("its answer is awaited" if open_ else said),
        )

    def before(self, line: Line) -> Iterator[StoryBar]:
        """The wait before an event, from when nothing was under way any more."""
        if line.before is None or not line.waited_us:
            return
        leases = [s.lease_until_us for s in line.before.steps() if s.outcome is None]
        since = max(line.before.updated_us, *(us for us in leases if us < line.at_us), 0)
        if any(us >= line.at_us for us in leases) or since >= line.at_us:
            return
        row, event = PAYMENT, line.entry.envelope.data
        if isinstance(event, Planned):
            row = self._row(event.attempt, event.operation)
        yield StoryBar(
            seq=line.seq,
            row=row,
            kind="wait",
            label="wait",
            from_ms=self._ms(since),
            until_ms=self._ms(line.at_us),
            tone="wait",
            text=f"{span(line.at_us - since)} of waiting{why_it_waited(line.before)}",
        )

    def waiting(self, due: str, next_: Next | None) -> StoryBar:
        """What is waited for now."""
        do = next_.do if next_ else None
        row = self._row(do.attempt, do.operation) if isinstance(do, Call) and not do.opens else PAYMENT
        since = self._ms(max(self.p.updated_us, *(s.ended_us for s in self.p.steps() if s.ended_us <= self.now_us), 0))
        return StoryBar(seq=0, row=row, kind="wait", label="next", from_ms=since, until_ms=None, tone="wait", text=due)

    def heard(self, each: Heard) -> StoryBar:
        w = each.webhook
        at = self._ms(w.received_us if w else each.at_us)
        what = mask(w.kind) if w else "webhook"
        return StoryBar(
            seq=each.seq,
            row=WEBHOOKS,
            kind="webhook",
            label=what,
            from_ms=at,
            until_ms=at,
            tone="neutral",
            text=f"{each.account} sent {what}: a hint, which led to a look",
        )

    def delivery(self, d: Delivery) -> StoryBar:
        tries = "not sent yet" if not d.tries else f"{d.tries} {'try' if d.tries == 1 else 'tries'}"
        why = f": {mask(d.said)}" if d.said else ""
        return StoryBar(
            seq=d.seq,
            row=DELIVERIES,
            kind="delivery",
            label=d.type,
            from_ms=self._ms(d.created_us),
            until_ms=None if d.state == "pending" else self._ms(max(d.created_us, d.last_us)),
            tone=_DELIVERED[d.state],
            text=f"{d.type} to {d.endpoint_id}: {d.state}, {tries}{why}",
        )
