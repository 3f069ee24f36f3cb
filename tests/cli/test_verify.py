"""``payonce verify`` against an edited file: a clean result must mean that all of it was looked at."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from payonce.cli.verify import IDS_A_PAGE

from .conftest import Payonce

pytestmark = pytest.mark.usefixtures("one_account")

Paid = Callable[..., dict[str, Any]]
OTHER = "'pay_00000000000000000000'"  # an id of nothing, named so in the statements below
COLUMNS = {
    "merchant_id": "'mer_other'",
    "mode": "'live'",
    "status": "'FAILED'",
    "provider": "'other'",
    "currency": "'EUR'",
    "client_id": "'other'",
    "amount_minor": "1",
    "authorized_minor": "7",
    "captured_minor": "7",
    "refunded_minor": "7",
    "attention": "'look'",
    "created_us": "7",
    "updated_us": "7",
}


def edit(data: Path, sql: str, *values: Any) -> None:
    """Change the file behind payonce's back; the change must have met a row."""
    connection = apsw.Connection(str(data / "payments.db"))
    connection.execute(sql.replace("OTHER", OTHER), values).fetchall()
    assert connection.changes() > 0, sql
    connection.close()


def columns(data: Path) -> set[str]:
    connection = apsw.Connection(str(data / "payments.db"))
    found = {row[1] for row in connection.execute("PRAGMA table_info(payments)")}
    connection.close()
    return found


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DELETE FROM keys", "idempotency key is missing: the same request would be charged again"),
        ("UPDATE keys SET key = 'other'", "idempotency key is missing"),
        ("UPDATE keys SET mode = 'live'", "idempotency key is missing"),
        ("UPDATE keys SET merchant_id = 'mer_other'", "idempotency key is missing"),
        ("UPDATE keys SET payment_id = OTHER", "idempotency key leads to"),
        ("UPDATE keys SET operation = 'refund'", "idempotency key leads to"),
        ("UPDATE keys SET request = x'7b7d'", "not the one that was accepted"),
        ("UPDATE keys SET request = CAST(replace(CAST(request AS TEXT), 'tok_ok', 'tok_no') AS BLOB)", "not the one that was"),
        ("DELETE FROM payments", "a history but no row"),
        ("UPDATE bodies SET bytes = x'00'", "customer data: the bytes are not those of their digest"),
        ("UPDATE bodies SET bytes = x'00'", "the request of step 2: the bytes are not those of their digest"),
        ("INSERT INTO bodies SELECT payment_id, 'x', x'00' FROM bodies LIMIT 1", "the bytes are not those"),
        ("DELETE FROM refs", "does not lead to it"),
        ("DELETE FROM refs WHERE kind = 'reference'", "does not lead to it"),
        ("UPDATE refs SET payment_id = OTHER", "does not lead to it"),
        ("UPDATE refs SET account = 'other'", "does not lead to it"),
    ],
)
def test_an_edit_beside_the_chain_is_found(payonce: Payonce, paid: Paid, data: Path, sql: str, said: str) -> None:
    """What lies beside the history is compared with it: key, row, stored bytes, references. Also for one payment."""
    payment = paid("tok_ok")["transactionId"]
    edit(data, sql)
    for ran in (payonce("verify", "--json"), payonce("verify", payment, "--json")):
        assert ran.code == 1
        assert any(p["payment"] == payment and said in p["problem"] for p in ran.json["problems"]), ran.out


@pytest.mark.parametrize(("column", "value"), COLUMNS.items())
def test_every_derived_column_is_compared(payonce: Payonce, paid: Paid, data: Path, column: str, value: str) -> None:
    """A column that lists and filters use, edited alone, is named."""
    paid("tok_ok")
    edit(data, f"UPDATE payments SET {column} = {value}")  # noqa: S608 - fixed names
    ran = payonce("verify", "--json")
    assert ran.code == 1
    assert ran.json["problems"][0]["problem"].endswith(f"show something else: {column}")
    assert columns(data) - COLUMNS.keys() == {"id", "version", "head", "schema", "document"}, "a new column needs its case"


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DELETE FROM bodies", "customer data is missing, and it may still be needed"),
        ("DELETE FROM bodies", "the request of step 2 is missing, and it may still be needed"),
        ("UPDATE due SET due_us = 4000000000000000", "months after it owes an action"),
        ("UPDATE due SET id = OTHER", "not on the due index"),
        ("UPDATE due SET id = OTHER", "a due time of no payment"),
    ],
)
def test_what_an_open_payment_needs_must_be_there(payonce: Payonce, paid: Paid, data: Path, sql: str, said: str) -> None:
    """The bytes that may be sent again, and the time at which somebody looks."""
    paid("tok_never_resolves", wait="0.3")
    assert payonce("verify").code == 0
    edit(data, sql)
    ran = payonce("verify")
    assert (ran.code, said in ran.out) == (1, True), ran.out


def test_erased_customer_data_of_a_settled_payment_is_no_problem(payonce: Payonce, paid: Paid, data: Path) -> None:
    """It is counted, so that nobody takes it for whole."""
    paid("tok_ok")
    edit(data, "DELETE FROM bodies")
    ran = payonce("verify")
    assert (ran.code, "1 payment, 3 events, 1 erased: no problem" in ran.out) == (0, True), ran.out
    assert payonce("verify", "--json").json["erased"] == 1


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "INSERT INTO keys SELECT merchant_id, mode, 'k2', operation, OTHER, request_v, request FROM keys",
            "no payment: k2",
        ),
        ("INSERT INTO keys SELECT merchant_id, mode, 'k2', operation, payment_id, request_v, request FROM keys", "a second"),
        (
            "INSERT INTO keys SELECT merchant_id, 'live', key, operation, payment_id, request_v, request FROM keys",
            "another me",
        ),
        ("INSERT INTO refs VALUES ('v', 'a', 'reference', OTHER)", "a reference of no payment: v"),
        ("INSERT INTO bodies VALUES (OTHER, 'd', x'00')", "stored bytes of no payment: d"),
        ("INSERT INTO due VALUES ('payment', OTHER, 1)", "a due time of no payment"),
    ],
)
def test_rows_that_belong_to_no_payment_are_found(payonce: Payonce, paid: Paid, data: Path, sql: str, said: str) -> None:
    """An orphan means that something was deleted, or written by somebody else."""
    paid("tok_ok")
    edit(data, sql)
    ran = payonce("verify")
    assert (ran.code, said in ran.out) == (1, True), ran.out


def test_many_orphans_are_counted_not_listed(payonce: Payonce, paid: Paid, data: Path) -> None:
    """A table that lost its payments does not flood the terminal."""
    paid("tok_ok")
    edit(
        data,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150) "
        "INSERT INTO refs SELECT i, 'a', 'reference', OTHER FROM n",
    )
    ran = payonce("verify")
    assert "the store: a reference of no payment: 50 more" in ran.out
    assert len(ran.out.splitlines()) == 103


def test_all_pages_of_payments_are_read(payonce: Payonce, paid: Paid, data: Path) -> None:
    """Ids come from the rows and the histories alike, page after page."""
    paid("tok_ok")
    edit(
        data,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO events (payment_id, seq, raw, hash) "
        "SELECT printf('pay_%020d', i), seq, raw, hash FROM n, events WHERE seq = 1",
        2 * IDS_A_PAGE + 5,
    )
    ran = payonce("verify", "--json")
    assert (ran.code, ran.json["payments"], len(ran.json["problems"])) == (1, 2 * IDS_A_PAGE + 6, 2 * IDS_A_PAGE + 5)


def test_a_payment_without_its_row_is_checked_by_its_id(payonce: Payonce, paid: Paid, data: Path) -> None:
    """Naming it must not end in "nothing is known"; an id of nothing still does."""
    payment = paid("tok_ok")["transactionId"]
    edit(data, "DELETE FROM payments")
    assert payonce("verify", payment).code == 1
    assert payonce("verify", "pay_00000000000000000000").code == 3
