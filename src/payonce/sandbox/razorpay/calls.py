"""What Razorpay does when it is asked to: one POST."""

import re
from typing import Any, Final
from urllib.parse import quote

import msgspec

from payonce.core.money import EXPONENTS, to_decimal
from payonce.sandbox.faults import ACTS_S, TOKENS, Plan, Profile, decide
from payonce.sandbox.keys import BUSY_MARGIN_S, KeyedCall
from payonce.sandbox.ledger import Ledger, Saved, Thing
from payonce.sandbox.pages import page_url
from payonce.sandbox.simulator import Reply, Request, reply_json

from . import changes
from .asking import Money, NewOrder, NewPayment, NewRefund, noted
from .books import NAME, find, name_of, order_view, payment_view, refund_view, shop_of, state_of
from .saying_no import NO_ID, invalid, nothing, refusal, spoilt

# normalised decline -> error_reason
REASONS: Final = {
    "insufficient_funds": "insufficient_funds",
    "stolen_card": "debit_instrument_blocked",
    "do_not_honor": "card_declined",
    "expired_card": "card_expired",
    "invalid_card": "card_number_invalid",
    "processing_error": "gateway_technical_error",
    "configuration": "payment_method_not_enabled",
    "forced_failure": "payment_risk_check_failed",
    "late_success_declined": "payment_timed_out",
    "authentication_failed": "authentication_failed",
}
ELSEWHERE: Final = frozenset({"upi", "netbanking", "wallet"})  # methods that the customer completes at a bank or in an app
# The vendor's addresses for tests, and what the customer does a moment later.
TEST_VPAS: Final = {"success@razorpay": "authorize", "failure@razorpay": "payment_declined"}


class Call:
    """One POST."""

    def __init__(self, request: Request, ledger: Ledger, faults: Profile, now_us: int) -> None:
        self.request, self.ledger, self.faults, self.now_us = request, ledger, faults, now_us

    def answer(self, parts: list[str]) -> Reply:
        """Raises msgspec.MsgspecError for a body that is not as it must be; nothing was done then."""
        body = self.request.body
        match parts:
            case ["orders"]:
                return self._order(msgspec.json.decode(body, type=NewOrder))
            case ["payments", "create", "json" | "upi" as how]:
                return self._payment(msgspec.json.decode(body, type=NewPayment), linked=how == "upi")
            case ["payments", name, "capture"]:
                return self._capture(name, msgspec.json.decode(body, type=Money))
            case ["payments", name, "refund"]:
                return self._keyed_refund(name, msgspec.json.decode(body or b"{}", type=NewRefund))
            case ["refunds"]:
                wanted = msgspec.json.decode(body, type=NewRefund)
                return self._keyed_refund(wanted.payment_id, wanted)
        return refusal(400, "The requested URL was not found on the server.")

    def _order(self, wanted: NewOrder) -> Reply:
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
            "hold_s": wanted.hold_s,
        }
        shop = shop_of(self.ledger)
        order = self.ledger.add(NAME, "order", wanted.receipt or "", doc, at_us=self.now_us, parent=shop.id)
        return reply_json(200, order_view(self.ledger, order, self.now_us))

    # --- payments ---------------------------------------------------------------------------------------------------------

    def _payment(self, wanted: NewPayment, *, linked: bool) -> Reply:
        """``linked``: the answers of /payments/create/upi, which name a link where the others name next steps."""
        order = find(self.ledger, "order", wanted.order_id)
        if order is None:
            return invalid(NO_ID, "order_id", "invalid_order_id")
        if (order.doc["amount"], order.doc["currency"]) != (wanted.amount, wanted.currency):
            return invalid("Payment amount is different from the amount of the order", "amount", "order_amount_mismatch")
        if wanted.method == "upi" and not (wanted.token or wanted.intent or (wanted.upi and "@" in wanted.upi.vpa)):
            return invalid("The vpa field is required.", "vpa")
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
        plan = self._plan(order, wanted)
        if plan.does == "nothing":
            return nothing(plan)
        payment = working or self._new(order, wanted, plan)
        if plan.before_s and not resumed:
            changes.later(self.ledger, payment, "authorize", self.now_us + int((plan.before_s + BUSY_MARGIN_S) * 1_000_000))
            return Reply(hold_s=plan.before_s, resume=True)
        return spoilt(self._act(order, payment, wanted, plan, linked=linked), plan.answers)

    def _plan(self, order: Thing, wanted: NewPayment) -> Plan:
        """What the token says; of netbanking and wallet it stands where the bank or wallet does. Without a token a method
        that is completed elsewhere waits for the customer."""
        forced = noted(wanted.notes, "forceFail") == "true"
        token = wanted.token or next((each for each in (wanted.bank, wanted.wallet) if each in TOKENS), "")
        if wanted.method in ELSEWHERE and not token and not forced:
            return Plan(does="act")
        name = order.reference or wanted.order_id
        return decide(self.ledger, token, name, force_fail=forced, resumed=self.request.resumed)

    def _new(self, order: Thing, wanted: NewPayment, plan: Plan) -> Thing:
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
            "bank": wanted.bank or None,
            "wallet": wanted.wallet or None,
            "vpa": (wanted.upi.vpa if wanted.upi else "") or None,
            **changes.failure(""),
        }
        hold_s = order.doc.get("hold_s", order.doc.get("hold_min", 0) * 60)  # minutes in older ledgers
        doc = {
            "changes": [[self.now_us, first]],
            "then": "",
            "hold_s": min(hold_s, self.faults.hold_s),
            "spoil": plan.answers,
            "callback_url": wanted.callback_url,
            "acts": plan.does == "act",
        }
        return self.ledger.add(NAME, "payment", order.reference, doc, at_us=self.now_us, parent=order.id)

    def _act(self, order: Thing, payment: Thing, wanted: NewPayment, plan: Plan, *, linked: bool) -> Reply:
        name = name_of(payment)
        match plan.does:
            case "decline":
                reason = REASONS[plan.code]
                failed = changes.fail(self.ledger, payment, reason, self.now_us)
                if plan.late_s:
                    changes.later(self.ledger, failed, "late", self.now_us + int(plan.late_s * 1_000_000))
                about = {"payment_id": name, "order_id": name_of(order)}
                said, source = "Your payment could not be completed.", changes.SOURCES[reason]
                return refusal(400, said, source=source, reason=reason, metadata=about)
            case "charge":
                changes.authorize(self.ledger, payment, self.now_us)
            case "act":
                self._wait(payment, wanted, plan)
        if plan.does != "act" and wanted.method != "upi":
            return reply_json(200, {"razorpay_payment_id": name})
        return reply_json(200, {"razorpay_payment_id": name, **self._steps(payment, wanted, linked=linked)})

    def _wait(self, payment: Thing, wanted: NewPayment, plan: Plan) -> None:
        """The customer has to act: after a while by himself, or on the page. A collect request runs out."""
        vpa = wanted.upi.vpa if wanted.upi and not wanted.intent else ""
        if plan.late_s or vpa in TEST_VPAS:
            then = TEST_VPAS.get(vpa) or (REASONS[plan.code] if plan.code else "authorize")
            changes.later(self.ledger, payment, then, self.now_us + int((plan.late_s or ACTS_S) * 1_000_000))
        elif vpa and wanted.upi:
            end_us = self.now_us + wanted.upi.expiry_time * 60_000_000
            changes.later(self.ledger, payment, "payment_collect_request_expired", end_us)

    def _steps(self, payment: Thing, wanted: NewPayment, *, linked: bool) -> dict[str, Any]:
        """What is to be done about a payment that is not through."""
        page = page_url(self.ledger, NAME, payment.id)
        if wanted.method != "upi":
            return {"next": [{"action": "redirect", "url": page}]}
        poll = {"action": "poll", "url": f"{page.partition('/sandbox/')[0]}/{NAME}/v1/payments/{name_of(payment)}"}
        if not wanted.intent:
            return {} if linked and wanted.upi else {"next": [poll]}
        money, currency = state_of(payment)["amount"], wanted.currency
        amount = f"&am={to_decimal(money, currency)}" if currency in EXPONENTS else ""
        # ``url`` is for whoever has no such app: the page
        link = f"upi://pay?pa=shop@razorpay&pn=payonce%20sandbox&tr={name_of(payment)}{amount}&cu={currency}"
        link += f"&url={quote(page, safe='')}"
        return {"link": link} if linked else {"next": [{"action": "intent", "url": link}, poll]}

    def _capture(self, name: str, wanted: Money) -> Reply:
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
        taken = changes.capture(self.ledger, payment, self.now_us)
        # where only the answer goes wrong, the capture's goes wrong too; a second capture is refused plainly
        return spoilt(reply_json(200, payment_view(taken, self.now_us)), taken.doc["spoil"])

    # --- refunds ----------------------------------------------------------------------------------------------------------

    def _keyed_refund(self, name: str, wanted: NewRefund) -> Reply:
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

    def _refund(self, name: str, wanted: NewRefund) -> Reply:
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
        fate = wanted.fate(self.faults.refunds)
        made = changes.refund(self.ledger, payment, wanted.receipt or "", doc, fate=fate, at_us=self.now_us)
        return reply_json(200, refund_view(made, self.now_us))
