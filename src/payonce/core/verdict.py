"""The verdict on an attempt: derived from its evidence on demand, never stored (protocol.md, section 2).

YES       some evidence says the money was taken; or held, where the merchant captures.
NO        proven that none was taken and none can be.
OPEN      the provider has it and it is not final.
IDLE      no money step on record could have had an effect (R2 makes that a proof).
MISMATCH  a good answer with other amount, currency or mode.
UNKNOWN   the rest. What is not proven NO is UNKNOWN; no timer changes that (R3).
"""

from collections.abc import Iterator
from typing import Literal, cast

from msgspec.structs import replace

from .outcome import (
    NO_EFFECT,
    OF_REFUNDS,
    OPEN_TRIES,
    Absent,
    AnyOutcome,
    Authorized,
    Captured,
    Declined,
    Found,
    Mismatch,
    RequiresAction,
    Succeeded,
    Try,
    Unknown,
)
from .payment import MONEY_STEPS, Attempt, Operation, Payment, Step

Verdict = Literal["YES", "NO", "OPEN", "IDLE", "MISMATCH", "UNKNOWN"]


def verdict(a: Attempt) -> Verdict:
    """The one place where evidence becomes a conclusion. ``plan`` asks some ten times about the same attempt, so the last one
    is remembered: of 500 events a plan takes 0.4 instead of 1.0 ms."""
    known = _last[0]
    if known[0] is not a:
        known = _last[0] = (a, _concluded(a))
    return known[1]


_last: list[tuple[Attempt | None, Verdict]] = [(None, "IDLE")]  # attempts are frozen, so their verdict is too


def _concluded(a: Attempt) -> Verdict:
    seen = list(evidence(a))
    if a.resolved != "reversed" and (any(isinstance(o, Succeeded | Captured) for _, o in seen) or a.resolved == "charged"):
        return "YES"
    if a.resolved:
        return "MISMATCH" if any(step.seq > a.resolved_seq and _kept(o) for step, o in seen) else "NO"
    if any(isinstance(o, Mismatch) for _, o in seen):
        return "MISMATCH"
    if a.manual and not a.left and any(isinstance(o, Authorized) for _, o in seen):
        return "YES"
    sends = effective(a)
    if not sends and not any(isinstance(s.outcome, Found) and s.outcome.tries for s in a.steps):
        return "IDLE"  # tries without a send of ours: it was lost with the tail of a restored backup
    if _proven_no(a, sends, seen):
        return "NO"
    return "OPEN" if _open(a, seen) else "UNKNOWN"


def sealed(a: Attempt) -> bool:
    """R4: only a sealed attempt may be left behind for another one, or for FAILED or CANCELED."""
    return a.left or verdict(a) in ("IDLE", "NO")


def _kept(o: AnyOutcome) -> bool:
    """Money that the provider says it took and did not give back in full: contradicts who resolved it otherwise."""
    return isinstance(o, Succeeded | Captured | Mismatch) and getattr(o, "refunded_minor", 0) < o.amount_minor


def unresolved(a: Attempt) -> bool:
    """It may still turn out to have taken the money. An attempt that was left cannot: only our capture moves it."""
    return not a.left and verdict(a) in ("UNKNOWN", "OPEN")


def evidence(a: Attempt) -> Iterator[tuple[Step, AnyOutcome]]:
    """Every outcome of the attempt with the step that got it."""
    return flat(a.steps)


def flat(steps: tuple[Step, ...]) -> Iterator[tuple[Step, AnyOutcome]]:
    """Every outcome with the step that got it; a read's tries one by one."""
    for step in steps:
        if isinstance(step.outcome, Found):
            for each in step.outcome.tries:
                yield step, each
        elif step.outcome is not None:
            yield step, step.outcome


def effective(a: Attempt) -> list[Step]:
    """The money steps that could have had an effect: all but those proven not sent or not executed."""
    return [s for s in a.steps if s.kind in MONEY_STEPS and not isinstance(s.outcome, NO_EFFECT)]


def captures(a: Attempt) -> list[Step]:
    return [s for s in effective(a) if s.kind == "capture"]


def fires(a: Attempt) -> list[Step]:
    """Fires that could have had an effect, replays under the same key not counted."""
    return [s for s in effective(a) if s.kind == "fire"]


def last_read(a: Attempt) -> Step | None:
    """The youngest answered read. By seq, not by arrival: a stale list that arrives late speaks of its own time."""
    return max((s for s in a.steps if s.kind == "read" and s.outcome is not None), key=lambda s: s.seq, default=None)


def last_found(a: Attempt) -> Step | None:
    return max((s for s in a.steps if isinstance(s.outcome, Found)), key=lambda s: s.seq, default=None)


def last_send(a: Attempt) -> Step | None:
    return max(effective(a), key=lambda s: s.seq, default=None)


def final_decline(a: Attempt, step: Step, outcome: AnyOutcome) -> bool:
    """A provisional decline is final only if the call that shows it *began* after it can no longer flip: an answer may
    be held up on its way, or in a worker that froze, and then speaks of the past."""
    if not isinstance(outcome, Declined):
        return False
    return outcome.flips_until_us is None or step.at_us >= outcome.flips_until_us + a.terms.read_lag_s * 1_000_000


def declines(a: Attempt) -> list[Declined]:
    return [o for _, o in evidence(a) if isinstance(o, Declined)]


def held(a: Attempt) -> Authorized | None:
    """The hold that our own capture would take, as last seen."""
    found = last_found(a)
    holds = [o for step, o in evidence(a) if isinstance(o, Authorized) and step.seq >= (found.seq if found else 0)]
    return holds[-1] if holds and a.terms.own_capture else None


def hold(a: Attempt) -> tuple[Step, Authorized] | None:
    """The hold that the merchant asked for, as first seen."""
    return next(((step, o) for step, o in evidence(a) if isinstance(o, Authorized)), None) if a.manual else None


def acting_until_us(a: Attempt) -> int | None:
    """Until when the customer may act, if the provider asked for it: what was frozen, or less where the provider says so.
    None: nothing was asked. 0: nobody knows."""
    asked = [o for _, o in evidence(a) if isinstance(o, RequiresAction)]
    named = [o.expires_at_us for o in asked if o.expires_at_us]
    times = [t for t in (*named[-1:], a.action_expires_us) if t]
    return min(times, default=0) if asked else None


def shown_idle(a: Attempt) -> bool:
    """The last read began after the last send was over, and showed the container open with nothing in progress
    (a hold that waits for our capture is no progress)."""
    read, send = last_read(a), last_send(a)
    if read is None or send is None or not isinstance(read.outcome, Found) or read.outcome.container != "open":
        return False
    if read.seq < send.seq or read.at_us < send.send_by_us + a.terms.processing_s * 1_000_000:
        return False
    quiet = (Declined, Authorized) if a.terms.own_capture else (Declined,)
    return all(isinstance(t, quiet) for t in read.outcome.tries)


def _proven_no(a: Attempt, sends: list[Step], seen: list[tuple[Step, AnyOutcome]]) -> bool:
    if sends and all(s.outcome is not None and final_decline(a, s, s.outcome) for s in sends):
        return True
    if a.terms.keyed and any(final_decline(a, s, o) for s, o in seen):
        return True  # one key covers all sends: whichever arrives gets this answer
    found = last_found(a)
    if found is None or not isinstance(found.outcome, Found):
        return False
    tries = found.outcome.tries
    if not all(final_decline(a, found, t) for t in tries):
        return False
    if found.outcome.container == "closed":
        return True  # nothing in it, and nothing can get in any more
    # Rejected and NotSent fires make no entry; the one other fire must show up, and nothing besides. With two fires
    # a count proves nothing: both entries may be the first one, processed twice, while the second is in flight.
    return len(tries) == sum(s.kind == "fire" for s in sends) == 1 and not captures(a) and found.seq > max(s.seq for s in sends)


def still_open(a: Attempt) -> bool:
    """What was seen last is not final, whatever was concluded or decided."""
    return _open(a, list(evidence(a)))


def _open(a: Attempt, seen: list[tuple[Step, AnyOutcome]]) -> bool:
    found = last_found(a)
    since = found.seq if found else 0
    waiting = OPEN_TRIES if a.terms.own_capture else (*OPEN_TRIES, Authorized)
    return any(isinstance(o, waiting) and (step.seq >= since) for step, o in seen)


def given_back(a: Attempt) -> bool:
    """The provider shows that all it took was given back in full, by whoever."""
    found = last_found(a)
    taken = [t for t in found.outcome.tries if isinstance(t, Succeeded)] if found and isinstance(found.outcome, Found) else []
    return bool(taken) and all(t.refunded_minor >= t.amount_minor for t in taken)


def charge_ref(a: Attempt) -> str:
    """The provider's id of the hold or charge that a capture, void or refund works on; "" when none was named."""
    taken = [o.ref for _, o in evidence(a) if isinstance(o, Succeeded | Captured)]
    if taken:  # not the last object named: beside a charge a container may list declined tries and late holds
        return taken[0]
    if (seen := held(a)) is not None:
        return seen.ref
    if (first := hold(a)) is not None:
        return first[1].ref
    named = [ref for _, o in evidence(a) if (ref := getattr(o, "ref", ""))]
    return named[-1] if named else ""


def awaits_read(a: Attempt) -> bool:
    """A hint whose read has not begun also covers what happens now; a read under way may have missed it."""
    hint = a.hint
    return hint is not None and not any(s.kind == "read" and s.seq > hint.seq for s in a.steps)


# --- comparing what a provider says with what we asked -----------------------------------------------------------


def weigh(p: Payment, part: Attempt | Operation, step: Step, outcome: AnyOutcome) -> AnyOutcome:
    """What ``outcome`` is worth for this step: a foreign object is no evidence, other money is a Mismatch."""
    if isinstance(part, Operation):
        charge = next(a for a in p.attempts if a.n == part.attempt)
        wanted, given_back = charge.reference, part.reference
    else:
        wanted, given_back = part.reference, ""
    if isinstance(outcome, Found):
        named = outcome.reference or outcome.container_id or outcome.container != "none"
        if outcome.reference != wanted and named:
            return Absent()  # what a container shows (closed, idle, its id) counts only when it names itself as ours
        ours = (t for t in outcome.tries if getattr(t, "reference", wanted) == wanted)
        tries = tuple(cast("Try", _compare(p, t)) for t in ours)
        if outcome.tries and not tries:
            return Absent()
        return replace(outcome, tries=tries, refunds=tuple(r for r in outcome.refunds if r.currency == p.currency))
    said = getattr(outcome, "reference", None)
    if said is not None and said != (given_back if isinstance(outcome, OF_REFUNDS) else wanted):
        return Absent() if step.kind == "read" else Unknown(reason=f"the answer is about another object: {said}")
    if isinstance(outcome, OF_REFUNDS):
        asked = (part.amount_minor if isinstance(part, Operation) else None, p.currency)
        same = (outcome.amount_minor, outcome.currency) == asked
        return outcome if same else Unknown(reason="the refund answer names another amount")
    return _compare(p, outcome)


def _compare(p: Payment, outcome: AnyOutcome) -> AnyOutcome:
    if not isinstance(outcome, Succeeded | Authorized | Captured):
        return outcome
    captures = (o for o in p.operations if o.kind == "capture" and o.state != "FAILED")
    asked = [o.amount_minor for o in captures if p.attempts[o.attempt].reference == outcome.reference]
    due = asked[-1] if asked and not isinstance(outcome, Authorized) else p.amount_minor
    ours = {"amount": due, "currency": p.currency, "mode": p.mode}
    theirs = {"amount": outcome.amount_minor, "currency": outcome.currency, "mode": outcome.mode}
    differs = tuple(name for name in ours if ours[name] != theirs[name])
    if not differs:
        return outcome
    return Mismatch(
        ref=outcome.ref,
        reference=outcome.reference,
        amount_minor=outcome.amount_minor,
        currency=outcome.currency,
        mode=outcome.mode,
        differs=differs,
        held=isinstance(outcome, Authorized),
        refunded_minor=getattr(outcome, "refunded_minor", 0),
    )
