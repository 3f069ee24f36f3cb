"""What the store was asked and what it answered, seen from outside: the measure for whatever a power cut leaves."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from unittest.mock import patch

from msgspec import Struct

from payonce.core.errors import StoreUnavailable
from payonce.core.payment import StoredRequest
from payonce.mail import Delivery
from payonce.ports import Change, Committed, Conflict, Unclear
from payonce.stores.sqlite import store as store_module
from payonce.stores.sqlite.looking import Readers
from payonce.stores.sqlite.outbox import SqliteOutbox
from payonce.stores.sqlite.registry import Writes
from payonce.stores.sqlite.store import SqliteStore
from payonce.stores.sqlite.writer import InlineWrites, Job, Writer
from payonce.stores.sqlite.writes import Write

from .vfs import Machine

# "asked" has no answer: the power went. "gone" was without answer, or unclear, and was not there afterwards.
Verdict = Literal["asked", "committed", "conflict", "refused", "unclear", "gone"]
BUSY_TIMEOUT_MS = 1_000


class _PowerCut(BaseException):
    """The process is gone: whoever waits for an answer gets none."""


class Asked(Struct, kw_only=True):
    """One change. Times count operations of the disk."""

    change: Change
    asked_at: int
    verdict: Verdict = "asked"
    answered_at: int = -1

    @property
    def head(self) -> str:
        """The digest that no other change has: of its last event, and with it of all before."""
        return self.change.payment.head


class DueAsked(Struct, kw_only=True):
    """A due time that was asked for, with a change or alone."""

    due_us: int | None
    asked_at: int
    answered_at: int = -1  # -1 = not answered, or not with yes


class Promises:
    """Everything asked, by payment, and what clients and providers heard."""

    def __init__(self) -> None:
        self.asked: dict[str, list[Asked]] = {}
        self.dues: dict[tuple[str, int], list[DueAsked]] = {}
        self.receipts: dict[str, int] = {}  # payment id -> when a client was first answered 202
        self.sent: list[tuple[int, StoredRequest]] = []  # what left for a provider, and when
        self.handed: list[tuple[int, str]] = []  # deliveries that were answered for, and when

    def ask(self, change: Change, now: int) -> Asked:
        asked = Asked(change=change, asked_at=now)
        self.asked.setdefault(change.payment.id, []).append(asked)
        return asked

    def due(self, payment_id: str, version: int, due_us: int | None, now: int) -> DueAsked:
        asked = DueAsked(due_us=due_us, asked_at=now)
        self.dues.setdefault((payment_id, version), []).append(asked)
        return asked

    def settle(self, heads: frozenset[str], now: int) -> tuple[int, int]:
        """After a power cut the platter answers what was left open: it is there and stays, or is gone and stays away.
        How many of the unclear ones were there, and how many were not."""
        there = gone = 0
        for asked in (a for each in self.asked.values() for a in each):
            if asked.verdict not in ("asked", "unclear"):
                continue
            found = asked.head in heads
            there += found and asked.verdict == "unclear"
            gone += not found and asked.verdict == "unclear"
            asked.verdict, asked.answered_at = ("committed" if found else "gone"), now
        return there, gone


class Grouped(InlineWrites):
    """Group commit without a thread: what all tasks ask in one turn of the loop is one transaction, always the same."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self._waiting: list[tuple[Job, asyncio.Future[None]]] = []

    async def run(self, write: Write) -> object:
        loop = asyncio.get_running_loop()
        job, done = Job(write), loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append((job, done))
        await done
        if job.error is not None:
            raise job.error
        return job.result

    def _flush(self) -> None:
        batch, self._waiting = self._waiting, []
        self.writer.write([job for job, _ in batch])
        for _, done in batch:
            if not done.done():
                done.set_result(None)


class WatchedStore(SqliteStore):
    """The real store; what it is asked and answers is noted. Nobody hears an answer that comes after the power went."""

    def __init__(self, path: Path, machine: Machine, promises: Promises) -> None:
        with patch.object(store_module, "InlineWrites", Grouped):
            super().__init__(path, BUSY_TIMEOUT_MS, "inline")
        self._machine, self._promises = machine, promises
        self.outbox = WatchedOutbox(self._readers, self._writes, machine, promises)

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        asked = self._promises.ask(change, self._machine.done)
        due = self._promises.due(change.payment.id, change.payment.version, change.due_us, self._machine.done)
        try:
            answer = await super().commit(change, expected_version)
        except StoreUnavailable:
            self._answered(asked, "refused")
            raise
        match answer:
            case Committed():
                self._answered(asked, "committed")
                due.answered_at = asked.answered_at
            case Conflict():
                self._answered(asked, "conflict")
            case Unclear():
                self._answered(asked, "unclear")
        return answer

    def _answered(self, asked: Asked, verdict: Verdict) -> None:
        if self._machine.dead:
            raise _PowerCut
        asked.verdict, asked.answered_at = verdict, self._machine.done

    async def defer(self, payment_id: str, version: int, due_us: int | None) -> bool:
        asked = self._promises.due(payment_id, version, due_us, self._machine.done)
        done = await super().defer(payment_id, version, due_us)
        if self._machine.dead:
            raise _PowerCut
        if done:
            asked.answered_at = self._machine.done
        return done


class WatchedOutbox(SqliteOutbox):
    """The real outbox of a watched store."""

    def __init__(self, readers: Readers, writes: Writes, machine: Machine, promises: Promises) -> None:
        super().__init__(readers, writes)
        self._machine, self._promises = machine, promises

    async def hand_over(self, payment_id: str, version: int, deliveries: Sequence[Delivery]) -> bool:
        done = await super().hand_over(payment_id, version, deliveries)
        if self._machine.dead:
            raise _PowerCut
        if done:
            self._promises.handed += [(self._machine.done, d.id) for d in deliveries]
        return done
