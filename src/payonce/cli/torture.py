"""``payonce torture``: real processes, real crashes, and the vendors' books at the end."""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from . import FAILURE, OK, USAGE
from .options import Exit, Json
from .output import clean, counted, paint, put, put_json, say

if TYPE_CHECKING:
    from payonce.testing.torture import TortureReport

SHOWN_MAX = 20


def torture(
    *,
    payments: int = 300,
    kills: int = 30,
    seconds: float = 0,
    seed: int | None = None,
    keep: Path | None = None,
    json: Json = False,
) -> int:
    """Kill payonce again and again while it works, and compare the end with the vendors' books.

    It runs `payonce serve`, two `payonce worker` and `payonce sandbox` as processes of their own, with files of their own.
    Clients post with every test token; some post twice, some at once, some hang up, some change the amount under the same
    key. They capture, void and give back, in part, too much, twice and at once; customers approve and decline. Webhooks are
    lost, doubled, late and out of order. A proxy before the sandbox drops, cuts, holds, repeats and trickles a quarter of the
    calls, vendors fail for seconds, and kill -9 and freezes hit every process. Then all faults stop, everything settles, and
    nothing may be wrong: each 202 has its payment, each key one payment, no payment more than one charge, no refunds above
    what was captured, and each status and operation is what the books say.

    Exit code 1 when anything was wrong; the files stay then. It listens on 127.0.0.1 only and leaves no process behind.

    Parameters
    ----------
    payments
        How many payments, 1 to 1000000.
    kills
        How many times kill -9, over all processes, 0 to 100000. About one a second is possible.
    seconds
        Stop posts, kills and faults after this time, even if some are left; 0 = do all of them.
    seed
        Decides what is posted, spoilt and killed, but not when the machine gets to it (default: a fresh one, printed first).
    keep
        Keep all files, in this folder, which must be empty or not exist.
    json
        Print the report as one JSON document.
    """
    if not hasattr(os, "fork"):
        raise Exit(USAGE, "payonce: torture forks and kills processes, which this system cannot do. Nothing was started.")
    from payonce.testing.torture import TortureOptions
    from payonce.testing.torture import torture as run

    seed = time.time_ns() // 1000 % 1_000_000 if seed is None else seed
    began = time.monotonic()
    try:
        options = TortureOptions(seed=seed, payments=payments, kills=kills, seconds=seconds, keep=str(keep or ""))
    except ValueError as error:
        raise Exit(USAGE, f"payonce: --{error}. Nothing was started.") from error
    try:
        report = asyncio.run(run(options, lambda line: say(f"{time.monotonic() - began:6.1f} s  {clean(line)}")))
    except OSError as error:
        raise Exit(USAGE, f"payonce: the torture could not run: {error}") from error
    if json:
        put_json(report)
    else:
        _show(report)
    return OK if report.clean else FAILURE


def _show(r: "TortureReport") -> None:
    """The report for people."""
    rows = (
        ("payments", f"{r.payments}: {_counts(r.statuses)}"),
        ("posts", f"{r.posts}: {_counts(r.answers)}"),
        ("kill -9", f"{sum(r.kills.values())}: {_counts(r.kills)}; {r.kills_per_minute:g} a minute"),
        ("freezes", f"{sum(r.freezes.values())}: {_counts(r.freezes)}"),
        ("proxy faults", f"{sum(r.faults.values())} in {r.calls} calls: {_counts(r.faults)}"),
        ("time", f"{r.storm_s:g} s of faults, quiet {r.settle_s:g} s later"),
        ("money moved", counted(r.movements, "movement")),
        ("given up", f"{r.outlasted}, because faults outlasted the short horizons"),
        ("doubled", f"{r.count('doubled')}"),
        ("lost", f"{r.count('lost')}"),
        ("wrong", f"{r.count('wrong')}"),
        ("violations", f"{r.violations_total}"),
    )
    for name, text in rows:
        put(f"{name:<14}{text}")
    if r.clean:
        put(paint("nothing lost, nothing charged twice, nothing wrong", "green") + (f"; files: {r.folder}" if r.folder else ""))
        return
    from payonce.testing.torture import WRONGS

    for v in r.violations[:SHOWN_MAX]:
        put(paint(f"{v.kind}: {clean(v.says)}", "red"))
    if r.violations_total > SHOWN_MAX:
        put(f"... and {r.violations_total - SHOWN_MAX} more; --json prints up to 200")
    for kind in dict.fromkeys(v.kind for v in r.violations):
        put(f"{kind} means: {WRONGS[kind]}")
    put(f"Run it again with --seed {r.seed}, and look at {r.folder}: posted.ndjson (key and payment), *.log, ledger.db, and")
    put(f"  PYTHONPATH={r.folder}/packages payonce show ID --data-dir {r.folder}/data --config {r.folder}/payonce.toml")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.items()) or "none"
