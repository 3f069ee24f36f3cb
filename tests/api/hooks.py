"""An API whose merchants have endpoints: a courier in this process, and receivers that keep what they are sent."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping

import httpx2

from payonce.api.app import create_app
from payonce.core.errors import StoreUnavailable
from payonce.merchants.journal import Journal
from payonce.outbound import endpoints as places
from payonce.outbound.courier import Courier
from payonce.outbound.endpoints import ACTIVE_AFTER_US, Endpoints
from payonce.outbound.sending import Sent
from payonce.ports import Record
from payonce.stores.memory import MemoryRegistry, MemoryStore

from .service import JsonObject, Service, all_ok, engine_over, open_door

HOOK = {"url": "https://shop.example/hooks", "types": ["payment.succeeded", "refund.*"], "description": "the shop"}


class Receivers:
    """The other ends: keep what comes, and answer with ``status``."""

    def __init__(self) -> None:
        self.status, self.got = 204, list[tuple[str, dict[str, str], bytes]]()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        self.got.append((url, dict(headers), body))
        return Sent(status=self.status, said="" if self.status == 204 else f"it answered {self.status}")


class Registry(MemoryRegistry):
    """Takes no writes while it is full."""

    full = False

    async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
        if self.full:
            raise StoreUnavailable("the disk is full")
        return await super().put(kind, name, value, expected_version)

    async def endpoints(self) -> tuple[Record, ...]:
        return await self.all(places.KIND)


class Room(Service):
    """The service with endpoints and a courier that reaches ``receivers``."""

    registry: Registry
    receivers: Receivers
    courier: Courier
    journal: Journal

    async def hook(self, **fields: object) -> JsonObject:
        """A fresh endpoint, after the moment from which events are for it."""
        answer = await self.client.post("/webhook-endpoints", json={**HOOK, **fields})
        assert answer.status_code == 201, answer.text
        self.engine.clock.at_us += ACTIVE_AFTER_US  # type: ignore[attr-defined]
        body: JsonObject = answer.json()
        return body

    async def drain(self) -> None:
        """The courier does what is due now."""
        while rows := await self.courier.due(self.engine.clock.now_us(), 100):
            for row in rows:
                await self.courier.resolve(row.id)

    async def call(self, method: str, path: str, body: object = None) -> httpx2.Response:
        if body is None:
            return await self.client.request(method, path)
        headers = {"content-type": "application/json"}
        return await self.client.request(method, path, content=json.dumps(body).encode(), headers=headers)


def hooked(check: Callable[[Room], Awaitable[None]]) -> None:
    """Run ``check`` against a fresh room."""

    async def run() -> None:
        store, registry, receivers = MemoryStore(), Registry(), Receivers()
        engine = engine_over(store)
        clock, entropy, wake, journal = engine.clock, engine.entropy, engine.wake, Journal(registry, engine.clock)
        known = Endpoints(registry, clock, entropy, journal, lambda: b"k" * 32)
        at = {"clock": clock, "entropy": entropy, "wake": wake}
        courier = Courier(store.outbox, store, known, receivers, journal, timeout_ms=1000, **at)  # type: ignore[arg-type]
        engine.listeners = known
        app = create_app(engine, door=open_door(engine), ready=all_ok, endpoints=known, courier=courier)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://payonce.test") as client:
            room = Room(app, engine, store, client)
            room.registry, room.receivers, room.courier, room.journal = registry, receivers, courier, journal
            await check(room)

    asyncio.run(run())
