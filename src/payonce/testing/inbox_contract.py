"""The contract of ``payonce.mail.Inbox``, for every implementation: subclass, say how to open one, run with pytest.

    class TestMine(InboxContract):
        async def open(self, folder: Path, stack: AsyncExitStack) -> Inbox:
            return await stack.enter_async_context(my_inbox(folder / "pay.db"))

The sentences in quotes are the port's own.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.mail import (
    WEBHOOK_BYTES_MAX,
    WEBHOOK_CHARS_MAX,
    WEBHOOK_NAMES_MAX,
    Inbox,
    Waiting,
    Webhook,
    WebhookPage,
    WebhookState,
)

RIVALS = 25  # on each of two connections
AT_US = 1_750_000_000_000_000  # some moment in 2025


def webhook(number: int, **fields: Any) -> Webhook:
    """The ``number``-th webhook, received and due ``number`` seconds after the first."""
    at_us = AT_US + number * 1_000_000
    given = Webhook(
        id=f"wh_{number:020}",
        account="mock",
        event=f"evt_{number}",
        kind="charge.succeeded",
        references=("a" * 24,),
        refs=("ch_1", "order_1"),
        headers=(("content-type", "application/json"),),
        body=b'{"id": "evt_1"}',
        received_us=at_us,
        last_us=at_us,
        due_us=at_us,
    )
    return replace(given, **fields)


class InboxContract:
    """Every test opens one or two connections to an inbox of its own."""

    async def open(self, folder: Path, stack: AsyncExitStack) -> Inbox:
        """A connection to the inbox in ``folder``, empty at first; opened again it shows the same rows. Closed by
        ``stack``."""
        raise NotImplementedError

    def use(self, folder: Path, test: Callable[[Inbox, Inbox], Awaitable[None]]) -> None:
        """Run a test with two connections, as two processes have them."""

        async def run() -> None:
            async with AsyncExitStack() as stack:
                await test(await self.open(folder, stack), await self.open(folder, stack))

        asyncio.run(run())

    def test_it_is_empty_at_first(self, tmp_path: Path) -> None:
        """No webhook is there that nobody put."""

        async def test(one: Inbox, _: Inbox) -> None:
            assert await one.get("wh_1") is None
            assert await one.list(10) == WebhookPage((), None)
            assert await one.due(2**62, 10) == ()
            assert await one.counts() == {}
            assert await one.forget(2**62, 10) == 0
            assert not await one.settle(webhook(1))

        self.use(tmp_path, test)

    @pytest.mark.parametrize("body", [b"", b"\x00\xff", b"x" * WEBHOOK_BYTES_MAX], ids=["empty", "no text", "largest"])
    def test_a_webhook_comes_back_as_it_was(self, tmp_path: Path, body: bytes) -> None:
        """ "Keep a webhook, due at its due_us": every field of it is there, on every connection, as the bytes that came."""

        async def test(one: Inbox, two: Inbox) -> None:
            odd = "x' OR 1=1 -- مرحبا\N{CAT FACE}"
            full = webhook(1, account=odd, event=odd, kind="", references=(), refs=(odd,) * WEBHOOK_NAMES_MAX, body=body)
            assert await one.put(full)
            assert await two.get(full.id) == full
            assert await two.due(AT_US + 1_000_000, 10) == (Waiting(full.id, AT_US + 1_000_000),)
            assert await one.get("") is None

        self.use(tmp_path, test)

    def test_a_further_delivery_is_only_counted(self, tmp_path: Path) -> None:
        """ "False when its id is there already: then one more delivery is counted and nothing else changes": neither content,
        nor state, nor due time; and whoever settles meanwhile is not disturbed."""

        async def test(one: Inbox, two: Inbox) -> None:
            first = webhook(1)
            assert await one.put(first)
            again = replace(first, body=b"other", kind="other", due_us=AT_US + 10**9, last_us=AT_US + 10**9)
            assert not await two.put(again)
            assert await one.get(first.id) == replace(first, deliveries=2, last_us=AT_US + 10**9)
            matched = replace(first, state="matched", payment_ids=("pay_1",), due_us=None)
            assert await one.settle(matched)
            assert not await two.put(first)  # an old copy, late
            assert await two.get(first.id) == replace(matched, version=2, deliveries=3, last_us=AT_US + 10**9)
            assert await two.due(2**62, 10) == ()

        self.use(tmp_path, test)

    def test_of_racing_deliveries_exactly_one_is_new(self, tmp_path: Path) -> None:
        """ "Of any number of racing deliveries exactly one gets True", and all are counted."""

        async def test(one: Inbox, two: Inbox) -> None:
            puts = [(one, two)[i % 2].put(webhook(1, body=b"%d" % i)) for i in range(2 * RIVALS)]
            assert (await asyncio.gather(*puts)).count(True) == 1
            row = await two.get(webhook(1).id)
            assert row is not None
            assert row.deliveries == 2 * RIVALS

        self.use(tmp_path, test)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"body": b"x" * (WEBHOOK_BYTES_MAX + 1)},
            {"refs": ("r",) * (WEBHOOK_NAMES_MAX + 1)},
            {"references": ("r",) * (WEBHOOK_NAMES_MAX + 1)},
            {"headers": (("n", "v"),) * (WEBHOOK_NAMES_MAX + 1)},
            {"event": "e" * (WEBHOOK_CHARS_MAX + 1)},
            {"refs": ("r" * (WEBHOOK_CHARS_MAX + 1),)},
            {"headers": (("n", "v" * (WEBHOOK_CHARS_MAX + 1)),)},
        ],
        ids=["body", "refs", "references", "headers", "event", "a ref", "a header"],
    )
    def test_what_is_too_large_is_refused(self, tmp_path: Path, wrong: dict[str, Any]) -> None:
        """ "Raises ValueError for one above the limits (WEBHOOK_*_MAX)"; nothing is written then."""

        async def test(one: Inbox, _: Inbox) -> None:
            with pytest.raises(ValueError, match="at most"):
                await one.put(webhook(1, **wrong))
            assert await one.counts() == {}

        self.use(tmp_path, test)

    def test_a_listing_goes_through_all_newest_first(self, tmp_path: Path) -> None:
        """ "Newest first (first delivery, then id), without headers and bodies. A cursor continues after the last row seen,
        whatever was written since." """

        async def test(one: Inbox, two: Inbox) -> None:
            at_us = AT_US + 5_000_000
            rows = [webhook(n, received_us=at_us if n in (5, 6, 7) else AT_US + n * 1_000_000) for n in range(1, 11)]
            for each in rows:
                assert await one.put(each)
            page, seen = await two.list(3), list[str]()
            while True:
                seen += [w.id for w in page.webhooks]
                assert all((w.headers, w.body) == ((), b"") for w in page.webhooks)
                if page.next is None:
                    break
                await one.put(webhook(100 + len(seen)))  # newer than all that was shown
                page = await two.list(3, cursor=page.next)
            order = [rows[n - 1] for n in (10, 9, 8, 7, 6, 5, 4, 3, 2, 1)]
            assert seen == [w.id for w in order]
            assert (await two.list(100)).webhooks[-1] == replace(rows[0], headers=(), body=b"")

        self.use(tmp_path, test)

    def test_a_listing_can_be_narrowed(self, tmp_path: Path) -> None:
        """By state, by account, and by both; a name that nobody has shows nothing."""

        async def test(one: Inbox, two: Inbox) -> None:
            states: tuple[WebhookState, ...] = ("new", "matched", "parked", "unmatched")
            for n, state in enumerate(states * 2):
                await one.put(webhook(n, account="ab"[n // 4]))
                assert await one.settle(webhook(n, state=state, due_us=None))
            assert [w.id for w in (await two.list(10, state="parked")).webhooks] == [webhook(6).id, webhook(2).id]
            assert [w.id for w in (await two.list(10, account="a")).webhooks] == [webhook(n).id for n in (3, 2, 1, 0)]
            assert [w.id for w in (await two.list(10, state="matched", account="b")).webhooks] == [webhook(5).id]
            assert (await two.list(1, state="parked")).next is not None
            assert await two.list(10, account="c") == WebhookPage((), None)
            assert await two.counts() == dict.fromkeys(states, 2)

        self.use(tmp_path, test)

    def test_what_makes_no_sense_is_refused(self, tmp_path: Path) -> None:
        """ "Raises ValueError for a cursor that is not ours", and for a limit outside 1 to 100."""

        async def test(one: Inbox, _: Inbox) -> None:
            for limit in (0, 101):
                with pytest.raises(ValueError, match="limit"):
                    await one.list(limit)
            with pytest.raises(ValueError, match="cursor"):
                await one.list(1, cursor="x")

        self.use(tmp_path, test)

    def test_what_is_due_comes_earliest_first(self, tmp_path: Path) -> None:
        """ "What is due before or at a time, earliest first", and not what comes later or never."""

        async def test(one: Inbox, two: Inbox) -> None:
            for n, due_us in ((1, 30), (2, 10), (3, 20), (4, None), (5, 31)):
                await one.put(webhook(n, due_us=due_us))
            assert [w.due_us for w in await two.due(30, 10)] == [10, 20, 30]
            assert await two.due(30, 2) == (Waiting(webhook(2).id, 10), Waiting(webhook(3).id, 20))
            assert await two.due(9, 10) == ()

        self.use(tmp_path, test)

    def test_settling_writes_state_payments_tries_and_due_time(self, tmp_path: Path) -> None:
        """ "Write state, payments, tries and due time (None = it is not looked at any more), if the row is still at the
        version of webhook; it gets the next one": what else is handed in stays as it was."""

        async def test(one: Inbox, two: Inbox) -> None:
            first = webhook(1)
            await one.put(first)
            parked = replace(first, state="parked", tries=1, due_us=AT_US + 10**9)
            assert await two.settle(replace(parked, body=b"other", kind="other", account="other", deliveries=9))
            assert await one.get(first.id) == replace(parked, version=2)
            assert await one.due(AT_US + 10**9, 10) == (Waiting(first.id, AT_US + 10**9),)
            matched = replace(parked, version=2, state="matched", payment_ids=("pay_1", "pay_2"), due_us=None)
            assert await one.settle(matched)
            assert await two.get(first.id) == replace(matched, version=3)
            assert await two.due(2**62, 10) == ()

        self.use(tmp_path, test)

    @pytest.mark.parametrize("version", [0, 1, 3])
    def test_another_version_writes_nothing(self, tmp_path: Path, version: int) -> None:
        """ "The others get False and have written nothing": neither the row nor its due time."""

        async def test(one: Inbox, two: Inbox) -> None:
            await one.put(webhook(1))
            assert await one.settle(webhook(1, tries=1))
            before = await one.get(webhook(1).id)
            assert not await two.settle(webhook(1, version=version, state="unmatched", due_us=None))
            assert await two.get(webhook(1).id) == before
            assert len(await two.due(2**62, 10)) == 1

        self.use(tmp_path, test)

    def test_of_racing_writers_exactly_one_wins(self, tmp_path: Path) -> None:
        """ "Of any number of racing writers with the same version exactly one gets True." """

        async def test(one: Inbox, two: Inbox) -> None:
            await one.put(webhook(1))
            rivals = [webhook(1, tries=n) for n in range(2 * RIVALS)]
            won = await asyncio.gather(*((one, two)[n % 2].settle(each) for n, each in enumerate(rivals)))
            assert won.count(True) == 1
            assert await two.get(webhook(1).id) == replace(rivals[won.index(True)], version=2)

        self.use(tmp_path, test)

    def test_only_old_ones_that_are_done_with_are_forgotten(self, tmp_path: Path) -> None:
        """ "Remove webhooks that are matched or unmatched and were first delivered before a time, the oldest first and at most
        limit. A delivery after that is a new one." """

        async def test(one: Inbox, two: Inbox) -> None:
            states: tuple[WebhookState, ...] = ("matched", "parked", "unmatched", "new", "matched", "matched", "matched")
            for n, state in enumerate(states):
                await one.put(webhook(n))
                assert await one.settle(webhook(n, state=state, due_us=1 if state in ("parked", "new") else None))
            before_us = webhook(6).received_us
            assert await two.forget(before_us, 2) == 2
            assert [w.id for w in (await one.list(10)).webhooks] == [webhook(n).id for n in (6, 5, 4, 3, 1)]
            assert await one.forget(before_us, 2) == 2
            assert await one.forget(before_us, 2) == 0
            assert [w.id for w in (await one.list(10)).webhooks] == [webhook(n).id for n in (6, 3, 1)]
            assert len(await two.due(2**62, 10)) == 2
            assert await two.put(webhook(0))

        self.use(tmp_path, test)
