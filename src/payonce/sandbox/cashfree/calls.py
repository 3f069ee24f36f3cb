"""Requests that may change something, beside paying: orders, holds, refunds, and the vendor's own simulation."""

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from payonce.core.money import AMOUNT_MINOR_MAX, EXPONENTS
from payonce.sandbox.ledger import Ledger, Thing
from payonce.sandbox.simulator import Reply, Request, reply_json

from .orders import WAITING, Orders
from .paying import NewPayment, Paying
from .recon import WantedEvents, events
from .values import NAME, PAYMENT_BASE, SECOND_US, Refused, become, digest, minor, number_of, time_us
from .views import order_view, payment_view, refund_view

EXPIRES_S: Final = 30 * 86_400
EXPIRES_MIN_S: Final = 15 * 60
LEFT_OPEN: Final = frozenset({"PENDING", "ONHOLD"})  # a refund_note that leaves the refund in this state
NOTED: Final = LEFT_OPEN | {"FAILED", "CANCELLED"}


class _Customer(Struct, frozen=True, kw_only=True):
    customer_id: Annotated[str, Meta(min_length=3, max_length=50)]
    customer_phone: Annotated[str, Meta(min_length=10, max_length=10)]
    customer_email: Annotated[str, Meta(min_length=3, max_length=100)] | None = None
    customer_name: Annotated[str, Meta(min_length=3, max_length=100)] | None = None


class _OrderMeta(Struct, frozen=True, omit_defaults=True):
    return_url: Annotated[str, Meta(max_length=250)] | None = None
    notify_url: Annotated[str, Meta(max_length=250)] | None = None
    payment_methods: str | None = None


class _NewOrder(Struct, frozen=True, kw_only=True):
    order_amount: Decimal
    order_currency: str
    customer_details: _Customer
    order_id: Annotated[str, Meta(min_length=3, max_length=45, pattern="^[A-Za-z0-9_-]+$")] | None = None
    order_note: Annotated[str, Meta(min_length=3, max_length=200)] | None = None
    order_tags: Annotated[dict[str, Annotated[str, Meta(min_length=1, max_length=255)]], Meta(max_length=15)] | None = None
    order_expiry_time: str | None = None
    order_meta: _OrderMeta | None = None


class _Termination(Struct, frozen=True):
    order_status: Literal["TERMINATED"]


class _Authorization(Struct, frozen=True):
    action: Literal["CAPTURE", "VOID"]
    amount: Decimal | None = None


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


class Call:
    """One request. ``executed`` tells that its answer stands for every repeat under its key."""

    def __init__(self, request: Request, ledger: Ledger, now_us: int, lag_us: int) -> None:
        self.request, self.ledger, self.now_us, self.lag_us = request, ledger, now_us, lag_us
        self.orders = Orders(ledger, now_us)
        self.executed = False

    def answer(self) -> Reply:
        match self.request.method, self.request.path.strip("/").split("/"):
            case "POST", ["orders"]:
                return self._create(self._body(_NewOrder))
            case "POST", ["orders", "sessions"]:
                paying = Paying(self.ledger, self.now_us)
                reply = paying.answer(self._body(NewPayment))
                self.executed = paying.executed
                return reply
            case "PATCH", ["orders", id]:
                self._body(_Termination)
                return self._terminate(self.orders.named(id))
            case "POST", ["orders", id, "authorization"]:
                return self._authorization(self.orders.named(id), self._body(_Authorization))
            case "POST", ["orders", id, "refunds"]:
                return self._refund(self.orders.named(id), self._body(_NewRefund))
            case "POST", ["recon"]:
                version = self.request.headers.get("x-api-version", "")
                return events(self.ledger, self._body(WantedEvents), self.now_us - self.lag_us, version)
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
        id = wanted.order_id or f"order_{digest(f'{self.now_us} {self.ledger.counts()}')}"
        expiry = self._expiry(wanted.order_expiry_time)
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
            "meta": msgspec.to_builtins(wanted.order_meta),
            "since": self.now_us,
        }
        order = self.ledger.add(NAME, "order", id, doc, at_us=self.now_us)
        self.ledger.later(order, expiry)
        self.executed = True
        return reply_json(200, order_view(order, order.doc))

    def _expiry(self, told: str | None) -> int:
        """When the order expires: more than 15 minutes and less than 30 days from now, the most where nothing is said."""
        if told is None:
            return self.now_us + EXPIRES_S * SECOND_US
        expiry = time_us(told)
        if not EXPIRES_MIN_S * SECOND_US < expiry - self.now_us < EXPIRES_S * SECOND_US:
            said = "order_expiry_time : Expiry time should be more than 15 min and less than 30 days"
            raise Refused(400, "order_expiry_time_invalid", said)
        return expiry

    def _terminate(self, order: Thing) -> Reply:
        if order.doc["status"] in ("PAID", "EXPIRED"):
            raise Refused(400, "order_inactive", f"order is {order.doc['status']}")
        if order.doc["status"] != "TERMINATED":
            status = "TERMINATION_REQUESTED" if self.orders.may_succeed(order) else "TERMINATED"
            order = become(self.ledger, order, self.now_us, status=status)
        return reply_json(200, order_view(order, order.doc))

    def _authorization(self, order: Thing, wanted: _Authorization) -> Reply:
        amount = None if wanted.amount is None else minor(wanted.amount, order.doc["currency"], "amount")
        payment = self.orders.authorization(order, wanted.action, amount)
        self.executed = True
        return reply_json(200, payment_view(order, payment, payment.doc))

    def _refund(self, order: Thing, wanted: _NewRefund) -> Reply:
        amount = minor(wanted.refund_amount, order.doc["currency"], "refund_amount")
        given = self.orders.children(order, "refund")
        for known in given:
            if known.doc["refund_id"] == wanted.refund_id:
                if known.doc["amount"] != amount:
                    raise Refused(400, "refund_id_already_exists", "refund_id : is used by another refund")
                return reply_json(200, refund_view(known, known.doc))
        paid = [p for p in self.orders.children(order, "payment") if p.doc["status"] == "SUCCESS"]
        taken = [p for p in paid if not p.doc.get("held") or p.doc["captured"] is not None]
        if not taken:
            raise Refused(400, "order_not_paid", "order has no successful payment")
        reserved = sum(r.doc["amount"] for r in given if r.doc["status"] not in ("FAILED", "CANCELLED"))
        most = taken[0].doc.get("captured")
        if amount <= 0 or reserved + amount > (taken[0].doc["amount"] if most is None else most):
            raise Refused(400, "refund_amount_invalid", "refund_amount : exceeds what is left of the payment")
        noted, slow_s = wanted.refund_note in NOTED, taken[0].doc.get("slow_s") or 0
        doc = {
            "status": wanted.refund_note if noted else "PENDING" if slow_s else "SUCCESS",
            "refund_id": wanted.refund_id,
            "amount": amount,
            "currency": order.doc["currency"],
            "payment": taken[0].id,
            "note": wanted.refund_note,
            "speed": wanted.refund_speed or "STANDARD",
            "since": self.now_us,
        }
        refund = self.ledger.add(NAME, "refund", order.reference, doc, at_us=self.now_us, parent=order.id)
        self.orders.told_back(refund)
        if slow_s and not noted:
            self.ledger.later(refund, self.now_us + int(slow_s * SECOND_US))
        self.executed = True
        return reply_json(200, refund_view(refund, refund.doc))

    def _simulate(self, wanted: _Simulation) -> Reply:
        payment = self.ledger.thing(NAME, "payment", number_of(wanted.entity_id, PAYMENT_BASE))
        if payment is None:
            raise Refused(404, "payment_not_found", "payment is not found")
        if payment.doc["status"] not in WAITING:
            raise Refused(400, "payment_inactive", "payment is in a terminal state")
        status = wanted.entity_simulation.payment_status
        if status == "SUCCESS":
            self.orders.succeed(payment)
        elif status != "PENDING":
            code = wanted.entity_simulation.payment_error_code or "TRANSACTION_DECLINED"
            self.orders.fail(payment, status, (code, "bank_rejected", "bank"))
        doc = msgspec.to_builtins(wanted)
        made = self.ledger.add(NAME, "simulation", wanted.entity_id, doc, at_us=self.now_us, parent=payment.id)
        self.executed = True
        return reply_json(200, {"simulation_id": f"sim_{made.id}", **doc})
