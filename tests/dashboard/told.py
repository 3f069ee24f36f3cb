"""Stories made by hand, in the shape of GET /payments/{id}/story."""

from typing import Any


def payment(**more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "transactionId": "pay_06h1eyxrby9b6bkqpbe2",
        "status": "SUCCESS",
        "amount": 1050,
        "currency": "INR",
        "provider": "razorpay_mock",
        "providerRef": "ch_1",
        "lastError": None,
        "reason": None,
        "attention": None,
        "authorized": 0,
        "authorizationExpiresAt": None,
        "actionExpiresAt": None,
        "captured": 1050,
        "refunded": 0,
        "reversed": 0,
        "operations": [operation("charge", "SUCCEEDED")],
        "createdAt": "2026-11-26T10:00:00.000000Z",
    }
    return {**made, **more}


def operation(kind: str, status: str, amount: int = 1050, ref: str | None = None, reason: str | None = None) -> dict[str, Any]:
    return {"kind": kind, "status": status, "amount": amount, "currency": "INR", "providerRef": ref, "reason": reason}


def line(kind: str, text: str, *, status: str = "PENDING", changed: bool = False, call: Any = None) -> dict[str, Any]:
    at = "2026-11-26T10:00:03.000000Z" if changed else "2026-11-26T10:00:01.000000Z"
    return {"kind": kind, "text": text, "status": status, "changed": changed, "call": call, "at": at}


def call(kind: str, attempt: int = 1, account: str = "razorpay_mock", operation: int | None = None) -> dict[str, Any]:
    return {"kind": kind, "attempt": attempt, "account": account, "operation": operation}


def candidate(account: str, why: str, *, taken: bool = True) -> dict[str, Any]:
    return {"account": account, "why": why, "taken": taken}


def story(p: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "payment": p or payment(),
        "money": "10.50 INR was taken, once (ch_1).",
        "next": "Nothing: it is settled.",
        "due": None,
        "dueAt": None,
        "route": {"by": "rule inr", "candidates": [candidate("razorpay_mock", "rule inr: currency INR")]},
        "lines": [
            line("Planned", "the charge is sent to razorpay_mock (first of the route)", call=call("fire")),
            line("Observed", "charged", status="SUCCESS", changed=True),
        ],
    }
    return {**made, **more}
