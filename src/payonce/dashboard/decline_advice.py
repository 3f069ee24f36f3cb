"""What a merchant can do about a decline, by its normalised code, beside the message of the API, which says what it means; and
how declines are put together for a chart."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from .charts import Share
from .rendering import words

BARS_MAX: Final = 6

OTHER: Final = "Look at one of the payments: it shows the provider's own words."
_NEVER: Final = "Ask the customer for another way to pay. Do not try this one again."

ADVICE: Final[Mapping[str, str]] = {
    "insufficient_funds": "Ask the customer for another way to pay, or to try again later.",
    "do_not_honor": "Nothing when it is rare. When it rises at one provider only, route these payments to another.",
    "stolen_card": _NEVER,
    "lost_card": _NEVER,
    "card_blocked": _NEVER,
    "expired_card": "Ask the customer for another card, or for the new date.",
    "fraud_suspected": "Do not try it again. When many good customers are refused, talk to the provider about its rules.",
    "invalid_card": "Ask the customer to type it again. When it rises, look at your checkout.",
    "limit_exceeded": "Ask the customer for another way to pay, or for a smaller amount.",
    "authentication_failed": "Ask the customer to try again. When it rises, look at the provider's authentication page.",
    "processing_error": "Look at the provider's page here. When it lasts, drain the account.",
    "action_expired": "Nothing, or give customers longer: actionExpiresIn of the payment.",
    "hold_lapsed": "Capture earlier, and accept the payment again.",
    "refund_refused": "Give the money back in another way.",
    "configuration": "Look at the account's settings at the provider: it is not set up for these payments.",
    "forced_failure": "Nothing: metadata.forceFail of the payment asked for it.",
    "late_success_declined": "Nothing: the sandbox plays a provider that changes its word.",
}


def advice(code: str) -> str:
    """What to do; for an unknown code, where to look."""
    return ADVICE.get(code, OTHER)


def shares(found: Iterable[Mapping[str, Any]], by: str = "code") -> list[Share]:
    """What ``GET /stats/declines`` found, summed ``by`` code or account, most first, the rest together where there are many."""
    counts: Counter[str] = Counter()
    for each in found:
        counts[each[by]] += each["count"]
    ranked = [(name, n) for name, n in counts.most_common() if n]
    shown = ranked if len(ranked) <= BARS_MAX else ranked[: BARS_MAX - 1]
    rest = sum(n for _, n in ranked[len(shown) :])
    drawn = [Share(label=words(name).capitalize() if by == "code" else name, count=n) for name, n in shown]
    return drawn + ([Share(label=f"{len(ranked) - len(shown)} others", count=rest, tone="neutral")] if rest else [])
