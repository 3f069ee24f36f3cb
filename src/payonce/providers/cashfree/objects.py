"""The vendor's objects as it writes them, and how they are read: strictly, by their digits, never guessing."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from payonce.adapter import EXPONENTS, Intent, Response, from_decimal, retry_after_s, to_decimal

PAYMENT_ENDS_S: Final = 86_400  # the longest time limit of a payment that an account can have
NEVER_US: Final = 253_402_300_799_000_000  # an expiry that cannot be read is never over
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Order(Struct, frozen=True):
    order_id: str
    order_status: str
    order_amount: Decimal
    order_currency: str
    payment_session_id: str | None = None
    order_expiry_time: str | None = None


class Details(Struct, frozen=True):
    error_code: str | None = None
    error_reason: str | None = None
    error_source: str | None = None


class Surcharge(Struct, frozen=True):
    payment_surcharge_service_charge: Decimal | None = None
    payment_surcharge_service_tax: Decimal | None = None


class Authorization(Struct, frozen=True):
    """What became of a hold: the capture or the void that was asked for, and until when it lasts."""

    action: str | None = None
    status: str | None = None
    captured_amount: Decimal | None = None
    end_time: str | None = None


class Payment(Struct, frozen=True):
    cf_payment_id: str | int
    order_id: str
    payment_status: str
    order_amount: Decimal | None = None
    order_currency: str | None = None
    payment_amount: Decimal | None = None
    payment_currency: str | None = None
    is_captured: bool | None = None
    authorization: Authorization | None = None
    payment_method: dict[str, Any] | None = None
    error_details: Details | None = None
    payment_surcharge: Surcharge | None = None


class Data(Struct, frozen=True):
    """Where the customer goes."""

    url: str | None = None
    method: str | None = None
    payload: dict[str, Any] | None = None
    redirect_to_bank: str | None = None


class Paying(Struct, frozen=True):
    """The answer to a payment that was begun."""

    cf_payment_id: str | int
    action: str | None = None
    channel: str | None = None
    payment_method: str | None = None
    data: Data | None = None


class Refund(Struct, frozen=True):
    refund_id: str | None
    order_id: str
    refund_status: str
    refund_amount: Decimal
    refund_currency: str
    cf_refund_id: str | int
    cf_payment_id: str | int | None = None
    refund_type: str | None = None


class Error(Struct, frozen=True):
    type: str
    code: str = ""


class _Strange(Exception):
    """An answer that is not what the spec says, or contradicts itself."""


def decoded(answer: Response | msgspec.Raw, kind: type[Any]) -> Any:
    """The object in an answer. Raises _Strange for anything else."""
    try:
        return msgspec.json.decode(answer.body if isinstance(answer, Response) else answer, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ArithmeticError) as error:
        raise _Strange("not the JSON we know") from error


def error_of(response: Response) -> Error:
    try:
        return cast("Error", decoded(response, Error))
    except _Strange:
        return Error(type="")


def said(response: Response) -> str:
    """Status and the vendor's words, for people."""
    error = error_of(response)
    words = " ".join(word[:40] for word in (error.type, error.code) if word)
    return f"HTTP {response.status}" + (f": {words}" if words else "")


def wait_s(response: Response) -> int | None:
    """How long the vendor asks to wait: x-ratelimit-retry is 0 while within the limit."""
    seconds = response.headers.get("x-ratelimit-retry", "")
    told = int(seconds[:6]) if seconds.isascii() and seconds.isdigit() else 0
    return told or retry_after_s(response)


def as_asked(intent: Intent, order: Order) -> bool:
    """The order is for our money. Digits are compared, so that 10.5 is 10.50."""
    asked = Decimal(to_decimal(intent.amount_minor, intent.currency))
    return (order.order_amount, order.order_currency) == (asked, intent.currency)


def minor(amount: Decimal, currency: str) -> int:
    """Minor units. Raises _Strange for what is no such amount."""
    if currency not in EXPONENTS:
        raise _Strange(f"unknown currency {currency[:8]}")
    try:
        return from_decimal(format(amount, "f"), currency)
    except ValueError as error:
        raise _Strange(f"an amount in {currency} that is none: {error}") from error


def id_of(value: str | int) -> str:
    if value in ("", 0):
        raise _Strange("an id is empty")
    return str(value)


def time_us(text: str | None) -> int | None:
    """Microseconds of wall time; None for what is no time with a zone."""
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return (at - _EPOCH) // timedelta(microseconds=1) if at.tzinfo else None


def ends_us(order: Order) -> int:
    """When no payment of this order can become a success any more, in microseconds of wall time."""
    expiry = time_us(order.order_expiry_time)
    return NEVER_US if expiry is None else expiry + PAYMENT_ENDS_S * 1_000_000
