"""accounts.py: what routing learns of an account from its adapter."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from payonce.accounts import offers_of
from payonce.adapter import Capabilities
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
    with pytest.raises(ConfigError, match=r"payonce\.toml: providers\.euro: there is no adapter some\. Installed: mock\."):
        offers_of(settings.providers, {"mock": ADAPTER})
