"""The payments: a search for any id, a list with filters, newest first."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from payonce.core.errors import DECLINES, REASONS
from payonce.dashboard.asking import Reply, needed, segment
from payonce.dashboard.filtering import LABELS, STATUSES, chips, filters_of, local
from payonce.dashboard.visit import Redirect, Screen, View, Visit

ROWS: Final = 25
# what a search may match -> in words
MATCHED: Final[Mapping[str, str]] = {
    "payment_id": "its id",
    "reference": "its reference at the provider",
    "provider_ref": "the provider's id",
    "idempotency_key": "its idempotency key",
    "operation_id": "the id of one of its operations",
    "event_id": "the id of one of its events",
    "metadata": "a value of its metadata",
}
# what people look at most: name, words, filters
VIEWS: Final[tuple[tuple[str, str, Mapping[str, str]], ...]] = (
    ("all", "All", {}),
    ("attention", "Needs attention", {"attention": "true"}),
    ("pending", "Pending", {"status": "PENDING"}),
    ("held", "Held", {"status": "AUTHORIZED"}),
    ("failed", "Failed", {"status": "FAILED"}),
)


async def show(visit: Visit) -> View | Redirect:
    """With ``q`` the search, else the list."""
    text = visit.query.get("q", "").strip()
    return await _searched(visit, text) if text else await _listed(visit)


async def _searched(visit: Visit, text: str) -> View | Redirect:
    """A single hit is what was meant: straight to it."""
    reply = await visit.ask.get("/search", q=text)
    if reply.status == 422:
        return View("found.html", {"q": text, "hits": [], "wrong": _wrong(reply)["q"], "matched": MATCHED}, 422)
    hits = needed(reply)["data"]
    if len({hit["payment"]["transactionId"] for hit in hits}) == 1:
        return Redirect(f"/payments/{segment(hits[0]['payment']['transactionId'])}")
    rows = [{**row(hit["payment"]), "matched": MATCHED.get(hit["matched"], hit["matched"])} for hit in hits]
    return View("found.html", {"q": text, "hits": rows, "wrong": "", "matched": MATCHED})


async def _listed(visit: Visit) -> View:
    filters, cursor = filters_of(visit.query), visit.query.get("cursor")
    reply = await visit.ask.get("/payments", limit=ROWS, cursor=cursor, **filters)
    wrong = _wrong(reply) if reply.status == 422 else {}
    body = {"data": [], "nextCursor": None} if wrong else needed(reply)
    shown = {
        "filters": filters,
        "rows": [row(p) for p in body["data"]],
        "next": body["nextCursor"],
        "cursor": cursor,
        "chips": chips(filters),
        "views": [(name, said, "/payments" + (f"?{urlencode(its)}" if its else "")) for name, said, its in VIEWS],
        "view": next((name for name, _, its in VIEWS if its == filters), ""),
        "wrong": wrong,
        "stray": [f"{name} {rule}" for name, rule in wrong.items() if name not in LABELS],
        "stati": [(word, word.capitalize().replace("_", " ")) for word in STATUSES],
        "times": {name: local(filters.get(name, "")) for name in ("createdFrom", "createdBefore")},
        "codes": [(code, code.replace("_", " ")) for code in sorted(DECLINES)],
        "api_url": visit.api_url,
    }
    return View("payments.html", shown, 422 if wrong else 200)


def _wrong(reply: Reply) -> dict[str, str]:
    """The fields that the API did not take, each with the rule. Raises Turned where it names none."""
    fields = {each["field"]: each["rule"] for each in (reply.body or {}).get("errors", ())}
    return fields or dict.fromkeys(("q",), needed(reply))


def row(p: Mapping[str, Any]) -> dict[str, Any]:
    """What a list shows of a payment: ``says`` why it has its status, ``eyes`` what needs attention, in words."""
    return {"p": p, "says": meaning(p["reason"]), "eyes": meaning(p["attention"])}


def meaning(code: str | None) -> str:
    """The first sentence of what a reason or decline code means; the code itself where it is not known."""
    if not code:
        return ""
    said = REASONS.get(code) or DECLINES.get(code)
    return said.split(". ")[0].rstrip(".") if said else code.replace("_", " ")


PAGES: Final = (Screen("/payments", show, nav="payments"),)
