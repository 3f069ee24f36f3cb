"""The same worlds twice: once with payonce, once with the retry loop of ``naive``. One judge for both, the providers' ledger.

Equal are the seed, the options, the payments, their merchants and cards, the vendors and their weather, the machines, and
when they are killed or stand still; what goes wrong at a single call is drawn by the same rates, call by call. Left out
for both is what only payonce has: restored backups, deploys, re-pointed accounts, drains, webhooks, customers who act,
captures, voids and refunds; both keep their rows in memory that outlives every process. The naive service gets a kind
queue: a message is delivered again only when its worker is dead or gave it back, never because it was slow, and none is
lost. Its writes fail before or not at all.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from payonce.adapter import Intent
from payonce.core import ids, routing
from payonce.core.errors import StoreUnavailable
from payonce.core.idempotency import NewPayment
from payonce.core.outcome import AnyOutcome, Created
from payonce.core.payment import FINAL, Payment, StoredRequest
from payonce.core.routing import Asked, Offer
from payonce.dispatch import Account, Prepared, exchange, stored
from payonce.testing.judge import net_charges, of_payment

from .fate import CRASHES
from .naive import NaivePayments, Row
from .options import ACTIONS, Options, S, draw
from .oracle import Verdicts
from .processes import Process
from .storage import CLAIM, Claim
from .trace import START_US
from .wire import Wire
from .world import SETTLED_WITHIN_S, Cast, World, live

REDELIVERED_S: Final = 5  # after a worker gave a message back
LOOK_S: Final = 60
SEEDS_KEPT: Final = 5
WRITE: Final = (*CRASHES, "error_before", "delay", "freeze")

# --- what is counted --------------------------------------------------------------------------------------------------

TWICE, LOST = "charged twice", "accepted, then forgotten"
FAILED_CHARGED, SUCCESS_UNCHARGED = "called FAILED, though charged", "called SUCCESS, though not charged"
WRONG_AMOUNT = "called SUCCESS, wrong amount"
DOUBT, UNRETURNED = "in doubt, shown to people", "to be given back, shown to people"
MISTAKES: Final = (TWICE, LOST, FAILED_CHARGED, SUCCESS_UNCHARGED, WRONG_AMOUNT)
SHOWN: Final = (DOUBT, UNRETURNED)  # no mistakes: a person is told, and has to look


class Ended(Struct, frozen=True):
    """An acknowledged payment as its service shows it when the world is over. ``unreturned``: our references of the charges
    that it shows people as taken and not provably given back."""

    id: str
    status: str
    amount_minor: int
    currency: str
    unreturned: tuple[str, ...] = ()


def mistakes(p: Ended, movements: list[dict[str, Any]]) -> Iterator[str]:
    """What is wrong with a payment by the ledger, net of refunds; and what of SHOWN it is. A charge that is shown as one to be
    given back is neither held against an unpaid payment, nor does it pay a paid one; two charges are two, shown or not."""
    kept = net_charges(movements, p.id)
    meant = [m for m in kept if m["reference"] not in p.unreturned]
    if len(kept) > 1:
        yield TWICE
    match p.status:
        case "SUCCESS" if not meant:
            yield SUCCESS_UNCHARGED
        case "SUCCESS" if len(kept) == 1 and (kept[0]["amount"], kept[0]["currency"]) != (p.amount_minor, p.currency):
            yield WRONG_AMOUNT
        case "IN_DOUBT":
            yield DOUBT
        case status if status not in FINAL:
            yield LOST
        case status if status != "SUCCESS" and meant:
            yield FAILED_CHARGED
    if p.unreturned:
        yield UNRETURNED


class Score(Struct, kw_only=True):
    """One service over all worlds. ``seeds``: the first ones of each kind. ``broken``: (seed, rule) of the simulator's own
    oracle, which knows more rules of payonce; of the naive service only what broke the simulation itself."""

    name: str
    payments: int = 0
    wrong: int = 0  # payments with at least one mistake
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    seeds: dict[str, list[int]] = {}
    broken: list[tuple[int, str]] = []

    def add(self, seed: int, ended: Sequence[Ended], movements: list[dict[str, Any]], verdicts: Verdicts) -> None:
        """The end of one world."""
        self.payments += len(ended)
        for p in ended:
            found = tuple(mistakes(p, movements))
            self.wrong += any(kind in MISTAKES for kind in found)
            for kind in found:
                self.counts[kind] += 1
                first = self.seeds.setdefault(kind, [])
                if seed not in first and len(first) < SEEDS_KEPT:
                    first.append(seed)
        self.broken += [(seed, v.rule) for v in verdicts.violations]


class Comparison(Struct, frozen=True, kw_only=True):
    worlds: int
    naive: Score
    payonce: Score


# --- the two kinds of worlds ------------------------------------------------------------------------------------------


def unreturned(p: Payment) -> tuple[str, ...]:
    """What payonce's lists and pages show of a payment: needs attention, and the charges whose return failed or is in doubt."""
    stuck = [o for o in p.operations if o.kind == "reversal" and o.state in ("FAILED", "IN_DOUBT")]
    return tuple(p.attempts[o.attempt].reference for o in stuck) if p.attention else ()


class _Counted(World):
    """A world of payonce whose end is remembered."""

    ended: tuple[Ended, ...] = ()
    moved: list[dict[str, Any]] = []

    async def judge(self, settled_us: int) -> Verdicts:
        found = [await self.payment(i) for i in self.known_ids()]
        self.ended = tuple(Ended(p.id, p.status, p.amount_minor, p.currency, unreturned(p)) for p in found if p is not None)
        self.moved = [msgspec.to_builtins(m) for m in self.vendors.movements()]
        return await super().judge(settled_us)


class _NaiveProcess(Process):
    """The retry loop on the same machines. See ``naive.Around``, which this is as well."""

    world: "NaiveWorld"

    def move_in(self) -> None:
        self.wire, self.service = Wire(self), NaivePayments(self, self.world.accounts)
        self.engine, self.worker = cast("Any", self.service), cast("Any", self)
        self.handles: dict[str, str] = {}  # what opens a container, by reference

    def run(self) -> None:
        """The process is its own worker: so many messages at once."""
        self.world.note(self.machine.name, "", "starts")
        for _ in range(self.world.options.concurrency):
            self.spawn(self._consume())

    def kill(self) -> None:
        """The queue notices, and delivers again."""
        was = self.alive
        super().kill()
        if was:
            self.world.connection_lost(self)

    async def _consume(self) -> None:
        world = self.world
        while True:
            payment_id = await world.ready.get()
            world.unacked[payment_id] = self
            try:
                await self._arrive("due", payment_id, CRASHES)
                await self.service.settle(payment_id)
            except StoreUnavailable:
                world.redeliver(payment_id, REDELIVERED_S * S)
            except Exception as error:
                world.violate(f"the naive service failed: {type(error).__name__}: {error}", payment_id)
                raise
            else:
                del world.unacked[payment_id]

    # --- Around -------------------------------------------------------------------------------------------------------

    async def insert(self, key: str, request: NewPayment) -> tuple[Row, bool]:
        word = await self._arrive("commit", "", WRITE)
        new = key not in self.world.keys
        if new:
            id = ids.new_id("pay_", self.now_us(), self.bits(ids.RANDOM_BITS))
            self.world.keys[key] = self.world.rows[id] = Row(id=id, key=key, request=request)
            self.world.note(self.machine.name, id, "inserts the row")
        await self._after(word)
        return self.world.keys[key], new

    async def select(self, payment_id: str) -> Row:
        await self._after(await self._arrive("get", payment_id, WRITE))
        return self.world.rows[payment_id]

    async def update(self, payment_id: str, status: str) -> None:
        word = await self._arrive("commit", payment_id, WRITE)
        self.world.rows[payment_id].status = status
        self.world.note(self.machine.name, payment_id, f"updates the row: {status}")
        await self._after(word)

    async def publish(self, payment_id: str) -> None:
        word = await self._arrive("defer", payment_id, WRITE)
        self.world.note(self.machine.name, payment_id, "publishes the message")
        self.world.ready.put_nowait(payment_id)
        await self._after(word)

    async def request(self, account: Account, about: Intent) -> AnyOutcome:
        about = replace(about, handle=self.handles.get(about.reference, ""))
        built = account.adapter.build(about)
        payment_id = f"pay_{about.reference[: ids.ID_CHARS]}"
        CLAIM.set(Claim(payment_id, 0, about.kind, None, self.world.now_us()))
        prepared = Prepared(stored(account, built), built.body)
        timeout_ms = account.terms.call_timeout_ms
        heard = await exchange(self.wire, account, prepared, about, send_by_us=self.now_us(), timeout_ms=timeout_ms)
        if isinstance(heard.outcome, Created) and heard.outcome.handle_sha256:
            self.handles[about.reference] = heard.beside[heard.outcome.handle_sha256].decode()
        self.world.note(self.machine.name, payment_id, f"hears about {about.kind}: {type(heard.outcome).__name__}")
        return heard.outcome

    def route(self, request: NewPayment) -> list[Account]:
        """As payonce's: by the same rules."""
        world = self.world
        asked = Asked(
            mode="test",
            merchant_id=world.scope.merchant_id,
            currency=request.currency,
            amount_minor=request.amount_minor,
            provider=request.provider,
        )
        accounts = world.accounts.values()
        offers = [Offer(account=a.name, mode=a.mode, currencies=a.adapter.CAPABILITIES.currencies) for a in accounts]
        return [world.accounts[c.account] for c in routing.route(world.rules, asked, offers).taken]

    def fresh(self) -> str:
        return f"{self.bits(128):032x}"

    async def _arrive(self, point: str, payment_id: str, may: Sequence[str]) -> str:
        word = await self.arrive(point, payment_id, may=may)
        if word == "error_before" or self.world.store_down:
            raise StoreUnavailable("simulated: nothing was written")
        return word

    async def _after(self, word: str) -> None:
        if word == "crash_after":
            await self.die()


class NaiveWorld(World):
    """The rows and the queue outlive every process."""

    LIFE = _NaiveProcess
    SCOPED = False

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.deadline_checked = False  # it has none
        self.rows: dict[str, Row] = {}
        self.keys: dict[str, Row] = {}
        self.ready: asyncio.Queue[str] = asyncio.Queue()
        self.unacked: dict[str, Process | None] = {}  # who has it; None: it is on its way to somebody else
        self.ended: tuple[Ended, ...] = ()
        self.moved: list[dict[str, Any]] = []

    def redeliver(self, payment_id: str, in_us: int) -> None:
        """Somebody else gets the message."""
        self.unacked[payment_id] = None
        self.note("queue", payment_id, "delivers the message again")
        self.after(in_us, lambda: self.ready.put_nowait(payment_id))

    def connection_lost(self, process: Process) -> None:
        """Whatever a dead process had not acknowledged."""
        for payment_id in [i for i, owner in self.unacked.items() if owner is process]:
            self.redeliver(payment_id, 1000)

    def first_byte(self, process: Process, claim: Claim, request: StoredRequest, body: bytes) -> None:
        """Nothing is on record that could be checked."""
        del process, claim, request, body
        self.sends += 1

    async def _settle(self) -> int:
        """Until every post is answered, the queue is empty, nobody works, and nothing is on its way."""
        began = busy_us = self.now_us()
        while self.now_us() - began < SETTLED_WITHIN_S * S and not self.broken:
            answered = all(each.ids or each.refused for each in self.merchants.posted)
            if self.unacked or not self.ready.empty() or not answered:
                busy_us = self.now_us()
            elif self.now_us() >= max(busy_us, self.last_delivery_us) + LOOK_S * S:
                return busy_us - began
            await self.loop.until(max(self.loop.time(), (self.last_delivery_us - START_US) / S) + LOOK_S)
        self.violate("the naive service is not done, though the faults stopped long ago")
        return -1

    async def judge(self, settled_us: int) -> Verdicts:
        """The ledger alone judges it: see ``mistakes``. Its rows have a status, and nothing else that people could be shown."""
        found = [self.rows[i] for i in self.known_ids()]
        self.ended = tuple(Ended(r.id, r.status, r.request.amount_minor, r.request.currency) for r in found)
        self.moved = [msgspec.to_builtins(m) for m in self.vendors.movements()]
        return Verdicts(violations=tuple(self.broken), settled_us=settled_us, sends=self.sends)


# --- the comparison -----------------------------------------------------------------------------------------------------


def fair(seed: int, adapters: Sequence[str]) -> Options:
    """The world of a seed without what only payonce has. See the module docstring."""
    drawn = draw(seed, tuple(sorted(adapters)))
    tokens = tuple(t for t in drawn.tokens if t not in ACTIONS) or ("tok_ok",)
    alike = replace(drawn, store="memory", restores=False, deploys=False, repoints=False, drains=0, webhooks=0.0)
    return replace(alike, tokens=tokens, tells=False, manual=0.0, asks=0.0, acts=0.0, action_s=0, refunds="plain", hold_s=0)


def compare(
    seeds: Sequence[int],
    cast: Cast,
    *,
    options: Callable[[int, Sequence[str]], Options] = fair,
    told: Callable[[int], None] | None = None,
) -> Comparison:
    """Every seed's world with either service. ``told`` hears of each finished seed. The same seeds give the same result."""
    logging.getLogger("payonce").setLevel(logging.CRITICAL + 1)  # what processes complain about is expected here
    result = Comparison(worlds=len(seeds), naive=Score(name="naive retry loop"), payonce=Score(name="payonce"))
    for seed in seeds:
        for kind, score in ((NaiveWorld, result.naive), (_Counted, result.payonce)):
            world, verdicts = live(options(seed, tuple(cast.adapters)), cast, kind=kind)
            assert isinstance(world, NaiveWorld | _Counted)
            score.add(seed, world.ended, world.moved, verdicts)
        if told is not None:
            told(seed)
    return result


def story(seed: int, cast: Cast) -> list[str]:
    """What happened to the first payment that the naive service got wrong in a world, to read; empty when none."""
    world, _ = live(fair(seed, tuple(cast.adapters)), cast, keep=True, kind=NaiveWorld)
    assert isinstance(world, NaiveWorld)
    for p in world.ended:
        if found := [kind for kind in mistakes(p, world.moved) if kind in MISTAKES]:
            books = [f"{m['kind']} of {m['amount']} {m['currency']} at {m['provider']}" for m in of_payment(world.moved, p.id)]
            moved = [f"{'':>14}  the ledger: {', '.join(books) or 'nothing'}; the row: {p.status}"]
            return [f"seed {seed}: {p.id} is {', '.join(found)}", *world.trace.timeline(p.id), *moved]
    return []


def table(comparison: Comparison, *, markdown: bool = False) -> str:
    """Both services side by side, and the first seeds of what went wrong."""
    naive, payonce = comparison.naive, comparison.payonce
    rows = [("", naive.name, payonce.name, "first seeds")]
    rows.append(("payments accepted", f"{naive.payments:,}", f"{payonce.payments:,}", ""))
    for kind in (*MISTAKES, *SHOWN):
        first = ", ".join(str(s) for s in (naive.seeds.get(kind) or payonce.seeds.get(kind) or ()))
        rows.append((kind, f"{naive.counts[kind]:,}", f"{payonce.counts[kind]:,}", first))
    rows.append(("payments that are wrong", f"{naive.wrong:,}", f"{payonce.wrong:,}", ""))
    if markdown:
        lines = [f"| {' | '.join(row[:3])} |" for row in rows]
        return "\n".join((lines[0], "|---|---:|---:|", *lines[1:]))
    wide = [max(len(row[n]) for row in rows) for n in range(3)]
    return "\n".join(f"{a:<{wide[0]}}  {b:>{wide[1]}}  {c:>{wide[2]}}   {d}".rstrip() for a, b, c, d in rows)
