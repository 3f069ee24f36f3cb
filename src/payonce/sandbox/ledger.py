"""The sandbox's books in an SQLite file of its own, shared by every process that opens it.

``movements`` is the outside witness: a row per movement of money, never changed. Beside it lies all that a vendor must
remember: its objects (charges, refunds), answers saved under idempotency keys, what faults on demand counted, what is
to happen later, and the fault profile. One request is one transaction, so a killed process leaves no half of it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import apsw
import msgspec
from msgspec import Struct

from .deliveries import Deliveries

# ``void``: a hold was given back, by our step or because it ran out. ``refund_failed``: a refund that was booked did not
# arrive, and its money came back to the merchant.
MovementKind = Literal["charge", "authorize", "capture", "void", "refund", "refund_failed"]

KEYS_KEPT_S: Final = 24 * 3600  # the longest window of saved answers
BUSY_TIMEOUT_MS: Final = 3000
PAGE_MAX: Final = 1000
SCHEMA_V: Final = 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS movements (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, provider TEXT NOT NULL, kind TEXT NOT NULL, reference TEXT NOT NULL,
    refund_reference TEXT NOT NULL, provider_ref TEXT NOT NULL, amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL, at_us INTEGER NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS movements_are_kept BEFORE DELETE ON movements BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS movements_stay BEFORE UPDATE ON movements BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TABLE IF NOT EXISTS objects (
    id INTEGER PRIMARY KEY AUTOINCREMENT, provider TEXT NOT NULL, kind TEXT NOT NULL, reference TEXT NOT NULL,
    parent INTEGER NOT NULL, at_us INTEGER NOT NULL, doc TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS objects_by_reference ON objects (provider, kind, reference);
CREATE INDEX IF NOT EXISTS objects_by_parent ON objects (parent);
CREATE TABLE IF NOT EXISTS answers (
    provider TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, at_us INTEGER NOT NULL,
    busy_until_us INTEGER NOT NULL, status INTEGER NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (provider, key)
) STRICT;
CREATE INDEX IF NOT EXISTS answers_by_age ON answers (at_us);
CREATE TABLE IF NOT EXISTS memory (token TEXT NOT NULL, payment TEXT NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (token, payment)) STRICT;
CREATE TABLE IF NOT EXISTS later (due_us INTEGER NOT NULL, object INTEGER PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, doc TEXT NOT NULL) STRICT;
"""


class Movement(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One movement of money. Money taken is a ``charge`` or a ``capture``; ``authorize`` and ``void`` move none. What was
    given back for good: the ``refund``s without the ``refund_failed``."""

    seq: int
    provider: str
    kind: str
    reference: str  # the charge's, ours
    refund_reference: str = ""
    provider_ref: str
    amount: int
    currency: str
    at: str  # RFC 3339, UTC


class Thing(Struct, frozen=True, kw_only=True):
    """A vendor's object: a charge, a refund, an order. ``parent`` is the id of what it belongs to, 0 = nothing."""

    id: int
    kind: str
    reference: str
    parent: int
    at_us: int
    doc: dict[str, Any]


class Saved(Struct, frozen=True, kw_only=True):
    """What stands under an idempotency key: an answer (status > 0), or a request that is still being worked on."""

    fingerprint: str
    busy_until_us: int
    status: int
    headers: dict[str, str]
    body: bytes


class Ledger:
    """See the module docstring. One object belongs to one thread; any number of processes share a file.

    Raises apsw.Error when the file cannot be used; inside ``transaction`` nothing of the request is kept then."""

    def __init__(self, path: str | Path) -> None:
        self._db = apsw.Connection(str(path))
        self._db.set_busy_timeout(BUSY_TIMEOUT_MS)
        self._db.execute("PRAGMA journal_mode=WAL")
        with self.transaction():
            version = self._db.pragma("user_version")
            if version > SCHEMA_V:
                raise ValueError(f"the sandbox ledger {path} was written by a newer payonce; nothing was touched")
            self._db.execute(_SCHEMA)
            self.deliveries = Deliveries(self._db)
            self._db.execute(f"PRAGMA user_version={SCHEMA_V}")

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self, *, synced: bool = True) -> Iterator[None]:
        """All or nothing, alone: whoever else wants to write waits. Without ``synced`` a power cut, but no dying process, may
        undo it afterwards: for what may be done twice."""
        self._db.execute(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def version(self) -> tuple[int, int]:
        """Another one after every change, whoever made it; asking costs some microseconds and locks nothing. Not inside a
        transaction."""
        return self._db.pragma("data_version"), self.changes()

    def changes(self) -> int:
        """How many rows this object has changed."""
        return self._db.total_changes()

    # --- the witness ------------------------------------------------------------------------------------------------

    def book(
        self,
        provider: str,
        kind: MovementKind,
        *,
        reference: str,
        provider_ref: str,
        amount_minor: int,
        currency: str,
        at_us: int,
        refund_reference: str = "",
    ) -> None:
        """Money moves."""
        self._db.execute(
            "INSERT INTO movements (provider, kind, reference, refund_reference, provider_ref, amount_minor, currency, at_us)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (provider, kind, reference, refund_reference, provider_ref, amount_minor, currency, at_us),
        )

    def movements(self, after: int = 0, limit: int = PAGE_MAX) -> list[Movement]:
        """Movements with a seq above ``after``, oldest first."""
        rows = self._db.execute(
            "SELECT seq, provider, kind, reference, refund_reference, provider_ref, amount_minor, currency, at_us"
            " FROM movements WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, max(1, min(limit, PAGE_MAX))),
        )
        return [
            Movement(
                seq=seq,
                provider=provider,
                kind=kind,
                reference=reference,
                refund_reference=refund_reference,
                provider_ref=provider_ref,
                amount=amount,
                currency=currency,
                at=rfc3339(at_us),
            )
            for seq, provider, kind, reference, refund_reference, provider_ref, amount, currency, at_us in rows
        ]

    def counts(self) -> dict[str, int]:
        """Movements per kind, objects and saved answers."""
        kinds = {kind: int(n) for kind, n in self._db.execute("SELECT kind, count(*) FROM movements GROUP BY kind")}
        objects = {f"{kind}Objects": int(n) for kind, n in self._db.execute("SELECT kind, count(*) FROM objects GROUP BY kind")}
        return kinds | objects | {"answers": int(self._db.execute("SELECT count(*) FROM answers").get)}

    # --- objects ----------------------------------------------------------------------------------------------------

    def add(self, provider: str, kind: str, reference: str, doc: Mapping[str, Any], *, at_us: int, parent: int = 0) -> Thing:
        """A new object; its id is unique in the file and never used again."""
        self._db.execute(
            "INSERT INTO objects (provider, kind, reference, parent, at_us, doc) VALUES (?, ?, ?, ?, ?, ?)",
            (provider, kind, reference, parent, at_us, _packed(doc)),
        )
        number = self._db.last_insert_rowid()
        return Thing(id=number, kind=kind, reference=reference, parent=parent, at_us=at_us, doc=dict(doc))

    def change(self, thing: Thing, doc: Mapping[str, Any]) -> Thing:
        """The object with another document."""
        self._db.execute("UPDATE objects SET doc = ? WHERE id = ?", (_packed(doc), thing.id))
        return msgspec.structs.replace(thing, doc=dict(doc))

    def thing(self, provider: str, kind: str, number: int) -> Thing | None:
        found = self._things("id = ? AND provider = ? AND kind = ?", (number, provider, kind))
        return found[0] if found else None

    def by_reference(self, provider: str, kind: str, reference: str) -> list[Thing]:
        return self._things("provider = ? AND kind = ? AND reference = ?", (provider, kind, reference))

    def children(self, parent: int) -> list[Thing]:
        return self._things("parent = ?", (parent,))

    def made(self, provider: str, kind: str, from_us: int, before_us: int, *, after: int = 0, limit: int) -> list[Thing]:
        """Objects made in [from, before) with an id above ``after``, oldest first, at most ``limit``."""
        where = "provider = ? AND kind = ? AND at_us >= ? AND at_us < ? AND id > ?"
        return self._things(where, (provider, kind, from_us, before_us, after), limit)

    def _things(self, where: str, values: tuple[str | int, ...], limit: int = -1) -> list[Thing]:
        rows = self._db.execute(
            f"SELECT id, kind, reference, parent, at_us, doc FROM objects WHERE {where} ORDER BY id LIMIT ?",  # noqa: S608 - ours
            (*values, limit),
        )
        return [
            Thing(id=i, kind=kind, reference=reference, parent=parent, at_us=at_us, doc=_unpacked(doc))
            for i, kind, reference, parent, at_us, doc in rows
        ]

    # --- later ------------------------------------------------------------------------------------------------------

    def later(self, thing: Thing, due_us: int) -> None:
        """Something is to happen to the object at ``due_us``."""
        self._db.execute("INSERT OR REPLACE INTO later (due_us, object) VALUES (?, ?)", (due_us, thing.id))

    def later_us(self, after_us: int) -> list[int]:
        """When the first of what is to happen after a time is due, if there is any."""
        due_us = self._db.execute("SELECT min(due_us) FROM later WHERE due_us > ?", (after_us,)).get
        return [] if due_us is None else [due_us]

    def take_due(self, provider: str, now_us: int) -> list[tuple[int, Thing]]:
        """What has become due for this vendor, with its due times; taken off the list."""
        rows = list(
            self._db.execute(
                "SELECT l.due_us, o.id, o.kind FROM later l JOIN objects o ON o.id = l.object"
                " WHERE l.due_us <= ? AND o.provider = ? ORDER BY l.due_us, o.id",
                (now_us, provider),
            )
        )
        due = [(due_us, thing) for due_us, number, kind in rows if (thing := self.thing(provider, kind, number))]
        for _, thing in due:
            self._db.execute("DELETE FROM later WHERE object = ?", (thing.id,))
        return due

    # --- answers under keys -----------------------------------------------------------------------------------------

    def saved(self, provider: str, key: str, now_us: int, window_s: int = KEYS_KEPT_S) -> Saved | None:
        """What stands under the key; answers older than the window are forgotten."""
        self._db.execute("DELETE FROM answers WHERE at_us < ?", (now_us - KEYS_KEPT_S * 1_000_000,))
        columns = "fingerprint, busy_until_us, status, headers, body"
        query = f"SELECT {columns} FROM answers WHERE provider = ? AND key = ? AND at_us >= ?"  # noqa: S608 - ours
        for fingerprint, busy, status, headers, body in self._db.execute(query, (provider, key, now_us - window_s * 1_000_000)):
            return Saved(
                fingerprint=fingerprint, busy_until_us=busy, status=status, headers=_unpacked(headers), body=bytes(body)
            )
        return None

    def save(
        self,
        provider: str,
        key: str,
        fingerprint: str,
        now_us: int,
        *,
        status: int = 0,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        busy_until_us: int = 0,
    ) -> None:
        """Keep the answer to the key's first request; without a status, the note that it is being worked on."""
        self._db.execute(
            "INSERT OR REPLACE INTO answers (provider, key, fingerprint, at_us, busy_until_us, status, headers, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (provider, key, fingerprint, now_us, busy_until_us, status, _packed(headers or {}), body),
        )

    # --- what faults remember ---------------------------------------------------------------------------------------

    def recall(self, token: str, payment: str) -> dict[str, Any]:
        doc = self._db.execute("SELECT doc FROM memory WHERE token = ? AND payment = ?", (token, payment)).get
        return _unpacked(doc) if doc else {}

    def remember(self, token: str, payment: str, doc: Mapping[str, Any]) -> None:
        self._db.execute("INSERT OR REPLACE INTO memory (token, payment, doc) VALUES (?, ?, ?)", (token, payment, _packed(doc)))

    def setting(self, name: str) -> bytes | None:
        doc = self._db.execute("SELECT doc FROM settings WHERE name = ?", (name,)).get
        return str(doc).encode() if doc is not None else None

    def set_setting(self, name: str, doc: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO settings (name, doc) VALUES (?, ?)", (name, doc.decode()))

    def forget_setting(self, name: str) -> None:
        self._db.execute("DELETE FROM settings WHERE name = ?", (name,))


def rfc3339(at_us: int) -> str:
    """``2026-11-24T15:00:00.123456Z``"""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _packed(doc: Mapping[str, Any]) -> str:
    return msgspec.json.encode(doc).decode()


def _unpacked(doc: Any) -> dict[str, Any]:
    return msgspec.json.decode(doc, type=dict[str, Any])
