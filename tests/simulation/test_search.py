"""The exhaustive search over the pure machine, and the proof that it bites: each rule taken away leaves a shortest way to harm."""
# ruff: noqa: ARG005, E501 - patches take what they replace; the table has one mutant a line

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from payonce.core import apply, ids, plan, verdict
from payonce.core.due import Next
from payonce.core.outcome import Absent, Authorized, Declined, Processing, Rejected, Unknown
from payonce.core.payment import Payment, Step
from payonce.testing.search import DEEP, PAIRS, PROFILES, Bounds, rows, search, truth
from payonce.testing.search.graph import Graph
from payonce.testing.search.states import Move
from payonce.testing.search.vendors import Kind

NONE = Bounds(faults=0, crashes=0, duplicates=0, losses=0, freezes=0, sleeps=0, refusals=0)
Patch = Callable[[pytest.MonkeyPatch], None]


# --- the machine as it is -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kinds", "bounds"), PROFILES, ids=lambda each: "+".join(each) if isinstance(each, tuple) else "")
def test_no_reachable_state_breaks_a_rule(kinds: tuple[Kind, Kind], bounds: Bounds) -> None:
    """Two workers and two providers, every state within the bounds: never two charges, never a lost payment."""
    report = search(kinds, bounds)
    assert report.found is None, report.found.timeline
    assert report.exhausted
    assert set(report.ends) == {"SUCCESS", "FAILED", "IN_DOUBT"}, report.line()


def test_the_profiles_cover_what_they_claim() -> None:
    """Every pair of kinds is searched by `make sim` with two crashes and two copies, and every kind of fault occurs."""
    assert {kinds for kinds, b in PROFILES if (b.crashes, b.duplicates) == (2, 2) and b.faults >= 4} == set(PAIRS)
    every = [b for _, b in (*PROFILES, *DEEP)]
    assert all(any(getattr(b, fault) for b in every) for fault in ("losses", "freezes", "sleeps", "refusals", "aftermath"))


def test_the_same_search_twice_is_the_same() -> None:
    """States, moves and depth are a property of the code, not of the run."""
    one, other = (search(("manual", "keyed"), replace(NONE, faults=1, losses=1)) for _ in range(2))
    assert replace(one, seconds=0) == replace(other, seconds=0)


def test_covered_states_add_nothing() -> None:
    """With one fault more there are more states, and each state without faults is still there."""
    sizes = [search(("keyed", "keyless"), replace(NONE, faults=n, losses=2)).states for n in range(3)]
    assert sizes[0] < sizes[1] < sizes[2]


# --- what a merge leaves out makes no difference ------------------------------------------------------------------


@pytest.mark.parametrize("kinds", PAIRS)
def test_merged_rows_behave_alike(kinds: tuple[Kind, Kind], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that differ only in what the search leaves out get the same answer of plan, now and later, and the same verdicts."""
    real, met = rows._plain, dict[Payment, Payment]()

    def both(p: Payment) -> Payment:
        plain = real(p)
        whole = met.setdefault(plain, replace(p, head=""))
        if whole != replace(p, head=""):
            pairs.append((whole, replace(p, head="")))
        return plain

    # the answers that were kept are asked again with the whole row of each
    pairs: list[tuple[Payment, Payment]] = []
    monkeypatch.setattr(rows, "_plain", both)
    graph = Graph(kinds, replace(NONE, faults=1, freezes=1))
    _walk(graph, 4_000)
    facts = graph.rows.facts
    for one, other in pairs:
        for later in (0, 1, 7, 25, 60, 100_000):
            now = max(one.updated_us, other.updated_us) + later * 1_000_000
            assert plan.plan(one, now, facts) == plan.plan(other, now, facts)
        assert [verdict.verdict(a) for a in one.attempts] == [verdict.verdict(a) for a in other.attempts]


def _walk(graph: Graph, limit: int) -> None:
    """Visit some states, so that the rows of them are made."""
    states = [graph.first()]
    known = set(states)
    for s in states:
        for move in graph.moves(s):
            if move.after not in known and len(states) < limit:
                known.add(move.after)
                states.append(move.after)


# --- mutants ------------------------------------------------------------------------------------------------------


class Mutant(NamedTuple):
    rule: str  # that is taken away
    patch: Patch
    kinds: tuple[Kind, Kind]
    faults: dict[str, Any]
    broken: str  # what the search says of it


def or_no(extra: Callable[[Any, Any, Any], bool]) -> Patch:
    """NO is also concluded where ``extra(attempt, sends, seen)`` says so."""
    real = verdict._proven_no

    def weaker(a: Any, sends: Any, seen: Any) -> bool:
        return real(a, sends, seen) or extra(a, sends, seen)

    return lambda m: m.setattr(verdict, "_proven_no", weaker)


def seen_as_no(*kinds: type) -> Patch:
    return or_no(lambda a, sends, seen: any(isinstance(o, kinds) for _, o in seen))


def unsealed(m: pytest.MonkeyPatch) -> None:
    for module in (plan, apply):
        m.setattr(module, "unresolved", lambda a: False)
    m.setattr(apply, "sealed", lambda a: True)


def held_is_charged(m: pytest.MonkeyPatch) -> None:
    real = verdict.verdict
    eager = lambda a: "YES" if any(isinstance(o, Authorized) for _, o in verdict.evidence(a)) else real(a)  # noqa: E731
    for module in (plan, apply):
        m.setattr(module, "verdict", eager)
    m.setattr(apply, "Succeeded", Authorized)


def new_key_per_send(m: pytest.MonkeyPatch) -> None:
    numbers = itertools.count()
    m.setattr(ids, "step_key", lambda *_: f"key{next(numbers)}")


def left_though_captured(m: pytest.MonkeyPatch) -> None:
    """A capture without an answer is forgotten, and the hold is left."""
    for module in (plan, apply):
        m.setattr(module, "captures", lambda a: [])
    m.setattr(plan, "held", lambda a: None if any(s.kind == "capture" for s in a.steps) else verdict.held(a))
    m.setattr(plan, "_again", lambda a: None)


def refused_capture_fires(m: pytest.MonkeyPatch) -> None:
    def refused(a: Any) -> bool:
        return any(s.kind == "capture" and isinstance(s.outcome, Rejected) for s in a.steps)

    m.setattr(plan, "held", lambda a: None if refused(a) else verdict.held(a))
    m.setattr(plan, "_again", lambda a: "fire")


def no_horizon(m: pytest.MonkeyPatch) -> None:
    m.setattr(plan, "_past_horizon", lambda p, a, at: None)


def due_for_nothing(m: pytest.MonkeyPatch) -> None:
    """A row is due, and then there is nothing to do."""
    real = plan.plan

    def idle(p: Any, now: int, facts: Any) -> Any:
        due = real(p, now, facts)
        return Next(due.at_us, None) if p.attempts and due.at_us is not None and due.at_us > now else due

    m.setattr(plan, "plan", idle)


def timer(a: Any, sends: Any, seen: Any) -> bool:
    return bool(a.steps[-1].ended_us >= plan.horizon_us(a))


def lease_forgotten(m: pytest.MonkeyPatch) -> None:
    """A step whose sender still waits counts as over, and as not sent."""
    m.setattr(plan, "plan", plan._first_row)
    m.setattr(Step, "ended_us", property(lambda s: s.seen_at_us if s.outcome is not None else s.at_us))
    m.setattr(verdict, "effective", lambda a: [s for s in a.steps if s.kind in ("fire", "replay", "capture") and s.outcome])


def nothing(m: pytest.MonkeyPatch) -> None:
    """The patch of a mutant that is a worse store: see ``search(conditional=False)``."""


def set_plan(name: str, value: Any) -> Patch:
    return lambda m: m.setattr(plan, name, value)


CLOSABLE, MANUAL, KEYED = PAIRS[0], PAIRS[1], PAIRS[2]


def declined_as_no(m: pytest.MonkeyPatch) -> None:
    """And nothing is closed before it is left, which would make it good."""
    seen_as_no(Declined)(m)
    m.setattr(plan, "_open_box", lambda a: False)


MUTANTS: tuple[Mutant, ...] = (
    Mutant("absent is not NO", seen_as_no(Absent), KEYED, {"losses": 1}, "is not proven over"),
    Mutant("unknown is not failed", seen_as_no(Unknown), KEYED, {"losses": 1}, "is not proven over"),
    Mutant("a decline answers its own send only", declined_as_no, CLOSABLE, {"losses": 1}, "may still be charged"),
    Mutant("processing is not NO", seen_as_no(Processing), KEYED, {}, "is not proven over"),
    Mutant(
        "a refused replay says nothing of the first send",
        seen_as_no(Rejected),
        KEYED,
        {"losses": 1, "refusals": 1},
        "is not proven over",
    ),
    Mutant("no timer turns unknown into failed", or_no(timer), KEYED, {"losses": 1}, "is not proven over"),
    Mutant("an attempt is left only when it is sealed", unsealed, KEYED, {"losses": 1}, "is not proven over"),
    Mutant("the claim is a conditional write", nothing, KEYED, {}, "both workers hold step"),
    Mutant(
        "a second fire needs a read that shows the first idle",
        set_plan("shown_idle", lambda a: True),
        CLOSABLE,
        {"losses": 1},
        "second fire without a read",
    ),
    Mutant(
        "replays end with the span",
        set_plan("replay_by", lambda *_: 10**20),
        KEYED,
        {"losses": 1, "sleeps": 1},
        "outside of the span",
    ),
    Mutant("a replay has the key of the fire", new_key_per_send, KEYED, {"losses": 1}, "a replay is the fire's key and bytes"),
    Mutant("what may have been captured is never left", left_though_captured, MANUAL, {"losses": 1}, "is not proven over"),
    Mutant(
        "a refused capture is not fired again",
        refused_capture_fires,
        MANUAL,
        {"refusals": 1},
        "second fire although the first one is held",
    ),
    Mutant("held is not charged", held_is_charged, MANUAL, {}, "SUCCESS without a charge"),
    Mutant("what cannot be resolved becomes visible", no_horizon, KEYED, {"losses": 1}, "is not proven over"),
    Mutant("the due time leads to an action", due_for_nothing, KEYED, {}, "leads to nothing"),
    Mutant("a claimed step may have been sent", lease_forgotten, KEYED, {}, "is not proven over"),
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.rule)
def test_a_rule_taken_away_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search finds the shortest way to the harm, and tells it."""
    mutant.patch(monkeypatch)
    bounds = replace(NONE, faults=sum(mutant.faults.values()), **mutant.faults)
    report = search(mutant.kinds, bounds, conditional=mutant.patch is not nothing)
    assert report.found is not None, f"survived: {report.line()}"
    assert mutant.broken in report.found.rule, report.found.timeline
    assert report.found.timeline.endswith(f"BROKEN: {report.found.rule}")
    assert len(report.found.timeline.splitlines()) == report.found.moves + 2


LEDGERS = ("absent is not NO", "unknown is not failed", "a refused replay says nothing of the first send")


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.rule in LEDGERS], ids=lambda m: m.rule)
def test_the_truth_of_the_providers_is_enough(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any look at the histories the books of the providers and the requests under way tell the same harm."""
    mutant.patch(monkeypatch)
    monkeypatch.setattr(rows, "_forbidden", lambda p, event: ())
    report = search(mutant.kinds, replace(NONE, faults=sum(mutant.faults.values()), **mutant.faults))
    assert report.found is not None, f"survived: {report.line()}"
    assert "may still be charged" in report.found.rule, report.found.timeline


def test_the_end_of_harm_is_two_charges(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may still be charged is charged some moves later: the oracle that only counts charges finds it as well."""
    seen_as_no(Absent)(monkeypatch)
    monkeypatch.setattr(rows, "_forbidden", lambda p, event: ())
    monkeypatch.setattr(truth.Truth, "_may_take", lambda self, s, attempt, coming: False)
    report = search(("keyed", "keyless"), replace(NONE, faults=1, losses=1))
    assert report.found is not None
    assert report.found.rule in ("charged 2 times", "attempt 1 was left, but it was charged"), report.found.timeline


def test_a_dead_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A payment that nobody does anything for any more is no settled one, and a search that sees one says so."""
    monkeypatch.setattr(Graph, "_clock", lambda self, s: iter(()))
    report = search(("keyed", "keyless"), NONE)
    assert report.found is not None
    assert report.found.rule == "PENDING, not settled, and nobody will ever do anything for it again"


def test_a_circle_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is always busy, and nothing ever comes of it: that is no settled payment either."""
    monkeypatch.setattr(Graph, "moves", lambda self, s: iter([Move("spins", 0, s.hands, s)]))
    report = search(("keyed", "keyless"), NONE)
    assert report.found is not None
    assert report.found.rule == "PENDING, not settled, and it may go round in circles for ever"


COPIES = replace(NONE, faults=1, duplicates=1, unkeyed_copies=True)


def test_a_copy_of_a_declined_fire_meets_a_closed_container() -> None:
    """Where a provider knows no fire again, a copy of one that was declined may arrive after the failover: what can be
    closed is closed before it is left."""
    report = search(("closable", "keyed"), COPIES)
    assert report.found is None, report.found.timeline


def test_the_stated_limit_of_copies_is_a_real_one() -> None:
    """Where nothing can be closed and nothing is known again, such a copy charges: no orchestrator can help that. The search
    is expected to find it, and nothing else."""
    report = search(("keyless", "keyed"), COPIES)
    assert report.found is not None
    assert report.found.rule == "charged 2 times", report.found.timeline


@pytest.mark.parametrize(("kinds", "faults"), {(m.kinds, tuple(m.faults)): (m.kinds, m.faults) for m in MUTANTS}.values())
def test_without_the_patch_nothing_is_found(kinds: tuple[Kind, Kind], faults: dict[str, Any]) -> None:
    """The bounds in which the mutants are found are clean over the real core: it is the missing rule that is found."""
    report = search(kinds, replace(NONE, faults=sum(faults.values()), **faults))
    assert report.found is None, report.found.timeline
