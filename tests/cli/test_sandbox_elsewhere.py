"""The sandbox as its own server for the shipped accounts: told where payonce is, and payonce where it is."""

from pathlib import Path

import httpx2
import pytest

from payonce.cli.options import Exit
from payonce.cli.sandbox import endpoints_at, server_named
from payonce.config import load

from .conftest import Payonce
from .test_processes import Start, post, start, status_of, until

__all__ = ["start"]  # the fixture


def test_each_account_of_the_settings_gets_its_address(tmp_path: Path) -> None:
    """The shipped accounts by their names, not by the vendors'; two accounts of one vendor both hear of it."""
    shipped = endpoints_at(load(file=None, env={}), "http://127.0.0.1:8080")
    assert shipped["razorpay"] == ["http://127.0.0.1:8080/webhooks/razorpay_mock"]
    file = tmp_path / "payonce.toml"
    file.write_text('version = 1\n[providers.one]\nadapter = "mock"\n[providers.two]\nadapter = "mock"\n')
    both = endpoints_at(load(file=file), "https://pay.example.com/x")
    assert both == {"mock": [f"https://pay.example.com/x/webhooks/{name}" for name in ("one", "two")]}


def test_without_an_account_at_the_sandbox_there_is_nothing_to_tell(tmp_path: Path) -> None:
    """Accounts that lead elsewhere hear nothing from the sandbox: that is said."""
    file = tmp_path / "payonce.toml"
    file.write_text('version = 1\n[providers.one]\nadapter = "mock"\nbase_url = "https://x.invalid"\nsecret = "env:K"\n')
    with pytest.raises(Exit, match="no account of these settings is at the sandbox"):
        endpoints_at(load(file=file), "http://127.0.0.1:8080")


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://x", "http://x/?a=1", "http://x#a"])
def test_what_is_no_address_is_refused(payonce: Payonce, url: str) -> None:
    """Before anything is started."""
    ran = payonce("sandbox", "--port", "0", "--webhooks-to", url)
    assert (ran.code, ran.out, "Nothing was started" in ran.err) == (2, "", True)


def test_an_address_ends_without_a_slash() -> None:
    """So that the account's path can be put behind it."""
    assert server_named("http://127.0.0.1:8080/") == "http://127.0.0.1:8080"


def test_a_file_and_a_sandbox_elsewhere(start: Start, tmp_path: Path) -> None:
    """On a file too: payments of the shipped accounts settle at the other server, nothing runs here, and doctor and pay reach
    it as well."""
    sandbox = start("sandbox", "--port", "0", "--ledger", "books.db")
    there = {"PAYONCE_SANDBOX_URL": sandbox.url}
    server = start("serve", "--port", "0", "--data-dir", "data", env=there)
    payment = post(server.url, "k", "tok_ok", provider="razorpay_mock")
    until(lambda: status_of(server.url, payment) == "SUCCESS", "it is charged elsewhere")
    movements = httpx2.get(f"{sandbox.url}/sandbox/ledger", timeout=10).json()["movements"]
    assert [m["provider"] for m in movements if m["kind"] in ("charge", "capture")] == ["razorpay"]
    assert httpx2.get(f"{server.url}/sandbox/ledger", timeout=10).status_code == 404
    assert not (tmp_path / "data" / "sandbox-ledger.db").exists()
    assert [server.end(), sandbox.end()] == [0, 0]


def test_doctor_and_pay_go_there(payonce: Payonce, start: Start, monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    """Commands that send go to the same server; doctor says where the accounts lead."""
    sandbox = start("sandbox", "--port", "0", "--ledger", "books.db")
    monkeypatch.setenv("PAYONCE_SANDBOX_URL", sandbox.url)
    asked = ("pay", "--amount", "5", "--currency", "INR", "--method", "tok_ok", "--wait", "20", "--json")
    assert payonce(*asked).json["status"] == "SUCCESS"
    says = {c["name"]: c["says"] for c in payonce("doctor", "--json").json["checks"]}
    assert says["account mock"].startswith(f"the sandbox {sandbox.url}: ")
    assert not (data / "sandbox-ledger.db").exists()
