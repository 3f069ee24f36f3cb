"""The providers of a world: the sandbox's own simulators over one ledger in memory, with bad weather. What the sandbox's
server does with sockets and waiting is done here with timers. The ledger is the witness of every oracle."""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, cast

from msgspec import Struct
from msgspec.structs import replace

from payonce.sandbox.deliveries import Deliveries, Event
from payonce.sandbox.faults import Profile
from payonce.sandbox.ledger import PAGE_MAX, Ledger, Movement, Thing
from payonce.sandbox.simulator import Acting, Reply, Request, Simulator, Standing

from .options import S

WEATHER: Final = (
    {"outage": True},
    {"error_rate": 0.4},
    {"latency_ms": 900},
    {"latency_ms": 8_000},
    {"lookup_lag_ms": 1_500},
    {"lookup_lag_ms": 4_000},
)
LAGS: Final = frozenset({"lookup_lag_ms"})
LENGTHS_S: Final = (5, 30, 300, 3600)
FINE: Final = Profile()


class Spell(Struct, frozen=True):
    """Bad weather at one vendor."""

    from_us: int
    until_us: int
    profile: Profile
    what: str


class Told(Deliveries):
    """Keeps what the vendors announce in memory: who delivers it, and how badly, is the world's business."""

    def __init__(self) -> None:
        self.fresh: list[Event] = []
        self._count = 0

    def announce(self, vendor: str, event_id: str, body: bytes, at_us: int) -> int:
        self._count += 1
        self.fresh.append(Event(seq=self._count, vendor=vendor, event_id=event_id, at_us=at_us, body=body))
        return self._count


class Books(Ledger):
    """The ledger of a world, which says when something is to happen by itself."""

    def __init__(self, planned: Callable[[int], None]) -> None:
        super().__init__(":memory:")
        self.told = self.deliveries = Told()
        self._planned = planned

    def later(self, thing: Thing, due_us: int) -> None:
        super().later(thing, due_us)
        self._planned(due_us)


class Vendors:
    """``after(us, do)`` sets a timer; ``now`` is the world's time. ``announced`` hears of each webhook that a vendor has to
    send, as soon as it has; without it nobody has registered for any. ``usual`` is what the vendors are like where nothing is
    wrong with them."""

    def __init__(
        self,
        simulators: Mapping[str, Simulator],
        dice: random.Random,
        now: Callable[[], int],
        after: Callable[[int, Callable[[], None]], object],
        *,
        announced: Callable[[Event], None] | None = None,
        usual: Profile = FINE,
    ) -> None:
        self.simulators, self.ledger = dict(simulators), Books(self._planned)
        self._announced, self._usual = announced, usual
        self.counts: Counter[str] = Counter()
        self._dice, self._now, self._after = dice, now, after
        self._spells: dict[str, list[Spell]] = {}

    def forecast(self, name: str, count: int, length_s: int, read_lag_s: int) -> None:
        """Bad weather at a vendor within the next ``length_s`` seconds. Lookups never lag more than the vendor admits."""
        spells, at = [], self._now()
        for _ in range(count):
            at += self._dice.randrange(1, max(2, length_s // count)) * S
            worse = self._dice.choice(WEATHER)
            if LAGS & worse.keys():
                worse = {"lookup_lag_ms": min(worse["lookup_lag_ms"], read_lag_s * 1000 - 100)}
            until = at + self._dice.choice(LENGTHS_S) * S
            spells.append(Spell(at, until, Profile(**worse), next(iter(worse))))
            at = until
        self._spells[name] = spells

    def clear_up(self) -> None:
        self._spells.clear()

    def profile(self, name: str) -> Profile:
        now = self._now()
        spell = next((s for s in self._spells.get(name, ()) if s.from_us <= now < s.until_us), None)
        if spell is None:
            return self._usual
        self.counts[spell.what] += 1
        return replace(spell.profile, hold_s=self._usual.hold_s, refunds=self._usual.refunds)

    def arrive(self, name: str, asked: Request, answer: Callable[[Reply], None]) -> None:
        """A request is there. ``answer`` is called when the vendor has one, perhaps much later."""
        profile = self.profile(name)
        if profile.latency_ms and not asked.resumed:
            self._after(profile.latency_ms * 1000, lambda: self._work(name, asked, answer))
        else:
            self._work(name, asked, answer)

    def _work(self, name: str, asked: Request, answer: Callable[[Reply], None]) -> None:
        reply = self._simulate(name, asked)
        if reply.resume:
            again = replace(asked, resumed=True)
            self._after(int(reply.hold_s * S), lambda: answer(self._simulate(name, again)))
        elif reply.hold_s:
            self._after(int(reply.hold_s * S), lambda: answer(Reply(drop=True)))
        else:
            answer(reply)

    def _simulate(self, name: str, asked: Request) -> Reply:
        profile = self.profile(name)
        if not asked.resumed and profile.outage:
            return Reply(drop=True)
        if not asked.resumed and self._dice.random() < profile.error_rate:
            return Reply(status=500, body=b"{}")
        with self.ledger.transaction():
            self.settle()
            reply = self.simulators[name].simulate(asked, self.ledger, profile, self._now())
        self._tell()
        return reply

    def settle(self) -> None:
        """What has become due at the vendors by itself."""
        for each in self.simulators.values():
            each.settle(self.ledger, self._now())

    def _planned(self, due_us: int) -> None:
        """Something will happen by itself: who listens to webhooks hears of it then, and not at the next request."""
        if self._announced is not None:
            self._after(max(0, due_us - self._now()) + 1_000, self._happen)

    def _happen(self) -> None:
        with self.ledger.transaction():
            self.settle()
        self._tell()

    def _tell(self) -> None:
        fresh, self.ledger.told.fresh = self.ledger.told.fresh, []
        if self._announced is not None:
            for event in fresh:
                self._announced(event)

    # --- customers ------------------------------------------------------------------------------------------------------

    def standing(self, name: str, number: int) -> Standing | None:
        """The payment behind a page on which the customer acts."""
        with self.ledger.transaction():
            self.settle()
            return cast("Acting", self.simulators[name]).standing(self.ledger, number)

    def act(self, name: str, number: int, *, approve: bool) -> bool:
        """The customer decides. False when it was too late."""
        with self.ledger.transaction():
            self.settle()
            vendor = cast("Acting", self.simulators[name])
            found = vendor.standing(self.ledger, number)
            vendor.act(self.ledger, number, self._now(), approve=approve)
        self._tell()
        return found is not None and found.open

    def movements(self) -> list[Movement]:
        """Every movement of money until now."""
        self._happen()
        found: list[Movement] = []
        while page := self.ledger.movements(found[-1].seq if found else 0, PAGE_MAX):
            found += page
        return found
