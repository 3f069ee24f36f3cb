"""The payments list as CSV (RFC 4180, UTF-8): the same filters, page after page of the API, never all of it in memory.

Spreadsheets take a cell that begins like a formula for one, whoever wrote it. Texts that came from outside get an apostrophe
in front then, and one inside wherever a formula would begin if the file were read with another separator (``;``, tab, ``|``) or
a line's end inside a text were taken for the end of the row: a text reader who expects ``;`` knows no quotes in the middle of a
line. All texts stand in quotes, numbers do not; numbers, times and words of ours stay as they are.
"""

import csv
import io
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from payonce.core.money import is_currency, to_decimal
from payonce.dashboard.asking import Asker, needed
from payonce.dashboard.filtering import filters_of
from payonce.dashboard.visit import Download, Redirect, Screen, View, Visit

ROWS_MAX: Final = 100_000
PAGE: Final = 100
CUT: Final = (
    "# cut: it took too long to send all of it, and there are more; go on with the filter Before set to the created_at of the "
    "last row"
)
# what begins a formula, also in the wide forms that some spreadsheets take for the same
BEGINS: Final = "=+\\-@\uff1d\uff0b\uff0d\uff20\u2212"
UNSEEN: Final = " \u00a0\u3000\u200b\ufeff\u2060"
# at the beginning of a text, and after what some take for the end of a cell; quotes between are none of the text
FORMULA: Final = re.compile(rf"""(?:^|(?<=[;|\t\r\n]))([{UNSEEN}"]*)(?=[{BEGINS}])""")
MOVES: Final = frozenset("\t\r\n")  # at the beginning: to another cell
HEAD: Final = (
    "transaction_id",
    "status",
    "reason",
    "attention",
    "amount_minor",
    "amount",
    "currency",
    "provider",
    "provider_ref",
    "authorized_minor",
    "captured_minor",
    "captured",
    "refunded_minor",
    "refunded",
    "reversed_minor",
    "attempts",
    "last_error",
    "last_error_message",
    "client_id",
    "idempotency_key",
    "payment_method",
    "description",
    "metadata",
    "mode",
    "created_at",
    "updated_at",
)


def cell(text: str | None) -> str:
    """A text from outside: an apostrophe wherever a spreadsheet would begin a formula."""
    if not text:
        return ""
    found = FORMULA.sub(lambda m: "'" + m[1] if m.start() == 0 else m[1] + "'", text)
    return f"'{found}" if text[0] in MOVES else found


def fields(p: Mapping[str, Any]) -> list[str | int]:
    """One payment as a row, in the order of HEAD."""
    error, method, currency = p["lastError"] or {}, p["paymentMethod"] or {}, p["currency"]
    named = [method[name] for name in ("type", "token") if method.get(name)]
    return [
        p["transactionId"],
        p["status"],
        cell(p["reason"]),
        cell(p["attention"]),
        p["amount"],
        decimal(p["amount"], currency),
        currency,
        cell(p["provider"]),
        cell(p["providerRef"]),
        p["authorized"],
        p["captured"],
        decimal(p["captured"], currency),
        p["refunded"],
        decimal(p["refunded"], currency),
        p["reversed"],
        p["attempts"],
        cell(error.get("code")),
        cell(error.get("message")),
        cell(p["clientId"]),
        cell(p["idempotencyKey"]),
        cell(" ".join(named)),
        cell(p["description"]),
        cell(msgspec.json.encode(p["metadata"]).decode()) if p["metadata"] else "",
        p["mode"],
        p["createdAt"],
        p["updatedAt"],
    ]


def decimal(minor: int, currency: str) -> str:
    """With as many places as the currency has; empty for one that this version does not know."""
    return to_decimal(minor, currency) if is_currency(currency) else ""


def lines(rows: Sequence[Sequence[str | int]]) -> bytes:
    """Rows as RFC 4180 has them: CRLF; quotes around every text."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return text.getvalue().encode()


async def download(visit: Visit) -> View | Redirect | Download:
    """The first page is asked before anything is sent: what is wrong with the filters is a page, not half a file."""
    filters = filters_of(visit.query)
    first = needed(await visit.ask.get("/payments", limit=PAGE, **filters))
    return Download("text/csv; charset=utf-8", "payments.csv", _streamed(visit.ask, filters, first), lines([[CUT]]))


async def _streamed(
    ask: Asker, filters: Mapping[str, str], page: Mapping[str, Any], rows_max: int = ROWS_MAX
) -> AsyncIterator[bytes]:
    left, head = rows_max, [list(HEAD)]
    while True:
        data = page["data"][:left]
        yield lines([*head, *(fields(p) for p in data)])
        head = []
        left -= len(data)
        cut = len(page["data"]) > len(data)
        if page["nextCursor"] is None and not cut:
            return
        if left <= 0:
            last = data[-1]["createdAt"] if data else ""
            yield lines([[f"# cut after {rows_max} rows: there are more; go on with the filter Before set to {last}"]])
            return
        reply = await ask.get("/payments", limit=PAGE, cursor=page["nextCursor"], **filters)
        if not reply.ok:
            here = f"{rows_max - left} rows are here and there are more"
            yield lines([[f"# cut: the API did not answer ({reply.status}); {here}: ask again"]])
            return
        page = reply.body


PAGES: Final = (Screen("/payments.csv", download, nav="payments"),)
