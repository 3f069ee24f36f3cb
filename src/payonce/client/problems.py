"""What can go wrong, as exceptions.

ClientError
├─ Problem        the server answered that it did not do it: one class for each of its codes (``NotFound``, …)
├─ Unanswered     no answer at all, to the end: whether it was done is not known; ask again with the same key
├─ BadAnswer      an answer that is none of payonce's
└─ StillPending   ``wait`` waited long enough; the payment goes on

Each that concerns a POST has its ``idempotency_key``: sent again with it nothing can happen twice. ``maybe_done``: a try of
it had no whole answer, so it may have been done, whatever was answered to a later try.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from .answers import Payment

TEXT_CHARS_MAX: Final = 300  # shown of an answer that is none of payonce's


class ClientError(Exception):
    """See the module docstring."""

    idempotency_key: str = ""
    maybe_done: bool = False


class Unanswered(ClientError):
    """Nobody answered, or the answer was lost: the payment or operation may exist. Ask again with ``idempotency_key``."""


class BadAnswer(ClientError):
    """Something answered that does not speak payonce's API (a proxy, another service). Whether the request was done is not
    known."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class StillPending(ClientError):
    """``payment`` is as it was last seen; it is still being worked on."""

    def __init__(self, payment: Payment) -> None:
        super().__init__(f"{payment.transaction_id} is still {payment.status}; it is being worked on. Wait again.")
        self.payment = payment


class FieldError(Struct, frozen=True):
    """One field that is wrong, and the rule it breaks."""

    field: str
    rule: str


class Told(Struct, frozen=True, rename="camel"):
    """A problem as the server tells it."""

    status: int
    code: str
    title: str = ""
    detail: str = ""
    money: str = ""
    next: str = ""
    request_id: str = ""
    errors: list[FieldError] = []


class Problem(ClientError):
    """The server did not do it. ``code`` is stable, ``money`` says what state the money is in, ``next`` what to do."""

    code: str = ""

    def __init__(self, told: Told, retry_after_s: float | None = None) -> None:
        super().__init__(f"{told.status} {told.code}: {told.detail} {told.money} {told.next} (request {told.request_id})")
        self.code, self.status, self.detail = told.code, told.status, told.detail
        self.money, self.next, self.request_id = told.money, told.next, told.request_id
        self.errors, self.retry_after_s = tuple(told.errors), retry_after_s


# One for each code of the API of version 0.2; a code of a newer server that is not here is a plain ``Problem``.


class IdempotencyKeyMissing(Problem):
    code = "idempotency_key_missing"


class IdempotencyKeyInvalid(Problem):
    code = "idempotency_key_invalid"


class BodyInvalid(Problem):
    code = "body_invalid"


class KeyMissing(Problem):
    code = "key_missing"


class KeyInvalid(Problem):
    code = "key_invalid"


class ScopeMissing(Problem):
    code = "scope_missing"


class WebhookRefused(Problem):
    code = "webhook_refused"


class NotFound(Problem):
    code = "not_found"


class MethodNotAllowed(Problem):
    code = "method_not_allowed"


class BodyTimeout(Problem):
    code = "body_timeout"


class OperationInProgress(Problem):
    code = "operation_in_progress"


class OperationNotPossible(Problem):
    code = "operation_not_possible"


class NothingToResolve(Problem):
    code = "nothing_to_resolve"


class RequestInProgress(Problem):
    code = "request_in_progress"


class BodyTooLarge(Problem):
    code = "body_too_large"


class WebhookTooLarge(Problem):
    code = "webhook_too_large"


class MediaTypeUnsupported(Problem):
    code = "media_type_unsupported"


class ValidationFailed(Problem):
    code = "validation_failed"


class CardNumberRefused(Problem):
    code = "card_number_refused"


class NoRoute(Problem):
    code = "no_route"


class CaptureMethodUnsupported(Problem):
    code = "capture_method_unsupported"


class TestTokenRefused(Problem):
    code = "test_token_refused"


class EndpointRefused(Problem):
    code = "endpoint_refused"


class EndpointsTooMany(Problem):
    code = "endpoints_too_many"


class RateLimited(Problem):
    code = "rate_limited"


class AmountExceedsAvailable(Problem):
    code = "amount_exceeds_available"


class PartialCaptureUnsupported(Problem):
    code = "partial_capture_unsupported"


class ResolutionIncomplete(Problem):
    code = "resolution_incomplete"


class IdempotencyKeyReused(Problem):
    code = "idempotency_key_reused"


class HeadersTooLarge(Problem):
    code = "headers_too_large"


class RetrySameKey(Problem):
    code = "retry_same_key"


class WebhookNotStored(Problem):
    code = "webhook_not_stored"


class OverCapacity(Problem):
    code = "over_capacity"


class WebhooksUnavailable(Problem):
    code = "webhooks_unavailable"


class NotReady(Problem):
    code = "not_ready"


class InternalError(Problem):
    code = "internal_error"


BY_CODE: Final[Mapping[str, type[Problem]]] = {
    kind.code: kind
    for kind in (
        IdempotencyKeyMissing,
        IdempotencyKeyInvalid,
        BodyInvalid,
        KeyMissing,
        KeyInvalid,
        ScopeMissing,
        WebhookRefused,
        NotFound,
        MethodNotAllowed,
        BodyTimeout,
        OperationInProgress,
        OperationNotPossible,
        NothingToResolve,
        RequestInProgress,
        BodyTooLarge,
        WebhookTooLarge,
        MediaTypeUnsupported,
        ValidationFailed,
        CardNumberRefused,
        NoRoute,
        CaptureMethodUnsupported,
        TestTokenRefused,
        EndpointRefused,
        EndpointsTooMany,
        RateLimited,
        AmountExceedsAvailable,
        PartialCaptureUnsupported,
        ResolutionIncomplete,
        IdempotencyKeyReused,
        HeadersTooLarge,
        RetrySameKey,
        WebhookNotStored,
        OverCapacity,
        WebhooksUnavailable,
        NotReady,
        InternalError,
    )
}


def problem_of(status: int, headers: Mapping[str, str], body: bytes) -> ClientError:
    """The exception for an answer that is no success."""
    try:
        told = msgspec.json.decode(body, type=Told)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        text = re.sub(r"[^ -~]+", " ", body[:TEXT_CHARS_MAX].decode("utf-8", "replace"))
        return BadAnswer(
            f"Status {status} without a problem of payonce: {text!r}. Check the address and what is between.", status
        )
    return BY_CODE.get(told.code, Problem)(told, retry_after_s(headers))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header, if it has any."""
    said = headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdigit() and len(said) < 7 else None
