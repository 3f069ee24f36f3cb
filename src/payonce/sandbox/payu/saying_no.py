"""PayU's ways to say no, always with 200, and the ways in which an answer goes wrong."""

import msgspec

from payonce.sandbox.faults import Plan
from payonce.sandbox.ledger import Thing
from payonce.sandbox.simulator import Reply, reply_json

from .books import name_of


def refused(said: str, code: int = 0, payment: Thing | None = None) -> Reply:
    """Nothing was done."""
    about = {"error_code": code} if code else {}
    named = {"mihpayid": name_of(payment)} if payment else {}
    return reply_json(200, {"status": 0, "msg": said, **about, **named})


def nothing(plan: Plan) -> Reply:
    """Nothing is done, and the answer says little or does not come. The vendor's rate limit has no HTTP status of its own."""
    if plan.answers == "limited":
        return refused("Requests limit reached")
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
    page = b"<html><body>500 Internal Server Error</body></html>"
    return Reply(status=500, headers={"content-type": "text/html"}, body=page)
