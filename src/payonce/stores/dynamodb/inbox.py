"""Webhooks in the Transactions table: a partition each, beside those of the payments. See ``payonce.mail.Inbox``.

    webhook                     the row; texts, headers and a small body packed in it
    body#<received>#<sha256>    a body that would make the row larger than INLINE_BYTES

Every write of a row is charged by the size of the whole row, so a body that is not small is written once, apart, before the
row that names it, and neither settling nor listing touches it. (Both together may have 532,480 bytes by the limits of the port,
were every character one of four bytes; an item has at most 409,600. Each alone fits: 270,336 and 262,144.)

Two indexes nominate, as they do for payments: ``due`` under "webhook#NN" while one is due, ``list`` always, with state and
account to filter by. They lag behind a write, usually by less than a second; what they name is read again, consistently.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from payonce.awsapi import Aws, Denied, Done
from payonce.core.errors import InvariantViolated, StoreUnavailable
from payonce.mail import Waiting, Webhook, WebhookPage, WebhookState
from payonce.ports import Clock
from payonce.stores.rows import check_limit, check_webhook, cursor_after, cursor_position

from . import packing
from .asking import Item, ask, binary, conditional, get_item, get_items, new, number, pages, put_early, text, update
from .items import listed_at, listed_id
from .tables import DUE_INDEX, LIST_INDEX, Tables, shard, shard_names
from .walk import Walk
from .walk import lane as walk_lane

KIND: Final = "webhook"
INLINE_BYTES: Final = 2_048  # of a row with its body: a third write unit would be paid for each later write as well
ID_BYTES_MAX: Final = 1_000  # it stands in a sort key, which has at most 1,024 bytes
PAGE, PAGE_FILTERED = 25, 200  # rows of an index asked for at once: 25 are one read unit
FORGET_AT_ONCE: Final = 10
GONE_MAX: Final = 3  # times a row may vanish between two looks at it
TOLD: Final = "No money is concerned; its sender sends a webhook again that was not taken."
NEVER_US: Final = 2**63 - 1
OVER: Final = ("matched", "unmatched")  # states of what may be forgotten

_Only = Mapping[str, Sequence[str]]
_encode = msgspec.msgpack.Encoder().encode
_Said = tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, str], ...], bytes]  # references, refs, headers, body
_said = msgspec.msgpack.Decoder(_Said)


class DynamoInbox:
    """See the port. After lost answers two things are weaker than on one file: ``deliveries`` may be one off, and of deliveries
    of the same microsecond and content two may be told that they are new (they lead to one row, and at worst to two looks)."""

    def __init__(self, aws: Aws, clock: Clock, tables: Tables) -> None:
        self._aws, self._clock, self._table, self._shards = aws, clock, tables.transactions, tables.shards

    async def put(self, webhook: Webhook) -> bool:
        """See the port. A new webhook is one conditional write, or two when its body lies apart."""
        check_webhook(webhook)
        if not 1 <= len(webhook.id.encode()) <= ID_BYTES_MAX:
            raise ValueError(f"the id of a webhook has at least one byte and at most {ID_BYTES_MAX}")
        row = self._row(webhook)
        for _ in range(GONE_MAX):
            if not ("bodyAt" in row and await self._is_there(webhook.id)):  # else writing the body would be for nothing
                if "bodyAt" in row:
                    body = {"packed": binary(packing.pack(webhook.body))}
                    await put_early(
                        self._aws, self._clock, {"TableName": self._table, "Item": _key(webhook.id, _at(row)) | body}
                    )
                if await self._insert(row):
                    return True
            if await self._count(webhook):
                return False
        raise StoreUnavailable(f"The webhook {webhook.id} comes and goes. {TOLD}")

    async def get(self, id: str) -> Webhook | None:
        """See the port. One consistent read, two when its body lies apart."""
        if not 1 <= len(id.encode()) <= ID_BYTES_MAX:
            return None
        row = await get_item(self._aws, self._clock, self._table, _key(id))
        if row is None:
            return None
        if "bodyAt" not in row:
            return _webhook(row)
        apart = await get_item(self._aws, self._clock, self._table, _key(id, _at(row)))
        return _webhook(row, packing.unpack(apart["packed"]["B"]) if apart else b"")  # being forgotten

    async def list(
        self, limit: int, *, state: WebhookState | None = None, account: str | None = None, cursor: str | None = None
    ) -> WebhookPage:
        """See the port. The newest may be missing while the index lags; each that is shown is as it is now."""
        check_limit(limit)
        before = listed_at(*cursor_position(cursor)) if cursor is not None else b"\xff"
        wanted = {"status": state, "provider": account}
        filters = {name: [value] for name, value in wanted.items() if value is not None}
        walk = self._walk(LIST_INDEX, "<", binary(before), only=filters, newest_first=True)
        found = list[Webhook]()
        while len(found) <= limit and (batch := await walk.take(limit + 1 - len(found))):
            for row in await self._rows(batch):
                w = _webhook(row, hide=True)
                if state in (None, w.state) and account in (None, w.account):
                    found.append(w)
        shown = tuple(found[:limit])
        return WebhookPage(shown, cursor_after(shown[-1].received_us, shown[-1].id) if len(found) > limit else None)

    async def due(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        """See the port. Nominated by the index, decided by the rows."""
        walk = self._walk(DUE_INDEX, "<=", number(min(before_us, NEVER_US)), page=max(PAGE, 2 * limit // self._shards))
        found = dict[str, int]()  # an index that lags may name one at two times
        while len(found) < limit and (batch := await walk.take(limit - len(found))):
            due = {listed_id(row): int(row["dueAt"]["N"]) for row in await self._rows(batch) if "dueAt" in row}
            found |= {id: due_us for id, due_us in due.items() if due_us <= before_us}
        return tuple(sorted((Waiting(*each) for each in found.items()), key=lambda w: (w.due_us, w.id)))

    async def settle(self, webhook: Webhook) -> bool:
        """See the port. One conditional write. When its answer was lost and the row then stands as asked, StoreUnavailable is
        raised, because another writer may have written the very same; it is done, and reading shows it."""
        columns = {
            "status": text(webhook.state),
            "payments": text(" ".join(webhook.payment_ids)),
            "tries": number(webhook.tries),
            "version": number(webhook.version + 1),
            **self._due(webhook),
        }
        given = {"from": number(webhook.version)}
        params = update(self._table, _key(webhook.id), columns, "#version = :from", given)
        answer, lost = await self._write("UpdateItem", params)
        if isinstance(answer, Done):
            return True
        row = answer.body.get("Item")
        if lost and row and int(row["version"]["N"]) > webhook.version:
            same = all(row.get(name) == value for name, value in columns.items())
            if same or int(row["version"]["N"]) > webhook.version + 1:
                raise StoreUnavailable(
                    f"An answer was lost, and whether {webhook.id} was settled by this or by another writer cannot be told. "
                    "Read it again."
                )
        return False

    async def forget(self, before_us: int, limit: int) -> int:
        """See the port. The body goes first, so that no crash leaves one that no row names."""
        end = binary(min(max(before_us, 0), NEVER_US).to_bytes(8, "big"))
        walk, gone = self._walk(LIST_INDEX, "<", end, only={"status": OVER}), 0
        while gone < limit and (batch := await walk.take(min(FORGET_AT_ONCE, limit - gone))):
            old = [row for row in await self._rows(batch) if row["status"]["S"] in OVER]
            gone += sum(await asyncio.gather(*(self._forget(row) for row in old)))
        return gone

    async def counts(self) -> Mapping[str, int]:
        """See the port. It walks the whole list index, and may lag behind as it does."""
        lanes = shard_names(KIND, self._shards)
        return dict(sum(await asyncio.gather(*(self._states(lane) for lane in lanes)), Counter[str]()))

    async def _states(self, lane: str) -> Counter[str]:
        found = Counter[str]()
        async for page in pages(self._aws, self._clock, "Query", self._query(LIST_INDEX, lane, "<", binary(b"\xff"), {})):
            found.update(row["status"]["S"] for row in page)
        return found

    # --- writes ------------------------------------------------------------------------------------------------------------

    async def _insert(self, row: Item) -> bool:
        """False when its id is there already. Another delivery's body is not left behind then."""
        answer, lost = await self._write("PutItem", new(self._table, row))
        if isinstance(answer, Done):
            return True
        stands: Item = answer.body.get("Item") or {}
        if lost and all(stands.get(name) == row.get(name) for name in ("received", "said", "bodyAt", "kind", "event")):
            return True
        if "bodyAt" in row and stands.get("bodyAt") != row["bodyAt"]:
            key = _key(listed_id(row), _at(row))
            await ask(self._aws, self._clock, "DeleteItem", {"TableName": self._table, "Key": key})
        return False

    async def _count(self, webhook: Webhook) -> bool:
        """One more delivery of what is there; False when it is not there any more. ``last`` never goes back."""
        add: dict[str, Any] = {
            "TableName": self._table,
            "Key": _key(webhook.id),
            "UpdateExpression": "SET #last = :last ADD #deliveries :one",
            "ConditionExpression": "#last < :last",
            "ExpressionAttributeNames": {"#last": "last", "#deliveries": "deliveries"},
            "ExpressionAttributeValues": {":last": number(webhook.last_us), ":one": number(1)},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        answer, lost = await self._write("UpdateItem", add)
        if isinstance(answer, Done):
            return True
        if not (row := answer.body.get("Item")):
            return False
        if lost and row["last"] == number(webhook.last_us):
            return True  # by us, as far as can be told
        add["UpdateExpression"], add["ConditionExpression"] = "ADD #deliveries :one", "attribute_exists(#last)"
        add["ExpressionAttributeValues"] = {":one": number(1)}
        answer, _ = await self._write("UpdateItem", add)
        return isinstance(answer, Done)

    async def _forget(self, row: Item) -> int:
        id = listed_id(row)
        if "bodyAt" in row:
            await ask(self._aws, self._clock, "DeleteItem", {"TableName": self._table, "Key": _key(id, _at(row))})
        params = {
            "TableName": self._table,
            "Key": _key(id),
            "ConditionExpression": "#version = :version",
            "ExpressionAttributeNames": {"#version": "version"},
            "ExpressionAttributeValues": {":version": row["version"]},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        answer, lost = await self._write("DeleteItem", params)
        return int(isinstance(answer, Done) or (lost and not answer.body.get("Item")))

    async def _write(self, operation: str, params: Mapping[str, Any]) -> tuple[Done | Denied, bool]:
        return await conditional(self._aws, self._clock, operation, params, TOLD)

    # --- rows --------------------------------------------------------------------------------------------------------------

    def _row(self, w: Webhook) -> Item:
        row: Item = {
            **_key(w.id),
            "listKey": text(shard(KIND, w.id, self._shards)),
            "listed": binary(listed_at(w.received_us, w.id)),
            "status": text(w.state),
            "provider": text(w.account),
            "event": text(w.event),
            "kind": text(w.kind),
            "payments": text(" ".join(w.payment_ids)),
            "tries": number(w.tries),
            "version": number(1),
            "received": number(w.received_us),
            "last": number(w.last_us),
            "deliveries": number(1),
            **{name: value for name, value in self._due(w).items() if value is not None},
        }
        said = binary(packing.pack(_encode((w.references, w.refs, w.headers, w.body))))
        if w.body and _bytes(row | {"said": said}) > INLINE_BYTES:
            at = f"body#{w.received_us}#{sha256(w.body).hexdigest()}"  # of this row alone: an id that comes again has another
            return row | {"said": binary(packing.pack(_encode((w.references, w.refs, w.headers, b"")))), "bodyAt": text(at)}
        return row | {"said": said}

    def _due(self, w: Webhook) -> dict[str, Any]:
        """Its place in the due index, always at the exact time; None = none."""
        if w.due_us is None:
            return {"dueShard": None, "dueAt": None}
        return {"dueShard": text(shard(KIND, w.id, self._shards)), "dueAt": number(w.due_us)}

    async def _is_there(self, id: str) -> bool:
        return await get_item(self._aws, self._clock, self._table, _key(id)) is not None

    async def _rows(self, ids: Sequence[str]) -> tuple[Item, ...]:
        """As they are now, in the order of the ids, without those that are gone."""
        found = await get_items(self._aws, self._clock, self._table, [_key(id) for id in dict.fromkeys(ids)])
        rows = {listed_id(row): row for row in found}
        return tuple(rows[id] for id in dict.fromkeys(ids) if id in rows)

    # --- indexes -----------------------------------------------------------------------------------------------------------

    def _walk(
        self,
        index: str,
        upto: str,
        end: Mapping[str, Any],
        *,
        only: _Only | None = None,
        newest_first: bool = False,
        page: int = PAGE,
    ) -> Walk:
        lanes = [self._query(index, name, upto, end, only or {}) for name in shard_names(KIND, self._shards)]
        size = max(page, PAGE_FILTERED if only else 0)
        return Walk(self._aws, self._clock, [q | {"Limit": size, "ScanIndexForward": not newest_first} for q in lanes])

    def _query(self, index: str, lane: str, upto: str, end: Mapping[str, Any], only: _Only) -> dict[str, Any]:
        """One partition of an index, up to an end; ``only`` has the values that an attribute may have."""
        key, column = ("dueShard", "dueAt") if index == DUE_INDEX else ("listKey", "listed")
        query = walk_lane(self._table, index, (key, column), lane, (upto, end))
        query["ExpressionAttributeNames"] |= {f"#{name}": name for name in only}
        tests = list[str]()
        for name, values in only.items():
            given = {f":{name}{n}": text(value) for n, value in enumerate(values)}
            query["ExpressionAttributeValues"] |= given
            tests.append(f"#{name} IN ({', '.join(given)})")
        return query | ({"FilterExpression": " AND ".join(tests)} if tests else {})


def _key(id: str, item: str = KIND) -> Item:
    return {"transactionId": text(id), "item": text(item)}


def _at(row: Item) -> str:
    return str(row["bodyAt"]["S"])


def _bytes(item: Item) -> int:
    """About what DynamoDB counts: names, texts in UTF-8, bytes, and half a byte for a digit (docs.aws.amazon.com, developer
    guide, "DynamoDB item sizes and formats", read 2026-11)."""
    found = 0
    for name, value in item.items():
        ((kind, content),) = value.items()
        found += len(name) + (len(content) // 2 + 2 if kind == "N" else len(content.encode()) if kind == "S" else len(content))
    return found


def _webhook(row: Item, body: bytes | None = None, *, hide: bool = False) -> Webhook:
    """A row as the port shows it; ``hide``: without headers and body."""
    id = listed_id(row)
    try:
        references, refs, headers, inline = _said.decode(packing.unpack(row["said"]["B"]))
        return Webhook(
            id=id,
            account=row["provider"]["S"],
            event=row["event"]["S"],
            kind=row["kind"]["S"],
            references=references,
            refs=refs,
            headers=() if hide else headers,
            body=b"" if hide else inline if body is None else body,
            received_us=int(row["received"]["N"]),
            state=row["status"]["S"],
            payment_ids=tuple(row["payments"]["S"].split()),
            tries=int(row["tries"]["N"]),
            version=int(row["version"]["N"]),
            deliveries=int(row["deliveries"]["N"]),
            last_us=int(row["last"]["N"]),
            due_us=int(row["dueAt"]["N"]) if "dueAt" in row else None,
        )
    except (KeyError, ValueError, msgspec.MsgspecError) as e:
        raise InvariantViolated(f"the stored webhook {id} is unreadable: {e!r}. No payment is concerned.") from e
