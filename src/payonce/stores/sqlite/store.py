"""The store on one SQLite file: the default source of truth. See ``payonce.ports.Store`` for what it promises."""

import asyncio
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, Final, Literal, ParamSpec, TypeVar, cast

import apsw

from payonce.core.errors import StoreUnavailable
from payonce.core.events import Entry
from payonce.core.payment import Payment
from payonce.ports import Change, Committed, Conflict, Due, Filters, KeyRow, Page, Scope, Unclear

from . import reads
from .schema import connect, connect_reader, open_file
from .trouble import CLOSED, opening, reading
from .writer import InlineWrites, ThreadedWrites, Writer
from .writes import deferral, pending

Executor = Literal["threads", "inline"]
BUSY_TIMEOUT_MS: Final = 5_000
READERS: Final = 4

P = ParamSpec("P")
T = TypeVar("T")


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


class SqliteStore:
    """Made by ``open_store``. ``path`` is the file."""

    def __init__(self, path: Path, busy_timeout_ms: int, executor: Executor) -> None:
        self.path = path
        fresh = [open_file(path, busy_timeout_ms)]
        self._writer = Writer(path, lambda: fresh.pop() if fresh else connect(path, busy_timeout_ms))
        try:
            self._readers = _Readers(path, busy_timeout_ms, 1 if executor == "inline" else READERS, inline=executor == "inline")
        except BaseException:
            self._writer.close()
            raise
        self._writes = InlineWrites(self._writer) if executor == "inline" else ThreadedWrites(self._writer)
        self._closing = threading.Lock()

    @property
    def transactions(self) -> int:
        """How many transactions this store has committed: fewer than changes when they arrive together."""
        return self._writer.transactions

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        return cast("Committed | Conflict | Unclear", await self._writes.run(pending(change, expected_version)))

    async def get(self, payment_id: str) -> Payment | None:
        return await self._readers.run(reads.get, payment_id)

    async def find_key(self, scope: Scope, key: str) -> KeyRow | None:
        return await self._readers.run(reads.find_key, scope.merchant_id, scope.mode, key)

    async def find_ref(self, value: str, account: str | None = None) -> tuple[str, ...]:
        return await self._readers.run(reads.find_ref, value, account)

    async def bodies(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        return await self._readers.run(reads.bodies, keys)

    async def history(self, payment_id: str, after_seq: int = 0, limit: int = 1000) -> tuple[Entry, ...]:
        return await self._readers.run(reads.history, payment_id, after_seq, limit)

    async def list(self, scope: Scope, filters: Filters, limit: int, cursor: str | None = None) -> Page:
        return await self._readers.run(reads.page, scope, filters, limit, cursor)

    async def due(self, before_us: int, limit: int) -> tuple[Due, ...]:
        return await self._readers.run(reads.due, before_us, limit)

    async def next_due(self) -> int | None:
        return await self._readers.run(reads.next_due)

    async def defer(self, payment_id: str, version: int, due_us: int | None) -> bool:
        return cast("bool", await self._writes.run(deferral(payment_id, version, due_us)))

    async def counts(self) -> Mapping[str, int]:
        return await self._readers.run(reads.counts)

    async def ids(self, after: str, limit: int) -> tuple[str, ...]:
        """Ids of all payments in their own order, after ``after`` ("" = from the first): for ``payonce verify``."""
        return await self._readers.run(reads.ids, after, limit)

    async def check(self) -> str:
        """ "ok", or what SQLite finds wrong with the file."""
        return await self._readers.run(reads.check)

    async def close(self) -> None:
        if isinstance(self._writes, InlineWrites):
            self._shut()
        else:
            await asyncio.to_thread(self._shut)

    def _shut(self) -> None:
        with self._closing:  # readers first: the last connection to close tidies up the log, and they cannot write
            self._readers.close()
            self._writes.close()


class _Readers:
    """A small pool of connections that cannot write, each used by one thread at a time."""

    def __init__(self, path: Path, busy_timeout_ms: int, count: int, *, inline: bool) -> None:
        self._idle: queue.SimpleQueue[apsw.Connection] = queue.SimpleQueue()
        self._count, self._closed = count, False
        self._pool = None if inline else ThreadPoolExecutor(count, thread_name_prefix="payonce-reader")
        with opening(path):
            for _ in range(count):
                self._idle.put(connect_reader(path, busy_timeout_ms))

    async def run(self, ask: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._closed:
            raise StoreUnavailable(CLOSED)
        if self._pool is None:
            return self._ask(lambda connection: ask(connection, *args, **kwargs))
        try:
            answer = self._pool.submit(self._ask, lambda connection: ask(connection, *args, **kwargs))
        except RuntimeError as e:  # closed in the meantime
            raise StoreUnavailable(CLOSED) from e
        return await asyncio.wrap_future(answer)

    def _ask(self, ask: Callable[[apsw.Connection], T]) -> T:
        connection = self._idle.get()  # there are as many connections as threads
        try:
            with reading():
                return ask(connection)
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        """Finish what was asked, then close. Blocks: not for the event loop's thread."""
        if self._closed:
            return
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        for _ in range(self._count):
            self._idle.get().close()
