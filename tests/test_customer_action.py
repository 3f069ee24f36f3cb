"""A whole server with the sandbox in it, over real HTTP: holds, refunds and customers who act, end to end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from payonce.config import Settings, load
from payonce.core.errors import ConfigError
from payonce.serving import serving

SHOP = "https://shop.invalid/paid?order=7"
Body = dict[str, Any]


def settings(tmp_path: Path, env: dict[str, str] | None = None) -> Settings:
    file = tmp_path / "payonce.toml"
    file.write_text("version = 1\n[providers.mock]\n")
    return load({"store.data_dir": str(tmp_path / "data"), "server.port": 0}, env or {}, file)


class Caller:
    """A merchant over HTTP."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    async def pay(self, key: str, **fields: object) -> Body:
        body = {"amount": 100, "currency": "INR", "paymentMethod": "tok_ok", **fields}
        answer = await self.client.post("/payments", json=body, headers={"idempotency-key": key})
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def ask(self, id: str, what: str, key: str, **body: object) -> httpx2.Response:
        return await self.client.post(f"/payments/{id}/{what}", json=body, headers={"idempotency-key": key})

    async def until(self, id: str, holds: Callable[[Body], bool]) -> Body:
        async with asyncio.timeout(20):
            while not holds(body := (await self.client.get(f"/payments/{id}")).json()):
                await asyncio.sleep(0.02)
        return dict(body)


@asynccontextmanager
async def caller(tmp_path: Path, env: dict[str, str] | None = None) -> AsyncIterator[Caller]:
    async with serving(settings(tmp_path, env)) as served, httpx2.AsyncClient(base_url=served.url, timeout=20) as client:
        yield Caller(client)


def run(tmp_path: Path, check: Callable[[Caller], Awaitable[None]], env: dict[str, str] | None = None) -> None:
    async def go() -> None:
        async with caller(tmp_path, env) as c:
            await check(c)

    asyncio.run(go())


def is_now(status: str) -> Callable[[Body], bool]:
    return lambda body: bool(body["status"] == status)


def codes(answers: list[httpx2.Response]) -> list[str]:
    return sorted(a.json().get("code", "accepted") for a in answers)


def test_refunds_at_the_same_time_over_http(tmp_path: Path) -> None:
    """Of eight refunds of 60 on 100 one is accepted; the sandbox's ledger gave back 60, once."""

    async def check(c: Caller) -> None:
        id = (await c.pay("p-1"))["transactionId"]
        await c.until(id, is_now("SUCCESS"))
        answers = await asyncio.gather(*(c.ask(id, "refunds", f"r-{n}", amount=60) for n in range(8)))
        assert codes(list(answers)) == ["accepted"] + ["amount_exceeds_available"] * 7
        settled = await c.until(id, lambda body: bool(body["refunded"]))
        assert (settled["refunded"], settled["captured"], settled["status"]) == (60, 100, "SUCCESS")

    run(tmp_path, check)


def test_capture_and_void_at_the_same_time_over_http(tmp_path: Path) -> None:
    """One is accepted, whichever it is, and the payment ends as that one says."""

    async def check(c: Caller) -> None:
        for turn in range(3):
            id = (await c.pay(f"p-{turn}", captureMethod="manual"))["transactionId"]
            await c.until(id, is_now("AUTHORIZED"))
            asked = [c.ask(id, verb, f"{verb}-{turn}-{n}") for n in range(3) for verb in ("void", "capture")]
            answers = list(await asyncio.gather(*asked))
            kinds = [a.json()["kind"] for a in answers if a.status_code == 202]
            assert len(kinds) == 1, codes(answers)
            assert set(codes(answers)) <= {"accepted", "operation_in_progress", "operation_not_possible"}
            ended = await c.until(id, lambda body: body["status"] in ("SUCCESS", "CANCELED"))
            assert (ended["status"], ended["captured"]) == (("SUCCESS", 100) if kinds == ["capture"] else ("CANCELED", 0))

    run(tmp_path, check)


@pytest.mark.parametrize(
    ("decision", "status", "code"), [("approve", "SUCCESS", None), ("decline", "FAILED", "authentication_failed")]
)
def test_the_whole_way_of_a_customer(tmp_path: Path, decision: str, status: str, code: str | None) -> None:
    """From the address in the payment over the provider's page and our door to the shop: every hop is where it should be, and
    coming back has the payment read at once."""

    async def check(c: Caller) -> None:
        id = (await c.pay("a-1", paymentMethod="tok_action", returnUrl=SHOP))["transactionId"]
        page = (await c.until(id, is_now("REQUIRES_ACTION")))["nextAction"]["url"]
        assert (await c.client.get(page)).status_code == 200
        decided = await c.client.post(page, data={"decision": decision})
        assert decided.headers["location"] == f"{c.client.base_url}/return/{id[4:]}0100".replace("//return", "/return")
        back = await c.client.get(decided.headers["location"])
        assert (back.status_code, back.headers["location"]) == (303, f"{SHOP}&transactionId={id}")
        ended = await c.until(id, is_now(status))
        assert (ended["lastError"] or {}).get("code") == code
        history = (await c.client.get(f"/payments/{id}/history")).json()["data"]
        assert "return" in [e["actor"] for e in history if e["kind"] == "Hinted"]

    run(tmp_path, check)


def test_a_refund_that_fails_later_can_be_asked_again(tmp_path: Path) -> None:
    """A pending refund keeps its share; when the provider fails it, it is FAILED with a reason, and the share is free."""

    async def check(c: Caller) -> None:
        id = (await c.pay("p-1"))["transactionId"]
        await c.until(id, is_now("SUCCESS"))
        await c.client.put("/sandbox/faults", json={"refunds": "pending_fail"})
        asked = (await c.ask(id, "refunds", "r-1", amount=60)).json()
        sent = await c.until(id, lambda body: bool(body["operations"][1]["providerRef"]))
        assert (sent["operations"][1]["status"], sent["refunded"]) == ("PENDING", 0)
        assert codes([await c.ask(id, "refunds", "r-2", amount=60)]) == ["amount_exceeds_available"]
        failed = await c.until(id, lambda body: body["operations"][1]["status"] == "FAILED")
        assert (failed["operations"][1]["reason"], failed["refunded"], failed["attention"]) == ("refund_refused", 0, None)
        again = await c.ask(id, "refunds", "r-1", amount=60)
        assert (again.json()["operationId"], again.json()["status"]) == (asked["operationId"], "FAILED")
        await c.client.put("/sandbox/faults", json={})
        assert (await c.ask(id, "refunds", "r-2", amount=60)).status_code == 202
        assert (await c.until(id, lambda body: bool(body["refunded"])))["refunded"] == 60

    run(tmp_path, check)


@pytest.mark.parametrize(
    ("token", "status", "reason"),
    [("tok_action_ok", "SUCCESS", None), ("tok_action_decline", "FAILED", "authentication_failed")],
)
def test_a_customer_acts_and_comes_back(tmp_path: Path, token: str, status: str, reason: str | None) -> None:
    """The payment waits and says where to; the way back leads to the shop at once; the end is what the provider says."""

    async def check(c: Caller) -> None:
        id = (await c.pay("a-1", paymentMethod=token, returnUrl=SHOP, actionExpiresIn=60))["transactionId"]
        waiting = await c.until(id, is_now("REQUIRES_ACTION"))
        assert waiting["nextAction"]["url"].startswith("http")
        assert waiting["nextAction"]["expiresAt"] == waiting["actionExpiresAt"]
        assert codes([await c.ask(id, "refunds", "r"), await c.ask(id, "capture", "c")]) == [
            "operation_in_progress",
            "operation_not_possible",
        ]
        back = await c.client.get(f"/return/{id[4:]}0100", follow_redirects=False)
        assert (back.status_code, back.headers["location"]) == (303, f"{SHOP}&transactionId={id}")
        ended = await c.until(id, is_now(status))
        assert (ended["nextAction"], ended["actionExpiresAt"]) == (None, None)
        assert (ended["lastError"] or {}).get("code") == reason

    run(tmp_path, check)


@pytest.mark.parametrize(
    ("env", "front"),
    [({}, "http://127.0.0.1:"), ({"PAYONCE_PUBLIC_URL": "https://pay.invalid/money/"}, "https://pay.invalid/money/return/")],
)
def test_the_provider_sends_the_customer_to_us(tmp_path: Path, env: dict[str, str], front: str) -> None:
    """The return address that the provider gets is this server's own, or below the public URL; never the shop's."""

    async def go() -> None:
        async with serving(settings(tmp_path, env)) as served, httpx2.AsyncClient(base_url=served.url) as client:
            c = Caller(client)
            id = (await c.pay("a-1", paymentMethod="tok_action", returnUrl=SHOP))["transactionId"]
            await c.until(id, is_now("REQUIRES_ACTION"))
            p = await served.app.store.get(id)
            assert p is not None
            request = p.steps()[0].request
            assert request is not None
            place = (id, request.body_sha256)
            sent = (await served.app.store.bodies([place]))[place].decode()
            assert front in sent
            assert f"/return/{id[4:]}0100" in sent
            assert "shop.invalid" not in sent
            if not env:
                assert f"{served.url}/return/" in sent

    asyncio.run(go())


def test_in_live_mode_the_customer_goes_straight_to_the_merchant(tmp_path: Path) -> None:
    """A real customer's browser would not find this machine: without a public URL our address is given to nobody."""

    async def go() -> None:
        live = load({"store.data_dir": str(tmp_path / "data"), "server.port": 0, "server.mode": "live"})
        async with serving(live, worker=False) as served:
            assert served.app.engine.return_to == ""

    asyncio.run(go())


@pytest.mark.parametrize(
    "bad",
    [
        "pay.example.com",
        "ftp://pay.example.com",
        "https://u:p@pay.example.com",
        "https://x/?a=b",
        "https://x/#a",
        "https://x/a b",
    ],
)
def test_a_public_url_that_cannot_be_one_is_refused(bad: str) -> None:
    """http or https, without user, query and fragment; the error names the value's origin and the fix."""
    with pytest.raises(ConfigError, match=r"server\.public_url \(environment PAYONCE_PUBLIC_URL\) must be an http"):
        load(env={"PAYONCE_PUBLIC_URL": bad})


def test_how_long_a_customer_may_act_is_a_setting(tmp_path: Path) -> None:
    """payments.action_expires_s counts where the request does not say; its bounds are 60 s and a day."""

    async def check(c: Caller) -> None:
        id = (await c.pay("a-1", paymentMethod="tok_action"))["transactionId"]
        waiting = await c.until(id, is_now("REQUIRES_ACTION"))
        assert waiting["actionExpiresAt"][:13] != waiting["createdAt"][:13], "ten hours later"

    run(tmp_path, check, {"PAYONCE_ACTION_EXPIRES_S": "36000"})
    for bad in ("59", "86401"):
        with pytest.raises(ConfigError, match="from 60 to 86400"):
            load(env={"PAYONCE_ACTION_EXPIRES_S": bad})
