"""What a run was made on: cores, memory, the disk's fsync, versions, commit."""

import importlib.metadata
import os
import platform
import re
import statistics
import subprocess
import time
from pathlib import Path
from typing import Final

import apsw
from msgspec import Struct

from .procs import ROOT

PACKAGES: Final = (
    *("payonce", "apsw", "httptools", "httpx2", "msgspec", "starlette", "uvicorn", "uvloop"),
    *("aiosqlite", "celery", "dbos", "fastapi", "procrastinate", "psycopg", "redis", "sqlalchemy"),
)
SYNCS: Final = 300
PAGE: Final = bytes(4096)


class Machine(Struct, frozen=True, kw_only=True):
    """``sync_us`` is how long the disk takes for 4 KiB appended and made durable (fsync), median and 99th percentile."""

    cores: int
    model: str
    memory_mib: int
    system: str
    python: str
    sync_us: float
    sync_p99_us: float


def machine(folder: Path) -> Machine:
    """This machine, and the disk of ``folder``. Takes a fraction of a second."""
    middle, slow = sync_cost(folder)
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        model=_found("/proc/cpuinfo", r"model name\s*: (.+)") or platform.machine(),
        memory_mib=int(_found("/proc/meminfo", r"MemTotal:\s*(\d+)") or 0) // 1024,
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sync_us=round(middle, 1),
        sync_p99_us=round(slow, 1),
    )


def sync_cost(folder: Path) -> tuple[float, float]:
    """Microseconds of an append of 4 KiB with fsync: median and 99th percentile."""
    path, took = folder / "sync-cost", list[float]()
    opened = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        for _ in range(SYNCS):
            began = time.perf_counter()
            os.write(opened, PAGE)
            os.fsync(opened)
            took.append((time.perf_counter() - began) * 1e6)
    finally:
        os.close(opened)
        path.unlink()
    return statistics.median(took), statistics.quantiles(took, n=100)[98]


def versions() -> dict[str, str]:
    """Of SQLite and of the packages that are installed here."""
    found = {"sqlite": apsw.sqlite_lib_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit that ran, with ``+`` when files that git knows were changed since; empty outside of a repository."""
    head = _git("rev-parse", "--short=12", "HEAD")
    return head + "+" * bool(_git("status", "--porcelain", "--untracked-files=no")) if head else ""


def _git(*args: str) -> str:
    try:
        done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _found(path: str, pattern: str) -> str:
    try:
        found = re.search(pattern, Path(path).read_text(encoding="utf-8"))
    except OSError:
        return ""
    return found[1].strip() if found else ""
