"""Files that are filled by copying are files that payonce could have written."""

from pathlib import Path

import apsw
import pytest
from benchmarks.filling import WAITING, fill
from benchmarks.stamps import Numbers

from payonce.cli import main
from payonce.core.ids import is_payment_id

COUNT = 300


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all; half of what ended in it are short histories."""
    path = tmp_path_factory.mktemp("filled") / "payments.db"
    fill(path, COUNT, lambda _: None, canceled=0.5)
    return path


def ask(store: Path, sql: str) -> dict[object, object]:
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return {row[0]: row[1] for row in connection.execute(sql)}
    finally:
        connection.close()


def test_a_filled_file_verifies(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole audit finds nothing: chains, folds, columns, due times, keys, references, bodies, the feed."""
    assert main(["verify", "--data-dir", str(store.parent)]) == 0
    assert f"{COUNT} payments" in capsys.readouterr().out


def test_a_byte_that_was_changed_is_found(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that nothing wrong was found means something."""
    copy = tmp_path / "payments.db"
    copy.write_bytes(store.read_bytes())
    connection = apsw.Connection(str(copy))
    connection.execute("UPDATE events SET raw = CAST(replace(raw, 'order', 'Order') || ' ' AS BLOB) WHERE rowid = 100")
    connection.close()
    assert main(["verify", "--data-dir", str(tmp_path)]) == 1
    assert "another hash" in capsys.readouterr().out


def test_a_filled_file_holds_what_life_leaves(store: Path) -> None:
    """All ends are there, few wait, and each payment is counted once and has labels."""
    found = ask(store, "SELECT status, count(*) FROM payments GROUP BY 1")
    assert found["PENDING"] == WAITING
    assert set(found) == {"PENDING", "SUCCESS", "FAILED", "CANCELED"}
    assert int(str(found["CANCELED"])) > COUNT / 3
    assert ask(store, "SELECT what, sum(n) FROM tallies WHERE span = 'day' GROUP BY 1")["accepted"] == COUNT
    assert ask(store, "SELECT 1, count(DISTINCT label) FROM labels")[1] in (COUNT + 5, COUNT + 6)  # orders, plans, a campaign


def test_nothing_in_a_filled_file_is_due_now(store: Path) -> None:
    """A server that opens it has no work, and what waits is still on the due index."""
    assert ask(store, "SELECT due_us > 1000000 * (unixepoch() + 20 * 86400), count(*) FROM due GROUP BY 1") == {1: WAITING}


@pytest.mark.parametrize("count", [1, 2, 60, 1_000, 10_007])
def test_numbers_name_payments_without_a_collision(count: int) -> None:
    """Ids go up with time, and places are a permutation: keys and references without order, each once."""
    numbers = Numbers(count)
    ids = [numbers.id(n) for n in range(count)]
    assert ids == sorted(set(ids))
    assert all(is_payment_id(f"pay_{id}") for id in ids[:50])
    places = [numbers.place(n) for n in range(count)]
    assert sorted(places) == list(range(count))
    assert [numbers.at_place(place) for place in places] == list(range(count))
