"""The figures of the README's comparison with a retry loop: made anew, by the command that stands beside them."""

import subprocess
import sys

from tests.house.fenced import fenced
from tests.house.source import ROOT


def test_the_page_shows_what_the_command_prints() -> None:
    """The same seeds are the same worlds, so the table is the same to the last number."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = [block.text for block in fenced(page) if "naive retry loop" in block.text]
    assert "payonce simulate --naive --seeds 120`" in page
    command = [sys.executable, "-m", "payonce", "simulate", "--naive", "--seeds", "120"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.startswith(shown), "the page's figures are old: type the command, and paste what it prints"
