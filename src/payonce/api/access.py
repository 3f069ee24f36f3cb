"""What is said of each request: one line in the log, its figures, its span. Never a body, a query, or a path as it came."""

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog
from starlette.types import Message, Send
from starlette.types import Scope as AsgiScope

from payonce.merchants.keys import Caller
from payonce.telemetry import conventions as c
from payonce.telemetry import get_logger, logs
from payonce.telemetry import names as n
from payonce.telemetry.tracing import NOTHING, Span, trace_of
from payonce.telemetry.watching import Safely, Watcher

from .door import INSIDE
from .rights import HEALTH

WHO: Final = "payonce.who"  # key of an ASGI scope: the caller whom the door let in
SCRAPED: Final = "/metrics"
PAGES: Final = "/dashboard"
QUIET: Final = frozenset({*HEALTH, SCRAPED, "/docs/style.css"})  # asked again and again, by machines: their lines are at debug
STATIC: Final = "/static/"
_PAYMENT: Final = re.compile(r"pay_[0-9a-z]{1,40}")

log = get_logger("request")


class Access:
    """Around every answer of one application."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    @contextmanager
    def around(self, scope: AsgiScope, request_id: str, send: Send) -> Iterator[Send]:
        """While a request is handled; the value is ``send``, watched. What a page asks in this process for is no request of its
        own: it has a line at debug and nothing else."""
        watcher, inside = self._watcher, scope.get(INSIDE) is not None
        seen, span = _Seen(scope, request_id, send, inside=inside), Safely(watcher, _NO_SPAN)
        bound = {"request_id": request_id}
        with watcher.unharmed():
            seen.began_us = watcher.clock.monotonic_us()
            if not inside:
                span = Safely(watcher, self._span(scope, request_id))
        with span as opened:
            with watcher.unharmed():
                seen.trace_id = watcher.tracing.trace_id() or trace_of(scope["headers"])
                bound |= {"trace_id": seen.trace_id} if seen.trace_id else {}
            with structlog.contextvars.bound_contextvars(**bound):
                try:
                    yield seen.send
                finally:
                    with watcher.unharmed():
                        self._ended(seen, opened)

    def _span(self, scope: AsgiScope, request_id: str) -> Any:
        if not self._watcher.tracing.on:
            return _NO_SPAN
        method = _method(scope)
        facts: dict[str, str | int] = {c.METHOD: method, c.SCHEME: str(scope.get("scheme", "http")), c.REQUEST: request_id}
        server = scope.get("server")
        if server:
            facts |= {c.SERVER: str(server[0]), **({c.PORT: server[1]} if server[1] else {})}
        return self._watcher.tracing.span("server", method, facts, headers=scope["headers"])

    def _ended(self, seen: "_Seen", span: Span) -> None:
        scope, meter = seen.scope, self._watcher.meter
        took_us = self._watcher.clock.monotonic_us() - seen.began_us
        route, method, status = _route(scope), _method(scope), str(seen.status or "none")
        if not seen.inside:
            meter.add(n.REQUESTS, route, method, status)
            meter.observe(n.REQUEST_S, took_us / 1_000_000, route, method)
            if route != n.UNMATCHED:
                span.rename(f"{method} {route}")
                span.set(c.ROUTE, route)
            if seen.status:
                span.set(c.STATUS, seen.status)
            if seen.status >= 500 or not seen.status:
                span.fail(status)
        level = logging.DEBUG if seen.inside or _quiet(scope, route) else logging.INFO
        if logs("request", level):
            self._line(seen, level, took_us, route, method)

    def _line(self, seen: "_Seen", level: int, took_us: int, route: str, method: str) -> None:
        caller = seen.scope.get(WHO)
        facts: dict[str, Any] = {
            "method": method,
            "route": route,
            "status": seen.status,
            "ms": round(took_us / 1000, 1),
            "bytes": seen.size,
        }
        if isinstance(caller, Caller):
            facts["merchant_id"] = caller.scope.merchant_id
            if caller.key:
                facts["key_id"] = caller.key.id
        payment = seen.payment or str(seen.scope.get("path_params", {}).get("id", ""))
        if _PAYMENT.fullmatch(payment):
            facts["payment_id"] = payment
        log.log(level, "request", **facts)


class _Seen:
    """One request and what was answered."""

    def __init__(self, scope: AsgiScope, request_id: str, send: Send, *, inside: bool) -> None:
        self.scope, self.request_id, self.inside, self._send = scope, request_id, inside, send
        self.began_us, self.status, self.size = 0, 0, 0
        self.trace_id, self.payment = "", ""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status in (201, 202):
                self.payment = _accepted(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
        await self._send(message)


def _accepted(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The payment that an answer says was accepted, or had something accepted for it; its address names it."""
    where = next((value for name, value in headers if name == b"location"), b"").decode("latin-1")
    found = _PAYMENT.search(where)
    return found.group() if found else ""


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


class _NoSpan:
    def __enter__(self) -> Span:
        return NOTHING

    def __exit__(self, *_about: object) -> None: ...


_NO_SPAN: Final[Any] = _NoSpan()
