"""One line of an audit: an event of a payment's history, or an entry of the journal, as ``payonce audit export`` prints it."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from payonce.core import actors
from payonce.core.events import Accepted, Asked, Entry, Judged, Observed, Planned, Resolved, digest
from payonce.core.payment import Payment
from payonce.core.redact import mask, masked
from payonce.merchants.journal import Written

JOURNAL: Final = "journal"


class Line(Struct, frozen=True, kw_only=True, rename="camel"):
    """``chain`` is the payment, or ``journal``: ``seq``, ``hash`` and ``prev`` are its. ``hash`` is the SHA-256 of the stored
    bytes; ``data`` is theirs with card numbers and secrets masked, so that it cannot be hashed again from here."""

    at: str
    actor: str
    actor_kind: str
    who: str
    where: str
    what: str
    subject: str
    operation: str
    merchant: str
    mode: str
    request_id: str
    chain: str
    seq: int
    hash: str
    prev: str
    data: Any


COLUMNS: Final = tuple(Line.__struct_encode_fields__)


Takes = Callable[[int, str, str], bool]  # time, merchant and mode of an event: whether it is wanted


class Told(Struct, frozen=True):
    """A line with the time that it is ordered by."""

    at_us: int
    line: Line


def of_payment(payment_id: str, entries: Sequence[Entry], takes: Takes) -> Iterator[Told]:
    """The events of one payment that are taken, oldest first. Whose it is, is in the first one."""
    first = entries[0].envelope.data if entries else None
    merchant, mode, charge = (
        (first.merchant_id, first.mode, first.operation_id) if isinstance(first, Accepted) else ("", "", "")
    )
    operations, steps = {0: charge}, dict[int, int]()
    for entry in entries:
        env = entry.envelope
        number = 0
        match env.data:
            case Asked():
                number = env.data.number
                operations[number] = env.data.operation_id
            case Planned():
                number = steps[env.data.step.seq] = env.data.operation
            case Observed():
                number = steps.get(env.data.about, 0)
            case Judged() | Resolved():
                number = env.data.operation
            case _:
                pass
        if not takes(env.at_us, merchant, mode):
            continue
        yield Told(
            env.at_us,
            Line(
                **_by(env.actor),
                at=at(env.at_us),
                what=env.kind,
                subject=payment_id,
                operation=operations.get(number, ""),
                merchant=merchant,
                mode=mode,
                request_id=mask(env.request_id),
                chain=payment_id,
                seq=env.seq,
                hash=entry.hash,
                prev=env.prev,
                data=masked(msgspec.json.decode(entry.raw)["data"]),
            ),
        )


def of_journal(written: Written) -> Told:
    act = written.act
    line = Line(
        **_by(act.actor),
        at=at(act.at_us),
        what=act.what,
        subject=mask(act.subject),
        operation="",
        merchant=act.merchant_id,
        mode=act.mode,
        request_id=mask(act.request_id),
        chain=JOURNAL,
        seq=act.seq,
        hash=written.hash,
        prev=act.prev,
        data=masked(dict(act.data)),
    )
    return Told(act.at_us, line)


def broken(entries: Sequence[Entry], row: Payment | None) -> str:
    """What is wrong with a payment's chain; "" when nothing is."""
    prev = ""
    for number, entry in enumerate(entries, start=1):
        env = entry.envelope
        if digest(entry.raw) != entry.hash:
            return f"event {env.seq}: the stored bytes have another hash than recorded"
        if env.seq != number or env.prev != prev:
            return f"event {env.seq} does not continue the one before: one was changed, removed or put between"
        prev = entry.hash
    if row is None:
        return "there is a history but no row"
    if (row.version, row.head) != (len(entries), prev):
        return f"its row is at event {row.version}, its history ends with event {len(entries)} or another one"
    return ""


def at(at_us: int) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _by(actor: str) -> dict[str, str]:
    said = actors.read(mask(actor))
    return {"actor": mask(actor), "actor_kind": said.kind, "who": said.who, "where": said.where}
