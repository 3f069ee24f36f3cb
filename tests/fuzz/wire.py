"""What comes over the line, before it is a request: bytes into a connection of the server, read a second time by h11. Whatever
we handle, h11 reads in the same way, request by request; it may read more than we do, never another thing."""

import asyncio
import functools
import logging
import re
from typing import Any, Final

import h11  # comes with uvicorn
import uvicorn
from uvicorn.server import ServerState

from payonce.httpd.connection import Connection

from .doors import loop
from .target import Target, require

Read = tuple[bytes, bytes, bytes]  # method, target, body

TURNS: Final = 50  # of the loop: more than the tasks of any request here need
ZEROS: Final = b"0" * 18  # before the size of a chunk: a number to us and too long for h11


class Line:
    """The transport of a connection, to nowhere."""

    def __init__(self) -> None:
        self.said, self.closing = b"", False

    def write(self, data: bytes) -> None:
        self.said += data

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, _name: str) -> None:
        return None

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Nothing more comes anyway."""

    def resume_reading(self) -> None:
        """As above."""


@functools.cache
def config() -> uvicorn.Config:
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    made = uvicorn.Config(_app, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False)
    made.load()
    return made


_handled: list[Read] = []


async def _app(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    _handled.append((scope["method"].encode(), scope["raw_path"] + b"?" + scope["query_string"], body))
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _ours(data: bytes) -> tuple[list[Read], Line]:
    line, state = Line(), ServerState()
    _handled.clear()
    connection = Connection(config(), state, {}, asyncio.get_running_loop())
    connection.connection_made(line)  # type: ignore[arg-type]
    cut = sum(data) % (len(data) + 1)
    for part in (data[:cut], data[cut:]):
        if part and not line.closing:
            connection.data_received(part)
            for _ in range(TURNS):
                await asyncio.sleep(0)
    connection.connection_lost(None)
    while state.tasks:
        await asyncio.sleep(0)
    return list(_handled), line


def _theirs(data: bytes) -> list[Read]:
    found = list[Read]()
    while data := _plain(data):
        wire, asked, body = h11.Connection(h11.SERVER, max_incomplete_event_size=len(data) + 1), None, b""
        wire.receive_data(data)
        try:
            while not isinstance(event := wire.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return found
                if isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.Request):
                    asked = event
        except h11.RemoteProtocolError:
            return found
        assert asked is not None
        found.append((asked.method, asked.target + b"?" * (b"?" not in asked.target), body))
        wire.send(h11.Response(status_code=404, headers=[]))
        wire.send(h11.EndOfMessage())
        if wire.our_state is not h11.DONE:
            return found
        data = wire.trailing_data[0]
    return found


def _plain(data: bytes) -> bytes:
    """As h11 takes what everybody reads in the same way: without the empty lines before a request, with one space between its
    words, and with the protocol's own name."""
    return re.sub(rb"\A([A-Z-]+) +([!-~]+) +(?:HTTP|RTSP|ICE)/", rb"\1 \2 HTTP/", data.lstrip(b"\r\n"))


def read(data: bytes) -> None:
    """See the module docstring; and what is no request has one answer, 400 or 431, and the end."""
    ours, line = loop().run_until_complete(_ours(data))
    theirs = _theirs(data)
    require(ours == theirs[: len(ours)] or ZEROS in data, f"we read {ours[:5]!r}, h11 {theirs[:5]!r}")
    codes = [int(code) for code in re.findall(rb"HTTP/1\.1 (\d\d\d) ", line.said)]
    require(set(codes) <= {100, 204, 400, 431}, f"answers: {codes}")
    last = [code for code in codes if code >= 400]
    require(last in ([], codes[-1:]), f"something was answered behind the end: {codes}")
    require(not last or line.closing, "a refusal did not end the connection")
    require(codes.count(204) <= len(ours), f"{len(ours)} requests, {codes}")


def requests() -> list[bytes]:
    get = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"
    post = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    fixed = post + b'Content-Length: 7\r\n\r\n{"a":1}'
    chunks = post + b'Transfer-Encoding: chunked\r\n\r\n3;x="y"\r\n{"a\r\n4\r\n":1}\r\n0\r\nT: v\r\n\r\n'
    upgrade = post + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}"
    old = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    expects = post + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"
    return [get, fixed, chunks, upgrade, old, expects, get * 3, fixed + get, chunks + get, upgrade + get, chunks + fixed + get]


TARGETS = (Target("wire", requests, read, 200),)
