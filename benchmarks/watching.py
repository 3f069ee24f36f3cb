"""One look a second at a server under way: its memory, CPU, file handles, its write-ahead log and how many payments wait."""

import threading
import time
from pathlib import Path
from typing import Final, Self

import apsw
from msgspec import Struct

from .procs import Broken, Proc
from .served import Payonce

LOOK_S: Final = 1.0
PENDING: Final = "SELECT count(*) FROM payments WHERE merchant_id = 'mer_default' AND mode = 'test' AND status = 'PENDING'"


class Seen(Struct, frozen=True):
    """One look. ``at_s`` by the monotonic clock."""

    at_s: float
    mib: float
    cpu_s: float
    fds: int
    wal_mib: float
    pending: int


class Watch(threading.Thread):
    """Looks from ``with`` to the end of its block."""

    def __init__(self, ours: Payonce, proc: Proc) -> None:
        super().__init__(name="watch", daemon=True)
        self.ours, self.proc = ours, proc
        self.seen: list[Seen] = []
        self._over = threading.Event()
        self._failed: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._over.wait(LOOK_S):
                if self.proc.alive:
                    self.seen.append(self.look())
        except BaseException as error:  # noqa: BLE001 - told at the end
            self._failed = error

    def look(self) -> Seen:
        proc = self.proc
        return Seen(
            time.monotonic(), proc.rss_mib(), proc.cpu_s(), proc.fds(), wal_mib(self.ours.store), pending(self.ours.store)
        )

    def wait_quiet(self, most: int, timeout_s: float) -> float:
        """Seconds until at most so many payments wait. Raises Broken when that takes too long."""
        began = time.monotonic()
        while (left := pending(self.ours.store)) > most:
            self.proc.require_alive()
            if time.monotonic() - began > timeout_s:
                raise Broken(f"{left} payments still wait after {timeout_s:g} s")
            time.sleep(0.1)
        return time.monotonic() - began

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._over.set()
        self.join(30)
        if kind is None and self._failed is not None:
            raise Broken(f"the watch failed: {self._failed}")


def pending(store: Path) -> int:
    """How many payments wait, by an index that holds them side by side."""
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(5000)
    try:
        (count,) = next(iter(connection.execute(PENDING)))
        return int(count)
    finally:
        connection.close()


def wal_mib(store: Path) -> float:
    wal = store.with_name(store.name + "-wal")
    return wal.stat().st_size / (1 << 20) if wal.exists() else 0.0
