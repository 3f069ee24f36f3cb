"""The ledger file: append-only, atomic, shared by processes."""

import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from payonce.sandbox.ledger import Ledger, rfc3339
from payonce.sandbox.mock import SIMULATOR
from payonce.sandbox.mock.books import charge_view

WORKER = """
import sys
from payonce.sandbox.ledger import Ledger
ledger = Ledger(sys.argv[1])
for n in range(50):
    with ledger.transaction():
        number = int(ledger.setting("n") or b"0") + 1
        ledger.set_setting("n", str(number).encode())
        thing = ledger.add("mock", "charge", f"r{number}", {"n": number}, at_us=number)
        ledger.book("mock", "charge", reference=f"r{number}", provider_ref=f"ch_{thing.id}", amount_minor=number,
                    currency="INR", at_us=number)
"""


def book(ledger: Ledger, amount: int = 5) -> None:
    ledger.book("mock", "charge", reference="r", provider_ref="ch", amount_minor=amount, currency="INR", at_us=1)


def test_processes_share_the_file_without_losing_or_doubling(tmp_path: Path) -> None:
    """Three processes write at once: every transaction counts, ids are unique, the order is one."""
    path = tmp_path / "l.db"
    Ledger(path).close()
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(path)]) for _ in range(3)]
    assert [w.wait(timeout=30) for w in workers] == [0, 0, 0]
    ledger = Ledger(path)
    moves = ledger.movements()
    assert [m.seq for m in moves] == [m.amount for m in moves] == list(range(1, 151))
    assert len({m.provider_ref for m in moves}) == 150
    ledger.close()


def test_a_transaction_is_all_or_nothing() -> None:
    """What fails in the middle leaves nothing behind, and the next one works."""
    ledger = Ledger(":memory:")

    def half() -> None:
        with ledger.transaction():
            book(ledger)
            ledger.add("mock", "charge", "r", {}, at_us=1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert (ledger.movements(), ledger.by_reference("mock", "charge", "r")) == ([], [])
    with ledger.transaction():
        book(ledger)
    assert len(ledger.movements()) == 1


@pytest.mark.parametrize("sql", ["DELETE FROM movements", "UPDATE movements SET amount_minor = 1"])
def test_movements_are_never_changed(tmp_path: Path, sql: str) -> None:
    """The witness is append-only, for everybody who opens the file."""
    ledger = Ledger(tmp_path / "l.db")
    book(ledger)
    other = apsw.Connection(str(tmp_path / "l.db"))
    with pytest.raises(apsw.ConstraintError):
        other.execute(sql)
    other.close()
    ledger.close()


def test_paging() -> None:
    """``after`` and ``limit`` walk through all movements once."""
    ledger = Ledger(":memory:")
    for amount in range(1, 8):
        book(ledger, amount)
    pages, after = [], 0
    while page := ledger.movements(after, 3):
        pages.append([m.amount for m in page])
        after = page[-1].seq
    assert pages == [[1, 2, 3], [4, 5, 6], [7]]


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    """A file of a newer version is left alone."""
    other = apsw.Connection(str(tmp_path / "l.db"))
    other.execute("PRAGMA user_version=99")
    with pytest.raises(ValueError, match="newer payonce"):
        Ledger(tmp_path / "l.db")
    assert other.execute("SELECT count(*) FROM sqlite_schema").get == 0
    other.close()


def test_times_are_rfc3339() -> None:
    """Microseconds and Z."""
    assert rfc3339(1_800_000_000_000_001) == "2027-01-15T08:00:00.000001Z"


def test_a_file_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    """Tables that are new are made; charges, refunds and late successes of before are read as what they were."""
    path = tmp_path / "l.db"
    ledger = Ledger(path)
    old = {"amount": 500, "currency": "INR", "decline_code": None}
    paid = ledger.add("mock", "charge", "paid", {**old, "status": "succeeded"}, at_us=1)
    ledger.add("mock", "refund", "back", {"amount": 200, "currency": "INR"}, at_us=1, parent=paid.id)
    late = ledger.add("mock", "charge", "late", {**old, "status": "failed", "decline_code": "do_not_honor"}, at_us=1)
    ledger.later(late, 5)
    ledger._db.execute("DROP TABLE outbox; DROP TABLE deliveries")
    ledger.close()
    ledger = Ledger(path)
    SIMULATOR.settle(ledger, 5)
    shown = [charge_view(ledger, *ledger.by_reference("mock", "charge", name)) for name in ("paid", "late")]
    assert [(c["status"], c["captured"], c["refunded"]) for c in shown] == [("succeeded", 500, 200), ("succeeded", 500, 0)]
    assert [(m.reference, m.amount) for m in ledger.movements()] == [("late", 500)]
    assert [event.event_id for event in ledger.deliveries.events(0, 9)] == ["evt_000000000003_succeeded"]
    ledger.close()


def test_objects_of_a_time_are_listed_in_order() -> None:
    """From inclusive, before exclusive, after an id, at most so many, of one vendor and kind."""
    ledger = Ledger(":memory:")
    for n in range(6):
        ledger.add("mock", "charge", f"r{n}", {}, at_us=n)
    ledger.add("other", "charge", "r", {}, at_us=2)
    ledger.add("mock", "refund", "r", {}, at_us=2)
    assert [t.at_us for t in ledger.made("mock", "charge", 1, 5, limit=9)] == [1, 2, 3, 4]
    assert [t.at_us for t in ledger.made("mock", "charge", 1, 5, after=2, limit=2)] == [2, 3]
