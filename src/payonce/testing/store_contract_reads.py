"""The contract of ``payonce.ports.Store``: what was written is found again. See ``store_contract``."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from payonce.core.apply import fold
from payonce.core.events import Judged, digest
from payonce.core.money import AMOUNT_MINOR_MAX
from payonce.ports import Conflict, Filters, Ref, Scope, Store

from .store_changes import (
    START_US,
    OpensStores,
    accept,
    fire_event,
    grow,
    key_row,
    mismatch_event,
    note_event,
    payment_id,
    put,
    success_event,
)

RIVALS = 50
DEFAULT = Scope("mer_default", "test")
EVERYTHING = Filters()


class ReadsContract(OpensStores):
    """Every read, its order, its limits and its filters."""

    # --- reading back ------------------------------------------------------------------------------------------------

    def test_history_is_the_exact_bytes_and_folds_to_the_row(self, tmp_path: Path) -> None:
        """ "Entries in order of seq, as the exact bytes that were committed." """

        async def test(store: Store) -> None:
            p = await put(store, accept(1))
            entries = [*accept(1).entries]
            for n in range(9):
                change = grow(p, note_event(f"{n}"), at_us=START_US + n)
                p = await put(store, change)
                entries += change.entries
            found = await store.history(p.id)
            assert [(e.raw, e.hash) for e in found] == [(e.raw, e.hash) for e in entries]
            assert found == tuple(entries)
            assert fold(found) == await store.get(p.id) == p
            assert await store.history(p.id, after_seq=7) == tuple(entries[7:])
            assert await store.history(p.id, after_seq=2, limit=3) == tuple(entries[2:5])
            assert await store.history(p.id, after_seq=10) == ()
            assert await store.history(payment_id(2)) == ()

        self.use(tmp_path, test)

    def test_what_was_written_reads_back_equal(self, tmp_path: Path) -> None:
        """Emoji, right-to-left text, combining marks and the largest amount survive in every place they can stand."""

        async def test(store: Store) -> None:
            text = "\N{PILE OF POO}\N{ZERO WIDTH JOINER} שלום مرحبا e\u0301 \u202e'; DROP TABLE payments; --"
            ref, body = Ref(f"acc {text}", f"kind {text}", text), text.encode()
            change = accept(
                1,
                amount_minor=AMOUNT_MINOR_MAX,
                merchant_id=text,
                client_id=text,
                key=text,
                actor=text,
                due_us=2**62,
                at_us=2**52,
                bodies={digest(body): body, digest(b""): b""},
                refs=(ref,),
            )
            p = await put(store, change)
            scope = Scope(text, "test")
            assert await store.get(p.id) == p == fold(await store.history(p.id))
            assert p.amount_minor == AMOUNT_MINOR_MAX
            assert await store.find_key(scope, text) == change.key
            assert await store.find_ref(text, ref.account) == (p.id,)
            keys = [(p.id, sha256) for sha256 in change.bodies]
            assert await store.bodies(keys) == dict(zip(keys, change.bodies.values(), strict=True))
            assert (await store.list(scope, Filters(client_id=text), 5)).payments == (p,)
            assert await store.next_due() == 2**62

        self.use(tmp_path, test)

    def test_a_commit_is_seen_by_every_read_that_begins_after_it(self, tmp_path: Path) -> None:
        """ "All reads are consistent: they see every change whose commit returned Committed before the read began." """

        async def test(store: Store) -> None:
            p = await put(store, accept(1))
            for n in range(30):
                p = await put(store, grow(p, note_event(f"{n}"), due_us=n))
                seen = await asyncio.gather(*(store.get(p.id) for _ in range(5)))
                assert set(seen) == {p}
                assert await store.next_due() == n

        self.use(tmp_path, test)

    def test_keys_are_unique_per_merchant_and_mode(self, tmp_path: Path) -> None:
        """ "What the key stands for in this scope, or None." """

        async def test(store: Store) -> None:
            scopes = [Scope("mer_a", "test"), Scope("mer_a", "live"), Scope("mer_b", "test")]
            for n, scope in enumerate(scopes):
                await put(store, accept(n, key="k", merchant_id=scope.merchant_id, mode=scope.mode))
            for n, scope in enumerate(scopes):
                assert await store.find_key(scope, "k") == key_row(payment_id(n), "k")
                again = accept(10 + n, key="k", merchant_id=scope.merchant_id, mode=scope.mode)
                assert await store.commit(again, 0) == Conflict(key=key_row(payment_id(n), "k"))
            assert await store.find_key(Scope("mer_b", "live"), "k") is None
            assert await store.find_key(scopes[0], "K") is None

        self.use(tmp_path, test)

    def test_refs_find_their_payments(self, tmp_path: Path) -> None:
        """ "Ids of payments known under this value (at this account, if given); empty when none is." """

        async def test(store: Store) -> None:
            p = await put(store, accept(2, refs=(Ref("a", "charge", "v"), Ref("b", "order", "v"), Ref("a", "charge", "w"))))
            await put(store, accept(1, refs=(Ref("b", "charge", "v"),)))
            await put(store, grow(p, note_event(), refs=(Ref("a", "charge", "v"), Ref("a", "order", "v"))))
            assert await store.find_ref("v") == (payment_id(1), payment_id(2))
            assert await store.find_ref("v", "a") == (payment_id(2),)
            assert await store.find_ref("v", "b") == (payment_id(1), payment_id(2))
            assert await store.find_ref("w") == (payment_id(2),)
            assert await store.find_ref("w", "b") == await store.find_ref("") == await store.find_ref("V") == ()

        self.use(tmp_path, test)

    def test_bodies_that_exist_are_kept(self, tmp_path: Path) -> None:
        """ "bodies and refs that exist already are kept"; bodies belong to their payment."""

        async def test(store: Store) -> None:
            body = b'{"a":1}'
            p = await put(store, accept(1, bodies={digest(body): body}))
            await put(store, grow(p, note_event(), bodies={digest(body): body, digest(b"2"): b"2"}))
            mine, other = (p.id, digest(body)), (p.id, digest(b"2"))
            assert await store.bodies([mine, other, (payment_id(2), digest(body))]) == {mine: body, other: b"2"}
            assert await store.bodies([]) == {}

        self.use(tmp_path, test)

    # --- listing -----------------------------------------------------------------------------------------------------

    def test_list_is_newest_first(self, tmp_path: Path) -> None:
        """ "Newest first (created, then id)"; ties are settled by id, other scopes are not seen."""

        async def test(store: Store) -> None:
            at = {1: 300, 2: 100, 3: 300, 4: 200}
            for n, at_us in at.items():
                await put(store, accept(n, at_us=at_us))
            await put(store, accept(5, mode="live"))
            await put(store, accept(6, merchant_id="mer_other"))
            page = await store.list(DEFAULT, EVERYTHING, 100)
            assert [p.id for p in page.payments] == [payment_id(n) for n in (3, 1, 4, 2)]
            assert page.next is None
            assert (await store.list(Scope("mer_none", "test"), EVERYTHING, 1)).payments == ()

        self.use(tmp_path, test)

    def test_pages_neither_skip_nor_repeat_while_rows_are_inserted(self, tmp_path: Path) -> None:
        """ "A cursor continues after the last row seen, whatever was written since." """

        async def test(store: Store) -> None:
            for n in range(25):
                await put(store, accept(n, at_us=1_000 + n // 3))
            seen: list[str] = []
            cursor: str | None = None
            for round_ in range(100):
                page = await store.list(DEFAULT, EVERYTHING, 4, cursor)
                seen += [p.id for p in page.payments]
                cursor = page.next
                await put(store, accept(1_000 + round_, at_us=5_000))  # newer than all: never on a later page
                await put(store, grow(page.payments[0], note_event()))
                if cursor is None:
                    break
            assert seen == [payment_id(n) for n in reversed(range(25))]

        self.use(tmp_path, test)

    def test_a_full_last_page_has_no_next(self, tmp_path: Path) -> None:
        """ "next: opaque cursor; None = no more", also when the last page is exactly full."""

        async def test(store: Store) -> None:
            for n in range(4):
                await put(store, accept(n))
            first = await store.list(DEFAULT, EVERYTHING, 2)
            assert first.next is not None
            second = await store.list(DEFAULT, EVERYTHING, 2, first.next)
            assert len(second.payments) == 2
            assert second.next is None

        self.use(tmp_path, test)

    @pytest.mark.parametrize(
        "cursor", ["", "x", "!!", "AAAA", "MTA", "MTAs", "LTEscGF5", "é", "MTAscGF5=", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5LHA"]
    )
    def test_a_cursor_that_is_not_ours_is_refused(self, tmp_path: Path, cursor: str) -> None:
        """ "Raises ValueError for a cursor that is not ours." """

        async def test(store: Store) -> None:
            with pytest.raises(ValueError, match="cursor"):
                await store.list(DEFAULT, EVERYTHING, 10, cursor)

        self.use(tmp_path, test)

    @pytest.mark.parametrize("limit", [0, -1, 101])
    def test_a_page_has_one_to_a_hundred_rows(self, tmp_path: Path, limit: int) -> None:
        """Everything has a limit: another one is a ValueError."""

        async def test(store: Store) -> None:
            with pytest.raises(ValueError, match="limit"):
                await store.list(DEFAULT, EVERYTHING, limit)

        self.use(tmp_path, test)

    def test_filters_are_exact_and_combine(self, tmp_path: Path) -> None:
        """ "Exact matches, all optional; the created range is [from, before)." """

        async def test(store: Store) -> None:
            await _fill_for_filters(store)
            cases: list[tuple[Filters, set[int]]] = [
                (Filters(), {1, 2, 3, 4, 5}),
                (Filters(status="SUCCESS"), {2}),
                (Filters(status="IN_DOUBT"), {3}),
                (Filters(status="CANCELED"), set()),
                (Filters(provider="mock_a"), {2, 3}),
                (Filters(provider="mock_b"), {4}),
                (Filters(provider="mock"), set()),
                (Filters(provider=""), {1, 5}),
                (Filters(currency="INR"), {2, 4}),
                (Filters(client_id="web"), {1, 2}),
                (Filters(client_id="WEB"), set()),
                (Filters(client_id=""), {3, 4, 5}),
                (Filters(attention=True), {3, 4}),
                (Filters(created_from_us=2_000), {2, 3, 4, 5}),
                (Filters(created_before_us=4_000), {1, 2, 3}),
                (Filters(created_from_us=2_000, created_before_us=4_000), {2, 3}),
                (Filters(created_from_us=3_000, created_before_us=3_000), set()),
                (Filters(status="PENDING", currency="INR", provider="mock_b", attention=True, created_from_us=4_000), {4}),
                (Filters(status="PENDING", client_id="web", attention=True), set()),
            ]
            for filters, numbers in cases:
                page = await store.list(DEFAULT, filters, 100)
                assert {p.id for p in page.payments} == {payment_id(n) for n in numbers}, filters

        self.use(tmp_path, test)

    def test_provider_is_the_winners_account_else_the_youngest_attempts(self, tmp_path: Path) -> None:
        """ "account of the winner, else of the youngest attempt" """

        async def test(store: Store) -> None:
            p = await put(store, accept(1))
            p = await put(store, grow(p, fire_event(p, "mock_a")))
            p = await put(store, grow(p, success_event(p)))
            won = replace(p, attempts=(*p.attempts, replace(p.attempts[0], n=1, account="mock_b")))
            odd = grow(p, note_event())
            await put(store, replace(odd, payment=replace(odd.payment, attempts=won.attempts)))
            assert [len((await store.list(DEFAULT, Filters(provider=a), 10)).payments) for a in ("mock_a", "mock_b")] == [1, 0]

        self.use(tmp_path, test)

    def test_counts_are_per_status(self, tmp_path: Path) -> None:
        """ "Payments per status, every merchant's"; a status that nobody has is not named."""

        async def test(store: Store) -> None:
            assert await store.counts() == {}
            await _fill_for_filters(store)
            assert await store.counts() == {"PENDING": 3, "SUCCESS": 1, "IN_DOUBT": 1, "FAILED": 1}

        self.use(tmp_path, test)


async def _fill_for_filters(store: Store) -> None:
    """1 pending; 2 success at mock_a; 3 in doubt at mock_a; 4 pending at mock_b, flagged; 5 failed; 6 another mode's."""
    await put(store, accept(1, at_us=1_000, client_id="web"))
    two = await put(store, accept(2, at_us=2_000, client_id="web", currency="INR"))
    three = await put(store, accept(3, at_us=3_000))
    four = await put(store, accept(4, at_us=4_000, currency="INR"))
    five = await put(store, accept(5, at_us=5_000))
    await put(store, accept(6, at_us=6_000, mode="live"))
    two = await put(store, grow(two, fire_event(two, "mock_a")))
    await put(store, grow(two, success_event(two)))
    three = await put(store, grow(three, fire_event(three, "mock_a")))
    await put(store, grow(three, mismatch_event(three)))
    four = await put(store, grow(four, fire_event(four, "mock_b")))
    await put(store, grow(four, note_event()))
    await put(store, grow(five, Judged(what="FAILED", reason="attempts_exhausted")))
