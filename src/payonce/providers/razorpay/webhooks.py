"""Razorpay's webhooks: whether it sent them, and what they are about. See the docstring of the package."""

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from payonce.adapter import WebhookEvent, WebhookRefused

from .vendor import decoded, noted

SIGNATURE, EVENT_ID = "x-razorpay-signature", "x-razorpay-event-id"


class _Event(Struct, frozen=True):
    entity: str
    event: str
    payload: dict[str, Any]
    created_at: int = 0


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> None:
    """Hex HMAC-SHA256 of the raw body under one of the secrets. An event that is sent again after the secret was changed
    is signed with the old one."""
    said = headers.get(SIGNATURE, "").encode()
    good = False
    for secret in filter(None, secrets):  # an empty one is everybody's
        good |= hmac.compare_digest(hmac.new(secret.encode(), body, "sha256").hexdigest().encode(), said)
    if not good:
        raise WebhookRefused("not signed with a webhook secret of this account" if said else f"there is no {SIGNATURE}")


def event(headers: Mapping[str, str], body: bytes) -> WebhookEvent:
    """The payment, order and refund in it. The id is the vendor's header; where that is missing or odd, event, entity and
    time together, and of an event without an entity or a time what it says."""
    doc: _Event | None = decoded(body, _Event)
    if doc is None or doc.entity != "event" or not doc.event:
        raise WebhookRefused("not an event of razorpay: it has no event with a payload")
    entities = {name: _entity(doc.payload.get(name)) for name in ("payment", "order", "refund")}
    refs = tuple(dict.fromkeys(_texts(entities.values(), "id", "payment_id", "order_id")))
    ours = [noted(each.get("notes")) for each in entities.values()]
    references = tuple(dict.fromkeys([*_texts(entities.values(), "receipt"), *filter(None, ours)]))
    named = headers.get(EVENT_ID, "")
    if not re.fullmatch(r"[!-~]{1,100}", named):
        about = next(_texts(reversed(entities.values()), "id"), "")
        said = "" if about and doc.created_at else "/" + hashlib.sha256(body).hexdigest()
        named = f"{doc.event}/{about}/{doc.created_at}{said}"
    return WebhookEvent(id=named, kind=doc.event, references=references, refs=refs)


def _entity(value: Any) -> dict[str, Any]:
    inside = value.get("entity") if isinstance(value, dict) else None
    return inside if isinstance(inside, dict) else {}


def _texts(entities: Any, *names: str) -> Iterator[str]:
    for entity in entities:
        yield from (entity[name] for name in names if isinstance(entity.get(name), str) and entity[name])
