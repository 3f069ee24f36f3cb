"""A worker in a process of its own, beside those that accept payments."""

import random
from pathlib import Path

from payonce.process import Worker
from payonce.testing.simulator.loop import SimLoop, run

from .test_process import CountingEngine, LookedAt, VirtualClock, worker_on


def test_a_worker_apart_notices_what_another_process_writes(tmp_path: Path) -> None:
    """Nobody sends it hints and its next poll is a minute away: what was written meanwhile is advanced a quarter of a
    second later at most, and while nobody writes nothing is asked but, four times a second, whether somebody did."""

    async def check(loop: SimLoop) -> None:
        engine, store, glances, at = CountingEngine(), LookedAt(), 0, 1

        async def written() -> int:
            nonlocal glances
            glances += 1
            return at

        engine.gate.set()
        worker = worker_on(engine, tmp_path, concurrency=8, store=store, poll_ms=60_000, clock=VirtualClock(loop))
        worker = Worker(worker.app, concurrency=8, poll_ms=60_000, written=written)
        running = loop.create_task(worker.run())
        await loop.until(10)
        assert store.looks <= 3
        assert 35 < glances < 60
        store.stuck, at = True, 2
        await loop.until(10.3)
        assert engine.done
        before, at = store.looks, 3
        await loop.until(10.36)
        assert store.looks > before  # where somebody just wrote, it looks more often
        await worker.stop(5)
        await running

    run(random.Random(1), check)
