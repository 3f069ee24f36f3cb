"""A day like any other, made short: payments at a fifth of saturation, people who look and list, refunds, and a restart after
the first quarter. Two minutes at scale normal, an hour at scale long. What grows with time alone breaks the section."""

import http.client
import json
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import apsw

from . import load
from .bench import Bench
from .load import Spec
from .procs import Broken
from .served import Payonce, Provider
from .shape import saturated
from .watching import Seen, Watch

SECONDS: Final = {"quick": 60.0, "normal": 120.0, "long": 3600.0}
WARM_PART: Final = 0.15  # of each life: caches and pools fill
LOOK_S: Final = 0.1  # between two requests of who looks on
REFUND_OF: Final = 5  # each so many-th of them is a refund
DRAIN_S: Final = 60.0
SLICES: Final = 10
NONE: Final[Mapping[str, str]] = {}
# What breaks it: growth beyond these from the first tenth to the last one.
MEMORY_TIMES, MEMORY_MIB = 1.15, 10.0
CPU_TIMES: Final = 1.5  # of a payment; neighbours on the machine are in it
FILES_MORE: Final = 16
WAL_MIB_MAX: Final = 128.0  # it is cut at 64 after a checkpoint


def run(bench: Bench) -> None:
    """See the module. Raises Broken on growth, or when something is lost, doubled or unanswered."""
    seconds, folder, rate = SECONDS[bench.scale], bench.folder / "soak", saturated(bench, bench.folder / "soak-saturated") / 5
    bench.row("soak", "payonce", "payments", "/s", rate)
    accepted = folder / "accepted"
    with Provider(folder, python=bench.python) as provider, Payonce(folder, provider.url, python=bench.python) as ours:
        first, _ = life(bench, ours, accepted, seconds / 4, rate)
        proc_ended = time.monotonic()
        ours.stop()
        bench.row("soak", "payonce", "stopping took", "s", time.monotonic() - proc_ended)
        second, looked = life(bench, ours, accepted, seconds * 3 / 4, rate)
        ledger = provider.ledger()
    if ledger.twice:
        raise Broken(f"charged more than once: {ledger.twice}")
    require_settled(ours.store, ledger.charges, ledger.refunds, accepted)
    keep(bench, seconds, first, second, looked)


class Life:
    """What one process did: what was seen of it, and p99 of each tenth of its time."""

    def __init__(self, seen: Sequence[Seen], p99_ms: Sequence[float], rate: float) -> None:
        self.seen, self.p99_ms, self.rate = seen[int(len(seen) * WARM_PART) :], p99_ms, rate

    def tenth(self, number: int) -> Sequence[Seen]:
        """Of the time after the warm-up; -1 is the last one. Raises Broken when too little was seen."""
        size = len(self.seen) // SLICES
        if size < 2:
            raise Broken(f"only {len(self.seen)} looks at the server")
        return self.seen[-size:] if number < 0 else self.seen[number * size : (number + 1) * size]

    def mib(self, number: int) -> float:
        return statistics.median(seen.mib for seen in self.tenth(number))

    def cpu_us(self, number: int) -> float:
        """Of a payment."""
        seen = self.tenth(number)
        return (seen[-1].cpu_s - seen[0].cpu_s) / (seen[-1].at_s - seen[0].at_s) / self.rate * 1e6

    def slope_mib(self) -> float:
        """MiB an hour, by least squares."""
        line = statistics.linear_regression([seen.at_s for seen in self.seen], [seen.mib for seen in self.seen])
        return line.slope * 3600


def life(bench: Bench, ours: Payonce, accepted: Path, seconds: float, rate: float) -> tuple[Life, dict[str, int]]:
    """One process from its start on, for so long; what people got beside the payments."""
    proc = ours.serve()
    people = People(ours.port, accepted)
    spec = Spec(
        port=ours.port, connections=32, seconds=seconds, rate=rate, slice_s=seconds / SLICES, accepted=str(accepted),
    )  # fmt: skip
    with Watch(ours, proc) as watch:
        running = load.start(spec)
        people.start()
        try:
            got = running.wait()
        finally:
            people.over.set()
            people.join(30)
        seen = list(watch.seen)
        watch.wait_quiet(0, DRAIN_S)
    got.require_good("soak")
    if people.failed is not None:
        raise Broken(f"who looked on was not answered: {people.failed}")
    bench.say(f"soak: {seconds:.0f} s at {rate:.0f}/s: p99 {got.p99_ms:.1f} ms, beside them {people.counts}")
    return Life(seen, got.p99_of_slices_ms, rate), people.counts


class People(threading.Thread):
    """Who looks at payments, lists them and gives money back, all the time."""

    def __init__(self, port: int, accepted: Path) -> None:
        super().__init__(name="people", daemon=True)
        self.port, self.accepted = port, accepted
        self.over = threading.Event()
        self.counts = {"looks": 0, "lists": 0, "refunds": 0}
        self.failed: BaseException | None = None

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            number = 0
            while not self.over.wait(LOOK_S):
                number += 1
                self.once(connection, number)
        except BaseException as error:  # noqa: BLE001 - told by who waits for us
            self.failed = error
        finally:
            connection.close()

    def once(self, connection: http.client.HTTPConnection, number: int) -> None:
        """One of the three."""
        id = newest(self.accepted)
        if not id or number % REFUND_OF == 1:
            self.ask(connection, "GET", "/payments?limit=20&status=SUCCESS")
            self.counts["lists"] += 1
            return
        shown = self.ask(connection, "GET", f"/payments/{id}")
        self.counts["looks"] += 1
        if number % REFUND_OF == 0 and shown["status"] == "SUCCESS":
            headers = {"content-type": "application/json", "idempotency-key": f"refund-{id}"}
            self.ask(connection, "POST", f"/payments/{id}/refunds", '{"amount": 1}', headers)
            self.counts["refunds"] += 1

    def ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: str = "", headers: Mapping[str, str] = NONE
    ) -> Any:
        connection.request(method, path, body or None, dict(headers))
        answer = connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 202):
            raise Broken(f"{method} {path} was answered {answer.status}: {text[:300]!r}")
        return json.loads(text)


def newest(accepted: Path) -> str:
    """The id on one of the last lines of the load's file; empty while there is none."""
    if not accepted.exists():
        return ""
    with accepted.open("rb") as file:
        file.seek(max(accepted.stat().st_size - 8192, 0))
        lines = file.read().decode().splitlines()[1:-1]
    return lines[0].split(" ")[1] if lines else ""


def require_settled(store: Path, charges: int, refunds: int, accepted: Path) -> None:
    """Raises Broken unless each accepted payment is a SUCCESS, was charged, and each refund was made."""
    with accepted.open(encoding="utf-8") as lines:
        wanted = sum(1 for _ in lines)
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found: dict[Any, Any] = dict(connection.execute("SELECT status, count(*) FROM payments GROUP BY status"))
        (asked,) = next(iter(connection.execute("SELECT count(*) FROM payments WHERE refunded_minor > 0")))
    finally:
        connection.close()
    if found != {"SUCCESS": wanted} or charges != wanted:
        raise Broken(f"{wanted} payments were accepted, {charges} charged, and the store says {found}")
    if asked != refunds:
        raise Broken(f"the provider made {refunds} refunds, the store says {asked}")


def keep(bench: Bench, seconds: float, first: Life, second: Life, looked: dict[str, int]) -> None:
    """The rows, and the verdict. Raises Broken on growth."""
    row = bench.row
    mib, cpu_us = (second.mib(0), second.mib(-1)), (second.cpu_us(0), second.cpu_us(-1))
    files = (max(seen.fds for seen in second.tenth(0)), max(seen.fds for seen in second.tenth(-1)))
    wal_mib = max(seen.wal_mib for seen in (*first.seen, *second.seen))
    row("soak", "payonce", "length", "s", seconds)
    for number, when in ((0, "first tenth"), (-1, "last tenth")):
        row("soak", "payonce", f"memory, {when}", "MiB", mib[number])
        row("soak", "payonce", f"CPU a payment, {when}", "us", cpu_us[number])
        row("soak", "payonce", f"open files, {when}", "", files[number])
        row("soak", "payonce", f"p99, {when}", "ms", second.p99_ms[number])
    row("soak", "payonce", "memory, slope", "MiB/h", second.slope_mib())
    row("soak", "payonce", "write-ahead log, most", "MiB", wal_mib)
    for what, count in looked.items():
        row("soak", "payonce", what, "", count)
    bench.say(
        f"soak: memory {mib[0]:.1f} -> {mib[1]:.1f} MiB ({second.slope_mib():+.0f} MiB/h), CPU {cpu_us[0]:,.0f} -> "
        f"{cpu_us[1]:,.0f} us a payment, files {files[0]} -> {files[1]}, log {wal_mib:.1f} MiB at most"
    )
    grown = {
        "memory": mib[1] > mib[0] * MEMORY_TIMES + MEMORY_MIB,
        "CPU of a payment": cpu_us[1] > cpu_us[0] * CPU_TIMES,
        "open files": files[1] > files[0] + FILES_MORE,
        "the write-ahead log": wal_mib > WAL_MIB_MAX,
    }
    if any(grown.values()):
        raise Broken(f"with time alone grew: {', '.join(what for what, is_so in grown.items() if is_so)}")
