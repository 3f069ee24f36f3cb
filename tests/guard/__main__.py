"""``python -m tests.guard``: count the hot paths and compare them with the baseline."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from . import counts, instructions
from .baseline import PYTHON, Judged, judge_counts, judge_instructions, read, renewed, told, write

ROOT: Final = Path(__file__).resolve().parents[2]
RELEASES: Final = ROOT / "benchmarks" / "releases.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """0: as the baseline has it, or less. 1: more, or it could not be counted."""
    parser = argparse.ArgumentParser(prog="python -m tests.guard", description="Count what the hot paths cost.")
    parser.add_argument("--instructions", action="store_true", help="machine instructions too, with valgrind (half a minute)")
    parser.add_argument("--write", action="store_true", help="renew the baseline, instructions too where valgrind is")
    parser.add_argument("--release", metavar="NAME", help="put the figures into benchmarks/releases.json under this name")
    parser.add_argument("--source", metavar="FOLDER", help="with --release: another src folder to count")
    wish = parser.parse_args(arguments)
    env = {"PYTHONPATH": str(Path(wish.source).resolve())} if wish.source else None
    why_not = instructions.possible()
    wanted = wish.instructions or wish.write or bool(wish.release)
    try:
        calls = counts.counted_apart(env)
        found = instructions.counted(env) if wanted and not why_not else None
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        print(f"guard: {error}", file=sys.stderr)
        return 1
    rounds = None if found is None else instructions.in_rounds(found)
    if wanted and why_not:
        print(f"guard: {why_not}, so no instructions are counted; calls and statements are.")
    print(table(calls, found))
    if wish.release:
        _record(wish.release, calls, found)
        return 0
    baseline = read()
    if wish.write:
        write(renewed(baseline, calls, rounds))
        print("The baseline is renewed.")
        return 0
    judged = judge_counts(calls, baseline) + (judge_instructions(rounds, baseline) if rounds is not None else Judged())
    print(told(judged, baseline) or "guard: as the baseline has it.")
    return 1 if judged.worse else 0


def table(calls: counts.Counts, found: instructions.Instructions | None) -> str:
    """One row for each operation."""
    names = list(next(iter(calls.values())))
    rows = [
        f"{'each time':10}" + "".join(f"{name:>14}" for name in (*names, *(("instructions", "in rounds") if found else ())))
    ]
    for operation, of in calls.items():
        cells = [f"{of[name]:14,.1f}" for name in names]
        if found:
            cells += [f"{found[operation]:14,.0f}", f"{found[operation] / found[instructions.CALIBRATION]:14.2f}"]
        rows.append(f"{operation:10}" + "".join(cells))
    return "\n".join(rows)


def _record(name: str, calls: counts.Counts, found: instructions.Instructions | None) -> None:
    """The note of one release; one of the same name is replaced."""
    known = msgspec.json.decode(RELEASES.read_bytes()) if RELEASES.exists() else {"releases": []}
    entry: dict[str, object] = {
        "release": name,
        "python": PYTHON,
        "counts": calls,
        "instructions": None if found is None else {k: round(n) for k, n in found.items()},
    }
    known["releases"] = [each for each in known["releases"] if each["release"] != name] + [entry]
    RELEASES.write_bytes(msgspec.json.format(msgspec.json.encode(known), indent=2) + b"\n")
    print(f"{name} is in {RELEASES.relative_to(ROOT)}.")


if __name__ == "__main__":
    sys.exit(main())
