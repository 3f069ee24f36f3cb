"""Processes of any releases on one payments file, before the sandbox's simulators, on one virtual clock. The seed decides
all of it: whose turn it is, the weather at the vendors, and where a process dies or stalls.

Used by the workload of a release too, which runs under that release's own code: only names that every release has are
imported here, and what a process is built from comes as a ``Code`` (payonce.testing.versions).
"""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from payonce.sandbox.faults import Profile
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.server import installed
from payonce.sandbox.simulator import Reply, Request

if TYPE_CHECKING:  # a release that is being kept may not have it
    from payonce.testing.versions import Code

S = 1_000_000
ADVANCES_MAX = 6_000  # of one world: more is a spin
FREEZE_US = 30 * S  # longer than any lease of a sandbox account


class Killed(BaseException):
    """The process dies here: nothing of it runs on."""


class Spell(NamedTuple):
    """Bad weather at one vendor."""

    vendor: str
    from_us: int
    until_us: int
    profile: Profile


class Storm(NamedTuple):
    """How likely things go wrong until ``until_us``. Each is a chance per call."""

    until_us: int
    dies: float = 0.0
    stalls: float = 0.0
    loses: float = 0.0  # the vendor has acted, its answer does not arrive
    spells: tuple[Spell, ...] = ()


FINE = Storm(0)


class World:
    """Time, chance, the payments file and the books of the vendors (None = in memory: they are not what is tried);
    ``processes`` are those that live now."""

    def __init__(self, store: Path, ledger: Path | None, *, seed: int, now_us: int, storm: Storm = FINE) -> None:
        self.path, self.ledger, self.vendors = store, Ledger(ledger or ":memory:"), installed()
        self.dice, self.now, self.storm = random.Random(seed), now_us, storm
        self.processes: list[Process] = []
        self.working: list[tuple[int, str, Request]] = []  # what a vendor goes on with when its client is gone
        self.deaths = self.thaws = self.turns = 0
        self.at = ""  # the payment whose turn it is
        self.works: dict[str, set[str]] = {}  # payment id -> the versions that wrote to it

    async def start(self, codes: "Sequence[Code]") -> None:
        """One process of each code, in this order."""
        for code in codes:
            self.processes.append(await Process.start(self, code))

    async def close(self) -> None:
        for process in self.processes:
            await process.store.close()
        self.ledger.close()

    # --- the ports that all processes share -------------------------------------------------------------------------

    def now_us(self) -> int:
        return self.now

    def monotonic_us(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += int(seconds * S)

    def bits(self, count: int) -> int:
        return self.dice.getrandbits(count)

    def send(self, payment_id: str) -> None:
        """The wake hint: lost here."""

    # --- turns ------------------------------------------------------------------------------------------------------

    async def settle(self, until_us: int) -> None:
        """Advance what is due until then, or until nothing is."""
        while await self.turn(until_us):
            pass
        self.now = max(self.now, until_us)
        self.catch_up()

    async def turn(self, until_us: int) -> bool:
        """Some process that is not in the middle of a call advances what is due next. False when nothing is due by then."""
        idle = [n for n, process in enumerate(self.processes) if not process.busy]
        n = self.dice.choice(idle)
        process = self.processes[n]
        due = await process.store.next_due()
        if due is None or due > until_us:
            return False
        self.turns += 1
        assert self.turns <= ADVANCES_MAX, "it does not come to rest"
        self.now = max(self.now, due)
        self.catch_up()
        (payment_id, *_) = await process.engine.sweep(1)
        process.busy, self.at = True, payment_id
        try:
            await process.engine.advance(payment_id)
        except Killed:
            self.deaths += 1
            self.processes[n] = await process.again()
        finally:
            process.busy = False
        return True

    async def freeze(self) -> None:
        """The process that calls this stands still for a while, and others go on."""
        free = sum(not process.busy for process in self.processes)
        if free and self.now < self.storm.until_us and self.dice.random() < self.storm.stalls:
            thaws_us = self.now + self.dice.randrange(FREEZE_US)
            for _ in range(self.dice.randrange(1, 4)):
                if not await self.turn(thaws_us):
                    break
            self.now, self.thaws = max(self.now, thaws_us), self.thaws + 1

    def maybe_die(self) -> None:
        if self.now < self.storm.until_us and self.dice.random() < self.storm.dies:
            raise Killed

    def loses(self) -> bool:
        return self.now < self.storm.until_us and self.dice.random() < self.storm.loses

    # --- the vendors ------------------------------------------------------------------------------------------------

    def movements(self) -> list[dict[str, Any]]:
        """Every movement of money at any vendor, oldest first."""
        self.catch_up()
        found: list[dict[str, Any]] = []
        while page := self.ledger.movements(found[-1]["seq"] if found else 0):
            found += [msgspec.to_builtins(m) for m in page]
        return found

    def catch_up(self) -> None:
        """What vendors were still working on, and what became due there by itself."""
        for at_us, _, asked in sorted(self.working, key=lambda job: job[0]):
            if at_us <= self.now:
                self.finish(asked)
        with self.ledger.transaction():
            self._settle_vendors()

    def finish(self, asked: Request) -> Reply:
        (job,) = [job for job in self.working if job[2] is asked]
        self.working.remove(job)
        return self.simulate(job[1], msgspec.structs.replace(asked, resumed=True))

    def simulate(self, vendor: str, asked: Request) -> Reply:
        profile = self.weather(vendor)
        if not asked.resumed and profile.outage:
            return Reply(drop=True)
        if not asked.resumed and self.dice.random() < profile.error_rate:
            return Reply(status=500, body=b"{}")
        with self.ledger.transaction():
            self._settle_vendors()
            return self.vendors[vendor].simulate(asked, self.ledger, profile, self.now)

    def weather(self, vendor: str) -> Profile:
        here = (s for s in self.storm.spells if s.vendor == vendor and s.from_us <= self.now < s.until_us)
        return next((s.profile for s in here), Profile())

    def _settle_vendors(self) -> None:
        for vendor in self.vendors.values():
            vendor.settle(self.ledger, self.now)


class Process:
    """An engine of one code with its own connections to the file, and its own way to the vendors."""

    def __init__(self, world: World, code: "Code", store: Any) -> None:
        self.world, self.code, self.store, self.busy = world, code, store, False
        self.wire = Wire(world, code)
        self.health = code.Health(store.registry, world)
        ports = code.Ports(store=Mortal(world, code, store), transport=self.wire, clock=world, entropy=world, wake=world)
        self.engine = code.Engine(ports, code.accounts, code.Policy(), rules=code.rules, health=self.health)

    @classmethod
    async def start(cls, world: World, code: "Code") -> "Process":
        """Raises what ``open_store`` of that code raises."""
        return cls(world, code, await code.open_store(world.path, executor="inline"))

    async def again(self) -> "Process":
        """A new one in its place: it knows what the file knows."""
        await self.store.close()
        return await Process.start(self.world, self.code)


class Mortal:
    """A store whose process may die just before or just after a commit; and the record of who wrote."""

    def __init__(self, world: World, code: "Code", store: Any) -> None:
        self._world, self._code, self._store = world, code, store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, change: Any, expected_version: int) -> Any:
        self._world.maybe_die()
        result = await self._store.commit(change, expected_version)
        if isinstance(result, self._code.Committed):
            self._world.works.setdefault(change.payment.id, set()).add(self._code.version)
        self._world.maybe_die()
        return result


class Wire:
    """The way of one process to the simulators: what the sandbox's server does, without sockets. ``before`` and ``after``
    may look at each call, or end the process there."""

    def __init__(self, world: World, code: "Code") -> None:
        self.world, self.code = world, code
        self.before: Callable[[Any], None] = lambda _: None
        self.after: Callable[[Any, Reply], Reply] = lambda _, reply: reply

    async def send(
        self, request: Any, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Any:
        w = self.world
        w.now += w.dice.randrange(1_000, 40_000)
        w.maybe_die()
        self.before(request)
        await w.freeze()
        if w.now > send_by_us:
            return self.code.Lost(sent=False, reason="the send deadline had passed", ours=True)
        vendor, (path, _, query) = request.account.removesuffix("_mock"), request.path.partition("?")
        pairs = dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair)
        headers = {**dict(request.headers), **secret_headers}
        asked = Request(method=request.method, path=path, query=pairs, headers=headers, body=body)
        reply = self.after(request, self._answer(vendor, asked, timeout_ms))
        w.maybe_die()
        await w.freeze()
        if reply.drop or w.loses():
            return self.code.Lost(sent=True, reason="no answer")
        return self.code.Response(status=reply.status, headers=dict(reply.headers), body=reply.body)

    async def close(self) -> None: ...

    def _answer(self, vendor: str, asked: Request, timeout_ms: int) -> Reply:
        """What comes back before the time is over; a vendor that was begun goes on by itself."""
        w = self.world
        until_us = w.now + timeout_ms * 1000
        w.now += w.weather(vendor).latency_ms * 1000
        reply = w.simulate(vendor, asked)
        ready_us = w.now + int(reply.hold_s * S)
        if reply.resume:
            w.working.append((ready_us, vendor, asked))
        if reply.resume and ready_us <= until_us:
            w.now = ready_us
            return w.finish(asked)
        if reply.hold_s:
            w.now = until_us
            return Reply(drop=True)
        return reply
