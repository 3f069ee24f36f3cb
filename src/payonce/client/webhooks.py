"""Check a webhook that payonce sent (Standard Webhooks, standardwebhooks.com, specification read 2026-11)."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from .answers import Event

TOLERANCE_S: Final = 300
SIGNATURES_MAX: Final = 20  # looked at in one header


class WebhookInvalid(Exception):
    """It is not from whoever has the secret, or not fresh, or no event: answer 400 and do nothing."""


def verify_webhook(
    headers: Mapping[str, str], body: bytes, secrets: str | Sequence[str], now_s: float, *, tolerance_s: float = TOLERANCE_S
) -> Event:
    """The event of a genuine webhook. ``body`` are the raw bytes as they came; ``secrets`` are one or several ``whsec_…``
    (during a rotation); ``now_s`` is the time, in seconds since 1970 (``time.time()``). Raises WebhookInvalid.

    An event may come twice, and in any order: remember its ``id``, and read the payment for how it is now."""
    check_signature(headers, body, secrets, now_s, tolerance_s=tolerance_s)
    try:
        return msgspec.json.decode(body, type=Event)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WebhookInvalid("it is signed, and no event of a payment (a test event, or a newer kind)") from error


def check_signature(
    headers: Mapping[str, str], body: bytes, secrets: str | Sequence[str], now_s: float, *, tolerance_s: float = TOLERANCE_S
) -> None:
    """Only the signature and its time. Raises WebhookInvalid, and ValueError for a secret that is none."""
    found = {name.lower(): value for name, value in headers.items()}
    id, sent, signatures = (found.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not id or not (sent.isascii() and sent.isdigit() and len(sent) < 12):
        raise WebhookInvalid("it has no webhook-id or webhook-timestamp")
    if abs(now_s - int(sent)) > tolerance_s:
        raise WebhookInvalid("it is not fresh: compare the clocks")
    signed = f"{id}.{sent}.".encode() + body
    wanted = [
        hmac.digest(_secret(each), signed, hashlib.sha256) for each in ([secrets] if isinstance(secrets, str) else secrets)
    ]
    given = [_raw(each) for each in signatures.split(" ")[:SIGNATURES_MAX]]
    same = [hmac.compare_digest(one, other) for one in wanted for other in given if other]  # all of them, whatever holds
    if not any(same):
        raise WebhookInvalid("no signature in it is made with this secret")


def _secret(text: str) -> bytes:
    try:
        return base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (ValueError, binascii.Error):
        raise ValueError("a secret is whsec_ and base64") from None


def _raw(signature: str) -> bytes:
    version, _, text = signature.partition(",")
    try:
        return base64.b64decode(text, validate=True) if version == "v1" else b""
    except (ValueError, binascii.Error):
        return b""
