"""The Lambda function behind the HTTP API: an event of API Gateway (payload format 2.0) in, the answer of the ASGI app out.

mangum 0.22 is not used, though it is hardly dearer (``benchmarks/aws_adapter.py``: 2.5 ms of import instead of 0.6, and the
same CPU for a request). It runs the event loop itself until the app returns, so that nothing can cut an app that takes longer
than the function may, while there is time to say so; it logs the text of what an app raises, which may quote the request
(R11); and it gives answers without a body a content type.

What the gateway does to a request, and so what cannot be told apart here (docs.aws.amazon.com, API Gateway developer guide,
"AWS Lambda proxy integrations for HTTP APIs", read 2026-11):

- Repeated headers come as one, joined by commas: two ``Idempotency-Key`` are one key that nobody else uses.
- A body that is no text comes in base64. Cookies come apart from the headers.
- With a stage that is not ``$default`` the path begins with its name: that is where the app is mounted then.
"""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import unquote

import msgspec
from msgspec import Struct
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from payonce.api.app import Envelope, create_app
from payonce.api.door import Door
from payonce.bootstrap import App, SystemEntropy
from payonce.core.errors import PayonceError, Refused
from payonce.serving import house_of, ready
from payonce.telemetry import get_logger

from . import runtime

FLUSH_S: Final = 2.0  # for the hints, after the answer is made: what is accepted is safe without them
SPARE_S: Final = 0.5  # of an invocation: to hand the answer over
CUT_S: Final = 1.0  # for an app that is cut, to say that it is
DEFAULT_STAGE: Final = "$default"
TEXTS: Final = ("application/json", "application/problem+json", "application/x-www-form-urlencoded")
HOP: Final = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})  # the gateway's own business

log = get_logger("aws.api")


class Context(Protocol):
    """What of Lambda's context is used."""

    def get_remaining_time_in_millis(self) -> int: ...


class Flushes(Protocol):
    """What of the Wake port is used."""

    async def flush(self) -> object: ...


class Http(Struct, frozen=True, rename="camel"):
    """The request line, and who sent it."""

    method: str
    source_ip: str = ""
    protocol: str = "HTTP/1.1"


class Asked(Struct, frozen=True, rename="camel"):
    """The gateway's word about a request."""

    http: Http
    stage: str = DEFAULT_STAGE
    request_id: str = ""
    domain_name: str = ""


class Event(Struct, frozen=True, rename="camel"):
    """One request, as the gateway hands it over."""

    request_context: Asked
    version: str
    raw_path: str = "/"
    raw_query_string: str = ""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    body: str | None = None
    is_base64_encoded: bool = msgspec.field(default=False, name="isBase64Encoded")


class _Here:
    """The ASGI app of one execution environment."""

    def __init__(self) -> None:
        self._app: App | None = None
        self._asgi: ASGIApp | None = None

    def of(self, app: App) -> ASGIApp:
        """Made once for an open app. Without what ``serving.api_of`` adds: a flush of its own, a sandbox, and the
        dashboard, whose libraries are not in the package: `payonce serve` on the same tables has it."""
        if self._asgi is None or self._app is not app:
            self._app = app
            https = app.settings.text("server.public_url").startswith("https://")
            door = door_of(app)
            self._asgi = create_app(
                app.engine,
                door=door,
                ready=ready(app),
                webhooks=app.webhooks,
                endpoints=app.endpoints,
                courier=app.courier,
                house=house_of(app),
                https=https,
                watcher=app.watcher,
            )
        return self._asgi


def door_of(app: App) -> Door:
    """Everybody needs a key: whoever comes here comes from the internet. How many may come at once and how often is for API
    Gateway to say (``deploy/aws``): a function handles one request at a time. Only a rate that a key has of its own counts here
    too, in each execution environment; while one is frozen its clock may stand, which makes that rate lower, never higher."""
    return Door(app.keys, app.settings.mode, app.clock)


_HERE: Final = _Here()


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Lambda calls this. A caller can make it raise nothing: an event that is no request of an HTTP API is a mistake of the
    deployment, and raises msgspec.ValidationError."""
    request = event_of(event)
    try:
        app = runtime.app()
    except PayonceError:  # why is in the log already
        return runtime.run(respond(request, UNREADY, None, left_s=FLUSH_S + SPARE_S + CUT_S + 1))
    try:
        return runtime.run(respond(request, _HERE.of(app), app.wake, left_s=context.get_remaining_time_in_millis() / 1000))
    finally:
        runtime.tell(app)


def event_of(event: Mapping[str, Any]) -> Event:
    """Raises msgspec.ValidationError for anything but payload format 2.0."""
    read = msgspec.convert(event, Event)
    if read.version != "2.0":
        raise msgspec.ValidationError("The integration must have PayloadFormatVersion 2.0.")
    return read


async def respond(event: Event, asgi: ASGIApp, wake: Flushes | None, *, left_s: float) -> dict[str, Any]:
    """The app's answer, and then the hints: the freeze comes when this returns. An app that takes too long is cut while there
    is still time to say so."""
    exchange = Exchange(event)
    try:
        async with asyncio.timeout(max(0.0, left_s - FLUSH_S - CUT_S - SPARE_S)):
            await asgi(scope_of(event), exchange.receive, exchange.send)
    except TimeoutError:
        log.warning("request cut: the function's time is over", whole=exchange.whole)
    except Exception as error:  # noqa: BLE001 - the app has logged it, and answered if it could
        log.error("the app broke off", error=type(error).__name__)  # noqa: TRY400 - texts may quote the request
    if not exchange.whole:
        exchange = Exchange(event)
        await BROKEN(scope_of(event), exchange.receive, exchange.send)
    if wake is not None:
        await flush(wake)
    return exchange.answer()


async def flush(wake: Flushes) -> None:
    """Send the hints. That it fails costs time only: the sweeper finds what is due."""
    try:
        async with asyncio.timeout(FLUSH_S):
            await wake.flush()
    except TimeoutError:
        log.warning("the queue does not answer; the sweeper finds what is due")
    except Exception as error:  # noqa: BLE001 - whatever it is, the payment is accepted
        log.error("hints not sent; the sweeper finds what is due", error=type(error).__name__)  # noqa: TRY400


def scope_of(event: Event) -> AsgiScope:
    """The request in ASGI's words."""
    asked, path = event.request_context, event.raw_path or "/"
    stage = f"/{asked.stage}"
    mounted = asked.stage != DEFAULT_STAGE and (path == stage or path.startswith(f"{stage}/"))
    headers = {name.lower(): value for name, value in event.headers.items()}
    if event.cookies:
        headers["cookie"] = "; ".join(event.cookies)
    if "request-id" not in headers and asked.request_id:
        headers["request-id"] = asked.request_id.rstrip("=")  # an id of the gateway ends so, and ours are plain
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": asked.http.protocol.rpartition("/")[2] or "1.1",
        "method": asked.http.method.upper(),
        "scheme": headers.get("x-forwarded-proto", "https"),
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": event.raw_query_string.encode(),
        "root_path": stage if mounted else "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": (asked.http.source_ip, 0) if asked.http.source_ip else None,
        "server": (asked.domain_name or headers.get("host", ""), 443),
    }


class Exchange:
    """The ASGI app's side of one request: the whole body at once, and the answer collected."""

    def __init__(self, event: Event) -> None:
        text = event.body or ""
        self._body: bytes | None = b64decode(text) if event.is_base64_encoded else text.encode()
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._content = bytearray()
        self._complete = asyncio.Event()

    async def receive(self) -> Message:
        """The body, then nothing until the answer is whole: then there is nobody any more."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._complete.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Collects what the app says; after the end of its answer nothing more counts."""
        if self._complete.is_set():
            return
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self._content += message.get("body", b"")
            if not message.get("more_body", False):
                self._complete.set()

    @property
    def whole(self) -> bool:
        """The app has answered to the end."""
        return bool(self._status) and self._complete.is_set()

    def answer(self) -> dict[str, Any]:
        """The answer in the gateway's words."""
        headers: dict[str, str] = {}
        cookies: list[str] = []
        for raw_name, raw_value in self._headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            if name == "set-cookie":
                cookies.append(value)
            elif name not in HOP:
                headers[name] = f"{headers[name]},{value}" if name in headers else value
        answer = {"statusCode": self._status, "headers": headers, **_body(bytes(self._content), headers)}
        return {**answer, "cookies": cookies} if cookies else answer


def _body(content: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """As text where it is text, else in base64: the gateway turns it back."""
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    plain = not content or media.startswith("text/") or media in TEXTS
    if plain and "content-encoding" not in headers:
        try:
            return {"body": content.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass
    return {"body": b64encode(content).decode(), "isBase64Encoded": True}


async def _unready(scope: AsgiScope, receive: Receive, send: Send) -> None:
    del receive, send
    code = "retry_same_key" if scope["method"] == "POST" else "not_ready"
    raise Refused(code, "The service cannot start at the moment. This request was not looked at.")


async def _broken(scope: AsgiScope, receive: Receive, send: Send) -> None:
    del scope, receive, send
    raise RuntimeError("the app ended without a whole answer")


UNREADY: Final = Envelope(_unready, SystemEntropy())
BROKEN: Final = Envelope(_broken, SystemEntropy())

runtime.warm()
