"""What tortures a server does so, and what would be a defect is called one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from benchmarks.bench import Bench
from benchmarks.line import Line
from benchmarks.load import Load
from benchmarks.procs import Broken, free_port
from benchmarks.shape import require_polite
from benchmarks.soak import Life, keep
from benchmarks.watching import Seen

WAIT_S = 5.0
REFUSED = "HTTP/1.1 503 Service Unavailable\r\n{}content-length: 0\r\n\r\n"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(100):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()


def through(test: Callable[[Line], Awaitable[None]]) -> None:
    """Run with a line to a server that echoes."""

    async def run() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        line = Line(free_port(), server.sockets[0].getsockname()[1])
        try:
            await line.set("up")
            await asyncio.wait_for(test(line), WAIT_S)
        finally:
            line.cut()
            server.close()
            if others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others, timeout=WAIT_S)

    asyncio.run(run())


async def said(line: Line, word: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
    writer.write(word)
    try:
        return await asyncio.wait_for(reader.read(100), 0.3)
    finally:
        writer.transport.abort()


async def ended(reader: asyncio.StreamReader) -> bool:
    """The other side has closed the connection, one way or the other."""
    try:
        return await reader.read(100) == b""
    except ConnectionResetError:
        return True


def test_a_line_that_is_up_passes_bytes_on() -> None:
    """Both ways."""

    async def test(line: Line) -> None:
        assert await said(line, b"hello") == b"hello"

    through(test)


def test_a_line_that_is_refused_takes_no_connection_and_comes_back() -> None:
    """What was open is cut; afterwards all is as before."""

    async def test(line: Line) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
        writer.write(b"a")
        assert await reader.read(100) == b"a"
        await line.set("refused")
        assert await ended(reader)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await said(line, b"b")
        await line.set("up")
        assert await said(line, b"c") == b"c"

    through(test)


def test_a_line_that_hangs_takes_connections_and_says_nothing() -> None:
    """Also on those that were open; what was said meanwhile never arrives."""

    async def test(line: Line) -> None:
        await line.set("hanging")
        with pytest.raises(TimeoutError):
            await said(line, b"lost")
        await line.set("up")
        assert await said(line, b"after") == b"after"

    through(test)


def refused(header: str) -> Load:
    return Load(
        sent=2, ok=1, refused=1, errors=0, seconds=1, rate=1, p50_ms=1, p90_ms=1, p99_ms=1, max_ms=1, per_second=[1], cpu_s=0,
        accepted=1, watched_s=0, each_s=[], from_us=0, late_p99_ms=0, said=REFUSED.format(header),
    )  # fmt: skip


def test_a_refusal_has_to_say_when_to_come_again() -> None:
    """503 with Retry-After is good manners, without it a defect."""
    require_polite(refused("Retry-After: 1\r\n"))
    with pytest.raises(Broken, match="without Retry-After"):
        require_polite(refused(""))


class Kept:
    """What a run keeps, without measuring the machine first."""

    def __init__(self) -> None:
        self.rows: dict[str, float] = {}

    def row(self, case: str, subject: str, metric: str, unit: str, *values: float) -> None:
        self.rows[metric] = values[0]

    def say(self, text: str) -> None:
        assert text.startswith("soak: memory")


def life(**growing: float) -> Life:
    """A life of a hundred looks in which what is named grows by so much with each."""
    seen = [
        Seen(
            at_s=n,
            mib=50 + growing.get("mib", 0) * n,
            cpu_s=0.1 * n + growing.get("cpu", 0) * n * n,
            fds=40 + int(growing.get("fds", 0) * n),
            wal_mib=4 + growing.get("wal", 0) * n,
            pending=0,
        )
        for n in range(100)
    ]
    return Life(seen, [5.0] * 10, 20.0)


@pytest.mark.parametrize(
    ("growing", "says"), [({"mib": 0.5}, "memory"), ({"cpu": 0.01}, "CPU"), ({"fds": 1}, "files"), ({"wal": 2}, "log")]
)
def test_a_soak_breaks_on_what_grows(growing: dict[str, float], says: str) -> None:
    """Each of the four for itself."""
    with pytest.raises(Broken, match=says):
        keep(cast("Bench", Kept()), 100.0, life(), life(**growing), {})


def test_a_soak_passes_when_nothing_grows() -> None:
    """The usual case."""
    kept = Kept()
    keep(cast("Bench", kept), 100.0, life(), life(), {"looks": 3})
    assert kept.rows["memory, slope"] == pytest.approx(0, abs=1e-6)
    assert kept.rows["looks"] == 3
