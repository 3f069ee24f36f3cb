"""One POST to a stranger: nothing that it does holds us up, grows our memory, or leads us elsewhere."""

import asyncio
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from payonce import http1
from payonce.bootstrap import SystemClock
from payonce.core.errors import Refused
from payonce.outbound.endpoints import Endpoints
from payonce.outbound.guard import Allowed, read_allowed
from payonce.outbound.sending import DRAIN_BYTES_MAX, HttpSender, Sent, retry_after_s

from . import hostile
from .hostile import Behaviour, Served, answers, repeats, serving
from .room import KEY, SCOPE, Room, run

HERE = read_allowed("127.0.0.1")
PEM = Path(__file__).with_name("certificate.pem")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BODY = b'{"type":"payment.succeeded"}'
PATIENCE_S = 30.0  # of a test; what is seen takes far less


def sender(allowed: Allowed = HERE, timeout_ms: int = 20_000, **more: Any) -> HttpSender:
    return HttpSender(SystemClock(), allowed, timeout_ms=timeout_ms, **more)


def posted(behave: Behaviour, *, timeout_ms: int = 20_000, body: bytes = BODY) -> Sent:
    """What one POST to such a receiver comes to."""

    async def check() -> Sent:
        async with asyncio.timeout(PATIENCE_S), serving(behave) as at:
            return await sender(timeout_ms=timeout_ms).post(f"http://127.0.0.1:{at.port}/in?a=b", {"x-test": "1"}, body)

    return asyncio.run(check())


def test_what_is_sent() -> None:
    """One request in HTTP/1.1 with its length, our name, and nothing that asks for compression or another request."""
    got = list[bytes]()

    async def keeps(reader: hostile.Reader, writer: hostile.Writer) -> None:
        got.append(await hostile.request(reader))
        writer.write(OK)

    assert posted(keeps) == Sent(status=200)
    head, _, body = got[0].partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "post /in?a=b http/1.1"
    assert body == BODY
    named = dict(line.split(": ", 1) for line in lines[1:])
    assert named["host"].startswith("127.0.0.1:")
    assert named["user-agent"].startswith("payonce/")
    assert (named["content-length"], named["x-test"]) == (str(len(BODY)), "1")
    assert (named["accept-encoding"], named["connection"]) == ("identity", "close")


@pytest.mark.parametrize("status", [200, 201, 204, 299, 400, 404, 410, 429, 500, 503])
def test_the_status_is_what_counts(status: int) -> None:
    """And its own words, never those of the other end."""
    raw = f"HTTP/1.1 {status} leak-in-the-reason\r\ncontent-length: 0\r\n\r\n".encode()
    sent = posted(answers(raw))
    assert sent.status == status
    assert sent.said == ("" if status < 300 else f"it answered {status}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("to", ["http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:PORT/other", "/other"])
def test_a_redirect_is_not_followed(status: int, to: str) -> None:
    """It is a failure, and there is no second request, wherever it leads."""

    async def check() -> None:
        got = list[bytes]()

        async def leads_on(reader: hostile.Reader, writer: hostile.Writer) -> None:
            got.append(await hostile.request(reader))
            where = to.replace("PORT", str(at.port))
            writer.write(f"HTTP/1.1 {status} Go\r\nlocation: {where}\r\ncontent-length: 0\r\n\r\n".encode())

        async with asyncio.timeout(PATIENCE_S), serving(leads_on) as at:
            sent = await sender().post(f"http://127.0.0.1:{at.port}/", {}, BODY)
            assert (sent.status, at.connections, len(got)) == (status, 1, 1)
            assert "not followed" in sent.said
            assert "169.254" not in sent.said

    asyncio.run(check())


HOSTILE: dict[str, Behaviour] = {
    "silent": hostile.silent,
    "deaf": hostile.deaf,
    "reset": hostile.resets,
    "hangs up": hostile.hangs_up,
    "slow head": repeats(b"HTTP/1.1 200 OK\r\n", b"a"),
    "slow status line": repeats(b"", b"H"),
    "head without an end": repeats(b"HTTP/1.1 200 OK\r\n", b"x-a: " + b"b" * 500 + b"\r\n"),
    "one huge header": repeats(b"HTTP/1.1 200 OK\r\nx-a: ", hostile.CHUNK),
    "interim flood": repeats(b"", b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n" * 50),
    "interim drip": repeats(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "switches": answers(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
    "http/0.9": answers(b"ok, got it\n"),
    "not http": answers(b"\x00\xff" * 1000),
    "ssh": repeats(b"SSH-2.0-OpenSSH_9.6\r\n", b"", reads=False),
    "no status": answers(b"HTTP/1.1 \r\n\r\n"),
    "big status": answers(b"HTTP/1.1 99999 OK\r\n\r\n"),
    "two lengths": answers(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx"),
    "line folding": answers(b"HTTP/1.1 200 OK\r\n x: y\r\n\r\n"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_answer_is_a_failure_within_the_deadline(name: str) -> None:
    """However it is withheld; the text is ours."""
    sent = posted(HOSTILE[name], timeout_ms=500)
    assert sent.status == 0
    assert 0 < len(sent.said) < 100
    assert "OpenSSH" not in sent.said


NOT_HTTP = "the answer is no HTTP, or its head is too large"
AT_ONCE = {
    "interim flood": "it sent too many interim answers",
    "interim drip": "it sent too many interim answers",
    "switches": NOT_HTTP,
    "head without an end": NOT_HTTP,
    "one huge header": NOT_HTTP,
    "http/0.9": NOT_HTTP,
    "not http": NOT_HTTP,
    "two lengths": NOT_HTTP,
    "hangs up": "the connection was closed without an answer",
}


@pytest.mark.parametrize("name", AT_ONCE)
def test_what_can_be_no_answer_is_not_waited_for(name: str) -> None:
    """Long before the deadline: it is known what is wrong."""
    assert posted(HOSTILE[name], timeout_ms=25_000) == Sent(said=AT_ONCE[name])


def test_little_of_an_endless_body_is_taken() -> None:
    """What fits into the buffers between us, and not what flows in two seconds."""
    sent = [0]

    async def pours(reader: hostile.Reader, writer: hostile.Writer) -> None:
        await hostile.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(hostile.CHUNK)
            await writer.drain()
            sent[0] += len(hostile.CHUNK)

    assert posted(pours) == Sent(status=200)
    assert sent[0] < 20_000_000


ENDLESS: dict[str, Behaviour] = {
    "never ending": repeats(b"HTTP/1.1 200 OK\r\n\r\n", hostile.CHUNK),
    "never ending chunks": repeats(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"10000\r\n" + hostile.CHUNK + b"\r\n"
    ),
    "dripping": repeats(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b"x"),
    "cut": answers(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf"),
    "broken chunks": answers(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
    "bomb": repeats(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n", b"\x1f\x8b\x08" + b"\x00" * 60_000),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_body_is_dropped_and_changes_nothing(name: str) -> None:
    """Its head said that it was taken; what follows is read a little and never unpacked."""
    assert posted(ENDLESS[name]) == Sent(status=200)


def test_memory_does_not_grow_with_what_is_sent_to_us() -> None:
    """Thirty receivers that send without end, all at once: no more is held than what one read takes for each."""

    async def check() -> int:
        async with asyncio.timeout(PATIENCE_S):
            async with serving(ENDLESS["never ending"]) as one, serving(HOSTILE["one huge header"]) as two:
                out = sender()
                tracemalloc.start()
                await asyncio.gather(
                    *(out.post(f"http://127.0.0.1:{at.port}/", {}, BODY) for at in (one, two) for _ in range(15))
                )
                _, most = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                return most

    assert asyncio.run(check()) < 30 * (4 * DRAIN_BYTES_MAX + 2 * len(hostile.CHUNK)) + 5_000_000


def test_no_connection_at_all() -> None:
    """A port where nobody listens."""

    async def check() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            sent = await sender().post(f"http://127.0.0.1:{free.getsockname()[1]}/", {}, BODY)
        assert sent == Sent(said="the connection was refused")

    asyncio.run(check())


def test_a_large_body_is_answered_before_it_was_read() -> None:
    """Who refuses early, without reading all of it, is heard."""

    async def refuses(reader: hostile.Reader, writer: hostile.Writer) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        await reader.read()

    assert posted(refuses, body=b"x" * 200_000).status == 413


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("86401", 86_400),
        ("9" * 4000, 86_400),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_in_seconds(value: str, seconds: int | None) -> None:
    """At most a day; what is no number of seconds is not heeded."""
    assert retry_after_s(value, 0) == seconds


def test_retry_after_as_a_date() -> None:
    """From now on; one that is over means now, one that is far away a day."""
    now = 1_750_000_000
    dates = {now + 90: 90, now - 90: 0, now + 10**6: 86_400}
    for at, seconds in dates.items():
        assert retry_after_s(formatdate(at, usegmt=True), now * 1_000_000) == seconds
    assert retry_after_s("Mon, 99 Foo 2025 99:99:99 GMT", now * 1_000_000) is None


# --- where it goes ----------------------------------------------------------------------------------------------------


def resolver(*answers: tuple[str, ...]) -> tuple[Callable[[str, int], Awaitable[tuple[str, ...]]], list[str]]:
    """Answers one after the other, the last one for ever; and who was asked for."""
    asked = list[str]()

    async def resolve(host: str, port: int) -> tuple[str, ...]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return resolve, asked


def connections(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, object]]:
    """Where connections are tried; all of them fail."""
    tried = list[tuple[str, int, object]]()

    async def connect(host: str, port: int, limits: http1.Limits, **more: Any) -> Any:
        tried.append((host, port, more["name"]))
        raise ConnectionRefusedError

    monkeypatch.setattr(http1, "dial", connect)
    return tried


def test_a_name_that_answers_differently_the_second_time_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Public when it was registered, this machine when it is sent to: no connection is tried."""
    tried = connections(monkeypatch)

    async def check(room: Room) -> None:
        resolve, asked = resolver(("8.8.8.8",), ("127.0.0.1",))
        out = HttpSender(SystemClock(), Allowed(), timeout_ms=20_000, resolve=resolve)
        endpoints = Endpoints(room.registry, room.clock, room.dice, room.journal, lambda: KEY, look=out.addresses)
        made = await endpoints.create(SCOPE, "https://hooks.example.com/", actor="test")
        sent = await out.post(made.url, {}, BODY)
        assert sent == Sent(said="not sent: the host has an address that is not public")
        assert (tried, asked) == ([], ["hooks.example.com"] * 2)
        with pytest.raises(Refused, match="endpoint_refused"):
            await endpoints.create(SCOPE, "https://hooks.example.com/", actor="test")

    run(check)


def test_it_connects_to_the_address_that_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is looked up once for a POST; the connection goes to addresses, and TLS asks for the host's name."""
    tried = connections(monkeypatch)

    async def check() -> None:
        resolve, asked = resolver(("8.8.8.8", "2606:4700:4700::1111", "8.8.4.4", "1.1.1.1"), ("127.0.0.1",))
        sent = await sender(Allowed(), resolve=resolve).post("https://hooks.example.com:8443/", {}, BODY)
        assert sent.status == 0
        assert asked == ["hooks.example.com"]
        name = "hooks.example.com"
        assert tried == [("8.8.8.8", 8443, name), ("2606:4700:4700::1111", 8443, name), ("8.8.4.4", 8443, name)]

    asyncio.run(check())


@pytest.mark.parametrize(
    "addresses", [("8.8.8.8", "127.0.0.1"), ("169.254.169.254",), ("::1",), ("fe80::1%eth0",), ("::ffff:10.0.0.1",), ("junk",)]
)
def test_one_forbidden_address_and_nothing_is_tried(addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the public one beside it."""
    tried = connections(monkeypatch)
    resolve, _ = resolver(addresses)
    sent = asyncio.run(sender(Allowed(), resolve=resolve).post("https://hooks.example.com/", {}, BODY))
    assert (sent.status, tried) == (0, [])
    assert "not public" in sent.said


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "https://[::1]/", "http://example.com/", "https://localhost/", "nonsense"]
)
def test_a_url_that_may_not_be_is_not_sent_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been registered when the allow-list was longer."""
    tried = connections(monkeypatch)
    sent = asyncio.run(sender(Allowed()).post(url, {}, BODY))
    assert (sent.status, sent.said[:8], tried) == (0, "not sent", [])


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """One would look the host up for us, and go where it likes."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert posted(answers(OK)) == Sent(status=200)


def test_a_name_that_nobody_answers_holds_one_thread_and_no_delivery() -> None:
    """Deliveries to it end at their deadline, one lookup is under way for all of them, and other names are answered."""

    async def check() -> None:
        gate, asked = threading.Event(), list[str]()

        def slow(host: str, *_: Any, **__: Any) -> list[Any]:
            asked.append(host)
            if host == "slow.example.com":
                gate.wait(PATIENCE_S)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", slow)
            out = sender(Allowed(), timeout_ms=200)
            async with asyncio.timeout(PATIENCE_S):
                sents = await asyncio.gather(*(out.post("https://slow.example.com/", {}, BODY) for _ in range(40)))
                assert {sent.said for sent in sents} == {"no answer within 200 ms"}
                out._timeout_ms = 20_000
                other = await out.post("https://other.example.com/", {}, BODY)
                assert "not public" in other.said
            assert asked.count("slow.example.com") == 1
            gate.set()
            await out.close()

    asyncio.run(check())


# --- TLS --------------------------------------------------------------------------------------------------------------


def served_tls(name: str, *, trusted: bool) -> tuple[Sent, Served]:
    """A POST to a receiver with the certificate of hooks.example.com, on this machine."""

    async def check() -> tuple[Sent, Served]:
        there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        there.load_cert_chain(PEM)

        def trust() -> ssl.SSLContext:
            return ssl.create_default_context(cafile=PEM)

        async def resolve(host: str, port: int) -> tuple[str, ...]:
            return ("127.0.0.1",)

        more: dict[str, Any] = {"trust": trust} if trusted else {}
        out = sender(read_allowed(name), resolve=resolve, **more)
        async with asyncio.timeout(PATIENCE_S), serving(answers(OK), ssl=there) as at:
            return await out.post(f"https://{name}:{at.port}/", {}, BODY), at

    return asyncio.run(check())


def test_the_certificate_must_be_the_hosts() -> None:
    """Its name is asked for although the connection goes to an address; another name's certificate is refused."""
    assert served_tls("hooks.example.com", trusted=True)[0] == Sent(status=200)
    sent, _ = served_tls("other.example.com", trusted=True)
    assert (sent.status, sent.said[:31]) == (0, "its certificate is not valid: H")


def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    """What providers are trusted by counts, and nothing else."""
    sent, _ = served_tls("hooks.example.com", trusted=False)
    assert sent.status == 0
    assert "certificate is not valid" in sent.said


def test_no_tls_where_tls_was_asked_for() -> None:
    """Plain HTTP, or garbage, on the port: nothing is sent in the clear."""

    async def check() -> None:
        got = list[bytes]()

        async def garbage(reader: hostile.Reader, writer: hostile.Writer) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"\x15\x03" * 50)
            await writer.drain()
            got.append(await reader.read(65_536))

        async with asyncio.timeout(PATIENCE_S), serving(garbage) as at:
            sent = await sender().post(f"https://127.0.0.1:{at.port}/", {}, BODY)
        assert sent == Sent(said="there is no TLS that we speak")
        assert BODY not in b"".join(got)

    asyncio.run(check())
