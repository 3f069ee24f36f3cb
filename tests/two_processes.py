"""Two processes that share a registry: their Health, a clock that tests move, and doors to the registry that can be shut."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from payonce.core.breaker import BAD_MIN, OPEN_US, Signal
from payonce.core.due import Block
from payonce.core.errors import StoreUnavailable
from payonce.health import CACHE_US, Admitted, Health
from payonce.ports import Record, Registry
from payonce.stores.memory import MemoryRegistry

S = 1_000_000
BAD = Signal("bad", "HTTP 503")
WHY = "5 of the last 5 calls failed, the last one with HTTP 503"


class Clock:
    """Moves only when told."""

    def __init__(self) -> None:
        self.wall_us, self.at_us = 1_800_000_000 * S, 77 * S

    def now_us(self) -> int:
        return self.wall_us

    def monotonic_us(self) -> int:
        return self.at_us

    async def sleep(self, seconds: float) -> None:
        self.pass_us(int(seconds * S))

    def pass_us(self, us: int) -> None:
        self.wall_us += us
        self.at_us += us


class Flaky:
    """The registry behind a door that can be shut, and that counts who goes through."""

    def __init__(self, inner: Registry) -> None:
        self.inner, self.reads, self.writes = inner, 0, 0
        self.readable = self.writable = True
        self.between: Callable[[], Awaitable[object]] | None = None  # happens once, while a read is on its way

    async def all(self, kind: str) -> tuple[Record, ...]:
        self.reads += 1
        if not self.readable:
            raise StoreUnavailable("shut")
        found = await self.inner.all(kind)
        between, self.between = self.between, None
        if between is not None:
            await between()
        return found

    async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
        self.writes += 1
        if not self.writable:
            raise StoreUnavailable("shut")
        await asyncio.sleep(0)  # others get their turn between asking and writing
        return await self.inner.put(kind, name, value, expected_version)


class Two:
    """Two processes."""

    def __init__(self) -> None:
        self.clock, self.registry = Clock(), MemoryRegistry()
        self.doors = Flaky(self.registry), Flaky(self.registry)
        self.one, self.two = (Health(door, self.clock) for door in self.doors)

    def blocks(self, health: Health) -> dict[str, Block]:
        return dict(health.blocked(self.clock.now_us()))

    async def look(self) -> None:
        """A second later both have seen what was written."""
        self.clock.pass_us(CACHE_US)
        await self.one.refresh()
        await self.two.refresh()

    async def open(self, account: str = "mock") -> None:
        """An outage that the first process notices."""
        await self.look()
        for _ in range(BAD_MIN):
            await self.one.learn(account, BAD, None)
        await self.look()

    async def probe(self) -> Admitted:
        """The pause is over and the first process has the one call."""
        await self.open()
        self.clock.pass_us(OPEN_US)
        leave = await self.one.admit("mock")
        assert leave is not None
        assert leave.probe is not None
        return leave


def run(test: Callable[[Two], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test(Two()))


@contextmanager
def logged() -> Iterator[list[dict[str, Any]]]:
    """What health logs, from info on."""
    events: list[dict[str, Any]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert isinstance(record.msg, dict)
            events.append(record.msg)

    logger, handler = logging.getLogger("payonce.health"), Kept()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield events
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
