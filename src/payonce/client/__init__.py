"""A client of the HTTP API, for other people's programs: it imports nothing else of payonce.

    with Client("http://127.0.0.1:8080", api_key) as payonce:
        payment = payonce.pay(amount=1050, currency="INR", payment_method="tok_ok", idempotency_key="order-1001")
        payment = payonce.wait(payment.transaction_id)

``AsyncClient`` is the same with ``await``. What is retried, under one key, is decided in one place without I/O (calls.py).
"""

from .answers import Event, EventPage, Operation, Payment, PaymentPage
from .drivers import AsyncClient, Client
from .keys import SavedKeys
from .problems import BadAnswer, ClientError, Problem, StillPending, Unanswered
from .webhooks import WebhookInvalid, verify_webhook

__all__ = [
    "AsyncClient",
    "BadAnswer",
    "Client",
    "ClientError",
    "Event",
    "EventPage",
    "Operation",
    "Payment",
    "PaymentPage",
    "Problem",
    "SavedKeys",
    "StillPending",
    "Unanswered",
    "WebhookInvalid",
    "verify_webhook",
]
