"""The feed and outbox contracts themselves: a store with one defect fails the test that is about it."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.mail import Delivery
from payonce.ports import Change, Committed, Conflict, FeedPage, Scope, Unclear
from payonce.stores.memory import MemoryStore
from payonce.stores.memory_outbox import MemoryOutbox
from payonce.testing.feed_contract import FeedContract
from payonce.testing.outbox_contract import OutboxContract
from payonce.testing.outbox_model import compare_outbox_with_model
from payonce.testing.store_changes import Told


class Later(MemoryOutbox):
    """A further notice is about its own news only."""

    def note(self, payment_id: str, seq: int, at_us: int) -> None:
        self._notices.pop(payment_id, None)
        super().note(payment_id, seq, at_us)


class Sleepy(MemoryOutbox):
    """A notice that was put off stays so."""

    def note(self, payment_id: str, seq: int, at_us: int) -> None:
        first, due_us = self._notices.get(payment_id, (seq, at_us))
        super().note(payment_id, first, due_us)


class Careless(MemoryOutbox):
    """Takes the notice at any version."""

    async def hand_over(self, payment_id: str, version: int, deliveries: Sequence[Delivery]) -> bool:
        return await super().hand_over(payment_id, self._version_of(payment_id), deliveries) or not version


class Overwriting(MemoryOutbox):
    """A delivery that is there already is made anew."""

    async def hand_over(self, payment_id: str, version: int, deliveries: Sequence[Delivery]) -> bool:
        done = await super().hand_over(payment_id, version, deliveries)
        self._rows |= {d.id: d for d in deliveries if done}
        return done


class Forgetful(MemoryOutbox):
    """Forgets also what is still to be sent."""

    async def forget(self, before_us: int, limit: int) -> int:
        self._rows = {id: replace(d, state="failed") if d.state == "pending" else d for id, d in self._rows.items()}
        return await super().forget(before_us, limit)


class Mixing(MemoryOutbox):
    """Lists every merchant's."""

    async def list(self, scope: Scope, limit: int, **narrow: Any) -> Any:
        mine, self._rows = self._rows, {id: replace(d, merchant_id=scope.merchant_id) for id, d in self._rows.items()}
        try:
            return await super().list(scope, limit, **narrow)
        finally:
            self._rows = mine


class Racing(MemoryOutbox):
    """Settles whatever the version."""

    async def settle(self, delivery: Delivery) -> bool:
        row = self._rows.get(delivery.id)
        return row is not None and await super().settle(replace(delivery, version=row.version))


class Holding(MemoryStore):
    """A store with that outbox."""

    def __init__(self, outbox: type[MemoryOutbox]) -> None:
        super().__init__()
        self.outbox = outbox(self._version)


class ByClock(MemoryStore):
    """A feed in the order of the events' times."""

    def _tell(self, change: Change) -> None:
        super()._tell(change)
        times = {e.envelope.seq: e.envelope.at_us for e in change.entries}
        told = self._feed[Scope(change.payment.merchant_id, change.payment.mode)]
        for n, seq in enumerate(reversed(change.news), 1):
            told[-n] = (times[seq], told[-n][1])
        told.sort(key=lambda row: row[0])


class Ahead(MemoryStore):
    """Tells of a change before it knows whether it is written."""

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        result = await super().commit(change, expected_version)
        if isinstance(result, Conflict):
            self._tell(change)
        return result


class Ending(MemoryStore):
    """A cursor that leaves one out."""

    async def feed(self, scope: Scope, limit: int, cursor: str | None = None, since_us: int = 0) -> FeedPage:
        page = await super().feed(scope, limit, cursor, since_us)
        return replace(page, next=(await super().feed(scope, limit + 1 if limit < 100 else limit, cursor, since_us)).next)


class Open(MemoryStore):
    """One feed for all."""

    async def feed(self, scope: Scope, limit: int, cursor: str | None = None, since_us: int = 0) -> FeedPage:
        del scope
        return await super().feed(Scope("mer_default", "test"), limit, cursor, since_us)


FEEDS: dict[Callable[[], MemoryStore], str] = {
    ByClock: "test_a_clock_that_goes_back_hides_nothing",
    Ahead: "test_a_change_that_was_not_written_has_no_place",
    Ending: "test_it_goes_in_the_order_of_the_writes",
    Open: "test_each_merchant_and_mode_has_its_own",
}
OUTBOXES: dict[type[MemoryOutbox], str] = {
    Later: "test_the_older_seq_stays_and_it_is_due_again",
    Sleepy: "test_the_older_seq_stays_and_it_is_due_again",
    Careless: "test_at_another_version_the_notice_stands",
    Overwriting: "test_handing_over_keeps_deliveries_and_takes_the_notice",
    Forgetful: "test_only_old_ones_that_are_done_with_are_forgotten",
    Mixing: "test_a_listing_can_be_narrowed",
    Racing: "test_of_racing_writers_exactly_one_wins",
}


def opener(make: Callable[[], MemoryStore]) -> Callable[[Path, AsyncExitStack], Any]:
    """A store of each folder's own."""
    places: dict[Path, MemoryStore] = defaultdict(make)

    async def open(folder: Path, stack: AsyncExitStack) -> Told:
        del stack
        return places[folder]

    return open


@pytest.mark.parametrize("make", FEEDS, ids=lambda make: make.__name__)
def test_a_defect_of_a_feed_is_seen(make: Callable[[], MemoryStore], tmp_path: Path) -> None:
    """Each of them fails the test of its rule."""
    contract = FeedContract()
    contract.open = opener(make)  # type: ignore[method-assign]
    with pytest.raises((AssertionError, ValueError)):
        getattr(contract, FEEDS[make])(tmp_path)


@pytest.mark.parametrize("outbox", OUTBOXES, ids=lambda outbox: outbox.__name__)
def test_a_defect_of_an_outbox_is_seen(outbox: type[MemoryOutbox], tmp_path: Path) -> None:
    """Each of them fails the test of its rule."""
    contract = OutboxContract()
    contract.open = opener(lambda: Holding(outbox))  # type: ignore[method-assign]
    more = (3,) if outbox is Careless else ()  # the version that it is asked for
    with pytest.raises((AssertionError, ValueError)):
        getattr(contract, OUTBOXES[outbox])(tmp_path, *more)


@pytest.mark.parametrize(
    "make", [ByClock, lambda: Holding(Later), lambda: Holding(Racing)], ids=["feed", "notices", "deliveries"]
)
def test_the_comparison_with_the_model_sees_it_too(make: Callable[[], MemoryStore]) -> None:
    """Random histories, the same ones each time, find a defect of each part."""

    async def empty(folder: Path) -> Told:
        del folder
        return make()

    with pytest.raises((AssertionError, ExceptionGroup)):
        compare_outbox_with_model(empty, examples=300, steps=30, explain=False)
