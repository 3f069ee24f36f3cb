"""Machine instructions of each hot path, by valgrind's callgrind: what `make guard` compares. The same work always takes the
same instructions, however busy the machine is, but for the little that addresses and timers change.

One run of one interpreter: valgrind writes down what was counted each time that ``MARK`` is called, a function of the C library
that nothing else here uses; so start-up and preparation are in parts of their own. Counts are given in units of a calibrating
workload of plain Python, counted in the same run: another build of Python runs both with more instructions, or fewer."""

import asyncio
import gc
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .ground import OPERATIONS, ground

MARK: Final = "getpriority"
WARM: Final = 20  # times before any is counted: CPython 3.11 specialises what has run 8 times
TIMES: Final = 100
ROUNDS: Final = 200  # of the calibrating workload; as many before, uncounted
SERIES: Final = 5  # of those; the least counts: where memory came to lie makes a difference of up to 1 %
RUN_S: Final = 600.0  # half a minute where nothing else runs
CALIBRATION: Final = "calibration"

Instructions = dict[str, float]  # operation -> instructions of one time; CALIBRATION -> of one round


class _Order:
    """Something to call methods of."""

    def __init__(self, number: int) -> None:
        self.number, self.parts = number, {"amount": number, "currency": "INR", "reference": f"order-{number:08d}"}

    def shown(self) -> dict[str, object]:
        return {**self.parts, "total": sum(value for value in self.parts.values() if isinstance(value, int))}


def calibrate(rounds: int) -> str:
    """What Python programs do: objects, methods, dicts, texts, JSON, a hash. Of the standard library only."""
    head = ""
    for number in range(rounds):
        order = _Order(number)
        said = json.dumps(order.shown(), sort_keys=True)
        known = json.loads(said)
        names = [name.upper() for name in sorted(known) if name != "total"]
        head = hashlib.sha256(f"{head}{said}{','.join(names)}".encode()).hexdigest()
    return head


def mark() -> None:
    """Another part begins."""
    os.getpriority(os.PRIO_PROCESS, 0)


async def _play(folder: Path) -> None:
    """Parts: all before, the calibrations, a preparation, the first operation, a preparation, the second ..."""
    calibrate(ROUNDS)
    async with ground(folder) as g:
        gc.collect()
        gc.disable()
        mark()
        for _ in range(SERIES):
            calibrate(ROUNDS)
            mark()
        for prepare in OPERATIONS.values():
            await g.do(await prepare(g, WARM))
            times = await prepare(g, TIMES)
            mark()
            await g.do(times)
            mark()
        gc.enable()


def possible() -> str:
    """Why instructions cannot be counted here; empty when they can."""
    return "" if shutil.which("valgrind") else "there is no valgrind on this machine"


def counted(env: Mapping[str, str] | None = None) -> Instructions:
    """Run it. ``env`` is added to the environment. Raises RuntimeError with what was said when that fails."""
    with tempfile.TemporaryDirectory(prefix="payonce-guard-") as name:
        out = Path(name, "counted")
        command = ["valgrind", "-q", "--tool=callgrind", f"--dump-before={MARK}", f"--callgrind-out-file={out}"]
        around = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "", **(env or {})}
        program = [sys.executable, "-m", __name__, str(Path(name, "data"))]
        done = subprocess.run([*command, *program], env=around, capture_output=True, text=True, timeout=RUN_S, check=False)
        parts = {int(p.suffix[1:]): _total(p) for p in out.parent.glob(f"{out.name}.*")}
    expected = 1 + SERIES + 2 * len(OPERATIONS)
    if done.returncode or len(parts) < expected:
        raise RuntimeError(f"instructions could not be counted ({len(parts)} parts of {expected}):\n{done.stderr[-4000:]}")
    first = 2 + SERIES + 1  # the part of the first operation
    found = {operation: parts[first + 2 * n] / TIMES for n, operation in enumerate(OPERATIONS)}
    return {CALIBRATION: min(parts[2 + n] for n in range(SERIES)) / ROUNDS, **found}


def _total(part: Path) -> int:
    """Instructions of one part."""
    found = re.search(r"^(?:summary|totals): (\d+)$", part.read_text(errors="replace"), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"valgrind wrote no sum into {part.name}")
    return int(found[1])


def in_rounds(found: Instructions) -> dict[str, float]:
    """Each operation in rounds of the calibrating workload."""
    return {name: n / found[CALIBRATION] for name, n in found.items() if name != CALIBRATION}


if __name__ == "__main__":
    asyncio.run(_play(Path(sys.argv[1])))
