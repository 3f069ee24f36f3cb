"""`payonce providers check`: an account against its provider, here the sandbox, in process and over HTTP."""

import asyncio
import json
from pathlib import Path

import pytest

from payonce.bootstrap import SystemClock
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.server import sandbox_app
from payonce.testing.provider_live import over_socket

from .conftest import Payonce

TOKENS = ("--token", "tok_ok", "--decline-token", "tok_decline_do_not_honor")
PAYS = "a good payment method takes the money once"


@pytest.fixture(autouse=True)
def accounts(tmp_path: Path) -> Path:
    file = tmp_path / "payonce.toml"
    file.write_text("version = 1\n[providers.mock]\n[providers.cashfree]\n")
    return file


def remote(url: str, keys: str = 'secret = "env:PAYONCE_SECRET_MOCK"', mode: str = "test") -> str:
    return f'version = 1\n[providers.mock]\nmode = "{mode}"\nbase_url = "{url}"\n{keys}\n'


def test_nothing_is_sent_without_yes(payonce: Payonce, data: Path) -> None:
    """The steps and where the money would go are shown, with what is missing for some; nothing is made or sent."""
    ran = payonce("providers", "check", "mock")
    assert (ran.code, ran.out) == (2, "")
    assert "test payments of 10.00 INR at http://sandbox.payonce.invalid/mock. Nothing was sent." in ran.err
    assert f"{PAYS} (skipped: no payment method that succeeds was given: --token)" in ran.err
    assert "--yes" in ran.err
    assert not data.exists()


@pytest.mark.parametrize("name", ["mock", "cashfree"])
def test_a_good_account_passes_and_is_reported(payonce: Payonce, data: Path, name: str) -> None:
    """Each step is shown with what was asked and learned; the report has the same, dated, as JSON and as text."""
    ran = payonce("providers", "check", name, *TOKENS, "--yes")
    assert ran.code == 0, ran.out + ran.err
    assert f"pass    {PAYS}" in ran.out
    assert "        asked  POST http://sandbox.payonce.invalid/" in ran.out
    assert ", 0 failed, " in ran.out
    (file,) = (data / "checks").glob("*.json")
    report = json.loads(file.read_text())
    assert (report["account"], report["mode"], report["ok"], report["counts"]["fail"]) == (name, "test", True, 0)
    assert report["startedAt"] <= report["endedAt"]
    assert report["startedAt"].replace(":", "") in file.name
    assert [s["state"] for s in report["steps"] if s["step"] == PAYS] == ["pass"]
    text = file.with_suffix(".txt").read_text()
    assert all(line in text for line in ran.out.splitlines() if line)
    assert str(file) in ran.err


def test_the_store_is_not_touched(payonce: Payonce, data: Path) -> None:
    """Test payments are the sandbox's: payonce has none of them."""
    assert payonce("providers", "check", "mock", *TOKENS, "--yes").code == 0
    assert not (data / "payments.db").exists()
    ledger = Ledger(data / "sandbox-ledger.db")
    assert {m.kind for m in ledger.movements()} >= {"charge", "refund"}
    ledger.close()


def test_a_vendor_that_takes_another_amount_fails(payonce: Payonce, tmp_path: Path) -> None:
    """Exit code 1; the step says what was taken and what was asked, in the output and in the named report."""
    place = tmp_path / "reports" / "mock.json"
    ran = payonce("providers", "check", "mock", "--token", "tok_wrong_amount", "--yes", "--json", "--report", str(place))
    assert ran.code == 1
    assert ran.json["ok"] is False
    (step,) = [s for s in ran.json["steps"] if s["step"] == PAYS]
    assert "amount_minor is 1100, not 1000" in step["concluded"]
    assert json.loads(place.read_text()) == ran.json
    assert "fail    " in place.with_suffix(".txt").read_text()


def test_amount_and_currency_can_be_chosen(payonce: Payonce) -> None:
    """In the vendor's currency, with as much as it demands."""
    ran = payonce("providers", "check", "mock", *TOKENS, "--yes", "--amount", "5000000000", "--currency", "KWD")
    assert ran.code == 0
    assert "took 5000000.000 KWD" in ran.out
    for wrong in (("--currency", "XXX"), ("--amount", "0"), ("--metadata", "=x"), ("--wait", "9999")):
        assert payonce("providers", "check", "mock", *wrong).code == 2
    assert "does not take KWD" in payonce("providers", "check", "cashfree", "--currency", "KWD").err


def test_it_works_over_http_and_hides_the_key(
    payonce: Payonce, accounts: Path, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    """A sandbox of its own, as a vendor's test environment would be; the key is nowhere in output or report."""
    secret = "sk_test_made_up_never_shown"
    monkeypatch.setenv("PAYONCE_SECRET_MOCK", secret)

    async def main() -> None:
        vendor = sandbox_app(":memory:", SystemClock())
        async with over_socket(vendor) as url:
            accounts.write_text(remote(f"{url}/mock"))
            ran = await asyncio.to_thread(payonce, "providers", "check", "mock", *TOKENS, "--yes")
            assert ran.code == 0, ran.out + ran.err
            assert f"asked  POST {url}/mock/charges: HTTP 200" in ran.out
            written = "".join(file.read_text() for file in (data / "checks").iterdir())
            assert secret not in ran.out + ran.err + written
        vendor.close()

    asyncio.run(main())


def test_live_mode_and_live_keys_are_refused(
    payonce: Payonce, accounts: Path, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    """Exit code 5, before anything is sent, whatever else is said."""
    monkeypatch.setenv("PAYONCE_SECRET_MOCK", "sk_test_1")
    accounts.write_text(remote("https://pay.example", mode="live"))
    ran = payonce("providers", "check", "mock", *TOKENS, "--yes")
    assert (ran.code, "live mode" in ran.err, "Nothing was sent" in ran.err) == (5, True, True)
    monkeypatch.setenv("PAYONCE_SECRET_MOCK", "sk_live_1")
    accounts.write_text(remote("https://pay.example"))
    ran = payonce("providers", "check", "mock", *TOKENS, "--yes")
    assert (ran.code, "sk_live" in ran.err, "Nothing was sent" in ran.err) == (5, False, True)
    assert not data.exists()


def test_missing_credentials_are_named(payonce: Payonce, accounts: Path) -> None:
    """Each variable that is not set, and a credential that the adapter wants besides."""
    keys = 'key_id = "env:PAYONCE_SECRET_ID"\nkey_secret = "env:PAYONCE_SECRET_KEY"'
    accounts.write_text(f'version = 1\n[providers.razorpay]\nbase_url = "https://pay.example"\n{keys}\n')
    ran = payonce("providers", "check", "razorpay", "--yes")
    assert ran.code == 2
    assert "PAYONCE_SECRET_ID" in ran.err
    assert "PAYONCE_SECRET_KEY" in ran.err
    accounts.write_text('version = 1\n[providers.razorpay]\nbase_url = "https://pay.example"\n')
    assert "key_id" in payonce("providers", "check", "razorpay", "--yes").err


def test_an_unknown_account_is_refused(payonce: Payonce) -> None:
    """Exit code 2, and what was probably meant."""
    ran = payonce("providers", "check", "mokc", "--yes")
    assert (ran.code, "'mokc'" in ran.err, "Did you mean mock" in ran.err) == (2, True, True)


def test_a_provider_that_is_not_there_is_said(
    payonce: Payonce, accounts: Path, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    """Exit code 6 instead of a list of failures, and no report."""
    monkeypatch.setenv("PAYONCE_SECRET_MOCK", "sk_test_1")
    accounts.write_text(remote("http://127.0.0.1:9"))
    ran = payonce("providers", "check", "mock", *TOKENS, "--yes")
    assert (ran.code, "cannot be reached" in ran.err, "Nothing was sent" in ran.err) == (6, True, True)
    assert list((data / "checks").iterdir()) == []


def test_a_recorded_webhook_is_read_from_a_file(payonce: Payonce, tmp_path: Path) -> None:
    """Header lines, an empty line and the body; another shape, or a time that is none, is refused before anything is sent."""
    file = tmp_path / "webhook"
    file.write_bytes(b"X-Webhook-Signature: bm9uZQ==\r\nX-Webhook-Timestamp: 1795000000000\r\n\r\n{}")
    ran = payonce(
        "providers", "check", "cashfree", "--yes", "--webhook-file", str(file), "--webhook-at", "2026-11-18T10:00:00Z"
    )
    assert ran.code == 1
    assert "the webhook of the file is refused" in ran.out
    assert payonce("providers", "check", "cashfree", "--webhook-file", str(file), "--webhook-at", "yesterday").code == 2
    file.write_bytes(b"no headers")
    ran = payonce("providers", "check", "cashfree", "--yes", "--webhook-file", str(file))
    assert (ran.code, "header lines, an empty line and a body" in ran.err) == (2, True)
