"""What keeps the whole service from its work is on GET /attention: to everybody that it is so, to the house why."""

import asyncio
from typing import Any

import pytest

from payonce.api import service_state
from payonce.api.service_state import KEPT_US, SLOW, STRANGERS, StoreLook
from payonce.core.errors import StoreUnavailable
from payonce.ports import Scope
from payonce.stores.memory import MemoryStore

from .service import OTHER, TEST, Service, engine_over, house_over, new_key, open_door, ring, serving

WHY = "/srv/payments.db was moved."


class Telling:
    """A store that says what it was told to say, and counts how often it was asked."""

    def __init__(self, says: str = WHY) -> None:
        self.says, self.asked = says, 0

    async def trouble(self) -> str:
        self.asked += 1
        return self.says


@pytest.mark.parametrize(("scope", "said"), [(TEST, WHY), (OTHER, STRANGERS)], ids=["the house", "another"])
def test_a_store_that_takes_no_writes_is_told(scope: Scope, said: str) -> None:
    """Files of this machine are named to the house only; /workers says the same as /attention."""
    keys, store, telling = ring(), MemoryStore(), Telling()

    async def check(s: Service) -> None:
        headers = await new_key(keys, scope, "payments:read")
        assert (await s.client.get("/attention", headers=headers)).json()["trouble"] == said
        workers = await s.client.get("/workers", headers=headers)
        assert workers.json().get("trouble") == (WHY if scope == TEST else None)

    house = house_over(engine_over(store), trouble=telling.trouble)
    serving(check, store=store, house=house, door=lambda engine: open_door(engine, keys=keys))


@pytest.mark.parametrize("scope", [TEST, OTHER], ids=["the house", "another"])
def test_a_hold_is_told(scope: Scope) -> None:
    """To everybody: their payments wait."""
    keys, store = ring(), MemoryStore()
    house = house_over(engine_over(store))

    async def check(s: Service) -> None:
        headers = await new_key(keys, scope, "payments:read")
        assert (await s.client.get("/attention", headers=headers)).json()["held"] is False
        await house.hold.begin()
        assert (await s.client.get("/attention", headers=headers)).json()["held"] is True

    serving(check, store=store, house=house, door=lambda engine: open_door(engine, keys=keys))


def test_the_store_is_asked_once_in_a_while() -> None:
    """Many pages at once are one question, and what it said is told for two seconds."""
    telling = Telling()
    house = house_over(engine_over(MemoryStore()), trouble=telling.trouble)

    async def check() -> None:
        look = StoreLook(house)
        assert set(await asyncio.gather(*(look.trouble() for _ in range(20)))) == {WHY}
        assert telling.asked == 1
        telling.says = ""
        await house.clock.sleep(KEPT_US / 1_000_000)
        assert await look.trouble() == ""
        assert telling.asked == 2

    asyncio.run(check())


def test_a_look_that_does_not_end_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is one that the store refuses: neither keeps a page from being made."""
    monkeypatch.setattr(service_state, "LOOK_MAX_S", 0.01)

    async def never() -> str:
        await asyncio.Event().wait()
        return ""

    async def refused() -> str:
        raise StoreUnavailable(WHY)

    async def said(trouble: Any) -> str:
        return await StoreLook(house_over(engine_over(MemoryStore()), trouble=trouble)).trouble()

    assert asyncio.run(said(never)) == SLOW
    assert asyncio.run(said(refused)) == WHY
    assert asyncio.run(said(None)) == ""
