"""``payonce verify`` and the feed: the news of each payment is projected again, and each must stand in the file where it
belongs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from .conftest import Payonce

pytestmark = pytest.mark.usefixtures("one_account")

Paid = Callable[..., dict[str, Any]]
OTHER = "pay_00000000000000000000"  # an id of nothing


def edit(data: Path, sql: str) -> None:
    """Change the file behind payonce's back; the change must have met a row."""
    connection = apsw.Connection(str(data / "payments.db"))
    connection.execute(sql).fetchall()
    assert connection.changes() > 0, sql
    connection.close()


MORE = "INSERT INTO feed SELECT {0}, merchant_id, mode, at_us, place + 2 FROM feed ORDER BY place LIMIT 1"  # behind both
DELIVERY = (
    "INSERT INTO deliveries SELECT 'dlv_1', 'whe_1', {0}, mode, 'evt_1', 'payment.succeeded', {1}, {2}, {3}, 0, 0, '', 1, 0, 1 "
    "FROM feed LIMIT 1"
)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DELETE FROM feed WHERE place = 1", "holds news and has no place in the feed"),
        ("DELETE FROM feed WHERE place = 1", "a gap in the feed, or places out of order, before place: 2"),
        ("DELETE FROM feed WHERE place = 2", "holds news and has no place in the feed"),
        (MORE.format("payment_id, 1"), "an event that has a place in the feed, and holds no news that belongs there: 1"),
        (MORE.format("payment_id, seq"), "an event that has a place in the feed, and holds no news that belongs there: "),
        (MORE.format("payment_id, 99"), "a place in the feed of no event: 99"),
        ("UPDATE events SET news = 1 WHERE seq = 1", "event 1 has a place in the feed, and holds no news that belongs there"),
        ("UPDATE events SET news = 0 WHERE news = 1", "holds news and has no place in the feed"),
        ("UPDATE events SET news = 3 - news WHERE news > 0", "holds news and has no place in the feed"),
        (MORE.format(f"'{OTHER}', seq"), "a place in the feed of no payment"),
        ("UPDATE feed SET merchant_id = 'mer_other' WHERE place = 2", "stands in the feed of another merchant or mode"),
        ("UPDATE feed SET mode = 'live' WHERE place = 2", "stands in the feed of another merchant or mode"),
        ("UPDATE feed SET at_us = 1 WHERE place = 1", "stands in the feed at an earlier time than it happened"),
        ("UPDATE feed SET at_us = 9e15 WHERE place = 1", "a gap in the feed, or places out of order, before place: 2"),
        ("UPDATE feed SET place = 7 WHERE place = 2", "a gap in the feed, or places out of order, before place: 7"),
        ("UPDATE feed SET place = 0 WHERE place = 2", "a gap in the feed, or places out of order, before place: 0"),
        ("INSERT OR REPLACE INTO notices SELECT payment_id, 1, 1 FROM feed LIMIT 1", "a notice of no news, from event: 1"),
        ("INSERT INTO notices VALUES ('pay_00000000000000000000', 1, 1)", "a notice of no news, from event: 1"),
        (DELIVERY.format("'mer_x'", "payment_id", "seq", "'failed'"), "a delivery to another merchant than the payment's"),
        (DELIVERY.format("merchant_id", f"'{OTHER}'", "seq", "'failed'"), "a delivery of no payment's event"),
        (DELIVERY.format("merchant_id", "payment_id", "99", "'failed'"), "a delivery of no payment's event"),
        (DELIVERY.format("merchant_id", "''", "0", "'pending'"), "a delivery that nobody will try"),
        ("INSERT INTO due VALUES ('delivery', 'dlv_9', 1)", "a due time of no delivery"),
    ],
)
def test_what_merchants_are_told_is_held_against_the_history(
    payonce: Payonce, paid: Paid, data: Path, sql: str, said: str
) -> None:
    """Places and notices that are missing, doubled, moved, of another merchant or of nothing are found; exit code 1."""
    paid("tok_ok")
    paid("tok_ok")
    assert payonce("verify").code == 0
    edit(data, sql)
    ran = payonce("verify")
    assert (ran.code, said in ran.out) == (1, True), ran.out + ran.err


def test_what_is_right_is_not_found(payonce: Payonce, paid: Paid, data: Path) -> None:
    """A notice of news, a delivery of it, and a test event of no payment are no problem."""
    paid("tok_ok")
    edit(data, "INSERT OR REPLACE INTO notices SELECT payment_id, seq, 1 FROM feed LIMIT 1")
    edit(data, DELIVERY.format("merchant_id", "payment_id", "seq", "'delivered'"))
    edit(data, DELIVERY.format("merchant_id", "''", "0", "'failed'").replace("dlv_1", "dlv_2"))
    ran = payonce("verify")
    assert ran.code == 0, ran.out
