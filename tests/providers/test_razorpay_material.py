"""What Razorpay itself publishes, as small cases: the webhooks and error reasons of its documentation (razorpay/markdown-docs
of 2026-04-09) and the signature that its SDK for Node tests with (razorpay-node of 2025-07-24)."""

import json
from typing import Any

import pytest
from tests.providers.test_razorpay import AT, FIRE, ORDER, READ, REFERENCE, answer, listed, order, payment, read

from payonce.adapter import Created, Declined, Found, HttpRequest, Rejected, Unknown, Unreadable, WebhookRefused
from payonce.providers.razorpay import ADAPTER
from payonce.providers.razorpay.vendor import DECLINES, FLIPS_S, PROVISIONAL

VECTOR = b'{"a":1,"b":2,"c":{"d":3}}', "123456", "2fe04e22977002e6c7cb553adab8b460cb9e2a4970d5953cb27a8472752e3bbc"


def event(kind: str, payload: dict[str, Any], **more: Any) -> Any:
    inside = {name: {"entity": entity} for name, entity in payload.items()}
    doc: dict[str, Any] = {"entity": "event", "account_id": "acc_BFQ7uQEaa7j2z7", "event": kind, "payload": inside, **more}
    return ADAPTER.parse_webhook({}, json.dumps(doc).encode())


def test_the_signature_of_the_vendors_sdk_is_right() -> None:
    """The one its tests hold against a body and a secret; another secret, body or signature is refused."""
    body, secret, signature = VECTOR
    ADAPTER.verify_webhook({"x-razorpay-signature": signature}, body, ["another", secret], 0)
    for changed in ((body + b" ", secret, signature), (body, "12345", signature), (body, secret, "sdfafds")):
        with pytest.raises(WebhookRefused):
            ADAPTER.verify_webhook({"x-razorpay-signature": changed[2]}, changed[0], [changed[1]], 0)


@pytest.mark.parametrize(
    ("kind", "payload", "refs"),
    [
        ("payment.authorized", {"payment": {"id": "pay_1", "order_id": "order_1", "notes": []}}, ("pay_1", "order_1")),
        ("payment.captured", {"payment": {"id": "pay_1", "order_id": None, "notes": {}}}, ("pay_1",)),
        ("payment.failed", {"payment": {"id": "pay_1", "order_id": "order_1"}}, ("pay_1", "order_1")),
        ("order.paid", {"payment": {"id": "pay_1", "order_id": "order_1"}, "order": {"id": "order_1"}}, ("pay_1", "order_1")),
        ("refund.created", {"refund": {"id": "rfnd_1", "payment_id": "pay_1"}}, ("rfnd_1", "pay_1")),
        ("refund.failed", {"refund": {"id": "rfnd_1", "payment_id": "pay_1"}, "payment": {"id": "pay_1"}}, ("pay_1", "rfnd_1")),
        ("payment.dispute.created", {"payment": {"id": "pay_1"}, "dispute": {"id": "disp_1"}}, ("pay_1",)),
    ],
)
def test_every_event_about_money_names_its_payment(kind: str, payload: Any, refs: tuple[str, ...]) -> None:
    """The shapes of the documentation's payloads: notes as an empty list, no order, two entities in one event."""
    told = event(kind, payload, created_at=1_567_674_606)
    assert (told.kind, set(told.refs)) == (kind, set(refs))
    assert told.id


def test_events_of_one_second_about_nothing_of_ours_are_told_apart() -> None:
    """Without the vendor's header, downtimes and notifications have neither an id that we know nor, some, a time: two that
    differ are two events, and the same one again is the same."""
    started = [{"payment.downtime": {"id": id, "method": "netbanking"}} for id in ("down_1", "down_2")]
    downtimes = [event("payment.downtime.started", each, created_at=1_591_935_238) for each in started]
    notified = [event("order.notification.delivered", {"notification": {"order_id": each}}) for each in ("order_1", "order_2")]
    again = event("payment.downtime.started", started[0], created_at=1_591_935_238)
    assert len({each.id for each in (*downtimes, *notified)}) == 4
    assert again.id == downtimes[0].id


def test_a_payment_is_no_order() -> None:
    """The documentation shows payments that are ``created`` as well: one is never taken for the order that was made."""
    made = {"id": ORDER, "entity": "order", "status": "created", "amount": 1050, "currency": "INR", "created_at": AT}
    intent = FIRE.__class__(kind="create", mode="test", amount_minor=1050, currency="INR", reference=REFERENCE)
    assert ADAPTER.parse(intent, answer(made | {"receipt": REFERENCE})) == Created(container=ORDER, reference=REFERENCE)
    assert isinstance(ADAPTER.parse(intent, answer(made | {"entity": "payment", "id": "pay_RtP3bnk51QvOF9"})), Unknown)


# documented since: reasons of the page "Error Reasons" that name a no of the customer's, the bank's or the account's
FINAL = (
    "incorrect_atm_pin incorrect_cardholder_name pin_not_set invalid_device invalid_mobile_number mobile_number_invalid"
    " invalid_email invalid_user_details user_not_registered_for_netbanking bank_account_validation_failed psp_not_registered"
    " psp_app_not_supported transaction_on_vpa_restricted upi_collect_not_enabled upi_intent_not_enabled collect_on_mcc_blocked"
    " compliance_violation"
)
TECHNICAL = (
    "psp_not_available psp_app_not_available upi_app_technical_error vpa_resolution_failed payment_declined_due_to_high_traffic"
)
# documented, and not a no: money may be on its way, or comes back by itself
DOUBTFUL = (
    "payment_pending capture_failed credit_failed credit_not_permitted record_not_found verification_failed duplicate_rrn_found"
    " invalid_response_from_gateway payment_amount_tampered mismatch_in_transaction_details"
)


@pytest.mark.parametrize("reason", FINAL.split())
def test_a_documented_no_is_a_no(reason: str) -> None:
    """A failed payment with a reason that names a refusal is declined, at once and for good."""
    found = read(order(), listed(payment(status="failed", error_reason=reason)))
    assert isinstance(found, Found), found
    (seen,) = found.tries
    assert isinstance(seen, Declined)
    assert (seen.vendor_code, seen.flips_until_us) == (reason, None)


@pytest.mark.parametrize("reason", TECHNICAL.split())
def test_what_failed_for_want_of_an_answer_is_provisional(reason: str) -> None:
    """It may still be authorized for three days."""
    found = read(order(), listed(payment(status="failed", error_reason=reason)))
    assert isinstance(found, Found), found
    (seen,) = found.tries
    assert isinstance(seen, Declined)
    assert (seen.scope, seen.flips_until_us) == ("provider_technical", (AT + FLIPS_S) * 1_000_000)
    assert reason in PROVISIONAL


@pytest.mark.parametrize("reason", [*DOUBTFUL.split(), "upi_dummy_payment", None])
def test_a_reason_that_says_no_no_is_none(reason: str | None) -> None:
    """The documentation's samples also have failed payments without a reason, and with one that no list has."""
    assert reason not in DECLINES
    assert isinstance(read(order(), listed(payment(status="failed", error_reason=reason))), Unreadable)


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        ({"description": "The amount must be an integer.", "field": "amount", "reason": "input_validation_failed"}, True),
        ({"description": "Wrong card number", "field": "number"}, True),
        ({"description": "The id provided does not exist", "reason": "input_validation_failed", "field": None}, True),
        ({"description": "Authentication failed"}, False),
        ({"code": "GATEWAY_ERROR"}, False),
        ({"description": "Payment already processed", "field": None, "reason": "NA"}, False),
    ],
)
def test_an_error_of_the_documentation_is_a_refusal_only_when_it_names_its_ground(error: dict[str, Any], refused: bool) -> None:
    """A 400 to a payment: with a field or a reason of validation nothing was executed; else it is looked up."""
    said = ADAPTER.parse(FIRE, answer({"error": {"code": "BAD_REQUEST_ERROR", "metadata": {}, **error}}, 400))
    assert isinstance(said, Rejected if refused else Unknown), said


def test_refunds_without_a_status_hide_no_charge() -> None:
    """The SDKs' older samples of refunds have none: they count for nothing, and the charge is still seen."""
    charge = payment(status="captured", captured=True)
    refund = {
        "id": "rfnd_1",
        "entity": "refund",
        "amount": 500,
        "currency": "INR",
        "payment_id": charge["id"],
        "created_at": AT,
    }
    asked = read(order(status="paid"), listed(charge))
    assert isinstance(asked, HttpRequest)
    found = read(order(status="paid"), listed(charge), listed(refund))
    assert isinstance(found, Found), found
    assert ([type(t).__name__ for t in found.tries], found.refunds) == (["Succeeded"], ())
    assert READ.kind == "read"
