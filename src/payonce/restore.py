"""After a restore. A backup is older than the truth: what was sent after it is not on record, and the breakers, drains and
rules of then may have sent it to any account. So every account that can be asked is asked for the attempts that would come
next. What is found is put on record where it fits; where it does not, the payment is left to a person.
"""

from msgspec import Struct

from . import dispatch
from .core import ids
from .core.due import Call
from .core.idempotency import Details
from .core.outcome import Found, Unreadable
from .core.payment import ATTEMPTS_MAX, Attempt, Payment, Step
from .core.verdict import sealed, verdict, weigh
from .dispatch import Account
from .engine import SEND_WINDOW_MS, Engine
from .telemetry import get_logger

LOOK_AGAIN_S = 1.0

log = get_logger("restore")


class Look(Struct, frozen=True):
    """An account was asked for the attempt ``n``; ``there``: it shows at least one try of it."""

    n: int
    account: str
    there: bool


async def find_lost(engine: Engine, payment_id: str, *, timeout_s: float, once: bool = False) -> bool:
    """Look for the lost attempts of one payment, and put on record what is found, while nothing is fired anywhere. Safe to
    run again. False when an account did not answer in time, or its answer could not be put on record yet.

    Raises StoreUnavailable."""
    deadline = engine.clock.monotonic_us() + round(timeout_s * 1_000_000)
    looks: list[Look] = []
    first: int | None = None
    while (p := await engine.store.get(payment_id)) is not None:
        over = once or engine.clock.monotonic_us() >= deadline
        first = len(p.attempts) if first is None else first
        answered = await _look(engine, p, range(first, min(first + p.attempts_max, ATTEMPTS_MAX) + 1), looks)
        if answered and not any(look.there and look.n >= len(p.attempts) for look in looks):
            return True
        if answered and _misfit(p, looks, over=over):
            _tell(p, looks)
            if "restored_elsewhere" in (p.reason, p.attention):
                return True
            await engine.adopt(p, "")
            continue
        if answered and _ready(p):
            await engine.adopt(p, _at(looks, len(p.attempts))[0])
        elif answered:
            await engine.advance(p.id)  # a close, or the decision to leave it, may seal what stands before
        now = await engine.store.get(payment_id)
        if now is not None and len(now.attempts) > len(p.attempts):
            continue
        if over:
            return False
        await engine.clock.sleep(LOOK_AGAIN_S)
    return True


def blind(engine: Engine) -> list[str]:
    """Accounts that cannot be asked by our reference: what was lost there stays unknown."""
    return [a.name for a in engine.accounts.values() if not a.terms.readable]


def _ready(p: Payment) -> bool:
    """A further attempt can be put on record."""
    return all(sealed(a) or verdict(a) == "YES" for a in p.attempts)


def _at(looks: list[Look], n: int) -> list[str]:
    return [look.account for look in looks if look.there and look.n == n]


def _misfit(p: Payment, looks: list[Look], *, over: bool) -> bool:
    """What was found cannot be the next attempt on record: a gap before it, two accounts for one number, an account
    outside of the payment's route, or an attempt before it that is not sealed and will not be in time."""
    at = _at(looks, len(p.attempts))
    return len(at) != 1 or bool(p.route and at[0] not in p.accounts) or (over and not _ready(p))


def _tell(p: Payment, looks: list[Look]) -> None:
    """For people: where to look; it is not on record."""
    for look in looks:
        if look.there and look.n >= len(p.attempts):
            reference = ids.reference(p.id, 1, look.n)
            log.warning("a try that does not fit the record", payment_id=p.id, account=look.account, reference=reference)


async def _look(engine: Engine, p: Payment, numbers: range, looks: list[Look]) -> bool:
    """Ask every account of the payment's mode for what has not been answered yet. False when something still is not."""
    done, answered = {(look.n, look.account) for look in looks}, True
    for account in engine.accounts.values():
        if account.mode != p.mode or not account.terms.readable:
            continue
        for n in numbers:
            if n < len(p.attempts) or (n, account.name) in done:
                continue
            there = await _tried(engine, p, account, n)
            if there is None:
                answered = False
                break  # it would not answer the others either
            looks.append(Look(n, account.name, there))
    return answered


async def _tried(engine: Engine, p: Payment, account: Account, n: int) -> bool | None:
    """Whether the account shows a try under the reference of our attempt ``n``: a plain read, of which nothing is recorded.
    None when it did not answer."""
    about = dispatch.intent(p, Call(kind="read", account=account.name, attempt=n), Details())
    built = account.adapter.build(about)
    now = engine.clock.now_us()
    heard = await dispatch.exchange(
        engine.transport,
        account,
        dispatch.Prepared(dispatch.stored(account, built), built.body),
        about,
        send_by_us=now + SEND_WINDOW_MS * 1000,
        timeout_ms=account.terms.call_timeout_ms,
    )
    if isinstance(heard.outcome, Unreadable):
        return None
    asked = Attempt(
        n=n,
        account=account.name,
        adapter=account.adapter.name,
        base_url=account.base_url,
        credential_id=account.credential_id,
        reference=about.reference,
        terms=account.terms,
    )
    step = Step(seq=0, kind="read", owner="", at_us=now, send_by_us=now, lease_until_us=now)
    shown = weigh(p, asked, step, heard.outcome)
    return isinstance(shown, Found) and bool(shown.tries)
