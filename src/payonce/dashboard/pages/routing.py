"""Routing: the rules as they are, in words, and what changed ones would have done with the newest payments. Trying rules
changes nothing, so it asks for no reason; what was typed stays on the page, without card numbers."""

from collections.abc import Mapping
from typing import Any, Final

from payonce.dashboard.asking import Reply, Turned, needed
from payonce.dashboard.charts import bar
from payonce.dashboard.typed import error_of, shown_again
from payonce.dashboard.visit import Screen, View, Visit

LASTS: Final = ("100", "1000", "10000")
LAST: Final = "1000"
TEXT_CHARS_MAX: Final = 65_536


async def show(visit: Visit) -> View:
    """The rules, and the form with them to change."""
    return await _page(visit, {})


async def try_out(visit: Visit) -> View:
    """The same with what a dry run found, or with what is wrong with the text."""
    text, last = visit.form.get("toml", ""), visit.form.get("last", LAST)
    last = last if last in LASTS else LAST
    reply = await visit.ask.post("/routing/dry-run", {"toml": text, "last": int(last)})
    typed: dict[str, Any] = {"text": shown_again(text), "last": last}
    if reply.ok:
        return await _page(visit, {**typed, "found": reply.body, "shares": _shares(reply.body)})
    if reply.status in (413, 422, 503):
        return await _page(visit, {**typed, "error": error_of(text, _said(reply))}, status=reply.status)
    needed(reply)
    raise AssertionError("a refusal is raised")


async def _page(visit: Visit, more: Mapping[str, Any], status: int = 200) -> View:
    routing = await visit.ask.need("/routing")
    data: dict[str, Any] = {
        "r": routing,
        "lasts": [(each, f"the last {int(each):,}") for each in LASTS],
        "text": routing["toml"],
        "last": LAST,
        "found": None,
        "shares": [],
        "error": "",
        "bar": bar,
        "chars_max": TEXT_CHARS_MAX,
    }
    return View("routing.html", {**data, **more}, status=status)


def _shares(found: Mapping[str, Any]) -> list[float]:
    """Of each group, among the payments that were compared."""
    compared = found["of"] - found["named"] - found["cannotTell"]
    return [group["count"] / max(compared, 1) for group in found["groups"]]


def _said(reply: Reply) -> str:
    """Why the text was not tried, in the API's words."""
    turned = Turned(reply.status, reply.body if isinstance(reply.body, dict) else {})
    return f"{turned.detail} {turned.next}" if reply.status == 503 else turned.detail


PAGES: Final = (Screen("/routing", show, nav="routing", POST=try_out, house=True),)
