"""Operations beside the charge, by the same rules of evidence: what a merchant asks (capture, void, refund), and the
reversal of a surplus charge (R8)."""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from . import ids
from .errors import FieldError, Refused
from .events import Asked, Resolved
from .outcome import (
    NO_EFFECT,
    OF_REFUNDS,
    OPEN_TRIES,
    AnyOutcome,
    Authorized,
    Captured,
    Declined,
    Found,
    Mismatch,
    Refunded,
    RefundFailed,
    Refunding,
    Succeeded,
    Unknown,
    Voided,
)
from .payment import FINAL, OPERATIONS_MAX, Attempt, Operation, OperationState, Payment, Step
from .redact import mask
from .verdict import awaits_read, captures, evidence, final_decline, flat, hold, verdict

SENDS: frozenset[str] = frozenset({"refund", "void", "capture"})
UNSETTLED: frozenset[str] = frozenset({"PENDING", "IN_DOUBT"})
PROGRESS = (Refunding, Refunded, RefundFailed)  # of a refund: what failed is final, also after it was shown as done


class NewOperation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A valid request for an operation on a payment. ``amount_minor`` None: all that is held, or left to give back."""

    kind: Literal["capture", "void", "refund"]
    payment_id: str
    amount_minor: int | None = None


def part_of(p: Payment, step_seq: int) -> tuple[Attempt | Operation, Step] | None:
    """The attempt or operation that owns a step, with the step."""
    for part in p.parts():
        for step in part.steps:
            if step.seq == step_seq:
                return part, step
    return None


def operation(p: Payment, number: int) -> Operation:
    return next(o for o in p.operations if o.n == number)


def reversal_of(p: Payment, attempt: int) -> Operation | None:
    return next((o for o in p.operations if o.kind == "reversal" and o.attempt == attempt), None)


def sends(o: Operation) -> list[Step]:
    """Steps of the operation that could have had an effect."""
    return [s for s in o.steps if s.kind in SENDS and not isinstance(s.outcome, NO_EFFECT)]


def reserved_minor(p: Payment) -> int:
    """What refunds have given back or may still give back: all but the failed ones keep their share."""
    return sum(o.amount_minor for o in p.operations if o.kind == "refund" and o.state != "FAILED")


def excluding(p: Payment) -> Operation | None:
    """The capture or void that is not settled: it excludes every other one."""
    return next((o for o in p.operations[1:] if o.kind in ("capture", "void") and o.state in UNSETTLED), None)


def told(p: Payment, o: Operation) -> Refunded | Refunding | RefundFailed | None:
    """The furthest that a provider said of a refund of ours: in an answer, or in any look at the charge, in whatever order
    they came (a list may lag behind). For a reversal a look at the charge counts only when it says that the refund failed."""
    said: list[Refunded | Refunding | RefundFailed] = []
    for step in (*o.steps, *p.attempts[o.attempt].steps):
        listed = step.outcome.refunds if isinstance(step.outcome, Found) else (step.outcome,)
        for each in listed:
            if not isinstance(each, OF_REFUNDS) or not _is(o, each):
                continue
            if step in o.steps or o.kind == "refund" or isinstance(each, RefundFailed):
                said.append(each)
    return max(said, key=lambda each: PROGRESS.index(type(each)), default=None)


def state(p: Payment, o: Operation) -> tuple[OperationState, str]:
    """What the evidence says: a refund under our reference, a reversal in full by whoever (the vendor may be first). What
    becomes of a hold is said by ``taken`` and ``gone``."""
    said = told(p, o) if o.kind in ("refund", "reversal") else None
    if isinstance(said, Refunded) or (o.kind == "reversal" and not isinstance(said, RefundFailed) and _given_back(p, o)):
        return "SUCCEEDED", ""
    if isinstance(said, RefundFailed):
        return "FAILED", said.code
    if isinstance(said, Refunding):
        return "PENDING", ""
    tried = sends(o)
    if tried and all(isinstance(s.outcome, Declined) for s in tried):
        last = tried[-1].outcome
        return "FAILED", last.code if isinstance(last, Declined) else ""
    if any(isinstance(each, Mismatch) for _, each in flat(o.steps)) and o.kind == "capture":
        return "IN_DOUBT", "mismatch"
    return o.state, o.reason


def news(p: Payment, outcome: AnyOutcome) -> AnyOutcome:
    """A look without what it only says again of refunds: hundreds of looks must not each store hundreds of refunds."""
    if not isinstance(outcome, Found) or not outcome.refunds:
        return outcome
    known = {o.reference: said for o in p.operations[1:] if (said := told(p, o)) is not None}
    return replace(outcome, refunds=tuple(r for r in outcome.refunds if r != known.get(r.reference)))


def refund_ref(p: Payment, o: Operation) -> str:
    """The provider's id of a refund, once it named one."""
    said = told(p, o)
    return said.ref if said else ""


def _given_back(p: Payment, o: Operation) -> bool:
    """A surplus is no longer there: given back under any name, or, where it was only held, released."""
    for step in o.steps:
        if isinstance(step.outcome, Voided):
            return True
        if isinstance(step.outcome, Found):
            if sum(t.refunded_minor for t in step.outcome.tries if isinstance(t, Succeeded)) >= o.amount_minor:
                return True
            if p.attempts[o.attempt].manual and _released(p.attempts[o.attempt], step, step.outcome):
                return True
    return False


def _is(o: Operation, given: Refunded | Refunding | RefundFailed) -> bool:
    """A refund of another amount under our reference is not this operation done (R10)."""
    return (given.reference, given.amount_minor) == (o.reference, o.amount_minor)


def only_held(o: Operation) -> bool:
    """The last read showed a hold and no charge: a void gives it back."""
    found = next((s.outcome for s in reversed(o.steps) if isinstance(s.outcome, Found)), Found())
    kinds = [type(t) for t in found.tries]
    return Authorized in kinds and Succeeded not in kinds


# --- what becomes of a hold -------------------------------------------------------------------------------------------


def looks_at(p: Payment, a: Attempt) -> tuple[Step, ...]:
    """Every step that may show what became of a hold: the attempt's, and those of captures and voids of it."""
    others = (s for o in p.operations[1:] if o.attempt == a.n and o.kind in ("capture", "void") for s in o.steps)
    return tuple(sorted((*a.steps, *others), key=lambda s: s.seq))


def taken(p: Payment, a: Attempt) -> Succeeded | Captured | None:
    """The money that was taken of a hold."""
    return next((o for _, o in flat(looks_at(p, a)) if isinstance(o, Succeeded | Captured)), None)


def gone(p: Payment, a: Attempt) -> bool:
    """The provider gave the hold back on our word, or a read that began after the hold was seen shows none any more."""
    first, steps = hold(a), looks_at(p, a)
    if any(isinstance(s.outcome, Voided) for s in steps):
        return True
    reads = [s for s in steps if isinstance(s.outcome, Found) and first and s.seq > first[0].seq]
    last = reads[-1] if reads else None
    return last is not None and isinstance(last.outcome, Found) and _released(a, last, last.outcome)


def _released(a: Attempt, step: Step, found: Found) -> bool:
    """The hold itself is shown as gone, or the container as closed, and nothing is held, taken or under way. That another
    try of the customer was declined says nothing: a list may be older than the hold."""
    first = hold(a)
    shown = any(getattr(t, "ref", "") in ("", first[1].ref if first else "") for t in found.tries)
    return all(final_decline(a, step, t) for t in found.tries) and (shown or found.container == "closed")


def still_held(a: Attempt, o: Operation) -> bool:
    """The last step is a read that began after the last send was over, and shows the hold as it was."""
    last, sent = o.steps[-1] if o.steps else None, sends(o)
    if last is None or not isinstance(last.outcome, Found) or not sent:
        return False
    over = last.at_us >= sent[-1].send_by_us + a.terms.processing_s * 1_000_000
    held, rest = only_held(o), (*OPEN_TRIES, Unknown, Mismatch)
    return over and held and not any(isinstance(t, rest) for t in last.outcome.tries)


def worth_reading(p: Payment, a: Attempt) -> bool:
    """A hint about it may tell something new: what is settled as charged is read for its operations only."""
    return verdict(a) != "YES" or p.status == "AUTHORIZED" or any(o.attempt == a.n for o in p.operations[1:])


def to_read(p: Payment) -> list[int]:
    """Attempts of which a look now may tell something new, and is not asked for already."""
    return [a.n for a in p.attempts if a.steps and not awaits_read(a) and worth_reading(p, a)]


# --- asking -------------------------------------------------------------------------------------------------------------


def asking(p: Payment, wanted: NewOperation, key: str, at_us: int, *, partial: bool, note: str = "") -> Asked:
    """The operation that a merchant asks for, checked. ``partial``: the account may capture less than it holds. Raises
    Refused: operation_in_progress, operation_not_possible, amount_exceeds_available, partial_capture_unsupported."""
    number, amount = len(p.operations) + 1, wanted.amount_minor
    if number > OPERATIONS_MAX - len(p.attempts):  # those are kept for giving back what an attempt took too much (R8)
        raise Refused("operation_not_possible", f"{p.id} has {number - 1} operations already, it takes no more.")
    other = excluding(p)
    if other is not None:
        raise Refused("operation_in_progress", f"A {other.kind} of {p.id} is not settled yet ({other.id}).")
    match wanted.kind:
        case "refund":
            _require_status(p, wanted.kind, "SUCCESS")
            amount = _available(amount, max(0, p.captured_minor - reserved_minor(p)), "left to give back of")
        case "capture":
            _require_status(p, wanted.kind, "AUTHORIZED")
            amount = _available(amount, p.authorized_minor, "held for")
            if amount < p.authorized_minor and not partial:
                account = p.attempts[p.winner or 0].account
                raise Refused("partial_capture_unsupported", f"{account} captures the whole hold or nothing.")
        case "void":
            if p.status in FINAL:
                _require_status(p, wanted.kind, "AUTHORIZED")
            amount = p.amount_minor
    attempt = p.winner or 0
    return Asked(
        kind=wanted.kind,
        number=number,
        operation_id=ids.operation_id(p.id, number, at_us),
        amount_minor=amount,
        attempt=attempt,
        reference=ids.reference(p.id, number, attempt),
        idempotency_key=key,
        note=note,
    )


def _require_status(p: Payment, kind: str, status: str) -> None:
    if p.status == status:
        return
    if p.status in ("PENDING", "REQUIRES_ACTION", "IN_DOUBT") and (status == "SUCCESS" or p.capture_method == "manual"):
        raise Refused("operation_in_progress", f"{p.id} is {p.status}: it is not known yet what there is to {kind}.")
    instead = {"SUCCESS": " Its money was taken: refund it.", "AUTHORIZED": " Its money is only held: void it."}
    raise Refused("operation_not_possible", f"{p.id} is {p.status}: there is nothing to {kind}.{instead.get(p.status, '')}")


def _available(asked: int | None, most: int, what: str) -> int:
    amount = most if asked is None else asked
    if not 1 <= amount <= most:
        rule = f"is more than the {most} that are {what} this payment" if most else f"finds nothing {what} this payment"
        raise Refused("amount_exceeds_available", f"amount {rule}.", (FieldError("amount", rule),))
    return amount


def reversal(p: Payment, attempt: int, reason: str, at_us: int) -> Asked:
    """The operation that gives a surplus charge back in full: what was taken, or else the hold."""
    number = len(p.operations) + 1
    money = [o.amount_minor for _, o in evidence(p.attempts[attempt]) if isinstance(o, Succeeded | Captured)]
    return Asked(
        kind="reversal",
        number=number,
        operation_id=ids.operation_id(p.id, number, at_us),
        amount_minor=[*money, p.amount_minor][0],
        attempt=attempt,
        reference=ids.reference(p.id, number, attempt),
        reason=reason,
    )


def decision_on(p: Payment, operation_id: str, decision: Literal["done", "not-done"], reason: str) -> Resolved:
    """An operator's decision on a capture, void or refund in doubt, checked. Raises Refused naming what is missing."""
    if not reason.strip():
        raise Refused("resolution_incomplete", "A reason is required.", (FieldError("reason", "is required"),))
    o = next((o for o in p.operations[1:] if o.id == operation_id), None)
    if o is None or o.state != "IN_DOUBT" or o.kind == "reversal":
        in_doubt = ", ".join(o.id for o in p.operations[1:] if o.state == "IN_DOUBT" and o.kind != "reversal") or "none"
        raise Refused("nothing_to_resolve", f"{p.id} has no such operation in doubt; in doubt: {in_doubt}.")
    return Resolved(verdict=decision, reason=mask(reason), operation=o.n)


def resolution(
    p: Payment,
    decision: Literal["charged", "not-charged", "reversed"],
    reason: str,
    provider_ref: str,
    amount_minor: int | None,
    *,
    accept_amount: bool,
) -> Resolved:
    """An operator's decision, checked. Raises Refused naming what is missing."""
    if p.status != "IN_DOUBT" and not p.attention:
        final = "it is final" if p.status in FINAL else "it is still being worked on"
        raise Refused("nothing_to_resolve", f"{p.id} is {p.status}: {final}, there is nothing to resolve.")
    if not reason.strip():
        raise Refused("resolution_incomplete", "A reason is required.", (FieldError("reason", "is required"),))
    if (decision == "charged" and p.status in FINAL) or (decision == "not-charged" and p.attention == "amount_accepted"):
        said = f"{p.id} is final: give that charge back at the provider and record it as reversed."
        raise Refused("nothing_to_resolve", said)
    if decision != "charged":
        return Resolved(verdict=decision, reason=mask(reason))
    if not p.attempts:
        said = f"{p.id} has no attempt on record: give that charge back at the provider and record it as reversed."
        raise Refused("nothing_to_resolve", said)
    if not provider_ref.strip() or amount_minor is None:
        missing = ["provider_ref"] * (not provider_ref.strip()) + ["amount"] * (amount_minor is None)
        fields = tuple(FieldError(name, "is required") for name in missing)
        raise Refused("resolution_incomplete", f"charged needs {' and '.join(missing)}.", fields)
    if amount_minor != p.amount_minor and not accept_amount:
        rule = f"differs from the payment's {p.amount_minor}; accept it explicitly to keep that charge"
        raise Refused("resolution_incomplete", f"amount {rule}.", (FieldError("amount", rule),))
    seen = [(a, o) for a in p.attempts for _, o in evidence(a) if getattr(o, "ref", None) == provider_ref]
    only_hold = seen and (isinstance(seen[-1][1], Authorized) or getattr(seen[-1][1], "held", False))
    if only_hold and seen[-1][0].terms.own_capture and not captures(seen[-1][0]):  # else our capture may have taken it
        held = f"{provider_ref} is only held, nothing was taken: capture it there first, or record not-charged."
        raise Refused("resolution_incomplete", held, (FieldError("provider_ref", "is a hold, not a charge"),))
    open_ones = [a.n for a in p.attempts if verdict(a) in ("UNKNOWN", "OPEN", "MISMATCH")]
    attempt = [*(a.n for a, _ in seen), *reversed(open_ones), len(p.attempts) - 1][0]
    if p.winner not in (None, attempt):
        said = f"{p.id} holds its money elsewhere: give that charge back at the provider and record it as reversed."
        raise Refused("nothing_to_resolve", said)
    return Resolved(
        verdict="charged", reason=mask(reason), attempt=attempt, provider_ref=provider_ref, amount_minor=amount_minor
    )
