# ruff: noqa: INP001  a script
"""Pages of the dashboard over a file with 1,000 payments and one with 1,000,000: the time of each question that a page asks.

    .venv/bin/python benchmarks/million.py --folder /tmp/million            # fills both files once (minutes, 6 GB), then asks
    .venv/bin/python benchmarks/million.py --folder /tmp/million --plans    # and prints the query plans

The payments are some hundred settled histories of the real core, copied under new ids: chained again, so that each one reads
and verifies its hashes; only the times inside a history beside the first are those of its example. They are spread evenly over
seven days, over accounts, currencies, ends and metadata. The questions go through the store as the API asks them, one file
after the other; the fastest of the rounds counts: a warm cache, and no neighbour on the machine in the way.
"""

import argparse
import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from payonce.core.events import Event, Judged, digest
from payonce.core.ids import encode
from payonce.core.outcome import Declined
from payonce.core.payment import Payment
from payonce.figures import SPAN_US, of_payment
from payonce.ports import Change, Filters, Scope
from payonce.stores.rows import cursor_after, provider_of
from payonce.stores.sqlite import ReadOnlyStore, open_store, open_to_read
from payonce.stores.sqlite import figures as asked
from payonce.stores.sqlite import tallies as counting
from payonce.stores.sqlite.reads import page_query
from payonce.testing.store_changes import accept, answer_event, fire_event, grow, mismatch_event, note_event, success_event

DAY_US: Final = 24 * SPAN_US["hour"]
SPREAD_US: Final = 7 * DAY_US
START_US: Final = 1_750_000_000_000_000 // DAY_US * DAY_US
END_US: Final = START_US + SPREAD_US
MARK_US: Final = 1_700_000_000_000_000  # when the examples were accepted; it stands for the time of the copy
SCOPE: Final = Scope("mer_default", "live")
ACCOUNTS: Final = ("razorpay", "cashfree", "stripe", "payu", "mock")
CURRENCIES: Final = ("INR", "EUR", "USD")
CODES: Final = ("insufficient_funds", "do_not_honor", "expired_card", "fraud_suspected", "processing_error")
ENDS: Final = ("success",) * 70 + ("second",) * 12 + ("failed",) * 13 + ("doubt",) * 1 + ("eyes",) * 1 + ("waiting",) * 3
EXAMPLES: Final = 300
PORTION: Final = 5_000
MS: Final = 1_000
# Indexes of payments are made after the rows: what is measured is reading.
LATER: Final = (
    "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name IN ('payments', 'due') AND sql IS NOT NULL"
)


# --- examples: real histories -------------------------------------------------------------------------------------------


class Example(Struct):
    """A payment of the core as it is at its end, with what its changes wrote."""

    payment: Payment
    changes: list[Change]


def example(chance: random.Random, number: int) -> Example:
    """One history: how it ends, where and how fast is by chance."""
    first = accept(
        number, at_us=MARK_US, merchant_id=SCOPE.merchant_id, mode=SCOPE.mode, amount_minor=chance.randrange(100, 900_000),
        currency=chance.choice(CURRENCIES), client_id=f"shop-{chance.randrange(8)}", key="KEY", details=b'{"metadata":{}}',
        actor="key_0123456789@http 192.0.2.1",
    )  # fmt: skip
    changes, p, at_us = [first], first.payment, MARK_US

    def add(event: Event, wait_us: int, due_us: int | None = None) -> None:
        nonlocal p, at_us
        at_us += wait_us
        changes.append(grow(p, event, at_us=at_us, due_us=due_us))
        p = changes[-1].payment

    def fire() -> None:
        add(fire_event(p, chance.choice(ACCOUNTS), at_us), 2 * MS)

    def took() -> int:
        return int(chance.lognormvariate(5.5, 0.7)) * MS

    def refuse() -> None:
        no = Declined(
            code=chance.choice(CODES), hard=False, scope="issuer", ref="VENDORREF", reference=p.attempts[-1].reference
        )
        add(answer_event(p, no), took())

    end = ENDS[number % len(ENDS)]
    fire()
    if end == "second":
        refuse()
        fire()
    if end in ("success", "second", "eyes"):
        add(success_event(p), took())
    if end == "eyes":
        add(note_event("provider_disagrees"), took())
    if end == "doubt":
        add(mismatch_event(p), took())
    if end == "failed":
        refuse()
        add(Judged(what="FAILED", reason="attempts_exhausted"), MS)
    return Example(p, changes)


class Stamp:
    """An example whose copies are made by replacing text: id, time, key and the provider's id. Each event is sealed anew, since
    its hash holds all of them."""

    def __init__(self, made: Example) -> None:
        self.example, p = made, made.payment
        self.id = p.id
        self.entries = [e for change in made.changes for e in change.entries]
        self.raws = [e.raw for e in self.entries]
        self.hashes = [e.hash for e in self.entries]
        self.document = msgspec.json.encode(p)
        self.news = {seq for change in made.changes for seq in change.news}
        self.tallies = [replace(t, at_us=t.at_us - MARK_US) for t in of_payment(p)]
        self.declines = sorted({t.which for t in self.tallies if t.what == "declined"})

    def counted(self, at_us: int) -> "Iterator[counting.Added]":
        """What a copy that was accepted at a time counts."""
        return counting.added(self.example.payment, (replace(t, at_us=t.at_us + at_us) for t in self.tallies))

    def copy(self, id: str, at_us: int, number: int) -> tuple[bytes, list[tuple[bytes, str]], str]:
        """The document, the events with their hashes, and the last hash."""
        key = f"key-{number:07d}".encode()

        def stamped(raw: bytes) -> bytes:
            raw = raw.replace(self.id[4:].encode(), id[4:].encode()).replace(str(MARK_US).encode(), str(at_us).encode())
            return (
                raw.replace(b'"KEY"', b'"' + key + b'"')
                .replace(b'"ch_1"', b'"ch_%07d"' % number)
                .replace(b"VENDORREF", b"no_%07d" % number)
            )

        events, last, was = list[tuple[bytes, str]](), "", ""
        for raw, hash in zip(self.raws, self.hashes, strict=True):
            one = stamped(raw).replace(was.encode(), last.encode()) if was else stamped(raw)
            was, last = hash, digest(one)
            events.append((one, last))
        return stamped(self.document).replace(was.encode(), last.encode()), events, last


# --- filling ------------------------------------------------------------------------------------------------------------


def id_of(number: int) -> str:
    """The ``number``-th payment; the numbers of examples are far away."""
    return "pay_" + encode((1 << 60) + number)


def fill(path: Path, count: int) -> None:
    """A file of ``count`` payments, made by the store's own schema."""
    path.unlink(missing_ok=True)
    asyncio.run(empty(path))
    chance = random.Random(8)  # noqa: S311 - the same file each time
    stamps = [Stamp(example(chance, (1 << 61) + n)) for n in range(EXAMPLES)]
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA synchronous=OFF; PRAGMA cache_size=-400000; PRAGMA wal_autocheckpoint=20000")
    later = connection.execute(LATER).fetchall()
    for name, _ in later:
        connection.execute(f"DROP INDEX {name}")
    columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(payments)")]
    insert = f"INSERT INTO payments VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - fixed names
    counted = counting.Sums()
    for start in range(0, count, PORTION):
        rows = Rows(columns)
        for number in range(start, min(count, start + PORTION)):
            at_us = START_US + SPREAD_US * number // count
            n = chance.randrange(EXAMPLES)
            rows.add(stamps[n], number, at_us, chance)
            counted.add(stamps[n].counted(at_us))
        with connection:
            rows.write(connection, insert)
            counted.write(connection)
    with connection:
        for _, sql in later:
            connection.execute(str(sql))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def empty(path: Path) -> None:
    store = await open_store(path, executor="inline")
    await store.close()


class Rows:
    """Rows of one portion, table by table."""

    def __init__(self, columns: list[str]) -> None:
        self.columns = columns
        self.tables: dict[str, list[tuple[Any, ...]]] = {
            name: [] for name in ("payments", "events", "keys", "refs", "bodies", "due", "feed", "labels", "declines")
        }

    def add(self, stamp: Stamp, number: int, at_us: int, chance: random.Random) -> None:
        p, id, own = stamp.example.payment, id_of(number), (SCOPE.merchant_id, SCOPE.mode)
        document, events, head = stamp.copy(id, at_us, number)
        row = {name: getattr(p, name, "") for name in self.columns}
        row |= {"id": id, "provider": provider_of(p), "created_us": at_us, "head": head, "document": document}
        row["updated_us"] = p.updated_us - MARK_US + at_us
        put = self.tables
        put["payments"].append(tuple(row.values()))
        for seq, (raw, hash) in enumerate(events, 1):
            place = len(put["feed"]) + 1 if seq in stamp.news else 0
            put["events"].append((id, seq, raw, hash, place))
        put["keys"].append((*own, f"key-{number:07d}", "charge", id, 1, b"{}"))
        for a in p.attempts:
            reference = a.reference.replace(stamp.id[4:], id[4:])
            put["refs"] += [(reference, a.account, "reference", id), (f"ch_{number:07d}", a.account, "charge", id)]
        metadata = {"order": f"order-{number:07d}", "plan": f"plan-{chance.randrange(5)}"}
        if chance.random() < 0.01:
            metadata["campaign"] = "winter"
        details = msgspec.json.encode({"metadata": metadata})
        put["bodies"].append((id, p.details_sha256, details))
        put["labels"] += [(*own, counting.label(value), at_us, id) for value in metadata.values()]
        put["declines"] += [(*own, code, at_us, id) for code in stamp.declines]
        if p.status in ("PENDING", "IN_DOUBT"):
            put["due"].append(("payment", id, at_us + 60_000 * MS))

    def write(self, connection: apsw.Connection, insert: str) -> None:
        del self.tables["feed"]  # not asked for by a page
        for name, rows in self.tables.items():
            if rows:
                sql = insert if name == "payments" else f"INSERT OR IGNORE INTO {name} VALUES ({', '.join('?' * len(rows[0]))})"  # noqa: S608
                connection.executemany(sql, rows)


# --- asking -------------------------------------------------------------------------------------------------------------

Question = tuple[str, Callable[[ReadOnlyStore, int], Awaitable[object]]]
NOW_US: Final = END_US - 5 * SPAN_US["hour"]  # no window begins or ends with a day


def listing(**filters: Any) -> Callable[[ReadOnlyStore, int], Awaitable[object]]:
    """A page of 20 with its customer data, as GET /payments makes it."""

    async def ask(store: ReadOnlyStore, _: int) -> object:
        page = await store.list(SCOPE, Filters(**filters), 20)
        return page, await store.bodies([(p.id, p.details_sha256) for p in page.payments])

    return ask


async def middle(store: ReadOnlyStore, count: int) -> object:
    number = count // 2
    cursor = cursor_after(START_US + SPREAD_US * number // count, id_of(number))
    return await store.list(SCOPE, Filters(), 20, cursor)


def found_by(name: str) -> Callable[[ReadOnlyStore, int], Awaitable[object]]:
    """What GET /search looks for: the payment in the middle of the file."""

    async def ask(store: ReadOnlyStore, count: int) -> object:
        number = count // 2
        if name == "id":
            return await store.get(id_of(number))
        if name == "provider_ref":
            return await store.find_ref(f"ch_{number:07d}")
        if name == "key":
            return await store.find_key(SCOPE, f"key-{number:07d}")
        if name == "metadata":
            return await store.list(SCOPE, Filters(metadata=f"order-{number:07d}"), 20)
        return await store.find_ref("nothing-like-it"), await store.list(SCOPE, Filters(metadata="nothing-like-it"), 20)

    return ask


async def story(store: ReadOnlyStore, count: int) -> object:
    """What the page of one payment reads."""
    p = await store.get(id_of(count // 2))
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
    ("list: provider", listing(provider="stripe")),
    ("list: currency", listing(currency="EUR")),
    ("list: clientId", listing(client_id="shop-3")),
    ("list: createdFrom, createdBefore", listing(created_from_us=START_US + DAY_US, created_before_us=START_US + 2 * DAY_US)),
    ("list: declineCode", listing(decline_code="do_not_honor")),
    ("list: metadata, frequent", listing(metadata="plan-3")),
    ("list: metadata, rare (1 %)", listing(metadata="winter")),
    ("list: status and provider", listing(status="FAILED", provider="stripe")),
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
    wanted = [Filters(), Filters(status="FAILED"), Filters(attention=True), Filters(provider="stripe"), Filters(currency="EUR")]
    wanted += [Filters(client_id="shop-3"), Filters(decline_code="do_not_honor"), Filters(metadata="winter")]
    wanted += [Filters(status="FAILED", provider="stripe"), Filters(metadata="winter", status="FAILED")]
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
