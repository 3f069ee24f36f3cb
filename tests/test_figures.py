"""Figures: what one change counts, percentiles from histograms, and what a row still tells of all its changes."""

import random

import pytest
from msgspec.structs import replace

from payonce.core.events import Judged, Observed, Resolved
from payonce.core.idempotency import Details
from payonce.core.outcome import Authorized, Declined, Found, NotSent
from payonce.core.payment import Payment
from payonce.figures import (
    BUCKET_MAX,
    bucket,
    counted,
    declines_in,
    declines_on,
    metadata_in,
    metadata_kept,
    metadata_of,
    of_payment,
    percentile,
    summed,
)
from payonce.ports import Change
from payonce.testing.store_changes import (
    SECOND_US,
    START_US,
    accept,
    answer_event,
    fire_event,
    grow,
    mismatch_event,
    success_event,
)


def grown(*steps: str) -> list[Change]:
    """A payment's changes, a second apart."""
    changes = [accept(1, at_us=START_US)]
    for n, step in enumerate(steps, 1):
        p, at_us = changes[-1].payment, START_US + n * SECOND_US
        event = fire_event(p, f"mock_{len(p.attempts)}", at_us) if step == "fire" else answer(p, step)
        changes.append(grow(p, event, at_us=at_us))
    return changes


def answer(p: Payment, step: str) -> Observed:
    """``paid``, ``doubt``, ``not sent``, or the code of a decline."""
    if step == "paid":
        return success_event(p)
    if step == "doubt":
        return mismatch_event(p)
    no = Declined(code=step, hard=False, scope="issuer", reference=p.attempts[-1].reference)
    return answer_event(p, NotSent(reason="refused") if step == "not sent" else no)


def words(changes: list[Change]) -> list[tuple[str, str, str]]:
    return [(t.what, t.account, t.which) for change in changes for t in counted(change) if not t.what.endswith("_ms")]


def test_each_change_counts_what_is_new_in_it() -> None:
    """Acceptance, each answer, each attempt's decline, and the end: each where it happened, and once."""
    assert words(grown("fire", "do_not_honor", "fire", "paid")) == [
        ("accepted", "", ""),
        ("call", "mock_0", "fire:Declined"),
        ("declined", "mock_0", "do_not_honor"),
        ("call", "mock_1", "fire:Succeeded"),
        ("settled", "mock_1", "SUCCESS"),
    ]


def test_doubt_that_ends_counts_twice_and_takes_the_whole_time() -> None:
    """Once when it begins, without a time, and once by what it turned out to be."""
    changes = grown("fire", "doubt")
    p = changes[-1].payment
    assert words(changes)[-1] == ("settled", "mock_0", "IN_DOUBT")
    decided = Resolved(verdict="not-charged", reason="seen at the provider", attempt=0)
    after = grow(p, decided, Judged(what="FAILED", reason="attempts_exhausted"), at_us=START_US + 60 * SECOND_US)
    assert [(t.what, t.which) for t in counted(after)] == [("settled", "FAILED"), ("settle_ms", bucket(60 * SECOND_US))]


def test_a_payment_that_is_final_counts_no_second_end() -> None:
    """What becomes of it afterwards is no end: the status before says so."""
    last = grown("fire", "paid")[-1]
    assert [t.what for t in counted(last)] == ["call", "call_ms", "settled", "settle_ms"]
    assert [t.what for t in counted(replace(last, was="SUCCESS"))] == ["call", "call_ms"]
    assert [t.what for t in counted(replace(last, was="AUTHORIZED"))] == ["call", "call_ms"]
    assert [t.what for t in counted(replace(last, was="IN_DOUBT"))] == ["call", "call_ms", "settled", "settle_ms"]


@pytest.mark.parametrize(
    "steps",
    [(), ("fire",), ("fire", "paid"), ("fire", "do_not_honor", "fire", "paid"), ("fire", "not sent", "fire", "lost_card")],
)
def test_a_row_tells_what_its_changes_counted(steps: tuple[str, ...]) -> None:
    """For stores that do not count, and for payments from before counting: the same tallies."""
    changes = grown(*steps)
    by_change = summed((t for change in changes for t in counted(change)), SECOND_US)
    assert summed(of_payment(changes[-1].payment), SECOND_US) == by_change


def test_a_percentile_is_within_a_fifth() -> None:
    """Of any durations, from the buckets alone."""
    chance = random.Random(3)
    for spread in (0.1, 1.0, 2.0):
        durations = sorted(chance.lognormvariate(6, spread) for _ in range(2_000))
        buckets = dict[str, int]()
        for ms in durations:
            name = bucket(int(ms * 1_000))
            buckets[name] = buckets.get(name, 0) + 1
        for share in (0.05, 0.5, 0.95):
            exact = durations[int(share * len(durations))]
            assert percentile(buckets, share) == pytest.approx(exact, rel=0.2)


def test_buckets_have_ends() -> None:
    """Nothing is shorter than the first or longer than the last; without any there is no percentile."""
    assert [bucket(us) for us in (-5, 0, 999, 1_000)] == ["000"] * 4
    assert bucket(2**80) == f"{BUCKET_MAX:03d}"
    assert percentile({}, 0.5) is None
    assert percentile({"000": 0}, 0.5) is None


def test_metadata_is_found_by_its_values() -> None:
    """Strings as they are, numbers and booleans as JSON text, null and nothing not at all; damage is nothing."""
    metadata: dict[str, str | int | float | bool | None] = {"a": "x", "b": 7, "c": 1.5, "d": True, "e": None, "f": "", "g": "x"}
    assert metadata_of(Details(metadata=metadata)) == {"x", "7", "1.5", "true"}
    assert metadata_kept(b'{"metadata": {"a": "x"}}') == {"x"}
    assert metadata_kept(b'{"metadata": 5}') == metadata_kept(b"\xff") == frozenset()
    first = accept(1, details=b'{"metadata":{"a":"x"}}')
    assert metadata_in(first) == {"x"}
    assert metadata_in(grow(first.payment, fire_event(first.payment), bodies=first.bodies)) == frozenset()


def test_decline_codes_are_those_of_attempts() -> None:
    """Of direct answers and of what reads show, whatever became of the payment."""
    changes = grown("fire", "do_not_honor", "fire", "paid")
    assert [declines_in(change) for change in changes] == [frozenset(), frozenset(), {"do_not_honor"}, frozenset(), frozenset()]
    assert declines_on(changes[-1].payment) == {"do_not_honor"}
    first = grown("fire")[-1].payment
    tries = (Declined(code="lost_card", hard=True, scope="issuer", reference=first.attempts[0].reference),)
    read = grow(first, answer_event(first, Found(tries=tries, reference=first.attempts[0].reference)))
    assert declines_in(read) == declines_on(read.payment) == {"lost_card"}


def test_a_hold_is_an_end_with_what_is_held() -> None:
    """AUTHORIZED counts once, with the amount held."""
    p = grown("fire")[-1].payment
    p = replace(p, attempts=(replace(p.attempts[0], manual=True),), capture_method="manual")
    held = Authorized(ref="r", reference=p.attempts[0].reference, amount_minor=1_000, currency="EUR", mode="test")
    change = grow(p, answer_event(p, held), at_us=START_US + 2 * SECOND_US)
    assert [(t.which, t.minor) for t in counted(change) if t.what == "settled"] == [("AUTHORIZED", 1_000)]


def test_a_hold_that_is_gone_is_no_decline() -> None:
    """A void that was asked for reads as a hold that is gone: it counts as an answer, and is not among the declines."""
    changes = grown("fire", "hold_lapsed")
    assert [word for word in words(changes) if word[0] == "declined"] == []
    assert (declines_in(changes[-1]), declines_on(changes[-1].payment)) == (frozenset(), frozenset())
