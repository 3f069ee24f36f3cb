"""The function behind the HTTP API: events of API Gateway in, answers out, the same app between."""

import asyncio
import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from payonce.api.app import Envelope
from payonce.aws import api, runtime
from payonce.aws.api import Event, event_of, respond, scope_of
from payonce.bootstrap import App, SystemEntropy
from payonce.core.errors import StoreUnavailable

from .keys import bearer, issued
from .room import SetClock, WatchedAws, room

ASK = {"amount": 1050, "currency": "INR", "paymentMethod": "tok_ok", "provider": "mock"}
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def event(method: str = "GET", path: str = "/livez", body: str | None = None, **more: Any) -> dict[str, Any]:
    """As the gateway makes it (docs.aws.amazon.com, "AWS Lambda proxy integrations for HTTP APIs", read 2026-11)."""
    context: dict[str, Any] = {
        "accountId": "123456789012",
        "apiId": "api",
        "domainName": "api.example",
        "requestId": "Xh9oXiX6oAMEJUg=",
        "stage": "$default",
        "timeEpoch": 1_800_000_000_000,
        "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7", "userAgent": "curl"},
    }
    whole = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "api.example", "x-forwarded-proto": "https"},
        "requestContext": context | more.pop("context", {}),
        "isBase64Encoded": False,
    }
    if body is not None:
        whole["body"] = body
        whole["headers"] = {**whole["headers"], "content-type": "application/json", "idempotency-key": "k-1"}
    whole["headers"] = {**whole["headers"], **more.pop("headers", {})}
    return {**whole, **more}


class Hints:
    """A queue. ``silent``: it never answers; ``broken``: it raises."""

    def __init__(self, *, silent: bool = False, broken: bool = False) -> None:
        self.silent, self.broken, self.flushes = silent, broken, 0

    async def flush(self) -> None:
        self.flushes += 1
        if self.silent:
            await asyncio.Event().wait()
        if self.broken:
            raise RuntimeError("no queue")


def answered(given: dict[str, Any], asgi: Asgi, wake: Hints | None = None, left_s: float = 20.0) -> dict[str, Any]:
    return asyncio.run(respond(event_of(given), asgi, wake or Hints(), left_s=left_s))


def says(body: bytes = b"", status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = (), *, whole: bool = True) -> Asgi:
    """An app with one answer."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body[:1], "more_body": True})
        await send({"type": "http.response.body", "body": body[1:], "more_body": not whole})

    return app


def through(folder: Path, *events: dict[str, Any]) -> tuple[list[dict[str, Any]], WatchedAws]:
    """The answers of the real app over the model of AWS, to somebody with a key."""

    async def run() -> tuple[list[dict[str, Any]], WatchedAws]:
        async with room(folder, SetClock()) as (app, aws):
            asgi, key = api._Here().of(app), bearer(await issued(app.store.registry, app.clock, app.engine.entropy))
            shown = [event_of({**e, "headers": {**key, **e["headers"]}}) for e in events]
            return [await respond(e, asgi, app.wake, left_s=20) for e in shown], aws

    return asyncio.run(run())


def test_a_payment_is_accepted_and_its_hint_leaves_before_the_answer(tmp_path: Path) -> None:
    """POST /payments answers 202 with a Location, and its id is in the queue when the handler returns; GET finds it."""
    [posted, again], aws = through(
        tmp_path, event("POST", "/payments", json.dumps(ASK)), event("POST", "/payments", json.dumps(ASK))
    )
    payment = json.loads(posted["body"])
    assert (posted["statusCode"], posted["isBase64Encoded"]) == (202, False)
    assert posted["headers"]["location"] == f"/payments/{payment['transactionId']}"
    assert aws.sent[0] == (payment["transactionId"], 0)
    assert json.loads(again["body"])["transactionId"] == payment["transactionId"]
    assert again["headers"]["idempotent-replayed"] == "true"


def test_the_gateways_request_id_becomes_ours(tmp_path: Path) -> None:
    """Where the client sent none; a client's own is kept, and one with strange characters is not taken over."""
    strange = event(context={"requestId": "a b\r\nc"})
    [plain, own, odd], _ = through(tmp_path, event(), event(headers={"Request-Id": "mine"}), strange)
    assert plain["headers"]["request-id"] == "Xh9oXiX6oAMEJUg"
    assert own["headers"]["request-id"] == "mine"
    assert odd["headers"]["request-id"].startswith("req_")


def test_a_body_in_base64_is_read(tmp_path: Path) -> None:
    """A media type that the gateway does not take for text arrives in base64, and is the same request."""
    raw = json.dumps(ASK)
    coded = event("POST", "/payments", b64encode(raw.encode()).decode(), isBase64Encoded=True)
    coded["headers"]["content-type"] = "application/vnd.shop+json"
    [answer], _ = through(tmp_path, coded)
    assert answer["statusCode"] == 202


def test_a_stage_is_where_the_app_is_mounted(tmp_path: Path) -> None:
    """Under a named stage paths begin with it; links in answers lead back there."""
    staged = event("POST", "/prod/payments", json.dumps(ASK), context={"stage": "prod"})
    [answer, other], _ = through(tmp_path, staged, event(path="/livez", context={"stage": "prod"}))
    assert answer["statusCode"] == 202
    assert answer["headers"]["location"].startswith("/prod/payments/pay_")
    assert other["statusCode"] == 200  # a domain of one's own: no stage in the path


def test_query_names_may_repeat(tmp_path: Path) -> None:
    """The raw query goes through as it came."""
    [answer], _ = through(tmp_path, event(path="/payments", rawQueryString="status=FAILED&status=SUCCESS"))
    assert answer["statusCode"] == 422
    assert "status" in answer["body"]


def test_the_request_in_asgi_words() -> None:
    """Method, path, query, headers, cookies and addresses are where ASGI apps look for them."""
    given = event(
        "post",
        "/a%20b",
        rawQueryString="x=1&x=%202",
        cookies=["a=1", "b=2"],
        headers={"X-Many": "one,two", "Host": "pay.example"},
    )
    scope = scope_of(event_of(given))
    assert (scope["method"], scope["path"], scope["raw_path"], scope["query_string"]) == (
        "POST",
        "/a b",
        b"/a%20b",
        b"x=1&x=%202",
    )
    headers = dict(scope["headers"])
    assert (headers[b"cookie"], headers[b"x-many"], headers[b"host"]) == (b"a=1; b=2", b"one,two", b"pay.example")
    assert (scope["client"], scope["server"], scope["scheme"]) == (("192.0.2.7", 0), ("api.example", 443), "https")
    assert (scope["http_version"], scope["root_path"]) == ("1.1", "")


def test_head_and_options_have_no_body(tmp_path: Path) -> None:
    """HEAD is GET without its body; a 204 has neither body nor content type."""
    [head, options], _ = through(tmp_path, event("HEAD"), event("OPTIONS"))
    assert (head["statusCode"], head["body"], head["headers"]["content-type"]) == (200, "", "application/json")
    assert (options["statusCode"], options["body"]) == (204, "")
    assert "content-type" not in options["headers"]
    assert not {"content-length", "connection"} & {*head["headers"], *options["headers"]}


def test_answers_that_are_no_text_leave_in_base64() -> None:
    """Bytes, compressed text and text that is not UTF-8 arrive as they were sent."""
    for media, extra, raw in (
        (b"image/png", (), b"\x89PNG"),
        (b"text/html", ((b"content-encoding", b"gzip"),), b"plain"),
        (b"text/plain", (), b"\xff\xfe"),
    ):
        answer = answered(event(), says(raw, headers=((b"content-type", media), *extra)))
        assert (answer["isBase64Encoded"], b64decode(answer["body"])) == (True, raw)


def test_repeated_headers_are_joined_and_cookies_stand_apart() -> None:
    """The gateway takes one value for a name, and each cookie by itself."""
    headers = ((b"Vary", b"a"), (b"vary", b"b"), (b"set-cookie", b"x=1; Secure"), (b"set-cookie", b"y=2"))
    answer = answered(event(), says(b"", headers=headers))
    assert answer["headers"]["vary"] == "a,b"
    assert answer["cookies"] == ["x=1; Secure", "y=2"]


@pytest.mark.parametrize("kind", ["raises", "says nothing", "stops half-way"])
def test_an_app_that_breaks_is_a_500_that_says_nothing_of_it(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """What was raised stands neither in the answer nor in the log; the caller is told what to do."""

    async def raises(_scope: Any, _receive: Any, _send: Any) -> None:
        raise ValueError("secret 4242424242424242")

    async def nothing(_scope: Any, _receive: Any, _send: Any) -> None:
        return

    app = {"raises": raises, "says nothing": nothing, "stops half-way": says(b"half", whole=False)}[kind]
    with caplog.at_level(logging.DEBUG):
        answer = answered(event("POST", "/payments", "{}"), app)
    problem = json.loads(answer["body"])
    assert (answer["statusCode"], problem["code"]) == (500, "internal_error")
    assert problem["requestId"] == "Xh9oXiX6oAMEJUg"
    assert answer["headers"]["cache-control"] == "no-store"
    assert "4242" not in json.dumps(answer) + caplog.text
    assert "half" not in answer["body"]


def test_a_request_that_takes_too_long_is_cut_with_an_answer() -> None:
    """Shortly before the end of the function's time the app is cut; the caller is told to send the same key again."""

    async def hangs(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        await asyncio.Event().wait()

    wake = Hints()
    answer = answered(event("POST", "/payments", "{}"), Envelope(hangs, SystemEntropy()), wake, left_s=3.6)
    assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (503, "retry_same_key")
    assert answer["headers"]["retry-after"] == "1"
    assert wake.flushes == 1


@pytest.mark.parametrize("wake", [Hints(silent=True), Hints(broken=True)], ids=["silent", "broken"])
def test_a_queue_that_fails_does_not_fail_the_request(wake: Hints, monkeypatch: pytest.MonkeyPatch) -> None:
    """The payment is accepted, and the answer comes after the limit at the latest."""
    monkeypatch.setattr(api, "FLUSH_S", 0.05)
    assert answered(event(), says(b"ok", 202), wake)["statusCode"] == 202
    assert wake.flushes == 1


def test_the_queue_gets_two_seconds() -> None:
    """As long as it takes to say the limit: more would hold up every answer while the queue is down."""
    assert api.FLUSH_S == 2.0


def test_other_events_are_refused() -> None:
    """An integration of another format, or another trigger, is a mistake of the deployment and shows as an error."""
    wrongs: tuple[dict[str, Any], ...] = ({"Records": []}, event() | {"version": "1.0"}, {})
    for wrong in wrongs:
        with pytest.raises(msgspec.ValidationError):
            event_of(wrong)


def test_an_app_that_waits_for_the_end_of_the_client_gets_it() -> None:
    """After its answer the client is gone."""
    heard = list[str]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await says(b"ok")(scope, receive, send)
        heard.append((await receive())["type"])

    assert answered(event(), app)["statusCode"] == 200
    assert heard == ["http.disconnect"]


class Environment:
    """A runtime with an app that is open, or cannot be opened."""

    def __init__(self, app: App | None) -> None:
        self._app, self.loop = app, asyncio.new_event_loop()

    def app(self) -> App:
        if self._app is None:
            raise StoreUnavailable("the tables are not there: arn:aws:dynamodb:somewhere")
        return self._app

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 20_000


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    made = Environment(None)
    monkeypatch.setattr(runtime, "app", made.app)
    monkeypatch.setattr(runtime, "run", made.run)
    yield made
    made.loop.close()


@pytest.mark.parametrize(("method", "code"), [("POST", "retry_same_key"), ("GET", "not_ready")])
def test_a_service_that_cannot_start_says_so(environment: Environment, method: str, code: str) -> None:
    """503 with what to do, not the gateway's bare 500; why is in the log only."""
    del environment
    answer = api.handler(event(method, "/payments"), Context())
    assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (503, code)
    assert "arn:" not in answer["body"]


def test_the_handler_uses_the_environments_app(environment: Environment, tmp_path: Path) -> None:
    """One app for all events; it is put together once."""

    async def opened() -> tuple[Any, App, dict[str, str]]:
        manager = room(tmp_path, SetClock())
        app, _ = await manager.__aenter__()
        return manager, app, bearer(await issued(app.store.registry, app.clock, app.engine.entropy))

    manager, environment._app, key = environment.loop.run_until_complete(opened())
    try:
        assert api.handler(event(), Context())["statusCode"] == 200
        made = api._HERE._asgi
        assert api.handler(event("POST", "/payments", json.dumps(ASK)), Context())["statusCode"] == 401
        assert api.handler(event("POST", "/payments", json.dumps(ASK), headers=key), Context())["statusCode"] == 202
        assert api._HERE._asgi is made
    finally:
        environment.loop.run_until_complete(manager.__aexit__(None, None, None))


def test_events_are_read_as_the_gateway_names_them() -> None:
    """What may be missing is missing without harm."""
    bare: Event = event_of({"version": "2.0", "requestContext": {"http": {"method": "GET"}}})
    assert (bare.raw_path, bare.headers, bare.body, bare.is_base64_encoded) == ("/", {}, None, False)
    assert event_of(event(isBase64Encoded=True, body="")).is_base64_encoded
