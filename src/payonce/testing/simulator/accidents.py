"""What happens to a world beside the faults of single calls: kills, frozen machines, wrong clocks, deploys, weather,
drains, an account that is re-pointed, a store that is away, webhooks, and a backup that is put back."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from payonce.core.errors import NewerSchema, StoreUnavailable
from payonce.core.payment import FINAL
from payonce.restore import find_lost
from payonce.stores.memory import MemoryStore

from .options import HOUR_S, S
from .processes import FREEZES_S, Machine, Process

if TYPE_CHECKING:
    from .world import World

JUMPS_S = (-HOUR_S, -60, -2, 2, 60, HOUR_S)


class Accidents:
    def __init__(self, world: "World") -> None:
        self.world = world

    def begin(self) -> None:
        """Set the timers of everything that the options want."""
        world, o = self.world, self.world.options
        for name in sorted({adapter for _, adapter in o.accounts}):
            lag = min(world.accounts[a].terms.read_lag_s for a, adapter in o.accounts if adapter == name)
            world.vendors.forecast(name, o.spells, o.faults_for_s, lag)
        for _ in range(o.kills):
            self._sometime(lambda: self._machine().kill())
        for _ in range(o.freezes):
            self._sometime(self._freeze)
        for _ in range(o.jumps):
            self._sometime(self._jump)
        if o.skew_s:
            world.machines[-1].offset_us = o.skew_s * S
        if o.deploys:
            self._sometime(self._deploy)
        for _ in range(o.drains):
            self._sometime(self._drain)
        if o.repoints:
            self._sometime(self._repoint)
        for _ in range(o.outages_of_store):
            self._sometime(self._store_away)
        if o.restores:
            self._sometime(self._backup)
        for _ in range(round(o.payments * o.webhooks)):
            self._sometime(self._webhook)

    def _sometime(self, do: Callable[[], Any]) -> None:
        """Within the safety phase, mostly while the payments are young."""
        o, dice = self.world.options, self.world.dice
        most = dice.choice((o.arrive_for_s, o.arrive_for_s * 4, o.faults_for_s))
        self.world.after(dice.randrange(1, max(2, min(most, o.faults_for_s)) * S), lambda: None if self.world.calm else do())

    def _machine(self) -> Machine:
        return self.world.dice.choice(self.world.machines)

    def _freeze(self) -> None:
        if (process := self._machine().process) is not None:
            process.freeze(self.world.dice.choice(FREEZES_S))

    def _jump(self) -> None:
        machine = self._machine()
        machine.offset_us += self.world.dice.choice(JUMPS_S) * S
        self.world.counts["clock jump"] += 1
        self.world.note(machine.name, "", f"its clock is wrong by {machine.offset_us / S:g} s")

    def _deploy(self) -> None:
        """A newer version takes one machine; what it writes the others must leave alone until they follow."""
        machine = self._machine()
        machine.version = 2
        self.world.counts["deploy"] += 1
        machine.kill()

    def _drain(self) -> None:
        world = self.world
        account = world.dice.choice(world.options.accounts)[0]
        self._operator(lambda p: self._drained(p, account))
        back = world.dice.choice((5, 60, 600)) * S
        world.after(back, lambda: self._operator(lambda p: self._resumed(p, account)))
        world.counts["drain"] += 1

    async def _drained(self, process: Process, account: str) -> None:
        await process.health.drain(account, "maintenance", "ops")
        self.world.watch.drained[account] = self.world.now_us()

    async def _resumed(self, process: Process, account: str) -> None:
        self.world.watch.drained.pop(account, None)
        await process.health.resume(account, "ops", close_breaker=True)

    def _operator(self, do: Callable[[Process], Any]) -> None:
        """A command of a person, in any living process; it may fail, as commands do."""
        for machine in self.world.machines:
            if machine.process is not None:
                machine.process.spawn(_tolerant(do(machine.process)))
                return

    def _repoint(self) -> None:
        """New processes have another credential for an account; later they have the old one again."""
        world = self.world
        name = world.dice.choice(world.options.accounts)[0]
        was = world.accounts[name]
        world.accounts = {**world.accounts, name: replace(was, credential_id="another")}
        world.counts["re-pointed"] += 1
        world.note("world", "", f"{name} is re-pointed")
        for machine in world.machines:
            machine.kill()
        world.pointed_back = lambda: world.accounts.update({name: was})

    def _store_away(self) -> None:
        world = self.world
        world.store_down = True
        world.counts["store away"] += 1
        world.after(world.dice.choice((1, 20, 200)) * S, lambda: setattr(world, "store_down", False))

    def _webhook(self) -> None:
        world = self.world
        ids = [i for each in world.merchants.posted for i in each.ids]
        process = self._machine().process
        if ids and process is not None:
            world.counts["webhook"] += 1
            process.spawn(_tolerant(process.engine.ingest(world.dice.choice(ids), "hint", actor="webhook")))

    # --- a backup ---------------------------------------------------------------------------------------------------------

    def _backup(self) -> None:
        """What is in the store now comes back later. Nobody posts in between: what a lost 202 promised is nobody's."""
        world = self.world
        if any(not each.ids for each in world.merchants.posted) or (kept := self._copied()) is None:
            return
        world.note("world", "", "a backup is made")
        world.after(world.dice.choice((1, 5, 30, 300)) * S, lambda: None if world.calm else self._restore(kept))

    def _copied(self) -> Callable[[], None] | None:
        """The store as it is now: what it gives puts it back. None when it cannot be copied."""
        world = self.world
        if world.cloud is not None:
            return world.cloud.backup()
        memory: Any = world.memory
        if not isinstance(memory, MemoryStore):
            return None
        kept = memory.copy()
        return lambda: setattr(world, "memory", kept)

    def _restore(self, put_back: Callable[[], None]) -> None:
        """Everybody is stopped, the backup put in place, and started under a hold."""
        world = self.world
        world.counts["restored"] += 1
        world.note("world", "", "the backup is put back; hold")
        world.hold = True
        for machine in world.machines:
            machine.kill()
        put_back()
        world.restored()
        world.spawn(self._reconcile())

    async def _reconcile(self) -> None:
        """``payonce reconcile``, again and again until every account has answered for every payment."""
        world = self.world
        while not world.over:
            desk = Machine(world, "operator")
            desk.version = max(m.version for m in world.machines)
            process = Process(desk, looks=True)
            process.engine.hold = True
            task = process.spawn(_reconciled(process))
            await world.wait_for(task)
            process.kill()
            if task.done() and not task.cancelled() and task.exception() is None and task.result():
                world.hold = False
                world.note("world", "", "reconciled; the hold is lifted")
                return
            await world.loop.until(world.loop.time() + 60)


async def _reconciled(process: Process) -> bool:
    """Whether every payment was asked for at every account."""
    world, done = process.world, True
    for payment_id in world.known_ids():
        p = await process.engine.store.get(payment_id)
        if p is None:
            continue
        if p.status not in FINAL:
            await process.engine.ingest(payment_id, actor="operator:reconcile")
            done &= await find_lost(process.engine, payment_id, timeout_s=120)
    return done


async def _tolerant(coro: Any) -> None:
    try:
        await coro
    except (StoreUnavailable, NewerSchema):
        return
