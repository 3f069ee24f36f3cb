"""PostgreSQL and Redis of this machine, started for the peers in a folder of theirs, and as durable as payonce is."""

import contextlib
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.procs import Broken, Proc, free_port

USERS: Final = ("postgres", "nobody")  # PostgreSQL refuses to run as root; the first of these that exists owns its files
READY_S: Final = 30.0
STOP_S: Final = 10.0
# Durability as it is by default, said aloud; memory for a small machine; nothing else is tuned.
SETTINGS: Final = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",  # no checkpoint in the middle of a short measurement
    "max_connections": "200",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "jit": "off",
}
PLACES: Final = ("/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/bin")


class Missing(Exception):
    """A server that is not on this machine, or cannot be run here; says which."""


class Postgres:
    """One PostgreSQL, a database for each contender's turn."""

    def __init__(self, folder: Path) -> None:
        """Creates the cluster. Raises Missing."""
        self._bin = _postgres_folder()
        self._as = _as_somebody()
        self._folder, self.port = folder, free_port()
        self.log = folder.parent / f"{folder.name}.log"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if self._as:
            user = pwd.getpwnam(self._as[1].removeprefix("--reuid="))
            os.chown(folder, user.pw_uid, user.pw_gid)
        self._tool("initdb", "-D", str(folder / "data"), "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C")
        self.proc = self._start()

    def _start(self) -> Proc:
        options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        argv = [*self._as, str(self._bin / "postgres"), "-D", str(self._folder / "data"), "-p", str(self.port), *options]
        proc = Proc.start(argv, log=self.log, cwd=self._folder, name="postgres")
        deadline = time.monotonic() + READY_S
        while subprocess.run([str(self._bin / "pg_isready"), "-q", *self._where()], check=False).returncode:
            proc.require_alive()
            if time.monotonic() > deadline:
                raise Broken(f"PostgreSQL was not ready within {READY_S:g} s:\n{proc.tail()}")
            time.sleep(0.05)
        return proc

    def database(self, name: str) -> str:
        """A new, empty database; its address without a scheme."""
        self._tool("createdb", *self._where(), "-U", "bench", name)
        return f"bench@127.0.0.1:{self.port}/{name}"

    def drop(self, name: str) -> None:
        """Remove a database that nobody needs any more: what its vacuum would take is not the next contender's."""
        with contextlib.suppress(Missing):  # it goes with all the others at the end, then
            self._tool("dropdb", "--force", *self._where(), "-U", "bench", name)

    def stop(self) -> None:
        """End it, whoever is connected, and remove its files."""
        if self.proc.alive:
            self.proc.popen.send_signal(2)  # SIGINT: fast shutdown; SIGTERM waits for clients
        self.proc.stop(STOP_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _where(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port)]

    def _tool(self, name: str, *args: str) -> None:
        done = subprocess.run(
            [*self._as, str(self._bin / name), *args],
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HOME": str(self._folder)},
        )
        if done.returncode:
            raise Missing(f"PostgreSQL: {name} failed: {done.stderr.strip()[-300:]}")


class Redis:
    """One Redis with an append-only file. ``fsync``: "always" before it answers, or "everysec"."""

    def __init__(self, folder: Path, fsync: str = "always") -> None:
        """Raises Missing."""
        if shutil.which("redis-server") is None:
            raise Missing("Redis: no redis-server on this machine")
        self._folder, self._fsync, self.port = folder, fsync, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.proc = self.start()

    def start(self) -> Proc:
        """Start it, or start it again on the same files and port."""
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self._folder, "save": "", "appendonly": "yes"}
        argv = ["redis-server", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
        argv += ["--appendfsync", self._fsync]
        self.proc = Proc.start(argv, log=self._folder / "redis.log", cwd=self._folder, name="redis")
        deadline = time.monotonic() + READY_S
        while subprocess.run(["redis-cli", "-p", str(self.port), "ping"], capture_output=True, check=False).stdout != b"PONG\n":
            self.proc.require_alive()
            if time.monotonic() > deadline:
                raise Broken(f"Redis was not ready within {READY_S:g} s:\n{self.proc.tail()}")
            time.sleep(0.05)
        return self.proc

    def stop(self) -> None:
        """End it."""
        self.proc.stop(STOP_S)


def _postgres_folder() -> Path:
    """Where initdb and postgres are; the newest. Raises Missing."""
    for place in PLACES:
        if found := sorted(Path(place).glob("*/bin/initdb"), key=lambda each: float(each.parts[-3])):
            return found[-1].parent
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    raise Missing("PostgreSQL: no initdb on this machine")


def _as_somebody() -> Sequence[str]:
    """The words before a command that PostgreSQL needs when we are root. Raises Missing."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        raise Missing("PostgreSQL refuses to run as root, and there is no setpriv to run it as somebody else")
    for name in USERS:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return ("setpriv", f"--reuid={name}", f"--regid={user.pw_gid}", "--clear-groups", "--inh-caps=-all")
    raise Missing(f"PostgreSQL refuses to run as root, and there is none of these users: {', '.join(USERS)}")
