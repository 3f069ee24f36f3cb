"""How a request becomes a payment or an operation: one atomic write with its idempotency key. A known key answers with what it
stands for, as it is now; the same key with another request is refused."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from .adapter import NextAction
from .core import idempotency, ids, news
from .core.apply import extend
from .core.errors import FieldError, PayonceError, Refused, StoreUnavailable
from .core.events import Accepted, Asked, digest
from .core.idempotency import Details, NewPayment
from .core.operations import NewOperation, asking
from .core.outcome import RequiresAction
from .core.payment import LateSuccess, Mode, Operation, Payment
from .core.verdict import acting_until_us, evidence
from .dispatch import Account, operation_ref
from .outside import Outside
from .ports import Change, Clock, Committed, Conflict, Entropy, KeyRow, Scope, Store, Unclear, Wake

RACES_MAX = 40  # lost to other writers in a row
PAUSE_S = 0.002  # after a lost race, times the races lost
ACTION_S = 1800  # how long a customer may act at a provider, where nothing else is configured or asked


class Policy(Struct, frozen=True, kw_only=True):
    """What a payment is accepted with; written into its first event."""

    attempts_max: int = 3
    late_success: LateSuccess = "refund"
    action_s: int = ACTION_S


class Listeners(Protocol):
    """Who wants to hear of payments: ``outbound.endpoints``."""

    def any(self, merchant_id: str, mode: Mode) -> bool:
        """Somebody may want the news of this merchant's payments; True as well while that is not known."""

    async def refresh(self) -> None:
        """Look again who there is. Raises PayonceError."""


class Nobody:
    """No endpoints here."""

    def any(self, merchant_id: str, mode: Mode) -> bool:
        del merchant_id, mode
        return False

    async def refresh(self) -> None:
        return


class Receipt(Struct, frozen=True):
    """The answer to ``submit``: the payment as it is now, and the operation that was asked (the charge is the first one);
    ``replayed`` when the key was known."""

    payment: Payment
    details: Details
    replayed: bool
    operation: Operation


class Intake(Struct, frozen=True):
    """See the module docstring."""

    store: Store
    clock: Clock
    entropy: Entropy
    wake: Wake
    accounts: Mapping[str, Account]
    outside: Outside
    policy: Policy
    listeners: Listeners

    async def payment(self, scope: Scope, request: NewPayment, key: str, *, actor: str, request_id: str) -> Receipt:
        """Accept a payment: one atomic write of payment, key and due time."""
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
            action_s=request.action_s or self.policy.action_s,
        )
        payment, entries = extend(None, [accepted], at_us=now, actor=actor, request_id=request_id)
        row = _row(key, "charge", payment_id, request)
        change = Change(payment=payment, entries=tuple(entries), due_us=now, key=row, bodies={accepted.details_sha256: details})
        match await self.store.commit(change, 0):
            case Committed():
                pass
            case Conflict(key=KeyRow() as taken) if taken.payment_id != payment_id:
                return await self._repeat(taken, request)
            case _:  # unclear, or a driver asked twice and met itself: ask the store whose the key is now
                with _unclear("payment"):
                    known = await self.store.find_key(scope, key)
                if known is None:
                    raise Refused("retry_same_key", "It is not known whether the payment was written.")
                if known.payment_id != payment_id:
                    return await self._repeat(known, request)
        self.wake.send(payment_id)
        return Receipt(payment, request.details, replayed=False, operation=payment.operations[0])

    async def operation(
        self, scope: Scope, request: NewOperation, key: str, *, actor: str, request_id: str, note: str
    ) -> Receipt:
        """Append an operation: one conditional write of event, key and due time. What it needs (a status, what is left to give
        back) is a condition of that write: when somebody else was first, it is looked at again."""
        with suppress(PayonceError):  # then everybody may want to hear of it
            await self.listeners.refresh()
        for race in range(RACES_MAX):
            p = await find(self.store, scope, request.payment_id)
            if known := await self.store.find_key(scope, key):
                return await self._repeat(known, request)
            now = self.clock.now_us()
            details = await details_of(self.store, p)  # before the write: after it nothing may fail any more
            asked = self.asking(p, request, key, now, note)
            after, entries = extend(p, [asked], at_us=now, actor=actor, request_id=request_id)
            told = news.of_change(p, after, entries)
            change = Change(
                payment=after,
                entries=tuple(entries),
                due_us=now,
                key=_row(key, request.kind, p.id, request),
                refs=(operation_ref(asked),),
                news=told,
                notify=bool(told) and self.listeners.any(p.merchant_id, p.mode),
                was=p.status,
            )
            match await self.store.commit(change, p.version):
                case Committed():
                    self.wake.send(p.id)
                    if change.notify:
                        self.wake.send(ids.notice_id(p.id))
                    return Receipt(after, details, replayed=False, operation=after.operations[-1])
                case Unclear():
                    with _unclear(request.kind):
                        if known := await self.store.find_key(scope, key):
                            return replace(await self._repeat(known, request), replayed=False)
                    raise Refused("retry_same_key", f"It is not known whether the {request.kind} was written.")
                case Conflict():  # one of those who race is through: wait a little for the next turn
                    await self.clock.sleep(PAUSE_S * (race + 1))
        busy = f"Others write to {request.payment_id} all the time: the {request.kind} was not written."
        raise Refused("retry_same_key", busy)

    def asking(self, p: Payment, request: NewOperation, key: str, now_us: int, note: str = "") -> Asked:
        """The operation as it goes on record. Raises Refused, as ``core.operations.asking``; also where its account is away."""
        if p.winner is not None and self.outside.lost(p, p.attempts[p.winner]):
            away = f"Its account {p.attempts[p.winner].account} is not in this configuration, or is another one now."
            raise Refused("operation_not_possible", f"{away} Restore the account, then ask again.")
        account = self._winner(p)
        partial = account is not None and account.adapter.CAPABILITIES.partial_capture
        asked = asking(p, request, key, now_us, partial=partial, note=note)
        self._require_step(p, request)
        return asked

    def _require_step(self, p: Payment, request: NewOperation) -> None:
        """What the provider could only refuse is refused here: a part that is no multiple of what it takes."""
        account, part = self._winner(p), request.amount_minor
        step = account.adapter.CAPABILITIES.multiples.get(p.currency, 1) if account else 1
        if account and part and part % step:
            rule = f"must be a multiple of {step}: {account.name} takes {p.currency} in no smaller steps"
            raise Refused("validation_failed", f"amount {rule}.", (FieldError("amount", rule),))

    def _winner(self, p: Payment) -> Account | None:
        return self.accounts.get(p.attempts[p.winner].account) if p.winner is not None else None

    async def _repeat(self, known: KeyRow, request: NewPayment | NewOperation) -> Receipt:
        if differs := idempotency.differing(known.request, request, charge=known.operation == "charge"):
            fields = tuple(FieldError(name, "differs from the first request with this key") for name in differs)
            raise Refused("idempotency_key_reused", f"The request differs from the first one in: {', '.join(differs)}.", fields)
        p = await self.store.get(known.payment_id)
        if p is None:
            raise Refused("request_in_progress", "The payment of this key is not visible yet.")
        asked = (o for o in p.operations if o.idempotency_key == known.key)
        details = request.details if isinstance(request, NewPayment) else await details_of(self.store, p)
        return Receipt(p, details, replayed=True, operation=next(asked, p.operations[0]))


@contextmanager
def _unclear(what: str) -> Iterator[None]:
    """After a write of which nobody knows: a store that cannot be read does not mean that nothing was written."""
    try:
        yield
    except StoreUnavailable as error:
        raise Refused("retry_same_key", f"It is not known whether the {what} was written.") from error


def _row(key: str, operation: str, payment_id: str, request: NewPayment | NewOperation) -> KeyRow:
    return KeyRow(
        key=key,
        operation=operation,
        payment_id=payment_id,
        request_v=idempotency.REQUEST_V,
        request=idempotency.encode(request),
    )


async def find(store: Store, scope: Scope, payment_id: str) -> Payment:
    """The payment, if it is this caller's. Raises Refused ``not_found``: not there and not yours look the same."""
    p = await store.get(payment_id) if ids.is_payment_id(payment_id) else None
    if p is None or (p.merchant_id, p.mode) != (scope.merchant_id, scope.mode):
        raise Refused("not_found", f"There is no payment {payment_id[:40]} in {scope.mode} mode.")
    return p


class Bodies(Protocol):
    """What lies beside the chain, of a store that may be read only."""

    async def bodies(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]: ...


async def action_of(store: Bodies, p: Payment, now_us: int) -> tuple[NextAction, int] | None:
    """What the customer has to do now, and until when (microseconds; 0 = nobody knows). None: nothing, or too late."""
    a = p.attempts[-1] if p.attempts and p.status == "REQUIRES_ACTION" and not p.cancel_asked else None
    until = acting_until_us(a) if a else None
    if a is None or until is None or (until and until <= now_us):
        return None
    asked = [o.action_sha256 for _, o in evidence(a) if isinstance(o, RequiresAction) and o.action_sha256]
    raw = (await store.bodies([(p.id, asked[-1])])).get((p.id, asked[-1])) if asked else None
    return (msgspec.json.decode(raw, type=NextAction), until) if raw else None


async def details_of(store: Bodies, p: Payment) -> Details:
    """The customer data beside the chain; empty when it was erased."""
    found = await store.bodies([(p.id, p.details_sha256)])
    raw = found.get((p.id, p.details_sha256))
    return msgspec.json.decode(raw, type=Details) if raw else Details()
