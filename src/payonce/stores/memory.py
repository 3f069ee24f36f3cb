"""The store as plain dictionaries: public, for tests and the simulator, and the model that the others are compared
with. Nothing survives the process."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from payonce.core.errors import StoreUnavailable
from payonce.core.events import Entry
from payonce.core.payment import Payment
from payonce.figures import metadata_in
from payonce.mail import Waiting, Webhook, WebhookPage, WebhookState
from payonce.ports import Change, Committed, Conflict, Due, Fed, FeedPage, Filters, KeyRow, Page, Record, Ref, Scope, Unclear

from .memory_figures import MemoryFigures
from .memory_outbox import MemoryOutbox
from .rows import (
    check_change,
    check_continues,
    check_limit,
    check_record,
    check_webhook,
    cursor_after,
    cursor_position,
    feed_after,
    feed_position,
    matches,
)


class MemoryStore:
    """See ``payonce.ports.Store``. No method waits, so every call is atomic in its event loop. ``outbox`` and ``figures`` are
    closed with it."""

    def __init__(self) -> None:
        self._payments: dict[str, Payment] = {}
        self._events: dict[str, tuple[Entry, ...]] = {}
        self._keys: dict[tuple[Scope, str], KeyRow] = {}
        self._refs: set[tuple[Ref, str]] = set()
        self._bodies: dict[tuple[str, str], bytes] = {}
        self._metadata: dict[str, frozenset[str]] = {}
        self._due: dict[str, int] = {}
        self._feed: dict[Scope, list[tuple[int, Fed]]] = {}  # each with the latest time so far, which never goes back
        self._closed = False
        self.outbox = MemoryOutbox(self._version)
        self.figures = MemoryFigures(self, self._require_open)

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        self._require_open()
        check_change(change, expected_version)
        p, row = change.payment, self._payments.get(change.payment.id)
        slot = (Scope(p.merchant_id, p.mode), change.key.key) if change.key else None
        if slot in self._keys:
            return Conflict(key=self._keys[slot])
        if (row.version if row else 0) != expected_version:
            return Conflict(payment=row)
        check_continues(change, row.head if row else "")
        self._payments[p.id] = p
        self._events[p.id] = (*self._events.get(p.id, ()), *change.entries)
        if slot and change.key:
            self._keys[slot] = change.key
        self._refs.update((ref, p.id) for ref in change.refs)
        for sha256, body in change.bodies.items():
            self._bodies.setdefault((p.id, sha256), body)
        self._due.pop(p.id, None)
        if change.due_us is not None:
            self._due[p.id] = change.due_us
        self._tell(change)
        if values := metadata_in(change):
            self._metadata[p.id] = values
        self.figures.keep(change)
        return Committed()

    def _tell(self, change: Change) -> None:
        p, told = change.payment, self._feed.setdefault(Scope(change.payment.merchant_id, change.payment.mode), [])
        times = {e.envelope.seq: e.envelope.at_us for e in change.entries}
        for seq in change.news:
            told.append((max(times[seq], told[-1][0] if told else 0), Fed(p.id, seq)))
        if change.notify:
            self.outbox.note(p.id, change.news[0], times[change.news[-1]])

    async def get(self, payment_id: str) -> Payment | None:
        self._require_open()
        return self._payments.get(payment_id)

    async def find_key(self, scope: Scope, key: str) -> KeyRow | None:
        self._require_open()
        return self._keys.get((scope, key))

    async def find_ref(self, value: str, account: str | None = None) -> tuple[str, ...]:
        self._require_open()
        found = {id for ref, id in self._refs if ref.value == value and account in (None, ref.account)}
        return tuple(sorted(found))

    async def bodies(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        self._require_open()
        return {key: self._bodies[key] for key in keys if key in self._bodies}

    async def history(self, payment_id: str, after_seq: int = 0, limit: int = 1000) -> tuple[Entry, ...]:
        self._require_open()
        return tuple(e for e in self._events.get(payment_id, ()) if e.envelope.seq > after_seq)[:limit]

    async def list(self, scope: Scope, filters: Filters, limit: int, cursor: str | None = None) -> Page:
        self._require_open()
        check_limit(limit)
        before = cursor_position(cursor) if cursor is not None else None
        own = [p for p in self._payments.values() if Scope(p.merchant_id, p.mode) == scope]
        rows = [p for p in own if matches(p, filters, self._metadata.get(p.id, frozenset()))]
        rows.sort(key=lambda p: (p.created_us, p.id), reverse=True)
        rest = [p for p in rows if before is None or (p.created_us, p.id) < before]
        more = cursor_after(rest[limit - 1].created_us, rest[limit - 1].id) if len(rest) > limit else None
        return Page(tuple(rest[:limit]), more)

    async def feed(self, scope: Scope, limit: int, cursor: str | None = None, since_us: int = 0) -> FeedPage:
        self._require_open()
        check_limit(limit)
        after = feed_position(scope, cursor) if cursor is not None else (since_us, 0)
        told = [(at_us, place, fed) for place, (at_us, fed) in enumerate(self._feed.get(scope, ()), 1)]
        rest = [row for row in told if row[:2] > after]
        at_us, place = rest[:limit][-1][:2] if rest else after
        return FeedPage(tuple(fed for *_, fed in rest[:limit]), feed_after(scope, at_us, place), len(rest) > limit)

    async def due(self, before_us: int, limit: int) -> tuple[Due, ...]:
        self._require_open()
        first = sorted((at_us, id) for id, at_us in self._due.items() if at_us <= before_us)
        return tuple(Due(id, at_us) for at_us, id in first[:limit])

    async def next_due(self) -> int | None:
        self._require_open()
        return min(self._due.values(), default=None)

    async def due_of(self, payment_id: str) -> int | None:
        """When a worker will look at the payment; None when nothing is owed any more."""
        self._require_open()
        return self._due.get(payment_id)

    def due_times(self) -> Mapping[str, int]:
        """When each payment is due, of those that are."""
        return self._due

    def rows(self) -> Collection[Payment]:
        """All payments."""
        return self._payments.values()

    async def defer(self, payment_id: str, version: int, due_us: int | None) -> bool:
        self._require_open()
        row = self._payments.get(payment_id)
        if row is None or row.version != version:
            return False
        self._due.pop(payment_id, None)
        if due_us is not None:
            self._due[payment_id] = due_us
        return True

    async def counts(self) -> Mapping[str, int]:
        self._require_open()
        return dict(Counter(p.status for p in self._payments.values()))

    async def ids(self, after: str, limit: int) -> tuple[str, ...]:
        """Ids of all payments in their own order, after ``after`` ("" = from the first): for ``payonce verify``."""
        self._require_open()
        return tuple(sorted(id for id in self._payments if id > after)[:limit])

    def copy(self) -> "MemoryStore":
        """The rows as they are now: a backup."""
        other = MemoryStore()
        other._payments, other._events, other._keys = dict(self._payments), dict(self._events), dict(self._keys)
        other._refs, other._bodies, other._due = set(self._refs), dict(self._bodies), dict(self._due)
        other._metadata = dict(self._metadata)
        other._feed = {scope: list(told) for scope, told in self._feed.items()}
        other.outbox = self.outbox.copy(other._version)
        other.figures = self.figures.copy(other, other._require_open)
        return other

    def _version(self, payment_id: str) -> int:
        self._require_open()
        row = self._payments.get(payment_id)
        return row.version if row else 0

    async def close(self) -> None:
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("The store is closed. Nothing was written; open a new one.")


class MemoryRegistry:
    """See ``payonce.ports.Registry``. No method waits, so every call is atomic in its event loop."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], tuple[int, bytes | None]] = {}  # None: deleted, the version goes on

    async def all(self, kind: str) -> tuple[Record, ...]:
        rows = sorted((name, version, value) for (of, name), (version, value) in self._rows.items() if of == kind)
        return tuple(Record(name, value, version) for name, version, value in rows if value is not None)

    async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
        check_record(value, expected_version)
        version, stored = self._rows.get((kind, name), (0, None))
        if expected_version != (version if stored is not None else 0):
            return False
        self._rows[kind, name] = (version + 1, value)
        return True


class MemoryInbox:
    """See ``payonce.mail.Inbox``. No method waits, so every call is atomic in its event loop."""

    def __init__(self) -> None:
        self._rows: dict[str, Webhook] = {}

    async def put(self, webhook: Webhook) -> bool:
        check_webhook(webhook)
        known = self._rows.get(webhook.id)
        if known is None:
            self._rows[webhook.id] = replace(webhook, version=1, deliveries=1)
            return True
        last_us = max(known.last_us, webhook.last_us)
        self._rows[webhook.id] = replace(known, deliveries=known.deliveries + 1, last_us=last_us)
        return False

    async def get(self, id: str) -> Webhook | None:
        return self._rows.get(id)

    async def list(
        self, limit: int, *, state: WebhookState | None = None, account: str | None = None, cursor: str | None = None
    ) -> WebhookPage:
        check_limit(limit)
        before = cursor_position(cursor) if cursor is not None else None
        rows = [w for w in self._rows.values() if state in (None, w.state) and account in (None, w.account)]
        rows.sort(key=lambda w: (w.received_us, w.id), reverse=True)
        rest = [w for w in rows if before is None or (w.received_us, w.id) < before]
        more = cursor_after(rest[limit - 1].received_us, rest[limit - 1].id) if len(rest) > limit else None
        return WebhookPage(tuple(replace(w, headers=(), body=b"") for w in rest[:limit]), more)

    async def due(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        first = sorted((w.due_us, w.id) for w in self._rows.values() if w.due_us is not None and w.due_us <= before_us)
        return tuple(Waiting(id, due_us) for due_us, id in first[:limit])

    async def settle(self, webhook: Webhook) -> bool:
        row = self._rows.get(webhook.id)
        if row is None or row.version != webhook.version:
            return False
        self._rows[row.id] = replace(
            row,
            state=webhook.state,
            payment_ids=webhook.payment_ids,
            tries=webhook.tries,
            due_us=webhook.due_us,
            version=row.version + 1,
        )
        return True

    async def forget(self, before_us: int, limit: int) -> int:
        over = (w for w in self._rows.values() if w.state in ("matched", "unmatched"))
        old = sorted((w.received_us, w.id) for w in over if w.received_us < before_us)
        for _, id in old[:limit]:
            del self._rows[id]
        return len(old[:limit])

    async def counts(self) -> Mapping[str, int]:
        return dict(Counter(w.state for w in self._rows.values()))
