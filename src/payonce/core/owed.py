"""What the operations beside the charge owe: rows of ``plan`` for captures, voids, refunds and reversals, by the same rules.
Where an answer is missing the provider is asked; what may be sent again is said per kind:

refund, reversal   the same bytes under the same key, within a short span of a published key window; else never
capture, void      when a look that began after the last send was over shows the hold as it was (a hold is taken once)
"""

from msgspec.structs import replace

from . import operations
from .due import Call, Facts, Judge, Next
from .outcome import Absent, Found, Refunding, Rejected
from .payment import Attempt, Operation, Payment, Step, StepKind, Terms
from .retry import DAY_US, SECOND_US, retry_after_us, schedule_us
from .verdict import captures

REFUSALS_MAX = 6  # of an operation that was refused each time and never sent otherwise
SENDS_MAX = 3  # of a capture or void whose effect does not show
LOOKS = (16, 4, 1)  # at a refund that was done: after these fractions of the watch, as it may still fail
LAST_CHANCE_US = 60 * SECOND_US  # before the end of a replay span: workers need a moment to wake


def owed(p: Payment, o: Operation, now: int, facts: Facts) -> Next | None:
    """What one operation asks for; None = nothing. A void before anything is held is a cancel: the charge's rows do it."""
    if not p.attempts or (o.kind in ("capture", "void") and p.status != "AUTHORIZED"):
        return None
    charge = p.attempts[o.attempt]
    if o.state == "SUCCEEDED" and o.kind in ("refund", "reversal"):
        return _watched(o, charge, facts)
    if o.state not in operations.UNSETTLED:
        return None
    if o.kind == "reversal":
        return _reversal(p, o, charge, now, facts)
    if o.kind == "void" and not charge.terms.voidable:
        return _lapsing(o, charge)
    return _asked(p, o, charge, now, facts)


def _asked(p: Payment, o: Operation, charge: Attempt, now: int, facts: Facts) -> Next | None:
    """What a merchant asked: sent at once, then read until it is known."""
    terms, last, sent = charge.terms, o.steps[-1] if o.steps else None, operations.sends(o)
    horizon = (sent[0].at_us if sent else o.at_us) + terms.horizon_s * SECOND_US
    kind: StepKind = "refund" if o.kind == "refund" else "capture" if o.kind == "capture" else "void"
    read = Call(kind="read", account=charge.account, attempt=charge.n, operation=o.n)
    do = replace(read, kind=kind)
    if charge.n in facts.lost:
        judge = _in_doubt(o) if sent else _never_sent(o)
        if o.state == "IN_DOUBT":
            return daily(charge, read, last) if last else None
        return Next(max(horizon, last.ended_us if last else 0), judge)
    if not sent and charge.account in facts.look_first and terms.readable and not _looked(o):
        pause = schedule_us(terms.read_schedule_s, len(o.steps))  # the lost end of a restored history may have sent it
        return Next(last.ended_us + pause if last else o.at_us, read)
    if last is None:
        return Next(o.at_us, do)
    if o.state == "IN_DOUBT":
        return daily(charge, read, last)
    wait = max(schedule_us(terms.read_schedule_s, len(o.steps) - 1), retry_after_us(last.outcome))
    at, readable = last.ended_us + wait, terms.readable
    if isinstance(operations.told(p, o), Refunding) and readable:  # days are usual: the older, the rarer the look
        return Next(last.ended_us + max(wait, min(last.ended_us - o.at_us, DAY_US)), read)
    if not sent:
        refused = sum(isinstance(s.outcome, Rejected) for s in o.steps)
        if refused >= REFUSALS_MAX or at >= horizon:
            return Next(last.ended_us, _never_sent(o))
        looked = last.kind == "read" and isinstance(last.outcome, Found)
        if looked or not readable or not refused:
            return Next(last.ended_us if looked else at, do)
        return Next(at, read)  # a refusal may mean that it was done before
    if at >= horizon:
        seen = not readable or (last.kind == "read" and last.at_us >= horizon)
        return Next(max(horizon, last.ended_us), _in_doubt(o) if seen else read)
    if kind == "refund":
        chance = replay_at(at, last, now, replay_by(sent[0], terms, terms.refund_replay_span_s))
        if chance is not None and (last.kind == "read" or not readable):
            return Next(chance, do)
    elif len(sent) < SENDS_MAX and operations.still_held(charge, o):
        return Next(last.ended_us, do)
    if not readable:
        return Next(horizon, _in_doubt(o))
    over = sent[-1].send_by_us + terms.processing_s * SECOND_US  # a look that may license another send starts here
    return Next(over if at < over <= at + wait else at, read)


def _reversal(p: Payment, o: Operation, charge: Attempt, now: int, facts: Facts) -> Next | None:
    """Read the charge and its refunds first, then give back under one derived key, then read again."""
    terms, last = charge.terms, o.steps[-1] if o.steps else None
    sent, usable = operations.sends(o), readable(charge, facts)
    horizon = (sent[0].at_us if sent else o.at_us) + terms.horizon_s * SECOND_US
    read = Call(kind="read", account=charge.account, attempt=charge.n, operation=o.n)
    # where capture is ours, a hold beside a charge is one that the read saw too early: it was taken
    held = operations.only_held(o) and not terms.own_capture
    give = replace(read, kind="void" if held else "refund")
    if last is None:
        if charge.n in facts.lost:
            return Next(horizon, _in_doubt(o) if o.state == "PENDING" else read)
        return Next(o.at_us, read if usable else give)
    refused = any(s.kind in ("refund", "void") for s in o.steps) and last.ended_us >= horizon  # and for long enough
    can = not held or terms.voidable
    if not can:  # it lapses by itself: nobody is called before it should have
        horizon = max(horizon, o.at_us + (terms.hold_s + terms.horizon_s) * SECOND_US)
    looked = last.kind == "read" and isinstance(last.outcome, Found)
    if not sent and looked and charge.n not in facts.lost and not refused and can:
        return Next(last.ended_us, give)  # nothing given back that could have had an effect, however long that took
    if o.state == "IN_DOUBT":
        return daily(charge, read, last)
    wait = max(schedule_us(terms.read_schedule_s, len(o.steps) - 1), retry_after_us(last.outcome))
    if isinstance(operations.told(p, o), Refunding) and usable:
        return Next(last.ended_us + max(wait, min(last.ended_us - o.at_us, DAY_US)), read)
    at = last.ended_us + (wait if can else max(wait, min(last.ended_us - o.at_us, DAY_US)))
    if at >= horizon or charge.n in facts.lost:
        judge = Next(max(horizon, last.ended_us), _in_doubt(o))
        return Next(at, read) if usable and last.kind != "read" else judge
    if not sent:  # a refusal may mean that the vendor was first: read before giving again
        return Next(at, read if usable or not can else give)
    chance = replay_at(at, last, now, replay_by(sent[0], terms, terms.refund_replay_span_s))
    if chance is not None and (last.kind == "read" or not usable):
        return Next(chance, give)
    return Next(at, read) if usable else Next(horizon, _in_doubt(o))


def _lapsing(o: Operation, charge: Attempt) -> Next | None:
    """The provider has no void: the decision never to capture is recorded, and the hold lapses (a look when it should have)."""
    if charge.terms.own_capture and not captures(charge) and not charge.left:
        return Next(o.at_us, Judge(what="left", reason="never_captured", attempt=charge.n))
    return None


def _watched(o: Operation, charge: Attempt, facts: Facts) -> Next | None:
    """A refund that was done may still fail: a few looks, each until it is answered, then nothing."""
    sent = operations.sends(o)
    if not sent or not readable(charge, facts):
        return None
    read = Call(kind="read", account=charge.account, attempt=charge.n, operation=o.n)
    last, seen = o.steps[-1], max((s.at_us for s in o.steps if isinstance(s.outcome, Found)), default=0)
    times = (sent[-1].ended_us + charge.terms.watch_s * SECOND_US // part for part in LOOKS)
    due = next((t for t in times if seen < t), None)
    if due is None:
        return None
    vain = sum(s.kind == "read" and s.at_us >= due for s in o.steps)  # asked, and not answered
    slower = max(schedule_us(charge.terms.read_schedule_s, vain), min(last.ended_us - due, DAY_US)) if vain else 0
    return Next(max(due, last.ended_us + max(slower, retry_after_us(last.outcome))), read)


def _looked(o: Operation) -> bool:
    return any(isinstance(s.outcome, Found | Absent) for s in o.steps)


def _never_sent(o: Operation) -> Judge:
    return Judge(what="operation_FAILED", reason="never_sent", operation=o.n)


def _in_doubt(o: Operation) -> Judge:
    return Judge(what="operation_IN_DOUBT", reason="horizon", operation=o.n)


# --- what the rows of the charge ask too --------------------------------------------------------------------------------


def readable(a: Attempt, facts: Facts) -> bool:
    return a.terms.readable and a.n not in facts.lost


def daily(a: Attempt, do: Call, last: Step) -> Next | None:
    """Once a day. Also for a lost account, where the shell sends nothing: the day after it may have been put right."""
    return Next(last.ended_us + DAY_US, do) if a.terms.readable else None


def replay_by(first: Step, terms: Terms, span_s: int) -> int:
    """The one place where a clock is safety: only inside a short span of the provider's published key window."""
    return first.at_us + span_s * SECOND_US - terms.call_timeout_ms * 1000 if span_s else -1


def replay_at(at: int, last: Step, now: int, by: int) -> int | None:
    """When the same key is sent again; the schedule never jumps over the last chance inside the span. None: too late."""
    at = at if at <= by else by - LAST_CHANCE_US
    return at if now <= by and last.ended_us + retry_after_us(last.outcome) <= at else None
