"""The fenced blocks of a page, and what a test does with each. A block that nothing is done with has no place in README.md or
docs/tutorial.md: `test_docs.py` sees to that. They are typed and run in `tests/browser/test_tour.py` and
`tests/blackbox/test_tutorial.py`."""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

TYPED: Final = ("sh", "python")  # in one folder, in the order of the page
# `<!-- json: NAME -->` before a block: it is such an object of the API. `<!-- save: FILE -->`: it is saved before what follows.
# `<!-- exactly -->`: what is shown is printed so, numbers too.
FENCE: Final = re.compile(r"^(?:<!-- ([a-z ]+?)(?:: (\S+))? -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# A line that cannot be typed as it stands -> what is typed in its place, and why. It must stand on the page.
DRY: Final = 'make -C "$COPY" -n'
README_INSTEAD: Final[Mapping[str, tuple[str, str]]] = {
    "make run": (f"{DRY} run", "it goes on until Ctrl-C; the demo itself is run beside the tour"),
    "make test": (f"{DRY} test", "this is one of its neighbours"),
    "make aws-local": (f"{DRY} aws-local", "an emulator and many minutes: `make torture` deploys to it"),
    "make sim": (f"{DRY} sim", "many minutes: `make check` runs it"),
    "make sim-long": (f"{DRY} sim-long", "it takes hours"),
    ".venv/bin/payonce torture": (
        ".venv/bin/payonce torture --help",
        "minutes: whole runs are in tests/blackbox/test_torture_runs.py",
    ),
    ".venv/bin/payonce listen --forward-to http://localhost:3000/hook": (
        "timeout 6 .venv/bin/payonce listen --url http://127.0.0.1:8080 --forward-to http://localhost:3000 || test $? = 124",
        "it listens until Ctrl-C, and here to another port",
    ),
}
TUTORIAL_INSTEAD: Final[Mapping[str, tuple[str, str]]] = {
    "make run": (f"{DRY} run", "it goes on until Ctrl-C; the demo itself is run beside the tour"),
}
INSTEAD: Final = {"README.md": README_INSTEAD, "docs/tutorial.md": TUTORIAL_INSTEAD}
# The first line of a block of output -> the test that makes it anew and compares.
MADE: Final[Mapping[str, str]] = {
    "What happened:": "tests/browser/test_tour.py::test_the_tour_can_be_taken",
    "naive retry loop  payonce   first seeds": (
        "tests/simulation/test_shown_figures.py::test_the_page_shows_what_the_command_prints"
    ),
}


class Block(NamedTuple):
    """One fenced block. ``mark`` and ``of``: the comment before it, and what it names."""

    language: str
    text: str
    mark: str = ""
    of: str = ""


def fenced(page: str) -> list[Block]:
    """The blocks of a page, in its order."""
    return [Block(language, text, mark, of) for mark, of, language, text in FENCE.findall(page)]


def typed(block: Block, instead: Mapping[str, tuple[str, str]]) -> str:
    """What is typed for a block of commands."""
    lines = []
    for line in block.text.splitlines():
        command = line.split("  #")[0].rstrip()
        lines.append(instead[command][0] if command in instead else line)
    return "\n".join(lines)


def unused(page: str) -> Iterator[str]:
    """Blocks that no test would do anything with, by their first line."""
    before: Block | None = None
    for block in fenced(page):
        first = block.text.strip().split("\n", maxsplit=1)[0].strip()
        used = {
            "sh": True,
            "python": True,
            "toml": True,  # loaded, by test_docs.py
            "json": block.mark == "json",
            "mermaid": first.startswith(("flowchart", "stateDiagram", "sequenceDiagram")),
            "text": first in MADE or (before is not None and before.language in TYPED),
        }
        if not used.get(block.language, False):
            yield f"{block.language or 'no language'}: {first}"
        before = block


def shape(line: str) -> str:
    """A line without what differs from run to run: numbers, times, ids, where it was."""
    line = re.sub(r"\b(sk_test_|ticket=|(?:pay|op|ch|re|order|wh|req|key|ses|mer|we|evt|ev)_)[0-9a-z]{6,}", r"\1", line)
    line = re.sub(r"@[\w.:-]+", "@", line)
    line = re.sub(r"\d+(?:[.,:-]\d+)*", "0", line)
    return " ".join(re.sub(r"\b0 (?:ms|s|min)\b", "0 s", line).split())


def missing(shown: str, printed: str, *, exactly: bool = False) -> list[str]:
    """Lines of a block of output that were not printed, in this order; a line that begins with ``...`` stands for any."""
    plain = (lambda line: " ".join(line.split())) if exactly else shape
    wanted = [plain(line) for line in shown.splitlines() if line.strip() and not line.startswith("...")]
    there = iter([plain(line) for line in printed.splitlines()])
    return [line for line in wanted if not any(line in each for each in there)]
