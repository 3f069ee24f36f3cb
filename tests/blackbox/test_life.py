"""The judging run over the whole life of payments: all five sandbox accounts, captures, voids, refunds, customers who act and
webhooks that are lost, doubled, late and out of order, and kill -9 at random, inside operations too.

Witness is the sandbox's own ledger, and what the API says; never our store.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from payonce.testing.judge import ENDS_AS
from payonce.testing.torture.judging import by_payment
from payonce.testing.torture.operations import asked, kept, wrong_with_operations

from .running import Payonce, parsed
from .shop import ACCOUNTS, Life, Shop, lives

# Longer by environment: the same with more payments and kills.
PAYMENTS = int(os.environ.get("LIFE_PAYMENTS", "200"))
KILLS = int(os.environ.get("LIFE_KILLS", str(max(7, PAYMENTS // 28))))
SEED = int(os.environ.get("LIFE_SEED", "20261126"))
POSTS_S = PAYMENTS * 0.11
SETTLE_S = 75 + PAYMENTS * 0.1
STILL_S = 6.0  # a refund that was done fails after five
TERMS = "horizon_s = 45\nwatch_s = 26\nsettle_s = 80\n"
# What is wrong at each vendor, in two halves of the storm. Webhooks: lost, twice, late, overtaken.
HOOKS = {"webhookLoseRate": 0.25, "webhookDoubleRate": 0.3, "webhookReorderRate": 0.3, "webhookDelayMs": 200}
WEATHER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mock": ({"errorRate": 0.08, "refunds": "pending"}, {"lookupLagMs": 800, "refunds": "fail_later"}),
    "razorpay": ({"lookupLagMs": 700, "holdS": 20}, {"errorRate": 0.08, "holdS": 20, "refunds": "pending_fail"}),
    "cashfree": ({"errorRate": 0.08, "refunds": "pending_fail"}, {"lookupLagMs": 900, "refunds": "pending"}),
    "stripe": ({"lookupLagMs": 500, "refunds": "fail_later"}, {"errorRate": 0.08, "refunds": "plain"}),
    "payu": ({"lookupLagMs": 600, "refunds": "fail"}, {"errorRate": 0.05, "refunds": "pending"}),
}
LOST_AT_PAYU = {"IN_DOUBT"}  # a request that was lost is never sent there again


def toml() -> str:
    return "version = 1\n" + "".join(f"[providers.{name}]\n{TERMS}" for name in ACCOUNTS)


async def storm(server: Payonce, shop: Shop, dice: random.Random) -> int:
    """Kills in the middle of operations and anywhere else; the weather changes halfway."""
    for n in range(KILLS):
        if n in (0, KILLS // 2):
            for vendor, halves in WEATHER.items():
                await asyncio.to_thread(server.fault, vendor, **HOOKS, **halves[n > 0])
        await asyncio.sleep(dice.uniform(0.2, 1.5))
        if n % 2:  # as soon as the next operation is accepted
            shop.moved.clear()
            async with asyncio.timeout(60):
                await shop.moved.wait()
            await asyncio.sleep(dice.choice((0.0, 0.01, 0.05, 0.2)))
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
    return KILLS


async def live(server: Payonce, shop: Shop, all_lives: list[Life]) -> None:
    """The storm and the shop beside it; then the vendors are well again."""
    killing = asyncio.create_task(storm(server, shop, random.Random(SEED)))
    shopping = asyncio.create_task(shop.open(all_lives))
    await killing
    for vendor in WEATHER:
        await asyncio.to_thread(server.fault, vendor, holdS=WEATHER[vendor][1].get("holdS", 604_800))
    await shopping


def wrong(all_lives: list[Life], views: dict[str, dict[str, Any]], movements: list[dict[str, Any]]) -> Iterator[str]:
    """Everything that does not agree."""
    moved = by_payment(movements)
    yield from (f"money moved for {id}, which nobody posted" for id in moved if id not in views)
    for each in all_lives:
        view, here = views[each.id], moved.get(each.id, [])
        told = f"{each.id} ({each.token} at {view['provider']}, {each.hold or 'taken at once'}, {each.refund}, {view['status']})"
        yield from (f"{told}: {says}" for says in wrong_with_operations(view, here))
        if view["status"] not in ends(each, view):
            yield f"{told}: {view['reason']}, and must be one of {sorted(ends(each, view))}"
        if (account := each.body.get("provider")) and {m["provider"] for m in here} - {account.removesuffix("_mock")}:
            yield f"{told}: money moved elsewhere: {here}"


def ends(life: Life, view: dict[str, Any]) -> set[str]:
    """As what it may end."""
    may = {*ENDS_AS[life.token]}
    if life.decides:
        may = {"SUCCESS", "FAILED"}
    if life.hold and "SUCCESS" in may:
        voided = any(o["status"] == "SUCCEEDED" for o in asked(view, "void"))
        captured = any(o["status"] == "SUCCEEDED" for o in asked(view, "capture"))
        may = may - {"SUCCESS"} | ({"SUCCESS"} if captured else {"CANCELED"} if voided else {"AUTHORIZED", "CANCELED"})
    return may | (LOST_AT_PAYU if view["provider"] == "payu_mock" else set())


def settle(server: Payonce, all_lives: list[Life]) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Wait until everything agrees and the ledger is still; else say what does not."""
    deadline, still, count = time.monotonic() + SETTLE_S, time.monotonic(), -1
    while True:
        movements, views = server.ledger(), server.payments()
        found = [*wrong(all_lives, views, movements)]
        if len(movements) != count:
            still, count = time.monotonic(), len(movements)
        if not found and time.monotonic() - still > STILL_S:
            return views, movements
        assert time.monotonic() < deadline, "\n".join([f"{len(found)} do not agree:", *found])
        time.sleep(0.5)  # between two looks


@pytest.mark.slow
def test_the_whole_life_of_payments_through_kills_and_lost_webhooks(tmp_path: Path) -> None:
    """200 payments over five accounts with all that follows, killed seven times: refunds never above captures, nothing
    charged twice, captured and voided as asked, every operation's end is what the books say, nothing left open."""
    server = Payonce(tmp_path / "data", toml=toml())
    server.start()
    all_lives, began = lives(PAYMENTS, SEED, POSTS_S), time.monotonic()

    async def run() -> Shop:
        shop = Shop(server)
        await live(server, shop, all_lives)
        return shop

    try:
        shop = asyncio.run(run())
        stormed = time.monotonic() - began
        views, movements = settle(server, all_lives)
        print(f"storm {stormed:.0f} s, settled {time.monotonic() - began:.0f} s", shop.answers, Counter(v["status"] for v in views.values()))
        print(Counter((v["provider"], o["kind"], o["status"], o["reason"]) for v in views.values() for o in v["operations"][1:]))
        print(Counter(m["provider"] + " " + m["kind"] for m in movements))
        hooks = httpx2.get(f"{server.url}/sandbox/webhooks", params={"limit": 1000}).json()
        print(Counter(d["state"] for e in hooks["events"] for d in e["deliveries"]))
        assert len(views) == PAYMENTS
        verify = server.cli("verify", "--json")
        assert verify.returncode == 0, verify.stdout + verify.stderr
        assert parsed(server.cli("webhooks", "list", "--state", "new", "--json"))["webhooks"] == []
        assert server.stop() == 0
    finally:
        server.end()
