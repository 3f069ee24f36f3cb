"""``payonce torture``, whole runs: a small one is clean, its report is one document, and nothing of it outlives it. They take
minutes and are for ``make torture``."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from payonce.testing.torture import TortureOptions, torture
from payonce.testing.torture.proxy import PER_EXCHANGE

from .running import until

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "payonce", "torture"]


def test_a_small_torture_is_clean(tmp_path: Path) -> None:
    """60 payments, 6 kills, every kind of fault of one exchange: nothing is lost, doubled or wrong, and the files go."""
    report = asyncio.run(torture(TortureOptions(seed=7, payments=60, kills=6, horizon_s=15, fault_share=0.3)))
    assert report.violations == []
    assert report.clean
    assert report.payments == 60
    assert sum(report.kills.values()) == 6
    assert [kind for kind in PER_EXCHANGE if not report.faults[kind]] == []
    assert set(report.statuses) == {"SUCCESS", "FAILED", "CANCELED", "IN_DOUBT", "AUTHORIZED"}
    for asked in ("capture 202", "void 202", "refunds 202", "refunds amount_exceeds_available"):
        assert report.answers[asked] > 0, report.answers
    assert report.posts > report.payments
    assert report.answers["202"] + report.answers["202 again"] >= report.payments
    assert report.answers["422"] > 0
    assert report.folder == ""


def test_the_command_prints_its_seed_and_one_document(tmp_path: Path) -> None:
    """Exit code 0 when all was right; the seed comes first, the report is JSON, and --keep keeps the files."""
    kept = tmp_path / "kept"
    done = subprocess.run(
        [*COMMAND, "--payments", "1", "--kills", "0", "--seed", "42", "--json", "--keep", str(kept)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 42: 1 payments, 0 kills" in done.stderr.splitlines()[0]
    report = json.loads(done.stdout)
    assert (report["seed"], report["payments"], report["violations"]) == (42, 1, [])
    assert report["folder"] == str(kept.resolve())
    assert json.loads((kept / "posted.ndjson").read_text())["key"] == "torture-42-0"


def alive(pid: int) -> bool:
    """The process runs; one that has ended and waits for its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_it(how: signal.Signals, tmp_path: Path) -> None:
    """However it is stopped, Ctrl-C or kill -9, its processes end with it."""
    kept = tmp_path / "kept"
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen([*COMMAND, "--kills", "0", "--keep", str(kept)], stdout=log, stderr=log)
    try:
        names = ("api", "worker-1", "worker-2")
        said = [kept / f"{name}.out" for name in names]
        until(lambda: all(f.exists() and b"\n" in f.read_bytes() for f in said), "its processes run", 60)
        pids = [json.loads(f.read_text())["pid"] for f in said]
        assert all(alive(pid) for pid in pids)
        running.send_signal(how)
        code = running.wait(timeout=60)
        until(lambda: not any(alive(pid) for pid in pids), "its processes are gone", 30)
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()
    assert code == {signal.SIGINT: 130}.get(how, -how)
