"""Idempotency keys that outlive a crash: the key of a purpose is on the disk before it is sent for the first time, so that the
program that comes back asks with the same one."""

import sqlite3
from pathlib import Path
from typing import Final

PURPOSE_CHARS_MAX: Final = 500
_TABLE: Final = "CREATE TABLE IF NOT EXISTS keys (purpose TEXT PRIMARY KEY, key TEXT NOT NULL) WITHOUT ROWID"


class SavedKeys:
    """A small file of purposes ("order 1001", "refund of order 1001") and their keys. Any number of processes may share it.
    Raises OSError or sqlite3.Error where the file cannot be used: then nothing was sent."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def key_of(self, purpose: str, fresh: str) -> str:
        """The key of this purpose: the one that is saved, else ``fresh``, which is saved now. Raises ValueError for a purpose
        that is empty or too long."""
        if not 0 < len(purpose) <= PURPOSE_CHARS_MAX:
            raise ValueError(f"a purpose has 1 to {PURPOSE_CHARS_MAX} characters")
        connection = sqlite3.connect(self._path, timeout=10, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(_TABLE)
            connection.execute("INSERT INTO keys VALUES (?, ?) ON CONFLICT DO NOTHING", (purpose, fresh))
            return str(connection.execute("SELECT key FROM keys WHERE purpose = ?", (purpose,)).fetchone()[0])
        finally:
            connection.close()

    def forget(self, purpose: str) -> None:
        """The purpose is done with; the same words later mean something new."""
        connection = sqlite3.connect(self._path, timeout=10, isolation_level=None)
        try:
            connection.execute(_TABLE)
            connection.execute("DELETE FROM keys WHERE purpose = ?", (purpose,))
        finally:
            connection.close()
