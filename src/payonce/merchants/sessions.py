"""Who is signed in at the dashboard. A session is of an API key, and ends with it, or of this machine's operator, who came
with a one-time ticket that a command printed. On record are SHA-256 hashes only: whoever reads the registry can act as nobody.

A token and a ticket are 256 random bits; a fast hash is enough for them (as for keys).
"""

import hashlib
import hmac
from asyncio import Lock
from collections.abc import Collection
from typing import Final

import msgspec
from msgspec import Struct

from payonce.core import ids
from payonce.core.errors import Refused, StoreUnavailable
from payonce.core.payment import Mode
from payonce.ports import Clock, Entropy, Record, Registry, Scope
from payonce.telemetry import get_logger

from .journal import Journal
from .keys import SCOPES, ApiKey, Caller, Keyring, KeyScope

KIND: Final = "session"
TICKET_KIND: Final = "ticket"
V: Final = 1
TOKEN_BITS: Final = 260  # whole characters of 5 bits; 256 would leave a bit over
TOKEN_CHARS: Final = 52
LIFE_US: Final = 12 * 3600 * 1_000_000
TICKET_LIFE_US: Final = 600 * 1_000_000
SESSIONS_MAX: Final = 1_000  # on record: they are read all at once
TICKETS_SHARE: Final = (
    10  # one in so many of them is for who comes with a ticket: keys of merchants do not keep the operator out
)
KEY_SESSIONS_MAX: Final = 50  # live ones of one key; the oldest of them makes room for a newer one
TICKETS_MAX: Final = 100
CACHE_US: Final = 1_000_000  # how old what the registry said may be: so long an ended session may still be taken
UNKNOWN_US: Final = 200_000  # the same, for a token that is not known: it may be a new one
CSRF_LABEL: Final = b"payonce dashboard csrf"
OPERATOR: Final = "operator:dashboard"

log = get_logger("sessions")


class Session(Struct, frozen=True, kw_only=True):
    """A session on record, under the hash of its token. ``key_id`` "": of this machine's operator, with ``scopes``; else what
    the key may do counts, as it is then."""

    id: str  # "ses_" and 20 characters: its name in the journal
    merchant_id: str
    mode: Mode
    scopes: tuple[KeyScope, ...]
    expires_us: int
    key_id: str = ""
    created_us: int = 0
    v: int = V


class Ticket(Struct, frozen=True, kw_only=True):
    """A ticket on record, under its hash. ``by``: who had it printed."""

    merchant_id: str
    mode: Mode
    scopes: tuple[KeyScope, ...]
    expires_us: int
    by: str = ""
    v: int = V


class SignedIn(Struct, frozen=True):
    """A live session and who acts in it."""

    session: Session
    caller: Caller


class Kept(Struct, frozen=True):
    """A session and its record."""

    record: Record
    session: Session


class Sessions:
    """Raises StoreUnavailable where the registry does not answer: nobody is let in then. ``mode``: sessions and tickets of the
    other one are as good as none."""

    def __init__(
        self, registry: Registry, clock: Clock, entropy: Entropy, *, keys: Keyring, journal: Journal, mode: Mode
    ) -> None:
        self._registry, self._clock, self._entropy = registry, clock, entropy
        self._keys, self._journal, self._mode = keys, journal, mode
        self._known: dict[str, Session] = {}
        self._read_us: int | None = None  # monotonic
        self._turn = Lock()  # one reads, the others wait for what it finds

    # --- who is signed in -----------------------------------------------------------------------------------------------

    async def of(self, token: str) -> SignedIn | None:
        """Who acts with this cookie's token; None: nobody. As the registry said CACHE_US ago at most."""
        if len(token) != TOKEN_CHARS:
            return None
        await self._refresh(CACHE_US)
        name = hashed(token)
        if name not in self._known:
            await self._refresh(UNKNOWN_US)
        session = self._known.get(name)
        if session is None or session.mode != self._mode or session.expires_us <= self._clock.now_us():
            return None
        if not session.key_id:
            scope = Scope(session.merchant_id, session.mode)
            return SignedIn(session, Caller(scope=scope, scopes=frozenset(session.scopes), name=OPERATOR, inside=True))
        key = await self._keys.live(session.key_id)
        return SignedIn(session, caller_of(key)) if key is not None and key.mode == self._mode else None

    async def _refresh(self, age_us: int) -> None:
        if self._young(age_us):
            return
        async with self._turn:
            if self._young(age_us):
                return
            began = self._clock.monotonic_us()
            found = {record.name: read(record) for record in await self._registry.all(KIND)}
            self._known = {name: session for name, session in found.items() if session is not None}
            self._read_us = began

    def _young(self, age_us: int) -> bool:
        return self._read_us is not None and 0 <= self._clock.monotonic_us() - self._read_us < age_us

    # --- coming and going -----------------------------------------------------------------------------------------------

    async def print_ticket(self, merchant_id: str, scopes: Collection[str], *, by: str, request_id: str = "") -> str:
        """A ticket, which signs in once within ten minutes as this machine's operator. On the journal first. Raises Refused
        ``validation_failed`` when too many are about."""
        await self._tidy_tickets()
        wanted = tuple(scope for scope in SCOPES if scope in scopes)
        token = self._token()
        ticket = Ticket(
            merchant_id=merchant_id,
            mode=self._mode,
            scopes=wanted,
            expires_us=self._clock.now_us() + TICKET_LIFE_US,
            by=by,
        )
        await self._journal.write(
            "session.ticket",
            hashed(token)[:20],
            actor=by,
            merchant_id=merchant_id,
            mode=self._mode,
            request_id=request_id,
            data={"scopes": " ".join(wanted), "expires_us": ticket.expires_us},
        )
        if not await self._registry.put(TICKET_KIND, hashed(token), msgspec.json.encode(ticket), 0):
            raise StoreUnavailable("The new ticket's name is taken, which cannot be by chance. Nothing was done; try again.")
        return token

    async def by_ticket(self, token: str, *, actor: str, request_id: str = "") -> str | None:
        """The token of a new session; None: this is no ticket, or it was used, or its time is over. Of any number that show the
        same one, exactly one gets in. Raises Refused ``validation_failed`` when there is no room; the ticket is good still."""
        name = hashed(token)
        record = next((r for r in await self._registry.all(TICKET_KIND) if r.name == name), None)
        ticket = read_ticket(record) if record else None
        if record is None:
            return None
        good = ticket is not None and ticket.mode == self._mode and ticket.expires_us > self._clock.now_us() and ticket.scopes
        if good:
            await self._room(SESSIONS_MAX)
        if not await self._registry.put(TICKET_KIND, name, None, record.version) or not good or ticket is None:
            return None
        new = self._new(ticket.merchant_id, ticket.scopes)
        return await self._begin(new, actor=actor, request_id=request_id, by=f"ticket {name[:20]} of {ticket.by}")

    async def by_key(self, key: ApiKey, *, actor: str, request_id: str = "") -> str:
        """The token of a new session of a key that the keyring has checked; it ends with the key. Where there is no more room
        for sessions of keys, the oldest of this key goes. Raises Refused ``validation_failed`` when it has none."""
        live = await self._tidied()
        mine = sorted((s for s in live if s.session.key_id == key.id), key=lambda s: s.session.created_us)
        most = SESSIONS_MAX - max(1, SESSIONS_MAX // TICKETS_SHARE)
        too_many = max(len(mine) + 1 - KEY_SESSIONS_MAX, 0)
        if mine and len(live) - too_many >= most:
            too_many = max(too_many, 1)
        elif not mine and len(live) >= most:
            raise _full(most)
        for each in mine[:too_many]:
            await self._ended(each, actor=actor, request_id=request_id, why="a newer one of the same key")
        new = self._new(key.merchant_id, key.scopes, key.id)
        return await self._begin(new, actor=actor, request_id=request_id, by=key.id)

    async def end(self, token: str, *, actor: str, request_id: str = "") -> None:
        """Sign out. Every process knows within CACHE_US; this one at once."""
        name = hashed(token)
        record = next((r for r in await self._registry.all(KIND) if r.name == name), None)
        session = read(record) if record else None
        if record is not None and session is not None:
            await self._ended(Kept(record, session), actor=actor, request_id=request_id)
        elif record is not None:
            await self._registry.put(KIND, name, None, record.version)
        self._known.pop(name, None)
        self._read_us = None

    async def end_all(self, merchant_id: str, *, actor: str, request_id: str = "") -> tuple[int, int]:
        """Sign everybody of a merchant out, in this mode, and let nobody in with a ticket that was printed before. How many
        sessions and tickets that were. Every process knows within CACHE_US."""
        sessions = [k for k in await self._kept() if k.session.merchant_id == merchant_id and k.session.mode == self._mode]
        found = [(record, read_ticket(record)) for record in await self._registry.all(TICKET_KIND)]
        tickets = [r for r, t in found if t is not None and t.merchant_id == merchant_id and t.mode == self._mode]
        how = {"actor": actor, "merchant_id": merchant_id, "mode": self._mode, "request_id": request_id}
        data = {"sessions": len(sessions), "tickets": len(tickets)}
        await self._journal.write("session.all_ended", merchant_id, **how, data=data)
        for record in tickets:  # first: one that is used now would be a session that nobody ends
            await self._registry.put(TICKET_KIND, record.name, None, record.version)
        for each in await self._kept():
            if each.session.merchant_id == merchant_id and each.session.mode == self._mode:
                await self._registry.put(KIND, each.record.name, None, each.record.version)
        self._known, self._read_us = {}, None
        return len(sessions), len(tickets)

    async def _ended(self, kept: Kept, *, actor: str, request_id: str, why: str = "") -> None:
        """On the journal first."""
        session, data = kept.session, {"why": why} if why else {}
        how = {"actor": actor, "merchant_id": session.merchant_id, "mode": session.mode, "request_id": request_id}
        await self._journal.write("session.ended", session.id, **how, data=data)
        await self._registry.put(KIND, kept.record.name, None, kept.record.version)

    async def _kept(self) -> list[Kept]:
        found = [(record, read(record)) for record in await self._registry.all(KIND)]
        return [Kept(record, session) for record, session in found if session is not None]

    def _new(self, merchant_id: str, scopes: tuple[KeyScope, ...], key_id: str = "") -> Session:
        now = self._clock.now_us()
        return Session(
            id=ids.new_id("ses_", now, self._entropy.bits(ids.RANDOM_BITS)),
            merchant_id=merchant_id,
            mode=self._mode,
            scopes=scopes,
            expires_us=now + LIFE_US,
            key_id=key_id,
            created_us=now,
        )

    async def _begin(self, session: Session, *, actor: str, request_id: str, by: str) -> str:
        await self._journal.write(
            "session.begun",
            session.id,
            actor=actor,
            merchant_id=session.merchant_id,
            mode=session.mode,
            request_id=request_id,
            data={"by": by, "scopes": " ".join(session.scopes), "expires_us": session.expires_us},
        )
        token = self._token()
        if not await self._registry.put(KIND, hashed(token), msgspec.json.encode(session), 0):
            raise StoreUnavailable("The new session's name is taken, which cannot be by chance. Nothing was done; try again.")
        self._read_us = None
        return token

    async def _tidied(self) -> list[Kept]:
        """The sessions that are live; those whose time is over, and what is none, are removed."""
        live, now = [], self._clock.now_us()
        for record in await self._registry.all(KIND):
            session = read(record)
            if session is not None and session.expires_us > now:
                live.append(Kept(record, session))
            elif session is not None or not _of_newer(record):
                await self._registry.put(KIND, record.name, None, record.version)
        return live

    async def _room(self, most: int) -> None:
        """Raises Refused ``validation_failed`` when so many sessions are live."""
        if len(await self._tidied()) >= most:
            raise _full(most)

    async def _tidy_tickets(self) -> None:
        """Those whose time is over are removed. Raises Refused ``validation_failed`` when TICKETS_MAX remain."""
        left, now = 0, self._clock.now_us()
        for record in await self._registry.all(TICKET_KIND):
            ticket = read_ticket(record)
            if ticket is not None and ticket.expires_us > now:
                left += 1
            elif ticket is not None or not _of_newer(record):
                await self._registry.put(TICKET_KIND, record.name, None, record.version)
        if left >= TICKETS_MAX:
            raise Refused("validation_failed", f"There are {TICKETS_MAX} tickets already. Use one, or wait for one to end.")

    def _token(self) -> str:
        return ids.encode(self._entropy.bits(TOKEN_BITS), TOKEN_CHARS)


def _full(most: int) -> Refused:
    said = f"There are {most} sessions already. Sign out elsewhere, or wait for one to end."
    return Refused("validation_failed", said)


def caller_of(key: ApiKey) -> Caller:
    """Who acts in a session of a key."""
    return Caller(scope=Scope(key.merchant_id, key.mode), scopes=frozenset(key.scopes), key=key, inside=True)


def sign_in_url(at: str, ticket: str) -> str:
    """The address that a ticket opens. ``at``: where payonce is reached."""
    return f"{at.rstrip('/')}/dashboard/sign-in?ticket={ticket}"


def csrf_of(token: str) -> str:
    """What the forms of a session carry. Whoever knows it cannot tell the token."""
    return signed(token, CSRF_LABEL)


def signed(token: str, text: bytes) -> str:
    """A signature that only the session itself can make and check."""
    return hmac.new(token.encode(), text, hashlib.sha256).hexdigest()


def same(one: str, other: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def read(record: Record) -> Session | None:
    """None: it is damaged or of a newer payonce, and lets nobody in."""
    try:
        session = msgspec.json.decode(record.value, type=Session)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return session if session.v == V and session.scopes else None


def read_ticket(record: Record) -> Ticket | None:
    """None: it is damaged or of a newer payonce, and lets nobody in."""
    try:
        ticket = msgspec.json.decode(record.value, type=Ticket)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return ticket if ticket.v == V else None


def _of_newer(record: Record) -> bool:
    try:
        return bool(msgspec.json.decode(record.value)["v"] > V)
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError):
        return False
