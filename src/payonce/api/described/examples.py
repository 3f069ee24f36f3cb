"""The examples of the OpenAPI document and of /docs."""

from typing import Any, Final

from payonce.shown.bodies import EXAMPLE_ID, EXAMPLE_OPERATION

Document = dict[str, Any]

EXAMPLE_CHARGE: Final[Document] = {
    "operationId": "op_01kav0q8t07z4c9f2b6x",
    "transactionId": EXAMPLE_ID,
    "kind": "charge",
    "status": "PENDING",
    "amount": 1050,
    "currency": "INR",
    "reason": None,
    "reference": None,
    "providerRef": None,
    "idempotencyKey": "order-1001",
    "createdAt": "2026-11-24T09:30:00.123456Z",
}
EXAMPLE_PAYMENT: Final[Document] = {
    "transactionId": EXAMPLE_ID,
    "status": "PENDING",
    "amount": 1050,
    "currency": "INR",
    "attempts": 0,
    "provider": None,
    "providerRef": None,
    "lastError": None,
    "reason": None,
    "attention": None,
    "rule": None,
    "route": [],
    "clientId": "shop-7",
    "paymentMethod": {"type": None, "token": "tok_ok"},
    "description": "Order 1001",
    "metadata": {"orderId": "1001"},
    "captureMethod": "automatic",
    "idempotencyKey": "order-1001",
    "nextAction": None,
    "actionExpiresAt": None,
    "authorized": 0,
    "authorizationExpiresAt": None,
    "captured": 0,
    "refunded": 0,
    "reversed": 0,
    "operations": [EXAMPLE_CHARGE],
    "mode": "test",
    "createdAt": "2026-11-24T09:30:00.123456Z",
    "updatedAt": "2026-11-24T09:30:00.123456Z",
}
SETTLED_PAYMENT: Final[Document] = {
    **EXAMPLE_PAYMENT,
    "status": "SUCCESS",
    "attempts": 1,
    "provider": "razorpay_mock",
    "providerRef": "pay_00000000000042",
    "rule": "inr",
    "route": [
        {"account": "razorpay_mock", "taken": True, "why": "rule inr: currency INR"},
        {"account": "mock", "taken": True, "why": "fallback: takes INR"},
        {"account": "cashfree_mock", "taken": True, "why": "fallback: takes INR"},
    ],
    "captured": 1050,
    "operations": [{**EXAMPLE_CHARGE, "status": "SUCCEEDED"}],
    "updatedAt": "2026-11-24T09:30:00.654321Z",
}
WAITING_PAYMENT: Final[Document] = {
    **EXAMPLE_PAYMENT,
    "status": "REQUIRES_ACTION",
    "attempts": 1,
    "provider": "mock",
    "route": [{"account": "mock", "taken": True, "why": "fallback: takes INR"}],
    "nextAction": {
        "type": "redirect",
        "url": "http://127.0.0.1:8080/sandbox/pay/mock/7",
        "method": "GET",
        "fields": {},
        "expiresAt": "2026-11-24T10:00:00.234567Z",
    },
    "actionExpiresAt": "2026-11-24T10:00:00.234567Z",
    "updatedAt": "2026-11-24T09:30:00.345678Z",
}
EXAMPLE_REFUND: Final[Document] = {
    **EXAMPLE_CHARGE,
    "operationId": EXAMPLE_OPERATION,
    "kind": "refund",
    "amount": 250,
    "reference": f"{EXAMPLE_ID[4:]}0200",
    "idempotencyKey": "refund-1001",
    "createdAt": "2026-11-25T16:05:00.123456Z",
}
REFUNDED_PAYMENT: Final[Document] = {
    **SETTLED_PAYMENT,
    "operations": [{**EXAMPLE_CHARGE, "status": "SUCCEEDED"}, EXAMPLE_REFUND],
    "updatedAt": "2026-11-25T16:05:00.123456Z",
}
HELD_PAYMENT: Final[Document] = {
    **SETTLED_PAYMENT,
    "status": "AUTHORIZED",
    "captureMethod": "manual",
    "authorized": 1050,
    "authorizationExpiresAt": "2026-12-01T09:30:00.234567Z",
    "captured": 0,
    "operations": [{**EXAMPLE_CHARGE, "kind": "authorize", "status": "SUCCEEDED"}],
}
EXAMPLE_EVENT: Final[Document] = {
    "id": f"evt_{EXAMPLE_ID[4:]}000001",
    "seq": 1,
    "at": "2026-11-24T09:30:00.123456Z",
    "actor": "api",
    "requestId": "req_5f0c2d9e81b7a3460d1e",
    "kind": "Accepted",
    "data": {"type": "Accepted", "amount_minor": 1050, "currency": "INR"},
    "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "prev": "",
}
EXAMPLE_REQUEST: Final[Document] = {
    "amount": 1050,
    "currency": "INR",
    "paymentMethod": "tok_ok",
    "clientId": "shop-7",
    "description": "Order 1001",
    "metadata": {"orderId": "1001"},
}

EXAMPLE_WEBHOOK: Final[Document] = {
    "id": "evt_7",
    "type": "charge.succeeded",
    "data": {"id": "ch_42", "reference": f"{EXAMPLE_ID[4:]}0100"},
}


def asked_of_a_hold(kind: str) -> Document:
    """The answer to a capture or a void: the operation with its payment, which is held still."""
    asked = {
        **EXAMPLE_CHARGE,
        "operationId": EXAMPLE_OPERATION,
        "kind": kind,
        "idempotencyKey": f"{kind}-1001",
        "createdAt": "2026-11-25T16:05:00.123456Z",
    }
    held = {**HELD_PAYMENT, "operations": [*HELD_PAYMENT["operations"], asked], "updatedAt": asked["createdAt"]}
    return {**asked, "payment": held}
