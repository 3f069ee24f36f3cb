"""After a restore: a mark at the store, which every process on it respects, until ``payonce reconcile`` has compared what is
open with the providers. Reads and closes go on, nothing is fired.

The mark says for which modes it stands, as a comparison sees the payments of one mode only. One that does not say it (an empty
file, ``{}``: earlier versions wrote these) or that cannot be understood stands for both."""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from .core.errors import ConfigError, StoreUnavailable
from .core.payment import Mode
from .ports import Clock, Registry

KIND: Final = "hold"  # of the record in the registry
NAME: Final = "store"
CACHE_US: Final = 1_000_000  # how old what the registry said may be
RACES_MAX: Final = 20
BOTH: Final[tuple[Mode, ...]] = ("test", "live")

Modes = tuple[Mode, ...]  # for which a mark stands, in the order of BOTH; () = there is none


class Hold(Protocol):
    """The mark, as a process of one mode sees it."""

    async def on(self) -> bool:
        """Whether nothing may be fired now in this mode. Raises StoreUnavailable when that cannot be known."""

    async def modes(self) -> Modes:
        """Every mode that is held. Raises as ``on``."""

    async def begin(self) -> None:
        """Hold this mode; a no-op when it is held. Raises ConfigError or StoreUnavailable: nothing may be started then."""

    async def lift(self) -> None:
        """End the hold of this mode; a no-op when there is none. What another mode is held for stays. Raises
        StoreUnavailable."""


class FileHold:
    """A file beside the store's: one mode per line. ``mode`` None: of no mode, it begins, sees and lifts both."""

    def __init__(self, store_path: Path, mode: Mode | None = None) -> None:
        self.path = store_path.with_name(store_path.name + ".hold")
        self._own: Modes = BOTH if mode is None else (mode,)

    async def on(self) -> bool:
        return _any(self._own, self._read())

    async def modes(self) -> Modes:
        return self._read()

    async def begin(self) -> None:
        try:
            self._change(lambda held: _with(held, self._own))
        except OSError as error:
            raise ConfigError(f"--hold: cannot write {self.path}: {error.strerror}. Nothing was started.") from error

    async def lift(self) -> None:
        try:
            self._change(lambda held: _without(held, self._own))
        except OSError as error:
            raise StoreUnavailable(f"The hold stays: cannot change {self.path}: {error.strerror}. Try again.") from error

    def _read(self) -> Modes:
        try:
            lines = self.path.read_text("utf-8").split()
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except (OSError, UnicodeDecodeError):
            return BOTH  # it is there
        return _known(lines)

    def _change(self, change: Callable[[Modes], Modes]) -> None:
        with _alone(self.path.parent):
            before = self._read()
            after = change(before)
            if not after:
                self.path.unlink(missing_ok=True)
            elif after != before:
                made = self.path.with_name(self.path.name + ".new")
                with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                    file.writelines(f"{mode}\n" for mode in after)
                made.replace(self.path)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time, on this machine: else one that lifts could remove what another one has just begun."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class _Mark(Struct, frozen=True):
    """The value of the record."""

    modes: tuple[str, ...] = ()


class RecordHold:
    """A record of the registry: for stores whose processes share no folder. What it says may be a second old. ``mode`` as with
    ``FileHold``."""

    def __init__(self, registry: Registry, clock: Clock, mode: Mode | None = None) -> None:
        self._registry, self._clock = registry, clock
        self._own: Modes = BOTH if mode is None else (mode,)
        self._known: tuple[tuple[int, int], Modes] | None = None  # when it was read, by both clocks, and what it said

    async def on(self) -> bool:
        return _any(self._own, await self.modes())

    async def modes(self) -> Modes:
        now = self._now()
        if self._known is None or any(not 0 <= at - then < CACHE_US for at, then in zip(now, self._known[0], strict=True)):
            self._known = now, (await self._read())[0]
        return self._known[1]

    def _now(self) -> tuple[int, int]:
        """By both clocks: the monotonic one may stand still while Lambda freezes us."""
        return self._clock.now_us(), self._clock.monotonic_us()

    async def begin(self) -> None:
        await self._change(lambda held: _with(held, self._own))

    async def lift(self) -> None:
        await self._change(lambda held: _without(held, self._own))

    async def _change(self, change: Callable[[Modes], Modes]) -> None:
        for _ in range(RACES_MAX):
            before, version = await self._read()
            after = change(before)
            value = msgspec.json.encode(_Mark(after)) if after else None
            if after == before or await self._registry.put(KIND, NAME, value, version):
                self._known = self._now(), after
                return
        raise StoreUnavailable("The hold is being changed by others all the time. Nothing was changed; try again.")

    async def _read(self) -> tuple[Modes, int]:
        """For which modes, and the record's version."""
        for record in await self._registry.all(KIND):
            if record.name == NAME:
                try:
                    return _known(msgspec.json.decode(record.value, type=_Mark).modes), record.version
                except msgspec.DecodeError:
                    return BOTH, record.version
        return (), 0


def _known(words: Iterable[str]) -> Modes:
    """What a mark that is there stands for: never for nothing."""
    said = set(words)
    return tuple(mode for mode in BOTH if mode in said) if said and said <= set(BOTH) else BOTH


def _any(own: Modes, held: Modes) -> bool:
    return any(mode in held for mode in own)


def _with(held: Modes, own: Modes) -> Modes:
    return tuple(mode for mode in BOTH if mode in held or mode in own)


def _without(held: Modes, own: Modes) -> Modes:
    return tuple(mode for mode in held if mode not in own)
