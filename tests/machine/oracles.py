"""What must hold: after every commit, at every first byte, and at the end against the vendors' own ledgers."""

from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from payonce.adapter import READS_MAX
from payonce.core import ids, news
from payonce.core.apply import apply, fold
from payonce.core.due import Block
from payonce.core.events import Asked, Entry, Judged, Observed, Planned, Resolved, seal, unseal
from payonce.core.idempotency import Details
from payonce.core.outcome import Authorized, Found, NotSent, Processing, Rejected, Succeeded
from payonce.core.payment import FINAL, Attempt, Operation, Payment, Step, StoredRequest
from payonce.core.plan import plan
from payonce.core.verdict import verdict
from payonce.engine import SEND_WINDOW_MS, Engine
from payonce.health import Admitted
from payonce.ports import Change

from .merchant import Wish
from .vendors import HOUR, Move, S

if TYPE_CHECKING:
    from .world import World

LATE_US = (SEND_WINDOW_MS + 100) * 1000
MONEY = ("fire", "replay", "capture")
NEW = ("create", "fire")
HOLDS = ("capture", "void")
UNSETTLED = ("PENDING", "IN_DOUBT")
UNSURE = ("retry_same_key", "request_in_progress")


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
    told = [e.envelope.seq for e, was, after in _steps(shadow, change) if news.between(was, after)]
    require(list(change.news) == told, f"the change names other news than its events hold: {change.news} {told}")
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
    _check_books(p)
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
        woken = isinstance(change.entries[-1].envelope.data, Asked)  # what a merchant asks wakes the row
        late = (due.at_us is None or due.at_us > at_us) and not waits
        require(
            woken or (due.do is not None and (overslept or not late)), f"due leads to nothing: due {change.due_us}, plan {due}"
        )
    require(p.version < 3000, "the history grows without end")


def _steps(p: Payment | None, change: Change) -> Iterator[tuple[Entry, Payment | None, Payment]]:
    """Each new event with the payment before and after it."""
    for entry in change.entries:
        after = apply(p, entry)
        yield entry, p, after
        p = after


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


def _check_books(p: Payment) -> None:
    """What must hold of the sums and operations of every row that is ever written."""
    later = p.operations[1:]
    reserve = sum(o.amount_minor for o in later if o.kind == "refund" and o.state != "FAILED")
    require(reserve <= p.captured_minor, f"refunds of {reserve} on {p.captured_minor}")
    done = sum(o.amount_minor for o in later if o.kind == "refund" and o.state == "SUCCEEDED")
    require(p.refunded_minor == done, f"{p.refunded_minor} given back on the row, {done} by its refunds")
    seen = p.capture_method == "manual" and p.authorized_minor  # else it was taken in the dashboard before we saw the hold
    require(not seen or p.captured_minor <= p.authorized_minor, "captured more than was held")
    require(len([o for o in later if o.kind in HOLDS and o.state in UNSETTLED]) <= 1, "capture and void at once")
    require(p.status != "AUTHORIZED" or p.authorization_expires_us > 0, "AUTHORIZED without an end")
    require(p.status != "CANCELED" or not p.captured_minor, "CANCELED with money on the row")
    keys = [o.idempotency_key for o in later if o.idempotency_key]
    require(len(keys) == len(set(keys)), "one key, two operations")


def _check_operation(p: Payment, event: Planned) -> None:
    """A step of an operation: only what was asked, once, by the rules of its kind."""
    o, step = next(o for o in p.operations if o.n == event.operation), event.step
    a = p.attempts[o.attempt]
    require(event.attempt == o.attempt, "an operation at another charge than its own")
    if step.kind == "read":
        return
    shots = [s for s in o.steps if s.kind == step.kind and not isinstance(s.outcome, NotSent | Rejected)]
    require(o.state in UNSETTLED, f"a {step.kind} of an operation that is {o.state}")
    require(step.key == ids.step_key(p.id, o.n, o.attempt, step.kind), f"a {step.kind} under a key of its own")
    if o.kind in HOLDS:
        require(step.kind == o.kind and p.status == "AUTHORIZED", f"a {step.kind} in {p.status}")
        require(p.capture_method == "manual" and o.attempt == p.winner, "nobody holds that")
        require(step.kind == "capture" or a.terms.voidable, "a void where there is none")
        require(not (step.kind == "capture" and a.left), "captured what was left")
        require(not shots or _seen_held(a, o, shots[-1]), f"a second {step.kind} without a look that shows the hold")
        return
    require(step.kind == "refund" or (step.kind == "void" and o.kind == "reversal"), f"a {step.kind} in a {o.kind}")
    in_span = not shots or step.at_us < shots[0].at_us + a.terms.refund_replay_span_s * S
    require(in_span, "given back again outside of the span")
    if o.kind == "refund":
        require(p.status == "SUCCESS" and o.attempt == p.winner, "given back what is not ours")
        return
    require(all(x.left or verdict(x) not in ("UNKNOWN", "OPEN") for x in p.attempts), "a reversal while unsealed")
    require(o.attempt != p.winner or p.status == "CANCELED", "a reversal of what is kept")
    looked = any(isinstance(s.outcome, Found) for s in o.steps)
    require(looked or not a.terms.readable, "a reversal without a look")


def _seen_held(a: Attempt, o: Operation, shot: Step) -> bool:
    over = shot.send_by_us + a.terms.processing_s * S
    looks = [s.outcome for s in o.steps if s.kind == "read" and s.seq > shot.seq and s.at_us >= over]
    return any(
        isinstance(f, Found)
        and any(isinstance(t, Authorized) for t in f.tries)
        and not any(isinstance(t, Succeeded | Processing) for t in f.tries)
        for f in looks
    )


def _check_planned(world: "World", p: Payment, event: Planned) -> None:
    if event.operation:
        return _check_operation(p, event)
    if event.step.kind == "create" and not event.opens:
        _check_create(p.attempts[event.attempt])
    if event.step.kind in MONEY:
        require(p.winner is None and not p.cancel_asked, "money step after a winner or a cancel")
        require(p.status in ("PENDING", "REQUIRES_ACTION"), f"money step in {p.status}")
        require(event.step.kind != "capture" or p.capture_method == "automatic", "a capture that no merchant asked for")
        require(event.step.kind != "fire" or _boxed(p, event), "a fire without the container that its kind has")
        require(not event.opens or all(a.left or verdict(a) in ("NO", "IDLE") for a in p.attempts), "left unsealed")
        if event.step.kind in ("fire", "capture") and not event.opens:
            _check_again(p, p.attempts[event.attempt], event.step.kind)
        if event.step.kind == "replay":
            first = next(s for s in p.attempts[event.attempt].steps if s.kind == "fire")
            span_us = p.attempts[event.attempt].terms.replay_span_s * S
            require(event.step.at_us < first.at_us + span_us, "replayed outside the span")
    return None


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


def given_back(world: "World", payment_id: str) -> dict[tuple[str, str, str], int]:
    """What was given back, and did not come back: by vendor, charge and the name it was given back under."""
    back: dict[tuple[str, str, str], int] = {}
    for m in moves(world, payment_id):
        if m.kind in ("refund", "refund_failed"):
            place = (m.vendor, m.ref, m.refund_reference)
            back[place] = back.get(place, 0) + (m.amount_minor if m.kind == "refund" else -m.amount_minor)
    return back


def kept(world: "World", payment_id: str) -> list[Move]:
    """Net: the charges that were not given back in full by us or by the vendor. What a merchant gives back was taken."""
    p = world.payment(payment_id)
    asked = {o.reference for o in p.operations if o.kind == "refund"}
    back = {place: n for place, n in given_back(world, payment_id).items() if place[2] not in asked}
    gone = {
        (m.vendor, m.ref): sum(n for (v, r, _), n in back.items() if (v, r) == (m.vendor, m.ref))
        for m in taken(world, payment_id)
    }
    return [m for m in taken(world, payment_id) if gone[m.vendor, m.ref] < m.amount_minor]


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
        exact = len(net) == 1 and (net[0].amount_minor, net[0].currency) == (p.captured_minor, p.currency)
        require(exact or alarm, f"SUCCESS with {net}")
        require(p.capture_method == "manual" or p.captured_minor == p.amount_minor or alarm, "took another amount")
    elif p.status in FINAL:
        require(not net or alarm, f"{p.status} with {net}")
    elif p.status == "AUTHORIZED":
        past_us = all(m.ref in world.dashboard for m in net)  # another amount, taken in the dashboard: people are told
        require(world.now < p.authorization_expires_us or (past_us and bool(net) and bool(p.attention)), "AUTHORIZED for ever")
        require(past_us, f"AUTHORIZED with {net}")
    else:
        require(p.status == "IN_DOUBT" and doubt, f"never settled: {p.status}")
    check_holds(world, payment_id)
    check_operations(world, payment_id, doubt=doubt)


def check_holds(world: "World", payment_id: str) -> None:
    """A hold is taken once and for no more than it holds, or released; and for a merchant who captures, only when asked."""
    p, rows = world.payment(payment_id), moves(world, payment_id)
    for vendor, ref in {(m.vendor, m.ref) for m in rows}:
        mine = [m for m in rows if (m.vendor, m.ref) == (vendor, ref)]
        by = {kind: [m for m in mine if m.kind == kind] for kind in ("authorize", "capture", "void", "lapse", "charge")}
        ends = [*by["capture"], *by["void"], *by["lapse"]]
        require(len(ends) <= 1 or not by["capture"], f"a hold ended twice: {mine}")
        held = sum(m.amount_minor for m in by["authorize"])
        require(sum(m.amount_minor for m in by["capture"]) <= held, f"captured more than was held: {mine}")
        took = sum(m.amount_minor for m in (*by["capture"], *by["charge"]))
        back = sum(n for (v, r, _), n in given_back(world, payment_id).items() if (v, r) == (vendor, ref))
        require(back <= took, f"given back {back} of {took}")
        if p.capture_method == "manual" and by["capture"] and ref not in world.dashboard:
            reference = by["capture"][0].reference
            wanted = [o for o in p.operations if o.kind == "capture" and p.attempts[o.attempt].reference == reference]
            amounts = [o.amount_minor for o in wanted]
            require(by["capture"][0].amount_minor in amounts, f"captured, asked for {amounts}: {by['capture']}")
        require(p.capture_method == "automatic" or not by["charge"], f"charged what was to be held: {mine}")


def check_operations(world: "World", payment_id: str, *, doubt: bool = True) -> None:
    """Every operation has ended as the vendors' books say, or it is in doubt, and people are told."""
    p = world.payment(payment_id)
    back: Counter[str] = Counter()
    for (_, _, reference), amount in given_back(world, payment_id).items():
        back[reference] += amount
    for o in p.operations[1:]:
        said = f"{o.kind} {o.state} {o.reason}"
        if o.state == "PENDING":
            require(p.status in ("IN_DOUBT", "AUTHORIZED") and o.kind == "void" and doubt, f"never ended: {said}")
        elif o.state == "IN_DOUBT":
            require(bool(p.attention) and doubt, f"in doubt, and nobody is told: {said}")
            require(o.kind not in ("refund", "reversal") or back[o.reference] in (0, o.amount_minor), f"{said}, but {back}")
        elif o.kind == "refund":
            want = o.amount_minor if o.state == "SUCCEEDED" else 0
            require(back[o.reference] == want, f"{said} of {o.amount_minor}, given back: {back[o.reference]}")
        elif o.kind == "void" and o.state == "SUCCEEDED":
            require(p.status in ("CANCELED", "FAILED"), f"{said}, but {p.status}")
        elif o.kind == "capture":
            mine = [m.amount_minor for m in taken(world, payment_id) if m.reference == p.attempts[o.attempt].reference]
            want = [o.amount_minor] if o.state == "SUCCEEDED" else []
            past_us = any(m.ref in world.dashboard for m in taken(world, payment_id))
            require(mine == want or past_us or (o.state == "FAILED" and _another(p, o)), f"{said}, but captured: {mine}")
    for wish in world.wishes:
        if wish.payment_id == payment_id:
            _check_wish(p, wish)


def _another(p: Payment, o: Operation) -> bool:
    """A later capture did it."""
    return any(x.kind == "capture" and x.n > o.n and x.state in ("SUCCEEDED", *UNSETTLED) for x in p.operations[1:])


def _check_wish(p: Payment, wish: Wish) -> None:
    """However often it was asked under one key, it is one operation; what was refused is none."""
    mine = [o.id for o in p.operations if o.idempotency_key == wish.key]
    require(len(mine) <= 1, f"one key, {len(mine)} operations")
    require({r.operation.id for r in wish.receipts} <= set(mine), "a receipt for another operation")
    require(not wish.refused or wish.refused in UNSURE or not mine, f"refused as {wish.refused}, but done")


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
