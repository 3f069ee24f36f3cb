"""What is said of each request: one line in the log, its figures, its span. Never a body, a query, or a path as it came."""

import logging
import re
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final

import structlog
from starlette.types import Message, Send
from starlette.types import Scope as AsgiScope

from payonce.merchants.keys import Caller
from payonce.telemetry import canonical, logs
from payonce.telemetry import conventions as c
from payonce.telemetry import names as n
from payonce.telemetry.tracing import NOTHING, Span, trace_of
from payonce.telemetry.watching import Safely, Watcher

from .door import INSIDE
from .incoming import headers_of
from .problems import Headers
from .rights import HEALTH

WHO: Final = "payonce.who"  # key of an ASGI scope: the caller whom the door let in
SCRAPED: Final = "/metrics"
PAGES: Final = "/dashboard"
QUIET: Final = frozenset({*HEALTH, SCRAPED, "/docs/style.css"})  # asked again and again, by machines: their lines are at debug
STATIC: Final = "/static/"
_PAYMENT: Final = re.compile(r"pay_[0-9a-z]{1,40}")


class Access:
    """Around every answer of one application."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def around(self, scope: AsgiScope, out: "Outgoing") -> "_Watched":
        """While a request is handled. What a page asks in this process for is no request of its own: it has a line at debug and
        nothing else."""
        return _Watched(self._watcher, scope, out)


class Outgoing:
    """``send`` of one answer: it gets its Request-Id and the security headers, and what was said is remembered."""

    __slots__ = ("_bodiless", "_given", "_headers", "_send", "request_id", "size", "status")

    def __init__(self, scope: AsgiScope, send: Send, request_id: str, headers: Headers) -> None:
        """``headers`` are given to what has none of that name."""
        self._send, self._headers, self.request_id = send, headers, request_id
        self._bodiless = scope["method"] == "HEAD"
        self.status, self.size = 0, 0
        self._given: list[tuple[bytes, bytes]] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._given = message["headers"] = list(message.get("headers", ()))
            present = {name.lower() for name, _ in self._given}
            self._given += [item for item in self._headers if item[0] not in present]
            self._given.append((b"request-id", self.request_id.encode()))
        elif message["type"] == "http.response.body":
            if self._bodiless:
                message = {**message, "body": b""}
            self.size += len(message.get("body", b""))
        await self._send(message)

    def accepted(self) -> str:
        """The payment that the answer says was accepted, or had something accepted for it: its address names it. Else ""."""
        where = dict(self._given).get(b"location", b"") if self.status in (201, 202) else b""
        found = _PAYMENT.search(where.decode("latin-1"))
        return found.group() if found else ""


class _Watched:
    """One request, from its head to the end of its answer. Whatever goes wrong in here, the request is answered."""

    __slots__ = ("_began_us", "_inside", "_opened", "_out", "_scope", "_span", "_tokens", "_watcher")

    def __init__(self, watcher: Watcher, scope: AsgiScope, out: Outgoing) -> None:
        self._watcher, self._scope, self._out = watcher, scope, out
        self._inside, self._began_us = scope.get(INSIDE) is not None, 0
        self._span: Safely | None = None
        self._opened = NOTHING

    def __enter__(self) -> None:
        watcher, bound = self._watcher, {"request_id": self._out.request_id}
        with watcher.unharmed():
            self._began_us = watcher.clock.monotonic_us()
            if watcher.tracing.on and not self._inside:
                self._span = Safely(watcher, self._traced())
        if self._span is not None:
            self._opened = self._span.__enter__()
        with watcher.unharmed():
            trace_id = watcher.tracing.trace_id()
            if not trace_id and b"traceparent" in headers_of(self._scope):
                trace_id = trace_of(self._scope["headers"])
            if trace_id:
                bound["trace_id"] = trace_id
        self._tokens = structlog.contextvars.bind_contextvars(**bound)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        with self._watcher.unharmed():
            self._ended()
        structlog.contextvars.reset_contextvars(**self._tokens)
        if self._span is not None:
            self._span.__exit__(kind, error, where)

    def _traced(self) -> AbstractContextManager[Span]:
        scope, method = self._scope, _method(self._scope)
        facts: dict[str, str | int] = {
            c.METHOD: method,
            c.SCHEME: str(scope.get("scheme", "http")),
            c.REQUEST: self._out.request_id,
        }
        server = scope.get("server")
        if server:
            facts |= {c.SERVER: str(server[0]), **({c.PORT: server[1]} if server[1] else {})}
        return self._watcher.tracing.span("server", method, facts, headers=scope["headers"])

    def _ended(self) -> None:
        scope, out, meter, span = self._scope, self._out, self._watcher.meter, self._opened
        took_us = self._watcher.clock.monotonic_us() - self._began_us
        route, method, status = _route(scope), _method(scope), str(out.status or "none")
        if not self._inside:
            meter.add(n.REQUESTS, route, method, status)
            meter.observe(n.REQUEST_S, took_us / 1_000_000, route, method)
            if self._span is not None:
                if route != n.UNMATCHED:
                    span.rename(f"{method} {route}")
                    span.set(c.ROUTE, route)
                if out.status:
                    span.set(c.STATUS, out.status)
                if out.status >= 500 or not out.status:
                    span.fail(status)
        level = logging.DEBUG if self._inside or _quiet(scope, route) else logging.INFO
        if logs("request", level):
            self._line(level, took_us, route, method)

    def _line(self, level: int, took_us: int, route: str, method: str) -> None:
        out, caller = self._out, self._scope.get(WHO)
        facts: dict[str, Any] = {
            "method": method,
            "route": route,
            "status": out.status,
            "ms": round(took_us / 1000, 1),
            "bytes": out.size,
        }
        if isinstance(caller, Caller):
            facts["merchant_id"] = caller.scope.merchant_id
            if caller.key:
                facts["key_id"] = caller.key.id
        payment = out.accepted() or str(self._scope.get("path_params", {}).get("id", ""))
        if _PAYMENT.fullmatch(payment):
            facts["payment_id"] = payment
        canonical("request", level, facts)


def _method(scope: AsgiScope) -> str:
    """One of the few, or ``other``: a stranger can send any word."""
    method = str(scope["method"])
    return method if method in n.METHODS else n.OTHER


def _route(scope: AsgiScope) -> str:
    """The template of the path that matched, with where it is mounted in front: never the path itself."""
    template = getattr(scope.get("route"), "path", "")
    if not template:
        return n.UNMATCHED
    under = str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
    page = (under == PAGES or under.startswith(f"{PAGES}/")) and not template.startswith(PAGES)
    return f"{PAGES}{template}" if page else str(template)


def _quiet(scope: AsgiScope, route: str) -> bool:
    return route in QUIET or (route.startswith(PAGES) and STATIC in str(scope["path"]))
