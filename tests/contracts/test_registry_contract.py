"""The registry contract over every registry in the house; and what only files and processes can show."""

import asyncio
import subprocess
import sys
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import apsw
import pytest
from tests.stores.older_files import set_back

from payonce.core.errors import ConfigError, StoreUnavailable
from payonce.ports import Record, Registry
from payonce.stores.memory import MemoryRegistry
from payonce.stores.sqlite import APPLICATION_ID, open_store, open_to_read, schema
from payonce.testing.registry_contract import RegistryContract
from payonce.testing.store_changes import accept, payment_id

WRITES = 60
# Two of these share a file: each adds one to a counter until it has won WRITES times.
COUNT = """
import asyncio, sys
from pathlib import Path
from payonce.stores.sqlite import open_store

async def main():
    store = await open_store(Path(sys.argv[1]), busy_timeout_ms=20_000)
    print("OPEN", flush=True)
    sys.stdin.readline()
    lost = 0
    for _ in range(int(sys.argv[2])):
        while True:
            found = {r.name: r for r in await store.registry.all("count")}
            before, version = (int(found["n"].value), found["n"].version) if found else (0, 0)
            if await store.registry.put("count", "n", b"%d" % (before + 1), version):
                break
            lost += 1
    await store.close()
    print(lost)

asyncio.run(main())
"""


class TestMemory(RegistryContract):
    @pytest.fixture(autouse=True)
    def _places(self) -> None:
        self.places: dict[Path, MemoryRegistry] = defaultdict(MemoryRegistry)

    async def open(self, folder: Path, stack: AsyncExitStack) -> Registry:
        return self.places[folder]


class TestSqliteInline(RegistryContract):
    async def open(self, folder: Path, stack: AsyncExitStack) -> Registry:
        store = await open_store(folder / "pay.db", executor="inline")
        stack.push_async_callback(store.close)
        return store.registry


class TestSqliteThreads(RegistryContract):
    async def open(self, folder: Path, stack: AsyncExitStack) -> Registry:
        store = await open_store(folder / "pay.db", executor="threads")
        stack.push_async_callback(store.close)
        return store.registry


def test_two_processes_lose_no_write(tmp_path: Path) -> None:
    """Two processes that race for one record: each win is one step of the counter, and both made all of theirs."""
    command = [sys.executable, "-c", COUNT, str(tmp_path / "pay.db"), str(WRITES)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as two,
    ):
        try:
            assert all(p.stdout is not None and p.stdout.readline() == "OPEN\n" for p in (one, two))
            for p in (one, two):  # both are up: now they race
                assert p.stdin is not None
                p.stdin.write("go\n")
                p.stdin.flush()
            out = [p.communicate(timeout=60)[0] for p in (one, two)]
        finally:
            one.kill()
            two.kill()
    print("lost races:", [text.strip() for text in out])

    async def check() -> None:
        store = await open_store(tmp_path / "pay.db", executor="inline")
        assert await store.registry.all("count") == (Record("n", b"%d" % (2 * WRITES), 2 * WRITES),)
        await store.close()

    asyncio.run(check())


def test_it_survives_and_shares_the_file_with_payments(tmp_path: Path) -> None:
    """Records and payments are written by the same writer, and are there when the file is opened again."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        writes = [store.commit(accept(n), 0) for n in range(20)]
        puts = [store.registry.put("drain", f"a{n:02}", b"x", 0) for n in range(20)]
        await asyncio.gather(*writes, *puts)
        await store.close()
        store = await open_store(tmp_path / "pay.db", executor="inline")
        assert len(await store.ids("", 100)) == len(await store.registry.all("drain")) == 20
        await store.close()

    asyncio.run(main())


def test_a_closed_registry_says_so(tmp_path: Path) -> None:
    """ "A closed, full, busy or read-only store raises StoreUnavailable." """

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.registry.all("drain")
        with pytest.raises(StoreUnavailable):
            await store.registry.put("drain", "mock", b"x", 0)

    asyncio.run(main())


def test_a_busy_file_says_so_and_is_unchanged(tmp_path: Path) -> None:
    """While another process holds the write lock too long nothing is written, and reading goes on."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", busy_timeout_ms=10)
        other = apsw.Connection(str(tmp_path / "pay.db"))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="write lock"):
            await store.registry.put("drain", "mock", b"x", 0)
        assert await store.registry.all("drain") == ()
        other.execute("ROLLBACK")
        other.close()
        assert await store.registry.put("drain", "mock", b"x", 0)
        await store.close()

    asyncio.run(main())


def test_a_file_opened_to_read_shows_it_and_takes_nothing(tmp_path: Path) -> None:
    """The read-only way in sees the records of a server that runs, and refuses to write."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        assert await store.registry.put("drain", "mock", b"x", 0)
        looking = await open_to_read(tmp_path / "pay.db")
        assert await looking.registry.all("drain") == (Record("mock", b"x", 1),)
        with pytest.raises(StoreUnavailable, match="read only"):
            await looking.registry.put("drain", "mock", b"y", 1)
        assert await store.registry.all("drain") == (Record("mock", b"x", 1),)
        await looking.close()
        await store.close()

    asyncio.run(main())


def file_of_schema_1(path: Path) -> None:
    """A file as the first release made it: with its one migration and a payment, closed."""

    async def main() -> None:
        store = await open_store(path, executor="inline")
        await store.commit(accept(1), 0)
        await store.close()

    asyncio.run(main())
    set_back(path, 1)
    connection = apsw.Connection(str(path))
    assert (connection.pragma("user_version"), connection.pragma("application_id")) == (1, APPLICATION_ID)
    assert not connection.table_exists("main", "registry")
    connection.close()


def test_a_file_of_schema_1_gets_a_registry(tmp_path: Path) -> None:
    """The first start of this version migrates it: the payments are as they were, and records can be written."""
    path = tmp_path / "pay.db"
    file_of_schema_1(path)

    async def main() -> None:
        store = await open_store(path)
        assert await store.ids("", 10) == (payment_id(1),)
        assert await store.get(payment_id(1)) == accept(1).payment
        assert await store.registry.put("drain", "mock", b"x", 0)
        assert await store.check() == "ok"
        await store.close()

    asyncio.run(main())


def test_a_backup_of_schema_1_can_be_looked_at(tmp_path: Path) -> None:
    """Opened to read only it is not migrated: its payments show, its registry is empty, not a byte changes."""
    path = tmp_path / "pay.db"
    file_of_schema_1(path)
    before = path.read_bytes()

    async def main() -> None:
        looking = await open_to_read(path)
        assert await looking.get(payment_id(1)) == accept(1).payment
        assert await looking.registry.all("drain") == ()
        assert (await looking.strays(), await looking.damage()) == ((), ())
        await looking.close()

    asyncio.run(main())
    assert path.read_bytes() == before


def test_a_schema_that_is_too_old_to_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a later release be unable to read a schema as it is, it says what brings the file up to date."""
    path = tmp_path / "pay.db"
    file_of_schema_1(path)
    monkeypatch.setattr(schema, "READ_FROM", 2)
    with pytest.raises(ConfigError, match=r"has schema 1, this payonce reads 2 and later.*serve.* on a copy"):
        asyncio.run(open_to_read(path))
