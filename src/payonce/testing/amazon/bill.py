"""What the calls cost: how many, and the read and write capacity units of each, by the published rules.

Sources, read 2026-11, docs.aws.amazon.com, DynamoDB developer guide:
- "DynamoDB read and write operations": a write counts each began KB of the larger of the item before and after, at least 1;
  twice in a transaction. A read counts each began 4 KB, at least 1, half when it is eventually consistent, twice in a
  transaction. Query and Scan add the sizes first, BatchGetItem counts each item on its own. A condition that did not hold
  costs a write of the item that is there (1 when there is none). A read of nothing costs the least read.
- "Using Global Secondary Indexes", "Write capacity units": an entry that appears, goes, or changes one of its projected
  attributes is one write of the entry; a change of the index's key is two, the old one's deletion and the new one. A write that
  changes nothing that an index holds costs it nothing.
- API reference, "TransactWriteItems": a repeated request token costs reads of what it names.
- Measured against AWS by others (github.com/nubo-db/dynoxide pull requests 123 and 188, June and August 2026): an index inside
  a transaction costs what it costs outside one; a Delete or ConditionCheck counts by the item, not by its key; the repeated
  token costs transactional reads.

Unverified: what a cancelled transaction costs (counted as if its items had been written, without indexes; AWS reports no
number for it); that a deleted index entry counts with its own size.
"""

from collections import Counter
from typing import Final

import msgspec
from msgspec import Struct

WRITE_BYTES: Final = 1024
READ_BYTES: Final = 4096


class Place(Struct, frozen=True):
    """Where units were used: a table (``index`` empty) or one of its indexes, by an operation, e.g. "UpdateItem"."""

    table: str
    index: str
    operation: str


class Bill(Struct):
    """``calls``: (service, operation) -> how often, those included that were refused. ``reads``, ``writes``: units by place.
    ``requests``: messages of SQS as it charges them, by operation (one call, each began 64 KB)."""

    calls: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    reads: dict[Place, float] = msgspec.field(default_factory=dict)
    writes: dict[Place, float] = msgspec.field(default_factory=dict)
    requests: Counter[str] = msgspec.field(default_factory=Counter)

    def reset(self) -> None:
        for counted in (self.calls, self.reads, self.writes, self.requests):
            counted.clear()

    def read(self, place: Place, units: float) -> None:
        self.reads[place] = self.reads.get(place, 0.0) + units

    def wrote(self, place: Place, units: float) -> None:
        if units:
            self.writes[place] = self.writes.get(place, 0.0) + units

    def read_units(self, table: str | None = None, index: str | None = None) -> float:
        """Of a table with its indexes, or of one index ("" = the table alone); None = all."""
        return _sum(self.reads, table, index)

    def write_units(self, table: str | None = None, index: str | None = None) -> float:
        return _sum(self.writes, table, index)


def _sum(units: dict[Place, float], table: str | None, index: str | None) -> float:
    return sum(n for place, n in units.items() if table in (None, place.table) and index in (None, place.index))


def write_units(size: int) -> int:
    """Of one write of so many bytes, outside of transactions."""
    return max(1, -(-size // WRITE_BYTES))


def read_units(size: int, *, consistent: bool) -> float:
    """Of one read of so many bytes, outside of transactions."""
    return max(1, -(-size // READ_BYTES)) * (1.0 if consistent else 0.5)
