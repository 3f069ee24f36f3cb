"""When to try again: capped, jittered without a random source, and polite."""

from hypothesis import given
from hypothesis import strategies as st

from payonce.core.outcome import NotSent, Rejected, Unknown, Unreadable
from payonce.core.retry import BACKOFF_BASE_US, BACKOFF_CAP_US, SECOND_US, backoff_us, fraction, retry_after_us, schedule_us

ROWS = st.tuples(st.text(min_size=1, max_size=24), st.integers(1, 10**6))


@given(ROWS, st.integers(-5, 10**6))
def test_backoff_stays_below_its_ceiling(row: tuple[str, int], tries: int) -> None:
    """Never negative, never above the doubled base or the cap, however often it was tried."""
    ceiling = min(BACKOFF_CAP_US, BACKOFF_BASE_US * 2 ** max(0, min(tries - 1, 20)))
    assert 0 <= backoff_us(*row, tries) < ceiling


@given(ROWS)
def test_jitter_is_the_same_for_the_same_row(row: tuple[str, int]) -> None:
    """Two workers that look at one row wait equally long: the core has no randomness."""
    assert fraction(*row) == fraction(*row)
    assert 0 <= fraction(*row) < 1


def test_jitter_spreads() -> None:
    """A thousand payments that failed at once do not come back at once."""
    tenths = [0] * 10
    for n in range(1000):
        tenths[int(fraction(f"pay_{n}", 1) * 10)] += 1
    assert all(60 < count < 140 for count in tenths)
    assert len({fraction("pay_1", v) for v in range(1000)}) > 990


def test_the_last_entry_of_a_schedule_repeats() -> None:
    """Reads follow the schedule and then go on at its last pace."""
    assert [schedule_us((1, 3, 10), n) // SECOND_US for n in range(5)] == [1, 3, 10, 10, 10]


@given(st.integers(-(10**9), 10**9))
def test_retry_after_is_clamped(asked_s: int) -> None:
    """A provider may ask for 1 s to 15 min; more or less is cut to that."""
    for outcome in (Unknown(reason="x", retry_after_s=asked_s), Rejected(reason="x", retry_after_s=asked_s)):
        assert retry_after_us(outcome) == min(900, max(1, asked_s)) * SECOND_US


def test_no_wish_means_no_wait() -> None:
    """Outcomes without Retry-After ask for nothing."""
    for outcome in (Unknown(reason="x"), Unreadable(reason="x"), NotSent(reason="x"), None):
        assert retry_after_us(outcome) == 0
