"""The engine: five verbs that never grow. ``submit`` (a new operation), ``advance`` (one payment), ``ingest`` (a hint),
``sweep`` (what is due), ``resolve`` (an operator's decision). The core decides, this shell acts: read, plan, put on
record, call, put the answer on record. After a crash there is no recovery code: ``plan`` finds a recorded send without
an outcome and calls it unknown.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Literal

import msgspec
from msgspec import Struct

from . import dispatch
from .adapter import READS_MAX
from .core import idempotency, ids
from .core.apply import extend
from .core.due import Call, Facts, Judge, Next, Reverse, held_back
from .core.errors import FieldError, InvariantViolated, NewerSchema, Refused, StoreUnavailable
from .core.events import Accepted, Event, Hinted, Judged, Observed, Planned, digest
from .core.idempotency import Details, NewPayment
from .core.operations import part_of, resolution, reversal
from .core.outcome import AnyOutcome
from .core.payment import FINAL, LateSuccess, Payment, Step
from .core.plan import plan
from .core.retry import DAY_US, SECOND_US
from .core.routing import Rules
from .core.verdict import awaits_read, verdict, weigh
from .dispatch import Account
from .health import Admitted, Health, signal
from .outside import Outside
from .ports import (
    Change,
    Clock,
    Committed,
    Conflict,
    Entropy,
    KeyRow,
    Lost,
    Ref,
    Response,
    Scope,
    Store,
    Transport,
    Unclear,
    Wake,
)
from .telemetry import get_logger

SEND_WINDOW_MS = 5_000  # from the claim to the first byte
LEASE_MARGIN_MS = 2_000  # from the end of the call to the end of the lease
ROUNDS_MAX = 12  # actions of one advance; the rest waits for the next sweep
RACES_MAX = 20  # lost to other writers in a row
RECORD_FOR_S = 120  # how long an answer is held in memory when the store does not take it
ADMITTED: frozenset[str] = frozenset({"create", "fire"})  # what a breaker stops: only what is new

log = get_logger("engine")


class Policy(Struct, frozen=True, kw_only=True):
    """What a payment is accepted with; written into its first event."""

    attempts_max: int = 3
    late_success: LateSuccess = "refund"


class Receipt(Struct, frozen=True):
    """The answer to ``submit``: the payment as it is now; ``replayed`` when the key was known."""

    payment: Payment
    details: Details
    replayed: bool


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
    ) -> None:
        self.store, self.transport, self.clock = ports.store, ports.transport, ports.clock
        self.entropy, self.wake = ports.entropy, ports.wake
        self.accounts, self.policy, self.health = dict(accounts), policy, health
        self.outside = Outside(accounts=self.accounts, rules=rules or Rules())
        self.hold = hold  # after a restore: read and close, but fire nothing

    # --- submit ---------------------------------------------------------------------------------------------------

    async def submit(self, scope: Scope, request: NewPayment, key: str, *, actor: str, request_id: str = "") -> Receipt:
        """Accept a payment: one atomic write of payment, key and due time. A known key answers with its payment.

        Raises Refused (``no_route``, ``test_token_refused``, ``idempotency_key_reused``, ``request_in_progress``,
        ``retry_same_key`` when the outcome of the write is unclear) and StoreUnavailable (nothing was written).
        """
        if refusal := self.outside.refusal(scope, request):
            if known := await self.store.find_key(scope, key):
                return await self._repeat(known, request)
            raise refusal
        now = self.clock.now_us()
        payment_id = ids.new_id("pay_", now, self.entropy.bits(ids.RANDOM_BITS))
        details = msgspec.json.encode(request.details)
        accepted = Accepted(
            payment_id=payment_id,
            merchant_id=scope.merchant_id,
            mode=scope.mode,
            operation_id=ids.operation_id(payment_id, 1, now),
            amount_minor=request.amount_minor,
            currency=request.currency,
            idempotency_key=key,
            details_sha256=digest(details),
            late_success=self.policy.late_success,
            attempts_max=self.policy.attempts_max,
            client_id=request.client_id,
            provider=request.provider,
            capture_method=request.capture_method,
        )
        payment, entries = extend(None, [accepted], at_us=now, actor=actor, request_id=request_id)
        row = KeyRow(
            key=key,
            operation="charge",
            payment_id=payment_id,
            request_v=idempotency.REQUEST_V,
            request=idempotency.encode(request),
        )
        change = Change(payment=payment, entries=tuple(entries), due_us=now, key=row, bodies={accepted.details_sha256: details})
        match await self.store.commit(change, 0):
            case Committed():
                pass
            case Conflict(key=KeyRow() as taken) if taken.payment_id != payment_id:
                return await self._repeat(taken, request)
            case _:  # unclear, or a driver asked twice and met itself: ask the store whose the key is now
                known = await self.store.find_key(scope, key)
                if known is None:
                    raise Refused("retry_same_key", "It is not known whether the payment was written.")
                if known.payment_id != payment_id:
                    return await self._repeat(known, request)
        self.wake.send(payment_id)
        return Receipt(payment, request.details, replayed=False)

    async def _repeat(self, known: KeyRow, request: NewPayment) -> Receipt:
        if differs := idempotency.differing(known.request, request):
            fields = tuple(FieldError(name, "differs from the first request with this key") for name in differs)
            raise Refused("idempotency_key_reused", f"The request differs from the first one in: {', '.join(differs)}.", fields)
        payment = await self.store.get(known.payment_id)
        if payment is None:
            raise Refused("request_in_progress", "The payment of this key is not visible yet.")
        return Receipt(payment, request.details, replayed=True)

    # --- advance --------------------------------------------------------------------------------------------------

    async def advance(self, payment_id: str) -> None:
        """Do what is due for one payment, step by step, until nothing is due now or somebody else took over.

        Never raises for what stores and networks can do; a row of a newer version is left as it is.
        """
        try:
            for round_number in range(ROUNDS_MAX):
                p = await self.store.get(payment_id)
                if p is None or not await self._act(p, first=round_number == 0):
                    return
        except NewerSchema:
            log.warning("row of a newer version left alone", payment_id=payment_id)
        except StoreUnavailable as error:
            log.warning("store unavailable, the payment stays due", payment_id=payment_id, error=str(error))

    async def _act(self, p: Payment, *, first: bool) -> bool:
        """One action. False when nothing is due now, or when another worker took over."""
        if self.health:
            await self.health.refresh()
        now = self.clock.now_us()
        facts = self._facts(p, None if p.attempts else await self.details(p))
        due = plan(p, now, facts)
        if due.at_us is None or due.at_us > now:
            if first:  # the row was due but plan says later: the facts changed
                await self.store.defer(p.id, p.version, due.at_us)
            return False
        if self.hold and held_back(due.do):
            await self.store.defer(p.id, p.version, now + 5 * SECOND_US)
            return False
        match due.do:
            case Judge() as judge:
                event: Event = Judged(what=judge.what, reason=judge.reason, attempt=judge.attempt, operation=judge.operation)
                return await self._write(p, [event]) is not None
            case Reverse() as reverse:
                return await self._write(p, [reversal(p, reverse.attempt, reverse.reason, now)]) is not None
            case Call() as call if call.attempt in facts.lost:
                log.error("account points elsewhere now: nothing is sent", payment_id=p.id, account=call.account)
                await self.store.defer(p.id, p.version, now + DAY_US)
                return False
            case Call() as call:
                return await self._admitted(p, call, facts)
            case None:
                raise InvariantViolated("plan named a time but no action")

    async def _admitted(self, p: Payment, call: Call, facts: Facts) -> bool:
        """What is new needs leave of the account's breaker; what every call hears is learned from."""
        if self.health is None:
            return await self._call(p, call, facts, [])
        leave = await self.health.admit(call.account) if call.kind in ADMITTED else None
        if leave is None and call.kind in ADMITTED:
            return True  # it opened since, or another payment has the one probe: plan again
        heard: list[Response | Lost] = []
        try:
            going = await self._call(p, call, facts, heard, leave)
        except Exception:
            await self.health.learn(call.account, signal(heard[0] if heard else None), leave)
            raise
        await self.health.learn(call.account, signal(heard[0] if heard else None), leave)
        return going

    async def _call(
        self, p: Payment, call: Call, facts: Facts, replies: list[Response | Lost], leave: Admitted | None = None
    ) -> bool:
        """R2: the step is committed and leased to us, only then sent; the answer is committed whatever happens."""
        account, planned_call = self.accounts[call.account], call
        call, opened = dispatch.opened(p, call, account, facts)
        intent = dispatch.intent(p, call, await self.details(p))
        prepared = await dispatch.prepare(self.store, p, call, account, intent)
        terms = opened.terms if opened else p.attempts[call.attempt].terms
        if self.health and leave and not await self.health.stands(leave):
            return True
        now, window = self.clock.now_us(), SEND_WINDOW_MS * 1000
        if plan(p, now, facts).do != planned_call:  # we slept since: what was due then may be forbidden now
            return True
        calls = READS_MAX if call.kind == "read" and terms.container else 1
        send_by_monotonic = self.clock.monotonic_us() + window
        step = Step(
            seq=p.version + 1,
            kind=call.kind,
            owner=f"{self.entropy.bits(64):016x}",
            at_us=now,
            send_by_us=now + window,
            lease_until_us=now + window + (calls * terms.call_timeout_ms + LEASE_MARGIN_MS) * 1000,
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
        if not await self._claim(p, planned, bodies, refs):
            return False
        left = send_by_monotonic - self.clock.monotonic_us()  # the wall clock may have been set back since the claim
        send_by = min(step.send_by_us, self.clock.now_us() + left)
        heard = await dispatch.exchange(
            self.transport, account, prepared, intent, send_by_us=send_by, timeout_ms=terms.call_timeout_ms
        )
        replies += [heard.reply] if heard.reply else []
        return await self._record(p.id, step.seq, heard.outcome)

    async def _claim(self, p: Payment, planned: Planned, bodies: Mapping[str, bytes], refs: tuple[Ref, ...]) -> bool:
        after, change = self._change(p, [planned], bodies, refs)
        match await self.store.commit(change, p.version):
            case Committed():
                return True
            case (
                Conflict() | Unclear()
            ):  # a driver that asks twice meets itself: sent only if it stands, is mine, and is the last
                now = await self.store.get(p.id)
                mine = next((s for s in now.steps() if s.seq == planned.step.seq), None) if now else None
                return bool(now and mine and mine == planned.step and now.version == after.version)

    async def _record(self, payment_id: str, seq: int, outcome: AnyOutcome) -> bool:
        """Evidence is never lost to a race: repeat until it holds. When the store stays away we give up holding it,
        and the step stays what it is without an answer: unknown."""
        deadline = self.clock.monotonic_us() + RECORD_FOR_S * SECOND_US
        pause_s = 0.05
        while True:
            with suppress(StoreUnavailable):
                p = await self.store.get(payment_id)
                owner = part_of(p, seq) if p else None
                if p is None or owner is None or owner[1].outcome is not None:
                    return p is not None  # the first outcome per step wins
                part, step = owner
                weighed = weigh(p, part, step, outcome)
                if await self._write(p, [Observed(about=seq, outcome=weighed)], refs=dispatch.refs(part, weighed)):
                    return True
            if self.clock.monotonic_us() > deadline:
                log.error("answer could not be recorded, it will be read again", payment_id=payment_id, step=seq)
                return False
            await self.clock.sleep(pause_s)
            pause_s = min(pause_s * 2, 5.0)

    # --- ingest, sweep, resolve -----------------------------------------------------------------------------------

    async def ingest(self, payment_id: str, ref: str = "", *, actor: str) -> bool:
        """A hint: somebody says something happened. Pulls a read of every attempt that carried money forward, in any
        state; proves nothing (R9). False when there is nothing to read."""
        for _ in range(RACES_MAX):
            p = await self.store.get(payment_id)
            worth = [a for a in p.attempts if a.steps and not awaits_read(a) and verdict(a) != "YES"] if p else []
            if p is None or not worth:
                return False
            if await self._write(p, [Hinted(attempt=a.n, ref=ref) for a in worth], actor=actor):
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
    ) -> Payment:
        """Record an operator's decision on a payment that is IN_DOUBT or needs attention. Raises Refused."""
        head = ""
        for _ in range(RACES_MAX):
            p = await self.find(scope, payment_id)
            if p.head == head:  # the write that seemed unclear was done
                return p
            event = resolution(p, decision, reason, provider_ref, amount_minor, accept_amount=accept_amount)
            after, change = self._change(p, [event], {}, (), actor)
            if isinstance(await self.store.commit(change, p.version), Committed):
                return after
            head = after.head
        raise StoreUnavailable(f"The decision on {payment_id} may not be recorded. `payonce show` tells; then decide again.")

    async def find(self, scope: Scope, payment_id: str) -> Payment:
        """The payment, if it is this caller's. Raises Refused ``not_found``: not there and not yours look the same."""
        p = await self.store.get(payment_id) if ids.is_payment_id(payment_id) else None
        if p is None or (p.merchant_id, p.mode) != (scope.merchant_id, scope.mode):
            raise Refused("not_found", f"There is no payment {payment_id[:40]} in {scope.mode} mode.")
        return p

    async def details(self, p: Payment) -> Details:
        """The customer data beside the chain; empty when it was erased."""
        found = await self.store.bodies([(p.id, p.details_sha256)])
        raw = found.get((p.id, p.details_sha256))
        return msgspec.json.decode(raw, type=Details) if raw else Details()

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
        self, p: Payment, events: list[Event], bodies: Mapping[str, bytes], refs: tuple[Ref, ...], actor: str = "worker"
    ) -> tuple[Payment, Change]:
        now = self.clock.now_us()
        after, entries = extend(p, events, at_us=now, actor=actor)
        due_us = plan(after, now, self._facts(after)).at_us
        return after, Change(payment=after, entries=tuple(entries), due_us=due_us, bodies=bodies, refs=refs)

    async def _write(
        self, p: Payment, events: list[Event], *, refs: tuple[Ref, ...] = (), actor: str = "worker"
    ) -> Payment | None:
        """One conditional write; None when another writer was first, or when it is unclear (re-read before acting)."""
        after, change = self._change(p, events, {}, refs, actor)
        if not isinstance(await self.store.commit(change, p.version), Committed):
            return None
        if after.status != p.status:
            log.info("status", payment_id=p.id, before=p.status, after=after.status, reason=after.reason)
        return after
