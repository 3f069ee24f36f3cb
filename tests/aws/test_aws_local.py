"""What `make aws-local` does on a machine that is not a bare one, and how it ends when something fails."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from botocore.exceptions import EndpointConnectionError
from tools import aws_local

from payonce.bootstrap import accounts_of
from payonce.config import load
from payonce.core.errors import ConfigError, StoreUnavailable

from .stack import TRIED_OUT, Stack, bare_environment, leads_elsewhere

OUTPUTS = (
    *("ApiId", "TransactionsTable", "IdempotencyTable", "RegistryTable"),
    *("QueueUrl", "DeadLetterUrl", "DeliveriesUrl", "SigningKeyReference"),
)
TOML_OF_SOMEBODY = """version = 1
[server]
port = 8081
[providers.razorpay_main]
adapter = "razorpay"
base_url = "https://api.razorpay.com/v1"
key_id = "env:RAZORPAY_KEY_ID"
"""
FAILURES: dict[str, Exception] = {
    "store": StoreUnavailable("DynamoDB does not answer."),
    "configuration": ConfigError("no such table"),
    "disk": OSError(28, "No space left on device"),
    "emulator": RuntimeError("the emulator did not start: " + "line\n" * 1000 + "the last words"),
    "http": httpx2.ConnectError("All connection attempts failed"),
    "client": EndpointConnectionError(endpoint_url="http://127.0.0.1:9"),
    "group": ExceptionGroup("tasks", [ExceptionGroup("posts", [httpx2.ReadError("gone")]), StoreUnavailable("x")]),
}


def stack_in(folder: Path) -> Stack:
    """Not deployed: its names only."""
    outputs = {name: f"https://sqs.invalid/1/{name}" if name.endswith("Url") else name for name in OUTPUTS}
    outputs["SigningKeyReference"] = "aws-secret:SigningKey"
    here = "http://127.0.0.1:9"
    return Stack(emulator_url=here, sandbox_url=here, outputs=outputs, parameters=dict(TRIED_OUT), folder=folder)


def test_the_shells_names_do_not_count_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name of a setting and of AWS is gone within, what is set within is gone after, and the rest stays."""
    kept = {"TRAN_TABLE": "x", "PAYONCE_PORT": "1", "AWS_PROFILE": "p", "AWS_ENDPOINT_URL_SQS": "http://x"}
    for name, value in {**kept, "PAYONCE_VENDOR_SPECS": "v", "HOME": "/h"}.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with bare_environment():
        assert leads_elsewhere(os.environ) == ()
        assert (os.environ["HOME"], os.environ["PAYONCE_VENDOR_SPECS"]) == ("/h", "v")
        os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    assert dict(os.environ) == before


def test_it_has_a_configuration_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With somebody's payonce.toml in the current folder it works with the accounts of test mode, on the stack's tables."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "payonce.toml").write_text(TOML_OF_SOMEBODY)
    (tmp_path / "stack").mkdir()
    env = aws_local.environment_on(stack_in(tmp_path / "stack"))
    settings = load(env=env)
    assert (settings.mode, settings.number("store.index_shards"), settings.number("server.port")) == ("test", 16, 8080)
    assert settings.text("store.transactions_table") == "TransactionsTable"
    assert "razorpay_mock" in accounts_of(settings, env)


def test_what_it_prints_for_another_shell_is_whole(tmp_path: Path) -> None:
    """Every name of the environment with its value, and before it an end to the names that would lead elsewhere."""
    stack = stack_in(tmp_path)
    env = aws_local.environment_on(stack)
    printed = aws_local._hints(stack, env, ("AWS_PROFILE", "AWS_REGION", "TRAN_TABLE"))
    assert "  unset AWS_PROFILE TRAN_TABLE\n" in printed
    assert {"PAYONCE_MODE", "PAYONCE_INDEX_SHARDS", "PAYONCE_CONFIG", "AWS_ENDPOINT_URL"} <= set(env)
    assert [name for name in env if f"  export {name}=" not in printed] == []
    assert "unset" not in aws_local._hints(stack, env, ())


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_one_line(failure: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and what happened, without a traceback; of a long text the beginning and the end."""

    @contextmanager
    def failing(_folder: Path) -> Iterator[Any]:
        raise FAILURES[failure]
        yield

    monkeypatch.setattr(aws_local, "deployed", failing)
    assert aws_local.main(["--exit"]) == 1
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("aws-local: it failed: ")
    assert len(line) < aws_local.WHY_CHARS_MAX + 200
    assert ("the last words" in line) == (failure == "emulator")
    assert said.out.endswith("Everything is stopped.\n")


@pytest.mark.parametrize("bug", [KeyError("x"), ExceptionGroup("tasks", [OSError("y"), KeyError("x")])], ids=["bare", "group"])
def test_a_bug_is_not_hidden(bug: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no machine can be blamed for shows with its traceback, in a group too."""

    @contextmanager
    def failing(_folder: Path) -> Iterator[Any]:
        raise bug
        yield

    monkeypatch.setattr(aws_local, "deployed", failing)
    with pytest.raises(type(bug)):
        aws_local.main(["--exit"])
