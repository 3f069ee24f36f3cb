"""The README, typed from its first line to its last: with a real server that is killed on the way, a customer who approves, and
beside it the demo, whose end is compared with what the page shows of it."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from payonce.testing.torture.processes import OTHER_NAMES
from tests.blackbox.running import until
from tests.blackbox.terminal import Terminal
from tests.house.fenced import TYPED, Block, fenced, missing
from tests.house.source import ROOT

from .chromium import Browser, BrowserGone, installed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(shutil.which, ("bash", "curl", "make"))), reason="needs bash, curl and make"),
]

PAGE = "README.md"
DEMO_S = 150
KEY = re.compile(r"sk_test_\w+")


def page_blocks() -> list[Block]:
    return fenced((ROOT / PAGE).read_text(encoding="utf-8"))


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """What `make run` starts, at a free port; it goes on beside the tour."""
    said = tmp_path / "demo.txt"
    env = {k: v for k, v in os.environ.items() if not k.startswith("PAYONCE_") and k not in OTHER_NAMES}
    with said.open("wb") as out:
        command = [sys.executable, "-m", "payonce", "demo", "--port", "0"]
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=out, stderr=out)
    yield process, said
    if process.poll() is None:
        process.kill()
        process.wait(timeout=10)


@pytest.fixture
def tour(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, PAGE)
    yield terminal
    terminal.end()


def answer(url: str, path: str, key: str) -> Any:
    """What the server answers to somebody with the key, once it has heard of the key."""

    def there() -> httpx2.Response | None:
        got = httpx2.get(f"{url}{path}", headers={"authorization": f"Bearer {key}"}, timeout=10)
        return got if got.status_code == 200 else None

    return until(there, f"{path} is answered", 20).json()


def payments(url: str, key: str) -> dict[str, dict[str, Any]]:
    """Idempotency key -> payment."""
    return {p["idempotencyKey"]: p for p in answer(url, "/payments", key)["data"]}


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


def test_the_tour_can_be_taken(tour: Terminal, demo: tuple["subprocess.Popen[bytes]", Path], tmp_path: Path) -> None:
    """No command fails, each payment ends as the text says, the books show that nothing was taken twice, and the demo ends as
    the page shows."""
    said = ""
    for block in page_blocks():
        if block.language in TYPED:
            tour.begin(block)
            if "tok_action" in block.text:
                approve(tour.said(r"Send the customer to (http\S+/sandbox/pay/\S+?),")[1], tmp_path / "browser")
            printed = tour.ended()
            said += printed
            if block.language == "python":
                assert "SUCCESS" in printed, printed
    check_the_payments(tour, said)
    check_the_demo(*demo)


def check_the_payments(tour: Terminal, said: str) -> None:
    first = tour.ask("echo $PAYONCE_API_KEY").split()[0]
    until(lambda: payments(tour.url, first)["order-1"]["status"] == "SUCCESS", "order-1 is settled within a minute", 60)
    found = payments(tour.url, first)
    assert {key: (p["status"], p["captured"], p["refunded"]) for key, p in found.items()} == {
        "order-1": ("SUCCESS", 1050, 0),
        "order-2": ("SUCCESS", 600, 250),
        "order-3": ("CANCELED", 0, 0),
        "order-4": ("SUCCESS", 1050, 0),
        "order-5": ("SUCCESS", 1050, 0),
    }
    operators = tour.ask(".venv/bin/payonce key create --scope admin").split()
    (operator,) = [word for word in operators if KEY.fullmatch(word)]
    books = answer(tour.url, "/sandbox/ledger?limit=500", operator)["movements"]
    kinds = {
        key: [m["kind"] for m in books if m["reference"].startswith(p["transactionId"].removeprefix("pay_"))]
        for key, p in found.items()
    }
    assert kinds["order-1"] == kinds["order-4"] == ["authorize", "capture"]
    assert (kinds["order-2"][:2], kinds["order-3"]) == (["authorize", "capture"], ["authorize", "void"])
    assert "refund.succeeded" in said, "no webhook about the refund is listed"
    other, desk = [key for key in dict.fromkeys(KEY.findall(said)) if key != first][:2]
    assert payments(tour.url, other) == {}, "another merchant sees payments that are not theirs"
    assert set(payments(tour.url, desk)) == set(found), "the support desk does not see its merchant's payments"
    assert httpx2.get(f"{tour.url}/payments", timeout=10).status_code == 401, "nobody comes in without a key any more"
    assert '"what":"merchant.created"' in said
    assert f"{tour.url}/dashboard/sign-in?ticket=" in said
    assert "payonce_payments_settled_total" in said, "no metrics were shown"


def check_the_demo(process: "subprocess.Popen[bytes]", file: Path) -> None:
    """It has printed what the page shows of it, and ends by Ctrl-C."""

    def there() -> bool:
        assert process.poll() is None, file.read_text(encoding="utf-8")[-3000:]
        return "The server stays up" in file.read_text(encoding="utf-8")

    until(there, "the demo ends as it should", DEMO_S)
    (shown,) = [block.text for block in page_blocks() if block.text.startswith("What happened:")]
    printed = file.read_text(encoding="utf-8")
    assert missing(shown, printed) == [], printed[-6000:]
    assert re.search(r"/dashboard/sign-in\?ticket=\w+", printed), "no address that signs in was printed"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=40) == 0, file.read_text(encoding="utf-8")[-3000:]
