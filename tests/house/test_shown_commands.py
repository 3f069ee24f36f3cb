"""Commands that pages show are ones that can be typed: each is parsed by the command line itself, without being run; and the
how-to pages name only questions, codes and pages that exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from payonce.cli.app import build
from payonce.core.errors import REASONS
from payonce.dashboard.pages import screens
from payonce.dashboard.visit import TABS

from .fenced import fenced
from .source import ROOT, python_files, tracked_files

PAGES = tuple(p for p in tracked_files() if p.suffix == ".md" and "tests" not in p.relative_to(ROOT).parts)
IDS = [p.relative_to(ROOT).as_posix() for p in PAGES]
# Placeholders of a form of their own, in the place of something that is parsed.
FILLED = {"…": "x", "...": "x"}
HOW_TO = ROOT / "docs" / "how-to"


def lines(text: str) -> Iterator[list[str]]:
    """The words of each whole ``payonce`` command in the blocks of a page; what a shell would put in is a word."""
    for block in fenced(text):
        if block.language in ("sh", "console", "bash"):
            joined = block.text.replace("\\\n", " ")
            for found in re.findall(r"(?:^|[$(]\s*|\$ )(?:\.venv/bin/|\S*/)?payonce ([^\n|;&#)>]+)", joined, re.MULTILINE):
                words = shlex.split(re.sub(r"\$\{?\w+\}?", "x", found))
                yield [FILLED.get(word, word) for word in words]


def refused(words: list[str]) -> str:
    """What is wrong with a command line, or nothing."""
    try:
        build().parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return f"payonce {shlex.join(words)}: {error}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_shown_commands_can_be_typed(page: Path) -> None:
    """Every option, argument and choice of a command in a block is one that this command takes."""
    assert [said for words in lines(page.read_text(encoding="utf-8")) if (said := refused(words))] == []


def test_a_wrong_option_is_seen() -> None:
    """An option that is not there, a choice that is none, and a word too many are found; right ones are not."""
    typed = "key=$(payonce key create --name x)   # a\npayonce show $id --nope\n"
    typed += ".venv/bin/payonce pay --amount 1 \\\n  --currency INR\n"
    page = f"```sh\n{typed}```\n"
    assert list(lines(page)) == [
        ["key", "create", "--name", "x"],
        ["show", "x", "--nope"],
        ["pay", "--amount", "1", "--currency", "INR"],
    ]
    assert [bool(refused(words)) for words in lines(page)] == [False, True, False]
    assert refused(["resolve", "x", "--as", "maybe", "--reason", "x"])
    assert refused(["verify", "a", "b", "c"])


def test_the_questions_are_those_of_the_page() -> None:
    """A question that the page on money tells to look at stands on a payment's page, word for word."""
    text = (HOW_TO / "where-is-my-money.md").read_text(encoding="utf-8")
    named = re.findall(r'(?:Look at|, and at) "([^"]+\?)"', text)
    (file,) = python_files("src/payonce/dashboard/questions.py")
    assert len(named) >= 4
    assert [question for question in named if f'"{question}"' not in file.text] == []


def test_the_reasons_are_codes() -> None:
    """Each reason in the table of the page on doubts is a code of ours."""
    text = (HOW_TO / "in-doubt-decide.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| [A-Z]", text, re.MULTILINE)
    named = re.findall(r"`(\w+)`", " ".join(cells))
    assert len(named) >= 5
    assert [code for code in named if code not in REASONS] == []


def test_the_dashboards_page_shows_every_screen() -> None:
    """Each tab is in the table of docs/dashboard.md with its address, and each address there is one of ours."""
    text = (ROOT / "docs" / "dashboard.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([A-Z][\w &]+) `(/[\w./]*)` \|", text, re.MULTILINE))
    assert {tab.label: tab.path for tab in TABS}.items() <= rows.items()
    known = {re.sub(r"\{\w+\}", "ID", screen.path) for screen in screens()}
    assert set(rows.values()) <= known


def test_the_index_names_every_page() -> None:
    """docs/README.md leads to each page of the folder, so that none is found by chance only."""
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / name).resolve() for name in re.findall(r"\]\(([^)#\s]+)", index)}
    pages = {page for page in PAGES if page.is_relative_to(ROOT / "docs") and page != ROOT / "docs" / "README.md"}
    assert len(pages) > 20
    assert [page.relative_to(ROOT).as_posix() for page in sorted(pages - linked)] == []
