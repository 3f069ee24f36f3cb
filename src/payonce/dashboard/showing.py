"""The shell around every page: who is let in, which screen it is, what becomes of what its handler says."""

import re
import traceback
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from msgspec.structs import replace
from starlette.requests import ClientDisconnect
from starlette.types import Send

from payonce.core.errors import PROBLEMS, PayonceError, Refused, StoreUnavailable
from payonce.ports import Clock, Entropy
from payonce.telemetry import get_logger

from .answering import NO_STORE, Sent, give, see_other, tagged
from .asking import Asker, Turned
from .downloading import Downloads
from .incoming import Came, first, own_path
from .pages import screens
from .rendering import Renderer
from .signing_in import Guest, Porter, Ushers, notice_cookie, notice_gone, notice_of, theme_of
from .visit import TABS, Download, Redirect, Screen, View, Visit, allowed

PART: Final = re.compile(r"\{([a-z_]+)\}")
WHO: Final = "payonce.who"  # key of an ASGI scope: whom the line in the log names
RELOAD: Final = (b"hx-refresh", b"true")
NO_PAGE: Final = {
    "code": "not_found",
    "title": "There is no such page",
    "detail": "Nothing is found under this address, or it is not yours to see.",
    "money": "Nothing was done.",
    "next": "Look for the payment by any of its ids in the box above, or start from the overview.",
}
NO_METHOD: Final = {**NO_PAGE, "code": "method_not_allowed", "title": "This page takes no form"}

log = get_logger("dashboard")


class Shell:
    """Answers for every page of the dashboard, each error as a page too."""

    def __init__(self, porter: Porter, ushers: Ushers, renderer: Renderer, clock: Clock, entropy: Entropy) -> None:
        self._porter, self._ushers, self.renderer = porter, ushers, renderer
        self._clock, self._entropy = clock, entropy
        self._downloads = Downloads(porter, clock)
        self._screens = tuple((_pattern(screen.path), screen) for screen in screens())

    async def answer(self, came: Came, send: Send) -> None:
        """Raises ClientDisconnect, and what breaks after an answer has begun."""
        try:
            guest = await self._ushers.guest(came)
        except PayonceError as error:
            await give(self._shut(came, error), send)
            return
        try:
            if guest is None:
                with self._porter.lobby():
                    await give(await self._stranger(came), send)
                return
            caller = replace(guest.caller, inside=False)  # the page itself is counted, what it asks is not
            came.scope[WHO] = caller
            self._porter.pace(caller)
            with self._porter.share(caller):
                await self._page(came, guest, send)
        except PayonceError as error:
            await give(self._problem(came, guest, error) if guest else self._shut(came, error), send)

    # --- without a session ----------------------------------------------------------------------------------------------

    async def _stranger(self, came: Came) -> Sent:
        if came.path == "/sign-in":
            return await self._ushers.sign_in(came, None)
        if came.partial:  # the page that asks is told to load itself again, and comes to the sign-in
            return Sent(401, headers=(NO_STORE, RELOAD))
        if came.method == "POST":
            said = "You are not signed in any more. Nothing was done. Sign in, open the page again and send it from there."
            return self._ushers.page(came, says=said, status=401)
        where = own_path(came.url)
        return see_other(came.base, "/sign-in" if where == "/" else f"/sign-in?next={_quoted(where)}")

    def _shut(self, came: Came, error: PayonceError) -> Sent:
        about = _told(error, came)
        says = f"{about['title']}. {about['detail']} {about['money']} {about['next']}"
        return self._ushers.page(came, says=says, status=about["status"])

    # --- with one -------------------------------------------------------------------------------------------------------

    async def _page(self, came: Came, guest: Guest, send: Send) -> None:
        if came.path == "/sign-in":
            await give(await self._ushers.sign_in(came, guest), send)
            return
        try:
            answer = await self._said(came, guest)
            if isinstance(answer, Download):
                await self._downloads.send(answer, guest.caller, came, send)
                return
        except (PayonceError, ClientDisconnect):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the visitor gets a page and the log gets the place
            _log(error, came)
            answer = self._problem(came, guest, error)
        await give(answer, send)

    async def _said(self, came: Came, guest: Guest) -> Sent | Download:
        query = came.query()
        fields: dict[str, tuple[str, ...]] = {}
        if came.method == "POST":
            came.require_own()
            fields = await came.form()
            self._ushers.require_form(came, guest, fields)
            if came.path == "/sign-out":
                return await self._ushers.sign_out(came, guest)
            if came.path == "/theme":
                return self._ushers.theme(came, first(fields))
        screen, path = self._screen(came.path)
        if not allowed(guest.caller, screen.needs, house=screen.house):
            raise _not_for(guest, screen)
        handler = screen.POST if came.method == "POST" else screen.GET if came.method == "GET" else None
        if handler is None:
            raise Turned(405, NO_METHOD)
        visit = self._visit(came, guest, query, fields, path)
        said = await handler(visit)
        if isinstance(said, Redirect):
            notice = (notice_cookie(came, guest, said.notice, said.tone),) if said.notice else ()
            return see_other(came.base, said.path, *notice)
        return said if isinstance(said, Download) else self._rendered(came, guest, visit, screen, said)

    def _screen(self, path: str) -> tuple[Screen, Mapping[str, str]]:
        for pattern, screen in self._screens:
            if found := pattern.fullmatch(path):
                return screen, found.groupdict()
        raise Turned(404, NO_PAGE)

    def _visit(
        self,
        came: Came,
        guest: Guest,
        query: dict[str, tuple[str, ...]],
        fields: dict[str, tuple[str, ...]],
        path: Mapping[str, str],
    ) -> Visit:
        return Visit(
            caller=guest.caller,
            ask=Asker(came.scope["app"], came.scope, guest.caller),
            query=first(query),
            form=first(fields),
            path=path,
            now_us=self._clock.now_us(),
            url=came.url,
            partial=came.partial,
            region=came.region,
            api_url=came.api_url,
            many=fields or query,
            entropy=self._entropy,
        )

    def _rendered(self, came: Came, guest: Guest, visit: Visit | None, screen: Screen | None, view: View) -> Sent:
        notice = None if came.partial else notice_of(came, guest)
        data = {**self._frame(came, guest, screen.nav if screen else ""), "visit": visit, "notice": notice, **view.data}
        body = self.renderer.page(view.template, came.base, data)
        if notice is not None:
            return Sent(view.status, body, headers=(NO_STORE, notice_gone(came)))
        if view.status == 200 and came.method == "GET":
            return tagged(body, came)
        return Sent(view.status, body)

    def _frame(self, came: Came, guest: Guest, nav: str) -> dict[str, Any]:
        caller = guest.caller
        return {
            "mode": caller.scope.mode,
            "theme": theme_of(came),
            "tabs": [tab for tab in TABS if allowed(caller, tab.needs, house=tab.house)],
            "nav": nav,
            "csrf": guest.csrf,
            "here": own_path(came.url) if came.method == "GET" else "/",
            "partial": came.partial,
            "who": caller.who,
            "role": _role(guest),
            "merchant": caller.scope.merchant_id,
            "q": _q(came),
            "api_url": came.api_url,
            "tallies": {},  # a page may give numbers for entries of the menu, by their names
        }

    def _problem(self, came: Came, guest: Guest, error: Exception) -> Sent:
        """An error as a page: what happened, what state the money is in, what to do."""
        about = _told(error, came)
        sent = self._rendered(came, guest, None, None, View("problem.html", {"problem": about}, about["status"]))
        wait = getattr(error, "retry_after_s", 0) or (1 if about["status"] == 503 else 0)
        return sent.plus((b"retry-after", b"%d" % wait)) if wait else sent


def _q(came: Came) -> str:
    """What the search box holds; nothing where the query cannot be read, which the page then says."""
    try:
        return first(came.query()).get("q", "")
    except Refused:
        return ""


def _log(error: Exception, came: Came) -> None:
    """Where it failed and as what. The text of a foreign error may quote what was sent: it stays out."""
    frames = [f"{f.filename.rpartition('/')[2]}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)[-8:]]
    log.error("a page failed", request_id=came.request_id, page=came.path, error=type(error).__name__, where=frames)


def _told(error: Exception, came: Came) -> dict[str, Any]:
    code = error.code if isinstance(error, Refused) else "internal_error"
    detail = (
        error.detail if isinstance(error, Refused) else "This page could not be made. It is in the log, under the request id."
    )
    if isinstance(error, StoreUnavailable):
        code, detail = "not_ready", "The store does not answer now."
    about = PROBLEMS.get(code, PROBLEMS["internal_error"])
    told: dict[str, Any] = {
        "code": code,
        "status": about.status,
        "title": about.title,
        "detail": detail,
        "money": about.money,
        "next": about.next,
        "fields": (),
        "request_id": came.request_id,
        "back": "/",
        "back_says": "To the overview",
    }
    if isinstance(error, Turned):
        mine = {"status": error.status, "title": error.title, "money": error.money, "next": error.next}
        told |= {**mine, "fields": error.fields}
    if came.method == "GET" and told["status"] == 503:
        told |= {"back": own_path(came.url), "back_says": "Try again"}
    return told


def _not_for(guest: Guest, screen: Screen) -> Turned:
    """Not theirs to see: the house's business is not there for others; what needs another scope says which one."""
    if not allowed(guest.caller, "payments:read", house=screen.house):
        return Turned(404, NO_PAGE)
    said = f"This needs the scope {screen.needs}; {guest.caller.who} has {', '.join(sorted(guest.caller.scopes))}."
    return Turned(
        403,
        {
            "code": "scope_missing",
            "title": "This is not yours to do",
            "detail": said,
            "money": "Nothing was done; no money moved.",
            "next": "Ask somebody who may, or sign in with a key that has the scope.",
        },
    )


def _role(guest: Guest) -> str:
    caller = guest.caller
    if caller.may("admin"):
        word = "admin"
    elif caller.may("payments:write") or caller.may("refunds:write"):
        word = "operator"
    else:
        word = "viewer"
    return word if caller.key is None else f"{word} ({caller.key.name or caller.key.id})"


def _pattern(path: str) -> re.Pattern[str]:
    """``/payments/{id}`` with each part by its name."""
    pieces = PART.split(path)
    return re.compile("".join(f"(?P<{p}>[^/]+)" if i % 2 else re.escape(p) for i, p in enumerate(pieces)))


def _quoted(path: str) -> str:
    return quote(path, safe="/")
