"""The figures of a window, from tallies made by hand: exact sums, rates that are null where there is nothing to divide by,
series without gaps."""

from typing import Any

import pytest

from payonce.figures import SPAN_US, Tallied, Tally
from payonce.shown.stats import (
    Read,
    amounts,
    declines,
    provider_series,
    providers,
    series,
    stats,
    sums,
    window_at,
)
from payonce.shown.stats_bodies import WINDOWS
from payonce.shown.views import moment

NOW_US = moment("2026-11-26T10:31:40.5Z")
MINUTE_US, HOUR_US = SPAN_US["minute"], SPAN_US["hour"]
MINUTE, HOUR = moment("2026-11-26T10:31:00Z"), moment("2026-11-26T10:00:00Z")


def tally(
    what: Any, which: str = "", n: int = 1, *, account: str = "a", currency: str = "INR", minor: int = 0, at: int = 0
) -> Tally:
    return Tally(at_us=at, what=what, account=account, currency=currency, which=which, n=n, minor=minor)


SOME = (
    tally("accepted", n=10, account="", minor=10_000),
    tally("settled", "SUCCESS", 6, minor=6_000),
    tally("settled", "AUTHORIZED", 1, minor=900),
    tally("settled", "FAILED", 2, account="b"),
    tally("settled", "CANCELED", 1, account=""),
    tally("settled", "IN_DOUBT", 3, account="b"),
    tally("settle_ms", "032", 5),
    tally("settle_ms", "036", 5),
    tally("call", "fire:Succeeded", 6),
    tally("call", "fire:Declined", 2, account="b"),
    tally("call", "fire:Unknown", 1, account="b"),
    tally("call", "read:Unreadable", 1, account="b"),
    tally("call", "fire:NotSent", 1, account="b"),
    tally("call", "refund:Rejected", 1, account="b"),
    tally("call_ms", "020", 6),
    tally("call_ms", "024", 6, account="b"),
    tally("declined", "do_not_honor", 2, account="b"),
)


@pytest.mark.parametrize(
    ("name", "from_", "before", "previous", "steps"),
    [
        ("15m", "2026-11-26T10:17:00Z", "2026-11-26T10:32:00Z", "2026-11-26T10:02:00Z", 15),
        ("24h", "2026-11-25T11:00:00Z", "2026-11-26T11:00:00Z", "2026-11-24T11:00:00Z", 24),
        ("7d", "2026-11-19T11:00:00Z", "2026-11-26T11:00:00Z", "2026-11-12T11:00:00Z", 168),
    ],
)
def test_a_window_ends_with_the_running_minute_or_hour(name: Any, from_: str, before: str, previous: str, steps: int) -> None:
    """Whole minutes or hours of the clock, the running one last; the one before is as long and ends where it begins."""
    w = window_at(name, NOW_US)
    assert (w.from_us, w.before_us, w.previous_us) == (moment(from_), moment(before), moment(previous))
    assert w.steps == steps
    assert w.from_us <= NOW_US < w.before_us


def test_a_window_at_the_turn_of_a_minute_has_the_new_one() -> None:
    """The first microsecond of a minute belongs to it, the last one before to the minute before."""
    assert window_at("15m", MINUTE).before_us == MINUTE + MINUTE_US
    assert window_at("15m", MINUTE - 1).before_us == MINUTE


def test_sums_are_exact() -> None:
    """Every count, rate and time of a window, from tallies whose sums are known."""
    s = sums(SOME)
    assert (s.accepted, s.settled, s.succeeded, s.authorized, s.failed, s.canceled, s.in_doubt) == (10, 10, 6, 1, 2, 1, 3)
    assert s.approval_rate == 0.7778  # 7 of 9: what was canceled or is in doubt is no refusal
    assert (s.calls, s.errors, s.error_rate) == (12, 4, 0.3333)
    assert s.settle_p50_ms == 304.4  # the end of the bucket that begins at 2**8 ms
    assert s.settle_p95_ms is not None
    assert 512 < s.settle_p95_ms < 608.9


def test_nothing_is_no_rate() -> None:
    """Without tallies every count is 0, and every rate and time is null: neither 0 nor 1."""
    s = sums(())
    assert (s.accepted, s.settled, s.calls, s.errors, s.in_doubt) == (0, 0, 0, 0, 0)
    assert (s.approval_rate, s.error_rate, s.settle_p50_ms, s.settle_p95_ms) == (None, None, None, None)


def test_only_cancellations_are_no_rate() -> None:
    """Payments that were canceled or are in doubt alone say nothing about approval."""
    assert sums((tally("settled", "CANCELED", 4), tally("settled", "IN_DOUBT", 2))).approval_rate is None
    assert sums((tally("settled", "FAILED", 4),)).approval_rate == 0.0


def test_a_series_has_no_gaps_and_nothing_from_outside() -> None:
    """One point for each minute, zeros where nothing was; what lies before or after the window is not in it."""
    w = window_at("15m", NOW_US)
    found = series(
        w,
        [
            tally("accepted", n=3, at=w.from_us),
            tally("settled", "SUCCESS", 2, at=MINUTE),
            tally("settled", "AUTHORIZED", 1, at=MINUTE),
            tally("settled", "IN_DOUBT", 1, at=MINUTE),
            tally("call", "fire:Unknown", 2, at=MINUTE),
            tally("call", "fire:Succeeded", 5, at=MINUTE),
            tally("accepted", n=99, at=w.from_us - MINUTE_US),
            tally("accepted", n=99, at=w.before_us),
        ],
    )
    assert len(found) == 15
    assert [moment(p.at) for p in found] == [w.from_us + n * MINUTE_US for n in range(15)]
    assert [p.accepted for p in found] == [3, *[0] * 14]
    last = found[-1]
    assert (last.succeeded, last.in_doubt, last.failed, last.canceled, last.calls, last.errors) == (3, 1, 0, 0, 7, 2)


@pytest.mark.parametrize("name", WINDOWS)
def test_an_empty_series_is_as_long(name: Any) -> None:
    """Without a single payment a chart has all its points."""
    w = window_at(name, NOW_US)
    points = series(w, ())
    assert len(points) == w.steps
    assert not any(p.accepted or p.calls for p in points)
    assert len(provider_series(w, ())) == w.steps


def test_providers_are_judged_by_what_happened_there() -> None:
    """Approved payments and declined attempts of each account, its part of all attempts, its calls, and the window before."""
    before = (
        tally("settled", "SUCCESS", 3),
        tally("declined", "x", 1),
        tally("call", "fire:Unknown", 2),
        tally("call_ms", "020", 4),
    )
    a, b, idle = providers(SOME, before, ["a", "b", "idle"])
    assert (a.approved, a.declined, a.attempts, a.success_rate, a.share) == (7, 0, 7, 1.0, 0.7778)
    assert (b.approved, b.declined, b.attempts, b.success_rate, b.share) == (0, 2, 2, 0.0, 0.2222)
    assert (a.calls, a.errors, b.calls, b.errors) == (6, 0, 6, 4)
    assert a.call_p50_ms is not None
    assert 32 < a.call_p50_ms < 38.1
    was = a.previous
    assert (was.success_rate, was.errors, was.calls) == (0.75, 2, 2)
    assert was.call_p95_ms is not None
    assert b.previous.success_rate is None
    assert (idle.attempts, idle.success_rate, idle.share, idle.calls, idle.call_p95_ms) == (0, None, 0.0, 0, None)


def test_an_account_that_is_gone_is_shown_with_its_figures() -> None:
    """After the accounts named come those that have figures in either window; payments of no account are no account."""
    names = [p.account for p in providers(SOME, (tally("call", "fire:Succeeded", account="old"),), ["b"])]
    assert names == ["b", "a", "old"]


def test_nobodys_attempts_are_nobodys_share() -> None:
    """Without any attempt a share is null."""
    (only,) = providers((), (), ["a"])
    assert (only.share, only.success_rate) == (None, None)


def test_an_accounts_series() -> None:
    """Approved, declined, calls and errors of one account in their minutes."""
    w = window_at("24h", NOW_US)
    last = provider_series(
        w,
        [
            tally("settled", "AUTHORIZED", 2, at=HOUR),
            tally("settled", "FAILED", 2, at=HOUR),
            tally("declined", "x", 3, at=HOUR),
            tally("call", "fire:NotSent", 1, at=HOUR),
            tally("call_ms", "020", 9, at=HOUR),
        ],
    )[-1]
    assert (last.approved, last.declined, last.calls, last.errors) == (2, 3, 1, 1)


def test_amounts_are_by_currency() -> None:
    """What was accepted, charged at once and held, in minor units; currencies are never added up."""
    found = amounts((*SOME, tally("settled", "SUCCESS", 1, currency="JPY", minor=500), tally("settled", "IN_DOUBT", minor=77)))
    assert [(m.currency, m.accepted, m.taken, m.held) for m in found] == [("INR", 10_000, 6_000, 900), ("JPY", 0, 500, 0)]


def test_declines_come_most_frequent_first() -> None:
    """By code, account and currency, with the window before; one that stopped is there with 0; filters leave the rest out."""
    w = window_at("15m", NOW_US)
    now = Tallied((tally("declined", "do_not_honor", 2), tally("declined", "stolen_card", 5, account="b", currency="USD")))
    before = Tallied((tally("declined", "do_not_honor", 7), tally("declined", "new_code", 1)))
    hard = {"stolen_card": True, "do_not_honor": False}
    told = declines(w, now, before, lambda _, code: hard.get(code))
    rows = [(d.code, d.account, d.currency, d.count, d.previous, d.hard) for d in told.data]
    assert rows == [
        ("stolen_card", "b", "USD", 5, 0, True),
        ("do_not_honor", "a", "INR", 2, 7, False),
        ("new_code", "a", "INR", 0, 1, None),
    ]
    assert all(d.message for d in told.data)
    (only,) = declines(w, now, before, lambda *_: None, account="b").data
    assert only.code == "stolen_card"
    assert declines(w, now, before, lambda *_: None, currency="EUR").data == []


@pytest.mark.parametrize(
    ("now_since", "before_since", "shown"),
    [
        ("", "", None),
        ("", "2026-11-26T10:05:00Z", "2026-11-26T10:05:00.000000Z"),
        ("2026-11-26T10:20:00Z", "2026-11-26T10:20:00Z", "2026-11-26T10:20:00.000000Z"),
        ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z", None),
    ],
)
def test_since_is_said_where_a_window_misses_something(now_since: str, before_since: str, shown: str | None) -> None:
    """Where counting began within one of the two windows, it is said from when on; complete is about the window itself."""
    w = window_at("15m", NOW_US)

    def found(since: str, *, complete: bool = True) -> Tallied:
        return Tallied((), complete=complete, since_us=moment(since) if since else 0)

    read = Read(found(now_since, complete=False), found(now_since), found(before_since))
    told = stats(w, read, {"PENDING": 3}, ["a"], NOW_US)
    assert (told.since, told.complete, told.standing.PENDING, told.standing.IN_DOUBT) == (shown, False, 3, 0)
    assert stats(w, Read(found(""), found(""), found("")), {}, (), NOW_US).complete
    assert (told.step_s, told.from_, told.before) == (60, "2026-11-26T10:17:00.000000Z", "2026-11-26T10:32:00.000000Z")
