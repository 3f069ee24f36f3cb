"""A TCP proxy of our own before the sandbox, which spoils a share of the exchanges. It knows as much HTTP as it needs to
tell where a request and an answer end (Content-Length), and changes no byte.

drop          the connection is closed before anything goes on
cut_request   the first N bytes of the request go on, then both connections are reset
stall         the request is held; it goes on later, also when the client has given up meanwhile
reset         the whole request goes on, its answer is thrown away, the client's connection is reset
cut_answer    the first N bytes of the answer go back, then the connection is closed
late_answer   the answer is held
trickle       the answer comes in small pieces
duplicate     the whole request goes on twice, at once or some seconds later; the client gets the first answer
refuse        for a moment nobody listens: not of one exchange but of all that begin then

Vendors take duplicates well: mock by its key, the others by their container, order id or refund key.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter

from .options import FAULTS

PER_EXCHANGE = tuple(kind for kind in FAULTS if kind != "refuse")
STALL_S = (0.1, 6.0)  # beside a call timeout of three seconds
TRICKLE_S = 0.05  # between two pieces
TRICKLE_PIECES = 25
EXCHANGE_S = 30.0  # the sandbox holds an answer for 15 s at most
HEAD_BYTES_MAX = 65_536
WRITES_ONLY = ("duplicate",)  # of no use for a GET
IDLE = "idle"  # a connection between two requests
UNREACHABLE = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ValueError)


class FaultProxy:
    """See the module docstring. ``share`` of the exchanges is spoilt: the kinds come from a shuffled deck, so that every
    kind comes soon, and what is drawn depends on the dice only."""

    def __init__(self, target: tuple[str, int], dice: random.Random, share: float) -> None:
        self.target, self.dice, self.share = target, dice, share
        self.calls, self.faults = 0, Counter[str]()
        self._deck: list[str] = []
        self._server: asyncio.Server | None = None
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> None:
        """Listen on this port of loopback, 0 = a free one. Raises OSError when it is taken."""
        self._server = await asyncio.start_server(self._client, "127.0.0.1", port, limit=HEAD_BYTES_MAX)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def refuse(self, seconds: float) -> None:
        """For some seconds new connections are refused; those that are there go on."""
        assert self._server is not None
        self._server.close()
        self.faults["refuse"] += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            await self.start(self.port)

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def quiet(self) -> None:
        """Spoil nothing more, listen, and wait until what was held is through. Whoever refused may have been cancelled before
        it listened again. Raises OSError when the port is taken."""
        self.share = 0.0
        if self._server is not None and not self._server.is_serving():
            await self.start(self.port)
        while any(task.get_name() != IDLE for task in self._tasks):  # noqa: ASYNC110  connections, one after the other
            await asyncio.sleep(0.02)

    def _draw(self, request: bytes) -> str:
        """The fault of this exchange; empty = none."""
        self.calls += 1
        if self.dice.random() >= self.share:
            return ""
        if not self._deck:
            self._deck = self.dice.sample(PER_EXCHANGE, len(PER_EXCHANGE))
        if self._deck[-1] in WRITES_ONLY and request.startswith(b"GET "):
            if len(self._deck) == 1:
                return ""
            self._deck.insert(0, self._deck.pop())
        kind = self._deck.pop()
        self.faults[kind] += 1
        return kind

    # --- one connection of payonce ------------------------------------------------------------------------------------

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                task.set_name(IDLE)
                request = await whole(reader)
                task.set_name("busy")
                if not request or not await self._exchange(request, writer):
                    return
        except UNREACHABLE:
            return
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _exchange(self, request: bytes, client: asyncio.StreamWriter) -> bool:
        """One request and its answer; False ends the connection."""
        kind = self._draw(request)
        if kind == "drop":
            return False
        if kind == "cut_request":
            await self._send_part(request[: self.dice.randrange(1, len(request))])
            _reset(client)
            return False
        if kind == "stall":
            await asyncio.sleep(self.dice.uniform(*STALL_S))
        if kind == "duplicate":
            again = self.dice.choice((0.0, 0.0, self.dice.uniform(*STALL_S)))
            self._beside(self._send_again(request, again))
        answer = await self._ask(request)
        if kind == "reset":
            _reset(client)
            return False
        if kind == "cut_answer":
            client.write(answer[: self.dice.randrange(1, len(answer))])
            await client.drain()
            return False
        if kind == "late_answer":
            await asyncio.sleep(self.dice.uniform(*STALL_S))
        if kind == "trickle":
            await self._trickle(answer, client)
        else:
            client.write(answer)
        await client.drain()
        return True

    async def _trickle(self, answer: bytes, client: asyncio.StreamWriter) -> None:
        size = -(-len(answer) // TRICKLE_PIECES)
        for at in range(0, len(answer), size):
            client.write(answer[at : at + size])
            await client.drain()
            await asyncio.sleep(TRICKLE_S)

    # --- the sandbox's side -------------------------------------------------------------------------------------------

    async def _ask(self, request: bytes) -> bytes:
        """The whole answer, over a connection of its own. Raises one of UNREACHABLE, also when there is none."""
        async with asyncio.timeout(EXCHANGE_S):
            reader, writer = await asyncio.open_connection(*self.target, limit=HEAD_BYTES_MAX)
            try:
                writer.write(request)
                await writer.drain()
                if not (answer := await whole(reader)):
                    raise ConnectionResetError("no answer")
                return answer
            finally:
                writer.close()

    async def _send_part(self, part: bytes) -> None:
        with contextlib.suppress(*UNREACHABLE):
            _, writer = await asyncio.open_connection(*self.target)
            writer.write(part)
            await writer.drain()
            _reset(writer)

    async def _send_again(self, request: bytes, after_s: float) -> None:
        await asyncio.sleep(after_s)
        with contextlib.suppress(*UNREACHABLE):
            await self._ask(request)

    def _beside(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def whole(reader: asyncio.StreamReader) -> bytes:
    """One HTTP message with its body; empty when the connection ended before it. Raises one of UNREACHABLE when it ended
    within."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return b""
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    return head + (await reader.readexactly(length) if length else b"")


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
