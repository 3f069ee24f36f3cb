"""The hunt for mutants: random worlds over a mutated payonce until one of them violates something; what survives those
meets the crash points, every call of the small scenarios made to fail in every way; and then the other tests of its room.

    python -m tests.simulation.hunt --seeds 300 --record        every mutant; mutants.txt is written as they end
    python -m tests.simulation.hunt --survivors --seeds 3000 --record    only those alive so far, from where they were left
    python -m tests.simulation.hunt --points --record           those alive so far against the crash points
    python -m tests.simulation.hunt --tests --record            those alive so far against the tests of their room
    python -m tests.simulation.hunt no_fence --seeds 100        one of them

mutants.txt has a line for each: its name, what killed it (or "alive"), and after how many seeds, or cases. A world that
cannot reach the mutated code (no account of that adapter, another store) is counted, but not lived."""

import argparse
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Final, Literal, NamedTuple

import pytest

from payonce.testing.simulator import SHIPPED, Cast, Options, cast_of, draw, points
from payonce.testing.simulator.scenarios import SCENARIOS
from payonce.testing.simulator.world import live

from .mutants import MUTANTS
from .mutation import Mutant, applied

RECORD = Path(__file__).with_name("mutants.txt")
ALIVE = "alive"
MACHINE = "machine/test_interleavings.py machine/test_interleavings_workers.py machine/test_interleavings_accounts.py"
DECIDED = f"{MACHINE} machine/test_plan.py machine/test_verdict.py machine/test_given_back.py machine/test_restore.py"
# room -> the tests beside the simulator that know it, the quick ones first
TESTS: Final[Mapping[str, str]] = {
    "core": f"core/test_retry.py core/test_breaker.py {DECIDED}",
    "engine": f"machine/test_engine_verbs.py {DECIDED} api",
    "dispatch": f"machine/test_dispatch.py test_engine_providers.py {DECIDED}",
    "adapter": "providers contracts/test_provider_contract.py",
    "store": "contracts/test_store_contract.py simulation/test_powerloss.py contracts/test_dynamodb_contract.py stores",
    "health": f"test_health.py test_health_drains.py {MACHINE}",
    "restore": DECIDED,
    "worker": "test_process.py test_embedded.py",
    "transport": "test_transport.py",
    "inbox": "test_inbox.py contracts/test_inbox_contract.py api",
    "outbound": "outbound",
}


Trail = Literal["seeds", "points", "tests"]


class Hunt(NamedTuple):
    """``killed_by`` is "seed 17", the line of a crash point, the name of a test, or "alive". ``needed`` counts the seeds from
    0, or the cases, or the tests."""

    mutant: str
    killed_by: str
    needed: int
    violation: str = ""

    @property
    def seed(self) -> int | None:
        """The seed that killed it, if one did."""
        word, _, number = self.killed_by.partition(" ")
        return int(number) if word == "seed" else None


class Hunting(NamedTuple):
    """How far a hunt goes. ``payments_max`` leaves out the large worlds."""

    seeds: range = range(300)
    seconds: float = 600.0
    payments_max: int = 100
    trail: Trail = "seeds"


@cache
def cast() -> Cast:
    return cast_of()


def drawn(mutant: Mutant, seed: int) -> Options:
    """The world of a seed; over SQLite or DynamoDB, whatever the seed says, where the mutant is in that store."""
    store = next((each for each in ("sqlite", "dynamodb") if _in(mutant, f"stores.{each}")), "")
    return draw(seed, SHIPPED, store)


def lived(options: Options) -> str:
    """The first violation of a world; "" when it is clean. An exception is a violation, too."""
    try:
        _, verdicts = live(options, cast())
    except Exception as error:  # noqa: BLE001 - whatever it is, somebody saw it
        return f"{type(error).__name__}: {error}"
    return verdicts.violations[0].rule if verdicts.violations else ""


def reaches(mutant: Mutant, options: Options) -> bool:
    """Whether the mutated code can run in this world."""
    if _in(mutant, "stores.memory"):
        return options.store == "memory"
    if _in(mutant, "providers"):
        return any(_in(mutant, f"providers.{adapter}") for _, adapter in options.accounts)
    if _in(mutant, "outbound"):
        return options.endpoints > 0
    return options.restores or not _in(mutant, "restore")


def _in(mutant: Mutant, room: str) -> bool:
    module = mutant.edits[0].at.partition(":")[0]
    return f"{module}.".startswith(f"payonce.{room}.")


def hunt(mutant: Mutant, hunting: Hunting) -> Hunt:
    """Until a world shows the mutant, or the seeds or seconds are used up. Raises AssertionError when that world is not
    clean without the mutant."""
    trail = {"seeds": _by_seeds, "points": _by_points, "tests": _by_tests}[hunting.trail]
    until, needed = time.monotonic() + hunting.seconds, 0
    with applied(mutant):
        found = Hunt(mutant.name, ALIVE, hunting.seeds.stop)
        for needed, killer, violation in trail(mutant, hunting):
            if "NameError" in violation:
                raise AssertionError(f"{mutant.name} uses a name that its module has not: {violation}")
            if violation:
                found = Hunt(mutant.name, killer, needed, violation)
                break
            if time.monotonic() > until:
                found = Hunt(mutant.name, ALIVE, needed)
                break
    if found.seed is not None and (innocent := lived(drawn(mutant, found.seed))):
        raise AssertionError(f"{found.killed_by} violates without {mutant.name}, too: {innocent}")
    return found


def _by_seeds(mutant: Mutant, hunting: Hunting) -> Iterator[tuple[int, str, str]]:
    for seed in hunting.seeds:
        options = drawn(mutant, seed)
        wanted = options.payments <= hunting.payments_max and reaches(mutant, options)
        yield seed + 1, f"seed {seed}", lived(options) if wanted else ""


def _by_points(mutant: Mutant, hunting: Hunting) -> Iterator[tuple[int, str, str]]:
    points.known.cache_clear()
    cases: Iterable[points.Case] = chain((points.Case(name) for name in SCENARIOS), points.singles())
    try:
        for count, case in enumerate(cases, 1):
            try:
                broken = points.run(case).violations
            except Exception as error:  # noqa: BLE001 - as above
                yield count, str(case), f"{type(error).__name__}: {error}"
                return
            yield count, str(case), broken[0].rule if broken else ""
    finally:
        points.known.cache_clear()


class _First:
    """A plugin of pytest: counts tests and keeps the first that fails."""

    count, failed, why = 0, "", ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.count += report.when == "call"
        if report.failed and not self.failed:
            self.failed, self.why = report.nodeid, str(report.longrepr).strip().splitlines()[-1]


def _by_tests(mutant: Mutant, hunting: Hunting) -> Iterator[tuple[int, str, str]]:
    """In this process, which is of no use for another hunt afterwards."""
    first = _First()
    places = [str(Path(__file__).parents[1] / place) for place in TESTS[mutant.room].split()]
    quiet = ["-q", "-x", "-n0", "-p", "no:cacheprovider", "--no-header", "--no-summary", "--assert=plain"]
    pytest.main([*quiet, "-W", "ignore::pytest.PytestAssertRewriteWarning", *places], plugins=[first])
    yield first.count, first.failed, first.why if first.failed else ""


def hunt_many(hunts: Mapping[str, Hunting], *, jobs: int) -> Iterator[Hunt]:
    """These mutants in so many processes, each as its hunt ends."""
    once = 1 if any(h.trail == "tests" for h in hunts.values()) else None
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_quiet, max_tasks_per_child=once) as pool:
        running = [pool.submit(_hunt_by_name, name, hunting) for name, hunting in hunts.items()]
        try:
            for each in as_completed(running):
                yield each.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _hunt_by_name(name: str, hunting: Hunting) -> Hunt:
    return hunt(MUTANTS[name], hunting)


def _quiet() -> None:
    logging.getLogger("payonce").setLevel(logging.CRITICAL + 1)


# --- the record -------------------------------------------------------------------------------------------------------


def recorded() -> dict[str, Hunt]:
    """What mutants.txt says, of the mutants that there are."""
    found = {}
    for line in RECORD.read_text(encoding="utf-8").splitlines() if RECORD.exists() else ():
        if line and not line.startswith("#"):
            name, killer, needed, violation = (part.strip() for part in line.split("|"))
            found[name] = Hunt(name, killer, int(needed), violation)
    return {name: found[name] for name in MUTANTS if name in found}


def record(hunts: Mapping[str, Hunt]) -> None:
    """Write mutants.txt; the remarks at its head stay."""
    lines = [line for line in RECORD.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    for name in MUTANTS:
        if (h := hunts.get(name)) is not None:
            violation = " ".join(h.violation.replace("|", "/").split())[:80]
            lines.append(f"{name:<40} | {h.killed_by:<10} | {h.needed:>5} | {violation}".rstrip())
    RECORD.write_text("\n".join(lines) + "\n", encoding="utf-8")


def summary(hunts: Mapping[str, Hunt]) -> str:
    """How many are dead, by what, and who lives."""
    by_seed = [h.needed for h in hunts.values() if h.seed is not None]
    alive = [name for name in MUTANTS if name not in hunts or hunts[name].killed_by == ALIVE]
    return (
        f"{len(MUTANTS)} mutants: {len(by_seed)} killed by seeds, the median after {median(by_seed or [0]):g}; "
        f"{len(MUTANTS) - len(by_seed) - len(alive)} by crash points and tests; alive: {', '.join(alive) or 'none'}"
    )


def _chosen(asked: argparse.Namespace, known: Mapping[str, Hunt]) -> dict[str, Hunting]:
    names: Sequence[str] = asked.names or list(MUTANTS)
    if asked.survivors or asked.trail != "seeds":
        names = [n for n in names if n not in known or known[n].killed_by == ALIVE]
    first = {n: known[n].needed if asked.survivors and n in known else 0 for n in names}
    return {
        n: Hunting(range(first[n], asked.seeds), asked.seconds, asked.payments_max, asked.trail)
        for n in names
        if asked.trail != "seeds" or first[n] < asked.seeds
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Hunt mutants of payonce with the simulator.")
    parser.add_argument("names", nargs="*", help="of mutants; all when none is named")
    parser.add_argument("--seeds", type=int, default=300, help="hunt each with seeds 0 to this")
    parser.add_argument("--seconds", type=float, default=600, help="at most so long for each")
    parser.add_argument("--payments-max", type=int, default=100, help="live only worlds of at most so many payments")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--survivors", action="store_true", help="only those alive so far, from where they were left")
    parser.set_defaults(trail="seeds")
    for trail, what in (("points", "crash points"), ("tests", "tests of their room")):
        parser.add_argument(f"--{trail}", dest="trail", action="store_const", const=trail, help=f"{what}, for those alive")
    parser.add_argument("--record", action="store_true", help="write mutants.txt")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in MUTANTS]:
        parser.error(f"there are no mutants {', '.join(unknown)}")
    known = recorded()
    for found in hunt_many(_chosen(asked, known), jobs=asked.jobs):
        if asked.trail == "seeds" or found.killed_by != ALIVE:  # how many seeds it survived stays on record
            known[found.mutant] = found
        room = MUTANTS[found.mutant].room
        print(f"{room:<9} {found.mutant:<40} {found.killed_by:<10} {found.needed:>5}  {found.violation[:90]}", flush=True)
        if asked.record:
            record(known)
    print(summary(known))


if __name__ == "__main__":
    main()
