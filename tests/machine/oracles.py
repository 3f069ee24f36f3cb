"""What must hold: after every commit, at every first byte, and at the end against the vendors' own ledgers."""

from collections import Counter
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from payonce.adapter import READS_MAX
from payonce.core import ids
from payonce.core.apply import apply, fold
from payonce.core.due import Block
from payonce.core.events import Asked, Judged, Observed, Planned, Resolved, seal, unseal
from payonce.core.idempotency import Details
from payonce.core.outcome import Found, NotSent, Processing, Rejected, Succeeded
from payonce.core.payment import FINAL, Attempt, Payment, StoredRequest
from payonce.core.plan import plan
from payonce.core.verdict import verdict
from payonce.engine import SEND_WINDOW_MS, Engine
from payonce.health import Admitted
from payonce.ports import Change

from .vendors import HOUR, Move, S

if TYPE_CHECKING:
    from .world import World

LATE_US = (SEND_WINDOW_MS + 100) * 1000
MONEY = ("fire", "replay", "capture")
NEW = ("create", "fire")


@runtime_checkable
class Watched(Protocol):
    """The health of a worker of the world: it keeps the leaves that it gave."""

    leaves: dict[tuple[object, str], Admitted]

    def blocked(self, now_us: int) -> Mapping[str, Block]: ...


class Violation(AssertionError):
    """An oracle says no."""


def require(holds: bool, rule: str) -> None:
    if not holds:
        raise Violation(rule)


def check_commit(world: "World", engine: Engine, before: Payment | None, change: Change) -> None:
    """fold == row, bytes stable, the due time leads to an action, no money step that the rules forbid."""
    p = change.payment
    shadow = world.shadow.get(p.id)
    for entry in change.entries:
        again = unseal(entry.raw, entry.hash)
        env = again.envelope
        sealed = seal(env.data, seq=env.seq, at_us=env.at_us, actor=env.actor, request_id=env.request_id, prev=env.prev)
        require(sealed.raw == entry.raw, f"replay gives other bytes: {entry.raw!r} {sealed.raw!r}")
        if isinstance(env.data, Planned) and shadow is not None:
            world.claimed[p.id, env.seq] = world.now
            _check_planned(world, shadow, env.data)
        require(world.buggy or b"adapter bug" not in entry.raw, f"an exception in an adapter or transport: {entry.raw!r}")
        was = shadow.status if shadow else ""
        shadow = apply(shadow, again)
        world.transitions.add((was, env.kind, shadow.status))
    assert shadow is not None
    world.shadow[p.id] = shadow
    require(shadow == p, "the row is not the fold of its history")
    _check_route(before, p)
    if change.due_us is None:
        far = plan(p, world.now + 400 * 24 * HOUR, engine._facts(p, Details()))
        require(far.at_us is None, f"quiet now, but later due: {far}")
    else:
        at_us = max(change.due_us, engine.clock.now_us())
        before_that, blocked = engine._facts(p, Details()).blocked, engine.health.blocked(at_us) if engine.health else {}
        facts = engine.outside.facts(p, Details(), blocked, hold=engine.hold)
        due = plan(p, at_us, facts)
        overslept = change.due_us < at_us  # written by a sleeper: the next sweep acts or defers
        # who waits for an account looks again from time to time; one that is free by now may change what is due
        names = p.accounts or [c.account for c in facts.route if c.taken]
        waits = not facts.blocked.keys().isdisjoint(names) or before_that.keys() != facts.blocked.keys()
        late = (due.at_us is None or due.at_us > at_us) and not waits
        require(due.do is not None and (overslept or not late), f"due leads to nothing: due {change.due_us}, plan {due}")
    require(p.version < 3000, "the history grows without end")


def _check_route(before: Payment | None, p: Payment) -> None:
    """Frozen at the first plan; attempts go to what it has taken, and nowhere else."""
    if before is not None and before.route:
        require((p.rule, p.route) == (before.rule, before.route), "a frozen route has changed")
    strangers = {a.account for a in p.attempts} - {c.account for c in p.route if c.taken}
    require(not strangers, f"attempts outside of the route: {strangers}")


def check_claim(world: "World", engine: Engine, change: Change) -> None:
    """A new create or fire is claimed with leave of the worker's own health only, and never while that says blocked, but
    for the one call that tries the account. Asked when the commit begins: what happens meanwhile is in flight."""
    event = change.entries[-1].envelope.data
    if not isinstance(event, Planned) or event.step.kind not in NEW or event.operation:
        return
    health = engine.health
    assert isinstance(health, Watched)
    account = change.payment.attempts[event.attempt].account
    leave = health.leaves.get((world.task, account))
    require(leave is not None, f"{event.step.kind} at {account} without leave")
    assert leave is not None
    blocked = health.blocked(engine.clock.now_us()).get(account)
    require(blocked is None or leave.probe is not None, f"{event.step.kind} at {account}, which is blocked: {blocked}")


def _check_planned(world: "World", p: Payment, event: Planned) -> None:
    if event.step.kind == "create" and not event.opens:
        _check_create(p.attempts[event.attempt])
    if event.step.kind in MONEY:
        require(p.winner is None and not p.cancel_asked, "money step after a winner or a cancel")
        require(p.status in ("PENDING", "REQUIRES_ACTION"), f"money step in {p.status}")
        require(event.step.kind != "fire" or _boxed(p, event), "a fire without the container that its kind has")
        require(not event.opens or all(a.left or verdict(a) in ("NO", "IDLE") for a in p.attempts), "left unsealed")
        if event.step.kind in ("fire", "capture") and not event.opens:
            _check_again(p, p.attempts[event.attempt], event.step.kind)
        if event.step.kind == "replay":
            first = next(s for s in p.attempts[event.attempt].steps if s.kind == "fire")
            span_us = p.attempts[event.attempt].terms.replay_span_s * S
            require(event.step.at_us < first.at_us + span_us, "replayed outside the span")


def _boxed(p: Payment, event: Planned) -> bool:
    terms = event.opens.terms if event.opens else p.attempts[event.attempt].terms
    return not terms.container or (not event.opens and bool(p.attempts[event.attempt].container))


def _check_create(a: Attempt) -> None:
    """A create whose answer was lost is looked up before the next one; what has a container gets no other."""
    creates = [s for s in a.steps if s.kind == "create"]
    require(not a.container, "a second container")
    if creates and a.terms.readable and not isinstance(creates[-1].outcome, NotSent | Rejected):
        looked = any(s.kind == "read" and s.seq > creates[-1].seq for s in a.steps)
        require(looked, "created again without a look for the first one")


def _check_again(p: Payment, a: Attempt, kind: str) -> None:
    """R5, told again: a second fire or capture needs a read, begun after the first was over, that shows nothing open."""
    shots = [s for s in a.steps if s.kind == kind and not isinstance(s.outcome, NotSent | Rejected)]
    if not shots:
        return
    over = max(s.send_by_us for s in shots) + a.terms.processing_s * S
    idle = [
        s
        for s in a.steps
        if s.seq > shots[-1].seq
        and s.at_us >= over
        and isinstance(s.outcome, Found)
        and s.outcome.container == "open"
        and not any(isinstance(t, Processing | Succeeded) for t in s.outcome.tries)
    ]
    require(a.terms.container and bool(idle), f"a second {kind} without a read that shows the first one idle")


def check_first_byte(world: "World", request: StoredRequest, doc: dict[str, Any]) -> None:
    """R2: the step is on record, unanswered, with exactly this request, and was claimed just now."""
    payment_id = ids.payment_of(doc["reference"])
    assert payment_id is not None
    p, reads = world.payment(payment_id), doc["kind"] == "read"
    mine = [s for s in p.steps() if s.outcome is None and (s.kind == "read" if reads else s.request == request)]
    require(bool(mine), f"a {doc['kind']} left that is not on record")
    # every further request of a read may begin when the one before may have ended
    late_us = LATE_US + ((READS_MAX - 1) * 10_000_000 if doc["part"] == "tries" else 0)
    fresh = any(world.now - world.claimed[payment_id, s.seq] <= late_us for s in mine)
    require(fresh, f"a {doc['kind']} left long after its claim")


def moves(world: "World", payment_id: str) -> list[Move]:
    rows = [m for v in world.vendors.values() for m in v.ledger if m.reference[:20] == payment_id[4:]]
    return sorted(rows, key=lambda m: m.at_us)


def taken(world: "World", payment_id: str) -> list[Move]:
    """Every charge that was ever made, reversed later or not."""
    return [m for m in moves(world, payment_id) if m.kind in ("charge", "capture")]


def kept(world: "World", payment_id: str) -> list[Move]:
    """Net: the charges that were not given back in full."""
    back = {(m.vendor, m.ref) for m in moves(world, payment_id) if m.kind == "refund"}
    return [m for m in taken(world, payment_id) if (m.vendor, m.ref) not in back]


def check_ledgers(world: "World", payment_id: str, *, doubt: bool = True, attention: bool = False) -> None:
    """At the end. ``doubt`` allows IN_DOUBT, ``attention`` allows what a person was alerted to."""
    p = world.payment(payment_id)
    history: list[Any] = list(at_once(world.store.history(payment_id, 0, 5000)))
    require(fold([unseal(e.raw, e.hash) for e in history]) == p, "the whole history does not fold to the row")
    net = kept(world, payment_id)
    fired = Counter(b.reference for v in world.vendors.values() if v.terms.container for b in v.boxes if b.tries)
    require(all(n == 1 for n in fired.values()), f"two containers of one attempt were fired: {fired}")
    alarm = attention and bool(p.attention)
    require(world.lied or len(taken(world, payment_id)) <= 1, f"charged more than once: {taken(world, payment_id)}")
    require(len(net) <= 1 or alarm, f"kept more than one charge: {net}")
    if p.status == "SUCCESS":
        exact = len(net) == 1 and (net[0].amount_minor, net[0].currency) == (p.amount_minor, p.currency)
        require(exact or alarm, f"SUCCESS with {net}")
    elif p.status in FINAL:
        require(not net or alarm, f"{p.status} with {net}")
    else:
        require(p.status == "IN_DOUBT" and doubt, f"never settled: {p.status}")


def events_of(world: "World", payment_id: str, *kinds: type) -> list[Any]:
    rows = at_once(world.store.history(payment_id, 0, 5000))
    return [e.envelope.data for e in rows if isinstance(e.envelope.data, kinds or (Planned, Observed, Judged, Asked, Resolved))]


def at_once(coro: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never suspends."""
    try:
        coro.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it suspended")


def settled(world: "World", payment_id: str, status: str, *, doubt: bool = False) -> Payment:
    """Run to the end, ask the ledgers, and compare the status."""
    world.run()
    check_ledgers(world, payment_id, doubt=doubt)
    p = world.payment(payment_id)
    require(p.status == status, f"{p.status} {p.reason}, not {status}: {world.kinds(payment_id)}")
    return p
