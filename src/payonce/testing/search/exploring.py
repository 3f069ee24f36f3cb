"""Breadth first through a graph: every state once, the shortest way to each, and whether all of them come to an end."""

from array import array
from collections import Counter
from typing import NamedTuple

from .graph import Graph
from .states import State


class Trouble(NamedTuple):
    """A rule is broken by the last move (``what`` of ``worker``) of a way to state number ``at``."""

    rule: str
    at: int
    what: str
    worker: int = -1


class Exploration:
    """All reachable states of a graph, unless a broken rule ended it."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.count, self.deepest = graph, 0, 0
        self.trouble: Trouble | None = None
        first = graph.first()
        self.states, self._from, self._depth = [first], array("q", [-1]), array("q", [0])
        self._known: dict[int, int | tuple[int, ...]] = {_packed(first): 0}  # all but the faults to come -> numbers
        self._pairs: dict[tuple[int, int], tuple[int, int]] = {}
        self._covers: dict[tuple[int, int], bool] = {}
        self._edges = (array("q"), array("q"))  # moves without a fault: from, to
        self._ends = array("b")  # of each state: 1 settled, 0 goes on by itself, -1 neither
        self.ended: Counter[str] = Counter()

    def run(self) -> None:
        """To the end: no new state, or a broken rule."""
        at = 0
        while at < len(self.states) and self.trouble is None:
            self._expand(at)
            at += 1
        self.deepest = self._depth[-1]
        if self.trouble is None:
            self._check_ends()

    def way_to(self, at: int) -> list[int]:
        """The numbers of the states from the first one to this one, by the fewest moves."""
        way = [at]
        while (at := self._from[at]) >= 0:
            way.append(at)
        return way[::-1]

    def _expand(self, at: int) -> None:
        s, graph, goes_on = self.states[at], self.graph, False
        row = graph.rows.all[s.row]
        for move in graph.moves(s):
            self.count += 1
            if move.broken:
                self.trouble = Trouble(move.broken, at, move.what, move.worker)
                return
            to = self._find(move.after)
            if to < 0:
                to = self._add(move.after, at)
                if rule := graph.truth.broken(move.after):
                    self.trouble = Trouble(rule, at, move.what, move.worker)
                    return
            if not move.fault:
                goes_on = goes_on or move.by_itself
                self._edges[0].append(at)
                self._edges[1].append(to)
        self._ends.append(1 if row.settled else 0 if goes_on else -1)
        if not goes_on:
            self.ended[row.p.status] += 1

    def _find(self, s: State) -> int:
        """The number of a known state that is this one or covers it, or -1."""
        known = self._known.get(_packed(s), ())
        for n in (known,) if isinstance(known, int) else known:
            left = self.states[n].left
            if left == s.left or self._cover(left, s.left):
                return n
        return -1

    def _cover(self, more: int, less: int) -> bool:
        known = self._covers.get((more, less))
        if known is None:
            lefts = self.graph.lefts
            known = self._covers[more, less] = all(a >= b for a, b in zip(lefts[more], lefts[less], strict=True))
        return known

    def _add(self, s: State, before: int) -> int:
        n, key = len(self.states), _packed(s)
        known = self._known.get(key)
        self._known[key] = n if known is None else (known, n) if isinstance(known, int) else (*known, n)
        hands, books = self._pairs.setdefault(s.hands, s.hands), self._pairs.setdefault(s.books, s.books)
        self.states.append(State(s.row, s.now_us, hands, s.net, books, s.left))
        self._from.append(before)
        self._depth.append(self._depth[before] + 1)
        return n

    def _check_ends(self) -> None:
        """Backwards from the settled states: a state comes to an end when it goes on by itself, and everything that can
        happen to it without a further fault comes to an end. Circles and dead ends are left over."""
        out, first, sources = self._backwards()
        sure = [n for n, end in enumerate(self._ends) if end == 1]
        done = bytearray(len(self.states))
        for n in sure:
            done[n] = 1
        while sure:
            now = sure.pop()
            for before in sources[first[now] : first[now + 1]]:
                out[before] -= 1
                if not out[before] and not done[before] and self._ends[before] == 0:
                    done[before] = 1
                    sure.append(before)
        if (left_over := done.find(0)) >= 0:
            dead = [n for n, end in enumerate(self._ends) if end < 0]
            at = dead[0] if dead else left_over
            said = "nobody will ever do anything for it again" if dead else "it may go round in circles for ever"
            status = self.graph.rows.all[self.states[at].row].p.status
            self.trouble = Trouble(f"{status}, not settled, and {said}", at, "")

    def _backwards(self) -> "tuple[array[int], array[int], array[int]]":
        """How many moves leave each state, and the states before each: ``sources[first[n]:first[n + 1]]``."""
        out, first = array("q", bytes(8 * len(self.states))), array("q", bytes(8 * (len(self.states) + 1)))
        for a, b in zip(*self._edges, strict=True):
            out[a] += 1
            first[b + 1] += 1
        for n in range(len(self.states)):
            first[n + 1] += first[n]
        place, sources = first[:], array("q", bytes(8 * len(self._edges[0])))
        for a, b in zip(*self._edges, strict=True):
            sources[place[b]] = a
            place[b] += 1
        return out, first, sources


def _packed(s: State) -> int:
    """A state without the faults to come as one number: a tenth of the memory of a tuple of tuples."""
    number = s.now_us
    for each in (s.row, *s.hands, s.net, *s.books):
        number = number << 24 | each
    return number
