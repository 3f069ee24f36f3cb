"""What merchants' endpoints are still to be told, in the Transactions table. See ``payonce.mail.Outbox``.

Notices are attributes of a payment's own row (``items.notice_columns``), written with the change; the index ``notices`` has the
rows that bear one. Deliveries have a partition each:

    <delivery id>   delivery                the row
    deliveries      <mode>#<merchant>       one for each scope that ever had a delivery: where to look for old ones

Two indexes nominate deliveries: ``due`` under "delivery#NN" while one is due, ``list`` under the scope, with endpoint and
payment to filter by. The list index is told of a state only where it cannot be seen otherwise: what it says nothing of is
delivered, or pending and due. So an answer that settles a delivery is a write of the row and its end in the due index, and no
third one. And the due index may have a row up to SLACK_US before it is due: a claim, which is followed by the answer seconds
later, leaves it where it is.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from payonce.awsapi import Aws, Done
from payonce.core.errors import InvariantViolated, StoreUnavailable
from payonce.mail import Delivery, DeliveryPage, DeliveryState, Waiting
from payonce.ports import Clock, Scope
from payonce.stores.rows import check_delivery, check_limit, cursor_after, cursor_position

from .asking import Item, binary, conditional, get_item, get_items, new, number, pages, put_early, text, update
from .items import ROW, list_scope, listed_at, listed_id, notice_columns, row_key
from .tables import DELIVERY_LANES, DUE_INDEX, LIST_INDEX, NOTICES_INDEX, Tables, shard, shard_names, spread
from .walk import Walk, lane

KIND: Final = "delivery"
SCOPES: Final = "deliveries"
ID_BYTES_MAX: Final = 1_000
PAGE, PAGE_FILTERED = 25, 200  # rows of an index asked for at once: 25 are one read unit
FORGET_AT_ONCE: Final = 10
NEVER_US: Final = 2**63 - 1
TOLD: Final = "No money is concerned; what is due is told again."
SAID: Final = ("failed", "canceled")  # states that the list index is always told
SLACK_US: Final = 60_000_000
KNOWN_MAX: Final = 1_024  # rows whose place in the due index is remembered
AND_DUE: Final = "+"  # what the list index is told behind the state of what is over and due all the same


class _Where(Struct, frozen=True):
    """An index of what is due: its partitions by kind, its keys, which item of a partition it names, and where that says when
    it is due: then or later."""

    index: str
    keys: tuple[str, str]
    kind: str
    item: str
    due: str


NOTICE: Final = _Where(NOTICES_INDEX, ("noticeShard", "noticeAt"), "notice", ROW, "noticeAt")
DUE: Final = _Where(DUE_INDEX, ("dueShard", "dueAt"), KIND, KIND, "due")


class DynamoOutbox:
    """See the port. Made by the store, whose commits put notices there."""

    def __init__(self, aws: Aws, clock: Clock, tables: Tables) -> None:
        self._aws, self._clock, self._table, self._shards = aws, clock, tables.transactions, tables.shards
        self._scopes: set[str] = set()  # on record already
        self._places: OrderedDict[str, tuple[int, int]] = OrderedDict()  # id -> version, and where the due index has it

    # --- notices -------------------------------------------------------------------------------------------------------

    async def notices(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        """See the port. Nominated by the index, decided by the rows."""
        return await self._waiting(NOTICE, before_us, limit)

    async def noticed(self, payment_id: str) -> int | None:
        """See the port. One consistent read."""
        row = await get_item(self._aws, self._clock, self._table, row_key(payment_id))
        return int(row["noticeFrom"]["N"]) if row is not None and "noticeAt" in row else None

    async def hand_over(self, payment_id: str, version: int, deliveries: Sequence[Delivery]) -> bool:
        """See the port. The deliveries first, each a conditional write; then one of the payment's row, which takes the notice
        off only while nothing has been written after ``version``."""
        for delivery in deliveries:
            check_delivery(delivery)
        await self._known_scopes(deliveries)
        await asyncio.gather(*(self._put(delivery) for delivery in deliveries))
        columns = {"noticeFrom": None, "noticeShard": None, "noticeAt": None}
        params = update(self._table, row_key(payment_id), columns, "#version = :version", {"version": number(version)})
        answer, _ = await conditional(self._aws, self._clock, "UpdateItem", params, TOLD)
        return isinstance(answer, Done)

    async def put_off(self, payment_id: str, due_us: int) -> None:
        """See the port."""
        columns = notice_columns(payment_id, due_us, self._shards)
        params = update(self._table, row_key(payment_id), columns, "attribute_exists(#noticeFrom)", {})
        await conditional(self._aws, self._clock, "UpdateItem", params, TOLD)

    # --- deliveries ----------------------------------------------------------------------------------------------------

    async def add(self, delivery: Delivery) -> bool:
        """See the port. One conditional write."""
        check_delivery(delivery)
        await self._known_scopes((delivery,))
        return await self._put(delivery)

    async def get(self, id: str) -> Delivery | None:
        """See the port. One consistent read."""
        if not 1 <= len(id.encode()) <= ID_BYTES_MAX:
            return None
        row = await get_item(self._aws, self._clock, self._table, _key(id))
        if row is None:
            return None
        if "dueAt" in row:
            self._remember(id, int(row["version"]["N"]), int(row["dueAt"]["N"]))
        return _delivery(row)

    async def list(
        self,
        scope: Scope,
        limit: int,
        *,
        endpoint_id: str | None = None,
        state: DeliveryState | None = None,
        payment_id: str | None = None,
        cursor: str | None = None,
    ) -> DeliveryPage:
        """See the port. The newest may be missing while the index lags; each that is shown is as it is now."""
        check_limit(limit)
        before = listed_at(*cursor_position(cursor)) if cursor is not None else b"\xff"
        where, given = _filter(endpoint_id, state, payment_id)
        size = PAGE_FILTERED if where else PAGE
        walk = Walk(
            self._aws,
            self._clock,
            [
                self._listed(name, "<", before, where, given) | {"Limit": size, "ScanIndexForward": False}
                for name in lanes_of(scope)
            ],
        )
        found = list[Delivery]()
        while len(found) <= limit and (batch := await walk.take(limit + 1 - len(found))):
            for row in await self._rows([_key(id) for id in dict.fromkeys(batch)], batch):
                d = _delivery(row)
                wanted = (endpoint_id in (None, d.endpoint_id), state in (None, d.state), payment_id in (None, d.payment_id))
                if all(wanted) and Scope(d.merchant_id, d.mode) == scope:
                    found.append(d)
        shown = tuple(found[:limit])
        return DeliveryPage(shown, cursor_after(shown[-1].created_us, shown[-1].id) if len(found) > limit else None)

    async def due(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        """See the port. Nominated by the index, decided by the rows."""
        return await self._waiting(DUE, before_us, limit)

    async def settle(self, delivery: Delivery) -> bool:
        """See the port. One conditional write. When its answer was lost and the row then stands as asked, StoreUnavailable is
        raised, because another writer may have written the very same; it is done, and reading shows it."""
        d = delivery
        check_delivery(d)
        at_us = self._due_at(d)
        columns = {**_changing(d), **_due(d, self._shards, at_us), "version": number(d.version + 1)}
        params = update(self._table, _key(d.id), columns, "#version = :from", {"from": number(d.version)})
        answer, lost = await conditional(self._aws, self._clock, "UpdateItem", params, TOLD)
        if isinstance(answer, Done):
            if at_us is not None:
                self._remember(d.id, d.version + 1, at_us)
            return True
        row = answer.body.get("Item")
        if lost and row and int(row["version"]["N"]) > d.version:
            same = all(row.get(name) == value for name, value in columns.items())
            if same or int(row["version"]["N"]) > d.version + 1:
                raise StoreUnavailable(
                    f"An answer was lost, and whether {d.id} was settled by this or by another writer cannot be told. "
                    "Read it again."
                )
        return False

    async def forget(self, before_us: int, limit: int) -> int:
        """See the port. It asks every lane of every merchant that ever had a delivery."""
        end = min(max(before_us, 0), NEVER_US).to_bytes(8, "big")
        queries = [self._listed(name, "<", end, "", {}) for scope in await self._all_scopes() for name in lanes_of(scope)]
        if not queries:
            return 0
        walk, gone = Walk(self._aws, self._clock, [q | {"Limit": PAGE, "ScanIndexForward": True} for q in queries]), 0
        while gone < limit and (batch := await walk.take(min(FORGET_AT_ONCE, limit - gone))):
            rows = await self._rows([_key(id) for id in dict.fromkeys(batch)], batch)
            gone += sum(await asyncio.gather(*(self._forget(row) for row in rows if row["state"]["S"] != "pending")))
        return gone

    async def counts(self) -> Mapping[str, int]:
        """See the port. It walks both indexes whole, and may lag behind as they do."""
        found, waiting = Counter[str](), 0
        for scope in await self._all_scopes():
            for name in lanes_of(scope):
                async for page in pages(self._aws, self._clock, "Query", self._listed(name, "<", b"\xff", "", {})):
                    found.update(row["status"]["S"] if "status" in row else "" for row in page)
        for name in shard_names(KIND, self._shards):
            query = lane(self._table, DUE.index, DUE.keys, name, ("<=", number(NEVER_US)))
            async for page in pages(self._aws, self._clock, "Query", query):
                waiting += len(page)
        quiet, waiting = found.pop("", 0), waiting - sum(n for told, n in found.items() if told.endswith(AND_DUE))
        waiting = max(0, min(waiting, quiet))
        states = Counter({"pending": waiting, "delivered": quiet - waiting})
        for told, n in found.items():
            states[told.removesuffix(AND_DUE)] += n
        return {state: n for state, n in states.items() if n}

    # --- writes --------------------------------------------------------------------------------------------------------

    async def _put(self, d: Delivery) -> bool:
        """False when its id is there already."""
        row = self._row(d)
        answer, lost = await conditional(self._aws, self._clock, "PutItem", new(self._table, row), TOLD)
        return isinstance(answer, Done) or (lost and answer.body.get("Item") == row)

    def _due_at(self, d: Delivery) -> int | None:
        """Where the due index is to have it: where it has it, if that is known and at most a little too early."""
        version, at_us = self._places.pop(d.id, (0, 0))
        if d.due_us is not None and version == d.version and at_us <= d.due_us <= at_us + SLACK_US:
            return at_us
        return d.due_us

    def _remember(self, id: str, version: int, at_us: int) -> None:
        self._places[id] = version, at_us
        self._places.move_to_end(id)
        if len(self._places) > KNOWN_MAX:
            self._places.popitem(last=False)

    async def _forget(self, row: Item) -> int:
        params = {
            "TableName": self._table,
            "Key": _key(listed_id(row)),
            "ConditionExpression": "#version = :version",
            "ExpressionAttributeNames": {"#version": "version"},
            "ExpressionAttributeValues": {":version": row["version"]},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        answer, lost = await conditional(self._aws, self._clock, "DeleteItem", params, TOLD)
        return int(isinstance(answer, Done) or (lost and not answer.body.get("Item")))

    async def _known_scopes(self, deliveries: Sequence[Delivery]) -> None:
        """On record, each once in the life of a process."""
        for name in {list_scope(Scope(d.merchant_id, d.mode)) for d in deliveries} - self._scopes:
            row = {"transactionId": text(SCOPES), "item": text(name)}
            await put_early(self._aws, self._clock, {"TableName": self._table, "Item": row})
            self._scopes.add(name)

    # --- reads ---------------------------------------------------------------------------------------------------------

    async def _all_scopes(self) -> Sequence[str]:
        query = {
            "TableName": self._table,
            "ConsistentRead": True,
            "KeyConditionExpression": "#pk = :pk",
            "ExpressionAttributeNames": {"#pk": "transactionId"},
            "ExpressionAttributeValues": {":pk": text(SCOPES)},
        }
        return [row["item"]["S"] async for page in pages(self._aws, self._clock, "Query", query) for row in page]

    async def _waiting(self, where: "_Where", before_us: int, limit: int) -> tuple[Waiting, ...]:
        """What an index has as due, as far as the rows agree. It may have some a little too early, so it is read on until none
        that comes later can be due before those found."""
        column = where.keys[1]
        end, size = number(min(before_us, NEVER_US)), max(PAGE, 2 * limit // self._shards)
        names = shard_names(where.kind, self._shards)
        queries = [lane(self._table, where.index, where.keys, name, ("<=", end)) for name in names]
        walk = Walk(self._aws, self._clock, [q | {"Limit": size, "ScanIndexForward": True} for q in queries], column)
        found = dict[str, int]()  # an index that lags may name one at two times
        while sum(due_us < walk.reached for due_us in found.values()) < limit and (batch := await walk.take(limit)):
            rows = await self._rows([_key(id, where.item) for id in dict.fromkeys(batch)], batch)
            times = {listed_id(row): int(row[where.due]["N"]) for row in rows if where.due in row}
            found |= {id: due_us for id, due_us in times.items() if due_us <= before_us}
        return tuple(sorted((Waiting(*each) for each in found.items()), key=lambda w: (w.due_us, w.id))[:limit])

    async def _rows(self, keys: Sequence[Item], order: Sequence[str]) -> tuple[Item, ...]:
        """As they are now, in order, without those that are gone."""
        rows = {listed_id(row): row for row in await get_items(self._aws, self._clock, self._table, keys)}
        return tuple(rows[id] for id in dict.fromkeys(order) if id in rows)

    def _listed(self, name: str, sign: str, end: bytes, where: str, given: Mapping[str, Any]) -> dict[str, Any]:
        query = lane(self._table, LIST_INDEX, ("listKey", "listed"), name, (sign, binary(end)))
        if where:
            names = {f"#{name}": name for name in ("provider", "client", "status") if f"#{name}" in where}
            query["FilterExpression"] = where
            query["ExpressionAttributeNames"] |= names
            query["ExpressionAttributeValues"] |= given
        return query

    def _row(self, d: Delivery) -> Item:
        given = _changing(d) | _due(d, self._shards, d.due_us)
        return {
            **_key(d.id),
            "listKey": text(f"{lane_prefix(list_scope(Scope(d.merchant_id, d.mode)))}#{spread(d.id, DELIVERY_LANES):02d}"),
            "listed": binary(listed_at(d.created_us, d.id)),
            "provider": text(d.endpoint_id),
            **({"client": text(d.payment_id), "seq": number(d.seq)} if d.payment_id else {}),
            "merchant": text(d.merchant_id),
            "mode": text(d.mode),
            "event": text(d.event_id),
            "type": text(d.type),
            "created": number(d.created_us),
            "version": number(1),
            **{name: value for name, value in given.items() if value is not None},
        }


def lane_prefix(scope: str) -> str:
    return f"{KIND}#{scope}"


def lanes_of(scope: Scope | str) -> tuple[str, ...]:
    """The partitions of a scope's deliveries in the list index."""
    return shard_names(lane_prefix(scope if isinstance(scope, str) else list_scope(scope)), DELIVERY_LANES)


def _key(id: str, item: str = KIND) -> Item:
    return {"transactionId": text(id), "item": text(item)}


def _changing(d: Delivery) -> dict[str, Any]:
    """What settling writes; None: nothing is said of it."""
    return {
        "state": text(d.state),
        "status": _told(d),
        "tries": number(d.tries),
        "http": number(d.status) if d.status else None,
        "said": text(d.said) if d.said else None,
        "last": number(d.last_us) if d.last_us else None,
    }


def _told(d: Delivery) -> dict[str, str] | None:
    """What the list index is told of the state."""
    if d.due_us is None:
        return None if d.state == "delivered" else text(d.state)
    return None if d.state == "pending" else text(d.state + AND_DUE)


def _due(d: Delivery, shards: int, at_us: int | None) -> dict[str, Any]:
    """When it is due, and its place in the due index; None = none."""
    if d.due_us is None or at_us is None:
        return {"due": None, "dueShard": None, "dueAt": None}
    return {"due": number(d.due_us), "dueShard": text(shard(KIND, d.id, shards)), "dueAt": number(at_us)}


def _filter(endpoint_id: str | None, state: DeliveryState | None, payment_id: str | None) -> tuple[str, dict[str, Any]]:
    """What the index itself can pass over."""
    where, given = list[str](), dict[str, Any]()
    if endpoint_id is not None:
        where.append("#provider = :endpoint")
        given[":endpoint"] = text(endpoint_id)
    if payment_id is not None:
        where.append("#client = :payment" if payment_id else "attribute_not_exists(#client)")
        given |= {":payment": text(payment_id)} if payment_id else {}
    if state is not None:
        unsaid = "" if state in SAID else "attribute_not_exists(#status) OR "
        where.append(f"({unsaid}#status IN (:status, :due))")
        given |= {":status": text(state), ":due": text(state + AND_DUE)}
    return " AND ".join(where), given


def _delivery(row: Item) -> Delivery:
    id = listed_id(row)
    try:
        return Delivery(
            id=id,
            endpoint_id=row["provider"]["S"],
            merchant_id=row["merchant"]["S"],
            mode=row["mode"]["S"],
            event_id=row["event"]["S"],
            type=row["type"]["S"],
            payment_id=row["client"]["S"] if "client" in row else "",
            seq=int(row["seq"]["N"]) if "seq" in row else 0,
            state=row["state"]["S"],
            tries=int(row["tries"]["N"]),
            status=int(row["http"]["N"]) if "http" in row else 0,
            said=row["said"]["S"] if "said" in row else "",
            created_us=int(row["created"]["N"]),
            last_us=int(row["last"]["N"]) if "last" in row else 0,
            version=int(row["version"]["N"]),
            due_us=int(row["due"]["N"]) if "due" in row else None,
        )
    except (KeyError, ValueError) as e:
        raise InvariantViolated(f"the stored delivery {id} is unreadable: {e!r}. No payment is concerned.") from e
