"""Logs: one line per event, JSON unless a person is looking, nothing secret in any of them.

Embedded in somebody else's program payonce logs to the standard ``payonce`` logger and prints nothing by itself;
``configure`` is for our own processes.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from .core.redact import masked

_ROOT = logging.getLogger("payonce")
_ROOT.addHandler(logging.NullHandler())


def _redact(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return dict(masked(dict(event)))


def _name(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {**event, "component": event["_record"].name}


# What libraries log about our own server and loop comes out in the same form, redacted too.
OTHERS = ("uvicorn", "asyncio")
_FOREIGN: list[Any] = [
    structlog.stdlib.add_log_level,
    _name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    _redact,
]


def configure(*, level: str = "info", json: bool | None = None) -> None:
    """Log to standard error. ``json`` None = JSON unless standard error is a terminal."""
    as_json = not sys.stderr.isatty() if json is None else json
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler = logging.StreamHandler(sys.stderr)
    form = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_FOREIGN, processors=[drop, renderer])
    handler.setFormatter(form)
    _ROOT.handlers[:] = [handler]
    _ROOT.setLevel(level.upper())
    _ROOT.propagate = False
    for name in OTHERS:  # their info lines say what ours say already
        other = logging.getLogger(name)
        other.handlers[:] = [handler]
        other.setLevel(max(logging.WARNING, _ROOT.level))
        other.propagate = False


def get_logger(name: str) -> Any:
    """A logger whose events carry ``component`` and whatever was bound for this task (request id, payment id)."""
    return structlog.wrap_logger(
        logging.getLogger(f"payonce.{name}"),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
        component=name,
    )
