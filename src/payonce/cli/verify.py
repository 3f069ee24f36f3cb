"""``payonce verify``: fold and check every history. It shows bugs and partial edits, not an attacker who rebuilds
the whole chain: for that, keep the head digest it prints somewhere else and compare it with a later backup."""

import hashlib
from collections.abc import AsyncIterator

from msgspec import Struct

from payonce.config import Settings
from payonce.core.apply import fold
from payonce.core.errors import InvariantViolated, NewerSchema
from payonce.core.events import Entry, digest, unseal
from payonce.core.payment import Payment

from . import FAILURE, OK
from .app import wait_for
from .options import HERE, Json, Where
from .output import clean, counted, put, put_json, say
from .reading import Books, books, found, history

IDS_A_PAGE = 500
FOREVER_US = 2**62
DUE_MAX = 10_000_000
RETRIES = 5  # a payment that moved while it was checked is checked again
LIMIT = "It shows bugs and partial edits, not an attacker who rebuilds the whole chain: keep the head digest elsewhere."


class Finding(Struct, frozen=True):
    payment: str
    problem: str


class DueIndex:
    """The whole due index as it was when it was loaded."""

    def __init__(self, book: Books) -> None:
        self.book = book
        self.due: dict[str, int] = {}

    async def load(self) -> None:
        self.due = {row.payment_id: row.due_us for row in await self.book.store.due(FOREVER_US, DUE_MAX)}

    def problems(self, p: Payment) -> list[str]:
        """The due time must lead to an action, and what owes an action must have a due time."""
        due = self.due.get(p.id)
        if due is None:
            owed = self.book.next(p).at_us is not None
            return ["it owes an action but is not on the due index: nothing would ever happen"] if owed else []
        if self.book.next(p, due).do is None:
            return ["it is on the due index but owes nothing: the sweeper would look at it for ever"]
        return []


def verify(payment: str | None = None, /, *, where: Where = HERE, json: Json = False) -> int:
    """Check that each payment is what its history says: the chain of hashes, the stored bytes, the row, the due time.

    Exit code 1 when anything is wrong. Safe while a server runs. It shows bugs and partial edits of the file, not an
    attacker who rebuilds the whole chain: keep the head digest that it prints somewhere else.

    Parameters
    ----------
    payment
        Check only this one.
    """
    return wait_for(_verify(where.settings(), payment, as_json=json))


async def _verify(settings: Settings, name: str | None, *, as_json: bool) -> int:
    findings: list[Finding] = []
    heads, count, events = hashlib.sha256(), 0, 0
    async with books(settings) as book:
        one = (await found(book, name)).id if name else None
        index = DueIndex(book)
        await index.load()
        async for payment_id in _ids(book, one):
            problems, head, seen = await examine(book, index, payment_id)
            findings += [Finding(payment_id, problem) for problem in problems]
            heads.update(f"{payment_id} {head}\n".encode())
            count, events = count + 1, events + seen
    if as_json:
        put_json(
            {
                "payments": count,
                "events": events,
                "problems": findings,
                "headDigest": heads.hexdigest(),
                "limit": LIMIT,
            }
        )
    else:
        for finding in findings:
            put(clean(f"{finding.payment}: {finding.problem}"))
        result = counted(len(findings), "problem") if findings else "no problem"
        put(f"{counted(count, 'payment')}, {counted(events, 'event')}: {result}")
        put(f"head digest {heads.hexdigest()}")
        say(LIMIT)
    return FAILURE if findings else OK


async def _ids(book: Books, one: str | None) -> AsyncIterator[str]:
    if one is not None:
        yield one
        return
    after = ""
    while page := await book.store.ids(after, IDS_A_PAGE):
        for payment_id in page:
            yield payment_id
        after = page[-1]


async def examine(book: Books, index: DueIndex, payment_id: str) -> tuple[list[str], str, int]:
    """(problems, head hash, events) of one payment. A problem counts only if the payment stood still meanwhile."""
    for _ in range(RETRIES):
        try:
            p = await book.store.get(payment_id)
            entries = await history(book, payment_id)
            problems = _problems(p, entries) if p else ["there is a history but no row"]
            if p and not problems:
                problems = index.problems(p)
                if problems:
                    await index.load()  # it may have moved since the index was read
                    problems = index.problems(p)
            again = await book.store.get(payment_id)
        except NewerSchema as error:
            return [f"written by a newer payonce, not checked: {error}"], "", 0
        except InvariantViolated as error:
            return [f"cannot be read: {error}"], "", 0
        still = (again.version if again else 0) == (p.version if p else 0)
        if still or not problems:
            return problems, entries[-1].hash if entries else "", len(entries)
    return [], p.head if p else "", len(entries)


def _problems(p: Payment, entries: list[Entry]) -> list[str]:
    problems = []
    for entry in entries:
        if digest(entry.raw) != entry.hash:
            problems.append(f"event {entry.envelope.seq}: the stored bytes have another hash than recorded")
        elif unseal(entry.raw, entry.hash).envelope != entry.envelope:
            problems.append(f"event {entry.envelope.seq}: the stored bytes say something else")
    if problems:
        return problems
    try:
        folded = fold(entries)
    except InvariantViolated as error:
        return [f"the history does not fold: {error}"]
    if folded.version > p.version:  # written meanwhile; or the row was left behind, which shows when it stands still
        return [f"the row is at version {p.version}, its history at {folded.version}"]
    if folded != p:
        names = [f for f in p.__struct_fields__ if getattr(p, f) != getattr(folded, f)]
        return [f"the row differs from its history in: {', '.join(names)}"]
    return []
