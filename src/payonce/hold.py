"""After a restore: a mark at the store, which every process on it respects, until ``payonce reconcile`` has compared what is
open with the providers. Reads and closes go on, nothing is fired."""

from pathlib import Path
from typing import Final, Protocol

from .core.errors import ConfigError, StoreUnavailable
from .ports import Clock, Registry

KIND: Final = "hold"  # of the record in the registry
NAME: Final = "store"
CACHE_US: Final = 1_000_000  # how old what the registry said may be
RACES_MAX: Final = 20


class Hold(Protocol):
    """The mark."""

    async def on(self) -> bool:
        """Whether nothing may be fired now. Raises StoreUnavailable when that cannot be known."""

    async def begin(self) -> None:
        """Make the mark; a no-op when it is there. Raises ConfigError or StoreUnavailable: nothing may be started then."""

    async def lift(self) -> None:
        """Remove it; a no-op when there is none. Raises StoreUnavailable."""


class FileHold:
    """A file beside the store's."""

    def __init__(self, store_path: Path) -> None:
        self.path = store_path.with_name(store_path.name + ".hold")

    async def on(self) -> bool:
        return self.path.exists()

    async def begin(self) -> None:
        try:
            self.path.touch(mode=0o600)
        except OSError as error:
            raise ConfigError(f"--hold: cannot write {self.path}: {error.strerror}. Nothing was started.") from error

    async def lift(self) -> None:
        self.path.unlink(missing_ok=True)


class RecordHold:
    """A record of the registry: for stores whose processes share no folder. What it says may be a second old."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry, self._clock = registry, clock
        self._known: tuple[tuple[int, int], bool] | None = None  # when it was read, by both clocks, and what it said

    async def on(self) -> bool:
        now = self._now()
        if self._known is None or any(not 0 <= at - then < CACHE_US for at, then in zip(now, self._known[0], strict=True)):
            self._known = now, await self._version() > 0
        return self._known[1]

    def _now(self) -> tuple[int, int]:
        """By both clocks: the monotonic one may stand still while Lambda freezes us."""
        return self._clock.now_us(), self._clock.monotonic_us()

    async def begin(self) -> None:
        await self._write(b"{}")

    async def lift(self) -> None:
        await self._write(None)

    async def _write(self, value: bytes | None) -> None:
        for _ in range(RACES_MAX):
            version = await self._version()
            if (version > 0) == (value is not None) or await self._registry.put(KIND, NAME, value, version):
                self._known = self._now(), value is not None
                return
        raise StoreUnavailable("The hold is being changed by others all the time. Nothing was changed; try again.")

    async def _version(self) -> int:
        return next((r.version for r in await self._registry.all(KIND) if r.name == NAME), 0)
