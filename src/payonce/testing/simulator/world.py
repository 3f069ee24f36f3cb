"""One world: its providers, its machines, its merchants and its accidents, from the first post to the last look.

Two phases. Safety: everything that the options want goes wrong, and nothing may ever be charged twice or lost. Then
liveness: the faults stop, and every payment must end, in a final status or IN_DOUBT, within a stated time.
"""

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from payonce.adapter import Adapter
from payonce.core.errors import PayonceError
from payonce.core.payment import FINAL, Payment, StoredRequest, Terms
from payonce.dispatch import Account
from payonce.engine import Policy
from payonce.ports import Change, Response, Scope
from payonce.sandbox.faults import HOLD_S, Profile
from payonce.sandbox.simulator import Simulator
from payonce.stores.memory import MemoryInbox, MemoryRegistry, MemoryStore
from payonce.stores.sqlite.store import SqliteStore

from . import operators, oracle
from .accidents import Accidents
from .afterwards import waits_for_itself
from .answers import looked_at
from .cloud import Cloud
from .customers import Customers
from .fate import REGISTRY, Dice, Fate
from .furnishing import Kept, Newer, account, at_once, quick_folder, rules_of
from .loop import SimLoop, run
from .merchants import Merchants
from .options import HOUR_S, Options, S
from .oracle import Verdicts, Violation
from .post import Post
from .processes import Machine, Process
from .storage import Claim
from .subscribers import Subscribers
from .tidings import judge_tidings
from .trace import START_US, Trace, told
from .vendors import Vendors
from .watch import Watch

SETTLED_WITHIN_S: Final = 10 * 24 * HOUR_S  # after the last fault: three attempts with their horizons, and what was stalled
DOUBT_WATCHED_S: Final = 26 * HOUR_S  # a payment in doubt is read daily
ENDS: Final = (*FINAL, "IN_DOUBT")
LOOK_S: Final = (1, 5, 20, 60, 300, HOUR_S)
POLL_US: Final = 500_000  # between two looks of a worker, by default


class Cast(NamedTuple):
    """Who can take part: adapters and the simulators of their vendors, by the same names."""

    adapters: Mapping[str, Adapter]
    simulators: Mapping[str, Simulator]


class World:
    """See the module docstring. Made anew for every run; ``live`` is its whole life. ``LIFE`` is what its machines run."""

    LIFE: type[Process] = Process
    SCOPED = True  # whether it knows one merchant from another

    def __init__(self, options: Options, cast: Cast, loop: SimLoop, *, fate: Fate | None = None, keep: bool = False) -> None:
        self.options, self.loop, self.dice = options, loop, random.Random(f"world {options.seed}")
        self.fate: Fate = fate or Dice(random.Random(f"fate {options.seed}"), options.rates)
        self.trace, self.counts = Trace(keep=keep), Counter[str]()
        loop.set_exception_handler(lambda _, told: self._failed(told))
        self.scope, self.policy = (
            Scope("mer_default", "test"),
            Policy(attempts_max=options.attempts_max, late_success=options.late_success),
        )
        self.calm = self.over = self.hold = self.store_down = False
        self.deadline_checked = True  # a mutant takes it away: the transport is ours here
        self.broken: list[Violation] = []
        self.lied_to: set[str] = set()  # payments of which a provider told an untruth about money
        self.written_by: dict[str, int] = {}
        self.versions: dict[str, int] = {}  # the newest of each payment
        self.watch = Watch(self)
        self.sends = 0
        self.last_delivery_us = 0
        self.pointed_back: Callable[[], None] = lambda: None
        self._answers: dict[tuple[str, str], tuple[str, Response]] = {}
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self.lived: dict[str, list[Payment]] = {}  # every version of each payment, as it was written
        self.memory, self.shared_registry, self.shared_inbox = MemoryStore(), MemoryRegistry(), MemoryInbox()
        on_disk = options.store == "sqlite"
        self.cloud = Cloud(self) if options.store == "dynamodb" else None
        self._folder = tempfile.TemporaryDirectory(prefix="payonce-sim-", dir=quick_folder()) if on_disk else None
        self.accounts = {name: account(name, cast.adapters[adapter], options) for name, adapter in options.accounts}
        self.rules = rules_of(options, self.dice)
        used = sorted({adapter for _, adapter in options.accounts})
        self.post, self.customers = Post(self), Customers(self)
        self.vendors = Vendors(
            {name: cast.simulators[name] for name in used},
            self.dice,
            self.now_us,
            self.after,
            announced=self.post.announced if options.tells else None,
            usual=Profile(hold_s=max(1, (options.hold_s or HOLD_S) // options.early), refunds=options.refunds),
        )
        self.machines = [Machine(self, f"host{n}") for n in range(1, options.processes + 1)]
        self.merchants, self.accidents, self.subscribers = Merchants(self), Accidents(self), Subscribers(self)

    # --- time ---------------------------------------------------------------------------------------------------------

    def now_us(self) -> int:
        return START_US + round(self.loop.time() * 1_000_000)

    def monotonic_us(self) -> int:
        return self.now_us()

    def after(self, us: int, do: Callable[[], Any]) -> asyncio.TimerHandle:
        return self.loop.call_later(us / 1_000_000, do)

    def deliver(self, us: int, do: Callable[[], Any], *, moves: bool) -> None:
        """A message that is long on its way; the world does not end before one that may move money has arrived."""
        if moves:
            self.last_delivery_us = max(self.last_delivery_us, self.now_us() + us)
        self.after(us, do)

    def spawn(self, coro: Coroutine[Any, Any, Any]) -> None:
        """A task that belongs to nobody's process."""
        task = self.loop.create_task(coro)
        self._tasks[task] = None
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, PayonceError):
            self.violate(f"the world itself failed: {type(error).__name__}: {error}")

    def _failed(self, told: Mapping[str, Any]) -> None:
        """A timer of the world raised: a vendor's simulator, mostly."""
        if (error := told.get("exception")) is not None and not isinstance(error, PayonceError):
            self.violate(f"the world itself failed: {type(error).__name__}: {error}")

    async def wait_for(self, task: "asyncio.Task[Any]") -> None:
        await asyncio.wait({task}, timeout=HOUR_S)

    # --- what processes need --------------------------------------------------------------------------------------------

    async def on(self) -> bool:
        """The hold, as every process sees it before each look for work."""
        return self.hold

    def cloud_of(self) -> Cloud:
        """Of a world that lives on DynamoDB."""
        assert self.cloud is not None
        return self.cloud

    def open_store(self, process: Process) -> Kept:
        if self.cloud is not None:
            cloudy = self.cloud.open(process)
            return Kept(lambda: cloudy, lambda: cloudy.registry, lambda: cloudy.inbox, lambda: None)
        if self._folder is None:
            return Kept(lambda: self.memory, lambda: self.shared_registry, lambda: self.shared_inbox, lambda: None)
        store = SqliteStore(Path(self._folder.name) / "payments.db", 5000, "inline")
        return Kept(lambda: store, lambda: store.registry, lambda: store.inbox, lambda: at_once(store.close()))

    def accounts_of(self, version: int) -> Mapping[str, Account]:
        """A newer version of the code builds other bytes from the same intent."""
        if version == 1:
            return self.accounts
        return {name: replace(a, adapter=Newer(a.adapter)) for name, a in self.accounts.items()}

    def vendor_of(self, account: str) -> str:
        return self.accounts[account].adapter.name

    def terms(self, account: str) -> Terms:
        return self.accounts[account].terms

    def may_double(self, account: str, point: str) -> bool:
        """The network may deliver twice only what the vendor recognises: else no orchestrator could keep the promise."""
        terms = self.terms(account)
        if point == "refund":
            return terms.refund_replay_span_s > 0
        return terms.keyed or terms.container or point not in ("fire", "replay")

    def other_answer(self, account: str, point: str, payment_id: str, said: Response) -> Response | None:
        """What the vendor last answered to somebody else who asked the same kind of thing."""
        place = (self.vendor_of(account), point)
        before = self._answers.get(place)
        self._answers[place] = (payment_id, said)
        return before[1] if before is not None and before[0] != payment_id else None

    # --- what is seen ---------------------------------------------------------------------------------------------------

    def note(self, who: str, payment: str, what: str) -> None:
        self.trace.note(self.now_us(), who, payment, what)

    def violate(self, rule: str, payment: str = "") -> None:
        self.note("oracle", payment, f"VIOLATION {rule}")
        self.broken.append(Violation(rule, payment))

    def committed(self, process: Process, change: Change, visible_us: int = 0) -> None:
        """A change is durable. Called by the store of the process that made it, before it can know. ``visible_us``: when an
        index shows it."""
        p = change.payment
        self.written_by[p.id] = max(process.version, self.written_by.get(p.id, 0))
        for entry in change.entries:
            env = entry.envelope
            self.note(process.machine.name, p.id, f"#{env.seq} {told(env.data, p.status)}")
        self.subscribers.committed(change, visible_us)
        self.versions[p.id] = p.version
        self.lived.setdefault(p.id, []).append(p)
        if p.status == "REQUIRES_ACTION":
            self.customers.asked(p)
        looked_at(self, p, (change.due_us or 0) - process.now_us())
        if change.due_us is not None:
            found_us = max(0, max(change.due_us, visible_us) - self.now_us())
            self.after(found_us + self.dice.randrange(1, POLL_US), lambda: self._poll(p.id, p.version))

    def due_at(self, due_us: int) -> None:
        """Something beside a payment is due then: who polls finds it."""
        self.after(max(0, due_us - self.now_us()) + POLL_US, self.look_again)

    def look_again(self) -> None:
        """Everybody looks for what is due."""
        for machine in self.machines:
            if machine.process is not None:
                machine.process.worker.app.wake.send("")

    def _poll(self, payment_id: str, version: int) -> None:
        """Everybody polls the store about twice a second. Only the polls that would find something are simulated."""
        if self.versions.get(payment_id) == version:
            self.look_again()

    def first_byte(self, process: Process, claim: Claim, request: StoredRequest, body: bytes) -> None:
        """A request is about to leave."""
        self.sends += 1
        self.spawn(self.watch.first_byte(process, claim, request, body))

    def registry_fails(self) -> bool:
        """Processes cannot be expected to know what it says."""
        o = self.options
        cloudy = self.cloud is not None and any(o.rates.values())
        return cloudy or any(o.rates.get(word) for word in REGISTRY) or o.outages_of_store > 0

    def restored(self) -> None:
        """The store is older now than what was seen of it."""
        self.versions.clear()
        self.lived.clear()
        self.watch.restored()

    def known_ids(self) -> list[str]:
        """Every acknowledged payment, in the order of its merchant."""
        return list(dict.fromkeys(i for each in self.merchants.posted for i in each.ids))

    async def payment(self, payment_id: str) -> Payment | None:
        found: Payment | None = await self.reader().get(payment_id)
        return found

    def happened(self, verdicts: Verdicts) -> Counter[str]:
        """How often what went wrong, or went its way: the names that catalogue.py knows."""
        counts = Counter({f"{word} at {point}": n for (point, word), n in self.fate.counts.items()})
        counts.update({f"edge {edge}": n for edge, n in verdicts.edges.items()})
        counts.update(self.counts)
        counts.update({f"weather {what}": n for what, n in self.vendors.counts.items()})
        counts.update({f"seen {what}": n for what, n in verdicts.seen.items()})
        return counts

    def gone(self, p: Payment) -> bool:
        """An attempt was made with an account that is configured no more: nobody can ask there."""
        return any(a.credential_id != self.accounts[a.account].credential_id for a in p.attempts)

    def _waits(self, p: Payment) -> bool:
        """What is held, or was asked, at an account that is configured no more waits until it is."""
        return self.gone(p) and p.status in (*ENDS, "AUTHORIZED")

    def reader(self) -> Any:
        """The store, without faults."""
        if self.cloud is not None:
            return self.cloud.reader
        if self._folder is None:
            return self.memory
        living = next(m.process for m in self.machines if m.process is not None)
        return living.kept.store()

    def registry(self) -> Any:
        """The registry, without faults."""
        return self.reader().registry if self.cloud or self._folder else self.shared_registry

    def inbox(self) -> Any:
        """The inbox, without faults."""
        return self.reader().inbox if self.cloud or self._folder else self.shared_inbox

    # --- life -----------------------------------------------------------------------------------------------------------

    async def live(self) -> Verdicts:
        """From the first post to the verdicts of every oracle."""
        for machine in self.machines:
            machine.start()
        await self.subscribers.begin()
        self.merchants.begin()
        self.accidents.begin()
        await self.loop.until(self.options.faults_for_s)
        await self._calm_down()
        self.merchants.asking.close()
        settled_us = await self._settle()
        verdicts = await self.judge(settled_us)
        if self.LIFE is Process and not self.broken and await operators.decide(self):
            await judge_tidings(self, whole=False)
            verdicts = replace(verdicts, violations=tuple(self.broken))
        self.over = True
        for machine in self.machines:
            if machine.process is not None:
                machine.process.kill()
        return verdicts

    def clean_up(self) -> None:
        """No file of the world stays, whatever it came to."""
        if self._folder is not None:
            self._folder.cleanup()

    async def judge(self, settled_us: int) -> Verdicts:
        """Before anybody leaves."""
        return await oracle.judge(self, settled_us)

    async def _calm_down(self) -> None:
        """The faults stop: clocks are right, everybody lives and has the newest version."""
        self.note("world", "", "the faults stop")
        self.calm, self.store_down = True, False
        self.fate.stop()
        self.vendors.clear_up()
        self.pointed_back()
        newest = max(m.version for m in self.machines)
        for machine in self.machines:
            if machine.version < newest or machine.offset_us or machine.slept_us or self._stuck(machine.process):
                machine.kill()
            machine.version, machine.offset_us = newest, 0
            machine.start()

    def _stuck(self, process: Process | None) -> bool:
        """It stands still, or knows other accounts than are configured now."""
        if process is None:
            return False
        other = {n: a.credential_id for n, a in process.engine.accounts.items()} != {
            n: a.credential_id for n, a in self.accounts.items()
        }
        return process.frozen_until_us > self.now_us() or other

    async def _settle(self) -> int:
        """Until everything has ended and nothing is on its way; when the last payment settled, from the end of the faults."""
        began = self.now_us()
        settled, look = -1, iter((*LOOK_S, *[HOUR_S] * (SETTLED_WITHIN_S // HOUR_S)))
        while not self.broken:
            ids = self.known_ids()
            rows = [await self.payment(i) for i in ids] if all(m.process for m in self.machines) else [None]
            answered = all(each.ids or each.refused for each in self.merchants.posted)
            ended = answered and not self.hold and all(p is not None and (_has_ended(p) or self._waits(p)) for p in rows)
            if ended:
                settled = self.now_us() - began if settled < 0 else settled
                doubt = any(p is not None and (p.status == "IN_DOUBT" or p.attention or self.gone(p)) for p in rows)
                due = await self.reader().next_due()  # what the provider itself has not ended is looked at daily, for ever
                daily = due is not None and due > self.now_us() + 12 * HOUR_S * S
                rest_us = DOUBT_WATCHED_S * S if doubt or daily else 60 * S
                over = (doubt or daily or due is None) and self.now_us() > max(self.last_delivery_us, began + settled) + rest_us
                if over and await self.subscribers.quiet():
                    return settled
            try:
                await self.loop.until(self.loop.time() + next(look))
            except StopIteration:
                why = "settled, but never quiet" if settled >= 0 else "not settled in time"
                self.violate(f"{why}: {[(i, p.status if p else None) for i, p in zip(ids, rows, strict=False)]}")
        return settled


def live(
    options: Options, cast: Cast, *, fate: Fate | None = None, keep: bool = False, kind: type[World] = World
) -> tuple[World, Verdicts]:
    """The whole life of one world of a kind. What breaks the loop itself is a violation, too."""
    made: list[World] = []

    async def main(loop: SimLoop) -> Verdicts:
        made.append(kind(options, cast, loop, fate=fate, keep=keep))
        return await made[0].live()

    try:
        verdicts = run(random.Random(f"loop {options.seed}"), main)
    except AssertionError as error:
        made[0].violate(str(error))
        verdicts = Verdicts(violations=tuple(made[0].broken))
    finally:
        made[0].clean_up()
    return made[0], verdicts


def _has_ended(p: Payment) -> bool:
    """The payment, and everything that was asked of it. A void of what is in doubt waits for the truth, as the payment does."""
    return p.status in ENDS and not any(o.state == "PENDING" and waits_for_itself(p, o) for o in p.operations)
