"""Hostile clients at the routes of endpoints and events, on a real port: whatever they send is refused as documented, and
nothing is registered, changed or sent for it."""

import asyncio
import json
from typing import Any

import pytest

from payonce.api.app import create_app
from payonce.api.incoming import BODY_BYTES_MAX, QUERY_FIELDS_MAX
from payonce.httpd import bind, http_server
from payonce.outbound.endpoints import Endpoints
from payonce.stores.memory import MemoryRegistry, MemoryStore

from .service import CARD, TEST, all_ok, engine_over, open_door, telling
from .test_connections import Port, answer_of, run

BY = {"actor": "test", "request_id": ""}
ROUTES = {
    "POST /webhook-endpoints": b'"url": "https://shop.example/new"',
    "PATCH /webhook-endpoints/{}": b'"url": "https://shop.example/other"',
    "POST /webhook-endpoints/{}/recover": b'"since": "2026-11-01T00:00:00Z"',
    "POST /webhook-endpoints/{}/rotate-secret": b'"overlapS": 0',
    "POST /webhook-endpoints/{}/disable": b"",
    "POST /webhook-endpoints/{}/test": b"",
}
BODIES: dict[str, tuple[bytes, int, str]] = {  # {} is the good field; its status and code
    "deep": (b'{"x": ' + b"[" * 500 + b"]" * 500 + b"}", 400, "body_invalid"),
    "very deep": (b'{"x": ' + b"[" * 30_000, 400, "body_invalid"),
    "no UTF-8": (b'{"description": "\xff\xfe"}', 400, "body_invalid"),
    "a surrogate in UTF-8": (b'{"description": "\xed\xa0\x80"}', 400, "body_invalid"),
    "UTF-16": ("{}".encode("utf-16"), 400, "body_invalid"),
    "a name twice": (b'{"url": "https://a.example", "url": "https://b.example"}', 400, "body_invalid"),
    "a name twice, escaped": (b'{"since": 1, "\\u0073ince": 2}', 400, "body_invalid"),
    "no number": (b'{"overlapS": NaN}', 400, "body_invalid"),
    "a huge number": (b'{"overlapS": ' + b"9" * 5000 + b"}", 422, "validation_failed"),
    "no object": (b"[]", 400, "body_invalid"),
    "two objects": (b"{} {}", 400, "body_invalid"),
    "unknown": (b'{"x": 1}', 422, "validation_failed"),
    "huge": (b'{"x": "' + b"y" * BODY_BYTES_MAX + b'"}', 413, "body_too_large"),
    "a card": (b'{"x": "%s"}' % CARD.encode(), 422, "card_number_refused"),
}
HEADS = {
    "two types": (b"Content-Type: application/json\r\n", 415, "media_type_unsupported"),
    "compressed": (b"Content-Encoding: gzip\r\n", 415, "media_type_unsupported"),
    "two keys": (b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", 401, "key_invalid"),
    "two framings": (b"Transfer-Encoding: chunked\r\n", 400, "body_invalid"),
    "many": (b"X-A: b\r\n" * 100, 431, "headers_too_large"),
}
QUERIES = {
    "cursor=%ff%fe": "validation_failed",
    "type=payment.succeeded&type=payment.succeeded": "validation_failed",
    "&".join(f"a{n}=1" for n in range(QUERY_FIELDS_MAX + 1)): "validation_failed",
    "limit=" + "9" * 4000: "validation_failed",
    "limit=%D9%A1": "validation_failed",
    "since=2026-13-41T99:99:99Z": "validation_failed",
    "since=2026-11-24T00:00:00+00:00": "validation_failed",
    "since=2026-11-24T00:00:00Z&cursor=x": "validation_failed",
    "cursor=" + "A" * 255: "validation_failed",
    "cursor=%00": "validation_failed",
    f"type={CARD}": "card_number_refused",
}


class Hooked:
    """A listening server with an endpoint of TEST."""

    def __init__(self, port: Port, endpoints: Endpoints, id: str) -> None:
        self.port, self.endpoints, self.id = port, endpoints, id

    async def told(self, route: str, body: bytes, more: bytes = b"") -> tuple[int, str]:
        method, path = route.replace("{}", self.id).encode().split()
        head = b"%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n" % (method, path)
        raw = await self.port.told(head + more + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        status, _, problem = answer_of(raw)
        return status, problem["code"]


def hooked(check: Any, *, body_s: float = 10) -> None:
    """Run ``check`` on a server; afterwards its endpoint is the only one, and as it was, and nothing is to be sent to it."""

    async def go() -> None:
        store = MemoryStore()
        engine = engine_over(store)
        endpoints, courier = telling(engine, store, MemoryRegistry())
        door, more = open_door(engine), {"endpoints": endpoints, "courier": courier, "body_s": body_s}
        app = create_app(engine, door=door, ready=all_ok, **more)  # type: ignore[arg-type]
        before = await endpoints.create(TEST, "https://shop.example/hooks", (), "", **BY)
        sock = bind("127.0.0.1", 0)
        async with http_server(app, sock, drain_s=5):
            await check(Hooked(Port(sock.getsockname()[1], store), endpoints, before.id))
        assert await endpoints.all(TEST) == (before,)
        assert await courier.due(2**62, 10) == ()

    run(go)


@pytest.mark.parametrize("route", ROUTES)
def test_hostile_bodies_are_refused(route: str) -> None:
    """Deep, huge, not UTF-8, doubled names, numbers without end: the documented problem, in whatever state the endpoint is."""

    async def check(s: Hooked) -> None:
        for what, (body, status, code) in BODIES.items():
            assert await s.told(route, body) == (status, code), what

    hooked(check)


@pytest.mark.parametrize("route", ROUTES)
def test_hostile_heads_are_refused(route: str) -> None:
    """Doubled headers, two framings, compression, too many headers."""

    async def check(s: Hooked) -> None:
        for what, (head, status, code) in HEADS.items():
            body = b"{%s}" % ROUTES[route] if what != "two framings" else b"0\r\n\r\n"
            assert await s.told(route, body, head) == (status, code), what

    hooked(check)


def test_slow_bodies_are_refused() -> None:
    """A body that does not come is a 408 on each of these routes."""

    async def check(s: Hooked) -> None:
        async def slow(route: str) -> tuple[int, str]:
            method, path = route.replace("{}", s.id).encode().split()
            head = b"%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{" % (
                method,
                path,
            )
            status, _, problem = answer_of(await s.port.told(head))
            return status, problem["code"]

        assert set(await asyncio.gather(*map(slow, ROUTES))) == {(408, "body_timeout")}

    hooked(check, body_s=0.2)


def test_hostile_queries_are_refused() -> None:
    """GET /events and the deliveries of an endpoint take no query but theirs, once and in its form."""

    async def check(s: Hooked) -> None:
        for query, code in QUERIES.items():
            assert await s.told(f"GET /events?{query}", b"") == (422, code), query[:60]
            if "since" not in query and "type=p" not in query:
                assert await s.told(f"GET /webhook-endpoints/{{}}/deliveries?{query}", b"") == (422, code), query[:60]

    hooked(check)


def test_ids_that_are_none_lead_nowhere() -> None:
    """Whatever stands where an id belongs is not there; nothing of it is an error of ours."""

    async def check(s: Hooked) -> None:
        for id in (
            "x",
            "%00",
            "%ff",
            "whe_" + "0" * 20,
            "whe_" + "0" * 4000,
            "..%2f..",
            "%F0%9F%92%A9",
            s.id.upper(),
            s.id + "%20",
        ):
            for path in (f"/webhook-endpoints/{id}", f"/events/{id}", f"/webhook-deliveries/{id}"):
                assert await s.told(f"GET {path}", b"") == (404, "not_found"), path[:60]

    hooked(check)


def test_the_fields_are_good() -> None:
    """What ROUTES says of good fields is JSON: the refusals above are of what stands beside them."""
    for field in ROUTES.values():
        assert isinstance(json.loads(b"{%s}" % field), dict)
