"""What tests of stores need: how to open one, and real changes, built by the core from events."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from payonce.core import ids, news
from payonce.core.apply import extend
from payonce.core.events import Accepted, Event, Judged, Observed, Opened, Planned, digest
from payonce.core.outcome import AnyOutcome, Mismatch, Succeeded
from payonce.core.payment import Mode, Payment, Step, Terms
from payonce.mail import Outbox
from payonce.ports import Change, Committed, Conflict, KeyRow, Ref, Store

START_US = 1_750_000_000_000_000  # some moment in 2025
SECOND_US = 1_000_000


def payment_id(number: int) -> str:
    """The ``number``-th id, in the order of ids."""
    return "pay_" + ids.encode(number)


def grow(
    p: Payment | None,
    *events: Event,
    at_us: int = START_US,
    due_us: int | None = None,
    key: KeyRow | None = None,
    bodies: Mapping[str, bytes] = {},
    refs: tuple[Ref, ...] = (),
    actor: str = "test",
    notify: bool = False,
) -> Change:
    """The change that appends ``events`` to ``p``, with the news in them; ``notify``: somebody is subscribed, if there is news.
    Raises InvariantViolated for an illegal one."""
    after, entries = extend(p, list(events), at_us=at_us, actor=actor)
    told = news.of_change(p, after, entries)
    return Change(
        payment=after,
        entries=tuple(entries),
        due_us=due_us,
        key=key,
        bodies=bodies,
        refs=refs,
        news=told,
        notify=notify and bool(told),
        was=p.status if p is not None else None,
    )


def newsworthy(change: Change, *, notify: bool = True) -> Change:
    """The same change as if each of its events held news: what a store makes of that does not depend on what they are."""
    return replace(change, news=tuple(e.envelope.seq for e in change.entries), notify=notify)


def key_row(payment: str, key: str, request: bytes = b"{}") -> KeyRow:
    return KeyRow(key=key, operation="charge", payment_id=payment, request_v=1, request=request)


def accept(
    number: int,
    *,
    at_us: int = START_US,
    due_us: int | None = START_US,
    merchant_id: str = "mer_default",
    mode: Mode = "test",
    amount_minor: int = 1_000,
    currency: str = "EUR",
    client_id: str = "",
    key: str = "",
    bodies: Mapping[str, bytes] = {},
    refs: tuple[Ref, ...] = (),
    actor: str = "test",
    details: bytes = b"",
) -> Change:
    """The creation of payment ``number``: commit it at expected version 0. ``details``: customer data, as JSON."""
    id = payment_id(number)
    event = Accepted(
        payment_id=id,
        merchant_id=merchant_id,
        mode=mode,
        operation_id=ids.operation_id(id, 1, at_us),
        amount_minor=amount_minor,
        currency=currency,
        idempotency_key=key,
        details_sha256=digest(details) if details else "",
        late_success="refund",
        attempts_max=3,
        client_id=client_id,
    )
    row = key_row(id, key) if key else None
    bodies = {**bodies, event.details_sha256: details} if details else bodies
    return grow(None, event, at_us=at_us, due_us=due_us, key=row, bodies=bodies, refs=refs, actor=actor)


def fire_event(p: Payment, account: str = "mock_a", at_us: int = START_US) -> Planned:
    """A fire in a new attempt at ``account``."""
    n, seq = len(p.attempts), p.version + 1
    step = Step(
        seq=seq,
        kind="fire",
        owner="worker",
        at_us=at_us,
        send_by_us=at_us + SECOND_US,
        lease_until_us=at_us + 2 * SECOND_US,
        key=ids.step_key(p.id, 1, n, "fire"),
    )
    opened = Opened(
        n=n,
        account=account,
        adapter="mock",
        base_url="http://sandbox.invalid",
        credential_id="none",
        reference=ids.reference(p.id, 1, n),
        terms=Terms(keyed=True),
    )
    return Planned(step=step, attempt=n, opens=opened)


def answer_event(p: Payment, outcome: AnyOutcome) -> Observed:
    """``outcome`` as the answer to the youngest step."""
    return Observed(about=p.attempts[-1].steps[-1].seq, outcome=outcome)


def success_event(p: Payment) -> Observed:
    a = p.attempts[-1]
    paid = Succeeded(ref="ch_1", reference=a.reference, amount_minor=p.amount_minor, currency=p.currency, mode=p.mode)
    return answer_event(p, paid)


def mismatch_event(p: Payment) -> Observed:
    """Ends in IN_DOUBT."""
    a = p.attempts[-1]
    other = Mismatch(ref="ch_1", reference=a.reference, amount_minor=1, currency=p.currency, mode=p.mode, differs=("amount",))
    return answer_event(p, other)


def note_event(reason: str = "look") -> Judged:
    """The smallest event that every payment takes: it sets ``attention``."""
    return Judged(what="attention", reason=reason)


class Told(Store, Protocol):
    """A store with what merchants are still to be told."""

    @property
    def outbox(self) -> Outbox: ...


class OpensTold:
    """Say in ``open`` how to make a store with an outbox; ``use`` runs a test with two connections, as two processes have
    them."""

    async def open(self, folder: Path, stack: AsyncExitStack) -> Told:
        """A connection to the store in ``folder``, empty at first; opened again it shows the same rows. Closed by ``stack``."""
        raise NotImplementedError

    async def settle_index(self) -> None:
        """Whatever was committed until now shows in indexes that lag, afterwards: let time pass, or wait for a condition."""

    def use(self, folder: Path, test: Callable[[Told, Told], Awaitable[None]]) -> None:
        async def run() -> None:
            async with AsyncExitStack() as stack:
                await test(await self.open(folder, stack), await self.open(folder, stack))

        asyncio.run(run())


class OpensStores:
    """Say in ``open`` how to make a store; ``use`` runs a test with it and closes it."""

    async def open(self, folder: Path) -> Store:
        """An empty store; it may keep files in ``folder``."""
        raise NotImplementedError

    def use(self, folder: Path, test: Callable[[Store], Awaitable[None]]) -> None:
        async def run() -> None:
            store = await self.open(folder)
            try:
                await test(store)
            finally:
                await store.close()

        asyncio.run(run())


async def put(store: Store, change: Change) -> Payment:
    """Commit a change that nothing stands against; the row it makes."""
    expected = change.payment.version - len(change.entries)
    assert await store.commit(change, expected) == Committed()
    return change.payment


def one_committed(results: Sequence[object]) -> int:
    won = [n for n, result in enumerate(results) if isinstance(result, Committed)]
    assert len(won) == 1
    assert all(isinstance(r, Conflict) for n, r in enumerate(results) if n != won[0])
    return won[0]
