"""lanes.py: calls at once per account are capped, everybody gets a turn, nobody else waits, and nothing spins."""

import random
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, cast

import pytest
from msgspec.structs import replace

from payonce.bootstrap import App, LocalWake
from payonce.config import load
from payonce.core.idempotency import Details, NewPayment
from payonce.core.payment import StoredRequest
from payonce.engine import Engine, Policy, Ports
from payonce.health import Health
from payonce.hold import Hold
from payonce.lanes import EASED_FIRST, EASED_S, FIRST_US, Lanes
from payonce.ports import Clock, Lost, Response
from payonce.process import Worker
from payonce.stores.memory import MemoryRegistry, MemoryStore
from payonce.testing.simulator.loop import SimLoop, run

from .api.service import TEST, CountingEntropy, account
from .test_process import VirtualClock


class Stopwatch:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.at_us = 1_000_000

    def now_us(self) -> int:
        return self.at_us

    def monotonic_us(self) -> int:
        return self.at_us

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a lane does not wait")


def flown(lanes: Lanes, name: str, clock: Stopwatch, lasts_us: int, times: int = 1) -> None:
    for _ in range(times):
        with lanes.flight(name, clock):
            clock.at_us += lasts_us


def test_an_account_is_full_at_its_cap() -> None:
    """As many fly as the cap says; who is back makes room, also after a failure; an account without a cap is never full."""
    lanes, clock = Lanes({"a": 2, "free": 0}), Stopwatch()
    with ExitStack() as up:
        for _ in range(100):
            up.enter_context(lanes.flight("free", clock))
            up.enter_context(lanes.flight("unnamed", clock))
        with lanes.flight("a", clock):
            assert not lanes.full("a", clock.at_us)
            with lanes.flight("a", clock):
                assert [lanes.full(name, clock.at_us) for name in ("a", "free", "unnamed")] == [True, False, False]
                assert lanes.flying() == {"a": 2, "free": 100, "unnamed": 100}
            assert (lanes.full("a", clock.at_us), lanes.flying()["a"]) == (False, 1)
    with pytest.raises(RuntimeError), lanes.flight("a", clock):
        raise RuntimeError
    assert lanes.flying() == {}


def test_turns_are_spread_over_the_time_that_calls_take() -> None:
    """Each turn is later than the one before and than now; longer calls, or a lower cap, spread them further."""
    lanes, clock = Lanes({"a": 4, "b": 1, "c": 4}), Stopwatch()
    flown(lanes, "c", clock, 10 * FIRST_US)
    now = clock.at_us

    def spread(name: str) -> int:
        turns = [lanes.turn_us(name, now) for _ in range(100)]
        assert turns == sorted(set(turns))
        assert turns[0] > now
        return turns[-1] - turns[0]

    assert spread("b") == 4 * spread("a")
    assert spread("c") == 10 * spread("a")


def test_a_wrong_guess_or_clock_puts_nobody_off_for_long() -> None:
    """Turns are told by how many wait and how long calls last now: once they are seen to be quick, or after the wall clock was
    set back, the next turn is soon. When all turns are over there is no queue."""
    lanes, clock = Lanes({"a": 4}), Stopwatch()
    now = clock.at_us
    for _ in range(100):
        lanes.turn_us("a", now)
    slow = lanes.turn_us("a", now)
    assert (lanes.waiting(now), lanes.waiting(slow - 1), lanes.waiting(slow)) == (101, 1, 0)
    for _ in range(101):
        lanes.turn_us("a", now)
    slow = lanes.turn_us("a", now)
    flown(lanes, "a", clock, 2_000, times=30)
    assert lanes.turn_us("a", now) - now < (slow - now) / 20
    hour = 3_600_000_000
    assert lanes.turn_us("a", now - hour) - (now - hour) < slow - now
    assert lanes.turn_us("a", now + hour) == now + hour + 1_000


def begun(lanes: Lanes, name: str, clock: Stopwatch, times: int) -> None:
    """So many new calls that take no time."""
    for _ in range(times):
        with lanes.flight(name, clock, new=True):
            pass


def test_after_its_breaker_closed_new_calls_come_faster_and_faster() -> None:
    """Ten at once, then twenty a second more each second; who comes back at the turn that was told finds it free; a cap of the
    account counts all the same. Other accounts do not notice, nor do calls that the breaker did not stop, and nobody counts
    those who wait as too much."""
    lanes, clock = Lanes({"capped": 1}), Stopwatch()
    since = clock.at_us
    for name in ("a", "capped"):
        lanes.ease(name, since)
    begun(lanes, "a", clock, EASED_FIRST)
    assert [lanes.full(name, since, new=True) for name in ("a", "b", "capped")] == [True, False, False]
    assert not lanes.full("a", since)
    turns = [lanes.turn_us("a", since, new=True) for _ in range(1000)]
    assert (turns, lanes.waiting(since)) == (sorted(turns), 0)
    for n, turn in enumerate(turns, 1):
        clock.at_us = turn
        assert not lanes.full("a", turn, new=True), n
        begun(lanes, "a", clock, 1)
    assert 9.9 < (turns[-1] - since) / 1e6 < 10.1, "ten times the square of the seconds"
    with lanes.flight("capped", clock, new=True):
        assert lanes.full("capped", clock.at_us, new=True)
        assert lanes.turn_us("capped", clock.at_us, new=True) > clock.at_us


def test_room_that_nobody_used_is_lost() -> None:
    """Half a minute in which nothing came leaves room for one second's calls more than there were, not for all that might have
    been."""
    lanes, clock = Lanes({}), Stopwatch()
    lanes.ease("a", clock.at_us)
    clock.at_us += 30_000_000
    count = 0
    while not lanes.full("a", clock.at_us, new=True):
        begun(lanes, "a", clock, 1)
        count += 1
    assert count == EASED_FIRST + 10


@pytest.mark.parametrize("later_us", [EASED_S * 1_000_000, 86_400_000_000, -2_000_000])
def test_easing_ends_by_time_and_when_the_clock_is_set(later_us: int) -> None:
    """A minute later, or after the wall clock was set forward or back, the account is as any other. A time that lies a moment
    before is that of somebody who planned before it closed, and was kept waiting: it ends nothing."""
    lanes, clock = Lanes({}), Stopwatch()
    lanes.ease("a", clock.at_us)
    begun(lanes, "a", clock, 100_000)
    assert lanes.full("a", clock.at_us - 5_000, new=True)
    assert lanes.full("a", clock.at_us, new=True)
    assert not lanes.full("a", clock.at_us + later_us, new=True)
    assert not lanes.full("a", clock.at_us, new=True)


class Wire:
    """A provider whose calls last a while; it counts them. It is ``away`` until a time (seconds of the loop)."""

    def __init__(self, clock: Clock, lasts_s: Mapping[str, float]) -> None:
        self.clock, self.lasts_s, self.away_until_s = clock, lasts_s, 0.0
        self.began: list[float] = []
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.ended: dict[str, float] = {}

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response | Lost:
        name = request.account
        if (now_s := self.clock.monotonic_us() / 1e6) < self.away_until_s:
            return Lost(sent=False, reason="the connection was refused")
        self.began.append(now_s)
        self.now[name] += 1
        self.most[name] = max(self.most[name], self.now[name])
        await self.clock.sleep(self.lasts_s[name])
        self.now[name] -= 1
        self.ended[name] = self.clock.monotonic_us() / 1e6
        return Response(status=200, headers={}, body=body)

    async def close(self) -> None: ...


class Counting(MemoryStore):
    """Counts what is put off, by payment."""

    def __init__(self) -> None:
        super().__init__()
        self.defers: Counter[str] = Counter()

    async def defer(self, payment_id: str, expected_version: int, due_us: int | None) -> bool:
        self.defers[payment_id] += 1
        return await super().defer(payment_id, expected_version, due_us)


class NoHold:
    async def on(self) -> bool:
        return False


def worker_of(engine: Engine, store: MemoryStore, clock: Clock, wake: LocalWake, concurrency: int) -> Worker:
    none: Any = None
    app = App(
        settings=load(env={}, file=None),
        engine=engine,
        store=cast("Any", store),
        transport=none,
        wake=wake,
        clock=clock,
        scope=TEST,
        hold=cast("Hold", NoHold()),
        sandbox=None,
        health=none,
        merchants=none,
        keys=none,
        journal=none,
    )
    return Worker(app, concurrency=concurrency, poll_ms=500)


class Day:
    """Payments at two accounts, one of them capped, worked on by one worker on a virtual clock."""

    def __init__(self, loop: SimLoop, lasts_s: float, *, cap: int = 4, breakers: bool = False) -> None:
        self.loop, self.clock = loop, VirtualClock(loop)
        self.wire, self.store = Wire(self.clock, {"slow": lasts_s, "free": lasts_s}), Counting()
        wake = LocalWake()
        accounts = {"slow": replace(account("slow"), calls_max=cap), "free": account("free")}
        ports = Ports(store=self.store, transport=self.wire, clock=self.clock, entropy=CountingEntropy(), wake=wake)
        health = Health(MemoryRegistry(), self.clock) if breakers else None
        self.engine = Engine(ports, accounts, Policy(), health=health)
        self.worker = worker_of(self.engine, self.store, self.clock, wake, concurrency=64)

    async def submit(self, name: str, number: int) -> list[str]:
        made = []
        for n in range(number):
            request = NewPayment(amount_minor=100, currency="INR", provider=name, details=Details(payment_method="tok_ok"))
            receipt = await self.engine.submit(TEST, request, f"{name}-{n}", actor="test")
            made.append(receipt.payment.id)
        return made

    async def settled(self, by_s: float) -> None:
        """Work until everything succeeded."""
        running = self.loop.create_task(self.worker.run())
        while (await self.store.counts()).get("PENDING", 0):
            assert self.loop.time() < by_s, f"not settled after {by_s} s: {await self.store.counts()}"
            await self.loop.until(self.loop.time() + 0.5)
        assert set(await self.store.counts()) == {"SUCCESS"}
        await self.worker.stop(5)
        await running


@pytest.mark.parametrize("lasts_s", [0.002, 0.2, 3.0])
def test_a_thousand_payments_pass_four_at_a_time(lasts_s: float) -> None:
    """Never more calls at once than the cap, never fewer for long: all of them settle within twice the time that is needed at
    least (and some seconds), and each is put off a few times only, whatever a call takes."""

    async def check(loop: SimLoop) -> None:
        day = Day(loop, lasts_s)
        made = await day.submit("slow", 1000)
        await day.settled(by_s=30 + 2 * 1000 * lasts_s / 4)
        assert day.wire.most["slow"] == 4
        assert sum(day.store.defers.values()) < 5_000, "it spins"
        assert max(day.store.defers[each] for each in made) < 50, "one of them never gets its turn"

    run(random.Random(7), check)


def test_other_accounts_are_not_held_up() -> None:
    """A thousand payments before a full account: those of another one are done as if they were alone, as many at once as the
    worker takes, and are never put off."""

    async def check(loop: SimLoop) -> None:
        day = Day(loop, 1.0)
        await day.submit("slow", 1000)
        free = await day.submit("free", 200)
        running = loop.create_task(day.worker.run())
        await loop.until(12)
        assert [(await day.store.get(each)).status for each in free] == ["SUCCESS"] * 200  # type: ignore[union-attr]
        assert day.wire.most["free"] > 30
        assert not any(day.store.defers[each] for each in free)
        assert day.wire.most["slow"] == 4
        await day.worker.stop(5)
        await running

    run(random.Random(8), check)


def test_who_comes_later_does_not_overtake_for_ever() -> None:
    """New payments keep coming as fast as the account takes them: an early one is not left behind."""

    async def check(loop: SimLoop) -> None:
        day = Day(loop, 0.2)
        early = await day.submit("slow", 50)
        running = loop.create_task(day.worker.run())
        for n in range(60):
            for k in range(9):
                request = NewPayment(amount_minor=1, currency="INR", provider="slow", details=Details(payment_method="tok_ok"))
                await day.engine.submit(TEST, request, f"later-{n}-{k}", actor="test")
            await loop.until((n + 1) * 0.5)
        assert [(await day.store.get(each)).status for each in early] == ["SUCCESS"] * 50  # type: ignore[union-attr]
        await day.worker.stop(5)
        await running

    run(random.Random(9), check)


@pytest.mark.parametrize("lasts_s", [0.002, 0.5])
def test_what_waited_for_a_provider_does_not_come_all_at_once(lasts_s: float) -> None:
    """A provider is away for some minutes while two thousand payments wait for it. When its breaker has closed, calls grow by
    twenty a second each second, everything settles within seconds of what that takes, and nobody is put off again and again."""

    async def check(loop: SimLoop) -> None:
        day = Day(loop, lasts_s, cap=0, breakers=True)
        day.wire.away_until_s = day.clock.monotonic_us() / 1e6 + 200
        made = await day.submit("slow", 2000)
        await day.settled(by_s=300)
        first_s = day.wire.began[0]
        by_second = Counter(int(at_s - first_s - lasts_s) for at_s in day.wire.began[1:])
        assert len(day.wire.began) == 2000
        assert all(count <= 10 + 20 * (second + 1) for second, count in by_second.items()), by_second
        assert day.wire.began[-1] - first_s < 20 + lasts_s, "14 seconds, and the last of the line"
        after = [day.store.defers[each] for each in made]
        assert max(after) < 30, sorted(after)[-5:]

    run(random.Random(10), check)
