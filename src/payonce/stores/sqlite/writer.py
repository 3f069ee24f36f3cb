"""The one connection that writes, and group commit.

While a transaction waits for the disk, further changes gather in the queue; the next transaction takes them all:

    caller A  --> queue --.
    caller B  --> queue ---> BEGIN IMMEDIATE, A, B, C, COMMIT (one wait for the disk) --> A, B, C are told together
    caller C  --> queue --'

There is no artificial delay: a lone change is committed at once, a crowd shares the cost.
"""

import asyncio
import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import apsw

from payonce.core.errors import InvariantViolated, PayonceError, StoreUnavailable
from payonce.ports import Unclear

from . import batch
from .batch import COMMITTED
from .schema import WritingConnection
from .trouble import CLOSED, NOTHING, unavailable
from .writes import Write

BATCH_MAX: Final = 256  # changes of one transaction
PENDING_MAX: Final = 10_000  # changes that wait; more are refused, and their senders come back with the same key

# Errors that end the whole transaction. Everything else is one change's own trouble.
_SHARED: Final = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.IOError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.NoMemError,
    apsw.InterruptError,
)


class Job:
    """One write on its way: what to do, and in the end its result or error."""

    __slots__ = ("error", "result", "write")

    def __init__(self, write: Write) -> None:
        self.write = write
        self.result: object = None
        self.error: Exception | None = None


class Awaited(Job):
    """A job that somebody waits for in an event loop."""

    __slots__ = ("future", "loop")

    def __init__(self, write: Write) -> None:
        super().__init__(write)
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[object] = self.loop.create_future()

    def tell(self) -> None:
        """Hand the result to whoever still waits. Runs in the waiting loop."""
        if self.future.done():  # canceled: the write stands all the same
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """Writes batches, each in one transaction, in whatever thread calls it. Recovers by itself: after an error the next
    batch starts clean, with a fresh connection if need be."""

    def __init__(self, path: Path, connect: Callable[[], WritingConnection]) -> None:
        self.transactions = 0  # committed so far
        self.trouble = ""  # why the last transaction was refused; cleared by the next one that writes
        self._path, self._connect = path, connect
        self._connection: WritingConnection | None = connect()
        self._file = _identity(path)

    def write(self, jobs: Sequence[Job]) -> None:
        """Run the jobs in one transaction; afterwards each has its result or error. Never raises."""
        try:
            connection = self._begin()
            if not _together(connection, jobs):
                _undo(connection)
                self._begin()
                _apart(connection, jobs)
        except Exception as e:  # noqa: BLE001 - whatever it is, those who wait must be told
            self._recover(e)
            _fail(jobs, e)
            return
        try:
            connection.execute("COMMIT")
            connection.counter = connection.data_version()
            self.transactions += 1
            if any(job.result is COMMITTED or job.result is True for job in jobs):  # others may have written nothing
                self.trouble = ""
        except Exception as e:  # noqa: BLE001 - as above
            self._recover(e)
            # After an I/O error the commit record may be in the log or not: only a later read can tell.
            _fail(jobs, e, unclear=isinstance(e, apsw.IOError))

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # Tidying up the log may fail as the disk does; what was committed is in the log all the same.
            with contextlib.suppress(apsw.Error):
                connection.close(True)

    def astray(self) -> str:
        """Why nothing can be written although nothing was refused yet: the file is not where it was; empty when it is."""
        if _identity(self._path) == self._file:
            return ""
        return f"{self._path} was moved, replaced or deleted while in use. {NOTHING} Put it back, or restart payonce."

    def _begin(self) -> WritingConnection:
        if astray := self.astray():
            raise StoreUnavailable(astray)
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        if connection.data_version() != connection.counter:  # others wrote in the meantime
            connection.ends.clear()
        return connection

    def _recover(self, error: Exception) -> None:
        """Leave no transaction behind. A connection that cannot even roll back, or saw the disk fail, is replaced."""
        self.trouble = str(error if isinstance(error, StoreUnavailable) else unavailable(error))
        if self._connection is None:
            return
        try:
            _undo(self._connection)
            broken = isinstance(error, apsw.IOError | apsw.CorruptError | apsw.NotADBError | apsw.NoMemError)
        except apsw.Error:
            broken = True
        if broken:
            self.close()


def touch(connection: apsw.Connection) -> bool:
    """A write that reaches the disk and changes nothing."""
    connection.execute(f"PRAGMA user_version={connection.pragma('user_version')}")
    return True


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - several times faster than Path.stat, once per transaction
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _together(connection: WritingConnection, jobs: Sequence[Job]) -> bool:
    """Run all jobs without guarding one from another: as a rule nothing goes wrong. False: something did, and what was written
    is to be undone. Raises what ends the whole transaction."""
    try:
        results = batch.write_all(connection, [job.write for job in jobs])
        connection.sums.write(connection)
    except _SHARED:
        raise
    except Exception:  # noqa: BLE001 - whatever it is, it happens again where it belongs to one job
        return False
    for job, result in zip(jobs, results, strict=True):
        job.result = result
    return True


def _apart(connection: WritingConnection, jobs: Iterable[Job]) -> None:
    """Run the jobs so that the error of one undoes only its own writes. Raises what ends the whole transaction."""
    for job in jobs:
        _isolated(connection, job)
    _count(connection)


def _isolated(connection: WritingConnection, job: Job) -> None:
    connection.execute("SAVEPOINT change")
    try:
        (job.result,) = batch.write_all(connection, [job.write])
    except _SHARED:
        raise
    except Exception as e:
        if not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO change")
        connection.ends.clear()
        job.error = e if isinstance(e, PayonceError) else _unexpected(e)
    connection.execute("RELEASE change")


def _count(connection: WritingConnection) -> None:
    """The tallies of all jobs. A bug in counting must cost a chart and no payment: then they are not written."""
    connection.execute("SAVEPOINT figures")
    try:
        connection.sums.write(connection)
    except _SHARED:
        raise
    except Exception:
        if not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO figures")
        connection.sums.clear()
    connection.execute("RELEASE figures")


def _undo(connection: WritingConnection) -> None:
    """The open transaction, with what is remembered of it. Raises apsw.Error."""
    connection.ends.clear()
    connection.sums.clear()
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _unexpected(error: Exception) -> InvariantViolated:
    wrapped = InvariantViolated(f"the change cannot be stored: {error}. Nothing was written; this is a bug, please report it.")
    wrapped.__cause__ = error
    return wrapped


def _fail(jobs: Iterable[Job], error: Exception, *, unclear: bool = False) -> None:
    """Nobody learns what was seen inside a transaction that did not hold: not even a conflict."""
    for job in jobs:
        if unclear and job.error is None and job.result is COMMITTED:
            job.result = Unclear()
            continue
        # A fresh one for each: they are raised in different tasks.
        job.error = StoreUnavailable(*error.args) if isinstance(error, StoreUnavailable) else unavailable(error)
        job.error.__cause__ = error
        job.result = None


class InlineWrites:
    """Every write in the calling thread: for tests and the simulator."""

    def __init__(self, writer: Writer) -> None:
        self.writer, self._closed = writer, False

    async def run(self, write: Write) -> object:
        if self._closed:
            raise StoreUnavailable(CLOSED)
        job = Job(write)
        self.writer.write([job])
        if job.error is not None:
            raise job.error
        return job.result

    def close(self) -> None:
        self._closed = True
        self.writer.close()


class ThreadedWrites:
    """Every write in one thread of its own, which drains the queue into group commits."""

    def __init__(self, writer: Writer) -> None:
        self.writer, self._closed = writer, False
        self._queue: queue.SimpleQueue[Awaited | None] = queue.SimpleQueue()
        self._gathered: dict[asyncio.AbstractEventLoop, list[Awaited]] = {}
        self._door = threading.Lock()  # nothing may enter the queue behind the end mark
        # A daemon: a process that dies without close() loses nothing that was acknowledged, and must not hang.
        self._thread = threading.Thread(target=self._drain, name="payonce-writer", daemon=True)
        self._thread.start()

    async def run(self, write: Write) -> object:
        job = Awaited(write)
        with self._door:
            if self._closed:
                raise StoreUnavailable(CLOSED)
            gathered = self._gathered.get(job.loop)
            if gathered is None:
                gathered = self._gathered[job.loop] = []
                job.loop.call_soon(self._hand_over, job.loop)
            if self._queue.qsize() + len(gathered) >= PENDING_MAX:
                raise StoreUnavailable(
                    f"{PENDING_MAX} changes are waiting for the disk already. {NOTHING} Send it again later."
                )
            gathered.append(job)
        return await job.future

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        """All that one turn of a loop wants to write, together. Handed over one by one, of 64 requests that came at once the
        first would be committed alone and then two or three at a time, while both threads wait for each other: 440 us of CPU a
        payment instead of 385."""
        with self._door:
            for job in self._gathered.pop(loop, ()):
                self._queue.put(job)

    def close(self) -> None:
        """Returns when everything accepted is written. Blocks: not for the event loop's thread."""
        with self._door:
            if not self._closed:
                self._closed = True
                for jobs in self._gathered.values():
                    for job in jobs:
                        self._queue.put(job)
                self._gathered.clear()
                self._queue.put(None)
        self._thread.join()

    def _drain(self) -> None:
        ended = False
        while not ended:
            taken = [self._queue.get()]
            while len(taken) < BATCH_MAX and not self._queue.empty():
                taken.append(self._queue.get())
            ended = taken[-1] is None
            jobs = [job for job in taken if job is not None]
            try:
                self.writer.write(jobs)
            except Exception as e:  # noqa: BLE001 - a bug in the writer: this thread must live, and those who wait be told
                _fail(jobs, e, unclear=True)
            _tell(jobs)
        self.writer.close()


def _tell(jobs: list[Awaited]) -> None:
    """Wake each waiting loop once for all its results."""
    for loop in {job.loop for job in jobs}:
        theirs = [job for job in jobs if job.loop is loop]
        try:
            loop.call_soon_threadsafe(_tell_all, theirs)
        except RuntimeError:  # that loop was closed: nobody waits any more, the writes stand
            continue


def _tell_all(jobs: list[Awaited]) -> None:
    for job in jobs:
        job.tell()
