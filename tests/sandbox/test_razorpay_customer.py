"""The vendor like Razorpay, where the customer acts: redirects, UPI requests and links, and what becomes of them."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from payonce.sandbox.faults import ACTS_S, Profile
from payonce.sandbox.pages import NOWHERE, PUBLIC_URL

from .razorpay_by_hand import PAYMENT, S, Vendor, doc, field, reason

INTENT: dict[str, Any] = {"method": "upi", "token": "", "upi": {"flow": "intent"}}
COLLECT: dict[str, Any] = {"method": "upi", "token": "", "upi": {"flow": "collect", "vpa": "ana@exampleupi", "expiry_time": 10}}


def number_of(payment: str) -> int:
    return int(payment.removeprefix("pay_"))


def waiting(v: Vendor, **more: Any) -> str:
    """The id of a payment that waits for the customer, on a new order."""
    answer = doc(v.fire(v.order(), **{"token": "tok_action", **more}))
    assert v.payment(answer["razorpay_payment_id"])["status"] == "created"
    return str(answer["razorpay_payment_id"])


def test_a_card_is_redirected_to_the_page() -> None:
    """The answer names the page of the payment; nothing is booked, and only the page decides, however long it takes."""
    v = Vendor()
    answer = doc(v.fire(v.order(), "tok_action", callback_url="https://shop.example/back"))
    payment = answer["razorpay_payment_id"]
    assert answer["next"] == [{"action": "redirect", "url": f"{NOWHERE}/sandbox/pay/razorpay/{number_of(payment)}"}]
    v.now += 100 * 24 * 3600 * S
    assert (v.payment(payment)["status"], v.moves(), v.told()) == ("created", [], [])
    standing = v.vendor.standing(v.ledger, number_of(payment))
    assert standing is not None
    assert (standing.open, standing.says, standing.return_url) == (True, "created", "https://shop.example/back")
    assert (standing.amount_minor, standing.currency, standing.reference) == (500, "INR", PAYMENT + "0100")


@pytest.mark.parametrize(("approve", "status"), [(True, "authorized"), (False, "failed")])
def test_the_page_decides_once(approve: bool, status: str) -> None:
    """Approved it is held, declined it failed for good; the other answer comes too late, and so does the same one."""
    v = Vendor()
    payment = waiting(v)
    with v.ledger.transaction():
        for each in (approve, not approve, approve):
            v.vendor.act(v.ledger, number_of(payment), v.now, approve=each)
    decided = v.payment(payment)
    assert (decided["status"], decided["error_reason"]) == (status, None if approve else "authentication_failed")
    assert v.moves() == ([("authorize", 500)] if approve else [])
    assert v.told() == [f"payment.{status}"]
    standing = v.vendor.standing(v.ledger, number_of(payment))
    assert standing is not None
    assert (standing.open, standing.says) == (False, status)


def test_there_is_a_page_only_where_the_customer_acts() -> None:
    """No other payment, and no other object, has a page; acting there changes nothing."""
    v = Vendor()
    held = number_of(v.held())
    for number in (held, held - 1, 10**6):
        assert v.vendor.standing(v.ledger, number) is None
        v.vendor.act(v.ledger, number, v.now, approve=False)
    assert v.moves() == [("authorize", 500)]


@pytest.mark.parametrize(
    ("token", "status", "why"),
    [("tok_action_ok", "authorized", None), ("tok_action_decline", "failed", "authentication_failed")],
)
def test_a_customer_who_acts_by_himself(token: str, status: str, why: str | None) -> None:
    """Three seconds later, not before; the page is over then."""
    v = Vendor()
    payment = waiting(v, token=token)
    v.now += int(ACTS_S * S) - 1
    assert v.payment(payment)["status"] == "created"
    v.now += 1
    assert (v.payment(payment)["status"], v.payment(payment)["error_reason"]) == (status, why)
    with v.ledger.transaction():
        v.vendor.act(v.ledger, number_of(payment), v.now, approve=True)
    assert v.payment(payment)["status"] == status


def test_who_was_faster_than_the_token_decides() -> None:
    """Declined on the page before the customer would have approved by himself: it stays declined."""
    v = Vendor()
    payment = waiting(v, token="tok_action_ok")
    with v.ledger.transaction():
        v.vendor.act(v.ledger, number_of(payment), v.now, approve=False)
    v.now += int(ACTS_S * S)
    assert (v.payment(payment)["status"], v.moves()) == ("failed", [])


def test_a_upi_intent_is_a_link_for_an_app() -> None:
    """create/upi names it as link, create/json among the next steps; it has the money in major units, and the page."""
    v = Vendor()
    with v.ledger.transaction():
        v.ledger.set_setting(PUBLIC_URL, b"https://sandbox.example")
    linked = doc(v.fire(v.order(), how="upi", **INTENT))
    assert set(linked) == {"razorpay_payment_id", "link"}
    asked = urlsplit(linked["link"])
    told = parse_qs(asked.query)
    assert (asked.scheme, told["am"], told["cu"], told["tr"]) == ("upi", ["5.00"], ["INR"], [linked["razorpay_payment_id"]])
    assert told["url"] == [f"https://sandbox.example/sandbox/pay/razorpay/{number_of(linked['razorpay_payment_id'])}"]
    stepped = doc(v.fire(v.order(PAYMENT + "0101"), how="json", **INTENT))
    assert [step["action"] for step in stepped["next"]] == ["intent", "poll"]
    assert stepped["next"][0]["url"].startswith("upi://pay?")


def test_a_upi_address_is_asked_until_the_request_runs_out() -> None:
    """The answer names the payment only (create/upi) or how to ask for it (create/json); after expiry_time it failed."""
    v = Vendor()
    order = v.order()
    answer = doc(v.fire(order, how="upi", **COLLECT))
    assert list(answer) == ["razorpay_payment_id"]
    assert v.payment(answer["razorpay_payment_id"])["vpa"] == "ana@exampleupi"
    v.now += 600 * S - 1
    assert v.payments(order)[0]["status"] == "created"
    v.now += 1
    expired = v.payments(order)[0]
    assert (expired["status"], expired["error_reason"]) == ("failed", "payment_collect_request_expired")
    stepped = doc(v.fire(v.order(PAYMENT + "0101"), how="json", **COLLECT))
    assert [step["action"] for step in stepped["next"]] == ["poll"]


def test_an_approved_request_does_not_run_out() -> None:
    """What was approved in time stays held when the request's time is over."""
    v = Vendor()
    answer = doc(v.fire(v.order(), how="upi", **COLLECT))
    with v.ledger.transaction():
        v.vendor.act(v.ledger, number_of(answer["razorpay_payment_id"]), v.now, approve=True)
    v.now += 600 * S
    assert v.payment(answer["razorpay_payment_id"])["status"] == "authorized"


@pytest.mark.parametrize(
    ("vpa", "status", "why"),
    [("success@razorpay", "authorized", None), ("failure@razorpay", "failed", "payment_declined")],
)
def test_the_vendors_addresses_for_tests(vpa: str, status: str, why: str | None) -> None:
    """They decide by themselves, as in the vendor's test mode."""
    v = Vendor()
    upi = {"flow": "collect", "vpa": vpa, "expiry_time": 5}
    answer = doc(v.fire(v.order(), how="upi", method="upi", token="", upi=upi))
    v.now += int(ACTS_S * S)
    decided = v.payment(answer["razorpay_payment_id"])
    assert (decided["status"], decided["error_reason"]) == (status, why)


def test_a_saved_upi_address_does_what_the_token_says() -> None:
    """tok_ok is approved at once, and the answer says to ask for it; a decline is a 400."""
    v = Vendor()
    answer = doc(v.fire(v.order(), "tok_ok", how="upi", method="upi"))
    assert [step["action"] for step in answer["next"]] == ["poll"]
    assert v.payment(answer["razorpay_payment_id"])["status"] == "authorized"
    assert reason(v.fire(v.order(PAYMENT + "0101"), "tok_decline_do_not_honor", how="upi", method="upi")) == "card_declined"


@pytest.mark.parametrize("method", ["netbanking", "wallet"])
def test_a_bank_or_a_wallet_is_a_redirect(method: str) -> None:
    """Any code waits for the page; a token of the sandbox in its place is obeyed."""
    v = Vendor()
    place = {"netbanking": "bank", "wallet": "wallet"}[method]
    code: dict[str, Any] = {place: "HDFC"}
    waits = doc(v.fire(v.order(), "", method=method, **code))
    assert [step["action"] for step in waits["next"]] == ["redirect"]
    assert v.payment(waits["razorpay_payment_id"])[place] == "HDFC"
    code = {place: "tok_ok"}
    taken = doc(v.fire(v.order(PAYMENT + "0101"), "", method=method, **code))
    assert v.payment(taken["razorpay_payment_id"])["status"] == "authorized"


def test_upi_needs_an_address_a_token_or_an_intent() -> None:
    """Without any of them there is nobody to ask; times and flows that the vendor does not have are refused."""
    v = Vendor()
    order = v.order()
    for upi in (None, {"flow": "collect"}, {"flow": "collect", "vpa": "nobody"}):
        assert field(v.fire(order, "", how="upi", method="upi", upi=upi)) == "vpa"
    for odd in ({"expiry_time": 0}, {"expiry_time": 5761}, {"flow": "guess"}):
        asked = {"flow": "collect", "vpa": "ana@exampleupi", **odd}
        assert reason(v.fire(order, "", how="upi", method="upi", upi=asked)) == "input_validation_failed"
    assert v.payments(order) == []


def test_an_order_takes_one_try_while_the_customer_acts() -> None:
    """A second fire is refused; after a decline the order can be paid."""
    v = Vendor()
    order = v.order()
    payment = doc(v.fire(order, "tok_action"))["razorpay_payment_id"]
    assert reason(v.fire(order)) == "duplicate_request"
    with v.ledger.transaction():
        v.vendor.act(v.ledger, number_of(payment), v.now, approve=False)
    assert v.fire(order).status == 200
    assert v.moves() == [("authorize", 500)]


def test_force_fail_wins_over_waiting() -> None:
    """notes.forceFail declines where the customer would have been asked."""
    v = Vendor()
    refused = v.fire(v.order(), how="upi", notes={"forceFail": "true"}, **INTENT)
    assert reason(refused) == "payment_risk_check_failed"


def test_a_hold_lapses_sooner_on_demand() -> None:
    """The fault profile's holdS counts where it is less than what the order named."""
    v = Vendor()
    v.faults = Profile(hold_s=60)
    held = v.held()
    v.now += 60 * S - 1
    assert v.payment(held)["status"] == "authorized"
    v.now += 1
    assert (v.payment(held)["status"], v.payment(held)["captured"]) == ("refunded", False)
    assert v.moves() == [("authorize", 500), ("void", 500)]
