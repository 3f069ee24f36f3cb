"""Rows of an index, whose partitions are each in order, as one that is. For webhooks and deliveries: few are read at a time."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from payonce.awsapi import Aws
from payonce.ports import Clock

from .asking import Item, ask, text
from .items import listed_id


class Walk:
    """Ids from all partitions of an index in one order; a partition is asked only when what it said is used up."""

    def __init__(self, aws: Aws, clock: Clock, queries: Sequence[dict[str, Any]], column: str = "") -> None:
        """``column``: the attribute, a number, by which the index is sorted; else it is a due time or a place in a listing."""
        self._aws, self._clock, self._column = aws, clock, column
        self.reached = -1  # the time of the last one taken, where they are sorted by ``column``
        self._lanes = [_Lane(query) for query in queries]
        self._first = min if queries[0]["ScanIndexForward"] else max

    async def take(self, count: int) -> list[str]:
        """The next ids, at most so many; none: it is over."""
        taken = list[str]()
        while len(taken) < count:
            await asyncio.gather(*(self._fill(lane) for lane in self._lanes if lane.more and not lane.rows))
            if not (live := [lane for lane in self._lanes if lane.rows]):
                break
            at, id = self._first(live, key=lambda lane: lane.rows[0]).rows.popleft()
            taken.append(id)
            self.reached = int.from_bytes(at, "big") if self._column else -1
        return taken

    async def _fill(self, lane: "_Lane") -> None:
        while lane.more and not lane.rows:
            body = await ask(self._aws, self._clock, "Query", lane.query)
            lane.rows += [(_position(row, self._column), listed_id(row)) for row in body.get("Items", ())]
            lane.more = bool(body.get("LastEvaluatedKey"))
            lane.query["ExclusiveStartKey"] = body.get("LastEvaluatedKey")


class _Lane:
    def __init__(self, query: dict[str, Any]) -> None:
        self.query, self.more = query, True
        self.rows: deque[tuple[bytes, str]] = deque()


def lane(table: str, index: str, keys: tuple[str, str], name: str, end: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The query of one partition of an index, up to an end ("<", value); ``keys`` are the index's."""
    return {
        "TableName": table,
        "IndexName": index,
        "KeyConditionExpression": f"#lane = :lane AND #at {end[0]} :end",
        "ExpressionAttributeNames": {"#lane": keys[0], "#at": keys[1]},
        "ExpressionAttributeValues": {":lane": text(name), ":end": end[1]},
    }


def _position(row: Item, column: str) -> bytes:
    """In the order of the index that the row comes from: by its time first."""
    if column or "dueAt" in row:
        return int(row[column or "dueAt"]["N"]).to_bytes(8, "big")
    return bytes(row["listed"]["B"])
