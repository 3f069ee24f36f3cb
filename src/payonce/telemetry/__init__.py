"""Logs: one line per event, JSON unless a person is looking, nothing secret in any of them.

Embedded in somebody else's program payonce logs to the standard ``payonce`` logger and prints nothing by itself;
``configure`` is for our own processes.

Beside this file: ``names`` (every metric), ``meter`` (what a process counts), ``watching`` (around the engine's store and
transport), ``exposition`` (Prometheus), ``emf`` (CloudWatch), ``tracing`` and ``otel`` (spans), ``conventions`` (their words).
"""

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from contextlib import suppress
from functools import lru_cache
from json import dumps
from typing import Any, Final, TextIO

import msgspec
import structlog

from payonce.core.errors import PayonceError
from payonce.core.redact import OWN_ID, masked

_ROOT = logging.getLogger("payonce")
_ROOT.addHandler(logging.NullHandler())


WITHHELD: Final = "(what it says is withheld: it may quote what came from outside)"
CAUSES_MAX: Final = 8  # of an exception, and the frames shown of each: twice as many
# Their texts are written here, by the operating system or by SQLite, and quote files, tables and codes, never a value.
_SPEAKS: Final = (PayonceError, OSError, KeyboardInterrupt)
_SPEAKS_OF: Final = ("apsw",)
OURS: Final = frozenset({"timestamp", "level"})
SMALL: Final = 1_000_000_000  # no card number is as short
SEEN_MAX: Final = 4_096  # fields that were looked at and are plain, by name and value: never a secret one
SEEN_CHARS: Final = 64
_NUMBERS: Final = (int, float)  # true and false are some
_seen: Final[set[tuple[str, str | None]]] = set()
_RAISED: Final = re.compile(r"(exception=\w+)\(.*", re.DOTALL)  # of a task, as the loop tells it


def _exception(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Where it failed and as what; never a local value, and a text only where we know who wrote it."""
    given = event.pop("exc_info", None)
    event.pop("stack_info", None)
    error = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else None
    if error is None and given:
        error = sys.exc_info()[1]
    if error is not None:
        event["exception"] = told(error)
    return event


def told(error: BaseException) -> str:
    """An exception with its causes, the innermost first, as text for a log."""
    parts: list[str] = []
    each: BaseException | None = error
    while each is not None and len(parts) < CAUSES_MAX:
        frames = traceback.format_list(traceback.extract_tb(each.__traceback__)[-2 * CAUSES_MAX :])
        kind = type(each)
        speaks = isinstance(each, _SPEAKS) or kind.__module__.partition(".")[0] in _SPEAKS_OF
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        parts.append(f"{''.join(frames)}{name}: {str(each) if speaks else WITHHELD}")
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return "\nthen: ".join(reversed(parts))


def _redact(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Nothing secret leaves. Looking for it costs more than all else of a line, so that a field which was found to be plain
    before is not looked at again: a text by its name and value, an id of ours and a number that is too small for a card by its
    name."""
    told = dict[str, Any]()
    for name, value in event.items():
        if name.startswith("_") or name in OURS:  # structlog's own, never shown; and what is written here
            told[name] = value
            continue
        text = value if isinstance(value, str) else None
        if text is None and not (isinstance(value, _NUMBERS) and -SMALL < value < SMALL):
            told |= masked({name: value})
            continue
        seen = (name, text)
        if text and seen not in _seen and OWN_ID.fullmatch(text):
            seen = (name, None)
        if seen in _seen:
            told[name] = value
            continue
        shown = masked({name: value})
        if shown == {name: value} and len(text or "") <= SEEN_CHARS:
            if len(_seen) >= SEEN_MAX:
                _seen.clear()
            _seen.add(seen)
        told |= shown
    return told


def _name(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    said = _RAISED.sub(lambda m: f"{m.group(1)}(...)", str(event["event"]))
    return {**event, "event": said, "component": event["_record"].name}


# What libraries log about our own server and loop comes out in the same form, redacted too.
OTHERS = ("uvicorn", "asyncio")
# One line for each request and each answered call: for machines that collect logs. A person at a terminal sees them at debug.
CANONICAL: Final = ("request", "attempt")
_FOREIGN: list[Any] = [
    structlog.stdlib.add_log_level,
    _name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _exception,
    _redact,
]


def configure(*, level: str = "info", json: bool | None = None) -> None:
    """Log to standard error. ``json`` None = JSON unless standard error is a terminal."""
    as_json = not sys.stderr.isatty() if json is None else json
    renderer: Any = (lambda _logger, _name, event: _json(event)) if as_json else structlog.dev.ConsoleRenderer(colors=False)
    drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler = logging.StreamHandler(sys.stderr)
    form = _JsonForm if as_json else structlog.stdlib.ProcessorFormatter
    handler.setFormatter(form(foreign_pre_chain=_FOREIGN, processors=[drop, renderer]))
    _ROOT.handlers[:] = [handler]
    _straight[:] = [handler] if as_json else []
    # No form of ours shows them, and finding them out takes longer than writing the line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    _ROOT.setLevel(level.upper())
    _ROOT.propagate = False
    for name in CANONICAL:
        spare = not as_json and _ROOT.level == logging.INFO
        logging.getLogger(f"payonce.{name}").setLevel(logging.WARNING if spare else logging.NOTSET)
    for name in OTHERS:  # their info lines say what ours say already
        other = logging.getLogger(name)
        other.handlers[:] = [handler]
        other.setLevel(max(logging.WARNING, _ROOT.level))
        other.propagate = False


class _JsonForm(structlog.stdlib.ProcessorFormatter):
    """Lines of ours are whole already: nothing of them is copied before they are written."""

    def format(self, record: logging.LogRecord) -> str:
        own = isinstance(record.msg, dict) and hasattr(record, "_logger")
        return _json(record.msg) if own else super().format(record)  # type: ignore[arg-type]


def _json(event: MutableMapping[str, Any]) -> str:
    """One line in ASCII, which no terminal and no file misreads."""
    with suppress(msgspec.MsgspecError, TypeError, ValueError):  # half a character, or what has no form in JSON
        text: bytes = _encode(event)
        if text.isascii():
            return text.decode()
    return dumps(event, separators=(",", ":"), default=repr)


_encode: Any = msgspec.json.Encoder().encode


_straight: Final[list[logging.StreamHandler[TextIO]]] = []  # where canonical lines go as they are: set by ``configure``


def canonical(name: str, level: int, facts: dict[str, Any]) -> None:
    """The line of a request or of an answered call, as ``get_logger(name).log`` would write it, in 11 us instead of 20: it has
    no exception, nobody asks which line of code wrote it, and in our own processes it goes straight to the stream. Ask ``logs``
    first."""
    logger = _logger(name)
    event = structlog.contextvars.merge_contextvars(logger, "", {"component": name, **facts, "event": name})
    event["level"] = _level(level)
    event = _redact(logger, "", _stamped(logger, "", event))
    if not _straight or _ROOT.handlers != _straight:  # else somebody listens who is not only the stream
        marks = {"_logger": logger, "_name": event["level"]}  # as structlog marks its own
        logger.handle(logger.makeRecord(logger.name, level, "", 0, event, (), None, extra=marks))
        return
    handler = _straight[0]
    line = f"{_json(event)}\n"
    handler.acquire()
    try:
        with suppress(OSError, ValueError):  # a disk that is full, a reader that went
            handler.stream.write(line)
            handler.flush()
    finally:
        handler.release()


@lru_cache(maxsize=8)
def _level(level: int) -> str:
    return logging.getLevelName(level).lower()


_stamped: Final = structlog.processors.TimeStamper(fmt="iso", utc=True)


def logs(name: str, level: int = logging.INFO) -> bool:
    """A line of this logger would be written: what is only for it need not be put together else."""
    return _logger(name).isEnabledFor(level)


@lru_cache(maxsize=64)
def _logger(name: str) -> logging.Logger:
    """Of the standard library: finding it takes a lock, each time."""
    return logging.getLogger(f"payonce.{name}")


def get_logger(name: str) -> Any:
    """A logger whose events carry ``component`` and whatever was bound for this task (request id, payment id)."""
    return structlog.wrap_logger(
        logging.getLogger(f"payonce.{name}"),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _exception,
            _redact,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
        component=name,
    )
