"""Cashfree as the sandbox plays it: paths, words, headers and errors of the vendor's API 2025-01-01 (its openapi.yaml and
public pages, checked 2026-11-24), without the vendor.

POST  /orders                        an order; 409 order_already_exists when our id is taken
GET   /orders/{id}
PATCH /orders/{id}                   {order_status: TERMINATED}: at once, or TERMINATION_REQUESTED while a payment may succeed
GET   /orders/{id}/payments          and /payments/{cf_payment_id}
POST  /orders/{id}/refunds           GET the list, GET /refunds/{refund_id}
POST  /orders/sessions               pay; as at the vendor it needs no credentials, but then takes no key either
POST  /simulate                      decide a pending payment by hand; GET /simulate/{id}

A token of the sandbox travels as the card's instrument_id or as the upi_id; order_tags.forceFail "true" declines. The
answer to paying only says that the vendor has it: what became of it shows in the payments. An order takes one success;
one that comes after the order was paid or terminated is CANCELLED: the vendor gives it back and nothing is booked.
A refund whose note is PENDING or FAILED ends like that, as in the vendor's own sandbox.

Unverified: the words of error_reason beside bank_rejected and auth_declined, and the codes of most refusals.
"""

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from payonce.core.money import AMOUNT_MINOR_MAX, EXPONENTS
from payonce.sandbox.faults import Plan, Profile, decide
from payonce.sandbox.keys import KeyedCall
from payonce.sandbox.ledger import Ledger, Saved, Thing
from payonce.sandbox.simulator import Reply, Request, reply_json

from .orders import NAME, PAYMENT_BASE, REFUND_BASE, Orders, Refused, become, digest, error_reply, minor, number_of, time_us
from .views import Lookup, order_view, pay_view, refund_view

API_VERSIONS: Final = frozenset({"2022-09-01", "2023-08-01", "2025-01-01", "2026-01-01"})
EXPIRES_S: Final = 30 * 86_400
SECOND_US: Final = 1_000_000

# normalised decline -> the vendor's error_code, error_reason, error_source
DECLINES: Final[dict[str, tuple[str, str, str]]] = {
    "insufficient_funds": ("TRANSACTION_DECLINED", "insufficient_funds", "bank"),
    "do_not_honor": ("TRANSACTION_DECLINED", "bank_rejected", "bank"),
    "stolen_card": ("TRANSACTION_DECLINED", "card_stolen", "bank"),
    "expired_card": ("TRANSACTION_DECLINED", "card_expired", "bank"),
    "invalid_card": ("TRANSACTION_DECLINED", "card_invalid", "customer"),
    "processing_error": ("TRANSACTION_DECLINED", "ISSUER_NOT_AVAILABLE", "bank"),
    "configuration": ("TRANSACTION_DECLINED", "payment_method_unsupported", "cashfree"),
    "forced_failure": ("TRANSACTION_DECLINED", "forced_failure", "customer"),
    "late_success_declined": ("TRANSACTION_DECLINED", "late_success_declined", "bank"),
}


class _Customer(Struct, frozen=True, kw_only=True):
    customer_id: Annotated[str, Meta(min_length=3, max_length=50)]
    customer_phone: Annotated[str, Meta(min_length=10, max_length=10)]
    customer_email: Annotated[str, Meta(min_length=3, max_length=100)] | None = None
    customer_name: Annotated[str, Meta(min_length=3, max_length=100)] | None = None


class _NewOrder(Struct, frozen=True, kw_only=True):
    order_amount: Decimal
    order_currency: str
    customer_details: _Customer
    order_id: Annotated[str, Meta(min_length=3, max_length=45, pattern="^[A-Za-z0-9_-]+$")] | None = None
    order_note: Annotated[str, Meta(min_length=3, max_length=200)] | None = None
    order_tags: Annotated[dict[str, Annotated[str, Meta(min_length=1, max_length=255)]], Meta(max_length=15)] | None = None
    order_expiry_time: str | None = None
    order_meta: dict[str, Any] | None = None


class _Termination(Struct, frozen=True):
    order_status: Literal["TERMINATED"]


class _Card(Struct, frozen=True):
    channel: Literal["link", "post"]
    instrument_id: str | None = None


class _Upi(Struct, frozen=True):
    channel: Literal["link", "collect", "qrcode"]
    upi_id: str | None = None


class _Method(Struct, frozen=True):
    card: _Card | None = None
    upi: _Upi | None = None


class _Pay(Struct, frozen=True):
    payment_session_id: str
    payment_method: _Method


class _NewRefund(Struct, frozen=True, kw_only=True):
    refund_amount: Decimal
    refund_id: Annotated[str, Meta(min_length=3, max_length=40)]
    refund_note: Annotated[str, Meta(min_length=3, max_length=100)] | None = None
    refund_speed: Literal["STANDARD", "INSTANT"] | None = None


class _Wanted(Struct, frozen=True):
    payment_status: Literal["SUCCESS", "FAILED", "PENDING", "USER_DROPPED"]
    payment_error_code: str | None = None


class _Simulation(Struct, frozen=True):
    entity: Literal["PAYMENTS"]
    entity_id: str
    entity_simulation: _Wanted


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
        named = {"x-api-version": version, "x-request-id": trace, "x-ratelimit-type": "app_id", "x-ratelimit-retry": "0"}
        return msgspec.structs.replace(reply, headers={**named, **reply.headers})

    def settle(self, ledger: Ledger, now_us: int) -> None:
        """Slow payments end, declines turn out to be charges (tok_late_success), orders expire."""
        for due_us, thing in ledger.take_due(NAME, now_us):
            if thing.kind == "payment":
                Orders(ledger, due_us).succeed(thing)
            elif thing.kind == "order" and thing.doc["status"] == "ACTIVE":
                become(ledger, thing, due_us, status="EXPIRED")

    def _answer(self, request: Request, ledger: Ledger, faults: Profile, now_us: int) -> Reply:
        given = (request.headers.get("x-client-id", ""), request.headers.get("x-client-secret", ""))
        known = all(given) and (self.credentials is None or given == self.credentials)
        pays = (request.method, request.path) == ("POST", "/orders/sessions")
        if not known and (any(given) or not pays):
            raise Refused(401, "request_failed", "authentication Failed", "authentication_error")
        if request.headers.get("x-api-version", "") not in API_VERSIONS:
            raise Refused(400, "version_invalid", "x-api-version is missing or not supported")
        if request.method == "GET":
            return Lookup(ledger, now_us - faults.lookup_lag_ms * 1000).answer(request.path)
        call, key = _Call(request, ledger, now_us), request.headers.get("x-idempotency-key", "")
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


class _Call:
    """One request that may change something. ``executed`` tells that its answer stands for every repeat."""

    def __init__(self, request: Request, ledger: Ledger, now_us: int) -> None:
        self.request, self.ledger, self.now_us = request, ledger, now_us
        self.orders = Orders(ledger, now_us)
        self.executed = False

    def answer(self) -> Reply:
        match self.request.method, self.request.path.strip("/").split("/"):
            case "POST", ["orders"]:
                return self._create(self._body(_NewOrder))
            case "POST", ["orders", "sessions"]:
                return self._pay(self._body(_Pay))
            case "PATCH", ["orders", id]:
                self._body(_Termination)
                return self._terminate(self.orders.named(id))
            case "POST", ["orders", id, "refunds"]:
                return self._refund(self.orders.named(id), self._body(_NewRefund))
            case "POST", ["simulate"]:
                return self._simulate(self._body(_Simulation))
        raise Refused(404, "request_failed", "bad URL, please check API documentation")

    def _body(self, kind: type[Any]) -> Any:
        return msgspec.json.decode(self.request.body, type=kind)

    def _create(self, wanted: _NewOrder) -> Reply:
        if wanted.order_currency not in EXPONENTS:
            raise Refused(400, "order_currency_invalid", "order_currency : is not supported")
        amount = minor(wanted.order_amount, wanted.order_currency, "order_amount")
        if wanted.order_amount < 1 or amount > AMOUNT_MINOR_MAX:
            raise Refused(400, "order_amount_invalid", "order_amount : should be at least 1")
        expiry = time_us(wanted.order_expiry_time) if wanted.order_expiry_time else self.now_us + EXPIRES_S * SECOND_US
        if expiry <= self.now_us:
            raise Refused(400, "order_expiry_time_invalid", "order_expiry_time : should be in the future")
        id = wanted.order_id or f"order_{digest(f'{self.now_us} {self.ledger.counts()}')}"
        if self.ledger.by_reference(NAME, "order", id):
            raise Refused(409, "order_already_exists", "order with same id is already present")
        doc = {
            "status": "ACTIVE",
            "amount": amount,
            "currency": wanted.order_currency,
            "expiry": expiry,
            "customer": msgspec.to_builtins(wanted.customer_details),
            "note": wanted.order_note,
            "tags": wanted.order_tags,
            "meta": wanted.order_meta,
            "since": self.now_us,
        }
        order = self.ledger.add(NAME, "order", id, doc, at_us=self.now_us)
        self.ledger.later(order, expiry)
        self.executed = True
        return reply_json(200, order_view(order, order.doc))

    def _pay(self, wanted: _Pay) -> Reply:
        order = self.orders.of_session(wanted.payment_session_id)
        if order.doc["status"] != "ACTIVE":
            raise Refused(400, "order_inactive", "order is not active")
        card, upi = wanted.payment_method.card, wanted.payment_method.upi
        if (card is None) == (upi is None):
            raise Refused(400, "payment_method_unsupported", "payment_method : card or upi is needed")
        if upi is not None and upi.channel == "collect" and not upi.upi_id:
            raise Refused(400, "upi_id_missing", "upi_id : is missing in the request")
        token = (card.instrument_id if card else upi.upi_id if upi else None) or ""
        forced = (order.doc["tags"] or {}).get("forceFail") == "true"
        plan = decide(self.ledger, token, order.reference, force_fail=forced)
        if plan.does == "nothing":
            return _nothing(plan)
        payment = self._begin(order, plan, "card" if card else "upi")
        self.executed = True
        answer = reply_json(200, pay_view(payment, (card or upi or _Card("link")).channel))
        if plan.answers == "error":
            return error_reply(500, "internal_error", "internal Server Error", "api_error")
        if plan.answers == "garbage":
            return msgspec.structs.replace(answer, body=answer.body[: len(answer.body) // 2])
        return msgspec.structs.replace(answer, drop=plan.answers == "never")

    def _begin(self, order: Thing, plan: Plan, method: str) -> Thing:
        """The payment of an order, with what the plan makes of it."""
        declined = plan.does == "decline"
        doc = {
            "status": "FAILED" if declined else "PENDING",
            "amount": order.doc["amount"] + plan.extra_minor,
            "currency": order.doc["currency"],
            "method": method,
            "error": DECLINES.get(plan.code, ("TRANSACTION_DECLINED", plan.code, "bank")) if declined else None,
            "late": bool(plan.late_s),
            "since": self.now_us,
        }
        payment = self.ledger.add(NAME, "payment", order.reference, doc, at_us=self.now_us, parent=order.id)
        if plan.does == "charge" and not plan.before_s:
            self.orders.succeed(payment)
        elif plan.does == "charge" or plan.late_s:
            self.ledger.later(payment, self.now_us + int((plan.before_s or plan.late_s) * SECOND_US))
        return payment

    def _terminate(self, order: Thing) -> Reply:
        if order.doc["status"] in ("PAID", "EXPIRED"):
            raise Refused(400, "order_inactive", f"order is {order.doc['status']}")
        if order.doc["status"] != "TERMINATED":
            status = "TERMINATION_REQUESTED" if self.orders.may_succeed(order) else "TERMINATED"
            order = become(self.ledger, order, self.now_us, status=status)
        return reply_json(200, order_view(order, order.doc))

    def _refund(self, order: Thing, wanted: _NewRefund) -> Reply:
        taken = [p for p in self.orders.children(order, "payment") if p.doc["status"] == "SUCCESS"]
        given = self.orders.children(order, "refund")
        if not taken:
            raise Refused(400, "order_not_paid", "order has no successful payment")
        if any(r.doc["refund_id"] == wanted.refund_id for r in given):
            raise Refused(409, "refund_already_exists", "refund with same id is already present")
        amount = minor(wanted.refund_amount, order.doc["currency"], "refund_amount")
        reserved = sum(r.doc["amount"] for r in given if r.doc["status"] != "FAILED")
        if amount <= 0 or reserved + amount > taken[0].doc["amount"]:
            raise Refused(400, "refund_amount_invalid", "refund_amount : exceeds what is left of the payment")
        doc = {
            "status": wanted.refund_note if wanted.refund_note in ("PENDING", "FAILED") else "SUCCESS",
            "refund_id": wanted.refund_id,
            "amount": amount,
            "currency": order.doc["currency"],
            "payment": taken[0].id,
            "note": wanted.refund_note,
            "speed": wanted.refund_speed or "STANDARD",
            "since": self.now_us,
        }
        refund = self.ledger.add(NAME, "refund", order.reference, doc, at_us=self.now_us, parent=order.id)
        if doc["status"] == "SUCCESS":
            self.orders.book("refund", order, str(REFUND_BASE + refund.id), amount, wanted.refund_id)
        self.executed = True
        return reply_json(200, refund_view(refund, refund.doc))

    def _simulate(self, wanted: _Simulation) -> Reply:
        payment = self.ledger.thing(NAME, "payment", number_of(wanted.entity_id, PAYMENT_BASE))
        if payment is None:
            raise Refused(404, "payment_not_found", "payment is not found")
        if payment.doc["status"] != "PENDING":
            raise Refused(400, "payment_inactive", "payment is in a terminal state")
        status = wanted.entity_simulation.payment_status
        if status == "SUCCESS":
            self.orders.succeed(payment)
        elif status != "PENDING":
            code = wanted.entity_simulation.payment_error_code or "TRANSACTION_DECLINED"
            become(self.ledger, payment, self.now_us, status=status, error=(code, "bank_rejected", "bank"))
            self.orders.ended(payment)
        doc = msgspec.to_builtins(wanted)
        made = self.ledger.add(NAME, "simulation", wanted.entity_id, doc, at_us=self.now_us, parent=payment.id)
        self.executed = True
        return reply_json(200, {"simulation_id": f"sim_{made.id}", **doc})


def _nothing(plan: Plan) -> Reply:
    if plan.answers == "limited":
        reply = error_reply(429, "request_failed", "Too many requests. Check headers", "rate_limit_error")
        return msgspec.structs.replace(reply, headers={**reply.headers, "x-ratelimit-retry": "1"})
    if plan.answers == "error":
        return error_reply(500, "internal_error", "internal Server Error", "api_error")
    return Reply(drop=True, hold_s=plan.before_s)


SIMULATOR: Final = CashfreeVendor()
