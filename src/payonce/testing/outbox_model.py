"""Step by step against the model: Hypothesis puts news into a store and into ``MemoryStore`` alike, turns them into deliveries
and tries those, and compares every answer and, after every step, everything that can be read."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from msgspec.structs import replace

from payonce.core.payment import Mode, Payment
from payonce.mail import Delivery, DeliveryState
from payonce.ports import Committed, Fed, Scope
from payonce.stores.memory import MemoryStore

from .outbox_contract import delivery
from .store_changes import Told, accept, grow, newsworthy, note_event, payment_id

SCOPES: Final = tuple(Scope(merchant, mode) for merchant in ("mer_a", "mer_b") for mode in ("test", "live"))
STATES: Final = ("pending", "delivered", "failed", "canceled")
PAYMENTS = st.integers(0, 4)
DELIVERIES = st.integers(0, 4)
SCOPE = st.sampled_from(SCOPES)
STATE = st.sampled_from(STATES)
TIMES = st.integers(0, 12)
DUES = st.none() | TIMES
PAGES_MAX: Final = 60


def compare_outbox_with_model(
    open: Callable[[Path], Awaitable[Told]],
    *,
    examples: int,
    steps: int = 25,
    settle_index: Callable[[], Awaitable[None]] | None = None,
    exact: bool = True,
    explain: bool = True,
) -> None:
    """Run ``examples`` random histories of ``steps`` writes; ``open`` makes an empty store that may use the folder.
    ``settle_index``: after it, indexes that lag show all. ``exact`` False: the feed may be in another order and repeat.
    ``explain`` False: the first difference is raised as it is found, in histories that are always the same."""

    class Machine(OutboxMachine):
        def open_store(self, folder: Path) -> Awaitable[Told]:
            return open(folder)

        async def settle(self) -> None:
            if settle_index is not None:
                await settle_index()

        def same_feed(self, found: list[Fed], wanted: list[Fed]) -> bool:
            return found == wanted if exact else set(found) == set(wanted)

    options = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=not explain,
        phases=tuple(Phase) if explain else (Phase.generate,),
    )
    run_state_machine_as_test(Machine, settings=options)


class OutboxMachine(RuleBasedStateMachine):
    """Writes of every kind, at current and at stale versions."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="payonce-outbox-")
        self.store: Told = self._run(_awaited(self.open_store(Path(self.folder.name))))
        self.model = MemoryStore()
        self.rows: dict[int, Payment] = {}
        self.before: dict[int, Payment] = {}  # as they were before their last change
        self.cursors: dict[Scope, tuple[str, str]] = {}  # of somebody who follows each feed: here and in the model

    def open_store(self, folder: Path) -> Awaitable[Told]:
        raise NotImplementedError

    async def settle(self) -> None:
        raise NotImplementedError

    def same_feed(self, found: list[Fed], wanted: list[Fed]) -> bool:
        raise NotImplementedError

    def teardown(self) -> None:
        self._run(self.store.close())
        self.loop.close()
        self.folder.cleanup()

    @rule(
        number=PAYMENTS,
        scope=SCOPE,
        events=st.integers(1, 3),
        told=st.sampled_from([0, 1, 1, 2, 2]),
        at_us=TIMES,
        late=st.sampled_from([False, False, False, True]),
    )
    def write(self, *, number: int, scope: Scope, events: int, told: int, at_us: int, late: bool) -> None:
        """A payment is created, or goes on; ``told``: with news (1), of which somebody is to be told (2). ``late``: by somebody
        who has not seen the last change."""
        p = self.rows.get(number)
        if late:
            p = self.before.get(number)
        if p:
            change = grow(p, *(note_event(f"{n}") for n in range(events)), at_us=at_us)
        else:
            change = accept(number, merchant_id=scope.merchant_id, mode=scope.mode, at_us=at_us, due_us=None)
        self._commit(number, newsworthy(change, notify=told == 2) if told else change, p.version if p else 0)

    @rule(number=PAYMENTS, back=st.sampled_from([0, 0, 0, 1, 9]), new=st.lists(DELIVERIES, max_size=4), due_us=DUES)
    def hand_over(self, *, number: int, back: int, new: list[int], due_us: int | None) -> None:
        p = self.rows.get(number)
        version = max(0, (p.version if p else 1) - back)
        rows = [self._delivery(n, p, due_us) for n in new]
        done = self._run(self.store.outbox.hand_over(payment_id(number), version, rows))
        assert done == self._run(self.model.outbox.hand_over(payment_id(number), version, rows))
        if not done:  # "the deliveries may be kept"
            for row in rows:
                if self._run(self.store.outbox.get(row.id)) is not None:
                    self._run(self.model.outbox.add(row))

    @rule(number=PAYMENTS, due_us=TIMES)
    def put_off(self, *, number: int, due_us: int) -> None:
        for each in (self.store, self.model):
            self._run(each.outbox.put_off(payment_id(number), due_us))

    @rule(number=DELIVERIES, scope=SCOPE, endpoint=st.sampled_from("ab"), state=STATE, at_us=TIMES, due_us=DUES)
    def add(self, *, number: int, scope: Scope, endpoint: str, state: DeliveryState, at_us: int, due_us: int | None) -> None:
        row = delivery(
            number, merchant_id=scope.merchant_id, mode=scope.mode, endpoint_id=endpoint, payment_id="", seq=0,
            state=state, created_us=at_us, due_us=due_us,
        )  # fmt: skip
        self._both(lambda s: s.outbox.add(row))

    @precondition(lambda self: self.loop.run(self._known()))
    @rule(pick=st.integers(0, 9), back=st.sampled_from([0, 0, 1]), state=STATE, tries=st.integers(0, 3), due_us=DUES)
    def try_it(self, *, pick: int, back: int, state: DeliveryState, tries: int, due_us: int | None) -> None:
        known = self._run(self._known())
        row = known[pick % len(known)]
        tried = replace(row, version=row.version - back, state=state, tries=tries, status=tries, said="s", due_us=due_us)
        self._both(lambda s: s.outbox.settle(tried))

    @rule(before_us=TIMES, limit=st.integers(1, 3))
    def forget(self, *, before_us: int, limit: int) -> None:
        self._run(self.settle())
        self._both(lambda s: s.outbox.forget(before_us, limit))

    @rule(scope=SCOPE, limit=st.integers(1, 3), since_us=TIMES)
    def read_the_feed(self, *, scope: Scope, limit: int, since_us: int) -> None:
        """From a time on, and from where its follower stands: what is new since then, and nothing is missed."""
        self._run(self.settle())
        found, _ = self._pages(self.store, scope, limit, None, since_us)
        wanted, _ = self._pages(self.model, scope, limit, None, since_us)
        assert self.same_feed(found, wanted)
        here, there = self.cursors.get(scope, (None, None))
        found, here = self._pages(self.store, scope, limit, here, 0)
        wanted, there = self._pages(self.model, scope, limit, there, 0)
        assert self.same_feed(found, wanted)
        self.cursors[scope] = here, there

    @rule(
        scope=SCOPE, endpoint=st.sampled_from([None, "a", "b"]), state=st.none() | STATE,
        payment=st.sampled_from([None, "", payment_id(0), payment_id(1)]), limit=st.integers(1, 4),
    )  # fmt: skip
    def look_through(
        self, *, scope: Scope, endpoint: str | None, state: DeliveryState | None, payment: str | None, limit: int
    ) -> None:
        self._run(self.settle())
        cursor = None
        for _ in range(PAGES_MAX):
            asked: dict[str, Any] = {"endpoint_id": endpoint, "state": state, "payment_id": payment, "cursor": cursor}
            page = self._run(self.store.outbox.list(scope, limit, **asked))
            assert page == self._run(self.model.outbox.list(scope, limit, **asked))
            cursor = page.next
            if cursor is None:
                return
        raise AssertionError("the listing does not end")

    @invariant()
    def everything_reads_the_same(self) -> None:
        self._run(self.settle())
        assert self._run(_everything(self.store)) == self._run(_everything(self.model))

    async def _known(self) -> list[Delivery]:
        found = [await self.model.outbox.get(delivery(n).id) for n in range(5)]
        return [row for row in found if row is not None]

    def _delivery(self, number: int, p: Payment | None, due_us: int | None) -> Delivery:
        merchant, mode = (p.merchant_id, p.mode) if p else ("mer_a", "test")
        known: Mode = "live" if mode == "live" else "test"
        return delivery(
            number, merchant_id=merchant, mode=known, endpoint_id="ab"[number % 2], created_us=number, due_us=due_us,
            payment_id=p.id if p else "", seq=1 if p else 0,
        )  # fmt: skip

    def _pages(self, store: Any, scope: Scope, limit: int, cursor: str | None, since_us: int) -> tuple[list[Fed], str]:
        seen = []
        for _ in range(PAGES_MAX):
            page = self._run(store.feed(scope, limit, cursor, since_us))
            seen += page.entries
            cursor = page.next
            if not page.more:
                return seen, page.next
        raise AssertionError("the feed does not end")

    def _commit(self, number: int, change: Any, expected_version: int) -> None:
        result = self._run(self.store.commit(change, expected_version))
        assert result == self._run(self.model.commit(change, expected_version))
        if result == Committed():
            if number in self.rows:
                self.before[number] = self.rows[number]
            self.rows[number] = change.payment

    def _both(self, ask: Callable[[Any], Coroutine[Any, Any, Any]]) -> None:
        assert self._run(ask(self.store)) == self._run(ask(self.model))

    def _run(self, ask: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run(ask)


async def _awaited(ask: Awaitable[Told]) -> Told:
    return await ask


async def _everything(store: Any) -> list[object]:
    """What the read methods say, as one comparable value."""
    out = store.outbox
    answers: list[object] = [await out.counts()]
    for time_us in (0, 6, 12):
        answers += [await out.notices(time_us, 100), await out.notices(time_us, 2)]
        answers += [await out.due(time_us, 100), await out.due(time_us, 2)]
    answers += [await out.noticed(payment_id(n)) for n in range(5)]
    answers += [await out.get(delivery(n).id) for n in range(5)]
    return answers
