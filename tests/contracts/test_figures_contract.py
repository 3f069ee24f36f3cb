"""The figures contract over the stores that count."""

from pathlib import Path

from payonce.stores.memory import MemoryStore
from payonce.stores.sqlite import open_store
from payonce.testing.figures_contract import Figured, FiguresContract


class TestMemory(FiguresContract):
    async def open(self, folder: Path) -> Figured:
        return MemoryStore()


class TestSqliteInline(FiguresContract):
    async def open(self, folder: Path) -> Figured:
        return await open_store(folder / "pay.db", executor="inline")


class TestSqliteThreads(FiguresContract):
    async def open(self, folder: Path) -> Figured:
        return await open_store(folder / "pay.db", executor="threads")
