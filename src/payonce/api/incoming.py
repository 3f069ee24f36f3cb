"""What comes in: headers, body and query of one request, checked in the order of docs (media type, size, JSON, key,
validation). Everything that is wrong is a Refused; nothing of what was sent is repeated in its text but field names.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final
from urllib.parse import parse_qsl

from msgspec import Struct
from starlette.requests import ClientDisconnect

from payonce.core.actors import actor
from payonce.core.errors import FieldError, InvariantViolated, Refused
from payonce.core.idempotency import parse_key
from payonce.core.redact import has_card_number
from payonce.merchants.keys import Caller
from payonce.ports import Entropy
from payonce.shown.views import moment

NAMED: Final = "payonce.headers"  # key of an ASGI scope: the headers by name
BODY_BYTES_MAX: Final = 65_536
BODY_S: Final = 10.0  # for a whole body: 64 KiB take less on any line that is of use, and a stalled sender holds a socket
HEADERS_MAX: Final = 100  # browsers and proxies send about 30
HEAD_BYTES_MAX: Final = 16_384  # request line and headers; the server in front stops there too when a head comes in parts
DRAINED_BYTES_MAX: Final = 1_048_576  # read and thrown away, so that a client still sending gets to see its 413
NESTING_MAX: Final = 64  # no valid request nests deeper than 2; the parser must not run out of stack
INT_DIGITS_MAX: Final = 400  # longer numbers are far outside every limit; converting them costs quadratic time
QUERY_FIELDS_MAX: Final = 32
TEXT_CHARS_MAX: Final = 255
TOO_LARGE: Final = f"The body has more than {BODY_BYTES_MAX} bytes."
_FAR: Final[int] = 10**INT_DIGITS_MAX
_INT64: Final = 2**63

_MEDIA: Final = re.compile(r"application/(?:json|[a-z0-9!#$&^_.-]+\+json)")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Request(Struct, frozen=True):
    """One HTTP request as the handlers see it. ``admitted``: whom the door let in; None on a route that is open to all."""

    scope: MutableMapping[str, Any]
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]]
    request_id: str
    admitted: Caller | None = None

    @property
    def caller(self) -> Caller:
        """Who is asking: whose rows a handler may see. Raises InvariantViolated on a route without a key: nobody's rows."""
        if self.admitted is None:
            raise InvariantViolated("a handler asked for the caller of a route that needs no key")
        return self.admitted

    @property
    def actor(self) -> str:
        """The caller, and where they came from, as the record names them."""
        return actor(self.caller.who, self.address)

    @property
    def address(self) -> str:
        """Of the client as the server saw it, "" where it saw none. What a header claims about it is not believed."""
        client = self.scope.get("client")
        return str(client[0] or "") if client else ""

    def headers(self, name: bytes) -> Sequence[str]:
        """Every value under a lower-case name."""
        return headers_of(self.scope).get(name, ())

    @property
    def root(self) -> str:
        """Where the application is mounted; empty at the top."""
        return str(self.scope.get("root_path", ""))

    def path_value(self, name: str) -> str:
        return str(self.scope["path_params"][name])


def headers_of(scope: MutableMapping[str, Any]) -> Mapping[bytes, Sequence[str]]:
    """The values under each name, put in order once for each request: a dozen questions are asked of them."""
    known: dict[bytes, list[str]] | None = scope.get(NAMED)
    if known is None:
        known = scope[NAMED] = {}
        for name, value in scope["headers"]:
            known.setdefault(name, []).append(value.decode("latin-1"))
    return known


def request_id_of(scope: MutableMapping[str, Any], entropy: Entropy) -> str:
    """The caller's Request-Id if it is one we may store, else a fresh one."""
    given = headers_of(scope).get(b"request-id", ())
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) and not has_card_number(given[0]):
        return given[0]
    return f"req_{entropy.bits(80):020x}"


def check_head(scope: MutableMapping[str, Any]) -> None:
    """What holds for every request before anybody handles it. Raises Refused."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    size = len(scope.get("raw_path") or b"") + len(scope.get("query_string", b""))
    size += sum(map(len, chain.from_iterable(headers))) + 4 * len(headers)
    if len(headers) > HEADERS_MAX or size > HEAD_BYTES_MAX:
        raise Refused("headers_too_large", f"There are more than {HEADERS_MAX} headers or {HEAD_BYTES_MAX} bytes of them.")
    names = headers_of(scope)
    if b"content-length" in names and b"transfer-encoding" in names:  # readers disagree about where such a body ends
        raise Refused("body_invalid", "Content-Length and Transfer-Encoding stand in one request.")


def check_media_type(request: Request) -> None:
    """application/json or application/*+json, in UTF-8, not compressed. Raises Refused."""
    given, codings = request.headers(b"content-type"), request.headers(b"content-encoding")
    if len(given) != 1:
        raise Refused("media_type_unsupported", "One Content-Type header is needed.")
    if wrong := _wrong_media_type(given[0]):
        raise Refused("media_type_unsupported", wrong)
    if [c for c in codings if c.strip().lower() != "identity"]:
        raise Refused("media_type_unsupported", "A Content-Encoding is not supported: send the body as it is.")


@lru_cache(maxsize=64)
def _wrong_media_type(given: str) -> str:
    """What is wrong with a Content-Type; "" = nothing. The few that clients send are looked at once."""
    media, *parameters = (part.strip().lower() for part in given.split(";"))
    if not _MEDIA.fullmatch(media):
        return "The Content-Type must be application/json or application/*+json."
    for name, _, value in (parameter.partition("=") for parameter in parameters):
        if name.strip() == "charset" and value.strip().strip('"') not in ("utf-8", "utf8"):
            return "The charset must be utf-8."
    return ""


async def read_body(request: Request, deadline_s: float = BODY_S) -> bytes:
    """The whole body, which must have come ``deadline_s`` from now. Raises Refused ``body_timeout`` and ``body_too_large``
    (also when no length was announced), and ClientDisconnect."""
    try:
        async with asyncio.timeout(deadline_s):
            return await _whole_body(request)
    except TimeoutError:
        raise Refused("body_timeout", f"The body was not complete after {deadline_s:g} seconds.") from None


async def _whole_body(request: Request) -> bytes:
    for announced in request.headers(b"content-length"):
        known = announced.isascii() and announced.isdigit() and len(announced) < 16
        length = int(announced) if known else DRAINED_BYTES_MAX + 1
        # above the smaller limit: a client that waits for our word before it sends anything gets it at once
        if length > DRAINED_BYTES_MAX or (length > BODY_BYTES_MAX and request.headers(b"expect")):
            raise Refused("body_too_large", TOO_LARGE)
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size, more = size + len(chunk), message.get("more_body", False)
        if size <= BODY_BYTES_MAX:
            chunks.append(chunk)
        elif size > DRAINED_BYTES_MAX:
            break
    if size > BODY_BYTES_MAX:
        raise Refused("body_too_large", TOO_LARGE)
    return b"".join(chunks)


def key_of(request: Request, body: Mapping[str, Any]) -> str:
    """The idempotency key, from the header, the body or both. Raises Refused."""
    keys = request.headers(b"idempotency-key")
    if len(keys) > 1:
        raise Refused("idempotency_key_invalid", "There is more than one Idempotency-Key header.")
    return parse_key(keys[0] if keys else None, body.get("idempotencyKey"))


def parse_object(raw: bytes) -> dict[str, Any]:
    """One JSON object in UTF-8, each name once. Raises Refused ``body_invalid``."""
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise Refused("body_invalid", "The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise Refused("body_invalid", f"The body is not JSON: it breaks at {where}.") from None
    except RecursionError:
        raise Refused("body_invalid", "The body nests too deeply.") from None
    if not isinstance(value, dict):
        raise Refused("body_invalid", "The body is JSON, but no object.")
    if raw.count(b"[") + raw.count(b"{") > NESTING_MAX:
        _check_nesting(value)
    return value


def _check_nesting(value: Any) -> None:
    level = [value]
    for _ in range(NESTING_MAX):
        inner = [tuple(v.values()) if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [each for some in inner for each in some]
        if not level:
            return
    raise Refused("body_invalid", "The body nests too deeply.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # readers disagree about which one counts: with money none does
        raise Refused("body_invalid", "A name stands twice in one object.")
    return found


def _int(digits: str) -> int:
    if len(digits) <= INT_DIGITS_MAX:
        return int(digits)
    return _FAR if digits[0] != "-" else -_FAR


def _float(text: str) -> float:
    """Beyond 64 bits it becomes a number that every field refuses: no reader agrees on what such a float means."""
    value = float(text)
    return value if abs(value) < _INT64 else _FAR


def _constant(_name: str) -> float:
    raise Refused("body_invalid", "NaN and Infinity are not JSON.")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_int, parse_float=_float, parse_constant=_constant)


# --- query ------------------------------------------------------------------------------------------------------------


class Query:
    """The query parameters, each at most once and none unknown. Collects what is wrong; ``check`` raises it."""

    def __init__(self, request: Request, known: Collection[str] = ()) -> None:
        self.errors: list[FieldError] = []
        self._values: dict[str, str] = {}
        raw: bytes = request.scope.get("query_string", b"")
        if not raw:
            return
        try:
            pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX)
        except ValueError:  # UnicodeDecodeError is one
            rule = f"must be percent-encoded UTF-8 with at most {QUERY_FIELDS_MAX} parameters"
            raise Refused("validation_failed", f"query {rule}.", (FieldError("query", rule),)) from None
        if any(has_card_number([name, value]) for name, value in pairs if name != "cursor"):
            raise Refused("card_number_refused", "A card number stands in the query.")
        for name, value in pairs:
            if name not in known:
                self.bad(shown(name), "is not a known query parameter")
            elif name in self._values:
                self.bad(name, "stands twice")
            else:
                self._values[name] = value

    def bad(self, field: str, rule: str) -> None:
        self.errors.append(FieldError(field, rule))

    def check(self) -> None:
        if self.errors:
            raise Refused("validation_failed", "; ".join(f"{e.field} {e.rule}" for e in self.errors) + ".", tuple(self.errors))

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is not None and (not 1 <= len(value) <= TEXT_CHARS_MAX or _UNPRINTABLE.search(value)):
            self.bad(name, f"must have 1 to {TEXT_CHARS_MAX} characters without control characters")
            return None
        return value

    def choice(self, name: str, choices: Collection[str], rule: str) -> str | None:
        value = self._values.get(name)
        if value is not None and value not in choices:
            self.bad(name, rule)
            return None
        return value

    def number(self, name: str, low: int, high: int, default: int) -> int:
        value = self._values.get(name)
        if value is None:
            return default
        digits = value.isascii() and value.isdigit() and len(value) <= len(str(high))
        if not digits or not low <= int(value) <= high:
            self.bad(name, f"must be an integer, {low} to {high}")
            return default
        return int(value)

    def time_us(self, name: str) -> int | None:
        """An RFC 3339 time as microseconds since 1970."""
        value = self._values.get(name)
        if value is None:
            return None
        try:
            return moment(value)
        except ValueError:
            self.bad(name, "must be an RFC 3339 time such as 2026-11-24T09:30:00Z (a + is written %2B)")
            return None


def shown(name: str) -> str:
    """A field name as an answer may show it: short, and without what no text may hold."""
    return _UNPRINTABLE.sub("\ufffd", name[:80])
