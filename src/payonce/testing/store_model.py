"""Step by step against the model: Hypothesis writes to a store and to ``MemoryStore`` alike, and compares every answer
and, after every step, everything that can be read."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from payonce.core.errors import InvariantViolated
from payonce.core.events import Event, Judged, digest
from payonce.core.money import AMOUNT_MINOR_MAX
from payonce.core.payment import Mode, Payment
from payonce.ports import Change, Filters, Ref, Scope, Store
from payonce.stores.memory import MemoryStore

from .store_changes import accept, fire_event, grow, key_row, mismatch_event, note_event, payment_id, success_event

NUMBERS = st.integers(0, 7)
KEYS = st.sampled_from(["", "k1", "k2", "k3"])
MERCHANTS = st.sampled_from(["mer_a", "mer_b"])
MODES = st.sampled_from(["test", "live"])
LABELS = st.sampled_from(["", "web", "Web", "\N{CAT FACE}", "مرحبا"])
CURRENCIES = st.sampled_from(["EUR", "INR"])
TIMES = st.integers(0, 30)
BODIES = st.dictionaries(st.sampled_from([b"", b"1", b"\xff\x00"]).map(digest), st.none(), max_size=2)
REFS = st.lists(st.builds(Ref, st.sampled_from("ab"), st.just("charge"), st.sampled_from("vw")), max_size=2).map(tuple)
_BODY_OF = {digest(b): b for b in (b"", b"1", b"\xff\x00")}
_EVENTS: dict[str, Callable[[Payment], Event]] = {
    "note": lambda _: note_event(),
    "calm": lambda _: note_event(""),
    "fire a": lambda p: fire_event(p, "a"),
    "fire b": lambda p: fire_event(p, "b"),
    "success": success_event,
    "mismatch": mismatch_event,
    "failed": lambda _: Judged(what="FAILED", reason="attempts_exhausted"),
}


def compare_with_model(open: Callable[[Path], Awaitable[Store]], *, examples: int, steps: int = 25) -> None:
    """Run ``examples`` random histories of ``steps`` writes; ``open`` makes an empty store that may use the folder."""

    class Machine(StoreMachine):
        def open_store(self, folder: Path) -> Awaitable[Store]:
            return open(folder)

    options = settings(max_examples=examples, stateful_step_count=steps, deadline=None, database=None)
    run_state_machine_as_test(Machine, settings=options)


class StoreMachine(RuleBasedStateMachine):
    """Writes of every kind, at current and at stale versions."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="payonce-model-")
        self.store = self._run(_awaited(self.open_store(Path(self.folder.name))))
        self.model = MemoryStore()
        self.seen: list[Payment] = []  # every row that ever was, so that stale writers can be played

    def open_store(self, folder: Path) -> Awaitable[Store]:
        raise NotImplementedError

    def teardown(self) -> None:
        self._run(self.store.close())
        self.loop.close()
        self.folder.cleanup()

    @rule(
        number=NUMBERS, key=KEYS, merchant=MERCHANTS, mode=MODES, label=LABELS, currency=CURRENCIES, at_us=TIMES,
        due_us=st.none() | TIMES, amount=st.integers(1, AMOUNT_MINOR_MAX), bodies=BODIES, refs=REFS,
    )  # fmt: skip
    def create(
        self, *, number: int, key: str, merchant: str, mode: Mode, label: str, currency: str, at_us: int, due_us: int | None,
        amount: int, bodies: dict[str, None], refs: tuple[Ref, ...],
    ) -> None:  # fmt: skip
        change = accept(
            number, key=key, merchant_id=merchant, mode=mode, client_id=label, currency=currency, at_us=at_us,
            due_us=due_us, amount_minor=amount, bodies={name: _BODY_OF[name] for name in bodies}, refs=refs,
        )  # fmt: skip
        self._commit(change, 0)

    @precondition(lambda self: self.seen)
    @rule(
        pick=st.integers(0, 1000), names=st.lists(st.sampled_from(sorted(_EVENTS)), min_size=1, max_size=3), key=KEYS,
        due_us=st.none() | TIMES, bodies=BODIES, refs=REFS, at_us=TIMES,
    )  # fmt: skip
    def change(
        self, *, pick: int, names: list[str], key: str, due_us: int | None, bodies: dict[str, None], refs: tuple[Ref, ...],
        at_us: int,
    ) -> None:  # fmt: skip
        before = p = self.seen[-1 - pick % len(self.seen)]
        events: list[Event] = []
        for name in names:
            try:
                event = _EVENTS[name](p)
                p = grow(p, event, at_us=at_us).payment
            except (InvariantViolated, IndexError, StopIteration):
                continue  # that event is not legal here
            events.append(event)
        if events:
            row = key_row(before.id, key, b"{}") if key else None
            beside = {name: _BODY_OF[name] for name in bodies}
            self._commit(grow(before, *events, at_us=at_us, due_us=due_us, key=row, bodies=beside, refs=refs), before.version)

    @rule(number=NUMBERS, version=st.integers(0, 4), due_us=TIMES)
    def defer(self, *, number: int, version: int, due_us: int) -> None:
        id = payment_id(number)
        assert self._run(self.store.defer(id, version, due_us)) == self._run(self.model.defer(id, version, due_us))

    @invariant()
    def everything_reads_the_same(self) -> None:
        assert self._run(_everything(self.store, self.seen)) == self._run(_everything(self.model, self.seen))

    @rule(merchant=MERCHANTS, mode=MODES, status=st.sampled_from([None, "PENDING", "SUCCESS", "FAILED", "IN_DOUBT"]),
          provider=st.sampled_from([None, "", "a", "b"]), currency=st.none() | CURRENCIES, label=st.none() | LABELS,
          since=st.none() | TIMES, before=st.none() | TIMES, attention=st.booleans(), limit=st.integers(1, 4))  # fmt: skip
    def list(self, *, merchant: str, mode: Mode, status: Any, provider: str | None, currency: str | None, label: str | None,
             since: int | None, before: int | None, attention: bool, limit: int) -> None:  # fmt: skip
        filters = Filters(status=status, provider=provider, currency=currency, client_id=label, created_from_us=since,
                          created_before_us=before, attention=attention)  # fmt: skip
        scope, cursor = Scope(merchant, mode), None
        for _ in range(9):
            page = self._run(self.store.list(scope, filters, limit, cursor))
            assert page == self._run(self.model.list(scope, filters, limit, cursor))
            cursor = page.next
            if cursor is None:
                return
        raise AssertionError("eight payments fill no nine pages")

    def _commit(self, change: Change, expected_version: int) -> None:
        result = self._run(self.store.commit(change, expected_version))
        assert result == self._run(self.model.commit(change, expected_version))
        if self._run(self.model.get(change.payment.id)) == change.payment:
            self.seen.append(change.payment)

    def _run(self, ask: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run(ask)


async def _awaited(ask: Awaitable[Store]) -> Store:
    return await ask


async def _everything(store: Store, seen: list[Payment]) -> list[object]:
    """What the read methods say, as one comparable value."""
    answers: list[object] = [await store.next_due(), await store.counts()]
    for time_us in (0, 15, 30):
        answers.append(await store.due(time_us, 100))
        answers.append(await store.due(time_us, 2))
    for id in sorted({p.id for p in seen}):
        answers += [await store.get(id), await store.history(id), await store.history(id, 1, 2)]
        answers.append(await store.bodies([(id, name) for name in _BODY_OF]))
    for merchant in ("mer_a", "mer_b"):
        for mode in ("test", "live"):
            scope = Scope(merchant, mode)
            answers.append(await store.list(scope, Filters(), 100))
            answers += [await store.find_key(scope, key) for key in ("k1", "k2", "k3")]
    answers += [await store.find_ref(value, account) for value in "vwx" for account in (None, "a", "b")]
    return answers
