"""An API over a memory store and a tiny provider, all in this process, on a clock and entropy of its own."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import httpx2
from msgspec.structs import replace

from payonce.adapter import (
    Absent,
    Authorized,
    Capabilities,
    Captured,
    Declined,
    Found,
    HttpRequest,
    Intent,
    NextAction,
    ReadOutcome,
    Refunded,
    Rejected,
    RequiresAction,
    Response,
    SendOutcome,
    Succeeded,
    Terms,
    Unknown,
    Voided,
)
from payonce.api.app import Envelope, create_app
from payonce.api.door import Door
from payonce.api.house import House
from payonce.config import load
from payonce.core.payment import StoredRequest
from payonce.dispatch import Account
from payonce.engine import Engine, Policy, Ports
from payonce.health import Health
from payonce.hold import RecordHold
from payonce.merchants import Merchants
from payonce.merchants.journal import Journal
from payonce.merchants.keys import SCOPES, Keyring, KeyScope
from payonce.outbound.courier import Courier
from payonce.outbound.endpoints import Endpoints
from payonce.ports import Change, Clock, Committed, Conflict, KeyRow, Lost, Registry, Scope, Store, Unclear
from payonce.stores.memory import MemoryInbox, MemoryRegistry, MemoryStore

TEST = Scope("mer_default", "test")
OTHER = Scope("mer_0123456789abcdefghjk", "test")
GOOD = {"amount": 1050, "currency": "INR", "paymentMethod": "tok_ok"}
START_US = 1_795_000_000_123_456  # 2026-11-18
CARD = "4242424242424242"

JsonObject = dict[str, Any]


class TickingClock:
    """Each look is a millisecond later; nobody waits."""

    def __init__(self) -> None:
        self.at_us = START_US

    def now_us(self) -> int:
        self.at_us += 1000
        return self.at_us

    def monotonic_us(self) -> int:
        return self.now_us()

    async def sleep(self, seconds: float) -> None:
        self.at_us += int(seconds * 1_000_000)
        await asyncio.sleep(0)


class CountingEntropy:
    """Different every time, the same in every run."""

    def __init__(self) -> None:
        self.count = 0

    def bits(self, count: int) -> int:
        self.count += 0x9E3779B97F4A7C15
        return self.count & ((1 << count) - 1)


class Woken:
    def __init__(self) -> None:
        self.ids: list[str] = []

    def send(self, payment_id: str) -> None:
        self.ids.append(payment_id)


class TinyAdapter:
    """Keyed, one step; the token says what happens. It holds, captures parts, voids and refunds whatever it is asked to."""

    name = "tiny"
    CAPABILITIES = Capabilities(
        terms=Terms(keyed=True, replay_span_s=60, refund_replay_span_s=60, voidable=True),
        steps=frozenset({"fire", "read", "capture", "void", "refund"}),
        partial_capture=True,
    )
    SANDBOX_CREDENTIALS: Mapping[str, str] = {}
    STATUSES: Mapping[str, str] = {}
    DECLINES: Mapping[str, Declined] = {}

    def credentials_of(self, values: Mapping[str, str]) -> object:
        return dict(values)

    def build(self, intent: Intent) -> HttpRequest:
        if intent.kind in ("capture", "void", "refund"):
            amount = {"capture": intent.capture_minor, "refund": intent.refund_minor}.get(intent.kind)
            return HttpRequest(method="POST", path=f"/{intent.kind}s", body=json.dumps({"amount": amount}).encode())
        body = {"amount": intent.amount_minor, "token": intent.payment_method, "reference": intent.reference}
        body |= {"return": intent.return_url} if intent.return_url else {}
        return HttpRequest(method="POST", path="/charges", body=json.dumps(body).encode())

    def authenticate(self, request: HttpRequest, credentials: object) -> Mapping[str, str]:
        return {}

    def parse(self, intent: Intent, response: Response) -> SendOutcome:
        said = json.loads(response.body)
        money: Any = {"reference": intent.reference, "currency": intent.currency, "mode": intent.mode}
        match intent.kind:
            case "capture":
                return Captured(ref="ch_1", amount_minor=said["amount"], **money)
            case "void":
                return Voided(ref="ch_1", reference=intent.reference)
            case "refund":
                reference = intent.refund_reference
                return Refunded(ref="re_1", reference=reference, amount_minor=said["amount"], currency=intent.currency)
        if intent.manual:
            return Authorized(ref="ch_1", amount_minor=said["amount"], **money)
        if said["token"].endswith("_lost"):  # in either mode: nobody knows, and nobody can read it
            return Unknown(reason="garbage")
        if said["token"] == "tok_action":
            return RequiresAction(ref="ch_1", reference=intent.reference)
        if said["token"] == "tok_ok" or not said["token"].startswith("tok_"):
            return Succeeded(
                ref="ch_1",
                reference=intent.reference,
                amount_minor=intent.amount_minor,
                currency=intent.currency,
                mode=intent.mode,
            )
        if said["token"] == "tok_stolen":
            return Declined(code="stolen_card", hard=True, scope="issuer", reference=intent.reference)
        if said["token"] == "tok_busy_then_stolen":
            if intent.reference.endswith("00"):
                return Declined(code="processing_error", hard=False, scope="provider_technical", reference=intent.reference)
            return Declined(code="stolen_card", hard=True, scope="issuer", reference=intent.reference)
        if said["token"] == "tok_rejected":
            return Rejected(reason=f"bad request: {CARD}")
        return Unknown(reason="garbage")

    def next_action(self, intent: Intent, response: Response) -> NextAction | None:
        return NextAction(type="redirect", url=f"https://bank.invalid/{intent.reference}")

    def parse_read(self, intent: Intent, response: Response) -> ReadOutcome:
        return Found() if response.status == 200 else Absent()

    def expose(self, body: bytes) -> bytes:
        return body


class Echo:
    """A transport whose provider repeats the request as its answer."""

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response | Lost:
        return Response(status=200 if request.method == "POST" else 404, headers={}, body=body or b"{}")

    async def close(self) -> None: ...


class UnclearStore(MemoryStore):
    """Loses the answer of the first write of a payment: done or not, nobody knows."""

    def __init__(self, *, done: bool) -> None:
        super().__init__()
        self.done, self.lost = done, 0

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        if self.lost:
            return await super().commit(change, expected_version)
        self.lost += 1
        if self.done:
            await super().commit(change, expected_version)
        return Unclear()


class HidingStore(MemoryStore):
    """The key is visible before its payment, as on a store that replicates."""

    async def get(self, payment_id: str) -> None:
        return None


class BrokenStore(MemoryStore):
    """A bug whose text quotes the request."""

    async def find_key(self, scope: Scope, key: str) -> KeyRow | None:
        raise RuntimeError(f"could not handle {CARD} of {key}")

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        raise RuntimeError(f"could not write {CARD}")


class Service:
    """The application with a client in front; ``post`` sends a good payment unless told otherwise."""

    def __init__(self, app: Envelope, engine: Engine, store: Store, client: httpx2.AsyncClient) -> None:
        self.app, self.engine, self.store, self.client = app, engine, store, client

    async def post(
        self, body: object = GOOD, *, key: str | None = "key-1", headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content-type": "application/json", **({"idempotency-key": key} if key is not None else {}), **(headers or {})}
        sent = {name: value.encode() for name, value in given.items()}
        return await self.client.post("/payments", content=raw, headers=sent)

    async def ask(self, id: str, what: str, key: str | None, body: object = None, **headers: str) -> httpx2.Response:
        """POST /payments/{id}/capture, void or refunds; without ``body`` the request has none."""
        given = {**({"idempotency-key": key} if key is not None else {}), **headers}
        if body is None:
            return await self.client.post(f"/payments/{id}/{what}", headers=given)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(
            f"/payments/{id}/{what}", content=raw, headers={"content-type": "application/json", **given}
        )

    async def settled(self, key: str = "key-1", **fields: object) -> str:
        """The id of a payment that was accepted and worked on once."""
        id: str = (await self.accepted(key, **fields))["transactionId"]
        await self.engine.advance(id)
        return id

    async def post_to(self, path: str) -> httpx2.Response:
        return await self.client.post(path, json=GOOD, headers={"idempotency-key": "key-1"})

    async def get(self, path: str, **query: str) -> httpx2.Response:
        return await self.client.get(path, params=query)

    async def accepted(self, key: str = "key-1", **fields: object) -> JsonObject:
        answer = await self.post({**GOOD, **fields}, key=key)
        assert answer.status_code == 202, answer.text
        body: JsonObject = answer.json()
        return body

    async def count(self) -> int:
        return sum((await self.store.counts()).values())


async def all_ok(_scope: Scope | None = None) -> Mapping[str, str]:
    return {"store": "ok"}


def ring(registry: Registry | None = None, clock: Clock | None = None) -> Keyring:
    """Keys in a registry of their own, unless one is given."""
    return Keyring(registry or MemoryRegistry(), clock or TickingClock(), CountingEntropy())


def open_door(engine: Engine, scope: Scope = TEST, *, keys: Keyring | None = None, **limits: Any) -> Door:
    """Whoever comes is ``scope``'s merchant until a key is made, as on loopback."""
    return Door(keys or ring(clock=engine.clock), scope.mode, engine.clock, open_to=scope, **limits)


async def new_key(
    keys: Keyring, scope: Scope = TEST, *scopes: KeyScope, rate_per_s: int = 0, expires_us: int = 0
) -> dict[str, str]:
    """The header of a fresh key on record; without ``scopes`` it may do everything."""
    key, text = keys.new(scope.merchant_id, scope.mode, scopes or SCOPES, rate_per_s=rate_per_s, expires_us=expires_us)
    await keys.add(key)
    return {"Authorization": f"Bearer {text}"}


def account(name: str = "tiny", mode: str = "test", currencies: frozenset[str] | None = None, **can: Any) -> Account:
    adapter = TinyAdapter()
    adapter.CAPABILITIES = replace(TinyAdapter.CAPABILITIES, currencies=currencies, **can)
    return Account(
        name=name,
        adapter=adapter,
        mode="live" if mode == "live" else "test",
        base_url="https://tiny.invalid",
        credential_id="none",
        credentials={},
        terms=adapter.CAPABILITIES.terms,
    )


class NoSender:
    """To merchants' endpoints nothing is sent here."""

    async def send(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is to be sent")


def telling(engine: Engine, store: MemoryStore, registry: Registry) -> tuple[Endpoints, Courier]:
    """Endpoints and courier for an engine, which from now on notes down what they are to be told."""
    clock, entropy, journal = engine.clock, engine.entropy, Journal(registry, engine.clock)
    endpoints = Endpoints(registry, clock, entropy, journal, lambda: b"k" * 32)
    rest: dict[str, Any] = {"clock": clock, "entropy": entropy, "wake": engine.wake, "timeout_ms": 1000}
    engine.listeners = endpoints
    return endpoints, Courier(store.outbox, store, endpoints, NoSender(), journal, **rest)


def house_over(engine: Engine, registry: Registry | None = None, *, keys: Keyring | None = None, **more: Any) -> House:
    """What the API shows of an engine over a memory store, with the settings of a fresh start; an inbox and a registry of its
    own, unless they are given."""
    rows, registry, clock = cast("MemoryStore", engine.store), registry or MemoryRegistry(), engine.clock
    own: dict[str, Any] = {
        "store": rows,
        "registry": registry,
        "inbox": MemoryInbox(),
        "outbox": rows.outbox,
        "figures": rows.figures,
        "accounts": engine.accounts,
        "health": Health(registry, clock),
        "lanes": engine.lanes,
        "hold": RecordHold(registry, clock),
        "merchants": Merchants(registry, clock, engine.entropy),
        "keys": keys or ring(registry, clock),
        "journal": Journal(registry, clock),
        "settings": load({}, {}),
        "clock": clock,
        "started_us": START_US,
    }
    return House(**{**own, **more})


def engine_over(store: Store, *accounts: Account, return_to: str = "") -> Engine:
    ports = Ports(store=store, transport=Echo(), clock=TickingClock(), entropy=CountingEntropy(), wake=Woken())
    return Engine(ports, {a.name: a for a in accounts or (account(),)}, Policy(), return_to=return_to)


def serving(
    check: Callable[[Service], Awaitable[None]],
    *,
    store: Store | None = None,
    accounts: tuple[Account, ...] = (),
    scope: Scope = TEST,
    return_to: str = "",
    ready: Callable[[Scope | None], Awaitable[Mapping[str, str]]] = all_ok,
    door: Callable[[Engine], Door] | None = None,
    **more: Any,
) -> None:
    """Run ``check`` against a fresh service, without keys unless ``door`` makes another door."""

    async def run() -> None:
        rows = store if store is not None else MemoryStore()
        engine = engine_over(rows, *accounts, return_to=return_to)
        if "house" not in more and isinstance(rows, MemoryStore):
            more["house"] = house_over(engine)
        app = create_app(engine, door=door(engine) if door else open_door(engine, scope), ready=ready, **more)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://payonce.test") as client:
            await check(Service(app, engine, rows, client))

    asyncio.run(run())


def problem_of(answer: httpx2.Response) -> JsonObject:
    """The problem an answer is, checked for what every problem has."""
    assert answer.headers["content-type"] == "application/problem+json"
    body: JsonObject = answer.json()
    assert body["status"] == answer.status_code
    assert body["requestId"] == answer.headers["request-id"]
    assert body["type"] == f"/docs#problem-{body['code']}"
    assert body["money"]
    assert body["next"]
    return body
