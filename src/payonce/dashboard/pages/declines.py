"""Declines: why attempts were refused, by code, provider and currency, what to do about it, and which payments these are."""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from msgspec.structs import replace

from payonce.dashboard import comparing
from payonce.dashboard.charts import bars
from payonce.dashboard.comparing import Change, Window
from payonce.dashboard.decline_advice import advice, shares
from payonce.dashboard.visit import Screen, View, Visit

MANY: Final = 10  # declines; fewer say nothing


async def show(visit: Visit) -> View:
    """Everything of the window is asked for, so that the choices stay whole; what is chosen is asked for again by the API's own
    filter."""
    window = comparing.picked(visit.query)
    chosen = {name: visit.query.get(name, "") for name in ("provider", "currency")}
    every = await visit.ask.need("/stats/declines", window=window.name)
    narrowed = {name: value for name, value in chosen.items() if value}
    found = await visit.ask.need("/stats/declines", window=window.name, **narrowed) if narrowed else every
    rest = "&" + urlencode(narrowed) if narrowed else ""
    data = {
        "window": window,
        "windows": comparing.windows("/declines", rest),
        "chosen": chosen,
        "providers": _options(every["data"], "account", chosen["provider"], "All providers"),
        "currencies": _options(every["data"], "currency", chosen["currency"], "All currencies"),
        "complete": found["complete"],
        "total": sum(each["count"] for each in found["data"]),
        "change": _moved(found["data"], window),
        "charts": [
            bars("chart-reasons", f"By reason, {window.last}", shares(found["data"])),
            bars("chart-providers", f"By provider, {window.last}", shares(found["data"], "account")),
        ],
        "groups": _groups(found["data"], window),
    }
    return View("declines.html", data)


def hardness(hard: bool | None) -> str:
    """What ``hard`` of a decline means."""
    if hard is None:
        return "Depends on the provider"
    return "Final: not tried again" if hard else "Soft: may work later or elsewhere"


def _groups(found: Iterable[Mapping[str, Any]], window: Window) -> list[dict[str, Any]]:
    """By code, in the order in which codes come first: what it means is said once, then where it happened."""
    groups: dict[str, dict[str, Any]] = {}
    for each in found:
        empty = {"code": each["code"], "message": each["message"], "advice": advice(each["code"]), "count": 0, "rows": []}
        group = groups.setdefault(each["code"], empty)
        group["count"] += each["count"]
        group["rows"].append(_row(each, window))
    return sorted(groups.values(), key=lambda group: -int(group["count"]))


def _row(each: Mapping[str, Any], window: Window) -> dict[str, Any]:
    payments = {"provider": each["account"], "declineCode": each["code"], "currency": each["currency"]}
    change = _change(each["count"], each["previous"], window)
    return {"d": each, "hard": hardness(each["hard"]), "change": change, "payments": payments}


def _moved(found: Iterable[Mapping[str, Any]], window: Window) -> Change:
    now, was = sum(each["count"] for each in found), sum(each["previous"] for each in found)
    return _change(now, was, window)


def _change(now: int, was: int, window: Window) -> Change:
    """More declines come with more payments: bad news are only many of them, and twice as many as before."""
    change = comparing.number(now, was, window.before)
    return replace(change, better=False) if now >= MANY and now >= 2 * was else change


def _options(found: Iterable[Mapping[str, Any]], name: str, chosen: str, every: str) -> list[tuple[str, str]]:
    known = sorted({each[name] for each in found} | ({chosen} if chosen else set()))
    return [("", every), *((value, value) for value in known)]


PAGES: Final = (Screen("/declines", show, nav="declines"),)
