"""A server's life on a disk: clients that pay and repeat, a worker, a provider that keeps its own books, and somebody who is
subscribed to all news. The provider is elsewhere: it loses no power, and remembers across all lives."""

import asyncio
import random
from collections.abc import Coroutine, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec.structs import replace

from payonce.accounts import SANDBOX_TERMS, SANDBOX_URL
from payonce.core import news
from payonce.core.errors import Refused, StoreUnavailable
from payonce.core.idempotency import Details, NewPayment
from payonce.core.payment import FINAL, Mode, StoredRequest
from payonce.dispatch import Account
from payonce.engine import Engine, Policy, Ports
from payonce.mail import Delivery
from payonce.ports import Lost, Response, Scope
from payonce.providers import load_adapters
from payonce.sandbox.faults import Profile
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.mock import MockVendor
from payonce.sandbox.simulator import Request
from payonce.testing import judge
from payonce.testing.store_changes import START_US

from .promises import Promises, WatchedStore, _PowerCut
from .vfs import Machine

SCOPE: Final = Scope("mer_default", "test")
SECOND_US: Final = 1_000_000
QUIET_US: Final = 3600 * SECOND_US
HEALED_TRIES: Final = 2  # the first may still find what the trouble left
TURNS_MAX: Final = 300  # rounds of one life
# A disk may be away for minutes: no payment may become IN_DOUBT only because of that.
TERMS: Final = {**SANDBOX_TERMS, "horizon_s": 86_400, "settle_s": 86_400}
TOKENS: Final = (
    "tok_ok",
    "tok_ok",
    "tok_decline_insufficient_funds",
    "tok_decline_then_ok",
    "tok_lost_response",
    "tok_500_after_charge",
    "tok_500_then_ok",
    "tok_timeout_then_ok",
    "tok_wrong_amount",
)


class World:
    """What outlives a server: its clients, the provider, and time. ``live`` is one process, from its start to its end."""

    def __init__(self, dice: random.Random) -> None:
        self.dice, self.promises = dice, Promises()
        self.now = START_US
        self.wanted: dict[str, NewPayment] = {}  # by idempotency key
        self.paid: dict[str, str] = {}  # key -> the payment that its client was told
        self.problems: list[str] = []
        self.books, self.vendor = Ledger(":memory:"), MockVendor()
        self.accounts = {name: _account(name) for name in ("mock_a", "mock_b")}

    def close(self) -> None:
        self.books.close()

    # --- clock and entropy ----------------------------------------------------------------------------------------

    def now_us(self) -> int:
        return self.now

    def monotonic_us(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += int(seconds * SECOND_US)
        await asyncio.sleep(0)

    def bits(self, count: int) -> int:
        return self.dice.getrandbits(count)

    # --- one process ----------------------------------------------------------------------------------------------

    def engine(self, store: WatchedStore, machine: Machine) -> Engine:
        """The real engine on this store; its provider is the world's."""
        ports = Ports(store=store, transport=_Wire(self, machine), clock=self, entropy=self, wake=_Deaf())
        return Engine(ports, self.accounts, Policy(), listeners=_Everybody())

    async def live(self, store: WatchedStore, machine: Machine, *, orders: int, turns: int = TURNS_MAX) -> None:
        """Clients come in groups, repeat what was not answered, and the worker does what is due, until nothing is left to
        do or ``turns`` are over. Raises _PowerCut."""
        engine = self.engine(store, machine)
        while orders > 0:
            group = min(orders, self.dice.randint(1, 4))
            orders -= group
            await self._all([self.pay(engine, machine, self.order()) for _ in range(group)])
            if self.dice.random() < 0.5:
                await self._work(engine, store)
        for _ in range(turns):
            unanswered = [key for key in self.wanted if key not in self.paid]
            await self._all([self.pay(engine, machine, key) for key in unanswered])
            if not await self._work(engine, store) and not unanswered:
                return

    async def repeat(self, store: WatchedStore, machine: Machine) -> None:
        """Every client repeats what it asked ever: what it is told now counts. Raises _PowerCut."""
        engine = self.engine(store, machine)
        await self._all([self.pay(engine, machine, key) for key in self.wanted])

    async def healed(self, store: WatchedStore, machine: Machine) -> None:
        """The disk that failed works again: the same process must take a payment. Raises _PowerCut."""
        machine.faults = ()
        engine, key = self.engine(store, machine), self.order()
        for _ in range(HEALED_TRIES):
            await self.pay(engine, machine, key)
            if key in self.paid:
                return
        self.problems.append(f"the disk works again, and the store refuses {key}: {store.write_trouble}")

    async def _all(self, doings: list[Coroutine[Any, Any, None]]) -> None:
        for error in await asyncio.gather(*doings, return_exceptions=True):
            if isinstance(error, BaseException):
                raise error

    def order(self) -> str:
        """What one more client wants; its key."""
        key = f"key-{len(self.wanted)}"
        details = Details(payment_method=self.dice.choice(TOKENS), description="x" * self.dice.choice((0, 40, 900, 6000)))
        self.wanted[key] = NewPayment(amount_minor=self.dice.randint(1, 10**6), currency="EUR", details=details)
        return key

    async def pay(self, engine: Engine, machine: Machine, key: str) -> None:
        """One request of this client; ``paid`` has the answer if there was one. Raises _PowerCut."""
        try:
            receipt = await engine.submit(SCOPE, self.wanted[key], key, actor="client")
        except (StoreUnavailable, Refused):  # 503, or "repeat it with the same key"
            return
        if machine.dead:
            raise _PowerCut
        told = self.paid.setdefault(key, receipt.payment.id)
        if told != receipt.payment.id:
            self.problems.append(f"{key} was answered with {told} and later with {receipt.payment.id}")
        self.promises.receipts.setdefault(receipt.payment.id, machine.done)

    async def _work(self, engine: Engine, store: WatchedStore) -> bool:
        """What is due now; when nothing is, time goes on to what is next. False when nothing is owed for an hour: what is in
        doubt is read daily, for ever."""
        try:
            await self._tell(store)
            due = await engine.sweep(100)
            later = await store.next_due()
        except StoreUnavailable:
            self.now += SECOND_US
            return True
        if later is None or later > self.now + QUIET_US:
            return False
        self.now = max(self.now, later)
        await self._all([engine.advance(id) for id in due])
        return True

    async def _tell(self, store: WatchedStore) -> None:
        """Turn what is noticed into deliveries. Raises StoreUnavailable, _PowerCut."""
        for waiting in await store.outbox.notices(self.now, 100):
            history, seq = await store.history(waiting.id), await store.outbox.noticed(waiting.id)
            told = [n for n in news.of_history(history) if seq is not None and n.seq >= seq]
            await store.outbox.hand_over(waiting.id, len(history), [_delivery(n, self.now) for n in told])

    # --- the end --------------------------------------------------------------------------------------------------

    async def judge(self, store: WatchedStore) -> list[str]:
        """What is wrong after everything has settled: by the provider's books, not by the store's word."""
        wrong = list(self.problems)
        movements = [msgspec.to_builtins(m) for m in self.books.movements()]
        for key, id in self.paid.items():
            p = await store.get(id)
            if p is None:
                wrong.append(f"{id}: its client was answered 202 and it is lost")
                continue
            charges = len(judge.net_charges(movements, id))
            if p.status in FINAL and charges != (p.status == "SUCCESS"):
                wrong.append(f"{id} ended {p.status} and was charged {charges} times")
            if charges > 1:
                wrong.append(f"{id} was charged {charges} times")
            token = self.wanted[key].details.payment_method
            if p.status not in judge.ENDS_AS[token]:
                wrong.append(f"{id} with {token} ended {p.status}, not {' or '.join(sorted(judge.ENDS_AS[token]))}")
            history = await store.history(id)
            wrong += judge.wrong_with_history(history)[1]
            told = {d.event_id for d in (await store.outbox.list(SCOPE, 100, payment_id=id)).deliveries}
            wrong += [f"nobody was told of {n.id}, {n.type}" for n in news.of_history(history) if n.id not in told]
        known = {id[4:] for id in self.paid.values()}
        strangers = {m["reference"] for m in movements if m["reference"][:20] not in known}
        return [*wrong, *(f"{each} was charged, but no client knows it" for each in strangers)]


class _Wire:
    """``ports.Transport`` to the world's provider. What leaves is noted with the operation of the disk before it."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world, self._machine = world, machine

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response | Lost:
        await asyncio.sleep(0)
        if self._machine.dead:
            raise _PowerCut
        world = self._world
        if world.now > send_by_us:
            return Lost(sent=False, reason="too late")
        if request.method != "GET":
            world.promises.sent.append((self._machine.done, request))
        path, _, query = request.path.partition("?")
        headers = {name.lower(): value for name, value in [*request.headers, *secret_headers.items()]}
        asked = Request(method=request.method, path=path, query=dict(parse_qsl(query)), headers=headers, body=body)
        with world.books.transaction():
            world.vendor.settle(world.books, world.now)
            reply = world.vendor.simulate(asked, world.books, Profile(), world.now)
        if reply.hold_s:  # none of the tokens here is worked on after a wait
            world.now += timeout_ms * 1000
        if reply.drop or reply.hold_s:
            return Lost(sent=True, reason="no answer")
        return Response(status=reply.status, headers=reply.headers, body=reply.body)

    async def close(self) -> None:
        """Nothing to close."""


class _Everybody:
    """``intake.Listeners``: there is always one."""

    def any(self, merchant_id: str, mode: Mode) -> bool:
        del merchant_id, mode
        return True

    async def refresh(self) -> None:
        return


def _delivery(told: news.News, now: int) -> Delivery:
    return Delivery(
        id=f"dlv_{told.id[4:]}",
        endpoint_id="whe_1",
        merchant_id=told.payment.merchant_id,
        mode=told.payment.mode,
        event_id=told.id,
        type=told.type,
        payment_id=told.payment.id,
        seq=told.seq,
        created_us=now,
        due_us=now,
    )


class _Deaf:
    """``ports.Wake`` that loses every hint: the due index has to do."""

    def send(self, payment_id: str) -> None:
        del payment_id


def _account(name: str) -> Account:
    adapter = load_adapters()["mock"]
    return Account(
        name=name,
        adapter=adapter,
        mode="test",
        base_url=f"{SANDBOX_URL}/mock",
        credential_id="c1",
        credentials=adapter.credentials_of(adapter.SANDBOX_CREDENTIALS),
        terms=replace(adapter.CAPABILITIES.terms, **TERMS),
    )
