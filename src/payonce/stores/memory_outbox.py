"""The outbox as plain dictionaries; see ``memory``. Made by ``MemoryStore``, whose commits put notices there."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from payonce.mail import Delivery, DeliveryPage, DeliveryState, Waiting
from payonce.ports import Scope

from .rows import check_delivery, check_limit, cursor_after, cursor_position


class MemoryOutbox:
    """See ``payonce.mail.Outbox``. No method waits, so every call is atomic in its event loop."""

    def __init__(self, version_of: Callable[[str], int]) -> None:
        """``version_of``: of a payment, 0 when there is none. Raises StoreUnavailable when the store is closed."""
        self._version_of = version_of
        self._notices: dict[str, tuple[int, int]] = {}  # payment id -> (from seq, due_us)
        self._rows: dict[str, Delivery] = {}

    def note(self, payment_id: str, seq: int, at_us: int) -> None:
        """There is news from ``seq`` on, to be looked at from ``at_us`` on. An older seq stays."""
        first, _ = self._notices.get(payment_id, (seq, 0))
        self._notices[payment_id] = (first, at_us)

    def copy(self, version_of: Callable[[str], int]) -> "MemoryOutbox":
        """The rows as they are now, beside the payments of another store."""
        other = MemoryOutbox(version_of)
        other._notices, other._rows = dict(self._notices), dict(self._rows)
        return other

    async def notices(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        self._require_open()
        first = sorted((due_us, id) for id, (_, due_us) in self._notices.items() if due_us <= before_us)
        return tuple(Waiting(id, due_us) for due_us, id in first[:limit])

    async def noticed(self, payment_id: str) -> int | None:
        self._require_open()
        found = self._notices.get(payment_id)
        return None if found is None else found[0]

    async def hand_over(self, payment_id: str, version: int, deliveries: Sequence[Delivery]) -> bool:
        for delivery in deliveries:
            check_delivery(delivery)
        known = self._version_of(payment_id)
        if not known or known != version:
            return False
        for delivery in deliveries:
            self._rows.setdefault(delivery.id, replace(delivery, version=1))
        self._notices.pop(payment_id, None)
        return True

    async def put_off(self, payment_id: str, due_us: int) -> None:
        self._require_open()
        found = self._notices.get(payment_id)
        if found is not None:
            self._notices[payment_id] = (found[0], due_us)

    async def add(self, delivery: Delivery) -> bool:
        self._require_open()
        check_delivery(delivery)
        if delivery.id in self._rows:
            return False
        self._rows[delivery.id] = replace(delivery, version=1)
        return True

    async def get(self, id: str) -> Delivery | None:
        self._require_open()
        return self._rows.get(id)

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
        self._require_open()
        check_limit(limit)
        before = cursor_position(cursor) if cursor is not None else None
        rows = [
            d
            for d in self._rows.values()
            if Scope(d.merchant_id, d.mode) == scope
            and endpoint_id in (None, d.endpoint_id)
            and state in (None, d.state)
            and payment_id in (None, d.payment_id)
        ]
        rows.sort(key=lambda d: (d.created_us, d.id), reverse=True)
        rest = [d for d in rows if before is None or (d.created_us, d.id) < before]
        more = cursor_after(rest[limit - 1].created_us, rest[limit - 1].id) if len(rest) > limit else None
        return DeliveryPage(tuple(rest[:limit]), more)

    async def due(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        self._require_open()
        first = sorted((d.due_us, d.id) for d in self._rows.values() if d.due_us is not None and d.due_us <= before_us)
        return tuple(Waiting(id, due_us) for due_us, id in first[:limit])

    async def settle(self, delivery: Delivery) -> bool:
        self._require_open()
        check_delivery(delivery)
        row = self._rows.get(delivery.id)
        if row is None or row.version != delivery.version:
            return False
        self._rows[row.id] = replace(
            row,
            state=delivery.state,
            tries=delivery.tries,
            status=delivery.status,
            said=delivery.said,
            last_us=delivery.last_us,
            due_us=delivery.due_us,
            version=row.version + 1,
        )
        return True

    async def forget(self, before_us: int, limit: int) -> int:
        self._require_open()
        old = sorted((d.created_us, d.id) for d in self._rows.values() if d.state != "pending" and d.created_us < before_us)
        for _, id in old[:limit]:
            del self._rows[id]
        return len(old[:limit])

    async def counts(self) -> Mapping[str, int]:
        self._require_open()
        return dict(Counter(d.state for d in self._rows.values()))

    def _require_open(self) -> None:
        self._version_of("")
