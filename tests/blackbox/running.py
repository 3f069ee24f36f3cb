"""A real ``payonce`` process on a free port, to be killed and started again on the same files."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

START_DEADLINE_S = 30


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Payonce:
    """``payonce serve`` (or another command) with its data folder; start, kill -9, stop, ask."""

    def __init__(self, data_dir: Path, *args: str) -> None:
        self.data_dir, self.port, self.args = data_dir, free_port(), args
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.log = data_dir.parent / f"{data_dir.name}-{self.port}.log"

    def start(self) -> None:
        command = [sys.executable, "-m", "payonce", "serve", "--port", str(self.port), "--data-dir", str(self.data_dir)]
        env = {k: v for k, v in os.environ.items() if not k.startswith("PAYONCE_") and k != "MAX_RETRIES"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*command, *self.args], stdout=log, stderr=log, env=env)
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"payonce ended at start:\n{self.log.read_text()[-2000:]}"
            try:
                if httpx2.get(self.url + "/readyz", timeout=2).status_code == 200:
                    return
            except httpx2.HTTPError:
                time.sleep(0.05)
        raise AssertionError(f"payonce was not ready in {START_DEADLINE_S} s:\n{self.log.read_text()[-2000:]}")

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

    def cli(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Another payonce command on the same data folder."""
        command = [sys.executable, "-m", "payonce", *args, "--data-dir", str(self.data_dir)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

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


def net_charges(movements: list[dict[str, Any]], payment_id: str) -> list[dict[str, Any]]:
    """The charges of a payment that were not given back in full, over all its attempts."""
    ours = [m for m in movements if m["reference"][:20] == payment_id[4:]]
    kept = []
    for charge in (m for m in ours if m["kind"] in ("charge", "capture")):
        back = sum(m["amount"] for m in ours if m["kind"] == "refund" and m["reference"] == charge["reference"])
        if back < charge["amount"]:
            kept.append(charge)
    return kept


def parsed(completed: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(completed.stdout)
