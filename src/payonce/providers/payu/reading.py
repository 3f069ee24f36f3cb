"""What PayU's answers to reads mean: one payment with its actions, or what was made in a window."""

from typing import Any, Final

from msgspec.structs import replace

from payonce.adapter import (
    Absent,
    Authorized,
    Declined,
    Found,
    HttpRequest,
    Intent,
    Listing,
    Mode,
    ReadOutcome,
    Refunded,
    RefundFailed,
    Refunding,
    Response,
    Succeeded,
    Try,
    Unknown,
    Unreadable,
    Window,
    retry_after_s,
)

from .answers import tried
from .building import DAY_US, command
from .words import CURRENCY, RATE_LIMIT, REFUNDING, Action, actions, decoded, reference_of, text, transaction, words

# of a listing: its word -> status and unmappedstatus of verify_payment
LISTED: Final = {
    "captured": ("success", "captured"),
    "auth": ("success", "auth"),
    "failed": ("failure", "failed"),
    "dropped": ("failure", "dropped"),
    "bounced": ("failure", "bounced"),
    "usercancelled": ("failure", "userCancelled"),
    "autorefund": ("failure", "autoRefund"),
    "pending": ("pending", "pending"),
    "in progress": ("pending", "in progress"),
    "initiated": ("pending", "initiated"),
}


def found(intent: Intent, response: Response) -> ReadOutcome | HttpRequest:
    """verify_payment by our txnid; of a charge or hold then everything that was done with it. ``status`` beside
    ``transaction_details`` says whether the call went well, not the payment."""
    answers = (*intent.seen, response)
    docs = [_whole(each) for each in answers]
    for doc in docs:
        if isinstance(doc, Unreadable):
            return doc
    details = docs[0].get("transaction_details") if isinstance(docs[0], dict) else None
    entry = details.get(intent.reference) if isinstance(details, dict) else None
    if not isinstance(entry, dict):
        return Unreadable(reason="not the transaction we know")
    seen = transaction(entry)
    if seen.status == "Not Found":
        return Absent()
    charge = tried(intent.mode, seen)
    if isinstance(charge, Unknown):
        return Unreadable(reason=charge.reason)
    if not isinstance(charge, Succeeded | Authorized):
        return Found(tries=(charge,))
    if len(answers) == 1:
        return command("check_action_status", charge.ref, "payuid")
    done = actions(docs[1].get("transaction_details"), charge.ref) if isinstance(docs[1], dict) else None
    if done is None:
        return Unreadable(reason="not the actions we know")
    return _settled(intent, charge, done, seen.charges_minor)


def _settled(intent: Intent, charge: Succeeded | Authorized, done: list[Action], charges_minor: int) -> ReadOutcome:
    refunds = tuple(r for a in done if a.action == "refund" if (r := _refund(a, intent.reference)))
    captures, cancels = ([a for a in done if a.action == kind] for kind in ("capture", "cancel"))
    if isinstance(charge, Authorized):
        if any(a.amount_minor != charge.amount_minor for a in cancels):
            return Unreadable(reason="a cancel of another amount than is held")
        if any(a.state == "success" for a in cancels):
            return Found(tries=(_lapsed(charge),), refunds=refunds)
        if odd := _odd(cancels):
            return Unreadable(reason=f"unmapped state of a cancel {odd}")
        if any(a.amount_minor > charge.amount_minor + charges_minor for a in captures):
            return Unreadable(reason="a capture of more than is held")
        return Found(tries=(charge,), refunds=refunds)
    if intent.manual and (odd := _odd(captures)):
        return Unreadable(reason=f"unmapped state of a capture {odd}")
    taken = sum(a.amount_minor for a in captures if a.state == "success")
    # of a hold what was taken counts, its rest was given back; else the amount that is not ours, if there is one
    whole = taken in (0, charge.amount_minor, charge.amount_minor + charges_minor)
    if not whole and (intent.manual or charge.amount_minor == intent.amount_minor):
        charge = replace(charge, amount_minor=taken)
    given = sum(r.amount_minor for r in refunds if isinstance(r, Refunded))
    return Found(tries=(replace(charge, refunded_minor=given),), refunds=refunds)


def _odd(done: list[Action]) -> str:
    """A state that nobody mapped."""
    return next((a.state[:40] for a in done if a.state not in REFUNDING | {"success", "failure"}), "")


def _refund(done: Action, txnid: str) -> Refunded | Refunding | RefundFailed | None:
    """None: a state that nobody mapped hides no charge, and claims nothing."""
    kind: type[Refunded | Refunding | RefundFailed]
    match done.state:
        case "success":
            kind = Refunded
        case "failure":
            kind = RefundFailed
        case state if state in REFUNDING:
            kind = Refunding
        case _:
            return None
    reference = reference_of(done.token, txnid)
    return kind(ref=done.ref, reference=reference, amount_minor=done.amount_minor, currency=CURRENCY)


def _lapsed(hold: Authorized) -> Declined:
    """A hold that was cancelled, by us or by PayU, is gone."""
    return Declined(
        code="hold_lapsed",
        hard=False,
        scope="provider_technical",
        ref=hold.ref,
        reference=hold.reference,
        vendor_code="cancel",
    )


def listed(window: Window, response: Response, mode: Mode) -> Listing | Unreadable:
    """What get_transaction_info lists of a window: payments with their words, actions on them besides."""
    doc = _whole(response)
    if isinstance(doc, Unreadable):
        return doc
    rows = doc.get("Transaction_details")
    if not isinstance(rows, list) or any(not isinstance(row, dict) for row in rows):
        return Unreadable(reason="not the list we know")
    first_us = max(window.from_us, int(window.cursor or 0))
    until_us = min(first_us + DAY_US, window.before_us)
    tries = tuple(t for row in rows if (t := _row(row, first_us, until_us, mode)))
    return Listing(tries=tries, next=str(until_us) if until_us < window.before_us else "")


def _row(row: dict[str, Any], first_us: int, until_us: int, mode: Mode) -> Try | None:
    seen = transaction(row)
    if text(row, "action") in ("refund", "cancel"):
        return None
    if seen.added_us is not None and not first_us - 1_000_000 < seen.added_us < until_us:
        return None
    word = seen.status.lower()
    if word == "success":  # of the action
        word = {"capture": "captured", "auth": "auth"}.get(text(row, "action"), word)
    status, unmapped = LISTED.get(word, ("", word))
    return tried(mode, replace(seen, status=status, unmapped=unmapped))


def _whole(response: Response) -> dict[str, Any] | Unreadable:
    doc = decoded(response.body) if response.status == 200 else None
    if doc is None:
        return Unreadable(reason=f"HTTP {response.status}", retry_after_s=retry_after_s(response))
    said = list(words(doc))
    if any(RATE_LIMIT in each for each in said):
        return Unreadable(reason="the rate limit of PayU was reached", retry_after_s=retry_after_s(response))
    if not any(name in doc for name in ("transaction_details", "Transaction_details")):
        return Unreadable(reason=f"PayU says: {said[0][:80]}" if said else "not the answer we know")
    return doc
