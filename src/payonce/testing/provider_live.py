"""The live part of the provider contract: the adapter drives its simulator through the real transport, in process and
over HTTP on a free port, for every token of the sandbox; what it learned is compared with the ledger.

Only for adapters that have a simulator of the same name. ``provider_wired`` plays the engine's part.
"""

import asyncio
import contextlib
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
    Declined,
    Intent,
    Processing,
    RequiresAction,
    StepKind,
    Succeeded,
    Unknown,
    Unreadable,
)
from payonce.sandbox.faults import TOKENS
from payonce.sandbox.server import sandbox_app
from payonce.transport import HttpTransport

from .provider_cases import Subject
from .provider_live_hearing import LiveHearing
from .provider_wired import ASKED, FakeClock, Wired, intent_of, key_of, put_faults, told

__all__ = ["FakeClock", "ProviderLive", "over_socket", "wired"]

MOUNT: Final = "http://sandbox.payonce.invalid"
LATE_US: Final = 11_000_000  # after it a late success has happened
# What the ledger must hold in the end, by the word at the token's end; every other token ends in one charge of ASKED.
UNCHARGED: Final = frozenset(
    token.removeprefix("tok_") for token, plans in TOKENS.items() if plans[-1].does == "decline" or plans[-1].code
)
AT_FIRST: Final = frozenset(
    token.removeprefix("tok_") for token, plans in TOKENS.items() if plans[0].does == "decline" and plans[-1].does != "decline"
)
ACTING: Final = frozenset(token for token, plans in TOKENS.items() if plans[-1].does == "act")


class ProviderLive(LiveHearing):
    """See the module docstring. A subclass, or its module, has a fixture ``subject``."""

    @pytest.mark.parametrize("over_http", [False, True], ids=["in process", "over HTTP"])
    def test_what_is_learned_is_what_the_ledger_holds(self, subject: Subject, tmp_path: Path, over_http: bool) -> None:
        """For every token the outcome and the ledger agree, in the end and on the way."""

        async def main() -> list[str]:
            able = [t for t in TOKENS if t not in ACTING or subject.able("next_action")]
            async with wired(subject, tmp_path / "ledger.db", over_http=over_http) as at:
                return [problem for n, token in enumerate(able) for problem in await _token(at, token, n)]

        problems = asyncio.run(main())
        assert not problems, "\n".join(problems)

    def test_an_outage_is_no_evidence(self, subject: Subject, tmp_path: Path) -> None:
        """While the vendor is down nothing is learned and nothing is booked; afterwards the same step goes through."""

        async def main() -> None:
            async with wired(subject, tmp_path / "ledger.db", over_http=True) as at:
                first: StepKind = "create" if "create" in at.adapter.CAPABILITIES.steps else "fire"
                intent = intent_of(at, "tok_ok", 0, first)
                for profile in ({"outage": True}, {"errorRate": 1.0}):
                    await put_faults(at, profile)
                    said, seen = await at.ask(intent), await at.ask(replace(intent, kind="read", key=""))
                    assert isinstance(said, Unknown), f"{profile}: {said}"
                    assert isinstance(seen, Unreadable), f"{profile}: {seen}"
                    assert not at.movements(intent.reference), f"booked while the vendor was down ({profile})"
                await put_faults(at, {})
                learned, _ = await at.settle(replace(intent, kind="fire", key=key_of(intent, "fire")))
                assert isinstance(learned, Succeeded | Captured), learned

        asyncio.run(main())


async def _token(at: Wired, token: str, n: int) -> list[str]:
    word, intent = token.removeprefix("tok_"), intent_of(at, token, n, "fire")
    learned, there = await at.settle(intent)
    problems = _compared(at, token, intent, learned)
    if word == "action":
        if not isinstance(learned, RequiresAction | Processing):
            problems.append(f"{token}: before the customer acted it is {learned}")
        await at.approve()
        learned = await at.finish(there, learned)
        problems += _compared(at, token, intent, learned)
    if not isinstance(learned, _ends(at, token)):
        problems.append(f"{token}: ended in {learned}")
    if word in AT_FIRST and isinstance(learned, Declined):  # another attempt at the same payment has another reference
        intent = replace(intent, reference=intent.reference[:-2] + "01", key=str(uuid.UUID(int=10_000 + n)))
        learned, _ = await at.settle(intent)
        problems += _compared(at, token, intent, learned, now=(Succeeded, Captured))
    only_held = at.adapter.CAPABILITIES.terms.own_capture
    if word == "late_success":  # where the capture is ours the money is only held
        at.clock.at_us += LATE_US
        late = told(await at.ask(replace(there, kind="read", key="")))
        problems += _compared(at, token, intent, late, now=(Authorized,) if only_held else (Succeeded,))
    return problems


def _ends(at: Wired, token: str) -> tuple[type, ...]:
    """What the first attempt over a token may end in; the ledger must agree, whichever it is."""
    word, first, terms = token.removeprefix("tok_"), TOKENS[token][0], at.adapter.CAPABILITIES.terms
    if first.does == "nothing" and not (terms.keyed or terms.container):
        return (Absent,)  # it is never sent again, as nothing would protect the second send
    if first.does == "decline" and first.late_s:  # a vendor whose refusal is not believed at once is read until it has changed
        return (Declined, Succeeded, Captured)
    if word in UNCHARGED or word in AT_FIRST:
        return (Declined,)
    if word == "never_resolves":
        return (Processing,)
    if word == "wrong_amount" and terms.own_capture:  # seen before it is taken
        return (Authorized,)
    return (Succeeded, Captured)


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
