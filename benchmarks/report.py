"""What a run found, for people: tables on the terminal, plots, docs/performance.md.

python -m benchmarks.report build/bench/results.json           # the tables again
python -m benchmarks.report build/bench/results.json --write   # keep it in benchmarks/results, draw, write the page
python -m benchmarks.report --check                            # whether the page says what the newest kept result says
"""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import flame, misses, plots, results, tables, targets
from .procs import ROOT
from .results import COMMITTED, Ran, Result, newest
from .tables import Grid

PAGE: Final = ROOT / "docs" / "performance.md"
IMAGES: Final = ROOT / "docs" / "images"
TRIED: Final = Path(__file__).parent / "tried.md"
PART: Final = re.compile(r"(<!-- made from the results: ([a-z]+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)
# Of a section: the plot that stands above its tables once it is drawn, and what it shows.
PICTURES: Final = {
    "accept": ("performance-accept.svg", "Answers a second, and milliseconds to the answer, over connections"),
    "settle": ("performance-settle.svg", "Payments settled a second, and added latency, by configuration"),
    "peers": ("performance-peers.svg", "Payments accepted and settled a second, by contender"),
    "growth": ("performance-growth.svg", "Payments a second and latency, over the number of payments in the store"),
}
NOTHING: Final = "No result is kept yet: `make bench ARGS=--write` measures and keeps one.\n"


def show(result: Result) -> None:
    """On the terminal: every section's tables, its notes, and the targets at the end."""
    console = Console(width=None if sys.stdout.isatty() else 180)
    for section in dict.fromkeys(row.section for row in result.rows):
        for number, grid in enumerate(tables.grids(result, section)):
            console.print(_table(grid, section if not number else None))
    for note in result.notes:
        console.print(Text(f"  {note.section}: {note.text}"))
    console.print(_table(targets.grid(result), "targets"))


def _table(grid: Grid, title: str | None) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for number, head in enumerate(grid.head):
        words = number < grid.texts
        table.add_column(head, justify="left" if words else "right", no_wrap=words, overflow="fold")
    for line in grid.lines:
        table.add_row(*map(Text, line))
    return table


def write(result: Result) -> None:
    """Keep a result as that of its day, draw the plots, write the page."""
    path = COMMITTED / f"{result.started[:10]}.json"
    results.save(result, path)
    flame.draw(result, IMAGES)
    try:
        drawn = plots.draw(result, IMAGES)
    except ModuleNotFoundError as error:
        print(f"No plots: {error}. `make bench` has what draws them.")
    else:
        print(f"docs/images: {', '.join(drawn) or 'nothing to draw'}")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), result, path.name), encoding="utf-8")
    print(f"{path.relative_to(ROOT)} and {PAGE.relative_to(ROOT)} are written.")


def page(text: str, result: Result | None, name: str) -> str:
    """The page with its made parts made anew; what stands between them is left alone. Raises KeyError for a part that nobody
    makes."""

    def made(found: re.Match[str]) -> str:
        part = found[2]
        if part == "tried":
            return found[1] + tried() + found[3]
        return found[1] + (part_of(result, part, name) if result else NOTHING) + found[3]

    return PART.sub(made, text)


def part_of(result: Result, part: str, name: str) -> str:
    """One made part in Markdown."""
    made: dict[str, Callable[[], str]] = {
        "machine": lambda: machine(result, name),
        "targets": lambda: tables.markdown(targets.grid(result)),
        "misses": lambda: misses.told(result),
    }
    sections = {row.section for row in result.rows} | {note.section for note in result.notes}
    return made[part]() if part in made else section_of(result, part, measured=part in sections)


def section_of(result: Result, section: str, *, measured: bool) -> str:
    """The plot, tables and notes of a section."""
    if not measured:
        return "Not measured in this run.\n"
    name, shows = PICTURES.get(section, ("", ""))
    picture = [f"![{shows}](images/{name})\n"] if name and (IMAGES / name).exists() else []
    picture += [f"![{shows}](images/{name})\n" for name, shows in flame.pictures(IMAGES) if section == flame.NAME]
    blocks = picture + [tables.markdown(grid) for grid in tables.grids(result, section)]
    if section in result.ran:
        blocks.insert(0, f"{measured_of(result.ran[section])}\n")
    notes = [f"- {' '.join(note.split())}\n" for note in result.notes_of(section)]
    return "\n".join([*blocks, "".join(notes)] if notes else blocks)


def measured_of(ran: Ran) -> str:
    """When, what of, and at which scale."""
    took = f"{ran.seconds / 60:.0f} minutes" if ran.seconds >= 90 else f"{ran.seconds:.0f} s"
    return f"*Measured on {ran.started[:10]} in {took}, commit `{ran.commit}`, scale {ran.scale}.*"


def machine(result: Result, name: str) -> str:
    """What it was measured on."""
    m = result.machine
    packages = ", ".join(f"{package} {version}" for package, version in result.versions.items())
    kept = f"[benchmarks/results/{name}](../benchmarks/results/{name})"
    return (
        f"All figures are in {kept}; each section says when it was measured. {m.cores} cores of {m.model}, "
        f"{m.memory_mib / 1024:.0f} GiB, {m.system}, {m.python}. An append of 4 KiB with fsync takes {m.sync_us:,.0f} us here "
        f"(p99 {m.sync_p99_us:,.0f} us). Versions: {packages}.\n"
    )


def tried() -> str:
    """What did not help, as it is told in benchmarks/tried.md."""
    return TRIED.read_text(encoding="utf-8")


def drift() -> list[str]:
    """What would change if the page were written anew; empty: it says what the newest kept result says."""
    path = newest()
    text = PAGE.read_text(encoding="utf-8")
    made = page(text, results.load(path) if path else None, path.name if path else "")
    pairs = zip(text.splitlines(), made.splitlines(), strict=False)
    differ = [f"- {old}\n+ {new}" for old, new in pairs if old != new]
    return differ or ([] if text == made else ["the page is longer or shorter than it would be"])


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description="Tables, plots and the page of a result.")
    parser.add_argument("file", type=Path, nargs="?", help="a result; default: the newest that is kept")
    parser.add_argument("--write", action="store_true", help="keep it, draw the plots and write docs/performance.md")
    parser.add_argument("--check", action="store_true", help="1 when docs/performance.md is not what the kept result says")
    args = parser.parse_args()
    if args.check:
        print("\n".join(drift()))
        return 1 if drift() else 0
    path = args.file or newest()
    if path is None:
        parser.error("no result is kept yet")
    result = results.load(path)
    if args.write:
        write(result)
    else:
        show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
