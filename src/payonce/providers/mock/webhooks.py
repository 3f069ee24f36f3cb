"""The mock vendor's webhooks.

Signature: header ``x-mock-signature: t=SECONDS,v1=HEX``, the HMAC-SHA256 of ``SECONDS.BODY`` under the webhook secret, good for
300 s in both directions. Body: ``{"id", "type", "created", "data"}``, where ``data`` is the charge or the refund and ``id``
is the event's, the same for every delivery of it. Checked 2026-11-26 against ``payonce/sandbox/mock.py``.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from payonce.adapter import WebhookEvent, WebhookRefused

TOLERANCE_S: Final = 300


class _Data(Struct, frozen=True):
    id: str
    reference: str
    charge: str = ""  # of a refund
    charge_reference: str = ""


class _Event(Struct, frozen=True):
    id: str
    type: str
    data: _Data


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> None:
    """See ``Hears.verify_webhook``. The time is looked at only when the signature is good: it is signed too."""
    pairs = [part.strip().partition("=") for part in headers.get("x-mock-signature", "").split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    digests = [value.encode("utf-8", "replace") for name, _, value in pairs if name == "v1"]
    if len(times) != 1 or not times[0].isascii() or not times[0].isdigit() or len(times[0]) > 12 or not digests:
        raise WebhookRefused("it has no x-mock-signature of the form t=SECONDS,v1=HEX")
    signed = times[0].encode() + b"." + body
    ours = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode() for secret in secrets]
    good = [hmac.compare_digest(digest, own) for digest in digests for own in ours]  # all are compared
    if not any(good):
        raise WebhookRefused("none of the account's webhook secrets signed it")
    if abs(now_us - int(times[0]) * 1_000_000) > TOLERANCE_S * 1_000_000:
        raise WebhookRefused(f"it was signed more than {TOLERANCE_S} s before or after now")


def parsed(body: bytes) -> WebhookEvent:
    """See ``Hears.parse_webhook``."""
    try:
        event = msgspec.json.decode(body, type=_Event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        event = None
    if event is None or not event.id or not event.type:
        raise WebhookRefused("it is no event: without id, type and data that we know")
    references, refs = (event.data.reference, event.data.charge_reference), (event.data.id, event.data.charge)
    return WebhookEvent(
        id=event.id,
        kind=event.type,
        references=tuple(each for each in references if each),
        refs=tuple(each for each in refs if each),
    )
