"""The half of the store that asks, and the file opened for nothing else: then nothing is created, migrated or written,
also where nothing may be."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

import apsw

from payonce.core.errors import StoreUnavailable
from payonce.core.events import Entry
from payonce.core.payment import Payment
from payonce.ports import Due, FeedPage, Filters, KeyRow, Page, Scope

from . import audit, reads
from .audit import Held, Stray
from .figures import SqliteFigures
from .inbox import InboxReads
from .outbox import OutboxReads
from .registry import RegistryReads
from .schema import way_to_read
from .trouble import CLOSED, opening, reading

BUSY_TIMEOUT_MS: Final = 5_000
READERS: Final = 4
# Rows of a question that is answered in the calling thread. Each is found in an index. Measured: 4 to 7 microseconds of CPU for
# one, 47 for this many; 55 to 65 more for the way to another thread and back.
NEAR_ROWS: Final = 128

P = ParamSpec("P")
T = TypeVar("T")


async def open_to_read(path: str | Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> "ReadOnlyStore":
    """Open the file that is there, a read-only backup too. Beside a running server, too.

    Raises ConfigError (empty, not ours, or of an older schema), NewerSchema, StoreUnavailable."""
    path = Path(path)

    def open_it() -> ReadOnlyStore:
        return ReadOnlyStore(path, Readers(path, way_to_read(path, busy_timeout_ms), READERS, inline=False))

    return await asyncio.to_thread(open_it)


class SqliteReads:
    """Every question. ``path`` is the file."""

    def __init__(self, path: Path, readers: "Readers") -> None:
        self.path, self._readers = path, readers

    async def get(self, payment_id: str) -> Payment | None:
        return await self._readers.near(reads.get, payment_id)

    async def find_key(self, scope: Scope, key: str) -> KeyRow | None:
        return await self._readers.near(reads.find_key, scope.merchant_id, scope.mode, key)

    async def find_ref(self, value: str, account: str | None = None) -> tuple[str, ...]:
        found = await self._readers.near(reads.find_ref, value, account, NEAR_ROWS)
        if len(found) < NEAR_ROWS:
            return found
        return await self._readers.run(reads.find_ref, value, account)

    async def bodies(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        return await self._readers.few(len(keys), reads.bodies, keys)

    async def history(self, payment_id: str, after_seq: int = 0, limit: int = 1000) -> tuple[Entry, ...]:
        return await self._readers.run(reads.history, payment_id, after_seq, limit)

    async def list(self, scope: Scope, filters: Filters, limit: int, cursor: str | None = None) -> Page:
        return await self._readers.run(reads.page, scope, filters, limit, cursor)

    async def feed(self, scope: Scope, limit: int, cursor: str | None = None, since_us: int = 0) -> FeedPage:
        return await self._readers.run(reads.feed, scope, limit, cursor, since_us)

    async def due(self, before_us: int, limit: int) -> tuple[Due, ...]:
        return await self._readers.few(limit, reads.due, before_us, limit)

    async def next_due(self) -> int | None:
        return await self._readers.near(reads.next_due)

    async def due_of(self, payment_id: str) -> int | None:
        """When a worker will look at the payment; None when nothing is owed any more."""
        return await self._readers.near(reads.due_of, payment_id)

    async def counts(self) -> Mapping[str, int]:
        return await self._readers.run(reads.counts)

    async def ids(self, after: str, limit: int) -> tuple[str, ...]:
        """Ids of all payments in their own order, after ``after`` ("" = from the first): for ``payonce verify``."""
        return await self._readers.run(reads.ids, after, limit)

    async def check(self) -> str:
        """ "ok", or what SQLite finds wrong with the file."""
        return await self._readers.run(reads.check)


class ReadOnlyStore(SqliteReads):
    """Made by ``open_to_read``: beside the questions of every store those of ``payonce verify``. ``registry``, ``inbox``,
    ``outbox`` and ``figures`` can be read, not written."""

    def __init__(self, path: Path, readers: "Readers") -> None:
        super().__init__(path, readers)
        self.registry = RegistryReads(readers)
        self.inbox = InboxReads(readers)
        self.outbox = OutboxReads(readers)
        self.figures = SqliteFigures(readers)

    async def audit_ids(self, after: str, limit: int) -> tuple[str, ...]:
        """Ids of all that has a row or a history, in order, after ``after`` ("" = from the first)."""
        return await self._readers.run(audit.ids, after, limit)

    async def held(self, ids: Sequence[str]) -> tuple[Held, ...]:
        """All that lies under each of these ids, from one snapshot."""
        return await self._readers.run(audit.held, ids)

    async def strays(self) -> tuple[Stray, ...]:
        """What lies under no payment's id."""
        return await self._readers.run(audit.strays)

    async def damage(self) -> tuple[str, ...]:
        """What SQLite finds wrong with the file; empty when it is whole."""
        return await self._readers.run(audit.check)

    async def close(self) -> None:
        await asyncio.to_thread(self._readers.close)


def is_damage(error: StoreUnavailable) -> bool:
    """The file itself is broken: waiting does not help."""
    return isinstance(error.__cause__, apsw.CorruptError | apsw.NotADBError)


class Readers:
    """A small pool of connections that cannot write, each used by one thread at a time; and a near one, for the calling
    thread."""

    def __init__(self, path: Path, connect: Callable[[], apsw.Connection], count: int, *, inline: bool) -> None:
        self._idle: queue.SimpleQueue[apsw.Connection] = queue.SimpleQueue()
        self._count, self._closed = count, False
        self._pool = None if inline else ThreadPoolExecutor(count, thread_name_prefix="payonce-reader")
        self._door = threading.Lock()  # to the near connection: a store may be asked from several threads
        self._near: apsw.Connection | None = None
        with opening(path):
            for _ in range(count):
                self._idle.put(_ready(connect()))
            if not inline:
                self._near = _ready(connect())
                self._near.set_busy_timeout(0)

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

    async def near(self, ask: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for a question that a few rows answer: in the calling thread, so the event loop waits for it. It never waits
        for a lock: readers of a write-ahead log need none but in rare moments (the log is being recovered, or the last
        connection tidies it up), and then a thread waits instead. What is not in the page cache of the operating system
        costs the loop the disk's time for some pages."""
        if self._near is not None and not self._closed and self._door.acquire(blocking=False):
            try:
                return ask(self._near, *args, **kwargs)
            except (apsw.Error, UnicodeDecodeError):
                pass  # asked again by a thread, which says what it is
            finally:
                self._door.release()
        return await self.run(ask, *args, **kwargs)

    async def few(self, rows: int, ask: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for at most so many ``rows``; more than a few are a thread's."""
        return await (self.near if rows <= NEAR_ROWS else self.run)(ask, *args, **kwargs)

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
        with self._door:
            near, self._near = self._near, None
        for connection in (*([near] if near else ()), *(self._idle.get() for _ in range(self._count))):
            with contextlib.suppress(apsw.Error):  # the last one tidies up the log, which may fail as the disk does
                connection.close(True)


def _ready(connection: apsw.Connection) -> apsw.Connection:
    """Opens the log now: while a reader has it open, what a failed commit left in it stays invisible."""
    connection.pragma("user_version")
    return connection
