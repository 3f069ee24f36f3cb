"""How many payments a second each contender accepts and settles, how long both take, and what CPU a payment costs: of all its
processes, its database and its broker among them."""

import json
import shutil
import statistics
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import load
from benchmarks.bench import Bench
from benchmarks.load import Load, Spec
from benchmarks.procs import Broken
from benchmarks.served import Provider

from .contenders import APART, OURS, Contest, Peer, Running

CONNECTIONS: Final = (16, 64)
ACCEPT_S, SETTLE_S, QUARTER_S, WARM_S = 1.2, 3.0, 2.0, 0.5
WINDOW: Final = 128  # payments under way while settling: each contender works on less at once
ACCEPT: Final = "accept"  # the best of all numbers of connections
SETTLE: Final = "end to end, provider 0 ms"
QUARTER: Final = "end to end at a quarter of it"
RATIOS: Final = "payonce to the best peer"
DRAIN_S: Final = 40.0
ASKED: Final = 200  # payments that are looked at for their times


class Turn:
    """One contender, once: what it reaches, in ``found``."""

    def __init__(self, bench: Bench, contest: Contest, peer: Peer, number: int) -> None:
        self.bench, self.contest, self.peer, self.first = bench, contest, peer, number == 0
        self.folder = bench.folder / f"{'-'.join(peer.name.lower().replace(',', '').split())}-{number}"
        self.found: dict[str, float] = {}  # case -> a second

    def run(self) -> dict[str, float]:
        if self.peer is not APART:  # accepts with the same processes as ONE
            self.accept()
        self.settle()
        return self.found

    def accept(self) -> None:
        """Only the API works."""
        folder = self.folder.with_name(f"{self.folder.name}-accept")
        with Running(self.peer, self.contest, folder, "http://127.0.0.1:9", work=False) as running:
            running.start()
            for connections in CONNECTIONS:
                spec = self.spec(running, connections, ACCEPT_S)
                case = f"accept, {connections} connection{'s' * (connections > 1)}"
                self.keep(case, self.good(load.run(spec)))
        shutil.rmtree(folder)
        self.found[ACCEPT] = max(self.found.values())
        self.bench.row(ACCEPT, self.peer.name, "rate", "/s", self.found[ACCEPT])

    def settle(self) -> None:
        """As fast as they are charged; and, the first time, at a quarter of that rate."""
        with (
            Provider(self.folder, python=self.bench.python) as provider,
            Running(self.peer, self.contest, self.folder, provider.url) as running,
        ):
            running.start()
            file = self.folder / "accepted"
            more = {"window": WINDOW, "progress_port": provider.port, "warm_s": 1.5, "accepted": str(file)}
            got = self.good(load.run(self.spec(running, 32, SETTLE_S, **more)))
            self.drained(provider, got.accepted)
            self.recorded(running, file)
            rate = self.keep(SETTLE, got, latency=False)
            if self.first:
                self.quarter(running, provider, rate / 4, got.accepted)
        shutil.rmtree(self.folder)

    def quarter(self, running: Running, provider: Provider, rate: float, before: int) -> None:
        """How long it takes from accepted to settled when there is no queue."""
        file = self.folder / "accepted-quarter"
        got = self.good(load.run(self.spec(running, 32, QUARTER_S, rate=rate, accepted=str(file))))
        self.drained(provider, before + got.accepted)
        shown = self.recorded(running, file)
        took = sorted((seconds(each["updatedAt"]) - seconds(each["createdAt"])) * 1000 for each in shown)
        p50_ms, p99_ms = statistics.median(took), took[int(len(took) * 0.99)]
        self.bench.row(QUARTER, self.peer.name, "to settle p50", "ms", p50_ms)
        self.bench.row(QUARTER, self.peer.name, "to settle p99", "ms", p99_ms)
        self.bench.say(f"{QUARTER:27} {self.peer.name:27} settled in {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms")

    def spec(self, running: Running, connections: int, seconds: float, **more: Any) -> Spec:
        more = {"warm_s": WARM_S, "seconds": self.bench.seconds(seconds), **more}
        return Spec(port=running.port, connections=connections, watch=running.watched(), **more)

    def good(self, got: Load) -> Load:
        got.require_good(self.peer.name, share=0.02)
        if bad := got.refused + got.errors:
            self.bench.note(f"{self.peer.name}: {bad} of {got.sent} requests had no good answer, the first: {got.said[:200]}")
        if got.was_bottleneck:
            self.bench.note(f"{self.peer.name}: the load itself took {got.busy:.0%} of a core.")
        return got

    def keep(self, case: str, got: Load, *, latency: bool = True) -> float:
        row, name = self.bench.row, self.peer.name
        row(case, name, "rate", "/s", got.rate)
        row(case, name, "CPU", "us", got.cpu_us)
        if latency:
            row(case, name, "p50", "ms", got.p50_ms)
            row(case, name, "p99", "ms", got.p99_ms)
        self.bench.say(f"{case:27} {name:27} {got.rate:7,.0f}/s  p99 {got.p99_ms:6.1f} ms  {got.cpu_us:7,.0f} us CPU")
        self.found[case] = got.rate
        return got.rate

    def drained(self, provider: Provider, accepted: int) -> None:
        """Wait until each payment is charged. Raises Broken when that takes too long: nobody was killed here."""
        until = time.monotonic() + DRAIN_S
        while (charged := provider.ledger().charges) < accepted:
            if time.monotonic() > until:
                raise Broken(f"{self.peer.name}: {charged} of {accepted} payments are charged {DRAIN_S:g} s after the last one")
            time.sleep(0.1)

    def recorded(self, running: Running, file: Path) -> list[dict[str, Any]]:
        """Some of the payments that are charged, as the contender shows them once it has written down that they are. Raises
        Broken when it does not."""
        ids = [line.split()[1] for line in file.read_text(encoding="utf-8").splitlines()]
        until = time.monotonic() + DRAIN_S
        shown = []
        for id in ids[:: max(len(ids) // ASKED, 1)]:
            while (one := ask(f"{running.url}/payments/{id}"))["status"] != "SUCCESS":
                if time.monotonic() > until:
                    raise Broken(f"{self.peer.name}: a charged payment is {one['status']}: {one}")
                time.sleep(0.05)
            shown.append(one)
        return shown


def ratios(bench: Bench, found: dict[str, dict[str, float]]) -> None:
    """Of one repetition: the better of payonce's two shapes to the best peer, case by case."""
    ours = {peer.name for peer in OURS}
    for case in next(iter(found.values()), {}):
        rates = {name: cases[case] for name, cases in found.items() if case in cases}
        best = max((rate for name, rate in rates.items() if name not in ours), default=0.0)
        own = max((rate for name, rate in rates.items() if name in ours), default=0.0)
        if best and own:
            bench.row(RATIOS, case, "rate", "ratio", own / best)


def ask(url: str) -> dict[str, Any]:
    """A payment. Raises OSError."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        shown: dict[str, Any] = json.loads(answer.read())
        return shown


def seconds(time_said: float | str) -> float:
    """Peers say seconds since 1970, payonce RFC 3339."""
    return datetime.fromisoformat(time_said).timestamp() if isinstance(time_said, str) else time_said
