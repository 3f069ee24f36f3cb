"""The outbox contract over every outbox in the house, and the comparison with the model."""

from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from payonce.stores.memory import MemoryStore
from payonce.stores.sqlite import open_store
from payonce.testing.outbox_contract import OutboxContract
from payonce.testing.outbox_model import compare_outbox_with_model
from payonce.testing.store_changes import Told


class TestMemory(OutboxContract):
    @pytest.fixture(autouse=True)
    def _places(self) -> None:
        self.places: dict[Path, MemoryStore] = defaultdict(MemoryStore)

    async def open(self, folder: Path, stack: AsyncExitStack) -> Told:
        return self.places[folder]


class TestSqliteInline(OutboxContract):
    async def open(self, folder: Path, stack: AsyncExitStack) -> Told:
        store = await open_store(folder / "pay.db", executor="inline")
        stack.push_async_callback(store.close)
        return store

    def test_random_histories_equal_the_model(self) -> None:
        """After every step of any history every read answers what the model answers."""

        async def empty(folder: Path) -> Told:
            return await open_store(folder / "pay.db", executor="inline")

        compare_outbox_with_model(empty, examples=20, steps=30)


class TestSqliteThreads(OutboxContract):
    async def open(self, folder: Path, stack: AsyncExitStack) -> Told:
        store = await open_store(folder / "pay.db", executor="threads")
        stack.push_async_callback(store.close)
        return store

    def test_random_histories_equal_the_model(self) -> None:
        """The same through the writer's thread and the readers' pool."""

        async def empty(folder: Path) -> Told:
            return await open_store(folder / "pay.db", executor="threads")

        compare_outbox_with_model(empty, examples=4)
