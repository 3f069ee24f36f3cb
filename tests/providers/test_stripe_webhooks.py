"""Stripe's webhooks, keys and what people are shown: signatures with several parts and secrets, and the sandbox's own."""

import hashlib
import hmac
import json
from typing import Final

import pytest
from tests.providers.stripe_vendor import Vendor

from payonce.adapter import ConfigError, WebhookRefused
from payonce.providers.stripe import ADAPTER
from payonce.sandbox import outbox
from payonce.sandbox.stripe import SIMULATOR

BODY: Final = b'{"id":"evt_1","object":"event","type":"payment_intent.succeeded","data":{"object":{"id":"pi_1"}}}'
NOW_US: Final = 1_800_000_000_250_000
AT: Final = "1800000000"
NEW: Final = "whsec_new"
OLD: Final = "whsec_old"


def signature(secret: str, at: str = AT, body: bytes = BODY) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


def verified(header: str, *secrets: str, now_us: int = NOW_US) -> bool:
    try:
        ADAPTER.verify_webhook({"stripe-signature": header}, BODY, secrets or (NEW,), now_us)
    except WebhookRefused:
        return False
    return True


def test_any_signature_by_any_secret_is_good() -> None:
    """While the vendor rotates, it signs with two secrets at once; so may we know two. Other schemes do not count."""
    good, old, bad = signature(NEW), signature(OLD), "0" * 64
    assert verified(f"t={AT},v1={good}")
    assert verified(f"t={AT},v1={bad},v1={good},v0={bad}")
    assert verified(f"t={AT}, v1={old}", NEW, OLD)
    assert not verified(f"t={AT},v1={old}")
    assert not verified(f"t={AT},v0={good}")
    assert not verified(f"t={AT},v1={good.upper()}")
    assert not verified(f"t={AT},t={AT},v1={good}")
    assert not verified(f"v1={good}")
    assert not verified(f"t={AT}")
    assert not verified("")
    assert not verified(f"t={AT},v1={signature('')}", "")


@pytest.mark.parametrize(("seconds", "fresh"), [(0, True), (299, True), (301, False), (-299, True), (-301, False)])
def test_the_time_is_signed_and_counts(seconds: int, fresh: bool) -> None:
    """Within 300 s to either side; another time needs another signature."""
    at = str(int(AT) - seconds)
    assert verified(f"t={at},v1={signature(NEW, at)}") is fresh
    assert not verified(f"t={at},v1={signature(NEW, str(int(at) + 1))}")


def test_what_is_refused_says_nothing_of_it() -> None:
    """The reason names neither the body nor a secret."""
    with pytest.raises(WebhookRefused) as refused:
        ADAPTER.verify_webhook({"stripe-signature": f"t={AT},v1=00"}, BODY, (NEW,), NOW_US)
    assert all(word not in str(refused.value) for word in ("evt_1", "pi_1", NEW))


def test_what_the_sandbox_announces_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event of a payment and its refund is genuine under the sandbox's secret, has an id of its own, and names the
    payment by our reference and by the container."""
    told = list[tuple[str, bytes]]()
    monkeypatch.setattr(outbox, "announce", lambda _l, _v, event_id, body, _at: told.append((event_id, body)))
    vendor = Vendor()
    pi = vendor.paid()
    refund = vendor.refund(pi, 2, 50)
    vendor.ask(refund)
    secrets = ADAPTER.webhook_secrets(ADAPTER.credentials_of(ADAPTER.SANDBOX_CREDENTIALS))
    heard = []
    for event_id, body in told:
        headers = SIMULATOR.sign_webhook(body, vendor.now_us)
        ADAPTER.verify_webhook(headers, body, secrets, vendor.now_us)
        event = ADAPTER.parse_webhook(headers, body)
        assert event.id == event_id
        heard.append(event)
    kinds = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded", "refund.created", "charge.refunded"]
    assert [e.kind for e in heard] == kinds
    assert all(pi.container in e.refs for e in heard)
    assert [e.references for e in heard] == [(pi.reference,)] * 3 + [(refund.refund_reference,), (pi.reference,)]
    assert len({e.id for e in heard}) == len(heard)


def test_the_key_tells_the_mode() -> None:
    """Secret and restricted keys of either mode; a publishable key, an organization's, or a webhook secret is none."""
    modes = {"sk_test_1": "test", "rk_test_1": "test", "sk_live_1": "live", "rk_live_1": "live"}
    assert {key: ADAPTER.credentials_of({"api_key": key}).mode for key in modes} == modes
    for wrong in ("pk_test_1", "sk_org_1", "whsec_1", "sk_test_", "SK_TEST_1", " sk_test_1"):
        with pytest.raises(ConfigError) as refused:
            ADAPTER.credentials_of({"api_key": wrong})
        assert "_1" not in str(refused.value), "the key itself"
        assert "Nothing was started" in str(refused.value)


def test_both_webhook_secrets_are_optional() -> None:
    """Newest first; none of them: webhooks are refused."""
    both = ADAPTER.credentials_of({"api_key": "sk_test_1", "webhook_secret": NEW, "webhook_secret_old": OLD})
    assert ADAPTER.webhook_secrets(both) == (NEW, OLD)
    only_old = ADAPTER.credentials_of({"api_key": "sk_test_1", "webhook_secret": "", "webhook_secret_old": OLD})
    assert ADAPTER.webhook_secrets(only_old) == (OLD,)
    assert ADAPTER.webhook_secrets(ADAPTER.credentials_of({"api_key": "sk_test_1"})) == ()
    assert all(secret not in f"{both!r}{both}" for secret in ("sk_test_1", NEW, OLD))


def test_people_see_no_way_to_pay() -> None:
    """Of an answer that sends the customer somewhere: its state and our reference, not the client secret, nor the URL."""
    vendor = Vendor()
    pi = vendor.created(payment_method="tok_action", return_url="https://shop.example/back")
    vendor.fire(pi)
    shown = ADAPTER.expose(vendor.answer.body)
    assert b"_secret_" in vendor.answer.body
    assert json.loads(shown)["metadata"] == {"reference": pi.reference}
    assert json.loads(shown)["status"] == "requires_action"
    assert all(word not in shown for word in (b"_secret_", b"http", b"next_action"))
    refused = vendor.created(payment_method="tok_decline_stolen_card", reference="other", key="other")
    vendor.fire(refused)
    error = json.loads(ADAPTER.expose(vendor.answer.body))["error"]
    assert (error["decline_code"], error["payment_intent"]["metadata"]) == ("stolen_card", {"reference": "other"})
    assert b"_secret_" not in ADAPTER.expose(vendor.answer.body)
