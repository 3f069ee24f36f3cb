"""The store on one SQLite file: the default source of truth. See ``payonce.ports.Store`` for what it promises."""

import asyncio
import contextlib
import shutil
import threading
from pathlib import Path
from typing import Final, Literal, cast

from payonce.core.errors import StoreUnavailable
from payonce.ports import Change, Committed, Conflict, Unclear

from . import reads
from .figures import SqliteFigures
from .inbox import SqliteInbox
from .looking import BUSY_TIMEOUT_MS, READERS, Readers, SqliteReads
from .outbox import SqliteOutbox
from .registry import SqliteRegistry
from .schema import connect_reader, open_file, reconnect
from .writer import InlineWrites, ThreadedWrites, Writer, touch
from .writes import Deferral, pending

Executor = Literal["threads", "inline"]
ROOM_MIN: Final = 262_144  # bytes free on the disk before a full one is tried again: some payments of the largest size


async def open_store(
    path: str | Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS, executor: Executor = "threads"
) -> "SqliteStore":
    """Open ``path``, or create it; its directory must exist. Several processes may have it open.

    ``busy_timeout_ms`` (0 to 60000) is how long one transaction waits for another process. ``executor="inline"`` runs
    everything in the calling thread: for tests and the simulator. Raises ConfigError, NewerSchema, StoreUnavailable."""
    if not 0 <= busy_timeout_ms <= 60_000:
        raise ValueError("busy_timeout_ms is 0 to 60000")
    if executor == "inline":
        return SqliteStore(Path(path), busy_timeout_ms, executor)
    return await asyncio.to_thread(SqliteStore, Path(path), busy_timeout_ms, executor)


class SqliteStore(SqliteReads):
    """Made by ``open_store``. ``path`` is the file; ``registry``, ``inbox``, ``outbox`` and ``figures`` live in it too, and
    are closed with it."""

    def __init__(self, path: Path, busy_timeout_ms: int, executor: Executor) -> None:
        fresh = [open_file(path, busy_timeout_ms)]
        self._writer = Writer(path, lambda: fresh.pop() if fresh else reconnect(path, busy_timeout_ms))
        try:
            count = 1 if executor == "inline" else READERS
            readers = Readers(path, lambda: connect_reader(path, busy_timeout_ms), count, inline=executor == "inline")
        except BaseException:
            self._writer.close()
            raise
        super().__init__(path, readers)
        self._writes = InlineWrites(self._writer) if executor == "inline" else ThreadedWrites(self._writer)
        self.registry = SqliteRegistry(readers, self._writes)
        self.inbox = SqliteInbox(readers, self._writes)
        self.outbox = SqliteOutbox(readers, self._writes)
        self.figures = SqliteFigures(readers)
        self._closing = threading.Lock()

    @property
    def transactions(self) -> int:
        """How many transactions this store has committed: fewer than changes when they arrive together."""
        return self._writer.transactions

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        return cast("Committed | Conflict | Unclear", await self._writes.run(pending(change, expected_version)))

    async def defer(self, payment_id: str, version: int, due_us: int | None) -> bool:
        return cast("bool", await self._writes.run(Deferral(payment_id, version, due_us)))

    async def written(self) -> int:
        """A number that is another one when anybody has written since, in whatever process: a look into shared memory."""
        return await self._readers.near(reads.data_version)

    @property
    def write_trouble(self) -> str:
        """Why the last write was refused; "" when it was taken."""
        return self._writer.trouble

    async def retry_trouble(self) -> str:
        """``write_trouble``; while there is some, after another try with a tiny write that changes nothing, so that it ends
        also when nobody pays. Without trouble it costs a look at where the file is."""
        if not self._writer.trouble:
            return self._writer.astray()
        if await asyncio.to_thread(self._has_room):
            with contextlib.suppress(StoreUnavailable):
                await self._writes.run(touch)
        return self._writer.trouble

    def _has_room(self) -> bool:
        """A refused transaction leaves a log so large that a tiny write fits in it, where the next payment would not."""
        try:
            return shutil.disk_usage(self.path.parent).free >= ROOM_MIN
        except OSError:
            return False

    async def close(self) -> None:
        if isinstance(self._writes, InlineWrites):
            self._shut()
        else:
            await asyncio.to_thread(self._shut)

    def _shut(self) -> None:
        with self._closing:  # readers first: the last connection to close tidies up the log, and they cannot write
            self._readers.close()
            self._writes.close()
