"""The vendor's objects as they come in JSON, and what one PaymentIntent shows."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from payonce.adapter import (
    EXPONENTS,
    Authorized,
    Declined,
    Mode,
    Processing,
    Refunded,
    RefundFailed,
    Refunding,
    RequiresAction,
    Response,
    Succeeded,
    Try,
)

from .building import from_vendor
from .words import CHARGE_STATUSES, DECLINES, HOLD_GONE, NEVER_AGAIN, REASONS, UNPAID

SECOND_US: Final = 1_000_000
_T = TypeVar("_T")
Money = Refunded | Refunding | RefundFailed


class _Strange(Exception):
    """An answer that is not what the vendor documents, or contradicts itself."""


def _time_us(typed: dict[str, Any] | None, name: str) -> int | None:
    """A time in what an object with a ``type`` has under the name of its type."""
    inner = typed.get(str(typed.get("type"))) if typed else None
    at = inner.get(name) if isinstance(inner, dict) else None
    return at * SECOND_US if type(at) is int and 0 < at < 10_000_000_000 else None


class Charge(Struct, frozen=True):
    id: str
    status: str
    captured: bool = False
    amount_refunded: int = 0
    failure_code: str | None = None
    payment_method_details: dict[str, Any] | None = None

    def capture_before_us(self) -> int | None:
        """Until when the hold can be captured."""
        return _time_us(self.payment_method_details, "capture_before")


class Refusal(Struct, frozen=True):
    """A ``last_payment_error``, or the error of an answer."""

    type: str
    code: str | None = None
    decline_code: str | None = None
    advice_code: str | None = None
    param: str | None = None
    payment_intent: "PaymentIntent | None" = None


class PaymentIntent(Struct, frozen=True):
    id: str
    object: Literal["payment_intent"]
    amount: int
    currency: str
    status: str
    livemode: bool
    amount_received: int = 0
    amount_capturable: int = 0
    metadata: dict[str, str] | None = None
    latest_charge: Charge | str | None = None
    last_payment_error: Refusal | None = None
    next_action: dict[str, Any] | None = None

    @property
    def reference(self) -> str:
        return (self.metadata or {}).get("reference", "")

    @property
    def mode(self) -> Mode:
        return "live" if self.livemode else "test"

    @property
    def charge(self) -> Charge | None:
        """The charge, where it was asked for."""
        found = self.latest_charge if isinstance(self.latest_charge, Charge) else None
        if found is not None and found.status not in CHARGE_STATUSES:
            raise _Strange(f"unmapped charge status {found.status[:40]}")
        return found


class Refund(Struct, frozen=True):
    id: str
    object: Literal["refund"]
    amount: int
    currency: str
    status: str | None
    payment_intent: str | None = None
    metadata: dict[str, str] | None = None


class Page(Struct, frozen=True):
    object: Literal["list"]
    data: tuple[msgspec.Raw, ...]
    has_more: bool


class Named(Struct, frozen=True):
    """As much of a listed object as says whose it is."""

    id: str
    metadata: dict[str, Any] | None = None


class Failure(Struct, frozen=True):
    error: Refusal


def decoded(answer: Response | msgspec.Raw, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(answer.body if isinstance(answer, Response) else answer, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _Strange("not the JSON we know") from error


def minor(amount: int, currency: str) -> int:
    try:
        return from_vendor(amount, currency.upper())
    except KeyError as error:
        raise _Strange(f"unknown currency {currency[:8]}") from error
    except ValueError as error:
        raise _Strange(str(error)) from error


def same_money(pi: PaymentIntent, amount_minor: int, currency: str) -> bool:
    return pi.currency.upper() == currency and currency in EXPONENTS and minor(pi.amount, currency) == amount_minor


def refused(error: Refusal, ref: str, reference: str) -> Declined:
    """What a refusal means for what comes next. The type decides that it is one, the codes only refine it. Raises
    _Strange for a type that nobody mapped."""
    if error.type not in DECLINES:
        raise _Strange(f"unmapped type of error {error.type[:40]}")
    words = [word for word in (error.decline_code, error.code) if word]
    said = next((REASONS[word] for word in words if word in REASONS), DECLINES[error.type])
    return replace(
        said,
        hard=said.hard or error.advice_code == NEVER_AGAIN,
        ref=ref,
        reference=reference,
        vendor_code=words[0][:64] if words else error.type,
    )


def tried(pi: PaymentIntent, refunds: Sequence[Refund] | None = None) -> Try | None:
    """What became of the one try that a PaymentIntent shows; None: nobody has tried it yet, or it was closed untried.
    ``refunds``: all of them, where they were listed whole. Raises _Strange for what is not documented."""
    ref, reference, currency = pi.id, pi.reference, pi.currency.upper()
    charge = pi.charge
    match pi.status:
        case "succeeded":
            taken = minor(pi.amount_received, currency)
            return Succeeded(
                ref=ref,
                reference=reference,
                amount_minor=taken,
                currency=currency,
                mode=pi.mode,
                refunded_minor=min(taken, minor(_given_back(pi, refunds), currency)),
            )
        case "requires_capture":
            return Authorized(
                ref=ref,
                reference=reference,
                amount_minor=minor(pi.amount_capturable, currency),
                currency=currency,
                mode=pi.mode,
                expires_at_us=charge.capture_before_us() if charge else None,
            )
        case "processing":
            return Processing(ref=ref, reference=reference)
        case "requires_action":
            return RequiresAction(ref=ref, reference=reference, expires_at_us=_time_us(pi.next_action, "expires_at"))
        case "canceled":
            return _without_money(pi, charge)
        case status if status in UNPAID:
            if charge is not None and charge.status == "succeeded":
                raise _Strange("an unpaid PaymentIntent with a successful charge")
            return _without_money(pi, charge)
    raise _Strange(f"unmapped status {pi.status[:40]}")


def _without_money(pi: PaymentIntent, charge: Charge | None) -> Try | None:
    if charge is not None and charge.captured:
        raise _Strange(f"{pi.status} with a captured charge")
    if charge is not None and charge.status == "pending":
        return Processing(ref=pi.id, reference=pi.reference)
    if charge is not None and charge.status == "succeeded":  # a hold, in a PaymentIntent that was canceled
        return replace(HOLD_GONE, ref=pi.id, reference=pi.reference, vendor_code="canceled")
    if pi.last_payment_error is not None:
        return refused(pi.last_payment_error, pi.id, pi.reference)
    if charge is not None:
        return refused(Refusal(type="card_error", code=charge.failure_code), pi.id, pi.reference)
    return None


def _given_back(pi: PaymentIntent, refunds: Sequence[Refund] | None) -> int:
    """The charge's own sum also counts refunds that are under way: it stands in where not all were listed."""
    if refunds is None:
        return pi.charge.amount_refunded if pi.charge else 0
    return sum(r.amount for r in refunds if r.status == "succeeded" and r.currency == pi.currency)


REFUND_OUTCOMES: Final[Mapping[str, type[Money]]] = {
    "succeeded": Refunded,
    "pending": Refunding,
    "requires_action": Refunding,  # of the customer, who has to say where the money goes
    "failed": RefundFailed,
    "canceled": RefundFailed,
}


def given_back(refund: Refund) -> Money:
    kind = REFUND_OUTCOMES.get(refund.status or "")
    if kind is None:
        raise _Strange(f"unmapped refund status {(refund.status or '')[:40]}")
    currency = refund.currency.upper()
    return kind(
        ref=refund.id,
        reference=(refund.metadata or {}).get("reference", ""),
        amount_minor=minor(refund.amount, currency),
        currency=currency,
    )
