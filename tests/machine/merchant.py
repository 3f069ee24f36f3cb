"""Merchants: they ask for captures, voids and refunds through any worker's engine, repeat under the same key until they are
answered, and now and then once more."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from payonce.core.errors import Refused, StoreUnavailable
from payonce.core.operations import NewOperation
from payonce.intake import Receipt
from payonce.ports import Scope

from .pauses import Crash, Pause
from .vendors import S

if TYPE_CHECKING:
    from .world import World

AGAIN = ("retry_same_key", "request_in_progress")  # the same key again, soon
TRIES_MAX = 40
SCOPE = Scope("mer_default", "test")


@dataclass
class Wish:
    """One operation that a merchant wants, and what was said to it. ``patient``: asks again, under the same key, while
    another operation or the charge is not settled."""

    payment_id: str
    kind: Literal["capture", "void", "refund"]
    amount: int | None
    key: str
    repeats: int = 0
    patient: bool = True
    receipts: list[Receipt] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    @property
    def refused(self) -> str:
        """The last word, if it was a no."""
        return "" if self.receipts or not self.refusals else self.refusals[-1]


def ask(world: "World", payment_id: str, kind: Any, amount: int | None = None, *, after_s: float = 0, **how: Any) -> Wish:
    """Send it off. Raises nothing: what is said to it stands in the wish."""
    wish = Wish(payment_id, kind, amount, how.pop("key", f"key_{kind}{len(world.wishes)}"), **how)
    world.wishes.append(wish)

    async def insist() -> None:
        wanted = NewOperation(kind=wish.kind, payment_id=payment_id, amount_minor=amount)
        for _ in range(TRIES_MAX):
            engine = world.rng.choice(world.workers).engine
            try:
                receipt = await engine.submit(SCOPE, wanted, wish.key, actor="merchant")
            except Refused as refused:
                wish.refusals.append(refused.code)
                if refused.code not in AGAIN and not (wish.patient and refused.code == "operation_in_progress"):
                    return
                await Pause(world.now + (S if refused.code in AGAIN else 900 * S))
                continue
            except StoreUnavailable:
                await Pause(world.now + 2 * S)
                continue
            except Crash:  # the connection breaks: it is not known what was done
                world.dying = False
                await Pause(world.now + 5 * S)
                continue
            wish.receipts.append(receipt)
            if len(wish.receipts) > wish.repeats:
                return
            await Pause(world.now + world.rng.choice((0, 1, 3600)) * S)

    world.at(world.now + int(after_s * S), lambda: world.spawn(insist))
    return wish
