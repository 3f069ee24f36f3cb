"""A batch is read once, judged once and written once: it must end as if each of its writes had been a transaction alone."""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from msgspec.structs import replace

from payonce.core.errors import InvariantViolated, StoreUnavailable
from payonce.core.events import digest
from payonce.core.outcome import Declined
from payonce.core.payment import SCHEMA, Mode
from payonce.ports import Change, Committed, Conflict, Ref, Scope, Unclear
from payonce.stores.memory import MemoryStore
from payonce.stores.sqlite import batch, multirow, open_to_read, schema, tallies
from payonce.stores.sqlite.batch import write_all
from payonce.stores.sqlite.multirow import FORMS, Rows
from payonce.stores.sqlite.schema import WritingConnection
from payonce.stores.sqlite.writer import Job, Writer
from payonce.stores.sqlite.writes import Deferral, PendingChange, Write, pending
from payonce.testing.store_changes import (
    START_US,
    accept,
    answer_event,
    fire_event,
    grow,
    key_row,
    newsworthy,
    note_event,
    payment_id,
    success_event,
)

TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
MODES: tuple[Mode, ...] = ("test", "live")
ORPHANS = (90, 91)  # payments of whom an event lies in the file already: their creation fails half way


def opened(path: Path) -> Writer:
    """A writer that does not wait for the disk: what is compared is what it writes."""
    schema.open_file(path, 1000).close()

    def connect() -> WritingConnection:
        connection = schema.connect(path, 1000)
        connection.execute("PRAGMA synchronous=OFF")
        return connection

    return Writer(path, connect)


def connected(writer: Writer) -> WritingConnection:
    assert writer._connection is not None
    return writer._connection


def tables(path: Path) -> dict[str, list[Any]]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    names = [name for (name,) in connection.execute(TABLES)]
    rows = {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in names}  # noqa: S608 - tables
    connection.close()
    return rows


def written(writer: Writer, writes: Sequence[Write]) -> list[object]:
    """The results of one transaction, errors as their text."""
    jobs = [Job(each) for each in writes]
    writer.write(jobs)
    return [job.result if job.error is None else f"{type(job.error).__name__}: {job.error}" for job in jobs]


# --- as one by one ------------------------------------------------------------------------------------------------------


class Crowd:
    """Writes by chance: most hold, and each way of not holding occurs. It believes that what it asked for was written, so it is
    wrong often enough; ``learn`` tells it what stands."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.last: dict[str, Change] = {}
        self.number = 0

    def learn(self, writes: Sequence[Write], results: Sequence[object]) -> None:
        for write, result in zip(writes, results, strict=True):
            if isinstance(write, PendingChange) and not isinstance(result, Committed):
                self.last.pop(write.id, None)
        for write, result in zip(writes, results, strict=True):
            if isinstance(write, PendingChange) and isinstance(result, Committed):
                self.last[write.id] = write.change

    def batch(self, count: int) -> list[Write]:
        return [self.one() for _ in range(count)]

    def one(self) -> Write:
        kinds: dict[Callable[[], Write], int] = {
            self.create: 12, self.grow: 14, self.stale: 2, self.defer: 5, self.again: 1, self.orphan: 1, self.unchained: 1,
            self.other: 2, self.failing: 1,
        }  # fmt: skip
        kind = self.chance.choices(list(kinds), list(kinds.values()))[0]
        return kind() if self.last else self.create()

    def change(self, change: Change) -> Write:
        if self.chance.random() < 0.3:
            change = newsworthy(change, notify=self.chance.random() < 0.5)
        self.last[change.payment.id] = change
        return pending(change, change.payment.version - len(change.entries))

    def create(self, number: int = 0) -> Write:
        self.number += 1
        body = b"body %d" % self.chance.randrange(3)
        return self.change(
            accept(
                number or self.number,
                at_us=START_US + self.chance.randrange(-90, 90) * 1_000_000,
                due_us=self.chance.choice([None, START_US, START_US + self.number]),
                merchant_id=self.chance.choice(["mer_default", "mer_b", "mer_c"]),
                mode=self.chance.choice(MODES),
                key=self.chance.choice(["", f"k{self.number}", f"k{self.chance.randrange(6)}"]),
                bodies={digest(body): body} if self.chance.random() < 0.3 else {},
                refs=self.refs(),
                client_id=self.chance.choice(["", "shop"]),
                details=msgspec.json.encode({"metadata": {"order": f"A-{self.chance.randrange(9)}"}}),
            )
        )

    def refs(self) -> tuple[Ref, ...]:
        return tuple(Ref("mock_a", "charge", f"ch_{self.chance.randrange(20)}") for _ in range(self.chance.randrange(3)))

    def known(self) -> Change:
        return self.chance.choice(list(self.last.values()))

    def grow(self) -> Write:
        p = self.known().payment
        at_us = START_US + self.chance.randrange(90) * 1_000_000
        event = note_event(f"look {p.version}")
        if p.status == "PENDING" and not p.attempts:
            event = fire_event(p, self.chance.choice(["mock_a", "mock_b"]), at_us)
        elif p.status == "PENDING" and p.attempts[-1].steps[-1].seq == p.version:
            no = Declined(code="do_not_honor", hard=False, scope="issuer", reference=p.attempts[-1].reference)
            event = self.chance.choice([success_event(p), answer_event(p, no)])
        key = key_row(p.id, f"k{self.chance.randrange(30)}") if self.chance.random() < 0.1 else None
        due_us = self.chance.choice([None, at_us])
        try:
            return self.change(grow(p, event, at_us=at_us, due_us=due_us, key=key, refs=self.refs()))
        except InvariantViolated:  # it does not take that event
            return self.change(grow(p, note_event("look"), at_us=at_us, due_us=due_us))

    def stale(self) -> Write:
        """A change of what it was once."""
        change = self.known()
        return pending(change, change.payment.version - len(change.entries))

    def again(self) -> Write:
        """A second creation under an id."""
        return self.create(int(self.chance.randrange(1, self.number + 1)))

    def orphan(self) -> Write:
        return pending(accept(self.chance.choice(ORPHANS), key=f"k{self.chance.randrange(6)}"), 0)

    def unchained(self) -> Write:
        """The right version of another history."""
        p = self.known().payment
        first = replace(self.known().entries[0].envelope, prev="0" * 64, seq=p.version + 1)
        raw = msgspec.json.encode(first)
        entry = replace(self.known().entries[0], envelope=first, raw=raw, hash=digest(raw))
        change = Change(payment=replace(p, version=p.version + 1, head=entry.hash), entries=(entry,), due_us=None)
        return pending(change, p.version)

    def defer(self) -> Write:
        p = self.known().payment
        version = self.chance.choice([p.version, p.version, p.version, p.version + 1, 0])
        return Deferral(self.chance.choice([p.id, p.id, payment_id(99)]), version, self.chance.choice([None, START_US + 7]))

    def other(self) -> Write:
        name = f"n{self.chance.randrange(4)}"
        return partial(_put_record, name)

    def failing(self) -> Write:
        return partial(_fails, self.number)


def _put_record(name: str, connection: WritingConnection) -> bool:
    connection.execute("INSERT OR IGNORE INTO registry VALUES ('test', ?, 1, x'00')", (name,))
    return connection.changes() == 1


def _fails(number: int, connection: WritingConnection) -> object:
    connection.execute("INSERT INTO registry VALUES ('half', ?, 1, x'00')", (str(number),))
    raise OverflowError("no")


@pytest.mark.parametrize("seed", range(6))
def test_a_batch_ends_as_one_by_one(tmp_path: Path, seed: int) -> None:
    """Random batches with rivals, chains, deferrals, news, labels, declines, tallies and errors in the middle: each write has
    the result that it has alone, and every table of the file is the same in the end."""
    together, alone = opened(tmp_path / "together.db"), opened(tmp_path / "alone.db")
    for writer in (together, alone):
        for number in ORPHANS:
            row = (payment_id(number), b"{}", "x")
            connected(writer).execute("INSERT INTO events (payment_id, seq, raw, hash) VALUES (?, 1, ?, ?)", row)
    crowd = Crowd(seed)
    kinds = set[type]()
    for _ in range(12):
        writes = crowd.batch(crowd.chance.choice([1, 2, 7, 30, 70]))
        results = written(together, writes)
        assert results == [result for write in writes for result in written(alone, [write])]
        crowd.learn(writes, results)
        kinds |= {type(result) for result in results}
    assert kinds == {Committed, Conflict, bool, str}
    together.close()
    alone.close()
    assert tables(tmp_path / "together.db") == tables(tmp_path / "alone.db")


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_answers_as_the_model(tmp_path: Path, seed: int) -> None:
    """The memory store, asked for the same changes one after the other, gives the same results: Conflicts with the same row or
    key, refused deferrals, broken chains. Its rows, dues and feeds are those of the file."""

    async def alone(model: MemoryStore, write: Write) -> object:
        try:
            if isinstance(write, Deferral):
                return await model.defer(write.id, write.version, write.due_us)
            assert isinstance(write, PendingChange)
            return await model.commit(write.change, write.expected_version)
        except InvariantViolated as e:
            return f"{type(e).__name__}: {e}"

    async def main() -> None:
        writer, model, crowd = opened(tmp_path / "pay.db"), MemoryStore(), Crowd(100 + seed)
        for _ in range(12):
            asked = (write for write in crowd.batch(crowd.chance.choice([1, 9, 40])))
            writes = [w for w in asked if isinstance(w, Deferral) or (isinstance(w, PendingChange) and w.id < payment_id(90))]
            results = written(writer, writes)
            assert results == [await alone(model, write) for write in writes]
            crowd.learn(writes, results)
        writer.close()
        stored = await open_to_read(tmp_path / "pay.db")
        for p in model.rows():
            assert await stored.get(p.id) == p
            assert await stored.history(p.id) == await model.history(p.id)
            assert await stored.due_of(p.id) == await model.due_of(p.id)
            assert await stored.outbox.noticed(p.id) == await model.outbox.noticed(p.id)
        for scope in (Scope(m, mode) for m in ("mer_default", "mer_b", "mer_c") for mode in MODES):
            assert (await stored.feed(scope, 100)).entries == (await model.feed(scope, 100)).entries
        await stored.close()

    asyncio.run(main())


# --- what must not depend on who else is there ----------------------------------------------------------------------------


def test_a_crowd_takes_as_many_statements_as_one(tmp_path: Path) -> None:
    """A payment with key, details and metadata is 12 statements at most, transaction included; and so are 64 of them."""
    writer, counted = opened(tmp_path / "pay.db"), list[int]()
    connected(writer).execute("PRAGMA wal_autocheckpoint=0")
    written(writer, [pending(told(0), 0)])  # and now it knows where the feed ends
    for first, count in ((1, 1), (101, 64)):
        writes = [pending(told(n), 0) for n in range(first, first + count)]
        seen: list[object] = []
        connected(writer).trace_v2(apsw.SQLITE_TRACE_STMT, seen.append)
        assert written(writer, writes) == [Committed()] * count
        connected(writer).trace_v2(0, None)
        counted.append(len(seen))
    writer.close()
    assert counted[0] <= 12
    assert counted[1] <= 12


def told(number: int) -> Change:
    return newsworthy(accept(number, key=f"k{number}", details=b'{"metadata":{"order":"A"}}'), notify=False)


def test_no_statement_walks_along_a_table(tmp_path: Path) -> None:
    """What is asked and written grows with the batch, not with the file: each row is found in an index."""
    writer = opened(tmp_path / "pay.db")
    statements = [s for module in (batch, tallies) for s in vars(module).values() if isinstance(s, Rows)]
    assert len(statements) == 14
    for rows in statements:
        values = tuple("1" for _ in range(8 * rows.columns))
        plan = [step for *_, step in connected(writer).execute(f"EXPLAIN QUERY PLAN {rows.texts[8]}", values)]
        given = ("SCAN 8 CONSTANT ROWS", "SCAN 8-ROW VALUES CLAUSE", "SCAN asked", "SCAN new")
        walks = [step for step in plan if step.startswith("SCAN") and step not in given]
        assert walks == [], rows.head
    (*_, step), *_ = connected(writer).execute(f"EXPLAIN QUERY PLAN {batch._LAST_FED}", ("m", "test"))
    assert step.startswith("SEARCH feed USING PRIMARY KEY")
    writer.close()


@pytest.mark.parametrize("count", [0, 1, 5, 37, 64, 65, 256])
def test_every_number_of_rows_is_written(tmp_path: Path, count: int) -> None:
    """Whatever forms a number of rows takes, each row goes in once."""
    writer = opened(tmp_path / "pay.db")
    assert written(writer, [pending(told(n), 0) for n in range(count)]) == [Committed()] * count
    assert len(tables(tmp_path / "pay.db")["events"]) == count
    assert [row[-1] for row in sorted(tables(tmp_path / "pay.db")["feed"], key=lambda row: int(row[-1]))] == [
        *range(1, count + 1)
    ]
    writer.close()


def test_a_row_that_changes_nothing_is_a_bug_and_said_so(tmp_path: Path) -> None:
    """An update that meets another version in spite of the question before, is refused: the condition is the write's own."""
    writer = opened(tmp_path / "pay.db")
    first = accept(1)
    second = pending(grow(first.payment, note_event()), 1)
    written(writer, [pending(first, 0)])
    written(writer, [second])
    with pytest.raises(InvariantViolated, match="0 rows changed instead of 1"):
        batch._write_changes(connected(writer), [second])
    writer.close()
    assert max(FORMS) == 64
    assert multirow._portions([(1, 2)]) == ((1, (1, 2)),)


def test_a_newer_row_stands_in_nobody_else_s_way(tmp_path: Path) -> None:
    """A row of a newer schema is not written over; its neighbours in the batch are written, and a deferral of it too."""
    writer = opened(tmp_path / "pay.db")
    first = accept(1)
    written(writer, [pending(first, 0)])
    connected(writer).execute("UPDATE payments SET schema = ?", (SCHEMA + 1,))
    newer, other = written(writer, [pending(grow(first.payment, note_event()), 1), pending(accept(2), 0)])
    assert str(newer).startswith("NewerSchema")
    assert other == Committed()
    assert written(writer, [Deferral(payment_id(1), 1, 5)]) == [True]
    writer.close()


# --- trouble ------------------------------------------------------------------------------------------------------------


def test_a_batch_that_finds_no_room_writes_nothing(tmp_path: Path) -> None:
    """The disk is full in the middle of the rows: all are refused, also who met a conflict, and nothing of any is in the file.
    When there is room all is well."""
    writer = opened(tmp_path / "pay.db")
    written(writer, [pending(told(n), 0) for n in range(5)])
    before = tables(tmp_path / "pay.db")
    connection = connected(writer)
    connection.execute(f"PRAGMA max_page_count={connection.pragma('page_count') + 8}")
    crowd = [pending(told(n), 0) for n in range(4, 250)]
    assert {str(result)[:16] for result in written(writer, crowd)} == {"StoreUnavailable"}
    assert tables(tmp_path / "pay.db") == before
    connected(writer).execute("PRAGMA max_page_count=1000000")
    results = written(writer, crowd)
    assert isinstance(results[0], Conflict)
    assert results[1:] == [Committed()] * 245
    assert [place for *_, place in sorted(tables(tmp_path / "pay.db")["feed"], key=lambda row: int(row[-1]))] == [
        *range(1, 251)
    ]
    writer.close()


class Failing(WritingConnection):
    """Fails at a statement that begins with ``at``, with ``error``, as often as ``times`` says."""

    at, times, error = "", 0, apsw.Error

    def execute(self, statements: str, bindings: Any = None, **kwargs: Any) -> apsw.Cursor:
        if Failing.times and statements.startswith(Failing.at):
            Failing.times -= 1
            raise Failing.error("failing")
        return super().execute(statements, bindings, **kwargs)


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Writer]:
    schema.open_file(tmp_path / "pay.db", 1000).close()
    writer = Writer(tmp_path / "pay.db", lambda: Failing(str(tmp_path / "pay.db"), apsw.SQLITE_OPEN_READWRITE))
    yield writer
    Failing.times = 0
    writer.close()


@pytest.mark.parametrize(
    "at", ["WITH asked", "INSERT INTO payments", "INSERT INTO events", "INSERT INTO keys", "INSERT INTO tal"]
)
def test_what_goes_wrong_once_for_all_is_done_for_each(failing: Writer, tmp_path: Path, at: str) -> None:
    """An error that no single write causes, at any place of the batch: undone, and each is written alone, once."""
    Failing.at, Failing.times, Failing.error = at, 1, apsw.ConstraintError
    assert written(failing, [pending(told(n), 0) for n in range(9)]) == [Committed()] * 9
    rows = tables(tmp_path / "pay.db")
    assert len(rows["payments"]) == len(rows["events"]) == len(rows["keys"]) == 9
    assert [place for *_, place in sorted(rows["feed"], key=lambda row: int(row[-1]))] == [*range(1, 10)]
    assert {row[8] for row in rows["tallies"]} == {9}


@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError, apsw.BusyError])
@pytest.mark.parametrize("at", ["BEGIN", "WITH asked", "INSERT INTO events", "INSERT INTO tallies"])
def test_what_ends_a_transaction_ends_it_for_all(failing: Writer, tmp_path: Path, at: str, error: type[apsw.Error]) -> None:
    """A disk that fails or is full before the commit: nobody's write is there, everybody is told so, and the next batch is
    whole."""
    Failing.at, Failing.times, Failing.error = at, 1, error
    crowd = [pending(told(n), 0) for n in range(9)]
    assert {str(result)[:16] for result in written(failing, crowd)} == {StoreUnavailable.__name__}
    assert tables(tmp_path / "pay.db")["payments"] == []
    assert written(failing, crowd) == [Committed()] * 9
    assert {row[8] for row in tables(tmp_path / "pay.db")["tallies"]} == {9}


def test_a_disk_that_fails_in_commit_leaves_all_unclear(failing: Writer) -> None:
    """What was written cannot be known to stand; a conflict that was seen in it is no answer either."""
    written(failing, [pending(told(1), 0)])
    Failing.at, Failing.times, Failing.error = "COMMIT", 1, apsw.IOError
    stands, *crowd = written(failing, [pending(told(n), 0) for n in range(1, 9)])
    assert str(stands).startswith("StoreUnavailable")
    assert crowd == [Unclear()] * 7


def test_figures_that_cannot_be_counted_cost_no_payment(failing: Writer, tmp_path: Path) -> None:
    """Counting fails for good: the payments of the batch are committed all the same."""
    Failing.at, Failing.times, Failing.error = "INSERT INTO tallies", 99, apsw.ConstraintError
    assert written(failing, [pending(told(n), 0) for n in range(9)]) == [Committed()] * 9
    rows = tables(tmp_path / "pay.db")
    assert (len(rows["payments"]), rows["tallies"]) == (9, [])


def test_another_writer_is_noticed_without_an_error(tmp_path: Path) -> None:
    """Two writers in turn on one feed: each reads where it ends instead of running into the other's place."""
    one, other = opened(tmp_path / "pay.db"), opened(tmp_path / "pay.db")
    for turn in range(6):
        writer, seen = (one, other)[turn % 2], list[Any]()
        connected(writer).trace_v2(apsw.SQLITE_TRACE_STMT, seen.append)
        assert written(writer, [pending(told(10 * turn + n), 0) for n in range(5)]) == [Committed()] * 5
        connected(writer).trace_v2(0, None)
        assert not any("SAVEPOINT" in event["sql"] for event in seen)
    one.close()
    other.close()
    assert write_all.__doc__ is not None
    assert isinstance(batch._FEED, Rows)
