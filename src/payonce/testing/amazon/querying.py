"""What a Query asks for: one partition, and a span of its sort keys; what a page begins after."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from .evaluation import holds
from .expressions import Names, Node, condition
from .tables import Index, Key, Schema, Table, position
from .values import Item, invalid, kind_of, order_of

_SPANS: Final = ("=", "<", "<=", ">", ">=")


class Span(Struct, frozen=True):
    hash: Any  # as it is compared
    test: Node | None  # of the sort key

    def has(self, item: Item) -> bool:
        return self.test is None or holds(self.test, item)


def span_of(tree: Node, schema: Schema) -> Span:
    """Of a key condition: ``hash = :v``, and at most one test of the sort key. Raises Refused."""
    found: dict[str, Node] = {}
    for part in _parts(tree):
        name, values = _tested(part)
        if name not in schema.names or name in found:
            raise invalid(f"Query condition missed key schema element: {schema.hash[0]}")
        kind = dict((schema.hash, schema.range))[name]
        for value in values:
            if kind_of(value) != kind:
                raise invalid("One or more parameter values were invalid: Condition parameter type does not match schema type")
            if kind != "N" and not value[kind]:
                raise invalid(f"One or more parameter values are not valid. The key {name} contains an empty value")
        found[name] = part
    hashed = found.pop(schema.hash[0], None)
    if hashed is None or hashed[0] != "compare" or hashed[1] != "=":
        raise invalid("Query key condition not supported")
    return Span(order_of(hashed[3][1]), found.get(schema.range[0]))


def _parts(tree: Node) -> Iterator[Node]:
    if tree[0] == "and":
        yield from _parts(tree[1])
        yield from _parts(tree[2])
    else:
        yield tree


def _tested(part: Node) -> tuple[str, list[Any]]:
    """The name and the values of one test. Raises Refused for tests that a key condition does not know."""
    match part:
        case ("compare", sign, ("path", (name,)), ("value", value)) if sign in _SPANS:
            return name, [value]
        case ("between", ("path", (name,)), ("value", low), ("value", high)):
            return name, [low, high]
        case ("call", "begins_with", (("path", (name,)), ("value", value))):
            return name, [value]
    raise invalid("Invalid KeyConditionExpression: an operator or operand that is not supported for keys")


def _named(node: Any) -> Iterator[str]:
    if isinstance(node, tuple):
        if len(node) == 2 and node[0] in ("path", "size"):
            yield node[1][0]
        else:
            for part in node:
                yield from _named(part)


class Look:
    """One Query or Scan, over a table or one of its indexes; ``span`` is None for a scan. Raises Refused."""

    def __init__(self, table: Table, params: Mapping[str, Any]) -> None:
        self.table, self.params, self.names = table, params, Names(params)
        self.index: Index | None = None
        self.span: Span | None = None
        if (name := params.get("IndexName")) is not None:
            if name not in table.indexes:
                raise invalid(f"The table does not have the specified index: {name}")
            if params.get("ConsistentRead"):
                raise invalid("Consistent reads are not supported on global secondary indexes")
            self.index = table.indexes[name]
        self.schema = self.index.schema if self.index else table.schema
        self.key_names = tuple(dict.fromkeys((*self.schema.names, *table.schema.names)))

    def filter(self) -> Node | None:
        """What items must be besides; a query's names no key attribute."""
        if "FilterExpression" not in self.params:
            return None
        tree = condition(self.params["FilterExpression"], self.names, "FilterExpression")
        for name in _named(tree) if self.span else ():
            if name in self.schema.names:
                raise invalid(f"Filter Expression can only contain non-primary key attributes: Primary key attribute: {name}")
        return tree

    def after_start(self, rows: Sequence[tuple[Key, Item]]) -> Sequence[tuple[Key, Item]]:
        """The rows after ExclusiveStartKey, which may be gone by now."""
        if "ExclusiveStartKey" not in self.params:
            return rows
        start = self.params["ExclusiveStartKey"]
        if set(start) != set(self.key_names):
            raise invalid("The provided starting key is invalid")
        self.schema.check(start, sparse=False)
        key = self.table.schema.key(start)
        if self.span is None:
            return [(k, item) for k, item in rows if self.table.place(k) > self.table.place(key)]
        if self.schema.key(start)[0] != self.span.hash or not self.span.has(start):
            raise invalid("The provided starting key is outside query boundaries based on provided conditions")
        forward, begin = self.params.get("ScanIndexForward", True), self._place(start, key)
        return [(k, i) for k, i in rows if (self._place(i, k) > begin if forward else self._place(i, k) < begin)]

    def _place(self, item: Item, key: Key) -> tuple[Any, ...]:
        return position(self.schema, item, key) if self.index else key[1:]
