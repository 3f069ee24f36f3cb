"""The HTTP server against clients that do not read, do not leave, are too many, or speak no HTTP: each has an end, and none
holds up the drain. (Clients that do not send: api/test_connections.py.)"""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from payonce import httpd
from payonce.httpd import Limits, answers, bind, connection, connections_of, http_server, refusing
from payonce.openfiles import KEPT

QUICK_S = 5  # generous: what is expected takes a fraction of it, what was wrong took at least 20 s
GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
BIG = 8_000_000  # more than the sockets of both sides take

Dialed = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class House:
    """What is served, and the server itself, to look at."""

    def __init__(self) -> None:
        self.running = self.done = 0
        self.servers: list[Any] = []
        self.port = 0
        self.dialed: list[asyncio.StreamWriter] = []

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """/big: much at once. /stream: much, bit by bit. Else the path and the length of the body."""
        self.running += 1
        try:
            size, more = 0, True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                size, more = size + len(message.get("body", b"")), message.get("more_body", False)
            status = 405 if scope["method"] == "CONNECT" else 200
            await send({"type": "http.response.start", "status": status, "headers": []})
            if scope["path"] == "/big":
                await send({"type": "http.response.body", "body": b"x" * BIG})
                return
            for _ in range(BIG // 50_000 if scope["path"] == "/stream" else 0):
                await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
            await send({"type": "http.response.body", "body": f"{scope['path']} {size}\n".encode()})
        finally:
            self.running -= 1
            self.done += 1

    def connections(self) -> int:
        return len(self.servers[-1].server_state.connections)

    async def dial(self, sent: bytes = b"", *, narrow: bool = False) -> Dialed:
        """``narrow``: the client's side of the line takes little, as long as nothing is read."""
        sock = socket.socket()
        if narrow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
        self.dialed.append(writer)
        writer.write(sent)
        return reader, writer


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(QUICK_S):
        while not holds():
            await asyncio.sleep(0.01)


async def rest_of(dialed: Dialed) -> bytes:
    """All that comes until the server closes."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(QUICK_S):
            return await dialed[0].read()
    return b""


@contextlib.asynccontextmanager
async def open_house(monkeypatch: pytest.MonkeyPatch, *, drain_s: int = 20, **limits: Any) -> AsyncIterator[House]:
    house, made = House(), httpd._Server

    class Seen(made):  # type: ignore[misc, valid-type]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            house.servers.append(self)

    monkeypatch.setattr(httpd, "_Server", Seen)
    sock = bind("127.0.0.1", 0)
    house.port = sock.getsockname()[1]
    try:
        async with http_server(house.app, sock, drain_s=drain_s, limits=Limits(**limits)):
            yield house
    finally:
        for writer in house.dialed:
            writer.transport.abort()
        await asyncio.sleep(0)


def run(check: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(4 * QUICK_S):
            await check()

    asyncio.run(bounded())


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.exc_info or r.levelno >= logging.ERROR]


# --- clients that do not read ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [b"/big", b"/stream"])
@pytest.mark.parametrize("reads", [False, True], ids=["nothing", "a little"])
def test_a_client_that_does_not_read_is_cut(
    path: bytes, reads: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer that is not read, or too slowly, is dropped with its connection at the deadline; its handler ends."""

    async def check() -> None:
        async with open_house(monkeypatch, unread_s=0.3) as house:
            reader, writer = await house.dial(GET % path, narrow=True)
            await until(lambda: house.connections() == 1)

            async def sip() -> None:
                with contextlib.suppress(ConnectionError):
                    while reads and await reader.read(500):
                        await asyncio.sleep(0.01)

            sipping = asyncio.create_task(sip())
            await until(lambda: house.connections() == 0 and house.running == 0)
            sipping.cancel()
            assert len(await rest_of((reader, writer))) < BIG

    run(check)
    assert errors(caplog) == []


def test_an_answer_that_is_read_in_time_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline does not cut who reads: a large answer arrives whole, and the connection is used again."""

    async def check() -> None:
        async with open_house(monkeypatch, unread_s=QUICK_S) as house:
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{house.port}", trust_env=False) as client:
                for path in ("/big", "/stream", "/big"):
                    assert len((await client.get(path)).content) >= BIG
            assert house.servers[-1].server_state.total_requests == 3

    run(check)


@pytest.mark.parametrize("path", [b"/big", b"/stream"])
def test_a_client_that_does_not_read_does_not_hold_up_the_drain(path: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the drain it has a moment, however long it would have had otherwise."""

    async def check() -> None:
        loop = asyncio.get_running_loop()
        async with open_house(monkeypatch, unread_s=60, last_s=0.2) as house:
            for _ in range(3):
                await house.dial(GET % path, narrow=True)
            await until(lambda: house.connections() == 3)
            if path == b"/big":
                await until(lambda: house.done == 3)
            ends = loop.time() + QUICK_S
        assert loop.time() < ends

    run(check)


def test_pipelined_requests_whose_answers_are_not_read_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks on and on and reads nothing: one request is handled at a time, and the connection ends."""

    async def check() -> None:
        async with open_house(monkeypatch, unread_s=0.3) as house:
            await house.dial((GET % b"/big") * 300, narrow=True)
            await until(lambda: house.done > 0)
            assert house.running <= 1
            await until(lambda: house.connections() == 0 and house.running == 0)
            assert house.done < 10

    run(check)


# --- clients that do not leave -----------------------------------------------------------------------------------------


def test_a_connection_that_rests_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an answer the client has a while for its next request."""

    async def check() -> None:
        async with open_house(monkeypatch, idle_s=0.2) as house:
            dialed = await house.dial(GET % b"/one")
            assert b"/one 0" in await rest_of(dialed)
            await until(lambda: house.connections() == 0)

    run(check)


def test_a_client_that_closed_its_side_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-open connections do not stay, whether something was asked before or not."""

    async def check() -> None:
        async with open_house(monkeypatch, idle_s=60, head_s=60) as house:
            for sent in (b"", GET[:9], GET % b"/one", b"POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"):
                dialed = await house.dial(sent)
                await until(lambda: house.connections() == 1)
                dialed[1].write_eof()
                await rest_of(dialed)
                await until(lambda: house.connections() == 0 and house.running == 0)

    run(check)


# --- clients that are too many -----------------------------------------------------------------------------------------


def test_a_connection_too_many_is_told_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It gets a whole 503 with Retry-After as a problem, without being handled; when another one ended, the next is served."""

    async def check() -> None:
        async with open_house(monkeypatch, connections_max=2) as house:
            held = [await house.dial(), await house.dial()]
            await until(lambda: house.connections() == 2)
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{house.port}", trust_env=False) as client:
                for _ in range(3):
                    refused = await client.post("/payments", json={"amount": 1})
                    told = refused.json()
                    assert (refused.status_code, told["code"]) == (503, "over_capacity")
                    assert refused.headers["retry-after"] == "1"
                    assert refused.headers["content-type"] == "application/problem+json"
                    assert told["money"]
                assert house.done == 0
                held[0][1].close()
                await until(lambda: house.connections() == 1)
                assert (await client.get("/now")).text == "/now 0\n"

    monkeypatch.setattr(logging.getLogger("payonce"), "propagate", True)  # whatever an earlier test configured
    caplog.set_level(logging.INFO, logger="payonce")
    run(check)
    lines = sum("connections were refused" in str(r.msg) for r in caplog.records)
    assert 1 <= lines < 3, "three were refused: a line for each would let a flood fill the log"


def test_a_flood_of_connections_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are being told so are few; the rest is closed without a word, and none stays."""
    monkeypatch.setattr(refusing, "REFUSALS_MAX", 3)
    monkeypatch.setattr(refusing, "REFUSED_S", 0.3)

    async def check() -> None:
        async with open_house(monkeypatch, connections_max=1) as house:
            first = await house.dial()
            await until(lambda: house.connections() == 1)
            flood = [await house.dial() for _ in range(20)]
            told = [await rest_of(each) for each in flood]
            assert {each[:12] for each in told} == {b"", b"HTTP/1.1 503"}
            assert house.connections() == 1
            first[1].write(GET % b"/still")
            async with asyncio.timeout(QUICK_S):
                assert (await first[0].readline()).startswith(b"HTTP/1.1 200")

    run(check)


def test_refused_clients_do_not_hold_up_the_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused client that neither reads nor leaves."""
    monkeypatch.setattr(refusing, "REFUSED_S", 60)

    async def check() -> None:
        loop = asyncio.get_running_loop()
        async with open_house(monkeypatch, connections_max=1) as house:
            for _ in range(4):
                await house.dial()
            await until(lambda: house.connections() == 1)
            refused = house.servers[-1].config.http_protocol_class.refusals.open
            await until(lambda: len(refused) == 3)
            ends = loop.time() + QUICK_S
        assert loop.time() < ends
        await until(lambda: not refused)

    run(check)


def test_connections_leave_files_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more connections than the process may open files, with some kept for the store; the soft limit is raised first."""
    resource = pytest.importorskip("resource")
    limits = [1024, 1024]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: limits.__setitem__(0, given[0]))
    assert connections_of(100) == 100
    assert (connections_of(4000, 300), connections_of(700, 300)) == (1024 - KEPT - 300, 1024 - KEPT - 300)
    assert connections_of(100, 5000) == 16, "some, whatever else there is"
    assert connections_of(4000) == 1024 - KEPT
    limits[:] = [1024, 10_000]
    assert (connections_of(4000), limits[0]) == (4000, 4000 + KEPT)
    limits[:] = [resource.RLIM_INFINITY, resource.RLIM_INFINITY]
    assert connections_of(4000) == 4000


# --- what is no HTTP, or barely ----------------------------------------------------------------------------------------

POST = b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/0.9\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x00\x01\x02\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: +5\r\n\r\nabcde", 400),
        (POST + b"Content-Length: 99999999999999999999999999\r\n\r\nabcde", 400),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (CHUNKED + b"fffffffffffffffffffff\r\nx", 400),
        (CHUNKED + b"-1\r\nx", 400),
        (CHUNKED + b"0x5\r\nabcde\r\n0\r\n\r\n", 400),
        (CHUNKED + b"5" + b"0" * 40 + b"\r\nabcde", 400),
        (CHUNKED + b"5;a=" + b"b" * 1000 + b'\r\nabcde\r\n0;last="1"\r\nTrailer: x\r\n\r\n', 200),
        (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde", 400),
        (b"CONNECT pay.example:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"GET http://169.254.169.254/latest HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\r\n", 200),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"GET /a HTTP/1.0\r\n\r\n", 200),
    ],
)
def test_rubbish_has_an_answer_and_an_end(
    sent: bytes, status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What breaks HTTP is a 400 and closed; what is allowed and unusual is one request like any other, which goes nowhere else
    (here every path is answered 200). Nothing is logged as an error, and nothing stays open."""

    async def check() -> None:
        async with open_house(monkeypatch) as house:
            dialed = await house.dial(sent)
            raw = await rest_of(dialed)
            assert raw.startswith(b"HTTP/1.1 %d " % status), raw[:200]
            await until(lambda: house.connections() == 0 and house.running == 0)

    run(check)
    assert errors(caplog) == []


def test_a_chunk_that_never_comes_waits_no_longer_than_its_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest chunk that can be written down is announced: nothing is reserved for it, and it ends with its connection."""

    async def check() -> None:
        async with open_house(monkeypatch) as house:
            _, writer = await house.dial(CHUNKED + b"f" * 16 + b"\r\nabc")
            await until(lambda: house.running == 1)
            writer.close()
            await until(lambda: house.running == 0 and house.connections() == 0)

    run(check)


def test_a_body_wrapped_in_more_than_itself_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extensions of chunks are no way around the limit of a body: what a request may have on the wire is limited as well."""
    monkeypatch.setattr(connection, "REQUEST_BYTES_MAX", 100_000)

    async def check() -> None:
        async with open_house(monkeypatch) as house:
            chunk = b"1;x=" + b"y" * 1000 + b"\r\na\r\n"
            fits = await house.dial(CHUNKED + chunk * 50 + b"0\r\n\r\n")
            assert b"/echo 50" in await rest_of(fits)
            reader, writer = await house.dial(CHUNKED)
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(QUICK_S):
                    for _ in range(5000):
                        writer.write(chunk)
                        await writer.drain()
            assert b"200" not in (await rest_of((reader, writer)))[:12]
            await until(lambda: house.running == 0 and house.connections() == 0)

    run(check)


def test_pipelined_requests_are_answered_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many in one packet, the last one in two: one answer after the other; the bytes of one are not counted for the next."""
    monkeypatch.setattr(connection, "REQUEST_BYTES_MAX", 20_000)

    async def check() -> None:
        async with open_house(monkeypatch) as house:
            asked = b"".join(GET % b"/%d" % n for n in range(200))
            dialed = await house.dial(asked + b"GET /last HTTP/1.1\r\nHo")
            dialed[1].write(b"st: x\r\nConnection: close\r\n\r\n")
            raw = await rest_of(dialed)
            told = [line.split()[0] for line in raw.splitlines() if line.startswith(b"/")]
            assert told == [*(b"/%d" % n for n in range(200)), b"/last"]

    run(check)


def test_many_requests_of_one_connection_are_not_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of what is on the wire is for each request: a connection may be used for long."""
    monkeypatch.setattr(connection, "REQUEST_BYTES_MAX", 20_000)

    async def check() -> None:
        async with open_house(monkeypatch) as house:
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{house.port}", trust_env=False) as client:
                for _ in range(10):
                    assert (await client.post("/echo", content=b"x" * 9_000)).text == "/echo 9000\n"
            assert house.servers[-1].server_state.total_requests == 10

    run(check)


def test_the_answer_to_a_connection_too_many_is_a_problem() -> None:
    """It has every member that the API's problems have, and the length it says."""
    head, _, body = answers.TOO_MANY.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head.split(b"\r\n")
    told = json.loads(body)
    assert set(told) == {"type", "title", "status", "detail", "instance", "code", "money", "next", "requestId", "errors"}
    assert (told["status"], told["type"]) == (503, "/docs#problem-over_capacity")
