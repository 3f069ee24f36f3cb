"""What a provider's answer means, and why something has its status, in plain words. Pure."""

from payonce.core.attempts import ends_it
from payonce.core.errors import DECLINES, REASONS
from payonce.core.money import display
from payonce.core.outcome import (
    Absent,
    AnyOutcome,
    Authorized,
    Captured,
    Closed,
    Created,
    Declined,
    Found,
    Mismatch,
    NotSent,
    Processing,
    Refunded,
    RefundFailed,
    Refunding,
    Rejected,
    RequiresAction,
    Succeeded,
    Unknown,
    Unreadable,
    Voided,
)
from payonce.core.redact import mask

from .wording import stamp

SHOWN_CHARS = 24


def reason(code: str) -> str:
    """A reason or decline code with its meaning."""
    meaning = REASONS.get(code) or DECLINES.get(code)
    return f"{code} ({meaning.split('. ')[0].rstrip('.')})" if meaning else mask(code)


def told_outcome(o: AnyOutcome, *, reading: bool = False) -> str:
    """An answer in plain words."""
    match o:
        case Succeeded():
            back = f", {display(o.refunded_minor, o.currency)} of it given back" if o.refunded_minor else ""
            return f"charged {display(o.amount_minor, o.currency)} ({o.ref}){back}"
        case Authorized():
            until = f", until {stamp(o.expires_at_us)}" if o.expires_at_us else ""
            return f"{display(o.amount_minor, o.currency)} is held, not taken ({o.ref}{until})"
        case Refunding() | RefundFailed():
            done = "is giving back" if isinstance(o, Refunding) else "could not give back"
            return f"{done} {display(o.amount_minor, o.currency)} ({o.ref})"
        case Captured():
            return f"took the held {display(o.amount_minor, o.currency)} ({o.ref})"
        case Mismatch():
            return f"a good answer with another {' and '.join(o.differs)}: {display(o.amount_minor, o.currency)} ({o.ref})"
        case Declined(code="hold_lapsed"):
            return "the hold is not there any more: it was released, or it ran out (hold_lapsed)"
        case Declined():
            final = "final" if o.hard else "it ends the payment" if ends_it(o) else "another attempt may follow"
            later = ", may still turn into a success" if o.flips_until_us is not None else ""
            return f"declined: {o.code} ({final}{later})"
        case Rejected():
            return f"refused, not executed: {mask(o.reason)}"
        case NotSent():
            return f"nothing was sent: {mask(o.reason)}"
        case Processing():
            return "they have it, not final yet"
        case RequiresAction():
            return "the customer has to act at the provider" + (f" (until {stamp(o.expires_at_us)})" if o.expires_at_us else "")
        case Created():
            return f"created ({_shown(o.container)}); no money moved"
        case Closed():
            return f"closed ({_shown(o.container)})"
        case Refunded():
            return f"gave back {display(o.amount_minor, o.currency)} ({o.ref})"
        case Voided():
            return f"released the held money ({o.ref})"
        case Unknown():
            return f"no usable answer, it may or may not have happened: {mask(o.reason)}"
        case Found():
            shown = [told_outcome(each) for each in (*o.tries, *o.refunds)]
            return f"they show: {'; '.join(shown) or 'nothing was tried in it'}"
        case Absent():
            return "they show nothing of ours, which proves nothing" if reading else "the answer was about another payment"
        case Unreadable():
            return f"it could not be read: {mask(o.reason)}"


def _shown(container: str) -> str:
    """Some vendors let whoever has the id of a container pay it: a long one is not shown whole."""
    return container if len(container) <= SHOWN_CHARS else f"{container[:12]}..."
