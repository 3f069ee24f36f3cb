"""What merchants ask of a payment after they posted it: captures, voids and refunds, whole and in parts, at any time and in any
state, twice at once, again under the same key, and under keys that stand for something else. Each answer is judged at once by
a rule of its own: what must be accepted, what must be refused, and as what."""

import random
from itertools import count
from typing import TYPE_CHECKING, Final, Literal, cast

from msgspec import Struct

from payonce.core.errors import Refused
from payonce.core.idempotency import encode
from payonce.core.operations import NewOperation
from payonce.core.payment import Payment
from payonce.ports import Scope

from .options import S

if TYPE_CHECKING:
    from .merchants import Posted
    from .world import World

Kind = Literal["capture", "void", "refund"]
AGAIN: Final = ("retry_same_key", "request_in_progress")  # come back with the same key
PAID: Final[tuple[Kind, ...]] = (*("refund",) * 6, "void", "capture")  # what is asked of a payment, mostly
HELD: Final[tuple[Kind, ...]] = (*("capture",) * 4, *("void",) * 2, *("refund",) * 3)
PARTS: Final = (1, 3, 5, 9)  # tenths
BACK_S: Final = 3600  # of a patient merchant
CLOSED_WITHIN_S: Final = 5 * 24 * 3600  # a merchant who closes its books comes back as long as something is under way
UNSETTLED: Final = ("PENDING", "IN_DOUBT")
ENDED: Final = ("SUCCESS", "FAILED", "CANCELED", "IN_DOUBT")


class Wish(Struct):
    """One operation that a merchant wants, and what it was told: the operation's ids, or why not. ``patient``: it comes again
    while another one is under way."""

    key: str
    request: NewOperation
    scope: Scope
    ids: list[str] = []
    refused: str = ""
    patient: bool = False


class Asking:
    """``wishes``: every operation that was asked for."""

    def __init__(self, world: "World") -> None:
        self.world, self.wishes = world, list[Wish]()
        self._dice = random.Random(f"asks {world.options.seed}")  # of its own: nothing else of a world changes
        self.dealt_with = False  # the merchants close their books

    def accepted(self, payment_id: str, posted: "Posted") -> None:
        """A payment was acknowledged: what its merchant will want of it."""
        dice, o, wanted = self._dice, self.world.options, posted.accepted[-1]
        if o.plan:
            self.world.spawn(self._planned(payment_id, posted))
        kinds = HELD if wanted.capture_method == "manual" else PAID
        for _ in range(int(o.asks) + (dice.random() < o.asks % 1)):
            at = round(dice.choice((0.1, 1, 10, 60, 600, o.faults_for_s)) * dice.random() * S)
            first = self._wish(payment_id, posted, dice.choice(kinds))
            self._ask_at(at, first)
            if dice.random() < 0.3:  # the same again, at once or later
                self._ask_at(at + dice.choice((0, 0, 3_000, 30 * S)), first)
            if dice.random() < 0.3:  # another one beside it
                self._ask_at(at + dice.choice((0, 0, 5_000)), self._wish(payment_id, posted, dice.choice(kinds)))

    async def _planned(self, payment_id: str, posted: "Posted") -> None:
        """One after the other, each until it is accepted or can never be."""
        world = self.world
        for n, each in enumerate(world.options.plan):
            kind, _, share = each.partition(" ")
            while not world.over and not self._may(payment_id, kind):
                await world.loop.until(world.loop.time() + 0.5)
            amount = posted.request.amount_minor * int(share) // 100 if share else None
            request = NewOperation(kind=cast("Kind", kind), payment_id=payment_id, amount_minor=amount)
            wish = Wish(f"{posted.key}-plan{n}", request, posted.scope, patient=True)
            self.wishes.append(wish)
            await self._ask(wish)

    def _may(self, payment_id: str, kind: str) -> bool:
        """A planned void is one of a hold: before, it would only cancel the charge."""
        rows = self.world.lived.get(payment_id, [])
        return kind != "void" or bool(rows and rows[-1].status in ("AUTHORIZED", *ENDED))

    def close(self) -> None:
        """The faults are over: where holds are not left to lapse, every merchant captures or gives up what it holds."""
        self.dealt_with = True
        for posted in self.world.merchants.posted:
            if not self.world.options.lapses and posted.request.capture_method == "manual":
                for payment_id in dict.fromkeys(posted.ids):
                    kind: Kind = self._dice.choice(("capture", "void"))
                    wish = Wish(f"{posted.key}-end", NewOperation(kind=kind, payment_id=payment_id), posted.scope, patient=True)
                    self.wishes.append(wish)
                    self.world.spawn(self._ask(wish))

    def _wish(self, payment_id: str, posted: "Posted", kind: Kind) -> Wish:
        dice, wanted = self._dice, posted.accepted[-1]
        whole = wanted.amount_minor
        part = max(1, whole * dice.choice(PARTS) // 100) * 10  # with three decimals the last one has to be 0 at some vendors
        amount = dice.choice((None, None, part, part, part + 1, whole, whole + 10)) if kind != "void" else None
        key = f"{posted.key}-{len(self.wishes)}"
        if dice.random() < 0.06:  # a key that stands for something else
            key = dice.choice([posted.key, *(w.key for w in self.wishes if w.scope == posted.scope)])
        wish = Wish(key, NewOperation(kind=kind, payment_id=payment_id, amount_minor=amount), posted.scope)
        self.wishes.append(wish)
        return wish

    def _ask_at(self, us: int, wish: Wish) -> None:
        self.world.after(us, lambda: self.world.spawn(self._ask(wish)))

    async def _ask(self, wish: Wish) -> None:
        """Until it is accepted or refused."""
        world = self.world
        began = world.loop.time()
        for tries in count():
            rows = world.lived.get(wish.request.payment_id, [])
            first, restored = max(0, len(rows) - 1), world.counts["restored"]
            if world.over:
                return
            try:
                receipt = await world.merchants.submit(wish.scope, wish.request, wish.key)
            except Refused as no:
                if no.code not in AGAIN:
                    wish.refused = no.code
                    world.note("merchant", wish.request.payment_id, f"{wish.request.kind} {wish.key} refused: {no.code}")
                    world.counts[f"refused {no.code}"] += 1
                    if restored == world.counts["restored"] == 0:
                        await self._judge_refusal(wish, no.code, rows[first:])
                    if not (wish.patient and no.code == "operation_in_progress"):
                        return
                    if world.loop.time() > began + CLOSED_WITHIN_S:
                        return
                    await world.loop.until(world.loop.time() + (BACK_S if world.calm else 2))
                    continue
                receipt = None
            if receipt is not None:
                o = receipt.operation
                world.note("merchant", receipt.payment.id, f"202 for {wish.key}: {o.kind} {o.amount_minor}")
                self._judge_answer(wish, receipt.replayed, receipt.payment.id, o.id)
                if not receipt.replayed and restored == world.counts["restored"] == 0:
                    self._judge_accepted(wish, rows[first:])
                if (o.kind, o.idempotency_key) != (wish.request.kind, wish.key):
                    world.violate(f"a {wish.request.kind} was answered with a {o.kind}", receipt.payment.id)
                if wish.request.amount_minor not in (None, o.amount_minor):
                    world.violate(f"{wish.request.amount_minor} were asked for, {o.amount_minor} answered", receipt.payment.id)
                wish.ids.append(o.id)
                return
            await world.loop.until(world.loop.time() + self._dice.choice((0.05, 1, 5, 60)) * 2 ** min(tries // 6, 6))

    # --- the rule, once more ----------------------------------------------------------------------------------------------

    def _judge_answer(self, wish: Wish, replayed: bool, payment_id: str, operation_id: str) -> None:
        """I6: a key is one operation for ever."""
        world = self.world
        world.counts["operation replayed"] += replayed
        if payment_id != wish.request.payment_id or (wish.ids and operation_id != wish.ids[0] and not world.counts["restored"]):
            world.violate(f"I6: {wish.key} was answered with another operation than before", payment_id)

    def _judge_accepted(self, wish: Wish, rows: list[Payment]) -> None:
        no = [self._refusal(p, wish.request) for p in rows]
        self.world.counts[f"accepted {wish.request.kind}"] += 1
        if no and all(no):
            self.world.violate(
                f"a {wish.request.kind} was accepted that had to be refused as {no[-1]}", wish.request.payment_id
            )

    async def _judge_refusal(self, wish: Wish, code: str, rows: list[Payment]) -> None:
        known = await self.world.reader().find_key(wish.scope, wish.key)
        other = known is not None and known.request != encode(wish.request)
        if code == "idempotency_key_reused":
            right = other
        else:
            away = code == "operation_not_possible" and any(self._away(p) for p in rows)
            right = not rows or away or code in {self._refusal(p, wish.request) for p in rows}
        if not right:
            due = self._refusal(rows[-1], wish.request) if rows else ""
            said = f"a {wish.request.kind} was refused as {code}, and had to be {due or 'accepted'}"
            self.world.violate(said, wish.request.payment_id)

    def _away(self, p: Payment) -> bool:
        """The account of its charge was re-pointed: who does not know it any more can promise nothing there."""
        return p.winner is not None and self.world.counts["re-pointed"] > 0

    def _refusal(self, p: Payment, wanted: NewOperation) -> str:
        """With what the account of the charge takes: the whole hold or parts, in steps of so many minor units."""
        held = [a.account for a in p.attempts if a.n == p.winner]
        step = self.world.accounts[held[0]].adapter.CAPABILITIES.multiples.get(p.currency, 1) if held else 1
        odd = "validation_failed" if (wanted.amount_minor or 0) % step else ""
        return refusal(p, wanted, partial=self._partial(p)) or odd

    def _partial(self, p: Payment) -> bool:
        held = [a.account for a in p.attempts if a.n == p.winner]
        return bool(held) and self.world.accounts[held[0]].adapter.CAPABILITIES.partial_capture


def refusal(p: Payment, wanted: NewOperation, *, partial: bool) -> str:
    """As what the operation must be refused now; empty: it must be accepted. Capture and void exclude each other and any
    unresolved one of both; what is given back was taken, and all that may still be given back counts."""
    asked = [o for o in p.operations if o.kind in ("capture", "void", "refund")]
    if any(o.kind != "refund" and o.state in UNSETTLED for o in asked):
        return "operation_in_progress"
    unknown = p.status in ("PENDING", "REQUIRES_ACTION", "IN_DOUBT")
    match wanted.kind:
        case "void":
            return "operation_not_possible" if p.status in ("SUCCESS", "FAILED", "CANCELED") else ""
        case "capture":
            if p.status != "AUTHORIZED":
                return "operation_in_progress" if unknown and p.capture_method == "manual" else "operation_not_possible"
            amount = p.authorized_minor if wanted.amount_minor is None else wanted.amount_minor
            if amount > p.authorized_minor:
                return "amount_exceeds_available"
            return "" if partial or amount == p.authorized_minor else "partial_capture_unsupported"
        case "refund":
            if p.status != "SUCCESS":
                return "operation_in_progress" if unknown else "operation_not_possible"
            left = p.captured_minor - sum(o.amount_minor for o in asked if o.kind == "refund" and o.state != "FAILED")
            amount = left if wanted.amount_minor is None else wanted.amount_minor
            return "" if 0 < amount <= left else "amount_exceeds_available"
