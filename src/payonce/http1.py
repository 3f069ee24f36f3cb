"""HTTP/1.1 from the asking side: a connection, and one exchange at a time over it. No redirects, retries, proxies, cookies or
compression; httptools reads the answers. ``transport`` keeps such connections for providers, ``outbound`` opens one for each
delivery to a merchant.

Written here because it has to say, with proof, whether a byte of a request left, and because it costs a sixth of what a client
library does (docs/performance.md).
"""

import asyncio
import re
import select
import socket
import ssl
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast
from urllib.parse import quote

from msgspec import Struct

INTERIM_MAX: Final = 8  # answers of 1xx before the real one
EYEBALLS_S: Final = 0.25  # how long an address is waited for before the next one is tried beside it (RFC 8305)
ADDRESSES_MAX: Final = 8  # of a host, that are tried
NO_ANSWER: Final = "the connection was closed without an answer"
CUT: Final = "the connection was closed in the middle of the answer"
NO_HTTP: Final = "the answer is no HTTP, or its head is too large"
INTERIM: Final = "it sent too many interim answers"
UNASKED: Final = "it spoke before it was asked"

_HEAD: Final = re.compile(r"[A-Z]+ [!\"$-~]+ HTTP/1\.1(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*)+")
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_OURS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_IDLE, _WAITING, _BODY, _DONE = range(4)  # where an exchange is: none yet, before its head, in its body, over


class Limits(Struct, frozen=True, kw_only=True):
    """What is taken of one answer, in bytes. ``sent_bytes_max``: with all that wraps it, such as the sizes of chunks."""

    head_bytes_max: int = 65_536
    body_bytes_max: int = 1_048_576
    sent_bytes_max: int = 4_194_304


class Answer(Struct, frozen=True):
    """Whole, as it came. Names in lower case; of a name that comes twice the last value counts."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(
    method: str, host: str, path: str, headers: Iterable[tuple[str, str]], body: bytes, *, close: bool = False
) -> bytes:
    """The bytes of a request. ``host`` is the Host header; ``close``: it is the only one of its connection. What of the path is
    no URL is percent-encoded. Raises ValueError for what would be another request than it looks like."""
    if not path.isascii() or " " in path:
        path = quote(path, safe=_PRINTABLE)
    lines = [f"{method} {path or '/'} HTTP/1.1", f"host: {host}", "accept-encoding: identity"]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"content-length: {len(body)}")
    for name, value in headers:
        if name.lower() in _OURS:
            raise ValueError(f"the header {name} is not for adapters to set")
        lines.append(f"{name}: {value}")
    if close:
        lines.append("connection: close")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or not _HEAD.fullmatch(head):
        raise ValueError("a method, path or header with characters that are not allowed there")
    return head.encode("latin-1") + b"\r\n\r\n" + body


class Connection(asyncio.Protocol):
    """One connection. ``send``, then ``head`` or ``answer``, for one exchange after the other. For one task at a time.

    ``sent``: a byte of the last request may have left. It is set before the first one is handed over, and nothing unsets it but
    ``rest``, so False is a proof."""

    def __init__(self, limits: Limits) -> None:
        import httptools  # at the first connection: a function on AWS that only accepts does without it

        self._http = httptools
        self._limits, self._loop = limits, asyncio.get_running_loop()
        self._wire: asyncio.Transport | None = None
        self._poll = select.poll() if hasattr(select, "poll") else None  # Windows has none
        self._waiter: asyncio.Future[None] | None = None
        self._stage, self._wanted, self._error = _IDLE, _DONE, ""
        self.sent, self._alone = False, False
        self._begin()

    def _begin(self) -> None:
        self._parser = self._http.HttpResponseParser(self)
        self._status, self._headers, self._body = 0, dict[str, str](), bytearray()
        self._got, self._interim, self._until_close, self._kept = 0, 0, False, False

    # --- for who asks -------------------------------------------------------------------------------------------------

    def send(self, raw: bytes, *, bodyless: bool = False) -> None:
        """Hand over one request. ``bodyless``: its answer has a head only, whatever that says (HEAD). When the connection ended
        before, nothing is sent."""
        if self._error or self._wire is None or self._wire.is_closing():
            self._fail(NO_ANSWER)
            return
        self._stage, self._alone, self.sent = _WAITING, bodyless, True
        self._wire.write(raw)

    async def head(self) -> Answer | str:
        """The answer without its body, or why there is none."""
        return await self._reach(_BODY) or Answer(self._status, self._headers, b"")

    async def answer(self) -> Answer | str:
        """The whole answer, or why there is none: a text that holds nothing of what the other end said."""
        return await self._reach(_DONE) or Answer(self._status, self._headers, bytes(self._body))

    def rest(self) -> bool:
        """The exchange is over: make ready for another one. False when there can be none; then it is closed."""
        if self._stage != _DONE or not self._kept or self._error or self._wire is None or self._wire.get_write_buffer_size():
            self.close()
            return False
        self._stage, self.sent = _IDLE, False
        self._begin()
        return True

    def usable(self) -> bool:
        """It rests and is still open. asyncio says so when the other end closed; what came since the last turn of the loop is
        looked for here, by one system call of a microsecond, where there is one."""
        if self._error or self._wire is None or self._wire.is_closing():
            return False
        return self._poll is None or not self._poll.poll(0)

    def close(self) -> None:
        """At once: a polite end would wait for the other one. Who waits for an answer is told so."""
        self._fail(NO_ANSWER)

    async def _reach(self, stage: int) -> str:
        if self._stage < stage and not self._error:
            self._wanted, self._waiter = stage, self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return "" if self._stage >= stage else self._error

    def _to(self, stage: int) -> None:
        if not self._error:
            self._stage = stage
            if stage >= self._wanted:
                self._tell()

    def _tell(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, why: str) -> None:
        self._error = self._error or why
        if self._wire is not None:
            self._wire.abort()
        self._tell()

    # --- asyncio.Protocol -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        if self._poll is not None:
            self._poll.register(self._wire.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self._stage == _IDLE:
            self._fail(UNASKED)
            return
        self._got += len(data)
        try:
            self._parser.feed_data(data)
        except (self._http.HttpParserError, self._http.HttpParserUpgrade):
            self._kept = False  # after a whole answer: it stands, and is the last one here
            if self._stage != _DONE:
                self._fail(NO_HTTP)
        if self._stage == _WAITING and self._got > self._limits.head_bytes_max:
            self._fail(NO_HTTP)
        elif self._stage == _BODY and self._got > self._limits.sent_bytes_max:
            self._fail(f"the answer is larger than {self._limits.sent_bytes_max} bytes")

    def eof_received(self) -> None:
        if self._stage == _BODY and self._until_close:
            self._to(_DONE)
        self._fail(CUT if self._stage == _BODY else NO_ANSWER)

    def connection_lost(self, error: Exception | None) -> None:
        del error  # a reset says no more than an end
        self._fail(CUT if self._stage == _BODY else NO_ANSWER)
        self._wire = None

    # --- httptools ------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._stage == _DONE:  # a second answer to one request: none of it counts
            self._kept = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._stage == _WAITING:  # else it is a trailer
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._stage != _WAITING:
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:
            self._interim += 1
            self._headers = {}
            if self._interim > INTERIM_MAX:
                self._fail(INTERIM)
            return
        chunked, sized = "transfer-encoding" in self._headers, "content-length" in self._headers
        self._until_close = not chunked and not sized and self._status not in (204, 304)
        self._to(_DONE if self._alone else _BODY)

    def on_body(self, body: bytes) -> None:
        if self._stage != _BODY or self._error:
            return
        self._body += body
        if len(self._body) > self._limits.body_bytes_max:
            self._fail(f"the answer is larger than {self._limits.body_bytes_max} bytes")

    def on_message_complete(self) -> None:
        if self._stage == _BODY:
            self._kept = self._parser.should_keep_alive()
            self._to(_DONE)


# --- connecting -----------------------------------------------------------------------------------------------------------


async def dial(host: str, port: int, limits: Limits, *, tls: ssl.SSLContext | None = None, name: str = "") -> Connection:
    """A new connection, to the first address of the host that takes one. ``name``: whose certificate TLS asks for, if not the
    host's. Raises OSError (ssl.SSLError is one): nothing was sent."""
    sock = await _socket(await _addresses(host, port))
    try:
        made = asyncio.get_running_loop().create_connection(
            lambda: Connection(limits), sock=sock, ssl=tls, server_hostname=(name or host) if tls else None
        )
        return (await made)[1]
    except BaseException:
        sock.close()
        raise


Address = tuple[int, Any]  # family, and what sock_connect takes


async def _addresses(host: str, port: int) -> Sequence[Address]:
    """IPv6 and IPv4 by turns, in the order that the system prefers."""
    try:  # an address is no question to anybody
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    every = list(dict.fromkeys((family, where) for family, _, _, _, where in found))
    first = [each for each in every if each[0] == every[0][0]]
    other = [each for each in every if each[0] != every[0][0]]
    mixed = [each for pair in zip(first, other, strict=False) for each in pair]
    return (mixed + first[len(other) :] + other[len(first) :])[:ADDRESSES_MAX]


async def _socket(addresses: Sequence[Address]) -> socket.socket:
    """Connected to the first address that answers; the next one is tried when one failed, or takes its time."""
    if len(addresses) == 1:
        return await _tcp(addresses[0])
    tries, error = set[asyncio.Task[socket.socket]](), OSError("no address")
    left = list(addresses)
    try:
        while left or tries:
            if left:
                tries.add(asyncio.create_task(_tcp(left.pop(0))))
            done, tries = await asyncio.wait(tries, timeout=EYEBALLS_S if left else None, return_when=asyncio.FIRST_COMPLETED)
            good = [each for each in done if each.exception() is None]
            tries |= set(good[1:])
            if good:
                return good[0].result()
            error = next((e for each in done if isinstance(e := each.exception(), OSError)), error)
        raise error
    finally:
        for each in tries:
            each.add_done_callback(_unwanted)
            each.cancel()


def _unwanted(task: "asyncio.Task[socket.socket]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _tcp(address: Address) -> socket.socket:
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address[1])
    except BaseException:
        sock.close()
        raise
    return sock


def trusted() -> ssl.SSLContext:
    """What certificates are checked by; nothing of it comes from the environment."""
    import httpx2

    context = httpx2.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context
