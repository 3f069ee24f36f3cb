"""``make sim-long``: all of the proof, for hours if need be. Each part is kept as it goes in ``.sim-long``, so that an
interrupted run goes on where it stopped; ``--fresh`` begins anew.

    python -m tests.simulation.long                      everything
    python -m tests.simulation.long --only seeds,points --seeds 20000
    python -m tests.simulation.long --write              docs/proof.md from what is kept, and the verdict

It fails when a rule was broken, a mutant lives, or something that should have happened never did."""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from payonce.testing import powerloss
from payonce.testing.search import DEEP, PROFILES, search
from payonce.testing.simulator import campaign, catalogue, points
from payonce.testing.simulator.campaign import Plan, PointTally, Tally
from payonce.testing.simulator.scenarios import SCENARIOS
from payonce.testing.torture import TortureOptions, torture

from . import hunt, proof
from .mutants import MUTANTS

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ROOT / ".sim-long"
SEEDS_TXT: Final = Path(__file__).with_name("seeds.txt")
SURVIVORS: Final = Path(__file__).with_name("survivors.txt")
HELD: Final = "broken once in this run, and held after a fix"
TRAILS: Final[tuple[hunt.Trail, ...]] = ("seeds", "points", "tests")
STEP: Final = 4000  # seeds between two writes of the tally
PAIR_PARTS: Final = 40  # shares of the pairs of one scenario
PARTS: Final = ("seeds", "points", "pairs", "mutants", "search", "power", "torture")
Say = Callable[[str], None]


class Asked(Struct, frozen=True, kw_only=True):
    """How much of everything."""

    seeds: int = 100_000
    pairs: int = PAIR_PARTS  # of so many shares of the pairs of each scenario
    hunted: int = 3_000  # seeds against each mutant
    cuts: int = 5_000
    payments: int = 3_000
    kills: int = 300
    workers: int = 0


class Bar:
    """Progress and the time left, where somebody looks; a line every minute where nobody does."""

    def __init__(self, part: str) -> None:
        self.part, self.began, self.shown = part, time.monotonic(), 0.0

    def __call__(self, share: float, says: str) -> None:
        now, seen = time.monotonic(), sys.stderr.isatty()
        if share < 1 and now - self.shown < (0.5 if seen else 60):
            return
        self.shown = now
        left = (now - self.began) * (1 - share) / share if share else 0
        text = f"{self.part:<8} {share:6.1%}  {says}, {left / 60:.0f} min left"
        sys.stderr.write(f"\r{text}\x1b[K" + ("\n" if share >= 1 else "") if seen else text + "\n")
        sys.stderr.flush()


def seeds(asked: Asked) -> Tally:
    """From where the tally stands to the end; the seeds that failed once come first of all."""
    kept, bar = KEPT / "seeds.json", Bar("seeds")
    tally = campaign.saved(kept)
    if again := [each.seed for each in tally.broken]:  # by the code of before: what holds now is told apart
        broken = {each.seed: each for each in campaign.run(Plan(seeds=0, workers=asked.workers), kept=again).broken}
        tally.broken = list(broken.values())
        tally.counts[HELD] = tally.counts.get(HELD, 0) + len(again) - len(broken)
    first = list(campaign.read_seeds(SEEDS_TXT)) if not tally.seeds else []
    done = max(0, tally.seeds - len(campaign.read_seeds(SEEDS_TXT)))
    while done < asked.seeds:
        plan = Plan(first=done, seeds=min(STEP, asked.seeds - done), twice=20, workers=asked.workers)
        tally.add(campaign.run(plan, kept=first))
        first, done = [], done + plan.seeds
        bar(done / asked.seeds, told(tally))
        campaign.save(kept, tally)
    return tally


def told(tally: Tally) -> str:
    return f"{tally.payments:,} payments" + (f", {len(tally.broken)} BROKEN" if tally.broken else "")


def crash_points(asked: Asked, *, two: bool) -> PointTally:
    """Every single of every scenario with every word, or a share of the pairs. One file per job that is done."""
    folder, bar = KEPT / ("pairs" if two else "points"), Bar("pairs" if two else "points")
    folder.mkdir(parents=True, exist_ok=True)
    parts = PAIR_PARTS if two else campaign.SHARES
    jobs = [(name, part, parts, two) for part in range(parts if not two else asked.pairs) for name in SCENARIOS]
    total = PointTally()
    for path in folder.glob("*.json"):
        total.add(msgspec.json.decode(path.read_bytes(), type=PointTally))
    left = [job for job in jobs if not (folder / f"{job[0]}-{job[1]}.json").exists()]
    done = len(jobs) - len(left)
    for name, part, tally in campaign.spread(one_share, left, asked.workers):
        (folder / f"{name}-{part}.json").write_bytes(msgspec.json.encode(tally))
        total.add(tally)
        done += 1
        bar(done / len(jobs), f"{total.cases:,} cases" + (f", {len(total.broken)} BROKEN" if total.broken else ""))
    return total


def one_share(name: str, part: int, of: int, two: bool) -> tuple[str, int, PointTally]:
    words = points.WORDS if two else (*points.WORDS, *points.FURTHER)
    return name, part, campaign.point_share(name, part, of, two=two, words=words)


def mutants(asked: Asked) -> Mapping[str, hunt.Hunt]:
    """Each until it is dead: by seeds, then by crash points, then by the tests of its room."""
    bar, known = Bar("mutants"), dict(hunt.recorded())
    for trail in TRAILS:
        wanted = {n: h for n in MUTANTS if (h := _hunting(known.get(n), trail, asked.hunted)) is not None}
        for n, found in enumerate(hunt.hunt_many(wanted, jobs=asked.workers or 2), 1):
            if trail == "seeds" or found.killed_by != hunt.ALIVE:  # how many seeds it survived stays on record
                known[found.mutant] = found
            hunt.record(known)
            bar(n / len(wanted), f"by {trail}, {found.mutant}: {found.killed_by}")
    return known


def _hunting(known: hunt.Hunt | None, trail: hunt.Trail, most: int) -> hunt.Hunting | None:
    """From the first seed that was not tried yet; None when it is dead, or has survived as many."""
    if known is not None and known.killed_by != hunt.ALIVE:
        return None
    first = known.needed if known is not None and trail == "seeds" else 0
    return hunt.Hunting(range(first, most), 600, 100, trail) if first < most else None


def state_search() -> list[dict[str, Any]]:
    """Every pair of kinds with the bounds of ``make sim``, and with larger ones. Takes up to 2 GB of memory."""
    bar, found = Bar("search"), []
    everything = (*PROFILES, *DEEP)
    for n, (kinds, bounds) in enumerate(everything, 1):
        report = search(kinds, bounds)
        found.append({"line": report.line(), "states": report.states, "moves": report.moves, "exhausted": report.exhausted})
        bar(n / len(everything), report.line()[:80])
    return found


def power(asked: Asked) -> powerloss.PowerReport:
    bar = Bar("power")
    return powerloss.run(cuts=asked.cuts, seed=2026, progress=lambda done: bar(done / asked.cuts, f"{done:,} power cuts"))


def real_crashes(asked: Asked) -> Any:
    options = TortureOptions(seed=2026, payments=asked.payments, kills=asked.kills)
    with ThreadPoolExecutor(1) as thread:  # its own event loop, away from whatever else runs here
        return thread.submit(lambda: asyncio.run(torture(options, print))).result()


def keep_form(value: Any) -> Any:
    """As it is read back from the file."""
    return msgspec.json.decode(msgspec.json.encode(value))


def keep(name: str, value: Any) -> None:
    (KEPT / f"{name}.done.json").write_bytes(msgspec.json.encode(value))


def run(asked: Asked, only: tuple[str, ...]) -> None:
    """The parts that are asked for and not done yet, one after the other."""
    do: Mapping[str, Callable[[], Any]] = {
        "seeds": lambda: seeds(asked),
        "points": lambda: crash_points(asked, two=False),
        "pairs": lambda: crash_points(asked, two=True),
        "mutants": lambda: {name: list(found) for name, found in mutants(asked).items()},
        "search": state_search,
        "power": lambda: power(asked),
        "torture": lambda: real_crashes(asked),
    }
    for name in only:
        if (KEPT / f"{name}.done.json").exists():
            continue
        began = time.monotonic()
        value = do[name]()
        keep(name, value)
        (KEPT / f"{name}.seconds").write_text(f"{time.monotonic() - began:.0f}", encoding="utf-8")
        sys.stderr.write(f"{name} done in {time.monotonic() - began:.0f} s\n")


def done() -> dict[str, Any]:
    """What is kept, by part."""
    found = {}
    for name in PARTS:
        path = KEPT / f"{name}.done.json"
        if path.exists():
            found[name] = msgspec.json.decode(path.read_bytes())
    return found


def wrong(found: Mapping[str, Any]) -> Iterator[str]:
    """Everything that makes the long run fail."""
    if "seeds" in found:
        tally = msgspec.convert(found["seeds"], Tally)
        yield from (f"payonce simulate --seed {each.seed}: {each.rule}" for each in tally.broken)
        yield from (f"seed {each} did something else the second time" for each in tally.differed)
        yield from (f"never happened: {each}" for each in catalogue.never(tally.counts))
    for name in ("points", "pairs"):
        yield from (f'payonce simulate --case "{each}"' for each in found.get(name, {}).get("broken", ()))
    lives = (n for n, h in found.get("mutants", {}).items() if h[1] == hunt.ALIVE and n not in survivors())
    yield from (f"the mutant {n} lives" for n in lives)
    yield from (each["line"] for each in found.get("search", ()) if not each["exhausted"])
    yield from found.get("power", {}).get("violations", ())
    yield from (str(each) for each in found.get("torture", {}).get("violations", ()))


def survivors() -> set[str]:
    """Planted bugs that are known to live, with the reason in the file. The list may only get shorter."""
    rows = (line.split("#")[0].split() for line in SURVIVORS.read_text(encoding="utf-8").splitlines())
    return {row[0] for row in rows if row}


def commit() -> str:
    said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description="The long proof.")
    for name, default in msgspec.to_builtins(Asked()).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--fresh", action="store_true", help="forget what is kept")
    parser.add_argument("--write", action="store_true", help="write docs/proof.md from what is kept")
    given = vars(parser.parse_args())
    only = tuple(given.pop("only").split(","))
    if unknown := set(only) - set(PARTS):
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    fresh, write = given.pop("fresh"), given.pop("write")
    if fresh and KEPT.exists():
        subprocess.run(["rm", "-rf", str(KEPT)], check=True)
    KEPT.mkdir(exist_ok=True)
    if not write:
        (KEPT / "commit").write_text(commit(), encoding="utf-8")
        run(Asked(**given), only)
    found = done()
    if write:
        at = (KEPT / "commit").read_text(encoding="utf-8") if (KEPT / "commit").exists() else commit()
        (ROOT / "docs" / "proof.md").write_text(proof.page(found, at), encoding="utf-8")
    failures = list(wrong(found))
    for each in failures:
        sys.stderr.write(f"FAILED  {each}\n")
    sys.stderr.write(f"{len(found)} of {len(PARTS)} parts done, {len(failures)} failures\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
