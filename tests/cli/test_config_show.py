"""config show refuses what serve would refuse, and shows where the payments are."""

from pathlib import Path

import pytest

from .conftest import Payonce

HEAD = "version = 1\n[providers.p]\n"


@pytest.mark.parametrize(
    ("account", "said"),
    [
        ('adapter = "mok"\nbase_url = "https://x.invalid"\nsecret = "env:K"\n', "there is no adapter mok"),
        ('adapter = "mock"\nbase_url = "ftp://x"\nsecret = "env:K"\n', "http:// or https://"),
        ('adapter = "mock"\nbase_url = "https://"\nsecret = "env:K"\n', "http:// or https://"),
        ('adapter = "mock"\nbase_url = "x.invalid/mock"\nsecret = "env:K"\n', "http:// or https://"),
        ('adapter = "mock"\nbase_url = "https://x.invalid"\nsecret = "hush-hush-1"\n', "write env:NAME, file:PATH"),
        ('adapter = "mock"\nbase_url = "https://x.invalid"\nsecret = "env:"\n', "write env:NAME, file:PATH"),
        ('adapter = "mock"\nbase_url = "https://x.invalid"\nsecret = "aws-secret:#key"\n', "aws-secret:NAME#KEY"),
        ('adapter = "mock"\nbase_url = "https://x.invalid"\nsecret = "aws-ssm:"\n', "write env:NAME, file:PATH"),
        ('adapter = "mock"\nbase_url = "https://x.invalid"\nsecret = "aws:k"\n', "write env:NAME, file:PATH"),
    ],
)
def test_config_show_refuses_what_serve_would(payonce: Payonce, tmp_path: Path, account: str, said: str) -> None:
    """An unknown adapter, another scheme and a literal secret end with 2 and the message, without the secret."""
    (tmp_path / "payonce.toml").write_text(HEAD + account)
    ran = payonce("config", "show")
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert "providers.p" in ran.err
    assert "hush-hush" not in ran.err
    served = payonce("serve", "--port", "0")
    assert (served.code, served.out) == (2, "")


def test_config_show_names_the_payments_file(payonce: Payonce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that is used is shown, from the data folder or from store.path."""
    assert payonce("config", "show", "--json").json["paymentsFile"] == str(tmp_path / "data" / "payments.db")
    monkeypatch.setenv("PAYONCE_STORE_PATH", str(tmp_path / "far" / "money.db"))
    assert f"payments file: {tmp_path / 'far' / 'money.db'}" in payonce("config", "show").out
