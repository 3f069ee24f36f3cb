"""The log shows where and as what something failed, and nothing of what came from outside."""

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from payonce import telemetry
from payonce.core.errors import StoreUnavailable

CARD = "4111 1111 1111 1111"
WORD = "tok nobody knows".replace(" ", "-")  # lines of code are shown, so no line holds it


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Configure, and read what was logged: as JSON, or as text for a person. Afterwards the loggers are as they were."""
    names = ("payonce", *telemetry.OTHERS)
    before = [(logging.getLogger(n), list(logging.getLogger(n).handlers), logging.getLogger(n).propagate) for n in names]
    stream = io.StringIO()

    def begin(*, as_json: bool = True) -> None:
        monkeypatch.setattr(sys, "stderr", stream)
        telemetry.configure(json=as_json)

    def read(*, as_json: bool = True) -> Any:
        said = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return [json.loads(line) for line in said.splitlines()] if as_json else said

    yield begin, read
    for logger, handlers, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(logging.NOTSET)
    structlog.reset_defaults()


def fail(argument: str) -> None:
    local = f"LOCAL{argument}"
    try:
        raise KeyError(f"INNER {local}")
    except KeyError as error:
        raise ValueError(f"OUTER {argument}") from error


@pytest.mark.parametrize("as_json", [True, False])
def test_an_exception_shows_where_and_not_what(lines: Any, as_json: bool) -> None:
    """The kinds, causes and places of a bug; no text of it, no argument, no local."""
    begin, read = lines
    begin(as_json=as_json)
    try:
        fail(WORD)
    except ValueError:
        telemetry.get_logger("test").exception("broken", n=1)
        logging.getLogger("uvicorn.error").exception("broken too")
    said = read(as_json=False)
    assert said.count("ValueError") >= 2
    assert said.count("KeyError") >= 2
    assert "test_telemetry.py" in said
    assert "withheld" in said
    assert [word for word in (WORD, f"LOCAL{WORD}") if word in said] == []


def test_what_we_wrote_ourselves_is_shown_masked(lines: Any) -> None:
    """A text of the error tree or of the operating system says what to do; a card number in it is masked all the same."""
    begin, read = lines
    begin()
    for error in (StoreUnavailable(f"the disk is full, {CARD}"), FileNotFoundError(2, "No such file", "payments.db")):
        try:
            raise error
        except (StoreUnavailable, OSError):
            telemetry.get_logger("test").exception("refused")
    first, second = read()
    assert "the disk is full, [redacted]" in first["exception"]
    assert "payments.db" in second["exception"]


def test_values_of_every_kind_are_masked(lines: Any) -> None:
    """Texts, numbers, bytes, nested values, names, objects and exceptions; nothing is lost that is harmless."""
    begin, read = lines
    begin()
    telemetry.get_logger("test").info(
        f"card {CARD}",
        number=4111111111111111,
        raw=CARD.encode(),
        nested={"a": [{"b": CARD}], CARD: 1},
        api_key="abc",
        error=ValueError(WORD),
        thing=type("T", (), {"__repr__": lambda _: f"T({CARD})"})(),
        count=3,
        payment_id="pay_01kav0q8t03x9m2c7h5n",
    )
    (said,) = read()
    assert "1111" not in json.dumps(said)
    assert WORD not in json.dumps(said)
    assert (said["count"], said["payment_id"], said["error"], said["api_key"]) == (
        3,
        "pay_01kav0q8t03x9m2c7h5n",
        "ValueError",
        "[redacted]",
    )
    assert said["component"] == "test"


def test_the_loop_tells_of_a_lost_task_without_its_text(lines: Any) -> None:
    """asyncio writes the exception of a task that nobody waited for into its message: only its kind is left."""
    begin, read = lines
    begin()

    async def lose() -> None:
        async def bug() -> None:
            raise ValueError(WORD)

        task = asyncio.ensure_future(bug())
        await asyncio.wait([task])
        context = {"message": "Task exception was never retrieved", "exception": task.exception(), "future": task}
        asyncio.get_running_loop().default_exception_handler(context)

    asyncio.run(lose())
    said = json.dumps(read())
    assert "never retrieved" in said
    assert "ValueError" in said
    assert WORD not in said
