"""GET /metrics: what this process counted, and what the store answers to a few short questions, for Prometheus. It is about the
house: to a merchant who is not its own nothing is here.

A scrape never waits for long: the questions have a second together, their answers are good for two, and without them the rest
is told all the same, with ``payonce_store_trouble`` 1.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Protocol, cast

from payonce import __version__
from payonce.core.errors import PayonceError
from payonce.core.payment import Mode
from payonce.engine import Engine
from payonce.figures import Figures
from payonce.merchants import DEFAULT_MERCHANT, KIND
from payonce.ports import Registry, Scope
from payonce.telemetry import get_logger
from payonce.telemetry import names as n
from payonce.telemetry.meter import Labels
from payonce.telemetry.names import Metric
from payonce.telemetry.watching import Watcher

from .house import require_house
from .incoming import Query, Request
from .problems import Answer, NoSuchPath

CACHED_US: Final = 2_000_000  # how old an answer of the store may be
ASKED_S: Final = 1.0  # for all questions of one scrape
GRACE_US: Final = 2_000_000  # a payment is not late before that
OVERDUE_MAX: Final = 1_000  # counted one by one
MERCHANTS_MAX: Final = 100  # whose payments are counted: the house's own, and so many others

Gauge = tuple[Metric, Labels, float]

log = get_logger("metrics")


class _Rooms(Protocol):
    """What lies beside the payments of a store."""

    @property
    def registry(self) -> Registry: ...
    @property
    def figures(self) -> Figures: ...
    async def retry_trouble(self) -> str: ...


class MetricsDoor:
    """The handler. ``watcher`` holds what is counted; ``mode`` is that of this process."""

    def __init__(self, engine: Engine, watcher: Watcher, mode: Mode) -> None:
        self._engine, self._watcher, self._mode = engine, watcher, mode
        self._asked: tuple[Gauge, ...] = ()
        self._asked_us: int | None = None
        self._exposition: object = None

    async def show(self, request: Request) -> Answer:
        """Raises NoSuchPath (also where the library is not installed), and Refused for a query."""
        require_house(request)
        Query(request).check()
        try:
            from payonce.telemetry.exposition import MEDIA_TYPE, Exposition
        except ModuleNotFoundError:  # in a function on AWS, which is read by CloudWatch and has no figures of its own to keep
            raise NoSuchPath from None
        exposition = self._exposition = self._exposition or Exposition(self._watcher.meter)
        text = cast("Exposition", exposition).text((*self._known(), *await self._of_store()))
        return Answer(200, text, MEDIA_TYPE.encode())

    def _known(self) -> list[Gauge]:
        """What needs no store."""
        engine = self._engine
        flying = engine.lanes.flying()
        return [
            (n.BUILD, (__version__,), 1),
            (n.STARTED, (), self._watcher.started_us / 1_000_000),
            (n.HELD, (), float(engine.hold)),
            *((n.FLYING, (name,), float(flying.get(name, 0))) for name in sorted(engine.accounts)),
        ]

    async def _of_store(self) -> tuple[Gauge, ...]:
        now = self._engine.clock.monotonic_us()
        if self._asked_us is None or not 0 <= now - self._asked_us < CACHED_US:
            self._asked_us = now  # before the answers: who scrapes meanwhile does not ask again
            self._asked = tuple(await self._ask())
        return self._asked

    async def _ask(self) -> list[Gauge]:
        found, trouble = list[Gauge](), 0.0
        try:
            async with asyncio.timeout(ASKED_S):
                async for gauge in self._answers():
                    found.append(gauge)
        except (PayonceError, TimeoutError) as error:
            trouble = 1.0
            log.warning("a scrape is answered without the store", error=type(error).__name__)
        known = {metric.name for metric, _, _ in found}
        return (
            found
            if n.TROUBLE.name in known and not trouble
            else [*(g for g in found if g[0] is not n.TROUBLE), (n.TROUBLE, (), trouble)]
        )

    async def _answers(self) -> AsyncIterator[Gauge]:
        """The questions, each bounded, the most important first. Raises StoreUnavailable."""
        engine = self._engine
        store, now = engine.store, engine.clock.now_us()
        if hasattr(store, "retry_trouble"):
            yield n.TROUBLE, (), float(bool(await cast("_Rooms", store).retry_trouble()))
        late = await store.due(now - GRACE_US, OVERDUE_MAX)
        yield n.OVERDUE, (), float(len(late))
        yield n.OLDEST, (), (now - min(row.due_us for row in late)) / 1_000_000 if late else 0.0
        if engine.health is not None:
            states = await engine.health.states()
            for name in sorted(engine.accounts):
                state = states.get(name)
                yield n.BREAKER, (name,), float(state is not None and state.breaker is not None)
                yield n.DRAINED, (name,), float(state is not None and state.drain is not None)
        if hasattr(store, "figures") and hasattr(store, "registry"):
            doubt = eyes = 0
            for merchant in await self._merchants(cast("_Rooms", store).registry):
                standing = await cast("_Rooms", store).figures.standing(Scope(merchant, self._mode))
                doubt += standing.get("IN_DOUBT", 0)
                eyes += standing.get("attention", 0)
            yield n.IN_DOUBT, (), float(doubt)
            yield n.ATTENTION, (), float(eyes)

    async def _merchants(self, registry: Registry) -> list[str]:
        return [DEFAULT_MERCHANT, *(record.name for record in (await registry.all(KIND))[:MERCHANTS_MAX])]
