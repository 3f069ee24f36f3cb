"""Some mutants, each with the one world that shows it: the hunt for all of them takes longer, see hunt.py."""

from pathlib import Path

import pytest

from . import hunt as hunting
from .hunt import drawn, lived, record, recorded
from .mutants import MUTANTS, SHORT
from .mutation import applied


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_still_has_its_place_in_the_source(name: str) -> None:
    """Each edit finds its text exactly once, compiles, and is gone afterwards."""
    with applied(MUTANTS[name]):
        pass
    with applied(MUTANTS[name]):  # the text was put back: it is found again
        pass


@pytest.mark.parametrize("name", SHORT)
def test_the_world_of_a_recorded_seed_shows_the_mutant(name: str) -> None:
    """The same world is clean without the mutant, and violates something with it."""
    hunt = recorded()[name]
    assert hunt.seed is not None, f"{name} is alive. Hunt it: python -m tests.simulation.hunt --record {name}"
    options = drawn(MUTANTS[name], hunt.seed)
    assert lived(options) == ""
    with applied(MUTANTS[name]):
        assert lived(options), f"seed {hunt.seed} no longer shows it. Hunt it: python -m tests.simulation.hunt --record {name}"


def test_a_record_keeps_the_remarks_at_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What people wrote above the lines stays when a hunt writes them again; so do the lines."""
    before = hunting.RECORD.read_text(encoding="utf-8")
    monkeypatch.setattr(hunting, "RECORD", tmp_path / "mutants.txt")
    hunting.RECORD.write_text("# what a line says\n# a remark\n" + before, encoding="utf-8")
    record(recorded())
    assert hunting.RECORD.read_text(encoding="utf-8") == "# what a line says\n# a remark\n" + before
