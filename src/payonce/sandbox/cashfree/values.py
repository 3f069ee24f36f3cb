"""The values that the vendor writes and reads: ids, amounts, times, refusals."""

import hashlib
import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

import msgspec

from payonce.core.money import from_decimal, to_decimal
from payonce.sandbox.ledger import Ledger, Thing
from payonce.sandbox.simulator import Reply, reply_json

NAME: Final = "cashfree"
PLACES_MAX: Final = 2
SECOND_US: Final = 1_000_000
IST: Final = timezone(timedelta(hours=5, minutes=30))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ORDER_BASE: Final = 2_149_000_000  # the vendor's ids are numbers in text
PAYMENT_BASE: Final = 12_376_000_000
REFUND_BASE: Final = 1_553_000_000


class Refused(Exception):
    """A request that is answered with an error and changes nothing."""

    def __init__(self, status: int, code: str, message: str, type: str = "invalid_request_error") -> None:
        self.reply = error_reply(status, code, message, type)


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
    """Minor units. Raises Refused naming the field."""
    try:
        text = format(amount, "f")
        if len(text.partition(".")[2].rstrip("0")) > PLACES_MAX:
            raise ValueError("more than two decimals")
        return from_decimal(text, currency)
    except ValueError as error:
        raise Refused(400, f"{field}_invalid", f"{field} : {error}") from error


def time_us(text: str, field: str = "order_expiry_time") -> int:
    """Microseconds of wall time; without a zone it is India's. Raises Refused naming the field."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused(400, f"{field}_invalid", f"{field} : is not an ISO 8601 time") from error
    return ((at if at.tzinfo else at.replace(tzinfo=IST)) - _EPOCH) // timedelta(microseconds=1)


def ist(at_us: int) -> str:
    """The vendor writes times of India, to the second."""
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(IST).isoformat(timespec="seconds")
