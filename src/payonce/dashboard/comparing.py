"""A figure beside the same figure of the window before, in words: "3.1 points lower than the 15 min before". Pure."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from .rendering import count, ms

SAME_POINTS: Final = 0.05  # of a hundred: less is not told
SAME_SHARE: Final = 0.02  # of a duration or a count
UP: Final = "\u2191"
DOWN: Final = "\u2193"


class Window(Struct, frozen=True):
    """How a window is called: ``short`` on the switch, ``last`` behind a number, ``before`` for the one it is compared with."""

    name: str
    short: str
    last: str
    before: str
    each: str  # what one step of its charts is


WINDOWS: Final[Mapping[str, Window]] = {
    "15m": Window("15m", "15 min", "last 15 min", "the 15 min before", "minute"),
    "24h": Window("24h", "24 h", "last 24 h", "the 24 h before", "hour"),
    "7d": Window("7d", "7 days", "last 7 days", "the 7 days before", "hour"),
}
USUAL: Final = "15m"


class Change(Struct, frozen=True):
    """``text`` begins with an arrow where something moved; ``short`` is the same for a table whose heading names the window,
    and empty where there is nothing to compare. ``better`` None: neither good nor bad, or nothing moved."""

    text: str
    better: bool | None = None
    short: str = ""


def picked(query: Mapping[str, str]) -> Window:
    """The window that the address names; an unknown one is the usual one."""
    return WINDOWS.get(query.get("window", USUAL), WINDOWS[USUAL])


def windows(path: str, rest: str = "") -> list[tuple[str, str, str]]:
    """What ``ui.choices`` takes. ``rest``: more of the query, already encoded."""
    return [(each.name, each.short, f"{path}?window={each.name}{rest}") for each in WINDOWS.values()]


def rate(now: float | None, was: float | None, before: str, *, more_is_better: bool = True) -> Change:
    """Of a share (0 to 1), in points of a hundred."""
    if now is None:
        return Change("")
    if was is None:
        return Change(f"no figure for {before}")
    points = (now - was) * 100
    if abs(points) < SAME_POINTS:
        return Change(f"the same as {before}", short="the same")
    arrow, word = (UP, "higher") if points > 0 else (DOWN, "lower")
    said = f"{abs(points):.1f} point{'' if f'{abs(points):.1f}' == '1.0' else 's'}"
    return Change(f"{arrow} {said} {word} than {before}", (points > 0) == more_is_better, f"{arrow} {said} {word}")


def number(now: int, was: int, before: str, *, more_is_better: bool | None = None) -> Change:
    """Of a count."""
    if now == was:
        return Change(f"as many as in {before}" if now else f"none in {before} either", short="the same")
    arrow, word = (UP, "more") if now > was else (DOWN, "fewer")
    better = None if more_is_better is None else (now > was) == more_is_better
    said = f"{arrow} {count(abs(now - was))} {word}"
    return Change(f"{said} than in {before}", better, said)


def duration(now: float | None, was: float | None, before: str) -> Change:
    """Of a time in milliseconds: longer is worse. Percentiles are told within a fifth, so small changes are none."""
    if now is None:
        return Change("")
    if was is None:
        return Change(f"no figure for {before}")
    if abs(now - was) <= SAME_SHARE * max(now, was):
        return Change(f"the same as {before}", short="the same")
    arrow, word = (UP, "slower") if now > was else (DOWN, "faster")
    said = f"{arrow} {ms(abs(now - was))} {word}"
    return Change(f"{said} than {before}", now < was, said)
