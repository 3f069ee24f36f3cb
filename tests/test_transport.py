"""The transport against real servers on loopback: it sends once, exactly, and never calls a sent request unsent."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from payonce import http1
from payonce.core.payment import StoredRequest
from payonce.ports import Lost, Response
from payonce.transport import BODY_BYTES_MAX, HttpTransport

S = 1_000_000
NOW = 1_800_000_000 * S
MOUNT = "http://sandbox.payonce.invalid"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Seen: Yes\r\nSet-Cookie: a=b\r\n\r\nok"


class Hands:
    """A clock that is set by hand; ``jumps`` moves one of the two forward at a given look at it."""

    def __init__(self, jump_at: int = 0, jump_wall_us: int = 0, jump_monotonic_us: int = 0) -> None:
        self.wall, self.monotonic, self.looks = NOW, 5 * S, 0
        self.jump_at, self.jump_wall_us, self.jump_monotonic_us = jump_at, jump_wall_us, jump_monotonic_us

    def now_us(self) -> int:
        self.looks += 1
        if self.looks == self.jump_at:
            self.wall += self.jump_wall_us
            self.monotonic += self.jump_monotonic_us
        return self.wall

    def monotonic_us(self) -> int:
        return self.monotonic

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Server:
    """Reads whole requests and writes what ``answer`` says; keeps every byte and every connection it saw.

    ``None`` drops the connection, ``b""`` never answers."""

    def __init__(self, answer: Callable[[int], bytes | None]) -> None:
        self.answer, self.requests, self.connections, self.port = answer, list[bytes](), 0, 0
        self.greeting = b""
        self.open = list[tuple[Any, asyncio.StreamWriter]]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(self.greeting)
        self.open.append((asyncio.current_task(), writer))
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().split("\r\n")
                length = next((int(line[15:]) for line in lines if line.startswith("content-length:")), 0)
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answer(len(self.requests))
                if answer is None:
                    break
                writer.write(answer)
                if b"Connection: close" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


@asynccontextmanager
async def serving(answer: Callable[[int], bytes | None]):  # type: ignore[no-untyped-def]
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for _, writer in server.open:
            writer.close()
        await asyncio.gather(*(task for task, _ in server.open), return_exceptions=True)


def stored(url: str, path: str = "/charges", method: str = "POST") -> StoredRequest:
    headers = (("content-type", "application/json"), ("idempotency-key", "k1"))
    return StoredRequest(
        account="a", mode="test", credential_id="c", base_url=url, api_version="1", method=method, path=path, headers=headers
    )


async def sent(
    transport: HttpTransport, url: str, *, path: str = "/charges", body: bytes = b'{"a":1}', timeout_ms: int = 5000
) -> Response | Lost:
    secret = {"authorization": "Bearer s"}
    return await transport.send(stored(url, path), body, secret, send_by_us=NOW + 5 * S, timeout_ms=timeout_ms)


def run(
    answer: Callable[[int], bytes | None], use: Callable[[Server, HttpTransport], Awaitable[Any]], clock: Any = None
) -> Any:
    async def main() -> Any:
        transport = HttpTransport(clock or Hands())
        async with serving(answer) as server:
            try:
                return await use(server, transport)
            finally:
                await transport.close()

    return asyncio.run(main())


def test_what_is_sent_is_the_stored_request_byte_for_byte() -> None:
    """Method, path, headers, secret headers and body arrive as given, with nothing added that could change between sends."""
    body = '{"amount": 10,  "ü":"\\u0000"}'.encode()

    async def use(server: Server, transport: HttpTransport) -> bytes:
        await sent(transport, server.url + "/v1", path="/charges?reference=a%2Fb&x=%C3%BC", body=body)
        return server.requests[0]

    head, _, got = run(lambda _: OK, use).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert got == body
    assert lines[0] == "POST /v1/charges?reference=a%2Fb&x=%C3%BC HTTP/1.1"
    names = {line.split(":")[0].lower() for line in lines[1:]}
    assert names == {"host", "content-length", "accept-encoding", "content-type", "idempotency-key", "authorization"}
    assert "authorization: Bearer s" in lines


def test_answer_arrives_whole_with_lower_case_names() -> None:
    """A whole answer is a Response; header names are in lower case."""
    answer = run(lambda _: OK, lambda server, transport: sent(transport, server.url))
    assert (answer.status, answer.body, answer.headers["x-seen"]) == (200, b"ok", "Yes")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 No\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 No\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\nhalf",
        b"not http at all\r\n\r\n",
        None,
    ],
)
def test_one_send_is_one_request(answer: bytes | None) -> None:
    """House rule 5: whatever comes back, nothing is sent again: retries and redirects are off."""

    async def use(server: Server, transport: HttpTransport) -> int:
        await sent(transport, server.url)
        return len(server.requests)

    assert run(lambda _: answer, use) == 1


def test_cookies_are_not_kept() -> None:
    """A cookie that a vendor sets is not sent back: every send carries the stored request only."""

    async def use(server: Server, transport: HttpTransport) -> bytes:
        await sent(transport, server.url)
        await sent(transport, server.url)
        return server.requests[1]

    assert b"cookie" not in run(lambda _: OK, use).lower()


def test_proxy_from_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy variables do not change where a request goes."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    answer = run(lambda _: OK, lambda server, transport: sent(transport, server.url))
    assert isinstance(answer, Response)


def test_refused_connection_is_not_sent() -> None:
    """Nobody listens: no byte left."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        lost = run(lambda _: OK, lambda _, transport: sent(transport, url))
    assert lost == Lost(sent=False, reason="the connection was refused")


def test_failed_tls_handshake_is_not_sent() -> None:
    """A server that speaks no TLS gets no byte of the request."""

    async def use(server: Server, transport: HttpTransport) -> Any:
        server.greeting = b"no tls here\r\n\r\n"
        return await sent(transport, server.url.replace("http", "https")), server.connections

    lost, connections = run(lambda _: OK, use)
    assert lost.sent is False
    assert connections == 1, "the connection was tried again"


@pytest.mark.parametrize("whole_ms", [300, 150])
def test_stalled_tls_handshake_is_not_sent(whole_ms: int) -> None:
    """A handshake that never ends runs into the timeout without a byte of the request sent."""

    async def use(server: Server, transport: HttpTransport) -> Any:
        return await sent(transport, server.url.replace("http", "https"), timeout_ms=whole_ms)

    assert run(lambda _: b"", use).sent is False


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "the connection was closed without an answer"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\nhalf",
            "the connection was closed in the middle of the answer",
        ),
        (b"garbage\r\n\r\n", "the answer is no HTTP, or its head is too large"),
        (b"", "timeout after 200 ms while waiting for the answer"),
    ],
)
def test_lost_answer_is_sent(answer: bytes | None, reason: str) -> None:
    """Once the request left, anything but a whole answer is a loss of something that was sent."""
    lost = run(lambda _: answer, lambda server, transport: sent(transport, server.url, timeout_ms=200))
    assert lost == Lost(sent=True, reason=reason)


def test_reused_connection_never_counts_as_not_sent() -> None:
    """A kept connection that dies under the second request may have carried it."""

    async def use(server: Server, transport: HttpTransport) -> tuple[Any, int]:
        await sent(transport, server.url)
        return await sent(transport, server.url), server.connections

    lost, connections = run(lambda n: OK if n == 1 else None, use)
    assert connections == 1
    assert lost.sent is True


def test_answer_above_the_cap_is_lost() -> None:
    """More than a mebibyte is not read to the end, and proves nothing."""
    large = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1) + b"x" * (BODY_BYTES_MAX + 1)
    lost = run(lambda _: large, lambda server, transport: sent(transport, server.url))
    assert lost == Lost(sent=True, reason=f"the answer is larger than {BODY_BYTES_MAX} bytes")


# Looks at the wall clock: 1 converts the deadline, 2 is the check before connecting, 3 the check before the first byte.
@pytest.mark.parametrize("look", [2, 3])
@pytest.mark.parametrize(("wall_us", "monotonic_us"), [(6 * S, 0), (0, 6 * S)])
def test_nothing_is_sent_past_the_deadline(look: int, wall_us: int, monotonic_us: int) -> None:
    """Just before the first byte both clocks are looked at; either of them past the deadline stops the send."""

    async def use(server: Server, transport: HttpTransport) -> tuple[Any, list[bytes], int]:
        return await sent(transport, server.url), server.requests, server.connections

    lost, requests, connections = run(lambda _: OK, use, Hands(look, wall_us, monotonic_us))
    assert lost == Lost(sent=False, reason="the send deadline had passed before the first byte", ours=True)
    assert requests == []
    assert connections <= look - 2


def test_clock_set_back_does_not_lengthen_the_deadline() -> None:
    """The wall clock jumps back an hour while six seconds pass: the monotonic clock stops the send."""
    lost = run(lambda _: OK, lambda server, transport: sent(transport, server.url), Hands(3, -3600 * S, 6 * S))
    assert lost.sent is False


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", "7"), ("Fri, 15 Jan 2027 08:00:30 GMT", "30"), ("Fri, 15 Jan 2027 07:00:00 GMT", "0"), ("soon", "soon")],
)
def test_retry_after_date_becomes_seconds(value: str, seconds: str) -> None:
    """A date is turned into seconds by our clock; what cannot be read stays as it is."""
    assert NOW == 1_800_000_000 * S  # Fri, 15 Jan 2027 08:00:00 GMT
    raw = f"HTTP/1.1 503 No\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n".encode()
    answer = run(lambda _: raw, lambda server, transport: sent(transport, server.url))
    assert answer.headers["retry-after"] == seconds


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:80"])
def test_impossible_address_is_not_sent(url: str) -> None:
    """An address that HTTP cannot reach is a loss without a send, not an exception."""
    assert run(lambda _: OK, lambda _, transport: sent(transport, url)).sent is False


def test_cancellation_passes() -> None:
    """Cancelling the caller cancels the call; it is not turned into an outcome."""

    async def use(server: Server, transport: HttpTransport) -> bool:
        call = asyncio.create_task(sent(transport, server.url))
        while not server.requests:
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return True

    assert run(lambda _: b"", use)


# --- an address that stands for another -----------------------------------------------------------------------------------


def moved(answer: Callable[[int], bytes | None], base_url: str, *, below: str = "") -> tuple[Any, list[bytes]]:
    """What becomes of a request for ``base_url`` when MOUNT is a server elsewhere, and what that server got."""

    async def main() -> tuple[Any, list[bytes]]:
        async with serving(answer) as server:
            transport = HttpTransport(Hands(), moved={MOUNT: server.url + below})
            try:
                return await sent(transport, base_url, path="/charges?a=b%20c"), server.requests
            finally:
                await transport.close()

    return asyncio.run(main())


@pytest.mark.parametrize("below", ["", "/books"])
def test_the_sandbox_elsewhere_gets_the_request(below: str) -> None:
    """What is stored for the sandbox is sent to the server that is named, with the path as it stands."""
    answer, requests = moved(lambda _: OK, MOUNT + "/mock", below=below)
    assert isinstance(answer, Response)
    assert requests[0].startswith(f"POST {below}/mock/charges?a=b%20c HTTP/1.1".encode())


def test_only_the_sandbox_is_elsewhere() -> None:
    """A host that merely begins like it is not sent there."""
    answer, requests = moved(lambda _: OK, MOUNT + "x/mock")
    assert (isinstance(answer, Lost), requests) == (True, [])


def test_a_server_elsewhere_cannot_lead_on() -> None:
    """A redirect of it is its answer, and a dropped connection is lost and not tried again."""
    redirect = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    answer, requests = moved(lambda _: redirect, MOUNT + "/mock")
    assert (answer.status, len(requests)) == (302, 1)
    lost, requests = moved(lambda _: None, MOUNT + "/mock")
    assert (isinstance(lost, Lost) and lost.sent, len(requests)) == (True, 1)


def test_after_a_freeze_no_connection_is_used_again() -> None:
    """Between two calls the idle connection is kept; after ``drop_idle`` there is none, and a call in flight goes on."""

    async def use(server: Server, transport: HttpTransport) -> tuple[int, int, Any]:
        await sent(transport, server.url)
        await sent(transport, server.url)
        before = server.connections
        flying = asyncio.create_task(sent(transport, server.url))
        while len(server.requests) < 3:
            await asyncio.sleep(0)
        await transport.drop_idle()
        answer = await flying
        await sent(transport, server.url)
        return before, server.connections, answer

    before, after, answer = run(lambda _: OK, use)
    assert (before, after) == (1, 2)
    assert isinstance(answer, Response)


# --- in process ----------------------------------------------------------------------------------------------------------


def in_process(app: Any, *, timeout_ms: int = 1000, clock: Any = None, closing: bool = False) -> Any:
    async def main() -> Any:
        transport = HttpTransport(clock or Hands(), {MOUNT: app})
        call = asyncio.create_task(sent(transport, MOUNT + "/mock", path="/charges?a=b%20c", timeout_ms=timeout_ms))
        if closing:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await transport.close()
        answer = await call
        await transport.close()
        return answer

    return asyncio.run(main())


def test_mounted_app_gets_the_request() -> None:
    """A base URL below a mount is served by the app, with the path below the mount."""
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope, body=(await receive())["body"])
        await send({"type": "http.response.start", "status": 201, "headers": [(b"X-Seen", b"yes")]})
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        await send({"type": "http.response.body", "body": b"k"})

    answer = in_process(app)
    assert answer == Response(status=201, headers={"x-seen": "yes"}, body=b"ok")
    assert (seen["path"], seen["query_string"], seen["body"]) == ("/mock/charges", b"a=b%20c", b'{"a":1}')
    assert (b"authorization", b"Bearer s") in seen["headers"]


async def _raises(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("dropped")


async def _returns(scope: Any, receive: Any, send: Any) -> None:
    return


async def _half(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})


async def _short(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
    await send({"type": "http.response.body", "body": b"half"})


async def _waits(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("app", [_raises, _returns, _half, _short])
def test_mounted_app_without_a_whole_answer_dropped_the_connection(app: Any) -> None:
    """An app that raises, says nothing or stops in the middle is a loss of something that was sent."""
    assert in_process(app).sent is True


def test_mounted_app_goes_on_after_its_caller_gave_up() -> None:
    """Like a vendor on another machine: it hears that the client left, and finishes what it does."""
    finished: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        finished.append((await receive())["type"])

    async def main() -> Any:
        transport = HttpTransport(Hands(), {MOUNT: app})
        lost = await sent(transport, MOUNT, timeout_ms=30)
        async with asyncio.timeout(2):
            while not finished:
                await asyncio.sleep(0)
        await transport.close()
        return lost

    assert asyncio.run(main()) == Lost(sent=True, reason="timeout after 30 ms while waiting for the answer")
    assert finished == ["http.disconnect"]


def test_closing_answers_those_who_wait() -> None:
    """A call in flight when the transport closes is a loss, not a cancellation of its caller."""
    assert in_process(_waits, timeout_ms=5000, closing=True) == Lost(sent=True, reason="the transport was closed", ours=True)


def test_mounted_app_is_not_called_past_the_deadline() -> None:
    """The deadline holds in process too, and says nothing about the provider."""
    lost = in_process(_raises, clock=Hands(3, 6 * S))
    assert (lost.sent, lost.ours) == (False, True)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_no_file_left_says_nothing_of_the_provider(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """This process, or this machine, may open no more: nothing was sent, and no breaker opens for it."""

    async def refuses(*_: Any, **__: Any) -> http1.Connection:
        raise OSError(number, "Too many open files")

    async def main() -> Any:
        transport = HttpTransport(Hands())
        lost = await sent(transport, "http://127.0.0.1:1")
        await transport.close()
        return lost

    monkeypatch.setattr(http1, "dial", refuses)
    assert asyncio.run(main()) == Lost(sent=False, reason="OSError", ours=True)
