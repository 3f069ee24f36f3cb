"""The promise, from outside: every accepted payment ends right and none is charged twice, whatever is killed when.

Witness is the sandbox's own ledger, never our store.
"""

import asyncio
import random
from pathlib import Path
from typing import Any

import httpx2
import pytest

from .running import Payonce, net_charges

TOKENS = (
    "tok_ok",
    "tok_decline_insufficient_funds",
    "tok_decline_stolen_card",
    "tok_decline_then_ok",
    "tok_timeout_then_ok",
    "tok_lost_response",
    "tok_500_then_ok",
    "tok_500_after_charge",
    "tok_garbage_response",
    "tok_slow_5s",
    "tok_rate_limited",
    "tok_wrong_amount",
    "tok_never_resolves",
    "tok_late_success",
)
CURRENCIES = ("INR", "USD", "EUR", "JPY", "KWD", "GBP")
PAYMENTS = 200
KILLS = 4
SETTLE_DEADLINE_S = 200
FINAL = ("SUCCESS", "FAILED", "IN_DOUBT")
SURE = {  # what each token must end as, whenever the process died
    "tok_ok": "SUCCESS",
    "tok_decline_insufficient_funds": "FAILED",
    "tok_decline_stolen_card": "FAILED",
    "tok_decline_then_ok": "SUCCESS",
    "tok_timeout_then_ok": "SUCCESS",
    "tok_lost_response": "SUCCESS",
    "tok_500_then_ok": "SUCCESS",
    "tok_500_after_charge": "SUCCESS",
    "tok_garbage_response": "SUCCESS",
    "tok_slow_5s": "SUCCESS",
    "tok_rate_limited": "SUCCESS",
    "tok_wrong_amount": "IN_DOUBT",
    "tok_never_resolves": "IN_DOUBT",
    # tok_late_success: FAILED and given back; SUCCESS when the process died before it heard of the decline
}


async def post(client: httpx2.AsyncClient, url: str, key: str, body: dict[str, Any]) -> str:
    """Post until it is accepted, always with the same key, as a careful client does."""
    for _ in range(400):
        try:
            answer = await client.post(f"{url}/payments", json=body, headers={"Idempotency-Key": key})
        except httpx2.HTTPError:
            await asyncio.sleep(0.1)  # the server is dead or dying; its return is the condition
            continue
        if answer.status_code == 503:
            await asyncio.sleep(0.1)
            continue
        assert answer.status_code == 202, answer.text
        return str(answer.json()["transactionId"])
    raise AssertionError("the payment was never accepted")


async def posts_and_kills(server: Payonce, dice: random.Random) -> dict[str, tuple[dict[str, Any], set[str]]]:
    """200 payments, a fifth of them posted twice (some at once), while the server is killed again and again."""
    bodies: dict[str, dict[str, Any]] = {}
    for n in range(PAYMENTS):
        token, currency = TOKENS[n % len(TOKENS)], CURRENCIES[n % len(CURRENCIES)]
        bodies[f"torture-{n}"] = {"amount": 100 + n, "currency": currency, "paymentMethod": token, "clientId": f"shop-{n % 3}"}
    jobs = list(bodies) + dice.sample(list(bodies), PAYMENTS // 5)
    dice.shuffle(jobs)
    ids: dict[str, set[str]] = {key: set() for key in bodies}
    async with httpx2.AsyncClient(timeout=5) as client:
        wave = -(-len(jobs) // (KILLS + 1))
        for start in range(0, len(jobs), wave):
            keys = jobs[start : start + wave]
            running = [asyncio.create_task(post(client, server.url, key, bodies[key])) for key in keys]
            if start + wave < len(jobs):
                while sum(task.done() for task in running) < len(running) // 2:
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            for key, payment_id in zip(keys, await asyncio.gather(*running), strict=True):
                ids[key].add(payment_id)
    return {key: (bodies[key], ids[key]) for key in bodies}


def settled(server: Payonce, late: set[str]) -> bool:
    payments = server.payments()
    done = all(p["status"] in FINAL for p in payments.values())
    failed = [payments[i] for i in late if payments[i]["status"] == "FAILED"]
    return done and all(p["reversed"] == p["amount"] for p in failed)


@pytest.mark.slow
def test_every_payment_ends_right_and_none_is_charged_twice(tmp_path: Path) -> None:
    """200 payments over every token, a fifth posted twice, the server killed four times with kill -9."""
    server = Payonce(tmp_path / "data")
    server.start()
    try:
        posted = asyncio.run(posts_and_kills(server, random.Random(20261124)))
        late = {next(iter(ids)) for body, ids in posted.values() if body["paymentMethod"] == "tok_late_success"}

        async def wait() -> None:
            async with asyncio.timeout(SETTLE_DEADLINE_S):
                while not await asyncio.to_thread(settled, server, late):
                    await asyncio.sleep(0.5)

        asyncio.run(wait())
        payments, movements = server.payments(), server.ledger()
        verify = server.cli("verify", "--json")
        assert len(payments) == PAYMENTS
        for body, ids in posted.values():
            assert len(ids) == 1, "one key made two payments"
            (payment_id,) = ids
            payment, kept = payments[payment_id], net_charges(movements, payment_id)
            token = body["paymentMethod"]
            assert len(kept) <= 1, f"{token} {payment_id} was charged twice"
            assert payment["status"] == SURE.get(token, payment["status"]), (token, payment)
            if payment["status"] == "SUCCESS":
                assert [(m["amount"], m["currency"]) for m in kept] == [(body["amount"], body["currency"])], (token, kept)
            if payment["status"] == "FAILED":
                assert kept == [], (token, kept)
        assert verify.returncode == 0, verify.stdout + verify.stderr
        assert server.stop() == 0
    finally:
        if server.process and server.process.poll() is None:
            server.kill()


def test_one_key_fifty_times_at_once(tmp_path: Path) -> None:
    """The same key with the same body 50 times at once is one payment and one charge; another body has no effect."""
    server = Payonce(tmp_path / "data")
    server.start()
    body = {"amount": 4200, "currency": "INR", "paymentMethod": "tok_ok"}

    async def fifty() -> tuple[set[str], int]:
        async with httpx2.AsyncClient(timeout=20) as client:
            ids = await asyncio.gather(*(post(client, server.url, "same", body) for _ in range(50)))
            other = await client.post(
                f"{server.url}/payments", json={**body, "amount": 4300}, headers={"Idempotency-Key": "same"}
            )
            assert other.json()["code"] == "idempotency_key_reused"
            assert [e["field"] for e in other.json()["errors"]] == ["amount"]
            async with asyncio.timeout(20):
                while (await client.get(f"{server.url}/payments/{ids[0]}")).json()["status"] == "PENDING":
                    await asyncio.sleep(0.05)
            return set(ids), other.status_code

    try:
        ids, status = asyncio.run(fifty())
        assert (len(ids), status) == (1, 422)
        assert [(m["kind"], m["amount"]) for m in server.ledger()] == [("charge", 4200)]
        assert len(server.payments()) == 1
        assert server.stop() == 0
    finally:
        if server.process and server.process.poll() is None:
            server.kill()
