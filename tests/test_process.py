"""The worker loop: bounded, and not to be ended by what it meets."""

import asyncio
from pathlib import Path
from typing import Any

from payonce.bootstrap import App, Hold, LocalWake, SystemClock
from payonce.config import load
from payonce.process import Worker
from payonce.stores.memory import MemoryStore


class CountingEngine:
    """Counts how many payments are worked on at once; a call lasts until it is let go."""

    def __init__(self) -> None:
        self.running = self.most = self.done = self.sweeps = 0
        self.hold, self.broken = False, 0
        self.gate = asyncio.Event()

    async def advance(self, payment_id: str) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gate.wait()
        self.running -= 1
        self.done += 1

    async def sweep(self, limit: int) -> list[str]:
        self.sweeps += 1
        if self.broken:
            self.broken -= 1
            raise RuntimeError("a bug in the store")
        return []


def worker_on(engine: CountingEngine, folder: Path, concurrency: int) -> Worker:
    any_port: Any = engine
    app = App(
        settings=load(),
        engine=any_port,
        store=MemoryStore(),  # type: ignore[arg-type]
        transport=any_port,
        wake=LocalWake(),
        clock=SystemClock(),
        scope=any_port,
        hold=Hold(folder / "payments.db"),
        sandbox=None,
        health=any_port,
    )
    return Worker(app, concurrency=concurrency, poll_ms=20)


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
        engine = CountingEngine()
        engine.broken = 1
        worker = worker_on(engine, tmp_path, concurrency=8)
        loop = asyncio.create_task(worker.run())
        await until(lambda: engine.sweeps >= 2)
        await worker.stop(5)
        await loop

    asyncio.run(check())


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
