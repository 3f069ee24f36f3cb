"""Razorpay's webhooks: what they say and how they are signed."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from payonce.sandbox.ledger import Ledger
from payonce.sandbox.outbox import announce

from .books import NAME

WEBHOOK_SECRET: Final = "sandbox_webhook"  # noqa: S105 - of a sandbox
ACCOUNT: Final = "acc_00000000000001"


def tell(ledger: Ledger, event: str, at_us: int, **entities: Mapping[str, Any]) -> None:
    """Announce an event: the entities as they are now. Nothing happens twice to one of them, so no two are alike."""
    doc = {
        "entity": "event",
        "account_id": ACCOUNT,
        "event": event,
        "contains": list(entities),
        "payload": {name: {"entity": view} for name, view in entities.items()},
        "created_at": at_us // 1_000_000,
    }
    body = msgspec.json.encode(doc)
    announce(ledger, NAME, _event_id(body), body, at_us)


def signed(body: bytes) -> Mapping[str, str]:
    """The headers of a delivery. No time is signed: every delivery of an event is signed alike."""
    digest = hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {
        "content-type": "application/json",
        "user-agent": "Razorpay-Webhook/v1",
        "x-razorpay-event-id": _event_id(body),
        "x-razorpay-signature": digest,
    }


def _event_id(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:20]
