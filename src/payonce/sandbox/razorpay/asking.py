"""What Razorpay is asked: the bodies of its POSTs, and what each of them has to hold."""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from payonce.sandbox.faults import Refunds

AMOUNT_MAX: Final = 999_999_999_999
HOLD_MINUTES_MAX: Final = 7200
COLLECT_MINUTES_MAX: Final = 5760

Amount = Annotated[int, Meta(ge=1, le=AMOUNT_MAX)]
Notes = dict[str, str | int | float | bool | None] | list[Any]


class CaptureOptions(Struct, frozen=True):
    """How long a payment stays authorized, in minutes."""

    manual_expiry_period: Annotated[int, Meta(ge=1, le=HOLD_MINUTES_MAX)] = HOLD_MINUTES_MAX
    automatic_expiry_period: int = 0
    refund_speed: str = "normal"


class Capture(Struct, frozen=True):
    """Who captures: the vendor (automatic) or the merchant (manual)."""

    capture: str
    capture_options: CaptureOptions = CaptureOptions()


class NewOrder(Struct, frozen=True):
    """POST /orders."""

    amount: Amount
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    receipt: Annotated[str, Meta(max_length=40)] | None = None
    notes: Notes = {}
    payment: Capture | None = None
    payment_capture: bool | int = True
    unique_receipt: bool = False

    @property
    def manual(self) -> bool:
        return self.payment.capture == "manual" if self.payment else not self.payment_capture

    @property
    def hold_s(self) -> int:
        return (self.payment or Capture("")).capture_options.manual_expiry_period * 60


class Upi(Struct, frozen=True):
    """How a UPI payment is asked for: the address gets a request (collect), or the customer opens a link (intent)."""

    flow: Literal["collect", "intent"] = "collect"
    vpa: Annotated[str, Meta(max_length=255)] = ""
    expiry_time: Annotated[int, Meta(ge=1, le=COLLECT_MINUTES_MAX)] = 5  # minutes, of a collect request


class NewPayment(Struct, frozen=True):
    """POST /payments/create/json and /payments/create/upi."""

    amount: Amount
    currency: str
    order_id: str
    method: str = "card"
    token: str = ""
    bank: str = ""
    wallet: str = ""
    upi: Upi | None = None
    callback_url: Annotated[str, Meta(max_length=2048)] = ""
    email: str | None = None
    contact: str | None = None
    description: str | None = None
    notes: Notes = {}

    @property
    def intent(self) -> bool:
        return self.method == "upi" and self.upi is not None and self.upi.flow == "intent"


class Money(Struct, frozen=True):
    """POST /payments/{id}/capture."""

    amount: Amount
    currency: str


class NewRefund(Struct, frozen=True):
    """POST /payments/{id}/refund and /refunds. ``notes.forceRefund`` says what becomes of it, as the fault profile does."""

    amount: Amount | None = None
    speed: str = "normal"
    receipt: str | None = None
    notes: Notes = {}
    payment_id: str = ""

    def fate(self, otherwise: Refunds) -> Refunds:
        """What is to become of it."""
        forced = noted(self.notes, "forceRefund")
        known: tuple[Refunds, ...] = ("plain", "pending", "pending_fail", "fail_later", "fail")
        return next((each for each in known if each == forced), otherwise)


def noted(notes: Notes, name: str) -> str:
    """A text in the notes, or nothing."""
    value = notes.get(name) if isinstance(notes, dict) else None
    return value if isinstance(value, str) else ""
