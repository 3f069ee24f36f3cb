"""The feed contract over every store in the house; and what only files can show."""

from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from payonce.stores.memory import MemoryStore
from payonce.stores.sqlite import open_store
from payonce.testing.feed_contract import FeedContract
from payonce.testing.store_changes import Told


class TestMemory(FeedContract):
    @pytest.fixture(autouse=True)
    def _places(self) -> None:
        self.places: dict[Path, MemoryStore] = defaultdict(MemoryStore)

    async def open(self, folder: Path, stack: AsyncExitStack) -> Told:
        return self.places[folder]


class TestSqliteInline(FeedContract):
    async def open(self, folder: Path, stack: AsyncExitStack) -> Told:
        store = await open_store(folder / "pay.db", executor="inline")
        stack.push_async_callback(store.close)
        return store


class TestSqliteThreads(FeedContract):
    async def open(self, folder: Path, stack: AsyncExitStack) -> Told:
        store = await open_store(folder / "pay.db", executor="threads")
        stack.push_async_callback(store.close)
        return store
