"""One process that serves: the engine, the worker beside it, and HTTP in front; put together for the command line,
the demo and whoever wants the whole server in a test. ``process`` and ``api`` do not know each other."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from .api.app import create_app
from .bootstrap import App, open_app
from .config import SANDBOX_URL, Settings
from .process import Worker, bind, http_server, running_worker
from .telemetry import get_logger

RECONCILED: Final = "reconciled"  # file in the data folder: when `payonce reconcile` last compared everything
HOLD_POLL_S: Final = 0.5

log = get_logger("serving")


class Served(Struct, frozen=True):
    """A server that is up."""

    app: App
    url: str
    worker: Worker | None


@asynccontextmanager
async def serving(settings: Settings, *, worker: bool = True, hold: bool = False) -> AsyncIterator[Served]:
    """Serve until the block ends. Then nothing more is claimed, and requests and calls in flight get ``drain_s``
    together: what is cut is on record and will be resolved by reading. With ``hold`` nothing is fired until
    ``payonce reconcile`` has run. Raises ConfigError, NewerSchema, StoreUnavailable: nothing was started then."""
    drain_s = settings.number("server.drain_s")
    async with AsyncExitStack() as stack:
        sock = bind(settings.text("server.host"), settings.number("server.port"))
        stack.callback(sock.close)
        app = await stack.enter_async_context(open_app(settings, hold=hold))
        works = await stack.enter_async_context(running_worker(app, drain_s=drain_s)) if worker else None
        if hold:
            stack.push_async_callback(_cancel, asyncio.create_task(lift_hold(app), name="hold"))
        url = await stack.enter_async_context(http_server(api_of(app), sock, drain_s=drain_s))
        try:
            yield Served(app, url, works)
        finally:
            # claim no more while the requests in flight are still being answered: both drain at the same time
            draining = asyncio.create_task(works.stop(drain_s)) if works else None  # noqa: F841  keeps it alive


def api_of(app: App) -> ASGIApp:
    """The whole API over an open app, with the sandbox's pages when it runs in this process."""
    return create_app(app.engine, scope=app.scope, ready=ready(app), extra_routes=sandbox_routes(app))


def sandbox_in_process(settings: Settings) -> bool:
    return any(p.base_url.startswith(SANDBOX_URL) for p in settings.providers)


def sandbox_routes(app: App) -> tuple[BaseRoute, ...]:
    """The sandbox's own pages (ledger, faults) on the API server, when it runs in this process: the outside witness
    within reach of curl."""
    return (Route("/sandbox/{page:path}", app.sandbox, include_in_schema=False),) if app.sandbox else ()


def ready(app: App) -> Callable[[], Awaitable[Mapping[str, str]]]:
    """The check behind /readyz: the store answers. Providers play no part: accepting needs only the store."""

    async def check() -> Mapping[str, str]:
        await app.store.next_due()  # raises StoreUnavailable
        return {"store": "ok", "worker": "ok: holding until `payonce reconcile` ran" if app.engine.hold else "ok"}

    return check


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# --- hold: after a restore nothing is fired until everything open was compared with the providers ---------------------


async def lift_hold(app: App) -> None:
    """Wait for ``payonce reconcile`` to finish after this process started, then let the engine fire."""
    since_us = app.clock.now_us()
    log.warning("holding: nothing is fired until `payonce reconcile` ran on this data folder")
    while reconciled_us(app.settings.data_dir) < since_us:
        await app.clock.sleep(HOLD_POLL_S)
    app.engine.hold = False
    app.wake.send("")
    log.info("reconciled: the hold is lifted")


def reconciled_us(data_dir: Path) -> int:
    """When ``payonce reconcile`` last finished here; 0 = never."""
    try:
        marker = json.loads((data_dir / RECONCILED).read_text(encoding="utf-8"))
        return int(marker["at_us"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def mark_reconciled(data_dir: Path, at_us: int, compared: int) -> None:
    """Leave the mark that ``serve --hold`` waits for. Written whole or not at all."""
    fresh = data_dir / f"{RECONCILED}.new"
    fresh.write_text(json.dumps({"at_us": at_us, "compared": compared}), encoding="utf-8")
    fresh.replace(data_dir / RECONCILED)
