"""A small world for the machine: virtual clock, seeded scheduler on coroutines, a network and a store that fail.

Every await of a fake port hands control to the driver, which picks by seed who goes next; a crash drops the coroutine."""

import heapq
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from payonce.core.errors import StoreUnavailable
from payonce.core.idempotency import Details, NewPayment
from payonce.core.payment import Payment, Terms
from payonce.core.routing import Rules
from payonce.dispatch import Account
from payonce.engine import Engine, Policy, Ports
from payonce.health import Admitted, Health
from payonce.stores.memory import MemoryRegistry, MemoryStore

from .fake_adapter import FakeAdapter
from .merchant import SCOPE, Wish
from .oracles import Violation, at_once
from .pauses import Crash, Pause
from .registry import WatchedHealth
from .vendors import TERMS, S, Vendor
from .wires import FlakyStore, Net

START_US = 1_700_000_000 * S
STEPS_MAX = 60_000  # driver steps of one world: more is a spin


class Task:
    def __init__(self, make: Callable[[], Coroutine[Any, Any, Any]], worker: "Worker | None") -> None:
        self.make, self.worker = make, worker
        self.coro: Coroutine[Any, Any, Any] | None = None
        self.dead = False

    def step(self) -> Pause:
        """Run to the next pause. Raises StopIteration at the end, and Crash."""
        self.coro = self.coro or self.make()
        pause: Pause = self.coro.send(None)
        return pause

    def drop(self) -> None:
        self.dead = True
        if self.coro:
            with suppress(Crash):
                self.coro.close()


class Worker:
    """One process: a clock of its own (offset), an engine, a store client and a network client that fail."""

    def __init__(self, world: "World", n: int, accounts: Mapping[str, Account]) -> None:
        self.world, self.n, self.offset_us = world, n, 0
        self.tasks: list[Task] = []
        wired = Ports(store=FlakyStore(self), transport=Net(self), clock=self, entropy=self, wake=self)
        self.engine = Engine(wired, accounts, world.policy, rules=world.rules, health=WatchedHealth(self))

    def start(self, after_us: int = 0) -> None:
        """A new process: what the one before had in hand, and what its health had heard, is gone."""
        for task in self.tasks:
            task.drop()
        self.engine.health = WatchedHealth(self)
        self.tasks = [Task(self.run, self) for _ in range(self.world.tasks)]
        for task in self.tasks:
            self.world.push(self.world.now + after_us, task)

    def now_us(self) -> int:
        return self.world.now + self.offset_us

    def monotonic_us(self) -> int:
        return self.world.now

    async def sleep(self, seconds: float) -> None:
        await Pause(self.world.now + int(seconds * S))

    def bits(self, count: int) -> int:
        return self.world.rng.getrandbits(count)

    def send(self, payment_id: str) -> None:
        """The wake hint: lost here."""

    async def run(self) -> None:
        while True:
            try:
                ids = await self.engine.sweep(4)
            except StoreUnavailable:
                ids = []
            for payment_id in ids:
                await self.engine.advance(payment_id)
            if not ids:
                await Pause(self.world.now + S)
            await Pause(None)

    async def pause(self) -> None:
        """A little, seldom long: processes freeze."""
        freeze = self.world.rng.choice((20, 600, 10_000, 40_000)) if self.world.hit("freeze") else 0
        await Pause(self.world.now + self.world.rng.randrange(1, 40_000) + freeze * S)


class World:
    """``accounts``: name -> kind, in route order. ``tasks``: of each worker at once. ``rates``: fault -> probability per
    occasion. ``parts``: the requests of a read at an account; ``currencies``: what it takes, where not all."""

    def __init__(
        self,
        accounts: Mapping[str, str],
        *,
        seed: int = 1,
        workers: int = 1,
        tasks: int = 1,
        rates: Mapping[str, float] | None = None,
        terms: Mapping[str, Mapping[str, Any]] | None = None,
        policy: Policy | None = None,
        rules: Rules | None = None,
        parts: Mapping[str, tuple[str, ...]] | None = None,
        currencies: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self.rng, self.rates, self.policy = random.Random(seed), dict(rates or {}), policy or Policy()
        self.now, self.steps, self.count = START_US, 0, 0
        self.heap: list[tuple[int, float, int, Any]] = []
        self.idle: list[Task] = []
        self.scripts: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.outages: set[str] = set()
        self.broken: Violation | None = None
        self.faults_end_us = START_US + 10**18
        self.deadline_checked, self.lied, self.buggy = True, False, False
        self.sent: list[tuple[int, str, str, str]] = []
        self.rules, self.parts, self.currencies = rules or Rules(), dict(parts or {}), dict(currencies or {})
        self.tasks = tasks
        self.registry, self.registry_down, self.dying = MemoryRegistry(), False, False
        self.operator = Health(self.registry, self)
        self.task: Task | None = None  # whose turn it is
        self.probes: dict[str, Admitted] = {}  # by account: the one call let through, until it reports back
        self.probed: set[tuple[str, int]] = set()
        self.claimed: dict[tuple[str, int], int] = {}
        self.shadow: dict[str, Payment] = {}
        self.transitions: set[tuple[str, str, str]] = set()
        self.wishes: list[Wish] = []
        self.dashboard: set[str] = set()  # holds that the merchant took at the vendor, past us
        self.store = MemoryStore()
        self.ids: list[str] = []
        self.vendors = {n: self._vendor(n, kind) for n, kind in accounts.items()}
        made = {n: self.account(n, **(terms or {}).get(n, {})) for n in accounts}
        self.workers = [Worker(self, n, made) for n in range(workers)]
        for each in self.workers:
            each.start()

    def _vendor(self, name: str, kind: str) -> Vendor:
        def at(at_us: int, do: Callable[[], None]) -> None:
            def act() -> None:
                vendor.now = self.now
                do()

            self.at(at_us, act)

        vendor = Vendor(name, kind, lambda what: self.word(name, what) or self.decision(vendor, what), at)
        return vendor

    def account(self, name: str, **changes: Any) -> Account:
        terms: Terms = replace(TERMS[self.vendors[name].kind], **changes)
        return Account(
            name=name,
            adapter=self._adapter(name, terms),
            mode="test",
            base_url=f"https://{name}.test",
            credential_id="cred1",
            credentials={},
            terms=terms,
        )

    def _adapter(self, name: str, terms: Terms) -> FakeAdapter:
        parts, currencies = self.parts.get(name, ("all",)), self.currencies.get(name)
        return FakeAdapter(self.vendors[name].kind, terms, parts=parts, currencies=currencies)

    # --- the operator ------------------------------------------------------------------------------------------

    def now_us(self) -> int:
        return self.now

    def monotonic_us(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("an operator does not wait")

    def drain(self, account: str) -> None:
        at_once(self.operator.drain(account, "maintenance", "ops"))

    def resume(self, account: str, *, close_breaker: bool = False) -> None:
        at_once(self.operator.resume(account, "ops", close_breaker=close_breaker))
        if close_breaker:
            self.probes.pop(account, None)

    def reroute(self, rules: Rules) -> None:
        """New rules for what has no route yet."""
        for each in self.workers:
            each.engine.outside = replace(each.engine.outside, rules=rules)

    # --- scripts and dice --------------------------------------------------------------------------------------

    def script(self, name: str, kind: str, *words: str) -> None:
        """Words for the next calls of ``kind`` at ``name`` ("store" and an event kind for
        commits, "late " before it for those that lose the race; "decide", "decide refund" and "decide void" for what
        the vendor makes of a new try, refund or void): ok not_sent lost_before lost_after stall:S stale dup:S lag:S 5xx_before
        5xx_after 429 401 404 409 freeze_before:S freeze_after:S wrong_amount wrong_currency wrong_mode
        wrong_reference requested (a close that is only promised) crossed (the read of a stranger's object). The second
        request of a read is of kind "tries"."""
        self.scripts[name, kind].extend(words)

    def word(self, name: str, kind: str) -> str:
        words = self.scripts.get((name, kind))
        return words.pop(0) if words else ""

    def hit(self, fault: str) -> bool:
        rate = self.rates.get(fault, 0.0)
        return rate > 0 and self.now < self.faults_end_us and self.rng.random() < rate

    def draw(self, vendor: Vendor, kind: str) -> str:
        for fault in ("not_sent", "lost_before", "lost_after", "5xx_before", "5xx_after", "429", "401", "404", "409"):
            if self.hit(fault):
                return fault
        if kind == "read":
            if self.hit("lag"):
                return f"lag:{self.rng.choice((3, 5, 600))}"
            return next((f for f in ("stale", "crossed", "wrong_reference", "wrong_read") if self.hit(f)), "ok").replace(
                "_read", "_amount"
            )
        if self.hit("stall"):
            most = 20 * 3600 if vendor.kind.startswith("keyed") else 72 * 3600
            return f"stall:{self.rng.choice((15, 300, 3600, most))}"
        dedupes = vendor.honours_keys or kind not in ("fire", "refund") or (vendor.kind == "unique" and kind == "fire")
        if dedupes and self.hit("dup"):
            return f"dup:{self.rng.choice((1, 60, 7200))}"
        return next((f for f in ("wrong_amount", "wrong_currency", "wrong_mode", "wrong_reference") if self.hit(f)), "ok")

    def decision(self, vendor: Vendor, what: str) -> str:
        if what != "decide":
            return self._later_decision(vendor, what)
        for word in ("soft", "hard", "funds", "processing_yes", "processing_no", "action_yes", "provisional_no"):
            if self.hit(word):
                return f"{word}:{self.rng.choice((20, 900, 7200))}" if "ng_" in word or "on_" in word else word
        if self.hit("provisional_yes"):
            return f"provisional_yes:{self.rng.choice((20, 900, 7200))}"
        if vendor.terms.readable and self.hit("lie_yes"):
            self.lied = True
            return f"lie_yes:{self.rng.choice((60, 3600, 7 * 3600))}"
        for word, least, most in (("action_no", 20, 1500), ("action_ends", 1200, 1800), ("action_never", 0, 1)):
            if self.hit(word):
                return f"{word}:{self.rng.randrange(least, most)}"
        return "yes"

    def _later_decision(self, vendor: Vendor, what: str) -> str:
        """What a vendor makes of a refund or a void."""
        if what == "decide void":
            return f"later:{self.rng.choice((5, 900, 7200))}" if self.hit("void_later") else "yes"
        if self.hit("refund_no"):
            return "no"
        for word in ("pending_yes", "pending_no", "fails") if vendor.terms.readable else ():  # else nobody would ever see it
            if self.hit(f"refund_{word}"):
                return f"{word}:{self.rng.choice((20, 900, 20_000))}"
        return "yes"

    def close(self) -> None:
        """Drop every coroutine."""
        self.dying = True
        for task in [*self.idle, *(each[3] for each in self.heap)]:
            if isinstance(task, Task):
                task.drop()

    # --- driver ------------------------------------------------------------------------------------------------

    def push(self, at_us: int, what: Any) -> None:
        self.count += 1
        heapq.heappush(self.heap, (at_us, self.rng.random(), self.count, what))

    def at(self, at_us: int, do: Callable[[], Any]) -> None:
        self.push(at_us, do)

    def spawn(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.push(self.now, Task(make, None))

    def pay(self, amount: int = 100, **fields: Any) -> str:
        """Accept a payment now, without faults."""
        request = NewPayment(amount_minor=amount, currency="INR", details=Details(payment_method="tok"), **fields)
        kept, self.rates = self.rates, {}
        coro = self.workers[0].engine.submit(SCOPE, request, f"key{len(self.ids)}", actor="test")
        while True:
            try:
                coro.send(None)
            except StopIteration as done:
                self.rates = kept
                self.ids.append(done.value.payment.id)
                return self.ids[-1]

    def run(self, hours: float = 24 * 30) -> None:
        """Until nothing is left to happen, or that long."""
        end = self.now + int(hours * 3600 * S)
        while True:
            self.steps += 1
            if self.broken:
                raise self.broken
            if self.steps > STEPS_MAX:
                raise Violation("the world spins")
            if (task := self._due_worker(end)) is None:
                if not self.heap or self.heap[0][0] > end:
                    self.now = min(end, max(self.now, end if self.heap else self.now))
                    return
                at_us, _, _, task = heapq.heappop(self.heap)
                self.now = max(self.now, at_us)
            if isinstance(task, Task):
                self._step(task)
            else:
                task()

    def _due_worker(self, end: int) -> Task | None:
        due = at_once(self.store.next_due())
        if due is None or not self.idle:
            return None
        self.idle = [each for each in self.idle if not each.dead]
        if not self.idle:
            return None
        task = self.rng.choice(self.idle)
        assert task.worker is not None
        at_us = max(self.now, due - task.worker.offset_us)
        if at_us > end or (self.heap and at_us >= self.heap[0][0]):
            return None
        self.now = at_us
        self.idle.remove(task)
        return task

    def _step(self, task: Task) -> None:
        if task.dead:
            return
        self.task = task
        try:
            pause = task.step()
        except StopIteration:
            return
        except Crash:
            if task.worker is not None:  # all tasks of the process die with it
                task.worker.start(self.rng.randrange(90) * S)
            self.dying = False
            return
        if pause.at_us is None:
            self.idle.append(task)
        else:
            self.push(pause.at_us, task)

    def hint(self, payment_id: str, after_s: float = 0) -> None:
        """A webhook arrives: its receiver is a worker like any other."""
        engine = self.rng.choice(self.workers).engine

        async def receive() -> None:
            with suppress(StoreUnavailable):  # answered 503; the vendor may come again
                await engine.ingest(payment_id, "hint", actor="webhook")

        self.push(self.now + int(after_s * S), Task(receive, None))

    def payment(self, payment_id: str) -> Payment:
        found = at_once(self.store.get(payment_id))
        assert isinstance(found, Payment)
        return found

    def kinds(self, payment_id: str) -> list[str]:
        """The kinds of all steps, in order of their seq."""
        return [s.kind for s in sorted(self.payment(payment_id).steps(), key=lambda s: s.seq)]
