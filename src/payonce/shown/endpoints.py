"""Webhook endpoints and deliveries as merchants see them: the same for HTTP and ``--json``."""

import re
from typing import Annotated, Final, Literal, Protocol

from msgspec import Meta, Struct

from payonce.core import news
from payonce.core.payment import Mode
from payonce.core.redact import mask
from payonce.mail import Delivery, DeliveryState

from .bodies import EXAMPLE_ID as EXAMPLE_PAYMENT_ID
from .bodies import PAYMENT_ID
from .news import EXAMPLE_ID as EXAMPLE_EVENT_ID
from .news import TEST_TYPE
from .views import stamp

URL_CHARS_MAX: Final = 500
DESCRIPTION_CHARS_MAX: Final = 200
TYPES_MAX: Final = 50
OVERLAP_S: Final = 86_400  # for which the secret before stays good
OVERLAP_S_MAX: Final = 604_800
ENDPOINT_ID: Final = "^whe_[0-9a-hjkmnp-tv-z]{20}$"
DELIVERY_ID: Final = "^dlv_[0-9a-hjkmnp-tv-z]{20}$"
EXAMPLE_ENDPOINT_ID: Final = "whe_01kav0r2c05d8k3t9w1m"
EXAMPLE_DELIVERY_ID: Final = "dlv_5t0c2d9e81b7a3460d1e"
SIGNED_WITH: Final = "^whsec_[A-Za-z0-9+/]+=*$"
HOOK: Final = r"^https?://[!-~]+$"
# On one line: no control characters (C0, DEL, C1), no line or paragraph separators. What else does not show is nobody's harm:
# tables print it as a blank. Lone surrogates are refused too, which a pattern of JSON Schema cannot say.
LINE: Final = r"^[^\u0000-\u001F\u007F-\u009F\u2028\u2029]*$"
_NO_LINE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
SUBSCRIBED: Final = (*news.TYPES, "payment.*", "refund.*")  # what an endpoint may be for

_Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-11-24T09:30:00.123456Z"])]
_Type = Annotated[str, Meta(extra_json_schema={"enum": list(SUBSCRIBED)})]
_Url = Annotated[str, Meta(max_length=URL_CHARS_MAX, pattern=HOOK)]
_Description = Annotated[str, Meta(max_length=DESCRIPTION_CHARS_MAX, pattern=LINE)]
_TypesMeta = Meta(
    description="Which events it gets: types, or `payment.*` and `refund.*`; empty: all, those of later versions too.",
    examples=[["payment.succeeded", "refund.failed"]],
)


class NewEndpointRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """An endpoint to register. A field that is absent, null or at its default means the same."""

    url: Annotated[
        _Url,
        Meta(
            description="Where events are sent with POST: https, and a host with public addresses only, without user, password "
            "and fragment.",
            examples=["https://shop.example/hooks/payonce"],
        ),
    ]
    types: Annotated[Annotated[list[_Type], Meta(max_length=TYPES_MAX)] | None, _TypesMeta] = None
    description: Annotated[
        _Description | None, Meta(description="For people: on one line, without control characters.", examples=["The shop"])
    ] = None


class EndpointChange(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What is to be another from now on. A field that is absent or null stays as it is."""

    url: Annotated[_Url | None, Meta(description="As at registration.", examples=["https://shop.example/hooks/payonce"])] = None
    types: Annotated[Annotated[list[_Type], Meta(max_length=TYPES_MAX)] | None, _TypesMeta] = None
    description: Annotated[
        _Description | None,
        Meta(description="For people: on one line, without control characters; empty removes it.", examples=["The shop"]),
    ] = None


class RotationRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How the secret is to be changed. No body at all means the same as an empty object."""

    overlap_s: Annotated[
        Annotated[int, Meta(ge=0, le=OVERLAP_S_MAX)] | None,
        Meta(
            description=f"Seconds for which every delivery is signed with the secret before too; {OVERLAP_S} when absent.",
            examples=[OVERLAP_S],
        ),
    ] = None


class RecoveryRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which events are to be sent again."""

    since: Annotated[_Time, Meta(description="Those that happened at or after this time (RFC 3339).")]


class AgainRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Why a delivery is sent again. No body at all means the same as an empty object."""

    reason: Annotated[
        _Description | None,
        Meta(description="For the journal: on one line, without control characters.", examples=["The endpoint was repaired."]),
    ] = None


class EndpointBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """An endpoint as it is now."""

    id: Annotated[str, Meta(description="Its id.", pattern=ENDPOINT_ID, examples=[EXAMPLE_ENDPOINT_ID])]
    url: Annotated[str, Meta(description="Where events are sent.", examples=["https://shop.example/hooks/payonce"])]
    types: Annotated[list[str], _TypesMeta]
    description: Annotated[str | None, Meta(description="For people.", examples=["The shop"])]
    state: Annotated[
        Literal["enabled", "disabled"],
        Meta(
            description="`disabled`: nothing is sent. It was asked for, it answered 410, or nothing but failures for days: "
            "`reason` says which.",
            examples=["enabled"],
        ),
    ]
    reason: Annotated[str | None, Meta(description="Why it is disabled.", examples=[None])]
    failing_since: Annotated[_Time | None, Meta(description="Since when every try has failed; null: the last one was taken.")]
    secret: Annotated[
        Annotated[str, Meta(pattern=SIGNED_WITH)] | None,
        Meta(
            description="What deliveries are signed with (Standard Webhooks). Shown when it is new, and where it is asked for "
            "with `secret=true`; null otherwise.",
            examples=[None],
        ),
    ]
    old_secret_until: Annotated[
        _Time | None, Meta(description="Until when deliveries are signed with the secret before too; null: not any more.")
    ]
    mode: Annotated[Mode, Meta(description="Whose events: of `test` payments or of `live` ones.", examples=["test"])]
    created_at: Annotated[_Time, Meta(description="When it was registered.")]


class EndpointList(Struct, frozen=True, rename="camel"):
    """All endpoints of a merchant and mode, in the order of registration. There are few: no pages."""

    data: Annotated[list[EndpointBody], Meta(description="The endpoints, without their secrets.")]


class DeliveryBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """One event on its way to one endpoint."""

    id: Annotated[str, Meta(description="Its id.", pattern=DELIVERY_ID, examples=[EXAMPLE_DELIVERY_ID])]
    endpoint_id: Annotated[str, Meta(description="Where it goes.", pattern=ENDPOINT_ID, examples=[EXAMPLE_ENDPOINT_ID])]
    event_id: Annotated[
        str,
        Meta(
            description="The event, also in the header `webhook-id`.", pattern="^evt_[0-9a-z_]+$", examples=[EXAMPLE_EVENT_ID]
        ),
    ]
    type: Annotated[str, Meta(description=f"What happened; `{TEST_TYPE}` for a test.", examples=["payment.succeeded"])]
    transaction_id: Annotated[
        Annotated[str, Meta(pattern=PAYMENT_ID)] | None,
        Meta(description="The payment; null for a test.", examples=[EXAMPLE_PAYMENT_ID]),
    ]
    state: Annotated[
        DeliveryState,
        Meta(
            description="`pending`: it is tried now or later. `delivered`: the endpoint answered 2xx. `failed`: all tries were "
            "in vain. `canceled`: its endpoint was removed or disabled. All but `pending` can be replayed.",
            examples=["delivered"],
        ),
    ]
    tries: Annotated[int, Meta(description="How often it was tried.", ge=0, examples=[1])]
    last_status: Annotated[int | None, Meta(description="HTTP status of the last try; null: no answer.", examples=[204])]
    last_error: Annotated[str | None, Meta(description="Why the last try failed.", examples=[None])]
    last_tried_at: Annotated[_Time | None, Meta(description="When it was tried last.")]
    next_try_at: Annotated[_Time | None, Meta(description="When it is tried next; null: not any more.")]
    created_at: Annotated[_Time, Meta(description="When it was to be told.")]


class DeliveryPage(Struct, frozen=True, rename="camel"):
    """One page of deliveries, newest first."""

    data: Annotated[list[DeliveryBody], Meta(description="The deliveries of this page; may be empty, also before the end.")]
    next_cursor: Annotated[
        str | None, Meta(description="Pass it as `cursor` for the next page; null = no more. Opaque: do not take it apart.")
    ]


class Recovery(Struct, frozen=True):
    """What a recovery does."""

    deliveries: Annotated[int, Meta(description="How many will be sent, as far as is known now.", ge=0, examples=[12])]


def is_line(text: str, chars_max: int) -> bool:
    """The text is on one line (LINE) and no longer than that."""
    return len(text) <= chars_max and not _NO_LINE.search(text)


class EndpointFacts(Protocol):
    """What is shown of an endpoint; ``outbound.endpoints.Endpoint`` is one."""

    @property
    def id(self) -> str: ...
    @property
    def mode(self) -> Mode: ...
    @property
    def url(self) -> str: ...
    @property
    def types(self) -> tuple[str, ...]: ...
    @property
    def description(self) -> str: ...
    @property
    def state(self) -> Literal["enabled", "disabled"]: ...
    @property
    def reason(self) -> str: ...
    @property
    def created_us(self) -> int: ...
    @property
    def old_until_us(self) -> int: ...
    @property
    def failing_since_us(self) -> int: ...


def endpoint_body(e: EndpointFacts, now_us: int, secret: str | None = None) -> EndpointBody:
    """The endpoint as its merchant sees it; with its secret only for who is to see that."""
    return EndpointBody(
        id=e.id,
        url=e.url,
        types=list(e.types),
        description=e.description or None,
        state=e.state,
        reason=mask(e.reason) or None,
        failing_since=stamp(e.failing_since_us) if e.failing_since_us else None,
        secret=secret,
        old_secret_until=stamp(e.old_until_us) if e.old_until_us > now_us else None,
        mode=e.mode,
        created_at=stamp(e.created_us),
    )


def delivery_body(d: Delivery) -> DeliveryBody:
    return DeliveryBody(
        id=d.id,
        endpoint_id=d.endpoint_id,
        event_id=d.event_id,
        type=d.type,
        transaction_id=d.payment_id or None,
        state=d.state,
        tries=d.tries,
        last_status=d.status or None,
        last_error=mask(d.said) or None,
        last_tried_at=stamp(d.last_us) if d.last_us else None,
        next_try_at=None if d.due_us is None else stamp(d.due_us),
        created_at=stamp(d.created_us),
    )
