"""The default store: one SQLite file. ``open_store`` makes it."""

from .schema import APPLICATION_ID, check_sqlite_version
from .store import BUSY_TIMEOUT_MS, SqliteStore, open_store

__all__ = ["APPLICATION_ID", "BUSY_TIMEOUT_MS", "SqliteStore", "check_sqlite_version", "open_store"]
