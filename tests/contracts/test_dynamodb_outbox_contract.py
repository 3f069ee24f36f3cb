"""The outbox contract over DynamoDB, by the model and by the emulator; what lost answers and indexes that lag do to notices and
deliveries, and what the life of a delivery costs."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.aws.emulator import emulator
from tests.aws.spoiling import Fate, Spoiled, once
from tests.contracts.dynamodb_ground import OnEmulator, OnModel, Shifted, fresh

from payonce.core.errors import StoreUnavailable
from payonce.mail import Delivery, Waiting
from payonce.ports import Committed, Scope, Unclear
from payonce.stores.dynamodb import DynamoStore, open_store
from payonce.stores.dynamodb.feed import HOLD_US
from payonce.testing.amazon import ModelAws, Weather
from payonce.testing.outbox_contract import OutboxContract, delivery
from payonce.testing.outbox_model import compare_outbox_with_model
from payonce.testing.store_changes import START_US, accept, grow, newsworthy, note_event, put

DEFAULT = Scope("mer_default", "test")
FAR_US = 2**62


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with emulator(tmp_path_factory.mktemp("aws")) as url:
        yield url


class TestModel(OnModel, OutboxContract):
    """By the model of AWS."""


class TestEmulator(OnEmulator, OutboxContract):
    """By the emulator."""


def test_random_histories_equal_the_model() -> None:
    """After every step of any history every read answers what the model of the outbox answers."""
    clock = Shifted()

    async def open_one(_folder: Path) -> DynamoStore:
        aws = ModelAws(clock)
        return open_store(aws, clock, await fresh(aws, clock))

    async def settle_index() -> None:
        clock.ahead_us += HOLD_US

    compare_outbox_with_model(open_one, examples=10, steps=20, settle_index=settle_index)


# --- lost answers ---------------------------------------------------------------------------------------------------------

FATES: tuple[Fate, ...] = ("lost before", "lost after", "busy")


class Scene:
    """A store behind spoiled AWS, and what really is there."""

    def __init__(self, weather: Weather | None = None) -> None:
        self.clock = Shifted()
        self.model = ModelAws(self.clock, weather or Weather())
        self.spoiled = Spoiled(self.model)

    async def made(self) -> "Scene":
        tables = await fresh(self.model, self.clock)
        self.mine, self.real = (open_store(aws, self.clock, tables) for aws in (self.spoiled, self.model))
        return self


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem", "TransactWriteItems"])
@pytest.mark.parametrize("times", [1, 3, 99])
def test_a_notice_is_there_exactly_with_its_change(fate: Fate, operation: str, times: int) -> None:
    """Whatever becomes of the calls of a write with news: if the change is in the history its notice stands, and if it is not,
    none does."""

    async def test() -> None:
        s = await Scene().made()
        p = await put(s.real, accept(1))
        key = {"PutItem": "", "UpdateItem": "", "TransactWriteItems": "k"}[operation]
        for change, expected in (
            (newsworthy(grow(p, note_event("n"))), 1),
            (newsworthy(accept(2, key=key)), 0),
        ):
            s.spoiled.fate = once(operation, fate, times)
            try:
                result = await s.mine.commit(change, expected)
            except StoreUnavailable:
                result = None
            s.spoiled.fate = once("", "fine")
            stored = await s.real.get(change.payment.id)
            there = stored is not None and stored.version == change.payment.version
            assert await s.real.outbox.noticed(change.payment.id) == (change.payment.version if there else None)
            assert there or not isinstance(result, Committed)
            assert result is not None or not there
            assert isinstance(result, Unclear | Committed | None)

    asyncio.run(test())


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem"])
@pytest.mark.parametrize("times", [1, 2, 99])
def test_a_hand_over_that_breaks_is_done_again(fate: Fate, operation: str, times: int) -> None:
    """No call that is lost takes a notice off whose deliveries are not kept, or doubles a delivery; what raised is asked again,
    and a delivery that was settled meanwhile stays as it is."""

    async def test() -> None:
        s = await Scene().made()
        p = await put(s.real, newsworthy(accept(1)))
        told = [delivery(n, payment_id=p.id) for n in range(3)]
        s.spoiled.fate = once(operation, fate, times)
        try:
            assert await s.mine.outbox.hand_over(p.id, 1, told)
        except StoreUnavailable:
            assert times == 99
        if await s.real.outbox.noticed(p.id) is None:
            assert [await s.real.outbox.get(d.id) for d in told] == told
        kept = [d for d in told if await s.real.outbox.get(d.id)]
        for d in kept:
            assert await s.real.outbox.settle(replace(d, state="delivered", tries=1, due_us=None))
        s.spoiled.fate = once("", "fine")
        assert await s.mine.outbox.hand_over(p.id, 1, told)
        assert await s.real.outbox.noticed(p.id) is None
        assert len((await s.real.outbox.list(DEFAULT, 10)).deliveries) == 3
        assert await s.real.outbox.counts() == {
            state: n for state, n in (("delivered", len(kept)), ("pending", 3 - len(kept))) if n
        }

    asyncio.run(test())


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("times", [1, 2])
def test_a_settled_delivery_is_settled_once(fate: Fate, times: int) -> None:
    """A lost answer never lets two writers think that both settled it: one True, or an error that says to read again."""

    async def test() -> None:
        s = await Scene().made()
        d = delivery(1)
        s.spoiled.fate = once("PutItem", fate, times)
        assert await s.mine.outbox.add(d)
        done: Delivery = replace(d, state="delivered", status=200, tries=1, last_us=START_US, due_us=None)
        s.spoiled.fate = once("UpdateItem", fate, times)
        try:
            assert await s.mine.outbox.settle(done)
        except StoreUnavailable:
            assert fate == "lost after"
        assert await s.real.outbox.get(d.id) == replace(done, version=2)
        assert not await s.real.outbox.settle(done)
        s.spoiled.fate = once("DeleteItem", fate, times)
        assert await s.mine.outbox.forget(FAR_US, 10) == 1
        assert await s.real.outbox.get(d.id) is None

    asyncio.run(test())


# --- indexes that lag, and the bill ---------------------------------------------------------------------------------------


class Late(Weather):
    def __init__(self) -> None:
        self.us = 0

    def lag_us(self) -> int:
        return self.us


def test_indexes_only_nominate() -> None:
    """While they lag, nothing that is handed over or settled is due, and what is listed is as it is now."""

    async def test() -> None:
        weather = Late()
        s = await Scene(weather).made()
        out = s.real.outbox
        p = await put(s.real, newsworthy(accept(1)))
        for n in range(3):
            assert await out.add(delivery(n))
        weather.us = 10**12
        assert await out.hand_over(p.id, 1, [])
        assert await out.settle(replace(delivery(0), state="delivered", due_us=None))
        assert await out.settle(replace(delivery(1), due_us=FAR_US))
        assert await out.settle(replace(delivery(2), state="failed", due_us=None))
        assert (await out.notices(FAR_US - 1, 10), await out.due(FAR_US - 1, 10)) == ((), ())
        assert [d.state for d in (await out.list(DEFAULT, 10)).deliveries] == ["failed", "pending", "delivered"]

    asyncio.run(test())


def test_what_is_tried_again_is_not_forgotten() -> None:
    """The index says that it is over, the row that it was replayed a moment ago."""

    async def test() -> None:
        weather = Late()
        s = await Scene(weather).made()
        assert await s.real.outbox.add(delivery(1, state="failed", due_us=None))
        weather.us = 10**12
        assert await s.real.outbox.settle(delivery(1))
        assert await s.real.outbox.forget(FAR_US, 10) == 0
        assert await s.real.outbox.get(delivery(1).id) == delivery(1, version=2)

    asyncio.run(test())


def test_what_a_delivery_costs() -> None:
    """Write units: kept 3 (row, due, list), claimed 1, tried in vain 3 (row, and the due time moves), delivered 2, forgotten 2.
    A scope costs one, once in a process. Settling is one call."""

    async def test() -> None:
        s = await Scene().made()
        out, bill = s.real.outbox, s.model.bill
        assert await out.add(delivery(0))
        bill.reset()
        assert await out.add(delivery(1))
        assert bill.write_units() == 3
        bill.reset()
        d = await out.get(delivery(1).id)
        assert d is not None
        assert d.due_us is not None
        assert await out.settle(replace(d, due_us=d.due_us + 20_000_000))
        assert (bill.write_units(), bill.calls.total()) == (1, 2)
        assert await out.due(d.due_us, 10) == (Waiting(delivery(0).id, delivery(0).due_us or 0),)
        bill.reset()
        later = delivery(1, version=2, tries=1, status=503, said="HTTP 503", last_us=START_US, due_us=START_US + 10**9)
        assert await out.settle(later)
        assert (bill.write_units(), bill.calls.total()) == (3, 1)
        bill.reset()
        assert await out.settle(replace(later, state="delivered", tries=2, status=200, said="", due_us=None, version=3))
        assert (bill.write_units(), bill.calls.total()) == (2, 1)
        bill.reset()
        assert await out.forget(START_US + 1_500_000, 10) == 1
        assert bill.write_units() == 2

    asyncio.run(test())
