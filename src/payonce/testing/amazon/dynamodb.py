"""The operations of DynamoDB that payonce uses, on tables in memory. Each takes what the API takes and gives what it gives,
or raises Refused with the API's error code. A parameter that the model does not know is refused, never ignored."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from payonce.ports import Clock

from .bill import Bill, Place, read_units, write_units
from .evaluation import holds, projected, updated
from .expressions import Names, Node, Path, condition, projection, update
from .querying import Look, span_of
from .tables import Key, Table
from .values import Item, Refused, clean, invalid, item_size
from .weather import Weather

PAGE_BYTES: Final = 1024 * 1024  # of a Query or Scan, before its filter: API reference, "Query" and "Scan", read 2026-11
BATCH_KEYS_MAX: Final = 100
STALE_US: Final = (
    2_000_000  # how old an eventually consistent read may be here; AWS states no bound, "usually one second or less"
)

OnWrite = Callable[[Table, Item | None, Item | None, int], None]  # the item before and after, when indexes show it

_ALIASES: Final = ("ExpressionAttributeNames", "ExpressionAttributeValues")
_WRITE: Final = (
    *("TableName", "ConditionExpression", *_ALIASES, "ReturnValues"),
    *("ReturnValuesOnConditionCheckFailure", "ReturnConsumedCapacity"),
)
_LOOK: Final = (
    *("TableName", "IndexName", "FilterExpression", "ProjectionExpression", "ExclusiveStartKey", "Limit", "ConsistentRead"),
    *("Select", "ReturnConsumedCapacity", *_ALIASES),
)
KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "GetItem": (
        "TableName",
        "Key",
        "ConsistentRead",
        "ProjectionExpression",
        "ExpressionAttributeNames",
        "ReturnConsumedCapacity",
    ),
    "PutItem": ("Item", *_WRITE),
    "UpdateItem": ("Key", "UpdateExpression", *_WRITE),
    "DeleteItem": ("Key", *_WRITE),
    "Query": ("KeyConditionExpression", "ScanIndexForward", *_LOOK),
    "Scan": _LOOK,
    "BatchGetItem": ("RequestItems", "ReturnConsumedCapacity"),
    "TransactWriteItems": ("TransactItems", "ClientRequestToken", "ReturnConsumedCapacity"),
    "TransactGetItems": ("TransactItems", "ReturnConsumedCapacity"),
    "DescribeTable": ("TableName",),
    "CreateTable": (
        *(
            "TableName",
            "AttributeDefinitions",
            "KeySchema",
            "GlobalSecondaryIndexes",
            "BillingMode",
            "Tags",
            "SSESpecification",
        ),
        *("StreamSpecification", "DeletionProtectionEnabled"),
    ),
}
_RETURNS: Final = {
    "PutItem": ("NONE", "ALL_OLD"),
    "DeleteItem": ("NONE", "ALL_OLD"),
    "UpdateItem": ("NONE", "ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW"),
}


class Write:
    """One write of one item, read and checked, and not yet done: alone or as a part of a transaction. Raises Refused."""

    def __init__(self, table: Table, kind: str, params: Mapping[str, Any]) -> None:
        self.table, self.kind, self.params = table, kind, params
        names = Names(params)
        self.condition: Node | None = None
        self.actions: tuple[Node, ...] = ()
        self._item: Item = {}
        if kind == "PutItem":
            self._item = {name: clean(value) for name, value in params["Item"].items()}
            table.check(self._item)
            self.key_item = {name: self._item[name] for name in table.schema.names}
        else:
            self.key_item = {name: clean(value) for name, value in params["Key"].items()}
        self.key: Key = table.key_of(self.key_item)
        if "ConditionExpression" in params:
            self.condition = condition(params["ConditionExpression"], names, "ConditionExpression")
        if "UpdateExpression" in params:
            self.actions = update(params["UpdateExpression"], names)
        if any(action[1][0] in table.schema.names for action in self.actions):
            raise invalid(
                "One or more parameter values were invalid: Cannot update attribute. This attribute is part of the key"
            )
        names.all_used()

    @property
    def before(self) -> Item | None:
        return self.table.get(self.key)

    def may(self) -> bool:
        """Whether the condition holds now."""
        return self.condition is None or holds(self.condition, self.before or {})

    def after(self) -> Item | None:
        """The item as it will be. Raises Refused when it cannot be so."""
        if self.kind == "DeleteItem":
            return None
        if self.kind == "ConditionCheck":
            return self.before
        if self.kind == "PutItem":
            return self._item
        item = updated(self.before or dict(self.key_item), self.actions)
        self.table.check(item)
        return item

    def wants_old(self) -> bool:
        """Whether a failed condition comes with the item."""
        return self.params.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and self.before is not None


class DynamoDb:
    """See the module docstring."""

    def __init__(self, clock: Clock, bill: Bill, weather: Weather) -> None:
        self.clock, self.bill, self.weather = clock, bill, weather
        self.tables: dict[str, Table] = {}
        self.on_write: OnWrite | None = None  # told of every item that changes, at once
        self._do: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "GetItem": self._get,
            "PutItem": lambda params: self._write("PutItem", params),
            "UpdateItem": lambda params: self._write("UpdateItem", params),
            "DeleteItem": lambda params: self._write("DeleteItem", params),
            "Query": self._query,
            "Scan": self._scan,
            "BatchGetItem": self._batch_get,
            "DescribeTable": lambda params: {"Table": self.table(params).described()},
            "CreateTable": self._create,
        }

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Raises Refused."""
        known(operation, params)
        return self._do[operation](params)

    def table(self, params: Mapping[str, Any]) -> Table:
        name = params.get("TableName")
        if name not in self.tables:
            raise Refused("ResourceNotFoundException", f"Requested resource not found: Table: {name} not found")
        return self.tables[str(name)]

    def _create(self, params: Mapping[str, Any]) -> dict[str, Any]:
        if params["TableName"] in self.tables:
            raise Refused("ResourceInUseException", f"Table already exists: {params['TableName']}")
        table = Table(params)
        self.tables[table.name] = table
        return {"TableDescription": table.described()}

    # --- writes -----------------------------------------------------------------------------------------------------------

    def _write(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        table = self.table(params)
        wanted = params.get("ReturnValues", "NONE")
        if wanted not in _RETURNS[operation]:
            raise invalid(f"Return values set to invalid value: {wanted}")
        write = Write(table, operation, params)
        before = write.before
        if not write.may():
            self.bill.wrote(Place(table.name, "", operation), write_units(item_size(before or {})))
            told = {"Item": dict(before or {})} if write.wants_old() else {}
            raise Refused("ConditionalCheckFailedException", "The conditional request failed", told)
        after = write.after()
        self.bill.wrote(Place(table.name, "", operation), units_of(before, after))
        self.apply(write, after, operation)
        return returned(wanted, before, after, write.actions)

    def apply(self, write: Write, after: Item | None, operation: str) -> None:
        """The write is done: the table shows it at once, its indexes some time later."""
        table, before, now_us = write.table, write.before, self.clock.monotonic_us()
        for index in table.indexes.values():
            self.bill.wrote(Place(table.name, index.name, operation), index.units(before, after))
        if before is None and after is None:
            return
        visible_us = now_us + self.weather.lag_us()
        table.set(write.key, after, now_us, visible_us)
        if self.on_write is not None:
            self.on_write(table, before, after, visible_us)

    # --- reads ------------------------------------------------------------------------------------------------------------

    def found(self, table: Table, key: Key, *, consistent: bool) -> Item | None:
        """The item; what it was a moment ago, when the read may be late and the weather is so."""
        if not consistent:
            changed, older = table.older(key, self.clock.monotonic_us() - STALE_US)
            if changed and self.weather.stale():
                return older
        return table.get(key)

    def _get(self, params: Mapping[str, Any]) -> dict[str, Any]:
        table, names = self.table(params), Names(params)
        key = table.key_of({name: clean(value) for name, value in params["Key"].items()})
        paths = parts_of(params, names)
        names.all_used()
        consistent = bool(params.get("ConsistentRead"))
        item = self.found(table, key, consistent=consistent)
        units = read_units(item_size(item or {}), consistent=consistent)
        self.bill.read(Place(table.name, "", "GetItem"), units)
        return {} if item is None else {"Item": projected(item, paths)}

    def _batch_get(self, params: Mapping[str, Any]) -> dict[str, Any]:
        asked: list[tuple[Table, Key, Mapping[str, Any], Mapping[str, Any]]] = []
        for name, wanted in params["RequestItems"].items():
            table = self.table({"TableName": name})
            asked += [(table, table.key_of(key), key, wanted) for key in wanted["Keys"]]
        places = [(table.name, key) for table, key, _, _ in asked]
        if not 1 <= len(places) <= BATCH_KEYS_MAX:
            raise invalid("Too many items requested for the BatchGetItem call, or none")
        if len(set(places)) != len(places):
            raise invalid("Provided list of item keys contains duplicates")
        left = self.weather.unprocessed(len(asked))
        responses: dict[str, list[Item]] = {name: [] for name in params["RequestItems"]}
        unprocessed: dict[str, dict[str, Any]] = {}
        for number, (table, key, given, wanted) in enumerate(asked):
            names = Names(wanted)
            paths = parts_of(wanted, names)
            names.all_used()
            if number >= len(asked) - left:
                rest = {each: value for each, value in wanted.items() if each != "Keys"}
                unprocessed.setdefault(table.name, {**rest, "Keys": []})["Keys"].append(dict(given))
                continue
            consistent = bool(wanted.get("ConsistentRead"))
            item = self.found(table, key, consistent=consistent)
            self.bill.read(Place(table.name, "", "BatchGetItem"), read_units(item_size(item or {}), consistent=consistent))
            if item is not None:
                responses[table.name].append(projected(item, paths))
        return {"Responses": responses, "UnprocessedKeys": unprocessed}

    def _query(self, params: Mapping[str, Any]) -> dict[str, Any]:
        look = Look(self.table(params), params)
        if "KeyConditionExpression" not in params:
            raise invalid("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
        look.span = span_of(condition(params["KeyConditionExpression"], look.names, "KeyConditionExpression"), look.schema)
        now_us, index = self.clock.monotonic_us(), look.index
        rows = index.partition(look.span.hash, now_us) if index else look.table.partition(look.span.hash)
        rows = [(key, item) for key, item in rows if look.span.has(item)]
        if not params.get("ScanIndexForward", True):
            rows.reverse()
        return self._page("Query", look, rows)

    def _scan(self, params: Mapping[str, Any]) -> dict[str, Any]:
        look = Look(self.table(params), params)
        return self._page("Scan", look, list(look.index.entries(self.clock.monotonic_us()) if look.index else look.table.all()))

    def _page(self, operation: str, look: Look, rows: Sequence[tuple[Key, Item]]) -> dict[str, Any]:
        params, table, index = look.params, look.table, look.index
        filter_, paths, limit = look.filter(), parts_of(params, look.names), params.get("Limit")
        look.names.all_used()
        if limit is not None and limit < 1:
            raise invalid("Limit must be greater than or equal to 1")
        if index and index.names is not None and (beside := {str(path[0]) for path in paths or ()} - set(index.names)):
            raise invalid(f"One or more parameter values were invalid: index {index.name} does not project {sorted(beside)}")
        consistent = bool(params.get("ConsistentRead"))
        rows = look.after_start(rows)
        size, taken, cut = 0, list[Item](), False
        for number, (key, entry) in enumerate(rows):
            item = entry if index else self.found(table, key, consistent=consistent)
            if item is None:
                continue
            size += item_size(item)
            taken.append(item)
            cut = len(taken) == limit or (size >= PAGE_BYTES and number + 1 < len(rows))
            if cut:
                break
        units = read_units(size, consistent=consistent)
        self.bill.read(Place(table.name, index.name if index else "", operation), units)
        kept = [item for item in taken if filter_ is None or holds(filter_, item)]
        answer: dict[str, Any] = {"Count": len(kept), "ScannedCount": len(taken)}
        if params.get("Select") != "COUNT":
            answer["Items"] = [projected(item, paths) for item in kept]
        if cut:
            answer["LastEvaluatedKey"] = {name: taken[-1][name] for name in look.key_names}
        return answer


def known(operation: str, params: Mapping[str, Any]) -> None:
    """Raises Refused for what the model cannot do."""
    if operation not in KNOWN:
        raise Refused("UnknownOperationException", f"the model of DynamoDB does not know {operation}")
    if strange := sorted(set(params) - set(KNOWN[operation])):
        raise invalid(f"the model of DynamoDB does not know these parameters of {operation}: {strange}")


def parts_of(params: Mapping[str, Any], names: Names) -> tuple[Path, ...] | None:
    text = params.get("ProjectionExpression")
    return None if text is None else projection(text, names)


def units_of(before: Item | None, after: Item | None) -> int:
    """Of a write of the table itself, outside of transactions."""
    return write_units(max(item_size(before or {}), item_size(after or {})))


def returned(wanted: str, before: Item | None, after: Item | None, actions: Sequence[Node]) -> dict[str, Any]:
    """What a write gives back."""
    if wanted == "NONE":
        return {}
    item = before if wanted.endswith("OLD") else after
    paths = [action[1] for action in actions] if wanted.startswith("UPDATED") else None
    shown = projected(item or {}, paths)
    return {"Attributes": shown} if shown else {}
