"""A disk with a volatile cache: what is written is in the cache, what is synced is on the platter, and a power cut leaves
of the rest whatever it likes.

What is modelled, on one folder:

- **Sectors** of 512 bytes are written whole or not at all, each for itself and in any order; of several versions of a
  sector any one may be the last that arrived. A cut may also tear the one sector that was being written.
- **Sizes**: a file that grew or shrank may have any of the sizes it had since its last sync.
- **Names**: a file that was made or deleted may be there or not until its *directory* is synced. Syncing the file does
  not save its name (some file systems are kinder).
- **A sync that failed** saves nothing, and what it should have saved is saved by no later sync either, unless that page is
  written again: the cache holds it for clean. So it is on Linux; a program still reads it until the power goes.

Not modelled: a disk that lies about its cache, bits that rot, a page that leaves the cache after a failed sync before the
power goes, files that move to another folder, and more than one folder.
"""

import random
from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

SECTOR: Final = 512
PAGE: Final = 4096

OpKind = Literal["create", "delete", "write", "truncate", "sync", "sync_failed", "sync_names"]
Survival = Literal["none", "all", "sectors", "pages", "early", "late", "scraps"]
SURVIVALS: Final[tuple[Survival, ...]] = ("none", "all", "sectors", "pages", "early", "late", "scraps")


class Op(Struct, frozen=True):
    """What was asked of the disk. ``at`` is an offset, or the new size of a truncate; in bytes."""

    kind: OpKind
    name: str = ""
    at: int = 0
    data: bytes = b""


class Image(Struct, frozen=True):
    """What is on the platter after a power cut: the files by name, and what became of the writes that were not synced."""

    files: Mapping[str, bytes]
    kept: int  # writes
    torn: int
    dropped: int


class _File:
    """One file. ``versions`` holds, for each sector that is not safe, what it was since: (number of the write, content)."""

    def __init__(self, content: bytes = b"") -> None:
        self.cache = bytearray(content)
        self.platter = bytearray(content)
        self.versions: dict[int, list[tuple[int, bytes]]] = {}
        self.sizes: list[tuple[int, int]] = []  # (number of the write, size) since the last sync
        self.forgotten: set[int] = set()  # sectors whose sync failed: the cache takes them for clean

    def write(self, number: int, at: int, data: bytes) -> None:
        if at + len(data) > len(self.cache):
            self.cache.extend(bytes(at + len(data) - len(self.cache)))
            self.sizes.append((number, len(self.cache)))
        self.cache[at : at + len(data)] = data
        self._touch(number, at, at + len(data))

    def truncate(self, number: int, size: int) -> None:
        before = len(self.cache)
        if size == before:
            return
        self.cache[size:] = bytes(max(0, size - before))
        self.sizes.append((number, size))
        self._touch(number, min(size, before), max(size, before))

    def _touch(self, number: int, start: int, end: int) -> None:
        if start == end:
            return
        for sector in range(start // SECTOR, (end - 1) // SECTOR + 1):
            content = bytes(self.cache[sector * SECTOR : (sector + 1) * SECTOR]).ljust(SECTOR, b"\0")
            self.versions.setdefault(sector, []).append((number, content))
        if self.forgotten:  # the page is written as a whole again
            each = PAGE // SECTOR
            self.forgotten -= set(range(start // PAGE * each, ((end - 1) // PAGE + 1) * each))

    def sync(self) -> None:
        for sector in [s for s in self.versions if s not in self.forgotten]:
            _put(self.platter, sector, self.versions.pop(sector)[-1][1])
        _resize(self.platter, len(self.cache))
        self.sizes.clear()

    def forget(self) -> None:
        self.forgotten |= set(self.versions)


def _put(content: bytearray, sector: int, data: bytes) -> None:
    if len(content) < sector * SECTOR:
        content.extend(bytes(sector * SECTOR - len(content)))
    content[sector * SECTOR : (sector + 1) * SECTOR] = data


def _resize(content: bytearray, size: int) -> None:
    content[size:] = bytes(max(0, size - len(content)))


class Disk:
    """The folder. ``do`` is the only way to change it; ``tape`` is what was done since the last power cut, before which
    ``before`` operations were done."""

    def __init__(self, files: Mapping[str, bytes] | None = None, before: int = 0) -> None:
        self._before = before
        self._names = {name: _File(content) for name, content in (files or {}).items()}  # as programs see them
        self._safe = dict(self._names)  # as the directory on the platter has them
        self._renamed: list[tuple[int, str, _File | None]] = []  # since the last sync of the directory
        self.tape: list[Op] = []

    def __contains__(self, name: str) -> bool:
        return name in self._names

    @property
    def done(self) -> int:
        """Operations from its first day on."""
        return self._before + len(self.tape)

    def do(self, op: Op) -> None:
        """Raises KeyError for a file that is not there."""
        number = self.done
        self.tape.append(op)
        match op.kind:
            case "create":
                self._names[op.name] = made = _File()
                self._renamed.append((number, op.name, made))
            case "delete":
                del self._names[op.name]
                self._renamed.append((number, op.name, None))
            case "write":
                self._names[op.name].write(number, op.at, op.data)
            case "truncate":
                self._names[op.name].truncate(number, op.at)
            case "sync":
                self._names[op.name].sync()
            case "sync_failed":
                self._names[op.name].forget()
            case "sync_names":
                self._safe = dict(self._names)
                self._renamed.clear()

    def seen(self) -> dict[str, bytes]:
        """The files as programs see them: what is left when a process dies and the power stays."""
        return {name: bytes(each.cache) for name, each in self._names.items()}

    def cut(self, dice: random.Random) -> Image:
        """What the platter holds when the power goes now. Changes nothing."""
        chosen = _Chosen(dice, self.done)
        names = dict(self._safe)
        for number, name, made in self._renamed:
            if not chosen.keeps(number):
                continue
            if made is None:
                names.pop(name, None)
            else:
                names[name] = made
        files = {name: chosen.content(each) for name, each in names.items()}
        fates = Counter("torn" if len(f) > 1 else "kept" if True in f else "dropped" for f in chosen.fates.values())
        return Image(files, fates["kept"], fates["torn"], fates["dropped"])


class _Chosen:
    """What survives one cut: a way of surviving, drawn first, then each sector by it."""

    def __init__(self, dice: random.Random, writes: int) -> None:
        self.dice, self.way = dice, dice.choice(SURVIVALS)
        self.edge = dice.randrange(max(0, writes - 60), writes + 1)  # of time, for "early" and "late"
        self.fates: dict[int, set[bool]] = {}  # number of a write -> whether its sectors were kept

    def keeps(self, number: int) -> bool:
        """Whether a change of a name or size is kept."""
        match self.way:
            case "none":
                return False
            case "all":
                return True
            case "early":
                return number <= self.edge
            case "late":
                return number >= self.edge
        return self.dice.random() < 0.5

    def content(self, file: _File) -> bytes:
        content = bytearray(file.platter)
        pages: dict[int, bool] = {}
        for sector, versions in file.versions.items():
            count = self._count(sector, versions, pages)
            for place, (number, _) in enumerate(versions):
                self.fates.setdefault(number, set()).add(place < count)
            if count:
                _put(content, sector, self._torn(file, sector, versions[count - 1][1]))
        kept = [size for number, size in file.sizes if self.keeps(number)]
        _resize(content, kept[-1] if kept else len(file.platter))
        return bytes(content)

    def _count(self, sector: int, versions: list[tuple[int, bytes]], pages: dict[int, bool]) -> int:
        """How many of a sector's versions arrived; the last of them is what it holds."""
        match self.way:
            case "none":
                return 0
            case "all":
                return len(versions)
            case "early":  # in the order of time; the one at the edge in pieces
                arrived = sum(number < self.edge for number, _ in versions)
                torn = arrived < len(versions) and versions[arrived][0] == self.edge and self.dice.random() < 0.5
                return arrived + torn
            case "late":  # the youngest arrived, what they rest on did not
                return len(versions) if versions[-1][0] >= self.edge else 0
            case "pages":
                page = sector * SECTOR // PAGE
                if page not in pages:
                    pages[page] = self.dice.random() < 0.5
                return len(versions) if pages[page] else 0
        return self.dice.randrange(len(versions) + 1)

    def _torn(self, file: _File, sector: int, content: bytes) -> bytes:
        """With "scraps" some sectors are torn inside: the new bytes up to a point, the old ones behind it."""
        if self.way != "scraps" or self.dice.random() > 0.1:
            return content
        old = bytes(file.platter[sector * SECTOR : (sector + 1) * SECTOR]).ljust(SECTOR, b"\0")
        point = self.dice.randrange(SECTOR)
        return content[:point] + old[point:]
