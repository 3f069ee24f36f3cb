"""The README's tour: every command, as it is written there, with a real server that is killed and a customer who approves."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from payonce.testing.torture.processes import OTHER_NAMES
from tests.blackbox.running import free_port, until
from tests.house.source import ROOT

from .chromium import Browser, BrowserGone, installed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="the tour is typed into bash, with curl"),
]

SECTIONS = ("The 60-second tour", "The rest of a payment's life", "Several merchants, keys")
DEADLINE_S = 180


def tour(port: int) -> str:
    """The commands of the sections, at a free port."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    parts = [text.split(f"\n## {title}\n")[1].split("\n## ")[0] for title in SECTIONS]
    found = [block for part in parts for block in re.findall(r"^```sh\n(.*?)^```", part, re.MULTILINE | re.DOTALL)]
    assert len(found) == len(SECTIONS)
    return "\n".join(found).replace("127.0.0.1:8080", f"127.0.0.1:{port}")


class Typed:
    """The tour, typed into a shell line by line by somebody who stops when a command fails. The last server stays up until
    ``end``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.said = folder, free_port(), folder / "said.txt"
        self.url = f"http://127.0.0.1:{self.port}"
        self.payonce = payonce = folder / ".venv" / "bin" / "payonce"
        payonce.parent.mkdir(parents=True)
        payonce.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m payonce "$@"\n', encoding="utf-8")
        payonce.chmod(0o755)
        end = "echo KEY $PAYONCE_API_KEY\necho THE END\nread -r _ || true"
        script = f"set -e\ntrap 'kill $!; wait $!' EXIT\n{tour(self.port)}\n{end}\n"
        env = {k: v for k, v in os.environ.items() if not k.startswith("PAYONCE_") and k not in OTHER_NAMES}
        with self.said.open("wb") as said:
            self.shell = subprocess.Popen(
                ["bash", "-c", script],
                cwd=folder,
                env={**env, "PAYONCE_PORT": str(self.port)},
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def until_said(self, pattern: str) -> str:
        """Wait until something was printed; the first group of it."""

        def there() -> re.Match[str] | None:
            said = self.said.read_text(encoding="utf-8", errors="replace")
            if found := re.search(pattern, said):
                return found
            assert self.shell.poll() is None, f"the tour stopped with {self.shell.returncode}:\n{said[-3000:]}"
            return None

        found: re.Match[str] = until(there, f"the tour says {pattern}", DEADLINE_S)
        return found[1]

    def get(self, path: str, key: str) -> Any:
        """What the server answers to somebody with the key, once it has heard of the key."""

        def there() -> httpx2.Response | None:
            answer = httpx2.get(f"{self.url}{path}", headers={"authorization": f"Bearer {key}"}, timeout=10)
            return answer if answer.status_code == 200 else None

        return until(there, f"{path} is answered", 20).json()

    def payments(self, key: str) -> dict[str, dict[str, Any]]:
        """Idempotency key -> payment."""
        return {p["idempotencyKey"]: p for p in self.get("/payments", key)["data"]}

    def operators_key(self) -> str:
        """A key for the books, made as whoever runs payonce makes it."""
        make = [str(self.payonce), "key", "create", "--scope", "admin"]
        return subprocess.run(make, cwd=self.folder, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def end(self) -> None:
        assert self.shell.stdin is not None
        self.shell.stdin.close()
        try:
            self.shell.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self.shell.pid, 9)  # a process group of its own, begun above
            raise


@pytest.fixture
def typed(tmp_path: Path) -> Iterator[Typed]:
    typed = Typed(tmp_path)
    yield typed
    typed.end()


def approve(url: str, folder: Path) -> None:
    """As a customer: in a browser where there is one, else by the form that its button sends."""
    program = installed()
    if program is None:
        assert httpx2.post(url, data={"decision": "approve"}, timeout=10).status_code == 303
        return
    try:
        browser = Browser(program, folder)
    except BrowserGone as gone:
        pytest.skip(f"{program} does not start: {gone}")
    try:
        browser.open(url)
        browser.click("Approve")
        browser.until("location.pathname === '/docs'", "the customer is back at the return address")
    finally:
        browser.end()


def test_the_tour_can_be_taken(typed: Typed, tmp_path: Path) -> None:
    """No command fails, each payment ends as the text says, and the books show that nothing was taken twice."""
    approve(typed.until_said(r"Send the customer to (http\S+/sandbox/pay/\S+?),"), tmp_path / "browser")
    first = typed.until_said(r"KEY (sk_test_\w+)")
    typed.until_said(r"(THE END)")
    until(lambda: typed.payments(first)["order-1"]["status"] == "SUCCESS", "order-1 is settled within a minute", 60)
    payments = typed.payments(first)
    ends = {key: (p["status"], p["captured"], p["refunded"]) for key, p in payments.items()}
    assert ends == {
        "order-1": ("SUCCESS", 1050, 0),
        "order-2": ("SUCCESS", 600, 250),
        "order-3": ("CANCELED", 0, 0),
        "order-4": ("SUCCESS", 1050, 0),
    }
    books = typed.get("/sandbox/ledger?limit=500", typed.operators_key())["movements"]
    kinds = {
        key: [m["kind"] for m in books if m["reference"].startswith(p["transactionId"].removeprefix("pay_"))]
        for key, p in payments.items()
    }
    assert kinds["order-1"] == kinds["order-4"] == ["authorize", "capture"]
    assert (kinds["order-2"][:2], kinds["order-3"]) == (["authorize", "capture"], ["authorize", "void"])
    said = typed.said.read_text(encoding="utf-8")
    assert "refund.succeeded" in said, "no webhook about the refund is listed"
    (other,) = set(re.findall(r"sk_test_\w+", said)) - {first}
    assert typed.payments(other) == {}, "another merchant sees payments that are not theirs"
    assert httpx2.get(f"{typed.url}/payments", timeout=10).status_code == 401, "nobody comes in without a key any more"
    assert '"what":"merchant.created"' in said
