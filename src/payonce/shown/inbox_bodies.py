"""Webhooks of providers as whoever runs payonce sees them: hints, which are looked up and believed by nobody."""

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from payonce.mail import Webhook, WebhookState

from .bodies import EXAMPLE_ID, PAYMENT_ID
from .house_bodies import REASON, REASON_CHARS_MAX
from .views import stamp

WEBHOOK_ID: Final = "^wh_[0-9a-hjkmnp-tv-z]{20}$"
EXAMPLE_WEBHOOK_ID: Final = "wh_5t0c2d9e81b7a3460d1e"

_Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-11-24T09:30:00.123456Z"])]


class InboxBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """A webhook of a provider, without what it says."""

    id: Annotated[str, Meta(description="Its id.", pattern=WEBHOOK_ID, examples=[EXAMPLE_WEBHOOK_ID])]
    account: Annotated[str, Meta(description="The account it came for.", examples=["razorpay_mock"])]
    event: Annotated[str, Meta(description="The provider's id of it: the same for every delivery.", examples=["evt_1"])]
    kind: Annotated[str, Meta(description="What the provider calls it.", examples=["payment.captured"])]
    state: Annotated[
        WebhookState,
        Meta(
            description="`new`: not looked up yet. `matched`: its payment is read at the provider. `parked`: its payment was "
            "not found, it is looked up again. `unmatched`: given up after three days.",
            examples=["matched"],
        ),
    ]
    payments: Annotated[
        list[Annotated[str, Meta(pattern=PAYMENT_ID)]],
        Meta(description="The payments that it is about.", examples=[[EXAMPLE_ID]]),
    ]
    deliveries: Annotated[int, Meta(description="How often it came.", ge=1, examples=[1])]
    tries: Annotated[int, Meta(description="How often its payment was looked for in vain.", ge=0, examples=[0])]
    received_at: Annotated[_Time, Meta(description="When it came first.")]
    last_delivery_at: Annotated[_Time, Meta(description="When it came last.")]
    due_at: Annotated[_Time | None, Meta(description="When it is looked up next; null: not any more.")]


class InboxPage(Struct, frozen=True, rename="camel"):
    """One page of webhooks, newest first."""

    data: Annotated[list[InboxBody], Meta(description="The webhooks of this page.")]
    next_cursor: Annotated[
        str | None, Meta(description="Pass it as `cursor` for the next page; null = no more. Opaque: do not take it apart.")
    ]


class WebhookBody(InboxBody, frozen=True, kw_only=True, rename="camel"):
    """A webhook of a provider, with what of it people may see."""

    references: Annotated[list[str], Meta(description="References of ours in it.", examples=[["01kav0r2c05d8k3t9w1m0100"]])]
    refs: Annotated[list[str], Meta(description="The provider's ids in it.", examples=[["pay_N1"]])]
    headers: Annotated[
        dict[str, str],
        Meta(description="Its headers that matter; none that may be a secret.", examples=[{"x-event-id": "evt_1"}]),
    ]
    body_bytes: Annotated[int, Meta(description="Length of the body as it is kept.", ge=0, examples=[412])]
    body: Annotated[
        Any,
        Meta(
            description="The fields of it that its adapter shows, masked: a JSON value where it is one, else text; empty text: "
            "nothing of it may be shown.",
            examples=[{"event": "payment.captured"}],
        ),
    ]


class ReplayRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Why a webhook is looked up again."""

    reason: Annotated[
        Annotated[str, Meta(min_length=1, max_length=REASON_CHARS_MAX, pattern=REASON)],
        Meta(description="For the journal: on one line, without control characters.", examples=["The payment was restored."]),
    ]


def inbox_body(w: Webhook) -> InboxBody:
    return InboxBody(**_facts(w))


def webhook_body(w: Webhook, body: Any) -> WebhookBody:
    """``body`` is what ``views.provider_body`` lets people see of it."""
    return WebhookBody(
        **_facts(w),
        references=list(w.references),
        refs=list(w.refs),
        headers=dict(w.headers),
        body_bytes=len(w.body),
        body=body,
    )


def _facts(w: Webhook) -> dict[str, Any]:
    return {
        "id": w.id,
        "account": w.account,
        "event": w.event,
        "kind": w.kind,
        "state": w.state,
        "payments": list(w.payment_ids),
        "deliveries": w.deliveries,
        "tries": w.tries,
        "received_at": stamp(w.received_us),
        "last_delivery_at": stamp(w.last_us),
        "due_at": None if w.due_us is None else stamp(w.due_us),
    }
