"""What the vendors published about their APIs, and where our requests and cases differ from it on purpose: each difference
with its source or its reason, checked 2026-11-26."""

from collections.abc import Mapping
from typing import Any, Final

from payonce.testing.provider_specs import Newer, VendorSpec

CASHFREE: Final = VendorSpec(
    kind="openapi",
    file="cashfree/openapi.yaml",
    null_is_absent=True,
    allowed={
        "GET /orders/{order_id}/payments answer #.payment_status: 'FLAGGED' is *": "a word of the vendor's pages on risk",
        "*refund_status: 'FAILED' is none of *": "the page on refund webhooks and the vendor's repository list it",
        "POST /recon answer data.#.*_details: not in the spec": "the page on reconciliation shows the fields in groups",
    },
    unchecked={
        "fire_numeric_id": "older versions wrote the id as a number; both are read",
        "read_odd_beside_success": "a word of nobody, on purpose",
    },
)
RAZORPAY: Final = VendorSpec(
    kind="samples",
    file="razorpay/mocks",
    allowed={
        "* payment.token_id: in no *": "razorpay.com/docs/api/payments: the token that was paid with, null without one",
        "answer order.payments: in no *": "razorpay.com/docs/api/orders, expand[]=payments",
        "* refund.batch_id: in no *": "razorpay.com/docs/api/refunds/entity",
        "answer refund.notes: [] is no object": "an empty object is written as a list, as the samples of orders show",
        "webhook event.account_id: in no *": "razorpay.com/docs/webhooks/payloads",
    },
)
# The description is of API 2020-08-27. Newer: stripe-python 16.1.0, whose types are made from today's.
_SCHEMAS: Final = "/components/schemas"
_FORM: Final = "requestBody/content/application~1x-www-form-urlencoded/schema/properties"
_SDK: Final = "stripe-python 16.1.0"
_CHARGE: Final[dict[str, Any]] = {"anyOf": [{"type": "string"}, {"$ref": "#/components/schemas/charge"}], "nullable": True}
STRIPE: Final = VendorSpec(
    kind="openapi",
    file="stripe/spec3.trimmed.json",
    webhook="event",
    newer=(
        Newer(
            at=f"/paths/~1v1~1payment_intents/post/{_FORM}/automatic_payment_methods/properties/allow_redirects",
            schema={"type": "string", "enum": ["always", "never"]},
            why=f"{_SDK}, PaymentIntentCreateParams",
        ),
        Newer(at=f"{_SCHEMAS}/payment_intent/properties/latest_charge", schema=_CHARGE, why=f"{_SDK}, PaymentIntent"),
        Newer(at=f"{_SCHEMAS}/payment_intent/properties/amount_details", schema={}, why=f"{_SDK}, PaymentIntent"),
        Newer(at=f"{_SCHEMAS}/payment_intent/properties/source", schema={}, why=f"{_SDK}, PaymentIntent"),
        Newer(
            at=f"{_SCHEMAS}/payment_method_details_card/properties/capture_before",
            schema={"type": "integer"},
            why=f"{_SDK}, Charge",
        ),
    ),
    allowed={
        "*latest_charge.refunds: it is required and missing": "since API 2022-11-15 only where it is expanded",
        "*latest_charge.billing_details: it is required and missing": "the cases leave out what is personal",
        "GET /v1/payment_intents answer data.#.*: it is required and missing": "pages are cut to what is read of each",
        "*.status: 'made_up_tomorrow' is none of *": "a word of nobody, on purpose",
    },
)

SPECS: Final[Mapping[str, VendorSpec]] = {"cashfree": CASHFREE, "razorpay": RAZORPAY, "stripe": STRIPE}
