"""Stacks that a profiler sampled, drawn: each function as wide as its share of the samples, callers above what they call. A
static SVG without a script; every box has a background of its own, so that it reads on light and on dark pages."""

from collections.abc import Mapping
from html import escape
from typing import Final

from msgspec import Struct

LEAST: Final = 0.007  # of all samples: what is below is left out
WIDTH, LINE, GAP = 960.0, 17, 1
LETTER: Final = 5.6  # pixels of width, at most, at the size of font that STYLE names
WORDS_MIN: Final = 3  # a box that has no room for so many letters stays without
GREY: Final = "#7d8590"  # reads on white and on black
COLOURS: Final = (
    "#a5cdfb", "#f6c29a", "#b9e3b4", "#d6c2f5", "#f4b6cf", "#ead98b", "#a9e0dc", "#f0b3ab", "#c9d3a0", "#bcc6f2", "#dcc7a6",
    "#9fd8b8", "#e3bde3",
)  # fmt: skip
OTHER: Final = "#c9d1d9"
STYLE: Final = f"text{{font:9.5px ui-monospace,Menlo,Consolas,monospace;fill:#1f2328}}text.h{{font-size:11px;fill:{GREY}}}"


class Box(Struct):
    """A function where it was called from. ``samples`` are its own and those of what it calls."""

    name: str
    samples: int = 0
    calls: dict[str, "Box"] = {}


def pruned(stacks: Mapping[str, int], least: float = LEAST) -> dict[str, int]:
    """``caller;function`` -> samples, without functions that have less than that share: their samples are their caller's."""
    enough = least * sum(stacks.values())
    kept: dict[str, int] = {}
    for names, box in _walk(tree(stacks), ()):
        called = sum(each.samples for each in box.calls.values() if each.samples >= enough)
        if names and box.samples >= enough and box.samples > called:
            kept[";".join(names)] = box.samples - called
    return kept


def tree(stacks: Mapping[str, int]) -> Box:
    """All stacks under one box, which is everything."""
    root = Box("")
    for stack, samples in stacks.items():
        box = root
        box.samples += samples
        for name in stack.split(";"):
            box = box.calls.setdefault(name, Box(name))
            box.samples += samples
    return root


def _walk(box: Box, names: tuple[str, ...]) -> list[tuple[tuple[str, ...], Box]]:
    found = [(names, box)]
    for each in box.calls.values():
        found += _walk(each, (*names, each.name))
    return found


def draw(stacks: Mapping[str, int], title: str, colours: Mapping[str, str], least: float = LEAST) -> str:
    """The SVG. The first word of a name gives the colour: ``stores Writer.write``. The same stacks make the same bytes."""
    root = tree(pruned(stacks, least))
    drawing = Drawing(root.samples, colours)
    height = (drawing.place(root, 0.0, 0) + 1) * LINE
    head = f"{title}: {root.samples:,} samples; what has less than {least:.1%} is left out"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height}" role="img" aria-label="{escape(title)}">\n'
        f"<style>{STYLE}</style>\n"
        f'<text class="h" x="0" y="12">{escape(head)}</text>\n' + "\n".join(drawing.boxes) + "\n</svg>\n"
    )


class Drawing:
    """Boxes, one after the other."""

    def __init__(self, samples: int, colours: Mapping[str, str]) -> None:
        self.samples, self.colours, self.boxes = max(samples, 1), colours, list[str]()

    def place(self, box: Box, left: float, line: int) -> int:
        """Draw what a box calls, the widest first, from ``left`` on; the number of the last line that is used."""
        deepest = line
        for each in sorted(box.calls.values(), key=lambda one: (-one.samples, one.name)):
            self.add(each, left, line + 1)
            deepest = max(deepest, self.place(each, left, line + 1))
            left += WIDTH * each.samples / self.samples
        return deepest

    def add(self, box: Box, left: float, line: int) -> None:
        """One box, with its name where there is room."""
        share = box.samples / self.samples
        top, width, colour = line * LINE, WIDTH * share, self.colours.get(box.name.split()[0], OTHER)
        room = int((width - 4) / LETTER)
        words = box.name if len(box.name) <= room else f"{box.name[: room - 1]}…"
        text = f'<text x="{left + 3:.1f}" y="{top + 11.5:g}">{escape(words)}</text>' if room >= WORDS_MIN else ""
        size = f'width="{max(width - GAP, 0.5):.1f}" height="{LINE - GAP}" fill="{colour}"'
        rect = f'<rect x="{left:.1f}" y="{top}" {size}/>'
        self.boxes.append(f"<g><title>{escape(box.name)} {share:.1%}</title>{rect}{text}</g>")
