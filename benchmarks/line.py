"""The line between payonce and its provider, which can be cut: a forwarder in a process of its own.

    python -m benchmarks.line PORT PROVIDER_PORT        listens on PORT

SIGUSR1   up: bytes go through, both ways
SIGUSR2   refused: nobody listens any more and what was open is cut, so that the next connection is refused
SIGHUP    hanging: connections are taken, and nothing on them is passed on or answered, also on those that were open

It prints a line for each change: its number and the state. The provider's books live on behind it. A call takes a tenth of a
millisecond or so longer through it.
"""

import asyncio
import itertools
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, Self

from .procs import Proc, free_port, wait_line

CHUNK: Final = 65_536

State = Literal["up", "refused", "hanging"]
SIGNALS: Final[Mapping[signal.Signals, State]] = {
    signal.SIGUSR1: "up",
    signal.SIGUSR2: "refused",
    signal.SIGHUP: "hanging",
}


class Cuttable:
    """The process, to a provider's port."""

    def __init__(self, folder: Path, to_port: int, *, python: str = sys.executable) -> None:
        self.port, self.changes = free_port(), 1
        argv = [python, "-m", "benchmarks.line", str(self.port), str(to_port)]
        self.proc = Proc.start(argv, log=folder / "line.log", name="line")
        wait_line("1 up", self.proc)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def set(self, state: State) -> None:
        """Returns when it is so."""
        self.changes += 1
        self.proc.popen.send_signal(next(number for number, word in SIGNALS.items() if word == state))
        wait_line(f"{self.changes} {state}", self.proc)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.proc.stop()


class Line:
    """One listener, and the connections through it."""

    def __init__(self, port: int, to_port: int) -> None:
        self.port, self.to_port = port, to_port
        self.state: State = "refused"
        self.server: asyncio.Server | None = None
        self.open: set[asyncio.StreamWriter] = set()

    async def set(self, state: State) -> None:
        if state == "refused":
            self.cut()
        elif self.server is None:
            self.server = await asyncio.start_server(self.take, "127.0.0.1", self.port, backlog=1024)
        if state == "up" and self.state == "hanging":
            for writer in list(self.open):  # what was said on them meanwhile is lost, as behind a router that was restarted
                writer.transport.abort()
        self.state = state

    def cut(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None
        for writer in list(self.open):
            writer.transport.abort()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection until either side closes it."""
        self.open.add(writer)
        there: asyncio.StreamWriter | None = None
        ways: list[asyncio.Task[None]] = []
        try:
            answers, there = await asyncio.open_connection("127.0.0.1", self.to_port)
            self.open.add(there)
            ways = [asyncio.create_task(self.pass_on(reader, there)), asyncio.create_task(self.pass_on(answers, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass
        finally:
            for way in ways:
                way.cancel()
            for each in (writer, there):
                if each is not None:
                    self.open.discard(each)
                    each.transport.abort()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK):
                if self.state == "up":
                    writer.write(data)
        except OSError:
            return


async def main(port: int, to_port: int) -> None:
    """Until SIGTERM."""
    line, loop, wanted = Line(port, to_port), asyncio.get_running_loop(), asyncio.Queue[State]()
    for number, state in SIGNALS.items():
        loop.add_signal_handler(number, wanted.put_nowait, state)
    wanted.put_nowait("up")
    for count in itertools.count(1):
        state = await wanted.get()
        await line.set(state)
        print(f"{count} {state}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
