"""What the API answers. Fields that a newer server adds are ignored; statuses are texts, so that a new one is no error."""

from typing import Any, Final

from msgspec import Struct

AT_REST: Final = frozenset({"SUCCESS", "FAILED", "CANCELED", "IN_DOUBT", "AUTHORIZED"})
ASKED: Final = frozenset({"capture", "void", "refund"})


class _Answer(Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class LastError(_Answer, frozen=True, kw_only=True):
    """The youngest thing that went wrong; it stays after a later success. ``hard``: a final decline."""

    code: str
    message: str
    hard: bool | None = None
    at: str


class NextAction(_Answer, frozen=True, kw_only=True):
    """What the customer has to do: go to ``url`` with ``method`` (and ``fields`` of a form, for POST)."""

    type: str
    url: str | None = None
    method: str = "GET"
    fields: dict[str, str] = {}
    expires_at: str | None = None


class RouteEntry(_Answer, frozen=True, kw_only=True):
    """One provider account that was considered, and why it was taken or not."""

    account: str
    taken: bool
    why: str


class PaymentMethod(_Answer, frozen=True, kw_only=True):
    """The payment method as far as it is shown."""

    type: str | None = None
    token: str | None = None


class _Operation(_Answer, frozen=True, kw_only=True):
    operation_id: str
    transaction_id: str
    kind: str
    status: str
    amount: int
    currency: str
    reason: str | None = None
    reference: str | None = None
    provider_ref: str | None = None
    idempotency_key: str | None = None
    created_at: str


class OperationEntry(_Operation, frozen=True, kw_only=True):
    """One thing asked of a payment. ``status`` is PENDING, SUCCEEDED, FAILED or IN_DOUBT."""


class Payment(_Answer, frozen=True, kw_only=True):
    """A payment as it was when it was answered; amounts are minor units, times RFC 3339."""

    transaction_id: str
    status: str
    amount: int
    currency: str
    attempts: int
    provider: str | None = None
    provider_ref: str | None = None
    last_error: LastError | None = None
    reason: str | None = None
    attention: str | None = None
    rule: str | None = None
    route: list[RouteEntry] = []
    client_id: str | None = None
    payment_method: PaymentMethod | None = None
    description: str | None = None
    metadata: dict[str, Any] = {}
    capture_method: str = "automatic"
    idempotency_key: str
    next_action: NextAction | None = None
    action_expires_at: str | None = None
    authorized: int = 0
    authorization_expires_at: str | None = None
    captured: int = 0
    refunded: int = 0
    reversed: int = 0
    operations: list[OperationEntry] = []
    mode: str
    created_at: str
    updated_at: str

    @property
    def at_rest(self) -> bool:
        """Nothing of it is under way: it has ended, waits for you (AUTHORIZED) or is IN_DOUBT, and no capture, void or refund
        is PENDING."""
        return self.status in AT_REST and not any(o.status == "PENDING" and o.kind in ASKED for o in self.operations)


class Operation(_Operation, frozen=True, kw_only=True):
    """An operation with its payment."""

    payment: Payment


class OperationList(_Answer, frozen=True, kw_only=True):
    data: list[OperationEntry]


class PaymentPage(_Answer, frozen=True, kw_only=True):
    """Payments, newest first; ``next_cursor`` None = no more."""

    data: list[Payment]
    next_cursor: str | None = None


class EventData(_Answer, frozen=True, kw_only=True):
    """What an event is about, as it was right after it."""

    payment: Payment
    operation: OperationEntry | None = None


class Event(_Answer, frozen=True, kw_only=True):
    """Something that happened. The same event always has the same ``id``, and may come twice."""

    id: str
    type: str
    timestamp: str
    data: EventData


class EventPage(_Answer, frozen=True, kw_only=True):
    """Events, oldest first. ``next_cursor`` always goes on, also at the end of what there is; ``more``: there is more today."""

    data: list[Event]
    next_cursor: str
    more: bool = False
