"""Figures as tables: what the terminal and docs/performance.md show of a result."""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from .results import Result, Row

ALIKE: Final = 0.6  # cases whose metrics are the same to that part share a table
ENOUGH: Final = 3  # digits of a number below a thousand
WIDE: Final = 10  # metrics: more of them than of lines, and they stand below one another


class Grid(Struct, frozen=True):
    """A table of texts. The first ``texts`` columns are words, the others numbers."""

    head: list[str]
    lines: list[list[str]]
    texts: int = 2


def grids(result: Result, section: str) -> list[Grid]:
    """The tables of a section: cases that were measured alike stand in one table, a line for each case and contender, a column
    for each metric."""
    groups: list[list[str]] = []  # of cases
    for case in dict.fromkeys(row.case for row in result.of(section)):
        names = columns(result.of(section, case=case))
        home = next((g for g in groups if alike(names, columns(r for each in g for r in result.of(section, case=each)))), None)
        if home is None:
            groups.append([case])
        else:
            home.append(case)
    return [_grid(result, section, cases) for cases in groups]


def columns(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Metrics with their units, each once, in their order."""
    return list(dict.fromkeys((row.metric, row.unit) for row in rows))


def alike(one: Sequence[object], other: Sequence[object]) -> bool:
    """They have most of their columns in common."""
    return len(set(one) & set(other)) >= ALIKE * len(set(one) | set(other))


def _grid(result: Result, section: str, cases: list[str]) -> Grid:
    rows = [row for case in cases for row in result.of(section, case=case)]
    metrics = columns(rows)
    found = {(row.case, row.subject, row.metric): row for row in rows}
    lines = [
        [case, subject, *(cell(found.get((case, subject, metric))) for metric, _ in metrics)]
        for case, subject in dict.fromkeys((row.case, row.subject) for row in rows)
    ]
    heads = [headed(metric, unit) for metric, unit in metrics]
    if len(heads) > max(WIDE, len(lines)) and len({who for _, who, *_ in lines}) == 1:
        turned = zip(heads, *(line[2:] for line in lines), strict=True)
        return Grid(["what", *(case for case, *_ in lines)], [list(line) for line in turned], texts=1)
    return Grid(["case", "who", *heads], lines)


def headed(metric: str, unit: str) -> str:
    """The head of a column: ``p99, ms``."""
    return f"{metric}, {unit}" if unit else metric


def cell(row: Row | None) -> str:
    """``1,234 ±5 %``: the median, and half of the way from lowest to highest; empty where nothing was measured."""
    if row is None or not row.values:
        return ""
    spread = f" ±{row.spread / 2:.0%}".replace("%", " %") if len(row.values) > 1 else ""
    return number(row.median) + spread


def number(value: float) -> str:
    """Three digits, or all before the point."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    digits = ENOUGH - len(str(int(abs(value)))) if abs(value) >= 1 else ENOUGH
    return f"{value:.{digits}f}"


def markdown(grid: Grid) -> str:
    """For a page."""
    align = ["---"] * grid.texts + ["---:"] * (len(grid.head) - grid.texts)
    lines = [grid.head, align, *grid.lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
