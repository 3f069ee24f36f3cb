"""Writing one change inside the writer's open transaction. What can be computed beforehand is, in the caller's thread:
the shorter a transaction, the sooner the next."""

from collections.abc import Callable
from typing import Final

import apsw
import msgspec
from msgspec import Struct

from payonce.core.errors import InvariantViolated
from payonce.core.payment import Payment
from payonce.ports import Change, Committed, Conflict
from payonce.stores.rows import check_change, check_continues, provider_of

from . import reads
from .schema import WritingConnection
from .tallies import Counting, counting

Write = Callable[[WritingConnection], object]

COMMITTED: Final = Committed()
_encoder = msgspec.json.Encoder()

_COLUMNS: Final = (
    *("id", "merchant_id", "mode", "status", "provider", "currency", "client_id", "amount_minor", "authorized_minor"),
    *("captured_minor", "refunded_minor", "attention", "created_us", "updated_us", "version", "head", "schema", "document"),
)
_CREATE: Final = f"INSERT INTO payments ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{c}' for c in _COLUMNS)})"  # noqa: S608 - fixed names
# Only what may change: who owns a payment, its currency and when it was created never do, so their indexes rest.
_UPDATE: Final = (
    "UPDATE payments SET status = :status, provider = :provider, authorized_minor = :authorized_minor, "
    "captured_minor = :captured_minor, refunded_minor = :refunded_minor, attention = :attention, updated_us = :updated_us, "
    "version = :version, head = :head, schema = :schema, document = :document WHERE id = :id AND version = :expected"
)
_EVENT: Final = "INSERT INTO events (payment_id, seq, raw, hash, news) VALUES (?, ?, ?, ?, ?)"
_KEY: Final = (
    "INSERT INTO keys (merchant_id, mode, key, operation, payment_id, request_v, request) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_REF: Final = "INSERT OR IGNORE INTO refs (value, account, kind, payment_id) VALUES (?, ?, ?, ?)"
_BODY: Final = "INSERT OR IGNORE INTO bodies (payment_id, sha256, bytes) VALUES (?, ?, ?)"
_DUE: Final = (
    "INSERT INTO due (kind, id, due_us) VALUES ('payment', ?, ?) "
    "ON CONFLICT (kind, id) DO UPDATE SET due_us = excluded.due_us WHERE due_us != excluded.due_us"
)
_QUIET: Final = "DELETE FROM due WHERE kind = 'payment' AND id = ?"
# A time that goes back would put a place before those that were read already: the latest so far stands instead.
_LAST_FED: Final = "SELECT at_us, place FROM feed WHERE merchant_id = ? AND mode = ? ORDER BY place DESC LIMIT 1"
_FEED: Final = "INSERT INTO feed (payment_id, seq, merchant_id, mode, at_us, place) VALUES (?, ?, ?, ?, ?, ?)"
_NOTICE: Final = (
    "INSERT INTO notices (payment_id, from_seq, due_us) VALUES (?, ?, ?) "
    "ON CONFLICT (payment_id) DO UPDATE SET due_us = excluded.due_us"
)
ENDS_MAX: Final = 10_000  # feeds whose ends a connection knows
_VERSION: Final = "SELECT version FROM payments WHERE id = ?"


class PendingChange(Struct, frozen=True):
    """A change, checked and encoded, ready to be written."""

    change: Change
    expected_version: int
    row: dict[str, str | int | bytes]
    counting: Counting = Counting()

    def __call__(self, connection: WritingConnection) -> Committed | Conflict:
        change, p = self.change, self.change.payment
        if change.key is not None:
            taken = reads.find_key(connection, p.merchant_id, p.mode, change.key.key)
            if taken is not None:
                return Conflict(key=taken)
        stored = reads.head(connection, p.id)
        version, head = stored or (0, "")
        if version != self.expected_version:
            return Conflict(payment=reads.get(connection, p.id))
        check_continues(change, head)
        connection.execute(_UPDATE if stored else _CREATE, self.row)
        if connection.changes() != 1:
            raise InvariantViolated(f"the row of {p.id} changed inside our transaction. Nothing was written; please report it.")
        self._write_beside(connection)
        return COMMITTED

    def _write_beside(self, connection: WritingConnection) -> None:
        change, p = self.change, self.change.payment
        places = _tell(connection, change) if change.news else {}
        events = [(p.id, e.envelope.seq, e.raw, e.hash, places.get(e.envelope.seq, 0)) for e in change.entries]
        connection.executemany(_EVENT, events)
        _set_due(connection, p.id, change.due_us)
        if change.key is not None:
            k = change.key
            connection.execute(_KEY, (p.merchant_id, p.mode, k.key, k.operation, k.payment_id, k.request_v, k.request))
        if change.refs:
            connection.executemany(_REF, [(r.value, r.account, r.kind, p.id) for r in change.refs])
        if change.bodies:
            connection.executemany(_BODY, [(p.id, sha256, body) for sha256, body in change.bodies.items()])
        self.counting.write(connection)


def _tell(connection: WritingConnection, change: Change) -> dict[int, int]:
    """The places of the news in the feed by seq, and the notice if somebody is subscribed: one that stands keeps its first
    seq."""
    p, first, places = change.payment, change.entries[0].envelope.seq, dict[int, int]()
    for seq in change.news:
        told_us = change.entries[seq - first].envelope.at_us
        places[seq] = _append(connection, p, seq, told_us)
    if change.notify:
        connection.execute(_NOTICE, (p.id, change.news[0], told_us))
    return places


def _append(connection: WritingConnection, p: Payment, seq: int, told_us: int) -> int:
    """The next place of the feed is this event's. The connection remembers where the feed ended; that another process has
    written there since shows in that the next place is taken: a key of the table."""
    scope, ends = (p.merchant_id, p.mode), connection.ends
    if scope in ends:
        try:
            return _put_at(connection, p, seq, told_us, ends[scope])
        except apsw.ConstraintError:
            del ends[scope]
    if len(ends) >= ENDS_MAX:
        ends.clear()
    return _put_at(connection, p, seq, told_us, connection.execute(_LAST_FED, scope).fetchone() or (0, 0))


def _put_at(connection: WritingConnection, p: Payment, seq: int, told_us: int, end: tuple[int, int]) -> int:
    at_us, place = max(end[0], told_us), end[1] + 1
    connection.execute(_FEED, (p.id, seq, p.merchant_id, p.mode, at_us, place))
    connection.ends[p.merchant_id, p.mode] = at_us, place
    return place


def _set_due(connection: apsw.Connection, payment_id: str, due_us: int | None) -> None:
    if due_us is None:
        connection.execute(_QUIET, (payment_id,))
    else:
        connection.execute(_DUE, (payment_id, due_us))


def pending(change: Change, expected_version: int) -> PendingChange:
    """Check and encode a change. Raises InvariantViolated."""
    check_change(change, expected_version)
    return PendingChange(change, expected_version, _row(change.payment, expected_version), counting(change))


def _row(p: Payment, expected_version: int) -> dict[str, str | int | bytes]:
    return {
        "id": p.id,
        "merchant_id": p.merchant_id,
        "mode": p.mode,
        "status": p.status,
        "provider": provider_of(p),
        "currency": p.currency,
        "client_id": p.client_id,
        "amount_minor": p.amount_minor,
        "authorized_minor": p.authorized_minor,
        "captured_minor": p.captured_minor,
        "refunded_minor": p.refunded_minor,
        "attention": p.attention,
        "created_us": p.created_us,
        "updated_us": p.updated_us,
        "version": p.version,
        "head": p.head,
        "schema": p.schema,
        "document": _encoder.encode(p),
        "expected": expected_version,
    }


def deferral(payment_id: str, version: int, due_us: int | None) -> Write:
    """Move the due time of a payment that is still at ``version``; None takes it off the index."""

    def write(connection: apsw.Connection) -> bool:
        row = connection.execute(_VERSION, (payment_id,)).fetchone()
        if row is None or row[0] != version:
            return False
        _set_due(connection, payment_id, due_us)
        return True

    return write
