"""What ``payonce verify`` asks about the feed and the outbox. The news of each payment is projected again from its history, and
each of its places must be there: what is not in the feed, no merchant hears of. Events that an older payonce wrote are not in
it."""

from collections.abc import Iterator, Mapping
from typing import Final

import apsw

from payonce.core import news
from payonce.core.errors import InvariantViolated
from payonce.core.events import Entry
from payonce.core.payment import Payment

# Each event by who knew of the feed, with what stands at the place that it names.
_PLACES: Final = (
    "SELECT events.seq, news, feed.payment_id, feed.seq, at_us FROM events "
    "LEFT JOIN feed ON merchant_id = ? AND mode = ? AND place = news "
    "WHERE events.payment_id = ? AND news IS NOT NULL ORDER BY events.seq"
)

STRAYS: Final[Mapping[str, str]] = {
    "a place in the feed of no payment": (
        "SELECT payment_id, seq FROM feed WHERE NOT EXISTS (SELECT 1 FROM events WHERE payment_id = feed.payment_id) "
        "AND NOT EXISTS (SELECT 1 FROM payments WHERE payments.id = feed.payment_id)"
    ),
    "an event that has a place in the feed, and holds no news that belongs there": (
        "SELECT feed.payment_id, feed.seq FROM feed JOIN events ON events.payment_id = feed.payment_id "
        "AND events.seq = feed.seq WHERE news IS NOT place"
    ),
    "a place in the feed of no event": (
        "SELECT payment_id, seq FROM feed WHERE NOT EXISTS (SELECT 1 FROM events WHERE payment_id = feed.payment_id "
        "AND seq = feed.seq) AND EXISTS (SELECT 1 FROM payments WHERE payments.id = feed.payment_id)"
    ),
    "an event that stands in the feed of another merchant or mode": (
        "SELECT payment_id, seq FROM feed JOIN payments ON payments.id = payment_id "
        "WHERE (feed.merchant_id, feed.mode) != (payments.merchant_id, payments.mode)"
    ),
    # One walk along the table: places of a feed go 1, 2, 3, and their times do not go back.
    "a gap in the feed, or places out of order, before place": (
        "SELECT payment_id, place FROM (SELECT payment_id, place, at_us, lag(place, 1, 0) OVER feeds AS last, "
        "lag(at_us, 1, 0) OVER feeds AS last_us FROM feed WINDOW feeds AS (PARTITION BY merchant_id, mode ORDER BY place)) "
        "WHERE place != last + 1 OR at_us < last_us"
    ),
    "a notice of no news, from event": (
        "SELECT payment_id, from_seq FROM notices WHERE NOT EXISTS (SELECT 1 FROM events "
        "WHERE events.payment_id = notices.payment_id AND seq = from_seq AND news > 0)"
    ),
    "a delivery to another merchant than the payment's": (
        "SELECT payment_id, deliveries.id FROM deliveries JOIN payments ON payments.id = payment_id "
        "WHERE (deliveries.merchant_id, deliveries.mode) != (payments.merchant_id, payments.mode)"
    ),
    "a delivery of no payment's event": (
        "SELECT payment_id, id FROM deliveries WHERE payment_id != '' AND NOT EXISTS "
        "(SELECT 1 FROM events WHERE events.payment_id = deliveries.payment_id AND events.seq = deliveries.seq)"
    ),
    "a due time of no delivery": (
        "SELECT id, kind FROM due WHERE kind = 'delivery' "
        "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.id = due.id)"
    ),
    "a delivery that nobody will try": (
        "SELECT id, state FROM deliveries WHERE state = 'pending' "
        "AND NOT EXISTS (SELECT 1 FROM due WHERE due.kind = 'delivery' AND due.id = deliveries.id)"
    ),
}


def misplaced(connection: apsw.Connection, p: Payment, entries: tuple[Entry, ...]) -> Iterator[str]:
    """What the feed says else about a payment than its history does."""
    if not is_there(connection):
        return
    try:
        told = {n.seq: n.at_us for n in news.of_history(entries)}
    except (InvariantViolated, LookupError):
        return  # the history itself is wrong, and that is said
    for seq, place, fed_id, fed_seq, at_us in connection.execute(_PLACES, (p.merchant_id, p.mode, p.id)):
        if seq not in told:
            if place:
                yield f"event {seq} has a place in the feed, and holds no news that belongs there"
        elif (fed_id, fed_seq) != (p.id, seq):
            yield f"event {seq} holds news and has no place in the feed: its merchant cannot hear of it"
        elif at_us < told[seq]:
            yield f"event {seq} stands in the feed at an earlier time than it happened"


def is_there(connection: apsw.Connection) -> bool:
    """Not in a backup of an older schema, opened to read only."""
    return connection.table_exists("main", "feed")
