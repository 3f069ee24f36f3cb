"""An app as the functions have it, in this process: the DynamoDB store and the queue of the model, and the sandbox's vendors.

The clock is the test's: it goes on when something sleeps, and when it is set."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from payonce.aws.batch import Attributes, Record
from payonce.awsapi import Answer, Done, Lost, Service
from payonce.bootstrap import App, SystemEntropy, open_app, policy_of
from payonce.config import Settings, Value, load
from payonce.core.idempotency import normalise
from payonce.engine import Engine, Ports
from payonce.health import Health
from payonce.hold import RecordHold
from payonce.inbox import Receiver
from payonce.mail import Webhook
from payonce.merchants import Merchants
from payonce.merchants.journal import Journal
from payonce.merchants.keys import Keyring
from payonce.outbound.opening import opened
from payonce.stores.dynamodb import Tables, create_tables, open_store
from payonce.testing.amazon import ModelAws
from payonce.wake.sqs import SqsWake

LONG_MS = 90_000  # of an invocation
T = TypeVar("T")
QUEUE, DEAD, DELIVERIES = (f"http://127.0.0.1/000000000000/{name}" for name in ("due", "dead", "deliveries"))
QUEUES = {QUEUE: "DueQueue", DEAD: "DeadLetterQueue", DELIVERIES: "DeliveriesQueue"}
SIGNING_KEY = b"0123456789abcdef0123456789abcdef"


class SetClock:
    """Goes on when something sleeps here, and when a test says so."""

    def __init__(self) -> None:
        self.at_us = 1_800_000_000_000_000

    def now_us(self) -> int:
        return self.at_us

    def monotonic_us(self) -> int:
        return self.at_us

    async def sleep(self, seconds: float) -> None:
        self.at_us += int(seconds * 1_000_000)


class WatchedAws:
    """The model, with what was asked of the queue. ``down``: operations that get no answer."""

    def __init__(self, clock: SetClock) -> None:
        self.model = ModelAws(clock)
        self.sent: list[tuple[str, int]] = []  # id, delay in seconds
        self.hidden: list[tuple[str, int]] = []  # receipt handle, seconds
        self.told: list[tuple[str, int]] = []  # the same, of the queue of deliveries
        self.lengths = dict.fromkeys(QUEUES, 0)
        self.down: set[str] = set()
        self.rights: set[str] = set()  # what was asked, as rights of IAM: "dynamodb:Query TransactionsTable/index/due"

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
        self.rights |= set(rights_of(service, operation, params))
        if operation in self.down:
            return Lost("down")
        if service != "sqs":
            return await self.model.call(service, operation, params)
        return await self._queue(operation, params)

    async def _queue(self, operation: str, params: Mapping[str, Any]) -> Answer:
        entries = params.get("Entries", ())
        match operation:
            case "SendMessageBatch":
                into = self.told if params["QueueUrl"] == DELIVERIES else self.sent
                into += [(each["MessageBody"], each["DelaySeconds"]) for each in entries]
            case "ChangeMessageVisibilityBatch":
                self.hidden += [(each["ReceiptHandle"], each["VisibilityTimeout"]) for each in entries]
            case "GetQueueAttributes":
                return Done({"Attributes": {"ApproximateNumberOfMessages": str(self.lengths[params["QueueUrl"]])}})
            case _:
                raise AssertionError(f"{operation} is not expected here")
        return Done({"Successful": [{"Id": each["Id"]} for each in entries], "Failed": []})

    async def close(self) -> None: ...


def rights_of(service: Service, operation: str, params: Mapping[str, Any]) -> Iterator[str]:
    """The rights that a call needs. A transaction needs those of its parts (DynamoDB developer guide, "IAM and DynamoDB
    transactions"), a batch of SQS that of the single operation (SQS developer guide, "Amazon SQS API permissions")."""
    if service == "sqs":
        yield f"sqs:{operation.removesuffix('Batch')} {QUEUES[params['QueueUrl']]}"
    elif operation == "TransactWriteItems":
        for part in params["TransactItems"]:
            ((kind, write),) = part.items()
            yield f"dynamodb:{kind}Item {write['TableName']}Table"
    elif operation == "BatchGetItem":
        yield from (f"dynamodb:BatchGetItem {table}Table" for table in params["RequestItems"])
    else:
        index = f"/index/{params['IndexName']}" if "IndexName" in params else ""
        yield f"dynamodb:{operation} {params['TableName']}Table{index}"


@asynccontextmanager
async def room(folder: Path, clock: SetClock, *, signs: bool = True) -> AsyncIterator[tuple[App, WatchedAws]]:
    """The app and what it asks of AWS. ``signs``: it holds the signing key, as the API and who delivers do."""
    local = load(env={"PAYONCE_DATA_DIR": str(folder), "PAYONCE_WEBHOOK_ALLOW_HOSTS": "127.0.0.1"})
    async with open_app(local, clock=clock, env={}) as base:
        aws = WatchedAws(clock)
        tables = Tables(transactions="Transactions", idempotency="Idempotency", registry="Registry")
        await create_tables(aws, clock, tables)
        store = open_store(aws, clock, tables)
        wake = SqsWake(aws, QUEUE, clock, deliveries_url=DELIVERIES)
        ports = Ports(store=store, transport=base.transport, clock=clock, entropy=SystemEntropy(), wake=wake)
        health, accounts, journal = Health(store.registry, clock), base.engine.accounts, Journal(store.registry, clock)
        out = opened(local, store, ports, journal, (lambda: SIGNING_KEY) if signs else None)
        engine = Engine(ports, accounts, policy_of(local), rules=local.rules, health=health, listeners=out.endpoints)
        yield (
            replace(
                base,
                settings=_queued(local),
                engine=engine,
                store=store,
                wake=wake,
                hold=RecordHold(store.registry, clock),
                health=health,
                merchants=Merchants(store.registry, clock, ports.entropy),
                keys=Keyring(store.registry, clock, ports.entropy),
                journal=journal,
                endpoints=out.endpoints,
                courier=out.courier,
                webhooks=Receiver(store.inbox, store, accounts, engine.ingest, clock=clock, wake=wake),
                aws=aws,
            ),
            aws,
        )
        await out.close()


def _queued(settings: Settings) -> Settings:
    named = {"wake.queue_url": QUEUE, "wake.dead_letter_url": DEAD, "wake.deliveries_url": DELIVERIES}
    urls = {name: Value(url, "test") for name, url in named.items()}
    return replace(settings, values={**settings.values, **urls})


async def pay(app: App, token: str, key: str) -> str:
    """Accept a payment; its id."""
    asked = {"amount": 1050, "currency": "INR", "paymentMethod": token, "provider": "mock"}
    receipt = await app.engine.submit(app.scope, normalise(asked), key, actor="api")
    return receipt.payment.id


def in_room(folder: Path, story: Callable[[App, WatchedAws, SetClock], Awaitable[T]]) -> T:
    """Run a story in an app of its own."""

    async def told() -> T:
        clock = SetClock()
        async with room(folder, clock) as (app, aws):
            return await story(app, aws, clock)

    return asyncio.run(told())


def record(body: str, n: int = 1, deliveries: int = 1) -> Record:
    """The n-th message of a batch."""
    return Record(f"m{n}", f"r{n}", body, Attributes(str(deliveries)))


async def status(app: App, payment_id: str) -> str:
    p = await app.store.get(payment_id)
    assert p is not None
    return p.status


def heard(app: App, n: int, body: bytes = b"{}") -> Webhook:
    """A webhook that is due now, about nothing that is known."""
    now, id = app.clock.now_us(), f"wh_{n:020d}"
    refs = (f"ref{n}",)
    return Webhook(
        id=id, account="mock", event=f"e{n}", kind="k", refs=refs, body=body, received_us=now, last_us=now, due_us=now
    )
