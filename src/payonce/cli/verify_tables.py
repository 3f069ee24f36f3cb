"""What ``payonce verify`` asks of DynamoDB's tables. They have no snapshot: a payment that is being worked on meanwhile is read
again until its parts belong together."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, cast

from msgspec import Struct

from payonce.core.errors import InvariantViolated, NewerSchema
from payonce.core.events import Entry, digest
from payonce.core.payment import Payment
from payonce.dispatch import refs
from payonce.ports import KeyRow, Scope
from payonce.stores.dynamodb import DynamoStore
from payonce.stores.dynamodb.asking import Item, get_item, pages
from payonce.stores.dynamodb.items import due_of, key_key, list_scope, listed_at, row_key
from payonce.stores.dynamodb.tables import shard_names, spread
from payonce.stores.rows import needs_eyes, provider_of

from .audit import names_beside
from .reading import HISTORY_PAGE, Books

AT_ONCE: Final = 16  # payments read at the same time
READS_MAX: Final = 5  # of one payment that others write meanwhile
SAID_MAX: Final = 100  # keys of no payment that are named; the rest is only counted


class Gathered(Struct, frozen=True, kw_only=True):
    """See ``audit.Held``. ``elsewhere``: what should lead to the payment and does not."""

    id: str
    payment: Payment | None = None
    differing: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    key: KeyRow | None = None
    named: frozenset[str] = frozenset()
    bodies: dict[str, str] = {}
    due_us: int | None = None
    trouble: str = ""
    elsewhere: tuple[str, ...] = ()


class Stray(Struct, frozen=True):
    """See ``audit.Stray``."""

    id: str
    says: str


class TableAudit:
    """See ``audit.Audit``."""

    def __init__(self, book: Books) -> None:
        if book.kept.aws is None:
            raise TypeError("the books are not kept at AWS")
        self._aws, self._clock = book.kept.aws, book.clock
        self._store = cast("DynamoStore", book.store)
        self._tables = self._store.tables
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def damage(self) -> tuple[str, ...]:
        wrong = await self._store.check()
        return () if wrong == "ok" else (wrong,)

    async def audit_ids(self, after: str, limit: int) -> tuple[str, ...]:
        return await self._store.ids(after, limit)

    async def held(self, ids: Sequence[str]) -> tuple[Gathered, ...]:
        return tuple(await asyncio.gather(*(self._in_turn(id) for id in ids)))

    async def strays(self) -> tuple[Stray, ...]:
        """Idempotency keys that lead to no payment, or to one that has another key."""
        found: list[Stray] = []
        more = 0
        scan = {"TableName": self._tables.idempotency, "ConsistentRead": True}
        async for page in pages(self._aws, self._clock, "Scan", scan):
            for item in page:
                if says := await self._stray(item):
                    more += len(found) >= SAID_MAX
                    found += [Stray(item["paymentId"]["S"], says)] if len(found) < SAID_MAX else []
        return (*found, *([Stray("", f"idempotency keys that lead nowhere: {more} more")] if more else []))

    async def _stray(self, item: Item) -> str:
        name = item["scopedKey"]["S"]
        try:
            p = await self._store.get(item["paymentId"]["S"])
        except (NewerSchema, InvariantViolated):
            return ""  # it shows at its id
        if p is None:
            return f"an idempotency key of no payment: {name}"
        own = key_key(Scope(p.merchant_id, p.mode), p.idempotency_key)["scopedKey"]["S"]
        if item["operation"]["S"] == "charge" and name != own:
            return f"a second idempotency key of a charge: {name}"
        return ""

    # --- one payment ------------------------------------------------------------------------------------------------

    async def _in_turn(self, id: str) -> Gathered:
        async with self._turn:
            entries: tuple[Entry, ...] = ()
            try:
                for _ in range(READS_MAX):
                    entries = await self._entries(id)
                    item = await self._row(id)
                    p = await self._store.get(id) if item is not None else None
                    if p is None or item is None:
                        return Gathered(id=id, entries=entries)
                    if p.version == len(entries) == int(item["version"]["N"]):
                        return await self._gathered(p, entries, item)
            except NewerSchema as error:
                return Gathered(id=id, entries=entries, trouble=f"written by a newer payonce, not checked: {error}")
            except (InvariantViolated, KeyError, ValueError) as error:
                return Gathered(id=id, entries=entries, trouble=f"cannot be read: {error}")
            return Gathered(id=id, entries=entries, trouble="it was written all the time and not checked; run it again")

    async def _row(self, id: str) -> Item | None:
        return await get_item(self._aws, self._clock, self._tables.transactions, row_key(id))

    async def _entries(self, id: str) -> tuple[Entry, ...]:
        entries: list[Entry] = []
        while True:
            page = await self._store.history(id, after_seq=len(entries), limit=HISTORY_PAGE)
            entries += page
            if len(page) < HISTORY_PAGE:
                return tuple(entries)

    async def _gathered(self, p: Payment, entries: tuple[Entry, ...], item: Item) -> Gathered:
        bodies = await self._store.bodies([(p.id, name) for name, _ in dict(names_beside(p)).items()])
        named, lost = await self._references(p)
        return Gathered(
            id=p.id,
            payment=p,
            differing=tuple(self._differing(p, item)),
            entries=entries,
            key=await self._store.find_key(Scope(p.merchant_id, p.mode), p.idempotency_key),
            named=named,
            bodies={name: digest(raw) for (_, name), raw in bodies.items()},
            due_us=due_of(item),
            elsewhere=lost,
        )

    async def _references(self, p: Payment) -> tuple[frozenset[str], tuple[str, ...]]:
        """Our references that lead to the payment, and what is wrong with those of providers."""
        ours = [(a.account, a.reference) for a in p.attempts]
        named = [value for account, value in ours if p.id in await self._store.find_ref(value, account)]
        steps = [(part, step.outcome) for part in p.parts() for step in part.steps if step.outcome is not None]
        theirs = dict.fromkeys(ref for part, outcome in steps for ref in refs(part, outcome))
        lost = [ref for ref in theirs if p.id not in await self._store.find_ref(ref.value, ref.account)]
        return frozenset(named), tuple(f"the reference {r.value} at {r.account} does not lead to it" for r in lost)

    def _differing(self, p: Payment, item: Item) -> list[str]:
        """Columns, from which AWS makes the indexes, that say something else than the payment."""
        scope = list_scope(Scope(p.merchant_id, p.mode))
        wanted: dict[str, Any] = {
            "head": p.head,
            "status": p.status,
            "currency": p.currency,
            "client": p.client_id,
            "eyes": scope if needs_eyes(p) else "",
            "listed": listed_at(p.created_us, p.id),
            "listKey": f"{scope}#{spread(p.id, self._tables.shards):02d}",
        }
        here = {name: _value(item, name) for name in wanted} | {"head": _value(item, "head", b"").hex()}
        differing = [name for name, value in wanted.items() if here[name] != value and name != "listKey"]
        # Fewer shards were configured when it was written: it is found in any.
        differing += [] if here["listKey"] in shard_names(scope, self._tables.shards) else ["listKey"]
        if "provider" in item and _value(item, "provider") != provider_of(p):
            differing.append("provider")
        due, at = due_of(item), int(item["dueAt"]["N"]) if "dueAt" in item else None
        if (due is None) != (at is None) or (due is not None and at is not None and at > due):
            differing.append("dueAt")
        if due is not None and _value(item, "dueShard") not in shard_names("payment", self._tables.shards):
            differing.append("dueShard")
        return differing


def _value(item: Item, name: str, missing: Any = "") -> Any:
    """Of a text or binary attribute."""
    return next(iter(item[name].values())) if name in item else missing
