"""``payonce key create|list|revoke|rotate``: the keys that merchants' programs show."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from payonce.bootstrap import SystemClock, SystemEntropy
from payonce.config import Settings
from payonce.core.errors import Refused
from payonce.core.payment import Mode
from payonce.merchants import DEFAULT_MERCHANT, Merchants
from payonce.merchants.issuing import DEFAULT_SCOPES, Issued, Issuing, Rotated, Wanted
from payonce.merchants.journal import Journal
from payonce.merchants.keys import RATE_MAX, ApiKey, Keyring, KeyScope
from payonce.ports import Registry
from payonce.storage import Kept, opened

from . import NOT_FOUND, OK, USAGE
from .app import exit_code, wait_for
from .options import HERE, STRICT, Exit, Json, Where
from .output import clean, put, put_json, relative, say, stamp, table
from .pages import Pages
from .reading import books, changing
from .times import duration
from .who import operator_here

YEAR_S: Final = 366 * 86_400
LIFE_MAX_S: Final = 10 * YEAR_S
OVERLAP_MAX_S: Final = 30 * 86_400
SECOND_US: Final = 1_000_000
ONCE: Final = "This is the only time that the key is shown: only a hash of it is kept."

app = App(
    name="key",
    help="The keys that merchants' programs send: make, list, end and replace them.",
    help_formatter=Pages(),
    default_parameter=STRICT,
)


@app.command
def create(
    *,
    merchant: str = DEFAULT_MERCHANT,
    mode: Mode | None = None,
    scope: Annotated[tuple[KeyScope, ...], Parameter(name="--scope")] = (),
    name: str = "",
    expires_in: str = "",
    rate: int = 0,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Make a key and print it on standard output, once. Every server on this store takes it within two seconds. On a data
    folder that is not there yet it makes the store.

    Parameters
    ----------
    merchant
        Whose rows it opens; `payonce merchant list` shows them.
    mode
        test or live (default: server.mode). A server takes the keys of its own mode only.
    scope
        What it may do: payments:read, payments:write, refunds:write, admin; once for each (default: the first three).
    name
        For people, such as the program that uses it.
    expires_in
        Its life, such as 90d (1m to 3660d; default: without an end).
    rate
        Requests a second that it may make in each server process (default: limits.key_rate_per_s).
    """
    life_s = _life("--expires-in", expires_in)
    if rate > RATE_MAX:
        raise Exit(USAGE, f"payonce: --rate is 1 to {RATE_MAX} requests a second. Nothing was changed.")
    settings = where.settings()
    wanted = Wanted(
        merchant_id=merchant.strip(),
        mode=mode or settings.mode,
        scopes=scope or DEFAULT_SCOPES,
        name=name.strip(),
        expires_us=_ends(life_s),
        rate_per_s=rate,
    )
    return wait_for(_create(settings, wanted, as_json=json))


@app.command(name="list")
def list_keys(*, merchant: str = "", where: Where = HERE, json: Json = False) -> int:
    """Each key on record, without its secret: whose it is, what it may do, and whether it is live, ending (replaced, and live
    until its end), expired or revoked. A key begins with sk_, its mode, and then the 20 characters of its id.

    Tab-separated when it is not a terminal.

    Parameters
    ----------
    merchant
        Only this one's.
    """
    return wait_for(_list(where.settings(), merchant.strip(), as_json=json))


@app.command
def revoke(key: str, /, *, where: Where = HERE, json: Json = False) -> int:
    """End a key now, for good. Every server on this store refuses it within two seconds (a minute, while its store does not
    answer). What was accepted with it goes on.

    Parameters
    ----------
    key
        Its id, as in `payonce key list`.
    """
    return wait_for(_revoke(where.settings(), key.strip(), as_json=json))


@app.command
def rotate(key: str, /, *, overlap: str = "24h", expires_in: str | None = None, where: Where = HERE, json: Json = False) -> int:
    """Replace a key: a new one with the same merchant, mode, scopes, name and rate is printed, once; the old one ends after the
    overlap, and until then both are taken. The new one expires when the old one would have, unless --expires-in says otherwise.

    Parameters
    ----------
    key
        The old one's id, as in `payonce key list`.
    overlap
        How long the old one still works (0s to 30d).
    expires_in
        The new one's life from now, such as 90d, or never.
    """
    overlap_s = duration("--overlap", overlap, least_s=0, most_s=OVERLAP_MAX_S)
    life_s = None if expires_in is None else 0 if expires_in.strip() == "never" else _life("--expires-in", expires_in)
    return wait_for(_rotate(where.settings(), key.strip(), overlap_s, life_s, as_json=json))


def _life(flag: str, text: str) -> int:
    """Seconds; 0 = without an end."""
    return duration(flag, text, least_s=60, most_s=LIFE_MAX_S) if text else 0


async def _create(settings: Settings, wanted: Wanted, *, as_json: bool) -> int:
    async with issuing(settings, new=True) as issue:
        issued = await issue.key(wanted)
    if as_json:
        put_json({"key": key_view(issued.key, SystemClock().now_us()), "secret": issued.token})
    else:
        show_issued(issued, settings)
    return OK


async def _list(settings: Settings, merchant: str, *, as_json: bool) -> int:
    async with books(settings) as book:
        keys, now = _keyring(book.store.registry), book.clock.now_us()
        if merchant and await _merchants(book.store.registry).get(merchant) is None:
            raise no_merchant(merchant)
        found = [key for key in await keys.all() if merchant in ("", key.merchant_id)]
        unreadable = await keys.unreadable()
    if as_json:
        put_json({"keys": [key_view(key, now) for key in found], "unreadable": unreadable})
    else:
        head = ("ID", "MERCHANT", "MODE", "SCOPES", "NAME", "STATE", "ENDS", "RATE", "CREATED")
        table(head, [_row(key, now) for key in found])
        if not found:
            say("There is no key. `payonce key create` makes one.")
    for name in unreadable:
        say(f"{clean(name)[:80]}: its record is damaged or of a newer payonce; it opens nothing here.")
    return OK


async def _revoke(settings: Settings, key_id: str, *, as_json: bool) -> int:
    async with issuing(settings) as issue:
        key = await issue.revoke(key_id)
    if as_json:
        put_json(key_view(key, SystemClock().now_us()))
        return OK
    put(f"{key.id} is revoked since {stamp(key.ends_us)}: it opens nothing any more.")
    if key.successor:
        say(f"It was replaced by {key.successor}, which goes on.")
    return OK


async def _rotate(settings: Settings, key_id: str, overlap_s: int, life_s: int | None, *, as_json: bool) -> int:
    async with issuing(settings) as issue:
        expires = None if life_s is None else _ends(life_s)
        done = await issue.rotate(key_id, overlap_s * SECOND_US, expires)
    now = SystemClock().now_us()
    if as_json:
        put_json({"key": key_view(done.new.key, now), "secret": done.new.token, "replaced": key_view(done.old, now)})
    else:
        _show_rotated(done, settings, now, kept=life_s is None)
    return OK


def _show_rotated(done: Rotated, settings: Settings, now: int, *, kept: bool) -> None:
    show_issued(done.new, settings)
    say(f"{done.old.id} ends {stamp(done.old.ends_us)} ({relative(done.old.ends_us, now)}).")
    if kept and done.new.key.expires_us:
        say("The new key expires when the old one would have; `--expires-in` gives it a life of its own.")


@asynccontextmanager
async def issuing(settings: Settings, *, new: bool = False) -> AsyncIterator[Issuing]:
    """The store, opened to make and end keys; with ``new`` one that is not there is made. Refusals become messages."""
    async with opened(settings, SystemClock()) if new else changing(settings) as kept:
        try:
            yield _issuing(kept)
        except Refused as error:
            raise Exit(exit_code(error), f"payonce: {clean(error.detail)}\nNothing was changed.") from None


def _issuing(kept: Kept) -> Issuing:
    registry, clock = kept.store.registry, SystemClock()
    return Issuing(_merchants(registry), _keyring(registry), Journal(registry, clock), clock, operator_here())


def _merchants(registry: Registry) -> Merchants:
    return Merchants(registry, SystemClock(), SystemEntropy())


def _keyring(registry: Registry) -> Keyring:
    return Keyring(registry, SystemClock(), SystemEntropy())


def _ends(life_s: int) -> int:
    return SystemClock().now_us() + life_s * SECOND_US if life_s else 0


def no_merchant(merchant: str) -> Exit:
    return Exit(
        NOT_FOUND,
        f"payonce: there is no merchant {clean(merchant)[:80]!r}. `payonce merchant list` shows them. Nothing was changed.",
    )


def show_issued(issued: Issued, settings: Settings) -> None:
    """The key alone on standard output, so that a script can take it; the rest for a person."""
    key = issued.key
    put(issued.token)
    until = f"until {stamp(key.expires_us)}" if key.expires_us else "without an end"
    say(f"{key.id} of {key.merchant_id}, {key.mode} mode, {', '.join(key.scopes)}, {until}.")
    say(ONCE)
    if key.mode != settings.mode:
        say(f"The settings here are of {settings.mode} mode: a server with them does not take this key.")


def key_view(key: ApiKey, now: int) -> dict[str, Any]:
    """Without salt and hash."""
    return {
        "id": key.id,
        "merchant": key.merchant_id,
        "mode": key.mode,
        "scopes": key.scopes,
        "name": key.name,
        "state": key.state(now),
        "createdAt": stamp(key.created_us),
        "expiresAt": stamp(key.expires_us) if key.expires_us else None,
        "endsAt": stamp(key.ends_us) if key.ends_us else None,
        "successor": key.successor or None,
        "ratePerS": key.rate_per_s or None,
    }


def _row(key: ApiKey, now: int) -> tuple[str, ...]:
    ends = min((at for at in (key.expires_us, key.ends_us) if at), default=0)
    created = stamp(key.created_us)
    rate = str(key.rate_per_s) if key.rate_per_s else ""
    told = relative(ends, now) if ends else ""
    return (key.id, key.merchant_id, key.mode, ",".join(key.scopes), key.name, key.state(now), told, rate, created)
