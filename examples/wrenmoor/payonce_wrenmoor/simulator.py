"""Wrenmoor as the sandbox plays it: paths, words and habits of the vendor, money in the sandbox's ledger.

POST /tickets                  {reference, amount, currency}; 409 when our reference is taken
GET  /tickets?reference=R      {"items": [ticket]}, empty when there is none
GET  /tickets/{id}
POST /tickets/{id}/payments    {method, token, metadata}; one at a time, until the ticket is closed
GET  /tickets/{id}/payments    {"items": [payment, ...]}, each with its refunds
POST /tickets/{id}/close       409 while a payment is working
POST /payments/{id}/refunds    {reference, amount}; a repeat gets the first refund
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

from payonce.adapter import EXPONENTS, from_decimal, to_decimal
from payonce.sandbox.faults import Plan, Profile, decide
from payonce.sandbox.ledger import Ledger, Thing
from payonce.sandbox.simulator import Reply, Request, reply_json

NAME: Final = "wrenmoor"
PREFIXES: Final = {"ticket": "tk_", "payment": "py_", "refund": "rf_"}
# a decline as the sandbox calls it -> the vendor's word
REFUSALS: Final = {
    "insufficient_funds": "no_funds",
    "do_not_honor": "bank_refused",
    "stolen_card": "card_stolen",
    "expired_card": "card_expired",
    "invalid_card": "card_unknown",
    "processing_error": "bank_unreachable",
    "configuration": "card_type_not_enabled",
    "forced_failure": "test_refusal",
    "late_success_declined": "test_late",
}


class _NewTicket(Struct):
    reference: str
    amount: str
    currency: str


class _NewPayment(Struct):
    method: str
    token: str = ""
    metadata: dict[str, Any] = {}


class _NewRefund(Struct):
    reference: str
    amount: str


class WrenmoorVendor:
    """``payonce.sandbox.simulator.Simulator``."""

    def simulate(self, request: Request, ledger: Ledger, faults: Profile, now_us: int) -> Reply:
        if not request.headers.get("x-api-key"):
            return reply_json(401, {"error": "key_unknown"})
        call = _Call(request, ledger, now_us, shown_until_us=now_us - faults.lookup_lag_ms * 1000)
        try:
            return call.answer()
        except (msgspec.MsgspecError, ValueError):
            return reply_json(422, {"error": "invalid"})

    def settle(self, ledger: Ledger, now_us: int) -> None:
        """Payments that were being worked on, or that were refused and succeed after all while the ticket is open."""
        for due_us, payment in ledger.take_due(NAME, now_us):
            ticket = ledger.thing(NAME, "ticket", payment.parent)
            if ticket is not None and ticket.doc["state"] == "open":
                _pay(ledger, ticket, payment, due_us)


class _Call:
    """One request. Lookups do not show what is younger than ``shown_until_us``."""

    def __init__(self, request: Request, ledger: Ledger, now_us: int, *, shown_until_us: int) -> None:
        self.request, self.ledger, self.now_us, self.shown_until_us = request, ledger, now_us, shown_until_us

    def answer(self) -> Reply:
        match self.request.method, self.request.path.strip("/").split("/"):
            case "POST", ["tickets"]:
                return self._create(msgspec.json.decode(self.request.body, type=_NewTicket))
            case "GET", ["tickets"]:
                return self._list(self.ledger.by_reference(NAME, "ticket", self.request.query.get("reference", "")))
            case "POST", ["payments", name, "refunds"]:
                return self._refund(name, msgspec.json.decode(self.request.body, type=_NewRefund))
            case method, ["tickets", name, *rest]:
                ticket = _named(self.ledger, "ticket", name)
                if ticket is None or (method == "GET" and ticket.at_us > self.shown_until_us):
                    return reply_json(404, {"error": "no_such_ticket"})
                return self._ticket(ticket, method, rest)
        return reply_json(404, {"error": "no_such_path"})

    def _list(self, things: list[Thing]) -> Reply:
        return reply_json(200, {"items": [_view(self.ledger, t) for t in things if t.at_us <= self.shown_until_us]})

    def _create(self, wanted: _NewTicket) -> Reply:
        if self.ledger.by_reference(NAME, "ticket", wanted.reference):
            return reply_json(409, {"error": "reference_taken"})
        if wanted.currency not in EXPONENTS or from_decimal(wanted.amount, wanted.currency) <= 0:
            return reply_json(422, {"error": "invalid"})
        doc = {"amount": from_decimal(wanted.amount, wanted.currency), "currency": wanted.currency, "state": "open"}
        ticket = self.ledger.add(NAME, "ticket", wanted.reference, doc, at_us=self.now_us)
        return reply_json(201, _view(self.ledger, ticket))

    def _ticket(self, ticket: Thing, method: str, rest: list[str]) -> Reply:
        payments = self.ledger.children(ticket.id)
        working = any(payment.doc["state"] == "working" for payment in payments)
        match method, rest:
            case "GET", []:
                return reply_json(200, _view(self.ledger, ticket))
            case "GET", ["payments"]:
                return self._list(payments)
            case "POST", ["payments"] if self.request.resumed:  # the slow one is done
                return reply_json(201, _view(self.ledger, payments[-1]))
            case "POST", ["payments" | "close"] if working:
                return reply_json(409, {"error": "payment_working"})
            case "POST", ["close"]:
                closed = self.ledger.change(ticket, ticket.doc | {"state": "closed"})
                return reply_json(200, _view(self.ledger, closed))
            case "POST", ["payments"] if ticket.doc["state"] == "closed":
                return reply_json(409, {"error": "ticket_closed"})
            case "POST", ["payments"]:
                return self._fire(ticket, msgspec.json.decode(self.request.body, type=_NewPayment))
        return reply_json(404, {"error": "no_such_path"})

    def _fire(self, ticket: Thing, wanted: _NewPayment) -> Reply:
        """Do what the token says, then let the answer go wrong as it says."""
        forced = wanted.metadata.get("forceFail") is True
        plan = decide(self.ledger, wanted.token, ticket.reference, force_fail=forced)
        if plan.does == "nothing" and plan.answers == "never":
            return Reply(drop=True, hold_s=plan.before_s)
        payment = None if plan.does == "nothing" else self._act(ticket, plan)
        if plan.answers == "limited":
            return reply_json(429, {"error": "too_many_requests"}, retry_after="1")
        if payment is None or plan.answers == "error":
            return reply_json(500, {"error": "internal"})
        answer = reply_json(201, _view(self.ledger, payment))
        if plan.answers == "garbage":
            return Reply(status=201, headers=answer.headers, body=answer.body[: len(answer.body) // 2])
        if plan.before_s:
            return Reply(hold_s=plan.before_s, resume=True)
        return Reply(drop=True) if plan.answers == "never" else answer

    def _act(self, ticket: Thing, plan: Plan) -> Thing:
        doc = {"state": "working", "amount": ticket.doc["amount"] + plan.extra_minor, "currency": ticket.doc["currency"]}
        if plan.does == "decline":
            doc |= {"state": "refused", "refusal": REFUSALS.get(plan.code, "bank_refused")}
        payment = self.ledger.add(NAME, "payment", ticket.reference, doc, at_us=self.now_us, parent=ticket.id)
        if wait_s := plan.before_s or plan.late_s:
            self.ledger.later(payment, self.now_us + int(wait_s * 1_000_000))
        elif plan.does == "charge":
            return _pay(self.ledger, ticket, payment, self.now_us)
        return payment

    def _refund(self, name: str, wanted: _NewRefund) -> Reply:
        payment = _named(self.ledger, "payment", name)
        if payment is None or payment.doc["state"] != "paid":
            return reply_json(404, {"error": "no_such_payment"})
        amount, currency = from_decimal(wanted.amount, payment.doc["currency"]), payment.doc["currency"]
        for known in self.ledger.by_reference(NAME, "refund", wanted.reference):
            same = (known.parent, known.doc["amount"]) == (payment.id, amount)
            return reply_json(200, _view(self.ledger, known)) if same else reply_json(409, {"error": "reference_taken"})
        back = sum(refund.doc["amount"] for refund in self.ledger.children(payment.id))
        if not 0 < amount <= payment.doc["amount"] - back:
            return reply_json(422, {"error": "invalid"})
        doc = {"state": "returned", "amount": amount, "currency": currency}
        refund = self.ledger.add(NAME, "refund", wanted.reference, doc, at_us=self.now_us, parent=payment.id)
        self.ledger.book(
            NAME,
            "refund",
            reference=payment.reference,
            refund_reference=wanted.reference,
            provider_ref=_id(refund),
            amount_minor=amount,
            currency=currency,
            at_us=self.now_us,
        )
        return reply_json(201, _view(self.ledger, refund))


def _pay(ledger: Ledger, ticket: Thing, payment: Thing, at_us: int) -> Thing:
    """The payment takes the money, and the ticket closes."""
    ledger.book(
        NAME,
        "charge",
        reference=payment.reference,
        provider_ref=_id(payment),
        amount_minor=payment.doc["amount"],
        currency=payment.doc["currency"],
        at_us=at_us,
    )
    ledger.change(ticket, ticket.doc | {"state": "closed"})
    return ledger.change(payment, payment.doc | {"state": "paid", "refusal": ""})


def _named(ledger: Ledger, kind: str, name: str) -> Thing | None:
    digits = name.removeprefix(PREFIXES[kind])
    return ledger.thing(NAME, kind, int(digits)) if digits.isascii() and digits.isdigit() and len(digits) <= 18 else None


def _id(thing: Thing) -> str:
    return f"{PREFIXES[thing.kind]}{thing.id:06d}"


def _view(ledger: Ledger, thing: Thing) -> dict[str, Any]:
    money = {"amount": to_decimal(thing.doc["amount"], thing.doc["currency"]), "currency": thing.doc["currency"]}
    view = {"id": _id(thing), "reference": thing.reference, **money, "state": thing.doc["state"]}
    if thing.kind == "refund":
        return view | {"payment": f"{PREFIXES['payment']}{thing.parent:06d}"}
    if thing.kind == "ticket":
        return view | {"mode": "test"}
    refunds = [_view(ledger, refund) for refund in ledger.children(thing.id)]
    of = {"ticket": f"{PREFIXES['ticket']}{thing.parent:06d}", "mode": "test"}
    return view | of | {"refusal": thing.doc.get("refusal", ""), "refunds": refunds}


SIMULATOR: Final = WrenmoorVendor()
