"""``apply(payment, entry) -> payment``: the only writer. The payment is the fold of its history (R12)."""

from collections.abc import Iterable
from typing import Literal

from msgspec.structs import asdict, replace

from . import ids, operations, states
from .errors import InvariantViolated
from .events import Accepted, Asked, Entry, Envelope, Event, Hinted, Judged, Observed, Opened, Planned, Resolved, seal
from .operations import UNSETTLED, excluding, gone, operation, part_of, reserved_minor, reversal_of, state
from .outcome import Captured, Created, Found, Mismatch, RequiresAction, Succeeded, Unreadable
from .payment import ATTEMPTS_MAX, FINAL, MONEY_STEPS, OPERATIONS_MAX, Attempt, Hint, Operation, Payment
from .verdict import Verdict, captures, evidence, flat, given_back, hold, last_found, sealed, unresolved, verdict


def fold(entries: Iterable[Entry]) -> Payment:
    """The payment that a whole history is. Raises InvariantViolated for a broken chain or an illegal step."""
    p: Payment | None = None
    for entry in entries:
        p = apply(p, entry)
    _require(p is not None, "an empty history is no payment")
    assert p is not None
    return p


def extend(
    p: Payment | None, events: list[Event], *, at_us: int, actor: str, request_id: str = ""
) -> tuple[Payment, list[Entry]]:
    """Seal ``events`` as the next links of the chain and fold them: what one commit writes."""
    entries = []
    for event in events:
        seq, prev = (p.version + 1, p.head) if p else (1, "")
        entry = seal(event, seq=seq, at_us=at_us, actor=actor, request_id=request_id, prev=prev)
        p = apply(p, entry)
        entries.append(entry)
    assert p is not None
    return p, entries


def apply(p: Payment | None, entry: Entry) -> Payment:
    """Fold one event. Raises InvariantViolated when a rule would be broken: nothing is written then."""
    env, event = entry.envelope, entry.envelope.data
    before = p.status if p else ""
    if p is None or isinstance(event, Accepted):
        _require(p is None and isinstance(event, Accepted) and env.seq == 1 and env.prev == "", "history starts with Accepted")
        assert isinstance(event, Accepted)
        p = _accepted(env, event)
    else:
        _require(env.seq == p.version + 1 and env.prev == p.head, "the event does not continue this chain")
        match event:
            case Planned():
                p = _planned(p, env, event)
            case Observed():
                p = _observed(p, env, event)
            case Hinted():
                a = p.attempts[event.attempt]
                p = _with(p, replace(a, hint=Hint(seq=env.seq, ref=event.ref)))
            case Asked():
                p = _asked(p, env, event)
            case Judged():
                p = _judged(p, event)
            case Resolved():
                p = _resolved(p, env, event)
    _require(states.allowed(before, env.kind, p.status), f"{before} -> {p.status} by {env.kind} is not in the table")
    newest = max(p.schema, env.v)
    return replace(p, version=env.seq, head=entry.hash, updated_us=max(p.updated_us, env.at_us), schema=newest)


def _accepted(env: Envelope, e: Accepted) -> Payment:
    kind: Literal["charge", "authorize"] = "authorize" if e.capture_method == "manual" else "charge"
    charge = Operation(n=1, id=e.operation_id, kind=kind, amount_minor=e.amount_minor, at_us=env.at_us)
    return Payment(
        schema=env.v,
        id=e.payment_id,
        merchant_id=e.merchant_id,
        mode=e.mode,
        amount_minor=e.amount_minor,
        currency=e.currency,
        created_us=env.at_us,
        updated_us=env.at_us,
        capture_method=e.capture_method,
        late_success=e.late_success,
        attempts_max=e.attempts_max,
        action_s=e.action_s,
        client_id=e.client_id,
        provider=e.provider,
        idempotency_key=e.idempotency_key,
        details_sha256=e.details_sha256,
        operations=(charge,),
    )


def _planned(p: Payment, env: Envelope, e: Planned) -> Payment:
    _require(e.step.seq == env.seq, "a step's seq is its event's seq")
    _require(e.step.outcome is None, "a step is planned before it has an outcome")
    if e.operation:
        o = operation(p, e.operation)
        if e.step.kind != "read":
            known = o.kind if o.kind != "reversal" else "void" if e.step.kind == "void" else "refund"
            _require(e.step.kind == known and o.state in UNSETTLED, "an operation is sent as what it is, until it has ended")
            if o.kind in ("capture", "void"):
                held = p.status == "AUTHORIZED" and excluding(p) == o
                _require(held, "a hold is captured or voided while it is held, and not both")
        return _with(p, replace(o, steps=(*o.steps, e.step)))
    if e.opens:
        p = _opened(p, e.opens, look=e.step.kind == "read")
    a = p.attempts[e.attempt]
    if e.step.kind in MONEY_STEPS or e.step.kind == "create":
        _require(p.live, "no money step after a winner, a final status or a cancel")
        _require(a.n == len(p.attempts) - 1, "money moves in the youngest attempt only")
        _require(not a.left or e.step.kind == "create", "an attempt that was left is never captured")
    if e.step.kind == "replay":
        first = next((s for s in a.steps if s.kind == "fire"), None)
        same = first is not None and (first.key, first.request) == (e.step.key, e.step.request)
        _require(a.terms.keyed and same, "a replay is the fire's key and bytes")
    p = _with(p, replace(a, steps=(*a.steps, e.step)))
    return p if p.route else replace(p, rule=e.rule, route=e.route)


def _opened(p: Payment, e: Opened, *, look: bool) -> Payment:
    _require(e.n == len(p.attempts) <= ATTEMPTS_MAX, "attempts are numbered in order")
    left = all(sealed(a) or (look and verdict(a) == "YES") for a in p.attempts)  # a look sends nothing: a surplus was found
    _require(left, "an attempt is left only when it is sealed (R4)")
    _require(e.reference == ids.reference(p.id, 1, e.n), "a reference is derived, never chosen")
    return replace(p, attempts=(*p.attempts, Attempt(**asdict(e))))


def _observed(p: Payment, env: Envelope, e: Observed) -> Payment:
    owner = part_of(p, e.about)
    _require(owner is not None, f"no step {e.about} to observe")
    assert owner is not None
    part, step = owner
    _require(step.outcome is None, "the first outcome of a step wins")
    done = replace(step, outcome=e.outcome, seen_at_us=env.at_us)
    steps = tuple(done if s.seq == step.seq else s for s in part.steps)
    if isinstance(part, Operation):
        return _conclude(_told(_with(p, replace(part, steps=steps)), part.n))
    a = replace(part, steps=steps)
    if isinstance(e.outcome, Created | Found) and a.terms.container and not a.container:
        named = e.outcome.container if isinstance(e.outcome, Created) else e.outcome.container_id
        a = replace(a, container=named, handle_sha256=e.outcome.handle_sha256 if named else "")
    if a.hint and step.kind == "read" and step.seq > a.hint.seq and not isinstance(e.outcome, Unreadable):
        a = replace(a, hint=None)
    p = _with(p, a)
    if isinstance(e.outcome, Found):  # a look at the charge tells of its refunds too
        for o in p.operations[1:]:
            if o.attempt == a.n and o.kind in ("refund", "reversal"):
                p = _told(p, o.n)
    return _conclude(p)


def _told(p: Payment, number: int) -> Payment:
    """The operation with the state that its evidence gives it."""
    o = operation(p, number)
    now, reason = state(p, o)
    return _with(p, replace(o, state=now, reason=reason))


def _asked(p: Payment, env: Envelope, e: Asked) -> Payment:
    if e.kind == "cancel":
        return replace(p, cancel_asked=True)
    _require(e.number == len(p.operations) + 1 <= OPERATIONS_MAX, "operations are numbered in order")
    match e.kind:
        case "reversal":
            kept = e.attempt == p.winner and p.status != "CANCELED"
            _require(not kept and reversal_of(p, e.attempt) is None, "a surplus is reversed once, what is kept never")
            _require(not any(unresolved(a) for a in p.attempts), "no reversal while an attempt is unresolved (R8)")
        case "refund":
            _require(p.status == "SUCCESS" and e.attempt == p.winner, "only what was taken can be given back")
            _require(1 <= e.amount_minor <= p.captured_minor - reserved_minor(p), "refunds never exceed what was captured")
        case "capture":
            _require(p.status == "AUTHORIZED" and e.attempt == p.winner, "only what is held can be captured")
            _require(1 <= e.amount_minor <= p.authorized_minor, "a capture takes at most what is held")
        case "void":
            _require(p.status not in FINAL, "what has ended cannot be voided")
            p = p if p.status == "AUTHORIZED" else replace(p, cancel_asked=True)
    if e.kind in ("capture", "void"):
        _require(excluding(p) is None, "capture and void exclude each other and any unresolved one")
    fresh = Operation(
        n=e.number,
        id=e.operation_id,
        kind=e.kind,
        amount_minor=e.amount_minor,
        at_us=env.at_us,
        attempt=e.attempt,
        reference=e.reference,
        reason=e.reason,
        idempotency_key=e.idempotency_key,
    )
    return replace(p, operations=(*p.operations, fresh))


def _judged(p: Payment, e: Judged) -> Payment:
    match e.what:
        case "left":
            a = p.attempts[e.attempt]
            _require(
                a.terms.own_capture and not captures(a), "only what our capture would take, and none on record, can be left"
            )
            return _with(p, replace(a, left=True))
        case "attention":
            return replace(p, attention=e.reason)
        case "operation_FAILED":
            return _conclude(_with(p, replace(operation(p, e.operation), state="FAILED", reason=e.reason)))
        case "operation_IN_DOUBT":
            return _conclude(_with(p, replace(operation(p, e.operation), state="IN_DOUBT", reason=e.reason)))
        case "FAILED" | "CANCELED":
            _require(all(sealed(a) for a in p.attempts), "a payment ends unpaid only when every attempt is sealed (R4)")
            p = _settle_void(p, "SUCCEEDED", "")
            return _charge_state(replace(p, status=e.what, reason=e.reason, attention=""), "FAILED", e.reason)
        case "IN_DOUBT":
            told = e.reason if e.reason == "restored_elsewhere" else p.attention  # stays, whatever an attempt turns out to be
            return _charge_state(replace(p, status="IN_DOUBT", reason=e.reason, attention=told), "IN_DOUBT", e.reason)


def _resolved(p: Payment, env: Envelope, e: Resolved) -> Payment:
    """An operator's word settles what is unresolved; what a provider proves later still counts."""
    if e.operation:
        return _conclude(_decided(p, env, operation(p, e.operation), e))
    touched, said = p, e.verdict
    assert said != "done"
    assert said != "not-done"
    for a in p.attempts:
        unclear = verdict(a) in ("UNKNOWN", "OPEN", "MISMATCH") or (verdict(a) == "YES" and p.winner is None)
        held = p.status == "AUTHORIZED" and a.n == p.winner and not any(unresolved(x) for x in p.attempts)
        chosen = a.n == e.attempt if e.verdict == "charged" else unclear or (held and p.attention == "horizon")
        if chosen:
            decided = replace(a, resolved=said, resolved_seq=env.seq, resolved_us=env.at_us)
            touched = _with(touched, decided)
    for o in p.operations:
        if e.verdict == "reversed" and o.kind == "reversal" and o.state in ("IN_DOUBT", "FAILED"):
            touched = _with(touched, replace(o, state="SUCCEEDED", reason=e.reason))
    if p.status == "AUTHORIZED" and any(a.resolved for a in touched.attempts if a.n == p.winner):
        charged = e.verdict == "charged"
        return _conclude(
            _ended(replace(touched, provider_ref=e.provider_ref or p.provider_ref), e.reason, charged, e.amount_minor)
        )
    if p.status != "IN_DOUBT":
        return _conclude(replace(touched, attention=""))
    if e.verdict == "charged":
        won = _win(touched, e.attempt, e.provider_ref, e.amount_minor)
        return replace(won, attention="amount_accepted" if e.amount_minor != p.amount_minor else "")
    reason = "not_charged" if e.verdict == "not-charged" else "reversed"
    touched = _settle_void(touched, "SUCCEEDED", "")
    return _charge_state(replace(touched, status="FAILED", reason=reason, attention=""), "FAILED", reason)


def _decided(p: Payment, env: Envelope, o: Operation, e: Resolved) -> Payment:
    """What became of an operation, by an operator's word."""
    _require(o.state == "IN_DOUBT" and e.verdict in ("done", "not-done"), "only an operation in doubt is decided")
    if e.verdict == "not-done" or p.status != "AUTHORIZED":
        return _with(p, replace(o, state="SUCCEEDED" if e.verdict == "done" else "FAILED", reason=e.reason))
    taken = [m for _, m in flat(operations.looks_at(p, p.attempts[o.attempt])) if isinstance(m, Mismatch) and not m.held]
    shown = [m.amount_minor for m in taken if m.currency == p.currency]  # what was really taken, if the provider shows it
    a = replace(p.attempts[o.attempt], resolved="charged", resolved_seq=env.seq, resolved_us=env.at_us)
    p = _with(p, a) if shown and o.kind == "capture" else p
    return _ended(p, e.reason, o.kind == "capture", [o.amount_minor, *shown][-1])


def _ended(p: Payment, reason: str, charged: bool, amount_minor: int) -> Payment:
    """AUTHORIZED, and an operator says what became of the hold: taken, or given back."""
    assert p.winner is not None
    left = replace(p.attempts[p.winner], left=True)  # nothing of it will ever be taken by us
    if (asked := excluding(p)) is not None:
        done = charged == (asked.kind == "capture")
        p = _with(p, replace(asked, state="SUCCEEDED" if done else "FAILED", reason=reason))
    if charged:
        as_asked = amount_minor == (asked.amount_minor if asked and asked.kind == "capture" else p.authorized_minor)
        accepted = "" if as_asked else "amount_accepted"
        return replace(p, status="SUCCESS", captured_minor=amount_minor, attention=accepted)
    return replace(_with(p, left), status="CANCELED", reason="voided", attention="")


def _conclude(p: Payment) -> Payment:
    """What the evidence makes of the status, in the same write as the evidence."""
    p = _after_hold(p) if p.status == "AUTHORIZED" else p
    verdicts = [verdict(a) for a in p.attempts]
    if p.winner is None and (p.status not in ("FAILED", "CANCELED") or p.late_success == "accept"):
        for a, v in zip(p.attempts, verdicts, strict=True):
            if v == "YES" and reversal_of(p, a.n) is None and not given_back(a):
                money = next((o for _, o in evidence(a) if isinstance(o, Succeeded | Captured)), None)
                if money is None and p.status in FINAL:
                    continue  # a late hold is given back under either policy
                p = _win(p, a.n, money.ref, money.amount_minor) if money else _authorize(p, a)
                break
    if p.status in ("PENDING", "REQUIRES_ACTION"):
        if "MISMATCH" in verdicts or "YES" in verdicts:  # a yes that did not win was given back already, in full
            doubt = "mismatch" if "MISMATCH" in verdicts else "given_back"
            p = _charge_state(replace(p, status="IN_DOUBT", reason=doubt), "IN_DOUBT", doubt)
        else:
            acting = any(v == "OPEN" and _acting(a) for a, v in zip(p.attempts, verdicts, strict=True))
            p = replace(p, status="REQUIRES_ACTION" if acting else "PENDING")
    given = sum(o.amount_minor for o in p.operations if o.kind == "refund" and o.state == "SUCCEEDED")
    return replace(p, attention=_attention(p, verdicts), refunded_minor=given)


def _authorize(p: Payment, a: Attempt) -> Payment:
    """The hold that the merchant asked for. A void that was asked before goes on with it."""
    first = hold(a)
    _require(first is not None and p.winner is None, "the winner is written once")
    assert first is not None
    step, seen = first
    p = replace(
        _charge_state(p, "SUCCEEDED", ""),
        winner=a.n,
        status="AUTHORIZED",
        reason="",
        provider_ref=seen.ref,
        authorized_minor=seen.amount_minor,
        authorization_expires_us=seen.expires_at_us or step.seen_at_us + a.terms.hold_s * 1_000_000,
    )
    void = excluding(p)
    return _with(p, replace(void, attempt=a.n)) if void else p


def _after_hold(p: Payment) -> Payment:
    """AUTHORIZED: what was held was taken, or it is gone; what was asked of it has ended with that."""
    assert p.winner is not None
    a, asked = p.attempts[p.winner], excluding(p)
    if (money := operations.taken(p, a)) is not None:
        if asked is not None:
            ended = ("SUCCEEDED", "") if asked.kind == "capture" else ("FAILED", "already_captured")
            p = _with(p, replace(asked, state=ended[0], reason=ended[1]))
        return replace(p, status="SUCCESS", provider_ref=money.ref, captured_minor=money.amount_minor)
    if not gone(p, a):
        return p
    voided = any(o.kind == "void" and o.state != "FAILED" for o in p.operations)
    if asked is not None:
        ended = ("SUCCEEDED", "") if asked.kind == "void" else ("FAILED", "authorization_expired")
        p = _with(p, replace(asked, state=ended[0], reason=ended[1]))
    p = _with(p, replace(a, left=True))  # nothing of it will ever be taken by us
    return replace(p, status="CANCELED", reason="voided" if voided else "authorization_expired")


def _settle_void(p: Payment, to: Literal["SUCCEEDED", "FAILED"], reason: str) -> Payment:
    """A void that was asked before anything was held ends with the payment."""
    void = excluding(p)
    return _with(p, replace(void, state=to, reason=reason)) if void and void.kind == "void" else p


def _attention(p: Payment, verdicts: list[Verdict]) -> str:
    if p.attention == "restored_elsewhere":
        return p.attention
    if any(o.kind == "reversal" and o.state in ("IN_DOUBT", "FAILED") for o in p.operations[1:]):
        return "reversal_unresolved"
    if (p.status in FINAL or p.status == "AUTHORIZED") and "MISMATCH" in verdicts:
        return "mismatch"
    if any(o.state == "IN_DOUBT" for o in p.operations[1:]):
        return "operation_unresolved"
    if p.status == "SUCCESS" and reserved_minor(p) > p.captured_minor:
        return "refunded_too_much"
    if any(_charges_seen(a) > 1 for a in p.attempts):
        return "charged_twice"
    if (p.status in FINAL or p.status == "AUTHORIZED") and any(unresolved(a) for a in p.attempts):
        return "horizon" if p.attention == "horizon" else "attempt_unresolved"
    kept = p.attention == "amount_accepted" or (p.status == "AUTHORIZED" and p.attention == "horizon")
    return p.attention if kept else ""


def _charges_seen(a: Attempt) -> int:
    """Different charges that the provider itself shows inside one attempt: its single success was none."""
    return len({o.ref for _, o in evidence(a) if isinstance(o, Succeeded | Captured | Mismatch)})


def _acting(a: Attempt) -> bool:
    last = last_found(a)
    shown = [o for step, o in evidence(a) if step.seq >= (last.seq if last else 0)]
    return any(isinstance(o, RequiresAction) for o in shown)


def _win(p: Payment, attempt: int, provider_ref: str, amount_minor: int) -> Payment:
    """The kept charge, written once."""
    _require(p.winner is None, "the winner is written once")
    p = _settle_void(p, "FAILED", "already_charged")
    won = replace(p, winner=attempt, status="SUCCESS", reason="", provider_ref=provider_ref, captured_minor=amount_minor)
    return _charge_state(won, "SUCCEEDED", "")


def _charge_state(p: Payment, to: str, reason: str) -> Payment:
    charge = replace(p.operations[0], state=to, reason=reason)
    return replace(p, operations=(charge, *p.operations[1:]))


def _with(p: Payment, part: Attempt | Operation) -> Payment:
    if isinstance(part, Attempt):
        return replace(p, attempts=tuple(part if a.n == part.n else a for a in p.attempts))
    return replace(p, operations=tuple(part if o.n == part.n else o for o in p.operations))


def _require(holds: bool, rule: str) -> None:
    """Checked with ``python -O`` too: a broken invariant must never reach the store."""
    if not holds:
        raise InvariantViolated(rule)
