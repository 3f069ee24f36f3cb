"""PayU India as the sandbox plays it: paths, words, hashes and errors of docs.payu.in (stored copies, read 2026-11-26),
without the vendor.

POST /_payment                           a form, server to server (txn_s2s_flow=4); answered in JSON
POST /merchant/postservice.php?form=2    a form with ``command``: verify_payment, check_payment, check_action_status (by request
                                         id or payuid), getAllRefundsFromTxnIds, get_transaction_info, get_Transaction_Details,
                                         capture_transaction, cancel_refund_transaction

Both check key and hash of the account of the sandbox. A token of the sandbox travels as store_card_token, vpa or bankcode;
udf5 forceFail declines. A UPI address, a UPI intent or a bank that is no such token makes the customer act, on the page
of the sandbox, within half an hour. A txnid is refused once it succeeded; until then each use of it is a payment of its own.
A decline that turns into a charge is ``dropped`` first. With auth_only a payment is held and lapses like a cancel of
PayU's own. A token of a refund, cancel or capture counts once; it is cut to 23 characters, as in the vendor's samples.
Refunds are queued and end as the fault profile says; captures and cancels are done at once.

Milder than the vendor: the same amount may be refunded twice within 5 minutes (214 there), a capture has no tolerance that
could refuse a part, webhooks about refunds are signed. Unverified: the words of most refusals, and what a lapsed hold shows.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote

from payonce.core.money import AMOUNT_MINOR_MAX
from payonce.sandbox.faults import ACTION_S, Plan, Profile, decide
from payonce.sandbox.keys import BUSY_MARGIN_S
from payonce.sandbox.ledger import Ledger, Thing
from payonce.sandbox.pages import page_url
from payonce.sandbox.simulator import Reply, Request, Standing, reply_json

from .books import (
    CURRENCY,
    KEY,
    NAME,
    SALT,
    SECOND_US,
    change,
    fail,
    minor,
    money,
    name_of,
    payment_view,
    refunded,
    release,
    sha512,
    state_of,
    succeed,
)
from .commands import Command
from .saying_no import nothing, refused, spoilt

FIELDS_MAX: Final = 200
HASHED: Final = ("key", "txnid", "amount", "productinfo", "firstname", "email", *(f"udf{n}" for n in range(1, 6)))
MANDATORY: Final = ("txnid", "amount", "productinfo", "firstname", "email", "phone", "pg", "bankcode")
# normalised decline -> error, error_Message
ERRORS: Final[dict[str, tuple[str, str]]] = {
    "insufficient_funds": ("E706", "The account against which the payment was made has insufficient funds."),
    "stolen_card": ("E310", "Card has been classified as lost and has been blocked."),
    "do_not_honor": ("E307", "Transaction declined with do not honor"),
    "expired_card": ("E311", "Transaction declined due to invalid expiry details or the card is expired"),
    "invalid_card": ("E305", "The transaction failed due to invalid or absent card number."),
    "processing_error": ("E345", "Transaction declined due to technical failure"),
    "configuration": ("E341", "Transaction failed due to invalid merchant"),
    "forced_failure": ("E324", "Transaction was declined by the issuing bank due to suspected fraudulent activities"),
    "authentication_failed": ("E1000", "3-D secure authentication failed."),
}
DROPPED: Final = ("E1602", "Bank was unable to authenticate.")
CANCELLED: Final = ("E9205", "Customer Cancellation")
EXPIRED: Final = ("E507", "Transaction Expired")


class PayuVendor:
    """See the module docstring. ``Simulator``, ``Acting`` and ``Telling``."""

    def simulate(self, request: Request, ledger: Ledger, faults: Profile, now_us: int) -> Reply:
        try:
            fields = dict(parse_qsl(request.body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX))
        except ValueError:
            return refused("Parameter missing")
        if request.method == "POST" and request.path == "/_payment":
            return _Payment(fields, request, ledger, faults, now_us).answer()
        if request.method == "POST" and request.path in ("/merchant/postservice.php", "/merchant/postservice"):
            if request.query.get("form") != "2":
                return Reply(headers={"content-type": "text/html"}, body=b'a:1:{s:6:"status";i:0;}')
            return Command(fields, ledger, faults, now_us).answer()
        return Reply(status=404, headers={"content-type": "text/html"}, body=b"<html><body>404 Not Found</body></html>")

    def settle(self, ledger: Ledger, now_us: int) -> None:
        """What was said of a payment or refund to happen by itself happens."""
        while due := ledger.take_due(NAME, now_us):
            for due_us, thing in due:
                if thing.kind == "action":
                    payment = ledger.thing(NAME, "payment", thing.parent)
                    if payment and thing.doc["then"]:
                        refunded(ledger, payment, thing, due_us, good=thing.doc["then"] == "succeed")
                    continue
                match thing.doc["then"]:
                    case "succeed":
                        succeed(ledger, thing, due_us)
                    case "decline":
                        fail(ledger, thing, due_us, "failed", ERRORS[thing.doc["code"]])
                    case "expire":
                        fail(ledger, thing, due_us, "failed", EXPIRED)
                    case "lapse" if not state_of(thing).get("released"):
                        release(ledger, thing, "", due_us)

    def standing(self, ledger: Ledger, number: int) -> Standing | None:
        payment = ledger.thing(NAME, "payment", number)
        if payment is None:
            return None
        state = state_of(payment)
        return Standing(
            amount_minor=payment.doc["amount"],
            currency=CURRENCY,
            reference=payment.reference,
            open=_waits(payment),
            says=state["unmappedstatus"],
            return_url=payment.doc["asked"].get("surl" if state["status"] == "success" else "furl", ""),
        )

    def act(self, ledger: Ledger, number: int, now_us: int, *, approve: bool) -> None:
        payment = ledger.thing(NAME, "payment", number)
        if payment is None or not _waits(payment):
            return
        if approve:
            succeed(ledger, payment, now_us)
        else:
            fail(ledger, payment, now_us, "userCancelled", CANCELLED)

    def sign_webhook(self, body: bytes, now_us: int) -> Mapping[str, str]:
        """The hash is in the form itself."""
        del body, now_us
        return {"content-type": "application/x-www-form-urlencoded"}


class _Payment:
    """One payment."""

    def __init__(self, fields: dict[str, str], request: Request, ledger: Ledger, faults: Profile, now_us: int) -> None:
        self.fields, self.ledger, self.faults, self.now_us = fields, ledger, faults, now_us
        self.resumed = request.resumed

    def answer(self) -> Reply:
        fields, txnid = self.fields, self.fields.get("txnid", "")
        if missing := [name for name in MANDATORY if not fields.get(name)]:
            return refused(f"Parameter missing: {missing[0]}")
        said = "|".join([*(fields.get(name, "") for name in HASHED), "", "", "", "", "", SALT])
        if fields.get("key") != KEY or fields.get("hash", "").lower() != sha512(said):
            return refused("Invalid Hash.")
        amount = minor(fields["amount"])
        if amount is None or amount > AMOUNT_MINOR_MAX:
            return refused("Invalid amount")
        made = self.ledger.by_reference(NAME, "payment", txnid)
        if not self.resumed and any(state_of(p)["status"] == "success" for p in made):
            return reply_json(200, {"metaData": _meta(txnid, "failed", "duplicate Order ID"), "result": None})
        working = next((p for p in made if p.doc["then"] == "succeed" and p.doc["working"]), None)
        if self.resumed and working is None:  # it ended by itself meanwhile
            return self._final(made[-1])
        plan = decide(self.ledger, self._token(), txnid, force_fail=fields.get("udf5") == "forceFail", resumed=self.resumed)
        if plan.does == "nothing":
            return nothing(plan)
        payment = working if self.resumed and working else self._new(plan, amount)
        if plan.before_s and not self.resumed:
            payment = self.ledger.change(payment, payment.doc | {"then": "succeed", "working": True})
            self.ledger.later(payment, self.now_us + int((plan.before_s + BUSY_MARGIN_S) * SECOND_US))
            return Reply(hold_s=plan.before_s, resume=True)
        return spoilt(self._act(payment, plan), plan.answers)

    def _token(self) -> str:
        """What is no token of the sandbox, but an address or a bank, makes the customer act."""
        pays = {"UPI": "vpa", "NB": "bankcode"}.get(self.fields["pg"])
        if pays is None:
            return self.fields.get("store_card_token", "")
        token = self.fields.get(pays, "")
        return token if token.startswith("tok_") else "tok_action"

    def _new(self, plan: Plan, amount: int) -> Thing:
        doc = {
            "asked": {name: value for name, value in self.fields.items() if name not in ("key", "hash", "user_credentials")},
            "amount": amount + plan.extra_minor,
            "mode": self.fields["pg"],
            "manual": self.fields.get("auth_only") == "1",
            "hold_s": self.faults.hold_s,
            "spoil": plan.answers,
            "code": plan.code,
            "then": "",
            "working": False,
            "changes": [[self.now_us, {"status": "pending", "unmappedstatus": "pending"}]],
        }
        return self.ledger.add(NAME, "payment", self.fields["txnid"], doc, at_us=self.now_us)

    def _act(self, payment: Thing, plan: Plan) -> Reply:
        late_us = self.now_us + int(plan.late_s * SECOND_US)
        match plan.does:
            case "charge":
                payment = succeed(self.ledger, payment, self.now_us)
            case "decline" if plan.late_s:
                payment = fail(self.ledger, payment, self.now_us, "dropped", DROPPED, then="succeed")
                self.ledger.later(payment, late_us)
            case "decline":
                payment = fail(self.ledger, payment, self.now_us, "failed", ERRORS[plan.code])
            case "act":
                then = ("decline" if plan.code else "succeed") if plan.late_s else "expire"
                payment = change(self.ledger, payment, self.now_us, then=then, unmappedstatus="in progress")
                self.ledger.later(payment, late_us if plan.late_s else self.now_us + ACTION_S * SECOND_US)
                return self._open(payment)
        return self._final(payment)

    def _final(self, payment: Thing) -> Reply:
        view = payment_view(payment)
        return reply_json(200, {"metaData": _meta(payment.reference, view["status"]), "result": view})

    def _open(self, payment: Thing) -> Reply:
        """Where the customer goes: a UPI link, nowhere for an address that was asked, else the bank's page."""
        url = page_url(self.ledger, NAME, payment.id)
        form = f'<html><body><form name="payment_post" action="{url}" method="get"></form></body></html>'
        result: dict[str, Any] = {"otpPostUrl": "", "acsTemplate": base64.b64encode(form.encode()).decode()}
        if self.fields["pg"] == "UPI":
            shop = {"paymentId": name_of(payment), "merchantName": "Sandbox", "merchantVpa": "shop@payu"}
            result = {**shop, "amount": money(payment.doc["amount"])}
            if self.fields["bankcode"] == "INTENT":
                paid = f"tr={name_of(payment)}&am={money(payment.doc['amount'])}&cu={CURRENCY}&tn=UPIIntent"
                result["intentURIData"] = f"pa=shop@payu&pn=Sandbox&{paid}&url={quote(url, safe='')}"
        return reply_json(200, {"metaData": _meta(payment.reference, "pending"), "result": result})


def _waits(payment: Thing) -> bool:
    return bool(state_of(payment)["unmappedstatus"] == "in progress")


def _meta(txnid: str, status: str, message: str | None = None) -> dict[str, Any]:
    reference = sha512(txnid)[:64]
    said = {"message": message, "referenceId": reference, "statusCode": None, "txnId": txnid}
    return {**said, "txnStatus": "Enrolled" if status == "pending" else status, "unmappedStatus": status}


SIMULATOR: Final = PayuVendor()
