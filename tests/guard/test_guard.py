"""What the hot paths cost, held against the committed baseline; and that the guard sees what it is for."""

import json
import os
import subprocess
import sys

import pytest
from msgspec.structs import replace

from . import __main__ as command
from . import baseline as kept
from . import counts as counts_module
from . import instructions
from .baseline import Baseline, judge_counts, judge_instructions, read, renewed, told
from .counts import Counts, counted_apart
from .ground import OPERATIONS

pytestmark = pytest.mark.xdist_group("guard")  # counted once


@pytest.fixture(scope="module")
def counts() -> Counts:
    return counted_apart()


def test_hot_paths_cost_what_the_baseline_says(counts: Counts) -> None:
    """No operation takes more calls, statements, steps, syncs or bytes of log than the baseline and its margin."""
    baseline = read()
    judged = judge_counts(counts, baseline)
    print(told(judged, baseline))
    assert judged.worse == (), told(judged, baseline)


def test_counts_are_the_same_each_time(counts: Counts) -> None:
    """Counted again, nothing differs: so the margin is for changes of the code alone."""
    assert counted_apart() == counts


def test_work_that_nobody_needs_is_seen(counts: Counts) -> None:
    """One more encode, one more hash and one more read in a write: each is told, and nothing else is."""
    env = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run([sys.executable, "-m", "tests.guard.spoiling"], env=env, capture_output=True, text=True, check=True)
    said = " ".join(judge_counts(json.loads(done.stdout), renewed(read(), counts, None)).worse)
    assert "encode: c_calls" in said
    assert "append: c_calls" in said
    assert "accept: statements" in said
    assert "advance: statements" in said
    assert "get: " not in said


def test_an_accept_and_its_settling_are_synced(counts: Counts) -> None:
    """One wait for the disk makes a payment durable, and two settle it: its claim and its answer. None would be a lie."""
    assert counts["accept"]["syncs"] == 1
    assert 2 <= counts["advance"]["syncs"] < 2.5  # now and then the log is put back into the file
    assert counts["get"]["syncs"] == counts["repeat"]["syncs"] == 0


FIGURES: Counts = {"accept": {"python_calls": 100.0, "c_calls": 50.0, "statements": 10.0, "syncs": 1.0, "vm_steps": 0.0}}
BASELINE = renewed(Baseline(), FIGURES, {"accept": 20.0}, "3.11")


def with_more(what: str, by: float) -> Counts:
    return {"accept": {**FIGURES["accept"], what: FIGURES["accept"][what] + by}}


@pytest.mark.parametrize(
    ("what", "by"), [("python_calls", 5.1), ("c_calls", 2.6), ("statements", 1), ("syncs", 1), ("vm_steps", 1)]
)
def test_more_than_the_margin_fails(what: str, by: float) -> None:
    """5 % more of anything; where there was nothing, anything."""
    (said,) = judge_counts(with_more(what, by), BASELINE, "3.11").worse
    assert said.startswith(f"accept: {what}")


def test_within_the_margin_nothing_is_said() -> None:
    """Up to 5 % either way."""
    assert judge_counts(with_more("python_calls", 4.9), BASELINE, "3.11") == kept.Judged()
    assert judge_counts(with_more("python_calls", -4.9), BASELINE, "3.11") == kept.Judged()


def test_less_asks_for_a_lower_baseline() -> None:
    """An improvement is kept only when the baseline is renewed."""
    judged = judge_counts(with_more("statements", -2), BASELINE, "3.11")
    assert (judged.worse, len(judged.better)) == ((), 1)
    assert kept.RENEW in told(judged, BASELINE)


def test_another_python_is_compared_in_what_sqlite_does() -> None:
    """A version without figures of calls still fails for a statement too many, and says what it did not compare."""
    judged = judge_counts(with_more("python_calls", 50), BASELINE, "3.99")
    assert judged.worse == ()
    assert "3.99" in " ".join(judged.skipped)
    assert judge_counts(with_more("statements", 1), BASELINE, "3.99").worse


def test_an_operation_without_figures_fails() -> None:
    """A new hot path gets a baseline, and one that is not counted any more leaves it."""
    assert judge_counts({**FIGURES, "refund": FIGURES["accept"]}, BASELINE, "3.11").worse
    assert judge_counts({}, BASELINE, "3.11").worse


def test_instructions_have_a_margin_of_their_own() -> None:
    """3 % more instructions fail, 2 % do not; a Python without figures is not compared."""
    assert judge_instructions({"accept": 20.7}, BASELINE, "3.11").worse
    assert judge_instructions({"accept": 20.4}, BASELINE, "3.11") == kept.Judged()
    assert judge_instructions({"accept": 99.0}, BASELINE, "3.12").skipped


def test_libraries_that_changed_are_named() -> None:
    """Whoever upgrades a library learns that it may be why."""
    older = replace(BASELINE, libraries={**BASELINE.libraries, "starlette": "0.1"})
    assert "starlette 0.1 -> " in told(judge_counts(with_more("c_calls", 9), older, "3.11"), older)


@pytest.mark.parametrize(("statements", "code"), [(10.0, 0), (8.0, 0), (11.0, 1)], ids=["the same", "less", "more"])
def test_the_command_fails_for_more_only(
    statements: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make guard` where there is no valgrind: it says so, compares the counts, and fails when one is over its margin."""
    figures = {"accept": {**FIGURES["accept"], "statements": statements}}
    monkeypatch.setattr(instructions, "possible", lambda: "no valgrind here")
    monkeypatch.setattr(counts_module, "counted_apart", lambda _env=None: figures)
    monkeypatch.setattr(command, "read", lambda: renewed(Baseline(), FIGURES, {"accept": 20.0}))
    assert command.main(["--instructions"]) == code
    assert "no valgrind here" in capsys.readouterr().out


def test_the_baseline_has_every_operation() -> None:
    """The committed file is whole: counts, and instructions of the Python that CI runs."""
    baseline = read()
    assert sorted(baseline.work) == sorted(OPERATIONS)
    known = [set(of) for of in baseline.calls.values()] + [set(of) for of in baseline.instructions.values()]
    assert known == [set(OPERATIONS)] * 2
