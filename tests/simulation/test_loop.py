"""The canary: the simulation's loop does on every Python version what it did on the first one."""

import asyncio
import random
from typing import Any

import pytest

from payonce.testing.simulator import loop
from payonce.testing.simulator.loop import OWNER, SimLoop, run

# What ``stories`` writes with seed 7. Another order on another Python means that asyncio's insides have changed.
WRITTEN = "c0 b0 a0 b1 a1 c1 c2 b2 a2 late:5 timeout:9.0 d"


async def stories(loop: SimLoop) -> str:
    """Tasks that race, timers, a timeout and an event: every way in which the code under test waits."""
    log: list[str] = []
    event = asyncio.Event()

    async def racer(name: str) -> None:
        for n in range(3):
            await asyncio.sleep(0 if n else 2.5)
            log.append(f"{name}{n}")

    async def waiter() -> None:
        try:
            async with asyncio.timeout(9):
                await asyncio.Event().wait()
        except TimeoutError:
            log.append(f"timeout:{loop.time()}")
        await event.wait()
        log.append("d")

    loop.call_at(5, lambda: log.append(f"late:{loop.time()}"))
    loop.call_at(20, event.set)
    await asyncio.gather(*(racer(name) for name in "abc"), waiter())
    return " ".join(log)


def test_the_loop_orders_as_it_always_did() -> None:
    """One seed, one order, on every supported Python version."""
    first, again = run(random.Random(7), stories), run(random.Random(7), stories)
    assert first == again
    assert first == WRITTEN


def test_seeds_give_other_orders() -> None:
    """What is ready at once is shuffled by the seed."""
    assert len({run(random.Random(seed), stories) for seed in range(20)}) > 5


def test_time_passes_only_when_nothing_is_ready() -> None:
    """A year of sleep takes no time, and what was due first comes first."""

    async def year(loop: SimLoop) -> float:
        await asyncio.sleep(365 * 86_400)
        return loop.time()

    assert run(random.Random(1), year) == 365 * 86_400


def test_a_deadlock_and_a_spin_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for what can never come ends the run, and so does going round for ever."""

    async def stuck(_: SimLoop) -> None:
        await asyncio.Event().wait()

    async def spins(_: SimLoop) -> None:
        while True:
            await asyncio.sleep(0)

    monkeypatch.setattr(loop, "TURNS_MAX", 1000)
    with pytest.raises(AssertionError, match="no timer"):
        run(random.Random(1), stuck)
    with pytest.raises(AssertionError, match="spins"):
        run(random.Random(1), spins)


def test_tasks_belong_to_who_made_them() -> None:
    """A process that dies takes exactly the tasks with it that were made in its name."""

    class Someone:
        def __init__(self) -> None:
            self.tasks: dict[asyncio.Task[Any], None] = {}

    async def check(loop: SimLoop) -> None:
        one, ended = Someone(), []

        async def child() -> None:
            await asyncio.sleep(1)
            ended.append("child")

        async def parent() -> None:
            OWNER.set(one)
            await asyncio.gather(asyncio.create_task(child()), asyncio.create_task(child()))

        task = loop.create_task(parent())
        await asyncio.sleep(0.5)
        assert len(one.tasks) == 2
        for each in list(one.tasks):
            each.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not ended
        assert not one.tasks

    run(random.Random(1), check)
