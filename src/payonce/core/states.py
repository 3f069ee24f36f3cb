"""The transition table as data. ``apply`` refuses a status change that is not in it; docs/reference/states.md is
generated from it (``make docs``) and a test fails when the two differ."""

from typing import NamedTuple


class Transition(NamedTuple):
    before: str
    event: str
    after: str
    when: str


TRANSITIONS: tuple[Transition, ...] = (
    Transition("", "Accepted", "PENDING", "the payment is durably written"),
    Transition("PENDING", "Observed", "SUCCESS", "an attempt is YES with our amount, currency and mode"),
    Transition("PENDING", "Observed", "AUTHORIZED", "the money is held, and the merchant captures"),
    Transition("PENDING", "Observed", "REQUIRES_ACTION", "the customer has to act at the provider"),
    Transition("PENDING", "Observed", "IN_DOUBT", "a good answer has another amount, currency or mode"),
    Transition("PENDING", "Judged", "FAILED", "every attempt is sealed and no further one is allowed"),
    Transition("PENDING", "Judged", "CANCELED", "a cancel was asked, or the customer did not act; every attempt is sealed"),
    Transition("PENDING", "Judged", "IN_DOUBT", "an attempt is unresolved at its horizon, or a lost one was found"),
    Transition("REQUIRES_ACTION", "Observed", "PENDING", "the action is over, the outcome is not known yet"),
    Transition("REQUIRES_ACTION", "Observed", "AUTHORIZED", "the money is held, and the merchant captures"),
    Transition("REQUIRES_ACTION", "Observed", "SUCCESS", "an attempt is YES with our amount, currency and mode"),
    Transition("REQUIRES_ACTION", "Observed", "IN_DOUBT", "a good answer has another amount, currency or mode"),
    Transition("REQUIRES_ACTION", "Judged", "FAILED", "every attempt is sealed and no further one is allowed"),
    Transition("REQUIRES_ACTION", "Judged", "CANCELED", "a cancel was asked, or the customer did not act; all is sealed"),
    Transition("REQUIRES_ACTION", "Judged", "IN_DOUBT", "an attempt is unresolved at its horizon, or a lost one was found"),
    Transition("AUTHORIZED", "Observed", "SUCCESS", "what was held was captured"),
    Transition("AUTHORIZED", "Observed", "CANCELED", "the hold was given back, or lapsed"),
    Transition("IN_DOUBT", "Observed", "AUTHORIZED", "later proof: the money is held, and the merchant captures"),
    Transition("IN_DOUBT", "Observed", "SUCCESS", "later proof: the money was taken, exactly as asked"),
    Transition("IN_DOUBT", "Judged", "FAILED", "later proof: no money was taken and none can be"),
    Transition("IN_DOUBT", "Judged", "CANCELED", "a cancel was asked, or the customer did not act; later proof shows it"),
    Transition("AUTHORIZED", "Resolved", "SUCCESS", "an operator recorded that the hold was captured"),
    Transition("AUTHORIZED", "Resolved", "CANCELED", "an operator recorded that the hold was given back"),
    Transition("IN_DOUBT", "Resolved", "SUCCESS", "an operator recorded that it was charged"),
    Transition("IN_DOUBT", "Resolved", "FAILED", "an operator recorded that it was not charged, or given back"),
    Transition("FAILED", "Observed", "SUCCESS", "a late success under the policy `accept`"),
    Transition("FAILED", "Resolved", "SUCCESS", "the same, when a decision that stood against it was taken back"),
    Transition("CANCELED", "Observed", "SUCCESS", "a late success under the policy `accept`"),
    Transition("CANCELED", "Resolved", "SUCCESS", "the same, when a decision that stood against it was taken back"),
)

_ALLOWED = frozenset((t.before, t.event, t.after) for t in TRANSITIONS)


def allowed(before: str, event: str, after: str) -> bool:
    """Keeping the status is always allowed; changing it only along the table."""
    return before == after or (before, event, after) in _ALLOWED
