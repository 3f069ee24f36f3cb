"""What ``payonce verify`` says about one payment: its history, its row, and what lies beside them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from payonce.core.apply import fold
from payonce.core.errors import InvariantViolated
from payonce.core.events import Entry, digest, unseal
from payonce.core.idempotency import REQUEST_V, NewPayment
from payonce.core.outcome import Found
from payonce.core.payment import FINAL, Payment
from payonce.ports import KeyRow

from .reading import Books

# A worker may look later than plan says here (an account that is lost there, a longer horizon), but not by months.
LATE_US: Final = 90 * 86_400 * 1_000_000


class Held(Protocol):
    """What a store holds under one payment's id. ``trouble`` says what could not be read: then the rest is incomplete.
    ``differing``: columns that say something else than the payment; ``named``: our references that lead to it; ``bodies``: name
    -> the digest that the bytes have."""

    @property
    def id(self) -> str: ...
    @property
    def payment(self) -> Payment | None: ...
    @property
    def differing(self) -> tuple[str, ...]: ...
    @property
    def entries(self) -> tuple[Entry, ...]: ...
    @property
    def key(self) -> KeyRow | None: ...
    @property
    def named(self) -> frozenset[str]: ...
    @property
    def bodies(self) -> Mapping[str, str]: ...
    @property
    def due_us(self) -> int | None: ...
    @property
    def trouble(self) -> str: ...


class Stray(Protocol):
    """Rows that belong to no payment: ``id`` of the first ones, or "" for the count of the rest."""

    @property
    def id(self) -> str: ...
    @property
    def says(self) -> str: ...


class Audit(Protocol):
    """What ``verify`` asks of a store."""

    async def damage(self) -> tuple[str, ...]:
        """What is wrong with the file or the tables as a whole; empty when nothing is."""

    async def audit_ids(self, after: str, limit: int) -> tuple[str, ...]:
        """Ids of all that has a row or a history, in a fixed order, after ``after`` ("" = from the first)."""

    async def held(self, ids: Sequence[str]) -> Sequence[Held]:
        """All that lies under each of these ids."""

    async def strays(self) -> Sequence[Stray]:
        """What lies under no payment's id."""


def examine(book: Books, held: Held) -> tuple[list[str], bool]:
    """(problems, whether customer data or sent bytes were erased)."""
    if held.trouble:
        return [held.trouble], False
    p = held.payment
    if p is None:
        return ["there is a history but no row"], False
    if told := list(_told(p, held)):
        return told, False
    missing = _missing(p, held)
    needed = held.due_us is not None or p.status not in FINAL
    problems = [*_columns(held), *_due(book, p, held.due_us), *_key(p, held), *_beside(p, held)]
    problems += getattr(held, "elsewhere", ())  # only where what leads to a payment lies apart from it
    problems += [f"{what} is missing, and it may still be needed" for what in missing] if needed else []
    return problems, bool(missing) and not needed


def _told(p: Payment, held: Held) -> Iterator[str]:
    """The chain, and the row as its fold."""
    broken = False
    for entry in held.entries:
        if digest(entry.raw) != entry.hash:
            broken = True
            yield f"event {entry.envelope.seq}: the stored bytes have another hash than recorded"
        elif unseal(entry.raw, entry.hash).envelope != entry.envelope:
            broken = True
            yield f"event {entry.envelope.seq}: the stored bytes say something else"
    if broken:
        return
    try:
        folded = fold(held.entries)
    except (InvariantViolated, LookupError) as error:
        yield f"the history does not fold: {error}"
        return
    if folded.version > p.version:
        yield f"the row is at version {p.version}, its history at {folded.version}"
    elif folded != p:
        names = [f for f in p.__struct_fields__ if getattr(p, f) != getattr(folded, f)]
        yield f"the row differs from its history in: {', '.join(names)}"


def _columns(held: Held) -> Iterator[str]:
    if held.differing:
        yield f"columns differ from the document, so lists and filters show something else: {', '.join(held.differing)}"


def _due(book: Books, p: Payment, due_us: int | None) -> Iterator[str]:
    """The due time must lead to an action, and what owes an action must have a due time."""
    now = book.clock.now_us()
    if due_us is None:
        if book.next(p).at_us is not None:
            yield "it owes an action but is not on the due index: nothing would ever happen"
        return
    if book.next(p, due_us).do is None:
        yield "it is on the due index but owes nothing: the sweeper would look at it for ever"
    elif due_us > max(now, book.next(p).at_us or 0) + LATE_US:
        yield "its due time is months after it owes an action: nothing would happen until then"


def _key(p: Payment, held: Held) -> Iterator[str]:
    key = held.key
    if key is None:
        yield "its idempotency key is missing: the same request would be charged again"
    elif key.payment_id != p.id or key.operation != "charge":
        yield f"its idempotency key leads to {key.operation} of {key.payment_id}: a repeat would get the wrong answer"
    elif key.request_v == REQUEST_V and not _asked(p, key.request):
        yield "the request under its idempotency key is not the one that was accepted: a repeat would be refused"


def _asked(p: Payment, request: bytes) -> bool:
    try:
        first = msgspec.json.decode(request, type=NewPayment)
    except msgspec.MsgspecError:
        return False
    names = ("amount_minor", "currency", "client_id", "provider", "capture_method")
    return all(getattr(first, n) == getattr(p, n) for n in names) and (
        digest(msgspec.json.encode(first.details)) == p.details_sha256
    )


def _beside(p: Payment, held: Held) -> Iterator[str]:
    for a in p.attempts:
        if a.reference not in held.named:
            yield f"attempt {a.n + 1}: its reference {a.reference} does not lead to it"
    known = dict(names_beside(p))
    for name, actual in held.bodies.items():
        if name != actual:
            yield f"{known.get(name, 'stored bytes')}: the bytes are not those of their digest {name}"
        elif name not in known:
            yield f"stored bytes that nothing in its history names: {name}"


def _missing(p: Payment, held: Held) -> list[str]:
    return [what for name, what in names_beside(p) if name not in held.bodies]


def names_beside(p: Payment) -> Iterator[tuple[str, str]]:
    """(digest, what it is) of the bytes beside the chain."""
    if p.details_sha256:
        yield p.details_sha256, "customer data"
    requests = {s.request.body_sha256: s.seq for s in reversed(p.steps()) if s.request and s.request.body_sha256}
    yield from ((name, f"the request of step {seq}") for name, seq in requests.items())
    for step in p.steps():
        told = (step.outcome, *(step.outcome.tries if isinstance(step.outcome, Found) else ()))
        found = (getattr(o, field, "") for o in told for field in ("action_sha256", "handle_sha256"))
        yield from ((name, f"what opens a customer's action, told by step {step.seq}") for name in found if name)
