"""The shapes of the API: each struct is both what is encoded and what ``/openapi.json`` says."""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from payonce.core.idempotency import (
    ACTION_S,
    KEY_CHARS_MAX,
    METADATA_KEY_CHARS_MAX,
    METADATA_KEYS_MAX,
    METADATA_VALUE_CHARS_MAX,
    TEXT_CHARS_MAX,
    URL_CHARS_MAX,
)
from payonce.core.money import AMOUNT_MINOR_MAX, EXPONENTS
from payonce.core.payment import Mode, OperationState, PaymentStatus

INT_MAX: Final = 2**63 - 1
STORABLE: Final = r"^[^\u0000-\u0008\u000B-\u001F\u007F]*$"  # no control characters but tab and line feed
PAYMENT_ID: Final = "^pay_[0-9a-hjkmnp-tv-z]{20}$"
OPERATION_ID: Final = "^op_[0-9a-hjkmnp-tv-z]{20}$"
REFERENCE: Final = "^[0-9a-hjkmnp-tv-z]{20}[0-9]{4}$"
KEY: Final = r"^[!-~]+$"
NOTE_CHARS_MAX: Final = 200  # of a reason that a person gives
_IN_LINE: Final = r"\u0000-\u001F\u007F-\u009F\u2028\u2029"
SAID: Final = rf"^[^{_IN_LINE}]*[^{_IN_LINE}\s][^{_IN_LINE}]*$"  # on one line, and not of spaces alone
URL: Final = r"^https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:[/?#][!-~]*)?$"
CURRENCIES: Final = sorted(EXPONENTS)
EXAMPLE_ID: Final = "pay_01kav0q8t03x9m2c7h5n"
EXAMPLE_OPERATION: Final = "op_01kav0r2c05d8k3t9w1m"

_Text = Annotated[str, Meta(max_length=TEXT_CHARS_MAX, pattern=STORABLE)]
_Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-11-24T09:30:00.123456Z"])]
_Number = Annotated[float, Meta(ge=-INT_MAX, le=INT_MAX)]
_Value = Annotated[str, Meta(max_length=METADATA_VALUE_CHARS_MAX, pattern=STORABLE)] | _Number | bool | None
_Name = Annotated[str, Meta(min_length=1, max_length=METADATA_KEY_CHARS_MAX, pattern=STORABLE)]
Note = Annotated[
    Annotated[str, Meta(min_length=1, max_length=NOTE_CHARS_MAX, pattern=SAID)] | None,
    Meta(description="Why, for the record. It is no part of what the key stands for.", examples=["the customer called"]),
]
_Minor = Annotated[int, Meta(ge=0)]
_Key = Annotated[
    Annotated[str, Meta(min_length=1, max_length=KEY_CHARS_MAX, pattern=KEY)] | None,
    Meta(
        description="The same as the Idempotency-Key header, for callers who cannot set headers: visible ASCII. One of the "
        "two is needed; both must be equal.",
        examples=["order-1001"],
    ),
]


class PaymentMethod(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """How the customer pays: a kind, and the provider's token for it. Never card data."""

    type: Annotated[_Text, Meta(description="Kind of method, such as `card` or `upi`.", examples=["card"])]
    token: Annotated[_Text | None, Meta(description="The provider's token.", examples=["tok_ok"])] = None


class NewPaymentRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A payment to accept. A field that is absent, null or at its default means the same."""

    amount: Annotated[
        int,
        Meta(
            description="In minor units of the currency (1050 = 10.50 INR, 1050 = 1050 JPY): a JSON integer, written "
            "without decimals, exponent or quotes.",
            ge=1,
            le=AMOUNT_MINOR_MAX,
            examples=[1050],
        ),
    ]
    currency: Annotated[
        str,
        Meta(
            description="ISO 4217 code. Lower case is taken too; answers show upper case.",
            extra_json_schema={"enum": CURRENCIES},
            examples=["INR"],
        ),
    ]
    payment_method: Annotated[
        _Text | PaymentMethod | None,
        Meta(description="A provider's token, or `{type, token?}`. Card data is refused.", examples=["tok_ok"]),
    ] = None
    client_id: Annotated[
        _Text | None, Meta(description="Your label for whose payment it is: a filter, never a scope.", examples=["shop-7"])
    ] = None
    provider: Annotated[
        Annotated[_Text, Meta(min_length=1)] | None,
        Meta(description="Name of the one provider account to use. Absent: payonce chooses.", examples=["mock"]),
    ] = None
    capture_method: Annotated[
        Literal["automatic", "manual"] | None,
        Meta(
            description="`automatic` takes the money at once. `manual` holds it only (`AUTHORIZED`), until you capture or "
            "void; `capture_method_unsupported` when no account that may take the payment can hold.",
            examples=["automatic"],
        ),
    ] = None
    return_url: Annotated[
        Annotated[str, Meta(max_length=URL_CHARS_MAX, pattern=URL)] | None,
        Meta(
            description="Where your customer goes after acting at the provider: http or https, without user and password. "
            "`transactionId` is added to its query; ask for the payment there, for nothing in the address is proof.",
            examples=["https://shop.example/paid?order=1001"],
        ),
    ] = None
    action_expires_in: Annotated[
        Annotated[int, Meta(ge=ACTION_S[0], le=ACTION_S[1])] | None,
        Meta(
            description="How many seconds your customer may take to act at the provider, from the moment it is asked. Default: "
            "`payments.action_expires_s`.",
            examples=[1800],
        ),
    ] = None
    description: Annotated[_Text | None, Meta(description="Free text, kept beside the payment.", examples=["Order 1001"])] = (
        None
    )
    metadata: Annotated[
        Annotated[dict[_Name, _Value], Meta(max_length=METADATA_KEYS_MAX)] | None,
        Meta(
            description=f"Your own fields: up to {METADATA_KEYS_MAX} names of 1 to {METADATA_KEY_CHARS_MAX} characters, values "
            f"are strings of up to {METADATA_VALUE_CHARS_MAX} characters, numbers of up to 64 bits, booleans or null.",
            examples=[{"orderId": "1001", "express": True}],
        ),
    ] = None
    idempotency_key: _Key = None


class AmountRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A capture or a refund to accept. No body at all means the same as an empty object."""

    amount: Annotated[
        Annotated[int, Meta(ge=1, le=AMOUNT_MINOR_MAX)] | None,
        Meta(
            description="In minor units, a JSON integer. Absent: all that is held, or captured and not yet given back.",
            examples=[250],
        ),
    ] = None
    note: Note = None
    idempotency_key: _Key = None


class VoidRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A void to accept: there is nothing to say but the key and why. No body at all means the same as an empty object."""

    note: Note = None
    idempotency_key: _Key = None


class LastError(Struct, frozen=True, kw_only=True, rename="camel"):
    """The youngest thing that went wrong; it stays after a later success."""

    code: Annotated[
        str,
        Meta(
            description="A decline code (`insufficient_funds`), `rejected`, `not_sent`, `unknown_outcome`, or a reason.",
            examples=["insufficient_funds"],
        ),
    ]
    message: Annotated[str, Meta(description="What it means, for people.")]
    hard: Annotated[bool | None, Meta(description="For declines: true = final, it is tried nowhere else.", examples=[False])]
    at: Annotated[_Time, Meta(description="When we learned it.")]


class RouteEntry(Struct, frozen=True, rename="camel"):
    """One provider account that the route considered, with the why."""

    account: Annotated[str, Meta(description="Name of the provider account.", examples=["razorpay_mock"])]
    taken: Annotated[bool, Meta(description="Whether it may get the payment; if not, it is here to be explained.")]
    why: Annotated[str, Meta(description="Why it stands here, or why not.", examples=["rule inr: currency INR"])]


class ShownMethod(Struct, frozen=True, rename="camel"):
    """The payment method as far as it may be shown."""

    type: Annotated[str | None, Meta(description="Kind of method.", examples=["card"])]
    token: Annotated[
        str | None,
        Meta(description="Sandbox tokens (`tok_*`) in full, others as `****` with their last four.", examples=["tok_ok"]),
    ]


class NextActionBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the customer has to do at the provider, and where. For the eyes of the customer only."""

    type: Annotated[
        Literal["redirect", "upi_intent", "upi_collect"],
        Meta(
            description="`redirect`: send the browser to `url` (3-D Secure, a bank, a wallet). `upi_intent`: open `url`, a "
            "`upi:` link, in a UPI app, or show it as a QR code. `upi_collect`: the customer was asked in the app already.",
            examples=["redirect"],
        ),
    ]
    url: Annotated[str | None, Meta(description="Where to; null for `upi_collect`.", examples=["https://bank.example/3ds/7"])]
    method: Annotated[Literal["GET", "POST"], Meta(description="How the browser goes there.", examples=["GET"])]
    fields: Annotated[
        dict[str, str], Meta(description="Of a `POST`: the form to send there, name and value. Else empty.", examples=[{}])
    ]
    expires_at: Annotated[_Time | None, Meta(description="Until when; null when the provider does not say.")]


class OperationEntry(Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing asked of a payment: its charge, a capture, a void, a refund; or a reversal, which payonce does by itself."""

    operation_id: Annotated[str, Meta(description="Our id of it.", pattern=OPERATION_ID, examples=[EXAMPLE_OPERATION])]
    transaction_id: Annotated[str, Meta(description="The payment it is of.", pattern=PAYMENT_ID, examples=[EXAMPLE_ID])]
    kind: Annotated[
        Literal["charge", "authorize", "capture", "void", "refund", "reversal"],
        Meta(
            description="The first one is the `charge` (or `authorize`, with captureMethod manual) of the payment itself. "
            "`reversal`: a surplus or late charge is given back, without being asked.",
            examples=["refund"],
        ),
    ]
    status: Annotated[
        OperationState,
        Meta(
            description="`PENDING`: accepted, being worked on; a refund may take days. `SUCCEEDED`: done. `FAILED`: it had no "
            "effect; a refund may fail after it had succeeded. `IN_DOUBT`: it may have been done; it is read daily and waits "
            "for proof or for an operator.",
            examples=["PENDING"],
        ),
    ]
    amount: Annotated[int, Meta(description="In minor units.", ge=1, examples=[250])]
    currency: Annotated[str, Meta(description="ISO 4217 code.", pattern="^[A-Z]{3}$", examples=["INR"])]
    reason: Annotated[str | None, Meta(description="Why it has this status; `payonce explain` says it in words.")]
    reference: Annotated[
        str | None,
        Meta(description="Of a refund or reversal: our name for it at the provider.", examples=["01kav0q8t03x9m2c7h5n0200"]),
    ]
    provider_ref: Annotated[
        str | None, Meta(description="Of a refund or reversal: the provider's id, once it named one.", examples=["re_1a2b3c"])
    ]
    idempotency_key: Annotated[
        str | None, Meta(description="The key it was accepted under; null for a reversal.", examples=["refund-1001"])
    ]
    created_at: Annotated[_Time, Meta(description="When it was accepted.")]


class PaymentBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """A payment as it is now."""

    transaction_id: Annotated[str, Meta(description="Our id of the payment.", pattern=PAYMENT_ID, examples=[EXAMPLE_ID])]
    status: Annotated[
        PaymentStatus,
        Meta(
            description="`PENDING`: accepted, being worked on. `REQUIRES_ACTION`: the customer has to act at the provider. "
            "`AUTHORIZED`: held, not taken. `SUCCESS`: the money was taken, once. `FAILED`, `CANCELED`: no money is kept. "
            "`IN_DOUBT`: money may have moved; it is read daily and waits for proof or for an operator.",
            examples=["PENDING"],
        ),
    ]
    amount: Annotated[int, Meta(description="In minor units.", ge=1, le=AMOUNT_MINOR_MAX, examples=[1050])]
    currency: Annotated[str, Meta(description="ISO 4217 code.", pattern="^[A-Z]{3}$", examples=["INR"])]
    attempts: Annotated[int, Meta(description="How many attempts were made so far.", ge=0, examples=[1])]
    provider: Annotated[
        str | None, Meta(description="Account whose charge is kept, else that of the youngest attempt.", examples=["mock"])
    ]
    provider_ref: Annotated[str | None, Meta(description="The provider's id of the kept charge.", examples=["ch_1a2b3c"])]
    last_error: Annotated[LastError | None, Meta(description="The youngest decline, rejection or unknown outcome.")]
    reason: Annotated[str | None, Meta(description="Why it has this status; `payonce explain` says it in words.")]
    attention: Annotated[str | None, Meta(description="What still needs eyes, beside any status.")]
    rule: Annotated[str | None, Meta(description="The routing rule that chose; null before, or without one.", examples=["inr"])]
    route: Annotated[
        list[RouteEntry],
        Meta(description="The accounts in order, then those that were skipped; frozen at the first plan, empty before it."),
    ]
    client_id: Annotated[str | None, Meta(description="Your label.", examples=["shop-7"])]
    payment_method: Annotated[ShownMethod | None, Meta(description="Null when none was given, or when it was erased.")]
    description: Annotated[str | None, Meta(description="Your text.", examples=["Order 1001"])]
    metadata: Annotated[
        dict[str, str | float | bool | None], Meta(description="Your own fields.", examples=[{"orderId": "1001"}])
    ]
    capture_method: Annotated[Literal["automatic", "manual"], Meta(description="When the money is taken.")]
    idempotency_key: Annotated[str, Meta(description="The key it was accepted under.", examples=["order-1001"])]
    next_action: Annotated[
        NextActionBody | None,
        Meta(
            description="What the customer has to do at the provider, while it can be done and no void is asked. Null in "
            "lists: ask for the payment."
        ),
    ]
    action_expires_at: Annotated[_Time | None, Meta(description="Until when the customer may act; null when nothing waits.")]
    authorized: Annotated[_Minor, Meta(description="Was held for you to capture, in minor units.", examples=[0])]
    authorization_expires_at: Annotated[
        _Time | None, Meta(description="When the hold lapses unless it is captured or voided; null unless `AUTHORIZED`.")
    ]
    captured: Annotated[_Minor, Meta(description="Taken, in minor units; refunds do not lower it.", examples=[0])]
    refunded: Annotated[_Minor, Meta(description="Given back of the kept charge, in minor units.", examples=[0])]
    reversed: Annotated[_Minor, Meta(description="Given back of surplus charges, in minor units.", examples=[0])]
    operations: Annotated[
        list[OperationEntry], Meta(description="What was asked of it, oldest first: the charge itself, then the others.")
    ]
    mode: Annotated[Mode, Meta(description="`test` never moves real money.", examples=["test"])]
    created_at: Annotated[_Time, Meta(description="When it was accepted.")]
    updated_at: Annotated[_Time, Meta(description="When something last happened to it.")]


class OperationBody(OperationEntry, frozen=True, kw_only=True, rename="camel"):
    """An operation as it is now, with its payment."""

    payment: Annotated[PaymentBody, Meta(description="The payment as it is now.")]


class OperationList(Struct, frozen=True, rename="camel"):
    """Operations of one payment, oldest first. There are at most 99: no pages."""

    data: Annotated[list[OperationEntry], Meta(description="The operations.")]


class PaymentList(Struct, frozen=True, rename="camel"):
    """One page of payments, newest first."""

    data: Annotated[list[PaymentBody], Meta(description="The payments of this page.")]
    next_cursor: Annotated[
        str | None, Meta(description="Pass it as `cursor` for the next page; null = no more. Opaque: do not take it apart.")
    ]


class HistoryEntry(Struct, frozen=True, kw_only=True, rename="camel"):
    """One event. The history of events is the payment."""

    id: Annotated[str, Meta(description="Id of the event.", pattern="^evt_[0-9a-hjkmnp-tv-z]{20}[0-9]{6,}$")]
    seq: Annotated[int, Meta(description="Its place in the history, from 1 without gaps.", ge=1, examples=[1])]
    at: Annotated[_Time, Meta(description="When it was written.")]
    actor: Annotated[str, Meta(description="Who wrote it.", examples=["api"])]
    request_id: Annotated[str, Meta(description="The Request-Id of the request that caused it; empty for the worker's own.")]
    kind: Annotated[
        Literal["Accepted", "Planned", "Observed", "Hinted", "Asked", "Judged", "Resolved"],
        Meta(description="What happened.", examples=["Accepted"]),
    ]
    data: Annotated[dict[str, Any], Meta(description="The particulars of its kind, card numbers and secrets masked.")]
    hash: Annotated[str, Meta(description="SHA-256 of the stored bytes.", pattern="^[0-9a-f]{64}$")]
    prev: Annotated[str, Meta(description="Hash of the event before; empty for the first.", pattern="^([0-9a-f]{64})?$")]


class History(Struct, frozen=True, rename="camel"):
    """One page of a payment's history, oldest first."""

    data: Annotated[list[HistoryEntry], Meta(description="The events of this page.")]
    next_after: Annotated[
        int | None, Meta(description="Pass it as `after` for the next page; null = no more.", examples=[None])
    ]


class Live(Struct, frozen=True):
    """The process runs."""

    status: Annotated[Literal["live"], Meta(description="Always `live`.")]


class Readiness(Struct, frozen=True):
    """Payments can be accepted. The state of providers plays no part: accepting needs only the store."""

    status: Annotated[Literal["ready"], Meta(description="Always `ready`.")]
    checks: Annotated[dict[str, str], Meta(description="Each check with its finding.", examples=[{"store": "ok"}])]
