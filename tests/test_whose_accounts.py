"""Provider accounts belong to merchants and to a mode: no payment is planned at, sent to or told of anybody else's."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from payonce import dispatch
from payonce.adapter import Intent, Terms
from payonce.core.errors import InvariantViolated, Refused
from payonce.core.events import Planned
from payonce.core.idempotency import Details, NewPayment
from payonce.core.outcome import NotSent, Unreadable
from payonce.core.payment import Mode, Payment, StoredRequest
from payonce.core.routing import Rule, Rules, When
from payonce.dispatch import Account
from payonce.engine import Engine, Policy, Ports
from payonce.ports import Lost, Response, Scope
from payonce.stores.memory import MemoryStore

from .api.service import CountingEntropy, TickingClock, TinyAdapter, Woken

A, B, C = "mer_aaaa", "mer_bbbb", "mer_cccc"
NAMES = tuple(f"acct{n}x" for n in range(4))
TERMS = Terms(keyed=True, replay_span_s=60, settle_s=600, horizon_s=600, watch_s=60)
PAID = Details(payment_method="tok_ok")


class FakeClock(TickingClock):
    """Stands where it is put."""

    def now_us(self) -> int:
        return self.at_us


class Wire:
    """A network over which nothing gets, so that a payment tries account after account; it keeps what would have left."""

    def __init__(self) -> None:
        self.tried: list[StoredRequest] = []

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response | Lost:
        del body, secret_headers, send_by_us, timeout_ms
        self.tried.append(request)
        return Lost(sent=False, reason="no route to host")

    async def close(self) -> None: ...


class World:
    """An engine of today's configuration over one store; ``configure`` is a restart with another one."""

    def __init__(self) -> None:
        self.store, self.clock, self.wire, self.entropy = MemoryStore(), FakeClock(), Wire(), CountingEntropy()

    def configure(self, accounts: list[Account], rules: Rules) -> Engine:
        ports = Ports(store=self.store, transport=self.wire, clock=self.clock, entropy=self.entropy, wake=Woken())
        return Engine(ports, {a.name: a for a in accounts}, Policy(), rules=rules)

    async def on(self, engine: Engine, payment_id: str) -> Payment:
        """Do what is due next, however late that is."""
        due = next((row.due_us for row in await self.store.due(2**62, 100) if row.payment_id == payment_id), None)
        self.clock.at_us = max(self.clock.at_us, due or 0)
        await engine.advance(payment_id)
        p = await self.store.get(payment_id)
        assert p is not None
        return p


def account(name: str, whose: frozenset[str] | None = None, mode: Mode = "test", **changes: Any) -> Account:
    base = Account(
        name=name,
        adapter=TinyAdapter(),
        mode=mode,
        base_url=f"https://{name}.invalid",
        credential_id="cred",
        credentials={},
        terms=TERMS,
        merchants=whose,
    )
    return replace(base, **changes)


def wanted(provider: str = "") -> NewPayment:
    return NewPayment(amount_minor=100, currency="INR", provider=provider, details=PAID)


owners = st.one_of(st.none(), st.frozensets(st.sampled_from((A, B, C)), max_size=2))
accounts = st.tuples(*(st.builds(account, st.just(n), owners, st.sampled_from(("test", "test", "live"))) for n in NAMES)).map(
    list
)
fallbacks = st.one_of(st.just("any"), st.lists(st.sampled_from(NAMES), max_size=2, unique=True).map(tuple))
some_rules = st.lists(
    st.builds(
        lambda who, use, fallback: (When(merchant=who), use, fallback),
        st.sampled_from(((), (), (A,), (A, B), (C,))),
        st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True).map(tuple),
        fallbacks,
    ),
    max_size=3,
).map(lambda found: Rules(rules=tuple(Rule(name=f"r{n}", when=w, use=u, fallback=f) for n, (w, u, f) in enumerate(found))))


@settings(max_examples=200, deadline=None)
@given(
    before=accounts,
    after=accounts,
    first=some_rules,
    then=some_rules,
    who=st.sampled_from((A, B)),
    named=st.sampled_from(("", *NAMES)),
)
def test_no_payment_is_planned_at_an_account_that_does_not_serve_its_merchant(
    *, before: list[Account], after: list[Account], first: Rules, then: Rules, who: str, named: str
) -> None:
    """Whatever is configured, named and changed in between: every attempt begins at an account that served the merchant in the
    payment's mode at that moment, and neither route, history nor refusal names one that never did."""

    async def check() -> None:
        world = World()
        engine = world.configure(before, first)
        foreign = [a.name for a in before if not a.serves(who, "test") and a.name != named]
        served = {a.name for a in before if a.serves(who, "test")}
        receipt, refusal = None, ""
        try:
            receipt = await engine.submit(Scope(who, "test"), wanted(named), "k", actor="test")
        except Refused as refused:
            refusal = str(refused)
        assert not [name for name in foreign if name in refusal]
        assert named in served or not named or named not in refusal
        if receipt is None:
            return
        p = await world.on(engine, receipt.payment.id)
        route = {c.account for c in p.route}
        assert route <= served
        for _ in range(6):
            begun = len(p.attempts)
            engine = world.configure(after, then)
            p = await world.on(engine, p.id)
            now = {a.name for a in after if a.serves(who, "test")} & served
            assert {a.account for a in p.attempts[begun:]} <= now
        told = b"".join(entry.raw for entry in await world.store.history(p.id, after_seq=0, limit=1000)).decode()
        assert not [name for name in foreign if name in told]
        assert {(r.account in served, r.mode) for r in world.wire.tried} <= {(True, "test")}

    asyncio.run(check())


def test_naming_a_foreign_account_looks_like_naming_none() -> None:
    """The refusal of another merchant's account, of one in the other mode, and of a name that nobody has is the same text, and
    lists the caller's own accounts only."""

    async def said(name: str) -> tuple[str, str]:
        engine = World().configure(
            [account("own", frozenset({A})), account("theirs", frozenset({B})), account("gold", None, "live")], Rules()
        )
        with pytest.raises(Refused) as refused:
            await engine.submit(Scope(A, "test"), wanted(name), "k", actor="test")
        return refused.value.code, refused.value.detail

    async def check() -> None:
        told = {await said(name) for name in ("theirs", "gold", "nobody")}
        assert told == {("no_route", "The provider that it names is no account in test mode. Accounts: own.")}

    asyncio.run(check())


# --- modes by construction ---------------------------------------------------------------------------------------------


class Edited(MemoryStore):
    """Gives out rows that somebody changed behind payonce's back."""

    def __init__(self) -> None:
        super().__init__()
        self.edit: Any = lambda p: p

    async def get(self, payment_id: str) -> Payment | None:
        p = await super().get(payment_id)
        return self.edit(p) if p else None


def opened_first(p: Payment, **changes: Any) -> Payment:
    """The payment with the stored request of its first step changed."""
    (a, *rest), step = p.attempts, p.attempts[0].steps[0]
    assert step.request is not None
    step = replace(step, request=replace(step.request, **changes))
    return replace(p, attempts=(replace(a, steps=(step, *a.steps[1:])), *rest))


class Hosts(TinyAdapter):
    """As vendors whose hosts tell the mode."""

    TEST_HOSTS = frozenset({"test.vendor.example"})
    LIVE_HOSTS = frozenset({"live.vendor.example"})


def test_an_account_that_changed_its_mode_gets_nothing() -> None:
    """Re-pointed to live between acceptance and plan, and between attempt and replay: not a byte leaves."""

    async def check() -> None:
        for began in (False, True):
            world = World()
            engine = world.configure([account("one")], Rules())
            p = (await engine.submit(Scope(A, "test"), wanted(), "k", actor="test")).payment
            if began:
                await world.on(engine, p.id)
            sent = len(world.wire.tried)
            assert sent == began
            engine = world.configure([account("one", mode="live")], Rules())
            for _ in range(20):
                await world.on(engine, p.id)
            assert len(world.wire.tried) == sent

    asyncio.run(check())


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "live"},
        {"account": "two"},
        {"base_url": "https://live.vendor.example/v1"},
        {"base_url": "https://LIVE.vendor.example.:443"},
    ],
)
def test_an_edited_request_is_not_sent_again(changes: dict[str, str]) -> None:
    """The request on record says the other mode, another account or a host of the other mode: a bug or an attack, so the step
    is neither recorded nor sent."""

    async def check() -> None:
        world = World()
        world.store = store = Edited()
        one = account("one", adapter=Hosts(), base_url="https://test.vendor.example")
        engine = world.configure([one, account("two", frozenset({B}))], Rules())
        p = (await engine.submit(Scope(A, "test"), wanted(), "k", actor="test")).payment
        await world.on(engine, p.id)
        (first,) = world.wire.tried
        assert first.base_url == "https://test.vendor.example"
        store.edit = lambda p: opened_first(p, **changes) if p.attempts else p
        version = (await store.get(p.id) or p).version
        with pytest.raises(InvariantViolated, match="nothing was recorded or sent"):
            await world.on(engine, p.id)
        assert len(world.wire.tried) == 1
        assert (await store.get(p.id) or p).version == version

    asyncio.run(check())


def test_a_payment_whose_mode_was_edited_is_not_sent() -> None:
    """A row that says live now: its account is one of test mode, so nothing is begun, replayed or read there; nor at a live
    account that stands beside it, which the payment's route does not have."""

    async def check() -> None:
        for began in (False, True):
            world = World()
            world.store = store = Edited()
            engine = world.configure([account("one"), account("gold", mode="live")], Rules())
            p = (await engine.submit(Scope(A, "test"), wanted(), "k", actor="test")).payment
            await world.on(engine, p.id) if began else None
            sent = len(world.wire.tried)
            p = await world.store.get(p.id) or p
            store.edit = lambda p: replace(p, mode="live")
            for _ in range(20):
                await world.on(engine, p.id)
            live = [r for r in world.wire.tried[sent:] if r.account == "one"]
            assert live == []
            if began:
                assert len(world.wire.tried) == sent

    asyncio.run(check())


@pytest.mark.parametrize(
    ("payment", "request_mode", "mode", "key"),
    [
        ("live", "test", "test", None),
        ("test", "live", "test", None),
        ("test", "test", "live", None),
        ("test", "test", "test", "live"),
        ("live", "live", "test", "test"),
    ],
)
def test_the_last_look_before_the_first_byte(payment: Mode, request_mode: Mode, mode: Mode, key: str | None) -> None:
    """Payment, request, account and key must be of one mode: else nothing is sent, and that is what is recorded."""

    class Key(msgspec.Struct):
        mode: str

    async def check() -> None:
        wire = Wire()
        one = account("one", mode=mode, credentials=Key(key) if key else {})
        about = Intent(kind="fire", mode=payment, amount_minor=1, currency="INR", reference="r" * 24)
        request = replace(dispatch.stored(one, one.adapter.build(about)), mode=request_mode)
        for kind, outcome in (("fire", NotSent), ("refund", NotSent), ("read", Unreadable)):
            asked = replace(about, kind=kind)
            heard = await dispatch.exchange(
                wire, one, dispatch.Prepared(request, b"{}"), asked, send_by_us=2**62, timeout_ms=1000
            )
            assert isinstance(heard.outcome, outcome)
            assert "modes differ at one" in heard.outcome.reason
        assert wire.tried == []

    asyncio.run(check())


def test_an_attempt_is_not_begun_for_a_stranger() -> None:
    """Whatever route and facts say: the head of an attempt is refused at an account that does not serve the merchant."""

    async def check() -> None:
        world = World()
        engine = world.configure([account("one")], Rules())
        p = (await engine.submit(Scope(A, "test"), wanted(), "k", actor="test")).payment
        engine.accounts["one"] = replace(engine.accounts["one"], merchants=frozenset({B}))  # behind the back of ``outside``
        engine.outside = replace(engine.outside, accounts={"one": account("one")})
        with pytest.raises(InvariantViolated, match="one takes no payment of this merchant and mode"):
            await engine.advance(p.id)
        history = await world.store.history(p.id, after_seq=0, limit=10)
        assert not any(isinstance(entry.envelope.data, Planned) for entry in history)
        assert world.wire.tried == []

    asyncio.run(check())
