"""What merchants are told of a payment: public events, projected from its history. They are never written by themselves: the
same history always gives the same news, under the same ids, so that they can be told again at any time.

Two tables map what an event changed to public names. An event that changes neither the status nor an operation that a
merchant asked for is nobody's news.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from . import ids
from .apply import apply
from .events import Entry
from .payment import Operation, Payment

OF_STATUS: Final[Mapping[str, str]] = {
    "REQUIRES_ACTION": "payment.requires_action",
    "AUTHORIZED": "payment.authorized",
    "SUCCESS": "payment.succeeded",
    "FAILED": "payment.failed",
    "CANCELED": "payment.canceled",
    "IN_DOUBT": "payment.in_doubt",
}
OF_OPERATION: Final[Mapping[tuple[str, str], str]] = {
    ("refund", "PENDING"): "refund.created",
    ("refund", "SUCCEEDED"): "refund.succeeded",
    ("refund", "FAILED"): "refund.failed",
    ("refund", "IN_DOUBT"): "refund.in_doubt",
    ("reversal", "SUCCEEDED"): "payment.reversed",
    ("capture", "FAILED"): "payment.capture_failed",
    ("capture", "IN_DOUBT"): "payment.capture_in_doubt",
    ("void", "FAILED"): "payment.void_failed",
    ("void", "IN_DOUBT"): "payment.void_in_doubt",
}
GIVEN_BACK: Final = "payment.reversed"  # also when an operator records that a kept charge was given back
TYPES: Final = tuple(dict.fromkeys((*OF_STATUS.values(), *OF_OPERATION.values())))


class News(Struct, frozen=True, kw_only=True):
    """One public event: the payment as it was right after it, and the operation that it is about, if it is about one."""

    id: str
    type: str
    seq: int  # of the event in the history
    at_us: int
    payment: Payment
    operation: Operation | None = None


def between(before: Payment | None, after: Payment) -> tuple[tuple[str, int], ...]:
    """The public names of what one event made of a payment, each with the number of its operation (0: the payment itself),
    always in the same order."""
    found: list[tuple[str, int]] = []
    if after.status in OF_STATUS and (before is None or before.status != after.status):
        found.append((OF_STATUS[after.status], 0))
    known = {o.n: o.state for o in before.operations} if before else {}
    for o in after.operations[1:]:
        name = OF_OPERATION.get((o.kind, o.state))
        if name and known.get(o.n) != o.state:
            found.append((name, o.n))
    if before and before.status == after.status == "SUCCESS" and _given_back(after) and not _given_back(before):
        found.append((GIVEN_BACK, 0))
    return tuple(found)


def of_history(entries: Iterable[Entry]) -> Iterator[News]:
    """All public events of a whole history, oldest first. Raises InvariantViolated for a broken one."""
    before: Payment | None = None
    for entry in entries:
        after = apply(before, entry)
        for n, (type, number) in enumerate(between(before, after)):
            yield News(
                id=public_id(after.id, after.version, n),
                type=type,
                seq=after.version,
                at_us=entry.envelope.at_us,
                payment=after,
                operation=after.operations[number - 1] if number else None,
            )
        before = after


def of_change(before: Payment | None, after: Payment, entries: Sequence[Entry]) -> tuple[int, ...]:
    """Seqs of those new entries that hold news; ``after`` is what they made of ``before``."""
    if len(entries) == 1:  # nearly always: nothing need be folded again
        return (after.version,) if between(before, after) else ()
    told: list[int] = []
    for entry in entries:
        step = apply(before, entry)
        if between(before, step):
            told.append(step.version)
        before = step
    return tuple(told)


def public_id(payment_id: str, seq: int, n: int) -> str:
    """The id of the ``n``-th public event of an event of the history, from 0: the same whenever it is told."""
    return ids.event_id(payment_id, seq) + (f"_{n}" if n else "")


def place_of(event_id: str) -> tuple[str, int] | None:
    """Payment and seq of a public event's id, or None when it is none of ours."""
    plain, _, n = event_id.partition("_")[2].partition("_")
    payment_id, seq = f"pay_{plain[: ids.ID_CHARS]}", plain[ids.ID_CHARS :]
    ours = ids.is_payment_id(payment_id) and seq.isascii() and seq.isdigit() and len(seq) == 6 and n.isascii() and len(n) <= 2
    if not ours or event_id != public_id(payment_id, int(seq), int(n) if n.isdigit() else 0):
        return None
    return payment_id, int(seq)


def _given_back(p: Payment) -> bool:
    return p.winner is not None and p.attempts[p.winner].resolved == "reversed"
