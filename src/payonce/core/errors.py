"""One error tree, and the one table of codes that HTTP answers, ``payonce explain`` and the docs are made from.

PayonceError
├── Refused             the request is not accepted; the money did not move because of it
│   └── (code from PROBLEMS)
├── StoreUnavailable    nothing was written; the same idempotency key may be used again
├── NewerSchema         the row or file was written by a newer payonce; nothing was touched
├── WebhookRefused      not a genuine, fresh webhook; nothing was stored
├── ConfigError         the configuration cannot be used; says which value and what to do
└── InvariantViolated   a rule of the machine would be broken: a bug; nothing was written
"""

from typing import Final, NamedTuple


class PayonceError(Exception):
    """Base of everything payonce raises on purpose."""


class FieldError(NamedTuple):
    field: str
    rule: str


class Refused(PayonceError):
    """A request that is not accepted. ``code`` is stable and listed in PROBLEMS."""

    def __init__(self, code: str, detail: str, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail, self.errors = code, detail, errors


class StoreUnavailable(PayonceError):
    """The store could not take the write (busy, full, read-only, closing). Nothing was written."""


class NewerSchema(PayonceError):
    """Written by a newer version of payonce: this one touches nothing."""


class WebhookRefused(PayonceError):
    """Not a genuine, fresh webhook of this account. The text says why, without anything of the body. Nothing was stored."""


class ConfigError(PayonceError):
    """The configuration cannot be used. The text names the value, its origin and the fix."""


class InvariantViolated(PayonceError):
    """A rule of the machine would be broken. Nothing was written; please report it."""


class Problem(NamedTuple):
    """An HTTP problem: its status, title, what state the money is in, and what to do next."""

    status: int
    title: str
    money: str
    next: str


_NONE = "This request created nothing and moved no money."

PROBLEMS: Final[dict[str, Problem]] = {
    "idempotency_key_missing": Problem(
        400,
        "Idempotency key missing",
        _NONE,
        "Send an Idempotency-Key header (or idempotencyKey in the body): one fresh value per payment or operation.",
    ),
    "idempotency_key_invalid": Problem(
        400,
        "Idempotency key invalid",
        _NONE + " The key stays unused.",
        "Use 1 to 255 visible ASCII characters, the same in header and body if you send both.",
    ),
    "body_invalid": Problem(
        400,
        "Body cannot be read",
        _NONE + " The key stays unused.",
        "Send one JSON object in UTF-8, with Content-Length or in chunks, not both.",
    ),
    "key_missing": Problem(
        401,
        "API key needed",
        _NONE,
        "Send the header Authorization with the word Bearer and the key (it begins with sk_test or sk_live); "
        "`payonce key create` makes one.",
    ),
    "key_invalid": Problem(
        401,
        "API key not valid here",
        _NONE,
        "The key is unknown, expired, revoked, or of the other mode than this server. Use one that is valid; `payonce key "
        "list` shows what there is. Where no key was ever made none is needed: send none.",
    ),
    "scope_missing": Problem(
        403,
        "The key may not do this",
        _NONE,
        "Use a key that has the scope which is named, or have one made: `payonce key create --scope …`.",
    ),
    "webhook_refused": Problem(
        401,
        "Webhook refused",
        "Nothing was stored and no money moved; payments are settled by reading them, without webhooks too.",
        "Compare the account's webhook secret with the provider's, and the clock here with the time; then let it send again.",
    ),
    "not_found": Problem(
        404, "Not found", "Nothing is known under this id; this request moved no money.", "Check the id, the mode and the path."
    ),
    "method_not_allowed": Problem(405, "Method not allowed", _NONE, "See /docs for the methods of this path."),
    "body_timeout": Problem(
        408,
        "Body did not arrive in time",
        _NONE + " The key stays unused.",
        "Send the whole request again with the same key.",
    ),
    "operation_in_progress": Problem(
        409,
        "Another operation is unresolved",
        "What is under way goes on; this request had no effect.",
        "Wait until GET /payments/{id} shows it settled, then ask again.",
    ),
    "operation_not_possible": Problem(
        409,
        "Not possible in this status",
        "The payment stands as it was; this request had no effect.",
        "See GET /payments/{id}: what is held can be captured or voided, what was taken can be refunded; what has not ended "
        "can be voided.",
    ),
    "nothing_to_resolve": Problem(
        409,
        "Nothing to resolve",
        "Nothing was recorded; the payment stands as it was.",
        "See `payonce show ID`. IN_DOUBT takes any decision; a final payment that needs attention, reversed, "
        "or not-charged where another attempt is unclear; an operation in doubt (--operation), done or not-done.",
    ),
    "request_in_progress": Problem(
        409,
        "The first request with this key is still being written",
        "At most one payment or operation will exist for this key.",
        "Send the same request with the same key again after Retry-After.",
    ),
    "body_too_large": Problem(413, "Body too large", _NONE + " The key stays unused.", "Send at most 64 KiB."),
    "webhook_too_large": Problem(
        413,
        "Webhook too large",
        "Nothing was stored and no money moved; payments are settled by reading them, without webhooks too.",
        "Send at most 256 KiB.",
    ),
    "media_type_unsupported": Problem(
        415, "Media type not supported", _NONE + " The key stays unused.", "Send Content-Type: application/json."
    ),
    "validation_failed": Problem(
        422,
        "Validation failed",
        _NONE + " The key stays unused.",
        "Correct the named fields; the same key may be used for the corrected request.",
    ),
    "card_number_refused": Problem(
        422,
        "Card number refused",
        _NONE + " The request was not stored or logged.",
        "Send a provider's token instead; payonce takes no card data.",
    ),
    "no_route": Problem(
        422,
        "No provider account can take this payment",
        _NONE + " The key stays unused.",
        "`payonce routes explain` with its amount and currency shows why; correct the request or the rules.",
    ),
    "capture_method_unsupported": Problem(
        422,
        "Capture method not offered",
        _NONE + " The key stays unused.",
        "No account that may take this payment can hold money for you. Use captureMethod automatic, or change the rules.",
    ),
    "test_token_refused": Problem(
        422,
        "Sandbox token refused in live mode",
        _NONE + " The key stays unused.",
        "tok_* tokens work in test mode only; send a token of the live provider.",
    ),
    "endpoint_refused": Problem(
        422,
        "Endpoint refused",
        "Nothing was registered and nothing was sent; payments go on as before.",
        "Name an https URL whose host has public addresses only; for development, webhooks.allow_hosts "
        "(PAYONCE_WEBHOOK_ALLOW_HOSTS, for the server and the command alike) lets private ones in.",
    ),
    "endpoints_too_many": Problem(
        422,
        "Too many endpoints",
        "Nothing was registered; payments go on as before.",
        "Remove an endpoint that is not needed any more.",
    ),
    "rate_limited": Problem(
        429,
        "Too many requests with this key",
        _NONE + " The key of the request stays unused.",
        "Send the same request again after Retry-After.",
    ),
    "amount_exceeds_available": Problem(
        422,
        "More than there is",
        "The payment stands as it was. The key stays unused.",
        "Ask for at most what is held, or captured and not yet given back; refunds under way keep their share.",
    ),
    "partial_capture_unsupported": Problem(
        422,
        "The provider captures all or nothing",
        "The hold stands as it was. The key stays unused.",
        "Capture the whole amount and refund the rest, or void it.",
    ),
    "resolution_incomplete": Problem(
        422,
        "The decision is incomplete",
        "Nothing was recorded; the payment stands as it was.",
        "Look it up at the provider, then record the decision with all that is named here.",
    ),
    "idempotency_key_reused": Problem(
        422,
        "Idempotency key reused for another request",
        "What the first request did stands unchanged; this one had no effect.",
        "Use a fresh key for a new payment or operation, or repeat the first request exactly.",
    ),
    "headers_too_large": Problem(
        431, "Headers too large", _NONE + " The key stays unused.", "Send at most 100 headers, and 16 KiB with the path."
    ),
    "retry_same_key": Problem(
        503,
        "Not confirmed: the store refused the write, or its outcome is not known",
        "Either nothing was written or it was accepted once; nothing can be done twice under the same key.",
        "Send the same request with the same key again after Retry-After.",
    ),
    "webhook_not_stored": Problem(
        503,
        "Not confirmed: the store did not take the webhook",
        "No money moved; payments are settled by reading them, without webhooks too.",
        "Send it again after Retry-After; it is kept once however often it comes.",
    ),
    "over_capacity": Problem(
        503,
        "Over capacity",
        _NONE + " What was accepted before is being settled.",
        "Send the same request, with the same key, again after Retry-After.",
    ),
    "webhooks_unavailable": Problem(
        503,
        "Webhooks to merchants are not set up here",
        "Nothing was registered or sent; payments go on as before.",
        "Whoever runs this service sets webhooks.signing_key; events can be read from GET /events meanwhile.",
    ),
    "not_ready": Problem(503, "Not ready", "Accepted payments are safe in the store.", "Ask again after Retry-After."),
    "internal_error": Problem(
        500,
        "A bug in payonce",
        "What was accepted will be settled; what was not moved no money.",
        "Send the same request with the same key again, and report the request id.",
    ),
}

# Normalised decline codes: what an issuer or provider said no with.
DECLINES: Final[dict[str, str]] = {
    "insufficient_funds": "The account has not enough money. No other provider is tried; ask the customer.",
    "do_not_honor": "The issuer refused without a reason. Another provider may be tried.",
    "stolen_card": "The card is reported stolen. Final: it is not tried again anywhere.",
    "lost_card": "The card is reported lost. Final: it is not tried again anywhere.",
    "card_blocked": "The card or account is blocked or closed. Final: it is not tried again anywhere.",
    "expired_card": "The card has expired. Final; ask the customer for another.",
    "fraud_suspected": "Refused as suspected fraud. Final: it is not tried again anywhere.",
    "invalid_card": "The payment method is not valid. Final; ask the customer for another.",
    "limit_exceeded": "A limit of the card or account is reached. Another provider may be tried.",
    "authentication_failed": "The customer did not authenticate. Ask the customer.",
    "processing_error": "The provider could not process it. Another provider may be tried.",
    "action_expired": "The customer did not act at the provider in time.",
    "hold_lapsed": "The hold ran out before it was captured, and was given back. Another provider may be tried.",
    "refund_refused": "The provider could not give the money back. Give it back in another way.",
    "configuration": "The provider account is not set up for this payment. Another provider may be tried; check the account.",
    "forced_failure": "metadata.forceFail asked the sandbox to decline.",
    "late_success_declined": "The sandbox declined it first, and will turn out to have taken the money later.",
}

# Why a payment has the status it has, or needs attention.
REASONS: Final[dict[str, str]] = {
    "no_provider_available": "No provider account took the payment in time. No money moved.",
    "attempts_exhausted": "Every allowed attempt was declined. No money moved.",
    "canceled": "A cancel was asked before any money moved.",
    "expired": "The customer did not act at the provider in time. No money moved.",
    "voided": "The hold was given back as asked. No money moved.",
    "authorization_expired": "The hold ran out, or was given back at the provider, before it was captured. No money moved.",
    "already_charged": "The money had been taken before the void could stop it. Refund it.",
    "already_captured": "The hold had been captured before. Refund it.",
    "never_sent": "The provider refused the request each time, or could not be reached. Nothing was done; ask again.",
    "horizon": "An attempt is still unresolved at its horizon. Money may have moved; it is read daily, or resolve it.",
    "mismatch": "A provider reports another amount, currency or mode. Money may have moved; compare with it and resolve.",
    "given_back": "The provider took it and gave it back in full, not at our request. It is read daily, or resolve it.",
    "restored_elsewhere": "The record lacks a try that an account shows. Reconcile again to see which, or resolve it.",
    "not_charged": "An operator recorded that no money was taken.",
    "reversed": "An operator recorded that the money was given back.",
    "amount_accepted": "An operator accepted a charge with another amount.",
    "attempt_unresolved": "The payment has its end, but another attempt has not: a surplus is reversed when it is known.",
    "charged_twice": "The provider shows more than one charge for one attempt. Give the surplus back there and resolve it.",
    "operation_unresolved": "It is not known what became of a capture, void or refund. It is read daily, or resolve it.",
    "refunded_too_much": "More was given back than was taken: a refund that was recorded as not done was done. Settle it.",
    "reversal_unresolved": "A surplus charge may not have been given back. Give it back at the provider and resolve it.",
    "never_captured": "The money was only held and will never be taken by us; the hold lapses.",
    "late_success": "The provider took the money after the payment had ended unpaid; it is given back.",
    "surplus": "A second attempt turned out to be charged too; it is given back.",
}


def explain(code: str) -> str | None:
    """What a code means, what state the money is in and what to do; None for a code we do not know."""
    if code in PROBLEMS:
        p = PROBLEMS[code]
        return f"{p.title} (HTTP {p.status}). {p.money} {p.next}"
    return DECLINES.get(code) or REASONS.get(code)
