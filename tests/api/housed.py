"""An API with a house behind it: two tiny accounts and the rules of a payonce.toml. Whoever comes is mer_default until a test
makes a key."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import httpx2
from msgspec import Struct
from starlette.applications import Starlette

from payonce.api.app import create_app
from payonce.api.house import House
from payonce.config import load
from payonce.engine import Engine, Policy, Ports
from payonce.mail import Webhook
from payonce.outbound.courier import Courier
from payonce.outbound.endpoints import Endpoints
from payonce.stores.memory import MemoryRegistry, MemoryStore

from .service import START_US, CountingEntropy, Echo, TickingClock, Woken, account, all_ok, house_over, open_door, ring, telling

ACCOUNTS: Final = 'version = 1\n[providers.a]\nadapter = "mock"\nsecret = "env:A_SECRET"\n[providers.b]\nadapter = "mock"\n'
RULES: Final = '[[rules]]\nname = "inr"\nwhen = { currency = "INR" }\nuse = ["b"]\nfallback = "none"\n[[rules]]\nuse = ["a"]\n'


class Housed(Struct, frozen=True):
    """A running API and what lies behind it."""

    app: Starlette
    client: httpx2.AsyncClient
    engine: Engine
    store: MemoryStore
    house: House
    endpoints: Endpoints
    courier: Courier
    woken: Woken

    async def made(self, key: str, **fields: Any) -> str:
        """The id of a payment that was accepted and worked on once."""
        body = {"amount": 1050, "currency": "INR", "paymentMethod": "tok_ok", **fields}
        answer = await self.client.post("/payments", json=body, headers={"idempotency-key": key})
        assert answer.status_code == 202, answer.text
        id: str = answer.json()["transactionId"]
        await self.engine.advance(id)
        return id

    async def heard(self, id: str, **fields: Any) -> Webhook:
        """A webhook of account a in the inbox."""
        at = {"received_us": START_US, "last_us": START_US, "due_us": START_US}
        w = Webhook(**{"id": id, "account": "a", "event": f"evt_{id}", "kind": "payment.captured", **at, **fields})
        assert await self.house.inbox.put(w)
        if w.state != "new":
            assert await self.house.inbox.settle(w)
        return w

    async def acts(self) -> list[tuple[str, str, dict[str, Any]]]:
        """What, subject and data of each entry of the journal."""
        return [(w.act.what, w.act.subject, dict(w.act.data)) for w in await self.house.journal.read()]


def behind(folder: Path, toml: str = ACCOUNTS + RULES) -> Housed:
    """Make it anew."""
    file = folder / "payonce.toml"
    file.write_text(toml)
    settings, registry, store = load({}, {}, file), MemoryRegistry(), MemoryStore()
    clock, woken = TickingClock(), Woken()
    ports = Ports(store=store, transport=Echo(), clock=clock, entropy=CountingEntropy(), wake=woken)
    engine = Engine(ports, {p.name: account(p.name) for p in settings.providers}, Policy(), rules=settings.rules)
    endpoints, courier = telling(engine, store, registry)
    keys = ring(registry, clock)
    house = house_over(engine, registry, keys=keys, settings=settings, wake=woken)
    door = open_door(engine, keys=keys)
    app = create_app(engine, door=door, ready=all_ok, endpoints=endpoints, courier=courier, house=house)
    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://payonce.test")
    return Housed(app, client, engine, store, house, endpoints, courier, woken)


def housed(folder: Path, check: Callable[[Housed], Awaitable[None]], toml: str = ACCOUNTS + RULES) -> None:
    """Run ``check`` against a fresh one."""

    async def run() -> None:
        made = behind(folder, toml)
        async with made.client:
            await check(made)

    asyncio.run(run())
