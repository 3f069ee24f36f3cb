"""Operations beside the charge, by the same rules of evidence. Today: the reversal of a surplus charge (R8)."""

from .outcome import NO_EFFECT, Authorized, Declined, Found, Refunded, Succeeded, Voided
from .payment import Attempt, Operation, OperationState, Payment, Step


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
