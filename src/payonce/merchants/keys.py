"""API keys: ``sk_test_`` or ``sk_live_``, then 20 characters that name the key and 32 that are secret (160 random bits). Only a
salted hash of the secret is on record; the whole key is shown once, when it is made.

A fast hash is enough for 160 random bits: nobody guesses them, with or without the record (a slow one is for passwords).
"""

import hashlib
import hmac
import re
from asyncio import Lock
from collections.abc import Collection
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from payonce.core import ids
from payonce.core.errors import PayonceError, Refused, StoreUnavailable
from payonce.core.payment import Mode
from payonce.core.redact import has_card_number
from payonce.ports import Clock, Entropy, Record, Registry, Scope
from payonce.telemetry import get_logger

KeyScope = Literal["payments:read", "payments:write", "refunds:write", "admin"]
SCOPES: Final[tuple[KeyScope, ...]] = get_args(KeyScope)
MODES: Final[tuple[Mode, ...]] = get_args(Mode)

KIND: Final = "key"  # of its records in the registry
KEY_V: Final = 1
SECRET_CHARS: Final = 32
NAME_CHARS_MAX: Final = 100
RATE_MAX: Final = 100_000  # requests a second
KEYS_MAX: Final = 5_000  # on record: they are read all at once
FORGOTTEN_US: Final = 90 * 86_400 * 1_000_000  # so long after its end a key may make room for a new one, when there is none
CACHE_US: Final = 2_000_000  # how old what the registry said may be: so long a revoked key may still be taken
UNKNOWN_US: Final = 200_000  # the same, for a key that is not known: it may be a new one
STALE_US: Final = 60_000_000  # and so old while the registry does not answer; after that nobody gets in
RACES_MAX: Final = 20
TOKEN: Final = re.compile(rf"sk_(test|live)_([{ids.ALPHABET}]{{{ids.ID_CHARS}}})([{ids.ALPHABET}]{{{SECRET_CHARS}}})")
NO_SALT: Final = "0" * 32  # compared with where there is no key, so that it takes as long
NO_HASH: Final = "0" * 64
SHUT: Final = "The keys cannot be read, so nobody is let in. Nothing was done; try again."

KeyState = Literal["live", "ending", "expired", "revoked"]

log = get_logger("keys")


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key on record. ``expires_us`` 0 = never; ``ends_us`` > 0: revoked from then on, or replaced by ``successor``."""

    id: str  # "key_" and the 20 characters
    merchant_id: str
    mode: Mode
    scopes: tuple[KeyScope, ...]
    salt: str
    hash: str
    name: str = ""
    created_us: int = 0
    expires_us: int = 0
    ends_us: int = 0
    successor: str = ""
    rate_per_s: int = 0  # requests a second; 0 = as the settings say
    v: int = KEY_V

    def __repr__(self) -> str:
        """Without salt and hash: what is printed or logged by accident must not help anybody."""
        return f"ApiKey(id={self.id!r}, merchant_id={self.merchant_id!r}, mode={self.mode!r}, scopes={self.scopes!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("id", self.id)]

    def live(self, now_us: int) -> bool:
        """It opens the door now."""
        return not (0 < self.expires_us <= now_us or 0 < self.ends_us <= now_us)

    def state(self, now_us: int) -> KeyState:
        """``ending``: it is live, and its end is on record (a rotation's overlap)."""
        if 0 < self.ends_us <= now_us:
            return "revoked"
        if 0 < self.expires_us <= now_us:
            return "expired"
        return "ending" if self.ends_us else "live"


class Caller(Struct, frozen=True, kw_only=True):
    """Who is asking: whose rows they see, what they may do, and how the record names them. ``key`` None: this machine itself,
    without a key, as ``name``. ``inside``: a page of ours asks for them; the request of the page has been counted."""

    scope: Scope
    scopes: frozenset[str]
    key: ApiKey | None = None
    name: str = "api"
    inside: bool = False

    @property
    def who(self) -> str:
        return self.key.id if self.key else self.name

    def may(self, wanted: KeyScope) -> bool:
        """``admin`` includes the rest, ``payments:write`` includes reading what it wrote."""
        return (
            wanted in self.scopes or "admin" in self.scopes or (wanted == "payments:read" and "payments:write" in self.scopes)
        )


class Keyring:
    """The keys on record, as one process knows them. ``check`` is for every request; the rest is for who makes keys, and raises
    StoreUnavailable where the registry does not answer.

    A record that cannot be read here (damaged, or of a newer payonce) opens nothing and is logged once; the other keys work on.
    """

    def __init__(self, registry: Registry, clock: Clock, entropy: Entropy) -> None:
        self._registry, self._clock, self._entropy = registry, clock, entropy
        self._known: dict[str, tuple[int, ApiKey | None]] = {}  # by record, with its version; None: it cannot be read
        self._read_at: tuple[int, int] | None = None  # by the wall and the monotonic clock: in a freeze the latter may stand
        self._failed_at: tuple[int, int] | None = None  # when the registry last did not answer; it is not asked again at once
        self._changes = self._seen = 0  # of this process's own: a read that began before one does not show it
        self._turn = Lock()  # one reads, the others wait for what it finds

    # --- at the door -----------------------------------------------------------------------------------------------

    async def check(self, token: str) -> ApiKey | None:
        """The live key that this token is, or None: unknown, wrong, expired and revoked look the same. Which ids exist is no
        secret; for one that is not known the registry is asked once more, at most every UNKNOWN_US. Raises
        StoreUnavailable: the keys could not be read for STALE_US, so nobody is let in."""
        await self._refresh()
        match = TOKEN.fullmatch(token)
        if match and f"key_{match[2]}" not in self._known:  # made a moment ago? strangers can ask so seldom only
            await self._refresh(UNKNOWN_US)
        known = self._known.get(f"key_{match[2]}", (0, None))[1] if match else None
        salt, wanted = (known.salt, known.hash) if known else (NO_SALT, NO_HASH)
        same = hmac.compare_digest(hashed(salt, match[3] if match else "").encode(), wanted.encode())
        if not same or known is None or match is None or known.mode != match[1] or not known.live(self._clock.now_us()):
            return None
        return known

    async def live(self, key_id: str) -> ApiKey | None:
        """The key of this id while it is live; None when it has ended or is not known. For whoever has shown it before. Raises
        StoreUnavailable as ``check``."""
        await self._refresh()
        known = self._known.get(key_id, (0, None))[1]
        return known if known is not None and known.live(self._clock.now_us()) else None

    async def any(self, mode: Mode) -> bool:
        """There is a live key of this mode. A record that cannot be read counts as one: damage opens no door. Raises
        StoreUnavailable as ``check``."""
        await self._refresh()
        now = self._clock.now_us()
        return any(key is None or (key.mode == mode and key.live(now)) for _, key in self._known.values())

    async def ever(self, mode: Mode) -> bool:
        """A key of this mode was ever made; one that has expired or was revoked counts too. For who lets in callers without a
        key: the end of the last key must not let in everybody. Raises StoreUnavailable as ``check``."""
        await self._refresh()
        return any(key is None or key.mode == mode for _, key in self._known.values())

    async def _refresh(self, age_us: int = CACHE_US) -> None:
        """Read again what is older than ``age_us``. While the registry does not answer it is asked once in CACHE_US only."""
        if self._current(age_us):
            return
        async with self._turn:
            if self._current(age_us):
                return
            if self._younger(self._failed_at, CACHE_US):
                self._require_fresh(None)
                return
            now, changes = self._now(), self._changes
            try:
                records = await self._registry.all(KIND)
            except PayonceError as error:
                self._failed_at = self._now()
                self._require_fresh(error)
                log.warning("keys cannot be read, what was known stays for a while", error=str(error))
                return
            self._failed_at, self._read_at, self._seen = None, now, changes
            self._take(records)

    def _current(self, age_us: int) -> bool:
        return self._seen == self._changes and self._younger(self._read_at, age_us)

    def _now(self) -> tuple[int, int]:
        return self._clock.now_us(), self._clock.monotonic_us()

    def _younger(self, at: tuple[int, int] | None, us: int) -> bool:
        """By both clocks; what lies in the future is not."""
        if at is None:
            return False
        wall_us, monotonic_us = at
        return 0 <= self._clock.now_us() - wall_us < us and 0 <= self._clock.monotonic_us() - monotonic_us < us

    def _require_fresh(self, cause: PayonceError | None) -> None:
        if not self._younger(self._read_at, STALE_US):
            raise StoreUnavailable(SHUT) from cause

    def _take(self, records: Collection[Record]) -> None:
        """No version of a record ever stands for two values, so that each is decoded once."""
        before = self._known
        self._known = {}
        for r in records:
            old = before.get(r.name)
            self._known[r.name] = old if old is not None and old[0] == r.version else (r.version, read(r))
            if self._known[r.name][1] is None and self._known[r.name] is not old:
                log.error("a key's record cannot be read here; it opens nothing", record=r.name)

    # --- for who makes them ----------------------------------------------------------------------------------------

    def new(
        self,
        merchant_id: str,
        mode: Mode,
        scopes: Collection[KeyScope],
        *,
        name: str = "",
        expires_us: int = 0,
        rate_per_s: int = 0,
    ) -> tuple[ApiKey, str]:
        """A key that is not on record yet, and its text, which nobody will see again. Raises Refused ``validation_failed``,
        ``card_number_refused`` for a name with a card number in it."""
        now = self._clock.now_us()
        if wrong := _wrong(mode, scopes, name, rate_per_s) or ("it would have expired already" * (0 < expires_us <= now)):
            raise Refused("validation_failed", f"No such key can be made: {wrong}.")
        if has_card_number(name):
            raise Refused("card_number_refused", "A card number stands in the key's name. Nothing was stored: leave it out.")
        fresh = ids.new_id("", now, self._entropy.bits(ids.RANDOM_BITS))
        salt = f"{self._entropy.bits(128):032x}"
        secret = ids.encode(self._entropy.bits(5 * SECRET_CHARS), SECRET_CHARS)
        key = ApiKey(
            id=f"key_{fresh}",
            merchant_id=merchant_id,
            mode=mode,
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            salt=salt,
            hash=hashed(salt, secret),
            name=name,
            created_us=now,
            expires_us=max(0, expires_us),
            rate_per_s=rate_per_s,
        )
        return key, f"sk_{mode}_{fresh}{secret}"

    async def require_room(self) -> None:
        """At KEYS_MAX those are removed that ended FORGOTTEN_US ago or more; the journal still tells of them. Raises Refused
        ``validation_failed`` when that makes no room."""
        records = await self._registry.all(KIND)
        if len(records) < KEYS_MAX:
            return
        long_ago, removed = self._clock.now_us() - FORGOTTEN_US, 0
        for record in records:
            key = read(record)
            if key is not None and not key.live(long_ago):
                removed += await self._registry.put(KIND, record.name, None, record.version)
        if not removed:
            raise Refused("validation_failed", f"There are {KEYS_MAX} keys on record, and no more are taken.")

    async def add(self, key: ApiKey) -> None:
        """Put a new one on record."""
        if not await self._registry.put(KIND, key.id, msgspec.json.encode(key), 0):
            raise StoreUnavailable("The new key's id is taken, which cannot be by chance. Nothing was written; try again.")
        self._changes += 1

    async def all(self) -> tuple[ApiKey, ...]:
        """Every key on record that can be read, read now, in the order of ids; those that ended too."""
        return tuple(key for key in map(read, await self._registry.all(KIND)) if key is not None)

    async def unreadable(self) -> tuple[str, ...]:
        """Names of records that cannot be read here: they open nothing."""
        return tuple(record.name for record in await self._registry.all(KIND) if read(record) is None)

    async def get(self, key_id: str) -> ApiKey | None:
        """Read now."""
        return next((key for key in await self.all() if key.id == key_id), None)

    async def end(self, key_id: str, at_us: int, successor: str = "") -> ApiKey | None:
        """The key opens nothing from then on (now: it is revoked). An end only moves closer; a rotation names the successor.
        None when there is no such key, or none that can be read here."""
        for _ in range(RACES_MAX):
            record = next((r for r in await self._registry.all(KIND) if r.name == key_id), None)
            key = read(record) if record else None
            if key is None or record is None:
                return None
            ends = min(at_us, key.ends_us) if key.ends_us else at_us
            ended = replace(key, ends_us=ends, successor=successor or key.successor)
            if await self._registry.put(KIND, key_id, msgspec.json.encode(ended), record.version):
                self._changes += 1
                return ended
        raise StoreUnavailable(f"{key_id} is being changed by others all the time. Nothing was changed; try again.")


def hashed(salt: str, secret: str) -> str:
    return hashlib.sha256(f"{salt}:{secret}".encode()).hexdigest()


def read(record: Record) -> ApiKey | None:
    """The key of a record; None when it is damaged, or when a newer payonce wrote it: it may bound a key in a way that is not
    known here."""
    try:
        key = msgspec.json.decode(record.value, type=ApiKey)
        key.hash.encode()
    except (msgspec.MsgspecError, UnicodeError):
        return None
    return key if key.v == KEY_V and key.id == record.name and key.scopes else None


def _wrong(mode: str, scopes: Collection[str], name: str, rate_per_s: int) -> str:
    if mode not in MODES:
        return "its mode is test or live"
    if not scopes or any(scope not in SCOPES for scope in scopes):
        return f"its scopes are one or more of {', '.join(SCOPES)}"
    if len(name) > NAME_CHARS_MAX or not name.isprintable():
        return f"its name has at most {NAME_CHARS_MAX} printable characters"
    return "" if 0 <= rate_per_s <= RATE_MAX else f"its rate is 1 to {RATE_MAX} requests a second, or 0: as the settings say"
