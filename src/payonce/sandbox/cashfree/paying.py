"""POST /orders/sessions: a payment of an order, what the token makes of it, and the customer who may have to act."""

from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from payonce.sandbox.faults import TOKENS, Plan, decide
from payonce.sandbox.ledger import Ledger, Thing
from payonce.sandbox.simulator import Reply, Standing, reply_json

from .orders import WAITING, Orders
from .telling import tell_payment
from .values import NAME, SECOND_US, Refused, error_reply
from .views import pay_view

COLLECT_MINUTES: Final = 5  # the life of a UPI collect request that names none
PREAUTH_NOTE: Final = "preauth_transaction"  # order_note that makes the order's card payments holds

# normalised decline -> the vendor's error_code, error_reason, error_source
DECLINES: Final[dict[str, tuple[str, str, str]]] = {
    "insufficient_funds": ("TRANSACTION_DECLINED", "insufficient_funds", "bank"),
    "do_not_honor": ("TRANSACTION_DECLINED", "bank_rejected", "bank"),
    "stolen_card": ("TRANSACTION_DECLINED", "card_stolen", "bank"),
    "expired_card": ("TRANSACTION_DECLINED", "card_expired", "bank"),
    "invalid_card": ("TRANSACTION_DECLINED", "card_invalid", "customer"),
    "authentication_failed": ("TRANSACTION_DECLINED", "auth_declined", "customer"),
    "processing_error": ("TRANSACTION_DECLINED", "ISSUER_NOT_AVAILABLE", "bank"),
    "configuration": ("TRANSACTION_DECLINED", "payment_method_unsupported", "cashfree"),
    "forced_failure": ("TRANSACTION_DECLINED", "forced_failure", "customer"),
    "late_success_declined": ("TRANSACTION_DECLINED", "late_success_declined", "bank"),
}


class _Card(Struct, frozen=True):
    channel: Literal["link", "post"]
    instrument_id: str | None = None


class _Mandate(Struct, frozen=True):
    approve_by: str | None = None
    start_time: str | None = None
    end_time: str | None = None


class _Upi(Struct, frozen=True):
    channel: Literal["link", "collect", "qrcode"]
    upi_id: str | None = None
    upi_expiry_minutes: int | None = None
    authorize_only: bool = False
    authorization: _Mandate | None = None


class _Netbanking(Struct, frozen=True):
    channel: Literal["link"]
    netbanking_bank_code: int | None = None
    netbanking_bank_name: str | None = None


class _Method(Struct, frozen=True):
    card: _Card | None = None
    upi: _Upi | None = None
    netbanking: _Netbanking | None = None


class NewPayment(Struct, frozen=True):
    """The body of a payment."""

    payment_session_id: str
    payment_method: _Method


class Paying:
    """One payment that is begun. ``executed`` tells that its answer stands for every repeat."""

    def __init__(self, ledger: Ledger, now_us: int) -> None:
        self.ledger, self.now_us, self.executed = ledger, now_us, False
        self.orders = Orders(ledger, now_us)

    def answer(self, wanted: NewPayment) -> Reply:
        order = self.orders.of_session(wanted.payment_session_id)
        if order.doc["status"] != "ACTIVE":
            raise Refused(400, "order_inactive", "order is not active")
        kind, method = _chosen(wanted.payment_method)
        forced = (order.doc["tags"] or {}).get("forceFail") == "true"
        token = _token(method)
        plan = decide(self.ledger, token, order.reference, force_fail=forced)
        if not forced and (kind == "netbanking" or (kind == "upi" and not token)) and token not in TOKENS:
            plan = Plan(does="act")  # the customer goes to his bank, or opens his app
        if plan.does == "nothing":
            return _nothing(plan)
        payment = self._begin(order, plan, kind, method)
        self.executed = True
        answer = reply_json(200, pay_view(self.ledger, payment))
        if plan.answers == "error":
            return error_reply(500, "internal_error", "internal Server Error", "api_error")
        if plan.answers == "garbage":
            return msgspec.structs.replace(answer, body=answer.body[: len(answer.body) // 2])
        return msgspec.structs.replace(answer, drop=plan.answers == "never")

    def _begin(self, order: Thing, plan: Plan, kind: str, method: _Card | _Upi | _Netbanking) -> Thing:
        """The payment of an order, with what the plan makes of it. A link waits until it is opened; UPI is in process."""
        declined, acts = plan.does == "decline", plan.does == "act"
        collects = isinstance(method, _Upi) and method.channel == "collect"
        held = method.authorize_only if isinstance(method, _Upi) else kind == "card" and order.doc["note"] == PREAUTH_NOTE
        doc = {
            "status": "FAILED" if declined else "NOT_ATTEMPTED" if acts and kind != "upi" else "PENDING",
            "amount": order.doc["amount"] + plan.extra_minor,
            "currency": order.doc["currency"],
            "method": kind,
            "channel": method.channel,
            "error": _error(plan.code) if declined else None,
            "late": bool(plan.late_s) and not acts,
            "acts": acts,
            "code": plan.code if acts else "",
            "alone": acts and bool(plan.late_s),
            "held": held,
            "held_until": 0,
            "captured": None,
            "action": "",
            "action_due": False,
            "wanted": 0,
            "slow_s": plan.before_s,
            "since": self.now_us,
        }
        payment = self.ledger.add(NAME, "payment", order.reference, doc, at_us=self.now_us, parent=order.id)
        wait_s = plan.before_s or plan.late_s
        if acts and collects and not wait_s:
            minutes = method.upi_expiry_minutes if isinstance(method, _Upi) else None
            wait_s = 60.0 * (minutes or COLLECT_MINUTES)
        if plan.does == "charge" and not wait_s:
            self.orders.succeed(payment)
        elif wait_s:
            self.ledger.later(payment, self.now_us + int(wait_s * SECOND_US))
        if declined:
            tell_payment(self.ledger, order, payment, self.now_us)
        return payment


def come_due(orders: Orders, payment: Thing) -> None:
    """What was to happen to a payment at this time."""
    doc = payment.doc
    if doc.get("action_due"):
        orders.carry_out(payment)
    elif doc.get("held") and doc["status"] == "SUCCESS":
        if doc["captured"] is None:
            orders.release(payment)
    elif doc.get("acts") and doc["status"] in WAITING:
        _decided_alone(orders, payment)
    elif doc["status"] == "PENDING" or doc["late"]:
        orders.succeed(payment)


def _decided_alone(orders: Orders, payment: Thing) -> None:
    """The token acts for the customer, while he can; a collect request that nobody answered has run out."""
    order = orders.named(payment.reference)
    if order.doc["status"] in ("TERMINATED", "EXPIRED", "PAID") and payment.doc["status"] == "NOT_ATTEMPTED":
        return
    if payment.doc["code"]:
        orders.fail(payment, "FAILED", _error(payment.doc["code"]))
    elif payment.doc["alone"]:
        orders.succeed(payment)
    else:
        orders.fail(payment, "USER_DROPPED", None)


def standing(ledger: Ledger, number: int) -> Standing | None:
    """The payment behind the page, as ``simulator.Acting`` wants it."""
    payment = ledger.thing(NAME, "payment", number)
    if payment is None or not payment.doc.get("acts"):
        return None
    order = ledger.by_reference(NAME, "order", payment.reference)[0]
    url = str((order.doc["meta"] or {}).get("return_url") or "")
    if "{order_id}" in url:
        url = url.replace("{order_id}", order.reference)
    elif url:
        url += f"{'&' if '?' in url else '?'}order_id={order.reference}"
    return Standing(
        amount_minor=payment.doc["amount"],
        currency=payment.doc["currency"],
        reference=order.reference,
        open=_open(order, payment),
        says=payment.doc["status"],
        return_url=url,
    )


def act(ledger: Ledger, number: int, now_us: int, *, approve: bool) -> None:
    """The customer approves or declines on the page."""
    payment = ledger.thing(NAME, "payment", number)
    orders = Orders(ledger, now_us)
    if payment is None or not payment.doc.get("acts") or not _open(orders.named(payment.reference), payment):
        return
    if approve:
        orders.succeed(payment)
    else:
        orders.fail(payment, "FAILED", DECLINES["authentication_failed"])


def _open(order: Thing, payment: Thing) -> bool:
    """A link that was not opened dies with its order; a UPI request that was sent can be answered still."""
    status = payment.doc["status"]
    return status == "PENDING" or (status == "NOT_ATTEMPTED" and order.doc["status"] in ("ACTIVE", "TERMINATION_REQUESTED"))


def _chosen(given: _Method) -> tuple[str, _Card | _Upi | _Netbanking]:
    """The one method of the request. Raises Refused for none, several and incomplete ones."""
    every: list[tuple[str, Any]] = [("card", given.card), ("upi", given.upi), ("netbanking", given.netbanking)]
    named = [(kind, method) for kind, method in every if method is not None]
    if len(named) != 1:
        raise Refused(400, "payment_method_unsupported", "payment_method : one of card, upi and netbanking is needed")
    kind, method = named[0]
    if isinstance(method, _Upi) and method.channel == "collect" and not method.upi_id:
        raise Refused(400, "upi_id_missing", "upi_id : is missing in the request")
    if isinstance(method, _Upi) and not 5 <= (method.upi_expiry_minutes or COLLECT_MINUTES) <= 15:
        raise Refused(400, "upi_expiry_minutes_invalid", "upi_expiry_minutes : should be between 5 and 15")
    if isinstance(method, _Netbanking) and not (method.netbanking_bank_code or method.netbanking_bank_name):
        raise Refused(400, "netbanking_bank_code_invalid", "netbanking_bank_code : is missing in the request")
    return kind, method


def _token(method: _Card | _Upi | _Netbanking) -> str:
    match method:
        case _Card():
            return method.instrument_id or ""
        case _Upi():
            return method.upi_id or ""
        case _Netbanking():
            return method.netbanking_bank_name or ""


def _error(code: str) -> tuple[str, str, str]:
    return DECLINES.get(code, ("TRANSACTION_DECLINED", code, "bank"))


def _nothing(plan: Plan) -> Reply:
    if plan.answers == "limited":
        reply = error_reply(429, "request_failed", "Too many requests. Check headers", "rate_limit_error")
        return msgspec.structs.replace(reply, headers={**reply.headers, "x-ratelimit-remaining": "0", "x-ratelimit-retry": "1"})
    if plan.answers == "error":
        return error_reply(500, "internal_error", "internal Server Error", "api_error")
    return Reply(drop=True, hold_s=plan.before_s)
