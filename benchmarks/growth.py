"""Does anything cost more because the store holds more? The same questions to files of a thousand, a hundred thousand and a
million payments (ten million at scale long), through the real server, file by file in turns.

The files are filled with whole histories (``filling``); ``payonce verify`` has looked at the smallest one whole and at some
payments of each other one before anything is measured. What is measured goes on top: payments that are accepted and settled
now. The ratios are those of the medians.
"""

import contextlib
import http.client
import json
import os
import random
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from payonce.stores.rows import cursor_after

from . import load
from .bench import Bench
from .filling import FREE_LEFT, WAITING, TooLittleRoom, fill
from .load import Spec
from .procs import Broken, Proc
from .served import Payonce, Provider
from .stamps import Numbers
from .watching import wal_mib

NAME: Final = "growth"
COUNTS: Final = {
    "quick": (1_000, 20_000),
    "normal": (1_000, 100_000, 1_000_000),
    "long": (1_000, 100_000, 1_000_000, 10_000_000),
}
COPIED: Final = 1_000  # a file of so many is copied for each turn, so that it stays as small as it is
BYTES_EACH: Final = 10_700  # of a payment as life leaves it, with all of its rows and indexes
BYTES_SHORT: Final = 4_500  # of one that was canceled before anything was sent
ACCEPT_S, SETTLE_S, WARM_S = 4.0, 4.0, 1.0
STARTS: Final = 3
ASKED: Final = 300  # times that each question is put
VERIFIED: Final = 3  # payments of a large file that are checked one by one
CONNECTIONS: Final = 64
DRAIN_S: Final = 120.0
SETTINGS: Final = {"PAYONCE_BACKLOG_MAX": "0"}
MONTH_US: Final = 30 * 86_400 * 1_000_000
SWEEP: Final = (
    "SELECT id, due_us FROM due WHERE kind = 'payment' AND due_us <= ? ORDER BY due_us, id LIMIT ?"  # as the store asks
)
REQUEST: Final = "SELECT request FROM keys WHERE merchant_id = 'mer_default' AND mode = 'test' AND key = ?"
AHEAD: Final = 65  # rows that a worker asks for
US: Final = "us"


def run(bench: Bench) -> None:
    """The whole section; some four minutes at scale normal, half of them filling."""
    files = [file for count in COUNTS[bench.scale] if (file := File.filled(bench, count)) is not None]
    try:
        for number in range(bench.times(2)):
            for file in files:
                file.turn(first=number == 0)
        for file in files:
            ratios(bench, files[0], file)
    finally:
        for file in files:
            shutil.rmtree(file.folder, ignore_errors=True)


def case_of(count: int) -> str:
    return f"{count:,} payments"


class File:
    """A store of so many payments."""

    def __init__(self, bench: Bench, count: int) -> None:
        self.bench, self.count, self.case = bench, count, case_of(count)
        self.folder = bench.folder / f"growth-{count}"
        self.kept = self.folder / "payments.db"  # as it was filled, where it is copied for each turn
        self.numbers = Numbers(count)
        self.ours = Payonce(self.folder, settings=SETTINGS, python=bench.python)
        self.ours.data.mkdir(parents=True, exist_ok=True)

    @classmethod
    def filled(cls, bench: Bench, count: int) -> "File | None":
        """A new one, checked; None where the disk has no room for it."""
        file = cls(bench, count)
        began, canceled = time.monotonic(), room_for(bench, count)
        if canceled is None:
            bench.note(f"Not measured: {file.case}. The disk has too little room.")
            return None
        try:
            fill(file.ours.store, count, bench.say, canceled=canceled)
        except TooLittleRoom as error:
            bench.note(f"Not measured: {file.case}. {error}.")
            return None
        os.sync()  # else the disk would still write it while payments are accepted
        took, size = time.monotonic() - began, file.ours.store.stat().st_size
        bench.row(file.case, "payonce", "filled in", "s", took)
        bench.row(file.case, "payonce", "file, a payment", "B", size / count)
        bench.say(f"{file.case}: filled in {took:.0f} s, {size / 1e6:,.0f} MB, {size / count:,.0f} bytes a payment")
        file.verify()
        if count <= COPIED:
            file.ours.store.rename(file.kept)
        return file

    def verify(self) -> None:
        """Raises Broken when payonce's own check finds anything wrong."""
        if self.count <= COPIED:
            self.ours.run("verify")
            return
        for k in range(VERIFIED):
            self.ours.run("verify", "pay_" + self.numbers.id(self.count * (2 * k + 1) // (2 * VERIFIED)))

    def turn(self, *, first: bool) -> None:
        """Everything once. ``first``: also how long a server takes to start, before payments that nobody works on lie about;
        cold means that the system has forgotten the file."""
        if self.kept.exists():
            for name in ("", "-wal", "-shm"):
                self.ours.store.with_name(self.ours.store.name + name).unlink(missing_ok=True)
            shutil.copyfile(self.kept, self.ours.store)
        if first:
            for _ in range(STARTS):
                self.start("")
                forget(self.ours.store)
                self.start(", cold")
            forget(self.ours.store)
            self.accept(", cold")
        self.accept()
        self.settle()
        self.sweep()

    def start(self, how: str) -> None:
        """A server until it is ready, and until it has accepted a payment."""
        with self.ours:
            began = time.monotonic()
            self.ours.serve(worker=False)
            ready_s, first_s = started(self.ours, began)
        put_off(self.ours.store)
        self.row(f"start to ready{how}", "s", ready_s)
        self.row(f"start to the first payment{how}", "s", first_s)
        self.bench.say(f"{self.case}{how}: ready after {ready_s:.2f} s, first payment accepted after {first_s:.2f} s")

    # --- accepting, asking --------------------------------------------------------------------------------------------

    def accept(self, how: str = "") -> None:
        """What an API alone does; nobody works on what is accepted."""
        ours, row, bench = self.ours, self.row, self.bench
        before = ours.store.stat().st_size
        with ours:
            proc = ours.serve(worker=False)
            seconds = bench.seconds(ACCEPT_S)
            spec = Spec(
                port=ours.port, connections=CONNECTIONS, seconds=seconds, warm_s=0 if how else WARM_S, watch=(proc.pid,)
            )
            got = load.run(spec)
            got.require_good(self.case)
            row(f"accepted{how}", "/s", got.rate)
            row(f"accepted, p99{how}", "ms", got.p99_ms)
            row(f"accepted, CPU{how}", US, got.cpu_us)
            wal = wal_mib(ours.store)
            if not how:
                self.ask(proc)
                row("memory", "MiB", proc.rss_mib())
                row("write-ahead log", "MiB", wal)
        grown = ours.store.stat().st_size - before
        if not how:
            row("file, a payment just accepted", "B", grown / got.accepted)
        put_off(ours.store)
        bench.say(f"{self.case}{how}: {got.rate:,.0f}/s accepted, {got.cpu_us:,.0f} us, p99 {got.p99_ms:.1f} ms")

    def ask(self, proc: Proc) -> None:
        """Questions one after the other: the time of the answer, and the server's CPU for it."""
        middle = self.count // 2
        cursor = cursor_after(self.numbers.at_us(middle), "pay_" + self.numbers.id(middle))
        some = random.Random(1).choices(range(self.count - WAITING), k=ASKED)
        pages = {
            "list, first page": "/payments?limit=20",
            "list, from the middle on": f"/payments?limit=20&cursor={cursor}",
            "list, status FAILED": "/payments?limit=20&status=FAILED",
            "list, a rare value of metadata": "/payments?limit=20&metadata=order-{n:09d}",
            "GET by id": "/payments/pay_{id}",
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.ours.port, timeout=30)
        for name, path in pages.items():
            asked = [path.format(n=n, id=self.numbers.id(n)) for n in some]
            self.asked(name, proc, lambda path: get(connection, path), asked)
        keyed = list(repeats(self.ours.store, self.numbers, some))
        self.asked("a repeated key", proc, lambda body: post(connection, *body), keyed)
        connection.close()

    def asked(self, name: str, proc: Proc, ask: Any, those: list[Any]) -> None:
        took, before = list[float](), proc.cpu_fine_s()
        for each in those:
            began = time.perf_counter()
            ask(each)
            took.append((time.perf_counter() - began) * 1000)
        cpu_us = (proc.cpu_fine_s() - before) / len(those) * 1e6
        self.row(name, "ms", sorted(took)[len(took) // 2])
        self.row(f"{name}, CPU", US, cpu_us)

    # --- settling, sweeping -------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Posted, charged at a provider that takes no time, and recorded, by one process."""
        before = self.ours.store.stat().st_size
        with Provider(self.folder, python=self.bench.python) as provider:
            ours = Payonce(self.folder, provider.url, settings=SETTINGS, python=self.bench.python)
            with ours:
                proc = ours.serve()
                spec = Spec(
                    port=ours.port, connections=32, seconds=max(self.bench.seconds(SETTLE_S), 3.0), warm_s=WARM_S, window=256,
                    progress_port=provider.port, watch=(proc.pid,),
                )  # fmt: skip
                got = load.run(spec)
                got.require_good(self.case)
                until = time.monotonic() + DRAIN_S
                while (charged := provider.ledger().charges) < got.accepted:
                    if time.monotonic() > until:
                        raise Broken(f"{self.case}: {charged} of {got.accepted} payments were charged")
                    time.sleep(0.05)
            if twice := provider.ledger().twice:
                raise Broken(f"{self.case}: charged more than once: {twice}")
        self.row("settled", "/s", got.rate)
        self.row("settled, CPU", US, got.cpu_us)
        self.row("file, a payment just settled", "B", (self.ours.store.stat().st_size - before) / got.accepted)
        self.bench.say(f"{self.case}: {got.rate:,.0f}/s settled, {got.cpu_us:,.0f} us")

    def sweep(self) -> None:
        """What a worker asks twice a second: what is due now (nothing), and the same where as much is due as it takes."""
        connection = apsw.Connection(str(self.ours.store), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            for name, before_us in (("sweep, nothing due", time.time_ns() // 1000), ("sweep, much due", 1 << 62)):
                began = time.process_time()
                for _ in range(ASKED):
                    connection.execute(SWEEP, (before_us, AHEAD)).fetchall()
                self.row(f"{name}, CPU", US, (time.process_time() - began) / ASKED * 1e6)
        finally:
            connection.close()

    def row(self, metric: str, unit: str, value: float) -> None:
        self.bench.row(self.case, "payonce", metric, unit, value)


def ratios(bench: Bench, least: File, file: File) -> None:
    """Each figure as a part of what it is in the smallest file."""
    for row in [row for row in bench.result.of(NAME, case=file.case) if row.unit in ("/s", "ms", US, "s", "MiB")]:
        base = bench.result.row(NAME, least.case, row.subject, row.metric)
        if base is not None and base is not row and base.median:
            bench.row(f"{file.case} to {least.case}", row.subject, row.metric, "ratio", row.median / base.median)


# --- the disk -------------------------------------------------------------------------------------------------------------


def room_for(bench: Bench, count: int) -> float | None:
    """Which part of the payments has to be short ones so that the file fits; None: it does not fit at all."""
    free = shutil.disk_usage(bench.folder).free - FREE_LEFT - (4 << 30)
    if count * BYTES_EACH <= free:
        return 0.0
    part = (BYTES_EACH - free / count) / (BYTES_EACH - BYTES_SHORT)
    if part > 1:
        return None
    bench.note(
        f"{case_of(count)} as life leaves them need {count * BYTES_EACH / 1e9:,.0f} GB, and {free / 1e9:,.0f} GB of the disk "
        f"can be had: {part:.0%} of them are short histories, canceled before anything was sent."
    )
    return part


def forget(store: Path) -> None:
    """The system's cache of the file, as far as it can be had without being root."""
    for path in store.parent.glob(store.name + "*"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def put_off(store: Path) -> None:
    """What was accepted and nobody worked on is due in a month: the next server has no work with it."""
    connection = apsw.Connection(str(store))
    now_us = time.time_ns() // 1000
    connection.execute("UPDATE due SET due_us = ? WHERE kind = 'payment' AND due_us <= ?", (now_us + MONTH_US, now_us))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()


# --- over HTTP ------------------------------------------------------------------------------------------------------------


def started(ours: Payonce, began: float) -> tuple[float, float]:
    """Seconds from the start of the process until it is ready, and until it has accepted a payment."""
    while True:
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(f"{ours.url}/readyz", timeout=60):
            break
        time.sleep(0.01)
    ready_s = time.monotonic() - began
    connection = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=60)
    post(connection, f"first-{time.time_ns()}", load.BODY, replayed=False)
    connection.close()
    return ready_s, time.monotonic() - began


def get(connection: http.client.HTTPConnection, path: str) -> None:
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200 or b'"transactionId"' not in text:
        raise Broken(f"GET {path} was answered {answer.status}: {text[:300]!r}")


def post(connection: http.client.HTTPConnection, key: str, body: str, *, replayed: bool = True) -> None:
    connection.request("POST", "/payments", body, {"content-type": "application/json", "idempotency-key": key})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 202 or (answer.getheader("idempotent-replayed") == "true") is not replayed:
        raise Broken(f"POST /payments with {key} was answered {answer.status}: {text[:300]!r}")


class _Details(msgspec.Struct):
    payment_method: str
    metadata: dict[str, str]


class _Asked(msgspec.Struct):
    amount_minor: int
    currency: str
    client_id: str
    details: _Details


def repeats(store: Path, numbers: Numbers, some: list[int]) -> Iterator[tuple[str, str]]:
    """Keys of old payments, and what was posted with them."""
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        for n in some:
            key = numbers.key(numbers.place(n))
            (raw,) = next(iter(connection.execute(REQUEST, (key,))))
            asked = msgspec.json.decode(raw, type=_Asked)
            body = {
                "amount": asked.amount_minor,
                "currency": asked.currency,
                "clientId": asked.client_id,
                "paymentMethod": asked.details.payment_method,
                "metadata": asked.details.metadata,
            }
            yield key, json.dumps(body)
    finally:
        connection.close()
