"""How many calls of this process may be under way at one provider account at a time, and how fast they come again after its
breaker closed: everything that waited meanwhile is due at once, and a provider that has just come back is not to be met by all
of it. Who finds an account full does not wait for it (that would keep the worker from other accounts) but comes back at a time
of its own, spread so that the account stays busy."""

import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol

from .core.retry import SECOND_US
from .ports import Clock

FIRST_US: Final = 50_000  # how long a call is taken to last before one was seen
SHORTEST_US: Final = 1_000
EARLY: Final = 2  # turns are given out this many times denser than calls seem to fit: an idle account costs more than a look
FAR: Final = 4  # times the line of those who wait
# After a breaker closed: so many new calls at once, then each second so many a second more, for so long.
EASED_FIRST, EASED_MORE_PER_S, EASED_S = 10, 20, 60
UNUSED_US: Final = SECOND_US  # room for so long that nobody used is kept; what is older is lost


class _Return:
    """An account whose breaker has just closed. Times are those of the wall clock."""

    def __init__(self, now_us: int) -> None:
        self._closed_us = self._since_us = now_us  # room grows from then on; the latter moves on when it is not used
        self._turns_us: list[int] = []  # that were given out and are not over yet: a heap
        self.begun = 0

    def over(self, now_us: int) -> bool:
        """It is as any other account; also when the clock was set. A moment before its beginning is none: whoever planned at
        that time had to wait for something since."""
        return not -SECOND_US <= now_us - self._closed_us < EASED_S * SECOND_US

    def full(self, now_us: int) -> bool:
        self._since_us = max(self._since_us, now_us - UNUSED_US - _after_us(self.begun))
        past_s = max(0, now_us - self._since_us) / SECOND_US
        return self.begun >= EASED_FIRST + EASED_MORE_PER_S * past_s * past_s / 2

    def turn_us(self, now_us: int) -> int:
        """When to come back: behind those who were told so before."""
        _past(self._turns_us, now_us)
        turn = max(now_us + SHORTEST_US, self._since_us + _after_us(self.begun + len(self._turns_us) + 1))
        heapq.heappush(self._turns_us, turn)
        return turn


def _after_us(count: int) -> int:
    """After which time so many may have begun."""
    return math.isqrt(2 * max(0, count - EASED_FIRST) * SECOND_US * SECOND_US // EASED_MORE_PER_S)


def _past(turns_us: list[int], now_us: int) -> None:
    """Leave out those that are over."""
    while turns_us and turns_us[0] <= now_us:
        heapq.heappop(turns_us)


class Breakers(Protocol):
    """Who knows when a breaker has closed: ``closed`` is told its account, with the wall clock."""

    closed: Callable[[str, int], object]


class Lanes:
    """``caps``: account -> calls at once; an account that is not named has no limit. For one process and one event loop."""

    def __init__(self, caps: Mapping[str, int], breakers: Breakers | None = None) -> None:
        if breakers:
            breakers.closed = self.ease
        self._caps = {name: cap for name, cap in caps.items() if cap > 0}
        self._flying: dict[str, int] = {}
        self._lasts_us: dict[str, int] = {}  # about how long a call lasts
        self._last_us: dict[str, int] = {}  # the last turn that was given out
        self._turns_us: dict[str, list[int]] = {}  # all that were, and are not over yet: a heap
        self._returned: dict[str, _Return] = {}

    def ease(self, account: str, now_us: int) -> None:
        """Its breaker has just closed."""
        self._returned[account] = _Return(now_us)

    def full(self, account: str, now_us: int, *, new: bool = False) -> bool:
        """It takes no further call at this time (wall clock). ``new``: of those that its breaker had stopped."""
        if self._flying.get(account, 0) >= self._caps.get(account, 1 << 30):
            return True
        back = self._returned.get(account)
        if back is not None and back.over(now_us):
            del self._returned[account]
            return False
        return new and back is not None and back.full(now_us)

    @contextmanager
    def flight(self, account: str, clock: Clock, *, new: bool = False) -> Iterator[None]:
        """While a call is under way; entered without a wait after ``full`` said no. How long it took counts for a fifth of
        what a call is taken to last."""
        self._flying[account] = self._flying.get(account, 0) + 1
        if new and account in self._returned:
            self._returned[account].begun += 1
        began_us = clock.monotonic_us()
        try:
            yield
        finally:
            self._flying[account] -= 1
            took_us = clock.monotonic_us() - began_us
            before = self._lasts_us.get(account, took_us)
            self._lasts_us[account] = max(SHORTEST_US, before + (took_us - before) // 5)

    def turn_us(self, account: str, now_us: int, *, new: bool = False) -> int:
        """When to come back to one that is full: after the last one who was told so."""
        turn = now_us + SHORTEST_US
        if new and account in self._returned:
            turn = self._returned[account].turn_us(now_us)
        return max(turn, self._capped_turn_us(account, now_us)) if account in self._caps else turn

    def _capped_turn_us(self, account: str, now_us: int) -> int:
        """A last turn that is farther away than those who wait explain was given out for slower calls, or before the wall clock
        was set back: then the next one is soon again."""
        step = max(1, self._lasts_us.get(account, FIRST_US) // (self._caps[account] * EARLY))
        waiting = self._waiting(account, now_us)
        first, turn = now_us + SHORTEST_US, self._last_us.get(account, 0) + step
        if not first <= turn <= first + FAR * (len(waiting) + 1) * step:
            turn = first
        heapq.heappush(waiting, turn)
        self._last_us[account] = turn
        return turn

    def waiting(self, now_us: int) -> int:
        """How many were told to come back to an account that is full of calls, and are still to come: they are due later, so
        nobody counts them as overdue. Those who wait for one that has just come back are not: it is not too much for us."""
        return sum(len(self._waiting(account, now_us)) for account in self._turns_us)

    def _waiting(self, account: str, now_us: int) -> list[int]:
        turns = self._turns_us.setdefault(account, [])
        _past(turns, now_us)
        return turns

    def flying(self) -> Mapping[str, int]:
        """Calls under way, by account."""
        return {name: n for name, n in self._flying.items() if n}
