"""The default store: one SQLite file. ``open_store`` makes it, ``open_to_read`` only looks."""

from .audit import Held, Stray
from .inbox import InboxReads, SqliteInbox
from .looking import BUSY_TIMEOUT_MS, ReadOnlyStore, SqliteReads, is_damage, open_to_read
from .outbox import OutboxReads, SqliteOutbox
from .registry import RegistryReads, SqliteRegistry
from .schema import APPLICATION_ID, check_sqlite_version
from .store import SqliteStore, open_store

__all__ = [
    "APPLICATION_ID",
    "BUSY_TIMEOUT_MS",
    "Held",
    "InboxReads",
    "OutboxReads",
    "ReadOnlyStore",
    "RegistryReads",
    "SqliteInbox",
    "SqliteOutbox",
    "SqliteReads",
    "SqliteRegistry",
    "SqliteStore",
    "Stray",
    "check_sqlite_version",
    "is_damage",
    "open_store",
    "open_to_read",
]
