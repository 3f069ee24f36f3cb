"""One POST to a merchant's endpoint. The other end is a stranger: each limit here is for what it may do to us.

The host is looked up once, by us, and a connection goes to an address that was looked at: a name that answers differently the
second time gains nothing. No redirect is followed, no proxy is used, nothing of the answer is kept but its status. An HTTP
client would look the host up again by itself, so connections are our own (``http1``).
"""

import asyncio
import math
import ssl
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Final, Protocol

from msgspec import Struct

from payonce import __version__, http1
from payonce.core.errors import Refused
from payonce.http1 import Connection
from payonce.ports import Clock

from . import guard
from .guard import Allowed, Target

USER_AGENT: Final = f"payonce/{__version__}"
CONNECT_S: Final = 5.0  # for each address that is tried
ADDRESSES_MAX: Final = 3  # tried, of those that a host has
LOOK_S: Final = 5.0  # for the addresses of a host, when an endpoint is registered
LOOKS_MAX: Final = 64  # threads that wait for DNS; those of a name that is not answered wait for longer than we do
REGISTERED_MAX: Final = 4  # threads of their own for names that are being registered, and as many lookups at once
RETRY_AFTER_S_MAX: Final = 86_400
DRAIN_BYTES_MAX: Final = 65_536  # of an answer's body, which is read and dropped
DRAIN_S: Final = 2.0  # for it
LIMITS: Final = http1.Limits(head_bytes_max=16_384, body_bytes_max=DRAIN_BYTES_MAX, sent_bytes_max=4 * DRAIN_BYTES_MAX)

Resolver = Callable[[str, int], Awaitable[tuple[str, ...]]]  # host, port -> addresses; raises OSError


class Sent(Struct, frozen=True, kw_only=True):
    """What came of it: the answer's status (0: there was none, ``said`` tells why) and after how many seconds it asks to be
    tried again."""

    status: int = 0
    said: str = ""
    retry_after_s: int | None = None


class Sender(Protocol):
    """The way to merchants' endpoints. Tests have their own."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        """Send once. Never raises for what a network or the other end can do."""


class _Failed(Exception):
    """No answer; the text is for the merchant, and holds nothing that the other end said."""


class HttpSender:
    """See the module docstring. Use it in one event loop, and close it."""

    def __init__(
        self,
        clock: Clock,
        allowed: Allowed,
        *,
        timeout_ms: int,
        resolve: Resolver | None = None,
        trust: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """``timeout_ms`` is for everything: lookup, connection, answer. ``trust`` makes the TLS context."""
        self._clock, self._allowed, self._timeout_ms = clock, allowed, timeout_ms
        self._resolve, self._trust = resolve or self._dns, trust or http1.trusted
        self._tls: ssl.SSLContext | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._register_threads: ThreadPoolExecutor | None = None
        self._registering = 0  # lookups under way for endpoints that are being registered
        self._looks: dict[tuple[str, int], asyncio.Future[tuple[str, ...]]] = {}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        """See ``Sender``."""
        try:
            to = guard.target(url, self._allowed)
        except Refused as refused:
            return Sent(said=f"not sent: {refused.detail}")
        try:
            raw = http1.request("POST", to.authority, to.path, [*headers.items(), ("user-agent", USER_AGENT)], body, close=True)
        except ValueError:
            return Sent(said="not sent: the request cannot be formed")
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                return await self._exchange(to, raw)
        except _Failed as failed:
            return Sent(said=str(failed))
        except TimeoutError:
            return Sent(said=f"no answer within {self._timeout_ms} ms")
        except (OSError, EOFError) as error:
            return Sent(said=f"the connection broke: {type(error).__name__}")

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Of a host that is being registered; empty when there are none, or none in time."""
        if self._registering >= REGISTERED_MAX:
            return ()  # too many at once: it is looked at before each delivery in any case
        self._registering += 1
        look = asyncio.ensure_future(self._register_dns(host))
        look.add_done_callback(self._registered)
        with suppress(TimeoutError, OSError, UnicodeError):
            async with asyncio.timeout(LOOK_S):
                return await asyncio.shield(look)
        return ()

    def _registered(self, look: "asyncio.Future[tuple[str, ...]]") -> None:
        self._registering -= 1
        if not look.cancelled():
            look.exception()

    async def close(self) -> None:
        """Let go of the threads."""
        for threads in (self._threads, self._register_threads):
            if threads is not None:
                threads.shutdown(wait=False, cancel_futures=True)

    # --- the connection ---------------------------------------------------------------------------------------------

    async def _exchange(self, to: Target, raw: bytes) -> Sent:
        connection = await self._connected(to)
        try:
            connection.send(raw)
            answer = await connection.head()
            if isinstance(answer, str):
                return Sent(said=answer)
            # What is left of a short answer is taken, so that its sender sees a whole exchange. However it goes on, it changes
            # nothing: the status is what counts.
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_S):
                    await connection.answer()
        finally:
            connection.close()
        return self._sent(answer.status, answer.headers.get("retry-after", ""))

    async def _connected(self, to: Target) -> Connection:
        """To an address that was looked at."""
        tls = self._context() if to.tls else None
        last: Exception | None = None
        for address in (await self._checked(to))[:ADDRESSES_MAX]:
            try:
                async with asyncio.timeout(CONNECT_S):
                    return await http1.dial(address, to.port, LIMITS, tls=tls, name=to.host)
            except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
                last = error
        raise _Failed(_why(last))

    async def _checked(self, to: Target) -> tuple[str, ...]:
        if to.address:
            return (to.address,)
        try:
            found = await self._shared(to.host, to.port)
        except (OSError, UnicodeError):
            raise _Failed("the host has no address") from None
        if not found:
            raise _Failed("the host has no address")
        if guard.any_forbidden(to.host, found, self._allowed):
            raise _Failed("not sent: the host has an address that is not public")
        return found

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._trust()
        return self._tls

    # --- looking a host up ------------------------------------------------------------------------------------------

    async def _shared(self, host: str, port: int) -> tuple[str, ...]:
        """One look at a time for a host: one that nobody answers holds one thread, however many deliveries wait for it."""
        look = self._looks.get((host, port))
        if look is None:
            look = asyncio.ensure_future(self._resolve(host, port))
            self._looks[host, port] = look
            look.add_done_callback(lambda done: self._looked(host, port, done))
        return await asyncio.shield(look)

    def _looked(self, host: str, port: int, done: "asyncio.Future[tuple[str, ...]]") -> None:
        self._looks.pop((host, port), None)
        if not done.cancelled():
            done.exception()  # whoever waited has it; nobody may have

    async def _dns(self, host: str, port: int) -> tuple[str, ...]:
        """By threads of our own: a name that is not answered must not keep providers' names waiting."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(LOOKS_MAX, thread_name_prefix="payonce-dns")
        return await _looked_up(self._threads, host, port)

    async def _register_dns(self, host: str) -> tuple[str, ...]:
        """By other threads: whoever registers names that nobody answers must not keep deliveries waiting."""
        if self._resolve != self._dns:
            return await self._resolve(host, 443)
        if self._register_threads is None:
            self._register_threads = ThreadPoolExecutor(REGISTERED_MAX, thread_name_prefix="payonce-names")
        return await _looked_up(self._register_threads, host, 443)

    # --- the answer -------------------------------------------------------------------------------------------------

    def _sent(self, status: int, retry_after: str) -> Sent:
        said = "" if 200 <= status < 300 else f"it answered {status}"
        if 300 <= status < 400:
            said += "; redirects are not followed"
        return Sent(status=status, said=said, retry_after_s=retry_after_s(retry_after, self._clock.now_us()))


async def _looked_up(threads: ThreadPoolExecutor, host: str, port: int) -> tuple[str, ...]:
    import socket

    found = await asyncio.get_running_loop().run_in_executor(
        threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    )
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))


def retry_after_s(value: str, now_us: int) -> int | None:
    """Seconds of a Retry-After that is a number or a date, at most RETRY_AFTER_S_MAX; None for anything else."""
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return min(int(value[:10]), RETRY_AFTER_S_MAX)
    try:
        at_s = parsedate_to_datetime(value[:100]).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return min(max(0, math.ceil(at_s - now_us / 1_000_000)), RETRY_AFTER_S_MAX)


def _why(error: Exception | None) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not valid: {error.verify_message}"[:200]
        case ssl.SSLError():
            return "there is no TLS that we speak"
        case TimeoutError():
            return "no connection in time"
        case ConnectionRefusedError():
            return "the connection was refused"
        case _:
            return f"no connection: {type(error).__name__}"
