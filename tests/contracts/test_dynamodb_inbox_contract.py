"""The inbox contract over DynamoDB; where bodies lie, what lost answers do, and what the life of a webhook costs."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.aws.emulator import emulator, environment
from tests.aws.spoiling import Fate, Hasty, Spoiled, once

from payonce.awsapi import Aws
from payonce.awsclient.client import AwsClient
from payonce.core.errors import StoreUnavailable
from payonce.mail import WEBHOOK_BYTES_MAX, WEBHOOK_CHARS_MAX, WEBHOOK_NAMES_MAX, Inbox, Webhook
from payonce.stores.dynamodb.inbox import PAGE, DynamoInbox
from payonce.stores.dynamodb.tables import Tables, create_tables
from payonce.testing.amazon import ModelAws, Weather
from payonce.testing.inbox_contract import AT_US, InboxContract, webhook

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
    tables = Tables(transactions=f"t-{n}", idempotency=f"i-{n}", registry=f"r-{n}", shards=4)
    await create_tables(aws, CLOCK, tables)
    return tables


class TestDynamo(InboxContract):
    @pytest.fixture(autouse=True)
    def _places(self, aws: Aws) -> None:
        self.aws, self.places = aws, dict[Path, Tables]()

    async def open(self, folder: Path, stack: AsyncExitStack) -> Inbox:
        if folder not in self.places:
            self.places[folder] = await fresh(self.aws)
        return DynamoInbox(self.aws, CLOCK, self.places[folder])


def use(aws: Aws, test: Callable[[Tables], Awaitable[None]]) -> None:
    async def run() -> None:
        await test(await fresh(aws))

    asyncio.run(run())


async def items(aws: Aws, tables: Tables) -> dict[str, int]:
    """What lies in the table, by its sort key, and how often."""
    answer = await aws.call("dynamodb", "Scan", {"TableName": tables.transactions, "ConsistentRead": True})
    found = dict[str, int]()
    for item in answer.body["Items"]:  # type: ignore[union-attr]
        kind = item["item"]["S"].partition("#")[0]
        found[kind] = found.get(kind, 0) + 1
    return found


BIG = os.urandom(20_000)


def spoiled(aws: Aws, tables: Tables, operation: str, fate: Fate, times: int = 1) -> DynamoInbox:
    """An inbox of whose calls the first of one kind go wrong that way."""
    return DynamoInbox(Spoiled(aws, once(operation, fate, times)), CLOCK, tables)


# --- bodies -----------------------------------------------------------------------------------------------------------


def largest(number: int) -> Webhook:
    """As large as the port allows in every part, of characters of four bytes and bytes that cannot be packed."""
    text = "\N{CAT FACE}" * WEBHOOK_CHARS_MAX
    names = (text,) * WEBHOOK_NAMES_MAX
    headers = ((text, text),) * WEBHOOK_NAMES_MAX
    body = os.urandom(WEBHOOK_BYTES_MAX)
    return webhook(number, account=text, event=text, kind=text, references=names, refs=names, headers=headers, body=body)


def test_the_largest_webhook_fits(aws: Aws) -> None:
    """Every limit of the port reached at once, in characters of four bytes: it is kept, settled and comes back whole."""

    async def test(tables: Tables) -> None:
        inbox, w = DynamoInbox(aws, CLOCK, tables), largest(1)
        assert await inbox.put(w)
        assert not await inbox.put(w)
        assert await inbox.settle(replace(w, state="matched", payment_ids=("pay_1",), due_us=None))
        wanted = replace(w, state="matched", payment_ids=("pay_1",), due_us=None, version=2, deliveries=2)
        assert await inbox.get(w.id) == wanted
        assert (await inbox.list(1)).webhooks == (replace(wanted, headers=(), body=b""),)

    use(aws, test)


def test_a_body_that_is_not_small_lies_apart_and_goes_with_its_row(aws: Aws) -> None:
    """Small: one item. Else two, and forgetting removes both."""

    async def test(tables: Tables) -> None:
        inbox = DynamoInbox(aws, CLOCK, tables)
        assert await inbox.put(webhook(1, state="matched", due_us=None))
        assert await items(aws, tables) == {"webhook": 1}
        assert await inbox.put(webhook(2, body=BIG, state="matched", due_us=None))
        assert await items(aws, tables) == {"webhook": 2, "body": 1}
        assert await inbox.forget(2**62, 10) == 2
        assert await items(aws, tables) == {}

    use(aws, test)


def test_listing_reads_no_body_that_lies_apart(aws: Aws) -> None:
    """However large the bodies are, a page of webhooks is read from their rows."""

    async def test(tables: Tables) -> None:
        inbox = DynamoInbox(aws, CLOCK, tables)
        for n in range(5):
            assert await inbox.put(webhook(n, body=BIG + b"%d" % n))
        seen = Spoiled(aws)
        assert len((await DynamoInbox(seen, CLOCK, tables).list(5)).webhooks) == 5
        keys = [k for a in seen.asked if "RequestItems" in a for k in a["RequestItems"][tables.transactions]["Keys"]]
        assert {key["item"]["S"] for key in keys} == {"webhook"}
        assert set(seen.calls) == {"Query", "BatchGetItem"}
        assert all("IndexName" in asked for called, asked in zip(seen.calls, seen.asked, strict=True) if called == "Query")

    use(aws, test)


def test_racing_deliveries_with_other_bodies_leave_one(aws: Aws) -> None:
    """Only one of many is new; it has its own body, and no other body is left behind."""

    async def test(tables: Tables) -> None:
        inbox = DynamoInbox(aws, CLOCK, tables)
        rivals = [webhook(1, body=BIG + b"%d" % n) for n in range(20)]
        won = await asyncio.gather(*(inbox.put(each) for each in rivals))
        assert won.count(True) == 1
        assert await inbox.get(rivals[0].id) == replace(rivals[won.index(True)], deliveries=20)
        assert await items(aws, tables) == {"webhook": 1, "body": 1}

    use(aws, test)


def test_a_further_delivery_writes_no_body(aws: Aws) -> None:
    """A provider that sends a large webhook again and again costs one small write each time."""

    async def test(tables: Tables) -> None:
        assert await DynamoInbox(aws, CLOCK, tables).put(webhook(1, body=BIG))
        seen = Spoiled(aws)
        again = webhook(1, body=BIG + b"other", last_us=AT_US + 10**9)
        assert not await DynamoInbox(seen, CLOCK, tables).put(again)
        assert seen.calls == ["GetItem", "UpdateItem"]

    use(aws, test)


@pytest.mark.parametrize("id", ["", "w" * 1001])
def test_an_id_that_cannot_be_a_key_is_refused(aws: Aws, id: str) -> None:
    """DynamoDB takes no empty key and none that is too long: ValueError for putting, and nothing there for reading."""

    async def test(tables: Tables) -> None:
        inbox = DynamoInbox(aws, CLOCK, tables)
        with pytest.raises(ValueError, match="at most"):
            await inbox.put(webhook(1, id=id))
        assert await inbox.get(id) is None

    use(aws, test)


# --- lost answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", ["busy", "lost before", "lost after"])
@pytest.mark.parametrize("body", [b"small", BIG], ids=["small", "big"])
def test_a_new_webhook_is_new_whatever_becomes_of_the_answer(aws: Aws, fate: Fate, body: bytes) -> None:
    """The row that stands there after a lost answer is recognised as ours: True, and one delivery."""

    async def test(tables: Tables) -> None:
        w = webhook(1, body=body)
        for n, operation in enumerate(("PutItem", "PutItem")):
            assert await spoiled(aws, tables, operation, fate, times=1 + n).put(replace(w, id=f"{w.id}{n}"))
            assert await DynamoInbox(aws, CLOCK, tables).get(f"{w.id}{n}") == replace(w, id=f"{w.id}{n}")

    use(aws, test)


def test_a_lost_answer_does_not_make_another_delivery_ours(aws: Aws) -> None:
    """While the answer was lost another delivery was first: ours is a further one, and is counted."""

    async def test(tables: Tables) -> None:
        inbox = DynamoInbox(aws, CLOCK, tables)
        first = webhook(1)

        class Between(Spoiled):
            async def call(self, service: Any, operation: str, params: Mapping[str, Any]) -> Any:
                if not self.calls:
                    assert await inbox.put(first)
                return await super().call(service, operation, params)

        late = replace(first, received_us=first.received_us + 1, last_us=first.last_us + 1)
        assert not await DynamoInbox(Between(aws, once("PutItem", "lost before")), CLOCK, tables).put(late)
        assert await inbox.get(first.id) == replace(first, deliveries=2, last_us=late.last_us)

    use(aws, test)


@pytest.mark.parametrize("fate", ["busy", "lost before", "lost after"])
def test_a_delivery_is_counted_once(aws: Aws, fate: Fate) -> None:
    """A newer delivery whose count went wrong once is counted once; nothing else changes."""

    async def test(tables: Tables) -> None:
        inbox = DynamoInbox(aws, CLOCK, tables)
        assert await inbox.put(webhook(1))
        assert not await spoiled(aws, tables, "UpdateItem", fate).put(webhook(1, last_us=AT_US + 10**9))
        assert await inbox.get(webhook(1).id) == webhook(1, last_us=AT_US + 10**9, deliveries=2)

    use(aws, test)


@pytest.mark.parametrize(("fate", "told"), [("busy", "True"), ("lost before", "True"), ("lost after", "StoreUnavailable")])
def test_a_settled_webhook_is_never_called_a_lost_race(aws: Aws, fate: Fate, told: str) -> None:
    """When the answer was lost and the row stands as asked, it may be another's doing: StoreUnavailable, not True or False."""

    async def test(tables: Tables) -> None:
        inbox = DynamoInbox(aws, CLOCK, tables)
        assert await inbox.put(webhook(1))
        after = webhook(1, state="matched", payment_ids=("pay_1",), due_us=None)
        try:
            said = str(await spoiled(aws, tables, "UpdateItem", fate).settle(after))
        except StoreUnavailable:
            said = "StoreUnavailable"
        assert said == told
        assert await inbox.get(after.id) == replace(after, version=2)

    use(aws, test)


@pytest.mark.parametrize("fate", ["busy", "lost before", "lost after"])
@pytest.mark.parametrize("operation", ["DeleteItem", "Query", "BatchGetItem"])
def test_forgetting_goes_on_after_trouble(aws: Aws, operation: str, fate: Fate) -> None:
    """Whatever is busy or lost on the way, all that is old is gone, and is counted."""

    async def test(tables: Tables) -> None:
        inbox = DynamoInbox(aws, CLOCK, tables)
        for n in range(3):
            assert await inbox.put(webhook(n, state="unmatched", due_us=None, body=BIG if n else b""))
        assert await spoiled(aws, tables, operation, fate, times=2).forget(2**62, 10) == 3
        assert await items(aws, tables) == {}

    use(aws, test)


@pytest.mark.parametrize("fate", ["busy", "lost before", "denied"])
def test_a_table_that_does_not_answer_says_so(aws: Aws, fate: Fate) -> None:
    """StoreUnavailable for every question, after a bounded number of tries."""

    async def test(tables: Tables) -> None:
        dead = Spoiled(aws, lambda _operation, _params: fate)
        inbox = DynamoInbox(dead, CLOCK, tables)
        w = webhook(1)
        for asked in (inbox.put(w), inbox.get(w.id), inbox.list(1), inbox.due(1, 1), inbox.settle(w), inbox.forget(1, 1)):
            with pytest.raises(StoreUnavailable):
                await asked
        with pytest.raises(StoreUnavailable):
            await inbox.counts()
        assert len(dead.calls) < 200

    use(aws, test)


# --- indexes that lag, and the bill -----------------------------------------------------------------------------------


class Late(Weather):
    def __init__(self) -> None:
        self.us = 0

    def lag_us(self) -> int:
        return self.us


def test_an_index_only_nominates() -> None:
    """While the indexes lag, what is shown is as it is now: nothing that is settled is due, or in another state."""

    async def test() -> None:
        weather = Late()
        aws = ModelAws(CLOCK, weather)
        tables = await fresh(aws)
        inbox = DynamoInbox(aws, CLOCK, tables)
        for n in range(4):
            assert await inbox.put(webhook(n))
        weather.us = 10**12
        assert await inbox.settle(webhook(1, state="matched", payment_ids=("pay_1",), due_us=None))
        assert await inbox.settle(webhook(2, state="parked", tries=1, due_us=AT_US + 10**9))
        assert [w.id for w in await inbox.due(AT_US + 10**8, 10)] == [webhook(n).id for n in (0, 3)]
        assert [w.id for w in (await inbox.list(10, state="new")).webhooks] == [webhook(n).id for n in (3, 0)]
        assert [w.state for w in (await inbox.list(10)).webhooks] == ["new", "parked", "matched", "new"]
        assert await inbox.forget(2**62, 10) == 0  # not in the index yet: the next look takes it

    asyncio.run(test())


def test_what_is_looked_at_again_is_not_forgotten() -> None:
    """Replayed a moment ago, or between the look and the removal: the index says that it is over, the row decides."""

    async def test() -> None:
        weather = Late()
        aws = ModelAws(CLOCK, weather)
        tables = await fresh(aws)
        inbox = DynamoInbox(aws, CLOCK, tables)
        for n in range(2):
            assert await inbox.put(webhook(n, state="unmatched", due_us=None))
        weather.us = 10**12
        assert await inbox.settle(webhook(0, state="new", due_us=1))

        class Between(Spoiled):
            async def call(self, service: Any, operation: str, params: Mapping[str, Any]) -> Any:
                if operation == "DeleteItem":
                    assert await inbox.settle(webhook(1, state="new", due_us=1))
                return await super().call(service, operation, params)

        assert await DynamoInbox(Between(aws), CLOCK, tables).forget(2**62, 10) == 0
        assert [w.state for w in (await inbox.list(10)).webhooks] == ["new", "new"]

    asyncio.run(test())


def test_a_partition_may_be_larger_than_one_answer() -> None:
    """More rows than an index gives at once: all are listed, due and forgotten, in order, and counted."""

    async def test() -> None:
        aws = ModelAws(CLOCK)
        tables = replace(await fresh(aws), shards=2)
        inbox = DynamoInbox(aws, CLOCK, tables)
        wanted = [webhook(n, account="mock" if n % 2 else "other") for n in range(2 * PAGE * 2 + 10)]
        for each in wanted:
            assert await inbox.put(each)
        names = [w.id for w in wanted]
        assert [w.id for w in await inbox.due(2**62, 1_000)] == names
        assert [w.id for w in await inbox.due(2**62, 30)] == names[:30]
        page = await inbox.list(60)
        assert [w.id for w in (*page.webhooks, *(await inbox.list(60, cursor=page.next)).webhooks)] == names[::-1]
        assert [w.id for w in (await inbox.list(100, account="mock")).webhooks] == names[::-1][::2]
        assert await inbox.counts() == {"new": len(names)}
        for each in wanted:
            assert await inbox.settle(replace(each, state="matched", due_us=None))
        assert await inbox.forget(2**62, 70) == 70
        assert [w.id for w in (await inbox.list(100)).webhooks] == names[:69:-1]

    asyncio.run(test())


@pytest.mark.parametrize(("body", "put", "settled", "forgotten"), [(1, 3, 3, 2), (1_200, 4, 4, 3), (20_000, 23, 3, 22)])
def test_what_a_webhook_costs(body: int, put: int, settled: int, forgotten: int) -> None:
    """Write units of its life, both indexes included; one more would show a row that grew or an index that is written twice."""

    async def test() -> None:
        aws = ModelAws(CLOCK)
        tables = await fresh(aws)
        inbox, w = DynamoInbox(aws, CLOCK, tables), webhook(1, body=BIG[:body])
        aws.bill.reset()
        assert await inbox.put(w)
        assert aws.bill.write_units() == put
        aws.bill.reset()
        assert await inbox.settle(replace(w, state="matched", payment_ids=("pay_" + "0" * 20,), due_us=None))
        assert aws.bill.write_units() == settled
        assert aws.bill.calls.total() == 1
        aws.bill.reset()
        assert await inbox.forget(2**62, 1) == 1
        assert aws.bill.write_units() == forgotten

    asyncio.run(test())
