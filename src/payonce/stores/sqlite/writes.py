"""A change or a deferral, checked and encoded in the caller's thread, ready to be written by ``batch``: the shorter a
transaction, the sooner the next."""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from payonce.core.payment import Payment
from payonce.ports import Change
from payonce.stores.rows import check_change, provider_of

from .multirow import Row
from .schema import WritingConnection
from .tallies import Counting, counting

_encoder = msgspec.json.Encoder()


class PendingChange(Struct, frozen=True):
    """A change as the rows that it writes. What stands in the file, and where the feed ends, only the transaction knows."""

    change: Change
    expected_version: int
    id: str  # of the payment
    keyed: Row | None  # merchant, mode and key, if there is one
    row: Row  # of the payment: to be created, or what an update sets
    keys: tuple[Row, ...] = ()
    refs: tuple[Row, ...] = ()
    bodies: tuple[Row, ...] = ()
    counting: Counting = Counting()

    @property
    def due_us(self) -> int | None:
        return self.change.due_us


class Deferral(Struct, frozen=True):
    """Move the due time of a payment that is still at ``version``; None takes it off the index."""

    id: str
    version: int
    due_us: int | None
    keyed: Row | None = None


Plain = PendingChange | Deferral  # most of what is written; written together
Other = Callable[[WritingConnection], object]
Write = Plain | Other


def pending(change: Change, expected_version: int) -> PendingChange:
    """Check and encode a change. Raises InvariantViolated."""
    check_change(change, expected_version)
    p, k = change.payment, change.key
    return PendingChange(
        change,
        expected_version,
        p.id,
        (p.merchant_id, p.mode, k.key) if k is not None else None,
        _update(p, expected_version) if expected_version else _create(p),
        ((p.merchant_id, p.mode, k.key, k.operation, k.payment_id, k.request_v, k.request),) if k is not None else (),
        tuple((r.value, r.account, r.kind, p.id) for r in change.refs),
        tuple((p.id, sha256, body) for sha256, body in change.bodies.items()),
        counting(change),
    )


def _create(p: Payment) -> Row:
    """In the order of ``batch.CREATED``."""
    return (
        *(p.id, p.merchant_id, p.mode, p.currency, p.client_id, p.amount_minor, p.created_us),
        *(p.status, provider_of(p), p.authorized_minor, p.captured_minor, p.refunded_minor, p.attention, p.updated_us),
        *(p.version, p.head, p.schema, _encoder.encode(p)),
    )


def _update(p: Payment, expected_version: int) -> Row:
    """In the order of ``batch.UPDATED``, behind the condition."""
    return (
        *(p.id, expected_version),
        *(p.status, provider_of(p), p.authorized_minor, p.captured_minor, p.refunded_minor, p.attention, p.updated_us),
        *(p.version, p.head, p.schema, _encoder.encode(p)),
    )
