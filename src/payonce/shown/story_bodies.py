"""The shapes of a payment's story, of what people do about it, and of the search."""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from payonce.core.money import AMOUNT_MINOR_MAX
from payonce.mail import DeliveryState, WebhookState

from .bodies import NOTE_CHARS_MAX, OPERATION_ID, SAID, Note, PaymentBody, RouteEntry

SEARCH_CHARS_MAX: Final = 300

Decided = Literal["charged", "not-charged", "reversed", "done", "not-done"]
Doing = Literal["capture", "void", "refund", "check", "resolve"]
Tone = Literal["ok", "bad", "unknown", "neutral", "wait"]
Matched = Literal["payment_id", "reference", "provider_ref", "idempotency_key", "operation_id", "event_id", "metadata"]

_Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-11-24T09:30:00.123456Z"])]
_Ms = Annotated[int, Meta(ge=0, examples=[120])]


class CheckRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Ask the provider now. No body at all means the same as an empty object."""

    note: Note = None


class ResolveRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A decision of a person who looked at the provider. It sends nothing to any provider, and is not to be taken back."""

    decision: Annotated[
        Decided,
        Meta(
            description="What was found at the provider. Of the charge: `charged`, `not-charged`, `reversed` (taken and given "
            "back). Of an operation, with `operationId`: `done`, `not-done`.",
            examples=["not-charged"],
        ),
    ]
    reason: Annotated[
        str,
        Meta(
            min_length=1, max_length=NOTE_CHARS_MAX, pattern=SAID, description="Why, for the record.", examples=["ticket 4711"]
        ),
    ]
    operation_id: Annotated[
        Annotated[str, Meta(pattern=OPERATION_ID)] | None,
        Meta(description="With `done` and `not-done`: the capture, void or refund in doubt."),
    ] = None
    provider_ref: Annotated[
        Annotated[str, Meta(min_length=1, max_length=255, pattern=SAID)] | None,
        Meta(description="With `charged`: the provider's id of the charge.", examples=["ch_1a2b3c"]),
    ] = None
    amount: Annotated[
        Annotated[int, Meta(ge=1, le=AMOUNT_MINOR_MAX)] | None,
        Meta(description="With `charged`: what was taken, in minor units.", examples=[1050]),
    ] = None
    accept_amount: Annotated[
        bool | None, Meta(description="With `charged`: keep a charge whose amount differs from the payment's.")
    ] = None


class StoryDecision(Struct, frozen=True, kw_only=True, rename="camel"):
    """One decision that may be recorded now."""

    decision: Annotated[Decided, Meta(description="For `POST /payments/{id}/resolve`.", examples=["not-charged"])]
    operation_id: Annotated[str | None, Meta(description="The operation it is about; null: the charge.")]
    needs: Annotated[
        list[Literal["providerRef", "amount"]], Meta(description="What it needs beside a reason.", examples=[["providerRef"]])
    ]


class StoryAction(Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing that a person could do about a payment. Whether a key may do it is for the key's scopes to say."""

    action: Annotated[Doing, Meta(description="What.", examples=["refund"])]
    allowed: Annotated[bool, Meta(description="It would be accepted as things stand now.")]
    why: Annotated[str, Meta(description="Why not; empty when it is allowed.")]
    max_amount: Annotated[
        int | None, Meta(description="Of a capture or refund: the most that can be asked, in minor units.", examples=[1050])
    ]
    decisions: Annotated[list[StoryDecision], Meta(description="Of `resolve`: what may be decided.")]


class StoryRoute(Struct, frozen=True, kw_only=True, rename="camel"):
    """Why this account, and not another."""

    by: Annotated[str, Meta(description="What chose; empty before the first plan.", examples=["rule inr"])]
    candidates: Annotated[list[RouteEntry], Meta(description="The accounts in order, then those that were skipped.")]


class StoryCall(Struct, frozen=True, kw_only=True, rename="camel"):
    """One call to a provider. Providers' answers are not kept as they came: ``answer`` is what was understood of it."""

    attempt: Annotated[int, Meta(description="Number of the attempt, from 1.", ge=1, examples=[1])]
    operation: Annotated[int | None, Meta(description="Number of the operation it is a step of; null: of the charge.")]
    kind: Annotated[
        Literal["create", "fire", "replay", "read", "close", "capture", "void", "refund"],
        Meta(description="What the call is for.", examples=["fire"]),
    ]
    account: Annotated[str, Meta(description="The provider account.", examples=["razorpay_mock"])]
    method: Annotated[str | None, Meta(description="HTTP method; null for a read, whose request is not kept.")]
    url: Annotated[str | None, Meta(description="Where it went; null for a read.")]
    request: Annotated[Any, Meta(description="Its body, the fields that its adapter shows, masked; null: it has none.")]
    answer: Annotated[Any, Meta(description="What the answer was understood as, masked; null: there is none.")]
    outcome: Annotated[
        str, Meta(description="In a word; `Waiting`: none yet, `NoAnswer`: none came in time.", examples=["Succeeded"])
    ]
    took_ms: Annotated[int | None, Meta(description="Until the answer was on record; null without one.", examples=[120])]


class StoryLine(Struct, frozen=True, kw_only=True, rename="camel"):
    """One event of the history, told."""

    seq: Annotated[int, Meta(description="Its place in the history.", ge=1, examples=[1])]
    at: Annotated[_Time, Meta(description="When it was written.")]
    after_ms: Annotated[_Ms, Meta(description="Since the payment was accepted.")]
    actor: Annotated[str, Meta(description="Who wrote it.", examples=["worker"])]
    request_id: Annotated[str, Meta(description="The Request-Id of what caused it; empty for the worker's own.")]
    kind: Annotated[str, Meta(description="Kind of event, as in the history.", examples=["Planned"])]
    where: Annotated[str, Meta(description="Attempt, account and step; or empty.", examples=["attempt 1 razorpay_mock fire"])]
    text: Annotated[str, Meta(description="What happened, in words.")]
    status: Annotated[str, Meta(description="Of the payment after it.", examples=["PENDING"])]
    changed: Annotated[bool, Meta(description="It changed the status.")]
    waited: Annotated[str, Meta(description="How long nothing happened before it, and why; empty when it went on at once.")]
    waited_ms: Annotated[_Ms, Meta(description="The same in milliseconds.")]
    hash: Annotated[str, Meta(description="SHA-256 of the stored event.", pattern="^[0-9a-f]{64}$")]
    note: Annotated[str, Meta(description="The reason that a person gave; or empty.")]
    call: Annotated[StoryCall | None, Meta(description="Of a line that begins a call: the whole call, with its answer.")]


class StoryBar(Struct, frozen=True, kw_only=True, rename="camel"):
    """One bar or point of the waterfall. The bars are in the order of ``fromMs``."""

    seq: Annotated[int, Meta(description="The event that it begins with; 0: none.", ge=0, examples=[2])]
    row: Annotated[str, Meta(description="The row it belongs to.", examples=["attempt 1 razorpay_mock"])]
    kind: Annotated[
        Literal["accept", "call", "wait", "action", "webhook", "decision", "delivery"],
        Meta(description="What it stands for.", examples=["call"]),
    ]
    label: Annotated[str, Meta(description="In a word or two.", examples=["fire"])]
    from_ms: Annotated[_Ms, Meta(description="Since the payment was accepted.")]
    until_ms: Annotated[int | None, Meta(description="Equal to `fromMs` for a point; null: still open.", examples=[340])]
    tone: Annotated[Tone, Meta(description="How it went.", examples=["ok"])]
    text: Annotated[str, Meta(description="In a sentence.")]


class StoryWebhook(Struct, frozen=True, kw_only=True, rename="camel"):
    """A provider's webhook that led to a look at the provider."""

    id: Annotated[str | None, Meta(description="Its id in the inbox; null: it is not there any more, or not known.")]
    account: Annotated[str, Meta(description="The provider account.", examples=["razorpay_mock"])]
    kind: Annotated[str, Meta(description="The provider's word; empty when it is not known.", examples=["payment.captured"])]
    received_at: Annotated[_Time, Meta(description="When it came, or, without `id`, when it led to a look.")]
    state: Annotated[WebhookState, Meta(description="What became of it.", examples=["matched"])]
    deliveries: Annotated[int, Meta(description="How often it came, as far as is known.", ge=1, examples=[1])]


class StoryDelivery(Struct, frozen=True, kw_only=True, rename="camel"):
    """A public event on its way to one of the merchant's endpoints."""

    id: Annotated[str, Meta(description="Its id.")]
    endpoint_id: Annotated[str, Meta(description="Where to.")]
    type: Annotated[str, Meta(description="What it tells.", examples=["payment.succeeded"])]
    event_id: Annotated[str, Meta(description="The event that it tells.")]
    state: Annotated[DeliveryState, Meta(description="What became of it.", examples=["delivered"])]
    tries: Annotated[int, Meta(description="How often it was sent.", ge=0, examples=[1])]
    status: Annotated[int | None, Meta(description="HTTP status of the last answer; null: none.", examples=[200])]
    said: Annotated[str, Meta(description="Why the last try failed; or empty.")]
    created_at: Annotated[_Time, Meta(description="When it was to be told.")]
    last_at: Annotated[_Time | None, Meta(description="Of the last try; null: none yet.")]


class Story(Struct, frozen=True, kw_only=True, rename="camel"):
    """Everything that happened to a payment and why, what state the money is in, and what can be done."""

    payment: Annotated[PaymentBody, Meta(description="The payment as it is now.")]
    money: Annotated[str, Meta(description="The state of the money, in a sentence.")]
    next: Annotated[str, Meta(description="What to do.")]
    due: Annotated[str | None, Meta(description="What payonce does next by itself, when and why; null: nothing.")]
    due_at: Annotated[_Time | None, Meta(description="When that is; null: nothing is due.")]
    actions: Annotated[list[StoryAction], Meta(description="What people can do now, and why not.")]
    route: Annotated[StoryRoute, Meta(description="Why this account.")]
    lines: Annotated[list[StoryLine], Meta(description="The history, told line by line, oldest first.")]
    bars: Annotated[list[StoryBar], Meta(description="The same as a waterfall.")]
    webhooks: Annotated[list[StoryWebhook], Meta(description="Providers' webhooks that led to a look, oldest first.")]
    deliveries: Annotated[list[StoryDelivery], Meta(description="What the merchant's endpoints were told; the newest 100.")]


class SearchMatch(Struct, frozen=True, kw_only=True, rename="camel"):
    """A payment that the text stands for."""

    matched: Annotated[Matched, Meta(description="What the text is of it.", examples=["provider_ref"])]
    payment: Annotated[PaymentBody, Meta(description="The payment as it is now.")]


class SearchResult(Struct, frozen=True, kw_only=True, rename="camel"):
    """What is known under a text, newest first."""

    q: Annotated[str, Meta(description="What was looked for, without spaces around it; masked.", examples=["ch_1a2b3c"])]
    data: Annotated[list[SearchMatch], Meta(description="At most 20; empty: nothing of yours is known under it.")]
