"""What an invocation of a function counted, as one line of CloudWatch's embedded metric format (docs.aws.amazon.com, CloudWatch
user guide, "Embedded metric format specification", read 2026-11): no call, no permission, no library.

The one dimension is the function's name, because each combination of dimensions is a metric that is paid for. By provider, code
and route the same numbers stand in the line beside the metrics, where CloudWatch Logs Insights finds them.
"""

from typing import Any, Final

import msgspec

from .meter import KEPT_MAX, Meter
from .names import CLOUD, COUNTED, Cloud, Metric

NAMESPACE: Final = "payonce"
DIMENSION: Final = "FunctionName"


def line(meter: Meter, now_us: int, function: str) -> str:
    """The line, or "" when nothing was counted."""
    known = {each.name: value for each in CLOUD if (value := _value(meter, each))}
    if not known:
        return ""
    units = {each.name: "Seconds" if each.metric.kind == "histogram" else "Count" for each in CLOUD}
    named = [{"Name": name, "Unit": units[name]} for name in known]
    told: dict[str, Any] = {
        "_aws": {
            "Timestamp": now_us // 1000,
            "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [[DIMENSION]], "Metrics": named}],
        },
        DIMENSION: function,
        **known,
        "series": {metric.name: parts for metric in COUNTED if (parts := _parts(meter, metric))},
    }
    return msgspec.json.encode(told).decode()


def _value(meter: Meter, each: Cloud) -> float | list[float]:
    """Durations one by one, up to the hundred that a line may hold; else a sum. 0 or empty: nothing to tell."""
    if each.metric.kind == "histogram":
        kept = [round(took, 6) for _, spread in meter.spreads(each.metric) for took in spread.kept]
        return kept[:KEPT_MAX]
    at = each.metric.labels.index(each.label) if each.label else -1
    return sum(n for labels, n in meter.sums(each.metric) if at < 0 or labels[at] in each.values)


def _parts(meter: Meter, metric: Metric) -> dict[str, float]:
    """Each series of a counter, by its labels."""
    return {"/".join(labels): n for labels, n in meter.sums(metric) if labels}
