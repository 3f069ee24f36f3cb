"""Webhooks in the live part of the provider contract: what the simulator announces and signs is what the adapter verifies,
and it is about the payment that it belongs to."""

from pathlib import Path
from typing import Any

import pytest

from payonce.adapter import WebhookEvent

from .provider_cases import Subject
from .provider_live_money import BACK, LiveMoney, charged, given, refund_of
from .provider_wired import Wired

LATER_US = 3_600_000_000
EVENTS_MAX = 100


class LiveHearing(LiveMoney):
    """See the module docstring."""

    def test_the_vendors_webhooks_are_heard(self, subject: Subject, tmp_path: Path) -> None:
        """Every webhook of a payment and its refund is genuine under the sandbox's secret, names the payment, and keeps its id
        when it is delivered again; two events have two ids."""
        if not subject.able("parse_webhook"):
            pytest.skip("this adapter has no webhooks")

        async def test(at: Wired) -> None:
            vendor: Any = at.sandbox.vendors[at.adapter.name]
            if not hasattr(vendor, "sign_webhook"):
                pytest.skip("this simulator sends no webhooks")
            intent, ref = await charged(at)
            if "refund" in at.adapter.CAPABILITIES.steps:
                await given(at, refund_of(intent, ref, 2, BACK))
            with at.sandbox.ledger.transaction():
                bodies = [e.body for e in at.sandbox.ledger.deliveries.events(0, EVENTS_MAX) if e.vendor == at.adapter.name]
            assert bodies, "the vendor took money and gave it back, and announced nothing"
            ids = set[str]()
            for body in bodies:
                first, again = _heard(at, vendor, body, 0), _heard(at, vendor, body, LATER_US)
                assert again == first, f"delivered again it is {again}, not {first}"
                ours = any(name.startswith(intent.reference[:20]) for name in first.references)
                assert ours or ref in first.refs or intent.container in first.refs, f"about another payment: {first}"
                ids.add(first.id)
            assert len(ids) == len(bodies), f"{len(bodies)} events have the ids {ids}"

        self.at(subject, tmp_path, test)


def _heard(at: Wired, vendor: Any, body: bytes, later_us: int) -> WebhookEvent:
    """As the server hears it that listens for this vendor's webhooks at the sandbox."""
    adapter: Any = at.adapter
    now_us = at.clock.now_us() + later_us
    headers = {name.lower(): value for name, value in vendor.sign_webhook(body, now_us).items()}
    secrets = adapter.webhook_secrets(adapter.credentials_of(adapter.SANDBOX_CREDENTIALS))
    adapter.verify_webhook(headers, body, secrets, now_us)
    event: WebhookEvent = adapter.parse_webhook(headers, body)
    return event
