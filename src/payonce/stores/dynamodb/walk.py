"""Rows of an index, whose partitions are each in order, as one that is. For webhooks: few are read at a time."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from payonce.awsapi import Aws
from payonce.ports import Clock

from .asking import Item, ask
from .items import listed_id


class Walk:
    """Ids from all partitions of an index in one order; a partition is asked only when what it said is used up."""

    def __init__(self, aws: Aws, clock: Clock, queries: Sequence[dict[str, Any]]) -> None:
        self._aws, self._clock = aws, clock
        self._lanes = [_Lane(query) for query in queries]
        self._first = min if queries[0]["ScanIndexForward"] else max

    async def take(self, count: int) -> list[str]:
        """The next ids, at most so many; none: it is over."""
        taken = list[str]()
        while len(taken) < count:
            await asyncio.gather(*(self._fill(lane) for lane in self._lanes if lane.more and not lane.rows))
            if not (live := [lane for lane in self._lanes if lane.rows]):
                break
            taken.append(self._first(live, key=lambda lane: lane.rows[0]).rows.popleft()[1])
        return taken

    async def _fill(self, lane: "_Lane") -> None:
        while lane.more and not lane.rows:
            body = await ask(self._aws, self._clock, "Query", lane.query)
            lane.rows += [(_position(row), listed_id(row)) for row in body.get("Items", ())]
            lane.more = bool(body.get("LastEvaluatedKey"))
            lane.query["ExclusiveStartKey"] = body.get("LastEvaluatedKey")


class _Lane:
    def __init__(self, query: dict[str, Any]) -> None:
        self.query, self.more = query, True
        self.rows: deque[tuple[bytes, str]] = deque()


def _position(row: Item) -> bytes:
    """In the order of the index that the row comes from: by its time first."""
    return int(row["dueAt"]["N"]).to_bytes(8, "big") if "dueAt" in row else bytes(row["listed"]["B"])
