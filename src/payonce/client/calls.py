"""What to send, what to make of the answer, and when to try again: generators without I/O, clock or chance, driven by
drivers.py. They yield ``Send`` and ``Pause`` and are sent ``Answer``, ``NoAnswer`` and ``Woken``.

A POST is tried again under the same key only, whatever became of it: that is what the key is for.
"""

from collections.abc import Callable, Generator, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from .answers import EventPage, Operation, OperationList, Payment, PaymentPage
from .problems import BadAnswer, ClientError, Problem, StillPending, Unanswered, problem_of, retry_after_s

FIRST_PAUSE_S: Final = 0.2
PAUSE_MAX_S: Final = 5.0
POLL_MIN_S, POLL_MAX_S = 0.05, 2.0
AGAIN: Final = frozenset({408, 429, 500, 502, 503, 504})  # with the same key
IN_PROGRESS: Final = "request_in_progress"


class Send(Struct, frozen=True, kw_only=True):
    method: str
    path: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Pause(Struct, frozen=True):
    seconds: float


class Answer(Struct, frozen=True):
    """A whole answer; names of headers in lower case; ``at_s`` by a clock that never goes back."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    at_s: float


class NoAnswer(Struct, frozen=True):
    reason: str
    at_s: float


class Woken(Struct, frozen=True):
    """After a pause."""

    at_s: float


T = TypeVar("T")
Reply = Answer | NoAnswer | Woken
Flow = Generator[Send | Pause, Reply, T]


class Patience(Struct, frozen=True):
    """For how long a call is tried again, and the dice for the pauses between: 0 to 1."""

    total_s: float
    dice: Callable[[], float]


def call(send: Send, made: type[T], patience: Patience, *, key: str = "") -> Flow[T]:
    """One request until it is answered for good, or patience ends. Raises ClientError; ``maybe_done`` when an earlier try of a
    POST had no whole answer: a refusal that came after it says nothing about that one."""
    began = (yield Pause(0)).at_s
    tries, maybe_done = 0, False
    while True:
        reply = yield send
        if isinstance(reply, Answer) and 200 <= reply.status < 300:
            return _decoded(reply, made, key)
        error = _refused(reply)
        maybe_done = maybe_done or (bool(key) and (not isinstance(reply, Answer) or reply.status >= 500))
        error.idempotency_key, error.maybe_done = key, maybe_done
        pause_s = _pause_s(reply, tries, patience)
        if not _again(reply, error) or reply.at_s + pause_s - began > patience.total_s:
            raise error
        yield Pause(pause_s)
        tries += 1


def _refused(reply: Reply) -> ClientError:
    match reply:
        case Answer():
            return problem_of(reply.status, reply.headers, reply.body)
        case NoAnswer():
            return Unanswered(f"No answer ({reply.reason}): whether it was done is not known. Ask again with the same key.")
        case _:
            raise TypeError("a driver answers a Send with Answer or NoAnswer")


def _again(reply: Reply, error: ClientError) -> bool:
    if isinstance(error, Problem) and error.code == IN_PROGRESS:
        return True
    return not isinstance(reply, Answer) or reply.status in AGAIN


def _pause_s(reply: Reply, tries: int, patience: Patience) -> float:
    """Longer each time, never sooner than the server asks for, and never all clients at once."""
    base: float = min(PAUSE_MAX_S, FIRST_PAUSE_S * 2**tries) * (0.5 + patience.dice())
    asked = retry_after_s(reply.headers) if isinstance(reply, Answer) else None
    return base if asked is None else asked + base / 4


def _decoded(answer: Answer, made: type[T], key: str) -> T:
    try:
        return msgspec.json.decode(answer.body, type=made)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        bad = BadAnswer(
            f"Status {answer.status} with a body that is none of payonce's: {error}. Check the address.", answer.status
        )
        bad.idempotency_key, bad.maybe_done = key, bool(key)
        raise bad from error


# --- the calls --------------------------------------------------------------------------------------------------------


def post(path: str, fields: Mapping[str, Any], key: str, made: type[T], patience: Patience) -> Flow[T]:
    """A POST that creates something, under its key."""
    body = msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
    headers = (("content-type", "application/json"), ("idempotency-key", key))
    return call(Send(method="POST", path=path, body=body, headers=headers), made, patience, key=key)


def read(path: str, query: Mapping[str, Any], made: type[T], patience: Patience) -> Flow[T]:
    given = {name: value for name, value in query.items() if value is not None}
    return call(Send(method="GET", path=f"{path}?{urlencode(given)}" if given else path), made, patience)


def payment(payment_id: str, patience: Patience) -> Flow[Payment]:
    return read(f"/payments/{quote(payment_id, safe='')}", {}, Payment, patience)


def payments(query: Mapping[str, Any], patience: Patience) -> Flow[PaymentPage]:
    return read("/payments", query, PaymentPage, patience)


def events(query: Mapping[str, Any], patience: Patience) -> Flow[EventPage]:
    return read("/events", query, EventPage, patience)


def ask(kind: str, payment_id: str, fields: Mapping[str, Any], key: str, patience: Patience) -> Flow[Operation]:
    """``kind``: capture, void or refunds; ``fields``: amount and note, None where there is none."""
    return post(f"/payments/{quote(payment_id, safe='')}/{kind}", fields, key, Operation, patience)


def refunds(payment_id: str, patience: Patience) -> Flow[OperationList]:
    return read(f"/payments/{quote(payment_id, safe='')}/refunds", {}, OperationList, patience)


def wait(payment_id: str, timeout_s: float, until: Callable[[Payment], bool], patience: Patience) -> Flow[Payment]:
    """Read it until ``until`` holds. Raises StillPending after ``timeout_s``."""
    began = (yield Pause(0)).at_s
    pause_s = POLL_MIN_S
    while True:
        seen = yield from payment(payment_id, patience)
        if until(seen):
            return seen
        now = (yield Pause(0)).at_s
        if now - began >= timeout_s:
            raise StillPending(seen)
        yield Pause(min(pause_s, began + timeout_s - now))
        pause_s = min(POLL_MAX_S, pause_s * 1.5)
