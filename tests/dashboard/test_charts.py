"""Charts: what is drawn, what is said about it, and that the table has the same numbers."""

import re
from xml.etree import ElementTree as ET

import pytest
from markupsafe import Markup

from payonce.dashboard.charts import Chart, Series, Share, Unit, bar, bars, columns, lines, sparkline, summed
from payonce.dashboard.charts.drawing import HEIGHT, LEFT, RIGHT, TOP, WIDTH
from payonce.dashboard.charts.scale import LABELS_MAX, TICKS_MAX, labelled, short, ticks, told

from .canned import table

HOSTILE = "<script>alert(1)</script>\"'&"
VALUES: dict[str, tuple[float | None, ...]] = {
    "usual": (3, 5, 8, 2, 0),
    "zeros": (0, 0, 0, 0, 0),
    "nothing": (None, None, None, None, None),
    "gaps": (None, 4, None, 2, 7),
    "one": (7,),
    "none": (),
    "huge": (1_000_000_000, 2, 3_999_999_999, 0, 1),
}


def ats(n: int, step_s: int = 60) -> tuple[str, ...]:
    """The beginnings of ``n`` steps."""
    return tuple(
        f"2026-11-{24 + i * step_s // 86_400:02d}T{i * step_s // 3600 % 24:02d}:{i * step_s // 60 % 60:02d}:00Z"
        for i in range(n)
    )


def chart(values: tuple[float | None, ...], *more: Series, unit: Unit = "count", running: bool = False) -> Chart:
    series = (Series(label="Mine", values=values), *more)
    return Chart(id="c", title="Title", ats=ats(len(values)), step_s=60, series=series, unit=unit, running=running)


def drawing(figure: Markup) -> ET.Element:
    """The SVG of a figure, which has to be well-formed."""
    found = re.search(r'<svg class="(?:plot|bars)".*?</svg>', figure, re.DOTALL)
    assert found
    return ET.fromstring(found[0])  # noqa: S314  our own text


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("draw", [lines, columns])
def test_every_kind_of_values_is_drawn_within_its_frame(draw: type, name: str) -> None:
    """Zeros, gaps, one point, none at all, billions: well-formed, no coordinate outside of the drawing or that is no number."""
    values = VALUES[name]
    svg = drawing(draw(chart(values, Series(label="Other", values=values, tone="bad"))))
    text = ET.tostring(svg, encoding="unicode")
    assert "nan" not in text
    assert "inf" not in text
    for each in svg.iter():
        for at, most in (
            ("x", WIDTH),
            ("x1", WIDTH),
            ("x2", WIDTH),
            ("cx", WIDTH),
            ("y", HEIGHT),
            ("y1", HEIGHT),
            ("cy", HEIGHT),
        ):
            if at in each.attrib and each.tag != "pattern":
                assert -1 <= float(each.attrib[at]) <= most, (each.tag, each.attrib)
        for x, y in re.findall(r"([\d.-]+),([\d.-]+)", each.attrib.get("points", "")):
            assert LEFT <= float(x) <= WIDTH - RIGHT
            assert TOP - 0.1 <= float(y) <= HEIGHT


@pytest.mark.parametrize("draw", [lines, columns])
def test_the_table_has_the_same_numbers(draw: type) -> None:
    """One row for each step with every series; what does not exist is said so."""
    figure = draw(chart((1200, None, 3), Series(label="Other", values=(0, 2.5, 7), tone="bad")))
    assert table(figure, "Title") == [["00:00", "1 200", "0"], ["00:01", "none", "2.5"], ["00:02", "3", "7"]]
    assert '<details class="data"' in figure


def test_shares_and_times_are_written_as_on_the_pages() -> None:
    """Of a hundred, and in the unit that people use."""
    assert [row[1] for row in table(lines(chart((0.5, 0.031), unit="share")), "Title")] == ["50 %", "3.1 %"]
    assert [row[1] for row in table(lines(chart((420, 2400), unit="ms")), "Title")] == ["420 ms", "2.4 s"]


def test_the_drawing_is_told_in_words() -> None:
    """Title and description are in the SVG and named by it; the description has last and most."""
    svg = drawing(lines(chart((3, 8, 2))))
    assert svg.attrib["role"] == "img"
    title, desc = (svg.find(tag) for tag in ("title", "desc"))
    assert title is not None
    assert desc is not None
    assert svg.attrib["aria-labelledby"].split() == [title.attrib["id"], desc.attrib["id"]]
    assert title.text == "Title"
    assert desc.text == "From 00:00 to 00:02 UTC. Mine: last 2, most 8 at 00:01."


def test_without_any_value_it_says_so() -> None:
    """Nulls are not zeros: nothing is drawn for them and a sentence stands there; zeros are drawn."""
    assert "Nothing to draw" in lines(chart(VALUES["nothing"]))
    assert "polyline" not in lines(chart(VALUES["nothing"]))
    assert "Nothing to draw" not in lines(chart(VALUES["zeros"]))


def test_a_gap_parts_the_line() -> None:
    """A value that does not exist is not bridged; one alone is a dot."""
    found = re.findall(r'<polyline class="curve t-main" points="([^"]+)"', lines(chart((1, 2, None, 4, None, 3, 3))))
    assert [len(points.split()) for points in found] == [2, 2]
    assert lines(chart((1, 2, None, 4, None, 3, 3))).count("<circle") == 1


def test_the_running_step_is_drawn_apart() -> None:
    """The way to a step that has not ended is dotted, its column pale; the numbers are the same."""
    running, done = lines(chart((1, 2, 3), running=True)), lines(chart((1, 2, 3)))
    assert running.count(" running") == 1
    assert " running" not in done
    assert table(running, "Title") == table(done, "Title")
    assert columns(chart((1, 2, 3), running=True)).count('<g class="running">') == 1


def test_no_series_is_told_apart_by_colour_alone() -> None:
    """What to compare with is dashed; failed columns are hatched; each has its name in words, with its sum."""
    before = Series(label="Before", values=(1, 1), tone="before", dashed=True, says="1 a minute")
    figure = lines(chart((1, 2), before))
    assert "t-before dashed" in figure
    assert re.search(r"Before <b>1 a minute</b>", figure)
    stacked = columns(chart((1, 2), Series(label="Failed", values=(1, 0), tone="bad")))
    assert 'fill="url(#c-hatch)"' in stacked
    assert '<pattern id="c-hatch"' in stacked


def test_columns_stand_on_each_other() -> None:
    """The second series begins where the first one ends."""
    svg = drawing(columns(chart((6,), Series(label="Failed", values=(4,), tone="bad"))))
    first, second = [e for e in svg.iter() if e.attrib.get("class", "").startswith("column")]
    assert float(second.attrib["y"]) + float(second.attrib["height"]) == pytest.approx(float(first.attrib["y"]), abs=0.2)
    assert float(first.attrib["height"]) == pytest.approx(1.5 * float(second.attrib["height"]), abs=0.3)


def test_names_are_hostile() -> None:
    """Whatever an account or a code is called, it is text."""
    series = Series(label=HOSTILE, values=(1,), says=HOSTILE)
    one = Chart(id="c", title=HOSTILE, ats=ats(1), step_s=60, series=(series,), note=HOSTILE)
    for figure in (lines(one), columns(one), bars("c", HOSTILE, [Share(label=HOSTILE, count=1)]), sparkline("s", HOSTILE, [1])):
        assert "<script" not in figure
        assert "&lt;script&gt;" in figure


def test_the_same_input_gives_the_same_bytes() -> None:
    """An unchanged chart is not sent again, so nothing in it may differ by chance."""
    assert lines(chart((1, None, 3))) == lines(chart((1, None, 3)))
    assert "style=" not in lines(chart((1,))) + columns(chart((1,))) + bar(0.5)


@pytest.mark.parametrize(
    ("most", "unit"),
    [
        (0, "count"),
        (1, "count"),
        (7, "count"),
        (96, "count"),
        (1e10, "count"),
        (0.04, "share"),
        (0.97, "share"),
        (1, "share"),
        (830, "ms"),
    ],
)
def test_few_round_lines_that_hold_all(most: float, unit: Unit) -> None:
    """The last line is at or above the largest value, not far above; counts have whole ones; no two are written the same."""
    found = ticks(most, unit)
    assert found[0] == 0
    assert found[-1] >= most
    assert len(found) <= TICKS_MAX + 1
    assert most <= 0 or found[-1] <= 2.5 * most or found[-1] == 1
    assert unit != "count" or all(float(value).is_integer() for value in found)
    assert len({short(value, unit) for value in found}) == len(found)
    assert all(len(short(value, unit)) <= 6 for value in found)


def test_few_times_below() -> None:
    """At most four, the first and the last among them; over days they are days."""
    minutes = labelled(ats(15), 60)
    assert len(minutes) == LABELS_MAX
    assert (minutes[0], minutes[-1]) == ((0, "00:00"), (14, "00:14"))
    days = labelled(ats(168, 3600)[:168], 3600)
    assert days[0] == (0, "24 Nov")
    assert labelled((), 60) == []
    assert labelled(ats(1), 60) == [(0, "00:00")]


def test_bars_say_count_and_share() -> None:
    """Each with its part of the sum, drawn against the largest; the table has the same; without any nothing is drawn."""
    figure = bars("b", "Why", [Share(label="One", count=6), Share(label="Two", count=2)])
    assert table(figure, "Why") == [["One", "6", "75 %"], ["Two", "2", "25 %"]]
    wide = [float(e.attrib["width"]) for e in drawing(figure).iter() if e.attrib.get("class", "").startswith("column")]
    assert wide[0] == pytest.approx(3 * wide[1], abs=0.2)
    assert "<svg" not in bars("b", "Why", [])
    assert "<svg" not in bars("b", "Why", [Share(label="One", count=0)])


def test_a_bar_of_a_cell_keeps_within_it() -> None:
    """None and what is out of range are drawn as empty or full; it is unseen by readers, for the number stands beside it."""
    drawn = [re.findall(r'width="([\d.]+)" height="8"/></svg>', bar(share))[0] for share in (None, 0.0, 0.25, 1.0, 7.0)]
    assert drawn == ["0", "0", "25", "100", "100"]
    assert 'aria-hidden="true"' in bar(0.5)


def test_a_small_line_says_what_it_shows() -> None:
    """Its title has the sum and the most; gaps, zeros and nothing do not break it."""
    for values in VALUES.values():
        assert ET.fromstring(sparkline("s", "Title", values)).attrib["role"] == "img"  # noqa: S314  our own text
    assert summed("Calls", (3, None, 9), "last 15 min") == "Calls, last 15 min: 12 in all, most 9 at once"
    assert summed("Calls", (None,), "last 15 min") == "Calls, last 15 min: none"


def test_numbers_in_full() -> None:
    """Nothing, wholes, parts and thousands."""
    assert [told(value, "count").replace("\u202f", " ") for value in (None, 0, 1234567, 2.5, 1234.56)] == [
        "none",
        "0",
        "1 234 567",
        "2.5",
        "1 234.6",
    ]
