"""The Cashfree of the sandbox: what it tells by webhook, signed so that the adapter and the vendor's own rule agree."""

import json
from typing import Any

import pytest

from payonce.adapter import WebhookRefused
from payonce.providers.cashfree import ADAPTER
from payonce.sandbox.cashfree import CashfreeVendor
from payonce.sandbox.faults import LATE_S, SLOW_S

from .cashfree_by_hand import ORDER, S, Vendor, doc


def told(v: Vendor) -> list[Any]:
    """What was announced, oldest first."""
    v.ask("GET", f"/orders/{ORDER}")
    return [event for event in v.ledger.deliveries.events(0, 100) if event.vendor == "cashfree"]


def kinds(v: Vendor) -> list[tuple[str, str, str]]:
    """Kind, and order and state of what it is about."""
    found = []
    for event in told(v):
        body = json.loads(event.body)
        data = body["data"]
        about = data.get("payment") or data["refund"]
        order = data["order"]["order_id"] if "order" in data else about["order_id"]
        found.append((body["type"], order, about.get("payment_status") or about["refund_status"]))
    return found


def test_a_payment_that_ends_is_told() -> None:
    """Success and failure at once, those of a slow one when they come; what is on its way is not told."""
    v = Vendor()
    v.order()
    v.order("tok_decline_do_not_honor", "second")
    v.order("tok_slow_5s", "third")
    v.order("tok_never_resolves", "fourth")
    first = [("PAYMENT_SUCCESS_WEBHOOK", ORDER, "SUCCESS"), ("PAYMENT_FAILED_WEBHOOK", "second", "FAILED")]
    assert kinds(v) == first
    v.now += int(SLOW_S * S)
    assert kinds(v) == [*first, ("PAYMENT_SUCCESS_WEBHOOK", "third", "SUCCESS")]


def test_a_failure_that_turns_out_to_be_a_success_is_told_twice() -> None:
    """FAILED, and ten seconds later SUCCESS, with two identities."""
    v = Vendor()
    v.order("tok_late_success")
    v.now += int(LATE_S * S)
    assert [state for _, _, state in kinds(v)] == ["FAILED", "SUCCESS"]
    assert len({event.event_id for event in told(v)}) == 2


def test_a_customer_who_dropped_out_is_told() -> None:
    """By hand, as the vendor's simulation call does it; nothing is told twice."""
    v = Vendor()
    id = doc(v.order("tok_action"))["cf_payment_id"]
    body = {"entity": "PAYMENTS", "entity_id": id, "entity_simulation": {"payment_status": "USER_DROPPED"}}
    assert v.ask("POST", "/simulate", body).status == 200
    v.terminate()
    assert kinds(v) == [("PAYMENT_USER_DROPPED_WEBHOOK", ORDER, "USER_DROPPED")]


def test_refunds_that_end_are_told() -> None:
    """Done, failed, cancelled; what is open is told when it ends."""
    v = Vendor()
    v.order()
    v.refund(1, "r-1")
    v.refund(1, "r-2", refund_note="FAILED")
    v.refund(1, "r-3", refund_note="CANCELLED")
    v.refund(1, "r-4", refund_note="PENDING")
    assert [state for kind, _, state in kinds(v) if kind == "REFUND_STATUS_WEBHOOK"] == ["SUCCESS", "FAILED", "CANCELLED"]
    v.order("tok_slow_5s", "other")
    v.now += int(SLOW_S * S)
    v.refund(1, "r-5", "other")
    before = len(told(v))
    v.now += int(SLOW_S * S)
    assert (len(told(v)), kinds(v)[-1]) == (before + 1, ("REFUND_STATUS_WEBHOOK", "other", "SUCCESS"))


def test_a_hold_and_its_capture_are_two_events() -> None:
    """Both are a payment's SUCCESS; the capture says what was taken."""
    v = Vendor()
    v.order(order_note="preauth_transaction")
    v.ask("POST", f"/orders/{ORDER}/authorization", {"action": "CAPTURE", "amount": 4.2})
    first, second = told(v)
    assert first.event_id != second.event_id
    assert json.loads(second.body)["data"]["payment"]["authorization"]["captured_amount"] == 4.2
    events = [ADAPTER.parse_webhook({}, each.body) for each in (first, second)]
    assert len({each.id for each in events}) == 2


def test_the_adapter_hears_what_the_sandbox_tells() -> None:
    """Every announced body, signed for a delivery, is verified with the sandbox's secret and names our order."""
    v = Vendor()
    v.order()
    v.refund(1, "r-1")
    v.order("tok_decline_stolen_card", "other")
    secrets = ADAPTER.webhook_secrets(ADAPTER.credentials_of(ADAPTER.SANDBOX_CREDENTIALS))
    heard = []
    for each in told(v):
        headers = v.vendor.sign_webhook(each.body, v.now)
        ADAPTER.verify_webhook(headers, each.body, secrets, v.now)
        heard.append(ADAPTER.parse_webhook(headers, each.body))
        with pytest.raises(WebhookRefused):
            ADAPTER.verify_webhook(headers, each.body + b" ", secrets, v.now)
        with pytest.raises(WebhookRefused):
            ADAPTER.verify_webhook(headers, each.body, secrets, v.now + 301 * S)
    assert [event.references for event in heard] == [(ORDER,), (ORDER, "r-1"), ("other",)]
    payments = [json.loads(v.ask("GET", f"/orders/{each}/payments").body)[0]["cf_payment_id"] for each in (ORDER, "other")]
    assert [event.refs[0] for event in heard] == [payments[0], payments[0], payments[1]]


def test_every_delivery_is_signed_anew() -> None:
    """Another time, another signature, the same identity header; an account of its own signs with its own secret."""
    mine, other = CashfreeVendor(("id", "secret")), CashfreeVendor()
    first, later = mine.sign_webhook(b"{}", 1_800_000_000 * S), mine.sign_webhook(b"{}", 1_800_000_120 * S)
    assert first["x-webhook-timestamp"] == "1800000000000"
    assert first["x-webhook-signature"] != later["x-webhook-signature"]
    assert first["x-idempotency-key"] == later["x-idempotency-key"]
    assert other.sign_webhook(b"{}", 1_800_000_000 * S)["x-webhook-signature"] != first["x-webhook-signature"]


@pytest.mark.parametrize(
    ("path", "limit", "by"),
    [("/orders", "200", "app_id"), ("/orders/sessions", "100", "ip"), ("/orders/x/refunds", "100", "app_id")],
)
def test_the_vendor_tells_its_limits(path: str, limit: str, by: str) -> None:
    """Requests that may change something are counted per minute; reads have a limit; refusals do not come of it."""
    v = Vendor()
    for left in range(1, 4):
        headers = v.ask("POST", path, {}).headers
        assert (headers["x-ratelimit-limit"], headers["x-ratelimit-type"]) == (limit, by)
        assert headers["x-ratelimit-remaining"] == str(int(limit) - left)
    v.now += 60 * S
    assert v.ask("POST", path, {}).headers["x-ratelimit-remaining"] == str(int(limit) - 1)
    read = v.ask("GET", "/orders/x/refunds").headers
    assert (read["x-ratelimit-limit"], "x-ratelimit-remaining" in read) == ("30", False)
