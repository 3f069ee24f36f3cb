"""Who uses payonce: merchants and their API keys, and the record of what was done to them. All of it lies in the registry.

A merchant is a name for rows: payments, idempotency keys, endpoints and provider accounts belong to one, and to a mode.
``mer_default`` is always there; its rows are never given to another one.
"""

from typing import Final

import msgspec
from msgspec import Struct

from payonce.core import ids
from payonce.core.errors import Refused, StoreUnavailable
from payonce.core.redact import has_card_number
from payonce.ports import Clock, Entropy, Record, Registry
from payonce.telemetry import get_logger

DEFAULT_MERCHANT: Final = "mer_default"
KIND: Final = "merchant"  # of its records in the registry
MERCHANT_V: Final = 1
MERCHANTS_MAX: Final = 10_000  # on record: they are read all at once
NAME_CHARS_MAX: Final = 100

log = get_logger("merchants")


class Merchant(Struct, frozen=True, kw_only=True):
    """``name`` is for people."""

    id: str
    name: str
    created_us: int = 0
    v: int = MERCHANT_V


class Merchants:
    """The merchants on record. Raises StoreUnavailable where the registry does not answer."""

    def __init__(self, registry: Registry, clock: Clock, entropy: Entropy) -> None:
        self._registry, self._clock, self._entropy = registry, clock, entropy

    def new(self, name: str) -> Merchant:
        """A merchant that is not on record yet. Raises Refused ``validation_failed`` for a name that is empty, longer than
        NAME_CHARS_MAX or not printable, ``card_number_refused`` for one with a card number in it."""
        if not (0 < len(name.strip()) <= NAME_CHARS_MAX and name.isprintable()):
            raise Refused("validation_failed", f"A merchant's name has 1 to {NAME_CHARS_MAX} printable characters.")
        if has_card_number(name):
            raise Refused(
                "card_number_refused", "A card number stands in the merchant's name. Nothing was stored: leave it out."
            )
        now = self._clock.now_us()
        fresh = ids.new_id("mer_", now, self._entropy.bits(ids.RANDOM_BITS))
        return Merchant(id=fresh, name=name.strip(), created_us=now)

    async def require_room(self) -> None:
        """Raises Refused ``validation_failed`` when MERCHANTS_MAX are on record."""
        if len(await self._registry.all(KIND)) >= MERCHANTS_MAX:
            raise Refused("validation_failed", f"There are {MERCHANTS_MAX} merchants on record, and no more are taken.")

    async def add(self, merchant: Merchant) -> None:
        """Put a new one on record."""
        if not await self._registry.put(KIND, merchant.id, msgspec.json.encode(merchant), 0):
            raise StoreUnavailable("The new merchant's id is taken, which cannot be by chance. Nothing was written; try again.")

    async def all(self) -> tuple[Merchant, ...]:
        """In the order of ids, the default one first. A record that cannot be read here, or that a newer payonce wrote, is
        left out and logged: it must not keep the others from working."""
        found = (_told(record) for record in await self._registry.all(KIND))
        return (Merchant(id=DEFAULT_MERCHANT, name="default"), *(each for each in found if each is not None))

    async def get(self, merchant_id: str) -> Merchant | None:
        return next((m for m in await self.all() if m.id == merchant_id), None)


def read(record: Record) -> Merchant | None:
    """The merchant of a record; None when it is damaged, or when a newer payonce wrote it."""
    try:
        merchant = msgspec.json.decode(record.value, type=Merchant)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    ours = merchant.v == MERCHANT_V and merchant.id == record.name and merchant.id != DEFAULT_MERCHANT
    return merchant if ours else None


def _told(record: Record) -> Merchant | None:
    merchant = read(record)
    if merchant is None:
        log.error("a merchant's record cannot be read here; it is left out", record=record.name)
    return merchant
