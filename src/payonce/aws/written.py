"""What this invocation wrote: when what it moved is due next: payments and webhooks, or deliveries and notices. By that the
functions know, without a read, whose id to send again; and that a message which changed nothing needs no other one after it."""

from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from payonce.bootstrap import App
from payonce.core import ids
from payonce.engine import Engine
from payonce.mail import Delivery, Inbox, Outbox, Webhook
from payonce.ports import Change, Clock, Committed, Conflict, Store, Unclear


class Written:
    """``moved`` and ``stands`` of the ids since ``clear``."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._due: dict[str, int | None] = {}

    def clear(self) -> None:
        self._due.clear()

    def note(self, id: str, due_us: int | None) -> None:
        self._due[id] = due_us

    def moved(self, id: str) -> bool:
        """This invocation wrote it."""
        return id in self._due

    def known_due(self, id: str) -> int | None:
        """What the store knows without a read: as last read or written here."""
        due: int | None = self._store.known_due(id) if hasattr(self._store, "known_due") else None
        return due

    def stands(self, id: str, now_us: int) -> int | None:
        """Microseconds until it is due, 0 or less when it is now; None: quiet, or not known."""
        due_us = self._due[id] if id in self._due else self.known_due(id)
        return None if due_us is None else due_us - now_us


class _Payments:
    """A store that notes what is written through it. All else goes straight to the real one."""

    def __init__(self, store: Store, book: Written, clock: Clock) -> None:
        self._store, self._book, self._clock = store, book, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        done = await self._store.commit(change, expected_version)
        if isinstance(done, Committed):
            self._book.note(change.payment.id, change.due_us)
        return done

    async def defer(self, payment_id: str, version: int, due_us: int | None) -> bool:
        """A due time that only stays where it is was not moved by us: somebody else sends the id for it."""
        before = self._book.known_due(payment_id)
        if before is not None and before > self._clock.now_us() and (due_us is None or due_us >= before):
            return False  # a delivery that came early: it is looked at when it is due, and that one moves it
        done = await self._store.defer(payment_id, version, due_us)
        if done and due_us != before:
            self._book.note(payment_id, due_us)
        return done


class _Webhooks:
    def __init__(self, inbox: Inbox, book: Written) -> None:
        self._inbox, self._book = inbox, book

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inbox, name)

    async def settle(self, webhook: Webhook) -> bool:
        done = await self._inbox.settle(webhook)
        if done:
            self._book.note(webhook.id, webhook.due_us)
        return done


class _Deliveries:
    def __init__(self, outbox: Outbox, book: Written) -> None:
        self._outbox, self._book = outbox, book

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outbox, name)

    async def settle(self, delivery: Delivery) -> bool:
        done = await self._outbox.settle(delivery)
        if done:
            self._book.note(delivery.id, delivery.due_us)
        return done

    async def put_off(self, payment_id: str, due_us: int) -> None:
        await self._outbox.put_off(payment_id, due_us)
        self._book.note(ids.notice_id(payment_id), due_us)


_BOOKS: Final[WeakKeyDictionary[Engine, Written]] = WeakKeyDictionary()


def written(app: App) -> Written:
    """The one book of this app; its engine, its receiver of webhooks and its courier write through it from now on."""
    book = _BOOKS.get(app.engine)
    if book is None:
        book = _BOOKS[app.engine] = Written(app.engine.store)
        app.engine.store = cast("Store", _Payments(app.engine.store, book, app.clock))
        if app.webhooks:
            app.webhooks.inbox = cast("Inbox", _Webhooks(app.webhooks.inbox, book))
        if app.courier:
            app.courier.outbox = cast("Outbox", _Deliveries(app.courier.outbox, book))
    return book
