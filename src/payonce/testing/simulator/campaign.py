"""Many seeds on many cores, with what they add up to. A chunk of seeds is one task; what a chunk came to is a ``Tally``,
and tallies add. A campaign that keeps its tally in a file goes on where it was stopped."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from . import SHIPPED, cast_of, points, simulate
from .scenarios import SCENARIOS

T = TypeVar("T")

CHUNK: Final = 20  # seeds of one task: long enough to be worth sending, short enough for a progress bar
SHARES: Final = 4  # of the cases of one scenario
BROKEN_MAX: Final = 50  # violations that are kept


class Broken(Struct, frozen=True):
    """A seed that broke a rule."""

    seed: int
    rule: str


class Tally(Struct, kw_only=True):
    """What worlds came to. Times in seconds; ``busy_s`` is the time of all cores together."""

    seeds: int = 0
    payments: int = 0
    simulated_s: float = 0.0
    busy_s: float = 0.0
    sends: int = 0
    events: int = 0
    statuses: dict[str, int] = {}
    counts: dict[str, int] = {}
    broken: list[Broken] = []
    differed: list[int] = []  # seeds that were run twice and did not do the same

    def add(self, other: "Tally") -> None:
        for name in ("seeds", "payments", "simulated_s", "busy_s", "sends", "events"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.statuses = dict(Counter(self.statuses) + Counter(other.statuses))
        self.counts = dict(Counter(self.counts) + Counter(other.counts))
        self.broken = [*self.broken, *other.broken][:BROKEN_MAX]
        self.differed = [*self.differed, *other.differed]

    @property
    def clean(self) -> bool:
        return not self.broken and not self.differed

    def per_core_second(self) -> float:
        """Payments simulated per second of one core."""
        return self.payments / self.busy_s if self.busy_s else 0.0


class Plan(Struct, frozen=True, kw_only=True):
    """What is run: ``twice`` of the first seeds run a second time and must do the same."""

    first: int = 0
    seeds: int = 2000
    twice: int = 0
    seconds: float = 0.0  # stop after this time; 0 = when all seeds are done
    providers: tuple[str, ...] = SHIPPED
    store: str = ""
    workers: int = 0  # processes; 0 = one per core


def chunk(seeds: Sequence[int], providers: tuple[str, ...], store: str, twice: int) -> Tally:
    """Run some seeds here. A seed below ``twice`` is run a second time."""
    cast, tally = cast_of(providers), Tally()
    for seed in seeds:
        began = time.process_time()
        run = simulate(seed, cast, store=store)
        same = seed >= twice or simulate(seed, cast, store=store).digest == run.digest
        took = time.process_time() - began
        tally.add(
            Tally(
                seeds=1,
                payments=sum(run.verdicts.statuses.values()),
                simulated_s=run.simulated_s,
                busy_s=took,
                sends=run.verdicts.sends,
                events=run.verdicts.events,
                statuses=run.verdicts.statuses,
                counts=dict(run.counts),
                broken=[Broken(seed, each.rule) for each in run.verdicts.violations[:1]],
                differed=[] if same else [seed],
            )
        )
    return tally


def run(plan: Plan, *, kept: Iterable[int] = (), on_progress: Callable[[Tally, float], None] | None = None) -> Tally:
    """``kept`` seeds first, whatever the plan says of time; then those of the plan. ``on_progress`` hears the tally so far
    and the share that is done. Interrupted with Ctrl-C it raises KeyboardInterrupt after its workers have ended."""
    total, began, first = Tally(), time.monotonic(), list(kept)
    chunks = _chunks([*first, *range(plan.first, plan.first + plan.seeds)])
    twice = plan.first + plan.twice
    jobs = ((seeds, plan.providers, plan.store, twice) for seeds in chunks)

    def more() -> bool:
        return not plan.seconds or time.monotonic() - began < plan.seconds or total.seeds < len(first)

    for tally in spread(chunk, jobs, plan.workers, more):
        total.add(tally)
        if on_progress:
            share = total.seeds / (plan.seeds + len(first))
            timed = (time.monotonic() - began) / plan.seconds if plan.seconds else 0.0
            on_progress(total, min(1.0, max(share, timed)))
    return total


def spread(
    do: Callable[..., T], jobs: Iterable[tuple[Any, ...]], workers: int = 0, more: Callable[[], bool] = lambda: True
) -> Iterator[T]:
    """The results of ``do(*job)`` as they come, from so many processes (0: one per core). No new job begins when ``more``
    says no. When it is left early, what runs is finished and the rest is dropped."""
    count, waiting = workers or os.cpu_count() or 1, iter(jobs)
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        running: set[Future[T]] = set()
        try:
            while True:
                if more():
                    running |= {pool.submit(do, *job) for job in islice(waiting, count * 2 - len(running))}
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for each in done:
                    yield each.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class PointTally(Struct, kw_only=True):
    """What crash points came to. ``broken`` are lines that ``payonce simulate --case`` takes."""

    cases: int = 0
    reached: dict[str, int] = {}  # "crash_after at commit" -> cases
    broken: list[str] = []

    def add(self, other: "PointTally") -> None:
        self.cases += other.cases
        self.reached = dict(Counter(self.reached) + Counter(other.reached))
        self.broken = [*self.broken, *other.broken][:BROKEN_MAX]


def point_share(scenario: str, part: int, of: int, *, two: bool = False, words: Sequence[str] = points.WORDS) -> PointTally:
    """Every single (or pair) of a scenario, or a share of them."""
    story, tally = SCENARIOS[scenario], PointTally()
    cases = points.pairs(story, part, of) if two else islice(points.singles((story,), words), part, None, of)
    for case in cases:
        outcome = points.run(case)
        words = [f"{word} at {point}" for point, word in outcome.hits[-1:]]
        tally.add(PointTally(cases=1, reached=dict(Counter(words)), broken=[str(case)] if outcome.violations else []))
    return tally


def crash_points(scenarios: Iterable[str], *, workers: int = 0) -> PointTally:
    """Every call of every port in these scenarios x six faults, one at a time."""
    total = PointTally()
    jobs = [(name, part, SHARES) for name in scenarios for part in range(SHARES)]
    for tally in spread(point_share, jobs, workers):
        total.add(tally)
    return total


def _chunks(seeds: list[int]) -> Iterator[list[int]]:
    for at in range(0, len(seeds), CHUNK):
        yield seeds[at : at + CHUNK]


def read_seeds(path: Path) -> dict[int, str]:
    """Seeds that failed once, with the cause: lines of ``seed cause``; ``#`` begins a comment."""
    rows = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {int(row.split()[0]): row.partition(" ")[2].strip() for row in rows if row}


def save(path: Path, tally: Tally) -> None:
    """Whole or not at all."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(tally))
    fresh.replace(path)


def saved(path: Path) -> Tally:
    """What a campaign had come to; an empty one when there is no file."""
    return msgspec.json.decode(path.read_bytes(), type=Tally) if path.exists() else Tally()
