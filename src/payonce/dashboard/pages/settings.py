"""Keys and settings: the keys of the caller's merchant, and for who runs payonce the configuration that holds, each value with
where it comes from. No secret is in any of it."""

from typing import Any, Final

from payonce.dashboard.visit import Screen, View, Visit

LIMIT: Final = 50


async def show(visit: Visit) -> View:
    """Keys newest first, the configuration beside them."""
    cursor = visit.query.get("cursor", "")
    keys = await visit.ask.need("/keys", cursor=cursor or None, limit=LIMIT)
    configuration = await visit.ask.need("/configuration") if visit.house and not cursor else None
    data = {
        "keys": keys["data"],
        "next": keys["nextCursor"],
        "cursor": cursor,
        "c": configuration,
        "sections": _sections(configuration["settings"]) if configuration else [],
        "changed": sum(each["origin"] != "default" for each in configuration["settings"]) if configuration else 0,
    }
    return View("settings.html", data)


def _sections(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Settings by the section of payonce.toml that they stand in."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["key"].partition(".")[0], []).append(row)
    return list(found.items())


PAGES: Final = (Screen("/settings", show, nav="settings", needs="admin"),)
