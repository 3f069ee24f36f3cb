"""docs/tutorial.md, typed from its first line to its last into a real shell, with a server that is killed on the way."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from .running import until
from .terminal import Terminal, follow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("bash", "curl", "make"))), reason="it is typed into bash, with curl and make"
    ),
]


def quiet(terminal: Terminal) -> None:
    """Until no payment is under way any more; once a key is needed none is."""

    def nothing_pending() -> bool:
        answer = httpx2.get(f"{terminal.url}/payments?status=PENDING", timeout=10)
        return answer.status_code == 401 or answer.json()["data"] == []

    until(nothing_pending, "every payment has come to its end", 90)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, "docs/tutorial.md")
    yield terminal
    terminal.end()


def test_the_tutorial_can_be_followed(terminal: Terminal) -> None:
    """No command fails, and everything that the page shows is printed by what is typed before it."""
    follow(terminal, quiet)
