"""``payonce simulate``: the proof, run by anyone: one seed, many seeds, every crash point, a textbook loop beside payonce."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from payonce.core.errors import ConfigError
from payonce.testing.simulator import SHIPPED, Run, campaign, cast_of, comparison, elapsed, points
from payonce.testing.simulator import simulate as one_world
from payonce.testing.simulator.campaign import Plan, Tally

from . import FAILURE, OK, USAGE
from .options import Exit, Json
from .output import counted, is_terminal, paint, put, put_json, say

BAR = 24
MANY = 200
COMPARED = 120  # worlds of --naive, unless --seeds names another number


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Worlds:
    """Which worlds."""

    first: Annotated[int, Parameter(help="The first of many seeds.")] = 0
    seeds: Annotated[int | None, Parameter(help="How many seeds (default 200, with --naive 120).")] = None
    seconds: Annotated[float, Parameter(help="Stop after this time, whatever is left.")] = 0.0
    provider: Annotated[
        list[str] | None,
        Parameter(help="An installed adapter, or a module with ADAPTER and SIMULATOR, instead of payonce's; repeatable."),
    ] = None
    store: Annotated[Literal["", "memory", "sqlite", "dynamodb"], Parameter(help="In all (default: mostly memory).")] = ""
    kept: Annotated[Path | None, Parameter(help="A file of seeds that failed once: they run first.")] = None
    twice: Annotated[int, Parameter(help="So many seeds run a second time and must do the same, step by step.")] = 0
    workers: Annotated[int, Parameter(help="Processes (default: one per core).")] = 0


ALL = Worlds()


def simulate(
    *,
    seed: int | None = None,
    trace: bool = False,
    naive: bool = False,
    points: bool = False,
    case: str = "",
    worlds: Worlds = ALL,
    json: Json = False,
) -> int:
    """Run payonce in simulated worlds where everything goes wrong; exit code 1 when a rule was broken.

    The real engine, worker, adapters and sandbox on a virtual clock: crashes, lost and late messages, lies, wrong clocks,
    stalls of days. The judge is the ledger of the simulated providers. The same seed is the same world.

        payonce simulate --seeds 500
        payonce simulate --seed 4711 --trace
        payonce simulate --naive
        payonce simulate --provider my_package.provider --seeds 500

    Parameters
    ----------
    seed
        One world; a broken rule prints its timeline.
    trace
        Print the timeline in any case; with --naive that of a payment which the loop got wrong.
    naive
        A textbook retry loop beside payonce, and what each charges twice, loses or gets wrong.
    points
        After the seeds: every call of every port fails in every way, one at a time.
    case
        One of these cases again, as it was printed.
    json
        One JSON document.
    """
    w, names = worlds, tuple(worlds.provider or SHIPPED)
    _require(names)
    if seed is not None:
        return _one(one_world(seed, cast_of(names), keep=True, store=w.store), trace=trace, as_json=json)
    if case:
        return _case(case, as_json=json)
    if naive:
        return _naive(range(w.first, w.first + (w.seeds or COMPARED)), told=trace, as_json=json)
    plan = Plan(
        first=w.first,
        seeds=w.seeds or MANY,
        seconds=w.seconds,
        twice=w.twice,
        providers=names,
        store=w.store,
        workers=w.workers,
    )
    tally = campaign.run(plan, kept=_kept(w.kept), on_progress=Progress("seeds"))
    code = _many(tally, names, as_json=json)
    return max(code, _points(w.workers) if points else OK)


def _require(names: tuple[str, ...]) -> None:
    """Before any work begins."""
    try:
        cast_of(names)
    except ConfigError as error:
        raise Exit(USAGE, str(error)) from None


def _kept(path: Path | None) -> list[int]:
    """The seeds of a file, in its order."""
    try:
        return list(campaign.read_seeds(path)) if path else []
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "each line begins with the number of a seed"
        raise Exit(USAGE, f"--kept: cannot read {path}: {why}. Nothing was simulated.") from None


# --- one world ------------------------------------------------------------------------------------------------------------


def _one(run: Run, *, trace: bool, as_json: bool) -> int:
    broken = run.verdicts.violations
    if as_json:
        put_json({"options": run.options, "verdicts": run.verdicts, "digest": run.digest, "counts": run.counts})
        return FAILURE if broken else OK
    put(run.options.said())
    if broken or trace:
        for line in run.timeline() if broken else run.trace.timeline():
            put(line)
    statuses = ", ".join(f"{n} {status}" for status, n in sorted(run.verdicts.statuses.items()))
    put(f"\n{elapsed(round(run.simulated_s * 1e6))} simulated, {run.verdicts.sends} sends: {statuses or 'no payment'}")
    put(f"trace {run.digest}")
    for each in broken:
        put(paint(f"BROKEN  {each.rule}" + (f"  ({each.payment})" if each.payment else ""), "red"))
    return FAILURE if broken else OK


def _case(text: str, *, as_json: bool) -> int:
    try:
        case = points.Case.parse(text)
    except ValueError as error:
        raise Exit(USAGE, f"--case: {error}") from None
    outcome = points.run(case)
    if as_json:
        put_json(outcome)
    else:
        for line in points.timeline(case):
            put(line)
        for each in outcome.violations:
            put(paint(f"BROKEN  {each.rule}", "red"))
    return FAILURE if outcome.violations else OK


# --- many worlds ----------------------------------------------------------------------------------------------------------


class Progress:
    """A bar on standard error, when somebody looks at it."""

    def __init__(self, what: str) -> None:
        self.what, self.began, self.shown = what, time.monotonic(), 0.0

    def __call__(self, tally: Tally, share: float) -> None:
        now = time.monotonic()
        if not is_terminal(err=True) or (now - self.shown < 0.2 and share < 1):
            return
        self.shown = now
        left = (now - self.began) * (1 - share) / share if share else 0.0
        bar = ("#" * round(BAR * share)).ljust(BAR, ".")
        bad = f", {len(tally.broken)} BROKEN" if tally.broken else ""
        sys.stderr.write(f"\r{bar} {tally.seeds:,} {self.what}, {tally.payments:,} payments{bad}, {left:.0f} s left \x1b[K")
        sys.stderr.write("\n" if share >= 1 else "")
        sys.stderr.flush()


def _many(tally: Tally, names: Sequence[str], *, as_json: bool) -> int:
    if as_json:
        put_json(tally)
        return OK if tally.clean else FAILURE
    statuses = ", ".join(f"{n:,} {status}" for status, n in sorted(tally.statuses.items()))
    put(f"{counted(tally.seeds, 'world')}, {tally.payments:,} payments over {', '.join(names)}: {statuses}")
    put(f"{tally.simulated_s / 3600:,.0f} simulated hours, {tally.sends:,} sends, {sum(_faults(tally)):,} faults of calls")
    put(f"{tally.per_core_second():.0f} payments per second of one core")
    more = "" if tuple(names) == SHIPPED else "".join(f" --provider {name}" for name in names)
    for each in tally.broken:
        put(paint(f"BROKEN  payonce simulate --seed {each.seed}{more}   {each.rule[:160]}", "red"))
    for seed in tally.differed:
        put(paint(f"BROKEN  seed {seed} did something else the second time", "red"))
    if tally.clean:
        put(paint("No rule was broken: nothing charged twice, nothing lost.", "green"))
    return OK if tally.clean else FAILURE


def _faults(tally: Tally) -> list[int]:
    return [n for name, n in tally.counts.items() if " at " in name]


def _points(workers: int) -> int:
    began, stories = time.monotonic(), [each.name for each in points.fast()]
    tally = campaign.crash_points(stories, workers=workers)
    put(f"{tally.cases:,} crash points in {time.monotonic() - began:.0f} s: every call of {len(stories)} stories x 6 faults")
    for line in tally.broken:
        put(paint(f'BROKEN  payonce simulate --case "{line}"', "red"))
    return FAILURE if tally.broken else OK


def _naive(seeds: range, *, told: bool, as_json: bool) -> int:
    """Beside each other. Not a benchmark of the field: these worlds are as bad as a seed can make them."""
    bar = Progress("worlds")
    found = comparison.compare(seeds, cast_of(), told=lambda done: bar(Tally(seeds=done), done / len(seeds)))
    if as_json:
        put_json(found)
        return OK
    put(comparison.table(found))
    worst = next((n for kind in comparison.MISTAKES for n in found.naive.seeds.get(kind, ())), None)
    if worst is not None and told:
        put(f"\nOne of them, in the naive loop's world {worst}:\n")
        for line in comparison.story(worst, cast_of()):
            put(line)
    say("The same worlds, the same faults, the same judge: the ledger of the providers. Worlds as bad as a seed can make them.")
    return OK
