"""The store on DynamoDB: the source of truth on AWS. See ``payonce.ports.Store`` for what it promises."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, ParamSpec, TypeVar

from payonce.awsapi import Aws, Busy, Denied, Done, Lost
from payonce.core.errors import StoreUnavailable
from payonce.core.events import Entry
from payonce.core.payment import Mode, Payment
from payonce.ports import Change, Clock, Committed, Conflict, Due, FeedPage, Filters, KeyRow, Page, Scope, Unclear

from . import items
from .asking import CLOSED, CONDITION, number, refused, update
from .feed import Feed
from .figures import DynamoFigures
from .inbox import DynamoInbox
from .indexes import Indexes
from .outbox import DynamoOutbox
from .reading import Reading
from .registry import DynamoRegistry
from .tables import Tables
from .writing import Writing

P = ParamSpec("P")
T = TypeVar("T")

_NOBODY: Final = "pay_"  # no payment has this id


def open_store(aws: Aws, clock: Clock, tables: Tables) -> "DynamoStore":
    """A store on tables that exist; nothing is asked of AWS yet. ``aws`` stays its owner's, who closes it afterwards."""
    return DynamoStore(aws, clock, tables)


class DynamoStore:
    """Made by ``open_store``. ``registry``, ``inbox`` and ``outbox`` are in the same tables, ``figures`` are made of
    the newest payments. Used by one event loop."""

    def __init__(self, aws: Aws, clock: Clock, tables: Tables) -> None:
        self.tables = tables
        self.registry = DynamoRegistry(aws, clock, tables)
        self.inbox = DynamoInbox(aws, clock, tables)
        self.outbox = DynamoOutbox(aws, clock, tables)
        self._aws = aws
        self._reading = Reading(aws, clock, tables)
        self._indexes = Indexes(self._reading)
        self._feed = Feed(self._reading)
        self.figures = DynamoFigures(self)
        self._writing = Writing(self._reading, self._feed)
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._trouble = ""

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        return await self._finished(self._commit, change, expected_version)

    async def defer(self, payment_id: str, version: int, due_us: int | None) -> bool:
        return await self._finished(self._defer, payment_id, version, due_us)

    async def get(self, payment_id: str) -> Payment | None:
        return await self._finished(self._reading.get, payment_id)

    async def find_key(self, scope: Scope, key: str) -> KeyRow | None:
        return await self._finished(self._reading.find_key, scope, key)

    async def find_ref(self, value: str, account: str | None = None) -> tuple[str, ...]:
        return await self._finished(self._reading.find_ref, value, account)

    async def bodies(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        return await self._finished(self._reading.bodies, keys)

    async def history(self, payment_id: str, after_seq: int = 0, limit: int = 1000) -> tuple[Entry, ...]:
        return await self._finished(self._reading.history, payment_id, after_seq, limit)

    async def list(self, scope: Scope, filters: Filters, limit: int, cursor: str | None = None) -> Page:
        return await self._finished(self._indexes.list, scope, filters, limit, cursor)

    async def feed(self, scope: Scope, limit: int, cursor: str | None = None, since_us: int = 0) -> FeedPage:
        return await self._finished(self._feed.page, scope, limit, cursor, since_us)

    async def due(self, before_us: int, limit: int) -> tuple[Due, ...]:
        return await self._finished(self._indexes.due, before_us, limit)

    async def next_due(self) -> int | None:
        first = await self._finished(self._indexes.due, None, 1)
        return first[0].due_us if first else None

    async def due_of(self, payment_id: str) -> int | None:
        """When a worker will look at the payment; None when nothing is owed any more. A consistent read."""
        row = await self._finished(self._reading.row, payment_id)
        return None if row is None else row.due_us

    def known_due(self, payment_id: str) -> int | None:
        """What the last read or write here said of its due time, without asking; None: it is quiet, or not known here."""
        known = self._reading.known.get(payment_id)
        return None if known is None else known.row.due_us

    async def need_eyes(self, mode: Mode, most: int) -> Sequence[Payment]:
        """At most so many payments that need eyes, every merchant's."""
        return await self._finished(self._indexes.need_eyes, mode, most)

    async def counts(self) -> Mapping[str, int]:
        return await self._finished(self._indexes.counts)

    async def ids(self, after: str, limit: int) -> tuple[str, ...]:
        """Ids of all payments in the order of the table, after ``after`` ("" = from the first): for ``payonce verify``. It
        reads the whole table."""
        return await self._finished(self._reading.ids, after, limit)

    async def check(self) -> str:
        """ "ok", or why the tables cannot be used."""
        for name in (self.tables.transactions, self.tables.idempotency, self.tables.registry):
            match await self._finished(self._aws.call, "dynamodb", "DescribeTable", {"TableName": name}):
                case Done(body=body) if body["Table"]["TableStatus"] in ("ACTIVE", "UPDATING"):
                    continue
                case Done(body=body):
                    return f"{name} is {body['Table']['TableStatus']}"
                case Denied(code=said) | Busy(code=said) | Lost(reason=said):
                    return f"{name}: {said}"
        return "ok"

    @property
    def write_trouble(self) -> str:
        """Why the last write was refused; "" when it was taken."""
        return self._trouble

    async def retry_trouble(self) -> str:
        """``write_trouble``; while there is some, after another try with a write that can change nothing, so that it ends also
        when nobody pays. Without trouble it costs nothing."""
        if self._trouble:
            self._trouble = await self._finished(self._touch)
        return self._trouble

    async def _touch(self) -> str:
        """A write whose condition can never hold: it is looked at only where a write would be taken."""
        columns = {"version": number(0)}
        params = update(self.tables.transactions, items.row_key(_NOBODY), columns, "#version = :was", {"was": number(-1)})
        match await self._aws.call("dynamodb", "UpdateItem", params):
            case Denied(code=code) if code == CONDITION:
                return ""
            case Denied() as denied:
                return str(refused(denied, "a write"))
            case Busy(code=said) | Lost(reason=said):
                return f"DynamoDB does not take writes ({said})."
            case Done():
                return ""

    async def _commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        return await self._watched(self._writing.commit(change, expected_version))

    async def _defer(self, payment_id: str, version: int, due_us: int | None) -> bool:
        return await self._watched(self._writing.defer(payment_id, version, due_us))

    async def _watched(self, write: Coroutine[Any, Any, T]) -> T:
        try:
            result = await write
        except StoreUnavailable as error:
            self._trouble = str(error)
            raise
        if isinstance(result, Unclear):
            self._trouble = "DynamoDB did not answer a write; whether it is done shows at the next read."
        else:
            self._trouble = ""
        return result

    async def _finished(self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Work that goes on to its end when whoever waits for it is canceled, and that ``close`` waits for."""
        if self._closed:
            raise StoreUnavailable(CLOSED)
        task = asyncio.ensure_future(work(*args, **kwargs))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also when nobody waits for it any more

    async def close(self) -> None:
        self._closed = True
        while self._running:
            await asyncio.wait(self._running)
