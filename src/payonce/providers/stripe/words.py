"""The vendor's words: what each means to us. Sources and what is unverified: see the package."""

from collections.abc import Mapping
from typing import Final

from payonce.adapter import EXPONENTS, Declined, Scope

STATUSES: Final[Mapping[str, str]] = {
    # of a PaymentIntent; "canceled" is also a refund that gave nothing back
    "requires_payment_method": "Created",
    "requires_confirmation": "Created",
    "requires_action": "RequiresAction",
    "processing": "Processing",
    "requires_capture": "Authorized",
    "canceled": "Closed",
    "succeeded": "Succeeded",
    # of a refund
    "pending": "Refunding",
    "failed": "RefundFailed",
}
UNPAID: Final = frozenset({"requires_payment_method", "requires_confirmation"})  # nothing is under way in it
CHARGE_STATUSES: Final = frozenset({"succeeded", "pending", "failed"})

# The type of a last_payment_error, or of a 402: a published, closed list. It decides that a payment is a no.
DECLINES: Final[Mapping[str, Declined]] = {
    "card_error": Declined(code="do_not_honor", hard=False, scope="issuer"),
    "invalid_request_error": Declined(code="configuration", hard=False, scope="configuration"),
    "api_error": Declined(code="processing_error", hard=False, scope="provider_technical"),
}


def _codes(code: str, hard: bool, scope: Scope, words: str) -> dict[str, Declined]:
    return {word: Declined(code=code, hard=hard, scope=scope) for word in words.split()}


# decline_code, or else code, of the same error: only refines what comes next.
REASONS: Final[Mapping[str, Declined]] = {
    **_codes("insufficient_funds", False, "issuer", "insufficient_funds"),
    **_codes(
        "do_not_honor",
        False,
        "issuer",
        "generic_decline do_not_honor call_issuer no_action_taken service_not_allowed card_declined testmode_decline"
        " live_mode_test_card test_mode_live_card refer_to_customer payment_method_provider_decline",
    ),
    **_codes(
        "limit_exceeded",
        False,
        "issuer",
        "card_velocity_exceeded withdrawal_count_limit_exceeded card_decline_rate_limit_exceeded"
        " charge_exceeds_source_limit charge_exceeds_transaction_limit invalid_amount",
    ),
    **_codes("stolen_card", True, "issuer", "stolen_card"),
    **_codes("lost_card", True, "issuer", "lost_card"),
    **_codes("expired_card", True, "issuer", "expired_card expired_payment_method"),
    **_codes(
        "card_blocked",
        True,
        "issuer",
        "pickup_card restricted_card invalid_account new_account_information_available card_not_supported do_not_try_again"
        " transaction_not_allowed not_permitted revocation_of_authorization revocation_of_all_authorizations"
        " stop_payment_order payment_method_restricted debit_not_authorized",
    ),
    **_codes("fraud_suspected", True, "issuer", "fraudulent merchant_blacklist security_violation request_blocked"),
    **_codes(
        "invalid_card",
        True,
        "customer_input",
        "incorrect_number invalid_number incorrect_cvc invalid_cvc invalid_expiry_month invalid_expiry_year incorrect_zip"
        " incorrect_postal_code incorrect_address incorrect_pin invalid_pin offline_pin_required"
        " online_or_offline_pin_required pin_try_exceeded invalid_card_type",
    ),
    **_codes(
        "authentication_failed",
        False,
        "customer_input",
        "authentication_required authentication_not_handled mobile_device_authentication_required authentication_failure"
        " payment_intent_authentication_failure payment_method_customer_decline",
    ),
    **_codes("action_expired", False, "customer_input", "payment_intent_payment_attempt_expired"),
    **_codes(
        "processing_error",
        False,
        "provider_technical",
        "processing_error issuer_not_available reenter_transaction try_again_later approve_with_id duplicate_transaction"
        " payment_method_provider_timeout payment_intent_payment_attempt_failed",
    ),
    **_codes(
        "configuration",
        False,
        "configuration",
        "currency_not_supported payment_method_unactivated payment_method_not_available payment_method_currency_mismatch"
        " capability_not_active payment_intent_incompatible_payment_method",
    ),
    # of the sandbox alone
    **_codes("forced_failure", True, "customer_input", "forced_failure"),
    **_codes("late_success_declined", True, "issuer", "late_success_declined"),
}
NEVER_AGAIN: Final = "do_not_try_again"  # an advice_code that makes any refusal hard

HOLD_GONE: Final = Declined(code="hold_lapsed", hard=False, scope="provider_technical")

# Codes of a 400 about the request itself, the same whenever it comes: nothing was executed. Not those about the state of the
# PaymentIntent or the charge, which our own earlier send may have changed.
NOT_EXECUTED: Final = frozenset(
    [
        "parameter_invalid_empty",
        "parameter_invalid_integer",
        "parameter_invalid_string_blank",
        "parameter_invalid_string_empty",
        "parameter_missing",
        "parameter_unknown",
        "parameters_exclusive",
        "amount_too_large",
        "amount_too_small",
        "invalid_charge_amount",
        "url_invalid",
        "email_invalid",
        "payment_method_unactivated",
        "payment_method_invalid_parameter",
        "payment_method_unsupported_type",
        "payment_intent_incompatible_payment_method",
        "payment_intent_invalid_parameter",
        "livemode_mismatch",
        "testmode_charges_only",
        "secret_key_required",
    ]
)
# Parameters of ours that a 400 without a code may complain about.
PARAMETERS: Final = frozenset({"amount", "amount_to_capture", "currency", "payment_method", "return_url"})

# --- money: the vendor's unit is not ISO 4217's everywhere (docs.stripe.com/currencies) ---------------------------------

PLACES: Final[Mapping[str, int]] = {"ISK": 2, "UGX": 2, "MGA": 0}
_THREE: Final = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
MULTIPLES: Final[Mapping[str, int]] = {"MGA": 100, **dict.fromkeys(sorted(_THREE), 10)}
# What the vendor says nothing about is not taken: a unit that is guessed would charge another amount.
CURRENCIES: Final = frozenset(c for c, places in EXPONENTS.items() if places in (0, 2) and c != "UYI") | _THREE

# What people may be shown of a body, at any depth. Never the client secret, nor where a customer acts.
SHOWN: Final = frozenset(
    [
        "id",
        "object",
        "amount",
        "amount_received",
        "amount_capturable",
        "amount_captured",
        "amount_refunded",
        "amount_to_capture",
        "currency",
        "status",
        "livemode",
        "capture_method",
        "cancellation_reason",
        "canceled_at",
        "created",
        "captured",
        "paid",
        "refunded",
        "failure_code",
        "failure_reason",
        "type",
        "code",
        "decline_code",
        "advice_code",
        "network_decline_code",
        "param",
        "message",
        "payment_intent",
        "charge",
        "latest_charge",
        "reason",
        "has_more",
    ]
)
INSIDE: Final = frozenset(["error", "last_payment_error", "payment_intent", "latest_charge", "data", "outcome"])
