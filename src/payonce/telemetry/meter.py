"""What one process counts: sums in memory, one number a series, read by ``exposition`` and ``emf``. It needs no library,
so that a function on AWS loads none for it. For one event loop."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from .names import OTHER, Metric

SERIES_MAX: Final = 500  # of one metric; what comes after them is counted under ``other``
KEPT_MAX: Final = 100  # durations kept one by one where that is asked for: CloudWatch takes no more in one line

Labels = tuple[str, ...]


class Spread:
    """The durations of one series: how many lay below each bound (in seconds), and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts = bounds, [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.kept: list[float] = []

    @property
    def count(self) -> int:
        return sum(self.counts)


class Meter:
    """``keep``: durations are kept one by one too, up to KEPT_MAX of a series, until ``clear``."""

    def __init__(self, *, keep: bool = False) -> None:
        self._keep = keep
        self._sums: dict[str, dict[Labels, float]] = {}
        self._spreads: dict[str, dict[Labels, Spread]] = {}

    def add(self, metric: Metric, *labels: str, n: float = 1) -> None:
        """``n`` more. Raises ValueError for labels that the metric has not got."""
        series = self._sums.setdefault(metric.name, {})
        named = _named(metric, labels, series)
        series[named] = series.get(named, 0) + n

    def observe(self, metric: Metric, seconds: float, *labels: str) -> None:
        """One duration; one below 0 (a clock that was set back) counts as 0. Raises ValueError as ``add``."""
        series = self._spreads.setdefault(metric.name, {})
        named, took = _named(metric, labels, series), max(0.0, seconds)
        spread = series.get(named)
        if spread is None:
            spread = series[named] = Spread(metric.bounds)
        spread.counts[bisect_left(spread.bounds, took)] += 1
        spread.sum += took
        if self._keep and len(spread.kept) < KEPT_MAX:
            spread.kept.append(took)

    def sums(self, metric: Metric) -> Iterator[tuple[Labels, float]]:
        """Each series of a counter."""
        yield from self._sums.get(metric.name, {}).items()

    def spreads(self, metric: Metric) -> Iterator[tuple[Labels, Spread]]:
        """Each series of a histogram."""
        yield from self._spreads.get(metric.name, {}).items()

    def total(self, metric: Metric, *labels: str) -> float:
        """The sum of the series whose labels begin so; of a histogram how many there were."""
        sums = (n for named, n in self.sums(metric) if named[: len(labels)] == labels)
        counts = (spread.count for named, spread in self.spreads(metric) if named[: len(labels)] == labels)
        return sum(sums) + sum(counts)

    def clear(self) -> None:
        """Begin anew, for who tells differences."""
        self._sums.clear()
        self._spreads.clear()


def _named(metric: Metric, labels: Labels, series: dict[Labels, float] | dict[Labels, Spread]) -> Labels:
    if labels in series:
        return labels
    if len(labels) != len(metric.labels):
        raise ValueError(f"{metric.name} has the labels {metric.labels}")
    return labels if len(series) < SERIES_MAX else (OTHER,) * len(labels)
