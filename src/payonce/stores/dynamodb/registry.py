"""The registry in its own table: partition ``kind``, sort key ``name``, with ``value`` and ``version``. See
``payonce.ports.Registry``.

A deleted record stays as its version alone, so that its count goes on. Names may be empty, which a key of DynamoDB may not
be: each carries a mark in front, which keeps their order (strings are sorted by their UTF-8 bytes: docs.aws.amazon.com,
DynamoDB developer guide, "Data type descriptions", read 2026-11).
"""

from collections.abc import Mapping
from typing import Any, Final

from payonce.awsapi import PAUSE_S, TRIES_MAX, Aws, Busy, Denied, Done, Lost
from payonce.core.errors import StoreUnavailable
from payonce.ports import Clock, Record
from payonce.stores.rows import check_record

from .asking import CONDITION, Item, binary, get_item, number, pages, refused, text, update
from .tables import Tables

MARK: Final = "="


class DynamoRegistry:
    """See the port. A write is one conditional update; creating reads before, for the version that a deleted record left."""

    def __init__(self, aws: Aws, clock: Clock, tables: Tables) -> None:
        self._aws, self._clock, self._table = aws, clock, tables.registry

    async def all(self, kind: str) -> tuple[Record, ...]:
        """See the port. One consistent query, page by page."""
        params = {
            "TableName": self._table,
            "ConsistentRead": True,
            "KeyConditionExpression": "#kind = :kind",
            "FilterExpression": "attribute_exists(#value)",
            "ExpressionAttributeNames": {"#kind": "kind", "#value": "value"},
            "ExpressionAttributeValues": {":kind": text(kind)},
        }
        found = list[Record]()
        async for page in pages(self._aws, self._clock, "Query", params):
            found += [_record(item) for item in page]
        return tuple(found)

    async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
        """See the port. A lost answer is made sure of by asking again: the condition lets at most one of the two through. When
        the record then stands as it should without any answer having said so, StoreUnavailable is raised: another writer may
        have written the very same, and only one of both may be told True. So is it when others have gone on since."""
        check_record(value, expected_version)
        version = expected_version or await self._left(kind, name)
        if version is None:
            return False
        params = self._update(kind, name, value, version, exists=expected_version != 0)
        pause_s, lost = PAUSE_S, ""
        for _ in range(TRIES_MAX):
            match await self._aws.call("dynamodb", "UpdateItem", params):
                case Done():
                    return True
                case Denied(code=code, body=body) if code == CONDITION:
                    if lost:
                        _require_not_ours(body.get("Item"), version + 1, value)
                    return False
                case Denied() as answer:
                    raise refused(answer, f"a record in {self._table}", _outcome(lost))
                case Busy():
                    pass
                case Lost(reason=reason):
                    lost = reason
            await self._clock.sleep(pause_s)
            pause_s *= 2
        raise StoreUnavailable(f"DynamoDB does not take the record now ({lost or 'busy'}). {_outcome(lost)}")

    def _update(self, kind: str, name: str, value: bytes | None, version: int, *, exists: bool) -> Mapping[str, Any]:
        """The record, if it is still at ``version`` and (with ``exists``) not deleted; 0: there never was one."""
        condition = f"#version = :from AND attribute_{'exists' if exists else 'not_exists'}(#value)"
        columns = {"version": number(version + 1), "value": None if value is None else binary(value)}
        if version == 0:
            return update(self._table, _key(kind, name), columns, "attribute_not_exists(#version)", {})
        return update(self._table, _key(kind, name), columns, condition, {"from": number(version)})

    async def _left(self, kind: str, name: str) -> int | None:
        """The version at which a record was deleted, 0 when there never was one; None: it is there."""
        item = await get_item(self._aws, self._clock, self._table, _key(kind, name))
        if item is None:
            return 0
        return None if "value" in item else _version(item)


def _require_not_ours(item: Item | None, version: int, value: bytes | None) -> None:
    """After a lost answer: the record that stands there shows that ours is not done and never will be. Else raises
    StoreUnavailable."""
    at = _version(item) if item else 0
    if item and (at > version or (at == version and _value(item) == value)):
        raise StoreUnavailable(
            "An answer was lost, and whether the record was written by this or by another writer cannot be told. "
            "Read it again before acting on it."
        )


def _outcome(lost: str) -> str:
    return "It may be written or not: read it again." if lost else "Nothing was written."


def _key(kind: str, name: str) -> Item:
    return {"kind": text(kind), "name": text(MARK + name)}


def _value(item: Item) -> bytes | None:
    return bytes(item["value"]["B"]) if "value" in item else None


def _version(item: Item) -> int:
    return int(item["version"]["N"])


def _record(item: Item) -> Record:
    return Record(item["name"]["S"].removeprefix(MARK), _value(item) or b"", _version(item))
