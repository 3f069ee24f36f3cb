"""The demo: run whole as a process, and its comparison with the ledger on made-up books."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from payonce.config import load
from payonce.demo import free_port
from payonce.demo.balance import Balance, differences, net_charges, summary
from payonce.demo.traffic import MIX, Outage, Traffic, script
from payonce.sandbox.faults import TOKENS

A, B = "06h0wbrpa3g8pt8ne21d", "06h0wbrq3h32mnd6km69"


def movement(kind: str, payment: str, attempt: int = 0, amount: int = 1050) -> dict[str, Any]:
    return {"kind": kind, "reference": f"{payment}01{attempt:02}", "amount": amount, "currency": "INR"}


def view(status: str, amount: int = 1050) -> dict[str, Any]:
    return {"transactionId": f"pay_{A}", "status": status, "amount": amount, "currency": "INR"}


def test_net_charges_are_counted_over_attempts_without_what_was_given_back() -> None:
    """A full reversal takes its charge away, a partial one does not, and two attempts are two charges."""
    books = [movement("charge", A), movement("charge", A, 1), movement("refund", A, 1), movement("charge", B)]
    books += [movement("refund", B, amount=50), movement("authorize", B)]
    assert {p: len(charges) for p, charges in net_charges(books).items()} == {f"pay_{A}": 1, f"pay_{B}": 1}
    assert len(net_charges([*books, movement("charge", A, 2)])[f"pay_{A}"]) == 2


@pytest.mark.parametrize(
    ("status", "kept", "wrong"),
    [
        ("SUCCESS", [movement("charge", A)], ""),
        ("SUCCESS", [], "ledger shows nothing"),
        ("SUCCESS", [movement("charge", A, amount=1150)], "ledger shows 11.50 INR"),
        ("SUCCESS", [movement("charge", A), movement("charge", A, 1)], "charged 2 times"),
        ("IN_DOUBT", [movement("charge", A), movement("charge", A, 1)], "charged 2 times"),
        ("FAILED", [], ""),
        ("FAILED", [movement("charge", A)], "the ledger keeps a charge"),
        ("IN_DOUBT", [movement("charge", A)], ""),
    ],
)
def test_every_status_is_compared_with_the_ledger(status: str, kept: list[dict[str, Any]], wrong: str) -> None:
    """SUCCESS is exactly one charge of the right amount, FAILED is none, and nothing is ever charged twice."""
    found = differences(view(status), kept)
    assert bool(found) == bool(wrong)
    assert wrong in " ".join(found)


def test_a_broken_promise_is_loud() -> None:
    """What differs from the ledger is printed in full between lines that cannot be overlooked."""
    result = Balance(
        statuses={"SUCCESS": 1}, retried=0, unknown=0, open=0, movements=2, reversed=0, charges_max=2, compared=1,
        wrong=["pay_x was charged 2 times"], example="",
    )  # fmt: skip
    text = summary(result, Traffic(None, [], Outage(), 1))  # type: ignore[arg-type]
    assert "WRONG" in text
    assert "pay_x was charged 2 times" in text
    assert "2 charge at most per payment" in text


def test_the_script_covers_every_token() -> None:
    """Every token of the sandbox has its place, duplicates and odd currencies too; keys are fresh for every run."""
    posts = script(endless=True)
    assert {p.token for p in posts} >= set(TOKENS) - {"tok_decline_do_not_honor", "tok_decline_expired_card"}
    assert {"JPY", "KWD"} <= {p.body["currency"] for p in posts}
    assert sum(p.copies for p in posts) >= len(posts) // 5
    assert "tok_never_resolves" not in MIX
    assert {p.key for p in posts}.isdisjoint(p.key for p in script(endless=True))


def test_a_taken_port_is_replaced_by_a_free_one(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo does not fail on a busy 8080: it takes a free port and says so."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        assert free_port(load({"server.port": port})).number("server.port") == 0
    assert f"Port {port} cannot be used" in capsys.readouterr().out
    assert free_port(load({"server.port": port})).number("server.port") == port


def test_the_demo_runs_and_ends_by_itself(tmp_path: Path) -> None:
    """`payonce demo --exit` without a terminal: plain lines, every payment settled, at most one charge each, exit 0."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PAYONCE_")} | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "payonce", "demo", "--exit", "--seconds", "3", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "\x1b" not in done.stdout
    count = len(script(endless=False))
    assert re.search(rf"^ +{count} payments accepted from \d+ posts$", done.stdout, re.MULTILINE)
    assert re.search(rf"^ +{count} settled: .*\d+ FAILED, \d+ IN_DOUBT, \d+ SUCCESS$", done.stdout, re.MULTILINE)
    assert re.search(r"^ +1 charge at most per payment", done.stdout, re.MULTILINE)
    assert re.search(r"^ +1 taken late", done.stdout, re.MULTILINE)
    assert "every status agrees with the ledger" in done.stdout
    assert "the provider is down" in done.stdout
    assert not list(tmp_path.iterdir()), "the temporary data folder is gone"


def test_ctrl_c_in_the_middle_of_the_demo(tmp_path: Path) -> None:
    """Ctrl-C ends the running demo with 130, without a traceback."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PAYONCE_")} | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "payonce", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=tmp_path) as demo:
        assert demo.stdout is not None
        while "tok_" not in demo.stdout.readline():
            assert demo.poll() is None
        demo.send_signal(signal.SIGINT)
        _, said = demo.communicate(timeout=40)
    assert demo.returncode == 130
    assert "Stopped in the middle" in said
    assert "Traceback" not in said
