"""Point questions are answered in the calling thread: they never wait for a lock, and are bounded in rows."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from payonce.core.errors import StoreUnavailable
from payonce.ports import Committed, Ref, Scope
from payonce.stores.sqlite import SqliteStore, looking, open_store
from payonce.stores.sqlite.looking import NEAR_ROWS
from payonce.testing.store_changes import accept, payment_id

SCOPE = Scope("mer_default", "test")
QUESTIONS: dict[str, Callable[[SqliteStore], Awaitable[Any]]] = {
    "get": lambda store: store.get(payment_id(1)),
    "find_key": lambda store: store.find_key(SCOPE, "k1"),
    "find_ref": lambda store: store.find_ref("ch_1"),
    "bodies": lambda store: store.bodies([(payment_id(1), "0")]),
    "due": lambda store: store.due(2**62, NEAR_ROWS),
    "next_due": lambda store: store.next_due(),
    "due_of": lambda store: store.due_of(payment_id(1)),
    "noticed": lambda store: store.outbox.noticed(payment_id(1)),
    "notices": lambda store: store.outbox.notices(2**62, NEAR_ROWS),
    "delivery": lambda store: store.outbox.get("d"),
    "webhook": lambda store: store.inbox.get("w"),
    "webhooks": lambda store: store.inbox.due(2**62, NEAR_ROWS),
}


def with_store(path: Path, test: Callable[[SqliteStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = await open_store(path)
        for n in range(1, 4):
            change = accept(n, key=f"k{n}", refs=(Ref("mock_a", "charge", "ch_1"),))
            assert await store.commit(change, 0) == Committed()
        try:
            await test(store)
        finally:
            await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_is_asked_in_the_calling_thread(tmp_path: Path, question: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread is woken, also while another process holds the write lock and another one is in the middle of a checkpoint."""

    async def test(store: SqliteStore) -> None:
        lock = apsw.Connection(str(tmp_path / "pay.db"))
        lock.execute("BEGIN IMMEDIATE; INSERT INTO registry VALUES ('k', 'n', 1, x'00')")
        monkeypatch.setattr(looking.Readers, "_ask", None)
        await QUESTIONS[question](store)
        lock.execute("COMMIT")
        lock.pragma("wal_checkpoint", "TRUNCATE")
        await QUESTIONS[question](store)
        lock.close()
        monkeypatch.undo()

    with_store(tmp_path / "pay.db", test)


def test_it_sees_what_was_committed_before(tmp_path: Path) -> None:
    """No snapshot is kept between two questions: also not of what another connection wrote."""

    async def test(store: SqliteStore) -> None:
        other = await open_store(tmp_path / "pay.db")
        for n in range(10, 40):
            writer, reader = (store, other) if n % 2 else (other, store)
            assert await reader.get(payment_id(n)) is None
            assert await writer.commit(accept(n), 0) == Committed()
            assert await reader.get(payment_id(n)) == accept(n).payment
        await other.close()

    with_store(tmp_path / "pay.db", test)


def test_what_it_would_have_to_wait_for_a_thread_waits_for(tmp_path: Path) -> None:
    """While another process has the whole file for itself the near connection is refused at once, and a thread waits: the loop
    goes on, and the question is answered when the file is free."""

    async def test(store: SqliteStore) -> None:
        near = store._readers._near
        assert near is not None
        busy = apsw.BusyError("recovering")
        store._readers._near = _Refusing(near, busy)  # type: ignore[assignment]
        assert (await store.get(payment_id(1))) == accept(1, key="k1").payment
        store._readers._near = near
        assert near.pragma("busy_timeout") == 0

    with_store(tmp_path / "pay.db", test)


class _Refusing:
    def __init__(self, real: apsw.Connection, error: Exception) -> None:
        self.real, self.error = real, error

    def execute(self, *_: object) -> None:
        raise self.error


def test_many_rows_are_a_thread_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question for more rows than a few, and one that turns out to have as many, do not hold up the loop; all of them are
    found."""

    async def test(store: SqliteStore) -> None:
        threads = set[str]()
        ask = looking.Readers._ask
        note = lambda self, asked: (threads.add(threading.current_thread().name), ask(self, asked))[1]  # noqa: E731
        monkeypatch.setattr(looking.Readers, "_ask", note)
        assert len(await store.due(2**62, NEAR_ROWS + 1)) == 3
        assert {name[:14] for name in threads} == {"payonce-reader"}
        threads.clear()
        monkeypatch.setattr(looking, "NEAR_ROWS", 3)
        assert await store.find_ref("ch_1") == tuple(payment_id(n) for n in range(1, 4))
        assert len(threads) == 1

    with_store(tmp_path / "pay.db", test)


def test_two_threads_may_ask_one_store(tmp_path: Path) -> None:
    """Loops in several threads get right answers; the near connection is one's at a time."""

    async def test(store: SqliteStore) -> None:
        async def many(n: int) -> None:
            for _ in range(100):
                found = await store.get(payment_id(n))
                assert found is not None
                assert found.id == payment_id(n)

        await asyncio.gather(*(asyncio.to_thread(lambda n=n: asyncio.run(many(n))) for n in (1, 2, 3)))

    with_store(tmp_path / "pay.db", test)


def test_a_damaged_row_and_a_closed_store_say_so(tmp_path: Path) -> None:
    """What the near connection raises is what a thread would have raised, in the words of the store."""

    async def test(store: SqliteStore) -> None:
        with apsw.Connection(str(tmp_path / "pay.db")) as other:
            other.execute("UPDATE payments SET head = CAST(x'ff' AS TEXT) WHERE id = ?", (payment_id(2),))
        with pytest.raises(StoreUnavailable, match="not UTF-8"):
            await store.get(payment_id(2))
        await store.close()
        for question in QUESTIONS.values():
            with pytest.raises(StoreUnavailable, match="closed"):
                await question(store)

    with_store(tmp_path / "pay.db", test)
