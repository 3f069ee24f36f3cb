"""Webhooks: whose they are, and what they claim to be about."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from payonce.adapter import WebhookEvent, WebhookRefused

TOLERANCE_S: Final = 300
MILLISECONDS: Final = 10**11  # a number of seconds gets there in the year 5138, one of milliseconds was there in 1973


class _Event(Struct, frozen=True):
    type: str
    data: dict[str, Any] = {}


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> None:
    """Raises WebhookRefused for what none of the secrets signed, and for what was not signed just now."""
    stamp, signature = headers.get("x-webhook-timestamp", ""), headers.get("x-webhook-signature", "")
    if not re.fullmatch(r"[0-9]{1,16}", stamp, re.ASCII):
        raise WebhookRefused("x-webhook-timestamp is missing or no number. Nothing was stored.")
    signed, given = stamp.encode() + body, signature.encode("utf-8", "replace")
    digests = [base64.b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)) for secret in secrets if secret]
    if not any(hmac.compare_digest(digest, given) for digest in digests):
        raise WebhookRefused("x-webhook-signature is not of this account. Nothing was stored.")
    at_us = int(stamp) * (1_000 if int(stamp) >= MILLISECONDS else 1_000_000)
    if abs(now_us - at_us) > TOLERANCE_S * 1_000_000:
        raise WebhookRefused(f"signed more than {TOLERANCE_S} s from now. Nothing was stored.")


def parse(body: bytes) -> WebhookEvent:
    """What it is about. The vendor gives no id in what it signs: the kind, its object and the object's state are one."""
    try:
        event = msgspec.json.decode(body, type=_Event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WebhookRefused("not an event of cashfree. Nothing was stored.") from error
    kind = event.type[:64]
    if not kind:
        raise WebhookRefused("an event of no kind. Nothing was stored.")
    order, payment = _part(event, "order"), _part(event, "payment")
    refund = _part(event, "refund") or _part(event, "auto_refund")
    hold = payment.get("authorization") if isinstance(payment.get("authorization"), dict) else {}
    state = [
        _text(payment, "cf_payment_id") or _text(refund, "cf_refund_id"),
        _text(payment, "payment_status") or _text(refund, "refund_status"),
        _text(hold or {}, "action"),
        _text(hold or {}, "status"),
    ]
    if not state[0]:  # about no payment: a settlement, a dispute
        state = [hashlib.sha256(body).hexdigest()]
    ours = [_text(order, "order_id") or _text(refund, "order_id"), _text(refund, "refund_id")]
    theirs = [_text(payment, "cf_payment_id") or _text(refund, "cf_payment_id"), _text(refund, "cf_refund_id")]
    return WebhookEvent(
        id=" ".join([kind, *(word for word in state if word)]),
        kind=kind,
        references=tuple(each for each in ours if each),
        refs=tuple(each for each in theirs if each),
    )


def _part(event: _Event, name: str) -> dict[str, Any]:
    part = event.data.get(name)
    return part if isinstance(part, dict) else {}


def _text(part: Mapping[str, Any], name: str) -> str:
    """An id or a word; the vendor writes some ids as numbers."""
    value = part.get(name)
    return str(value)[:64] if isinstance(value, str | int) and not isinstance(value, bool) else ""
