"""Pages from canned answers of the API: a handler, what it is told, and the HTML of it, without a server."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

from payonce.dashboard.asking import Reply, needed
from payonce.dashboard.rendering import Renderer, static_files
from payonce.dashboard.visit import Handler, View, Visit
from payonce.merchants.keys import Caller
from payonce.ports import Scope

NOW_US: Final = 1_795_689_000_000_000
RENDERER: Final = Renderer(static_files())


class Canned:
    """Answers by path, whatever the query; keeps what was asked."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def get(self, path: str, **query: Any) -> Reply:
        self.asked.append((path, query))
        return Reply(200, self._answers[path], {})

    async def need(self, path: str, **query: Any) -> Any:
        return needed(await self.get(path, **query))


class NoChance:
    """Entropy that no reading page needs."""

    def bits(self, n: int) -> int:
        raise AssertionError("a page to read asked for chance")


def page(
    handler: Handler, answers: Mapping[str, Any], *, path: dict[str, str] | None = None, scope: str = "admin", **query: str
) -> str:
    """The content of the page that the handler makes of these answers."""
    visit = Visit(
        caller=Caller(scope=Scope("mer_default", "test"), scopes=frozenset({scope})),
        ask=Canned(answers),  # type: ignore[arg-type]
        query=query,
        form={},
        path=path or {},
        now_us=NOW_US,
        url="/",
        partial=True,
        region="",
        api_url="http://127.0.0.1:8080",
        many={},
        entropy=NoChance(),  # type: ignore[arg-type]
    )
    view = asyncio.run(handler(visit))  # type: ignore[arg-type]
    assert isinstance(view, View)
    frame = {"partial": True, "csrf": "x" * 64, "visit": visit, "notice": None, "mode": "test", "theme": "auto", "tabs": ()}
    return RENDERER.page(view.template, "/dashboard", {**frame, **view.data}).decode()


def words(html: str) -> str:
    """The text of a page, spaces made one."""
    bare = re.sub(r"<[^>]+>", " ", html)
    return re.sub(r"[\s\u202f\u00a0]+", " ", bare)


def table(html: str, caption: str) -> list[list[str]]:
    """The body of the table with this caption: the text of each cell."""
    found = re.search(rf"<caption[^>]*>{re.escape(caption)}</caption>(.*?)</table>", html, re.DOTALL)
    assert found, f"no table {caption!r}"
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", found[1].partition("</thead>")[2], re.DOTALL)
    return [[words(cell).strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


def stats(**changes: Any) -> dict[str, Any]:
    """An answer of GET /stats in which nothing ever happened, with changes."""
    sums: dict[str, Any] = dict.fromkeys(
        ("accepted", "settled", "succeeded", "authorized", "failed", "canceled", "inDoubt", "calls", "errors"), 0
    )
    sums |= {"approvalRate": None, "settleP50Ms": None, "settleP95Ms": None, "errorRate": None}
    ats = [f"2026-11-26T10:{minute:02d}:00.000000Z" for minute in range(15, 30)]
    none = dict.fromkeys(("accepted", "succeeded", "failed", "canceled", "inDoubt", "calls", "errors"), 0)
    found: dict[str, Any] = {
        "window": "15m",
        "from": ats[0],
        "before": "2026-11-26T10:30:00.000000Z",
        "previousFrom": "2026-11-26T10:00:00.000000Z",
        "stepS": 60,
        "asOf": "2026-11-26T10:29:30.000000Z",
        "complete": True,
        "since": None,
        "now": sums | changes.pop("now", {}),
        "previous": sums | changes.pop("previous", {}),
        "standing": {"PENDING": 0, "REQUIRES_ACTION": 0, "AUTHORIZED": 0, "IN_DOUBT": 0, "attention": 0, "max": 10_000}
        | changes.pop("standing", {}),
        "series": [{"at": at, **none} for at in ats],
        "providers": [],
        "amounts": [],
    }
    return found | changes


def sums_of(account: str, **changes: Any) -> dict[str, Any]:
    """An account's figures in which nothing happened, with changes."""
    previous = {"successRate": None, "errors": 0, "calls": 0, "callP95Ms": None} | changes.pop("previous", {})
    found: dict[str, Any] = {"account": account, "approved": 0, "declined": 0, "attempts": 0, "successRate": None}
    found |= {"share": None, "calls": 0, "errors": 0, "callP50Ms": None, "callP95Ms": None, "previous": previous}
    return found | changes


def provider(account: str, **changes: Any) -> dict[str, Any]:
    """An account that takes payments and had none, with changes."""
    points = [{"at": p["at"], "calls": 0, "errors": 0, "approved": 0, "declined": 0} for p in stats()["series"]]
    found: dict[str, Any] = {"account": account, "adapter": "mock", "mode": "test", "sandbox": True, "merchants": "*"}
    found |= {"callsMax": None, "inFlight": 0, "drain": None, "breaker": None, "mayDrain": True}
    return found | {"sums": sums_of(account, **changes.pop("sums", {})), "series": points} | changes


def attention(**changes: Any) -> dict[str, Any]:
    """Nothing needs anybody, with changes."""
    none: dict[str, Any] = {"count": 0, "more": False, "data": []}
    found: dict[str, Any] = dict.fromkeys(("inDoubt", "overdue", "webhooks", "deliveries"), none)
    found |= {"deadLetters": {"known": False, "count": 0, "data": []}, "held": False, "trouble": None}
    return found | changes


def declines(*data: dict[str, Any]) -> dict[str, Any]:
    """An answer of GET /stats/declines."""
    return {"window": "15m", "from": "-", "before": "-", "complete": True, "data": list(data)}


def decline(code: str, account: str, count: int, previous: int = 0, **changes: Any) -> dict[str, Any]:
    """One row of it."""
    found = {"code": code, "message": f"What {code} means.", "hard": False, "account": account, "currency": "INR"}
    return found | {"count": count, "previous": previous} | changes
