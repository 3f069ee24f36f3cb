"""The HTTP server on a real port: half-sent requests, bytes that are no HTTP, large heads, and the drain."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from payonce.api.app import create_app
from payonce.api.incoming import HEAD_BYTES_MAX, HEADERS_MAX
from payonce.httpd import Limits, bind, http_server
from payonce.stores.memory import MemoryStore
from payonce.telemetry import OTHERS, configure

from .service import CARD, GOOD, all_ok, engine_over, open_door

QUICK_S = 5  # generous: what is expected takes a fraction of it, what was wrong took at least 20 s
HEAD = b"POST /payments HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIdempotency-Key: k1\r\n"
LOGGERS = ("uvicorn.error", "asyncio")

Socket = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Port:
    """A listening server with a store behind; ``dial`` opens a connection and sends."""

    def __init__(self, number: int, store: MemoryStore) -> None:
        self.number, self.store = number, store

    async def dial(self, sent: bytes) -> Socket:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        writer.write(sent)
        await writer.drain()
        return reader, writer

    async def told(self, sent: bytes) -> bytes:
        """All that comes back until the server closes."""
        reader, writer = await self.dial(sent)
        try:
            return await to_the_end(reader)
        finally:
            writer.close()


async def to_the_end(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(QUICK_S):
        with contextlib.suppress(ConnectionResetError):
            return await reader.read()
    return b""


@contextlib.asynccontextmanager
async def listening(store: MemoryStore | None = None, *, drain_s: int = 20, **limits: float) -> AsyncIterator[Port]:
    rows = store or MemoryStore()
    given = {"body_s": limits["body_s"]} if "body_s" in limits else {}
    engine = engine_over(rows)
    app = create_app(engine, door=open_door(engine), ready=all_ok, **given)
    sock = bind("127.0.0.1", 0)
    heads = Limits(head_s=limits["head_s"]) if "head_s" in limits else None
    async with http_server(app, sock, drain_s=drain_s, limits=heads):
        yield Port(sock.getsockname()[1], rows)


def run(check: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(4 * QUICK_S):
            await check()

    asyncio.run(bounded())


def answer_of(raw: bytes) -> tuple[int, dict[bytes, bytes], dict[str, Any]]:
    """Status, headers and problem of a whole answer."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines)
    assert headers[b"content-type"] == b"application/problem+json", raw
    return int(first.split()[1]), headers, json.loads(body)


def noise(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Tracebacks, and what the server or the loop call errors."""
    return [r.getMessage() for r in caplog.records if r.exc_info or (r.name in LOGGERS and r.levelno >= logging.ERROR)]


def test_a_half_sent_body_is_a_408_and_leaves_nothing() -> None:
    """A body that does not come is refused as body_timeout and the connection closed; the same key then works."""

    async def check() -> None:
        async with listening(body_s=0.1) as port:
            status, headers, told = answer_of(await port.told(HEAD + b'Content-Length: 60\r\n\r\n{"amount": 10'))
            assert (status, told["code"], headers[b"connection"]) == (408, "body_timeout", b"close")
            assert "moved no money" in told["money"]
            assert "same key" in told["next"]
            whole = json.dumps(GOOD).encode()
            again = await port.told(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(whole) + whole)
            assert again.startswith(b"HTTP/1.1 202")

    run(check)


def test_a_body_that_trickles_has_the_same_deadline() -> None:
    """The deadline is for the whole body: single bytes do not put it off."""

    async def check() -> None:
        async with listening(body_s=0.3) as port:
            reader, writer = await port.dial(HEAD + b"Content-Length: 60000\r\n\r\n")

            async def trickle() -> None:
                with contextlib.suppress(ConnectionError):
                    while True:
                        writer.write(b" ")
                        await writer.drain()
                        await asyncio.sleep(0.01)

            drip = asyncio.create_task(trickle())
            async with asyncio.timeout(QUICK_S):
                first = await reader.readline()
            drip.cancel()
            writer.close()
            assert first.split()[1] == b"408"

    run(check)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"POST /payments HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nabc",
    ],
    ids=["nothing", "half a head", "an answered request whose body never ends"],
)
def test_a_head_that_does_not_come_is_closed(sent: bytes) -> None:
    """A connection that owes us bytes while nobody reads them is closed at the deadline, also when it trickles."""

    async def check() -> None:
        async with listening(head_s=0.2) as port:
            reader, writer = await port.dial(sent)

            async def trickle() -> None:
                with contextlib.suppress(ConnectionError):
                    while sent:
                        await asyncio.sleep(0.05)
                        writer.write(b"a")
                        await writer.drain()

            drip = asyncio.create_task(trickle())
            answer = await to_the_end(reader)
            drip.cancel()
            writer.close()
            assert answer[:12] in (b"", b"HTTP/1.1 415")

    run(check)


def test_a_kept_connection_works_again_after_a_rest() -> None:
    """The deadline of a head counts from its own first chance, not from the first request of the connection."""

    async def check() -> None:
        async with listening(head_s=0.3) as port:
            reader, writer = await port.dial(b"")
            for _ in range(4):
                await asyncio.sleep(0.15)
                writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                async with asyncio.timeout(QUICK_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(17)
                assert head.startswith(b"HTTP/1.1 200")
            writer.close()

    run(check)


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b'Content-Length: 60\r\n\r\n{"amount"',
        HEAD,
        b"",
        HEAD + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["half a body", "half a head", "nothing", "an answered request"],
)
def test_half_sent_requests_do_not_hold_up_the_drain(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """With connections that owe us bytes the server ends at once, and quietly: no traceback, no error."""

    async def check() -> None:
        loop = asyncio.get_running_loop()
        async with listening() as port:
            open_ones = [await port.dial(sent) for _ in range(5)]
            await port.told(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")  # all of them were seen
            ends = loop.time() + QUICK_S
        assert loop.time() < ends
        for reader, writer in open_ones:
            assert b" 500 " not in await to_the_end(reader)
            writer.close()

    run(check)
    assert noise(caplog) == []


def test_a_body_still_coming_at_the_drain_is_taken() -> None:
    """A request whose rest arrives right after the stop is answered, not cut."""

    async def check() -> None:
        whole = json.dumps(GOOD).encode()
        async with listening() as port:
            reader, writer = await port.dial(HEAD + b"Content-Length: %d\r\n\r\n" % len(whole) + whole[:9])
            await port.told(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

            async def rest() -> None:
                await asyncio.sleep(0.2)
                writer.write(whole[9:])

            late = asyncio.create_task(rest())
        assert (await to_the_end(reader)).startswith(b"HTTP/1.1 202")
        await late
        writer.close()

    run(check)


def test_a_request_cut_by_the_end_of_the_drain_is_told_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    """A write that outlasts the drain is answered 503 retry_same_key, without a traceback."""

    class Stuck(MemoryStore):
        async def commit(self, *_: object) -> Any:
            begun.set()
            await asyncio.Event().wait()

    begun = asyncio.Event()

    async def check() -> None:
        whole = json.dumps(GOOD).encode()
        async with listening(Stuck(), drain_s=1) as port:
            reader, writer = await port.dial(HEAD + b"Content-Length: %d\r\n\r\n" % len(whole) + whole)
            await begun.wait()
        status, _, told = answer_of(await to_the_end(reader))
        assert (status, told["code"]) == (503, "retry_same_key")
        assert "not known" in told["detail"]
        writer.close()

    run(check)
    assert [r for r in caplog.records if r.exc_info] == []


def test_two_framings_of_one_body_are_refused() -> None:
    """Content-Length beside Transfer-Encoding: readers disagree about where the body ends, so it is a 400, then closed."""

    async def check() -> None:
        async with listening() as port:
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(json.dumps(GOOD)), json.dumps(GOOD).encode())
            raw = await port.told(HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
            status, headers, told = answer_of(raw)
            assert (status, told["code"], headers[b"connection"]) == (400, "body_invalid", b"close")
            assert sum((await port.store.counts()).values()) == 0

    run(check)


def test_too_many_headers_are_refused() -> None:
    """One header more than the limit is 431, the limit itself is served; reads get the text of reads."""

    async def check() -> None:
        async with listening() as port:
            for extra, expected in ((0, 200), (1, 431)):
                lines = b"".join(b"X-%d: a\r\n" % n for n in range(HEADERS_MAX - 2 + extra))
                raw = await port.told(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lines + b"\r\n")
                assert int(raw.split()[1]) == expected
            _, _, told = answer_of(raw)
            assert told["code"] == "headers_too_large"
            assert "payment" not in told["money"]

    run(check)


def test_a_large_head_is_refused_whole_and_in_parts() -> None:
    """A head beyond the limit never reaches a handler, whether it comes in one piece or never ends."""

    async def check() -> None:
        async with listening() as port:
            start = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Big: "
            status, _, told = answer_of(await port.told(start + b"a" * HEAD_BYTES_MAX + b"\r\n\r\n"))
            assert (status, told["code"]) == (431, "headers_too_large")
            reader, writer = await port.dial(start)
            for _ in range(4):
                writer.write(b"a" * (HEAD_BYTES_MAX // 3))
                await asyncio.sleep(0.02)
            assert (await to_the_end(reader))[:12] in (b"HTTP/1.1 431", b"")
            writer.close()

    run(check)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00 garbage\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nnothex\r\n",
        HEAD.replace(b"application/json", b"text/plain") + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\nnothex\r\n",
    ],
)
def test_what_is_no_http_is_closed_quietly(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Bytes that break HTTP are answered 400 where an answer is still possible, and closed: one warning, no traceback."""

    async def check() -> None:
        async with listening() as port:
            assert (await port.told(sent))[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 415")
            assert sum((await port.store.counts()).values()) == 0

    run(check)
    assert noise(caplog) == []


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"CONNECT pay.example:443", 404),
        (b"GET http://169.254.169.254/latest", 404),
        (b"GET http://x/livez", 404),
        (b"OPTIONS *", 404),
        (b"TRACE /payments", 405),
        (b"GET //livez", 404),
        (b"GET /../livez", 404),
        (b"GET /livez%00", 404),
        (b"GET /%ff%fe", 404),
    ],
)
def test_unusual_targets_lead_nowhere(start: bytes, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Other forms of a target than a path of ours are nothing that there is: no proxy, no second name of a path, no error."""

    async def check() -> None:
        async with listening() as port:
            raw = await port.told(start + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            found, _, told = answer_of(raw)
            assert (found, told["code"]) == (status, "not_found" if status == 404 else "method_not_allowed")

    run(check)
    assert noise(caplog) == []


def test_a_body_that_breaks_after_its_answer_is_closed_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """What was answered already cannot become a 400: the connection is closed, and nothing fails for it."""

    async def check() -> None:
        async with listening() as port:
            head = HEAD.replace(b"application/json", b"text/plain") + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
            reader, writer = await port.dial(head)
            async with asyncio.timeout(QUICK_S):
                assert (await reader.readline()).split()[1] == b"415"
            writer.write(b"nothex\r\n")
            assert b"HTTP/1.1" not in await to_the_end(reader)
            writer.close()

    run(check)
    assert noise(caplog) == []


@pytest.fixture
def own_logging() -> Iterator[None]:
    """What ``configure`` changes is put back."""
    loggers = [logging.getLogger(name) for name in ("payonce", *OTHERS)]
    before = [(each, each.handlers[:], each.level, each.propagate) for each in loggers]
    yield
    for each, handlers, level, propagate in before:
        each.handlers[:] = handlers
        each.setLevel(level)
        each.propagate = propagate


@pytest.mark.usefixtures("own_logging")
def test_the_server_logs_in_our_form(capsys: pytest.CaptureFixture[str]) -> None:
    """What uvicorn and asyncio have to say is a line of JSON like ours, without card numbers."""
    configure(json=True)

    async def check() -> None:
        async with listening() as port:
            await port.told(b"garbage\r\n\r\n")

    run(check)
    logging.getLogger("asyncio").error("lost %s", CARD)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(each["component"], each["level"]) for each in lines] == [("uvicorn.error", "warning"), ("asyncio", "error")]
    assert all(each["timestamp"] and each["event"] for each in lines)
    assert CARD not in str(lines)
