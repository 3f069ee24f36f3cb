"""From tallies to what is shown: pure sums over a window and the one before it. A rate of nothing is None, not 0 or 1."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from payonce.core.errors import DECLINES
from payonce.figures import COUNT_MAX, SPAN_US, Span, Tallied, Tally, percentile

from .house_bodies import ProviderPoint
from .stats_bodies import (
    AmountSums,
    DeclineList,
    DeclineSums,
    Point,
    ProviderBefore,
    ProviderSums,
    StandingBody,
    Stats,
    Sums,
    WindowName,
)
from .views import stamp

STEPS: Final[Mapping[WindowName, tuple[Span, int]]] = {"15m": ("minute", 15), "24h": ("hour", 24), "7d": ("hour", 168)}
ERRORS: Final = frozenset({"Unknown", "Unreadable", "NotSent", "Rejected"})  # outcomes of calls
APPROVED: Final = frozenset({"SUCCESS", "AUTHORIZED"})
RATE_DIGITS, MS_DIGITS = 4, 1

Hardness = Callable[[str, str], bool | None]  # account, decline code -> is it final there


class Window(Struct, frozen=True):
    """``steps`` whole minutes or hours of the clock, the running one last; the window before is as long, and ends where
    this one begins."""

    name: WindowName
    span: Span
    steps: int
    before_us: int

    @property
    def step_us(self) -> int:
        return SPAN_US[self.span]

    @property
    def from_us(self) -> int:
        return self.before_us - self.steps * self.step_us

    @property
    def previous_us(self) -> int:
        return self.from_us - self.steps * self.step_us


def window_at(name: WindowName, now_us: int) -> Window:
    """The window that ends with the running minute or hour."""
    span, steps = STEPS[name]
    return Window(name, span, steps, now_us - now_us % SPAN_US[span] + SPAN_US[span])


class Read(Struct, frozen=True):
    """The tallies of a window: folded, ``by_step`` (without histograms), and folded those of the window before."""

    now: Tallied
    by_step: Tallied
    before: Tallied


def stats(window: Window, read: Read, standing: Mapping[str, int], accounts: Iterable[str], now_us: int) -> Stats:
    """All of it; ``accounts`` are shown also without figures."""
    now, before = read.now, read.before
    since_us = max(now.since_us, before.since_us)
    return Stats(
        window=window.name,
        from_=stamp(window.from_us),
        before=stamp(window.before_us),
        previous_from=stamp(window.previous_us),
        step_s=window.step_us // 1_000_000,
        as_of=stamp(now_us),
        complete=now.complete,
        since=stamp(since_us) if since_us > window.previous_us else None,
        now=sums(now.tallies),
        previous=sums(before.tallies),
        standing=standing_body(standing),
        series=series(window, read.by_step.tallies),
        providers=providers(now.tallies, before.tallies, accounts),
        amounts=amounts(now.tallies),
    )


def sums(tallies: Sequence[Tally]) -> Sums:
    ended = _by_which(t for t in tallies if t.what == "settled")
    approved = ended["SUCCESS"] + ended["AUTHORIZED"]
    times = _by_which(t for t in tallies if t.what == "settle_ms")
    calls, errors = _calls(tallies)
    return Sums(
        accepted=sum(t.n for t in tallies if t.what == "accepted"),
        settled=sum(n for status, n in ended.items() if status != "IN_DOUBT"),
        succeeded=ended["SUCCESS"],
        authorized=ended["AUTHORIZED"],
        failed=ended["FAILED"],
        canceled=ended["CANCELED"],
        in_doubt=ended["IN_DOUBT"],
        approval_rate=_rate(approved, approved + ended["FAILED"]),
        settle_p50_ms=_ms(times, 0.5),
        settle_p95_ms=_ms(times, 0.95),
        calls=calls,
        errors=errors,
        error_rate=_rate(errors, calls),
    )


def standing_body(standing: Mapping[str, int]) -> StandingBody:
    """Statuses that nobody stands in are 0."""
    return StandingBody(
        PENDING=standing.get("PENDING", 0),
        REQUIRES_ACTION=standing.get("REQUIRES_ACTION", 0),
        AUTHORIZED=standing.get("AUTHORIZED", 0),
        IN_DOUBT=standing.get("IN_DOUBT", 0),
        attention=standing.get("attention", 0),
        max=COUNT_MAX,
    )


def series(window: Window, tallies: Iterable[Tally]) -> list[Point]:
    """One point for each step of the window; what lies outside of it is not there."""
    counts = _in_steps(window, tallies, _words)
    return [
        Point(
            at=stamp(at),
            accepted=c["accepted"],
            succeeded=c["SUCCESS"] + c["AUTHORIZED"],
            failed=c["FAILED"],
            canceled=c["CANCELED"],
            in_doubt=c["IN_DOUBT"],
            calls=c["calls"],
            errors=c["errors"],
        )
        for at, c in counts.items()
    ]


def _words(t: Tally) -> tuple[str, ...]:
    """What a tally counts for in a point."""
    match t.what:
        case "accepted":
            return ("accepted",)
        case "settled":
            return (t.which,)
        case "call":
            return ("calls", "errors") if is_error(t.which) else ("calls",)
        case _:
            return ()


def providers(now: Sequence[Tally], before: Sequence[Tally], accounts: Iterable[str]) -> list[ProviderSums]:
    """The accounts named, in their order, then those that have figures and are not named, by name."""
    mine, theirs = by_account(now), by_account(before)
    names = list(dict.fromkeys([*accounts, *sorted((mine.keys() | theirs.keys()) - {""})]))
    of_all = sum(_judged(tallies)[1] for name, tallies in mine.items() if name)
    return [provider_sums(name, mine.get(name, ()), theirs.get(name, ()), of_all) for name in names]


def by_account(tallies: Iterable[Tally]) -> dict[str, list[Tally]]:
    found: dict[str, list[Tally]] = {}
    for t in tallies:
        found.setdefault(t.account, []).append(t)
    return found


def provider_sums(account: str, now: Sequence[Tally], before: Sequence[Tally], of_all: int) -> ProviderSums:
    """``now`` and ``before`` are the account's; ``of_all``: attempts at all accounts in the window."""
    approved, attempts = _judged(now)
    was_approved, were_attempts = _judged(before)
    times, earlier = (_by_which(t for t in tallies if t.what == "call_ms") for tallies in (now, before))
    calls, errors = _calls(now)
    were_calls, were_errors = _calls(before)
    return ProviderSums(
        account=account,
        approved=approved,
        declined=attempts - approved,
        attempts=attempts,
        success_rate=_rate(approved, attempts),
        share=_rate(attempts, of_all),
        calls=calls,
        errors=errors,
        call_p50_ms=_ms(times, 0.5),
        call_p95_ms=_ms(times, 0.95),
        previous=ProviderBefore(
            success_rate=_rate(was_approved, were_attempts),
            errors=were_errors,
            calls=were_calls,
            call_p95_ms=_ms(earlier, 0.95),
        ),
    )


def provider_series(window: Window, tallies: Iterable[Tally]) -> list[ProviderPoint]:
    """As ``series``, of one account's tallies."""
    counts = _in_steps(window, tallies, _words_of_account)
    return [
        ProviderPoint(at=stamp(at), calls=c["calls"], errors=c["errors"], approved=c["approved"], declined=c["declined"])
        for at, c in counts.items()
    ]


def _words_of_account(t: Tally) -> tuple[str, ...]:
    match t.what:
        case "settled" if t.which in APPROVED:
            return ("approved",)
        case "declined":
            return ("declined",)
        case "call":
            return _words(t)
        case _:
            return ()


def _in_steps(window: Window, tallies: Iterable[Tally], words: Callable[[Tally], tuple[str, ...]]) -> dict[int, Counter[str]]:
    """What is counted in each step of the window, oldest first."""
    counts: dict[int, Counter[str]] = {at: Counter() for at in range(window.from_us, window.before_us, window.step_us)}
    for t in tallies:
        if (found := counts.get(t.at_us)) is not None:
            for word in words(t):
                found[word] += t.n
    return counts


def attempts_of(tallies: Iterable[Tally]) -> int:
    """How many attempts at any account these judge."""
    return _judged(t for t in tallies if t.account)[1]


def is_error(call: str) -> bool:
    """Of a call's ``KIND:OUTCOME``."""
    return call.rpartition(":")[2] in ERRORS


def _judged(tallies: Iterable[Tally]) -> tuple[int, int]:
    """Approved, and approved and declined together."""
    approved = declined = 0
    for t in tallies:
        if t.what == "settled" and t.which in APPROVED:
            approved += t.n
        elif t.what == "declined":
            declined += t.n
    return approved, approved + declined


def _calls(tallies: Iterable[Tally]) -> tuple[int, int]:
    """All, and those of them that are errors."""
    every = [t for t in tallies if t.what == "call"]
    return sum(t.n for t in every), sum(t.n for t in every if is_error(t.which))


def amounts(tallies: Iterable[Tally]) -> list[AmountSums]:
    accepted, taken, held = Counter[str](), Counter[str](), Counter[str]()
    for t in tallies:
        if t.what == "accepted":
            accepted[t.currency] += t.minor
        elif t.what == "settled" and t.which in APPROVED:
            (taken if t.which == "SUCCESS" else held)[t.currency] += t.minor
    return [
        AmountSums(currency=c, accepted=accepted[c], taken=taken[c], held=held[c])
        for c in sorted(accepted.keys() | taken.keys() | held.keys())
    ]


def declines(
    window: Window,
    now: Tallied,
    before: Tallied,
    hardness: Hardness,
    *,
    account: str | None = None,
    currency: str | None = None,
) -> DeclineList:
    """Why attempts were declined; only those of an account and a currency, where one is named."""
    counts, earlier = (_declined(found.tallies, account, currency) for found in (now, before))
    every = sorted(counts.keys() | earlier.keys(), key=lambda key: (-counts[key], -earlier[key], key))
    data = [
        DeclineSums(
            code=code,
            message=DECLINES.get(code, "The provider declined it."),
            hard=hardness(at, code),
            account=at,
            currency=of,
            count=counts[code, at, of],
            previous=earlier[code, at, of],
        )
        for code, at, of in every
    ]
    return DeclineList(
        window=window.name, from_=stamp(window.from_us), before=stamp(window.before_us), complete=now.complete, data=data
    )


def _declined(tallies: Iterable[Tally], account: str | None, currency: str | None) -> Counter[tuple[str, str, str]]:
    counts = Counter[tuple[str, str, str]]()
    for t in tallies:
        if t.what == "declined" and account in (None, t.account) and currency in (None, t.currency):
            counts[t.which, t.account, t.currency] += t.n
    return counts


def _by_which(tallies: Iterable[Tally]) -> Counter[str]:
    counts = Counter[str]()
    for t in tallies:
        counts[t.which] += t.n
    return counts


def _rate(part: int, whole: int) -> float | None:
    return round(part / whole, RATE_DIGITS) if whole else None


def _ms(buckets: Mapping[str, int], share: float) -> float | None:
    found = percentile(buckets, share)
    return None if found is None else round(found, MS_DIGITS)
