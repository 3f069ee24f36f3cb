"""What the settings choose: file or tables, who is told what is due, where the sandbox is; and that only that is loaded."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from payonce import embedded, storage
from payonce.bootstrap import App, LocalWake, SystemClock, open_app
from payonce.config import Settings, in_one_process, load
from payonce.core.errors import ConfigError
from payonce.hold import FileHold, RecordHold
from payonce.ports import Page
from payonce.process import Worker
from payonce.serving import COUNTED_MAX, ready
from payonce.stores.dynamodb import DynamoStore
from payonce.stores.memory import MemoryRegistry
from payonce.stores.sqlite import SqliteStore
from payonce.wake.sqs import SqsWake

from .aws.emulator import emulator
from .tables_of_their_own import tables_at

AT_SANDBOX = {"PAYONCE_SANDBOX_URL": "http://127.0.0.1:9"}
QUEUE = "http://127.0.0.1:9/000000000000/due"


@pytest.fixture(scope="module")
def at_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with emulator(tmp_path_factory.mktemp("aws")) as url:
        yield url


@pytest.fixture
def tables(at_aws: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mapping[str, str]:
    monkeypatch.chdir(tmp_path)  # no payonce.toml of the machine counts
    made = tables_at(at_aws)
    for name, value in made.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return {name: value for name, value in made.items() if name.startswith("PAYONCE_")}


def opened(settings: Settings, **how: Any) -> App:
    """An app, closed again: for what it was made of."""

    async def main() -> App:
        async with open_app(settings, env={}, **how) as app:
            return app

    return asyncio.run(main())


def test_the_settings_choose_the_store(tables: Mapping[str, str], tmp_path: Path) -> None:
    """Without tables a file with its mark beside it; with them DynamoDB, a record for the hold, and no folder for payments."""
    local = opened(load({"store.data_dir": str(tmp_path / "data")}))
    assert (type(local.store), type(local.hold), local.aws) == (SqliteStore, FileHold, None)
    at_sandbox = {"PAYONCE_SANDBOX_URL": "http://127.0.0.1:9"}
    far = opened(load({"store.data_dir": str(tmp_path / "none")}, {**tables, **at_sandbox}))
    assert (type(far.store), type(far.hold), far.sandbox) == (DynamoStore, RecordHold, None)
    assert not (tmp_path / "none").exists()


def test_who_is_told_what_is_due(tables: Mapping[str, str], tmp_path: Path) -> None:
    """A process with a worker tells itself; one without tells the queue, if there is one; a worker listens to nobody else."""
    settings = load({"store.data_dir": str(tmp_path / "data")}, {**tables, "PAYONCE_QUEUE_URL": QUEUE})
    assert type(opened(settings, worker=True).wake) is LocalWake
    told = opened(settings)
    assert type(told.wake) is SqsWake
    with pytest.raises(TypeError, match="worker=True"):
        Worker(told, concurrency=1, poll_ms=100)
    no_queue = replace(settings, values={**settings.values, "wake.queue_url": settings.values["store.path"]})
    assert type(opened(no_queue).wake) is LocalWake


def test_a_process_without_a_worker_keeps_no_hints(tmp_path: Path) -> None:
    """Nobody takes them there: each accepted payment would stay in memory. With a worker they wait for it."""
    settings = load({"store.data_dir": str(tmp_path / "data")})
    for worker, kept in ((False, []), (True, ["pay_1", "pay_2"])):
        wake = opened(settings, worker=worker).wake
        assert isinstance(wake, LocalWake)
        for id in ("pay_1", "pay_2"):
            wake.send(id)
        assert wake.take() == kept


def test_a_named_file_is_a_file(tables: Mapping[str, str], tmp_path: Path) -> None:
    """`payonce.open("pay.db")` and the demo stay on this machine, whatever tables the environment names."""
    env = {**tables, "PAYONCE_QUEUE_URL": QUEUE, "PAYONCE_SANDBOX_URL": "http://127.0.0.1:9"}
    settings = load(env=env)
    assert settings.on_dynamodb
    assert not embedded.at(settings, tmp_path / "pay.db").on_dynamodb
    alone = in_one_process(settings, "demo")
    assert (alone.on_dynamodb, alone.sandbox_here, alone.text("wake.queue_url")) == (False, True, "")


def shards_of(tables: Mapping[str, str], count: int) -> Settings:
    return load(env={**tables, **AT_SANDBOX, "PAYONCE_INDEX_SHARDS": str(count)})


def kept_shards(tables: Mapping[str, str]) -> list[int]:
    """What the registry says."""

    async def main() -> list[int]:
        async with storage.opened(shards_of(tables, 100), SystemClock(), checked=False) as kept:
            return [json.loads(record.value) for record in await kept.store.registry.all("store") if record.name == "shards"]

    return asyncio.run(main())


def looked_at(settings: Settings) -> None:
    """Opened to look only."""

    async def main() -> None:
        async with storage.opened_to_read(settings, SystemClock()):
            pass

    asyncio.run(main())


def test_fewer_shards_than_ever_are_refused(tables: Mapping[str, str]) -> None:
    """Rows in the shards beyond would not be seen: who writes and who looks is refused, with the number that is needed. More
    shards are kept on record, by who writes only."""
    looked_at(shards_of(tables, 3))
    assert kept_shards(tables) == [], "who looks writes nothing"
    opened(shards_of(tables, 4))
    opened(shards_of(tables, 4))
    assert kept_shards(tables) == [4]
    for refused in (opened, looked_at):
        with pytest.raises(ConfigError, match=r"PAYONCE_INDEX_SHARDS=4 or more.* Nothing was started"):
            refused(shards_of(tables, 3))
    looked_at(shards_of(tables, 7))
    assert kept_shards(tables) == [4]
    opened(shards_of(tables, 7))
    assert kept_shards(tables) == [7]
    with pytest.raises(ConfigError, match="was 7"):
        opened(shards_of(tables, 4))


def test_functions_do_not_look_at_shards_when_they_start(tables: Mapping[str, str]) -> None:
    """With ``checked`` False nothing is asked and nothing is written; ``keep_shards`` does it later."""

    async def keep(count: int) -> None:
        settings = shards_of(tables, count)
        async with open_app(settings, env={}, checked=False) as app:
            await storage.keep_shards(app.store.registry, settings)

    opened(shards_of(tables, 9), checked=False)
    assert kept_shards(tables) == []
    asyncio.run(keep(9))
    opened(shards_of(tables, 8), checked=False)
    with pytest.raises(ConfigError, match="was 9"):
        asyncio.run(keep(8))
    assert kept_shards(tables) == [9]


def test_shards_are_raised_by_one_of_many() -> None:
    """Two processes with more shards start at once: the larger number stays, whoever was first, and the other is refused."""

    class Rival(MemoryRegistry):
        at = 12

        async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
            if self.at:
                at, self.at = self.at, 0
                assert await super().put(kind, name, json.dumps(at).encode(), expected_version)
            return await super().put(kind, name, value, expected_version)

    async def main() -> None:
        registry = Rival()
        with pytest.raises(ConfigError, match="was 12"):
            await storage.keep_shards(registry, load(env={"PAYONCE_INDEX_SHARDS": "5"}))
        registry.at = 13
        await storage.keep_shards(registry, load(env={"PAYONCE_INDEX_SHARDS": "20"}))
        assert [(r.name, r.value) for r in await registry.all("store")] == [("shards", b"20")]
        assert await registry.put("store", "shards", b"many", 3)
        with pytest.raises(ConfigError, match="is no number"):
            await storage.keep_shards(registry, load(env={"PAYONCE_INDEX_SHARDS": "20"}))

    asyncio.run(main())


class Doubts:
    """A store with so many payments in doubt; nothing may count a whole index on the way of a request."""

    def __init__(self, inner: Any, count: int) -> None:
        self.inner, self.count = inner, count

    def __getattr__(self, name: str) -> Any:
        assert name not in ("counts", "next_due"), "it would walk every partition of an index"
        return getattr(self.inner, name)

    async def list(self, scope: Any, filters: Any, limit: int, cursor: str | None = None) -> Page:
        assert (filters.status, filters.attention, cursor) == ("IN_DOUBT", True, None)
        rows: Any = [None] * min(limit, self.count)
        return Page(tuple(rows), "more" if self.count > limit else None)


@pytest.mark.parametrize(("count", "said"), [(0, "ok"), (3, "ok: 3 IN_DOUBT"), (5000, f"ok: {COUNTED_MAX} or more IN_DOUBT")])
def test_readiness_counts_with_a_bound(tmp_path: Path, count: int, said: str) -> None:
    """/readyz asks for one bounded list, however many payments there are."""
    settings = load({"store.data_dir": str(tmp_path / "data")})

    async def main() -> Mapping[str, str]:
        async with open_app(settings, env={}) as app:
            return await ready(replace(app, store=Doubts(app.store, count)))()

    found = asyncio.run(main())
    assert found["payments"].startswith(said)
    assert found["store"] == "ok"


LOADED = """
import asyncio, json, os, sys
from payonce.bootstrap import open_app
from payonce.config import load
from payonce.core.idempotency import normalise
from payonce.serving import api_of

async def main():
    async with open_app(load(env=os.environ), checked=False) as app:
        api_of(app)
        asked = normalise({"amount": 5, "currency": "INR", "paymentMethod": "tok_ok"})
        accepted = await app.engine.submit(app.scope, asked, "k", actor="api")
        assert (await app.engine.find(app.scope, accepted.payment.id)).status == "PENDING"

asyncio.run(main())
print(json.dumps(sorted(sys.modules)))
"""
NOT_LOADED = ("apsw", "sqlite3", "uvicorn", "h11", "httpx2", "httpcore2", "cyclopts", "botocore", "boto3")
NOT_OF_OURS = ("sandbox", "stores.sqlite", "transport", "process", "cli", "testing", "demo", "embedded")


def test_accepting_on_aws_loads_only_what_it_uses(tables: Mapping[str, str], tmp_path: Path) -> None:
    """A process that opens the app on the tables, builds the API and accepts a payment has loaded no SQLite, no sandbox, no
    HTTP client, no server and no command line."""
    env = {**os.environ, **tables, "PAYONCE_SANDBOX_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    unwanted = (*NOT_LOADED, *(f"payonce.{name}" for name in NOT_OF_OURS))
    assert [m for m in loaded for name in unwanted if m == name or m.startswith(name + ".")] == []
