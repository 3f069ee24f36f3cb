"""The contract of ``payonce.ports.Registry``, for every implementation: subclass, say how to open one, run with pytest.

    class TestMine(RegistryContract):
        async def open(self, folder: Path, stack: AsyncExitStack) -> Registry:
            return await stack.enter_async_context(my_registry(folder / "pay.db"))

The sentences in quotes are the port's own.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from payonce.ports import RECORD_BYTES_MAX, Record, Registry

RIVALS = 25  # on each of two connections
ROUNDS = 10


class RegistryContract:
    """Every test opens one or two connections to a registry of its own."""

    async def open(self, folder: Path, stack: AsyncExitStack) -> Registry:
        """A connection to the registry in ``folder``, empty at first; opened again it shows the same records. Closed by
        ``stack``."""
        raise NotImplementedError

    def use(self, folder: Path, test: Callable[[Registry, Registry], Awaitable[None]]) -> None:
        """Run a test with two connections, as two processes have them."""

        async def run() -> None:
            async with AsyncExitStack() as stack:
                await test(await self.open(folder, stack), await self.open(folder, stack))

        asyncio.run(run())

    def test_it_is_empty_at_first(self, tmp_path: Path) -> None:
        """No record of any kind is there that nobody wrote."""

        async def test(one: Registry, _: Registry) -> None:
            assert await one.all("breaker") == ()

        self.use(tmp_path, test)

    def test_each_write_is_seen_by_all_at_once(self, tmp_path: Path) -> None:
        """ "Consistent: it sees each put that returned True before the read began", on every connection."""

        async def test(one: Registry, two: Registry) -> None:
            for n in range(1, ROUNDS + 1):
                assert await (one, two)[n % 2].put("drain", "mock", b"%d" % n, n - 1)
                assert await one.all("drain") == await two.all("drain") == (Record("mock", b"%d" % n, n),)

        self.use(tmp_path, test)

    def test_records_come_in_the_order_of_names(self, tmp_path: Path) -> None:
        """ "Every record of a kind, in the order of names", and none of another kind."""

        async def test(one: Registry, two: Registry) -> None:
            for name in ("b", "Z", "a b", "a", "ä"):
                assert await one.put("drain", name, name.encode(), 0)
            assert await one.put("breaker", "c", b"", 0)
            assert [r.name for r in await two.all("drain")] == ["Z", "a", "a b", "b", "ä"]
            assert await two.all("breaker") == (Record("c", b"", 1),)
            assert await two.all("drai") == ()

        self.use(tmp_path, test)

    def test_a_name_may_be_anything(self, tmp_path: Path) -> None:
        """Names and values are taken as they are: no quoting, no case folding, no text decoding."""

        async def test(one: Registry, two: Registry) -> None:
            for name in ("", "x' OR 1=1 --", "مرحبا\N{CAT FACE}", "A", "a"):
                assert await one.put("drain", name, b"\xff\x00" + name.encode(), 0)
            assert {r.name: r.value for r in await two.all("drain")}["a"] == b"\xff\x00a"
            assert len(await two.all("drain")) == 5

        self.use(tmp_path, test)

    @pytest.mark.parametrize("expected", [0, 1, 3, -1])
    def test_another_version_writes_nothing(self, tmp_path: Path, expected: int) -> None:
        """ "Write a record if it is still at expected_version; 0 = there must be none": else False, and nothing changes."""

        async def test(one: Registry, two: Registry) -> None:
            assert await one.put("drain", "mock", b"first", 0)
            assert await one.put("drain", "mock", b"second", 1)
            assert not await two.put("drain", "mock", b"late", expected)
            if expected:
                assert not await two.put("drain", "mock", None, expected)
            assert await one.all("drain") == (Record("mock", b"second", 2),)
            assert await two.put("drain", "mock", b"third", 2)

        self.use(tmp_path, test)

    def test_what_is_not_there_has_no_version(self, tmp_path: Path) -> None:
        """A version of a record that does not exist is a lost race, not an error."""

        async def test(one: Registry, _: Registry) -> None:
            assert not await one.put("drain", "mock", b"x", 1)
            assert not await one.put("drain", "mock", None, 1)
            assert await one.all("drain") == ()

        self.use(tmp_path, test)

    def test_none_deletes(self, tmp_path: Path) -> None:
        """ "None deletes it", for every connection, and it can be made again."""

        async def test(one: Registry, two: Registry) -> None:
            assert await one.put("drain", "mock", b"x", 0)
            assert await two.put("drain", "mock", None, 1)
            assert await one.all("drain") == ()
            assert not await one.put("drain", "mock", None, 1)
            assert not await one.put("drain", "mock", None, 2)
            assert await one.put("drain", "mock", b"y", 0)
            assert [r.value for r in await two.all("drain")] == [b"y"]

        self.use(tmp_path, test)

    def test_no_version_ever_stands_for_two_values(self, tmp_path: Path) -> None:
        """ "A name that was deleted continues its count": who still holds an old version loses against the new record."""

        async def test(one: Registry, two: Registry) -> None:
            seen: set[int] = set()
            for n in range(ROUNDS):
                assert await one.put("drain", "mock", b"%d" % n, 0)
                (record,) = await two.all("drain")
                assert record.version not in seen
                for old in seen:
                    assert not await two.put("drain", "mock", b"stale", old)
                seen.add(record.version)
                assert await one.put("drain", "mock", None, record.version)

        self.use(tmp_path, test)

    @pytest.mark.parametrize("value", [b"", b"\x00", b"x" * RECORD_BYTES_MAX])
    def test_a_value_comes_back_as_it_was(self, tmp_path: Path, value: bytes) -> None:
        """Any bytes up to the limit; an empty value is a record, not a deletion."""

        async def test(one: Registry, two: Registry) -> None:
            assert await one.put("drain", "mock", value, 0)
            assert await two.all("drain") == (Record("mock", value, 1),)

        self.use(tmp_path, test)

    def test_what_makes_no_sense_is_refused(self, tmp_path: Path) -> None:
        """ "Raises ValueError for a value above RECORD_BYTES_MAX, and for deleting with expected_version 0.\""""

        async def test(one: Registry, _: Registry) -> None:
            with pytest.raises(ValueError, match="bytes"):
                await one.put("drain", "mock", b"x" * (RECORD_BYTES_MAX + 1), 0)
            with pytest.raises(ValueError, match="deleted"):
                await one.put("drain", "mock", None, 0)
            assert await one.all("drain") == ()

        self.use(tmp_path, test)

    def test_of_racing_writers_exactly_one_wins(self, tmp_path: Path) -> None:
        """ "Of any number of racing writers with the same expected_version exactly one gets True; the others get False and
        have written nothing": creating, updating and deleting."""

        async def test(one: Registry, two: Registry) -> None:
            version = 0
            for n in range(ROUNDS):
                rivals = [b"%d from %d" % (i, n) for i in range(2 * RIVALS)]
                puts = [(one, two)[i % 2].put("drain", "mock", value, version) for i, value in enumerate(rivals)]
                won = await asyncio.gather(*puts)
                assert won.count(True) == 1
                assert won.count(False) == 2 * RIVALS - 1
                (record,) = await two.all("drain")
                assert record.value == rivals[won.index(True)]
                version = record.version
            gone = await asyncio.gather(*((one, two)[i % 2].put("drain", "mock", None, version) for i in range(2 * RIVALS)))
            assert gone.count(True) == 1

        self.use(tmp_path, test)
