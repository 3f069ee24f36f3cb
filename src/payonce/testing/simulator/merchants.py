"""Who posts payments: careful clients that come back with the same key until they have an answer, some of them twice at
once, and careless ones that use a key for something else."""

import asyncio
import random
from itertools import count
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from payonce.core.errors import NewerSchema, Refused, StoreUnavailable
from payonce.core.idempotency import Details, NewPayment, Scalar
from payonce.core.operations import NewOperation
from payonce.engine import Receipt
from payonce.ports import Scope

from .asks import Asking
from .options import S

if TYPE_CHECKING:
    from .world import World

ACTOR = "merchant"
MISUSES = 3  # of a key that is misused
METADATA: tuple[dict[str, Scalar], ...] = ({}, {"order": 7, "gift": True})
ODD_MONEY = 0.1  # the share of payments in a currency without decimals, or with three


class Posted(Struct):
    """What a merchant knows: what it asks for, under which key, and of each 202 the id and what had been asked."""

    key: str
    request: NewPayment
    ids: list[str]
    accepted: list[NewPayment]
    scope: Scope
    refused: str = ""


class Merchants:
    """``posted`` is the other half of the witness: every id in it was acknowledged."""

    def __init__(self, world: "World") -> None:
        # Of its own, so that what merchants tell besides changes nothing else of a world.
        self._more = random.Random(f"merchants {world.options.seed}")
        self._held = random.Random(f"held {world.options.seed}")
        self.world, self.posted, self.asking = world, list[Posted](), Asking(world)
        for n in range(world.options.payments):
            # another merchant, who happens to use a key that is used already
            other = self._more.random() < world.options.others and n > 0 and world.SCOPED
            scope = replace(world.scope, merchant_id="mer_other") if other else world.scope
            self.posted.append(Posted(f"key-{n - 1 if other else n}", self._wish(world), [], [], scope))

    def _wish(self, world: "World") -> NewPayment:
        o, dice, more = world.options, world.dice, self._more
        forced = dice.random() < o.forced
        amount, currency = dice.choice((100, 1050, 999_999, 2_500_000)), dice.choice(("INR", "INR", "USD", "EUR"))
        if more.random() < ODD_MONEY:  # without decimals, or with three
            amount, currency = (amount // 10 * 10, more.choice(("JPY", "KWD")))
        return NewPayment(
            amount_minor=amount,
            currency=currency,
            client_id=more.choice(("", "shop")),
            provider=dice.choice(o.accounts)[0] if forced else "",
            capture_method="manual" if self._held.random() < o.manual else "automatic",
            action_s=o.action_s or None,
            details=Details(
                payment_method=dice.choice(o.tokens),
                payment_method_type=more.choice(("", "card", "upi")),
                description=more.choice(("", "two cups of tea")),
                metadata=more.choice(METADATA),
            ),
        )

    def _others(self, was: NewPayment) -> list[NewPayment]:
        """The same in all but one field, each in another."""
        d, more = was.details, self._more
        changes: tuple[dict[str, Any], ...] = (
            {"amount_minor": was.amount_minor + 10},
            {"currency": "INR" if was.currency != "INR" else "USD"},
            {"client_id": was.client_id + "2"},
            {"details": replace(d, payment_method="tok_ok" if d.payment_method != "tok_ok" else "tok_slow_5s")},
            {"details": replace(d, payment_method_type="card" if not d.payment_method_type else "")},
            {"details": replace(d, description=d.description + "...")},
            {"details": replace(d, metadata={"order": 7, "gift": 1} if d.metadata else {"order": 7})},
        )
        return [replace(was, **each) for each in more.sample(changes, MISUSES)]

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
                answer = await self._once(wanted.key, wanted.request, wanted)
            except Refused as no:
                if no.code not in ("retry_same_key", "request_in_progress"):
                    wanted.refused = no.code
                    return
                answer = None
            if answer is not None:
                wanted.ids.append(answer)
                wanted.accepted.append(wanted.request)
                world.note("merchant", answer, f"202 for {wanted.key}: {wanted.request.amount_minor} {wanted.request.currency}")
                if len(wanted.ids) == 1 and (world.options.asks or world.options.plan):
                    self.asking.accepted(answer, wanted)
                return
            await world.loop.until(world.loop.time() + world.dice.choice((0.05, 1, 5, 60)) * 2 ** min(tries // 12, 5))

    async def _misuse(self, wanted: Posted) -> None:
        """Anything else under a used key must be refused, or be the one that counts."""
        world = self.world
        for other in self._others(wanted.request):
            try:
                answer = await self._once(wanted.key, other, wanted)
            except Refused as no:
                world.counts["key misused, refused"] += no.code == "idempotency_key_reused"
                continue
            if answer is not None:  # it was first: then it is what the key stands for, and the right one will be refused
                wanted.ids.append(answer)
                wanted.accepted.append(other)
                world.note("merchant", answer, f"202 for {wanted.key}, misused first")

    async def _once(self, key: str, request: NewPayment, wanted: Posted) -> str | None:
        """One post at any living process. None when no answer came. Raises Refused."""
        world, known = self.world, bool(wanted.ids)
        receipt = await self.submit(wanted.scope, request, key)
        if receipt is None or not isinstance(receipt, Receipt):  # another orchestrator: see ``comparison``
            return str(receipt.payment.id) if receipt is not None else None
        if known and not receipt.replayed and not world.counts["restored"]:
            world.violate("I6: a repeat was answered as a new payment", receipt.payment.id)
        if (receipt.payment.amount_minor, receipt.payment.currency) != (request.amount_minor, request.currency):
            world.violate("I6: answered with a payment of other money than was posted", receipt.payment.id)
        return str(receipt.payment.id)

    async def submit(self, scope: Scope, request: NewPayment | NewOperation, key: str) -> Any:
        """One post at any living process: its receipt. None when no answer came. Raises Refused."""
        world, dice = self.world, self.world.dice
        lost = not world.calm and dice.random() < world.options.rates.get("error_before", 0)
        living = [m.process for m in world.machines if m.process is not None]
        if lost or not living:
            world.counts["post lost"] += lost
            return None
        process = dice.choice(living)
        task = process.spawn(process.engine.submit(scope, request, key, actor=ACTOR))
        await asyncio.wait({task}, timeout=30)
        if not task.done() or task.cancelled():  # it died, or sleeps: what it does later nobody hears
            task.add_done_callback(_heard)
            return None
        if isinstance(error := task.exception(), StoreUnavailable | NewerSchema):
            return None
        receipt: Any = task.result()  # raises Refused
        assert error is None
        if not world.calm and dice.random() < world.options.rates.get("error_after", 0):
            world.counts["202 lost"] += 1
            return None
        world.counts["replayed"] += receipt.replayed
        return receipt


def _heard(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()
