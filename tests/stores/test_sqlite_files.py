"""Which files and which SQLite are taken, and what happens to rows that are not what they should be."""

import asyncio
import stat
from pathlib import Path

import apsw
import pytest

from payonce.core.errors import ConfigError, InvariantViolated, NewerSchema
from payonce.core.payment import SCHEMA
from payonce.ports import Committed, Due, Filters, Scope
from payonce.stores.sqlite import APPLICATION_ID, check_sqlite_version, open_store, reads, schema
from payonce.testing.store_changes import accept, grow, note_event, payment_id

DEFAULT = Scope("mer_default", "test")


@pytest.mark.parametrize(
    "version", ["3.6.23", "3.7.0", "3.44.5", "3.45.0", "3.46.1", "3.49.2", "3.50.6", "3.51.0", "3.51.2", "2.8.17"]
)
def test_an_sqlite_with_the_wal_reset_bug_is_refused(version: str) -> None:
    """Every version from the first WAL to 3.51.2, save the two backports, is refused with what to install."""
    with pytest.raises(ConfigError, match=rf"SQLite {version} .*pip install"):
        check_sqlite_version(version)


@pytest.mark.parametrize(
    "version", ["3.44.6", "3.50.7", "3.51.3", "3.52.0", "3.54.1", "3.100.0", "4.0.0", apsw.sqlite_lib_version()]
)
def test_a_fixed_sqlite_is_taken(version: str) -> None:
    """3.51.3 and later, and the backports 3.44.6 and 3.50.7, carry the fix; so does the one we run on."""
    check_sqlite_version(version)


def test_an_old_sqlite_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check runs before the file is touched."""
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(ConfigError, match="WAL"):
        asyncio.run(open_store(tmp_path / "pay.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_fresh_file_is_ours_durable_and_private(tmp_path: Path) -> None:
    """WAL, synchronous=FULL, our application id, the newest schema, and nobody else may read it."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        connection = store._writer._connection
        assert connection is not None
        assert connection.pragma("journal_mode") == "wal"
        assert connection.pragma("synchronous") == 2
        assert connection.pragma("fullfsync") == 1
        assert connection.pragma("application_id") == APPLICATION_ID
        assert connection.pragma("user_version") == len(schema.migrations()) >= 1
        assert {stat.S_IMODE(f.stat().st_mode) for f in tmp_path.iterdir()} == {0o600}
        assert store.path == tmp_path / "pay.db"
        await store.close()

    asyncio.run(main())


def test_many_may_create_one_file_at_once(tmp_path: Path) -> None:
    """Eight openers of a file that does not exist all succeed, and see each other's payments."""

    async def main() -> None:
        for round_ in range(3):
            path = tmp_path / f"{round_}.db"
            stores = await asyncio.gather(*(open_store(path) for _ in range(8)))
            results = await asyncio.gather(*(store.commit(accept(n), 0) for n, store in enumerate(stores)))
            assert results == [Committed()] * 8
            assert {len(await store.ids("", 100)) for store in stores} == {8}
            await asyncio.gather(*(store.close() for store in stores))

    asyncio.run(main())


def test_a_newer_file_is_refused_and_untouched(tmp_path: Path) -> None:
    """A file of a newer payonce: NewerSchema, and not a byte changes."""
    path = tmp_path / "pay.db"
    asyncio.run(_create(path))
    with apsw.Connection(str(path)) as connection:
        connection.execute(f"PRAGMA user_version={len(schema.migrations()) + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(NewerSchema, match="newer payonce"):
        asyncio.run(open_store(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("setup", ["CREATE TABLE t (x)", "PRAGMA application_id=7", "PRAGMA user_version=3"])
def test_a_foreign_database_is_refused_and_untouched(tmp_path: Path, setup: str) -> None:
    """A database of another application is refused by name and stays as it was: journal mode included."""
    path = tmp_path / "other.db"
    connection = apsw.Connection(str(path))
    connection.execute(setup)
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"other\.db is a database of another application"):
        asyncio.run(open_store(path))
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_untouched(tmp_path: Path) -> None:
    """Any other file is refused by name."""
    path = tmp_path / "notes.txt"
    path.write_bytes(b"dear diary, " * 100)
    with pytest.raises(ConfigError, match=r"notes\.txt is not an SQLite database"):
        asyncio.run(open_store(path))
    assert path.read_bytes() == b"dear diary, " * 100


def test_an_older_file_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file at an earlier number gets exactly the scripts it lacks; a script that fails leaves it as it was."""
    path = tmp_path / "pay.db"
    asyncio.run(_create(path))
    known = schema.migrations()
    monkeypatch.setattr(
        schema, "migrations", lambda: (*known, "CREATE TABLE later (x); INSERT INTO later VALUES (1); nonsense")
    )
    with pytest.raises(Exception, match="nonsense"):
        asyncio.run(open_store(path))
    monkeypatch.setattr(schema, "migrations", lambda: (*known, "CREATE TABLE later (x); INSERT INTO later VALUES (1)"))

    async def main() -> None:
        for _ in range(2):
            store = await open_store(path, executor="inline")
            connection = store._writer._connection
            assert connection is not None
            assert connection.execute("SELECT * FROM later").fetchall() == [(1,)]
            assert connection.pragma("user_version") == len(known) + 1
            assert await store.ids("", 10) == (payment_id(1),)
            await store.close()

    asyncio.run(main())


def test_a_row_of_a_newer_payonce_is_left_as_it_is(tmp_path: Path) -> None:
    """ "A row written by a newer schema raises NewerSchema and is left as it is": it stays due, and is not written over."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        change = accept(1, due_us=5)
        await store.commit(change, 0)
        _edit(tmp_path / "pay.db", f"UPDATE payments SET schema = {SCHEMA + 1}, document = x'7b'")  # noqa: S608 - a number
        for call in (
            store.get(payment_id(1)),
            store.list(DEFAULT, Filters(), 10),
            store.commit(grow(change.payment, note_event()), 1),
            store.commit(accept(1), 0),
        ):
            with pytest.raises(NewerSchema):
                await call
        assert await store.due(5, 10) == (Due(payment_id(1), 5),)
        assert len(await store.history(payment_id(1))) == 1
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE payments SET version = 2",
        "UPDATE payments SET head = 'x'",
        "UPDATE payments SET document = x'78'",
        "UPDATE payments SET id = 'pay_00000000000000000001'",
        "UPDATE payments SET document = x'7b7d'",
    ],
)
def test_a_row_that_does_not_fit_its_document_is_not_believed(tmp_path: Path, edit: str) -> None:
    """After a read the document must be the one its columns name: InvariantViolated otherwise."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", executor="inline")
        await store.commit(accept(2), 0)
        _edit(tmp_path / "pay.db", edit)
        (id,) = await store.ids("", 10)
        with pytest.raises(InvariantViolated, match="payonce verify"):
            await store.get(id)
        await store.close()

    asyncio.run(main())


def test_an_unreadable_event_is_named(tmp_path: Path) -> None:
    """Bytes that are no event: InvariantViolated; an event of a newer payonce: NewerSchema."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", executor="inline")
        await store.commit(accept(1), 0)
        _edit(tmp_path / "pay.db", "UPDATE events SET raw = x'7b'")
        with pytest.raises(InvariantViolated, match="event 1 of pay_"):
            await store.history(payment_id(1))
        _edit(tmp_path / "pay.db", """UPDATE events SET raw = CAST('{"v":999,"new":"shape"}' AS BLOB)""")
        with pytest.raises(NewerSchema, match="Event 1 of pay_"):
            await store.history(payment_id(1))
        await store.close()

    asyncio.run(main())


def test_check_finds_damage(tmp_path: Path) -> None:
    """ "ok" for a sound file; otherwise what SQLite found."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", executor="inline")
        await asyncio.gather(*(store.commit(accept(n), 0) for n in range(20)))
        assert await store.check() == "ok"
        await store.close()
        pages = bytearray((tmp_path / "pay.db").read_bytes())
        leaves = (at for at in range(4096, len(pages), 4096) if pages[at] == 0x0D and pages[at + 4] > 4)
        leaf = next(at for at in leaves if b'"Accepted"' in pages[at : at + 4096])  # of events, not of the schema
        pages[leaf + 8 : leaf + 16] = b"\xff" * 8  # where its rows are
        (tmp_path / "pay.db").write_bytes(pages)
        store = await open_store(tmp_path / "pay.db", executor="inline")
        assert await store.check() not in ("", "ok")
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        (Filters(), "payments_newest"),
        (Filters(status="SUCCESS"), "payments_status"),
        (Filters(provider="mock_a"), "payments_provider"),
        (Filters(currency="EUR"), "payments_currency"),
        (Filters(client_id="web"), "payments_client"),
        (Filters(attention=True), "payments_attention"),
        (Filters(created_from_us=1, created_before_us=9), "payments_newest"),
    ],
)
def test_every_filter_has_its_index(tmp_path: Path, filters: Filters, index: str) -> None:
    """A page is read from one index, in its order: no scan of the table and no sorting."""
    cursor = None

    async def main() -> None:
        nonlocal cursor
        store = await open_store(tmp_path / "pay.db", executor="inline")
        for n in range(3):
            await store.commit(accept(n), 0)
        cursor = (await store.list(DEFAULT, Filters(), 1)).next
        await store.close()

    asyncio.run(main())
    plan = _plan(tmp_path / "pay.db", lambda connection: reads.page(connection, DEFAULT, filters, 10, cursor))
    assert len(plan) == 1
    assert f"SEARCH payments USING INDEX {index}" in plan[0]


def test_due_and_refs_are_read_from_an_index(tmp_path: Path) -> None:
    """What the sweeper and the webhooks ask all day costs one search each."""
    asyncio.run(_create(tmp_path / "pay.db"))
    for ask in (
        lambda c: reads.due(c, 10, 10),
        reads.next_due,
        lambda c: reads.find_ref(c, "v", None),
        lambda c: reads.find_ref(c, "v", "a"),
        lambda c: reads.find_key(c, "m", "test", "k"),
        lambda c: reads.history(c, "p", 0, 10),
        lambda c: reads.ids(c, "", 10),
    ):
        plan = _plan(tmp_path / "pay.db", ask)
        assert plan[0].startswith("SEARCH"), plan
        assert not any("ORDER BY" in step for step in plan), plan


def _plan(path: Path, ask: object) -> list[str]:
    """How SQLite would answer what ``ask`` executes."""
    connection, asked = apsw.Connection(str(path)), []

    def note(cursor: apsw.Cursor, sql: str, values: object) -> bool:
        asked.append((sql, values))
        return True

    connection.exec_trace = note
    ask(connection)  # type: ignore[operator]
    connection.exec_trace = None
    ((sql, values),) = asked
    plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql, values)]
    connection.close()
    return plan


def _edit(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()


async def _create(path: Path) -> None:
    store = await open_store(path, executor="inline")
    await store.commit(accept(1), 0)
    await store.close()
