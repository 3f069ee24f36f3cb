"""What Stripe itself publishes, as small cases: how its SDKs test webhooks (stripe-python of 2026-07-24, stripe-go and
stripe-node of August 2026), the values that its SDK of the pinned version allows, its generated fixtures (stripe/openapi of
2026-08-21), and errors as it was recorded to answer (active_merchant of 2025-11-04, reworded)."""

import hashlib
import hmac
import json
import sys
import typing
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from tests.providers.stripe_vendor import INTENT

from payonce.adapter import Created, Declined, Found, Intent, Rejected, Response, Unknown, Unreadable, WebhookRefused
from payonce.providers.stripe import ADAPTER
from payonce.providers.stripe.webhooks import TOLERANCE_S
from payonce.sandbox.stripe import forms
from payonce.testing.provider_cases import Subject

SECRET, OLD = "whsec_test_secret", "whsec_test_secret_rolled_key"
CASES: Final = Path(__file__).parents[1] / "fixtures" / "providers" / "stripe"
BODY: Final = b'{"id": "evt_test_webhook", "object": "event", "type": "x", "data": {"object": {"id": "rdr_123"}}}'
AT: Final = 1_795_000_000
PI: Final = "pi_1F2MB5AWOtgoysogCMt8BaxR"


def signature(secret: str, body: bytes = BODY, at: int = AT) -> str:
    return hmac.new(secret.encode(), b"%d.%b" % (at, body), hashlib.sha256).hexdigest()


GOOD, ROLLED = signature(SECRET), signature(OLD)


def heard(header: str, *, secrets: tuple[str, ...] = (SECRET,), now_s: int = AT, body: bytes = BODY) -> bool:
    try:
        ADAPTER.verify_webhook({"stripe-signature": header}, body, secrets, now_s * 1_000_000)
    except WebhookRefused:
        return False
    return True


@pytest.mark.parametrize(
    ("header", "good"),
    [
        (f"t={AT},v1={GOOD}", True),
        (f"t={AT},v1={GOOD},v1=bad_signature", True),
        (f"t={AT},v1=bad_signature,v1={GOOD},v0={ROLLED}", True),
        (f"t={AT},v0={GOOD}", False),
        (f"t={AT},v1=bad_signature", False),
        (f"t={AT}", False),
        (f"v1={GOOD}", False),
        ("", False),
        ("t=", False),
        ("v1,t=1", False),
        ("bad_header", False),
        ("i'm not even a real signature header", False),
    ],
)
def test_headers_that_the_sdks_test_with(header: str, good: bool) -> None:
    """What they take is taken, and what they refuse is refused."""
    assert heard(header) == good


def test_a_secret_that_is_being_rolled() -> None:
    """While two secrets are live the vendor signs with both: whoever knows either of them is satisfied."""
    both = f"t={AT},v1={GOOD},v1={ROLLED}"
    assert [heard(both, secrets=each) for each in ((SECRET,), (OLD,), (OLD, SECRET), ("whsec_other",), ())] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_the_tolerance_is_the_sdks() -> None:
    """300 seconds, to either side; the body is compared byte by byte."""
    header = f"t={AT},v1={GOOD}"
    assert TOLERANCE_S == 300
    assert [heard(header, now_s=AT + s) for s in (299, 301, -301, 12_345)] == [True, False, False, False]
    assert not heard(header, body=BODY.replace(b" ", b""))


@pytest.mark.parametrize(
    "doc",
    [
        {"id": "evt_234", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered", "livemode": True},
        {"id": "evt_1", "object": "event", "type": "x", "data": {"object": None}},
        {"id": "evt_1", "object": "event", "type": "", "data": {"object": {}}},
        {"id": "", "object": "event", "type": "x", "data": {"object": {}}},
    ],
)
def test_what_is_no_event_with_an_object_is_refused(doc: dict[str, Any]) -> None:
    """An event of the API's version 2 has no object in it, and is none of ours."""
    with pytest.raises(WebhookRefused):
        ADAPTER.parse_webhook({}, json.dumps(doc).encode())


# --- the values that the pinned version allows ----------------------------------------------------------------------------


def literals(kind: Any) -> set[str]:
    """Every text that a type lists."""
    if typing.get_origin(kind) is Literal:
        return {each for each in typing.get_args(kind) if isinstance(each, str)}
    return {word for part in typing.get_args(kind) for word in literals(part)}


@pytest.mark.parametrize(
    ("name", "kind", "field"),
    [
        ("capture_method", "PaymentIntentCreateParams", "capture_method"),
        ("automatic_payment_methods.allow_redirects", "PaymentIntentCreateParamsAutomaticPaymentMethods", "allow_redirects"),
        ("payment_method_data.type", "PaymentIntentConfirmParamsPaymentMethodData", "type"),
        ("cancellation_reason", "PaymentIntentCancelParams", "cancellation_reason"),
    ],
)
def test_every_word_we_send_is_one_of_the_vendors(name: str, kind: str, field: str) -> None:
    """The SDK of the pinned version lists it; so does the vendor's mock server, whose specification has the same words."""
    sdk = pytest.importorskip("stripe", reason="the SDK is in the dev group: uv sync")
    whole = getattr(sdk.params, kind)
    alone = type("Alone", (), {"__annotations__": {field: whole.__annotations__[field]}})
    allowed = literals(typing.get_type_hints(alone, vars(sys.modules[whole.__module__]))[field]) - {""}
    sent = set()
    for case in Subject.load(ADAPTER, CASES).cases:
        value: Any = forms.nested(ADAPTER.build(case.intent).body)
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        sent |= {value} if isinstance(value, str) else set()
    assert sent, "no recorded request has it"
    assert sent <= allowed


@pytest.mark.parametrize("kind", ["", "card"])
def test_a_card_without_a_token_is_no_type_of_its_own(kind: str) -> None:
    """``card`` is not among the types of payment_method_data: nothing is sent, and the vendor misses a payment method. That is
    a refusal, unless the PaymentIntent in it was paid meanwhile."""
    intent = Intent(
        kind="fire", mode="test", amount_minor=2020, currency="GBP", reference="r", container=PI, payment_method_type=kind
    )
    assert b"payment_method" not in ADAPTER.build(intent).body
    error: dict[str, Any] = {"type": "invalid_request_error", "code": "payment_intent_unexpected_state", "message": "missing"}
    assert isinstance(answered(intent, {"error": error}, 400), Rejected)
    assert isinstance(answered(intent, {"error": error | {"payment_intent": paymentintent()}}, 400), Rejected)
    for status in ("processing", "succeeded", "requires_capture", "requires_action"):
        assert isinstance(answered(intent, {"error": error | {"payment_intent": paymentintent(status=status)}}, 400), Unknown)
    with_token = Intent(
        kind="fire", mode="test", amount_minor=2020, currency="GBP", reference="r", container=PI, payment_method="pm_1"
    )
    assert isinstance(answered(with_token, {"error": error}, 400), Unknown)


# --- answers as they were recorded ----------------------------------------------------------------------------------------


def paymentintent(**more: Any) -> dict[str, Any]:
    plain = {
        "id": PI,
        "object": "payment_intent",
        "amount": 2020,
        "amount_capturable": 0,
        "amount_received": 0,
        "currency": "gbp",
    }
    plain |= {"livemode": False, "metadata": {"reference": "r"}, "status": "requires_payment_method", "latest_charge": None}
    return plain | {"last_payment_error": None, "next_action": None, "capture_method": "automatic"} | more


def answered(intent: Intent, doc: Any, status: int = 200) -> Any:
    return ADAPTER.parse(intent, Response(status=status, headers={}, body=json.dumps(doc).encode()))


def asked(kind: Any, **more: Any) -> Intent:
    named: dict[str, Any] = {"container": PI, "provider_ref": PI, "payment_method": "pm_1", **more}
    return Intent(kind=kind, mode="test", amount_minor=2020, currency="GBP", reference="r", key="k", **named)


def test_a_recorded_decline() -> None:
    """A 402 with the PaymentIntent in it and its failed charge inside that."""
    charge = {"id": "ch_1", "object": "charge", "status": "failed", "captured": False, "failure_code": "card_declined"}
    error = {"type": "card_error", "code": "card_declined", "decline_code": "generic_decline", "charge": "ch_1"}
    pi = paymentintent(latest_charge=charge, last_payment_error=error)
    said = answered(asked("fire"), {"error": error | {"payment_intent": pi}}, 402)
    assert isinstance(said, Declined)
    assert (said.code, said.ref, said.vendor_code) == ("do_not_honor", PI, "generic_decline")


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("close", 400, {"type": "invalid_request_error", "code": "payment_intent_unexpected_state"}),
        ("void", 400, {"type": "invalid_request_error", "code": "payment_intent_unexpected_state"}),
        ("fire", 400, {"type": "card_error", "code": "card_declined"}),
        ("fire", 402, {"type": "card_error"}),
        ("fire", 402, {"type": "card_error", "code": "incorrect_cvc", "param": "cvc"}),
        ("fire", 402, {"type": "api_error"}),
        ("fire", 400, {"type": "invalid_request_error", "code": "validation_error"}),
        ("refund", 400, {"type": "invalid_request_error", "code": "invalid_charge_amount_no_decimal_compatible"}),
    ],
)
def test_recorded_errors_that_prove_nothing(kind: str, status: int, error: dict[str, Any]) -> None:
    """About the state of a PaymentIntent that was paid, or naming no PaymentIntent at all: looked up."""
    paid = {"payment_intent": paymentintent(status="succeeded", amount_received=2020)} if kind in ("close", "void") else {}
    assert isinstance(answered(asked(kind, refund_reference="r"), {"error": error | paid}, status), Unknown)


def test_a_generated_fixture_is_a_new_payment_intent() -> None:
    """The vendor's fixtures, and so its mock server, put an error of another kind into a PaymentIntent that nobody tried: it is
    a created one. A refusal in it means that somebody did."""
    create = asked("create", container="", provider_ref="", payment_method="")
    odd = paymentintent(last_payment_error={"type": "idempotency_error"}, next_action={"type": "type"})
    assert answered(create, odd) == Created(container=PI, reference="r")
    assert isinstance(answered(create, odd | {"last_payment_error": {"type": "card_error"}}), Unknown)
    read = asked("read", payment_method="")
    said = ADAPTER.parse_read(read, Response(status=200, headers={}, body=json.dumps(odd).encode()))
    assert isinstance(said, Unreadable)


def test_a_canceled_payment_intent_is_no_money() -> None:
    """With the charge of its hold beside it, as recorded: the hold is gone."""
    charge = {"id": "ch_1", "object": "charge", "status": "succeeded", "captured": False, "amount_refunded": 2020}
    pi = paymentintent(status="canceled", latest_charge=charge)
    said = ADAPTER.parse_read(asked("read"), Response(status=200, headers={}, body=json.dumps(pi).encode()))
    assert isinstance(said, Found)
    assert [(type(t).__name__, getattr(t, "code", "")) for t in said.tries] == [("Declined", "hold_lapsed")]
    assert said.container == "closed"
    assert INTENT.mode == "test"
