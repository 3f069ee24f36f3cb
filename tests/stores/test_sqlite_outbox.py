"""Feed and outbox in the payments file: trouble, files of older schemas, and what a question costs."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace
from tests.stores.older_files import set_back

from payonce.core.errors import InvariantViolated, StoreUnavailable
from payonce.core.events import Judged
from payonce.core.payment import Payment
from payonce.mail import DeliveryPage
from payonce.ports import Fed, Scope
from payonce.stores.sqlite import SqliteStore, open_store, open_to_read, outbox, reads
from payonce.stores.sqlite.outbox import STATES, Wanted
from payonce.testing.outbox_contract import delivery
from payonce.testing.store_changes import START_US, accept, grow, newsworthy, payment_id, put

FAR_US = 2**62
DEFAULT = Scope("mer_default", "test")


async def fail(store: SqliteStore, number: int) -> Payment:
    """A payment with real news, noticed."""
    p = await put(store, accept(number, due_us=None))
    return await put(store, grow(p, Judged(what="FAILED", reason="attempts_exhausted"), notify=True))


def test_news_survive_and_share_the_file(tmp_path: Path) -> None:
    """Payments, notices and deliveries are written by the same writer and are there when the file is opened again; none of
    their due times is taken for another's."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        await asyncio.gather(*(fail(store, n) for n in range(20)), *(store.outbox.add(delivery(n + 100)) for n in range(20)))
        await store.commit(accept(50), 0)
        await store.close()
        store = await open_store(tmp_path / "pay.db", executor="inline")
        assert len(await store.outbox.notices(FAR_US, 100)) == len(await store.outbox.due(FAR_US, 100)) == 20
        assert ([d.payment_id for d in await store.due(FAR_US, 100)], await store.inbox.due(FAR_US, 9)) == (
            [payment_id(50)],
            (),
        )
        assert len((await store.feed(DEFAULT, 100)).entries) == 20
        assert await store.check() == "ok"
        await store.close()

    asyncio.run(main())


def test_a_closed_outbox_says_so(tmp_path: Path) -> None:
    """ "A closed, full, busy or read-only store raises StoreUnavailable." """

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        await store.close()
        out = store.outbox
        for asked in (
            *(out.notices(1, 1), out.noticed("p"), out.hand_over("p", 1, []), out.put_off("p", 1), out.add(delivery(1))),
            *(out.get("d"), out.list(DEFAULT, 1), out.due(1, 1), out.settle(delivery(1)), out.forget(1, 1), out.counts()),
            store.feed(DEFAULT, 1),
        ):
            with pytest.raises(StoreUnavailable):
                await asked

    asyncio.run(main())


def test_a_busy_file_says_so_and_is_unchanged(tmp_path: Path) -> None:
    """While another process holds the write lock too long nothing is handed over, and reading goes on."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", busy_timeout_ms=10)
        p = await fail(store, 1)
        other = apsw.Connection(str(tmp_path / "pay.db"))
        other.execute("BEGIN IMMEDIATE")
        for asked in (store.outbox.hand_over(p.id, 2, [delivery(1)]), store.outbox.add(delivery(1))):
            with pytest.raises(StoreUnavailable, match="write lock"):
                await asked
        assert (await store.outbox.noticed(p.id), await store.outbox.get(delivery(1).id)) == (2, None)
        other.execute("ROLLBACK")
        other.close()
        assert await store.outbox.hand_over(p.id, 2, [delivery(1)])
        await store.close()

    asyncio.run(main())


def test_a_full_file_takes_nothing_and_recovers(tmp_path: Path) -> None:
    """SQLITE_FULL in the middle of a hand-over: no delivery, no due time, and the notice stands; when there is room it is
    done."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", executor="inline")
        p = await fail(store, 1)
        connection = store._writer._connection
        assert connection is not None
        many = [delivery(n, said="x" * 300) for n in range(200)]
        connection.execute(f"PRAGMA max_page_count={connection.pragma('page_count') + 2}")
        with pytest.raises(StoreUnavailable, match="disk is full"):
            await store.outbox.hand_over(p.id, 2, many)
        assert (await store.outbox.counts(), await store.outbox.due(FAR_US, 10)) == ({}, ())
        assert await store.outbox.noticed(p.id) == 2
        connection.execute("PRAGMA max_page_count=1000000")
        assert await store.outbox.hand_over(p.id, 2, many)
        assert (await store.outbox.counts(), await store.outbox.noticed(p.id)) == ({"pending": 200}, None)
        await store.close()

    asyncio.run(main())


def test_a_change_whose_news_are_wrong_is_refused(tmp_path: Path) -> None:
    """News of an event that is not new, doubled or out of order, or somebody told of nothing: InvariantViolated, and nothing is
    written."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", executor="inline")
        change = accept(1)
        for wrong in ((2,), (0,), (1, 1), (1, 2)):
            with pytest.raises(InvariantViolated):
                await store.commit(replace(change, news=wrong), 0)
        with pytest.raises(InvariantViolated):
            await store.commit(replace(change, notify=True), 0)
        assert await store.get(payment_id(1)) is None
        await store.close()

    asyncio.run(main())


def test_a_file_opened_to_read_shows_it_and_takes_nothing(tmp_path: Path) -> None:
    """The read-only way in sees what a server that runs has to tell, and refuses to write."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        p = await fail(store, 1)
        assert await store.outbox.add(delivery(1))
        looking = await open_to_read(tmp_path / "pay.db")
        out = looking.outbox
        assert (await out.get(delivery(1).id), await out.counts()) == (delivery(1), {"pending": 1})
        assert (await out.noticed(p.id), (await looking.feed(DEFAULT, 9)).entries) == (2, (Fed(p.id, 2),))
        for asked in (
            *(out.hand_over(p.id, 2, []), out.put_off(p.id, 1), out.add(delivery(2))),
            *(out.settle(delivery(1)), out.forget(FAR_US, 1)),
        ):
            with pytest.raises(StoreUnavailable, match="read only"):
                await asked
        await looking.close()
        await store.close()

    asyncio.run(main())


# --- files of older schemas -----------------------------------------------------------------------------------------------


def file_of_schema_3(path: Path) -> None:
    """A file as releases before the feed made it: with an ended payment and one that is under way, closed."""

    async def main() -> None:
        store = await open_store(path, executor="inline")
        await fail(store, 1)
        await put(store, accept(2))
        await store.close()

    asyncio.run(main())
    set_back(path, 3)


def test_a_file_of_schema_3_gets_a_feed_that_begins_now(tmp_path: Path) -> None:
    """The first start of this version migrates it: what was written before is not in the feed and is not missed by verify;
    what comes is in it, also of payments from before, and is missed when it is gone."""
    path = tmp_path / "pay.db"
    file_of_schema_3(path)

    async def main() -> None:
        store = await open_store(path)
        assert (await store.feed(DEFAULT, 10)).entries == ()
        p = await store.get(payment_id(2))
        assert p is not None
        p = await put(store, grow(p, Judged(what="FAILED", reason="attempts_exhausted"), notify=True))
        assert (await store.feed(DEFAULT, 10)).entries == (Fed(p.id, 2),)
        assert [w.id for w in await store.outbox.notices(FAR_US, 10)] == [p.id]
        assert await store.check() == "ok"
        await store.close()
        looking = await open_to_read(path)
        assert [h.elsewhere for h in await looking.held([payment_id(1), payment_id(2)])] == [(), ()]
        assert await looking.strays() == ()
        await looking.close()
        connection = apsw.Connection(str(path))
        connection.execute("DELETE FROM feed")
        connection.close()
        looking = await open_to_read(path)
        assert [bool(h.elsewhere) for h in await looking.held([payment_id(1), payment_id(2)])] == [False, True]
        await looking.close()

    asyncio.run(main())


def test_a_backup_of_schema_3_can_be_looked_at(tmp_path: Path) -> None:
    """Opened to read only it is not migrated: nothing is to be told, verifying it finds nothing, not a byte changes."""
    path = tmp_path / "pay.db"
    file_of_schema_3(path)
    before = path.read_bytes()

    async def main() -> None:
        looking = await open_to_read(path)
        out = looking.outbox
        assert await out.list(DEFAULT, 10) == DeliveryPage((), None)
        assert (await out.get("d"), await out.noticed("p"), await out.counts()) == (None, None, {})
        assert (await out.notices(FAR_US, 9), await out.due(FAR_US, 9)) == ((), ())
        page = await looking.feed(DEFAULT, 10)
        assert (page.entries, page.more) == ((), False)
        assert await looking.feed(DEFAULT, 10, page.next) == page
        assert [h.elsewhere for h in await looking.held([payment_id(1), payment_id(2)])] == [(), ()]
        assert (await looking.strays(), await looking.damage()) == ((), ())
        await looking.close()

    asyncio.run(main())
    assert path.read_bytes() == before


@pytest.mark.parametrize(("news", "found"), [("NULL", False), ("0", True), ("1", True)])
def test_only_who_knew_of_the_feed_can_have_forgotten_it(tmp_path: Path, news: str, found: bool) -> None:
    """An older payonce that is still at work beside this one writes no places: verify does not blame it. It does blame one
    that knew of the feed."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", executor="inline")
        p = await put(store, accept(1))
        failed = grow(p, Judged(what="FAILED", reason="attempts_exhausted"))
        await put(store, replace(failed, news=()))
        await store.close()
        connection = apsw.Connection(str(tmp_path / "pay.db"))
        connection.execute(f"UPDATE events SET news = {news}")  # noqa: S608 - a fixed word
        connection.close()
        looking = await open_to_read(tmp_path / "pay.db")
        (held,) = await looking.held([p.id])
        assert bool(held.elsewhere) == found
        await looking.close()

    asyncio.run(main())


# --- what a question costs ------------------------------------------------------------------------------------------------


def plan(path: Path, ask: Callable[[apsw.Connection], object]) -> list[str]:
    """How SQLite would answer what ``ask`` executes."""
    connection, asked = apsw.Connection(str(path)), []

    def note(cursor: apsw.Cursor, sql: str, values: object) -> bool:
        del cursor
        asked.append((sql, values))
        return True

    connection.exec_trace = note
    ask(connection)
    connection.exec_trace = None
    sql, values = asked[-1]  # before it: is the table there?
    steps = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql, values)]
    connection.close()
    return steps


def test_every_question_goes_through_an_index(tmp_path: Path) -> None:
    """No question reads a whole table or sorts: listings by any filter, what is due or noticed, the feed, what is old."""

    async def create() -> None:
        await (await open_store(tmp_path / "pay.db", executor="inline")).close()

    asyncio.run(create())
    cursor = "MTc1MDAwMDAwMDAwMDAwMCxk"
    pages = [
        Wanted(scope=DEFAULT, limit=10, endpoint_id=endpoint, state=state, payment_id=payment, cursor=after)
        for endpoint in (None, "whe")
        for state in (None, "failed")
        for payment in (None, "pay")
        for after in (None, cursor)
    ]
    for ask in (
        *(lambda c, w=w: outbox._page(c, w) for w in pages),  # type: ignore[misc]
        lambda c: outbox._notices(c, 10, 10),
        lambda c: outbox._noticed(c, "p"),
        lambda c: outbox._get(c, "d"),
        lambda c: outbox._due(c, 10, 10),
        lambda c: outbox._old(c, 10, 10),
        lambda c: reads.feed(c, DEFAULT, 10, None, 7),
    ):
        steps = plan(tmp_path / "pay.db", ask)
        assert not any(step.startswith("SCAN") or "TEMP B-TREE" in step for step in steps), steps
    (counting,) = plan(tmp_path / "pay.db", outbox._counts)
    assert "COVERING INDEX deliveries_old" in counting


STRANGERS = 400


def steps_of(path: Path, ask: Callable[[apsw.Connection], object]) -> int:
    """About how many instructions of SQLite's machine an answer takes."""
    connection, seen = apsw.Connection(str(path)), 0

    def count() -> bool:
        nonlocal seen
        seen += 1
        return False

    ask(connection)  # its statement is ready and its pages are read
    connection.set_progress_handler(count, 1)
    ask(connection)
    connection.close()
    return seen


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in which a merchant has three events and four deliveries among many of others."""
    path = tmp_path_factory.mktemp("crowd") / "pay.db"

    async def fill() -> None:
        store = await open_store(path)
        mine = {0, STRANGERS // 2, STRANGERS - 1}
        await asyncio.gather(
            *(
                store.commit(
                    newsworthy(accept(n, merchant_id="mer_me" if n in mine else f"mer_{n % 3}", at_us=START_US + n)), 0
                )
                for n in range(STRANGERS)
            )
        )
        rows = [
            delivery(n, merchant_id=f"mer_{n % 3}", state=STATES[n % 4], endpoint_id=f"whe_{n % 3}") for n in range(STRANGERS)
        ]
        rows += [delivery(1000 + n, merchant_id="mer_me", state=STATES[n], endpoint_id="whe_me") for n in range(4)]
        await asyncio.gather(*(store.outbox.add(row) for row in rows))
        await store.close()

    asyncio.run(fill())
    return path


def test_a_page_reads_no_other_merchants_rows(crowded: Path) -> None:
    """The work for a page is that for its own rows, however many others have: far less than one step for each of theirs."""
    me = Scope("mer_me", "test")
    asks: list[Callable[[apsw.Connection], object]] = [
        lambda c: reads.feed(c, me, 3, None, 0),
        lambda c: reads.feed(c, me, 3, None, START_US + STRANGERS - 1),
        lambda c: reads.feed(c, me, 3, None, FAR_US),
        *(
            lambda c, e=e, s=s: outbox._page(c, Wanted(scope=me, limit=3, endpoint_id=e, state=s))  # type: ignore[misc]
            for e in (None, "whe_me", "whe_1")
            for s in (None, "delivered")
        ),
    ]
    for number, ask in enumerate(asks):
        assert steps_of(crowded, ask) < 2 * STRANGERS, number
    assert (
        steps_of(crowded, lambda c: c.execute("SELECT * FROM deliveries WHERE +merchant_id = 'x'").fetchall()) > 2 * STRANGERS
    )
