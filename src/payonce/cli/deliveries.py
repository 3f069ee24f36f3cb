"""``payonce deliveries list|show|replay``: events on their way to merchants' endpoints."""

from typing import Annotated, Final, NamedTuple

from cyclopts import App, Parameter

from payonce.api.endpoints import DELIVERIES_LIMIT_MAX, TYPES, deliveries_page
from payonce.mail import Delivery, DeliveryState, Outbox
from payonce.ports import Scope
from payonce.shown.endpoints import DeliveryBody, delivery_body

from . import NOT_FOUND, OK, USAGE
from .app import wait_for
from .endpoint_store import OWN, At, changing
from .options import STRICT, Exit, Json
from .output import clean, put, put_json, say, table
from .pages import Pages
from .reading import books
from .who import operator_here

app = App(
    name="deliveries",
    help="Events on their way to merchants' endpoints: what was taken, what failed, and when it is tried again.",
    help_formatter=Pages(),
    default_parameter=STRICT,
)
HEAD: Final = ("ID", "ENDPOINT", "TYPE", "PAYMENT", "STATE", "TRIES", "STATUS", "ERROR", "NEXT TRY", "CREATED")


@app.command(name="list")
def list_deliveries(
    *,
    endpoint: str | None = None,
    state: DeliveryState | None = None,
    type: str | None = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"])] = 20,
    cursor: str | None = None,
    at: At = OWN,
    json: Json = False,
) -> int:
    """List deliveries, newest first. Tab-separated when it is not a terminal.

    Parameters
    ----------
    endpoint
        To this endpoint.
    state
        pending (it is tried now or later), delivered, failed (all tries were in vain) or canceled.
    type
        Of events of this type; a page may be short or empty although there is more.
    limit
        Rows, 1 to 100.
    cursor
        Where the page before ended.
    """
    if not 1 <= limit <= DELIVERIES_LIMIT_MAX:
        raise Exit(USAGE, f"payonce: --limit is 1 to {DELIVERIES_LIMIT_MAX}.")
    if type is not None and type not in TYPES:
        raise Exit(USAGE, f"payonce: --type is one of {', '.join(TYPES)}.")
    return wait_for(_list(at, Wanted(endpoint, state, type, limit, cursor), as_json=json))


@app.command
def show(delivery: str, /, *, at: At = OWN, json: Json = False) -> int:
    """Show one delivery.

    Parameters
    ----------
    delivery
        Its id, as in `payonce deliveries list`.
    """
    return wait_for(_show(at, delivery.strip(), as_json=json))


@app.command
def replay(delivery: str, /, *, at: At = OWN, json: Json = False) -> int:
    """Send a delivery again, at once and then as often as a new one, whatever became of it. A running server or worker does it.

    Parameters
    ----------
    delivery
        Its id, as in `payonce deliveries list`.
    """
    return wait_for(_replay(at, delivery.strip(), as_json=json))


class Wanted(NamedTuple):
    """Which deliveries."""

    endpoint: str | None
    state: DeliveryState | None
    type: str | None
    limit: int
    cursor: str | None


async def _list(at: At, w: Wanted, *, as_json: bool) -> int:
    async with books(at.settings()) as book:
        scope, outbox = await at.scope(book.store.registry), book.store.outbox
        try:
            page = await deliveries_page(
                outbox, scope, endpoint_id=w.endpoint, state=w.state, type=w.type, cursor=w.cursor, limit=w.limit
            )
        except ValueError:
            raise Exit(USAGE, "payonce: --cursor is not one that `payonce deliveries list` printed.") from None
    if as_json:
        put_json({"data": page.data, "nextCursor": page.next_cursor})
        return OK
    table(HEAD, [_row(d) for d in page.data])
    if not page.data:
        say("No delivery matches." if page.next_cursor is None else "No delivery matches so far.")
    if page.next_cursor:
        say(f"More: --cursor {page.next_cursor}")
    return OK


async def _show(at: At, id: str, *, as_json: bool) -> int:
    async with books(at.settings()) as book:
        found = await _one(book.store.outbox, await at.scope(book.store.registry), id)
    _told(found, as_json=as_json)
    return OK


async def _replay(at: At, id: str, *, as_json: bool) -> int:
    async with changing(at) as its:
        await _one(its.app.store.outbox, its.scope, id)
        again = await its.courier.replay(its.scope, id, actor=operator_here())
    _told(again, as_json=as_json)
    return OK


async def _one(outbox: Outbox, scope: Scope, id: str) -> Delivery:
    """Ends the command for an id that is unknown or of somebody else."""
    found = await outbox.get(id)
    if found is None or (found.merchant_id, found.mode) != (scope.merchant_id, scope.mode):
        raise Exit(
            NOT_FOUND,
            f"payonce: {scope.merchant_id} has no delivery {clean(id)[:80]!r} here. Nothing was changed.\n"
            "`payonce deliveries list` shows them; those that have ended are kept for some weeks.",
        )
    return found


def _told(d: Delivery, *, as_json: bool) -> None:
    body = delivery_body(d)
    if as_json:
        put_json(body)
        return
    put(f"{d.id}  {d.state}  {d.type}")
    put(f"  event      {d.event_id}{f' of {d.payment_id}' if d.payment_id else ''}")
    put(f"  endpoint   {d.endpoint_id}")
    last = f", last {body.last_tried_at}: {d.status or 'no answer'} {clean(d.said)}".rstrip() if d.tries else ""
    put(f"  tries      {d.tries}{last}")
    if body.next_try_at:
        put(f"  next try   {body.next_try_at}")


def _row(d: DeliveryBody) -> tuple[str, ...]:
    status = str(d.last_status) if d.last_status else ""
    named = (d.id, d.endpoint_id, d.type, d.transaction_id or "", d.state, str(d.tries))
    return (*named, status, d.last_error or "", d.next_try_at or "", d.created_at)
