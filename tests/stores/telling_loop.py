"""A process of its own for the tests: commits payments that fail at once, each with news and a notice, and hands over and tries
what it finds noticed, until it is done or killed.

usage: telling_loop.py PATH FIRST COUNT      ("ACK id" for each committed piece of news, "TOLD id" for each delivery that this
                                             process handed over, "TRIED id" for each that it settled; then "END")
"""

import asyncio
import sys

from msgspec.structs import replace

from payonce.core import news
from payonce.core.events import Judged
from payonce.mail import Delivery
from payonce.ports import Committed
from payonce.stores.sqlite import SqliteStore, open_store
from payonce.testing.store_changes import START_US, accept, grow

AT_ONCE = 10
NOTICES = 20


async def fail(store: SqliteStore, number: int) -> None:
    created = accept(number, at_us=START_US + number, due_us=None)
    failed = grow(created.payment, Judged(what="FAILED", reason="attempts_exhausted"), at_us=START_US + number, notify=True)
    assert failed.news == (2,)
    for expected, change in enumerate([created, failed]):
        if not isinstance(await store.commit(change, expected), Committed):
            raise SystemExit(f"{change.payment.id} at {expected}")
    print("ACK", failed.payment.id, flush=True)


async def tell(store: SqliteStore, payment_id: str) -> None:
    history, seq = await store.history(payment_id), await store.outbox.noticed(payment_id)
    if seq is None:  # the other process was faster
        return
    told = [delivery_of(n) for n in news.of_history(history) if n.seq >= seq]
    if not await store.outbox.hand_over(payment_id, len(history), told):
        raise SystemExit(f"{payment_id} is not at {len(history)}")
    for each in told:
        print("TOLD", each.id, flush=True)
        if await store.outbox.settle(replace(each, state="delivered", tries=1, status=200, due_us=None)):
            print("TRIED", each.id, flush=True)


def delivery_of(told: news.News) -> Delivery:
    p = told.payment
    return Delivery(
        id=f"dlv_{told.id[4:]}",
        endpoint_id="whe_1",
        merchant_id=p.merchant_id,
        mode=p.mode,
        event_id=told.id,
        type=told.type,
        payment_id=p.id,
        seq=told.seq,
        created_us=told.at_us,
        due_us=told.at_us,
    )


async def main(path: str, first: int, count: int) -> None:
    store = await open_store(path, busy_timeout_ms=20_000)
    print("OPEN", flush=True)
    for start in range(first, first + count, AT_ONCE):
        waiting = await store.outbox.notices(2**62, NOTICES)
        await asyncio.gather(
            *(fail(store, n) for n in range(start, min(start + AT_ONCE, first + count))),
            *(tell(store, each.id) for each in waiting),
        )
    while waiting := await store.outbox.notices(2**62, NOTICES):
        await asyncio.gather(*(tell(store, each.id) for each in waiting))
    await store.close()
    print("END", flush=True)


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
