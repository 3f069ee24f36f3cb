"""The payment row in a search: the real core, asked once for each different question.

``extend``, ``plan``, ``weigh`` and ``dispatch.opened`` are pure, so an answer may be kept: rows are the same row when their
stored bytes are the same, but for what the core never looks into (the hash of the chain and the nonce of the owner).
Every new row is held against the rules that need no provider to be checked.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import msgspec
from msgspec.structs import replace

from payonce import dispatch, engine
from payonce.adapter import READS_MAX
from payonce.core import apply, ids, plan, verdict
from payonce.core.due import Call, Facts, Judge, Next, Reverse
from payonce.core.events import Accepted, Event, Judged, Observed, Planned
from payonce.core.idempotency import Details
from payonce.core.operations import part_of
from payonce.core.outcome import NO_EFFECT, AnyOutcome, Authorized, Found, Processing, Succeeded
from payonce.core.payment import FINAL, MONEY_STEPS, Attempt, Candidate, Payment, Step, StoredRequest
from payonce.testing import judge

from .vendors import AMOUNT_MINOR, CURRENCY, PAYMENT_ID, SECOND_US, SPAN_S, TERMS, WINDOW_S, Kind, Request

START_US = 1_000_000 * SECOND_US
ATTEMPTS_MAX = 2
SETTLED = (*FINAL, "IN_DOUBT")


class _Broken(Exception):
    """A rule does not hold."""


class Row:
    """One payment row. ``settled``: nothing more is owed to the merchant."""

    __slots__ = ("calls", "dues", "n", "open", "p", "seen", "settled")

    def __init__(self, n: int, p: Payment) -> None:
        self.n, self.p = n, p
        self.settled = p.status in SETTLED
        self.open = {s.seq: s.kind for s in p.steps() if s.outcome is None}
        self.dues: dict[int, Next] = {}
        self.calls: dict[int, Claim] = {}
        self.seen: dict[tuple[int, AnyOutcome, int], Row | None] = {}


class Claim(NamedTuple):
    """What a worker that has read a row will write and then send. ``request`` None: a judgement, nothing is sent."""

    after: Row
    request: Request | None
    send_by_us: int
    what: str


class _Name(NamedTuple):
    name: str


class Rows:
    """All rows of one search, each once."""

    def __init__(self, kinds: tuple[Kind, Kind]) -> None:
        self.kinds, self.all = kinds, list[Row]()
        self.names = tuple(f"{kind}{n + 1}" for n, kind in enumerate(kinds))
        self._by_bytes: dict[bytes, Row] = {}
        self._encode = msgspec.msgpack.Encoder().encode
        self.accounts = [self._account(name, kind) for name, kind in zip(self.names, kinds, strict=True)]
        self.facts = Facts(
            route=tuple(Candidate(account=name, why="in order") for name in self.names),
            settle_s=max(TERMS[kind].settle_s for kind in kinds),
        )

    def _account(self, name: str, kind: Kind) -> dispatch.Account:
        where = {"mode": "test", "base_url": f"https://{name}.test", "credential_id": "c", "credentials": None}
        return dispatch.Account(name=name, adapter=cast("Any", _Name(kind)), terms=TERMS[kind], **cast("Any", where))

    def first(self) -> Row:
        """Accepted, nothing tried yet."""
        accepted = Accepted(
            payment_id=PAYMENT_ID,
            merchant_id="mer_default",
            mode="test",
            operation_id=ids.operation_id(PAYMENT_ID, 1, START_US),
            amount_minor=AMOUNT_MINOR,
            currency=CURRENCY,
            idempotency_key="k",
            details_sha256="",
            late_success="refund",
            attempts_max=ATTEMPTS_MAX,
        )
        return self._row(None, accepted, START_US)

    def due(self, row: Row, now_us: int) -> Next:
        """What ``plan`` says; and that its due time leads to an action. Raises _Broken."""
        found = row.dues.get(now_us)
        if found is None:
            found = plan.plan(row.p, now_us, self.facts)
            self._leads_on(row.p, now_us, found)
            row.dues[now_us] = found
        return found

    def _leads_on(self, p: Payment, now_us: int, due: Next) -> None:
        if due.at_us is None:
            _require(p.status in SETTLED, f"{p.status}, and nothing is ever due again")
            return
        then = max(due.at_us, now_us)
        again = plan.plan(p, then, self.facts)
        leads = due.do is not None and again.do is not None and again.at_us is not None and again.at_us <= then
        _require(leads, f"the due time leads to nothing: due {due}, and then {again}")

    def claim(self, row: Row, now_us: int) -> Claim:
        """As the engine does it: ``_act`` and the first half of ``_call``. Raises _Broken and InvariantViolated."""
        known = row.calls.get(now_us)
        if known is None:
            known = row.calls[now_us] = self._claim(row, now_us)
        return known

    def _claim(self, row: Row, now_us: int) -> Claim:
        do = self.due(row, now_us).do
        if isinstance(do, Judge):
            judged = Judged(what=do.what, reason=do.reason, attempt=do.attempt, operation=do.operation)
            return Claim(self._row(row.p, judged, now_us), None, 0, f"{do.what} ({do.reason})")
        _require(not isinstance(do, Reverse), "a charge has to be given back, although every provider was honest")
        assert isinstance(do, Call)
        p, n = row.p, self.names.index(do.account)
        call, opened = dispatch.opened(p, do, self.accounts[n], self.facts, now_us)
        intent = dispatch.intent(p, call, Details(), opened)
        terms = opened.terms if opened else p.attempts[call.attempt].terms
        window = engine.SEND_WINDOW_MS * 1000
        calls = READS_MAX if call.kind == "read" and terms.container else 1
        lease_us = window + (calls * terms.call_timeout_ms + engine.LEASE_MARGIN_MS) * 1000
        step = Step(
            seq=p.version + 1,
            kind=call.kind,
            owner="",
            at_us=now_us,
            send_by_us=now_us + window,
            lease_until_us=now_us + lease_us,
            key=intent.key,
            request=None if call.kind == "read" else self._stored(n, dispatch.SENT_AS.get(call.kind, call.kind)),
        )
        route = () if p.route else self.facts.route
        planned = Planned(step=step, attempt=call.attempt, operation=call.operation, opens=opened, route=route)
        request = Request(n, call.attempt, call.kind, *_named(intent.container, intent.provider_ref, call.kind))
        if self.kinds[n] == "keyed" and call.kind != "read":
            request = request._replace(lapses_us=now_us + (WINDOW_S - SPAN_S) * SECOND_US)
        return Claim(self._row(p, planned, now_us), request, step.send_by_us, f"{call.kind} at {do.account}")

    def _stored(self, n: int, kind: str) -> StoredRequest:
        where = self.accounts[n]
        at = {"account": where.name, "mode": "test", "credential_id": "c", "base_url": where.base_url, "api_version": ""}
        return StoredRequest(method="POST", path=f"/{kind}", **cast("Any", at))

    def observed(self, row: Row, seq: int, outcome: AnyOutcome, now_us: int) -> Row | None:
        """As ``_record`` does it: the answer on the newest row; None when the first outcome of the step stands."""
        asked = (seq, outcome, now_us)
        if asked not in row.seen:
            owner = part_of(row.p, seq)
            _require(owner is not None, f"an answer to step {seq}, which is not on record")
            assert owner is not None
            if owner[1].outcome is not None:
                row.seen[asked] = None
            else:
                weighed = verdict.weigh(row.p, owner[0], owner[1], outcome)
                row.seen[asked] = self._row(row.p, Observed(about=seq, outcome=weighed), now_us)
        return row.seen[asked]

    def _row(self, p: Payment | None, event: Event, now_us: int) -> Row:
        if p is not None:
            for rule in _forbidden(p, event):
                raise _Broken(rule)
        after, _ = apply.extend(p, [event], at_us=now_us, actor="worker")
        after = _plain(after)
        raw = self._encode(after)
        row = self._by_bytes.get(raw)
        if row is None:
            row = self._by_bytes[raw] = Row(len(self.all), after)
            self.all.append(row)
        return row


def _plain(p: Payment) -> Payment:
    """Without what no rule of the core looks at: the hash of the chain, and when a step that moves nothing and is not
    the last one was answered."""
    attempts = []
    for a in p.attempts:
        old = [s for s in a.steps[:-1] if s.seen_at_us and s.kind in ("read", "create", "close")]
        steps = tuple(replace(s, seen_at_us=0) if s in old else s for s in a.steps) if old else a.steps
        attempts.append(replace(a, steps=steps))
    return replace(p, head="", attempts=tuple(attempts))


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise _Broken(rule)


def _named(container: str, ref: str, kind: str) -> tuple[int, int]:
    """The box and the try that a request names."""
    if kind == "capture":
        box, _, trial = ref.removeprefix("try").partition(".")
        return int(box), int(trial)
    return int(container.removeprefix("box") or -1), -1


def _forbidden(p: Payment, event: Event) -> Iterator[str]:
    """What the rules forbid whatever the providers do, told a second time (``judge``), not asked of the core."""
    if isinstance(event, Judged) and event.what in ("FAILED", "CANCELED"):
        yield from (f"ends unpaid, but {why}" for a in p.attempts if (why := _alive(a)))
    if not isinstance(event, Planned) or event.operation:
        return
    if event.opens:
        yield from (f"goes on to {event.opens.account}, but {why}" for a in p.attempts if (why := _alive(a)))
    if event.step.kind not in MONEY_STEPS:
        return
    if p.winner is not None or p.status not in ("PENDING", "REQUIRES_ACTION"):
        yield f"a {event.step.kind} after the payment ended"
    if not event.opens:
        yield from _again(p.attempts[event.attempt], event.step)


def _alive(a: Attempt) -> str:
    """As the judge sees it. Of closable containers it asks more than the core: that a declined one is closed as well."""
    return "" if a.terms.closable else judge.still_alive(a)


def _again(a: Attempt, step: Step) -> Iterator[str]:
    """R5: a second fire or capture needs a read, begun when the first was over, that shows nothing open."""
    if step.kind == "capture" and a.left:
        yield "a capture of a hold that was left"
    if a.terms.container and not a.container:
        yield "a fire without the container that its kind has"
    if step.kind == "replay":
        first = next(s for s in a.steps if s.kind == "fire")
        if step.at_us >= first.at_us + a.terms.replay_span_s * SECOND_US:
            yield "a replay outside of the span"
        return
    shots = [s for s in a.steps if s.kind == step.kind and not isinstance(s.outcome, NO_EFFECT)]
    if not shots:
        return
    over_us = max(s.send_by_us for s in shots) + a.terms.processing_s * SECOND_US
    idle = [s for s in a.steps if s.seq > shots[-1].seq and s.at_us >= over_us and _shows_idle(s)]
    found = verdict.last_found(a)
    shown = found.outcome.tries if found and isinstance(found.outcome, Found) else ()
    if step.kind == "fire" and any(isinstance(t, Authorized) for t in shown):
        yield "a second fire although the first one is held"
    if not a.terms.container or not idle:
        yield f"a second {step.kind} without a read that shows the first one idle"


def _shows_idle(s: Step) -> bool:
    found = s.outcome
    busy = (Processing, Succeeded)
    return isinstance(found, Found) and found.container == "open" and not any(isinstance(t, busy) for t in found.tries)


def moments(row: Row, now_us: int) -> list[int]:
    """When ``plan`` may change its mind about what is overdue: the ends of horizon, settling and replay span."""
    p = row.p
    found = [p.created_us + TERMS["keyed"].settle_s * SECOND_US]
    for a in p.attempts:
        found.append(plan.horizon_us(a))
        if a.terms.keyed and verdict.effective(a):
            found.append(next((s.at_us for s in a.steps if s.kind == "fire"), 0) + a.terms.replay_span_s * SECOND_US)
    return [at for at in found if at > now_us]
