"""A process of its own for the tests: commits payments until it is done or killed, and prints what was acknowledged.

usage: commit_loop.py PATH FIRST COUNT      (every payment: created, then one more event; "ACK id version" a line)
"""

import asyncio
import sys

from payonce.ports import Committed
from payonce.stores.sqlite import SqliteStore, open_store
from payonce.testing.store_changes import accept, grow, note_event

AT_ONCE = 20


async def one(store: SqliteStore, number: int) -> None:
    created = accept(number, key=f"key-{number}")
    for expected, change in enumerate([created, grow(created.payment, note_event(), due_us=number)]):
        result = await store.commit(change, expected)
        if not isinstance(result, Committed):
            raise SystemExit(f"{change.payment.id} at {expected}: {result}")
        print("ACK", change.payment.id, change.payment.version, flush=True)


async def main(path: str, first: int, count: int) -> None:
    store = await open_store(path, busy_timeout_ms=20_000)
    print("OPEN", flush=True)
    for start in range(first, first + count, AT_ONCE):
        await asyncio.gather(*(one(store, n) for n in range(start, min(start + AT_ONCE, first + count))))
    await store.close()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
