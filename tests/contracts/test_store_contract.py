"""The store contract, and the comparison with the model, over every store in the house."""

from pathlib import Path

from payonce.ports import Store
from payonce.stores.memory import MemoryStore
from payonce.stores.sqlite import open_store
from payonce.testing.store_contract import StoreContract
from payonce.testing.store_model import compare_with_model


class TestMemory(StoreContract):
    async def open(self, folder: Path) -> Store:
        return MemoryStore()


class TestSqliteInline(StoreContract):
    async def open(self, folder: Path) -> Store:
        return await open_store(folder / "pay.db", executor="inline")

    def test_random_histories_equal_the_model(self) -> None:
        """After every step of any history every read answers what the model answers."""
        compare_with_model(self.open, examples=30)


class TestSqliteThreads(StoreContract):
    async def open(self, folder: Path) -> Store:
        return await open_store(folder / "pay.db", executor="threads")

    def test_random_histories_equal_the_model(self) -> None:
        """The same through the writer's thread and the readers' pool."""
        compare_with_model(self.open, examples=6)
