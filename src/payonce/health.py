"""Which provider accounts may take a new create or fire: breakers and drain switches, shared through the registry.

The rules are in ``core/breaker.py``; here is what one process keeps: the last signals of each account, and what the
registry said within the last second. The registry is written when something changes, not for every call.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from .core import breaker
from .core.actors import for_merchants
from .core.breaker import NEUTRAL, RECENT, Breaker, Heard, Signal
from .core.due import Block
from .core.errors import PayonceError, StoreUnavailable
from .core.retry import SECOND_US
from .ports import Clock, Lost, Record, Registry, Response
from .telemetry import get_logger

CACHE_US: Final = 1 * SECOND_US  # how old what the registry said may be
HOLD_US: Final = 1 * SECOND_US  # how long an account waits when the registry could not be asked about it,
HOLD_MAX_US: Final = 32 * SECOND_US  # doubled up to this with each further failure: many payments may wait
RACES_MAX: Final = 20  # lost to other operators in a row
DRAIN_V: Final = 1
UNREACHED: Final = "whether it may take a new call could not be looked up"

log = get_logger("health")


class Drain(Struct, frozen=True, kw_only=True):
    """The shared record of a drain switch."""

    v: int = DRAIN_V
    reason: str
    actor: str
    since_us: int


class Admitted(Struct, frozen=True):
    """Leave to make one new create or fire. With ``probe`` it is the one call that tries an account whose breaker is
    open: ``version`` is the record that it has to end."""

    account: str
    probe: Breaker | None = None
    version: int = 0


class State(Struct, frozen=True, kw_only=True):
    """What is on record of an account; None = not drained, closed."""

    drain: Drain | None = None
    breaker: Breaker | None = None


def signal(reply: Response | Lost | None) -> Signal:
    """What a reply says about the account's health, whatever it means for the payment. None: nothing was sent."""
    match reply:
        case Response(status=status):
            return breaker.answered(status)
        case Lost():
            return breaker.unanswered(reply.reason, ours=reply.ours)
        case None:
            return NEUTRAL


class Health:
    """One for each process, for any number of tasks. All but ``states``, ``drain`` and ``resume`` never raise: a registry
    that does not answer leaves what was known. Order of a call that is new (create or fire):

        blocked(now) does not name the account, plan wants the call
        admitted = await admit(account)       None: claim nothing, plan again
        await stands(admitted)                not any more: claim nothing, but report; plan again
        claim; send
        await learn(account, signal, admitted)    NEUTRAL when it was not sent after all, so that a probe is not lost

    Every other call is only learned from: ``learn(account, signal, None)``.
    """

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry, self._clock = registry, clock
        self.closed: Callable[[str, int], object] = _unheard  # told, with the wall clock, when an account's breaker has closed
        self._breakers: dict[str, tuple[int, Breaker]] = {}  # with the version of the record
        self._drains: dict[str, Drain] = {}
        self._signals: dict[str, deque[Heard]] = {}
        # account -> until, by the wall clock: it could not be looked up; or its probe could not be put on record, which no read
        # that goes well makes good.
        self._held: dict[str, int] = {}
        self._unwritten: dict[str, int] = {}
        self._known = False  # the registry has been read at least once
        self._read_at = (0, 0)  # by the wall and the monotonic clock: in a freeze the latter may stand still
        self._turn = 0  # of reads begun and writes done: an older read must not overwrite what came after it
        self._failures = self._refusals = 0  # of reads, of writes, in a row

    async def refresh(self) -> None:
        """Look again at what other processes and operators did, at most once a second."""
        aged = (now - then for now, then in zip(self._now(), self._read_at, strict=True))
        if (not self._known and not self._failures) or any(not 0 <= age < CACHE_US for age in aged):
            await self._read()

    def _now(self) -> tuple[int, int]:
        return self._clock.now_us(), self._clock.monotonic_us()

    def blocked(self, now_us: int) -> Mapping[str, Block]:
        """Accounts that may not take a new create or fire at this time, as last known, and why."""
        held = (*self._held.items(), *self._unwritten.items())
        found = {name: Block(UNREACHED, until) for name, until in held if now_us < until <= now_us + HOLD_MAX_US}
        for name, (_, b) in self._breakers.items():
            if breaker.blocks(b, now_us):
                found[name] = Block(f"circuit breaker open: {b.why}", breaker.look_again_us(b, now_us))
        for name, d in self._drains.items():
            found[name] = Block(f"drained by {for_merchants(d.actor)}: {d.reason}", drained=True)
        return found

    async def admit(self, account: str) -> Admitted | None:
        """Leave to claim a new create or fire, or None: then ``blocked`` names the account, or what it said has changed.
        While a breaker is half-open exactly one call of all processes gets it."""
        await self.refresh()
        now_us = self._clock.now_us()
        if not self._known:  # it may be drained
            self._held[account] = now_us + _hold_us(self._failures)
            return None
        if account in self.blocked(now_us):
            return None
        known = self._breakers.get(account)
        if known is None:
            return Admitted(account)
        version, b = known
        probe = breaker.probing(b, now_us)
        if await self._put("breaker", account, breaker.encode(probe), version):
            self._set(account, version + 1, probe)
            log.info("breaker lets one call through", account=account)
            return Admitted(account, probe, version + 1)
        await self._read()
        if self._breakers.get(account) == known:  # neither written nor read: do not try again at once
            self._unwritten[account] = now_us + _hold_us(self._refusals)
        return None

    async def stands(self, leave: Admitted) -> bool:
        """Just before the claim: the leave still counts. Its holder may have slept since, while the breaker opened, somebody
        drained the account, or the lease of the probe ended."""
        await self.refresh()
        record = None if leave.probe is None else (leave.version, leave.probe)
        if leave.account in self._drains or self._breakers.get(leave.account) != record:
            return False
        return leave.probe is None or self._clock.now_us() < leave.probe.until_us

    async def learn(self, account: str, signal: Signal, admitted: Admitted | None) -> None:
        """What a call said about its account. ``admitted``: what ``admit`` gave for it; None for any other call."""
        if admitted is not None and admitted.probe is not None:
            await self._probed(account, signal, admitted.probe, admitted.version)
            return
        if signal.kind == NEUTRAL.kind or account in self._breakers:
            return
        signals = self._signals.setdefault(account, deque(maxlen=RECENT))
        signals.append(Heard(self._clock.monotonic_us(), signal))
        why = breaker.reason_to_open(signals, self._clock.monotonic_us()) if signal.kind == "bad" else ""
        if not why:
            return
        signals.clear()  # before waiting: the other calls of the same outage need not write it too
        b = breaker.opened(why, self._clock.now_us())
        if await self._put("breaker", account, breaker.encode(b), 0):
            log.warning("breaker opened", account=account, why=why)
        await self._read()  # ours or another process's

    async def _probed(self, account: str, signal: Signal, probe: Breaker, version: int) -> None:
        """The probe reports. If its record is gone, its lease was over and somebody else went on: that stands."""
        now_us = self._clock.now_us()
        after = None
        if signal.kind != "good":
            after = breaker.reopened(probe, signal.says, now_us) if signal.kind == "bad" else breaker.freed(probe, now_us)
        done = await self._put("breaker", account, breaker.encode(after) if after else None, version)
        if not done:
            await self._read()
            return
        self._set(account, version + 1, after)
        if after is None:
            log.info("breaker closed", account=account, why="the call that tried it went well")
        elif signal.kind == "bad":
            log.warning("breaker stays open", account=account, why=after.why, pause_s=(after.until_us - now_us) / SECOND_US)

    # --- for operators ---------------------------------------------------------------------------------------------

    async def states(self) -> dict[str, State]:
        """What is on record, by account, read now. Raises StoreUnavailable."""
        drains = _drains(await self._registry.all("drain"))
        breakers = _breakers(await self._registry.all("breaker"))
        names = sorted(drains.keys() | breakers.keys())
        return {n: State(drain=drains.get(n), breaker=breakers[n][1] if n in breakers else None) for n in names}

    async def drain(self, account: str, reason: str, actor: str) -> None:
        """No process starts anything new there, within a second, until ``resume``. Of a drained account only the reason
        changes. Raises StoreUnavailable."""
        switch = msgspec.json.encode(Drain(reason=reason, actor=actor, since_us=self._clock.now_us()))
        await self._decide("drain", account, switch)
        log.warning("account drained", account=account, why=reason, actor=actor)

    async def resume(self, account: str, actor: str, *, close_breaker: bool = False) -> None:
        """End a drain. An open breaker stays, it heals by itself; ``close_breaker`` ends it too. Nothing to end: a no-op.
        Raises StoreUnavailable."""
        if await self._decide("drain", account, None):
            log.info("account resumed", account=account, actor=actor)
        if close_breaker and await self._decide("breaker", account, None):
            log.info("breaker closed", account=account, why=f"by {actor}")

    async def _decide(self, kind: str, account: str, value: bytes | None) -> bool:
        """An operator's decision counts, whatever others write meanwhile. False when there was nothing to delete."""
        for _ in range(RACES_MAX):
            version = next((r.version for r in await self._registry.all(kind) if r.name == account), 0)
            if version == 0 and value is None:
                return False
            if await self._registry.put(kind, account, value, version):
                await self._read()
                return True
        raise StoreUnavailable(f"{account} is being changed by others all the time. Nothing was changed; try again.")

    # --- the registry ----------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        self._turn += 1
        turn, self._read_at = self._turn, self._now()
        try:
            drains = _drains(await self._registry.all("drain"))
            breakers = _breakers(await self._registry.all("breaker"))
        except PayonceError as error:
            if not self._failures:
                log.warning("registry cannot be read, what was known stays", error=str(error))
            self._failures += 1
            return
        self._failures = 0
        self._held.clear()
        if self._known and turn != self._turn:
            return  # a later read or a write of ours knows better, or will; at the start any answer is better than none
        for name in self._breakers.keys() - breakers.keys():
            self._signals.pop(name, None)  # what was heard before it closed does not open it again
            self.closed(name, self._clock.now_us())
        self._drains, self._breakers, self._known = drains, breakers, True

    async def _put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
        """False when the race was lost or the registry did not answer: either way nothing may be built on it."""
        try:
            done = await self._registry.put(kind, name, value, expected_version)
        except PayonceError as error:
            self._refusals += 1
            log.warning("registry cannot be written", account=name, error=str(error))
            return False
        self._refusals = 0
        return done

    def _set(self, account: str, version: int, b: Breaker | None) -> None:
        """What we wrote, without reading it back."""
        self._turn += 1
        if b is None:
            self._breakers.pop(account, None)
            self._signals.pop(account, None)
            self.closed(account, self._clock.now_us())
        else:
            self._breakers[account] = (version, b)


def _hold_us(failures: int) -> int:
    return min(HOLD_MAX_US, HOLD_US << min(max(failures - 1, 0), 20))


def _unheard(account: str, now_us: int) -> None:
    """Nobody wants to know."""


def _breakers(records: tuple[Record, ...]) -> dict[str, tuple[int, Breaker]]:
    read = ((r.name, r.version, breaker.decode(r.value)) for r in records)
    return {name: (version, b) for name, version, b in read if b is not None}


def _drains(records: tuple[Record, ...]) -> dict[str, Drain]:
    """Whatever the record says, it says that somebody switched it."""
    return {r.name: _drain(r.value) for r in records}


def _drain(raw: bytes) -> Drain:
    try:
        return msgspec.json.decode(raw, type=Drain)
    except msgspec.MsgspecError:
        return Drain(reason="written by a newer payonce", actor="unknown", since_us=0)
