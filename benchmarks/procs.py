"""Processes of a benchmark: started, measured from ``/proc``, and ended by their number. None outlives the run."""

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

ROOT: Final = Path(__file__).resolve().parents[1]  # of the repository: ``python -m benchmarks.x`` runs from here
TICKS: Final = os.sysconf("SC_CLK_TCK")  # of a second, in /proc/PID/stat
READY_S: Final = 60.0
STOP_S: Final = 30.0
LOOK_S: Final = 0.02
TAIL: Final = 2000  # characters of a log that a message quotes


class Broken(Exception):
    """A measurement that means nothing: a process died, a server refused, a payment was charged twice. Says what happened."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Proc:
    """One process, leader of a session of its own, with whatever it forks."""

    def __init__(self, popen: subprocess.Popen[bytes], name: str, log: Path) -> None:
        self.popen, self.name, self.log = popen, name, log

    @classmethod
    def start(
        cls, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT, name: str = ""
    ) -> Self:
        """Start a command. ``env`` is added to ours; standard output and error are appended to ``log``."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            popen = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                start_new_session=True,  # Ctrl-C is for the run, which then ends them in order
            )
        guard(popen)
        return cls(popen, name or Path(argv[0]).name, log)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def require_alive(self) -> None:
        """Raises Broken, with the end of its log, when it has ended."""
        if not self.alive:
            raise Broken(f"{self.name} ended with {self.popen.returncode}; the end of {self.log}:\n{self.tail()}")

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-TAIL:] if self.log.exists() else ""

    def cpu_s(self) -> float:
        """Seconds of CPU, user and system, that it and its living children have used. Raises Broken when it has ended."""
        self.require_alive()
        return sum(cpu_of(pid) for pid in self.pids())

    def cpu_fine_s(self) -> float:
        """The same to the nanosecond, but without threads that have ended: for processes that do next to nothing."""
        self.require_alive()
        return sum(fine_cpu_of(pid) for pid in self.pids())

    def rss_mib(self) -> float:
        """MiB of memory now, with its children: what is shared is split among those who share it (PSS), where we may read
        that; else RSS."""
        self.require_alive()
        return sum(memory_of(pid) for pid in self.pids())

    def peak_mib(self) -> float:
        """The most MiB (RSS) that each of its living processes ever had, added up."""
        self.require_alive()
        return sum(peak_of(pid) for pid in self.pids())

    def fds(self) -> int:
        """Open file descriptors, with those of its children."""
        self.require_alive()
        return sum(len(_names(f"/proc/{pid}/fd")) for pid in self.pids())

    def pids(self) -> list[int]:
        """It and its descendants that are alive."""
        return [self.pid, *descendants(self.pid)]

    def stop(self, wait_s: float = STOP_S) -> int:
        """SIGTERM, wait, and end by force what is left; the exit code of the process."""
        if self.alive:
            self.popen.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(wait_s)
        return self.kill()

    def kill(self) -> int:
        """SIGKILL to all of its session; the exit code of the process."""
        return end(self.popen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


_living: set[subprocess.Popen[bytes]] = set()


def guard(popen: subprocess.Popen[bytes]) -> None:
    """See to it that a process, leader of its session, does not outlive the run."""
    _living.add(popen)


def end(popen: subprocess.Popen[bytes]) -> int:
    """SIGKILL to all of its session, also when the leader has ended; the leader's exit code."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(popen.pid, signal.SIGKILL)
    code = popen.wait(STOP_S)
    _living.discard(popen)
    return code


@atexit.register
def end_all() -> None:
    """End whatever was not stopped. Runs by itself at the end of the run, also after Ctrl-C."""
    for popen in list(_living):
        end(popen)


def wait_http(url: str, proc: Proc, timeout_s: float = READY_S) -> None:
    """Until a GET of ``url`` is answered, with any status below 500. Raises Broken when the process ends or stays silent."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        proc.require_alive()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        time.sleep(LOOK_S)
    raise Broken(f"{proc.name} did not answer at {url} within {timeout_s:g} s; the end of {proc.log}:\n{proc.tail()}")


def wait_line(word: str, proc: Proc, timeout_s: float = READY_S) -> None:
    """Until ``word`` stands in the process's log. Raises Broken when the process ends or stays silent."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if proc.log.exists() and word.encode() in proc.log.read_bytes():
            return
        proc.require_alive()
        time.sleep(LOOK_S)
    raise Broken(f"{proc.name} did not say {word!r} within {timeout_s:g} s; the end of {proc.log}:\n{proc.tail()}")


# --- /proc ----------------------------------------------------------------------------------------------------------------


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, that are alive."""
    found: list[int] = []
    for task in _names(f"/proc/{pid}/task"):
        for child in _text(f"/proc/{pid}/task/{task}/children").split():
            found += [int(child), *descendants(int(child))]
    return found


def cpu_of(pid: int) -> float:
    """Seconds of CPU, user and system, of one process, to a hundredth; with threads that have ended. 0 when it has ended."""
    _, _, rest = _text(f"/proc/{pid}/stat").rpartition(")")
    fields = rest.split()
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0


def fine_cpu_of(pid: int) -> float:
    """Seconds of CPU of the living threads of one process, to the nanosecond."""
    lines = [_text(f"/proc/{pid}/task/{task}/schedstat") for task in _names(f"/proc/{pid}/task")]
    return sum(int(line.split()[0]) for line in lines if line) / 1e9


def memory_of(pid: int) -> float:
    """MiB of one process: PSS, else RSS."""
    return _kib(f"/proc/{pid}/smaps_rollup", ("Pss:",)) / 1024 or _kib(f"/proc/{pid}/status", ("VmRSS:",)) / 1024


def peak_of(pid: int) -> float:
    """The most MiB (RSS) that one process ever had."""
    return _kib(f"/proc/{pid}/status", ("VmHWM:",)) / 1024


def _kib(path: str, words: Iterable[str]) -> int:
    for line in _text(path).splitlines():
        name, *values = line.split()
        if name in words:
            return int(values[0])
    return 0


def _names(path: str) -> list[str]:
    try:
        return [each.name for each in Path(path).iterdir()]
    except OSError:
        return []


def _text(path: str) -> str:
    """Empty for a process that has ended, or that we may not read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
