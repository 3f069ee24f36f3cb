"""What a review of issue 7 found: one merchant in another's way, and words that leave the house. A test that is marked fails
until its defect is repaired."""

import asyncio
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest

from payonce.bootstrap import App, LocalWake, SystemClock, SystemEntropy, open_app
from payonce.config import load
from payonce.core.actors import operator
from payonce.core.errors import Refused
from payonce.lanes import Lanes
from payonce.merchants import Merchants
from payonce.merchants.journal import Journal
from payonce.merchants.keys import Keyring
from payonce.outbound.endpoints import ENDPOINTS_MAX, Endpoints
from payonce.outbound.guard import Allowed
from payonce.outbound.sending import LOOKS_MAX, HttpSender, Sent
from payonce.ports import Scope
from payonce.process import Worker
from payonce.serving import api_of
from payonce.shown.views import history_entry
from payonce.stores.memory import MemoryRegistry
from payonce.telemetry.watching import Watcher
from payonce.testing.store_changes import START_US, accept
from tests.outbound.hostile import answers, serving
from tests.outbound.room import SCOPE, HandClock, Process, Room, run

HOSTILE, OTHER = SCOPE, Scope("mer_0123456789abcdefghjk", "test")
PATIENCE_S = 5
CARD = "4242424242424242"


async def until(holds: Any, clock: HandClock | None = None) -> bool:
    """Whether it came to hold, in the time that a loaded machine may take; a clock of the test's own goes on meanwhile."""
    for _ in range(PATIENCE_S * 50):
        if holds():
            return True
        await asyncio.sleep(0.02)
        if clock:
            clock.at_us += 20_000
    return False


def ledger_as(folder: Path, method: str, path: str, body: bytes = b"") -> int:
    """What one merchant's admin key gets from the sandbox's pages of a server that several merchants share."""

    async def ask() -> int:
        async with open_app(load({"store.data_dir": str(folder)}, {})) as app:
            key, token = app.keys.new(OTHER.merchant_id, "test", ("admin",))
            await app.keys.add(key)
            there = httpx2.ASGITransport(app=api_of(app))
            async with httpx2.AsyncClient(transport=there, base_url="http://localhost") as client:
                answer = await client.request(method, path, content=body, headers={"authorization": f"Bearer {token}"})
                return answer.status_code

    return asyncio.run(ask())


@pytest.mark.parametrize("page", ["/sandbox/ledger", "/sandbox/outbox", "/sandbox/webhooks"])
def test_the_sandboxs_books_are_not_for_one_of_several_merchants(tmp_path: Path, page: str) -> None:
    """They hold every merchant's amounts, references and descriptions."""
    assert ledger_as(tmp_path, "GET", page) in (401, 403, 404)


@pytest.mark.parametrize(
    ("page", "body"),
    [("/sandbox/webhooks", b'{"stripe": ["http://169.254.169.254/latest"]}'), ("/sandbox/faults", b'{"outage": true}')],
)
def test_one_merchant_does_not_turn_the_sandbox_against_another(tmp_path: Path, page: str, body: bytes) -> None:
    """Its faults and its webhooks' addresses are everybody's, and no guard looks at the latter."""
    assert ledger_as(tmp_path, "PUT", page, body) in (401, 403, 404)


def test_slow_endpoints_of_one_merchant_leave_room_for_another() -> None:
    """With eight slow endpoints and three payments of one, the event of the other is delivered all the same."""

    async def check(room: Room) -> None:
        room.receivers = cast("Any", Hanging("slow"))
        process = Process(room, cast("Any", SimpleNamespace(over=lambda target: target)), lambda: room.key)
        for n in range(8):
            await process.endpoints.create(HOSTILE, f"https://slow.example.com/{n}", actor="test")
        await process.endpoints.create(OTHER, "https://fast.example.com/in", actor="test")
        room.clock.at_us += 10_000_000
        for _ in range(3):
            await room.pay(scope=HOSTILE)
        app = SimpleNamespace(
            clock=room.clock,
            wake=LocalWake(),
            store=room.store,
            courier=process.courier,
            endpoints=process.endpoints,
            webhooks=None,
            heed_hold=_nothing,
            engine=SimpleNamespace(advance=_nothing, lanes=Lanes({})),
            watcher=Watcher(room.clock),
        )
        worker = Worker(cast("App", app), concurrency=16, poll_ms=20)
        running = asyncio.create_task(worker.run())
        hanging = cast("Hanging", room.receivers)
        assert await until(lambda: len(hanging.slow) >= 8, room.clock)
        await room.pay(scope=OTHER)
        told = await until(lambda: bool(hanging.fast), room.clock)
        hanging.gate.set()
        await worker.stop(1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert told

    run(check)


async def _nothing(*_: object) -> None:
    return None


class Hanging:
    """Receivers: those whose URL holds ``name`` do not answer before the gate opens."""

    def __init__(self, name: str) -> None:
        self._name, self.gate = name, asyncio.Event()
        self.slow, self.fast = list[str](), list[str]()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        if self._name in url:
            self.slow.append(url)
            await self.gate.wait()
        else:
            self.fast.append(url)
        return Sent(status=200)


def test_names_that_dns_does_not_answer_keep_no_delivery_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of them somebody registers, another merchant's host is looked up in time."""
    gate, real = threading.Event(), socket.getaddrinfo

    def look(host: str, *rest: Any, **named: Any) -> Any:
        if host.startswith("dead"):
            gate.wait(30)
            raise socket.gaierror
        return real("127.0.0.1" if host == "shop.example" else host, *rest, **named)

    async def check() -> Sent:
        sender = HttpSender(SystemClock(), Allowed(names=frozenset({"shop.example"})), timeout_ms=2000)
        async with serving(answers(b"HTTP/1.1 204 No Content\r\n\r\n")) as good:
            looks = [asyncio.create_task(sender.addresses(f"dead{n}.example.com")) for n in range(3 * LOOKS_MAX)]
            await asyncio.sleep(0)
            try:
                return await sender.post(f"http://shop.example:{good.port}/", {}, b"{}")
            finally:
                gate.set()
                await asyncio.gather(*looks, return_exceptions=True)
                await sender.close()

    monkeypatch.setattr(socket, "getaddrinfo", look)
    assert asyncio.run(check()).status == 204


def test_endpoints_have_their_most_also_at_once() -> None:
    """Requests that come at the same time register no more than a merchant may have."""

    async def check() -> int:
        registry, clock = Yielding(), SystemClock()
        endpoints = Endpoints(registry, clock, SystemEntropy(), Journal(registry, clock), lambda: b"k" * 32)
        asked = [endpoints.create(SCOPE, f"https://shop.example.com/{n}", actor="test") for n in range(2 * ENDPOINTS_MAX)]
        await asyncio.gather(*asked, return_exceptions=True)
        return len(await endpoints.all(SCOPE))

    assert asyncio.run(check()) <= ENDPOINTS_MAX


class Yielding(MemoryRegistry):
    """Lets others run at each question, as a store on a disk does."""

    async def all(self, kind: str) -> Any:
        await asyncio.sleep(0)
        return await super().all(kind)


def test_merchants_do_not_read_who_operates_payonce() -> None:
    """The history that the API shows names an operator's act, not the user and the machine."""
    p, change = grown_by_operator()
    shown = [history_entry(p, entry) for entry in change]
    assert [e.actor for e in shown] == ["operator"]


def grown_by_operator() -> tuple[str, tuple[Any, ...]]:
    """A payment that an operator's program accepted: its id and its entries."""
    made = accept(1, at_us=START_US, due_us=None, actor=operator("alice", "host-7"))
    return made.payment.id, made.entries


def test_no_name_on_record_holds_a_card_number() -> None:
    """A merchant's and a key's name: refused, as everything else that holds one."""

    async def check() -> bytes:
        registry, clock = MemoryRegistry(), SystemClock()
        keys = Keyring(registry, clock, SystemEntropy())
        merchants = Merchants(registry, clock, SystemEntropy())
        try:
            key, _ = keys.new("mer_default", "test", ("admin",), name=CARD)
            await keys.add(key)
            merchant = merchants.new(CARD)
            await merchants.add(merchant)
        except Refused:
            pass
        return b"".join([r.value for kind in ("key", "merchant") for r in await registry.all(kind)])

    assert CARD.encode() not in asyncio.run(check())
