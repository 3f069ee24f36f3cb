"""The contract of ``payonce.ports.Store.feed``, for every implementation: subclass, say how to open one, run with pytest.

    class TestMine(FeedContract):
        async def open(self, folder: Path, stack: AsyncExitStack) -> Told:
            return await stack.enter_async_context(my_store(folder / "pay.db"))

The sentences in quotes are the port's own. A feed that goes through an index that lags sets ``EXACT`` to False and says in
``settle_index`` how the index catches up: then a place may come twice, and late, and none may be missed all the same.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from payonce.core.payment import Payment
from payonce.ports import Committed, Conflict, Fed, FeedPage, Scope

from .store_changes import START_US, OpensTold, Told, accept, grow, newsworthy, note_event, payment_id, put

DEFAULT = Scope("mer_default", "test")
WRITERS = 12
SECOND_US = 1_000_000
PAGES_MAX = 200


async def told(store: Told, number: int, *, at_us: int = START_US, merchant_id: str = "mer_default") -> Fed:
    """Payment ``number`` is there, and its first event holds news."""
    change = newsworthy(accept(number, at_us=at_us, merchant_id=merchant_id), notify=False)
    await put(store, change)
    return Fed(change.payment.id, 1)


async def follow(store: Told, scope: Scope = DEFAULT, cursor: str | None = None, limit: int = 2) -> tuple[list[Fed], str]:
    """All places from a cursor on, as somebody sees them who goes on until there is no more; and the cursor then."""
    seen: list[Fed] = []
    for _ in range(PAGES_MAX):
        page = await store.feed(scope, limit, cursor)
        seen += page.entries
        cursor = page.next
        if not page.more:
            return seen, cursor
    raise AssertionError("the feed does not end")


class FeedContract(OpensTold):
    """Every test opens two connections to a store of its own."""

    EXACT: ClassVar[bool] = True  # each place comes once, in the order of the writes, at once

    def same(self, seen: Sequence[Fed], wanted: Sequence[Fed]) -> None:
        """Who followed the feed saw what was to be seen."""
        if self.EXACT:
            assert list(seen) == list(wanted)
        else:
            assert set(seen) == set(wanted)

    def test_it_is_empty_at_first_and_can_be_followed_from_there(self, tmp_path: Path) -> None:
        """ "next always continues, also at the end of what there is today." """

        async def test(one: Told, two: Told) -> None:
            empty = await one.feed(DEFAULT, 10)
            assert (empty.entries, empty.more) == ((), False)
            first = await told(one, 1)
            await self.settle_index()
            again = await two.feed(DEFAULT, 10, empty.next)
            assert (again.entries, again.more) == ((first,), False)
            assert (await one.feed(DEFAULT, 10, again.next)).more is False

        self.use(tmp_path, test)

    def test_places_are_of_events_that_were_named(self, tmp_path: Path) -> None:
        """ "Places of public events, of changes that named them in news": no other event of the payment has one."""

        async def test(one: Told, two: Told) -> None:
            p = await put(one, accept(1))
            p = await put(one, grow(p, note_event("a"), at_us=START_US + 1))
            p = await put(one, newsworthy(grow(p, note_event("b"), note_event("c"), at_us=START_US + 2)))
            await put(one, grow(p, note_event("d"), at_us=START_US + 3))
            await self.settle_index()
            seen, _ = await follow(two)
            self.same(seen, [Fed(p.id, 3), Fed(p.id, 4)])

        self.use(tmp_path, test)

    def test_a_change_that_was_not_written_has_no_place(self, tmp_path: Path) -> None:
        """All or nothing: who gets Conflict has told nobody."""

        async def test(one: Told, two: Told) -> None:
            p = await put(one, accept(1, key="k"))
            await put(one, grow(p, note_event("first"), at_us=START_US + 1))
            late = newsworthy(grow(p, note_event("second"), at_us=START_US + 2))
            assert isinstance(await two.commit(late, p.version), Conflict)
            assert isinstance(await two.commit(newsworthy(accept(2, key="k")), 0), Conflict)
            await self.settle_index()
            assert (await follow(two))[0] == []
            assert (await two.outbox.noticed(p.id), await two.outbox.noticed(payment_id(2))) == (None, None)

        self.use(tmp_path, test)

    def test_it_goes_in_the_order_of_the_writes(self, tmp_path: Path) -> None:
        """ "In the order of the writes", page by page, whatever the limit; ``more`` says that there is something behind."""

        async def test(one: Told, two: Told) -> None:
            wanted = [await told((one, two)[n % 2], n, at_us=START_US + n * SECOND_US) for n in (5, 3, 4, 1, 2)]
            wanted = sorted(wanted, key=lambda fed: fed.payment_id) if not self.EXACT else wanted
            await self.settle_index()
            for limit in (1, 2, 4, 5, 100):
                self.same((await follow(two, limit=limit))[0], wanted)
            whole = await two.feed(DEFAULT, 100)
            assert await one.feed(DEFAULT, 100) == whole
            assert not whole.more

        self.use(tmp_path, test)

    def test_a_clock_that_goes_back_hides_nothing(self, tmp_path: Path) -> None:
        """ "Whoever goes on from next misses none": also what a writer wrote whose clock is behind that of those before."""

        async def test(one: Told, two: Told) -> None:
            first = await told(one, 1, at_us=START_US + 2 * SECOND_US)
            await self.settle_index()
            seen, cursor = await follow(two)
            self.same(seen, [first])
            later = [await told(two, 2, at_us=START_US + SECOND_US), await told(one, 3, at_us=START_US + 3 * SECOND_US)]
            await self.settle_index()
            more, _ = await follow(one, cursor=cursor)
            assert set(later) <= set(more)
            if self.EXACT:
                assert more == later

        self.use(tmp_path, test)

    def test_it_starts_at_a_time(self, tmp_path: Path) -> None:
        """ "Without a cursor from the first event at or after since_us": at that microsecond too; a time to come shows nothing
        yet, and its cursor goes on from there."""

        async def test(one: Told, two: Told) -> None:
            wanted = [await told(one, n, at_us=START_US + n * SECOND_US) for n in range(1, 5)]
            await self.settle_index()
            for n in range(1, 5):
                page = await two.feed(DEFAULT, 100, since_us=START_US + n * SECOND_US)
                self.same(page.entries, wanted[n - 1 :])
                after = await two.feed(DEFAULT, 100, since_us=START_US + n * SECOND_US + 1)
                self.same(after.entries, wanted[n:])
            page = await two.feed(DEFAULT, 2, since_us=START_US + 2 * SECOND_US)
            assert page.more
            self.same(page.entries, wanted[1:3])
            self.same((await two.feed(DEFAULT, 2, page.next)).entries, wanted[3:])
            coming = await two.feed(DEFAULT, 10, since_us=START_US + 9 * SECOND_US)
            assert (coming.entries, coming.more) == ((), False)
            last = await told(one, 9, at_us=START_US + 9 * SECOND_US)
            await self.settle_index()
            assert (await two.feed(DEFAULT, 10, coming.next)).entries == (last,)

        self.use(tmp_path, test)

    def test_each_merchant_and_mode_has_its_own(self, tmp_path: Path) -> None:
        """A merchant's feed shows nothing of another one, nor of the other mode."""

        async def test(one: Told, two: Told) -> None:
            odd = "x' OR 1=1 -- مرحبا,\N{CAT FACE}"
            wanted = {id: [await told(one, n, merchant_id=id)] for n, id in enumerate(("mer_a", "mer_b", odd), 1)}
            await put(two, newsworthy(accept(9, merchant_id="mer_a", mode="live")))
            await self.settle_index()
            for id, places in wanted.items():
                self.same((await follow(two, Scope(id, "test")))[0], places)
            self.same((await follow(two, Scope("mer_a", "live")))[0], [Fed(payment_id(9), 1)])
            assert (await two.feed(Scope("mer_c", "test"), 10)).entries == ()

        self.use(tmp_path, test)

    def test_what_makes_no_sense_is_refused(self, tmp_path: Path) -> None:
        """ "Raises ValueError for a cursor that is not ours": nor one of another feed or listing; and for a limit outside 1 to
        100."""

        async def test(one: Told, two: Told) -> None:
            await told(one, 1)
            await told(one, 2, merchant_id="mer_b")
            await self.settle_index()
            foreign = (await two.feed(Scope("mer_b", "test"), 1)).next
            other_mode = (await two.feed(Scope("mer_default", "live"), 1)).next
            for cursor in ("x", "", "\N{CAT FACE}", foreign, other_mode, foreign + "A"):
                with pytest.raises(ValueError, match="cursor"):
                    await one.feed(DEFAULT, 1, cursor)
            for limit in (0, 101):
                with pytest.raises(ValueError, match="limit"):
                    await one.feed(DEFAULT, limit)

        self.use(tmp_path, test)

    def test_who_follows_while_all_write_misses_none(self, tmp_path: Path) -> None:
        """Writers on both connections, and somebody who goes on from ``next`` all the time: every place is seen."""

        async def test(one: Told, two: Told) -> None:
            seen: list[Fed] = []
            cursor: str | None = None

            async def write(number: int) -> list[Fed]:
                store, places = (one, two)[number % 2], [await told((one, two)[number % 2], number)]
                p: Payment = accept(number).payment
                for n in range(2, 5):
                    change = newsworthy(grow(p, note_event(f"{n}"), at_us=START_US + n), notify=False)
                    assert await store.commit(change, p.version) == Committed()
                    p = change.payment
                    places.append(Fed(p.id, n))
                return places

            writing = asyncio.gather(*(write(n) for n in range(WRITERS)))
            while not writing.done():
                page: FeedPage = await one.feed(DEFAULT, 3, cursor)
                seen += page.entries
                cursor = page.next
                await asyncio.sleep(0)
            wanted = [fed for places in await writing for fed in places]
            await self.settle_index()
            rest, _ = await follow(two, cursor=cursor, limit=7)
            seen += rest
            assert set(seen) == set(wanted)
            if self.EXACT:
                assert sorted(seen, key=repr) == sorted(wanted, key=repr)
                assert seen == (await follow(one, limit=100))[0]
                assert all(seen.index(Fed(p, n)) < seen.index(Fed(p, n + 1)) for p, n in seen_pairs(wanted))

        self.use(tmp_path, test)


def seen_pairs(places: Sequence[Fed]) -> list[tuple[str, int]]:
    """Places that have a next one of the same payment."""
    known = set(places)
    return [(fed.payment_id, fed.seq) for fed in places if Fed(fed.payment_id, fed.seq + 1) in known]
