"""What a cut left, opened by the real store and held against what was promised before."""

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
from msgspec import Struct

from payonce.core import news
from payonce.core.apply import fold
from payonce.core.errors import InvariantViolated, PayonceError
from payonce.core.events import digest
from payonce.ports import Committed
from payonce.stores.sqlite import Held, audit
from payonce.stores.sqlite.schema import connect_reader
from payonce.stores.sqlite.store import SqliteStore
from payonce.testing.store_changes import accept

from .promises import BUSY_TIMEOUT_MS, Asked, Promises
from .vfs import unsynced

FILE: Final = "pay.db"
IDS_MAX: Final = 10_000
ABSENT: Final = ("refused", "conflict", "gone")  # verdicts after which nothing may be there
PROBE: Final = 2**60  # number of the payment that is accepted to see that the file takes writes

T = TypeVar("T")


class Findings(Struct, frozen=True, kw_only=True):
    """``heads`` are the digests of all events in the file; ``lost`` counts committed changes that are not."""

    problems: tuple[str, ...]
    opened: bool = False
    lost: int = 0
    heads: frozenset[str] = frozenset()


def lay_out(files: Mapping[str, bytes], folder: Path) -> Path:
    """Put the files into ``folder``, and only them; the database's path. What was in the folder is deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / FILE


def inspect(files: Mapping[str, bytes], promises: Promises, at: int, folder: Path) -> Findings:
    """Open what a cut before operation ``at`` was done left behind. ``folder`` is emptied first."""
    path = lay_out(files, folder)
    with unsynced():
        try:
            store = SqliteStore(path, BUSY_TIMEOUT_MS, "inline")
        except PayonceError as error:
            return Findings(problems=(f"it does not open: {error}",), lost=sum(1 for _ in _due_to_be_there(promises, at)))
        try:
            return _look(store, path, promises, at)
        finally:
            at_once(store.close())


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing, as those of an inline store."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise AssertionError("it waits for something")


def _look(store: SqliteStore, path: Path, promises: Promises, at: int) -> Findings:
    connection = connect_reader(path, BUSY_TIMEOUT_MS)
    try:
        damage = audit.check(connection)
        held = () if damage else audit.held(connection, audit.ids(connection, "", IDS_MAX))
        strays = () if damage else audit.strays(connection)
        told = [] if damage else list(_told(connection, held, promises, at))
    except apsw.Error as error:
        damage, held, strays, told = (str(error),), (), (), []
    finally:
        connection.close()
    problems = [f"damaged: {each}" for each in damage] + [f"{s.id}: {s.says}" for s in strays] + told
    heads = frozenset(e.hash for each in held for e in each.entries)
    for each in held:
        problems += [f"{each.id}: {says}" for says in _examine(each, promises, at)]
    lost = [asked for asked in _due_to_be_there(promises, at) if asked.head not in heads]
    problems += [f"{a.change.payment.id}: version {a.change.payment.version} was answered Committed and is lost" for a in lost]
    there = {each.id for each in held}
    problems += [
        f"{id}: its client was answered 202 and it is lost"
        for id, when in promises.receipts.items()
        if when <= at and id not in there
    ]
    on_record = {s.request for each in held if each.payment for s in each.payment.steps() if s.request}
    problems += [
        f"{sent.method} {sent.path} went to {sent.account} and is not on record"
        for when, sent in promises.sent
        if when <= at and sent not in on_record
    ]
    if not damage and not isinstance(_probe(store), Committed):
        problems.append("it opens but takes no payment")
    return Findings(problems=tuple(problems), opened=True, lost=len(lost), heads=heads)


def _probe(store: SqliteStore) -> object:
    try:
        return at_once(store.commit(accept(PROBE), 0))
    except PayonceError as error:
        return error


def _due_to_be_there(promises: Promises, at: int) -> Iterator[Asked]:
    for each in promises.asked.values():
        yield from (a for a in each if a.verdict == "committed" and a.answered_at <= at)


def _known(id: str, promises: Promises, at: int) -> dict[str, Asked]:
    """What was asked of a payment, by its digest. After an unclear answer the engine may ask for the very same change again:
    that the second one was refused does not take back the first."""
    known: dict[str, Asked] = {}
    for asked in promises.asked.get(id, ()):
        if asked.asked_at <= at and (asked.head not in known or asked.verdict not in ABSENT):
            known[asked.head] = asked
    return known


def _examine(held: Held, promises: Promises, at: int) -> Iterator[str]:
    """Nothing is half there: the row is the fold of its history, each change brought all that belongs to it, and none is
    there that was refused."""
    if held.trouble:
        yield held.trouble
        return
    if held.payment is None:
        yield "there is a history but no row"
        return
    p, known = held.payment, _known(held.id, promises, at)
    try:
        folded = fold(held.entries)
    except (InvariantViolated, LookupError) as error:
        yield f"its history does not fold: {error}"
        return
    if folded != p or held.differing:
        yield f"its row is not what its history says (columns {', '.join(held.differing) or 'of the document'})"
    yield from held.elsewhere
    if any(digest(e.raw) != e.hash for e in held.entries):
        yield "its history has other bytes than were hashed"
    if p.head not in known:
        yield f"version {p.version} is of no change that was asked"
        return
    changes = [known[e.hash] for e in held.entries if e.hash in known]
    yield from (
        f"version {a.change.payment.version} is there, although it was {a.verdict}" for a in changes if a.verdict in ABSENT
    )
    yield from _beside(held, changes)
    if held.due_us not in _dues(promises, held.id, p.version, at):
        yield f"its due time {held.due_us} is none that was asked for version {p.version}"


def _told(connection: apsw.Connection, all_held: Sequence[Held], promises: Promises, at: int) -> Iterator[str]:
    """Everybody is subscribed: each public event has its delivery, or a notice that leads to it; and no delivery that was
    answered for is lost."""
    noticed = dict(connection.execute("SELECT payment_id, from_seq FROM notices"))
    there: dict[str, str] = dict(connection.execute("SELECT id, event_id FROM deliveries"))
    events = set(there.values())
    for held in all_held:
        try:
            public = list(news.of_history(held.entries))
        except (InvariantViolated, LookupError):
            continue  # said elsewhere
        yield from (
            f"{held.id}: event {n.seq} has neither a delivery nor a notice"
            for n in public
            if n.id not in events and noticed.get(held.id, n.seq + 1) > n.seq
        )
    yield from (f"{id} was handed over and is lost" for when, id in promises.handed if when <= at and id not in there)


def _beside(held: Held, changes: list[Asked]) -> Iterator[str]:
    keys = [a.change.key for a in changes if a.change.key is not None]
    if keys and held.key != keys[0]:
        yield "its idempotency key is missing or another"
    bodies = {name for a in changes for name in a.change.bodies}
    if bodies != set(held.bodies) or any(name != actual for name, actual in held.bodies.items()):
        yield "the bytes beside its history are not those that were written"
    refs = {r.value for a in changes for r in a.change.refs if r.kind == "reference"}
    if not refs <= held.named:
        yield "one of its references does not lead to it"


def _dues(promises: Promises, id: str, version: int, at: int) -> set[int | None]:
    """The due times that the payment may have: the last that was answered, and what was asked since."""
    asked = [d for d in promises.dues.get((id, version), ()) if d.asked_at <= at]
    answered = [n for n, d in enumerate(asked) if 0 <= d.answered_at <= at]
    return {d.due_us for d in asked[answered[-1] if answered else 0 :]}
