"""Two merchants on one server: whatever one asks about the other's things is answered exactly as for an id that never was.

All routes of the application go through here. A new one fails these tests until it is said how one merchant would ask for the
other's, and which key it needs.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import httpx2
import pytest
from msgspec import Struct
from msgspec.structs import replace

from payonce.api.app import Resource, create_app
from payonce.api.openapi import operations
from payonce.api.rights import NEEDS
from payonce.core import ids
from payonce.core.idempotency import normalise
from payonce.dispatch import Account
from payonce.mail import Webhook
from payonce.ports import Scope
from payonce.stores.memory import MemoryRegistry, MemoryStore

from .service import GOOD, OTHER, TEST, account, all_ok, engine_over, house_over, new_key, open_door, ring, telling

LIVE: Final = Scope("mer_default", "live")
HOOK: Final = {"url": "https://shop.example/hooks", "types": ["payment.succeeded"], "description": "mine"}
# Open to everybody, and why that shows nothing of a merchant's.
OPEN: Final = {
    ("/", "GET"): "leads to the docs",
    ("/return/{reference}", "GET"): "whoever has the reference is the customer or the provider; leads on, shows nothing",
    ("/return/{reference}", "POST"): "as GET",
    ("/webhooks/{account}", "POST"): "signed by the provider; accounts are told apart by nobody else",
    ("/livez", "GET"): "no rows",
    ("/readyz", "GET"): "words only",
    ("/openapi.json", "GET"): "a document",
    ("/docs", "GET"): "a document",
    ("/docs/style.css", "GET"): "a document",
}
BODIES: Final[Mapping[tuple[str, str], object]] = {  # good ones, where a route needs one
    ("/payments/{id}/capture", "POST"): {"amount": 100},
    ("/payments/{id}/refunds", "POST"): {"amount": 100},
    ("/payments/{id}/check", "POST"): {"note": "mine, I say"},
    ("/payments/{id}/resolve", "POST"): {"decision": "not-charged", "reason": "mine, I say"},
    ("/webhook-endpoints/{id}", "PATCH"): {"description": "mine now"},
    ("/webhook-endpoints/{id}/recover", "POST"): {"since": "2026-11-01T00:00:00Z"},
    ("/providers/{account}/drain", "POST"): {"reason": "maintenance"},
    ("/providers/{account}/resume", "POST"): {"reason": "it is over"},
    ("/routing/dry-run", "POST"): {"toml": ""},
    ("/inbox/{id}/replay", "POST"): {"reason": "the row is there now"},
}
LISTS: Final = ("/payments", "/events", "/webhook-endpoints", "/webhook-deliveries")  # GET: of one's own things; no id in them
FIGURES: Final = ("/stats", "/stats/declines", "/providers", "/attention", "/keys")  # GET: sums of one's own things
HOUSE: Final = (  # of whoever runs payonce: to any other merchant nothing is there
    ("/workers", "GET"),
    ("/metrics", "GET"),
    ("/routing", "GET"),
    ("/routing/dry-run", "POST"),
    ("/inbox", "GET"),
    ("/inbox/{id}", "GET"),
    ("/inbox/{id}/replay", "POST"),
    ("/configuration", "GET"),
    ("/journal", "GET"),
)
HEARD: Final = Webhook(id="wh_06gywnk043sq5zmmz0n5", account="tiny", event="evt_1", kind="x", received_us=1, last_us=1)


class Things(Struct, frozen=True):
    """What one merchant has, by the names in paths: a payment that was charged, one that is held, ..."""

    charged: str
    held: str
    operation: str
    endpoint: str
    delivery: str
    doubted: str
    account: str  # that takes nobody else's payments

    @property
    def every(self) -> tuple[str, ...]:
        return (self.charged, self.held, self.operation, self.endpoint, self.delivery, self.doubted, self.account)

    @property
    def event(self) -> str:
        return ids.event_id(self.charged, 3)

    def path(self, path: str) -> str:
        held, doubted = path.endswith(("/capture", "/void", "/check")), path.endswith("/resolve")
        payment = self.held if held else self.doubted if doubted else self.charged
        id = {"payments": payment, "events": self.event, "webhook-endpoints": self.endpoint}
        id |= {"webhook-deliveries": self.delivery, "inbox": HEARD.id}
        named = path.replace("{id}", id.get(path.split("/")[1], "")).replace("{operationId}", self.operation)
        return named.replace("{account}", self.account)


NOTHING: Final = Things(
    charged="pay_06gywnk043sq5zmmz0n0",
    held="pay_06gywnk043sq5zmmz0n1",
    operation="op_06gywnk041jcn0dsdw5k",
    endpoint="whe_06gywnk043sq5zmmz0n2",
    delivery="dlv_06gywnk043sq5zmmz0n3",
    doubted="pay_06gywnk043sq5zmmz0n4",
    account="nothing",
)


def of_one(name: str, scope: Scope) -> Account:
    """An account that takes the payments of one merchant and mode only."""
    return replace(account(name, mode=scope.mode), merchants=frozenset({scope.merchant_id}))


class Two:
    """A server with keys: ``theirs`` and ``mine`` are the two merchants' headers, ``things`` is what the first one has."""

    def __init__(self) -> None:
        self.store, registry = MemoryStore(), MemoryRegistry()
        own = (of_one("tiny_own", TEST), of_one("tiny_live_own", Scope(OTHER.merchant_id, "live")))
        self.engine = engine_over(self.store, account(), account("tiny_live", mode="live"), *own)
        self.keys = ring(registry, self.engine.clock)
        self.endpoints, self.courier = telling(self.engine, self.store, registry)
        door = open_door(self.engine, keys=self.keys)
        told: dict[str, Any] = {"endpoints": self.endpoints, "courier": self.courier}
        self.house = house_over(self.engine, registry)
        self.app = create_app(self.engine, door=door, ready=all_ok, house=self.house, **told)

    async def things_of(self, scope: Scope) -> Things:
        charged = await self._settled(scope, "order-1")
        held = await self._settled(scope, "order-2", captureMethod="manual")
        by: dict[str, Any] = {"actor": "test", "request_id": ""}
        endpoint = await self.endpoints.create(scope, HOOK["url"], (), "theirs", **by)
        delivery = await self.courier.test(scope, endpoint.id, **by)
        own, doubted = "tiny_own" if scope == TEST else "tiny_live_own", await self._doubted(scope)
        return Things(charged[0], held[0], charged[1], endpoint.id, delivery.id, doubted, own)

    async def _doubted(self, scope: Scope) -> str:
        """A payment of which nobody knows what became of it."""
        id = (await self._settled(scope, "order-9", paymentMethod="tok_lost" if scope.mode == "test" else "pm_lost"))[0]
        for _ in range(9):
            await self.engine.clock.sleep(86_400)
            await self.engine.advance(id)
        assert (await self.engine.find(scope, id)).status == "IN_DOUBT"
        return id

    async def _settled(self, scope: Scope, key: str, **more: str) -> tuple[str, str]:
        method = "tok_ok" if scope.mode == "test" else "pm_live"
        receipt = await self.engine.submit(scope, normalise({**GOOD, "paymentMethod": method} | more), key, actor="test")
        await self.engine.advance(receipt.payment.id)
        return receipt.payment.id, receipt.operation.id


class Asking(Struct, frozen=True):
    """A client of the server, the headers of both merchants' keys, and what the one who is not asking has."""

    two: Two
    client: httpx2.AsyncClient
    theirs: Mapping[str, str]
    mine: Mapping[str, str]
    things: Things

    async def ask(self, method: str, path: str, *, key: str = "fresh", body: object = None, **query: str) -> httpx2.Response:
        """As the merchant whose things they are not, who may do everything with their own."""
        sent: dict[str, Any] = {} if body is None else {"json": body}
        return await self.client.request(method, path, params=query, headers={**self.mine, "idempotency-key": key}, **sent)


def run(check: Callable[[Asking], Awaitable[None]], owner: Scope = TEST) -> None:
    async def go() -> None:
        two = Two()
        theirs, mine = await new_key(two.keys), await new_key(two.keys, OTHER)
        things = await two.things_of(owner)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=two.app), base_url="http://payonce.test") as client:
            await check(Asking(two, client, theirs, mine, things))

    asyncio.run(go())


def told(answer: httpx2.Response, things: Things) -> tuple[int, object, dict[str, str]]:
    """Status, headers and body of an answer, without what names the request and the ids that were asked for."""
    headers = {k: v for k, v in answer.headers.items() if k not in ("request-id", "content-length")}
    text = answer.text
    for name in (*things.every, things.event, things.charged[4:]):
        text = text.replace(name, "ID")
    return answer.status_code, re.sub(r'"requestId":"[^"]*"', "", text), headers


ROUTES: Final = [(path, method.upper()) for path, method, _ in operations()]
BY_ID: Final = [(path, method) for path, method in ROUTES if "{" in path and (path, method) not in (*OPEN, *HOUSE)]


def test_every_route_is_behind_the_door() -> None:
    """Each route of the application is a Resource whose scope stands in the table; those that need no key are these alone."""
    routes = {route.path: route.app for route in Two().app.routes}  # type: ignore[attr-defined]
    assert set(routes) == set(NEEDS)
    for path, resource in routes.items():
        assert isinstance(resource, Resource), path
        assert {method: needs for method, needs in resource._needs.items() if method != "HEAD"} == dict(NEEDS[path])
    assert {(path, method) for path, needs in NEEDS.items() for method, scope in needs.items() if scope is None} == set(OPEN)


def test_every_route_is_asked_below() -> None:
    """Routes with an id, lists, sums, the house's, those that create from nothing, the open ones: there is no other kind."""
    creating = {("/payments", "POST"), ("/webhook-endpoints", "POST")}
    creating.add(("/search", "GET"))  # asked in test_search.py
    reads = {(path, "GET") for path in (*LISTS, *FIGURES)}
    assert {*BY_ID, *reads, *HOUSE, *creating, *OPEN} == {*ROUTES, ("/", "GET")}


@pytest.mark.parametrize("owner", [TEST, Scope(OTHER.merchant_id, "live")], ids=["another merchant's", "my live one"])
@pytest.mark.parametrize(("path", "method"), BY_ID, ids=[f"{method} {path}" for path, method in BY_ID])
def test_what_is_not_theirs_is_not_there(path: str, method: str, owner: Scope) -> None:
    """The same status, headers and problem for a foreign and for an unknown id, and nothing of it changed."""

    async def check(a: Asking) -> None:
        before = await a.two.store.history(a.things.charged), await a.two.store.history(a.things.held)
        body = BODIES.get((path, method))
        foreign = await a.ask(method, a.things.path(path), body=body)
        unknown = await a.ask(method, NOTHING.path(path), body=body)
        assert told(foreign, a.things) == told(unknown, NOTHING)
        assert (foreign.status_code, foreign.json()["code"]) == (404, "not_found")
        assert before == (await a.two.store.history(a.things.charged), await a.two.store.history(a.things.held))
        kept = await a.two.endpoints.get(owner, a.things.endpoint)
        assert kept is not None
        assert (kept.state, kept.description, kept.secret_n) == ("enabled", "theirs", 1)

    run(check, owner)


@pytest.mark.parametrize(("path", "method"), BY_ID, ids=[f"{method} {path}" for path, method in BY_ID])
def test_what_is_theirs_is_there(path: str, method: str) -> None:
    """The same requests with the owner's key are answered: so the tests above ask for what exists."""

    async def check(a: Asking) -> None:
        owner = Asking(a.two, a.client, a.mine, a.theirs, a.things)
        answer = await owner.ask(method, a.things.path(path), body=BODIES.get((path, method)))
        assert answer.status_code in (200, 201, 202, 204), answer.text

    run(check)


@pytest.mark.parametrize("path", LISTS)
def test_lists_hold_ones_own(path: str) -> None:
    """One merchant's list is empty while the other's is not, also from the place where a foreign cursor stands."""

    async def check(a: Asking) -> None:
        await a.two._settled(TEST, "order-3")
        await a.two.courier.test(TEST, a.things.endpoint, actor="test", request_id="")
        theirs = await a.client.get(path, headers=a.theirs)
        assert theirs.json()["data"]
        mine = await a.ask("GET", path)
        assert (mine.status_code, mine.json()["data"]) == (200, [])
        if path == "/webhook-endpoints":
            return
        page = (await a.client.get(path, headers=a.theirs, params={"limit": "1"})).json()
        cursor = page.get("nextCursor") or page["next"]
        at = await a.ask("GET", path, cursor=cursor)
        assert at.status_code == 422 or at.json()["data"] == []
        assert not any(name in at.text for name in a.things.every)

    run(check)


@pytest.mark.parametrize("path", FIGURES)
def test_sums_are_of_ones_own(path: str) -> None:
    """Whatever another merchant's payments count, mine count nothing, and nothing of theirs is named."""

    async def check(a: Asking) -> None:
        await a.two._settled(TEST, "order-3")
        theirs, mine = await a.client.get(path, headers=a.theirs), await a.ask("GET", path)
        assert (theirs.status_code, mine.status_code) == (200, 200)
        assert not any(name in mine.text for name in a.things.every)
        if path == "/stats":
            assert (theirs.json()["now"]["accepted"], mine.json()["now"]["accepted"]) == (1, 0)
            assert theirs.json()["now"]["calls"] > mine.json()["now"]["calls"] == 0

    run(check)


@pytest.mark.parametrize(("path", "method"), HOUSE, ids=[f"{method} {path}" for path, method in HOUSE])
def test_what_is_the_houses_is_not_there_for_others(path: str, method: str) -> None:
    """Whoever runs payonce is answered; any other merchant gets what an unknown path gets, whatever their key may do."""

    async def check(a: Asking) -> None:
        body = BODIES.get((path, method))
        sent: dict[str, Any] = {} if body is None else {"json": body}
        await a.two.house.inbox.put(HEARD)
        there = a.things.path(path)
        assert (await a.client.request(method, there, headers=a.theirs, **sent)).status_code in (200, 202)
        foreign, unknown = await a.ask(method, there, body=body), await a.ask(method, "/nowhere", body=body)
        assert foreign.status_code == unknown.status_code == 404
        assert {**foreign.json(), "instance": "", "requestId": ""} == {**unknown.json(), "instance": "", "requestId": ""}

    run(check)


def test_deliveries_of_ones_own_endpoint_hold_ones_own() -> None:
    """A cursor of the other's deliveries shows none of them."""

    async def check(a: Asking) -> None:
        by: dict[str, Any] = {"actor": "test", "request_id": ""}
        for _ in range(2):
            await a.two.courier.test(TEST, a.things.endpoint, **by)
        mine = (await a.ask("POST", "/webhook-endpoints", body=HOOK)).json()["id"]
        there = f"/webhook-endpoints/{a.things.endpoint}/deliveries"
        cursor = (await a.client.get(there, headers=a.theirs, params={"limit": "1"})).json()["nextCursor"]
        assert cursor
        assert (await a.ask("GET", f"/webhook-endpoints/{mine}/deliveries", cursor=cursor)).json()["data"] == []

    run(check)


def test_an_idempotency_key_is_ones_own() -> None:
    """The other's key text makes a payment of one's own, and finds nothing of theirs before that."""

    async def check(a: Asking) -> None:
        for key in ("order-1", "never-used"):
            found = await a.ask("GET", "/payments", idempotencyKey=key)
            assert (found.status_code, found.json()) == (200, {"data": [], "nextCursor": None})
        made = await a.ask("POST", "/payments", key="order-1", body={**GOOD, "amount": 777})
        assert made.status_code == 202
        assert "idempotent-replayed" not in made.headers
        assert made.json()["transactionId"] not in a.things.every
        theirs = (await a.client.get(f"/payments/{a.things.charged}", headers=a.theirs)).json()
        assert (theirs["amount"], theirs["idempotencyKey"]) == (GOOD["amount"], "order-1")
        found = await a.ask("GET", "/payments", idempotencyKey="order-1")
        assert [p["transactionId"] for p in found.json()["data"]] == [made.json()["transactionId"]]

    run(check)


@pytest.mark.parametrize("what", ["capture", "void", "refunds"])
def test_the_others_key_text_does_not_replay_theirs(what: str) -> None:
    """A capture, void or refund of theirs under a key: the same key on their payment is a 404, on one's own a fresh one."""

    async def check(a: Asking) -> None:
        theirs = a.things.charged if what == "refunds" else a.things.held
        there = await a.client.post(f"/payments/{theirs}/{what}", headers={**a.theirs, "idempotency-key": "op-1"})
        assert there.status_code == 202
        assert (await a.ask("POST", f"/payments/{theirs}/{what}", key="op-1")).status_code == 404
        own = (await a.two._settled(OTHER, "own", **({} if what == "refunds" else {"captureMethod": "manual"})))[0]
        done = await a.ask("POST", f"/payments/{own}/{what}", key="op-1")
        assert (done.status_code, done.json()["transactionId"]) == (202, own)
        assert "idempotent-replayed" not in done.headers

    run(check)


def test_an_endpoint_at_the_same_address_is_ones_own() -> None:
    """The other's address is free, and the secret is another."""

    async def check(a: Asking) -> None:
        mine = await a.ask("POST", "/webhook-endpoints", body=HOOK)
        assert mine.status_code == 201
        theirs = await a.client.get(f"/webhook-endpoints/{a.things.endpoint}", headers=a.theirs, params={"secret": "true"})
        assert theirs.json()["secret"].startswith("whsec_")
        assert mine.json()["secret"] != theirs.json()["secret"]

    run(check)


def test_the_record_says_which_key_it_was_and_from_where() -> None:
    """The actor of what was accepted is the key's id at the client's address; what a header claims is not believed."""

    async def check(a: Asking) -> None:
        headers = {**a.mine, "idempotency-key": "k", "x-forwarded-for": "203.0.113.7"}
        made = (await a.client.post("/payments", json=GOOD, headers=headers)).json()["transactionId"]
        (accepted,) = (await a.ask("GET", f"/payments/{made}/history")).json()["data"]
        id = a.mine["Authorization"].removeprefix("Bearer sk_test_")[:20]
        assert accepted["actor"] == f"key_{id}@127.0.0.1"

    run(check)


def test_a_reference_leads_on_whoever_the_merchant_is() -> None:
    """A customer comes back without a key: every merchant's payments are found, those of the other mode are not."""

    async def check(a: Asking) -> None:
        own = (await a.two._settled(OTHER, "own"))[0]
        live = (await a.two._settled(LIVE, "live"))[0]
        for id, status in ((a.things.charged, 200), (own, 200), (live, 404), (NOTHING.charged, 404)):
            answer = await a.client.get(f"/return/{id[4:]}0100")
            assert answer.status_code == status, id
            assert id not in answer.text.replace(f"/return/{id[4:]}0100", "")
        foreign, unknown = [await a.client.get(f"/return/{id[4:]}0100") for id in (live, NOTHING.charged)]
        assert foreign.json()["detail"] == unknown.json()["detail"]

    run(check)
