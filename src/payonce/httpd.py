"""The HTTP server: sockets, and uvicorn with limits of time and size for what strangers send, and for what they do not read.

Nothing is waited for without an end: a request head, a body (its handler waits), the rest of a body after its answer, a client
that reads its answer, one that rests between two requests. Connections are counted, and one too many is told so and closed.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import ClassVar, Final, cast

import h11  # comes with uvicorn, whose connections speak it
import uvicorn
from msgspec import Struct
from msgspec.structs import replace
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .core.errors import PROBLEMS, ConfigError
from .telemetry import get_logger

HEAD_S: Final = 10.0  # for a whole request head: it is one packet or two, and a stalled sender holds a socket
IDLE_S: Final = 5.0  # between two requests of a connection
UNREAD_S: Final = 30.0  # for reading an answer: the largest has some hundred kilobytes
HEAD_BYTES_MAX: Final = 16_384  # of a head that comes in parts; the API has the same limit for whole ones
REQUEST_BYTES_MAX: Final = 4_194_304  # of one request as sent: chunks may wrap a body in many times its size
REST_S: Final = 0.5  # at the drain: for the rest of a body that is just arriving,
LAST_S: Final = 2.0  # and for a client that does not read
CONNECTIONS_MAX: Final = 4000
REFUSALS_MAX: Final = 256  # connections too many that are told so at once; beyond, they are closed without a word
REFUSED_S: Final = 1.0  # for such a client to read why
FILES_KEPT: Final = 128  # of what the process may open: for the store, providers and logs
RETRY_AFTER_S: Final = 1
SAID_EVERY_S: Final = 10.0

log = get_logger("httpd")


class Limits(Struct, frozen=True, kw_only=True):
    """What a client may take: seconds (see HEAD_S, IDLE_S, UNREAD_S, LAST_S) and connections at once."""

    head_s: float = HEAD_S
    idle_s: float = IDLE_S
    unread_s: float = UNREAD_S
    last_s: float = LAST_S
    connections_max: int = CONNECTIONS_MAX


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: ``until_signal`` decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Refusals:
    """The connections too many of one server."""

    def __init__(self) -> None:
        self.open: set[_Refused] = set()
        self.count = 0
        self._said_at = float("-inf")

    def say(self, limit: int, now: float) -> None:
        """In the log, now and then: a flood must not fill the disk as well."""
        self.count += 1
        if now >= self._said_at + SAID_EVERY_S:
            log.warning("connections were refused: there are as many as limits.connections_max", most=limit, refused=self.count)
            self._said_at, self.count = now, 0


class _Refused(asyncio.Protocol):
    """A connection too many: it is told so before it has asked, what it sends is thrown away, and it is closed when it has read
    that, a moment later at the latest."""

    def __init__(self, refusals: _Refusals) -> None:
        self._refusals = refusals
        self._transport: asyncio.Transport | None = None
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._refusals.open.add(self)
        transport.write(_TOO_MANY)
        if transport.can_write_eof():
            transport.write_eof()
        self._end = asyncio.get_running_loop().call_later(REFUSED_S, self.end)

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._refusals.open.discard(self)
        if self._end is not None:
            self._end.cancel()


class _Connection(H11Protocol):
    """uvicorn's connection, which of itself waits for ever for the rest of a request (0.54 has a deadline only for
    connections that rest between two) and for a client that does not read. Bodies that a handler reads have their deadline
    there; here it is for the bytes that nobody else waits for: a request head, and the rest of a body after the answer; and for
    answers that are not read, whoever waits for that."""

    limits: ClassVar[Limits] = Limits()
    refusals: ClassVar[_Refusals] = _Refusals()
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _draining = False
    _bytes = 0  # of the request that is coming

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self.limits.connections_max:
            self._refuse(transport)
            return
        super().connection_made(transport)
        self._watch()

    def _refuse(self, transport: asyncio.Transport) -> None:
        self.refusals.say(self.limits.connections_max, self.loop.time())
        refused = _Refused(self.refusals)
        transport.set_protocol(refused)
        if len(self.refusals.open) >= REFUSALS_MAX:
            transport.abort()
        else:
            refused.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > REQUEST_BYTES_MAX:
            self.transport.abort()
            return
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._forget_unread()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """An answer that already began cannot become a 400."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # whoever handles the request has nobody to answer any more
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()
        self._watch_reader()

    def _unsupported_upgrade_warning(self) -> None:
        """Strangers ask for WebSockets: the request is answered without one, and is nothing to log."""

    def on_response_complete(self) -> None:
        self._bytes = 0
        self._watch_reader()  # before what was pipelined is handled, which writes more
        super().on_response_complete()

    # --- the drain -------------------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """The drain begins: rests are closed, answers are finished, a body that does not come is not waited for, and neither
        is a client that does not read."""
        self._draining = True
        try:
            super().shutdown()
        except h11.LocalProtocolError:  # it broke before: there is nothing to finish
            self.transport.abort()
        if self._handled():
            self.loop.call_later(REST_S, self._cut)
        self._forget_unread()
        self._watch_reader()

    def timeout_keep_alive_handler(self) -> None:
        with contextlib.suppress(h11.LocalProtocolError):
            super().timeout_keep_alive_handler()
        self.transport.close()
        self._watch_reader()

    def _cut(self) -> None:
        if self._handled() and self.cycle.more_body:
            self.transport.abort()  # whoever reads the body is told that the client is gone: nothing was accepted

    # --- clients that do not send ----------------------------------------------------------------------------------

    def _handled(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        if not self._owed():
            self._disarm()
        elif self._deadline is None:  # single bytes do not put it off
            self._deadline = self.loop.call_later(self.limits.head_s, self._close_overdue)

    def _owed(self) -> bool:
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and not self._handled()

    def _close_overdue(self) -> None:
        self._deadline = None
        if self._owed():
            self.transport.close()
            self._watch_reader()

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # --- clients that do not read ----------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def _watch_reader(self) -> None:
        """What is written and not read yet has a deadline; reading a little does not put it off. (A closed connection stays as
        well, with its bytes, until they are read.)"""
        if self._unread is None and self.transport.get_write_buffer_size() > 0:
            seconds = self.limits.last_s if self._draining else self.limits.unread_s
            self._unread = self.loop.call_later(seconds, self._abort_unread)

    def _abort_unread(self) -> None:
        self._unread = None
        if self.transport.get_write_buffer_size() > 0:
            self.transport.abort()

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


def _too_many() -> bytes:
    """The whole answer to a connection too many, the same for each: RFC 9457, as the API's problems are."""
    about, code = PROBLEMS["over_capacity"], "over_capacity"
    said = {
        "type": f"/docs#problem-{code}",
        "title": about.title,
        "status": about.status,
        "detail": "There are as many connections as this server may hold.",
        "instance": "/",
        "code": code,
        "money": about.money,
        "next": about.next,
        "requestId": "none",
        "errors": [],
    }
    body = json.dumps(said).encode()
    head = (
        f"HTTP/1.1 {about.status} Service Unavailable\r\nconnection: close\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\nretry-after: {RETRY_AFTER_S}\r\ncache-control: no-store\r\n"
        "x-content-type-options: nosniff\r\n\r\n"
    )
    return head.encode() + body


_TOO_MANY: Final = _too_many()


def _ends_quietly(asgi: ASGIApp) -> ASGIApp:
    """uvicorn cancels what outlasts the drain, and would log that as a failure with a traceback."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asgi(scope, receive, send)
        except asyncio.CancelledError:
            log.warning("a request was cut at the end of the drain; its sender comes back with the same key")

    return app


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ConfigError naming the fix."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle on
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(2048)  # now, so that of two servers on one port the second one fails here
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Stop what uses it or choose another --port."
        ) from error
    return sock


def address_of(sock: socket.socket) -> str:
    """The URL at which a browser on this machine finds what listens there."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  that is no address to go to
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def connections_of(wanted: int) -> int:
    """As many connections as wanted, and no more than the process may open files (which is raised as far as it may be): one
    without any left can neither answer nor write."""
    try:
        import resource
    except ImportError:  # Windows counts otherwise
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + FILES_KEPT
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    room = wanted if soft == resource.RLIM_INFINITY else max(16, soft - FILES_KEPT)
    if room < wanted:
        log.warning("limits.connections_max is more than this process may open files for", asked=wanted, files=soft, most=room)
    return min(wanted, room)


@asynccontextmanager
async def http_server(asgi: ASGIApp, sock: socket.socket, *, drain_s: int, limits: Limits | None = None) -> AsyncIterator[str]:
    """Serve ``asgi`` on a bound socket; the value is its URL. At the end requests in flight are finished first."""
    limits = limits or Limits()
    limits = replace(limits, connections_max=connections_of(limits.connections_max))
    refusals = _Refusals()
    config = uvicorn.Config(
        _ends_quietly(asgi),
        http=type("Connection", (_Connection,), {"limits": limits, "refusals": refusals}),
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=cast("int", limits.idle_s),  # it only adds it to a time
        timeout_graceful_shutdown=drain_s,
        backlog=2048,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]), name="http")
    try:
        while not server.started and not serving.done():  # noqa: ASYNC110  uvicorn offers no event for it
            await asyncio.sleep(0.005)
        if serving.done():
            serving.result()  # why it did not start
            raise ConfigError("The HTTP server ended before it had started. Nothing is served.")
        host, port = sock.getsockname()[:2]
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await serving
        for refused in tuple(refusals.open):
            refused.end()
