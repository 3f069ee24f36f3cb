"""Small servers on loopback that answer an AWS client as a test says, and a client to ask them."""

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

from payonce.awsapi import Answer
from payonce.awsclient.client import AwsClient

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
TOKEN, SECRET = "session-token-value", "secret-value"
KEYS = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}
ENV = {**KEYS, "AWS_REGION": "eu-west-1"}
END_S = 5.0  # nothing in these tests takes as long
GET = {"TableName": "t", "Key": {"k": {"S": "a"}}}


class SetClock:
    """Stands still until a test sets it; ``wall_us`` alone when the machine was frozen."""

    def __init__(self, at: datetime = NOW) -> None:
        self.wall_us, self.steady_us = int(at.timestamp()) * 1_000_000, 0

    def now_us(self) -> int:
        return self.wall_us

    def monotonic_us(self) -> int:
        return self.steady_us

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("the client never waits")


class Seen(NamedTuple):
    """A request, and on the how-manieth connection it came."""

    line: str
    headers: dict[str, str]
    body: bytes
    connection: int


class Hang(Exception):
    """No answer, until the other side ends."""


class End(Exception):
    """The connection ends here. ``after``: with these bytes first."""

    def __init__(self, after: bytes = b"") -> None:
        super().__init__()
        self.after = after


def reply(status: int = 200, body: bytes = b"{}", **headers: str) -> bytes:
    usual = {"Content-Length": str(len(body)), "x-amzn-RequestId": "r"}
    named = usual | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items() if value)
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body


def refusal(code: str, status: int = 400, message: str = "", **more: Any) -> bytes:
    return reply(status, json.dumps({"__type": f"com.amazonaws.x#{code}", "message": message, **more}).encode())


class Server:
    """One port of loopback, a thread for each connection. ``answer`` is asked for the bytes of each answer."""

    def __init__(self, answer: Callable[[Seen], bytes]) -> None:
        self.answer = answer
        self.seen: list[Seen] = []
        self.ended = threading.Semaphore(0)  # connections that the client ended
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._open.append(self._listening.accept()[0])
                threading.Thread(target=self._serve, args=(self._open[-1], len(self._open)), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with sock, sock.makefile("rb") as file, suppress(OSError, ValueError):  # it may be no HTTP that comes
            while line := file.readline():
                named = [each.decode().strip().split(": ", 1) for each in iter(file.readline, b"\r\n")]
                headers = {name.lower(): value for name, value in named}
                seen = Seen(line.decode().strip(), headers, file.read(int(headers.get("content-length", 0))), number)
                self.seen.append(seen)
                try:
                    sock.sendall(self.answer(seen))
                except End as end:
                    sock.sendall(end.after)
                    return
                except Hang:
                    continue
            self.ended.release()

    def close(self) -> None:
        self._listening.close()
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(answer: Callable[[Seen], bytes] | bytes) -> Iterator[Server]:
    server = Server(answer if callable(answer) else lambda _seen: answer)
    try:
        yield server
    finally:
        server.close()


def use(
    url: str | None,
    do: Callable[[AwsClient], Awaitable[Any]],
    clock: SetClock | None = None,
    env: Mapping[str, str] = ENV,
    **more: Any,
) -> Any:
    """What ``do`` returns with a client, which is closed."""

    async def run() -> Any:
        client = AwsClient(clock or SetClock(), endpoint_url=url, environ=env, **more)
        try:
            async with asyncio.timeout(END_S):
                return await do(client)
        finally:
            await client.close()

    return asyncio.run(run())


async def get(client: AwsClient) -> Answer:
    return await client.call("dynamodb", "GetItem", GET)


def asked(answer: bytes | Callable[[Seen], bytes]) -> Answer:
    """What one call makes of an answer."""
    with serving(answer) as server:
        said: Answer = use(server.url, get)
        assert len(server.seen) == 1  # no retry of its own
        return said
