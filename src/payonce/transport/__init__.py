"""The only outbound HTTP to providers. It sends once: no retry, no redirect, no proxy or certificate path from the environment,
no cookies, nothing added but Host, Content-Length and Accept-Encoding. What it answers is either a whole response or what is
known of the loss; whether bytes left is decided here, by positive proof only (``http1.Connection.sent``).
"""

import asyncio
import math
import ssl
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from msgspec.structs import replace

from payonce import http1
from payonce.core.payment import StoredRequest
from payonce.http1 import Connection
from payonce.ports import Clock, Lost, Response

from .losses import Deadline, is_ours, late, named
from .mounted import ASGIApp, Call, Mounted, scope_of
from .pool import BODY_BYTES_MAX, CONNECTIONS_MAX, KEEPALIVE_S, Pool, origin_of

__all__ = ["BODY_BYTES_MAX", "CONNECTIONS_MAX", "KEEPALIVE_S", "ASGIApp", "HttpTransport"]

CONNECT_TIMEOUT_S: Final = 5.0


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
        connections_max: int = CONNECTIONS_MAX,
        trust: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """``connections_max``: over the network at once; a further call waits. ``trust`` makes the TLS context, at the first
        https call."""
        self._clock = clock
        self._mounts, self._moved = dict(mounts or {}), dict(moved or {})
        self._mounted, self._closing = Mounted(), False
        self._pool = Pool(trust or http1.trusted, connections_max)

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response | Lost:
        """See ``ports.Transport.send``. ``timeout_ms`` is for the whole call; cancellation passes through."""
        deadline = Deadline(self._clock, send_by_us)
        headers = [*request.headers, *secret_headers.items()]
        mount = _under(self._mounts, request.base_url)
        if deadline.over():
            return late()
        if mount is not None:
            path = request.base_url[len(mount) :] + request.path
            call = Call(self._mounts[mount], scope_of(request.method, mount, path, headers, len(body)), body, deadline)
            answer = await self._mounted.call(call, timeout_ms)
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
        await self._mounted.close()
        self._pool.close()

    # --- over the network -------------------------------------------------------------------------------------------

    async def _over_http(
        self, request: StoredRequest, headers: list[tuple[str, str]], body: bytes, deadline: Deadline, timeout_ms: int
    ) -> Response | Lost:
        try:
            to = origin_of(self._address(request.base_url))
            raw = http1.request(request.method, to.authority, to.path + request.path, headers, body)
        except ValueError as error:
            return Lost(sent=False, reason=f"the request cannot be formed: {type(error).__name__}", ours=True)
        connection: Connection | None = None
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                # Half for getting a connection at most: it is to fail by itself, where the failure says that nothing was sent.
                found = await self._pool.take(to, min(CONNECT_TIMEOUT_S, timeout_ms / 2000))
                if isinstance(found, Lost):
                    return found
                connection = found
                if deadline.over():
                    return late()
                connection.send(raw, bodyless=request.method == "HEAD")
                answer = await connection.answer()
            if isinstance(answer, str):
                return Lost(sent=connection.sent, reason=answer)
            return Response(status=answer.status, headers=answer.headers, body=answer.body)
        except TimeoutError:
            sent = connection is not None and connection.sent
            phase = "waiting for the answer" if sent else "connecting"
            return Lost(sent=sent, reason=f"timeout after {timeout_ms} ms while {phase}")
        except Exception as error:  # noqa: BLE001 - whatever a network does is an answer here, never an exception
            sent = connection is not None and connection.sent
            return Lost(sent=sent, reason=named(error), ours=is_ours(error))
        finally:
            if connection is not None:
                self._pool.give_back(to, connection)

    def _address(self, base_url: str) -> str:
        before = _under(self._moved, base_url)
        return base_url if before is None else self._moved[before] + base_url[len(before) :]

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


def _under(bases: Mapping[str, object], url: str) -> str | None:
    """The base that ``url`` is or lies below."""
    return next((base for base in bases if url == base or url.startswith(base + "/")), None)
