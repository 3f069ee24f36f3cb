"""PaymentIntents and what becomes of them: every change is told by an event, every movement of money is in the books."""

from typing import Any, Final

import msgspec

from payonce.sandbox import outbox
from payonce.sandbox.faults import REFUND_LATE_S, REFUND_S, Plan, Refunds
from payonce.sandbox.ledger import Ledger, MovementKind, Thing
from payonce.sandbox.pages import page_url

from .forms import from_minor, to_minor
from .views import (
    NAME,
    SECOND_US,
    Doc,
    amount_refunded,
    charge_id,
    charge_view,
    id_of,
    intent_view,
    refund_view,
    refunds_of,
)

FAILED_AUTHENTICATION: Final = {
    "code": "payment_intent_authentication_failure",
    "message": "The provided PaymentMethod has failed authentication.",
    "type": "invalid_request_error",
}
FAILURE: Final = "expired_or_canceled_card"  # of a refund
# normalised decline -> the vendor's code and decline_code
DECLINES: Final[dict[str, tuple[str, str]]] = {
    "insufficient_funds": ("card_declined", "insufficient_funds"),
    "do_not_honor": ("card_declined", "do_not_honor"),
    "stolen_card": ("card_declined", "stolen_card"),
    "lost_card": ("card_declined", "lost_card"),
    "expired_card": ("expired_card", "expired_card"),
    "invalid_card": ("incorrect_number", "incorrect_number"),
    "processing_error": ("processing_error", "processing_error"),
    "configuration": ("card_declined", "currency_not_supported"),
    "generic": ("card_declined", "generic_decline"),
}


class Intents:
    """PaymentIntents at a time."""

    def __init__(self, ledger: Ledger, now_us: int, api_version: str = "") -> None:
        self.ledger, self.now_us, self.api_version = ledger, now_us, api_version

    def become(self, intent: Thing, *told: str, **changes: Any) -> Thing:
        """The object changed now, what it was before, and the events that tell of it."""
        was = {name: value for name, value in intent.doc.items() if name != "was"}
        intent = self.ledger.change(intent, was | changes | {"since": self.now_us, "was": was})
        for kind in told:
            self.tell(kind, self.view_for(kind, intent))
        return intent

    def view_for(self, kind: str, intent: Thing) -> Doc:
        if kind.startswith("charge."):
            return charge_view(intent, intent.doc, len(intent.doc["charges"]), self.ledger)
        return intent_view(intent, intent.doc, self.ledger)

    def tell(self, kind: str, view: Doc) -> None:
        """An event, kept for its list and announced for the courier."""
        doc = {"type": kind, "object": view, "version": self.api_version}
        event = self.ledger.add(NAME, "event", "", doc, at_us=self.now_us)
        outbox.announce(self.ledger, NAME, id_of(event), msgspec.json.encode(event_view(event)), self.now_us)

    # --- what a confirmation leads to ---------------------------------------------------------------------------------

    def carry_out(self, intent: Thing, plan: Plan, method: str, hold_s: int) -> Thing:
        """The plan of a confirmation that was accepted. ``hold_s``: how long a hold lasts."""
        begun = {"method": method, "error": None, "action": None, "act": "", "busy": 0, "hold_s": hold_s}
        intent = self.ledger.change(intent, intent.doc | begun)
        match plan.does:
            case "decline":
                intent = self.decline(intent, plan.code)
                return self._later(intent, plan.late_s, "late") if plan.late_s else intent
            case "process":
                charges = self._charges(intent, "pending")
                return self.become(intent, "payment_intent.processing", status="processing", charges=charges)
            case "act":
                redirect = {"url": page_url(self.ledger, NAME, intent.id), "return_url": intent.doc["return_url"]}
                action = {"type": "redirect_to_url", "redirect_to_url": redirect}
                told = "payment_intent.requires_action"
                intent = self.become(intent, told, status="requires_action", action=action, act=plan.code or "approve")
                return self._later(intent, plan.late_s, "act") if plan.late_s else intent
        return self.succeed(intent, plan.extra_minor)

    def succeed(self, intent: Thing, extra_minor: int = 0) -> Thing:
        """The bank says yes: the money is held or taken."""
        doc = intent.doc
        amount = doc["amount"] + from_minor(extra_minor, doc["currency"])
        if doc["capture_method"] == "manual":
            self.book("authorize", intent, amount)
            told = ("charge.succeeded", "payment_intent.amount_capturable_updated")
            charges = self._charges(intent, "succeeded", amount=amount, hold=True)
            held = self.become(intent, *told, status="requires_capture", capturable=amount, charges=charges)
            return self._later(held, doc["hold_s"], "lapse")
        self.book("charge", intent, amount)
        told = ("charge.succeeded", "payment_intent.succeeded")
        charges = self._charges(intent, "succeeded", amount=amount)
        return self.become(intent, *told, status="succeeded", received=amount, charges=charges)

    def decline(self, intent: Thing, code: str) -> Thing:
        """Refused: the PaymentIntent may be confirmed again."""
        if code == "authentication_failed":
            error: Doc = dict(FAILED_AUTHENTICATION)
            return self.become(intent, "payment_intent.payment_failed", status="requires_payment_method", error=error)
        words = DECLINES.get(code, ("card_declined", code))
        charges = self._charges(intent, "failed", failure=words[0])
        error = {
            "charge": charge_id(intent, len(charges)),
            "code": words[0],
            "decline_code": words[1],
            "message": "It was declined.",
            "type": "card_error",
        }
        told = ("charge.failed", "payment_intent.payment_failed")
        return self.become(intent, *told, status="requires_payment_method", error=error, charges=charges)

    def capture(self, intent: Thing, amount: int) -> Thing:
        """Of what is held, this much is taken; the rest is given back."""
        charges = [*intent.doc["charges"][:-1], intent.doc["charges"][-1] | {"captured": True, "taken": amount}]
        self.book("capture", intent, amount)
        return self.become(
            intent,
            "charge.captured",
            "payment_intent.succeeded",
            status="succeeded",
            charges=charges,
            capturable=0,
            received=amount,
        )

    def cancel(self, intent: Thing, reason: str | None) -> Thing:
        """It can never be paid any more; a hold is given back."""
        told = ["payment_intent.canceled"]
        if intent.doc["status"] == "requires_capture":
            self.book("void", intent, intent.doc["capturable"])
            told = [*(["charge.expired"] if reason == "expired" else []), *told]
        changes = {"reason": reason, "canceled_at": self.now_us // SECOND_US, "capturable": 0, "action": None}
        return self.become(intent, *told, status="canceled", **changes)

    # --- what happens later -------------------------------------------------------------------------------------------

    def settle(self, thing: Thing) -> None:
        """What was to happen at this time happens, unless something else came first."""
        if thing.kind == "refund":
            self.end_refund(thing)
            return
        match thing.doc["due"], thing.doc["status"]:
            case "late", "requires_payment_method":
                self.succeed(self.ledger.change(thing, thing.doc | {"error": None}))
            case "act", "requires_action":
                self.act(thing, approve=thing.doc["act"] == "approve")
            case "lapse", "requires_capture":
                self.cancel(thing, "expired")

    def act(self, intent: Thing, *, approve: bool) -> None:
        """The customer decided."""
        if approve:
            self.succeed(intent)
        else:
            self.decline(intent, "authentication_failed")

    # --- refunds ------------------------------------------------------------------------------------------------------

    def refund(self, intent: Thing, amount: int, metadata: Doc, reason: str | None, fate: Refunds) -> Thing:
        """Money goes back, as ``fate`` says."""
        doc = {
            "status": {"pending": "pending", "pending_fail": "pending", "fail": "failed"}.get(fate, "succeeded"),
            "amount": amount,
            "currency": intent.doc["currency"],
            "metadata": metadata,
            "reason": reason,
            "intent": id_of(intent),
            "method": intent.doc["method"],
            "charge": charge_id(intent, len(intent.doc["charges"])),
            "fails": fate.endswith("fail") or fate == "fail_later",
            "failure": FAILURE if fate == "fail" else "",
            "since": self.now_us,
        }
        refund = self.ledger.add(NAME, "refund", metadata.get("reference", ""), doc, at_us=self.now_us, parent=intent.id)
        if doc["status"] == "succeeded":
            self._book_refund("refund", refund, intent)
        if fate not in ("plain", "fail"):
            wait_s = REFUND_LATE_S if fate == "fail_later" else REFUND_S
            self.ledger.later(refund, self.now_us + int(wait_s * SECOND_US))
        self.tell("refund.created", refund_view(refund, refund.doc))
        self.tell("refund.failed" if fate == "fail" else "charge.refunded", self._told(fate, refund, intent))
        return refund

    def _told(self, fate: Refunds, refund: Thing, intent: Thing) -> Doc:
        return refund_view(refund, refund.doc) if fate == "fail" else self.view_for("charge.", intent)

    def end_refund(self, refund: Thing) -> None:
        """A refund under way gets there, or fails; if it was done, its money comes back."""
        intent = self.ledger.thing(NAME, "intent", refund.parent)
        if intent is None:
            return
        fails, was = refund.doc["fails"], {name: value for name, value in refund.doc.items() if name != "was"}
        ended = {"status": "failed", "failure": FAILURE} if fails else {"status": "succeeded"}
        if not fails:
            self._book_refund("refund", refund, intent)
        elif was["status"] == "succeeded":
            self._book_refund("refund_failed", refund, intent)
        refund = self.ledger.change(refund, was | ended | {"since": self.now_us, "was": was})
        self.tell("refund.updated", refund_view(refund, refund.doc))
        if fails:
            self.tell("refund.failed", refund_view(refund, refund.doc))

    def refundable(self, intent: Thing) -> int:
        return int(intent.doc["received"]) - amount_refunded(refunds_of(self.ledger, intent))

    # --- the books ----------------------------------------------------------------------------------------------------

    def book(self, kind: MovementKind, intent: Thing, amount: int, *, ref: str = "", refund_reference: str = "") -> None:
        currency = intent.doc["currency"]
        self.ledger.book(
            NAME,
            kind,
            reference=intent.reference,
            refund_reference=refund_reference,
            provider_ref=ref or id_of(intent),
            amount_minor=to_minor(amount, currency) or 0,
            currency=currency,
            at_us=self.now_us,
        )

    def _book_refund(self, kind: MovementKind, refund: Thing, intent: Thing) -> None:
        self.book(kind, intent, refund.doc["amount"], ref=id_of(refund), refund_reference=refund.reference)

    def _charges(
        self, intent: Thing, status: str, *, amount: int = 0, failure: str | None = None, hold: bool = False
    ) -> list[Doc]:
        """The charges of the PaymentIntent with a new one."""
        taken = amount if status == "succeeded" and not hold else 0
        charge = {
            "amount": amount or intent.doc["amount"],
            "status": status,
            "captured": bool(taken),
            "taken": taken,
            "failure": failure,
            "capture_before": self.now_us // SECOND_US + intent.doc["hold_s"] if hold else None,
            "created": self.now_us // SECOND_US,
        }
        return [*intent.doc["charges"], charge]

    def _later(self, intent: Thing, seconds: float, what: str) -> Thing:
        intent = self.ledger.change(intent, intent.doc | {"due": what})
        self.ledger.later(intent, self.now_us + int(seconds * SECOND_US))
        return intent


def event_view(event: Thing) -> Doc:
    return {
        "id": id_of(event),
        "object": "event",
        "api_version": event.doc["version"] or None,
        "created": event.at_us // SECOND_US,
        "data": {"object": event.doc["object"]},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": event.doc["type"],
    }
