"""The feed contract over DynamoDB, by the model and by the emulator; what slow and dead writers and forged cursors do to it."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.aws.emulator import emulator
from tests.contracts.dynamodb_ground import OnEmulator, OnModel, Shifted

from payonce.awsapi import Answer, Aws, Lost, Service
from payonce.core.errors import StoreUnavailable
from payonce.core.payment import Payment
from payonce.ports import Change, Committed, Conflict, Fed, Scope, Unclear
from payonce.stores.dynamodb import DynamoStore, Tables, create_tables, open_store
from payonce.stores.dynamodb.feed import DEAD_US, HOLD_US, OPEN_MAX, SPARES_US, WAIT_US, cursor_of, place_of, position
from payonce.stores.rows import cursor_after
from payonce.testing.amazon import ModelAws
from payonce.testing.feed_contract import FeedContract, follow
from payonce.testing.store_changes import Told, accept, grow, newsworthy, note_event, put

DEFAULT = Scope("mer_default", "test")
S = 1_000_000


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with emulator(tmp_path_factory.mktemp("aws")) as url:
        yield url


class TestModel(OnModel, FeedContract):
    """No index is asked and the clock is one, so it is exact."""


class TestEmulator(OnEmulator, FeedContract):
    """The same, as the emulator has it."""


# --- writers that are slow, and writers that die --------------------------------------------------------------------------


class Stopping:
    """The way of one process to AWS. ``stop``: the call of this name is not made, and its process is gone; ``slow``: how long
    each put takes, in turn."""

    def __init__(self, aws: Aws, clock: Shifted) -> None:
        self._aws, self._clock, self.stop, self.slow, self.puts = aws, clock, "", list[int](), 0
        self.held: tuple[Service, str, Mapping[str, Any]] | None = None

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
        if operation == self.stop:
            self.held = service, operation, params
            raise asyncio.CancelledError
        if operation == "PutItem" and params["Item"]["transactionId"]["S"].startswith("feed#"):
            self.puts += 1
            self._clock.ahead_us += self.slow.pop(0) if self.slow else 0
        return await self._aws.call(service, operation, params)

    async def close(self) -> None: ...

    async def go_on(self) -> None:
        """The call that was held back is made after all."""
        assert self.held
        await self._aws.call(*self.held)


class Scene:
    """A store as one process has it, another process, and the clock of both."""

    def __init__(self) -> None:
        self.clock = Shifted()
        self.model = ModelAws(self.clock)
        self.tables = Tables(transactions="t", idempotency="i", registry="r", shards=4)
        self.way = Stopping(self.model, self.clock)
        self.mine, self.other = (open_store(aws, self.clock, self.tables) for aws in (self.way, self.model))

    async def made(self) -> "Scene":
        await create_tables(self.model, self.clock, self.tables)
        return self

    async def cut(self, change: Change) -> None:
        """My process dies before it writes the change itself."""
        self.way.stop = "UpdateItem"
        with pytest.raises(asyncio.CancelledError):
            await self.mine.commit(change, change.payment.version - 1)
        self.way.stop = ""

    async def seen(self, cursor: str | None = None, store: DynamoStore | None = None) -> tuple[list[Fed], str]:
        return await follow(store or self.other, cursor=cursor)


async def young(store: Told, number: int) -> Payment:
    return await put(store, accept(number))


def told(p: Payment, n: int) -> Change:
    return newsworthy(grow(p, note_event(f"n{n}")), notify=False)


def test_a_change_in_the_middle_is_waited_for_and_keeps_its_order() -> None:
    """While a change is under way nothing behind it is shown; when it is done all is, in order, and once."""

    async def test() -> None:
        s = await Scene().made()
        slow, fast = await young(s.mine, 1), await young(s.other, 2)
        await s.cut(told(slow, 1))
        await put(s.other, told(fast, 1))
        s.clock.ahead_us += HOLD_US
        page = await s.other.feed(DEFAULT, 10)
        assert (page.entries, page.more) == ((), False)
        await s.way.go_on()
        assert (await s.seen(page.next))[0] == [Fed(slow.id, 2), Fed(fast.id, 2)]

    asyncio.run(test())


def test_a_change_that_takes_long_is_passed_and_not_missed() -> None:
    """After WAIT_US the others are shown. The one that was late comes as soon as it is done, once, to whoever passed it."""

    async def test() -> None:
        s = await Scene().made()
        slow, fast = await young(s.mine, 1), await young(s.other, 2)
        await s.cut(told(slow, 1))
        await put(s.other, told(fast, 1))
        s.clock.ahead_us += WAIT_US + HOLD_US
        seen, cursor = await s.seen()
        assert seen == [Fed(fast.id, 2)]
        assert [place.payment_id for place in position(DEFAULT, cursor)[1]] == [slow.id]
        again, cursor = await s.seen(cursor)
        assert again == []
        s.clock.ahead_us += DEAD_US - 2 * (WAIT_US + HOLD_US)
        await s.way.go_on()
        late, cursor = await s.seen(cursor)
        assert late == [Fed(slow.id, 2)]
        assert await s.seen(cursor) == ([], cursor)
        assert position(DEFAULT, cursor)[1] == []

    asyncio.run(test())


def test_what_was_announced_and_never_written_is_let_go() -> None:
    """Its writer died: another one goes on with the payment, or nobody does, and then it is forgotten after DEAD_US."""

    async def test() -> None:
        s = await Scene().made()
        lost, left = await young(s.mine, 1), await young(s.mine, 2)
        await s.cut(told(lost, 1))
        await s.cut(told(left, 1))
        p = await put(s.other, told(lost, 7))  # the same seq, another event
        s.clock.ahead_us += WAIT_US
        seen, cursor = await s.seen()
        assert seen == [Fed(lost.id, p.version)]
        assert [place.payment_id for place in position(DEFAULT, cursor)[1]] == [left.id]
        s.clock.ahead_us += DEAD_US
        seen, cursor = await s.seen(cursor)
        assert (seen, position(DEFAULT, cursor)[1]) == ([], [])

    asyncio.run(test())


def test_a_place_that_took_long_is_written_again_with_a_later_time() -> None:
    """A page that was read meanwhile cannot have passed it."""

    async def test() -> None:
        s = await Scene().made()
        p = await young(s.mine, 1)
        _, cursor = await s.seen()
        s.way.slow = [HOLD_US + S, SPARES_US[1] + S, S]
        await put(s.mine, told(p, 1))
        assert s.way.puts == 3
        s.clock.ahead_us += SPARES_US[2] + HOLD_US
        seen, _ = await s.seen(cursor)
        assert set(seen) == {Fed(p.id, 2)}

    asyncio.run(test())


def test_nothing_is_written_when_it_cannot_be_announced() -> None:
    """A change with news whose place is refused for good is not done: the caller may send it again."""

    async def test() -> None:
        s = await Scene().made()
        p = await young(s.mine, 1)

        class Silent(Stopping):
            async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
                return Lost("no answer") if operation == "PutItem" else await super().call(service, operation, params)

        with pytest.raises(StoreUnavailable):
            await open_store(Silent(s.model, s.clock), s.clock, s.tables).commit(told(p, 1), 1)
        assert await s.other.get(p.id) == p

    asyncio.run(test())


def test_many_that_are_open_hold_the_page_back() -> None:
    """No more than OPEN_MAX are carried in a cursor; what is behind waits until one of them is decided, and nothing is lost."""

    async def test() -> None:
        s = await Scene().made()
        rows = [await young(s.mine, n) for n in range(OPEN_MAX + 2)]
        for p in rows:
            await s.cut(told(p, 1))
        behind = await young(s.other, 99)
        await put(s.other, told(behind, 1))
        s.clock.ahead_us += WAIT_US + HOLD_US
        seen, cursor = await s.seen()
        assert seen == []
        assert len(position(DEFAULT, cursor)[1]) == OPEN_MAX
        await s.way.go_on()  # the last one, which no cursor carries
        for p in rows[:3]:
            await put(s.other, told(p, 2))
        s.clock.ahead_us += HOLD_US
        seen, _ = await s.seen(cursor)
        assert set(seen) == {Fed(p.id, 2) for p in (*rows[:3], rows[-1], behind)}

    asyncio.run(test())


def test_a_cursor_that_somebody_made_up_shows_nothing_foreign() -> None:
    """What it is to look at again must be a place of this merchant: another one's payment is not shown by naming it."""

    async def test() -> None:
        s = await Scene().made()
        await put(s.mine, newsworthy(accept(1, merchant_id="mer_b"), notify=False))
        s.clock.ahead_us += HOLD_US
        (table,) = (t for name, t in s.model.dynamodb.tables.items() if name == "t")
        (key,) = (item["item"]["S"] for _, item in table.all() if item["transactionId"]["S"].startswith("feed#"))
        made_up = cursor_of(DEFAULT, "0" * 16, [place_of(key)])
        assert (await s.other.feed(DEFAULT, 10, made_up)).entries == ()
        assert len((await s.other.feed(Scope("mer_b", "test"), 10)).entries) == 1
        for wrong in ("x", "1", f"{'0' * 16},{key},", ",".join(["0" * 16, *[key] * 11])):
            with pytest.raises(ValueError, match=r"cursor|place"):
                await s.other.feed(DEFAULT, 10, cursor_after(0, f"{position_mark()},{wrong}"))

    asyncio.run(test())


def position_mark() -> str:
    """What a cursor of the default feed begins with."""
    from payonce.stores.rows import cursor_position

    return cursor_position(cursor_of(DEFAULT, "0" * 16, []))[1].partition(",")[0]


@pytest.mark.parametrize("fates", [("lost",), ("done",), ("lost", "done"), ("done", "done")])
@pytest.mark.parametrize("at", range(3))
def test_lost_answers_cost_no_place_and_make_none(fates: tuple[str, ...], at: int) -> None:
    """Requests or answers are lost at any call of a change with news: what is written in the end is what the feed shows."""

    async def test() -> None:
        s = await Scene().made()
        p = await young(s.mine, 1)
        left, number = list(fates), 0

        class Losing(Stopping):
            async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
                nonlocal number
                if operation in ("PutItem", "UpdateItem"):
                    number += 1
                    if number > at and left:
                        if left.pop(0) == "done":
                            await super().call(service, operation, params)
                        return Lost("no answer")
                return await super().call(service, operation, params)

        change = told(p, 1)
        result = await open_store(Losing(s.model, s.clock), s.clock, s.tables).commit(change, 1)
        assert isinstance(result, Committed | Conflict | Unclear)
        assert result == Committed()
        s.clock.ahead_us += HOLD_US
        assert (await s.seen())[0] == [Fed(p.id, 2)]

    asyncio.run(test())
