"""More clients than a server may serve, and more payments than its provider takes: what is accepted is settled, once, the rest
is told so cleanly, and neither memory nor the calls at the provider grow. A real process, and the real sandbox beside it."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from payonce.bootstrap import SystemClock, SystemEntropy
from payonce.httpd import bind, http_server
from payonce.merchants import DEFAULT_MERCHANT, Merchants
from payonce.merchants.keys import SCOPES, Keyring
from payonce.sandbox.server import Sandbox, sandbox_app
from payonce.stores.sqlite import open_store

from .running import Payonce

CALLS_MAX = 4
CLIENTS = 40  # of each key
POSTS_S = 6.0  # at most, and at most
ACCEPTED_MAX = 120  # of each key; what is refused goes on for a second at least
REFUSED_S = 1.0
SETTLE_S = 30.0
GROWTH_KB_MAX = 120_000  # generous: what grew without a bound would be more than that for each of the thousands of requests
LIMITED = {"over_capacity": 503, "rate_limited": 429, "retry_same_key": 503}

TOML = f"""version = 1
[server]
drain_s = 5
[sandbox]
url = "URL"
[worker]
concurrency = 64
[limits]
requests_max = 12
connections_max = 60
backlog_max = 40
key_rate_per_s = 5000
[providers.mock]
calls_max = {CALLS_MAX}
[providers.razorpay_mock]
merchants = "mer_somebody_else"
"""


class Counted:
    """The sandbox, and how many calls of a vendor are under way at once."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.now, self.most, self.calls = sandbox, 0, 0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith("/mock"):
            await self.sandbox(scope, receive, send)
            return
        self.now, self.calls = self.now + 1, self.calls + 1
        self.most = max(self.most, self.now)
        try:
            await self.sandbox(scope, receive, send)
        finally:
            self.now -= 1


@asynccontextmanager
async def counted_sandbox(folder: Path) -> AsyncIterator[tuple[Counted, str]]:
    sandbox = sandbox_app(folder / "ledger.db", SystemClock())
    counted, sock = Counted(sandbox), bind("127.0.0.1", 0)
    try:
        async with http_server(counted, sock, drain_s=2) as url:
            yield counted, url
    finally:
        sandbox.close()


class Shop:
    """Clients of one key that post as fast as they are answered, and note what they are told."""

    def __init__(self, url: str, name: str, token: str) -> None:
        self.url, self.name, self.head = url, name, {"Authorization": f"Bearer {token}"}
        self.accepted: dict[str, str] = {}  # id -> key
        self.refused: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def crowd(self) -> None:
        began = time.monotonic()
        limits = httpx2.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
        async with (
            httpx2.AsyncClient(base_url=self.url, timeout=20, trust_env=False, headers=self.head, limits=limits) as client,
            asyncio.TaskGroup() as group,
        ):
            for n in range(CLIENTS):
                group.create_task(self._one(client, n, began))

    def _goes_on(self, began: float) -> bool:
        passed = time.monotonic() - began
        return passed < REFUSED_S or (passed < POSTS_S and len(self.accepted) < ACCEPTED_MAX)

    async def _one(self, client: httpx2.AsyncClient, who: int, began: float) -> None:
        n = 0
        while self._goes_on(began):
            key, n = f"{self.name}-{who}-{n}", n + 1
            body = {"amount": 1050, "currency": "USD", "paymentMethod": "tok_ok", "provider": "mock"}
            answer = await client.post("/payments", json=body, headers={"Idempotency-Key": key})
            if answer.status_code == 202:
                self.accepted[answer.json()["transactionId"]] = key
            else:
                self._note(answer)
                await asyncio.sleep(0.02)  # not as long as it was told to wait

    def _note(self, answer: httpx2.Response) -> None:
        told = json.loads(answer.content or b"{}")
        code = str(told.get("code"))
        self.refused[code] += 1
        clean = LIMITED.get(code) == answer.status_code and answer.headers["content-type"] == "application/problem+json"
        if not (clean and int(answer.headers.get("retry-after", "0")) >= 1):
            self.wrong.append(f"{answer.status_code} {answer.text[:200]}")

    async def settled(self, client: httpx2.AsyncClient, by: float) -> Counter[str]:
        """The statuses of all that this merchant has, when none is open any more. Nothing but what was accepted is there."""
        while await self._page(client, status="PENDING", limit="1"):
            assert time.monotonic() < by, f"not settled in time: {len(self.accepted)} were accepted"
            await asyncio.sleep(0.2)  # between two looks at the condition
        found = await self._page(client, limit="100")
        assert {each["transactionId"] for each in found} == set(self.accepted)
        return Counter(each["status"] for each in found)

    async def _page(self, client: httpx2.AsyncClient, **query: str) -> list[dict[str, str]]:
        """All pages of a list; one that was refused for want of room is asked for again."""
        found: list[dict[str, str]] = []
        cursor: dict[str, str] = {}
        async with asyncio.timeout(SETTLE_S):
            while True:
                answer = await client.get("/payments", params={**query, **cursor}, headers=self.head)
                if answer.status_code in (429, 503):
                    await asyncio.sleep(0.1)  # as it was told
                    continue
                page = answer.json()
                found += page["data"]
                if page["nextCursor"] is None or query.get("limit") == "1":
                    return found
                cursor = {"cursor": page["nextCursor"]}


def resident_kb(server: Payonce) -> int:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        pytest.skip("no /proc here")
    found = re.search(r"^VmRSS:\s+(\d+) kB", status.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


async def two_keys(data: Path) -> tuple[str, str]:
    """Of the default merchant, and of another one; the second may ask 20 times a second."""
    data.mkdir()
    store, clock, entropy = await open_store(data / "payments.db"), SystemClock(), SystemEntropy()
    merchants, ring = Merchants(store.registry, clock, entropy), Keyring(store.registry, clock, entropy)
    other = merchants.new("Second")
    await merchants.add(other)
    tokens = []
    for merchant, rate in ((DEFAULT_MERCHANT, 0), (other.id, 20)):
        key, token = ring.new(merchant, "test", SCOPES, rate_per_s=rate)
        await ring.add(key)
        tokens.append(token)
    await store.close()
    return tokens[0], tokens[1]


def test_load_above_capacity_is_refused_cleanly_and_the_rest_is_settled(tmp_path: Path) -> None:
    """Two merchants' clients post far more than the server may handle at once, than its provider takes and than one of their
    keys may ask for. Every answer is a 202 or a 429 or 503 with Retry-After; all that got a 202 succeed, each with exactly one
    charge in the sandbox's ledger, and there is no charge besides; never more calls at the provider than its cap; memory stays
    where it was; and the server ends in time."""

    async def check() -> None:
        async with counted_sandbox(tmp_path) as (sandbox, url):
            server = Payonce(tmp_path / "data", toml=TOML.replace("URL", url))
            keys = await two_keys(server.data_dir)
            await asyncio.to_thread(server.start)
            try:
                await overload(server, sandbox, url, keys)
                assert await asyncio.to_thread(server.stop) == 0
            finally:
                server.end()
            assert "Traceback" not in server.log.read_text()

    asyncio.run(check())


async def overload(server: Payonce, sandbox: Counted, url: str, keys: tuple[str, str]) -> None:
    shops = [Shop(server.url, name, key) for name, key in zip(("one", "two"), keys, strict=True)]
    async with httpx2.AsyncClient(base_url=server.url, timeout=20, trust_env=False) as client:
        assert (await client.put(f"{url}/sandbox/faults/mock", json={"latencyMs": 30})).status_code == 200
        before = resident_kb(server)
        await asyncio.gather(*(shop.crowd() for shop in shops))
        assert [each for shop in shops for each in shop.wrong] == []
        by = time.monotonic() + SETTLE_S
        statuses = [await shop.settled(client, by) for shop in shops]
    grown = resident_kb(server) - before
    one, two = shops
    assert one.accepted
    assert two.accepted
    assert one.refused["over_capacity"] > 0
    assert two.refused["rate_limited"] > 0
    assert all(set(each) == {"SUCCESS"} for each in statuses), statuses
    assert sandbox.most == CALLS_MAX, f"{sandbox.most} calls at once of {sandbox.calls}"
    charged = Counter(f"pay_{m.reference[:20]}" for m in sandbox.sandbox.ledger.movements() if m.kind == "charge")
    assert charged == Counter({**one.accepted, **two.accepted}.keys())
    assert grown < GROWTH_KB_MAX, f"{grown} kB more for {sum(one.refused.values()) + sum(two.refused.values())} refusals"
