"""Wrenmoor: a ticket is the container, a payment on it takes the money, and a closed ticket can never be paid.

API: v2, docs.wrenmoor.example/v2, checked 2026-11-24. The vendor is invented.
Unusual:
- Our reference is unique at Wrenmoor: a second ticket with it gets 409. So a lost create is looked up, not guessed.
- A ticket takes one payment and closes by itself when it is paid. While a payment is working it cannot be closed.
- Amounts are decimal texts with the currency's ISO places: "12.50", "1250", "1.250".
- A refusal with ``finalAt`` (epoch seconds) may still turn into a payment until then; one without is final.
- Refunds are unique by our refund reference, for ever: a repeat gets the first one back.
Unverified: how soon a lookup shows a new ticket (assumed: 2 s).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from payonce.adapter import (
    EXPONENTS,
    Absent,
    Capabilities,
    Closed,
    ConfigError,
    Created,
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
    from_decimal,
    retry_after_s,
    to_decimal,
)


class Credentials(Struct, frozen=True):
    """The account's API key, hidden in repr."""

    api_key: str

    def __repr__(self) -> str:
        return "Credentials(api_key=...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("api_key", "...")]


CAPABILITIES: Final = Capabilities(
    terms=Terms(
        container=True,
        closable=True,
        readable=True,
        refund_replay_span_s=86_400,  # documented: for ever; a day is all that we need
        processing_s=20,  # documented: a payment is shown as working, or not at all, after 15 s
        read_lag_s=2,
        watch_s=259_200,  # documented: nothing changes after 2 days
    ),
    steps=frozenset({"create", "fire", "read", "close", "refund"}),
    currencies=frozenset({"DKK", "EUR", "INR", "JPY", "KWD", "NOK", "SEK"}),
    api_version="v2",
)

STATUSES: Final[Mapping[str, str]] = {
    "open": "Created",  # a ticket
    "closed": "Closed",
    "paid": "Succeeded",  # a payment on it
    "working": "Processing",
    "refused": "Declined",
    "returned": "Refunded",  # a refund of it
}
DECLINES: Final[Mapping[str, Declined]] = {
    "no_funds": Declined(code="insufficient_funds", hard=False, scope="issuer"),
    "bank_refused": Declined(code="do_not_honor", hard=False, scope="issuer"),
    "card_stolen": Declined(code="stolen_card", hard=True, scope="issuer"),
    "card_expired": Declined(code="expired_card", hard=True, scope="issuer"),
    "card_unknown": Declined(code="invalid_card", hard=True, scope="customer_input"),
    "bank_unreachable": Declined(code="processing_error", hard=False, scope="provider_technical"),  # comes with finalAt
    "card_type_not_enabled": Declined(code="configuration", hard=False, scope="configuration"),
    "test_refusal": Declined(code="forced_failure", hard=True, scope="customer_input"),  # of the sandbox alone
    "test_late": Declined(code="late_success_declined", hard=True, scope="issuer"),  # of the sandbox alone
}
# HTTP status -> the error code with it that says: nothing was executed. 404 and 409 are about something that exists.
REJECTIONS: Final[Mapping[int, str]] = {401: "key_unknown", 403: "not_allowed", 422: "invalid"}
SHOWN: Final = ("id", "items", "ticket", "payment", "reference", "amount", "currency", "state", "refusal", "refunds", "error")


class _Object(Struct, frozen=True):
    """A ticket, a payment on a ``ticket``, or a refund of a ``payment``."""

    id: str
    reference: str
    amount: str
    currency: str
    state: str
    mode: str = ""
    ticket: str = ""
    payment: str = ""
    refusal: str = ""
    finalAt: Annotated[int, Meta(ge=0, lt=10_000_000_000)] | None = None  # noqa: N815 - their name
    refunds: tuple["_Object", ...] = ()


class _List(Struct, frozen=True):
    items: tuple[_Object, ...]


class _Failure(Struct, frozen=True):
    error: str


class Wrenmoor:
    """``payonce.adapter.Adapter``. Pure."""

    name = "wrenmoor"
    CAPABILITIES = CAPABILITIES
    STATUSES = STATUSES
    DECLINES = DECLINES
    SANDBOX_CREDENTIALS: Mapping[str, str] = {"api_key": "sandbox"}

    def credentials_of(self, values: Mapping[str, str]) -> Credentials:
        if not values.get("api_key"):
            raise ConfigError('a wrenmoor account needs its api_key: api_key = "env:NAME". Nothing was started.')
        return Credentials(values["api_key"])

    def build(self, intent: Intent) -> HttpRequest:
        ticket = f"/tickets/{quote(intent.container, safe='')}"
        match intent.kind:
            case "create":
                amount = to_decimal(intent.amount_minor, intent.currency)
                return _post("/tickets", {"reference": intent.reference, "amount": amount, "currency": intent.currency})
            case "fire":
                body = {"method": intent.payment_method_type or "card", "token": intent.payment_method}
                return _post(f"{ticket}/payments", {**body, "metadata": dict(sorted(intent.metadata.items()))})
            case "close":
                return _post(f"{ticket}/close", {})
            case "refund":
                amount = to_decimal(intent.refund_minor, intent.currency)
                path = f"/payments/{quote(intent.provider_ref, safe='')}/refunds"
                return _post(path, {"reference": intent.refund_reference, "amount": amount})
            case "read":  # without a container: was a ticket made after all?
                lookup = f"/tickets?reference={quote(intent.reference, safe='')}"
                return HttpRequest(method="GET", path=ticket if intent.container else lookup)
        raise ValueError(f"wrenmoor has no step {intent.kind}")

    def authenticate(self, request: HttpRequest, credentials: object) -> Mapping[str, str]:
        del request
        if not isinstance(credentials, Credentials):
            raise TypeError("not credentials of wrenmoor")
        return {"x-api-key": credentials.api_key}

    def parse(self, intent: Intent, response: Response) -> SendOutcome:
        answer: _Object | None = _decoded(response.body, _Object) if response.status in (200, 201) else None
        if answer is None:
            return _refused(response)
        match intent.kind, answer.state:
            case "create", "open" if _asked_for(intent, answer):
                return Created(container=answer.id, reference=answer.reference)
            case "close", "closed" if _asked_for(intent, answer) and answer.id == intent.container:
                return Closed(container=answer.id, reference=answer.reference)
            case "fire", _ if answer.ticket == intent.container:
                return _try(answer)
            case "refund", _ if answer.payment == intent.provider_ref:
                return _refunded(answer)
        return Unknown(reason=f"{intent.kind}: not what we asked for, or {answer.state[:40]}")

    def parse_read(self, intent: Intent, response: Response) -> ReadOutcome | HttpRequest:
        if response.status != 200:
            return _unread(response)
        ticket = _ticket_in(intent, intent.seen[0] if intent.seen else response)
        if not isinstance(ticket, _Object):
            return ticket
        if not intent.seen:  # the ticket comes first: whether it is closed must be the older truth
            return HttpRequest(method="GET", path=f"/tickets/{quote(ticket.id, safe='')}/payments")
        return _found(intent, ticket, response)

    def expose(self, body: bytes) -> bytes:
        doc = _decoded(body, dict[str, Any])
        return msgspec.json.encode({k: v for k, v in doc.items() if k in SHOWN}) if doc is not None else b""


def _post(path: str, body: Mapping[str, Any]) -> HttpRequest:
    headers = (("content-type", "application/json"),)
    return HttpRequest(method="POST", path=path, headers=headers, body=msgspec.json.encode(body))


def _refused(response: Response) -> SendOutcome:
    """Only the vendor's own words say that nothing was executed; a proxy's page does not."""
    doc: _Failure | None = _decoded(response.body, _Failure)
    said = doc.error[:40] if doc else "not the JSON we know"
    if doc and doc.error == REJECTIONS.get(response.status):
        return Rejected(reason=said)
    return Unknown(reason=f"HTTP {response.status}: {said}", retry_after_s=retry_after_s(response))


def _unread(response: Response) -> ReadOutcome:
    doc: _Failure | None = _decoded(response.body, _Failure)
    if response.status == 404 and doc and doc.error == "no_such_ticket":
        return Absent()
    return Unreadable(reason=f"HTTP {response.status}", retry_after_s=retry_after_s(response))


def _ticket_in(intent: Intent, response: Response) -> _Object | Absent | Unreadable:
    """The ticket that was asked for by its id, or else the one of our reference."""
    if intent.container:
        ticket: _Object | None = _decoded(response.body, _Object)
    else:
        listed: _List | None = _decoded(response.body, _List)
        if listed is not None and not listed.items:
            return Absent()
        ticket = listed.items[0] if listed is not None else None
    if ticket is None or ticket.state not in ("open", "closed") or not _asked_for(intent, ticket):
        return Unreadable(reason="not the ticket that we asked for")
    return ticket if ticket.reference == intent.reference else Absent()


def _found(intent: Intent, ticket: _Object, response: Response) -> ReadOutcome:
    listed: _List | None = _decoded(response.body, _List)
    if listed is None:
        return Unreadable(reason="not the payments we know")
    tries = tuple(_try(payment) for payment in listed.items)
    refunds = [_refunded(refund) for payment in listed.items for refund in payment.refunds]
    if unclear := [each.reason for each in (*tries, *refunds) if isinstance(each, Unknown)]:
        return Unreadable(reason=unclear[0])
    return Found(
        tries=tries,
        refunds=tuple(each for each in refunds if isinstance(each, Refunded)),
        container="closed" if ticket.state == "closed" else "open",
        container_id="" if intent.container else ticket.id,
        reference=ticket.reference,
    )


def _try(payment: _Object) -> Try:
    amount_minor = _minor(payment)
    match payment.state:
        case "paid" if amount_minor is not None:
            back = sum(_minor(refund) or 0 for refund in payment.refunds)
            return Succeeded(
                ref=payment.id,
                reference=payment.reference,
                amount_minor=amount_minor,
                currency=payment.currency,
                mode=payment.mode,
                refunded_minor=back,
            )
        case "working":
            return Processing(ref=payment.id, reference=payment.reference)
        case "refused" if (known := DECLINES.get(payment.refusal)) is not None:
            until_us = payment.finalAt * 1_000_000 if payment.finalAt is not None else None
            known = replace(known, ref=payment.id, reference=payment.reference, vendor_code=payment.refusal)
            return replace(known, flips_until_us=until_us)
    return Unknown(reason=f"unmapped payment: {payment.state[:40]} {payment.refusal[:40]}")


def _refunded(refund: _Object) -> Refunded | Unknown:
    amount_minor = _minor(refund)
    if refund.state != "returned" or amount_minor is None:
        return Unknown(reason=f"unmapped refund: {refund.state[:40]}")
    return Refunded(ref=refund.id, reference=refund.reference, amount_minor=amount_minor, currency=refund.currency)


def _asked_for(intent: Intent, ticket: _Object) -> bool:
    """The ticket names the money that we asked for. One that does not is never fired, and shows nothing."""
    return (_minor(ticket), ticket.currency, ticket.mode) == (intent.amount_minor, intent.currency, intent.mode)


def _minor(each: _Object) -> int | None:
    """Its amount in minor units; None when that is no amount of its currency."""
    try:
        return from_decimal(each.amount, each.currency) if each.currency in EXPONENTS else None
    except ValueError:
        return None


def _decoded(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


ADAPTER: Final = Wrenmoor()
