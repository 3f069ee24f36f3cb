"""A running payonce, asked over HTTP: with which key, and what its answers mean for a command line."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx2
import msgspec

from payonce.config import is_loopback
from payonce.core.errors import PROBLEMS

from . import FAILURE, NOT_FOUND, REFUSED, UNAVAILABLE, USAGE
from .app import MISUSE
from .options import Exit
from .output import clean, say

POLL_S: Final = 0.1
HTTP_TIMEOUT_S: Final = 15.0
KEY_ENV: Final = "PAYONCE_API_KEY"

View = dict[str, Any]


class There(NamedTuple):
    """A running payonce, and what was given as the API key for it. ``url`` None: none is meant."""

    url: str | None
    api_key: str | None = None

    @property
    def root(self) -> str:
        return (self.url or "").rstrip("/")

    def bearer(self) -> dict[str, str]:
        """The header that shows the API key, ``--api-key`` or else PAYONCE_API_KEY; empty when there is none. Warns of one that
        goes over a network in the clear; ends the command for what cannot be one."""
        token = (self.api_key if self.api_key is not None else os.environ.get(KEY_ENV, "")).strip()
        if not token:
            return {}
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise Exit(USAGE, f"payonce: what stands in --api-key or {KEY_ENV} is no API key. Nothing was sent.")
        if self.root.startswith("http://") and not is_loopback(urlsplit(self.root).hostname or ""):
            say(f"The API key goes to {clean(self.root)} in the clear: others on the way can read it. Use https.")
        return {"Authorization": f"Bearer {token}"}


@contextmanager
def asking(there: There, key: str, what: str) -> Iterator[httpx2.Client]:
    """A client for one request with an idempotency key and the reads after it, which shows the API key. Ends the command when
    no whole answer comes; ``what`` names what may have been accepted."""
    url, shown = there.root, there.bearer()
    with httpx2.Client(base_url=url, timeout=HTTP_TIMEOUT_S, trust_env=False, headers=shown) as client:
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
    if answer.status_code == 401:
        means += f"\nThe key is taken from the option for it, or from {KEY_ENV}, where others on this machine do not see it."
    raise Exit(exit_code, f"payonce: {answer.status_code} {clean(detail)} ({clean(code)}){means}")


def watched(read: Callable[[], View], view: View, ended: Callable[[View], bool], wait_s: float) -> View:
    """``view``, read again until it has ended or the time is over."""
    deadline = time.monotonic() + wait_s
    while not ended(view) and time.monotonic() < deadline:
        time.sleep(POLL_S)
        view = read()
    return view
