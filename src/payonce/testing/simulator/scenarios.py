"""Small worlds without bad luck, one payment each, that together pass every call of a port that there is: what crash points
are enumerated over. Two processes, so that what one leaves behind is found by the other, or by its own restart; the
short terms of sandbox accounts, so that a whole life takes some milliseconds. Where there is one process only, the faults
stop before the horizon of 60 s: a process that was dead for longer is no reason to be wrong, but one to be in doubt."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from payonce.testing.judge import ENDS_AS

from .fate import POINTS
from .options import Options

NAMES: Final = ("mock", "razorpay", "cashfree", "stripe", "payu")
ACCOUNTS: Final[Mapping[str, tuple[str, str]]] = {name: (f"{name}_a", name) for name in NAMES}
HELD: Final[Mapping[str, Any]] = {"manual": 1.0, "hold_s": 30, "lapses": True}  # the merchant captures
# Never drawn, since a script is the fate of these worlds; but their oracles must know that anything may go wrong.
MAY_BE: Final[Mapping[str, float]] = {word: 1e-12 for words in POINTS.values() for word in words}


class Scenario(Struct, frozen=True, kw_only=True):
    """``given``: a point whose first call meets that word in every run. ``wants``: what has to happen for the scenario to be
    worth its name, a point or a count of the world; the first seed with it is taken. ``ends``: the statuses that single
    crashes, errors, duplicates and delays leave possible. ``fast``: it belongs to the gate that runs before every change."""

    name: str
    options: Options
    ends: frozenset[str]
    given: tuple[str, str] = ("", "")
    wants: str = ""
    fast: bool = True

    @property
    def soon(self) -> bool:
        """No accident of its own that may come in between: trouble with the store can be held against the clock."""
        streaks = self.options.store == "dynamodb" and self.options.endpoints  # two lost writes in a row are ten seconds
        return not (self.options.restores or streaks)


def _scenario(
    name: str,
    adapters: str,
    token: str,
    for_s: int,
    *,
    ends: str = "",
    given: str = "",
    wants: str = "",
    fast: bool = True,
    **more: Any,
) -> Scenario:
    """One payment with this token over an account of each adapter, in this order; faults for ``for_s`` seconds."""
    point, _, word = given.partition(" ")
    options = Options(
        seed=1,
        accounts=tuple(ACCOUNTS[each] for each in adapters.split()),
        terms="sandbox",
        payments=1,
        concurrency=2,
        faults_for_s=for_s,
        arrive_for_s=1,
        tokens=(token,),
        rates=MAY_BE,
        **more,
    )
    may_end = frozenset(ends.split()) or ENDS_AS[token]
    return Scenario(name=name, options=options, ends=may_end, given=(point, word), wants=wants, fast=fast)


_ALL: Final = (
    # one key covers all sends
    _scenario("mock-ok", "mock", "tok_ok", 20),
    _scenario("mock-lost-answer", "mock", "tok_lost_response", 30),
    _scenario("mock-500-after-charge", "mock", "tok_500_after_charge", 30, processes=1, fast=False),
    _scenario("mock-timeout", "mock", "tok_timeout_then_ok", 40, processes=1),
    _scenario("mock-rate-limited", "mock", "tok_rate_limited", 30, processes=1, fast=False),
    _scenario("mock-hard-decline", "mock", "tok_decline_stolen_card", 20, fast=False),
    _scenario("mock-late-success", "mock", "tok_late_success", 40, processes=1),
    _scenario("mock-never-resolves", "mock", "tok_never_resolves", 90, processes=1, fast=False),
    _scenario("mock-wrong-amount", "mock", "tok_wrong_amount", 30, fast=False),
    _scenario("mock-hinted", "mock", "tok_lost_response", 30, webhooks=12.0, wants="defer", fast=False),
    _scenario("mock-accept-unclear", "mock", "tok_ok", 10, processes=1, given="commit error_after"),
    # a container, and a hold that only we take
    _scenario("razorpay-ok", "razorpay", "tok_ok", 20),
    _scenario("razorpay-lost-answer", "razorpay", "tok_lost_response", 30, fast=False),
    _scenario("razorpay-500-after-hold", "razorpay", "tok_500_after_charge", 30, processes=1, fast=False),
    _scenario("razorpay-provisional-decline", "razorpay", "tok_decline_stolen_card", 30, processes=1, fast=False),
    _scenario("razorpay-late-success", "razorpay", "tok_late_success", 6, processes=1, fast=False),
    _scenario("razorpay-never-resolves", "razorpay", "tok_never_resolves", 90, processes=1, fast=False),
    _scenario("razorpay-rate-limited", "razorpay", "tok_rate_limited", 40, processes=1, fast=False),
    _scenario("razorpay-wrong-amount", "razorpay", "tok_wrong_amount", 30, processes=1, fast=False),
    # a container that can be closed
    _scenario("cashfree-ok", "cashfree", "tok_ok", 20, fast=False),
    _scenario("cashfree-lost-answer", "cashfree", "tok_lost_response", 40, fast=False),
    _scenario("cashfree-500-after-charge", "cashfree", "tok_500_after_charge", 40, processes=1, fast=False),
    _scenario("cashfree-hard-decline", "cashfree", "tok_decline_stolen_card", 20, processes=1),
    _scenario("cashfree-late-success", "cashfree", "tok_late_success", 40, processes=1, fast=False),
    _scenario("cashfree-never-resolves", "cashfree", "tok_never_resolves", 90, processes=1, fast=False),
    _scenario("cashfree-rate-limited", "cashfree", "tok_rate_limited", 40, processes=1, fast=False),
    # a container, and one key for each call
    _scenario("stripe-ok", "stripe", "tok_ok", 20, fast=False),
    _scenario("stripe-lost-answer", "stripe", "tok_lost_response", 30, fast=False),
    _scenario("stripe-hard-decline", "stripe", "tok_decline_stolen_card", 20, processes=1, fast=False),
    # nothing protects a second send
    _scenario("payu-ok", "payu", "tok_ok", 20, ends="SUCCESS IN_DOUBT", wants="fire", fast=False),
    _scenario("payu-lost-answer", "payu", "tok_lost_response", 30, ends="SUCCESS IN_DOUBT", wants="fire", fast=False),
    # what merchants ask later
    _scenario("mock-capture", "mock", "tok_ok", 20, ends="SUCCESS CANCELED", plan=("capture 50",), processes=1, **HELD),
    _scenario("mock-void", "mock", "tok_ok", 20, ends="CANCELED", plan=("void",), processes=1, **HELD),
    _scenario("mock-lapsed", "mock", "tok_ok", 20, ends="CANCELED", processes=1, fast=False, **HELD),
    _scenario("mock-refunds", "mock", "tok_ok", 20, plan=("refund 30", "refund 70"), processes=1),
    _scenario("mock-refund-pending", "mock", "tok_ok", 20, plan=("refund",), refunds="pending", processes=1, fast=False),
    _scenario("mock-refund-fails-later", "mock", "tok_ok", 20, plan=("refund",), refunds="fail_later", processes=1, fast=False),
    _scenario(
        "razorpay-capture",
        "razorpay",
        "tok_ok",
        20,
        ends="SUCCESS CANCELED",
        plan=("capture 50", "capture"),
        fast=False,
        **HELD,
    ),
    _scenario("razorpay-refund", "razorpay", "tok_ok", 20, plan=("refund 30",), processes=1, fast=False),
    _scenario("cashfree-capture", "cashfree", "tok_ok", 20, ends="SUCCESS CANCELED", plan=("capture",), fast=False, **HELD),
    _scenario("cashfree-void", "cashfree", "tok_ok", 20, ends="CANCELED", plan=("void",), fast=False, **HELD),
    _scenario("stripe-capture", "stripe", "tok_ok", 20, ends="SUCCESS CANCELED", plan=("capture 50",), fast=False, **HELD),
    _scenario("stripe-void", "stripe", "tok_ok", 20, ends="CANCELED", plan=("void",), fast=False, **HELD),
    _scenario("stripe-refund", "stripe", "tok_ok", 20, plan=("refund 30",), processes=1, fast=False),
    _scenario(
        "payu-refund",
        "payu",
        "tok_ok",
        20,
        ends="SUCCESS IN_DOUBT",
        plan=("refund 30",),
        processes=1,
        wants="refund",
        fast=False,
    ),
    # customers and webhooks
    _scenario("mock-action", "mock", "tok_action_ok", 20, ends="SUCCESS CANCELED", tells=True, processes=1),
    _scenario(
        "mock-action-page",
        "mock",
        "tok_action",
        40,
        ends="SUCCESS FAILED CANCELED",
        acts=1.0,
        action_s=60,
        processes=1,
        fast=False,
    ),
    _scenario("mock-action-expired", "mock", "tok_action", 20, ends="CANCELED", action_s=60, processes=1, fast=False),
    _scenario("mock-told", "mock", "tok_late_success", 40, tells=True, processes=1, fast=False),
    _scenario("mock-told-sqlite", "mock", "tok_ok", 20, tells=True, store="sqlite", processes=1, fast=False),
    # what merchants are told
    _scenario("mock-news", "mock", "tok_ok", 20, endpoints=1),
    _scenario("mock-news-again", "mock", "tok_ok", 20, endpoints=1, given="tell error_before", processes=1, fast=False),
    _scenario("mock-news-refund", "mock", "tok_ok", 30, endpoints=2, plan=("refund 30",), processes=1, fast=False),
    _scenario("mock-news-sqlite", "mock", "tok_ok", 20, endpoints=1, store="sqlite", processes=1, fast=False),
    _scenario("mock-news-dynamodb", "mock", "tok_ok", 10, endpoints=1, store="dynamodb", processes=1, fast=False),
    # on to the next account
    _scenario("mock-then-razorpay", "mock razorpay", "tok_decline_then_ok", 20, processes=1),
    _scenario("razorpay-then-cashfree", "razorpay cashfree", "tok_decline_then_ok", 40, processes=1, fast=False),
    _scenario("cashfree-then-mock", "cashfree mock", "tok_decline_then_ok", 40, processes=1, fast=False),
    # people
    _scenario("drained", "mock cashfree", "tok_ok", 40, drains=1, fast=False),
    _scenario(
        "restored", "mock", "tok_timeout_then_ok", 60, ends="SUCCESS IN_DOUBT", restores=True, wants="restored", fast=False
    ),
    _scenario(
        "restored-failover",
        "cashfree mock",
        "tok_decline_then_ok",
        20,
        ends="SUCCESS IN_DOUBT",
        restores=True,
        wants="sleep",
        fast=False,
    ),
    # real files
    _scenario("mock-lost-answer-sqlite", "mock", "tok_lost_response", 30, store="sqlite", fast=False),
    _scenario("razorpay-ok-sqlite", "razorpay", "tok_ok", 20, store="sqlite", fast=False),
    # calls to AWS
    _scenario("mock-ok-dynamodb", "mock", "tok_ok", 10, store="dynamodb", processes=1, fast=False),
    _scenario("razorpay-lost-answer-dynamodb", "razorpay", "tok_lost_response", 30, store="dynamodb", processes=1, fast=False),
    _scenario("mock-refunds-dynamodb", "mock", "tok_ok", 20, plan=("refund 30",), store="dynamodb", processes=1, fast=False),
)
SCENARIOS: Final[Mapping[str, Scenario]] = {each.name: each for each in _ALL}
