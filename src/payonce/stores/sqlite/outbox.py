"""The outbox in the payments file: the same writer and readers as the store, the same due index. Notices are put there by
the write of a payment (``writes``). See ``payonce.mail.Outbox``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast, get_args

import apsw
from msgspec import Struct, ValidationError, convert
from msgspec.structs import astuple

from payonce.core.errors import InvariantViolated, StoreUnavailable
from payonce.mail import Delivery, DeliveryPage, DeliveryState, Waiting
from payonce.ports import Scope
from payonce.stores.rows import check_delivery, check_limit, cursor_after, cursor_position

from . import reads
from .inbox import READ_ONLY
from .writes import Write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .looking import Readers
    from .registry import Writes

STATES: Final[tuple[DeliveryState, ...]] = get_args(DeliveryState)
OVER: Final = tuple(state for state in STATES if state != "pending")

# In the order of the struct's fields.
_STORED: Final = (
    *("id", "endpoint_id", "merchant_id", "mode", "event_id", "type", "payment_id", "seq", "state", "tries", "status", "said"),
    *("created_us", "last_us", "version"),
)
_DUE_OF: Final = "(SELECT due_us FROM due WHERE due.kind = 'delivery' AND due.id = deliveries.id)"
_SELECT: Final = f"SELECT {', '.join(_STORED)}, {_DUE_OF} AS due_us FROM deliveries"  # noqa: S608 - fixed names
_ONE: Final = f"{_SELECT} WHERE id = ?"
_ADD: Final = (
    f"INSERT INTO deliveries ({', '.join(_STORED)}) VALUES ({', '.join('?' for _ in _STORED)}) ON CONFLICT (id) DO NOTHING"  # noqa: S608 - fixed names
)
_SETTLE: Final = (
    "UPDATE deliveries SET state = ?, tries = ?, status = ?, said = ?, last_us = ?, version = version + 1 "
    "WHERE id = ? AND version = ?"
)
_DUE: Final = "SELECT id, due_us FROM due WHERE kind = 'delivery' AND due_us <= ? ORDER BY due_us, id LIMIT ?"
_SET_DUE: Final = (
    "INSERT INTO due (kind, id, due_us) VALUES ('delivery', ?, ?) ON CONFLICT (kind, id) DO UPDATE SET due_us = excluded.due_us"
)
_QUIET: Final = "DELETE FROM due WHERE kind = 'delivery' AND id = ?"
_COUNTS: Final = "SELECT state, count(*) FROM deliveries GROUP BY state"
_OLD: Final = (
    " UNION ALL ".join(f"SELECT id, created_us FROM deliveries WHERE state = '{state}' AND created_us < ?1" for state in OVER)  # noqa: S608 - fixed words
    + " ORDER BY created_us, id LIMIT ?2"
)
_GONE: Final = "DELETE FROM deliveries WHERE id = ?"
_NOTICES: Final = "SELECT payment_id, due_us FROM notices WHERE due_us <= ? ORDER BY due_us, payment_id LIMIT ?"
_NOTICED: Final = "SELECT from_seq FROM notices WHERE payment_id = ?"
_TOLD: Final = "DELETE FROM notices WHERE payment_id = ?"
_PUT_OFF: Final = "UPDATE notices SET due_us = ? WHERE payment_id = ?"


class Wanted(Struct, frozen=True, kw_only=True):
    """What a page is to show."""

    scope: Scope
    limit: int
    endpoint_id: str | None = None
    state: DeliveryState | None = None
    payment_id: str | None = None
    cursor: str | None = None


class OutboxReads:
    """The outbox of a file that is opened to read only."""

    def __init__(self, readers: "Readers") -> None:
        self._readers = readers

    async def notices(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        return await self._readers.few(limit, _notices, before_us, limit)

    async def noticed(self, payment_id: str) -> int | None:
        return await self._readers.near(_noticed, payment_id)

    async def hand_over(self, payment_id: str, version: int, deliveries: Sequence[Delivery]) -> bool:
        del payment_id, version, deliveries
        raise StoreUnavailable(READ_ONLY)

    async def put_off(self, payment_id: str, due_us: int) -> None:
        del payment_id, due_us
        raise StoreUnavailable(READ_ONLY)

    async def add(self, delivery: Delivery) -> bool:
        del delivery
        raise StoreUnavailable(READ_ONLY)

    async def get(self, id: str) -> Delivery | None:
        return await self._readers.near(_get, id)

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
        wanted = Wanted(scope=scope, limit=limit, endpoint_id=endpoint_id, state=state, payment_id=payment_id, cursor=cursor)
        return await self._readers.run(_page, wanted)

    async def due(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        return await self._readers.few(limit, _due, before_us, limit)

    async def settle(self, delivery: Delivery) -> bool:
        del delivery
        raise StoreUnavailable(READ_ONLY)

    async def forget(self, before_us: int, limit: int) -> int:
        del before_us, limit
        raise StoreUnavailable(READ_ONLY)

    async def counts(self) -> "Mapping[str, int]":
        return await self._readers.run(_counts)


class SqliteOutbox(OutboxReads):
    """Made by ``open_store``; closed with its store."""

    def __init__(self, readers: "Readers", writes: "Writes") -> None:
        super().__init__(readers)
        self._writes = writes

    async def hand_over(self, payment_id: str, version: int, deliveries: Sequence[Delivery]) -> bool:
        return cast("bool", await self._writes.run(_handing_over(payment_id, version, deliveries)))

    async def put_off(self, payment_id: str, due_us: int) -> None:
        await self._writes.run(_putting_off(payment_id, due_us))

    async def add(self, delivery: Delivery) -> bool:
        check_delivery(delivery)
        return cast("bool", await self._writes.run(lambda connection: _add(connection, delivery)))

    async def settle(self, delivery: Delivery) -> bool:
        return cast("bool", await self._writes.run(_settling(delivery)))

    async def forget(self, before_us: int, limit: int) -> int:
        if not await self._readers.run(_old, before_us, 1):  # nothing to do: no other process need wait for us
            return 0
        return cast("int", await self._writes.run(_forgetting(before_us, limit)))


# --- reading ------------------------------------------------------------------------------------------------------------


def _is_there(connection: apsw.Connection) -> bool:
    return connection.table_exists("main", "deliveries")  # not in a backup of an older schema, opened to read only


def _notices(connection: apsw.Connection, before_us: int, limit: int) -> tuple[Waiting, ...]:
    if not _is_there(connection):
        return ()
    return tuple(Waiting(id, due_us) for id, due_us in connection.execute(_NOTICES, (before_us, limit)))


def _noticed(connection: apsw.Connection, payment_id: str) -> int | None:
    row = connection.execute(_NOTICED, (payment_id,)).fetchone() if _is_there(connection) else None
    return None if row is None else row[0]


def _get(connection: apsw.Connection, id: str) -> Delivery | None:
    row = connection.execute(_ONE, (id,)).fetchone() if _is_there(connection) else None
    return None if row is None else _delivery(row)


def _page(connection: apsw.Connection, wanted: Wanted) -> DeliveryPage:
    sql, values = page_query(wanted)
    if not _is_there(connection):
        return DeliveryPage((), None)
    found = tuple(_delivery(row) for row in connection.execute(sql, values))
    shown = found[: wanted.limit]
    more = cursor_after(shown[-1].created_us, shown[-1].id) if len(found) > wanted.limit else None
    return DeliveryPage(shown, more)


def page_query(wanted: Wanted) -> tuple[str, dict[str, str | int]]:
    """The statement of a page and one row more, and its values. Every way reads rows of this scope only, in order: without a
    payment, one walk for each state, which SQLite merges. Raises ValueError for a limit or cursor that is not ours."""
    w = wanted
    check_limit(w.limit)
    values: dict[str, str | int] = {"merchant": w.scope.merchant_id, "mode": w.scope.mode, "rows": w.limit + 1}
    where = ["merchant_id = :merchant", "mode = :mode"]
    if w.cursor is not None:
        values["created"], values["last"] = cursor_position(w.cursor)
        where.append("(created_us, id) < (:created, :last)")
    if w.endpoint_id is not None:
        values["endpoint"] = w.endpoint_id
        where.append(f"{'+' if w.payment_id else ''}endpoint_id = :endpoint")
    if w.payment_id is not None:
        values["payment"] = w.payment_id
        where.append("payment_id = :payment")
    states = STATES if w.state is None else (w.state,)
    values |= {f"s{n}": state for n, state in enumerate(states)}
    if w.payment_id:  # few: those of another state or endpoint are stepped over
        where.append("payment_id != ''")  # lets SQLite use the partial index
        walks = [f"+state IN ({', '.join(f':s{n}' for n in range(len(states)))})"]
    else:
        walks = [f"state = :s{n}" for n in range(len(states))]
    merged = " UNION ALL ".join(f"{_SELECT} WHERE {' AND '.join((*where, walk))}" for walk in walks)
    return f"{merged} ORDER BY created_us DESC, id DESC LIMIT :rows", values


def _due(connection: apsw.Connection, before_us: int, limit: int) -> tuple[Waiting, ...]:
    return tuple(Waiting(id, due_us) for id, due_us in connection.execute(_DUE, (before_us, limit)))


def _counts(connection: apsw.Connection) -> "dict[str, int]":
    return dict(connection.execute(_COUNTS)) if _is_there(connection) else {}


def _old(connection: apsw.Connection, before_us: int, limit: int) -> list[tuple[str]]:
    return [(str(id),) for id, _ in connection.execute(_OLD, (before_us, limit))]


def _delivery(row: tuple[str | int | None, ...]) -> Delivery:
    try:
        return convert(dict(zip((*_STORED, "due_us"), row, strict=True)), Delivery)
    except ValidationError as e:
        raise InvariantViolated(f"the stored delivery {row[0]} is unreadable: {e}. No payment is concerned.") from e


# --- writing ------------------------------------------------------------------------------------------------------------


def _handing_over(payment_id: str, version: int, deliveries: Sequence[Delivery]) -> Write:
    for delivery in deliveries:
        check_delivery(delivery)

    def write(connection: apsw.Connection) -> bool:
        stored = reads.head(connection, payment_id)
        if stored is None or stored[0] != version:
            return False
        for delivery in deliveries:
            _add(connection, delivery)
        connection.execute(_TOLD, (payment_id,))
        return True

    return write


def _putting_off(payment_id: str, due_us: int) -> Write:
    def write(connection: apsw.Connection) -> bool:
        connection.execute(_PUT_OFF, (due_us, payment_id))
        return connection.changes() > 0

    return write


def _settling(d: Delivery) -> Write:
    check_delivery(d)

    def write(connection: apsw.Connection) -> bool:
        connection.execute(_SETTLE, (d.state, d.tries, d.status, d.said, d.last_us, d.id, d.version))
        if connection.changes() == 0:
            return False
        _set_due(connection, d)
        return True

    return write


def _forgetting(before_us: int, limit: int) -> Write:
    def write(connection: apsw.Connection) -> int:
        old = _old(connection, before_us, limit)
        connection.executemany(_GONE, old)
        connection.executemany(_QUIET, old)
        return len(old)

    return write


def _add(connection: apsw.Connection, d: Delivery) -> bool:
    *stored, _, _ = astuple(d)
    connection.execute(_ADD, (*stored, 1))
    if connection.changes() == 0:
        return False
    _set_due(connection, d)
    return True


def _set_due(connection: apsw.Connection, d: Delivery) -> None:
    if d.due_us is None:
        connection.execute(_QUIET, (d.id,))
    else:
        connection.execute(_SET_DUE, (d.id, d.due_us))
