"""``plan(payment, now, facts) -> Next(at, do)``: what is due next, decided from the row alone.

The first row that matches speaks; the rows stand below in the order of protocol.md, section 4. ``do`` is never
nothing at its own ``at``: the store keeps ``at`` as the due time, so a due row always leads to an action.
``at`` None means quiet: nothing is owed any more.
"""

from . import operations, owed
from .attempts import first_attempt, last_attempt
from .due import QUIET, Call, Facts, Judge, Next, Reverse, call
from .outcome import NO_EFFECT, Absent, Captured, Closed, Found, NotSent, Succeeded, Unknown, Unreadable
from .owed import daily, readable, replay_at, replay_by
from .payment import FINAL, Attempt, Payment, Step, StepKind
from .retry import DAY_US, SECOND_US, backoff_us, retry_after_us, schedule_us
from .verdict import (
    acting_until_us,
    captures,
    declines,
    effective,
    evidence,
    fires,
    held,
    last_send,
    sealed,
    shown_idle,
    still_open,
    unresolved,
    verdict,
)

FIRES_MAX = 3
HINTED_READS_MAX = 40
SILENT_LOOKS_MAX = 4
ABSENTS_MAX = 3  # at the end of a watch


def plan(p: Payment, now_us: int, facts: Facts) -> Next:
    """What is due. With a live lease: what it would say at the lease's end."""
    lease = max((s.lease_until_us for s in p.steps() if s.outcome is None and s.lease_until_us > now_us), default=0)
    due = _first_row(p, max(now_us, lease), facts)
    return due if due.at_us is None else Next(max(due.at_us, lease), due.do)


def _first_row(p: Payment, now: int, facts: Facts) -> Next:
    hinted = _hint(p, now, facts)
    if hinted is not None and hinted.at_us is not None and hinted.at_us <= now:
        return hinted
    due = _other_row(p, now, facts)  # a hint whose read has to wait holds nothing else up
    return _earliest([n for n in (hinted, due) if n is not None and n.at_us is not None]) or QUIET


def _other_row(p: Payment, now: int, facts: Facts) -> Next:
    attempts = (first_attempt, last_attempt)
    for row in (_found, _surplus, _operations, _authorized, _unresolved, _doubt, _watch, _cancel, *attempts):
        if (due := row(p, now, facts)) is not None:
            return due
    return QUIET


# --- rows ---------------------------------------------------------------------------------------------------------


def _hint(p: Payment, now: int, facts: Facts) -> Next | None:
    """An unread claim: read it. After Unreadable with backoff; the hint stays. Where the account is away a look a day later is
    kept due, which holds nothing else up."""
    for a in sorted(p.attempts, key=lambda a: a.n in facts.lost):
        if a.hint is None or not a.terms.readable or not operations.worth_reading(p, a):
            continue
        tried = [s for s in a.steps if s.kind == "read" and s.seq > a.hint.seq]
        if len(tried) >= HINTED_READS_MAX:
            continue
        wait = backoff_us(p.id, p.version, len(tried)) + SECOND_US if tried else 0
        since = tried[-1].ended_us + max(wait, retry_after_us(tried[-1].outcome)) if tried else now
        return Next(now + DAY_US if a.n in facts.lost else since, call("read", a))
    return None


def _found(p: Payment, now: int, facts: Facts) -> Next | None:
    """After a restore: the next attempt of the lost end of the history was found. It is opened by a look at it."""
    if facts.found_at and all(sealed(a) or verdict(a) == "YES" for a in p.attempts):
        return Next(p.updated_us, Call(kind="read", account=facts.found_at, attempt=len(p.attempts), opens=True))
    return None


def _surplus(p: Payment, now: int, facts: Facts) -> Next | None:
    """A second success is given back (R8), but never while any attempt could still turn out to be the only one."""
    if any(unresolved(a) for a in p.attempts):
        return None
    for a in p.attempts:
        undecided = p.winner is None and p.status not in FINAL  # given back already: an operator says what that means
        kept = a.n == p.winner and p.status != "CANCELED"  # else it was taken after the hold had been given back
        if not kept and verdict(a) == "YES" and operations.reversal_of(p, a.n) is None and not undecided:
            if a.terms.own_capture and not any(isinstance(o, Succeeded | Captured) for _, o in evidence(a)):
                return Next(now, Judge(what="left", reason="never_captured", attempt=a.n))  # only held: it lapses
            return Next(now, Reverse(attempt=a.n, reason="surplus" if p.winner is not None else "late_success"))
    return None


def _operations(p: Payment, now: int, facts: Facts) -> Next | None:
    """What captures, voids, refunds and reversals ask for. It holds up nothing else that is owed."""
    due = [n for o in p.operations[1:] if (n := owed.owed(p, o, now, facts)) is not None]
    rest = (n for row in (_unresolved, _watch, _authorized) if (n := row(p, now, facts)) is not None) if due else ()
    return _earliest([*due, *(n for n in rest if n.at_us is not None)])


def _authorized(p: Payment, now: int, facts: Facts) -> Next | None:
    """AUTHORIZED has an end: then a look, and more, ever rarer, up to one a day, while the provider still shows the hold."""
    if p.status != "AUTHORIZED" or p.winner is None:
        return None
    a = p.attempts[p.winner]
    last, end = a.steps[-1], p.authorization_expires_us
    slower = min(last.ended_us - end, DAY_US)  # it may lapse a little later than was said
    pause = max(schedule_us(a.terms.read_schedule_s, _looks(a)), slower, retry_after_us(last.outcome))
    again = max(end, last.ended_us) if last.at_us < end else last.ended_us + pause
    unresolved_too = _unresolved(p, now, facts)
    others = [*_losers(p, now, facts), *([unresolved_too] if unresolved_too else [])]
    unseen = last.kind == "read" and not (isinstance(last.outcome, Found) and last.outcome.tries)
    if unseen and last.at_us >= end + a.terms.horizon_s * SECOND_US and not p.attention and a.n not in facts.lost:
        others.append(Next(last.ended_us, Judge(what="attention", reason="horizon", attempt=a.n)))  # nobody shows its end
    return _earliest([*([Next(again, call("read", a))] if a.terms.readable else []), *others]) or QUIET


def _unresolved(p: Payment, now: int, facts: Facts) -> Next | None:
    """The earliest of what the unresolved attempts ask for. IN_DOUBT has a row of its own."""
    if p.status == "IN_DOUBT":
        return None
    owes = (a for a in p.attempts if unresolved(a) or (p.status not in FINAL and _open_box(a)))
    due = [n for a in owes if (n := _resolve(p, a, now, facts)) is not None]
    if due and p.status in FINAL:
        due += _losers(p, now, facts)
    return _earliest(due)


def _resolve(p: Payment, a: Attempt, now: int, facts: Facts) -> Next | None:
    """One attempt that is UNKNOWN or OPEN: capture what is held, leave, judge, replay, re-fire, close, or read.
    None when it cannot be read and people were told."""
    terms, last, state, send, horizon = a.terms, a.steps[-1], verdict(a), last_send(a), horizon_us(a)
    usable, lost = readable(a, facts), a.n in facts.lost
    wait = max(schedule_us(terms.read_schedule_s, _looks(a)), retry_after_us(last.outcome))
    if isinstance(last.outcome, Closed) and sum(s.kind == "close" for s in a.steps) == 1:
        wait = max(1, terms.read_lag_s) * SECOND_US  # the re-read that seals it: a failover waits for it
    at = last.ended_us + wait
    live = p.live and a.n == len(p.attempts) - 1 and not lost and not facts.hold and now < horizon
    given_up = bool(declines(a)) or len(fires(a)) >= FIRES_MAX or not p.live
    until = acting_until_us(a)
    expired = until is not None and (until or horizon) <= last.ended_us
    if terms.own_capture and not captures(a) and not a.left:
        failed = [s for s in a.steps if s.kind == "capture"]
        looked = last.kind == "read" or not failed or not usable  # refused: is it still held?
        if held(a) and live and not a.manual and looked:
            pause = max(schedule_us(terms.read_schedule_s, len(failed) - 1), retry_after_us(last.outcome)) if failed else 0
            return Next(last.ended_us + pause, call("capture", a))
        looked = last.kind != "capture" or not usable  # a refusal may mean that it was captured before
        if (state == "UNKNOWN" or until is not None) and (given_up or expired or last.ended_us >= horizon) and looked:
            return Next(last.ended_us, Judge(what="left", reason="never_captured", attempt=a.n))
    if at >= horizon and _tried_everything(a, horizon, usable, lost):
        return _past_horizon(p, a, max(horizon, last.ended_us))
    looked_last = last.kind == "read" or not usable
    first = next((s for s in a.steps if s.kind == "fire"), last)
    chance = replay_at(at, last, now, replay_by(first, terms, terms.replay_span_s))
    if state == "UNKNOWN" and live and terms.keyed and looked_last and at < horizon and chance is not None:
        return Next(chance, call("replay", a))
    if state == "UNKNOWN" and live and terms.container and last.kind == "read" and shown_idle(a):
        again, block = _again(a), facts.blocked.get(a.account)
        refusals = sum(1 for s in a.steps if s.kind == again and isinstance(s.outcome, NO_EFFECT))
        pause = schedule_us(terms.read_schedule_s, refusals - 1) if refusals else 0
        stop = again == "fire" and (refusals >= FIRES_MAX or (block is not None and block.drained))
        if again == "capture" or (again and block is None and not stop):
            return Next(last.ended_us + pause, call(again, a))
        if stop:  # nothing new is sent there: leave it by the way that seals it
            given_up = True
            if terms.own_capture and not captures(a) and not a.left:
                return Next(last.ended_us, Judge(what="left", reason="never_captured", attempt=a.n))
    give_up = given_up or expired or last.ended_us >= horizon
    if terms.closable and last.kind == "read" and not lost and give_up and not _shown_closed(last):
        return Next(last.ended_us, call("close", a))
    if usable:
        # a read that may license a re-fire starts here
        idle_from = (send.send_by_us if send else 0) + terms.processing_s * SECOND_US
        if terms.container and at < idle_from <= at + wait:
            at = idle_from
        if until and state == "OPEN" and last.ended_us < until:
            at = min(at, until)  # then it is closed, or left
        shown = last.ended_us + (terms.read_lag_s * SECOND_US if last.kind == "close" else 0)  # sooner it may not show yet
        return Next(min(max(at, shown), max(horizon, shown)), call("read", a))
    return _past_horizon(p, a, max(horizon, last.ended_us))


def _past_horizon(p: Payment, a: Attempt, at: int) -> Next | None:
    """IN_DOUBT; beside a final status or a hold attention, said once, and read daily from then on."""
    if p.status not in FINAL and p.status != "AUTHORIZED":
        return Next(at, Judge(what="IN_DOUBT", reason="horizon", attempt=a.n))
    if p.attention != "horizon":
        return Next(at, Judge(what="attention", reason="horizon", attempt=a.n))
    return daily(a, call("read", a), a.steps[-1])


def _doubt(p: Payment, now: int, facts: Facts) -> Next | None:
    """IN_DOUBT, and unresolved mismatches beside any status, are read daily; what can be closed is closed. The other
    attempts are watched meanwhile: one of them may turn out to be paid."""
    unclear = ("MISMATCH", "UNKNOWN", "OPEN", *(("YES",) if p.winner is None and p.status == "IN_DOUBT" else ()))
    unsettled = [a for a in p.attempts if verdict(a) in unclear and not a.left]
    due = []
    for a in unsettled:
        state, last = verdict(a), a.steps[-1]
        if state != "MISMATCH" and p.status != "IN_DOUBT":
            continue
        closing = a.terms.closable and state in ("UNKNOWN", "OPEN") and last.kind == "read"
        look = daily(a, call("close" if closing else "read", a), last)
        if look and last.kind == "close" and readable(a, facts):
            look = Next(last.ended_us + max(1, a.terms.read_lag_s) * SECOND_US, look.do)
        due += [look] if look else []
    if p.status == "IN_DOUBT" and (unsettled or p.reason == "restored_elsewhere"):  # what was lost may be charged elsewhere
        return _earliest([*due, *_losers(p, now, facts)]) or QUIET
    return _earliest([*due, *_losers(p, now, facts)]) if due else None


def _watch(p: Payment, now: int, facts: Facts) -> Next | None:
    """Final: what carried money and lost is read until it can no longer flip (R8)."""
    return (_earliest(_losers(p, now, facts)) or QUIET) if p.status in FINAL else None


def _losers(p: Payment, now: int, facts: Facts) -> list[Next]:
    """An account that is away is waited for, up to a month after the end of the watch: the shell sends nothing there."""
    due = []
    for a in p.attempts:
        send, last, kept = last_send(a), a.steps[-1], a.n == p.winner and p.status != "CANCELED"
        if kept or send is None or not a.terms.readable or unresolved(a) or verdict(a) in ("YES", "MISMATCH"):
            continue
        since = max([send.at_us, a.resolved_us, *(s.at_us for s in operations.looks_at(p, a) if s.kind in operations.SENDS)])
        watch_until = since + a.terms.watch_s * SECOND_US
        away = a.n in facts.lost and now > watch_until + 30 * DAY_US
        reads = [s for s in a.steps if s.kind == "read"]
        # the longer nothing happened, the rarer the look
        slower = min(last.ended_us - max(send.ended_us, since), DAY_US)
        at = last.ended_us + max(schedule_us(a.terms.read_schedule_s, len(reads)), slower, retry_after_us(last.outcome))
        late = [s for s in reads if s.at_us >= watch_until]
        absent = sum(isinstance(s.outcome, Absent) for s in late)  # proves nothing: believed only when it is said again
        told = away or absent >= ABSENTS_MAX or any(isinstance(s.outcome, Found) for s in late)
        if at <= watch_until and not away:
            due.append(Next(at, call("read", a)))
        elif not told:  # the watch ends with an answer, not with a try
            due.append(Next(max(at if late else watch_until, last.ended_us), call("read", a)))
        elif still_open(a) and not away and not (a.left and a.terms.own_capture):  # somebody decided, the provider has not
            due.append(Next(last.ended_us + DAY_US, call("read", a)))
    return due


def _earliest(due: list[Next]) -> Next | None:
    return min(due, key=lambda n: n.at_us or 0, default=None)


def _cancel(p: Payment, now: int, facts: Facts) -> Next | None:
    """Nothing is unresolved: a cancel that was asked is done; a customer who did not act in time is not sent elsewhere."""
    if p.cancel_asked:
        return Next(p.updated_us, Judge(what="CANCELED", reason="canceled"))
    a = p.attempts[-1] if p.attempts else None
    until, said = (acting_until_us(a), declines(a)) if a else (None, [])
    late = a is not None and bool(until) and a.steps[-1].ended_us >= (until or 0)
    if late or (until is not None and said and said[-1].code == "action_expired"):
        return Next(p.updated_us, Judge(what="CANCELED", reason="expired"))
    return None


# --- what the rows ask --------------------------------------------------------------------------------------------


def horizon_us(a: Attempt) -> int:
    """From the last fire or capture that could have had an effect (replays and refusals do not move it)."""
    sends = effective(a)
    shots = [s.at_us for s in sends if s.kind != "replay"] or [s.at_us for s in sends or a.steps[:1]]
    return max([*shots, acting_until_us(a) or 0]) + a.terms.horizon_s * SECOND_US


def _looks(a: Attempt) -> int:
    """How far the schedule has got since the last shot. What nobody answered, since somebody did, takes it four entries further
    at most (first to two minutes): a provider that comes back must not find everybody asleep for an hour."""
    last_shot = max((s.seq for s in a.steps if s.kind in ("fire", "capture")), default=0)
    since = [s for s in a.steps if s.kind in ("read", "replay", "close") and s.seq > last_shot]
    heard = [n for n, s in enumerate(since, 1) if not isinstance(s.outcome, Unreadable | Unknown | NotSent | None)]
    return len(heard) + min(len(since) - max(heard, default=0), SILENT_LOOKS_MAX)


def _again(a: Attempt) -> StepKind | None:
    """What may be sent again on an idle container: the capture of what is held, or the fire if nothing is."""
    if captures(a):
        return "capture" if held(a) and len(captures(a)) < FIRES_MAX else None
    return "fire" if not declines(a) and held(a) is None and len(fires(a)) < FIRES_MAX else None


def _open_box(a: Attempt) -> bool:
    """Declined for good, in a container that was never seen closed: a copy of the fire may still be taken in it (R4). Asked
    before the next step only: what an earlier version left is history."""
    return a.terms.closable and verdict(a) == "NO" and bool(effective(a)) and not any(_shown_closed(s) for s in a.steps)


def _shown_closed(read: Step) -> bool:
    return isinstance(read.outcome, Found) and read.outcome.container == "closed"


def _tried_everything(a: Attempt, horizon: int, readable: bool, lost: bool) -> bool:
    """At the horizon: closed where closable, and re-read where readable, each at least once since."""
    closes = [s for s in a.steps if s.kind == "close"]
    reads = [s for s in a.steps if s.kind == "read" and s.at_us >= horizon]
    if lost:
        return True
    closed = any(_shown_closed(s) for s in a.steps)
    if a.terms.closable and not closed and not (closes and closes[-1].at_us >= horizon):
        return False
    since = closes[-1].seq if closes else 0
    return not readable or any(s.seq > since for s in reads)
