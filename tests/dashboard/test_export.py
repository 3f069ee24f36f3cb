"""The list as CSV: every payment of the filters, in one row each, harmless in a spreadsheet."""

import asyncio
import csv
import io
from typing import Any

import pytest

from payonce.dashboard.asking import Reply
from payonce.dashboard.pages.export import HEAD, PAGE, _streamed, cell, fields, lines

from .house import House
from .paid import HOSTILE, pay


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_what_is_in_it(house: House) -> None:
    """Minor units and decimals of the currency, metadata as JSON, the same filters as the list; a file to keep."""
    pay(house, "=cmd|calc", 1500, "JPY", clientId="@shop", description='=1+1\nsecond, "line"', metadata=HOSTILE)
    pay(house, "csv-dinar", 1_234_567, "KWD")
    pay(house, "csv-dollar", 250, "USD", "tok_decline_stolen_card")
    visitor = house.signed_in("payments:read")
    answer = visitor.get("/payments.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "payments.csv" in answer.headers["content-disposition"]
    assert answer.text.startswith(",".join(f'"{name}"' for name in HEAD) + "\r\n")
    rows = read(answer.text)
    assert [(r["currency"], r["amount_minor"], r["amount"]) for r in rows] == [
        ("USD", "250", "2.50"),
        ("KWD", "1234567", "1234.567"),
        ("JPY", "1500", "1500"),
    ]
    yen = rows[-1]
    assert yen["idempotency_key"] == "'=cmd|calc"
    assert yen["client_id"] == "'@shop"
    assert yen["description"] == '\'=1+1\nsecond, "line"'
    assert yen["metadata"] == '{"note":"<script>alert(1)</script>","formula":"=cmd()|calc","orderId":"1001"}'
    only = read(visitor.get("/payments.csv?declineCode=stolen_card").text)
    assert [(r["status"], r["last_error"]) for r in only] == [("FAILED", "stolen_card")]


def test_a_wrong_filter_is_a_page_and_no_file(house: House) -> None:
    """Not half a file under the name of a whole one."""
    answer = house.signed_in("payments:read").get("/payments.csv?currency=XX")
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "text",
    ["=1", "+1", "-1", "@a", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20a", " =1", "\u200b=1", "\ufeff@x"],
)
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    """Whatever a spreadsheet may take for one, also in its wide forms and behind what nobody sees."""
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("a;=1", "a;'=1"),
        ("a;=1;@b", "a;'=1;'@b"),
        ('a; "=1"', 'a; "\'=1"'),
        ("a\t+1", "a\t'+1"),
        ("a|-1", "a|'-1"),
        ("a\n@b", "a\n'@b"),
        ("a\r\n\u200b=1", "a\r\n\u200b'=1"),
        ("a;\uff1d1", "a;'\uff1d1"),
        ("=1;=2", "'=1;'=2"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("\n1", "'\n1"),
        ('{"note":"x;=cmd()"}', '{"note":"x;\'=cmd()"}'),
    ],
)
def test_a_formula_behind_another_separator_gets_one_too(text: str, harmless: str) -> None:
    """Where a spreadsheet expects ``;``, a tab or ``|``, or ends the row at a line's end within the text."""
    assert cell(text) == harmless


def test_read_with_another_separator_no_cell_is_a_formula() -> None:
    """Whatever stands in the texts, whichever separator a reader takes, and whether it knows quotes."""
    texts = ["=1", "a;=1", 'b;"=1"', "c\t-1", "d|@x", "e\n=2;+3", "f\r\n;=4", '";=5']
    file = lines([[1, *(cell(text) for text in texts)]]).decode()
    for separator in (",", ";", "\t", "|"):
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            for found in csv.reader(file.splitlines(), delimiter=separator, quoting=quoting):
                assert not [each for each in found if each.strip(' "')[:1] in ("=", "+", "-", "@")], (separator, found)


@pytest.mark.parametrize("text", ["", "a=1", "1001", "order-1", "\u00e4rger", "{}", "a; b", "a;1", "a | b", '{"a":"=1"}'])
def test_other_texts_stay(text: str) -> None:
    """To the letter."""
    assert cell(text) == text


class Pages:
    """An API with this many payments, page after page; ``fails_at``: the page that it does not answer."""

    def __init__(self, count: int, fails_at: int = 0) -> None:
        self.count, self.fails_at, self.asked = count, fails_at, 0

    def page(self, start: int) -> dict[str, Any]:
        end = min(start + PAGE, self.count)
        return {"data": [row(n) for n in range(start, end)], "nextCursor": str(end) if end < self.count else None}

    async def get(self, _path: str, **query: Any) -> Reply:
        self.asked += 1
        if self.asked == self.fails_at:
            return Reply(503, {}, {})
        return Reply(200, self.page(int(query["cursor"])), {})


def row(n: int) -> dict[str, Any]:
    texts = dict.fromkeys(
        ("reason", "attention", "provider", "providerRef", "clientId", "description", "lastError", "paymentMethod")
    )
    numbers = dict.fromkeys(("authorized", "captured", "refunded", "reversed", "attempts"), 0)
    times = {"createdAt": f"at {n}", "updatedAt": f"at {n}"}
    return {
        "transactionId": f"pay_{n}", "status": "PENDING", "amount": n + 1, "currency": "INR", "idempotencyKey": f"k{n}",
        "metadata": {}, "mode": "test", **texts, **numbers, **times,
    }  # fmt: skip


def streamed(pages: Pages, rows_max: int) -> list[str]:
    async def all_of_it() -> bytes:
        return b"".join([part async for part in _streamed(pages, {}, pages.page(0), rows_max)])  # type: ignore[arg-type]

    return asyncio.run(all_of_it()).decode().splitlines()


@pytest.mark.parametrize(("count", "rows_max"), [(0, 10), (250, 1000), (250, 250), (200, 200)])
def test_all_pages_come(count: int, rows_max: int) -> None:
    """One row each and nothing else, whatever the pages are; a full file is not called cut."""
    file = streamed(Pages(count), rows_max)
    assert len(file) == 1 + count
    assert not any(line.startswith('"#') for line in file)


@pytest.mark.parametrize("rows_max", [1, 99, 100, 101, 249])
def test_a_cut_file_says_so(rows_max: int) -> None:
    """Its last line tells how many rows there are and how to go on."""
    file = streamed(Pages(250), rows_max)
    assert len(file) == 1 + rows_max + 1
    assert file[-1].startswith(f'"# cut after {rows_max} rows')
    assert f"at {rows_max - 1}" in file[-1]


def test_a_file_that_broke_says_so() -> None:
    """An API that stops answering leaves a last line that nobody takes for the end."""
    file = streamed(Pages(250, fails_at=2), 1000)
    assert file[-1].startswith('"# cut: the API did not answer (503); 200 rows are here')


def test_a_row_has_every_column() -> None:
    """As many cells as heads."""
    assert len(fields(row(1))) == len(HEAD)
