"""``payonce verify``: is the store what payonce wrote? It shows bugs, damage and partial edits, not an attacker who rebuilds
the whole chain: for that, keep the head digest it prints somewhere else and compare it with a later backup."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import cast

from msgspec import Struct

from payonce.config import Settings
from payonce.core import ids
from payonce.core.errors import ConfigError, StoreUnavailable

from . import FAILURE, OK
from .app import DAMAGED, wait_for
from .audit import Audit, Held, examine
from .options import HERE, Json, Where
from .output import clean, counted, put, put_json, say
from .reading import Books, books, found, require_store
from .verify_journal import compared

IDS_A_PAGE = 200
JOURNAL = "journal"
LIMIT = (
    "It shows bugs, damage and partial edits, not an attacker who rebuilds the whole chain, nor a store put back from an "
    "older day: keep the head digest elsewhere."
)


class Finding(Struct, frozen=True):
    """``payment`` is "" when it is about the store as a whole, ``journal`` when it is about that or what it tells of."""

    payment: str
    problem: str


class Report:
    """What was seen so far. Tells each finding at once when a person reads; keeps them for JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.findings: list[Finding] = []
        self.problems = self.payments = self.events = self.erased = 0
        self.heads = hashlib.sha256()
        self.acts, self.journal_head = 0, ""  # the hash of the journal's last entry

    def add(self, payment: str, problem: str) -> None:
        self.problems += 1
        if self.as_json:
            self.findings.append(Finding(payment, problem))
        else:
            put(clean(f"{'the journal' if payment == JOURNAL else payment or 'the store'}: {problem}"))

    def count(self, held: Held, problems: Sequence[str], *, erased: bool) -> None:
        for problem in problems:
            self.add(held.id, problem)
        self.heads.update(f"{held.id} {held.entries[-1].hash if held.entries else ''}\n".encode())
        self.payments, self.events, self.erased = self.payments + 1, self.events + len(held.entries), self.erased + erased

    def end(self) -> int:
        if self.as_json:
            put_json(
                {
                    "payments": self.payments,
                    "events": self.events,
                    "erased": self.erased,
                    "problems": self.findings,
                    "headDigest": self.heads.hexdigest(),
                    "journal": {"entries": self.acts, "headDigest": self.journal_head},
                    "limit": LIMIT,
                }
            )
        else:
            seen = [counted(self.payments, "payment"), counted(self.events, "event")]
            seen += [f"{self.erased} erased"] if self.erased else []
            put(f"{', '.join(seen)}: {counted(self.problems, 'problem') if self.problems else 'no problem'}")
            put(f"head digest {self.heads.hexdigest()}")
            if self.acts or self.journal_head:
                put(f"journal     {self.journal_head} ({self.acts} {'entry' if self.acts == 1 else 'entries'})")
            say(LIMIT)
        return FAILURE if self.problems else OK


def verify(payment: str | None = None, /, *, where: Where = HERE, json: Json = False) -> int:
    """Check that the store is whole and each payment is what its history says: pages and indexes, the chain of hashes, the
    row and each of its columns, the due time, the idempotency key, our references, the stored bytes, that nothing belongs to
    no payment, the journal of what was done to merchants, keys, endpoints and accounts, and that each merchant, key and
    endpoint on record is what the journal says of it. On DynamoDB it reads all tables whole, which costs what it reads; their
    indexes are kept by AWS from the columns that are compared.

    Exit code 1 when anything is wrong. Safe while a server runs, and on a read-only backup. Customer data of a settled
    payment that owes nothing may be missing: it counts as erased. Not checked: provider references, and the ledger of
    the provider (that is `payonce reconcile`). It shows bugs, damage and partial edits of the store, not an attacker who
    rebuilds the whole chain, nor a store put back from an older day: keep the head digest that it prints somewhere else.

    Parameters
    ----------
    payment
        Check only this one, and not the store around it.
    """
    return wait_for(_verify(where.settings(), payment, as_json=json))


async def _verify(settings: Settings, name: str | None, *, as_json: bool) -> int:
    require_store(settings)
    report = Report(as_json=as_json)
    async with AsyncExitStack() as stack:
        try:
            book = await stack.enter_async_context(books(settings))
        except ConfigError as error:  # empty, or not ours: no good news about payments can come from it
            report.add("", f"{error} If payments were in it, it is damaged: restore a backup.")
            return report.end()
        except StoreUnavailable as error:
            if not _is_damage(error):
                raise
            report.add("", f"damaged: {error}")
            return report.end()
        audit = audit_of(book)
        if name is None:
            for damage in await audit.damage():
                report.add("", f"damaged: {damage}")
        try:
            await _payments(book, audit, name, report)
            if name is None:
                await _journal(book, report)
        except StoreUnavailable as error:
            if not _is_damage(error):
                raise
            report.add("", f"damaged, so the rest was not checked: {error}")
    return report.end()


def audit_of(book: Books) -> Audit:
    """How the store behind these books is looked through."""
    if book.kept.aws is None:
        return cast("Audit", book.store)  # a file that is opened to read has these questions
    from .verify_tables import TableAudit

    return TableAudit(book)


def _is_damage(error: StoreUnavailable) -> bool:
    """The file itself is broken: waiting does not help."""
    return type(error.__cause__).__name__ in DAMAGED


async def _payments(book: Books, audit: Audit, name: str | None, report: Report) -> None:
    async for page in _pages(audit) if name is None else _one(book, audit, name):
        for held in page:
            problems, erased = examine(book, held)
            report.count(held, problems, erased=erased)
    if name is None:
        for stray in await audit.strays():
            report.add(stray.id, stray.says)


async def _journal(book: Books, report: Report) -> None:
    found = await compared(book.store.registry, book.clock)
    for problem in found.problems:
        report.add(JOURNAL, problem)
    report.acts, report.journal_head = len(found.looked.entries), found.looked.head


async def _pages(audit: Audit) -> AsyncIterator[Sequence[Held]]:
    after = ""
    while page := await audit.audit_ids(after, IDS_A_PAGE):
        yield await audit.held(page)
        after = page[-1]


async def _one(book: Books, audit: Audit, name: str) -> AsyncIterator[Sequence[Held]]:
    """A row that is gone or unreadable is still found by its id."""
    if ids.is_payment_id(name.strip()):
        (held,) = await audit.held([name.strip()])
        if held.payment or held.entries or held.trouble:
            yield (held,)
            return
    yield await audit.held([(await found(book, name)).id])
