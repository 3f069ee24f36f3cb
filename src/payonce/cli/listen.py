"""``payonce listen``: a merchant's events as they happen, forwarded to a program on this machine as signed webhooks. It asks a
running payonce over HTTP, with a key like any other client, and survives restarts of both ends."""

import os
import secrets as chance
import stat
import time
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import httpx2
import msgspec
from cyclopts import Parameter
from msgspec import Struct

from payonce import __version__
from payonce.config import is_loopback
from payonce.core import news
from payonce.outbound import signing

from . import OK, UNAVAILABLE, USAGE
from .options import HERE, Exit, Where
from .output import clean, paint, put, say
from .remote import HTTP_TIMEOUT_S, checked
from .times import moment

PAGE: Final = 100
POLL_S: Final = 0.5  # between two questions while nothing happens
REST_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)  # after so many vain questions in a row; the last one stays
FORWARD_S: Final = 10.0  # for the receiver to answer
AGAIN_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)  # before each further try of an event
FILE_NAME: Final = "listen.secret"
KEY_ENV: Final = "PAYONCE_API_KEY"
FAR: Final = "9999-01-01T00:00:00Z"  # nothing has happened there: a question that only asks whether one may ask
GROUPS: Final = ("payment.*", "refund.*")


def listen(
    *,
    forward_to: str | None = None,
    events: str = "",
    url: str = "http://127.0.0.1:8080",
    key: str | None = None,
    since: str | None = None,
    json: Annotated[bool, Parameter(name=["--json", "--print-json"])] = False,
    print_secret: bool = False,
    where: Where = HERE,
) -> int:
    """Show events as they happen, one line each, and forward each with POST, signed like a webhook. Ctrl-C ends it.

    What the receiver does not take is sent again a few times, then it is left; --since sends it once more later. The secret
    that it is signed with is kept in the data folder, so it stays the same.

    Parameters
    ----------
    forward_to
        Where to, such as http://localhost:3000/hook (default: events are only shown).
    events
        Which, with commas between: payment.succeeded,refund.* (default: all).
    url
        A running payonce.
    key
        An API key with payments:read (default: PAYONCE_API_KEY, where others do not see it; a payonce without keys needs none).
    since
        From this time on (RFC 3339, such as 2026-11-24T10:00:00Z; default: from now on).
    json
        Print each event as a line of JSON on standard output; what became of it is told on standard error.
    print_secret
        Only print the secret, for a receiver's configuration.
    """
    secret = _secret(where)
    if print_secret:
        put(secret)
        return OK
    wanted = _wanted(events)
    if forward_to is not None:
        _require_url("--forward-to", forward_to)
    api = _require_url("--url", url).rstrip("/")
    token = _token(key, api)
    since_us = max(moment("--since", since), 0) if since is not None else None
    try:
        with httpx2.Client(trust_env=False) as client:
            source = Source(client, api, token)
            receiver = Receiver(client, forward_to, secret) if forward_to else None
            now_us = source.begin()
            if since_us is None:
                source.pass_over(now_us)
            if forward_to:
                say(f"Events are forwarded to {clean(forward_to)}, signed with {secret}", secret=True)
            say("Ready." if since_us is None else f"Ready, from {_stamp(since_us)} on.")
            for page in source.pages(since_us):
                _pass_on(page, receiver, wanted, as_json=json)
    except KeyboardInterrupt:
        say("Stopped.")
    return OK


def _token(key: str | None, api: str) -> str:
    """The key for the API; empty for none."""
    token = (key or os.environ.get(KEY_ENV, "")).strip()
    if not token.isascii() or not token.isprintable():
        raise Exit(USAGE, f"payonce: what stands in --key or {KEY_ENV} is no API key.")
    if token and api.startswith("http://") and not is_loopback(urlsplit(api).hostname or ""):
        say(f"The key goes to {clean(api)} without encryption: others on the way can read it. Use https.")
    return token


class Told(Struct, frozen=True):
    """One event: its bytes exactly as they came, and what is shown of it."""

    raw: bytes
    id: str
    type: str
    payment_id: str


class _Payment(Struct, rename="camel"):
    transaction_id: str


class _Data(Struct):
    payment: _Payment


class _Event(Struct):
    id: str
    type: str
    data: _Data


class _Page(Struct, rename="camel"):
    data: list[msgspec.Raw]
    next_cursor: str
    more: bool


class InVain(Struct, frozen=True):
    """No good answer, but there may be one later: why, how long to rest at least, and whether anybody answered."""

    why: str
    rest_s: float = 0.0
    heard: bool = False


class Source:
    """``GET /events`` of a payonce, page by page, for as long as it takes."""

    def __init__(self, client: httpx2.Client, url: str, token: str) -> None:
        self._client, self._url = client, url
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._goes_on: dict[str, str] = {}

    def begin(self) -> int:
        """The time there, in microseconds. Ends the command when nobody answers, or the key does not open."""
        while True:
            answer = self._ask({"since": FAR, "limit": "1"})
            if isinstance(answer, httpx2.Response):
                return _time_of(answer)
            if not answer.heard:
                say("No money is concerned. Is `payonce serve` running there? Name it with --url.")
                raise Exit(UNAVAILABLE, f"payonce: {answer.why}.")
            say(f"{answer.why}; asking again.")
            time.sleep(max(answer.rest_s, POLL_S))

    def pass_over(self, until_us: int) -> None:
        """Go to the end of what there is already: the server's clock is told in whole seconds, and what happened earlier in
        this one is not what comes."""
        query, more = {"since": _stamp(until_us), "limit": str(PAGE)}, True
        while more:
            answer = self._ask(query)
            if isinstance(answer, httpx2.Response):
                page = _page_of(answer)
                query, more = {"cursor": page.next_cursor, "limit": str(PAGE)}, page.more
            else:
                time.sleep(max(answer.rest_s, POLL_S))
        self._goes_on = query

    def pages(self, since_us: int | None) -> Iterator[list[Told]]:
        """Every page there is from a time on, or from where ``pass_over`` came to, and then those that come; an empty one when
        there is nothing new."""
        query = self._goes_on if since_us is None else {"since": _stamp(since_us), "limit": str(PAGE)}
        vain = 0
        while True:
            answer = self._ask(query)
            if not isinstance(answer, httpx2.Response):
                if not vain:
                    say(f"{answer.why}; asking again until it answers. No event is missed.")
                time.sleep(max(answer.rest_s, REST_S[min(vain, len(REST_S) - 1)]))
                vain += 1
                continue
            if vain:
                say(f"{clean(self._url)} answers again.")
            page = _page_of(answer)
            vain, query = 0, {"cursor": page.next_cursor, "limit": str(PAGE)}
            yield [_told(raw) for raw in page.data]
            if not page.more:
                time.sleep(POLL_S)

    def _ask(self, query: dict[str, str]) -> "httpx2.Response | InVain":
        """A good answer. Ends the command for what asking again does not help."""
        try:
            answer = self._client.get(f"{self._url}/events", params=query, headers=self._headers, timeout=HTTP_TIMEOUT_S)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return InVain(f"no answer from {clean(self._url)}: {clean(str(error)) or type(error).__name__}")
        if answer.status_code == 429 or answer.status_code >= 500:
            after = answer.headers.get("retry-after", "")
            rest_s = min(float(after), 60.0) if after.isascii() and after.isdigit() and len(after) < 6 else 0.0
            return InVain(f"{clean(self._url)} answers {answer.status_code}", rest_s=rest_s, heard=True)
        checked(answer, "nextCursor")  # a 4xx ends the command, with its code
        return answer


class Receiver:
    """The program that events are forwarded to."""

    def __init__(self, client: httpx2.Client, url: str, secret: str) -> None:
        self._client, self._url, self._secret = client, url, secret

    def take(self, told: Told) -> tuple[bool, str]:
        """Whether it took the event, and what it said, after as many tries as there are."""
        for rest_s in (*AGAIN_S, None):
            taken, said = self._once(told)
            if taken or rest_s is None:
                return taken, said
            time.sleep(rest_s)
        raise AssertionError("unreachable")

    def _once(self, told: Told) -> tuple[bool, str]:
        signed = signing.headers(told.id, time.time_ns() // 1000, told.raw, (self._secret,))
        headers = {**signed, "content-type": "application/json", "user-agent": f"payonce-listen/{__version__}"}
        began = time.monotonic()
        try:
            with self._client.stream("POST", self._url, content=told.raw, headers=headers, timeout=FORWARD_S) as answer:
                status = answer.status_code
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return False, f"no answer ({clean(str(error)) or type(error).__name__})"
        return 200 <= status < 300, f"{status} ({(time.monotonic() - began) * 1000:.0f} ms)"


def _pass_on(page: list[Told], receiver: Receiver | None, wanted: tuple[str, ...], *, as_json: bool) -> None:
    for told in page:
        if wanted and told.type not in wanted and f"{told.type.partition('.')[0]}.*" not in wanted:
            continue
        taken, said = receiver.take(told) if receiver else (True, "")
        _tell(told, taken=taken, said=said, as_json=as_json)


def _tell(told: Told, *, taken: bool, said: str, as_json: bool) -> None:
    at = datetime.now(UTC).strftime("%H:%M:%S")
    end = f"  -> {said}" if said else ""
    end += "" if taken else "  not taken, left"
    line = f"{at}  {clean(told.type):<26}  {clean(told.payment_id)}  {clean(told.id)}"
    if as_json:
        put(told.raw.decode())
        say(line + end)
    else:
        put(line + paint(end, "green" if taken else "red"))


def _page_of(answer: httpx2.Response) -> _Page:
    try:
        return msgspec.json.decode(answer.content, type=_Page)
    except msgspec.MsgspecError:
        raise Exit(UNAVAILABLE, "payonce: there came what is no page of events. Is the server another version?") from None


def _told(raw: msgspec.Raw) -> Told:
    """Raises Exit for what is no event of this version."""
    try:
        event = msgspec.json.decode(raw, type=_Event)
    except msgspec.MsgspecError:
        raise Exit(UNAVAILABLE, "payonce: there came what is no event. Is the server another version?") from None
    return Told(bytes(raw), event.id, event.type, event.data.payment.transaction_id)


def _wanted(text: str) -> tuple[str, ...]:
    known = (*news.TYPES, *GROUPS)
    wanted = tuple(part for part in (each.strip() for each in text.split(",")) if part)
    if unknown := [part for part in wanted if part not in known]:
        raise Exit(USAGE, f"payonce: --events: {clean(unknown[0])[:40]!r} is no event type. There are {', '.join(known)}.")
    return wanted


def _require_url(flag: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or not text.isprintable() or " " in text:
        raise Exit(USAGE, f"payonce: {flag} is an address such as http://localhost:3000/hook.")
    return text


def _time_of(answer: httpx2.Response) -> int:
    """Microseconds: the server's clock where it says it, else ours."""
    try:
        return int(parsedate_to_datetime(answer.headers["date"]).timestamp()) * 1_000_000
    except (KeyError, ValueError, TypeError):
        return time.time_ns() // 1000


def _stamp(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def _secret(where: Where) -> str:
    """The secret of this data folder's listeners, made at first use; readable for its owner only."""
    folder: Path = where.settings().data_dir
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
        except FileExistsError:
            return _known(path, path.read_text(encoding="ascii").strip())
        fresh = signing.PREFIX + b64encode(chance.token_bytes(signing.SECRET_BYTES)).decode()
        with os.fdopen(file, "w", encoding="ascii") as out:
            out.write(fresh + "\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise Exit(USAGE, f"payonce: {path} cannot be read or made: {why}. Name another folder with --data-dir.") from None
    return fresh


def _known(path: Path, text: str) -> str:
    if not text.startswith(signing.PREFIX) or len(text) < len(signing.PREFIX) + 32:
        raise Exit(USAGE, f"payonce: {path} holds no secret. Remove it: a new one is made.")
    return text
