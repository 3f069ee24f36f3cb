"""The commands as cyclopts sees them, and what an error becomes: one clear message and an exit code."""

import asyncio
import errno
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from cyclopts import App, CycloptsError

from payonce import __version__
from payonce.core.errors import (
    PROBLEMS,
    ConfigError,
    InvariantViolated,
    NewerSchema,
    PayonceError,
    Refused,
    StoreUnavailable,
)

from . import COMMANDS, FAILURE, INTERRUPTED, NOT_FOUND, OK, REFUSED, UNAVAILABLE, USAGE
from .options import STRICT, Exit
from .output import clean, lost, say
from .pages import Pages

T = TypeVar("T")


def build() -> App:
    """The whole command line; a command's module is imported when that command is used."""
    app = App(
        name="payonce",
        version=__version__,
        help_formatter=Pages(),
        result_action="return_value",
        default_parameter=STRICT,
    )
    for command in COMMANDS:
        app.command(f"payonce.cli.{command.where}", name=command.name)
    return app


def run(args: Sequence[str]) -> int:
    """Parse and run one command line; the exit code."""
    try:
        code = build()(list(args), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        say(f"payonce: {error}")
        say(f"See `{' '.join(['payonce', *(error.command_chain or ()), '--help'])}`.")
        return USAGE
    except Exit as end:
        if str(end):
            say(str(end))
        return end.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return FAILURE
    except PayonceError as error:
        say(told(error))
        return exit_code(error)
    except OSError as error:
        if error.errno not in FULL:
            raise
        lost(error)
        return FAILURE
    return code if isinstance(code, int) else OK


# Refusals that mean: the command was given something it cannot use.
MISUSE = frozenset(
    {"validation_failed", "idempotency_key_invalid", "idempotency_key_missing", "body_invalid", "resolution_incomplete"}
)


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a file has no room
DAMAGED = ("CorruptError", "NotADBError")  # of SQLite; named here, so that it need not be loaded


def exit_code(error: PayonceError) -> int:
    """The one mapping from the error tree to exit codes."""
    match error:
        case Refused(code="not_found"):
            return NOT_FOUND
        case Refused(code="retry_same_key" | "request_in_progress" | "not_ready" | "over_capacity" | "rate_limited"):
            return UNAVAILABLE
        case Refused(code="webhooks_unavailable"):
            return UNAVAILABLE
        case Refused():
            return REFUSED if error.code not in MISUSE else USAGE
        case StoreUnavailable():
            return UNAVAILABLE
        case ConfigError():
            return USAGE
        case _:
            return FAILURE


def told(error: PayonceError) -> str:
    """What happened, what state the money is in, and what to do next."""
    text = clean(error.detail if isinstance(error, Refused) else str(error))
    match error:
        case Refused() if error.code in PROBLEMS:
            problem = PROBLEMS[error.code]
            return f"payonce: {text} ({error.code})\n{problem.money}\n{problem.next}"
        case StoreUnavailable() if type(error.__cause__).__name__ in DAMAGED:
            return f"payonce: {text}"  # nothing may be promised of a damaged file; the text says what to do
        case StoreUnavailable():
            return f"payonce: {text}\nAccepted payments are safe in the store; the same key may be used again."
        case NewerSchema():
            return f"payonce: {text}\nNothing was touched. Use the payonce version that wrote it, or a newer one."
        case InvariantViolated():
            return f"payonce: {text}\nNothing was written. This is a bug: please report it with `payonce verify`."
        case _:
            return f"payonce: {text}"


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end."""
    return asyncio.run(work)
