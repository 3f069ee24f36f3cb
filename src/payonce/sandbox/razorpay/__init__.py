"""A vendor like Razorpay: orders hold payments, payments are captured, captured ones are refunded. What it answers has
the field names, status words and error bodies of razorpay.com/docs/api (v1; checked 2026-11-26 against the vendor's
repository razorpay/markdown-docs of 2026-04-09 and the mocks of its Python SDK).

POST /orders                     {amount, currency, receipt?, notes?, payment?: {capture, capture_options}, payment_capture?}
GET  /orders, /orders/{id}, /orders/{id}/payments      ?receipt=, count=, skip=, from=, to=, expand[]=payments
POST /payments/create/json       {amount, currency, order_id, method, token?, bank?, wallet?, upi?, callback_url?, notes?, ...}
POST /payments/create/upi        the same with upi: {flow: collect | intent, vpa?, expiry_time?}; server to server, both
GET  /payments, /payments/{id}, /payments/{id}/refunds, /payments/{id}/refunds/{id}
POST /payments/{id}/capture      {amount, currency}
POST /payments/{id}/refund       {amount?, speed?, receipt?, notes?}; header X-Refund-Idempotency
GET  /refunds, /refunds/{id};  POST /refunds           the same with payment_id in the body

A receipt that is used already is refused; with ``unique_receipt`` its order is answered instead (which of both a real
account does is unverified). An order takes one captured payment and one try at a time. With manual capture a payment
stays authorized until it is captured, or given back when ``manual_expiry_period`` is over (or the fault profile's
``holdS``, if that is less). All paths also below /v1.

Where the customer acts: a token of the sandbox says it, in ``token`` or in place of the bank or wallet; netbanking, wallet
and UPI without a token wait for the page; success@razorpay and failure@razorpay decide by themselves after 3 s, as in the
vendor's test mode; any other UPI address is asked until ``expiry_time``. A UPI intent names the page as its ``url``.

Refunds are processed at once, unless the fault profile's ``refunds`` or ``notes.forceRefund`` of the refund says otherwise:
pending, pending_fail, fail_later, fail. Webhooks: payment.authorized, .captured, .failed, order.paid, refund.created,
.processed, .failed. A hold that lapses is not told.
"""

import base64
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from payonce.sandbox.faults import Profile
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.simulator import Reply, Request, Standing

from . import changes
from .books import NAME, Books, state_of
from .calls import Call
from .saying_no import invalid, refusal
from .telling import signed


class RazorpayVendor:
    """``keys`` None accepts any key id with any secret; else only these pairs, and the rest is answered 401."""

    def __init__(self, keys: Mapping[str, str] | None = None) -> None:
        self.keys = keys

    def simulate(self, request: Request, ledger: Ledger, faults: Profile, now_us: int) -> Reply:
        if not self._knows(request.headers.get("authorization", "")):
            return refusal(401, "The api key provided is invalid")
        parts = request.path.removeprefix("/v1").strip("/").split("/")
        if request.method == "GET":
            return Books(ledger, now_us - faults.lookup_lag_ms * 1000).answer(parts, request.query)
        if request.method != "POST":
            return refusal(400, "The requested URL was not found on the server.")
        try:
            return Call(request, ledger, faults, now_us).answer(parts)
        except msgspec.MsgspecError as error:
            field = re.search(r"`\$\.([a-z_.]+)`", str(error))
            return invalid(str(error)[:200], field.group(1) if field else None)

    def settle(self, ledger: Ledger, now_us: int) -> None:
        """Payments whose process died end as they would have, failed ones turn out to be authorized, customers act, collect
        requests and holds run out, refunds end."""
        while due := ledger.take_due(NAME, now_us):
            for due_us, thing in due:
                changes.happen(ledger, thing, due_us)

    def standing(self, ledger: Ledger, number: int) -> Standing | None:
        """``simulator.Acting``."""
        payment = ledger.thing(NAME, "payment", number)
        if payment is None or not payment.doc.get("acts"):
            return None
        state = state_of(payment)
        return Standing(
            amount_minor=state["amount"],
            currency=state["currency"],
            reference=payment.reference,
            open=state["status"] == "created",
            says=state["status"],
            return_url=payment.doc["callback_url"],
        )

    def act(self, ledger: Ledger, number: int, now_us: int, *, approve: bool) -> None:
        """``simulator.Acting``."""
        standing, payment = self.standing(ledger, number), ledger.thing(NAME, "payment", number)
        if standing is None or payment is None or not standing.open:
            return
        if approve:
            changes.authorize(ledger, payment, now_us)
        else:
            changes.fail(ledger, payment, "authentication_failed", now_us)

    def sign_webhook(self, body: bytes, now_us: int) -> Mapping[str, str]:
        """``simulator.Telling``."""
        del now_us  # no time is signed
        return signed(body)

    def _knows(self, authorization: str) -> bool:
        scheme, _, pair = authorization.partition(" ")
        try:
            key_id, _, secret = base64.b64decode(pair, validate=True).decode().partition(":")
        except ValueError:
            return False
        known = bool(key_id and secret) if self.keys is None else bool(secret) and self.keys.get(key_id) == secret
        return scheme.lower() == "basic" and known


SIMULATOR: Final = RazorpayVendor()
