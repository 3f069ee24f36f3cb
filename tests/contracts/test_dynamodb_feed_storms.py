"""Who follows the feed on DynamoDB misses nothing, whatever becomes of writers: they race, die, are slow, and lose answers."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any, Final

import pytest
from tests.contracts.dynamodb_ground import fresh

from payonce.awsapi import Answer, Aws, Busy, Lost, Service
from payonce.core.errors import StoreUnavailable
from payonce.ports import Fed, Scope
from payonce.stores.dynamodb import DynamoStore, Tables, open_store
from payonce.stores.dynamodb.feed import DEAD_US, HOLD_US
from payonce.testing.amazon import ModelAws, Weather
from payonce.testing.feed_contract import follow
from payonce.testing.store_changes import accept, grow, newsworthy, note_event, payment_id, put

DEFAULT: Final = Scope("mer_default", "test")
S: Final = 1_000_000
PAYMENTS, WRITERS, CHANGES, POLLS = 4, 4, 12, 60
WORDS: Final = ("", "", "", "", "lost before", "lost after", "busy", "die before", "die after", "slow", "later")


class Moving:
    """A clock that goes on when somebody sleeps: as far as the longest sleep that is over."""

    def __init__(self) -> None:
        self.at_us = 1_800_000_000 * S

    def now_us(self) -> int:
        return self.at_us

    def monotonic_us(self) -> int:
        return self.at_us

    async def sleep(self, seconds: float) -> None:
        until = self.at_us + int(seconds * S)
        await asyncio.sleep(0)
        self.at_us = max(self.at_us, until)
        await asyncio.sleep(0)


class Late(Weather):
    """Indexes are far behind: the feed does not ask them."""

    def lag_us(self) -> int:
        return 3600 * S


class Stormy:
    """The way of one writer to AWS. ``late`` are calls that are made after their writer has given up."""

    def __init__(self, aws: Aws, clock: Moving, dice: random.Random, late: list[asyncio.Task[Any]]) -> None:
        self._aws, self._clock, self._dice, self._late = aws, clock, dice, late

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
        word = self._dice.choice(WORDS)
        await self._clock.sleep(self._dice.choice((0, 0.01, 0.3)))
        match word:
            case "busy":
                return Busy("ThrottlingException")
            case "lost before":
                return Lost("no answer")
            case "die before":
                raise asyncio.CancelledError
            case "slow":
                await self._clock.sleep(self._dice.uniform(0.5, 8))
            case "later" if operation in ("PutItem", "UpdateItem"):
                self._late.append(asyncio.create_task(self._after(self._dice.uniform(1, 60), service, operation, params)))
                return Lost("no answer yet")
        answer = await self._aws.call(service, operation, params)
        if word == "die after":
            raise asyncio.CancelledError
        return Lost("no answer") if word == "lost after" else answer

    async def _after(self, seconds: float, service: Service, operation: str, params: Mapping[str, Any]) -> None:
        until = self._clock.at_us + int(seconds * S)
        while self._clock.at_us < until:
            await asyncio.sleep(0)
        await self._aws.call(service, operation, params)

    async def close(self) -> None: ...


async def write(store: DynamoStore, real: DynamoStore, dice: random.Random, clock: Moving) -> None:
    """Changes with news to payments that others change too."""
    for n in range(CHANGES):
        p = await real.get(payment_id(dice.randrange(PAYMENTS)))
        assert p is not None
        await clock.sleep(dice.choice((0, 0, 0.1, 2)))
        change = newsworthy(grow(p, note_event(f"{dice.random()} {n}"), at_us=clock.now_us()), notify=False)
        try:
            await store.commit(change, p.version)
        except (StoreUnavailable, asyncio.CancelledError):
            continue


async def storm(seed: int) -> tuple[list[Fed], set[Fed]]:
    """What somebody saw who followed, and what there was to see."""
    dice, clock = random.Random(seed), Moving()
    model = ModelAws(clock, Late())
    tables: Tables = await fresh(model, clock)
    real, late = open_store(model, clock, tables), list[asyncio.Task[Any]]()
    for n in range(PAYMENTS):
        await put(real, accept(n))
    stores = [open_store(Stormy(model, clock, dice, late), clock, tables) for _ in range(WRITERS)]
    writing = asyncio.gather(*(write(store, real, dice, clock) for store in stores))
    seen, cursor = list[Fed](), None
    while not (writing.done() and all(task.done() for task in late)):
        page = await real.feed(DEFAULT, dice.choice((1, 2, 5)), cursor)
        seen, cursor = [*seen, *page.entries], page.next
        await clock.sleep(dice.choice((0, 0.1, 1, 5)))
    await writing
    for step_us in (HOLD_US, DEAD_US):
        clock.at_us += step_us
        more, cursor = await follow(real, cursor=cursor)
        seen += more
    there = [(payment_id(n), await real.history(payment_id(n))) for n in range(PAYMENTS)]
    return seen, {Fed(id, entry.envelope.seq) for id, entries in there for entry in entries[1:]}


@pytest.mark.parametrize("seed", range(12))
def test_who_follows_misses_none_and_sees_nothing_else(seed: int) -> None:
    """All events that are in the histories are seen, in whatever order, and none that is not; few are seen twice."""
    seen, there = asyncio.run(storm(seed))
    assert set(seen) == there
    assert len(there) > PAYMENTS
    assert len(seen) < 2 * len(there)


def test_a_feed_that_forgot_what_was_open_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The storm is one in which changes are done late: without what the cursor carries some would be missed."""
    monkeypatch.setattr("payonce.stores.dynamodb.feed.OPEN_MAX", 0)
    monkeypatch.setattr("payonce.stores.dynamodb.feed.DEAD_US", 1)
    found = [asyncio.run(storm(seed)) for seed in range(6)]
    assert any(set(seen) != there for seen, there in found)


def test_a_place_that_is_written_after_its_change_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it one in which the order of the two writes does not matter."""
    from payonce.stores.dynamodb.writing import _Attempt

    send = _Attempt._send

    async def late(self: Any, new: Any) -> Any:
        answer = await send(self, new)
        if self._change.news:
            await self._feed.announce(self._change)
        return answer

    monkeypatch.setattr(_Attempt, "_send", late)
    monkeypatch.setattr(_Attempt, "_announced", property(lambda _self: True, lambda _self, _value: None), raising=False)
    found = [asyncio.run(storm(seed)) for seed in range(6)]
    assert any(set(seen) != there for seen, there in found)


def test_committed_is_what_is_counted() -> None:
    """The storm leaves committed changes behind, not only broken ones."""
    _, there = asyncio.run(storm(0))
    assert len(there) >= WRITERS * CHANGES // 4
