"""A provider from outside: examples/wrenmoor, as docs/adding-a-provider.md makes it, installed beside payonce and used.

Nothing can be downloaded here and the build backend is no dependency of ours, so no wheel is built. A folder with what
the wheel would hold (the package, and a dist-info with the entry points of its pyproject.toml) goes on PYTHONPATH of
new processes: importlib.metadata finds it there exactly as in site-packages, and payonce knows it by nothing else.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .blackbox.running import Payonce, parsed, until

EXAMPLE = Path(__file__).parents[1] / "examples" / "wrenmoor"
ACCOUNT = "wrenmoor_test"
SETTLE_DEADLINE_S = 90
# token -> how a payment over it ends when the rule sends it to wrenmoor first, and who keeps its money
ENDS = {
    "tok_ok": ("SUCCESS", "wrenmoor"),
    "tok_lost_response": ("SUCCESS", "wrenmoor"),
    "tok_500_after_charge": ("SUCCESS", "wrenmoor"),
    "tok_500_then_ok": ("SUCCESS", "wrenmoor"),
    "tok_garbage_response": ("SUCCESS", "wrenmoor"),
    "tok_timeout_then_ok": ("SUCCESS", "wrenmoor"),
    "tok_slow_5s": ("SUCCESS", "wrenmoor"),
    "tok_decline_insufficient_funds": ("FAILED", ""),
    "tok_decline_stolen_card": ("FAILED", ""),
    "tok_decline_then_ok": ("SUCCESS", "mock"),  # a soft decline of the issuer: the next account of the route
    "tok_technical_then_ok": ("SUCCESS", "mock"),  # the vendor's own trouble
    "tok_not_enabled_then_ok": ("SUCCESS", "mock"),  # the account is not set up for it
    "tok_late_success": ("FAILED", ""),  # its ticket is closed, so it is never taken
    "tok_wrong_amount": ("IN_DOUBT", "wrenmoor"),
}


def install(site: Path) -> None:
    """What an installer would unpack of the example into ``site``."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    package = project["name"].replace("-", "_")
    shutil.copytree(EXAMPLE / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    info = site / f"{package}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [line for group, points in groups for line in (f"[{group}]", *(f"{n} = {v}" for n, v in points.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """New processes have the example installed; this one has not."""
    site = tmp_path / "site"
    site.mkdir()
    install(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return site


def run(*args: str, cwd: Path = EXAMPLE) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PAYONCE_", "PYTEST_")) and k != "MAX_RETRIES"}
    return subprocess.run(
        [sys.executable, "-m", *args], cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False
    )


def test_its_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    """The example's test file, run in its folder as the page says, holds the contract and drives the simulator."""
    own = tmp_path / "own"
    shutil.copytree(EXAMPLE, own, ignore=shutil.ignore_patterns("payonce_wrenmoor", "__pycache__"))
    done = run("pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'pytest'}", cwd=own)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "22 passed" in done.stdout, done.stdout[-300:]


def test_its_tests_can_fail(installed: Path, tmp_path: Path) -> None:
    """They fail when a case is missing, when an unmapped refusal is taken for a no, and when an amount is not read."""
    own = tmp_path / "own"
    shutil.copytree(EXAMPLE, own, ignore=shutil.ignore_patterns("payonce_wrenmoor", "__pycache__"))
    (own / "fixtures" / "fire_card_stolen.json").unlink()
    adapter = installed / "payonce_wrenmoor" / "adapter.py"
    text = adapter.read_text(encoding="utf-8")
    for right, wrong in (
        ("DECLINES.get(payment.refusal))", 'DECLINES.get(payment.refusal, DECLINES["bank_refused"]))'),
        (
            "amount_minor=amount_minor,\n                currency=payment",
            "amount_minor=1250,\n                currency=payment",
        ),
    ):
        assert right in text
        text = text.replace(right, wrong)
    adapter.write_text(text, encoding="utf-8")
    recorded = ("-p", "no:cacheprovider", f"--basetemp={tmp_path / 'pytest'}", "-k", "TestRecorded")
    done = run("pytest", "-q", *recorded, cwd=own)
    assert done.returncode == 1, done.stdout[-3000:]
    assert "decline card_stolen" in done.stdout
    assert "bank_refused -> never_heard_of" in done.stdout
    assert "fire_paid, amount_minor 1250 -> " in done.stdout


def test_it_is_routed_to(installed: Path) -> None:
    """`payonce routes explain` names its account first for the currency of its rule, and skips it where it cannot."""
    explained = run("payonce", "routes", "explain", "--amount", "1250", "--currency", "NOK", "--json")
    found = parsed(explained)
    assert (found["rule"], [c["account"] for c in found["candidates"]]) == ("europe", [ACCOUNT, "mock"])
    other = parsed(run("payonce", "routes", "explain", "--amount", "1250", "--currency", "USD", "--json"))
    assert [c["account"] for c in other["skipped"]] == [ACCOUNT]
    assert "USD" in other["skipped"][0]["why"]


def test_doctor_reaches_it(installed: Path, tmp_path: Path) -> None:
    """`payonce doctor` resolves its credentials and gets an answer to a read."""
    checks = parsed(run("payonce", "doctor", "--json", "--data-dir", str(tmp_path / "data")))["checks"]
    (found,) = [c for c in checks if c["name"] == f"account {ACCOUNT}"]
    assert found["state"] == "ok", found


def test_without_it_nothing_starts(tmp_path: Path) -> None:
    """The same configuration without the package is refused, and the message names the adapter."""
    done = run("payonce", "serve", "--port", "0", "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 2
    assert "there is no adapter wrenmoor" in done.stderr


@pytest.fixture
def server(installed: Path, tmp_path: Path) -> Iterator[Payonce]:
    """A server with the example's own configuration."""
    server = Payonce(tmp_path / "data", toml=(EXAMPLE / "payonce.toml").read_text(encoding="utf-8"))
    server.start()
    try:
        yield server
    finally:
        server.end()


def test_payments_go_through_it(server: Payonce) -> None:
    """Payments of its currency are settled there, whatever its answers suffer; the ledger bears out every status."""
    ids = {token: server.post(token, currency="NOK", paymentMethod=token) for token in ENDS}
    other = server.post("other", currency="USD")
    everything = until(lambda: settled(server), "everything is settled", SETTLE_DEADLINE_S)
    movements = server.ledger()
    ends = {}
    for token, payment_id in ids.items():
        kept = kept_of(movements, payment_id)
        assert len(kept) <= 1, (token, kept)
        ends[token] = (everything[payment_id]["status"], kept[0]["provider"] if kept else "")
    assert ends == ENDS
    late = [(m["provider"], m["kind"]) for m in movements if m["reference"][:20] == ids["tok_late_success"][4:]]
    assert late == []  # the ticket was closed before anybody was told FAILED
    assert [m["provider"] for m in kept_of(movements, other)] == ["mock"]
    first, (charge,) = everything[ids["tok_ok"]], kept_of(movements, ids["tok_ok"])
    assert (first["provider"], charge["amount"], charge["currency"]) == (ACCOUNT, first["amount"], "NOK")
    assert {name: row["adapter"] for name, row in server.accounts().items()} == {"mock": "mock", ACCOUNT: "wrenmoor"}


@pytest.mark.slow
def test_the_demo_shows_it(installed: Path) -> None:
    """`payonce demo` with its configuration sends payments there, and finds every status borne out by its ledger."""
    done = run("payonce", "demo", "--exit", "--seconds", "2", "--port", "0")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert re.search(rf"^ +{ACCOUNT} +[1-9]", done.stdout, re.MULTILINE), done.stdout[-3000:]
    assert re.search(rf"charged by {ACCOUNT}", done.stdout)


def kept_of(movements: list[dict[str, Any]], payment_id: str) -> list[dict[str, Any]]:
    """The charges of a payment that were not given back."""
    ours = [m for m in movements if m["reference"][:20] == payment_id[4:]]
    back = {m["reference"] for m in ours if m["kind"] == "refund"}
    return [m for m in ours if m["kind"] == "charge" and m["reference"] not in back]


def settled(server: Payonce) -> dict[str, dict[str, Any]] | None:
    """Every payment, once all are settled or in doubt."""
    every = server.payments()
    waiting = any(view["status"] not in ("SUCCESS", "FAILED", "IN_DOUBT") for view in every.values())
    return None if waiting else every
