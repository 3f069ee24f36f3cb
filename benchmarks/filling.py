"""Payments files of any size in minutes: the histories of ``examples`` copied under new ids, times, keys, orders and
references, each chained again, so that every copy reads, folds and verifies.

What is as in life: the rows of all tables and indexes, ids in the order of their times, idempotency keys and the provider's
references without any order, and pages of what has no order about three quarters full. What is not: rows of
``payments`` lie side by side without the gaps that growing leaves; an operation's id and a step's key are no digests of the
payment's id; nobody is subscribed, so deliveries are empty. What is due is due a month after the file was made: a server that
opens it has no work.

Copies are made by other processes and only put in by this one: rows in the order of each table's key, indexes of ``payments``
after the rows, no wait for the disk before the end.
"""

import asyncio
import os
import random
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import apsw
from msgspec import Struct

from payonce.figures import SPAN_US
from payonce.stores.sqlite import open_store
from payonce.stores.sqlite import tallies as counting

from . import examples
from .stamps import DAY_US, END_US, SPREAD_US, Numbers, Rows, Stamp

EXAMPLES: Final = 100
CHOICES: Final = 10_007  # examples are chosen in a round of so many
WAITING: Final = 50  # the newest ones, just accepted: as many in each file, since what waits does not grow with what is done
PORTION: Final = 2_500
FREE_LEFT: Final = 8 << 30  # bytes of the disk that stay free
# Three tenths of what has no order are put in after the rest: they part the full pages, as new rows do in life.
LATE_OF_TEN: Final = 3
LATER: Final = (
    "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name IN ('payments', 'due') AND sql IS NOT NULL"
)
TABLES: Final = ("payments", "events", "refs", "bodies", "due", "feed", "labels", "declines", "found")


class TooLittleRoom(Exception):
    """The disk would be nearly full; nothing of the file is left."""


# --- copies: in other processes ----------------------------------------------------------------------------------------


class Portion(Struct):
    """Rows by table. ``counts``: how many copies of which example begin in which hour, or minute of the last two days."""

    rows: dict[str, Rows]
    counts: Counter[tuple[int, int]]


class Copies:
    """All the rows of a file, any part of them by itself. ``canceled``: the part of the payments that are short histories,
    canceled at once, beside those among the examples."""

    def __init__(self, path: Path, count: int, due_us: int, canceled: float) -> None:
        made = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        self.stamps = [Stamp(made, str(id)) for (id,) in made.execute("SELECT id FROM payments ORDER BY id").fetchall()]
        made.close()
        self.numbers, self.due_us = Numbers(count), due_us
        chance = random.Random(8)
        by_status: dict[str, list[int]] = {}
        for k, stamp in enumerate(self.stamps):
            by_status.setdefault(stamp.payment.status, []).append(k)
        self.waiting = by_status.pop("PENDING")[0]
        ended = [k for these in by_status.values() for k in these]
        self.choices = [chance.choice(by_status["CANCELED"] if chance.random() < canceled else ended) for _ in range(CHOICES)]
        self.news = [0]  # of the round up to a place in it
        for choice in self.choices:
            self.news.append(self.news[-1] + self.stamps[choice].news)
        self.latest_us = max(stamp.updated_us for stamp in self.stamps)

    def choice(self, n: int) -> int:
        """Which example it is a copy of."""
        return self.waiting if n >= self.numbers.count - WAITING else self.choices[n % CHOICES]

    def portion(self, start: int, end: int) -> Portion:
        """The rows of these payments whose order is theirs."""
        put: dict[str, Rows] = {name: [] for name in TABLES}
        counts = Counter[tuple[int, int]]()
        for n in range(start, end):
            self._copy(put, n)
            at_us = self.numbers.at_us(n)
            length_us = SPAN_US["minute" if at_us > END_US - 2 * DAY_US else "hour"]
            counts[at_us - at_us % length_us, self.choice(n)] += 1
        return Portion(put, counts)

    def _copy(self, put: dict[str, Rows], n: int) -> None:
        stamp, short, at_us = self.stamps[self.choice(n)], self.numbers.id(n), self.numbers.at_us(n)
        id, own, values = "pay_" + short, stamp.own, stamp.values(self.numbers, n, short, at_us)
        for slot, text in stamp.bodies:
            raw = text(values)
            name = sha256(raw).hexdigest()
            values[slot] = name.encode()
            put["bodies"].append((id, name, raw))
        hash, fed = "", n // CHOICES * self.news[-1] + self.news[n % CHOICES]
        for seq, slot, text, news in stamp.events:
            raw = text(values)
            hash = sha256(raw).hexdigest()
            values[slot] = hash.encode()
            if news:  # the times of a feed do not go back: as if each were heard of as late as the latest
                fed += 1
                put["feed"].append((id, seq, *own, at_us + self.latest_us, fed))
            put["events"].append((id, seq, raw, hash, fed if news else 0))
        row = stamp.row
        put["payments"].append(
            (id, *row[1:12], at_us, at_us + stamp.updated_us, row[14], hash, row[16], stamp.document(values))
        )
        for value, account, kind in stamp.ours:
            put["refs"].append((value(values).decode(), account, kind, id))
        put["labels"] += [(*own, label, at_us, id) for label in stamp.labels]
        put["found"].append((sha256(values[3]).digest()[:16], at_us, id))
        if stamp.declines:
            put["declines"] += [(*own, code, at_us, id) for code in stamp.declines]
        if stamp.is_due:
            put["due"].append(("payment", id, self.due_us + n))

    def placed(self, start: int, end: int, *, late: bool) -> Portion:
        """Keys and the provider's references, in their own order."""
        numbers, keys, voids, refs = self.numbers, Rows(), Rows(), Rows()
        for place in range(start, end):
            if (place % 10 < LATE_OF_TEN) is not late:
                continue
            n = numbers.at_place(place)
            stamp, short = self.stamps[self.choice(n)], numbers.id(n)
            values = stamp.values(numbers, n, short, numbers.at_us(n))
            for operation, v, key, request in stamp.keys:
                name = key(values).decode()
                put = voids if operation == "void" else keys
                put.append((*stamp.own, name, operation, "pay_" + short, v, request(values)))
            for which, (_, account, kind) in enumerate(stamp.theirs):
                refs.append((numbers.ref(place, which), account, kind, "pay_" + short))
        return Portion({"keys": keys + voids, "refs": refs}, Counter())


_copies: Copies  # of a process that makes them


def _ready(path: Path, count: int, due_us: int, canceled: float) -> None:
    global _copies  # noqa: PLW0603 - a process of a pool has no other place
    _copies = Copies(path, count, due_us, canceled)


def _portion(start: int, end: int) -> Portion:
    return _copies.portion(start, end)


def _early(start: int, end: int) -> Portion:
    return _copies.placed(start, end, late=False)


def _late(start: int, end: int) -> Portion:
    return _copies.placed(start, end, late=True)


# --- filling ------------------------------------------------------------------------------------------------------------


def fill(path: Path, count: int, say: Callable[[str], None] = print, *, canceled: float = 0.0) -> None:
    """A file of ``count`` payments, made by the store's own schema and on the disk when this returns. Raises TooLittleRoom."""
    path.unlink(missing_ok=True)
    asyncio.run(_empty(path))
    with TemporaryDirectory(dir=path.parent) as folder:
        made = examples.make(Path(folder), EXAMPLES)
        os.environ["SQLITE_TMPDIR"] = folder
        args = (made, count, time.time_ns() // 1000 + SPREAD_US, canceled)
        # One process copies about as fast as one puts in.
        with ProcessPoolExecutor(2, initializer=_ready, initargs=args) as pool:
            connection = apsw.Connection(str(path))
            try:
                _count(connection, Copies(*args), _fill(connection, pool, path, count, say))
                connection.execute("PRAGMA journal_mode=WAL").fetchall()
                connection.close()
            except BaseException:
                connection.close()
                path.unlink(missing_ok=True)
                raise
    with path.open("rb") as file:
        os.fsync(file.fileno())


async def _empty(path: Path) -> None:
    store = await open_store(path, executor="inline")
    await store.close()


def _fill(
    connection: apsw.Connection, pool: ProcessPoolExecutor, path: Path, count: int, say: Callable[[str], None]
) -> Counter[tuple[int, int]]:
    """All rows but the tallies; what these are made of: see ``Portion``."""
    began = time.monotonic()
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-400000"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.execute("CREATE TEMP TABLE found (label BLOB, created_us INTEGER, payment_id TEXT)")
    later = connection.execute(LATER).fetchall()
    for name, _ in later:
        connection.execute(f"DROP INDEX {name}")
    counts, done, told = Counter[tuple[int, int]](), 0, 0
    for portion in _made(pool, _portion, count):
        if shutil.disk_usage(path.parent).free < FREE_LEFT:
            raise TooLittleRoom(f"{path.name}: only {FREE_LEFT >> 30} GiB of the disk are free after {done:,} payments")
        _put(connection, portion.rows)
        counts.update(portion.counts)
        done += PORTION
        if done - told >= 1_000_000:
            told = done
            say(f"{path.name}: {done:,} payments after {time.monotonic() - began:.0f} s")
    ((merchant_id, mode),) = connection.execute("SELECT merchant_id, mode FROM payments LIMIT 1").fetchall()
    for job, which in ((_early, ">="), (_late, "<")):
        for portion in _made(pool, job, count):
            _put(connection, portion.rows)
        connection.execute(
            "INSERT INTO labels SELECT ?, ?, label, created_us, payment_id FROM found "  # noqa: S608 - fixed words
            f"WHERE rowid % 10 {which} ? ORDER BY label",
            (merchant_id, mode, LATE_OF_TEN),
        )
    connection.execute("DROP TABLE temp.found")
    for _, sql in later:
        connection.execute(str(sql))
    return counts


def _made(pool: ProcessPoolExecutor, job: Callable[[int, int], Portion], count: int) -> Iterator[Portion]:
    """In order, and only a few ahead: a portion has some 25 MB."""
    waiting = deque[Future[Portion]]()
    for start in range(0, count, PORTION):
        waiting.append(pool.submit(job, start, min(count, start + PORTION)))
        if len(waiting) > 4:
            yield waiting.popleft().result()
    for each in waiting:
        yield each.result()


def _put(connection: apsw.Connection, tables: dict[str, Rows]) -> None:
    with connection:
        for name, rows in tables.items():
            if rows:
                connection.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)  # noqa: S608


def _count(connection: apsw.Connection, copies: Copies, counts: Counter[tuple[int, int]]) -> None:
    """The tallies, as if each copy had been counted when it was written."""
    sums = counting.Sums()
    for (at_us, choice), times in counts.items():
        sums.add((key, n * times, minor * times) for key, n, minor in copies.stamps[choice].counted(at_us))
    with connection:
        sums.write(connection, END_US - 2 * DAY_US)
