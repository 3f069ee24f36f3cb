"""The other ceiling: what SQLite and the disk can do with the same bytes, and nothing else.

    python -m benchmarks.raw --file /tmp/raw.db --writers 64 --seconds 3 --sizes 1300,525,137,66

A loop without threads, network or JSON. Each commit (WAL, synchronous=FULL: the disk is synced before it returns) holds the
rows of ``writers`` payments: payment, event, key, body and due time, in plain tables with a primary key each, as many bytes
long as payonce's own. One writer is one fsync for each payment. Prints {"rate", "p50_ms", "p99_ms", "cpu_us"} as JSON;
latencies are of commits.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Final

import apsw
import msgspec
from msgspec import Struct

from .histogram import Histogram

TABLES: Final = ("payments", "events", "keys", "bodies")  # beside ``due``, whose rows are an id and a time
ID_CHARS: Final = 24
SCHEMA: Final = (
    *(f"CREATE TABLE {name} (id TEXT PRIMARY KEY, bytes BLOB) STRICT" for name in TABLES),
    "CREATE TABLE due (id TEXT PRIMARY KEY, due_us INTEGER) STRICT, WITHOUT ROWID",
)


class Found(Struct):
    """What a loop did: payments a second, how long a commit took, CPU for each payment."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


def sizes_of(store: Path) -> list[int]:
    """How many bytes payonce's youngest payment takes in each of TABLES, columns and keys, without its indexes."""
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        (id,) = next(iter(connection.execute("SELECT id FROM payments ORDER BY rowid DESC LIMIT 1")))
        return [_length(connection, name, "id" if name == "payments" else "payment_id", id) for name in TABLES]
    finally:
        connection.close()


def _length(connection: apsw.Connection, table: str, column: str, id: object) -> int:
    rows = connection.execute(f"SELECT * FROM {table} WHERE {column} = ?", (id,)).fetchall()  # noqa: S608 - fixed names
    return sum(len(v.encode()) if isinstance(v, str) else len(v) if isinstance(v, bytes) else 8 for row in rows for v in row)


def loop(file: Path, writers: int, seconds: float, sizes: list[int]) -> Found:
    """Fill a file until the time is over."""
    file.unlink(missing_ok=True)
    connection = apsw.Connection(str(file))
    connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
    for sql in SCHEMA:
        connection.execute(sql)
    inserts = [(f"INSERT INTO {name} VALUES (?, ?)", max(size - ID_CHARS, 1)) for name, size in zip(TABLES, sizes, strict=True)]  # noqa: S608
    times, number, cpu = Histogram(), 0, time.process_time()
    began = now = time.perf_counter()
    while now - began < seconds:
        ids = [f"pay_{n:020d}" for n in range(number, number + writers)]
        at = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        for sql, length in inserts:
            connection.executemany(sql, [(id, os.urandom(8) * (length // 8)) for id in ids])
        connection.executemany("INSERT INTO due VALUES (?, ?)", [(id, number) for id in ids])
        connection.execute("COMMIT")
        now = time.perf_counter()
        times.add(int((now - at) * 1e6))
        number += writers
    used = time.process_time() - cpu
    connection.close()
    return Found(number / (now - began), times.percentile_ms(50), times.percentile_ms(99), used / number * 1e6)


def main() -> None:
    """One loop, its figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.raw", description="A loop of commits.")
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--writers", type=int, required=True, help="payments in each commit")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--sizes", required=True, help=f"bytes of a row of {', '.join(TABLES)}")
    args = parser.parse_args()
    sizes = [int(size) for size in args.sizes.split(",")]
    sys.stdout.buffer.write(msgspec.json.encode(loop(args.file, args.writers, args.seconds, sizes)))


if __name__ == "__main__":
    main()
