"""What the load looks like is not in our hands: a burst, a provider that is away, a thousand connections that say nothing. (A
day like any other is ``soak``.)

At each end every accepted payment must be a SUCCESS and have been charged exactly once: else the section is broken.
"""

import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

import apsw
import msgspec

from . import load
from .bench import Bench
from .line import Cuttable, State
from .load import Load, Spec
from .procs import ROOT, Broken
from .served import Payonce, Provider
from .settle import require_once, stories_of
from .watching import Watch

NAME: Final = "shape"
CONNECTIONS: Final = 64
SATURATE_S, CALM_S, AFTER_S = 6.0, 8.0, 10.0
BEFORE_S, BACK_S = 6.0, 10.0
BURST_S: Final = {"quick": 10.0, "normal": 20.0, "long": 60.0}
AWAY_S: Final = {"quick": 15.0, "normal": 20.0, "long": 300.0}
IDLE_COUNT, IDLE_S = 1_000, 12.0
DRAIN_S: Final = 300.0
SLICE_S: Final = 5.0
BURST: Final = 10


def run(bench: Bench) -> None:
    """The whole section; some four minutes at scale normal."""
    saturation = saturated(bench, bench.folder / "shape-saturated")
    bench.row("saturation", "payonce", "settled", "/s", saturation)
    burst(bench, saturation / 5)
    outage(bench, "refused", saturation / 10)
    outage(bench, "hanging", saturation / 10)
    idle(bench, saturation / 10)


def saturated(bench: Bench, folder: Path) -> float:
    """Payments a second that are accepted and settled by one process with its worker."""
    with Provider(folder, python=bench.python) as provider, Payonce(folder, provider.url, python=bench.python) as ours:
        ours.serve()
        spec = Spec(
            port=ours.port, connections=CONNECTIONS, seconds=bench.seconds(SATURATE_S), warm_s=2, window=256,
            progress_port=provider.port,
        )  # fmt: skip
        got = load.run(spec)
        got.require_good("saturation")
    bench.say(f"saturation: {got.rate:,.0f}/s accepted and settled")
    return got.rate


# --- a burst --------------------------------------------------------------------------------------------------------------


def burst(bench: Bench, rate: float) -> None:
    """Ten times the usual rate, which is a fifth of saturation: twice of what can be settled. (Ten times a tenth would be just
    what it can do.)"""
    folder = bench.folder / "shape-burst"
    if bench.scale != "long":
        bench.note(f"The burst lasts {BURST_S[bench.scale]:g} s; a minute at scale long.")
    with Provider(folder, python=bench.python) as provider, Payonce(folder, provider.url, python=bench.python) as ours:
        proc = ours.serve()
        with Watch(ours, proc) as watch:
            calm = open_loop(ours, rate, bench.seconds(CALM_S))
            before_mib = proc.rss_mib()
            crowd = open_loop(ours, rate * BURST, BURST_S[bench.scale])
            waiting, ended = max(seen.pending for seen in watch.seen), time.monotonic()
            after = open_loop(ours, rate, bench.seconds(AFTER_S))
            watch.wait_quiet(0, DRAIN_S)
            drained_s = next((s.at_s for s in watch.seen if s.at_s > ended and s.pending <= rate), time.monotonic()) - ended
        accepted = calm.accepted + crowd.accepted + after.accepted
        charges = provider.charges()
        peak_mib = max(seen.mib for seen in watch.seen)
    require_once(stories_of(ours.store), charges, accepted)
    require_polite(crowd)
    row = bench.row
    for when, got in (("before", calm), ("burst", crowd), ("after", after)):
        row(f"burst: {when}", "payonce", "offered", "/s", got.sent / got.seconds)
        row(f"burst: {when}", "payonce", "accepted", "/s", got.ok / got.seconds)
        row(f"burst: {when}", "payonce", "refused", "", got.refused)
        row(f"burst: {when}", "payonce", "errors", "", got.errors)
        row(f"burst: {when}", "payonce", "p99 of 5 s", "ms", *got.p99_of_slices_ms)
    row("burst", "payonce", "waiting at its end", "", waiting)
    row("burst", "payonce", "drained after", "s", drained_s)
    row("burst", "payonce", "memory before", "MiB", before_mib)
    row("burst", "payonce", "memory peak", "MiB", peak_mib)
    bench.say(
        f"burst of {crowd.sent / crowd.seconds:,.0f}/s: {crowd.ok:,} accepted, {crowd.refused:,} refused, {crowd.errors} "
        f"errors, p99 {crowd.p99_ms:.0f} ms (before {calm.p99_ms:.0f}, after {after.p99_ms:.0f}); {waiting:,} waiting, drained "
        f"after {drained_s:.0f} s; {before_mib:.0f} -> {peak_mib:.0f} MiB"
    )


def open_loop(ours: Payonce, rate: float, seconds: float) -> Load:
    """At a rate, whatever comes back. Raises Broken when the load could not keep it up."""
    got = load.run(Spec(port=ours.port, connections=256, seconds=seconds, rate=rate, slice_s=SLICE_S))
    if got.was_bottleneck:
        raise Broken(f"the load itself was busy: {got.busy:.2f} of a core")
    return got


def require_polite(got: Load) -> None:
    """Raises Broken when a refusal does not say when to come again, or something else than a refusal came back."""
    if got.errors:
        raise Broken(f"{got.errors} answers were neither good nor a refusal; the first: {got.said}")
    if got.refused and not re.search(r"(?i)\r\nretry-after: \d+\r\n", got.said):
        raise Broken(f"a refusal without Retry-After: {got.said}")


# --- a provider that is away ------------------------------------------------------------------------------------------------


def outage(bench: Bench, how: State, rate: float) -> None:
    """Payments go on arriving while the provider is away: its connections are refused, or taken and never answered."""
    away_s = AWAY_S[bench.scale]
    if bench.scale != "long":
        bench.note(f"The provider is away for {away_s:g} s; five minutes at scale long.")
    folder, before_s, back_s = bench.folder / f"shape-{how}", bench.seconds(BEFORE_S), bench.seconds(BACK_S)
    with (
        Provider(folder, python=bench.python) as provider,
        Cuttable(folder, provider.port, python=bench.python) as line,
        Payonce(folder, line.url, python=bench.python) as ours,
    ):
        proc = ours.serve()
        with Watch(ours, proc) as watch:
            spec = Spec(port=ours.port, connections=64, seconds=before_s + away_s + back_s, rate=rate, slice_s=SLICE_S)
            running = load.start(spec)
            time.sleep(before_s)
            gone_us = cut(line, how)
            time.sleep(away_s)
            most = max(seen.pending for seen in watch.seen)
            back_us = cut(line, "up")
            got = running.wait()
            try:
                watch.wait_quiet(0, DRAIN_S)
            except Broken as error:
                raise Broken(f"{how} for {away_s:g} s: {error}; {statuses(ours.store)}") from error
            quiet_us = time.time_ns() // 1000
        charges, ledger = provider.charges(), provider.ledger()
        peak_mib = max(seen.mib for seen in watch.seen)
    require_polite(got)
    stories = stories_of(ours.store)
    require_once(stories, charges, got.accepted)
    calls = calls_per_second(ours.store)
    begin, gone, back, end = (us // 1_000_000 for us in (gone_us - int(before_s * 1e6), gone_us, back_us, quiet_us))
    per = {
        "before": [calls[s] for s in range(begin + 1, gone)],
        "away": [calls[s] for s in range(gone + 1, back)],
        "after": [calls[s] for s in range(back + 1, end)],
    }
    settled_us = sorted(s.settled_us for s in stories if s.settled_us > back_us and s.accepted_us < back_us)
    case, row = f"provider {how}", bench.row
    row(case, "payonce", "payments", "/s", rate)
    row(case, "payonce", "refused", "", got.refused)
    for when, counts in per.items():
        row(case, "payonce", f"calls {when}", "/s", sum(counts) / max(len(counts), 1))
        row(case, "payonce", f"calls {when}, most in a second", "/s", max(counts, default=0))
    row(case, "payonce", "peak of calls after, times the rate", "", max(per["after"], default=0) / rate)
    row(case, "payonce", "waiting when it came back", "", most)
    row(case, "payonce", "first success after", "s", (settled_us[0] - back_us) / 1e6 if settled_us else 0.0)
    row(case, "payonce", "backlog settled after", "s", (settled_us[-1] - back_us) / 1e6 if settled_us else 0.0)
    row(case, "payonce", "replays at the provider", "", ledger.replays)
    row(case, "payonce", "reads at the provider", "", ledger.reads)
    row(case, "payonce", "p99 of 5 s", "ms", *got.p99_of_slices_ms)
    row(case, "payonce", "memory peak", "MiB", peak_mib)
    bench.say(
        f"{case} for {away_s:.0f} s at {rate:.0f}/s: calls a second "
        + ", ".join(f"{when} {sum(c) / max(len(c), 1):.1f} (most {max(c, default=0)})" for when, c in per.items())
        + f"; {most:,} waited, the last of them settled {(settled_us[-1] - back_us) / 1e6 if settled_us else 0:.1f} s after; "
        f"{peak_mib:.0f} MiB; none lost, none doubled"
    )


def cut(line: Cuttable, state: State) -> int:
    """Microseconds of the wall clock when it was so."""
    line.set(state)
    return time.time_ns() // 1000


class _Planned(msgspec.Struct, frozen=True):
    at_us: int
    kind: str


def calls_per_second(store: Path) -> Counter[int]:
    """Calls on record by the second in which they were planned: none is ever made that is not on record."""
    decode, found = msgspec.json.Decoder(_Planned).decode, Counter[int]()
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        for (raw,) in connection.execute("SELECT raw FROM events WHERE seq > 1"):
            event = decode(raw)
            if event.kind == "Planned":
                found[event.at_us // 1_000_000] += 1
    finally:
        connection.close()
    return found


def statuses(store: Path) -> str:
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return ", ".join(
            f"{n} {status}" for status, n in connection.execute("SELECT status, count(*) FROM payments GROUP BY 1")
        )
    finally:
        connection.close()


# --- connections that say nothing -------------------------------------------------------------------------------------------


def idle(bench: Bench, rate: float) -> None:
    """What a thousand of them cost the others: memory, CPU and latency without and with them."""
    folder, seconds = bench.folder / "shape-idle", max(bench.seconds(IDLE_S), 6.0)
    with Provider(folder, python=bench.python) as provider, Payonce(folder, provider.url, python=bench.python) as ours:
        proc = ours.serve()
        open_loop(ours, rate, 2.0)  # not quite new
        for turn, count in enumerate((0, IDLE_COUNT) * bench.times(1)):
            who = f"{count:,} idle connections"
            silent = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.idling", str(ours.port), str(count), str(seconds + 4)],
                stdout=subprocess.PIPE, cwd=ROOT,
            )  # fmt: skip
            try:
                time.sleep(3)  # all of them are open
                got = load.run(Spec(port=ours.port, connections=16, seconds=seconds - 1, rate=rate, watch=(proc.pid,)))
                mib = proc.rss_mib()
                told, _ = silent.communicate(timeout=60)
            finally:
                silent.kill()
                silent.wait()
            got.require_good(who)
            opened, failed = map(int, told.split())
            if failed or opened < count:
                raise Broken(f"of {count} idle connections {opened} were opened, {failed} failed")
            bench.row("idle connections", who, "memory", "MiB", mib)
            bench.row("idle connections", who, "CPU a payment", "us", got.cpu_us)
            bench.row("idle connections", who, "p50", "ms", got.p50_ms)
            bench.row("idle connections", who, "p99", "ms", got.p99_ms)
            bench.row("idle connections", who, "opened", "", opened)
            bench.say(
                f"{who} ({turn}): {mib:.0f} MiB, {got.cpu_us:,.0f} us a payment, p99 {got.p99_ms:.1f} ms, {opened} opened"
            )
    bench.note("An idle connection is closed by the server after some seconds, and opened again: that is in its CPU.")
