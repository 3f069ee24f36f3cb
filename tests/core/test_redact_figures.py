"""What is taken for a card number by chance: the figures in the docstring of core/cards.py, measured. Seeded, so that they are
the same in every run."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from payonce.core import ids, news
from payonce.core.events import digest
from payonce.core.redact import has_card_number

DRAWS = 2500
START = datetime(2024, 1, 1, tzinfo=UTC)


def digits(length: int) -> Callable[[random.Random], str]:
    return lambda dice: "".join(dice.choice("0123456789") for _ in range(length))


def moment(dice: random.Random) -> datetime:
    """Any microsecond of the years 2024 to 2038."""
    return START + timedelta(microseconds=dice.randrange(15 * 365 * 86_400 * 1_000_000))


def micros(dice: random.Random) -> int:
    return int(moment(dice).timestamp() * 1_000_000)


def payment(dice: random.Random) -> str:
    return ids.new_id("pay_", micros(dice), dice.getrandbits(52))


# What is drawn, and the most that may be refused of 1,000.
CASES: dict[str, tuple[Callable[[random.Random], object], float]] = {
    "order number of 8 digits": (digits(8), 0),
    "order number of 12 digits": (digits(12), 0),
    "order number of 13 digits": (digits(13), 20),
    "order number of 16 digits": (digits(16), 65),
    "order number with letters": (lambda d: f"ORD-{d.randrange(10**6):06}-{d.choice('ABC')}{d.randrange(10**6):06}", 0),
    "dated order number": (lambda d: f"{moment(d):%Y%m%d}-{d.randrange(10**6):06}", 0),
    "phone number": (lambda d: f"+91 {d.randrange(10**4, 10**5)} {d.randrange(10**5):05}", 0),
    "seconds": (lambda d: micros(d) // 1_000_000, 0),
    "milliseconds": (lambda d: micros(d) // 1000, 0),
    "microseconds": (micros, 0),
    "ISO date and time": (lambda d: moment(d).isoformat(), 0),
    "date and time": (lambda d: f"{moment(d):%Y-%m-%d %H:%M:%S.%f}", 0),
    "compact date and time": (lambda d: f"{moment(d):%Y%m%d%H%M%S}", 0),
    "UUID": (lambda d: str(UUID(int=d.getrandbits(128), version=4)), 0),
    "digest": (lambda d: digest(d.randbytes(8)), 0),
    "payment": (payment, 0),
    "operation": (lambda d: ids.operation_id(payment(d), 2, micros(d)), 0),
    "reference": (lambda d: ids.reference(payment(d), 1, d.randrange(3)), 0),
    "event": (lambda d: news.public_id(payment(d), d.randrange(1, 40), 0), 0),
    "request id": (lambda d: f"req_{d.getrandbits(80):020x}", 0),
    "step key": (lambda d: ids.step_key(payment(d), 1, 0, "fire"), 0),
    "amount": (lambda d: d.randrange(1, 10**12), 0),
    "latitude": (lambda d: round(d.uniform(-90, 90), 6), 0),
    "IPv4 address": (lambda d: ".".join(str(d.randrange(256)) for _ in range(4)), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_how_often_it_is_taken_for_a_card_by_chance(name: str) -> None:
    """Of a thousand random ones at most as many as the docstring says; of our own ids, times and amounts none."""
    draw, at_most = CASES[name]
    dice = random.Random(name)
    found = [drawn for drawn in (draw(dice) for _ in range(DRAWS)) if has_card_number({"v": drawn})]
    assert len(found) * 1000 / DRAWS <= at_most, found[:3]


def test_the_measure_sees_something() -> None:
    """Numbers of 16 digits that begin with 4 are refused once in ten: the measure is not blind."""
    dice = random.Random(1)
    found = sum(has_card_number("4" + digits(15)(dice)) for _ in range(DRAWS))
    assert 0.08 < found / DRAWS < 0.12
