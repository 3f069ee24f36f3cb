"""The bad part of a torture: who is killed or frozen when, and which vendor is down. Kills and posts keep step, so that
neither is over before the other."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import httpx2
from msgspec import Struct

from .options import KINDS, TortureOptions
from .processes import Process
from .proxy import FaultProxy
from .scene import ACCOUNTS

SHARES = {"api": 4, "worker": 4, "sandbox": 2}  # of the kills
AHEAD = 3  # by so many kills may kills or posts be ahead of each other
PAUSES_S = ((0.0, 0.3), (0.3, 2.0))  # between a start and the next kill: in the first rush, or in full work
UNREADY_SHARE = 0.15  # of the kills come while the process is still starting
FREEZE_SHARE = 0.1  # of the kills come some time after the process was frozen and has thawed
FREEZE_S = {"api": (0.1, 12.0), "worker": (0.1, 12.0), "sandbox": (0.1, 5.0)}  # a lease lasts ten seconds, a call three
VENDOR_EVERY_S = (1.0, 4.0)
VENDOR_FOR_S = (0.5, 4.0)
REFUSE_FOR_S = (0.1, 1.5)
REFUSE_SHARE = 0.35  # of the changes of weather
# Beside everything else, for every vendor: webhooks that are lost, sent twice, late, and overtaken.
HOOKS: dict[str, object] = {
    "webhookLoseRate": 0.2,
    "webhookDoubleRate": 0.2,
    "webhookReorderRate": 0.2,
    "webhookDelayMs": 300,
}
PROFILES: tuple[dict[str, object], ...] = (
    {"outage": True},
    {"errorRate": 0.4},
    {"lookupLagMs": 800},
    {"latencyMs": 700},
    {"refunds": "pending"},
    {"refunds": "pending_fail"},
)


class Blow(Struct, frozen=True):
    """One kill: how long after the start, and whether the next one may come before the process is ready again. ``frozen_s``
    > 0: it is stopped for so long first, and thaws: what it had planned before may be late then."""

    pause_s: float
    unready: bool
    frozen_s: float


def plan(options: TortureOptions, processes: Sequence[Process]) -> dict[str, list[Blow]]:
    """The blows for each process by its name. Decided by the seed alone."""
    dice = random.Random(f"{options.seed} blows")
    blows: dict[str, list[Blow]] = {process.name: [] for process in processes}
    shares = [SHARES[p.kind] / sum(each.kind == p.kind for each in processes) for p in processes]
    for victim in dice.choices(processes, shares, k=options.kills):
        frozen_s = dice.uniform(*FREEZE_S[victim.kind]) if dice.random() < FREEZE_SHARE else 0.0
        blows[victim.name].append(Blow(dice.uniform(*dice.choice(PAUSES_S)), dice.random() < UNREADY_SHARE, frozen_s))
    return blows


class Pace:
    """Posts and kills keep step: neither is more than ``AHEAD`` kills ahead of the other."""

    def __init__(self, options: TortureOptions) -> None:
        self.payments, self.total = options.payments, options.kills
        self.posts = self.kills = 0
        self.over = self.ended = False  # no more kills; the time is up
        self._moved = asyncio.Event()

    async def post(self) -> bool:
        """Wait until the next post may begin; False when none may any more."""
        while not (self.over or self.ended) and self.posts * self.total > (self.kills + AHEAD) * self.payments:
            await self._wait()
        return not self.ended

    async def kill(self) -> bool:
        """Wait until the next kill may be done; False when none may any more."""
        while not self.ended and (self.kills - AHEAD) * self.payments > self.posts * self.total:
            await self._wait()
        return not self.ended

    async def _wait(self) -> None:
        moved = self._moved
        await moved.wait()

    def move(self, *, posts: int = 0, kills: int = 0, over: bool = False, ended: bool = False) -> None:
        """Something was done."""
        self.posts, self.kills = self.posts + posts, self.kills + kills
        self.over, self.ended = self.over or over, self.ended or ended
        self._moved.set()
        self._moved = asyncio.Event()


class Storm:
    """See the module docstring. ``kills`` and ``freezes`` count by kind of process."""

    def __init__(self, options: TortureOptions, processes: Sequence[Process], proxy: FaultProxy, sandbox_url: str) -> None:
        self.processes, self.proxy, self.sandbox_url = processes, proxy, sandbox_url
        self.blows, self.pace = plan(options, processes), Pace(options)
        self.dice = random.Random(f"{options.seed} weather")
        self.kills, self.freezes = Counter[str](dict.fromkeys(KINDS, 0)), Counter[str](dict.fromkeys(KINDS, 0))
        self.weather_changes = 0

    async def rage(self) -> None:
        """All kills; then the pace is free."""
        try:
            async with asyncio.TaskGroup() as victims:
                for process in self.processes:
                    victims.create_task(self._strike(process))
        finally:
            self.pace.move(over=True)

    async def _strike(self, process: Process) -> None:
        for blow in self.blows[process.name]:
            if not await self.pace.kill():
                break
            await asyncio.sleep(blow.pause_s)
            if blow.frozen_s:
                self.freezes[process.kind] += 1
                await process.freeze(blow.frozen_s)
                await asyncio.sleep(blow.pause_s)
            await process.kill()
            self.kills[process.kind] += 1
            self.pace.move(kills=1)
            await process.spawn()
            if not blow.unready:
                await process.ready()
        await process.ready()

    async def weather(self) -> None:
        """Vendors that fail, and a proxy that refuses, for ever."""
        while True:
            await asyncio.sleep(self.dice.uniform(*VENDOR_EVERY_S))
            self.weather_changes += 1
            if self.dice.random() < REFUSE_SHARE:
                await self.proxy.refuse(self.dice.uniform(*REFUSE_FOR_S))
                continue
            vendor, profile = self.dice.choice([*ACCOUNTS]), self.dice.choice(PROFILES)
            await self._put(vendor, profile)
            await asyncio.sleep(self.dice.uniform(*VENDOR_FOR_S))
            await self._put(vendor, {})

    async def webhooks(self, endpoints: dict[str, list[str]]) -> None:
        """From now on the vendors tell what happens, badly."""
        for path, doc in (("webhooks", endpoints), ("faults", HOOKS)):
            while not await self._put_to(path, doc):  # noqa: ASYNC110  another process is asked
                await asyncio.sleep(0.05)

    async def calm(self) -> None:
        """Every process runs, every vendor is well, and nothing is held any more."""
        for process in self.processes:
            if not process.pid:
                await process.spawn()
            await process.ready()
        for vendor in ("", *ACCOUNTS):
            while not await self._put(vendor, {}):  # noqa: ASYNC110  another process is asked
                await asyncio.sleep(0.05)
        await self.proxy.quiet()

    async def _put(self, vendor: str, profile: dict[str, object]) -> bool:
        """The sandbox took the profile, of one vendor or of all; it may be dead just now."""
        return await self._put_to(f"faults/{vendor}" if vendor else "faults", profile)

    async def _put_to(self, path: str, doc: object) -> bool:
        try:
            async with httpx2.AsyncClient(timeout=5, trust_env=False) as http:
                answer = await http.put(f"{self.sandbox_url}/sandbox/{path}", json=doc)
                return bool(answer.status_code == 200)
        except httpx2.HTTPError:
            return False
