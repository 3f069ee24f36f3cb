"""What people can do about a payment as it is now, and why not: the rules of the core are tried, none is written again here.
Pure."""

from collections.abc import Callable
from typing import Final, Literal

from payonce.core.errors import Refused
from payonce.core.events import Asked
from payonce.core.operations import NewOperation, decision_on, resolution, to_read
from payonce.core.payment import FINAL, Payment
from payonce.core.redact import mask
from payonce.core.verdict import awaits_read, verdict

from .story_bodies import StoryAction, StoryDecision

Asking = Callable[[NewOperation], Asked]  # as ``Intake.asking``; raises Refused
_ASKED: Final[tuple[Literal["capture", "void", "refund"], ...]] = ("capture", "void", "refund")
_OF_CHARGE: Final[tuple[Literal["charged", "not-charged", "reversed"], ...]] = ("charged", "not-charged", "reversed")
_OF_OPERATION: Final[tuple[Literal["done", "not-done"], ...]] = ("done", "not-done")
_TRIED: Final = "tried, never recorded"


def actions_of(p: Payment, asking: Asking) -> list[StoryAction]:
    """All that there is, each with whether it would be accepted now."""
    why = why_no_check(p)
    check = StoryAction(action="check", allowed=not why, why=why, max_amount=None, decisions=[])
    return [*(_operation(p, kind, asking) for kind in _ASKED), check, _resolve(p)]


def why_no_check(p: Payment) -> str:
    """Why no provider can be asked about it now; empty when one can."""
    if to_read(p):
        return ""
    if any(a.steps and awaits_read(a) for a in p.attempts):
        return "A look at the provider is asked for already, and comes next."
    if not p.steps():
        return "Nothing was sent to a provider yet: there is nothing to read."
    return "What the provider has is known to its end: a look would tell nothing new."


def _operation(p: Payment, kind: Literal["capture", "void", "refund"], asking: Asking) -> StoryAction:
    try:
        asked = asking(NewOperation(kind=kind, payment_id=p.id))
    except Refused as refused:
        return StoryAction(action=kind, allowed=False, why=mask(refused.detail), max_amount=None, decisions=[])
    most = None if kind == "void" else asked.amount_minor
    return StoryAction(action=kind, allowed=True, why="", max_amount=most, decisions=[])


def _proven(p: Payment) -> bool:
    """The charge that needs eyes was seen, and no other one is unclear: that nothing was taken changes nothing."""
    unclear = any(verdict(a) in ("UNKNOWN", "OPEN", "MISMATCH") for a in p.attempts)
    return p.status in FINAL and p.attention == "reversal_unresolved" and not unclear


def _resolve(p: Payment) -> StoryAction:
    decisions, why = list[StoryDecision](), ""
    for decision in _OF_CHARGE:
        if decision == "not-charged" and _proven(p):
            continue
        try:
            resolution(p, decision, _TRIED, _TRIED, p.amount_minor, accept_amount=True)
        except Refused as refused:
            why = why or refused.detail
        else:
            needs: list[Literal["providerRef", "amount"]] = ["providerRef", "amount"] if decision == "charged" else []
            decisions.append(StoryDecision(decision=decision, operation_id=None, needs=needs))
    for o in p.operations[1:]:
        for done in _OF_OPERATION:
            try:
                decision_on(p, o.id, done, _TRIED)
            except Refused:
                continue
            decisions.append(StoryDecision(decision=done, operation_id=o.id, needs=[]))
    return StoryAction(
        action="resolve", allowed=bool(decisions), why="" if decisions else mask(why), max_amount=None, decisions=decisions
    )
