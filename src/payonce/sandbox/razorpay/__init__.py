"""A vendor like Razorpay: orders hold payments, payments are captured, captured ones are refunded. What it answers has
the field names, status words and error bodies of razorpay.com/docs/api (v1; checked 2026-11-24 against the vendor's
repository razorpay/markdown-docs of 2026-04-09 and the mocks of its Python SDK).

POST /orders                     {amount, currency, receipt?, notes?, payment?: {capture, capture_options}, payment_capture?}
GET  /orders, /orders/{id}, /orders/{id}/payments      ?receipt=, count=, skip=, from=, to=, expand[]=payments
POST /payments/create/json       {amount, currency, order_id, method, token?, notes?, ...}; server to server
GET  /payments, /payments/{id}, /payments/{id}/refunds, /payments/{id}/refunds/{id}
POST /payments/{id}/capture      {amount, currency}
POST /payments/{id}/refund       {amount?, speed?, receipt?, notes?}; header X-Refund-Idempotency
GET  /refunds, /refunds/{id};  POST /refunds           the same with payment_id in the body

A receipt that is used already is refused; with ``unique_receipt`` its order is answered instead (which of both a real
account does is unverified). An order takes one captured payment and one try at a time. With manual capture a payment
stays authorized until it is captured, or given back when ``manual_expiry_period`` is over. All paths also below /v1.
"""

import base64
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from payonce.sandbox.faults import Plan, Profile, decide
from payonce.sandbox.keys import BUSY_MARGIN_S, KeyedCall
from payonce.sandbox.ledger import Ledger, Saved, Thing
from payonce.sandbox.simulator import Reply, Request, reply_json

from .books import NAME, Books, change, find, name_of, order_view, payment_view, refund_view, shop_of, state_of
from .saying_no import NO_ID, invalid, nothing, refusal, spoilt

AMOUNT_MAX: Final = 999_999_999_999
HOLD_MINUTES_MAX: Final = 7200
# normalised decline -> error_reason, error_source
REASONS: Final[dict[str, tuple[str, str]]] = {
    "insufficient_funds": ("insufficient_funds", "issuer_bank"),
    "stolen_card": ("debit_instrument_blocked", "issuer_bank"),
    "do_not_honor": ("card_declined", "issuer_bank"),
    "expired_card": ("card_expired", "customer"),
    "invalid_card": ("card_number_invalid", "customer"),
    "processing_error": ("gateway_technical_error", "gateway"),
    "configuration": ("payment_method_not_enabled", "business"),
    "forced_failure": ("payment_risk_check_failed", "internal"),
    "late_success_declined": ("payment_timed_out", "gateway"),
}

Amount = Annotated[int, Meta(ge=1, le=AMOUNT_MAX)]
Notes = dict[str, str | int | float | bool | None] | list[Any]


class _CaptureOptions(Struct, frozen=True):
    manual_expiry_period: Annotated[int, Meta(ge=1, le=HOLD_MINUTES_MAX)] = HOLD_MINUTES_MAX
    automatic_expiry_period: int = 0
    refund_speed: str = "normal"


class _Capture(Struct, frozen=True):
    capture: str
    capture_options: _CaptureOptions = _CaptureOptions()


class _Order(Struct, frozen=True):
    amount: Amount
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    receipt: Annotated[str, Meta(max_length=40)] | None = None
    notes: Notes = {}
    payment: _Capture | None = None
    payment_capture: bool | int = True
    unique_receipt: bool = False

    @property
    def manual(self) -> bool:
        return self.payment.capture == "manual" if self.payment else not self.payment_capture


class _Payment(Struct, frozen=True):
    amount: Amount
    currency: str
    order_id: str
    method: str = "card"
    token: str = ""
    email: str | None = None
    contact: str | None = None
    description: str | None = None
    notes: Notes = {}


class _Money(Struct, frozen=True):
    amount: Amount
    currency: str


class _Refund(Struct, frozen=True):
    amount: Amount | None = None
    speed: str = "normal"
    receipt: str | None = None
    notes: Notes = {}
    payment_id: str = ""


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
            return _Call(request, ledger, faults, now_us).answer(parts)
        except msgspec.MsgspecError as error:
            field = re.search(r"`\$\.([a-z_.]+)`", str(error))
            return invalid(str(error)[:200], field.group(1) if field else None)

    def settle(self, ledger: Ledger, now_us: int) -> None:
        """Payments whose process died end as they would have, failed ones turn out to be authorized, holds lapse."""
        while due := ledger.take_due(NAME, now_us):
            for due_us, payment in due:
                match state_of(payment):
                    case {"status": "created"}:
                        authorize(ledger, payment, due_us)
                    case {"status": "failed"}:
                        authorized = change(ledger, payment, due_us, status="authorized", **failure(None))
                        hold(ledger, authorized, due_us)
                    case {"status": "authorized", "amount": amount}:
                        given = {"status": "refunded", "amount_refunded": amount, "refund_status": "full"}
                        book(ledger, "void", change(ledger, payment, due_us, **given), due_us)

    def _knows(self, authorization: str) -> bool:
        scheme, _, pair = authorization.partition(" ")
        try:
            key_id, _, secret = base64.b64decode(pair, validate=True).decode().partition(":")
        except ValueError:
            return False
        known = bool(key_id and secret) if self.keys is None else bool(secret) and self.keys.get(key_id) == secret
        return scheme.lower() == "basic" and known


class _Call:
    """One POST."""

    def __init__(self, request: Request, ledger: Ledger, faults: Profile, now_us: int) -> None:
        self.request, self.ledger, self.faults, self.now_us = request, ledger, faults, now_us

    def answer(self, parts: list[str]) -> Reply:
        body = self.request.body
        match parts:
            case ["orders"]:
                return self._order(msgspec.json.decode(body, type=_Order))
            case ["payments", "create", "json"]:
                return self._payment(msgspec.json.decode(body, type=_Payment))
            case ["payments", name, "capture"]:
                return self._capture(name, msgspec.json.decode(body, type=_Money))
            case ["payments", name, "refund"]:
                return self._keyed_refund(name, msgspec.json.decode(body or b"{}", type=_Refund))
            case ["refunds"]:
                wanted = msgspec.json.decode(body, type=_Refund)
                return self._keyed_refund(wanted.payment_id, wanted)
        return refusal(400, "The requested URL was not found on the server.")

    def _order(self, wanted: _Order) -> Reply:
        for known in self.ledger.by_reference(NAME, "order", wanted.receipt) if wanted.receipt else ():
            same = (known.doc["amount"], known.doc["currency"]) == (wanted.amount, wanted.currency)
            if wanted.unique_receipt and same:
                return reply_json(200, order_view(self.ledger, known, self.now_us))
            return invalid("The receipt is used by another order", "receipt")
        doc = {
            "amount": wanted.amount,
            "currency": wanted.currency,
            "receipt": wanted.receipt,
            "notes": wanted.notes,
            "manual": wanted.manual,
            "hold_min": (wanted.payment or _Capture("")).capture_options.manual_expiry_period,
        }
        shop = shop_of(self.ledger)
        order = self.ledger.add(NAME, "order", wanted.receipt or "", doc, at_us=self.now_us, parent=shop.id)
        return reply_json(200, order_view(self.ledger, order, self.now_us))

    def _payment(self, wanted: _Payment) -> Reply:
        order = find(self.ledger, "order", wanted.order_id)
        if order is None:
            return invalid(NO_ID, "order_id", "invalid_order_id")
        if (order.doc["amount"], order.doc["currency"]) != (wanted.amount, wanted.currency):
            return invalid("Payment amount is different from the amount of the order", "amount", "order_amount_mismatch")
        about = {"order_id": wanted.order_id}
        tried = self.ledger.children(order.id)
        if any(state_of(p)["captured"] for p in tried):
            said = "Your payment has been declined as the order is already paid."
            return refusal(400, said, reason="order_already_paid", metadata=about)
        working = next((p for p in tried if state_of(p)["status"] == "created"), None)
        resumed = self.request.resumed
        if resumed and not working:
            return reply_json(200, {"razorpay_payment_id": name_of(tried[-1])})  # it ended by itself meanwhile
        if working and not resumed:
            return refusal(400, "A payment of this order is in progress", reason="duplicate_request", metadata=about)
        forced = isinstance(wanted.notes, dict) and wanted.notes.get("forceFail") == "true"
        name = order.reference or wanted.order_id
        plan = decide(self.ledger, wanted.token, name, force_fail=forced, resumed=resumed)
        if plan.does == "nothing":
            return nothing(plan)
        payment = working or self._new(order, wanted, plan)
        if plan.before_s and not resumed:
            self.ledger.later(payment, self.now_us + int((plan.before_s + BUSY_MARGIN_S) * 1_000_000))
            return Reply(hold_s=plan.before_s, resume=True)
        return spoilt(self._act(order, payment, plan), plan.answers)

    def _new(self, order: Thing, wanted: _Payment, plan: Plan) -> Thing:
        first = {
            "amount": wanted.amount + plan.extra_minor,
            "currency": wanted.currency,
            "status": "created",
            "captured": False,
            "amount_refunded": 0,
            "refund_status": None,
            "method": wanted.method,
            "email": wanted.email,
            "contact": wanted.contact,
            "description": wanted.description,
            "notes": wanted.notes,
            **failure(None),
        }
        doc = {"changes": [[self.now_us, first]], "hold_min": order.doc["hold_min"], "spoil": plan.answers}
        return self.ledger.add(NAME, "payment", order.reference, doc, at_us=self.now_us, parent=order.id)

    def _act(self, order: Thing, payment: Thing, plan: Plan) -> Reply:
        name = name_of(payment)
        if plan.does == "decline":
            reason, source = REASONS[plan.code]
            change(self.ledger, payment, self.now_us, **failure((reason, source)))
            if plan.late_s:
                self.ledger.later(payment, self.now_us + int(plan.late_s * 1_000_000))
            about = {"payment_id": name, "order_id": name_of(order)}
            return refusal(400, "Your payment could not be completed.", source=source, reason=reason, metadata=about)
        if plan.does == "charge":
            authorize(self.ledger, payment, self.now_us)
        return reply_json(200, {"razorpay_payment_id": name})

    def _capture(self, name: str, wanted: _Money) -> Reply:
        payment = find(self.ledger, "payment", name)
        if payment is None:
            return invalid(NO_ID)
        state = state_of(payment)
        if state["captured"]:
            return refusal(400, "This payment has already been captured")
        if state["status"] != "authorized":
            return invalid("Only payments which have been authorized can be captured")
        if state["amount"] != wanted.amount:
            return invalid("Capture amount must be equal to the amount authorized", "amount")
        if state["currency"] != wanted.currency:
            return invalid("The currency is not that of the payment", "currency")
        if any(state_of(p)["captured"] for p in self.ledger.children(payment.parent)):
            return refusal(400, "The order is already paid", reason="order_already_paid")
        taken = take(self.ledger, payment, self.now_us)
        book(self.ledger, "capture", taken, self.now_us)
        # where only the answer goes wrong, the capture's goes wrong too; a second capture is refused plainly
        return spoilt(reply_json(200, payment_view(taken, self.now_us)), taken.doc["spoil"])

    def _keyed_refund(self, name: str, wanted: _Refund) -> Reply:
        key = self.request.headers.get("x-refund-idempotency", "")
        if not key:
            return self._refund(name, wanted)
        if not re.fullmatch(r"[A-Za-z0-9_-]{10,255}", key):
            return invalid("The idempotency key must have at least 10 letters, digits, hyphens or underscores")
        call = KeyedCall(NAME, key, self.request, self.ledger, faults=self.faults, now_us=self.now_us)
        match call.standing():
            case Saved() as saved:
                return Reply(status=saved.status, headers=saved.headers, body=saved.body)
            case "other":
                return refusal(400, "Different request with the same idempotency key has already been processed.")
            case "busy":
                return refusal(409, "Another request with the same idempotency key is being processed.")
        answer = self._refund(name, wanted)
        if answer.status == 200:
            call.save(answer)
        return answer

    def _refund(self, name: str, wanted: _Refund) -> Reply:
        payment = find(self.ledger, "payment", name)
        if payment is None:
            return invalid(NO_ID)
        state = state_of(payment)
        left = state["amount"] - state["amount_refunded"]
        amount = left if wanted.amount is None else wanted.amount
        if not state["captured"]:
            return invalid("Only payments which have been captured can be refunded")
        if not left:
            return invalid("The payment has been fully refunded already")
        if amount > left:
            return invalid("The refund amount provided is greater than amount captured", "amount")
        doc = {
            "amount": amount,
            "currency": state["currency"],
            "receipt": wanted.receipt,
            "notes": wanted.notes,
            "speed": wanted.speed,
        }
        refund = self.ledger.add(NAME, "refund", wanted.receipt or "", doc, at_us=self.now_us, parent=payment.id)
        full = amount == left
        given = {
            "status": "refunded" if full else "captured",
            "amount_refunded": state["amount_refunded"] + amount,
            "refund_status": "full" if full else "partial",
        }
        book(self.ledger, "refund", change(self.ledger, payment, self.now_us, **given), self.now_us, refund)
        return reply_json(200, refund_view(refund))


def failure(reason: tuple[str, str] | None) -> dict[str, Any]:
    if reason is None:
        return dict.fromkeys(("error_code", "error_description", "error_source", "error_step", "error_reason"))
    return {
        "status": "failed",
        "error_code": "BAD_REQUEST_ERROR",
        "error_description": "Your payment could not be completed.",
        "error_source": reason[1],
        "error_step": "payment_authorization",
        "error_reason": reason[0],
    }


def authorize(ledger: Ledger, payment: Thing, at_us: int) -> None:
    """The bank said yes: held, or taken at once where the order captures by itself."""
    order = ledger.thing(NAME, "order", payment.parent)
    payment = change(ledger, payment, at_us, status="authorized")
    if order is None or order.doc["manual"]:
        hold(ledger, payment, at_us)
    else:
        book(ledger, "charge", take(ledger, payment, at_us), at_us)


def take(ledger: Ledger, payment: Thing, at_us: int) -> Thing:
    return change(ledger, payment, at_us, status="captured", captured=True)


def hold(ledger: Ledger, payment: Thing, at_us: int) -> None:
    """Money is held until it is captured, or the period that its order named is over."""
    book(ledger, "authorize", payment, at_us)
    ledger.later(payment, at_us + payment.doc["hold_min"] * 60_000_000)


def book(ledger: Ledger, kind: Any, payment: Thing, at_us: int, refund: Thing | None = None) -> None:
    state = state_of(payment)
    ledger.book(
        NAME,
        kind,
        reference=payment.reference or f"order_{payment.parent:014d}",
        refund_reference=(refund.reference or name_of(refund)) if refund else "",
        provider_ref=name_of(refund or payment),
        amount_minor=refund.doc["amount"] if refund else state["amount"],
        currency=state["currency"],
        at_us=at_us,
    )


SIMULATOR: Final = RazorpayVendor()
