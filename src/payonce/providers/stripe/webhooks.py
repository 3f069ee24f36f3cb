"""The vendor's webhooks: a signature with a time in ``Stripe-Signature``, and an event with one object in it."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from payonce.adapter import WebhookEvent, WebhookRefused

TOLERANCE_S: Final = 300  # of the vendor's SDK; it lets the future pass, we do not


class _Data(Struct, frozen=True):
    object: dict[str, Any]


class _Event(Struct, frozen=True):
    id: Annotated[str, Meta(min_length=1)]
    object: Literal["event"]
    type: Annotated[str, Meta(min_length=1)]
    data: _Data


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> None:
    """Raises WebhookRefused unless one of the secrets signed these bytes within the tolerance."""
    pairs = [part.strip().partition("=") for part in headers.get("stripe-signature", "")[:4096].split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    signatures = [value for name, _, value in pairs if name == "v1"]
    if len(times) != 1 or not signatures:
        raise WebhookRefused("the header Stripe-Signature has no time or no v1 signature")
    signed = times[0].encode("latin-1", "replace") + b"." + body
    good = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets if secret]
    # every pair is compared, so that the time tells nothing of which secret it was
    matches = [hmac.compare_digest(ours.encode(), each.encode("utf-8", "replace")) for ours in good for each in signatures]
    if not any(matches):
        raise WebhookRefused("none of our secrets made the signature")
    at = int(times[0]) if times[0].isascii() and times[0].isdigit() and len(times[0]) <= 12 else 0
    if abs(now_us - at * 1_000_000) > TOLERANCE_S * 1_000_000:
        raise WebhookRefused(f"signed more than {TOLERANCE_S} s from now")


def parse(body: bytes) -> WebhookEvent:
    """Raises WebhookRefused for what is no event with an object."""
    try:
        event = msgspec.json.decode(body, type=_Event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WebhookRefused("not an event of the API's version 1") from error
    thing = event.data.object
    metadata = thing.get("metadata")
    reference = metadata.get("reference") if isinstance(metadata, dict) else None
    refs = (thing.get(name) for name in ("id", "payment_intent", "charge", "latest_charge"))
    return WebhookEvent(
        id=event.id,
        kind=event.type,
        references=(reference,) if isinstance(reference, str) and reference else (),
        refs=tuple(dict.fromkeys(ref for ref in refs if isinstance(ref, str) and ref)),
    )
