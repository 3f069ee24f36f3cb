"""Orders and what becomes of their payments, and the values that the vendor writes."""

import hashlib
import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from payonce.core.money import from_decimal, to_decimal
from payonce.sandbox.ledger import Ledger, Thing
from payonce.sandbox.simulator import Reply, reply_json

NAME: Final = "cashfree"
PLACES_MAX: Final = 2
IST: Final = timezone(timedelta(hours=5, minutes=30))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ORDER_BASE: Final = 2_149_000_000  # the vendor's ids are numbers in text
PAYMENT_BASE: Final = 12_376_000_000
REFUND_BASE: Final = 1_553_000_000


class Refused(Exception):
    """A request that is answered with an error and changes nothing."""

    def __init__(self, status: int, code: str, message: str, type: str = "invalid_request_error") -> None:
        self.reply = error_reply(status, code, message, type)


class Orders:
    """Orders and what happens to their payments at a time."""

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
        """A payment is in process, or was declined and will turn out to be paid."""
        return any(p.doc["status"] == "PENDING" or p.doc["late"] for p in self.children(order, "payment"))

    def succeed(self, payment: Thing) -> None:
        """The bank says yes. Only an order that waits for it takes it: else the vendor gives it back."""
        order = self.named(payment.reference)
        waits = order.doc["status"] in ("ACTIVE", "TERMINATION_REQUESTED")
        waits = waits or (order.doc["status"] == "EXPIRED" and payment.doc["status"] == "PENDING")
        status = "SUCCESS" if waits else "CANCELLED"
        payment = become(self.ledger, payment, self.now_us, status=status, error=None, late=False)
        if waits:
            self.book("charge", order, str(PAYMENT_BASE + payment.id), payment.doc["amount"])
            become(self.ledger, order, self.now_us, status="PAID")

    def ended(self, payment: Thing) -> None:
        """A payment failed: a termination that waited for it may now be done."""
        order = self.named(payment.reference)
        if order.doc["status"] == "TERMINATION_REQUESTED" and not self.may_succeed(order):
            become(self.ledger, order, self.now_us, status="TERMINATED")

    def book(self, kind: Literal["charge", "refund"], order: Thing, ref: str, amount_minor: int, refund_id: str = "") -> None:
        self.ledger.book(
            NAME,
            kind,
            reference=order.reference,
            refund_reference=refund_id,
            provider_ref=ref,
            amount_minor=amount_minor,
            currency=order.doc["currency"],
            at_us=self.now_us,
        )


def error_reply(status: int, code: str, message: str, type: str = "invalid_request_error") -> Reply:
    return reply_json(status, {"message": message, "code": code, "type": type})


def become(ledger: Ledger, thing: Thing, now_us: int, **changes: Any) -> Thing:
    """The object changed at a time, and what it was before."""
    was = {name: value for name, value in thing.doc.items() if name != "was"}
    return ledger.change(thing, was | changes | {"since": now_us, "was": was})


def session_of(order: Thing) -> str:
    """What the customer's side pays with; like the vendor's, it cannot be made up from the order's id."""
    return f"session_{order.id}_{digest(f'session of {order.id} {order.reference} {order.at_us}')}"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def number_of(id: str, base: int) -> int:
    """The ledger's number in one of the vendor's ids; 0 = none."""
    return int(id) - base if re.fullmatch(r"[0-9]{1,18}", id) else 0


def major(amount_minor: int, currency: str) -> msgspec.Raw:
    """The amount as a JSON number, digit for digit."""
    return msgspec.Raw(to_decimal(amount_minor, currency).encode())


def minor(amount: Decimal, currency: str, field: str) -> int:
    try:
        text = format(amount, "f")
        if len(text.partition(".")[2].rstrip("0")) > PLACES_MAX:
            raise ValueError("more than two decimals")
        return from_decimal(text, currency)
    except ValueError as error:
        raise Refused(400, f"{field}_invalid", f"{field} : {error}") from error


def time_us(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused(400, "order_expiry_time_invalid", "order_expiry_time : is not an ISO 8601 time") from error
    return ((at if at.tzinfo else at.replace(tzinfo=IST)) - _EPOCH) // timedelta(microseconds=1)


def ist(at_us: int) -> str:
    """The vendor writes times of India, to the second."""
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(IST).isoformat(timespec="seconds")
