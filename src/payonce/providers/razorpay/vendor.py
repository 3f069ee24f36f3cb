"""Razorpay's words and shapes: statuses, error reasons, entities. See the docstring of the package."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from payonce.adapter import Declined, Scope

# Payments, then refunds. A payment that ``failed`` is Declined, a refund that did is RefundFailed.
STATUSES: Final[Mapping[str, str]] = {
    "created": "Processing",
    "authorized": "Authorized",
    "captured": "Succeeded",
    "refunded": "Succeeded",
    "failed": "Declined",
    "pending": "Refunding",
    "processed": "Refunded",
}
ORDER_STATUSES: Final = frozenset({"created", "attempted", "paid"})
CHARGED: Final = frozenset({"captured", "refunded"})  # of a payment that may have refunds


def _reasons(code: str, hard: bool, scope: Scope, reasons: str) -> dict[str, Declined]:
    return {reason: Declined(code=code, hard=hard, scope=scope) for reason in reasons.split()}


_SETUP: Final = (
    "payment_method_not_enabled bank_not_enabled card_network_not_enabled merchant_not_activated live_mode_not_enabled"
    " international_transaction_not_allowed invalid_currency upi_collect_not_enabled upi_intent_not_enabled"
    " collect_on_mcc_blocked"
)
_TECHNICAL: Final = (
    "payment_timed_out gateway_technical_error bank_technical_error issuer_technical_error bank_not_available"
    " bank_cutoff_in_progress authorisation_declined_by_psp request_timed_out server_error psp_not_available"
    " psp_app_not_available upi_app_technical_error vpa_resolution_failed payment_declined_due_to_high_traffic"
)
DECLINES: Final[Mapping[str, Declined]] = {
    **_reasons("insufficient_funds", False, "issuer", "insufficient_funds insufficient_fund funds_blocked_by_mandate"),
    **_reasons("do_not_honor", False, "issuer", "card_declined payment_declined debit_declined payment_failed"),
    **_reasons(
        "limit_exceeded",
        False,
        "issuer",
        "transaction_limit_exceeded transaction_daily_limit_exceeded transaction_daily_count_exceeded"
        " transaction_frequency_limit_exceeded credit_limit_exceeded",
    ),
    **_reasons("expired_card", True, "issuer", "card_expired"),
    **_reasons(
        "card_blocked",
        True,
        "issuer",
        "debit_instrument_blocked debit_instrument_inactive bank_account_invalid transaction_on_vpa_restricted",
    ),
    **_reasons("fraud_suspected", True, "issuer", "payment_risk_check_failed"),
    **_reasons(
        "invalid_card",
        True,
        "customer_input",
        "card_number_invalid incorrect_card_details incorrect_card_expiry_date card_type_invalid card_not_enrolled"
        " card_disabled_for_online_payments invalid_vpa incorrect_cardholder_name bank_account_validation_failed"
        " user_not_registered_for_netbanking invalid_user_details",
    ),
    **_reasons(
        "authentication_failed",
        False,
        "customer_input",
        "authentication_failed incorrect_otp invalid_otp otp_expired otp_attempts_exceeded incorrect_pin"
        " pin_attempts_exceeded incorrect_cvv payment_cancelled incorrect_atm_pin pin_not_set invalid_device"
        " invalid_mobile_number mobile_number_invalid invalid_email psp_not_registered psp_app_not_supported",
    ),
    **_reasons("action_expired", False, "customer_input", "payment_session_expired payment_collect_request_expired"),
    **_reasons("processing_error", False, "provider_technical", _TECHNICAL),
    **_reasons("configuration", False, "configuration", f"{_SETUP} compliance_violation"),
}
# Left out of the vendor's page of reasons (errors/error-reasons.md of 2026-04-09), on purpose: money may be on its way or come
# back by itself (payment_pending, capture_failed, credit_*, record_not_found, verification_failed, duplicate_rrn_found,
# invalid_response_from_gateway, *_tampered, mismatch_in_*); EMI, pay later, mandates and refunds are not made here.
# May become authorized later: no answer from the bank, or the customer went away after authenticating (doc).
PROVISIONAL: Final = frozenset(
    {*_TECHNICAL.split(), "payment_failed", "payment_cancelled", "payment_session_expired", "payment_collect_request_expired"}
)
# Another payment of the order stands in the way, or money may be moving: never a no.
GUARDS: Final = frozenset(
    {"order_already_paid", "duplicate_request", "collect_request_pending", "payment_pending_approval", "deemed_transaction"}
)
# Said before a payment exists: nothing was executed.
REFUSALS: Final = frozenset(
    {*_SETUP.split(), "input_validation_failed", "invalid_amount", "invalid_order_id", "invalid_request"}
    | {"order_amount_mismatch", "order_payment_method_mismatch", "amount_less_than_minimum_amount"}
)
# The vendor's list of currencies without what ISO 4217 has dropped since (BGN HRK SLL). All have ISO's number of places
# there: payments/international-payments.md of 2026-04-09.
_LISTED: Final = (
    "AED ALL AMD AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BZD CAD CHF CLP CNY COP CRC CUP CVE CZK DJF"
    " DKK DOP DZD EGP ETB EUR FJD GBP GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD ISK JMD JOD JPY KES KGS KHR"
    " KMF KRW KWD KYD KZT LAK LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR"
    " PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SCR SEK SGD SOS SVC SZL THB TND TRY TTD TWD TZS UAH UGX USD UYU UZS"
    " VND VUV XAF XCD XOF XPF YER ZAR ZMW"
)
CURRENCIES: Final = frozenset(_LISTED.split())
TENS: Final = frozenset({"BHD", "IQD", "JOD", "KWD", "OMR", "TND"})  # of three places: the last digit must be 0
FLIPS_S: Final = 3 * 86_400  # how long a failed payment may still turn out to be authorized
PAGE_MAX: Final = 100  # entries of a list: the vendor's largest page
ORDERS_MAX: Final = PAGE_MAX  # of one receipt
REFUNDS_MAX: Final = PAGE_MAX  # of one payment, newest first
NO_SUCH_ID: Final = "The id provided does not exist"  # the vendor has no code for it


class Order(Struct, frozen=True):
    id: str
    status: str
    amount: int
    currency: str
    created_at: int
    entity: str = "order"
    receipt: str | None = None
    payments: Any = None  # only where the request expands it


class Payment(Struct, frozen=True):
    id: str
    status: str
    amount: int
    currency: str
    created_at: int
    order_id: str | None = None
    captured: bool | None = None
    amount_refunded: int | None = None
    error_reason: str | None = None
    notes: Any = None  # an object, or an empty list


class Refund(Struct, frozen=True):
    id: str
    status: str
    amount: int
    currency: str
    payment_id: str
    receipt: str | None = None
    notes: Any = None

    @property
    def reference(self) -> str:
        """Ours: the receipt, which nobody can change; where an answer leaves it out, the note."""
        return self.receipt or noted(self.notes)


class Orders(Struct, frozen=True):
    items: tuple[Order, ...]


class Payments(Struct, frozen=True):
    items: tuple[Payment, ...]


class Refunds(Struct, frozen=True):
    items: tuple[Any, ...]  # of Refund, but for odd ones


class Next(Struct, frozen=True):
    """What can be done about a payment that is not through: redirect, intent, poll, otp_generate, ..."""

    action: str
    url: str = ""


class Fired(Struct, frozen=True):
    razorpay_payment_id: str
    razorpay_order_id: str | None = None
    next: tuple[Next, ...] | None = None
    link: str | None = None  # of a UPI intent, from POST /payments/create/upi


class Error(Struct, frozen=True):
    code: str
    description: str | None = None
    field: str | None = None
    reason: str | None = None
    metadata: Any = None  # an object, or an empty list

    def about(self, name: str) -> str:
        value = self.metadata.get(name) if isinstance(self.metadata, dict) else None
        return value if isinstance(value, str) else ""


class Failure(Struct, frozen=True):
    error: Error


def decoded(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def converted(value: Any, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.MsgspecError:
        return None


def noted(notes: Any) -> str:
    """Our reference in an entity's notes; empty where they do not name it."""
    value = notes.get("reference") if isinstance(notes, dict) else None
    return value if isinstance(value, str) else ""


def quoted(text: str) -> str:
    return quote(text, safe="")
