"""What the tests of outbound webhooks need: stores in memory, a clock that is set by hand, receivers that do what they are
told, and processes that may die at any await."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from payonce.core import ids, news
from payonce.core.operations import NewOperation, asking
from payonce.mail import Delivery
from payonce.merchants.journal import Journal
from payonce.outbound import signing
from payonce.outbound.courier import Courier
from payonce.outbound.endpoints import ACTIVE_AFTER_US, Endpoint, Endpoints
from payonce.outbound.guard import Allowed
from payonce.outbound.sending import Sent
from payonce.outbound.telling import history
from payonce.ports import Scope
from payonce.stores.memory import MemoryRegistry, MemoryStore
from payonce.testing.store_changes import accept, fire_event, grow, put, success_event

SCOPE = Scope("mer_default", "test")
START_US = 1_750_000_000_000_000
SECOND_US, DAY_US = 1_000_000, 86_400_000_000
URL = "https://hooks.example.com/in"
KEY = b"k" * 32
TIMEOUT_MS = 15_000
PATIENCE_S = 60


class HandClock:
    """Time stands until a test, or somebody's sleep, moves it."""

    def __init__(self, at_us: int = START_US) -> None:
        self.at_us = at_us

    def now_us(self) -> int:
        return self.at_us

    def monotonic_us(self) -> int:
        return self.at_us

    async def sleep(self, seconds: float) -> None:
        self.at_us += int(seconds * 1_000_000)


class Dice:
    """Chance with a seed."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)

    def bits(self, count: int) -> int:
        return self._random.getrandbits(count)


class Hints:
    """Remembers whom it was told of."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def send(self, payment_id: str) -> None:
        self.ids.append(payment_id)


class Message:
    """A request as a receiver got it."""

    def __init__(self, url: str, headers: Mapping[str, str], body: bytes, at_us: int) -> None:
        self.url, self.headers, self.body, self.at_us = url, dict(headers), body, at_us

    @property
    def id(self) -> str:
        return self.headers[signing.ID]


class Receivers:
    """All endpoints' other ends. ``answers`` says what a URL answers; ``got`` is every request, ``took`` those answered 2xx."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.answers: dict[str, Callable[[], Sent]] = defaultdict(lambda: lambda: Sent(status=200))
        self.got: list[Message] = []
        self.took: list[Message] = []
        self.flying = self.most = 0
        self.gate: asyncio.Event | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        message = Message(url, headers, body, self._clock.now_us())
        self.got.append(message)
        self.flying += 1
        self.most = max(self.most, self.flying)
        try:
            if self.gate:
                await self.gate.wait()
            sent = self.answers[url]()
        finally:
            self.flying -= 1
        if 200 <= sent.status < 300:
            self.took.append(message)
        return sent


class Killed(BaseException):
    """The process is gone: nothing of ours catches it."""


class Fate:
    """Ends a process at the ``at``-th await on anything outside it, counted from 1: before it was done, or after (the odd ones
    are before). 0: never."""

    def __init__(self, at: int = 0) -> None:
        self.at, self.steps = at, 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise Killed

    def over(self, target: Any) -> Any:
        """The target, as a process with this fate reaches it."""
        return _Mortal(target, self)


class _Mortal:
    def __init__(self, target: Any, fate: Fate) -> None:
        self._target, self._fate = target, fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._fate.step()
            result = await found(*args, **kwargs)
            self._fate.step()
            return result

        return call


class Process:
    """One process over the room's stores: what it remembers goes with it."""

    def __init__(self, room: "Room", fate: Fate, key: Callable[[], bytes]) -> None:
        store, outbox = fate.over(room.store), fate.over(room.store.outbox)
        registry, sender = fate.over(room.registry), fate.over(room.receivers)
        self.journal = Journal(registry, room.clock)
        self.endpoints = Endpoints(registry, room.clock, room.dice, self.journal, key, allowed=room.allowed)
        self.courier = Courier(
            outbox,
            store,
            self.endpoints,
            sender,
            self.journal,
            clock=room.clock,
            entropy=room.dice,
            wake=room.hints,
            timeout_ms=TIMEOUT_MS,
        )


class Room:
    """Stores, receivers, and one process that never dies (``courier``, ``endpoints``)."""

    def __init__(self, seed: int = 1) -> None:
        self.clock, self.dice, self.hints = HandClock(), Dice(seed), Hints()
        self.store, self.registry = MemoryStore(), MemoryRegistry()
        self.receivers = Receivers(self.clock)
        self.allowed = Allowed()
        self.key = KEY
        self.journal = Journal(self.registry, self.clock)
        process = self.process()
        self.courier, self.endpoints = process.courier, process.endpoints
        self.paid: list[str] = []

    def process(self, fate: Fate | None = None) -> Process:
        return Process(self, fate or Fate(), lambda: self.key)

    async def endpoint(self, url: str = URL, types: tuple[str, ...] = (), scope: Scope = SCOPE) -> Endpoint:
        """A registered one, after the moment from which it counts."""
        made = await self.endpoints.create(scope, url, types, actor="test")
        self.clock.at_us += ACTIVE_AFTER_US
        return made

    async def pay(self, *, notify: bool = True, scope: Scope = SCOPE) -> str:
        """A payment that succeeds now: one public event. Its id."""
        now, n = self.clock.now_us(), len(self.paid) + 1
        p = await put(self.store, accept(n, at_us=now, due_us=None, merchant_id=scope.merchant_id, mode=scope.mode))
        p = await put(self.store, grow(p, fire_event(p, at_us=now), at_us=now))
        p = await put(self.store, grow(p, success_event(p), at_us=now, notify=notify))
        self.paid.append(p.id)
        return p.id

    async def refund(self, payment_id: str, amount_minor: int, *, notify: bool = True) -> None:
        """A refund is asked of it: one more public event."""
        p = await self.store.get(payment_id)
        assert p is not None
        wanted = NewOperation(kind="refund", payment_id=payment_id, amount_minor=amount_minor)
        asked = asking(p, wanted, f"back-{p.version}", self.clock.now_us(), partial=False)
        await put(self.store, grow(p, asked, at_us=self.clock.now_us(), notify=notify))

    async def drain(self, courier: Courier | None = None) -> int:
        """Do what is due now, until nothing is; how much there was."""
        done, courier = 0, courier or self.courier
        while rows := await courier.due(self.clock.now_us(), 100):
            for row in rows:
                await courier.resolve(row.id)
            done += len(rows)
            assert done < 20_000, "something stays due for ever"
        return done

    async def pass_time(self, seconds: float, courier: Courier | None = None) -> None:
        """Let time pass, and do what falls due on the way, each at its time."""
        until = self.clock.now_us() + int(seconds * 1_000_000)
        courier = courier or self.courier
        while True:
            await self.drain(courier)
            rows = await courier.due(until, 1)
            if not rows:
                break
            self.clock.at_us = max(self.clock.at_us, rows[0].due_us)
        self.clock.at_us = max(self.clock.at_us, until)
        await self.drain(courier)

    async def deliveries(self, scope: Scope = SCOPE) -> tuple[Delivery, ...]:
        found, cursor = list[Delivery](), None
        while True:
            page = await self.store.outbox.list(scope, 100, cursor=cursor)
            found += page.deliveries
            if (cursor := page.next) is None:
                return tuple(found)

    async def news(self) -> set[str]:
        """Ids of all public events of all payments."""
        found = set[str]()
        for payment_id in self.paid:
            found |= {n.id for n in news.of_history(await history(cast("Any", self.store), payment_id))}
        return found

    async def acts(self) -> list[tuple[str, str]]:
        """What the journal has, with who did it."""
        return [(each.act.what, each.act.actor) for each in await self.journal.read()]


def always(status: int, **more: Any) -> Callable[[], Sent]:
    return lambda: Sent(status=status, said="" if status == 200 else f"it answered {status}", **more)


def run(test: Callable[[Room], Awaitable[None]], seed: int = 1) -> None:
    """A test with a room of its own. One that waits for what never comes fails."""

    async def inside() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await test(Room(seed))

    asyncio.run(inside())


def unknown(prefix: str) -> str:
    return prefix + ids.encode(7)
