"""Charts as text: SVG drawn on the server, with a title, a description, and a table of the same numbers beside it.

The same input gives the same bytes, so that an unchanged chart is not sent again. What is drawn carries classes only, no
colours and no style: static/charts.css paints it, light and dark. No series is told apart by colour alone: lines are
solid or dashed, columns are plain, hatched or dotted, and each has its name and its sum in words above the drawing.
"""

from .drawing import Chart, Series, Tone
from .scale import Unit, moments, told
from .series import columns, lines, sparkline, summed
from .shares import Share, bar, bars

__all__ = [
    "Chart",
    "Series",
    "Share",
    "Tone",
    "Unit",
    "bar",
    "bars",
    "columns",
    "lines",
    "moments",
    "sparkline",
    "summed",
    "told",
]
