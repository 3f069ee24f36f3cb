"""Busy, full, read-only, failing disks: StoreUnavailable (nothing written) or Unclear, and recovery."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from payonce.core.apply import fold
from payonce.core.errors import StoreUnavailable
from payonce.core.events import digest
from payonce.ports import Committed, Unclear
from payonce.stores.sqlite import SqliteStore, open_store
from payonce.stores.sqlite.store import Executor
from payonce.testing.store_changes import accept, grow, note_event, payment_id

NOBODY = 65_534
EXECUTORS: list[Executor] = ["threads", "inline"]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_busy_file_takes_nothing_and_says_so(tmp_path: Path, executor: Executor) -> None:
    """Another process that holds the write lock longer than the timeout: refused, nothing written, and after it well."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", busy_timeout_ms=20, executor=executor)
        p = await put(store, 1)
        lock = apsw.Connection(str(tmp_path / "pay.db"))
        lock.execute("BEGIN IMMEDIATE")
        await refused(store.commit(accept(2), 0), "write lock", "Nothing was written", "same key")
        await refused(store.defer(p, 1, 5), "write lock")
        assert await store.ids("", 10) == (p,)  # readers go on
        lock.execute("ROLLBACK")
        assert await store.ids("", 10) == (p,)
        await put(store, 2)
        lock.close()
        await store.close()

    asyncio.run(main())


def test_a_busy_file_is_not_opened(tmp_path: Path) -> None:
    """A file that cannot be set up because another process holds it: refused, untouched."""

    async def main() -> None:
        lock = apsw.Connection(str(tmp_path / "pay.db"))
        lock.execute("BEGIN EXCLUSIVE")
        await refused(open_store(tmp_path / "pay.db", busy_timeout_ms=10), "lock", "was not opened")
        lock.execute("ROLLBACK")
        lock.close()
        store = await open_store(tmp_path / "pay.db")
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_full_file_takes_nothing_and_recovers(tmp_path: Path, executor: Executor) -> None:
    """SQLITE_FULL in the middle of a change: no row, event, body or key of it; as soon as there is room it works."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", executor=executor)
        p = await put(store, 1)
        connection = store._writer._connection
        assert connection is not None
        connection.execute(f"PRAGMA max_page_count={connection.pragma('page_count') + 2}")
        big = os.urandom(100_000)
        large = accept(2, key="k", bodies={digest(big): big})
        await refused(store.commit(large, 0), "disk is full", "Nothing was written")
        assert await store.get(payment_id(2)) is None
        assert await store.history(payment_id(2)) == ()
        assert await store.bodies([(payment_id(2), digest(big))]) == {}
        assert await store.ids("", 10) == (p,)
        assert await store.check() == "ok"
        connection.execute("PRAGMA max_page_count=1000000")
        assert await store.commit(large, 0) == Committed()
        await store.close()

    asyncio.run(main())


def test_a_full_disk_takes_nothing_and_recovers() -> None:
    """A real disk without space: what was acknowledged is whole, the refused is absent; freed space is used at once."""

    async def main(disk: Path) -> None:
        store = await open_store(disk / "pay.db")
        (disk / "ballast").write_bytes(bytes(300_000))
        numbers = iter(range(10_000))
        acknowledged = []
        refusal = None
        while refusal is None:
            batch = [next(numbers) for _ in range(20)]
            results = await asyncio.gather(*(store.commit(accept(n, key=f"{n}"), 0) for n in batch), return_exceptions=True)
            acknowledged += [payment_id(n) for n, result in zip(batch, results, strict=True) if result == Committed()]
            refusal = next((r for r in results if isinstance(r, Exception)), None)
        assert isinstance(refusal, StoreUnavailable)
        assert await store.ids("", 10_000) == tuple(acknowledged)
        assert len(acknowledged) >= 20
        for id in acknowledged:
            assert fold(await store.history(id)) == await store.get(id)
        (disk / "ballast").unlink()
        id = await put(store, next(numbers))
        assert await store.check() == "ok"
        await store.close()
        store = await open_store(disk / "pay.db")
        assert await store.ids("", 10_000) == (*acknowledged, id)
        await store.close()

    with small_disk(1_200) as disk:
        asyncio.run(main(disk))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_file_that_turns_read_only_takes_nothing_and_recovers(tmp_path: Path, executor: Executor) -> None:
    """SQLITE_READONLY while running: refused, readers go on, and it works again when the file is writable."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", executor=executor)
        p = await put(store, 1)
        connection = store._writer._connection
        assert connection is not None
        connection.execute("PRAGMA query_only=1")
        await refused(store.commit(accept(2), 0), "read-only", "Nothing was written")
        assert await store.ids("", 10) == (p,)
        connection.execute("PRAGMA query_only=0")
        await put(store, 2)
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("what", ["file", "directory", "empty directory"])
def test_a_read_only_place_is_not_opened(what: str) -> None:
    """Without permission to write the file or beside it, opening says what is wrong and leaves it as it was."""

    async def main(folder: Path) -> None:
        path = folder / "pay.db"
        if what != "empty directory":
            store = await open_store(path, executor="inline")
            await put(store, 1)
            await store.close()
            path.chmod(0o444 if what == "file" else 0o666)
        before = path.read_bytes() if path.exists() else None
        folder.chmod(0o777 if what == "file" else 0o555)
        with unprivileged():
            await refused(open_store(path, executor="inline"), "pay.db was not opened", "writable")
        assert (path.read_bytes() if path.exists() else None) == before

    folder = Path(tempfile.mkdtemp(prefix="payonce-readonly-"))  # not tmp_path: others may not enter that
    try:
        asyncio.run(main(folder))
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """A path that cannot exist is refused with the path and what to check."""
    path = tmp_path / "nowhere" / "pay.db"
    asyncio.run(refused(open_store(path), str(path), "directory exists"))


def test_a_file_that_vanished_takes_nothing(tmp_path: Path) -> None:
    """A file that was moved away is not written to unseen, and no empty one takes its place."""

    async def main() -> None:
        path = tmp_path / "pay.db"
        store = await open_store(path)
        await put(store, 1)
        path.rename(tmp_path / "moved.db")
        assert "was moved, replaced or deleted" in await store.retry_trouble()  # before anything was refused
        await refused(store.commit(accept(2), 0), "moved", "Nothing was written")
        assert not path.exists()
        (tmp_path / "moved.db").rename(path)
        await put(store, 2)
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_disk_error_in_commit_is_unclear(tmp_path: Path, executor: Executor, disk: type["FailingFile"]) -> None:
    """When the disk fails while the commit is made durable nobody can say: Unclear. The next commit works."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", executor=executor)
        p = await put(store, 1)
        disk.fails = "sync"
        assert await store.commit(accept(2), 0) == Unclear()
        await refused(store.defer(p, 1, 5), "disk reported an error")
        disk.fails = ""
        await put(store, 3)
        found = await store.ids("", 10)
        assert set(found) - {payment_id(2)} == {p, payment_id(3)}
        for id in found:
            assert fold(await store.history(id)) == await store.get(id)
        assert await store.check() == "ok"
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_disk_error_before_commit_wrote_nothing(tmp_path: Path, executor: Executor, disk: type["FailingFile"]) -> None:
    """When the disk fails before the commit: refused, nothing written, and the next one works."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", executor=executor)
        p = await put(store, 1)
        connection = store._writer._connection
        assert connection is not None
        connection.execute("PRAGMA cache_size=2")  # so that it has to read
        disk.fails = "read"
        results = await asyncio.gather(*(store.commit(accept(n), 0) for n in (2, 3)), return_exceptions=True)
        assert {type(result) for result in results} == {StoreUnavailable}
        disk.fails = ""
        assert await store.ids("", 10) == (p,)
        await put(store, 2)
        await store.close()

    asyncio.run(main())


class FailingFile(apsw.VFSFile):
    """A real file whose disk fails on demand."""

    fails = ""

    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("unix", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        if FailingFile.fails == "sync":
            raise apsw.IOError("no disk")
        super().xSync(flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - apsw's name
        if FailingFile.fails == "read":
            raise apsw.IOError("no disk")
        return super().xRead(amount, offset)


class FailingDisk(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("failing", "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - apsw's name
        return FailingFile(name, flags)


@pytest.fixture
def disk() -> Iterator[type[FailingFile]]:
    default = FailingDisk()
    try:
        yield FailingFile
    finally:
        FailingFile.fails = ""
        default.unregister()


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may write everything: become nobody for a moment."""
    if not hasattr(os, "geteuid"):
        pytest.skip("file permissions are another matter here")
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def small_disk(kilobytes: int) -> Iterator[Path]:
    """A file system of its own with little space; not in tmp_path, where a mount left by a killed run would be in the way."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root on Linux")
    at = tempfile.mkdtemp(prefix="payonce-small-disk-")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", at], capture_output=True, check=False
    )
    try:
        if mounted.returncode != 0:
            pytest.skip("root may not mount here")
        yield Path(at)
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", at], check=True)  # lazy: also when a failed test left files open
        Path(at).rmdir()


async def put(store: SqliteStore, number: int) -> str:
    change = accept(number)
    assert await store.commit(change, 0) == Committed()
    noted = grow(change.payment, note_event(""), due_us=number)
    assert noted.payment.version == 2
    return change.payment.id


async def refused(call: object, *texts: str) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await call  # type: ignore[misc]
    for text in texts:
        assert text in str(caught.value)
