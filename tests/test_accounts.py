"""accounts.py: what routing learns of an account from its adapter."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from payonce.accounts import ProviderConfig, offers_of
from payonce.adapter import Capabilities
from payonce.bootstrap import accounts_of
from payonce.config import load
from payonce.core.errors import ConfigError
from payonce.core.routing import Offer
from payonce.providers.mock import ADAPTER

TOML = """version = 1
[providers.everywhere]
adapter = "mock"
[providers.euro]
adapter = "some"
mode = "live"
base_url = "https://x.invalid"
"""


class Some(type(ADAPTER)):  # type: ignore[misc]
    """The mock provider, but for euros only."""

    name = "some"
    CAPABILITIES: Capabilities = replace(ADAPTER.CAPABILITIES, currencies=frozenset({"EUR"}))


def test_an_offer_is_what_the_account_can_take(tmp_path: Path) -> None:
    """Name and mode come from the configuration, currencies from the adapter."""
    (tmp_path / "payonce.toml").write_text(TOML)
    settings = load(file=tmp_path / "payonce.toml")
    assert offers_of(settings.providers, {"mock": ADAPTER, "some": Some()}) == (
        Offer(account="everywhere", mode="test", currencies=ADAPTER.CAPABILITIES.currencies),
        Offer(account="euro", mode="live", currencies=frozenset({"EUR"})),
    )
    said = r"payonce\.toml, line 5: providers\.euro: there is no adapter some\. Installed: mock\. Nothing was started\."
    with pytest.raises(ConfigError, match=said):
        offers_of(settings.providers, {"mock": ADAPTER})


def test_an_adapter_that_is_not_installed_is_named_with_its_line(tmp_path: Path) -> None:
    """The line of the table when the name says the adapter, and what was probably meant."""
    (tmp_path / "payonce.toml").write_text("version = 1\n\n[providers.mokc]\nhorizon_s = 5\n")
    settings = load(file=tmp_path / "payonce.toml")
    with pytest.raises(
        ConfigError, match=r"line 3: providers\.mokc: there is no adapter mokc; did you mean mock\? Installed: "
    ):
        offers_of(settings.providers, {"mock": ADAPTER})


@pytest.mark.parametrize(
    ("mode", "url", "refused"),
    [
        ("live", "https://sandbox.cashfree.com/pg", "the provider's test host"),
        ("live", "https://SANDBOX.cashfree.com:443/pg/", "the provider's test host"),
        ("live", "https://sandbox.cashfree.com./pg", "the provider's test host"),
        ("test", "https://api.cashfree.com/pg", "the provider's live host"),
        ("live", "https://api.cashfree.com/pg", ""),
        ("test", "https://sandbox.cashfree.com/pg", ""),
        ("live", "https://passes-on.shop.example/pg", ""),
        ("test", "http://127.0.0.1:8080/pg", ""),
    ],
)
def test_the_host_fits_the_mode(tmp_path: Path, mode: str, url: str, refused: str) -> None:
    """No money is called taken that was a test's, and a test takes none: an adapter names hosts of one mode only."""
    file = tmp_path / "payonce.toml"
    secrets = 'client_id = "env:CF_ID"\nclient_secret = "env:CF_SECRET"\n'
    file.write_text(f'version = 1\n[providers.cashfree]\nmode = "{mode}"\nbase_url = "{url}"\n{secrets}')
    settings, env = load(file=file), {"CF_ID": "id", "CF_SECRET": "secret"}
    if refused:
        with pytest.raises(ConfigError, match=rf"payonce\.toml, line 2: providers\.cashfree: .*{refused}.*Nothing was started"):
            accounts_of(settings, env)
    else:
        assert accounts_of(settings, env)["cashfree"].mode == mode


def test_a_webhook_secret_is_no_part_of_who_the_account_is(tmp_path: Path) -> None:
    """Adding, rotating or removing one leaves the account's name for its credentials as it is, which every attempt keeps:
    the account does not look re-pointed. Another key does."""
    file = tmp_path / "payonce.toml"
    table = 'version = 1\n[providers.stripe]\nadapter = "mock"\nbase_url = "https://x.invalid"\nsecret = "env:KEY"\n'

    def name(more: str) -> str:
        file.write_text(table + more)
        return load(file=file).providers[0].credential_id

    assert name("") == "env:KEY"
    assert name('webhook_secret = "env:NEW"\n') == "env:KEY"
    assert name('webhook_secret = "env:NEWER"\nwebhook_secret_old = "file:old"\n') == "env:KEY"
    assert name('other = "env:OTHER"\nwebhook_secret = "env:NEW"\n') == "env:KEY,env:OTHER"


SANDBOX = "[providers.a]\nadapter = 'mock'\n"
REAL = "[providers.a]\nadapter = 'mock'\nbase_url = 'https://x.invalid'\n"
B, C = "mer_01kav5m3w8q2r7x4t6zn", "mer_c"


def configured(folder: Path, text: str) -> ProviderConfig:
    file = folder / "payonce.toml"
    file.write_text("version = 1\n" + text)
    (account,) = load(file=file).providers
    return account


@pytest.mark.parametrize(
    ("text", "whose", "words"),
    [
        (SANDBOX, None, "*"),
        (SANDBOX + "base_url = 'sandbox'\n", None, "*"),
        (REAL, ("mer_default",), "mer_default"),
        (REAL + "merchants = '*'\n", None, "*"),
        (REAL + "merchants = ['*']\n", None, "*"),
        (REAL + f"merchants = '{B}'\n", (B,), B),
        (SANDBOX + f"merchants = ['{B}', '{C}']\n", (B, C), f"{B}, {C}"),
        (SANDBOX + "merchants = []\n", (), "nobody"),
    ],
)
def test_an_account_belongs_to_merchants(tmp_path: Path, text: str, whose: tuple[str, ...] | None, words: str) -> None:
    """As written; without the key an account of the sandbox is everybody's, and any other the default merchant's alone."""
    account = configured(tmp_path, text)
    assert (account.merchants, account.whose) == (whose, words)
    for merchant in ("mer_default", B, C):
        served = whose is None or merchant in whose
        assert account.serves(merchant) is served
        if "https://" not in text:
            made = accounts_of(load(file=tmp_path / "payonce.toml"), {})["a"]
            assert (made.serves(merchant, "test"), made.serves(merchant, "live")) == (served, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("merchants = 5\n", 'must be "*" (everybody), a merchant\'s id or a list of ids'),
        ("merchants = true\n", 'must be "*" (everybody), a merchant\'s id or a list of ids'),
        ("merchants = 'acme'\n", "a merchant's id is mer_ and 1 to 40 of a-z, 0-9 and _"),
        ("merchants = ['mer_A']\n", "a merchant's id is mer_ and"),
        ("merchants = ['mer_']\n", "a merchant's id is mer_ and"),
        (f"merchants = ['mer_{'a' * 41}']\n", "a merchant's id is mer_ and"),
        ('merchants = ["mer_a\\n"]\n', "a merchant's id is mer_ and"),
        ("merchants = ['mer_a', 7]\n", "a merchant's id is mer_ and"),
        ("merchants = ['mer_a', ['mer_b']]\n", "a merchant's id is mer_ and"),
        ("merchants = ['mer_a', '*']\n", '"*" is everybody and stands alone'),
        ("merchants = ['mer_a', 'mer_b', 'mer_a']\n", "names mer_a twice"),
        (f"merchants = {[f'mer_{n}' for n in range(1001)]}\n", "names 1001 merchants, the limit is 1000"),
        ("calls_max = 0\n", "must be a whole number from 1 to 4096"),
        ("calls_max = 4097\n", "must be a whole number from 1 to 4096"),
        ("calls_max = '4'\n", "must be a whole number from 1 to 4096"),
    ],
)
def test_what_is_no_merchant_or_cap_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    """File, line, account and key are named, and what to write."""
    key = text.partition(" ")[0]
    with pytest.raises(ConfigError) as refused:
        configured(tmp_path, SANDBOX + text)
    assert f"payonce.toml, line 4: providers.a.{key}" in str(refused.value)
    assert said in str(refused.value)


def test_a_cap_reaches_the_account(tmp_path: Path) -> None:
    """calls_max is what the account has; without it there is no limit."""
    for text, cap in ((SANDBOX, 0), (SANDBOX + "calls_max = 4\n", 4), (SANDBOX + "calls_max = 4096\n", 4096)):
        assert configured(tmp_path, text).calls_max == cap
        assert accounts_of(load(file=tmp_path / "payonce.toml"), {})["a"].calls_max == cap
