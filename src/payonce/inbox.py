"""Inbound webhooks: heard, verified and stored at once; the worker looks up which payment each is about. They are hints (R9):
nothing in one is believed, the payment is read at its provider. A lost or doubled one costs time only.

Looked up by our reference, which leads to its payment also before the provider's ids are known here; else by those ids. An
attempt at another account than the webhook's never matches.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final, Protocol, cast
from urllib.parse import unquote_plus

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from .adapter import Adapter, Hears, WebhookEvent, WebhookRefused
from .core import ids
from .core.errors import NewerSchema, Refused, StoreUnavailable
from .core.payment import Attempt, Payment
from .core.redact import has_card_number, mask, masked, without
from .core.retry import DAY_US, SECOND_US
from .dispatch import Account
from .mail import WEBHOOK_BYTES_MAX, WEBHOOK_CHARS_MAX, WEBHOOK_NAMES_MAX, Inbox, Waiting, Webhook, WebhookState
from .ports import Clock, Store, Wake
from .telemetry import get_logger

PREFIX: Final = "wh_"  # of the ids of webhooks
ACTOR: Final = "webhook"
RETRIES_S: Final = (5, 60, 600, 3_600, *(21_600,) * 12)  # after a look in vain; the last twelve are three days
KEEP_US: Final = 30 * DAY_US  # how long one is kept that is matched, or was given up
FORGET_MAX: Final = 100  # webhooks removed at once
READS_MAX: Final = 200  # of an attempt: after them its own schedule must do, whatever comes (an identity may be unsigned)
REFUND: Final = "refund"  # the account under which the store keeps the provider's ids of operations
_MATTERS: Final = re.compile(r"^(?:content-type|user-agent)$|signature|timestamp|event|delivery|webhook-(?:id|version|attempt)")
NUMBERS_MAX, JOINED_MAX = 30_000, 5_000  # digit groups of a body that is kept; those of them that another one follows at once
_NUMBER: Final = re.compile(r"[0-9]+")
_JOINED: Final = re.compile(r"[0-9](?=[^0-9A-Za-z,:\"]{1,3}[0-9])")
_SECRET: Final = re.compile(r"secret|token|auth|cookie|password|key")

log = get_logger("inbox")


class Ingest(Protocol):
    """``Engine.ingest``: pull the reads of a payment forward. False when there is nothing to read."""

    async def __call__(self, payment_id: str, ref: str = "", *, actor: str) -> bool: ...


class Stored(Struct, frozen=True):
    """A webhook that is kept; ``repeated`` when it was there already."""

    id: str
    repeated: bool


def hearing(adapter: Adapter) -> Hears | None:
    """The adapter as one that takes webhooks, if it does."""
    return cast("Hears", adapter) if hasattr(adapter, "verify_webhook") else None


def deaf(account: Account) -> bool:
    """Its provider sends webhooks, and all would be refused: no secret is configured that signs them."""
    ear = hearing(account.adapter)
    return ear is not None and not ear.webhook_secrets(account.credentials)


def id_of(account: str, event: str) -> str:
    """The same for every delivery of an event to an account."""
    raw = f"{len(account)}:{account}{event}".encode("utf-8", "replace")
    return PREFIX + ids.encode(int.from_bytes(sha256(raw).digest()) >> (256 - 5 * ids.ID_CHARS))


class Receiver:
    """See the module docstring. Any number of processes may share an inbox: each write holds only if the row is still as it
    was read, and looking a webhook up twice does no harm."""

    def __init__(
        self, inbox: Inbox, store: Store, accounts: Mapping[str, Account], ingest: Ingest, *, clock: Clock, wake: Wake
    ) -> None:
        self.told: Callable[[str, str], None] = _nobody  # account and what became of a webhook, for who counts
        self.inbox, self._store, self._accounts = inbox, store, accounts
        self._ingest, self._clock, self._wake = ingest, clock, wake

    async def hear(self, account: str, headers: Mapping[str, str], body: bytes) -> Stored:
        """Verify a webhook on its raw bytes and store it, due now. Header names are in lower case.

        Raises Refused (``not_found``: no such account, or its provider sends none; ``webhook_refused``: not genuine, or not
        fresh) and StoreUnavailable: it is not stored, or not for sure, and its sender should send it again."""
        known = self._accounts.get(account)
        ear = hearing(known.adapter) if known else None
        if known is None or ear is None:
            raise Refused("not_found", "No account of this name takes webhooks.")
        now = self._clock.now_us()
        try:
            event = _verified(known, ear, headers, body, now)
        except Refused:
            self.told(account, "refused")
            raise
        webhook = Webhook(
            id=id_of(account, event.id),
            account=account,
            event=_short(event.id),
            kind=_short(event.kind),
            references=_names(event.references),
            refs=_names(event.refs),
            headers=_kept(headers),
            body=storable(without(body, known.credentials)),
            received_us=now,
            last_us=now,
            due_us=now,
        )
        new = await self.inbox.put(webhook)
        log.info("webhook" if new else "webhook repeated", account=account, webhook=webhook.id)
        self.told(account, "stored" if new else "repeated")
        if new:
            self._wake.send(webhook.id)
        return Stored(webhook.id, repeated=not new)

    async def due(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        """What has to be looked up before or at a time, earliest first."""
        return await self.inbox.due(before_us, limit)

    async def resolve(self, id: str) -> None:
        """Look up the payments that a webhook is about, if it is due, and pull their reads forward. After a crash anywhere in
        here it is still due. Never raises for what stores can do."""
        try:
            webhook, now = await self.inbox.get(id), self._clock.now_us()
            if webhook is None or webhook.due_us is None or webhook.due_us > now:
                return
            found = await self._payments(webhook)
            for payment_id in found:
                if await self._read_enough(payment_id):
                    continue
                await self._ingest(payment_id, webhook.id, actor=ACTOR)
            settled = _settled(webhook, found, now)
            if await self.inbox.settle(settled):
                self.told(webhook.account, settled.state)
        except NewerSchema:
            log.warning("webhook about a row of a newer version left alone", webhook=id)
        except StoreUnavailable as error:
            log.warning("store unavailable, the webhook stays due", webhook=id, error=str(error))

    async def _read_enough(self, payment_id: str) -> bool:
        p = await self._store.get(payment_id)
        return p is not None and any(sum(s.kind == "read" for s in a.steps) >= READS_MAX for a in p.attempts)

    async def tidy(self) -> bool:
        """Remove some old webhooks that are done with; True when there may be more. Raises StoreUnavailable."""
        gone = await self.inbox.forget(self._clock.now_us() - KEEP_US, FORGET_MAX)
        if gone:
            log.info("old webhooks removed", count=gone)
        return gone == FORGET_MAX

    async def _payments(self, w: Webhook) -> tuple[str, ...]:
        """Ids of the payments it is about, each once."""
        found: dict[str, None] = {}
        for reference in w.references:
            of_us = ids.payment_of(reference)
            p = await self._store.get(of_us) if of_us else None
            if p and w.account in _named(p, reference):
                found[p.id] = None
        if found:
            return tuple(found)
        for ref in w.refs:
            for payment_id in await self._store.find_ref(ref, w.account):
                found[payment_id] = None
            for payment_id in await self._store.find_ref(ref, REFUND):
                p = await self._store.get(payment_id)
                if p and w.account in _operated(p):
                    found[payment_id] = None
        return tuple(found)[:WEBHOOK_NAMES_MAX]


def _nobody(_account: str, _result: str) -> None:
    """Nobody counts."""


async def replay(inbox: Inbox, id: str, now_us: int) -> bool:
    """Make a webhook due now, with all its tries before it, whatever became of it. False when there is none of this id."""
    while (webhook := await inbox.get(id)) is not None:
        if await inbox.settle(replace(webhook, state="new", payment_ids=(), tries=0, due_us=now_us)):
            return True
    return False


def _verified(known: Account, ear: Hears, headers: Mapping[str, str], body: bytes, now_us: int) -> WebhookEvent:
    """The event in a genuine webhook. Raises Refused; nothing of the body is in its text or in the log."""
    try:
        secrets = ear.webhook_secrets(known.credentials)
        if not secrets:
            raise WebhookRefused("no webhook secret is configured for this account")
        try:
            ear.verify_webhook(headers, body, secrets, now_us)
        except WebhookRefused:
            raise
        except Exception as error:  # noqa: BLE001 - a bug of an adapter must not open the door, and its text may quote the body
            log.error("adapter failed to verify a webhook", account=known.name, error=type(error).__name__)  # noqa: TRY400
            raise WebhookRefused("it could not be verified") from None
        return ear.parse_webhook(headers, body)
    except WebhookRefused as refused:
        log.warning("webhook refused", account=known.name, reason=mask(str(refused)[:200]))
        raise Refused("webhook_refused", "It is not signed with a secret of this account, or not fresh, or no event.") from None


def _settled(w: Webhook, found: tuple[str, ...], now_us: int) -> Webhook:
    """What becomes of it: matched, looked up again later, or given up until somebody replays it."""
    if found:
        return replace(w, state="matched", payment_ids=found, due_us=None)
    state: WebhookState = "parked" if w.tries < len(RETRIES_S) else "unmatched"
    due_us = now_us + RETRIES_S[w.tries] * SECOND_US if state == "parked" else None
    log.info("webhook without its payment", account=w.account, webhook=w.id, state=state)
    return replace(w, state=state, tries=w.tries + 1, due_us=due_us)


def _named(p: Payment, reference: str) -> Iterator[str]:
    """The accounts at which the payment uses this reference: an attempt's, or that of an operation on one."""
    yield from (a.account for a in p.attempts if a.reference == reference)
    yield from (a.account for o in p.operations if o.reference == reference for a in _worked_on(p, o.attempt))


def _operated(p: Payment) -> Iterator[str]:
    """The accounts at which something was asked of the payment after its charge."""
    yield from (a.account for o in p.operations[1:] for a in _worked_on(p, o.attempt))


def _worked_on(p: Payment, n: int) -> tuple[Attempt, ...]:
    return p.attempts[n : n + 1]


# --- what is kept -----------------------------------------------------------------------------------------------------


def _kept(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The few headers that say what it is and who signed it; none that may be a secret."""
    names = sorted(n for n in headers if _MATTERS.search(n) and not _SECRET.search(n))
    return tuple((_short(name), _short(headers[name])) for name in names[:WEBHOOK_NAMES_MAX])


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Bounded; what is empty, too long or looks like a card number is no name."""
    fit = dict.fromkeys(_text(n) for n in names if 0 < len(n) <= WEBHOOK_CHARS_MAX and not has_card_number(n))
    return tuple(fit)[:WEBHOOK_NAMES_MAX]


def _short(text: str) -> str:
    """Masked before it is cut: half a card number is not seen as one."""
    return mask(_text(text[: 4 * WEBHOOK_CHARS_MAX]))[:WEBHOOK_CHARS_MAX]


def _text(text: str) -> str:
    """As UTF-8 can hold it."""
    return text.encode("utf-8", "replace").decode()


def storable(body: bytes) -> bytes:
    """The body as it may be kept: as it came; with card numbers masked if there are any; and nothing of it where one may be
    left, or where looking for them would take seconds (no provider sends such a body)."""
    text = body.decode("utf-8", "replace")
    try:
        document = _decoded(text)
        plain = unquote_plus(text)
        encoded = "" if document is None else msgspec.json.encode(document).decode()
        if any(len(_NUMBER.findall(t)) > NUMBERS_MAX or len(_JOINED.findall(t)) > JOINED_MAX for t in (text, plain, encoded)):
            return b""
        if not has_card_number([text, plain, document]):
            return body
        kept = mask(plain if document is None else msgspec.json.encode(masked(document)).decode())
        left = has_card_number([kept, unquote_plus(kept), _decoded(kept)])
    except RecursionError:
        return b""
    return b"" if left or len(kept.encode()) > WEBHOOK_BYTES_MAX else kept.encode()


def _decoded(text: str) -> Any:
    """A JSON document, or None."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError):
        return None
