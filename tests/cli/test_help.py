"""Help, usage errors, exit codes, and the reference page made from them."""

import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest

from payonce.cli import COMMANDS, EXIT_CODES, explain, help_text
from payonce.cli.app import exit_code, told
from payonce.cli.reference import render
from payonce.core.errors import ConfigError, InvariantViolated, NewerSchema, PayonceError, Refused, StoreUnavailable
from payonce.stores.sqlite.trouble import unavailable

from .conftest import Payonce

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
HELP_LIMIT_S = 0.4
LINES = [line for command in COMMANDS for line in command.lines()]


def test_help_is_quick() -> None:
    """`payonce --help` answers within 400 ms (median of three; the aim is 200 ms on an idle machine)."""
    took = []
    for _ in range(3):
        begin = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "payonce", "--help"], capture_output=True, check=True)
        took.append(time.perf_counter() - begin)
        assert b"Usage: payonce" in done.stdout
    print(f"payonce --help: {statistics.median(took) * 1000:.0f} ms")
    assert statistics.median(took) < HELP_LIMIT_S


def test_help_imports_nothing_heavy() -> None:
    """`payonce --help` loads neither cyclopts nor msgspec, starlette, apsw or rich."""
    code = "import sys; from payonce.cli import main; main(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(re.findall(r"'(\w+)'", done.stderr))
    assert loaded & {"cyclopts", "msgspec", "starlette", "apsw", "rich", "uvicorn", "httpx2", "asyncio"} == set()


def test_help_names_every_command_and_exit_code(payonce: Payonce) -> None:
    """The first help page lists every command, every exit code and examples."""
    ran = payonce("--help")
    assert ran.code == 0
    for command in COMMANDS:
        assert f"  {command.name} " in ran.out
    for code, says in EXIT_CODES.items():
        assert re.search(rf"^  {code} +{re.escape(says)}$", ran.out, re.MULTILINE)
    assert "Examples:" in ran.out


@pytest.mark.parametrize("command", [c.name for c in COMMANDS])
def test_every_command_explains_itself(payonce: Payonce, command: str) -> None:
    """Each command has a help page of its own, without colour when it is not a terminal."""
    ran = payonce(command, "--help")
    assert ran.code == 0
    assert f"Usage: payonce {command}" in ran.out
    assert "\x1b" not in ran.out


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_help_pages_hang_and_are_quiet(payonce: Payonce, line: list[str]) -> None:
    """No default of nothing is shown, and the lines of an option's text are indented under it."""
    page = payonce(*line, "--help").out
    assert '[default: ""]' not in page
    assert "[default: False]" not in page
    _, _, options = page.partition("Parameters:\n")
    assert options
    assert all(line.startswith("  ") for line in options.splitlines() if line)


def test_explain_is_readable_on_a_terminal(payonce: Payonce, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a code, a person sees each meaning wrapped under its code, within the width of the terminal."""
    monkeypatch.setattr(explain, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    lines = payonce("explain").out.splitlines()
    assert "  insufficient_funds" in lines
    assert max(map(len, lines)) <= 80


def test_a_damaged_file_is_not_called_safe() -> None:
    """Of a damaged file it is not said that the payments in it are safe; of a full disk it is."""
    for cause, safe in ((apsw.CorruptError("x"), False), (apsw.NotADBError("x"), False), (apsw.FullError("x"), True)):
        error = unavailable(cause)
        error.__cause__ = cause
        assert ("safe in the store" in told(error)) == safe


@pytest.mark.parametrize("line", [line for line in LINES if line != ["demo"]], ids=" ".join)
def test_every_command_that_prints_data_takes_json(payonce: Payonce, line: list[str]) -> None:
    """--json is an option of every command that prints data."""
    assert "--json" in payonce(*line, "--help").out


def test_without_a_command_it_shows_the_help_and_fails(payonce: Payonce) -> None:
    """No command at all is a usage error that shows the help."""
    ran = payonce()
    assert (ran.code, "Usage: payonce" in ran.out) == (2, True)


def test_version(payonce: Payonce) -> None:
    """--version prints name and version."""
    assert re.fullmatch(r"payonce \d+\.\d+\.\d+\n", payonce("--version").out)


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (("shwo", "x"), "show"),
        (("list", "--statsu", "FAILED"), "--status"),
        (("list", "--status", "LOST"), "SUCCESS"),
        (("pay", "--amount", "ten", "--currency", "INR"), "--amount"),
        (("pay", "--currency", "INR"), "--amount"),
    ],
)
def test_usage_errors_name_the_fix(payonce: Payonce, args: tuple[str, ...], hint: str) -> None:
    """A mistyped command, option or value ends with 2, one message on standard error, and what was probably meant."""
    ran = payonce(*args)
    assert (ran.code, ran.out) == (2, "")
    assert hint in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Refused("not_found", "no such payment"), 3, "no such payment"),
        (Refused("validation_failed", "amount is required"), 2, "The key stays unused"),
        (Refused("idempotency_key_reused", "it differs"), 5, "What the first request did stands unchanged"),
        (Refused("retry_same_key", "it is not known"), 6, "nothing can be done twice"),
        (StoreUnavailable("the disk is full"), 6, "the same key may be used again"),
        (NewerSchema("schema 9"), 1, "Nothing was touched"),
        (ConfigError("server.port is wrong"), 2, "server.port is wrong"),
        (InvariantViolated("a rule"), 1, "please report it"),
    ],
)
def test_every_error_is_a_message_and_an_exit_code(error: PayonceError, code: int, said: str) -> None:
    """What happened, what state the money is in, what to do; and the code that EXIT_CODES documents."""
    assert exit_code(error) == code
    assert code in EXIT_CODES
    assert said in told(error)


def test_the_reference_page_is_made_from_the_commands() -> None:
    """docs/reference/cli.md is what the commands say; `make docs` writes it."""
    page = render()
    assert help_text() in page
    for command in COMMANDS:
        assert all(f"## payonce {' '.join(line)}" in page for line in command.lines())
    assert page == render(), "the page must not depend on the machine or the moment"
    if PAGE.exists():
        assert PAGE.read_text(encoding="utf-8") == page, "run `make docs`"
