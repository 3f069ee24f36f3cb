"""What goes wrong, and where. Every call of a port asks ``at`` once, by the name of its point; the answer is a word,
empty when all is well. ``Dice`` answers by seeded chance, ``Script`` by the number of the call, so that every call of a
run can be made to fail in every way. Either counts what it answered.

A word has the same meaning for every port:

    crash_before  crash_after    the process dies, before or after the call had its effect
    error_before  error_after    the call fails: nothing was done; or it was done, and its answer is lost
    later  vanish                it is unclear whether it was done; it is done later, or never
    duplicate                    it is done twice
    delay  freeze                it takes long; or the whole process stands still before it

and what only the way to a provider knows is in ``WIRE``.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

CRASHES: Final = ("crash_before", "crash_after")
# point -> the words it knows. The first six of a commit and of a send are the crash points that are enumerated.
STORE_WRITE: Final = (*CRASHES, "error_before", "error_after", "duplicate", "delay", "later", "vanish", "freeze")
STORE_READ: Final = (*CRASHES, "error_before", "delay", "freeze")
REGISTRY: Final = (*CRASHES, "error_before", "error_after", "race", "delay")
GATEWAY: Final = ("429", "401", "403", "404", "409", "502", "503")  # answered in front of the provider, nothing executed
INBOX: Final = (*CRASHES, "error_before", "error_after", "delay", "freeze")
WIRE: Final = (
    *CRASHES,
    *("error_before", "error_after", "duplicate", "delay", "freeze"),
    "refused",  # no connection: provably not sent
    "stall",  # held up on the way, and delivered long after we gave up
    "stale",  # the answer comes in the last moment
    "thaw",  # the answer is there, the process sleeps over its lease
    "odd",  # one value of the answer is missing or of another kind
    "garbage",  # half of an answer, or a page of a proxy
    "crossed",  # the answer to somebody else's request
    "5xx_after",  # executed, and a proxy says 502
    "4xx_after",  # executed, and a proxy says something that sounds like a refusal
    "wrong_amount",
    "wrong_currency",
    *GATEWAY,
)
# A call to DynamoDB: ``vanish`` is a request that never arrived, ``error_after`` an answer that never came, ``later`` is done
# 0.5 to 60 s after we gave up, ``duplicate`` arrives a second time.
CLOUD: Final = (*CRASHES, "vanish", "delay", "freeze", "throttled", "500")
CLOUD_WRITE: Final = (
    *CLOUD,
    "error_after",
    "later",
    "500_after",  # done, and answered with a server error
    "conflict",  # with a transaction that is under way
)
CLOUD_READ: Final = (
    *CLOUD,
    "old",  # an answer that need not be consistent is not: an item as it was a moment ago
    "partial",  # a batch that is answered in part
    "torn",  # a query whose last item is read some time after the others
)
POINTS: Final[Mapping[str, Sequence[str]]] = {
    "commit": STORE_WRITE,
    "defer": ("crash_before", "crash_after", "error_before", "error_after", "delay"),
    "get": STORE_READ,
    "bodies": STORE_READ,
    "due": STORE_READ,
    "key": STORE_READ,
    "registry": REGISTRY,
    "inbox": INBOX,
    "outbox": INBOX,
    "tell": INBOX,  # a webhook to a merchant; what its receiver makes of it is the receiver's
    "cloud_read": CLOUD_READ,
    "cloud_write": (*CLOUD_WRITE, "duplicate"),
    "cloud_transact": CLOUD_WRITE,
    "sleep": CRASHES,
    "create": WIRE,
    "fire": WIRE,
    "replay": WIRE,
    "read": WIRE,
    "close": WIRE,
    "capture": WIRE,
    "void": WIRE,
    "refund": WIRE,
}
LIES: Final = ("wrong_amount", "wrong_currency")


class Fate(Protocol):
    """See the module docstring."""

    counts: Counter[tuple[str, str]]  # (point, word) -> how often

    def at(self, point: str, may: Sequence[str] | None = None) -> str:
        """The word for this call; only one of ``may``, if given."""
        ...

    def stop(self) -> None:
        """From now on nothing goes wrong."""
        ...


class Dice:
    """Each word at its own rate, per call. ``rates`` are by word, or by "point word" where a point has its own."""

    def __init__(self, dice: random.Random, rates: Mapping[str, float]) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._dice, self._on = dice, True
        self._table: dict[str, tuple[float, list[tuple[float, str]]]] = {}
        for point, words in POINTS.items():
            total, steps = 0.0, []
            for word in words:
                total += rates.get(f"{point} {word}", rates.get(word, 0.0))
                steps.append((total, word))
            self._table[point] = total, steps

    def at(self, point: str, may: Sequence[str] | None = None) -> str:
        total, steps = self._table[point]
        if not self._on or (drawn := self._dice.random()) >= total:
            return ""
        word = next(word for upto, word in steps if drawn < upto)
        if may is not None and word not in may:
            return ""
        self.counts[point, word] += 1
        return word

    def stop(self) -> None:
        self._on = False


class Script:
    """Exactly these: number of the call, from 0 -> word. ``calls`` is what was asked, in order: first run it empty."""

    def __init__(self, words: Mapping[int, str]) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.calls: list[str] = []
        self._words, self._on = words, True

    def at(self, point: str, may: Sequence[str] | None = None) -> str:
        if not self._on:
            return ""
        number = len(self.calls)
        self.calls.append(point)
        word = self._words.get(number, "")
        if not word or (may is not None and word not in may) or word not in POINTS[point]:
            return ""
        self.counts[point, word] += 1
        return word

    def stop(self) -> None:
        self._on = False
