"""An apsw VFS between SQLite and a real folder: every write goes to the real file, which is what programs see, and to the
``Disk``, which knows what of it is safe. It fails where it is told to, and when the power is gone everything does.

No real sync is made: durability is what the model says. Locks, shared memory and reads are those of the system.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final, Literal

import apsw
from msgspec import Struct

from .disk import Disk, Op

FaultKind = Literal["full", "eio_write", "short_write", "eio_sync", "eio_read"]
FAULTS: Final[tuple[FaultKind, ...]] = ("full", "eio_write", "short_write", "eio_sync", "eio_read")
FOR_EVER: Final = 10**9

_numbers = count()
_NEW_NAME: Final = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
_OPERATION: Final[dict[FaultKind, str]] = {
    "full": "write",
    "short_write": "write",
    "eio_write": "write",
    "eio_sync": "sync",
    "eio_read": "read",
}
_CODE: Final = {
    "eio_write": apsw.SQLITE_IOERR_WRITE,
    "short_write": apsw.SQLITE_IOERR_WRITE,
    "eio_sync": apsw.SQLITE_IOERR_FSYNC,
    "eio_read": apsw.SQLITE_IOERR_READ,
}


class Fault(Struct, frozen=True, kw_only=True):
    """The ``at``-th operation of its kind fails, from 0, and so do those after it up to ``length``."""

    kind: FaultKind
    at: int
    length: int = 1


class Machine:
    """One computer from power on to power off: a disk, where it fails, and the operation at which the power goes.

    ``cut_at`` counts as ``done`` does: that operation is begun and not finished, with ``at_sync`` the first sync from there
    on; with ``after_fault`` so many operations after the first one that failed. None = the power stays."""

    def __init__(
        self,
        disk: Disk,
        *,
        cut_at: int | None = None,
        at_sync: bool = False,
        faults: Sequence[Fault] = (),
        after_fault: int | None = None,
        seed: int = 0,
    ) -> None:
        self.disk, self.cut_at, self.at_sync = disk, cut_at, at_sync
        self.faults, self.after_fault = tuple(faults), after_fault
        self.dead = False
        self.fired: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._dice = random.Random(seed)

    @property
    def done(self) -> int:
        """Operations that changed the disk, from its first day on."""
        return self.disk.done

    def off(self, path: Path) -> None:
        """The process is gone: nothing reaches the disk any more, and its connections to ``path`` are closed."""
        self.dead = True
        for each in apsw.connections():
            if each.filename and Path(each.filename) == path.resolve():
                with suppress(apsw.Error):
                    each.close(True)

    def fail(self, kind: FaultKind, *, after: int = 0, length: int = FOR_EVER) -> None:
        """From the ``after``-th operation of its kind on, counted from now, ``length`` of them fail."""
        self.faults = (*self.faults, Fault(kind=kind, at=self._calls[_OPERATION[kind]] + after, length=length))

    def fault(self, operation: str) -> FaultKind | None:
        """What is wrong with this operation, if anything; counts it. Raises apsw.IOError when the power is gone
        (reads go on: nobody hears of them)."""
        if self.dead and operation == "read":
            return None
        if self.dead:
            raise apsw.IOError("the power is gone")
        number = self._calls[operation]
        self._calls[operation] += 1
        for each in self.faults:
            if _OPERATION[each.kind] == operation and each.at <= number < each.at + each.length:
                if self.after_fault is not None and not self.fired:
                    self.cut_at = self.done + self.after_fault
                self.fired[each.kind] += 1
                return each.kind
        return None

    def do(self, op: Op) -> None:
        """Raises apsw.IOError when the power goes in the middle of it."""
        if self.dead:
            raise apsw.IOError("the power is gone")
        if self.cut_at is not None and self.done >= self.cut_at and (op.kind == "sync" or not self.at_sync):
            self.dead = True
            if op.kind not in ("sync", "sync_names"):  # begun: it may be there, or in pieces
                self.disk.do(op)
            raise apsw.IOError("the power is gone")
        self.disk.do(op)

    def shortened(self, length: int) -> int:
        return self._dice.randrange(length)


def _failure(kind: FaultKind) -> apsw.Error:
    if kind == "full":
        return apsw.FullError("no space left on the simulated disk")
    error = apsw.IOError(f"the simulated disk failed: {kind}")
    error.extendedresult = _CODE[kind]  # type: ignore[attr-defined]  # missing in the stubs of apsw
    return error


class _File(apsw.VFSFile):
    def __init__(self, machine: Machine, system: str, path: str, given: apsw.URIFilename | str, flags: list[int]) -> None:
        if machine.dead:
            raise apsw.CantOpenError("the power is gone")
        super().__init__(system, given, flags)
        self._machine, self._name = machine, Path(path).name
        # SQLite on unix syncs the directory with the first sync of a journal or log that it may have made.
        self._new_name = bool(flags[0] & _NEW_NAME and flags[0] & apsw.SQLITE_OPEN_CREATE)
        if self._name not in machine.disk:
            machine.do(Op("create", self._name))

    def excepthook(self, etype: object, evalue: object, etraceback: object) -> bool:  # noqa: ARG002
        """What fails where SQLite has nobody to tell, as in a close, is not printed: it was meant to fail."""
        return True

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's names
        if kind := self._machine.fault("read"):
            raise _failure(kind)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        kind = self._machine.fault("write")
        whole = bytes(data)
        if kind == "short_write":
            whole = whole[: self._machine.shortened(len(whole))]
        if whole and kind in (None, "short_write"):
            self._machine.do(Op("write", self._name, offset, whole))
            super().xWrite(whole, offset)
        if kind:
            raise _failure(kind)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        if kind := self._machine.fault("write"):
            raise _failure(kind)
        self._machine.do(Op("truncate", self._name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: ARG002, N802
        if kind := self._machine.fault("sync"):
            self._machine.do(Op("sync_failed", self._name))
            raise _failure(kind)
        self._machine.do(Op("sync", self._name))
        if self._new_name:
            self._machine.do(Op("sync_names"))
            self._new_name = False


class _Watched(apsw.VFS):
    """Files of the machine's folder are watched; all others are the system's."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self._machine, self._folder = machine, folder.resolve()
        self._system = apsw.vfs_names()[0]
        super().__init__(f"payonce-power-{next(_numbers)}", self._system, makedefault=True)

    def excepthook(self, etype: object, evalue: object, etraceback: object) -> bool:  # noqa: ARG002
        """As above."""
        return True

    def _ours(self, path: str) -> bool:
        return Path(path).parent == self._folder

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or name is None or not self._ours(path):
            return apsw.VFSFile(self._system, name, flags)
        return _File(self._machine, self._system, path, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        if self._ours(filename):
            name = Path(filename).name
            if self._machine.dead:
                raise apsw.IOError("the power is gone")
            if name in self._machine.disk:
                self._machine.do(Op("delete", name))
            if syncdir:
                self._machine.do(Op("sync_names"))
        super().xDelete(filename, syncdir)


class _Hasty(apsw.VFSFile):
    def xSync(self, flags: int) -> None:  # noqa: N802
        """Returns at once."""


class _Unsynced(apsw.VFS):
    """The system's files without syncs: for looking at what a cut left, where durability is no question."""

    def __init__(self) -> None:
        self._system = apsw.vfs_names()[0]
        super().__init__(f"payonce-unsynced-{next(_numbers)}", self._system, makedefault=True)

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _Hasty(self._system, name, flags)


@contextmanager
def powered(machine: Machine, folder: Path) -> Iterator[None]:
    """Every database that this process opens in ``folder`` meanwhile is on the machine's disk. Close them before the end.

    It is the process's default VFS as long as it lasts: not for use beside other threads that open databases."""
    vfs = _Watched(machine, folder)
    try:
        yield
    finally:
        vfs.unregister()


@contextmanager
def unsynced() -> Iterator[None]:
    """Databases that are opened meanwhile are never synced: what is looked at and thrown away."""
    vfs = _Unsynced()
    try:
        yield
    finally:
        vfs.unregister()
