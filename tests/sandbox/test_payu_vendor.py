"""The PayU of the sandbox by itself: what it refuses, what it shows, and that it forgets nothing."""

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest

from payonce.providers.payu import ADAPTER
from payonce.sandbox.faults import HELD_S, LATE_S, SLOW_S, Profile
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.payu import SIMULATOR
from payonce.sandbox.payu.books import KEY, SALT
from payonce.sandbox.simulator import Reply, Request

S = 1_000_000
NOW = 1_800_000_000 * S
PAYMENT = "06ex4k2m9p7q8r5s3t01"
TXNID = PAYMENT + "0100"
ORDER = ("key", "txnid", "amount", "productinfo", "firstname", "email", "udf1", "udf2", "udf3", "udf4", "udf5")


class Vendor:
    """A vendor with its books and a clock that is set by hand."""

    def __init__(self, path: str | Path = ":memory:") -> None:
        self.ledger, self.now, self.faults = Ledger(path), NOW, Profile()

    def post(self, path: str, body: bytes, *, query: dict[str, str] | None = None, resumed: bool = False) -> Reply:
        request = Request(method="POST", path=path, query=query or {}, body=body, resumed=resumed)
        with self.ledger.transaction():
            SIMULATOR.settle(self.ledger, self.now)
            return SIMULATOR.simulate(request, self.ledger, self.faults, self.now)

    def pay(self, *, salt: str = SALT, resumed: bool = False, **more: Any) -> Reply:
        form = {
            "key": KEY,
            "txnid": TXNID,
            "amount": "5.00",
            "productinfo": "mug",
            "firstname": "Ana",
            "email": "a@shop.example",
        }
        form |= {"phone": "9999999999", "pg": "CC", "bankcode": "CC", "store_card_token": "tok_ok", "txn_s2s_flow": "4", **more}
        said = "|".join([*(form.get(name, "") for name in ORDER), "", "", "", "", "", salt])
        signed = {**form, "hash": hashlib.sha512(said.encode()).hexdigest()}
        return self.post("/_payment", urlencode(signed).encode(), resumed=resumed)

    def command(self, command: str, *values: str, salt: str = SALT) -> dict[str, Any]:
        said = f"{KEY}|{command}|{values[0] if values else ''}|{salt}"
        form = {"key": KEY, "command": command, **{f"var{n}": v for n, v in enumerate(values, 1)}}
        form["hash"] = hashlib.sha512(said.encode()).hexdigest()
        return doc(self.post("/merchant/postservice.php", urlencode(form).encode(), query={"form": "2"}))

    def paid(self, **more: Any) -> str:
        """The id of a payment after a fire that was answered."""
        return str(doc(self.pay(**more))["result"]["mihpayid"])

    def shown(self, txnid: str = TXNID) -> dict[str, Any]:
        return dict(self.command("verify_payment", txnid)["transaction_details"][txnid])

    def moves(self) -> list[tuple[str, int]]:
        return [(m.kind, m.amount) for m in self.ledger.movements()]


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


def doc(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200
    return dict(json.loads(reply.body))


def test_it_knows_the_credentials_that_the_adapter_brings() -> None:
    """Neither imports the other, so a change of one alone shows here."""
    assert dict(ADAPTER.SANDBOX_CREDENTIALS) == {"key": KEY, "salt": SALT}


@pytest.mark.parametrize("field", ORDER[1:])
def test_every_hashed_field_is_checked(vendor: Vendor, field: str) -> None:
    """What is changed after signing is refused, and nothing is booked."""
    form = {"key": KEY, "txnid": TXNID, "amount": "5.00", "productinfo": "mug", "firstname": "Ana", "email": "a@shop.example"}
    form |= {f"udf{n}": f"u{n}" for n in range(1, 6)} | {"phone": "1", "pg": "CC", "bankcode": "CC"}
    said = "|".join([*(form[name] for name in ORDER), "", "", "", "", "", SALT])
    signed = {**form, "hash": hashlib.sha512(said.encode()).hexdigest()}
    changed = signed | {field: "6.00" if field == "amount" else signed[field] + "x"}
    assert doc(vendor.post("/_payment", urlencode(changed).encode()))["msg"] == "Invalid Hash."
    assert vendor.moves() == []
    assert doc(vendor.post("/_payment", urlencode(signed).encode()))["metaData"]["txnStatus"] == "success"


def test_a_wrong_salt_is_refused_everywhere(vendor: Vendor) -> None:
    """Payments and commands alike."""
    assert doc(vendor.pay(salt="x"))["msg"] == "Invalid Hash."
    assert vendor.command("verify_payment", TXNID, salt="x") == {"status": 0, "msg": "Invalid Hash."}


@pytest.mark.parametrize("name", ["txnid", "amount", "productinfo", "firstname", "email", "phone", "pg", "bankcode"])
def test_mandatory_fields(vendor: Vendor, name: str) -> None:
    """What the documentation calls mandatory is."""
    assert doc(vendor.pay(**dict[str, Any]({name: ""})))["msg"] == f"Parameter missing: {name}"


@pytest.mark.parametrize("amount", ["0", "0.00", "-1", "1.234", "1e3", "ten", "99999999999.00"])
def test_amounts_that_are_none(vendor: Vendor, amount: str) -> None:
    """Positive rupees with at most two places."""
    assert doc(vendor.pay(amount=amount))["msg"] == "Invalid amount"


def test_odd_requests_are_answered(vendor: Vendor) -> None:
    """Any path, command or body; without form=2 the answer is no JSON, as at the vendor."""
    assert vendor.post("/nowhere", b"").status == 404
    assert vendor.post("/_payment", b"\xff\xfe").status == 200
    assert vendor.post("/merchant/postservice.php", b"").headers["content-type"] == "text/html"
    assert vendor.command("make_coffee", "1")["msg"] == "Invalid command"
    assert vendor.command("verify_payment")["msg"] == "Parameter missing"
    assert vendor.post("/_payment", b"a=1&" * 5000).status == 200


def test_verify_shows_each_txnid_that_is_asked(vendor: Vendor) -> None:
    """Several in one call; what is not there says so, and the status above counts the found ones."""
    vendor.pay()
    asked = vendor.command("verify_payment", f"{TXNID}|{PAYMENT}0101")
    assert (asked["status"], asked["msg"]) == (1, "1 out of 2 Transactions Fetched Successfully")
    assert asked["transaction_details"][PAYMENT + "0101"] == {"mihpayid": "Not Found", "status": "Not Found"}
    assert asked["transaction_details"][TXNID]["unmappedstatus"] == "captured"
    assert vendor.command("verify_payment", "nobody")["status"] == 0


def test_a_payment_is_found_by_its_id_too(vendor: Vendor) -> None:
    """check_payment answers without the txnid around it."""
    named = vendor.paid()
    assert vendor.command("check_payment", named)["transaction_details"]["txnid"] == TXNID
    assert vendor.command("check_payment", "1")["transaction_details"]["status"] == "Not Found"
    for odd in ("²", "-1", "9" * 30, "abc"):
        assert vendor.command("check_payment", odd)["transaction_details"]["status"] == "Not Found"


def test_a_success_hides_the_failures_of_its_txnid(vendor: Vendor) -> None:
    """verify_payment shows the payment that took the money, whichever was last."""
    vendor.pay(store_card_token="tok_decline_do_not_honor")
    assert vendor.shown()["error_code"] == "E307"
    vendor.pay(store_card_token="tok_late_success")
    good = vendor.paid()
    assert vendor.shown()["mihpayid"] == good


def test_dropped_becomes_captured(vendor: Vendor) -> None:
    """Failure says the status, until the bank has answered after all."""
    vendor.pay(store_card_token="tok_late_success")
    assert (vendor.shown()["status"], vendor.shown()["unmappedstatus"]) == ("failure", "dropped")
    vendor.now += int(LATE_S * S)
    assert (vendor.shown()["status"], vendor.shown()["unmappedstatus"]) == ("success", "captured")
    assert vendor.moves() == [("charge", 500)]


def test_slow_payments_go_on_without_the_client(vendor: Vendor) -> None:
    """While it works it is pending; it ends when the time is over, also when the process died meanwhile."""
    assert vendor.pay(store_card_token="tok_slow_5s") == Reply(hold_s=SLOW_S, resume=True)
    assert vendor.shown()["unmappedstatus"] == "pending"
    vendor.now += int(SLOW_S * S)
    assert doc(vendor.pay(store_card_token="tok_slow_5s", resumed=True))["result"]["status"] == "success"
    vendor.now += 60 * S
    assert vendor.shown()["status"] == "success"
    assert vendor.moves() == [("charge", 500)]
    other = Vendor()
    other.pay(store_card_token="tok_slow_5s")
    other.now += 60 * S
    assert other.shown()["status"] == "success"
    assert doc(other.pay(store_card_token="tok_slow_5s", resumed=True))["result"]["status"] == "success"
    assert other.moves() == [("charge", 500)]


def test_an_answer_that_never_comes_leaves_nothing(vendor: Vendor) -> None:
    """Held until the client gives up, and then nothing was done."""
    assert vendor.pay(store_card_token="tok_timeout_then_ok") == Reply(drop=True, hold_s=HELD_S)
    assert vendor.shown()["status"] == "Not Found"


def test_a_lost_answer_leaves_the_charge(vendor: Vendor) -> None:
    """Dropped, garbled or replaced by a 500 after the money moved."""
    assert vendor.pay(store_card_token="tok_lost_response").drop
    assert vendor.pay(txnid=PAYMENT + "0101", store_card_token="tok_500_after_charge").status == 500
    with pytest.raises(msgspec.DecodeError, match="truncated"):
        msgspec.json.decode(vendor.pay(txnid=PAYMENT + "0102", store_card_token="tok_garbage_response").body)
    assert vendor.moves() == [("charge", 500)] * 3


def test_the_rate_limit_is_a_sentence(vendor: Vendor) -> None:
    """200, as the vendor has it."""
    assert doc(vendor.pay(store_card_token="tok_rate_limited")) == {"status": 0, "msg": "Requests limit reached"}


# --- actions ----------------------------------------------------------------------------------------------------------


def test_actions_are_shown_by_payment_and_by_request(vendor: Vendor) -> None:
    """An automatic capture stands there without a token, a refund with ours."""
    named = vendor.paid()
    asked = vendor.command("cancel_refund_transaction", named, "r1", "2.00")
    assert (asked["status"], asked["msg"], asked["mihpayid"]) == (1, "Refund Request Queued", named)
    listed = vendor.command("check_action_status", named, "payuid")["transaction_details"][named]
    assert [(a["action"], a["token"], a["amt"], a["status"]) for a in listed.values()] == [
        ("capture", "", "5.00", "SUCCESS"),
        ("refund", "r1", "2.00", "success"),
    ]
    one = vendor.command("check_action_status", asked["request_id"])
    assert one["transaction_details"] == {asked["request_id"]: {asked["request_id"]: listed[asked["request_id"]]}}
    refunds = vendor.command("getAllRefundsFromTxnIds", TXNID)["Refund Details"][named]
    assert [(r["RefundToken"], r["Amount"], r["Status"]) for r in refunds] == [("r1", "2.00", "success")]
    for value, more in (("1", "payuid"), (asked["request_id"], "payuid"), (named, "")):
        nothing = vendor.command("check_action_status", value, more)
        assert nothing["transaction_details"] == {value: "No action status found"}
    assert vendor.command("getAllRefundsFromTxnIds", "nobody")["status"] == 0


def test_a_token_counts_once_in_the_account(vendor: Vendor) -> None:
    """Over all payments and actions, and only its first 23 characters count."""
    first, second = vendor.paid(), vendor.paid(txnid=PAYMENT + "0101")
    long = "t" * 23
    assert vendor.command("cancel_refund_transaction", first, long + "1", "1.00")["status"] == 1
    for payment, token in ((first, long), (second, long + "2")):
        again = vendor.command("cancel_refund_transaction", payment, token, "1.00")
        assert (again["status"], again["error_code"]) == (0, 106)
    assert vendor.moves() == [("charge", 500), ("charge", 500), ("refund", 100)]


@pytest.mark.parametrize(
    ("command", "values", "code"),
    [
        ("capture_transaction", ("1", "t", "1.00"), 116),
        ("capture_transaction", ("PAID", "t", "1.00"), 301),
        ("capture_transaction", ("FAILED", "t", "1.00"), 111),
        ("capture_transaction", ("HELD", "t", "5.01"), 303),
        ("cancel_refund_transaction", ("1", "t", "1.00"), 116),
        ("cancel_refund_transaction", ("FAILED", "t", "1.00"), 111),
        ("cancel_refund_transaction", ("PAID", "t", "5.01"), 105),
        ("cancel_refund_transaction", ("PAID", "t", "0"), 105),
        ("cancel_refund_transaction", ("HELD", "t", "4.99"), 117),
    ],
)
def test_what_cannot_be_done_is_refused(vendor: Vendor, command: str, values: tuple[str, ...], code: int) -> None:
    """With the vendor's code, and without a movement."""
    names = {
        "PAID": vendor.paid(),
        "FAILED": vendor.paid(txnid=PAYMENT + "0101", store_card_token="tok_decline_stolen_card"),
        "HELD": vendor.paid(txnid=PAYMENT + "0102", auth_only="1"),
    }
    before = vendor.moves()
    said = vendor.command(command, *(names.get(v, v) for v in values))
    assert (said["status"], said["error_code"]) == (0, code)
    assert vendor.moves() == before


def test_days_and_times_of_a_listing(vendor: Vendor) -> None:
    """By the second, or by whole days of India; odd dates are refused."""
    vendor.pay()
    rows = vendor.command("get_transaction_info", "2027-01-15 13:30:00", "2027-01-15 13:30:00")["Transaction_details"]
    assert [(r["txnid"], r["status"], r["amount"], r["addedon"]) for r in rows] == [
        (TXNID, "captured", "5.00", "2027-01-15 13:30:00")
    ]
    assert vendor.command("get_transaction_info", "2027-01-15 13:30:01", "2027-01-16 00:00:00")["Transaction_details"] == []
    assert len(vendor.command("get_Transaction_Details", "2027-01-15", "2027-01-15")["Transaction_details"]) == 1
    assert vendor.command("get_Transaction_Details", "2027-01-14", "2027-01-14")["Transaction_details"] == []
    assert vendor.command("get_transaction_info", "soon", "later")["status"] == 0


def test_it_forgets_nothing(tmp_path: Path) -> None:
    """What one process did, another one shows."""
    Vendor(tmp_path / "ledger.db").pay()
    assert Vendor(tmp_path / "ledger.db").shown()["status"] == "success"


def test_webhooks_carry_the_answer_and_its_hash(vendor: Vendor) -> None:
    """A form of the same fields; its hash is the documented one."""
    vendor.pay(udf1="u1", udf5="u5")
    (event,) = vendor.ledger.deliveries.events(0, 10)
    form = dict(parse_qsl(event.body.decode(), keep_blank_values=True))
    line = f"{SALT}|success||||||u5||||u1|a@shop.example|Ana|mug|5.00|{TXNID}|{KEY}"
    assert form["hash"] == hashlib.sha512(line.encode()).hexdigest()
    assert event.event_id == f"{form['txnid']}/success/captured"
    assert SIMULATOR.sign_webhook(event.body, NOW) == {"content-type": "application/x-www-form-urlencoded"}


def test_a_page_of_nobody() -> None:
    """Neither a page nor a decision without a payment."""
    vendor = Vendor()
    assert SIMULATOR.standing(vendor.ledger, 7) is None
    SIMULATOR.act(vendor.ledger, 7, NOW, approve=True)
    assert vendor.moves() == []
