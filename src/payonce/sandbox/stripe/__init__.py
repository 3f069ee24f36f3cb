"""Stripe as the sandbox plays it: paths, parameters, words, headers and errors of the vendor's API (the types of its SDK of
version 2026-10-28.endive, docs.stripe.com; checked 2026-11-26), without the vendor.

POST /v1/payment_intents         GET the list, GET /{id}; confirm=true confirms at once
POST /v1/payment_intents/{id}/confirm, /capture, /cancel
POST /v1/refunds                 GET the list, GET /{id}
GET  /v1/charges, /v1/events     and one of each

A token of the sandbox, or one of the vendor's own for tests (TEST_METHODS), travels as ``payment_method``. A method by
``payment_method_data[type]`` is a redirect flow, in which the customer acts; metadata.forceFail "true" declines. A
PaymentIntent succeeds once; one that was canceled never does, so a late success only comes where nobody canceled it.
Parameters are checked strictly: an unknown one gets 400, before anything is executed.

An ``Idempotency-Key`` saves status and body of the first request that was executed, refusals and a 500 included; refused
parameters, 401, 409 and 429 are not saved, nor a 500 that came before anything was executed. A saved 500 is repeated for
ROLL_FORWARD_S; after that the vendor has put it right, and a repeat gets what became of the payment.

Without ``automatic_payment_methods`` only cards are allowed, as on an account that has nothing else. ``payment_method_types``
is still taken, which the vendor refuses since 2026-09-30.endive; so is its successor, ``allowed_payment_method_types``.

Unverified: how long a 500 is repeated, the ``type`` of a 409, most messages, and that a redirect is offered without a
``return_url``. Invented: the late success of tok_late_* and pm_card_saved500.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from payonce.sandbox.faults import Profile
from payonce.sandbox.keys import KeyedCall
from payonce.sandbox.ledger import Ledger, Saved
from payonce.sandbox.simulator import Reply, Request, Standing

from .calls import TEST_METHODS, Call, intent_named
from .errors import Refused
from .forms import to_minor
from .intents import Intents
from .lookups import Lookup
from .views import NAME, SECOND_US, digest

__all__ = ["ROLL_FORWARD_S", "SIMULATOR", "TEST_METHODS", "StripeVendor"]

ROLL_FORWARD_S: Final = 60
WEBHOOK_SECRET: Final = b"whsec_sandbox"  # what an account at the sandbox has that names none of its own
KEY_CHARS_MAX: Final = 255
AT: Final = "x-saved-at"  # beside a saved answer, never sent


class StripeVendor:
    """``api_keys`` None accepts any secret or restricted key of test mode; else only these, and the rest gets 401. A
    Simulator, with Acting and Telling."""

    def __init__(self, api_keys: frozenset[str] | None = None) -> None:
        self.api_keys = api_keys

    def simulate(self, request: Request, ledger: Ledger, faults: Profile, now_us: int) -> Reply:
        try:
            reply = self._answer(request, ledger, faults, now_us)
        except Refused as refused:
            reply = refused.reply
        named = {
            "request-id": f"req_{digest(f'{now_us} {request.method} {request.path} {request.body!r} {ledger.counts()}', 14)}",
            "stripe-version": request.headers.get("stripe-version", ""),
            **({"stripe-should-retry": "true"} if reply.status in (409, 429) else {}),
        }
        return msgspec.structs.replace(reply, headers={**named, **reply.headers})

    def settle(self, ledger: Ledger, now_us: int) -> None:
        """Late successes, customers who act by themselves, holds that lapse, refunds that end."""
        for due_us, thing in ledger.take_due(NAME, now_us):
            Intents(ledger, due_us).settle(thing)

    def standing(self, ledger: Ledger, number: int) -> Standing | None:
        intent = ledger.thing(NAME, "intent", number)
        if intent is None:
            return None
        doc = intent.doc
        return Standing(
            amount_minor=to_minor(doc["amount"], doc["currency"]) or 0,
            currency=doc["currency"],
            reference=intent.reference,
            open=doc["status"] == "requires_action",
            says=doc["status"],
            return_url=doc["return_url"] or "",
        )

    def act(self, ledger: Ledger, number: int, now_us: int, *, approve: bool) -> None:
        intent = ledger.thing(NAME, "intent", number)
        if intent is not None and intent.doc["status"] == "requires_action":
            Intents(ledger, now_us).act(intent, approve=approve)

    def sign_webhook(self, body: bytes, now_us: int) -> Mapping[str, str]:
        at = str(now_us // SECOND_US)
        signature = hmac.new(WEBHOOK_SECRET, at.encode() + b"." + body, hashlib.sha256).hexdigest()
        return {"content-type": "application/json; charset=utf-8", "stripe-signature": f"t={at},v1={signature}"}

    def _answer(self, request: Request, ledger: Ledger, faults: Profile, now_us: int) -> Reply:
        self._admit(request.headers)
        if request.method == "GET":
            return Lookup(ledger, now_us - faults.lookup_lag_ms * 1000).answer(request)
        key = request.headers.get("idempotency-key", "")
        if request.method != "POST" or not key:
            return Call(request, ledger, faults, now_us).answer()
        if len(key) > KEY_CHARS_MAX:
            raise Refused(400, "Idempotency keys can be at most 255 characters.")
        return _under_key(KeyedCall(NAME, key, request, ledger, faults=faults, now_us=now_us))

    def _admit(self, headers: Mapping[str, str]) -> None:
        key = _api_key(headers)
        if not key:
            raise Refused(401, "You did not provide an API key.")
        known = re.match(r"(sk|rk)_test_.", key) is not None if self.api_keys is None else key in self.api_keys
        if not known:
            raise Refused(401, f"Invalid API Key provided: {key[:8]}***")
        version = headers.get("stripe-version", "")
        if version and not re.fullmatch(r"\d{4}-\d\d-\d\d(\.[a-z]+)?", version, re.ASCII):
            raise Refused(400, "Invalid Stripe API version.")


def _api_key(headers: Mapping[str, str]) -> str:
    """Bearer, or Basic with the key as the user."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode("ascii").partition(":")[0]
        except ValueError:
            return ""
    return value.strip() if scheme.lower() == "bearer" else ""


def _under_key(keyed: KeyedCall) -> Reply:
    call = Call(keyed.request, keyed.ledger, keyed.faults, keyed.now_us, keyed)
    told = {"idempotency-key": keyed.key}
    match keyed.standing():
        case Saved() as saved:
            at = int(saved.headers.get(AT, keyed.now_us))
            headers = {name: value for name, value in saved.headers.items() if name != AT}
            reply = Reply(status=saved.status, headers={**headers, **told, "idempotent-replayed": "true"}, body=saved.body)
            return _put_right(call, reply) if saved.status == 500 and keyed.now_us >= at + ROLL_FORWARD_S * SECOND_US else reply
        case "other":
            message = "Keys for idempotent requests can only be used with the same parameters they were first used with."
            raise Refused(400, message, type="idempotency_error")
        case "busy":
            message = "There is currently another in-progress request using this Idempotent Key."
            raise Refused(409, message, "idempotency_key_in_use", type="idempotency_error")
    try:
        reply = call.answer()
    except Refused as refused:
        if refused.saved:
            _save(keyed, refused.reply)
        reply = refused.reply
    else:
        if call.executed:
            _save(keyed, reply)
    if reply.status == 500 and call.executed:  # a repeat would get the same
        told["stripe-should-retry"] = "false"
    return msgspec.structs.replace(reply, headers={**reply.headers, **told})


def _save(keyed: KeyedCall, reply: Reply) -> None:
    keyed.save(msgspec.structs.replace(reply, drop=False, headers={**reply.headers, AT: str(keyed.now_us)}))


def _put_right(call: Call, reply: Reply) -> Reply:
    """A saved 500, rolled forward: what became of the payment."""
    match call.request.path.strip("/").split("/"):
        case ["v1", "payment_intents", id, "confirm"]:
            intent = intent_named(call.ledger, id)
            if not intent.doc["method"]:
                return reply  # nothing became of it
            settled = call.settled(intent)
            return msgspec.structs.replace(settled, headers={**reply.headers, **settled.headers})
    return reply


SIMULATOR: Final = StripeVendor()
