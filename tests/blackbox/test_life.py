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

from payonce.testing.torture.judging import by_payment
from payonce.testing.torture.operations import ends_of, wrong_with_operations

from .running import Payonce, parsed
from .shop import ACCOUNTS, Life, Shop, lives

# Longer by environment: the same with more payments and kills.
PAYMENTS = int(os.environ.get("LIFE_PAYMENTS", "200"))
KILLS = int(os.environ.get("LIFE_KILLS", str(max(7, PAYMENTS // 28))))
SEED = int(os.environ.get("LIFE_SEED", "20261126"))
POSTS_S = PAYMENTS * 0.11
SETTLE_S = 75 + PAYMENTS * 0.1
STILL_S = 6.0  # a refund that was done fails after five
# In doubt after this time; sooner where what was lost is never sent again, so that it is in doubt for good.
HORIZONS = {"mock": 60, "stripe_mock": 60, "razorpay_mock": 45, "cashfree_mock": 45, "payu_mock": 30}
REPEATED = ("mock", "stripe_mock")  # where a refund that was lost is sent again under its key
# What is wrong at each vendor, in two halves of the storm. Webhooks: lost, twice, late, overtaken.
HOOKS = {"webhookLoseRate": 0.25, "webhookDoubleRate": 0.3, "webhookReorderRate": 0.3, "webhookDelayMs": 200}
WEATHER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mock": ({"errorRate": 0.08, "refunds": "pending"}, {"lookupLagMs": 800, "refunds": "fail_later"}),
    "razorpay": ({"lookupLagMs": 700}, {"latencyMs": 300, "refunds": "pending_fail"}),
    "cashfree": ({"latencyMs": 400, "refunds": "pending_fail"}, {"lookupLagMs": 900, "refunds": "pending"}),
    "stripe": ({"lookupLagMs": 500, "refunds": "fail_later"}, {"errorRate": 0.08, "refunds": "plain"}),
    "payu": ({"lookupLagMs": 600, "refunds": "fail"}, {"errorRate": 0.05, "refunds": "pending"}),
}


def toml() -> str:
    times = "horizon_s = {}\nwatch_s = 26\nsettle_s = 100\n"
    return "version = 1\n" + "".join(f"[providers.{name}]\n{times.format(HORIZONS[name])}" for name in ACCOUNTS)


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
        await asyncio.to_thread(server.fault, vendor)
    await shopping


def outlasted(server: Payonce, view: dict[str, Any]) -> bool:
    """It is in doubt by its short horizon because kills cost most of it: a step that nobody answers is waited for as long as
    its claim may last, a third of the horizon or more."""
    if (view["status"], view["reason"]) != ("IN_DOUBT", "horizon"):
        return False
    past = server.history(view["transactionId"])
    answered = {e["data"]["about"] for e in past if e["kind"] == "Observed"}
    return len([e for e in past if e["kind"] == "Planned" and e["seq"] not in answered]) >= 2


def wrong(
    server: Payonce, all_lives: list[Life], views: dict[str, dict[str, Any]], movements: list[dict[str, Any]]
) -> Iterator[str]:
    """Everything that does not agree."""
    moved = by_payment(movements)
    yield from (f"money moved for {id}, which nobody posted" for id in moved if id not in views)
    for each in all_lives:
        view, here = views[each.id], moved.get(each.id, [])
        told = (
            f"{each.id} ({each.token} at {view['provider']}, {each.hold or 'taken at once'}, {each.refund}, {view['status']})"
        )
        yield from (f"{told}: {says}" for says in wrong_with_operations(view, here))
        may = ends_of(each.token, view, decided=bool(each.decides))
        if view["status"] not in may and not outlasted(server, view):
            yield f"{told}: {view['reason']}, and must be one of {sorted(may)}"
        doubts = [o["kind"] for o in view["operations"][1:] if o["status"] == "IN_DOUBT"]
        if doubts and view["provider"] in REPEATED:
            yield f"{told}: its {', '.join(doubts)} is in doubt"
        if (account := each.body.get("provider")) and {m["provider"] for m in here} - {account.removesuffix("_mock")}:
            yield f"{told}: money moved elsewhere: {here}"


def settle(server: Payonce, all_lives: list[Life]) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Wait until everything agrees and the ledger is still; else say what does not."""
    deadline, still, count = time.monotonic() + SETTLE_S, time.monotonic(), -1
    while True:
        movements, views = server.ledger(), server.payments()
        found = [*wrong(server, all_lives, views, movements)]
        if len(movements) != count:
            still, count = time.monotonic(), len(movements)
        if not found and time.monotonic() - still > STILL_S:
            return views, movements
        assert time.monotonic() < deadline, "\n".join([f"{len(found)} do not agree:", *found])
        time.sleep(0.5)  # between two looks


def outbox(server: Payonce) -> Counter[str]:
    """What became of the webhooks that the vendors had to send, by vendor and state."""
    counts, after = Counter[str](), 0
    while True:
        page = httpx2.get(f"{server.url}/sandbox/outbox", params={"after": after, "limit": 500}, timeout=10).json()
        if not page["events"]:
            return counts
        counts.update(f"{e['vendor']} {d['state']}" for e in page["events"] for d in e["deliveries"])
        after = page["next"]


def require_exercised(
    shop: Shop, views: dict[str, dict[str, Any]], movements: list[dict[str, Any]], sent: Counter[str]
) -> None:
    """A run in which little happened proves little: everything that is judged did happen, at every vendor that can."""
    done = Counter((o["kind"], o["status"], v["provider"]) for v in views.values() for o in v["operations"][1:])
    moved = Counter((m["kind"], m["provider"]) for m in movements)
    assert {v["status"] for v in views.values()} >= {"SUCCESS", "FAILED", "CANCELED", "IN_DOUBT", "AUTHORIZED"}
    for account in ACCOUNTS:
        vendor = account.removesuffix("_mock")
        assert done["refund", "SUCCEEDED", account] >= 3, (account, done)
        assert done["capture", "SUCCEEDED", account] >= 1, (account, done)
        assert moved["authorize", vendor] >= 2, (vendor, moved)
        assert sent[f"{vendor} delivered"] >= 5, sent
        assert sent[f"{vendor} lost"] >= 1, sent
    assert sum(n for (kind, status, _), n in done.items() if (kind, status) == ("void", "SUCCEEDED")) >= 3, done
    assert sum(n for (kind, status, _), n in done.items() if (kind, status) == ("refund", "FAILED")) >= 3, done
    assert sum(n for (kind, _), n in moved.items() if kind == "refund_failed") >= 2, moved
    partly = [v for v in views.values() if v["status"] == "SUCCESS" and v["captured"] < v["amount"]]
    assert partly, "something was captured in part"
    for said in ("refunds amount_exceeds_available", "capture amount_exceeds_available", "capture partial_capture_unsupported"):
        assert shop.answers[said] >= 1, shop.answers
    for said in ("page approve", "page decline", "refunds idempotency_key_reused", "void operation_not_possible"):
        assert shop.answers[said] >= 1, shop.answers


@pytest.mark.slow
def test_the_whole_life_of_payments_through_kills_and_lost_webhooks(tmp_path: Path) -> None:
    """200 payments over five accounts with all that follows, killed seven times: refunds never above captures, nothing
    charged twice, captured and voided as asked, every operation's end is what the books say, nothing left open."""
    server = Payonce(tmp_path / "data", toml=toml())
    server.start()
    all_lives = lives(PAYMENTS, SEED, POSTS_S)

    async def run() -> Shop:
        shop = Shop(server)
        await live(server, shop, all_lives)
        return shop

    try:
        shop = asyncio.run(run())
        views, movements = settle(server, all_lives)
        require_exercised(shop, views, movements, outbox(server))
        assert len(views) == PAYMENTS, "one key, one payment"
        assert parsed(server.cli("webhooks", "list", "--state", "new", "--json"))["webhooks"] == []
        assert server.stop() == 0
        verify = server.cli("verify", "--json")
        assert verify.returncode == 0, verify.stdout + verify.stderr
    finally:
        server.end()
