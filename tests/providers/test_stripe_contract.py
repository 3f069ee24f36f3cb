"""The provider contract over Stripe: recorded cases, and the adapter at its simulator."""

from pathlib import Path
from typing import Any

import pytest
from tests.contracts.vendor_specs import STRIPE

from payonce.providers.stripe import ADAPTER
from payonce.sandbox.server import Sandbox, sandbox_app
from payonce.sandbox.stripe import SIMULATOR
from payonce.testing import provider_live
from payonce.testing.provider_cases import Subject
from payonce.testing.provider_contract import ProviderContract
from payonce.testing.provider_live import ProviderLive

FOLDER = Path(__file__).parents[1] / "fixtures" / "providers" / "stripe"
BESIDE = Path(__file__).parents[3] / "shared" / "specs"


@pytest.fixture
def subject() -> Subject:
    return Subject.load(ADAPTER, FOLDER, spec=STRIPE, specs=BESIDE)


class TestRecorded(ProviderContract):
    """Recorded requests and answers, and every way to spoil them."""


class TestLive(ProviderLive):
    """The adapter, the transport and the sandbox, witnessed by the ledger."""

    @pytest.fixture(autouse=True)
    def _vendor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def only_stripe(path: Any, clock: Any) -> Sandbox:
            return sandbox_app(path, clock, {"stripe": SIMULATOR})

        monkeypatch.setattr(provider_live, "sandbox_app", only_stripe)
