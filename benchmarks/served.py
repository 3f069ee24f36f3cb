"""What is measured, started as people start it: payonce's own processes, the provider, and the folder they work in."""

import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from .procs import Broken, Proc, free_port, wait_http, wait_line
from .provider import Booked, Ledger

ACCOUNT: Final = "bench"
SECRET: Final = "BENCH_SECRET"  # noqa: S105 - the name of a variable
CONFIG: Final = """\
version = 1

[providers.{account}]
adapter = "mock"
base_url = "{url}"
secret = "env:{secret}"
merchants = "*"
"""
NOWHERE: Final = "http://127.0.0.1:9"  # a provider for those who only accept


class Provider:
    """``benchmarks.provider`` under way."""

    def __init__(self, folder: Path, *, latency_ms: float = 0.0, python: str = sys.executable) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        argv = [python, "-m", "benchmarks.provider", "--port", str(self.port), "--latency-ms", str(latency_ms)]
        self.proc = Proc.start(argv, log=folder / "provider.log", name="provider")
        wait_http(f"{self.url}/ledger", self.proc)

    def ledger(self) -> Ledger:
        """The sums."""
        return msgspec.json.decode(get(f"{self.url}/ledger"), type=Ledger)

    def charges(self) -> list[Booked]:
        """Every charge, in the order in which they were made."""
        return [msgspec.json.decode(line, type=Booked) for line in get(f"{self.url}/ledger/charges").splitlines()]

    def set_latency(self, ms: float | str) -> None:
        """From now on; ``"down"`` answers 503 to everything."""
        asked = urllib.request.Request(f"{self.url}/latency?ms={ms}", method="PUT")
        with urllib.request.urlopen(asked, timeout=10):
            pass

    def stop(self) -> None:
        self.proc.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Payonce:
    """A store in ``folder``, and the processes of payonce on it. ``settings`` are environment variables: PAYONCE_LOG_LEVEL
    and so on. Leave the block and all are stopped; the store stays."""

    def __init__(
        self,
        folder: Path,
        provider_url: str = NOWHERE,
        *,
        settings: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.python = folder, python
        self.data, self.config = folder / "data", folder / "payonce.toml"
        self.config.write_text(CONFIG.format(account=ACCOUNT, url=provider_url, secret=SECRET), encoding="utf-8")
        self.env = {
            SECRET: "bench",
            "PAYONCE_CONFIG": str(self.config),
            "PAYONCE_DATA_DIR": str(self.data),
            **(settings or {}),
        }
        self.port, self.procs = 0, list[Proc]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def store(self) -> Path:
        return self.data / "payments.db"

    def serve(self, *, worker: bool = True, settings: Mapping[str, str] | None = None) -> Proc:
        """``payonce serve``, answering at ``url``, with its worker or without."""
        self.port = free_port()
        args = ["serve", "--port", str(self.port), "--json", *(["--no-worker"] if not worker else [])]
        proc = self._start("serve" if worker else "api", args, settings)
        wait_http(f"{self.url}/livez", proc)
        return proc

    def worker(self, *, settings: Mapping[str, str] | None = None) -> Proc:
        """``payonce worker``, at work."""
        number = sum(proc.name.startswith("worker") for proc in self.procs) + 1
        proc = self._start(f"worker{number}", ["worker", "--json"], settings)
        wait_line('"pid"', proc)
        return proc

    def run(self, *args: str) -> str:
        """One command of payonce to its end: what it printed. Raises Broken when it failed."""
        log = self.folder / "command.log"
        log.unlink(missing_ok=True)
        with Proc.start(self._argv(args), log=log, env=self.env, cwd=self.folder, name=f"payonce {args[0]}") as proc:
            if code := proc.popen.wait(120):
                raise Broken(f"payonce {' '.join(args)} ended with {code}: {proc.tail()}")
        return log.read_text(encoding="utf-8")

    def check(self) -> None:
        """Raises Broken when one of the processes has ended."""
        for proc in self.procs:
            proc.require_alive()

    def stop(self) -> None:
        """Let all of them drain and end. Raises Broken when one had ended before, or ends with an error."""
        ended = [(proc, proc.alive, proc.stop()) for proc in reversed(self.procs)]
        self.procs.clear()
        for proc, alive, code in ended:
            if not alive or code:
                how = "at the end" if alive else "on its way"
                raise Broken(f"{proc.name} ended with {code} {how}; the end of {proc.log}:\n{proc.tail()}")

    def _start(self, name: str, args: Sequence[str], settings: Mapping[str, str] | None) -> Proc:
        env = {**self.env, **(settings or {})}
        log = self.folder / f"{name}.log"
        log.unlink(missing_ok=True)
        proc = Proc.start(self._argv(args), log=log, env=env, cwd=self.folder, name=f"payonce {args[0]}")
        proc.name = name
        self.procs.append(proc)
        return proc

    def _argv(self, args: Sequence[str]) -> list[str]:
        return [self.python, "-m", "payonce", *args]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.stop()
            return
        for proc in self.procs:
            proc.kill()
        self.procs.clear()


def get(url: str, timeout_s: float = 60.0) -> bytes:
    """The body of a 200. Raises Broken for anything else."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return bytes(answer.read())
    except OSError as error:
        raise Broken(f"GET {url}: {error}") from error
