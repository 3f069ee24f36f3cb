"""Whole worlds: the same seed is the same world, seeds that failed once hold, and every oracle bites."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from payonce.core import verdict
from payonce.core.errors import ConfigError
from payonce.testing.simulator import SHIPPED, cast_of, draw, simulate
from payonce.testing.simulator.campaign import Plan, Tally, read_seeds, run, save, saved
from payonce.testing.simulator.catalogue import ROWS, edges, faults, never
from payonce.testing.simulator.options import Options

KEPT = Path(__file__).with_name("seeds.txt")
CAST = cast_of()
DIGEST = "import sys; from payonce.testing.simulator import *; print(simulate(int(sys.argv[1]), cast_of()).digest)"


@pytest.mark.parametrize("seed", read_seeds(KEPT), ids=str)
def test_seeds_that_failed_once(seed: int) -> None:
    """They hold, whatever the cause was."""
    assert simulate(seed, CAST).verdicts.violations == ()


def test_the_same_seed_is_the_same_world() -> None:
    """Also in another process, where strings hash to other numbers."""
    for seed in (3, 20, 5014):
        here = simulate(seed, CAST).digest
        for hashing in ("1", "2"):
            env = {**os.environ, "PYTHONHASHSEED": hashing}
            there = subprocess.run(
                [sys.executable, "-c", DIGEST, str(seed)], capture_output=True, text=True, check=True, env=env
            )
            assert there.stdout.strip() == here, seed


def test_other_seeds_are_other_worlds() -> None:
    """A hash that never changes would prove nothing."""
    assert len({simulate(seed, CAST).digest for seed in range(5)}) == 5


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_both_stores_settle_the_same_quiet_world(store: str) -> None:
    """Where nothing goes wrong every payment ends by its card, in memory and in a file."""
    options = Options(
        seed=5, store=store, accounts=(("mock_a", "mock"), ("razorpay_a", "razorpay")), terms="sandbox", payments=6
    )
    found = simulate(5, CAST, options=options)
    assert found.verdicts.violations == ()
    assert found.verdicts.statuses == {"SUCCESS": 6}


def test_a_third_partys_adapter_is_simulated_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of a module, with its own vendor; and what is not there is said before anything begins."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples" / "wrenmoor"))
    cast = cast_of(["payonce_wrenmoor"])
    assert sorted(cast.adapters) == ["mock", "wrenmoor"]
    seen = 0
    for seed in range(12):
        found = simulate(seed, cast)
        assert found.verdicts.violations == (), seed
        seen += any(adapter == "wrenmoor" for _, adapter in found.options.accounts)
    assert seen > 3
    with pytest.raises(ConfigError, match="cannot be simulated"):
        cast_of(["nobody.knows"])


def test_a_broken_rule_is_seen_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With "no answer is a no" the ledger shows two charges; the run has a timeline of that payment."""
    monkeypatch.setattr(verdict, "_proven_no", lambda *_: True)
    broken = next(r for seed in range(200) if (r := simulate(seed, CAST, keep=True)).verdicts.violations)
    lines = list(broken.timeline())
    assert any("VIOLATION" in line for line in lines)
    assert any("plans fire" in line for line in lines)


def test_campaigns_add_up_and_can_go_on(tmp_path: Path) -> None:
    """Two halves are the whole, kept seeds come first, and a tally survives in its file."""
    whole = run(Plan(first=0, seeds=8, workers=1, twice=2))
    first, second = run(Plan(first=0, seeds=4, workers=1)), run(Plan(first=4, seeds=4, workers=1))
    save(tmp_path / "t.json", first)
    both = saved(tmp_path / "t.json")
    both.add(second)
    assert (both.seeds, both.payments, both.counts) == (whole.seeds, whole.payments, whole.counts)
    assert whole.clean
    assert run(Plan(seeds=0, workers=1), kept=[1, 2, 3]).seeds == 3
    assert saved(tmp_path / "none.json") == Tally()


def test_options_are_said_before_anything_happens() -> None:
    """One line names all that differs from a calm world, so that a failure can be understood without running it."""
    drawn = draw(5014, SHIPPED)
    assert f"seed={drawn.seed}" in drawn.said()
    assert "kills=3" in replace(drawn, kills=3).said()


def test_the_catalogue_is_complete() -> None:
    """All 61 rows, each either counted or explained, and counters that exist."""
    assert [row.number for row in ROWS] == list(range(1, 62))
    assert all(bool(row.shown) != bool(row.elsewhere) for row in ROWS)
    assert len(never(Tally().counts)) == sum(bool(row.shown) for row in ROWS) + len(faults()) + len(edges())
