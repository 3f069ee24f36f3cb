"""Charges and holds that late truth showed beside the one that is kept, or where none is kept: what they are, and how far their
return is. Pure."""

from typing import Final

from payonce.core.money import display
from payonce.core.outcome import Captured, Succeeded
from payonce.core.payment import Operation, Payment
from payonce.core.verdict import charge_ref, evidence, flat

# of what was held and not taken; pages look for them in the sentence
ONLY_HELD: Final = "was only held"
SECOND_HOLD: Final = "A second hold"


def late(p: Payment) -> str:
    """Of a payment that ended unpaid: what was taken or held all the same, and how far its return is; empty: nothing."""
    said = [_late(p, o) for o in _reversals(p)]
    if said and all(o.state == "SUCCEEDED" for o in _reversals(p)):
        return f"{' '.join(said).removesuffix('.')}; no charge is kept."
    return " ".join(said)


def beside(p: Payment) -> str:
    """Of a payment that keeps a charge or a hold: what was taken or held beside it and is not back yet; empty: nothing."""
    return " ".join(_second(p, o) for o in _reversals(p) if o.state != "SUCCEEDED")


def ways(p: Payment) -> str:
    """What a person has to do so that it goes back; empty where nobody has to."""
    stuck = [o for o in _reversals(p) if o.state in ("FAILED", "IN_DOUBT")]
    if not stuck:
        return ""
    where = " and ".join(dict.fromkeys(_at(p, o) for o in stuck))
    look = f"Give it back at {where}"
    if any(o.state == "IN_DOUBT" for o in stuck):
        look = f"Look at {where}; what is not given back, give back there"
    return f"{look}, then: payonce resolve {p.id} --as reversed --reason TEXT"


def _reversals(p: Payment) -> list[Operation]:
    return [o for o in p.operations if o.kind == "reversal"]


def _at(p: Payment, o: Operation) -> str:
    return p.attempts[o.attempt].account if o.attempt < len(p.attempts) else "the provider"


def _named(p: Payment, o: Operation) -> str:
    """Where it lies, with the provider's id of it."""
    ref = charge_ref(p.attempts[o.attempt]) if o.attempt < len(p.attempts) else ""
    return f"{_at(p, o)} ({ref})" if ref else _at(p, o)


def _held(p: Payment, o: Operation) -> bool:
    """Nobody ever saw that it was taken: a hold."""
    if o.attempt >= len(p.attempts) or p.attempts[o.attempt].resolved == "charged":
        return False
    seen = (*evidence(p.attempts[o.attempt]), *flat(o.steps))
    return not any(isinstance(each, Succeeded | Captured) for _, each in seen)


def _how_far(p: Payment, o: Operation, done: str) -> str:
    match o.state:
        case "SUCCEEDED":
            return f"was {done}"
        case "PENDING":
            return f"is being {done}"
        case "FAILED":
            return f"could not be {done} ({o.reason}): {_at(p, o)} still has it"
        case _:
            return f"may not have been {done} yet: it is read daily"


def _late(p: Payment, o: Operation) -> str:
    amount = display(o.amount_minor, p.currency)
    if _held(p, o):
        return f"{amount} {ONLY_HELD} at {_named(p, o)}, late; the hold {_how_far(p, o, 'released')}."
    where = "" if o.state == "SUCCEEDED" else f" at {_named(p, o)}"
    return f"{amount} was taken late{where} and {_how_far(p, o, 'given back')}."


def _second(p: Payment, o: Operation) -> str:
    what, done = (SECOND_HOLD, "released") if _held(p, o) else ("A second charge", "given back")
    return f"{what}, {display(o.amount_minor, p.currency)} at {_named(p, o)}, {_how_far(p, o, done)}."
