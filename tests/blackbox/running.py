"""A real ``payonce`` process on a free port, to be killed and started again on the same files."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from payonce.testing.torture.processes import OTHER_NAMES

START_DEADLINE_S = 30


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def until(condition: Callable[[], Any], what: str, seconds: float = 30, every: float = 0.05) -> Any:
    """Wait for a condition and return what it found; ``what`` is said when it never comes true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(every)  # between two looks at the condition
    raise AssertionError(f"not within {seconds:g} s: {what}")


class Payonce:
    """``payonce serve`` (or another command) with its data folder; start, kill -9, stop, ask.

    ``toml`` is the text of a payonce.toml of its own; without it the shipped defaults count."""

    def __init__(self, data_dir: Path, *args: str, toml: str = "", command: str = "serve") -> None:
        self.data_dir, self.port, self.args, self.command = data_dir, free_port(), args, command
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.log = data_dir.parent / f"{data_dir.name}-{command}-{self.port}.log"
        self.config: tuple[str, ...] = ()
        if toml:
            file = data_dir.parent / f"{data_dir.name}-{self.port}.toml"
            file.write_text(toml, encoding="utf-8")
            self.config = ("--config", str(file))

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process and do not wait for it."""
        where = ["--data-dir", str(self.data_dir), *self.config]
        listens = ["--port", str(self.port)] if self.command != "worker" else []
        command = [sys.executable, "-m", "payonce", self.command, *listens, *where, *self.args]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=_env(), cwd=self.data_dir.parent)
        return self.process

    def start(self) -> None:
        """Start it and wait until it accepts payments; a worker, until it says that it runs."""
        process, ready = self.spawn(), "/readyz" if self.command == "serve" else "/sandbox"

        def running() -> bool:
            assert process.poll() is None, f"payonce ended at start:\n{self.log.read_text()[-2000:]}"
            if self.command == "worker":
                return "payonce works on" in self.log.read_text()
            try:
                return httpx2.get(self.url + ready, timeout=2).status_code == 200
            except httpx2.HTTPError:
                return False

        until(running, f"payonce {self.command} is ready", START_DEADLINE_S)

    def kill(self) -> None:
        """kill -9: no drain, no goodbye."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=10)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=40)

    def end(self) -> None:
        """Whatever a test left running."""
        if self.process and self.process.poll() is None:
            self.kill()

    def cli(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Another payonce command on the same data folder."""
        command = [sys.executable, "-m", "payonce", *args, "--data-dir", str(self.data_dir), *self.config]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, env=_env(), cwd=self.data_dir.parent
        )

    # --- over HTTP --------------------------------------------------------------------------------------------------

    def post(self, key: str, amount: int = 1050, currency: str = "USD", method: str = "tok_ok", **more: Any) -> str:
        """Accept a payment; its id."""
        body = {"amount": amount, "currency": currency, "paymentMethod": method, **more}
        answer = httpx2.post(f"{self.url}/payments", json=body, headers={"Idempotency-Key": key}, timeout=10)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["transactionId"])

    def get(self, payment_id: str) -> dict[str, Any]:
        payment: dict[str, Any] = httpx2.get(f"{self.url}/payments/{payment_id}", timeout=10).json()
        return payment

    def history(self, payment_id: str) -> list[dict[str, Any]]:
        """Its events, oldest first."""
        answer = httpx2.get(f"{self.url}/payments/{payment_id}/history", params={"limit": 1000}, timeout=10)
        assert answer.status_code == 200, answer.text
        assert answer.json()["nextAfter"] is None
        events: list[dict[str, Any]] = answer.json()["data"]
        return events

    def ends_as(self, payment_id: str, status: str, seconds: float = 30) -> dict[str, Any]:
        """Wait until the payment has this status; the payment."""

        def there() -> dict[str, Any] | None:
            payment = self.get(payment_id)
            return payment if payment["status"] == status else None

        found: dict[str, Any] = until(there, f"{payment_id} is {status}", seconds)
        return found

    def fault(self, vendor: str, **profile: Any) -> None:
        """Put the fault profile of one vendor; without a profile it is healthy."""
        answer = httpx2.put(f"{self.url}/sandbox/faults/{vendor}", json=profile, timeout=10)
        assert answer.status_code == 200, answer.text

    def shut(self) -> str:
        """What /readyz says of accounts that take nothing new now."""
        said = str(httpx2.get(f"{self.url}/readyz", timeout=10).json()["checks"]["accounts"])
        return said if said != "ok" else ""

    def accounts(self) -> dict[str, dict[str, Any]]:
        """``payonce providers list`` by account, asked by another process."""
        return {row["name"]: row for row in parsed(self.cli("providers", "list", "--json"))["providers"]}

    def ledger(self) -> list[dict[str, Any]]:
        """Every movement of money the sandbox has seen: the outside witness."""
        movements: list[dict[str, Any]] = []
        after: Any = 0
        while True:
            answer = httpx2.get(f"{self.url}/sandbox/ledger", params={"after": after, "limit": 500}, timeout=10).json()
            movements += answer["movements"]
            if not answer["movements"] or answer["next"] is None:
                return movements
            after = answer["next"]

    def payments(self) -> dict[str, dict[str, Any]]:
        """All payments by id."""
        found: dict[str, dict[str, Any]] = {}
        cursor: str | None = None
        while True:
            params = {"limit": "100", **({"cursor": cursor} if cursor else {})}
            page = httpx2.get(f"{self.url}/payments", params=params, timeout=10).json()
            found |= {p["transactionId"]: p for p in page["data"]}
            if (cursor := page["nextCursor"]) is None:
                return found


def _env() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("PAYONCE_") and k not in OTHER_NAMES}


def parsed(completed: subprocess.CompletedProcess[str]) -> Any:
    assert completed.stdout, completed.stderr
    return json.loads(completed.stdout)
