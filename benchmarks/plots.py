"""The plots of docs/performance.md, as SVG files that are readable on light and on dark pages: matplotlib draws them."""

import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import accept, settle
from .results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY: Final = "#7d8590"  # reads on white and on black
COLOURS: Final = ("#2f81f7", "#db6d28", "#8957e5", "#2da44e", "#bf4b8a", "#9a8c1e")
SIZE: Final = (9.0, 3.6)  # inches
COUNT: Final = re.compile(r"[\d,]+ payments")  # a case of the growth
STYLE: Final = {
    "svg.fonttype": "none",  # texts stay texts: small, and found by a search
    "svg.hashsalt": "payonce",  # the same figures make the same bytes
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.prop_cycle": "",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.wspace": 0.08,
}
# What a file says about its maker, with addresses that nobody needs.
METADATA: Final = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
DOCTYPE: Final = re.compile(r"<!DOCTYPE[^>]*>\s*", re.DOTALL)

Draw = Callable[[Result, Any], bool]  # False: there is nothing to draw


def draw(result: Result, folder: Path) -> list[str]:
    """Write what there are figures for; the names of the files. Raises ModuleNotFoundError without matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    written = []
    style: dict[str, Any] = {**STYLE, "axes.prop_cycle": mpl.cycler(color=COLOURS)}
    with mpl.rc_context(style):
        for name, panels in PLOTS.items():
            figure, axes = plt.subplots(1, len(panels), figsize=SIZE, layout="constrained")
            drawn = [panel(result, each) for panel, each in zip(panels, axes, strict=True)]
            if all(drawn):
                text = io.StringIO()
                figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
                folder.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(bare(text.getvalue()), encoding="utf-8")
                written.append(name)
            plt.close(figure)
    return written


def bare(svg: str) -> str:
    """Without what says who made it, and without spaces at the ends of lines."""
    lines = DOCTYPE.sub("", METADATA.sub("", svg)).splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


# --- panels ---------------------------------------------------------------------------------------------------------------


def rates(result: Result, axes: "Axes") -> bool:
    """Accepted a second over connections."""
    for name in (accept.OURS, accept.KEYED, accept.STACK, accept.BARE):
        over(axes, name, ((n, result.row(accept.NAME, accept.case_of(n), name, "rate")) for n in accept.CONNECTIONS))
    connections(axes, "answers a second")
    below(axes)
    return bool(axes.lines)


def waits(result: Result, axes: "Axes") -> bool:
    """How long an answer takes, over connections."""
    for name, metric in ((accept.OURS, "p50"), (accept.OURS, "p99"), (accept.STACK, "p50"), (accept.STACK, "p99")):
        rows = ((n, result.row(accept.NAME, accept.case_of(n), name, metric)) for n in accept.CONNECTIONS)
        over(axes, f"{name}, {metric}", rows)
    connections(axes, "milliseconds to the answer")
    below(axes)
    return bool(axes.lines)


def over(axes: "Axes", name: str, rows: Iterable[tuple[int, Any]]) -> None:
    """A line with the spread as a band."""
    known = [(n, row) for n, row in rows if row is not None]
    if not known:
        return
    at = [n for n, _ in known]
    (line,) = axes.plot(at, [row.median for _, row in known], marker="o", markersize=3, label=name)
    low, high = [min(row.values) for _, row in known], [max(row.values) for _, row in known]
    axes.fill_between(at, low, high, color=line.get_color(), alpha=0.2, linewidth=0)


def connections(axes: "Axes", what: str) -> None:
    """Both scales in steps of doubling and of ten."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(accept.CONNECTIONS, [str(n) for n in accept.CONNECTIONS])
    axes.set_xlabel("connections")
    axes.set_ylabel(what)
    axes.grid(visible=True, color=GREY, alpha=0.2)


def settled(result: Result, axes: "Axes") -> bool:
    """Settled a second, by configuration and provider."""
    cases = {f"provider {ms} ms": f"saturated, provider {ms} ms" for ms in settle.LATENCIES_MS}
    return bars(axes, result, "rate", cases, "settled a second")


def added(result: Result, axes: "Axes") -> bool:
    """What payonce adds to the time of the provider, at half of saturation."""
    cases = {f"provider {ms} ms": f"half, provider {ms} ms" for ms in settle.LATENCIES_MS}
    return bars(axes, result, "added p99", cases, "added latency p99 at half load, ms")


def bars(axes: "Axes", result: Result, metric: str, cases: dict[str, str], what: str) -> bool:
    """A group for each configuration, a bar for each case."""
    width, drawn = 0.8 / len(cases), False
    for number, (label, case) in enumerate(cases.items()):
        rows = [result.row(settle.NAME, case, who, metric) for who in settle.WORKERS]
        at = [place + (number - (len(cases) - 1) / 2) * width for place in range(len(rows))]
        made = axes.bar(at, [row.median if row else 0.0 for row in rows], width * 0.92, label=label)
        axes.bar_label(made, fmt="{:,.0f}", fontsize=8, color=GREY)
        drawn = drawn or any(rows)
    axes.set_xticks(range(len(settle.WORKERS)), list(settle.WORKERS))
    axes.set_ylabel(what)
    axes.margins(y=0.15)
    below(axes)
    return drawn


def below(axes: "Axes") -> None:
    """The legend, under the axes, when there is something in it."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)


def peers(case: str, what: str) -> Draw:
    """A bar for each contender."""

    def drawn(result: Result, axes: "Axes") -> bool:
        rows = [row for row in result.of("peers", "rate", case) if row.values]
        colours = [COLOURS[0] if row.subject.startswith(accept.OURS) else COLOURS[1] for row in rows]
        made = axes.barh([row.subject for row in rows], [row.median for row in rows], color=colours)
        axes.bar_label(made, fmt=" {:,.0f}", fontsize=8, color=GREY)
        axes.invert_yaxis()
        axes.margins(x=0.2)
        axes.set_xlabel(what)
        return bool(rows)

    return drawn


def growth(metrics: tuple[str, ...], what: str) -> Draw:
    """Over the number of payments in the store."""

    def drawn(result: Result, axes: "Axes") -> bool:
        for metric in metrics:
            rows = {row.case: row for row in result.of("growth", metric) if COUNT.fullmatch(row.case)}
            over(axes, metric, ((int(case.split()[0].replace(",", "")), row) for case, row in rows.items()))
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("payments in the store")
        axes.set_ylabel(what)
        axes.grid(visible=True, color=GREY, alpha=0.2)
        below(axes)
        return bool(axes.lines)

    return drawn


PLOTS: Final[dict[str, tuple[Draw, ...]]] = {
    "performance-accept.svg": (rates, waits),
    "performance-settle.svg": (settled, added),
    "performance-peers.svg": (
        peers("accept, 64 connections", "accepted a second, 64 connections"),
        peers("end to end, provider 0 ms", "settled a second"),
    ),
    "performance-growth.svg": (growth(("accepted", "settled"), "a second"), growth(("accepted, p99",), "milliseconds")),
}
