"""Files that are sent as they are made: to nobody who has gone, few at once, at the key's rate, with an end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from payonce.core.errors import Refused
from payonce.dashboard import downloading
from payonce.dashboard.downloading import AT_ONCE, LAST_S, REST_S, Downloads, Full
from payonce.dashboard.incoming import Came
from payonce.dashboard.pages import export
from payonce.dashboard.visit import Download
from payonce.merchants.keys import Caller
from payonce.ports import Scope
from tests.two_processes import Clock

from .house import House, until

PARTS = 20


class Busy(Refused):
    retry_after_s = 7


class Porter:
    """The door: counts, and lets nobody more in after so many."""

    def __init__(self, clock: Clock, room: int = 10_000) -> None:
        self._clock, self.room, self.counted, self.freed_us = clock, room, 0, 0

    @contextmanager
    def lobby(self) -> Iterator[None]:
        yield

    @contextmanager
    def share(self, caller: Caller) -> Iterator[None]:
        yield

    def pace(self, caller: Caller) -> None:
        if self.counted >= self.room and self._clock.at_us < self.freed_us:
            raise Busy("rate_limited", "too often")
        self.counted += 1


class Ground:
    """A place for downloads, and what becomes of the file that is being made."""

    def __init__(self, room: int = 10_000) -> None:
        self.clock = Clock()
        self.porter = Porter(self.clock, room)
        self.downloads = Downloads(self.porter, self.clock)
        self.made, self.closed = 0, 0

    async def parts(self, each_s: float = 0, fails_at: int = 0) -> AsyncIterator[bytes]:
        try:
            for n in range(1, PARTS + 1):
                if n == fails_at:
                    raise Refused("validation_failed", "it broke")
                self.clock.pass_us(int(each_s * 1_000_000))
                self.made = n
                await asyncio.sleep(0)
                yield b"%d\n" % n
        finally:
            self.closed += 1

    async def send(self, client: "Client", who: str = "a", method: str = "GET", **how: Any) -> None:
        caller = Caller(scope=Scope("mer_default", "test"), scopes=frozenset({"admin"}), name=who)
        came = Came({"method": method}, client.receive, "")
        await self.downloads.send(Download("text/csv", "x.csv", self.parts(**how), b"cut\n"), caller, came, client.send)


class Client:
    """Reads until ``leaves`` says so; ``stuck``: takes the head and then nothing more."""

    def __init__(self, leaves: Callable[[bytes], bool] = lambda _: False, *, stuck: bool = False) -> None:
        self._leaves, self._stuck = leaves, stuck
        self._asked, self._gone, self.began = False, asyncio.Event(), asyncio.Event()
        self.got, self.status, self.whole = b"", 0, False

    async def receive(self) -> Any:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self.began.set()
        if self._stuck:
            await asyncio.Event().wait()
        self.got += message["body"]
        self.whole = not message.get("more_body", False)
        if self._leaves(self.got):
            self._gone.set()

    def leave(self) -> None:
        self._gone.set()


def test_all_of_it_comes_and_each_part_counts() -> None:
    """Every part once, in order; after each a rest, and one request of the key."""

    async def check() -> None:
        g, client, began = Ground(), Client(), Clock().at_us
        await g.send(client)
        assert client.got == b"".join(b"%d\n" % n for n in range(1, PARTS + 1))
        assert (client.whole, g.closed, g.porter.counted) == (True, 1, PARTS)
        assert g.clock.at_us - began >= PARTS * REST_S * 1_000_000

    asyncio.run(check())


def test_a_client_that_goes_ends_the_making() -> None:
    """Nothing more is made, the generator is closed, and the place is free."""

    async def check() -> None:
        g, client = Ground(), Client(leaves=lambda got: got.count(b"\n") >= 3)
        with pytest.raises(ClientDisconnect):
            await g.send(client)
        assert 3 <= g.made < PARTS
        assert g.closed == 1
        again = Client()
        await g.send(again)
        assert again.whole

    asyncio.run(check())


def test_a_client_that_does_not_read_is_written_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a server that waits for it without an end."""
    monkeypatch.setattr(downloading, "SEND_S", 0.01)

    async def check() -> None:
        g = Ground()
        with pytest.raises(ClientDisconnect):
            await g.send(Client(stuck=True))
        assert (g.made, g.closed) == (1, 1)

    asyncio.run(check())


def test_so_many_at_once_and_one_of_each_caller() -> None:
    """Whoever has one, and whoever comes after so many, is told to come later; nothing of their file is made."""

    async def check() -> None:
        g = Ground()
        clients = [Client(stuck=True) for _ in range(AT_ONCE)]
        running = [asyncio.create_task(g.send(each, who=f"key_{n}")) for n, each in enumerate(clients)]
        for each in clients:
            await each.began.wait()
        for who in ("key_0", "key_9"):
            late = Client()
            with pytest.raises(Full) as refused:
                await g.send(late, who=who)
            assert (refused.value.code, refused.value.status, late.status) == ("over_capacity", 503, 0)
            assert refused.value.retry_after_s > 0
        clients[0].leave()
        with pytest.raises(ClientDisconnect):
            await running[0]
        await g.send(Client(), who="key_0")
        clients[1].leave()
        await asyncio.wait(running)

    asyncio.run(check())


def test_places_are_free_after_every_end() -> None:
    """One that fails before its answer began, one in the midst, one that is cut off by the server's own end."""

    async def check() -> None:
        g = Ground()
        for fails_at, status in ((1, 0), (3, 200)) * AT_ONCE:
            client = Client()
            with pytest.raises(Refused, match="it broke"):
                await g.send(client, fails_at=fails_at)
            assert (client.status, client.whole) == (status, False)
        for _ in range(AT_ONCE + 1):
            stuck = Client(stuck=True)
            cut = asyncio.create_task(g.send(stuck))
            await stuck.began.wait()
            cut.cancel()
            await asyncio.wait([cut])
            assert cut.cancelled()
        closed, last = g.closed, Client()
        await g.send(last)
        assert (last.whole, g.closed) == (True, closed + 1)

    asyncio.run(check())


def test_a_file_that_takes_too_long_is_cut_and_says_so() -> None:
    """It ends as a whole answer, with the line that tells it."""

    async def check() -> None:
        g, client = Ground(), Client()
        await g.send(client, each_s=LAST_S / 4)
        assert client.whole
        assert client.got.endswith(b"cut\n")
        assert b"%d\n" % PARTS not in client.got
        assert g.closed == 1

    asyncio.run(check())


def test_a_key_that_is_over_its_rate_waits() -> None:
    """The file goes on when the rate lets it, and is whole."""

    async def check() -> None:
        g, client = Ground(room=2), Client()
        g.porter.freed_us = g.clock.at_us + 30_000_000
        await g.send(client)
        assert client.whole
        assert client.got.count(b"\n") == PARTS
        assert g.clock.at_us >= g.porter.freed_us

    asyncio.run(check())


def test_a_look_at_the_head_makes_no_file() -> None:
    """HEAD: the headers, and not one part after the first."""

    async def check() -> None:
        g, client = Ground(), Client()
        await g.send(client, method="HEAD")
        assert (client.status, client.got, client.whole, g.made, g.closed) == (200, b"", True, 1, 1)

    asyncio.run(check())


def test_the_third_is_told_so_on_a_page(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the status, when to come again, and what state the money is in."""
    visitor = house.signed_in("payments:read")
    monkeypatch.setattr(downloading, "AT_ONCE", 0)
    answer = visitor.get("/payments.csv")
    assert answer.status_code == 503
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["retry-after"] == str(downloading.RETRY_S)
    assert "Payments go on as before." in answer.text
    monkeypatch.undo()
    assert visitor.get("/payments.csv").status_code == 200


def test_a_browser_that_closes_frees_its_place(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a real connection: the endless file of a browser that is gone ends, and the next one of the same caller is made."""
    ended = []

    async def endless(*_: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
        finally:
            ended.append(True)

    monkeypatch.setattr(export, "_streamed", endless)
    visitor = house.signed_in("payments:read")
    with visitor.http.stream("GET", "/dashboard/payments.csv") as answer:
        assert answer.status_code == 200
        reading = answer.iter_raw()  # kept: without it the connection is closed
        assert next(reading)
        assert visitor.get("/payments.csv").status_code == 503
    assert until(lambda: bool(ended))
    monkeypatch.undo()
    assert until(lambda: visitor.get("/payments.csv").status_code == 200)
