"""The command line in this process: arguments in; exit code, standard output and standard error out."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog

from payonce.cli import main

STARTERS = ("MAX_RETRIES", "TRAN_TABLE", "IDEM_TABLE", "SQS_QUEUE_URL")  # names without the prefix


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """NDJSON."""
        return [json.loads(line) for line in self.out.splitlines()]


Payonce = Callable[..., Ran]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def payonce(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Payonce]:
    """Run one command line on the test's own data folder, far from the machine's environment and configuration."""
    for name in [n for n in os.environ if n.startswith("PAYONCE_") or n in STARTERS]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PAYONCE_DATA_DIR", str(data))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> Ran:
        capsys.readouterr()
        code = main(args)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    yield run
    structlog.reset_defaults()  # its stream was the capture of this test


@pytest.fixture
def one_account(tmp_path: Path) -> None:
    """The simplest provider alone, for stories that are not about routing."""
    (tmp_path / "payonce.toml").write_text("version = 1\n[providers.mock]\n")


@pytest.fixture
def paid(payonce: Payonce) -> Callable[..., dict[str, Any]]:
    """Accept a payment with a token, wait for its end, and return it."""

    def pay(token: str, *args: str, wait: str = "20") -> dict[str, Any]:
        ran = payonce("pay", "--amount", "1050", "--currency", "INR", "--method", token, "--wait", wait, "--json", *args)
        assert ran.out, ran.err
        return dict(ran.json)

    return pay
