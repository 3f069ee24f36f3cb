"""What ``payonce doctor`` says of merchants: their keys, their accounts, and whether they are told of their payments."""

from collections.abc import AsyncIterator, Iterable

import msgspec

from payonce.bootstrap import SystemClock, SystemEntropy
from payonce.config import Settings, is_loopback
from payonce.merchants import Merchant, Merchants
from payonce.merchants.keys import ApiKey, Keyring
from payonce.outbound.endpoints import KIND, Endpoint

from .doctor import Check
from .output import span
from .reading import Books

SOON_US = 14 * 86_400 * 1_000_000
NAMED_MAX = 5  # ids in one finding


async def look_at_merchants(book: Books) -> AsyncIterator[Check]:
    """Reads the registry and the outbox only. Raises StoreUnavailable."""
    settings, registry, clock = book.settings, book.store.registry, SystemClock()
    merchants = await Merchants(registry, clock, SystemEntropy()).all()
    keys = await Keyring(registry, clock, SystemEntropy()).all()
    live = [key for key in keys if key.live(now := clock.now_us()) and key.mode == settings.mode]
    yield Check("merchants", "ok", f"{len(merchants)} on record, with {len(live)} live API keys of {settings.mode} mode")
    yield _door(settings, live, known=any(key.mode == settings.mode for key in keys))
    if soon := [key for key in live if key.expires_us and key.expires_us < now + SOON_US and not key.successor]:
        first = min(key.expires_us for key in soon) - now
        says = f"{_named(key.id for key in soon)} expire within 14 days, the first one in {span(first)}"
        yield Check("keys that expire", "warn", says, "`payonce key rotate ID`: the old one goes on for as long as you say.")
    for each in _accounts(settings, merchants):
        yield each
    found = [msgspec.json.decode(record.value, type=Endpoint) for record in await registry.all(KIND)]
    off = [each for each in found if each.state == "disabled" and each.mode == settings.mode]
    if off:
        says = f"disabled: {'; '.join(f'{each.id} ({each.reason})' for each in off[:NAMED_MAX])}{_more(len(off))}"
        yield Check("endpoints", "warn", says, "`payonce endpoints list`, then enable it, and recover what it missed.")
    else:
        yield Check("endpoints", "ok", f"{len(found)} on record, none is disabled")
    told = await book.store.outbox.counts()
    says = ", ".join(f"{n} {state}" for state, n in sorted(told.items())) or "there were none"
    fix = "`payonce deliveries list --state failed`; replay them, or recover the endpoint." if told.get("failed") else ""
    yield Check("deliveries", "warn" if fix else "ok", says, fix)


def _door(settings: Settings, live: list[ApiKey], *, known: bool) -> Check:
    """Who gets in. ``known``: a key of the mode was made at some time."""
    make = f"`payonce key create --mode {settings.mode}`."
    if live:
        return Check("keys", "ok", "every request of a merchant needs an API key")
    host = settings.text("server.host")
    if not is_loopback(host):
        return Check("keys", "fail", f"there is none, and server.host is {host}: `payonce serve` refuses to start", make)
    if known or settings.text("server.keys") == "required":
        return Check("keys", "warn", "a key is needed and there is no live one: nobody gets in", make)
    return Check("keys", "ok", "there is none: whoever is on this machine is mer_default")


def _accounts(settings: Settings, merchants: Iterable[Merchant]) -> Iterable[Check]:
    """Accounts that nobody can use, and merchants that can use none."""
    ids = [m.id for m in merchants]
    here = [p for p in settings.providers if p.mode == settings.mode]
    for p in here:
        if not any(p.serves(id) for id in ids):
            says = (
                f"it takes payments of {p.whose} only: no merchant on record can use it" if p.merchants else "it serves nobody"
            )
            fix = f'`payonce merchant list` shows ids; correct merchants of [providers.{p.name}] ("*" is everybody).'
            yield Check(f"account {p.name}", "warn", says, fix)
    left = [id for id in ids if here and not any(p.serves(id) for p in here)]
    if left:
        says = f"{_named(left)} can use no account of {settings.mode} mode: their payments are refused (no_route)"
        yield Check("merchants' accounts", "warn", says, "Add them to merchants of a [providers.NAME], or remove their keys.")


def _named(ids: Iterable[str]) -> str:
    listed = list(ids)
    return ", ".join(listed[:NAMED_MAX]) + _more(len(listed))


def _more(number: int) -> str:
    return f" and {number - NAMED_MAX} more" if number > NAMED_MAX else ""
