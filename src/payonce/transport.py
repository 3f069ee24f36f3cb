"""The only outbound HTTP to providers. It sends once: no retry, no redirect, no proxy or certificate path from the environment,
no cookies, nothing added but Host, Content-Length and Accept-Encoding. What it answers is either a whole response or what is
known of the loss; whether bytes left is decided here, by positive proof only (``http1.Connection.sent``).
"""

import asyncio
import math
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from . import http1
from .core.payment import StoredRequest
from .http1 import Connection
from .ports import Clock, Lost, Response

BODY_BYTES_MAX: Final = 1_048_576
CONNECT_TIMEOUT_S: Final = 5.0
CONNECTIONS_MAX: Final = 100
# Shorter than servers keep idle connections: one that dies under a request costs a read to find out what happened.
KEEPALIVE_S: Final = 2.0
IN_PROCESS_MAX: Final = 4096  # calls at once, those that go on after their caller gave up counted
LIMITS: Final = http1.Limits(body_bytes_max=BODY_BYTES_MAX)

Message = MutableMapping[str, Any]
ASGIApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class _Late(Exception):
    """The send deadline passed before the first byte: nothing was sent."""


class _Deadline:
    """``send_by_us`` by two clocks, the earlier counts. The wall clock may be set while we wait for a connection; the
    monotonic one may be converted from a wall clock that was wrong at the start. Either says no: nothing is sent."""

    def __init__(self, clock: Clock, send_by_us: int) -> None:
        self.clock, self.wall_us = clock, send_by_us
        self.monotonic_us = clock.monotonic_us() + send_by_us - clock.now_us()

    def check(self) -> None:
        if self.clock.now_us() > self.wall_us or self.clock.monotonic_us() > self.monotonic_us:
            raise _Late


class HttpTransport:
    """``ports.Transport``. A base URL that begins with a key of ``mounts`` is served in process by that ASGI
    app, without a socket: the sandbox. One that begins with a key of ``moved`` is asked at that address instead, which is on
    no record: the sandbox as a server of its own. Use it in one event loop, and close it."""

    def __init__(
        self,
        clock: Clock,
        mounts: Mapping[str, ASGIApp] | None = None,
        moved: Mapping[str, str] | None = None,
        *,
        trust: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """``trust`` makes the TLS context, at the first https call."""
        self._clock = clock
        self._mounts, self._moved = dict(mounts or {}), dict(moved or {})
        self._calls: set[asyncio.Task[None]] = set()
        self._closing = False
        self._pool = _Pool(trust or http1.trusted)

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response | Lost:
        """See ``ports.Transport.send``. ``timeout_ms`` is for the whole call; cancellation passes through."""
        deadline = _Deadline(self._clock, send_by_us)
        headers = [*request.headers, *secret_headers.items()]
        mount = _under(self._mounts, request.base_url)
        try:
            deadline.check()
        except _Late:
            return _late()
        if mount is not None:
            path = request.base_url[len(mount) :] + request.path
            call = _Call(self._mounts[mount], _scope(request.method, mount, path, headers, len(body)), body, deadline)
            answer = await self._in_process(call, timeout_ms)
        else:
            answer = await self._over_http(request, headers, body, deadline, timeout_ms)
        if isinstance(answer, Lost):
            return replace(answer, ours=True) if self._closing else answer  # we hung up
        return self._dated(answer)

    async def drop_idle(self) -> None:
        """Trust no connection that is open now: the process may have stood still for longer than any server keeps one, and
        the first write into such a connection is a lost call. Calls in flight are left alone."""
        self._pool.forget()

    async def close(self) -> None:
        """Close connections and cut the in-process calls that outlived their callers."""
        self._closing = True
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        self._pool.close()

    # --- over the network -------------------------------------------------------------------------------------------

    async def _over_http(
        self, request: StoredRequest, headers: list[tuple[str, str]], body: bytes, deadline: _Deadline, timeout_ms: int
    ) -> Response | Lost:
        try:
            to = _origin(self._address(request.base_url))
            raw = http1.request(request.method, to.authority, to.path + request.path, headers, body)
        except ValueError as error:
            return Lost(sent=False, reason=f"the request cannot be formed: {type(error).__name__}", ours=True)
        connection: Connection | None = None
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                # Half for getting a connection at most: it is to fail by itself, where the failure says that nothing was sent.
                connection = await self._pool.take(to, min(CONNECT_TIMEOUT_S, timeout_ms / 2000))
                deadline.check()
                connection.send(raw, bodyless=request.method == "HEAD")
                answer = await connection.answer()
            if isinstance(answer, str):
                return Lost(sent=connection.sent, reason=answer)
            return Response(status=answer.status, headers=answer.headers, body=answer.body)
        except _Late:
            return _late()
        except TimeoutError:
            sent = connection is not None and connection.sent
            phase = "waiting for the answer" if sent else "connecting"
            return Lost(sent=sent, reason=f"timeout after {timeout_ms} ms while {phase}")
        except Exception as error:  # noqa: BLE001 - whatever a network does is an answer here, never an exception
            sent = connection is not None and connection.sent
            return Lost(sent=sent, reason=_named(error), ours=isinstance(error, _NoRoom))
        finally:
            if connection is not None:
                self._pool.give_back(to, connection)

    def _address(self, base_url: str) -> str:
        before = _under(self._moved, base_url)
        return base_url if before is None else self._moved[before] + base_url[len(before) :]

    # --- in process -------------------------------------------------------------------------------------------------

    async def _in_process(self, call: "_Call", timeout_ms: int) -> Response | Lost:
        """Like a server on another machine: it goes on with what it does when its caller gives up or is cancelled."""
        if len(self._calls) >= IN_PROCESS_MAX:
            return Lost(sent=False, reason="too many calls in process", ours=True)
        task = asyncio.create_task(call.run(), name=f"in process {call.scope['method']} {call.scope['path']}")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await asyncio.shield(task)
        except TimeoutError:
            return Lost(sent=True, reason=f"timeout after {timeout_ms} ms while waiting for the answer")
        finally:
            call.gone.set()
        return call.answer()

    def _dated(self, response: Response) -> Response:
        """A Retry-After that is a date, in seconds from now; an unreadable one is left as it is."""
        value = response.headers.get("retry-after", "")
        if not value or value.isdecimal():
            return response
        try:
            at_s = parsedate_to_datetime(value).timestamp()
        except (ValueError, OverflowError, OSError):
            return response
        seconds = max(0, math.ceil(at_s - self._clock.now_us() / 1_000_000))
        return Response(status=response.status, headers={**response.headers, "retry-after": str(seconds)}, body=response.body)


class _Origin(Struct, frozen=True):
    """Where a base URL leads. ``path``: what comes before that of a request."""

    tls: bool
    host: str
    port: int
    authority: str
    path: str
    place: tuple[str, int, bool]


@lru_cache(maxsize=256)
def _origin(base_url: str) -> _Origin:
    """Raises ValueError for what HTTP cannot reach."""
    parts = urlsplit(base_url)
    host, tls = (parts.hostname or "").encode("idna").decode(), parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ValueError("no base URL of HTTP")
    usual = 443 if tls else 80
    port = usual if parts.port is None else parts.port
    named = f"[{host}]" if ":" in host else host
    return _Origin(tls, host, port, named if port == usual else f"{named}:{port}", parts.path, (host, port, tls))


class _NoConnection(Exception):
    """None could be had, so nothing was sent."""


class _NoRoom(_NoConnection):
    """None was tried: it says nothing about the provider."""


class _Pool:
    """Connections over the network: those in use, and those that rest for up to KEEPALIVE_S, the youngest is taken first."""

    def __init__(self, trust: Callable[[], ssl.SSLContext]) -> None:
        self._trust = trust
        self._tls: ssl.SSLContext | None = None
        self._room = asyncio.Semaphore(CONNECTIONS_MAX)
        self._resting: dict[tuple[str, int, bool], deque[tuple[float, Connection]]] = {}
        self._rest_count, self._dialling = 0, 0
        self._used: dict[Connection, bool] = {}  # with whether it may rest afterwards
        self._timer: asyncio.TimerHandle | None = None  # there is one only while something rests

    async def take(self, to: _Origin, within_s: float) -> Connection:
        """An open connection. Raises _NoConnection, OSError."""
        if not self._room.locked():
            await self._room.acquire()  # at once
        else:
            try:
                async with asyncio.timeout(within_s):
                    await self._room.acquire()
            except TimeoutError:
                raise _NoRoom("no connection is free") from None
        try:
            found = self._rested(to) or await self._dialled(to, within_s)
        except BaseException:
            self._room.release()
            raise
        self._used[found] = True
        return found

    def _rested(self, to: _Origin) -> Connection | None:
        rests, oldest = self._resting.get(to.place), asyncio.get_running_loop().time() - KEEPALIVE_S
        while rests:
            since, connection = rests.pop()
            self._rest_count -= 1
            if since > oldest and connection.usable():
                return connection
            connection.close()
        return None

    async def _dialled(self, to: _Origin, within_s: float) -> Connection:
        if to.tls and self._tls is None:
            self._tls = self._trust()
        if len(self._used) + self._dialling + self._rest_count >= CONNECTIONS_MAX:
            self._drop_oldest()
        self._dialling += 1
        try:
            async with asyncio.timeout(within_s):
                return await http1.dial(to.host, to.port, LIMITS, tls=self._tls if to.tls else None)
        except TimeoutError:
            raise _NoConnection(f"no connection within {within_s:g} s") from None
        finally:
            self._dialling -= 1

    def give_back(self, to: _Origin, connection: Connection) -> None:
        """What was taken: it rests, if its exchange is over and it may have another one; else it is closed."""
        self._room.release()
        if not self._used.pop(connection):
            connection.close()
        if not connection.rest():
            return
        loop = asyncio.get_running_loop()
        self._resting.setdefault(to.place, deque()).append((loop.time(), connection))
        self._rest_count += 1
        if self._timer is None:
            self._timer = loop.call_later(KEEPALIVE_S, self._tidy)

    def _tidy(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = self._drop(loop.time() - KEEPALIVE_S)
        self._timer = None if oldest is None else loop.call_at(oldest + KEEPALIVE_S, self._tidy)

    def _drop_oldest(self) -> None:
        """Close what rests for longest, for one that goes elsewhere."""
        if some := [rests for rests in self._resting.values() if rests]:
            min(some, key=lambda rests: rests[0][0]).popleft()[1].close()
            self._rest_count -= 1

    def _drop(self, before: float) -> float | None:
        """Close what rests since then or longer; since when the oldest of the others does."""
        for place, rests in list(self._resting.items()):
            while rests and rests[0][0] <= before:
                rests.popleft()[1].close()
                self._rest_count -= 1
            if not rests:
                del self._resting[place]
        return min((rests[0][0] for rests in self._resting.values()), default=None)

    def forget(self) -> None:
        """Close what rests; what is in use now will not rest afterwards."""
        self._drop(math.inf)
        self._used = dict.fromkeys(self._used, False)

    def close(self) -> None:
        """Cut everything."""
        if self._timer is not None:
            self._timer.cancel()
        self._drop(math.inf)
        for connection in self._used:
            connection.close()


class _Call:
    """One in-process ASGI exchange. An app that raises, or returns without a whole response, dropped the connection."""

    def __init__(self, app: ASGIApp, scope: Message, body: bytes, deadline: _Deadline) -> None:
        self.app, self.scope, self.body, self.deadline = app, scope, body, deadline
        self.gone = asyncio.Event()  # the caller waits no longer
        self.status, self.content = 0, bytearray()
        self.headers: dict[str, str] = {}
        self.started, self.asked, self.complete, self.error = False, False, False, ""

    async def run(self) -> None:
        try:
            self.deadline.check()
            self.started = True
            await self.app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:  # only close() cancels this task; whoever waits for it gets an answer
            self.error = "the transport was closed"
        except Exception as error:  # noqa: BLE001 - what the app raises is a dropped connection to its caller
            self.error = _named(error)

    async def receive(self) -> Message:
        if self.asked:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        self.asked = True
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in message.get("headers", [])}
        elif message["type"] == "http.response.body":
            self.content += message.get("body", b"")
            self.complete = not message.get("more_body", False)
            if self.complete:
                self.gone.set()

    def answer(self) -> Response | Lost:
        if not self.started:
            return _late()
        if not self.complete:
            return Lost(sent=True, reason=self.error or "the connection was dropped without a whole answer")
        if len(self.content) > BODY_BYTES_MAX:
            return Lost(sent=True, reason=f"the answer is larger than {BODY_BYTES_MAX} bytes")
        if self.headers.get("content-length", str(len(self.content))) != str(len(self.content)):
            return Lost(sent=True, reason="the answer ended early")
        return Response(status=self.status, headers=self.headers, body=bytes(self.content))


def _scope(method: str, mount: str, path: str, headers: list[tuple[str, str]], length: int) -> Message:
    bare, _, query = path.partition("?")
    host, scheme = urlsplit(mount).netloc, urlsplit(mount).scheme
    raw = [("host", host), ("content-length", str(length)), *headers]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": unquote(bare),
        "raw_path": bare.encode("ascii", "replace"),
        "query_string": query.encode("ascii", "replace"),
        "root_path": "",
        "headers": [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in raw],
        "client": ("127.0.0.1", 0),
        "server": (host, 80),
    }


def _under(bases: Mapping[str, object], url: str) -> str | None:
    """The base that ``url`` is or lies below."""
    return next((base for base in bases if url == base or url.startswith(base + "/")), None)


def _late() -> Lost:
    return Lost(sent=False, reason="the send deadline had passed before the first byte", ours=True)


_SAID: Final = (
    (ConnectionRefusedError, "the connection was refused"),
    (ssl.SSLCertVerificationError, "its certificate is not valid"),
    (ssl.SSLError, "there is no TLS that we speak"),
    (socket.gaierror, "the host has no address"),
)


def _named(error: Exception) -> str:
    """What happened, in our words: texts of others may hold addresses or headers."""
    if isinstance(error, _NoConnection):
        return str(error)
    return next((said for kind, said in _SAID if isinstance(error, kind)), type(error).__name__)
