"""Real processes: serve, worker, sandbox; SIGTERM, kill -9, hold."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from payonce.testing.torture.processes import OTHER_NAMES

pytestmark = pytest.mark.usefixtures("one_account")

DEADLINE_S = 30.0


class Process:
    """A payonce command that prints one line of JSON when it is up."""

    def __init__(self, cwd: Path, *args: str, env: dict[str, str] | None = None) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PAYONCE_") and k not in OTHER_NAMES}
        self.log = cwd / f"{args[0]}-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "payonce", *args, "--json"],
                cwd=cwd,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**clean, **(env or {})},
            )
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, f"it ended at start:\n{self.log.read_text()}"
        self.facts: dict[str, Any] = json.loads(line)
        self.url: str = self.facts.get("url", "")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.popen.send_signal(number)
        try:
            return self.popen.wait(timeout=DEADLINE_S)
        finally:
            assert self.popen.stdout is not None
            self.popen.stdout.close()


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start commands in the test's folder; what is still running at the end is killed."""
    started: list[Process] = []

    def begin(*args: str, **kwargs: Any) -> Process:
        started.append(Process(tmp_path, *args, **kwargs))
        return started[-1]

    yield begin
    for process in started:
        if process.popen.poll() is None:
            process.end(signal.SIGKILL)


def post(url: str, key: str, token: str, **more: str) -> str:
    body = {"amount": 1050, "currency": "INR", "paymentMethod": token, **more}
    answer = httpx2.post(f"{url}/payments", json=body, headers={"Idempotency-Key": key}, timeout=10)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["transactionId"])


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for a condition that another process brings about."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"never: {what}")


def status_of(url: str, payment_id: str) -> str:
    return str(httpx2.get(f"{url}/payments/{payment_id}", timeout=10).json()["status"])


def under_way(url: str, payment_id: str) -> bool:
    history = httpx2.get(f"{url}/payments/{payment_id}/history", timeout=10).json()["data"]
    return [e["kind"] for e in history] == ["Accepted", "Planned"]


def charges(url: str) -> list[int]:
    movements = httpx2.get(f"{url}/sandbox/ledger", timeout=10).json()["movements"]
    return [m["amount"] for m in movements if m["kind"] == "charge"]


def cli(cwd: Path, *args: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("PAYONCE_")}
    command = [sys.executable, "-m", "payonce", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=DEADLINE_S, check=False, env=env)


def test_serve_says_where_it_is_and_what_it_does(start: Start, tmp_path: Path) -> None:
    """One line of JSON: URL, docs, data folder; docs, health, ledger and OpenAPI answer there."""
    server = start("serve", "--port", "0", "--data-dir", "data")
    assert server.facts["dataDir"] == str(tmp_path / "data")
    assert (server.facts["worker"], server.facts["hold"], server.facts["mode"]) == (True, False, "test")
    for path in ("/docs", "/livez", "/readyz", "/openapi.json", "/sandbox/ledger"):
        assert httpx2.get(server.url + path, timeout=10).status_code == 200, path
    faults = httpx2.put(f"{server.url}/sandbox/faults", json={"latencyMs": 5}, timeout=10)
    assert faults.json()["latencyMs"] == 5
    assert server.end(signal.SIGINT) == 0


def test_operations_over_http(start: Start, tmp_path: Path) -> None:
    """With --url a hold is captured in part and refunded on the server; more is refused with its words, and a path is no id."""
    server = start("serve", "--port", "0", "--data-dir", "data")
    there = ("--url", server.url, "--wait", "20")
    pay = ("pay", "--amount", "1050", "--currency", "INR", "--method", "tok_ok", "--capture-method", "manual")
    payment = json.loads(cli(tmp_path, *pay, *there, "--json").stdout)
    id = payment["transactionId"]
    assert payment["status"] == "AUTHORIZED"
    captured = cli(tmp_path, "capture", id, "--amount", "600", *there)
    assert (captured.returncode, "6.00 INR  SUCCEEDED" in captured.stdout) == (0, True)
    refund = json.loads(cli(tmp_path, "refund", id, "--json", *there).stdout)
    assert (refund["status"], refund["amount"], refund["payment"]["refunded"]) == ("SUCCEEDED", 600, 600)
    over = cli(tmp_path, "refund", id, *there)
    assert (over.returncode, over.stdout, "amount_exceeds_available" in over.stderr) == (5, "", True)
    assert cli(tmp_path, "void", "../payments?x=1#", *there).returncode == 3
    kinds = [m["kind"] for m in httpx2.get(f"{server.url}/sandbox/ledger", timeout=10).json()["movements"]]
    assert "refund" in kinds


def test_sigterm_lets_a_call_in_flight_finish(start: Start, tmp_path: Path) -> None:
    """A call under way at SIGTERM is finished and recorded, then the process ends with 0."""
    server = start("serve", "--port", "0", "--data-dir", "data")
    payment = post(server.url, "slow", "tok_slow_5s")
    until(lambda: under_way(server.url, payment), "the call is under way")
    assert server.end() == 0
    shown = json.loads(cli(tmp_path, "show", payment, "--data-dir", "data", "--json").stdout)
    assert [e["kind"] for e in shown["history"]] == ["Accepted", "Planned", "Observed"]
    assert shown["payment"]["status"] == "SUCCESS"


def test_sigterm_cuts_a_call_that_takes_longer_than_the_drain(start: Start, tmp_path: Path) -> None:
    """After drain_s the call is cut and the exit code is 0; the send stays on record, to be resolved by reading."""
    server = start("serve", "--port", "0", "--data-dir", "data", env={"PAYONCE_DRAIN_S": "1"})
    payment = post(server.url, "slow", "tok_slow_5s")
    until(lambda: under_way(server.url, payment), "the call is under way")
    begin = time.monotonic()
    assert server.end() == 0
    assert time.monotonic() - begin < 4, "drain_s and a little more"
    shown = json.loads(cli(tmp_path, "show", payment, "--data-dir", "data", "--json").stdout)
    assert [e["kind"] for e in shown["history"]] == ["Accepted", "Planned"]
    assert (shown["payment"]["status"], shown["due"] is not None) == ("PENDING", True)


def test_kill_9_loses_nothing(start: Start, tmp_path: Path) -> None:
    """Killed in the middle of a call and started again: settled, charged once, and the history is clean."""
    server = start("serve", "--port", "0", "--data-dir", "data")
    payment = post(server.url, "lost", "tok_lost_response")
    server.end(signal.SIGKILL)
    again = start("serve", "--port", "0", "--data-dir", "data")
    assert post(again.url, "lost", "tok_lost_response") == payment
    until(lambda: status_of(again.url, payment) == "SUCCESS", "it is settled after the restart")
    assert charges(again.url) == [1050]
    assert cli(tmp_path, "verify", "--data-dir", "data").returncode == 0


def test_worker_apart_from_serve(start: Start) -> None:
    """`serve --no-worker` only accepts; two workers on the same file settle everything, each payment once."""
    server = start("serve", "--port", "0", "--no-worker", "--data-dir", "data")
    payments = [post(server.url, f"apart-{n}", "tok_ok") for n in range(10)]
    assert {status_of(server.url, p) for p in payments} == {"PENDING"}
    workers = [start("worker", "--data-dir", "data") for _ in range(2)]
    until(lambda: {status_of(server.url, p) for p in payments} == {"SUCCESS"}, "the workers settle them")
    assert charges(server.url) == [1050] * 10
    assert [process.end() for process in (*workers, server)] == [0, 0, 0]


def test_the_sandbox_as_its_own_server(start: Start, tmp_path: Path) -> None:
    """An account with a base_url pays at a sandbox in another process, over real HTTP."""
    sandbox = start("sandbox", "--port", "0", "--ledger", "books.db")
    assert sandbox.facts["ledger"] == str(tmp_path / "books.db")
    (tmp_path / "payonce.toml").write_text(
        f'version = 1\n[providers.mock]\nbase_url = "{sandbox.url}/mock"\nsecret = "file:key"\n'
    )
    (tmp_path / "key").write_text("k")
    server = start("serve", "--port", "0", "--data-dir", "data")
    assert server.facts["sandbox"] is None
    payment = post(server.url, "far", "tok_ok")
    until(lambda: status_of(server.url, payment) == "SUCCESS", "it is charged over HTTP")
    assert charges(sandbox.url) == [1050]
    assert [server.end(), sandbox.end()] == [0, 0]


def sandbox_url(lines: list[str]) -> str:
    return lines[0].rsplit(" ", 1)[1]


def test_the_sandbox_says_how_to_use_it(tmp_path: Path, start: Start) -> None:
    """The banner's payonce.toml and variables, as they are printed, make a server that pays at each vendor of that sandbox."""
    command = [sys.executable, "-u", "-m", "payonce", "sandbox", "--port", "0", "--ledger", "books.db"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as sandbox:
        assert sandbox.stdout is not None
        lines: list[str] = []
        try:
            while not lines or "Ctrl-C" not in lines[-1]:
                lines.append(sandbox.stdout.readline().rstrip("\n"))
                assert sandbox.poll() is None
            toml, run = (block.strip() for block in "\n".join(lines).split("To use it")[1].split("and start payonce"))
            shown = [line[4:] for line in toml.splitlines() if line.startswith("    ")]
            (tmp_path / "payonce.toml").write_text("\n".join(shown))
            exports = dict(re.findall(r"^ +export (\w+)=(\S+)$", run, re.MULTILINE))
            server = start("serve", "--port", "0", "--data-dir", "data", env=exports)
            vendors = ("cashfree", "mock", "razorpay")
            payments = [post(server.url, vendor, "tok_ok", provider=vendor) for vendor in vendors]
            until(lambda: {status_of(server.url, p) for p in payments} == {"SUCCESS"}, "each vendor of the sandbox charges")
            movements = httpx2.get(f"{sandbox_url(lines)}/sandbox/ledger", timeout=10).json()["movements"]
            assert sorted(m["provider"] for m in movements if m["kind"] in ("charge", "capture")) == list(vendors)
            assert server.end() == 0
        finally:
            sandbox.terminate()


def test_hold_fires_nothing_until_reconcile_ran(start: Start, tmp_path: Path) -> None:
    """With --hold payments are accepted but not charged; `payonce reconcile` in another process lifts it."""
    server = start("serve", "--port", "0", "--hold", "--data-dir", "data")
    payment = post(server.url, "held", "tok_ok")
    # the held payment was looked at and put off by the worker: that is when it would have been fired
    until(lambda: deferred(tmp_path / "data", payment), "the worker holds it back")
    assert (charges(server.url), status_of(server.url, payment)) == ([], "PENDING")
    assert "holding" in httpx2.get(f"{server.url}/readyz", timeout=10).text
    # the hold binds every process on the store, not only the one that was started with it
    paid = cli(tmp_path, "pay", "--amount", "7", "--currency", "INR", "--wait", "0.5", "--data-dir", "data")
    assert (paid.returncode, charges(server.url)) == (6, []), paid.stdout
    assert cli(tmp_path, "reconcile", "--data-dir", "data").returncode == 0
    until(lambda: sorted(charges(server.url)) == [7, 1050], "both are charged after the hold")
    until(lambda: status_of(server.url, payment) == "SUCCESS", "it is charged after the hold")
    assert server.end() == 0


def deferred(data: Path, payment: str) -> bool:
    import apsw

    connection = apsw.Connection(str(data / "payments.db"), flags=apsw.SQLITE_OPEN_READONLY)
    (due_us,) = connection.execute("SELECT due_us FROM due WHERE id = ?", (payment,)).fetchone() or (0,)
    (created_us,) = connection.execute("SELECT created_us FROM payments WHERE id = ?", (payment,)).fetchone() or (0,)
    connection.close()
    return bool(due_us > created_us + 1_000_000)


def test_a_port_in_use_is_one_message(start: Start, tmp_path: Path) -> None:
    """A second server on the same port ends with 2 and names the fix."""
    server = start("serve", "--port", "0", "--data-dir", "data")
    port = server.url.rpartition(":")[2]
    second = cli(tmp_path, "serve", "--port", port, "--data-dir", "other")
    assert (second.returncode, second.stdout) == (2, "")
    assert "choose another --port" in second.stderr
    assert "Traceback" not in second.stderr


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here to write to")
def test_a_full_disk_for_logs_keeps_no_server_from_starting(tmp_path: Path) -> None:
    """Standard output and standard error go to a disk without room: it serves, settles, and ends as asked."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PAYONCE_") and k not in OTHER_NAMES}
    with FULL.open("wb") as full:
        argv = [sys.executable, "-m", "payonce", "serve", "--port", str(port)]
        server = subprocess.Popen(argv, cwd=tmp_path, stdout=full, stderr=full, env=clean)
    try:
        until(lambda: server.poll() is not None or answers(url), "it serves")
        payment = post(url, "order-1", "tok_ok")
        until(lambda: status_of(url, payment) == "SUCCESS", "it is settled")
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=DEADLINE_S) == 0
    finally:
        server.kill()
        server.wait()


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/livez", timeout=10).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here to write to")
def test_what_cannot_be_printed_is_one_message(tmp_path: Path) -> None:
    """A command whose output has no room says so in a line, and ends with 1."""
    with FULL.open("wb") as full:
        argv = [sys.executable, "-m", "payonce", "config", "show"]
        done = subprocess.run(
            argv, check=False, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, timeout=DEADLINE_S
        )
    said = "payonce: standard output cannot be written (No space left on device); the rest of what it says is lost.\n"
    assert (done.returncode, done.stderr) == (1, said)
