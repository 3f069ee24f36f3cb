"""The figures contract over DynamoDB, which counts nothing: by the model of AWS, by the emulator; and the cost of metadata."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contracts.dynamodb_ground import Shifted, fresh
from tests.stores.dynamodb.ground import Ground, ground

from payonce.ports import Filters, Scope
from payonce.stores.dynamodb import open_store
from payonce.stores.dynamodb.indexes import LOOKED_MAX
from payonce.testing.amazon import ModelAws
from payonce.testing.figures_contract import NOON_US, Figured, FiguresContract, declined, details
from payonce.testing.store_changes import accept, payment_id, put

DEFAULT = Scope("mer_default", "test")
_grounds: list[Ground] = []


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(tmp_path_factory.mktemp("aws")) as made:
        yield made


class TestModel(FiguresContract):
    COUNTED = False

    async def open(self, folder: Path) -> Figured:
        clock = Shifted()
        aws = ModelAws(clock)
        return open_store(aws, clock, await fresh(aws, clock))


class TestEmulator(FiguresContract):
    COUNTED = False

    @pytest.fixture(autouse=True)
    def _ground(self, emulated: Ground) -> None:
        self.ground = emulated

    async def open(self, folder: Path) -> Figured:
        return await self.ground.store()


def test_a_page_by_decline_code_looks_at_so_many_rows_and_goes_on() -> None:
    """No index knows decline codes: a page ends, short or empty, after LOOKED_MAX rows, and its cursor goes on."""

    async def test() -> None:
        clock = Shifted()
        aws = ModelAws(clock)
        store = open_store(aws, clock, await fresh(aws, clock))
        await declined(store, 1, NOON_US)
        for number in range(2, LOOKED_MAX + 10):
            await put(store, accept(number, at_us=NOON_US + number, due_us=None))
        first = await store.list(DEFAULT, Filters(decline_code="do_not_honor"), 10)
        assert first.payments == ()
        assert first.next is not None
        second = await store.list(DEFAULT, Filters(decline_code="do_not_honor"), 10, first.next)
        assert [p.id for p in second.payments] == [payment_id(1)]
        assert second.next is None

    asyncio.run(test())


@pytest.mark.parametrize(("metadata", "more"), [({}, 0), ({"a": "x"}, 1), ({"a": "x", "b": "x", "c": 1}, 2)])
def test_each_value_of_the_metadata_costs_one_write(metadata: dict[str, object], more: int) -> None:
    """A payment without metadata costs what it did; each different value is one item, written once."""

    async def test() -> None:
        clock = Shifted()
        aws = ModelAws(clock)
        store = open_store(aws, clock, tables := await fresh(aws, clock))
        await put(store, accept(1, at_us=NOON_US, details=details(**metadata)))
        rows = [item["transactionId"]["S"] for _, item in aws.dynamodb.tables[tables.transactions].all()]
        assert len(rows) == 1 + more
        assert sum(row.startswith("label#") for row in rows) == more

    asyncio.run(test())
