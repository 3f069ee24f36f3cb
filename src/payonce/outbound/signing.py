"""Signatures of Standard Webhooks, version 1 (symmetric): HMAC-SHA256 over ``id.timestamp.body``, in base64, one for each
secret. Secrets are derived from one key, never stored. Pure.

The specification: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md, read 2026-11.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from payonce.core.errors import WebhookRefused

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32  # the specification asks for 24 to 64
TOLERANCE_S: Final = 300  # how far the time of a message may be from ours, in both directions
SIGNATURES_MAX: Final = 20  # looked at in one header
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"


def derived(key: bytes, endpoint_id: str, generation: int) -> str:
    """The secret of an endpoint, as its merchant gets it; another one for each generation."""
    said = f"payonce webhook secret 1\n{endpoint_id}\n{generation}"
    return PREFIX + base64.b64encode(hmac.digest(key, said.encode(), hashlib.sha256)).decode()


def fingerprint(key: bytes) -> str:
    """Names the key from which secrets are derived, and gives nothing of it away."""
    return hmac.digest(key, b"payonce webhook signing key 1", hashlib.sha256).hex()[:16]


def headers(id: str, at_us: int, body: bytes, secrets: Iterable[str]) -> dict[str, str]:
    """The three headers of a message, signed with each secret. ``at_us`` is this try's time: it is sent in whole seconds."""
    at_s = at_us // 1_000_000
    signed = " ".join("v1," + base64.b64encode(_digest(secret, id, str(at_s), body)).decode() for secret in secrets)
    return {ID: id, TIMESTAMP: str(at_s), SIGNATURE: signed}


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> str:
    """The id of a genuine and fresh message: one of its signatures is that of one of the secrets, and its time is at most
    TOLERANCE_S away. ``headers``: names in lower case. Raises WebhookRefused."""
    id, at, signed = headers.get(ID, ""), headers.get(TIMESTAMP, ""), headers.get(SIGNATURE, "")
    if not id or not signed or not (at.isascii() and at.isdigit() and len(at) <= 12):
        raise WebhookRefused("a header of Standard Webhooks is missing or broken")
    if abs(int(at) - now_us // 1_000_000) > TOLERANCE_S:
        raise WebhookRefused(f"its time is more than {TOLERANCE_S} s away from the time here")
    given = [each.removeprefix("v1,") for each in signed.split(" ")[:SIGNATURES_MAX] if each.startswith("v1,")]
    wanted = [base64.b64encode(_digest(secret, id, at, body)) for secret in secrets]
    same = [hmac.compare_digest(one.encode("utf-8", "replace"), other) for one in given for other in wanted]
    if not any(same):
        raise WebhookRefused("none of its signatures is made with a secret of this endpoint")
    return id


def _digest(secret: str, id: str, at: str, body: bytes) -> bytes:
    try:
        raw = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise WebhookRefused("the secret is not whsec_ and base64") from None
    if not raw:
        raise WebhookRefused("the secret is empty")
    return hmac.digest(raw, f"{id}.{at}.".encode() + body, hashlib.sha256)
