"""The writer: many changes in one transaction, each for itself."""

import asyncio
from pathlib import Path
from typing import Any

import apsw
import pytest

from payonce.core.apply import fold
from payonce.core.errors import InvariantViolated, StoreUnavailable
from payonce.ports import Committed, Conflict, Filters, Scope, Unclear
from payonce.stores.sqlite import open_store, writer
from payonce.stores.sqlite.schema import open_file
from payonce.stores.sqlite.writer import BATCH_MAX, Job, Writer
from payonce.stores.sqlite.writes import pending
from payonce.testing.store_changes import accept, grow, note_event, payment_id


def test_changes_that_arrive_together_share_a_transaction(tmp_path: Path) -> None:
    """Two hundred commits that gather while the file is locked end in at most two transactions."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        before = store.transactions
        lock = apsw.Connection(str(tmp_path / "pay.db"))
        lock.execute("BEGIN IMMEDIATE")
        commits = [asyncio.ensure_future(store.commit(accept(n), 0)) for n in range(200)]
        await asyncio.sleep(0)  # every one is in the queue now
        lock.execute("ROLLBACK")
        assert await asyncio.gather(*commits) == [Committed()] * 200
        assert 1 <= store.transactions - before <= 2
        lock.close()
        await store.close()

    asyncio.run(main())


def test_a_transaction_has_a_limit(tmp_path: Path) -> None:
    """A crowd larger than the limit is spread over several transactions, all in the order of arrival."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        before = store.transactions
        lock = apsw.Connection(str(tmp_path / "pay.db"))
        lock.execute("BEGIN IMMEDIATE")
        commits = [asyncio.ensure_future(store.commit(accept(n), 0)) for n in range(2 * BATCH_MAX + 1)]
        await asyncio.sleep(0)
        lock.execute("ROLLBACK")
        await asyncio.gather(*commits)
        assert store.transactions - before >= 3
        lock.close()
        await store.close()

    asyncio.run(main())


def test_a_lone_change_is_committed_at_once(tmp_path: Path) -> None:
    """Without a crowd every commit is its own transaction: nothing waits for company."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        before = store.transactions
        for n in range(5):
            await store.commit(accept(n), 0)
        assert store.transactions - before == 5
        await store.close()

    asyncio.run(main())


def test_rivals_in_one_transaction_see_each_other(tmp_path: Path) -> None:
    """In one batch the first of two creators with one key wins, the second learns of it, and a third change stands."""
    writing = _writer(tmp_path / "pay.db")
    jobs = [Job(pending(accept(n, key=key), 0)) for n, key in [(1, "k"), (2, "k"), (3, "")]]
    writing.write(jobs)
    assert [job.result for job in jobs] == [Committed(), Conflict(key=accept(1, key="k").key), Committed()]
    assert writing.transactions == 1
    writing.close()


def test_an_unexpected_error_undoes_only_its_own_change(tmp_path: Path) -> None:
    """A change that fails half way, after its row was written, leaves nothing; its neighbours commit."""

    async def main() -> None:
        path = tmp_path / "pay.db"
        writing = _writer(path)
        orphan = grow(accept(2).payment, note_event()).entries[0]
        connection = writing._connection
        assert connection is not None
        connection.execute(
            "INSERT INTO events (payment_id, seq, raw, hash) VALUES (?, ?, ?, ?)", (payment_id(2), 1, orphan.raw, "left over")
        )
        broken = [pending(accept(2, key="k"), 0), _raises(OverflowError("no int")), _raises(apsw.ConstraintError("no"))]
        jobs = [Job(pending(accept(1), 0)), *(Job(each) for each in broken), Job(pending(accept(3), 0))]
        writing.write(jobs)
        assert [job.result for job in jobs if job.error is None] == [Committed(), Committed()]
        assert [type(job.error) for job in jobs[1:-1]] == [InvariantViolated] * 3
        assert isinstance(jobs[1].error.__cause__, apsw.ConstraintError)
        writing.close()
        store = await open_store(path)
        assert await store.ids("", 10) == (payment_id(1), payment_id(3))
        assert await store.find_key(Scope("mer_default", "test"), "k") is None
        assert [due.payment_id for due in await store.due(10**18, 10)] == [payment_id(1), payment_id(3)]
        await store.close()

    asyncio.run(main())


def test_nobody_learns_what_was_seen_in_a_transaction_that_failed(tmp_path: Path) -> None:
    """When a batch fails, its conflicts were with rows that do not exist: everyone is told "nothing was written"."""
    writing = _writer(tmp_path / "pay.db")
    jobs = [Job(pending(accept(1, key="k"), 0)), Job(pending(accept(2, key="k"), 0)), Job(_raises(apsw.FullError("full")))]
    writing.write(jobs)
    assert [type(job.error) for job in jobs] == [StoreUnavailable] * 3
    assert len({id(job.error) for job in jobs}) == 3
    assert all(isinstance(job.error.__cause__, apsw.FullError) for job in jobs if job.error)
    again = Job(pending(accept(2, key="k"), 0))
    writing.write([again])
    assert again.result == Committed()
    writing.close()


def test_what_is_committed_is_there_after_a_reopen(tmp_path: Path) -> None:
    """Rows, histories, keys, due times and order are the same in a store opened later."""

    async def main() -> None:
        first = await open_store(tmp_path / "pay.db")
        changes = [accept(n, key=f"k{n}", due_us=n, at_us=n) for n in range(100)]
        await asyncio.gather(*(first.commit(change, 0) for change in changes))
        await first.close()
        assert sorted(f.name for f in tmp_path.iterdir()) == ["pay.db"]
        second = await open_store(tmp_path / "pay.db", executor="inline")
        for change in changes:
            assert await second.get(change.payment.id) == change.payment == fold(await second.history(change.payment.id))
        scope = Scope("mer_default", "test")
        assert await second.find_key(scope, "k7") == changes[7].key
        assert (await second.list(scope, Filters(), 100)).payments == tuple(c.payment for c in reversed(changes))
        assert [due.due_us for due in await second.due(1000, 1000)] == list(range(100))
        await second.close()

    asyncio.run(main())


def test_more_than_the_queue_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that is full refuses at once, with nothing written; what it took is committed."""
    monkeypatch.setattr(writer, "PENDING_MAX", 10)

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        lock = apsw.Connection(str(tmp_path / "pay.db"))
        lock.execute("BEGIN IMMEDIATE")
        commits = [asyncio.ensure_future(store.commit(accept(n), 0)) for n in range(30)]
        await asyncio.sleep(0)
        lock.execute("ROLLBACK")
        results = await asyncio.gather(*commits, return_exceptions=True)
        taken = [n for n, result in enumerate(results) if result == Committed()]
        assert taken[:10] == list(range(10))
        assert {type(r) for n, r in enumerate(results) if n not in taken} == {StoreUnavailable}
        assert await store.ids("", 100) == tuple(payment_id(n) for n in taken)
        lock.close()
        await store.close()

    asyncio.run(main())


def test_a_canceled_caller_does_not_disturb_the_others(tmp_path: Path) -> None:
    """Whoever stops waiting learns nothing; the write stands, and so do its neighbours'."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        commits = [asyncio.ensure_future(store.commit(accept(n), 0)) for n in range(3)]
        await asyncio.sleep(0)
        commits[1].cancel()
        results = await asyncio.gather(*commits, return_exceptions=True)
        assert isinstance(results[1], asyncio.CancelledError)
        assert results[0] == results[2] == Committed()
        assert len(await store.ids("", 10)) == 3
        await store.close()

    asyncio.run(main())


def test_one_store_serves_several_loops(tmp_path: Path) -> None:
    """A store outlives the event loop that opened it."""

    async def opened() -> Any:
        return await open_store(tmp_path / "pay.db")

    store = asyncio.run(opened())
    assert not isinstance(asyncio.run(store.commit(accept(1), 0)), Unclear)
    assert asyncio.run(store.get(payment_id(1))) == accept(1).payment
    asyncio.run(store.close())


def _writer(path: Path) -> Writer:
    return Writer(path, lambda: open_file(path, 1000))


def _raises(error: Exception) -> Any:
    def write(connection: apsw.Connection) -> object:
        connection.execute("INSERT INTO due VALUES ('payment', 'half', 1)")
        raise error

    return write
