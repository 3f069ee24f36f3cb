"""The shared registry as one worker sees it: it fails, and every leave that a worker's health gives is looked at."""

from typing import TYPE_CHECKING

from payonce.core import breaker
from payonce.core.breaker import Signal
from payonce.core.errors import StoreUnavailable
from payonce.health import Admitted, Health
from payonce.ports import Record

from .oracles import require
from .pauses import Crash

if TYPE_CHECKING:
    from .world import Worker


class FlakyRegistry:
    """Between one worker and the one registry of the world. Faults: ``registry_down`` (nothing done), ``registry_torn``
    (written, reported failed), ``registry_race`` (somebody else was first)."""

    def __init__(self, worker: "Worker") -> None:
        self.worker = worker

    async def all(self, kind: str) -> tuple[Record, ...]:
        await self._arrive()
        return await self.worker.world.registry.all(kind)

    async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
        world = self.worker.world
        await self._arrive()
        if world.hit("registry_race"):
            return False
        done = await world.registry.put(kind, name, value, expected_version)
        if world.hit("registry_torn"):
            raise StoreUnavailable
        return done

    async def _arrive(self) -> None:
        world = self.worker.world
        if world.dying:  # a dead process reports nothing
            raise Crash
        await self.worker.pause()
        if world.registry_down or world.hit("registry_down"):
            raise StoreUnavailable


class WatchedHealth(Health):
    """The health of one worker; a worker that crashed begins with a new one."""

    def __init__(self, worker: "Worker") -> None:
        super().__init__(FlakyRegistry(worker), worker)
        self.worker = worker
        self.leaves: dict[tuple[object, str], Admitted] = {}  # by task and account: given, not yet reported back

    async def admit(self, account: str) -> Admitted | None:
        leave = await super().admit(account)
        if leave is not None:
            self._check(leave)
            self.leaves[self.worker.world.task, account] = leave
        return leave

    async def learn(self, account: str, signal: Signal, admitted: Admitted | None) -> None:
        world = self.worker.world
        if admitted is not None:
            self.leaves.pop((world.task, account), None)
            if world.probes.get(account) is admitted:
                del world.probes[account]
        await super().learn(account, signal, admitted)

    def _check(self, leave: Admitted) -> None:
        """Exactly one call is let through a breaker that is not closed, and the next one when its lease is over, by the
        clock of who asks."""
        world, now_us = self.worker.world, self.worker.now_us()
        if leave.probe is None:
            require(leave.account not in self.blocked(now_us), f"leave for {leave.account}, which is blocked")
            return
        won = (leave.account, leave.version)
        require(won not in world.probed, f"two probes of {leave.account} by one record")
        world.probed.add(won)
        other = world.probes.get(leave.account)
        leased = other is not None and other.probe is not None and breaker.blocks(other.probe, now_us)
        require(not leased, f"a second probe of {leave.account} during the lease of the first")
        world.probes[leave.account] = leave
