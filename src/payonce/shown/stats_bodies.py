"""The shapes of the figures: counts, rates and times of a window, as the API tells them. Each struct is both what is encoded
and what ``/openapi.json`` says."""

from typing import Annotated, Final, Literal, get_args

from msgspec import Meta, Struct, field

WindowName = Literal["15m", "24h", "7d"]
WINDOWS: Final[tuple[WindowName, ...]] = get_args(WindowName)

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-11-24T09:30:00.000000Z"])]
Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Millis = Annotated[float, Meta(ge=0)]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", examples=["INR"])]
ACCOUNT_EXAMPLES: Final = ["razorpay_mock"]

_Window = Annotated[
    WindowName,
    Meta(
        description="Which window: 15 minutes, or 24 or 168 whole hours of the clock (UTC), each with the one that is running "
        "as its last. So right after a minute or an hour began, it covers nearly one less."
    ),
]
_From = Annotated[Time, Meta(description="Where the window begins.")]
_Before = Annotated[Time, Meta(description="Where it ends: the end of the running minute or hour, exclusive.")]
_Calls = Annotated[Count, Meta(description="Answers of providers to calls, lost ones included, of every kind.", examples=[240])]
_Errors = Annotated[
    Count,
    Meta(
        description="Those calls that were not answered, not readably, not sent, or rejected. A decline is none.", examples=[2]
    ),
]
_Accepted = Annotated[Count, Meta(description="Payments that were accepted.", examples=[120])]
_Failed = Annotated[Count, Meta(description="Payments that became `FAILED`.", examples=[6])]
_Canceled = Annotated[Count, Meta(description="Payments that became `CANCELED` before they were charged.", examples=[1])]
_InDoubt = Annotated[Count, Meta(description="Payments that became `IN_DOUBT`, also those that left it since.", examples=[0])]
_CallP95 = Annotated[
    Millis | None, Meta(description="95 of 100 calls took at most this long. Null: no call.", examples=[410.2])
]
_SuccessRate = Annotated[
    Share | None,
    Meta(description="`approved` of `attempts`. Null: there was none to judge by, which is neither 0 nor 1.", examples=[0.95]),
]


class Sums(Struct, frozen=True, kw_only=True, rename="camel"):
    """The figures of one window."""

    accepted: _Accepted
    settled: Annotated[
        Count,
        Meta(
            description="Payments that reached an end for the first time: `SUCCESS`, `AUTHORIZED`, `FAILED` or `CANCELED`.",
            examples=[119],
        ),
    ]
    succeeded: Annotated[Count, Meta(description="Of them `SUCCESS`: charged at once.", examples=[110])]
    authorized: Annotated[Count, Meta(description="Of them `AUTHORIZED`: held, also those captured since.", examples=[2])]
    failed: _Failed
    canceled: _Canceled
    in_doubt: _InDoubt
    approval_rate: Annotated[
        Share | None,
        Meta(
            description="(succeeded + authorized) of (succeeded + authorized + failed). Null: none of these, which is neither "
            "0 nor 1.",
            examples=[0.9492],
        ),
    ]
    settle_p50_ms: Annotated[
        Millis | None,
        Meta(
            description="Half of the settled payments took at most this long, from accepted to settled, a customer's own time "
            "included. Told within a fifth of its value. Null: none settled.",
            examples=[312.5],
        ),
    ] = field(name="settleP50Ms")
    settle_p95_ms: Annotated[Millis | None, Meta(description="The same for 95 of 100 of them.", examples=[1840.0])] = field(
        name="settleP95Ms"
    )
    calls: _Calls
    errors: _Errors
    error_rate: Annotated[Share | None, Meta(description="`errors` of `calls`. Null: no call.", examples=[0.0083])]


class StandingBody(Struct, frozen=True):
    """How many payments stand there now, whenever they were accepted. Counted up to ``max`` + 1 each: more is not told."""

    PENDING: Annotated[Count, Meta(description="Accepted, and being worked on.", examples=[3])]
    REQUIRES_ACTION: Annotated[Count, Meta(description="The customer has to act.", examples=[1])]
    AUTHORIZED: Annotated[Count, Meta(description="Held, to be captured or voided.", examples=[2])]
    IN_DOUBT: Annotated[
        Count, Meta(description="What became of the money is not known; nothing is charged again.", examples=[0])
    ]
    attention: Annotated[Count, Meta(description="Those that need eyes: `IN_DOUBT`, or with an `attention`.", examples=[0])]
    max: Annotated[Count, Meta(description="A count above this means: more than this.", examples=[10_000])]


class Point(Struct, frozen=True, kw_only=True, rename="camel"):
    """The figures of one minute or hour."""

    at: Annotated[Time, Meta(description="Where the minute or hour begins.")]
    accepted: _Accepted
    succeeded: Annotated[Count, Meta(description="Payments that became `SUCCESS` or `AUTHORIZED`.", examples=[8])]
    failed: _Failed
    canceled: _Canceled
    in_doubt: _InDoubt
    calls: _Calls
    errors: _Errors


class ProviderBefore(Struct, frozen=True, kw_only=True, rename="camel"):
    """The same figures of an account in the window before, of the same length."""

    success_rate: _SuccessRate
    errors: _Errors
    calls: _Calls
    call_p95_ms: _CallP95 = field(name="callP95Ms")


class ProviderSums(Struct, frozen=True, kw_only=True, rename="camel"):
    """The figures of one provider account in a window."""

    account: Annotated[str, Meta(description="Name of the account.", examples=ACCOUNT_EXAMPLES)]
    approved: Annotated[Count, Meta(description="Payments that were charged or held there.", examples=[112])]
    declined: Annotated[Count, Meta(description="Attempts that were declined there.", examples=[6])]
    attempts: Annotated[Count, Meta(description="`approved` and `declined` together.", examples=[118])]
    success_rate: _SuccessRate
    share: Annotated[
        Share | None, Meta(description="Its part of the attempts of all accounts. Null: there were none.", examples=[0.7])
    ]
    calls: _Calls
    errors: _Errors
    call_p50_ms: Annotated[
        Millis | None, Meta(description="Half of the calls took at most this long. Null: no call.", examples=[120.4])
    ] = field(name="callP50Ms")
    call_p95_ms: _CallP95 = field(name="callP95Ms")
    previous: Annotated[ProviderBefore, Meta(description="The window before.")]


class AmountSums(Struct, frozen=True, kw_only=True):
    """Money of one currency in a window, in its minor units."""

    currency: Annotated[Currency, Meta(description="The currency.")]
    accepted: Annotated[Count, Meta(description="Sum of the payments that were accepted.", examples=[1_260_000])]
    taken: Annotated[
        Count,
        Meta(
            description="Sum of what was charged at once. Captures of a hold and refunds do not change it.",
            examples=[1_155_000],
        ),
    ]
    held: Annotated[
        Count, Meta(description="Sum of what was held at first, also where it was captured since.", examples=[21_000])
    ]


class Stats(Struct, frozen=True, kw_only=True, rename="camel"):
    """The figures of a merchant and mode in a window, and of the one before."""

    window: _Window
    from_: _From = field(name="from")
    before: _Before
    previous_from: Annotated[Time, Meta(description="Where the window before begins; it ends at `from`.")]
    step_s: Annotated[int, Meta(description="Seconds from one point of `series` to the next.", ge=1, examples=[60])]
    as_of: Annotated[Time, Meta(description="When this was counted.")]
    complete: Annotated[
        bool,
        Meta(
            description="True: every payment of the window is counted. False: counting began within it (see `since`), or, on "
            "DynamoDB, only the newest payments were looked at.",
            examples=[True],
        ),
    ]
    since: Annotated[
        Time | None,
        Meta(description="Where it is after `previousFrom`: from when on payments are counted. Earlier ones are missing."),
    ]
    now: Annotated[Sums, Meta(description="The window.")]
    previous: Annotated[Sums, Meta(description="The window before, of the same length.")]
    standing: Annotated[StandingBody, Meta(description="What is not final now.")]
    series: Annotated[list[Point], Meta(description="Every minute or hour of the window, oldest first, without gaps.")]
    providers: Annotated[
        list[ProviderSums],
        Meta(description="The accounts that take your payments, and any other that has figures in one of the two windows."),
    ]
    amounts: Annotated[list[AmountSums], Meta(description="By currency, in the order of codes.")]


class DeclineSums(Struct, frozen=True, kw_only=True):
    """How often attempts at an account were declined for one reason."""

    code: Annotated[str, Meta(description="The decline code.", examples=["insufficient_funds"])]
    message: Annotated[str, Meta(description="What it means, and what follows.")]
    hard: Annotated[
        bool | None,
        Meta(
            description="True: it is final, no other account is tried. False: it is not. Null: that depends, or is not known.",
            examples=[False],
        ),
    ]
    account: Annotated[str, Meta(description="Where.", examples=ACCOUNT_EXAMPLES)]
    currency: Annotated[Currency, Meta(description="The currency of the payments.")]
    count: Annotated[int, Meta(description="How many attempts in the window; 0: in the one before only.", ge=0, examples=[4])]
    previous: Annotated[Count, Meta(description="How many in the window before.", examples=[1])]


class DeclineList(Struct, frozen=True, kw_only=True, rename="camel"):
    """Why attempts were declined in a window, most frequent first."""

    window: _Window
    from_: _From = field(name="from")
    before: _Before
    complete: Annotated[bool, Meta(description="As in `/stats`.", examples=[True])]
    data: Annotated[list[DeclineSums], Meta(description="By code, account and currency; the most frequent first.")]
