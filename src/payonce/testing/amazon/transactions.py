"""TransactWriteItems and TransactGetItems: all or nothing, with the reason of each part, and once for each request token.

Source: docs.aws.amazon.com, API reference, "TransactWriteItems" and developer guide, "Amazon DynamoDB Transactions: How it
works" (read 2026-11)."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from .bill import Place, read_units
from .dynamodb import DynamoDb, Write, known, parts_of, units_of
from .evaluation import projected
from .expressions import Names
from .values import Item, Refused, clean, invalid, item_size

ITEMS_MAX: Final = 100
BYTES_MAX: Final = 4 * 1024 * 1024
TOKEN_CHARS_MAX: Final = 36
TOKEN_US: Final = 10 * 60 * 1_000_000  # how long a request token is known
_KINDS: Final = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheck"}
_PART: Final = (
    *("TableName", "ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues"),
    "ReturnValuesOnConditionCheckFailure",
)
_PARTS: Final = {
    "Put": (*_PART, "Item"),
    "Update": (*_PART, "Key", "UpdateExpression"),
    "Delete": (*_PART, "Key"),
    "ConditionCheck": (*_PART, "Key"),
}
_NAME: Final = "TransactWriteItems"


class Transactions:
    """Over the tables of one DynamoDb."""

    def __init__(self, db: DynamoDb) -> None:
        self._db = db
        self._tokens: dict[str, tuple[bytes, int, list[tuple[str, int]]]] = {}  # request, until when, what a repeat reads

    def write(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Raises Refused."""
        known(_NAME, params)
        token, now_us = params.get("ClientRequestToken"), self._db.clock.monotonic_us()
        request = msgspec.json.encode(params["TransactItems"], order="deterministic")
        if token is not None and not 1 <= len(token) <= TOKEN_CHARS_MAX:
            raise invalid(f"ClientRequestToken must have 1 to {TOKEN_CHARS_MAX} characters")
        if token in self._tokens and self._tokens[token][1] > now_us:
            before, _, sizes = self._tokens[token]
            if before != request:
                raise Refused("IdempotentParameterMismatchException", "the token was used with other parameters")
            if sizes:
                for table, size in sizes:
                    self._db.bill.read(Place(table, "", _NAME), 2 * read_units(size, consistent=True))
                return {}
        writes = self._parts(params["TransactItems"])
        if token is not None:  # known from here on, also when it comes to nothing: then it may be tried again
            self._tokens[token] = request, now_us + TOKEN_US, []
        afters = self._judged(writes)
        sizes = []
        for write, after in zip(writes, afters, strict=True):
            self._cost(write, after)
            sizes.append((write.table.name, item_size(after or write.before or {})))
            if write.kind != "ConditionCheck":
                self._db.apply(write, after, _NAME)
        if token is not None:
            self._tokens[token] = request, now_us + TOKEN_US, sizes
        return {}

    def _parts(self, items: Any) -> list[Write]:
        if not 1 <= len(items) <= ITEMS_MAX:
            raise invalid(f"Member must have length less than or equal to {ITEMS_MAX} and at least 1")
        writes = []
        for each in items:
            if len(each) != 1 or (kind := next(iter(each))) not in _KINDS:
                raise invalid("TransactItems can only contain one of Check, Put, Update or Delete")
            part = each[kind]
            if strange := sorted(set(part) - set(_PARTS[kind])):
                raise invalid(f"the model of DynamoDB does not know these parameters of {kind}: {strange}")
            if kind == "ConditionCheck" and "ConditionExpression" not in part:
                raise invalid("ConditionExpression must not be null")
            writes.append(Write(self._db.table(part), _KINDS[kind], part))
        places = [(write.table.name, write.key) for write in writes]
        if len(set(places)) != len(places):
            raise invalid("Transaction request cannot include multiple operations on one item")
        return writes

    def _judged(self, writes: list[Write]) -> list[Item | None]:
        """The items as they will be. Raises Refused with the reasons when one part cannot be done."""
        reasons, afters = list[dict[str, Any]](), list[Item | None]()
        for write in writes:
            reason, after = {"Code": "None"}, None
            if not write.may():
                reason = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
                if write.wants_old():
                    reason["Item"] = dict(write.before or {})  # type: ignore[assignment]
            else:
                try:
                    after = write.after()
                except Refused as refused:
                    reason = {"Code": "ValidationError", "Message": refused.message}
            reasons.append(reason)
            afters.append(after)
        if any(reason["Code"] != "None" for reason in reasons):
            for write in writes:
                self._cost(write, write.before)
            codes = ", ".join(reason["Code"] for reason in reasons)
            message = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
            raise Refused("TransactionCanceledException", message, {"CancellationReasons": reasons})
        if sum(item_size(after or {}) for after in afters) > BYTES_MAX:
            raise invalid("The aggregate size of the items in the transaction cannot exceed 4 MB")
        return afters

    def _cost(self, write: Write, after: Item | None) -> None:
        self._db.bill.wrote(Place(write.table.name, "", _NAME), 2 * units_of(write.before, after))

    def read(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Raises Refused."""
        known("TransactGetItems", params)
        if not 1 <= len(params["TransactItems"]) <= ITEMS_MAX:
            raise invalid(f"Member must have length less than or equal to {ITEMS_MAX} and at least 1")
        responses, places = list[dict[str, Any]](), list[Any]()
        for each in params["TransactItems"]:
            part = each["Get"]
            table, names = self._db.table(part), Names(part)
            key = table.key_of({name: clean(value) for name, value in part["Key"].items()})
            paths = parts_of(part, names)
            names.all_used()
            places.append((table.name, key))
            item = table.get(key)
            self._db.bill.read(
                Place(table.name, "", "TransactGetItems"), 2 * read_units(item_size(item or {}), consistent=True)
            )
            responses.append({} if item is None else {"Item": projected(item, paths)})
        if len(set(places)) != len(places):
            raise invalid("Transaction request cannot include multiple operations on one item")
        return {"Responses": responses}
