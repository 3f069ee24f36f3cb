"""The comparison with a textbook retry loop: the loop is a fair opponent, and one judge judges both."""

from typing import Any

import pytest
from msgspec.structs import replace

from payonce import dispatch
from payonce.core.outcome import NotSent
from payonce.testing.simulator import Options, cast_of, comparison
from payonce.testing.simulator.comparison import (
    DOUBT,
    FAILED_CHARGED,
    LOST,
    MISTAKES,
    SHOWN,
    SUCCESS_UNCHARGED,
    TWICE,
    UNRETURNED,
    WRONG_AMOUNT,
    Comparison,
    Ended,
    NaiveWorld,
    compare,
    fair,
    mistakes,
    story,
    table,
)
from payonce.testing.simulator.options import calm
from payonce.testing.simulator.world import World, live
from tests.house.source import code_lines, parsed, python_files

SEEDS = range(60)
PLAIN = ("tok_ok", "tok_ok", "tok_decline_insufficient_funds", "tok_decline_stolen_card", "tok_decline_then_ok", "tok_slow_5s")
ID = "pay_" + "0" * 20


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return compare(SEEDS, cast_of())


def quiet(seed: int, adapters: Any) -> Options:
    """Ten payments, two processes, no fault; the cards are good, or refused for good."""
    return replace(calm(seed, dict.fromkeys(adapters)), processes=2, payments=10, tokens=PLAIN)


def late(seed: int, adapters: Any) -> Options:
    """Five payments whose first try is declined and paid ten seconds later; no refund reaches the provider in time."""
    del adapters
    options = replace(calm(seed, {"mock": None}), terms="sandbox", payments=5, tokens=("tok_late_then_decline",))
    return replace(options, rates={"refund error_before": 1.0})


def test_the_retry_loop_is_caught(compared: Comparison) -> None:
    """Under faults it charges twice, forgets and lies, often enough to be seen by anyone."""
    naive = compared.naive
    assert naive.payments > 200
    assert naive.counts[TWICE] >= 30
    assert naive.counts[FAILED_CHARGED] >= 20
    assert naive.counts[LOST] >= 1
    assert naive.wrong >= 40
    assert naive.broken == []


def test_payonce_makes_no_mistake_in_the_same_worlds(compared: Comparison) -> None:
    """By the same count over the same ledger, and by the stricter oracle of the simulator."""
    payonce = compared.payonce
    assert abs(payonce.payments - compared.naive.payments) <= 3  # a lost answer to a misused key is nobody's payment
    assert {kind: payonce.counts[kind] for kind in MISTAKES} == dict.fromkeys(MISTAKES, 0)
    assert (payonce.wrong, payonce.broken) == (0, [])


def test_without_faults_the_retry_loop_is_right() -> None:
    """It knows every vendor's steps: in a calm world it makes no mistake, and leaves nothing open."""
    result = compare(range(4), cast_of(), options=quiet)
    for score in (result.naive, result.payonce):
        assert (score.payments, score.wrong, score.broken, dict(score.counts)) == (40, 0, [], {})


def test_a_charge_that_is_shown_is_told_from_one_that_nobody_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """All five ended FAILED, were paid late and keep the charge: payonce shows each of them to people, the loop none. Were
    payonce silent about them too, they would be its mistakes."""
    result = compare(range(1), cast_of(["mock"]), options=late)
    assert dict(result.naive.counts) == {FAILED_CHARGED: 5}
    assert dict(result.payonce.counts) == {UNRETURNED: 5}
    assert (result.naive.wrong, result.payonce.wrong, result.payonce.broken) == (5, 0, [])
    monkeypatch.setattr(comparison, "unreturned", lambda _: ())
    silent = compare(range(1), cast_of(["mock"]), options=late).payonce
    assert (dict(silent.counts), silent.wrong) == ({FAILED_CHARGED: 5}, 5)


def test_without_faults_both_end_alike() -> None:
    """In a calm world both take money for the same payments, at every vendor."""
    cast, statuses = cast_of(), []
    for kind in (NaiveWorld, World):
        world, verdicts = live(quiet(1, cast.adapters), cast, kind=kind)
        charged = sorted(m.amount for m in world.vendors.movements() if m.kind in ("charge", "capture"))
        statuses.append((charged, verdicts.violations))
    assert statuses[0] == statuses[1]
    assert statuses[0][0] != []


def test_the_same_seeds_give_the_same_table(compared: Comparison) -> None:
    """Twice the same, to the last seed of the list."""
    some = range(8)
    assert table(compare(some, cast_of())) == table(compare(some, cast_of()))
    assert compared.naive.seeds[TWICE] == sorted(compared.naive.seeds[TWICE])


def test_the_worlds_are_the_same() -> None:
    """Both services meet the same merchants, and nothing that only payonce has."""
    cast, wishes = cast_of(), []
    options = fair(7, tuple(cast.adapters))
    for kind in (NaiveWorld, World):
        world, _ = live(options, cast, kind=kind)
        wishes.append([p.request for p in world.merchants.posted])
    assert wishes[0] == wishes[1]
    assert [options.restores, options.deploys, options.repoints, options.drains, options.webhooks] == [0] * 5


def test_the_column_of_payonce_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """payonce with the classic bug, no answer taken as "not sent", gets its own bad figures."""

    def forgotten(*, reason: str, retry_after_s: int | None = None) -> NotSent:
        del retry_after_s
        return NotSent(reason=reason)

    monkeypatch.setattr(dispatch, "Unknown", forgotten)
    broken = compare(range(30), cast_of()).payonce
    assert broken.wrong > 0
    assert broken.counts[TWICE] + broken.counts[FAILED_CHARGED] > 0
    assert broken.broken != []


CHARGE = {"provider": "mock", "reference": "0" * 20 + "0100", "kind": "charge", "amount": 100, "currency": "INR"}
OTHER = {**CHARGE, "reference": "0" * 20 + "0101"}
REFUND = {**CHARGE, "kind": "refund"}


@pytest.mark.parametrize(
    ("status", "movements", "found"),
    [
        ("SUCCESS", [CHARGE], []),
        ("FAILED", [], []),
        ("FAILED", [CHARGE, REFUND], []),
        ("SUCCESS", [CHARGE, REFUND, OTHER], []),
        ("SUCCESS", [CHARGE, OTHER], [TWICE]),
        ("FAILED", [CHARGE, OTHER], [TWICE, FAILED_CHARGED]),
        ("CANCELED", [CHARGE], [FAILED_CHARGED]),
        ("SUCCESS", [], [SUCCESS_UNCHARGED]),
        ("SUCCESS", [CHARGE, REFUND], [SUCCESS_UNCHARGED]),
        ("SUCCESS", [{**CHARGE, "amount": 101}], [WRONG_AMOUNT]),
        ("SUCCESS", [{**CHARGE, "currency": "USD"}], [WRONG_AMOUNT]),
        ("PENDING", [CHARGE], [LOST]),
        ("IN_DOUBT", [CHARGE], [DOUBT]),
        ("IN_DOUBT", [CHARGE, OTHER], [TWICE, DOUBT]),
    ],
)
def test_a_mistake_is_what_the_ledger_contradicts(status: str, movements: list[dict[str, Any]], found: list[str]) -> None:
    """Each kind by the smallest ledger that shows it; what was given back does not count."""
    assert list(mistakes(Ended(ID, status, 100, "INR"), movements)) == found


@pytest.mark.parametrize(
    ("status", "shown", "movements", "found"),
    [
        ("FAILED", [CHARGE], [CHARGE], [UNRETURNED]),
        ("CANCELED", [CHARGE], [CHARGE], [UNRETURNED]),
        ("FAILED", [CHARGE], [CHARGE, REFUND], [UNRETURNED]),
        ("FAILED", [OTHER], [CHARGE], [FAILED_CHARGED, UNRETURNED]),
        ("FAILED", [OTHER], [CHARGE, OTHER], [TWICE, FAILED_CHARGED, UNRETURNED]),
        ("FAILED", [CHARGE, OTHER], [CHARGE, OTHER], [TWICE, UNRETURNED]),
        ("SUCCESS", [OTHER], [CHARGE, OTHER], [TWICE, UNRETURNED]),
        ("SUCCESS", [OTHER], [OTHER], [SUCCESS_UNCHARGED, UNRETURNED]),
        ("PENDING", [CHARGE], [CHARGE], [LOST, UNRETURNED]),
    ],
)
def test_what_is_shown_excuses_only_itself(
    status: str, shown: list[dict[str, Any]], movements: list[dict[str, Any]], found: list[str]
) -> None:
    """A charge of an unpaid payment that people are shown is no mistake; another one is, and two charges, and what is lost."""
    ended = Ended(ID, status, 100, "INR", tuple(m["reference"] for m in shown))
    assert list(mistakes(ended, movements)) == found


def test_the_story_of_a_double_charge_can_be_read(compared: Comparison) -> None:
    """The first wrong payment of a seed, from its row to the ledger's answer."""
    told = (story(seed, cast_of()) for seed in compared.naive.seeds[TWICE])
    lines = next(each for each in told if "charged twice" in each[0])
    assert lines[0].startswith("seed ")
    assert any("inserts the row" in line for line in lines)
    assert sum("<- fire" in line for line in lines) >= 2
    assert "the ledger: " in lines[-1]
    assert lines[-1].count("charge of") + lines[-1].count("capture of") >= 2


def test_the_table_shows_both(compared: Comparison) -> None:
    """Every kind with both figures; as Markdown a table of three columns."""
    text, marked = table(compared), table(compared, markdown=True)
    for kind in (*MISTAKES, *SHOWN):
        assert any(line.startswith(kind) and f" {compared.naive.counts[kind]}" in line for line in text.splitlines())
    assert {line.count("|") for line in marked.splitlines()} == {4}


def test_the_retry_loop_has_sixty_lines() -> None:
    """What is compared with fits on a page: the class, without blank lines and docstrings."""
    file = python_files("src/payonce/testing/simulator/naive.py")[0]
    assert 40 <= code_lines(parsed(file.name, file.text[file.text.index("class NaivePayments") :])) <= 60
