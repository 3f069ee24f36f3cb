"""The figures of the memory store: what was written is counted when somebody asks. See ``payonce.figures.Figures``."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from payonce.core.payment import Payment
from payonce.figures import COUNT_MAX, SPAN_US, WAITING, Span, Tallied, Tally, What, counted, summed, within
from payonce.ports import Change, Due, Scope

from .rows import check_limit, needs_eyes

if TYPE_CHECKING:
    from .memory import MemoryStore


class MemoryFigures:
    """Made by its store. ``keep`` is called once for each change that was committed."""

    def __init__(self, store: "MemoryStore", asked: Callable[[], None]) -> None:
        self._store, self._asked = store, asked
        self._fresh: list[Change] = []  # not counted yet
        self._tallies: dict[Scope, list[Tally]] = {}

    def keep(self, change: Change) -> None:
        self._fresh.append(change)

    async def tallies(
        self, scope: Scope, from_us: int, before_us: int, *, span: Span, fold: bool = False, what: Collection[What] = ()
    ) -> Tallied:
        self._count()
        found = within(self._tallies.get(scope, ()), from_us, before_us, span, what)
        return Tallied(summed(found, 0 if fold else SPAN_US[span]))

    async def standing(self, scope: Scope) -> Mapping[str, int]:
        own = self._own(scope)
        found: dict[str, int] = {status: sum(p.status == status for p in own) for status in WAITING}
        found["attention"] = sum(map(needs_eyes, own))
        return {name: min(n, COUNT_MAX + 1) for name, n in found.items()}

    async def overdue(self, scope: Scope, before_us: int, limit: int) -> tuple[Due, ...]:
        check_limit(limit)
        ids = {p.id for p in self._own(scope)}
        first = sorted((due_us, id) for id, due_us in self._store.due_times().items() if due_us <= before_us and id in ids)
        return tuple(Due(id, due_us) for due_us, id in first[:limit])

    def copy(self, store: "MemoryStore", asked: Callable[[], None]) -> "MemoryFigures":
        """As they are now, of a copy of the store."""
        other = MemoryFigures(store, asked)
        other._fresh = list(self._fresh)
        other._tallies = {scope: list(tallies) for scope, tallies in self._tallies.items()}
        return other

    def _own(self, scope: Scope) -> list[Payment]:
        self._asked()
        return [p for p in self._store.rows() if Scope(p.merchant_id, p.mode) == scope]

    def _count(self) -> None:
        self._asked()
        fresh, self._fresh = self._fresh, []
        for change in fresh:
            scope = Scope(change.payment.merchant_id, change.payment.mode)
            self._tallies.setdefault(scope, []).extend(counted(change))
