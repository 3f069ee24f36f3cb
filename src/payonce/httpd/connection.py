"""One connection: uvicorn's, which reads with httptools (llhttp, in C), and the limits that neither of them has."""

import asyncio
from math import inf
from typing import ClassVar, Final, NoReturn
from urllib.parse import unquote

import httptools
from msgspec import Struct
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from payonce.telemetry import get_logger

from .answering import Cycle
from .answers import BROKEN, HEAD_TOO_LARGE
from .refusing import Refusals

HEAD_S: Final = 10.0  # for a whole request head: it is one packet or two, and a stalled sender holds a socket
IDLE_S: Final = 5.0  # between two requests of a connection
UNREAD_S: Final = 30.0  # for reading an answer: the largest has some hundred kilobytes
LOOK_S: Final = 0.5  # between two looks at what is overdue
HEAD_BYTES_MAX: Final = 16_384  # of a head, and of what stands around a chunk or behind the last one
REQUEST_BYTES_MAX: Final = 4_194_304  # of one request as sent: chunks may wrap a body in many times its size
PIECE_BYTES: Final = 2048  # read at once: so many bytes hold no more requests that wait for their turn than can be kept
LENGTH_DIGITS_MAX: Final = 20  # of a Content-Length: 64 bits
REST_S: Final = 0.5  # at the drain: for the rest of a body that is just arriving,
LAST_S: Final = 2.0  # and for a client that does not read
CONNECTIONS_MAX: Final = 4000
ASGI: Final = {"version": "3.0", "spec_version": "2.3"}
FRAMING: Final = frozenset({b"content-length", b"expect", b"host", b"transfer-encoding"})

log = get_logger("httpd")


class Limits(Struct, frozen=True, kw_only=True):
    """What a client may take: seconds (see HEAD_S, IDLE_S, UNREAD_S, LAST_S) and connections at once. ``outbound``: connections
    that this process opens itself, for which it has to have files left."""

    head_s: float = HEAD_S
    idle_s: float = IDLE_S
    unread_s: float = UNREAD_S
    last_s: float = LAST_S
    connections_max: int = CONNECTIONS_MAX
    outbound: int = 0

    @property
    def shortest_s(self) -> float:
        return min(self.head_s, self.idle_s, self.unread_s, self.last_s)


class _Stop(Exception):
    """Raised in the parser's callbacks: nothing more is read. The parser makes an error of its own of it."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which of itself waits for ever for the rest of a request (0.54 has a deadline only for
    connections that rest between two) and for a client that does not read. Bodies that a handler reads have their deadline
    there; here it is for the bytes that nobody else waits for: a request head, and the rest of a body after the answer; and
    for answers that are not read, whoever waits for that.

    llhttp is strict about bytes (no bare LF, no folded lines, no space before a colon, one Content-Length, none beside
    Transfer-Encoding). What it lets pass is refused here: another Transfer-Encoding than ``chunked`` or one of HTTP/1.0, no
    Host or two, a fragment in the target, other versions, and heads, lines of chunks and trailers without an end. Requests
    behind one that is being handled are read a few at a time, and wait. A trailer is read over."""

    limits: ClassVar[Limits] = Limits()
    refusals: ClassVar[Refusals] = Refusals()

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, object], _loop: object = None) -> None:
        super().__init__(config, server_state, app_state, _loop)  # type: ignore[arg-type]
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)  # uvicorn reads on behind "Connection: close"
        self._handling: RequestResponseCycle | None = None  # or handled last; ``cycle`` is the one read last
        self._ends_at = inf  # loop time at which this is closed, unless something happens
        self._unread_until = inf
        self._draining = False
        self._resting = False  # between two requests
        self._bytes = 0  # of the request that is coming
        self._silent = 0  # of them, since the parser last said something
        self._held = b""  # read from the socket and not yet parsed: requests before them wait
        self._in_head = self._whole = False  # where the request that was read last is
        self._again = False  # its head is read once more
        self._hosts = 0
        self._length = self._coding = b""
        self._deaf = self._refused = False  # nothing more is read; because we did not like it
        self._last_words = b""  # said when all answers are given

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        now = self.loop.time()
        if len(self.connections) >= self.limits.connections_max:
            self.parser = None  # type: ignore[assignment]  # it holds this, which holds it
            self.refusals.add(transport, self.limits.connections_max, now)
            return
        super().connection_made(transport)
        self._ends_at = now + self.limits.head_s

    def connection_lost(self, exc: Exception | None) -> None:
        self.pipeline.clear()
        self._deaf, self._held = True, b""
        if self._handled():
            self._leave_unanswered()
        super().connection_lost(exc)

    # --- what is read ----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._resting:
            self._resting = False
            self._ends_at = self.loop.time() + self.limits.head_s  # single bytes do not put it off
        self._bytes += len(data)
        if self._bytes > REQUEST_BYTES_MAX:
            self.transport.abort()
        elif self.pipeline or self._held:
            self._held += data
            self.flow.pause_reading()  # the handler resumed it, to hear of the client's end
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        if len(data) <= PIECE_BYTES:
            self._parse(data)
            return
        view = memoryview(data)
        for at in range(0, len(data), PIECE_BYTES):
            if self.pipeline:
                self._held = bytes(view[at:])
                return
            self._parse(view[at : at + PIECE_BYTES])

    def _parse(self, piece: bytes | memoryview) -> None:
        if self._deaf:
            return
        self._silent += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as error:
            self._read_on(piece[error.args[0] :])
        except httptools.HttpParserError as error:
            if isinstance(error, httptools.HttpParserCallbackError) and not (self._deaf or self._refused):
                log.exception("bug: a request could not be read")
            self._break(BROKEN)
        else:
            if self._silent > HEAD_BYTES_MAX:
                self._break(HEAD_TOO_LARGE if self._in_head else BROKEN)

    def _read_on(self, rest: bytes | memoryview) -> None:
        """Another protocol was asked for. Requests that do (Java's client asks for HTTP/2 at first) are answered in this one;
        llhttp takes them for ended where their head ends, and would read their body as the next request. So it gets their
        framing once more, and what follows."""
        framing = b"Content-Length: " + self._length + b"\r\n" if self._length else b""
        if self._coding:
            framing = b"Transfer-Encoding: chunked\r\n"
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
        self._parse(rest)

    def on_message_begin(self) -> None:
        if self._again:
            return
        if self._deaf:
            raise _Stop
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._in_head, self._whole = True, False
        self._hosts, self._length, self._coding = 0, b"", b""

    def on_url(self, url: bytes) -> None:
        if not self._again:
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:  # read once more, or a trailer: it must not become a header of a request that is being handled
            return
        name = name.lower()
        if name in FRAMING:
            self._frame(name, value)
        self.headers.append((name, value))

    def _frame(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        elif name == b"content-length":
            if len(value) > LENGTH_DIGITS_MAX:
                self._refuse()
            self._length = value
        elif self._coding or value.lower() != b"chunked":
            self._refuse()
        else:
            self._coding = value

    def _refuse(self) -> NoReturn:
        """llhttp lets it pass, and nobody should act on it."""
        self._refused = True
        raise _Stop

    def on_headers_complete(self) -> None:
        self._silent = 0
        if self._again:
            self._again = False
            return
        version, method = self.parser.get_http_version(), self.parser.get_method()
        new, old = version == "1.1", version == "1.0"
        if not ((new and self._hosts == 1) or (old and self._hosts <= 1 and not self._coding)) or b"#" in self.url:
            self._refuse()
        self._in_head = False  # not before: what is refused is no request yet, and takes nothing from the one before it
        self._again = self.parser.should_upgrade()
        keep_alive = new and method != b"CONNECT" and self.parser.should_keep_alive()
        self._take(method.decode("ascii"), version, keep_alive=keep_alive)

    def _take(self, method: str, version: str, *, keep_alive: bool) -> None:
        """The request is handled now, or when those before it are."""
        raw_path, _, query = self.url.partition(b"?")
        path = raw_path.decode("ascii")
        self.scope = {
            "type": "http",
            "asgi": ASGI,  # type: ignore[typeddict-item]
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,  # type: ignore[typeddict-item]
            "method": method,
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self.headers,
            "state": {},
        }
        self.cycle = cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )
        if self._handled():
            self.pipeline.appendleft((cycle, self.app))
            self.flow.pause_reading()
        else:
            self._handle(cycle)

    def _handle(self, cycle: RequestResponseCycle) -> None:
        self._handling, self._ends_at, self._resting = cycle, inf, False
        self._start_asgi_task(cycle, self.app)

    def on_chunk_header(self) -> None:
        self._silent = 0

    def on_body(self, body: bytes) -> None:
        self._silent = 0
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._silent = 0
        if self._again:
            return
        self._whole = True
        self.cycle.more_body = False
        self.cycle.message_event.set()
        if not self.cycle.keep_alive:
            self._deaf = True
        elif self._handling is self.cycle and self.cycle.response_complete:
            self._rest()

    def _break(self, answer: bytes) -> None:
        """What comes is no HTTP. An answer that already began cannot become this one, and those to whole requests before it
        come first: it must not be taken for one of theirs."""
        if self._deaf:
            return
        self._deaf, self._held = True, b""
        self.logger.warning("Invalid HTTP request received.")
        in_body = not self._in_head and not self._whole and self.cycle is not None
        if self.pipeline and in_body:
            self.pipeline.popleft()  # it was not begun
        elif self._handled() and in_body:
            started = self.cycle.response_started
            self._leave_unanswered()
            self._say_last(b"" if started else answer)
            return
        if self._handled():
            self._last_words = answer
        else:
            self._say_last(b"" if in_body else answer)

    # --- what is answered ------------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._bytes = len(self._held)
        if self.pipeline:
            self._handle(self.pipeline.pop()[0])
        elif self._last_words:
            self._say_last(self._last_words)
            return
        elif self._whole:
            self._rest()
        elif self.expect_100_continue and not self._in_head:
            self.transport.close()  # the client may or may not send a body that it was not asked for
            return
        else:
            self._ends_at = self.loop.time() + self.limits.head_s
        if self._held and not self.pipeline:
            held, self._held = self._held, b""
            self._read(held)
        if not self.pipeline:
            self.flow.resume_reading()

    def _rest(self) -> None:
        self._bytes = 0
        self._resting, self._ends_at = True, self.loop.time() + self.limits.idle_s

    def _say_last(self, answer: bytes) -> None:
        if answer:
            self.transport.write(answer)
        self.transport.close()

    def _leave_unanswered(self) -> None:
        """Whoever handles the request has nobody to answer any more."""
        if self._handling is not None:
            self._handling.disconnected = True
            self._handling.message_event.set()

    def _handled(self) -> bool:
        return self._handling is not None and not self._handling.response_complete

    def _unsupported_upgrade_warning(self) -> None:
        """Strangers ask for WebSockets: the request is answered without one, and is nothing to log."""

    # --- ends ------------------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Close what is overdue: a client that does not send, and one that does not read; reading a little does not put it
        off. (A closed connection stays as well, with its bytes, until they are read.)"""
        if now >= self._ends_at:
            self._ends_at = inf
            self.transport.close()
        if self.transport.get_write_buffer_size() == 0:
            self._unread_until = inf
        elif self._unread_until == inf:
            self._unread_until = now + (self.limits.last_s if self._draining else self.limits.unread_s)
        elif now >= self._unread_until:
            self.transport.abort()

    def shutdown(self) -> None:
        """The drain begins: rests are closed, answers are finished, requests behind them are not begun, a body that does not
        come is not waited for, and neither is a client that does not read."""
        self._draining, self._unread_until = True, inf
        self.look(self.loop.time())
        if not self._handled():
            self.transport.close()
            return
        if self.pipeline or self._handling is not self.cycle or self._whole:
            self._deaf = True
        self.pipeline.clear()
        self._held = b""
        if self._handling is not None:
            self._handling.keep_alive = False
        self.loop.call_later(REST_S, self._cut)

    def _cut(self) -> None:
        if self._handling is not None and self._handled() and self._handling.more_body:
            self.transport.abort()  # whoever reads the body is told that the client is gone: nothing was accepted
