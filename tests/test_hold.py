"""The hold: as a file beside the store, and as a record that all processes on the same tables see."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from payonce.core.errors import ConfigError, StoreUnavailable
from payonce.core.payment import Mode
from payonce.hold import BOTH, CACHE_US, KIND, NAME, FileHold, Hold, RecordHold
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


def stores(tmp_path: Path) -> dict[str, Callable[[Mode], Hold]]:
    """Both kinds of mark, for a process of a mode; each call is another process."""
    registry, clock = MemoryRegistry(), Hands()
    return {
        "file": lambda mode: FileHold(tmp_path / "payments.db", mode),
        "record": lambda mode: RecordHold(registry, clock, mode),
    }


@pytest.mark.parametrize("kind", ["file", "record"])
@pytest.mark.parametrize(("mode", "other"), [("live", "test"), ("test", "live")])
def test_a_hold_is_of_one_mode(tmp_path: Path, kind: str, mode: Mode, other: Mode) -> None:
    """What one mode is held for holds no process of the other, and the other cannot lift it; both may be held at once."""

    async def check() -> None:
        of = stores(tmp_path)[kind]
        await of(mode).begin()
        assert (await of(mode).on(), await of(other).on(), await of(other).modes()) == (True, False, (mode,))
        await of(other).lift()
        assert await of(mode).on()
        await of(other).begin()
        assert (await of(mode).on(), await of(other).on(), await of(mode).modes()) == (True, True, BOTH)
        await of(other).lift()
        assert (await of(mode).on(), await of(other).on()) == (True, False)
        await of(mode).lift()
        assert await of(other).modes() == ()

    asyncio.run(check())


@pytest.mark.parametrize("content", ["", "\n", "TEST\n", "test\nelsewhere\n", "{}", b"\xff"])
def test_a_file_that_does_not_say_its_mode_holds_both(tmp_path: Path, content: str | bytes) -> None:
    """Earlier versions wrote an empty file, and nobody may fire because of a word that is not understood. Each mode lifts its
    own part."""

    async def check() -> None:
        of = stores(tmp_path)["file"]
        (tmp_path / "payments.db.hold").write_bytes(content if isinstance(content, bytes) else content.encode())
        assert (await of("test").on(), await of("live").on(), await of("test").modes()) == (True, True, BOTH)
        await of("test").lift()
        assert ((tmp_path / "payments.db.hold").read_text(), await of("test").on()) == ("live\n", False)
        await of("live").lift()
        assert list(tmp_path.iterdir()) == []

    asyncio.run(check())


@pytest.mark.parametrize("value", [b"{}", b'{"modes":[]}', b'{"modes":["demo"]}', b"[]", b"", b"\xff"])
def test_a_record_that_does_not_say_its_mode_holds_both(value: bytes) -> None:
    """The same for the record, of which earlier versions wrote ``{}``."""

    async def check() -> None:
        registry, clock = MemoryRegistry(), Hands()
        assert await registry.put(KIND, NAME, value, 0)
        assert await RecordHold(registry, clock, "live").on()
        await RecordHold(registry, clock, "live").lift()
        assert [record.value for record in await registry.all(KIND)] == [b'{"modes":["test"]}']
        assert (await RecordHold(registry, clock, "live").on(), await RecordHold(registry, clock, "test").on()) == (False, True)

    asyncio.run(check())


def test_a_file_that_cannot_be_read_holds(tmp_path: Path) -> None:
    """Something is there that cannot be read: nothing is fired, and lifting says that it cannot."""

    async def check() -> None:
        (tmp_path / "payments.db.hold").mkdir()
        hold = FileHold(tmp_path / "payments.db", "live")
        assert await hold.on()
        with pytest.raises(StoreUnavailable, match="The hold stays"):
            await hold.lift()

    asyncio.run(check())


def test_processes_that_change_the_file_at_once_lose_nothing(tmp_path: Path) -> None:
    """One begins the hold of live mode while another lifts that of test mode, again and again: live stays held."""
    path = tmp_path / "payments.db"

    def lifts() -> None:
        hold = FileHold(path, "test")
        for _ in range(200):
            asyncio.run(hold.begin())
            asyncio.run(hold.lift())

    def begins() -> int:
        hold, lost = FileHold(path, "live"), 0
        for _ in range(200):
            asyncio.run(hold.begin())
            lost += not asyncio.run(hold.on())
            asyncio.run(hold.lift())
        return lost

    with ThreadPoolExecutor(2) as threads:
        one, two = threads.submit(lifts), threads.submit(begins)
        one.result()
        assert two.result() == 0
    assert list(tmp_path.iterdir()) == []


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
