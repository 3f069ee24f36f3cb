"""The worker loop: bounded, and not to be ended by what it meets."""

import asyncio
import random
from pathlib import Path
from typing import Any, cast

from msgspec.structs import replace

from payonce.bootstrap import App, LocalWake, SystemClock
from payonce.config import load
from payonce.core.errors import NewerSchema, StoreUnavailable
from payonce.hold import FileHold
from payonce.inbox import FORGET_MAX, KEEP_US, Receiver
from payonce.lanes import Lanes
from payonce.mail import Waiting
from payonce.ports import Clock, Due
from payonce.process import TIDY_US, Worker
from payonce.stores.memory import MemoryInbox, MemoryStore
from payonce.testing.inbox_contract import webhook
from payonce.testing.simulator.loop import SimLoop, run


class CountingEngine:
    """Counts how many payments are worked on at once; a call lasts until it is let go."""

    def __init__(self) -> None:
        self.running = self.most = self.done = 0
        self.hold = False
        self.lanes = Lanes({})
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
    webhooks: Receiver | None = None,
    courier: "Tells | None" = None,
    deliveries: int = 4,
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
        hold=FileHold(folder / "payments.db"),
        sandbox=None,
        health=any_port,
        merchants=any_port,
        keys=any_port,
        journal=any_port,
        webhooks=webhooks,
        courier=cast("Any", courier),
        endpoints=cast("Any", courier),
    )
    return Worker(app, concurrency=concurrency, poll_ms=poll_ms, deliveries=deliveries)


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


class UnreadableHold:
    """The registry that has the mark does not answer, at the first ``broken`` looks."""

    def __init__(self, *, broken: int) -> None:
        self.looks, self.broken = 0, broken

    async def on(self) -> bool:
        self.looks += 1
        if self.looks <= self.broken:
            raise StoreUnavailable("the registry does not answer")
        return False


def test_hints_do_not_make_it_ask_a_silent_registry_again_and_again(tmp_path: Path) -> None:
    """While the hold cannot be read it is asked for once a second, whatever is hinted meanwhile, and what is due is advanced
    afterwards."""

    async def check(loop: SimLoop) -> None:
        engine, hold = CountingEngine(), UnreadableHold(broken=100)
        engine.gate.set()
        worker = worker_on(engine, tmp_path, concurrency=8, store=LookedAt(stuck=True), clock=VirtualClock(loop))
        worker.app = replace(worker.app, hold=cast("Any", hold))
        worker.wake.send("pay_1")
        running = loop.create_task(worker.run())
        for second in range(1, 11):
            await loop.until(second)
            worker.wake.send(f"pay_{second}")
        assert 9 <= hold.looks <= 12
        assert engine.done == 0
        hold.broken = 0
        await loop.until(15)
        assert engine.done >= 1
        await worker.stop(5)
        await running

    run(random.Random(1), check)


def test_a_worker_ends_at_once_although_the_registry_is_silent(tmp_path: Path) -> None:
    """The pause before the next look does not hold up the end."""

    async def check(loop: SimLoop) -> None:
        worker = worker_on(CountingEngine(), tmp_path, concurrency=8, clock=VirtualClock(loop))
        worker.app = replace(worker.app, hold=cast("Any", UnreadableHold(broken=100)))
        running = loop.create_task(worker.run())
        await loop.until(5.3)
        assert await worker.stop(5)
        await running
        assert loop.time() < 5.4

    run(random.Random(1), check)


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
        await worker.app.hold.begin()
        await until(lambda: engine.hold)
        await worker.app.hold.lift()
        await until(lambda: not engine.hold)
        await worker.stop(5)
        await loop

    asyncio.run(check())


def test_while_a_hold_cannot_be_read_nothing_new_is_started(tmp_path: Path) -> None:
    """The registry is away: whether anything may be fired is not known, so the worker claims nothing and asks again."""

    class Away:
        asked, away = 0, True

        async def on(self) -> bool:
            self.asked += 1
            if self.away:
                raise StoreUnavailable("away")
            return False

    async def check(loop: SimLoop) -> None:
        engine, hold, hidden = CountingEngine(), Away(), LookedAt(stuck=True)
        engine.gate.set()
        worker = worker_on(engine, tmp_path, concurrency=8, store=hidden, clock=VirtualClock(loop))
        worker.app = replace(worker.app, hold=hold)
        running = loop.create_task(worker.run())
        await loop.until(60)
        assert (engine.done, hidden.looks) == (0, 0)
        assert 30 < hold.asked < 100
        hold.away = False
        await loop.until(120)
        assert engine.done
        await worker.stop(5)
        await running

    run(random.Random(1), check)


# --- webhooks ---------------------------------------------------------------------------------------------------------


class Looks(Receiver):
    """A receiver over an inbox of its own; each webhook is matched as soon as it is looked up."""

    def __init__(self, clock: Clock) -> None:
        rows: Any = MemoryInbox()
        super().__init__(rows, MemoryStore(), {}, self._hint, clock=clock, wake=LocalWake())
        self.clock, self.looked, self.tidied, self.broken = clock, list[str](), 0, False

    async def _hint(self, payment_id: str, ref: str = "", *, actor: str) -> bool:
        raise AssertionError("nothing is matched by name here")

    async def resolve(self, id: str) -> None:
        self.looked.append(id)
        row = await self.inbox.get(id)
        assert row is not None
        await self.inbox.settle(replace(row, state="matched", due_us=None))

    async def tidy(self) -> bool:
        self.tidied += 1
        if self.broken:
            raise StoreUnavailable("the disk is full")
        return await super().tidy()


def test_the_worker_looks_up_webhooks_beside_payments(tmp_path: Path) -> None:
    """Those in the inbox and those it was told of, each once, by whatever process stored them; payments go on."""

    async def check() -> None:
        engine, receiver = CountingEngine(), Looks(SystemClock())
        engine.gate.set()
        worker = worker_on(engine, tmp_path, concurrency=8, store=LookedAt(stuck=True), webhooks=receiver)
        for n in (1, 2):
            await receiver.inbox.put(webhook(n))
        worker.app.wake.send(webhook(2).id)
        loop = asyncio.create_task(worker.run())
        await until(lambda: len(receiver.looked) == 2 and engine.done)
        await receiver.inbox.put(webhook(3))
        await until(lambda: len(receiver.looked) == 3)
        assert await worker.stop(5)
        await loop
        assert sorted(receiver.looked) == [webhook(n).id for n in (1, 2, 3)]
        assert await receiver.inbox.counts() == {"matched": 3}

    asyncio.run(check())


def test_a_webhook_that_cannot_be_looked_up_is_no_reason_to_look_again_and_again(tmp_path: Path) -> None:
    """A row that stays due is tried about once a minute, and holds no payment up."""

    async def check(loop: SimLoop) -> None:
        clock = VirtualClock(loop)
        engine, receiver = CountingEngine(), Looks(clock)
        engine.gate.set()

        async def fails(id: str) -> None:
            receiver.looked.append(id)
            raise RuntimeError("a bug")

        receiver.resolve = fails  # type: ignore[method-assign]
        await receiver.inbox.put(webhook(1, due_us=0))
        worker = worker_on(engine, tmp_path, concurrency=8, clock=clock, poll_ms=3_600_000, webhooks=receiver)
        running = loop.create_task(worker.run())
        await loop.until(3600)
        assert 30 < len(receiver.looked) < 100
        await worker.stop(5)
        await running

    run(random.Random(1), check)


def test_the_worker_removes_old_webhooks_in_small_batches(tmp_path: Path) -> None:
    """All that is too old goes within seconds, then it looks each ten minutes; that the store refuses settles no less."""

    async def check(loop: SimLoop) -> None:
        clock = VirtualClock(loop)
        engine, receiver = CountingEngine(), Looks(clock)
        engine.gate.set()
        old = -KEEP_US - 1
        for n in range(2 * FORGET_MAX + 1):
            await receiver.inbox.put(webhook(n, state="matched", due_us=None, received_us=old))
        worker = worker_on(
            engine, tmp_path, concurrency=8, store=LookedAt(stuck=True), clock=clock, poll_ms=500, webhooks=receiver
        )
        running = loop.create_task(worker.run())
        await loop.until(10)
        assert (await receiver.inbox.counts(), receiver.tidied) == ({}, 3)
        receiver.broken = True
        done = engine.done
        await loop.until(2.5 * TIDY_US / 1_000_000)
        assert receiver.tidied == 5
        assert engine.done > done
        await worker.stop(5)
        await running

    run(random.Random(1), check)


# --- what merchants are told ------------------------------------------------------------------------------------------


class Tells:
    """A courier, and the endpoints, with ``many`` deliveries that are due; each lasts until it is let go."""

    def __init__(self, many: int = 0) -> None:
        self.left = {f"dlv_{n}": 0 for n in range(many)}
        self.told, self.tidied, self.refreshed, self.asked = list[str](), 0, 0, 0
        self.running = self.most = 0
        self.gate = asyncio.Event()
        self.broken = False

    async def refresh(self) -> None:
        self.refreshed += 1

    async def due(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        self.asked += 1
        if self.broken:
            raise NewerSchema("an endpoint of a newer version")
        return tuple(Waiting(id, at) for id, at in list(self.left.items())[:limit])

    async def resolve(self, id: str) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gate.wait()
        self.running -= 1
        self.told.append(id)
        self.left.pop(id, None)

    async def tidy(self) -> bool:
        self.tidied += 1
        return False


def test_the_worker_tells_merchants_beside_settling_payments(tmp_path: Path) -> None:
    """What is due by itself, and what it was told of: notices, deliveries and recoveries."""

    async def check() -> None:
        engine, tells = CountingEngine(), Tells(9)
        engine.gate.set()
        tells.gate.set()
        worker = worker_on(engine, tmp_path, concurrency=8, store=LookedAt(stuck=True), courier=tells)
        for id in ("not_1", "whe_1"):
            worker.app.wake.send(id)
        loop = asyncio.create_task(worker.run())
        await until(lambda: len(set(tells.told)) == 11 and engine.done and tells.tidied == 1)
        assert await worker.stop(5)
        await loop
        assert tells.most <= 4
        assert tells.refreshed

    asyncio.run(check())


def test_payments_are_never_held_up_by_merchants_that_are_slow(tmp_path: Path) -> None:
    """Ten thousand deliveries that do not end have places of their own; every payment's place is still there."""

    async def check() -> None:
        engine, tells = CountingEngine(), Tells(10_000)
        store = LookedAt()
        worker = worker_on(engine, tmp_path, concurrency=8, store=store, courier=tells)
        for n in range(100):
            worker.app.wake.send(f"dlv_{n}")
        loop = asyncio.create_task(worker.run())
        await until(lambda: tells.running == 4)
        for n in range(20):
            worker.app.wake.send(f"pay_{n}")
        await until(lambda: engine.running == 8)
        assert (tells.running, tells.most, engine.most) == (4, 4, 8)
        engine.gate.set()
        tells.gate.set()
        assert await worker.stop(5)
        await loop

    asyncio.run(check())


def test_deliveries_go_on_while_all_payments_are_slow(tmp_path: Path) -> None:
    """Providers that hang are no reason to tell merchants nothing."""

    async def check() -> None:
        engine, tells = CountingEngine(), Tells()
        tells.gate.set()
        worker = worker_on(engine, tmp_path, concurrency=2, courier=tells)
        for n in range(5):
            worker.app.wake.send(f"pay_{n}")
        loop = asyncio.create_task(worker.run())
        await until(lambda: engine.running == 2)
        tells.left |= {f"dlv_{n}": 0 for n in range(20)}
        await until(lambda: len(tells.told) == 20)
        assert engine.done == 0
        engine.gate.set()
        assert await worker.stop(5)
        await loop

    asyncio.run(check())


def test_endpoints_that_cannot_be_read_hold_no_payment_up(tmp_path: Path) -> None:
    """One of a newer version, say: payments are settled, and it is said once a minute, not at each look."""

    async def check(loop: SimLoop) -> None:
        engine, tells = CountingEngine(), Tells(1)
        engine.gate.set()
        tells.gate.set()
        tells.broken = True
        clock = VirtualClock(loop)
        worker = worker_on(engine, tmp_path, concurrency=8, store=LookedAt(stuck=True), clock=clock, poll_ms=500, courier=tells)
        running = loop.create_task(worker.run())
        await loop.until(60)
        assert (tells.told, engine.done > 0, tells.asked > 10) == ([], True, True)
        tells.broken = False
        await loop.until(62)
        assert tells.told == ["dlv_0"]
        await worker.stop(5)
        await running

    run(random.Random(1), check)


def test_without_a_courier_a_hint_for_one_is_nothing(tmp_path: Path) -> None:
    """A process that was not set up for it leaves it to others."""

    async def check() -> None:
        engine = CountingEngine()
        engine.gate.set()
        worker = worker_on(engine, tmp_path, concurrency=8)
        for id in ("not_1", "dlv_1", "whe_1", "pay_1"):
            worker.app.wake.send(id)
        loop = asyncio.create_task(worker.run())
        await until(lambda: engine.done == 1)
        assert await worker.stop(5)
        await loop
        assert engine.done == 1

    asyncio.run(check())
