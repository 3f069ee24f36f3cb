"""The mock vendor: keyed, one step, readable by our reference. Money moves with the answer, or as the token says.

POST /charges          header Idempotency-Key; {amount, currency, reference, source?, description?, metadata?}
GET  /charges?reference=R      {"data": [charge, ...]}, empty when there is none
POST /refunds          header Idempotency-Key; {charge, amount, reference}
GET  /refunds?reference=R

The first final answer to a key is saved for 24 h and replayed byte for byte with ``Idempotent-Replayed: true``. A
request that is refused before it is worked on (validation, 401, 409, 429, a 500 before charging) is not saved.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from .faults import Plan, Profile, decide
from .keys import KeyedCall
from .ledger import Ledger, Saved, Thing
from .simulator import Reply, Request, reply_json

NAME: Final = "mock"
AMOUNT_MAX: Final = 999_999_999_999

Amount = Annotated[int, Meta(ge=1, le=AMOUNT_MAX)]
Reference = Annotated[str, Meta(min_length=1, max_length=64)]


class _Charge(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount: Amount
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    reference: Reference
    source: str = ""
    description: str = ""
    metadata: dict[str, str | int | float | bool | None] = {}


class _Refund(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    charge: str
    amount: Amount
    reference: Reference


class MockVendor:
    """``secrets`` None accepts any secret that is not empty; else only these, and the rest is answered 401."""

    def __init__(self, secrets: frozenset[str] | None = None) -> None:
        self.secrets = secrets

    def simulate(self, request: Request, ledger: Ledger, faults: Profile, now_us: int) -> Reply:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip() or (self.secrets is not None and secret not in self.secrets):
            return _error(401, "authentication_error", "invalid_secret")
        match request.method, request.path:
            case "POST", "/charges" | "/refunds":
                return self._keyed(request, ledger, faults, now_us)
            case "GET", "/charges":
                found = ledger.by_reference(NAME, "charge", request.query.get("reference", ""))
                shown = [c for c in found if c.at_us <= now_us - faults.lookup_lag_ms * 1000]
                return reply_json(200, {"data": [_charge_view(ledger, c) for c in shown]})
            case "GET", "/refunds":
                found = ledger.by_reference(NAME, "refund", request.query.get("reference", ""))
                return reply_json(200, {"data": [_refund_view(r) for r in found]})
        return _error(404, "invalid_request_error", "no_such_path")

    def settle(self, ledger: Ledger, now_us: int) -> None:
        """Declines that turn out to be charges (tok_late_success)."""
        for due_us, charge in ledger.take_due(NAME, now_us):
            ledger.change(charge, charge.doc | {"status": "succeeded", "decline_code": None})
            _book_charge(ledger, charge, due_us)

    def _keyed(self, request: Request, ledger: Ledger, faults: Profile, now_us: int) -> Reply:
        key = request.headers.get("idempotency-key", "")
        if not 1 <= len(key) <= 255:
            return _error(400, "invalid_request_error", "idempotency_key_missing")
        call = KeyedCall(NAME, key, request, ledger, faults=faults, now_us=now_us)
        match call.standing():
            case Saved() as saved:
                return Reply(status=saved.status, headers={**saved.headers, "idempotent-replayed": "true"}, body=saved.body)
            case "other":
                return _error(400, "idempotency_error", "key_used_for_another_request")
            case "busy":
                return _error(409, "idempotency_error", "request_in_progress")
        try:
            if request.path == "/refunds":
                return _Keyed(call).refund(msgspec.json.decode(request.body, type=_Refund))
            return _Keyed(call).charge(msgspec.json.decode(request.body, type=_Charge))
        except msgspec.MsgspecError as error:
            return _error(400, "invalid_request_error", "invalid_body", str(error)[:200])


class _Keyed:
    """One request under a key that has no answer yet."""

    def __init__(self, call: KeyedCall) -> None:
        self.call, self.request, self.ledger, self.now_us = call, call.request, call.ledger, call.now_us

    def charge(self, wanted: _Charge) -> Reply:
        forced = wanted.metadata.get("forceFail") is True
        resumed = self.request.resumed
        plan = decide(self.ledger, wanted.source, wanted.reference, force_fail=forced, resumed=resumed)
        if plan.does == "nothing":
            return self._nothing(plan)
        if plan.before_s and not resumed:
            return self.call.work_for(plan.before_s)
        answer = self._act(wanted, plan)
        if plan.answers == "error":
            answer = _error(500, "api_error", "internal_error")
        elif plan.answers == "garbage":
            answer = Reply(status=200, headers=answer.headers, body=answer.body[: len(answer.body) // 2])
        self.call.save(answer)
        return Reply(drop=True) if plan.answers == "never" else answer

    def refund(self, wanted: _Refund) -> Reply:
        charge = self.ledger.thing(NAME, "charge", _number(wanted.charge))
        if charge is None or charge.doc["status"] != "succeeded":
            return _error(400, "invalid_request_error", "no_such_charge")
        refunded = sum(r.doc["amount"] for r in self.ledger.children(charge.id))
        if refunded + wanted.amount > charge.doc["amount"]:
            return _error(400, "invalid_request_error", "refund_exceeds_charge")
        doc = {"amount": wanted.amount, "currency": charge.doc["currency"]}
        refund = self.ledger.add(NAME, "refund", wanted.reference, doc, at_us=self.now_us, parent=charge.id)
        self.ledger.book(
            NAME,
            "refund",
            reference=charge.reference,
            refund_reference=wanted.reference,
            provider_ref=_refund_id(refund),
            amount_minor=wanted.amount,
            currency=charge.doc["currency"],
            at_us=self.now_us,
        )
        answer = reply_json(200, _refund_view(refund))
        self.call.save(answer)
        return answer

    def _nothing(self, plan: Plan) -> Reply:
        if plan.answers == "limited":
            return _error(429, "rate_limit_error", "too_many_requests", retry_after="1")
        if plan.answers == "error":
            return _error(500, "api_error", "internal_error")
        return Reply(drop=True, hold_s=plan.before_s)

    def _act(self, wanted: _Charge, plan: Plan) -> Reply:
        status = {"charge": "succeeded", "decline": "failed", "process": "processing"}[plan.does]
        doc = {
            "status": status,
            "amount": wanted.amount + plan.extra_minor,
            "currency": wanted.currency,
            "decline_code": plan.code or None,
        }
        charge = self.ledger.add(NAME, "charge", wanted.reference, doc, at_us=self.now_us)
        if plan.does == "charge":
            _book_charge(self.ledger, charge, self.now_us)
        if plan.late_s:
            self.ledger.later(charge, self.now_us + int(plan.late_s * 1_000_000))
        if plan.does == "decline":
            return _error(
                402,
                "card_error",
                "card_declined",
                decline_code=plan.code,
                charge=_charge_id(charge),
                reference=wanted.reference,
            )
        return reply_json(202 if plan.does == "process" else 200, _charge_view(self.ledger, charge))


def _book_charge(ledger: Ledger, charge: Thing, at_us: int) -> None:
    ledger.book(
        NAME,
        "charge",
        reference=charge.reference,
        provider_ref=_charge_id(charge),
        amount_minor=charge.doc["amount"],
        currency=charge.doc["currency"],
        at_us=at_us,
    )


def _charge_view(ledger: Ledger, charge: Thing) -> dict[str, Any]:
    refunds = ledger.children(charge.id)
    return {
        "id": _charge_id(charge),
        "status": charge.doc["status"],
        "amount": charge.doc["amount"],
        "currency": charge.doc["currency"],
        "reference": charge.reference,
        "mode": "test",
        "decline_code": charge.doc["decline_code"],
        "refunded": sum(r.doc["amount"] for r in refunds),
        "refunds": [_refund_view(r) for r in refunds],
    }


def _refund_view(refund: Thing) -> dict[str, Any]:
    return {
        "id": _refund_id(refund),
        "status": "succeeded",
        "charge": f"ch_{refund.parent:012d}",
        "amount": refund.doc["amount"],
        "currency": refund.doc["currency"],
        "reference": refund.reference,
    }


def _charge_id(charge: Thing) -> str:
    return f"ch_{charge.id:012d}"


def _refund_id(refund: Thing) -> str:
    return f"re_{refund.id:012d}"


def _number(charge_id: str) -> int:
    digits = charge_id.removeprefix("ch_")
    return int(digits) if charge_id.startswith("ch_") and digits.isascii() and digits.isdigit() and len(digits) <= 18 else 0


def _error(status: int, kind: str, code: str, message: str = "", *, retry_after: str = "", **more: str) -> Reply:
    doc = {"error": {"type": kind, "code": code, **({"message": message} if message else {}), **more}}
    return reply_json(status, doc, retry_after=retry_after) if retry_after else reply_json(status, doc)


SIMULATOR: Final = MockVendor()
