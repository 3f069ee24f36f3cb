"""What comes back from the store: events, requests of keys, records of the registry. It was written by us, but a damaged file
or a newer version must be refused, not believed."""

import functools
from typing import Any

import msgspec

from payonce.core.apply import apply
from payonce.core.errors import InvariantViolated
from payonce.core.events import digest, unseal
from payonce.core.idempotency import Details, NewPayment
from payonce.merchants import Merchant
from payonce.merchants.journal import Act
from payonce.merchants.keys import ApiKey
from payonce.shown.views import history_entry, payment_body

from .target import Target, require


@functools.cache
def histories() -> tuple[tuple[bytes, ...], ...]:
    """The histories of some payments of every kind, as stored."""
    from tests.api.service import serving

    found: list[tuple[bytes, ...]] = []

    async def make(s: Any) -> None:
        for n, fields in enumerate(
            ({}, {"paymentMethod": "tok_stolen"}, {"paymentMethod": "tok_action"}, {"captureMethod": "manual"})
        ):
            id = await s.settled(f"key-{n}", **fields)
            found.append(tuple(e.raw for e in await s.store.history(id)))

    serving(make)
    return tuple(found)


def events() -> list[bytes]:
    return [raw for history in histories() for raw in history]


def folded(data: bytes) -> None:
    """A changed event is unreadable, or breaks a rule of the fold, or leads to a payment that can be shown."""
    for history in histories():
        p = None
        for raw in history:
            p = apply(p, unseal(raw, digest(raw)))
        try:
            entry = unseal(data, digest(data))
            p = apply(p if entry.envelope.seq > 1 else None, entry)
        except (msgspec.MsgspecError, InvariantViolated, ValueError, RecursionError):
            continue
        msgspec.json.encode((payment_body(p, Details()), history_entry(p.id, entry)))


RECORDS: tuple[tuple[type[Any], dict[str, Any]], ...] = (
    (NewPayment, {"amount_minor": 1, "currency": "INR", "details": {"metadata": {"a": 1}}}),
    (Merchant, {"id": "mer_a", "name": "A"}),
    (ApiKey, {"id": "key_1", "merchant_id": "mer_a", "mode": "test", "scopes": ["admin"], "salt": "s", "hash": "h"}),
    (Act, {"seq": 1, "at_us": 1, "actor": "a", "what": "key.created", "subject": "key_1"}),
)


def recorded(data: bytes) -> None:
    """A record is one, or is refused by its type: no other error."""
    for kind, _ in RECORDS:
        try:
            found = msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        require(isinstance(found, kind), f"{found!r} is no {kind.__name__}")


TARGETS = (
    Target("events", events, folded, 60),
    Target("records", lambda: [msgspec.json.encode(each) for _, each in RECORDS], recorded, 60),
)
