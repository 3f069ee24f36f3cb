"""Signing in and out: by a ticket that a command printed, or by an API key; the cookie of the session; light and dark."""

import base64
import binascii
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from msgspec import Struct

from payonce.core.errors import Refused
from payonce.core.payment import Mode
from payonce.merchants.keys import Caller, Keyring
from payonce.merchants.sessions import LIFE_US, Sessions, SignedIn, caller_of, csrf_of, same, signed
from payonce.ports import Clock

from .answering import NO_STORE, Sent, see_other
from .asking import Turned
from .incoming import FOREIGN, Came, first, own_path
from .rendering import Renderer

COOKIE: Final = "payonce_session"
SECURE_COOKIE: Final = "__Host-payonce"  # browsers take it over TLS only, from this host only (RFC 6265bis, 4.1.3.2)
NOTICE: Final = "payonce_notice"
THEME: Final = "payonce_theme"
THEMES: Final = ("auto", "light", "dark")
NOTICE_S: Final = 60
NOTICE_CHARS_MAX: Final = 500
THEME_S: Final = 365 * 86_400
TRIES_PER_S: Final = 2  # of keys that open nothing, over all visitors; and of sign-ins with one key
TRIES_BURST: Final = 10
CLEAR: Final = (b"clear-site-data", b'"cache"')
TICKET_DEAD: Final = (
    "This address has been used, or it is older than ten minutes, or it is of another payonce. Nobody was signed in. "
    "Ask for a new one: payonce dashboard."
)
NO_TLS: Final = (
    "In live mode one signs in over https only, or on the machine itself (http://127.0.0.1). This page came in the clear from "
    "elsewhere. Put something in front that speaks TLS and set server.public_url to its https address."
)


class Porter(Protocol):
    """What of the API's door the dashboard needs: its requests count as all others do."""

    def lobby(self) -> AbstractContextManager[None]: ...
    def share(self, caller: Caller) -> AbstractContextManager[None]: ...
    def pace(self, caller: Caller) -> None: ...


class Guest(Struct, frozen=True):
    """Who is signed in, and with which token."""

    token: str
    who: SignedIn

    @property
    def caller(self) -> Caller:
        return self.who.caller

    @property
    def csrf(self) -> str:
        return csrf_of(self.token)


class Tries:
    """How often something may be tried: ``TRIES_BURST`` at once after a rest, then ``TRIES_PER_S``. 160 random bits are not
    guessed, but each try costs."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._full_us = clock, 0

    def take(self) -> bool:
        """One try more; False: there were too many."""
        now, each = self._clock.monotonic_us(), 1_000_000 // TRIES_PER_S
        full = max(self._full_us, now) + each
        if full - now > TRIES_BURST * each:
            return False
        self._full_us = full
        return True


class Ushers:
    """The door of the dashboard."""

    def __init__(self, sessions: Sessions, keys: Keyring, clock: Clock, renderer: Renderer, mode: Mode) -> None:
        self._sessions, self._keys, self._renderer, self._mode = sessions, keys, renderer, mode
        self._clock = clock
        self._wrong = Tries(clock)
        self._right: dict[str, Tries] = {}  # by key on record, of which there are not many; each sign-in is written down

    async def guest(self, came: Came) -> Guest | None:
        """Who is signed in. Raises StoreUnavailable."""
        token = came.cookie(_cookie_of(came))
        who = await self._sessions.of(token) if token else None
        return Guest(token, who) if who else None

    def require_form(self, came: Came, guest: Guest, fields: dict[str, tuple[str, ...]]) -> None:
        """The form is of this session and of a page of ours. Raises Turned ``form_foreign``."""
        came.require_own()
        if len(fields.get("csrf", ())) != 1 or not same(fields["csrf"][0], guest.csrf):
            raise Turned(403, FOREIGN)

    # --- pages ----------------------------------------------------------------------------------------------------------

    async def sign_in(self, came: Came, guest: Guest | None) -> Sent:
        """The page, a ticket, or a key."""
        query = first(came.query())
        if came.method == "POST":
            return await self._by_key(came, guest)
        ticket = query.get("ticket", "")
        if ticket and came.scope["method"] == "GET":
            return await self._by_ticket(came, ticket, guest)
        if guest is not None:
            return see_other(came.base, own_path(query.get("next", "/")))
        return self.page(came, went_on=own_path(query.get("next", "/")))

    async def _by_ticket(self, came: Came, ticket: str, guest: Guest | None) -> Sent:
        if "prefetch" in came.header(b"sec-purpose").lower() or "prefetch" in came.header(b"purpose").lower():
            return Sent(403)  # nobody looks yet: the one use is for who does
        if self._too_open(came):
            return self.page(came, status=403)
        token = await self._sessions.by_ticket(ticket, actor=came.actor("operator:dashboard"), request_id=came.request_id)
        if token is None and guest is not None:  # pressed reload, or opened it twice
            return see_other(came.base, "/")
        if token is None:
            return self.page(came, says=TICKET_DEAD, status=403)
        return see_other(came.base, "/", self._set(came, token))

    async def _by_key(self, came: Came, guest: Guest | None) -> Sent:
        """Tries that fail are counted over all visitors, those that do not by their key: however many strangers try, a right
        key opens."""
        came.require_own()
        if self._too_open(came):
            return self.page(came, status=403)
        fields = first(await came.form())
        went_on = own_path(fields.get("next", "/"))
        key = await self._keys.check(fields.get("key", "").strip())
        known = key if key is not None and key.mode == self._mode else None
        if not (self._right.setdefault(known.id, Tries(self._clock)) if known else self._wrong).take():
            said = "Too many keys were tried just now. Nobody was signed in. Wait some seconds and try again."
            return self.page(came, went_on=went_on, says=said, status=429).plus((b"retry-after", b"5"))
        if known is None:
            said = (
                f"This key opens nothing here ({self._mode} mode): it is unknown, wrong, expired, revoked or of the other "
                "mode. `payonce key list` shows what there is."
            )
            return self.page(came, went_on=went_on, says=said, status=403)
        if not caller_of(known).may("payments:read"):
            said = f"{known.id} may not read payments, so that there is nothing to show. Use a key with payments:read."
            return self.page(came, went_on=went_on, says=said, status=403)
        token = await self._sessions.by_key(known, actor=came.actor(known.id), request_id=came.request_id)
        if guest is not None:
            await self._sessions.end(guest.token, actor=came.actor(guest.caller.who), request_id=came.request_id)
        return see_other(came.base, went_on, self._set(came, token))

    async def sign_out(self, came: Came, guest: Guest) -> Sent:
        await self._sessions.end(guest.token, actor=came.actor(guest.caller.who), request_id=came.request_id)
        gone = _cookie(_cookie_of(came), "", _path_of(came), 0, secure=came.secure)
        return see_other(came.base, "/sign-in", gone, CLEAR)

    def theme(self, came: Came, fields: dict[str, str]) -> Sent:
        """Light, dark, or as the system has it, for this browser."""
        theme = fields.get("theme", "")
        if theme not in THEMES:
            raise Refused("validation_failed", "theme is auto, light or dark.")
        kept = _cookie(THEME, theme, came.base, THEME_S, secure=came.secure)
        return see_other(came.base, own_path(fields.get("back", "/")), kept)

    def page(self, came: Came, *, went_on: str = "/", says: str = "", tone: str = "bad", status: int = 200) -> Sent:
        """The sign-in page. ``says``: what just happened."""
        data: dict[str, Any] = {
            "theme": theme_of(came),
            "heading": "Sign in",
            "says": says,
            "tone": tone,
            "closed": NO_TLS if self._too_open(came) else "",
            "next": went_on,
            "mode": self._mode,
            "api_url": came.api_url,
        }
        return Sent(status, self._renderer.page("sign_in.html", came.base, data), headers=(NO_STORE,))

    def _too_open(self, came: Came) -> bool:
        return self._mode == "live" and not (came.secure or came.local)

    def _set(self, came: Came, token: str) -> tuple[bytes, bytes]:
        return _cookie(_cookie_of(came), token, _path_of(came), LIFE_US // 1_000_000, secure=came.secure)


# --- cookies ----------------------------------------------------------------------------------------------------------


def theme_of(came: Came) -> str:
    theme = came.cookie(THEME)
    return theme if theme in THEMES else "auto"


def notice_cookie(came: Came, guest: Guest, text: str, tone: str) -> tuple[bytes, bytes]:
    """What the next page says, once. Signed by the session: no other site can put words into our mouth."""
    raw = base64.urlsafe_b64encode(f"{tone}\n{text[:NOTICE_CHARS_MAX]}".encode()).decode()
    value = f"{raw}.{signed(guest.token, raw.encode())}"
    return _cookie(NOTICE, value, came.base, NOTICE_S, secure=came.secure)


def notice_of(came: Came, guest: Guest) -> dict[str, str] | None:
    raw, _, signature = came.cookie(NOTICE).partition(".")
    if not raw or not same(signature, signed(guest.token, raw.encode())):
        return None
    try:
        tone, _, text = base64.urlsafe_b64decode(raw).decode().partition("\n")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return {"tone": tone, "text": text}


def notice_gone(came: Came) -> tuple[bytes, bytes]:
    return _cookie(NOTICE, "", came.base, 0, secure=came.secure)


def _cookie_of(came: Came) -> str:
    return SECURE_COOKIE if came.secure else COOKIE


def _path_of(came: Came) -> str:
    return "/" if came.secure else came.base


def _cookie(name: str, value: str, path: str, age_s: int, *, secure: bool) -> tuple[bytes, bytes]:
    text = f"{name}={value}; Path={path}; Max-Age={age_s}; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")
    return b"set-cookie", text.encode("ascii")
