"""The ports: what the engine needs from outside, with the semantics, races and no-ops of each. The public contracts
in ``payonce.testing`` quote these docstrings."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from .core.events import Entry
from .core.payment import Mode, Payment, PaymentStatus, StoredRequest


class Scope(Struct, frozen=True):
    """Whose rows: every read and write of a merchant's data names it. Taken from the caller's identity."""

    merchant_id: str
    mode: Mode


class KeyRow(Struct, frozen=True, kw_only=True):
    """What an idempotency key stands for: for the life of the payment, no expiry. ``request`` is the normalised
    request in the version that ``request_v`` names."""

    key: str
    operation: str
    payment_id: str
    request_v: int
    request: bytes


class Ref(Struct, frozen=True):
    """A name under which a payment can be found: our reference or a provider's id at an account."""

    account: str
    kind: str
    value: str


class Change(Struct, frozen=True, kw_only=True):
    """One atomic write: new events, the row they fold to, its due time, and what lies beside the chain."""

    payment: Payment  # the fold after the new entries
    entries: tuple[Entry, ...]
    due_us: int | None  # when plan wants it next; None = quiet
    key: KeyRow | None = None  # only when the change is an operation that came with a key
    bodies: Mapping[str, bytes] = {}  # sha256 -> bytes, erasable
    refs: tuple[Ref, ...] = ()
    news: tuple[int, ...] = ()  # seqs of the entries that hold public events (core/news.py): their place in the feed
    notify: bool = False  # somebody is subscribed to them: the payment is put on the notices in the same write
    was: PaymentStatus | None = None  # the status before (None: it is new), for who counts: no condition of the write


class Committed(Struct, frozen=True):
    """Durable: it survives a power cut."""


class Conflict(Struct, frozen=True):
    """Nothing was written: the row is at another version (``payment``) or the key is taken (``key``)."""

    payment: Payment | None = None
    key: KeyRow | None = None


class Unclear(Struct, frozen=True):
    """The write may or may not be done, and may still be done later. Re-read before acting on it."""


class Due(Struct, frozen=True):
    payment_id: str
    due_us: int


class Filters(Struct, frozen=True, kw_only=True):
    """Exact matches, all optional; the created range is [from, before)."""

    status: PaymentStatus | None = None
    provider: str | None = None  # account of the winner, else of the youngest attempt
    currency: str | None = None
    client_id: str | None = None
    metadata: str | None = None  # one of its metadata values, as text
    decline_code: str | None = None  # one of its attempts was declined so
    created_from_us: int | None = None
    created_before_us: int | None = None
    attention: bool = False  # only payments that need eyes: IN_DOUBT or attention set


class Page(Struct, frozen=True):
    payments: tuple[Payment, ...]
    next: str | None  # opaque cursor; None = no more


class Fed(Struct, frozen=True):
    """A place in the feed: this event of this payment holds news."""

    payment_id: str
    seq: int


class FeedPage(Struct, frozen=True):
    """``next`` always continues, also at the end of what there is today; ``more``: there is something behind it already."""

    entries: tuple[Fed, ...]
    next: str
    more: bool


class Store(Protocol):
    """Payments, strictly. Implementations: ``stores.memory``, ``stores.sqlite``, ``stores.dynamodb``.

    All reads are consistent: they see every change whose ``commit`` returned Committed before the read began. On DynamoDB that
    holds for everything that is decided by (get, find_key, find_ref, bodies, history); ``list``, ``due``, ``next_due`` and
    ``counts`` go through indexes that may lag some seconds there: each row they show is as it is now, the newest may miss.
    A closed, full, busy or read-only store raises StoreUnavailable and has written nothing. A row written by a newer schema
    raises NewerSchema and is left as it is.
    """

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        """The one payment write, all or nothing. Of any number of racing writers with the same ``expected_version``
        exactly one gets Committed; the others get Conflict with the current row. ``expected_version`` 0 creates:
        Conflict when the id exists. A taken key gives Conflict with its row, and wins over a version conflict.
        ``due_us`` None takes the payment off the due index; bodies and refs that exist already are kept."""

    async def get(self, payment_id: str) -> Payment | None:
        """The current row, or None. Not scoped: the caller compares merchant and mode."""

    async def find_key(self, scope: Scope, key: str) -> KeyRow | None:
        """What the key stands for in this scope, or None."""

    async def find_ref(self, value: str, account: str | None = None) -> tuple[str, ...]:
        """Ids of payments known under this value (at this account, if given); empty when none is."""

    async def bodies(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """(payment id, sha256) -> bytes, without those that were erased or never written."""

    async def history(self, payment_id: str, after_seq: int = 0, limit: int = 1000) -> tuple[Entry, ...]:
        """Entries in order of seq, as the exact bytes that were committed."""

    async def list(self, scope: Scope, filters: Filters, limit: int, cursor: str | None = None) -> Page:
        """Newest first (created, then id). A cursor continues after the last row seen, whatever was written since.
        Raises ValueError for a cursor that is not ours."""

    async def feed(self, scope: Scope, limit: int, cursor: str | None = None, since_us: int = 0) -> FeedPage:
        """Places of public events, of changes that named them in ``news``, in the order of the writes. Without a cursor from
        the first event at or after ``since_us``. Whoever goes on from ``next`` misses none. On DynamoDB events of the last
        seconds wait, the order is that of the writers' clocks, and an event may come twice, and late where a writer's clock was
        far behind. Raises ValueError for a cursor that is not ours."""

    async def due(self, before_us: int, limit: int) -> tuple[Due, ...]:
        """What is due before or at a time, earliest first; every merchant's."""

    async def next_due(self) -> int | None:
        """The earliest due time of all, or None."""

    async def defer(self, payment_id: str, version: int, due_us: int | None) -> bool:
        """Move the due time without an event, only if the row is still at ``version``; False otherwise. None takes the
        payment off the due index."""

    async def counts(self) -> Mapping[str, int]:
        """Payments per status, every merchant's. It may walk a whole index: for doctor and other tools that people run,
        never on the way of a request."""

    async def close(self) -> None:
        """Finish what was accepted, then release files. A no-op when closed already."""


class Record(Struct, frozen=True):
    """One row of the registry. ``value`` is small; what it means is its kind's business."""

    name: str
    value: bytes
    version: int


RECORD_BYTES_MAX = 65_536  # of a value


class Registry(Protocol):
    """What all processes share beside payments: drain switches and breakers. Read often, written seldom, never part of a
    payment's write. Implementations: ``stores.memory``, ``stores.sqlite``,
    ``stores.dynamodb``.

    A closed, full, busy or read-only store raises StoreUnavailable: what was asked is not done, unless the disk failed in
    the middle of it; read again before acting on it.
    """

    async def all(self, kind: str) -> tuple[Record, ...]:
        """Every record of a kind, in the order of names. Consistent: it sees each ``put`` that returned True before the
        read began."""

    async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
        """Write a record if it is still at ``expected_version``; 0 = there must be none. None deletes it. Of any number of
        racing writers with the same ``expected_version`` exactly one gets True; the others get False and have written
        nothing. An update makes version ``expected_version`` + 1; a name that was deleted continues its count, so no
        version ever stands for two values. Raises ValueError for a value above RECORD_BYTES_MAX, and for deleting with
        ``expected_version`` 0."""


class Clock(Protocol):
    """Time only through here. ``now_us`` is wall time, ``monotonic_us`` never goes back."""

    def now_us(self) -> int: ...
    def monotonic_us(self) -> int: ...
    async def sleep(self, seconds: float) -> None: ...


class Entropy(Protocol):
    """Chance only through here."""

    def bits(self, count: int) -> int:
        """``count`` unpredictable bits: payment ids and the nonces of claims."""


class Wake(Protocol):
    """Whom to tell that there is work, so that it need not wait for the next sweep."""

    def send(self, payment_id: str) -> None:
        """A hint that a payment, a webhook, a notice or a delivery is due, by its id. May be lost, doubled or late: that costs
        only time (R1)."""


class Response(Struct, frozen=True, kw_only=True):
    """What came back, whole. Half a response is never one. A ``retry-after`` that was a date arrives in seconds."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class Lost(Struct, frozen=True):
    """No whole response. ``sent`` is False only when provably no byte of the request left (a fresh connection failed
    before it was usable, or the deadline had passed). ``ours``: it says nothing about the provider, we did not try."""

    sent: bool
    reason: str
    ours: bool = False


class Transport(Protocol):
    """The only way out to providers."""

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response | Lost:
        """Send once. No retry, no redirect, no proxy from the environment. Just before the first byte the deadline is
        checked by wall and monotonic clock: past it nothing is sent. Never raises for what a network can do."""

    async def close(self) -> None: ...
