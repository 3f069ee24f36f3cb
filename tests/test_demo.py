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
from payonce.demo import free_port, program
from payonce.demo.balance import Balance, differences, net_charges, summary
from payonce.demo.traffic import MIX, Outage, Traffic, script
from payonce.demo.watch import Lines, Quiet, awaited
from payonce.sandbox.faults import TOKENS

A, B = "06h0wbrpa3g8pt8ne21d", "06h0wbrq3h32mnd6km69"


def movement(kind: str, payment: str, attempt: int = 0, amount: int = 1050) -> dict[str, Any]:
    return {"kind": kind, "reference": f"{payment}01{attempt:02}", "amount": amount, "currency": "INR"}


def view(status: str, amount: int = 1050) -> dict[str, Any]:
    return {"transactionId": f"pay_{A}", "status": status, "amount": amount, "currency": "INR"}


def row(status: str) -> dict[str, Any]:
    return {**view(status), "attempts": 1, "reversed": 0}


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


def test_a_doubt_is_not_settled() -> None:
    """IN_DOUBT is counted by itself, never among what is settled."""
    result = Balance(
        statuses={"SUCCESS": 2, "IN_DOUBT": 1, "PENDING": 1}, retried=0, unknown=0, open=1, movements=2, reversed=0,
        charges_max=1, compared=4, wrong=[], example="",
    )  # fmt: skip
    text = summary(result, Traffic(None, [], Outage(), 1))  # type: ignore[arg-type]
    assert re.search(r"^ +2 settled: 2 SUCCESS$", text, re.MULTILINE)
    assert re.search(r"^ +1 IN_DOUBT, not settled", text, re.MULTILINE)


def test_a_quiet_demo_says_what_it_waits_for(capsys: pytest.CaptureFixture[str]) -> None:
    """After five seconds without a change, and again every five seconds; a change starts it anew."""
    quiet, pending, success = Quiet(0.0), [row("PENDING")], [row("SUCCESS")]
    heard = [quiet.lasts(rows, at) for rows, at in ((pending, 1), (pending, 5.9), (pending, 6), (pending, 10), (pending, 11))]
    assert heard == [False, False, True, False, True]
    assert [quiet.lasts(success, at) for at in (12, 16, 17)] == [False, False, True]
    assert awaited(1, 9_000_000, 1_000_000) == "waiting: 1 payment, next look in 8 s"
    assert awaited(2, None, 0) == "waiting: 2 payments"
    lines = Lines(1)
    lines.wait("")
    lines.wait("waiting: 1 payment")
    assert "waiting: 1 payment" in capsys.readouterr().out


def test_the_hint_is_a_command_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is named as it was started: by path, as a module, or by its bare name where that finds it."""
    script_, module = tmp_path / "bin" / "payonce", tmp_path / "lib" / "payonce" / "__main__.py"
    for each in (script_, module):
        each.parent.mkdir(parents=True)
        each.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setattr(sys, "argv", [str(script_)])
    assert program() == "bin/payonce"
    monkeypatch.setenv("PATH", str(script_.parent))
    assert program() == "payonce"
    monkeypatch.setattr(sys, "argv", [str(module)])
    assert program().endswith(" -m payonce")


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
    assert re.search(rf"^ +{count - 1} settled: .*\d+ FAILED, \d+ SUCCESS$", done.stdout, re.MULTILINE)
    assert re.search(r"^ +1 IN_DOUBT, not settled", done.stdout, re.MULTILINE)
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
    assert "stopped; the demo's data folder was removed" in said
    assert not list(tmp_path.iterdir())
    assert "Traceback" not in said
