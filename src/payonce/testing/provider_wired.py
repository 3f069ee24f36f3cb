"""An adapter at a running sandbox, for the live part of the provider contract: one step at a time, as the engine does it.

No engine here: a plain loop plays its part, in the order that protocol.md allows (create, fire, then read; replay or fire again
what a read shows idle; capture what is held).
"""

import asyncio
import json
import uuid
from typing import Any, Final

from msgspec.structs import replace

from payonce.adapter import (
    READS_MAX,
    Absent,
    AnyOutcome,
    Authorized,
    Captured,
    Created,
    Found,
    HttpRequest,
    Intent,
    NextAction,
    NotSent,
    Processing,
    RequiresAction,
    Response,
    StepKind,
    Succeeded,
    Unknown,
    Unreadable,
)
from payonce.core.payment import StoredRequest
from payonce.ports import Lost
from payonce.sandbox.ledger import Movement
from payonce.sandbox.server import Sandbox
from payonce.transport import HttpTransport

from .provider_cases import Subject, parts

ROUNDS_MAX: Final = 6
TIMEOUT_MS: Final = 5000
ASKED: Final = 4200
CURRENCIES: Final = ("INR", "JPY", "KWD")
START_US: Final = 1_800_000_000_000_000


class FakeClock:
    """Time passes only by sleeping, at once."""

    def __init__(self, at_us: int = START_US) -> None:
        self.at_us = at_us

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
        self.action: NextAction | None = None  # where the customer was sent last
        self.handle = ""  # what opens the container that was made last

    async def ask(self, intent: Intent) -> AnyOutcome:
        """One step, as the engine does it; a read may take several requests."""
        if intent.kind == "fire":
            intent = replace(intent, handle=self.handle)
        built = self.adapter.build(intent)
        if intent.kind != "read":
            reply = await self._send(intent, built)
            if isinstance(reply, Lost):
                return Unknown(reason=reply.reason) if reply.sent else NotSent(reason=reply.reason)
            return self._learned(intent, reply, self.adapter.parse(intent, reply))
        for _ in range(READS_MAX):
            reply = await self._send(intent, built)
            if isinstance(reply, Lost):
                return Unreadable(reason=reply.reason)
            said = self.adapter.parse_read(intent, reply)
            if not isinstance(said, HttpRequest):
                return self._learned(intent, reply, said)
            built, intent = said, replace(intent, seen=(*intent.seen, reply))
        raise AssertionError(f"a read asks for more than {READS_MAX} requests")

    def _learned(self, intent: Intent, reply: Response, outcome: AnyOutcome) -> AnyOutcome:
        """Keeps where the customer has to go, and what opens the container."""
        if isinstance(outcome, Created | Found) and not intent.container and hasattr(self.adapter, "handle_of"):
            self.handle = self.adapter.handle_of(intent, reply) or self.handle
        if any(isinstance(part, RequiresAction) for part in parts(outcome)) and hasattr(self.adapter, "next_action"):
            self.action = self.adapter.next_action(intent, reply) or self.action
        return outcome

    async def _send(self, intent: Intent, built: HttpRequest) -> Response | Lost:
        request = StoredRequest(
            account=self.adapter.name,
            mode=intent.mode,
            credential_id="contract",
            base_url=self.adapter.base_url_of(self.url, built.path) if hasattr(self.adapter, "base_url_of") else self.url,
            api_version=self.adapter.CAPABILITIES.api_version,
            method=built.method,
            path=built.path,
            headers=built.headers,
        )
        secret = self.adapter.authenticate(built, self.credentials)
        signs = getattr(self.adapter, "authenticate_body", None)
        body = signs(built, self.credentials) if signs else built.body
        send_by_us = self.clock.now_us() + 5_000_000
        return await self.transport.send(request, body, secret, send_by_us=send_by_us, timeout_ms=TIMEOUT_MS)

    async def settle(self, intent: Intent) -> tuple[AnyOutcome, Intent]:
        """The last thing learned about the charge, and the intent with its container. What is held is captured where
        that is our step, unless other money is held than was asked for."""
        terms = self.adapter.CAPABILITIES.terms
        if terms.container:
            intent = replace(intent, container=await self._create(intent))
        return await self.finish(intent, await self.ask(replace(intent, kind="fire"))), intent

    async def finish(self, intent: Intent, learned: AnyOutcome) -> AnyOutcome:
        """From the last thing learned of a fire to its end, as far as it has one."""
        learned = await self._follow(intent, learned)
        ours = self.adapter.CAPABILITIES.terms.own_capture and not intent.manual
        if ours and isinstance(learned, Authorized) and _money(learned) == (intent.amount_minor, intent.currency):
            asked = {"provider_ref": learned.ref, "capture_minor": learned.amount_minor}
            capture = replace(intent, kind="capture", key=key_of(intent, "capture"), **asked)
            learned = await self.ask(capture)
            for _ in range(ROUNDS_MAX):
                if isinstance(learned, Captured | Succeeded):
                    break
                learned = await self._look(intent)
        return learned

    async def approve(self) -> None:
        """What a customer does on the sandbox's page, where the last action led."""
        assert self.action is not None, "the customer has to act, and nothing said where"
        page = self.action.url[self.action.url.index("/sandbox/pay/") :]
        reply = await put_page(self, page, b"decision=approve", "POST")
        assert reply.status in {200, 303}, reply

    async def _create(self, intent: Intent) -> str:
        """The container: when the answer is lost it is looked up by our reference, and made only if there is none."""
        for _ in range(ROUNDS_MAX):
            created = await self.ask(replace(intent, kind="create", key=key_of(intent, "create")))
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
        return told(await self.ask(replace(intent, kind="read", key="")))

    def movements(self, reference: str) -> list[Movement]:
        return [m for m in self.sandbox.ledger.movements() if m.reference == reference]


def intent_of(at: "Wired", token: str, n: int, kind: StepKind) -> Intent:
    """The ``n``-th payment, in a currency that the adapter takes."""
    reference, known = f"06ex4k2m9p7q8r5s3t{n:02d}0100", at.adapter.CAPABILITIES.currencies
    currencies = [c for c in CURRENCIES if known is None or c in known]
    return Intent(
        kind=kind,
        mode="test",
        amount_minor=ASKED,
        currency=currencies[n % len(currencies)],
        reference=reference,
        key=key_of(reference, kind),
        payment_method=token,
    )


def key_of(of: Intent | str, kind: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{of if isinstance(of, str) else of.reference} {kind}"))


def told(outcome: AnyOutcome) -> AnyOutcome:
    """The one try that a read shows; an empty container shows nothing."""
    if not isinstance(outcome, Found):
        return outcome
    assert len(outcome.tries) <= 1, outcome
    return outcome.tries[0] if outcome.tries else Absent()


async def put_faults(at: Wired, profile: dict[str, Any]) -> None:
    """Set the fault profile through the front door."""
    reply = await put_page(at, "/sandbox/faults", json.dumps(profile).encode(), "PUT")
    assert reply.status == 200, reply.body


async def put_page(at: Wired, path: str, body: bytes, method: str) -> Response:
    """A request to one of the sandbox's own pages."""
    request = StoredRequest(
        account="",
        mode="test",
        credential_id="",
        base_url=at.url.removesuffix("/" + at.adapter.name),
        api_version="",
        method=method,
        path=path,
        headers=(("content-type", "application/x-www-form-urlencoded"),) if method == "POST" else (),
    )
    send_by_us = at.clock.now_us() + 5_000_000
    reply = await at.transport.send(request, body, {}, send_by_us=send_by_us, timeout_ms=TIMEOUT_MS)
    assert not isinstance(reply, Lost), reply
    return reply


def _money(outcome: Authorized) -> tuple[int, str]:
    return outcome.amount_minor, outcome.currency
