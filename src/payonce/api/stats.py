"""GET /stats and /stats/declines: the counted figures of the caller's own payments."""

import asyncio
from typing import Any, Final

import msgspec

from payonce.core.money import EXPONENTS
from payonce.dispatch import Account
from payonce.figures import Figures, What
from payonce.ports import Scope
from payonce.shown import stats as figured
from payonce.shown.stats import Read, Window, window_at
from payonce.shown.stats_bodies import WINDOWS, WindowName

from .house import House, there
from .incoming import Query, Request
from .payments import NO_STORE
from .problems import Answer

WINDOW: Final[WindowName] = "15m"  # where none is named
BY_STEP: Final[tuple[What, ...]] = ("accepted", "settled", "call", "declined")  # what a series is made of

_encode: Any = msgspec.json.Encoder().encode


class StatsDoor:
    """The handlers. Whose figures they see is the caller's; without ``house`` nothing is here."""

    def __init__(self, house: House | None) -> None:
        self._house = house

    async def stats(self, request: Request) -> Answer:
        house, query = there(self._house), Query(request, ("window",))
        name = window_of(query)
        query.check()
        scope, now_us = request.caller.scope, house.clock.now_us()
        window = window_at(name, now_us)
        read, standing = await asyncio.gather(read_window(house.figures, scope, window), house.figures.standing(scope))
        mine = [account.name for account in serving(house, scope)]
        return Answer(200, _encode(figured.stats(window, read, standing, mine, now_us)), headers=NO_STORE)

    async def declines(self, request: Request) -> Answer:
        house, query = there(self._house), Query(request, ("window", "provider", "currency"))
        name, provider, currency = window_of(query), query.text("provider"), query.text("currency")
        if currency is not None and (not currency.isascii() or currency.upper() not in EXPONENTS):
            query.bad("currency", "must be an ISO 4217 code with a minor unit, such as INR")
        query.check()
        scope, now_us = request.caller.scope, house.clock.now_us()
        window = window_at(name, now_us)
        wanted: dict[str, Any] = {"span": window.span, "fold": True, "what": ("declined",)}
        now, before = await asyncio.gather(
            house.figures.tallies(scope, window.from_us, window.before_us, **wanted),
            house.figures.tallies(scope, window.previous_us, window.from_us, **wanted),
        )
        wish: dict[str, Any] = {"account": provider, "currency": currency.upper() if currency else None}
        told = figured.declines(window, now, before, lambda account, code: is_hard(house, account, code), **wish)
        return Answer(200, _encode(told), headers=NO_STORE)


async def read_window(figures: Figures, scope: Scope, window: Window) -> Read:
    """The three sums that a window is shown by. Raises StoreUnavailable."""
    now, by_step, before = await asyncio.gather(
        figures.tallies(scope, window.from_us, window.before_us, span=window.span, fold=True),
        figures.tallies(scope, window.from_us, window.before_us, span=window.span, what=BY_STEP),
        figures.tallies(scope, window.previous_us, window.from_us, span=window.span, fold=True),
    )
    return Read(now, by_step, before)


def window_of(query: Query) -> WindowName:
    """The window that a query names."""
    said = query.choice("window", WINDOWS, f"must be one of {', '.join(WINDOWS)}")
    return next((name for name in WINDOWS if name == said), WINDOW)


def serving(house: House, scope: Scope) -> list[Account]:
    """The accounts that take new payments of a merchant and mode, in the order of the configuration."""
    return [account for account in house.accounts.values() if account.serves(scope.merchant_id, scope.mode)]


def is_hard(house: House, account: str, code: str) -> bool | None:
    """Whether a decline is final, as the account's adapter tells its provider's codes; None: that depends, or is not known."""
    known = house.accounts.get(account)
    found = {each.hard for each in known.adapter.DECLINES.values() if each.code == code} if known else set()
    return found.pop() if len(found) == 1 else None
