"""The mock vendor: keyed, one step, readable by our reference. Money moves with the answer, or as the token says.

POST /charges          header Idempotency-Key; {amount, currency, reference, source?, method?, capture?, return_url?,
                       action_expires_at?, description?, metadata?}; ``capture: false`` holds the money only
GET  /charges?reference=R           {"data": [charge, ...]}, empty when there is none
GET  /charges?from=US&before=US&cursor=C   the charges made in that time (microseconds), oldest first, and ``next``
POST /charges/{id}/capture   {amount}: the hold, or a part of it; the rest is given back
POST /charges/{id}/void      {}
POST /refunds          header Idempotency-Key; {charge, amount, reference}
GET  /refunds?reference=R

The first final answer to a key is saved for 24 h and replayed byte for byte with ``Idempotent-Replayed: true``: of charges,
captures, voids and refunds alike. A request that is refused before it is worked on (validation, 401, 409, 429, a 500 before
charging) is not saved. A charge in which the customer has to act is answered 202 with ``action``; it fails with
``action_expired`` at ``action_expires_at``, else after half an hour. A hold lapses at its ``expires_at``. Times without a
unit are whole seconds since 1970. Webhooks: ``{"id", "type", "created", "data"}``, signed in ``x-mock-signature``.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from payonce.sandbox.faults import ACTION_S, Plan, Profile, decide
from payonce.sandbox.keys import KeyedCall
from payonce.sandbox.ledger import Ledger, Saved, Thing
from payonce.sandbox.simulator import Reply, Request, Standing, reply_json

from . import books

NAME: Final = books.NAME
AMOUNT_MAX: Final = 999_999_999_999
LISTED_MAX: Final = 100  # charges on a page of a listing
WEBHOOK_SECRET: Final = "whsec_mock_sandbox"  # noqa: S105 - of a sandbox
ACTED_AT: Final = frozenset({"upi", "netbanking", "wallet", "redirect"})  # methods that the customer completes elsewhere

Amount = Annotated[int, Meta(ge=1, le=AMOUNT_MAX)]
Reference = Annotated[str, Meta(min_length=1, max_length=64)]
Second = Annotated[int, Meta(ge=0, le=99_999_999_999)]


class _Charge(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount: Amount
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    reference: Reference
    source: str = ""
    method: Annotated[str, Meta(max_length=40)] = ""
    capture: bool = True
    return_url: Annotated[str, Meta(max_length=2048)] = ""
    action_expires_at: Second = 0
    description: str = ""
    metadata: dict[str, str | int | float | bool | None] = {}


class _Refund(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    charge: str
    amount: Amount
    reference: Reference


class _Capture(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount: Amount


class _Void(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class MockVendor:
    """``secrets`` None accepts any secret that is not empty; else only these, and the rest is answered 401."""

    def __init__(self, secrets: frozenset[str] | None = None) -> None:
        self.secrets = secrets

    def simulate(self, request: Request, ledger: Ledger, faults: Profile, now_us: int) -> Reply:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip() or (self.secrets is not None and secret not in self.secrets):
            return _error(401, "authentication_error", "invalid_secret")
        shown_until_us = now_us - faults.lookup_lag_ms * 1000
        match request.method, request.path.removeprefix("/").split("/"):
            case "POST", ["charges"] | ["refunds"] | ["charges", _, "capture" | "void"]:
                return self._keyed(request, ledger, faults, now_us)
            case "GET", ["charges"] if "from" in request.query:
                return _listing(request, ledger, shown_until_us)
            case "GET", ["charges"]:
                found = ledger.by_reference(NAME, "charge", request.query.get("reference", ""))
                shown = [c for c in found if c.at_us <= shown_until_us]
                return reply_json(200, {"data": [books.charge_view(ledger, c) for c in shown]})
            case "GET", ["refunds"]:
                found = ledger.by_reference(NAME, "refund", request.query.get("reference", ""))
                return reply_json(200, {"data": [books.refund_view(r) for r in found]})
        return _error(404, "invalid_request_error", "no_such_path")

    def settle(self, ledger: Ledger, now_us: int) -> None:
        """Declines that turn out to be charges, customers who act, actions and holds that run out, refunds under way."""
        while due := ledger.take_due(NAME, now_us):
            for due_us, thing in due:
                books.happen(ledger, thing, due_us)

    def standing(self, ledger: Ledger, number: int) -> Standing | None:
        """``simulator.Acting``."""
        charge = ledger.thing(NAME, "charge", number)
        if charge is None or "action" not in charge.doc:
            return None
        return Standing(
            amount_minor=charge.doc["amount"],
            currency=charge.doc["currency"],
            reference=charge.reference,
            open=charge.doc["status"] == "requires_action",
            says=charge.doc["status"],
            return_url=charge.doc["return_url"],
        )

    def act(self, ledger: Ledger, number: int, now_us: int, *, approve: bool) -> None:
        """``simulator.Acting``."""
        charge = ledger.thing(NAME, "charge", number)
        if charge is None or charge.doc["status"] != "requires_action":
            return
        if approve:
            books.take(ledger, charge, now_us)
        else:
            books.fail(ledger, charge, "authentication_failed", now_us)

    def sign_webhook(self, body: bytes, now_us: int) -> Mapping[str, str]:
        """``simulator.Telling``: HMAC-SHA256 of ``TIME.BODY`` under the webhook secret, with the time beside it."""
        at = str(now_us // 1_000_000)
        digest = hmac.new(WEBHOOK_SECRET.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
        return {"content-type": "application/json", "x-mock-signature": f"t={at},v1={digest}"}

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
            return _Keyed(call).answer()
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return _error(400, "invalid_request_error", "invalid_body", str(error)[:200])


class _Keyed:
    """One request under a key that has no answer yet."""

    def __init__(self, call: KeyedCall) -> None:
        self.call, self.request, self.ledger, self.now_us = call, call.request, call.ledger, call.now_us

    def answer(self) -> Reply:
        """Raises msgspec.MsgspecError for a body that is not as it must be; nothing was done then."""
        match self.request.path.removeprefix("/").split("/"):
            case ["refunds"]:
                return self._refund(msgspec.json.decode(self.request.body, type=_Refund))
            case ["charges", name, "capture"]:
                return self._capture(name, msgspec.json.decode(self.request.body, type=_Capture).amount)
            case ["charges", name, "void"]:
                msgspec.json.decode(self.request.body, type=_Void)
                return self._void(name)
        return self._charge(msgspec.json.decode(self.request.body, type=_Charge))

    def _charge(self, wanted: _Charge) -> Reply:
        resumed = self.request.resumed
        plan = self._plan(wanted)
        if plan.does == "nothing":
            return self._nothing(plan)
        if plan.before_s and not resumed:
            return self.call.work_for(plan.before_s)
        answer = self._do(wanted, plan)
        if plan.answers == "error":
            answer = _error(500, "api_error", "internal_error")
        elif plan.answers == "garbage":
            answer = Reply(status=200, headers=answer.headers, body=answer.body[: len(answer.body) // 2])
        self.call.save(answer)
        return Reply(drop=True) if plan.answers == "never" else answer

    def _plan(self, wanted: _Charge) -> Plan:
        """What the token says. Without one a method that is completed elsewhere waits for the customer."""
        forced = wanted.metadata.get("forceFail") is True
        if not wanted.source and not forced and wanted.method in ACTED_AT:
            return Plan(does="act")
        return decide(self.ledger, wanted.source, wanted.reference, force_fail=forced, resumed=self.request.resumed)

    def _nothing(self, plan: Plan) -> Reply:
        if plan.answers == "limited":
            return _error(429, "rate_limit_error", "too_many_requests", retry_after="1")
        if plan.answers == "error":
            return _error(500, "api_error", "internal_error")
        return Reply(drop=True, hold_s=plan.before_s)

    def _do(self, wanted: _Charge, plan: Plan) -> Reply:
        doc = {
            "status": "processing",
            "amount": wanted.amount + plan.extra_minor,
            "captured": 0,
            "currency": wanted.currency,
            "decline_code": None,
            "then": "",
            "hold_s": 0 if wanted.capture else self.call.faults.hold_s,
        }
        charge = self.ledger.add(NAME, "charge", wanted.reference, doc, at_us=self.now_us)
        match plan.does:
            case "charge":
                charge = books.take(self.ledger, charge, self.now_us)
            case "decline":
                charge = books.fail(self.ledger, charge, plan.code, self.now_us)
                if plan.late_s:
                    books.later(self.ledger, charge, "take", self.now_us + int(plan.late_s * 1_000_000))
            case "act":
                charge = self._ask(wanted, plan, charge)
        if charge.doc["status"] == "failed":
            code = charge.doc["decline_code"]
            told = {"decline_code": code, "charge": books.charge_id(charge), "reference": wanted.reference}
            return _error(402, "card_error", "card_declined", **told)
        open_still = charge.doc["status"] in ("processing", "requires_action")
        return reply_json(202 if open_still else 200, books.charge_view(self.ledger, charge))

    def _ask(self, wanted: _Charge, plan: Plan, charge: Thing) -> Thing:
        """The customer has to act; where that time is over already, it has failed."""
        expires_s = wanted.action_expires_at or self.now_us // 1_000_000 + ACTION_S
        if expires_s * 1_000_000 <= self.now_us:
            return books.fail(self.ledger, charge, "action_expired", self.now_us)
        acts_us = self.now_us + int(plan.late_s * 1_000_000) if plan.late_s else 0
        kind = "upi_intent" if wanted.method == "upi" else "redirect"
        asked = charge.doc | {"action": kind, "expires_at": expires_s, "return_url": wanted.return_url}
        charge = books.ask(self.ledger, charge, asked, self.now_us)
        if acts_us and acts_us < expires_s * 1_000_000:
            return books.later(self.ledger, charge, plan.code or "take", acts_us)
        return books.later(self.ledger, charge, "action_expired", expires_s * 1_000_000)

    def _capture(self, name: str, amount: int) -> Reply:
        charge = self.ledger.thing(NAME, "charge", books.number(name))
        if charge is None or charge.doc["status"] != "authorized":
            return _error(400, "invalid_request_error", "no_such_charge" if charge is None else "charge_not_authorized")
        if amount > charge.doc["amount"]:
            return _error(400, "invalid_request_error", "capture_exceeds_hold")
        return self._done(books.charge_view(self.ledger, books.capture(self.ledger, charge, amount, self.now_us)))

    def _void(self, name: str) -> Reply:
        charge = self.ledger.thing(NAME, "charge", books.number(name))
        if charge is None or charge.doc["status"] != "authorized":
            return _error(400, "invalid_request_error", "no_such_charge" if charge is None else "charge_not_authorized")
        return self._done(books.charge_view(self.ledger, books.release(self.ledger, charge, "voided", self.now_us)))

    def _refund(self, wanted: _Refund) -> Reply:
        charge = self.ledger.thing(NAME, "charge", books.number(wanted.charge))
        if charge is None or charge.doc["status"] != "succeeded":
            return _error(400, "invalid_request_error", "no_such_charge")
        if books.given(self.ledger, charge, pending=True) + wanted.amount > books.captured(charge):
            return _error(400, "invalid_request_error", "refund_exceeds_charge")
        fate = self.call.faults.refunds
        refund = books.refund(self.ledger, charge, wanted.reference, wanted.amount, fate=fate, at_us=self.now_us)
        return self._done(books.refund_view(refund))

    def _done(self, view: dict[str, Any]) -> Reply:
        answer = reply_json(200, view)
        self.call.save(answer)
        return answer


def _listing(request: Request, ledger: Ledger, shown_until_us: int) -> Reply:
    query = request.query
    times = [query.get(name, "") for name in ("from", "before")]
    after = books.number(query["cursor"]) if "cursor" in query else 0
    if not all(t.isascii() and t.isdigit() and len(t) <= 18 for t in times) or ("cursor" in query and not after):
        return _error(400, "invalid_request_error", "invalid_window")
    before_us = min(int(times[1]), shown_until_us + 1)
    found = ledger.made(NAME, "charge", int(times[0]), before_us, after=after, limit=LISTED_MAX + 1)
    shown = found[:LISTED_MAX]
    more = {"next": books.charge_id(shown[-1])} if len(found) > len(shown) else {}
    return reply_json(200, {"data": [books.charge_view(ledger, c) for c in shown], **more})


def _error(status: int, kind: str, code: str, message: str = "", *, retry_after: str = "", **more: str) -> Reply:
    doc = {"error": {"type": kind, "code": code, **({"message": message} if message else {}), **more}}
    return reply_json(status, doc, retry_after=retry_after) if retry_after else reply_json(status, doc)


SIMULATOR: Final = MockVendor()
