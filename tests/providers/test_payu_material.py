"""What PayU itself publishes, as small cases: the hashes that its SDKs test with, a callback of its test environment, and
samples of its answers (payu-india/payu-sdk-node of 2021-05-13, payu-intrepos/web-sdk-java, web-sdk-nodejs and web-sdk-php,
copies of 2026-11-26; docs.payu.in, copies of 2026)."""

from typing import Any
from urllib.parse import urlencode

import pytest
from msgspec.structs import replace
from tests.providers.test_payu import FIRE, MIHPAYID, REFERENCE, fields, said

from payonce.adapter import Absent, Declined, Found, HttpRequest, Listing, Refunding, Succeeded, Unknown, WebhookRefused, Window
from payonce.providers.payu import ADAPTER
from payonce.providers.payu.building import signed
from payonce.providers.payu.words import time_us

READ = replace(FIRE, kind="read")
# key and salt of the vendor's own test accounts, as its SDKs publish them
NODE, JAVA = ("bjg$121", "vhgvs75"), ("QyT13U", "UnJ0FGO0kt3dUgnHo9Xgwi0lpipBV0hB")
MOBILE = {"txnid": "3123", "amount": "1000", "productinfo": "mobile", "firstname": "Jacob", "email": "test@payu.in"}
IPHONE = {"txnid": "qazwsxedc3435366566", "amount": "10.00", "productinfo": "iphone", "firstname": "sumit"}
IPHONE |= {"email": "test@payu.in"}


@pytest.mark.parametrize(
    ("account", "form", "begins", "ends"),
    [
        (NODE, MOBILE, "19d0822939b32b371847521c89aba3521de3a9bf", "277b1b91ad38b8"),
        (JAVA, IPHONE, "3cf6a0ac88bc0e3ae6714888a6a055506601673b", "b59d844a9b25e43"),
        (JAVA, IPHONE | {"udf1": "aaa"}, "39cab2e2e7676e3bb559c39554d160a691aed12a", "bb2958963178"),
    ],
    ids=["node", "java", "java with udf1"],
)
def test_the_request_hash_is_that_of_the_sdks(account: tuple[str, str], form: dict[str, str], begins: str, ends: str) -> None:
    """The same fields under the same key and salt have the hash that the vendor's tests expect."""
    made = fields(signed(urlencode(form).encode(), *account))["hash"]
    assert made.startswith(begins)
    assert made.endswith(ends)
    assert len(made) == 128


NODE_REVERSE = (
    "687c82156a84271a7a6c63d0e8774d5ac567d9b894a334a47d72e47b72392a51"
    "67a1b2add5b253490b70731d9eb3e3a3b7225e0c5f26829befafbbee71977c4c"
)
# of a callback that the test environment sent on 2022-10-04, as the SDK for Java shows it
CALLBACK = {
    "mihpayid": "403993715527420613",
    "status": "success",
    "unmappedstatus": "captured",
    "key": JAVA[0],
    "txnid": "41ec90553503f0fe603a",
    "amount": "10.00",
    "productinfo": "Product Info",
    "firstname": "Payu-Admin",
    "email": "test@example.com",
    "hash": "10d2c0faf693c0ec7eb23129700cbf992ea02def8c3d91d4603efd841f2a4344"
    "c08b414f3024a5d0d8d55c1757285230ffac34ff71867d8fc94764f5966e0751",
}


@pytest.mark.parametrize(
    ("form", "salt"),
    [({**MOBILE, "key": NODE[0], "status": "success", "hash": NODE_REVERSE}, NODE[1]), (CALLBACK, JAVA[1])],
    ids=["node", "callback"],
)
def test_the_response_hash_is_that_of_the_vendor(form: dict[str, str], salt: str) -> None:
    """The reverse hash of the SDK, and one that PayU itself made, are taken; with another status or salt neither is."""
    ADAPTER.verify_webhook({}, urlencode(form).encode(), [salt], 0)
    for changed, secret in ((form | {"status": "failure"}, salt), (form | {"amount": "1"}, salt), (form, salt + "x")):
        with pytest.raises(WebhookRefused):
            ADAPTER.verify_webhook({}, urlencode(changed).encode(), [secret], 0)


def test_the_callback_names_its_payment() -> None:
    """By our txnid and by PayU's number."""
    told = ADAPTER.parse_webhook({}, urlencode(CALLBACK).encode())
    assert (told.kind, told.references, told.refs) == ("success", (CALLBACK["txnid"],), (CALLBACK["mihpayid"],))


def shown(**entry: Any) -> Any:
    """What a read makes of an entry of verify_payment; of a charge with no actions on it."""
    whole = {"mihpayid": MIHPAYID, "txnid": REFERENCE, "addedon": "2020-10-26 14:12:13", "error_code": "E000", **entry}
    first = said(
        {"status": 1, "msg": "1 out of 1 Transactions Fetched Successfully", "transaction_details": {REFERENCE: whole}}
    )
    asked = ADAPTER.parse_read(READ, first)
    if not isinstance(asked, HttpRequest):
        return asked
    nothing = {"status": 0, "msg": "0 out of 1 Transactions Fetched Successfully"}
    second = said(nothing | {"transaction_details": {MIHPAYID: "No action status found"}})
    return ADAPTER.parse_read(replace(READ, seen=(first,)), second)


@pytest.mark.parametrize(
    ("amt", "asked", "charges", "minor"),
    [
        ("42.00", "42.00", "0.00", 4200),
        ("43.50", "42.00", "1.50", 4200),  # the customer pays the charges besides
        ("42.00", "42.00", "1.50", 4200),  # they are not in the amount
        ("40.00", "42.00", "0.00", 4000),  # a discount: less was taken
        ("44.00", "42.00", "1.50", 4400),  # does not add up: what was debited counts
        ("43.50", "", "1.50", 4350),
    ],
)
def test_charges_of_the_customers_are_not_our_money(amt: str, asked: str, charges: str, minor: int) -> None:
    """``amt`` is what was debited from the customer, ``transaction_amount`` what we asked for (the SDK for Node's page on
    verify_payment): additional charges that lie between them are not the payment's."""
    money = {"amt": amt, "transaction_amount": asked, "additional_charges": charges, "net_amount_debit": amt}
    found = shown(status="success", unmappedstatus="captured", **money)
    assert isinstance(found, Found), found
    (charge,) = found.tries
    assert isinstance(charge, Succeeded)
    assert charge.amount_minor == minor


@pytest.mark.parametrize("word", ["userCancelled", "usercancelled"])
def test_both_spellings_of_a_customer_who_left(word: str) -> None:
    """The callbacks write a capital letter, the SDK's page on verify_payment none."""
    found = shown(status="failure", unmappedstatus=word, amt="42.00", error_code="E1605")
    assert isinstance(found, Found), found
    (seen,) = found.tries
    assert isinstance(seen, Declined)
    assert (seen.code, seen.vendor_code) == ("authentication_failed", "userCancelled")


def test_the_actions_of_the_sample() -> None:
    """A charge with its capture (a state in capitals, no token) and refunds under one token, as the page of the SDK for PHP on
    check_action_status has them: each that was done counts as given back, each by its own number."""
    entry = {"mihpayid": MIHPAYID, "txnid": REFERENCE, "status": "success", "unmappedstatus": "captured", "amt": "100.00"}
    first = said({"status": 1, "transaction_details": {REFERENCE: entry | {"transaction_amount": "100.00"}}})
    done = {
        "131278418": ("capture", "", "100.00", "SUCCESS"),
        "131278422": ("refund", "20201105secrettokenatur", "10.00", "success"),
    }
    done |= {"131278430": ("refund", "20201105secrettokenatur", "10.00", "queued")}
    actions = {
        id: {"mihpayid": MIHPAYID, "request_id": id, "action": action, "token": token, "amt": amt, "status": state}
        for id, (action, token, amt, state) in done.items()
    }
    second = said({"status": 1, "transaction_details": {MIHPAYID: actions}})
    found = ADAPTER.parse_read(replace(READ, amount_minor=10_000, seen=(first,)), second)
    assert isinstance(found, Found), found
    (charge,) = found.tries
    assert isinstance(charge, Succeeded)
    assert (charge.amount_minor, charge.refunded_minor) == (10_000, 1_000)
    assert [(type(r).__name__, r.ref) for r in found.refunds] == [("Refunded", "131278422"), ("Refunding", "131278430")]


def test_a_txnid_that_is_not_there() -> None:
    """The sample of the SDKs: status 0, and an entry whose every word is Not Found. It proves nothing."""
    entry = {"mihpayid": "Not Found", "status": "Not Found"}
    missing = {"status": 0, "msg": "0 out of 1 Transactions Fetched Successfully", "transaction_details": {REFERENCE: entry}}
    assert ADAPTER.parse_read(READ, said(missing)) == Absent()


def asked_back(doc: Any) -> Any:
    refund = replace(FIRE, kind="refund", key="k" * 36, provider_ref=MIHPAYID, refund_reference=REFERENCE, refund_minor=100)
    return ADAPTER.parse(refund, said(doc))


def test_a_refund_that_came_before_is_looked_up() -> None:
    """The test environment's own words for the same token and amount again (a test of the SDK for Node): not refused, since
    the first one may be under way. Numbers come as numbers, and none loses a digit."""
    again: dict[str, Any] = {"status": 0, "error_code": 227, "mihpayid": int(MIHPAYID)}
    again |= {"msg": "Refund FAILURE - Transactions with same amount and same token not allowed"}
    assert isinstance(asked_back(again), Unknown)
    queued = {"status": 1, "msg": "Refund Request Queued", "request_id": "125199106", "bank_ref_num": None, "error_code": 102}
    assert isinstance(asked_back(queued | {"mihpayid": int(MIHPAYID)}), Refunding)
    assert isinstance(asked_back(queued | {"mihpayid": int(MIHPAYID) + 1}), Unknown)
    assert isinstance(asked_back({"status": 0, "msg": "Invalid payuid", "mihpayid": ""}), Unknown)


def test_a_row_of_the_transactions_of_a_day() -> None:
    """The sample of the SDKs: captures are written as an action with a status in capitals."""
    at_us = time_us("2020-10-26 13:54:52") or 0
    row: dict[str, Any] = {
        "id": MIHPAYID,
        "action": "capture",
        "status": "SUCCESS",
        "txnid": REFERENCE,
        "addedon": "2020-10-26 13:54:52",
    }
    row |= {"amount": "10.00", "discount": "0.00", "additional_charges": "0.00", "error_code": "E000", "failure_reason": None}
    window = Window(from_us=at_us - 1, before_us=at_us + 1_000_000)
    page = ADAPTER.parse_listing(window, said({"status": 1, "msg": "Fetched", "Transaction_details": [row]}), "test")
    assert isinstance(page, Listing), page
    assert [(type(t).__name__, t.ref, t.reference) for t in page.tries if isinstance(t, Succeeded)] == [
        ("Succeeded", MIHPAYID, REFERENCE)
    ]
    assert page.next == ""


@pytest.mark.parametrize(
    "doc",
    [
        {"status": "failed", "error": "Invalid amount  @~@ ExceptionConstant : INVALID_AMOUNT"},
        {"status": "success", "result": "mihpayid=403993715512145540&status=success&unmappedstatus=success"},
        {"status": "success", "response": {"form_post_vars": {"pgId": "8"}, "post_uri": "https://bank.example"}},
    ],
)
def test_answers_of_an_older_flow_are_no_answers(doc: Any) -> None:
    """What _payment answered to txn_s2s_flow=1 (recordings of 2015 in active_merchant): neither money nor a refusal."""
    assert isinstance(ADAPTER.parse(FIRE, said(doc)), Unknown)
