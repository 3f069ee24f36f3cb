"""The webhooks that the vendors send, on their way to any process: in order or not, twice, after hours, or never; and some that
nobody signed. Each is signed when it is sent, and sent again until it is taken or a day is over, as vendors do. All accounts
at a vendor hear of all that happens there: only the one that a payment was made with may find it."""

import asyncio
import random
from typing import TYPE_CHECKING, Final, cast

from payonce.core.errors import NewerSchema, Refused, StoreUnavailable
from payonce.inbox import Stored, hearing, id_of
from payonce.sandbox.deliveries import Event
from payonce.sandbox.simulator import Telling

from .options import S

if TYPE_CHECKING:
    from .world import World

BACKOFF_S: Final = (1, 5, 30, 120, 600, 3600)
GIVE_UP_US: Final = 24 * 3600 * S
DELAYS_S: Final = (2, 5, 60, 3600, 20 * 3600)
FORGED: Final = 0.15  # the share of webhooks that somebody else sends an altered copy of
FRESH_US: Final = 240 * S  # a process whose clock is wrong by more may take a webhook for an old one
STRANGER: Final = b"0" * 20


class Post:
    """``heard``: (account, event) of what a process said it has stored, by the webhook's id."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.heard: dict[str, tuple[str, Event]] = {}
        self._dice = random.Random(f"post {world.options.seed}")  # of its own: nothing else of a world changes

    def announced(self, event: Event) -> None:
        """A vendor has something to tell."""
        world, dice, spoils = self.world, self._dice, self.world.options.spoils
        for name, adapter in world.options.accounts:
            if adapter != event.vendor or hearing(world.accounts[name].adapter) is None:
                continue
            if dice.random() < spoils * 0.4:
                world.counts["webhook lost"] += 1
                continue
            held_s = dice.choice(DELAYS_S) if dice.random() < spoils else 0
            world.counts["webhook delayed"] += held_s > 0
            self._send(name, event, held_s)
            if dice.random() < spoils:
                world.counts["webhook doubled"] += 1
                self._send(name, event, held_s + dice.choice(DELAYS_S))
            if dice.random() < FORGED:
                world.after(dice.randrange(1, S), lambda n=name: world.spawn(self._forge(n, event)))  # type: ignore[misc]

    def _send(self, name: str, event: Event, held_s: int) -> None:
        way = held_s * S + self._dice.randrange(1_000, 400_000)
        self.world.after(way, lambda: self.world.spawn(self._deliver(name, event)))

    async def _deliver(self, name: str, event: Event) -> None:
        """Until it is taken."""
        world = self.world
        for tries in range(60):
            if world.over or world.now_us() > event.at_us + GIVE_UP_US + DELAYS_S[-1] * S:
                return
            if await self._offered(name, event):
                return
            await world.loop.until(world.loop.time() + BACKOFF_S[min(tries, len(BACKOFF_S) - 1)])

    async def _offered(self, name: str, event: Event) -> bool:
        """One send. True when it was answered 2xx."""
        world = self.world
        living = [m.process for m in world.machines if m.process is not None]
        if not living:
            return False
        process = self._dice.choice(living)
        headers = self._signed(event)
        task = process.spawn(process.receiver.hear(name, headers, event.body))
        await asyncio.wait({task}, timeout=30)
        if not task.done() or task.cancelled():
            task.add_done_callback(lambda t: t.cancelled() or t.exception())
            return False
        match task.exception():
            case StoreUnavailable() | NewerSchema():
                return False
            case Refused():
                if abs(process.machine.offset_us) < FRESH_US:
                    world.violate(f"a genuine webhook of {event.vendor} was refused by {name}")
                return False
        stored: Stored = task.result()
        world.counts["webhook repeated" if stored.repeated else "webhook heard"] += 1
        self.heard[stored.id] = (name, event)
        world.note(event.vendor, "", f"tells {name}: {event.event_id}")
        known = hearing(world.accounts[name].adapter)
        if known is not None and stored.id != id_of(name, known.parse_webhook(headers, event.body).id):
            world.violate(f"a webhook of {event.vendor} is kept under another name than its own")
        return True

    async def _forge(self, name: str, event: Event) -> None:
        """A copy that is about another payment: its signature is good for the original only."""
        world = self.world
        forged = event.body
        for i in world.known_ids():
            forged = forged.replace(i[4:].encode(), STRANGER)
        living = [m.process for m in world.machines if m.process is not None]
        if forged == event.body or not living or world.over:
            return
        process = self._dice.choice(living)
        task = process.spawn(process.receiver.hear(name, self._signed(event), forged))
        await asyncio.wait({task}, timeout=30)
        if task.done() and not task.cancelled() and not isinstance(task.exception(), Refused | StoreUnavailable):
            world.violate(f"a forged webhook of {event.vendor} was taken")
        world.counts["webhook forged, refused"] += (
            task.done() and not task.cancelled() and isinstance(task.exception(), Refused)
        )

    def _signed(self, event: Event) -> dict[str, str]:
        vendor = cast("Telling", self.world.vendors.simulators[event.vendor])
        return {k.lower(): v for k, v in vendor.sign_webhook(event.body, self.world.now_us()).items()}
