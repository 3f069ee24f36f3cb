"""doctor on a machine where things are broken: every check ends in ok, warn or fail, with its fix."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Payonce


def test_a_ledger_that_cannot_be_used_fails_its_check_only(payonce: Payonce, data: Path) -> None:
    """The sandbox's ledger is a folder: the accounts fail with a fix, the other checks are there."""
    (data / "sandbox-ledger.db").mkdir(parents=True)
    ran = payonce("doctor", "--json")
    checks = {c["name"]: c for c in ran.json["checks"]}
    assert ran.code == 1
    assert checks["sandbox"]["state"] == "fail"
    assert checks["sandbox"]["fix"]
    assert {"python", "data folder", "disk", "port", "store"} <= set(checks)


def test_a_data_folder_that_cannot_be_made_fails(payonce: Payonce, data: Path) -> None:
    """The data folder's name is taken by a file."""
    data.write_text("not a folder")
    ran = payonce("doctor", "--json")
    assert (ran.code, ran.json["ok"]) == (1, False)
    assert all(c["fix"] for c in ran.json["checks"] if c["state"] == "fail")


@pytest.mark.parametrize("blocks", [0, 2])
def test_doctor_on_a_full_disk(tmp_path: Path, blocks: int) -> None:
    """Where nothing can be written it says so, check by check, without a traceback."""
    line = f'ulimit -f {blocks}; exec "$0" -m payonce doctor --json --data-dir data'
    done = subprocess.run(
        ["sh", "-c", line, sys.executable], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    checks = json.loads(done.stdout)["checks"]
    assert {"data folder", "sandbox"} <= {c["name"] for c in checks if c["state"] == "fail"}
    assert all(c["fix"] for c in checks if c["state"] == "fail")


def test_doctor_names_the_payments_file(payonce: Payonce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With store.path the folder that is checked for the payments is that file's."""
    monkeypatch.setenv("PAYONCE_STORE_PATH", str(tmp_path / "far" / "money.db"))
    says = {c["name"]: c["says"] for c in payonce("doctor", "--json").json["checks"]}
    assert str(tmp_path / "far" / "money.db") in says["payments file"]


def test_doctor_warns_of_an_open_door(payonce: Payonce, monkeypatch: pytest.MonkeyPatch) -> None:
    """What serve warns of at its start is a warning here too."""
    monkeypatch.setenv("PAYONCE_HOST", "0.0.0.0")  # noqa: S104  only looked at
    (warned, *_) = [c for c in payonce("doctor", "--json").json["checks"] if c["name"] == "settings"]
    assert (warned["state"], "speaks TLS" in warned["says"]) == ("warn", True)
    assert warned["fix"]


def test_doctor_names_a_hold(payonce: Payonce, data: Path) -> None:
    """Without a mark all is well; with one the modes are named, and what ends it."""
    payonce("pay", "--amount", "5", "--currency", "INR")
    holds = [c for c in payonce("doctor", "--json").json["checks"] if c["name"] == "hold"]
    assert [(c["state"], c["fix"]) for c in holds] == [("ok", "")]
    (data / "payments.db.hold").touch()
    holds = [c for c in payonce("doctor", "--json").json["checks"] if c["name"] == "hold"]
    assert [(c["state"], mode in c["says"]) for c, mode in zip(holds, ("test", "live"), strict=True)] == [("warn", True)] * 2
    assert [c["fix"].partition(":")[0] for c in holds] == ["`payonce reconcile`", "`PAYONCE_MODE=live payonce reconcile`"]
