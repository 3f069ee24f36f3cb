"""docs/tutorial.md, typed from its first line to its last into a real shell, with a server that is killed on the way."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .running import until
from .terminal import Terminal, follow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("bash", "curl", "make"))), reason="it is typed into bash, with curl and make"
    ),
]
PENDING = "payonce list --status PENDING --limit 1 --json 2>/dev/null || true"


def quiet(terminal: Terminal) -> None:
    """Until no payment is under way any more; before the first one there is no store, and then nothing is."""
    until(lambda: '"transactionId"' not in terminal.ask(PENDING), "every payment has come to its end", 90, every=0.3)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, "docs/tutorial.md")
    yield terminal
    terminal.end()


def test_the_tutorial_can_be_followed(terminal: Terminal) -> None:
    """No command fails, and everything that the page shows is printed by what is typed before it."""
    follow(terminal, quiet)
