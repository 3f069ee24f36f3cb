"""What SQLite's errors mean for a payment: what happened, what state things are in, what to do next."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apsw

from payonce.core.errors import ConfigError, StoreUnavailable

CLOSED: Final = "The store is closed or closing. Nothing was written; the same key may be used again once it is back."
NOTHING: Final = "Nothing was written; the same key may be used again."

_MEANINGS: Final[tuple[tuple[type[apsw.Error], str, str], ...]] = (
    (
        apsw.BusyError,
        "another process held the write lock too long",
        "Send it again; if it persists, look for a stuck process.",
    ),
    (apsw.LockedError, "another connection held a table lock", "Send it again; if it persists, look for a stuck process."),
    (apsw.FullError, "the disk is full", "Free space on the disk; the store goes on by itself."),
    (apsw.ReadOnlyError, "the file or its directory is read-only", "Make both writable for the user payonce runs as."),
    (apsw.CantOpenError, "the file cannot be opened", "Check that the directory exists and is writable."),
    (apsw.PermissionsError, "the file may not be accessed", "Make it writable for the user payonce runs as."),
    (apsw.AuthError, "the file may not be accessed", "Make it writable for the user payonce runs as."),
    (apsw.IOError, "the disk reported an error", "Check the disk and the system log."),
    (apsw.CorruptError, "the file is damaged", "Stop payonce, keep a copy of the file, and restore a backup."),
    (apsw.NotADBError, "the file is no database any more", "Stop payonce, keep a copy of the file, and restore a backup."),
    (apsw.NoMemError, "memory ran out", "Give the process more memory."),
)


def unavailable(error: Exception, state: str = NOTHING) -> StoreUnavailable:
    """The error to raise instead of ``error``, which should become its cause."""
    for kind, what, then in _MEANINGS:
        if isinstance(error, kind):
            return StoreUnavailable(f"The database did not answer: {what} ({error}). {state} {then}")
    return StoreUnavailable(f"The database did not answer: {error}. {state} Check the log.")


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Turn what SQLite raises into StoreUnavailable: a read that failed changed nothing."""
    try:
        yield
    except apsw.Error as e:
        raise unavailable(e, "Nothing was changed.") from e
    except UnicodeDecodeError as e:  # a text column that is no text any more
        damage = apsw.CorruptError(f"a text in it is not UTF-8: {e.reason}")
        raise unavailable(damage, "Nothing was changed.") from damage


@contextlib.contextmanager
def opening(path: Path) -> Iterator[None]:
    """The same while a file is opened, naming it. Raises ConfigError for a file that is no database at all."""
    try:
        yield
    except apsw.NotADBError as e:
        raise ConfigError(f"{path} is not an SQLite database. It was not changed; name another file.") from e
    except apsw.Error as e:
        raise unavailable(e, f"{path} was not opened and no payment was touched.") from e
