"""``payonce simulate`` as people meet it: one world, many, wrong input."""

import json
from pathlib import Path

import pytest

from payonce.cli import FAILURE, OK, USAGE, main
from payonce.core import verdict


def test_one_world_says_its_options_first(capsys: pytest.CaptureFixture[str]) -> None:
    """Then what happened, if asked, what it came to, and the hash of its trace."""
    assert main(["simulate", "--seed", "7", "--trace"]) == OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("seed=7 ")
    assert any("202 for key-0" in line for line in lines)
    assert lines[-1].startswith("trace ")


def test_a_broken_rule_prints_its_timeline(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With exit code 1, and the rule at the end."""
    monkeypatch.setattr(verdict, "_proven_no", lambda *_: True)
    codes = [main(["simulate", "--seed", str(seed)]) for seed in range(12)]
    said = capsys.readouterr().out
    assert FAILURE in codes
    assert "VIOLATION" in said
    assert "BROKEN  I" in said


def test_many_worlds_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One document with every count."""
    assert main(["simulate", "--seeds", "3", "--workers", "1", "--json"]) == OK
    tally = json.loads(capsys.readouterr().out)
    assert (tally["seeds"], tally["broken"]) == (3, [])
    assert tally["payments"] == sum(tally["statuses"].values())


def test_a_crash_point_is_lived_again(capsys: pytest.CaptureFixture[str]) -> None:
    """By the line that was printed when it broke."""
    assert main(["simulate", "--case", "points: mock-ok 9:crash_after"]) == OK
    assert "!! crash_after at commit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (["--provider", "nobody.knows"], "cannot be simulated"),
        (["--case", "points: nothing"], "there is no scenario"),
        (["--kept", "/nowhere/seeds.txt"], "cannot read"),
        (["--store", "floppy"], "floppy"),
        (["--seed", "x"], "whole number"),
    ],
)
def test_wrong_input_is_told_and_nothing_begins(asked: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and one line that says what to do."""
    assert main(["simulate", *asked]) == USAGE
    assert why in capsys.readouterr().err


def test_a_file_of_seeds_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its lines begin with a number."""
    (tmp_path / "s.txt").write_text("not a seed\n", encoding="utf-8")
    assert main(["simulate", "--seeds", "1", "--kept", str(tmp_path / "s.txt")]) == USAGE
    assert "begins with the number of a seed" in capsys.readouterr().err
