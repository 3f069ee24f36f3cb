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
# After a breaker closed: so many calls at once, then each second so many a second more, for so long.
EASED_FIRST, EASED_MORE_PER_S, EASED_S = 10, 20, 60


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
        self._eased: dict[str, tuple[int, int]] = {}  # since when, wall clock, and how many calls began since

    def ease(self, account: str, now_us: int) -> None:
        """Its breaker has just closed."""
        self._eased[account] = now_us, 0

    def full(self, account: str, now_us: int) -> bool:
        """It takes no further call at this time (wall clock)."""
        if self._flying.get(account, 0) >= self._caps.get(account, 1 << 30):
            return True
        if account not in self._eased:
            return False
        since_us, begun = self._eased[account]
        past_s = (now_us - since_us) / SECOND_US
        if not 0 <= past_s < EASED_S:  # over, or the clock was set
            del self._eased[account]
            return False
        return begun >= EASED_FIRST + EASED_MORE_PER_S * past_s * past_s / 2

    @contextmanager
    def flight(self, account: str, clock: Clock) -> Iterator[None]:
        """While a call is under way; entered without a wait after ``full`` said no. How long it took counts for a fifth of
        what a call is taken to last."""
        self._flying[account] = self._flying.get(account, 0) + 1
        if account in self._eased:
            since_us, begun = self._eased[account]
            self._eased[account] = since_us, begun + 1
        began_us = clock.monotonic_us()
        try:
            yield
        finally:
            self._flying[account] -= 1
            took_us = clock.monotonic_us() - began_us
            before = self._lasts_us.get(account, took_us)
            self._lasts_us[account] = max(SHORTEST_US, before + (took_us - before) // 5)

    def turn_us(self, account: str, now_us: int) -> int:
        """When to come back to one that is full: after the last one who was told so."""
        waiting = self._waiting(account, now_us)
        turn = now_us + SHORTEST_US
        if account in self._eased:
            turn = max(turn, self._eased_turn_us(account, len(waiting)))
        if account in self._caps:
            turn = max(turn, self._capped_turn_us(account, now_us, len(waiting)))
        heapq.heappush(waiting, turn)
        return turn

    def _eased_turn_us(self, account: str, waiting: int) -> int:
        """When there is room for so many more since its breaker closed."""
        since_us, begun = self._eased[account]
        further = max(0, begun + waiting + 1 - EASED_FIRST)
        return since_us + math.isqrt(2 * further * SECOND_US * SECOND_US // EASED_MORE_PER_S)

    def _capped_turn_us(self, account: str, now_us: int, waiting: int) -> int:
        """A last turn that is farther away than those who wait explain was given out for slower calls, or before the wall clock
        was set back: then the next one is soon again."""
        step = max(1, self._lasts_us.get(account, FIRST_US) // (self._caps[account] * EARLY))
        first, turn = now_us + SHORTEST_US, self._last_us.get(account, 0) + step
        if not first <= turn <= first + FAR * (waiting + 1) * step:
            turn = first
        self._last_us[account] = turn
        return turn

    def waiting(self, now_us: int) -> int:
        """How many were told to come back and are still to come: they are due later, so nobody counts them as overdue."""
        return sum(len(self._waiting(account, now_us)) for account in self._turns_us)

    def _waiting(self, account: str, now_us: int) -> list[int]:
        turns = self._turns_us.setdefault(account, [])
        while turns and turns[0] <= now_us:
            heapq.heappop(turns)
        return turns

    def flying(self) -> Mapping[str, int]:
        """Calls under way, by account."""
        return {name: n for name, n in self._flying.items() if n}
