"""Every question the store answers, as one statement each, and the checks after a read."""

from collections.abc import Sequence
from typing import Final

import apsw
import msgspec

from payonce.core.errors import InvariantViolated, NewerSchema, StoreUnavailable
from payonce.core.events import ENVELOPE, Entry, unseal
from payonce.core.payment import SCHEMA, Payment
from payonce.ports import Due, Fed, FeedPage, Filters, KeyRow, Page, Scope
from payonce.stores.rows import check_limit, cursor_after, cursor_position, feed_after, feed_position

from .tallies import label

_decoder = msgspec.json.Decoder(Payment)


class _Versioned(msgspec.Struct):
    v: int


_versioned = msgspec.json.Decoder(_Versioned)

_HEAD: Final = "SELECT version, head, schema FROM payments WHERE id = ?"
_DOCUMENT: Final = "SELECT id, version, head, schema, document FROM payments"
_PAGE: Final = "SELECT payments.id, payments.version, payments.head, payments.schema, payments.document"
_DECLINED: Final = (
    "EXISTS (SELECT 1 FROM declines WHERE declines.merchant_id = labels.merchant_id AND declines.mode = labels.mode "
    "AND declines.code = ? AND declines.created_us = labels.created_us AND declines.payment_id = labels.payment_id)"
)
_KEY: Final = "SELECT operation, payment_id, request_v, request FROM keys WHERE merchant_id = ? AND mode = ? AND key = ?"
_REF: Final = "SELECT DISTINCT payment_id FROM refs WHERE value = ? LIMIT ?"
_REF_AT: Final = "SELECT DISTINCT payment_id FROM refs WHERE value = ? AND account = ? LIMIT ?"
_BODY: Final = "SELECT bytes FROM bodies WHERE payment_id = ? AND sha256 = ?"
_HISTORY: Final = "SELECT seq, raw, hash FROM events WHERE payment_id = ? AND seq > ? ORDER BY seq LIMIT ?"
FEED: Final = (
    "SELECT payment_id, seq, at_us, place FROM feed WHERE merchant_id = ? AND mode = ? AND place > ? ORDER BY place LIMIT ?"
)
_FEED_END: Final = "SELECT place FROM feed WHERE merchant_id = ? AND mode = ? ORDER BY place DESC LIMIT 1"
_FEED_AT: Final = "SELECT at_us FROM feed WHERE merchant_id = ? AND mode = ? AND place >= ? ORDER BY place LIMIT 1"
_DUE: Final = "SELECT id, due_us FROM due WHERE kind = 'payment' AND due_us <= ? ORDER BY due_us, id LIMIT ?"
_NEXT_DUE: Final = "SELECT due_us FROM due WHERE kind = 'payment' ORDER BY due_us LIMIT 1"
_DUE_OF: Final = "SELECT due_us FROM due WHERE kind = 'payment' AND id = ?"
_COUNTS: Final = "SELECT status, count(*) FROM payments GROUP BY status"
_IDS: Final = "SELECT id FROM payments WHERE id > ? ORDER BY id LIMIT ?"


def head(connection: apsw.Connection, payment_id: str) -> tuple[int, str] | None:
    """Version and last hash of a row; raises NewerSchema, because such a row must not be written over."""
    row = connection.execute(_HEAD, (payment_id,)).fetchone()
    if row is None:
        return None
    version, last, schema = row
    require_known(payment_id, schema)
    return version, last


def get(connection: apsw.Connection, payment_id: str) -> Payment | None:
    row = connection.execute(_DOCUMENT + " WHERE id = ?", (payment_id,)).fetchone()
    return None if row is None else _payment(row)


def find_key(connection: apsw.Connection, merchant_id: str, mode: str, key: str) -> KeyRow | None:
    row = connection.execute(_KEY, (merchant_id, mode, key)).fetchone()
    if row is None:
        return None
    operation, payment_id, request_v, request = row
    return KeyRow(key=key, operation=operation, payment_id=payment_id, request_v=request_v, request=request)


def find_ref(connection: apsw.Connection, value: str, account: str | None, limit: int = -1) -> tuple[str, ...]:
    asked, values = (_REF, (value, limit)) if account is None else (_REF_AT, (value, account, limit))
    return tuple(sorted(_ids(connection, asked, values)))


def bodies(connection: apsw.Connection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    found = {key: connection.execute(_BODY, key).fetchone() for key in keys}
    return {key: row[0] for key, row in found.items() if row is not None}


def history(connection: apsw.Connection, payment_id: str, after_seq: int, limit: int) -> tuple[Entry, ...]:
    return tuple(_entry(payment_id, *row) for row in connection.execute(_HISTORY, (payment_id, after_seq, limit)))


def page(connection: apsw.Connection, scope: Scope, filters: Filters, limit: int, cursor: str | None) -> Page:
    sql, values = page_query(scope, filters, limit, cursor)
    if (filters.metadata is not None or filters.decline_code is not None) and not connection.table_exists("main", "labels"):
        raise StoreUnavailable(
            "This file was written by an older payonce and has no index of metadata and declines. It was not changed. "
            "`payonce serve` on a copy brings that up to date."
        )
    found = tuple(_payment(row) for row in connection.execute(sql, values))
    shown = found[:limit]
    return Page(shown, cursor_after(shown[-1].created_us, shown[-1].id) if len(found) > limit else None)


def page_query(scope: Scope, filters: Filters, limit: int, cursor: str | None) -> tuple[str, tuple[str | int | bytes, ...]]:
    """The statement of a page and one row more, and its values. Each walks along one index from the newest on, of payments or
    of the table that knows their metadata or declines; what else is asked is looked at along the way. Raises ValueError for a
    limit or cursor that is not ours."""
    check_limit(limit)
    source, at, where, values = _walk(scope, filters)
    for column in ("status", "provider", "currency", "client_id"):
        wanted = getattr(filters, column)
        if wanted is not None:
            where.append(f"payments.{column} = ?")
            values.append(wanted)
            if wanted and column in ("provider", "client_id"):
                where.append(f"payments.{column} != ''")  # lets SQLite use the partial index
    if filters.attention:
        where.append("(payments.status = 'IN_DOUBT' OR payments.attention != '')")
    if filters.created_from_us is not None:
        where.append(f"{at[0]} >= ?")
        values.append(filters.created_from_us)
    if filters.created_before_us is not None:
        where.append(f"{at[0]} < ?")
        values.append(filters.created_before_us)
    if cursor is not None:
        where.append(f"({at[0]}, {at[1]}) < (?, ?)")
        values.extend(cursor_position(cursor))
    sql = f"{_PAGE} FROM {source} WHERE {' AND '.join(where)} ORDER BY {at[0]} DESC, {at[1]} DESC LIMIT ?"
    return sql, (*values, limit + 1)


def _walk(scope: Scope, filters: Filters) -> tuple[str, tuple[str, str], list[str], list[str | int | bytes]]:
    """Along which table a page is read: its source, its columns of time and id, and what is asked of it. CROSS JOIN keeps the
    order in which the tables are named."""
    own: list[str | int | bytes] = [scope.merchant_id, scope.mode]
    if filters.metadata is not None:
        where, values = _among("labels", "label"), [*own, label(filters.metadata)]
        if filters.decline_code is not None:
            where.append(_DECLINED)
            values.append(filters.decline_code)
        return _joined("labels"), ("labels.created_us", "labels.payment_id"), where, values
    if filters.decline_code is not None:
        values = [*own, filters.decline_code]
        return _joined("declines"), ("declines.created_us", "declines.payment_id"), _among("declines", "code"), values
    return "payments", ("payments.created_us", "payments.id"), ["payments.merchant_id = ?", "payments.mode = ?"], own


def _joined(table: str) -> str:
    return f"{table} CROSS JOIN payments ON payments.id = {table}.payment_id"


def _among(table: str, name: str) -> list[str]:
    return [f"{table}.merchant_id = ?", f"{table}.mode = ?", f"{table}.{name} = ?"]


def feed(connection: apsw.Connection, scope: Scope, limit: int, cursor: str | None, since_us: int) -> FeedPage:
    check_limit(limit)
    at_us, place = feed_position(scope, cursor) if cursor is not None else (since_us, 0)
    rows: list[tuple[str, int, int, int]] = []
    if connection.table_exists("main", "feed"):  # not in a backup of an older schema, opened to read only
        after = place or _before(connection, scope, at_us)
        rows = list(connection.execute(FEED, (scope.merchant_id, scope.mode, after, limit + 1)))
    shown = rows[:limit]
    if shown:
        *_, at_us, place = shown[-1]
    return FeedPage(tuple(Fed(id, seq) for id, seq, *_ in shown), feed_after(scope, at_us, place), len(rows) > limit)


def _before(connection: apsw.Connection, scope: Scope, since_us: int) -> int:
    """The last place of a feed before a time, 0 for none. By halving: times do not go back along the places."""
    if since_us <= 0:
        return 0
    row = connection.execute(_FEED_END, (scope.merchant_id, scope.mode)).fetchone()
    low, high = 0, row[0] if row else 0
    while low < high:
        middle = (low + high + 1) // 2
        (at_us,) = next(connection.execute(_FEED_AT, (scope.merchant_id, scope.mode, middle)))
        low, high = (middle, high) if at_us < since_us else (low, middle - 1)
    return low


def due(connection: apsw.Connection, before_us: int, limit: int) -> tuple[Due, ...]:
    return tuple(Due(id, due_us) for id, due_us in connection.execute(_DUE, (before_us, limit)))


def next_due(connection: apsw.Connection) -> int | None:
    row = connection.execute(_NEXT_DUE).fetchone()
    return None if row is None else row[0]


def data_version(connection: apsw.Connection) -> int:
    """Another one after each transaction of another connection."""
    return int(connection.execute("PRAGMA data_version").get)


def due_of(connection: apsw.Connection, payment_id: str) -> int | None:
    row = connection.execute(_DUE_OF, (payment_id,)).fetchone()
    return None if row is None else row[0]


def counts(connection: apsw.Connection) -> dict[str, int]:
    return dict(connection.execute(_COUNTS))


def ids(connection: apsw.Connection, after: str, limit: int) -> tuple[str, ...]:
    return _ids(connection, _IDS, (after, limit))


def check(connection: apsw.Connection) -> str:
    """ "ok", or what SQLite found wrong, a finding a line."""
    try:
        return "\n".join(text for (text,) in connection.execute("PRAGMA quick_check(20)"))
    except (apsw.CorruptError, apsw.NotADBError) as e:  # too damaged even to be looked through
        return str(e)


def _ids(connection: apsw.Connection, sql: str, values: tuple[str | int, ...]) -> tuple[str, ...]:
    return tuple(id for (id,) in connection.execute(sql, values))


def _payment(row: tuple[str, int, str, int, bytes]) -> Payment:
    id, version, last, schema, document = row
    require_known(id, schema)
    try:
        p = _decoder.decode(document)
    except msgspec.MsgspecError as e:
        raise InvariantViolated(f"the stored document of {id} is unreadable: {e}. Run `payonce verify`.") from e
    if (p.id, p.version, p.head) != (id, version, last):
        raise InvariantViolated(f"the stored document of {id} is not the one its columns name. Run `payonce verify`.")
    return p


def _entry(payment_id: str, seq: int, raw: bytes, stored_hash: str) -> Entry:
    try:
        if _versioned.decode(raw).v > ENVELOPE:
            raise NewerSchema(f"Event {seq} of {payment_id} was written by a newer payonce. Nothing was touched; run that one.")
        return unseal(raw, stored_hash)
    except msgspec.MsgspecError as e:
        raise InvariantViolated(f"event {seq} of {payment_id} is unreadable: {e}. Run `payonce verify`.") from e


def require_known(payment_id: str, schema: int) -> None:
    if schema > SCHEMA:
        raise NewerSchema(
            f"{payment_id} has schema {schema}, this payonce knows up to {SCHEMA}: a newer version wrote it. "
            "Nothing was touched; run the newer payonce."
        )
