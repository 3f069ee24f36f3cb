"""How many calls of this process may be under way at one provider account at a time. Who finds it full does not wait for it
(that would keep the worker from other accounts) but comes back at a time of its own, spread so that the account stays busy."""

import heapq
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from .ports import Clock

FIRST_US: Final = 50_000  # how long a call is taken to last before one was seen
SHORTEST_US: Final = 1_000
EARLY: Final = 2  # turns are given out this many times denser than calls seem to fit: an idle account costs more than a look

FAR: Final = 4  # times the line of those who wait


class Lanes:
    """``caps``: account -> calls at once; an account that is not named has no limit. For one process and one event loop."""

    def __init__(self, caps: Mapping[str, int]) -> None:
        self._caps = {name: cap for name, cap in caps.items() if cap > 0}
        self._flying: dict[str, int] = {}
        self._lasts_us: dict[str, int] = {}  # about how long a call lasts
        self._last_us: dict[str, int] = {}  # the last turn that was given out
        self._turns_us: dict[str, list[int]] = {}  # all that were, and are not over yet: a heap

    def full(self, account: str) -> bool:
        return self._flying.get(account, 0) >= self._caps.get(account, 1 << 30)

    @contextmanager
    def flight(self, account: str, clock: Clock) -> Iterator[None]:
        """While a call is under way; entered without a wait after ``full`` said no. How long it took counts for a fifth of
        what a call is taken to last."""
        self._flying[account] = self._flying.get(account, 0) + 1
        began_us = clock.monotonic_us()
        try:
            yield
        finally:
            self._flying[account] -= 1
            took_us = clock.monotonic_us() - began_us
            before = self._lasts_us.get(account, took_us)
            self._lasts_us[account] = max(SHORTEST_US, before + (took_us - before) // 5)

    def turn_us(self, account: str, now_us: int) -> int:
        """When to come back: after the last one who was told so. A last turn that is farther away than those who wait explain
        was given out for slower calls, or before the wall clock was set back: then the next one is soon again."""
        step = max(1, self._lasts_us.get(account, FIRST_US) // (self._caps[account] * EARLY))
        waiting = self._waiting(account, now_us)
        first, turn = now_us + SHORTEST_US, self._last_us.get(account, 0) + step
        if not first <= turn <= first + FAR * (len(waiting) + 1) * step:
            turn = first
        heapq.heappush(waiting, turn)
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
