"""Machines and the processes that live on them. A process is the real worker over the real engine; everything that it
can do to the world goes through ports that die with it, so a killed process changes nothing any more."""

import contextvars
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, cast

from payonce.bootstrap import App, LocalWake
from payonce.engine import Engine, Ports
from payonce.health import Health
from payonce.inbox import Receiver
from payonce.outbound.courier import Courier
from payonce.outbound.endpoints import Endpoints
from payonce.process import Worker

from .cloud_ports import CloudInbox, CloudRegistry, CloudStore
from .loop import OWNER
from .options import HOUR_S, S
from .storage import SimInbox, SimRegistry, SimStore
from .subscribers import opened
from .wire import Wire

if TYPE_CHECKING:
    import asyncio

    from .world import World

FREEZES_S = (5, 20, 60, 600, 2 * HOUR_S, 20 * HOUR_S, 72 * HOUR_S)
RESTART_S = 90
SET_BACK_S = 2 * HOUR_S  # a wall clock that is wrong by days could outlast a key's window: the stated limit of R7
REST_S = 3600.0  # of a worker when nothing is due; see World._poll


class Watched(Engine):
    """The engine, whose bugs are seen: the worker outlives them, as it must, and would hide them."""

    world: "World"

    async def advance(self, payment_id: str) -> None:
        try:
            await super().advance(payment_id)
        except Exception as error:
            self.world.violate(f"a bug came through advance: {type(error).__name__}: {error}", payment_id)
            raise


class Wake(LocalWake):
    """The hints of one process; some are lost (R1)."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self._world = world

    def send(self, payment_id: str) -> None:
        if payment_id and self._world.dice.random() < self._world.options.loses_hints and not self._world.calm:
            self._world.counts["hint lost"] += 1
            return
        super().send(payment_id)


class Machine:
    """A place with a clock of its own, which may be wrong, and at most one living process."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.offset_us = 0  # of the wall clock
        self.slept_us = 0  # what the monotonic clock has not counted
        self.version = 1  # of the code
        self.process: Process | None = None

    def start(self) -> None:
        """A new process, if none lives here."""
        if self.process is None and not self.world.over:
            self.process = self.world.LIFE(self)
            self.process.run()

    def kill(self) -> None:
        """``kill -9``."""
        if self.process is not None:
            self.process.kill()


class Process:
    """One life. Also its own Clock and Entropy port. ``looks``: an operator's process, whose reads may not be on record."""

    def __init__(self, machine: Machine, *, looks: bool = False) -> None:
        self.machine, self.world, self.version, self.looks = machine, machine.world, machine.version, looks
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.alive, self.frozen_until_us, self.died_us = True, 0, 0
        self._context = contextvars.copy_context()
        self._context.run(OWNER.set, self)
        self.kept = self.world.open_store(self)
        self.move_in()

    def move_in(self) -> None:
        """What lives here: payonce. Something else is another ``engine`` and ``worker``; see ``comparison``."""
        world, kept = self.world, self.kept
        wired = Ports(
            store=(CloudStore if world.cloud else SimStore)(self, kept.store),
            transport=Wire(self),
            clock=self,
            entropy=self,
            wake=(wake := Wake(world)),
        )
        registry = (CloudRegistry if world.cloud else SimRegistry)(self, kept.registry)
        self.health = Health(registry, self)
        self.endpoints: Endpoints | None = None
        self.courier: Courier | None = None
        if world.subscribers.there:
            self.endpoints, self.courier = opened(self, wired, registry)
        self.engine = Watched(
            wired,
            world.accounts_of(self.version),
            world.policy,
            rules=world.rules,
            health=self.health,
            hold=world.hold,
            listeners=self.endpoints,
        )
        self.engine.world = world
        inbox = (CloudInbox if world.cloud else SimInbox)(self, kept.inbox)
        self.receiver = Receiver(inbox, wired.store, self.engine.accounts, self.engine.ingest, clock=self, wake=wake)
        app = App(
            settings=cast("Any", None),
            engine=self.engine,
            store=cast("Any", wired.store),
            transport=wired.transport,
            wake=wake,
            clock=self,
            scope=world.scope,
            hold=cast("Any", world),  # the mark that every process respects: world.on()
            sandbox=None,
            health=self.health,
            merchants=cast("Any", None),
            keys=cast("Any", None),
            journal=cast("Any", None),
            webhooks=self.receiver if world.options.tells else None,
            endpoints=self.endpoints,
            courier=self.courier,
        )
        self.worker = Worker(app, concurrency=world.options.concurrency, poll_ms=int(REST_S * 1000))

    def run(self) -> None:
        self.world.note(self.machine.name, "", "starts" + (f" version {self.version}" if self.version > 1 else ""))
        self.spawn(self.worker.run())

    def spawn(self, coro: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """A task of this process: it dies with it."""
        return self._context.run(self.world.loop.create_task, coro)

    def kill(self) -> None:
        """Nothing of this process runs on. Its machine starts another one a little later."""
        if not self.alive:
            return
        self.alive, self.died_us = False, self.world.now_us()
        self.world.counts["kill"] += 1
        self.world.note(self.machine.name, "", "dies")
        for task in list(self.tasks):
            task.cancel()
        self.kept.close()
        if self.machine.process is self:
            self.machine.process = None
            self.world.after(self.world.dice.randrange(1, RESTART_S * S), self.machine.start)

    async def die(self) -> None:
        """Here and now: the calling task does not come back."""
        self.kill()
        await self.world.loop.create_future()

    def freeze(self, seconds: int) -> None:
        """Stand still: whatever comes back to this process waits for it to thaw."""
        world = self.world
        until = world.now_us() + seconds * S
        if until > self.frozen_until_us:
            if world.options.sleeps_uncounted:
                self.machine.slept_us += until - max(world.now_us(), self.frozen_until_us)
            self.frozen_until_us = until
            if world.options.jumps and world.dice.random() < 0.3:  # its clock is set while it sleeps
                self.machine.offset_us = max(self.machine.offset_us - seconds * S, -SET_BACK_S * S)
            world.counts["freeze"] += 1
            world.note(self.machine.name, "", f"stands still for {seconds} s")

    # --- the gate of every port -----------------------------------------------------------------------------------------

    async def arrive(self, point: str, payment_id: str = "", note: str = "", may: Sequence[str] | None = None) -> str:
        """A port is called. The word of fate, for what is the port's own business."""
        world = self.world
        if not self.alive:
            await world.loop.create_future()  # cancelled already
        word = world.fate.at(point, may)
        if word:
            world.note(self.machine.name, payment_id, f"!! {word} at {point} {note}")
        elif note:
            world.note(self.machine.name, payment_id, f"{point} {note}")
        if word == "crash_before":
            await self.die()
        if word == "freeze":
            self.freeze(world.dice.choice(FREEZES_S))
        await self.pause(world.dice.randrange(1_000_000, 4_000_000) if word == "delay" else world.dice.randrange(20, 3_000))
        return word

    async def pause(self, us: int = 0) -> None:
        """Time passes, and longer when the process stands still."""
        world = self.world
        if us:
            await world.loop.until(world.loop.time() + us / 1_000_000)
        while (left := self.frozen_until_us - world.now_us()) > 0:
            await world.loop.until(world.loop.time() + left / 1_000_000)

    # --- Clock and Entropy ----------------------------------------------------------------------------------------------

    def now_us(self) -> int:
        return self.world.now_us() + self.machine.offset_us

    def monotonic_us(self) -> int:
        return self.world.now_us() - self.machine.slept_us

    async def sleep(self, seconds: float) -> None:
        word = await self.arrive("sleep")
        await self.pause(int(seconds * S))
        if word == "crash_after":
            await self.die()

    def bits(self, count: int) -> int:
        return self.world.dice.getrandbits(count)
