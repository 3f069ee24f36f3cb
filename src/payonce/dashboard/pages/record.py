"""Record: who did what to keys, endpoints, webhooks, switches and sessions, when and why. What is done to a payment stands in
its own history."""

from collections.abc import Mapping
from typing import Any, Final

from payonce.dashboard.asking import segment
from payonce.dashboard.rendering import utc
from payonce.dashboard.visit import Screen, View, Visit
from payonce.shown.views import stamp

LIMIT: Final = 50
# what the journal calls an act -> in plain words; others are shown as they are
WORDS: Final[Mapping[str, str]] = {
    "account.drained": "Drained an account",
    "account.resumed": "Resumed an account",
    "delivery.replayed": "Sent a webhook again",
    "endpoint.changed": "Changed an endpoint",
    "endpoint.created": "Registered an endpoint",
    "endpoint.disabled": "Disabled an endpoint",
    "endpoint.enabled": "Enabled an endpoint",
    "endpoint.recovered": "Had missed events sent again",
    "endpoint.removed": "Removed an endpoint",
    "endpoint.secret_rotated": "Replaced the secret of an endpoint",
    "endpoint.tested": "Tested an endpoint",
    "hold.begun": "Began a hold",
    "hold.lifted": "Lifted a hold",
    "key.created": "Made a key",
    "key.revoked": "Revoked a key",
    "key.rotated": "Replaced a key",
    "merchant.created": "Made a merchant",
    "session.all_ended": "Signed everybody of a merchant out",
    "session.begun": "Signed in",
    "session.ended": "Signed out",
    "session.ticket": "Had a sign-in address printed",
    "webhook.replayed": "Had a webhook looked up again",
}
# how the id of a subject begins -> the page that shows it
PAGES_OF: Final[Mapping[str, str]] = {"wh_": "/webhooks/", "dlv_": "/deliveries/", "pay_": "/payments/"}


async def show(visit: Visit) -> View:
    """Newest first."""
    cursor = visit.query.get("cursor", "")
    page = await visit.ask.need("/journal", cursor=cursor or None, limit=LIMIT)
    data = {"rows": [_row(each) for each in page["data"]], "next": page["nextCursor"], "cursor": cursor}
    return View("record.html", data)


def _row(entry: Mapping[str, Any]) -> dict[str, Any]:
    """With its words, the page of its subject, and what was set beside the reason."""
    subject, data = entry["subject"], dict(entry["data"])
    reason = data.pop("reason", "")
    path = next((page + segment(subject) for start, page in PAGES_OF.items() if subject.startswith(start)), "")
    if entry["what"].startswith("account."):
        path = f"/providers/{segment(subject)}"
    said = "; ".join(_said(name, value) for name, value in data.items() if _tells(value))
    what = WORDS.get(entry["what"], entry["what"].replace(".", ": ").replace("_", " "))
    return {"e": entry, "what": what, "path": path, "reason": reason, "set": said}


def _tells(value: Any) -> bool:
    """Nothing given, or no limit, is not worth a word."""
    return value is False or value not in ("", 0)


def _said(name: str, value: Any) -> str:
    """``expires: 26 Nov 2026 11:05:25 UTC``. Names end with the unit of what they name; times are in microseconds."""
    if name.endswith("_us") and isinstance(value, int):
        return f"{name.removesuffix('_us')}: {utc(stamp(value)) if value else 'never'}"
    return f"{name.replace('_', ' ')}: {str(value).lower() if isinstance(value, bool) else value}"


PAGES: Final = (Screen("/record", show, nav="record", needs="admin", house=True),)
