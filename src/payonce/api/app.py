"""The ASGI application: routes, and around them one thin layer that gives every answer its Request-Id and security
headers and turns every error into a problem. ``create_app`` can be served or mounted."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from payonce.core.errors import PayonceError, Refused, StoreUnavailable
from payonce.engine import Engine
from payonce.inbox import Receiver
from payonce.outbound.courier import Courier
from payonce.outbound.endpoints import Endpoints
from payonce.ports import Entropy, Scope
from payonce.shown.bodies import Live, Readiness
from payonce.telemetry import get_logger
from payonce.telemetry.watching import Watcher

from . import docs, openapi
from .access import WHO, Access, Outgoing
from .attention import AttentionDoor
from .door import Crowd, Door, Ear, on_grid
from .endpoints import EndpointDoor
from .events import Events
from .house import House
from .inbox import InboxDoor
from .incoming import BODY_S, Request, check_head, request_id_of
from .metrics import MetricsDoor
from .operations import Operations
from .paths import Paths
from .payments import Payments
from .problems import CLOSE, READS, Answer, NoSuchPath, problem
from .providers import ProvidersDoor
from .returning import ReturnDoor
from .rights import HEALTH, needs_of
from .routing import RoutingDoor
from .search import Search
from .settings import SettingsDoor
from .stats import StatsDoor
from .story import Stories
from .webhooks import WebhookDoor
from .workers import WorkersDoor

Handler = Callable[[Request], Awaitable[Answer]]
Ready = Callable[[Scope | None], Awaitable[Mapping[str, str]]]

CUT_S: Final = 1.0  # for the answer to a request that is cut: a client that reads nothing must not hold up the end
SAID_CHARS_MAX: Final = 800  # of an error's text in the log
_NO_CSP: Final = b"default-src 'none'; frame-ancestors 'none'"
SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", _NO_CSP),
    (b"cache-control", b"no-store"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# for servers that are reached over TLS only, and say so (server.public_url); a year, as RFC 6797 has it in its examples
HTTPS: Final = ((b"strict-transport-security", b"max-age=31536000"),)
# What says that an id or a name is not there, or not theirs: never sooner for the one than for the other.
QUIET: Final = frozenset({"not_found", "webhook_refused"})

log = get_logger("api")


def create_app(
    engine: Engine,
    *,
    door: Door,
    ready: Ready,
    webhooks: Receiver | None = None,
    endpoints: Endpoints | None = None,
    courier: Courier | None = None,
    house: House | None = None,
    extra_routes: Iterable[BaseRoute] = (),
    body_s: float = BODY_S,
    https: bool = False,
    watcher: Watcher | None = None,
) -> "Envelope":
    """The API over ``engine``, behind ``door``: it says whose rows a caller sees and what they may do (``rights.NEEDS``).
    ``ready`` returns each check with its finding, as far as the scope it is given may know of it (None: a stranger): ``ok``, or
    ``ok: ...``, anything else makes /readyz answer 503. The state of providers does not belong in it. Without ``webhooks`` none
    is taken; without ``endpoints`` and ``courier`` merchants are told of nothing; without ``house`` there are no figures,
    accounts and workers to look at. A body must have come whole after ``body_s`` seconds. ``https``: browsers are told to come
    over TLS only. ``watcher``: who counts and logs requests (nobody, if not given)."""

    def at(path: str, **handlers: Handler) -> Route:
        return Route(path, Resource(door, path, **handlers))

    back = ReturnDoor(engine, door.mode).back
    own = (
        Route("/", Resource(door, "/", GET=_to_docs), include_in_schema=False),
        *_of_payments(at, Payments(engine, door, body_s=body_s), Operations(engine, body_s=body_s)),
        *_of_stories(
            at,
            Stories(
                engine,
                inbox=webhooks.inbox if webhooks else None,
                outbox=courier.outbox if courier else None,
                body_s=body_s,
            ),
            Search(engine),
        ),
        *_of_news(at, Events(engine), EndpointDoor(endpoints, courier, engine.clock, body_s=body_s)),
        *_of_house(at, house, body_s),
        at("/return/{reference}", GET=back, POST=back),
        at("/webhooks/{account}", POST=WebhookDoor(webhooks, body_s=body_s).hear),
        at("/livez", GET=_live),
        at("/readyz", GET=_readiness(ready, door)),
        at("/metrics", GET=MetricsDoor(engine, watcher or Watcher(engine.clock), door.mode).show),
        at("/openapi.json", GET=openapi.serve),
        at("/docs", GET=docs.page),
        at("/docs/style.css", GET=docs.style),
    )
    paths = Paths(own, extra_routes, {404: _refused(NoSuchPath()), 405: _refused(_NO_METHOD)})
    return Envelope(Crowd(paths, door), engine.entropy, https=https, watcher=watcher, routes=paths.routes)


def _of_payments(at: Callable[..., Route], payments: Payments, asked: Operations) -> Iterable[Route]:
    return (
        at("/payments", GET=payments.list, POST=payments.create),
        at("/payments/{id}", GET=payments.get),
        at("/payments/{id}/history", GET=payments.history),
        at("/payments/{id}/capture", POST=asked.ask("capture")),
        at("/payments/{id}/void", POST=asked.ask("void")),
        at("/payments/{id}/refunds", GET=asked.refunds, POST=asked.ask("refund")),
        at("/payments/{id}/operations", GET=asked.list),
        at("/payments/{id}/operations/{operationId}", GET=asked.get),
    )


def _of_stories(at: Callable[..., Route], told: Stories, search: Search) -> Iterable[Route]:
    return (
        at("/payments/{id}/story", GET=told.story),
        at("/payments/{id}/check", POST=told.check),
        at("/payments/{id}/resolve", POST=told.resolve),
        at("/search", GET=search.find),
    )


def _of_house(at: Callable[..., Route], house: House | None, body_s: float) -> Iterable[Route]:
    rules, inbox, settings = RoutingDoor(house, body_s=body_s), InboxDoor(house, body_s=body_s), SettingsDoor(house)
    return (
        *_of_care(at, house, body_s),
        at("/routing", GET=rules.show),
        at("/routing/dry-run", POST=rules.try_out),
        at("/inbox", GET=inbox.list),
        at("/inbox/{id}", GET=inbox.get),
        at("/inbox/{id}/replay", POST=inbox.replay),
        at("/keys", GET=settings.keys),
        at("/configuration", GET=settings.configuration),
        at("/journal", GET=settings.journal),
    )


def _of_news(at: Callable[..., Route], told: Events, hooks: EndpointDoor) -> Iterable[Route]:
    return (
        at("/events", GET=told.list),
        at("/events/{id}", GET=told.get),
        at("/webhook-endpoints", GET=hooks.list, POST=hooks.create),
        at("/webhook-endpoints/{id}", GET=hooks.get, PATCH=hooks.change, DELETE=hooks.remove),
        at("/webhook-endpoints/{id}/rotate-secret", POST=hooks.rotate),
        at("/webhook-endpoints/{id}/enable", POST=hooks.enable),
        at("/webhook-endpoints/{id}/disable", POST=hooks.disable),
        at("/webhook-endpoints/{id}/test", POST=hooks.test),
        at("/webhook-endpoints/{id}/recover", POST=hooks.recover),
        at("/webhook-endpoints/{id}/deliveries", GET=hooks.deliveries),
        at("/webhook-deliveries", GET=hooks.every_delivery),
        at("/webhook-deliveries/{id}", GET=hooks.delivery),
        at("/webhook-deliveries/{id}/replay", POST=hooks.replay),
    )


def _of_care(at: Callable[..., Route], house: House | None, body_s: float) -> Iterable[Route]:
    figures, accounts = StatsDoor(house), ProvidersDoor(house, body_s=body_s)
    return (
        at("/stats", GET=figures.stats),
        at("/stats/declines", GET=figures.declines),
        at("/providers", GET=accounts.list),
        at("/providers/{account}", GET=accounts.get),
        at("/providers/{account}/drain", POST=accounts.drain),
        at("/providers/{account}/resume", POST=accounts.resume),
        at("/attention", GET=AttentionDoor(house).look),
        at("/workers", GET=WorkersDoor(house).look),
    )


_NO_METHOD: Final = Refused("method_not_allowed", "This path does not know the method.")


class Resource:
    """One path: a handler per method; HEAD is GET without its body, OPTIONS says what there is, the rest is a 405. A handler is
    reached through the door only, with whom it let in; what is not there is answered on a grid of time. Raises KeyError for a
    path or method that ``rights.NEEDS`` has not got."""

    def __init__(self, door: Door, path: str, **handlers: Handler) -> None:
        self._door, self._handlers = door, handlers
        if "GET" in handlers:
            handlers["HEAD"] = handlers["GET"]
        self._needs = {method: needs_of(path, method) for method in handlers}
        self._lobby = door.lobby if path not in HEALTH else nullcontext
        self._allow = ((b"allow", ", ".join(sorted({*handlers, "OPTIONS"})).encode()),)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        ear = Ear(receive, self._door.clock)
        request = Request(scope, ear, scope["payonce.request_id"])
        handler = self._handlers.get(scope["method"])
        if handler is not None:
            try:
                answer = await self._through(handler, request)
            except Refused as refused:
                if refused.code in QUIET:
                    await on_grid(self._door.clock, ear.at_us)
                raise
        elif scope["method"] == "OPTIONS":
            answer = Answer(204, b"", b"", self._allow)
        else:
            answer = problem(_NO_METHOD, request, headers=self._allow)
        await give(answer, send)

    async def _through(self, handler: Handler, request: Request) -> Answer:
        needs = self._needs[request.scope["method"]]
        if needs is None:
            with self._lobby():
                return await handler(request)
        caller = request.scope[WHO] = await self._door.admit(request, needs)
        with self._door.share(caller):
            return await handler(replace(request, admitted=caller))


class Envelope:
    """Around every answer, those of ``extra_routes`` too: Request-Id and security headers; an error that nobody took
    becomes a problem, and one that is a bug is logged without anything that was sent. ``routes`` are those of the application
    within, for who describes it."""

    def __init__(
        self,
        app: ASGIApp,
        entropy: Entropy,
        *,
        https: bool = False,
        watcher: Watcher | None = None,
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        self.routes = routes
        self._access = Access(watcher) if watcher else None
        self._app, self._entropy = app, entropy
        self._headers = (*SECURITY, *HTTPS) if https else SECURITY

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["app"] = self  # whom the pages of the dashboard ask
        request_id = scope["payonce.request_id"] = request_id_of(scope, self._entropy)
        out = Outgoing(scope, send, request_id, self._headers)
        if self._access is None:
            await self._answer(scope, receive, out)
            return
        with self._access.around(scope, out):
            await self._answer(scope, receive, out)

    async def _answer(self, scope: AsgiScope, receive: Receive, out: Outgoing) -> None:
        request_id = out.request_id
        request = Request(scope, receive, request_id)
        try:
            check_head(scope)
        except Refused as error:
            await give(problem(error, request, headers=(CLOSE,)), out)
            return
        try:
            await self._app(scope, receive, out)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:  # the server stops and waits no longer; a write may stand all the same
            if not out.status:
                code = "not_ready" if scope["method"] in READS else "retry_same_key"
                cut = Refused(code, "The service stops. What became of this request is not known here.")
                async with asyncio.timeout(CUT_S):
                    await give(problem(cut, request, headers=(CLOSE,)), out)
            raise
        except Exception as error:
            if isinstance(error, StoreUnavailable):
                _log_refusal(error, request)
            elif not isinstance(error, Refused):
                _log(error, scope, request_id)
            if out.status:
                raise
            await give(problem(error, request), out)


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


def _readiness(ready: Ready, door: Door) -> Handler:
    """Strangers get words without details: ``ok`` or not; who is let in, what concerns them."""

    async def handle(request: Request) -> Answer:
        caller = await door.known(request)
        try:
            checks = dict(await ready(caller.scope if caller else None))
        except StoreUnavailable as error:
            _log_refusal(error, request)
            return problem(error if caller else Refused("not_ready", "These checks fail: store."), request)
        bad = sorted(name for name, finding in checks.items() if finding != "ok" and not finding.startswith("ok:"))
        if bad:
            return problem(Refused("not_ready", f"These checks fail: {', '.join(bad)}."), request)
        shown = checks if caller else dict.fromkeys(checks, "ok")
        return Answer(200, msgspec.json.encode(Readiness("ready", shown)))

    return handle
