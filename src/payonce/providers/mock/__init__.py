"""The mock provider: the vendor of the sandbox.

API: payonce sandbox 1, described in ``payonce/sandbox/mock.py``; checked 2026-11-26 against that simulator.
Unusual: one step, no container; the key covers all sends for 24 h, of which we use 2; readable by our reference. A charge
in which the customer has to act cannot be closed: it fails by itself at the time that is sent with it.
Webhooks: see ``webhooks``.
Unverified: nothing, the vendor is ours.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from payonce.adapter import (
    Absent,
    Authorized,
    Capabilities,
    Captured,
    ConfigError,
    Declined,
    Found,
    HttpRequest,
    Intent,
    Listing,
    Mode,
    NextAction,
    Processing,
    ReadOutcome,
    Refunded,
    RefundFailed,
    Refunding,
    Rejected,
    RequiresAction,
    Response,
    SendOutcome,
    Succeeded,
    Terms,
    Try,
    Unknown,
    Unreadable,
    Voided,
    WebhookEvent,
    Window,
    retry_after_s,
)

from . import webhooks


class Credentials(Struct, frozen=True):
    """The account's secrets, hidden in repr."""

    secret: str
    webhook_secrets: tuple[str, ...] = ()  # newest first

    def __repr__(self) -> str:
        return "Credentials(secret=...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("secret", "...")]


CAPABILITIES: Final = Capabilities(
    terms=Terms(keyed=True, replay_span_s=7200, refund_replay_span_s=7200, readable=True, voidable=True, hold_s=604_800),
    steps=frozenset({"fire", "replay", "read", "capture", "void", "refund"}),
    partial_capture=True,
    api_version="1",
)
STATUSES: Final[Mapping[str, str]] = {
    "succeeded": "Succeeded",
    "processing": "Processing",
    "requires_action": "RequiresAction",
    "authorized": "Authorized",
    "failed": "Declined",
    "voided": "Declined",  # a hold that was given back, as is "expired"
    "expired": "Declined",
    "pending": "Refunding",  # of refunds only
}
REFUNDS: Final[Mapping[str, type[Refunded | Refunding | RefundFailed]]] = {
    "succeeded": Refunded,
    "pending": Refunding,
    "failed": RefundFailed,
}
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
    "authentication_failed": Declined(code="authentication_failed", hard=False, scope="customer_input"),
    "action_expired": Declined(code="action_expired", hard=False, scope="customer_input"),
}
HOLD_LAPSED: Final = Declined(code="hold_lapsed", hard=False, scope="provider_technical")
ANSWERS: Final = frozenset({"succeeded", "processing", "requires_action", "authorized"})  # statuses that answer a fire
REJECTIONS: Final = frozenset({"invalid_request_error", "authentication_error"})
SHOWN: Final = {
    *("id", "type", "code", "message", "created", "status", "amount", "captured", "capture", "currency", "reference"),
    *("charge", "mode", "method", "decline_code", "refunded", "refunds", "error", "data", "next", "expires_at"),
    "action_expires_at",
}


class _Refund(Struct, frozen=True):
    id: str
    status: str
    charge: str
    amount: int
    currency: str
    reference: str


class _Action(Struct, frozen=True):
    type: Literal["redirect", "upi_intent"]
    url: str


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
    captured: int | None = None  # older sandboxes, which could not hold, do not say it
    expires_at: int | None = None
    action: _Action | None = None

    @property
    def taken(self) -> int:
        return self.amount if self.captured is None else self.captured

    @property
    def expires_us(self) -> int | None:
        return None if self.expires_at is None else self.expires_at * 1_000_000


class _Charges(Struct, frozen=True):
    data: tuple[_Charge, ...]
    next: str = ""


class _Error(Struct, frozen=True):
    type: str
    code: str
    decline_code: str = ""
    charge: str = ""
    reference: str = ""


class _Failure(Struct, frozen=True):
    error: _Error


class Mock:
    """``payonce.adapter.Adapter``, with ``Acts``, ``Hears`` and ``Lists``. Pure."""

    name = "mock"
    CAPABILITIES = CAPABILITIES
    STATUSES = STATUSES
    DECLINES = DECLINES
    SANDBOX_CREDENTIALS: Mapping[str, str] = {"secret": "sandbox", "webhook_secret": "whsec_mock_sandbox"}

    def credentials_of(self, values: Mapping[str, str]) -> Credentials:
        secret = values.get("secret", "")
        if not secret:
            raise ConfigError('a mock account needs its secret: secret = "env:NAME". Nothing was started.')
        signed = (values.get("webhook_secret", ""), values.get("webhook_secret_old", ""))
        return Credentials(secret, tuple(each for each in signed if each))

    def build(self, intent: Intent) -> HttpRequest:
        hold = f"/charges/{quote(intent.provider_ref, safe='')}"
        match intent.kind:
            case "fire" | "replay":
                return self._post("/charges", intent.key, _charge_body(intent))
            case "capture":
                return self._post(f"{hold}/capture", intent.key, {"amount": intent.capture_minor})
            case "void":
                return self._post(f"{hold}/void", intent.key, {})
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
        return {"authorization": f"Bearer {_known(credentials).secret}"}

    def parse(self, intent: Intent, response: Response) -> SendOutcome:
        match response.status:
            case 200 | 202 if intent.kind == "refund":
                return _refund(response)
            case 200 | 202 if intent.kind in ("capture", "void"):
                return _worked_on(intent, response)
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
        if odd := [r.status for r in refunds if r.status not in REFUNDS]:
            return Unreadable(reason=f"unmapped refund status {odd[0][:40]}")
        return Found(tries=tuple(tries), refunds=tuple(_refunded(r) for r in refunds))

    def next_action(self, intent: Intent, response: Response) -> NextAction | None:
        """From the answer to a fire, or to a read: there the charge under our reference that waits."""
        one, many = _decoded(response.body, _Charge), _decoded(response.body, _Charges)
        shown = (one,) if one else many.data if many else ()
        waiting = [c for c in shown if c.status == "requires_action" and c.reference == intent.reference]
        action = waiting[0].action if waiting else None
        schemes = ("upi:",) if action and action.type == "upi_intent" else ("https:", "http:")
        return NextAction(type=action.type, url=action.url) if action and action.url.startswith(schemes) else None

    # --- webhooks ---------------------------------------------------------------------------------------------------

    def webhook_secrets(self, credentials: object) -> tuple[str, ...]:
        return _known(credentials).webhook_secrets

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> None:
        webhooks.verify(headers, body, secrets, now_us)

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        del headers
        return webhooks.parsed(body)

    # --- listing ----------------------------------------------------------------------------------------------------

    def build_listing(self, window: Window) -> HttpRequest:
        cursor = f"&cursor={quote(window.cursor, safe='')}" if window.cursor else ""
        return HttpRequest(method="GET", path=f"/charges?from={window.from_us}&before={window.before_us}{cursor}")

    def parse_listing(self, window: Window, response: Response, mode: Mode) -> Listing | Unreadable:
        """Each charge says its mode itself. One that we cannot read makes the page unreadable: a list with a hole would
        call a charge missing."""
        del window, mode
        doc = _decoded(response.body, _Charges) if response.status == 200 else None
        tries = tuple(_try(charge) for charge in doc.data) if doc else ()
        if doc is None or any(isinstance(each, Unknown) for each in tries):
            reason = f"HTTP {response.status} without a list of charges that we know"
            return Unreadable(reason=reason, retry_after_s=retry_after_s(response))
        return Listing(tries=tries, next=doc.next)

    def expose(self, body: bytes) -> bytes:
        """Without the merchant's texts and without where the customer acts."""
        doc = _decoded(body, dict[str, Any])
        return msgspec.json.encode(_shown(doc)) if doc is not None else b""


def _known(credentials: object) -> Credentials:
    if not isinstance(credentials, Credentials):
        raise TypeError("not credentials of mock")
    return credentials


def _charge_body(intent: Intent) -> dict[str, Any]:
    body: dict[str, Any] = {"amount": intent.amount_minor, "currency": intent.currency, "reference": intent.reference}
    if intent.payment_method:
        body["source"] = intent.payment_method
    if intent.payment_method_type:
        body["method"] = intent.payment_method_type
    if intent.manual:
        body["capture"] = False
    if intent.return_url:
        body["return_url"] = intent.return_url
    if intent.action_expires_us:
        body["action_expires_at"] = intent.action_expires_us // 1_000_000
    if intent.description:
        body["description"] = intent.description
    if intent.metadata:
        body["metadata"] = dict(sorted(intent.metadata.items()))
    return body


def _charged(response: Response) -> SendOutcome:
    charge = _decoded(response.body, _Charge)
    if charge is None:
        return Unknown(reason="not the JSON we know")
    if charge.status in STATUSES and charge.status not in ANSWERS:  # a refusal comes as 402
        return Unknown(reason=f"a fire is not answered with a charge that is {charge.status}")
    return _try(charge)


def _try(charge: _Charge) -> Try:
    match charge.status:
        case "succeeded":
            return Succeeded(
                ref=charge.id,
                reference=charge.reference,
                amount_minor=charge.taken,
                currency=charge.currency,
                mode=charge.mode,
                refunded_minor=charge.refunded,
            )
        case "authorized":
            return Authorized(
                ref=charge.id,
                reference=charge.reference,
                amount_minor=charge.amount,
                currency=charge.currency,
                mode=charge.mode,
                expires_at_us=charge.expires_us,
            )
        case "processing":
            return Processing(ref=charge.id, reference=charge.reference)
        case "requires_action":
            return RequiresAction(ref=charge.id, reference=charge.reference, expires_at_us=charge.expires_us)
        case "failed":
            return _no(charge.decline_code or "", charge.id, charge.reference)
        case "voided" | "expired":
            return replace(HOLD_LAPSED, ref=charge.id, reference=charge.reference, vendor_code=charge.status)
    return Unknown(reason=f"unmapped status {charge.status[:40]}")


def _worked_on(intent: Intent, response: Response) -> SendOutcome:
    """The answer to a capture or a void: the charge as it is now."""
    charge = _decoded(response.body, _Charge)
    if charge is None:
        return Unknown(reason="not the JSON we know")
    if intent.kind == "void" and charge.status == "voided":
        return Voided(ref=charge.id, reference=charge.reference)
    if intent.kind == "void" or charge.status != "succeeded" or charge.captured is None:
        return Unknown(reason=f"{intent.kind} answered with a charge that is {charge.status[:40]}")
    if charge.amount != intent.amount_minor:
        return Unknown(reason="the capture is answered with a hold of another amount")
    names, money = {"ref": charge.id, "reference": charge.reference}, {"currency": charge.currency, "mode": charge.mode}
    return Captured(**names, **money, amount_minor=charge.captured)


def _declined(response: Response) -> SendOutcome:
    doc = _decoded(response.body, _Failure)
    if doc is None or doc.error.type != "card_error":
        return Unknown(reason="HTTP 402 without a card_error")
    return _no(doc.error.decline_code, doc.error.charge, doc.error.reference)


def _no(code: str, ref: str, reference: str) -> Declined | Unknown:
    known = DECLINES.get(code)
    if known is None or not ref or not reference:
        return Unknown(reason=f"unmapped decline {code[:40]}" if known is None else "a decline that names no charge of ours")
    return replace(known, ref=ref, reference=reference, vendor_code=code)


def _rejected(response: Response) -> SendOutcome:
    doc = _decoded(response.body, _Failure)
    if doc is None or doc.error.type not in REJECTIONS:
        # idempotency_error among them: the key was used with another body, the first send stands
        return Unknown(reason=f"HTTP {response.status}: {doc.error.type[:40] if doc else 'not the JSON we know'}")
    return Rejected(reason=f"{doc.error.type}: {doc.error.code[:40]}")


def _refund(response: Response) -> SendOutcome:
    refund = _decoded(response.body, _Refund)
    if refund is None or refund.status not in REFUNDS:
        return Unknown(reason="not the JSON we know" if refund is None else f"unmapped refund status {refund.status[:40]}")
    return _refunded(refund)


def _refunded(refund: _Refund) -> Refunded | Refunding | RefundFailed:
    kind = REFUNDS[refund.status]
    return kind(ref=refund.id, reference=refund.reference, amount_minor=refund.amount, currency=refund.currency)


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _shown(v) for k, v in value.items() if k in SHOWN}
    return [_shown(each) for each in value] if isinstance(value, list) else value


def _decoded(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


ADAPTER: Final = Mock()
