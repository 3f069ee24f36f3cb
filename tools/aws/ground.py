"""The ground on which the cost is counted: the functions as they are, over a model of AWS, with the simulated providers and a
clock that moves when it is told. Nothing leaves the process.

What stands for AWS here: ``post`` is the HTTP API with its function, ``settle`` are the mappings that hand messages of the two
queues to the worker and to the function that delivers. Each function has an app of its own, so none knows what another read.
"""

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Final

import msgspec
import structlog
from msgspec import Struct
from tests.aws.keys import issued

from payonce.accounts import SANDBOX_URL
from payonce.api.app import create_app
from payonce.aws.api import Asked, Event, Http, door_of, respond
from payonce.aws.batch import Record
from payonce.aws.deliver import tell
from payonce.aws.worker import work
from payonce.bootstrap import App
from payonce.config import load
from payonce.outbound.endpoints import ACTIVE_AFTER_US
from payonce.ports import Change, Committed, Conflict, Unclear
from payonce.sandbox.outbox import register_own
from payonce.sandbox.server import Sandbox, sandbox_app
from payonce.serving import ready, sandbox_accounts
from payonce.testing.amazon import ModelAws
from payonce.testing.amazon.bill import Bill, Place
from payonce.transport import HttpTransport

from .apps import DELIVERIES, QUEUE, Apps, Digits, Endpoint200, Provided, S, Ticks, app_over, deployed, done

APART_S: Final = 2.0  # between two events of a case: what a function knows of breakers and drains is older than a second then
MINUTE_US: Final = 60 * S
API_S: Final = 29.0  # Timeout of the API function in the template
WORKER_MS: Final = 90_000  # WorkerTimeout of the template
DELIVER_MS: Final = 60_000  # Timeout of the function that delivers
LOCAL: Final = "http://127.0.0.1:8080"


class Answer(Struct, frozen=True):
    status: int
    body: dict[str, Any]


class Usage(Struct, frozen=True, kw_only=True):
    """What was used, to be subtracted from what is used later. ``writes`` and ``reads``: capacity units by table and index
    ("Transactions", "Transactions/due"). ``sent``: requests to SQS by the functions; ``polled``: by the mappings for them.
    ``delivers`` are runs of the function that delivers, ``told`` its requests to merchants."""

    http: int = 0
    workers: int = 0
    provider: int = 0
    delivers: int = 0
    told: int = 0
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
            delivers=self.delivers - before.delivers,
            told=self.told - before.told,
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
    """See the module docstring. ``apps`` are those of the execution environments; ``changes`` is all that they wrote to
    payments; ``shop`` is a merchant's server."""

    def __init__(
        self, *, model: ModelAws, clock: Ticks, sandbox: Sandbox, apps: "Apps", wires: list[Provided], lines: Lines, key: str
    ) -> None:
        self.model, self.clock, self.sandbox, self._key = model, clock, sandbox, key
        self.api, self.worker, self.deliver, self.shop = apps.api, apps.worker, apps.deliver, apps.shop
        api = apps.api
        self._asgi = create_app(
            api.engine,
            door=door_of(api),
            ready=ready(api),
            webhooks=api.webhooks,
            endpoints=api.endpoints,
            courier=api.courier,
        )
        self._wires, self._lines = wires, lines
        self.http = self.workers = self.delivers = self._polled = self._in_api = 0
        self.changes: list[Change] = []
        for app in (api, apps.worker):
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
        until_us = self.clock.at_us + int(within_s * S)
        while (coming := self._coming()) and coming[0][0] <= until_us:
            at_us, name = coming[0]
            self.clock.at_us = max(self.clock.at_us, at_us)
            url = self.api.settings.text("wake.queue_url" if name == QUEUE else "wake.deliveries_url")
            found = await self._queue(url, "ReceiveMessage", {"MaxNumberOfMessages": 1})
            records = [Record(m["MessageId"], m["ReceiptHandle"], m["Body"]) for m in found["Messages"]]
            if name == QUEUE:
                failed = await work(self.worker, records, WORKER_MS)
                self.workers += 1
            else:
                failed = await tell(self.deliver, records, DELIVER_MS)
                self.delivers += 1
            require(not failed, f"a function gave back {failed}")
            entries = [{"Id": str(n), "ReceiptHandle": r.receipt_handle} for n, r in enumerate(records)]
            await self._queue(url, "DeleteMessageBatch", {"Entries": entries})
        self.clock.at_us += int(APART_S * S)

    def _coming(self) -> list[tuple[int, str]]:
        """When messages become visible, and in which queue; the worker's first."""
        found = [(m.visible_us, name) for name in (QUEUE, DELIVERIES) for m in self.model.sqs.queues[name].messages.values()]
        return sorted(found, key=lambda each: (max(each[0], self.clock.at_us), each[1] != QUEUE))

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
            delivers=self.delivers,
            told=self.shop.got,
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
        shown = {"authorization": f"Bearer {self._key}", **headers}
        event = Event(Asked(Http(method)), "2.0", raw_path=bare, raw_query_string=query, headers=shown, body=raw.decode())
        said = await respond(event, self._asgi, self.api.wake, left_s=API_S)
        answer = Answer(said["statusCode"], _decoded(said["body"]))
        self._in_api += self.model.bill.calls.total() - before
        require(answer.status < 400, f"{method} {path}: {answer}")
        return answer

    async def _queue(self, url: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        self._polled += 1
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
async def ground(*, webhooks: bool = False, told: bool = False) -> AsyncIterator[Ground]:
    """An empty deployment with one API key, its functions started and its bill at zero. ``webhooks``: the vendors announce
    theirs; ``told``: the merchant has an endpoint."""
    clock = Ticks()
    model = ModelAws(clock)
    settings = load(env={**await deployed(model, clock), "PAYONCE_PUBLIC_URL": LOCAL})
    sandbox = sandbox_app(":memory:", clock)
    if webhooks:
        register_own(sandbox.ledger, LOCAL, sandbox_accounts(settings))
    async with AsyncExitStack() as stack:
        stack.callback(sandbox.close)
        digits, wires = Digits(), [Provided(HttpTransport(clock, {SANDBOX_URL: sandbox}), clock) for _ in range(3)]
        for wire in wires:
            stack.push_async_callback(wire.close)
        shop = Endpoint200(clock)
        api, worker, deliver = (
            app_over(settings, model, clock, digits, wire, shop=shop if signs else None)
            for wire, signs in zip(wires, (True, False, True), strict=True)
        )
        key = await issued(api.store.registry, clock, digits)
        if told and api.endpoints:
            await api.endpoints.create(api.scope, "https://shop.example/hooks", actor="tools")
        clock.at_us += ACTIVE_AFTER_US
        lines = stack.enter_context(_logging())
        model.bill.reset()
        apps = Apps(api, worker, deliver, shop)
        yield Ground(model=model, clock=clock, sandbox=sandbox, apps=apps, wires=wires, lines=lines, key=key)


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


def _decoded(body: str) -> dict[str, Any]:
    """The document of an answer; empty where there is none."""
    try:
        document = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return {}
    return document if isinstance(document, dict) else {}
