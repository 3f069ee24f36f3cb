"""The waterfall: long waits are folded and said, nothing is pressed into a point, what is drawn is escaped."""

import re
from itertools import pairwise
from xml.parsers.expat import ParserCreate

import pytest

from payonce.dashboard.waterfall import (
    BAR_MIN,
    FOLD_WIDTH,
    STRETCH_MIN,
    STRETCHES_MAX,
    Bar,
    Kind,
    Tone,
    described,
    folds_said,
    long,
    pieces,
    place,
    rows,
    waterfall,
)

DAY = 86_400_000


def bar(from_ms: int, until_ms: int | None, kind: Kind = "call", *, row: str = "attempt 1 mock", tone: Tone = "ok") -> Bar:
    return Bar(seq=1, row=row, kind=kind, label="fire", from_ms=from_ms, until_ms=until_ms, tone=tone, text="told")


ACCEPTED = bar(0, 0, "accept", row="Payment", tone="neutral")
TWO_DAYS = [ACCEPTED, bar(10, 340), bar(340, 2 * DAY, "wait", tone="wait"), bar(2 * DAY, 2 * DAY + 80)]


def test_a_wait_of_two_days_does_not_squash_the_calls() -> None:
    """It is one fold of a fixed width; the calls beside it keep a width that can be seen."""
    axis = pieces(TWO_DAYS, 3 * DAY)
    assert [piece.folded for piece in axis] == [False, True, False]
    assert axis[1].width == FOLD_WIDTH
    calls = [d for d in rows(TWO_DAYS, axis, 3 * DAY)["attempt 1 mock"] if d.bar.kind == "call"]
    assert all(d.width > STRETCH_MIN / 2 for d in calls)
    assert folds_said(axis).startswith("1 wait is folded")
    assert long(2 * DAY - 340) in folds_said(axis)


def test_short_waits_are_drawn_as_they_are() -> None:
    """One scale for all, and nothing to say."""
    axis = pieces([ACCEPTED, bar(0, 400), bar(600, 900)], 900)
    assert [piece.folded for piece in axis] == [False]
    assert folds_said(axis) == ""
    assert place(axis, 0) < place(axis, 450) < place(axis, 900)


def test_time_goes_to_the_right_over_every_piece() -> None:
    """Whatever is folded, later is never more to the left."""
    axis = pieces(TWO_DAYS, 3 * DAY)
    places = [place(axis, ms) for ms in (0, 10, 340, 1000, DAY, 2 * DAY, 2 * DAY + 80)]
    assert places == sorted(places)
    assert all(a.x + a.width == pytest.approx(b.x) for a, b in pairwise(axis))


def test_what_goes_on_ends_now() -> None:
    """An open wait reaches to the time now, behind a fold where that is far."""
    bars = [ACCEPTED, bar(5, 20), bar(20, None, "wait", tone="wait")]
    axis = pieces(bars, DAY)
    assert axis[-1].until_ms == DAY
    (_, wait) = rows(bars, axis, DAY)["attempt 1 mock"]
    assert wait.x + wait.width == pytest.approx(place(axis, DAY))
    assert "wf-open" in waterfall(bars, DAY)


def test_what_overlaps_stands_below_one_another() -> None:
    """Two calls at once are on two lanes, and so are two moments at the same time."""
    bars = [bar(0, 100), bar(50, 150), bar(400, 500), bar(400, 400, row="Webhooks"), bar(400, 400, row="Webhooks")]
    drawn = rows(bars, pieces(bars, 500), 500)
    assert [d.lane for d in drawn["attempt 1 mock"]] == [0, 1, 0]
    assert [d.lane for d in drawn["Webhooks"]] == [0, 1]


def test_many_stretches_become_few_and_it_is_said() -> None:
    """A payment that is read daily for a year: the middle is folded, and the number of bars within is told."""
    bars = [ACCEPTED, *(bar(n * DAY, n * DAY + 50) for n in range(1, 366))]
    axis = pieces(bars, 366 * DAY)
    assert sum(1 for piece in axis if not piece.folded) <= STRETCHES_MAX
    hidden = sum(piece.unseen for piece in axis)
    drawn = sum(len(row) for row in rows(bars, axis, 366 * DAY).values())
    assert hidden > 300
    assert hidden + drawn == len(bars)
    assert f"{hidden} bars within are not drawn" in folds_said(axis)


def test_the_drawing_is_well_formed_and_escaped() -> None:
    """Labels and texts come from providers: none becomes markup; no style and no script is in it."""
    evil = Bar(seq=2, row='"><b>', kind="call", label="<script>", from_ms=5, until_ms=9, tone="bad", text="</svg><i>&")
    svg = waterfall([ACCEPTED, evil], 10)
    assert "<script" not in svg
    assert "<b>" not in svg
    assert "style=" not in svg
    assert svg.count("<svg") == 2
    assert svg.count('role="img"') == 1
    ParserCreate().Parse(svg, True)  # raises where it is not well-formed


def test_the_names_of_rows_stay_beside_the_bars() -> None:
    """They are a drawing of their own, as high as that of the bars, which those who hear the page do not hear twice."""
    names, bars_ = waterfall([ACCEPTED, bar(0, 900)], 900).split("</svg>")[:2]
    assert 'aria-hidden="true"' in names
    assert "attempt 1 mock" in names
    assert "wf-name" not in bars_
    high = [re.search(r'height="(\d+)"', each) for each in (names, bars_)]
    assert high[0] is not None
    assert high[1] is not None
    assert high[0][1] == high[1][1]


def test_tone_is_a_sign_and_a_word_too() -> None:
    """Not by colour alone: a refusal has its sign in the drawing and its word in what the mouse shows."""
    svg = waterfall([ACCEPTED, bar(0, 900, tone="bad"), bar(1000, 1800, tone="unknown")], 1800)
    assert "fire \u2715" in svg
    assert "fire ?" in svg
    assert "(refused or failed)" in svg
    assert "1 refused or failed, 1 without a usable answer" in described(
        [ACCEPTED, bar(0, 9, tone="bad"), bar(10, 11, tone="unknown")], [], 11
    )


def test_every_bar_can_be_seen() -> None:
    """Whatever it lasts, it is at least a few units wide and within the drawing."""
    bars = [ACCEPTED, *(bar(n, n + 1) for n in range(0, 60_000, 3_000)), bar(60_000, 120_000)]
    axis = pieces(bars, 120_000)
    right = axis[-1].x + axis[-1].width
    for row in rows(bars, axis, 120_000).values():
        assert all(d.width >= BAR_MIN and d.x > 0 and d.x + d.width <= right + 1 for d in row)


def test_without_bars_there_is_no_drawing() -> None:
    """Nothing, not an empty frame."""
    assert waterfall([], 5) == ""


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0 ms"), (999, "999 ms"), (1500, "1.5 s"), (125_000, "2 min 5 s"), (183_600_000, "2 d 3 h"), (DAY, "1 d")],
)
def test_lengths_have_two_units_at_most(ms: int, text: str) -> None:
    """Short enough for a label, and exact enough to be compared."""
    assert long(ms) == text
    assert re.fullmatch(r"[\d.]+ \w+( \d+ \w+)?", text)
