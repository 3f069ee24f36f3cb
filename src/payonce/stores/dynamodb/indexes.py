"""What goes through the indexes: due times, listings, counts. An index only nominates; rows are read again, as they are now,
and decide. It may lag a little behind the table, so the newest rows may be missing for a moment."""

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

from payonce.core.payment import Mode, Payment
from payonce.ports import Due, Filters, Page, Scope
from payonce.stores.rows import check_limit, cursor_after, cursor_position, matches

from . import items
from .asking import BATCH_MAX, Item, binary, get_items, number, pages, text
from .items import due_of
from .reading import Reading
from .tables import DUE_INDEX, EYES_INDEX, LIST_INDEX, shard_names

FIRST: Final = bytes(8)  # before every position of a listing
LAST: Final = b"\xff" * 9  # after every one
SPARE: Final = 4  # nominations read beyond what is asked for, from each shard
OTHERS: Final = ("webhook#", "delivery#")  # how the keys of other rows in the list index begin
LOOKED_MAX: Final = 500  # rows that are looked through for one page by a decline code, which no index knows
FILTERED_PAGE: Final = 1_000  # index entries of one page where most are filtered out


class Indexes:
    """See ``payonce.ports.Store``: due, next_due, list, counts."""

    def __init__(self, reading: Reading) -> None:
        self._reading, self._aws, self._clock, self._tables = reading, reading.aws, reading.clock, reading.tables

    # --- due -----------------------------------------------------------------------------------------------------------

    async def due(self, before_us: int | None, limit: int) -> tuple[Due, ...]:
        """Exact, though the index may have rows a little too early: it reads on until no further one can come before those
        found."""
        times: dict[str, int] = {}  # a payment that moves on meanwhile is nominated again, at its new place
        size = min(BATCH_MAX, limit + SPARE)
        page = 2 * size // self._tables.shards + SPARE
        async for batch in batched(self._due_entries(before_us, page), size):
            reached = int(batch[-1]["dueAt"]["N"])
            now = await self._due_times(batch)
            times = {id: due_us for id, due_us in times.items() if id not in now} | now
            if before_us is not None:
                times = {id: due_us for id, due_us in times.items() if due_us <= before_us}
            if sum(due_us < reached for due_us in times.values()) >= limit:
                break
        found = sorted((Due(*each) for each in times.items()), key=lambda due: (due.due_us, due.payment_id))
        return tuple(found[:limit])

    async def _due_times(self, batch: Sequence[Item]) -> dict[str, int]:
        keys = [items.row_key(id) for id in dict.fromkeys(items.listed_id(entry) for entry in batch)]
        rows = await get_items(self._aws, self._clock, self._tables.transactions, keys)
        times = {items.listed_id(row): due_of(row) for row in rows}
        return {id: due_us for id, due_us in times.items() if due_us is not None}

    def _due_entries(self, before_us: int | None, page: int) -> AsyncIterator[Item]:
        condition, given = "#pk = :pk", {}
        if before_us is not None:
            condition, given = "#pk = :pk AND #sk <= :before", {":before": number(before_us)}
        streams = [
            self._entries(DUE_INDEX, ("dueShard", "dueAt"), condition, {":pk": text(name), **given}, page=page)
            for name in shard_names("payment", self._tables.shards)
        ]
        return merged(streams, lambda entry: int(entry["dueAt"]["N"]))

    # --- listings ------------------------------------------------------------------------------------------------------

    async def list(self, scope: Scope, filters: Filters, limit: int, cursor: str | None) -> Page:
        check_limit(limit)
        low, high = _range(filters, cursor)
        found: list[Payment] = []
        if low >= high:
            return Page((), None)
        looked = 0
        async for batch in batched(self._listed(scope, filters, low, high, limit), limit + 1):
            found += await self._matching(batch, scope, filters)
            if len(found) > limit:
                break
            looked += len(batch)
            if filters.decline_code is not None and looked >= LOOKED_MAX:
                return Page(tuple(found), _after(batch[-1]))
        shown = tuple(found[:limit])
        return Page(shown, cursor_after(shown[-1].created_us, shown[-1].id) if len(found) > limit else None)

    async def _matching(self, batch: Sequence[Item], scope: Scope, filters: Filters) -> Sequence[Payment]:
        """The rows of a batch that belong to the listing as they are now, in its order."""
        ids = [items.listed_id(entry) for entry in batch]
        rows = await get_items(self._aws, self._clock, self._tables.transactions, [items.row_key(id) for id in ids])
        seen = {row.id: row for row in map(self._reading.seen, rows)}
        payments = [await self._reading.payment(seen[id]) for id in ids if id in seen]
        own = [p for p in payments if Scope(p.merchant_id, p.mode) == scope]
        # What has the value is all that was nominated for it, by the write that made it.
        values = frozenset[str]() if filters.metadata is None else frozenset({filters.metadata})
        return [p for p in own if matches(p, filters, values)]

    def _listed(self, scope: Scope, filters: Filters, low: bytes, high: bytes, limit: int) -> AsyncIterator[Item]:
        """Index entries that may belong to the listing, newest first."""
        if filters.metadata is not None:
            return self._with_metadata(scope, filters.metadata, low, high, limit)
        listed = items.list_scope(scope)
        where, given = _filter(filters) if not filters.attention else ("", {})
        page = FILTERED_PAGE if where else 2 * limit // self._tables.shards + SPARE
        given |= {":low": binary(low), ":high": binary(high)}
        index, key = (EYES_INDEX, "eyes") if filters.attention else (LIST_INDEX, "listKey")
        names = [listed] if filters.attention else shard_names(listed, self._tables.shards)
        streams = [
            self._entries(
                index, (key, "listed"), "#pk = :pk AND #sk BETWEEN :low AND :high", {":pk": text(name), **given},
                page=page, backwards=True, where=where,
            )
            for name in names
        ]  # fmt: skip
        entries = merged(streams, lambda entry: tuple(-byte for byte in entry["listed"]["B"]))
        return _without(entries, high)

    def _with_metadata(self, scope: Scope, value: str, low: bytes, high: bytes, limit: int) -> AsyncIterator[Item]:
        """Of the payments with this value, from the table itself."""
        bounds = {":low": text(items.label_sort(low)), ":high": text(items.label_sort(high))}
        names = [items.label_partition(scope, value, f"{n:02d}") for n in range(self._tables.shards)]
        streams = [self._labels(name, bounds, 2 * limit // self._tables.shards + SPARE) for name in names]
        return _without(merged(streams, lambda entry: tuple(-byte for byte in entry["listed"]["B"])), high)

    async def _labels(self, name: str, bounds: Mapping[str, Any], page: int) -> AsyncIterator[Item]:
        query: dict[str, Any] = {
            "TableName": self._tables.transactions,
            "ConsistentRead": True,
            "KeyConditionExpression": "#pk = :pk AND #sk BETWEEN :low AND :high",
            "ExpressionAttributeNames": {"#pk": "transactionId", "#sk": "item"},
            "ExpressionAttributeValues": {":pk": text(name), **bounds},
            "ScanIndexForward": False,
            "Limit": page,
        }
        async for found in pages(self._aws, self._clock, "Query", query):
            for item in found:
                yield items.labelled(item)

    async def need_eyes(self, mode: Mode, most: int) -> Sequence[Payment]:
        """At most so many payments of a mode that need eyes, every merchant's. The index has nothing else, so it is walked."""
        found: list[Payment] = []
        async for page in pages(
            self._aws, self._clock, "Scan", {"TableName": self._tables.transactions, "IndexName": EYES_INDEX}
        ):
            ids = [items.listed_id(entry) for entry in page if entry["eyes"]["S"].startswith(f"{mode}#")]
            rows = await get_items(self._aws, self._clock, self._tables.transactions, [items.row_key(id) for id in ids])
            payments = [await self._reading.payment(row) for row in map(self._reading.seen, rows)]
            found += [p for p in payments if p.mode == mode and matches(p, Filters(attention=True), frozenset())]
            if len(found) >= most:
                break
        return found[:most]

    async def counts(self) -> Mapping[str, int]:
        scan = {
            "TableName": self._tables.transactions,
            "IndexName": LIST_INDEX,
            "ProjectionExpression": "#key, #status",
            "ExpressionAttributeNames": {"#key": "listKey", "#status": "status"},
        }
        found: Counter[str] = Counter()
        async for page in pages(self._aws, self._clock, "Scan", scan):
            found.update(i["status"]["S"] for i in page if not i["listKey"]["S"].startswith(OTHERS))
        return dict(found)

    async def _entries(
        self,
        index: str,
        keys: tuple[str, str],
        condition: str,
        given: Mapping[str, Any],
        *,
        page: int,
        backwards: bool = False,
        where: str = "",
    ) -> AsyncIterator[Item]:
        """One partition of an index, in its order."""
        names = {"#pk": keys[0]} | ({"#sk": keys[1]} if "#sk" in condition else {})
        query: dict[str, Any] = {
            "TableName": self._tables.transactions,
            "IndexName": index,
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": names | {f"#{name}": name for name in COLUMNS if f"#{name}" in where},
            "ExpressionAttributeValues": given,
            "ScanIndexForward": not backwards,
            "Limit": page,
        }
        if where:
            query["FilterExpression"] = where
        async for found in pages(self._aws, self._clock, "Query", query):
            for entry in found:
                yield entry


COLUMNS: Final = ("status", "provider", "currency", "client")


def _filter(filters: Filters) -> tuple[str, dict[str, Any]]:
    """What the index itself can pass over. An entry that names no provider may belong to any."""
    where, given = [], {}
    for name, wanted in (("status", filters.status), ("currency", filters.currency), ("client", filters.client_id)):
        if wanted:
            where.append(f"#{name} = :{name}")
            given[f":{name}"] = text(wanted)
    if filters.client_id == "":
        where.append("attribute_not_exists(#client)")
    if filters.provider is not None:
        where.append("attribute_not_exists(#provider)" + (" OR #provider = :provider" if filters.provider else ""))
        where[-1] = f"({where[-1]})"
        given |= {":provider": text(filters.provider)} if filters.provider else {}
    return " AND ".join(where), given


def _range(filters: Filters, cursor: str | None) -> tuple[bytes, bytes]:
    """Where a listing begins and ends in the order of ``listed``: [low, high)."""
    low = FIRST if filters.created_from_us is None else _moment(filters.created_from_us)
    high = LAST if filters.created_before_us is None else _moment(filters.created_before_us)
    return low, high if cursor is None else min(high, items.listed_at(*cursor_position(cursor)))


def _after(entry: Item) -> str:
    """The cursor that continues behind an index entry."""
    listed = bytes(entry["listed"]["B"])
    return cursor_after(int.from_bytes(listed[:8], "big"), listed[8:].decode())


def _moment(at_us: int) -> bytes:
    return max(0, min(at_us, 2**64 - 1)).to_bytes(8, "big")


async def _without(entries: AsyncIterator[Item], high: bytes) -> AsyncIterator[Item]:
    async for entry in entries:
        if entry["listed"]["B"] != high:
            yield entry


async def batched(entries: AsyncIterator[Item], size: int) -> AsyncIterator[list[Item]]:
    """In groups of ``size``, at most what one batch read takes."""
    batch: list[Item] = []
    async for entry in entries:
        batch.append(entry)
        if len(batch) == min(size, BATCH_MAX):
            yield batch
            batch = []
    if batch:
        yield batch


async def merged(streams: list[AsyncIterator[Item]], order: Callable[[Item], Any]) -> AsyncIterator[Item]:
    """Streams that are each in order, as one that is. Their first pages are asked for at the same time."""
    heads = await asyncio.gather(*(anext(stream, None) for stream in streams))
    heap = [(order(entry), n, entry) for n, entry in enumerate(heads) if entry is not None]
    heapq.heapify(heap)
    while heap:
        _, n, entry = heap[0]
        yield entry
        following = await anext(streams[n], None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (order(following), n, following))
