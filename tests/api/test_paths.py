"""The table that leads from a path to its route."""

import asyncio
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from payonce.api.paths import Paths, under_root
from payonce.core.errors import InvariantViolated


class Named:
    """It answers with what the table made of the request."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["found"] = (self.name, dict(scope.get("path_params", {})))


def own(*paths: str) -> tuple[Route, ...]:
    return tuple(Route(path, Named(path)) for path in paths)


PATHS = Paths(
    own("/", "/things", "/things/{id}", "/things/{id}/parts", "/things/{id}/parts/{partId}", "/things/all/of", "/others/{id}"),
    [Route("/beside/{page:path}", Named("beside"))],
    {404: lambda _request, _error: PlainTextResponse("nothing", 404)},
)


def found(path: str, **more: Any) -> Any:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": path,
        "headers": [],
        "query_string": b"",
        "app": PATHS,
        **more,
    }

    async def send(message: Any) -> None:
        scope.setdefault("found", message.get("status"))

    asyncio.run(PATHS(scope, None, send))  # type: ignore[arg-type]
    return scope["found"]


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/", ("/", {})),
        ("/things", ("/things", {})),
        ("/things/7", ("/things/{id}", {"id": "7"})),
        ("/things/a b%", ("/things/{id}", {"id": "a b%"})),
        ("/things/7/parts", ("/things/{id}/parts", {"id": "7"})),
        ("/things/7/parts/8", ("/things/{id}/parts/{partId}", {"id": "7", "partId": "8"})),
        ("/things/all/of", ("/things/all/of", {})),
        ("/others/7", ("/others/{id}", {"id": "7"})),
        ("/beside/x/y", ("beside", {"page": "x/y"})),
    ],
)
def test_a_path_leads_to_its_route(path: str, leads_to: tuple[str, dict[str, str]]) -> None:
    """With the values in it; a path without values goes before one with them."""
    assert found(path) == leads_to


@pytest.mark.parametrize(
    "path",
    [
        "",
        "things",
        "*",
        "x/things/7",
        "/things/",
        "/things//parts",
        "/things/7/",
        "/things/7/parts/",
        "/Things",
        "/things/7/x",
        "/a",
    ],
)
def test_what_is_not_there(path: str) -> None:
    """An empty value, a slash at the end, another case, another word: nothing is there, and nobody is sent elsewhere."""
    assert found(path) == 404


@pytest.mark.parametrize(
    ("path", "root", "under"),
    [("/pay/things", "/pay", "/things"), ("/pay", "/pay", ""), ("/payments", "/pay", "/payments"), ("/things", "", "/things")],
)
def test_below_where_it_is_mounted(path: str, root: str, under: str) -> None:
    """The prefix is cut off at a slash only."""
    assert under_root({"path": path, "root_path": root}) == under


def test_values_of_an_application_around_stay() -> None:
    """Where payonce is mounted below a path with values of its own."""
    _, values = found("/shop-7/things/8", root_path="/shop-7", path_params={"shop": "7"})
    assert values == {"shop": "7", "id": "8"}


@pytest.mark.parametrize("paths", [("/a/{b}", "/a/{c}"), ("/a", "/a"), ("/{a}/b",), ("/a/b/{c}",)])
def test_paths_that_the_table_cannot_tell_apart_do_not_start(paths: tuple[str, ...]) -> None:
    """Two alike, or a value where a word belongs: the application is not made."""
    with pytest.raises(InvariantViolated, match="cannot be told"):
        Paths(own(*paths), (), {})
