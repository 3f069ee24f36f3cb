"""A payment told by hand: events at chosen seconds, for tables of verdicts and plans."""

from typing import Any

from payonce.core import ids
from payonce.core.apply import extend
from payonce.core.due import Block, Facts, Next
from payonce.core.events import Accepted, Asked, Event, Hinted, Judged, Observed, Opened, Planned, Resolved
from payonce.core.operations import NewOperation, asking
from payonce.core.outcome import Absent, AnyOutcome, Authorized, Captured, Closed, Created, Declined, Found, Succeeded
from payonce.core.payment import Attempt, Candidate, Operation, Payment, Step, Terms
from payonce.core.plan import plan

from .vendors import S

T0 = 1_700_000_000 * S
PID = ids.new_id("pay_", T0, 7)
KEYED = Terms(keyed=True, replay_span_s=7200)
CLOSABLE = Terms(container=True, closable=True)
MANUAL = Terms(container=True, own_capture=True)
UNIQUE = Terms()
KEYLESS = Terms(readable=False)


class Story:
    """``Story(KEYED).fire(0).saw(soft(), 1)``: each call adds one event; times are seconds after accept."""

    def __init__(self, *terms: Terms, route: tuple[str, ...] = ("A", "B"), **accepted: Any) -> None:
        self.terms, self.opened = terms or (KEYED,), 0
        self.route = tuple(Candidate(account=name, why="test") for name in route)
        first: dict[str, Any] = {
            "payment_id": PID,
            "merchant_id": "mer_default",
            "mode": "test",
            "operation_id": ids.operation_id(PID, 1, T0),
            "amount_minor": 100,
            "currency": "INR",
            "idempotency_key": "k",
            "details_sha256": "",
            "late_success": "refund",
            "attempts_max": 3,
        }
        self.p, self.entries = extend(None, [Accepted(**{**first, **accepted})], at_us=T0, actor="test")

    def add(self, event: Event, at_s: float) -> "Story":
        self.p, more = extend(self.p, [event], at_us=T0 + int(at_s * S), actor="test")
        self.entries.extend(more)
        return self

    def step(self, kind: Any, at_s: float, *, opens: bool = False, operation: int = 0, attempt: int | None = None) -> "Story":
        at = T0 + int(at_s * S)
        n = self.opened if opens else max(self.opened - 1, 0)
        terms = self.terms[min(n, len(self.terms) - 1)]
        lease = at + 7 * S + terms.call_timeout_ms * 1000
        planned = Step(
            seq=self.p.version + 1, kind=kind, owner="me", at_us=at, send_by_us=at + 5 * S, lease_until_us=lease, key="k"
        )
        head = None
        if opens:
            account = self.route[min(n, len(self.route) - 1)].account
            head = Opened(
                n=n,
                account=account,
                adapter="fake",
                base_url="",
                credential_id="",
                reference=ids.reference(PID, 1, n),
                terms=terms,
                manual=self.p.capture_method == "manual",
                action_expires_us=at + self.p.action_s * S if self.p.action_s else 0,
            )
            self.opened += 1
        where = n if attempt is None else attempt
        return self.add(Planned(step=planned, attempt=where, operation=operation, opens=head, route=self.route), at_s)

    def fire(self, at_s: float, *, opens: bool | None = None) -> "Story":
        return self.step("fire", at_s, opens=not self.opened if opens is None else opens)

    def boxed(self, at_s: float) -> "Story":
        """A container exists for the next attempt."""
        return self.step("create", at_s, opens=True).saw(Created(container="box", reference=self.reference), at_s)

    def read(self, at_s: float, outcome: AnyOutcome, *, answered_s: float | None = None, **where: Any) -> "Story":
        return self.step("read", at_s, **where).saw(outcome, at_s if answered_s is None else answered_s)

    def saw(self, outcome: AnyOutcome, at_s: float, *, about: int | None = None) -> "Story":
        unanswered = [s for s in self.p.steps() if s.outcome is None]
        return self.add(Observed(about=about or max(s.seq for s in unanswered), outcome=outcome), at_s)

    def hint(self, at_s: float) -> "Story":
        return self.add(Hinted(attempt=self.a.n, ref="h"), at_s)

    def judge(self, what: Any, at_s: float, **more: Any) -> "Story":
        return self.add(Judged(**{"what": what, "reason": "test", **more}), at_s)

    def cancel(self, at_s: float) -> "Story":
        return self.add(Asked(kind="cancel"), at_s)

    def reversal(self, at_s: float, attempt: int) -> "Story":
        number = len(self.p.operations) + 1
        asked = Asked(
            kind="reversal",
            number=number,
            operation_id=f"op_{number}",
            amount_minor=100,
            attempt=attempt,
            reference=ids.reference(PID, number, attempt),
        )
        return self.add(asked, at_s)

    def ask(self, kind: Any, at_s: float, amount: int | None = None) -> "Story":
        """What a merchant asks, checked as the intake does it."""
        wanted = NewOperation(kind=kind, payment_id=PID, amount_minor=amount)
        return self.add(asking(self.p, wanted, f"key{self.p.version}", T0 + int(at_s * S), partial=True), at_s)

    @property
    def o(self) -> Operation:
        return self.p.operations[-1]

    def resolve(self, decision: Any, at_s: float, **more: Any) -> "Story":
        return self.add(Resolved(verdict=decision, reason="test", **more), at_s)

    @property
    def a(self) -> Attempt:
        return self.p.attempts[-1]

    @property
    def reference(self) -> str:
        return self.p.attempts[-1].reference if self.p.attempts else ids.reference(PID, 1, 0)

    def next(self, now_s: float, **facts: Any) -> Next:
        given = facts.pop("blocked", {})
        blocked = {n: Block("down", None if s is None else T0 + s * S, drained=s is None) for n, s in given.items()}
        return plan(self.p, T0 + int(now_s * S), Facts(route=self.route, blocked=blocked, **facts))

    def due(self, now_s: float, **facts: Any) -> tuple[float | None, str]:
        """(seconds after accept, what) in short words: ``read``, ``fire+`` (new attempt), ``Judge FAILED reason``."""
        n = self.next(now_s, **facts)
        do: Any = n.do
        name = type(do).__name__
        what = {
            "Call": lambda: do.kind + ("+" if do.opens else "") + (f" {do.account}" if do.opens else ""),
            "Judge": lambda: f"{do.what} {do.reason}",
            "Reverse": lambda: f"reverse {do.attempt}",
            "NoneType": lambda: "quiet",
        }[name]()
        return (None if n.at_us is None else round((n.at_us - T0) / S, 3)), what


def ref(n: int = 0, payment: Payment | None = None) -> str:
    return ids.reference(PID, 1, n)


def yes(n: int = 0, **other: Any) -> Succeeded:
    said: dict[str, Any] = {"amount_minor": 100, "currency": "INR", "mode": "test", **other}
    return Succeeded(ref=f"t{n}", reference=ref(n), **said)


def hold(n: int = 0) -> Authorized:
    return Authorized(ref=f"t{n}", reference=ref(n), amount_minor=100, currency="INR", mode="test")


def captured(n: int = 0) -> Captured:
    return Captured(ref=f"t{n}", reference=ref(n), amount_minor=100, currency="INR", mode="test")


def no(
    n: int = 0, *, code: str = "declined", hard: bool = False, scope: Any = "issuer", until_s: float | None = None
) -> Declined:
    flips = None if until_s is None else T0 + int(until_s * S)
    return Declined(code=code, hard=hard, scope=scope, ref=f"t{n}", reference=ref(n), flips_until_us=flips)


def found(*tries: Any, container: Any = "none", container_id: str = "", refunds: Any = ()) -> Found:
    return Found(tries=tries, container=container, container_id=container_id, refunds=refunds)


def closed() -> Closed:
    return Closed(container="box", reference=ref())


ABSENT = Absent()
