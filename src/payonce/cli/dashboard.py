"""``payonce dashboard``: an address that signs a person in, once; or everybody out."""

import sys
from typing import Annotated, Final

from cyclopts import Parameter

from payonce.bootstrap import SystemClock, SystemEntropy
from payonce.config import Settings, is_loopback
from payonce.merchants import DEFAULT_MERCHANT, Merchants
from payonce.merchants.journal import Journal
from payonce.merchants.keys import Keyring, KeyScope
from payonce.merchants.sessions import TICKET_LIFE_US, Sessions, sign_in_url
from payonce.ports import Registry

from . import NOT_FOUND, OK, REFUSED, USAGE
from .app import wait_for
from .options import HERE, Exit, Json, Where
from .output import is_terminal, put, put_json, say
from .reading import changing
from .who import operator_here

MINUTES: Final = TICKET_LIFE_US // 60_000_000


def dashboard(
    *,
    merchant: str = DEFAULT_MERCHANT,
    scope: Annotated[tuple[KeyScope, ...], Parameter(name="--scope")] = (),
    at: str = "",
    end_sessions: bool = False,
    yes: bool = False,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Print an address of the dashboard that signs in whoever opens it first, once, within ten minutes. The session
    lasts twelve hours and is on the record. It needs the same store as the server, which may be running.

    Parameters
    ----------
    merchant
        Whose payments it shows. With mer_default also what concerns whoever runs payonce.
    scope
        What one may do there: payments:read, payments:write, refunds:write, admin; once for each (default: admin). Reading
        is always among it.
    at
        The address of the server (default: server.public_url, else http:// server.host : server.port).
    end_sessions
        Print no address. Sign everybody of the merchant out instead, within a second or two; addresses that were printed before
        open nothing any more. Keys stay as they are: whoever has one may sign in again.
    yes
        With --end-sessions: do not ask first.
    """
    settings = where.settings()
    if settings.text("server.dashboard") == "off":
        raise Exit(USAGE, "payonce: server.dashboard is off: no server of these settings has pages. Nothing was changed.")
    if at and not at.startswith(("http://", "https://")):
        raise Exit(USAGE, "payonce: --at is an address such as http://127.0.0.1:8080. Nothing was changed.")
    if end_sessions:
        if scope or at:
            raise Exit(USAGE, "payonce: --end-sessions prints no address: leave out --scope and --at. Nothing was changed.")
        return wait_for(_end(settings, merchant.strip(), ask=not yes, as_json=json))
    scopes: tuple[KeyScope, ...] = ("payments:read", *scope) if scope else ("admin",)  # a dashboard without reading is empty
    return wait_for(_dashboard(settings, merchant.strip(), scopes, at or address_of(settings), as_json=json))


async def _end(settings: Settings, merchant: str, *, ask: bool, as_json: bool) -> int:
    async with changing(settings) as kept:
        registry, clock, entropy = kept.store.registry, SystemClock(), SystemEntropy()
        if await Merchants(registry, clock, entropy).get(merchant) is None:
            return _no_merchant(merchant)
        if ask:
            _confirm(merchant)
        sessions, tickets = await _sessions(settings, kept.store.registry).end_all(merchant, actor=operator_here())
    if as_json:
        put_json({"merchant": merchant, "sessions": sessions, "tickets": tickets})
    else:
        put(f"Ended {sessions} sessions of {merchant}, and {tickets} addresses that nobody had opened yet.")
    return OK


def _confirm(merchant: str) -> None:
    if not sys.stdin.isatty():
        raise Exit(USAGE, "payonce: add --yes to sign everybody out without being asked. Nothing was changed.")
    if input(f"Sign everybody of {merchant} out of the dashboard? Type yes: ").strip().lower() != "yes":
        raise Exit(REFUSED, "payonce: nobody was signed out.")


def _no_merchant(merchant: str) -> int:
    say(f"payonce: there is no merchant {merchant}. `payonce merchant list` shows them. Nothing was changed.")
    return NOT_FOUND


def _sessions(settings: Settings, registry: Registry) -> Sessions:
    clock, entropy = SystemClock(), SystemEntropy()
    keys, journal = Keyring(registry, clock, entropy), Journal(registry, clock)
    return Sessions(registry, clock, entropy, keys=keys, journal=journal, mode=settings.mode)


async def _dashboard(settings: Settings, merchant: str, scopes: tuple[KeyScope, ...], at: str, *, as_json: bool) -> int:
    async with changing(settings) as kept:
        registry, clock, entropy = kept.store.registry, SystemClock(), SystemEntropy()
        if await Merchants(registry, clock, entropy).get(merchant) is None:
            return _no_merchant(merchant)
        sessions = _sessions(settings, registry)
        url = sign_in_url(at, await sessions.print_ticket(merchant, scopes, by=operator_here()))
    if as_json:
        put_json({"url": url, "merchant": merchant, "scopes": list(scopes), "minutes": MINUTES})
    else:
        put(url)
        if is_terminal():
            say(f"It signs in once, within {MINUTES} minutes, as {', '.join(scopes)} of {merchant}.")
    return OK


def address_of(settings: Settings) -> str:
    """Where people reach the server of these settings, as far as they say."""
    if public := settings.text("server.public_url"):
        return public.rstrip("/")
    host, port = settings.text("server.host"), settings.number("server.port")
    if not port:
        raise Exit(
            USAGE, "payonce: server.port is 0, so its address is not known here: name it with --at. Nothing was changed."
        )
    named = host if is_loopback(host) or host not in ("0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 - only looked at
    return f"http://[{named}]:{port}" if ":" in named else f"http://{named}:{port}"
