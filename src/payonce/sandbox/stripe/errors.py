"""Refusals in the vendor's words and shape."""

from typing import Any, Final

import msgspec

from payonce.sandbox.simulator import Reply, reply_json

REQUEST_ERROR: Final = "invalid_request_error"


class Refused(Exception):
    """A request that is answered with an error. ``saved``: it was executed, so the answer stands under its key."""

    def __init__(self, status: int, message: str, code: str = "", *, saved: bool = False, **more: Any) -> None:
        self.reply = error_reply(status, message, code, **more)
        self.saved = saved


def error_reply(status: int, message: str, code: str = "", type: str = REQUEST_ERROR, **more: Any) -> Reply:
    error = {**({"code": code} if code else {}), "message": message, **more, "type": type}
    return reply_json(status, {"error": error})


def unexpected_state(message: str, view: dict[str, Any]) -> Refused:
    return Refused(400, message, "payment_intent_unexpected_state", saved=True, payment_intent=view)


def missing(kind: str, id: str, param: str) -> Refused:
    return Refused(404, f"No such {kind}: '{id[:64]}'", "resource_missing", param=param)


def locked() -> Refused:
    message = (
        "This object cannot be accessed right now because another API request or Stripe process is currently accessing it."
    )
    return Refused(429, message, "lock_timeout")


def limited() -> Reply:
    reply = error_reply(429, "Request rate limit exceeded.", "rate_limit")
    return msgspec.structs.replace(reply, headers={**reply.headers, "stripe-rate-limited-reason": "global-rate"})


def failed() -> Reply:
    return error_reply(500, "An unknown error occurred", type="api_error")
