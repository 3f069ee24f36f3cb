"""The ports of one process in a world on DynamoDB: the real store, registry and inbox, without faults of their own. What the
store says is held against the books."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from payonce.core.errors import StoreUnavailable
from payonce.mail import Inbox
from payonce.ports import Change, Committed, Conflict, Unclear

from .cloud_books import Asked, Deferral, place_of
from .outbox import CloudOutbox
from .storage import SimInbox, SimRegistry, SimStore

T = TypeVar("T")


class CloudStore(SimStore):
    """The real store, without faults of its own; what it says is held against the books."""

    OUTBOX = CloudOutbox

    async def _ask(self, point: str, do: Callable[[Any], Awaitable[T]], payment_id: str = "") -> T:  # noqa: ARG002
        return await do(self._inner())

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        p, world, payment = self._process, self._process.world, change.payment
        self.claims(change)
        world.note(p.machine.name, payment.id, f"commit {change.entries[-1].envelope.kind}")
        cloud = world.cloud_of()
        asked = Asked(p, change, [])
        cloud.books.asked.setdefault(place_of(change), []).append(asked)
        try:
            result: Committed | Conflict | Unclear = await self._inner().commit(change, expected_version)
        except StoreUnavailable as error:
            self._said(asked, f"StoreUnavailable: {error}")
            raise
        history = cloud.books.history.get(payment.id, [])
        if isinstance(result, Committed) and not any(e.hash == payment.head for e in history):
            world.violate(f"I2: said to be committed, and not written: version {payment.version}", payment.id)
        if isinstance(result, Conflict):
            self._said(asked, "Conflict")
        if isinstance(result, Unclear):
            world.note(p.machine.name, payment.id, "the store says: unclear")
            world.counts["the store says unclear"] += 1
        await p.pause()
        return result

    def _said(self, asked: Asked, words: str) -> None:
        """The store says that the change is not written, and it promises that it will not be."""
        world, payment = self._process.world, asked.change.payment
        world.note(self._process.machine.name, payment.id, f"the store says: {words}")
        world.counts[f"the store says {words.partition(':')[0]}"] += 1
        asked.refused.append(words)
        books = world.cloud_of().books
        if all(each.refused for each in books.asked.get(place_of(asked.change), ())) and any(
            e.hash == payment.head for e in books.history.get(payment.id, [])
        ):
            world.violate(f"it is written, and the store says: {words}", payment.id)

    async def defer(self, payment_id: str, version: int, due_us: int | None) -> bool:
        cloud = self._process.world.cloud_of()
        asked = Deferral(due_us, cloud.tick())
        cloud.books.deferrals.setdefault((payment_id, version), []).append(asked)
        try:
            asked.held = await super().defer(payment_id, version, due_us)
        finally:
            asked.ended = cloud.tick()
        return asked.held


class CloudRegistry(SimRegistry):
    """The real registry."""

    async def _arrive(self) -> str:
        return ""


class CloudInbox(SimInbox):
    """The real inbox."""

    async def _ask(self, do: Callable[[Inbox], Awaitable[T]], due_us: int | None = None) -> T:
        result = await do(self._inner())
        if due_us is not None:
            self._process.world.due_at(due_us)
        return result

    async def due(self, before_us: int, limit: int) -> Any:
        return await self._inner().due(before_us, limit)

    async def forget(self, before_us: int, limit: int) -> int:
        return await self._inner().forget(before_us, limit)
