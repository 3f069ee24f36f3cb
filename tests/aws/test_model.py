"""The model of AWS against the local emulator: the same random calls, the same answers. Where they differ, the documentation
of AWS decided for the model: ``test_model_rules.py`` lists that."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from payonce.awsapi import Answer, Denied, Done
from payonce.awsclient.client import AwsClient
from payonce.bootstrap import SystemClock
from payonce.testing.amazon import ModelAws

from .emulator import emulator, environment

Call = tuple[str, dict[str, Any]]

TABLE: Final[Mapping[str, Any]] = {
    "BillingMode": "PAY_PER_REQUEST",
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "AttributeDefinitions": [
        {"AttributeName": name, "AttributeType": kind} for name, kind in (("pk", "S"), ("sk", "S"), ("gp", "S"), ("gs", "N"))
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": name,
            "KeySchema": [{"AttributeName": "gp", "KeyType": "HASH"}, {"AttributeName": "gs", "KeyType": "RANGE"}],
            "Projection": projection,
        }
        for name, projection in (
            ("bare", {"ProjectionType": "KEYS_ONLY"}),
            ("some", {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["a"]}),
        )
    ],
}
CONDITIONS: Final = (
    "attribute_not_exists(pk)",
    "attribute_exists(pk)",
    "attribute_exists(v)",
    "v = :n",
    "v <> :n",
    "#v >= :n AND (a = :s OR NOT v < :m)",
    "begins_with(a, :s)",
    "contains(a, :s)",
    "contains(st, :s)",
    "size(a) > :n",
    "v BETWEEN :n AND :m",
    "v IN (:n, :m)",
    "attribute_type(v, :t)",
    "m.x = :n",
    "l[0] = :s",
    "not attribute_exists(l[1])",
    "status = :n",  # reserved
    "v = = :n",
    "v = :unknown",
)
UPDATES: Final = (
    "SET v = :n",
    "SET v = if_not_exists(v, :n) + :m",
    "SET v = v - :m",
    "ADD v :n",
    "SET l = list_append(if_not_exists(l, :l), :l)",
    "SET l[0] = :n",
    "SET gp = :s, gs = :m REMOVE a",
    "REMOVE gp",
    "SET a = :s",
    "SET b = :b",
    "ADD st :ss",
    "DELETE st :ss",
    "SET m = :map",
    "SET m.x = :n",
    "set v = :n remove a add w :m",
    "SET #item = :s, v = :n",
)
WRONG: Final = ("SET pk = :s", "SET status = :n", "SET gs = :s")
KEY_CONDITIONS: Final = (
    "pk = :p",
    "pk = :p AND sk = :k",
    "pk = :p AND sk < :k",
    "pk = :p AND sk <= :k",
    "pk = :p AND sk > :k",
    "pk = :p AND sk >= :k",
    "pk = :p AND sk BETWEEN :k AND :k2",
    "pk = :p AND begins_with(sk, :k)",
    "begins_with(pk, :p)",
    "sk = :k",
    "pk = :n",
)
INDEX_CONDITIONS: Final = (
    "gp = :p",
    "gp = :p AND gs <= :n",
    "gp = :p AND gs BETWEEN :n AND :m",
    "gp = :p AND gs > :n",
    "gs = :n",
)
PK = st.sampled_from(["p1", "p2"])
SK = st.sampled_from(["a", "b", "b#1", "é", "𐀀", "\uffee"])
NUMBER = st.sampled_from(["0", "1", "2", "-3", "10", "1.5", "100"])
TEXT = st.sampled_from(["x", "xy", "y"])
VALUES = {
    ":n": NUMBER.map(lambda n: {"N": n}),
    ":m": NUMBER.map(lambda n: {"N": n}),
    ":s": TEXT.map(lambda s: {"S": s}),
    ":b": st.sampled_from([b"\x00", b"\xff\x01"]).map(lambda b: {"B": b}),
    ":t": st.sampled_from(["N", "S"]).map(lambda t: {"S": t}),
    ":l": TEXT.map(lambda s: {"L": [{"S": s}]}),
    ":ss": st.sampled_from([["x"], ["x", "y"]]).map(lambda s: {"SS": s}),
    ":map": NUMBER.map(lambda n: {"M": {"x": {"N": n}}}),
    ":p": PK.map(lambda s: {"S": s}),
    ":k": SK.map(lambda s: {"S": s}),
    ":k2": SK.map(lambda s: {"S": s}),
}
KEYS = st.builds(lambda p, s: {"pk": {"S": p}, "sk": {"S": s}}, PK, SK)
ITEMS = st.builds(
    lambda key, rest: {**key, **rest},
    KEYS,
    st.fixed_dictionaries(
        {},
        optional={
            "gp": VALUES[":p"],
            "gs": VALUES[":n"],
            "a": VALUES[":s"],
            "b": VALUES[":b"],
            "v": VALUES[":n"],
            "l": VALUES[":l"],
            "st": VALUES[":ss"],
            "m": VALUES[":map"],
        },
    ),
)
MAYBE = st.booleans()


@st.composite
def aliases(draw: st.DrawFn, *expressions: str) -> dict[str, Any]:
    """Names and values for what the expressions use."""
    words = set(re.findall(r"[:#]\w+", " ".join(expressions)))
    names = {word: word[1:] for word in sorted(words) if word.startswith("#")}
    values = {word: draw(VALUES[word]) for word in sorted(words & VALUES.keys())}
    if draw(st.integers(0, 40)) == 0:
        values[":idle"] = {"S": "nobody uses it"}
    return {
        **({"ExpressionAttributeNames": names} if names else {}),
        **({"ExpressionAttributeValues": values} if values else {}),
    }


@st.composite
def conditional(draw: st.DrawFn, part: dict[str, Any]) -> dict[str, Any]:
    if draw(MAYBE):
        part["ConditionExpression"] = draw(st.sampled_from(CONDITIONS))
        if draw(MAYBE):
            part["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    given_names = draw(aliases(part.get("ConditionExpression", ""), part.get("UpdateExpression", "")))
    return {**part, **given_names}


@st.composite
def writes(draw: st.DrawFn) -> Call:
    kind = draw(st.sampled_from(["PutItem", "UpdateItem", "UpdateItem", "DeleteItem"]))
    part: dict[str, Any] = {"TableName": "t"}
    if kind == "PutItem":
        part["Item"] = draw(ITEMS)
    else:
        part["Key"] = draw(KEYS)
    if kind == "UpdateItem":
        part["UpdateExpression"] = draw(st.sampled_from(UPDATES))
        if draw(st.integers(0, 15)) == 0:  # alone: which of two mistakes is told is not stated
            wrong = draw(st.sampled_from(WRONG))
            return kind, {**part, "UpdateExpression": wrong, **draw(aliases(wrong))}
    wanted = ["NONE", "ALL_OLD"] if kind != "UpdateItem" else ["NONE", "ALL_OLD", "ALL_NEW", "UPDATED_NEW", "UPDATED_OLD"]
    if draw(MAYBE):
        part["ReturnValues"] = draw(st.sampled_from(wanted))
    return kind, draw(conditional(part))


@st.composite
def transactions(draw: st.DrawFn) -> Call:
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["Put", "Update", "Delete", "ConditionCheck"]))
        part: dict[str, Any] = {"TableName": "t"}
        if kind == "Put":
            part["Item"] = draw(ITEMS)
        else:
            part["Key"] = draw(KEYS)
        if kind == "Update":
            part["UpdateExpression"] = draw(st.sampled_from(UPDATES))
        if kind == "ConditionCheck":
            part["ConditionExpression"] = draw(st.sampled_from(CONDITIONS))
            part |= draw(aliases(part["ConditionExpression"]))
        else:
            part = draw(conditional(part))
        parts.append({kind: part})
    token = draw(st.sampled_from(["", "", "t1", "t2"]))
    return "TransactWriteItems", {"TransactItems": parts, **({"ClientRequestToken": token} if token else {})}


@st.composite
def looks(draw: st.DrawFn) -> Call:
    params: dict[str, Any] = {"TableName": "t"}
    index = draw(st.sampled_from(["", "", "bare", "some"]))
    text = draw(st.sampled_from(INDEX_CONDITIONS if index else KEY_CONDITIONS))
    params["KeyConditionExpression"] = text
    if index:
        params["IndexName"] = index
    if index != "bare" and draw(st.integers(0, 3)) == 0:
        params["FilterExpression"] = "attribute_exists(a)" if index else "v = :n"
    if draw(st.integers(0, 2)) == 0:
        params["ProjectionExpression"] = "pk, sk" if index else draw(st.sampled_from(["pk, #v", "m.x, sk", "l[0]"]))
    if draw(MAYBE):
        params["ScanIndexForward"] = draw(MAYBE)
    if not index and draw(MAYBE):
        params["ConsistentRead"] = True
    if draw(MAYBE):
        params["Limit"] = draw(st.integers(1, 3))
    names = draw(aliases(text, params.get("FilterExpression", ""), params.get("ProjectionExpression", "")))
    return "Query", {**params, **names}


READS = st.one_of(
    KEYS.map(lambda key: ("GetItem", {"TableName": "t", "Key": key, "ConsistentRead": True})),
    st.lists(KEYS, min_size=1, max_size=3).map(lambda keys: ("BatchGetItem", {"RequestItems": {"t": {"Keys": keys}}})),
    st.lists(KEYS, min_size=1, max_size=3).map(
        lambda keys: ("TransactGetItems", {"TransactItems": [{"Get": {"TableName": "t", "Key": key}} for key in keys]})
    ),
    st.just(("Scan", {"TableName": "t"})),
)
CALLS = st.lists(st.one_of(writes(), writes(), transactions(), looks(), READS), max_size=25)


class FixedClock:
    """Time stands still, unless a test moves it."""

    def __init__(self) -> None:
        self.us = 1_000_000

    def now_us(self) -> int:
        return self.us

    def monotonic_us(self) -> int:
        return self.us

    async def sleep(self, seconds: float) -> None:
        self.us += int(seconds * 1_000_000)


NAMES: list[str] = []  # one table for each example, in one emulator


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsClient]:
    """The emulator, through the client that payonce uses."""
    with emulator(tmp_path_factory.mktemp("emulator")) as url:
        aws = AwsClient(SystemClock(), environ=environment(url), inline=True)
        yield aws
        asyncio.run(aws.close())


def plain(answer: Answer) -> Any:
    """An answer without what may differ: words of messages, and the order where there is none."""
    if isinstance(answer, Denied):
        reasons = [(each["Code"], each.get("Item")) for each in answer.body.get("CancellationReasons", ())]
        return "Denied", answer.code, _sorted(answer.body.get("Item")), _sorted(reasons)
    assert isinstance(answer, Done), answer
    return {name: _sorted(value) for name, value in answer.body.items() if name != "ResponseMetadata"}


def _sorted(value: Any) -> Any:
    """Sets in one order."""
    if isinstance(value, dict):
        return {name: sorted(each) if name in ("SS", "NS", "BS") else _sorted(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sorted(each) for each in value]
    return value


async def pages(aws: Any, operation: str, params: dict[str, Any]) -> Any:
    """All pages of a look, joined; how they are cut must be the same too."""
    items, sizes, start = list[Any](), list[int](), None
    while True:
        answer = await aws.call("dynamodb", operation, {**params, **({"ExclusiveStartKey": start} if start else {})})
        if not isinstance(answer, Done):
            return plain(answer)
        items += answer.body["Items"]
        sizes.append(answer.body["ScannedCount"])
        start = answer.body.get("LastEvaluatedKey")
        if not start:
            break
    if operation == "Scan" or "IndexName" in params:  # of partitions, and of entries with one sort key, there is no order
        order = [each.get("gs") for each in items]
        return sorted(repr(sorted(each.items())) for each in _sorted(items)), order if operation == "Query" else None, sizes
    return _sorted(items), sizes


async def compare(model: ModelAws, emulated: AwsClient, name: str, calls: list[Call]) -> None:
    used: dict[str, Any] = {}
    for operation, params in calls:
        said = []
        token = params.get("ClientRequestToken", "")
        if token and used.setdefault(token, params) != params:
            continue  # test_model_rules.py: whether a failure or a mistake counts for the token, AWS does not say
        for aws, table in ((model, "t"), (emulated, name)):
            asked = _renamed(params, table)
            if operation in ("Query", "Scan"):
                said.append(await pages(aws, operation, asked))
            else:
                said.append(_renamed(plain(await aws.call("dynamodb", operation, asked)), "t", was=name))
        assert said[0] == said[1], f"{operation} {params}: the model {said[0]}, the emulator {said[1]}"


def _renamed(params: Any, table: str, was: str = "t") -> Any:
    if isinstance(params, dict):
        return {
            (table if key == was else key): f"{value}{table}" if key == "ClientRequestToken" else _renamed(value, table, was)
            for key, value in params.items()
        }
    if params == was:
        return table
    return [_renamed(each, table, was) for each in params] if isinstance(params, list) else params


@settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(calls=CALLS)
def test_the_same_calls_get_the_same_answers(emulated: AwsClient, calls: list[Call]) -> None:
    """Items, codes of errors, reasons, pages and their order are those of the emulator."""
    number = len(NAMES)
    NAMES.append(name := f"table{number}")

    async def run() -> None:
        model = ModelAws(FixedClock())
        for aws, table in ((model, "t"), (emulated, name)):
            assert isinstance(await aws.call("dynamodb", "CreateTable", {"TableName": table, **TABLE}), Done)
        await compare(model, emulated, name, calls)

    asyncio.run(run())
