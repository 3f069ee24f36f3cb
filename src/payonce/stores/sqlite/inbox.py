"""The inbox in the payments file: the same writer and readers as the store, the same due index. See
``payonce.mail.Inbox``."""

from typing import TYPE_CHECKING, Final, cast

import apsw
import msgspec

from payonce.core.errors import InvariantViolated, StoreUnavailable
from payonce.mail import Waiting, Webhook, WebhookPage, WebhookState
from payonce.stores.rows import check_limit, check_webhook, cursor_after, cursor_position

from .writes import Write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .looking import Readers
    from .registry import Writes

READ_ONLY: Final = "The file was opened to read only. Nothing was written."

_COLUMNS: Final = (
    "inbox.id, account, event, inbox.kind, state, payment_ids, tries, version, received_us, last_us, deliveries, "
    "due_us, document"
)
_FROM: Final = "FROM inbox LEFT JOIN due ON due.kind = 'webhook' AND due.id = inbox.id"
_ONE: Final = f"SELECT {_COLUMNS}, body {_FROM} WHERE inbox.id = ?"
_PAGE: Final = f"SELECT {_COLUMNS}, NULL {_FROM}"
_DUE: Final = "SELECT id, due_us FROM due WHERE kind = 'webhook' AND due_us <= ? ORDER BY due_us, id LIMIT ?"
_COUNTS: Final = "SELECT state, count(*) FROM inbox GROUP BY state"
_PUT: Final = (
    "INSERT INTO inbox (id, account, event, kind, state, payment_ids, tries, version, received_us, last_us, deliveries, "
    "document, body) VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?, 1, ?, ?) ON CONFLICT (id) DO NOTHING"
)
_AGAIN: Final = "UPDATE inbox SET deliveries = deliveries + 1, last_us = max(last_us, ?) WHERE id = ?"
_SETTLE: Final = "UPDATE inbox SET state = ?, payment_ids = ?, tries = ?, version = version + 1 WHERE id = ? AND version = ?"
_OLD: Final = (
    "SELECT id FROM inbox WHERE state IN ('matched', 'unmatched') AND received_us < ? ORDER BY received_us, id LIMIT ?"
)
_GONE: Final = "DELETE FROM inbox WHERE id = ?"
_SET_DUE: Final = (
    "INSERT INTO due (kind, id, due_us) VALUES ('webhook', ?, ?) ON CONFLICT (kind, id) DO UPDATE SET due_us = excluded.due_us"
)
_QUIET: Final = "DELETE FROM due WHERE kind = 'webhook' AND id = ?"


class _Document(msgspec.Struct, frozen=True):
    """What is not asked for by column."""

    references: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


_decoder = msgspec.json.Decoder(_Document)
_encoder = msgspec.json.Encoder()

_Row = tuple[str, str, str, str, WebhookState, str, int, int, int, int, int, int | None, bytes, bytes | None]


class InboxReads:
    """The inbox of a file that is opened to read only."""

    def __init__(self, readers: "Readers") -> None:
        self._readers = readers

    async def put(self, webhook: Webhook) -> bool:
        del webhook
        raise StoreUnavailable(READ_ONLY)

    async def get(self, id: str) -> Webhook | None:
        return await self._readers.near(_get, id)

    async def list(
        self, limit: int, *, state: WebhookState | None = None, account: str | None = None, cursor: str | None = None
    ) -> WebhookPage:
        return await self._readers.run(_page, limit, state, account, cursor)

    async def due(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        return await self._readers.few(limit, _due, before_us, limit)

    async def settle(self, webhook: Webhook) -> bool:
        del webhook
        raise StoreUnavailable(READ_ONLY)

    async def forget(self, before_us: int, limit: int) -> int:
        del before_us, limit
        raise StoreUnavailable(READ_ONLY)

    async def counts(self) -> "Mapping[str, int]":
        return await self._readers.run(_counts)


class SqliteInbox(InboxReads):
    """Made by ``open_store``; closed with its store."""

    def __init__(self, readers: "Readers", writes: "Writes") -> None:
        super().__init__(readers)
        self._writes = writes

    async def put(self, webhook: Webhook) -> bool:
        check_webhook(webhook)
        return cast("bool", await self._writes.run(_putting(webhook)))

    async def settle(self, webhook: Webhook) -> bool:
        return cast("bool", await self._writes.run(_settling(webhook)))

    async def forget(self, before_us: int, limit: int) -> int:
        if not await self._readers.run(_old, before_us, 1):  # nothing to do: no other process need wait for us
            return 0
        return cast("int", await self._writes.run(_forgetting(before_us, limit)))


def _is_there(connection: apsw.Connection) -> bool:
    return connection.table_exists("main", "inbox")  # not in a backup of an older schema, opened to read only


def _get(connection: apsw.Connection, id: str) -> Webhook | None:
    row = connection.execute(_ONE, (id,)).fetchone() if _is_there(connection) else None
    return None if row is None else _webhook(row)


def _page(
    connection: apsw.Connection, limit: int, state: WebhookState | None, account: str | None, cursor: str | None
) -> WebhookPage:
    check_limit(limit)
    where, values = ["true"], list[str | int]()
    for column, wanted in (("state", state), ("account", account)):
        if wanted is not None:
            where.append(f"{column} = ?")
            values.append(wanted)
    if cursor is not None:
        where.append("(received_us, inbox.id) < (?, ?)")
        values.extend(cursor_position(cursor))
    if not _is_there(connection):
        return WebhookPage((), None)
    sql = f"{_PAGE} WHERE {' AND '.join(where)} ORDER BY received_us DESC, inbox.id DESC LIMIT ?"
    found = tuple(_webhook(row) for row in connection.execute(sql, (*values, limit + 1)))
    shown = found[:limit]
    return WebhookPage(shown, cursor_after(shown[-1].received_us, shown[-1].id) if len(found) > limit else None)


def _due(connection: apsw.Connection, before_us: int, limit: int) -> tuple[Waiting, ...]:
    return tuple(Waiting(id, due_us) for id, due_us in connection.execute(_DUE, (before_us, limit)))


def _counts(connection: apsw.Connection) -> "dict[str, int]":
    return dict(connection.execute(_COUNTS)) if _is_there(connection) else {}


def _webhook(row: "_Row") -> Webhook:
    id, account, event, kind, state, payments, tries, version, received_us, last_us, deliveries, due_us, document, body = row
    try:
        said = _decoder.decode(document)
    except msgspec.MsgspecError as e:
        raise InvariantViolated(f"the stored webhook {id} is unreadable: {e}. No payment is concerned.") from e
    return Webhook(
        id=id,
        account=account,
        event=event,
        kind=kind,
        references=said.references,
        refs=said.refs,
        headers=said.headers if body is not None else (),
        body=body or b"",
        received_us=received_us,
        state=state,
        payment_ids=tuple(payments.split()),
        tries=tries,
        version=version,
        deliveries=deliveries,
        last_us=last_us,
        due_us=due_us,
    )


def _putting(w: Webhook) -> Write:
    document = _encoder.encode(_Document(w.references, w.refs, w.headers))
    row = (w.id, w.account, w.event, w.kind, w.state, " ".join(w.payment_ids), w.tries, w.received_us, w.last_us)

    def write(connection: apsw.Connection) -> bool:
        connection.execute(_PUT, (*row, document, w.body))
        if connection.changes() == 0:
            connection.execute(_AGAIN, (w.last_us, w.id))
            return False
        _set_due(connection, w)
        return True

    return write


def _settling(w: Webhook) -> Write:
    def write(connection: apsw.Connection) -> bool:
        connection.execute(_SETTLE, (w.state, " ".join(w.payment_ids), w.tries, w.id, w.version))
        if connection.changes() == 0:
            return False
        _set_due(connection, w)
        return True

    return write


def _forgetting(before_us: int, limit: int) -> Write:
    def write(connection: apsw.Connection) -> int:
        old = _old(connection, before_us, limit)
        connection.executemany(_GONE, old)
        connection.executemany(_QUIET, old)
        return len(old)

    return write


def _old(connection: apsw.Connection, before_us: int, limit: int) -> list[tuple[str]]:
    return [(str(id),) for (id,) in connection.execute(_OLD, (before_us, limit))]


def _set_due(connection: apsw.Connection, w: Webhook) -> None:
    if w.due_us is None:
        connection.execute(_QUIET, (w.id,))
    else:
        connection.execute(_SET_DUE, (w.id, w.due_us))
