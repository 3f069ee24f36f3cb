"""The inside of the load: requests out, answers in, on one event loop. See ``load`` for what it does."""

import asyncio
import contextlib
import gc
import os
import random
import re
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from .histogram import Histogram
from .load import NUMBER, Load, Spec
from .procs import cpu_of, descendants

LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
ID: Final = re.compile(rb'"transactionId": ?"([^"]+)"')
LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
BUSY: Final = (b"429", b"503")  # refusals that ask to come again
GRACE_S: Final = 10.0  # for answers that are still on their way at the end
TICK_S: Final = 0.001  # what timers can do: asked for less, the loop would spin, on a core that the server needs
AGAIN_S: Final = 0.05  # before a lost connection is opened again
FOLLOW_S: Final = 0.02  # between two looks at the provider
LETTERS: Final = str.maketrans("0123456789", "ghijklmnop")
REPEATED: Final = 1000  # answered requests that may be repeated


class Sender(asyncio.Protocol):
    """One connection, one request at a time. ``planned`` and ``number`` are of the request under way; number -1: none is."""

    __slots__ = ("kept", "lost", "number", "planned", "run", "transport")

    def __init__(self, run: "Run") -> None:
        self.run, self.kept = run, b""
        self.planned, self.number = 0.0, -1
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        if self.run.closed:  # it took the place of a lost one too late
            transport.close()
        self.run.senders.add(self)

    def data_received(self, data: bytes) -> None:
        if self.kept:
            data = self.kept + data
        head = data.find(b"\r\n\r\n")
        length = LENGTH.search(data, 0, head) if head >= 0 else None
        whole = len(data) - head - 4 >= int(length[1]) if length else head >= 0 and data.endswith(LAST_CHUNK)
        if whole:
            self.kept = b""
            self.run.answered(self, data)
        else:
            self.kept = data

    def connection_lost(self, exc: Exception | None) -> None:
        self.run.lost(self, exc)


class Run:
    """One load from its first request to its last answer."""

    def __init__(self, spec: Spec, loop: asyncio.AbstractEventLoop, accepted: TextIO | None = None) -> None:
        self.spec, self.loop, self.accepted_file = spec, loop, accepted
        # Without digits: eight of them and the ten of the number may look like a card number, which is refused.
        self.salt = spec.salt or os.urandom(4).hex().translate(LETTERS)
        self.begin, self.rest = request_bytes(spec, self.salt)
        self.good = frozenset(str(status).encode() for status in spec.expected)
        self.holds = spec.holds.encode()
        self.chance = random.Random(spec.seed)
        self.times, self.late = Histogram(), Histogram()
        self.slices = [Histogram() for _ in range(max(int(spec.seconds / spec.slice_s), 1) if spec.slice_s else 0)]
        self.sent = self.ok = self.refused = self.errors = self.accepted = self.numbered = self.open = 0
        self.said = ""
        self.known: deque[tuple[int, bytes]] = deque(maxlen=REPEATED)  # number -> id
        self.repeats: dict[int, bytes] = {}  # number of a repeat under way -> the id that it must get
        self.senders: set[Sender] = set()  # that are connected
        self.idle: list[Sender] = []
        self.waiting: deque[float] = deque()  # planned times that found no idle connection
        self.allowed = 0 if spec.window else sys.maxsize  # requests with a key of their own
        self.from_s, self.until_s, self.from_us = 0.0, 0.0, 0
        self.per_second = [0] * max(round(spec.seconds + 0.5), 1)
        self.over = self.closed = False
        self.left = loop.create_future()

    async def connect(self) -> None:
        """Open the connections. Raises OSError when the first one cannot be opened."""
        for _ in range(self.spec.connections):
            _, sender = await self.loop.create_connection(lambda: Sender(self), self.spec.host, self.spec.port)
            self.idle.append(sender)

    async def go(self) -> Load:
        spec, now = self.spec, time.perf_counter()
        self.from_s, self.until_s = now + spec.warm_s, now + spec.warm_s + spec.seconds
        self.from_us = time.time_ns() // 1000 + int(spec.warm_s * 1e6)
        measured: list[tuple[float, list[float]]] = []
        for at in (self.from_s, self.until_s):
            self.loop.call_later(at - now, lambda: measured.append((time.process_time(), self.watched())))
        if spec.rate:
            await self.plan(now)
        elif spec.window:
            await self.follow()
        else:
            self.fill()
        await self.finish(measured)
        (own, watched), (own_end, watched_end) = measured
        return self.result(own_end - own, [b - a for a, b in zip(watched, watched_end, strict=True)])

    async def plan(self, at: float) -> None:
        """Send what is planned, until the end."""
        gap = self.chance.expovariate
        while True:
            now = time.perf_counter()
            while at <= now:
                if self.idle:
                    self.late.add(int((now - at) * 1e6))
                    self.send(self.idle.pop(), at)
                else:
                    self.waiting.append(at)
                at += gap(self.spec.rate)
            if at >= self.until_s:
                return
            await asyncio.sleep(max(at - now, TICK_S))

    def fill(self) -> None:
        """Closed loop: a request on each idle connection, as far as the window goes."""
        while self.idle and self.numbered < self.allowed:
            self.send(self.idle.pop(), time.perf_counter())

    async def follow(self) -> None:
        """Let the window move on with the provider's charges, until the end."""
        reader, writer = await asyncio.open_connection(self.spec.host, self.spec.progress_port)
        first = -1
        while time.perf_counter() < self.until_s:
            writer.write(b"GET /count HTTP/1.1\r\nhost: provider\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = LENGTH.search(head)
            charged = int(await reader.readexactly(int(length[1]) if length else 0))
            first = charged if first < 0 else first
            self.allowed = self.spec.window + charged - first
            self.fill()
            await asyncio.sleep(FOLLOW_S)
        writer.close()

    async def finish(self, measured: list[tuple[float, list[float]]]) -> None:
        """Wait for what is under way, and count what never came."""
        await asyncio.sleep(max(self.until_s - time.perf_counter(), 0))
        while len(measured) < 2:  # noqa: ASYNC110 - a timer that is due now
            await asyncio.sleep(TICK_S)
        self.over = True
        if self.open or self.waiting:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.left, GRACE_S)
        never = self.open + len(self.waiting)
        if never:
            self.errors += never
            self.said = self.said or f"no answer within {GRACE_S:g} s after the end"
        self.closed = True
        for sender in self.senders:
            sender.transport.close()

    def send(self, sender: Sender, planned: float) -> None:
        """The next request, on a connection that is idle."""
        number = -1
        if self.spec.repeat_share and self.known and self.chance.random() < self.spec.repeat_share:
            number, id = self.chance.choice(self.known)
            if number in self.repeats:
                number = -1  # under way already
            else:
                self.repeats[number] = id
        if number < 0:
            number = self.numbered
            self.numbered += 1
        sender.planned, sender.number = planned, number
        if self.from_s <= planned < self.until_s:
            self.sent += 1
        self.open += 1
        if sender.transport.is_closing():
            return  # connection_lost comes next, and counts it
        digits = b"%010d" % number
        sender.transport.write(self.begin + digits + self.rest.replace(b"NUMBER----", digits))

    def answered(self, sender: Sender, data: bytes) -> None:
        """A whole answer."""
        now, planned, number = time.perf_counter(), sender.planned, sender.number
        if number < 0:
            self.said = self.said or f"an answer to nothing: {data[:300]!r}"
            self.errors += 1
            return
        sender.number = -1
        self.open -= 1
        status = data[9:12]
        good = status in self.good and self.holds in data and self.known_as(number, data)
        if not good and not self.said:
            self.said = data[:500].decode("utf-8", "replace")
        if self.from_s <= planned < self.until_s:
            if good:
                self.ok += 1
                self.times.add(int((now - planned) * 1e6))
                if self.slices:
                    place = min(int((planned - self.from_s) / self.spec.slice_s), len(self.slices) - 1)
                    self.slices[place].add(int((now - planned) * 1e6))
            elif status in BUSY:
                self.refused += 1
            else:
                self.errors += 1
        if good and self.from_s <= now < self.until_s:
            self.per_second[int(now - self.from_s)] += 1
        self.free(sender, now)

    def known_as(self, number: int, data: bytes) -> bool:
        """Note the id of a good answer; False for a repeat that got another one than before."""
        wanted = self.repeats.pop(number, None) if self.repeats else None
        if wanted is None:
            self.accepted += 1
        if not (self.accepted_file or self.spec.repeat_share):
            return True
        found = ID.search(data)
        id = found[1] if found else b""
        if wanted is not None:
            return id == wanted
        if self.spec.repeat_share:
            self.known.append((number, id))
        if self.accepted_file:
            self.accepted_file.write(f"{self.salt}-{number:010d} {id.decode()}\n")
        return True

    def free(self, sender: Sender, now: float) -> None:
        """A connection that is idle again: its next request, if there is one."""
        if sender.transport.is_closing():
            return
        if self.waiting:
            self.send(sender, self.waiting.popleft())
        elif not self.spec.rate and now < self.until_s and self.numbered < self.allowed:
            self.send(sender, now)
        else:
            self.idle.append(sender)
            if self.over and not self.open and not self.left.done():
                self.left.set_result(None)

    def lost(self, sender: Sender, error: Exception | None) -> None:
        """A connection that ended; a request on it has an unknown outcome, and is not sent again."""
        self.senders.discard(sender)
        if sender in self.idle:
            self.idle.remove(sender)
        if sender.number >= 0:
            self.open -= 1
            self.repeats.pop(sender.number, None)
            self.said = self.said or f"the connection was lost before the answer: {error or 'closed by the server'}"
            if self.from_s <= sender.planned < self.until_s:
                self.errors += 1
        if not self.over:
            self.loop.create_task(self.again())
        elif not self.open and not self.waiting and not self.left.done():
            self.left.set_result(None)

    async def again(self) -> None:
        """Open a connection in place of a lost one, as soon as it can be had."""
        while not self.over:
            try:
                _, sender = await self.loop.create_connection(lambda: Sender(self), self.spec.host, self.spec.port)
            except OSError:
                await asyncio.sleep(AGAIN_S)
            else:
                self.free(sender, time.perf_counter())
                return

    def watched(self) -> list[float]:
        """CPU of the watched processes so far, each with its children."""
        return [sum(map(cpu_of, (pid, *descendants(pid)))) for pid in self.spec.watch]

    def result(self, cpu_s: float, each_s: list[float]) -> Load:
        percentile, seconds = self.times.percentile_ms, self.spec.seconds
        return Load(
            sent=self.sent, ok=self.ok, refused=self.refused, errors=self.errors, seconds=seconds,
            rate=sum(self.per_second) / seconds, p50_ms=percentile(50), p90_ms=percentile(90), p99_ms=percentile(99),
            max_ms=self.times.most_us / 1000, per_second=self.per_second[: max(int(seconds), 1)], cpu_s=cpu_s,
            accepted=self.accepted, watched_s=sum(each_s), each_s=each_s, from_us=self.from_us,
            late_p99_ms=self.late.percentile_ms(99), said=self.said,
            p99_of_slices_ms=[each.percentile_ms(99) for each in self.slices],
        )  # fmt: skip


def request_bytes(spec: Spec, salt: str) -> tuple[bytes, bytes]:
    """A request before and after the number in its key. The number in its body is put in for each request: ten digits, as the
    ten characters that hold its place."""
    body = spec.body.replace(NUMBER, "NUMBER----").encode()
    lines = [f"{spec.method} {spec.path} HTTP/1.1", f"host: {spec.host}:{spec.port}"]
    if spec.method != "GET":
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in spec.headers.items()]
    begin = "\r\n".join([*lines, f"idempotency-key: {salt}-"]).encode()
    return begin, b"\r\n\r\n" + (body if spec.method != "GET" else b"")


async def _main(spec: Spec, accepted: TextIO | None) -> Load:
    load = Run(spec, asyncio.get_running_loop(), accepted)
    await load.connect()
    gc.collect()
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a pause of ours would be a latency of theirs
    return await load.go()


def runner() -> Callable[[Any], Any]:
    """uvloop's where it is installed, else asyncio's."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run  # type: ignore[no-any-return, unused-ignore]


def main() -> None:
    """Specification in, result out."""
    spec = msgspec.json.decode(sys.stdin.buffer.read(), type=Spec)
    with Path(spec.accepted).open("a", encoding="utf-8") if spec.accepted else contextlib.nullcontext() as accepted:
        load = runner()(_main(spec, accepted))
    sys.stdout.buffer.write(msgspec.json.encode(load))
