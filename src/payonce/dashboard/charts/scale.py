"""Numbers and times of a chart: where the axis ends, which lines it has, and what is written beside them. Pure."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from payonce.dashboard.rendering import count, ms, percent

Unit = Literal["count", "share", "ms"]

TICKS_MAX: Final = 4  # lines above zero: more cannot be read at the width of a phone
LABELS_MAX: Final = 4  # times below the drawing
DAY_S: Final = 86_400
NOTHING: Final = "none"  # in place of a number that does not exist, such as a rate of nothing
_STEPS: Final = (1.0, 2.0, 5.0, 10.0)
_SHORT: Final = ((1e12, "tn"), (1e9, "bn"), (1e6, "M"), (1e3, "k"))


def ticks(most: float, unit: Unit) -> tuple[float, ...]:
    """The values of the lines, from 0 to the first one at or above ``most``: round numbers, at most TICKS_MAX steps. Counts
    have whole steps, shares (0 to 1) end at 1 as soon as they pass a half."""
    if unit == "share" and most > 0.5:
        return (0.0, 0.25, 0.5, 0.75, 1.0)
    if most <= 0:
        return (0.0, 0.01 if unit == "share" else 1.0)
    power = 10.0 ** math.floor(math.log10(most / TICKS_MAX))
    step = next(each * power for each in _STEPS if each * power * TICKS_MAX >= most * (1 - 1e-9))
    if unit == "count":
        step = max(step, 1.0)
    return tuple(round(step * n, 12) for n in range(math.ceil(most / step - 1e-9) + 1))


def short(value: float, unit: Unit) -> str:
    """A value as it is written beside an axis: 1,500 is ``1.5k``, 0.25 of a share is ``25%``, 1,500 ms is ``1.5 s``."""
    if unit == "share":
        return f"{_plain(value * 100)}%"
    if unit == "ms":
        return f"{_plain(value)} ms" if value < 1000 else f"{_plain(value / 1000)} s"
    for size, word in _SHORT:
        if value >= size:
            return _plain(value / size) + word
    return _plain(value)


def told(value: float | None, unit: Unit) -> str:
    """A value in full, for tables and sentences, as the pages write it: ``1 500``, ``2.7``, ``97.3 %``, ``420 ms``."""
    if value is None:
        return NOTHING
    if unit == "share":
        return percent(value)
    if unit == "ms":
        return ms(value)
    whole, _, rest = f"{value:.1f}".partition(".")
    return count(int(whole)) + (f".{rest}" if rest != "0" else "")


def moments(ats: Sequence[str], step_s: int) -> list[str]:
    """How each time (RFC 3339) is written in the table: with its day where the whole spans more than a day."""
    read = [datetime.fromisoformat(each) for each in ats]
    return [f"{each:%d %b %H:%M}" if len(ats) * step_s > DAY_S else f"{each:%H:%M}" for each in read]


def labelled(ats: Sequence[str], step_s: int) -> list[tuple[int, str]]:
    """Which points carry their time below the drawing, and how: at most LABELS_MAX, the first and the last among them."""
    n = len(ats)
    days = n * step_s > DAY_S
    picked = sorted({round(i * (n - 1) / (LABELS_MAX - 1)) for i in range(LABELS_MAX)}) if n else []
    read = [(i, datetime.fromisoformat(ats[i])) for i in picked]
    return [(i, f"{at.day} {at:%b}" if days else f"{at:%H:%M}") for i, at in read]


def _plain(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
