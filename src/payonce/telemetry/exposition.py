"""What a meter holds, in the text that Prometheus reads. Loaded at the first scrape: no other process needs the library."""

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from .meter import Labels, Meter, Spread
from .names import COUNTED, Metric

MEDIA_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

Gauge = tuple[Metric, Labels, float]


class Exposition(Collector):
    """A registry of its own, so that whoever embeds payonce finds nothing of it in theirs. The process (memory, processor time,
    open files, its start) comes from the library, where the system tells."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._gauges: tuple[Gauge, ...] = ()
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def text(self, gauges: Iterable[Gauge] = ()) -> bytes:
        """All that is counted, and these gauges."""
        self._gauges = tuple(gauges)
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Family]:
        """For the library."""
        for metric in COUNTED:
            if metric.kind == "counter":
                yield self._counter(metric)
            else:
                yield self._histogram(metric)
        families: dict[str, GaugeMetricFamily] = {}
        for metric, labels, value in self._gauges:
            family = families.get(metric.name)
            if family is None:
                family = families[metric.name] = GaugeMetricFamily(metric.name, metric.says, labels=metric.labels)
            family.add_metric(labels, value)
        yield from families.values()

    def _counter(self, metric: Metric) -> CounterMetricFamily:
        family = CounterMetricFamily(metric.name.removesuffix("_total"), metric.says, labels=metric.labels)
        known = list(self._meter.sums(metric))
        for labels, value in known or ([] if metric.labels else [((), 0.0)]):
            family.add_metric(labels, value)
        return family

    def _histogram(self, metric: Metric) -> HistogramMetricFamily:
        family = HistogramMetricFamily(metric.name, metric.says, labels=metric.labels)
        known = list(self._meter.spreads(metric))
        for labels, spread in known or ([] if metric.labels else [((), Spread(metric.bounds))]):
            family.add_metric(labels, _buckets(spread), spread.sum)
        return family


def _buckets(spread: Spread) -> list[tuple[str, float]]:
    """Each bound with how many lay at or below it."""
    found, below = list[tuple[str, float]](), 0
    for bound, count in zip((*spread.bounds, float("inf")), spread.counts, strict=True):
        below += count
        found.append(("+Inf" if bound == float("inf") else repr(bound), below))
    return found
