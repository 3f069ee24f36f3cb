"""The PayU adapter at the PayU of the sandbox, through the real transport, step by step."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from payonce.adapter import (
    AnyOutcome,
    Found,
    HttpRequest,
    Intent,
    NotSent,
    Response,
    Unknown,
    Unreadable,
)
from payonce.core.payment import StoredRequest
from payonce.ports import Lost
from payonce.providers.payu import ADAPTER
from payonce.sandbox.payu import SIMULATOR
from payonce.sandbox.server import Sandbox, sandbox_app
from payonce.testing.provider_live import MOUNT, FakeClock, over_socket
from payonce.transport import HttpTransport

S = 1_000_000
PAYMENT = "06ex4k2m9p7q8r5s3t01"
REFERENCE = PAYMENT + "0100"
TIMEOUT_MS = 5000
FIRE = Intent(kind="fire", mode="test", amount_minor=4200, currency="INR", reference=REFERENCE, payment_method="tok_ok")


def key(number: int) -> str:
    """The key of a step."""
    return f"{number:08d}-6f0b-5a53-9f43-7a1d1f6f7b11"


class At:
    """The adapter at a running sandbox."""

    def __init__(self, sandbox: Sandbox, clock: FakeClock, transport: HttpTransport, url: str = MOUNT) -> None:
        self.sandbox, self.clock, self.transport, self.url = sandbox, clock, transport, url
        self.credentials = ADAPTER.credentials_of(ADAPTER.SANDBOX_CREDENTIALS)
        self.last = Response(status=0, headers={}, body=b"")

    async def ask(self, intent: Intent) -> AnyOutcome:
        """One step or read, as the engine does it."""
        built = ADAPTER.build(intent)
        for _ in range(4):
            reply = await self.send(built, intent.mode)
            if isinstance(reply, Lost):
                lost = Unknown(reason=reply.reason) if reply.sent else NotSent(reason=reply.reason)
                return Unreadable(reason=reply.reason) if intent.kind == "read" else lost
            self.last = reply
            if intent.kind != "read":
                return ADAPTER.parse(intent, reply)
            said = ADAPTER.parse_read(intent, reply)
            if not isinstance(said, HttpRequest):
                return said
            built, intent = said, replace(intent, seen=(*intent.seen, reply))
        raise AssertionError("too many requests")

    async def send(self, built: HttpRequest, mode: Any = "test") -> Response | Lost:
        request = StoredRequest(
            account="payu",
            mode=mode,
            credential_id="test",
            base_url=ADAPTER.base_url_of(f"{self.url}/payu", built.path),
            api_version="",
            method=built.method,
            path=built.path,
            headers=built.headers,
        )
        body = ADAPTER.authenticate_body(built, self.credentials)
        send_by_us = self.clock.now_us() + 5 * S
        return await self.transport.send(request, body, {}, send_by_us=send_by_us, timeout_ms=TIMEOUT_MS)

    async def read(self, of: Intent = FIRE) -> AnyOutcome:
        """The one try that a read shows, or what it says otherwise; a little later."""
        await self.clock.sleep(1)
        found = await self.ask(replace(of, kind="read"))
        if not isinstance(found, Found):
            return found
        (shown,) = found.tries
        return shown

    async def refunds(self) -> tuple[AnyOutcome, ...]:
        found = await self.ask(replace(FIRE, kind="read"))
        assert isinstance(found, Found)
        return found.refunds

    async def refund(self, minor: int, number: int = 2) -> AnyOutcome:
        (charge,) = [m for m in self.moves() if m.kind in ("charge", "capture")]
        ours = f"{PAYMENT}{number:02d}00"
        return await self.ask(
            replace(
                FIRE,
                kind="refund",
                key=key(number),
                provider_ref=charge.provider_ref,
                refund_reference=ours,
                refund_minor=minor,
            )
        )

    def moves(self) -> list[Any]:
        self.settle()
        return self.sandbox.ledger.movements()

    def booked(self) -> list[tuple[str, int]]:
        return [(m.kind, m.amount) for m in self.moves()]

    def settle(self) -> None:
        with self.sandbox.ledger.transaction():
            SIMULATOR.settle(self.sandbox.ledger, self.clock.now_us())

    def later(self, seconds: float) -> None:
        self.clock.at_us += int(seconds * S)

    def put(self, **profile: Any) -> None:
        self.sandbox.ledger.set_setting("faults payu", json.dumps(profile).encode())

    def webhooks(self) -> list[bytes]:
        return [e.body for e in self.sandbox.ledger.deliveries.events(0, 100)]


@contextlib.asynccontextmanager
async def running(ledger: Path, *, over_http: bool = False) -> AsyncIterator[At]:
    """A sandbox with PayU alone and a clock that does not wait; in process, or on a free port of this machine."""
    clock = FakeClock()
    sandbox = sandbox_app(ledger, clock, {"payu": SIMULATOR})
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(sandbox.close)
        url = await stack.enter_async_context(over_socket(sandbox)) if over_http else MOUNT
        transport = HttpTransport(clock, {} if over_http else {MOUNT: sandbox})
        stack.push_async_callback(transport.close)
        yield At(sandbox, clock, transport, url)


Story = Callable[[At], Awaitable[None]]


def play(ledger: Path, story: Story, *, over_http: bool = False) -> None:
    """A story at a fresh sandbox."""

    async def main() -> None:
        async with running(ledger, over_http=over_http) as at:
            await story(at)

    asyncio.run(main())
