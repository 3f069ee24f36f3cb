"""The shortest way to a broken rule, told move by move."""

import itertools

from .exploring import Exploration, Trouble
from .graph import Graph
from .rows import START_US
from .states import Move, State

NAMES = ("A", "B")


def timeline(found: Exploration, trouble: Trouble) -> str:
    """Numbered lines: when, who, what. The last one is the move that breaks the rule, then the rule itself."""
    graph, lines = found.graph, list[str]()
    states = [found.states[n] for n in found.way_to(trouble.at)]
    names = NAMES
    for before, after in itertools.pairwise(states):
        move = next(m for m in graph.moves(before) if m.after == after and not m.broken)
        lines.append(_line(len(lines) + 1, before, move.worker, move.what, names))
        names = _renamed(names, move)
    if trouble.what:
        lines.append(_line(len(lines) + 1, states[-1], trouble.worker, trouble.what, names))
    return "\n".join([*_heading(graph), *lines, f"     BROKEN: {trouble.rule}"])


def _heading(graph: Graph) -> list[str]:
    route = ", then ".join(graph.rows.names)
    return [f"One payment of two workers, route {route}; seconds since it was accepted."]


def _line(number: int, s: State, worker: int, what: str, names: tuple[str, str]) -> str:
    who = f"worker {names[worker]} " if worker >= 0 else ""
    return f"{number:4d}. {(s.now_us - START_US) / 1e6:7.1f} s  {who}{what}"


def _renamed(names: tuple[str, str], move: Move) -> tuple[str, str]:
    """Hands stand in order in a state: whose hand is where after this move."""
    return names if move.hands == move.after.hands else (names[1], names[0])
