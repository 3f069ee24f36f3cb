"""What the command line takes as a number, a key and a place; everything else is refused before anything is accepted."""

from pathlib import Path

import pytest

from .conftest import Payonce

NOT_WHOLE = ("10.5", "0x10", "1_000", "\u0661\u0660", "1e3", "-5", "+5", " 5", "5 ", "", "9" * 30)


@pytest.mark.parametrize("text", NOT_WHOLE)
def test_an_amount_is_digits_or_it_is_refused(payonce: Payonce, data: Path, text: str) -> None:
    """An amount that is not plain digits is a usage error that names the option; no store is made, nothing is accepted."""
    ran = payonce("pay", "--amount", text, "--currency", "INR")
    assert (ran.code, ran.out) == (2, "")
    assert "--amount" in ran.err
    assert "digits" in ran.err
    assert not data.exists()


@pytest.mark.parametrize(
    "args",
    [
        ("list", "--limit", "1.5"),
        ("list", "-n", "0x10"),
        ("serve", "--port", "8_0"),
        ("sandbox", "--port", "1e3"),
        ("demo", "--port", "80.0"),
        ("resolve", "pay_00000000000000000000", "--as", "charged", "--reason", "r", "--provider-ref", "c", "--amount", "5.5"),
        ("pay", "--amount", "5", "--currency", "INR", "--wait", "nan"),
        ("pay", "--amount", "5", "--currency", "INR", "--wait", "-1"),
        ("pay", "--amount", "5", "--currency", "INR", "--wait", "1_0"),
        ("reconcile", "--timeout", "inf"),
        ("demo", "--seconds", "\u0663"),
    ],
)
def test_every_number_of_every_command_is_strict(payonce: Payonce, data: Path, args: tuple[str, ...]) -> None:
    """Ports, limits, timeouts and amounts are read alike: ASCII digits, a point only where parts of a second count."""
    ran = payonce(*args)
    assert (ran.code, ran.out) == (2, "")
    assert "digits" in ran.err
    assert not data.exists()


def test_seconds_may_have_a_fraction(payonce: Payonce) -> None:
    """0.5 is a time, and 007 is the number 7."""
    ran = payonce("pay", "--amount", "007", "--currency", "INR", "--method", "tok_never_resolves", "--wait", "0.5", "--json")
    assert (ran.code, ran.json["amount"]) == (6, 7)


@pytest.mark.parametrize("args", [("--key", ""), ("--key", " "), ("--key", "", "--url", "http://127.0.0.1:9"), ("--url", "")])
def test_an_empty_key_is_not_a_fresh_one(payonce: Payonce, data: Path, args: tuple[str, ...]) -> None:
    """An unset shell variable as the key would pay anew each time, and as the URL pay elsewhere: both are refused."""
    ran = payonce("pay", "--amount", "5", "--currency", "INR", *args)
    assert (ran.code, ran.out) == (2, "")
    assert args[0] in ran.err
    assert not data.exists()


def test_an_empty_folder_is_not_this_one(payonce: Payonce) -> None:
    """--data-dir with an unset variable must not open a store in the current folder."""
    ran = payonce("list", "--data-dir", "")
    assert (ran.code, "store.data_dir (flag) must not be empty" in ran.err) == (2, True)
