"""``python -m tests.fuzz [TARGET ...] [--minutes N] [--seed N]``: fuzz for as long as it is told; all targets in turn. What
fails is kept in build/fuzz/TARGET, with its error beside it, and is tried first the next time. Exit
code 1 when anything failed."""

import argparse
import hashlib
import sys
import time
import traceback
from pathlib import Path
from random import Random

from . import TARGETS
from .mutating import spoilt
from .target import Target

KEPT = Path("build") / "fuzz"
TURN_S = 5.0  # of one target, before the next one has its turn
SLOW_S = 5.0  # no input of this size takes so long
GROWN_MAX = 400  # spoilt inputs that are spoilt further


def main() -> int:
    """Run; see the module docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None)
    said = parser.parse_args()
    if unknown := set(said.targets) - set(TARGETS):
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    seed = said.seed if said.seed is not None else time.time_ns() % 2**32
    chosen = [TARGETS[name] for name in said.targets or TARGETS]
    print(f"seed {seed}, {len(chosen)} targets, {said.minutes:g} minutes", flush=True)
    failed = sum(kept(target) for target in chosen)
    end, dice = time.monotonic() + 60 * said.minutes, Random(seed)
    tried = dict.fromkeys((t.name for t in chosen), 0)
    while time.monotonic() < end:
        for target in chosen:
            turn = min(end, time.monotonic() + max(0.2, min(TURN_S, 60 * said.minutes / len(chosen))))
            done, broken = fuzz(target, dice, turn)
            tried[target.name] += done
            failed += broken
    for name, count in tried.items():
        print(f"{name:<20} {count} inputs")
    print(f"{failed} failed" + (f", see {KEPT}" if failed else ""))
    return 1 if failed else 0


def kept(target: Target) -> int:
    """How many of the inputs that failed once still do."""
    found = sorted((KEPT / target.name).glob("*.bin"))
    return sum(not passes(target, file.read_bytes()) for file in found)


def fuzz(target: Target, dice: Random, end: float) -> tuple[int, int]:
    """(inputs tried, inputs failed) until a time. What was spoilt and passed may be spoilt further."""
    corpus, count, failed = target.corpus(), 0, 0
    grown = list(corpus)
    while time.monotonic() < end:
        data = spoilt(dice.choice(grown if dice.random() < 0.5 else corpus), dice, corpus)
        count += 1
        failed += not passes(target, data)
        if len(grown) < GROWN_MAX and len(data) < 20_000:
            grown.append(data)
    return count, failed


def passes(target: Target, data: bytes) -> bool:
    """Whether all holds; what fails is kept."""
    began = time.monotonic()
    try:
        target.run(data)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        said, short = "".join(traceback.format_exception(error)), f"{type(error).__name__}: {str(error)[:200]}"
    else:
        took = time.monotonic() - began
        if took < SLOW_S:
            return True
        said = short = f"it took {took:.1f} s"
    folder = KEPT / target.name
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(data).hexdigest()[:12]
    (folder / f"{name}.bin").write_bytes(data)
    (folder / f"{name}.txt").write_text(said, encoding="utf-8")
    print(f"{target.name}: {short} ({name})", flush=True)
    return False


sys.exit(main())
