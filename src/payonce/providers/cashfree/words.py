"""The vendor's words: what each means to us. Sources and what is unverified: see the package."""

from collections.abc import Mapping
from typing import Final

from payonce.adapter import Declined, Refunded, RefundFailed, Refunding

STATUSES: Final[Mapping[str, str]] = {
    # order_status
    "ACTIVE": "Created",
    "PAID": "Succeeded",
    "TERMINATED": "Closed",
    "TERMINATION_REQUESTED": "Closed",
    "EXPIRED": "Declined",
    # payment_status; SUCCESS is also a refund_status
    "SUCCESS": "Succeeded",
    "PENDING": "Processing",
    "NOT_ATTEMPTED": "RequiresAction",
    "FLAGGED": "Processing",
    "FAILED": "Declined",
    "USER_DROPPED": "Declined",
    "CANCELLED": "Declined",
    "VOID": "Declined",
    # refund_status
    "ONHOLD": "Refunding",
}
ORDER_STATUSES: Final = frozenset({"ACTIVE", "PAID", "TERMINATED", "TERMINATION_REQUESTED", "EXPIRED"})
OURS: Final = "MERCHANT_INITIATED"  # refund_type of what was asked for; the others are the vendor's own
REFUNDS: Final[Mapping[str, type[Refunded] | type[Refunding] | type[RefundFailed]]] = {
    "SUCCESS": Refunded,
    "PENDING": Refunding,
    "ONHOLD": Refunding,
    "CANCELLED": RefundFailed,
    "FAILED": RefundFailed,
}
# payment_status -> what it means when nothing more is known
DECLINES: Final[Mapping[str, Declined]] = {
    "FAILED": Declined(code="do_not_honor", hard=False, scope="issuer"),
    "USER_DROPPED": Declined(code="action_expired", hard=False, scope="customer_input"),
    "CANCELLED": Declined(code="processing_error", hard=False, scope="provider_technical"),
    "VOID": Declined(code="hold_lapsed", hard=False, scope="provider_technical"),
    # in an order that is over: the customer never opened it
    "NOT_ATTEMPTED": Declined(code="action_expired", hard=False, scope="customer_input"),
}
UNPAID: Final = DECLINES["CANCELLED"]  # an EXPIRED order without a payment: what was sent never came to anything
# error_reason or error_code of a FAILED payment
REASONS: Final[Mapping[str, Declined]] = {
    "bank_rejected": Declined(code="do_not_honor", hard=False, scope="issuer"),
    "auth_declined": Declined(code="authentication_failed", hard=False, scope="customer_input"),
    "ISSUER_NOT_AVAILABLE": Declined(code="processing_error", hard=False, scope="provider_technical"),
    "card_unsupported": Declined(code="configuration", hard=False, scope="configuration"),
    "payment_method_unsupported": Declined(code="configuration", hard=False, scope="configuration"),
    # from here on unverified; the sandbox uses them
    "insufficient_funds": Declined(code="insufficient_funds", hard=False, scope="issuer"),
    "limit_exceeded": Declined(code="limit_exceeded", hard=False, scope="issuer"),
    "card_stolen": Declined(code="stolen_card", hard=True, scope="issuer"),
    "card_lost": Declined(code="lost_card", hard=True, scope="issuer"),
    "card_blocked": Declined(code="card_blocked", hard=True, scope="issuer"),
    "card_expired": Declined(code="expired_card", hard=True, scope="issuer"),
    "card_invalid": Declined(code="invalid_card", hard=True, scope="customer_input"),
    "risk_rejected": Declined(code="fraud_suspected", hard=True, scope="issuer"),
    # of the sandbox alone
    "forced_failure": Declined(code="forced_failure", hard=True, scope="customer_input"),
    "late_success_declined": Declined(code="late_success_declined", hard=True, scope="issuer"),
}
# error_source of a FAILED payment whose reason nobody mapped
SOURCES: Final[Mapping[str, Declined]] = {
    "bank": DECLINES["FAILED"],
    "customer": Declined(code="authentication_failed", hard=False, scope="customer_input"),
    "cashfree": DECLINES["CANCELLED"],
}
# status -> error types with it that say: refused before anything was done. 409 and 422 are about an earlier request.
REJECTIONS: Final[Mapping[int, frozenset[str]]] = {
    400: frozenset({"invalid_request_error", "validation_error", "feature_not_enabled"}),
    401: frozenset({"authentication_error"}),
    403: frozenset({"authentication_error", "feature_not_enabled"}),
    404: frozenset({"invalid_request_error"}),
}
# 400 codes of POST /orders/sessions about the request itself, the same whenever it comes. Not those about the order
# (order_inactive, 404 orderpay_not_found), which our own earlier fire may have paid, nor the catch-alls request_failed and
# request_invalid, nor those on no list of the vendor (payment_session_id_invalid).
_NOT_FIRED: Final = (
    "version_missing version_invalid channel_missing phone_missing phone_invalid provider_missing order_amount_invalid"
    " payment_method_missing payment_method_invalid payment_method_unsupported"
    " card_invalid card_unsupported card_submission_disabled card_number_missing card_number_invalid card_cvv_missing"
    " card_cvv_invalid card_expiry_mm_missing card_expiry_yy_missing card_bank_name_missing card_bank_name_invalid"
    " emi_tenure_missing netbanking_bank_code_invalid"
)
NOT_FIRED: Final = frozenset(_NOT_FIRED.split())
# The same of a capture or a void. Nothing about the order or the amount: what is left of a hold is nothing after a capture.
NOT_EXECUTED: Final = frozenset({"version_missing", "version_invalid"})
SHOWN: Final = frozenset(
    {
        "cf_order_id",
        "order_id",
        "order_amount",
        "order_currency",
        "order_status",
        "order_expiry_time",
        "cf_payment_id",
        "payment_status",
        "payment_amount",
        "payment_currency",
        "is_captured",
        "action",
        "channel",
        "cf_refund_id",
        "refund_id",
        "refund_amount",
        "refund_currency",
        "refund_status",
        "refund_type",
        "refund_speed",
        "error_code",
        "error_reason",
        "error_source",
        "captured_amount",
        "amount",
        "status",
        "end_time",
        "code",
        "type",
        "message",
    }
)
