"""The ground on which the cost is counted: the functions as they are, over a model of AWS, with the simulated providers and a
clock that moves when it is told. Nothing leaves the process.

What stands for AWS here: ``post`` is the HTTP API with its function, ``settle`` is the mapping that hands messages of the queue
to the worker function. Each of the two functions has an app of its own, so neither knows what the other has read.
"""

import hashlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Final

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from payonce.accounts import SANDBOX_URL
from payonce.api.app import create_app
from payonce.aws.api import Asked, Event, Http, respond
from payonce.aws.worker import Record, work
from payonce.awsapi import Aws, Done
from payonce.bootstrap import DEFAULT_MERCHANT, App, accounts_of, policy_of
from payonce.config import Settings, load
from payonce.core.payment import StoredRequest
from payonce.engine import Engine, Ports
from payonce.health import Health
from payonce.hold import RecordHold
from payonce.inbox import Receiver
from payonce.ports import Change, Clock, Committed, Conflict, Lost, Response, Scope, Unclear
from payonce.sandbox.outbox import register_own
from payonce.sandbox.server import Sandbox, sandbox_app
from payonce.serving import ready, sandbox_accounts
from payonce.stores.dynamodb import open_store
from payonce.stores.dynamodb.tables import Tables, create_tables
from payonce.testing.amazon import ModelAws
from payonce.testing.amazon.bill import Bill, Place
from payonce.transport import HttpTransport
from payonce.wake.sqs import SqsWake

S: Final = 1_000_000
START_US: Final = 1_800_000_000 * S
CALL_S: Final = 0.3  # that a provider takes to answer, and
APART_S: Final = 2.0  # between two events of a case: what a function knows of breakers and drains is older than a second then
MINUTE_US: Final = 60 * S
API_S: Final = 29.0  # Timeout of the API function in the template
WORKER_MS: Final = 90_000  # WorkerTimeout of the template
QUEUE: Final = "payonce-due"
LOCAL: Final = "http://127.0.0.1:8080"


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


class Answer(Struct, frozen=True):
    status: int
    body: dict[str, Any]


class Usage(Struct, frozen=True, kw_only=True):
    """What was used, to be subtracted from what is used later. ``writes`` and ``reads``: capacity units by table and index
    ("Transactions", "Transactions/due"). ``sent``: requests to SQS by the functions; ``polled``: by the mapping for them."""

    http: int = 0
    workers: int = 0
    provider: int = 0
    calls: dict[str, int] = {}
    writes: dict[str, float] = {}
    reads: dict[str, float] = {}
    sent: int = 0
    polled: int = 0
    in_api: int = 0  # of ``calls``, those that the API function made
    logged: int = 0  # bytes of our own lines

    def since(self, before: "Usage") -> "Usage":
        return Usage(
            http=self.http - before.http,
            workers=self.workers - before.workers,
            provider=self.provider - before.provider,
            calls={k: v - before.calls.get(k, 0) for k, v in self.calls.items() if v != before.calls.get(k)},
            writes={k: v - before.writes.get(k, 0.0) for k, v in self.writes.items() if v != before.writes.get(k)},
            reads={k: v - before.reads.get(k, 0.0) for k, v in self.reads.items() if v != before.reads.get(k)},
            sent=self.sent - before.sent,
            polled=self.polled - before.polled,
            in_api=self.in_api - before.in_api,
            logged=self.logged - before.logged,
        )


def require(holds: bool, otherwise: str) -> None:
    """Raises RuntimeError: what was to be counted did not happen."""
    if not holds:
        raise RuntimeError(otherwise)


def done(answer: object) -> dict[str, Any]:
    """What AWS answered. Raises RuntimeError when it did not do it."""
    if not isinstance(answer, Done):
        raise RuntimeError(f"the model of AWS refused: {answer}")  # noqa: TRY004  it is what AWS said
    return answer.body


class Lines(logging.Handler):
    """Counts the bytes of what the functions log."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
        self.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[drop, structlog.processors.JSONRenderer()]))

    def emit(self, record: logging.LogRecord) -> None:
        self.bytes += len(self.format(record).encode()) + 1


class Ground:
    """See the module docstring. ``api`` and ``worker`` are the apps of two execution environments; ``changes`` is all that
    they wrote to payments."""

    def __init__(
        self, *, model: ModelAws, clock: Ticks, sandbox: Sandbox, api: App, worker: App, wires: list[Provided], lines: Lines
    ) -> None:
        self.model, self.clock, self.sandbox, self.api, self.worker = model, clock, sandbox, api, worker
        self._asgi = create_app(api.engine, scope=api.scope, ready=ready(api), webhooks=api.webhooks)
        self._wires, self._lines = wires, lines
        self.http = self.workers = self._polled = self._in_api = 0
        self.changes: list[Change] = []
        for app in (api, worker):
            _recorded(app, self.changes)

    # --- what happens ---------------------------------------------------------------------------------------------------

    async def post(self, path: str, body: Mapping[str, Any] | bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """A request through the API function. Raises RuntimeError when it is refused."""
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self._request("POST", path, raw, {"content-type": "application/json", **(headers or {})})

    async def get(self, path: str) -> Answer:
        return await self._request("GET", path, b"", {})

    async def pay(self, key: str, token: str = "tok_ok", provider: str = "", *, within_s: float = 3600) -> str:  # noqa: S107
        """Post a payment and let it settle; its id."""
        body = {"amount": 1050, "currency": "INR", "paymentMethod": token, "clientId": "shop-7"}
        body |= {"provider": provider} if provider else {}
        answer = await self.post("/payments", body, {"idempotency-key": key})
        await self.settle(within_s)
        return str(answer.body["transactionId"])

    async def settle(self, within_s: float = 3600) -> None:
        """Hand out messages, one at a time as they become visible, until the queue is empty or none comes in time. What is due
        later than a message can be delayed, the sweeper would send: such messages are not counted here."""
        queue, until_us = self.model.sqs.queues[QUEUE], self.clock.at_us + int(within_s * S)
        while coming := [m.visible_us for m in queue.messages.values() if m.visible_us <= until_us]:
            self.clock.at_us = max(self.clock.at_us, min(coming))
            found = await self._queue("ReceiveMessage", {"MaxNumberOfMessages": 1})
            records = [Record(m["MessageId"], m["ReceiptHandle"], m["Body"]) for m in found["Messages"]]
            failed = await work(self.worker, records, WORKER_MS)
            require(not failed, f"the worker gave back {failed}")
            self.workers += 1
            entries = [{"Id": str(n), "ReceiptHandle": r.receipt_handle} for n, r in enumerate(records)]
            await self._queue("DeleteMessageBatch", {"Entries": entries})
        self.clock.at_us += int(APART_S * S)

    async def rest(self, payment_id: str, days: int = 40) -> None:
        """Go on with what is due later, each time as the sweeper would: at the next full minute it sends the id."""
        until_us = self.clock.at_us + days * 86_400 * S
        while (due_us := self.changes[-1].due_us) is not None and due_us <= until_us:
            self.clock.at_us = max(self.clock.at_us, -(-due_us // MINUTE_US) * MINUTE_US)
            self.worker.wake.send(payment_id)
            await self.worker.wake.flush()
            await self.settle()

    async def webhooks(self, account: str) -> int:
        """Deliver each webhook that the vendor of an account has announced, once; how many there were."""
        vendor = sandbox_accounts(self.api.settings)[account]
        events = self.sandbox.ledger.deliveries.events(0, 100)
        ours = [event for event in events if event.vendor == vendor]
        for event in ours:
            signed = getattr(self.sandbox.vendors[vendor], "sign_webhook")(event.body, self.clock.now_us())  # noqa: B009
            await self.post(f"/webhooks/{account}", event.body, dict(signed))
        await self.settle()
        return len(ours)

    async def come_back(self, reference: str) -> None:
        """The customer's browser, sent by the provider."""
        await self._request("GET", f"/return/{reference}", b"", {})

    async def approve(self, vendor: str, number: str) -> None:
        """The customer approves on the vendor's page."""
        event = Event(Asked(Http("POST")), "2.0", raw_path=f"/sandbox/pay/{vendor}/{number}", body="decision=approve")
        await respond(event, self.sandbox, None, left_s=API_S)

    # --- what it took ---------------------------------------------------------------------------------------------------

    def used(self) -> Usage:
        """So far."""
        bill: Bill = self.model.bill
        calls = {f"{service} {operation}": n for (service, operation), n in bill.calls.items()}
        polled = ("sqs ReceiveMessage", "sqs DeleteMessageBatch")
        return Usage(
            http=self.http,
            workers=self.workers,
            provider=sum(wire.calls for wire in self._wires),
            calls={name: n for name, n in calls.items() if name not in polled},
            writes=_places(bill.writes),
            reads=_places(bill.reads),
            sent=sum(n for name, n in calls.items() if name.startswith("sqs ") and name not in polled),
            polled=self._polled,
            in_api=self._in_api,
            logged=self._lines.bytes,
        )

    # --- AWS ------------------------------------------------------------------------------------------------------------

    async def _request(self, method: str, path: str, raw: bytes, headers: Mapping[str, str]) -> Answer:
        self.http += 1
        before = self.model.bill.calls.total()
        bare, _, query = path.partition("?")
        event = Event(
            Asked(Http(method)), "2.0", raw_path=bare, raw_query_string=query, headers=dict(headers), body=raw.decode()
        )
        said = await respond(event, self._asgi, self.api.wake, left_s=API_S)
        answer = Answer(said["statusCode"], _decoded(said["body"]))
        self._in_api += self.model.bill.calls.total() - before
        require(answer.status < 400, f"{method} {path}: {answer}")
        return answer

    async def _queue(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        self._polled += 1
        url = self.api.settings.text("wake.queue_url")
        answer = await self.model.call("sqs", operation, {"QueueUrl": url, **params})
        return done(answer)


def _recorded(app: App, changes: list[Change]) -> None:
    """Have a list of what is committed through an app."""
    commit = app.store.commit

    async def recorded(change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        became = await commit(change, expected_version)
        changes.extend([change] if isinstance(became, Committed) else [])
        return became

    setattr(app.store, "commit", recorded)  # noqa: B010


def _places(units: Mapping[Place, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for place, n in units.items():
        name = f"{place.table}/{place.index}" if place.index else place.table
        found[name] = found.get(name, 0.0) + n
    return dict(sorted(found.items()))


@asynccontextmanager
async def ground(*, webhooks: bool = False) -> AsyncIterator[Ground]:
    """An empty deployment, its functions started and its bill at zero. ``webhooks``: the vendors announce theirs."""
    clock = Ticks()
    model = ModelAws(clock)
    settings = load(env={**await deployed(model, clock), "PAYONCE_PUBLIC_URL": LOCAL})
    sandbox = sandbox_app(":memory:", clock)
    if webhooks:
        register_own(sandbox.ledger, LOCAL, sandbox_accounts(settings))
    async with AsyncExitStack() as stack:
        stack.callback(sandbox.close)
        digits, wires = Digits(), [Provided(HttpTransport(clock, {SANDBOX_URL: sandbox}), clock) for _ in range(2)]
        for wire in wires:
            stack.push_async_callback(wire.close)
        apps = [app_over(settings, model, clock, digits, wire) for wire in wires]
        lines = stack.enter_context(_logging())
        model.bill.reset()
        yield Ground(model=model, clock=clock, sandbox=sandbox, api=apps[0], worker=apps[1], wires=wires, lines=lines)


@contextmanager
def _logging() -> Iterator[Lines]:
    """The log as the functions have it, at the level of the template; as it was afterwards."""
    root, lines = logging.getLogger("payonce"), Lines()
    before = root.level
    root.addHandler(lines)
    root.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        root.removeHandler(lines)
        root.setLevel(before)


async def deployed(aws: Aws, clock: Clock) -> dict[str, str]:
    """Tables and queues, and the environment that names them."""
    await create_tables(aws, clock, TABLES)
    urls = []
    for name in (QUEUE, "payonce-dead"):
        made = await aws.call("sqs", "CreateQueue", {"QueueName": name, "Attributes": {"VisibilityTimeout": "540"}})
        urls.append(str(done(made)["QueueUrl"]))
    return {
        "PAYONCE_TRANSACTIONS_TABLE": TABLES.transactions,
        "PAYONCE_IDEMPOTENCY_TABLE": TABLES.idempotency,
        "PAYONCE_REGISTRY_TABLE": TABLES.registry,
        "PAYONCE_QUEUE_URL": urls[0],
        "PAYONCE_DEAD_LETTER_URL": urls[1],
    }


TABLES: Final = Tables(transactions="Transactions", idempotency="Idempotency", registry="Registry")


def app_over(settings: Settings, aws: Aws, clock: Clock, digits: Digits, wire: Provided) -> App:
    """As ``bootstrap.open_app`` puts it together, over the model; the accounts wait and watch as long as real ones do."""
    known = accounts_of(settings, {})
    accounts = {name: replace(a, terms=a.adapter.CAPABILITIES.terms) for name, a in known.items()}
    store = open_store(aws, clock, TABLES)
    wake = SqsWake(aws, settings.text("wake.queue_url"), clock)
    health = Health(store.registry, clock)
    ports = Ports(store=store, transport=wire, clock=clock, entropy=digits, wake=wake)
    engine = Engine(
        ports, accounts, policy_of(settings), rules=settings.rules, health=health, hold=False, return_to=settings.return_to
    )
    scope, hold = Scope(DEFAULT_MERCHANT, settings.mode), RecordHold(store.registry, clock)
    inbox = Receiver(store.inbox, store, accounts, engine.ingest, clock=clock, wake=wake)
    return App(settings, engine, store, wire, wake, clock, scope, hold, None, health, inbox, aws)


def _decoded(body: str) -> dict[str, Any]:
    """The document of an answer; empty where there is none."""
    try:
        document = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return {}
    return document if isinstance(document, dict) else {}
