"""One exchange in HTTP/1.1 with a stranger, over a connection that is open: h11 reads and writes, nothing else is understood.
Loaded at the first POST only."""

import asyncio
from contextlib import suppress
from typing import Final

import h11

from .guard import Target

HEAD_BYTES_MAX: Final = 16_384  # of an answer's head
INTERIM_MAX: Final = 8  # answers of 1xx
DRAIN_BYTES_MAX: Final = 65_536  # of an answer's body, which is read and dropped
DRAIN_S: Final = 2.0  # for it
READ_BYTES: Final = 16_384


class _NoAnswer(Exception):
    """There is none that counts."""


async def post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: Target, headers: list[tuple[str, str]], body: bytes
) -> tuple[int, str] | str:
    """Status and Retry-After ("" = none) of the answer, or why there is none: a text for the merchant, which holds nothing that
    the other end said. Raises OSError."""
    wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
    lines = [("host", to.authority), ("content-length", str(len(body))), *headers]
    try:
        events = (h11.Request(method="POST", target=to.path, headers=lines), h11.Data(data=body), h11.EndOfMessage())
        writer.write(b"".join(wire.send(event) or b"" for event in events))
        with suppress(ConnectionError):  # it may have answered before it read everything
            await writer.drain()
        answer = await _head(wire, reader)
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        return "the answer is no HTTP, or its head is too large"
    except _NoAnswer as no:
        return str(no)
    await _drain(wire, reader)
    named = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
    return answer.status_code, named.get("retry-after", "")


async def _head(wire: h11.Connection, reader: asyncio.StreamReader) -> h11.Response:
    interim = 0
    while True:
        event = wire.next_event()
        if isinstance(event, h11.Response):
            return event
        if event is h11.NEED_DATA:
            if not (chunk := await reader.read(READ_BYTES)):
                raise _NoAnswer("the connection was closed without an answer")
            wire.receive_data(chunk)
        else:  # 1xx: what else there is before an answer is an error to h11, 101 too, since we asked for nothing else
            interim += 1
            if interim > INTERIM_MAX:
                raise _NoAnswer("it sent too many interim answers")


async def _drain(wire: h11.Connection, reader: asyncio.StreamReader) -> None:
    """Take what is left of a short answer, so that its sender sees a whole exchange. The status is what counts: however the
    body goes on, it changes nothing."""
    read = 0
    with suppress(TimeoutError, OSError, h11.RemoteProtocolError):
        async with asyncio.timeout(DRAIN_S):
            while read < DRAIN_BYTES_MAX:
                event = wire.next_event()
                if event is h11.NEED_DATA:
                    chunk = await reader.read(READ_BYTES)
                    read += len(chunk)
                    wire.receive_data(chunk)
                elif not isinstance(event, h11.Data):
                    return
