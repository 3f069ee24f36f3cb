"""Which route a request is for: one look into a table that is made at start, however many routes there are (a tenth of the time
of Starlette's router, which tries one after the other). What lies beside, and what is not there, is Starlette's business."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Route, Router
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from payonce.core.errors import InvariantViolated


class _Found(Struct, frozen=True):
    """A route of ours, and how the values in its path are called, in their order."""

    route: Route
    names: tuple[str, ...]


class Paths:
    """``own``: routes whose paths have fixed words in the first, third, fifth place and names of values between them
    (``/payments/{id}/refunds``), so that the words alone tell which it is. Raises InvariantViolated for another one, or for two
    that are alike. ``beside``: any others. ``refusals``: what answers Starlette's 404 and 405."""

    def __init__(self, own: Iterable[Route], beside: Iterable[BaseRoute], refusals: Mapping[Any, Any]) -> None:
        beside = tuple(beside)
        self._fixed: Final[dict[str, Route]] = {}
        self._named: Final[dict[tuple[int | str, ...], _Found]] = {}
        for route in own:
            self._add(route)
        self.routes: tuple[BaseRoute, ...] = (*self._fixed.values(), *(f.route for f in self._named.values()), *beside)
        router = Router(beside, redirect_slashes=False)  # a POST that is redirected may arrive twice, or as a GET
        self._beside = ExceptionMiddleware(router, handlers=refusals)

    def _add(self, route: Route) -> None:
        _, *parts = route.path.split("/")
        words, values = tuple(parts[::2]), [part for part in parts[1::2] if part.startswith("{")]
        if "{" not in route.path:
            fresh = self._fixed.setdefault(route.path, route) is route
        else:
            found = _Found(route, tuple(value.strip("{}") for value in values))
            fresh = self._named.setdefault((len(parts), *words), found) is found
        if not fresh or ("{" in route.path and (len(values) != len(parts) // 2 or any("{" in word for word in words))):
            raise InvariantViolated(f"the path {route.path} cannot be told from others by its words")

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._beside(scope, receive, send)
            return
        path = under_root(scope)
        route = self._fixed.get(path)
        if route is None:
            first, *parts = path.split("/")
            found = self._named.get((len(parts), *parts[::2]))
            values = parts[1::2]
            if found is None or first or not all(values):
                await self._beside(scope, receive, send)
                return
            route = found.route
            scope["path_params"] = {**scope.get("path_params", {}), **dict(zip(found.names, values, strict=True))}
        scope["route"] = route
        await route.app(scope, receive, send)


def under_root(scope: AsgiScope) -> str:
    """The path below where the application is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    if not root or not path.startswith(root):
        return path
    rest = path[len(root) :]
    return rest if rest[:1] in ("", "/") else path
