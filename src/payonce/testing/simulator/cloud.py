"""DynamoDB as the processes of one world reach it: the real store over a model of AWS, with faults of single calls.
What the engine sees of them comes out of the store's own code.

``Books`` write down what was asked of the store and what really was written, at the moment it was, from the model itself: every
answer of the store is held against them, and every row."""

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from payonce.awsapi import Answer, Busy, Denied, Done, Lost, Service
from payonce.inbox import PREFIX
from payonce.stores.dynamodb import CREATE, DynamoStore, Tables, open_store
from payonce.testing.amazon import Item, ModelAws, Table, Weather

from .cloud_books import Books
from .options import S

if TYPE_CHECKING:
    from .processes import Process
    from .world import World

T = TypeVar("T")

POINTS_OF: Final[Mapping[str, str]] = {
    **dict.fromkeys(("GetItem", "Query", "Scan", "BatchGetItem", "DescribeTable"), "cloud_read"),
    **dict.fromkeys(("PutItem", "UpdateItem", "DeleteItem"), "cloud_write"),
    "TransactWriteItems": "cloud_transact",
}
ALWAYS: Final = ("crash_before", "crash_after", "vanish", "delay", "freeze", "throttled", "500")
UNANSWERED: Final = ("vanish", "error_after", "later")
# What no request of a correct store meets.
NEVER_SAID: Final = ("ValidationException", "IdempotentParameterMismatchException", "ResourceNotFoundException")
GAVE_UP_US: Final = (10_000, S, 5 * S)  # after which a call without an answer is over
LATE_S: Final = (0.5, 2, 10, 60)  # and then it is done after all


class SimWeather(Weather):
    """Indexes are behind, as the options say; the rest is decided call by call."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self.old = self.partial = False

    def lag_us(self) -> int:
        world = self._cloud.world
        lag_us = 0 if world.calm else world.options.lag_s * S
        world.counts["an index is behind"] += lag_us > 0
        return self._cloud.dice.randrange(lag_us) if lag_us else 0

    def stale(self) -> bool:
        self._cloud.world.counts["an older item was read"] += self.old
        return self.old

    def unprocessed(self, count: int) -> int:
        return self._cloud.dice.randint(1, count) if self.partial else 0


class WorldClock:
    """The right time."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def now_us(self) -> int:
        return self._world.now_us()

    monotonic_us = now_us

    async def sleep(self, seconds: float) -> None:
        await self._world.loop.until(self._world.loop.time() + seconds)


class LaterClock(WorldClock):
    """Ten days on: no clock of a world is as wrong."""

    def now_us(self) -> int:
        return super().now_us() + 864_000 * S


class Plainly:
    """An ``Aws`` whose calls all succeed at once: for the judges."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:  # noqa: ARG002
        return self._cloud.model.table_call(operation, params)

    async def close(self) -> None: ...


class Cloud:
    """What all processes of a world share."""

    def __init__(self, world: "World") -> None:
        self.world, self.dice, self.books = world, random.Random(f"the cloud of {world.options.seed}"), Books()
        self.tables = Tables(
            transactions="Transactions", idempotency="Idempotency", registry="Registry", shards=world.options.shards
        )
        self.weather, self._ticks = SimWeather(self), 0
        self.model, self.reader = self._made()
        for role, definition in CREATE.items():
            self.model.table_call("CreateTable", {"TableName": self.tables.named(role), **definition})

    def tick(self) -> int:
        """One more than the last one."""
        self._ticks += 1
        return self._ticks

    def _made(self) -> tuple[ModelAws, DynamoStore]:
        clock = WorldClock(self.world)
        model = ModelAws(clock, self.weather)
        model.dynamodb.on_write = self._on_write
        return model, open_store(Plainly(self), clock, self.tables)

    def open(self, process: "Process") -> DynamoStore:
        """The store of one process."""
        return open_store(SimAws(process, self), process, self.tables)

    def later(self) -> DynamoStore:
        """For a judge, when nothing that was announced can be under way any more."""
        return open_store(Plainly(self), LaterClock(self.world), self.tables)

    def rows(self) -> dict[str, Item]:
        """Payment rows as they lie in the table, by payment."""
        table = self.model.dynamodb.tables[self.tables.transactions]
        return {item["transactionId"]["S"]: item for _, item in table.all() if item["item"]["S"] == "payment"}

    # --- a backup ---------------------------------------------------------------------------------------------------------

    def backup(self) -> Callable[[], None]:
        """All tables as they are now; what it gives puts them back. What is under way then goes nowhere. The inbox is not put
        back, as with the other stores: webhooks stay."""
        kept, books = copy.deepcopy(self.model.dynamodb.tables), self.books.copied()

        def put_back() -> None:
            now = self.model.dynamodb.tables[self.tables.transactions]
            webhooks = [(key, item) for key, item in now.all() if item["transactionId"]["S"].startswith(PREFIX)]
            registry = self.model.dynamodb.tables[self.tables.registry]
            self.model.dynamodb.on_write = None
            self.model, self.reader = self._made()
            self.model.dynamodb.tables = {**kept, self.tables.registry: registry}
            table, at_us = kept[self.tables.transactions], self.world.now_us()
            for key, _ in [pair for pair in table.all() if pair[1]["transactionId"]["S"].startswith(PREFIX)]:
                table.set(key, None, at_us, at_us)
            for key, item in webhooks:
                table.set(key, item, at_us, at_us)
            self.books = books

        return put_back

    # --- what is written --------------------------------------------------------------------------------------------------

    def _on_write(self, table: Table, before: Item | None, after: Item | None, visible_us: int) -> None:
        world = self.world
        if visible_us > world.now_us():  # what an index did not show yet is found by the next look after that
            world.after(visible_us - world.now_us() + self.dice.randrange(1, S // 2), world.look_again)
        if table.name == self.tables.registry and after is not None:
            value = after["value"]["B"] if "value" in after else None
            world.subscribers.registered(after["kind"]["S"].removeprefix("="), after["name"]["S"].removeprefix("="), value)
        if table.name != self.tables.transactions:
            return
        name = (after or before or {})["item"]["S"]
        if name == "payment":
            self._row(before, after, visible_us)
        elif name.startswith("event#") and before is not None:
            shorter = after is None or int(after["to"]["N"]) < int(before["to"]["N"])
            if shorter or (after or {})["to"] == before["to"] != after != before:
                world.violate(f"I14: {name} was replaced by less", before["transactionId"]["S"])

    def _row(self, before: Item | None, after: Item | None, visible_us: int) -> None:
        if after is None:
            self.world.violate("I14: a row was deleted", (before or {})["transactionId"]["S"])
            return
        id, version, head = after["transactionId"]["S"], _version(after), after["head"]["B"].hex()
        due_us, at_us = (int(after[name]["N"]) if name in after else None for name in ("due", "dueAt"))
        if due_us is not None and (at_us is None or at_us > due_us or "dueShard" not in after):
            self.world.violate(f"the due index has it at {at_us}, after it is due", id)
        if due_us is None and at_us is not None:
            self.world.violate("it is quiet, and stands in the due index", id)
        if version == _version(before):
            if due_us != self.books.due.get(id) and not self.books.may_be_due(id, version, due_us):
                self.world.violate("I13: a due time was written that nobody asked for, or that is out of date", id)
            if before is not None and (before["log"], before["head"]) != (after["log"], after["head"]):
                self.world.violate("I14: the log changed without a version", id)
            self.books.due[id] = due_us
            return
        all_asked = self.books.asked.get((id, version, head))
        if not all_asked:
            self.world.violate(f"I4: version {version} is nobody's", id)
            return
        asked = next((each for each in all_asked if not each.refused), all_asked[0])
        first = asked.change.entries[0].envelope
        if first.seq != _version(before) + 1 or first.prev != (before["head"]["B"].hex() if before else ""):
            self.world.violate(f"I4: version {version} does not follow what was there", id)
        if due_us != asked.change.due_us:
            self.world.violate(f"I13: due {asked.change.due_us} was written as {due_us}", id)
        if asked.refused:
            self.world.violate(f"written after it was said that it is not: {asked.refused[-1]}", id)
        self.books.wrote(asked.change)
        self.world.committed(asked.process, asked.change, visible_us)


def _version(row: Item | None) -> int:
    return int(row["version"]["N"]) if row else 0


class SimAws:
    """See ``payonce.awsapi.Aws``: the way of one process to AWS."""

    def __init__(self, process: "Process", cloud: Cloud) -> None:
        self._process, self._cloud, self._model = process, cloud, cloud.model
        self._streak = 0  # further writes that get no answer, since trouble seldom comes alone

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:  # noqa: ARG002
        p, cloud, world = self._process, self._cloud, self._process.world
        point = POINTS_OF[operation]
        word = await p.arrive(point, may=_possible(operation, params))
        if point != "cloud_read":
            word = self._streaky(word, operation)
        if world.store_down:
            return Lost("simulated: no connection")
        if (answer := _refusal(word, operation, params)) is not None:
            return answer
        gave_up_us = cloud.dice.choice(GAVE_UP_US)
        if word in ("vanish", "500"):
            await p.pause(gave_up_us)
            return Lost("simulated: no answer")
        if word == "later":
            late_us = gave_up_us + int(cloud.dice.choice(LATE_S) * S)
            world.after(late_us, lambda: self._model.table_call(operation, params))
            await p.pause(gave_up_us)
            return Lost("simulated: no answer yet")
        cloud.weather.old, cloud.weather.partial = word == "old", word == "partial"
        answer = self._model.table_call(operation, params)
        if word == "torn" and isinstance(answer, Done):
            answer = await self._torn(answer, operation, params)
        cloud.weather.old = cloud.weather.partial = False
        if isinstance(answer, Denied) and answer.code in NEVER_SAID:
            world.violate(f"AWS refuses the request: {operation}: {answer.code} {answer.message}")
        if word == "duplicate":
            world.after(cloud.dice.randrange(1, 2 * S), lambda: self._model.table_call(operation, params))
        if word == "crash_after":
            await p.die()
        if word in ("error_after", "500_after"):
            await p.pause(gave_up_us)
            return Lost("simulated: the answer is lost")
        await p.pause()
        return answer

    async def _torn(self, first: Done, operation: str, params: Mapping[str, Any]) -> Answer:
        """A query is no transaction: each item is as it was when it was read, and the last is read last."""
        await self._process.pause(self._cloud.dice.choice((1_000, 100_000, 2 * S)))
        second = self._model.table_call(operation, params)
        before = first.body["Items"]
        if not isinstance(second, Done) or not before or len(before) > len(second.body["Items"]):
            return second
        after = next((item for item in second.body["Items"] if _name(item) == _name(before[-1])), before[-1])
        self._process.world.counts["a torn query"] += after != before[-1]
        return Done({**first.body, "Items": [*before[:-1], after]})

    def _streaky(self, word: str, operation: str) -> str:
        dice, world = self._cloud.dice, self._process.world
        if word in UNANSWERED:
            self._streak = dice.choice((0, 0, 1, 2, 5))
        elif not word and self._streak and not world.calm:
            self._streak -= 1
            word = dice.choice(UNANSWERED)
            world.counts["trouble goes on"] += 1
            world.note(self._process.machine.name, "", f"!! {word} at {operation} as well")
        return word

    async def close(self) -> None: ...


def _possible(operation: str, params: Mapping[str, Any]) -> Sequence[str]:
    """The words that mean something to this call."""
    if POINTS_OF[operation] != "cloud_read":
        return (*ALWAYS, "error_after", "500_after", "later", "conflict", "duplicate")
    if operation == "BatchGetItem":
        loose = not all(wanted.get("ConsistentRead") for wanted in params["RequestItems"].values())
        return (*ALWAYS, "partial", *(("old",) if loose else ()))
    loose = operation != "DescribeTable" and not params.get("ConsistentRead") and "IndexName" not in params
    torn = operation == "Query" and "IndexName" not in params
    return (*ALWAYS, *(("old",) if loose else ()), *(("torn",) if torn else ()))


def _name(item: Item) -> Item:
    return {name: item[name] for name in ("transactionId", "item", "kind", "name") if name in item}


def _refusal(word: str, operation: str, params: Mapping[str, Any]) -> Answer | None:
    """What AWS does not do now."""
    if word == "throttled":
        return Busy("ThrottlingException")
    if word != "conflict":
        return None
    if operation != "TransactWriteItems":
        return Busy("TransactionConflictException")
    reasons = [{"Code": "None"} for _ in params["TransactItems"]]
    reasons[0] = {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}
    return Denied("TransactionCanceledException", "simulated", {"CancellationReasons": reasons})
