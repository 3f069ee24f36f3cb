"""The counted figures of the payments file. See ``payonce.figures.Figures``."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import apsw
import msgspec

from payonce.figures import COUNT_MAX, OVERDUE_LOOKED, SPAN_US, WAITING, Span, Tallied, Tally, What
from payonce.ports import Due, Scope
from payonce.stores.rows import check_limit

from .tallies import DAY_US

if TYPE_CHECKING:
    from .looking import Readers

TALLIES: Final = (
    "SELECT at_us, what, account, currency, which, n, minor, parts FROM tallies "
    "WHERE merchant_id = ? AND mode = ? AND span = ? AND at_us >= ? AND at_us < ?{} "
    "ORDER BY at_us, what, account, currency, which"  # as the key has them: nothing is sorted
)
STANDING: Final = "SELECT count(*) FROM (SELECT 1 FROM payments WHERE merchant_id = ? AND mode = ? AND status = ? LIMIT ?)"
EYES: Final = (
    "SELECT count(*) FROM (SELECT 1 FROM payments WHERE merchant_id = ? AND mode = ? "
    "AND (status = 'IN_DOUBT' OR attention != '') LIMIT ?)"
)
# The due rows of all merchants in their order, so many of them; then those of one merchant.
OVERDUE: Final = (
    "SELECT first.id, first.due_us FROM (SELECT id, due_us FROM due WHERE kind = 'payment' AND due_us <= ? "
    "ORDER BY due_us, id LIMIT ?) AS first CROSS JOIN payments ON payments.id = first.id "
    "WHERE merchant_id = ? AND mode = ? ORDER BY first.due_us, first.id LIMIT ?"
)
_SINCE: Final = "SELECT since_us FROM counting"

HOUR_US: Final = SPAN_US["hour"]
_parts: Final = msgspec.json.Decoder(dict[str, int])
_Row = tuple[int, What, str, str, str, int, int, str]
_Range = tuple[str, int, int]  # span, from, before
_Key = tuple[What, str, str]  # what, account, currency


class SqliteFigures:
    """Made by ``open_store`` and ``open_to_read``; closed with its store."""

    def __init__(self, readers: "Readers") -> None:
        self._readers = readers

    async def tallies(
        self, scope: Scope, from_us: int, before_us: int, *, span: Span, fold: bool = False, what: Collection[What] = ()
    ) -> Tallied:
        ranges: list[_Range] = _ranges(span, from_us, before_us) if fold else [(span, from_us, before_us)]
        return await self._readers.run(_tallies, scope, ranges, tuple(sorted(what)), fold=fold)

    async def standing(self, scope: Scope) -> Mapping[str, int]:
        return await self._readers.run(_standing, scope)

    async def overdue(self, scope: Scope, before_us: int, limit: int) -> tuple[Due, ...]:
        check_limit(limit)
        return await self._readers.run(_overdue, scope, before_us, limit)


def _ranges(span: Span, from_us: int, before_us: int) -> list[_Range]:
    """The rows that sum up to a window: whole days where there are some, and hours around them."""
    first_us, last_us = -(-from_us // DAY_US) * DAY_US, before_us // DAY_US * DAY_US
    if span != "hour" or first_us >= last_us or from_us % HOUR_US or before_us % HOUR_US:
        return [(span, from_us, before_us)]
    return [("hour", from_us, first_us), ("day", first_us, last_us), ("hour", last_us, before_us)]


def _tallies(connection: apsw.Connection, scope: Scope, ranges: list[_Range], what: tuple[What, ...], *, fold: bool) -> Tallied:
    from_us, before_us = ranges[0][1], ranges[-1][2]
    if not is_there(connection):
        return Tallied((), complete=False, since_us=before_us)
    sql = TALLIES.format(f" AND what IN ({', '.join('?' for _ in what)})" if what else "")
    rows: list[_Row] = []
    with connection:  # one snapshot: a migration that counts is in it or not
        since_us = connection.execute(_SINCE).get or 0
        for each in ranges:
            rows += connection.execute(sql, (scope.merchant_id, scope.mode, *each, *what))
    return Tallied(tuple(_summed(rows) if fold else _each(rows)), complete=since_us <= from_us, since_us=since_us)


def _each(rows: list[_Row]) -> Iterator[Tally]:
    """Each part for itself, in the order of ``figures.summed``, which is that of the table."""
    for at_us, what, account, currency, which, n, minor, parts in rows:
        if not parts:
            yield Tally(at_us=at_us, what=what, account=account, currency=currency, which=which, n=n, minor=minor)
            continue
        for name, count in sorted(_parts.decode(parts).items()):
            yield Tally(at_us=at_us, what=what, account=account, currency=currency, which=name, n=count)


def _summed(rows: list[_Row]) -> list[Tally]:
    """All of them together, in the same order."""
    found = dict[_Key, dict[str, int]]()
    minors = Counter[tuple[_Key, str]]()
    for _, what, account, currency, which, n, minor, parts in rows:
        key = (what, account, currency)
        sums = found.setdefault(key, {})
        if not parts:
            sums[which] = sums.get(which, 0) + n
            minors[key, which] += minor
            continue
        for name, count in _parts.decode(parts).items():
            sums[name] = sums.get(name, 0) + count
    return [
        Tally(at_us=0, what=key[0], account=key[1], currency=key[2], which=which, n=n, minor=minors[key, which])
        for key, sums in sorted(found.items())
        for which, n in sorted(sums.items())
    ]


def _standing(connection: apsw.Connection, scope: Scope) -> dict[str, int]:
    own, most = (scope.merchant_id, scope.mode), COUNT_MAX + 1
    found = {status: int(connection.execute(STANDING, (*own, status, most)).get) for status in WAITING}
    return found | {"attention": int(connection.execute(EYES, (*own, most)).get)}


def _overdue(connection: apsw.Connection, scope: Scope, before_us: int, limit: int) -> tuple[Due, ...]:
    values = (before_us, OVERDUE_LOOKED, scope.merchant_id, scope.mode, limit)
    return tuple(Due(id, due_us) for id, due_us in connection.execute(OVERDUE, values))


def is_there(connection: apsw.Connection) -> bool:
    """Not in a backup of an older schema, opened to read only."""
    return connection.table_exists("main", "tallies")
