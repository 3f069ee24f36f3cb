"""PayU's general APIs: one path, the form's ``command`` says what is asked. All answer 200."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from payonce.sandbox.faults import REFUND_LATE_S, REFUND_S, Profile
from payonce.sandbox.ledger import Ledger, Thing
from payonce.sandbox.simulator import Reply, reply_json

from .books import (
    KEY,
    NAME,
    SALT,
    SECOND_US,
    act_on,
    action_view,
    change,
    find,
    minor,
    money,
    name_of,
    refunded,
    release,
    request_of,
    reserved,
    sha512,
    state_of,
    take,
    time_text,
    time_us,
    verify_view,
)
from .saying_no import refused, spoilt

ROWS_MAX: Final = 1000
TOKEN_CHARS: Final = 23
DAY_US: Final = 86_400 * SECOND_US
NOT_FOUND: Final = {"mihpayid": "Not Found", "status": "Not Found"}


class Command:
    """One request. Lookups show what had happened ``lag_us`` ago."""

    def __init__(self, fields: Mapping[str, str], ledger: Ledger, faults: Profile, now_us: int) -> None:
        self.fields, self.ledger, self.faults, self.now_us = fields, ledger, faults, now_us
        self.at_us = now_us - faults.lookup_lag_ms * 1000
        self.var1, self.var2, self.var3 = (fields.get(f"var{n}", "") for n in (1, 2, 3))

    def answer(self) -> Reply:
        """Checked in the order of the documentation: key and hash, then what is asked."""
        command = self.fields.get("command", "")
        known: dict[str, Callable[[], Reply]] = {
            "verify_payment": self._verify,
            "check_payment": self._check,
            "check_action_status": self._actions,
            "getAllRefundsFromTxnIds": self._refunds,
            "get_transaction_info": self._between,
            "get_Transaction_Details": self._between,
            "capture_transaction": self._capture,
            "cancel_refund_transaction": self._give_back,
        }
        if self.fields.get("key") != KEY or not command:
            return refused("Parameter missing" if not command else "Invalid key")
        if self.fields.get("hash", "").lower() != sha512(f"{KEY}|{command}|{self.var1}|{SALT}"):
            return refused("Invalid Hash.")
        if command not in known:
            return refused("Invalid command")
        return known[command]() if self.var1 else refused("Parameter missing")

    # --- lookups ---

    def _verify(self) -> Reply:
        asked = self.var1.split("|")
        found = {txnid: verify_view(p, self.at_us) if (p := self._shown(txnid)) else NOT_FOUND for txnid in asked}
        count = sum(each is not NOT_FOUND for each in found.values())
        return _fetched(count, len(asked), found)

    def _check(self) -> Reply:
        payment = self._known("payment", self.var1)
        shown = verify_view(payment, self.at_us) if payment else NOT_FOUND
        return reply_json(200, {"status": 1, "msg": "Transaction Fetched Successfully", "transaction_details": shown})

    def _actions(self) -> Reply:
        """The actions on a payment, or one of them by its request id."""
        by_payment = self.var2 == "payuid"
        about = self._known("payment" if by_payment else "action", self.var1)
        done = [] if about is None else [about]
        if about and by_payment:
            done = [a for a in self.ledger.children(about.id) if a.at_us <= self.at_us]
        if not done:
            return _fetched(0, 1, {self.var1: "No action status found"})
        shown = {request_of(a): action_view(a, self._payment_of(a), self.at_us) for a in done}
        return _fetched(1, 1, {self.var1: shown})

    def _refunds(self) -> Reply:
        payment = self._shown(self.var1)
        if payment is None:
            return refused("Refunds not found")
        done = [a for a in self.ledger.children(payment.id) if a.at_us <= self.at_us and a.doc["action"] == "refund"]
        rows = [
            {
                "PayuID": name_of(payment),
                "RequestID": request_of(a),
                "RefundToken": a.reference,
                "Amount": money(a.doc["amount"]),
                "Status": state_of(a, self.at_us)["status"],
                "RefundCreationDate": time_text(a.at_us),
            }
            for a in done
        ]
        details = {name_of(payment): rows}
        return reply_json(200, {"status": 1, "msg": "Refunds fetched successfully.", "Refund Details": details})

    def _between(self) -> Reply:
        """Payments made from var1 to var2, both whole days for get_Transaction_Details."""
        first_us, last_us = time_us(self.var1), time_us(self.var2)
        if first_us is None or last_us is None:
            return refused("Invalid date")
        until_us = last_us + (DAY_US if self.fields["command"] == "get_Transaction_Details" else SECOND_US)
        made = self.ledger.made(NAME, "payment", first_us, min(until_us, self.at_us + 1), limit=ROWS_MAX)
        rows = [self._row(payment) for payment in made]
        return reply_json(200, {"status": 1, "msg": "Transaction Fetched Successfully", "Transaction_details": rows})

    def _row(self, payment: Thing) -> dict[str, Any]:
        state = state_of(payment, self.at_us)
        return {
            "id": name_of(payment),
            "status": state["unmappedstatus"],
            "key": KEY,
            "txnid": payment.reference,
            "addedon": time_text(payment.at_us),
            "amount": money(payment.doc["amount"]),
            "additional_charges": "0.00",
            "error_code": state.get("error", ""),
            "mode": payment.doc["mode"],
        }

    def _shown(self, txnid: str) -> Thing | None:
        """The payment of a txnid: the one that succeeded, else the last."""
        made = [p for p in self.ledger.by_reference(NAME, "payment", txnid) if p.at_us <= self.at_us]
        good = [p for p in made if state_of(p, self.at_us)["status"] == "success"]
        shown = good or made
        return shown[-1] if shown else None

    def _known(self, kind: str, named: str) -> Thing | None:
        thing = find(self.ledger, kind, named)
        return thing if thing and thing.at_us <= self.at_us else None

    def _payment_of(self, action: Thing) -> str:
        payment = self.ledger.thing(NAME, "payment", action.parent)
        return name_of(payment) if payment else ""

    # --- what moves money ---

    def _capture(self) -> Reply:
        payment, amount = find(self.ledger, "payment", self.var1), minor(self.var3)
        token = self.var2[:TOKEN_CHARS]
        if not token:
            return refused("Token is empty")
        if amount is None:
            return refused("Amount is empty")
        if payment is None:
            return refused("Transaction not exists", 116)
        state = state_of(payment)
        if self.ledger.by_reference(NAME, "action", token):
            return refused("Token already exists.", 106, payment)
        if "taken" in state:
            return refused("Capture already successful for this transaction", 301, payment)
        if state["unmappedstatus"] != "auth" or state.get("released"):
            return refused("Invalid transaction status", 111, payment)
        if amount > payment.doc["amount"]:
            return refused("Amount greater than maximum capturable amount", 303, payment)
        payment = take(self.ledger, payment, self.now_us, amount=amount, token=token, kind="capture")
        (action,) = self.ledger.by_reference(NAME, "action", token)
        # where only the answer goes wrong, the capture's goes wrong too; a second capture is refused plainly
        return spoilt(_queued("Capture Request Queued", "request_id", action, payment, 100), payment.doc["spoil"])

    def _give_back(self) -> Reply:
        """What is held is cancelled, what was taken is refunded."""
        payment, amount = find(self.ledger, "payment", self.var1), minor(self.var3)
        token = self.var2[:TOKEN_CHARS]
        if not token:
            return refused("Token is empty")
        if payment is None:
            return refused("Transaction not found", 116)
        if self.ledger.by_reference(NAME, "action", token):
            return refused("Token already exists", 106, payment)
        state = state_of(payment)
        if state["unmappedstatus"] == "captured":
            return self._refund(payment, token, amount, state["taken"])
        if state["unmappedstatus"] != "auth" or state.get("released"):
            return refused("Invalid transaction status", 111, payment)
        if amount != payment.doc["amount"]:
            return refused("The amount does not match", 117, payment)
        action = release(self.ledger, payment, token, self.now_us)
        return _queued("Cancel Request Queued", "txn_update_id", action, payment, 102)

    def _refund(self, payment: Thing, token: str, amount: int | None, taken: int) -> Reply:
        if amount is None or amount > taken - reserved(self.ledger, payment):
            return refused("Refund FAILURE - Invalid amount", 105, payment)
        fate = self.faults.refunds
        if fate == "fail":
            return refused("Refund FAILURE - Refund could not be initiated", 232, payment)
        action = act_on(self.ledger, payment, self.now_us, action="refund", token=token, amount=amount, status="queued")
        answer = _queued("Refund Request Queued", "request_id", action, payment, 102)
        if fate in ("plain", "fail_later"):
            action = refunded(self.ledger, payment, action, self.now_us, good=True)
        if fate != "plain":
            then = "succeed" if fate == "pending" else "fail"
            wait_s = REFUND_LATE_S if fate == "fail_later" else REFUND_S
            action = change(self.ledger, action, self.now_us, then=then)
            self.ledger.later(action, self.now_us + int(wait_s * SECOND_US))
        return answer


def _fetched(count: int, asked: int, details: Mapping[str, Any]) -> Reply:
    said = f"{count} out of {asked} Transactions Fetched Successfully"
    return reply_json(200, {"status": int(count > 0), "msg": said, "transaction_details": details})


def _queued(said: str, named: str, action: Thing, payment: Thing, code: int) -> Reply:
    about = {named: request_of(action), "bank_ref_num": None, "mihpayid": name_of(payment), "error_code": code}
    return reply_json(200, {"status": 1, "msg": said, **about})
