"""Pages of the dashboard over a file with 1,000 payments and one with 1,000,000: the time of each question that a page asks.

    .venv/bin/python -m benchmarks.million --folder /tmp/million            # fills both files once (minutes, 11 GB), then asks
    .venv/bin/python -m benchmarks.million --folder /tmp/million --plans    # and prints the query plans

The files are those of ``filling``: whole histories, spread evenly over thirty days. The questions go through the store as the
API asks them, one file after the other; the fastest of the rounds counts: a warm cache, and no neighbour on the machine in the
way. ``growth`` asks through the real server, and how fast payments are taken and settled on top.
"""

import argparse
import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import apsw

from payonce.figures import SPAN_US
from payonce.ports import Filters, Scope
from payonce.stores.rows import cursor_after
from payonce.stores.sqlite import ReadOnlyStore, open_to_read
from payonce.stores.sqlite import figures as asked
from payonce.stores.sqlite.reads import page_query

from .examples import START_US
from .filling import fill
from .stamps import DAY_US, END_US, Numbers

SCOPE: Final = Scope("mer_default", "test")

# --- asking -------------------------------------------------------------------------------------------------------------

Question = tuple[str, Callable[[ReadOnlyStore, int], Awaitable[object]]]
NOW_US: Final = END_US - 5 * SPAN_US["hour"]  # no window begins or ends with a day


def id_of(numbers: Numbers, number: int) -> str:
    return "pay_" + numbers.id(number)


def listing(**filters: Any) -> Callable[[ReadOnlyStore, int], Awaitable[object]]:
    """A page of 20 with its customer data, as GET /payments makes it."""

    async def ask(store: ReadOnlyStore, _: int) -> object:
        page = await store.list(SCOPE, Filters(**filters), 20)
        return page, await store.bodies([(p.id, p.details_sha256) for p in page.payments])

    return ask


async def middle(store: ReadOnlyStore, count: int) -> object:
    numbers, number = Numbers(count), count // 2
    cursor = cursor_after(numbers.at_us(number), id_of(numbers, number))
    return await store.list(SCOPE, Filters(), 20, cursor)


def found_by(name: str) -> Callable[[ReadOnlyStore, int], Awaitable[object]]:
    """What GET /search looks for: the payment in the middle of the file."""

    async def ask(store: ReadOnlyStore, count: int) -> object:
        numbers, number = Numbers(count), count // 2
        if name == "id":
            return await store.get(id_of(numbers, number))
        if name == "provider_ref":
            return await store.find_ref(numbers.ref(numbers.place(number), 0))
        if name == "key":
            return await store.find_key(SCOPE, numbers.key(numbers.place(number)))
        if name == "metadata":
            return await store.list(SCOPE, Filters(metadata=f"order-{number:09d}"), 20)
        return await store.find_ref("nothing-like-it"), await store.list(SCOPE, Filters(metadata="nothing-like-it"), 20)

    return ask


async def story(store: ReadOnlyStore, count: int) -> object:
    """What the page of one payment reads."""
    p = await store.get(id_of(Numbers(count), count // 2))
    if p is None:
        raise SystemExit("the payment in the middle is missing: fill the file again")
    return await store.history(p.id), await store.bodies([(p.id, p.details_sha256)]), await store.due_of(p.id)


def figures(window_us: int, span: str) -> Callable[[ReadOnlyStore, int], Awaitable[object]]:
    """What GET /stats asks for: this window and the one before folded, and the series without histograms."""

    async def ask(store: ReadOnlyStore, _: int) -> object:
        tell, from_us = store.figures.tallies, NOW_US - window_us
        now = await tell(SCOPE, from_us, NOW_US, span=span, fold=True)  # type: ignore[arg-type]
        before = await tell(SCOPE, from_us - window_us, from_us, span=span, fold=True)  # type: ignore[arg-type]
        return now, before, await tell(SCOPE, from_us, NOW_US, span=span, what=("accepted", "settled", "call"))  # type: ignore[arg-type]

    return ask


QUESTIONS: Final[tuple[Question, ...]] = (
    ("list: newest", listing()),
    ("list: from the middle on", middle),
    *((f"list: status={s}", listing(status=s)) for s in ("SUCCESS", "FAILED", "PENDING", "IN_DOUBT", "CANCELED")),
    ("list: attention", listing(attention=True)),
    ("list: provider", listing(provider="second")),
    ("list: currency", listing(currency="EUR")),
    ("list: clientId", listing(client_id="shop-3")),
    ("list: createdFrom, createdBefore", listing(created_from_us=START_US + DAY_US, created_before_us=START_US + 2 * DAY_US)),
    ("list: declineCode", listing(decline_code="do_not_honor")),
    ("list: metadata, frequent", listing(metadata="plan-3")),
    ("list: metadata, rare (1 %)", listing(metadata="winter")),
    ("list: status and provider", listing(status="FAILED", provider="first")),
    ("list: status and provider, never together", listing(status="FAILED", provider="second")),
    ("list: declineCode and status", listing(decline_code="do_not_honor", status="SUCCESS")),
    ("list: metadata and status", listing(metadata="plan-3", status="FAILED")),
    ("search: our id", found_by("id")),
    ("search: provider's id", found_by("provider_ref")),
    ("search: idempotency key", found_by("key")),
    ("search: metadata", found_by("metadata")),
    ("search: nothing", found_by("nothing")),
    ("stats: 15 min", figures(15 * SPAN_US["minute"], "minute")),
    ("stats: 24 h", figures(DAY_US, "hour")),
    ("stats: 7 d", figures(7 * DAY_US, "hour")),
    ("standing", lambda store, _: store.figures.standing(SCOPE)),
    ("overdue", lambda store, _: store.figures.overdue(SCOPE, END_US, 20)),
    ("a payment: row, history, due", story),
)


async def measure(small: Path, large: Path, counts: tuple[int, int], rounds: int) -> None:
    """Question by question, first the small file."""
    stores = [await open_to_read(path) for path in (small, large)]
    print(f"| question | {counts[0]:,} payments | {counts[1]:,} payments | times |")
    print("| --- | --- | --- | --- |")
    for name, ask in QUESTIONS:
        took: tuple[list[float], list[float]] = ([], [])
        for n, _ in itertools.product(range(2), range(rounds + 2)):
            start = time.perf_counter()
            await ask(stores[n], counts[n])
            took[n].append((time.perf_counter() - start) * 1_000)
        one, two = map(min, took)
        print(f"| {name} | {one:.2f} ms | {two:.2f} ms | {two / one:.1f} |", flush=True)
    for store in stores:
        await store.close()


def plans(path: Path) -> None:
    """How SQLite goes about each statement."""
    own = (SCOPE.merchant_id, SCOPE.mode)
    wanted = [Filters(), Filters(status="FAILED"), Filters(attention=True), Filters(provider="second"), Filters(currency="EUR")]
    wanted += [Filters(client_id="shop-3"), Filters(decline_code="do_not_honor"), Filters(metadata="winter")]
    wanted += [Filters(status="FAILED", provider="second"), Filters(metadata="winter", status="FAILED")]
    statements = [(str(f), *page_query(SCOPE, f, 20, None)) for f in wanted]
    statements += [
        ("tallies", asked.TALLIES.format(""), (*own, "hour", START_US, END_US)),
        ("standing", asked.STANDING, (*own, "PENDING", 10_001)),
        ("attention", asked.EYES, (*own, 10_001)),
        ("overdue", asked.OVERDUE, (END_US, 10_000, *own, 20)),
    ]
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    for name, sql, values in statements:
        print(name)
        for *_, line in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values):
            print(f"    {line}")
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--counts", type=int, nargs=2, default=(1_000, 1_000_000))
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--plans", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    small, large = (given.folder / f"{count}.db" for count in given.counts)
    for path, count in zip((small, large), given.counts, strict=True):
        if not path.exists():
            start = time.perf_counter()
            fill(path, count)
            print(
                f"{path.name}: filled in {time.perf_counter() - start:.0f} s, {path.stat().st_size / 1e6:,.0f} MB", flush=True
            )
    if given.plans:
        plans(large)
    asyncio.run(measure(small, large, tuple(given.counts), given.rounds))


if __name__ == "__main__":
    main()
