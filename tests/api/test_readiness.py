"""/readyz over a real file: what the last write met, and how it ends without anybody posting."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import apsw
import httpx2
import pytest

from payonce.api.app import SAID_CHARS_MAX, create_app
from payonce.core.errors import StoreUnavailable
from payonce.ports import Scope
from payonce.stores.sqlite import SqliteStore, open_store, store

from .service import GOOD, Service, engine_over, open_door, problem_of, serving


def over_file(path: Path, check: Callable[[Service, SqliteStore], Awaitable[None]]) -> None:
    """Run ``check`` over a fresh file, with the readiness that ``payonce serve`` has."""

    async def run() -> None:
        rows = await open_store(path / "pay.db")

        async def ready(_scope: Scope | None) -> Mapping[str, str]:
            return {"store": await rows.retry_trouble() or "ok"}

        engine = engine_over(rows)
        app = create_app(engine, door=open_door(engine), ready=ready)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://payonce.test") as client:
            await check(Service(app, engine, rows, client), rows)
        await rows.close()

    asyncio.run(run())


def forbid(rows: SqliteStore, *, writes: bool) -> None:
    connection = rows._writer._connection
    assert connection is not None
    connection.execute(f"PRAGMA query_only={int(writes)}")


async def is_ready(s: Service) -> bool:
    answer = await s.get("/readyz")
    if answer.status_code != 200:
        assert "store" in problem_of(answer)["detail"]
    return answer.status_code == 200


def test_a_refused_write_makes_it_unready_until_writes_work_again(tmp_path: Path) -> None:
    """Ready, then not after the first refused write, and ready again as soon as a write would work, without a post."""

    async def check(s: Service, rows: SqliteStore) -> None:
        assert await is_ready(s)
        before = rows.transactions
        assert await is_ready(s)
        assert rows.transactions == before  # while all is well nothing is written for it
        forbid(rows, writes=True)
        assert await is_ready(s)  # nobody was refused yet
        assert (await s.post()).status_code == 503
        assert "read-only" in rows.write_trouble
        assert not await is_ready(s)
        assert not await is_ready(s)
        forbid(rows, writes=False)
        assert await is_ready(s)
        assert rows.write_trouble == ""
        assert (await s.post()).status_code == 202

    over_file(tmp_path, check)


def test_why_the_store_refused_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the caller is not told: the error's own text, under the request id of the answer, and nothing that was sent."""

    async def check(s: Service, rows: SqliteStore) -> None:
        forbid(rows, writes=True)
        answer = await s.post({**GOOD, "metadata": {"name": "Asha"}}, key="key-of-asha")
        assert answer.status_code == 503
        (said,) = [r.getMessage() for r in caplog.records if r.name == "payonce.api"]
        assert "read-only" in said
        assert answer.headers["request-id"] in said
        assert "/payments" in said
        assert "asha" not in said.lower()

    over_file(tmp_path, check)


def test_what_the_log_says_of_a_refusal_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """One line, cut, with secrets masked; readiness that cannot be told is logged the same way."""

    async def ready(_scope: Scope | None) -> Mapping[str, str]:
        raise StoreUnavailable(f"DynamoDB refused GetItem: sk_live_abcdef123456\n{'x' * 5000}")

    async def check(s: Service) -> None:
        answer = await s.get("/readyz")
        assert (answer.status_code, "the log says what" in problem_of(answer)["detail"]) == (503, True)

    serving(check, ready=ready)
    (said,) = [r.getMessage() for r in caplog.records if r.name == "payonce.api"]
    assert "DynamoDB refused GetItem" in said
    assert "abcdef123456" not in said
    assert "\\n" not in said
    assert len(said) < 2 * SAID_CHARS_MAX


def test_a_good_write_ends_the_trouble_and_one_that_writes_nothing_does_not(tmp_path: Path) -> None:
    """Only what reached the disk is proof that the disk takes writes."""

    async def check(s: Service, rows: SqliteStore) -> None:
        forbid(rows, writes=True)
        await s.post()
        forbid(rows, writes=False)
        assert await rows.defer("pay_none", 1, 5) is False
        assert rows.write_trouble
        await s.accepted()
        assert rows.write_trouble == ""

    over_file(tmp_path, check)


def test_the_try_reaches_the_disk(tmp_path: Path) -> None:
    """The tiny write is one: other connections see that the file was written, with nothing changed in it."""

    async def check(s: Service, rows: SqliteStore) -> None:
        beside = apsw.Connection(str(rows.path))
        before = beside.pragma("data_version"), beside.pragma("user_version")
        rows._writer.trouble = "some"
        assert await is_ready(s)
        assert beside.pragma("data_version") != before[0]
        assert beside.pragma("user_version") == before[1]
        beside.close()

    over_file(tmp_path, check)


def test_without_room_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with no room for a payment is not ready, though a tiny write would still fit."""

    async def check(s: Service, rows: SqliteStore) -> None:
        forbid(rows, writes=True)
        await s.post()
        forbid(rows, writes=False)
        monkeypatch.setattr(store, "ROOM_MIN", 2**70)
        assert not await is_ready(s)
        monkeypatch.setattr(store, "ROOM_MIN", 1)
        assert await is_ready(s)

    over_file(tmp_path, check)


def test_a_full_disk_is_not_ready_until_it_has_room() -> None:
    """A real disk without space: 503 from the first refused payment on, and back by itself when space is freed."""

    async def check(s: Service, rows: SqliteStore) -> None:
        ballast = rows.path.with_name("ballast")
        ballast.write_bytes(bytes(600_000))
        for n in range(10_000):
            answer = await s.post({**GOOD, "metadata": {str(i): "x" * 500 for i in range(40)}}, key=f"k{n}")
            if answer.status_code != 202:
                break
            assert await is_ready(s)
        assert "disk is full" in problem_of(answer)["detail"]
        assert [await is_ready(s) for _ in range(20)] == [False] * 20
        ballast.unlink()
        assert await is_ready(s)
        await s.accepted("after")

    with small_disk(1_500) as disk:
        over_file(disk, check)


@contextmanager
def small_disk(kilobytes: int) -> Iterator[Path]:
    """A file system of its own with little space."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root on Linux")
    at = tempfile.mkdtemp(prefix="payonce-small-disk-")
    options = ["-t", "tmpfs", "-o", f"size={kilobytes}k"]
    mounted = subprocess.run(["mount", *options, "tmpfs", at], capture_output=True, check=False)
    try:
        if mounted.returncode != 0:
            pytest.skip("root may not mount here")
        yield Path(at)
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", at], check=True)
        Path(at).rmdir()
