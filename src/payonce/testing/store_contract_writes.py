"""The contract of ``payonce.ports.Store``: races, atomicity, due times, the end. See ``store_contract``."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.core.errors import InvariantViolated, StoreUnavailable
from payonce.core.events import digest
from payonce.ports import Committed, Conflict, Due, Filters, Ref, Scope, Store

from .store_changes import (
    SECOND_US,
    START_US,
    OpensStores,
    accept,
    fire_event,
    grow,
    key_row,
    note_event,
    one_committed,
    payment_id,
    put,
)

RIVALS = 50
DEFAULT = Scope("mer_default", "test")
EVERYTHING = Filters()


class WritesContract(OpensStores):
    """Of any number of writers exactly one wins, and a change is written whole or not at all."""

    # --- races -------------------------------------------------------------------------------------------------------

    def test_of_racing_writers_exactly_one_wins(self, tmp_path: Path) -> None:
        """ "Of any number of racing writers with the same expected_version exactly one gets Committed; the others get
        Conflict with the current row." """

        async def test(store: Store) -> None:
            p = await put(store, accept(1))
            rivals = [grow(p, note_event(f"rival {n}"), due_us=n) for n in range(RIVALS)]
            results = await asyncio.gather(*(store.commit(rival, 1) for rival in rivals))
            won = one_committed(results)
            assert await store.get(p.id) == rivals[won].payment
            assert {r.payment for r in results if isinstance(r, Conflict)} == {rivals[won].payment}
            assert await store.history(p.id, after_seq=1) == rivals[won].entries
            assert await store.due(RIVALS, 10) == (Due(p.id, won),)

        self.use(tmp_path, test)

    def test_of_racing_creators_with_one_key_exactly_one_wins(self, tmp_path: Path) -> None:
        """ "A taken key gives Conflict with its row": fifty creators with one key make one payment."""

        async def test(store: Store) -> None:
            rivals = [accept(n, key="order-7") for n in range(RIVALS)]
            results = await asyncio.gather(*(store.commit(rival, 0) for rival in rivals))
            won = rivals[one_committed(results)]
            assert all(r == Conflict(key=won.key) for r in results if isinstance(r, Conflict))
            assert (await store.list(DEFAULT, EVERYTHING, 100)).payments == (won.payment,)

        self.use(tmp_path, test)

    def test_of_racing_creators_with_one_id_exactly_one_wins(self, tmp_path: Path) -> None:
        """ "expected_version 0 creates: Conflict when the id exists." """

        async def test(store: Store) -> None:
            rivals = [accept(1, amount_minor=100 + n) for n in range(RIVALS)]
            results = await asyncio.gather(*(store.commit(rival, 0) for rival in rivals))
            won = rivals[one_committed(results)]
            assert all(r == Conflict(payment=won.payment) for r in results if isinstance(r, Conflict))
            assert await store.history(won.payment.id) == won.entries

        self.use(tmp_path, test)

    def test_a_taken_key_wins_over_a_version_conflict(self, tmp_path: Path) -> None:
        """ "A taken key gives Conflict with its row, and wins over a version conflict." """

        async def test(store: Store) -> None:
            p = await put(store, accept(1, key="a"))
            await put(store, grow(p, note_event()))
            stale = grow(p, note_event("late"), key=key_row(p.id, "a", b'{"other":1}'))
            assert await store.commit(stale, 1) == Conflict(key=key_row(p.id, "a"))
            assert await store.commit(accept(1, key="a"), 0) == Conflict(key=key_row(p.id, "a"))

        self.use(tmp_path, test)

    def test_a_writer_of_an_unknown_payment_gets_a_conflict(self, tmp_path: Path) -> None:
        """A row that is not there is at another version than the writer expects."""

        async def test(store: Store) -> None:
            p = accept(1).payment
            assert await store.commit(grow(p, note_event()), 1) == Conflict()
            assert await store.history(p.id) == ()

        self.use(tmp_path, test)

    # --- atomicity ---------------------------------------------------------------------------------------------------

    def test_a_conflicting_change_leaves_nothing(self, tmp_path: Path) -> None:
        """Conflict: "Nothing was written": no row, event, key, body, ref or due time."""

        async def test(store: Store) -> None:
            p = await put(store, accept(1, key="a", due_us=500))
            body, ref = b"secret", Ref("mock_a", "charge", "ch_9")
            beside: dict[str, Any] = {"bodies": {digest(body): body}, "refs": (ref,)}
            by_version = grow(p, note_event(), note_event(), key=key_row(p.id, "b"), due_us=1, **beside)
            assert isinstance(await store.commit(by_version, 1), Committed)
            stale = grow(
                p, note_event("stale"), key=key_row(p.id, "c"), due_us=2, bodies={digest(b"x"): b"x"}, refs=(_ref("x"),)
            )
            by_key = accept(2, key="a", due_us=3, bodies={digest(b"y"): b"y"}, refs=(_ref("y"),))
            assert await store.commit(stale, 1) == Conflict(payment=by_version.payment)
            assert await store.commit(by_key, 0) == Conflict(key=key_row(p.id, "a"))
            assert await store.get(p.id) == by_version.payment
            assert await store.get(payment_id(2)) is None
            assert len(await store.history(p.id)) == 3
            assert await store.history(payment_id(2)) == ()
            assert await store.find_key(DEFAULT, "c") is None
            assert await store.find_ref("x") == await store.find_ref("y") == ()
            absent = [(p.id, digest(b"x")), (payment_id(2), digest(b"y"))]
            assert await store.bodies([(p.id, digest(body)), *absent]) == {(p.id, digest(body)): body}
            assert await store.due(10**18, 10) == (Due(p.id, 1),)

        self.use(tmp_path, test)

    def test_a_change_that_breaks_the_chain_is_refused(self, tmp_path: Path) -> None:
        """A gap, a foreign predecessor, a false hash, a row that is not where its events end: InvariantViolated, and
        nothing is written."""

        async def test(store: Store) -> None:
            p = await put(store, accept(1))
            two = grow(p, note_event("one"), note_event("two"))
            first, second = two.entries
            elsewhere = grow(accept(1, amount_minor=7).payment, note_event()).entries
            broken = [
                replace(two, entries=()),
                replace(two, entries=(second,)),
                replace(two, entries=(first,)),
                replace(two, entries=(elsewhere[0], second)),
                replace(two, entries=(first, replace(second, hash="0" * 64))),
                replace(two, payment=replace(two.payment, version=4)),
                replace(two, payment=replace(two.payment, head=p.head)),
                replace(two, bodies={"0" * 64: b"not that"}),
                grow(accept(1, amount_minor=7).payment, note_event()),
            ]
            for change in broken:
                with pytest.raises(InvariantViolated):
                    await store.commit(change, 1)
            assert await store.get(p.id) == p
            assert len(await store.history(p.id)) == 1
            assert await store.commit(two, 1) == Committed()

        self.use(tmp_path, test)

    def test_one_bad_change_does_not_sink_its_neighbours(self, tmp_path: Path) -> None:
        """Changes that arrive together succeed and fail each for itself."""

        async def test(store: Store) -> None:
            p = await put(store, accept(100))
            bad = grow(accept(100, amount_minor=7).payment, note_event())
            good = [store.commit(accept(n), 0) for n in range(20)]
            results = await asyncio.gather(*good[:10], store.commit(bad, 1), *good[10:], return_exceptions=True)
            assert isinstance(results.pop(10), InvariantViolated)
            assert results == [Committed()] * 20
            assert await store.get(p.id) == p
            assert (await store.counts()) == {"PENDING": 21}

        self.use(tmp_path, test)

    # --- due: schedule and lease -------------------------------------------------------------------------------------

    def test_due_is_in_order_and_limited(self, tmp_path: Path) -> None:
        """ "What is due before or at a time, earliest first; every merchant's." """

        async def test(store: Store) -> None:
            assert await store.next_due() is None
            for n, due_us in enumerate([50, 10, 40, 10, 30]):
                await put(store, accept(n, due_us=due_us, merchant_id=f"mer_{n}", mode="live" if n % 2 else "test"))
            expected = tuple(Due(payment_id(n), at_us) for n, at_us in [(1, 10), (3, 10), (4, 30), (2, 40), (0, 50)])
            assert await store.due(50, 10) == expected
            assert await store.due(40, 10) == expected[:4]
            assert await store.due(39, 10) == expected[:3]
            assert await store.due(50, 2) == expected[:2]
            assert await store.due(9, 10) == ()
            assert await store.next_due() == 10

        self.use(tmp_path, test)

    def test_a_quiet_payment_is_not_due(self, tmp_path: Path) -> None:
        """ "due_us None takes the payment off the due index"; a later change may put it back."""

        async def test(store: Store) -> None:
            p = await put(store, accept(1, due_us=10))
            p = await put(store, grow(p, note_event(), due_us=None))
            assert await store.due(10**18, 10) == ()
            assert await store.next_due() is None
            await put(store, grow(p, note_event(), due_us=7))
            assert await store.due(7, 10) == (Due(p.id, 7),)
            await put(store, accept(2, due_us=None))
            assert await store.due(10**18, 10) == (Due(p.id, 7),)

        self.use(tmp_path, test)

    def test_a_claim_leases_by_due_time(self, tmp_path: Path) -> None:
        """Two workers see the same due payment; the one whose claim commits moved it to its lease's end, and after
        that it is due again for whoever comes."""

        async def test(store: Store) -> None:
            p = await put(store, accept(1, due_us=START_US))
            seen = [await store.due(START_US, 10) for _ in range(2)]
            assert seen == [(Due(p.id, START_US),)] * 2
            end = START_US + 2 * SECOND_US
            claims = [grow(p, fire_event(p, account), due_us=end) for account in ("mock_a", "mock_b")]
            results = await asyncio.gather(*(store.commit(claim, 1) for claim in claims))
            one_committed(results)
            assert await store.due(end - 1, 10) == ()
            assert await store.due(end, 10) == (Due(p.id, end),)

        self.use(tmp_path, test)

    def test_defer_moves_only_the_version_it_was_told(self, tmp_path: Path) -> None:
        """ "Move the due time without an event, only if the row is still at version; False otherwise." """

        async def test(store: Store) -> None:
            p = await put(store, accept(1, due_us=10))
            assert await store.defer(p.id, 1, 99) is True
            assert await store.due(99, 10) == (Due(p.id, 99),)
            q = await put(store, grow(p, note_event(), due_us=20))
            assert await store.defer(p.id, 1, 1) is False
            assert await store.defer(payment_id(2), 0, 1) is False
            assert await store.defer(payment_id(2), 1, 1) is False
            assert await store.due(99, 10) == (Due(p.id, 20),)
            assert await store.get(p.id) == q
            assert len(await store.history(p.id)) == 2
            await put(store, grow(q, note_event(), due_us=None))
            assert await store.defer(p.id, 3, 5) is True
            assert await store.next_due() == 5

        self.use(tmp_path, test)

    # --- the end -----------------------------------------------------------------------------------------------------

    def test_close_finishes_what_was_accepted(self, tmp_path: Path) -> None:
        """ "Finish what was accepted, then release files." Each commit in flight is either Committed or refused."""

        async def test(store: Store) -> None:
            inflight = [asyncio.ensure_future(store.commit(accept(n), 0)) for n in range(RIVALS)]
            await asyncio.sleep(0)  # let them all be accepted
            await store.close()
            assert await asyncio.gather(*inflight) == [Committed()] * RIVALS

        self.use(tmp_path, test)

    def test_a_closed_store_refuses_everything(self, tmp_path: Path) -> None:
        """ "A closed, full, busy or read-only store raises StoreUnavailable"; close is "a no-op when closed already"."""

        async def test(store: Store) -> None:
            p = await put(store, accept(1))
            await asyncio.gather(store.close(), store.close())
            await store.close()
            calls: list[Callable[[], Awaitable[object]]] = [
                lambda: store.commit(accept(2), 0),
                lambda: store.get(p.id),
                lambda: store.find_key(DEFAULT, "k"),
                lambda: store.find_ref("v"),
                lambda: store.bodies([]),
                lambda: store.history(p.id),
                lambda: store.list(DEFAULT, EVERYTHING, 1),
                lambda: store.due(1, 1),
                store.next_due,
                lambda: store.defer(p.id, 1, 1),
                store.counts,
            ]
            for call in calls:
                with pytest.raises(StoreUnavailable):
                    await call()

        self.use(tmp_path, test)


def _ref(value: str) -> Ref:
    return Ref("mock_a", "charge", value)
