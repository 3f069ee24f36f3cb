"""What the vendor's answers mean: to sends, and to the requests of a read."""

from collections.abc import Sequence
from typing import Final

import msgspec

from payonce.adapter import (
    READS_MAX,
    Absent,
    Authorized,
    Captured,
    Closed,
    Created,
    Found,
    HttpRequest,
    Intent,
    Listing,
    Mode,
    ReadOutcome,
    Rejected,
    Response,
    SendOutcome,
    Succeeded,
    Try,
    Unknown,
    Unreadable,
    Voided,
    retry_after_s,
)

from .building import newest, nothing_to_pay_with, one_refund, refunds_of
from .objects import (
    Failure,
    Named,
    Page,
    PaymentIntent,
    Refund,
    Refusal,
    _Strange,
    decoded,
    given_back,
    minor,
    refused,
    same_money,
    tried,
)
from .words import DECLINES, NOT_EXECUTED, PARAMETERS, UNPAID

LOOKUP_PAGES: Final = 3  # newest first; the last of the four requests is for refunds
REQUEST_ERROR: Final = "invalid_request_error"

# --- answers to sends ---------------------------------------------------------------------------------------------------


def sent(intent: Intent, response: Response) -> SendOutcome:
    """What a whole answer to a send means."""
    try:
        if response.status == 402 and intent.kind == "fire":
            return _declined(intent, response)
        if response.status != 200:
            return _no(intent, response)
        if intent.kind == "refund":
            return _refund(intent, decoded(response, Refund))
        return _moved(intent, decoded(response, PaymentIntent))
    except _Strange as strange:
        return Unknown(reason=f"{strange}{_request_id(response)}")


def _moved(intent: Intent, pi: PaymentIntent) -> SendOutcome:
    if intent.kind == "create":
        return _created(intent, pi)
    if pi.id != (intent.container if intent.kind in ("fire", "close") else intent.provider_ref or intent.container):
        raise _Strange("the answer is about another PaymentIntent")
    match intent.kind, pi.status:
        case "close", "canceled":
            return Closed(container=pi.id, reference=pi.reference)
        case "void", "canceled":
            return Voided(ref=pi.id, reference=pi.reference)
        case "capture", "succeeded":
            if not same_money(pi, intent.amount_minor, intent.currency):
                raise _Strange("captured, but of a PaymentIntent about other money: look it up")
            return Captured(
                ref=pi.id,
                reference=pi.reference,
                amount_minor=minor(pi.amount_received, pi.currency),
                currency=pi.currency.upper(),
                mode=pi.mode,
            )
        case "fire", status if status != "canceled" and (shown := tried(pi)) is not None:
            return shown
    raise _Strange(f"{intent.kind}, but it is {pi.status[:40]}: look it up")


def _created(intent: Intent, pi: PaymentIntent) -> SendOutcome:
    tried_before = pi.last_payment_error is not None and pi.last_payment_error.type in DECLINES
    if pi.status not in UNPAID or tried_before:
        raise _Strange(f"a new PaymentIntent that is {pi.status[:40]}")
    if not same_money(pi, intent.amount_minor, intent.currency):
        raise _Strange("the PaymentIntent names other money than we asked for: it is not confirmed")
    return Created(container=pi.id, reference=pi.reference)


def _refund(intent: Intent, refund: Refund) -> SendOutcome:
    if refund.payment_intent != (intent.provider_ref or intent.container):
        raise _Strange("the answer is about a refund of another payment")
    return given_back(refund)


def _declined(intent: Intent, response: Response) -> SendOutcome:
    """402: the card, or whoever stands behind the method, said no to this very confirmation."""
    error = decoded(response, Failure).error
    pi = error.payment_intent
    if pi is None or pi.id != intent.container or pi.status not in UNPAID:
        raise _Strange(f"{_said(response)}: look it up")
    return refused(error, pi.id, pi.reference)


def _no(intent: Intent, response: Response) -> SendOutcome:
    """Only the vendor's own words say that nothing was executed; a proxy's page does not."""
    error, said = _error_of(response), f"{_said(response)}{_request_id(response)}"
    if error is not None and error.type == REQUEST_ERROR:
        if response.status in (401, 403):
            return Rejected(reason=said)
        if response.status == 400 and (intent.kind == "create" or _about_the_request(error) or _untried(intent, error)):
            return Rejected(reason=said)
    return Unknown(reason=said, retry_after_s=retry_after_s(response))


def _about_the_request(error: Refusal) -> bool:
    if error.code == "resource_missing":  # the token; a PaymentIntent that is not there is looked up
        return error.param == "payment_method"
    return error.code in NOT_EXECUTED if error.code else error.param in PARAMETERS


def _untried(intent: Intent, error: Refusal) -> bool:
    """A confirmation with nothing to pay with can never have been executed."""
    unpaid = error.payment_intent is None or error.payment_intent.status in UNPAID
    return intent.kind == "fire" and nothing_to_pay_with(intent) and unpaid


# --- answers to reads ---------------------------------------------------------------------------------------------------


def read(intent: Intent, response: Response) -> ReadOutcome | HttpRequest:
    """What a whole answer to a read means, or what to ask next."""
    error = _error_of(response)
    gone = error is not None and (error.type, error.code) == (REQUEST_ERROR, "resource_missing")
    if response.status == 404 and gone and not intent.seen:
        return Absent()
    if response.status != 200:
        return Unreadable(reason=f"{_said(response)}{_request_id(response)}", retry_after_s=retry_after_s(response))
    try:
        answers = (*intent.seen, response)
        return _by_container(intent, answers) if intent.container else _by_reference(intent, answers)
    except _Strange as strange:
        return Unreadable(reason=f"{strange}{_request_id(response)}")


def _by_container(intent: Intent, answers: Sequence[Response]) -> ReadOutcome | HttpRequest:
    pi = decoded(answers[0], PaymentIntent)
    if pi.id != intent.container:
        raise _Strange("another PaymentIntent than was asked for")
    return _found(intent, [pi], answers, used=1)


def _by_reference(intent: Intent, answers: Sequence[Response]) -> ReadOutcome | HttpRequest:
    """The newest of the account, page by page, until one is ours. There may be more than one: a lost creation that was sent
    again when its key was forgotten."""
    for n, answer in enumerate(answers[:LOOKUP_PAGES], 1):
        page = decoded(answer, Page)
        named = [(decoded(raw, Named), raw) for raw in page.data]
        ours = [raw for name, raw in named if (name.metadata or {}).get("reference") == intent.reference]
        if ours:
            return _found(intent, [decoded(raw, PaymentIntent) for raw in ours], answers, used=n)
        if not page.has_more or not named:
            return Absent()
        if n == len(answers) < LOOKUP_PAGES:
            return newest(after=named[-1][0].id)
    return Absent()  # proves nothing: it may be older than what was looked at


def _found(intent: Intent, pis: list[PaymentIntent], answers: Sequence[Response], *, used: int) -> ReadOutcome | HttpRequest:
    """``used`` requests told of the PaymentIntents, newest first; the others of the refunds of the one that was paid."""
    paid = next((pi for pi in pis if pi.status == "succeeded"), None)
    listed: list[Refund] = []
    whole = False
    if paid is not None:
        told = _refunds(intent, paid, answers[used:], room=READS_MAX - used)
        if isinstance(told, HttpRequest):
            return told
        listed, whole = told
    tries, idle = list[Try](), list[PaymentIntent]()
    for pi in pis:
        shown = _try(intent, pi, listed if whole and pi is paid else None)
        if shown is None:
            idle.append(pi)
        else:
            tries.append(shown)
    unclear = [each.reason for each in tries if isinstance(each, Unknown)]
    if unclear and not any(isinstance(each, Succeeded | Authorized) for each in tries):
        raise _Strange(unclear[0])  # money that is shown counts, whatever lies beside it
    container = paid or next((pi for pi in pis if pi not in idle), pis[-1])
    return Found(
        tries=tuple(tries),
        refunds=tuple(given_back(r) for r in listed if (r.metadata or {}).get("reference")),
        container="closed" if container.status in ("canceled", "succeeded") else "open",
        container_id="" if intent.container else container.id,
        reference=container.reference,
    )


def _try(intent: Intent, pi: PaymentIntent, refunds: Sequence[Refund] | None) -> Try | None:
    try:
        shown = tried(pi, refunds)
    except _Strange as strange:
        return Unknown(reason=str(strange))
    if shown is None and pi.status in UNPAID and not same_money(pi, intent.amount_minor, intent.currency):
        return Unknown(reason="the PaymentIntent names other money than we asked for: it is not confirmed")
    return shown


def _refunds(
    intent: Intent, paid: PaymentIntent, answers: Sequence[Response], *, room: int
) -> tuple[list[Refund], bool] | HttpRequest:
    """The refunds of a payment, newest first, and whether these are all. An odd one counts as little as one under way: it
    hides no charge."""
    listed, last, whole, n = list[Refund](), "", False, 0
    while not whole and n < max(1, room - 1):
        if n == len(answers):
            return refunds_of(paid.id, after=last)
        page = decoded(answers[n], Page)
        listed += [r for raw in page.data if (r := _known(raw, paid)) is not None]
        whole, n = not page.has_more or not page.data, n + 1
        last = decoded(page.data[-1], Named).id if page.data else ""
    if not whole and intent.refund_ref and n < room and all(r.id != intent.refund_ref for r in listed):
        if n == len(answers):
            return one_refund(intent.refund_ref)
        decoded(answers[n], Named)
        last_one = _known(msgspec.Raw(answers[n].body), paid)
        listed += [last_one] if last_one else []
    return listed, whole


def _known(raw: msgspec.Raw, paid: PaymentIntent) -> Refund | None:
    try:
        refund = decoded(raw, Refund)
    except _Strange:
        return None
    if refund.payment_intent != paid.id:
        return None
    if refund.currency != paid.currency:
        raise _Strange("a refund in another currency than its payment")
    try:
        given_back(refund)
    except _Strange:
        return None
    return refund


# --- answers to a listing -----------------------------------------------------------------------------------------------


def listed(response: Response, mode: Mode) -> Listing | Unreadable:
    """A page of the account's PaymentIntents that were tried, whoever made them."""
    if response.status != 200:
        return Unreadable(reason=f"{_said(response)}{_request_id(response)}", retry_after_s=retry_after_s(response))
    tries, last = list[Try](), ""
    try:
        page = decoded(response, Page)
        for raw in page.data:
            last = decoded(raw, Named).id
            if (shown := _listed(raw, mode)) is not None:
                tries.append(shown)
    except _Strange as strange:
        return Unreadable(reason=f"{strange}{_request_id(response)}")
    return Listing(tries=tuple(tries), next=last if page.has_more else "")


def _listed(raw: msgspec.Raw, mode: Mode) -> Try | None:
    """One entry; an odd one hides no other."""
    try:
        pi = decoded(raw, PaymentIntent)
        shown = tried(pi)
    except _Strange as strange:
        return Unknown(reason=str(strange))
    if pi.mode != mode:
        raise _Strange(f"a PaymentIntent of {pi.mode} mode")
    return shown


# --- words for people ---------------------------------------------------------------------------------------------------


def _error_of(response: Response) -> Refusal | None:
    try:
        return decoded(response, Failure).error
    except _Strange:
        return None


def _said(response: Response) -> str:
    error = _error_of(response)
    words = " ".join(word[:48] for word in (error.type, error.code, error.param) if word) if error else ""
    return f"HTTP {response.status}" + (f": {words}" if words else "")


def _request_id(response: Response) -> str:
    """What the vendor's support and its dashboard find the request by; and whether it is a saved answer, as every repeat of
    the request will get it."""
    id = response.headers.get("request-id", "")
    again = "replayed" if response.headers.get("idempotent-replayed") == "true" else ""
    told = ", ".join(each for each in (id[:64] if id.startswith("req_") else "", again) if each)
    return f" ({told})" if told else ""
