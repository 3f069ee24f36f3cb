"""``payonce list``: payments, newest first."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter, Token, convert

from payonce.config import Settings
from payonce.core.money import to_decimal
from payonce.core.payment import Payment, PaymentStatus
from payonce.ports import Filters

from . import OK, USAGE
from .app import wait_for
from .options import HERE, Exit, Json, Where
from .output import put_json, relative, say, stamp, table
from .reading import books
from .views import page_view

LIMIT_MAX = 100


def _upper(kind: Any, tokens: Sequence[Token]) -> Any:
    """A word in any case; others are refused as usual."""
    return convert(kind, [token.evolve(value=token.value.upper()) for token in tokens])


def list_payments(
    *,
    status: Annotated[PaymentStatus | None, Parameter(converter=_upper)] = None,
    provider: str | None = None,
    currency: str | None = None,
    client: str | None = None,
    since: str | None = None,
    before: str | None = None,
    attention: bool = False,
    limit: Annotated[int, Parameter(name=["--limit", "-n"])] = 20,
    cursor: str | None = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """List payments, newest first. Tab-separated when it is not a terminal.

    Parameters
    ----------
    status
        PENDING, REQUIRES_ACTION, AUTHORIZED, SUCCESS, FAILED, CANCELED or IN_DOUBT.
    provider
        Account that has it.
    currency
        ISO 4217 code.
    client
        The clientId it was posted with.
    since
        Accepted at or after this time (RFC 3339, such as 2026-11-24 or 2026-11-24T10:00:00Z).
    before
        Accepted before this time.
    attention
        Only payments that need eyes: IN_DOUBT, or flagged.
    limit
        Rows, 1 to 100.
    cursor
        Where the page before ended.
    """
    if not 1 <= limit <= LIMIT_MAX:
        raise Exit(USAGE, f"payonce: --limit is 1 to {LIMIT_MAX}.")
    filters = Filters(
        status=status,
        provider=provider,
        currency=currency.upper() if currency else None,
        client_id=client,
        created_from_us=_time("--since", since),
        created_before_us=_time("--before", before),
        attention=attention,
    )
    return wait_for(_list(where.settings(), filters, limit, cursor, as_json=json))


def _time(flag: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Exit(USAGE, f"payonce: {flag} must be a time such as 2026-11-24 or 2026-11-24T10:00:00Z.") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000)


async def _list(settings: Settings, filters: Filters, limit: int, cursor: str | None, *, as_json: bool) -> int:
    async with books(settings) as book:
        try:
            page = await book.store.list(book.scope, filters, limit, cursor)
        except ValueError:
            raise Exit(USAGE, "payonce: --cursor is not one that `payonce list` printed.") from None
        if as_json:
            put_json(page_view([(p, await book.details(p)) for p in page.payments], page.next))
            return OK
        now = book.clock.now_us()
        head = ("ID", "STATUS", "AMOUNT", "CURRENCY", "ACCOUNT", "ATTEMPTS", "REASON", "ACCEPTED", "AGE")
        table(head, [_row(p, now) for p in page.payments])
        if not page.payments:
            say("No payment matches.")
        if page.next:
            say(f"More: --cursor {page.next}")
    return OK


def _row(p: Payment, now: int) -> tuple[str, ...]:
    account = p.attempts[p.winner if p.winner is not None else -1].account if p.attempts else ""
    why = p.attention or p.reason
    return (
        p.id,
        p.status,
        to_decimal(p.amount_minor, p.currency),
        p.currency,
        account,
        str(len(p.attempts)),
        why,
        stamp(p.created_us),
        relative(p.created_us, now),
    )
