"""The feed: places of public events, in the order in which writers announced them, in partitions of the Transactions table.

    feed#<mode>#<merchant>#<lane>   <time>#<payment>#<seq>#<hash>   one place; it has no other attributes

A place is written *before* the change that it announces, so a change that is done always has its place, and no index is
needed, which would lag, and be written twice whenever a payment has further news. A place only says that there may be
something: it counts when the event that it names is in the payment's history (its hash is there). Until then the place is open,
and that of a writer that lost against another one never counts.

What makes sure that whoever goes on from a cursor misses nothing:

- A place is on record at the latest SPARES_US[0] after the time that it bears; else it is written once more, with a time that
  is further ahead. The change is sent only after that. Pages end HOLD_US before now. So nothing appears any more where a page
  has been, as long as clocks of writers and readers differ by less than HOLD_US - SPARES_US[0].
- A page ends before an open place that is younger than WAIT_US, so a change that takes its normal time keeps its order. One
  that takes longer is carried along in the cursor, and looked at again with each page until it counts, or until DEAD_US: its
  writer sends nothing any more two minutes after it began (``writing.AGE_MAX_US``), and AWS refuses a request whose signature
  is some minutes old (``awsclient.client.SKEW_S`` says how many).
"""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from payonce.awsapi import Aws
from payonce.core.events import digest
from payonce.ports import Change, Clock, Fed, FeedPage, Scope
from payonce.stores.rows import check_limit, cursor_after, cursor_position

from . import items, packing
from .asking import Item, get_items, pages, put_early, text
from .indexes import batched, merged
from .items import Row
from .reading import Reading, entries_of
from .tables import FEED_LANES, Tables, spread

SECOND_US: Final = 1_000_000
HOLD_US: Final = 3 * SECOND_US
SPARES_US: Final = (SECOND_US, 5 * SECOND_US, 25 * SECOND_US, 125 * SECOND_US)  # by tries
WAIT_US: Final = 10 * SECOND_US
DEAD_US: Final = 600 * SECOND_US
OPEN_MAX: Final = 10  # places that a cursor carries; beyond them pages wait
HASH_CHARS: Final = 16
TIME_MAX: Final = 10**16 - 1
PLACE: Final = re.compile(r"(\d{16})#([^#, ]+)#(\d{6,})#([0-9a-f]{16})", re.ASCII)
AT: Final = re.compile(r"\d{16}(?:#[^#, ]+#\d{6,}#[0-9a-f]{16})?", re.ASCII)
PAGE: Final = 4  # places read from each lane beyond its part of the page

Verdict = Literal["counts", "open", "never"]


class Place(Struct, frozen=True):
    """``key`` is its sort key; they are in the order of the feed."""

    key: str
    at_us: int
    payment_id: str
    seq: int
    hash: str


class Feed:
    """Places of one store."""

    def __init__(self, reading: Reading) -> None:
        self._reading: Reading = reading
        self._aws: Aws = reading.aws
        self._clock: Clock = reading.clock
        self._tables: Tables = reading.tables

    # --- writing -------------------------------------------------------------------------------------------------------

    async def announce(self, change: Change) -> None:
        """Put the places of what a change holds in news. Raises StoreUnavailable; the change must not be sent then."""
        for spare_us in SPARES_US:
            began = self._clock.now_us(), self._clock.monotonic_us()
            ahead_us = 0 if spare_us == SPARES_US[0] else spare_us
            for entry in change.entries:
                if entry.envelope.seq in change.news:
                    at_us = max(began[0], entry.envelope.at_us) + ahead_us
                    await put_early(self._aws, self._clock, self._put(change, at_us, entry.envelope.seq, entry.hash))
            took_us = max(self._clock.now_us() - began[0], self._clock.monotonic_us() - began[1])
            if took_us <= spare_us:
                return

    def _put(self, change: Change, at_us: int, seq: int, hash: str) -> dict[str, Any]:
        p = change.payment
        key = f"{min(at_us, TIME_MAX):016d}#{p.id}#{seq:06d}#{hash[:HASH_CHARS]}"
        lane = spread(p.id, FEED_LANES)
        return {"TableName": self._tables.transactions, "Item": place_key(Scope(p.merchant_id, p.mode), lane, key)}

    # --- reading -------------------------------------------------------------------------------------------------------

    async def page(self, scope: Scope, limit: int, cursor: str | None, since_us: int) -> FeedPage:
        """See ``payonce.ports.Store.feed``. A query of each lane, and a read of each payment that has a place on the page."""
        check_limit(limit)
        now_us = self._clock.now_us()
        if cursor is None:
            after, carried, since_us = f"{max(0, min(since_us, TIME_MAX)):016d}", list[Place](), max(0, since_us)
        else:
            (after, carried), since_us = position(scope, cursor), 0
        page = _Page(after, limit, now_us)
        for place, verdict in await self._weighed(await self._there(scope, carried)):
            page.carried(place, verdict)
        end = f"{max(0, min(now_us - HOLD_US, TIME_MAX)):016d}"
        async for batch in batched(self._places(scope, after, end, limit), limit + 1):
            for place, verdict in await self._weighed([place_of(each["item"]["S"]) for each in batch], since_us):
                page.take(place, verdict)
                if page.over:
                    break
            if page.over:
                break
        return FeedPage(tuple(page.found), cursor_of(scope, page.after, page.open), page.more)

    async def _there(self, scope: Scope, places: Sequence[Place]) -> list[Place]:
        """Those that are places of this scope: a cursor is text that anybody can write."""
        keys = [place_key(scope, spread(place.payment_id, FEED_LANES), place.key) for place in places]
        found = await get_items(self._aws, self._clock, self._tables.transactions, keys) if keys else []
        return [place_of(key) for key in sorted(item["item"]["S"] for item in found)]

    def _places(self, scope: Scope, after: str, end: str, limit: int) -> AsyncIterator[Item]:
        streams = [
            self._lane(scope, lane, after, end, 2 * limit // FEED_LANES + PAGE) for lane in range(FEED_LANES) if after < end
        ]
        return merged(streams, lambda entry: entry["item"]["S"])

    async def _lane(self, scope: Scope, lane: int, after: str, end: str, page: int) -> AsyncIterator[Item]:
        query = {
            "TableName": self._tables.transactions,
            "ConsistentRead": True,
            "KeyConditionExpression": "#pk = :pk AND #sk BETWEEN :after AND :end",
            "ExpressionAttributeNames": {"#pk": "transactionId", "#sk": "item"},
            "ExpressionAttributeValues": {":pk": text(lane_key(scope, lane)), ":after": text(after), ":end": text(end)},
            "Limit": page,
        }
        async for found in pages(self._aws, self._clock, "Query", query):
            for entry in found:
                if entry["item"]["S"] != after:
                    yield entry

    async def _weighed(self, places: Sequence[Place], since_us: int = 0) -> list[tuple[Place, Verdict]]:
        """Whether each counts, by the rows as they are now; what happened before ``since_us`` does not."""
        ids = dict.fromkeys(place.payment_id for place in places)
        rows = await get_items(self._aws, self._clock, self._tables.transactions, [items.row_key(id) for id in ids])
        seen = {row.id: row for row in map(self._reading.seen, rows)}
        return [(place, await self._verdict(place, seen.get(place.payment_id), since_us)) for place in places]

    async def _verdict(self, place: Place, row: Row | None, since_us: int) -> Verdict:
        if row is None or row.version < place.seq:
            return "open"
        if place.seq < row.log_from:
            entries = await self._reading.history(row.id, place.seq - 1, 1)
            hash, at_us = (entries[0].hash, entries[0].envelope.at_us) if entries else ("", 0)
        elif since_us:
            entry = entries_of(row.id, row.log, row.log_from)[place.seq - row.log_from]
            hash, at_us = entry.hash, entry.envelope.at_us
        else:
            hash, at_us = packing.raws(packing.unpack(row.log))[place.seq - row.log_from][1], 0
        return "counts" if hash.startswith(place.hash) and at_us >= since_us else "never"


class _Page:
    """A page while it is filled. ``after`` and ``open`` are where the next one goes on."""

    def __init__(self, after: str, limit: int, now_us: int) -> None:
        self.after, self._limit, self._now_us = after, limit, now_us
        self.found: list[Fed] = []
        self.open: list[Place] = []
        self.more = self.over = False
        self._places: set[Fed] = set()

    def carried(self, place: Place, verdict: Verdict) -> None:
        """One that an earlier page passed over."""
        if verdict == "counts" and len(self.found) >= self._limit:
            self.open.append(place)
            self.more = True
        elif verdict == "counts":
            self._give(place)
        elif verdict == "open" and place.at_us + DEAD_US > self._now_us:
            self.open.append(place)

    def take(self, place: Place, verdict: Verdict) -> None:
        """The next one. ``over``: none after it is looked at."""
        full = len(self.found) >= self._limit
        dead = verdict == "never" or (verdict == "open" and place.at_us + DEAD_US <= self._now_us)
        if verdict == "counts" and full:
            self.more = self.over = True
        elif verdict == "open" and not dead and (full or self._waits(place)):
            self.over = True
        else:
            self.after = place.key
            if verdict == "counts":
                self._give(place)
            elif not dead:
                self.open.append(place)

    def _waits(self, place: Place) -> bool:
        return place.at_us + WAIT_US > self._now_us or len(self.open) >= OPEN_MAX

    def _give(self, place: Place) -> None:
        fed = Fed(place.payment_id, place.seq)
        if fed not in self._places:  # a writer that was slow announced it twice
            self._places.add(fed)
            self.found.append(fed)


def lane_key(scope: Scope, lane: int) -> str:
    return f"feed#{items.list_scope(scope)}#{lane:02d}"


def place_key(scope: Scope, lane: int, key: str) -> Item:
    return {"transactionId": text(lane_key(scope, lane)), "item": text(key)}


def place_of(key: str) -> Place:
    """Raises ValueError for what is none."""
    found = PLACE.fullmatch(key)
    if not found:
        raise ValueError("not a place in a feed")
    at, payment_id, seq, hash = found.groups()
    return Place(key, int(at), payment_id, int(seq), hash)


def cursor_of(scope: Scope, after: str, open: Sequence[Place]) -> str:
    """Where to go on, and what to look at again."""
    return cursor_after(0, ",".join((_mark(scope), after, *(place.key for place in open))))


def position(scope: Scope, cursor: str) -> tuple[str, list[Place]]:
    """What a cursor says. Raises ValueError for one that is not ours, or of another scope."""
    mark, _, rest = cursor_position(cursor)[1].partition(",")
    after, *carried = rest.split(",")
    if mark != _mark(scope) or not AT.fullmatch(after) or len(carried) > OPEN_MAX:
        raise ValueError("not a cursor of this feed")
    return after, [place_of(key) for key in dict.fromkeys(carried)]


def _mark(scope: Scope) -> str:
    return digest(f"feed {scope.mode} {scope.merchant_id}".encode())[:HASH_CHARS]
