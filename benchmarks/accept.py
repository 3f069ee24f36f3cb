"""``POST /payments``, durably: how many a second, beside the same server with a constant answer and beside the bare disk.

Nobody works on what is accepted (``payonce serve --no-worker``), and the provider is never asked. Contenders take turns: in
each repetition every one of them runs at every number of connections before the next repetition begins, payonce on a store
that is new in each.
"""

import shutil
import subprocess
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Final

import apsw
import msgspec

from . import load, raw
from .bench import Bench
from .load import Load, Spec
from .procs import ROOT, Broken, Proc, free_port, wait_http
from .served import Payonce

NAME: Final = "accept"
CONNECTIONS: Final = (1, 4, 16, 64, 256)
AT: Final = (16, 64, 256)  # connections at which others than payonce without keys are measured
OURS, KEYED, BARE, STACK = "payonce", "payonce, API key", "constant JSON, bare", "constant JSON, payonce's stack"
GROUP, SINGLE = "SQLite, 64 payments a commit", "SQLite, a commit for each"
WRITERS: Final = {GROUP: 64, SINGLE: 1}
CONSTANT: Final = {BARE: "--bare", STACK: "--stack"}
SATURATED, HALF = "saturated", "half of saturation"
RATIOS, KEYED_RATIOS = "payonce to others", "payonce, API key, to others"
# Nobody works on these payments, and one client has one key: what would refuse them is off.
SETTINGS: Final = {"PAYONCE_BACKLOG_MAX": "0", "PAYONCE_KEY_RATE_PER_S": "100000"}
KEPT_UP: Final = 0.8  # of what was planned: below it is no half of what it can do
PHASE_S, WARM_S, HALF_S = 2.5, 0.5, 5.0


def run(bench: Bench) -> None:
    """The whole section; some three and a half minutes at scale normal."""
    constants = find_spec("benchmarks.constant") is not None
    if not constants:
        bench.note("The constant JSON was not measured: benchmarks/constant.py is not there.")
    for number in range(bench.times()):
        Turn(bench, number, constants=constants).run()
    half(bench)


class Turn:
    """One repetition: everybody once."""

    def __init__(self, bench: Bench, number: int, *, constants: bool) -> None:
        self.bench, self.number, self.constants = bench, number, constants
        self.payonce: frozenset[int] = frozenset()  # its ports
        self.best: dict[str, float] = {}  # of each contender: its highest rate
        self.cpu_us: dict[str, float] = {}  # of a request, at that rate
        self.accepted: dict[str, int] = {}

    def run(self) -> None:
        bench, folder = self.bench, self.bench.folder / f"accept-{self.number}"
        with ExitStack() as stack:
            ours = stack.enter_context(Payonce(folder / "open", settings=SETTINGS, python=bench.python))
            keyed = stack.enter_context(Payonce(folder / "keyed", settings=SETTINGS, python=bench.python))
            token = next(word for word in keyed.run("key", "create").split() if word.startswith("sk_"))
            served = {OURS: (ours.port, ours.serve(worker=False)), KEYED: (keyed.port, keyed.serve(worker=False))}
            ports = {OURS: ours.port, KEYED: keyed.port}
            self.payonce = frozenset(ports.values())
            procs = {name: proc for name, (_, proc) in served.items()}
            if self.constants:
                for name, flag in CONSTANT.items():
                    ports[name] = free_port()
                    procs[name] = stack.enter_context(constant(bench, flag, ports[name]))
            headers = {KEYED: {"authorization": f"Bearer {token}"}}
            for connections in CONNECTIONS:
                for name, port in ports.items():
                    if name == OURS or connections in AT:
                        spec = self.spec(port, connections, headers.get(name, {}), procs[name])
                        self.took(name, connections, load.run(spec, procs[name]))
            bench.row("memory", OURS, "peak", "MiB", procs[OURS].peak_mib())
            bench.row("memory", OURS, "afterwards", "MiB", procs[OURS].rss_mib())
        require_stored(ours, self.accepted[OURS])
        require_stored(keyed, self.accepted[KEYED])
        self.disk(raw.sizes_of(ours.store))
        self.ratios()
        shutil.rmtree(folder)

    def spec(self, port: int, connections: int, headers: dict[str, str], proc: Proc) -> Spec:
        seconds = self.bench.seconds(PHASE_S)
        watch = (proc.pid,)
        holds = '"transactionId"' if port in self.payonce else "{"
        return Spec(
            port=port, connections=connections, seconds=seconds, warm_s=WARM_S, headers=headers, watch=watch, holds=holds
        )

    def took(self, name: str, connections: int, got: Load) -> None:
        """Keep what a load found. Raises Broken when a request was not accepted."""
        got.require_good(f"{name} at {connections} connections")
        row, case = self.bench.row, case_of(connections)
        row(case, name, "rate", "/s", got.rate)
        row(case, name, "p50", "ms", got.p50_ms)
        row(case, name, "p99", "ms", got.p99_ms)
        row(case, name, "CPU", "us", got.cpu_us)
        if got.was_bottleneck:
            self.bench.note(f"{name} at {connections} connections: the load itself took {got.busy:.0%} of a core.")
        self.bench.say(f"{case:16} {name:32} {got.rate:8,.0f}/s  p50 {got.p50_ms:7.2f} ms  p99 {got.p99_ms:7.2f} ms")
        if connections in AT and got.rate > self.best.get(name, 0.0):
            self.best[name], self.cpu_us[name] = got.rate, got.cpu_us
        self.accepted[name] = self.accepted.get(name, 0) + got.accepted

    def disk(self, sizes: list[int]) -> None:
        """The bare disk."""
        for name, writers in WRITERS.items():
            found = raw_loop(self.bench, writers, sizes)
            row = self.bench.row
            row(SATURATED, name, "rate", "/s", found.rate)
            row(SATURATED, name, "p50", "ms", found.p50_ms)
            row(SATURATED, name, "p99", "ms", found.p99_ms)
            row(SATURATED, name, "CPU", "us", found.cpu_us)
            self.cpu_us[name] = found.cpu_us
            self.bench.say(f"{SATURATED:16} {name:32} {found.rate:8,.0f}/s  commit p50 {found.p50_ms:.2f} ms")
            self.best[name] = found.rate

    def ratios(self) -> None:
        """Of this repetition: the highest rate of payonce to the highest rate of each other, and what the others take of CPU
        for one request, as a part of what payonce takes: the latter hardly depends on who else uses the machine."""
        for ours, case in ((OURS, RATIOS), (KEYED, KEYED_RATIOS)):
            if ours in self.best:
                self.bench.row(SATURATED, ours, "rate", "/s", self.best[ours])
            for name in (*CONSTANT, *WRITERS):
                if name in self.best and ours in self.best:
                    self.bench.row(case, name, "rate", "ratio", self.best[ours] / self.best[name])
                    self.bench.row(case, name, "CPU", "ratio", self.cpu_us[name] / self.cpu_us[ours])


def half(bench: Bench) -> None:
    """Latency when there is room: open loop at half of what was reached."""
    row = bench.result.row(NAME, SATURATED, OURS, "rate")
    if row is None:
        raise Broken("nothing was measured")
    rate = row.median / 2
    for number in range(bench.times()):
        with Payonce(bench.folder / f"accept-half-{number}", settings=SETTINGS, python=bench.python) as ours:
            proc = ours.serve(worker=False)
            spec = Spec(port=ours.port, connections=128, rate=rate, seconds=bench.seconds(HALF_S), warm_s=1, watch=(proc.pid,))
            got = load.run(spec, proc)
            got.require_good("payonce at half of saturation")
        require_stored(ours, got.accepted)
        shutil.rmtree(ours.folder)
        if got.rate < KEPT_UP * rate:
            bench.note(f"{HALF}: {rate:,.0f}/s were planned and {got.rate:,.0f}/s accepted: more than it can do.")
        for metric, value in (("p50", got.p50_ms), ("p90", got.p90_ms), ("p99", got.p99_ms), ("longest", got.max_ms)):
            bench.row(HALF, OURS, metric, "ms", value)
        bench.row(HALF, OURS, "rate", "/s", got.rate)
        bench.row(HALF, OURS, "CPU", "us", got.cpu_us)
        bench.row(HALF, OURS, "load's own lateness p99", "ms", got.late_p99_ms)
        bench.say(f"{HALF}: {got.rate:,.0f}/s  p50 {got.p50_ms:.2f} ms  p99 {got.p99_ms:.2f} ms")


def case_of(connections: int) -> str:
    return f"{connections} connections" if connections > 1 else "1 connection"


def constant(bench: Bench, flag: str, port: int) -> Proc:
    """The server with a constant answer, answering."""
    argv = [bench.python, "-m", "benchmarks.constant", flag, "--port", str(port)]
    proc = Proc.start(argv, log=bench.folder / f"constant{flag}.log", name=f"constant {flag}")
    wait_http(f"http://127.0.0.1:{port}/", proc)
    return proc


def raw_loop(bench: Bench, writers: int, sizes: list[int]) -> raw.Found:
    """One loop of commits, in a process of its own."""
    given = {
        "--file": str(bench.folder / f"raw-{writers}.db"),
        "--writers": str(writers),
        "--seconds": str(bench.seconds(PHASE_S)),
        "--sizes": ",".join(map(str, sizes)),
    }
    argv = [bench.python, "-m", "benchmarks.raw", *(part for pair in given.items() for part in pair)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise Broken(f"the loop of commits ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return msgspec.json.decode(done.stdout, type=raw.Found)


def require_stored(served: Payonce, accepted: int) -> None:
    """Raises Broken unless the store holds exactly what was accepted. The server must have ended."""
    connection = apsw.Connection(str(served.store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        (stored,) = next(iter(connection.execute("SELECT count(*) FROM payments")))
    finally:
        connection.close()
    if stored != accepted:
        raise Broken(f"{accepted} payments were accepted, and the store holds {stored}")
