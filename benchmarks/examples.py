"""Some hundred payments, each taken from its POST to its end by the real engine at the sandbox of this process, on a clock that
jumps to whatever is due next. ``filling`` copies them."""

import asyncio
import itertools
import random
from pathlib import Path
from typing import Final

from payonce.api.operations import wanted_of
from payonce.bootstrap import App, open_app
from payonce.config import load
from payonce.core.idempotency import normalise
from payonce.testing.provider_wired import FakeClock

START_US: Final = 1_750_000_000_000_000  # mid 2025; all of it is long ago, so that no server has work with the copies
ROUNDS_MAX: Final = 400  # looks at one payment
# How payments end, of a hundred: paid at once, paid by another account, paid after a look, refused, canceled, just accepted.
# None has an attempt without an end: that would tie the file to the accounts that it was made with.
JUST_ACCEPTED: Final = "just accepted"
CANCELED: Final = "canceled"  # before anything was sent: the shortest history there is
TOKENS: Final = (
    *("tok_ok",) * 89,
    *("tok_decline_then_ok",) * 3,
    *("tok_lost_response",) * 1,
    *("tok_decline_insufficient_funds",) * 2,
    *("tok_decline_stolen_card",) * 1,
    *("tok_decline_expired_card",) * 1,
    *(CANCELED,) * 2,
    *(JUST_ACCEPTED,) * 1,
)
ACCOUNTS: Final = """
version = 1
[providers.first]
adapter = "mock"
[providers.second]
adapter = "mock"
[[rules]]
name = "usual"
use = ["first"]
fallback = "any"
"""
CURRENCIES: Final = ("INR", "INR", "EUR", "USD")


class Chance:
    """The same ids each time."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def bits(self, count: int) -> int:
        return self._random.getrandbits(count)


def make(folder: Path, count: int) -> Path:
    """A payments file in ``folder`` with ``count`` of them."""
    path = folder / "payments.db"
    asyncio.run(_make(folder, count))
    return path


async def _make(folder: Path, count: int) -> None:
    accounts = folder / "payonce.toml"
    accounts.write_text(ACCOUNTS, encoding="utf-8")
    clock, settings = FakeClock(START_US), load({"store.data_dir": str(folder)}, env={}, file=accounts)
    async with open_app(settings, clock=clock, entropy=Chance(9), env={}) as app:
        for number in range(count):
            await _one(app, clock, number)


async def _one(app: App, clock: FakeClock, number: int) -> None:
    # Not a multiple of a second, so that no time in it is mistaken for another one.
    clock.at_us += 1_234_567
    token = TOKENS[number * 37 % len(TOKENS)]  # 37 and 100 have no common part: all of them, well mixed
    asked = {
        "amount": 100 + number * 7_919 % 900_000,
        "currency": CURRENCIES[number * 7 % len(CURRENCIES)],
        "clientId": f"shop-{number % 8}",
        "paymentMethod": token if token.startswith("tok_") else "tok_ok",
        "metadata": {"order": f"order-{number:09d}", "plan": f"plan-{number % 5}"}
        | ({"campaign": "winter"} if number % 100 == 0 else {}),
    }
    receipt = await app.engine.submit(app.scope, normalise(asked), f"key-{number:028d}", actor="key_0123456789@http 192.0.2.1")
    if token == CANCELED:
        request, _ = wanted_of("void", receipt.payment.id, {})
        await app.engine.submit(app.scope, request, f"void-{number:027d}", actor="key_0123456789@http 192.0.2.1")
    for looks in itertools.count():
        due_us = await app.store.due_of(receipt.payment.id)
        if due_us is None or token == JUST_ACCEPTED:
            return
        if looks > ROUNDS_MAX:
            raise RuntimeError(f"{receipt.payment.id} ({token}) does not come to an end")
        clock.at_us = max(clock.at_us, due_us)
        if app.endpoints is not None:
            await app.endpoints.refresh()  # nobody is subscribed; who does not know leaves a notice with each change
        await app.engine.advance(receipt.payment.id)
