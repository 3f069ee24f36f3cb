"""The circuit breaker's rules: what opens it, how long, and that it always lets a call through again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from payonce.core import breaker
from payonce.core.breaker import (
    BAD_MIN,
    GOOD,
    NEUTRAL,
    OPEN_MAX_US,
    OPEN_US,
    PROBE_LEASE_US,
    RECENT,
    WINDOW_US,
    Breaker,
    Heard,
    Signal,
)

S = 1_000_000
NOW = 1_800_000_000 * S
BAD = Signal("bad", "HTTP 503")

signals = st.sampled_from([GOOD, BAD])
heard = st.lists(st.tuples(st.integers(0, 3 * WINDOW_US), signals), max_size=2 * RECENT).map(
    lambda pairs: [Heard(at_us, signal) for at_us, signal in sorted(pairs, key=lambda pair: pair[0])]
)
times = st.integers(0, 2 * NOW)
breakers = st.builds(
    Breaker,
    state=st.sampled_from(["open", "probing"]),
    since_us=times,
    until_us=times,
    failures=st.integers(0, 10_000),
    why=st.text(max_size=5),
)
told = st.sampled_from(["good", "bad", "neutral", "silence", "wait"])


def after(word: str, at_us: int = 0) -> list[Heard]:
    """``bbg``: two bad signals, then a good one, a second apart."""
    return [Heard(at_us + n * S, BAD if letter == "b" else GOOD) for n, letter in enumerate(word)]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, "good"), (202, "good"), (302, "good"), (400, "good"), (402, "good"), (404, "good"), (409, "good"), (422, "good"),
        (401, "bad"), (403, "bad"), (500, "bad"), (502, "bad"), (503, "bad"), (504, "bad"), (599, "bad"),
        (408, "neutral"), (429, "neutral"),
    ],
)  # fmt: skip
def test_what_an_answer_says(status: int, kind: str) -> None:
    """A decline or a refusal is a healthy provider; a broken one, or one that does not let us in, is not; slow down is
    neither."""
    signal = breaker.answered(status)
    assert signal.kind == kind
    assert (f"HTTP {status}" in signal.says) == (kind == "bad")


def test_what_silence_says() -> None:
    """No answer is the provider's trouble, unless we did not try."""
    assert breaker.unanswered("ConnectError", ours=False) == Signal("bad", "no answer (ConnectError)")
    assert breaker.unanswered("the deadline had passed", ours=True) == NEUTRAL


@pytest.mark.parametrize(
    ("word", "opens"),
    [
        ("bbbb", False),  # too few to know
        ("bbbbb", True),  # an outage right after the start
        ("gbbbb", False),
        ("ggggggggggbbbbbbb", False),
        ("ggggggggggbbbbbbbb", True),  # an outage under traffic: 8 of the last 10
        ("bgbgbgbgbgbgbgbgbgbg", False),  # every other call fails: half of the payments go through at once
        ("bbbbbbbbggg", False),
        ("gggggggggg", False),
        ("", False),
    ],
)
def test_when_it_opens(word: str, opens: bool) -> None:
    """At least 5 bad signals within a minute, and 80 of 100 of the last ten."""
    assert (breaker.reason_to_open(after(word), 30 * S) != "") == opens


def test_why_it_opened_is_told() -> None:
    """People read how many of how many failed, and how."""
    word = after("ggbbbbbbbb")
    assert breaker.reason_to_open(word, 20 * S) == "8 of the last 10 calls failed, the last one with HTTP 503"


def test_old_signals_do_not_count() -> None:
    """Five failures over an hour are no outage."""
    spread = [Heard(n * WINDOW_US // (BAD_MIN - 1), BAD) for n in range(BAD_MIN)]
    assert breaker.reason_to_open(spread, spread[-1].at_us) == ""
    assert breaker.reason_to_open([replace(h, at_us=h.at_us // 2) for h in spread], WINDOW_US // 2) != ""


@given(heard, st.integers(0, 4 * WINDOW_US))
def test_only_bad_signals_open_it(seen: list[Heard], now_us: int) -> None:
    """Whatever was heard: fewer than five bad signals in the window never open it, only good ones never, and leaving a good
    one out never keeps it closed."""
    recent = [h for h in seen if now_us - WINDOW_US < h.at_us <= now_us]
    opens = breaker.reason_to_open([h for h in seen if h.at_us <= now_us], now_us) != ""
    bad = [h for h in recent if h.signal.kind == "bad"]
    assert not opens or len(bad) >= BAD_MIN
    if opens:
        assert breaker.reason_to_open(bad, now_us) != ""
    if len(bad) == len(recent) and len(bad) >= BAD_MIN:
        assert opens


def test_pauses_grow_to_a_minute() -> None:
    """5 s, then twice as long after each probe that fails, at most a minute; the beginning and the count are kept."""
    b = breaker.opened("why", NOW)
    assert (b.state, b.since_us, b.failures, b.until_us - NOW) == ("open", NOW, 0, OPEN_US)
    pauses = []
    for n in range(1, 8):
        at_us = b.until_us + S
        b = breaker.reopened(breaker.probing(b, at_us), "HTTP 503", at_us + S)
        pauses.append((b.until_us - at_us - S) // S)
        assert (b.state, b.since_us, b.failures) == ("open", NOW, n)
        assert b.why == f"try {n} failed too, with HTTP 503"
    assert pauses == [10, 20, 40, 60, 60, 60, 60]


def test_a_silent_probe_costs_its_lease() -> None:
    """While a probe is on its way nobody else is let through; when it never reports, the next one may go after 30 s."""
    b = breaker.probing(breaker.opened("why", NOW), NOW + OPEN_US)
    assert breaker.blocks(b, NOW + OPEN_US)
    assert breaker.blocks(b, NOW + OPEN_US + PROBE_LEASE_US - 1)
    assert not breaker.blocks(b, NOW + OPEN_US + PROBE_LEASE_US)


def test_who_waits_for_a_probe_looks_again_soon() -> None:
    """At a pause's end for an open breaker; within 2 s, and never later than the lease, while a probe runs."""
    b = breaker.opened("why", NOW)
    assert breaker.look_again_us(b, NOW + S) == b.until_us
    p = breaker.probing(b, NOW)
    assert breaker.look_again_us(p, NOW) == NOW + 2 * S
    assert breaker.look_again_us(p, p.until_us - S) == p.until_us


@given(breakers, times)
def test_nothing_on_record_blocks_for_ever(b: Breaker, now_us: int) -> None:
    """Whatever the record and the clock say, a minute later at most a call is let through; and then always."""
    assert not breaker.blocks(b, now_us + OPEN_MAX_US) or not breaker.blocks(b, now_us)
    if breaker.blocks(b, now_us):
        assert now_us < breaker.look_again_us(b, now_us) <= now_us + OPEN_MAX_US
        assert not breaker.blocks(b, b.until_us)


def test_a_clock_that_was_set_back_does_not_stop_the_account() -> None:
    """A pause that seems to end in an hour was written under another clock: it is over."""
    b = breaker.opened("why", NOW)
    assert breaker.blocks(b, NOW)
    assert not breaker.blocks(b, NOW - 3600 * S)


@given(st.lists(told, max_size=40))
def test_every_story_leads_back_to_a_call(story: list[str]) -> None:
    """Probes that fail, succeed, say nothing or vanish, in any order: after each, a next call is let through in time, the
    pause never exceeds a minute, and only a good one closes it."""
    b, now_us = breaker.opened("why", NOW), NOW
    for word in story:
        waited = 0
        while breaker.blocks(b, now_us):
            later = breaker.look_again_us(b, now_us)
            waited, now_us = waited + later - now_us, later
        assert waited <= OPEN_MAX_US
        if word == "wait":
            now_us += 3600 * S
            continue
        p = breaker.probing(b, now_us)
        assert breaker.blocks(p, now_us), "one at a time"
        if word == "good":
            return
        b = {
            "bad": breaker.reopened(p, "HTTP 503", now_us),
            "neutral": breaker.freed(p, now_us),
            "silence": p,
        }[word]
        assert b.failures == p.failures + (word == "bad")


@given(breakers)
def test_the_record_comes_back_as_it_was(b: Breaker) -> None:
    """What is written is what is read."""
    assert breaker.decode(breaker.encode(b)) == b


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff", b'{"v":1,"state":"ajar","since_us":1,"until_us":2,"why":""}'])
def test_a_record_that_cannot_be_read_is_none(raw: bytes) -> None:
    """Damage is not an error: the account then counts as closed."""
    assert breaker.decode(raw) is None


def test_a_record_of_a_newer_payonce_is_none() -> None:
    """A version we do not know is not guessed at."""
    b = breaker.opened("why", NOW)
    assert breaker.decode(breaker.encode(replace(b, v=2))) is None
    assert breaker.decode(breaker.encode(b).replace(b"}", b',"extra":1}')) == b
