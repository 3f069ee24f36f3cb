"""PayU's webhooks: whether it sent them, and what they are about. See the docstring of the package."""

import hmac
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from payonce.adapter import WebhookEvent, WebhookRefused

from .building import sha512
from .words import STATUSES, decoded, text

HASHED = ("udf5", "udf4", "udf3", "udf2", "udf1", "email", "firstname", "productinfo", "amount", "txnid", "key")
CHARGES = ("additionalCharges", "additional_charges")  # PayU's kits and its answers spell it differently
FIELDS_MAX = 200


def verify(body: bytes, secrets: Sequence[str]) -> None:
    """The reverse hash under one of the salts. It covers what the merchant sent and the status, neither mihpayid nor
    unmappedstatus; a pipe in a hashed field could be moved from one to the next, so that is refused too."""
    fields = _fields(body)
    said = fields.get("hash", "").lower().encode()
    if not said:
        raise WebhookRefused("not signed: there is no hash. PayU does not sign refund and dispute callbacks")
    if any("|" in fields.get(name, "") for name in (*HASHED, "status", *CHARGES)):
        raise WebhookRefused("a signed field holds what separates them")
    tail = "|".join([fields.get("status", ""), *[""] * 5, *(fields.get(name, "") for name in HASHED)])
    surcharge = next((fields[name] for name in CHARGES if fields.get(name)), "")
    good = False
    for salt in secrets:
        for prefix in ("", f"{surcharge}|") if surcharge else ("",):
            good |= hmac.compare_digest(sha512(f"{prefix}{salt}|{tail}").encode(), said)
    if not good:
        raise WebhookRefused("not signed with a salt of this account")


def event(body: bytes) -> WebhookEvent:
    """The payment, by the txnid that is signed, and the refund if it is about one. PayU has no identity of events: the txnid,
    the status, both signed, and unmappedstatus as far as it is one of PayU's words are one; of a refund txnid, request_id and
    status. So who has a genuine webhook, as every customer may, can make few other events of it and none of another payment."""
    fields = _fields(body)
    ref, txnid = fields.get("mihpayid", ""), fields.get("txnid") or fields.get("merchantTxnId", "")
    status, request = fields.get("status", ""), fields.get("request_id", "")
    if not (status and txnid):
        raise WebhookRefused("not an event of payu: it has no status of a txnid")
    refund = fields.get("action", "") == "refund"
    word = fields.get("unmappedstatus", "")
    identity = (txnid, "refund", request, status) if refund else (txnid, status, word if word in STATUSES else "")
    return WebhookEvent(
        id="/".join(identity),
        kind=f"refund {status}" if refund else status,
        references=(txnid,),
        refs=tuple(each for each in (ref, request if refund else "") if each),
    )


def _fields(body: bytes) -> Mapping[str, str]:
    """Of a form, or of a JSON object. What names a field twice is refused: it has two meanings."""
    if body.lstrip()[:1] == b"{":
        doc = decoded(body) or {}
        return {name: text(doc, name) for name in doc}
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise WebhookRefused("not a form that can be read") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise WebhookRefused("a field is there twice")
    return fields
