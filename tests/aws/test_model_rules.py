"""What the model of AWS refuses, costs and does on demand, by the documentation of AWS."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import pytest

from payonce.awsapi import Denied, Done
from payonce.testing.amazon import ModelAws, Place, Weather

from .test_model import TABLE, Call, FixedClock, plain


def asked(*calls: Call, weather: Weather | None = None) -> tuple[ModelAws, list[Any]]:
    """A model with the table, after these calls; what they said."""

    async def run() -> tuple[ModelAws, list[Any]]:
        model = ModelAws(FixedClock(), weather)
        await model.call("dynamodb", "CreateTable", {"TableName": "t", **TABLE})
        said = [plain(await model.call("dynamodb", operation, {"TableName": "t", **params})) for operation, params in calls]
        return model, said

    return asyncio.run(run())


def key(sk: str = "a") -> dict[str, Any]:
    return {"pk": {"S": "p"}, "sk": {"S": sk}}


def put(sk: str = "a", /, **more: Any) -> Call:
    return "PutItem", {"Item": key(sk) | more}


N1: Final = {":n": {"N": "1"}}
# Each is refused by AWS (developer guide: expression pages, "Quotas", "Constraints"; error texts seen by many), and done by the
# emulator, or told there only when a condition held before it.
LET_PASS: Final[Mapping[str, Call]] = {
    "overlapping paths": ("UpdateItem", {"UpdateExpression": "SET v = :n, v = :n", "ExpressionAttributeValues": N1}),
    "a clause twice": ("UpdateItem", {"UpdateExpression": "SET v = :n SET w = :n", "ExpressionAttributeValues": N1}),
    "an empty clause": ("UpdateItem", {"UpdateExpression": "SET"}),
    "a path into nothing": ("UpdateItem", {"UpdateExpression": "REMOVE m.x"}),
    "a list that is not there": ("UpdateItem", {"UpdateExpression": "REMOVE l[0]"}),
    "a reserved word under a failed condition": (
        "UpdateItem",
        {
            "UpdateExpression": "SET status = :n",
            "ConditionExpression": "attribute_exists(v)",
            "ExpressionAttributeValues": N1,
        },
    ),
    "a reserved word in a projection": (
        "Query",
        {
            "KeyConditionExpression": "pk = :p",
            "ProjectionExpression": "name",
            "ExpressionAttributeValues": {":p": {"S": "none"}},
        },
    ),
    "a filter of a key": (
        "Query",
        {
            "KeyConditionExpression": "pk = :p",
            "FilterExpression": "sk = :p",
            "ExpressionAttributeValues": {":p": {"S": "none"}},
        },
    ),
}


@pytest.mark.parametrize("what", LET_PASS)
def test_what_the_emulator_lets_pass(what: str) -> None:
    """Here the model is stricter than the emulator, as AWS is."""
    operation, params = LET_PASS[what]
    _, (said,) = asked((operation, params if operation == "Query" else {"Key": key(), **params}))
    assert said == ("Denied", "ValidationException", None, [])


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("PutItem", {"Item": {**key(), "x": {"B": b"x" * 409_600}}}),
        ("PutItem", {"Item": key("")}),
        ("PutItem", {"Item": key("x" * 1025)}),
        ("PutItem", {"Item": {**key(), "gp": {"S": ""}}}),
        ("PutItem", {"Item": {"pk": {"S": "p"}}}),
        ("PutItem", {"Item": {**key(), "x": {"SS": []}}}),
        ("PutItem", {"Item": {**key(), "x": {"N": "1e126"}}}),
        ("PutItem", {"Item": key(), "Colour": "red"}),
        ("GetItem", {"Key": {"pk": {"S": "p"}}}),
        ("Query", {"KeyConditionExpression": "gp = :n", "IndexName": "bare", "ExpressionAttributeValues": N1}),
        ("Query", {"IndexName": "nowhere", "KeyConditionExpression": "gp = :n", "ExpressionAttributeValues": N1}),
        ("TransactWriteItems", {"TransactItems": [{"Delete": {"TableName": "t", "Key": key()}}] * 2}),
        ("BatchGetItem", {"RequestItems": {"t": {"Keys": [key()] * 2}}}),
    ],
)
def test_limits_are_kept(operation: str, params: dict[str, Any]) -> None:
    """Too big, empty, incomplete, twice or unknown is a validation error."""
    named = {} if "TransactItems" in params or "RequestItems" in params else {"TableName": "t"}
    model, _ = asked()
    said = asyncio.run(model.call("dynamodb", operation, {**named, **params}))
    assert isinstance(said, Denied), said
    assert said.code == "ValidationException", said


def test_a_token_is_known_for_ten_minutes() -> None:
    """The same request is done once, another one with its token is refused; after ten minutes it is done again."""
    model, _ = asked()
    adds = {
        "TransactItems": [
            {
                "Update": {
                    "TableName": "t",
                    "Key": key(),
                    "UpdateExpression": "ADD v :n",
                    "ExpressionAttributeValues": N1,
                }
            }
        ],
        "ClientRequestToken": "one",
    }
    other = {**adds, "TransactItems": [{"Delete": {"TableName": "t", "Key": key()}}]}
    clock = model.dynamodb.clock
    assert isinstance(clock, FixedClock)

    async def run() -> list[Any]:
        said = []
        for wait_s, request in ((0, adds), (599, adds), (0, other), (2, adds)):
            await clock.sleep(wait_s)
            said.append(plain(await model.call("dynamodb", "TransactWriteItems", request)))
        return [*said, model.dynamodb.tables["t"].get((b"p", b"a"))]

    done, again, refused, late, item = asyncio.run(run())
    assert (done, again, late) == ({}, {}, {})
    assert refused[1] == "IdempotentParameterMismatchException"
    assert item["v"] == {"N": "2"}


def units(model: ModelAws) -> dict[tuple[str, str], float]:
    """Write units by (index, operation)."""
    return {(place.index, place.operation): n for place, n in model.bill.writes.items()}


@pytest.mark.parametrize(
    ("calls", "wanted"),
    [
        ([put(x={"B": b"x" * 1000})], {("", "PutItem"): 1}),
        ([put(x={"B": b"x" * 1100})], {("", "PutItem"): 2}),
        ([put(x={"B": b"x" * 1100}), put()], {("", "PutItem"): 4}),  # the larger of before and after
        ([put(gp={"S": "g"}, gs={"N": "1"})], {("", "PutItem"): 1, ("bare", "PutItem"): 1, ("some", "PutItem"): 1}),
        ([put(gp={"S": "g"})], {("", "PutItem"): 1}),  # without the whole key it is in no index
        (
            [put(gp={"S": "g"}, gs={"N": "1"}), put(gp={"S": "g"}, gs={"N": "1"}, a={"S": "x"})],
            {("", "PutItem"): 2, ("bare", "PutItem"): 1, ("some", "PutItem"): 2},  # only one projects what changed
        ),
        (
            [put(gp={"S": "g"}, gs={"N": "1"}), put(gp={"S": "g"}, gs={"N": "2"})],
            {("", "PutItem"): 2, ("bare", "PutItem"): 3, ("some", "PutItem"): 3},  # another key: out and in
        ),
        (
            [put(gp={"S": "g"}, gs={"N": "1"}), ("DeleteItem", {"Key": key()})],
            {
                ("", "PutItem"): 1,
                ("bare", "PutItem"): 1,
                ("some", "PutItem"): 1,
                ("", "DeleteItem"): 1,
                ("bare", "DeleteItem"): 1,
                ("some", "DeleteItem"): 1,
            },
        ),
        (
            [put(x={"B": b"x" * 3000}), ("DeleteItem", {"Key": key(), "ConditionExpression": "attribute_not_exists(x)"})],
            {("", "PutItem"): 3, ("", "DeleteItem"): 3},  # a condition that fails costs the item that is there
        ),
    ],
)
def test_writes_cost_what_the_rules_say(calls: list[Call], wanted: dict[tuple[str, str], float]) -> None:
    """Each began KB of the larger item, and each index whose part changes."""
    model, _ = asked(*calls)
    assert units(model) == wanted


def test_a_transaction_costs_twice_and_its_repeat_reads() -> None:
    """Twice for the table, once for its indexes; the same token again costs transactional reads."""
    model, _ = asked()
    item = {**key(), "gp": {"S": "g"}, "gs": {"N": "1"}}
    request = {"TransactItems": [{"Put": {"TableName": "t", "Item": item}}], "ClientRequestToken": "one"}
    for _ in range(2):
        asyncio.run(model.call("dynamodb", "TransactWriteItems", request))
    name = "TransactWriteItems"
    assert units(model) == {("", name): 2, ("bare", name): 1, ("some", name): 1}
    assert model.bill.reads == {Place("t", "", name): 2}
    assert model.bill.calls["dynamodb", name] == 2


def test_reads_cost_what_the_rules_say() -> None:
    """Each began 4 KB, half when it may be late; a query adds up first; nothing found costs the least."""
    big = {"x": {"B": b"x" * 3000}}
    query = {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": "p"}}}
    for call, wanted in (
        (("GetItem", {"Key": key()}), 0.5),
        (("GetItem", {"Key": key(), "ConsistentRead": True}), 1),
        (("GetItem", {"Key": key("none"), "ConsistentRead": True}), 1),
        (("Query", {**query, "ConsistentRead": True}), 2),  # 6,000 bytes
        (("Query", query), 1),
        (("Query", {**query, "IndexName": "bare", "KeyConditionExpression": "gp = :p"}), 0.5),
    ):
        model, _ = asked(put(**big), put("b", **big))
        model.bill.reset()
        asyncio.run(model.call("dynamodb", call[0], {"TableName": "t", **call[1]}))
        assert (model.bill.read_units(), model.bill.write_units()) == (wanted, 0), call


def test_numbers_have_one_form() -> None:
    """Zeros at either end are trimmed ("DynamoDB item sizes and formats"); the emulator keeps them."""
    item = {**key(), "v": {"N": "01.50"}, "w": {"N": "1e2"}, "s": {"NS": ["1.0", "2"]}}
    _, (_, said) = asked(("PutItem", {"Item": item}), ("GetItem", {"Key": key()}))
    assert said["Item"] == {**key(), "v": {"N": "1.5"}, "w": {"N": "100"}, "s": {"NS": ["1", "2"]}}


def test_an_index_knows_only_what_it_projects() -> None:
    """A filter finds nothing in what is not projected, a projection of it is refused; the emulator looks at the item."""
    query = {"IndexName": "bare", "KeyConditionExpression": "gp = :g", "ExpressionAttributeValues": {":g": {"S": "g"}}}
    _, (_, filtered, refused) = asked(
        put(gp={"S": "g"}, gs={"N": "1"}, a={"S": "x"}),
        ("Query", {**query, "FilterExpression": "attribute_exists(a)"}),
        ("Query", {**query, "ProjectionExpression": "a"}),
    )
    assert (filtered["Count"], filtered["ScannedCount"]) == (0, 1)
    assert refused[1] == "ValidationException"


class Bad(Weather):
    """Indexes follow after 5 s, late reads are late, batches are half answered."""

    def lag_us(self) -> int:
        return 5_000_000

    def stale(self) -> bool:
        return True

    def unprocessed(self, count: int) -> int:
        return count // 2


def test_weather_is_seen() -> None:
    """A late index, an older item for whoever may get one, and keys that are given back."""
    model, _ = asked(put(v={"N": "1"}), put(v={"N": "2"}, gp={"S": "g"}, gs={"N": "1"}), put("b"), weather=Bad())
    clock = model.dynamodb.clock

    async def call(operation: str, **params: Any) -> dict[str, Any]:
        answer = await model.call("dynamodb", operation, params)
        assert isinstance(answer, Done)
        return answer.body

    async def run() -> None:
        query = {"KeyConditionExpression": "gp = :g", "ExpressionAttributeValues": {":g": {"S": "g"}}}
        assert (await call("Query", TableName="t", IndexName="bare", **query))["Count"] == 0
        assert (await call("GetItem", TableName="t", Key=key()))["Item"]["v"] == {"N": "1"}
        assert (await call("GetItem", TableName="t", Key=key(), ConsistentRead=True))["Item"]["v"] == {"N": "2"}
        batch = await call("BatchGetItem", RequestItems={"t": {"Keys": [key(), key("b")], "ConsistentRead": True}})
        assert batch["UnprocessedKeys"] == {"t": {"ConsistentRead": True, "Keys": [key("b")]}}
        await clock.sleep(6)
        assert (await call("Query", TableName="t", IndexName="bare", **query))["Count"] == 1
        assert (await call("GetItem", TableName="t", Key=key()))["Item"]["v"] == {"N": "2"}

    asyncio.run(run())


def test_a_page_ends_at_one_megabyte() -> None:
    """Before the filter, and with a key to go on from."""
    model, _ = asked(*(put(f"{n}", x={"B": b"x" * 300_000}) for n in range(6)))
    query = {
        "TableName": "t",
        "KeyConditionExpression": "pk = :p",
        "FilterExpression": "attribute_not_exists(x)",
        "ExpressionAttributeValues": {":p": {"S": "p"}},
    }
    said = asyncio.run(model.call("dynamodb", "Query", query))
    assert isinstance(said, Done)
    assert (said.body["Count"], said.body["ScannedCount"], said.body["LastEvaluatedKey"]) == (0, 4, key("3"))
