"""SECURITY.md says what is so: the tests that it names exist, and no security rule is switched off behind its back."""

import re
import tomllib

import pytest

from tests.house.source import ROOT, python_files
from tests.house.test_docs import NAMED_TEST, missing_tests

PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ACTORS = ("another merchant", "stranger", "provider", "receiver", "customer", "operator")
# S rules that are off for parts of the package, and why.
OFF = {"S101": "assertions that narrow types, and contracts that are tests", "S311": "dice of simulations, which are seeded"}


def test_the_tests_of_the_page_exist() -> None:
    """Every test that the page names is there, and it names no half of one."""
    assert list(missing_tests(PAGE)) == []
    assert len(NAMED_TEST.findall(PAGE)) == PAGE.count("::") > 30


def test_every_actor_has_a_table_and_every_row_a_test() -> None:
    """Who may attack is told one by one; a row of a table without a test is a wish."""
    part = PAGE.split("### Who may attack")[1].split("### What is not covered")[0]
    assert [actor for actor in ACTORS if actor not in " ".join(re.findall(r"^\*\*(.+)\*\*$", part, re.MULTILINE)).lower()] == []
    rows = [row for row in re.findall(r"^\| (.+) \|$", part, re.MULTILINE) if not row.startswith("Attempt |")]
    assert len(rows) > 20
    assert [row for row in rows if not NAMED_TEST.search(row)] == []


def test_a_test_that_is_not_there_is_seen() -> None:
    """A misspelt name, a file that is gone, and a helper in place of a test."""
    for name in (
        "tests/test_security_page.py::test_nothing",
        "tests/gone.py::test_x",
        "tests/house/test_docs.py::missing_tests",
    ):
        assert list(missing_tests(f"`{name}`")) == [name]


def test_no_security_rule_is_switched_off_broadly() -> None:
    """ruff's S rules are on, none is ignored for all files, and for parts of what is shipped only those in OFF."""
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert [rule for rule in lint["ignore"] if re.fullmatch(r"S\d*", rule)] == []
    apart = ("tests/", "examples/", "benchmarks/")
    shipped = {files: rules for files, rules in lint["per-file-ignores"].items() if not files.startswith(apart)}
    assert {rule for rules in shipped.values() for rule in rules if re.fullmatch(r"S\d*", rule)} <= set(OFF)


@pytest.mark.parametrize("rule", ["S608", "S301", "S324", "S501", "S602"])
def test_what_is_waved_through_says_why(rule: str) -> None:
    """SQL made of texts only where the texts are ours, and said so; pickles, weak hashes, no TLS and shells nowhere."""
    lines = [line for f in python_files("src") for line in f.text.splitlines() if re.search(rf"noqa:[^#]*\b{rule}\b", line)]
    assert [line for line in lines if not re.search(rf"{rule}\s*(?:-|  )\s*\w+", line)] == []
    assert lines == [] or rule == "S608"
