"""Screens of the tests' own, beside the real ones: they ask the API, do something, and fail in every way."""

from typing import Any, Final

from payonce.core.errors import StoreUnavailable
from payonce.dashboard.visit import Download, Redirect, Screen, View, Visit

DONE: Final[list[str]] = []  # what forms did
NUMBER: Final = "4242424242424242"


def _view(detail: str) -> View:
    problem: dict[str, Any] = {"title": "A screen of the tests", "detail": detail, "fields": (), "money": "-", "next": "-"}
    problem |= {"request_id": "-", "status": 200, "code": "-", "back": "/", "back_says": "-"}
    return View("problem.html", {"problem": problem})


async def look(visit: Visit) -> View:
    """What the API says to this caller, and under which request id it was asked."""
    reply = await visit.ask.get("/payments", limit=1, status=None)
    return _view(f"{reply.status} {len(reply.body['data'])} {visit.region}<b>")


async def inner(visit: Visit) -> View:
    """The request id that the API saw is the page's own."""
    reply = await visit.ask.get("/payments/pay_none")
    return _view(f"{reply.status} {reply.body['requestId']}")


async def do(visit: Visit) -> Redirect:
    DONE.append(visit.form.get("what", ""))
    return Redirect("/tests/look", notice="It was <done>.")


async def need(visit: Visit) -> View:
    return _view(str(await visit.ask.need(f"/payments/{visit.path['id']}")))


async def away(_visit: Visit) -> View:
    raise StoreUnavailable("the disk is gone")


async def bug(_visit: Visit) -> View:
    raise ZeroDivisionError(NUMBER)


async def file(_visit: Visit) -> Download:
    async def parts() -> Any:
        for part in (b"a,b\n", b"1,2\n"):
            yield part

    return Download("text/csv", "rows.csv", parts())


SCREENS: Final = (
    Screen("/tests/look", look),
    Screen("/tests/inner", inner),
    Screen("/tests/do", look, POST=do, needs="payments:write"),
    Screen("/tests/need/{id}", need),
    Screen("/tests/away", away),
    Screen("/tests/bug", bug),
    Screen("/tests/file", file),
    Screen("/tests/house", look, house=True),
)
