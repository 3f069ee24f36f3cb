"""``payonce endpoints …``: where merchants are told what happens to their payments, and how that stands."""

from typing import Final

from cyclopts import App

from payonce.bootstrap import App as OpenApp
from payonce.mail import Delivery
from payonce.outbound.endpoints import OVERLAP_S_MAX, Endpoint
from payonce.shown.endpoints import delivery_body, endpoint_body

from . import FAILURE, OK, REFUSED, UNAVAILABLE
from .app import wait_for
from .endpoint_store import OWN, At, Open, changing, looking, unknown
from .options import STRICT, Exit, Json
from .output import clean, counted, put, put_json, relative, say, stamp, table
from .pages import Pages
from .reading import books, named_by
from .remote import POLL_S
from .times import duration, moment
from .who import operator_here

REASON: Final = "asked for by an operator"
GRACE_US: Final = 5_000_000  # beyond the time that an endpoint may take
DISABLED: Final = "endpoint.disabled"  # what the journal calls it

app = App(
    name="endpoints",
    help="Where merchants are told what happens to their payments, by signed webhooks.",
    help_formatter=Pages(),
    default_parameter=STRICT,
)


@app.command(name="list")
def list_endpoints(*, at: At = OWN, json: Json = False) -> int:
    """List a merchant's endpoints of the server's mode, the oldest first. Tab-separated when it is not a terminal."""
    return wait_for(_list(at, as_json=json))


@app.command
def create(
    url: str,
    /,
    *,
    types: str = "",
    description: str = "",
    at: At = OWN,
    json: Json = False,
) -> int:
    """Register an endpoint, and print its id and the secret that its webhooks are signed with. `endpoints show --secret` shows
    that again.

    Parameters
    ----------
    url
        Where events are sent with POST: https, and a host with public addresses, unless webhooks.allow_hosts lets it in.
    types
        Which events, with commas between: payment.succeeded,refund.* (default: all).
    description
        For people.
    """
    return wait_for(_create(at, url.strip(), _types(types), description, as_json=json))


@app.command
def show(
    endpoint: str,
    /,
    *,
    secret: bool = False,
    at: At = OWN,
    json: Json = False,
) -> int:
    """Show one endpoint.

    Parameters
    ----------
    endpoint
        Its id, as in `payonce endpoints list`.
    secret
        With what its webhooks are signed.
    """
    return wait_for(_show(at, endpoint.strip(), secret=secret, as_json=json))


@app.command
def update(
    endpoint: str,
    /,
    *,
    url: str | None = None,
    types: str | None = None,
    description: str | None = None,
    at: At = OWN,
    json: Json = False,
) -> int:
    """Change an endpoint; what is not named stays. Deliveries that wait go to the new address, signed as before.

    Parameters
    ----------
    endpoint
        Its id, as in `payonce endpoints list`.
    url
        As for `payonce endpoints create`.
    types
        As for `payonce endpoints create`; all, for all events.
    description
        For people.
    """
    wanted = None if types is None else () if types.strip() == "all" else _types(types)
    to = url.strip() if url is not None else None
    return wait_for(_update(at, endpoint.strip(), url=to, types=wanted, description=description, as_json=json))


@app.command
def remove(endpoint: str, /, *, at: At = OWN, json: Json = False) -> int:
    """Remove an endpoint. What is pending for it is canceled when its turn comes.

    Parameters
    ----------
    endpoint
        Its id, as in `payonce endpoints list`.
    """
    return wait_for(_remove(at, endpoint.strip(), as_json=json))


@app.command
def enable(
    endpoint: str,
    /,
    *,
    no_recover: bool = False,
    at: At = OWN,
    json: Json = False,
) -> int:
    """Send to an endpoint again, and recover what happened since it was disabled.

    Parameters
    ----------
    endpoint
        Its id, as in `payonce endpoints list`.
    no_recover
        Send only what happens from now on.
    """
    return wait_for(_enable(at, endpoint.strip(), recovers=not no_recover, as_json=json))


@app.command
def disable(
    endpoint: str,
    /,
    *,
    reason: str = REASON,
    at: At = OWN,
    json: Json = False,
) -> int:
    """Send nothing more to an endpoint. What is pending for it is canceled when its turn comes.

    Parameters
    ----------
    endpoint
        Its id, as in `payonce endpoints list`.
    reason
        Why, for its merchant to see.
    """
    return wait_for(_disable(at, endpoint.strip(), reason.strip(), as_json=json))


@app.command
def rotate(
    endpoint: str,
    /,
    *,
    overlap: str = "24h",
    at: At = OWN,
    json: Json = False,
) -> int:
    """Give an endpoint a new secret, and print it.

    Parameters
    ----------
    endpoint
        Its id, as in `payonce endpoints list`.
    overlap
        How long its webhooks are signed with the old secret, too (0s to 7d).
    """
    overlap_s = duration("--overlap", overlap, least_s=0, most_s=OVERLAP_S_MAX)
    return wait_for(_rotate(at, endpoint.strip(), overlap_s, as_json=json))


@app.command(name="test")
def try_once(endpoint: str, /, *, at: At = OWN, json: Json = False) -> int:
    """Send a test event to an endpoint, once, now and from here; to a disabled one, too. Exit code 1 when the endpoint did not
    take it, 6 when that is not known yet.

    Parameters
    ----------
    endpoint
        Its id, as in `payonce endpoints list`.
    """
    return wait_for(_test(at, endpoint.strip(), as_json=json))


@app.command
def recover(endpoint: str, /, *, since: str, at: At = OWN, json: Json = False) -> int:
    """Send an endpoint all events since a time that it has not taken. A running server or worker does it.

    Parameters
    ----------
    endpoint
        Its id, as in `payonce endpoints list`.
    since
        From when on (RFC 3339, such as 2026-11-24 or 2026-11-24T10:00:00Z).
    """
    since_us = max(moment("--since", since), 0)
    return wait_for(_recover(at, endpoint.strip(), since_us, as_json=json))


# --- what they do -----------------------------------------------------------------------------------------------------


async def _list(at: At, *, as_json: bool) -> int:
    async with books(at.settings()) as book:
        found = await looking(book.store.registry, book.clock).all(await at.scope(book.store.registry))
        now = book.clock.now_us()
    if as_json:
        put_json({"data": [endpoint_body(e, now) for e in found]})
        return OK
    head = ("ID", "URL", "TYPES", "STATE", "FAILING SINCE", "DESCRIPTION", "CREATED")
    table(head, [_row(e) for e in found])
    if not found:
        say("There is no endpoint. `payonce endpoints create URL` registers one.")
    return OK


async def _create(at: At, url: str, types: tuple[str, ...], description: str, *, as_json: bool) -> int:
    async with changing(at) as its:
        known = next((e for e in await its.endpoints.all(its.scope) if e.url == url), None)
        if known is not None:
            raise Exit(
                REFUSED, f"payonce: {known.id} leads there already. Nothing was registered; `payonce endpoints update` it."
            )
        made = await its.endpoints.create(its.scope, url, types, description, actor=operator_here())
        _told(its, made, secret=True, as_json=as_json)
    if not as_json:
        say(f"Try it: payonce endpoints test {made.id}{at.flag}{named_by(at.settings())}")
    return OK


async def _show(at: At, id: str, *, secret: bool, as_json: bool) -> int:
    if secret:
        async with changing(at) as its:
            _told(its, await its.one(id), secret=True, as_json=as_json)
        return OK
    async with books(at.settings()) as book:
        scope = await at.scope(book.store.registry)
        found, now = await looking(book.store.registry, book.clock).get(scope, id), book.clock.now_us()
    if found is None:
        raise unknown(at, id)
    if as_json:
        put_json(endpoint_body(found, now))
    else:
        _told_person(found, now)
    return OK


async def _update(
    at: At, id: str, *, url: str | None, types: tuple[str, ...] | None, description: str | None, as_json: bool
) -> int:
    async with changing(at) as its:
        await its.one(id)
        changed = await its.endpoints.change(
            its.scope, id, url=url, types=types, description=description, actor=operator_here()
        )
        _told(its, changed, as_json=as_json)
    return OK


async def _remove(at: At, id: str, *, as_json: bool) -> int:
    async with changing(at) as its:
        gone = await its.one(id)
        await its.endpoints.remove(its.scope, id, actor=operator_here())
    if as_json:
        put_json({"removed": gone.id})
    else:
        put(f"{gone.id} is removed: nothing more is sent to {clean(gone.url)}.")
    return OK


async def _enable(at: At, id: str, *, recovers: bool, as_json: bool) -> int:
    async with changing(at) as its:
        before = await its.one(id)
        since_us = await _off_us(its.app, before) if recovers and before.state == "disabled" else 0
        after = await its.endpoints.enable(its.scope, id, reason=REASON, actor=operator_here())
        many = await its.courier.recover(its.scope, id, since_us, actor=operator_here()) if since_us else 0
        _told(its, after, as_json=as_json)
    if since_us and not as_json:
        say(f"{counted(many, 'event')} since {stamp(since_us)}, when it stopped taking them, will be sent.")
    return OK


async def _off_us(app: OpenApp, e: Endpoint) -> int:
    """Since when it has taken nothing: it failed, or it was disabled, as the journal has it; 0 when neither is on record."""
    written = await app.journal.read()
    off = next((w.act.at_us for w in reversed(written) if (w.act.what, w.act.subject) == (DISABLED, e.id)), 0)
    return min(off, e.failing_since_us) if off and e.failing_since_us else off


async def _disable(at: At, id: str, reason: str, *, as_json: bool) -> int:
    async with changing(at) as its:
        await its.one(id)
        _told(its, await its.endpoints.disable(its.scope, id, reason=clean(reason), actor=operator_here()), as_json=as_json)
    return OK


async def _rotate(at: At, id: str, overlap_s: int, *, as_json: bool) -> int:
    async with changing(at) as its:
        await its.one(id)
        fresh = await its.endpoints.rotate(its.scope, id, overlap_s=overlap_s, actor=operator_here())
        _told(its, fresh, secret=True, as_json=as_json)
    return OK


async def _test(at: At, id: str, *, as_json: bool) -> int:
    async with changing(at) as its:
        await its.one(id)
        made = await its.courier.test(its.scope, id, actor=operator_here())
        d = await _tried(its, made)
    if as_json:
        put_json(delivery_body(d))
    elif d.state == "pending":
        put(f"{d.id} is under way still. `payonce deliveries show {d.id}{at.flag}` shows what came of it.")
    elif d.state == "delivered":
        put(f"{d.id} was taken: {d.status}.")
    else:
        put(f"{d.id} was not taken: {d.status or 'no answer'} {clean(d.said)}".rstrip())
    return {"delivered": OK, "pending": UNAVAILABLE}.get(d.state, FAILURE)


async def _tried(its: Open, made: Delivery) -> Delivery:
    """What came of the one try, ours or that of a running server, which may have been quicker."""
    app, d = its.app, made
    until_us = app.clock.monotonic_us() + app.settings.number("webhooks.timeout_ms") * 1000 + GRACE_US
    while d.state == "pending" and app.clock.monotonic_us() < until_us:
        await its.courier.resolve(d.id)
        d = await app.store.outbox.get(d.id) or made
        if d.state == "pending":
            await app.clock.sleep(POLL_S)
    return d


async def _recover(at: At, id: str, since_us: int, *, as_json: bool) -> int:
    async with changing(at) as its:
        await its.one(id)
        many = await its.courier.recover(its.scope, id, since_us, actor=operator_here())
    if as_json:
        put_json({"deliveries": many})
    else:
        put(f"{counted(many, 'event')} will be sent; the rest of a long range is left to a running server or worker.")
    return OK


# --- what they share --------------------------------------------------------------------------------------------------


def _types(text: str) -> tuple[str, ...]:
    """Which are good is for the endpoints to say."""
    return tuple(dict.fromkeys(part for part in (each.strip() for each in text.split(",")) if part))


def _told(its: Open, e: Endpoint, *, secret: bool = False, as_json: bool) -> None:
    shown, now = its.endpoints.secrets(e)[0] if secret else None, its.app.clock.now_us()
    if as_json:
        put_json(endpoint_body(e, now, shown))
        return
    _told_person(e, now)
    if shown:
        put(shown)


def _told_person(e: Endpoint, now: int) -> None:
    put(f"{e.id}  {e.state}  {clean(e.url)}")
    put(f"  events       {', '.join(e.types) or 'all'}")
    if e.description:
        put(f"  description  {clean(e.description)}")
    if e.reason:
        put(f"  disabled     {clean(e.reason)}")
    if e.failing_since_us:
        put(f"  failing      since {stamp(e.failing_since_us)} ({relative(e.failing_since_us, now)})")
    if e.old_until_us > now:
        put(f"  old secret   signs too, until {stamp(e.old_until_us)}")


def _row(e: Endpoint) -> tuple[str, ...]:
    failing = stamp(e.failing_since_us) if e.failing_since_us else ""
    return (e.id, e.url, ",".join(e.types) or "all", e.state, failing, e.description, stamp(e.created_us))
