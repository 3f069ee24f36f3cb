"""``payonce merchant create|list|show``: who uses this payonce."""

from typing import Any

from cyclopts import App

from payonce.bootstrap import SystemClock, SystemEntropy
from payonce.config import Settings
from payonce.core.errors import PayonceError, StoreUnavailable
from payonce.merchants import DEFAULT_MERCHANT, Merchant, Merchants
from payonce.merchants.issuing import Issued, Issuing, Wanted
from payonce.merchants.keys import ApiKey, Keyring
from payonce.ports import Registry

from . import OK
from .app import wait_for
from .keys import issuing, key_view, no_merchant, show_issued
from .options import HERE, STRICT, Json, Where
from .output import clean, counted, put, put_json, say, stamp, table
from .pages import Pages
from .reading import books, named_by

app = App(
    name="merchant",
    help="Who uses this payonce: payments, keys, endpoints and lists belong to one merchant each.",
    help_formatter=Pages(),
    default_parameter=STRICT,
)


@app.command
def create(name: str, /, *, no_key: bool = False, where: Where = HERE, json: Json = False) -> int:
    """Make a merchant, and its first key: of the server's mode, with payments:read, payments:write and refunds:write. The key
    is printed on standard output, once. On a data folder that is not there yet it makes the store.

    Parameters
    ----------
    name
        For people, 1 to 100 characters. The id is made here.
    no_key
        Make no key; `payonce key create --merchant ID` makes one later.
    """
    return wait_for(_create(where.settings(), name, key=not no_key, as_json=json))


@app.command(name="list")
def list_merchants(*, where: Where = HERE, json: Json = False) -> int:
    """Each merchant, mer_default first: it is always there. Tab-separated when it is not a terminal."""
    return wait_for(_list(where.settings(), as_json=json))


@app.command
def show(merchant: str, /, *, where: Where = HERE, json: Json = False) -> int:
    """One merchant, its keys, and the provider accounts that take its payments by the settings here.

    Parameters
    ----------
    merchant
        Its id, as in `payonce merchant list`.
    """
    return wait_for(_show(where.settings(), merchant.strip(), as_json=json))


async def _create(settings: Settings, name: str, *, key: bool, as_json: bool) -> int:
    async with issuing(settings, new=True) as issue:
        made = await issue.merchant(name)
        issued = await _first_key(issue, made, settings) if key else None
    if as_json:
        shown = {"key": key_view(issued.key, SystemClock().now_us()), "secret": issued.token} if issued else {"key": None}
        put_json({"merchant": _view(made), **shown})
        return OK
    put(made.id)
    say(f"{made.id} is {clean(made.name)}.")
    if issued:
        show_issued(issued, settings)
    else:
        say(f"It has no key yet: payonce key create --merchant {made.id}{named_by(settings)}")
    return OK


async def _first_key(issue: Issuing, made: Merchant, settings: Settings) -> Issued:
    try:
        return await issue.key(Wanted(merchant_id=made.id, mode=settings.mode))
    except PayonceError as error:
        more = f"payonce key create --merchant {made.id}{named_by(settings)}"
        raise StoreUnavailable(f"{made.id} was made, its key was not: {error} Make one with: {more}") from error


async def _list(settings: Settings, *, as_json: bool) -> int:
    async with books(settings) as book:
        found = await _merchants(book.store.registry).all()
        keys = await _keys(book.store.registry).all()
    now = SystemClock().now_us()
    live = {m.id: sum(k.merchant_id == m.id and k.live(now) for k in keys) for m in found}
    if as_json:
        put_json({"merchants": [{**_view(m), "liveKeys": live[m.id]} for m in found]})
        return OK
    rows = [(m.id, m.name, str(live[m.id]), stamp(m.created_us) if m.created_us else "") for m in found]
    table(("ID", "NAME", "KEYS", "CREATED"), rows)
    return OK


async def _show(settings: Settings, merchant_id: str, *, as_json: bool) -> int:
    async with books(settings) as book:
        merchant = await require_merchant(book.store.registry, merchant_id)
        keys = [k for k in await _keys(book.store.registry).all() if k.merchant_id == merchant_id]
        accounts = [name for name, a in book.outside.accounts.items() if a.serves(merchant_id, settings.mode)]
    now = SystemClock().now_us()
    if as_json:
        put_json({**_view(merchant), "keys": [key_view(k, now) for k in keys], "accounts": accounts})
        return OK
    put(f"{merchant.id}  {clean(merchant.name)}")
    put(f"Created   {stamp(merchant.created_us) if merchant.created_us else 'it is always there'}")
    put(f"Accounts  {', '.join(accounts) or 'none'} ({settings.mode} mode)")
    put(f"Keys      {counted(sum(k.live(now) for k in keys), 'live key')} of {len(keys)}")
    for k in keys:
        put(f"  {_line(k, now)}")
    return OK


def _line(key: ApiKey, now: int) -> str:
    named = f"  {clean(key.name)}" if key.name else ""
    return f"{key.id}  {key.mode}  {key.state(now)}  {','.join(key.scopes)}{named}"


def _view(merchant: Merchant) -> dict[str, Any]:
    return {
        "id": merchant.id,
        "name": merchant.name,
        "createdAt": stamp(merchant.created_us) if merchant.created_us else None,
        "default": merchant.id == DEFAULT_MERCHANT,
    }


async def require_merchant(registry: Registry, merchant: str) -> Merchant:
    """The merchant on record; ends the command when there is none."""
    found = await _merchants(registry).get(merchant)
    if found is None:
        raise no_merchant(merchant)
    return found


def _merchants(registry: Registry) -> Merchants:
    return Merchants(registry, SystemClock(), SystemEntropy())


def _keys(registry: Registry) -> Keyring:
    return Keyring(registry, SystemClock(), SystemEntropy())
