"""Where the feed of a file ends, as the connection that writes remembers it: beside other writers, and after what was undone.
And where in it a time begins."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from payonce.core.errors import InvariantViolated, StoreUnavailable
from payonce.ports import Committed, Fed, Scope
from payonce.stores.sqlite import batch, open_to_read, reads, schema
from payonce.stores.sqlite.writer import Job, Writer
from payonce.stores.sqlite.writes import Write, pending
from payonce.testing.store_changes import START_US, accept, newsworthy, payment_id

DEFAULT = Scope("mer_default", "test")
PLACES = "SELECT payment_id, place FROM feed WHERE merchant_id = ? ORDER BY place"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pay.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    made = another(path)
    yield made
    made.close()


def another(path: Path) -> Writer:
    fresh = [schema.open_file(path, 1000)]
    return Writer(path, lambda: fresh.pop() if fresh else schema.reconnect(path, 1000))


def told(number: int, *, at_us: int = START_US, merchant_id: str = "mer_default") -> Write:
    return pending(newsworthy(accept(number, at_us=at_us, merchant_id=merchant_id), notify=False), 0)


def write(writer: Writer, *asked: Write) -> list[Job]:
    """All in one transaction."""
    jobs = [Job(each) for each in asked]
    writer.write(jobs)
    return jobs


def places(path: Path, merchant_id: str = "mer_default") -> list[tuple[str, int]]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return list(connection.execute(PLACES, (merchant_id,)))
    finally:
        connection.close()


def in_order(*numbers: int) -> list[tuple[str, int]]:
    return [(payment_id(number), place) for place, number in enumerate(numbers, 1)]


def verified(path: Path) -> None:
    """What ``payonce verify`` asks of the whole feed finds nothing: no gap, and each event names its place."""

    async def look() -> None:
        looking = await open_to_read(path)
        assert await looking.strays() == ()
        await looking.close()

    asyncio.run(look())


def test_two_writers_take_turns(path: Path, writer: Writer) -> None:
    """Each believes to know the end and is wrong after each turn of the other: no place is taken twice, none is left out, and
    the time does not go back behind what the other wrote."""
    other = another(path)
    for number in range(1, 9):
        (job,) = write((writer, other)[number % 2], told(number, at_us=START_US + 100 * (number % 3)))
        assert job.result == Committed()
    other.close()
    assert places(path) == in_order(*range(1, 9))
    verified(path)


def test_a_change_that_is_undone_leaves_no_gap(path: Path, writer: Writer) -> None:
    """It took the next place before it failed; whoever comes behind it in the same transaction, and after it, gets that one."""
    connection = writer._connection
    assert connection is not None
    orphan = accept(2).entries[0]
    connection.execute("INSERT INTO events (payment_id, seq, raw, hash) VALUES (?, 1, ?, ?)", (payment_id(2), orphan.raw, "x"))
    first, broken, last = write(writer, told(1), told(2), told(3))
    assert (first.result, type(broken.error), last.result) == (Committed(), InvariantViolated, Committed())
    write(writer, told(4))
    assert places(path) == in_order(1, 3, 4)


def test_a_transaction_that_fails_leaves_no_gap(path: Path, writer: Writer) -> None:
    """What was written in it is not remembered."""

    def full(connection: apsw.Connection) -> object:
        raise apsw.FullError("full")

    write(writer, told(1))
    jobs = write(writer, told(2), told(3), full)
    assert [type(job.error) for job in jobs] == [StoreUnavailable] * 3
    write(writer, told(3), told(4))
    assert places(path) == in_order(1, 3, 4)
    verified(path)


def test_a_new_connection_begins_without_a_memory(path: Path, writer: Writer) -> None:
    """After the disk failed nobody knows what of the transaction stands."""

    def failing(connection: apsw.Connection) -> object:
        raise apsw.IOError("disk")

    write(writer, told(1), told(2))
    before = writer._connection
    write(writer, told(3), failing)
    write(writer, told(4))
    assert writer._connection is not before
    assert places(path) == in_order(1, 2, 4)
    verified(path)


def test_more_feeds_than_are_remembered(path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory is bounded; what is forgotten is read."""
    monkeypatch.setattr(batch, "ENDS_MAX", 2)
    for number in range(12):
        write(writer, told(number, merchant_id=f"mer_{number % 4}"))
        assert writer._connection is not None
        assert 1 <= len(writer._connection.ends) <= 2
    for each in range(4):
        assert places(path, f"mer_{each}") == in_order(each, each + 4, each + 8)
    verified(path)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 40])
def test_a_time_begins_where_it_begins(path: Path, writer: Writer, count: int) -> None:
    """Among times that come once and often, and before and after all: as if each event were looked at."""
    random_us = random.Random(count)
    times = [START_US + random_us.randrange(count) for _ in range(count)]
    write(writer, *(told(n, at_us=at_us) for n, at_us in enumerate(times)), *(told(100 + n, merchant_id="x") for n in range(9)))
    latest = [max(times[: n + 1]) for n in range(count)]
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    for since_us in (0, 1, *range(START_US - 1, START_US + count + 2), 2**62):
        page = reads.feed(connection, DEFAULT, 100, None, since_us)
        assert list(page.entries) == [Fed(payment_id(n), 1) for n in range(count) if latest[n] >= since_us], since_us
    connection.close()
