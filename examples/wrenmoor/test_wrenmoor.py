"""The contract of a provider: recorded answers, and the adapter against its simulator."""

from pathlib import Path

import pytest
from payonce_wrenmoor.adapter import ADAPTER

from payonce.testing.provider_cases import Subject
from payonce.testing.provider_contract import ProviderContract
from payonce.testing.provider_live import ProviderLive


@pytest.fixture
def subject() -> Subject:
    return Subject.load(ADAPTER, Path(__file__).parent / "fixtures")


class TestRecorded(ProviderContract):
    """Recorded requests and answers, and every way to spoil them."""


class TestLive(ProviderLive):
    """The adapter and the simulator, with the ledger between them."""
