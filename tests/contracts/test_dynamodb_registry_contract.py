"""The registry contract over DynamoDB; and what becomes of a write whose answer is lost."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.aws.emulator import emulator, environment
from tests.aws.spoiling import Fate, Hasty, Spoiled, once

from payonce.awsapi import Aws
from payonce.awsclient.client import AwsClient
from payonce.core.errors import StoreUnavailable
from payonce.ports import RECORD_BYTES_MAX, Record, Registry
from payonce.stores.dynamodb.registry import DynamoRegistry
from payonce.stores.dynamodb.tables import Tables, create_tables
from payonce.testing.registry_contract import RegistryContract

CLOCK = Hasty()
numbers = count()


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """The emulator, for all tests of this file."""
    with emulator(tmp_path_factory.mktemp("aws")) as url:
        client = AwsClient(CLOCK, environ=environment(url))
        yield client
        asyncio.run(client.close())


async def fresh(aws: Aws) -> Tables:
    """Tables of one test's own."""
    n = next(numbers)
    tables = Tables(transactions=f"t-{n}", idempotency=f"i-{n}", registry=f"r-{n}")
    await create_tables(aws, CLOCK, tables)
    return tables


def use(aws: Aws, test: Callable[[Tables], Awaitable[None]]) -> None:
    async def run() -> None:
        await test(await fresh(aws))

    asyncio.run(run())


class TestDynamo(RegistryContract):
    @pytest.fixture(autouse=True)
    def _places(self, aws: Aws) -> None:
        self.aws, self.places = aws, dict[Path, Tables]()

    async def open(self, folder: Path, stack: AsyncExitStack) -> Registry:
        if folder not in self.places:
            self.places[folder] = await fresh(self.aws)
        return DynamoRegistry(self.aws, CLOCK, self.places[folder])


def spoiled(aws: Aws, tables: Tables, fate: Fate, times: int = 1) -> DynamoRegistry:
    """A registry whose first writes go wrong that way."""
    return DynamoRegistry(Spoiled(aws, once("UpdateItem", fate, times)), CLOCK, tables)


@pytest.mark.parametrize("fate", ["busy", "lost before"])
def test_what_was_not_done_is_done_again(aws: Aws, fate: Fate) -> None:
    """A busy table, or an answer lost before anything was written: the second try makes it, and says so."""

    async def test(tables: Tables) -> None:
        registry = DynamoRegistry(aws, CLOCK, tables)
        for version, value in enumerate((b"a", b"b", None)):
            assert await spoiled(aws, tables, fate).put("drain", "mock", value, version)
        assert await registry.all("drain") == ()
        assert await spoiled(aws, tables, fate).put("drain", "mock", b"c", 0)
        assert await registry.all("drain") == (Record("mock", b"c", 4),)

    use(aws, test)


@pytest.mark.parametrize("value", [b"b", None], ids=["update", "delete"])
def test_a_lost_write_that_was_done_is_never_called_a_lost_race(aws: Aws, value: bytes | None) -> None:
    """It may be done: StoreUnavailable, never False. Reading shows it once, at the next version."""

    async def test(tables: Tables) -> None:
        registry = DynamoRegistry(aws, CLOCK, tables)
        assert await registry.put("drain", "mock", b"a", 0)
        with pytest.raises(StoreUnavailable, match="Read it again"):
            await spoiled(aws, tables, "lost after").put("drain", "mock", value, 1)
        assert await registry.all("drain") == (() if value is None else (Record("mock", value, 2),))
        assert await registry.put("drain", "mock", b"c", 0 if value is None else 2)
        assert [r.version for r in await registry.all("drain")] == [3]

    use(aws, test)


def test_of_two_that_write_the_same_only_one_is_told_true(aws: Aws) -> None:
    """One's answer is lost, the other writes the very same at the very same version: the first cannot know, and says so."""

    async def test(tables: Tables) -> None:
        registry = DynamoRegistry(aws, CLOCK, tables)
        assert await registry.put("breaker", "mock", b"open", 0)

        class Between(Spoiled):
            """The rival comes while the first try's answer is being lost."""

            async def call(self, service: Any, operation: str, params: Mapping[str, Any]) -> Any:
                answer = await super().call(service, operation, params)
                if self.calls == ["UpdateItem"]:
                    assert await registry.put("breaker", "mock", b"probe", 1)
                return answer

        slow = DynamoRegistry(Between(aws, once("UpdateItem", "lost before")), CLOCK, tables)
        with pytest.raises(StoreUnavailable, match="another writer"):
            await slow.put("breaker", "mock", b"probe", 1)
        assert await registry.all("breaker") == (Record("mock", b"probe", 2),)

    use(aws, test)


@pytest.mark.parametrize(("further", "told"), [(0, "False"), (1, "StoreUnavailable")])
def test_what_others_wrote_after_a_lost_answer_decides(aws: Aws, further: int, told: str) -> None:
    """Another value at our version: ours is not done and never will be. A later version: ours may have been done before."""

    async def test(tables: Tables) -> None:
        registry = DynamoRegistry(aws, CLOCK, tables)
        assert await registry.put("drain", "mock", b"a", 0)

        class Between(Spoiled):
            async def call(self, service: Any, operation: str, params: Mapping[str, Any]) -> Any:
                answer = await super().call(service, operation, params)
                if self.calls == ["UpdateItem"]:
                    for n in range(1 + further):
                        assert await registry.put("drain", "mock", b"rival %d" % n, 1 + n)
                return answer

        slow = DynamoRegistry(Between(aws, once("UpdateItem", "lost before")), CLOCK, tables)
        try:
            said = str(await slow.put("drain", "mock", b"ours", 1))
        except StoreUnavailable:
            said = "StoreUnavailable"
        assert said == told

    use(aws, test)


@pytest.mark.parametrize(("fate", "says"), [("busy", "Nothing was written"), ("lost before", "may be"), ("denied", "Nothing")])
def test_a_table_that_takes_nothing_says_so(aws: Aws, fate: Fate, says: str) -> None:
    """Bounded tries, then StoreUnavailable that says what may have been written."""

    async def test(tables: Tables) -> None:
        with pytest.raises(StoreUnavailable, match=says):
            await spoiled(aws, tables, fate, times=99).put("drain", "mock", b"a", 0)
        assert await DynamoRegistry(aws, CLOCK, tables).all("drain") == ()

    use(aws, test)


def test_a_kind_may_be_larger_than_one_answer(aws: Aws) -> None:
    """More than a query returns at once (1 MB): all records come, in order."""

    async def test(tables: Tables) -> None:
        registry = DynamoRegistry(aws, CLOCK, tables)
        wanted = [f"{n:02}" for n in range(20)]
        for name in wanted:
            assert await registry.put("drain", name, b"x" * RECORD_BYTES_MAX, 0)
        assert [r.name for r in await registry.all("drain")] == wanted

    use(aws, test)


def test_reads_are_consistent_and_writes_are_conditional(aws: Aws) -> None:
    """Every read asks for consistency, and every write carries a condition."""

    async def test(tables: Tables) -> None:
        seen = Spoiled(aws)
        registry = DynamoRegistry(seen, CLOCK, tables)
        assert await registry.put("drain", "mock", b"a", 0)
        assert await registry.put("drain", "mock", None, 1)
        await registry.all("drain")
        assert seen.calls == ["GetItem", "UpdateItem", "UpdateItem", "Query"]
        for called, asked in zip(seen.calls, seen.asked, strict=True):
            assert asked["ConditionExpression"] if called == "UpdateItem" else asked["ConsistentRead"]

    use(aws, test)


def test_no_table_is_no_empty_registry(aws: Aws) -> None:
    """Without its table it raises: "nobody drained it" would be a wrong answer."""

    async def test(_: Tables) -> None:
        registry = DynamoRegistry(aws, CLOCK, Tables(transactions="no", idempotency="no", registry="no"))
        for asked in (registry.all("drain"), registry.put("drain", "mock", b"a", 1), registry.put("drain", "mock", b"a", 0)):
            with pytest.raises(StoreUnavailable, match="refused"):
                await asked

    use(aws, test)
