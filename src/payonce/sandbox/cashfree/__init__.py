"""Cashfree as the sandbox plays it: paths, words, headers and errors of the vendor's API 2025-01-01 (its openapi.yaml,
public pages and repository cashfree/agent-skills, checked 2026-11-24 and 2026-11-26), without the vendor.

POST  /orders                        an order; 409 order_already_exists when our id is taken
GET   /orders/{id}
PATCH /orders/{id}                   {order_status: TERMINATED}: at once, or TERMINATION_REQUESTED while a payment may succeed
GET   /orders/{id}/payments          and /payments/{cf_payment_id}
POST  /orders/{id}/authorization     {action: CAPTURE | VOID, amount} of a hold, once
POST  /orders/{id}/refunds           GET the list, GET /refunds/{refund_id}
POST  /orders/sessions               pay; as at the vendor it needs no credentials, but then takes no key either
POST  /recon                         events in a time window, page by page
POST  /simulate                      decide a pending payment by hand; GET /simulate/{id}

A token of the sandbox travels as the card's instrument_id, the upi_id or the netbanking_bank_name; order_tags.forceFail
"true" declines. The answer to paying only says that the vendor has it: what became of it shows in the payments. An order
takes one success; one that comes after the order was paid or terminated is CANCELLED: the vendor gives it back and nothing
is booked. Where the customer has to act (tok_action, a UPI intent, a bank) the answer says where, the payment is
NOT_ATTEMPTED (UPI: PENDING), and the sandbox's page decides; a UPI request that nobody answers is USER_DROPPED after its
minutes. Every other token is answered ``custom`` with nothing to open, which a real account would do for UPI alone.
A card payment of an order whose note is preauth_transaction, as in the vendor's own sandbox, and a UPI payment with
authorize_only is a hold. It lapses to VOID after seven days.
A refund whose note is PENDING, ONHOLD, FAILED or CANCELLED ends like that (the vendor's sandbox knows the first and the
third). A slow payment's capture, void and refunds are PENDING for as long.
Webhooks go out for payments that end, captures, and refunds that end, signed with the client secret.
x-ratelimit-limit is the vendor's number per minute in production; -remaining counts requests that may change something, and
is not told for reads. Nobody is refused for it: tok_rate_limited is.

Unverified: the words of error_reason beside bank_rejected and auth_declined, the codes of most refusals, and that an order
with a hold is PAID.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from payonce.sandbox.faults import Profile
from payonce.sandbox.keys import KeyedCall
from payonce.sandbox.ledger import Ledger, Saved
from payonce.sandbox.simulator import Reply, Request, Standing

from . import paying, telling
from .calls import EXPIRES_S, Call
from .lookups import Lookup
from .orders import Orders
from .paying import DECLINES
from .values import NAME, Refused, become, error_reply

__all__ = ["DECLINES", "EXPIRES_S", "SIMULATOR", "CashfreeVendor"]

API_VERSIONS: Final = frozenset({"2022-09-01", "2023-08-01", "2025-01-01", "2026-01-01"})
CLIENT_SECRET: Final = "sandbox"  # noqa: S105 - what an account at the sandbox uses that names none of its own
MINUTE_US: Final = 60_000_000
# (method, kind of path) -> requests per minute in production, and what they are counted by
LIMITS: Final[dict[tuple[str, str], tuple[int, str]]] = {
    ("POST", "orders"): (200, "app_id"),
    ("GET", "orders"): (400, "app_id"),
    ("POST", "sessions"): (100, "ip"),
    ("GET", "payments"): (100, "app_id"),
    ("POST", "refunds"): (100, "app_id"),
    ("GET", "refunds"): (30, "app_id"),
    ("POST", "recon"): (30, "app_id"),
}


class CashfreeVendor:
    """``credentials`` None accepts any client id and secret that are not empty; else only this pair, the rest gets 401."""

    def __init__(self, credentials: tuple[str, str] | None = None) -> None:
        self.credentials = credentials

    def simulate(self, request: Request, ledger: Ledger, faults: Profile, now_us: int) -> Reply:
        try:
            reply = self._answer(request, ledger, faults, now_us)
        except Refused as refused:
            reply = refused.reply
        except msgspec.MsgspecError as error:
            reply = error_reply(400, "request_failed", str(error)[:200])
        version, trace = request.headers.get("x-api-version", ""), request.headers.get("x-request-id", "")
        named = {"x-api-version": version, "x-request-id": trace, **_rate_limit(request, ledger, now_us)}
        return msgspec.structs.replace(reply, headers={**named, **reply.headers})

    def settle(self, ledger: Ledger, now_us: int) -> None:
        """Slow payments, captures and refunds end, customers act by themselves, declines turn out to be charges
        (tok_late_success), holds lapse, orders expire."""
        for due_us, thing in ledger.take_due(NAME, now_us):
            orders = Orders(ledger, due_us)
            if thing.kind == "payment":
                paying.come_due(orders, thing)
            elif thing.kind == "refund" and thing.doc["status"] == "PENDING":
                orders.give_back(thing)
            elif thing.kind == "order" and thing.doc["status"] == "ACTIVE":
                become(ledger, thing, due_us, status="EXPIRED")

    def standing(self, ledger: Ledger, number: int) -> Standing | None:
        return paying.standing(ledger, number)

    def act(self, ledger: Ledger, number: int, now_us: int, *, approve: bool) -> None:
        paying.act(ledger, number, now_us, approve=approve)

    def sign_webhook(self, body: bytes, now_us: int) -> Mapping[str, str]:
        return telling.signed(body, self.credentials[1] if self.credentials else CLIENT_SECRET, now_us)

    def _answer(self, request: Request, ledger: Ledger, faults: Profile, now_us: int) -> Reply:
        given = (request.headers.get("x-client-id", ""), request.headers.get("x-client-secret", ""))
        known = all(given) and (self.credentials is None or given == self.credentials)
        pays = (request.method, request.path) == ("POST", "/orders/sessions")
        if not known and (any(given) or not pays):
            raise Refused(401, "request_failed", "authentication Failed", "authentication_error")
        if request.headers.get("x-api-version", "") not in API_VERSIONS:
            raise Refused(400, "version_invalid", "x-api-version is missing or not supported")
        lag_us = faults.lookup_lag_ms * 1000
        if request.method == "GET":
            return Lookup(ledger, now_us - lag_us).answer(request.path)
        call, key = Call(request, ledger, now_us, lag_us), request.headers.get("x-idempotency-key", "")
        if request.method != "POST" or not key or not known:
            return call.answer()
        keyed = KeyedCall(NAME, key, request, ledger, faults=faults, now_us=now_us)
        match keyed.standing():
            case Saved() as saved:
                headers = {**saved.headers, "x-idempotency-key": key, "x-idempotency-replayed": "true"}
                return Reply(status=saved.status, headers=headers, body=saved.body)
            case "other":
                raise Refused(422, "request_invalid", "the key was used with another request", "idempotency_error")
            case "busy":
                raise Refused(409, "request_in_progress", "a request with this key is being worked on")
        reply = call.answer()
        if call.executed:
            keyed.save(msgspec.structs.replace(reply, drop=False))
        return msgspec.structs.replace(
            reply, headers={**reply.headers, "x-idempotency-key": key, "x-idempotency-replayed": "false"}
        )


def _rate_limit(request: Request, ledger: Ledger, now_us: int) -> dict[str, str]:
    """The vendor's limit headers of a request; counted per minute of the clock and kind of request."""
    parts = request.path.strip("/").split("/")
    kind = next((part for part in reversed(parts) if ("POST", part) in LIMITS or ("GET", part) in LIMITS), parts[0])
    limit, counted_by = LIMITS.get((request.method, kind), (0, "app_id"))
    headers = {"x-ratelimit-type": counted_by, "x-ratelimit-retry": "0"}
    if not limit:
        return headers
    headers["x-ratelimit-limit"] = str(limit)
    if request.method == "POST":
        seen, minute = ledger.recall(f"rate {NAME}", kind), now_us // MINUTE_US
        count = int(seen.get("count", 0)) + 1 if seen.get("minute") == minute else 1
        ledger.remember(f"rate {NAME}", kind, {"minute": minute, "count": count})
        headers["x-ratelimit-remaining"] = str(max(0, limit - count))
    return headers


SIMULATOR: Final = CashfreeVendor()
