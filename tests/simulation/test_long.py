"""The long run: it goes on where it stopped, fails for what it must fail for, and its page says what was counted."""

from pathlib import Path

import msgspec
import pytest

from payonce.testing.simulator.campaign import Broken, PointTally, Tally

from . import hunt, long, proof
from .hunt import ALIVE
from .mutants import MUTANTS


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for what is kept."""
    monkeypatch.setattr(long, "KEPT", tmp_path)
    monkeypatch.setattr(long, "SEEDS_TXT", tmp_path / "seeds.txt")
    (tmp_path / "seeds.txt").write_text("7 once\n", encoding="utf-8")
    return tmp_path


def test_a_run_goes_on_where_it_stopped(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half now and half later are the same as all at once; what is done is not done again."""
    monkeypatch.setattr(long, "STEP", 5)
    half = long.seeds(long.Asked(seeds=5, workers=1))
    assert half.seeds == 6  # the seed that failed once came first
    whole = long.seeds(long.Asked(seeds=10, workers=1))
    assert whole.seeds == 11
    assert long.seeds(long.Asked(seeds=10, workers=1)).payments == whole.payments
    (kept / "seeds.json").unlink()
    assert long.seeds(long.Asked(seeds=10, workers=1)).counts == whole.counts


def test_what_never_happened_fails_the_run() -> None:
    """So do broken rules, living mutants, an unfinished search, lost commits and doubled charges."""
    nothing = long.keep_form(Tally())
    assert any("never happened: row 17" in each for each in long.wrong({"seeds": nothing}))
    broken = long.keep_form(Tally(broken=[Broken(5, "I1: charged 2 times")], differed=[9]))
    said = list(long.wrong({"seeds": broken}))
    assert said[0] == "payonce simulate --seed 5: I1: charged 2 times"
    assert any("seed 9" in each for each in said)
    assert list(long.wrong({"points": long.keep_form(PointTally(broken=["points: mock-ok 3:delay"]))}))
    assert list(long.wrong({"mutants": {"no_fence": ["no_fence", ALIVE, 3000, ""]}})) == ["the mutant no_fence lives"]
    assert list(long.wrong({"search": [{"line": "keyed + keyed: BROKEN", "exhausted": False}]}))
    assert list(long.wrong({"power": {"violations": ["a 202 is lost"]}})) == ["a 202 is lost"]
    assert list(long.wrong({"torture": {"violations": [{"kind": "doubled"}]}}))


def test_known_survivors_are_mutants_that_live() -> None:
    """The list may only get shorter: who is dead or gone is taken off it."""
    known, listed = hunt.recorded(), long.survivors()
    assert listed <= MUTANTS.keys()
    assert [n for n in sorted(listed) if n in known and known[n].killed_by != ALIVE] == []
    assert [n for n, h in known.items() if h.killed_by == ALIVE and n not in listed] == []


def test_the_page_says_what_was_counted() -> None:
    """Figures come from the tallies, and nothing is said of parts that were not run."""
    tally = Tally(
        seeds=12, payments=34, simulated_s=7200, busy_s=2, statuses={"SUCCESS": 34}, counts={"202 lost": 5, "x at y": 6}
    )
    page = proof.page({"seeds": long.keep_form(tally)}, "abc1234")
    assert "| simulated worlds (seeds) | 12 | 0 |" in page
    assert "2 hours" in page
    assert "| 3 | accepted, and the 202 is lost | 5 |" in page
    assert "17 payments per second of one core" in page
    assert "power cuts" not in page
    assert "abc1234" in page


def test_what_is_kept_can_be_read_again(kept: Path) -> None:
    """A part that is done is found by the next run, whatever it returned."""
    long.keep("points", PointTally(cases=3, reached={"delay at commit": 3}))
    assert msgspec.convert(long.done()["points"], PointTally).cases == 3
