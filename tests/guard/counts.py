"""Calls, statements and syncs of each hot path, the same in every run: ``python -m tests.guard.counts`` prints them as JSON.

An interpreter of its own counts, with a fixed hash seed, so that neither pytest nor what other tests loaded has a part in it.
Two passes: what looks at SQLite and the disk would be seen by what counts calls."""

import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import apsw

from .ground import OPERATIONS, Ground, ground

WARM: Final = 5  # times of an operation before any is counted: caches fill, statements are prepared
TIMES: Final = 20  # so often it is counted
RUN_S: Final = 60.0

Counts = dict[str, dict[str, float]]  # operation -> what -> how many of it each time


class Calls:
    """Calls of Python functions (and resumptions of coroutines) and of C functions."""

    def __init__(self) -> None:
        self.python = self.c = 0

    def __call__(self, _frame: FrameType, event: str, _arg: object) -> None:
        if event == "call":
            self.python += 1
        elif event == "c_call":
            self.c += 1


@contextmanager
def calls_counted() -> Iterator[Calls]:
    """Until the block ends."""
    calls = Calls()
    gc.collect()
    gc.disable()
    sys.setprofile(calls)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        gc.enable()


class Seen(Counter[str]):
    """What SQLite did: ``statements`` that ran, ``vm_steps`` of them, ``syncs``, ``log_bytes`` written."""

    on = False

    def trace(self, event: Mapping[str, Any]) -> None:
        if self.on and event["code"] == apsw.SQLITE_TRACE_PROFILE:
            self["statements"] += 1
            self["vm_steps"] += event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]

    def connected(self, connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self.trace)


class _File(apsw.VFSFile):
    def __init__(self, seen: Seen, system: str, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        super().__init__(system, name, flags)
        self._seen, self._log = seen, bool(flags[0] & apsw.SQLITE_OPEN_WAL)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's names; nothing here is to last
        del flags
        self._seen["syncs"] += self._seen.on

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._seen.on and self._log:
            self._seen["log_bytes"] += len(data)
        super().xWrite(data, offset)


class _Watched(apsw.VFS):
    def __init__(self, seen: Seen) -> None:
        self._seen, self._system = seen, apsw.vfs_names()[0]
        super().__init__("payonce-guard", self._system, makedefault=True)

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self._seen, self._system, name, flags)


@contextmanager
def sqlite_seen() -> Iterator[Seen]:
    """Every connection of this process that is made in the block is looked at."""
    seen = Seen()
    vfs = _Watched(seen)
    apsw.connection_hooks.append(seen.connected)
    try:
        yield seen
    finally:
        apsw.connection_hooks.remove(seen.connected)
        vfs.unregister()


async def calls_of(g: Ground, name: str) -> dict[str, float]:
    """The first pass of one operation."""
    await g.do(await OPERATIONS[name](g, WARM))
    times = await OPERATIONS[name](g, TIMES)
    with calls_counted() as calls:
        await g.do(times)
    return {"python_calls": calls.python / TIMES, "c_calls": calls.c / TIMES}


async def work_of(g: Ground, name: str, seen: Seen) -> dict[str, float]:
    """The second pass."""
    await g.do(await OPERATIONS[name](g, WARM))
    times = await OPERATIONS[name](g, TIMES)
    seen.clear()
    seen.on = True
    await g.do(times)
    seen.on = False
    return {what: seen[what] / TIMES for what in ("statements", "vm_steps", "syncs", "log_bytes")}


async def counted(folder: Path) -> Counts:
    """Everything, with files in ``folder``."""
    found: Counts = {}
    async with ground(folder / "calls") as g:
        for name in OPERATIONS:
            found[name] = await calls_of(g, name)
    with sqlite_seen() as seen:
        async with ground(folder / "work") as g:
            for name in OPERATIONS:
                found[name] |= await work_of(g, name, seen)
    return found


def counted_apart(env: Mapping[str, str] | None = None) -> Counts:
    """By an interpreter of its own; ``env`` is added to its environment. Raises RuntimeError with what it said."""
    around = {**os.environ, "PYTHONHASHSEED": "0", **(env or {})}
    for name in ("PYTHONPROFILEIMPORTTIME", "PYTHONDEVMODE", "PYTHONASYNCIODEBUG"):
        around.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-m", __name__], env=around, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the hot paths could not be counted:\n{done.stderr[-4000:]}")
    found: Counts = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="payonce-guard-") as name:
        print(json.dumps(asyncio.run(counted(Path(name))), indent=1))
