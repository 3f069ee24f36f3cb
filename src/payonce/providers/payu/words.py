"""PayU's words and shapes: statuses, error codes, transactions and the actions on them. See the docstring of the package."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Struct

from payonce.adapter import Declined, Scope, from_decimal

CURRENCY: Final = "INR"
TOKEN_CHARS: Final = 23  # of a refund, void or capture token (doc); in PayU's own sample a longer one comes back cut
# ``unmappedstatus`` of payments, then states of refunds. ``in progress`` is a state of refunds too, and ``pending``.
STATUSES: Final[Mapping[str, str]] = {
    "captured": "Succeeded",
    "auth": "Authorized",
    "in progress": "RequiresAction",  # the customer is at the bank's or wallet's page (doc)
    "initiated": "RequiresAction",  # the customer is at PayU's page (doc)
    "pending": "Processing",
    "failed": "Declined",
    "userCancelled": "Declined",
    "bounced": "Declined",
    "autoRefund": "Declined",
    "dropped": "Unknown",
    "queued": "Refunding",
    "requested": "Refunding",
    "od_hit": "Refunding",
    "success": "Refunded",
    "failure": "RefundFailed",
}
SPELLINGS: Final[Mapping[str, str]] = {"usercancelled": "userCancelled"}  # of the page on verify_payment, and of callbacks
REFUNDING: Final = frozenset({"queued", "requested", "od_hit", "in progress", "pending"})
# May still turn into a payment: the customer left and may come back, or the bank failed it and the page says to wait for a
# later word. PayU names no time; the hour is assumed.
PROVISIONAL: Final = frozenset({"bounced", "E308"})
FLIPS_S: Final = 3600
IST: Final = timezone(timedelta(hours=5, minutes=30))  # of ``addedon`` (unverified)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DECODER: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def _codes(code: str, hard: bool, scope: Scope, codes: str) -> dict[str, Declined]:
    return {each: Declined(code=code, hard=hard, scope=scope) for each in codes.split()}


# Error codes of failed payments: the page "Issuer Decline Error Codes"; E1620, E907 and E4684 from the page "Error Codes";
# E500, E1000, E317, E1670 and E507 from the guides to errors in the vendor's repository. Whose no it is, and whether it is
# hard, is our reading of the message.
DECLINES: Final[Mapping[str, Declined]] = {
    **_codes("insufficient_funds", False, "issuer", "E706"),
    **_codes("do_not_honor", False, "issuer", "E307 E348 E337 E312 E207 E1903 E308 E2102"),
    **_codes("limit_exceeded", False, "issuer", "E909 E9230"),
    **_codes("lost_card", True, "issuer", "E310"),
    **_codes("expired_card", True, "issuer", "E311"),
    **_codes("fraud_suspected", True, "issuer", "E324"),
    **_codes("card_blocked", True, "issuer", "E325 E717 E1626 E1642 E1625"),
    **_codes("invalid_card", True, "customer_input", "E305 E707 E1632 E4346 E9252 E4684"),
    **_codes("authentication_failed", False, "customer_input", "E313 E710 E708 E9217 E9205 E500 E1000 E317 E1670"),
    **_codes("action_expired", False, "customer_input", "E507"),
    **_codes("processing_error", False, "provider_technical", "E345 E1629 E9254 E9227 E9208 E9223"),
    **_codes("configuration", False, "configuration", "E341 E9226 E9218 E1620 E907"),
    # no codes but words of ``unmappedstatus``, which say it all
    **_codes("authentication_failed", False, "customer_input", "userCancelled"),
    **_codes("action_expired", False, "customer_input", "bounced"),
    **_codes("processing_error", False, "provider_technical", "autoRefund"),
}
# Failed, says the status, and the code says that money may be moving: in progress, pending, answered too late, timed out,
# a duplicate, approved in part, out of step with the bank.
DOUBTFUL: Final = frozenset(["E225", "E227", "E504", "E1656", "E4158", "E9202", "E9216", "E9220"])
# ``error_code`` of cancel_refund_transaction: refused for good, and refused for now (pages "Error Codes for Refund
# Initiation" and "Error Codes - Pre-Authorize Payment"). All others say to look it up.
REFUND_REFUSED: Final = frozenset(map(str, (105, 110, 111, 113, 116, 117, *range(232, 240), 250, 251)))
CAPTURE_REFUSED: Final = frozenset(["303", "304", "305", "306"])
NOT_NOW: Final[Mapping[str, int]] = {"120": 60, "214": 300}  # locked; same amount within 5 minutes -> seconds to wait
QUEUED: Final = frozenset({"", "100", "101", "102", "126", "127"})
RATE_LIMIT: Final = "requests limit reached"


class Transaction(Struct, frozen=True, kw_only=True):
    """A payment as an answer names it; empty = it does not say."""

    ref: str  # mihpayid
    txnid: str
    status: str
    unmapped: str
    amount_minor: int | None
    charges_minor: int  # additional charges, which the customer pays besides
    code: str
    added_us: int | None


class Action(Struct, frozen=True, kw_only=True):
    """A capture, cancel or refund on a payment, as check_action_status lists it."""

    ref: str  # request_id
    payment: str  # mihpayid
    action: str
    state: str
    token: str
    amount_minor: int


def transaction(doc: Mapping[str, Any]) -> Transaction:
    """From the object of any answer: their names differ by endpoint. ``amt`` is what was debited; where it is what we asked
    for and the charges that the customer pays besides, the payment is what we asked for."""
    debited, asked = minor(text(doc, "amt", "amount")), minor(text(doc, "transaction_amount"))
    charges = minor(text(doc, "additional_charges")) or 0
    unmapped = text(doc, "unmappedstatus")
    return Transaction(
        ref=text(doc, "mihpayid", "payuid", "id"),
        txnid=text(doc, "txnid", "txnId"),
        status=text(doc, "status"),
        unmapped=SPELLINGS.get(unmapped, unmapped),
        amount_minor=asked if asked is not None and debited == asked + charges else debited,
        charges_minor=charges,
        code=text(doc, "error_code", "error"),
        added_us=time_us(text(doc, "addedon")),
    )


def actions(doc: Any, ref: str) -> list[Action] | None:
    """The actions on the payment ``ref``: {ref: {request id: action}}. None: not the shape we know."""
    listed = doc.get(ref) if isinstance(doc, dict) else None
    if listed == "No action status found":
        return []
    if not isinstance(listed, dict):
        return None
    found = []
    for each in listed.values():
        if not isinstance(each, dict) or (amount := minor(text(each, "amt"))) is None or text(each, "mihpayid") != ref:
            return None
        named, state = text(each, "request_id"), text(each, "status").lower()
        kind, token = text(each, "action"), text(each, "token")
        found.append(Action(ref=named, payment=ref, action=kind, state=state, token=token, amount_minor=amount))
    return found


def text(doc: Mapping[str, Any], *names: str) -> str:
    """The first of the fields that has a text or a number, as it is written."""
    for name in names:
        value = doc.get(name)
        if isinstance(value, str | int | Decimal) and not isinstance(value, bool) and value != "":
            return str(value)
    return ""


def minor(amount: str) -> int | None:
    try:
        return from_decimal(amount, CURRENCY)
    except ValueError:
        return None


def time_us(said: str) -> int | None:
    """``2020-10-26 14:12:13`` in microseconds."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", said, re.ASCII):
        return None
    try:
        at = datetime.fromisoformat(said).replace(tzinfo=IST)
    except ValueError:
        return None
    return (at - EPOCH) // timedelta(microseconds=1)


def time_text(at_us: int) -> str:
    """The other way round, in whole seconds."""
    return (EPOCH + timedelta(microseconds=at_us)).astimezone(IST).strftime("%Y-%m-%d %H:%M:%S")


def decoded(body: bytes) -> dict[str, Any] | None:
    """The JSON object of an answer, its numbers exact; None when it is none."""
    try:
        return _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def token_of(reference: str) -> str:
    """Our reference of an operation as PayU takes it: without its last character, the second digit of the attempt."""
    return reference[:TOKEN_CHARS]


def reference_of(token: str, txnid: str) -> str:
    """And back: a refund belongs to the attempt whose reference is the txnid, so its last character is that one's."""
    ours = len(token) == TOKEN_CHARS and token[:20] == txnid[:20]
    return token + txnid[TOKEN_CHARS:] if ours else token


def words(doc: Mapping[str, Any]) -> Iterator[str]:
    """What an answer says to people, wherever it says it, in lower case."""
    for part in (doc, doc.get("metaData"), doc.get("result")):
        if isinstance(part, dict):
            yield from (text(part, name).lower() for name in ("msg", "message", "error_message", "error_Message"))
