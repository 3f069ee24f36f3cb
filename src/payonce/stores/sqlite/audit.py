"""What ``payonce verify`` asks: all that lies under an id, from one snapshot, and what lies under no payment's id.

Of what figures and listings are made of (``tallies``, ``labels``, ``declines``) only one thing is asked: that what a payment is
found by leads to one. That none is missing there is not: an older payonce at work beside this one counts nothing, and payments
from before counting may be left out."""

from collections.abc import Iterator, Sequence
from typing import Final

import apsw
from msgspec import Struct

from payonce.core.errors import InvariantViolated, NewerSchema
from payonce.core.events import Entry, digest
from payonce.core.payment import Payment
from payonce.ports import KeyRow
from payonce.stores.rows import provider_of

from . import audit_outbox, figures, reads

HISTORY_PAGE: Final = 1000
SAID_MAX: Final = 100  # rows of one kind of stray that are named; the rest is only counted

_ROW: Final = "SELECT * FROM payments WHERE id = ?"
# Two ordered walks that SQLite merges: nothing is sorted or kept.
_IDS: Final = (
    "SELECT id FROM payments WHERE id > ?1 UNION SELECT payment_id FROM events WHERE payment_id > ?1 ORDER BY 1 LIMIT ?2"
)
_REF: Final = "SELECT 1 FROM refs WHERE value = ? AND account = ? AND kind = 'reference' AND payment_id = ?"
_BODIES: Final = "SELECT sha256, bytes FROM bodies WHERE payment_id = ?"

# What is under no payment. What has a history but no row shows at its id; it is not said again for each of its parts.
_NOBODY: Final = (
    "NOT EXISTS (SELECT 1 FROM payments WHERE payments.id = {0}) AND NOT EXISTS (SELECT 1 FROM events WHERE payment_id = {0})"
)
_STRAYS: Final = {
    "an idempotency key of no payment": f"SELECT payment_id, key FROM keys WHERE {_NOBODY.format('keys.payment_id')}",  # noqa: S608 - fixed names
    "an idempotency key of another merchant's or mode's payment": (
        "SELECT payment_id, key FROM keys JOIN payments ON payments.id = payment_id "
        "WHERE (keys.merchant_id, keys.mode) != (payments.merchant_id, payments.mode)"
    ),
    "a second idempotency key of a charge": (
        "SELECT payment_id, max(key) FROM keys WHERE operation = 'charge' GROUP BY payment_id HAVING count(*) > 1"
    ),
    "a reference of no payment": f"SELECT payment_id, value FROM refs WHERE {_NOBODY.format('refs.payment_id')}",  # noqa: S608 - fixed names
    "stored bytes of no payment": f"SELECT payment_id, sha256 FROM bodies WHERE {_NOBODY.format('bodies.payment_id')}",  # noqa: S608 - fixed names
    "a due time of no payment": f"SELECT id, kind FROM due WHERE kind = 'payment' AND {_NOBODY.format('due.id')}",  # noqa: S608 - fixed names
}

# Only where the file has an inbox: not in a backup of an older schema.
_INBOX_STRAYS: Final = {
    "a due time of no webhook": (
        "SELECT id, kind FROM due WHERE kind = 'webhook' AND NOT EXISTS (SELECT 1 FROM inbox WHERE inbox.id = due.id)"
    ),
    "a webhook that nobody will look at": (
        "SELECT id, state FROM inbox WHERE state IN ('new', 'parked') "
        "AND NOT EXISTS (SELECT 1 FROM due WHERE due.kind = 'webhook' AND due.id = inbox.id)"
    ),
}


# Likewise.
_FOUND_BY: Final = {
    "a metadata value of no payment": f"SELECT payment_id, hex(label) FROM labels WHERE {_NOBODY.format('labels.payment_id')}",  # noqa: S608 - fixed names
    "a decline of no payment": f"SELECT payment_id, code FROM declines WHERE {_NOBODY.format('declines.payment_id')}",  # noqa: S608 - fixed names
}


class Held(Struct, frozen=True, kw_only=True):
    """What the file holds under one id. ``trouble`` says what could not be read: then the rest is incomplete."""

    id: str
    payment: Payment | None = None  # the document of its row
    differing: tuple[str, ...] = ()  # columns beside the document that say something else than it
    entries: tuple[Entry, ...] = ()
    key: KeyRow | None = None  # under the payment's own key, in its merchant and mode
    named: frozenset[str] = frozenset()  # our references that lead to it
    bodies: dict[str, str] = {}  # name -> the digest that the bytes have
    due_us: int | None = None
    elsewhere: tuple[str, ...] = ()  # what the feed says else about it
    trouble: str = ""


class Stray(Struct, frozen=True):
    """Rows that belong to no payment: ``id`` of the first ones, or "" for the count of the rest."""

    id: str
    says: str


def ids(connection: apsw.Connection, after: str, limit: int) -> tuple[str, ...]:
    """Of all that has a row or a history, in order."""
    return tuple(id for (id,) in connection.execute(_IDS, (after, limit)))


def held(connection: apsw.Connection, names: Sequence[str]) -> tuple[Held, ...]:
    """One snapshot for all: whatever is written meanwhile, each payment is seen with all of its parts."""
    with connection:
        found = tuple(_held(connection, id) for id in names)
    return found  # noqa: RET504 - a return inside looks to mypy as if the snapshot could swallow it


def _held(connection: apsw.Connection, id: str) -> Held:
    entries: tuple[Entry, ...] = ()
    try:
        entries = _history(connection, id)
        p = reads.get(connection, id)
    except NewerSchema as error:
        return Held(id=id, entries=entries, trouble=f"written by a newer payonce, not checked: {error}")
    except InvariantViolated as error:
        return Held(id=id, entries=entries, trouble=f"cannot be read: {error}")
    if p is None:
        return Held(id=id, entries=entries)
    return Held(
        id=id,
        payment=p,
        differing=_differing(connection, p),
        entries=entries,
        key=reads.find_key(connection, p.merchant_id, p.mode, p.idempotency_key),
        named=frozenset(a.reference for a in p.attempts if connection.execute(_REF, (a.reference, a.account, id)).fetchone()),
        bodies={name: digest(raw) for name, raw in connection.execute(_BODIES, (id,))},
        due_us=reads.due_of(connection, id),
        elsewhere=tuple(audit_outbox.misplaced(connection, p, entries)),
    )


def _history(connection: apsw.Connection, id: str) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    while True:
        page = reads.history(connection, id, entries[-1].envelope.seq if entries else 0, HISTORY_PAGE)
        entries += page
        if len(page) < HISTORY_PAGE:
            return tuple(entries)


def _differing(connection: apsw.Connection, p: Payment) -> tuple[str, ...]:
    """Every column but the document, those of later migrations too, is a field of the payment or derived from it."""
    cursor = connection.execute(_ROW, (p.id,))
    columns = [name for name, _ in cursor.get_description()]
    row = dict(zip(columns, next(cursor), strict=True))
    del row["document"]
    return tuple(n for n, value in row.items() if value != (provider_of(p) if n == "provider" else getattr(p, n)))


def strays(connection: apsw.Connection) -> tuple[Stray, ...]:
    """What belongs to no payment, kind by kind."""
    asked = _STRAYS | (_INBOX_STRAYS if connection.table_exists("main", "inbox") else {})
    asked |= audit_outbox.STRAYS if audit_outbox.is_there(connection) else {}
    asked |= _FOUND_BY if figures.is_there(connection) else {}
    return tuple(stray for what, sql in asked.items() for stray in _stray(connection, what, sql))


def _stray(connection: apsw.Connection, what: str, sql: str) -> Iterator[Stray]:
    more = 0
    for number, (id, name) in enumerate(connection.execute(sql)):
        if number < SAID_MAX:
            yield Stray(id, f"{what}: {name}")
        else:
            more += 1
    if more:
        yield Stray("", f"{what}: {more} more")


def check(connection: apsw.Connection) -> tuple[str, ...]:
    """What SQLite finds wrong with the file: its pages, and whether each index says what its table says."""
    try:
        return tuple(text for (text,) in connection.execute("PRAGMA integrity_check(20)") if text != "ok")
    except (apsw.CorruptError, apsw.NotADBError) as e:  # too damaged even to be looked through
        return (str(e),)
