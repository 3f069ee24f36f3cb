"""Of each target that was missed: by how much, why, and what would get it there. Figures come from the result; the words hold
whatever the figures are."""

from collections.abc import Callable
from typing import Final

from . import accept, flame, settle
from .results import Result, Row
from .tables import number
from .targets import TARGETS, Target, judged, wanted

Told = Callable[[Result], str]
LARGEST: Final = 4  # rooms that are named


def told(result: Result) -> str:
    """In Markdown: an item for each target that is missed."""
    judgements = [(target, target.measured(result)) for target in TARGETS]
    items = [item(result, target, value) for target, value in judgements if value is not None and not target.met(value)]
    unmeasured = sum(value is None for _, value in judgements)
    if not items:
        items = ["Every target that was measured is met.\n"]
    if unmeasured:
        items.append(f"\nNot measured in this run: {unmeasured} of {len(judgements)} targets.\n")
    return "".join(items)


def item(result: Result, target: Target, value: float) -> str:
    """What is wanted and measured, why, and what would help."""
    measured, verdict = judged(target, value)
    why, way = REASONS.get(target.what, UNKNOWN)
    head = f"**{target.what}**: {wanted(target)} is wanted, {measured} measured ({verdict})."
    return f"- {head} {why(result)} *What would help:* {way}\n"


# --- why ------------------------------------------------------------------------------------------------------------------


def beside(other: str) -> Told:
    """CPU of an accepted payment beside that of a constant answer, and where the interpreter's time goes."""

    def why(result: Result) -> str:
        ours, theirs = (least(result, name) for name in (accept.OURS, other))
        costs = (
            f"An accepted payment takes {ours:,.0f} us of CPU, a constant answer {theirs:,.0f} us. " if ours and theirs else ""
        )
        return f"{costs}Between them is the work itself: read, check, decide, write, log. {shares(result, flame.ACCEPTING)}"

    return why


def least(result: Result, name: str) -> float | None:
    """CPU of one request where it was lowest, over the numbers of connections at which all were measured."""
    cells = (result.row(accept.NAME, accept.case_of(count), name, "CPU") for count in accept.AT)
    return min((row.median for row in cells if row), default=None)


def peer(case: str, what: str) -> Told:
    """The best of the others."""

    def why(result: Result) -> str:
        rows = [row for row in result.of("peers", "rate", case) if row.unit == "/s" and row.values]
        others = [row for row in rows if not row.subject.startswith(accept.OURS)]
        mine = [row for row in rows if row.subject.startswith(accept.OURS)]
        return f"{rates(mine)}{rates(others)}{shares(result, what)}"

    return why


def rates(rows: list[Row]) -> str:
    best = max(rows, key=lambda row: row.median, default=None)
    return f"{best.subject} made {number(best.median)} a second. " if best else ""


def shares(result: Result, what: str) -> str:
    """The rooms that hold the interpreter longest."""
    rows = sorted(result.of(flame.NAME, what, flame.BY_ROOM), key=lambda row: -row.median)[:LARGEST]
    rooms = ", ".join(f"{row.subject} {row.median:.0f} %" for row in rows)
    return f"The interpreter is held most by: {rooms} (see [where the time goes](#where-the-time-goes))." if rooms else ""


def added(result: Result) -> str:
    """Its parts by provider."""
    rows = [(ms, result.row(settle.NAME, f"half, provider {ms} ms", settle.ONE, "added p99")) for ms in settle.LATENCIES_MS]
    parts = ", ".join(f"{number(row.median)} ms with a provider of {ms} ms" for ms, row in rows if row)
    return f"It is {parts}. A payment waits for the loop, which requests and steps of all payments share, and for its commits."


def grown(many: str) -> Told:
    """Every turn with many and with a thousand: with so few, one stall of the disk decides."""

    def why(result: Result) -> str:
        told = [turns(result, f"{count} payments") for count in ("1,000", many)]
        return (
            f"{told[0]}. {told[1]}. Two things can show here: idempotency keys come in no order, so that the larger the store, "
            "the more places of their index one commit touches (that costs CPU in every turn); and a disk that still writes "
            "what was filled (that costs one turn its time)."
        )

    return why


def turns(result: Result, case: str) -> str:
    parts = [
        f"{what} {' and '.join(number(value) for value in row.values)} {unit}"
        for what, unit in (("accepted", "a second"), ("accepted, CPU", "us"), ("accepted, p99", "ms"))
        if (row := result.row("growth", case, accept.OURS, what))
    ]
    return f"With {case}: {', '.join(parts)}"


def always(text: str) -> Told:
    return lambda _: text


FASTER: Final = (
    "a processor that runs Python faster: it runs in one thread of a process at a time. Two processes that accept for one file "
    "made 1.2 to 1.3 times as many on two cores (see [what was tried](#what-was-tried-and-did-not-help)); with more cores it "
    "may be more, but SQLite writes one transaction at a time."
)
MORE_WORKERS: Final = (
    "accepting and settling in processes of their own on a machine with more cores (the settle section has both)."
)
SOONER: Final = (
    "a processor that runs Python faster, or less load on one process: requests and steps take turns in its one loop."
)
OLD_AWAY: Final = "a store of its own for payments that are long done, so that the busy one stays small."
IDLE: Final = "It wakes to look for due payments and to say that it is alive."
MEMORY: Final = "It is the peak of the resident set: Python, the modules, SQLite's pages, and what waits to be written."
LESS_MEMORY: Final = "a smaller page cache and fewer modules loaded at start."
# By the target's ``what``.
REASONS: Final[dict[str, tuple[Told, str]]] = {
    "accepted a second, to constant JSON through the same stack": (beside(accept.STACK), FASTER),
    "accepted a second, to constant JSON on the bare server": (beside(accept.BARE), FASTER),
    "accepted a second, to the best peer": (peer("accept", flame.ACCEPTING), FASTER),
    "settled a second, to the best peer": (peer("end to end, provider 0 ms", flame.SETTLING), MORE_WORKERS),
    "added latency p99 at half of saturation, one process, both providers": (added, SOONER),
    "throughput with 1 million payments in the store, to that with a thousand": (grown("1,000,000"), OLD_AWAY),
    "throughput with 10 million payments in the store, to that with a thousand": (grown("10,000,000"), OLD_AWAY),
    "CPU of an idle server": (always(IDLE), "longer pauses where nothing is due."),
    "peak memory at saturation, accepting": (always(MEMORY), LESS_MEMORY),
    "peak memory at saturation, settling, one process": (always(MEMORY), LESS_MEMORY),
}
UNKNOWN: Final[tuple[Told, str]] = (always("Nobody has looked yet."), "to look.")
