"""What ``plan`` is told and what it can say: a call, a judgement, a reversal, or nothing until a time."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from .idempotency import Details
from .payment import Attempt, Candidate, StepKind


class Block(Struct, frozen=True):
    """Why an account may not take a new money step now. ``until_us``: when to look again; None = when somebody changes
    it (drained, or not in the configuration)."""

    why: str
    until_us: int | None = None
    drained: bool = False


class Facts(Struct, frozen=True, kw_only=True):
    """What the shell knows from outside. ``rule``, ``route`` and ``settle_s`` count until the first attempt only."""

    rule: str = ""
    route: tuple[Candidate, ...] = ()
    settle_s: int = 86_400
    blocked: Mapping[str, Block] = {}  # accounts with an open breaker, drained, or not configured
    hold: bool = False  # after a restore: read and close, but fire and begin nothing
    look_first: frozenset[str] = frozenset()  # accounts whose idle attempts are read first: a backup was restored
    found_at: str = ""  # where the next attempt of the lost end of a history was found
    details: Details | None = None  # of no use to plan: for whoever makes the call, so that they are read once
    lost: frozenset[int] = frozenset()  # attempts whose account is missing or was re-pointed: nothing is sent there


class Call(Struct, frozen=True, kw_only=True):
    """One provider call: record it, then make it. With ``opens`` a new attempt begins, and the shell makes it
    ``create`` where the account's terms have a container."""

    kind: StepKind
    account: str
    attempt: int
    opens: bool = False
    operation: int = 0


class Judge(Struct, frozen=True, kw_only=True):
    what: Literal["FAILED", "CANCELED", "IN_DOUBT", "left", "attention", "operation_FAILED", "operation_IN_DOUBT"]
    reason: str
    attempt: int = 0
    operation: int = 0


class Reverse(Struct, frozen=True, kw_only=True):
    """Append the reversal of a surplus charge."""

    attempt: int
    reason: str


def held_back(do: Call | Judge | Reverse | None) -> bool:
    """What a process does not do under hold: send what may move money, begin an attempt, or end a payment unpaid."""
    if isinstance(do, Call):
        return do.opens or do.kind not in ("read", "close")
    return isinstance(do, Judge) and do.what in ("FAILED", "CANCELED")


class Next(Struct, frozen=True):
    at_us: int | None
    do: Call | Judge | Reverse | None


QUIET = Next(None, None)


def call(kind: StepKind, a: Attempt) -> Call:
    """A further step of an attempt."""
    return Call(kind=kind, account=a.account, attempt=a.n)
