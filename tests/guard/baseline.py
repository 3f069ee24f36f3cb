"""The committed figures, and what is said of new ones.

``baseline.json`` holds counts of calls and of instructions by the minor version of Python, because each compiles and calls in
its own way, and what SQLite does once for all: that depends on no Python. A version without figures of its own is compared in
the latter only, and it is said."""

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from .counts import Counts

PATH: Final = Path(__file__).with_name("baseline.json")
PYTHON: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"
# Counts are the same in every run. The margin is for small changes that are worth what they cost; more needs a new baseline,
# which shows in the commit.
COUNT_MARGIN: Final = 0.05
# Of instructions. Runs on a busy machine (load 15 on 2 cores) differed by 0.1 % in instructions and by 1.0 % in rounds: the
# calibrating workload depends a little on where memory comes to lie.
INSTRUCTION_MARGIN: Final = 0.03
CALLS: Final = ("python_calls", "c_calls")  # what depends on the version of Python
WATCHED: Final = ("apsw", "msgspec", "starlette", "structlog")  # libraries of the hot paths, for who wonders what changed
RENEW: Final = "python -m tests.guard --write"

Figures = dict[str, dict[str, float]]  # operation -> what -> how many


class Baseline(Struct, frozen=True, kw_only=True):
    """``calls`` and ``instructions`` by version of Python; instructions in rounds of the calibrating workload.
    ``libraries``: their versions when it was written."""

    work: Figures = {}
    calls: dict[str, Figures] = {}
    instructions: dict[str, dict[str, float]] = {}
    libraries: dict[str, str] = {}


class Judged(Struct, frozen=True):
    """``worse`` makes the guard fail; ``better`` asks for a lower baseline; ``skipped`` was not compared, and why."""

    worse: tuple[str, ...] = ()
    better: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def __add__(self, other: "Judged") -> "Judged":
        return Judged(self.worse + other.worse, self.better + other.better, self.skipped + other.skipped)


def read(path: Path = PATH) -> Baseline:
    """Raises msgspec.MsgspecError when it is none."""
    return msgspec.json.decode(path.read_bytes(), type=Baseline) if path.exists() else Baseline()


def write(baseline: Baseline, path: Path = PATH) -> None:
    """In a fixed order, so that a diff shows what changed."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(baseline, order="sorted"), indent=2) + b"\n")


def renewed(old: Baseline, counts: Counts, instructions: Mapping[str, float] | None, python: str = PYTHON) -> Baseline:
    """With new figures of one Python; None: instructions could not be counted, and stay. What another Python's figures were is
    no baseline any more once the code has other ones."""
    calls, work = split(counts)
    kept = {python: dict(instructions)} if instructions is not None else old.instructions
    return Baseline(work=work, calls={python: calls}, instructions=kept, libraries=libraries())


def split(counts: Counts) -> tuple[Figures, Figures]:
    """What depends on the version of Python, and what does not."""
    calls = {name: {k: n for k, n in found.items() if k in CALLS} for name, found in counts.items()}
    return calls, {name: {k: n for k, n in found.items() if k not in CALLS} for name, found in counts.items()}


def libraries() -> dict[str, str]:
    """As installed."""
    return {name: version(name) for name in WATCHED}


def judge_counts(counts: Counts, baseline: Baseline, python: str = PYTHON) -> Judged:
    """Of `make test`."""
    calls, work = split(counts)
    judged = _compared(work, baseline.work, COUNT_MARGIN)
    if python not in baseline.calls:
        known = ", ".join(baseline.calls) or "none"
        return judged + Judged(skipped=(f"calls: no figures of Python {python} ({known}); what SQLite does was compared",))
    return judged + _compared(calls, baseline.calls[python], COUNT_MARGIN)


def judge_instructions(found: Mapping[str, float], baseline: Baseline, python: str = PYTHON) -> Judged:
    """Of `make guard`."""
    if python not in baseline.instructions:
        known = ", ".join(baseline.instructions) or "none"
        return Judged(skipped=(f"instructions: no figures of Python {python} ({known})",))
    new = {name: {"instructions": n} for name, n in found.items()}
    old = {name: {"instructions": n} for name, n in baseline.instructions[python].items()}
    return _compared(new, old, INSTRUCTION_MARGIN)


def _compared(new: Figures, old: Figures, margin: float) -> Judged:
    """An operation that the baseline does not have, or has and is gone, is worse: it needs figures."""
    worse = [f"{name}: there are no figures of it in the baseline" for name in new if name not in old]
    worse += [f"{name}: it is in the baseline and was not counted" for name in old if name not in new]
    better = []
    for name in new:
        for what, was in old.get(name, {}).items():
            now = new[name].get(what, float("inf"))
            said = f"{name}: {what} {now:,.5g} instead of {was:,.5g}" + (f" ({now / was - 1:+.1%})" if was else "")
            if now > was * (1 + margin):
                worse.append(said)
            elif now < was * (1 - margin):
                better.append(said)
    return Judged(tuple(worse), tuple(better))


def told(judged: Judged, baseline: Baseline) -> str:
    """For a person."""
    lines = [f"not compared: {each}" for each in judged.skipped]
    lines += [f"less than the baseline: {each}" for each in judged.better]
    if judged.better:
        lines.append(f"Lower the baseline, so that it stays so: {RENEW}")
    lines += [f"MORE: {each}" for each in judged.worse]
    if judged.worse:
        changed = [
            f"{n} {was} -> {now}" for n, now in libraries().items() if (was := baseline.libraries.get(n)) not in (None, now)
        ]
        lines += [f"Libraries that changed since: {', '.join(changed)}"] if changed else []
        lines.append(f"Find what it is for, or, where it is worth it, say so in the commit and renew: {RENEW}")
    return "\n".join(lines)
