"""What a file from before counting (schema 4 and older) gets when it is migrated: its newest payments are counted as their rows
show them, and can be found by metadata and decline code. Older ones than those are not: ``counting.since_us`` says from when
on everything is there."""

from typing import Final

import apsw
import msgspec

from payonce.core.payment import SCHEMA, Payment
from payonce.figures import MINUTES_KEPT_US, declines_on, metadata_kept, of_payment

from . import tallies

PAYMENTS_MAX: Final = 100_000  # 7.5 s of CPU and the disk's time, while other processes wait for the file
PORTION: Final = 1_000

_NEWEST: Final = "SELECT id, created_us, schema FROM payments ORDER BY created_us DESC, id DESC LIMIT ?"
_ONE: Final = "SELECT document FROM payments WHERE id = ?"
_DETAILS: Final = "SELECT bytes FROM bodies WHERE payment_id = ? AND sha256 = ?"
_LAST: Final = "SELECT max(updated_us) FROM payments"
_SINCE: Final = "INSERT INTO counting (one, since_us) VALUES (1, ?)"

_decoder: Final = msgspec.json.Decoder(Payment)


def count(connection: apsw.Connection, payments_max: int = PAYMENTS_MAX) -> None:
    """In the migration's transaction. Rows of a newer schema, or damaged ones, are passed over."""
    newest: list[tuple[str, int, int]] = list(connection.execute(_NEWEST, (payments_max + 1,)))
    sums = tallies.Sums()
    minutes_us = (connection.execute(_LAST).get or 0) - MINUTES_KEPT_US
    known = [id for id, _, schema in newest[:payments_max] if schema <= SCHEMA]
    for start in range(0, len(known), PORTION):
        _portion(connection, known[start : start + PORTION], sums)
    sums.write(connection, minutes_us)
    # Of the payments at that very moment some may be left out.
    connection.execute(_SINCE, (newest[payments_max][1] + 1 if len(newest) > payments_max else 0,))


def _portion(connection: apsw.Connection, ids: list[str], sums: tallies.Sums) -> None:
    named: list[tallies.Found] = []
    declined: list[tallies.Found] = []
    for id in ids:
        try:
            p = _decoder.decode(connection.execute(_ONE, (id,)).get)
            found = list(of_payment(p))
        except (msgspec.MsgspecError, LookupError):
            continue  # what is damaged is said by whoever reads it
        sums.add(tallies.added(p, found))
        details = connection.execute(_DETAILS, (p.id, p.details_sha256)).fetchone()
        named += tallies.labels(p, metadata_kept(details[0])) if details else ()
        declined += tallies.declines(p, declines_on(p))
    tallies.keep(connection, named, declined)
