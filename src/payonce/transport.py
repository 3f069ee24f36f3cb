"""The only outbound HTTP. It sends once: no retry, no redirect, no proxy or certificate path from the environment, no
cookies, nothing added but Host and Content-Length. What it answers is either a whole response or what is known of the
loss; whether bytes left is decided here, by positive proof only.

httpx2's transport is used without its client: the client adds headers, follows rules of its own and keeps cookies.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httpx2
from msgspec.structs import replace

from .core.payment import StoredRequest
from .ports import Clock, Lost, Response

BODY_BYTES_MAX: Final = 1_048_576
CONNECT_TIMEOUT_S: Final = 5.0
CONNECTIONS_MAX: Final = 100
# Shorter than servers keep idle connections: one that dies under a request costs a read to find out what happened.
KEEPALIVE_S: Final = 2.0
IN_PROCESS_MAX: Final = 4096  # calls at once, those that go on after their caller gave up counted

Message = MutableMapping[str, Any]
ASGIApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

# Raised by httpx2 only while it has no usable connection for this request yet.
_NO_CONNECTION: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
_OURS: Final = (httpx2.PoolTimeout, httpx2.UnsupportedProtocol)  # no connection was tried: no word about the provider
_CONNECTING: Final = ("connection.connect_tcp.started", "connection.start_tls.started")
_FIRST_BYTE: Final = ".send_request_headers.started"


class _Late(Exception):
    """The send deadline passed before the first byte: nothing was sent."""


class _TooLarge(Exception):
    """The response is larger than BODY_BYTES_MAX."""


class _Deadline:
    """``send_by_us`` by two clocks, the earlier counts. The wall clock may be set while we wait for a connection; the
    monotonic one may be converted from a wall clock that was wrong at the start. Either says no: nothing is sent."""

    def __init__(self, clock: Clock, send_by_us: int) -> None:
        self.clock, self.wall_us = clock, send_by_us
        self.monotonic_us = clock.monotonic_us() + send_by_us - clock.now_us()

    def check(self) -> None:
        if self.clock.now_us() > self.wall_us or self.clock.monotonic_us() > self.monotonic_us:
            raise _Late


class _Wire:
    """Follows one request through httpx2's trace events: where it is, and whether its first byte is about to leave."""

    def __init__(self, deadline: _Deadline) -> None:
        self.deadline, self.last, self.started = deadline, "", False

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        del info
        if event.endswith(_FIRST_BYTE):
            self.deadline.check()
            self.started = True
        self.last = event

    def unsent(self, error: Exception) -> bool:
        """Proof that no byte left. An event that we do not know proves nothing: a renamed one must never turn a lost
        answer into "not sent"."""
        if self.started:
            return False
        return isinstance(error, (_Late, *_NO_CONNECTION)) or self.last in _CONNECTING


class HttpTransport:
    """``ports.Transport`` over httpx2. A base URL that begins with a key of ``mounts`` is served in process by that ASGI
    app, without a socket: the sandbox. One that begins with a key of ``moved`` is asked at that address instead, which is on
    no record: the sandbox as a server of its own. Use it in one event loop, and close it."""

    def __init__(
        self, clock: Clock, mounts: Mapping[str, ASGIApp] | None = None, moved: Mapping[str, str] | None = None
    ) -> None:
        self._clock = clock
        self._mounts, self._moved = dict(mounts or {}), dict(moved or {})
        self._calls: set[asyncio.Task[None]] = set()
        self._closing = False
        self._pool = _Pool()

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
        old, self._pool = self._pool, _Pool()
        await old.retire()

    async def close(self) -> None:
        """Close connections and cut the in-process calls that outlived their callers."""
        self._closing = True
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._pool.http.aclose()

    # --- over the network -------------------------------------------------------------------------------------------

    async def _over_http(
        self, request: StoredRequest, headers: list[tuple[str, str]], body: bytes, deadline: _Deadline, timeout_ms: int
    ) -> Response | Lost:
        wire, timeout_s = _Wire(deadline), timeout_ms / 1000
        # Half for getting a connection at most: it is to fail by itself, where the failure says that nothing was sent.
        connect_s = min(CONNECT_TIMEOUT_S, timeout_s / 2)
        limits = {"connect": connect_s, "pool": connect_s, "read": timeout_s, "write": timeout_s}
        try:
            # Compressed answers are not asked for: the cap counts what is read, and a small answer could unfold to a huge one.
            call = httpx2.Request(
                request.method,
                self._address(request.base_url) + request.path,
                headers=[("accept-encoding", "identity"), *headers],
                content=body,
                extensions={"timeout": limits, "trace": wire.trace},
            )
        except (ValueError, TypeError, httpx2.InvalidURL) as error:
            return Lost(sent=False, reason=f"the request cannot be formed: {type(error).__name__}", ours=True)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(call)
        except _Late:
            return _late()
        except TimeoutError as error:
            phase = "connecting" if wire.unsent(error) else "waiting for the answer"
            return Lost(sent=not wire.unsent(error), reason=f"timeout after {timeout_ms} ms while {phase}")
        except Exception as error:  # noqa: BLE001 - whatever a network does is an answer here, never an exception
            return Lost(sent=not wire.unsent(error), reason=_named(error), ours=isinstance(error, _OURS))

    def _address(self, base_url: str) -> str:
        before = _under(self._moved, base_url)
        return base_url if before is None else self._moved[before] + base_url[len(before) :]

    async def _exchange(self, call: httpx2.Request) -> Response:
        async with self._pool.used() as http:
            return await self._answer(await http.handle_async_request(call))

    async def _answer(self, reply: httpx2.Response) -> Response:
        try:
            content = bytearray()
            async for chunk in reply.stream:  # type: ignore[union-attr]
                content += chunk
                if len(content) > BODY_BYTES_MAX:
                    raise _TooLarge
        finally:
            await reply.aclose()
        named = {name.lower(): value for name, value in reply.headers.multi_items()}
        return Response(status=reply.status_code, headers=named, body=bytes(content))

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


class _Pool:
    """Connections over the network, of one generation."""

    def __init__(self) -> None:
        limits = httpx2.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=KEEPALIVE_S)
        self.http = httpx2.AsyncHTTPTransport(trust_env=False, retries=0, limits=limits)
        self._calls, self._retired = 0, False

    @asynccontextmanager
    async def used(self) -> AsyncIterator[httpx2.AsyncHTTPTransport]:
        """While a call lasts."""
        self._calls += 1
        try:
            yield self.http
        finally:
            self._calls -= 1
            if self._retired and not self._calls:
                await self.http.aclose()

    async def retire(self) -> None:
        """No new call will come: close, after the last one that is in flight."""
        self._retired = True
        if not self._calls:
            await self.http.aclose()


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
            return Lost(sent=True, reason=_named(_TooLarge()))
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


def _named(error: Exception) -> str:
    """What happened, without texts of others: they may hold addresses or headers."""
    if isinstance(error, _TooLarge):
        return f"the answer is larger than {BODY_BYTES_MAX} bytes"
    return type(error).__name__
