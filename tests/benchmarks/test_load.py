"""The load counts what a server really did: against servers of a few lines that remember it."""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Self

import pytest
from benchmarks.histogram import Histogram
from benchmarks.load import Load, Spec
from benchmarks.procs import Broken
from benchmarks.sending import Run, Sender

from benchmarks import load

KEY = re.compile(rb"idempotency-key: ([^\r]+)")
Answer = Callable[[bytes, int], tuple[str, bytes]]  # key and how often it came before -> status line and body


class Server:
    """Answers as it is told, and remembers the keys. ``drop`` closes the connection instead, ``stall_s`` is how long it stands
    still at the hundredth request."""

    def __init__(self, answer: Answer, *, drop: Callable[[int], bool] = lambda _: False, stall_s: float = 0.0) -> None:
        self.answer, self.drop, self.stall_s = answer, drop, stall_s
        self.keys, self.bodies = Counter[bytes](), set[bytes]()
        self.number, self.port = 0, 0
        self.stalled = asyncio.Event()
        self.stalled.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self.talk, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await ended()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                self.number += 1
                if self.drop(self.number):
                    break
                if self.stall_s and self.number == 100:
                    self.stalled.clear()
                    asyncio.get_running_loop().call_later(self.stall_s, self.stalled.set)
                await self.stalled.wait()
                found = KEY.search(head)
                assert found is not None
                status, said = self.answer(found[1], self.keys[found[1]])
                self.keys[found[1]] += 1
                self.bodies.add(body)
                # In two pieces, so that an answer has to be put together.
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(said)}\r\n".encode())
                await asyncio.sleep(0)
                writer.write(b"\r\n" + said)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def accepted(key: bytes, _: int) -> tuple[str, bytes]:
    """As payonce answers: the same key, the same payment."""
    return "202 Accepted", b'{"transactionId": "pay_' + key + b'"}'


async def ended() -> None:
    """All that this loop began, connections of servers among it, has come to its end."""
    async with asyncio.timeout(5):
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)  # what is closed tells it in the next rounds


async def loaded(server: Server, **spec: object) -> tuple[Load, Run]:
    given = {"port": server.port, "seconds": 0.3, "connections": 4} | spec
    run = Run(Spec(**given), asyncio.get_running_loop())  # type: ignore[arg-type]
    await run.connect()
    return await run.go(), run


def test_each_request_is_counted_once() -> None:
    """Without failures: all are sent with a key and a body of their own, and the count is the server's."""

    async def check() -> None:
        async with Server(accepted) as server:
            got, _ = await loaded(server, warm_s=0.1)
            assert got.accepted == len(server.keys) == len(server.bodies) == server.number
            assert set(server.keys.values()) == {1}
            assert got.sent == got.ok > 20
            assert (got.refused, got.errors, got.said) == (0, 0, "")
            assert got.accepted > got.ok  # the warm-up is not counted
            assert got.rate == pytest.approx(sum(got.per_second) / 0.3)
            assert 0 < got.p50_ms <= got.p90_ms <= got.p99_ms <= got.max_ms

    asyncio.run(check())


def test_other_answers_are_no_success() -> None:
    """A 503 is a refusal; a 500, a 202 without a payment and a dropped connection are errors. The first one is told."""
    number = 0

    def answer(key: bytes, before: int) -> tuple[str, bytes]:
        nonlocal number
        number += 1
        wrong = {1: ("503 Busy", b"{}"), 2: ("500 Oops", b"{}"), 3: ("202 Accepted", b'{"id": 1}')}
        return wrong.get(number % 10) or accepted(key, before)

    async def check() -> None:
        async with Server(answer, drop=lambda n: n % 10 == 5) as server:
            got, _ = await loaded(server)
            answered = got.sent - sum(n % 10 == 5 for n in range(1, server.number + 1))
            assert got.sent == server.number == got.ok + got.refused + got.errors
            assert got.refused == sum(n % 10 == 1 for n in range(1, answered + 1))
            assert got.errors == sum(n % 10 in (2, 3) for n in range(1, answered + 1)) + server.number - answered
            assert got.said.startswith("HTTP/1.1 503")
            with pytest.raises(Broken, match="503"):
                got.require_good("the server")

    asyncio.run(check())


def test_a_connection_that_comes_too_late_is_closed() -> None:
    """One that takes the place of a lost one when the load is over would stay open for ever."""

    async def check() -> None:
        async with Server(accepted) as server:
            _, run = await loaded(server)
            late, _ = await asyncio.get_running_loop().create_connection(lambda: Sender(run), "127.0.0.1", server.port)
            assert late.is_closing()

    asyncio.run(check())


@pytest.mark.parametrize("honest", [True, False])
def test_repeats_must_get_the_same_payment(*, honest: bool) -> None:
    """A part of the requests repeats a key with its body; another payment for it is an error, and no repeat counts as new."""

    def forgetful(key: bytes, before: int) -> tuple[str, bytes]:
        return accepted(key + b"%d" % before, before)

    async def check() -> None:
        async with Server(accepted if honest else forgetful) as server:
            got, _ = await loaded(server, repeat_share=0.3)
            repeats = server.number - len(server.keys)
            assert 0.1 < repeats / server.number < 0.5
            assert len(server.bodies) == len(server.keys) == got.accepted
            assert got.errors == (0 if honest else repeats)

    asyncio.run(check())


def test_who_waits_is_counted_while_a_server_stands_still() -> None:
    """Open loop: a pause of 200 ms delays all that were planned within it, and the rate stays what was asked for."""

    async def check() -> None:
        async with Server(accepted, stall_s=0.2) as server:
            got, _ = await loaded(server, rate=500.0, seconds=0.6)
            assert got.errors == 0
            assert got.sent == pytest.approx(300, rel=0.25)
            # A third of them fell into the pause; a closed loop of four would have seen it four times.
            assert got.p90_ms > 80
            assert got.max_ms == pytest.approx(200, rel=0.5)

    asyncio.run(check())


def test_an_answer_that_never_comes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is still open after the grace is counted, not forgotten."""
    monkeypatch.setattr("benchmarks.sending.GRACE_S", 0.05)

    async def check() -> None:
        async with Server(accepted) as server:
            server.stalled.clear()
            got, _ = await loaded(server, seconds=0.1)
            assert (got.sent, got.ok, got.errors) == (4, 0, 4)
            assert "no answer" in got.said
            server.stalled.set()

    asyncio.run(check())


def test_the_window_follows_the_provider() -> None:
    """With a window no more payments are posted than were charged, and the window on top."""
    charged = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while await reader.readline():
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%d" % (len(str(charged)), charged))

    async def check() -> None:
        nonlocal charged
        provider = await asyncio.start_server(count, "127.0.0.1", 0)
        async with provider, Server(accepted) as server:
            port = provider.sockets[0].getsockname()[1]
            running = asyncio.create_task(loaded(server, window=10, progress_port=port, seconds=0.4))
            until = time.monotonic() + 5
            while server.number < 10:
                assert time.monotonic() < until
                await asyncio.sleep(0.01)
            assert server.number == 10
            charged = 7
            got, _ = await running
            assert got.accepted == server.number == 17

    asyncio.run(check())


def test_the_process_of_its_own_says_the_same() -> None:
    """``load.run`` starts a process, hands it the specification, and reads its result; a server that is not there is told."""

    async def check() -> None:
        async with Server(accepted) as server:
            got = await asyncio.to_thread(load.run, Spec(port=server.port, seconds=0.3, connections=2))
            assert got.ok == len(server.keys) > 0
            assert 0 < got.busy < 1.5

    asyncio.run(check())


def test_percentiles_are_those_of_the_values() -> None:
    """Within a thousandth, from microseconds to minutes."""
    chance = random.Random(5)
    values = sorted(int(chance.lognormvariate(9, 3)) for _ in range(5000))
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    for percent in (1, 50, 90, 99, 99.9):
        exact = values[-(-int(percent * 50) // 1) - 1]
        assert histogram.percentile_ms(percent) == pytest.approx(exact / 1000, rel=0.002)
    assert histogram.percentile_ms(100) == pytest.approx(values[-1] / 1000)
