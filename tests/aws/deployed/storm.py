"""A shop over the deployed stack, and a storm meanwhile: executions are killed, messages doubled, delayed, reordered and once
all deleted, and once all of AWS stands still. Witness is the sandbox's ledger, and what the API says."""

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import httpx2
from msgspec import Struct
from tools.aws_local import Doors

from payonce.bootstrap import open_app
from payonce.config import load
from payonce.core.events import Observed, Planned
from payonce.inbox import PREFIX
from payonce.testing.judge import net_charges, wrong_with_history
from payonce.testing.torture.judging import by_payment
from payonce.testing.torture.operations import kept
from tests.blackbox.shop import Life, Shop
from tests.blackbox.test_life import HOOKS, WEATHER, wrong

from .site import Json, Site

AWAY: Final = (500, 502, 503, 504)  # an execution was killed, or AWS does not answer
CALL_S: Final = 60.0
LOOK_S: Final = 2.0
SWEEP_S: Final = 8.0
RESEND_S: Final = 3.0
FROZEN_S: Final = 3.0
CALLS_S: Final = 5.0
LONG_CALLS: Final = ("tok_slow_5s", "tok_timeout_then_ok", "tok_lost_response")
GIVEN_UP_SHARE: Final = 20  # one in so many may end so
STILL_S: Final = 6.0  # a refund that was done fails after five


class Figures(Struct, kw_only=True):
    """What happened."""

    payments: int = 0
    posts: int = 0  # of payments, all of them
    killed: Counter[str] = Counter()  # executions, by function
    away: Counter[int] = Counter()  # answers of which the shop had to send again, by status; 0: none came
    resent: int = 0
    purged: int = 0
    frozen_s: float = 0.0
    cut: int = 0  # calls on record whose answer is not
    statuses: Counter[str] = Counter()
    given_up: int = 0  # payments that no account was found for in time, because of the storm
    movements: int = 0
    charges_max: int = 0
    dead: tuple[str, ...] = ()
    seconds: float = 0.0


class AwsShop(Shop):
    """The shop of ``tests/blackbox``; executions may die under its requests. Keys in ``doubled`` are posted twice at once."""

    def __init__(self, site: Site, doubled: frozenset[str], figures: Figures) -> None:
        super().__init__(site)  # type: ignore[arg-type]
        self.url, self.doubled, self.figures = "http://stack.invalid", doubled, figures
        self.http = httpx2.AsyncClient(transport=Doors(site.stack), timeout=CALL_S, headers=site.stack.bearer)

    async def send(self, method: str, path: str, key: str, body: dict[str, Any] | None = None) -> httpx2.Response:
        """Until it is answered, always with the same key."""
        posts = path == "/payments"
        copies = 2 if posts and key in self.doubled else 1
        answers = await asyncio.gather(*(self._answered(method, path, key, body, counts=posts) for _ in range(copies)))
        assert len({each.json().get("transactionId") for each in answers}) == 1, f"{key} made two payments"
        return answers[0]

    async def _answered(
        self, method: str, path: str, key: str, body: dict[str, Any] | None, *, counts: bool
    ) -> httpx2.Response:
        for _ in range(600):
            self.figures.posts += counts
            status = 0
            try:
                answer = await self.http.request(method, f"{self.url}{path}", json=body, headers={"Idempotency-Key": key})
                status = answer.status_code
            except httpx2.HTTPError:
                pass
            if status and status not in AWAY:
                return answer
            assert status != 500 or "internal_error" not in answer.text, answer.text
            self.figures.away[status] += 1
            await asyncio.sleep(0.2)  # the next execution is started by the next try
        raise AssertionError(f"{path} was never answered")


class Storm:
    """See the module docstring. ``ids`` are the payments that are known."""

    def __init__(self, site: Site, all_lives: Sequence[Life], figures: Figures, dice: random.Random) -> None:
        self.site, self.lives, self.figures, self.dice = site, all_lives, figures, dice

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.lives if each.id]

    async def rage(self, kills: int, seconds: float, *, weather: bool) -> None:
        """For about so many seconds. ``weather``: vendors fail and lose webhooks, AWS freezes, and the sweeper runs often."""
        beside = [self._doubling(), *([self._sweeping()] if weather else [])]
        tasks = [asyncio.create_task(each) for each in beside]
        try:
            for n in range(kills):
                if weather and n in (0, kills // 2):
                    await asyncio.to_thread(self._weather, second=n > 0)
                await asyncio.sleep(seconds / kills * self.dice.uniform(0.5, 1.5))
                if n % 2 == 0:
                    await self._someone_in_a_call()
                await asyncio.to_thread(self._kill, "ApiFunction" if n % 5 == 4 else "WorkerFunction", whole=n % 2 == 0)
                if n == kills // 2:
                    await asyncio.to_thread(self._purge)
                if weather and n == 3 * kills // 4:
                    await self._freeze()
        finally:
            for each in tasks:
                each.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
        if weather:
            for vendor in WEATHER:
                await asyncio.to_thread(self.site.fault, vendor)

    def _weather(self, *, second: bool) -> None:
        for vendor, halves in WEATHER.items():
            self.site.fault(vendor, **HOOKS, **halves[second])

    async def _someone_in_a_call(self) -> None:
        """Wait for a call that takes long and has no answer yet, some seconds at most."""
        deadline = time.monotonic() + CALLS_S
        while time.monotonic() < deadline:
            for each in [life for life in self.lives if life.id and life.token in LONG_CALLS][-4:]:
                if await asyncio.to_thread(self.site.open_call, each.id):
                    return
            await asyncio.sleep(0.1)

    def _kill(self, function: str, *, whole: bool) -> None:
        """All executions that there are, or half of them, one at least."""
        pids = self.site.stack.executions(function)
        for pid in pids if whole else self.dice.sample(pids, (len(pids) + 1) // 2):
            self.figures.killed[function] += self.site.kill_one(pid)

    def _purge(self) -> None:
        """When there is something to delete."""
        deadline = time.monotonic() + 10
        while not (there := sum(self.site.lengths())) and time.monotonic() < deadline:
            self.site.send(self.ids[-10:], delay_s=2)
        self.site.purge()
        self.figures.purged += there

    async def _freeze(self) -> None:
        pid = self.site.emulator
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(FROZEN_S)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.figures.frozen_s += FROZEN_S

    async def _doubling(self) -> None:
        """Ids again, in another order, some of them later."""
        while True:
            await asyncio.sleep(RESEND_S)
            ids = self.ids[-40:]
            some = self.dice.sample(ids, min(len(ids), 5))
            for delay_s in (0, self.dice.randint(1, 4)):
                self.dice.shuffle(some)
                await asyncio.to_thread(self.site.send, some, delay_s)
                self.figures.resent += len(some)

    async def _sweeping(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            await asyncio.to_thread(self.site.sweep)


def run(site: Site, all_lives: list[Life], kills: int, seconds: float, seed: int, *, weather: bool) -> Figures:
    """The shop lives through the storm. A fifth of all payments is posted twice."""
    figures, dice = Figures(payments=len(all_lives), killed=Counter(), away=Counter()), random.Random(seed)
    doubled = frozenset(each.key for each in all_lives if dice.random() < 0.2)

    async def both() -> None:
        shop, storm = AwsShop(site, doubled, figures), Storm(site, all_lives, figures, dice)
        async with asyncio.TaskGroup() as group:
            group.create_task(shop.open(all_lives))
            group.create_task(storm.rage(kills, seconds, weather=weather))

    asyncio.run(both())
    return figures


def settle(site: Site, all_lives: list[Life], seconds: float) -> tuple[dict[str, Json], list[Json]]:
    """Wait until everything agrees and the ledger is still; else say what does not."""
    deadline, still, count, swept = time.monotonic() + seconds, time.monotonic(), -1, 0.0
    while True:
        if time.monotonic() - swept > SWEEP_S:
            site.sweep()
            swept = time.monotonic()
        movements, views = site.ledger(), site.payments()
        judged = [each for each in all_lives if not given_up(views[each.id], movements)]
        found = [*wrong(site, judged, views, movements)]  # type: ignore[arg-type]
        if len(movements) != count:
            still, count = time.monotonic(), len(movements)
        if not found and time.monotonic() - still > STILL_S:
            return views, movements
        assert time.monotonic() < deadline, "\n".join([f"{len(found)} do not agree:", *found])
        time.sleep(0.5)  # between two looks


def given_up(view: Json, movements: list[Json]) -> bool:
    """No account was found for it within the time to look for one: its executions were killed so often, or it came after so
    much else. That is an end, and right when nothing was charged."""
    told = (view["status"], view["reason"]) == ("FAILED", "no_provider_available")
    return told and not net_charges(movements, view["transactionId"])


def judge(site: Site, all_lives: Sequence[Life], views: Mapping[str, Json], movements: list[Json], figures: Figures) -> None:
    """What the tables, the histories and the dead letters say, after everything agrees over HTTP."""
    moved = by_payment(movements)
    ours = {each.id: views[each.id] for each in all_lives}
    assert len(ours) == len(all_lives), "one key, one payment"
    figures.statuses = Counter(view["status"] for view in ours.values())
    figures.given_up = sum(given_up(view, movements) for view in ours.values())
    assert figures.given_up <= len(ours) // GIVEN_UP_SHARE
    figures.movements = sum(len(moved.get(id, [])) for id in ours)
    figures.charges_max = max(len(kept(view, moved.get(id, []))) for id, view in ours.items())
    assert figures.charges_max == 1
    assert figures.statuses["PENDING"] == figures.statuses["REQUIRES_ACTION"] == 0
    figures.cut = asyncio.run(_histories(site, ours))
    verified = site.cli("verify", "--json")
    assert verified.returncode == 0, verified.stdout[-3000:] + verified.stderr[-1000:]
    letters = json.loads(site.cli("dlq", "list", "--json").stdout)["messages"]
    figures.dead = tuple(f"{each['id']} {each['status']} received {each['receiveCount']}" for each in letters)
    unexplained = [each for each in letters if each["id"] not in views and not each["id"].startswith(PREFIX)]
    assert unexplained == [], "a dead letter is a hint of ours whose executions were killed again and again"


async def _histories(site: Site, ours: Mapping[str, Json]) -> int:
    """Every history keeps the rules and says what the API says; how many calls have no answer on record."""
    cut = 0
    with _environment(site.stack.env):
        async with open_app(load(env=site.stack.env), env=site.stack.env) as app:
            for id, view in ours.items():
                entries = await app.store.history(id, limit=10_000)
                p, broken = wrong_with_history(entries)
                assert (broken, p.status) == ([], view["status"]), id
                facts = [entry.envelope for entry in entries]
                answered = {e.data.about for e in facts if isinstance(e.data, Observed)}
                cut += sum(isinstance(e.data, Planned) and e.seq not in answered for e in facts)
    return cut


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
