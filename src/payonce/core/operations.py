"""Operations beside the charge, by the same rules of evidence. Today: the reversal of a surplus charge (R8)."""

from typing import Literal

from . import ids
from .errors import FieldError, Refused
from .events import Asked, Resolved
from .outcome import NO_EFFECT, Authorized, Declined, Found, Refunded, Succeeded, Voided
from .payment import FINAL, Attempt, Operation, OperationState, Payment, Step
from .verdict import captures, evidence, verdict


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
    """Refunds and voids of the operation that could have had an effect."""
    return [s for s in o.steps if s.kind in ("refund", "void") and not isinstance(s.outcome, NO_EFFECT)]


def state(o: Operation) -> tuple[OperationState, str]:
    """What the evidence says: given back under our reference, or in full by whoever (the vendor may be first)."""
    for step in o.steps:
        if isinstance(step.outcome, Refunded | Voided):
            return "SUCCEEDED", ""
        if isinstance(step.outcome, Found):
            given = sum(t.refunded_minor for t in step.outcome.tries if isinstance(t, Succeeded))
            if given >= o.amount_minor or any(_is(o, r) for r in step.outcome.refunds):
                return "SUCCEEDED", ""
    tried = sends(o)
    if tried and all(isinstance(s.outcome, Declined) for s in tried):
        last = tried[-1].outcome
        return "FAILED", last.code if isinstance(last, Declined) else ""
    return o.state, o.reason


def _is(o: Operation, given: Refunded) -> bool:
    """A refund of another amount under our reference is not this operation done (R10)."""
    return (given.reference, given.amount_minor) == (o.reference, o.amount_minor)


def only_held(o: Operation) -> bool:
    """The last read showed a hold and no charge: a void gives it back."""
    found = [s.outcome for s in o.steps if isinstance(s.outcome, Found)]
    return (
        bool(found)
        and any(isinstance(t, Authorized) for t in found[-1].tries)
        and not any(isinstance(t, Succeeded) for t in found[-1].tries)
    )


def reversal(p: Payment, attempt: int, reason: str, at_us: int) -> Asked:
    """The operation that gives a surplus charge back in full."""
    number = len(p.operations) + 1
    return Asked(
        kind="reversal",
        number=number,
        operation_id=ids.operation_id(p.id, number, at_us),
        amount_minor=p.amount_minor,
        attempt=attempt,
        reference=ids.reference(p.id, number, attempt),
        reason=reason,
    )


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
    if decision == "charged" and p.status != "IN_DOUBT":
        said = f"{p.id} is final: give that charge back at the provider and record it as reversed."
        raise Refused("nothing_to_resolve", said)
    if decision != "charged":
        return Resolved(verdict=decision, reason=reason)
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
    return Resolved(verdict="charged", reason=reason, attempt=attempt, provider_ref=provider_ref, amount_minor=amount_minor)
