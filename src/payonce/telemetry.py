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


def configure(*, level: str = "info", json: bool | None = None) -> None:
    """Log to standard error. ``json`` None = JSON unless standard error is a terminal."""
    as_json = not sys.stderr.isatty() if json is None else json
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[drop, renderer]))
    _ROOT.handlers[:] = [handler]
    _ROOT.setLevel(level.upper())
    _ROOT.propagate = False


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
