"""The store alone, for commands that only look: no provider, no secret and no server is needed for it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec
from msgspec import Struct

from payonce.bootstrap import SystemClock, outside_of
from payonce.config import Settings
from payonce.core import ids
from payonce.core.due import Block, Next
from payonce.core.events import Entry
from payonce.core.idempotency import Details
from payonce.core.payment import Payment
from payonce.core.plan import plan
from payonce.health import Health
from payonce.intake import action_of
from payonce.merchants import DEFAULT_MERCHANT
from payonce.outside import Outside
from payonce.ports import Clock, Scope
from payonce.shown.views import Action
from payonce.storage import Kept, ReadStore, Shown, opened, opened_to_read

from . import NOT_FOUND, USAGE
from .options import Exit

HISTORY_PAGE = 1000


class Opened(Protocol):
    """What finding a payment needs: the books or a whole app."""

    @property
    def settings(self) -> Settings: ...
    @property
    def store(self) -> ReadStore: ...
    @property
    def scope(self) -> Scope: ...


class Books(Struct, frozen=True):
    """The store, whose rows, the time, and what planning knows from outside."""

    settings: Settings
    store: ReadStore
    scope: Scope
    clock: Clock
    outside: Outside
    blocked: Mapping[str, Block]
    held: bool  # nothing may be fired: `serve --hold`
    kept: Shown

    async def details(self, p: Payment) -> Details:
        """The customer data beside the chain; empty when it was erased."""
        raw = (await self.store.bodies([(p.id, p.details_sha256)])).get((p.id, p.details_sha256))
        return msgspec.json.decode(raw, type=Details) if raw else Details()

    async def action(self, p: Payment) -> Action | None:
        """What the customer has to do now, and until when."""
        return await action_of(self.store, p, self.clock.now_us())

    def next(self, p: Payment, at_us: int | None = None, details: Details | None = None) -> Next:
        """What is due for it at a time (default: now), with the accounts of the settings; ``details`` to route it first."""
        facts = self.outside.facts(p, details, self.blocked, hold=self.held)
        return plan(p, self.clock.now_us() if at_us is None else at_us, facts)


@asynccontextmanager
async def books(settings: Settings) -> AsyncIterator[Books]:
    """Open the store that is there, to read only: a read-only backup does. Raises what ``opened_to_read`` raises."""
    require_store(settings)
    clock = SystemClock()
    async with opened_to_read(settings, clock) as shown:
        health = Health(shown.store.registry, clock)
        await health.refresh()
        blocked, held = health.blocked(clock.now_us()), await shown.hold.on()
        scope = Scope(DEFAULT_MERCHANT, settings.mode)
        yield Books(settings, shown.store, scope, clock, outside_of(settings), blocked, held, shown)


@asynccontextmanager
async def changing(settings: Settings) -> AsyncIterator[Kept]:
    """Open the store that is there, to write, and nothing else: no secret and no provider is needed."""
    require_store(settings)
    async with opened(settings, SystemClock()) as kept:
        yield kept


def named_by(settings: Settings) -> str:
    """The option that leads a command to the same store, with a space before it; the tables are named by settings alone."""
    return "" if settings.on_dynamodb else f" --data-dir {settings.data_dir}"


def require_store(settings: Settings) -> None:
    """A mistyped folder must not look like an empty store. Tables are looked at when they are opened."""
    if not settings.on_dynamodb and not settings.store_path.is_file():
        raise Exit(
            USAGE,
            f"payonce: there is no store at {settings.store_path}. No money is concerned.\n"
            "Name its folder with --data-dir or PAYONCE_DATA_DIR; `payonce serve` makes a new one.",
        )


async def history(where: Opened, payment_id: str) -> list[Entry]:
    """The whole history, page by page."""
    entries: list[Entry] = []
    while True:
        after = entries[-1].envelope.seq if entries else 0
        page = await where.store.history(payment_id, after_seq=after, limit=HISTORY_PAGE)
        entries += page
        if len(page) < HISTORY_PAGE:
            return entries


async def found(where: Opened, name: str) -> Payment:
    """By payment id, our reference, a provider's reference, or an idempotency key. Ends the command when it is none
    or not unique."""
    name = name.strip()
    for candidate in await _candidates(where, name):
        p = await where.store.get(candidate)
        if p is not None and (p.merchant_id, p.mode) == (where.scope.merchant_id, where.scope.mode):
            return p
    raise Exit(
        NOT_FOUND,
        f"payonce: nothing is known under {name[:80]!r} in {where.scope.mode} mode in {where.settings.kept_at}.\n"
        f"Check the id and {'the tables' if where.settings.on_dynamodb else '--data-dir'}; `payonce list` shows what is there.",
    )


async def _candidates(where: Opened, name: str) -> tuple[str, ...]:
    if ids.is_payment_id(name):
        return (name,)
    if of_reference := ids.payment_of(name):
        return (of_reference,)
    known = await where.store.find_ref(name)
    if len(known) > 1:
        raise Exit(USAGE, f"payonce: {name[:80]!r} belongs to several payments: {', '.join(known)}. Name one of them.")
    if known:
        return known
    row = await where.store.find_key(where.scope, name)
    return (row.payment_id,) if row else ()
