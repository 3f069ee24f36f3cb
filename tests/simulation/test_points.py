"""Exhaustive crash points: every case is known by a line, lives the same twice, and breaks no rule; rules that are taken
away are missed at the very call where they matter."""

import pickle
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from payonce.testing.simulator.fate import POINTS
from payonce.testing.simulator.points import (
    NEVER,
    REACH,
    SENDS,
    WORDS,
    Case,
    Tally,
    known,
    pairs,
    run,
    seconds,
    singles,
    timeline,
)
from payonce.testing.simulator.scenarios import SCENARIOS
from payonce.testing.simulator.storage import SimStore

from .mutants import MUTANTS
from .mutation import applied

# mutant, scenario, the point and the words that kill it
BITES = (
    ("no_fence", "mock-ok", "registry", ("error_before",)),
    ("acknowledged_before_commit", "mock-ok", "commit", ("crash_before",)),
    ("unclear_is_acknowledged", "mock-ok", "commit", ("vanish",)),
    ("unclear_claim_is_sent", "mock-ok", "commit", ("later", "vanish")),
    ("due_time_lost_on_claims", "mock-ok", "commit", ("crash_after",)),
    ("answer_recorded_once", "mock-ok", "commit", ("error_before",)),
    ("unknown_becomes_failed", "mock-ok", "commit", ("crash_after",)),
    ("a_miss_is_no", "mock-ok", "fire", ("crash_before",)),
    ("lease_not_waited_for", "mock-ok", "fire", ("error_after",)),
    ("new_key_per_retry", "mock-lost-answer", "commit", ("crash_after",)),
    ("lost_create_made_again", "razorpay-ok", "create", ("crash_after",)),
)
SMALL = ("mock-ok", "mock-accept-unclear", "razorpay-ok")  # the rest of the fast ones runs in `make sim`


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """Runs of the code as it is are not compared with runs of a mutant."""
    yield
    known.cache_clear()


def test_a_case_is_one_line() -> None:
    """What is printed is read again, pickles, and names the calls in order."""
    case = Case("mock-late-success", ((17, "crash_after"), (23, "error_before")))
    assert str(case) == "points: mock-late-success 17:crash_after 23:error_before"
    assert Case.parse(str(case)) == Case.parse("mock-late-success 17:crash_after 23:error_before") == case
    assert pickle.loads(pickle.dumps(case)) == case  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    "line", ["", "points: nowhere", "mock-ok 3", "mock-ok x:delay", "mock-ok 3:bliss", "mock-ok 4:delay 3:delay"]
)
def test_what_is_no_case_is_refused(line: str) -> None:
    """A scenario that is not there, a fault without a call or of no kind, calls in the wrong order."""
    with pytest.raises(ValueError, match=r"scenario|fault|order"):
        Case.parse(line)


def test_the_calms_are_calm() -> None:
    """Without a fault every scenario ends as it should, twice the same to the last line of its trace."""
    for name in SCENARIOS:
        first, again = run(Case(name)), run(Case(name))
        assert first.violations == (), name
        assert set(first.statuses) <= SCENARIOS[name].ends, name
        assert (first.digest, first.calls) == (again.digest, again.calls), name


def test_every_point_is_passed_with_every_word() -> None:
    """The scenarios together pass each port call in a state where each word can be said; what is never passed has a reason,
    and still is not passed."""
    passed = {(asked.point, w) for name in SCENARIOS for asked in known(Case(name)).calls for w in WORDS if asked.knows(w)}
    assert {(p, w) for p, words in POINTS.items() if p not in NEVER for w in WORDS if w in words} == passed
    assert all(NEVER.values())
    assert {p for p, words in POINTS.items() if "5xx_after" in words} == set(SENDS)


@pytest.mark.parametrize("name", SMALL)
def test_single_faults_break_nothing(name: str) -> None:
    """Every call x every word: nothing is lost or charged twice, and it ends as the card says. Nearly every word at every
    point makes a difference."""
    tally = Tally()
    for case in singles((SCENARIOS[name],)):
        tally.add(run(case))
    assert [line for outcome in tally.broken for line in timeline(outcome.case)] == []
    assert tally.cases == sum(tally.reached.values()) > 50
    assert tally.without_effect() == []


def test_pairs_are_complete_and_can_be_shared() -> None:
    """The shares of a campaign are together all pairs, each once; the second fault is a commit or send that is asked after
    the first; some of them live without breaking anything."""
    scenario = SCENARIOS["mock-accept-unclear"]
    everything = list(pairs(scenario))
    shares = [case for part in range(3) for case in pairs(scenario, part, 3)]
    assert sorted(map(str, shares)) == sorted(map(str, everything))
    assert len(set(everything)) == len(everything) > 500
    for case in everything[:: len(everything) // 15]:
        (k1, _), (k2, word) = case.faults
        asked = known(case.but_last()).calls[k2]
        assert k1 < k2 <= k1 + REACH
        assert asked.knows(word)
        assert asked.point == "commit" or asked.point in SENDS
        assert run(case).violations == ()


def test_the_second_fault_is_counted_in_the_run_of_the_first() -> None:
    """After a crash before the fire the fire that is asked for is the read or replay of somebody else."""
    calls = known(Case("mock-ok")).calls
    fire = next(n for n, asked in enumerate(calls) if asked.point == "fire")
    first = Case("mock-ok", ((fire, "crash_before"),))
    later = {known(first).calls[case.faults[1][0]].point for case in seconds(first)}
    assert {"read", "replay", "commit"} <= later
    assert "fire" not in later


def test_a_line_of_another_version_says_so() -> None:
    """A call that is not there, or that knows no such word, is not passed over in silence."""
    (none,) = run(Case.parse("points: mock-ok 999:crash_before")).violations
    assert "none has the number 999" in none.rule
    (number, asked), *_ = ((n, a) for n, a in enumerate(known(Case("mock-ok")).calls) if a.point == "get")
    (unknown,) = run(Case("mock-ok", ((number, "duplicate"),))).violations
    assert f"call {number} is a {asked.point}, which knows no duplicate" in unknown.rule


def test_chance_that_no_seed_decides_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that should be the same up to the fault and are not break a rule of their own."""
    real, ticks = SimStore.get, count(1)

    async def get(self: SimStore, payment_id: str) -> Any:
        await self._process.pause(next(ticks))
        return await real(self, payment_id)

    monkeypatch.setattr(SimStore, "get", get)
    last = [n for n, asked in enumerate(known(Case("mock-ok")).calls) if asked.point == "commit"][-1]
    (wrong,) = run(Case("mock-ok", ((last, "delay"),))).violations
    assert wrong.rule.startswith(f"determinism: up to call {last}")


def _cases(scenario: str, point: str, words: tuple[str, ...]) -> list[Case]:
    calls = known(Case(scenario)).calls
    return [case for case in singles((SCENARIOS[scenario],), words) if calls[case.faults[0][0]].point == point]


@pytest.mark.parametrize(("name", "scenario", "point", "words"), BITES, ids=lambda each: each if isinstance(each, str) else "")
def test_a_rule_taken_away_is_missed_at_its_call(name: str, scenario: str, point: str, words: tuple[str, ...]) -> None:
    """The mutant lives as well as anybody where nothing goes wrong, and is found by making this one call go wrong; payonce as
    it is passes there."""
    cases = _cases(scenario, point, words)
    assert [case for case in cases if run(case).violations] == []
    with applied(MUTANTS[name]):
        known.cache_clear()
        assert run(Case(scenario)).violations == ()
        found = [case for case in cases if run(case).violations]
    assert found, f"{name} survives {', '.join(words)} at every {point} of {scenario}"


def test_the_report_shows_how_to_see_it_again() -> None:
    """A broken case prints its line, the rule and the life of the payment; the table has every point and word of its case."""
    with applied(MUTANTS["unknown_becomes_failed"]):
        tally = Tally()
        for case in _cases("mock-ok", "commit", ("crash_after",)):
            tally.add(run(case))
        (broken, *_) = tally.broken
        lines = list(timeline(broken.case))
    assert lines[0] == str(broken.case) == str(Case.parse(lines[0]))
    assert lines[1] == f"  {broken.violations[0].rule}"
    assert any("!! crash_after at commit" in line for line in lines)
    (commits,) = (line for line in tally.table(("crash_after", "duplicate")) if line.startswith("commit"))
    assert commits.split() == ["commit", str(tally.cases), "0"]
    assert ("commit", "duplicate") in tally.unreached()
