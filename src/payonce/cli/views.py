"""The API's own objects: what ``--json`` prints is what HTTP answers."""

from payonce.core.idempotency import Details
from payonce.core.payment import Payment
from payonce.shown.bodies import PaymentList
from payonce.shown.views import history_entry, operation_entry
from payonce.shown.views import operation_body as operation_view
from payonce.shown.views import payment_body as payment_view

__all__ = ["history_entry", "operation_entry", "operation_view", "page_view", "payment_view"]


def page_view(payments: list[tuple[Payment, Details]], cursor: str | None) -> PaymentList:
    """One page as GET /payments answers it."""
    return PaymentList([payment_view(p, details) for p, details in payments], cursor)
