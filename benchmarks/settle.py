"""From ``POST /payments`` to SUCCESS: how many a second, how long it takes, and how much of that is ours.

Times come from two sides. From inside, after the run, from the payments' own histories (when each was accepted, when its
success was written) and from the provider's ledger (how long it took for each charge): added latency is the first minus the
second. From outside, from a customer's side, by a prober that posts a payment now and then and asks for it until it is a
success: few enough to disturb nothing, and a witness that the histories tell the truth.

Sustained rate: payments are posted as fast as they are charged, so that always ``WINDOW`` of them are under way; what counts
is how many successes the histories hold within the counted seconds. At the end every payment must be a SUCCESS, and must have
been charged exactly once, with its amount: else the run is broken, and says so.
"""

import http.client
import json
import shutil
import statistics
import threading
import time
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec
from msgspec import Struct

from . import load
from .bench import Bench
from .load import Load, Spec
from .procs import Broken, Proc
from .provider import Booked
from .served import Payonce, Provider

NAME: Final = "settle"
ONE, APART, TWO = "one process", "API and a worker", "API and two workers"
WORKERS: Final = {ONE: 0, APART: 1, TWO: 2}
LATENCIES_MS: Final = (0, 200)
# Payments under way. A worker works on 64 at once, unless it is told otherwise, as one is that waits long for its provider.
WINDOW: Final = {0: 256, 200: 1024}
SETTINGS: Final = {0: {}, 200: {"PAYONCE_WORKER_CONCURRENCY": "256"}}
CONNECTIONS: Final = 32
PHASE_S, HALF_S, IDLE_S = 4.0, 4.0, 30.0
WARM_S: Final = {0: 1.0, 200: 2.0}
DRAIN_S: Final = 120.0
KEPT_UP: Final = 0.8  # of what was posted: below it is no half of what it can do
REST_S: Final = 3.0  # before an idle process is measured
PROBE_S: Final = 0.3  # between two probes
ASK_S: Final = 0.005  # between two questions of the prober
REFERENCE: Final = 20  # its first characters are the payment's id after pay_


def run(bench: Bench) -> None:
    """The whole section; some four and a half minutes at scale normal."""
    for number in range(bench.times()):
        for latency_ms in LATENCIES_MS:
            for who, workers in WORKERS.items():
                turn = Turn(bench, f"settle-{number}-{latency_ms}-{workers}", who, latency_ms)
                rate = turn.run("saturated", bench.seconds(PHASE_S))
                turn.run("half", bench.seconds(HALF_S), rate / 2)
    idle(bench)


class Turn:
    """One configuration against one provider."""

    def __init__(self, bench: Bench, name: str, who: str, latency_ms: int) -> None:
        self.bench, self.name, self.who, self.latency_ms = bench, name, who, latency_ms

    def run(self, what: str, seconds: float, rate: float = 0.0) -> float:
        """Saturated (``rate`` 0), or at a rate; payments settled a second. Raises Broken when one was not settled, or charged
        more than once."""
        bench, folder = self.bench, self.bench.folder / f"{self.name}-{what}"
        settings, warm_s = {**SETTINGS[self.latency_ms], "PAYONCE_BACKLOG_MAX": "0"}, WARM_S[self.latency_ms]
        prober: Prober | None = None
        with (
            Provider(folder, latency_ms=self.latency_ms, python=bench.python) as provider,
            Payonce(folder, provider.url, settings=settings, python=bench.python) as ours,
        ):
            procs = {"API": ours.serve(worker=self.who == ONE)}
            procs |= {f"worker {n + 1}": ours.worker() for n in range(WORKERS[self.who])}
            procs["provider"] = provider.proc
            spec = Spec(
                port=ours.port, connections=CONNECTIONS, seconds=seconds, warm_s=warm_s, rate=rate,
                window=0 if rate else WINDOW[self.latency_ms], progress_port=provider.port,
                watch=tuple(proc.pid for proc in procs.values()),
            )  # fmt: skip
            running = load.start(spec)
            if rate:
                prober = Prober(ours.port, warm_s + seconds)
                prober.start()
            try:
                got = running.wait()
            finally:
                for proc in procs.values():
                    proc.require_alive()
            got.require_good(self.who)
            probed = prober.result() if prober else []
            accepted = got.accepted + len(probed)
            drained(provider, ours, accepted)
            memory = {name: proc.peak_mib() for name, proc in procs.items()}
            charges = provider.charges()
        stories = stories_of(ours.store)
        require_once(stories, charges, accepted)
        shutil.rmtree(folder)
        found = figures(stories, charges, got, seconds)
        if found.rate < KEPT_UP * rate:
            self.bench.note(
                f"{self.who}, {what}: {rate:,.0f}/s were posted and {found.rate:,.0f}/s settled: more than it can do."
            )
        self.keep(f"{what}, provider {self.latency_ms} ms", got, found, probed)
        self.keep_costs(f"{what}, provider {self.latency_ms} ms", got, list(procs), memory, found.rate * seconds)
        return found.rate

    def keep(self, case: str, got: Load, found: "Figures", probed: list[float]) -> None:
        """How many and how long."""
        row, settle, added = self.bench.row, found.settle_ms, found.added_ms
        row(case, self.who, "rate", "/s", found.rate)
        row(case, self.who, "to settle p50", "ms", percentile(settle, 50))
        row(case, self.who, "to settle p99", "ms", percentile(settle, 99))
        row(case, self.who, "added p50", "ms", percentile(added, 50))
        row(case, self.who, "added p99", "ms", percentile(added, 99))
        row(case, self.who, "accept p99", "ms", got.p99_ms)
        if probed:
            row(case, self.who, "from outside p50", "ms", statistics.median(probed))
            row(case, self.who, "from outside, longest", "ms", max(probed))
        self.bench.say(
            f"{case:26} {self.who:20} {found.rate:7,.0f}/s  settled in {percentile(settle, 50):7.1f} ms, "
            f"ours {percentile(added, 50):7.1f} ms, p99 {percentile(added, 99):7.1f} ms"
        )

    def keep_costs(self, case: str, got: Load, procs: list[str], peak_mib: dict[str, float], settled: float) -> None:
        """CPU for each payment that was settled, and memory, of each process."""
        for name, cpu_s in zip(procs, got.each_s, strict=True):
            self.bench.row(f"CPU a payment, {case}", self.who, name, "us", cpu_s / settled * 1e6)
            if name != "provider":
                self.bench.row(f"peak memory, {case}", self.who, name, "MiB", peak_mib[name])


# --- what happened, from the store and the ledger -------------------------------------------------------------------------


class Story(Struct, frozen=True):
    """One payment, from its history. ``settled_us`` 0: it is not settled."""

    id: str
    amount_minor: int
    accepted_us: int
    settled_us: int


class Figures(Struct, frozen=True):
    """Of the counted seconds: successes a second; and of the payments that were accepted in them, in milliseconds, from
    accepted to success, and that without the time of the provider."""

    rate: float
    settle_ms: list[float]
    added_ms: list[float]


class _Outcome(Struct, frozen=True):
    type: str = ""


class _Data(Struct, frozen=True):
    amount_minor: int = 0
    outcome: _Outcome | None = None


class _Event(Struct, frozen=True):
    at_us: int
    kind: str
    data: _Data


def stories_of(store: Path) -> list[Story]:
    """Every payment of a store that nobody has open."""
    decode = msgspec.json.Decoder(_Event).decode
    accepted: dict[str, _Event] = {}
    settled: dict[str, int] = {}
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        for id, raw in connection.execute("SELECT payment_id, raw FROM events ORDER BY payment_id, seq"):
            event = decode(raw)
            if event.kind == "Accepted":
                accepted[id] = event
            elif event.kind == "Observed" and event.data.outcome and event.data.outcome.type == "Succeeded":
                settled.setdefault(id, event.at_us)
        success = {id for (id,) in connection.execute("SELECT id FROM payments WHERE status = 'SUCCESS'")}
    finally:
        connection.close()
    return [
        Story(id, event.data.amount_minor, event.at_us, settled.get(id, 0) if id in success else 0)
        for id, event in accepted.items()
    ]


def require_once(stories: list[Story], charges: list[Booked], accepted: int) -> None:
    """Raises Broken unless each accepted payment is a SUCCESS and was charged exactly once, and nothing else was."""
    if len(stories) != accepted:
        raise Broken(f"{accepted} payments were accepted, and the store holds {len(stories)}")
    if open_still := [s.id for s in stories if not s.settled_us]:
        raise Broken(f"{len(open_still)} payments are no success, {open_still[0]} among them")
    asked = {s.id.removeprefix("pay_"): s.amount_minor for s in stories}
    charged: dict[str, list[int]] = {}
    for each in charges:
        charged.setdefault(each.reference[:REFERENCE], []).append(each.amount)
    wrong = [id for id in asked.keys() | charged.keys() if charged.get(id, []) != [asked.get(id)]]
    if wrong:
        raise Broken(f"{len(wrong)} payments were not charged exactly once: pay_{wrong[0]} {charged.get(wrong[0], [])}")


def figures(stories: list[Story], charges: list[Booked], got: Load, seconds: float) -> Figures:
    """Raises Broken when nothing was settled in the counted seconds."""
    from_us, until_us = got.from_us, got.from_us + int(seconds * 1e6)
    took_us = {each.reference[:REFERENCE]: each.took_us for each in charges}
    settled = sum(from_us <= s.settled_us < until_us for s in stories)
    counted = [s for s in stories if from_us <= s.accepted_us < until_us]
    if not settled or not counted:
        raise Broken("no payment was settled in the counted seconds")
    settle_us = [s.settled_us - s.accepted_us for s in counted]
    added_us = [us - took_us[s.id.removeprefix("pay_")] for s, us in zip(counted, settle_us, strict=True)]
    return Figures(settled / seconds, [us / 1000 for us in settle_us], [us / 1000 for us in added_us])


def percentile(values: list[float], percent: float) -> float:
    """The value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def drained(provider: Provider, ours: Payonce, accepted: int) -> None:
    """Wait until all that was accepted is settled. Raises Broken when it takes too long, or a process ends."""
    connection = apsw.Connection(str(ours.store), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(5000)
    until = time.monotonic() + DRAIN_S
    try:
        while True:
            ours.check()
            provider.proc.require_alive()
            (settled,) = next(iter(connection.execute("SELECT count(*) FROM payments WHERE status = 'SUCCESS'")))
            if settled >= accepted:
                return
            if time.monotonic() > until:
                raise Broken(f"{settled} of {accepted} payments were settled {DRAIN_S:g} s after the last one")
            time.sleep(0.1)
    finally:
        connection.close()


class Prober(threading.Thread):
    """A customer: posts a payment, asks until it is a success, rests, and does it again."""

    def __init__(self, port: int, seconds: float) -> None:
        super().__init__(name="prober", daemon=True)
        self.port, self.seconds = port, seconds
        self.took_ms: list[float] = []
        self.failed: BaseException | None = None

    def run(self) -> None:
        until, number = time.monotonic() + self.seconds, 0
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DRAIN_S)
        try:
            while time.monotonic() < until:
                self.took_ms.append(self.once(connection, f"probe-{id(self)}-{number}"))
                number += 1
                time.sleep(PROBE_S)
        except BaseException as error:  # noqa: BLE001 - told by result()
            self.failed = error
        finally:
            connection.close()

    def once(self, connection: http.client.HTTPConnection, key: str) -> float:
        """Milliseconds from the first byte of the request to the answer that says SUCCESS."""
        began = time.perf_counter()
        headers = {"content-type": "application/json", "idempotency-key": key}
        body = load.BODY.replace(load.NUMBER, "probe")
        shown = self.ask(connection, "POST", "/payments", body, headers)
        while shown["status"] != "SUCCESS":
            if time.perf_counter() - began > DRAIN_S:
                raise Broken(f"a probe is {shown['status']} after {DRAIN_S:g} s")
            time.sleep(ASK_S)
            shown = self.ask(connection, "GET", f"/payments/{shown['transactionId']}")
        return (time.perf_counter() - began) * 1000

    def ask(self, connection: http.client.HTTPConnection, method: str, path: str, body: str = "", headers: Any = None) -> Any:
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 202):
            raise Broken(f"{method} {path} was answered {answer.status}: {text[:300]!r}")
        return json.loads(text)

    def result(self) -> list[float]:
        """How long each took. Raises Broken when one failed."""
        self.join(DRAIN_S)
        if self.failed is not None or self.is_alive():
            raise Broken(f"the prober failed: {self.failed or 'it hangs'}")
        return self.took_ms


# --- idle -----------------------------------------------------------------------------------------------------------------


def idle(bench: Bench) -> None:
    """What processes take when there is nothing to do."""
    folder, seconds = bench.folder / "idle", bench.seconds(IDLE_S)
    with (
        Provider(folder, python=bench.python) as provider,
        Payonce(folder / "one", provider.url, python=bench.python) as one,
        Payonce(folder / "apart", provider.url, python=bench.python) as apart,
    ):
        procs = {ONE: one.serve(), "API alone": apart.serve(worker=False), "worker alone": apart.worker()}
        for served in (one, apart):  # not quite as new: each has settled something
            got = load.run(Spec(port=served.port, connections=4, seconds=1))
            got.require_good("before idleness")
            drained(provider, served, got.accepted)
        time.sleep(REST_S)
        for served in (one, apart):
            served.check()
        before = {name: proc.cpu_fine_s() for name, proc in procs.items()}
        began = time.perf_counter()
        time.sleep(seconds)
        took = time.perf_counter() - began
        for name, proc in procs.items():
            part = (proc.cpu_fine_s() - before[name]) / took * 100
            idle_row(bench, name, proc, part)


def idle_row(bench: Bench, name: str, proc: Proc, percent: float) -> None:
    bench.row("idle", name, "CPU", "%", percent)
    bench.row("idle", name, "memory", "MiB", proc.rss_mib())
    bench.say(f"idle: {name}: {percent:.2f} % of a core, {proc.rss_mib():.0f} MiB")
