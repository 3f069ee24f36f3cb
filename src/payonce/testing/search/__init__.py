"""An explicit-state search: every state that two workers and two providers can reach within stated bounds, each held
against the rules.

The model *is* the code where it decides about money: ``plan``, ``verdict``, ``weigh``, ``apply.extend`` and
``dispatch.opened`` are called as they are, on real rows with real times. Written here again, small: the worker's shell
(``engine._act``, ``_call``, ``_claim``, ``_record``), the store's conditional write, and the providers.

A state is the row, what each worker has in hand, the requests under way, what both providers have, the time, and the
faults still to come. The search is exhaustive: it ends when there is no new state, and says so (``exhausted``).

What is merged, and why nothing is lost by it:

- the two workers are alike, so their hands are in order; the owner's nonce and the hash of the chain are left out
- a claim that will be refused is an idle worker: nothing else can come of it
- a delivery and its answer are one move: what others do in between, they may as well do before or after it. That the
  answer is late or lost is a move of its own; a lost answer is a request that is held up and arrives at once
- a request that can never have an effect any more is forgotten; one without effect now just stays under way
- when a read, create or close that is not the attempt's last step was answered: no rule looks at that time
- a state with the same everything and more faults to come covers one with fewer: it can do all that the other can
- time jumps to the next moment at which somebody acts, gives up, or changes his mind (due, send deadline, give-up,
  and for sleepers the ends of horizon, replay span and settling). Late arrivals and decisions may come at any moment.
  Who acts late without a freeze or a sleep being spent is not looked at

Not in here, but in the simulator: unclear commits, clocks that differ, webhooks, breakers, refunds, wrong amounts, reads
that lag.

``search`` also proves that things end: from every state every run without a further fault settles the payment, in whatever
order workers, clock and providers take their turns, and also when nothing under way ever arrives.
"""

import gc
import time
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from .exploring import Exploration
from .graph import Graph
from .states import Bounds
from .timeline import timeline
from .vendors import Kind, Word

__all__ = ["DEEP", "PAIRS", "PROFILES", "Bounds", "Found", "SearchReport", "search"]

_NONE = Bounds(faults=0, crashes=0, duplicates=0, losses=0, freezes=0, sleeps=0, refusals=0)
PAIRS: tuple[tuple[Kind, Kind], ...] = (
    ("closable", "keyed"),
    ("manual", "keyed"),
    ("keyed", "keyless"),
    ("closable", "manual"),
)
_CRASHES = replace(_NONE, faults=4, crashes=2, duplicates=2)
_EACH = replace(_NONE, faults=1, crashes=1, duplicates=1, losses=1, freezes=1, sleeps=1, refusals=1)
_AT_ONCE: tuple[Word, ...] = ("yes", "soft")  # a provider that decides at once, where the whole would take minutes
# What `make sim` searches: two crashes and two copies together, each other fault alone.
PROFILES: tuple[tuple[tuple[Kind, Kind], Bounds], ...] = (
    (("closable", "keyed"), _CRASHES),
    (("manual", "keyed"), replace(_CRASHES, words=_AT_ONCE)),
    (("closable", "manual"), replace(_CRASHES, words=_AT_ONCE)),
    (("keyed", "keyless"), replace(_CRASHES, losses=1, sleeps=1, refusals=1)),
    (("closable", "keyed"), _EACH),
    (("manual", "keyed"), _EACH),
    (("keyed", "keyless"), replace(_EACH, aftermath=2)),
)
# What `make sim-long` searches besides: minutes each.
DEEP: tuple[tuple[tuple[Kind, Kind], Bounds], ...] = (
    (("manual", "keyed"), _CRASHES),
    (("closable", "manual"), _CRASHES),
    (("keyed", "keyless"), replace(_EACH, faults=3, crashes=2, duplicates=2, losses=2)),
    (("closable", "manual"), replace(_EACH, aftermath=2)),
    (("manual", "keyed"), replace(_EACH, words=("yes", "soft", "processing", "may_turn"))),
    (("closable", "keyed"), replace(_CRASHES, losses=1)),
    (("closable", "keyed"), replace(_EACH, faults=2, freezes=0, crashes=2, duplicates=2, losses=2)),
    (("unique", "closable"), replace(_EACH, faults=2, freezes=0, crashes=2, duplicates=2, losses=2)),
)


class Found(Struct, frozen=True, kw_only=True):
    """A broken rule and the shortest way to it, as a numbered timeline. ``moves``: its length."""

    rule: str
    moves: int
    timeline: str


class SearchReport(Struct, frozen=True, kw_only=True):
    """What a search has seen. ``states`` are those that no other one covers, ``moves`` the transitions between them,
    ``rows`` the different histories, ``depth`` the longest of the shortest ways, ``ends`` how many states have nothing left
    to do, by status. ``exhausted``: there is no further state, and every one of them comes to an end by itself."""

    kinds: tuple[Kind, Kind]
    bounds: Bounds
    states: int
    moves: int
    rows: int
    depth: int
    seconds: float
    ends: Mapping[str, int]
    found: Found | None = None

    @property
    def exhausted(self) -> bool:
        return self.found is None

    def line(self) -> str:
        """One line for people."""
        said = (
            "all seen, every one settles" if self.found is None else f"BROKEN after {self.states:,} states: {self.found.rule}"
        )
        ends = ", ".join(f"{status} {n:,}" for status, n in sorted(self.ends.items()))
        size = f"{self.states:,} states, {self.moves:,} moves, {self.rows:,} rows, depth {self.depth}"
        return f"{' + '.join(self.kinds)}: {size}, {self.seconds:.1f} s ({ends}): {said}"


def search(kinds: tuple[Kind, Kind], bounds: Bounds, *, conditional: bool = True) -> SearchReport:
    """Every state that a payment over two accounts of these kinds can reach within ``bounds``; stops at the first broken
    rule. ``conditional`` False takes the condition from the store's write: for mutants."""
    began = time.perf_counter()
    seen = Exploration(Graph(kinds, bounds, conditional=conditional))
    collects = gc.isenabled()
    gc.disable()  # millions of tuples and no circles among them: looking for circles took a third of the time
    try:
        seen.run()
    finally:
        if collects:
            gc.enable()
    found = None
    if (trouble := seen.trouble) is not None:
        moves = len(seen.way_to(trouble.at)) - (not trouble.what)
        found = Found(rule=trouble.rule, moves=moves, timeline=timeline(seen, trouble))
    return SearchReport(
        kinds=kinds,
        bounds=bounds,
        states=len(seen.states),
        moves=seen.count,
        rows=len(seen.graph.rows.all),
        depth=seen.deepest,
        seconds=time.perf_counter() - began,
        ends=dict(seen.ended),
        found=found,
    )
