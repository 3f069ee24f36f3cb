"""One connection to AWS: what is taken for a whole answer, and when it may be used again."""

import socket
import threading
from typing import Any

import pytest

from payonce.awsapi import Done, Lost
from payonce.awsclient import wire
from payonce.awsclient.lines import Broken, Exchange, Lines
from payonce.awsclient.signing import Address

from .loopback import End, Seen, SetClock, asked, get, reply, serving, use

GOOD = b'{"Item": {"k": {"S": "a"}}}'
ITEM = Done({"Item": {"k": {"S": "a"}}})
SIGNED = b"x-amzn-RequestId: r\r\n"


def chunked(body: bytes, *sizes: bytes) -> bytes:
    """``body`` as one chunk, unless ``sizes`` say otherwise."""
    size = sizes[0] if sizes else f"{len(body):x}".encode()
    head = b"HTTP/1.1 200 OK\r\n" + SIGNED + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + size + b"\r\n" + body + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + reply(200, GOOD),
        chunked(GOOD),
        chunked(GOOD, f"{len(GOOD):X};name=value".encode()),
        reply(200, GOOD).replace(b"\r\n", b"\n"),
    ],
    ids=["after an interim one", "in chunks", "chunks with extensions", "bare line ends"],
)
def test_whole_answers_are_taken(answer: bytes) -> None:
    """Whatever way an answer comes, it is read to its end."""
    assert asked(answer) == ITEM


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (chunked(GOOD, b"zz"), "IncompleteRead"),
        (chunked(GOOD, b"-5"), "IncompleteRead"),
        (chunked(GOOD, b"ffffffff"), "too large"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "too large"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "whole"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9, "BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n", "BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\na: " + b"b" * 400_000, "BadStatusLine"),
    ],
    ids=[
        "no size",
        "a negative size",
        "a huge chunk",
        "a huge length",
        "a negative length",
        "only interim ones",
        "many headers",
        "long line",
    ],
)
def test_what_is_no_answer_is_lost(answer: bytes, why: str) -> None:
    """Nothing is taken for an answer that does not say where it ends, and nothing larger than AWS sends is waited for."""
    said = asked(answer)
    assert isinstance(said, Lost)
    assert why in said.reason


def test_what_comes_behind_an_answer_is_never_the_next_one() -> None:
    """Two answers to one request: the connection is not used again, so the second is nobody's."""
    other = reply(200, b'{"Item": {"k": {"S": "somebody else"}}}')

    async def two(client: Any) -> list[Any]:
        return [await get(client), await get(client)]

    with serving(lambda seen: reply(200, GOOD) + (other if seen.connection == 1 else b"")) as server:
        assert use(server.url, two) == [ITEM, ITEM]
        assert [seen.connection for seen in server.seen] == [1, 2]


def _drip(sock: socket.socket, whole: bytes) -> None:
    for each in whole:
        sock.sendall(bytes((each,)))


def test_an_answer_may_come_in_pieces_of_any_size() -> None:
    """Byte by byte, with a length and in chunks."""
    for whole in (reply(200, GOOD), chunked(GOOD)):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            dripping = threading.Thread(target=_drip, args=(theirs, whole))
            dripping.start()
            answer, lasts = wire._answer(wire._Coming(ours))
            dripping.join()
        assert (answer.status, answer.body, lasts) == (200, GOOD, True)


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n"])
def test_a_connection_that_is_to_end_is_not_kept(head: bytes) -> None:
    """The next call goes over a new one."""
    answer = head + SIGNED + f"Content-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD

    def once(seen: Seen) -> bytes:
        raise End(answer) if seen.connection == 1 else End(reply(200, GOOD))

    async def two(client: Any) -> list[Any]:
        return [await get(client), await get(client)]

    with serving(once) as server:
        assert use(server.url, two) == [ITEM, ITEM]
        assert [seen.connection for seen in server.seen] == [1, 2]


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\rb"])
def test_a_header_stays_one_line(value: str) -> None:
    """A value that would be more lines is not sent."""
    with serving(reply(200, GOOD)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        broken = Lines(SetClock()).post(Address(False, host, int(port), "/"), {"x-token": value}, b"{}", Exchange(), 0)
        assert isinstance(broken, Broken)
        assert server.ended.acquire(timeout=5)
        assert server.seen == []
