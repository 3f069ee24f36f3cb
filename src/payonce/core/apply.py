"""``apply(payment, entry) -> payment``: the only writer. The payment is the fold of its history (R12)."""

from collections.abc import Iterable

from msgspec.structs import replace

from . import ids, states
from .errors import InvariantViolated
from .events import Accepted, Asked, Entry, Envelope, Event, Hinted, Judged, Observed, Opened, Planned, Resolved, seal
from .operations import operation, part_of, reversal_of, state
from .outcome import Captured, Created, Found, Mismatch, RequiresAction, Succeeded, Unreadable
from .payment import ATTEMPTS_MAX, FINAL, MONEY_STEPS, OPERATIONS_MAX, Attempt, Hint, Operation, Payment
from .verdict import Verdict, captures, evidence, given_back, last_found, sealed, unresolved, verdict


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
    charge = Operation(n=1, id=e.operation_id, kind="charge", amount_minor=e.amount_minor, at_us=env.at_us)
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
    fresh = Attempt(
        n=e.n,
        account=e.account,
        adapter=e.adapter,
        base_url=e.base_url,
        credential_id=e.credential_id,
        reference=e.reference,
        terms=e.terms,
        why=e.why,
    )
    return replace(p, attempts=(*p.attempts, fresh))


def _observed(p: Payment, env: Envelope, e: Observed) -> Payment:
    owner = part_of(p, e.about)
    _require(owner is not None, f"no step {e.about} to observe")
    assert owner is not None
    part, step = owner
    _require(step.outcome is None, "the first outcome of a step wins")
    done = replace(step, outcome=e.outcome, seen_at_us=env.at_us)
    steps = tuple(done if s.seq == step.seq else s for s in part.steps)
    if isinstance(part, Operation):
        after = replace(part, steps=steps)
        now, reason = state(after)
        return _conclude(_with(p, replace(after, state=now, reason=reason)))
    a = replace(part, steps=steps)
    if isinstance(e.outcome, Created | Found) and a.terms.container and not a.container:
        a = replace(a, container=e.outcome.container if isinstance(e.outcome, Created) else e.outcome.container_id)
    if a.hint and step.kind == "read" and step.seq > a.hint.seq and not isinstance(e.outcome, Unreadable):
        a = replace(a, hint=None)
    return _conclude(_with(p, a))


def _asked(p: Payment, env: Envelope, e: Asked) -> Payment:
    if e.kind == "cancel":
        return replace(p, cancel_asked=True)
    _require(e.number == len(p.operations) + 1 <= OPERATIONS_MAX, "operations are numbered in order")
    _require(e.attempt != p.winner and reversal_of(p, e.attempt) is None, "a surplus is reversed once, the winner never")
    _require(not any(unresolved(a) for a in p.attempts), "no reversal while an attempt is unresolved (R8)")
    fresh = Operation(
        n=e.number,
        id=e.operation_id,
        kind=e.kind,
        amount_minor=e.amount_minor,
        at_us=env.at_us,
        attempt=e.attempt,
        reference=e.reference,
        reason=e.reason,
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
            return _charge_state(replace(p, status=e.what, reason=e.reason, attention=""), "FAILED", e.reason)
        case "IN_DOUBT":
            told = e.reason if e.reason == "restored_elsewhere" else p.attention  # stays, whatever an attempt turns out to be
            return _charge_state(replace(p, status="IN_DOUBT", reason=e.reason, attention=told), "IN_DOUBT", e.reason)


def _resolved(p: Payment, env: Envelope, e: Resolved) -> Payment:
    """An operator's word settles what is unresolved; what a provider proves later still counts."""
    touched = p
    for a in p.attempts:
        unclear = verdict(a) in ("UNKNOWN", "OPEN", "MISMATCH") or (verdict(a) == "YES" and p.winner is None)
        chosen = a.n == e.attempt if e.verdict == "charged" else unclear
        if chosen:
            decided = replace(a, resolved=e.verdict, resolved_seq=env.seq, resolved_us=env.at_us)
            touched = _with(touched, decided)
    for o in p.operations:
        if e.verdict == "reversed" and o.kind == "reversal" and o.state in ("IN_DOUBT", "FAILED"):
            touched = _with(touched, replace(o, state="SUCCEEDED", reason=e.reason))
    if p.status != "IN_DOUBT":
        return _conclude(replace(touched, attention=""))
    if e.verdict == "charged":
        won = _win(touched, e.attempt, e.provider_ref, e.amount_minor)
        return replace(won, attention="amount_accepted" if e.amount_minor != p.amount_minor else "")
    reason = "not_charged" if e.verdict == "not-charged" else "reversed"
    return _charge_state(replace(touched, status="FAILED", reason=reason, attention=""), "FAILED", reason)


def _conclude(p: Payment) -> Payment:
    """What the evidence makes of the status, in the same write as the evidence."""
    verdicts = [verdict(a) for a in p.attempts]
    if p.winner is None and (p.status not in ("FAILED", "CANCELED") or p.late_success == "accept"):
        for a, v in zip(p.attempts, verdicts, strict=True):
            if v == "YES" and reversal_of(p, a.n) is None and not given_back(a):
                taken = next(o for _, o in evidence(a) if isinstance(o, Succeeded | Captured))
                p = _win(p, a.n, taken.ref, taken.amount_minor)
                break
    if p.status in ("PENDING", "REQUIRES_ACTION"):
        if "MISMATCH" in verdicts or "YES" in verdicts:  # a yes that did not win was given back already, in full
            doubt = "mismatch" if "MISMATCH" in verdicts else "given_back"
            p = _charge_state(replace(p, status="IN_DOUBT", reason=doubt), "IN_DOUBT", doubt)
        else:
            acting = any(v == "OPEN" and _acting(a) for a, v in zip(p.attempts, verdicts, strict=True))
            p = replace(p, status="REQUIRES_ACTION" if acting else "PENDING")
    return replace(p, attention=_attention(p, verdicts))


def _attention(p: Payment, verdicts: list[Verdict]) -> str:
    if p.attention == "restored_elsewhere":
        return p.attention
    if any(o.state == "IN_DOUBT" or (o.kind == "reversal" and o.state == "FAILED") for o in p.operations[1:]):
        return "reversal_unresolved"
    if p.status in FINAL and "MISMATCH" in verdicts:
        return "mismatch"
    if any(_charges_seen(a) > 1 for a in p.attempts):
        return "charged_twice"
    if p.status in FINAL and any(unresolved(a) for a in p.attempts):
        return "horizon" if p.attention == "horizon" else "attempt_unresolved"
    return p.attention if p.attention == "amount_accepted" else ""


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
