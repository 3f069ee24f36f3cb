"""What counts as one HTTP request, byte by byte (RFC 9112). Whatever stands in front of payonce may read a doubtful request in
another way than we do, and take a part of it for the next one: so what is doubtful is a 400 and the end of the connection, and
nothing behind it is read. Each test sends one request and, behind it, another one that must not be taken for anything else."""

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest

from payonce.httpd import connection

from .test_httpd import Dialed, House, open_house, rest_of, run, until

POST = b"POST /first HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /first HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
REFUSED, BOTH, FIRST = ["400"], ["/first", "/next"], ["/first"]

# Of the body: more than one reading of where it ends.
FRAMING = {
    "length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\nab",
    "no length": POST + b"Content-Length: \r\n\r\n",
    "a signed length": POST + b"Content-Length: +2\r\n\r\nab",
    "a hex length": POST + b"Content-Length: 0x2\r\n\r\nab",
    "a length with a line": POST + b"Content-Length: 1_0\r\n\r\nab",
    "a length in two": POST + b"Content-Length: 1 2\r\n\r\nab",
    "a length beyond 64 bits": POST + b"Content-Length: 18446744073709551618\r\n\r\nab",
    "a length with many zeros": POST + b"Content-Length: " + b"0" * 40 + b"2\r\n\r\nab",
    "a space before the colon": POST + b"Content-Length : 2\r\n\r\nab",
    "the same of a coding": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a tab before the colon": POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "two codings, turned": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two headers of codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "identity before chunked": POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nab",
    "a quoted coding": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "a coding with a parameter": POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "no coding": POST + b"Transfer-Encoding:\r\n\r\n",
    "a coding behind a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks of HTTP/1.0": b"POST /first HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length in a trailer": CHUNKED + b"2\r\nab\r\n0\r\nContent-Length: 5\r\n\r\n",
    "a coding in a trailer": CHUNKED + b"2\r\nab\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n",
}
LINES = {
    "bare line feeds": POST.replace(b"\r\n", b"\n") + b"\n",
    "one bare line feed": POST + b"A: b\nContent-Length: 2\r\n\r\nab",
    "a bare line feed at the end": POST + b"A: b\r\n\n",
    "a bare carriage return": POST + b"A: b\rContent-Length: 2\r\n\r\n",
    "two carriage returns": POST + b"A: b\r\r\nContent-Length: 2\r\n\r\nab",
    "a folded header": POST + b"A: b\r\n c\r\n\r\n",
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a folded first header": b"GET /first HTTP/1.1\r\n Host: x\r\n\r\n",
    "no colon": POST + b"A\r\n\r\n",
    "no name": POST + b": a\r\n\r\n",
    "a control character": POST + b"A: a\x01b\r\n\r\n",
    "a name with a space": POST + b"A B: a\r\n\r\n",
    "a name that is no token": POST + b"A(: a\r\n\r\n",
    "no host": b"GET /first HTTP/1.1\r\n\r\n",
    "the same host twice": GET + b"Host: x\r\n\r\n",
    "two hosts of HTTP/1.0": b"GET /first HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n",
    "a space in the target": b"GET /first /b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a fragment in the target": b"GET /first#/next HTTP/1.1\r\nHost: x\r\n\r\n",
    "a fragment in the query": b"GET /first?a#b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab in the request line": b"GET\t/first HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space behind the version": b"GET /first HTTP/1.1 \r\nHost: x\r\n\r\n",
    "an unknown method": b"FROB /first HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method in small letters": b"get /first HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/1.2": b"GET /first HTTP/1.2\r\nHost: x\r\n\r\n",
    "HTTP/2.0": b"GET /first HTTP/2.0\r\nHost: x\r\n\r\n",
    "HTTP/0.9, as it was": b"GET /first\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 40,
}
CHUNKS = {
    "a bare line feed behind the size": CHUNKED + b"2\nab\r\n0\r\n\r\n",
    "a bare line feed behind the data": CHUNKED + b"2\r\nab\n0\r\n\r\n",
    "nothing behind the data": CHUNKED + b"2\r\nab0\r\n\r\n",
    "more data than announced": CHUNKED + b"2\r\nabc\r\n0\r\n\r\n",
    "a bare line feed in an extension": CHUNKED + b"2;a\nab\r\n0\r\n\r\n",
    "a carriage return in an extension": CHUNKED + b"2;a\rb\r\nab\r\n0\r\n\r\n",
    "a line break in a quoted extension": CHUNKED + b'2;a="b\r\n"\r\nab\r\n0\r\n\r\n',
    "a space behind the size": CHUNKED + b"2 \r\nab\r\n0\r\n\r\n",
    "a space before the size": CHUNKED + b" 2\r\nab\r\n0\r\n\r\n",
    "a size beyond 64 bits": CHUNKED + b"10000000000000002\r\nab\r\n0\r\n\r\n",
    "a bare line feed at the end": CHUNKED + b"2\r\nab\r\n0\r\n\n",
    "a folded trailer": CHUNKED + b"2\r\nab\r\n0\r\nA: b\r\n c\r\n\r\n",
    "a trailer that is none": CHUNKED + b"2\r\nab\r\n0\r\nA B: a\r\n\r\n",
}
# What may be written in more than one way and is read in the same one by everybody.
GOOD = {
    "a length": (POST + b"Content-Length: 2\r\n\r\nab", ["/first 2", "/next 0"]),
    "a length with zeros and spaces": (POST + b"Content-Length:  002 \r\n\r\nab", ["/first 2", "/next 0"]),
    "chunks": (CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", ["/first 3", "/next 0"]),
    "a coding in capitals": (POST + b"TRANSFER-ENCODING: ChunKed\r\n\r\n2\r\nab\r\n0\r\n\r\n", ["/first 2", "/next 0"]),
    "sizes with zeros": (CHUNKED + b"0" * 30 + b"2\r\nab\r\n00000\r\n\r\n", ["/first 2", "/next 0"]),
    "extensions": (CHUNKED + b'2;a=b;c="d"\r\nab\r\n0;e\r\n\r\n', ["/first 2", "/next 0"]),
    "a trailer": (CHUNKED + b"2\r\nab\r\n0\r\nHost: evil\r\nAuthorization: x\r\n\r\n", ["/first 2", "/next 0"]),
    "a name like a length": (POST + b"Content_Length: 5\r\n\r\n", ["/first 0", "/next 0"]),
    "empty lines before": (b"\r\n\r\n" + GET + b"\r\n", ["/first 0", "/next 0"]),
    "two spaces behind the method": (b"GET  /first HTTP/1.1\r\nHost: x\r\n\r\n", ["/first 0", "/next 0"]),
    "a body of a GET": (GET + b"Content-Length: 2\r\n\r\nab", ["/first 2", "/next 0"]),
    "an expectation": (POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab", ["100", "/first 2", "/next 0"]),
    "the end of the connection": (GET + b"Connection: a, close\r\n\r\n", ["/first 0"]),
    "HTTP/1.0": (b"GET /first HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", ["/first 0"]),
    "another protocol": (GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", ["/first 0", "/next 0"]),
    "another protocol, with a body": (
        POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(NEXT) + NEXT,
        [f"/first {len(NEXT)}", "/next 0"],
    ),
    "another protocol, in chunks": (
        POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ["/first 2", "/next 0"],
    ),
    "a tunnel": (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", ["x:1 2"]),
}


def told(raw: bytes) -> list[str]:
    """What was answered, in its order: path and size of the body, or the status of what is no 200."""
    found = re.findall(rb"HTTP/1\.1 ([13-9]\d\d)|^([^ \r\n:]*(?::1)? \d+)$", raw, re.MULTILINE)
    return [(status or line).decode() for status, line in found if (status or line) != b"405"]


async def answers(house: House, sent: bytes, *, at_once: bool) -> list[str]:
    """``at_once``: in one packet; else each byte in one of its own, as far as the server reads."""
    dialed = await house.dial(sent if at_once else b"")
    if not at_once:
        await drip(dialed, sent)
    return told(await rest_of(dialed))


async def drip(dialed: Dialed, sent: bytes, size: int = 1) -> None:
    for at in range(0, len(sent), size):
        if dialed[1].transport.is_closing() or dialed[0].at_eof():
            return
        dialed[1].write(sent[at : at + size])
        await asyncio.sleep(0)


@pytest.mark.parametrize("cases", [FRAMING, LINES, CHUNKS], ids=["framing", "lines", "chunks"])
def test_what_may_be_read_in_two_ways_is_refused(cases: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A 400, closed, and nothing of it handled: neither the request nor what stands behind it."""

    async def check() -> None:
        async with open_house(monkeypatch) as house:
            for name, sent in cases.items():
                assert await answers(house, sent + NEXT, at_once=True) == REFUSED, name

    run(check)


@pytest.mark.parametrize("at_once", [True, False], ids=["one packet", "many"])
def test_what_is_read_in_one_way_is_answered(at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request and the one behind it, each with its own body, however they are cut into packets."""

    async def check() -> None:
        async with open_house(monkeypatch) as house:
            for name, (sent, expected) in GOOD.items():
                more = b"" if len(expected) == 1 and not at_once else NEXT  # sent after the end, it may take the answer away
                assert await answers(house, sent + more, at_once=at_once) == expected, name

    run(check)


def test_a_trailer_is_no_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands behind the last chunk does not reach who handles the request: who asks was settled before."""
    seen: list[list[tuple[bytes, bytes]]] = []

    async def check() -> None:
        async with open_house(monkeypatch) as house:
            app, heard = house.app, asyncio.Event()

            async def listening(scope: dict[str, object], *rest: object) -> None:
                heard.set()
                await app(scope, *rest)  # type: ignore[arg-type]
                seen.append(list(scope["headers"]))  # type: ignore[call-overload]

            house.servers[-1].config.loaded_app = listening
            dialed = await house.dial(CHUNKED + b"2\r\nab\r\n")
            await heard.wait()
            dialed[1].write(b"0\r\nAuthorization: Bearer x\r\n\r\n" + NEXT)
            assert told(await rest_of(dialed)) == ["/first 2", "/next 0"]

    run(check)
    assert [len(headers) for headers in seen] == [2, 2]


@pytest.mark.parametrize("cases", [FRAMING, LINES, CHUNKS], ids=["framing", "lines", "chunks"])
def test_what_is_refused_behind_a_request_waits_for_its_answer(
    cases: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 400 to what comes next must not be taken for the answer to a request that is being handled, or that waits for one: it
    comes behind theirs, and takes none away."""

    async def check() -> None:
        async with open_house(monkeypatch) as house:
            for name, sent in cases.items():
                for before in (1, 3):
                    found = await answers(house, (GET + b"\r\n") * before + sent + NEXT, at_once=True)
                    assert found == ["/first 0"] * before + ["400"], name
            await until(lambda: house.connections() == 0 and house.running == 0)

    run(check)


@pytest.mark.parametrize(
    ("start", "more", "status"),
    [
        (GET + b"A: ", b"a", "431"),
        (GET, b"A: a\r\n", "431"),
        (b"GET /", b"a", "431"),
        (CHUNKED + b"2;a=", b"a", "400"),
        (CHUNKED + b"0\r\nA: ", b"a", "400"),
        (CHUNKED + b"0\r\n", b"A: a\r\n", "400"),
    ],
    ids=["a header", "headers", "a target", "an extension", "a trailer", "trailers"],
)
def test_lines_without_an_end_are_refused(start: bytes, more: bytes, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more of a head, of a chunk's line or of trailers is kept than a head may have, in one packet or in many."""

    async def check() -> None:
        async with open_house(monkeypatch) as house:
            many = more * (2 * connection.HEAD_BYTES_MAX // len(more))
            for at_once in (True, False):
                dialed = await house.dial(start + (many if at_once else b""))
                if not at_once:
                    await drip(dialed, many, 500)
                assert told(await rest_of(dialed)) in ([status], [])  # what was sent on after the end may take the answer away
                await until(lambda: house.connections() == 0 and house.running == 0)

    run(check)


def test_requests_that_wait_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is handled, those behind it are not made into requests by the thousand; reading stops, and they are answered
    when their turn comes."""
    most = 0

    async def check() -> None:
        nonlocal most
        async with open_house(monkeypatch) as house:
            app, go = house.app, asyncio.Event()

            async def slow(*asked: object) -> None:
                nonlocal most
                await go.wait()
                for each in house.servers[-1].server_state.connections:
                    most = max(most, len(each.pipeline))
                await app(*asked)  # type: ignore[arg-type]

            house.servers[-1].config.loaded_app = slow
            dialed = await house.dial((GET + b"\r\n") * 2000 + NEXT)
            await until(lambda: any(each.pipeline for each in house.servers[-1].server_state.connections))
            go.set()
            assert told(await rest_of(dialed)) == ["/first 0"] * 2000 + ["/next 0"]

    run(check)
    assert 0 < most <= connection.PIECE_BYTES // 20


def test_requests_behind_another_are_not_begun_at_the_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is being handled is answered; what waits behind it is for the client's next connection."""

    async def check() -> None:
        go = asyncio.Event()
        async with open_house(monkeypatch) as house:
            app = house.app

            async def slow(*asked: object) -> None:
                await go.wait()
                await app(*asked)  # type: ignore[arg-type]

            house.servers[-1].config.loaded_app = slow
            dialed = await house.dial((GET + b"\r\n") * 5)
            await until(lambda: any(each.pipeline for each in house.servers[-1].server_state.connections))
            asyncio.get_running_loop().call_later(0.05, go.set)
        raw = await rest_of(dialed)
        assert (told(raw), house.done) == (["/first 0"], 1)

    run(check)


def test_a_body_that_was_not_asked_for_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that waits for a word before it sends, and gets the answer instead, may send its body or not: what comes next
    could be taken for it, so nothing is read any more."""

    async def check() -> None:
        async with open_house(monkeypatch) as house:

            async def early(_: object, __: object, send: Callable[[object], Awaitable[None]]) -> None:
                await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
                await send({"type": "http.response.body", "body": b"/early 0"})

            house.servers[-1].config.loaded_app = early
            dialed = await house.dial(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            assert told(await rest_of(dialed)) == ["/early 0"]
            await until(lambda: house.connections() == 0)

    run(check)


@pytest.mark.parametrize("bad", [b"a\r\nSet-Cookie: x", b"a\nb", b"a\rb", b"a\x00b"])
def test_an_answer_cannot_be_split(bad: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header with a line break in it is a 500 and no second header, whatever a handler was made to say."""

    async def check() -> None:
        async with open_house(monkeypatch) as house:

            async def split(_: object, __: object, send: Callable[[object], Awaitable[None]]) -> None:
                headers = [(b"location", bad), (b"content-length", b"2")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": b"ab"})

            house.servers[-1].config.loaded_app = split
            raw = await rest_of(await house.dial(NEXT))
            assert b"Set-Cookie" not in raw
            assert not raw.startswith(b"HTTP/1.1 200")

    run(check)


@pytest.mark.parametrize(
    ("method", "headers", "body", "raw"),
    [
        (b"GET", [(b"content-length", b"2")], b"ab", b"content-length: 2\r\nconnection: close\r\n\r\nab"),
        (b"GET", [], b"ab", b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
        (
            b"GET",
            [(b"X-Own", b"1"), (b"content-length", b"0")],
            b"",
            b"x-own: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        ),
        (b"HEAD", [(b"content-length", b"2")], b"ab", b"content-length: 2\r\nconnection: close\r\n\r\n"),
        (b"GET", None, b"", b"Internal Server Error"),
    ],
    ids=["whole", "in chunks", "another header", "HEAD", "fails before its body"],
)
def test_every_answer_is_one_answer(
    method: bytes, headers: list[tuple[bytes, bytes]] | None, body: bytes, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain ones, written in one piece, and all others end as HTTP wants it; a handler that fails between head and body is a
    500, of which the head that it had begun is no part."""

    async def check() -> None:
        async with open_house(monkeypatch) as house:

            async def app(_: object, __: object, send: Callable[[object], Awaitable[None]]) -> None:
                await send({"type": "http.response.start", "status": 200, "headers": headers or []})
                if headers is None:
                    raise ValueError
                await send({"type": "http.response.body", "body": body})

            house.servers[-1].config.loaded_app = app
            said = await rest_of(await house.dial(NEXT.replace(b"GET", method)))
            assert said.startswith(b"HTTP/1.1 200 OK\r\ndate: " if headers is not None else b"HTTP/1.1 500 ")
            assert said.endswith(raw)
            assert said.count(b"HTTP/1.1") == 1

    run(check)
