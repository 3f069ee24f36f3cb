"""A small service whose engine is watched, as ``open_app`` puts it together, in memory and in this process."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import Any

import httpx2

from payonce.api.app import create_app
from payonce.engine import Engine, Policy, Ports
from payonce.health import Health
from payonce.ports import Transport
from payonce.stores.memory import MemoryRegistry, MemoryStore
from payonce.telemetry.meter import Meter
from payonce.telemetry.tracing import NO_TRACING, Tracing
from payonce.telemetry.watching import Watcher
from tests.api.service import CountingEntropy, Echo, Service, TickingClock, Woken, account, all_ok, open_door


class KeptStore(MemoryStore):
    """A memory store with what an open one has beside its payments."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = MemoryRegistry()
        self.trouble, self.asked = "", 0

    async def retry_trouble(self) -> str:
        self.asked += 1
        return self.trouble


def engine_of(watcher: Watcher, store: MemoryStore, transport: Transport | None = None) -> Engine:
    """An engine over a store and a transport that are watched."""
    ports = Ports(
        store=watcher.store(store),
        transport=watcher.transport(transport or Echo()),
        clock=watcher.clock,
        entropy=CountingEntropy(),
        wake=Woken(),
    )
    tiny = account()
    registry = getattr(store, "registry", None) or MemoryRegistry()
    return Engine(ports, {tiny.name: tiny}, Policy(), health=Health(registry, watcher.clock))


def watched(
    check: Callable[[Service, Watcher], Awaitable[None]],
    *,
    store: MemoryStore | None = None,
    tracing: Tracing = NO_TRACING,
    meter: Meter | None = None,
    transport: Transport | None = None,
    **more: Any,
) -> None:
    """Run ``check`` against a fresh service."""

    async def run() -> None:
        watcher = Watcher(TickingClock(), meter, tracing)
        rows = store or KeptStore()
        engine = engine_of(watcher, rows, transport)
        app = create_app(engine, door=more.pop("door", open_door)(engine), watcher=watcher, **{"ready": all_ok, **more})
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://payonce.test") as client:
            await check(Service(app, engine, rows, client), watcher)

    asyncio.run(run())


class BrokenMeter(Meter):
    """It fails at everything."""

    def add(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("broken meter")

    observe = add


class BrokenTracing(Tracing):
    """Its spans cannot be opened, or not be closed."""

    on = True

    def __init__(self, at: str) -> None:
        self.at = at

    def span(self, *_: Any, **__: Any) -> Any:
        if self.at == "span":
            raise RuntimeError("no span")
        return self._open()

    @contextmanager
    def _open(self) -> Any:
        if self.at == "enter":
            raise RuntimeError("not opened")
        yield None  # and nothing that one could set
        raise RuntimeError("not closed")

    def here(self) -> object:
        raise RuntimeError("not here")

    def trace_id(self) -> str:
        raise RuntimeError("no trace")
