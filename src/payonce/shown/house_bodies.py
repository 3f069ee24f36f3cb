"""The shapes of what whoever runs payonce looks at: provider accounts, what needs somebody, workers. Each struct is both what
is encoded and what ``/openapi.json`` says."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from payonce.core.payment import Mode, PaymentStatus
from payonce.mail import WebhookState

from .bodies import EXAMPLE_ID, PAYMENT_ID, PaymentBody
from .endpoints import DeliveryBody
from .stats_bodies import ACCOUNT_EXAMPLES, Count, Currency, ProviderSums, Time

REASON_CHARS_MAX: Final = 200
_LINE: Final = r"[^\u0000-\u001F\u007F-\u009F\u2028\u2029]*"
_SEEN: Final = r"[^\u0000-\u0020\u007F-\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]"  # it shows: no blank
REASON: Final = f"^{_LINE}{_SEEN}{_LINE}$"
COUNTED_MAX: Final = 99  # up to which things that need somebody are counted
DUE_COUNTED_MAX: Final = 1000  # the same for what is due
SHOWN_MAX: Final = 20  # of them are shown
LATE_S: Final = 60  # what is due longer than that is overdue
TRIES_MIN: Final = 3  # a pending delivery that was tried in vain so often needs eyes

_Positive = Annotated[int, Meta(ge=1)]
BreakerState = Literal["open", "half-open", "probing"]

_Account = Annotated[str, Meta(description="Name of the account.", examples=ACCOUNT_EXAMPLES)]
_Reason = Annotated[
    Annotated[str, Meta(min_length=1, max_length=REASON_CHARS_MAX, pattern=REASON)],
    Meta(
        description="Why, for whoever looks at it later: it is put on record, and shown where payments wait. One line, no card "
        "number.",
        examples=["their maintenance until 14:00"],
    ),
]
_More = Annotated[bool, Meta(description="There are more than `count`: counting ended there.", examples=[False])]
_Counted = Annotated[Count, Meta(description=f"How many, counted up to {COUNTED_MAX}.", examples=[1])]


# --- provider accounts ------------------------------------------------------------------------------------------------


class DrainRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Keep new payments away from an account."""

    reason: _Reason


class ResumeRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Let new payments use an account again."""

    reason: _Reason
    close_breaker: Annotated[
        bool | None,
        Meta(
            description="`true`: close its circuit breaker as well, instead of waiting until a call shows that the provider is "
            "back.",
            examples=[False],
        ),
    ] = None


class DrainBody(Struct, frozen=True):
    """A drain that is on."""

    reason: Annotated[
        str | None,
        Meta(
            description="Why. Null: not told to this caller, who may not switch the account.",
            examples=["their maintenance until 14:00"],
        ),
    ]
    by: Annotated[
        str | None,
        Meta(description="Who did it. Null: not told to this caller.", examples=["key_01kav0q8t03x9m2c7h5n"]),
    ]
    since: Annotated[Time, Meta(description="Since when.")]


class BreakerBody(Struct, frozen=True):
    """A circuit breaker that is not closed."""

    state: Annotated[
        BreakerState,
        Meta(
            description="`open`: nothing new starts there until `until`. `probing`: one payment tries it. `half-open`: the "
            "next new payment will.",
            examples=["open"],
        ),
    ]
    why: Annotated[str, Meta(description="What it was opened for.", examples=["5 of the last 5 calls failed: HTTP 503"])]
    until: Annotated[Time, Meta(description="End of the pause, or of the time that the trying payment has.")]


class ProviderPoint(Struct, frozen=True):
    """The figures of an account in one minute or hour."""

    at: Annotated[Time, Meta(description="Where the minute or hour begins.")]
    calls: Annotated[Count, Meta(description="Answers to calls, lost ones included.", examples=[12])]
    errors: Annotated[
        Count, Meta(description="Those that were not answered, not readably, not sent, or rejected.", examples=[0])
    ]
    approved: Annotated[Count, Meta(description="Payments that were charged or held.", examples=[6])]
    declined: Annotated[Count, Meta(description="Attempts that were declined.", examples=[1])]


class ProviderBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """A provider account as it is now, with its figures in a window."""

    account: _Account
    adapter: Annotated[
        str | None,
        Meta(
            description="What speaks to the provider. Null: the account takes no new payments of yours any more (it is not in "
            "the configuration, or not for you), and has figures still.",
            examples=["razorpay"],
        ),
    ]
    mode: Annotated[Mode, Meta(description="Of which mode its payments are.", examples=["test"])]
    sandbox: Annotated[bool, Meta(description="It pays at the built-in sandbox: no money moves.", examples=[True])]
    merchants: Annotated[
        Literal["*"] | list[str] | None,
        Meta(description="Whose new payments it takes; `*`: everybody's. Null: not told to this caller.", examples=["*"]),
    ]
    calls_max: Annotated[
        _Positive | None,
        Meta(description="How many calls of one process may be under way at once. Null: no limit.", examples=[8]),
    ]
    in_flight: Annotated[
        int, Meta(description="Calls under way now, of the process that answers this; others are not seen.", ge=0, examples=[1])
    ]
    drain: Annotated[DrainBody | None, Meta(description="Null: it is not drained.")]
    breaker: Annotated[BreakerBody | None, Meta(description="Null: it is closed, as it should be.")]
    may_drain: Annotated[
        bool,
        Meta(
            description="The caller may drain and resume it: an `admin` of who runs this payonce, or of the only merchant "
            "whose payments it takes.",
            examples=[True],
        ),
    ]
    sums: Annotated[ProviderSums, Meta(description="Its figures in the window.")]
    series: Annotated[
        list[ProviderPoint], Meta(description="The same for every minute or hour of the window, oldest first, without gaps.")
    ]


class ProviderList(Struct, frozen=True):
    """The provider accounts of a merchant and mode. There are few: no pages."""

    data: Annotated[list[ProviderBody], Meta(description="In the order of the configuration, then those that are gone.")]


# --- what needs somebody ----------------------------------------------------------------------------------------------


class DoubtList(Struct, frozen=True):
    """Payments that need eyes."""

    count: _Counted
    more: _More
    data: Annotated[list[PaymentBody], Meta(description=f"The newest {SHOWN_MAX}.")]


class OverdueBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """A payment that nobody has looked at for too long."""

    transaction_id: Annotated[str, Meta(description="The payment.", pattern=PAYMENT_ID, examples=[EXAMPLE_ID])]
    status: Annotated[PaymentStatus, Meta(description="As it is now.", examples=["PENDING"])]
    amount: Annotated[int, Meta(description="In minor units.", ge=1, examples=[1050])]
    currency: Annotated[Currency, Meta(description="Its currency.")]
    due_at: Annotated[Time, Meta(description="When it should have been looked at.")]
    late_s: Annotated[int, Meta(description="Seconds since then.", ge=0, examples=[75])]


class OverdueList(Struct, frozen=True):
    """Payments that are due and not done."""

    count: _Counted
    more: _More
    data: Annotated[list[OverdueBody], Meta(description=f"The {SHOWN_MAX} that are due longest.")]


class StrayWebhook(Struct, frozen=True, kw_only=True, rename="camel"):
    """A webhook of a provider that led to no payment."""

    id: Annotated[str, Meta(description="Its id.", pattern="^wh_[0-9a-hjkmnp-tv-z]{20}$", examples=["wh_5t0c2d9e81b7a3460d1e"])]
    account: _Account
    kind: Annotated[str, Meta(description="The provider's word for what happened.", examples=["payment.captured"])]
    state: Annotated[
        WebhookState,
        Meta(description="`parked`: its payment will be looked for again. `unmatched`: given up.", examples=["parked"]),
    ]
    received_at: Annotated[Time, Meta(description="The first delivery.")]
    tries: Annotated[Count, Meta(description="How often its payment was looked for in vain.", examples=[2])]
    deliveries: Annotated[int, Meta(description="How often it was delivered.", ge=1, examples=[1])]
    due_at: Annotated[Time | None, Meta(description="When it is looked at next; null: not any more.")]


class StrayList(Struct, frozen=True):
    """Webhooks of providers that led to no payment. Nothing is lost by that: every payment is settled by reading too."""

    count: _Counted
    more: _More
    data: Annotated[list[StrayWebhook], Meta(description=f"The newest {SHOWN_MAX}.")]


class TroubledList(Struct, frozen=True):
    """Webhooks to merchants that did not arrive."""

    count: _Counted
    more: _More
    data: Annotated[
        list[DeliveryBody],
        Meta(
            description=f"The newest {SHOWN_MAX} that failed, or are pending after {TRIES_MIN} tries or more (of the newest "
            f"{COUNTED_MAX} pending ones)."
        ),
    ]


class DeadLetterBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """A message that no function could handle. It is only a hint: what it is about is done without it."""

    message_id: Annotated[str, Meta(description="SQS's id of it.", examples=["5fea7756-0ea4-451a-a703-a558b933e274"])]
    id: Annotated[
        str, Meta(description="What it is about, or the beginning of what stands there instead.", examples=[EXAMPLE_ID])
    ]
    about: Annotated[
        Literal["payment", "webhook", "notice", "delivery", "endpoint"] | None,
        Meta(description="Null: it is none of ours (poison).", examples=["payment"]),
    ]
    first_seen_at: Annotated[Time, Meta(description="When it was received first.")]
    received: Annotated[Count, Meta(description="How often it was, looking included; approximate.", examples=[4])]


class DeadLetterList(Struct, frozen=True, kw_only=True):
    """The dead-letter queue, on AWS."""

    known: Annotated[
        bool,
        Meta(
            description="False: there is no such queue here (none is needed without AWS), or it cannot be read.",
            examples=[False],
        ),
    ]
    count: Annotated[Count, Meta(description="About how many messages are in it; 0 where that is not known.", examples=[0])]
    data: Annotated[list[DeadLetterBody], Meta(description=f"At most {SHOWN_MAX}, as SQS showed them less than a minute ago.")]


class Attention(Struct, frozen=True, kw_only=True, rename="camel"):
    """What needs somebody, the caller's only. Where ``webhooks`` or ``deadLetters`` is null, they are not this caller's; where
    ``deliveries`` is, the key is no `admin`."""

    held: Annotated[
        bool,
        Meta(
            description="The service is being restored: payments are accepted and wait, and nothing is sent to providers until "
            "whoever runs payonce has compared it with them (`payonce reconcile`).",
            examples=[False],
        ),
    ]
    trouble: Annotated[
        str | None,
        Meta(
            description="Why new payments are not accepted now: the store takes no writes. The reason is for whoever runs "
            "payonce. Null: it takes them.",
            examples=[None],
        ),
    ]
    in_doubt: Annotated[DoubtList, Meta(description="Payments that are `IN_DOUBT`, or have an `attention`.")]
    overdue: Annotated[OverdueList, Meta(description=f"Payments that are due for more than {LATE_S} seconds.")]
    webhooks: Annotated[StrayList | None, Meta(description="Webhooks of providers that led to no payment.")]
    deliveries: Annotated[TroubledList | None, Meta(description="Webhooks to you that did not arrive.")]
    dead_letters: Annotated[DeadLetterList | None, Meta(description="Messages that no function could handle.")]


# --- workers ----------------------------------------------------------------------------------------------------------


class DueBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """What has to be looked at, every merchant's."""

    now: Annotated[Count, Meta(description=f"How many are due, counted up to {DUE_COUNTED_MAX}.", examples=[2])]
    overdue: Annotated[
        Count, Meta(description=f"Of them due for more than {LATE_S} seconds: no worker runs, or none keeps up.", examples=[0])
    ]
    oldest_s: Annotated[
        Count | None, Meta(description="For how many seconds the first is due. Null: nothing is.", examples=[1])
    ]
    next_at: Annotated[Time | None, Meta(description="When the next is due, or the first was. Null: nothing is planned.")]


class DeliveryCounts(Struct, frozen=True, kw_only=True):
    """Webhooks to the caller's own endpoints, by state, each counted up to 99."""

    pending: Annotated[Count, Meta(description="To be tried, now or later.", examples=[1])]
    delivered: Annotated[Count, Meta(description="Taken.", examples=[99])]
    failed: Annotated[Count, Meta(description="All tries were in vain.", examples=[0])]
    canceled: Annotated[Count, Meta(description="Their endpoint was removed or disabled.", examples=[0])]


class InboxCounts(Struct, frozen=True, kw_only=True):
    """Webhooks of providers, by state, each counted up to 99."""

    new: Annotated[Count, Meta(description="Heard, and not looked up yet.", examples=[0])]
    matched: Annotated[Count, Meta(description="Led to their payment; kept for 30 days.", examples=[99])]
    parked: Annotated[Count, Meta(description="Their payment will be looked for again.", examples=[0])]
    unmatched: Annotated[Count, Meta(description="Given up; kept for 30 days.", examples=[0])]


class LaneBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """Calls of the answering process at one account."""

    account: _Account
    in_flight: Annotated[Count, Meta(description="Calls under way now.", examples=[1])]
    calls_max: Annotated[_Positive | None, Meta(description="How many may be. Null: no limit.", examples=[8])]


class Workers(Struct, frozen=True, kw_only=True, rename="camel"):
    """How the work goes: what waits, and who is to do it."""

    version: Annotated[str, Meta(description="Of the payonce that answers.", examples=["0.8.0"])]
    started_at: Annotated[Time, Meta(description="When the answering process began to serve.")]
    as_of: Annotated[Time, Meta(description="When this was counted.")]
    store: Annotated[str, Meta(description="Where payments are kept.", examples=["payonce-data/payments.db"])]
    held: Annotated[
        bool, Meta(description="A hold is on: nothing is fired until `payonce reconcile` has run.", examples=[False])
    ]
    worker: Annotated[bool, Meta(description="A worker runs in the answering process. Others are not seen.", examples=[True])]
    due: Annotated[DueBody, Meta(description="Payments.")]
    webhooks_due: Annotated[DueBody, Meta(description="Webhooks of providers.")]
    notices: Annotated[DueBody, Meta(description="Payments with news that merchants are to be told.")]
    deliveries_due: Annotated[DueBody, Meta(description="Webhooks to merchants.")]
    deliveries: Annotated[DeliveryCounts, Meta(description="Webhooks to the caller's own endpoints.")]
    inbox: Annotated[InboxCounts, Meta(description="Webhooks of providers.")]
    accounts: Annotated[list[LaneBody], Meta(description="The provider accounts, in the order of the configuration.")]
    backlog_max: Annotated[
        _Positive | None,
        Meta(description="With so many overdue, new payments are refused for a while. Null: never.", examples=[50_000]),
    ]
    trouble: Annotated[str | None, Meta(description="Why the store takes no writes now. Null: it takes them.", examples=[None])]
