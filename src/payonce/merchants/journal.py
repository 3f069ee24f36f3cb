"""The journal: who did what to merchants, keys, endpoints and switches, when and from where. A chain of its own, like a
payment's history: each entry names the hash of the one before. What is done is put on record first: an act that is not in the
journal was not done; an entry whose act failed afterwards is possible; `payonce verify` names one that leaves a key open.

Beside the entries lies the head: number and hash of the last one. It spares whoever appends the reading of all, and shows when
the last entries are missing. Order of an append: if the head is behind (its writer died), bring it forward; write the entry,
which exactly one of all that race does; bring the head forward. So the head is never ahead, and at most one entry behind.
"""

from asyncio import Lock
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from payonce.core.errors import InvariantViolated, PayonceError, StoreUnavailable
from payonce.core.events import digest
from payonce.core.redact import mask, masked
from payonce.ports import Clock, Record, Registry
from payonce.telemetry import get_logger

KIND: Final = "journal"  # of its records in the registry; their names are the seqs, so that they come in order
HEAD_KIND: Final = "journal-head"
HEAD_NAME: Final = "head"
ACT_V: Final = 1
RACES_MAX: Final = 40
SEQ_DIGITS: Final = 9

log = get_logger("journal")


class Act(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry. ``what`` is ``key.created``, ``endpoint.disabled`` and the like; ``subject`` is the id it was done to.
    ``data`` holds what was set, without secrets."""

    v: int = ACT_V
    seq: int
    at_us: int
    actor: str  # core/actors.py
    what: str
    subject: str
    merchant_id: str = ""
    mode: str = ""
    request_id: str = ""
    data: Mapping[str, str | int | bool] = {}
    prev: str = ""


class Head(Struct, frozen=True):
    """The last entry that is known to be written; seq 0: none is."""

    seq: int = 0
    hash: str = ""


class Written(Struct, frozen=True):
    """An entry as stored: exact bytes, their SHA-256, and what they say."""

    raw: bytes
    hash: str
    act: Act


class Looked(Struct, frozen=True):
    """All of a journal: the entries that can be read, what is wrong with it, and the hash of its last record ("": empty)."""

    entries: tuple[Written, ...]
    problems: tuple[str, ...]
    head: str


class Journal:
    """Raises StoreUnavailable where the registry does not answer."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry, self._clock = registry, clock
        self._turn = Lock()  # the tasks of one process wait instead of racing

    async def write(
        self,
        what: str,
        subject: str,
        *,
        actor: str,
        merchant_id: str = "",
        mode: str = "",
        request_id: str = "",
        data: Mapping[str, str | int | bool] | None = None,
    ) -> Act:
        """Append an entry, durably; only then may the act be done. Texts are masked: neither secrets nor card numbers stay."""
        async with self._turn:
            head, version = await self._head()
            for _ in range(RACES_MAX):
                act = Act(
                    seq=head.seq + 1,
                    at_us=self._clock.now_us(),
                    actor=actor,
                    what=what,
                    subject=mask(subject),
                    merchant_id=merchant_id,
                    mode=mode,
                    request_id=mask(request_id),
                    data=masked(dict(data or {})),
                    prev=head.hash,
                )
                raw = msgspec.json.encode(act)
                if await self._registry.put(KIND, name_of(act.seq), raw, 0):
                    await self._forward(Head(act.seq, digest(raw)), version)
                    return act
                head, version = await self._caught_up(head)
        raise StoreUnavailable("The journal is being written by others all the time. Nothing was done; try again.")

    async def _head(self) -> tuple[Head, int]:
        """As recorded, with the record's version. One that cannot be read is found anew, as is one that is not there."""
        for record in await self._registry.all(HEAD_KIND):
            if record.name == HEAD_NAME:
                try:
                    return msgspec.json.decode(record.value, type=Head), record.version
                except msgspec.MsgspecError:
                    log.warning("the journal's head cannot be read; it is made from the entries")
                    return await self._brought_forward(record.version)
        return await self._brought_forward(0)

    async def _caught_up(self, lost_at: Head) -> tuple[Head, int]:
        """After a lost race: the winner has brought the head forward, or died before; then that is done for it."""
        head, version = await self._head()
        return (head, version) if head.seq > lost_at.seq else await self._brought_forward(version)

    async def _brought_forward(self, version: int) -> tuple[Head, int]:
        """The head as the entries say, on record. Reads them all."""
        records = await self._registry.all(KIND)
        if not records:
            return Head(), version
        head = Head(int(records[-1].name) if records[-1].name.isdecimal() else len(records), digest(records[-1].value))
        if await self._registry.put(HEAD_KIND, HEAD_NAME, msgspec.json.encode(head), version):
            return head, version + 1
        return await self._head()

    async def _forward(self, head: Head, version: int) -> None:
        """After the entry, which stands: a head that stays behind is brought forward by whoever writes next."""
        try:
            await self._registry.put(HEAD_KIND, HEAD_NAME, msgspec.json.encode(head), version)
        except PayonceError as error:
            log.warning("the journal's head stays behind until the next entry", error=str(error))

    async def read(self) -> tuple[Written, ...]:
        """All of it, oldest first. Raises InvariantViolated where the chain does not hold: an entry was changed, removed or put
        between."""
        looked = await self.look()
        if looked.problems:
            raise InvariantViolated(f"the journal is not as it was written: {looked.problems[0]}")
        return looked.entries

    async def look(self) -> Looked:
        """All of it, and all that is wrong with it. Others may write meanwhile."""
        return await look(self._registry)


def name_of(seq: int) -> str:
    return f"{seq:0{SEQ_DIGITS}d}"


async def look(registry: Registry) -> Looked:
    """See ``Journal.look``; for who has the registry alone. The head is read before and after: before, what it names must be
    there; after, it must not be further behind than an append leaves it."""
    before = await _head_of(registry)
    records = await registry.all(KIND)
    after = await _head_of(registry)
    entries: list[Written] = []
    problems: list[str] = []
    prev = ""
    for number, record in enumerate(records, start=1):
        found, wrong = _entry(record, number, prev)
        entries += [found] if found else []
        problems += [wrong] if wrong else []
        prev = digest(record.value)
    problems += _heads(records, before, after)
    return Looked(tuple(entries), tuple(problems), prev)


async def _head_of(registry: Registry) -> Head | None:
    """As recorded. None: there is none, or it cannot be read."""
    for record in await registry.all(HEAD_KIND):
        if record.name == HEAD_NAME:
            try:
                return msgspec.json.decode(record.value, type=Head)
            except msgspec.MsgspecError:
                return None
    return None


class _Link(Struct):
    """What an entry of a newer payonce has at least."""

    v: int
    seq: int
    prev: str


def _entry(record: Record, number: int, prev: str) -> tuple[Written | None, str]:
    """The ``number``-th entry, and what is wrong with it."""
    try:
        link = msgspec.json.decode(record.value, type=_Link)
        newer = link.v > ACT_V
        act = None if newer else msgspec.json.decode(record.value, type=Act)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return None, f"entry {record.name} is unreadable: {error}"
    found = Written(record.value, digest(record.value), act) if act else None
    if record.name != name_of(link.seq):
        return found, f"entry {record.name} says that it is number {link.seq}"
    if link.prev != prev:
        return found, f"entry {record.name} does not continue the one before: it, or the one before, was changed or removed"
    if link.seq != number:
        return found, f"entry {record.name} is the {number}. in order: one was removed or put between"
    return found, f"entry {record.name} was written by a newer payonce, only its place was checked" if newer else ""


def _heads(records: Sequence[Record], before: Head | None, after: Head | None) -> list[str]:
    """What is wrong between the entries and the head."""
    said = []
    named = {record.name: record for record in records}
    if before is not None and before.seq and name_of(before.seq) not in named:
        said.append(f"it has ended with entry {name_of(before.seq)}, which is missing: the end was removed")
    elif before is not None and before.seq and digest(named[name_of(before.seq)].value) != before.hash:
        said.append(f"its head names another entry {name_of(before.seq)}: the entry, or the head, was changed")
    if len(records) > 1 and (after is None or name_of(after.seq + 1) < records[-1].name):
        said.append("its head is missing or behind by more than one entry: the head was changed, or entries were added")
    return said
