"""The mock provider: the vendor of the sandbox.

API: payonce sandbox 1, described in ``payonce/sandbox/mock.py``; checked 2026-11-24 against that simulator.
Unusual: one step, no container; the key covers all sends for 24 h, of which we use 2; readable by our reference.
Unverified: nothing, the vendor is ours.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from payonce.adapter import (
    Absent,
    Capabilities,
    ConfigError,
    Declined,
    Found,
    HttpRequest,
    Intent,
    Processing,
    ReadOutcome,
    Refunded,
    Rejected,
    Response,
    SendOutcome,
    Succeeded,
    Terms,
    Try,
    Unknown,
    Unreadable,
    retry_after_s,
)


class Credentials(Struct, frozen=True):
    """The account's secret, hidden in repr."""

    secret: str

    def __repr__(self) -> str:
        return "Credentials(secret=...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("secret", "...")]


CAPABILITIES: Final = Capabilities(
    terms=Terms(keyed=True, replay_span_s=7200, refund_replay_span_s=7200, readable=True),
    steps=frozenset({"fire", "replay", "read", "refund"}),
    api_version="1",
)
STATUSES: Final[Mapping[str, str]] = {"succeeded": "Succeeded", "processing": "Processing", "failed": "Declined"}
DECLINES: Final[Mapping[str, Declined]] = {
    "insufficient_funds": Declined(code="insufficient_funds", hard=False, scope="issuer"),
    "do_not_honor": Declined(code="do_not_honor", hard=False, scope="issuer"),
    "stolen_card": Declined(code="stolen_card", hard=True, scope="issuer"),
    "expired_card": Declined(code="expired_card", hard=True, scope="issuer"),
    "invalid_card": Declined(code="invalid_card", hard=True, scope="customer_input"),
    "processing_error": Declined(code="processing_error", hard=False, scope="provider_technical"),
    "configuration": Declined(code="configuration", hard=False, scope="configuration"),
    "forced_failure": Declined(code="forced_failure", hard=True, scope="customer_input"),
    "late_success_declined": Declined(code="late_success_declined", hard=True, scope="issuer"),
}
REJECTIONS: Final = frozenset({"invalid_request_error", "authentication_error"})
SHOWN: Final = ("id", "status", "amount", "currency", "reference", "charge", "mode", "refunded", "error", "data", "refunds")


class _Refund(Struct, frozen=True):
    id: str
    status: str
    charge: str
    amount: int
    currency: str
    reference: str


class _Charge(Struct, frozen=True):
    id: str
    status: str
    amount: int
    currency: str
    reference: str
    mode: str
    refunded: int
    refunds: tuple[_Refund, ...]
    decline_code: str | None = None


class _Charges(Struct, frozen=True):
    data: tuple[_Charge, ...]


class _Error(Struct, frozen=True):
    type: str
    code: str
    decline_code: str = ""
    charge: str = ""
    reference: str = ""


class _Failure(Struct, frozen=True):
    error: _Error


class Mock:
    """``payonce.adapter.Adapter``. Pure."""

    name = "mock"
    CAPABILITIES = CAPABILITIES
    STATUSES = STATUSES
    DECLINES = DECLINES
    SANDBOX_CREDENTIALS: Mapping[str, str] = {"secret": "sandbox"}

    def credentials_of(self, values: Mapping[str, str]) -> Credentials:
        secret = values.get("secret", "")
        if not secret:
            raise ConfigError('a mock account needs its secret: secret = "env:NAME". Nothing was started.')
        return Credentials(secret)

    def build(self, intent: Intent) -> HttpRequest:
        match intent.kind:
            case "fire" | "replay":
                return self._post("/charges", intent.key, _charge_body(intent))
            case "refund":
                body = {"charge": intent.provider_ref, "amount": intent.refund_minor, "reference": intent.refund_reference}
                return self._post("/refunds", intent.key, body)
            case "read":
                return HttpRequest(method="GET", path=f"/charges?reference={quote(intent.reference, safe='')}")
        raise ValueError(f"mock has no step {intent.kind}")

    def _post(self, path: str, key: str, body: Mapping[str, Any]) -> HttpRequest:
        headers = (("content-type", "application/json"), ("idempotency-key", key))
        return HttpRequest(method="POST", path=path, headers=headers, body=msgspec.json.encode(body))

    def authenticate(self, request: HttpRequest, credentials: object) -> Mapping[str, str]:
        del request
        if not isinstance(credentials, Credentials):
            raise TypeError("not credentials of mock")
        return {"authorization": f"Bearer {credentials.secret}"}

    def parse(self, intent: Intent, response: Response) -> SendOutcome:
        match response.status:
            case 200 | 202 if intent.kind == "refund":
                return _refund(response)
            case 200 | 202:
                return _charged(response)
            case 402:
                return _declined(response)
            case 400 | 401 | 403:
                return _rejected(response)
        return Unknown(reason=f"HTTP {response.status}", retry_after_s=retry_after_s(response))

    def parse_read(self, intent: Intent, response: Response) -> ReadOutcome:
        del intent
        if response.status != 200:
            return Unreadable(reason=f"HTTP {response.status}", retry_after_s=retry_after_s(response))
        doc = _decoded(response.body, _Charges)
        if doc is None:
            return Unreadable(reason="not the JSON we know")
        if not doc.data:
            return Absent()
        tries = [_try(charge) for charge in doc.data]
        refunds = [refund for charge in doc.data for refund in charge.refunds]
        if odd := [t.reason for t in tries if isinstance(t, Unknown)]:
            return Unreadable(reason=odd[0])
        if odd := [r.status for r in refunds if r.status != "succeeded"]:
            return Unreadable(reason=f"unmapped refund status {odd[0][:40]}")
        return Found(tries=tuple(tries), refunds=tuple(_refunded(r) for r in refunds))

    def expose(self, body: bytes) -> bytes:
        doc = _decoded(body, dict[str, Any])
        return msgspec.json.encode({k: v for k, v in doc.items() if k in SHOWN}) if doc is not None else b""


def _charge_body(intent: Intent) -> dict[str, Any]:
    body: dict[str, Any] = {"amount": intent.amount_minor, "currency": intent.currency, "reference": intent.reference}
    if intent.payment_method:
        body["source"] = intent.payment_method
    if intent.description:
        body["description"] = intent.description
    if intent.metadata:
        body["metadata"] = dict(sorted(intent.metadata.items()))
    return body


def _charged(response: Response) -> SendOutcome:
    charge = _decoded(response.body, _Charge)
    if charge is None:
        return Unknown(reason="not the JSON we know")
    if charge.status == "failed":
        return Unknown(reason="a refusal comes as 402, not as a failed charge")
    return _try(charge)


def _try(charge: _Charge) -> Try:
    match charge.status:
        case "succeeded":
            return Succeeded(
                ref=charge.id,
                reference=charge.reference,
                amount_minor=charge.amount,
                currency=charge.currency,
                mode=charge.mode,
                refunded_minor=charge.refunded,
            )
        case "processing":
            return Processing(ref=charge.id, reference=charge.reference)
        case "failed":
            return _no(charge.decline_code or "", charge.id, charge.reference)
    return Unknown(reason=f"unmapped status {charge.status[:40]}")


def _declined(response: Response) -> SendOutcome:
    doc = _decoded(response.body, _Failure)
    if doc is None or doc.error.type != "card_error":
        return Unknown(reason="HTTP 402 without a card_error")
    return _no(doc.error.decline_code, doc.error.charge, doc.error.reference)


def _no(code: str, ref: str, reference: str) -> Declined | Unknown:
    known = DECLINES.get(code)
    if known is None or not ref or not reference:
        return Unknown(reason=f"unmapped decline {code[:40]}" if known is None else "a decline that names no charge of ours")
    return msgspec.structs.replace(known, ref=ref, reference=reference, vendor_code=code)


def _rejected(response: Response) -> SendOutcome:
    doc = _decoded(response.body, _Failure)
    if doc is None or doc.error.type not in REJECTIONS:
        # idempotency_error among them: the key was used with another body, the first send stands
        return Unknown(reason=f"HTTP {response.status}: {doc.error.type[:40] if doc else 'not the JSON we know'}")
    return Rejected(reason=f"{doc.error.type}: {doc.error.code[:40]}")


def _refund(response: Response) -> SendOutcome:
    refund = _decoded(response.body, _Refund)
    if refund is None or refund.status != "succeeded":
        return Unknown(reason="not the JSON we know" if refund is None else f"unmapped refund status {refund.status[:40]}")
    return _refunded(refund)


def _refunded(refund: _Refund) -> Refunded:
    return Refunded(ref=refund.id, reference=refund.reference, amount_minor=refund.amount, currency=refund.currency)


def _decoded(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


ADAPTER: Final = Mock()
