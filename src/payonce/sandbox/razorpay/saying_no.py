"""Razorpay's ways to say no, and the ways in which an answer goes wrong."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from payonce.sandbox.faults import Plan
from payonce.sandbox.simulator import Reply, reply_json

NO_ID: Final = "The id provided does not exist"


def nothing(plan: Plan) -> Reply:
    if plan.answers == "limited":
        limited = refusal(429, "Request failed. Please try after sometime.")
        return msgspec.structs.replace(limited, headers={**limited.headers, "retry-after": "1"})
    if plan.answers == "error":
        return server_error()
    return Reply(drop=True, hold_s=plan.before_s)


def spoilt(answer: Reply, how: str) -> Reply:
    if how == "never":
        return Reply(drop=True)
    if how == "garbage":
        return msgspec.structs.replace(answer, body=answer.body[: len(answer.body) // 2])
    return server_error() if how == "error" else answer


def server_error() -> Reply:
    doc = {"error": {"code": "SERVER_ERROR", "description": "We are facing some trouble completing your request."}}
    return reply_json(500, doc)


def invalid(description: str, field: str | None = None, reason: str = "input_validation_failed") -> Reply:
    return refusal(400, description, source="business", step="payment_initiation", reason=reason, field=field)


def refusal(
    status: int,
    description: str,
    *,
    source: str = "NA",
    step: str = "NA",
    reason: str = "NA",
    metadata: Mapping[str, str] | None = None,
    field: str | None = None,
) -> Reply:
    error: dict[str, Any] = {"code": "BAD_REQUEST_ERROR", "description": description, "source": source, "step": step}
    error |= {"reason": reason, "metadata": dict(metadata or {})} | ({"field": field} if field else {})
    return reply_json(status, {"error": error})
