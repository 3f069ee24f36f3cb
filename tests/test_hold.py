"""The hold: as a file beside the store, and as a record that all processes on the same tables see."""

import asyncio
from pathlib import Path

import pytest

from payonce.core.errors import ConfigError, StoreUnavailable
from payonce.hold import CACHE_US, KIND, NAME, FileHold, RecordHold
from payonce.ports import Record
from payonce.stores.memory import MemoryRegistry


class Hands:
    """A clock that is moved by hand."""

    at_us = 5_000_000

    def now_us(self) -> int:
        return self.at_us

    def monotonic_us(self) -> int:
        return self.at_us

    async def sleep(self, seconds: float) -> None:
        self.at_us += int(seconds * 1_000_000)


class Counting(MemoryRegistry):
    """Counts reads; ``away``: it does not answer. ``rival``: so many writes are lost to somebody else."""

    reads, away, rival = 0, False, 0

    async def all(self, kind: str) -> tuple[Record, ...]:
        self.reads += 1
        if self.away:
            raise StoreUnavailable("away")
        return await super().all(kind)

    async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
        if self.rival:
            self.rival -= 1
            return False
        return await super().put(kind, name, value, expected_version)


def test_a_file_holds_and_is_lifted(tmp_path: Path) -> None:
    """The mark lies beside the store; making and removing it twice changes nothing."""

    async def check() -> None:
        hold = FileHold(tmp_path / "payments.db")
        assert not await hold.on()
        for _ in range(2):
            await hold.begin()
            assert await FileHold(tmp_path / "payments.db").on()
        for _ in range(2):
            await hold.lift()
            assert not await hold.on()

    asyncio.run(check())


def test_a_file_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """Without the mark nothing may be started."""
    with pytest.raises(ConfigError, match="Nothing was started"):
        asyncio.run(FileHold(tmp_path / "missing" / "payments.db").begin())


def test_a_record_holds_every_process() -> None:
    """What one begins another sees within a second, and so its end; again works after it, whoever was first."""

    async def check() -> None:
        registry, clock = Counting(), Hands()
        one, two = RecordHold(registry, clock), RecordHold(registry, clock)
        for _ in range(3):
            assert (await one.on(), await two.on()) == (False, False)
            await one.begin()
            await two.begin()
            clock.at_us += CACHE_US
            assert (await one.on(), await two.on()) == (True, True)
            await two.lift()
            assert not await two.on()
            clock.at_us += CACHE_US
            assert not await one.on()
            await one.lift()

    asyncio.run(check())


def test_a_record_is_read_once_a_second() -> None:
    """A worker that looks for work fifty times a second asks the registry once."""

    async def check() -> None:
        registry, clock = Counting(), Hands()
        hold = RecordHold(registry, clock)
        for _ in range(50):
            assert not await hold.on()
            clock.at_us += CACHE_US // 60
        assert registry.reads == 1

    asyncio.run(check())


def test_a_race_is_run_again() -> None:
    """A write that somebody else won is tried again; one that never wins says so and has changed nothing."""

    async def check() -> None:
        registry = Counting()
        registry.rival = 3
        hold = RecordHold(registry, Hands())
        await hold.begin()
        assert [(r.name, r.version) for r in await registry.all(KIND)] == [(NAME, 1)]
        registry.rival = 1_000
        with pytest.raises(StoreUnavailable, match="Nothing was changed"):
            await hold.lift()

    asyncio.run(check())


def test_a_registry_that_does_not_answer_is_no_permission() -> None:
    """Whether a hold is on cannot be known then: it is an error, never "no"."""

    async def check() -> None:
        registry, clock = Counting(), Hands()
        hold = RecordHold(registry, clock)
        await hold.begin()
        registry.away = True
        clock.at_us += CACHE_US
        with pytest.raises(StoreUnavailable):
            await hold.on()

    asyncio.run(check())
