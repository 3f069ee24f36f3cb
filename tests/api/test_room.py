"""How often a key may come, how many are handled at once, when new payments wait outside, and how long "not there" takes."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace
from starlette.applications import Starlette

from payonce.api.app import create_app
from payonce.api.door import BUCKETS_TIDY, BURST_S, GRID_US, OVERDUE_US, SAMPLE_SHARE, SAMPLE_US, Backlog, Rates
from payonce.api.problems import Later
from payonce.core.errors import Refused, StoreUnavailable
from payonce.core.payment import Payment
from payonce.engine import Engine
from payonce.merchants.keys import ApiKey, Keyring
from payonce.ports import Due, Filters, Page, Scope
from payonce.stores.memory import MemoryStore

from .service import (
    GOOD,
    OTHER,
    START_US,
    TEST,
    Service,
    TickingClock,
    all_ok,
    engine_over,
    new_key,
    open_door,
    problem_of,
    ring,
)

SECOND_US = 1_000_000


class StillClock(TickingClock):
    """Time passes only when somebody waits, or a test says so."""

    def now_us(self) -> int:
        return self.at_us


def key(id: str = "key_a", rate_per_s: int = 0) -> ApiKey:
    return ApiKey(id=id, merchant_id="mer_a", mode="test", scopes=("admin",), salt="", hash="", rate_per_s=rate_per_s)


def taken(rates: Rates, of: ApiKey) -> int:
    """How many requests of a key are let through at this moment."""
    for count in range(100_000):
        try:
            rates.take(of)
        except Later:
            return count
    raise AssertionError("no limit")


# --- rate -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_s", [1, 3, 7, 100, 9_999])
def test_a_rested_key_has_two_seconds_worth_and_then_its_rate(per_s: int) -> None:
    """A burst of twice the rate, then exactly the rate for ever, however the requests are spread."""
    clock = StillClock()
    rates = Rates(clock, per_s)
    assert taken(rates, key()) == BURST_S * per_s
    for _ in range(5):
        clock.at_us += SECOND_US
        assert abs(taken(rates, key()) - per_s) <= 1
    clock.at_us += 60 * SECOND_US
    assert taken(rates, key()) == BURST_S * per_s


def test_a_key_has_its_own_rate_and_nobody_elses() -> None:
    """What one key uses up is not missed by another; a key's own rate counts instead of the settings'."""
    clock = StillClock()
    rates = Rates(clock, 10)
    assert taken(rates, key("key_a")) == 20
    assert taken(rates, key("key_b")) == 20
    assert taken(rates, key("key_c", rate_per_s=2)) == 4
    with pytest.raises(Later) as refused:
        rates.take(key("key_c", rate_per_s=2))
    assert (refused.value.code, refused.value.retry_after_s) == ("rate_limited", 1)
    clock.at_us += refused.value.retry_after_s * SECOND_US
    rates.take(key("key_c", rate_per_s=2))


def test_who_rests_is_forgotten() -> None:
    """Memory holds the keys in use and no others, however many there were."""
    clock = StillClock()
    rates = Rates(clock, 10)
    for n in range(20 * BUCKETS_TIDY):
        rates.take(key(f"key_{n}"))
        clock.at_us += SECOND_US
    assert len(rates._full_ps) <= BUCKETS_TIDY


def serving(
    check: Callable[[Service, Keyring], Awaitable[None]], store: MemoryStore | None = None, webhooks: Any = None, **door: Any
) -> None:
    """Run ``check`` against a service on a still clock, with a door of these limits."""

    async def go() -> None:
        rows = store if store is not None else MemoryStore()
        engine = still(engine_over(rows))
        keys = ring(clock=engine.clock)
        made = {name: each(engine) if callable(each) else each for name, each in door.items()}
        app = create_app(engine, door=open_door(engine, keys=keys, **made), ready=all_ok, webhooks=webhooks)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://payonce.test") as client:
            await check(Service(app, engine, rows, client), keys)

    asyncio.run(go())


def still(engine: Engine) -> Engine:
    engine.clock = StillClock()
    engine.intake = replace(engine.intake, clock=engine.clock)
    return engine


def at(s: Service) -> StillClock:
    assert isinstance(s.engine.clock, StillClock)
    return s.engine.clock


def test_too_often_is_a_429_that_creates_nothing() -> None:
    """429 rate_limited with Retry-After; other keys go on; after it the same request with the same key is taken."""

    async def check(s: Service, keys: Keyring) -> None:
        mine, other = await new_key(keys, rate_per_s=1), await new_key(keys, OTHER)
        asked = {**mine, "idempotency-key": "k"}
        for _ in range(2):
            assert (await s.client.get("/payments", headers=mine)).status_code == 200
        answer = await s.client.post("/payments", json=GOOD, headers=asked)
        told = problem_of(answer)
        assert (answer.status_code, told["code"], answer.headers["retry-after"]) == (429, "rate_limited", "1")
        assert await s.count() == 0
        assert (await s.client.get("/payments", headers=other)).status_code == 200
        at(s).at_us += SECOND_US
        assert (await s.client.post("/payments", json=GOOD, headers=asked)).status_code == 202

    serving(check, rate_per_s=50)


def test_refused_requests_count_too() -> None:
    """A key that may not do it does not get more tries for that; without a valid key nothing is remembered."""

    async def check(s: Service, keys: Keyring) -> None:
        mine = await new_key(keys, TEST, "payments:read", rate_per_s=1)
        asked = [(await s.client.post("/payments", json=GOOD, headers=mine)).status_code for _ in range(3)]
        assert asked == [403, 403, 429]
        wrong = {"authorization": "Bearer sk_test_" + "0" * 52}
        assert {(await s.client.get("/payments", headers=wrong)).status_code for _ in range(200)} == {401}

    serving(check, rate_per_s=50)


# --- at once --------------------------------------------------------------------------------------------------------------


class Slow(MemoryStore):
    """Lists come when ``gate`` opens; ``inside`` is who waits for that."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.inside, self.crowd = asyncio.Event(), 0, asyncio.Event()

    async def list(self, scope: Scope, filters: Filters, limit: int, cursor: str | None = None) -> Page:
        self.inside += 1
        if self.inside == 3:
            self.crowd.set()
        await self.gate.wait()
        return await super().list(scope, filters, limit, cursor)


def test_more_at_once_than_there_is_room_for_are_refused_at_once() -> None:
    """The fourth of three gets 503 over_capacity while the three are being handled; health is told all the same; then again."""
    store = Slow()

    async def check(s: Service, _keys: Keyring) -> None:
        waiting = [asyncio.create_task(s.get("/payments")) for _ in range(3)]
        async with asyncio.timeout(20):
            await store.crowd.wait()
            answer = await s.get("/payments")
            assert (answer.status_code, problem_of(answer)["code"]) == (503, "over_capacity")
            assert answer.headers["retry-after"] == "1"
            assert (await s.get("/docs")).status_code == 503
            assert [(await s.get(path)).status_code for path in ("/livez", "/readyz")] == [200, 200]
            store.gate.set()
            assert {a.status_code for a in await asyncio.gather(*waiting)} == {200}
            assert (await s.get("/payments")).status_code == 200

    serving(check, store, requests_max=3)


def test_one_merchant_cannot_fill_the_room() -> None:
    """Half of it at most, over all their keys; the fourth gets 503, and another merchant is served."""
    store = Slow()

    async def check(s: Service, keys: Keyring) -> None:
        mine = [await new_key(keys) for _ in range(2)]
        other = await new_key(keys, OTHER)
        waiting = [asyncio.create_task(s.client.get("/payments", headers=mine[n % 2])) for n in range(3)]
        async with asyncio.timeout(20):
            await store.crowd.wait()
            answer = await s.client.get("/payments", headers=mine[0])
            assert (answer.status_code, problem_of(answer)["code"]) == (503, "over_capacity")
            assert (await s.client.get("/payments/pay_" + "0" * 20, headers=other)).status_code == 404
            store.gate.set()
            assert {a.status_code for a in await asyncio.gather(*waiting)} == {200}
            assert (await s.client.get("/payments", headers=mine[0])).status_code == 200

    serving(check, store, requests_max=6)


def test_who_needs_no_key_cannot_fill_the_room() -> None:
    """Bodies of webhooks that do not come take a quarter of the room, and whoever has a key is served."""

    async def check(s: Service, _keys: Keyring) -> None:
        hanging = [asyncio.create_task(stalled(s.app, "/webhooks/tiny")) for _ in range(3)]
        async with asyncio.timeout(20):
            done, waiting = await asyncio.wait(hanging, return_when=asyncio.FIRST_COMPLETED)
            assert [each.result() for each in done] == [503]
            assert (await s.get("/payments")).status_code == 200
            assert (await s.get("/docs")).status_code == 503
            assert (await s.get("/livez")).status_code == 200
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            assert (await s.get("/docs")).status_code == 200

    serving(check, requests_max=8)


async def stalled(app: Starlette, path: str) -> int:
    """The status of a POST whose body never comes."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(
        {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [], "root_path": ""}, receive, send
    )
    return int(sent[0]["status"])


# --- backlog --------------------------------------------------------------------------------------------------------------


def test_new_payments_wait_outside_while_too_many_are_overdue() -> None:
    """POST /payments is a 503 over_capacity with Retry-After; repeats, reads, refunds and captures are answered as ever."""

    async def check(s: Service, _keys: Keyring) -> None:
        done = await s.settled("done")
        held = await s.settled("held", captureMethod="manual")
        waiting = [(await s.accepted(f"k{n}"))["transactionId"] for n in range(3)]
        at(s).at_us += OVERDUE_US + SAMPLE_US
        answer = await s.post(key="fresh")
        told = problem_of(answer)
        assert (answer.status_code, told["code"], answer.headers["retry-after"]) == (503, "over_capacity", "5")
        assert "being settled" in told["money"]
        assert (await s.post(key="k1")).headers["idempotent-replayed"] == "true"
        assert problem_of(await s.post({**GOOD, "amount": 1}, key="k1"))["code"] == "idempotency_key_reused"
        assert problem_of(await s.post({"amount": 1}, key="fresh"))["code"] == "validation_failed"
        assert (await s.ask(done, "refunds", "r")).status_code == 202
        assert (await s.ask(held, "capture", "c")).status_code == 202
        assert (await s.get("/payments")).status_code == 200
        for id in waiting:
            await s.engine.advance(id)
        at(s).at_us += SAMPLE_US
        assert (await s.post(key="fresh")).status_code == 202

    serving(check, backlog=lambda engine: Backlog(engine.store.due, engine.clock, 3))


def test_the_backlog_is_looked_at_once_a_second_and_by_one() -> None:
    """Whoever comes in between, or while it is looked at, is told what was found last; a slow look makes looks rarer."""
    clock, looks, gate = StillClock(), list[tuple[int, int]](), asyncio.Event()
    took_us = 0

    async def due(before_us: int, limit: int) -> tuple[Due, ...]:
        looks.append((before_us, limit))
        clock.at_us += took_us
        await gate.wait()
        return tuple(Due(f"pay_{n}", 0) for n in range(limit))

    async def check() -> None:
        nonlocal took_us
        backlog = Backlog(due, clock, 5)
        first = asyncio.create_task(backlog.full())
        await asyncio.sleep(0)
        assert await backlog.full() is False
        gate.set()
        assert await first is True
        assert await backlog.full() is True
        assert looks == [(START_US - OVERDUE_US, 5)]
        clock.at_us += SAMPLE_US
        took_us = 300_000
        assert await backlog.full() is True
        assert len(looks) == 2
        clock.at_us += SAMPLE_SHARE * took_us - 1
        assert await backlog.full() is True
        assert len(looks) == 2
        clock.at_us += 1
        assert await backlog.full() is True
        assert len(looks) == 3

    asyncio.run(check())


def test_a_store_that_cannot_be_looked_at_is_not_full() -> None:
    """The write itself says what is wrong with it."""

    async def due(_before_us: int, _limit: int) -> tuple[Due, ...]:
        raise StoreUnavailable("closed")

    assert asyncio.run(Backlog(due, StillClock(), 1).full()) is False


# --- the grid -------------------------------------------------------------------------------------------------------------


class Costly(MemoryStore):
    """To read a row that is there takes time; one that is not costs nothing."""

    clock: StillClock

    async def get(self, payment_id: str) -> Payment | None:
        found = await super().get(payment_id)
        if found is not None:
            self.clock.at_us += 31_000
        return found


async def took_us(
    s: Service, method: str, path: str, headers: dict[str, str], body_after_us: int | None = None
) -> tuple[int, int]:
    """Status, and from the last byte of the request to the first of the answer, by the service's clock."""
    clock, sent = at(s), list[MutableMapping[str, Any]]()
    asked_at = clock.at_us

    async def receive() -> MutableMapping[str, Any]:
        nonlocal asked_at
        clock.at_us += body_after_us or 0
        asked_at = clock.at_us
        return {"type": "http.request", "body": b"{}", "more_body": False}

    answered_at = 0

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal answered_at
        answered_at = answered_at or clock.at_us
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await s.app(
        {"type": "http", "method": method, "path": path, "query_string": b"", "headers": raw, "root_path": ""}, receive, send
    )
    return int(sent[0]["status"]), answered_at - asked_at


@pytest.mark.parametrize("body_after_us", [0, GRID_US - 1_000, GRID_US - 31_000, 3 * GRID_US + 25_000])
def test_not_theirs_takes_as_long_as_not_there(body_after_us: int) -> None:
    """Both come at the next multiple of the grid, whenever the client sends the last byte; what is theirs does not wait."""
    store = Costly()

    async def check(s: Service, keys: Keyring) -> None:
        store.clock = at(s)
        theirs, mine = await new_key(keys), await new_key(keys, OTHER)
        made = await s.client.post("/payments", json=GOOD, headers={**theirs, "idempotency-key": "k"})
        id = made.json()["transactionId"]
        post = {**mine, "content-type": "application/json", "idempotency-key": "x"}
        for unknown in ("pay_06gywnk043sq5zmmz0n0", "nonsense", "pay_" + "z" * 20):
            for path in ("/payments/{}", "/payments/{}/history", "/payments/{}/operations/op_1"):
                assert await took_us(s, "GET", path.format(unknown), mine) == (404, GRID_US)
                assert await took_us(s, "GET", path.format(id), mine) == (404, GRID_US)
            for path in ("/payments/{}/refunds", "/payments/{}/capture", "/payments/{}/void"):
                assert await took_us(s, "POST", path.format(unknown), post, body_after_us) == (404, GRID_US)
                assert await took_us(s, "POST", path.format(id), post, body_after_us) == (404, GRID_US)
        assert await took_us(s, "GET", f"/return/{id[4:]}0100", {}) == (404, GRID_US)  # no attempt of it has that reference
        assert await took_us(s, "GET", "/return/06gywnk043sq5zmmz0n00100", {}) == (404, GRID_US)
        assert await took_us(s, "GET", f"/payments/{id}", theirs) == (200, 31_000)

    serving(check, store)


class Verifying:
    """Takes webhooks of one account, and none of them is genuine: to find that out takes time."""

    clock: StillClock
    inbox: Any = None

    async def hear(self, account: str, headers: dict[str, str], body: bytes) -> Any:
        if account != "theirs":
            raise Refused("not_found", "No account of this name takes webhooks.")
        self.clock.at_us += 23_000
        raise Refused("webhook_refused", "It is not signed.")


def test_no_account_takes_as_long_as_a_wrong_signature() -> None:
    """A webhook that is refused is refused at the next multiple of the grid, whether its account exists or not."""
    receiver = Verifying()

    async def check(s: Service, _keys: Keyring) -> None:
        receiver.clock = at(s)
        for name in ("theirs", "nobody"):
            assert await took_us(s, "POST", f"/webhooks/{name}", {}, 7_000) == (401, GRID_US)

    serving(check, webhooks=receiver)
