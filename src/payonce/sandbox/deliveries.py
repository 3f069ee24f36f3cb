"""Webhooks in the ledger file: what the vendors announced (``outbox``), and the sends of it that are owed to each endpoint
(``deliveries``). A delivery is claimed by a conditional write before it is sent, so any number of couriers may share the
file; one that dies leaves a claim that runs out, and the send is done again."""

from collections.abc import Mapping
from typing import Final, Literal

import apsw
from msgspec import Struct

State = Literal["due", "delivered", "lost", "given_up"]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, vendor TEXT NOT NULL, event_id TEXT NOT NULL,
    at_us INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, event INTEGER NOT NULL, endpoint TEXT NOT NULL, state TEXT NOT NULL,
    due_us INTEGER NOT NULL, claimed_until_us INTEGER NOT NULL, sends INTEGER NOT NULL, ended_us INTEGER NOT NULL,
    said TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_by_event ON deliveries (event);
CREATE INDEX IF NOT EXISTS deliveries_owed ON deliveries (endpoint, due_us) WHERE state = 'due';
"""


class Event(Struct, frozen=True, kw_only=True):
    """What a vendor announced: the bytes of its webhook."""

    seq: int
    vendor: str
    event_id: str
    at_us: int
    body: bytes


class Delivery(Struct, frozen=True, kw_only=True):
    """One send of an event that is owed to an endpoint, until it is answered 2xx. ``sends`` counts its claims, and is the
    fence of the last one; ``said`` is what came of the last send."""

    seq: int
    event: int
    endpoint: str
    state: State
    due_us: int
    claimed_until_us: int
    sends: int
    ended_us: int
    said: str


class Deliveries:
    """The two tables. Every method belongs into a transaction of the ledger."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        db.execute(_SCHEMA)

    def announce(self, vendor: str, event_id: str, body: bytes, at_us: int) -> int:
        """Keep an event; its seq."""
        self._db.execute(
            "INSERT INTO outbox (vendor, event_id, at_us, body) VALUES (?, ?, ?, ?)", (vendor, event_id, at_us, body)
        )
        return self._db.last_insert_rowid()

    def owe(self, event: int, endpoint: str, due_us: int, *, state: State = "due", said: str = "") -> None:
        """A send of the event is owed to the endpoint; with another state it is on record only."""
        self._db.execute(
            "INSERT INTO deliveries (event, endpoint, state, due_us, claimed_until_us, sends, ended_us, said)"
            " VALUES (?, ?, ?, ?, 0, 0, 0, ?)",
            (event, endpoint, state, due_us, said),
        )

    def claim(self, endpoint: str, now_us: int, until_us: int) -> tuple[Delivery, Event] | None:
        """The send that has been due to this endpoint for longest, for the caller alone until ``until_us``. None when
        nothing is due, or while somebody has a claim at the endpoint: it gets one send at a time, in order."""
        busy = "SELECT 1 FROM deliveries WHERE endpoint = ? AND state = 'due' AND claimed_until_us > ? LIMIT 1"
        if self._db.execute(busy, (endpoint, now_us)).get is not None:
            return None
        owed = self._deliveries(
            "endpoint = ? AND state = 'due' AND due_us <= ? ORDER BY due_us, seq LIMIT 1", (endpoint, now_us)
        )
        if not owed:
            return None
        self._db.execute("UPDATE deliveries SET claimed_until_us = ?, sends = sends + 1 WHERE seq = ?", (until_us, owed[0].seq))
        (claimed,) = self._deliveries("seq = ?", (owed[0].seq,))
        (event,) = self._events("seq = ?", (claimed.event,))
        return claimed, event

    def end(self, claimed: Delivery, state: State, *, due_us: int, now_us: int, said: str) -> bool:
        """What came of a claimed send; with the state ``due`` it is owed again at ``due_us``. False, and nothing is
        written, when somebody else has claimed it meanwhile."""
        self._db.execute(
            "UPDATE deliveries SET state = ?, due_us = ?, claimed_until_us = 0, ended_us = ?, said = ?"
            " WHERE seq = ? AND sends = ? AND state = 'due'",
            (state, due_us, now_us, said, claimed.seq, claimed.sends),
        )
        return self._db.changes() == 1

    def owed(self, now_us: int) -> dict[str, int]:
        """Endpoint -> when its next send is due, as far as nobody has a claim there; else when that claim ends."""
        rows = self._db.execute(
            "SELECT endpoint, min(due_us), max(claimed_until_us) FROM deliveries WHERE state = 'due' GROUP BY endpoint"
        )
        return {endpoint: max(due_us, claimed_us if claimed_us > now_us else 0) for endpoint, due_us, claimed_us in rows}

    def move(self, endpoints: Mapping[str, str]) -> None:
        """What is still owed to an endpoint (the key) goes to another one (the value) from now on."""
        for old, new in endpoints.items():
            self._db.execute("UPDATE deliveries SET endpoint = ? WHERE endpoint = ? AND state = 'due'", (new, old))

    def events(self, after: int, limit: int) -> list[Event]:
        """Events with a seq above ``after``, oldest first."""
        return self._events("seq > ? ORDER BY seq LIMIT ?", (after, limit))

    def of(self, event: int) -> list[Delivery]:
        """The sends of one event, oldest first."""
        return self._deliveries("event = ? ORDER BY seq", (event,))

    def prune(self, before_us: int) -> None:
        """Forget events that were announced and done with before a time: nothing of them is owed any more."""
        fresh = "SELECT 1 FROM deliveries d WHERE d.event = outbox.seq AND (d.state = 'due' OR d.ended_us >= :before)"
        self._db.execute(f"DELETE FROM outbox WHERE at_us < :before AND NOT EXISTS ({fresh})", {"before": before_us})  # noqa: S608 - ours
        self._db.execute("DELETE FROM deliveries WHERE event NOT IN (SELECT seq FROM outbox)")

    def _events(self, where: str, values: tuple[int, ...]) -> list[Event]:
        rows = self._db.execute(f"SELECT seq, vendor, event_id, at_us, body FROM outbox WHERE {where}", values)  # noqa: S608 - ours
        return [
            Event(seq=seq, vendor=v, event_id=event_id, at_us=at_us, body=bytes(body)) for seq, v, event_id, at_us, body in rows
        ]

    def _deliveries(self, where: str, values: tuple[str | int, ...]) -> list[Delivery]:
        columns = ", ".join(Delivery.__struct_fields__)
        rows = self._db.execute(f"SELECT {columns} FROM deliveries WHERE {where}", values)  # noqa: S608 - ours
        return [Delivery(**dict(zip(Delivery.__struct_fields__, row, strict=True))) for row in rows]
