"""Figures: how many payments, with what end, how fast, at which account. They are counted where a change is written, in the
same write where the store can, and are projections like news: nothing is decided by them, and losing them costs a chart.

One change gives some tallies (``counted``). Times are kept as a histogram in steps of a quarter of a doubling, so that any
percentile of any window can be told within a fifth of its value, from sums alone.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, Protocol

from msgspec import Struct

from .core.events import Accepted, Observed
from .core.operations import part_of
from .core.outcome import AnyOutcome, Declined, Found
from .core.payment import Attempt, Operation, Payment, PaymentStatus, Step
from .ports import Change, Scope

What = Literal["accepted", "settled", "settle_ms", "call", "call_ms", "declined"]
Span = Literal["minute", "hour"]
SPAN_US: Final[Mapping[Span, int]] = {"minute": 60_000_000, "hour": 3_600_000_000}
MINUTES_KEPT_US: Final = 2 * 86_400 * 1_000_000  # of the minutes; hours stay
COUNT_MAX: Final = 10_000  # up to which payments of a status are counted one by one
OPEN: Final[frozenset[PaymentStatus | None]] = frozenset({None, "PENDING", "REQUIRES_ACTION", "IN_DOUBT"})
STEPS: Final = 4  # of the histogram, in each doubling
BUCKET_MAX: Final = 160  # 2**40 ms: 34 years


class Tally(Struct, frozen=True, kw_only=True):
    """``n`` of ``what`` within the minute or hour that begins at ``at_us``.

    accepted   payments; ``minor`` is the sum of their amounts
    settled    payments that reached an end for the first time, and those that became IN_DOUBT; ``which`` is the status,
               ``account`` that of the charge, ``minor`` what was captured or held
    settle_ms  the same payments (not IN_DOUBT) by the time since they were accepted; ``which`` is a bucket
    call       answers to calls; ``which`` is ``KIND:OUTCOME`` (``fire:Declined``)
    call_ms    the same by how long the call took; ``which`` is a bucket
    declined   attempts; ``which`` is the decline code"""

    at_us: int
    what: What
    account: str = ""
    currency: str = ""
    which: str = ""
    n: int = 1
    minor: int = 0


class Tallied(Struct, frozen=True):
    """What was found for a window. ``complete`` False: only the newest ``of`` payments were looked at, or counting began within
    the window (``since_us``)."""

    tallies: tuple[Tally, ...]
    complete: bool = True
    of: int = 0
    since_us: int = 0


class Figures(Protocol):
    """The counted figures of a store. Implementations: ``stores.memory``, ``stores.sqlite``, ``stores.dynamodb``. Raises
    StoreUnavailable."""

    async def tallies(self, scope: Scope, from_us: int, before_us: int, *, span: Span, fold: bool = False) -> Tallied:
        """The tallies of a merchant and mode whose minute or hour begins in [from, before), summed per minute or hour; with
        ``fold`` over the whole window, with ``at_us`` 0. Minutes are there for the last two days only."""

    async def standing(self, scope: Scope) -> Mapping[str, int]:
        """How many payments stand in each status that is not final, and under ``attention`` how many need eyes, each counted up
        to COUNT_MAX + 1."""


def counted(change: Change) -> Iterator[Tally]:
    """What a change adds, whoever writes it. Pure; a change that is written twice must be counted once, by the writer."""
    p = change.payment
    for entry in change.entries:
        at_us, event = entry.envelope.at_us, entry.envelope.data
        if isinstance(event, Accepted):
            yield Tally(at_us=at_us, what="accepted", currency=event.currency, minor=event.amount_minor)
        elif isinstance(event, Observed):
            yield from _answered(p, event, at_us)
    if change.was in OPEN and change.was != p.status and p.status not in ("PENDING", "REQUIRES_ACTION"):
        yield from _settled(p, change.entries[-1].envelope.at_us)


def _settled(p: Payment, at_us: int) -> Iterator[Tally]:
    account = p.attempts[-1 if p.winner is None else p.winner].account if p.attempts else ""
    minor = p.captured_minor or p.authorized_minor
    yield Tally(at_us=at_us, what="settled", account=account, currency=p.currency, which=p.status, minor=minor)
    if p.status != "IN_DOUBT":
        yield Tally(at_us=at_us, what="settle_ms", account=account, which=bucket(at_us - p.created_us))


def _answered(p: Payment, event: Observed, at_us: int) -> Iterator[Tally]:
    owner = part_of(p, event.about)
    if owner is None:
        return
    part, step = owner
    account = p.attempts[part.attempt].account if isinstance(part, Operation) else part.account
    word = f"{step.kind}:{type(event.outcome).__name__}"
    yield Tally(at_us=at_us, what="call", account=account, currency=p.currency, which=word)
    yield Tally(at_us=at_us, what="call_ms", account=account, which=bucket(at_us - step.at_us))
    if isinstance(part, Attempt) and (fresh := _fresh_declines(part, step, event.outcome)):
        yield Tally(at_us=at_us, what="declined", account=account, currency=p.currency, which=fresh)


def _fresh_declines(a: Attempt, step: Step, outcome: AnyOutcome) -> str:
    """The last decline code of an answer that no answer before it had shown for this attempt; empty when there is none."""
    before = {code for s in a.steps if s.seq != step.seq and s.outcome is not None for code in declines_of(s.outcome)}
    return next((code for code in reversed(list(declines_of(outcome))) if code not in before), "")


def declines_of(outcome: AnyOutcome) -> Iterator[str]:
    """The decline codes in an answer."""
    tries = outcome.tries if isinstance(outcome, Found) else (outcome,)
    return (each.code for each in tries if isinstance(each, Declined))


def bucket(us: int) -> str:
    """The bucket of a duration in microseconds, by milliseconds, as text that sorts."""
    ms = max(us // 1000, 1)
    return f"{min(int(math.log2(ms) * STEPS), BUCKET_MAX):03d}"


def percentile(buckets: Mapping[str, int], share: float) -> float | None:
    """The duration in milliseconds below which ``share`` (0 to 1) of the counted ones lie; None without any."""
    total = sum(buckets.values())
    if total <= 0:
        return None
    wanted, seen = share * total, 0
    for name in sorted(buckets):
        inside = buckets[name]
        if inside and seen + inside >= wanted:
            low = 2 ** (int(name) / STEPS)
            return float(low * 2 ** ((wanted - seen) / inside / STEPS))
        seen += inside
    return None


def summed(tallies: Iterable[Tally]) -> dict[tuple[str, str, str, str, int], tuple[int, int]]:
    """(what, account, currency, which, at) -> n and minor, for stores that keep sums."""
    found: dict[tuple[str, str, str, str, int], tuple[int, int]] = {}
    for t in tallies:
        key = (t.what, t.account, t.currency, t.which, t.at_us)
        n, minor = found.get(key, (0, 0))
        found[key] = (n + t.n, minor + t.minor)
    return found
