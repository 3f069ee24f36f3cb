"""The engine: five verbs that never grow. ``submit`` (a new operation), ``advance`` (one payment), ``ingest`` (a hint),
``sweep`` (what is due), ``resolve`` (an operator's decision). The core decides, this shell acts: read, plan, put on
record, call, put the answer on record. After a crash there is no recovery code: ``plan`` finds a recorded send without
an outcome and calls it unknown.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from . import dispatch
from .adapter import READS_MAX, NextAction
from .core import ids, news, operations
from .core.apply import extend
from .core.due import Call, Facts, Judge, Next, Reverse, held_back
from .core.errors import InvariantViolated, NewerSchema, StoreUnavailable
from .core.events import Event, Hinted, Judged, Observed, Planned, Resolved
from .core.idempotency import Details, NewPayment
from .core.operations import NewOperation, decision_on, part_of, resolution, reversal, to_read
from .core.payment import FINAL, Payment, Step, Terms
from .core.plan import plan
from .core.retry import DAY_US, SECOND_US
from .core.routing import Rules
from .core.verdict import weigh
from .dispatch import Account, Heard
from .health import Admitted, Health, signal
from .intake import Intake, Listeners, Nobody, Policy, Receipt, action_of, details_of, find
from .lanes import Lanes
from .outside import Outside
from .ports import Change, Clock, Committed, Conflict, Entropy, Lost, Ref, Response, Scope, Store, Transport, Unclear, Wake
from .telemetry import get_logger

__all__ = ["ADMITTED", "LEASE_MARGIN_MS", "SEND_WINDOW_MS", "Engine", "Policy", "Ports", "Receipt"]

SEND_WINDOW_MS = 5_000  # from the claim to the first byte
LEASE_MARGIN_MS = 2_000  # from the end of the call to the end of the lease
ROUNDS_MAX = 12  # actions of one advance; the rest waits for the next sweep
RACES_MAX = 20  # lost to other writers in a row
RECORD_FOR_S = 120  # how long an answer is held in memory when the store does not take it
ADMITTED: frozenset[str] = frozenset({"create", "fire"})  # what a breaker stops: only what is new

Standing = tuple[Payment, int | None]  # a payment as it stands, and when it is due; None = quiet

log = get_logger("engine")


class Ports(Struct, frozen=True, kw_only=True):
    store: Store
    transport: Transport
    clock: Clock
    entropy: Entropy
    wake: Wake


class Engine:
    """See the module docstring. Safe to call from any number of tasks and processes at once."""

    def __init__(
        self,
        ports: Ports,
        accounts: Mapping[str, Account],
        policy: Policy,
        *,
        rules: Rules | None = None,
        health: Health | None = None,
        hold: bool = False,
        return_to: str = "",
        listeners: Listeners | None = None,
    ) -> None:
        """``listeners``: who is told of public events (nobody, if not given). ``return_to``: the URL at which customers come
        back from a provider, in front of the reference of their attempt; empty: they go straight to the merchant."""
        self.store, self.transport, self.clock = ports.store, ports.transport, ports.clock
        self.entropy, self.wake = ports.entropy, ports.wake
        self.accounts, self.health, self.return_to = dict(accounts), health, return_to
        self.outside = Outside(accounts=self.accounts, rules=rules or Rules())
        self.listeners = listeners or Nobody()
        parts = (ports.store, ports.clock, ports.entropy, ports.wake, self.accounts, self.outside, policy, self.listeners)
        self.intake = Intake(*parts)
        self.lanes = Lanes({a.name: a.calls_max for a in self.accounts.values()}, health)
        self.hold = hold  # after a restore: read and close, but fire nothing
        self.gone_by_us: int | None = None  # monotonic: this process ends then, so no call may outlast it

    # --- submit ---------------------------------------------------------------------------------------------------

    async def submit(
        self, scope: Scope, request: NewPayment | NewOperation, key: str, *, actor: str, request_id: str = "", note: str = ""
    ) -> Receipt:
        """Accept a payment or an operation on one, durably. A known key answers with what it stands for, as it is now, whatever
        the ``note``: why an operation is asked, for its event.

        Raises Refused (``no_route``, ``test_token_refused``, ``capture_method_unsupported``; for operations those of
        ``core.operations.asking`` and ``not_found``; ``idempotency_key_reused``, ``request_in_progress``, ``retry_same_key``
        when the outcome of the write is unclear) and StoreUnavailable (nothing was written).
        """
        if isinstance(request, NewPayment):
            return await self.intake.payment(scope, request, key, actor=actor, request_id=request_id)
        return await self.intake.operation(scope, request, key, actor=actor, request_id=request_id, note=note)

    # --- advance --------------------------------------------------------------------------------------------------

    async def advance(self, payment_id: str) -> None:
        """Do what is due for one payment, step by step, until nothing is due now or somebody else took over.

        Never raises for what stores and networks can do; a row of a newer version is left as it is. What was committed here is
        not read again: if somebody else wrote since, the next conditional write says so.
        """
        try:
            p = await self.store.get(payment_id)
            for round_number in range(ROUNDS_MAX):
                stands = await self._act(p, first=round_number == 0) if p else None
                if stands is None or stands[1] is None or stands[1] > self.clock.now_us():
                    return
                p = stands[0]
        except NewerSchema:
            log.warning("row of a newer version left alone", payment_id=payment_id)
        except StoreUnavailable as error:
            log.warning("store unavailable, the payment stays due", payment_id=payment_id, error=str(error))

    async def _act(self, p: Payment, *, first: bool) -> Standing | None:
        """One action. None when nothing is due now, or when another worker took over."""
        if self.health:
            await self.health.refresh()
        now = self.clock.now_us()
        facts = self._facts(p, None if p.attempts else await self.details(p))
        due = plan(p, now, facts)
        if due.at_us is None or due.at_us > now:
            if first:  # the row was due but plan says later: the facts changed
                await self.store.defer(p.id, p.version, due.at_us)
            return None
        if self.hold and held_back(due.do):
            await self.store.defer(p.id, p.version, now + 5 * SECOND_US)
            return None
        match due.do:
            case Judge() as judge:
                event: Event = Judged(what=judge.what, reason=judge.reason, attempt=judge.attempt, operation=judge.operation)
                return await self._write(p, [event])
            case Reverse() as reverse:
                asked = reversal(p, reverse.attempt, reverse.reason, now)
                return await self._write(p, [asked], refs=(dispatch.operation_ref(asked),))
            case Call() as call if call.attempt in facts.lost:
                log.error("account points elsewhere now: nothing is sent", payment_id=p.id, account=call.account)
                await self.store.defer(p.id, p.version, now + DAY_US)
                return None
            case Call() as call if self.gone_by_us is not None and self._ends_us(p, call) > self.gone_by_us:
                return None  # it stays due, for a process that lives longer
            case Call() as call if self.lanes.full(call.account, now, new=call.kind in ADMITTED):
                await self.store.defer(p.id, p.version, self.lanes.turn_us(call.account, now, new=call.kind in ADMITTED))
                return None
            case Call() as call:
                with self.lanes.flight(call.account, self.clock, new=call.kind in ADMITTED):
                    return await self._admitted(p, call, facts)
            case None:
                raise InvariantViolated("plan named a time but no action")

    def _ends_us(self, p: Payment, call: Call) -> int:
        """When the lease of this call would end, by the monotonic clock."""
        account = self.accounts[call.account]
        terms = account.terms if call.opens else p.attempts[call.attempt].terms
        return self.clock.monotonic_us() + _lease_us(account, terms, call)

    async def _admitted(self, p: Payment, call: Call, facts: Facts) -> Standing | None:
        """What is new needs leave of the account's breaker; what every call hears is learned from."""
        if self.health is None:
            return await self._call(p, call, facts, [])
        leave = await self.health.admit(call.account) if call.kind in ADMITTED else None
        if leave is None and call.kind in ADMITTED:
            return p, 0  # it opened since, or another payment has the one probe: plan again
        heard: list[Response | Lost] = []
        try:
            stands = await self._call(p, call, facts, heard, leave)
        except Exception:
            await self.health.learn(call.account, signal(heard[0] if heard else None), leave)
            raise
        await self.health.learn(call.account, signal(heard[0] if heard else None), leave)
        return stands

    async def _call(
        self, p: Payment, call: Call, facts: Facts, replies: list[Response | Lost], leave: Admitted | None = None
    ) -> Standing | None:
        """R2: the step is committed and leased to us, only then sent; the answer is committed whatever happens."""
        account, planned_call = self.accounts[call.account], call
        call, opened = dispatch.opened(p, call, account, facts, self.clock.now_us())
        intent = dispatch.intent(p, call, facts.details or await self.details(p), opened, self.return_to)
        intent = replace(intent, handle=await dispatch.opening(self.store, p, call))
        prepared = await dispatch.prepare(self.store, p, call, account, intent)
        terms = opened.terms if opened else p.attempts[call.attempt].terms
        if self.health and leave and not await self.health.stands(leave):
            return p, 0
        now, window = self.clock.now_us(), SEND_WINDOW_MS * 1000
        if plan(p, now, facts).do != planned_call:  # we slept since: what was due then may be forbidden now
            return p, 0
        send_by_monotonic = self.clock.monotonic_us() + window
        step = Step(
            seq=p.version + 1,
            kind=call.kind,
            owner=f"{self.entropy.bits(64):016x}",
            at_us=now,
            send_by_us=now + window,
            lease_until_us=now + _lease_us(account, terms, call),
            key=intent.key,
            request=None if call.kind == "read" else prepared.request,
        )
        planned = Planned(
            step=step,
            attempt=call.attempt,
            operation=call.operation,
            opens=opened,
            rule="" if p.route else facts.rule,
            route=() if p.route else facts.route,
        )
        bodies = {prepared.request.body_sha256: prepared.body} if step.request and prepared.body else {}
        refs = (Ref(account.name, "reference", opened.reference),) if opened else ()
        if (claimed := await self._claim(p, planned, bodies, refs)) is None:
            return None
        left = send_by_monotonic - self.clock.monotonic_us()  # the wall clock may have been set back since the claim
        send_by = min(step.send_by_us, self.clock.now_us() + left)
        heard = await dispatch.exchange(
            self.transport, account, prepared, intent, send_by_us=send_by, timeout_ms=terms.call_timeout_ms
        )
        replies += [heard.reply] if heard.reply else []
        return await self._record(claimed, step.seq, heard)

    async def _claim(self, p: Payment, planned: Planned, bodies: Mapping[str, bytes], refs: tuple[Ref, ...]) -> Payment | None:
        after, change = self._change(p, [planned], bodies, refs)
        match await self.store.commit(change, p.version):
            case Committed():
                return after
            case (
                Conflict() | Unclear()
            ):  # a driver that asks twice meets itself: sent only if it stands, is mine, and is the last
                now = await self.store.get(p.id)
                mine = next((s for s in now.steps() if s.seq == planned.step.seq), None) if now else None
                return now if now and mine and mine == planned.step and now.version == after.version else None

    async def _record(self, claimed: Payment, seq: int, heard: Heard) -> Standing | None:
        """Evidence is never lost to a race: repeat until it holds. When the store stays away we give up holding it,
        and the step stays what it is without an answer: unknown."""
        deadline = self.clock.monotonic_us() + RECORD_FOR_S * SECOND_US
        known: Payment | None = claimed  # if somebody wrote since, it is read again at once
        pause_s = 0.0
        while True:
            with suppress(StoreUnavailable):
                p = known or await self.store.get(claimed.id)
                owner = part_of(p, seq) if p else None
                if p is None or owner is None or owner[1].outcome is not None:
                    return (p, 0) if p else None  # the first outcome per step wins
                part, step = owner
                weighed = operations.news(p, weigh(p, part, step, heard.outcome))
                names = dispatch.refs(part, weighed)
                if done := await self._write(p, [Observed(about=seq, outcome=weighed)], refs=names, bodies=heard.beside):
                    return done
            known = None
            if self.clock.monotonic_us() > deadline:
                log.error("answer could not be recorded, it will be read again", payment_id=claimed.id, step=seq)
                return None
            await self.clock.sleep(pause_s)
            pause_s = min(max(0.05, pause_s * 2), 5.0)

    # --- ingest, sweep, resolve -----------------------------------------------------------------------------------

    async def ingest(self, payment_id: str, ref: str = "", *, actor: str, note: str = "", request_id: str = "") -> bool:
        """A hint: somebody says something happened, or wants to know (``note``: why). Pulls a read of every attempt that
        carried money forward, in any state; proves nothing (R9). False when there is nothing to read."""
        for _ in range(RACES_MAX):
            p = await self.store.get(payment_id)
            worth = to_read(p) if p else []
            if p is None or not worth:
                return False
            hints: list[Event] = [Hinted(attempt=n, ref=ref, note=note) for n in worth]
            if await self._write(p, hints, actor=actor, request_id=request_id):
                self.wake.send(payment_id)
                return True
        return False

    async def sweep(self, limit: int) -> list[str]:
        """Ids of payments that are due now, earliest first."""
        return [row.payment_id for row in await self.store.due(self.clock.now_us(), limit)]

    async def resolve(
        self,
        scope: Scope,
        payment_id: str,
        decision: Literal["charged", "not-charged", "reversed"],
        *,
        reason: str,
        actor: str,
        provider_ref: str = "",
        amount_minor: int | None = None,
        accept_amount: bool = False,
        request_id: str = "",
    ) -> Payment:
        """Record an operator's decision on a payment that is IN_DOUBT or needs attention. Raises Refused."""

        def event(p: Payment) -> Resolved:
            return resolution(p, decision, reason, provider_ref, amount_minor, accept_amount=accept_amount)

        return await self._decide(scope, payment_id, event, actor=actor, request_id=request_id)

    async def _decide(self, scope: Scope, payment_id: str, decided: Callable[[Payment], Resolved], **who: str) -> Payment:
        head = ""
        for _ in range(RACES_MAX):
            p = await self.find(scope, payment_id)
            if p.head == head:  # the write that seemed unclear was done
                return p
            after, change = self._change(p, [decided(p)], {}, (), **who)
            if isinstance(await self.store.commit(change, p.version), Committed):
                return after
            head = after.head
        raise StoreUnavailable(f"The decision on {payment_id} may not be recorded. `payonce show` tells; then decide again.")

    async def decide(
        self,
        scope: Scope,
        payment_id: str,
        operation_id: str,
        decision: Literal["done", "not-done"],
        *,
        reason: str,
        actor: str,
        request_id: str = "",
    ) -> Payment:
        """Record an operator's decision on a capture, void or refund that is in doubt. Raises Refused."""

        def event(p: Payment) -> Resolved:
            return decision_on(p, operation_id, decision, reason)

        return await self._decide(scope, payment_id, event, actor=actor, request_id=request_id)

    async def find(self, scope: Scope, payment_id: str) -> Payment:
        """The payment, if it is this caller's. Raises Refused ``not_found``: not there and not yours look the same."""
        return await find(self.store, scope, payment_id)

    async def details(self, p: Payment) -> Details:
        """The customer data beside the chain; empty when it was erased."""
        return await details_of(self.store, p)

    async def action(self, p: Payment) -> tuple[NextAction, int] | None:
        """What the customer has to do now, and until when (microseconds; 0 = nobody knows). None: nothing, or too late."""
        return await action_of(self.store, p, self.clock.now_us())

    # --- what the verbs share -------------------------------------------------------------------------------------

    def _facts(self, p: Payment, details: Details | None = None) -> Facts:
        blocked = self.health.blocked(self.clock.now_us()) if self.health else {}
        return self.outside.facts(p, details, blocked, hold=self.hold)

    async def next(self, p: Payment) -> Next:
        """What is due for the payment, as this process sees it now."""
        return plan(p, self.clock.now_us(), self._facts(p, await self.details(p)))

    async def adopt(self, p: Payment, account: str) -> None:
        """After a restore: the next attempt was found at this account. Look at it there, on record. "" = it fits nowhere."""
        if not account:
            await self._write(p, [Judged(what="attention" if p.status in FINAL else "IN_DOUBT", reason="restored_elsewhere")])
            return
        facts = self.outside.found(p, await self.details(p), account)
        due = plan(p, now := self.clock.now_us(), facts)
        if isinstance(due.do, Call) and due.do.opens and (due.at_us or 0) <= now:
            await self._call(p, due.do, facts, [])

    def _change(
        self, p: Payment, events: list[Event], bodies: Mapping[str, bytes], refs: tuple[Ref, ...], **who: str
    ) -> tuple[Payment, Change]:
        now = self.clock.now_us()
        after, entries = extend(p, events, at_us=now, **{"actor": "worker", **who})
        due = plan(after, now, self._facts(after)).at_us
        told = news.of_change(p, after, entries)
        tell = bool(told) and self.listeners.any(p.merchant_id, p.mode)
        return after, Change(
            payment=after, entries=tuple(entries), due_us=due, bodies=bodies, refs=refs, news=told, notify=tell, was=p.status
        )

    async def _write(
        self,
        p: Payment,
        events: list[Event],
        *,
        refs: tuple[Ref, ...] = (),
        bodies: Mapping[str, bytes] | None = None,
        **who: str,
    ) -> Standing | None:
        """One conditional write; None when another writer was first, or when it is unclear (re-read before acting)."""
        after, change = self._change(p, events, bodies or {}, refs, **who)
        if not isinstance(await self.store.commit(change, p.version), Committed):
            return None
        if change.notify:
            self.wake.send(ids.notice_id(p.id))
        if after.status != p.status:
            log.info("status", payment_id=p.id, before=p.status, after=after.status, reason=after.reason)
        return after, change.due_us


def _lease_us(account: Account, terms: Terms, call: Call) -> int:
    """From the claim to the end of its lease: the send window, every request that the call may take, and a margin."""
    calls = (account.adapter.CAPABILITIES.read_requests or (READS_MAX if terms.container else 1)) if call.kind == "read" else 1
    return (SEND_WINDOW_MS + calls * terms.call_timeout_ms + LEASE_MARGIN_MS) * 1000
