"""Exhaustive crash points: every call of every port in small worlds, made to fail in every way that the point knows, one
call at a time (``singles``) and two (``pairs``).

A ``Case`` is a scenario and which calls meet which words. It prints as one line, and ``Case.parse`` reads it again:

    points: mock-late-success 17:crash_after 23:error_before

``run`` lives one case under all oracles of the simulator, and three of its own: up to its last fault a run must ask the same
calls at the same times as the run without that fault; what ``WORDS`` do may not change how a payment ends; and trouble with
the store that nobody died of costs some seconds at most. Cases are
independent of each other, so a campaign may spread them over processes and go on where it stopped.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from payonce.providers import load_adapters
from payonce.sandbox.server import installed

from .fate import POINTS, Script
from .options import Options, S
from .oracle import Violation
from .scenarios import SCENARIOS, Scenario
from .trace import Trace
from .world import Cast, World, live

SIX: Final = ("crash_before", "crash_after", "error_before", "error_after", "duplicate", "delay")
UNCLEAR: Final = (
    "later",
    "vanish",
)  # the other two ends of a commit that neither holds nor fails: as bad, so enumerated as well
WORDS: Final = (*SIX, *UNCLEAR)
FURTHER: Final = tuple(dict.fromkeys(word for words in POINTS.values() for word in words if word not in WORDS))
SENDS: Final = ("create", "fire", "replay", "read", "close", "capture", "void", "refund")
# Trouble with one call of the store, in a process that lives on, may not cost more than this: what is known is written again,
# and what is due is looked for again. Longer would mean that somebody waited for the end of a lease.
SOON_S: Final = 10.0
FURTHER_S: Final = 5.0
STORE: Final = (
    "commit",
    "defer",
    "get",
    "bodies",
    "due",
    "key",
    "registry",
    "inbox",
    "outbox",
    "cloud_read",
    "cloud_write",
    "cloud_transact",
)
SLOW: Final = ("crash_before", "crash_after", "later")  # a claim that is done late is a lease of nobody
REACH: Final = 60  # a pair's second call is at most so many calls after its first
SEEDS_MAX: Final = 100  # that are tried for what a scenario wants
# What is asked nowhere in the scenarios, and why: nothing at present.
NEVER: Final[Mapping[str, str]] = {}


class Asked(NamedTuple):
    """One call of a port, as fate was asked about it."""

    point: str
    may: tuple[str, ...] | None  # only these words were possible
    at_s: float  # of the world's time

    def knows(self, word: str) -> bool:
        return word in POINTS[self.point] and (self.may is None or word in self.may)


class Case(Struct, frozen=True):
    """See the module docstring. Calls count from 0; the faults are in the order of their calls."""

    scenario: str
    faults: tuple[tuple[int, str], ...] = ()

    def __str__(self) -> str:
        return " ".join(("points:", self.scenario, *(f"{number}:{word}" for number, word in self.faults)))

    @staticmethod
    def parse(text: str) -> "Case":
        """Raises ValueError, saying what is wrong with the line."""
        name, *marks = text.removeprefix("points:").split() or [""]
        if name not in SCENARIOS:
            raise ValueError(f"there is no scenario {name!r}; there are: {', '.join(SCENARIOS)}")
        faults = []
        for mark in marks:
            number, colon, word = mark.partition(":")
            if not (number.isdecimal() and colon and word in (*WORDS, *FURTHER)):
                raise ValueError(f"{mark!r} is no fault; a fault is the number of a call and a word, like 17:crash_after")
            faults.append((int(number), word))
        if [n for n, _ in faults] != sorted({n for n, _ in faults}):
            raise ValueError("the calls must be in order, each at most once")
        return Case(name, tuple(faults))

    def but_last(self) -> "Case":
        return Case(self.scenario, self.faults[:-1])


class Outcome(Struct, frozen=True, kw_only=True):
    """What a case came to. ``hits``: the point and word of every fault that happened. ``changed``: after the last fault
    something went on differently than without it. ``digest`` tells two runs apart, ``life`` without the faults' own lines.
    ``settled_s``: from the acceptance until the payment got the status it has at the end. ``further``: calls that met the same
    trouble again, each of which may take FURTHER_S."""

    case: Case
    violations: tuple[Violation, ...]
    statuses: tuple[str, ...]
    hits: tuple[tuple[str, str], ...]
    calls: tuple[Asked, ...]
    changed: bool
    digest: str
    life: str
    settled_s: float
    further: int


class Marks(Script):
    """A script that keeps what it was asked, and has one word for the first call of a given point."""

    def __init__(self, case: Case, given: tuple[str, str]) -> None:
        super().__init__(dict(case.faults))
        self.asked: list[Asked] = []
        self.hits: list[tuple[str, str]] = []
        self._given = given

    def at(self, point: str, may: Sequence[str] | None = None) -> str:
        number = len(self.calls)
        word = super().at(point, may)
        if len(self.calls) == number:  # the faults have stopped
            return ""
        self.asked.append(Asked(point, None if may is None else tuple(may), asyncio.get_running_loop().time()))
        if word:
            self.hits.append((point, word))
        elif point == self._given[0]:
            word = self._given[1]
        if point == self._given[0]:
            self._given = ("", "")
        return word


@cache
def _cast() -> Cast:
    return Cast(load_adapters(), installed())


@cache
def _options(name: str) -> Options:
    """Of a scenario, with the first seed under which happens what it wants. Raises LookupError when none of many has it."""
    scenario = SCENARIOS[name]
    for seed in range(scenario.options.seed, SEEDS_MAX if scenario.wants else 2):
        options = replace(scenario.options, seed=seed)
        if not scenario.wants:
            return options
        fate = Marks(Case(name), scenario.given)
        world, _ = live(options, _cast(), fate=fate)
        if scenario.wants in fate.calls or world.counts[scenario.wants]:
            return options
    raise LookupError(f"no {scenario.wants} in {name} under {SEEDS_MAX} seeds: change its options or what it wants")


def _lived(case: Case) -> tuple[World, Outcome]:
    options, fate = _options(case.scenario), Marks(case, SCENARIOS[case.scenario].given)
    world, verdicts = live(options, _cast(), fate=fate, keep=True)
    outcome = Outcome(
        case=case,
        violations=verdicts.violations,
        statuses=tuple(verdicts.statuses),
        hits=tuple(fate.hits),
        calls=tuple(fate.asked),
        changed=True,
        digest=world.trace.digest(),
        life=_life(world.trace),
        settled_s=_settled_s(world.trace, tuple(verdicts.statuses)),
        further=world.counts["trouble goes on"],
    )
    return world, outcome


def _may_cost(outcome: Outcome) -> float:
    return SOON_S + FURTHER_S * outcome.further


def _settled_s(trace: Trace, statuses: Sequence[str]) -> float:
    """0 when it never did. Until it is accepted a payment waits for its merchant to come again, as long as that likes."""
    ends = tuple(f"-> {status}" for status in statuses)
    began = next((line.at_us for line in trace.lines if line.what.startswith("#1 Accepted")), 0)
    ended = next((line.at_us for line in trace.lines if ends and line.what.endswith(ends)), began)
    return (ended - began) / S


def _life(trace: Trace) -> str:
    """A digest of what happened, beside that fate said a word."""
    hashed = hashlib.blake2b(digest_size=16)
    for line in trace.lines:
        if not line.what.startswith("!!"):
            hashed.update(f"{line.at_us} {line.who} {line.what}\n".encode())
    return hashed.hexdigest()


@lru_cache(maxsize=8)
def known(case: Case) -> Outcome:
    """What a case came to, from the last few that were asked for: what follows is compared with it."""
    return _lived(case)[1]


def run(case: Case) -> Outcome:
    """Live one case. Breaks of a rule are in ``violations``; raises nothing for what the world does."""
    return _judged(SCENARIOS[case.scenario], _lived(case)[1])


def _judged(scenario: Scenario, outcome: Outcome) -> Outcome:
    case, wrong, changed = outcome.case, list(outcome.violations), True
    if case.faults:
        before, upto = known(case.but_last()), case.faults[-1][0] + 1
        changed = before.life != outcome.life or before.calls[upto:] != outcome.calls[upto:]
        if before.calls[:upto] != outcome.calls[:upto] and not before.violations:
            wrong.append(Violation(f"determinism: up to call {upto - 1} this run is not the same as {case.but_last()}"))
        elif len(outcome.hits) != len(case.faults):
            wrong.append(Violation(f"not reached: {_missed(outcome)}"))
        elif scenario.soon and _is_trouble(outcome) and (slower_s := outcome.settled_s - before.settled_s) > _may_cost(outcome):
            wrong.append(Violation(f"{outcome.hits[-1][1]} at one {outcome.hits[-1][0]} cost {slower_s:.0f} s"))
    unexpected = set(outcome.statuses) - scenario.ends
    if unexpected and not wrong and all(word in WORDS for _, word in case.faults):
        wrong.append(Violation(f"ended {', '.join(unexpected)}, expected {' or '.join(sorted(scenario.ends))}"))
    return replace(outcome, violations=tuple(wrong), changed=changed)


def _is_trouble(outcome: Outcome) -> bool:
    """The last fault was trouble with the store, and nobody died of it."""
    point, word = outcome.hits[-1]
    return point in STORE and word in WORDS and word not in SLOW


def _missed(outcome: Outcome) -> str:
    """Of a line that was written for another version of the code."""
    for number, word in outcome.case.faults:
        if number >= len(outcome.calls):
            return f"there are only {len(outcome.calls)} calls, none has the number {number}"
        if not outcome.calls[number].knows(word):
            return f"call {number} is a {outcome.calls[number].point}, which knows no {word}"
    return "the faults had stopped"


def timeline(case: Case) -> Iterator[str]:
    """The line to reproduce a case, what it broke, and the life of the payment that it broke, to read."""
    world, outcome = _lived(case)
    outcome = _judged(SCENARIOS[case.scenario], outcome)
    yield str(case)
    yield from (f"  {each.rule}" for each in outcome.violations)
    payment = next((each.payment for each in outcome.violations if each.payment), "")
    yield from world.trace.timeline(payment)


# --- which cases there are ----------------------------------------------------------------------------------------------


def fast() -> tuple[Scenario, ...]:
    """The scenarios of the gate that runs before every change."""
    return tuple(each for each in SCENARIOS.values() if each.fast)


def singles(scenarios: Iterable[Scenario] = SCENARIOS.values(), words: Sequence[str] = WORDS) -> Iterator[Case]:
    """Every call of each scenario's run without faults x every one of ``words`` that its point knows."""
    for scenario in scenarios:
        whole = Case(scenario.name)
        for number, asked in enumerate(known(whole).calls):
            yield from (Case(scenario.name, ((number, word),)) for word in words if asked.knows(word))


def pairs(scenario: Scenario, part: int = 0, of: int = 1) -> Iterator[Case]:
    """Every single of ``WORDS``, and after it in that same run every commit and send of the next ``REACH`` calls x
    ``WORDS``. With ``of`` a share of the singles only: shares 0 to ``of`` - 1 are together all."""
    for number, first in enumerate(singles((scenario,))):
        if number % of == part:
            yield from seconds(first)


def seconds(first: Case) -> Iterator[Case]:
    """The pairs that begin with this single. None when it breaks a rule by itself: it is found already."""
    lived = known(first)
    if lived.violations:
        return
    begin = first.faults[-1][0] + 1
    for number, asked in enumerate(lived.calls[begin : begin + REACH], begin):
        if asked.point == "commit" or asked.point in SENDS:
            yield from (Case(first.scenario, (*first.faults, (number, word))) for word in WORDS if asked.knows(word))


# --- what was seen --------------------------------------------------------------------------------------------------------


class Tally:
    """Cases counted by the point and word of their last fault."""

    def __init__(self) -> None:
        self.cases = 0
        self.reached: Counter[tuple[str, str]] = Counter()
        self.changed: Counter[tuple[str, str]] = Counter()  # of these: the run went on differently
        self.statuses: Counter[str] = Counter()
        self.broken: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        self.cases += 1
        for each in outcome.hits[-1:]:
            self.reached[each] += 1
            self.changed[each] += outcome.changed
        self.statuses.update(outcome.statuses)
        if outcome.violations:
            self.broken.append(outcome)

    def unreached(self, words: Sequence[str] = WORDS) -> list[tuple[str, str]]:
        """Point and word that no case met, without those that ``NEVER`` explains."""
        return [(p, w) for p, known in POINTS.items() if p not in NEVER for w in words if w in known and not self.reached[p, w]]

    def without_effect(self) -> list[tuple[str, str]]:
        """Point and word that were met, and after which everything went on as if nothing had been."""
        return [each for each in self.reached if not self.changed[each]]

    def table(self, words: Sequence[str] = WORDS) -> Iterator[str]:
        """Point x word -> cases; ``.`` where the point does not know the word."""
        yield f"{'':10}" + "".join(f"{word:>15}" for word in words)
        for point, knows in POINTS.items():
            if any(word in knows for word in words):
                yield f"{point:10}" + "".join(f"{self.reached[point, w] if w in knows else '.':>15}" for w in words)
