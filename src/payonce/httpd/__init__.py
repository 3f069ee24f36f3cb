"""The HTTP server: sockets, and uvicorn with limits of time and size for what strangers send, and for what they do not read.

Nothing is waited for without an end: a request head, a body (its handler waits), the rest of a body after its answer, a client
that reads its answer, one that rests between two requests. Connections are counted, and one too many is told so and closed.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import cast

import uvicorn
from msgspec.structs import replace
from starlette.types import ASGIApp, Receive, Scope, Send

from payonce.core.errors import ConfigError
from payonce.telemetry import get_logger

from .connection import HEAD_S, IDLE_S, LOOK_S, REQUEST_BYTES_MAX, UNREAD_S, Connection, Limits
from .listening import address_of, bind, connections_of
from .refusing import Refusals

__all__ = [
    "HEAD_S",
    "IDLE_S",
    "REQUEST_BYTES_MAX",
    "UNREAD_S",
    "Limits",
    "address_of",
    "bind",
    "connections_of",
    "http_server",
]

DATE_S = 1.0  # how often uvicorn makes the Date header anew

log = get_logger("httpd")


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: ``until_signal`` decides when to stop. It looks at that ten times a second;
    here it is told, and wakes once a second for the Date header."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DATE_S):
                    await self._leaving.wait()

    def leave(self) -> None:
        self.should_exit = True
        self._leaving.set()


def _ends_quietly(asgi: ASGIApp) -> ASGIApp:
    """uvicorn cancels what outlasts the drain, and would log that as a failure with a traceback."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asgi(scope, receive, send)
        except asyncio.CancelledError:
            log.warning("a request was cut at the end of the drain; its sender comes back with the same key")

    return app


async def _watch(server: _Server, limits: Limits) -> None:
    """Look at all connections again and again. A timer for each request would cost as much as reading it; so an end that is
    promised comes late by ``LOOK_S`` at most."""
    loop, every_s = asyncio.get_running_loop(), min(LOOK_S, limits.shortest_s / 4)
    while True:
        await asyncio.sleep(every_s)
        now = loop.time()
        for connection in tuple(server.server_state.connections):
            try:
                cast("Connection", connection).look(now)
            except Exception:  # one connection must not take their ends from the others
                log.exception("bug: a connection could not be looked at")


@asynccontextmanager
async def http_server(asgi: ASGIApp, sock: socket.socket, *, drain_s: int, limits: Limits | None = None) -> AsyncIterator[str]:
    """Serve ``asgi`` on a bound socket; the value is its URL. At the end requests in flight are finished first."""
    limits = limits or Limits()
    limits = replace(limits, connections_max=connections_of(limits.connections_max, limits.outbound))
    refusals = Refusals()
    config = uvicorn.Config(
        _ends_quietly(asgi),
        http=type("Connection", (Connection,), {"limits": limits, "refusals": refusals}),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whom a proxy speaks for is a claim: merchants/forwarded.py, dashboard/incoming.py
        timeout_graceful_shutdown=drain_s,
        backlog=2048,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]), name="http")
    watching = asyncio.create_task(_watch(server, limits), name="http connections")
    try:
        while not server.started and not serving.done():  # noqa: ASYNC110  uvicorn offers no event for it
            await asyncio.sleep(0.005)
        if serving.done():
            serving.result()  # why it did not start
            raise ConfigError("The HTTP server ended before it had started. Nothing is served.")
        host, port = sock.getsockname()[:2]
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        server.leave()
        await serving
        watching.cancel()
        for refused in tuple(refusals.open):
            refused.end()
