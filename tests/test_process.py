"""The worker loop: bounded, and not to be ended by what it meets."""

import asyncio
import random
from pathlib import Path
from typing import Any

from payonce.bootstrap import App, Hold, LocalWake, SystemClock
from payonce.config import load
from payonce.ports import Clock, Due
from payonce.process import Worker
from payonce.stores.memory import MemoryStore
from payonce.testing.simulator.loop import SimLoop, run


class CountingEngine:
    """Counts how many payments are worked on at once; a call lasts until it is let go."""

    def __init__(self) -> None:
        self.running = self.most = self.done = 0
        self.hold = False
        self.gate = asyncio.Event()

    async def advance(self, payment_id: str) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gate.wait()
        self.running -= 1
        self.done += 1


class LookedAt(MemoryStore):
    """Counts the looks for work; the first ``broken`` of them meet a bug. ``stuck``: a payment that nobody can advance."""

    def __init__(self, *, broken: int = 0, stuck: bool = False) -> None:
        super().__init__()
        self.looks, self.broken, self.stuck = 0, broken, stuck

    async def due(self, before_us: int, limit: int) -> tuple[Due, ...]:
        self.looks += 1
        if self.looks <= self.broken:
            raise RuntimeError("a bug in the store")
        return (Due("pay_stuck", 0),) if self.stuck else await super().due(before_us, limit)


def worker_on(
    engine: CountingEngine,
    folder: Path,
    concurrency: int,
    *,
    store: MemoryStore | None = None,
    clock: Clock | None = None,
    poll_ms: int = 20,
) -> Worker:
    any_port: Any = engine
    app = App(
        settings=load(),
        engine=any_port,
        store=store or MemoryStore(),  # type: ignore[arg-type]
        transport=any_port,
        wake=LocalWake(),
        clock=clock or SystemClock(),
        scope=any_port,
        hold=Hold(folder / "payments.db"),
        sandbox=None,
        health=any_port,
    )
    return Worker(app, concurrency=concurrency, poll_ms=poll_ms)


async def until(holds: Any) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)


def test_any_number_of_wakes_stays_within_the_concurrency(tmp_path: Path) -> None:
    """3,000 hints at once start no more calls than the worker may have: the rest is due in the store anyway."""

    async def check() -> None:
        engine = CountingEngine()
        worker = worker_on(engine, tmp_path, concurrency=8)
        for n in range(3000):
            worker.app.wake.send(f"pay_{n}")
        loop = asyncio.create_task(worker.run())
        await until(lambda: engine.running == 8)
        engine.gate.set()
        await until(lambda: engine.done >= 8)
        assert await worker.stop(5)
        await loop
        assert engine.most == 8

    asyncio.run(check())


def test_a_bug_while_sweeping_does_not_end_the_worker(tmp_path: Path) -> None:
    """The API would go on accepting what nobody settles: the loop says it and tries again."""

    async def check() -> None:
        engine, store = CountingEngine(), LookedAt(broken=1)
        worker = worker_on(engine, tmp_path, concurrency=8, store=store)
        loop = asyncio.create_task(worker.run())
        await until(lambda: store.looks >= 2)
        await worker.stop(5)
        await loop

    asyncio.run(check())


def test_what_cannot_be_advanced_is_no_reason_to_look_again_and_again(tmp_path: Path) -> None:
    """A row of a newer version stays due: an older worker beside it looks about once a minute, not fifty times a second."""

    async def check(loop: SimLoop) -> None:
        engine, store = CountingEngine(), LookedAt(stuck=True)
        engine.gate.set()
        worker = worker_on(engine, tmp_path, concurrency=8, store=store, clock=VirtualClock(loop), poll_ms=3_600_000)
        running = loop.create_task(worker.run())
        await loop.until(3600)
        assert 30 < engine.done < 100
        assert store.looks < 300
        await worker.stop(5)
        await running

    run(random.Random(1), check)


class VirtualClock:
    """The time of a simulated loop."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop

    def now_us(self) -> int:
        return round(self.loop.time() * 1_000_000)

    def monotonic_us(self) -> int:
        return self.now_us()

    async def sleep(self, seconds: float) -> None:
        await self.loop.until(self.loop.time() + seconds)


def test_a_hold_binds_a_worker_that_runs_already(tmp_path: Path) -> None:
    """The mark beside the store's file is seen by every worker on it, and so is its end."""

    async def check() -> None:
        engine = CountingEngine()
        worker = worker_on(engine, tmp_path, concurrency=8)
        loop = asyncio.create_task(worker.run())
        worker.app.hold.begin()
        await until(lambda: engine.hold)
        worker.app.hold.lift()
        await until(lambda: not engine.hold)
        await worker.stop(5)
        await loop

    asyncio.run(check())
