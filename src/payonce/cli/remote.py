"""A running payonce, asked over HTTP: what its answers mean for a command line."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx2
import msgspec

from payonce.core.errors import PROBLEMS

from . import FAILURE, NOT_FOUND, REFUSED, UNAVAILABLE, USAGE
from .app import MISUSE
from .options import Exit
from .output import clean

POLL_S: Final = 0.1
HTTP_TIMEOUT_S: Final = 15.0

View = dict[str, Any]


@contextmanager
def asking(url: str, key: str, what: str) -> Iterator[httpx2.Client]:
    """A client for one request with a key and the reads after it. Ends the command when no whole answer comes; ``what`` names
    what may have been accepted."""
    with httpx2.Client(base_url=url, timeout=HTTP_TIMEOUT_S, trust_env=False) as client:
        try:
            yield client
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise Exit(
                UNAVAILABLE,
                f"payonce: no whole answer from {clean(url)}: {clean(str(error)) or type(error).__name__}.\n"
                f"The {what} may or may not have been accepted; it can only exist once for its key.\n"
                f"Run the same command again with --key {clean(key)}.",
            ) from error


def checked(answer: httpx2.Response, name: str) -> View:
    """The object in a good answer, which has the field ``name``; ends the command for any other."""
    try:
        view = msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        view = None
    if isinstance(view, dict) and answer.is_success and name in view:
        return view
    code = str(view.get("code", "")) if isinstance(view, dict) else ""
    detail = str(view.get("detail", "")) if isinstance(view, dict) else "no payonce answer"
    problem = PROBLEMS.get(code)
    by_status = {404: NOT_FOUND, 503: UNAVAILABLE, 429: UNAVAILABLE}
    exit_code = by_status.get(answer.status_code, FAILURE if answer.status_code >= 500 else REFUSED)
    if code in MISUSE:
        exit_code = USAGE
    means = f"\n{problem.money}\n{problem.next}" if problem else ""
    raise Exit(exit_code, f"payonce: {answer.status_code} {clean(detail)} ({clean(code)}){means}")


def watched(read: Callable[[], View], view: View, ended: Callable[[View], bool], wait_s: float) -> View:
    """``view``, read again until it has ended or the time is over."""
    deadline = time.monotonic() + wait_s
    while not ended(view) and time.monotonic() < deadline:
        time.sleep(POLL_S)
        view = read()
    return view
