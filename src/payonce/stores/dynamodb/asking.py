"""Requests to DynamoDB and what its refusals mean: paging, batches, update expressions.

Bounds that are counted on here (docs.aws.amazon.com, DynamoDB developer guide, "Constraints in Amazon DynamoDB", and the API
reference of each operation, read 2026-11): a partition key has 1 to 2,048 bytes, a sort key 1 to 1,024; TransactWriteItems
takes at most 100 items and 4 MB. From memory, not read again: an item has at most 400 KB with its names, a page of Query or
Scan 1 MB, BatchGetItem takes 100 keys and may leave some undone, a number has 38 digits."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from payonce.awsapi import PAUSE_S as FIRST_PAUSE_S
from payonce.awsapi import TRIES_MAX, Aws, Busy, Denied, Done, Lost, insist
from payonce.core.errors import InvariantViolated, StoreUnavailable
from payonce.ports import Clock

Item = dict[str, Any]  # attribute name -> typed value: {"S": "…"}

BATCH_MAX: Final = 100
PAUSE_S: Final = 0.05  # before what a batch left undone is asked again, doubled each time

NOTHING: Final = "Nothing was written; the same key may be used again."
CLOSED: Final = f"The store is closed or closing. {NOTHING}"

CONDITION: Final = "ConditionalCheckFailedException"
CANCELED: Final = "TransactionCanceledException"
# Codes of canceled transactions that ask for another try (API reference, TransactionCanceledException, read 2026-11).
PASSING: Final = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
# What the request itself is to blame for: another try would end the same way.
WRONG: Final = frozenset({"ValidationException", "ValidationError", "ItemCollectionSizeLimitExceededException"})


def text(value: str) -> dict[str, str]:
    return {"S": value}


def number(value: int) -> dict[str, str]:
    return {"N": str(value)}


def binary(value: bytes) -> dict[str, bytes]:
    return {"B": value}


def refused(answer: Denied, what: str, state: str = NOTHING) -> StoreUnavailable | InvariantViolated:
    """The error to raise for a refusal that no other try would change."""
    codes = {answer.code, *(reason.get("Code", "") for reason in answer.body.get("CancellationReasons", ()))}
    said = f"DynamoDB refused {what}: {answer.code}: {answer.message}"
    if codes & WRONG:
        return InvariantViolated(f"{said}. {state} This is a bug, please report it.")
    if answer.code == "ResourceNotFoundException":
        return StoreUnavailable(f"{said}. {state} Deploy the tables, or correct their names in [store].")
    return StoreUnavailable(f"{said}. {state} Check the role's policy and the state of the tables, then send it again.")


async def ask(aws: Aws, clock: Clock, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """A read, asked again while AWS is busy or silent. Raises StoreUnavailable, InvariantViolated."""
    answer = await insist(aws, clock, "dynamodb", operation, params)
    if isinstance(answer, Denied):
        raise refused(answer, operation, "Nothing was changed.")
    return answer.body


async def get_item(aws: Aws, clock: Clock, table: str, key: Item) -> Item | None:
    """One item as it is now (a consistent read), or None."""
    body = await ask(aws, clock, "GetItem", {"TableName": table, "Key": key, "ConsistentRead": True})
    found: Item | None = body.get("Item")
    return found


async def pages(aws: Aws, clock: Clock, operation: str, params: Mapping[str, Any]) -> AsyncIterator[list[Item]]:
    """Query or Scan to its end, page by page; an empty page may have others behind it."""
    asked = dict(params)
    while True:
        body = await ask(aws, clock, operation, asked)
        yield body.get("Items", [])
        if not body.get("LastEvaluatedKey"):
            return
        asked["ExclusiveStartKey"] = body["LastEvaluatedKey"]


async def get_items(aws: Aws, clock: Clock, table: str, keys: Sequence[Item]) -> list[Item]:
    """Those of the items that exist, as they are now, in any order. The keys must differ. Raises StoreUnavailable."""
    found: list[Item] = []
    for start in range(0, len(keys), BATCH_MAX):
        wanted = list(keys[start : start + BATCH_MAX])
        pause_s, idle = PAUSE_S, 0
        while wanted:
            body = await ask(aws, clock, "BatchGetItem", {"RequestItems": {table: {"Keys": wanted, "ConsistentRead": True}}})
            got = body.get("Responses", {}).get(table, [])
            found += got
            wanted = body.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
            idle = 0 if got else idle + 1
            if wanted and idle >= TRIES_MAX:
                raise StoreUnavailable("DynamoDB is busy and left reads undone. Nothing was changed; try again.")
            if wanted:
                await clock.sleep(pause_s)
                pause_s = min(2 * pause_s, 1.0)
    return found


async def put_early(aws: Aws, clock: Clock, params: Mapping[str, Any]) -> None:
    """Write what a change will need, before it: it names nothing yet, and may be written any number of times. A condition that
    does not hold says that it is there. Raises StoreUnavailable, InvariantViolated."""
    answer = await insist(aws, clock, "dynamodb", "PutItem", params)
    if isinstance(answer, Denied) and answer.code != CONDITION:
        raise refused(answer, "PutItem")


async def conditional(
    aws: Aws, clock: Clock, operation: str, params: Mapping[str, Any], state: str = NOTHING
) -> tuple[Done | Denied, bool]:
    """A conditional write, sent again as it is while AWS is busy or silent: Done, or Denied because its condition does not
    hold; and whether an answer was lost before, so that an earlier try may be the one that was done. ``state`` is what an error
    says of it. Raises StoreUnavailable, InvariantViolated."""
    pause_s, lost = FIRST_PAUSE_S, False
    for _ in range(TRIES_MAX):
        match await aws.call("dynamodb", operation, params):
            case Done() as answer:
                return answer, lost
            case Denied(code=code) as answer:
                if code != CONDITION:
                    raise refused(answer, operation, state)
                return answer, lost
            case Busy():
                pass
            case Lost():
                lost = True
        await clock.sleep(pause_s)
        pause_s *= 2
    raise StoreUnavailable(f"DynamoDB does not answer {operation}. {state}")


def new(table: str, row: Item) -> dict[str, Any]:
    """The write of an item that must not be there yet."""
    return {
        "TableName": table,
        "Item": row,
        "ConditionExpression": "attribute_not_exists(#id)",
        "ExpressionAttributeNames": {"#id": "transactionId"},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def update(
    table: str,
    key: Item,
    columns: Mapping[str, Any],
    condition: str,
    given: Mapping[str, Any],
    *,
    kept: Mapping[str, Any] = {},
) -> dict[str, Any]:
    """A conditional write of some attributes: None removes one, and those of ``kept`` stay as they are where they are. In
    ``condition`` the names of attributes stand as ``#name``, values as the ``:name`` of ``given``. Every name goes by a
    placeholder, so that none can be a reserved word."""
    sets = [name for name, value in columns.items() if value is not None]
    gone = [name for name, value in columns.items() if value is None]
    said = [f"#{name} = :{name}" for name in sets] + [f"#{name} = if_not_exists(#{name}, :{name})" for name in kept]
    expression = "SET " + ", ".join(said) if said else ""
    if gone:
        expression += " REMOVE " + ", ".join(f"#{name}" for name in gone)
    named = {part.strip("()") for part in condition.replace(",", " ").split() if "#" in part}
    names = {*columns, *kept, *(part.rpartition("#")[2] for part in named)}
    params = {
        "TableName": table,
        "Key": key,
        "UpdateExpression": expression.strip(),
        "ConditionExpression": condition,
        "ExpressionAttributeNames": {f"#{name}": name for name in sorted(names)},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    values = {f":{name}": columns[name] for name in sets}
    values |= {f":{name}": value for name, value in (*kept.items(), *given.items())}
    return params | ({"ExpressionAttributeValues": values} if values else {})


def reasons(answer: Denied, count: int) -> list[dict[str, Any]]:
    """Why a transaction was canceled, item by item; nothing about an item is said as the code "None"."""
    said = list(answer.body.get("CancellationReasons", ()))
    return said if len(said) == count else [{"Code": "None"}] * count


def passing(answer: Denied, count: int) -> bool:
    """Whether a canceled transaction may hold at another try: no condition failed, and something was only busy."""
    codes = {reason.get("Code", "None") for reason in reasons(answer, count)}
    return answer.code == CANCELED and bool(codes & PASSING) and not codes - PASSING - {"None"}
