"""Which account gets the next money step, and when: the last rows of ``plan``. Every attempt so far is sealed here, or
IDLE: nothing of it could have had an effect."""

from collections.abc import Iterable

from .due import Call, Facts, Judge, Next, call
from .outcome import NO_EFFECT, Absent, Declined, Found, Unreadable
from .payment import ATTEMPTS_MAX, Attempt, Payment, StepKind
from .retry import SECOND_US, backoff_us, retry_after_us
from .verdict import declines, effective, verdict

CREATES_MAX = 3
LOOK_US = 10 * SECOND_US  # how soon an account is looked at again that only somebody can free,
LOOK_MAX_US = 300 * SECOND_US  # rarer the longer a payment waits: many may


def first_attempt(p: Payment, now: int, facts: Facts) -> Next | None:
    """The first account of the route that may take it; while none may, wait for one until ``settle_s`` is over."""
    if p.attempts:
        return None
    names = [c.account for c in facts.route if c.taken]
    account = next((name for name in names if name not in facts.blocked), None)
    give_up = p.created_us + facts.settle_s * SECOND_US
    if now >= give_up:
        return Next(give_up, _failed())
    if account is None:
        return _await(p, names, now, give_up, facts, over=_failed())
    return Next(p.created_us, _open(p, account))


def last_attempt(p: Payment, now: int, facts: Facts) -> Next:
    """The youngest attempt is IDLE, NO or left, and nothing else is unresolved."""
    a = p.attempts[-1]
    settle_by = p.created_us + p.attempts[0].terms.settle_s * SECOND_US
    if verdict(a) == "IDLE" and not a.left:
        return _idle(p, a, now, settle_by, facts)
    last = a.steps[-1]
    said = declines(a)[-1] if declines(a) else None
    over = _failed(said.code if said else "no_provider_available")
    if p.status == "IN_DOUBT" or (said and ends_it(said)):
        return Next(p.updated_us, over)
    used = sum(1 for each in p.attempts if effective(each))
    if used >= p.attempts_max:
        return Next(p.updated_us, _failed(said.code if said else "attempts_exhausted"))
    account = _next_account(p, a, facts)
    if account is None:
        return Next(p.updated_us, over)
    if account in facts.blocked and now < settle_by:
        return _await(p, [account], now, settle_by, facts, over=over)
    pause = backoff_us(p.id, p.version, used) if account == a.account else 0
    at = max(last.ended_us, p.updated_us) + max(pause, retry_after_us(last.outcome) if account == a.account else 0)
    if max(at, now) >= settle_by or account in facts.blocked:
        return Next(max(settle_by, p.updated_us), over)
    return Next(at, _open(p, account))


def ends_it(said: Declined) -> bool:
    """No other account would help."""
    return said.hard or said.scope == "customer_input" or said.code == "insufficient_funds"


def why_this_account(p: Payment, account: str, facts: Facts) -> str:
    """For people: what came before a new attempt, and which accounts were passed over for it."""
    if account == facts.found_at:
        return "found there after a restore"
    names = p.accounts or tuple(c.account for c in facts.route if c.taken)
    over = [f"{name} ({facts.blocked[name].why})" for name in names if name != account and name in facts.blocked]
    passed = f"; passed over: {', '.join(over)}" if over else ""
    if not p.attempts:
        return ("the first of the route that may take it" if over else "first of the route") + passed
    a = p.attempts[-1]
    said = declines(a)[-1] if declines(a) else None
    idle = f"no charge was sent to {a.account}" if not effective(a) else f"{a.account} took nothing"
    told = f"{a.account} declined it ({said.code})" if said else idle
    return ("again: " if account == a.account else "next of the route: ") + told + passed


def _idle(p: Payment, a: Attempt, now: int, settle_by: int, facts: Facts) -> Next:
    """Nothing has moved here: create (up to 3 times, each looked up before the next), then fire; or go elsewhere, or wait
    and try again."""
    last, lost = a.steps[-1], a.n in facts.lost
    if a.account in facts.look_first and not lost and not (last.kind == "read" and isinstance(last.outcome, Found | Absent)):
        pause = backoff_us(p.id, p.version, len(a.steps)) if last.kind == "read" else 0
        return Next(last.ended_us + max(pause, retry_after_us(last.outcome)), call("read", a))
    if max(last.ended_us, now) >= settle_by or p.status == "IN_DOUBT":
        at = max(last.ended_us, settle_by) if p.status != "IN_DOUBT" else last.ended_us
        return Next(at, _failed())
    creating = a.terms.container and not a.container
    kind: StepKind = "create" if creating else "fire"
    tried = [s for s in a.steps if s.kind == kind]
    silent = bool(tried) and isinstance(last.outcome, Unreadable)  # neither the create nor the look was answered
    stuck = lost or a.account in facts.blocked
    if creating and last.kind == "create" and not isinstance(last.outcome, NO_EFFECT) and a.terms.readable and not lost:
        pause = max(a.terms.read_schedule_s[0] * SECOND_US, retry_after_us(last.outcome))
        return Next(min(last.ended_us + pause, settle_by), call("read", a))  # it may be there: look it up
    refused = isinstance(last.outcome, NO_EFFECT) or silent
    if not stuck and not refused and (not tried or (creating and len(tried) < CREATES_MAX)):
        pause = backoff_us(p.id, p.version, len(tried)) if tried else 0
        return Next(min(last.ended_us + pause, settle_by), call(kind, a))
    elsewhere = _untried_account(p, facts) or (_another_turn(p, facts) if stuck else None)
    if elsewhere is not None:
        return Next(last.ended_us, _open(p, elsewhere))
    pause = max(backoff_us(p.id, p.version, len(tried)), retry_after_us(last.outcome))  # lookups in between do not count
    at = last.ended_us + pause
    if stuck:
        block = facts.blocked.get(a.account)
        free = block.until_us if block and block.until_us else _look_us(p, now)
        at = max(at, free, now + SECOND_US)
    last_chance = settle_by - SECOND_US
    if at >= settle_by and not stuck and last.ended_us + max(retry_after_us(last.outcome), SECOND_US) <= last_chance:
        at = last_chance
    if at >= settle_by:
        return Next(max(settle_by, last.ended_us), _failed())
    return Next(at, call(kind, a))


def _await(p: Payment, names: Iterable[str], now: int, give_up: int, facts: Facts, *, over: Judge) -> Next:
    """Every one of these accounts is blocked: what will be done when the first of them is free. Computed from now on
    purpose: the shell knows when that is, and may be told otherwise."""
    free = sorted((facts.blocked[name].until_us or _look_us(p, now), n, name) for n, name in enumerate(names))
    at = max(free[0][0], now + SECOND_US) if free else _look_us(p, now)
    if at >= give_up or not free:
        return Next(give_up if free else min(at, give_up), over)
    return Next(at, _open(p, free[0][2]))


def _look_us(p: Payment, now: int) -> int:
    return now + max(LOOK_US, min(LOOK_MAX_US, (now - p.created_us) // 8))


def _next_account(p: Payment, a: Attempt, facts: Facts) -> str | None:
    """After a NO: the next usable account of the route, else one that will be free by itself; a forced or only account
    gets a new attempt."""
    if len(p.accounts) <= 1:
        return a.account
    return _untried_account(p, facts) or _another_turn(p, facts) or _freed_later(p, facts)


def _untried_account(p: Payment, facts: Facts) -> str | None:
    used = {a.account for a in p.attempts}
    return next((name for name in p.accounts if name not in used and name not in facts.blocked), None)


def _another_turn(p: Payment, facts: Facts) -> str | None:
    """An account that nothing could be sent to before."""
    if len(p.attempts) > ATTEMPTS_MAX // 2:
        return None
    used = {each.account for each in p.attempts if effective(each)} | {p.attempts[-1].account}
    return next((name for name in p.accounts if name not in used and name not in facts.blocked), None)


def _freed_later(p: Payment, facts: Facts) -> str | None:
    used = {each.account for each in p.attempts if effective(each)}
    waits = [(b.until_us, n, name) for n, name in enumerate(p.accounts) if (b := facts.blocked.get(name)) and name not in used]
    return min(((until, n, name) for until, n, name in waits if until is not None), default=(0, 0, None))[2]


def _open(p: Payment, account: str) -> Call:
    return Call(kind="fire", account=account, attempt=len(p.attempts), opens=True)


def _failed(reason: str = "no_provider_available") -> Judge:
    return Judge(what="FAILED", reason=reason)
