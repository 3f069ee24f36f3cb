"""Who is compared, and how each is started: the processes that its documentation says, on one machine, tuned by trying.

What was tried is in ``TRIED``; the best of it is what runs.
"""

import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from msgspec import Struct

from benchmarks import accept
from benchmarks.procs import ROOT, Broken, Proc, free_port, wait_http
from benchmarks.served import Payonce

from .servers import Postgres, Redis

HERE: Final = "benchmarks.peers"
READY: Final = (b"ready\n", b'"pid"')  # what workers say when they are: peers, payonce
READY_S: Final = 60.0
HORIZON_S: Final = 40  # a day by default: so long payonce looks for what may have been charged; then it says IN_DOUBT
TRIED: Final = (
    "Peers as tuned, by the CPU of all their processes for a settled payment, start-up left out (two cores shared with "
    "others, two runs each unless one is named): Celery's worker as prefork with 2 processes 9.9 to 10.5 ms, 4: 8.3 to 9.9; "
    "with 4 threads 7.1 to 9.1, 8: 6.1 to 6.8, 16: 7.0 to 7.4; so 8 threads. DBOS as plain functions in 8 threads 10.9 ms "
    "on SQLite and 14.7 on PostgreSQL, in 32 threads 12.7 and 17.2, as coroutines 8.1 and 9.9 (one run); so coroutines. "
    "procrastinate with 10 jobs at once 6.8, with 30: 6.5 (one run); so 30. One API process each, as payonce has: uvicorn, "
    "httptools, uvloop; a second one took Celery from 296 to 326 accepted a second, and from 179 to 149 settled (one run)."
)
DURABLE: Final = (
    "Durability is equal: SQLite in WAL with synchronous=FULL; PostgreSQL with fsync, full_page_writes and synchronous_commit. "
    "Each of these answers only after an fsync on the same disk. Redis has an append-only file: with appendfsync=everysec "
    "where a sweep finds in the database what Redis has lost, with appendfsync=always where Redis alone knows the task."
)


class Peer(Struct, frozen=True, kw_only=True):
    """A contender. ``worker``: the command of its worker after ``python -m``, where it has one of its own."""

    name: str
    module: str = ""  # of benchmarks.peers; empty: payonce
    postgres: bool = False
    redis: bool = False
    worker: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    redis_fsync: str = "always"
    keyless: bool = False  # payonce: the provider's adapter says that it honours no keys


CELERY: Final = (
    "celery",
    "-A",
    f"{HERE}.with_celery:tasks",
    "worker",
    "--loglevel=WARNING",
    "--pool=threads",
    "--concurrency=8",
)
QUIET: Final = ("--without-gossip", "--without-mingle")
BEAT: Final = ("--beat", "--schedule=beat")
POSTGRES_POOL: Final = {"PEER_POOL": "20"}
SQLITE_POOL: Final = {"PEER_POOL": "4"}

ONE: Final = Peer(name=accept.OURS)  # one process; accepting: its API without the worker
APART: Final = Peer(name="payonce, API and worker", worker=("payonce", "worker", "--json"))
CELERY_PLAIN: Final = Peer(name="Celery, SQLite", module="with_celery", redis=True, worker=(*CELERY, *QUIET), env=SQLITE_POOL)
CELERY_SQLITE: Final = Peer(
    name="Celery with a sweep, SQLite",
    module="with_celery",
    redis=True,
    redis_fsync="everysec",  # what Redis loses, the sweep finds in the database
    worker=(*CELERY, *QUIET, *BEAT),
    env={**SQLITE_POOL, "PEER_SWEEP": "1"},
)
CELERY_POSTGRES: Final = Peer(
    name="Celery with a sweep, PostgreSQL",
    module="with_celery",
    redis=True,
    redis_fsync="everysec",
    postgres=True,
    worker=(*CELERY, *QUIET, *BEAT),
    env={**POSTGRES_POOL, "PEER_SWEEP": "1"},
)
DBOS_SQLITE: Final = Peer(name="DBOS, SQLite", module="with_dbos")
DBOS_POSTGRES: Final = Peer(name="DBOS, PostgreSQL", module="with_dbos", postgres=True)
PROCRASTINATE: Final = Peer(
    name="procrastinate, PostgreSQL", module="with_procrastinate", postgres=True, worker=(f"{HERE}.with_procrastinate",)
)
OURS: Final = (ONE, APART)
PEERS: Final = (CELERY_SQLITE, CELERY_POSTGRES, DBOS_SQLITE, DBOS_POSTGRES, PROCRASTINATE)


class Contest(Struct, frozen=True, kw_only=True):
    """What turns share: the interpreter, PostgreSQL (None: there is none), the number that names databases."""

    python: str
    postgres: Postgres | None


class Running:
    """A contender under way in ``folder``: ``procs`` by name, each of which may be killed and started again."""

    def __init__(
        self, peer: Peer, contest: Contest, folder: Path, provider_url: str, *, work: bool = True, env: Mapping[str, str] = {}
    ) -> None:
        self.peer, self.python, self.folder, self.work = peer, contest.python, folder, work
        self.port = free_port()
        self.procs: dict[str, Proc] = {}
        self.made: dict[str, Callable[[], Proc]] = {}
        self.redis: Redis | None = None
        self._postgres: Proc | None = None
        self._stack = ExitStack()
        folder.mkdir(parents=True, exist_ok=True)
        self.env = {"PYTHONPATH": str(ROOT), **peer.env, **env}
        if peer.module:
            self._peer(contest, provider_url)
        else:
            self._payonce(provider_url)

    def _peer(self, contest: Contest, provider_url: str) -> None:
        peer, module = self.peer, f"{HERE}.{self.peer.module}"
        self.env |= {"PEER_PROVIDER": provider_url, "PEER_WORKER": str(int(self.work))}
        if peer.postgres:
            if contest.postgres is None:
                raise Broken(f"{peer.name} needs PostgreSQL")
            scheme = "postgresql" if peer.module == "with_procrastinate" else "postgresql+psycopg"
            database = self.folder.name.replace("-", "_")
            self.env["PEER_DATABASE"] = f"{scheme}://{contest.postgres.database(database)}"
            self._stack.callback(contest.postgres.drop, database)
            self._postgres = contest.postgres.proc
        else:
            self.env["PEER_DATABASE"] = f"sqlite:///{self.folder}/payments.db"
        if peer.redis:
            self.redis = Redis(self.folder / "redis", peer.redis_fsync)
            self._stack.callback(self.redis.stop)
            self.env["PEER_BROKER"] = self.redis.url
        prepare = Proc.start(
            [self.python, "-c", f"import {module} as peer; peer.prepare()"],
            log=self.folder / "prepare.log",
            env=self.env,
            cwd=self.folder,
            name=f"prepare {peer.name}",
        )
        with prepare:
            try:
                code = prepare.popen.wait(60)
            except subprocess.TimeoutExpired:
                code = -1
            if code:
                raise Broken(f"{peer.name}: its tables were not made: {prepare.tail()}")
        server = ("uvicorn", f"{module}:app", "--port", str(self.port), "--http", "httptools", "--loop", "uvloop")
        self.made["API"] = self._maker("api", (*server, "--no-access-log", "--log-level", "warning", "--backlog", "4096"))
        if peer.worker and self.work:
            self.made["worker"] = self._maker("worker", peer.worker)

    def _payonce(self, provider_url: str) -> None:
        ours = Payonce(self.folder, provider_url, python=self.python, settings={"PAYONCE_BACKLOG_MAX": "0"})
        if self.peer.keyless:
            config = ours.config.read_text(encoding="utf-8").replace('"mock"', '"keyless"')
            ours.config.write_text(f"{config}horizon_s = {HORIZON_S}\n", encoding="utf-8")
            self.env["PYTHONPATH"] += f":{_installed(self.folder)}"
        self.env |= ours.env
        here = self.work and not self.peer.worker
        serve = ("payonce", "serve", "--port", str(self.port), "--json", *(() if here else ("--no-worker",)))
        self.made["API"] = self._maker("api", serve)
        if self.peer.worker and self.work:
            self.made["worker"] = self._maker("worker", self.peer.worker)

    def _maker(self, name: str, argv: tuple[str, ...]) -> Callable[[], Proc]:
        def start() -> Proc:
            log = self.folder / f"{name}.log"
            return Proc.start(
                [self.python, "-m", *argv], log=log, env=self.env, cwd=self.folder, name=f"{self.peer.name} {name}"
            )

        return start

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """All processes, side by side, ready. Raises Broken when that takes too long."""
        before = {name: self._begin(name) for name in self.made}
        for name, told in before.items():
            self._wait(name, told)
        return self

    def again(self, name: str) -> None:
        """Start a process that does not run, and wait until it works. Raises Broken when that takes too long."""
        self._wait(name, self._begin(name))

    def _begin(self, name: str) -> int:
        """How often its log said before that it is ready."""
        told = said(self._log(name))
        self.procs[name] = self.made[name]()
        return told

    def _wait(self, name: str, told: int) -> None:
        proc = self.procs[name]
        if name == "API":
            wait_http(f"{self.url}/payments/none", proc)
            return
        until = time.monotonic() + READY_S
        while said(self._log(name)) == told:
            proc.require_alive()
            if time.monotonic() > until:
                raise Broken(f"{proc.name} was not ready within {READY_S:g} s:\n{proc.tail()}")
            time.sleep(0.05)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name.lower()}.log"

    def watched(self) -> tuple[int, ...]:
        """The numbers of all its processes, those of its database and its broker among them."""
        servers = [proc for proc in (self._postgres, self.redis.proc if self.redis else None) if proc]
        return tuple(proc.pid for proc in (*self.procs.values(), *servers))

    def stop(self) -> None:
        """End all of them; nobody drains for long."""
        for proc in reversed(self.procs.values()):
            proc.stop(5)
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def said(log: Path) -> int:
    """How often a worker has said that it is ready."""
    return sum(log.read_bytes().count(word) for word in READY) if log.exists() else 0


def _installed(folder: Path) -> Path:
    """A folder for PYTHONPATH that has the adapter without keys installed, as an installer would."""
    info = folder / "site" / "payonce_keyless-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: payonce-keyless\nVersion: 1\n", encoding="utf-8")
    points = f"[payonce.providers]\nkeyless = {HERE}.vendor:ADAPTER\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    return info.parent
