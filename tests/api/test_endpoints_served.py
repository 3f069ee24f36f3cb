"""The whole of it over HTTP: a real server with keys, two merchants, and a real receiver for each."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from msgspec import Struct

from payonce.config import load
from payonce.merchants.keys import SCOPES
from payonce.serving import Served, serving
from tests.receiver import Receiver

from .service import GOOD, problem_of

standardwebhooks = pytest.importorskip("standardwebhooks", reason="the oracle is a dependency of development")
DEADLINE_S = 30
CONFIG = "version = 1\n[providers.mock]\n"


class Merchant(Struct):
    """A merchant's program: its client, its receiver, and the endpoint that leads there."""

    client: httpx2.AsyncClient
    shop: Receiver
    hook: dict[str, Any] = {}

    async def register(self) -> None:
        answer = await self.client.post("/webhook-endpoints", json={"url": f"{self.shop.url}/hook"})
        assert answer.status_code == 201, answer.text
        self.hook = answer.json()

    async def pay(self, key: str) -> str:
        answer = await self.client.post("/payments", json=GOOD, headers={"idempotency-key": key})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["transactionId"])

    async def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.client.get("/events")).json()["data"]
        return found

    async def happened(self, count: int) -> None:
        """Until so many events are listed."""
        async with asyncio.timeout(DEADLINE_S):
            while len(await self.events()) < count:
                await asyncio.sleep(0.02)

    async def recover(self) -> None:
        """All that happened, also in the seconds in which a fresh endpoint does not count yet."""
        since = {"since": self.hook["createdAt"]}
        assert (await self.client.post(f"/webhook-endpoints/{self.hook['id']}/recover", json=since)).status_code == 202

    def heard(self) -> set[str]:
        """Payments that its receiver was told of, each message verified."""
        told = standardwebhooks.Webhook(self.hook["secret"])
        return {told.verify(m.body, dict(m.headers))["data"]["payment"]["transactionId"] for m in self.shop.got}


async def until(holds: Callable[[], Any], what: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


@asynccontextmanager
async def two_merchants(folder: Path) -> AsyncIterator[tuple[Merchant, Merchant]]:
    """A server on a port of its own with the default merchant and another one, each with a key and a receiver."""
    config = folder / "payonce.toml"
    config.write_text(CONFIG, encoding="utf-8")
    flags = {"store.data_dir": str(folder / "data"), "server.port": 0, "webhooks.allow_hosts": "127.0.0.1"}
    with Receiver() as first, Receiver() as second:
        async with serving(load(flags, {}, config)) as served:
            other = served.app.merchants.new("Another")
            await served.app.merchants.add(other)
            async with _client(served, "mer_default") as one, _client(served, other.id) as two:
                yield Merchant(one, first), Merchant(two, second)


@asynccontextmanager
async def _client(served: Served, merchant_id: str) -> AsyncIterator[httpx2.AsyncClient]:
    key, text = served.app.keys.new(merchant_id, served.app.scope.mode, SCOPES)
    await served.app.keys.add(key)
    async with httpx2.AsyncClient(base_url=served.url, headers={"authorization": f"Bearer {text}"}, timeout=10) as client:
        yield client


def test_each_merchant_is_told_of_its_own_payments(tmp_path: Path) -> None:
    """Signed with its own secret; the events that are delivered are those that are listed, byte for byte."""

    async def main() -> None:
        async with two_merchants(tmp_path) as both:
            paid: list[set[str]] = []
            for merchant in both:
                await merchant.register()
                paid.append({await merchant.pay(f"order-{n}") for n in range(3)})
            for merchant in both:
                await merchant.happened(3)
                await merchant.recover()
            for merchant, own in zip(both, paid, strict=True):
                await until(lambda m=merchant, own=own: m.heard() == own, "all of its own, and nothing else")  # type: ignore[misc]
                for message in merchant.shop.got:
                    event = await merchant.client.get(f"/events/{message.id}")
                    assert event.content == message.body

    asyncio.run(main())


def test_nothing_of_the_others_can_be_used(tmp_path: Path) -> None:
    """Endpoints, deliveries, events and cursors of one are to the other as what never was, and stay as they were."""

    async def main() -> None:
        async with two_merchants(tmp_path) as (theirs, mine):
            await theirs.register()
            await theirs.pay("order")
            await theirs.happened(1)
            await theirs.recover()
            await until(lambda: theirs.shop.got, "they are told")
            path = f"/webhook-endpoints/{theirs.hook['id']}"
            (event,) = await theirs.events()
            (d,) = (await theirs.client.get(f"{path}/deliveries")).json()["data"]
            before = (await theirs.client.get(path)).json()
            since = {"since": theirs.hook["createdAt"]}
            for method, foreign, unknown, body in (
                ("GET", path, "/webhook-endpoints/whe_" + "0" * 20, None),
                ("PATCH", path, "/webhook-endpoints/whe_" + "0" * 20, {"url": "https://elsewhere.example"}),
                ("DELETE", path, "/webhook-endpoints/whe_" + "0" * 20, None),
                ("POST", f"{path}/rotate-secret", f"/webhook-endpoints/whe_{'0' * 20}/rotate-secret", None),
                ("POST", f"{path}/test", f"/webhook-endpoints/whe_{'0' * 20}/test", None),
                ("POST", f"{path}/recover", f"/webhook-endpoints/whe_{'0' * 20}/recover", since),
                ("GET", f"{path}/deliveries", f"/webhook-endpoints/whe_{'0' * 20}/deliveries", None),
                ("GET", f"/webhook-deliveries/{d['id']}", "/webhook-deliveries/dlv_" + "0" * 20, None),
                ("POST", f"/webhook-deliveries/{d['id']}/replay", f"/webhook-deliveries/dlv_{'0' * 20}/replay", None),
                ("GET", f"/events/{event['id']}", "/events/evt_" + "0" * 26, None),
            ):
                said = []
                for where in (foreign, unknown):
                    problem = problem_of(await mine.client.request(method, where, **({"json": body} if body else {})))  # type: ignore[arg-type]
                    said.append({k: v for k, v in problem.items() if k not in ("instance", "requestId")})
                assert said[0] == said[1]
                assert said[0]["status"] == 404
            page = (await theirs.client.get("/events")).json()
            foreign, nonsense = [
                await mine.client.get("/events", params={"cursor": c}) for c in (page["nextCursor"], "nonsense")
            ]
            assert problem_of(foreign)["detail"] == problem_of(nonsense)["detail"]
            assert (await mine.client.get("/webhook-endpoints")).json() == {"data": []}
            assert (await theirs.client.get(path)).json() == before
            assert len(theirs.shop.got) == 1
            assert mine.shop.got == []

    asyncio.run(main())


def test_a_receiver_that_was_down_gets_everything_after_it_returns(tmp_path: Path) -> None:
    """What failed is sent again: at the latest when it asks for it."""

    async def main() -> None:
        async with two_merchants(tmp_path) as (merchant, _):
            await merchant.register()
            merchant.shop.status = 503
            await merchant.pay("order")
            await merchant.happened(1)
            await merchant.recover()
            await until(lambda: merchant.shop.got, "the first try")
            path = f"/webhook-endpoints/{merchant.hook['id']}"
            (d,) = (await merchant.client.get(f"{path}/deliveries", params={"state": "pending"})).json()["data"]
            merchant.shop.status = 204
            merchant.shop.got.clear()
            assert (await merchant.client.post(f"/webhook-deliveries/{d['id']}/replay")).status_code == 202
            await until(lambda: merchant.shop.got, "the replay")
            assert json.loads(merchant.shop.got[0].body)["id"] == d["eventId"]

    asyncio.run(main())
