"""Counting in the file: in the change's own transaction, once, and never in its way; what older files get; the indexes."""

import asyncio
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import apsw
import pytest
from tests.stores.older_files import set_back
from tests.stores.test_sqlite_processes import SCRIPT

from payonce.core.errors import StoreUnavailable
from payonce.figures import COUNT_MAX, SPAN_US, Tally, What, summed
from payonce.ports import Change, Committed, Conflict, Filters, Scope
from payonce.stores.sqlite import backfill, figures, open_store, open_to_read, schema
from payonce.stores.sqlite.reads import page_query
from payonce.stores.sqlite.tallies import MINOR_MAX, Sums
from payonce.stores.sqlite.writer import Job, Writer
from payonce.stores.sqlite.writes import pending
from payonce.testing.figures_contract import FAR_US, NOON_US, asked, declined, details, pages, paid
from payonce.testing.store_changes import accept, payment_id, put

DEFAULT = Scope("mer_default", "test")
ACCEPTED: tuple[What, ...] = ("accepted",)
DAY_US = 24 * SPAN_US["hour"]


def made(path: Path) -> Path:
    schema.open_file(path, 0).close()
    return path


def jobs_of(*changes: Change) -> list[Job]:
    return [Job(pending(change, change.payment.version - len(change.entries))) for change in changes]


def accepted(path: Path) -> int:
    """How many acceptances are counted, by the hours and by the minutes alike."""
    with apsw.Connection(str(path)) as connection:
        sql = "SELECT coalesce(sum(n), 0) FROM tallies WHERE what = 'accepted' AND span = ?"
        hours, minutes = (connection.execute(sql, (span,)).get for span in ("hour", "minute"))
    assert hours == minutes
    return int(hours)


# --- once, and with the change --------------------------------------------------------------------------------------------


def test_a_change_that_is_undone_alone_counts_nothing(tmp_path: Path) -> None:
    """It fails in the middle of its write; the others of its transaction are counted."""
    path = made(tmp_path / "pay.db")
    changes = [accept(n, at_us=NOON_US, details=details(order=f"o-{n}")) for n in (1, 2, 3)]
    with apsw.Connection(str(path)) as connection:  # its first event is there already
        connection.execute("INSERT INTO events (payment_id, seq, raw, hash) VALUES (?, 1, x'', '')", (payment_id(2),))
    writer = Writer(path, lambda: schema.connect(path, 0))
    writer.write(jobs := jobs_of(*changes))
    writer.close()
    assert [job.result for job in jobs] == [Committed(), None, Committed()]
    assert jobs[1].error is not None
    assert accepted(path) == 2


def test_a_transaction_that_does_not_hold_counts_nothing(tmp_path: Path) -> None:
    """The file is busy, then the disk is full after two changes: what is sent again later is counted once."""
    path = made(tmp_path / "pay.db")
    writer = Writer(path, lambda: schema.connect(path, 0))
    changes = [accept(n, at_us=NOON_US) for n in (1, 2)]

    def full(_: object) -> object:
        raise apsw.FullError("disk full")

    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    writer.write(jobs := jobs_of(*changes))
    other.close()
    assert all(isinstance(job.error, StoreUnavailable) for job in jobs)
    writer.write(jobs := [*jobs_of(*changes), Job(full)])
    assert all(isinstance(job.error, StoreUnavailable) for job in jobs)
    writer.write(jobs_of(accept(3, at_us=NOON_US)))
    assert accepted(path) == 1
    writer.write(jobs := [*jobs_of(*changes), *jobs_of(*changes)])
    writer.close()
    assert [type(job.result) for job in jobs] == [Committed, Committed, Conflict, Conflict]
    assert accepted(path) == 3


def test_processes_that_race_and_die_count_what_is_in_the_file(tmp_path: Path) -> None:
    """Two processes write the same payments at once until one meets the other, and a third one is killed in the middle."""
    path = made(tmp_path / "pay.db")
    commands = [[sys.executable, str(SCRIPT), str(path), str(first), "300"] for first in (0, 0, 9_000)]
    processes = [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for c in commands]
    assert processes[2].stdout is not None
    for line in processes[2].stdout:
        if line.startswith("ACK"):
            break
    processes[2].kill()
    for process in processes:
        process.communicate(timeout=30)
    with apsw.Connection(str(path)) as connection:
        stored = connection.execute("SELECT count(*) FROM payments").get
    assert accepted(path) == stored
    assert stored > 0


def test_a_bug_in_counting_costs_no_payment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of that transaction are not written, the change is; the next ones are counted again."""
    honest = Sums.write

    def broken(self: Sums, connection: apsw.Connection) -> None:
        honest(self, connection)
        raise ZeroDivisionError

    async def run() -> None:
        store = await open_store(made(tmp_path / "pay.db"), executor="inline")
        with monkeypatch.context() as patch:
            patch.setattr(Sums, "write", broken)
            assert await store.commit(accept(1, at_us=NOON_US), 0) == Committed()
        await put(store, accept(2, at_us=NOON_US))
        assert await store.get(payment_id(1)) is not None
        assert [t.n for t in await asked(store)] == [1]
        await store.close()

    asyncio.run(run())


def test_a_sum_of_amounts_has_a_largest_value(tmp_path: Path) -> None:
    """More than an integer of SQLite holds is not an error in the way of a payment."""
    path = made(tmp_path / "pay.db")

    async def run() -> None:
        store = await open_store(path, executor="inline")
        await put(store, accept(1, at_us=NOON_US))
        with apsw.Connection(str(path)) as connection:
            connection.execute("UPDATE tallies SET minor = ?", (MINOR_MAX - 5,))
        await put(store, accept(2, at_us=NOON_US))
        assert [(t.n, t.minor) for t in await asked(store)] == [(2, MINOR_MAX)]
        await store.close()

    asyncio.run(run())


def test_minutes_go_after_two_days_and_hours_stay(tmp_path: Path) -> None:
    """The first change of a later minute takes its merchant's old minutes away, and nobody else's."""

    async def run() -> None:
        store = await open_store(made(tmp_path / "pay.db"), executor="inline")
        await put(store, accept(1, at_us=NOON_US))
        await put(store, accept(2, at_us=NOON_US, mode="live"))
        await put(store, accept(3, at_us=NOON_US + 2 * DAY_US))
        assert len(await asked(store, span="minute")) == 2
        await put(store, accept(4, at_us=NOON_US + 2 * DAY_US + SPAN_US["minute"]))
        assert [t.at_us for t in await asked(store, span="minute")] == [
            NOON_US + 2 * DAY_US, NOON_US + 2 * DAY_US + SPAN_US["minute"]
        ]  # fmt: skip
        assert sum(t.n for t in await asked(store)) == 3
        assert len(await asked(store, Scope("mer_default", "live"), span="minute")) == 1
        await store.close()

    asyncio.run(run())


def test_a_week_is_the_sum_of_its_hours(tmp_path: Path) -> None:
    """Whole days are read as such, hours around them: the sums are the same, wherever the window begins and ends."""

    async def run() -> None:
        store = await open_store(made(tmp_path / "pay.db"), executor="inline")
        for number in range(60):
            await paid(store, number + 1, NOON_US + number * 5 * SPAN_US["hour"] // 2)
        hours = await asked(store)
        for first in range(0, 30, 7):
            for length in (1, 23, 24, 25, 47, 48, 49, 100):
                from_us = NOON_US + first * SPAN_US["hour"]
                before_us = from_us + length * SPAN_US["hour"]
                wanted = summed((t for t in hours if from_us <= t.at_us < before_us), 0)
                assert await asked(store, from_us=from_us, before_us=before_us, fold=True) == wanted
        assert any(span == "day" for span, *_ in figures._ranges("hour", NOON_US, NOON_US + 3 * DAY_US))
        await store.close()

    asyncio.run(run())


# --- files from before counting -------------------------------------------------------------------------------------------


async def filled(path: Path) -> tuple[Tally, ...]:
    """Four payments in a file of schema 4; what was counted of them before it was set back."""
    store = await open_store(path, executor="inline")
    await put(store, accept(1, at_us=NOON_US, details=details(order="o-1")))
    await paid(store, 2, NOON_US + 1)
    await declined(store, 3, NOON_US + 2)
    await paid(store, 4, NOON_US + 3 * DAY_US)
    counted = await asked(store)
    await store.close()
    set_back(path, 4)
    return counted


def test_an_older_file_is_counted_as_its_rows_show(tmp_path: Path) -> None:
    """Its payments are in the figures, and found by metadata and decline; minutes only of its last two days."""

    async def run() -> None:
        counted = await filled(tmp_path / "pay.db")
        store = await open_store(tmp_path / "pay.db", executor="inline")
        assert await asked(store) == counted
        found = await store.figures.tallies(DEFAULT, 0, FAR_US, span="minute")
        assert {t.at_us for t in found.tallies} == {NOON_US + 3 * DAY_US}
        assert (found.complete, found.since_us) == (True, 0)
        assert await pages(store, Filters(metadata="o-1"), 5) == [payment_id(1)]
        assert await pages(store, Filters(decline_code="do_not_honor"), 5) == [payment_id(3)]
        await put(store, accept(5, at_us=NOON_US + 1))
        assert sum(t.n for t in await asked(store, what=ACCEPTED)) == 5
        await store.close()

    asyncio.run(run())


def test_of_a_large_older_file_the_newest_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many payments the figures say from when on they are complete."""
    monkeypatch.setattr(backfill.count, "__defaults__", (2,))

    async def run() -> None:
        await filled(tmp_path / "pay.db")
        store = await open_store(tmp_path / "pay.db", executor="inline")
        whole = await store.figures.tallies(DEFAULT, 0, FAR_US, span="hour", what=ACCEPTED)
        assert (sum(t.n for t in whole.tallies), whole.complete, whole.since_us) == (2, False, NOON_US + 2)
        assert (await store.figures.tallies(DEFAULT, NOON_US + DAY_US, FAR_US, span="hour")).complete
        await store.close()

    asyncio.run(run())


def test_an_older_file_opened_to_read_has_no_figures_and_says_so(tmp_path: Path) -> None:
    """Nothing is migrated: the tallies are not complete, and a listing by metadata or decline is refused."""

    async def run() -> None:
        await filled(tmp_path / "pay.db")
        store = await open_to_read(tmp_path / "pay.db")
        found = await store.figures.tallies(DEFAULT, 0, FAR_US, span="hour")
        assert (found.tallies, found.complete, found.since_us) == ((), False, FAR_US)
        assert (await store.figures.standing(DEFAULT))["PENDING"] == 2
        for filters in (Filters(metadata="o-1"), Filters(decline_code="do_not_honor")):
            with pytest.raises(StoreUnavailable, match="older payonce"):
                await store.list(DEFAULT, filters, 5)
        await store.close()

    asyncio.run(run())


# --- indexes --------------------------------------------------------------------------------------------------------------


def plan(path: Path, sql: str, values: Collection[str | int | bytes]) -> list[str]:
    connection = apsw.Connection(str(path))
    lines = [str(line) for *_, line in connection.execute(f"EXPLAIN QUERY PLAN {sql}", tuple(values))]
    connection.close()
    return lines


LABELS = "SEARCH labels USING PRIMARY KEY (merchant_id=? AND mode=? AND label=?)"
DECLINES = "SEARCH declines USING PRIMARY KEY (merchant_id=? AND mode=? AND code=?)"
ROW = "SEARCH payments USING INDEX sqlite_autoindex_payments_1 (id=?)"


@pytest.mark.parametrize(
    ("filters", "walk"),
    [
        (Filters(metadata="x"), LABELS),
        (Filters(metadata="x", status="FAILED", provider="mock"), LABELS),
        (Filters(decline_code="x"), DECLINES),
        (Filters(decline_code="x", currency="EUR", attention=True), DECLINES),
    ],
)
def test_metadata_and_declines_are_walked_newest_first(tmp_path: Path, filters: Filters, walk: str) -> None:
    """One walk along the table's own key, then each payment by its id: nothing is sorted, with a cursor neither."""
    path = made(tmp_path / "pay.db")
    assert plan(path, *page_query(DEFAULT, filters, 20, None)) == [walk, ROW]
    ranged = Filters(metadata=filters.metadata, decline_code=filters.decline_code, created_from_us=5, created_before_us=9)
    first, second = plan(path, *page_query(DEFAULT, ranged, 20, None))
    assert first == walk.replace("=?)", "=? AND created_us>? AND created_us<?)")
    assert second == ROW


@pytest.mark.parametrize(
    ("sql", "values", "wanted"),
    [
        (
            figures.TALLIES.format(""),
            ("m", "test", "hour", 0, 1),
            "tallies USING PRIMARY KEY (merchant_id=? AND mode=? AND span=?",
        ),
        (
            figures.STANDING,
            ("m", "test", "PENDING", 9),
            "COVERING INDEX payments_status (merchant_id=? AND mode=? AND status=?)",
        ),
        (figures.EYES, ("m", "test", 9), "INDEX payments_attention (merchant_id=? AND mode=?)"),
        (figures.OVERDUE, (1, 9, "m", "test", 9), "COVERING INDEX due_first (kind=? AND due_us<?)"),
    ],
)
def test_figures_are_read_along_an_index(tmp_path: Path, sql: str, values: tuple[str | int, ...], wanted: str) -> None:
    """None of their questions walks a table, or sorts one."""
    lines = plan(made(tmp_path / "pay.db"), sql, values)
    assert any(wanted in line for line in lines), lines
    assert not any("SCAN payments" in line or "SCAN due" in line or "TEMP B-TREE" in line for line in lines), lines


def test_standing_counts_up_to_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "each counted up to COUNT_MAX + 1" """
    monkeypatch.setattr(figures, "COUNT_MAX", 2)

    async def run() -> None:
        store = await open_store(tmp_path / "pay.db", executor="inline")
        for number in range(1, 6):
            await put(store, accept(number, at_us=NOON_US))
        assert (await store.figures.standing(DEFAULT))["PENDING"] == 3
        assert COUNT_MAX > 3
        await store.close()

    asyncio.run(run())


def test_verify_names_what_leads_to_no_payment(tmp_path: Path) -> None:
    """A metadata value or a decline of a payment that is not there; a whole file has none."""
    path = tmp_path / "pay.db"

    async def run() -> None:
        store = await open_store(path, executor="inline")
        await put(store, accept(1, at_us=NOON_US, details=details(order="o-1")))
        await declined(store, 2, NOON_US)
        await store.close()
        looking = await open_to_read(path)
        assert await looking.strays() == ()
        connection = apsw.Connection(str(path))
        connection.execute("UPDATE labels SET payment_id = 'pay_9'; UPDATE declines SET payment_id = 'pay_9'")
        connection.close()
        assert [stray.says.partition(":")[0] for stray in await looking.strays()] == [
            "a metadata value of no payment", "a decline of no payment"
        ]  # fmt: skip
        await looking.close()

    asyncio.run(run())
