"""What holds for every test: whatever one configures of the loggers is gone before the next."""

import logging
from collections.abc import Iterator

import pytest

LOGGERS = ("payonce", "uvicorn", "asyncio")


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    """Commands that are run within a test configure them for a process of their own."""
    known = [logging.getLogger(name) for name in LOGGERS]
    before = [(each, list(each.handlers), each.level, each.propagate) for each in known]
    yield
    for each, handlers, level, propagate in before:
        each.handlers[:], each.propagate = handlers, propagate
        each.setLevel(level)
