"""The apps of the functions over a model of AWS, as ``bootstrap.open_app`` puts them together; and what is around them: a
clock, chance, the way to providers, a merchant's server."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from payonce.awsapi import Aws, Done
from payonce.bootstrap import App, accounts_of, policy_of
from payonce.config import Settings
from payonce.core.payment import StoredRequest
from payonce.engine import Engine, Ports
from payonce.health import Health
from payonce.hold import RecordHold
from payonce.inbox import Receiver
from payonce.merchants import DEFAULT_MERCHANT, Merchants
from payonce.merchants.journal import Journal
from payonce.merchants.keys import Keyring
from payonce.outbound.courier import Courier
from payonce.outbound.endpoints import Endpoints
from payonce.outbound.sending import Sent
from payonce.ports import Clock, Lost, Response, Scope
from payonce.stores.dynamodb import DynamoStore, open_store
from payonce.stores.dynamodb.tables import Tables, create_tables
from payonce.transport import HttpTransport
from payonce.wake.sqs import SqsWake

S: Final = 1_000_000
START_US: Final = 1_800_000_000 * S
CALL_S: Final = 0.3  # that a provider takes to answer, and a merchant's server
QUEUE, DELIVERIES = "payonce-due", "payonce-deliveries"
SIGNING_KEY: Final = b"0" * 64
TABLES: Final = Tables(transactions="Transactions", idempotency="Idempotency", registry="Registry")


class Ticks:
    """A clock that stands until somebody sleeps."""

    def __init__(self) -> None:
        self.at_us = START_US

    def now_us(self) -> int:
        return self.at_us

    def monotonic_us(self) -> int:
        return self.at_us

    async def sleep(self, seconds: float) -> None:
        self.at_us += int(seconds * S)


class Digits:
    """Chance that is the same in each run."""

    def __init__(self) -> None:
        self._drawn = 0

    def bits(self, count: int) -> int:
        self._drawn += 1
        return int.from_bytes(hashlib.sha256(str(self._drawn).encode()).digest(), "big") >> (256 - count)


class Provided:
    """The transport, counted: each call takes ``CALL_S``."""

    def __init__(self, transport: HttpTransport, clock: Clock) -> None:
        self._transport, self._clock, self.calls = transport, clock, 0

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response | Lost:
        self.calls += 1
        reply = await self._transport.send(request, body, secret_headers, send_by_us=send_by_us, timeout_ms=timeout_ms)
        await self._clock.sleep(CALL_S)
        return reply

    async def close(self) -> None:
        await self._transport.close()


class Endpoint200:
    """A merchant's server that takes every webhook, as fast as a provider answers."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self.got = clock, 0

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        del url, headers, body
        self.got += 1
        await self._clock.sleep(CALL_S)
        return Sent(status=200)


class Apps(Struct, frozen=True):
    """What the execution environments have open, and the merchant's server."""

    api: App
    worker: App
    deliver: App
    shop: Endpoint200


def done(answer: object) -> dict[str, Any]:
    """What AWS answered. Raises RuntimeError when it did not do it."""
    if not isinstance(answer, Done):
        raise RuntimeError(f"the model of AWS refused: {answer}")  # noqa: TRY004  it is what AWS said
    return answer.body


async def deployed(aws: Aws, clock: Clock) -> dict[str, str]:
    """Tables and queues, and the environment that names them."""
    await create_tables(aws, clock, TABLES)
    urls = []
    for name in (QUEUE, "payonce-dead", DELIVERIES):
        made = await aws.call("sqs", "CreateQueue", {"QueueName": name, "Attributes": {"VisibilityTimeout": "540"}})
        urls.append(str(done(made)["QueueUrl"]))
    return {
        "PAYONCE_TRANSACTIONS_TABLE": TABLES.transactions,
        "PAYONCE_IDEMPOTENCY_TABLE": TABLES.idempotency,
        "PAYONCE_REGISTRY_TABLE": TABLES.registry,
        "PAYONCE_QUEUE_URL": urls[0],
        "PAYONCE_DEAD_LETTER_URL": urls[1],
        "PAYONCE_DELIVERIES_URL": urls[2],
    }


def app_over(
    settings: Settings, aws: Aws, clock: Clock, digits: Digits, wire: Provided, *, shop: Endpoint200 | None = None
) -> App:
    """As ``bootstrap.open_app`` puts it together, over the model; the accounts wait and watch as long as real ones do.
    ``shop``: it holds the signing key, and this is what its webhooks reach."""
    known = accounts_of(settings, {})
    accounts = {name: replace(a, terms=a.adapter.CAPABILITIES.terms) for name, a in known.items()}
    store = open_store(aws, clock, TABLES)
    wake = SqsWake(aws, settings.text("wake.queue_url"), clock, deliveries_url=settings.text("wake.deliveries_url"))
    health = Health(store.registry, clock)
    ports = Ports(store=store, transport=wire, clock=clock, entropy=digits, wake=wake)
    journal = Journal(store.registry, clock)
    endpoints = Endpoints(store.registry, clock, digits, journal, lambda: SIGNING_KEY) if shop else None
    courier = _courier(store, endpoints, shop, journal, ports) if shop and endpoints else None
    engine = Engine(
        ports,
        accounts,
        policy_of(settings),
        rules=settings.rules,
        health=health,
        return_to=settings.return_to,
        listeners=endpoints,
    )
    scope, hold = Scope(DEFAULT_MERCHANT, settings.mode), RecordHold(store.registry, clock)
    inbox = Receiver(store.inbox, store, accounts, engine.ingest, clock=clock, wake=wake)
    return App(
        settings=settings,
        engine=engine,
        store=store,
        transport=wire,
        wake=wake,
        clock=clock,
        scope=scope,
        hold=hold,
        sandbox=None,
        health=health,
        merchants=Merchants(store.registry, clock, digits),
        keys=Keyring(store.registry, clock, digits),
        journal=journal,
        webhooks=inbox,
        endpoints=endpoints,
        courier=courier,
        aws=aws,
    )


def _courier(store: DynamoStore, endpoints: Endpoints, shop: Endpoint200, journal: Journal, ports: Ports) -> Courier:
    return Courier(
        store.outbox,
        store,
        endpoints,
        shop,
        journal,
        clock=ports.clock,
        entropy=ports.entropy,
        wake=ports.wake,
        timeout_ms=15_000,
    )
