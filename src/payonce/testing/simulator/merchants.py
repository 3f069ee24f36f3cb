"""Who posts payments: careful clients that come back with the same key until they have an answer, some of them twice at
once, and careless ones that use a key for something else."""

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from payonce.core.errors import NewerSchema, Refused, StoreUnavailable
from payonce.core.idempotency import Details, NewPayment

from .options import S

if TYPE_CHECKING:
    from .world import World

ACTOR = "merchant"


class Posted(Struct):
    """What a merchant knows: what it asks for, under which key, and of each 202 the id and what had been asked."""

    key: str
    request: NewPayment
    ids: list[str]
    accepted: list[NewPayment]
    refused: str = ""


class Merchants:
    """``posted`` is the other half of the witness: every id in it was acknowledged."""

    def __init__(self, world: "World") -> None:
        self.world, self.posted = world, [Posted(f"key-{n}", self._wish(world), [], []) for n in range(world.options.payments)]

    @staticmethod
    def _wish(world: "World") -> NewPayment:
        o, dice = world.options, world.dice
        forced = dice.random() < o.forced
        return NewPayment(
            amount_minor=dice.choice((100, 1050, 999_999, 2_500_000)),
            currency=dice.choice(("INR", "INR", "USD", "EUR")),
            provider=dice.choice(o.accounts)[0] if forced else "",
            details=Details(payment_method=dice.choice(o.tokens)),
        )

    def begin(self) -> None:
        """Everybody posts within the time of arrival."""
        world = self.world
        for each in self.posted:
            at = world.dice.randrange(1, world.options.arrive_for_s * S)
            world.after(at, lambda each=each: world.spawn(self._post(each)))  # type: ignore[misc]
            if world.dice.random() < 0.4:  # the same again, at once or much later
                again = at + world.dice.choice((0, 0, 2_000, 50_000, 30 * S))
                world.after(again, lambda each=each: world.spawn(self._post(each)))  # type: ignore[misc]
            if world.dice.random() < 0.1:
                other = at + world.dice.choice((0, 60 * S))
                world.after(other, lambda each=each: world.spawn(self._misuse(each)))  # type: ignore[misc]

    async def _post(self, wanted: Posted) -> None:
        """Until it is acknowledged or refused."""
        world = self.world
        for tries in count():
            if world.over:
                return
            try:
                answer = await self._once(wanted.key, wanted.request)
            except Refused as no:
                if no.code not in ("retry_same_key", "request_in_progress"):
                    wanted.refused = no.code
                    return
                answer = None
            if answer is not None:
                wanted.ids.append(answer)
                wanted.accepted.append(wanted.request)
                world.note("merchant", answer, f"202 for {wanted.key}: {wanted.request.amount_minor} {wanted.request.currency}")
                return
            await world.loop.until(world.loop.time() + world.dice.choice((0.05, 1, 5, 60)) * (1 + tries // 20))

    async def _misuse(self, wanted: Posted) -> None:
        """Another amount under a used key must be refused, or be the one that counts."""
        world = self.world
        other = NewPayment(amount_minor=wanted.request.amount_minor + 1, currency=wanted.request.currency)
        try:
            answer = await self._once(wanted.key, other)
        except Refused as no:
            world.counts["key misused, refused"] += no.code == "idempotency_key_reused"
            return
        if answer is not None:  # it was first: then it is what the key stands for, and the right one will be refused
            wanted.ids.append(answer)
            wanted.accepted.append(other)
            world.note("merchant", answer, f"202 for {wanted.key}, misused first")

    async def _once(self, key: str, request: NewPayment) -> str | None:
        """One post at any living process. None when no answer came. Raises Refused."""
        world, dice = self.world, self.world.dice
        lost = not world.calm and dice.random() < world.options.rates.get("error_before", 0)
        living = [m.process for m in world.machines if m.process is not None]
        if lost or not living:
            world.counts["post lost"] += lost
            return None
        process = dice.choice(living)
        task = process.spawn(process.engine.submit(world.scope, request, key, actor=ACTOR))
        await asyncio.wait({task}, timeout=30)
        if not task.done() or task.cancelled():  # it died, or sleeps: what it does later nobody hears
            task.add_done_callback(_heard)
            return None
        if isinstance(error := task.exception(), StoreUnavailable | NewerSchema):
            return None
        receipt = task.result()  # raises Refused
        assert error is None
        if not world.calm and dice.random() < world.options.rates.get("error_after", 0):
            world.counts["202 lost"] += 1
            return None
        world.counts["replayed"] += receipt.replayed
        return str(receipt.payment.id)


def _heard(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()
