"""What PayU's answers to sends mean, and where its customers go. See the docstring of the package."""

import base64
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

from msgspec.structs import replace

from payonce.adapter import (
    Authorized,
    Captured,
    Declined,
    Intent,
    Mode,
    NextAction,
    Processing,
    Refunding,
    Rejected,
    RequiresAction,
    Response,
    SendOutcome,
    Succeeded,
    Try,
    Unknown,
    retry_after_s,
)

from .words import (
    CAPTURE_REFUSED,
    CURRENCY,
    DECLINES,
    DOUBTFUL,
    FLIPS_S,
    NOT_NOW,
    PROVISIONAL,
    QUEUED,
    RATE_LIMIT,
    REFUND_REFUSED,
    Transaction,
    decoded,
    text,
    transaction,
    words,
)

WAITING = ("pending", "in progress", "initiated")  # unmappedStatus of a first answer; the first is documented for it


def sent(intent: Intent, response: Response) -> SendOutcome:
    """PayU answers 200, whatever it says; another number is somebody else's."""
    doc = decoded(response.body) if response.status == 200 else None
    if doc is None:
        return Unknown(reason=f"HTTP {response.status}", retry_after_s=retry_after_s(response))
    said = list(words(doc))
    if any(RATE_LIMIT in each for each in said):
        return Unknown(reason="the rate limit of PayU was reached", retry_after_s=retry_after_s(response))
    match intent.kind:
        case "fire":
            return _fired(intent, doc)
        case "capture" | "void" | "refund":
            return _asked(intent, doc)
    return Unknown(reason=f"payu has no step {intent.kind}")


# --- payments ---------------------------------------------------------------------------------------------------------


def _fired(intent: Intent, doc: Mapping[str, Any]) -> SendOutcome:
    meta, result = _object(doc, "metaData"), _object(doc, "result")
    final = transaction(result if "unmappedstatus" in result else doc)
    if final.unmapped and final.txnid:
        return tried(intent.mode, final)
    txnid, ref = text(meta, "txnId"), text(result, "mihpayid", "paymentId")
    if txnid and text(meta, "unmappedStatus") in WAITING and not text(result, "error"):
        shown = text(result, "intentURIData", "acsTemplate") or intent.payment_method_type == "upi"
        return RequiresAction(ref=ref, reference=txnid) if shown else Processing(ref=ref, reference=txnid)
    if not (txnid or ref or final.ref) and any(_bad_hash(each) for each in words(doc)):
        return Rejected(reason="PayU says that the hash is wrong: check key and salt of the account")
    code = text(result, "error") or text(meta, "statusCode") or text(doc, "error", "error_code")
    return Unknown(reason=f"not the answer we know {code[:40]}".strip() + ": look it up")


def tried(mode: Mode, seen: Transaction) -> Try:
    """One payment, as a fire or a read shows it. ``status`` alone says success of a mere hold, so both words count."""
    ref, reference, amount = seen.ref, seen.txnid, seen.amount_minor
    match seen.status, seen.unmapped:
        case "success", "captured" if ref and amount is not None:
            return Succeeded(ref=ref, reference=reference, amount_minor=amount, currency=CURRENCY, mode=mode)
        case "success", "auth" if ref and amount is not None:
            return Authorized(ref=ref, reference=reference, amount_minor=amount, currency=CURRENCY, mode=mode)
        case "pending", "in progress" | "initiated":
            return RequiresAction(ref=ref, reference=reference)
        case "pending", "pending":
            return Processing(ref=ref, reference=reference)
        case "failure", "dropped":
            return Unknown(reason="dropped: PayU got no answer from the bank, and the payment may still succeed")
        case "failure", "failed":
            return _declined(seen, seen.code)
        case "failure", "userCancelled" | "bounced" | "autoRefund":
            return _declined(seen, seen.unmapped)
    return _unmapped(seen)


def _unmapped(seen: Transaction) -> Unknown:
    return Unknown(reason=f"unmapped status {seen.status[:20]} {seen.unmapped[:40]}".strip())


def _declined(seen: Transaction, code: str) -> Try:
    known = DECLINES.get(code)
    if code in DOUBTFUL:
        return Unknown(reason=f"{code}: failed, but the code says that money may be moving")
    if known is None:
        return Unknown(reason=f"unmapped code {code[:40]}")
    declined = replace(known, ref=seen.ref, reference=seen.txnid, vendor_code=code)
    if code not in PROVISIONAL:
        return declined
    if seen.added_us is None:
        return Unknown(reason=f"{code}: may still succeed, and since when is not said")
    return replace(declined, flips_until_us=seen.added_us + FLIPS_S * 1_000_000)


def _bad_hash(said: str) -> bool:
    """Nothing that is not authentic is executed. The words are unverified."""
    return "hash" in said and any(each in said for each in ("invalid", "incorrect", "mismatch", "not match"))


# --- captures, cancels and refunds ------------------------------------------------------------------------------------


def _asked(intent: Intent, doc: Mapping[str, Any]) -> SendOutcome:
    """All three are queued, and what became of them is read: the answer names the payment, never token or amount. Only a
    capture of UPI answers with the payment itself."""
    code, said = text(doc, "error_code"), text(doc, "msg")
    if intent.kind == "capture" and (result := _object(doc, "result")):
        return _captured(intent, transaction(result))
    reason = f"{said[:80]} {code[:10]}".strip() or "not the answer we know"
    if text(doc, "mihpayid") not in ("", intent.provider_ref):
        return Unknown(reason="the answer is about another payment")
    match text(doc, "status"):
        case "1" if code in QUEUED and (request := text(doc, "request_id", "txn_update_id")):
            return _queued(intent, request, said)
        case "0" if code in NOT_NOW:
            return Rejected(reason=reason, retry_after_s=NOT_NOW[code])
        case "0" if _bad_hash(said.lower()):
            return Rejected(reason="PayU says that the hash is wrong: check key and salt of the account")
        case "0" if code in (CAPTURE_REFUSED if intent.kind == "capture" else REFUND_REFUSED):
            refused = "refund_refused" if intent.kind == "refund" else "processing_error"
            return Declined(
                code=refused,
                hard=True,
                scope="provider_technical",
                ref=intent.provider_ref,
                reference=intent.reference,
                vendor_code=code,
            )
    return Unknown(reason=f"{reason}: look it up")


def _captured(intent: Intent, seen: Transaction) -> SendOutcome:
    """The page shows "in progress" there, and "captured" is unverified."""
    if seen.ref != intent.provider_ref or not seen.txnid:
        return Unknown(reason="the answer is about another payment")
    if seen.status != "captured" or seen.amount_minor is None:
        return Processing(ref=seen.ref, reference=seen.txnid) if seen.status == "in progress" else _unmapped(seen)
    return Captured(ref=seen.ref, reference=seen.txnid, amount_minor=seen.amount_minor, currency=CURRENCY, mode=intent.mode)


def _queued(intent: Intent, request: str, said: str) -> SendOutcome:
    """A cancel of what was captured meanwhile is a refund, and the other way round: neither is what was asked."""
    done = {"capture": "Capture", "void": "Cancel", "refund": "Refund"}[intent.kind]
    if not said.startswith(done):
        return Unknown(reason=f"{said[:80]}: something else was queued than we asked for, look it up")
    if intent.kind == "refund":
        return Refunding(
            ref=request, reference=intent.refund_reference, amount_minor=intent.refund_minor, currency=intent.currency
        )
    return Processing(ref=intent.provider_ref, reference=intent.reference)


# --- where the customer goes ------------------------------------------------------------------------------------------


def next_action(intent: Intent, response: Response) -> NextAction | None:
    """A UPI intent, the bank's page as the form that opens it, or nothing to open: a UPI address was asked already."""
    result = _object(decoded(response.body) or {}, "result")
    if link := text(result, "intentURIData"):
        return NextAction(type="upi_intent", url=f"upi://pay?{link}")
    if intent.payment_method_type == "upi" and intent.payment_method:
        return NextAction(type="upi_collect")
    try:
        page = base64.b64decode(text(result, "acsTemplate"), validate=True).decode()
    except ValueError:
        return None
    form = _Form()
    form.feed(page)
    if not form.action.startswith(("https://", "http://")):
        return None
    return NextAction(type="redirect", url=form.action, method=form.method, fields=form.fields)


class _Form(HTMLParser):
    """The first form of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.action, self.fields, self._over = "", dict[str, str](), False
        self.method: Any = "GET"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Its address, its method and its fields."""
        named = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action, self.method = named.get("action", ""), "POST" if named.get("method", "").lower() == "post" else "GET"
        elif tag == "input" and self.action and not self._over and named.get("name"):
            self.fields[named["name"]] = named.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self._over = self._over or (tag == "form" and bool(self.action))


def _object(doc: Mapping[str, Any], name: str) -> dict[str, Any]:
    inside = doc.get(name)
    return inside if isinstance(inside, dict) else {}
