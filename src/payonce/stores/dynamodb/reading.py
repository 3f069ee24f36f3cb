"""Questions about single payments: consistent reads of the table, and the checks after them."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from payonce.awsapi import Aws
from payonce.core import ids
from payonce.core.apply import fold
from payonce.core.errors import InvariantViolated, NewerSchema
from payonce.core.events import ENVELOPE, Entry, unseal
from payonce.core.payment import Payment
from payonce.dispatch import refs
from payonce.ports import Clock, KeyRow, Scope

from . import items, packing
from .asking import Item, get_item, get_items, pages, text
from .beside import Part, naming, part_of
from .items import Row, row_of
from .tables import Tables

KNOWN_MAX: Final = 512  # rows that are kept in memory; each has some KB
READS_MAX: Final = 4  # of one history, when parts of it move while it is read


class Known(Struct, frozen=True):
    """A row as it was last read or written here, and the payment it folds to when that is known."""

    row: Row
    payment: Payment | None = None


class KnownRows:
    """The rows last seen, the least recently used ones forgotten. Only a saving: what it says is confirmed by the condition of
    a write, or by the head of what was read."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, Known] = OrderedDict()

    def get(self, payment_id: str) -> Known | None:
        known = self._rows.get(payment_id)
        if known is not None:
            self._rows.move_to_end(payment_id)
        return known

    def keep(self, row: Row, payment: Payment | None = None) -> None:
        """Remember what was read or written, unless something newer is known already."""
        known = self._rows.get(row.id)
        if known is not None and known.row.version > row.version:
            return
        if payment is None and known is not None and known.row.head == row.head:
            payment = known.payment
        self._rows[row.id] = Known(row, payment)
        self._rows.move_to_end(row.id)
        if len(self._rows) > KNOWN_MAX:
            self._rows.popitem(last=False)

    def forget(self, payment_id: str) -> None:
        self._rows.pop(payment_id, None)


class _Versioned(Struct):
    v: int


_versioned = msgspec.json.Decoder(_Versioned)


class Reading:
    """Reads of one store, which share what they know."""

    def __init__(self, aws: Aws, clock: Clock, tables: Tables) -> None:
        self.aws, self.clock, self.tables = aws, clock, tables
        self.known = KnownRows()

    async def row(self, payment_id: str) -> Row | None:
        """The row alone. Raises NewerSchema, InvariantViolated, StoreUnavailable."""
        item = await get_item(self.aws, self.clock, self.tables.transactions, items.row_key(payment_id))
        return None if item is None else self.seen(item)

    def seen(self, item: Item) -> Row:
        """A row that was just read, remembered."""
        row = row_of(item)
        self.known.keep(row)
        return row

    async def get(self, payment_id: str) -> Payment | None:
        found = await self._parts(payment_id)
        return None if found is None else self._payment(*found)

    async def payment(self, row: Row) -> Payment:
        """What a row folds to, or a newer one when it has moved and its older events have to be read."""
        known = self.known.get(row.id)
        if known is not None and known.payment is not None and known.row.head == row.head:
            return known.payment
        if row.log_from == 1:
            return self._payment(row, ())
        p = await self.get(row.id)
        if p is None:
            raise InvariantViolated(f"the row of {row.id} has vanished. Nothing was touched; run `payonce verify`.")
        return p

    async def history(self, payment_id: str, after_seq: int, limit: int) -> tuple[Entry, ...]:
        found = await self._parts(payment_id)
        if found is None:
            return ()
        return tuple(e for e in self._entries(*found) if e.envelope.seq > after_seq)[:limit]

    async def find_key(self, scope: Scope, key: str) -> KeyRow | None:
        item = await get_item(self.aws, self.clock, self.tables.idempotency, items.key_key(scope, key))
        return None if item is None else items.key_of(key, item)

    async def find_ref(self, value: str, account: str | None) -> tuple[str, ...]:
        """Nominated by the reference's items and by the value itself; a payment counts when its own row says so."""
        own = ids.payment_of(value)
        nominated = {own} if own is not None else set()
        condition, given = "#pk = :pk", {":pk": text(items.ref_partition(value))}
        if account is not None:
            condition += " AND begins_with(#sk, :sk)"
            given[":sk"] = text(items.ref_prefix(account))
        query = {
            "TableName": self.tables.transactions,
            "ConsistentRead": True,
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": {"#pk": "transactionId"} | ({"#sk": "item"} if account is not None else {}),
            "ExpressionAttributeValues": given,
        }
        async for page in pages(self.aws, self.clock, "Query", query):
            nominated.update(items.named_by(item) for item in page)
        return tuple([id for id in sorted(nominated) if await self._known_as(id, value, account)])

    async def _known_as(self, payment_id: str, value: str, account: str | None) -> bool:
        found = await self._parts(payment_id)
        if found is None:
            return False
        p = self._payment(*found)
        if any(v == value and account in (None, a) for a, _, v in shown(p)):
            return True
        named = naming(value, account)
        async for part in self._beside(found[0]):
            if named(part):
                return True
        return False

    async def bodies(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        found: dict[tuple[str, str], bytes] = {}
        away: list[tuple[str, str]] = []
        wanted = [items.row_key(id) for id in dict.fromkeys(id for id, _ in keys)]
        for item in await get_items(self.aws, self.clock, self.tables.transactions, wanted):
            row = self.seen(item)
            missing = {sha256 for id, sha256 in keys if id == row.id}
            async for part in self._beside(row):
                here = part.named()
                found.update({(row.id, name): here[name] for name in missing if name in here})
                away += [(row.id, name.hex()) for name in part.away if name.hex() in missing]
                missing -= {*here, *(name.hex() for name in part.away)}
                if not missing:
                    break
        apart = [items.body_key(id, sha256) for id, sha256 in dict.fromkeys(away)]
        for item in await get_items(self.aws, self.clock, self.tables.transactions, apart):
            name = item["item"]["S"].rpartition("#")[2]
            found[item["transactionId"]["S"], name] = packing.unpack(item["packed"]["B"])
        return found

    async def _beside(self, row: Row) -> AsyncIterator[Part]:
        """The row's own part, then the older ones."""
        part = part_of(row.beside)
        yield part
        while part.older:
            item = await get_item(self.aws, self.clock, self.tables.transactions, items.beside_key(row.id, part.older))
            if item is None:
                raise InvariantViolated(f"a part of what lies beside {row.id} is missing. Run `payonce verify`.")
            part = part_of(item["packed"]["B"])
            yield part

    async def _parts(self, payment_id: str) -> tuple[Row, tuple[Item, ...]] | None:
        """The row and its segments. They come in the order of their names, the row last: one that was moved out of the row
        while they were read leaves a gap, and then they are read again."""
        query = {
            "TableName": self.tables.transactions,
            "ConsistentRead": True,
            "KeyConditionExpression": "#pk = :pk AND #sk BETWEEN :first AND :last",
            "ExpressionAttributeNames": {"#pk": "transactionId", "#sk": "item"},
            "ExpressionAttributeValues": {":pk": text(payment_id), ":first": text(items.EVENT), ":last": text(items.ROW)},
        }
        for _ in range(READS_MAX):
            found = [item async for page in pages(self.aws, self.clock, "Query", query) for item in page]
            if not found or found[-1]["item"]["S"] != items.ROW:
                return None
            row, segments = self.seen(found[-1]), tuple(i for i in found if i["item"]["S"].startswith(items.EVENT))
            if _reaches(segments, row.log_from):
                return row, segments
        raise InvariantViolated(f"a part of the history of {payment_id} is missing. Nothing was touched; run `payonce verify`.")

    def _payment(self, row: Row, segments: Sequence[Item]) -> Payment:
        known = self.known.get(row.id)
        if known is not None and known.payment is not None and known.row.head == row.head:
            return known.payment
        p = fold(self._entries(row, segments))
        if (p.id, p.version, p.head) != (row.id, row.version, row.head):
            raise InvariantViolated(
                f"the history of {row.id} does not end where its row says. Nothing was touched; run `payonce verify`."
            )
        self.known.keep(row, p)
        return p

    def _entries(self, row: Row, segments: Sequence[Item]) -> tuple[Entry, ...]:
        """All events, decoded, as one chain up to the row's head."""
        entries: list[Entry] = []
        for item in segments:
            first = int(item["item"]["S"].removeprefix(items.EVENT))
            decoded = entries_of(row.id, item["log"]["B"], first)
            entries += [e for e in decoded if len(entries) < e.envelope.seq < row.log_from]
        entries += entries_of(row.id, row.log, row.log_from)
        before = ""
        for seq, entry in enumerate(entries, 1):
            if entry.envelope.seq != seq or entry.envelope.prev != before:
                raise InvariantViolated(f"event {seq} of {row.id} does not continue the chain. Run `payonce verify`.")
            before = entry.hash
        if (len(entries), before) != (row.version, row.head):
            raise InvariantViolated(f"the events of {row.id} do not end in the hash its row has. Run `payonce verify`.")
        return tuple(entries)

    async def ids(self, after: str, limit: int) -> tuple[str, ...]:
        """Ids of all payments, in the order the table is scanned in: stable, and not that of the ids."""
        scan: dict[str, Any] = {
            "TableName": self.tables.transactions,
            "ConsistentRead": True,
            "FilterExpression": "#item = :row",
            "ProjectionExpression": "#id",
            "ExpressionAttributeNames": {"#id": "transactionId", "#item": "item"},
            "ExpressionAttributeValues": {":row": text(items.ROW)},
        }
        if after:
            scan["ExclusiveStartKey"] = items.row_key(after)
        found: list[str] = []
        async for page in pages(self.aws, self.clock, "Scan", scan):
            found += [item["transactionId"]["S"] for item in page]
            if len(found) >= limit:
                break
        return tuple(found[:limit])


def _reaches(segments: Sequence[Item], log_from: int) -> bool:
    """Whether the segments hold every event before ``log_from``."""
    reached = 0
    for item in segments:
        if int(item["item"]["S"].removeprefix(items.EVENT)) > reached + 1:
            break
        reached = max(reached, int(item["to"]["N"]))
    return reached >= log_from - 1


def entries_of(payment_id: str, log: bytes, first_seq: int) -> tuple[Entry, ...]:
    """The events of one log. Raises NewerSchema, InvariantViolated."""
    entries = []
    for seq, (raw, hash) in enumerate(packing.raws(packing.unpack(log)), first_seq):
        try:
            if _versioned.decode(raw).v > ENVELOPE:
                raise NewerSchema(
                    f"Event {seq} of {payment_id} was written by a newer payonce. Nothing was touched; run that one."
                )
            entries.append(unseal(raw, hash))
        except msgspec.MsgspecError as e:
            raise InvariantViolated(f"event {seq} of {payment_id} is unreadable: {e}. Run `payonce verify`.") from e
    return tuple(entries)


def shown(p: Payment, but: frozenset[int] = frozenset()) -> set[tuple[str, str, str]]:
    """References (account, kind, value) that the payment itself shows: they need no other place. ``but``: seqs of steps whose
    answers are passed over."""
    found = {(a.account, "reference", a.reference) for a in p.attempts}
    for part in p.parts():
        heard = (s.outcome for s in part.steps if s.outcome is not None and s.seq not in but)
        found |= {(ref.account, ref.kind, ref.value) for outcome in heard for ref in refs(part, outcome)}
    return found
