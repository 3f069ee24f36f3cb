"""When a delivery is tried again, and when an endpoint is given up. Pure.

The schedule is that of Standard Webhooks (spec/standard-webhooks.md, "Deliverability and reliability", read 2026-11): ten tries
over about three days.
"""

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from payonce.core.retry import SECOND_US
from payonce.mail import DELIVERY_CHARS_MAX, Delivery
from payonce.shown.news import TEST_TYPE

from .sending import Sent

DELAYS_S: Final = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)  # before each try
TRIES_MAX: Final = len(DELAYS_S)
SPAN_S: Final = sum(DELAYS_S)
JITTER_BITS: Final = 16
JITTER_PART: Final = 10  # a delay is up to a tenth longer, so that what failed together does not return together
GONE: Final = 410
ASKS_LATER: Final = (429, 503)  # where Retry-After is heeded
DISABLE_AFTER_US: Final = SPAN_S * SECOND_US  # nothing got through for so long, and a delivery ran out of tries
UNREADABLE_US: Final = (60 * SECOND_US, 6 * 3_600 * SECOND_US)  # least and most until what cannot be read is looked at again

Means = Literal["delivered", "gone", "again", "exhausted"]


class Verdict(Struct, frozen=True):
    """What a try means, and the delivery as it is after it."""

    means: Means
    delivery: Delivery


def after(d: Delivery, sent: Sent, now_us: int, chance: int) -> Verdict:
    """After a try. ``chance`` has JITTER_BITS random bits. A test event is tried once only."""
    tried = replace(d, tries=d.tries + 1, status=sent.status, said=sent.said[:DELIVERY_CHARS_MAX], last_us=now_us)
    if 200 <= sent.status < 300:
        return Verdict("delivered", replace(tried, state="delivered", said="", due_us=None))
    if sent.status == GONE:
        return Verdict("gone", replace(tried, state="failed", due_us=None))
    if tried.tries >= TRIES_MAX or d.type == TEST_TYPE:
        return Verdict("exhausted", replace(tried, state="failed", due_us=None))
    delay_us = _spread(DELAYS_S[tried.tries] * SECOND_US, chance)
    if sent.status in ASKS_LATER and sent.retry_after_s is not None:
        delay_us = max(delay_us, sent.retry_after_s * SECOND_US)
    return Verdict("again", replace(tried, due_us=now_us + delay_us))


def unreadable_until_us(since_us: int, now_us: int) -> int:
    """When to look again at what cannot be told now: the longer it has been so, the later."""
    least, most = UNREADABLE_US
    return now_us + min(most, max(least, (now_us - since_us) // 4))


def _spread(delay_us: int, chance: int) -> int:
    return delay_us + delay_us * (chance & (1 << JITTER_BITS) - 1) // (JITTER_PART << JITTER_BITS)
