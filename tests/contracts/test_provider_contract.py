"""The provider contract over every installed adapter, with its recorded cases and against its simulator."""

from pathlib import Path
from typing import cast

import pytest
from tests.contracts.vendor_specs import SPECS

from payonce.providers import load_adapters
from payonce.testing.provider_cases import Subject
from payonce.testing.provider_contract import ProviderContract
from payonce.testing.provider_live import ProviderLive

BESIDE = Path(__file__).parents[3] / "shared" / "specs"  # beside the project, not in it
FIXTURES = Path(__file__).parents[1] / "fixtures" / "providers"


@pytest.fixture(params=sorted(load_adapters()))
def subject(request: pytest.FixtureRequest) -> Subject:
    name = cast("str", request.param)
    return Subject.load(load_adapters()[name], FIXTURES / name, spec=SPECS.get(name), specs=BESIDE)


class TestRecorded(ProviderContract):
    """Recorded requests and answers, and every way to spoil them."""


class TestLive(ProviderLive):
    """The adapter, the transport and the sandbox, witnessed by the ledger."""
