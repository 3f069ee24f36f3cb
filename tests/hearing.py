"""A provider that sends webhooks, for tests of the inbox: signed with a time, in JSON; and a room with an inbox in it."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from payonce.adapter import WebhookEvent, WebhookRefused
from payonce.core.payment import Payment
from payonce.dispatch import Account
from payonce.inbox import Receiver
from payonce.mail import Webhook
from payonce.ports import Ref
from payonce.stores.memory import MemoryInbox, MemoryStore
from payonce.testing.store_changes import accept, fire_event, grow, put, success_event

from .api.service import TickingClock, TinyAdapter, Woken, account

Check = Callable[["Room"], Awaitable[None]]

SECOND_US = 1_000_000
TOLERANCE_US = 300 * SECOND_US
SECRET, OLD_SECRET = "whsec_new_1234567890", "whsec_old_1234567890"


class HearingAdapter(TinyAdapter):
    """The signature covers time and body; several secrets may be live. ``bug``: verifying fails as no adapter should."""

    name = "hearing"
    bug = False

    def webhook_secrets(self, credentials: object) -> tuple[str, ...]:
        assert isinstance(credentials, tuple)
        return credentials

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> None:
        if self.bug:
            raise RuntimeError(f"cannot verify {body!r}")
        at_us = int(headers.get("x-timestamp", "0"))
        given = headers.get("x-signature", "")
        if not any(hmac.compare_digest(signed(body, at_us, secret), given) for secret in secrets):
            raise WebhookRefused("no secret signed it")
        if abs(now_us - at_us) > TOLERANCE_US:
            raise WebhookRefused("it is older or younger than 300 s")

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        try:
            said = json.loads(body)
            references, refs = tuple(said.get("references", ())), tuple(said.get("refs", ()))
            return WebhookEvent(id=said["id"], kind=said.get("kind", "paid"), references=references, refs=refs)
        except (ValueError, KeyError, AttributeError):
            raise WebhookRefused("it is no event") from None

    def expose(self, body: bytes) -> bytes:
        return json.dumps({k: v for k, v in json.loads(body).items() if k in ("id", "kind", "note")}).encode()


def signed(body: bytes, at_us: int, secret: str = SECRET) -> str:
    """The signature of a body at a time."""
    return hmac.new(secret.encode(), f"{at_us}.".encode() + body, hashlib.sha256).hexdigest()


def headers(body: bytes, at_us: int, secret: str = SECRET) -> dict[str, str]:
    """What the provider sends beside a body."""
    return {"content-type": "application/json", "x-timestamp": str(at_us), "x-signature": signed(body, at_us, secret)}


def event(id: str = "evt_1", **fields: Any) -> bytes:
    """A webhook's body."""
    return json.dumps({"id": id, **fields}).encode()


def hearing_account(
    name: str = "hearing", secrets: tuple[str, ...] = (SECRET, OLD_SECRET), *, bug: bool = False, adapter: Any = None
) -> Account:
    """An account of it; without secrets it refuses all."""
    ear = adapter or HearingAdapter()
    if bug:
        ear.bug = True
    return replace(account(name), name=name, adapter=ear, credentials=secrets)


class StillClock(TickingClock):
    """Time moves when a test says so."""

    def now_us(self) -> int:
        return self.at_us


class Room:
    """An inbox with its store; ``hints`` is what was ingested. ``fail`` is raised by the next ingests."""

    def __init__(self, *accounts: Account) -> None:
        self.inbox, self.store, self.clock, self.wake = MemoryInbox(), MemoryStore(), StillClock(), Woken()
        self.hints: list[tuple[str, str]] = []
        self.fail: list[Exception] = []
        self.accounts = {a.name: a for a in accounts or (hearing_account(), hearing_account("other"), account("tiny"))}
        self.receiver = self.another()

    def another(self) -> Receiver:
        """One more process on the same rows."""
        return Receiver(self.inbox, self.store, self.accounts, self._ingest, clock=self.clock, wake=self.wake)

    async def _ingest(self, payment_id: str, ref: str = "", *, actor: str) -> bool:
        assert actor == "webhook"
        if self.fail:
            raise self.fail.pop()
        self.hints.append((payment_id, ref))
        return True

    async def hear(self, body: bytes, account: str = "hearing", secret: str = SECRET) -> str:
        return (await self.receiver.hear(account, headers(body, self.clock.at_us, secret), body)).id

    async def row(self, id: str) -> Webhook:
        found = await self.inbox.get(id)
        assert found is not None
        return found

    async def work(self, receiver: Receiver | None = None) -> None:
        """What a worker does with all that is due."""
        for waiting in await self.inbox.due(self.clock.at_us, 100):
            await (receiver or self.receiver).resolve(waiting.id)

    async def pay(self, number: int = 1, at: str = "hearing", *, done: bool = False, refs: tuple[Ref, ...] = ()) -> Payment:
        """A payment with one attempt there, sent and not answered, so that none of the provider's ids is known."""
        p = await put(self.store, accept(number))
        p = await put(self.store, grow(p, fire_event(p, at), refs=refs))
        return await put(self.store, grow(p, success_event(p))) if done else p


def using(check: Check, *accounts: Account) -> None:
    asyncio.run(_in(check, Room(*accounts)))


async def _in(check: Check, room: Room) -> None:
    await check(room)
