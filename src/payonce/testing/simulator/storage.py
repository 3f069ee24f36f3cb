"""The store and the registry as one process reaches them: over the same rows as everybody, through its own faults."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from payonce.core.errors import NewerSchema, StoreUnavailable
from payonce.core.events import Entry, Planned
from payonce.core.payment import Payment, StepKind, StoredRequest
from payonce.mail import Inbox, Waiting, Webhook, WebhookPage, WebhookState
from payonce.ports import Change, Committed, Conflict, Due, FeedPage, Filters, KeyRow, Page, Record, Registry, Scope, Unclear

from .outbox import SimOutbox

if TYPE_CHECKING:
    from .processes import Process

T = TypeVar("T")


class Claim(Struct, frozen=True):
    """The step that this task has just tried to put on record: what it may send if it is there."""

    payment_id: str
    seq: int
    kind: StepKind
    request: StoredRequest | None
    at_us: int


PAUSE_MAX_US = 62_000_000  # of a breaker: a minute is the longest that is promised
CLAIM: ContextVar[Claim | None] = ContextVar("claim", default=None)


class SimStore:
    """See ``payonce.ports.Store``. ``outbox`` is reached through it."""

    OUTBOX = SimOutbox

    def __init__(self, process: "Process", inner: Callable[[], Any]) -> None:
        self._process, self._inner = process, inner  # a function: a restore puts another store in its place
        self.outbox = self.OUTBOX(process, lambda: inner().outbox)

    async def _ask(self, point: str, do: Callable[[Any], Awaitable[T]], payment_id: str = "") -> T:
        p = self._process
        word = await p.arrive(point, payment_id)
        if word == "error_before" or p.world.store_down:
            raise StoreUnavailable("simulated: the store does not answer")
        result = await do(self._inner())
        if word == "crash_after":
            await p.die()
        return result

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        p, world, pid = self._process, self._process.world, change.payment.id
        self.claims(change)
        word = await p.arrive("commit", pid, change.entries[-1].envelope.kind)
        if word == "error_before" or world.store_down:
            raise StoreUnavailable("simulated: nothing was written")
        if word == "later":
            world.after(world.dice.choice((1, 1, 30, 600)) * 1_000_000, lambda: self._late(change, expected_version))
            return Unclear()
        if word == "vanish":
            return Unclear()
        result = await self._write(change, expected_version)
        if word == "duplicate":  # a driver that lost the first answer asks again, and hears of the conflict with itself
            result = await self._write(change, expected_version)
        if word == "crash_after":
            await p.die()
        if word == "error_after":
            result = Unclear()
        await p.pause()
        return result

    def claims(self, change: Change) -> None:
        """If the change claims a step: also when it is unclear, since the caller may find it in the store and send."""
        event = change.entries[-1].envelope.data
        self._process.world.subscribers.decided(change)
        if isinstance(event, Planned):
            step = event.step
            CLAIM.set(Claim(change.payment.id, step.seq, step.kind, step.request, self._process.world.now_us()))

    async def _write(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        p, world = self._process, self._process.world
        result: Committed | Conflict | Unclear = await self._inner().commit(change, expected_version)
        if isinstance(result, Committed):
            world.committed(p, change)
        return result

    def _late(self, change: Change, expected_version: int) -> None:
        """What was reported as unclear is done after all."""
        self._process.world.spawn(self._write(change, expected_version))

    async def get(self, payment_id: str) -> Payment | None:
        found: Payment | None = await self._ask("get", lambda s: s.get(payment_id), payment_id)
        if self._process.world.written_by.get(payment_id, 0) > self._process.version:
            raise NewerSchema("simulated: a newer version wrote this row")
        return found

    async def find_key(self, scope: Scope, key: str) -> KeyRow | None:
        found: KeyRow | None = await self._ask("key", lambda s: s.find_key(scope, key))
        return found

    async def find_ref(self, value: str, account: str | None = None) -> tuple[str, ...]:
        found: tuple[str, ...] = await self._ask("key", lambda s: s.find_ref(value, account))
        return found

    async def bodies(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        found: dict[tuple[str, str], bytes] = await self._ask("bodies", lambda s: s.bodies(keys), keys[0][0] if keys else "")
        return found

    async def history(self, payment_id: str, after_seq: int = 0, limit: int = 1000) -> tuple[Entry, ...]:
        found: tuple[Entry, ...] = await self._ask("get", lambda s: s.history(payment_id, after_seq, limit), payment_id)
        return found

    async def list(self, scope: Scope, filters: Filters, limit: int, cursor: str | None = None) -> Page:
        found: Page = await self._ask("get", lambda s: s.list(scope, filters, limit, cursor))
        return found

    async def feed(self, scope: Scope, limit: int, cursor: str | None = None, since_us: int = 0) -> FeedPage:
        found: FeedPage = await self._ask("get", lambda s: s.feed(scope, limit, cursor, since_us))
        return found

    async def due(self, before_us: int, limit: int) -> tuple[Due, ...]:
        found: tuple[Due, ...] = await self._ask("due", lambda s: s.due(before_us, limit))
        return found

    async def next_due(self) -> int | None:
        found: int | None = await self._ask("due", lambda s: s.next_due())
        return found

    async def defer(self, payment_id: str, version: int, due_us: int | None) -> bool:
        done: bool = await self._ask("defer", lambda s: s.defer(payment_id, version, due_us), payment_id)
        return done

    async def counts(self) -> Mapping[str, int]:
        found: Mapping[str, int] = await self._ask("get", lambda s: s.counts())
        return found

    async def close(self) -> None: ...


class SimInbox:
    """See ``payonce.mail.Inbox``. Looking for what is due there has no fault of its own: it is asked whenever the store is."""

    def __init__(self, process: "Process", inner: Callable[[], Inbox]) -> None:
        self._process, self._inner = process, inner

    async def _ask(self, do: Callable[[Inbox], Awaitable[T]], due_us: int | None = None) -> T:
        p = self._process
        word = await p.arrive("inbox")
        if word == "error_before" or p.world.store_down:
            raise StoreUnavailable("simulated: the inbox does not answer")
        result = await do(self._inner())
        if due_us is not None:
            p.world.due_at(due_us)
        if word == "crash_after":
            await p.die()
        if word == "error_after":
            raise StoreUnavailable("simulated: done, and reported as failed")
        await p.pause()
        return result

    async def put(self, webhook: Webhook) -> bool:
        return await self._ask(lambda i: i.put(webhook), webhook.due_us)

    async def get(self, id: str) -> Webhook | None:
        return await self._ask(lambda i: i.get(id))

    async def list(
        self, limit: int, *, state: WebhookState | None = None, account: str | None = None, cursor: str | None = None
    ) -> WebhookPage:
        return await self._ask(lambda i: i.list(limit, state=state, account=account, cursor=cursor))

    async def due(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        if self._process.world.store_down:
            raise StoreUnavailable("simulated: the inbox does not answer")
        return await self._inner().due(before_us, limit)

    async def settle(self, webhook: Webhook) -> bool:
        return await self._ask(lambda i: i.settle(webhook), webhook.due_us)

    async def forget(self, before_us: int, limit: int) -> int:
        if self._process.world.store_down:
            raise StoreUnavailable("simulated: the inbox does not answer")
        return await self._inner().forget(before_us, limit)

    async def counts(self) -> Mapping[str, int]:
        return await self._ask(lambda i: i.counts())


class SimRegistry:
    """See ``payonce.ports.Registry``."""

    def __init__(self, process: "Process", inner: Callable[[], Registry]) -> None:
        self._process, self._inner = process, inner

    async def all(self, kind: str) -> tuple[Record, ...]:
        word = await self._arrive()
        found = await self._inner().all(kind)
        if word == "crash_after":
            await self._process.die()
        if word == "error_after":
            raise StoreUnavailable("simulated: read, and the answer is lost")
        return found

    async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
        word = await self._arrive()
        if kind == "breaker" and value and (pause_us := json.loads(value)["until_us"] - self._process.now_us()) > PAUSE_MAX_US:
            self._process.world.violate(f"the breaker of {name} is open for {pause_us / 1e6:.0f} s at once")
        if word == "race":
            return False
        done = await self._inner().put(kind, name, value, expected_version)
        if done:
            self._process.world.subscribers.registered(kind, name, value)
        if word == "crash_after":
            await self._process.die()
        if word == "error_after":
            raise StoreUnavailable("simulated: written, and reported as failed")
        return done

    async def _arrive(self) -> str:
        word = await self._process.arrive("registry")
        if word == "error_before" or self._process.world.store_down:
            raise StoreUnavailable("simulated: the registry does not answer")
        return word
