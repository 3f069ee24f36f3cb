"""The sandbox's shell: pages, the fault profile, waiting and dropping, in process and behind uvicorn."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from payonce.sandbox import mock
from payonce.sandbox.outbox import register_own
from payonce.sandbox.server import Sandbox, sandbox_app
from payonce.testing.provider_live import FakeClock, over_socket

AUTH = {"authorization": "Bearer sk"}
OK = "tok_ok"
REFERENCE = "06ex4k2m9p7q8r5s3t010100"


def charge(token: str = OK, reference: str = REFERENCE) -> dict[str, Any]:
    body = {"amount": 500, "currency": "INR", "reference": reference, "source": token}
    return {"url": "/mock/charges", "json": body, "headers": {**AUTH, "idempotency-key": reference}}


def over_http(use: Callable[[httpx2.AsyncClient, Sandbox], Awaitable[Any]], clock: Any = None, path: Any = ":memory:") -> Any:
    async def main() -> Any:
        app = sandbox_app(path, clock or FakeClock(), {mock.NAME: mock.MockVendor()})
        try:
            async with over_socket(app) as url, httpx2.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
                return await use(client, app)
        finally:
            app.close()

    return asyncio.run(main())


def test_ledger_page_shows_movements_and_continues() -> None:
    """Every movement with the stated fields; ``next`` continues after the last, also when there is no more."""

    async def use(client: httpx2.AsyncClient, _: Sandbox) -> tuple[Any, Any, Any]:
        done = (await client.post(**charge())).json()
        refund = {"charge": done["id"], "amount": 200, "reference": "back"}
        await client.post("/mock/refunds", json=refund, headers={**AUTH, "idempotency-key": "k2"})
        first = (await client.get("/sandbox/ledger", params={"limit": 1})).json()
        second = (await client.get("/sandbox/ledger", params={"after": first["next"]})).json()
        return first, second, (await client.get("/sandbox/ledger", params={"after": second["next"]})).json()

    first, second, third = over_http(use)
    common = {"provider": "mock", "reference": REFERENCE, "currency": "INR", "at": "2027-01-15T08:00:00.000000Z"}
    assert first["movements"] == [{"seq": 1, "kind": "charge", "providerRef": "ch_000000000001", "amount": 500, **common}]
    refund = {"seq": 2, "kind": "refund", "providerRef": "re_000000000002", "refundReference": "back", "amount": 200, **common}
    assert second["movements"] == [refund]
    assert third == {"movements": [], "next": 2}


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=1.5", "after=" + "9" * 30, "limit=²"])
def test_ledger_page_refuses_what_is_no_number(query: str) -> None:
    """400, not an error of the server."""
    assert over_http(lambda client, _: client.get(f"/sandbox/ledger?{query}")).status_code == 400


def test_ledger_page_shows_late_successes_without_anybody_reading_the_charge() -> None:
    """A late success is booked on any look at the books."""

    async def use(client: httpx2.AsyncClient, app: Sandbox) -> list[int]:
        await client.post(**charge("tok_late_success"))
        before = len((await client.get("/sandbox/ledger")).json()["movements"])
        await app.clock.sleep(10)
        return [before, len((await client.get("/sandbox/ledger")).json()["movements"])]

    assert over_http(use) == [0, 1]


def profile(**put: Any) -> dict[str, Any]:
    """A whole profile as it is shown."""
    requests = {"latencyMs": 0, "errorRate": 0.0, "outage": False, "lookupLagMs": 0, "keyWindowS": 86_400}
    webhooks = {"webhookLoseRate": 0.0, "webhookDoubleRate": 0.0, "webhookDelayMs": 0, "webhookReorderRate": 0.0}
    return {**requests, "holdS": 604_800, "refunds": "plain", **webhooks, **put}


@pytest.mark.parametrize(
    "body",
    [
        *("", "[]", '{"latency": 1}', '{"errorRate": 1.1}', '{"latencyMs": -1}', '{"outage": 1}', '{"latencyMs": 99999999}'),
        *('{"refunds": "never"}', '{"holdS": 0}', '{"webhookLoseRate": 2}', '{"webhookDelayMs": -1}', '{"a":' * 9000),
    ],
)
def test_a_bad_fault_profile_changes_nothing(body: str) -> None:
    """Unknown fields and values out of range are 400, the profile in force stays."""

    async def use(client: httpx2.AsyncClient, _: Sandbox) -> tuple[int, Any]:
        await client.put("/sandbox/faults", json={"latencyMs": 7})
        bad = await client.put("/sandbox/faults", content=body)
        return bad.status_code, (await client.get("/sandbox/faults")).json()

    assert over_http(use) == (400, profile(latencyMs=7))


def test_fault_profile_is_shared_and_put_as_a_whole(tmp_path: Path) -> None:
    """Another process on the same file sees it; what is left out is healthy again."""

    async def use(client: httpx2.AsyncClient, app: Sandbox) -> list[Any]:
        await client.put("/sandbox/faults", json={"latencyMs": 40, "errorRate": 0.5})
        async with over_socket(sandbox_app(tmp_path / "l.db", app.clock)) as url:
            other = (await client.get(f"{url}/sandbox/faults")).json()
        return [other, (await client.put("/sandbox/faults", json={"outage": True})).json()]

    shared, put = over_http(use, path=tmp_path / "l.db")
    assert shared == profile(latencyMs=40, errorRate=0.5)
    assert put == profile(outage=True)


def test_a_vendor_suffers_from_the_worse_of_its_own_profile_and_everybodys() -> None:
    """A profile for one vendor leaves the others alone; unknown vendors are 404."""

    async def use(client: httpx2.AsyncClient, _: Sandbox) -> Any:
        every = {"latencyMs": 2, "keyWindowS": 50, "holdS": 70, "refunds": "pending", "webhookLoseRate": 0.2}
        await client.put("/sandbox/faults", json=every)
        own = {"lookupLagMs": 9, "latencyMs": 1, "holdS": 80, "refunds": "fail_later", "webhookDelayMs": 5}
        put = [(await client.put(f"/sandbox/faults/{name}", json=own)).status_code for name in ("mock", "nobody")]
        return put, (await client.get("/sandbox")).json()["inForce"]

    statuses, shown = over_http(use)
    assert statuses == [200, 404]
    worse = {"holdS": 70, "refunds": "fail_later", "webhookLoseRate": 0.2, "webhookDelayMs": 5}
    assert shown == {"mock": profile(latencyMs=2, lookupLagMs=9, keyWindowS=50, **worse)}


def test_error_rate_is_a_fraction_before_anything_is_booked() -> None:
    """About the stated share of requests is answered 500, and none of those is booked."""

    async def use(client: httpx2.AsyncClient, app: Sandbox) -> tuple[int, int]:
        await client.put("/sandbox/faults", json={"errorRate": 0.3})
        answers = [await client.post(**charge(reference=f"r{n}")) for n in range(100)]
        assert {a.status_code for a in answers} == {200, 500}
        return sum(a.status_code == 500 for a in answers), len(app.ledger.movements())

    failed, booked = over_http(use)
    assert 15 <= failed <= 45
    assert booked == 100 - failed


def test_latency_passes_before_the_request_is_looked_at() -> None:
    """The injected clock waits that long, then the charge is booked."""

    async def use(client: httpx2.AsyncClient, app: Sandbox) -> tuple[int, str]:
        await client.put("/sandbox/faults", json={"latencyMs": 2500})
        started = app.clock.now_us()
        await client.post(**charge())
        return app.clock.now_us() - started, app.ledger.movements()[0].at

    assert over_http(use) == (2_500_000, "2027-01-15T08:00:02.500000Z")


@pytest.mark.parametrize("drop", ["outage", "tok_lost_response", "tok_timeout_then_ok"])
def test_a_drop_closes_the_connection_without_an_answer_or_noise(drop: str, caplog: pytest.LogCaptureFixture) -> None:
    """Under uvicorn the client sees a closed connection, no byte of an answer, and the log stays silent."""

    async def use(client: httpx2.AsyncClient, app: Sandbox) -> list[str]:
        if drop == "outage":
            await client.put("/sandbox/faults", json={"outage": True})
        with pytest.raises(httpx2.RemoteProtocolError, match="without sending a response"):
            await client.post(**charge("tok_ok" if drop == "outage" else drop))
        return [m.kind for m in app.ledger.movements()]

    with caplog.at_level(logging.DEBUG, logger="uvicorn"):
        booked = over_http(use)
    assert booked == (["charge"] if drop == "tok_lost_response" else [])
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == []


class Waiting(FakeClock):
    """Sleeps until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.asked.set()
        await self.go.wait()
        self.at_us += int(seconds * 1_000_000)


@pytest.mark.parametrize(("token", "booked"), [("tok_slow_5s", 1), ("tok_timeout_then_ok", 0)])
def test_a_client_that_leaves_does_not_stop_the_vendor(token: str, booked: int) -> None:
    """What the vendor works on it finishes and books; what it only holds it forgets."""

    async def use(client: httpx2.AsyncClient, app: Sandbox) -> int:
        clock = app.clock
        assert isinstance(clock, Waiting)
        call = asyncio.create_task(client.post(**charge(token)))
        await clock.asked.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        clock.go.set()
        async with asyncio.timeout(5):
            while booked and not app.ledger.movements():
                await asyncio.sleep(0.001)
        return len(app.ledger.movements())

    async def main() -> int:
        app = sandbox_app(":memory:", Waiting(), {mock.NAME: mock.MockVendor()})
        async with over_socket(app) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            found = await use(client, app)
        app.close()
        return found

    assert asyncio.run(main()) == booked


def test_concurrent_sends_of_one_key_are_one_charge() -> None:
    """Fifty at once: one charge, and everybody who got an answer got the same one."""

    async def use(client: httpx2.AsyncClient, app: Sandbox) -> tuple[set[bytes], int]:
        answers = await asyncio.gather(*(client.post(**charge()) for _ in range(50)))
        return {a.content for a in answers}, len(app.ledger.movements())

    bodies, booked = over_http(use)
    assert (len(bodies), booked) == (1, 1)


def test_summary_and_unknown_paths() -> None:
    """The summary counts; a path that nobody serves is 404."""

    async def use(client: httpx2.AsyncClient, _: Sandbox) -> tuple[Any, list[int]]:
        await client.post(**charge())
        summary = (await client.get("/sandbox")).json()
        return summary, [(await client.get(p)).status_code for p in ("/", "/nobody/charges", "/sandbox/nothing")]

    summary, statuses = over_http(use)
    assert summary["vendors"] == ["mock"]
    assert summary["counts"] == {"charge": 1, "chargeObjects": 1, "answers": 1}
    assert statuses == [404, 404, 404]


def test_a_ledger_that_cannot_be_written_is_503_and_books_nothing(tmp_path: Path) -> None:
    """While another connection holds the file for longer than we wait, nothing of the request is kept."""

    async def use(client: httpx2.AsyncClient, app: Sandbox) -> tuple[list[int], int]:
        app.ledger._db.set_busy_timeout(1)
        blocker = sandbox_app(tmp_path / "l.db", app.clock)
        with blocker.ledger.transaction():
            refused = [await client.post(**charge()), await client.get("/sandbox/ledger")]
        blocker.close()
        booked = len(app.ledger.movements())
        return [a.status_code for a in (*refused, await client.post(**charge()))], booked

    assert over_http(use, path=tmp_path / "l.db") == ([503, 503, 200], 0)


HOOK = "http://127.0.0.1:8080/webhooks/first"


def test_endpoints_are_put_as_a_whole_and_taken_back() -> None:
    """What was put counts before what the server beside the sandbox registered; DELETE makes that count again."""

    async def use(client: httpx2.AsyncClient, app: Sandbox) -> list[Any]:
        seen = [(await client.get("/sandbox/webhooks")).json()]
        register_own(app.ledger, "http://127.0.0.1:8080", {"first": "mock"})
        seen.append((await client.get("/sandbox/webhooks")).json())
        for put in ({"mock": ["https://shop.example/hook"]}, {}):
            seen.append((await client.put("/sandbox/webhooks", json=put)).json())
            assert (await client.get("/sandbox/webhooks")).json() == put
        return [*seen, (await client.delete("/sandbox/webhooks")).json()]

    own = {"mock": [HOOK]}
    assert over_http(use) == [{}, own, {"mock": ["https://shop.example/hook"]}, {}, own]


@pytest.mark.parametrize(
    "body",
    [
        *("", "[]", '{"mock": "http://x.example"}', '{"nobody": ["http://x.example"]}', '{"mock": [""]}', '{"mock": [1]}'),
        *(
            '{"mock": ["ftp://x.example"]}',
            '{"mock": ["http://"]}',
            '{"mock": ["//x.example"]}',
            '{"mock": ["http://u:p@x.example"]}',
        ),
        *('{"mock": ["http://x.example/#a"]}', '{"mock": ["http://x.example/ b"]}', '{"mock": ["http://[::1"]}'),
        '{"mock": ["http://x.example:99999"]}',
    ],
)
def test_endpoints_that_are_none_change_nothing(body: str) -> None:
    """400 with the reason, and what was put stays."""

    async def use(client: httpx2.AsyncClient, _: Sandbox) -> Any:
        await client.put("/sandbox/webhooks", json={"mock": [HOOK]})
        bad = await client.put("/sandbox/webhooks", content=body)
        return bad.status_code, "Nothing was changed" in bad.text, (await client.get("/sandbox/webhooks")).json()

    assert over_http(use) == (400, True, {"mock": [HOOK]})


def test_only_what_is_announced_while_somebody_listens_is_owed() -> None:
    """The outbox shows every event; those without an endpoint have no delivery. It can be walked through."""

    async def use(client: httpx2.AsyncClient, _: Sandbox) -> Any:
        await client.post(**charge(reference="before"))
        await client.put("/sandbox/webhooks", json={"mock": [HOOK, HOOK + "2"]})
        await client.post(**charge(reference="after"))
        first = (await client.get("/sandbox/outbox?limit=1")).json()
        second = (await client.get(f"/sandbox/outbox?after={first['next']}")).json()
        bad = (await client.get("/sandbox/outbox?after=x")).status_code
        return first, second, bad

    first, second, bad = over_http(use)
    ((before,), (after,)) = first["events"], second["events"]
    assert (before["eventId"], before["deliveries"]) == ("evt_000000000001_succeeded", [])
    owed = {"state": "due", "sends": 0, "dueAt": "2027-01-15T08:00:00.000000Z"}
    assert after["deliveries"] == [{"endpoint": HOOK, **owed}, {"endpoint": HOOK + "2", **owed}]
    assert (second["next"], bad) == (2, 400)


def test_what_is_owed_to_an_account_follows_the_server_to_another_port() -> None:
    """A restart on another port takes what an earlier one was owed; other accounts and what was put stay."""

    async def use(client: httpx2.AsyncClient, app: Sandbox) -> Any:
        register_own(app.ledger, "http://127.0.0.1:1", {"first": "mock", "gone": "mock"})
        await client.post(**charge())
        register_own(app.ledger, "http://0.0.0.0:2", {"first": "mock"})
        (event,) = (await client.get("/sandbox/outbox")).json()["events"]
        register_own(app.ledger, "http://192.0.2.1:3", {"first": "mock"})
        return [d["endpoint"] for d in event["deliveries"]], (await client.get("/sandbox/webhooks")).json()

    moved = ["http://127.0.0.1:2/webhooks/first", "http://127.0.0.1:1/webhooks/gone"]
    assert over_http(use) == (moved, {})
