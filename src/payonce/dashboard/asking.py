"""How a page asks: a request of the public API in this process, through the whole application and as the caller who looks.
What the API refuses them, no page can show. No socket, no key, no second way to the data."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

import msgspec
from msgspec import Struct
from starlette.types import ASGIApp, Message
from starlette.types import Scope as AsgiScope

from payonce.core.errors import PROBLEMS, Refused
from payonce.merchants.keys import Caller

CALLER: Final = "payonce.caller"  # the scope key that the door takes; no client can set one
Value = str | int | bool | None


class Reply(Struct, frozen=True):
    """What the API answered. ``body`` is decoded JSON, None where there was none, text where it is no JSON."""

    status: int
    body: Any
    headers: Mapping[str, str]  # names in lower case

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class Turned(Refused):
    """A problem as the API told it: ``status``, ``title``, and what state the money is in, for this very request. A page's own
    problems are of this kind too."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(str(body.get("code", "internal_error")), str(body.get("detail", "")))
        about = PROBLEMS.get(self.code, PROBLEMS["internal_error"])
        self.status, self.title = status, str(body.get("title", about.title))
        self.money, self.next = str(body.get("money", about.money)), str(body.get("next", about.next))
        self.fields: tuple[Mapping[str, str], ...] = tuple(body.get("errors", ()))


class Asker:
    """Asks as one caller, for one page. ``api`` is the whole application; ``scope`` is the page's own request: its address, its
    Request-Id and where payonce is mounted go along."""

    def __init__(self, api: ASGIApp, scope: AsgiScope, caller: Caller) -> None:
        self._api, self._scope, self._caller = api, scope, caller

    async def get(self, path: str, **query: Value) -> Reply:
        """``path`` is percent-encoded where it must be (``segment``). A query value None is left out."""
        return await self._ask("GET", path, query)

    async def need(self, path: str, **query: Value) -> Any:
        """The body. Raises Turned for anything but success: the shell makes a page of it."""
        return needed(await self.get(path, **query))

    async def post(self, path: str, body: Mapping[str, Any] | None = None, key: str = "") -> Reply:
        """``key``: the idempotency key; a fresh one for each wish, the same one for each attempt at it."""
        return await self._ask("POST", path, {}, body or {}, key)

    async def patch(self, path: str, body: Mapping[str, Any]) -> Reply:
        return await self._ask("PATCH", path, {}, body)

    async def delete(self, path: str) -> Reply:
        return await self._ask("DELETE", path, {})

    async def _ask(
        self, method: str, path: str, query: Mapping[str, Value], body: Mapping[str, Any] | None = None, key: str = ""
    ) -> Reply:
        raw = b"" if body is None else msgspec.json.encode(body)
        heard = _Heard(raw)
        await self._api(self._inner(method, path, query, raw if body is not None else None, key), heard.receive, heard.send)
        return heard.reply()

    def _inner(self, method: str, path: str, query: Mapping[str, Value], raw: bytes | None, key: str) -> AsgiScope:
        outer = self._scope
        root = str(outer.get("root_path", ""))
        headers = [(b"accept", b"application/json"), (b"request-id", str(outer["payonce.request_id"]).encode())]
        headers += [(name, value) for name, value in outer["headers"] if name == b"host"]
        if raw is not None:
            headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(raw))]
        if key:
            headers.append((b"idempotency-key", key.encode("ascii", "replace")))
        given = {name: _text(value) for name, value in query.items() if value is not None}
        return {
            "type": "http",
            "asgi": outer.get("asgi", {"version": "3.0"}),
            "http_version": "1.1",
            "method": method,
            "scheme": outer.get("scheme", "http"),
            "path": root + unquote(path),
            "raw_path": (root + path).encode("ascii", "replace"),
            "query_string": urlencode(given).encode(),
            "root_path": root,
            "headers": headers,
            "client": outer.get("client"),
            "server": outer.get("server"),
            "state": outer.get("state", {}),
            CALLER: self._caller,
        }


class _Heard:
    """The other side of an inner request: the whole body at once, and the answer collected."""

    def __init__(self, raw: bytes) -> None:
        self._raw: bytes | None = raw
        self._status = 0
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._ended = asyncio.Event()

    async def receive(self) -> Message:
        if self._raw is not None:
            raw, self._raw = self._raw, None
            return {"type": "http.request", "body": raw, "more_body": False}
        await self._ended.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in message.get("headers", ())}
        elif message["type"] == "http.response.body":
            self._parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                self._ended.set()

    def reply(self) -> Reply:
        raw, media = b"".join(self._parts), self._headers.get("content-type", "")
        if not raw:
            return Reply(self._status, None, self._headers)
        if "json" in media:
            return Reply(self._status, msgspec.json.decode(raw), self._headers)
        return Reply(self._status, raw.decode("utf-8", "replace"), self._headers)


def needed(reply: Reply) -> Any:
    """The body of a success. Raises Turned."""
    if reply.ok:
        return reply.body
    raise Turned(reply.status, reply.body if isinstance(reply.body, dict) else {})


def segment(text: str) -> str:
    """One part of a path, whatever stands in it."""
    return quote(text, safe="")


def _text(value: Value) -> str:
    return "true" if value is True else "false" if value is False else str(value)
