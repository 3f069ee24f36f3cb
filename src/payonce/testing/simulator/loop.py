"""The event loop of the simulation: time is a number, nothing waits, and a seed decides who runs first.

It is asyncio's own loop without its selector: when nothing is ready, the clock jumps to the next timer. What is ready at
once is shuffled, so that no code under test can lean on an order that asyncio does not promise. It touches three private
names of asyncio (``_ready``, ``_scheduled``, ``_clock_resolution``); ``tests/simulation/test_loop.py`` is the canary
that tells when a Python version changes them.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Protocol

TURNS_MAX = 2_000_000  # of the loop in one world: more is a spin


class Owner(Protocol):
    """Whoever dies with its tasks: a simulated process. A dict, since a set of tasks has no order of its own."""

    tasks: dict["asyncio.Task[Any]", None]


OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)  # whose tasks are being made


class SimLoop(asyncio.base_events.BaseEventLoop):
    """See the module docstring. ``time`` is in seconds from 0. Raises AssertionError when nothing can happen any more, and when
    something goes round for ever."""

    _ready: deque[Any]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._dice, self._now, self.turns = dice, 0.0, 0
        self._clock_resolution = 1e-6  # finer is lost in a float after some months
        self._selector = self

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> tuple[()]:
        """Where the real loop would wait for the network: here time passes."""
        self.turns += 1
        if self.turns > TURNS_MAX:
            raise AssertionError(f"{TURNS_MAX} turns of the loop: something spins")
        if self._ready:
            if len(self._ready) > 1:
                self._dice.shuffle(self._ready)
        elif timeout is None:
            raise AssertionError("nothing is ready and no timer is set")
        elif self._scheduled:
            self._now = max(self._now, self._scheduled[0].when())
        return ()

    def create_task(self, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> "asyncio.Task[Any]":  # type: ignore[override]
        """A task belongs to the process in whose context it was made."""
        task = super().create_task(coro, **kwargs)
        if (owner := OWNER.get()) is not None:
            tasks = owner.tasks
            tasks[task] = None
            task.add_done_callback(lambda done: tasks.pop(done, None))
        return task

    async def until(self, at_s: float) -> None:
        """Wait until a time of this loop; in the past: only let others run."""
        future: asyncio.Future[None] = self.create_future()
        timer = self.call_at(max(at_s, self._now), _wake, future)
        try:
            await future
        finally:
            timer.cancel()

    # --- what a loop without files needs not do -----------------------------------------------------------------------

    def _process_events(self, event_list: object) -> None: ...

    def _write_to_self(self) -> None: ...


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def run(dice: random.Random, main: Callable[[SimLoop], Coroutine[Any, Any, Any]]) -> Any:
    """The result of ``main`` in a loop of its own; whatever it leaves behind is cancelled."""
    loop = SimLoop(dice)
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main(loop))
    finally:
        try:
            loop.turns = 0
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(_gone(left))
        finally:
            asyncio.set_event_loop(None)
            loop.close()


async def _gone(tasks: "set[asyncio.Task[Any]]") -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
