"""One payment: what state its money is in, what can be done, and everything that happened to it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from payonce.dashboard.asking import segment
from payonce.dashboard.questions import answers, resting
from payonce.dashboard.visit import Screen, View, Visit
from payonce.dashboard.waterfall import WORDS, Bar, folds_said, long, pieces, until, waterfall
from payonce.merchants.keys import KeyScope
from payonce.shown.views import moment

from .payments import meaning

POLL_S: Final = 3
LINES_MAX: Final = 60  # of a story that are shown at once: the first and the last ones
EDGE: Final = 20  # how many at each end of a longer one
NEEDS: Final[Mapping[str, KeyScope]] = {
    "capture": "payments:write",
    "void": "payments:write",
    "refund": "refunds:write",
    "check": "payments:write",
    "resolve": "admin",
}
VERBS: Final[Mapping[str, str]] = {
    "capture": "Capture",
    "void": "Void",
    "refund": "Refund",
    "check": "Check with the provider now",
    "resolve": "Resolve",
}


async def show(visit: Visit) -> View:
    """Everything from one answer of the API, so that no two parts of the page are of different moments."""
    story = await visit.ask.need(f"/payments/{segment(visit.path['id'])}/story")
    p = story["payment"]
    bars = msgspec.convert(story["bars"], list[Bar])
    now_ms = max(0, (visit.now_us - moment(p["createdAt"])) // 1000)
    can, cannot = doable(visit, story["actions"])
    shown = {
        "story": story,
        "p": p,
        "says": meaning(p["reason"]),
        "eyes": meaning(p["attention"]),
        "answers": answers(story),
        "todo": todo(story, {each["name"] for each in can}),
        "live": not resting(story),
        "resting": resting(story),
        "poll_s": POLL_S,
        "can": can,
        "cannot": cannot,
        "drawing": waterfall(bars, now_ms),
        "folds": folds_said(pieces(bars, now_ms)),
        "bars": [_told(bar, now_ms) for bar in bars],
        "lines": grouped(story["lines"]),
        "api_url": visit.api_url,
    }
    return View("payment.html", shown)


def todo(story: Mapping[str, Any], can: Collection[str]) -> str:
    """What to do, in the words of this page where a button of it does it; else as the story says it."""
    if "resolve" in can:
        return "Look at the provider, then record with Resolve what you found there. Check asks it once more."
    if "capture" in can:
        return "Capture it, or void it."
    return str(story["next"])


def grouped(lines: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """The first lines, those between, and the last ones; all of them are the first where there are not many."""
    if len(lines) <= LINES_MAX:
        return lines, (), ()
    return lines[:EDGE], lines[EDGE:-EDGE], lines[-EDGE:]


def doable(visit: Visit, actions: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """What the caller may do now, and what not with why: its state, or the scopes of who looks."""
    can, cannot = [], []
    for each in actions:
        name = each["action"]
        about = {"name": name, "verb": VERBS[name], "why": each["why"]}
        if not each["allowed"]:
            cannot.append(about)
        elif not visit.may(NEEDS[name]):
            cannot.append({**about, "why": f"You are signed in without the right for it ({NEEDS[name]})."})
        else:
            can.append(about)
    return can, cannot


def _told(bar: Bar, now_ms: int) -> dict[str, Any]:
    """A bar as a row of the table beside the drawing."""
    lasted = until(bar, now_ms) - bar.from_ms
    return {
        "seq": bar.seq,
        "row": bar.row,
        "label": bar.label,
        "from": f"+{long(bar.from_ms)}",
        "lasted": f"{long(lasted)}, still going on" if bar.until_ms is None else long(lasted) if lasted else "",
        "went": WORDS[bar.tone],
        "text": bar.text,
    }


PAGES: Final = (Screen("/payments/{id}", show, nav="payments"),)
