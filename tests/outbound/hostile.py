"""Receivers on real sockets that behave badly, each as a function of one connection."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Behaviour = Callable[[Reader, Writer], Awaitable[None]]
CHUNK = b"x" * 65_536


async def request(reader: Reader) -> bytes:
    """The whole request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return head + await reader.readexactly(length)


def answers(raw: bytes) -> Behaviour:
    """Reads the request, and answers with these bytes."""

    async def behave(reader: Reader, writer: Writer) -> None:
        await request(reader)
        writer.write(raw)
        await writer.drain()

    return behave


def repeats(first: bytes, again: bytes, *, reads: bool = True) -> Behaviour:
    """Begins with ``first``, then sends ``again`` for ever."""

    async def behave(reader: Reader, writer: Writer) -> None:
        if reads:
            await request(reader)
        writer.write(first)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(0 if len(again) > 100 else 0.01)

    return behave


async def silent(reader: Reader, writer: Writer) -> None:
    """Takes the request and never answers."""
    await request(reader)
    await asyncio.Event().wait()


async def deaf(reader: Reader, writer: Writer) -> None:
    """Does not even read."""
    await asyncio.Event().wait()


async def resets(reader: Reader, writer: Writer) -> None:
    """Tears the connection down as soon as something comes."""
    await reader.read(1)
    writer.transport.abort()


async def hangs_up(reader: Reader, writer: Writer) -> None:
    """Reads and closes without a word."""
    await request(reader)


class Served:
    """A listening receiver: its port, and what came over all its connections."""

    def __init__(self, port: int) -> None:
        self.port, self.connections = port, 0


@asynccontextmanager
async def serving(behave: Behaviour, *, ssl: object = None) -> AsyncIterator[Served]:
    """On a free port of this machine, until the block ends."""
    tasks = set[asyncio.Task[None]]()

    async def connection(reader: Reader, writer: Writer) -> None:
        served.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await behave(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, ssl=ssl)  # type: ignore[arg-type]
    served = Served(server.sockets[0].getsockname()[1])
    try:
        yield served
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
