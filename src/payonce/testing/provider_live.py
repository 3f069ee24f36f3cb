"""The live part of the provider contract: the adapter drives its simulator through the real transport, in process and
over HTTP on a free port, for every token of the sandbox; what it learned is compared with the ledger.

Only for adapters that have a simulator of the same name. No engine here: a plain loop plays its part, in the order that
protocol.md allows (create, fire, then read; replay or fire again what a read shows idle; capture what is held).
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
    READS_MAX,
    Absent,
    AnyOutcome,
    Authorized,
    Captured,
    Created,
    Declined,
    Found,
    HttpRequest,
    Intent,
    NotSent,
    Processing,
    Refunded,
    Rejected,
    RequiresAction,
    Response,
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
UNCHARGED: Final = frozenset(token.removeprefix("tok_") for token, plans in TOKENS.items() if plans[-1].does == "decline")
AT_FIRST: Final = frozenset(
    token.removeprefix("tok_") for token, plans in TOKENS.items() if plans[0].does == "decline" and plans[-1].does != "decline"
)


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
        """One step, as the engine does it; a read may take several requests."""
        built = self.adapter.build(intent)
        if intent.kind != "read":
            reply = await self._send(intent, built)
            if isinstance(reply, Lost):
                return Unknown(reason=reply.reason) if reply.sent else NotSent(reason=reply.reason)
            return self.adapter.parse(intent, reply)
        for _ in range(READS_MAX):
            reply = await self._send(intent, built)
            if isinstance(reply, Lost):
                return Unreadable(reason=reply.reason)
            said = self.adapter.parse_read(intent, reply)
            if not isinstance(said, HttpRequest):
                return said
            built, intent = said, replace(intent, seen=(*intent.seen, reply))
        raise AssertionError(f"a read asks for more than {READS_MAX} requests")

    async def _send(self, intent: Intent, built: HttpRequest) -> Response | Lost:
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
        return await self.transport.send(request, built.body, secret, send_by_us=send_by_us, timeout_ms=TIMEOUT_MS)

    async def settle(self, intent: Intent) -> tuple[AnyOutcome, Intent]:
        """The last thing learned about the charge, and the intent with its container. What is held is captured where
        that is our step, unless other money is held than was asked for."""
        terms = self.adapter.CAPABILITIES.terms
        if terms.container:
            intent = replace(intent, container=await self._create(intent))
        learned = await self._follow(intent, await self.ask(replace(intent, kind="fire")))
        if terms.own_capture and isinstance(learned, Authorized) and _money(learned) == (intent.amount_minor, intent.currency):
            capture = replace(intent, kind="capture", key=_key(intent, "capture"), provider_ref=learned.ref)
            learned = await self.ask(capture)
            for _ in range(ROUNDS_MAX):
                if isinstance(learned, Captured | Succeeded):
                    break
                learned = await self._look(intent)
        return learned, intent

    async def _create(self, intent: Intent) -> str:
        """The container: when the answer is lost it is looked up by our reference, and made only if there is none."""
        for _ in range(ROUNDS_MAX):
            created = await self.ask(replace(intent, kind="create", key=_key(intent, "create")))
            if isinstance(created, Created):
                assert created.reference == intent.reference, created
                return created.container
            await self.clock.sleep(self.adapter.CAPABILITIES.terms.read_lag_s + 1)
            found = await self.ask(replace(intent, kind="read", key="", container=""))
            if isinstance(found, Found) and found.container_id:
                return found.container_id
        raise AssertionError(f"no container for {intent.reference}: {created}")

    async def _follow(self, intent: Intent, learned: AnyOutcome) -> AnyOutcome:
        """Read what is not known or not final. What a read shows idle is sent again: under its key, or on its single-success
        container once the vendor's processing time is over and it is idle still."""
        terms = self.adapter.CAPABILITIES.terms
        for _ in range(ROUNDS_MAX):
            if not isinstance(learned, Unknown | Unreadable | Absent | Processing | RequiresAction):
                break
            learned = await self._look(intent)
            if isinstance(learned, Absent) and terms.keyed:
                learned = await self.ask(replace(intent, kind="replay"))
            elif isinstance(learned, Absent) and terms.container:
                await self.clock.sleep(TIMEOUT_MS / 1000 + terms.processing_s)
                learned = await self._look(intent)
                if isinstance(learned, Absent):
                    learned = await self.ask(replace(intent, kind="fire"))
        return learned

    async def _look(self, intent: Intent) -> AnyOutcome:
        await self.clock.sleep(self.adapter.CAPABILITIES.terms.read_lag_s + 1)
        return _told(await self.ask(replace(intent, kind="read", key="")))

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
                learned, _ = await at.settle(replace(intent, kind="fire", key=_key(intent, "fire")))
                assert isinstance(learned, Succeeded | Captured), learned

        asyncio.run(main())


async def _token(at: Wired, token: str, n: int) -> list[str]:
    word, intent = token.removeprefix("tok_"), _intent(token, n, "fire")
    learned, there = await at.settle(intent)
    problems = _compared(at, token, intent, learned)
    wanted: type | tuple[type, ...] = (Succeeded, Captured)
    only_held = at.adapter.CAPABILITIES.terms.own_capture
    if word in UNCHARGED or word in AT_FIRST:
        wanted = Declined
    elif word == "never_resolves":
        wanted = Processing
    elif word == "wrong_amount" and only_held:  # seen before it is taken
        wanted = Authorized
    if not isinstance(learned, wanted):
        problems.append(f"{token}: ended in {learned}")
    if word in AT_FIRST:  # another attempt at the same payment has another reference
        intent = replace(intent, reference=intent.reference[:-2] + "01", key=str(uuid.UUID(int=10_000 + n)))
        learned, _ = await at.settle(intent)
        problems += _compared(at, token, intent, learned, now=(Succeeded, Captured))
    if word == "late_success":  # where the capture is ours the money is only held
        at.clock.at_us += LATE_US
        late = _told(await at.ask(replace(there, kind="read", key="")))
        problems += _compared(at, token, intent, late, now=(Authorized,) if only_held else (Succeeded,))
    return problems


def _compared(at: Wired, token: str, intent: Intent, learned: AnyOutcome, *, now: tuple[type, ...] = ()) -> list[str]:
    """The outcome against the books: a success is one movement that takes money, with the same id, amount and currency; a
    hold is one that holds it; all else takes none. ``now``: what it must be."""
    every = at.movements(intent.reference)
    taken = [m for m in every if m.kind in ("charge", "capture")]
    problems = [f"{token}: should be {now} now, is {learned}"] if now and not isinstance(learned, now) else []
    if not isinstance(learned, Succeeded | Captured) and taken:
        return [*problems, f"{token}: the ledger took {taken}, the adapter says {learned}"]
    if not isinstance(learned, Succeeded | Captured | Authorized):
        return problems
    moves = [m for m in every if m.kind == "authorize"] if isinstance(learned, Authorized) else taken
    said = (learned.ref, learned.reference, learned.amount_minor, learned.currency)
    booked = [(m.provider_ref, m.reference, m.amount, m.currency) for m in moves]
    problems += [f"{token}: the adapter says {said}, the ledger {booked}"] if booked != [said] else []
    extra = 100 if token == "tok_wrong_amount" else 0  # noqa: S105 - a token of the sandbox
    return [*problems, f"{token}: took {learned.amount_minor}"] if learned.amount_minor != ASKED + extra else problems


def _money(outcome: Authorized) -> tuple[int, str]:
    return outcome.amount_minor, outcome.currency


async def _refunds(at: Wired) -> None:
    intent = _intent("tok_ok", 0, "fire")
    charge, intent = await at.settle(intent)
    assert isinstance(charge, Succeeded | Captured), charge
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
    """The one try that a read shows; an empty container shows nothing."""
    if not isinstance(outcome, Found):
        return outcome
    assert len(outcome.tries) <= 1, outcome
    return outcome.tries[0] if outcome.tries else Absent()


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
