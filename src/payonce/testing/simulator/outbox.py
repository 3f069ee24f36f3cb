"""The outbox as one process reaches it: over the same rows as everybody, through its own faults."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from payonce.core.errors import StoreUnavailable
from payonce.mail import Delivery, DeliveryPage, DeliveryState, Outbox, Waiting
from payonce.ports import Scope

if TYPE_CHECKING:
    from .processes import Process

T = TypeVar("T")


class SimOutbox:
    """See ``payonce.mail.Outbox``. Looking for what is due there has no fault of its own: it is asked when the store is."""

    def __init__(self, process: "Process", inner: Callable[[], Outbox]) -> None:
        self._process, self._inner = process, inner

    async def _ask(self, do: Callable[[Outbox], Awaitable[T]], *dues_us: int | None) -> T:
        p = self._process
        word = await p.arrive("outbox")
        if word == "error_before" or p.world.store_down:
            raise StoreUnavailable("simulated: the outbox does not answer")
        result = await do(self._inner())
        self._due(dues_us)
        if word == "crash_after":
            await p.die()
        if word == "error_after":
            raise StoreUnavailable("simulated: done, and reported as failed")
        await p.pause()
        return result

    async def _look(self, do: Callable[[Outbox], Awaitable[T]]) -> T:
        if self._process.world.store_down:
            raise StoreUnavailable("simulated: the outbox does not answer")
        return await do(self._inner())

    def _due(self, dues_us: Sequence[int | None]) -> None:
        for due_us in dues_us:
            if due_us is not None:
                self._process.world.due_at(due_us)

    async def notices(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        return await self._look(lambda o: o.notices(before_us, limit))

    async def noticed(self, payment_id: str) -> int | None:
        return await self._ask(lambda o: o.noticed(payment_id))

    async def hand_over(self, payment_id: str, version: int, deliveries: Sequence[Delivery]) -> bool:
        return await self._ask(lambda o: o.hand_over(payment_id, version, deliveries), *(d.due_us for d in deliveries))

    async def put_off(self, payment_id: str, due_us: int) -> None:
        await self._ask(lambda o: o.put_off(payment_id, due_us), due_us)

    async def add(self, delivery: Delivery) -> bool:
        return await self._ask(lambda o: o.add(delivery), delivery.due_us)

    async def get(self, id: str) -> Delivery | None:
        return await self._ask(lambda o: o.get(id))

    async def list(
        self,
        scope: Scope,
        limit: int,
        *,
        endpoint_id: str | None = None,
        state: DeliveryState | None = None,
        payment_id: str | None = None,
        cursor: str | None = None,
    ) -> DeliveryPage:
        return await self._ask(
            lambda o: o.list(scope, limit, endpoint_id=endpoint_id, state=state, payment_id=payment_id, cursor=cursor)
        )

    async def due(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        return await self._look(lambda o: o.due(before_us, limit))

    async def settle(self, delivery: Delivery) -> bool:
        return await self._ask(lambda o: o.settle(delivery), delivery.due_us)

    async def forget(self, before_us: int, limit: int) -> int:
        return await self._look(lambda o: o.forget(before_us, limit))

    async def counts(self) -> Mapping[str, int]:
        return await self._ask(lambda o: o.counts())


class CloudOutbox(SimOutbox):
    """The real outbox of a world on DynamoDB, without faults of its own."""

    async def _ask(self, do: Callable[[Outbox], Awaitable[T]], *dues_us: int | None) -> T:
        result = await do(self._inner())
        self._due(dues_us)
        return result

    async def _look(self, do: Callable[[Outbox], Awaitable[T]]) -> T:
        return await do(self._inner())
