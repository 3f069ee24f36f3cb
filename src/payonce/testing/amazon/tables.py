"""Tables and their indexes: items in partitions, sorted; indexes that follow their table later; what was there before."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from .bill import write_units
from .values import ITEM_BYTES_MAX, Item, Value, invalid, item_size, kind_of, order_of, same, scattered

Key = tuple[Any, ...]  # what an item is found by: its key's values as they are compared
HASH_BYTES_MAX: Final = 2048
RANGE_BYTES_MAX: Final = 1024


class Schema(Struct, frozen=True):
    """Key attributes with their types; ``range`` is ("", "") when there is none."""

    hash: tuple[str, str]
    range: tuple[str, str] = ("", "")

    @property
    def names(self) -> tuple[str, ...]:
        return (self.hash[0], self.range[0]) if self.range[0] else (self.hash[0],)

    @staticmethod
    def of(definition: Sequence[Mapping[str, str]], types: Mapping[str, str]) -> "Schema":
        """Of CreateTable's KeySchema and AttributeDefinitions. Raises Refused."""
        names = {each["KeyType"]: each["AttributeName"] for each in definition}
        if "HASH" not in names or not set(names.values()) <= types.keys():
            raise invalid("One or more parameter values were invalid: Some index key attributes are not defined")
        found = [(names[role], types[names[role]]) for role in ("HASH", "RANGE") if role in names]
        return Schema(*found)

    def check(self, item: Mapping[str, Value], *, sparse: bool) -> bool:
        """Whether the item has this key, of the right types and sizes. ``sparse``: it need not. Raises Refused."""
        whole = True
        for (name, kind), most in ((self.hash, HASH_BYTES_MAX), (self.range, RANGE_BYTES_MAX)):
            if not name:
                continue
            value = item.get(name)
            if value is None:
                if not sparse:
                    raise invalid(f"One of the required keys was not given a value: {name}")
                whole = False
                continue
            if kind_of(value) != kind:
                raise invalid(f"One or more parameter values were invalid: Type mismatch for key {name} expected: {kind}")
            size = len(value[kind].encode()) if kind == "S" else len(value[kind])
            if kind != "N" and not size:
                raise invalid(f"One or more parameter values are not valid. The key {name} contains an empty value")
            if kind != "N" and size > most:
                raise invalid(
                    f"One or more parameter values were invalid: Size of key {name} exceeds the limit of {most} bytes"
                )
        return whole

    def key(self, item: Mapping[str, Value]) -> Key:
        return tuple(order_of(item[name]) for name in self.names)


class Index:
    """A global secondary index: only items that have its whole key are in it, with the attributes it projects. What the table
    writes becomes visible here at a time that the writer says, one after the other for each item."""

    def __init__(self, name: str, schema: Schema, base: Schema, projection: Mapping[str, Any]) -> None:
        self.name, self.schema = name, schema
        kind = projection.get("ProjectionType", "ALL")
        self.names: tuple[str, ...] | None = None
        if kind != "ALL":
            self.names = tuple(dict.fromkeys((*schema.names, *base.names, *projection.get("NonKeyAttributes", ()))))
        self._visible: dict[Any, dict[Key, Item]] = {}  # by partition
        self._where: dict[Key, Any] = {}  # the partition that an item stands in
        self._coming: dict[Key, list[tuple[int, Item | None]]] = {}

    def entry(self, item: Item | None) -> Item | None:
        """What the index holds of an item, or None."""
        if item is None or any(name not in item for name in self.schema.names):
            return None
        return dict(item) if self.names is None else {name: item[name] for name in self.names if name in item}

    def units(self, before: Item | None, after: Item | None) -> int:
        """What it costs to follow a change of the table."""
        old, new = self.entry(before), self.entry(after)
        if old is None and new is None:
            return 0
        if old is None or new is None:
            return write_units(item_size(old or new or {}))
        if self.schema.key(old) != self.schema.key(new):
            return write_units(item_size(old)) + write_units(item_size(new))
        if old.keys() == new.keys() and all(same(old[name], new[name]) for name in old):
            return 0
        return write_units(max(item_size(old), item_size(new)))

    def follow(self, key: Key, after: Item | None, at_us: int) -> None:
        """From ``at_us`` on, and not before what was written earlier, the index shows this."""
        waiting = self._coming.setdefault(key, [])
        waiting.append((max(at_us, waiting[-1][0] if waiting else at_us), self.entry(after)))

    def partition(self, value: Any, now_us: int) -> list[tuple[Key, Item]]:
        """Entries under one partition key, as far as they are visible, in the order of the index. Of entries with the same
        sort key the order means nothing."""
        self._settle(now_us)
        found = self._visible.get(value, {}).items()
        return sorted(found, key=lambda pair: position(self.schema, pair[1], pair[0]))

    def entries(self, now_us: int) -> Iterator[tuple[Key, Item]]:
        """All that is visible, in an order that means nothing."""
        self._settle(now_us)
        found = [pair for part in self._visible.values() for pair in part.items()]
        yield from sorted(found, key=lambda pair: (_mixed(pair[0][:1]), *pair[0][1:]))

    def _settle(self, now_us: int) -> None:
        for key, waiting in list(self._coming.items()):
            while waiting and waiting[0][0] <= now_us:
                self._show(key, waiting.pop(0)[1])
            if not waiting:
                del self._coming[key]

    def _show(self, key: Key, entry: Item | None) -> None:
        if key in self._where:
            self._visible[self._where.pop(key)].pop(key)
        if entry is not None:
            self._where[key] = part = self.schema.key(entry)[0]
            self._visible.setdefault(part, {})[key] = entry


def position(schema: Schema, item: Item, key: Key) -> tuple[Any, ...]:
    """Where an entry stands among those with its partition key; ``key`` is that of the table."""
    return (*schema.key(item)[1:], _mixed(key))


def _mixed(key: Key) -> bytes:
    return scattered({"S": repr(key)})


class Table:
    """The items, consistent at once, with the item before the newest of each for reads that may be late."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        """``definition``: what CreateTable takes. Raises Refused."""
        types = {each["AttributeName"]: each["AttributeType"] for each in definition.get("AttributeDefinitions", ())}
        self.name: str = definition["TableName"]
        self.schema = Schema.of(definition["KeySchema"], types)
        self.definition = dict(definition)
        self.indexes: dict[str, Index] = {}
        for each in definition.get("GlobalSecondaryIndexes", ()):
            schema = Schema.of(each["KeySchema"], types)
            self.indexes[each["IndexName"]] = Index(each["IndexName"], schema, self.schema, each["Projection"])
        used = {name for schema in (self.schema, *(i.schema for i in self.indexes.values())) for name in schema.names}
        if used != types.keys():
            raise invalid("One or more parameter values were invalid: Number of attributes in KeySchema does not match")
        self._parts: dict[Any, dict[Key, Item]] = {}
        self._older: dict[Key, tuple[int, Item | None]] = {}

    def key_of(self, given: Mapping[str, Value]) -> Key:
        """Of the ``Key`` parameter of a call. Raises Refused."""
        if set(given) != set(self.schema.names):
            raise invalid("The provided key element does not match the schema")
        self.schema.check(given, sparse=False)
        return self.schema.key(given)

    def check(self, item: Item) -> None:
        """Whether an item may be stored. Raises Refused."""
        self.schema.check(item, sparse=False)
        for index in self.indexes.values():
            index.schema.check(item, sparse=True)
        if item_size(item) > ITEM_BYTES_MAX:
            raise invalid("Item size has exceeded the maximum allowed size")

    def get(self, key: Key) -> Item | None:
        return self._parts.get(key[0], {}).get(key)

    def older(self, key: Key, since_us: int) -> tuple[bool, Item | None]:
        """Whether the item was another one at some time after ``since_us``, and which."""
        at_us, item = self._older.get(key, (-1, None))
        return at_us >= since_us, item

    def set(self, key: Key, item: Item | None, now_us: int, visible_us: int) -> None:
        """Put or remove; ``visible_us``: when the indexes show it."""
        part = self._parts.setdefault(key[0], {})
        self._older[key] = now_us, part.get(key)
        if item is None:
            part.pop(key, None)
        else:
            part[key] = item
        for index in self.indexes.values():
            index.follow(key, item, visible_us)

    def partition(self, value: Any) -> list[tuple[Key, Item]]:
        """Items under one partition key, in the order of the sort key."""
        return sorted(self._parts.get(value, {}).items(), key=lambda pair: pair[0][1:])

    def all(self) -> Iterator[tuple[Key, Item]]:
        """Every item, partitions in an order that means nothing."""
        for value in sorted(self._parts, key=lambda value: self.place((value,))):
            yield from self.partition(value)

    def place(self, key: Key) -> tuple[Any, ...]:
        """Where an item stands in a scan."""
        return (_mixed(key[:1]), *key[1:])

    def described(self) -> dict[str, Any]:
        """As DescribeTable says it."""
        said = {name: value for name, value in self.definition.items() if name not in ("BillingMode", "Tags")}
        said |= {"TableStatus": "ACTIVE", "ItemCount": sum(map(len, self._parts.values()))}
        if "GlobalSecondaryIndexes" in said:
            said["GlobalSecondaryIndexes"] = [{**each, "IndexStatus": "ACTIVE"} for each in said["GlobalSecondaryIndexes"]]
        return said
