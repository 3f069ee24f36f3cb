"""What a state of the search is made of, and how much may go wrong on the way to it."""

from typing import Generic, NamedTuple, TypeVar, cast

from msgspec import Struct

from payonce.core.outcome import AnyOutcome

from .vendors import Request, Word

T = TypeVar("T")
OUTSIDE, CLOCK = -1, -2  # who moves, where it is no worker
FAULTS = ("crashes", "duplicates", "losses", "freezes", "sleeps", "refusals")


class Bounds(Struct, frozen=True, kw_only=True):
    """How often each fault may happen on one path, and ``faults``: all of them together.

    ``crashes``     a worker dies with what it has in hand, and starts again
    ``duplicates``  a request is delivered, and a copy of it stays under way
    ``losses``      a sender gives up before its request arrives; it may still arrive at any time, or never
    ``freezes``     a worker stands still while time passes, and goes on at any time
    ``sleeps``      idle workers sleep over what is due, up to a moment at which something changes
    ``refusals``    a documented "not executed" instead of a delivery
    ``aftermath``   no fault: how many actions are followed after the payment is settled
    ``words``       what a provider may decide about a new try
    ``unkeyed_copies``  copies of fires also where the provider does not promise to know them again
    """

    faults: int = 2
    crashes: int = 2
    duplicates: int = 2
    losses: int = 2
    freezes: int = 1
    sleeps: int = 1
    refusals: int = 1
    aftermath: int = 0
    words: tuple[Word, ...] = ("yes", "soft", "processing")
    unkeyed_copies: bool = False


class Left(NamedTuple):
    """What may still happen on this path."""

    faults: int
    crashes: int
    duplicates: int
    losses: int
    freezes: int
    sleeps: int
    refusals: int
    aftermath: int


class Hand(NamedTuple):
    """What a worker holds. ``does``: idle, planned, claimed, waiting, answer. ``frozen``: time may pass over it.

    planned: ``row`` is what it read, ``after`` what it will write. ``at_us``: the send deadline, or when it gives up."""

    does: str
    frozen: bool = False
    row: int = -1
    after: int = -1
    seq: int = 0
    request: Request | None = None
    at_us: int = 0
    outcome: AnyOutcome | None = None


class State(NamedTuple):
    """All of it, by number (``Pool``) where things are large. Workers are alike, so hands are in order."""

    row: int
    now_us: int
    hands: tuple[int, int]
    net: int
    books: tuple[int, int]
    left: int


class Change(NamedTuple):
    """What one worker does, whatever the other one holds: computed once for each row, time, hand and book."""

    what: str
    hand: int = 0
    row: int = -1
    adds: Request | None = None
    account: int = -1
    book: int = 0
    fault: str = ""
    broken: str = ""


class Move(NamedTuple):
    """``worker``: whose hand it is, or OUTSIDE or CLOCK. ``hands``: those of the next state, not yet in order, so that a
    timeline can tell who is who. ``broken``: the rule that this move breaks; then ``after`` means nothing."""

    what: str
    worker: int
    hands: tuple[int, int]
    after: State
    fault: str = ""
    broken: str = ""

    @property
    def by_itself(self) -> bool:
        """Done by a worker or the clock: it needs nobody outside to go on."""
        return self.worker != OUTSIDE


class Pool(Generic[T]):
    """Each value once, by number; 0 is never a value."""

    def __init__(self) -> None:
        self._values: list[T | None] = [None]
        self._numbers: dict[T, int] = {}

    def number(self, value: T) -> int:
        n = self._numbers.get(value)
        if n is None:
            n = self._numbers[value] = len(self._values)
            self._values.append(value)
        return n

    def __getitem__(self, number: int) -> T:
        return cast("T", self._values[number])
