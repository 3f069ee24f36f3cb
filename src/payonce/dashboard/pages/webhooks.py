"""Webhooks in: what providers sent, which payment each is about, one with what of it may be shown, and another look for its
payment. A webhook moves no money: what it hints at is read at the provider."""

from typing import Any, Final

from payonce.dashboard.asking import Reply, needed, segment
from payonce.dashboard.typed import error_of, shown_again
from payonce.dashboard.visit import Redirect, Screen, View, Visit

STATES: Final = ("new", "matched", "parked", "unmatched")
LIMIT: Final = 50
POLL_S: Final = 5


async def show(visit: Visit) -> View:
    """Newest first, by state and account where asked so."""
    state = visit.query.get("state", "")
    state = state if state in STATES else ""
    account, cursor = visit.query.get("account", ""), visit.query.get("cursor", "")
    page = await visit.ask.need("/inbox", state=state or None, account=account or None, cursor=cursor or None, limit=LIMIT)
    data = {
        "rows": page["data"],
        "next": page["nextCursor"],
        "state": state,
        "account": account,
        "cursor": cursor,
        "states": STATES,
        "poll_s": POLL_S,
    }
    return View("webhooks.html", data)


async def one(visit: Visit) -> View:
    """With its headers and, masked, what its adapter shows of the body."""
    return View("webhook.html", {"w": await _webhook(visit)})


async def ask_replay(visit: Visit) -> View:
    """What another look does, before it is done."""
    return View("webhook_replay.html", {"w": await _webhook(visit), "reason": "", "error": ""})


async def replay(visit: Visit) -> View | Redirect:
    """Ask for it; what is wrong with the reason comes back with what was typed."""
    w = await _webhook(visit)
    reason, path = visit.form.get("reason", "").strip(), f"/webhooks/{segment(w['id'])}"
    reply = await visit.ask.post(f"/inbox/{segment(w['id'])}/replay", {"reason": reason})
    if error := wrong_reason(reply):
        typed = {"reason": shown_again(reason), "error": error_of(reason, error)}
        return View("webhook_replay.html", {"w": w, **typed}, status=422)
    return Redirect(path, "It is looked up again now: a worker does it within a second. This page shows the end.")


def wrong_reason(reply: Reply) -> str:
    """What the API finds wrong with the reason; empty when it was done. Any other refusal is raised as Turned."""
    if reply.status == 422 and isinstance(reply.body, dict) and reply.body.get("code") != "endpoint_refused":
        rules = [str(each["rule"]) for each in reply.body.get("errors", ())]
        return "; ".join(rules) or str(reply.body.get("detail", ""))
    needed(reply)
    return ""


async def _webhook(visit: Visit) -> Any:
    return await visit.ask.need(f"/inbox/{segment(visit.path['id'])}")


PAGES: Final = (
    Screen("/webhooks", show, nav="webhooks", house=True),
    Screen("/webhooks/{id}", one, nav="webhooks", house=True),
    Screen("/webhooks/{id}/replay", ask_replay, nav="webhooks", POST=replay, needs="admin", house=True),
)
