"""Figures: how many payments, with what end, how fast, at which account. They are counted where a change is written, in the
same write where the store can, and are projections like news: nothing is decided by them, and losing them costs a chart.

One change gives some tallies (``counted``). Times are kept as a histogram in steps of a quarter of a doubling, so that any
percentile of any window can be told within a fifth of its value, from sums alone.

Beside the tallies stand the two names under which a listing finds payments that no column of theirs has: the values of their
metadata (``metadata_of``) and the codes with which they were declined (``declines_in``).
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, Literal, Protocol

import msgspec
from msgspec import Struct

from .core.events import Accepted, Observed
from .core.idempotency import Details
from .core.operations import part_of
from .core.outcome import AnyOutcome, Authorized, Captured, Declined, Found, Mismatch, Succeeded
from .core.payment import Attempt, Operation, Payment, PaymentStatus, Step
from .ports import Change, Due, Scope

What = Literal["accepted", "settled", "settle_ms", "call", "call_ms", "declined"]
Span = Literal["minute", "hour"]
HOLD_GONE: Final = "hold_lapsed"
SPAN_US: Final[Mapping[Span, int]] = {"minute": 60_000_000, "hour": 3_600_000_000}
MINUTES_KEPT_US: Final = 2 * 86_400 * 1_000_000  # of the minutes; hours stay
COUNT_MAX: Final = 1_000  # up to which payments of a status are counted one by one
WAITING: Final[tuple[PaymentStatus, ...]] = ("PENDING", "REQUIRES_ACTION", "AUTHORIZED", "IN_DOUBT")  # not final
OVERDUE_LOOKED: Final = 10_000  # due rows of all merchants that are looked through for one of them
OPEN: Final[frozenset[PaymentStatus | None]] = frozenset({None, "PENDING", "REQUIRES_ACTION", "IN_DOUBT"})
STEPS: Final = 4  # of the histogram, in each doubling
BUCKET_MAX: Final = 160  # 2**40 ms: 34 years


class Tally(Struct, frozen=True, kw_only=True):
    """``n`` of ``what`` within the minute or hour that begins at ``at_us``.

    accepted   payments; ``minor`` is the sum of their amounts
    settled    payments that reached an end for the first time, and those that became IN_DOUBT; ``which`` is the status,
               ``account`` that of the charge, ``minor`` what was captured or held
    settle_ms  the same payments (not IN_DOUBT) by the time since they were accepted; ``which`` is a bucket
    call       answers to calls; ``which`` is ``KIND:OUTCOME`` (``fire:Declined``); of all currencies together
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

    async def tallies(
        self, scope: Scope, from_us: int, before_us: int, *, span: Span, fold: bool = False, what: Collection[What] = ()
    ) -> Tallied:
        """The tallies of a merchant and mode whose minute or hour begins in [from, before), summed per minute or hour; with
        ``fold`` over the whole window, with ``at_us`` 0. ``what``: only these; empty: all. A series of days without the
        histograms (``settle_ms``, ``call_ms``) is some times faster. Minutes are there for the last two days only."""

    async def standing(self, scope: Scope) -> Mapping[str, int]:
        """How many payments stand in each status that is not final, and under ``attention`` how many need eyes, each counted up
        to COUNT_MAX + 1. On DynamoDB only those among the newest ones, where ``attention`` is exact up to that number."""

    async def overdue(self, scope: Scope, before_us: int, limit: int) -> tuple[Due, ...]:
        """The payments of a merchant and mode that were due at or before a time, the longest first. It looks through the first
        OVERDUE_LOOKED due rows of all merchants: with more of them, others' may hide some. ``limit`` is at least 1."""


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
    account = charged_at(p)
    minor = p.captured_minor or p.authorized_minor
    yield Tally(at_us=at_us, what="settled", account=account, currency=p.currency, which=p.status, minor=minor)
    if p.status != "IN_DOUBT":
        yield Tally(at_us=at_us, what="settle_ms", account=account, which=bucket(at_us - p.created_us))


def _answered(p: Payment, event: Observed, at_us: int) -> Iterator[Tally]:
    owner = part_of(p, event.about)
    if owner is None:
        return
    part, step = owner
    yield from _call(p, part, step, event.outcome, at_us)
    if isinstance(part, Attempt):
        before = {code for s in part.steps if s.seq != step.seq and s.outcome is not None for code in declines_of(s.outcome)}
        yield from _declined(p, part, before, event.outcome, at_us)


def _call(p: Payment, part: Attempt | Operation, step: Step, outcome: AnyOutcome, at_us: int) -> Iterator[Tally]:
    account = p.attempts[part.attempt].account if isinstance(part, Operation) else part.account
    yield Tally(at_us=at_us, what="call", account=account, which=f"{step.kind}:{type(outcome).__name__}")
    yield Tally(at_us=at_us, what="call_ms", account=account, which=bucket(at_us - step.at_us))


def _declined(p: Payment, a: Attempt, before: Collection[str], outcome: AnyOutcome, at_us: int) -> Iterator[Tally]:
    """The last decline code of an answer that no answer before it had shown for this attempt."""
    fresh = next((code for code in reversed(list(declines_of(outcome))) if code not in before), "")
    if fresh:
        yield Tally(at_us=at_us, what="declined", account=a.account, currency=p.currency, which=fresh)


def of_payment(p: Payment) -> Iterator[Tally]:
    """What the changes of a payment counted, as far as its row still tells it: for stores that do not count, and for payments
    from before counting. When it came to its end is told by the answer that said so; that it was IN_DOUBT before, and what
    came in answers that were replaced since, is not seen."""
    yield Tally(at_us=p.created_us, what="accepted", currency=p.currency, minor=p.amount_minor)
    for part in p.parts():
        before = set[str]()
        for step in part.steps:
            if step.outcome is None:
                continue
            yield from _call(p, part, step, step.outcome, step.seen_at_us)
            if isinstance(part, Attempt):
                yield from _declined(p, part, before, step.outcome, step.seen_at_us)
                before.update(declines_of(step.outcome))
    if p.status not in ("PENDING", "REQUIRES_ACTION"):
        yield from _settled(p, _settled_us(p))


def _settled_us(p: Payment) -> int:
    if p.winner is not None:
        good = (Succeeded, Authorized, Captured, Mismatch, Found)
        steps = [s for s in p.attempts[p.winner].steps if isinstance(s.outcome, good)]
    else:
        steps = [s for a in p.attempts for s in a.steps[-1:] if s.outcome is not None]
    seen = [s.seen_at_us for s in steps]
    return p.updated_us if not seen else min(seen) if p.winner is not None else max(seen)


def charged_at(p: Payment) -> str:
    """The account of the charge that is kept, else of the youngest attempt; empty without any."""
    return p.attempts[-1 if p.winner is None else p.winner].account if p.attempts else ""


def declines_in(change: Change) -> frozenset[str]:
    """The decline codes of attempts that the change brings."""
    said = [e.envelope.data for e in change.entries if isinstance(e.envelope.data, Observed)]
    found = ((part_of(change.payment, event.about), event.outcome) for event in said)
    return frozenset(code for owner, o in found if owner and isinstance(owner[0], Attempt) for code in declines_of(o))


def declines_on(p: Payment) -> frozenset[str]:
    """The decline codes of all its attempts."""
    return frozenset(code for a in p.attempts for s in a.steps if s.outcome is not None for code in declines_of(s.outcome))


def metadata_of(details: Details) -> frozenset[str]:
    """The values of its metadata as text: strings as they are, numbers and booleans as JSON text. Empty ones and null are no
    names to be found by."""
    texts = (v if isinstance(v, str) else msgspec.json.encode(v).decode() for v in details.metadata.values() if v is not None)
    return frozenset(text for text in texts if text)


def metadata_in(change: Change) -> frozenset[str]:
    """The same of a payment that the change creates; nothing for any other change."""
    raw = change.bodies.get(change.payment.details_sha256) if change.entries[0].envelope.seq == 1 else None
    if not raw or b'"metadata"' not in raw:
        return frozenset()
    return metadata_kept(raw)


def metadata_kept(raw: bytes) -> frozenset[str]:
    """The same of the stored customer data; nothing for bytes that are something else."""
    try:
        return metadata_of(_details.decode(raw))
    except msgspec.DecodeError:
        return frozenset()


_details: Final = msgspec.json.Decoder(Details)


def declines_of(outcome: AnyOutcome) -> Iterator[str]:
    """The decline codes in an answer. That a hold is gone is no decline: it was given, and released as asked, or it ran out."""
    tries = outcome.tries if isinstance(outcome, Found) else (outcome,)
    return (each.code for each in tries if isinstance(each, Declined) and each.code != HOLD_GONE)


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


def summed(tallies: Iterable[Tally], span_us: int) -> tuple[Tally, ...]:
    """One for each minute or hour (``span_us``; 0: over all), what, account, currency and which, in this order."""
    found: dict[tuple[int, What, str, str, str], tuple[int, int]] = {}
    for t in tallies:
        key = (t.at_us - t.at_us % span_us if span_us else 0, t.what, t.account, t.currency, t.which)
        n, minor = found.get(key, (0, 0))
        found[key] = (n + t.n, minor + t.minor)
    return tuple(
        Tally(at_us=at_us, what=what, account=account, currency=currency, which=which, n=n, minor=minor)
        for (at_us, what, account, currency, which), (n, minor) in sorted(found.items())
    )


def within(tallies: Iterable[Tally], from_us: int, before_us: int, span: Span, what: Collection[What]) -> Iterator[Tally]:
    """Those whose minute or hour begins in the window."""
    span_us = SPAN_US[span]
    return (t for t in tallies if from_us <= t.at_us - t.at_us % span_us < before_us and (not what or t.what in what))
