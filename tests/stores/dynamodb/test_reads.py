"""Reads on DynamoDB: pages of any length, batches left undone, indexes that lag or are a little early, parts that move while
they are read, and items that are damaged or too new."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest
from msgspec.structs import replace
from tests.stores.dynamodb.ground import Ground, Instant, Scripted, ground

from payonce.awsapi import Answer, Aws, Denied, Done, Lost
from payonce.bootstrap import SystemClock
from payonce.core.errors import InvariantViolated, NewerSchema, StoreUnavailable
from payonce.core.events import digest
from payonce.core.payment import SCHEMA
from payonce.ports import Committed, Due, Filters, Ref, Scope
from payonce.stores.dynamodb import DynamoStore, Tables, open_store, packing
from payonce.testing.store_changes import (
    SECOND_US,
    accept,
    fire_event,
    grow,
    mismatch_event,
    note_event,
    payment_id,
    put,
    success_event,
)

DEFAULT = Scope("mer_default", "test")
ONE = payment_id(1)


@pytest.fixture(scope="module")
def land(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(tmp_path_factory.mktemp("aws")) as made:
        yield made


class World:
    """A store behind a scripted wire, and the bare way to its items."""

    def __init__(self, aws: Aws, tables: Tables) -> None:
        self.aws, self.tables = aws, tables
        self.wire = Scripted(aws)
        self.store = self.fresh()

    def fresh(self) -> DynamoStore:
        """A store that knows nothing yet."""
        return open_store(self.wire, Instant(SystemClock()), self.tables)

    async def edit(self, expression: str, names: Mapping[str, str], item: str = "payment", **values: Any) -> None:
        """Change an item of payment 1 past the store."""
        params = {
            "TableName": self.tables.transactions,
            "Key": {"transactionId": {"S": ONE}, "item": {"S": item}},
            "UpdateExpression": expression,
            "ExpressionAttributeNames": dict(names),
        }
        if values:
            params["ExpressionAttributeValues"] = {f":{name}": value for name, value in values.items()}
        answer = await self.aws.call("dynamodb", "UpdateItem", params)
        assert isinstance(answer, Done), answer

    async def row(self) -> dict[str, Any]:
        key = {"transactionId": {"S": ONE}, "item": {"S": "payment"}}
        answer = await self.aws.call("dynamodb", "GetItem", {"TableName": self.tables.transactions, "Key": key})
        assert isinstance(answer, Done)
        return dict(answer.body["Item"])


def use(land: Ground, test: Callable[[World], Awaitable[None]]) -> None:
    async def run(aws: Aws, tables: Tables) -> None:
        await test(World(aws, tables))

    asyncio.run(land.run(run))


class OneAtATime:
    """Every page and every batch ends after one item."""

    def __init__(self, wire: Scripted) -> None:
        self.wire = wire
        wire.accidents.append(self.ask)

    async def ask(self, operation: str, params: Mapping[str, Any]) -> Answer | None:
        if operation in ("Query", "Scan"):
            return await self.wire.aws.call("dynamodb", operation, {**params, "Limit": 1})
        if operation != "BatchGetItem":
            return None
        ((table, asked),) = params["RequestItems"].items()
        first, *left = asked["Keys"]
        answer = await self.wire.aws.call("dynamodb", operation, {"RequestItems": {table: asked | {"Keys": [first]}}})
        assert isinstance(answer, Done)
        return Done(answer.body | {"UnprocessedKeys": {table: asked | {"Keys": left}} if left else {}})


def test_pages_and_batches_may_end_anywhere(land: Ground) -> None:
    """With one item a page and a batch every read says the same."""

    async def test(world: World) -> None:
        body = b"x" * 40
        for n in range(7):
            p = await put(world.store, accept(n, at_us=1_000 + n // 2, due_us=100 - n, bodies={digest(body): body}))
            if n % 2:
                p = await put(world.store, grow(p, fire_event(p), due_us=100 - n, refs=(Ref("x", "charge", "v"),)))
                await put(world.store, grow(p, mismatch_event(p), due_us=100 - n))
        long = await put(world.store, accept(9, due_us=None))
        for n in range(60):
            long = await put(world.store, grow(long, note_event(digest(b"%d" % n)), due_us=None))

        async def everything(store: DynamoStore) -> list[object]:
            keys = [(payment_id(n), digest(body)) for n in range(8)]
            doubts, first = Filters(status="IN_DOUBT"), await store.list(DEFAULT, Filters(), 3)
            said: list[object] = [
                await store.due(95, 3),
                await store.due(1_000, 50),
                await store.next_due(),
                await store.counts(),
            ]
            said += [first, await store.list(DEFAULT, Filters(), 3, first.next), await store.list(DEFAULT, doubts, 50)]
            said += [
                await store.list(DEFAULT, Filters(attention=True), 50),
                await store.bodies(keys),
                await store.find_ref("v"),
            ]
            said += [await store.get(long.id), await store.history(long.id, 5, 50), await store.list(DEFAULT, Filters(), 50)]
            return [*said, sorted(await store.ids("", 50))]

        plain = await everything(world.fresh())
        OneAtATime(world.wire)
        assert await everything(world.fresh()) == plain
        assert world.wire.count("BatchGetItem") > 30

    use(land, test)


def test_a_batch_that_gets_nowhere_ends(land: Ground) -> None:
    """DynamoDB leaves everything undone, again and again: StoreUnavailable, after a bounded number of tries."""

    async def test(world: World) -> None:
        await put(world.store, accept(1))

        def nothing(operation: str, answer: Answer) -> Answer:
            asked = {world.tables.transactions: {"Keys": [{}], "ConsistentRead": True}}
            return Done({"Responses": {}, "UnprocessedKeys": asked}) if operation == "BatchGetItem" else answer

        world.wire.answered = nothing
        with pytest.raises(StoreUnavailable, match="Nothing was changed"):
            await world.store.list(DEFAULT, Filters(), 5)
        assert world.wire.count("BatchGetItem") < 10

    use(land, test)


def test_all_ids_page_by_page(land: Ground) -> None:
    """Each once, whatever the size of a page, after the last one seen."""

    async def test(world: World) -> None:
        for n in range(5):
            await put(world.store, accept(n, refs=(Ref("a", "charge", f"{n}"),)))
        for limit in (1, 2, 5, 9):
            found: list[str] = []
            while page := await world.store.ids(found[-1] if found else "", limit):
                found += page
            assert sorted(found) == [payment_id(n) for n in range(5)]

    use(land, test)


def test_the_due_index_may_be_early_never_late(land: Ground) -> None:
    """A due time that moves later by at most a minute leaves its index entry where it is; one that moves further, or earlier,
    takes it along. What ``due`` says is exact all the same."""

    async def test(world: World) -> None:
        p = await put(world.store, accept(1, due_us=100))
        moves = [
            (100 + 60 * SECOND_US, 100),
            (101 + 60 * SECOND_US, 101 + 60 * SECOND_US),
            (7, 7),
            (8, 7),
            (None, None),
            (50, 50),
        ]
        for due_us, at_us in moves:
            p = await put(world.store, grow(p, note_event(f"{due_us}"), due_us=due_us))
            row = await world.row()
            assert (row.get("dueAt"), row.get("due")) == tuple(
                {"N": str(t)} if t is not None else None for t in (at_us, due_us)
            )
            assert ("dueShard" in row) == (due_us is not None)
            if due_us is not None:
                assert await world.store.due(due_us - 1, 5) == ()
                assert await world.store.due(due_us, 5) == (Due(ONE, due_us),)
            assert await world.store.next_due() == world.store.known_due(ONE) == due_us

    use(land, test)


def test_an_early_entry_hides_nobody(land: Ground) -> None:
    """The earliest ones are found though many entries that stand before them are due later; ties go by id."""

    async def test(world: World) -> None:
        for n in range(40):
            p = await put(world.store, accept(n, due_us=10))
            await put(world.store, grow(p, note_event(), due_us=1_000 + 40 - n))
        for n in (50, 51):
            await put(world.store, accept(n, due_us=500))
        assert await world.store.due(999, 5) == (Due(payment_id(50), 500), Due(payment_id(51), 500))
        assert await world.store.due(2_000, 3) == (
            Due(payment_id(50), 500),
            Due(payment_id(51), 500),
            Due(payment_id(39), 1_001),
        )
        assert await world.store.next_due() == 500

    use(land, test)


def test_an_index_that_lags_only_hides(land: Ground) -> None:
    """Entries of the past nominate rows that moved on: they are shown as they are now, or not at all."""

    async def test(world: World) -> None:
        p = await put(world.store, accept(1, due_us=10))
        await put(world.store, accept(2, due_us=11))
        old: dict[str, Answer] = {}

        async def lagging(operation: str, params: Mapping[str, Any]) -> Answer | None:
            if operation != "Query" or "IndexName" not in params:
                return None
            name = repr((params["IndexName"], params["ExpressionAttributeValues"], params.get("FilterExpression")))
            if name not in old:
                old[name] = await world.aws.call("dynamodb", operation, params)
            return old[name]

        world.wire.accidents.append(lagging)
        pending = Filters(status="PENDING")
        assert await world.store.due(20, 5) == (Due(ONE, 10), Due(payment_id(2), 11))
        assert len((await world.store.list(DEFAULT, pending, 5)).payments) == 2
        p = await put(world.store, grow(p, fire_event(p)))
        p = await put(world.store, grow(p, success_event(p), due_us=None))
        assert await world.store.due(20, 5) == (Due(payment_id(2), 11),)
        assert [q.id for q in (await world.store.list(DEFAULT, pending, 5)).payments] == [payment_id(2)]

    use(land, test)


def test_the_list_index_names_the_right_provider_or_none(land: Ground) -> None:
    """It is told the provider along with the status; when the provider changes without it, the index says nothing rather than
    something old, and the payment is found under its provider at every time."""

    async def test(world: World) -> None:
        async def found() -> list[int]:
            return [len((await world.store.list(DEFAULT, Filters(provider=a), 5)).payments) for a in ("mock_a", "mock_b")]

        p = await put(world.store, accept(1))
        p = await put(world.store, grow(p, fire_event(p, "mock_a")))
        assert "provider" not in await world.row()
        assert await found() == [1, 0]
        p = await put(world.store, grow(p, mismatch_event(p)))
        assert (await world.row())["provider"] == {"S": "mock_a"}
        assert await found() == [1, 0]
        odd = grow(p, note_event())  # as if a further attempt had been made
        elsewhere = replace(odd.payment, attempts=(replace(p.attempts[0], account="mock_b"),))
        await put(world.store, replace(odd, payment=elsewhere))
        assert "provider" not in await world.row()

    use(land, test)


def test_a_history_that_moves_while_it_is_read(land: Ground) -> None:
    """The older part is written and the row shortened between two pages of one read: the gap is seen, and all is read again."""

    async def test(world: World) -> None:
        p = await put(world.store, accept(1))
        while "logFrom" not in await world.row():
            before, p = p, await put(world.store, grow(p, note_event(digest(b"%d" % p.version))))
        gone: list[dict[str, Any]] = []

        def without_part(operation: str, answer: Answer) -> Answer:
            if operation == "Query" and isinstance(answer, Done) and not gone:
                gone.extend(i for i in answer.body["Items"] if i["item"]["S"].startswith("event#"))
                return Done({"Items": [i for i in answer.body["Items"] if i not in gone]})
            return answer

        world.wire.answered = without_part
        fresh = world.fresh()
        assert await fresh.get(ONE) == p
        assert gone
        assert world.wire.calls[-2][0] == world.wire.calls[-1][0] == "Query"
        assert before.version == p.version - 1

    use(land, test)


def test_a_row_of_a_newer_payonce_is_left_as_it_is(land: Ground) -> None:
    """ "A row written by a newer schema raises NewerSchema and is left as it is": it stays due, also for a store that knew it
    before."""

    async def test(world: World) -> None:
        change = accept(1, due_us=5)
        await put(world.store, change)
        await world.edit("SET #s = :s", {"#s": "schema"}, s={"N": str(SCHEMA + 1)})
        row = await world.row()
        p = change.payment
        for store in (world.store, world.fresh()):
            calls: list[Awaitable[object]] = [store.get(ONE), store.list(DEFAULT, Filters(), 10), store.defer(ONE, 1, 9)]
            calls += [store.commit(grow(p, note_event()), 1), store.commit(accept(1), 0)]
            for call in calls:
                with pytest.raises(NewerSchema, match="newer payonce"):
                    await call
            assert await store.due(5, 10) == (Due(ONE, 5),)
            assert await store.counts() == {"PENDING": 1}
        assert await world.row() == row

    use(land, test)


@pytest.mark.parametrize(
    "edit", ["version", "head", "log cut", "log of another", "an event less", "no log", "an event altered"]
)
def test_a_row_that_does_not_fit_its_events_is_not_believed(land: Ground, edit: str) -> None:
    """After a read the events must end where the row says: InvariantViolated otherwise, and nothing is written."""

    async def test(world: World) -> None:
        one = accept(1)
        two = grow(one.payment, note_event())
        await put(world.store, one)
        await put(world.store, two)
        chain = (*one.entries, *two.entries)
        log = packing.pack(packing.lines(chain, first=True))
        altered = packing.lines(chain, first=True).replace(b'"amount_minor":1000', b'"amount_minor":9000')
        values: dict[str, dict[str, Any]] = {
            "version": {"version": {"N": "3"}},
            "head": {"head": {"B": bytes(32)}},
            "log cut": {"log": {"B": log[:-3]}},
            "log of another": {"log": {"B": packing.pack(packing.lines(accept(2).entries, first=True))}},
            "an event less": {"log": {"B": packing.pack(packing.lines(one.entries, first=True))}},
            "no log": {"log": {"B": packing.pack(b"")}},
            "an event altered": {"log": {"B": packing.pack(altered)}},
        }
        ((name, value),) = values[edit].items()
        await world.edit("SET #n = :n", {"#n": name}, n=value)
        for call in (world.fresh().get(ONE), world.fresh().history(ONE), world.fresh().list(DEFAULT, Filters(), 5)):
            with pytest.raises(InvariantViolated, match="payonce verify"):
                await call

    use(land, test)


def test_a_missing_part_is_not_believed(land: Ground) -> None:
    """An older part that is gone: InvariantViolated, not a shorter history."""

    async def test(world: World) -> None:
        p = await put(world.store, accept(1))
        while "logFrom" not in await world.row():
            p = await put(world.store, grow(p, note_event(digest(b"%d" % p.version))))
        key = {"transactionId": {"S": ONE}, "item": {"S": "event#000001"}}
        await world.aws.call("dynamodb", "DeleteItem", {"TableName": world.tables.transactions, "Key": key})
        with pytest.raises(InvariantViolated, match="missing"):
            await world.fresh().get(ONE)

    use(land, test)


def test_a_later_packing_is_left_alone(land: Ground) -> None:
    """A log packed in a version that is not known here: NewerSchema, and no write over it."""

    async def test(world: World) -> None:
        change = accept(1)
        await put(world.store, change)
        await world.edit("SET #n = :n", {"#n": "log"}, n={"B": b"\x02abc"})
        for call in (world.fresh().get(ONE), world.fresh().commit(grow(change.payment, note_event()), 1)):
            with pytest.raises(NewerSchema):
                await call
        assert (await world.row())["log"] == {"B": b"\x02abc"}

    use(land, test)


def test_references_find_only_payments_that_say_so(land: Ground) -> None:
    """The item of a reference whose change never came, or of another payment, leads nowhere; our own references need none."""

    async def test(world: World) -> None:
        p = await put(world.store, accept(1))
        p = await put(world.store, grow(p, fire_event(p), refs=(Ref("mock_a", "reference", f"{ONE[4:]}0100"),)))
        own = p.attempts[0].reference
        stray = {"transactionId": {"S": "ref#v#w"}, "item": {"S": f"ref#mock_a#charge#{ONE}"}}
        await world.aws.call("dynamodb", "PutItem", {"TableName": world.tables.transactions, "Item": stray})
        assert await world.store.find_ref("v#w") == ()
        assert world.wire.count("PutItem") == 0
        assert await world.store.find_ref(own) == await world.store.find_ref(own, "mock_a") == (ONE,)
        assert await world.store.find_ref(own, "mock_b") == ()
        odd = [Ref("a#b", "c", "v#w"), Ref("a", "b#c", "v#w"), Ref("a", "b", "x" * 3_000), Ref("%23" * 300, "k", "y")]
        assert await world.store.commit(grow(p, note_event(), refs=tuple(odd)), p.version) == Committed()
        for ref in odd:
            assert await world.store.find_ref(ref.value, ref.account) == (ONE,)
            assert await world.store.find_ref(ref.value, ref.account + "x") == ()

    use(land, test)


def test_reads_of_silent_tables_end(land: Ground) -> None:
    """AWS that never answers, or refuses: StoreUnavailable after a few tries, with what to do."""

    async def test(world: World) -> None:
        async def silent(operation: str, params: Mapping[str, Any]) -> Answer | None:
            return Lost("no answer")

        async def closed(operation: str, params: Mapping[str, Any]) -> Answer | None:
            return Denied("AccessDeniedException", "not you")

        for accident in (silent, closed):
            world.wire.accidents[:] = [accident]
            asked = len(world.wire.calls)
            for call in (world.store.get(ONE), world.store.due(1, 1), world.store.find_key(DEFAULT, "k"), world.store.counts()):
                with pytest.raises(StoreUnavailable):
                    await call
            assert len(world.wire.calls) - asked < 40
            assert "ok" not in await world.store.check()
        world.wire.accidents.clear()
        assert await world.store.check() == "ok"

    use(land, test)
