"""Opening a file: is this SQLite fit, is the file ours, and the numbered migrations that bring it up to date."""

import contextlib
import os
import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import quote

import apsw

from payonce.core.errors import ConfigError, NewerSchema, StoreUnavailable

from . import backfill
from .tallies import Sums
from .trouble import opening

WAL_TRIES: Final = 20
# Kept prepared: each set of rows has a form for some sizes (``multirow``). apsw forgets what was not among so many last runs:
# with batches of 1 to 64 of 100 statements 17 % are prepared anew each time, of 256 4 %, of 512 only those not seen before.
STATEMENTS: Final = 512
# The oldest schema that can be read without migrating it: what came later (0002: the registry, 0003: the inbox, 0004: feed
# and outbox, 0005: figures) may be missing there.
READ_FROM: Final = 1
FIGURES: Final = 5  # the migration that brings counting
APPLICATION_ID: Final = 0x7061796F  # "payo" in the header of every file of ours
WAL_BYTES_KEPT: Final = 64 * 1024 * 1024  # a write-ahead log that grew past this is cut after a checkpoint


def check_sqlite_version(version: str) -> None:
    """Refuse an SQLite with the WAL-reset bug: two connections that write and checkpoint at the same moment may
    corrupt the file. It is in 3.7.0 (the first with WAL) to 3.51.2, fixed in 3.51.3 and in the backports 3.50.7 and
    3.44.6 (sqlite.org/wal.html, section "The WAL-reset bug", checked 2026-11-24). Raises ConfigError."""
    major, minor, patch = (int(n) for n in (*version.split("."), "0", "0")[:3])
    backport = {(3, 44): 6, (3, 50): 7}.get((major, minor))
    if (major, minor, patch) >= (3, 51, 3) or (backport is not None and patch >= backport):
        return
    raise ConfigError(
        f"SQLite {version} has a bug that can corrupt a database in WAL mode. No file was opened. "
        "Install apsw 3.51.3 or later, which brings its own SQLite: pip install --upgrade apsw."
    )


class WritingConnection(apsw.Connection):
    """The connection that writes. ``ends`` is what it knows of feeds: time and place of the last event by merchant and mode, as
    of its own last write there. Whoever rolls back clears it: it would name places that are not there.
    ``counter`` is the file's at the end of its own last transaction: another value at the next begin, and others wrote.
    ``sums`` are the tallies of the open transaction, written at its end; they go with it likewise."""

    def __init__(self, filename: str, flags: int) -> None:
        super().__init__(filename, flags=flags, statementcachesize=STATEMENTS)
        self.ends: dict[tuple[str, str], tuple[int, int]] = {}
        self.counter = 0
        self.sums = Sums()


def connect(path: Path, busy_timeout_ms: int) -> WritingConnection:
    """The connection that writes. Never creates: a file that vanished must not come back empty. Raises apsw.Error."""
    connection = WritingConnection(str(path), apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(busy_timeout_ms)
    # FULL: COMMIT returns after the log is on the disk. fullfsync: what that takes on macOS, nothing elsewhere.
    connection.execute("PRAGMA synchronous=FULL; PRAGMA fullfsync=1; PRAGMA checkpoint_fullfsync=1")
    connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES_KEPT}")
    return connection


def reconnect(path: Path, busy_timeout_ms: int) -> WritingConnection:
    """``connect`` after the disk failed. Raises apsw.Error."""
    connection = connect(path, busy_timeout_ms)
    try:
        make_safe(connection, busy_timeout_ms)
    except BaseException:
        connection.close(True)
        raise
    return connection


def make_safe(connection: apsw.Connection, busy_timeout_ms: int) -> None:
    """Put everything that readers see on the disk, and begin the log anew. Who opens a log that a killed process left sees
    what was written and never synced; and behind a place whose sync failed no later sync saves anything: after a power cut
    the log would end there. A log that others use at this moment was made safe by the first of them, and is left alone.
    Raises apsw.Error."""
    connection.set_busy_timeout(0)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.set_busy_timeout(busy_timeout_ms)


def connect_reader(path: Path, busy_timeout_ms: int) -> apsw.Connection:
    """A connection that cannot write. Raises apsw.Error."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(busy_timeout_ms)
    return connection


def way_to_read(path: Path, busy_timeout_ms: int) -> Callable[[], apsw.Connection]:
    """How to open a file of ours that must not be written: a backup, a read-only folder, a file in use. Nothing is
    created, migrated or repaired; SQLite may leave an empty ``-wal`` and a ``-shm`` beside it.

    Raises ConfigError (empty, not ours, or of an older schema), NewerSchema, StoreUnavailable."""
    check_sqlite_version(apsw.sqlite_lib_version())

    def usual() -> apsw.Connection:
        return connect_reader(path, busy_timeout_ms)

    def frozen() -> apsw.Connection:
        return _connect_frozen(path)

    with opening(path):
        if path.stat().st_size == 0:
            raise ConfigError(f"{path} is empty (0 bytes): it holds no payment and is no backup of one. It was not changed.")
        try:
            _check_readable(usual, path)
        except (apsw.CantOpenError, apsw.ReadOnlyError) as e:
            # A write-ahead log needs a -shm file beside it, which a read-only folder does not let us make.
            if _log_bytes(path) > 0:
                raise StoreUnavailable(
                    f"{path} was not opened: its newest changes are in {path.name}-wal, and reading that is not possible in a "
                    f"read-only folder ({e}). Copy both files to a folder that you may write, and look there."
                ) from e
            _check_readable(frozen, path)
            return frozen
    return usual


def _connect_frozen(path: Path) -> apsw.Connection:
    """``immutable`` looks at no log and takes no lock: only for a file that has no log, where nobody can write."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return apsw.Connection(f"file:{quote(str(path.absolute()))}?immutable=1", flags=flags)


def _log_bytes(path: Path) -> int:
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0


def _check_readable(connect_to: Callable[[], apsw.Connection], path: Path) -> None:
    with contextlib.closing(connect_to()) as connection:
        version = _check_ours(connection, path)
    if version == 0:
        raise ConfigError(f"{path} is an empty database: it holds no payment and is no backup of one. It was not changed.")
    if version < READ_FROM:
        raise ConfigError(
            f"{path} has schema {version}, this payonce reads {READ_FROM} and later. It was not changed: an older payonce "
            "wrote it, and `payonce serve` on a copy brings that up to date."
        )


def open_file(path: Path, busy_timeout_ms: int) -> WritingConnection:
    """Create or open the file and bring it to the newest schema. Several processes may do so at once.

    Raises ConfigError (not ours, or no WAL there), NewerSchema (a newer payonce wrote it), StoreUnavailable (busy,
    full, read-only or unreachable). A file that is refused is left as it was."""
    check_sqlite_version(apsw.sqlite_lib_version())
    with opening(path):
        # Payments are nobody else's business; SQLite gives -wal and -shm the same permissions. If this fails
        # (it exists, or the directory is missing or read-only), the next line says it better.
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = connect(path, busy_timeout_ms)
        try:
            _set_up(connection, path)
            make_safe(connection, busy_timeout_ms)
        except BaseException:
            with contextlib.suppress(apsw.Error):
                connection.close(True)
            raise
        return connection


def _set_up(connection: apsw.Connection, path: Path) -> None:
    _check_ours(connection, path)
    if connection.readonly("main"):
        raise apsw.ReadOnlyError("no permission to write")  # now, rather than at the first payment
    mode = _use_wal(connection)
    if mode != "wal":
        raise ConfigError(
            f"{path} cannot use a write-ahead log (journal mode stays {mode}). Nothing was written. "
            "Put the database on a local disk: network file systems do not offer what it needs."
        )
    _migrate(connection, path)


def _use_wal(connection: apsw.Connection) -> object:
    """The journal mode afterwards. The pragma does not wait for another process that is setting the file up; a
    transaction does, for the busy timeout."""
    for _ in range(WAL_TRIES):
        try:
            return connection.execute("PRAGMA journal_mode=WAL").get
        except apsw.BusyError:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    return connection.execute("PRAGMA journal_mode=WAL").get


@cache
def migrations() -> tuple[str, ...]:
    """The scripts in order; script n brings a file from user_version n - 1 to n."""
    folder = resources.files(__package__) / "migrations"
    scripts = sorted((f for f in folder.iterdir() if re.fullmatch(r"\d{4}_\w+\.sql", f.name)), key=lambda f: f.name)
    if [int(f.name[:4]) for f in scripts] != list(range(1, len(scripts) + 1)):
        raise ConfigError("The migrations of this installation have a gap. Nothing was opened; install payonce again.")
    return tuple(f.read_text(encoding="utf-8") for f in scripts)


def _migrate(connection: apsw.Connection, path: Path) -> None:
    for number, script in enumerate(migrations(), 1):
        if connection.pragma("user_version") >= number:
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _check_ours(connection, path) < number:  # another process may have been faster
                connection.execute(script)
                if number == FIGURES:
                    backfill.count(connection)
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _check_ours(connection: apsw.Connection, path: Path) -> int:
    """The file's user_version, when the file is empty or ours and not newer than this code."""
    with connection:  # one snapshot: another process may be in the middle of creating it
        application_id, version = connection.pragma("application_id"), connection.pragma("user_version")
        empty = connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
    if application_id != APPLICATION_ID and not (application_id == version == 0 and empty):
        raise ConfigError(f"{path} is a database of another application. It was not changed; name another file.")
    if version > len(migrations()):
        raise NewerSchema(
            f"{path} has schema {version}, this payonce knows up to {len(migrations())}: a newer version wrote it. "
            "It was not changed; run the newer payonce."
        )
    return int(version)
