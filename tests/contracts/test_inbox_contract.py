"""The inbox contract over every inbox in the house; and what only files and processes can show."""

import asyncio
import os
import subprocess
import sys
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import apsw
import pytest
from tests.stores.older_files import set_back

from payonce.core.errors import StoreUnavailable
from payonce.mail import Inbox, WebhookPage
from payonce.stores.memory import MemoryInbox
from payonce.stores.sqlite import open_store, open_to_read
from payonce.testing.inbox_contract import InboxContract, webhook
from payonce.testing.store_changes import accept, payment_id

DELIVERIES = 60
# Two of these share a file: each delivers the same webhooks, and settles those that nobody settled yet.
DELIVER = """
import asyncio, sys
from pathlib import Path
from msgspec.structs import replace
from payonce.stores.sqlite import open_store
from payonce.testing.inbox_contract import webhook

async def main():
    store = await open_store(Path(sys.argv[1]), busy_timeout_ms=20_000)
    print("OPEN", flush=True)
    sys.stdin.readline()
    new = settled = 0
    for n in range(int(sys.argv[2])):
        new += await store.inbox.put(webhook(n))
        row = await store.inbox.get(webhook(n).id)
        settled += row.version == 1 and await store.inbox.settle(replace(row, state="matched", due_us=None))
    await store.close()
    print(new, settled)

asyncio.run(main())
"""


class TestMemory(InboxContract):
    @pytest.fixture(autouse=True)
    def _places(self) -> None:
        self.places: dict[Path, MemoryInbox] = defaultdict(MemoryInbox)

    async def open(self, folder: Path, stack: AsyncExitStack) -> Inbox:
        return self.places[folder]


class TestSqliteInline(InboxContract):
    async def open(self, folder: Path, stack: AsyncExitStack) -> Inbox:
        store = await open_store(folder / "pay.db", executor="inline")
        stack.push_async_callback(store.close)
        return store.inbox


class TestSqliteThreads(InboxContract):
    async def open(self, folder: Path, stack: AsyncExitStack) -> Inbox:
        store = await open_store(folder / "pay.db", executor="threads")
        stack.push_async_callback(store.close)
        return store.inbox


def test_two_processes_keep_each_once(tmp_path: Path) -> None:
    """Two processes that take the same deliveries at the same time: each webhook is new for one of them and settled by one."""
    command = [sys.executable, "-c", DELIVER, str(tmp_path / "pay.db"), str(DELIVERIES)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as two,
    ):
        try:
            assert all(p.stdout is not None and p.stdout.readline() == "OPEN\n" for p in (one, two))
            for p in (one, two):  # both are up: now they race
                assert p.stdin is not None
                p.stdin.write("go\n")
                p.stdin.flush()
            out = [p.communicate(timeout=60)[0] for p in (one, two)]
        finally:
            one.kill()
            two.kill()
    new, settled = (sum(numbers) for numbers in zip(*([int(n) for n in text.split()] for text in out), strict=True))
    assert (new, settled) == (DELIVERIES, DELIVERIES)

    async def check() -> None:
        store = await open_store(tmp_path / "pay.db", executor="inline")
        assert await store.inbox.counts() == {"matched": DELIVERIES}
        rows = [await store.inbox.get(webhook(n).id) for n in range(DELIVERIES)]
        assert {row.deliveries for row in rows if row} == {2}
        await store.close()

    asyncio.run(check())


def test_it_survives_and_shares_the_file_with_payments(tmp_path: Path) -> None:
    """Webhooks and payments are written by the same writer and are there when the file is opened again; a webhook's due time
    is no payment's, although both stand in one index."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        await asyncio.gather(
            *(store.commit(accept(n), 0) for n in range(20)), *(store.inbox.put(webhook(n)) for n in range(20))
        )
        await store.close()
        store = await open_store(tmp_path / "pay.db", executor="inline")
        assert len(await store.ids("", 100)) == len(await store.inbox.due(2**62, 100)) == 20
        assert {row.payment_id for row in await store.due(2**62, 100)} == {payment_id(n) for n in range(20)}
        assert await store.check() == "ok"
        await store.close()

    asyncio.run(main())


def test_a_closed_inbox_says_so(tmp_path: Path) -> None:
    """ "A closed, full, busy or read-only store raises StoreUnavailable." """

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        await store.close()
        for asked in (store.inbox.put(webhook(1)), store.inbox.settle(webhook(1)), store.inbox.forget(1, 1)):
            with pytest.raises(StoreUnavailable):
                await asked
        with pytest.raises(StoreUnavailable):
            await store.inbox.list(1)

    asyncio.run(main())


def test_a_busy_file_says_so_and_is_unchanged(tmp_path: Path) -> None:
    """While another process holds the write lock too long nothing is written, and reading goes on."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", busy_timeout_ms=10)
        other = apsw.Connection(str(tmp_path / "pay.db"))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="write lock"):
            await store.inbox.put(webhook(1))
        assert await store.inbox.get(webhook(1).id) is None
        other.execute("ROLLBACK")
        other.close()
        assert await store.inbox.put(webhook(1))
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("known", [False, True], ids=["a new one", "a known one"])
def test_a_full_file_takes_nothing_and_recovers(tmp_path: Path, known: bool) -> None:
    """SQLITE_FULL in the middle: neither the webhook nor its due time; when there is room it is taken."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", executor="inline")
        connection = store._writer._connection
        assert connection is not None
        big = webhook(1, body=os.urandom(200_000))
        if known:
            assert await store.inbox.put(webhook(2))
        connection.execute(f"PRAGMA max_page_count={connection.pragma('page_count') + 2}")
        with pytest.raises(StoreUnavailable, match="disk is full"):
            await store.inbox.put(big)
        assert (await store.inbox.get(big.id), await store.inbox.due(big.received_us, 10)) == (None, ())
        connection.execute("PRAGMA max_page_count=1000000")
        assert await store.inbox.put(big)
        assert await store.check() == "ok"
        await store.close()

    asyncio.run(main())


def test_a_file_opened_to_read_shows_it_and_takes_nothing(tmp_path: Path) -> None:
    """The read-only way in sees the webhooks of a server that runs, and refuses to write."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db")
        assert await store.inbox.put(webhook(1))
        looking = await open_to_read(tmp_path / "pay.db")
        assert await looking.inbox.get(webhook(1).id) == webhook(1)
        assert await looking.inbox.counts() == {"new": 1}
        for asked in (looking.inbox.put(webhook(2)), looking.inbox.settle(webhook(1)), looking.inbox.forget(2**62, 1)):
            with pytest.raises(StoreUnavailable, match="read only"):
                await asked
        await looking.close()
        await store.close()

    asyncio.run(main())


def file_of_schema_2(path: Path) -> None:
    """A file as releases before the inbox made it: with a payment and a record, closed."""

    async def main() -> None:
        store = await open_store(path, executor="inline")
        await store.commit(accept(1), 0)
        await store.registry.put("drain", "mock", b"x", 0)
        await store.close()

    asyncio.run(main())
    set_back(path, 2)
    connection = apsw.Connection(str(path))
    assert connection.pragma("user_version") == 2
    assert not connection.table_exists("main", "inbox")
    connection.close()


def test_a_file_of_schema_2_gets_an_inbox(tmp_path: Path) -> None:
    """The first start of this version migrates it: payments and records are as they were, and webhooks can be kept."""
    path = tmp_path / "pay.db"
    file_of_schema_2(path)

    async def main() -> None:
        store = await open_store(path)
        assert await store.get(payment_id(1)) == accept(1).payment
        assert len(await store.registry.all("drain")) == 1
        assert await store.inbox.put(webhook(1))
        assert await store.check() == "ok"
        await store.close()

    asyncio.run(main())


def test_a_backup_of_schema_2_can_be_looked_at(tmp_path: Path) -> None:
    """Opened to read only it is not migrated: its inbox is empty, verifying it finds nothing, not a byte changes."""
    path = tmp_path / "pay.db"
    file_of_schema_2(path)
    before = path.read_bytes()

    async def main() -> None:
        looking = await open_to_read(path)
        assert await looking.inbox.list(10) == WebhookPage((), None)
        assert (await looking.inbox.get("wh_1"), await looking.inbox.counts(), await looking.inbox.due(1, 1)) == (None, {}, ())
        assert (await looking.strays(), await looking.damage()) == ((), ())
        await looking.close()

    asyncio.run(main())
    assert path.read_bytes() == before


def test_a_webhook_that_nobody_will_look_at_is_found(tmp_path: Path) -> None:
    """`payonce verify` says when a webhook is open and not due, and when a due time has no webhook."""

    async def main() -> None:
        store = await open_store(tmp_path / "pay.db", executor="inline")
        assert await store.inbox.put(webhook(1))
        assert await store.inbox.put(webhook(2, state="matched", due_us=None))
        await store.close()
        connection = apsw.Connection(str(tmp_path / "pay.db"))
        connection.execute("UPDATE due SET id = 'wh_gone' WHERE kind = 'webhook'")
        connection.close()
        looking = await open_to_read(tmp_path / "pay.db")
        assert [stray.says for stray in await looking.strays()] == [
            "a due time of no webhook: webhook",
            "a webhook that nobody will look at: new",
        ]
        await looking.close()

    asyncio.run(main())
