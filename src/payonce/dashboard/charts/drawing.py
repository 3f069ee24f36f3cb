"""What all charts have: a frame with few lines and labels, names with sums in words, a description, and the table."""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from markupsafe import Markup
from msgspec import Struct

from .scale import Unit, labelled, moments, short, ticks, told

Tone = Literal["main", "ok", "bad", "unknown", "neutral", "before"]

# In units of the drawing. The text is 13 of them on a wide page and 18 on a phone (static/charts.css), where all of it is
# drawn at about two thirds: the margins hold the larger one.
WIDTH: Final = 520
HEIGHT: Final = 200
LEFT: Final = 58
RIGHT: Final = 12
TOP: Final = 14
BOTTOM: Final = 32
EMPTY: Final = Markup("")


class Series(Struct, frozen=True, kw_only=True):
    """One line or one layer of columns. ``values`` has one value for each time of the chart; None: there is none. ``says``
    stands behind the name, such as its sum."""

    label: str
    values: tuple[float | None, ...]
    tone: Tone = "main"
    dashed: bool = False
    says: str = ""


class Chart(Struct, frozen=True, kw_only=True):
    """What is drawn. ``id`` is unique on its page. ``ats`` are the beginnings of the steps, RFC 3339, oldest first; each lasts
    ``step_s`` seconds. ``note`` is one sentence of what to see here. ``running``: the last step has not ended and is drawn
    so."""

    id: str
    title: str
    ats: tuple[str, ...]
    step_s: int
    series: tuple[Series, ...]
    unit: Unit = "count"
    note: str = ""
    running: bool = False

    @property
    def empty(self) -> bool:
        """There is no value at all; zeros are values."""
        return not self.ats or all(value is None for each in self.series for value in each.values)


def joined(parts: Iterable[Markup]) -> Markup:
    return EMPTY.join(parts)


def number(value: float) -> str:
    """A coordinate: a tenth of a unit is finer than anyone sees."""
    return f"{value:.1f}".removesuffix(".0")


class Plane(Struct, frozen=True):
    """Where values and times lie within the drawing."""

    points: int
    top: float  # the value at the upper edge, above 0

    def x(self, i: int) -> float:
        """The middle of a step."""
        return LEFT + (i + 0.5) * self.wide

    def y(self, value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - max(0.0, min(value / self.top, 1.0)))

    @property
    def wide(self) -> float:
        """How wide one step is."""
        return (WIDTH - LEFT - RIGHT) / max(self.points, 1)


def framed(chart: Chart, most: float) -> tuple[Plane, Markup]:
    """The plane and its frame: lines with their values at the left, times below."""
    lines = ticks(most, chart.unit)
    plane = Plane(len(chart.ats), lines[-1])
    drawn = [_line(plane, value, chart.unit) for value in lines]
    drawn += [_time(plane, i, text) for i, text in labelled(chart.ats, chart.step_s)]
    if chart.empty:
        middle = Markup('<text class="none" x="{}" y="{}" text-anchor="middle">Nothing to draw in this time</text>')
        drawn.append(middle.format((WIDTH + LEFT - RIGHT) // 2, (HEIGHT - BOTTOM) // 2))
    return plane, joined(drawn)


def _line(plane: Plane, value: float, unit: Unit) -> Markup:
    y = plane.y(value)
    line = Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/><text x="{}" y="{}" text-anchor="end">{}</text>')
    kind = "grid-line" if value else "ground-line"
    return line.format(kind, LEFT, number(y), WIDTH - RIGHT, number(y), LEFT - 6, number(y + 4), short(value, unit))


def _time(plane: Plane, i: int, text: str) -> Markup:
    anchor = "start" if i == 0 else "end" if i == plane.points - 1 else "middle"
    x = LEFT if anchor == "start" else WIDTH - RIGHT if anchor == "end" else plane.x(i)
    if plane.points == 1:
        anchor, x = "middle", plane.x(0)
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(number(x), HEIGHT - 8, anchor, text)


def pointed(chart: Chart, plane: Plane) -> Markup:
    """One unseen field for each step that says its numbers under the mouse."""
    field = Markup('<rect class="hit" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>')
    drawn = []
    for i, when in enumerate(moments(chart.ats, chart.step_s)):
        said = ", ".join(f"{each.label} {told(each.values[i], chart.unit)}" for each in chart.series)
        x = LEFT + i * plane.wide
        drawn.append(field.format(number(x), TOP, number(plane.wide), HEIGHT - TOP - BOTTOM, f"{when} UTC: {said}"))
    return joined(drawn)


def figure(chart: Chart, drawn: Markup, keys: Markup) -> Markup:
    """The whole figure: its title and note, the names of its series, the drawing, and its numbers as a table."""
    return Markup(
        '<figure class="chart" id="{id}"><figcaption><strong>{title}</strong>{note}</figcaption>{keys}'
        '<svg class="plot" viewBox="0 0 {w} {h}" role="img" aria-labelledby="{id}-title {id}-desc">'
        '<title id="{id}-title">{title}</title><desc id="{id}-desc">{desc}</desc>{drawn}</svg>{table}</figure>'
    ).format(
        id=chart.id,
        title=chart.title,
        note=Markup(' <span class="note">{}</span>').format(chart.note) if chart.note else EMPTY,
        keys=keys,
        w=WIDTH,
        h=HEIGHT,
        desc=described(chart),
        drawn=drawn,
        table=table(chart),
    )


def described(chart: Chart) -> str:
    """The drawing in words: over which time, and of each series the last value and the most."""
    if chart.empty:
        return "There is nothing to draw in this time."
    when = moments(chart.ats, chart.step_s)
    said = [f"From {when[0]} to {when[-1]} UTC."]
    for each in chart.series:
        known = [(value, i) for i, value in enumerate(each.values) if value is not None]
        if not known:
            said.append(f"{each.label}: no values.")
            continue
        (most, at), last = max(known, key=lambda found: found[0]), known[-1][0]
        said.append(f"{each.label}: last {told(last, chart.unit)}, most {told(most, chart.unit)} at {when[at]}.")
    return " ".join(said)


def keyed(named: Sequence[tuple[Series, Markup]]) -> Markup:
    """The names of the series, each with a sample of how it is drawn and with what it ``says``."""
    sample = Markup(
        '<li><svg class="key" viewBox="0 0 24 12" aria-hidden="true" focusable="false">{}</svg> {}{}</li>',
    )
    said = (Markup(" <b>{}</b>").format(each.says) if each.says else EMPTY for each, _ in named)
    items = (sample.format(drawn, each.label, words) for (each, drawn), words in zip(named, said, strict=True))
    return Markup('<ul class="keys">{}</ul>').format(joined(items))


def table(chart: Chart) -> Markup:
    """The same numbers, one row for each step, behind a switch that needs no script."""
    heads = joined(Markup('<th scope="col">{}</th>').format(each.label) for each in chart.series)
    rows = []
    for i, when in enumerate(moments(chart.ats, chart.step_s)):
        cells = joined(Markup("<td>{}</td>").format(told(each.values[i], chart.unit)) for each in chart.series)
        rows.append(Markup('<tr><th scope="row">{}</th>{}</tr>').format(when, cells))
    return Markup(
        '<details class="data" id="{}-data"><summary>Data<span class="unseen"> of {}</span></summary>'
        '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table class="plain"><caption>{}</caption>'
        '<thead><tr><th scope="col">From, UTC</th>{}</tr></thead><tbody>{}</tbody></table></div></details>'
    ).format(chart.id, chart.title, f"Data of {chart.title}", chart.title, heads, joined(rows))
