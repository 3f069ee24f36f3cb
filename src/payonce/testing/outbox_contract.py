"""The contract of ``payonce.mail.Outbox``, for every implementation: subclass, say how to open one, run with pytest.

    class TestMine(OutboxContract):
        async def open(self, folder: Path, stack: AsyncExitStack) -> Told:
            return await stack.enter_async_context(my_store(folder / "pay.db"))

The sentences in quotes are the port's own. Where listings and due times go through an index that lags, ``settle_index`` says
how it catches up. ``outbox_model`` compares an outbox with the model step by step.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.mail import DELIVERY_CHARS_MAX, Delivery, DeliveryPage, DeliveryState, Waiting
from payonce.ports import Committed, Conflict, Scope

from .store_changes import START_US, OpensTold, Told, accept, grow, newsworthy, note_event, payment_id, put

RIVALS = 25  # on each of two connections
SECOND_US = 1_000_000
DEFAULT = Scope("mer_default", "test")
FAR_US = 2**62


def delivery(number: int, **fields: Any) -> Delivery:
    """The ``number``-th delivery, made and due ``number`` seconds after the first; of payment ``number``."""
    at_us = START_US + number * SECOND_US
    given = Delivery(
        id=f"dlv_{number:020}",
        endpoint_id="whe_" + "a" * 20,
        merchant_id="mer_default",
        mode="test",
        event_id=f"evt_{number:020}000001",
        type="payment.succeeded",
        payment_id=payment_id(number),
        seq=1,
        created_us=at_us,
        due_us=at_us,
    )
    return replace(given, **fields)


class NoticesContract(OpensTold):
    """Payments with news that were not turned into deliveries yet."""

    def test_it_is_empty_at_first(self, tmp_path: Path) -> None:
        """Nothing is to be told that nobody put there."""

        async def test(one: Told, _: Told) -> None:
            out = one.outbox
            assert (await out.notices(FAR_US, 10), await out.due(FAR_US, 10)) == ((), ())
            assert (await out.noticed(payment_id(1)), await out.get("dlv_1")) == (None, None)
            assert await out.list(DEFAULT, 10) == DeliveryPage((), None)
            assert (await out.counts(), await out.forget(FAR_US, 10)) == ({}, 0)
            assert not await out.settle(delivery(1))
            await out.put_off(payment_id(1), 1)
            assert await out.notices(FAR_US, 10) == ()

        self.use(tmp_path, test)

    def test_a_write_with_news_leaves_a_notice(self, tmp_path: Path) -> None:
        """ "Put there by Store.commit", when somebody is subscribed, due at the time of the news; and only then."""

        async def test(one: Told, two: Told) -> None:
            p = await put(one, accept(1))
            told = grow(p, note_event("a"), note_event("b"), at_us=START_US + 5)
            await put(one, replace(newsworthy(told), news=(3,)))
            await put(one, newsworthy(accept(2), notify=False))
            await self.settle_index()
            assert (await two.outbox.noticed(p.id), await two.outbox.noticed(payment_id(2))) == (3, None)
            assert await two.outbox.notices(START_US + 5, 10) == (Waiting(p.id, START_US + 5),)
            assert await two.outbox.notices(START_US + 4, 10) == ()

        self.use(tmp_path, test)

    def test_the_older_seq_stays_and_it_is_due_again(self, tmp_path: Path) -> None:
        """ "The first seq that the notice of a payment is about": further news do not move it; and one that was put off is
        looked at as soon as there are further news."""

        async def test(one: Told, two: Told) -> None:
            p = await put(one, newsworthy(accept(1)))
            await two.outbox.put_off(p.id, FAR_US)
            p = await put(two, grow(p, note_event("no news"), at_us=START_US + 1))
            await self.settle_index()
            assert await one.outbox.notices(FAR_US - 1, 10) == ()
            p = await put(one, newsworthy(grow(p, note_event("news"), at_us=START_US + 2)))
            await self.settle_index()
            assert await two.outbox.noticed(p.id) == 1
            assert await two.outbox.notices(START_US + 2, 10) == (Waiting(p.id, START_US + 2),)

        self.use(tmp_path, test)

    def test_notices_come_earliest_first(self, tmp_path: Path) -> None:
        """ "Payments with a notice due before or at a time, earliest first"; ``put_off`` moves one."""

        async def test(one: Told, two: Told) -> None:
            for n in (3, 1, 2, 4):
                await put((one, two)[n % 2], newsworthy(accept(n, at_us=START_US + n)))
            await self.settle_index()
            assert [w.id for w in await two.outbox.notices(START_US + 3, 10)] == [payment_id(n) for n in (1, 2, 3)]
            assert [w.id for w in await two.outbox.notices(FAR_US, 2)] == [payment_id(n) for n in (1, 2)]
            await one.outbox.put_off(payment_id(1), START_US + 9)
            await self.settle_index()
            assert (await two.outbox.notices(START_US + 9, 10))[-1] == Waiting(payment_id(1), START_US + 9)
            assert await two.outbox.noticed(payment_id(1)) == 1

        self.use(tmp_path, test)

    def test_handing_over_keeps_deliveries_and_takes_the_notice(self, tmp_path: Path) -> None:
        """ "Keep the deliveries (one whose id is there already stays as it is) and take the payment off the notices, if it is
        still at version." """

        async def test(one: Told, two: Told) -> None:
            p = await put(one, newsworthy(accept(1)))
            known = delivery(1, state="delivered", due_us=None)
            assert await one.outbox.add(known)
            assert await two.outbox.hand_over(p.id, 1, [delivery(1), delivery(2, payment_id=p.id)])
            await self.settle_index()
            assert (await one.outbox.noticed(p.id), await one.outbox.notices(FAR_US, 10)) == (None, ())
            assert await one.outbox.get(known.id) == known
            assert await one.outbox.get(delivery(2).id) == delivery(2, payment_id=p.id)
            assert await one.outbox.due(FAR_US, 10) == (Waiting(delivery(2).id, START_US + 2 * SECOND_US),)
            assert await two.outbox.hand_over(p.id, 1, [])  # "Everything here may be asked again."
            p = await put(one, newsworthy(grow(p, note_event("news"), at_us=START_US + 2)))
            assert await two.outbox.noticed(p.id) == 2

        self.use(tmp_path, test)

    @pytest.mark.parametrize("version", [0, 1, 3])
    def test_at_another_version_the_notice_stands(self, tmp_path: Path, version: int) -> None:
        """ "False when it is not: the deliveries may be kept, the notice stands, look again." """

        async def test(one: Told, two: Told) -> None:
            p = await put(one, newsworthy(accept(1)))
            p = await put(one, newsworthy(grow(p, note_event("news"), at_us=START_US + 7)))
            assert not await two.outbox.hand_over(p.id, version, [delivery(1)])
            await self.settle_index()
            assert await one.outbox.noticed(p.id) == 1
            assert await one.outbox.notices(START_US + 7, 10) == (Waiting(p.id, START_US + 7),)
            assert await two.outbox.hand_over(p.id, 2, [delivery(1)])
            assert await one.outbox.noticed(p.id) is None
            assert await one.outbox.get(delivery(1).id) == delivery(1)
            assert not await one.outbox.hand_over(payment_id(9), 1, [])  # there is no such payment

        self.use(tmp_path, test)

    def test_news_that_come_meanwhile_are_never_lost(self, tmp_path: Path) -> None:
        """One hands over while others write: whoever is told True has handed over all news up to that version, and what came
        after it has a notice."""

        async def test(one: Told, two: Told) -> None:
            p, owed = await put(one, newsworthy(accept(1))), 1
            for n in range(20):
                change = newsworthy(grow(p, note_event(f"{n}"), at_us=START_US + n))
                version = p.version
                done, written = await asyncio.gather(
                    two.outbox.hand_over(p.id, version, [delivery(100 + n)]), one.commit(change, version)
                )
                assert written == Committed()
                p, owed = change.payment, version + 1 if done else owed
                assert await two.outbox.noticed(p.id) == owed
                if n % 3 == 0:
                    assert await one.outbox.hand_over(p.id, p.version, [])
                    owed = p.version + 1

        self.use(tmp_path, test)

    def test_of_racing_writers_one_leaves_its_notice(self, tmp_path: Path) -> None:
        """Of rivals with the same version one is written, and the notice is about its news."""

        async def test(one: Told, two: Told) -> None:
            p = await put(one, accept(1))
            rivals = [newsworthy(grow(p, note_event(f"{n}"), at_us=START_US + n)) for n in range(2 * RIVALS)]
            results = await asyncio.gather(*((one, two)[n % 2].commit(each, 1) for n, each in enumerate(rivals)))
            (won,) = [n for n, result in enumerate(results) if isinstance(result, Committed)]
            assert sum(isinstance(result, Conflict) for result in results) == len(rivals) - 1
            await self.settle_index()
            assert await two.outbox.noticed(p.id) == 2
            assert await two.outbox.notices(FAR_US, 10) == (Waiting(p.id, START_US + won),)

        self.use(tmp_path, test)


class DeliveriesContract(OpensTold):
    """Public events on their way to endpoints."""

    def test_a_delivery_comes_back_as_it_was(self, tmp_path: Path) -> None:
        """Every field of it, on every connection; a new one has version 1; "False when its id is there already, and nothing
        changes"."""

        async def test(one: Told, two: Told) -> None:
            odd = "x' OR 1=1 -- مرحبا\N{CAT FACE}"
            full = delivery(1, endpoint_id=odd, event_id=odd, type=odd, said=odd, tries=3, status=503, last_us=9, seq=7)
            bare = delivery(2, payment_id="", seq=0, due_us=None, state="canceled", merchant_id=odd, mode="live")
            long = delivery(3, said="é" * DELIVERY_CHARS_MAX)
            for each in (full, bare, long):
                assert await one.outbox.add(replace(each, version=5))
                assert await two.outbox.get(each.id) == each
                assert not await two.outbox.add(replace(each, said="other", due_us=1, state="failed"))
                assert await one.outbox.get(each.id) == each
            assert await one.outbox.get("") is None
            await self.settle_index()
            assert await two.outbox.due(FAR_US, 10) == (Waiting(full.id, full.due_us or 0), Waiting(long.id, long.due_us or 0))

        self.use(tmp_path, test)

    @pytest.mark.parametrize("field", ["id", "endpoint_id", "merchant_id", "event_id", "type", "payment_id", "said"])
    def test_one_that_is_too_large_is_refused(self, tmp_path: Path, field: str) -> None:
        """DELIVERY_CHARS_MAX "of each text in one": ValueError, and nothing is written."""

        async def test(one: Told, two: Told) -> None:
            p = await put(one, newsworthy(accept(1)))
            large = replace(delivery(1), **{field: "x" * (DELIVERY_CHARS_MAX + 1)})
            for asked in (
                one.outbox.add(large),
                one.outbox.hand_over(p.id, 1, [delivery(2), large]),
                one.outbox.settle(large),
            ):
                with pytest.raises(ValueError, match=f"{DELIVERY_CHARS_MAX}"):
                    await asked
            assert (await two.outbox.counts(), await two.outbox.noticed(p.id)) == ({}, 1)

        self.use(tmp_path, test)

    def test_settling_writes_what_became_of_a_try(self, tmp_path: Path) -> None:
        """ "Write state, tries, status, said, last and due time (None = it is not tried any more), if the row is still at the
        version of delivery; it gets the next one": what else is handed in stays as it was."""

        async def test(one: Told, two: Told) -> None:
            first = delivery(1)
            await one.outbox.add(first)
            failed = replace(first, tries=1, status=500, said="500", last_us=START_US + 1, due_us=START_US + 10**9)
            odd = replace(failed, endpoint_id="x", merchant_id="x", mode="live", event_id="x", type="x", seq=9, created_us=1)
            assert await two.outbox.settle(odd)
            assert await one.outbox.get(first.id) == replace(failed, version=2)
            await self.settle_index()
            assert await one.outbox.due(FAR_US, 10) == (Waiting(first.id, START_US + 10**9),)
            done = replace(failed, version=2, state="delivered", status=204, said="", tries=2, due_us=None)
            assert await one.outbox.settle(done)
            await self.settle_index()
            assert await two.outbox.get(first.id) == replace(done, version=3)
            assert (await two.outbox.due(FAR_US, 10), await two.outbox.counts()) == ((), {"delivered": 1})
            assert await one.outbox.settle(replace(done, version=3, state="pending", due_us=7))  # sent again
            await self.settle_index()
            assert await two.outbox.due(7, 10) == (Waiting(first.id, 7),)

        self.use(tmp_path, test)

    @pytest.mark.parametrize("version", [0, 1, 3])
    def test_another_version_writes_nothing(self, tmp_path: Path, version: int) -> None:
        """ "The others get False and have written nothing": neither the row nor its due time."""

        async def test(one: Told, two: Told) -> None:
            await one.outbox.add(delivery(1))
            assert await one.outbox.settle(delivery(1, tries=1))
            before = await one.outbox.get(delivery(1).id)
            assert not await two.outbox.settle(delivery(1, version=version, state="failed", due_us=None))
            await self.settle_index()
            assert await two.outbox.get(delivery(1).id) == before
            assert len(await two.outbox.due(FAR_US, 10)) == 1

        self.use(tmp_path, test)

    def test_of_racing_writers_exactly_one_wins(self, tmp_path: Path) -> None:
        """ "Of any number of racing writers with the same version exactly one gets True"; of those who add one, too."""

        async def test(one: Told, two: Told) -> None:
            outs = (one.outbox, two.outbox)
            added = await asyncio.gather(*(outs[n % 2].add(delivery(1, said=f"{n}")) for n in range(2 * RIVALS)))
            assert added.count(True) == 1
            assert await two.outbox.get(delivery(1).id) == delivery(1, said=f"{added.index(True)}")
            rivals = [delivery(1, tries=n) for n in range(2 * RIVALS)]
            won = await asyncio.gather(*(outs[n % 2].settle(each) for n, each in enumerate(rivals)))
            assert won.count(True) == 1
            assert await two.outbox.get(delivery(1).id) == replace(rivals[won.index(True)], version=2)

        self.use(tmp_path, test)

    def test_a_listing_goes_through_all_newest_first(self, tmp_path: Path) -> None:
        """ "Newest first (creation, then id), of a merchant and mode. A cursor continues after the last row seen, whatever was
        written since." """

        async def test(one: Told, two: Told) -> None:
            states: tuple[DeliveryState, ...] = ("pending", "delivered", "failed", "canceled")
            same_us = START_US + 5 * SECOND_US
            rows = [
                delivery(n, state=states[n % 4], created_us=same_us if n in (5, 6, 7) else START_US + n * SECOND_US)
                for n in range(1, 11)
            ]
            for each in rows:
                assert await one.outbox.add(each)
            await one.outbox.add(delivery(50, merchant_id="mer_b"))
            await one.outbox.add(delivery(51, mode="live"))
            await self.settle_index()
            page, seen = await two.outbox.list(DEFAULT, 3), list[Delivery]()
            while True:
                seen += page.deliveries
                if page.next is None:
                    break
                await one.outbox.add(delivery(100 + len(seen)))  # newer than all that was shown
                page = await two.outbox.list(DEFAULT, 3, cursor=page.next)
            assert seen == [rows[n - 1] for n in (10, 9, 8, 7, 6, 5, 4, 3, 2, 1)]
            assert (await two.outbox.list(Scope("mer_b", "test"), 10)).deliveries == (delivery(50, merchant_id="mer_b"),)
            assert (await two.outbox.list(Scope("mer_default", "live"), 10)).deliveries == (delivery(51, mode="live"),)

        self.use(tmp_path, test)

    def test_a_listing_can_be_narrowed(self, tmp_path: Path) -> None:
        """By endpoint, state and payment, and by all of them; never to what is another merchant's."""

        async def test(one: Told, two: Told) -> None:
            states: tuple[DeliveryState, ...] = ("pending", "delivered", "failed", "canceled")
            for n, state in enumerate(states * 2):
                row = delivery(n, endpoint_id="ab"[n // 4], payment_id=payment_id(n % 2), state=state)
                await one.outbox.add(row)
                await one.outbox.add(replace(row, id=f"dlv_other_{n}", merchant_id="mer_b"))
            await self.settle_index()

            async def numbers(**narrow: Any) -> list[int]:
                found = await two.outbox.list(DEFAULT, 10, **narrow)
                assert found.next is None
                return [int(d.id[4:]) for d in found.deliveries]

            assert await numbers() == [7, 6, 5, 4, 3, 2, 1, 0]
            assert await numbers(endpoint_id="a") == [3, 2, 1, 0]
            assert await numbers(state="failed") == [6, 2]
            assert await numbers(payment_id=payment_id(1)) == [7, 5, 3, 1]
            assert await numbers(endpoint_id="b", state="delivered") == [5]
            assert await numbers(endpoint_id="b", payment_id=payment_id(1)) == [7, 5]
            assert await numbers(endpoint_id="b", payment_id=payment_id(1), state="canceled") == [7]
            assert await numbers(payment_id=payment_id(0), state="canceled") == []
            assert await numbers(endpoint_id="c") == []
            narrowed = await two.outbox.list(DEFAULT, 1, state="failed")
            assert narrowed.next is not None
            rest = await two.outbox.list(DEFAULT, 1, state="failed", cursor=narrowed.next)
            assert ([int(d.id[4:]) for d in rest.deliveries], rest.next) == ([2], None)
            assert await two.outbox.counts() == dict.fromkeys(states, 4)

        self.use(tmp_path, test)

    def test_what_makes_no_sense_is_refused(self, tmp_path: Path) -> None:
        """ "Raises ValueError for a cursor that is not ours", and for a limit outside 1 to 100."""

        async def test(one: Told, _: Told) -> None:
            for limit in (0, 101):
                with pytest.raises(ValueError, match="limit"):
                    await one.outbox.list(DEFAULT, limit)
            with pytest.raises(ValueError, match="cursor"):
                await one.outbox.list(DEFAULT, 1, cursor="x")

        self.use(tmp_path, test)

    def test_what_is_due_comes_earliest_first(self, tmp_path: Path) -> None:
        """ "Deliveries due before or at a time, earliest first; every merchant's", and not what comes later or never; nor is a
        delivery a payment's due time."""

        async def test(one: Told, two: Told) -> None:
            for n, due_us in ((1, 30), (2, 10), (3, 20), (4, None), (5, 31)):
                await one.outbox.add(delivery(n, due_us=due_us, merchant_id=f"mer_{n}"))
            await self.settle_index()
            assert [w.due_us for w in await two.outbox.due(30, 10)] == [10, 20, 30]
            assert await two.outbox.due(30, 2) == (Waiting(delivery(2).id, 10), Waiting(delivery(3).id, 20))
            assert await two.outbox.due(9, 10) == ()
            assert (await two.due(FAR_US, 10), await two.next_due()) == ((), None)

        self.use(tmp_path, test)

    def test_only_old_ones_that_are_done_with_are_forgotten(self, tmp_path: Path) -> None:
        """ "Remove deliveries that are not pending and were created before a time, the oldest first and at most limit; how many
        there were." """

        async def test(one: Told, two: Told) -> None:
            states: tuple[DeliveryState, ...] = ("delivered", "pending", "failed", "canceled")
            for n in range(12):
                await one.outbox.add(delivery(n, state=states[n % 4], due_us=START_US if states[n % 4] == "pending" else None))
            await self.settle_index()
            assert await two.outbox.forget(START_US, 10) == 0  # before, not at
            assert await two.outbox.forget(START_US + 9 * SECOND_US, 3) == 3
            gone = [n for n in range(12) if await one.outbox.get(delivery(n).id) is None]
            assert gone == [0, 2, 3]
            await self.settle_index()
            assert await one.outbox.forget(START_US + 9 * SECOND_US, 10) == 4
            left = [n for n in range(12) if await two.outbox.get(delivery(n).id) is not None]
            assert left == [1, 5, 9, 10, 11]
            await self.settle_index()
            assert [int(d.id[4:]) for d in (await two.outbox.list(DEFAULT, 20)).deliveries] == [11, 10, 9, 5, 1]
            assert len(await two.outbox.due(FAR_US, 10)) == 3
            assert await one.outbox.add(delivery(0))  # its id is free again

        self.use(tmp_path, test)


class OutboxContract(NoticesContract, DeliveriesContract):
    """All of it. Every test opens two connections to a store of its own."""
