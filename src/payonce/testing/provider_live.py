"""The live part of the provider contract: the adapter drives its simulator through the real transport, in process and
over HTTP on a free port, for every token of the sandbox; what it learned is compared with the ledger.

Only for adapters that have a simulator of the same name. No engine here: a plain loop plays its part, in the order that
protocol.md allows (create, fire, then read and replay while nothing is known).
"""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import uvicorn
from msgspec.structs import replace

from payonce.adapter import (
    Absent,
    AnyOutcome,
    Authorized,
    Captured,
    Created,
    Declined,
    Found,
    Intent,
    NotSent,
    Processing,
    Refunded,
    Rejected,
    StepKind,
    Succeeded,
    Unknown,
    Unreadable,
)
from payonce.core.payment import StoredRequest
from payonce.ports import Lost
from payonce.sandbox.faults import TOKENS
from payonce.sandbox.ledger import Movement
from payonce.sandbox.server import Sandbox, sandbox_app
from payonce.transport import HttpTransport

from .provider_cases import Subject

MOUNT: Final = "http://sandbox.payonce.invalid"
START_US: Final = 1_800_000_000_000_000
ROUNDS_MAX: Final = 6
TIMEOUT_MS: Final = 5000
LATE_US: Final = 11_000_000  # after it a late success has happened
ASKED: Final = 4200
CURRENCIES: Final = ("INR", "JPY", "KWD")
# What the ledger must hold in the end, by the word at the token's end; every other token ends in one charge of ASKED.
UNCHARGED: Final = ("decline_insufficient_funds", "decline_stolen_card", "decline_do_not_honor", "decline_expired_card")


class FakeClock:
    """Time passes only by sleeping, at once."""

    def __init__(self) -> None:
        self.at_us = START_US

    def now_us(self) -> int:
        return self.at_us

    def monotonic_us(self) -> int:
        return self.at_us

    async def sleep(self, seconds: float) -> None:
        self.at_us += int(seconds * 1_000_000)
        await asyncio.sleep(0)


class Wired:
    """An adapter at a running sandbox."""

    def __init__(self, subject: Subject, sandbox: Sandbox, clock: FakeClock, transport: HttpTransport, url: str) -> None:
        self.adapter, self.sandbox, self.clock, self.transport = subject.adapter, sandbox, clock, transport
        self.credentials = self.adapter.credentials_of(subject.credentials)
        self.url = f"{url}/{self.adapter.name}"

    async def ask(self, intent: Intent) -> AnyOutcome:
        """One exchange, as the engine does it."""
        built = self.adapter.build(intent)
        request = StoredRequest(
            account=self.adapter.name,
            mode=intent.mode,
            credential_id="contract",
            base_url=self.url,
            api_version=self.adapter.CAPABILITIES.api_version,
            method=built.method,
            path=built.path,
            headers=built.headers,
        )
        secret = self.adapter.authenticate(built, self.credentials)
        send_by_us = self.clock.now_us() + 5_000_000
        reply = await self.transport.send(request, built.body, secret, send_by_us=send_by_us, timeout_ms=TIMEOUT_MS)
        read = intent.kind == "read"
        if isinstance(reply, Lost):
            if read:
                return Unreadable(reason=reply.reason)
            return Unknown(reason=reply.reason) if reply.sent else NotSent(reason=reply.reason)
        return self.adapter.parse_read(intent, reply) if read else self.adapter.parse(intent, reply)

    async def settle(self, intent: Intent) -> AnyOutcome:
        """Fire once, then read, and replay what is still unknown; the last thing learned about the charge."""
        terms = self.adapter.CAPABILITIES.terms
        if terms.container:
            created = await self.ask(replace(intent, kind="create", key=_key(intent, "create")))
            assert isinstance(created, Created), created
            intent = replace(intent, container=created.container)
        learned = await self.ask(replace(intent, kind="fire"))
        for _ in range(ROUNDS_MAX):
            if not isinstance(learned, Unknown | Unreadable | Absent):
                break
            await self.clock.sleep(terms.read_lag_s + 1)
            learned = _told(await self.ask(replace(intent, kind="read", key="")))
            if isinstance(learned, Absent) and terms.keyed:
                learned = await self.ask(replace(intent, kind="replay"))
        if isinstance(learned, Authorized) and terms.own_capture:
            learned = await self.ask(replace(intent, kind="capture", key=_key(intent, "capture"), provider_ref=learned.ref))
        return learned

    def movements(self, reference: str) -> list[Movement]:
        return [m for m in self.sandbox.ledger.movements() if m.reference == reference]


class ProviderLive:
    """See the module docstring. A subclass, or its module, has a fixture ``subject``."""

    @pytest.mark.parametrize("over_http", [False, True], ids=["in process", "over HTTP"])
    def test_what_is_learned_is_what_the_ledger_holds(self, subject: Subject, tmp_path: Path, over_http: bool) -> None:
        """For every token the outcome and the ledger agree, in the end and on the way."""

        async def main() -> list[str]:
            async with wired(subject, tmp_path / "ledger.db", over_http=over_http) as at:
                return [problem for n, token in enumerate(TOKENS) for problem in await _token(at, token, n)]

        problems = asyncio.run(main())
        assert not problems, "\n".join(problems)

    def test_a_refund_gives_back_once(self, subject: Subject, tmp_path: Path) -> None:
        """The same refund sent twice moves money once; more than was taken is refused; the read shows it."""
        if "refund" not in subject.adapter.CAPABILITIES.steps:
            pytest.skip("no refunds")

        async def main() -> None:
            async with wired(subject, tmp_path / "ledger.db", over_http=False) as at:
                await _refunds(at)

        asyncio.run(main())

    def test_an_outage_is_no_evidence(self, subject: Subject, tmp_path: Path) -> None:
        """While the vendor is down nothing is learned and nothing is booked; afterwards the same step goes through."""

        async def main() -> None:
            async with wired(subject, tmp_path / "ledger.db", over_http=True) as at:
                first: StepKind = "create" if "create" in at.adapter.CAPABILITIES.steps else "fire"
                intent = _intent("tok_ok", 0, first)
                for profile in ({"outage": True}, {"errorRate": 1.0}):
                    await put_faults(at, profile)
                    assert isinstance(await at.ask(intent), Unknown)
                    assert isinstance(await at.ask(replace(intent, kind="read", key="")), Unreadable)
                    assert at.movements(intent.reference) == []
                await put_faults(at, {})
                assert isinstance(await at.settle(intent), Succeeded | Captured)

        asyncio.run(main())


async def _token(at: Wired, token: str, n: int) -> list[str]:
    word, intent = token.removeprefix("tok_"), _intent(token, n, "fire")
    learned = await at.settle(intent)
    problems = _compared(at, token, intent, learned)
    wanted: type | tuple[type, ...] = (Succeeded, Captured)
    if word in UNCHARGED or word in ("decline_then_ok", "late_success"):
        wanted = Declined
    elif word == "never_resolves":
        wanted = Processing
    if not isinstance(learned, wanted):
        problems.append(f"{token}: ended in {learned}")
    if word == "decline_then_ok":  # another attempt at the same payment has another reference
        intent = replace(intent, reference=intent.reference[:-2] + "01", key=str(uuid.UUID(int=10_000 + n)))
        problems += _compared(at, token, intent, await at.settle(intent), taken=True)
    if word == "late_success":
        at.clock.at_us += LATE_US
        problems += _compared(at, token, intent, _told(await at.ask(replace(intent, kind="read", key=""))), taken=True)
    return problems


def _compared(at: Wired, token: str, intent: Intent, learned: AnyOutcome, *, taken: bool = False) -> list[str]:
    """The outcome against the books: a success is one movement with the same id, amount and currency, all else none."""
    moves = [m for m in at.movements(intent.reference) if m.kind in ("charge", "capture")]
    if not isinstance(learned, Succeeded | Captured):
        problem = [f"{token}: the ledger took {moves}, the adapter says {learned}"] if moves else []
        return [*problem, f"{token}: should have been taken, {learned}"] if taken else problem
    said = (learned.ref, learned.reference, learned.amount_minor, learned.currency)
    booked = [(m.provider_ref, m.reference, m.amount, m.currency) for m in moves]
    problems = [f"{token}: the adapter says {said}, the ledger {booked}"] if booked != [said] else []
    extra = 100 if token == "tok_wrong_amount" else 0  # noqa: S105 - a token of the sandbox
    return [*problems, f"{token}: took {learned.amount_minor}"] if learned.amount_minor != ASKED + extra else problems


async def _refunds(at: Wired) -> None:
    intent = _intent("tok_ok", 0, "fire")
    charge = await at.settle(intent)
    assert isinstance(charge, Succeeded | Captured)
    back = replace(
        intent,
        kind="refund",
        key=_key(intent, "refund"),
        provider_ref=charge.ref,
        refund_reference=intent.reference[:-4] + "0200",
        refund_minor=1200,
    )
    first, again = await at.ask(back), await at.ask(back)
    assert isinstance(first, Refunded), first
    assert first == again
    assert (first.reference, first.amount_minor, first.currency) == (back.refund_reference, 1200, intent.currency)
    more = replace(back, key=_key(intent, "more"), refund_reference=intent.reference[:-4] + "0300", refund_minor=ASKED)
    assert isinstance(await at.ask(more), Rejected | Unknown)
    moves = [m for m in at.movements(intent.reference) if m.kind == "refund"]
    assert [(m.refund_reference, m.provider_ref, m.amount) for m in moves] == [(back.refund_reference, first.ref, 1200)]
    found = await at.ask(replace(intent, kind="read", key=""))
    assert isinstance(found, Found)
    assert found.refunds == (first,)


def _intent(token: str, n: int, kind: StepKind) -> Intent:
    reference = f"06ex4k2m9p7q8r5s3t{n:02d}0100"
    return Intent(
        kind=kind,
        mode="test",
        amount_minor=ASKED,
        currency=CURRENCIES[n % len(CURRENCIES)],
        reference=reference,
        key=_key(reference, kind),
        payment_method=token,
    )


def _key(of: Intent | str, kind: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{of if isinstance(of, str) else of.reference} {kind}"))


def _told(outcome: AnyOutcome) -> AnyOutcome:
    """The one try that a read shows."""
    if not isinstance(outcome, Found):
        return outcome
    assert len(outcome.tries) == 1, outcome
    return outcome.tries[0]


# --- a sandbox, in process and over HTTP ----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def wired(subject: Subject, ledger: Path, *, over_http: bool) -> AsyncIterator[Wired]:
    """The adapter at a sandbox with a ledger file of its own and a clock that does not wait."""
    clock = FakeClock()
    sandbox = sandbox_app(ledger, clock)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(sandbox.close)
        url = await stack.enter_async_context(over_socket(sandbox)) if over_http else MOUNT
        transport = HttpTransport(clock, {} if over_http else {MOUNT: sandbox})
        stack.push_async_callback(transport.close)
        yield Wired(subject, sandbox, clock, transport, url)


async def put_faults(at: Wired, profile: dict[str, Any]) -> None:
    """Set the fault profile through the front door."""
    request = StoredRequest(
        account="",
        mode="test",
        credential_id="",
        base_url=at.url.removesuffix("/" + at.adapter.name),
        api_version="",
        method="PUT",
        path="/sandbox/faults",
    )
    send_by_us = at.clock.now_us() + 5_000_000
    reply = await at.transport.send(request, json.dumps(profile).encode(), {}, send_by_us=send_by_us, timeout_ms=TIMEOUT_MS)
    assert not isinstance(reply, Lost), reply
    assert reply.status == 200, reply.body


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals belong to whoever runs the tests


@contextlib.asynccontextmanager
async def over_socket(app: Any) -> AsyncIterator[str]:
    """The app behind uvicorn on a free port of this machine."""
    server = _Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", timeout_graceful_shutdown=2))
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn tells it by a flag only
        await asyncio.sleep(0.001)
    try:
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await serving
