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

Write = Callable[[apsw.Connection], object]

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
_EVENT: Final = "INSERT INTO events (payment_id, seq, raw, hash) VALUES (?, ?, ?, ?)"
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
_VERSION: Final = "SELECT version FROM payments WHERE id = ?"


class PendingChange(Struct, frozen=True):
    """A change, checked and encoded, ready to be written."""

    change: Change
    expected_version: int
    row: dict[str, str | int | bytes]

    def __call__(self, connection: apsw.Connection) -> Committed | Conflict:
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

    def _write_beside(self, connection: apsw.Connection) -> None:
        change, p = self.change, self.change.payment
        connection.executemany(_EVENT, [(p.id, e.envelope.seq, e.raw, e.hash) for e in change.entries])
        _set_due(connection, p.id, change.due_us)
        if change.key is not None:
            k = change.key
            connection.execute(_KEY, (p.merchant_id, p.mode, k.key, k.operation, k.payment_id, k.request_v, k.request))
        if change.refs:
            connection.executemany(_REF, [(r.value, r.account, r.kind, p.id) for r in change.refs])
        if change.bodies:
            connection.executemany(_BODY, [(p.id, sha256, body) for sha256, body in change.bodies.items()])


def _set_due(connection: apsw.Connection, payment_id: str, due_us: int | None) -> None:
    if due_us is None:
        connection.execute(_QUIET, (payment_id,))
    else:
        connection.execute(_DUE, (payment_id, due_us))


def pending(change: Change, expected_version: int) -> PendingChange:
    """Check and encode a change. Raises InvariantViolated."""
    check_change(change, expected_version)
    return PendingChange(change, expected_version, _row(change.payment, expected_version))


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
