"""``payonce torture``: its seed decides, and every fault of its proxy is what it says. Its judge is tested in
``test_torture_judging.py``, whole runs are in ``test_torture_runs.py``."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from payonce.cli import USAGE, main
from payonce.testing.judge import ENDS_AS
from payonce.testing.torture import FAULTS, TortureOptions
from payonce.testing.torture.clients import orders
from payonce.testing.torture.proxy import PER_EXCHANGE, STALL_S, FaultProxy, whole
from payonce.testing.torture.scene import CALL_TIMEOUT_MS
from payonce.testing.torture.storm import Pace

from .running import free_port


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--payments", "0"], "--payments is 1 to 1000000"),
        (["--kills", "200000"], "--kills is 0 to 100000"),
        (["--keep", "."], "is not empty: name another folder"),
    ],
)
def test_what_cannot_be_run_is_refused(
    args: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 with what to do, and nothing was started."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").touch()
    assert main(["torture", *args]) == USAGE
    assert says in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


# --- what the seed decides --------------------------------------------------------------------------------------------


def test_one_seed_decides_what_is_posted() -> None:
    """The same seed posts the same; another one posts something else; every token is there."""
    first, again, other = (list(orders(TortureOptions(seed=seed, payments=200))) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert {o.body["paymentMethod"] for o in first} == set(ENDS_AS)
    assert {o.manner for o in first} == {"plain", "again", "together", "changed", "race", "hasty"}


def test_kills_and_posts_keep_step() -> None:
    """Posts wait for kills and kills for posts, and when no kill comes any more every post may begin."""

    async def run() -> None:
        pace = Pace(TortureOptions(payments=10, kills=10))
        assert await asyncio.wait_for(pace.kill(), 1)
        pace.move(kills=4)
        early = asyncio.create_task(pace.kill())
        await asyncio.sleep(0)
        assert not early.done()
        pace.move(posts=5)
        assert await asyncio.wait_for(early, 1)
        pace.move(posts=3)
        late = asyncio.create_task(pace.post())
        await asyncio.sleep(0)
        assert not late.done()
        pace.move(over=True)
        assert await asyncio.wait_for(late, 1)
        pace.move(posts=100, ended=True)
        assert not await asyncio.wait_for(pace.post(), 1)
        assert not await asyncio.wait_for(pace.kill(), 1)

    asyncio.run(run())


# --- the proxy --------------------------------------------------------------------------------------------------------

REQUEST = b'POST /mock/charges HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n{"a": 12345'
ANSWER = b'HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{"ok": true }'


class Vendor:
    """A server that notes what it gets, whole or not, and answers whole requests."""

    def __init__(self) -> None:
        self.whole: list[bytes] = []
        self.parts: list[bytes] = []
        self.changed = asyncio.Event()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = b""
        try:
            while len(got) < len(REQUEST) and (more := await reader.read(1)):
                got += more
        except ConnectionError:
            pass
        (self.whole if got == REQUEST else self.parts).append(got)
        self.changed.set()
        if got == REQUEST:
            writer.write(ANSWER)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()


class OneFault(random.Random):
    """Dice that spoil every exchange, wait the shortest time, and cut after the first third."""

    def random(self) -> float:
        return 0.0

    def uniform(self, a: float, b: float) -> float:
        return 0.02

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return (stop or start) // 3

    def choice(self, seq: Any) -> Any:
        return seq[-1]


@contextlib.asynccontextmanager
async def spoiling(kind: str) -> AsyncIterator[tuple[FaultProxy, Vendor, int]]:
    """A proxy that does this to the next exchange, before a vendor; its port."""
    vendor, port = Vendor(), free_port()
    server = await asyncio.start_server(vendor.talk, "127.0.0.1", 0)
    proxy = FaultProxy(server.sockets[0].getsockname()[:2], OneFault(), 1.0 if kind else 0.0)
    proxy._deck = [kind]
    await proxy.start(port)
    try:
        yield proxy, vendor, port
    finally:
        await proxy.stop()
        server.close()


async def exchanged(port: int) -> tuple[bytes, bool]:
    """What a client that posts gets back, and whether its connection was reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got, reset = b"", False
    try:
        writer.write(REQUEST)
        async with asyncio.timeout(10):
            while len(got) < len(ANSWER) and (more := await reader.read(4)):
                got += more
    except ConnectionError:
        reset = True
    finally:
        writer.close()
    return got, reset


# fault -> (what of the answer comes back, reset, whole requests at the vendor, parts of one)
SEEN: dict[str, tuple[bytes, bool, int, int]] = {
    "": (ANSWER, False, 1, 0),
    "drop": (b"", False, 0, 0),
    "cut_request": (b"", True, 0, 1),
    "stall": (ANSWER, False, 1, 0),
    "reset": (b"", True, 1, 0),
    "cut_answer": (ANSWER[: len(ANSWER) // 3], False, 1, 0),
    "late_answer": (ANSWER, False, 1, 0),
    "trickle": (ANSWER, False, 1, 0),
    "duplicate": (ANSWER, False, 2, 0),
}


@pytest.mark.parametrize("kind", SEEN)
def test_each_fault_is_what_it_says(kind: str) -> None:
    """What client and vendor see of one exchange under each fault, and that it is counted."""

    async def run() -> None:
        async with spoiling(kind) as (proxy, vendor, port):
            got = await exchanged(port)
            async with asyncio.timeout(10):
                while (len(vendor.whole), len(vendor.parts)) != SEEN[kind][2:]:
                    vendor.changed.clear()
                    await vendor.changed.wait()
            assert got == SEEN[kind][:2]
            assert +proxy.faults == ({kind: 1} if kind else {})
            assert proxy.calls == 1

    asyncio.run(run())


def test_every_fault_is_tested() -> None:
    """The table above knows every fault of one exchange, and the rest is ``refuse``."""
    assert {*SEEN, "refuse"} - {""} == set(FAULTS)


def test_a_stalled_request_arrives_when_its_client_is_gone() -> None:
    """The client hangs up while its request is held: it goes on nevertheless."""

    async def run() -> None:
        async with spoiling("stall") as (proxy, vendor, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            await writer.drain()
            writer.close()
            async with asyncio.timeout(10):
                await vendor.changed.wait()
            assert vendor.whole == [REQUEST]
            await asyncio.wait_for(proxy.quiet(), 10)

    asyncio.run(run())


def test_a_proxy_that_refuses_listens_again() -> None:
    """New connections are refused for the time, then it is as before."""

    async def run() -> None:
        async with spoiling("") as (proxy, _, port):
            refusing = asyncio.create_task(proxy.refuse(0.05))
            await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                await exchanged(port)
            await refusing
            assert await exchanged(port) == (ANSWER, False)
            assert proxy.faults == {"refuse": 1}

    asyncio.run(run())


def test_a_proxy_that_was_cancelled_while_it_refused_listens_when_it_is_quiet() -> None:
    """However the refusing ended, afterwards everything goes through."""

    async def run() -> None:
        async with spoiling("") as (proxy, _, port):
            assert proxy._server is not None
            proxy._server.close()  # as it is while it refuses
            with pytest.raises(ConnectionRefusedError):
                await exchanged(port)
            await proxy.quiet()
            assert await exchanged(port) == (ANSWER, False)

    asyncio.run(run())


def test_faults_come_from_a_shuffled_deck() -> None:
    """The same dice draw the same faults, each as often as the others; a read is never sent twice."""

    def drawn(seed: int, request: bytes) -> list[str]:
        proxy = FaultProxy(("127.0.0.1", 1), random.Random(seed), 0.5)
        return [proxy._draw(request) for _ in range(400)]

    assert drawn(3, REQUEST) == drawn(3, REQUEST) != drawn(4, REQUEST)
    counts = [drawn(3, REQUEST).count(kind) for kind in PER_EXCHANGE]
    assert max(counts) - min(counts) <= 1
    assert "duplicate" not in drawn(3, b"GET /mock/charges HTTP/1.1\r\n\r\n")
    assert STALL_S[1] * 1000 > CALL_TIMEOUT_MS, "a stall outlasts a call"


def test_a_message_that_ends_early_is_no_message() -> None:
    """Half a head or half a body is told from a connection that ended between two messages."""

    async def read(data: bytes) -> bytes:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await whole(reader)

    assert asyncio.run(read(ANSWER + b"rest")) == ANSWER
    assert asyncio.run(read(b"")) == b""
    for part in (ANSWER[:20], ANSWER[:-1]):
        with pytest.raises(asyncio.IncompleteReadError):
            asyncio.run(read(part))
