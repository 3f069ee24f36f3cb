"""Capacity units, counted from the sizes of items by the published rules (docs.aws.amazon.com, DynamoDB developer guide,
"DynamoDB read and write operations" and "Using Global Secondary Indexes in DynamoDB", read 2026-11; how sizes are counted is
from memory, not read again):

- a write costs one unit per started KB of the larger of the item before and after, twice that in a transaction;
- an index entry that appears, goes, or changes in what is projected costs one unit per started KB; one whose key changes costs
  both going and appearing; an update that concerns nothing projected costs nothing there;
- a consistent read costs one unit per started 4 KB, of all items of a query together; an eventually consistent one half of it;
- a write whose condition fails costs as if it were done, at least one unit (from memory, not read again)."""

from collections import Counter
from collections.abc import Mapping
from math import ceil
from typing import Any

from payonce.awsapi import Answer, Aws, Denied, Done, Service
from payonce.stores.dynamodb import CREATE, Tables

KEYS = {"transactions": ("transactionId", "item"), "idempotency": ("scopedKey",), "registry": ("kind", "name")}


def size(item: Mapping[str, Any]) -> int:
    """Bytes of an item: names and values."""
    return sum(len(name.encode()) + _value(value) for name, value in item.items())


def _value(typed: Mapping[str, Any]) -> int:
    ((kind, value),) = typed.items()
    if kind == "N":
        digits = str(value).lstrip("-").strip("0") or "0"
        return (len(digits) + 1) // 2 + 1
    return len(value.encode()) if kind == "S" else len(value)


class Metered:
    """AWS behind a meter: ``units`` by operation and table or index, ``sizes`` of rows as they were written."""

    def __init__(self, aws: Aws, tables: Tables) -> None:
        self.aws, self.tables = aws, tables
        self.units: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.sizes: list[int] = []

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
        self.calls[operation] += 1
        if operation not in ("UpdateItem", "PutItem", "TransactWriteItems"):
            answer = await self.aws.call(service, operation, params)
            self._read(operation, params, answer)
            return answer
        actions = [params] if operation != "TransactWriteItems" else [next(iter(a.values())) for a in params["TransactItems"]]
        before = [await self._item(action) for action in actions]
        answer = await self.aws.call(service, operation, params)
        if isinstance(answer, Done | Denied):
            for action, old in zip(actions, before, strict=True):
                self._wrote(action, old, await self._item(action), 1 if operation != "TransactWriteItems" else 2)
        return answer

    async def _item(self, action: Mapping[str, Any]) -> dict[str, Any]:
        role = self._role(action)
        whole = action.get("Key") or {name: action["Item"][name] for name in KEYS[role]}
        asked = {"TableName": action["TableName"], "Key": whole, "ConsistentRead": True}
        answer = await self.aws.call("dynamodb", "GetItem", asked)
        assert isinstance(answer, Done), answer
        return dict(answer.body.get("Item", {}))

    def _role(self, action: Mapping[str, Any]) -> str:
        return next(role for role in KEYS if self.tables.named(role) == action["TableName"])  # type: ignore[arg-type]

    def _wrote(self, action: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any], times: int) -> None:
        role = self._role(action)
        self.units[f"write {role}"] += times * max(1, ceil(max(size(old), size(new)) / 1024))
        if new.get("item") == {"S": "payment"}:
            self.sizes.append(size(new))
        if role == "transactions":
            for index in CREATE["transactions"]["GlobalSecondaryIndexes"]:
                self.units[f"write index {index['IndexName']}"] += _index_units(index, old, new)

    def _read(self, operation: str, params: Mapping[str, Any], answer: Answer) -> None:
        if not isinstance(answer, Done) or operation not in ("GetItem", "Query", "BatchGetItem"):
            return
        body = answer.body
        if operation == "BatchGetItem":
            each = [size(item) for found in body.get("Responses", {}).values() for item in found]
            self.units["read"] += sum(max(1, ceil(bytes_ / 4096)) for bytes_ in each)
            return
        found = body.get("Items", [body["Item"]] if body.get("Item") else [])
        units = max(1, ceil(sum(map(size, found)) / 4096))
        self.units["read"] += units if params.get("ConsistentRead") else units / 2  # type: ignore[assignment]

    async def close(self) -> None:
        await self.aws.close()


def _index_units(index: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]) -> int:
    keys = [key["AttributeName"] for key in index["KeySchema"]]
    shown = {"transactionId", "item", *keys, *index["Projection"].get("NonKeyAttributes", ())}
    was, now = ({n: v for n, v in item.items() if n in shown} if all(k in item for k in keys) else {} for item in (old, new))
    if was == now:
        return 0
    if was and now and all(was[k] == now[k] for k in keys):
        return max(1, ceil(max(size(was), size(now)) / 1024))
    return sum(max(1, ceil(size(entry) / 1024)) for entry in (was, now) if entry)
