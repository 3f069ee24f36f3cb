"""A commit on DynamoDB when requests or answers are lost, late, refused or doubled: what the caller was told stays true."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest
from tests.stores.dynamodb.ground import Ground, Instant, Scripted, ground

from payonce.awsapi import Answer, Aws, Busy, Denied, Lost
from payonce.bootstrap import SystemClock
from payonce.core.errors import InvariantViolated, PayonceError, StoreUnavailable
from payonce.core.events import digest
from payonce.ports import Change, Committed, Conflict, Ref, Scope, Unclear
from payonce.stores.dynamodb import Tables, open_store
from payonce.testing.store_changes import accept, grow, key_row, note_event, payment_id, put

WRITES = ("UpdateItem", "TransactWriteItems")


@pytest.fixture(scope="module")
def land(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(tmp_path_factory.mktemp("aws")) as made:
        yield made


class World:
    """A store whose writes meet accidents, and another one without, on the same tables."""

    def __init__(self, aws: Aws, tables: Tables) -> None:
        self.aws, self.tables = aws, tables
        self.wire = Scripted(aws)
        self.clock = Instant(SystemClock())
        self.store = open_store(self.wire, self.clock, tables)
        self.other = open_store(aws, SystemClock(), tables)
        self.held: list[tuple[str, Mapping[str, Any]]] = []
        self.fates: list[str | Answer] = []
        self.wire.accidents.append(self._accident)

    def next_writes(self, *fates: str | Answer) -> None:
        """What becomes of the next writes, one by one; later ones go well. "before": the request is lost; "after": the
        answer is; "late": the request is held up on its way, and so is its answer."""
        self.fates = list(fates)

    async def _accident(self, operation: str, params: Mapping[str, Any]) -> Answer | None:
        if operation not in WRITES or not self.fates:
            return None
        fate = self.fates.pop(0)
        if not isinstance(fate, str):
            return fate
        if fate == "after":
            await self.aws.call("dynamodb", operation, params)
        if fate == "late":
            self.held.append((operation, params))
        return Lost(fate)

    async def arrive(self) -> None:
        """What was held up on its way arrives now."""
        for operation, params in self.held:
            await self.aws.call("dynamodb", operation, params)
        self.held.clear()


def use(land: Ground, test: Callable[[World], Awaitable[None]]) -> None:
    async def run(aws: Aws, tables: Tables) -> None:
        await test(World(aws, tables))

    asyncio.run(land.run(run))


def change_of(kind: str, before: Change) -> tuple[Change, int]:
    """A change with or without a key, or a creation."""
    p = before.payment
    if kind == "create":
        return accept(2, key="k2"), 0
    if kind == "create without key":
        return accept(2), 0
    key = key_row(p.id, "k3") if kind == "with key" else None
    return grow(p, note_event("mine"), key=key, due_us=7), 1


KINDS = ["create", "create without key", "with key", "plain"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fates", [("before",), ("after",), ("late",), ("before", "after"), ("after", "before"), ("late", "late")]
)
def test_a_lost_write_is_sent_again(land: Ground, kind: str, fates: tuple[str, ...]) -> None:
    """Whether the request or only its answer was lost: Committed, once, also when copies of it arrive later."""

    async def test(world: World) -> None:
        first = accept(1)
        await put(world.store, first)
        change, expected = change_of(kind, first)
        world.next_writes(*fates)
        assert await world.store.commit(change, expected) == Committed()
        await world.arrive()
        p = change.payment
        assert await world.other.get(p.id) == p
        assert len(await world.other.history(p.id)) == p.version
        assert await world.other.due_of(p.id) == change.due_us

    use(land, test)


@pytest.mark.parametrize("kind", KINDS)
def test_a_write_that_never_answers_is_unclear(land: Ground, kind: str) -> None:
    """Unclear is told, whatever became of it: here it is not done at first, and done later."""

    async def test(world: World) -> None:
        first = accept(1)
        await put(world.store, first)
        change, expected = change_of(kind, first)
        world.next_writes("late", "before", "before")
        assert await world.store.commit(change, expected) == Unclear()
        assert "did not answer" in world.store.write_trouble
        assert await world.other.history(change.payment.id, expected) == ()
        await world.arrive()
        assert await world.store.get(change.payment.id) == change.payment
        again = await world.store.commit(change, expected)
        assert isinstance(again, Conflict)

    use(land, test)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_refused_never_comes_true(land: Ground, kind: str) -> None:
    """A write whose first copy is held up while somebody else wins: Conflict, and the late copy changes nothing."""

    async def test(world: World) -> None:
        first = accept(1)
        await put(world.store, first)
        change, expected = change_of(kind, first)
        rival = accept(2, key="k2", amount_minor=5) if expected == 0 else grow(first.payment, note_event("theirs"))

        async def other_wins(operation: str, params: Mapping[str, Any]) -> Answer | None:
            if world.held and await world.other.get(rival.payment.id) != rival.payment:
                await put(world.other, rival)
            return None

        world.wire.accidents.insert(0, other_wins)
        world.next_writes("late")
        result = await world.store.commit(change, expected)
        assert result == (Conflict(key=rival.key) if kind == "create" else Conflict(payment=rival.payment))
        await world.arrive()
        assert await world.other.get(rival.payment.id) == rival.payment
        assert await world.other.history(rival.payment.id, expected) == rival.entries
        if kind == "with key":
            assert change.key is not None
            assert await world.other.find_key(_scope(change), change.key.key) is None

    use(land, test)


@pytest.mark.parametrize("kind", ["create", "with key"])
def test_a_lost_transaction_is_known_without_its_token(land: Ground, kind: str) -> None:
    """DynamoDB has forgotten the token, as it does after ten minutes: that row and key are this change's says it was done."""

    async def test(world: World) -> None:
        first = accept(1)
        await put(world.store, first)
        change, expected = change_of(kind, first)

        async def forgetful(operation: str, params: Mapping[str, Any]) -> Answer | None:
            if operation != "TransactWriteItems" or world.fates:
                return None
            return await world.aws.call("dynamodb", operation, {**params, "ClientRequestToken": "another"})

        world.wire.accidents.insert(0, forgetful)
        world.next_writes("after")
        assert await world.store.commit(change, expected) == Committed()
        assert await world.store.commit(change, expected) == Conflict(key=change.key)

    use(land, test)


def test_a_done_write_is_known_after_others_went_on(land: Ground) -> None:
    """The answer is lost, and before it is asked again others have written so much that the event lies in an older part:
    still Committed."""

    async def test(world: World) -> None:
        p = await put(world.store, accept(1))
        change = grow(p, note_event("mine"))

        async def others_go_on(operation: str, params: Mapping[str, Any]) -> Answer | None:
            if operation == "UpdateItem" and len(world.wire.calls) == before + 2:
                q = change.payment
                for n in range(60):
                    q = await put(world.other, grow(q, note_event(digest(str(n).encode()))))
            return None

        before = len(world.wire.calls)
        world.wire.accidents.insert(0, others_go_on)
        world.next_writes("after")
        assert await world.store.commit(change, 1) == Committed()
        row = await world.aws.call("dynamodb", "GetItem", {"TableName": world.tables.transactions, "Key": _row(p.id)})
        assert "logFrom" in row.body["Item"]  # type: ignore[union-attr]
        assert len(await world.store.history(p.id)) == 62

    use(land, test)


def test_a_late_part_does_not_replace_a_longer_one(land: Ground) -> None:
    """A change moves older events out of the row and fails; others move more of them. A copy of the first, shorter part that
    arrives now takes none of them away."""

    async def test(world: World) -> None:
        p = await put(world.store, accept(1))
        for n in range(8):
            p = await put(world.store, grow(p, note_event(digest(b"%d" % n))))
        world.next_writes(*[Busy("ThrottlingException")] * 5)
        big = [note_event(digest(b"big %d" % n)) for n in range(40)]
        with pytest.raises(StoreUnavailable):
            await world.store.commit(grow(p, *big), p.version)
        moved = [params for operation, params in world.wire.calls if operation == "PutItem"]
        assert [params["Item"]["item"]["S"] for params in moved] == ["event#000001"]
        for n in range(60):
            p = await put(world.other, grow(p, note_event(digest(b"other %d" % n))))
        answer = await world.aws.call("dynamodb", "PutItem", moved[0])
        assert isinstance(answer, Denied)
        fresh = open_store(world.aws, SystemClock(), world.tables)
        assert await fresh.get(p.id) == p
        assert len(await fresh.history(p.id)) == p.version

    use(land, test)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("times", [1, 4, 5])
def test_a_busy_table_is_asked_again(land: Ground, kind: str, times: int) -> None:
    """Busy is not done: asked again, at most five times; then StoreUnavailable, and nothing is written or ever will be."""

    async def test(world: World) -> None:
        first = accept(1)
        await put(world.store, first)
        change, expected = change_of(kind, first)
        world.next_writes(*[Busy("ThrottlingException")] * times)
        if times < 5:
            assert await world.store.commit(change, expected) == Committed()
            assert world.store.write_trouble == ""
            assert world.clock.slept_s == pytest.approx(0.05 * (2**times - 1))  # twice as long before each further try
            return
        with pytest.raises(StoreUnavailable, match="Nothing was written"):
            await world.store.commit(change, expected)
        assert await world.other.history(change.payment.id, expected) == ()
        assert "busy" in world.store.write_trouble
        assert await world.store.retry_trouble() == ""
        assert await world.other.get("pay_") is None

    use(land, test)


def test_busy_after_a_lost_answer_is_unclear(land: Ground) -> None:
    """One lost answer among refusals: nobody says that nothing was written."""

    async def test(world: World) -> None:
        p = await put(world.store, accept(1))
        world.next_writes("late", *[Busy("ThrottlingException")] * 9)
        assert await world.store.commit(grow(p, note_event()), 1) == Unclear()
        world.next_writes("late", Denied("AccessDeniedException", "not allowed any more"))
        assert await world.store.commit(grow(p, note_event("x")), 1) == Unclear()

    use(land, test)


def canceled(*codes: str) -> Denied:
    said = [{"Code": code} for code in codes]
    return Denied("TransactionCanceledException", f"canceled {list(codes)}", {"CancellationReasons": said})


@pytest.mark.parametrize(
    "codes",
    [("TransactionConflict", "None"), ("None", "ThrottlingError"), ("ProvisionedThroughputExceeded", "TransactionConflict")],
)
def test_a_transaction_in_anothers_way_is_asked_again(land: Ground, codes: tuple[str, str]) -> None:
    """Conflicts and throttling inside a transaction pass: it is asked again, and then StoreUnavailable."""

    async def test(world: World) -> None:
        world.next_writes(canceled(*codes))
        assert await world.store.commit(accept(1, key="a"), 0) == Committed()
        world.next_writes(*[canceled(*codes)] * 5)
        with pytest.raises(StoreUnavailable, match="Nothing was written"):
            await world.store.commit(accept(2, key="b"), 0)
        assert await world.other.find_key(_scope(accept(2)), "b") is None

    use(land, test)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (canceled("ValidationError", "None"), InvariantViolated),
        (canceled("None", "ItemCollectionSizeLimitExceeded"), StoreUnavailable),
        (Denied("ValidationException", "item too large"), InvariantViolated),
        (Denied("ResourceNotFoundException", "no table"), StoreUnavailable),
        (Denied("AccessDeniedException", "no"), StoreUnavailable),
        (Denied("IdempotentParameterMismatchException", "other content"), StoreUnavailable),
    ],
)
def test_a_refusal_that_stays_is_told_at_once(land: Ground, answer: Denied, error: type[PayonceError]) -> None:
    """What another try would not change is not tried again; nothing was written."""

    async def test(world: World) -> None:
        world.next_writes(answer)
        with pytest.raises(error, match="Nothing was written"):
            await world.store.commit(accept(1, key="a"), 0)
        assert world.wire.count("TransactWriteItems") == 1
        assert await world.other.get(payment_id(1)) is None

    use(land, test)


def test_a_row_in_the_way_and_a_busy_key(land: Ground) -> None:
    """The row's condition failed and the key could not be looked at: the key is read, and counts more if it is taken."""

    async def test(world: World) -> None:
        p = await put(world.other, accept(1, key="a"))
        item = await world.aws.call("dynamodb", "GetItem", {"TableName": world.tables.transactions, "Key": _row(p.id)})
        said: list[dict[str, Any]] = [{"Code": "ConditionalCheckFailed", "Item": item.body["Item"]}]  # type: ignore[union-attr]
        answer = Denied("TransactionCanceledException", "", {"CancellationReasons": [*said, {"Code": "TransactionConflict"}]})
        for key, expected in (("a", Conflict(key=key_row(p.id, "a"))), ("b", Conflict(payment=p))):
            world.next_writes(answer)
            assert await world.store.commit(accept(1, key=key, amount_minor=9), 0) == expected

    use(land, test)


def test_the_key_of_another_change_is_not_ours(land: Ground) -> None:
    """After a lost answer the key names our payment, but for another change of it: Conflict, not Committed."""

    async def test(world: World) -> None:
        p = await put(world.other, accept(1))
        await put(world.other, grow(p, note_event("first"), key=key_row(p.id, "a", b'{"amount":1}')))
        world.next_writes("before")
        late = grow(p, note_event("second"), key=key_row(p.id, "a", b'{"amount":2}'))
        assert await world.store.commit(late, 1) == Conflict(key=key_row(p.id, "a", b'{"amount":1}'))

    use(land, test)


def test_a_canceled_caller_leaves_a_whole_change(land: Ground) -> None:
    """The task that waits is canceled in the middle: the change is written whole all the same, and ``close`` waits for it."""

    async def test(world: World) -> None:
        reached, go = asyncio.Event(), asyncio.Event()

        async def hold(operation: str, params: Mapping[str, Any]) -> Answer | None:
            if operation == "UpdateItem":
                reached.set()
                await go.wait()
            return None

        change = accept(1, refs=(Ref("a", "charge", "v"),), bodies={digest(b"x"): b"x"})
        world.wire.accidents.insert(0, hold)
        task = asyncio.ensure_future(world.store.commit(change, 0))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        closing = asyncio.ensure_future(world.store.close())
        await asyncio.sleep(0)
        assert not closing.done()
        go.set()
        await closing
        assert await world.other.get(payment_id(1)) == change.payment
        assert await world.other.find_ref("v") == (payment_id(1),)

    use(land, test)


@pytest.mark.parametrize("due_us", [None, 90])
def test_a_late_deferral_does_not_undo_a_later_one(land: Ground, due_us: int | None) -> None:
    """A copy that was held up on its way arrives after the due time was moved again: it changes nothing."""

    async def test(world: World) -> None:
        p = await put(world.store, accept(1, due_us=10))
        world.next_writes("late")
        assert await world.store.defer(p.id, 1, due_us) is True
        assert await world.other.defer(p.id, 1, 55) is True
        await world.arrive()
        assert await world.other.due_of(p.id) == 55
        assert await world.store.defer(p.id, 1, 60) is True  # though the store has seen another due time
        assert (await world.other.due_of(p.id), world.store.known_due(p.id)) == (60, 60)

    use(land, test)


def _scope(change: Change) -> Scope:
    from payonce.ports import Scope

    return Scope(change.payment.merchant_id, change.payment.mode)


def _row(payment_id: str) -> dict[str, Any]:
    return {"transactionId": {"S": payment_id}, "item": {"S": "payment"}}
