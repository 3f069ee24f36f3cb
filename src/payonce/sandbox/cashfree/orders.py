"""Orders and what becomes of their payments, holds and refunds."""

import re
from typing import Any, Final

from payonce.sandbox.ledger import Ledger, MovementKind, Thing

from .telling import tell_payment, tell_refund
from .values import NAME, PAYMENT_BASE, REFUND_BASE, SECOND_US, Refused, become, session_of

HOLD_S: Final = 7 * 86_400
WAITING: Final = ("PENDING", "NOT_ATTEMPTED")


class Orders:
    """Orders and what happens to them at a time."""

    def __init__(self, ledger: Ledger, now_us: int) -> None:
        self.ledger, self.now_us = ledger, now_us

    def named(self, id: str) -> Thing:
        found = self.ledger.by_reference(NAME, "order", id)
        if not found:
            raise Refused(404, "order_not_found", "order is not found")
        return found[0]

    def of_session(self, session: str) -> Thing:
        number = session.split("_")[1] if session.count("_") == 2 else ""
        order = self.ledger.thing(NAME, "order", int(number)) if re.fullmatch(r"[0-9]{1,18}", number) else None
        if order is None or session_of(order) != session:
            raise Refused(400, "payment_session_id_invalid", "payment_session_id : is not valid")
        return order

    def children(self, order: Thing, kind: str) -> list[Thing]:
        return [child for child in self.ledger.children(order.id) if child.kind == kind]

    def may_succeed(self, order: Thing) -> bool:
        """A payment is in process, or was declined and will turn out to be paid. One that the customer never opened is not."""
        return any(p.doc["status"] == "PENDING" or p.doc["late"] for p in self.children(order, "payment"))

    # --- payments ---------------------------------------------------------------------------------------------------

    def succeed(self, payment: Thing) -> None:
        """The bank says yes. Only an order that waits for it takes it: else the vendor gives it back."""
        order = self.named(payment.reference)
        waits = order.doc["status"] in ("ACTIVE", "TERMINATION_REQUESTED")
        waits = waits or (order.doc["status"] == "EXPIRED" and payment.doc["status"] == "PENDING")
        held = bool(payment.doc.get("held"))
        changes: dict[str, Any] = {"status": "SUCCESS" if waits else "CANCELLED", "error": None, "late": False}
        if held:
            changes["held_until"] = self.now_us + HOLD_S * SECOND_US
        payment = become(self.ledger, payment, self.now_us, **changes)
        if not waits:
            return
        self._book("authorize" if held else "charge", payment, payment.doc["amount"])
        if held:
            self.ledger.later(payment, payment.doc["held_until"])
        order = become(self.ledger, order, self.now_us, status="PAID")
        tell_payment(self.ledger, order, payment, self.now_us)

    def fail(self, payment: Thing, status: str, error: tuple[str, str, str] | None) -> None:
        """The payment came to nothing: a termination that waited for it may now be done."""
        payment = become(self.ledger, payment, self.now_us, status=status, error=error, late=False)
        order = self.named(payment.reference)
        if order.doc["status"] == "TERMINATION_REQUESTED" and not self.may_succeed(order):
            order = become(self.ledger, order, self.now_us, status="TERMINATED")
        tell_payment(self.ledger, order, payment, self.now_us)

    # --- holds ------------------------------------------------------------------------------------------------------

    def authorization(self, order: Thing, action: str, amount_minor: int | None) -> Thing:
        """Capture or void what is held: once, in time, at most all of it."""
        paid = [p for p in self.children(order, "payment") if p.doc["status"] in ("SUCCESS", "VOID") and p.doc.get("held")]
        if not paid:
            raise Refused(400, "request_failed", "order has no preauthorized payment")
        payment = paid[-1]
        if payment.doc["status"] == "VOID":
            raise Refused(400, "order_id_voided", "order_id : is voided")
        if payment.doc["action"]:
            raise Refused(409, "request_failed", f"{payment.doc['action']} was asked for already")
        wanted = payment.doc["amount"] if amount_minor is None else amount_minor
        if action == "CAPTURE" and not 0 < wanted <= payment.doc["amount"]:
            raise Refused(400, "payment_amount_invalid", "amount : exceeds what is held")
        payment = become(self.ledger, payment, self.now_us, action=action, action_due=True, wanted=wanted)
        if payment.doc["slow_s"]:
            self.ledger.later(payment, self.now_us + int(payment.doc["slow_s"] * SECOND_US))
            return payment
        return self.carry_out(payment)

    def carry_out(self, payment: Thing) -> Thing:
        """The capture or the void that was asked for is done."""
        if payment.doc["action"] == "VOID":
            return self.release(payment)
        payment = become(self.ledger, payment, self.now_us, action_due=False, captured=payment.doc["wanted"])
        self._book("capture", payment, payment.doc["captured"])
        tell_payment(self.ledger, self.named(payment.reference), payment, self.now_us)
        return payment

    def release(self, payment: Thing) -> Thing:
        """The hold is gone: voided, or run out."""
        self._book("void", payment, payment.doc["amount"])
        return become(self.ledger, payment, self.now_us, status="VOID", action="VOID", action_due=False)

    # --- refunds ----------------------------------------------------------------------------------------------------

    def give_back(self, refund: Thing, status: str = "SUCCESS") -> Thing:
        """The refund ended, well or not."""
        refund = become(self.ledger, refund, self.now_us, status=status)
        return self.told_back(refund)

    def told_back(self, refund: Thing) -> Thing:
        """What has ended is booked, if it is done, and told."""
        if refund.doc["status"] == "SUCCESS":
            self.ledger.book(
                NAME,
                "refund",
                reference=refund.reference,
                refund_reference=refund.doc["refund_id"],
                provider_ref=str(REFUND_BASE + refund.id),
                amount_minor=refund.doc["amount"],
                currency=refund.doc["currency"],
                at_us=self.now_us,
            )
        if refund.doc["status"] in ("SUCCESS", "FAILED", "CANCELLED"):
            tell_refund(self.ledger, refund, self.now_us)
        return refund

    def _book(self, kind: MovementKind, payment: Thing, amount_minor: int) -> None:
        self.ledger.book(
            NAME,
            kind,
            reference=payment.reference,
            provider_ref=str(PAYMENT_BASE + payment.id),
            amount_minor=amount_minor,
            currency=payment.doc["currency"],
            at_us=self.now_us,
        )
