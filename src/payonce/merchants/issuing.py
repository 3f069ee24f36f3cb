"""Making merchants, and making, ending and replacing keys: each act goes on the journal first, then it is done."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from payonce.core.errors import Refused, StoreUnavailable
from payonce.core.payment import Mode
from payonce.ports import Clock

from . import Merchant, Merchants
from .journal import Journal
from .keys import ApiKey, Keyring, KeyScope

DEFAULT_SCOPES: Final[tuple[KeyScope, ...]] = ("payments:read", "payments:write", "refunds:write")


class Wanted(Struct, frozen=True, kw_only=True):
    """A key to be made. ``expires_us``: at this time; 0 = never. ``rate_per_s`` 0 = as the settings say."""

    merchant_id: str
    mode: Mode
    scopes: Collection[KeyScope] = DEFAULT_SCOPES
    name: str = ""
    expires_us: int = 0
    rate_per_s: int = 0


class Issued(Struct, frozen=True):
    """A new key with its text, which nobody will see again."""

    key: ApiKey
    token: str

    def __repr__(self) -> str:
        return f"Issued({self.key!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("key", self.key)]


class Rotated(Struct, frozen=True):
    """``old`` as it is now, with its end."""

    old: ApiKey
    new: Issued


class Issuing:
    """``actor``: who does all this (core/actors.py). Everything raises StoreUnavailable where the registry does not answer."""

    def __init__(self, merchants: Merchants, keys: Keyring, journal: Journal, clock: Clock, actor: str) -> None:
        self._merchants, self._keys, self._journal, self._clock, self._actor = merchants, keys, journal, clock, actor

    async def merchant(self, name: str) -> Merchant:
        """A new one, on record. Raises Refused ``validation_failed``, ``card_number_refused``."""
        made = self._merchants.new(name)
        await self._merchants.require_room()
        await self._journal.write("merchant.created", made.id, actor=self._actor, merchant_id=made.id, data={"name": made.name})
        await self._merchants.add(made)
        return made

    async def key(self, wanted: Wanted) -> Issued:
        """A new one, on record. Raises Refused: ``not_found`` (the merchant), ``validation_failed`` and
        ``card_number_refused``."""
        if await self._merchants.get(wanted.merchant_id) is None:
            raise Refused("not_found", f"There is no merchant {wanted.merchant_id[:80]!r}, so no key was made.")
        return await self._made(wanted, replaces="")

    async def revoke(self, key_id: str) -> ApiKey:
        """It opens nothing any more. One that has ended stays as it is. Raises Refused ``not_found``."""
        key = await self._found(key_id)
        now = self._clock.now_us()
        if 0 < key.ends_us <= now:
            return key
        await self._say("key.revoked", key, {})
        return await self._ended(key, now)

    async def rotate(self, key_id: str, overlap_us: int, expires_us: int | None = None) -> Rotated:
        """A new key with the merchant, mode, scopes, name and rate of the old one, which ends after the overlap; until then
        both are live. It expires when the old one would have, unless ``expires_us`` says otherwise (0 = never). Raises Refused:
        ``not_found``, or ``operation_not_possible`` for one that is not live or is being replaced already."""
        old = await self._found(key_id)
        now = self._clock.now_us()
        if not old.live(now):
            raise Refused("operation_not_possible", f"{old.id} has ended, so there is nothing to replace. Make a new key.")
        if old.ends_us:
            successor = f" by {old.successor}" if old.successor else ""
            raise Refused("operation_not_possible", f"{old.id} is being replaced already{successor}. Rotate that one.")
        ends_us = now + overlap_us
        expires = old.expires_us if expires_us is None else expires_us
        wanted = Wanted(
            merchant_id=old.merchant_id,
            mode=old.mode,
            scopes=old.scopes,
            name=old.name,
            expires_us=expires,
            rate_per_s=old.rate_per_s,
        )
        new = await self._made(wanted, replaces=old.id)
        await self._say("key.rotated", old, {"successor": new.key.id, "ends_at": time_of(ends_us)})
        try:
            ended = await self._ended(old, ends_us, new.key.id)
        except StoreUnavailable as error:
            raise StoreUnavailable(
                f"{error} {old.id} goes on without an end. {new.key.id} was made and its text is lost: revoke it, rotate again."
            ) from error
        return Rotated(ended, new)

    async def _made(self, wanted: Wanted, *, replaces: str) -> Issued:
        key, token = self._keys.new(
            wanted.merchant_id,
            wanted.mode,
            wanted.scopes,
            name=wanted.name,
            expires_us=wanted.expires_us,
            rate_per_s=wanted.rate_per_s,
        )
        await self._keys.require_room()
        data: dict[str, str | int | bool] = {
            "name": key.name,
            "scopes": ",".join(key.scopes),
            "expires_at": time_of(key.expires_us),
        }
        data |= {"rate_per_s": key.rate_per_s} | ({"replaces": replaces} if replaces else {})
        await self._say("key.created", key, data)
        await self._keys.add(key)
        return Issued(key, token)

    async def _say(self, what: str, key: ApiKey, data: dict[str, str | int | bool]) -> None:
        await self._journal.write(what, key.id, actor=self._actor, merchant_id=key.merchant_id, mode=key.mode, data=data)

    async def _found(self, key_id: str) -> ApiKey:
        key = await self._keys.get(key_id)
        if key is None:
            raise Refused("not_found", f"There is no key {key_id[:80]!r}, so nothing was changed.")
        return key

    async def _ended(self, key: ApiKey, at_us: int, successor: str = "") -> ApiKey:
        ended = await self._keys.end(key.id, at_us, successor)
        if ended is None:
            raise StoreUnavailable(f"{key.id} was removed meanwhile.")
        return ended


def time_of(at_us: int) -> str:
    """RFC 3339 in UTC; ``never`` for 0."""
    return (
        datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        if at_us
        else "never"
    )
