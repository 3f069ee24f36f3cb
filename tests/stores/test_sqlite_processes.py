"""Several processes on one file, and processes that are killed."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from payonce.core.apply import fold
from payonce.stores.sqlite import SqliteStore, open_store

SCRIPT = Path(__file__).with_name("commit_loop.py")


@contextmanager
def writing(path: Path, first: int, count: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(SCRIPT), str(path), str(first), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def every_row(store: SqliteStore) -> dict[str, int]:
    """Versions of all payments, each the fold of its history."""
    versions, after = {}, ""
    while ids := await store.ids(after, 100):
        for id in ids:
            row = await store.get(id)
            assert row is not None
            assert fold(await store.history(id)) == row
            versions[id] = row.version
        after = ids[-1]
    return versions


def acknowledged(lines: list[str]) -> dict[str, int]:
    """The highest acknowledged version of each payment. A line that a kill cut in half counts as not said."""
    acks = [line.split() for line in lines if line.startswith("ACK") and line.endswith("\n")]
    return {id: max(int(v) for _, i, v in acks if i == id) for _, id, _ in acks}


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    """Two processes create one file at the same moment and write at the same time; everything acknowledged is there."""
    path, count = tmp_path / "pay.db", 200
    with writing(path, 0, count) as one, writing(path, 10_000, count) as two:
        out = [process.communicate(timeout=20) for process in (one, two)]
        assert [one.returncode, two.returncode] == [0, 0], out
    acks = [acknowledged(text.splitlines(keepends=True)) for text, _ in out]

    async def check() -> None:
        store = await open_store(path)
        assert await every_row(store) == acks[0] | acks[1]
        assert len(acks[0] | acks[1]) == 2 * count
        assert await store.check() == "ok"
        await store.close()

    asyncio.run(check())


@pytest.mark.parametrize("acks_before_kill", [1, 60, 161])
def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, acks_before_kill: int) -> None:
    """After a kill -9 in the middle of commits every acknowledged commit is there and every row is its history's fold."""
    path = tmp_path / "pay.db"
    with writing(path, 0, 100_000) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acks_before_kill + 1)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        assert process.wait(timeout=10) == -signal.SIGKILL
    acks = acknowledged(lines)
    assert sum(acks.values()) >= acks_before_kill

    async def check() -> None:
        store = await open_store(path, executor="inline")
        found = await every_row(store)
        assert {id: version for id, version in acks.items() if found.get(id, 0) < version} == {}
        assert await store.check() == "ok"
        await store.close()

    asyncio.run(check())


def test_what_another_process_writes_is_noticed(tmp_path: Path) -> None:
    """The number changes with each write of another process, and stays while nobody writes."""

    async def check() -> None:
        path = tmp_path / "pay.db"
        store = await open_store(path)
        try:
            before = await store.written()
            assert await store.written() == before
            with writing(path, 0, 1) as process:
                process.communicate()
            after = await store.written()
            assert after != before
            assert await store.written() == after
        finally:
            await store.close()

    asyncio.run(check())
