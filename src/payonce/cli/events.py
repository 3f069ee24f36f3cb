"""``payonce events list``: what happened to a merchant's payments, as ``GET /events`` tells it."""

from typing import Annotated, Final

from cyclopts import App, Parameter

from payonce.api.feed import EVENTS_LIMIT_MAX, events_page
from payonce.core import news
from payonce.shown.news import EventBody

from . import OK, USAGE
from .app import wait_for
from .endpoint_store import OWN, At
from .options import STRICT, Exit, Json
from .output import clean, put_json, say, table
from .pages import Pages
from .reading import books
from .times import moment

app = App(
    name="events",
    help="What happened to a merchant's payments: the events that webhooks tell.",
    help_formatter=Pages(),
    default_parameter=STRICT,
)
HEAD: Final = ("TIME", "TYPE", "PAYMENT", "STATUS", "ID")


@app.command(name="list")
def list_events(
    *,
    type: str | None = None,
    since: str | None = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"])] = 20,
    cursor: str | None = None,
    at: At = OWN,
    json: Json = False,
) -> int:
    """List events, the oldest first. Tab-separated when it is not a terminal. With --type a page may be short or empty although
    there is more.

    Parameters
    ----------
    type
        Events of this type, such as payment.succeeded or refund.failed.
    since
        From the first event at or after this time (RFC 3339, such as 2026-11-24 or 2026-11-24T10:00:00Z).
    limit
        Rows, 1 to 100; what was written together is never torn apart, so there may be one or two more.
    cursor
        Where the page before ended.
    """
    if not 1 <= limit <= EVENTS_LIMIT_MAX:
        raise Exit(USAGE, f"payonce: --limit is 1 to {EVENTS_LIMIT_MAX}.")
    if type is not None and type not in news.TYPES:
        raise Exit(USAGE, f"payonce: --type is one of {', '.join(news.TYPES)}.")
    if since is not None and cursor is not None:
        raise Exit(USAGE, "payonce: --since has no place beside --cursor: a cursor goes on from where it stands.")
    since_us = max(moment("--since", since), 0) if since is not None else 0
    return wait_for(_list(at, type, since_us, limit, cursor, as_json=json))


async def _list(at: At, type: str | None, since_us: int, limit: int, cursor: str | None, *, as_json: bool) -> int:
    async with books(at.settings()) as book:
        scope = await at.scope(book.store.registry)
        try:
            page = await events_page(book.store, scope, cursor=cursor, since_us=since_us, limit=limit, type=type)
        except ValueError:
            raise Exit(USAGE, "payonce: --cursor is not one that `payonce events list` printed for this merchant.") from None
    if as_json:
        put_json(page)
        return OK
    table(HEAD, [_row(told) for told in page.data])
    if not page.data:
        say("No event matches." if not page.more else "No event matches so far.")
    say(f"{'More' if page.more else 'What comes'}: --cursor {clean(page.next_cursor)}")
    return OK


def _row(told: EventBody) -> tuple[str, ...]:
    p, o = told.data.payment, told.data.operation
    return (told.timestamp, told.type, p.transaction_id, o.status if o else p.status, told.id)
