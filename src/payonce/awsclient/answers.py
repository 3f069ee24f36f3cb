"""What an answer of AWS says: the one table of codes, and bytes where items have them."""

import zlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from payonce.awsapi import Answer, Busy, Denied, Done, Lost

# Codes that say: not done now, ask again. What else AWS says with 4xx is a refusal.
BUSY: Final = frozenset(
    {
        "KmsThrottled",
        "KMS.ThrottlingException",
        "OverLimit",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionConflictException",
    }
)
# The same request is under way, or it may be: what becomes of it is not known.
OPEN: Final = frozenset({"TransactionInProgressException", "InternalServerError", "InternalFailure", "ServiceUnavailable"})
# The signature was refused: nothing was done. Their texts quote the request, its session token too.
UNSIGNED: Final = frozenset(
    {
        "InvalidSignatureException",
        "RequestExpired",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
SIGNED_BY: Final = ("x-amzn-requestid", "x-amzn-request-id", "x-amz-request-id")  # every answer of AWS has one
TOLD: Final = frozenset({"__type", "message", "Message"})  # of an error, beside what comes with it
MESSAGE_CHARS_MAX: Final = 1000
EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException"})


def read(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """What an answer says. Only AWS's own words make it Done, Denied or Busy."""
    told = headers.get("x-amz-crc32", "")
    if told.isascii() and told.isdecimal() and int(told) != zlib.crc32(body):
        return Lost("the answer was damaged on its way")
    try:
        said: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any]) if body else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Lost(f"HTTP {status} without an answer of AWS")
    if status == 200 and not any(name in headers for name in SIGNED_BY):
        return Lost("HTTP 200 without an answer of AWS")
    try:
        said = _bytes(said)
    except msgspec.ValidationError:
        return Lost("the answer was damaged on its way")
    if status == 200:
        return Done(said)
    named = str(said.get("__type") or headers.get("x-amzn-errortype") or "")
    code = named.rpartition("#")[2].partition(":")[0]
    if code in BUSY:
        return Busy(code)
    if code in OPEN or not code or not 400 <= status < 500:
        return Lost(code or f"HTTP {status} without an answer of AWS")
    if code in UNSIGNED:
        return Denied(code, "The signature was refused.")
    message = str(said.get("message") or said.get("Message") or "")
    return Denied(code, message[:MESSAGE_CHARS_MAX], {k: v for k, v in said.items() if k not in TOLD})


def _bytes(value: Any) -> Any:
    """Binary values of items as bytes. In AWS's answers only those stand as ``{"B": text}`` and ``{"BS": [text]}``."""
    if type(value) is dict:
        if len(value) == 1:
            [(kind, inner)] = value.items()
            if kind == "B" and type(inner) is str:
                return {"B": _decoded(inner)}
            if kind == "BS" and type(inner) is list and all(type(each) is str for each in inner):
                return {"BS": [_decoded(each) for each in inner]}
            if type(inner) is str:
                return value
        return {name: _bytes(inner) for name, inner in value.items()}
    return [_bytes(inner) for inner in value] if type(value) is list else value


def _decoded(text: str) -> bytes:
    return msgspec.convert(text, bytes)
