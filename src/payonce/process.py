"""What runs: the worker, which claims what is due, with signals and drain."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from .bootstrap import App, LocalWake
from .core.errors import PayonceError
from .inbox import PREFIX
from .outbound.courier import WORK
from .telemetry import get_logger

RERUN_AFTER_US = 100_000  # the same payment is not swept again sooner, unless it was woken
LOOK_MIN_S = 0.02  # between two looks for work, unless more is known to wait and half of the room is free
ROOM: Final = "room"  # the hint to oneself that somebody ended; nothing else has this id
GLANCE_S: Final = 0.05  # between two looks whether another process wrote; each wakes an idle machine, so while nobody writes
GLANCE_MAX_S: Final = 0.25  # they become as rare as this: 20 of them a second took 0.7 % of a core
PAUSE_S: Final = 1.0  # after a look that failed
TIDY_US, TIDY_ON_US = 600_000_000, 1_000_000  # between two removals of old webhooks; the second while there are more
HINTS_PART: Final = 4  # webhooks get at most this part of the concurrency: ten thousand that are due must not hold payments up
DELIVERIES: Final = 16  # webhooks to merchants under way at once, where nothing else is said
GRUDGE_US: Final = 60_000_000  # between two log lines about deliveries that cannot be looked for
RERUN_MAX_US = 60_000_000  # a row that stays due although we looked (a newer version's) is looked at this rarely

log = get_logger("process")


class Worker:
    """Advances what is due, payments and webhooks, in this process's own concurrency, and beside them, in one of their own,
    what merchants are told. Any number of workers may share a store: claims are conditional writes, so a second one costs time
    only.

    ``written``: a number that changes when anybody writes, for a worker in a process of its own: nobody sends it hints there,
    and what another process accepts would wait for the next poll."""

    def __init__(
        self,
        app: App,
        *,
        concurrency: int,
        poll_ms: int,
        deliveries: int = DELIVERIES,
        written: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        if not isinstance(app.wake, LocalWake):
            raise TypeError("open_app(settings, worker=True): a worker in this process listens to this process")
        self.app, self.wake, self.concurrency, self.poll_s = app, app.wake, concurrency, poll_ms / 1000
        self.wake.heard = True
        self.deliveries, self._written = deliveries, written
        self._seen, self._glance_s = 0, GLANCE_S
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._hints = 0  # how many of them are webhooks from providers
        self._told = 0  # and how many are for merchants
        self._complained_us = -GRUDGE_US
        self._rested: dict[str, tuple[int, int]] = {}  # id -> (not before, length of the last rest)
        self._stopping = asyncio.Event()
        self._tidy_at_us = 0
        self._looked_us = self._look_at_us = -(2**62)  # monotonic: when it swept last, and when it will again
        self._waits = set[bool]()  # what that sweep left for want of room: payments (False), deliveries (True)

    async def run(self) -> None:
        """Until ``stop``. Survives what stores and networks can do."""
        while not self._stopping.is_set():
            wait_s, hints = self.poll_s, self.wake.take()  # taken first: one that waits would end every wait at once
            try:
                await self.app.heed_hold()
                for id in hints:
                    self._hinted(id)
                if self._room("") or self._room(WORK[0]):
                    wait_s = await self._look()
            except PayonceError as error:
                log.warning("cannot read what is due; trying again", error=str(error))
                await self._pause()
            except Exception:  # a worker that ended would leave every payment where it is
                log.exception("bug: cannot look for what is due; trying again")
                await self._pause()
            else:
                await self._rest(wait_s)

    async def _rest(self, wait_s: float) -> None:
        """Until something is sent, the time is over, or somebody wrote."""
        if self._written is None:
            await self.wake.wait(wait_s)
            return
        until_us = self.app.clock.monotonic_us() + int(wait_s * 1_000_000)
        while (left_us := until_us - self.app.clock.monotonic_us()) > 0:
            if await self.wake.wait(min(self._glance_s, left_us / 1_000_000)):
                return
            with contextlib.suppress(PayonceError):
                was, self._seen = self._seen, await self._written()
                if was != self._seen:
                    self._look_at_us, self._glance_s = self._looked_us, GLANCE_S
                    return
            self._glance_s = min(GLANCE_MAX_S, self._glance_s * 1.25)

    async def _pause(self) -> None:
        """After a failed look, which hints do not cut short: what they name is still due, and each would be one more question
        to what does not answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE_S):
                await self._stopping.wait()

    async def stop(self, drain_s: float) -> bool:
        """Claim nothing more and wait for calls in flight. After ``drain_s`` they are cut: their steps are on record
        and will be resolved by reading. True when all of them finished."""
        self._stopping.set()
        self.wake.send("")
        running = list(self._tasks.values())
        if not running:
            return True
        _, late = await asyncio.wait(running, timeout=drain_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return not late

    def _room(self, id: str) -> bool:
        """One more of this kind may be started."""
        if id.startswith(WORK):
            return self._told < self.deliveries
        return len(self._tasks) - self._told < self.concurrency

    def _hinted(self, id: str) -> None:
        if id == "":  # whoever sends none knows that there is something
            self._look_at_us = self._looked_us
        elif id != ROOM:
            self._rested.pop(id, None)
            if self._room(id):
                self._start(id)
            else:  # it is due in the store
                self._waits.add(id.startswith(WORK))

    async def _look(self) -> float:
        """Sweep, if it is time for it; the seconds until it is. Who ends makes room, but not each of them is worth a sweep:
        where many are at work, one serves twenty."""
        now = self.app.clock.monotonic_us()
        if now >= self._look_at_us or self._half_free():
            self._looked_us = now
            self._waits.clear()
            self._look_at_us = now + int(await self._sweep() * 1_000_000)
        return (self._look_at_us - now) / 1_000_000

    def _half_free(self) -> bool:
        """There is room for many of those that the last sweep left for want of room."""
        payments = False in self._waits and 2 * (len(self._tasks) - self._told) <= self.concurrency
        return payments or (True in self._waits and 2 * self._told <= self.deliveries)

    async def _sweep(self) -> float:
        """Start what is due; the seconds until the next look. What rests, because this process cannot do anything about it
        now, is passed over, and is no reason to look again and again."""
        now = self.app.clock.now_us()
        self._rested = {k: rest for k, rest in self._rested.items() if rest[0] + 2 * rest[1] > now}
        soon = now + int(self.poll_s * 1_000_000)
        telling = [rest[0] > now for id, rest in self._rested.items() if id.startswith(WORK)]
        rows = list[tuple[int, str]]()
        if self._room(""):
            rows += await self._due(soon, self.concurrency + len(self._tasks) + len(self._rested) - len(telling) + 1)
        if self._room(WORK[0]):
            rows += await self._to_tell(soon, self.deliveries + self._told + sum(telling) + 1)
        for due_us, id in rows:
            if id in self._tasks:
                continue  # its end wakes us
            until, length = self._rested.get(id, (0, 0))
            at = due_us if due_us > until - length else max(due_us, until)  # put off since it ran: it comes when it said
            if at > now:
                soon = min(soon, at)
            elif self._room(id):
                self._start(id)
            else:
                self._waits.add(id.startswith(WORK))
        await self._tidy(now)
        return max(LOOK_MIN_S, (soon - now) / 1_000_000)

    async def _due(self, before_us: int, limit: int) -> list[tuple[int, str]]:
        """Due times and ids of payments and webhooks, earliest first."""
        rows = [(row.due_us, row.payment_id) for row in await self.app.store.due(before_us, limit)]
        if self.app.webhooks:
            rows += [(row.due_us, row.id) for row in await self.app.webhooks.due(before_us, limit)]
        return sorted(rows)

    async def _to_tell(self, before_us: int, limit: int) -> list[tuple[int, str]]:
        """The same of what merchants are to be told. That it cannot be read is no reason to settle nothing."""
        if self.app.courier is None or self.app.endpoints is None:
            return []
        try:
            await self.app.endpoints.refresh()
            return [(row.due_us, row.id) for row in await self.app.courier.due(before_us, limit)]
        except PayonceError as error:
            now = self.app.clock.monotonic_us()
            if now - self._complained_us >= GRUDGE_US:
                self._complained_us = now
                log.error("cannot read what merchants are to be told; trying again", error=str(error))  # noqa: TRY400
            return []

    async def _tidy(self, now: int) -> None:
        """Some old webhooks and deliveries at a time. That the store does not take it is no reason to settle nothing."""
        if now < self._tidy_at_us:
            return
        self._tidy_at_us = now + TIDY_US
        for each in (self.app.webhooks, self.app.courier):
            with contextlib.suppress(PayonceError):
                if each is not None and await each.tidy():
                    self._tidy_at_us = now + TIDY_ON_US

    def _start(self, id: str) -> None:
        if id in self._tasks or not id or self._stopping.is_set():
            return
        if id.startswith(PREFIX):
            if self._hints >= max(1, self.concurrency // HINTS_PART):
                return  # it stays due
            self._hints += 1
        self._told += id.startswith(WORK)
        task = asyncio.create_task(self._advance(id), name=f"advance {id}")
        self._tasks[id] = task
        task.add_done_callback(lambda _: self._done(id))

    async def _advance(self, id: str) -> None:
        """One step of whatever has this id. What fails is still due."""
        try:
            with self.app.watcher.working(id):
                if id.startswith(WORK):
                    if self.app.courier:
                        await self.app.courier.resolve(id)
                elif not id.startswith(PREFIX):
                    await self.app.engine.advance(id)
                elif self.app.webhooks:
                    await self.app.webhooks.resolve(id)
        except Exception:
            log.exception("bug: a payment or webhook could not be advanced; it stays due", id=id)

    def _done(self, id: str) -> None:
        self._tasks.pop(id, None)
        self._hints -= id.startswith(PREFIX)
        self._told -= id.startswith(WORK)
        now = self.app.clock.now_us()
        until, length = self._rested.get(id, (0, 0))
        again_soon = length and now < until + 2 * length
        rest = min(RERUN_MAX_US, length * 2) if again_soon else RERUN_AFTER_US
        self._rested[id] = (now + rest, rest)
        # Turns at an account that is full are dense: who misses the moment is put off again.
        pause_us = 0 if self.app.engine.lanes.waiting(now) else int(LOOK_MIN_S * 1_000_000)
        soon = self._looked_us + pause_us
        if soon < self._look_at_us or self._half_free():  # there is room again
            self._look_at_us = min(self._look_at_us, soon)
            self.wake.send(ROOM)


@asynccontextmanager
async def running_worker(app: App, *, drain_s: float | None = None, alone: bool = False) -> AsyncIterator[Worker]:
    """A worker beside the caller's own work; drained at the end. ``alone``: other processes accept the payments."""
    s = app.settings
    worker = Worker(
        app,
        concurrency=s.number("worker.concurrency"),
        poll_ms=s.number("worker.poll_ms"),
        deliveries=s.number("webhooks.concurrency"),
        written=getattr(app.store, "written", None) if alone else None,  # the file knows; tables have a queue
    )
    loop = asyncio.create_task(worker.run(), name="worker")
    try:
        yield worker
    finally:
        clean = await worker.stop(s.number("server.drain_s") if drain_s is None else drain_s)
        await loop
        if not clean:
            log.warning("calls in flight were cut; their payments will be resolved by reading")


async def until_signal(started: Callable[[], Awaitable[None]] | None = None) -> None:
    """Wait for SIGTERM or SIGINT."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # not on Windows: Ctrl-C raises KeyboardInterrupt there
            loop.add_signal_handler(number, stop.set)
    if started is not None:
        await started()
    await stop.wait()
