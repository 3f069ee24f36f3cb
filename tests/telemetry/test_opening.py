"""The watcher of an open app: around what the engine uses, told by the inbox and the courier, closed at the end."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from payonce.bootstrap import open_app
from payonce.config import load
from payonce.core.errors import Refused
from payonce.stores.sqlite import SqliteStore
from payonce.telemetry import names as n
from payonce.telemetry.opening import watching
from payonce.telemetry.tracing import Tracing
from tests.api.service import TickingClock


def test_an_open_app_is_watched(tmp_path: Path) -> None:
    """What the engine writes goes through the watcher and is counted; the app's own store is the bare one; a webhook that is
    refused is counted under its account, one for nobody is not."""

    async def check() -> None:
        async with open_app(load({"store.data_dir": str(tmp_path)}, {}), env={}, worker=True) as app:
            assert isinstance(app.engine.store, SqliteStore)
            assert app.engine.store is not app.store
            assert app.engine.intake.store is app.engine.store
            assert app.webhooks is not None
            assert app.courier is not None
            for account in ("mock", "nobody"):
                with pytest.raises(Refused):
                    await app.webhooks.hear(account, {}, b"{}")
            app.courier.told("delivered")
            meter = app.watcher.meter
            assert list(meter.sums(n.HEARD)) == [(("mock", "refused"), 1.0)]
            assert meter.total(n.DELIVERIES, "delivered") == 1

    asyncio.run(check())


def test_what_was_traced_is_sent_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tracer is closed when the process closes, and after whatever broke it off."""
    closed = list[int]()

    class Kept(Tracing):
        on = True

        def close(self) -> None:
            closed.append(1)

    def opened(_env: Any) -> Tracing:
        return Kept()

    monkeypatch.setattr("payonce.telemetry.opening.open_tracing", opened)

    async def broken_off() -> None:
        async with watching(TickingClock(), {}) as watcher:
            assert watcher.tracing.on
            raise KeyError("broken off")

    with pytest.raises(KeyError):
        asyncio.run(broken_off())
    assert closed == [1]


def test_a_write_is_one_to_the_store_that_is_used() -> None:
    """Spans of writes name SQLite or DynamoDB, as the conventions call them; nothing is traced unless asked for."""

    async def check() -> None:
        for on_dynamodb, system in ((False, "sqlite"), (True, "aws.dynamodb")):
            async with watching(TickingClock(), {}, on_dynamodb=on_dynamodb) as watcher:
                assert watcher.system == system
                assert not watcher.tracing.on

    asyncio.run(check())
