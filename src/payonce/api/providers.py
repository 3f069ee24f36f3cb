"""GET /providers and the switches of an account: HTTP in front of ``health`` and ``draining``, with the figures beside."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from payonce import draining
from payonce.config import SANDBOX_URL
from payonce.core import breaker
from payonce.core.actors import for_merchants
from payonce.core.errors import Refused
from payonce.core.redact import mask
from payonce.dispatch import Account
from payonce.figures import Tally
from payonce.health import State
from payonce.merchants import DEFAULT_MERCHANT
from payonce.merchants.keys import Caller
from payonce.shown.house_bodies import REASON_CHARS_MAX, BreakerBody, DrainBody, ProviderBody, ProviderList
from payonce.shown.stats import Read, Window, attempts_of, by_account, provider_series, provider_sums, window_at
from payonce.shown.stats_bodies import WindowName
from payonce.shown.views import stamp

from .fields import Fields, small_body
from .house import House, there
from .incoming import BODY_S, Query, Request
from .payments import NO_STORE
from .problems import Answer
from .stats import WINDOW, read_window, serving, window_of

_encode: Any = msgspec.json.Encoder().encode


class ProvidersDoor:
    """The handlers. Accounts that do not take the caller's payments are not there for them, unless they have figures of the
    caller's; without ``house`` nothing is here."""

    def __init__(self, house: House | None, *, body_s: float = BODY_S) -> None:
        self._house, self._body_s = house, body_s

    async def list(self, request: Request) -> Answer:
        house, query = there(self._house), Query(request, ("window",))
        name = window_of(query)
        query.check()
        seen = await _look(house, request, name)
        return Answer(200, _encode(ProviderList([seen.body(account) for account in seen.names()])), headers=NO_STORE)

    async def get(self, request: Request) -> Answer:
        house, query = there(self._house), Query(request, ("window",))
        name = window_of(query)
        query.check()
        return await self._shown(house, request, name)

    async def drain(self, request: Request) -> Answer:
        """The account as it is then. Of a drained one the reason changes."""
        house, fields = there(self._house), Fields(await small_body(request, self._body_s), ("reason",))
        Query(request).check()
        reason = _reason(fields)
        fields.check()
        account = await _switched(house, request, gone=False)
        await draining.drain(house.health, house.journal, account, reason, **_by(request))
        return await self._shown(house, request, WINDOW)

    async def resume(self, request: Request) -> Answer:
        """The account as it is then. Of one that is not drained nothing changes."""
        body = await small_body(request, self._body_s)
        house, fields = there(self._house), Fields(body, ("reason", "closeBreaker"))
        Query(request).check()
        reason, close = _reason(fields), body.get("closeBreaker")
        if close is not None and not isinstance(close, bool):
            fields.bad("closeBreaker", "must be true or false")
        fields.check()
        account = await _switched(house, request, gone=True)
        how: dict[str, Any] = {"reason": reason, "close_breaker": close is True, **_by(request)}
        await draining.resume(house.health, house.journal, account, **how)
        return await self._shown(house, request, WINDOW)

    async def _shown(self, house: House, request: Request, window: WindowName) -> Answer:
        seen, account = await _look(house, request, window), request.path_value("account")
        if account not in seen.names():
            raise _no_account()
        return Answer(200, _encode(seen.body(account)), headers=NO_STORE)


class _Seen:
    """What one caller may see of the accounts, as of now."""

    def __init__(self, house: House, caller: Caller, window: Window, read: Read, states: Mapping[str, State]) -> None:
        self._house, self._caller, self._window, self._now_us = house, caller, window, house.clock.now_us()
        self._mine = {account.name: account for account in serving(house, caller.scope)}
        self._figures = [by_account(found.tallies) for found in (read.now, read.by_step, read.before)]
        self._attempts = attempts_of(read.now.tallies)
        self._runs_it = caller.scope.merchant_id == DEFAULT_MERCHANT
        self._states = {name: state for name, state in states.items() if name in self._mine or self._remembered(name)}

    def _remembered(self, name: str) -> bool:
        """Only a switch or a breaker knows the name, which the house may end."""
        return self._runs_it and name not in self._house.accounts

    def names(self) -> list[str]:
        """The caller's accounts, then those that are gone and have figures or a switch, by name."""
        now, _, before = self._figures
        gone = {*now, *before, *self._states} - {"", *self._mine}
        return [*self._mine, *sorted(gone)]

    def body(self, name: str) -> ProviderBody:
        account, state = self._mine.get(name), self._states.get(name, draining.CLOSED)
        now, by_step, before = (_of(found, name) for found in self._figures)
        return ProviderBody(
            account=name,
            adapter=account.adapter.name if account else None,
            mode=account.mode if account else self._caller.scope.mode,
            sandbox=account is not None and account.base_url.startswith(SANDBOX_URL),
            merchants=_whose(account) if self._runs_it and account else None,
            calls_max=(account.calls_max or None) if account else None,
            in_flight=self._house.lanes.flying().get(name, 0) if account else 0,
            drain=self._drain(state, account),
            breaker=_breaker(state, self._now_us),
            may_drain=(account is not None or name in self._states) and may_switch(self._caller, account),
            sums=provider_sums(name, now, before, self._attempts),
            series=provider_series(self._window, by_step),
        )

    def _drain(self, state: State, account: Account | None) -> DrainBody | None:
        """Who did it and why is for who runs the house, and for who may switch it; others see that it is on."""
        d = state.drain
        if d is None:
            return None
        if self._runs_it:
            return DrainBody(mask(d.reason), d.actor, stamp(d.since_us))
        if may_switch(self._caller, account):
            return DrainBody(mask(d.reason), for_merchants(d.actor), stamp(d.since_us))
        return DrainBody(None, None, stamp(d.since_us))


async def _look(house: House, request: Request, name: WindowName) -> _Seen:
    window = window_at(name, house.clock.now_us())
    read = await read_window(house.figures, request.caller.scope, window)
    return _Seen(house, request.caller, window, read, await house.health.states())


def may_switch(caller: Caller, account: Account | None) -> bool:
    """An ``admin`` of who runs the house, or of the only merchant that the account serves: others pay through it too else.
    None: an account that is gone."""
    merchant = caller.scope.merchant_id
    return caller.may("admin") and (
        merchant == DEFAULT_MERCHANT or (account is not None and account.merchants == frozenset({merchant}))
    )


async def _switched(house: House, request: Request, *, gone: bool) -> str:
    """The account that a request is to switch. ``gone``: also one that is not configured any more, and that a switch or a
    breaker remembers. Raises Refused: ``not_found``, ``scope_missing``."""
    name, caller = request.path_value("account"), request.caller
    account = next((each for each in serving(house, caller.scope) if each.name == name), None)
    if account is None:
        remembered = gone and name not in house.accounts and name in await house.health.states()
        if not remembered or not may_switch(caller, None):
            raise _no_account()
    elif not may_switch(caller, account):
        raise Refused("scope_missing", "Others pay through this account too: an admin of who runs this payonce may switch it.")
    return name


def _no_account() -> Refused:
    return Refused("not_found", "There is no such account for this caller.")


def _reason(fields: Fields) -> str:
    reason = (fields.text("reason", REASON_CHARS_MAX) or "").strip()
    if not reason and not fields.errors:
        fields.bad("reason", f"must say why, in 1 to {REASON_CHARS_MAX} characters on one line")
    return reason


def _by(request: Request) -> dict[str, str]:
    """Who does it, for the journal."""
    scope = request.caller.scope
    return {"actor": request.actor, "mode": scope.mode, "merchant_id": scope.merchant_id, "request_id": request.request_id}


def _whose(account: Account) -> Literal["*"] | list[str]:
    return "*" if account.merchants is None else sorted(account.merchants)


def _breaker(state: State, now_us: int) -> BreakerBody | None:
    b = state.breaker
    if b is None:
        return None
    return BreakerBody(breaker.word(b, now_us), mask(b.why), stamp(b.until_us))


def _of(found: Mapping[str, list[Tally]], account: str) -> list[Tally]:
    return found.get(account, [])
