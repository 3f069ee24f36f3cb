"""What callers send: whole HTTP requests (query, headers, keys, bodies), the idempotency key, cursors, API keys; and the
configuration, which is written by hand.

A request is a line ``METHOD target``, header lines, an empty line and the body.
"""

import asyncio
import functools
import json
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from payonce.api.app import create_app
from payonce.config import load
from payonce.core import actors, idempotency, ids, news
from payonce.core.errors import PROBLEMS, ConfigError, Refused
from payonce.core.redact import has_card_number, mask, masked
from payonce.merchants.keys import Keyring
from payonce.ports import Scope
from payonce.stores.memory import MemoryStore
from payonce.stores.rows import cursor_after, cursor_position, feed_after, feed_position
from tests.api.service import engine_over, open_door, ring

from .target import Target, require

TEST = Scope("mer_default", "test")
PAYMENT = ids.new_id("pay_", 1_795_000_000_123_456, 12345)
GOOD = b'{"amount":1050,"currency":"INR","paymentMethod":"tok_ok","metadata":{"orderId":"1001"},"description":"Order 1001"}'
HEAD = b"content-type: application/json\nidempotency-key: order-1001\nrequest-id: req-7\nhost: 127.0.0.1\n"
NOT_THERE = {"internal_error"}


@functools.cache
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@functools.cache
def service() -> tuple[Any, MemoryStore]:
    store = MemoryStore()
    engine = engine_over(store)

    async def ready(_scope: object = None) -> dict[str, str]:
        return {"store": "ok"}

    return create_app(engine, door=open_door(engine), ready=ready), store


def requests() -> list[bytes]:
    paths = (
        f"/payments/{PAYMENT}",
        "/payments?limit=5&status=FAILED&createdFrom=2026-11-24T09:30:00Z",
        "/payments?cursor=eHg",
        f"/payments/{PAYMENT}/history?after=1&limit=3",
        "/payments?idempotencyKey=order-1001",
        "/livez",
        "/readyz",
        "/openapi.json",
        f"/return/{PAYMENT[4:]}0100",
        f"/payments/{PAYMENT}/operations",
        "/events?type=payment.succeeded&limit=3",
        "/docs",
        f"/events/evt_{PAYMENT[4:]}000007",
        "/webhook-endpoints",
        "/webhook-deliveries/dlv_1?x=1",
    )
    asked = [f"GET {path}\n".encode() + HEAD + b"\n" for path in paths]
    bodies = [GOOD, b'{"amount":1,"currency":"JPY"}', b'{"amount":250,"idempotencyKey":"k"}', b"{}", b""]
    posts = ["/payments", *(f"/payments/{PAYMENT}/{what}" for what in ("capture", "void", "refunds")), "/webhooks/tiny"]
    asked += [f"POST {path}\n".encode() + HEAD + b"\n" + body for path in posts for body in bodies]
    hook = b'{"url":"https://shop.example/hook","types":["payment.succeeded"],"description":"x"}'
    return [*asked, b"POST /webhook-endpoints\n" + HEAD + b"\n" + hook, b"OPTIONS /payments\n\n", b"HEAD /livez\n\n"]


def ask(data: bytes) -> None:
    """Every answer is one whole answer: no 500, JSON where it says so, problems with a known code, and no card number of the
    request in it."""
    head, _, body = data.partition(b"\n\n")
    line, *lines = head.split(b"\n")
    method, _, target = line.partition(b" ")
    path, _, query = target.partition(b"?")
    headers = [(n.strip().lower(), v.strip()) for n, _, v in (each.partition(b":") for each in lines)]
    sent = [{"type": "http.request", "body": body, "more_body": False}]
    got: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return sent.pop() if sent else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        got.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method.decode("latin-1") or "GET",
        "scheme": "http",
        "path": unquote(path.decode("latin-1")) or "/",
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    app, _ = service()
    loop().run_until_complete(app(scope, receive, send))
    _judge(got, scope)


def _judge(got: list[dict[str, Any]], scope: dict[str, Any]) -> None:
    starts = [m for m in got if m["type"] == "http.response.start"]
    content = b"".join(m.get("body", b"") for m in got if m["type"] == "http.response.body")
    require(len(starts) == 1, f"{len(starts)} answers to {scope['method']} {scope['path']!r}")
    status, headers = starts[0]["status"], dict(starts[0]["headers"])
    require(status < 500 or status == 503, f"{status}: {content[:300]!r}")
    require(b"request-id" in headers, "no request id")
    require(not has_card_number(headers[b"request-id"]), "a card number as request id")
    media = headers.get(b"content-type", b"")
    if not content or b"json" not in media:
        return
    answer = json.loads(content)
    if media == b"application/problem+json":
        require(answer["code"] in PROBLEMS, f"unknown code {answer['code']}")
        require(answer["code"] not in NOT_THERE, f"{answer}")
        require(not has_card_number(answer), f"a card number in {answer}")


# --- one by one -------------------------------------------------------------------------------------------------------


def key(data: bytes) -> None:
    """The header, a line break, the one in the body."""
    header, _, inside = data.decode("latin-1").partition("\n")
    try:
        found = idempotency.parse_key(header or None, inside or None)
    except Refused:
        return
    require(0 < len(found) <= 255 and found.isascii() and found.isprintable(), f"{found!r} is no key")
    require(not has_card_number(found), f"{found!r} is a card number")


def request(data: bytes) -> None:
    """A JSON object becomes a valid request, that is the same after it was stored, or is refused."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return
    for normalise in (idempotency.normalise, lambda b: idempotency.normalise_operation("refund", PAYMENT, b)):
        try:
            new = normalise(body) if isinstance(body, dict) else None
        except Refused:
            continue
        if new is not None:
            stored = idempotency.encode(new)
            same = idempotency.differing(stored, new, charge=isinstance(new, idempotency.NewPayment))
            require(same == (), f"{new!r} differs from itself: {same}")
            require(not has_card_number(json.loads(stored)), f"a card number in {stored[:300]!r}")


def cursor(data: bytes) -> None:
    """One of ours, which says the same when it is made again, or refused."""
    text = data.decode("latin-1")
    for read, again in (
        (cursor_position, lambda at: cursor_after(*at)),
        (lambda c: feed_position(TEST, c), lambda at: feed_after(TEST, *at)),
    ):
        try:
            position = read(text)
        except ValueError as error:
            require(text not in str(error) or len(text) < 10, "the text of the error repeats the cursor")
            continue
        require(read is not cursor_position or again(position) == text, f"{text!r} and {again(position)!r} are the same place")


def cursors() -> list[bytes]:
    made = [cursor_after(1_795_000_000_000_000, PAYMENT), cursor_after(0, "wh_x"), feed_after(TEST, 5, 7)]
    return [each.encode() for each in [*made, feed_after(Scope("mer_2", "live"), 5, 7), "", "e30", "=", "....", "A" * 300]]


@functools.cache
def keyring() -> tuple[Keyring, str]:
    keys = ring()
    made, text = keys.new("mer_default", "test", ("admin",))
    loop().run_until_complete(keys.add(made))
    return keys, text


def token(data: bytes) -> None:
    """Only the key itself opens the door."""
    keys, good = keyring()
    given = data.decode("latin-1")
    found = loop().run_until_complete(keys.check(given))
    require((found is not None) == (given == good), f"{given!r} opens the door")


def name(data: bytes) -> None:
    """Ids of payments, references, events and actors: read, or none of ours."""
    text = data.decode("utf-8", "replace")
    place, reference = news.place_of(text), ids.payment_of(text)
    require(place is None or ids.is_payment_id(place[0]), f"{text!r} leads to {place}")
    require(reference is None or ids.is_payment_id(reference), f"{text!r} leads to {reference}")
    actors.read(text)
    who = actors.actor(text, text[::-1])
    require(len(who) <= 2 * actors.CHARS_MAX + 1 and who.isprintable(), f"{who!r} is no actor")


def hidden(data: bytes) -> None:
    """What masks never fails, leaves no card number, and says the same twice."""
    text = data.decode("utf-8", "replace")
    once = mask(text)
    require(not has_card_number(once), f"a card number is left in {once!r}")
    require(mask(once) == once, f"{once!r} becomes {mask(once)!r}")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    require(not has_card_number(masked(document)), f"a card number is left in {masked(document)!r}")


def settings(data: bytes) -> None:
    """Settings, or a ConfigError that names the file; never anything else, whatever stands in it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "payonce.toml"
        file.write_bytes(data)
        try:
            load(file=file)
        except ConfigError as error:
            require(str(error) != "", "an error without a text")


def files() -> list[bytes]:
    root = Path(__file__).parents[2]
    shipped = [p.read_bytes() for p in sorted((root / "src" / "payonce").glob("*.toml"))]
    rules = b"""version = 1
[server]
mode = "test"
port = 8080
[store]
data_dir = "d"
[providers.a]
adapter = "mock"
base_url = "https://a.example"
credentials = { api_key = "env:A" }
merchants = ["mer_a"]
calls_max = 3
[providers.a.terms]
horizon_s = 86400
[routing.high_value]
default = 100000
INR = 5000000
[[rules]]
name = "r"
when = { currency = "INR", amount_from = 1, metadata = { vip = true } }
use = ["a"]
fallback = "any"
"""
    return [
        *shipped,
        rules,
        b"version = 1\n",
        b'version = 1\n[limits]\nkey_rate_per_s = 5\n[webhooks]\nallow_hosts = ["x.example"]\n',
    ]


SECRETS = [
    b"key sk_live_abcdefghij1234",
    b'{"api_key":"abcdefgh","n":[4111111111111111]}',
    b"Authorization: Basic dXNlcjpwYXNz",
    "4111\u00a01111%201111\\u00201111".encode(),
    b"pi_1_secret_abcdef &#52;111 -----BEGIN PRIVATE KEY-----x",
]
NAMES = [
    PAYMENT.encode(),
    f"{PAYMENT[4:]}0100".encode(),
    f"evt_{PAYMENT[4:]}000007_1".encode(),
    b"key_x@203.0.113.7",
    b"operator:a@b",
]

TARGETS = (
    Target("http", requests, ask, 500),
    Target("idempotency-key", lambda: [b"order-1\norder-1", b'"quoted"\n', b"\nin-body", b"4111111111111111\n"], key),
    Target(
        "request",
        lambda: [GOOD, b'{"amount":1,"currency":"inr","captureMethod":"manual","returnUrl":"https://a.example/x"}'],
        request,
    ),
    Target("cursor", cursors, cursor),
    Target("token", lambda: [keyring()[1].encode(), b"sk_live_x", b"sk_test_", b""], token),
    Target("names", lambda: NAMES, name),
    Target("masking", lambda: SECRETS, hidden, 250),
    Target("settings", files, settings, 200),
)
