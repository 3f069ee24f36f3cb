"""The table of codes: stable, complete, and explained."""

import re

import pytest

from payonce.core import errors
from payonce.core.errors import DECLINES, PROBLEMS, REASONS, FieldError, Refused, explain
from tests.house.source import python_files

CODES = (*PROBLEMS, *DECLINES, *REASONS)


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_explained(code: str) -> None:
    """`payonce explain CODE` has an answer in whole sentences for each code."""
    text = explain(code)
    assert text is not None
    assert re.fullmatch(r"[A-Za-z].+[.]", text)


@pytest.mark.parametrize("code", CODES)
def test_codes_look_alike(code: str) -> None:
    """Codes are lower-case words joined by underscores."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)


def test_an_unknown_code_has_no_explanation() -> None:
    """Nothing is invented for a code that does not exist."""
    assert explain("no_such_code") is None


@pytest.mark.parametrize("code", PROBLEMS)
def test_every_problem_says_what_state_the_money_is_in_and_what_to_do(code: str) -> None:
    """A problem has a client or server status, and speaks of the money and of the next step."""
    problem = PROBLEMS[code]
    assert 400 <= problem.status < 600
    assert problem.money.endswith(".")
    assert problem.next.endswith(".")


def test_a_code_means_one_thing() -> None:
    """No code stands in two tables with two meanings."""
    assert len(set(CODES)) == len(CODES)


def test_a_refusal_carries_its_code_and_fields() -> None:
    """Whoever catches a Refused can act on code and fields without reading the text."""
    refused = Refused("validation_failed", "amount is required.", (FieldError("amount", "is required"),))
    assert refused.code in PROBLEMS
    assert refused.errors[0].field == "amount"
    assert str(refused) == "validation_failed: amount is required."
    assert isinstance(refused, errors.PayonceError)


def test_every_code_that_is_used_exists() -> None:
    """Every code that the package refuses with, and every reason that the core writes, stands in the tables."""
    used: set[tuple[str, str]] = set()
    for file in python_files("src/payonce"):
        used |= {("problem", c) for c in re.findall(r"Refused\(\s*\"([a-z_]+)\"", file.text)}
    for file in python_files("src/payonce/core"):
        used |= {("reason", c) for c in re.findall(r"(?:reason|attention)=\"([a-z_]+)\"", file.text)}
    known = {("problem", c) for c in PROBLEMS} | {("reason", c) for c in (*REASONS, *DECLINES)}
    assert len(used) > 12
    assert used - known == set()
