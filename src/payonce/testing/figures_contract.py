"""The contract of ``payonce.figures.Figures``, and of listing by metadata and decline code, for every implementation: subclass,
say how to open one, run with pytest.

    class TestMine(FiguresContract):
        async def open(self, folder: Path) -> Figured:
            return await my_store(folder / "pay.db")

A store that does not count but makes its figures of the newest payments sets ``COUNTED`` to False. The sentences in quotes are
the port's own."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import ClassVar, Protocol

import msgspec
import pytest

from payonce.core.outcome import Declined, Unknown
from payonce.core.payment import Mode, Payment
from payonce.figures import SPAN_US, Figures, Span, Tally, What, bucket, percentile
from payonce.ports import Committed, Conflict, Due, Filters, Scope, Store

from .store_changes import (
    SECOND_US,
    accept,
    answer_event,
    fire_event,
    grow,
    key_row,
    mismatch_event,
    note_event,
    payment_id,
    put,
    success_event,
)

DEFAULT = Scope("mer_default", "test")
HOUR_US, MINUTE_US = SPAN_US["hour"], SPAN_US["minute"]
NOON_US = 1_750_000_000_000_000 // HOUR_US * HOUR_US
FAR_US = NOON_US + 1_000 * HOUR_US


class Figured(Store, Protocol):
    """A store with its figures."""

    @property
    def figures(self) -> Figures: ...
    async def due_of(self, payment_id: str) -> int | None: ...


def details(**metadata: object) -> bytes:
    return msgspec.json.encode({"metadata": metadata})


async def fire(store: Store, p: Payment, at_us: int, account: str = "mock_a") -> Payment:
    return await put(store, grow(p, fire_event(p, account, at_us), at_us=at_us))


async def paid(store: Store, number: int, at_us: int, *, mode: Mode = "test", merchant_id: str = "mer_default") -> Payment:
    """Accepted, fired one second later and paid two seconds after that, at mock_a."""
    p = await put(store, accept(number, at_us=at_us, mode=mode, merchant_id=merchant_id))
    p = await fire(store, p, at_us + SECOND_US)
    return await put(store, grow(p, success_event(p), at_us=at_us + 3 * SECOND_US))


async def declined(store: Store, number: int, at_us: int, code: str = "do_not_honor") -> Payment:
    """Accepted, fired and declined one second later, at mock_a."""
    p = await fire(store, await put(store, accept(number, at_us=at_us)), at_us)
    no = Declined(code=code, hard=False, scope="issuer", reference=p.attempts[0].reference)
    return await put(store, grow(p, answer_event(p, no), at_us=at_us + SECOND_US))


async def asked(
    store: Figured, scope: Scope = DEFAULT, *, from_us: int = 0, before_us: int = FAR_US, span: Span = "hour",
    fold: bool = False, what: Collection[What] = (),
) -> tuple[Tally, ...]:  # fmt: skip
    found = await store.figures.tallies(scope, from_us, before_us, span=span, fold=fold, what=what)
    return found.tallies


def ns(tallies: Collection[Tally], *what: What) -> Mapping[tuple[str, str], int]:
    """n by what and which."""
    return {(t.what, t.which): t.n for t in tallies if not what or t.what in what}


class FiguresContract:
    """Every test opens a store of its own."""

    COUNTED: ClassVar[bool] = True

    async def open(self, folder: Path) -> Figured:
        """An empty store; it may keep files in ``folder``."""
        raise NotImplementedError

    def use(self, folder: Path, test: Callable[[Figured], Awaitable[None]]) -> None:
        async def run() -> None:
            store = await self.open(folder)
            try:
                await test(store)
            finally:
                await store.close()

        asyncio.run(run())

    # --- tallies -----------------------------------------------------------------------------------------------------

    def test_a_payment_is_counted_from_its_acceptance_to_its_end(self, tmp_path: Path) -> None:
        """One acceptance, one call with how long it took, one end with how long that took; the amounts beside them."""

        async def test(store: Figured) -> None:
            empty = await store.figures.tallies(DEFAULT, 0, FAR_US, span="hour")
            assert (empty.tallies, empty.complete) == ((), self.COUNTED)
            p = await paid(store, 1, NOON_US)
            assert await asked(store) == (
                Tally(at_us=NOON_US, what="accepted", currency="EUR", minor=1_000),
                Tally(at_us=NOON_US, what="call", account="mock_a", which="fire:Succeeded"),
                Tally(at_us=NOON_US, what="call_ms", account="mock_a", which=bucket(2 * SECOND_US)),
                Tally(at_us=NOON_US, what="settle_ms", account="mock_a", which=bucket(3 * SECOND_US)),
                Tally(at_us=NOON_US, what="settled", account="mock_a", currency="EUR", which="SUCCESS", minor=p.captured_minor),
            )

        self.use(tmp_path, test)

    def test_a_window_holds_the_minutes_and_hours_that_begin_in_it(self, tmp_path: Path) -> None:
        """ "whose minute or hour begins in [from, before), summed per minute or hour; with fold over the whole window" """

        async def test(store: Figured) -> None:
            for number, at_us in enumerate((0, 1, MINUTE_US, HOUR_US - 1, HOUR_US, 3 * HOUR_US), 1):
                await put(store, accept(number, at_us=NOON_US + at_us, amount_minor=number))
            end_us = NOON_US + 3 * HOUR_US
            hours = await asked(store, from_us=NOON_US, before_us=end_us)
            assert [(t.at_us - NOON_US, t.n, t.minor) for t in hours] == [(0, 4, 10), (HOUR_US, 1, 5)]
            minutes = await asked(store, from_us=NOON_US, before_us=NOON_US + HOUR_US, span="minute")
            wanted = [(0, 2, 3), (MINUTE_US, 1, 3), (HOUR_US - MINUTE_US, 1, 4)]
            assert [(t.at_us - NOON_US, t.n, t.minor) for t in minutes] == wanted
            folded = await asked(store, from_us=NOON_US, before_us=end_us, fold=True)
            assert folded == (Tally(at_us=0, what="accepted", currency="EUR", n=5, minor=15),)
            assert [t.n for t in await asked(store, from_us=end_us, before_us=end_us + 1)] == [1]

        self.use(tmp_path, test)

    def test_figures_are_of_one_merchant_and_mode(self, tmp_path: Path) -> None:
        """Nobody counts another merchant's payments, nor those of the other mode."""

        async def test(store: Figured) -> None:
            await paid(store, 1, NOON_US)
            await paid(store, 2, NOON_US, mode="live")
            await paid(store, 3, NOON_US, merchant_id="mer_b")
            for scope in (DEFAULT, Scope("mer_default", "live"), Scope("mer_b", "test")):
                assert {t.n for t in await asked(store, scope)} == {1}
            assert await asked(store, Scope("mer_b", "live")) == ()

        self.use(tmp_path, test)

    def test_only_what_was_asked_for_is_shown(self, tmp_path: Path) -> None:
        """ "what: only these; empty: all." """

        async def test(store: Figured) -> None:
            await paid(store, 1, NOON_US)
            assert {t.what for t in await asked(store, what=("settled", "accepted"))} == {"settled", "accepted"}
            assert len({t.what for t in await asked(store)}) == 5

        self.use(tmp_path, test)

    def test_answers_sum_up_by_outcome_and_bucket(self, tmp_path: Path) -> None:
        """Many calls of an hour are told apart by what came of them and how long they took, and percentiles follow."""

        async def test(store: Figured) -> None:
            for number in range(1, 5):
                await paid(store, number, NOON_US)
            await declined(store, 5, NOON_US)
            p = await fire(store, await put(store, accept(6, at_us=NOON_US)), NOON_US)
            await put(store, grow(p, answer_event(p, Unknown(reason="timeout")), at_us=NOON_US + SECOND_US))
            found = await asked(store, fold=True)
            assert ns(found, "call") == {
                ("call", "fire:Succeeded"): 4, ("call", "fire:Declined"): 1, ("call", "fire:Unknown"): 1
            }  # fmt: skip
            buckets = {t.which: t.n for t in found if t.what == "call_ms"}
            assert buckets == {bucket(2 * SECOND_US): 4, bucket(SECOND_US): 2}
            assert percentile(buckets, 0.5) == pytest.approx(2_000, rel=0.2)

        self.use(tmp_path, test)

    def test_a_decline_is_counted_once_for_an_attempt(self, tmp_path: Path) -> None:
        """What a replay or a later read says again of the same attempt is no second decline."""

        async def test(store: Figured) -> None:
            p = await declined(store, 1, NOON_US)
            again = Declined(code="do_not_honor", hard=False, scope="issuer", reference=p.attempts[0].reference)
            read = fire_event(p, at_us=NOON_US)
            step = msgspec.structs.replace(read.step, kind="read", key="", at_us=NOON_US + 2 * SECOND_US)
            p = await put(store, grow(p, msgspec.structs.replace(read, step=step, attempt=0, opens=None), at_us=NOON_US))
            await put(store, grow(p, answer_event(p, again), at_us=NOON_US + 3 * SECOND_US))
            found = await asked(store, fold=True)
            assert ns(found, "declined", "call") == {
                ("declined", "do_not_honor"): 1, ("call", "fire:Declined"): 1, ("call", "read:Declined"): 1
            }  # fmt: skip
            assert {(t.account, t.currency) for t in found if t.what == "declined"} == {("mock_a", "EUR")}

        self.use(tmp_path, test)

    def test_what_is_not_committed_is_not_counted(self, tmp_path: Path) -> None:
        """A conflict, a taken key and the same change once more count nothing; racing writers count one."""

        async def test(store: Figured) -> None:
            change = accept(1, at_us=NOON_US, key="k", details=details(order="o-1"))
            assert await store.commit(change, 0) == Committed()
            assert isinstance(await store.commit(change, 0), Conflict)
            taken = accept(2, at_us=NOON_US, key="k", details=details(order="o-1"))
            assert isinstance(await store.commit(taken, 0), Conflict)
            p = change.payment
            stale = grow(p, note_event(), key=key_row(p.id, "k"))
            assert isinstance(await store.commit(stale, 1), Conflict)
            p = await fire(store, p, NOON_US)
            rivals = [grow(p, success_event(p), at_us=NOON_US + n * SECOND_US) for n in range(1, 9)]
            results = await asyncio.gather(*(store.commit(each, p.version) for each in rivals))
            assert results.count(Committed()) == 1
            found = await asked(store, fold=True)
            assert {t.what: t.n for t in found} == dict.fromkeys(("accepted", "call", "call_ms", "settle_ms", "settled"), 1)
            page = await store.list(DEFAULT, Filters(metadata="o-1"), 10)
            assert [each.id for each in page.payments] == [p.id]

        self.use(tmp_path, test)

    def test_doubt_and_what_became_of_it_both_count(self, tmp_path: Path) -> None:
        """A payment that became IN_DOUBT is counted so, without a time to settle."""

        async def test(store: Figured) -> None:
            p = await fire(store, await put(store, accept(1, at_us=NOON_US)), NOON_US)
            await put(store, grow(p, mismatch_event(p), at_us=NOON_US + SECOND_US))
            found = ns(await asked(store), "settled", "settle_ms")
            assert found == {("settled", "IN_DOUBT"): 1}

        self.use(tmp_path, test)

    # --- standing and overdue ----------------------------------------------------------------------------------------

    def test_standing_says_how_many_are_not_final_and_need_eyes(self, tmp_path: Path) -> None:
        """ "How many payments stand in each status that is not final, and under attention how many need eyes" """

        async def test(store: Figured) -> None:
            none = {"PENDING": 0, "REQUIRES_ACTION": 0, "AUTHORIZED": 0, "IN_DOUBT": 0, "attention": 0}
            assert await store.figures.standing(DEFAULT) == none
            await paid(store, 1, NOON_US)
            for number in (2, 3):
                await put(store, accept(number, at_us=NOON_US))
            p = await fire(store, await put(store, accept(4, at_us=NOON_US)), NOON_US)
            await put(store, grow(p, mismatch_event(p)))
            p = await put(store, accept(5, at_us=NOON_US))
            await put(store, grow(p, note_event()))
            await put(store, accept(6, at_us=NOON_US, mode="live"))
            assert await store.figures.standing(DEFAULT) == none | {"PENDING": 3, "IN_DOUBT": 1, "attention": 2}

        self.use(tmp_path, test)

    def test_overdue_are_those_of_one_merchant_that_waited_longest(self, tmp_path: Path) -> None:
        """ "The payments of a merchant and mode that were due at or before a time, the longest first." """

        async def test(store: Figured) -> None:
            dues = (30, 10, 20, None, 15)
            for number, due in enumerate(dues, 1):
                scope = "mer_b" if number == 5 else "mer_default"
                due_us = None if due is None else NOON_US + due
                await put(store, accept(number, at_us=NOON_US, due_us=due_us, merchant_id=scope))
            found = await store.figures.overdue(DEFAULT, NOON_US + 30, 10)
            assert found == tuple(Due(payment_id(n), NOON_US + due) for n, due in ((2, 10), (3, 20), (1, 30)))
            assert await store.figures.overdue(DEFAULT, NOON_US + 29, 10) == found[:2]
            assert await store.figures.overdue(DEFAULT, NOON_US + 30, 1) == found[:1]
            assert await store.figures.overdue(Scope("mer_b", "live"), NOON_US + 30, 10) == ()
            assert [await store.due_of(payment_id(n)) for n in (1, 4, 9)] == [NOON_US + 30, None, None]

        self.use(tmp_path, test)

    # --- listings ----------------------------------------------------------------------------------------------------

    def test_payments_are_found_by_a_value_of_their_metadata(self, tmp_path: Path) -> None:
        """Strings as they are, numbers and booleans as JSON text; whole values, one merchant and mode; under any name."""

        async def test(store: Figured) -> None:
            values: tuple[dict[str, object], ...] = (
                {"order": "o-1", "again": "o-1"}, {"n": 7, "half": 0.5}, {"gift": True, "no": None}, {"cat": "\N{CAT FACE}"},
                {"empty": ""}, {"text": "7"},
            )  # fmt: skip
            for number, metadata in enumerate(values, 1):
                await put(store, accept(number, at_us=NOON_US + number, details=details(**metadata)))
            await put(store, accept(20, at_us=NOON_US, mode="live", details=details(order="o-1")))
            await put(store, accept(21, at_us=NOON_US, details=b'{"metadata": 1}'))
            await put(store, accept(22, at_us=NOON_US, details=b'{"description": "o-1"}'))
            wanted = {
                "o-1": [1], "7": [6, 2], "0.5": [2], "true": [3], "null": [], "\N{CAT FACE}": [4], "o": [], "O-1": [], "": []
            }  # fmt: skip
            for value, numbers in wanted.items():
                page = await store.list(DEFAULT, Filters(metadata=value), 100)
                assert [p.id for p in page.payments] == [payment_id(n) for n in numbers], value

        self.use(tmp_path, test)

    def test_a_listing_by_metadata_goes_on_page_by_page(self, tmp_path: Path) -> None:
        """Newest first, each once, with other filters beside it and within a range of time."""

        async def test(store: Figured) -> None:
            for number in range(1, 24):
                currency = "INR" if number % 3 == 0 else "EUR"
                await put(store, accept(number, at_us=NOON_US + number // 2, currency=currency, details=details(shop="s")))
            newest = [payment_id(n) for n in range(23, 0, -1)]
            assert await pages(store, Filters(metadata="s"), 5) == newest
            thirds = [payment_id(n) for n in range(21, 0, -3)]
            assert await pages(store, Filters(metadata="s", currency="INR"), 2) == thirds
            some = Filters(metadata="s", created_from_us=NOON_US + 2, created_before_us=NOON_US + 5)
            assert await pages(store, some, 3) == [payment_id(n) for n in range(9, 3, -1)]
            with pytest.raises(ValueError, match="cursor"):
                await store.list(DEFAULT, Filters(metadata="s"), 5, "nonsense")

        self.use(tmp_path, test)

    def test_payments_are_found_by_the_code_of_a_decline(self, tmp_path: Path) -> None:
        """ "one of its attempts was declined so", whatever became of the payment; beside other filters, page by page."""

        async def test(store: Figured) -> None:
            for number in range(1, 7):
                await declined(store, number, NOON_US + number, "do_not_honor" if number % 2 else "expired_card")
            await paid(store, 7, NOON_US)
            p = await declined(store, 8, NOON_US + 8)
            p = await fire(store, p, NOON_US + SECOND_US, "mock_b")
            await put(store, grow(p, success_event(p)))
            odd = [payment_id(n) for n in (8, 5, 3, 1)]
            assert await pages(store, Filters(decline_code="do_not_honor"), 2) == odd
            assert await pages(store, Filters(decline_code="do_not_honor", status="PENDING"), 2) == odd[1:]
            assert await pages(store, Filters(decline_code="do_not_honor", provider="mock_b"), 2) == odd[:1]
            assert await pages(store, Filters(decline_code="lost_card"), 2) == []
            assert await pages(store, Filters(decline_code="do_not_honor", metadata="x"), 2) == []

        self.use(tmp_path, test)


async def pages(store: Store, filters: Filters, limit: int) -> list[str]:
    """The ids of all pages."""
    found, cursor = list[str](), None
    for _ in range(100):
        page = await store.list(DEFAULT, filters, limit, cursor)
        assert len(page.payments) <= limit
        found += [p.id for p in page.payments]
        cursor = page.next
        if cursor is None:
            return found
    raise AssertionError("the listing does not end")
