"""One connection against a server that does what each test says, byte by byte: what is answered is whole, and what is called
unsent never left."""

import asyncio
import select
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from payonce import http1
from payonce.bootstrap import SystemClock
from payonce.http1 import CUT, INTERIM, NO_ANSWER, NO_HTTP, UNASKED, Answer, Connection, Limits, dial, request
from payonce.ports import Lost, Response
from payonce.transport import HttpTransport

from .test_transport import Hands, sent, stored

PEM = Path(__file__).parent / "outbound" / "certificate.pem"
POST = request("POST", "h", "/charges", [("idempotency-key", "k")], b"{}")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SMALL = Limits(head_bytes_max=200, body_bytes_max=1000, sent_bytes_max=2000)
PATIENCE_S = 20.0
factory: Callable[[], asyncio.AbstractEventLoop] | None = None  # of the loop that a test runs on; None: asyncio's


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that asks for it runs on both: where what we use of them is not the same underneath."""
    if request.param == "uvloop":
        monkeypatch.setattr(sys.modules[__name__], "factory", pytest.importorskip("uvloop").new_event_loop)


def run(test: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(test)


def leads_to(monkeypatch: pytest.MonkeyPatch, *found: tuple[int, str]) -> None:
    """What every name leads to, on every loop."""

    async def look(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        literal = [each for each in found if each[1] == host]  # uvloop asks for the address that it is to connect to
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in literal or found]

    for each in (asyncio.BaseEventLoop, getattr(sys.modules.get("uvloop"), "Loop", None)):
        if each is not None:
            monkeypatch.setattr(each, "getaddrinfo", look)


def end(script: "Script") -> None:
    """Shut its first connection down, below the loop: it has not heard of it when this returns."""
    of = script.writers[0].get_extra_info("socket")
    with socket.fromfd(of.fileno(), of.family, socket.SOCK_STREAM) as same:
        same.shutdown(socket.SHUT_RDWR)


class Script:
    """A server: each connection gets the next of ``parts`` after its whole request, one piece a turn; None ends it there."""

    def __init__(self, *parts: bytes | None, greeting: bytes = b"") -> None:
        self.parts, self.greeting = parts, greeting
        self.requests, self.connections, self.port = list[bytes](), 0, 0
        self.writers = list[asyncio.StreamWriter]()
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        writer.write(self.greeting)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
                self.requests.append(head + await reader.readexactly(size))
                for part in self.parts:
                    if part is None:
                        return
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()
            self.ended.set()


def against(script: Script, use: Callable[[Script], Awaitable[Any]], *, host: str = "127.0.0.1", tls: Any = None) -> Any:
    async def main() -> Any:
        listening = await asyncio.start_server(script.serve, host, 0, ssl=tls)
        script.port = listening.sockets[0].getsockname()[1]
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await use(script)
        finally:
            listening.close()
            for each in script.writers:
                each.transport.abort()
            await asyncio.sleep(0)

    return run(main())


def answered(*parts: bytes | None, limits: Limits = SMALL, bodyless: bool = False) -> tuple[Any, bool, bool]:
    """What one exchange comes to, whether it was sent, and whether the connection can have another one."""

    async def use(script: Script) -> tuple[Any, bool, bool]:
        c = await dial("127.0.0.1", script.port, limits)
        c.send(POST, bodyless=bodyless)
        answer = await c.answer()
        was_sent = c.sent
        return answer, was_sent, c.rest()

    seen: tuple[Any, bool, bool] = against(Script(*parts), use)
    return seen


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE: dict[str, tuple[tuple[bytes | None, ...], int, bytes, bool]] = {
    "in one piece": ((OK,), 200, b"ok", True),
    "byte by byte": (tuple(bytes([b]) for b in OK), 200, b"ok", True),
    "chunked": ((CHUNKED, b"3\r\nabc\r\n", b"2;x=y\r\nde\r\n0\r\n", b"Status: 500\r\n\r\n"), 200, b"abcde", True),
    "no length, until it is closed": ((b"HTTP/1.1 200 OK\r\n\r\nall of", b" it", None), 200, b"all of it", False),
    "interim answers first": (
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK),
        200,
        b"ok",
        True,
    ),
    "no content": ((b"HTTP/1.1 204 No Content\r\n\r\n",), 204, b"", True),
    "not modified, with the length of another": ((b"HTTP/1.1 304 Not\r\nContent-Length: 99\r\n\r\n",), 304, b"", True),
    "empty": ((b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",), 500, b"", True),
    "the last one of its connection": ((OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),), 200, b"ok", False),
    "of HTTP/1.0": ((OK.replace(b"/1.1", b"/1.0"),), 200, b"ok", False),
    "then a second one": ((OK + OK,), 200, b"ok", False),
    "then garbage": ((OK + b"\x00\xff",), 200, b"ok", False),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answer(name: str) -> None:
    """However it comes, it is what its sender meant; what may not be read twice in the same way is not asked again."""
    parts, status, body, again = WHOLE[name]
    answer, was_sent, kept = answered(*parts)
    assert (answer.status, answer.body, was_sent, kept) == (status, body, True, again)
    assert "link" not in answer.headers
    assert "status" not in answer.headers


BROKEN: dict[str, tuple[tuple[bytes | None, ...], str]] = {
    "closed at once": ((None,), NO_ANSWER),
    "half a status line": ((b"HTTP/1.", None), NO_ANSWER),
    "half a head": ((b"HTTP/1.1 200 OK\r\nContent-Le", None), NO_ANSWER),
    "half a body": ((OK[:-1], None), CUT),
    "half a chunk": ((CHUNKED + b"5\r\nab", None), CUT),
    "chunks without an end": ((CHUNKED + b"2\r\nab\r\n", None), CUT),
    "only an interim answer": ((b"HTTP/1.1 100 Continue\r\n\r\n", None), NO_ANSWER),
    "interim answers without end": ((b"HTTP/1.1 102 Processing\r\n\r\n" * 9,), INTERIM),
    "another protocol": ((b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",), NO_HTTP),
    "garbage": ((b"garbage\r\n\r\n",), NO_HTTP),
    "another version": ((b"HTTP/9.9 200 OK\r\n\r\n",), NO_HTTP),
    "two lengths": ((b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",), NO_HTTP),
    "length and chunks": ((b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",), NO_HTTP),
    "a length that is none": ((b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",), NO_HTTP),
    "a chunk that is none": ((CHUNKED + b"zz\r\n",), NO_HTTP),
    "a head without end": (tuple(b"X-%d: %s\r\n" % (n, b"y" * 90) if n else b"HTTP/1.1 200 OK\r\n" for n in range(9)), NO_HTTP),
    "too large": ((b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001,), "the answer is larger than 1000 bytes"),
    "too large without a length": (
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 600, b"x" * 600),
        "the answer is larger than 1000 bytes",
    ),
    "small chunks in much wrapping": (
        (CHUNKED, *[b"1;" + b"e" * 500 + b"\r\nx\r\n"] * 5),
        "the answer is larger than 2000 bytes",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_half_an_answer_is_none(name: str) -> None:
    """It is a loss of something that was sent, said in our words, and the connection is not used again."""
    parts, why = BROKEN[name]
    assert answered(*parts) == (why, True, False)


def test_an_answer_without_a_body_whatever_it_says() -> None:
    """To HEAD: the length is of what was not sent."""
    answer, _, kept = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", bodyless=True)
    assert (answer.status, answer.body, kept) == (200, b"", False)


def test_a_reset_is_an_end() -> None:
    """In the middle of the answer, without a closing word."""

    async def use(script: Script) -> Any:
        c = await dial("127.0.0.1", script.port, SMALL)
        c.send(POST)
        await c.head()
        script.writers[0].transport.abort()
        return await c.answer()

    assert against(Script(OK[:-1], b""), use) == CUT


def test_what_speaks_first_gets_nothing() -> None:
    """On a fresh connection: what came belongs to no request of ours."""

    async def use(script: Script) -> Any:
        c = await dial("127.0.0.1", script.port, SMALL)
        while c.usable():
            await asyncio.sleep(0)
        while not script.ended.is_set():  # we hung up
            await asyncio.sleep(0)
        c.send(POST)
        return await c.answer(), c.sent, script.requests

    assert against(Script(OK, greeting=OK), use) == (UNASKED, False, [])


@pytest.mark.usefixtures("loop")
def test_a_connection_that_was_closed_while_it_rested_is_noticed() -> None:
    """Before a byte is given to it, also before asyncio had a turn to tell us."""

    async def use(script: Script) -> Any:
        c = await dial("127.0.0.1", script.port, SMALL)
        c.send(POST)
        await c.answer()
        assert c.rest()
        assert c.usable()
        end(script)
        noticed = not c.usable()
        while not c._error:
            await asyncio.sleep(0)
        return noticed, c.usable(), c.sent

    assert against(Script(OK), use) == (True, False, False)


def test_without_poll_the_end_is_noticed_when_the_loop_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows there is none: a connection can be used until the loop had a turn."""
    monkeypatch.delattr(select, "poll", raising=False)
    monkeypatch.delattr(select, "POLLIN", raising=False)

    async def use(script: Script) -> Any:
        c = await dial("127.0.0.1", script.port, SMALL)
        c.send(POST)
        answer = await c.answer()
        rests = c.rest() and c.usable()
        end(script)
        while c.usable():
            await asyncio.sleep(0)
        return answer, rests, c.sent

    answer, rests, was_sent = against(Script(OK), use)
    assert (answer.body, rests, was_sent) == (b"ok", True, False)


def test_the_pool_takes_another_one_then() -> None:
    """And the call that would have been lost is made on it."""

    async def use(script: Script) -> Any:
        transport = HttpTransport(Hands())
        url = f"http://127.0.0.1:{script.port}"
        await sent(transport, url)
        script.writers[0].close()
        await script.writers[0].wait_closed()
        answer = await sent(transport, url)
        await transport.close()
        return answer, script.connections, len(script.requests)

    answer, connections, requests = against(Script(OK), use)
    assert (answer.status, connections, requests) == (200, 2, 2)


CANCELLED_AT: dict[str, tuple[bytes, ...]] = {"before the head": (), "in the head": (OK[:20],), "in the body": (OK[:-1],)}


@pytest.mark.parametrize("name", CANCELLED_AT)
def test_who_is_cancelled_leaves_no_connection(name: str) -> None:
    """At each point of the answer; the next call has a fresh one, and no rest of the old answer."""

    async def use(script: Script) -> Any:
        transport = HttpTransport(SystemClock())
        url = f"http://127.0.0.1:{script.port}"
        now_us = SystemClock().now_us()
        call = asyncio.create_task(transport.send(stored(url), b"{}", {}, send_by_us=now_us + 10**7, timeout_ms=9000))
        while not script.requests:
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await script.ended.wait()
        script.parts = (OK,)
        answer = await transport.send(stored(url), b"{}", {}, send_by_us=now_us + 10**7, timeout_ms=9000)
        await transport.close()
        return answer, script.connections

    answer, connections = against(Script(*CANCELLED_AT[name]), use)
    assert (answer.body, connections) == (b"ok", 2)


def test_who_waits_for_a_connection_is_not_sent() -> None:
    """All are in use: within half of the time it says so, and that it says nothing of the provider; then there is room."""

    async def use(script: Script) -> Any:
        transport = HttpTransport(Hands(), connections_max=1)
        url = f"http://127.0.0.1:{script.port}"
        first = asyncio.create_task(sent(transport, url, timeout_ms=19_000))
        while not script.requests:
            await asyncio.sleep(0)
        second = await sent(transport, url, timeout_ms=100)
        script.writers[0].write(OK)
        answers = await first, await sent(transport, url, timeout_ms=100)
        await transport.close()
        return second, answers

    second, (first, third) = against(Script(b""), use)
    assert second == Lost(sent=False, reason="no connection is free", ours=True)
    assert isinstance(first, Response)
    assert third == Lost(sent=True, reason="timeout after 100 ms while waiting for the answer")


def test_at_the_cap_only_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """To another host there is room for one connection more: what rests for longest makes it, the others are used again. Those
    that are on their way count: never are there more than may be."""
    opened, pools = list[int](), list[Any]()

    async def counted(*args: Any, **more: Any) -> Connection:
        made = await real(*args, **more)
        opened.append(len(pools[0]._used) + pools[0]._dialling + pools[0]._rest_count)
        return made

    async def use(script: Script) -> Any:
        transport = HttpTransport(Hands(), connections_max=3)
        pools.append(transport._pool)
        url, other = f"http://127.0.0.1:{script.port}", f"http://127.0.0.2:{script.port}"
        await asyncio.gather(*(sent(transport, url) for _ in range(3)))
        first = script.connections
        await sent(transport, other)
        resting = {place[0]: len(rests) for place, rests in transport._pool._resting.items()}
        await asyncio.gather(*(sent(transport, url) for _ in range(2)))
        again = script.connections
        await asyncio.gather(*(sent(transport, other) for _ in range(3)))
        await transport.close()
        return first, resting, again

    real = dial
    monkeypatch.setattr(http1, "dial", counted)
    assert against(Script(OK), use, host="0.0.0.0") == (3, {"127.0.0.1": 2, "127.0.0.2": 1}, 4)  # noqa: S104 - two addresses
    assert max(opened) == 3


def test_closing_the_transport_ends_who_waits() -> None:
    """It is lost, sent, and ours."""

    async def use(script: Script) -> Any:
        transport = HttpTransport(Hands())
        call = asyncio.create_task(sent(transport, f"http://127.0.0.1:{script.port}"))
        while not script.requests:
            await asyncio.sleep(0)
        await transport.close()
        return await call

    assert against(Script(b""), use) == Lost(sent=True, reason=NO_ANSWER, ours=True)


# --- what is sent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/a\r\nX:y", []),
        ("POST", "/a#b", []),
        ("po st", "/", []),
        ("POST", "/", [("a", "b\r\nc: d")]),
        ("POST", "/", [("a", "b\nc: d")]),
        ("POST", "/", [("a", "b\0")]),
        ("POST", "/", [("a b", "c")]),
        ("POST", "/", [("a:", "c")]),
        ("POST", "/", [("", "c")]),
        ("POST", "/", [("a", "\u20ac")]),
        ("POST", "/", [("Content-Length", "9")]),
        ("POST", "/", [("Transfer-Encoding", "chunked")]),
        ("POST", "/", [("HOST", "elsewhere")]),
    ],
)
def test_what_would_be_another_request_is_not_formed(method: str, path: str, headers: list[tuple[str, str]]) -> None:
    """A line break or a length of its own in a header would make two requests of one."""
    with pytest.raises(ValueError, match=r"header|method"):
        request(method, "h", path, headers, b"{}")


def test_a_path_is_percent_encoded_where_it_is_no_url() -> None:
    """As it was sent by the versions before, whose stored requests are sent again; what is encoded already stays."""
    assert request("GET", "h", "/\u00fc b?c=%20", [], b"").startswith(b"GET /%C3%BC%20b?c=%20 HTTP/1.1\r\nhost: h\r\n")
    assert b"content-length" not in request("GET", "h", "", [], b"")


# --- where to -------------------------------------------------------------------------------------------------------------


def test_ipv6() -> None:
    """A literal address, and its Host header in brackets."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")

    async def use(script: Script) -> Any:
        transport = HttpTransport(Hands())
        answer = await sent(transport, f"http://[::1]:{script.port}")
        await transport.close()
        return answer, script.requests[0]

    try:
        answer, raw = against(Script(OK), use, host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    assert answer.status == 200
    assert b"host: [::1]:" in raw


@pytest.mark.usefixtures("loop")
def test_an_address_that_is_silent_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is tried beside it; who comes late is hung up on."""
    leads_to(monkeypatch, (socket.AF_INET, "192.0.2.1"), (socket.AF_INET, "127.0.0.1"))
    real, tried = http1._tcp, list[str]()

    async def tcp(address: Any) -> socket.socket:
        tried.append(address[1][0])
        if address[1][0] == "192.0.2.1":
            await asyncio.Event().wait()
        return await real(address)

    monkeypatch.setattr(http1, "_tcp", tcp)
    monkeypatch.setattr(http1, "EYEBALLS_S", 0.01)

    async def use(script: Script) -> Any:
        c = await dial("two.example", script.port, SMALL)
        c.send(POST)
        answer = await c.answer()
        c.close()
        return answer

    assert isinstance(against(Script(OK), use), Answer)
    assert tried == ["192.0.2.1", "127.0.0.1"]


@pytest.mark.usefixtures("loop")
def test_a_refusal_leads_to_the_next_address_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPv6 and IPv4 by turns; when none takes it, the last refusal is what is said."""
    leads_to(monkeypatch, (socket.AF_INET, "127.0.0.2"), (socket.AF_INET, "127.0.0.3"), (socket.AF_INET6, "::1"))
    tried = list[str]()

    async def tcp(address: Any) -> socket.socket:
        tried.append(address[1][0])
        raise ConnectionRefusedError

    monkeypatch.setattr(http1, "_tcp", tcp)
    with pytest.raises(ConnectionRefusedError):
        run(dial("two.example", 9, SMALL))
    assert tried == ["127.0.0.2", "::1", "127.0.0.3"]


# --- TLS ------------------------------------------------------------------------------------------------------------------


def over_tls(script: Script, host: str, *, trust: bool = True) -> tuple[Any, Script]:
    """A call to a server with the certificate of hooks.example.com, which is on this machine."""
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.load_cert_chain(PEM)

    async def use(script: Script) -> Any:
        transport = HttpTransport(Hands(), trust=(lambda: ssl.create_default_context(cafile=PEM)) if trust else None)
        answers = [await sent(transport, f"https://{host}:{script.port}") for _ in range(2)]
        await transport.close()
        return answers

    with pytest.MonkeyPatch.context() as m:
        leads_to(m, (socket.AF_INET, "127.0.0.1"))
        return against(script, use, tls=there), script


@pytest.mark.usefixtures("loop")
def test_over_tls_connections_are_kept_too() -> None:
    """Two calls, one handshake."""
    answers, script = over_tls(Script(OK), "hooks.example.com")
    assert ([a.status for a in answers], script.connections) == ([200, 200], 1)


@pytest.mark.usefixtures("loop")
@pytest.mark.parametrize(("host", "trust"), [("other.example.com", True), ("hooks.example.com", False)])
def test_a_certificate_that_is_not_the_hosts_gets_no_byte(host: str, trust: bool) -> None:
    """Another name's, or nobody's."""
    answers, script = over_tls(Script(OK), host, trust=trust)
    assert answers == [Lost(sent=False, reason="its certificate is not valid")] * 2
    assert script.requests == []


@pytest.mark.usefixtures("loop")
def test_a_cut_answer_over_tls_is_lost() -> None:
    """Also where it has no length: an end without TLS's own word is no end of an answer."""
    answers, _ = over_tls(Script(OK[:-1], None), "hooks.example.com")
    assert answers[0] == Lost(sent=True, reason=CUT)


def test_idle_connections_are_closed_by_a_timer_that_ends_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time to rest nothing is open, and nothing ticks."""
    monkeypatch.setattr("payonce.transport.pool.KEEPALIVE_S", 0.02)

    async def use(script: Script) -> Any:
        transport = HttpTransport(Hands())
        await sent(transport, f"http://127.0.0.1:{script.port}")
        await script.ended.wait()
        pool = transport._pool
        return pool._timer, pool._rest_count, pool._resting

    assert against(Script(OK), use) == (None, 0, {})


def test_a_connection_says_that_it_ended() -> None:
    """Before anything was sent: nothing is sent then."""

    async def use(script: Script) -> Any:
        c: Connection = await dial("127.0.0.1", script.port, SMALL)
        c.close()
        c.send(POST)
        return await c.answer(), c.sent, c.rest()

    assert against(Script(OK), use) == (NO_ANSWER, False, False)
