"""``payonce serve`` and ``payonce worker``: processes that stay until a signal."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

from payonce.bootstrap import App, open_app
from payonce.config import Settings, warnings_of
from payonce.process import running_worker, until_signal
from payonce.serving import dashboard_line, door_of, serving, unheard

from . import OK
from .options import HERE, Json, Where, start_logging
from .output import is_terminal, put, put_json, say, unread
from .running import spared, stay
from .who import operator_here


def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    no_worker: bool = False,
    hold: bool = False,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Serve the API, with the worker beside it, until Ctrl-C or SIGTERM.

    SIGTERM drains: nothing more is claimed, calls in flight get PAYONCE_DRAIN_S (20) seconds, then the process ends
    with 0. What was cut is on record and is resolved by reading, by whoever starts next. kill -9 is safe too.

    Parameters
    ----------
    host
        Address to bind (PAYONCE_HOST, default 127.0.0.1).
    port
        Port to bind (PAYONCE_PORT, default 8080); 0 takes a free one.
    no_worker
        Only the API: payments wait for a `payonce worker` on the same store.
    hold
        After a restore: read and close, but fire nothing until `payonce reconcile` has run. Holds every process of
        this mode on this store, and later starts too; start it once for each mode.
    json
        Print where it listens as one line of JSON.
    """
    settings = where.settings({"server.host": host, "server.port": port})
    start_logging(settings)
    for warning in warnings_of(settings):
        say(f"WARNING: {warning}")
    stay(_serve(settings, worker=not no_worker, hold=hold, as_json=json), settings.text("server.loop"))
    return OK


async def _serve(settings: Settings, *, worker: bool, hold: bool, as_json: bool) -> None:
    async with serving(settings, worker=worker, hold=hold) as served:
        for hint in unheard(served.app.engine.accounts.values()):
            say(f"WARNING: {hint}")
        sandbox_at = served.url if settings.sandbox_here else settings.text("sandbox.url").rstrip("/") * settings.sandboxed
        facts = {
            "url": served.url,
            "docs": f"{served.url}/docs",
            "dataDir": str(settings.data_dir.resolve()),
            "store": settings.kept_at,
            "mode": settings.mode,
            "providers": [p.name for p in settings.providers],
            "worker": worker,
            "hold": await served.app.hold.on(),
            "sandbox": f"{sandbox_at}/sandbox/ledger" if sandbox_at else None,
            "keysNeeded": not await door_of(served.app, served=True).open(),
            "pid": os.getpid(),
        }
        with unread():
            await _greet(settings, served.app, facts, as_json=as_json)
        await stopped(lambda: say("draining ..."))


async def _greet(settings: Settings, app: App, facts: Mapping[str, Any], *, as_json: bool) -> None:
    store = "tables" if settings.on_dynamodb else "data folder"
    if as_json:
        put_json(facts, indent=False)
    else:
        put(f"payonce listens on {facts['url']} ({settings.mode} mode, accounts: {', '.join(facts['providers']) or 'none'})")
        put(f"  dashboard  {await _dashboard(app, str(facts['url']))}")
        put(f"  docs    {facts['docs']}")
        put(f"  data    {settings.kept_at if settings.on_dynamodb else facts['dataDir']}")
        put(f"  keys    {_keys(settings, needed=bool(facts['keysNeeded']))}")
        if facts["sandbox"]:
            put(f"  ledger  {facts['sandbox']}  (what the simulated provider says it charged)")
        if not facts["worker"]:
            put(f"  no worker here: start `payonce worker` on the same {store}")
        if facts["hold"]:
            put(f"  HOLD: no {settings.mode} process fires anything until `payonce reconcile` has run on the same {store}")
        put("Ctrl-C stops it; payments go on where they were at the next start.")


async def _dashboard(app: App, url: str) -> str:
    """In live mode the address that signs in is for the eyes of a person only: no log gets it."""
    if app.settings.mode == "live" and not is_terminal():
        return f"{url}/dashboard  (`payonce dashboard` prints an address that signs you in)"
    return await dashboard_line(app, url, operator_here())


def _keys(settings: Settings, *, needed: bool) -> str:
    if needed:
        return f"needed: Authorization: Bearer sk_{settings.mode}_...  (`payonce key create` makes one)"
    return "none needed on this machine, until `payonce key create` makes the first one"


async def stopped(then: Callable[[], None]) -> None:
    """Wait for SIGTERM or Ctrl-C. A second Ctrl-C cuts the drain short: that is as safe as kill -9."""
    with spared():
        await until_signal()
    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
    then()


def worker(*, where: Where = HERE, json: Json = False) -> int:
    """Work on what is due, without HTTP, until Ctrl-C or SIGTERM. Any number of workers may share one store.

    Parameters
    ----------
    json
        Print one line of JSON when it runs.
    """
    settings = where.settings()
    start_logging(settings)
    stay(_worker(settings, as_json=json), settings.text("server.loop"))
    return OK


async def _worker(settings: Settings, *, as_json: bool) -> None:
    async with open_app(settings, worker=True) as app, running_worker(app, alone=True):
        folder, at = str(settings.data_dir.resolve()), settings.kept_at
        with unread():
            if as_json:
                put_json({"dataDir": folder, "store": at, "mode": settings.mode, "pid": os.getpid()}, indent=False)
            else:
                put(f"payonce works on {at} ({settings.mode} mode). Ctrl-C stops it.")
        await stopped(lambda: say("draining ..."))
