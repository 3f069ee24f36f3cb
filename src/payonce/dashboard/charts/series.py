"""Charts over time: lines, stacked columns, and the small line that stands in a row of a table."""

from collections.abc import Iterator, Sequence
from typing import Final

from markupsafe import Markup

from .drawing import BOTTOM, EMPTY, HEIGHT, Chart, Plane, Series, Tone, figure, framed, joined, keyed, number, pointed
from .scale import told

SPARK_WIDTH: Final = 120
SPARK_HEIGHT: Final = 28
_FILLS: Final = {"bad": "hatch", "neutral": "dots", "unknown": "bars"}  # tones whose columns carry a pattern


def lines(chart: Chart) -> Markup:
    """One or two series as lines, the first one with its area filled; ``dashed`` ones are what to compare with."""
    known = [value for each in chart.series for value in each.values if value is not None]
    plane, frame = framed(chart, max(known, default=0))
    drawn = [frame]
    for n, each in enumerate(chart.series):
        runs = list(_runs([None if v is None else (plane.x(i), plane.y(v)) for i, v in enumerate(each.values)]))
        if n == 0 and not each.dashed:
            drawn += [_area(run, HEIGHT - BOTTOM, each.tone) for run in runs if len(run) > 1]
        last = plane.x(len(chart.ats) - 1) if chart.running and not each.dashed else None
        drawn += [part for run in runs for part in _run(run, each, last)]
    drawn.append(pointed(chart, plane))
    sample = Markup('<line class="curve t-{}{}" x1="1" y1="6" x2="23" y2="6"/>')
    keys = keyed([(each, sample.format(each.tone, " dashed" if each.dashed else "")) for each in chart.series])
    return figure(chart, joined(drawn), keys)


def columns(chart: Chart) -> Markup:
    """The series stacked, the first one at the ground."""
    sums = [sum(each.values[i] or 0 for each in chart.series) for i in range(len(chart.ats))]
    plane, frame = framed(chart, max(sums, default=0))
    drawn = [frame]
    for i in range(len(chart.ats)):
        below = 0.0
        for each in chart.series:
            value = each.values[i] or 0
            if value > 0:
                drawn.append(_column(chart, plane, (i, below), value, each))
            below += value
    drawn.append(pointed(chart, plane))
    patterns = joined(_pattern(chart.id, each) for each in chart.series)
    keys = keyed([(each, _filled(chart.id, each.tone, (6, 0, 12, 12))) for each in chart.series])
    return figure(chart, patterns + joined(drawn), keys)


def sparkline(id: str, title: str, values: Sequence[float | None]) -> Markup:
    """A small line without axes. ``title`` says in words what it shows; the numbers belong in a table on the same page."""
    most = max((v for v in values if v is not None), default=0) or 1
    wide = (SPARK_WIDTH - 4) / max(len(values) - 1, 1)
    high = SPARK_HEIGHT - 6
    places = [None if v is None else (2 + i * wide, 3 + high * (1 - max(v, 0) / most)) for i, v in enumerate(values)]
    shown = Series(label=title, values=tuple(values))
    drawn = joined(part for run in _runs(places) for part in (_area(run, SPARK_HEIGHT - 3, "main"), *_run(run, shown)))
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" role="img" aria-labelledby="{}"><title id="{}">{}</title>{}</svg>'
    ).format(SPARK_WIDTH, SPARK_HEIGHT, id, id, title, drawn)


def summed(label: str, values: Sequence[float | None], when: str) -> str:
    """What a small line shows, in words: ``Calls, last 15 min: 120 in all, most 14``."""
    known = [v for v in values if v is not None]
    if not known:
        return f"{label}, {when}: none"
    return f"{label}, {when}: {told(sum(known), 'count')} in all, most {told(max(known), 'count')} at once"


Place = tuple[float, float]


def _runs(places: Sequence[Place | None]) -> Iterator[list[Place]]:
    """The parts between the gaps."""
    run: list[Place] = []
    for place in (*places, None):
        if place is not None:
            run.append(place)
        elif run:
            yield run
            run = []


def _run(run: Sequence[Place], series: Series, running_x: float | None = None) -> Iterator[Markup]:
    """``running_x``: where the step is that has not ended; the way there is dotted."""
    kind = f"t-{series.tone}" + (" dashed" if series.dashed else "")
    ended = [place for place in run if place[0] != running_x]
    if len(ended) > 1:
        yield Markup('<polyline class="curve {}" points="{}"/>').format(kind, _points(ended))
    if len(run) == 1:
        (x, y) = run[0]
        yield Markup('<circle class="dot {}" cx="{}" cy="{}" r="3"/>').format(kind, number(x), number(y))
    elif len(ended) < len(run):
        yield Markup('<polyline class="curve {} running" points="{}"/>').format(kind, _points(run[-2:]))


def _points(places: Sequence[Place]) -> str:
    return " ".join(f"{number(x)},{number(y)}" for x, y in places)


def _area(run: Sequence[Place], ground: float, tone: str) -> Markup:
    if len(run) == 1:
        return EMPTY
    around = _points((*run, (run[-1][0], ground), (run[0][0], ground)))
    return Markup('<polygon class="area t-{}" points="{}"/>').format(tone, around)


def _column(chart: Chart, plane: Plane, place: Place, value: float, series: Series) -> Markup:
    """``place``: the step, and the value that the column stands on."""
    i, below = int(place[0]), place[1]
    gap = min(plane.wide * 0.15, 4)
    y = plane.y(below + value)
    high = max(plane.y(below) - y, 0.6)  # one among thousands is still seen
    filled = _filled(chart.id, series.tone, (plane.x(i) - plane.wide / 2 + gap, y, plane.wide - 2 * gap, high))
    return Markup('<g class="running">{}</g>').format(filled) if chart.running and i == len(chart.ats) - 1 else filled


def _filled(id: str, tone: Tone, box: tuple[float, float, float, float]) -> Markup:
    """A rectangle (x, y, width, height) in its colour, with its pattern above it."""
    sides = [number(each) for each in box]
    plain = Markup('<rect class="column t-{}" x="{}" y="{}" width="{}" height="{}"/>').format(tone, *sides)
    if tone not in _FILLS:
        return plain
    over = Markup('<rect x="{}" y="{}" width="{}" height="{}" fill="url(#{}-{})"/>')
    return plain + over.format(*sides, id, _FILLS[tone])


_MARKS: Final = {
    "hatch": Markup('<path class="mark" d="M0 5 L5 0"/>'),
    "dots": Markup('<circle class="mark-dot" cx="2.5" cy="2.5" r="1"/>'),
    "bars": Markup('<path class="mark" d="M0 2.5 L5 2.5"/>'),
}


def _pattern(id: str, series: Series) -> Markup:
    if series.tone not in _FILLS:
        return EMPTY
    fill = _FILLS[series.tone]
    holder = Markup('<defs><pattern id="{}-{}" width="5" height="5" patternUnits="userSpaceOnUse">{}</pattern></defs>')
    return holder.format(id, fill, _MARKS[fill])
