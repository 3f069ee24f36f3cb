"""What the product promised itself, and whether a result keeps it."""

from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from . import accept, settle
from .results import Result
from .tables import Grid, number

UNMEASURED: Final = "not measured"


class Target(Struct, frozen=True):
    """``what`` shall be at least or at most ``limit``; ``measured`` finds it in a result, None: it was not measured."""

    what: str
    limit: float
    unit: str
    at_least: bool
    measured: Callable[[Result], float | None]

    def met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


def _median(section: str, case: str, subject: str, metric: str) -> Callable[[Result], float | None]:
    def found(result: Result) -> float | None:
        row = result.row(section, case, subject, metric)
        return row.median if row else None

    return found


def _of_all(
    choose: Callable[[list[float]], float], finders: Iterable[Callable[[Result], float | None]]
) -> Callable[[Result], float | None]:
    """The highest or lowest; None unless all were measured."""
    kept = tuple(finders)

    def found(result: Result) -> float | None:
        values = [find(result) for find in kept]
        known = [value for value in values if value is not None]
        return choose(known) if len(known) == len(values) else None

    return found


def _to_best_peer(case: str) -> Callable[[Result], float | None]:
    """Our rate in a case of the peers, as a multiple of the fastest other's."""
    return _median("peers", "payonce to the best peer", case, "rate")


def _grown(many: str) -> Callable[[Result], float | None]:
    """The lower of the two rates with many payments, as a part of that with a thousand."""
    case = f"{many} payments to 1,000 payments"
    return _of_all(min, (_median("growth", case, "payonce", what) for what in ("accepted", "settled")))


SATURATED_MEMORY: Final = _of_all(
    max,
    (_median(settle.NAME, f"peak memory, saturated, provider {ms} ms", settle.ONE, "API") for ms in settle.LATENCIES_MS),
)
ADDED: Final = _of_all(
    max, (_median(settle.NAME, f"half, provider {ms} ms", settle.ONE, "added p99") for ms in settle.LATENCIES_MS)
)

TARGETS: Final = (
    Target(
        "accepted a second, to constant JSON through the same stack", 0.40, "", True,
        _median(accept.NAME, accept.RATIOS, accept.STACK, "rate"),
    ),
    Target(
        "accepted a second, to constant JSON on the bare server", 0.40, "", True,
        _median(accept.NAME, accept.RATIOS, accept.BARE, "rate"),
    ),
    Target("accepted a second, to the best peer", 5, "x", True, _to_best_peer("accept")),
    Target("settled a second, to the best peer", 3, "x", True, _to_best_peer("end to end, provider 0 ms")),
    Target("added latency p99 at half of saturation, one process, both providers", 25, "ms", False, ADDED),
    Target("throughput with 1 million payments in the store, to that with a thousand", 0.9, "", True, _grown("1,000,000")),
    Target("throughput with 10 million payments in the store, to that with a thousand", 0.9, "", True, _grown("10,000,000")),
    Target("CPU of an idle server", 0.5, "% of a core", False, _median(settle.NAME, "idle", settle.ONE, "CPU")),
    Target(
        "peak memory at saturation, accepting", 150, "MiB", False, _median(accept.NAME, "memory", accept.OURS, "peak")
    ),
    Target("peak memory at saturation, settling, one process", 150, "MiB", False, SATURATED_MEMORY),
)  # fmt: skip


def grid(result: Result) -> Grid:
    """Each target, what was measured, and whether it is met or by how much it is missed."""
    lines = [[t.what, wanted(t), *judged(t, t.measured(result))] for t in TARGETS]
    return Grid(["target", "wanted", "measured", ""], lines, texts=4)


def wanted(target: Target) -> str:
    return f"{'at least' if target.at_least else 'at most'} {number(target.limit)} {target.unit}".rstrip()


def judged(target: Target, value: float | None) -> tuple[str, str]:
    """The value, and the verdict."""
    if value is None:
        return UNMEASURED, ""
    told = f"{number(value)} {target.unit}".rstrip()
    if target.met(value):
        return told, "met"
    apart = value / target.limit
    return told, f"missed: {apart:.0%} of it" if target.at_least else f"missed: {number(apart)} times as much"
