"""The ports beside payments: what providers told us (the inbox) and what merchants are to be told (the outbox). Hints and news:
losing the one costs time only, the other is projected again from the histories. Semantics, races and no-ops as in ``ports``.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from .core.payment import Mode
from .ports import Scope

WEBHOOK_BYTES_MAX = 262_144  # of a body
WEBHOOK_NAMES_MAX = 32  # references of one webhook, and as many ids of the provider
WEBHOOK_CHARS_MAX = 512  # of each text in it

WebhookState = Literal["new", "matched", "parked", "unmatched"]


class Webhook(Struct, frozen=True, kw_only=True):
    """A verified webhook as it was heard: a hint, never evidence (R9). ``id`` is derived from account and event."""

    id: str
    account: str
    event: str  # the provider's identity of it: the same for every delivery
    kind: str  # the provider's word
    references: tuple[str, ...] = ()  # ours in it
    refs: tuple[str, ...] = ()  # the provider's ids in it
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    received_us: int  # the first delivery
    state: WebhookState = "new"
    payment_ids: tuple[str, ...] = ()  # whose read it pulled forward
    tries: int = 0  # how often its payment was looked for in vain
    version: int = 1
    deliveries: int = 1
    last_us: int  # the newest delivery
    due_us: int | None = None  # when it is looked at next


class WebhookPage(Struct, frozen=True):
    webhooks: tuple[Webhook, ...]
    next: str | None  # opaque cursor; None = no more


class Waiting(Struct, frozen=True):
    """A webhook that is due."""

    id: str
    due_us: int


class Inbox(Protocol):
    """Webhooks that were heard, apart from payments: losing one costs time only (R9). Implementations: ``stores.memory``,
    ``stores.sqlite``, ``stores.dynamodb``.

    A closed, full, busy or read-only store raises StoreUnavailable: what was asked is not done, unless the disk failed in
    the middle of it. Its sender sends a webhook again that was not taken.
    """

    async def put(self, webhook: Webhook) -> bool:
        """Keep a webhook, due at its ``due_us``; durable when this returns. False when its id is there already: then one more
        delivery is counted and nothing else changes. Of any number of racing deliveries exactly one gets True. Raises
        ValueError for one above the limits (WEBHOOK_*_MAX)."""

    async def get(self, id: str) -> Webhook | None:
        """The webhook as it is now, or None."""

    async def list(
        self, limit: int, *, state: WebhookState | None = None, account: str | None = None, cursor: str | None = None
    ) -> WebhookPage:
        """Newest first (first delivery, then id), without headers and bodies. A cursor continues after the last row seen,
        whatever was written since. Raises ValueError for a cursor that is not ours."""

    async def due(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        """What is due before or at a time, earliest first."""

    async def settle(self, webhook: Webhook) -> bool:
        """Write state, payments, tries and due time (None = it is not looked at any more), if the row is still at the
        version of ``webhook``; it gets the next one. Of any number of racing writers with the same version exactly one gets
        True; the others get False and have written nothing."""

    async def forget(self, before_us: int, limit: int) -> int:
        """Remove webhooks that are matched or unmatched and were first delivered before a time, the oldest first and at most
        ``limit``; how many there were. A delivery after that is a new one."""

    async def counts(self) -> Mapping[str, int]:
        """Webhooks per state: for doctor."""


DeliveryState = Literal["pending", "delivered", "failed", "canceled"]
DELIVERY_CHARS_MAX = 300  # of each text in one


class Delivery(Struct, frozen=True, kw_only=True):
    """One public event on its way to one endpoint. What is sent is projected from the payment's history at each try, never
    stored. ``id`` is derived from endpoint and event. ``failed``: all tries were in vain; ``canceled``: its endpoint was
    removed or disabled."""

    id: str
    endpoint_id: str
    merchant_id: str
    mode: Mode
    event_id: str
    type: str
    payment_id: str = ""  # "" and seq 0: a test event of no payment
    seq: int = 0
    state: DeliveryState = "pending"
    tries: int = 0
    status: int = 0  # HTTP status of the last answer; 0 = none
    said: str = ""  # why the last try failed
    created_us: int
    last_us: int = 0  # of the last try
    version: int = 1
    due_us: int | None = None  # when it is tried next


class DeliveryPage(Struct, frozen=True):
    deliveries: tuple[Delivery, ...]
    next: str | None  # opaque cursor; None = no more


class Outbox(Protocol):
    """What merchants' endpoints are still to be told. Implementations: ``stores.memory``, ``stores.sqlite``,
    ``stores.dynamodb``. Two parts: notices (payments with news that were not turned into deliveries yet; put there by
    ``Store.commit``), and deliveries.

    A closed, full, busy or read-only store raises StoreUnavailable: what was asked is not done, unless the disk failed in the
    middle of it. Everything here may be asked again. Raises ValueError for a text above DELIVERY_CHARS_MAX.
    """

    async def notices(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        """Payments with a notice due before or at a time, earliest first; ``id`` is the payment's. A notice is due at the time
        of its newest news; further news make one that was put off due again."""

    async def noticed(self, payment_id: str) -> int | None:
        """The first seq that the notice of a payment is about, or None: it has none. All its news from there on are to be
        turned into deliveries; those before were."""

    async def hand_over(self, payment_id: str, version: int, deliveries: Sequence[Delivery]) -> bool:
        """Keep the deliveries (one whose id is there already stays as it is) and take the payment off the notices, if it is
        still at ``version``. False when it is not: the deliveries may be kept, the notice stands, look again."""

    async def put_off(self, payment_id: str, due_us: int) -> None:
        """Look at a notice again at a time. A no-op when there is none."""

    async def add(self, delivery: Delivery) -> bool:
        """Keep one more delivery; False when its id is there already, and nothing changes."""

    async def get(self, id: str) -> Delivery | None:
        """The delivery as it is now, or None."""

    async def list(
        self,
        scope: Scope,
        limit: int,
        *,
        endpoint_id: str | None = None,
        state: DeliveryState | None = None,
        payment_id: str | None = None,
        cursor: str | None = None,
    ) -> DeliveryPage:
        """Newest first (creation, then id), of a merchant and mode. A cursor continues after the last row seen, whatever was
        written since. Raises ValueError for a cursor that is not ours."""

    async def due(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        """Deliveries due before or at a time, earliest first; every merchant's."""

    async def settle(self, delivery: Delivery) -> bool:
        """Write state, tries, status, said, last and due time (None = it is not tried any more), if the row is still at the
        version of ``delivery``; it gets the next one. Of any number of racing writers with the same version exactly one gets
        True; the others get False and have written nothing."""

    async def forget(self, before_us: int, limit: int) -> int:
        """Remove deliveries that are not pending and were created before a time, the oldest first and at most ``limit``; how
        many there were."""

    async def counts(self) -> Mapping[str, int]:
        """Deliveries per state: for doctor."""
