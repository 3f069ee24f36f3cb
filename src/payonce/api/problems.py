"""What goes out when a request is not accepted: RFC 9457 problem+json from the one table in core/errors.py."""

from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from payonce.core.errors import PROBLEMS, NewerSchema, Refused, StoreUnavailable
from payonce.core.redact import mask

from .incoming import Request, shown

JSON: Final = b"application/json"
PROBLEM_JSON: Final = b"application/problem+json"
RETRY_AFTER_S: Final = 1
INSTANCE_CHARS_MAX: Final = 256
RETRIED: Final = frozenset(
    {"request_in_progress", "retry_same_key", "not_ready", "rate_limited", "over_capacity"}
)  # Retry-After
READS: Final = frozenset({"GET", "HEAD"})

_SAME: Final = "Nothing was changed."
# code -> state of the money and what to do, when the request was a read: it neither creates nor uses up a key
TOLD_READERS: Final[dict[str, tuple[str, str]]] = {
    "body_invalid": (_SAME, "Send reads without a body."),
    "validation_failed": (_SAME, "Correct the named parameters."),
    "card_number_refused": (_SAME + " The request was not stored or logged.", "Leave it out: payonce knows no card numbers."),
    "headers_too_large": (_SAME, PROBLEMS["headers_too_large"].next),
    "rate_limited": (_SAME, PROBLEMS["rate_limited"].next),
    "over_capacity": (_SAME + " Payments go on as before.", "Ask again after Retry-After."),
    "internal_error": (_SAME + " Payments go on as before.", "Ask again; if it persists, report the request id."),
}
THINGS: Final = {
    "payments": "payment",
    "events": "event",
    "webhook-endpoints": "endpoint",
    "webhook-deliveries": "delivery",
    "providers": "account",
    "inbox": "webhook",
}
_SEE_DOCS: Final = "See /docs for the paths there are."

# what StoreUnavailable says -> what may leave the house: texts of the store name files
_CAUSES: Final[tuple[tuple[str, str], ...]] = (
    ("disk is full", "its disk is full"),
    ("held the write lock", "it is busy"),
    ("held a table lock", "it is busy"),
    ("are waiting for the disk already", "it is busy"),
    ("is read-only", "it is read-only"),
    ("may not be accessed", "it is read-only"),
    ("cannot be opened", "its file cannot be opened"),
    ("moved, replaced or deleted", "its file was moved or replaced"),
    ("reported an error", "its disk reported an error"),
    ("is damaged", "its file is damaged"),
    ("no database any more", "its file is damaged"),
    ("memory ran out", "memory ran out"),
    ("is closed", "it is closing"),
    ("DynamoDB refused", "it refuses; the log says what, and what to do"),
    ("is busy", "it is busy"),
)

Headers = tuple[tuple[bytes, bytes], ...]

# RFC 6750, section 3.1: who sent no key is told no error
CHALLENGES: Final = {
    "key_missing": b'Bearer realm="payonce"',
    "key_invalid": b'Bearer realm="payonce", error="invalid_token"',
    "scope_missing": b'Bearer realm="payonce", error="insufficient_scope"',
}

CLOSE: Final = (b"connection", b"close")  # where the next request would start is not known


class NoSuchPath(Refused):
    """``not_found`` for a path that no route has, as against a payment that does not exist."""

    def __init__(self) -> None:
        super().__init__("not_found", "There is nothing under this path.")


class NoSuchOperation(Refused):
    """``not_found`` for an operation that the payment has not."""

    def __init__(self) -> None:
        super().__init__("not_found", "This payment has no such operation.")


class Later(Refused):
    """``rate_limited`` or ``over_capacity``: the same request may be let in so many seconds later."""

    def __init__(self, code: str, detail: str, *, retry_after_s: int) -> None:
        super().__init__(code, detail)
        self.retry_after_s = retry_after_s


class Answer(Struct, frozen=True):
    """A whole HTTP answer."""

    status: int
    body: bytes
    media_type: bytes = JSON
    headers: Headers = ()


class FieldProblem(Struct, frozen=True, rename="camel"):
    """One field that is wrong: its name and the rule it breaks, never its value."""

    field: Annotated[str, Meta(description="Name of the field; nested ones with dots.", examples=["amount"])]
    rule: Annotated[
        str,
        Meta(
            description="What it must be, in words.",
            examples=["must be an integer in minor units, 1 to 999999999999 (no decimals, no string)"],
        ),
    ]


class Problem(Struct, frozen=True, kw_only=True, rename="camel"):
    """Why a request was not accepted, what state the money is in, and what to do next (RFC 9457)."""

    type: Annotated[
        str,
        Meta(
            description="Where the problem is explained: its place in `/docs`.",
            examples=["/docs#problem-validation_failed"],
            extra_json_schema={"format": "uri-reference"},
        ),
    ]
    title: Annotated[str, Meta(description="The problem in a few words; the same for every occurrence.")]
    status: Annotated[int, Meta(description="The HTTP status.", ge=400, le=599, examples=[422])]
    detail: Annotated[str, Meta(description="What is wrong with this request. Never repeats a value that was sent.")]
    instance: Annotated[
        str,
        Meta(
            description="The path that was asked, card numbers removed.",
            max_length=3 * INSTANCE_CHARS_MAX,
            examples=["/payments"],
            extra_json_schema={"format": "uri-reference"},
        ),
    ]
    code: Annotated[
        str,
        Meta(
            description="The stable name of the problem: branch on it, not on titles or texts.",
            extra_json_schema={"enum": list(PROBLEMS)},
            examples=["validation_failed"],
        ),
    ]
    money: Annotated[str, Meta(description="What state the money is in.")]
    next: Annotated[str, Meta(description="What to do next.")]
    request_id: Annotated[
        str,
        Meta(
            description="The Request-Id of this answer: name it when you report something.",
            pattern="^[A-Za-z0-9._-]{1,64}$",
            examples=["req_5f0c2d9e81b7a3460d1e"],
        ),
    ]
    errors: Annotated[list[FieldProblem], Meta(description="The fields that are wrong; empty when no field is at fault.")]


def problem(error: Exception, request: Request, *, headers: Headers = ()) -> Answer:
    """The answer that an error becomes. Errors that are not ours become ``internal_error`` and say nothing of themselves."""
    code, detail, fields = _told(error, request)
    about = PROBLEMS[code]
    money, next_step = _state(error, code, request)
    body = Problem(
        type=f"{quote(request.root)}/docs#problem-{code}",
        title=about.title,
        status=about.status,
        detail=detail,
        instance=quote(mask(str(request.scope["path"]))[:INSTANCE_CHARS_MAX], errors="replace"),
        code=code,
        money=money,
        next=next_step,
        request_id=request.request_id,
        errors=fields,
    )
    if code in RETRIED:
        seconds = error.retry_after_s if isinstance(error, Later) else RETRY_AFTER_S
        headers = (*headers, (b"retry-after", b"%d" % seconds))
    if code in CHALLENGES:
        headers = (*headers, (b"www-authenticate", CHALLENGES[code]))
    if code == "body_timeout":
        headers = (*headers, CLOSE)
    return Answer(about.status, _encode(body), PROBLEM_JSON, headers)


def _told(error: Exception, request: Request) -> tuple[str, str, list[FieldProblem]]:
    changes = request.scope["method"] not in READS
    match error:
        case NoSuchPath() | NoSuchOperation():
            return "not_found", error.detail, []
        case Refused(code="not_found"):
            return "not_found", f"There is no such {_thing(request)} for you.", []
        case Refused() if error.code in PROBLEMS:
            return error.code, _clean(error.detail), [FieldProblem(shown(e.field), _clean(e.rule)) for e in error.errors]
        case StoreUnavailable() if changes and _thing(request) == "payment":
            said = f"The store took no write: {_cause(error)}. Nothing was written; the key may be used again."
            return "retry_same_key", said, []
        case StoreUnavailable() if changes:
            return (
                "not_ready",
                f"The store took no write: {_cause(error)}. Ask again; what stands then tells what was done.",
                [],
            )
        case StoreUnavailable():
            return "not_ready", f"The store cannot be read now: {_cause(error)}.", []
        case NewerSchema():
            return "not_ready", "This was written by a newer version of payonce; nothing was touched.", []
        case _:
            return "internal_error", "Something failed that should not. It was logged under the request id.", []


def _state(error: Exception, code: str, request: Request) -> tuple[str, str]:
    """What state the money is in, and what to do next."""
    reads = request.scope["method"] in READS
    if isinstance(error, NoSuchPath):
        return (_SAME if reads else PROBLEMS["method_not_allowed"].money), _SEE_DOCS
    if reads and code in TOLD_READERS:
        return TOLD_READERS[code]
    return PROBLEMS[code].money, PROBLEMS[code].next


def _thing(request: Request) -> str:
    """What the first part of the path names."""
    first = str(request.scope["path"]).removeprefix(request.root).split("/")[1:2]
    return THINGS.get(first[0] if first else "", "thing")


def _cause(error: Exception) -> str:
    text = str(error)
    return next((cause for said, cause in _CAUSES if said in text), "it does not answer")


def _clean(text: str) -> str:
    return mask(text.encode("utf-8", "replace").decode())


_encode: Any = msgspec.json.Encoder().encode
