"""The tables as data, and how rows are spread over the partitions of an index."""

import asyncio
from collections import Counter

import pytest

from payonce.awsapi import Done
from payonce.bootstrap import SystemClock
from payonce.core import ids
from payonce.stores.dynamodb import CREATE, Tables, create_tables
from payonce.stores.dynamodb.tables import SHARDS, shard, shard_names, spread
from payonce.testing.amazon import ModelAws

TABLES = Tables(transactions="T", idempotency="I", registry="R")


def test_a_shard_never_changes() -> None:
    """Where rows are is computed from their ids, by every version alike."""
    assert [spread(id, 16) for id in ("pay_06h1c1asjd5r0rrpxy6w", "pay_00000000000000000001", "x")] == [2, 1, 8]
    assert shard("payment", "pay_06h1c1asjd5r0rrpxy6w", 16) == "payment#02"


def test_shards_are_filled_evenly() -> None:
    """Of 16,000 payments made one after the other each shard gets about 1,000."""
    made = [ids.new_id("pay_", 1_800_000_000_000_000 + n * 997, (n * 2_654_435_761 * 97_331) % 2**52) for n in range(16_000)]
    counts = Counter(shard("payment", id, SHARDS) for id in made)
    assert set(counts) == set(shard_names("payment", SHARDS))
    assert 850 < min(counts.values()) <= max(counts.values()) < 1_150


@pytest.mark.parametrize("shards", [0, -1, 101])
def test_shards_have_bounds(shards: int) -> None:
    """One to a hundred: two digits, and as many queries for what is due."""
    with pytest.raises(ValueError, match="1 to 100"):
        Tables(transactions="T", idempotency="I", registry="R", shards=shards)


def test_every_key_is_an_attribute_and_none_is_left_over() -> None:
    """What AWS demands of a definition."""
    for definition in CREATE.values():
        schemas = [definition["KeySchema"], *(index["KeySchema"] for index in definition.get("GlobalSecondaryIndexes", ()))]
        keys = {key["AttributeName"] for schema in schemas for key in schema}
        assert keys == {attribute["AttributeName"] for attribute in definition["AttributeDefinitions"]}
        assert definition["BillingMode"] == "PAY_PER_REQUEST"


def test_tables_that_are_there_are_left_alone() -> None:
    """Made a second time they keep what is in them."""

    async def main() -> None:
        aws, clock = ModelAws(SystemClock()), SystemClock()
        await create_tables(aws, clock, TABLES)
        item = {"kind": {"S": "k"}, "name": {"S": "n"}}
        await aws.call("dynamodb", "PutItem", {"TableName": "R", "Item": item})
        await create_tables(aws, clock, TABLES)
        answer = await aws.call("dynamodb", "GetItem", {"TableName": "R", "Key": item})
        assert isinstance(answer, Done)
        assert answer.body["Item"] == item

    asyncio.run(main())
