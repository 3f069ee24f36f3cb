"""Answers of the API to a table of requests, byte for byte, on a clock that stands and entropy that counts: what a change for
speed alone must leave as it is. ``python -m tests.api.same_bytes`` writes them down anew, after a change that is meant."""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import httpx2
from starlette.applications import Starlette
from starlette.routing import Mount

from payonce.api.app import create_app
from payonce.engine import Engine, Policy, Ports
from payonce.stores.memory import MemoryRegistry, MemoryStore
from payonce.testing.provider_wired import FakeClock

from .service import CARD, GOOD, START_US, TEST, CountingEntropy, Echo, Woken, account, all_ok, house_over, new_key, open_door
from .service import ring as ring_of

KEPT: Final = Path(__file__).parent.parent / "fixtures" / "api" / "answers.json"
HELD: Final = {
    **GOOD,
    "captureMethod": "manual",
    "clientId": "shop-7",
    "description": "Größe 42",
    "metadata": {"order": "A-7", "n": 1.5},
}
JSON: Final = {"content-type": "application/json"}

Asked = tuple[str, str, dict[str, str], object]


def post(body: object, key: str | None = "key-1", **headers: str) -> Asked:
    given = {"idempotency-key": key} if key is not None else {}
    return ("POST", "/payments", {**JSON, **given, **{name.replace("_", "-"): value for name, value in headers.items()}}, body)


def get(path: str, **headers: str) -> Asked:
    return ("GET", path, {name.replace("_", "-"): value for name, value in headers.items()}, None)


ACCEPTING: Final[tuple[Asked, ...]] = (
    post(GOOD),
    post(GOOD, request_id="checkout-42"),
    post({**GOOD, "amount": 1051}),
    post(GOOD, None),
    post(GOOD, "with space"),
    post(GOOD, '"quoted-key"'),
    post(GOOD, "key-1764000000123-17"),
    post(GOOD, CARD),
    post(GOOD, f"order {CARD[:4]} {CARD[4:8]} {CARD[8:12]} {CARD[12:]}"),
    post({**GOOD, "idempotencyKey": "in-the-body"}, None),
    post({**GOOD, "idempotencyKey": "other"}, "one"),
    post({**GOOD, "description": f"card {CARD}"}, "card-1"),
    post({**GOOD, "metadata": {CARD: 1}}, "card-2"),
    post({**GOOD, "metadata": {"n": int(CARD)}}, "card-3"),
    post({**GOOD, "metadata": {"n": float(CARD)}}, "card-4"),
    post({**GOOD, "description": "%34242424242424242"}, "card-5"),
    post({"amount": 0, "currency": "XXX", "clientId": "a\x00b", "provider": "", "x": 1, "metadata": {"": 1, "l": []}}, "bad-1"),
    post({"amount": "12", "currency": 5, "captureMethod": "later", "returnUrl": "ftp://x", "actionExpiresIn": 1}, "bad-2"),
    post({**GOOD, "paymentMethod": {"type": "card", "token": "tok_ok"}}, "method-1"),
    post({**GOOD, "paymentMethod": {"type": "card", "token": "x", "cvc": "1"}}, "method-2"),
    post({**GOOD, "provider": "nobody"}, "route-1"),
    post({**GOOD, "provider": "tiny"}, "route-2"),
    post({**GOOD, "currency": "jpy", "amount": 999_999_999_999, "paymentMethod": "pm_0123456789abcdef"}, "large"),
    post(HELD, "held"),
    post(b"{", "json-1"),
    post(b'{"amount": 1, "amount": 2}', "json-2"),
    post(b'{"amount": NaN}', "json-3"),
    post(b'{"amount": 1e400}', "json-4"),
    post(b"[1]", "json-5"),
    post(b"\xff", "json-6"),
    post(b"[" * 100 + b"]" * 100, "json-7"),
    post(b" " * 70_000, "json-8"),
    post(GOOD, "type-1", content_type="text/plain"),
    post(GOOD, "type-2", content_type="application/json; charset=utf-8"),
    post(GOOD, "type-3", content_type="application/json; charset=latin1"),
    post(GOOD, "type-4", content_encoding="gzip"),
    ("POST", "/payments?x=1", {**JSON, "idempotency-key": "query-1"}, GOOD),
)
READING: Final[tuple[Asked, ...]] = (
    get("/payments/ID1"),
    get("/payments/ID1", request_id="x" * 65),
    get("/payments/ID2"),
    get("/payments/ID3"),
    get("/payments/pay_00000000000000000000"),
    get("/payments/nothing%20here"),
    get("/payments/%34242424242424242"),
    get("/payments/ID1?x=1"),
    get("/payments/ID1/"),
    get("/payments/"),
    get("/payments/ID1/nothing"),
    get("/payments/ID1%2Fhistory"),
    get("/payments/ID1/history"),
    get("/payments/ID1/operations"),
    get("/payments/ID1/operations/nothing"),
    get("/payments/ID2/refunds"),
    get("/payments"),
    get("/payments?limit=1&clientId=shop-7"),
    get("/payments?idempotencyKey=key-1"),
    get("/payments?limit=x&status=LOST"),
    get("/events"),
    get("/webhook-endpoints"),
    get("/nothing"),
    get("/"),
    get("/livez"),
    get("/livez/"),
    get("/readyz"),
    get("/return/nobody"),
    ("HEAD", "/payments/ID1", {}, None),
    ("HEAD", "/livez", {}, None),
    ("HEAD", "/nothing", {}, None),
    ("OPTIONS", "/payments", {}, None),
    ("OPTIONS", "/payments/ID1", {}, None),
    ("OPTIONS", "/nothing", {}, None),
    ("DELETE", "/payments/ID1", {}, None),
    ("PUT", "/payments", {}, None),
    ("BREW", "/payments", {}, None),
    ("POST", "/nothing", {}, GOOD),
    ("POST", "/webhooks/tiny", JSON, GOOD),
    ("POST", "/payments/ID3/capture", {**JSON, "idempotency-key": "capture-1"}, {"amount": 50}),
    ("POST", "/payments/ID3/void", {**JSON, "idempotency-key": "void-1"}, {}),
    ("POST", "/payments/ID1/refunds", {**JSON, "idempotency-key": "refund-1"}, {"amount": 50}),
    ("POST", "/payments/ID1/refunds", {**JSON, "idempotency-key": "refund-1"}, {"amount": 50}),
    ("POST", "/payments/ID1/refunds", {**JSON, "idempotency-key": "refund-2"}, {"amount": 5_000_000}),
)
MOUNTED: Final[tuple[Asked, ...]] = (
    ("POST", "/pay/payments", {**JSON, "idempotency-key": "mounted"}, GOOD),
    get("/pay/payments/ID1"),
    get("/pay/"),
    get("/pay/nothing"),
    get("/pay/payments/x"),
    get("/pay/livez"),
)
DOOR: Final[tuple[Asked, ...]] = (
    post(GOOD, "locked"),
    get("/payments/ID1", authorization="Bearer sk_test_wrong"),
    get("/payments/ID1", authorization="Basic abc"),
    get("/payments/ID1", authorization="READ"),
    ("POST", "/payments", {**JSON, "idempotency-key": "locked", "authorization": "READ"}, GOOD),
    ("POST", "/payments", {**JSON, "idempotency-key": "locked", "authorization": "ALL"}, GOOD),
    get("/readyz", authorization="ALL"),
    get("/livez"),
    get("/nothing"),
)


async def answers() -> dict[str, Any]:
    """Name of each request -> status, headers in their order, and body as text."""
    clock, entropy, rows, registry = FakeClock(START_US), CountingEntropy(), MemoryStore(), MemoryRegistry()
    ports = Ports(store=rows, transport=Echo(), clock=clock, entropy=entropy, wake=Woken())
    engine = Engine(ports, {a.name: a for a in (account(), account("yen", currencies=frozenset({"JPY"})))}, Policy())
    keys, house = ring_of(registry, clock), house_over(engine, registry)
    app = create_app(engine, door=open_door(engine, keys=keys), ready=all_ok, house=house)
    found: dict[str, Any] = {}
    named: dict[str, str] = {}

    def with_names(text: str) -> str:
        for short, full in named.items():
            text = text.replace(short, full)
        return text

    async def ask(api: Any, part: str, table: tuple[Asked, ...]) -> None:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api), base_url="http://payonce.test") as client:
            for place, (method, template, given, body) in enumerate(table):
                path, headers = with_names(template), {name: with_names(value) for name, value in given.items()}
                raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
                answer = await client.request(method, path, content=raw, headers=headers)
                said = [f"{name}: {value}" for name, value in answer.headers.multi_items()]
                found[f"{part} {place:02} {method} {template}"] = {
                    "status": answer.status_code,
                    "headers": said,
                    "body": answer.text,
                }

    await ask(app, "accepting", ACCEPTING)
    ids = [p.id for p in sorted(rows.rows(), key=lambda p: p.id)]
    for id in ids[:3]:
        await engine.advance(id)
    held = next(p.id for p in rows.rows() if p.capture_method == "manual")
    await engine.advance(held)
    named |= {"ID1": ids[0], "ID2": ids[1], "ID3": held}
    await ask(app, "reading", READING)
    await ask(Starlette(routes=[Mount("/pay", app)]), "mounted", MOUNTED)
    reading, every = await new_key(keys, TEST, "payments:read"), await new_key(keys, TEST)
    named |= {"READ": reading["Authorization"], "ALL": every["Authorization"]}
    await ask(app, "door", DOOR)
    return found


if __name__ == "__main__":
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_text(json.dumps(asyncio.run(answers()), indent=1, ensure_ascii=False) + "\n")
