"""show and resolve: what they say about accounts that are not here, kept amounts, and what is missing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from .conftest import Payonce

pytestmark = pytest.mark.usefixtures("one_account")

Paid = Callable[..., dict[str, Any]]
ELSEWHERE = 'version = 1\n[providers.other]\nadapter = "mock"\nbase_url = "http://127.0.0.1:9"\nsecret = "env:NONE"\n'


def set_due(data: Path, due_us: int) -> None:
    connection = apsw.Connection(str(data / "payments.db"))
    connection.execute("UPDATE due SET due_us = ?", (due_us,))
    connection.close()


def test_show_takes_the_time_from_the_due_index(payonce: Payonce, paid: Paid, data: Path) -> None:
    """Due is when a worker will look at it, whatever this process would plan."""
    name = paid("tok_never_resolves", wait="0.3")["transactionId"]
    set_due(data, 4_000_000_000_000_000)
    assert " d" in payonce("show", name, "--json").json["due"].split(",")[1]
    set_due(data, 1)
    assert "ask mock what happened, now" in payonce("show", name, "--json").json["due"]
    connection = apsw.Connection(str(data / "payments.db"))
    connection.execute("DELETE FROM due")
    connection.close()
    assert payonce("show", name, "--json").json["due"] is None


def test_show_does_not_guess_for_an_account_that_is_not_here(payonce: Payonce, paid: Paid, tmp_path: Path, data: Path) -> None:
    """With another configuration the time stays the same, and the missing account is named instead of an action."""
    name = paid("tok_never_resolves", wait="0.3")["transactionId"]
    set_due(data, 4_000_000_000_000_000)
    (tmp_path / "other.toml").write_text(ELSEWHERE)
    due = payonce("show", name, "--config", "other.toml", "--json").json["due"]
    assert "the account mock is not in this configuration" in due
    assert " d" in due
    assert "ask mock" not in due


def test_show_knows_that_the_forced_account_is_not_here(payonce: Payonce, tmp_path: Path) -> None:
    """A payment without an attempt whose account was forced is not said to go anywhere else."""
    ran = payonce("pay", "--amount", "5", "--currency", "INR", "--provider", "mock", "--json")
    (tmp_path / "other.toml").write_text(ELSEWHERE)
    due = payonce("show", ran.json["transactionId"], "--config", "other.toml", "--json").json["due"]
    assert "the account mock is not in this configuration" in due


def test_an_accepted_amount_is_what_was_taken(payonce: Payonce, paid: Paid) -> None:
    """After `charged --amount 1150 --accept-amount` show speaks of 11.50, not of the 10.50 that were asked."""
    doubt = paid("tok_wrong_amount")["transactionId"]
    args = ("--provider-ref", "ch_000000000001", "--amount", "1150", "--accept-amount", "--yes")
    assert payonce("resolve", doubt, "--as", "charged", "--reason", "kept", *args).code == 0
    story = payonce("show", doubt).out
    assert "Money  11.50 INR was taken once and is kept." in story
    assert "10.50 INR was taken" not in story


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), ("--provider-ref", "--amount")),
        (("--amount", "1150"), ("--provider-ref",)),
        (("--provider-ref", "ch_1"), ("--amount",)),
        (("--provider-ref", "ch_1", "--amount", "1150"), ("--accept-amount",)),
    ],
)
def test_resolve_names_everything_that_is_missing(
    payonce: Payonce, paid: Paid, args: tuple[str, ...], said: tuple[str, ...]
) -> None:
    """All missing options at once, by their flags, and no word about keys or payments that were not created."""
    doubt = paid("tok_wrong_amount")["transactionId"]
    ran = payonce("resolve", doubt, "--as", "charged", "--reason", "seen", "--yes", *args)
    assert (ran.code, ran.out) == (2, "")
    for flag in said:
        assert flag in ran.err
    assert "resolution_incomplete" in ran.err
    assert "Nothing was recorded" in ran.err
    for word in ("idempotency", " key", "moved no money"):
        assert word not in ran.err


def test_resolve_needs_a_doubt(payonce: Payonce, paid: Paid) -> None:
    """A settled payment has nothing to resolve: 5, with words of its own, and before anybody is asked."""
    paid_id = paid("tok_ok")["transactionId"]
    ran = payonce("resolve", paid_id, "--as", "not-charged", "--reason", "r")
    assert (ran.code, ran.out) == (5, "")
    assert "nothing_to_resolve" in ran.err
    assert "Nothing was recorded" in ran.err
    assert "operation_in_progress" not in ran.err


@pytest.mark.parametrize("decision", ["not-charged", "reversed"])
def test_resolve_takes_no_charge_for_other_decisions(payonce: Payonce, paid: Paid, decision: str) -> None:
    """An amount or a provider's id with a decision that has none is refused, not ignored."""
    doubt = paid("tok_wrong_amount")["transactionId"]
    ran = payonce("resolve", doubt, "--as", decision, "--reason", "r", "--amount", "5", "--yes")
    assert (ran.code, "--as charged" in ran.err) == (2, True)
    assert payonce("show", doubt, "--json").json["payment"]["status"] == "IN_DOUBT"
