"""Webhooks out: the endpoints of the caller and how they do, what was and will be sent to them, and sending one again."""

from typing import Any, Final

from payonce.dashboard.asking import segment
from payonce.dashboard.typed import error_of, shown_again
from payonce.dashboard.visit import Redirect, Screen, View, Visit

from .webhooks import wrong_reason

STATES: Final = ("pending", "delivered", "failed", "canceled")
LIMIT: Final = 50
POLL_S: Final = 5


async def show(visit: Visit) -> View:
    """Endpoints, and deliveries newest first, by state, endpoint and payment where asked so."""
    state = visit.query.get("state", "")
    state = state if state in STATES else ""
    cursor = visit.query.get("cursor", "")
    only = {name: visit.query.get(name, "") for name in ("endpoint", "payment")}
    asked: dict[str, Any] = {name: value or None for name, value in only.items()}
    endpoints = (await visit.ask.need("/webhook-endpoints"))["data"]
    page = await visit.ask.need("/webhook-deliveries", state=state or None, cursor=cursor or None, limit=LIMIT, **asked)
    data = {
        "endpoints": endpoints,
        "urls": {each["id"]: each["url"] for each in endpoints},
        "rows": page["data"],
        "next": page["nextCursor"],
        "state": state,
        "cursor": cursor,
        "states": STATES,
        "poll_s": POLL_S,
        **only,
    }
    return View("deliveries.html", data)


async def one(visit: Visit) -> View:
    """With the form that sends it again."""
    return await _page(visit, "", "")


async def replay(visit: Visit) -> View | Redirect:
    """Send it again. What is wrong with the reason comes back with what was typed."""
    id, reason = visit.path["id"], visit.form.get("reason", "").strip()
    if not reason:
        return await _page(visit, reason, "must say why: it is put on record")
    reply = await visit.ask.post(f"/webhook-deliveries/{segment(id)}/replay", {"reason": reason})
    if error := wrong_reason(reply):
        return await _page(visit, reason, error)
    return Redirect(f"/deliveries/{segment(id)}", "It is sent again now, and then as often as a new one.")


async def _page(visit: Visit, reason: str, error: str) -> View:
    d = await visit.ask.need(f"/webhook-deliveries/{segment(visit.path['id'])}")
    endpoint = await visit.ask.get(f"/webhook-endpoints/{segment(d['endpointId'])}")
    data = {"d": d, "endpoint": endpoint.body if endpoint.ok else None, "reason": shown_again(reason)}
    data |= {"error": error_of(reason, error)}
    return View("delivery.html", data, status=422 if error else 200)


PAGES: Final = (
    Screen("/deliveries", show, nav="deliveries", needs="admin"),
    Screen("/deliveries/{id}", one, nav="deliveries", POST=replay, needs="admin"),
)
