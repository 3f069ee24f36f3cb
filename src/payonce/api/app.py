"""The ASGI application: routes, and around them one thin layer that gives every answer its Request-Id and security
headers and turns every error into a problem. ``create_app`` can be served or mounted."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Lifespan, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from payonce.core.errors import PayonceError, Refused, StoreUnavailable
from payonce.engine import Engine
from payonce.inbox import Receiver
from payonce.ports import Entropy, Scope
from payonce.telemetry import get_logger

from . import docs, openapi
from .bodies import Live, Readiness
from .incoming import BODY_S, Request, check_head, request_id_of
from .operations import Operations
from .payments import Payments
from .problems import CLOSE, Answer, NoSuchPath, problem
from .returning import ReturnDoor
from .webhooks import WebhookDoor

Handler = Callable[[Request], Awaitable[Answer]]
Ready = Callable[[], Awaitable[Mapping[str, str]]]

CUT_S: Final = 1.0  # for the answer to a request that is cut: a client that reads nothing must not hold up the end
SAID_CHARS_MAX: Final = 800  # of an error's text in the log
_NO_CSP: Final = b"default-src 'none'; frame-ancestors 'none'"
SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", _NO_CSP),
    (b"cache-control", b"no-store"),
)

log = get_logger("api")


def create_app(
    engine: Engine,
    *,
    scope: Scope,
    ready: Ready,
    webhooks: Receiver | None = None,
    extra_routes: Iterable[BaseRoute] = (),
    lifespan: Lifespan[Starlette] | None = None,
    body_s: float = BODY_S,
) -> Starlette:
    """The API over ``engine``. Every caller is the merchant and mode of ``scope``. ``ready`` returns each check with its
    finding: ``ok``, or ``ok: ...``, anything else makes /readyz answer 503. The state of providers does not belong in it.
    Without ``webhooks`` none is taken. A body must have come whole after ``body_s`` seconds."""
    payments, asked = Payments(engine, scope, body_s=body_s), Operations(engine, scope, body_s=body_s)
    back = ReturnDoor(engine, scope).back
    routes: list[BaseRoute] = [
        Route("/", Resource(GET=_to_docs), include_in_schema=False),
        Route("/payments", Resource(GET=payments.list, POST=payments.create)),
        Route("/payments/{id}", Resource(GET=payments.get)),
        Route("/payments/{id}/history", Resource(GET=payments.history)),
        Route("/payments/{id}/capture", Resource(POST=asked.ask("capture"))),
        Route("/payments/{id}/void", Resource(POST=asked.ask("void"))),
        Route("/payments/{id}/refunds", Resource(GET=asked.refunds, POST=asked.ask("refund"))),
        Route("/payments/{id}/operations", Resource(GET=asked.list)),
        Route("/payments/{id}/operations/{operationId}", Resource(GET=asked.get)),
        Route("/return/{reference}", Resource(GET=back, POST=back)),
        Route("/webhooks/{account}", Resource(POST=WebhookDoor(webhooks, body_s=body_s).hear)),
        Route("/livez", Resource(GET=_live)),
        Route("/readyz", Resource(GET=_readiness(ready))),
        Route("/openapi.json", Resource(GET=openapi.serve)),
        Route("/docs", Resource(GET=docs.page)),
        Route("/docs/style.css", Resource(GET=docs.style)),
        *extra_routes,
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Envelope, entropy=engine.entropy)],
        exception_handlers={404: _refused(NoSuchPath()), 405: _refused(_NO_METHOD)},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a POST that is redirected may arrive twice, or as a GET
    return app


_NO_METHOD: Final = Refused("method_not_allowed", "This path does not know the method.")


class Resource:
    """One path: a handler per method; HEAD is GET without its body, OPTIONS says what there is, the rest is a 405."""

    def __init__(self, **handlers: Handler) -> None:
        self._handlers = handlers
        if "GET" in handlers:
            handlers["HEAD"] = handlers["GET"]
        self._allow = ((b"allow", ", ".join(sorted({*handlers, "OPTIONS"})).encode()),)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, scope["payonce.request_id"])
        handler = self._handlers.get(scope["method"])
        if handler is not None:
            answer = await handler(request)
        elif scope["method"] == "OPTIONS":
            answer = Answer(204, b"", b"", self._allow)
        else:
            answer = problem(_NO_METHOD, request, headers=self._allow)
        await give(answer, send)


class Envelope:
    """Around every answer, those of ``extra_routes`` too: Request-Id and security headers; an error that nobody took
    becomes a problem, and one that is a bug is logged without anything that was sent."""

    def __init__(self, app: ASGIApp, entropy: Entropy) -> None:
        self._app, self._entropy = app, entropy

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["payonce.request_id"] = request_id_of(scope, self._entropy)
        bodiless, started = scope["method"] == "HEAD", False

        async def sealed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = message["headers"] = list(message.get("headers", ()))
                present = {name.lower() for name, _ in headers}
                headers.extend([item for item in SECURITY if item[0] not in present])
                headers.append((b"request-id", request_id.encode()))
            elif bodiless and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        request = Request(scope, receive, request_id)
        try:
            check_head(scope)
        except Refused as error:
            await give(problem(error, request, headers=(CLOSE,)), sealed)
            return
        try:
            await self._app(scope, receive, sealed)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:  # the server stops and waits no longer; a write may stand all the same
            if not started:
                code = "retry_same_key" if scope["method"] == "POST" else "not_ready"
                cut = Refused(code, "The service stops. What became of this request is not known here.")
                async with asyncio.timeout(CUT_S):
                    await give(problem(cut, request, headers=(CLOSE,)), sealed)
            raise
        except Exception as error:
            if isinstance(error, StoreUnavailable):
                _log_refusal(error, request)
            elif not isinstance(error, Refused):
                _log(error, scope, request_id)
            if started:
                raise
            await give(problem(error, request), sealed)


async def give(answer: Answer, send: Send) -> None:
    """Send a whole answer."""
    headers = list(answer.headers)
    if answer.status != 204:
        headers += [(b"content-type", answer.media_type), (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _log(error: Exception, scope: AsgiScope, request_id: str) -> None:
    """Where it failed and as what. The text of a foreign error may quote the request: it stays out."""
    frames = [f"{f.filename.rpartition('/')[2]}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)[-8:]]
    said = str(error) if isinstance(error, PayonceError) else ""
    route = getattr(scope.get("route"), "path", "")
    log.error(
        "request failed",
        request_id=request_id,
        method=scope["method"],
        route=route,
        error=type(error).__name__,
        said=said,
        where=frames,
    )


def _log_refusal(error: StoreUnavailable, request: Request) -> None:
    """Why the store did not do it, for whoever runs it. The store writes these texts itself: they name files, tables, ids and
    roles, and quote neither a request nor a credential; the logger masks besides."""
    log.warning(
        "the store refused a request",
        request_id=request.request_id,
        method=request.scope["method"],
        route=getattr(request.scope.get("route"), "path", ""),
        said=" ".join(str(error).split())[:SAID_CHARS_MAX],
    )


def _refused(refused: Refused) -> Callable[[Any, Exception], Any]:
    """Starlette's own 404 and 405 as our problems."""

    def handle(_request: Any, error: Exception) -> ASGIApp:
        async def answer(scope: AsgiScope, receive: Receive, send: Send) -> None:
            allow = (getattr(error, "headers", None) or {}).get("Allow")
            headers = ((b"allow", allow.encode()),) if allow else ()
            await give(problem(refused, Request(scope, receive, scope["payonce.request_id"]), headers=headers), send)

        return answer

    return handle


async def _to_docs(request: Request) -> Answer:
    """Whoever opens the address in a browser wants to know what this is."""
    body = msgspec.json.encode({"docs": f"{request.root}/docs", "openapi": f"{request.root}/openapi.json"})
    return Answer(303, body, headers=((b"location", f"{request.root}/docs".encode()),))


async def _live(_request: Request) -> Answer:
    return Answer(200, msgspec.json.encode(Live("live")))


def _readiness(ready: Ready) -> Handler:
    async def handle(request: Request) -> Answer:
        try:
            checks = dict(await ready())
        except StoreUnavailable as error:
            _log_refusal(error, request)
            return problem(error, request)
        bad = sorted(name for name, finding in checks.items() if finding != "ok" and not finding.startswith("ok:"))
        if bad:
            return problem(Refused("not_ready", f"These checks fail: {', '.join(bad)}."), request)
        return Answer(200, msgspec.json.encode(Readiness("ready", checks)))

    return handle
