"""GET /stats and /stats/declines: the figures of what was really paid here, of one's own payments only."""

import asyncio
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace

from payonce.adapter import Declined
from payonce.api.app import create_app
from payonce.core.idempotency import normalise
from payonce.figures import COUNT_MAX
from payonce.ports import Scope
from payonce.shown.views import moment
from payonce.stores.memory import MemoryStore

from .service import (
    GOOD,
    OTHER,
    TEST,
    Service,
    account,
    all_ok,
    engine_over,
    house_over,
    new_key,
    open_door,
    problem_of,
    ring,
    serving,
)


async def paid(s: Service) -> None:
    """Five payments: two that are charged, one held, one declined, one of which nobody knows."""
    await s.settled("k1")
    await s.settled("k2", amount=2000)
    await s.settled("k3", captureMethod="manual")
    await s.settled("k4", paymentMethod="tok_stolen", currency="USD")
    await s.accepted("k5")


def test_the_figures_of_what_was_paid() -> None:
    """Accepted, settled, approved, calls, amounts and the last point of the series are those of five known payments."""

    async def check(s: Service) -> None:
        await paid(s)
        told = (await s.get("/stats")).json()
        now = told["now"]
        assert (now["accepted"], now["settled"], now["succeeded"], now["authorized"], now["failed"]) == (5, 4, 2, 1, 1)
        assert (now["approvalRate"], now["calls"], now["errors"], now["errorRate"]) == (0.75, 4, 0, 0.0)
        assert 0 < now["settleP50Ms"] <= now["settleP95Ms"]
        assert told["previous"]["accepted"] == 0
        assert told["previous"]["approvalRate"] is None
        assert told["standing"] == {
            "PENDING": 1,
            "REQUIRES_ACTION": 0,
            "AUTHORIZED": 1,
            "IN_DOUBT": 0,
            "attention": 0,
            "max": COUNT_MAX,
        }
        assert told["amounts"] == [
            {"currency": "INR", "accepted": 5150, "taken": 3050, "held": 1050},
            {"currency": "USD", "accepted": 1050, "taken": 0, "held": 0},
        ]
        (tiny,) = told["providers"]
        assert (tiny["account"], tiny["approved"], tiny["declined"], tiny["successRate"], tiny["share"]) == (
            "tiny",
            3,
            1,
            0.75,
            1.0,
        )
        assert sum(p["accepted"] for p in told["series"]) == 5
        assert [p["accepted"] for p in told["series"]][:13] == [0] * 13
        assert (told["complete"], told["since"], told["stepS"]) == (True, None, 60)

    serving(check)


@pytest.mark.parametrize(("window", "points", "step_s"), [("15m", 15, 60), ("24h", 24, 3600), ("7d", 168, 3600)])
def test_each_window_has_its_points(window: str, points: int, step_s: int) -> None:
    """Without a single payment: all points, no rate, an account that nobody used yet; the window ends with the running step."""

    async def check(s: Service) -> None:
        told = (await s.get("/stats", window=window)).json()
        assert (told["window"], len(told["series"]), told["stepS"]) == (window, points, step_s)
        assert moment(told["from"]) <= moment(told["asOf"]) < moment(told["before"])
        assert moment(told["from"]) - moment(told["previousFrom"]) == moment(told["before"]) - moment(told["from"])
        assert (told["now"]["accepted"], told["now"]["approvalRate"], told["now"]["errorRate"]) == (0, None, None)
        assert [(p["account"], p["successRate"], p["share"]) for p in told["providers"]] == [("tiny", None, None)]
        assert told["amounts"] == []

    serving(check)


def test_what_was_before_is_the_window_before() -> None:
    """Fifteen minutes later the same payments are the window before, and after another fifteen they are in neither."""

    async def check(s: Service) -> None:
        await paid(s)
        for now, before in ((5, 0), (0, 5), (0, 0)):
            told = (await s.get("/stats")).json()
            assert (told["now"]["accepted"], told["previous"]["accepted"]) == (now, before)
            await s.engine.clock.sleep(900)
        assert (await s.get("/stats", window="24h")).json()["now"]["accepted"] == 5

    serving(check)


def test_declines_say_why() -> None:
    """Codes with their meaning, at which account and in which currency; filters leave the rest out."""
    hard = {"41": Declined(code="stolen_card", hard=True, scope="issuer", reference="")}

    async def check(s: Service) -> None:
        await paid(s)
        told = (await s.get("/stats/declines")).json()
        (only,) = told["data"]
        assert (only["code"], only["account"], only["currency"], only["count"], only["previous"]) == (
            "stolen_card",
            "tiny",
            "USD",
            1,
            0,
        )
        assert (only["hard"], only["message"]) == (True, "The card is reported stolen. Final: it is not tried again anywhere.")
        assert (await s.get("/stats/declines", currency="inr")).json()["data"] == []
        assert (await s.get("/stats/declines", provider="other")).json()["data"] == []
        assert len((await s.get("/stats/declines", provider="tiny", currency="usd")).json()["data"]) == 1

    tiny = account()
    tiny.adapter.DECLINES = hard
    serving(check, accounts=(tiny,))


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/stats", {"window": "1h"}, "window"),
        ("/stats", {"provider": "tiny"}, "provider"),
        ("/stats/declines", {"currency": "XXY"}, "currency"),
        ("/stats/declines", {"window": ""}, "window"),
    ],
)
def test_what_is_no_window_is_refused(path: str, query: dict[str, str], field: str) -> None:
    """An unknown window, currency or parameter is named."""

    async def check(s: Service) -> None:
        told = problem_of(await s.get(path, **query))
        assert (told["status"], [e["field"] for e in told["errors"]]) == (422, [field])

    serving(check)


@pytest.mark.parametrize("path", ["/stats", "/stats/declines", "/providers", "/providers/tiny", "/attention", "/workers"])
def test_without_a_house_nothing_is_there(path: str) -> None:
    """An application that was made without one has no figures to show."""

    async def check(s: Service) -> None:
        assert problem_of(await s.get(path))["code"] == "not_found"

    serving(check, house=None)


def test_figures_of_an_account_that_is_not_ones_own_any_more() -> None:
    """It took a payment of theirs, and takes none now: it is shown with what happened there, and to nobody else."""

    async def go() -> None:
        store = MemoryStore()
        engine = engine_over(store, account(), account("second"))
        receipt = await engine.submit(OTHER, normalise({**GOOD, "provider": "second"}), "k", actor="test")
        await engine.advance(receipt.payment.id)
        engine.accounts["second"] = replace(engine.accounts["second"], merchants=frozenset({TEST.merchant_id}))
        keys = ring(clock=engine.clock)
        app = create_app(engine, door=open_door(engine, keys=keys), ready=all_ok, house=house_over(engine, keys=keys))
        mine, theirs = await new_key(keys, OTHER), await new_key(keys)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://payonce.test") as client:

            async def names(path: str, headers: Any, *at: str) -> list[Any]:
                told = (await client.get(path, headers=headers)).json()
                return [p["account"] for p in told[at[0] if at else "data"]]

            assert await names("/stats", mine, "providers") == ["tiny", "second"]
            gone = (await client.get("/providers/second", headers=mine)).json()
            assert (gone["adapter"], gone["merchants"], gone["mayDrain"], gone["sums"]["approved"]) == (None, None, False, 1)
            there = (await client.get("/providers/second", headers=theirs)).json()
            assert (there["adapter"], there["merchants"], there["sums"]["approved"]) == ("tiny", ["mer_default"], 0)
            await engine.clock.sleep(3600)
            assert await names("/providers", mine) == ["tiny"]
            assert (await client.get("/providers/second", headers=mine)).status_code == 404
            assert await names("/providers?window=24h", mine) == ["tiny", "second"]

    asyncio.run(go())


def test_the_mode_is_ones_own() -> None:
    """Live payments are not counted among test ones."""

    async def check(s: Service) -> None:
        await s.engine.submit(Scope(TEST.merchant_id, "live"), normalise({**GOOD, "paymentMethod": "pm_1"}), "k", actor="test")
        assert (await s.get("/stats")).json()["now"]["accepted"] == 0

    serving(check, accounts=(account(), account("tiny_live", mode="live")))
