"""Who wants to be told: merchants' endpoints, from before the world begins and made during its life, what merchants do to them,
and pollers that read the feed page by page. The real endpoints, journal and courier live in every process; here is what they
are held against: each state of each endpoint at the moment when it was written, what was decided and committed when, and what
receivers got (``receivers``). Judged in ``tidings``."""

import asyncio
import random
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from payonce.core.errors import NewerSchema, Refused, StoreUnavailable
from payonce.engine import Ports
from payonce.merchants.journal import Journal
from payonce.outbound import signing
from payonce.outbound.courier import Courier
from payonce.outbound.endpoints import KIND, Endpoint, Endpoints
from payonce.ports import Change, Fed, Registry, Scope

from .furnishing import HOUSE, OTHER
from .options import HOUR_S, S
from .receivers import TIMEOUT_MS, Got, Receiver, SimSender

if TYPE_CHECKING:
    from .processes import Process
    from .world import World

KEY: Final = b"the simulated key from which secrets are derived"
SCOPES: Final = (Scope(HOUSE, "test"), Scope(OTHER, "test"), Scope("mer_quiet", "test"), Scope(HOUSE, "live"))
TYPES: Final[tuple[tuple[str, ...], ...]] = ((), (), (), ("payment.*",), ("refund.*", "payment.succeeded"))
ACTS: Final = ("make", "rotate", "rotate", "pause", "pause", "remove", "replay", "test")
OVERLAPS_S: Final = (0, 60, 24 * HOUR_S)
PAUSES_S: Final = (10, 600, 12 * HOUR_S)
POLLS_S: Final = (1, 30, 600, HOUR_S)
PAGES: Final = (1, 2, 7)
WAITS_S: Final = 120  # for the answer to an act
EVER_US: Final = 2**62
BY: Final = "merchant"


class State(Struct, frozen=True):
    """An endpoint as it was written at a moment; None: it was removed."""

    at_us: int
    endpoint: Endpoint | None


class Told(Struct):
    """What a poller of a merchant's feed knows."""

    scope: Scope
    cursor: str | None = None
    seen: set[Fed] = msgspec.field(default_factory=set)
    restored: int = 0  # how many backups had been put back


class Watched(Courier):
    """The courier, whose bugs are seen: the worker outlives them."""

    world: "World"

    async def resolve(self, id: str) -> None:
        try:
            await super().resolve(id)
        except Exception as error:
            self.world.violate(f"a bug came through the courier: {type(error).__name__}: {error}")
            raise


def opened(process: "Process", wired: Ports, registry: Registry) -> tuple[Endpoints, Courier]:
    """Endpoints and courier of one process."""
    store: Any = wired.store
    journal = Journal(registry, process)
    endpoints = Endpoints(registry, process, process, journal, lambda: KEY)
    courier = Watched(
        store.outbox,
        store,
        endpoints,
        SimSender(process),
        journal,
        clock=process,
        entropy=process,
        wake=wired.wake,
        timeout_ms=TIMEOUT_MS,
    )
    courier.world = process.world
    return endpoints, courier


class Subscribers:
    """See the module docstring."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self._dice = random.Random(f"subscribers {world.options.seed}")  # of its own: nothing else of a world changes
        self.states: dict[str, list[State]] = {}  # of each endpoint, in order
        self.got: list[Got] = []
        self.decided_us: dict[str, int] = {}  # hash of an entry -> when it was decided who is told
        self.committed_us: dict[str, int] = {}  # and when it was durable
        self.pollers: list[Told] = []
        self._receivers: dict[str, Receiver] = {}
        self._made = 0

    @property
    def there(self) -> bool:
        return self.world.options.endpoints > 0

    # --- before anybody lives ---------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Endpoints that were made an hour ago, and the timers of everything that the options want."""
        if not self.there:
            return
        world, dice, o = self.world, self._dice, self.world.options
        registry = world.registry()
        for n in range(o.endpoints):
            scope = SCOPES[0] if not n else dice.choice(SCOPES)
            before_us = world.now_us() - HOUR_S * S
            endpoint = Endpoint(
                id=f"whe_{n:020d}",
                merchant_id=scope.merchant_id,
                mode=scope.mode,
                url=self._url(),
                types=dice.choice(TYPES) if n else (),
                created_us=before_us,
                active_us=before_us,
                key_id=signing.fingerprint(KEY),
            )
            await registry.put(KIND, endpoint.id, msgspec.json.encode(endpoint), 0)
            self.states[endpoint.id] = [State(before_us, endpoint)]
        for _ in range(o.desk):
            world.after(dice.randrange(1, o.faults_for_s * S), lambda: world.spawn(self._act(dice.choice(ACTS))))
        for scope in SCOPES[:3]:
            poller = Told(scope)
            self.pollers.append(poller)
            world.spawn(self._follow(poller))

    def _url(self) -> str:
        self._made += 1
        return f"https://hooks{self._made}.example.com/told"

    def receiver(self, url: str) -> Receiver:
        if url not in self._receivers:
            self._receivers[url] = Receiver(self.world, url)
        return self._receivers[url]

    # --- what is seen -----------------------------------------------------------------------------------------------------

    def registered(self, kind: str, name: str, value: bytes | None) -> None:
        """A record was written, by anybody."""
        if kind == KIND:
            endpoint = None if value is None else msgspec.json.decode(value, type=Endpoint)
            states = self.states.setdefault(name, [])
            if not states or states[-1].endpoint != endpoint:
                states.append(State(self.world.now_us(), endpoint))

    def decided(self, change: Change) -> None:
        """A process is about to ask for this change, and has decided just now whether somebody is to be told."""
        if self.there:
            for entry in change.entries:
                self.decided_us.setdefault(entry.hash, self.world.now_us())

    def committed(self, change: Change, visible_us: int) -> None:
        if not self.there:
            return
        for entry in change.entries:
            self.committed_us[entry.hash] = self.world.now_us()
        if change.notify:
            self.world.due_at(max(visible_us, *(e.envelope.at_us for e in change.entries)))

    async def quiet(self) -> bool:
        """Nothing is to be told any more."""
        if not self.there:
            return True
        outbox = self.world.reader().outbox
        if await outbox.notices(EVER_US, 1) or await outbox.due(EVER_US, 1):
            return False
        return not any(e.endpoint and e.endpoint.recovery for e in (states[-1] for states in self.states.values()))

    # --- what merchants do ------------------------------------------------------------------------------------------------

    async def _ask(self, do: "Any") -> Any:
        """One question to any living process: ``do(process)``. None when there was no answer, or a no."""
        living = [m.process for m in self.world.machines if m.process is not None]
        if not living:
            return None
        process = self._dice.choice(living)
        work: Coroutine[Any, Any, Any] = do(process)
        task = process.spawn(work)
        await asyncio.wait({task}, timeout=WAITS_S)
        if not task.done():
            task.add_done_callback(lambda t: t.cancelled() or t.exception())
            return None
        if task.cancelled() or isinstance(task.exception(), StoreUnavailable | NewerSchema | Refused):
            return None
        if (error := task.exception()) is not None:
            self.world.violate(f"a merchant was answered with {type(error).__name__}: {error}")
            return None
        return task.result()

    async def _act(self, what: str) -> None:
        world, dice = self.world, self._dice
        alive = [states[-1].endpoint for states in self.states.values() if states[-1].endpoint]
        if world.calm or not alive:
            return
        e = dice.choice(alive)
        world.counts[f"endpoint {what}"] += 1
        world.note("desk", "", f"{what} {e.id}")
        if what == "make":
            scope, url, types = dice.choice(SCOPES), self._url(), dice.choice(TYPES)
            await self._ask(lambda p: p.endpoints.create(scope, url, types, actor=BY))
        elif what == "rotate":
            overlap_s = dice.choice(OVERLAPS_S)
            await self._ask(lambda p: p.endpoints.rotate(e.scope, e.id, overlap_s=overlap_s, actor=BY))
        elif what == "remove":
            await self._ask(lambda p: p.endpoints.remove(e.scope, e.id, actor=BY))
        elif what == "test":
            await self._ask(lambda p: p.courier.test(e.scope, e.id, actor=BY))
        elif what == "replay":
            page = await world.reader().outbox.list(e.scope, 20, endpoint_id=e.id)
            if page.deliveries:
                again = dice.choice(page.deliveries).id
                await self._ask(lambda p: p.courier.replay(e.scope, again, actor=BY))
        elif what == "pause":
            await self._paused(e)

    async def _paused(self, e: Endpoint) -> None:
        """Disabled for a while, then enabled and recovered: a merchant does not forget the second half."""
        world, dice = self.world, self._dice
        since_us = e.created_us if dice.random() < 0.3 else world.now_us() - 600 * S
        await self._ask(lambda p: p.endpoints.disable(e.scope, e.id, actor=BY))
        await world.loop.until(world.loop.time() + dice.choice(PAUSES_S))
        for do in (
            lambda p: p.endpoints.enable(e.scope, e.id, actor=BY),
            lambda p: p.courier.recover(e.scope, e.id, since_us, actor=BY),
        ):
            while not world.over and self.states[e.id][-1].endpoint is not None:
                if await self._ask(do) is not None:
                    break
                await world.loop.until(world.loop.time() + 60)

    # --- who reads the feed -----------------------------------------------------------------------------------------------

    async def _follow(self, poller: Told) -> None:
        """Page by page, from where the last page ended, whatever becomes of the processes that are asked."""
        world, dice = self.world, self._dice
        pace_s = dice.choice(POLLS_S)
        while not world.over:
            await world.loop.until(world.loop.time() + max(pace_s, world.options.faults_for_s / 100, HOUR_S * world.calm))
            before, limit = world.counts["restored"], dice.choice(PAGES)
            if before != poller.restored:  # the places of a store that was put back are given again
                poller.restored, poller.cursor = before, None
                poller.seen.clear()
            cursor, scope = poller.cursor, poller.scope
            page = await self._ask(lambda p, s=scope, n=limit, c=cursor: p.engine.store.feed(s, n, c))
            if page is not None and before == world.counts["restored"]:
                poller.seen |= set(page.entries)
                poller.cursor = page.next
                world.counts["page of the feed"] += 1
