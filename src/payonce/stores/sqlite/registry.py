"""The registry in the payments file: the same writer and readers as the store. See ``payonce.ports.Registry``."""

from typing import TYPE_CHECKING, Final, Protocol, cast

import apsw

from payonce.core.errors import StoreUnavailable
from payonce.ports import Record
from payonce.stores.rows import check_record

from .writes import Write

if TYPE_CHECKING:
    from .looking import Readers

_ALL: Final = "SELECT name, value, version FROM registry WHERE kind = ? AND value IS NOT NULL ORDER BY name"
_ONE: Final = "SELECT version, value IS NOT NULL FROM registry WHERE kind = ? AND name = ?"
_PUT: Final = (
    "INSERT INTO registry (kind, name, version, value) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (kind, name) DO UPDATE SET version = excluded.version, value = excluded.value"
)


class Writes(Protocol):
    """The way to the one connection that writes."""

    async def run(self, write: Write) -> object: ...


class RegistryReads:
    """The registry of a file that is opened to read only."""

    def __init__(self, readers: "Readers") -> None:
        self._readers = readers

    async def all(self, kind: str) -> tuple[Record, ...]:
        return await self._readers.run(_records, kind)

    async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
        del kind, name, value, expected_version
        raise StoreUnavailable("The file was opened to read only. Nothing was written.")


class SqliteRegistry(RegistryReads):
    """Made by ``open_store``; closed with its store."""

    def __init__(self, readers: "Readers", writes: Writes) -> None:
        super().__init__(readers)
        self._writes = writes

    async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
        check_record(value, expected_version)
        return cast("bool", await self._writes.run(_putting(kind, name, value, expected_version)))


def _records(connection: apsw.Connection, kind: str) -> tuple[Record, ...]:
    if not connection.table_exists("main", "registry"):  # a backup of schema 1, opened to read only
        return ()
    return tuple(Record(name, value, version) for name, value, version in connection.execute(_ALL, (kind,)))


def _putting(kind: str, name: str, value: bytes | None, expected_version: int) -> Write:
    def write(connection: apsw.Connection) -> bool:
        version, exists = connection.execute(_ONE, (kind, name)).fetchone() or (0, False)
        if expected_version != (version if exists else 0):
            return False
        connection.execute(_PUT, (kind, name, version + 1, value))
        return True

    return write
