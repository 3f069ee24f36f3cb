"""Routing as callers see it: the rules as they are, and what changed ones would have done. The same for HTTP and ``--json``."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from payonce.core.payment import Mode

from .bodies import EXAMPLE_ID, PAYMENT_ID

LAST_MAX: Final = 10_000
EXAMPLE_TOML: Final = '[[rules]]\nname = "rupees"\nwhen = { currency = ["INR"] }\nuse = ["cashfree_mock"]\n'

_Account = Annotated[str, Meta(description="Name of the account, as in the configuration.", examples=["razorpay_mock"])]
_RuleName = Annotated[str | None, Meta(description="The rule that chooses; null: none does.", examples=["rupees"])]


class RuleBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """One rule in plain words. The first rule that matches a payment chooses."""

    name: Annotated[str, Meta(description="Its name; `rule N` where it has none of its own.", examples=["rupees"])]
    title: Annotated[str, Meta(description="As it is called in a sentence.", examples=["rule rupees"])]
    when: Annotated[
        list[str],
        Meta(
            description="What a payment must be: all of it. Empty: every payment.", examples=[["currency INR", "of high value"]]
        ),
    ]
    use: Annotated[list[str], Meta(description="The accounts that come first, in this order.", examples=[["razorpay_mock"]])]
    fallback: Annotated[
        list[str] | None,
        Meta(description="The accounts after them; null: any other that takes the payment.", examples=[None]),
    ]
    then: Annotated[
        str,
        Meta(description="Both in plain words.", examples=["razorpay_mock, then any other that takes it"]),
    ]


class HighValueBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """From which amount on a payment is of high value, in minor units."""

    default: Annotated[int, Meta(description="Where nothing else is said of a currency.", ge=1, examples=[1_000_000])]
    currencies: Annotated[dict[str, int], Meta(description="By currency.", examples=[{"INR": 500_000}])]
    origin: Annotated[str, Meta(description="Where it comes from.", examples=["payonce.toml"])]
    words: Annotated[str, Meta(description="The same in words.", examples=["1,000,000 minor units; INR 500,000"])]


class OfferBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """What an account can take: rules choose among these."""

    account: _Account
    adapter: Annotated[str, Meta(description="The code that speaks to the provider.", examples=["razorpay"])]
    mode: Annotated[Mode, Meta(description="Test or live.", examples=["test"])]
    merchants: Annotated[
        list[str] | Literal["*"],
        Meta(description="Whose payments it takes; `*`: everybody's; empty: nobody's any more.", examples=["*"]),
    ]
    currencies: Annotated[list[str] | None, Meta(description="The currencies it takes; null: all.", examples=[["INR"]])]
    methods: Annotated[
        list[str] | None, Meta(description="The types of payment methods it takes; null: all.", examples=[["card", "upi"]])
    ]
    holds: Annotated[bool, Meta(description="It can hold money for a later capture.", examples=[True])]


class RoutingBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """The routing rules as they are."""

    origin: Annotated[str, Meta(description="Where the rules come from.", examples=["payonce.toml"])]
    rules: Annotated[
        list[RuleBody], Meta(description="The rules in their order; none: accounts in the order of the configuration.")
    ]
    high_value: Annotated[HighValueBody, Meta(description="From which amount on a payment is of high value.")]
    accounts: Annotated[list[OfferBody], Meta(description="The accounts, in the order of the configuration.")]
    warnings: Annotated[list[str], Meta(description="What is allowed and probably not meant.", examples=[[]])]
    toml: Annotated[
        str,
        Meta(
            description="Rules and thresholds as payonce.toml has them, without comments: to change and try.",
            examples=[EXAMPLE_TOML],
        ),
    ]


class DryRunRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Rules to try on payments that were made."""

    toml: Annotated[
        str,
        Meta(
            description="A whole payonce.toml, or its `[[rules]]` and `[routing.high_value]` alone; other parts are not looked "
            "at. It is read as a start would read it. With the rest of the request it fits into 64 KiB.",
            examples=[EXAMPLE_TOML],
        ),
    ]
    last: Annotated[
        Annotated[int, Meta(ge=1, le=LAST_MAX)] | None,
        Meta(description="On so many of your newest payments; 1000 when absent.", examples=[1000]),
    ] = None


class DryRunGroup(Struct, frozen=True, kw_only=True, rename="camel"):
    """Payments that would have gone elsewhere in the same way."""

    came_from: Annotated[
        str | None,
        Meta(description="The account asked first by the rules as they are; null: none takes it.", examples=["razorpay_mock"]),
    ] = field(name="from")
    to: Annotated[
        str | None, Meta(description="And by the changed ones; null: it would be refused.", examples=["cashfree_mock"])
    ]
    from_rule: _RuleName
    to_rule: _RuleName
    count: Annotated[int, Meta(description="So many payments.", ge=1, examples=[132])]
    examples: Annotated[
        list[Annotated[str, Meta(pattern=PAYMENT_ID)]],
        Meta(description="Some of them, the newest first.", max_length=5, examples=[[EXAMPLE_ID]]),
    ]


class DryRunBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """Which account would have been asked first. Not what would have become of a payment: that only a provider could tell.
    `of` = `named` + `cannotTell` + those that were compared."""

    of: Annotated[int, Meta(description="Payments that were looked at.", ge=0, examples=[10_000])]
    changed: Annotated[
        int, Meta(description="Another account would have been asked first, or none could have taken it.", ge=0, examples=[132])
    ]
    reordered: Annotated[
        int,
        Meta(description="The same account first, but by another rule, or with another order after it.", ge=0, examples=[40]),
    ]
    unroutable: Annotated[
        int,
        Meta(description="By the changed rules no account could have taken it: refused, `no_route`.", ge=0, examples=[0]),
    ]
    named: Annotated[int, Meta(description="They name an account themselves: no rule is asked.", ge=0, examples=[12])]
    cannot_tell: Annotated[int, Meta(description="Customer data that rules may look at was erased.", ge=0, examples=[0])]
    rules: Annotated[list[RuleBody], Meta(description="The changed rules in plain words.")]
    high_value: Annotated[str, Meta(description="The changed thresholds in words.", examples=["1,000,000 minor units"])]
    warnings: Annotated[
        list[str], Meta(description="What in the text is probably not meant, and what of it was not looked at.", examples=[[]])
    ]
    groups: Annotated[list[DryRunGroup], Meta(description="The changed ones by what changed, most first; at most 100.")]
    groups_left_out: Annotated[int, Meta(description="Groups that are not shown.", ge=0, examples=[0])]
    truncated: Annotated[
        bool, Meta(description="Five seconds were over before all of `last` were looked at.", examples=[False])
    ]
