"""The door of the API: who is asking (``Authorization: Bearer``), what the key may do, how often, and whether there is room.
It is passed before a body is read and before any id is looked at.

Only where the door is told so (``open_to``: a server on loopback) and as long as no key of the mode was ever made, whoever
comes is let in as that merchant. From the first key on everybody needs one, also after all of them have ended: a door does not
open by itself. A key of the other mode is as good as none.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from payonce.config import is_loopback
from payonce.core.errors import PayonceError, Refused, StoreUnavailable
from payonce.core.payment import Mode
from payonce.merchants.forwarded import FORWARDED
from payonce.merchants.keys import SCOPES, TOKEN, ApiKey, Caller, Keyring, KeyScope
from payonce.ports import Clock, Due, Scope
from payonce.telemetry import get_logger

from .incoming import Request, headers_of
from .paths import under_root
from .problems import Later, NoSuchPath
from .rights import HEALTH

AUTHORIZATION_CHARS_MAX: Final = 256  # of the header; a key has 60
BURST_S: Final = 2  # a key that rested may make the requests of so many seconds at once
PS_PER_US, PS_PER_S = 1_000_000, 1_000_000_000_000
BUCKETS_TIDY: Final = 1000  # more keys than these in use: those that rest are forgotten
MERCHANT_SHARE: Final = 2  # and at most one in so many of one merchant
STRANGERS_SHARE: Final = 4  # at most one in so many of the requests at once may be of somebody without a key
CAPACITY_RETRY_S: Final = 1
GRID_US: Final = 50_000  # answers that something is not there come at multiples of it
OVERDUE_US: Final = 2_000_000  # a payment is not done late before that
SAMPLE_US: Final = 1_000_000  # how often the backlog is looked at,
SAMPLE_SHARE: Final = 20  # and at most one part in so many of the time
BACKLOG_RETRY_S: Final = 5
INSIDE: Final = "payonce.caller"  # the key of an ASGI scope: no client can set one, only the program around

log = get_logger("api")


class Rates:
    """How often each key may come: a bucket per key, in this process, that lets ``BURST_S`` seconds' worth through at once. One
    number per key: when its bucket will be full again (monotonic picoseconds: a whole number of them is one request)."""

    def __init__(self, clock: Clock, per_s: int) -> None:
        self._clock, self._per_s = clock, per_s
        self._full_ps: dict[str, int] = {}

    def take(self, key: ApiKey) -> None:
        """One request of a key that is on record. Raises Later ``rate_limited``."""
        per_s, now = key.rate_per_s or self._per_s, self._clock.monotonic_us() * PS_PER_US
        full = max(self._full_ps.get(key.id, 0), now) + PS_PER_S // per_s
        over = full - now - BURST_S * PS_PER_S
        if over > 0:
            said = f"{key.id} may make {per_s} requests a second here."
            raise Later("rate_limited", said, retry_after_s=-(-over // PS_PER_S))
        if key.id not in self._full_ps and len(self._full_ps) >= BUCKETS_TIDY:
            self._full_ps = {id: at for id, at in self._full_ps.items() if at > now}  # a full bucket is as good as none
        self._full_ps[key.id] = full


class Backlog:
    """Whether the workers are so far behind that new payments had better wait outside. ``due`` is the store's; ``most``
    overdue payments are too many. ``waiting``: those that this process put off because an account has as many calls as it may
    (lanes.py): they are due later, and wait all the same."""

    def __init__(
        self,
        due: Callable[[int, int], Awaitable[Sequence[Due]]],
        clock: Clock,
        most: int,
        waiting: Callable[[int], int] = lambda _: 0,
    ) -> None:
        self._due, self._clock, self._most, self._waiting = due, clock, most, waiting
        self._full, self._looking, self._next_us = False, False, 0

    async def full(self) -> bool:
        """As of the last look, which is a second old, or older where looking itself takes long. A store that cannot be read is
        not full: the write will say what is wrong with it."""
        began = self._clock.monotonic_us()
        if self._looking or began < self._next_us:
            return self._full
        self._looking = True
        try:
            found = await self._due(self._clock.now_us() - OVERDUE_US, self._most)
            behind = len(found) + self._waiting(self._clock.now_us())
            was, self._full = self._full, behind >= self._most
            if was != self._full:
                says = "new payments are refused" if self._full else "new payments are taken again"
                log.warning(says, overdue=behind, backlog_max=self._most)
        except PayonceError:
            self._full = False
        finally:
            ended = self._clock.monotonic_us()
            self._looking, self._next_us = False, ended + max(SAMPLE_US, SAMPLE_SHARE * (ended - began))
        return self._full


class Seats:
    """At most so many requests at once; 0 = any number. When all are taken, entering raises Later ``over_capacity``, which says
    ``full``."""

    def __init__(self, most: int, full: str = "") -> None:
        self._most, self._full, self.taken = most, full, 0

    def __enter__(self) -> None:
        if self._most and self.taken >= self._most:
            raise Later("over_capacity", self._full, retry_after_s=CAPACITY_RETRY_S)
        self.taken += 1

    def __exit__(self, *_about: object) -> None:
        self.taken -= 1


class Door:
    """See the module docstring. ``local_only``: without keys only requests of this machine itself are let in, as far as can be
    told: not through a proxy, not under another host's name (a page that a browser opened elsewhere). ``rate_per_s`` and
    ``requests_max`` 0: no limit here. ``backlog`` None: new payments are taken however many are overdue."""

    def __init__(
        self,
        keys: Keyring,
        mode: Mode,
        clock: Clock,
        *,
        open_to: Scope | None = None,
        local_only: bool = False,
        rate_per_s: int = 0,
        requests_max: int = 0,
        backlog: Backlog | None = None,
    ) -> None:
        self.mode, self.clock = mode, clock
        self._keys, self._open_to, self._local_only = keys, open_to, local_only
        self._rates, self._rated = Rates(clock, rate_per_s or 1), rate_per_s > 0
        self._most, self._unbounded = requests_max, Seats(0)
        self._room = Seats(requests_max, "Too many requests are being handled.")
        strangers_max = requests_max and max(1, requests_max // STRANGERS_SHARE)
        self._lobby = Seats(strangers_max, "Too many requests without a key are being handled.")
        self._shares: dict[str, Seats] = {}  # by merchant
        self._backlog = backlog
        self._ever = False

    # --- who ------------------------------------------------------------------------------------------------------------

    async def admit(self, request: Request, needs: KeyScope) -> Caller:
        """Who is asking, if they may. Raises Refused: ``key_missing``, ``key_invalid``, ``rate_limited``, ``scope_missing``,
        and ``not_ready`` while the keys cannot be read."""
        try:
            caller = await self._caller(request)
        except StoreUnavailable as error:
            log.warning("the keys cannot be read", request_id=request.request_id, said=str(error)[:800])
            raise Refused("not_ready", "The keys cannot be read now, so nobody is let in. Nothing was done.") from error
        if not caller.inside:
            self.pace(caller)
        if not caller.may(needs):
            raise Refused("scope_missing", f"This needs a key with the scope {needs}; {caller.who} has not got it.")
        return caller

    def pace(self, caller: Caller) -> None:
        """One request more of a caller. Raises Later ``rate_limited``."""
        if caller.key and (self._rated or caller.key.rate_per_s):
            self._rates.take(caller.key)

    async def known(self, request: Request) -> Caller | None:
        """Who is asking, for what strangers may see less of; None for a stranger, whatever they show."""
        try:
            return await self._caller(request)
        except PayonceError:
            return None

    async def _caller(self, request: Request) -> Caller:
        page = request.scope.get(INSIDE)
        if isinstance(page, Caller):  # a page of ours asks in this process for who is signed in there
            return page
        token, unlocked = _token(request), await self._unlocked()
        if unlocked is not None and not (token or "").startswith("sk_"):
            if self._local_only and not _from_here(request):
                said = "Without keys only this machine itself is let in, not what comes through a proxy or under another name."
                raise Refused("key_missing", f"{said} Make a key: then everybody needs one.")
            return Caller(scope=unlocked, scopes=frozenset(SCOPES))
        if token is None:
            raise Refused("key_missing", "There is no Authorization: Bearer header.")
        key = await self._keys.check(token)
        if key is None or key.mode != self.mode:
            raise Refused("key_invalid", f"The key opens nothing here ({self.mode} mode).")
        return Caller(scope=Scope(key.merchant_id, key.mode), scopes=frozenset(key.scopes), key=key)

    async def open(self) -> bool:
        """Nobody needs a key, as things are. Raises StoreUnavailable."""
        return await self._unlocked() is not None

    async def _unlocked(self) -> Scope | None:
        """Whose rows a caller without a key sees; None: keys are needed. Raises StoreUnavailable."""
        if self._open_to is None or self._ever:
            return None
        self._ever = await self._keys.ever(self.mode)
        return None if self._ever else self._open_to

    # --- how many -------------------------------------------------------------------------------------------------------

    def room(self) -> "Seats":
        """One of the requests handled at once. Raises Later ``over_capacity`` at once when there are too many."""
        return self._room

    def lobby(self) -> "Seats":
        """One of those that need no key. They have a share only: whoever shows no key cannot keep out those who have one."""
        return self._lobby

    def share(self, caller: Caller) -> "Seats":
        """One of the requests of a merchant, who has a share only: bodies that come slowly must not keep others out."""
        if not self._most or not caller.key or caller.inside:
            return self._unbounded
        merchant_id = caller.scope.merchant_id
        seats = self._shares.get(merchant_id)
        if seats is None:
            if len(self._shares) >= BUCKETS_TIDY:
                self._shares = {whose: taken for whose, taken in self._shares.items() if taken.taken}
            most = max(1, self._most // MERCHANT_SHARE)
            seats = self._shares[merchant_id] = Seats(most, "Too many requests of yours are being handled.")
        return seats

    async def take_new(self) -> None:
        """There is room for one more payment. Raises Later ``over_capacity``."""
        if self._backlog is not None and await self._backlog.full():
            said = "Too many accepted payments wait for their turn; captures, voids and refunds are taken."
            raise Later("over_capacity", said, retry_after_s=BACKLOG_RETRY_S)


class Crowd:
    """Around the whole application: no more than ``requests_max`` requests are handled at once; health checks always are."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        http = scope["type"] == "http"
        if not http or under_root(scope) in HEALTH or isinstance(scope.get(INSIDE), Caller):  # the page was counted
            await self._app(scope, receive, send)
            return
        with self._door.room():
            await self._app(scope, receive, send)


class Guarded:
    """An application behind the door: who may do ``needs`` and is of the merchant ``owner`` comes in; to others nothing is
    there. What lies under ``open_under`` is for everybody."""

    def __init__(self, app: ASGIApp, door: Door, needs: KeyScope, *, owner: str, open_under: str) -> None:
        self._app, self._door, self._needs, self._owner, self._open_under = app, door, needs, owner, open_under

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if under_root(scope).startswith(self._open_under):
                with self._door.lobby():
                    await self._app(scope, receive, send)
                return
            caller = await self._door.admit(Request(scope, receive, scope["payonce.request_id"]), self._needs)
            if caller.scope.merchant_id != self._owner:
                raise NoSuchPath
        await self._app(scope, receive, send)


class Ear:
    """``receive``, and when the client last sent something (monotonic microseconds)."""

    def __init__(self, receive: Receive, clock: Clock) -> None:
        self._receive, self._clock, self.at_us = receive, clock, clock.monotonic_us()

    async def __call__(self) -> AsgiScope:
        message = await self._receive()
        self.at_us = self._clock.monotonic_us()
        return message


async def on_grid(clock: Clock, since_us: int) -> None:
    """Wait until the next multiple of GRID_US after ``since_us``: how long it took to find that something is not there, or is
    not theirs, is nobody's to measure. ``since_us`` is when the client last sent something: it must not choose the phase."""
    rest_us = GRID_US - (clock.monotonic_us() - since_us) % GRID_US
    await clock.sleep(rest_us / 1_000_000)


def _token(request: Request) -> str | None:
    """What stands behind Bearer; None: nothing does. Raises Refused ``key_invalid`` for what is no header or no key at all;
    nothing of it is repeated."""
    given = request.headers(b"authorization")
    if not given:
        return None
    if len(given) > 1:
        raise Refused("key_invalid", "There is more than one Authorization header.")
    scheme, _, rest = given[0].strip(" \t").partition(" ")
    if scheme.lower() != "bearer":
        return None
    token = rest.strip(" ")
    if len(given[0]) > AUTHORIZATION_CHARS_MAX or (token.startswith("sk_") and not TOKEN.fullmatch(token)):
        raise Refused("key_invalid", "What stands in the Authorization header is no key.")
    return token


def _from_here(request: Request) -> bool:
    """Nothing says that the request came from elsewhere. A browser's page names the host that it was opened under."""
    if not FORWARDED.isdisjoint(headers_of(request.scope)) or not _is_here(request.address or "localhost"):
        return False
    return all(map(_is_name_of_here, request.headers(b"host")))


_is_here = lru_cache(maxsize=256)(is_loopback)


@lru_cache(maxsize=256)
def _is_name_of_here(host: str) -> bool:
    """Of a Host header; of the few names that a machine has."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return is_loopback(name) or name.endswith(".localhost")
