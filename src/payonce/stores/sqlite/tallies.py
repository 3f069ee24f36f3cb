"""Counting in the transaction of a change: tallies (``payonce.figures``), and the rows under which a payment is found by its
metadata and its declines. All of it follows from the change alone and is worked out in the caller's thread.

The tallies of all changes of one transaction are added up in memory (``Sums``) and written at its end, before COMMIT: under
load some dozens of rows for hundreds of changes. A change adds its own as the last step of its write, so one that conflicts
or fails adds nothing; a transaction that does not hold takes them with it. Nothing is counted twice.

A payonce from before counting that is still at work beside this one counts nothing of what it writes."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import apsw
from msgspec import Struct

from payonce.core.events import digest
from payonce.core.payment import Payment
from payonce.figures import MINUTES_KEPT_US, SPAN_US, Tally, What, counted, declines_in, metadata_in
from payonce.ports import Change

from .multirow import Row, Rows

if TYPE_CHECKING:
    from .schema import WritingConnection

MINUTE_US: Final = SPAN_US["minute"]
DAY_US: Final = 24 * SPAN_US["hour"]
# Of the rows. Days are for sums over a week: a seventh of it or so is then read by the hour.
LENGTHS_US: Final[Mapping[str, int]] = {"minute": MINUTE_US, "hour": SPAN_US["hour"], "day": DAY_US}
REMOVED_MAX: Final = 1_000  # rows of old minutes that go at once: more than a minute of one merchant adds
MINOR_MAX: Final = 9 * 10**18  # a sum of amounts stays there, below what an integer of SQLite holds
SCOPES_MAX: Final = 10_000  # merchants and modes whose minute a connection knows
WHOLE: Final[frozenset[What]] = frozenset({"accepted", "settled"})  # not split into parts: their amounts are told apart too

# One row is all buckets (outcomes, codes) of an hour: a week is read as some thousand rows instead of a hundred thousand.
# A new part is {"name":n}; its path in the row that stands is $."name".
_PATH: Final = "'$.' || substr(excluded.parts, 2, instr(excluded.parts, '\":') - 1)"
_ADD: Final = Rows(
    "INSERT INTO tallies (merchant_id, mode, span, at_us, what, account, currency, which, n, minor, parts) VALUES",
    11,
    "ON CONFLICT (merchant_id, mode, span, at_us, what, account, currency, which) DO UPDATE SET "
    "n = n + excluded.n, minor = min(minor + excluded.minor, 9000000000000000000), "
    f"parts = iif(excluded.parts = '', '', json_set(parts, {_PATH}, coalesce(json_extract(parts, {_PATH}), 0) + excluded.n))",
)
_LABELS: Final = Rows("INSERT OR IGNORE INTO labels (merchant_id, mode, label, created_us, payment_id) VALUES", 5)
_DECLINES: Final = Rows("INSERT OR IGNORE INTO declines (merchant_id, mode, code, created_us, payment_id) VALUES", 5)
_OLD: Final = (
    "SELECT merchant_id, mode, span, at_us, what, account, currency, which FROM tallies "
    "WHERE merchant_id = ? AND mode = ? AND span = 'minute' AND at_us < ? LIMIT ?"
)
_REMOVE: Final = (
    "DELETE FROM tallies WHERE merchant_id = ? AND mode = ? AND span = ? AND at_us = ? AND what = ? AND account = ? "
    "AND currency = ? AND which = ?"
)

_UNQUOTABLE: Final = re.compile(r"[^A-Za-z0-9_:.-]")  # in the name of a part: it stands in JSON and in a path

# Merchant, mode, minute, what, account, currency, which, and the part of the row; '' = it has none.
Key = tuple[str, str, int, What, str, str, str, str]
Added = tuple[Key, int, int]  # n, minor
Found = tuple[str, str, str | bytes, int, str]


class Counting(Struct, frozen=True):
    """What a change adds, ready to be written."""

    added: tuple[Added, ...] = ()
    labels: tuple[Found, ...] = ()
    declines: tuple[Found, ...] = ()


class Sums:
    """The tallies of a transaction that is being written, by the minute. Whoever rolls it back clears them."""

    def __init__(self) -> None:
        self._rows: dict[Key, tuple[int, int]] = {}
        self._minutes: dict[tuple[str, str], int] = {}  # the newest minute counted in, by merchant and mode

    def add(self, rows: Iterable[Added]) -> None:
        sums = self._rows
        for key, n, minor in rows:
            before = sums.get(key, (0, 0))
            sums[key] = before[0] + n, before[1] + minor

    def clear(self) -> None:
        self._rows.clear()

    def write(self, connection: apsw.Connection, minutes_from_us: int = 0) -> None:
        """At the end of the transaction; minutes only from a time on. The first one of a minute takes a merchant's old minutes
        away. Raises apsw.Error."""
        if not self._rows:
            return
        _ADD.write(connection, self._spread(minutes_from_us))
        newest = dict[tuple[str, str], int]()
        for merchant_id, mode, at_us, *_ in self._rows:
            newest[merchant_id, mode] = max(at_us, newest.get((merchant_id, mode), 0))
        self._rows.clear()
        for scope, minute_us in newest.items():
            if minute_us <= self._minutes.get(scope, 0):
                continue
            if len(self._minutes) >= SCOPES_MAX:
                self._minutes.clear()
            self._minutes[scope] = minute_us
            old = connection.execute(_OLD, (*scope, minute_us - MINUTES_KEPT_US, REMOVED_MAX)).fetchall()
            connection.executemany(_REMOVE, old)

    def _spread(self, minutes_from_us: int) -> list[Row]:
        """The rows of minutes, hours and days that they are in."""
        found = dict[tuple[str | int, ...], tuple[int, int]]()
        for (merchant_id, mode, at_us, *rest), (n, minor) in self._rows.items():
            names = tuple(map(str, rest))
            for span, length_us in LENGTHS_US.items():
                if span == "minute" and at_us < minutes_from_us:
                    continue
                key: tuple[str | int, ...] = (merchant_id, mode, span, at_us - at_us % length_us, *names)
                before = found.get(key, (0, 0))
                found[key] = before[0] + n, before[1] + minor
        return [_row(key, n, minor) for key, (n, minor) in found.items()]


def write_found(connection: "WritingConnection", counted: Sequence[Counting]) -> None:
    """The last step of the changes' write: nothing after it may fail but the end of the transaction."""
    keep(connection, [row for c in counted for row in c.labels], [row for c in counted for row in c.declines])
    for c in counted:
        connection.sums.add(c.added)


def counting(change: Change) -> Counting:
    """What a change adds. Pure."""
    p = change.payment
    return Counting(
        tuple(added(p, counted(change))),
        tuple(labels(p, metadata_in(change))),
        tuple(declines(p, declines_in(change))),
    )


def _row(key: tuple[str | int, ...], n: int, minor: int) -> Row:
    *names, part = key
    return *names, n, min(minor, MINOR_MAX), f'{{"{part}":{n}}}' if part else ""


def added(p: Payment, tallies: Iterable[Tally]) -> Iterator[Added]:
    """What is to be added up."""
    for t in tallies:
        which, part = (t.which, "") if t.what in WHOLE else ("", _UNQUOTABLE.sub("_", t.which))
        at_us = t.at_us - t.at_us % MINUTE_US
        yield (p.merchant_id, p.mode, at_us, t.what, t.account, t.currency, which, part), t.n, t.minor


def labels(p: Payment, values: Iterable[str]) -> Iterator[Found]:
    """A row for each value of the metadata."""
    return ((p.merchant_id, p.mode, label(value), p.created_us, p.id) for value in values)


def label(value: str) -> bytes:
    return bytes.fromhex(digest(value.encode())[:32])


def declines(p: Payment, codes: Iterable[str]) -> Iterator[Found]:
    """A row for each decline code."""
    return ((p.merchant_id, p.mode, code, p.created_us, p.id) for code in codes)


def keep(connection: apsw.Connection, named: Sequence[Found], declined: Sequence[Found]) -> None:
    """The rows of payments from before counting."""
    _LABELS.write(connection, named)
    _DECLINES.write(connection, declined)
