"""The power goes while news are told: stores that lose a notice or a place in the feed are found out."""

from collections.abc import Sequence
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from payonce.mail import Delivery
from payonce.stores.sqlite import batch, outbox
from payonce.stores.sqlite.schema import WritingConnection
from payonce.stores.sqlite.writes import PendingChange, Write
from payonce.testing import powerloss
from payonce.testing.powerloss import PowerReport


def cut_everywhere(folder: Path) -> PowerReport:
    return powerloss.every_cut(seed=6, payments=2, images=2, folder=folder)


def in_two(connection: apsw.Connection) -> None:
    """What was written until now is committed, and what comes is another transaction."""
    connection.execute("COMMIT; BEGIN IMMEDIATE")


def test_the_real_store_loses_no_news(tmp_path: Path) -> None:
    """Everybody is subscribed: after each cut every public event has its place, and its delivery or its notice."""
    assert cut_everywhere(tmp_path).violations == ()


def test_mutant_news_in_a_second_transaction(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A change that is committed before its place and notice are is seen without both."""
    whole, tell = batch._write_changes, batch._tell

    def apart(connection: WritingConnection, changes: Sequence[PendingChange]) -> None:
        whole(connection, [replace(c, change=replace(c.change, news=(), notify=False)) for c in changes])
        if told := [c.change for c in changes if c.change.news]:
            in_two(connection)
            for (id, seq), place in tell(connection, told).items():
                connection.execute("UPDATE events SET news = ? WHERE payment_id = ? AND seq = ?", (place, id, seq))

    monkeypatch.setattr(batch, "_write_changes", apart)
    said = "\n".join(cut_everywhere(tmp_path).violations)
    assert "has neither a delivery nor a notice" in said
    assert "has no place in the feed" in said


def test_mutant_a_notice_that_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A notice that is taken away before the deliveries are kept loses them in a cut between."""

    def apart(payment_id: str, version: int, deliveries: Sequence[Delivery]) -> Write:
        del version

        def write(connection: apsw.Connection) -> bool:
            connection.execute("DELETE FROM notices WHERE payment_id = ?", (payment_id,))
            in_two(connection)
            for each in deliveries:
                outbox._add(connection, each)
            return True

        return write

    monkeypatch.setattr(outbox, "_handing_over", apart)
    assert "has neither a delivery nor a notice" in "\n".join(cut_everywhere(tmp_path).violations)


def test_mutant_a_hand_over_that_keeps_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Deliveries that are forgotten while the notice goes are missed in the end."""

    def careless(payment_id: str, version: int, deliveries: Sequence[Delivery]) -> Write:
        del version, deliveries

        def write(connection: apsw.Connection) -> bool:
            connection.execute("DELETE FROM notices WHERE payment_id = ?", (payment_id,))
            return True

        return write

    monkeypatch.setattr(outbox, "_handing_over", careless)
    said = "\n".join(powerloss.run(cuts=40, seed=1, folder=tmp_path, stop_at_violation=True).violations)
    assert "neither a delivery nor a notice" in said or "was handed over and is lost" in said
