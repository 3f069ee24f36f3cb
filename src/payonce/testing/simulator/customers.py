"""Customers who have to act at a provider: they are told where by payonce, and go there at once, later, too late, or never;
there they approve or decline on the vendor's page."""

import asyncio
import random
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from payonce.core.errors import NewerSchema, StoreUnavailable
from payonce.core.payment import Payment

if TYPE_CHECKING:
    from .world import World

PAGE: Final = re.compile(r"/sandbox/pay/([a-z]+)/(\d+)")
TRIES: Final = 8  # to be told where to go
APPROVES: Final = 0.7


class Customers:
    def __init__(self, world: "World") -> None:
        self.world = world
        self._dice = random.Random(f"customers {world.options.seed}")  # of its own: nothing else of a world changes
        self._asked: dict[tuple[str, int], None] = {}

    def asked(self, p: Payment) -> None:
        """A payment waits for its customer: called at every write of one that does."""
        place = (p.id, len(p.attempts))
        if place in self._asked:
            return
        self._asked[place] = None
        dice, wait_s = self._dice, max(1, p.action_s)
        after_s = dice.choice((1, 5, 30, wait_s * dice.random(), wait_s * dice.random(), wait_s + 20, wait_s * 2))
        if dice.random() < self.world.options.acts:
            self.world.spawn(self._act(p.id, after_s, approve=dice.random() < APPROVES))

    async def _act(self, payment_id: str, after_s: float, *, approve: bool) -> None:
        """Be told where, go there after a while, and decide."""
        world = self.world
        began = world.loop.time()
        page = await self._page(payment_id)
        if page is None:
            world.counts["customer not told"] += 1
            return
        vendor, number = page
        await world.loop.until(began + after_s)
        if world.over or vendor not in world.vendors.simulators:
            return
        shown = world.vendors.standing(vendor, number)
        if shown is None or shown.reference[:20] != payment_id[4:]:
            world.violate(f"the customer was sent to the page of {shown.reference if shown else 'nothing'}", payment_id)
            return
        in_time = world.vendors.act(vendor, number, approve=approve)
        did = "approves" if approve else "declines"
        world.counts[f"customer {did}" if in_time else "customer is late"] += 1
        world.note("customer", payment_id, did if in_time else "is late")

    async def _page(self, payment_id: str) -> tuple[str, int] | None:
        """Where the action leads, as any process shows it."""
        world = self.world
        for _ in range(TRIES):
            living = [m.process for m in world.machines if m.process is not None]
            if living and not world.over:
                process = self._dice.choice(living)
                task = process.spawn(self._told(process, payment_id))
                await asyncio.wait({task}, timeout=30)
                told: tuple[str, int] | None = task.result() if task.done() and not task.cancelled() else None
                if told is not None:
                    return told
            await world.loop.until(world.loop.time() + self._dice.choice((0.1, 1, 5)))
        return None

    async def _told(self, process: Any, payment_id: str) -> tuple[str, int] | None:
        try:
            p = await process.engine.store.get(payment_id)
            action = await process.engine.action(p) if p is not None else None
        except (StoreUnavailable, NewerSchema):
            return None
        if action is None:
            return None
        place = PAGE.search(unquote(" ".join((action[0].url, *action[0].fields.values()))))
        if place is None:
            self.world.counts["customer acts elsewhere"] += 1
            return None
        return place.group(1), int(place.group(2))
