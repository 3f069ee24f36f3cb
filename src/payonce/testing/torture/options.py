"""What a torture is asked for, and what it found."""

from typing import Literal

from msgspec import Struct

FAULTS = ("drop", "cut_request", "cut_answer", "stall", "late_answer", "reset", "duplicate", "trickle", "refuse")
KINDS = ("api", "worker", "sandbox")  # of processes
Wrong = Literal["doubled", "lost", "wrong", "rules", "key", "answer", "unsettled", "file", "log", "start"]
WRONGS: dict[Wrong, str] = {
    "doubled": "more than one charge was kept",
    "lost": "an answered 202 without its payment, or a status that went back",
    "wrong": "status, amount or currency are not what the vendors' books say",
    "rules": "a history does what the rules forbid",
    "key": "one idempotency key made two payments, or another body had an effect",
    "answer": "the API answered what it must not",
    "unsettled": "not settled in time",
    "file": "payonce verify found a problem",
    "log": "a process reported an error of its own, or did not end as it should",
    "start": "a process did not start again",
}


class TortureOptions(Struct, frozen=True, kw_only=True):
    """What is asked for. Raises ValueError for what is out of range."""

    seed: int = 0
    payments: int = 300  # 1 to 1,000,000
    kills: int = 30  # kill -9 in total, 0 to 100,000
    seconds: float = 0  # at most this long for posts, kills and faults; 0 = until all are done
    workers: int = 2  # `payonce worker` processes beside the API, 0 to 8
    clients: int = 12  # posting at once, 1 to 64
    fault_share: float = 0.25  # of the calls to the sandbox that meet a fault of the proxy, 0 to 1
    horizon_s: int = 40  # after this an unresolved attempt is IN_DOUBT, 15 to 3600
    keep: str = ""  # a folder for all files, which then stays; empty: a temporary one

    def __post_init__(self) -> None:
        for name, low, high in (
            ("payments", 1, 1_000_000),
            ("kills", 0, 100_000),
            ("seconds", 0, 604_800),
            ("workers", 0, 8),
            ("clients", 1, 64),
            ("fault_share", 0, 1),
            ("horizon_s", 15, 3600),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {low} to {high}")

    @property
    def look_s(self) -> int:
        """How long a payment may look for an account that takes it."""
        return 2 * self.horizon_s

    @property
    def settle_deadline_s(self) -> int:
        """After the faults: three fires on one container, a look for other accounts, and the watch of what is final."""
        return 6 * self.horizon_s + 60


class Violation(Struct, frozen=True, kw_only=True):
    """One thing that must not be. ``payment`` or ``key`` is empty where it is about no single one."""

    kind: Wrong
    says: str
    payment: str = ""
    key: str = ""


class TortureReport(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a torture did and what it found. ``clean`` is the verdict."""

    seed: int
    payments: int  # accepted, one per idempotency key
    posts: int  # requests to POST /payments, answered or not
    answers: dict[str, int]  # what the posts were answered: "202", "202 again", "422", "none", "hung up"
    kills: dict[str, int]  # kill -9 by kind of process
    freezes: dict[str, int]  # SIGSTOP and SIGCONT by kind of process
    faults: dict[str, int]  # by kind of fault of the proxy
    calls: int  # to the sandbox, through the proxy
    statuses: dict[str, int]
    outlasted: int  # ended otherwise than their token does, because the faults outlasted a short horizon
    movements: int  # of money, in the vendors' books
    storm_s: float  # the phase of posts, kills and faults
    settle_s: float  # until everything was quiet afterwards
    kills_per_minute: float
    violations: list[Violation]  # at most VIOLATIONS_MAX of them
    violations_total: int
    folder: str  # where the files are; empty when they were removed

    @property
    def clean(self) -> bool:
        return self.violations_total == 0

    def count(self, *kinds: Wrong) -> int:
        """How many of the kept violations are of these kinds."""
        return sum(v.kind in kinds for v in self.violations)


VIOLATIONS_MAX = 200
