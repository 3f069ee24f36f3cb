"""docs/merchants.md: every command that the page shows is run, in its order, in one folder; and its tables are the code's."""

import re
import shlex
from pathlib import Path

import pytest

from payonce.cli.told import COLUMNS
from payonce.merchants.keys import SCOPES

from .conftest import Payonce

PAGE = (Path(__file__).parents[2] / "docs" / "merchants.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()]
PLACEHOLDER = "key_0000000000000000000x"


@pytest.mark.usefixtures("one_account")
def test_every_command_of_the_page_works(payonce: Payonce, tmp_path: Path) -> None:
    """From an empty folder, one after the other, each ends with 0; ids of the page stand for a real key's."""
    assert len(COMMANDS) > 10
    key = ""
    for line in COMMANDS:
        program, *args = shlex.split(line)
        assert program == "payonce", line
        ran = payonce(*(key if word == PLACEHOLDER else word for word in args))
        assert ran.code == 0, (line, ran.err)
        key = key or f"key_{ran.out.strip()[8:28]}"
    whats = [line["what"] for line in payonce("audit", "export", "--from", "2020-01-01", "--to", "2100-01-01").lines]
    made = ["key.created", "key.created", "merchant.created", "key.created"]
    assert whats == [*made, "key.created", "key.rotated", "key.revoked"]
    assert (tmp_path / "audit.csv").is_file()


def test_the_tables_of_the_page_are_the_codes() -> None:
    """Every scope and every field of an export stands in its table."""
    assert [scope for scope in SCOPES if f"| `{scope}` |" not in PAGE] == []
    fields = re.findall(r"`(\w+)`", PAGE.split("| Field | |")[1].split("\n\n")[0])
    assert [name for name in COLUMNS if name not in fields] == []
