"""Writing many changes inside the writer's open transaction: read once, judged one by one, written once.

The writes of a transaction are cut into runs in which no payment and no key occurs twice, so that nothing that is read for a
run is changed by it. Whoever comes second, of a payment or for a key, is in a later run and sees what the first one wrote: it
gets the Conflict that it would have got alone. A crowd of different payments is one run, of some ten statements."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from payonce.ports import Change, Committed, Conflict, KeyRow
from payonce.stores.rows import check_continues

from . import reads, tallies
from .multirow import Row, Rows
from .schema import WritingConnection
from .writes import Deferral, Other, PendingChange, Plain, Write

COMMITTED: Final = Committed()
ENDS_MAX: Final = 10_000  # feeds whose ends a connection knows

# Who owns a payment, its currency and when it was created never change, so their indexes rest in an update.
UPDATED: Final = (
    *("status", "provider", "authorized_minor", "captured_minor", "refunded_minor", "attention", "updated_us"),
    *("version", "head", "schema", "document"),
)
CREATED: Final = ("id", "merchant_id", "mode", "currency", "client_id", "amount_minor", "created_us", *UPDATED)

_ASK: Final = Rows(
    "WITH asked (id, merchant_id, mode, key) AS (VALUES",
    4,
    ") SELECT asked.id, p.version, p.head, p.schema, k.operation, k.payment_id, k.request_v, k.request FROM asked "
    "LEFT JOIN payments AS p ON p.id = asked.id "
    "LEFT JOIN keys AS k ON k.merchant_id = asked.merchant_id AND k.mode = asked.mode AND k.key = asked.key",
)
_CREATE: Final = Rows(f"INSERT INTO payments ({', '.join(CREATED)}) VALUES", len(CREATED))
_UPDATE: Final = Rows(
    f"WITH new (id, expected, {', '.join(UPDATED)}) AS (VALUES",
    2 + len(UPDATED),
    f") UPDATE payments SET {', '.join(f'{c} = new.{c}' for c in UPDATED)} FROM new "  # noqa: S608 - fixed names
    "WHERE payments.id = new.id AND payments.version = new.expected",
)
_EVENTS: Final = Rows("INSERT INTO events (payment_id, seq, raw, hash, news) VALUES", 5)
_KEYS: Final = Rows("INSERT INTO keys (merchant_id, mode, key, operation, payment_id, request_v, request) VALUES", 7)
_REFS: Final = Rows("INSERT OR IGNORE INTO refs (value, account, kind, payment_id) VALUES", 4)
_BODIES: Final = Rows("INSERT OR IGNORE INTO bodies (payment_id, sha256, bytes) VALUES", 3)
_DUE: Final = Rows(
    "INSERT INTO due (kind, id, due_us) VALUES",
    3,
    "ON CONFLICT (kind, id) DO UPDATE SET due_us = excluded.due_us WHERE due_us != excluded.due_us",
)
_QUIET: Final = Rows("DELETE FROM due WHERE kind = 'payment' AND id IN (", 1, ")")
# A time that goes back would put a place before those that were read already: the latest so far stands instead.
_LAST_FED: Final = "SELECT at_us, place FROM feed WHERE merchant_id = ? AND mode = ? ORDER BY place DESC LIMIT 1"
_FEED: Final = Rows("INSERT INTO feed (payment_id, seq, merchant_id, mode, at_us, place) VALUES", 6)
# A notice that stands keeps its first seq.
_NOTICES: Final = Rows(
    "INSERT INTO notices (payment_id, from_seq, due_us) VALUES",
    3,
    "ON CONFLICT (payment_id) DO UPDATE SET due_us = excluded.due_us",
)

_NO_KEY: Final = (None, None, None)

# Id, version, head and schema of a payment (None: there is none), and what the key stands for (None: nothing).
Found = tuple[str, int | None, str, int, str | None, str, int, bytes]


def write_all(connection: WritingConnection, writes: Iterable[Write]) -> list[object]:
    """The result of each, in order. Raises at the first error of any, with some of them written: for the caller to undo."""
    results: list[object] = []
    for run in _runs(writes):
        results += _write_run(connection, run) if isinstance(run, list) else [run(connection)]
    return results


def _runs(writes: Iterable[Write]) -> Iterator[list[Plain] | Other]:
    """In order: plain writes in runs in which no payment and no key occurs twice, others each for itself."""
    run: list[Plain] = []
    seen = set[object]()  # payments and keys of the run
    for write in writes:
        if not isinstance(write, PendingChange | Deferral):
            if run:
                yield run
                run, seen = [], set()
            yield write
            continue
        if write.id in seen or write.keyed in seen:
            yield run
            run, seen = [], set()
        run.append(write)
        seen.add(write.id)
        if write.keyed is not None:
            seen.add(write.keyed)
    if run:
        yield run


def _write_run(connection: WritingConnection, run: Sequence[Plain]) -> list[object]:
    rows: Iterator[Found] = _ASK.ask(connection, [(write.id, *(write.keyed or _NO_KEY)) for write in run])
    found = {row[0]: row for row in rows}
    results: list[object] = []
    changes: list[PendingChange] = []
    due: list[Row] = []
    quiet: list[Row] = []
    for write in run:
        result = _judged(connection, write, found[write.id])
        results.append(result)
        if result is not COMMITTED and result is not True:
            continue
        if isinstance(write, PendingChange):
            changes.append(write)
        if write.due_us is None:
            quiet.append((write.id,))
        else:
            due.append(("payment", write.id, write.due_us))
    _DUE.write(connection, due)
    _QUIET.write(connection, quiet)
    _write_changes(connection, changes)
    return results


def _judged(connection: WritingConnection, write: Plain, found: Found) -> Committed | Conflict | bool:
    """COMMITTED or True: nothing stands against it. Raises InvariantViolated; NewerSchema, because such a row must not be
    written over."""
    _, version, head, schema, operation, payment_id, request_v, request = found
    if isinstance(write, Deferral):
        return version == write.version
    if operation is not None and write.keyed is not None:
        key = str(write.keyed[-1])
        return Conflict(key=KeyRow(key=key, operation=operation, payment_id=payment_id, request_v=request_v, request=request))
    if version is None:
        version, head = 0, ""
    else:
        reads.require_known(write.id, schema)
    if version != write.expected_version:
        return Conflict(payment=reads.get(connection, write.id))
    check_continues(write.change, head)
    return COMMITTED


def _write_changes(connection: WritingConnection, changes: Sequence[PendingChange]) -> None:
    created = [c.row for c in changes if c.expected_version == 0]
    updated = [c.row for c in changes if c.expected_version != 0]
    _CREATE.write_exactly(connection, created)
    _UPDATE.write_exactly(connection, updated)
    places = _tell(connection, [c.change for c in changes])
    _EVENTS.write(
        connection,
        [
            (c.id, e.envelope.seq, e.raw, e.hash, places.get((c.id, e.envelope.seq), 0))
            for c in changes
            for e in c.change.entries
        ],
    )
    _KEYS.write(connection, [row for c in changes for row in c.keys])
    _REFS.write(connection, [row for c in changes for row in c.refs])
    _BODIES.write(connection, [row for c in changes for row in c.bodies])
    tallies.write_found(connection, [c.counting for c in changes])


def _tell(connection: WritingConnection, changes: Iterable[Change]) -> dict[tuple[str, int], int]:
    """The places of the news in the feed by payment and seq; and notices where somebody is subscribed.

    The connection remembers where each feed ended when it last wrote there. That another process has written since shows in
    the file's own counter (``Writer``); were it missed, the next place would be taken: a key of the table."""
    places = dict[tuple[str, int], int]()
    fed: list[Row] = []
    notices: list[Row] = []
    ends = connection.ends
    if len(ends) >= ENDS_MAX:
        ends.clear()
    for change in changes:
        if not change.news:
            continue
        p, first = change.payment, change.entries[0].envelope.seq
        scope = p.merchant_id, p.mode
        at_us, place = ends.get(scope) or connection.execute(_LAST_FED, scope).fetchone() or (0, 0)
        for seq in change.news:
            told_us = change.entries[seq - first].envelope.at_us
            at_us, place = max(at_us, told_us), place + 1
            places[p.id, seq] = place
            fed.append((p.id, seq, *scope, at_us, place))
        ends[scope] = at_us, place
        if change.notify:
            notices.append((p.id, change.news[0], told_us))
    _FEED.write(connection, fed)
    _NOTICES.write(connection, notices)
    return places
