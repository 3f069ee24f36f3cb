"""The circuit breaker of a provider account as pure decisions: what a call says about the account, when that stops new
creates and fires, for how long, and how they begin again.

    closed -- most of the last calls failed --> open -- its time is over: one call is let through --> probing
      ^                                          ^                                                     |  |
      |                                          '--------- it failed: open again, twice as long ------'  |
      '-------------------------------------------------------------------- it went well -----------------'

Only ``open`` and ``probing`` are on record, in the registry that all processes share; closed is no record. A ``probing``
whose call never reports back is as good as ``open`` when its lease ends. Breakers save futile calls and time; no
safety of money rests on them, so a clock may decide here.
"""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from .retry import SECOND_US

BREAKER_V: Final = 1
# Enough failures that a customer's odd card or one lost connection does not stop an account, few enough that an outage
# costs a handful of payments. A share, so that a busy account with some failures goes on: up to half of the calls may
# fail and it rarely opens, because the payments of the other half go through and retries take care of the rest.
RECENT: Final = 10  # the last signals that count
BAD_MIN: Final = 5  # of them bad, at least
BAD_PERCENT: Final = 80  # of them bad, at least
WINDOW_US: Final = 60 * SECOND_US  # older signals say nothing about now
# Short at first, because most trouble is; the longest pause is also how late a healed account may be noticed, and one
# call a minute harms nobody.
OPEN_US: Final = 5 * SECOND_US
OPEN_MAX_US: Final = 60 * SECOND_US
# From the win to the answer: send window, call and recording take 17 s with the usual time-out of 10 s. With a much longer
# one a second probe may start beside the first; that costs a call.
PROBE_LEASE_US: Final = 30 * SECOND_US
LOOK_US: Final = 2 * SECOND_US  # who waits for a probe looks again this soon: most answer at once


class Signal(Struct, frozen=True):
    """What one call says about the account's health. ``says``: what went wrong, for people."""

    kind: Literal["good", "bad", "neutral"]
    says: str = ""


GOOD: Final = Signal("good")
NEUTRAL: Final = Signal("neutral")


class Heard(Struct, frozen=True):
    """A good or bad signal and when it came, by the monotonic clock of this process."""

    at_us: int
    signal: Signal


class Breaker(Struct, frozen=True, kw_only=True):
    """The shared record. Times are wall clock; ``until_us`` ends the pause, or the lease of the probe."""

    v: int = BREAKER_V
    state: Literal["open", "probing"]
    since_us: int  # when it opened first
    until_us: int
    failures: int = 0  # probes that failed in a row
    why: str


def answered(status: int) -> Signal:
    """A whole HTTP answer came: good, unless it says that the provider is broken or does not let us in. One that asks us to
    slow down (429, 408) says neither."""
    if status in (401, 403):
        return Signal("bad", f"HTTP {status}: our credentials were refused")
    if status >= 500:
        return Signal("bad", f"HTTP {status}")
    return NEUTRAL if status in (408, 429) else GOOD


def unanswered(reason: str, *, ours: bool) -> Signal:
    """No whole answer came. ``ours``: because we did not really try (deadline passed, no room, a bug)."""
    return NEUTRAL if ours else Signal("bad", f"no answer ({reason})")


def reason_to_open(heard: Iterable[Heard], now_us: int) -> str:
    """Why the account should take no new calls, for people; "" when it may. ``heard`` oldest first."""
    recent = [h.signal for h in heard if h.at_us > now_us - WINDOW_US][-RECENT:]
    bad = [s for s in recent if s.kind == "bad"]
    if len(bad) < BAD_MIN or len(bad) * 100 < len(recent) * BAD_PERCENT:
        return ""
    return f"{len(bad)} of the last {len(recent)} calls failed, the last one with {bad[-1].says}"


def opened(why: str, now_us: int) -> Breaker:
    return Breaker(state="open", since_us=now_us, until_us=now_us + OPEN_US, why=why)


def probing(b: Breaker, now_us: int) -> Breaker:
    """One call is on its way; nobody else makes one before it reports back or the lease ends."""
    return replace(b, state="probing", until_us=now_us + PROBE_LEASE_US)


def reopened(b: Breaker, says: str, now_us: int) -> Breaker:
    """The probe failed too: a longer pause."""
    failures = b.failures + 1
    pause_us = min(OPEN_MAX_US, OPEN_US << min(failures, 20))
    why = f"try {failures} failed too, with {says}"
    return replace(b, state="open", until_us=now_us + pause_us, failures=failures, why=why)


def freed(b: Breaker, now_us: int) -> Breaker:
    """The probe said nothing (it was never sent, or put off): the next one may go at once."""
    return replace(b, state="open", until_us=now_us)


def word(b: Breaker, now_us: int) -> Literal["open", "half-open", "probing"]:
    """Where one that is not closed stands, for people. ``half-open``: the next new payment tries it; ``probing``: one is
    trying it."""
    return b.state if blocks(b, now_us) else "half-open"


def blocks(b: Breaker, now_us: int) -> bool:
    """Nothing new may start now. A time further away than any pause was written under another clock: it does not count, or a
    clock that was set back would stop the account for as long."""
    return now_us < b.until_us <= now_us + OPEN_MAX_US


def look_again_us(b: Breaker, now_us: int) -> int:
    """When whoever waits should ask again."""
    return min(b.until_us, now_us + LOOK_US) if b.state == "probing" else b.until_us


def encode(b: Breaker) -> bytes:
    return msgspec.json.encode(b)


def decode(raw: bytes) -> Breaker | None:
    """None for what cannot be read, such as a newer version: then the account counts as closed."""
    try:
        b = msgspec.json.decode(raw, type=Breaker)
    except msgspec.MsgspecError:
        return None
    return b if b.v == BREAKER_V else None
